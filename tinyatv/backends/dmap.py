"""The client side of DMAP: plain HTTP with binary bodies, and a long poll for changes.

Commands and the long poll use a connection each, since a poll stays unanswered for hours.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Callable

from requests import PreparedRequest

from ..deadline import Deadline
from ..errors import (
    PAIR_FIRST,
    AppleTVError,
    CommandFailed,
    CommandTimeout,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    ProtocolError,
)
from ..events import PlayingChanged, UpdateFailed
from ..identity import Introduction, check
from ..link import cause_of, is_full, lost
from ..model import (
    Artwork,
    DeviceState,
    FeatureState,
    MediaType,
    Playing,
    RepeatState,
    ShuffleState,
    is_image,
)
from ..pairing import dmap as pairing
from ..threads import NESTED, join, start
from ..wire import dmap
from ..wire import dmap_codes as codes
from ..wire.dmap_tags import TAGS
from ..wire.http import FIRST_LIMIT
from . import Backend
from .http import Transport

if TYPE_CHECKING:
    from ..events import Event
    from ..model import Device, Service
    from .airplay_tunnel import Tunnel

log = logging.getLogger(__name__)

BODY_TYPE = "application/x-www-form-urlencoded"  # for binary bodies and empty ones, too
ASK_TIMEOUT = 2.0  # s for the answer to the question which device it is
LOGIN_TIMEOUT = 25.0  # a sleeping Apple TV 3 takes 15 to 20 s to wake up and answer
AWAKE = 1.0  # s that a device has at least for an answer that has begun
ARTWORK_LIMIT = 32 * 1024 * 1024  # bytes
# s that a poll for changes waits. Then a short request shows whether the device is still there: the
# keep-alive of TCP does not notice a device that only acknowledges packets.
POLL_TIMEOUT = 30.0
ALIVE_TIMEOUT = 4.0  # s, at most, for each of two such requests: 39 s in all
SILENT = 2  # requests without an answer, one after the other, until the device is given up
PAUSES = (1.0, 30.0)  # first and longest pause after a failed update
LIFTING = 1.0  # s, at most, that lifting a finger takes after an error


STATES = {
    codes.IDLE: DeviceState.Idle,
    codes.LOADING: DeviceState.Loading,
    codes.STOPPED: DeviceState.Stopped,
    codes.PAUSED: DeviceState.Paused,
    codes.PLAYING: DeviceState.Playing,
    codes.SEEKING_FORWARD: DeviceState.Seeking,
    codes.SEEKING_BACKWARD: DeviceState.Seeking,
}
TEXT = 1000  # characters of a title and the like; many events may wait with one
UNKNOWN_TIME = 0xFFFFFFFF  # ms; sent while buffering, and as the length of live streams

# fmt: off
SWIPES = {  # button: (time, x, y) of each touch; all known remotes skip time 2 sideways
    "up": [(0, 20, 275), (1, 20, 270), (2, 20, 265), (3, 20, 260), (4, 20, 255), (5, 20, 250),
           (6, 20, 250)],
    "down": [(0, 20, 250), (1, 20, 255), (2, 20, 260), (3, 20, 265), (4, 20, 270), (5, 20, 275),
             (6, 20, 275)],
    "left": [(0, 75, 100), (1, 70, 100), (3, 65, 100), (4, 60, 100), (5, 55, 100), (6, 50, 100),
             (7, 50, 100)],
    "right": [(0, 50, 100), (1, 55, 100), (3, 60, 100), (4, 65, 100), (5, 70, 100), (6, 75, 100),
              (7, 75, 100)],
}
# fmt: on

FIELD_TAGS = {  # field of Playing: tag that carries it
    "title": "cann",
    "artist": "cana",
    "album": "canl",
    "genre": "cang",
    "total_time": "cast",
    "position": "cant",
    "shuffle": "cash",
    "repeat": "carp",
}


def login_query(credentials: str | None) -> str:
    """The query of a login request.

    Raises:
        CredentialsError: Neither a pairing GUID nor a Home Sharing id.
    """
    if not credentials:
        raise CredentialsError(f"no DMAP credentials: {PAIR_FIRST}")
    pairing.check_credentials(credentials)
    kind = "pairing-guid" if pairing.GUID.fullmatch(credentials) else "hsgid"
    return f"{kind}={credentials}&hasFP=1"


_unknown: set[str] = set()  # where nothing says which device it is: that is logged once


class DmapBackend(Backend):
    """One device over DMAP; arguments as in :class:`~tinyatv.backends.Backend`."""

    protocol = "dmap"

    def __init__(
        self,
        device: Device,
        service: Service,
        *,
        timeout: float,
        post: Callable[[Event], None],
        lost: Callable[[AppleTVError], None],
        tunnel: Tunnel | None = None,
    ) -> None:
        self._login_query = login_query(service.credentials)
        self._shared = self._login_query.startswith("hsgid")
        self._device, self._port = device, service.port
        self.address = device.address
        self._name = f"tinyatv-dmap-poll-{device.address}"
        self._timeout = timeout
        self._awake = max(timeout, AWAKE)  # for an answer that has begun, whatever was waited
        self._post = post
        self._lost = lost
        self._http = Transport(
            device.addresses, service.port, dict(codes.HEADERS), BODY_TYPE, self.protocol
        )
        self._session = 0
        self._status: dict[str, Any] = {}
        # Both may be taken twice: by a thread, and by a signal handler that interrupts it.
        self._touching = threading.RLock()
        self._down = False  # the finger, or it may be
        self._closing = threading.Event()
        self._polling = threading.RLock()  # over the next two
        self._poller: _Poller | None = None
        self._closed = False
        self._ended = False
        self._silent = 0  # commands without an answer, one after the other

    @property
    def _where(self) -> str:
        return f"{self._http.address} port {self._port} (dmap)"

    # -- life ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Log in. Blocks up to 25 s, since a sleeping device wakes up first.

        Raises:
            ConnectionFailed: The device cannot be reached.
            CommandTimeout: It takes the connection and does not answer.
            CredentialsError: The credentials are not accepted.
            ProtocolError: It answers with nonsense.
        """
        try:
            self._login(self._http)
        except ConnectionLost as exc:  # it broke before anything was up
            self.close()
            cause = cause_of(exc, self._http.label)
            raise ConnectionFailed(f"login at {self._where}: {cause}") from exc
        except CommandTimeout as exc:
            self.close()
            raise _too_late("login", exc) from exc
        except ProtocolError as exc:
            self.close()
            raise ProtocolError(f"login: {exc}", exc.data) from exc
        except BaseException:
            self.close()
            raise
        log.info("connected to %s", self._where)

    def close(self, error: AppleTVError | None = None) -> None:
        """Close all connections, also those that wait for an answer, and join the poller."""
        with self._polling:
            self._closed = True
        self._closing.set()
        if self._down and self._touching.acquire(timeout=LIFTING):  # it is lifted
            self._touching.release()
        self.unsubscribe()
        self._http.close()

    def subscribe(self) -> None:
        """Start polling for changes; not once it is closed."""
        with self._polling:
            if self._poller is None and not self._closed:
                poller = _Poller(self, self._name)
                try:
                    poller.start()
                except BaseException:  # Ctrl-C: it may run all the same
                    poller.stop()
                    raise
                self._poller = poller

    def unsubscribe(self) -> None:
        """Stop polling."""
        with self._polling:
            poller, self._poller = self._poller, None
        if poller is not None:
            try:
                poller.stop()
            except BaseException:  # Ctrl-C: the next call finishes it
                self._poller = self._poller or poller
                raise

    def _gone(self, cause: AppleTVError) -> ConnectionLost:
        """The device is gone: say so once, and return the error to raise."""
        error = lost(self._http.label, cause)
        ended, self._ended = self._ended, True
        if not ended:
            self._lost(error)
        return error

    # -- requests --------------------------------------------------------------------------------

    def _login(self, http: Transport) -> None:
        request = PreparedRequest()
        request.method, request.url = "GET", f"{http.base}/login?{self._login_query}"
        for _ in range(2):  # a waking device answers the first one with 503
            response = http.send(
                request, timeout=min(self._awake, LOGIN_TIMEOUT), silent=LOGIN_TIMEOUT
            )
            if 200 <= response.status_code < 300:
                break
        else:
            status = f"status {response.status_code}"
            raise CredentialsError(
                f"{self._where} refuses the credentials ({status}): pair again", refused=True
            )
        session = dmap.first(_decode(response.content), "mlog", "mlid")
        if not isinstance(session, int) or session == 0:
            raise ProtocolError("answer without a session", response.content)
        if self._shared:
            self._recognize()
        self._session = session
        self.address = http.address

    def _recognize(self) -> None:
        """Find out who has let us in: with Home Sharing, all devices of its owner do.

        DMAP does not tell. A pairing needs no such question: no other device accepts it.

        Raises:
            WrongDevice: Another device than the one that is meant.
        """
        if not self._device.identifiers:
            return  # described by hand: nothing to compare it with
        told = self._ask_airplay() or self._ask_mdns()
        if told is None:
            if self._where not in _unknown:
                _unknown.add(self._where)
                log.warning("%s: it cannot be found out whether it is still %s",
                            self._where, self._device.name)  # fmt: skip
            return
        self.introduction = told
        check(self._device, told, self._where)

    def _ask_airplay(self) -> Introduction | None:
        service = self._device.service("airplay")
        if service is None or not service.port:
            return None
        from .airplay_session import introduction_at

        return introduction_at(self._http.address, service.port, ASK_TIMEOUT)

    def _ask_mdns(self) -> Introduction | None:
        from ..addresses import split_host
        from ..discovery import scan

        device = self._device
        here = self._http.address
        host = device.query if device.query and here in split_host(device.query) else None
        try:
            found = scan(ASK_TIMEOUT, hosts=[host or here], protocols=[self.protocol])
        except (AppleTVError, ValueError) as exc:
            log.debug("%s: no answer to mDNS: %s", self._where, exc)
            return None
        for one in found:
            service = one.service(self.protocol)
            if service is not None and service.port == self._port:
                told = {self.protocol: service.identifier}
                return Introduction(told, more=one.identifiers, name=one.name)
        return None

    def _exchange(
        self,
        http: Transport,
        method: str,
        path: str,
        command: str,
        body: bytes = b"",
        timeout: float | None = None,
        limit: int = FIRST_LIMIT,
    ) -> bytes:
        """Send a request within the session; log in again once if the device forgot it.

        Args:
            path: With ``%d`` where the session goes.
            command: For the words of an error.
            timeout: Seconds; None takes that of the backend. More than that is for a device that is
                silent: once it answers, it has the usual time.
            limit: Bytes of the answer.

        Raises:
            CommandFailed: The device refused.
            CommandTimeout: No answer in time.
            ConnectionLost: It broke; whether the device acted is unknown.
            ProtocolError: The answer makes no sense.
        """
        timeout = self._timeout if timeout is None else timeout
        doing, usual = command, min(timeout, self._awake)
        try:
            for first in (True, False):
                # Prepared by hand: `requests` would take longer than the network and the device.
                request = PreparedRequest()
                request.method, request.body = method, body
                request.url = http.base + path.replace("%d", str(self._session))
                response = http.send(request, timeout=usual, silent=timeout, limit=limit)
                code = response.status_code
                if 200 <= code < 300 or code == 500:  # 500: not possible now
                    break
                if first:
                    log.debug("%s: status %d, logging in again", command, code)
                    doing = "login"
                    self._login(http)
                    doing = command
        except CommandTimeout as exc:
            if http is self._http:
                self._silent += 1
                if self._silent == SILENT:
                    self._gone(exc)
            raise _too_late(doing, exc) from exc
        except ConnectionFailed as exc:  # it was there when we logged in
            if is_full(exc.__cause__):
                raise
            raise self._gone(exc) from exc
        except CredentialsError as exc:  # it has been reset, or is another one by now
            self._gone(exc)
            raise
        except (ConnectionLost, ProtocolError) as exc:
            raise type(exc)(f"{doing}: {exc}") from exc
        self._silent = 0
        if not 200 <= code < 300:
            raise CommandFailed(f"{command}: refused with status {code} (dmap)", command, code)
        answer: bytes = response.content
        if answer and method == "POST":
            try:
                _check_status(_decode(answer), command)
            except ProtocolError:
                pass  # devices answer commands with all kinds of bodies
        return answer

    def _control(self, word: str, command: str) -> None:
        path = f"/ctrl-int/1/{word}?session-id=%d&prompt-id=0"
        self._exchange(self._http, "POST", path, command)

    def _set_property(self, text: str, command: str) -> None:
        path = f"/ctrl-int/1/setproperty?{text}&session-id=%d"
        self._exchange(self._http, "POST", path, command)

    def _fetch_status(self, http: Transport, revision: int, timeout: float) -> dict[str, Any]:
        """Fetch the play status; the first value of each tag counts."""
        path = f"/ctrl-int/1/playstatusupdate?session-id=%d&revision-number={revision}"
        body = self._exchange(http, "GET", path, "playing", timeout=timeout)
        items = _decode(body)
        _check_status(items, "playing")
        status = dmap.first(items, "cmst")
        if not isinstance(status, list):
            raise ProtocolError("playing: answer without a play status", body)
        fields = dict(reversed(status))
        if not isinstance(fields.get("cmsr"), int):
            raise ProtocolError("playing: answer without a revision", body)
        self._status = fields
        return fields

    # -- commands --------------------------------------------------------------------------------

    def play(self) -> None:
        self._control("play", "play")

    def pause(self) -> None:
        self._control("pause", "pause")

    def play_pause(self) -> None:
        self._control("playpause", "play_pause")

    def stop(self) -> None:
        self._control("stop", "stop")

    def next(self) -> None:
        self._control("nextitem", "next")

    def previous(self) -> None:
        self._control("previtem", "previous")

    def volume_up(self) -> None:
        self._control("volumeup", "volume_up")

    def volume_down(self) -> None:
        self._control("volumedown", "volume_down")

    def volume(self, output_device: str | None = None) -> float:
        if output_device is not None:
            raise NotSupported("volume: DMAP knows no output devices")
        path = "/ctrl-int/1/getproperty?properties=" + codes.VOLUME + "&session-id=%d"
        try:
            body = self._exchange(self._http, "GET", path, "volume")
        except CommandFailed as exc:
            raise NotSupported("volume: this device only knows volume_up and volume_down") from exc
        level = dmap.first(_decode(body), "cmgt", "cmvo")
        if not isinstance(level, int):
            raise NotSupported("volume: this device only knows volume_up and volume_down")
        return float(level)

    def set_volume(self, level: float, output_device: str | None = None) -> None:
        self.volume(output_device)  # Apple TVs accept the property and ignore it: say so instead
        self._set_property(f"{codes.VOLUME}={level:.6f}", "set_volume")

    def set_position(self, seconds: float) -> None:
        self._set_property(f"{codes.POSITION}={int(seconds * 1000)}", "set_position")

    def set_shuffle(self, shuffle: ShuffleState) -> None:
        state = 0 if shuffle is ShuffleState.Off else 1
        self._set_property(f"{codes.SHUFFLE}={state}", "set_shuffle")

    def set_repeat(self, repeat: RepeatState) -> None:
        self._set_property(f"{codes.REPEAT}={repeat.value}", "set_repeat")

    def skip_forward(self, seconds: float) -> None:
        self._skip(seconds or 10.0, "skip_forward")

    def skip_backward(self, seconds: float) -> None:
        self._skip(-(seconds or 10.0), "skip_backward")

    def _skip(self, seconds: float, command: str) -> None:
        playing = self.playing()
        if playing.position is None:
            text = f"{command}: the device does not report its position (dmap)"
            raise CommandFailed(text, command)
        wanted = min(playing.position + seconds, playing.total_time)
        self._set_property(f"{codes.POSITION}={int(max(0.0, wanted) * 1000)}", command)

    def select(self, hold: float, presses: int) -> None:
        self._prompt(codes.HOLD_SELECT if hold else codes.SELECT, "select", presses)

    def menu(self, hold: float, presses: int) -> None:
        self._prompt(codes.TOP_MENU if hold else codes.MENU, "menu", presses)

    def top_menu(self) -> None:
        self._prompt(codes.TOP_MENU, "top_menu", 1)

    def up(self, hold: float, presses: int) -> None:
        self._swipe("up", hold, presses)

    def down(self, hold: float, presses: int) -> None:
        self._swipe("down", hold, presses)

    def left(self, hold: float, presses: int) -> None:
        self._swipe("left", hold, presses)

    def right(self, hold: float, presses: int) -> None:
        self._swipe("right", hold, presses)

    _PROMPT = "/ctrl-int/1/controlpromptentry?session-id=%d&prompt-id=0"

    def _prompt(self, word: str, command: str, presses: int) -> None:
        body = dmap.encode([("cmbe", word), ("cmcc", b"\0")])
        for _ in range(presses):
            self._exchange(self._http, "POST", self._PROMPT, command, body)

    def _swipe(self, button: str, hold: float, presses: int) -> None:
        """Arrow keys are swipes of seven touches; those of two threads must not mix."""
        deadline = Deadline(self._timeout + presses * hold)
        if not self._touching.acquire(timeout=deadline.left() or 0):
            raise CommandTimeout(f"{button}: another button is still down (dmap)")
        try:
            if self._down:
                raise AppleTVError(f"{button}: {NESTED} (dmap)")
            first, *moves, last = SWIPES[button]
            for _ in range(presses):
                try:
                    self._down = True
                    self._touch("Down", first, button, deadline.left())
                    for place in moves:
                        self._touch("Move", place, button, deadline.left())
                    if hold and self._closing.wait(hold):
                        raise ConnectionLost(f"{button}: {self._where} closed while it was down")
                    self._touch("Up", last, button, deadline.left())
                except BaseException:  # Ctrl-C, too
                    self._lift(last, button)
                    raise
                finally:
                    self._down = False
        finally:
            self._touching.release()

    def _touch(
        self, phase: str, place: tuple[int, int, int], button: str, timeout: float | None
    ) -> None:
        at, x, y = place
        touch = f"touch{phase}&time={at}&point={x},{y}"
        body = dmap.encode([("cmcc", b"0"), ("cmbe", touch)])
        self._exchange(self._http, "POST", self._PROMPT, button, body, timeout)

    def _lift(self, place: tuple[int, int, int], button: str) -> None:
        """Lift the finger after whatever went wrong, if the device is still there."""
        try:
            self._touch("Up", place, button, min(LIFTING, self._timeout))
        except AppleTVError as exc:
            log.info("%s", exc)

    # -- what is playing -------------------------------------------------------------------------

    def playing(self) -> Playing:
        return self._playing_of(self._fetch_status(self._http, 0, self._timeout))

    def _playing_of(self, status: dict[str, Any]) -> Playing:
        return to_playing(status, artwork=lambda: self.artwork(256, None))

    def artwork(self, width: int | None, height: int | None) -> Artwork | None:
        path = f"/ctrl-int/1/nowplayingartwork?mw={width or 0}&mh={height or 0}&session-id=%d"
        timeout = max(self._timeout, LOGIN_TIMEOUT)
        try:
            data = self._exchange(
                self._http, "GET", path, "artwork", timeout=timeout, limit=ARTWORK_LIMIT
            )
        except CommandFailed as exc:
            if exc.code in (404, 500):  # with 204 and an empty body, the four ways to say "none"
                return None
            raise
        if data and not is_image(data):
            log.info("artwork: what the device sends is no image")
            return None
        return Artwork(data) if data else None

    def server_info(self) -> dict[str, Any]:
        body = self._exchange(self._http, "GET", "/server-info", "server_info")
        fields = dmap.first(_decode(body), "msrv")
        if not isinstance(fields, list):
            raise ProtocolError("server_info: answer without server information", body)
        return _as_json(fields)

    def features(self) -> dict[str, FeatureState]:
        """What the last play status says; commands that it says nothing about are Unknown."""
        if not self._status:
            try:
                self._fetch_status(self._http, 0, self._timeout)
            except CommandFailed:
                pass  # nothing is playing: then nothing is available
        present = {field for field, tag in FIELD_TAGS.items() if tag in self._status}
        states = {
            name: FeatureState.Available if name in present else FeatureState.Unavailable
            for name in FIELD_TAGS
        }
        always = ("up", "down", "left", "right", "select", "menu", "top_menu", "playing")
        states.update((name, FeatureState.Available) for name in (*always, "push_updates"))
        steps = FeatureState.Available if self._status.get("cavc") else FeatureState.Unavailable
        states.update(volume_up=steps, volume_down=steps)
        return states


class _Poller:
    """Fetches the play status whenever it changes, until it is stopped or the device is gone."""

    def __init__(self, backend: DmapBackend, name: str) -> None:
        self._backend = backend
        self._http = backend._http.sibling()
        self._stop = threading.Event()
        self._name = name
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = start(self._run, self._name)

    def stop(self) -> None:
        self._stop.set()
        self._http.close()
        join(self._thread, 5)

    def _run(self) -> None:
        backend = self._backend
        revision, pause = 0, PAUSES[0]
        broken = False  # the connection broke, and nothing has come since
        missed = 0  # short requests without an answer since the last answer
        last: Playing | None = None
        while not self._stop.is_set():
            timeout = POLL_TIMEOUT if revision else min(ALIVE_TIMEOUT, backend._timeout)
            error: AppleTVError
            try:
                status = backend._fetch_status(self._http, revision, timeout)
                playing = backend._playing_of(status)
            except CommandTimeout as exc:
                if revision:  # nothing has changed, or it is gone: a short request shows which
                    revision = 0
                    continue
                missed += 1
                if missed == SILENT:
                    backend._gone(exc)
                    return
                error = exc
            except ConnectionLost as exc:
                if self._stop.is_set() or backend._ended:
                    return
                if broken:
                    backend._gone(exc)
                    return
                # A device may drop an idle connection. If it is gone, the next try is refused.
                broken, revision = True, 0
                continue
            except AppleTVError as exc:
                error = exc
            except Exception as exc:  # whatever the device makes us stumble over, this goes on
                log.exception("%s: failed", self._name)
                error = ProtocolError(f"playing: {type(exc).__name__}: {exc} (dmap)")
                error.__cause__ = exc
            else:
                revision, pause, broken, missed = status["cmsr"], PAUSES[0], False, 0
                if last is None or playing != last or playing.jumped(last):
                    backend._post(PlayingChanged(playing))
                last = playing
                continue
            if self._stop.is_set():
                return
            log.debug("%s: %s; next try in %g s", self._name, error, pause)
            backend._post(UpdateFailed(error, backend.protocol))
            revision = 0
            self._stop.wait(pause)
            pause = min(pause * 2, PAUSES[1])


def to_playing(
    status: dict[str, Any], artwork: Callable[[], Artwork | None] | None = None
) -> Playing:
    """Turn the fields of a play status into what the user sees."""
    caps = _int(status, "caps")
    total, left = _int(status, "cast"), _int(status, "cant")
    total_time = 0 if total >= UNKNOWN_TIME else round(total / 1000)
    position = None
    # A remaining time under half a second is the end or, far more often, unknown.
    if total_time and left < UNKNOWN_TIME and round(left / 1000):
        position = max(0.0, total_time - left / 1000)
    repeat = _int(status, "carp")
    return Playing(
        media_type=_media_type(status, caps),
        device_state=STATES.get(caps, DeviceState.Idle),
        title=_text(status, "cann"),
        artist=_text(status, "cana"),
        album=_text(status, "canl"),
        genre=_text(status, "cang"),
        total_time=total_time,
        position=position,
        remaining=True,
        shuffle=ShuffleState.Songs if _int(status, "cash") else ShuffleState.Off,
        repeat=RepeatState(repeat) if repeat <= 2 else RepeatState.Off,
        artwork=artwork,
    )


def _media_type(status: dict[str, Any], caps: int) -> MediaType:
    if caps == 0:
        return MediaType.Unknown
    if "cmmk" in status:
        return MediaType[codes.MEDIA_KINDS.get(_int(status, "cmmk"), "Unknown")]
    if status.get("cana") or status.get("canl"):
        return MediaType.Music
    return MediaType.Video


def _int(status: dict[str, Any], code: str) -> int:
    value = status.get(code, 0)
    return value if isinstance(value, int) else 0


def _text(status: dict[str, Any], code: str) -> str | None:
    value = status.get(code)
    return value[:TEXT] if isinstance(value, str) else None


def _as_json(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Items by the name of their tag, or by its code where it has no name; nothing is lost.

    What is repeated becomes a list, data hex digits, and what is inside a container a dict.
    """
    found: dict[str, list[Any]] = {}
    for code, value in items:
        name = TAGS[code][1] if code in TAGS else "unknown"
        if isinstance(value, list):
            value = _as_json(value)
        elif isinstance(value, bytes):
            value = value.hex()
        found.setdefault(code if name == "unknown" else name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}


def _too_late(what: str, exc: CommandTimeout) -> CommandTimeout:
    error = CommandTimeout(f"no reply to {what} within {exc.seconds:g} s (dmap)")
    error.seconds = exc.seconds
    return error


def _decode(body: bytes) -> list[tuple[str, Any]]:
    try:
        return dmap.decode(body)
    except dmap.TrailingBytes as exc:
        log.debug("ignored: %s", exc)
        return exc.kept
    except ValueError as exc:
        raise ProtocolError(f"dmap: {exc}", body[:256]) from exc


def _check_status(items: list[tuple[str, Any]], command: str) -> None:
    """iTunes-like servers report errors inside a 200 answer."""
    for _, fields in items:
        if isinstance(fields, list):
            code = dmap.first(fields, "mstt")
            if isinstance(code, int) and code >= 400:
                text = dmap.first(fields, "msts") or f"status {code}"
                raise CommandFailed(f"{command}: {text} (dmap)", command, code)
