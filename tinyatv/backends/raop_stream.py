"""Sound on its way to a speaker: announced over RTSP, sent over UDP by the clock.

ANNOUNCE          what comes, as SDP
SETUP             our UDP ports -> the speaker's
SET_PARAMETER     volume, progress, title, artwork
RECORD, FLUSH     number and timestamp of the first packet
... packets, each when it is due; a sync packet once a second
TEARDOWN

Packet n is due at start + n x 352 / 44100 s: one thread waits for that, and sends. Another one
reads the source and makes the payloads ahead of time, so that a slow disk is not heard.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from typing import TYPE_CHECKING, Callable

from ..deadline import Deadline
from ..errors import (
    AppleTVError,
    CommandFailed,
    CommandTimeout,
    CredentialsError,
    NotSupported,
    ProtocolError,
)
from ..wire import alac, dmap, rtp, sdp
from ..wire.airplay_codes import OCTETS, PARAMETERS
from ..wire.dmap_codes import CONTENT_TYPE
from ..wire.raop_codes import ALAC, EXTRA_LATENCY, FRAMES, L16, RATE, SDP
from ..wire.volume import decibels, percent
from .airplay_session import read_plist
from .raop_ports import Ports, Report, ntp
from .raop_source import PACKET

if TYPE_CHECKING:
    from ..model import Artwork
    from ..wire.http import Response
    from .airplay_session import ControlConnection
    from .raop_source import Sound

log = logging.getLogger(__name__)

SPAN = FRAMES / RATE  # s of a packet
LATENCY = 22050 + RATE  # frames between sending and hearing: 1.5 s, as Apple's senders begin with
LEAD_IN = 12  # packets of silence; shairport-sync 3 swallows the first 9
TAIL = -(-(LATENCY + EXTRA_LATENCY) // FRAMES)  # packets until the last frame was heard
AHEAD = 250  # packets that are made ahead: 2 s
BURST, PAUSE = 4, 0.002  # packets that leave at once after a delay, and s between such bursts
STALL = 1.0  # s; who is later than this cannot catch up
SYNC_EVERY = 1.0  # s
PATIENCE = 2.0  # s for the speaker to ask for the time: all do at once
DEFAULT_VOLUME = 33.0  # percent, for speakers that do not say what theirs is
OPTIONAL = 4.0  # s for an answer that we can do without
GOODBYE = 2.0  # s for the answer to TEARDOWN
AUTH_SETUP = bytes.fromhex(  # "no encryption", and a Curve25519 key: any will do
    "015902ede90d4ef2bd4cb68a6330038207a94dbd50d8aa465b5d8c012a0c7e1d4e"
)

FORMS = {  # name: codec, with fmtp
    "alac": (ALAC, True),
    "l16": (L16, False),
    "l16-fmtp": (L16, True),
}
"""How sound may be announced. Every receiver tried takes the first; `fmtp` with L16 is for Apple's
own devices: shairport-sync dies of it, and without it its newer build stays silent."""

REFUSED = (CommandFailed, CommandTimeout, CredentialsError, NotSupported, ProtocolError)


class Asked:
    """What the caller wants.

    Attributes:
        title: Shown by the speaker; None for nothing, and so are the next two.
        artist: The same.
        album: The same.
        artwork: JPEG or PNG, or None.
        volume: Percent; None leaves it as it is, where the speaker says so.
        form: One of `FORMS`.
        control_port: Own UDP port; 0 picks a free one.
        timing_port: Own UDP port; 0 picks a free one.
        metadata: What the speaker takes: "0" text, "1" artwork, "2" progress.
        authorize: True to send ``/auth-setup`` first.
    """

    def __init__(
        self, *, title: str | None = None, artist: str | None = None, album: str | None = None,
        artwork: Artwork | None = None, volume: float | None = None, form: str = "alac",
        control_port: int = 0, timing_port: int = 0, metadata: tuple[str, ...] = (),
        authorize: bool = False,
    ) -> None:  # fmt: skip
        self.title = title
        self.artist = artist
        self.album = album
        self.artwork = artwork
        self.volume = volume
        self.form = form
        self.control_port = control_port
        self.timing_port = timing_port
        self.metadata = metadata
        self.authorize = authorize


class AudioStream:
    """Sound that is being sent to a speaker. Use it in a ``with`` block, or call :meth:`stop`.

    Attributes:
        report: What is known about it beside its sound.
        warnings: What may keep it from being heard, in words; it may grow while it plays.
        volume: Percent, as set last.
    """

    def __init__(
        self,
        control: ControlConnection,
        sound: Sound,
        asked: Asked,
        *,
        name: str,
        warnings: list[str],
        changed: Callable[[AudioStream], object],
    ) -> None:
        self.report = Report()
        self.warnings = warnings
        self.volume = DEFAULT_VOLUME
        self._control = control
        self._sound = sound
        self._asked = asked
        self._changed = changed
        self._name = name
        self._packs = FORMS[asked.form][0] == ALAC
        self._session: list[tuple[str, str]] = []  # header
        self._sequence = secrets.randbits(16)
        self._timestamp = secrets.randbits(31)  # of the first packet; hours until it wraps
        self._ports: Ports | None = None
        self._ready: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._sent = 0  # packets of the source
        self._complete = False
        self._error: AppleTVError | None = None
        self._stopping = threading.Event()
        self._done = threading.Event()
        self._starting = threading.Lock()  # over starting and stopping
        self._clock = threading.Thread(target=self._run, name=name, daemon=True)
        self._reader = threading.Thread(target=self._read, name=f"{name}-read", daemon=True)
        self._set_up = False
        control.lost = self._lost

    def __repr__(self) -> str:
        return f"AudioStream({self.state}, {self.position:.0f}/{self.duration:.0f} s)"

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- what it does ----------------------------------------------------------------------------

    @property
    def title(self) -> str | None:
        """As given."""
        return self._asked.title

    @property
    def artist(self) -> str | None:
        """As given."""
        return self._asked.artist

    @property
    def album(self) -> str | None:
        """As given."""
        return self._asked.album

    @property
    def artwork(self) -> Artwork | None:
        """As given."""
        return self._asked.artwork

    @property
    def position(self) -> float:
        """Seconds of the source that were sent; they are heard about 2 s later."""
        sent = self._sent * SPAN
        return min(sent, self.duration) if self._sound.frames is not None else sent

    @property
    def duration(self) -> float:
        """Seconds; 0 if that is not known."""
        return self._sound.duration

    @property
    def state(self) -> str:
        """``"playing"``; then ``"ended"`` (it came to its end), ``"stopped"`` or ``"failed"``."""
        if not self._done.is_set():
            return "playing"
        if self._error is not None:
            return "failed"
        return "ended" if self._complete else "stopped"

    @property
    def playing(self) -> bool:
        """False once it is over."""
        return not self._done.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is over.

        Args:
            timeout: Seconds; None waits forever.

        Returns:
            False if it still plays.

        Raises:
            AppleTVError: It did not play to its end: why.
        """
        if not self._done.wait(timeout):
            return False
        if self._error is not None:
            raise self._error
        return True

    def stop(self) -> None:
        """Stop it, and close everything. Safe to call twice and from any thread."""
        self.abort(None)

    def abort(self, error: AppleTVError | None) -> None:
        """Stop it because of an error, which is raised in all callers that wait for it."""
        self._end(error)
        if self._clock.ident is None:
            self._finish()
        elif threading.current_thread() is not self._clock:
            self._clock.join(10)

    def _end(self, error: AppleTVError | None) -> None:
        if error is not None and not self._done.is_set():
            self._error = self._error or error
        with self._starting:
            self._stopping.set()

    def _lost(self, error: AppleTVError) -> None:
        self._end(error)

    # -- the beginning ---------------------------------------------------------------------------

    def start(self) -> None:
        """Agree with the speaker, and begin to send.

        Raises:
            CommandFailed: It refuses.
            CredentialsError: It wants a password, or another one.
            ConnectionLost: It hangs up.
            OSError: A port is taken.
        """
        try:
            self._reader.start()
            self._agree()
            with self._starting:
                if not self._stopping.is_set():
                    self._clock.start()
            if self._error is not None:
                raise self._error
        except BaseException:  # the caller has nothing to stop it with
            self.stop()
            raise

    def _agree(self) -> None:
        asked, control = self._asked, self._control
        volume = asked.volume
        told = self._told_volume()
        if volume is None:
            volume = told
        self.volume = DEFAULT_VOLUME if volume is None else volume
        if asked.authorize:
            self._try("POST", AUTH_SETUP, OCTETS, path="/auth-setup")
        codec, parameters = FORMS[asked.form]
        body = sdp.encode(control.number, control.local, control.remote, codec, parameters)
        control.about_session("ANNOUNCE", body, SDP)
        ports = self._ports = Ports(
            control.local, control.remote, asked.control_port, asked.timing_port, self.report,
            f"{self._name}-ports",
        )  # fmt: skip
        transport = (
            "RTP/AVP/UDP;unicast;interleaved=0-1;mode=record;"
            f"control_port={ports.control};timing_port={ports.timing}"
        )
        answer = control.about_session("SETUP", headers=[("Transport", transport)])
        self._set_up = True
        session = answer.header("Session")
        if session is not None:
            self._session = [("Session", session.partition(";")[0].strip())]
        audio, theirs = read_transport(answer.header("Transport") or "")
        asks = asked.volume is not None or told is None
        refused = asks and self._try_volume() is None
        ports.start(audio, theirs)
        self._describe()
        if self._try("POST", path="/feedback") is not None:
            control.start_feedback()
        start = [*self._session, ("Range", "npt=0-"), self._first]
        control.about_session("RECORD", headers=start)
        control.about_session("FLUSH", headers=start)
        if refused:
            self._try_volume()  # some take it only now

    @property
    def _first(self) -> tuple[str, str]:
        return "RTP-Info", f"seq={self._sequence};rtptime={self._timestamp}"

    def _told_volume(self) -> float | None:
        """The volume that the speaker has, in percent; None if it does not say."""
        try:
            answer = self._control.about_session("GET", path="/info", timeout=OPTIONAL)
            info = read_plist(answer.body)
        except REFUSED as exc:
            log.debug("no /info: %s", exc)
            return None
        told = info.get("initialVolume") if isinstance(info, dict) else None
        if isinstance(told, float) and -144.0 <= told <= 0.0:
            return percent(told)
        return None

    def _try(
        self, method: str, body: bytes = b"", content_type: str | None = None,
        headers: tuple[tuple[str, str], ...] = (), path: str | None = None,
    ) -> Response | None:  # fmt: skip
        """Ask for something that not all of them know; None if it is refused."""
        try:
            return self._control.about_session(
                method, body, content_type, [*self._session, *headers], path=path, timeout=OPTIONAL
            )
        except REFUSED as exc:
            log.info("%s: %s", path or method, exc)
            return None

    def _try_volume(self) -> Response | None:
        body = f"volume: {decibels(self.volume):.6g}\r\n".encode()
        return self._try("SET_PARAMETER", body, PARAMETERS)

    def set_volume(self, level: float) -> None:
        """Set the volume of the speaker for this stream.

        Args:
            level: Percent, 0 to 100.

        Raises:
            CommandFailed: The speaker refuses.
        """
        body = f"volume: {decibels(level):.6g}\r\n".encode()
        self._control.about_session("SET_PARAMETER", body, PARAMETERS, self._session)
        self.volume = level

    def _describe(self) -> None:
        """Send progress, text and picture, as far as the speaker takes them."""
        asked = self._asked
        if "2" in asked.metadata and self._sound.frames is not None:
            begin = self._timestamp + LEAD_IN * FRAMES
            end = begin + self._sound.frames
            text = "/".join(str(one & 0xFFFFFFFF) for one in (begin, begin, end))
            self._try("SET_PARAMETER", f"progress: {text}\r\n".encode(), PARAMETERS)
        known = (("minm", asked.title), ("asal", asked.album), ("asar", asked.artist))
        items = [(code, text) for code, text in known if text]
        if "0" in asked.metadata and items:
            body = dmap.encode([("mlit", items)])
            self._try("SET_PARAMETER", body, CONTENT_TYPE, (self._first,))
        if "1" in asked.metadata and asked.artwork is not None:
            art = asked.artwork
            self._try("SET_PARAMETER", art.data, art.mimetype, (self._first,))

    # -- the reader ------------------------------------------------------------------------------

    def _read(self) -> None:
        """Make payloads ahead of time."""
        try:
            while not self._stopping.is_set():
                samples = self._sound.read()
                if not samples:
                    break
                self._ready.put(alac.pack(samples) if self._packs else samples)
            self._ready.put(None)
        except Exception as exc:  # whatever the reader of a stranger raises
            self._end(CommandFailed(f"stream: the source: {exc}", "stream"))
        finally:
            self._sound.close()

    def _drain(self) -> None:
        """Let the reader see that it has to end; it may wait for room in the queue."""
        deadline = Deadline(1.0)
        while self._reader.is_alive() and not deadline.over:
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._reader.join(0.01)

    # -- the clock -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._changed(self)
            self._send_all()
        except Exception as exc:  # a bug here must not leave a stream that looks alive
            log.exception("%s: failed", self._name)
            self._error = self._error or ProtocolError(f"stream: {exc}")
        finally:
            self._finish()

    def _send_all(self) -> None:
        ports, report = self._ports, self.report
        assert ports is not None, "there was a SETUP"
        source = self._control.number
        silence = alac.pack(bytes(PACKET)) if self._packs else bytes(PACKET)
        start = time.monotonic() + SPAN
        number = burst = 0
        tail = TAIL
        next_sync = 0.0
        first_sync = True
        watching = True
        while tail:
            due = start + number * SPAN
            late = time.monotonic() - due
            if late < 0.0:
                burst = 0
                if self._stopping.wait(-late):
                    return
                late = max(0.0, time.monotonic() - due)
            elif self._stopping.is_set():
                return
            if late > STALL:  # the speaker has fallen silent long ago: go on from here
                report.stalls += 1
                start += late
                due += late
                next_sync = 0.0
                log.warning("%s: %.1f s late", self._name, late)
            elif late > SPAN:
                burst += 1
                if burst % BURST == 0 and self._stopping.wait(PAUSE):
                    return
            report.latest = max(report.latest, late)
            timestamp = self._timestamp + number * FRAMES
            if due - start >= next_sync or first_sync:
                ports.sync(rtp.Sync(timestamp - LATENCY, ntp(due), timestamp, first_sync))
                next_sync = due - start + SYNC_EVERY
                first_sync = False
            payload = silence
            if number >= LEAD_IN:
                if self._complete:
                    tail -= 1
                else:
                    payload = self._next() or silence
            sequence = (self._sequence + number) & 0xFFFF
            audio = rtp.Audio(sequence, timestamp, source, payload, number == 0)
            ports.send(sequence, audio.encode())
            number += 1
            if watching and number * SPAN >= PATIENCE:
                watching = False
                self._check_timing(ports)

    def _next(self) -> bytes | None:
        """The next payload; None if there is none, now or at all."""
        try:
            payload = self._ready.get_nowait()
        except queue.Empty:
            self.report.silent += 1
            return None
        if payload is None:
            self._complete = True
        else:
            self._sent += 1
        return payload

    def _check_timing(self, ports: Ports) -> None:
        if not self.report.timing:
            text = (
                f"the speaker does not synchronise; UDP ports {ports.control} and {ports.timing}"
                " of this computer must be let in"
            )
            self.warnings.append(text)
            log.warning("%s: %s", self._name, text)

    # -- the end ---------------------------------------------------------------------------------

    def _finish(self) -> None:
        if self._done.is_set():
            return
        self._stopping.set()
        if self._set_up:  # or else the speaker stays busy
            try:
                self._control.about_session("TEARDOWN", headers=self._session, timeout=GOODBYE)
            except AppleTVError as exc:
                log.debug("TEARDOWN: %s", exc)
        if self._ports is not None:
            self._ports.close()
        self._control.close()
        if self._reader.ident is not None:
            self._drain()
        else:
            self._sound.close()
        self._done.set()
        self._changed(self)


def read_transport(header: str) -> tuple[int, int]:
    """The speaker's ports for sound and control (0 for none) in the answer to SETUP.

    Raises:
        ProtocolError: There is none for sound.
    """
    options = dict(part.strip().partition("=")[::2] for part in header.split(";"))
    ports = []
    for name in ("server_port", "control_port"):
        text = options.get(name, "0")
        ports.append(int(text) if text.isdecimal() and len(text) < 6 else 0)
    if not 0 < ports[0] < 65536 or ports[1] > 65535:
        raise ProtocolError(f"SETUP: no port for sound in {header[:80]!r} (raop)")
    return ports[0], ports[1]
