"""The client side of Companion: buttons, apps, accounts, power, volume, text and touch.

Devices with tvOS 13 and later speak it, beside MRP, which knows what is playing.

connect, verify                     everything after it is sealed
_systemInfo                         who we are
_touchStart, _sessionStart,
TVRCSessionStart, _tiStart          a touchpad, two sessions, and the text field
_interest                           the events that we subscribe to

A request is answered, if only with an error; events, of either side, are not. Some requests stay
unanswered in some states: then the request has failed, not the connection.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

from ..addresses import reached
from ..errors import (
    PAIR_FIRST,
    AppleTVError,
    CommandFailed,
    CommandTimeout,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    PairingError,
    ProtocolError,
)
from ..events import KeyboardChanged, PowerChanged, VolumeChanged
from ..identity import Introduction
from ..link import Link, cause_of, keep_alive, lost, open_socket
from ..model import Account, App, FeatureState, KeyboardFocus, PowerState, TouchAction
from ..pairing.hap import own_mac
from ..text import on_one_line
from ..threads import NESTED
from ..wire import companion_codes as codes
from ..wire import opack
from ..wire.companion import (
    EVENT,
    OPACK,
    REPLY,
    REQUEST,
    VERIFY_NEXT,
    VERIFY_START,
    CompanionWire,
)
from . import Backend
from .companion_identity import Claim
from .companion_touch import Touchpad

if TYPE_CHECKING:
    from ..events import Event
    from ..model import Device, Service
    from ..pairing.credentials import Credentials
    from .airplay_tunnel import Tunnel
    from .companion_text import Field

log = logging.getLogger(__name__)

HEARTBEAT = 30.0  # s without a message from the device until it is asked whether it is there
HEARTBEAT_EVERY = 4.5  # s, at most, from one question to the next: 39 s in all
MAX_MISSED = 2  # unanswered ones until it is given up; a single late answer can be harmless
OPTIONAL_TIMEOUT = 2.0  # s for an answer that some systems never give
SETTLE = 1.0  # s until a change of volume is reported; some outputs report none
GOODBYE = 1.0  # s for the answer to the last request of a connection
CLICK_TIME = 0.02  # s that a click on the touchpad takes
ROUNDING = 3.5  # percent; devices with 16 steps of volume have been seen, of 6.25 each
SKIP = 10.0  # s; without a time of the caller's

INTERESTS = ("_iMC", *codes.STATUS_EVENTS)

VOLUME = codes.CONTROLS["volume"]
CONTROLS = {  # feature: bit of what can be controlled now
    "play": codes.CONTROLS["play"],
    "pause": codes.CONTROLS["pause"],
    "next": codes.CONTROLS["next"],
    "previous": codes.CONTROLS["previous"],
    "begin_fast_forward": codes.CONTROLS["fast_forward"],
    "end_fast_forward": codes.CONTROLS["fast_forward"],
    "begin_rewind": codes.CONTROLS["rewind"],
    "end_rewind": codes.CONTROLS["rewind"],
    "volume": VOLUME,
    "set_volume": VOLUME,
    "skip_forward": codes.CONTROLS["skip_forward"],
    "skip_backward": codes.CONTROLS["skip_backward"],
}
ATTENTION = {  # state of attention: what it amounts to
    codes.ASLEEP: PowerState.Off,
    codes.SCREENSAVER: PowerState.On,
    codes.AWAKE: PowerState.On,
    codes.IDLE: PowerState.On,
}
ALWAYS = (
    "up", "down", "left", "right", "select", "menu", "home", "play_pause", "volume_up",
    "volume_down", "mute", "channel_up", "channel_down", "guide",
    "screensaver", "control_center", "captions", "siri_start", "siri_stop", "turn_on", "turn_off",
    "text_focus", "apps", "launch", "accounts", "switch_account",
)  # fmt: skip
TOUCHES = ("swipe", "touch", "click")
TYPES = ("text_get", "text_set", "text_append", "text_clear")


class CompanionBackend(Backend):
    """One device over Companion; arguments as in :class:`~tinyatv.backends.Backend`."""

    protocol = "companion"

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
        from ..pairing.credentials import parse

        self._device = device
        self.address = device.address
        self._addresses = device.addresses
        self._port = service.port
        self._credentials = parse(service.credentials or None).checked()
        self._timeout = timeout
        self._post = post
        self._lost = lost
        self._link: Link | None = None
        self._numbers = itertools.count(secrets.randbelow(1 << 16))
        self._closing = threading.Event()
        # All of them may be taken twice: by a thread, and by a signal handler that interrupts it.
        self._pressing = threading.RLock()
        self._turning = threading.RLock()  # over the volume keys
        self._held: set[Any] = set()  # those of the two that are
        self._typing = threading.RLock()
        self._listening = False
        self._claim: Claim | None = None  # what the device knows us by
        self._sessions: list[tuple[str, dict[str, Any]]] = []  # what ends each that was begun
        self._interests: list[str] = []
        self._touchpad: Touchpad | None = None
        self._fetches = True  # the power state; False if the device never answers that
        self._fetched = False
        self._changed = threading.Condition()  # over everything below
        self._controls: int | None = None  # what can be controlled now; None until it is reported
        self._asking = -1  # number of the latest request for the volume
        self._level: float | None = None  # percent
        self._muted = 0.0  # the volume before mute()
        self._power = PowerState.Unknown
        self._focus = KeyboardFocus.Unknown
        self._told_at = {"power_state": 0.0, "text_focus": 0.0}

    # -- life ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Verify each other, introduce ourselves, learn whether it is awake.

        Raises:
            ConnectionFailed: The device cannot be reached.
            CommandTimeout: It takes the connection and does not answer.
            CommandFailed: It does not want to talk to us.
            CredentialsError: It does not accept the credentials.
            ProtocolError: It answers with nonsense.
        """
        if self._credentials.kind == "legacy":
            from ..pairing.credentials import LEGACY

            raise CredentialsError(f"{self._where}: {LEGACY}")
        if self._credentials.kind != "hap":
            raise CredentialsError(f"{self._where} needs a pairing: {PAIR_FIRST}")
        sock = open_socket(self._addresses, self._port, self._timeout, self.protocol)
        self.address = reached(sock, self._addresses)
        keep_alive(sock)
        wire = CompanionWire()
        link = self._link = Link(
            sock, wire, self._received, lost=self._ended, timeout=self._timeout,
            name=f"tinyatv-companion-{self.address}", label=self._label, idle=self._idle,
            idle_after=HEARTBEAT, idle_every=min(HEARTBEAT_EVERY, self._timeout),
            prepare=wire.prepare,
        )  # fmt: skip
        try:
            secure(link, wire, self._credentials)
            link.start()
            self._introduce()
        except ConnectionLost as exc:  # it broke before anything was up
            self.close()
            cause = cause_of(exc, self._label)
            raise ConnectionFailed(f"{self._where} hung up while connecting: {cause}") from exc
        except BaseException:
            self.close()
            raise
        log.info("connected to %s", self._where)

    def _introduce(self) -> None:
        """The start of every connection, in the order in which remotes do it.

        Without _sessionStart, buttons and apps may do nothing.
        """
        told = self._ask("connect", "_systemInfo", self._about())
        self.introduction = Introduction(
            {"companion": told.get("_mRtID")}, more=[told.get("_mrID"), told.get("_pubID")],
            name=told.get("name"), model=told.get("model"),
        )  # fmt: skip
        side = {"_height": float(codes.PAD), "_tFl": 0, "_width": float(codes.PAD)}
        touchpad = Touchpad()
        if self._try("_touchStart", side) is not None:
            self._touchpad = touchpad
            self._sessions.append(("_touchStop", {"_i": 1}))
        mine = secrets.randbits(32)
        answer = self._ask("connect", "_sessionStart", {"_srvT": codes.SERVICE, "_sid": mine})
        theirs = answer.get("_sid")
        if not isinstance(theirs, int) or not 0 <= theirs < 1 << 32:
            raise ProtocolError(f"{self._where} begins no session")
        end = {"_srvT": codes.SERVICE, "_sid": theirs << 32 | mine}
        self._sessions.append(("_sessionStop", end))
        # Error 58822 on old systems; without it, newer ones never answer FetchAttentionState.
        if self._try("TVRCSessionStart", {"ProtocolVersionKey": "1.2"}) is not None:
            self._sessions.append(("TVRCSessionStop", {}))
        # A device has one text session: while another remote holds it, this stays unanswered.
        field = self._try("_tiStart", {})
        self._sessions.append(("_tiStop", {}))
        if field is not None:
            with self._changed:
                self._set_focus(field)
        for interest in INTERESTS:
            self._send_event("_interest", {"_regEvents": [interest]})
            self._interests.append(interest)
        self._fetch_power()

    def _about(self) -> dict[str, Any]:
        client = self._credentials.client_id
        self._claim = Claim(client, self._credentials.device_id)
        return {
            "_bf": 0,
            "_cf": 512,
            "_clFl": 128,
            "_i": self._claim.name,
            "_idsID": client.decode("utf-8", "replace"),
            "_pubID": own_mac(client),
            "_sf": 256,
            "_sv": "170.18",
            "model": "iPhone10,6",
            "name": "tinyatv",
        }

    def close(self, error: AppleTVError | None = None) -> None:
        """End our sessions, close the connection and join the reader."""
        with self._changed:
            first = not self._closing.is_set()
            self._closing.set()
            self._changed.notify_all()
        if self._link is not None:
            if first and self._sessions and not self._link.ended:
                self._end_sessions(self._link)
            self._link.close()
        if self._claim is not None:
            self._claim.release()

    def _end_sessions(self, link: Link) -> None:
        """Undo what connect() did, in reverse order, all at once and at best effort."""
        dropped = [
            self._message(EVENT, "_interest", {"_deregEvents": [i]}) for i in self._interests
        ]
        ended = [self._message(REQUEST, *one) for one in reversed(self._sessions)]
        try:
            # Answered in order: the last answer says that the device has seen them all.
            link.request(ended.pop(), min(GOODBYE, self._timeout), after=[*dropped, *ended])
        except AppleTVError as exc:
            log.debug("no goodbye: %s", exc)

    def told_at(self, command: str) -> float:
        """When the device told what a question returns; see the contract."""
        return self._told_at.get(command, float("inf"))

    def subscribe(self) -> None:
        """Start posting what changes."""
        self._listening = True

    def unsubscribe(self) -> None:
        """Stop posting."""
        self._listening = False

    @property
    def _where(self) -> str:
        return f"{self.address} port {self._port} (companion)"

    @property
    def _label(self) -> str:
        return f"{self.address} (companion)"

    def _ended_error(self) -> ConnectionLost:
        return lost(self._label, None if self._link is None else self._link.error)

    def _ended(self, error: AppleTVError | None) -> None:
        """The link is gone: wake all threads that wait."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        if error is not None:
            self._lost(lost(self._label, error))

    # -- requests --------------------------------------------------------------------------------

    def _open(self) -> Link:
        if self._link is None:
            raise ConnectionLost(f"{self._where}: not connected")
        return self._link

    def _message(self, kind: int, name: str, content: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return OPACK, {"_i": name, "_t": kind, "_c": content, "_x": next(self._numbers)}

    def _send_event(self, name: str, content: dict[str, Any]) -> None:
        """Send an event: there is no answer."""
        self._open().send(self._message(EVENT, name, content))

    def _ask(
        self, word: str, name: str, content: dict[str, Any], *, full: bool = False,
        timeout: float | None = None,
    ) -> dict[Any, Any]:  # fmt: skip
        """Send a request and return the content of the answer.

        Args:
            word: The command, for the words of an error.
            name: Of the request.
            content: Of the request.
            full: True if an answer without content makes no sense.
            timeout: Seconds; None takes that of a command.
        """
        seconds = self._timeout if timeout is None else timeout
        try:
            _, reply = self._open().request(self._message(REQUEST, name, content), seconds)
        except CommandTimeout as exc:
            raise CommandTimeout(f"no reply to {word} within {seconds:g} s (companion)") from exc
        if refused(reply):
            number = error_code(reply)
            how = ": the device does not know how" if number == codes.NO_HANDLER else ""
            raise CommandFailed(f"{word}{how}: {refusal(reply)}", word, number)
        answer = reply.get("_c", None if full else {})
        if not isinstance(answer, dict):
            raise ProtocolError(f"{word}: the answer has no content (companion)")
        return answer

    def _try(self, name: str, content: dict[str, Any]) -> dict[Any, Any] | None:
        """Ask for something optional; None if it is refused, or not answered."""
        try:
            return self._ask(name, name, content, timeout=min(OPTIONAL_TIMEOUT, self._timeout))
        except (CommandFailed, CommandTimeout) as exc:
            log.info("%s", exc)
            return None

    def _settle(self) -> None:
        """Wait until the device has seen our events, by a request behind them."""
        self._try("_ping", {})  # "I do not know how" is an answer

    def _idle(self, times: int) -> None:
        """Nothing arrived for long: ask, twice, whether the device is still there.

        ``{}`` and "no request handler" (58822, from systems that do not know ``_ping``) both prove
        it. An empty NoOp frame would not: no device answers it.
        """
        if times > MAX_MISSED:
            raise ConnectionLost(f"{self._label}: it does not answer any more")
        self._open().send(self._message(REQUEST, "_ping", {}))

    def _await(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Wait for something that the device reports; False if it did not.

        Raises:
            ConnectionLost: It is gone.
        """
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._closing.is_set(), seconds)
            if condition():
                return True
            self._check()
            return False

    def _check(self) -> None:
        if self._closing.is_set():
            raise self._ended_error()

    # -- what the device says --------------------------------------------------------------------

    def _received(self, frame: tuple[int, dict[Any, Any]]) -> None:
        """Take in a message that is no reply to a waiting request; on the reader thread."""
        _, message = frame
        kind, name, content = message.get("_t"), message.get("_i"), message.get("_c")
        if not isinstance(content, dict):
            content = {}
        events: list[Event] = []
        question = None
        with self._changed:
            if kind == REPLY:
                if message.get("_x") == self._asking:
                    events = self._set_level(content)
            elif kind != EVENT:
                pass
            elif name == "_iMC":
                question = self._set_controls(content)
            elif name in ("SystemStatus", "TVSystemStatus"):
                events = self._set_power(content)
            elif name in ("_tiStarted", "_tiStopped"):
                events = self._set_focus(content)
            self._changed.notify_all()
        if question is not None:
            try:
                self._open().send(question)  # its reply comes here, too
            except ConnectionLost:
                return  # the loss is reported already
        for event in events if self._listening else ():
            self._post(event)

    def _set_controls(self, content: dict[Any, Any]) -> tuple[int, dict[str, Any]] | None:
        """Note what can be controlled now; returns the request for the volume, if that can be."""
        flags = content.get("_mcF")
        if not isinstance(flags, int):
            return None
        self._controls = flags
        if not flags & VOLUME:
            self._level = None
            return None
        question = self._message(REQUEST, "_mcc", {"_mcc": codes.GET_VOLUME})
        self._asking = question[1]["_x"]
        return question

    def _set_level(self, content: dict[Any, Any]) -> list[Event]:
        level = _percent(content.get("_vol"))
        if level is None:
            return []
        before, self._level = self._level, level
        return [] if before in (None, level) else [VolumeChanged(level, None, before or 0.0)]

    def _set_power(self, content: dict[Any, Any]) -> list[Event]:
        power = power_of(content.get("state"))
        if power not in (None, PowerState.Unknown):
            self._told_at["power_state"] = time.monotonic()
        if power in (None, self._power):
            return []
        self._power = power
        return [PowerChanged(power)]

    def _set_focus(self, content: dict[Any, Any]) -> list[Event]:
        focus = KeyboardFocus.Focused if "_tiD" in content else KeyboardFocus.Unfocused
        self._told_at["text_focus"] = time.monotonic()
        before, self._focus = self._focus, focus
        return [] if before is focus else [KeyboardChanged(focus)]

    # -- buttons ---------------------------------------------------------------------------------

    def up(self, hold: float, presses: int) -> None:
        self._press("up", hold, presses)

    def down(self, hold: float, presses: int) -> None:
        self._press("down", hold, presses)

    def left(self, hold: float, presses: int) -> None:
        self._press("left", hold, presses)

    def right(self, hold: float, presses: int) -> None:
        self._press("right", hold, presses)

    def select(self, hold: float, presses: int) -> None:
        self._press("select", hold, presses)

    def menu(self, hold: float, presses: int) -> None:
        self._press("menu", hold, presses)

    def home(self, hold: float, presses: int) -> None:
        self._press("home", hold, presses)

    def channel_up(self) -> None:
        self._press("channel_up")

    def channel_down(self) -> None:
        self._press("channel_down")

    def guide(self) -> None:
        self._press("guide")

    def screensaver(self) -> None:
        self._press("screensaver")

    def control_center(self) -> None:
        self._press("control_center")

    def _press(self, button: str, hold: float = 0.0, presses: int = 1) -> None:
        """Press a button; each of its edges is answered. Presses of two threads must not mix."""
        with self._alone(button):
            for _ in range(presses):
                self._down_and_up(button, button, hold)

    def _down_and_up(self, word: str, button: str, seconds: float) -> None:
        """Press a button once. Whatever goes wrong, Ctrl-C included, it comes up again."""
        try:
            self._edge(word, button, codes.DOWN)
            if seconds and self._closing.wait(seconds):
                raise self._ended_error()
            self._edge(word, button, codes.UP)
        except CommandFailed:
            raise  # refused: it is as it was
        except BaseException:
            self._let_go(word, button)
            raise

    def _edge(self, word: str, button: str, edge: int, timeout: float | None = None) -> None:
        content = {"_hBtS": edge, "_hidC": codes.BUTTONS[button]}
        self._ask(word, "_hidC", content, timeout=timeout)

    @contextlib.contextmanager
    def _alone(self, word: str, keys: Any = None) -> Iterator[None]:
        """Hold the buttons and the touchpad, so that no other thread presses meanwhile.

        Args:
            word: The command, for an error.
            keys: Other keys to hold instead.
        """
        keys = self._pressing if keys is None else keys
        if not keys.acquire(timeout=self._timeout):
            raise CommandTimeout(f"{word}: another button is still down (companion)")
        try:
            if keys in self._held:
                raise AppleTVError(f"{word}: {NESTED} (companion)")
            try:
                self._held.add(keys)
                yield
            finally:
                self._held.discard(keys)
        finally:
            keys.release()

    def siri_start(self) -> None:
        with self._alone("siri_start"):
            try:
                self._edge("siri_start", "siri", codes.DOWN)
                self._ask("siri_start", "_siriStart", {})
            except BaseException:  # Ctrl-C, too
                self._let_go("siri_start", "siri")
                raise

    def siri_stop(self) -> None:
        with self._alone("siri_stop"):
            try:
                self._ask("siri_stop", "_siriStop", {})
            finally:
                self._let_go("siri_stop", "siri")

    def _let_go(self, word: str, button: str) -> None:
        """A button comes up; if that cannot be said, it does so at the end of the connection."""
        try:
            self._edge(word, button, codes.UP, min(GOODBYE, self._timeout))
        except AppleTVError as exc:
            log.info("%s", exc)  # it was not down, or the device is gone
        except BaseException:
            self._open().fail(ConnectionLost(f"{word}: interrupted while it was down"))
            raise

    # -- touchpad --------------------------------------------------------------------------------

    def swipe(self, start: tuple[float, float], end: tuple[float, float], seconds: float) -> None:
        touchpad = self._touches("swipe")
        with self._alone("swipe"):
            try:
                for place in touchpad.swipe(start, end, seconds, self._closing.wait):
                    self._send_event("_hidT", place)
            except BaseException:  # Ctrl-C, too: the finger is lifted
                with contextlib.suppress(AppleTVError):
                    self._send_event("_hidT", touchpad.at(*end, codes.RELEASE))
                raise
            self._check()
            self._settle()

    def touch(self, x: float, y: float, action: TouchAction) -> None:
        touchpad = self._touches("touch")
        with self._alone("touch"):
            self._send_event("_hidT", touchpad.at(x, y, action.value))
            self._settle()

    def click(self, hold: float, presses: int) -> None:
        touchpad = self._touches("click")
        with self._alone("click"):
            for _ in range(presses):
                self._down_and_up("click", "select", hold or CLICK_TIME)
                self._send_event("_hidT", touchpad.at(codes.PAD, codes.PAD, codes.CLICK))
            self._settle()

    def _touches(self, word: str) -> Touchpad:
        if self._touchpad is None:
            raise NotSupported(f"{word}: the device gave us no touchpad (companion)")
        return self._touchpad

    # -- playback --------------------------------------------------------------------------------

    def play(self) -> None:
        self._control("play", codes.PLAY)

    def pause(self) -> None:
        self._control("pause", codes.PAUSE)

    def play_pause(self) -> None:
        self._press("play_pause")

    def next(self) -> None:
        self._control("next", codes.NEXT)

    def previous(self) -> None:
        self._control("previous", codes.PREVIOUS)

    def skip_forward(self, seconds: float) -> None:
        self._control("skip_forward", codes.SKIP_BY, _skpS=float(seconds or SKIP))

    def skip_backward(self, seconds: float) -> None:
        self._control("skip_backward", codes.SKIP_BY, _skpS=-float(seconds or SKIP))

    def begin_fast_forward(self) -> None:
        self._control("begin_fast_forward", codes.BEGIN_FAST_FORWARD)

    def end_fast_forward(self) -> None:
        self._control("end_fast_forward", codes.END_FAST_FORWARD)

    def begin_rewind(self) -> None:
        self._control("begin_rewind", codes.BEGIN_REWIND)

    def end_rewind(self) -> None:
        self._control("end_rewind", codes.END_REWIND)

    def captions(self, mode: str) -> None:
        self._control("captions", codes.SET_CAPTIONS, _mcs=codes.CAPTIONS[mode])

    def _control(self, word: str, number: int, **more: Any) -> dict[Any, Any]:
        return self._ask(word, "_mcc", {"_mcc": number, **more})

    # -- volume ----------------------------------------------------------------------------------

    def volume_up(self) -> None:
        self._key("volume_up")

    def volume_down(self) -> None:
        self._key("volume_down")

    def _key(self, word: str) -> None:
        """Press a volume key.

        Done when the device has acknowledged it, since not all outputs report the new volume. No
        other button needs to be up, so those do not wait for this one.
        """
        with self._alone(word, self._turning):
            self._down_and_up(word, word, 0)

    def volume(self, output_device: str | None = None) -> float:
        self._check_output("volume", output_device)
        level = _percent(self._control("volume", codes.GET_VOLUME).get("_vol"))
        if level is None:
            raise CommandFailed("volume: the device does not report it (companion)", "volume")
        return level

    def set_volume(self, level: float, output_device: str | None = None) -> None:
        self._check_output("set_volume", output_device)
        self._set_volume("set_volume", level)

    def mute(self) -> None:
        if not self._controls or not self._controls & VOLUME:
            self._key("mute")  # the output knows by itself whether it is mute
            return
        level = self.volume()
        if not level and not self._muted:
            raise CommandFailed(
                "mute: it is at 0 %, and how loud it was before is not known: set_volume"
                " (companion)",
                "mute",
            )
        if level:
            self._muted = level
        self._set_volume("mute", 0.0 if level else self._muted)

    def _has_volume(self) -> bool:
        return self._controls is None or bool(self._controls & VOLUME)

    def _check_output(self, word: str, output_device: str | None) -> None:
        if output_device is not None:
            raise NotSupported(f"{word}: Companion does not know output devices")
        if not self._has_volume():
            raise NotSupported(
                f"{word}: the output only knows volume_up and volume_down (companion)"
            )

    def _set_volume(self, word: str, level: float) -> None:
        """Set the volume, and wait until it is so: the answer comes before that."""
        with self._changed:
            known = self._level
        self._control(word, codes.SET_VOLUME, _vol=level / 100)
        if known is not None and abs(known - level) < 0.05:
            return  # a volume that does not change is not reported

        def there() -> bool:
            return self._level is not None and abs(self._level - level) <= ROUNDING

        if not self._await(there, SETTLE) and abs(self.volume() - level) > ROUNDING:
            raise CommandFailed(f"{word}: the volume stays as it was (companion)", word)

    # -- power -----------------------------------------------------------------------------------

    def power_state(self) -> PowerState:
        self._fetch_power()
        with self._changed:
            self._check()
            return self._power

    def _fetch_power(self) -> None:
        """Ask: not all systems report every change. Those that do not answer are asked once."""
        if not self._fetches:
            return
        answer = self._try("FetchAttentionState", {})
        if answer is None:
            self._fetches = self._fetched
            return
        self._fetched = True
        with self._changed:
            first = self._power is PowerState.Unknown
            events = self._set_power(answer)
            self._changed.notify_all()
        for event in events if self._listening and not first else ():
            self._post(event)

    def turn_on(self) -> None:
        self._switch("turn_on")

    def turn_off(self) -> None:
        self._switch("turn_off")

    def _switch(self, word: str) -> None:
        with self._alone(word):
            self._edge(word, word, codes.UP)  # Sleep and Wake have no other edge

    # -- apps and accounts -----------------------------------------------------------------------

    def apps(self) -> list[App]:
        answer = self._ask("apps", "FetchLaunchableApplicationsEvent", {}, full=True)
        return [App(name, identifier) for identifier, name in _names(answer)]

    def launch(self, target: str) -> None:
        key = "_urlS" if ":" in target else "_bundleID"
        self._ask("launch", "_launchApp", {key: target})

    def accounts(self) -> list[Account]:
        answer = self._ask("accounts", "FetchUserAccountsEvent", {}, full=True)
        return [Account(name, identifier) for identifier, name in _names(answer)]

    def switch_account(self, identifier: str) -> None:
        self._ask("switch_account", "SwitchUserAccountEvent", {"SwitchAccountID": identifier})

    # -- text ------------------------------------------------------------------------------------

    def text_focus(self) -> KeyboardFocus:
        with self._changed:
            self._check()
            return self._focus

    def text_get(self) -> str | None:
        with self._typing:
            field = self._field("text_get")
        return None if field is None else field.text

    def text_set(self, text: str) -> None:
        from .companion_text import clearing, insertion

        more = [lambda session: insertion(session, text)] if text else []
        self._type("text_set", clearing, *more)

    def text_append(self, text: str) -> None:
        from .companion_text import insertion

        self._type("text_append", lambda session: insertion(session, text))

    def text_clear(self) -> None:
        from .companion_text import clearing

        self._type("text_clear", clearing)

    def _field(self, word: str) -> Field | None:
        """The text field that has the focus now, or None: a new text session says which."""
        from .companion_text import read

        self._try("_tiStop", {})
        answer = self._ask(word, "_tiStart", {})
        with self._changed:
            self._set_focus(answer)
        return read(answer["_tiD"]) if "_tiD" in answer else None

    def _type(self, word: str, *edits: Callable[[bytes], bytes]) -> None:
        with self._typing:
            field = self._field(word)
            if field is None:
                raise CommandFailed(f"{word}: no text field is open (companion)", word)
            for edit in edits:
                self._send_event("_tiC", {"_tiV": 1, "_tiD": edit(field.session)})
            self._settle()

    # -- what can be used ------------------------------------------------------------------------

    def features(self) -> dict[str, FeatureState]:
        """What the device says that it can do now."""
        with self._changed:
            controls, focus, power = self._controls, self._focus, self._power
        there = dict.fromkeys(ALWAYS, True)
        there.update(dict.fromkeys(TOUCHES, self._touchpad is not None))
        there.update(dict.fromkeys(TYPES, focus is KeyboardFocus.Focused))
        there.update((name, bool((controls or 0) & bit)) for name, bit in CONTROLS.items())
        states = {
            name: FeatureState.Available if can else FeatureState.Unavailable
            for name, can in there.items()
        }
        if controls is None:
            states.update(dict.fromkeys(CONTROLS, FeatureState.Unknown))
        known = power is not PowerState.Unknown
        states["power_state"] = FeatureState.Available if known else FeatureState.Unknown
        return states


def _percent(level: Any) -> float | None:
    """The percent of a volume of 0 to 1, with one decimal; None if it is none."""
    if isinstance(level, (int, float)) and 0 <= level <= 1:
        return round(100 * level, 1)
    return None


def power_of(state: Any) -> PowerState | None:
    """What a state of attention amounts to; None if it makes no sense."""
    if isinstance(state, str) and state.isdecimal():
        state = int(state)
    return ATTENTION.get(state, PowerState.Unknown) if isinstance(state, int) else None


def _names(answer: dict[Any, Any]) -> list[tuple[str, str | None]]:
    """(identifier, name) of apps or accounts, in the order of the device, with plain spaces."""
    return [
        (identifier, name.replace("\xa0", " ") if isinstance(name, str) else None)
        for identifier, name in answer.items()
        if isinstance(identifier, str)
    ]


def secure(link: Link, wire: CompanionWire, credentials: Credentials) -> None:
    """Verify each other, and encrypt everything from here on.

    Raises:
        CredentialsError: The device does not accept the credentials, or is another one.
        ProtocolError: It answers with nonsense.
        CommandTimeout: It does not answer.
    """
    exchange = exchange_by(link, "verify", VERIFY_START, VERIFY_NEXT, {})
    from ..crypto.chacha20poly1305 import Session
    from ..pairing.hap import channel_keys, drive
    from ..pairing.hap_verify import hap_verify

    secret = drive(hap_verify(credentials), exchange)
    wire.secure(Session(*channel_keys(secret, "companion"), wide=True))


def exchange_by(
    link: Link, what: str, start: int, after: int, fields: dict[str, int]
) -> Callable[[bytes], bytes]:
    """What carries a handshake: its first message in a frame of kind `start`.

    Args:
        link: The connection.
        what: ``"pair"`` or ``"verify"``, for errors; those of "verify" are about credentials.
        start: Kind of the first frame.
        after: Kind of all others, the device's included.
        fields: What is sent beside each message.
    """
    verifying = what == "verify"
    kinds = iter([start])

    def exchange(data: bytes) -> bytes:
        kind = next(kinds, after)
        message = {"_pd": data, **fields}
        if kind == VERIFY_START:
            message["_auTy"] = 4
        try:
            kind, reply = link.request((kind, message))
        except CommandTimeout as exc:
            hint = "" if verifying else ": is the device awake?"
            raise CommandTimeout(f"no reply to {what} in time (companion){hint}") from exc
        answer = reply.get("_pd")
        if kind == after and isinstance(answer, bytes):
            return answer
        if refused(reply):
            text = f"the device refuses to {what}: {refusal(reply)}"
            raise CredentialsError(text, refused=True) if verifying else PairingError(text)
        raise ProtocolError(f"{what}: the answer makes no sense (companion)")

    return exchange


def refused(reply: dict[object, object]) -> bool:
    """True for a reply that says no, be it with a code, a text, or a user info alone."""
    return bool(reply.get("_ec") or reply.get("_em") or reply.get("_eu"))


def error_code(reply: dict[object, object]) -> int | None:
    """The code of a reply that says no, or None. Codes are signed, such as -6762."""
    code = reply.get("_ec")
    if not isinstance(code, int) or isinstance(code, bool):
        return None
    number = opack.signed(code)
    if 1 << 31 <= number < 1 << 32:  # of 32 bits, written in more
        number -= 1 << 32
    # Written in two bytes, the code of a request without a handler is negative, too; it is known
    # as the unsigned one.
    return number & 0xFFFF if number == codes.NO_HANDLER - (1 << 16) else number


def refusal(reply: dict[object, object]) -> str:
    """The words of a reply that says no."""
    text, code = reply.get("_em"), error_code(reply)
    info = reply.get("_eu")
    if not isinstance(text, str):
        text = info.get("NSLocalizedDescription") if isinstance(info, dict) else info
    words = on_one_line(text)[:200] if isinstance(text, str) else ""
    number = f"error {code}, " if code else ""
    return f"{words or 'refused'} ({number}companion)"
