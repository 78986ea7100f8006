"""Playing a URL on a device, in three ways; each keeps its control connection open while it plays.

"1"      /play on a connection in clear, as up to tvOS 10
"2"      /play inside a session, as up to tvOS 17
"queue"  commands that fill the play queue, from tvOS 18 on
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from ..addresses import sockaddr
from ..deadline import Deadline
from ..errors import (
    AppleTVError,
    CommandFailed,
    CommandTimeout,
    ConnectionLost,
    NotSupported,
    ProtocolError,
)
from ..link import reason
from ..pairing.hap import own_mac
from ..threads import FORKED, join, start
from ..wire import airplay_codes as codes
from ..wire import plist
from ..wire.http import Request
from .airplay_fetch import Fetcher, FetchQueue
from .airplay_session import ControlConnection, new_uuid, read_plist

if TYPE_CHECKING:
    from .fileserver import FileServer

log = logging.getLogger(__name__)

END = 3.0  # s; what is over less than this before its end was played to its end: we only poll
POLL = 1.0  # s between two polls of the position
STARTING = 0.2  # s between two polls until it has begun
TRIES = 3  # of /play: a 500 is transient, and goes away when it is sent again
SLIPS = 5  # polls in a row that a device may answer with a 500 while it plays
SETUP_TIMEOUT = 35.0  # s; a device that cannot reach our NTP clock answers 400, after 30 s
QUEUE_AGENT = "AirPlay/870.14.1"  # what newer senders call themselves


class Status:
    """How far it is.

    Attributes:
        position: Seconds from the start.
        duration: Seconds; 0 if it is not known.
        rate: Speed; 0 is paused.
        started: True once it has begun.
        ended: True once it is over.
        complete: True if that is because it came to its end, as far as is known.
        said: What the device said of it last, in its words; empty if it says nothing.
    """

    __slots__ = ("complete", "duration", "ended", "position", "rate", "said", "started")

    def __init__(self) -> None:
        self.position = self.duration = self.rate = 0.0
        self.started = self.ended = self.complete = False
        self.said = ""


class PlayMethod:
    """One way to play a URL.

    Args:
        control: An open connection of its own.
        client_id: Who we are.
        prefers_ptp: Which clock to offer first.
        about: What the TV may show: ``"Title"``, ``"Artist"``, ``"Album"``.
        path: The file that the URL stands for, if it is one of ours.
    """

    name = ""

    def __init__(
        self,
        control: ControlConnection,
        client_id: bytes,
        prefers_ptp: bool = False,
        about: dict[str, str] | None = None,
        path: str | None = None,
    ) -> None:
        self.prefers_ptp = prefers_ptp
        self.about = about or {}
        self.path = path
        self._control = control
        self._client_id = client_id
        self.status = Status()
        self.error: AppleTVError | None = None  # the connection is gone
        self.changed = threading.Event()  # something is to be looked at before the next poll
        control.lost = self._lost

    def loss(self, error: ConnectionLost) -> AppleTVError:
        """Why a request failed: the same, whether that or the reader has noticed it first."""
        return self.error or self._control.loss(error)

    def _lost(self, error: AppleTVError) -> None:
        self.error = error
        self.changed.set()

    def play(self, url: str, position: float) -> None:
        """Begin; returns when the device has accepted it, which is before it plays."""
        raise NotImplementedError

    def poll(self) -> None:
        """Bring the status up to date."""
        raise NotImplementedError

    def set_rate(self, rate: float) -> None:
        """Pause (0) or go on (1)."""
        self._control.http("POST", f"/rate?value={rate:f}")

    def seek(self, seconds: float) -> None:
        """Jump."""
        self._control.http("POST", f"/scrub?position={seconds:f}")
        self.status.position = seconds

    def stop(self) -> None:
        """Ask the device to stop."""
        self._control.http("POST", "/stop", timeout=5.0)

    def close(self) -> None:
        """Close everything, whatever state it is in. Safe to call twice."""
        self._control.close()


class AirPlay1(PlayMethod):
    """``/play``, and questions once a second."""

    name = "1"

    def play(self, url: str, position: float) -> None:
        # A position here would be a fraction of a length that is not known yet: seek later.
        self._uuid = new_uuid().lower()
        body = {
            "Content-Location": url,
            "Start-Position": 0.0,
            "X-Apple-Session-ID": self._uuid,
        }
        headers = [("User-Agent", "MediaControl/1.0"), ("X-Apple-Session-ID", self._uuid)]
        self._play(body, headers)
        self._seek_to = position

    def _play(self, body: dict[str, Any], headers: list[tuple[str, str]]) -> None:
        data = plist.dumps(body)
        self._control.http("POST", "/play", data, headers, content_type=codes.PLIST, timeout=20.0)

    _seek_to = 0.0

    _slips = 0

    def poll(self) -> None:
        try:
            response = self._control.http("GET", "/playback-info")
        except CommandFailed as exc:
            self._slips += 1
            if exc.code != 500 or not self.status.started or self._slips > SLIPS:
                raise
            log.info("%s; asked again", exc)
            return
        self._slips = 0
        answer = read_plist(response.body)
        if not isinstance(answer, dict):
            raise ProtocolError("playback-info: no dictionary (airplay)", response.body[:256])
        error = answer.get("error")
        if error:
            code = error.get("code") if isinstance(error, dict) else None
            domain = error.get("domain", "") if isinstance(error, dict) else ""
            raise CommandFailed(
                f"play_url: the device cannot play it: error {code} {domain}".rstrip(),
                "play_url",
                code if isinstance(code, int) else None,
            )
        status = self.status
        if "duration" not in answer:
            status.ended = status.started
            status.complete = 0 < status.duration <= status.position + END
            return
        status.started = True
        status.duration = _seconds(answer["duration"])
        status.position = _seconds(answer.get("position"))
        status.rate = _seconds(answer.get("rate"))
        if self._seek_to and answer.get("readyToPlay", True):
            self._seek_to, to = 0.0, self._seek_to
            self.seek(to)


class AirPlay2(AirPlay1):
    """The same inside a session, without which the device accepts it and shows nothing."""

    name = "2"

    _clock: _Clock | None = None

    def _begin(self) -> str:
        """Begin a session by the clock that the device likes; returns its UUID.

        Newer systems refuse NTP and older ones PTP, on a connection that stays usable. With PTP
        they ask us nothing.
        """
        self._clock = _Clock(self._control.local)
        self._clock.start()
        uuid = new_uuid()
        ntp = session(self._client_id, uuid, self._clock.port)
        own = self._control.local.partition("%")[0]  # our scope means nothing to the device
        ptp = ptp_session(self._client_id, uuid, own)
        first, second = (ptp, ntp) if self.prefers_ptp else (ntp, ptp)
        try:
            self._control.set_up(first, self.heard, timeout=SETUP_TIMEOUT)
        except CommandFailed as exc:
            if exc.code != 400:
                raise
            log.info("%s; with the other clock", exc)
            self._control.set_up(second, self.heard, timeout=SETUP_TIMEOUT)
        return uuid

    def close(self) -> None:
        if self._clock is not None:
            self._clock.close()
        super().close()

    def play(self, url: str, position: float) -> None:
        self._begin()
        self._control.start_feedback()
        mac = own_mac(self._client_id)
        body = {
            "Content-Location": url,
            "Start-Position-Seconds": position,
            "uuid": new_uuid(),
            "streamType": 1,
            "mediaType": "file",
            "volume": 1.0,
            "rate": 1.0,
            "clientBundleID": "org.tinyatv",
            "clientProcName": "tinyatv",
            "osBuildVersion": "20G1116",
            "model": "iPhone14,3",
            "SenderMACAddress": mac,
            "mightSupportStorePastisKeyRequests": True,
            "playbackRestrictions": 0,
            "referenceRestrictions": 3,
            **dict.fromkeys(
                ("secureConnectionMs", "infoMs", "connectMs", "authMs", "bonjourMs", "postAuthMs"),
                0,
            ),
        }
        headers = [
            ("User-Agent", "AirPlay/550.10"),
            ("X-Apple-ProtocolVersion", "1"),
            ("X-Apple-Session-ID", new_uuid().lower()),
            ("X-Apple-Stream-ID", "1"),
        ]
        self._play(body, headers)
        time_zero = {"flags": 0, "value": 0, "epoch": 0, "timescale": 0}
        self._property("isInterestedInDateRange", True)
        self._property("actionAtItemEnd", 0)
        self._control.http("POST", "/rate?value=1.000000")  # it starts paused otherwise
        self._property("forwardEndTime", time_zero)
        self._property("reverseEndTime", time_zero)

    def heard(self, request: Request) -> None:
        """The device says something on the event channel."""

    def _property(self, name: str, value: Any) -> None:
        try:
            self._control.rtsp("PUT", f"/setProperty?{name}", {"value": value})
        except (CommandFailed, NotSupported) as exc:
            log.debug("not needed: %s", exc)


class Queue(AirPlay2):
    """Commands for the play queue; what becomes of them comes as events."""

    name = "queue"
    _since = 0.0
    _began = False
    _fetches: FetchQueue | None = None

    def play(self, url: str, position: float) -> None:
        name = f"tinyatv-stream-fetch-{self._control.remote}"
        self._fetches = FetchQueue(Fetcher(url, self.path), self._command, name)
        self._counting = threading.Lock()
        self._advance(position=position)
        self._session = self._begin()
        stream = {
            "type": codes.STREAM,
            "controlType": codes.QUEUE_CONTROL,
            "clientTypeUUID": codes.PLAY_QUEUE,
            "clientUUID": new_uuid(),
            "channelID": f"{new_uuid()}-RCS-1",
        }
        answer = self._control.rtsp("SETUP", None, {"streams": [stream]})
        streams = answer.get("streams") if isinstance(answer, dict) else None
        first = streams[0] if isinstance(streams, list) and streams else answer
        self._stream = str(first.get("streamID", 1)) if isinstance(first, dict) else "1"
        self._item = {"uuid": new_uuid()}
        item = {**self._item, "mediaType": "file", "Content-Location": url}
        if url.partition("?")[0].endswith(".m3u8"):
            item["HLS-Content-Location"] = url  # or it ends after the segments listed now
        if position:
            item["Start-Position-Seconds"] = position  # type: ignore[assignment]
        if "Title" in self.about:
            item["title"] = self.about["Title"]
        self._command({"type": "insertPlayQueueItem", "item": item})
        interested = {"type": "setProperty", "property": "isInterestedInDateRange", "value": True}
        self._command({**interested, "item": self._item})
        self._command({"type": "setProperty", "property": "actionAtItemEnd", "value": 1})
        self.set_rate(1.0)
        self._control.start_feedback()

    def _command(self, command: dict[str, Any], timeout: float | None = None) -> None:
        inner = plist.dumps(command)
        body = plist.dumps({"params": {"data": inner}})
        headers = [
            ("User-Agent", QUEUE_AGENT),
            ("X-Apple-ProtocolVersion", "1"),
            ("X-Apple-Session-ID", self._session),
            ("X-Apple-StreamID", self._stream),
        ]
        self._control.http(
            "POST", "/command", body, headers, content_type=codes.PLIST, timeout=timeout
        )  # fmt: skip

    def heard(self, request: Request) -> None:
        try:
            answer = plist.loads(plist.loads(request.body)["params"]["data"])
        except (ValueError, KeyError, TypeError):  # of another kind, or nonsense
            return
        if not isinstance(answer, dict):
            return
        params = answer.get("params")
        state = params.get("playbackState") if isinstance(params, dict) else None
        state, status = state or answer.get("name"), self.status
        if answer.get("type") == "unhandledURL" and self._fetches is not None:
            self._fetches.add(answer)
            return
        if answer.get("type") == "playbackState":
            status.said = state if isinstance(state, str) else ""
            if state == "playing":
                self._advance(1.0)
                self._began = True
            elif state == "paused":
                self._advance(0.0)
            elif state == "stopped":
                status.ended = self._began
        elif answer.get("type") == "notification" and state == "itemPlayedToEnd":
            status.ended = status.complete = self._began
        self.changed.set()

    def _advance(self, rate: float | None = None, position: float | None = None) -> None:
        """These devices do not say how far they are: count. Called on two threads.

        Args:
            rate: From here on; None leaves it.
            position: Where it is; None is where it must have come to.
        """
        now, status = time.monotonic(), self.status
        with self._counting:
            status.position += status.rate * (now - self._since)
            self._since = now
            if position is not None:
                status.position = position
            if rate is not None:
                status.rate = rate

    def poll(self) -> None:
        self._advance()
        if self._began and not self.status.started:
            self._describe()
            self.status.started = True

    def _describe(self) -> None:
        """Send the titles, which only works once it plays. Nothing depends on it."""
        if not self.about:
            return
        answer = {codes.NOW_PLAYING + key: text for key, text in self.about.items()}
        params = {"type": "npi-text", "mergePolicy": "replace", "params": answer}
        try:
            self._command({"type": "updateMRNowPlayingInfo", "params": params}, timeout=5.0)
        except AppleTVError as exc:
            log.info("the TV does not show the titles: %s", exc)

    def close(self) -> None:
        super().close()  # first: an errand may wait for an answer
        if self._fetches is not None:
            self._fetches.close()

    def set_rate(self, rate: float) -> None:
        self._command({"type": "setRate", "rate": rate})

    def seek(self, seconds: float) -> None:
        at = {"value": int(seconds * 1000), "timescale": 1000, "epoch": 0, "flags": 1}
        self._command({"type": "seek", "kind": "request", "item": self._item, "time": at})
        self._advance(position=seconds)

    def stop(self) -> None:
        self._command({"type": "setRate", "rate": 0.0}, timeout=5.0)
        self._control.rtsp("TEARDOWN", timeout=5.0)


PLAY_METHODS: dict[str, type[PlayMethod]] = {
    method.name: method for method in (AirPlay1, AirPlay2, Queue)
}


def session(client_id: bytes, uuid: str, timing_port: int) -> dict[str, Any]:
    """What begins a session that plays something, with our clock."""
    mac = own_mac(client_id)
    return {
        "deviceID": mac,
        "macAddress": mac,
        "sessionUUID": uuid,
        "timingPort": timing_port,
        "timingProtocol": "NTP",
        "isMultiSelectAirPlay": True,
        "groupContainsGroupLeader": False,
        "model": "iPhone14,3",
        "name": "tinyatv",
        "osName": "iPhone OS",
        "osVersion": "16.5",
        "osBuildVersion": "20F66",
        "senderSupportsRelay": False,
        "sourceVersion": "690.7.1",
        "statsCollectionEnabled": False,
    }


def ptp_session(client_id: bytes, uuid: str, address: str) -> dict[str, Any]:
    """The same with a clock that all agree upon."""
    answer = session(client_id, uuid, 0)
    for name in ("timingPort", "senderSupportsRelay", "groupContainsGroupLeader"):
        del answer[name]
    peer = {
        "ID": new_uuid(),
        "Addresses": [address],
        "DeviceType": 0,
        "SupportsClockPortMatchingOverride": True,
    }
    answer.update(
        timingProtocol="PTP", timingPeerInfo=peer, timingPeerList=[peer],
        sessionCorrelationUUID=peer["ID"], isMultiSelectAirPlay=False, updateSessionRequest=False,
    )  # fmt: skip
    return answer


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


class _Clock:
    """Answers the device's questions for the time here, by UDP (NTP)."""

    def __init__(self, host: str) -> None:
        family, place = sockaddr(host, 0, socket.SOCK_DGRAM)
        self._sock = socket.socket(family, socket.SOCK_DGRAM)
        self._sock.bind(place)
        self.port: int = self._sock.getsockname()[1]
        self._lock = threading.Lock()  # over starting and closing
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._lock:
            if not self._closing:
                self._thread = start(self._run, f"tinyatv-stream-clock-{self.port}")

    def close(self) -> None:
        with self._lock:
            if self._closing:
                return
            self._closing = True
        try:
            self._sock.sendto(b"", self._sock.getsockname())  # wakes the thread
        except OSError:
            pass
        join(self._thread, 5)
        self._sock.close()

    def _run(self) -> None:
        while not self._closing:
            try:
                request, address = self._sock.recvfrom(64)
                if len(request) >= codes.TIMING_SIZE and request[:2] == codes.TIMING_REQUEST:
                    self._sock.sendto(timing_reply(request, time.time()), address)
            except OSError as exc:
                log.debug("clock: %s", exc)


def timing_reply(request: bytes, now: float) -> bytes:
    """The answer to a timing request, at a Unix time."""
    whole = int(now)
    stamp = struct.pack(
        ">II", (whole + codes.NTP_EPOCH) % (1 << 32), int((now - whole) * (1 << 32))
    )
    return codes.TIMING_REPLY + b"\x00\x07" + bytes(4) + request[24:32] + stamp + stamp


class Stream:
    """Something that plays on the device because we asked for it.

    Use it in a ``with`` block, or call :meth:`stop`; until then it plays to its end by itself.

    Attributes:
        url: What the device fetches.
        owner: Stays alive as long as it plays.
    """

    owner: object = None

    def __init__(
        self,
        url: str,
        name: str,
        method: PlayMethod,
        server: FileServer | None,
        timeout: float,
    ) -> None:
        self.url = url
        self._method = method
        self._server = server
        self._timeout = timeout
        self._error: AppleTVError | None = None
        self._starting = threading.Lock()  # over starting and stopping
        self._stopping = threading.Event()
        self._begun = threading.Event()
        self._done = threading.Event()
        self._name = name
        self._thread: threading.Thread | None = None
        _streams.add(self)

    def __repr__(self) -> str:
        return f"Stream({self.url!r}, {self.position:.0f}/{self.duration:.0f} s)"

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Watch it, until it has begun.

        Raises:
            CommandFailed: It did not.
            AppleTVError: The system has no room for its thread.
        """
        try:
            with self._starting:
                if not self._stopping.is_set():
                    self._thread = start(self._run, self._name)
            self._begun.wait()
        except BaseException:  # the caller has nothing to stop it with
            self.stop()
            raise
        if self._error is not None:
            self.stop()
            raise self._error

    @property
    def position(self) -> float:
        """Seconds from the start, as the device said last."""
        return self._method.status.position

    @property
    def duration(self) -> float:
        """Seconds; 0 if the device does not say."""
        return self._method.status.duration

    @property
    def paused(self) -> bool:
        """True while it is paused."""
        return self._method.status.rate == 0.0

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

    def pause(self) -> None:
        """Pause it."""
        self._method.set_rate(0.0)

    def resume(self) -> None:
        """Go on."""
        self._method.set_rate(1.0)

    def seek(self, seconds: float) -> None:
        """Jump to a position.

        Args:
            seconds: From the start.
        """
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"seconds must be 0 or more, not {seconds}")
        self._method.seek(seconds)

    def stop(self) -> None:
        """Stop it, and close everything. Safe to call twice and from any thread."""
        self.abort(None)

    def abort(self, error: AppleTVError | None) -> None:
        """Stop it because of an error, which is raised in all callers that wait for it."""
        if not self._done.is_set():
            self._error = self._error or error
        with self._starting:
            self._stopping.set()
        self._method.changed.set()
        if self._thread is None:  # it was not started, and will not be
            self._finish()
        join(self._thread, 10)

    def leave_to_parent(self) -> None:
        """In the child of a fork: it is over, without a word to the device."""
        self._error = self._error or ConnectionLost(f"{self._name}: {FORKED}")
        self._starting, self._stopping = threading.Lock(), threading.Event()
        self._begun, self._done = threading.Event(), threading.Event()
        self._stopping.set()
        self._begun.set()
        self._done.set()
        self._thread = self.owner = None

    def _run(self) -> None:
        status, deadline, gone = self._method.status, Deadline(self._timeout), False
        try:
            while not self._stopping.is_set() and not status.ended:
                if self._method.error is not None:
                    raise self._method.error
                self._method.poll()
                if status.started:
                    self._begun.set()
                elif deadline.over:
                    raise CommandFailed(f"play_url: {self._nothing()} (airplay)", "play_url")
                self._method.changed.wait(POLL if status.started else min(POLL, STARTING))
                self._method.changed.clear()
        except ConnectionLost as exc:
            self._error, gone = self._method.loss(exc), True
        except CommandTimeout as exc:
            self._error, gone = exc, True
        except AppleTVError as exc:
            self._error = exc
        except Exception as exc:
            log.exception("%s: failed", self._name)
            self._error = ProtocolError(f"play_url: {type(exc).__name__}: {exc} (airplay)")
        finally:
            self._finish(gone)

    def _nothing(self) -> str:
        """Why it may be that nothing plays."""
        text = f"accepted, but nothing plays after {self._timeout:g} s"
        if self._method.status.said:
            return f"{text}; the device says {self._method.status.said!r}"
        if self._server is not None and not self._server.sent:
            if self._server.refused:
                return f"{text}; the file was refused to {self._server.refused}, another address"
            return f"{text}; the device has not fetched the file, a firewall here may be why"
        return text

    def _finish(self, gone: bool = False) -> None:
        """Stop it if it has not ended, find out why it has, and close everything.

        Args:
            gone: True if the device does not answer any more.
        """
        status, wanted = self._method.status, self._stopping.is_set()
        try:
            if not status.ended and not gone:
                self._method.stop()
        except (AppleTVError, OSError) as exc:
            log.debug("stop: %s", exc)
        if not status.ended:
            self._error = self._error or self._method.error
        failed = None if self._server is None else self._server.error
        if failed is not None and not wanted and not status.complete:
            error = CommandFailed(f"play_url: cannot read the file: {reason(failed)}", "play_url")
            error.__cause__ = self._error or failed
            self._error = error
        self._method.close()
        if self._server is not None:
            self._server.close()
        self._done.set()
        self._begun.set()
        self.owner = None


_streams: weakref.WeakSet[Stream] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for stream in list(_streams):
        stream.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave_to_parent)


def is_transient(error: AppleTVError) -> bool:
    """True for what is worth another try on a new connection."""
    return isinstance(error, CommandFailed) and error.code == 500


def is_elsewhere(error: AppleTVError, name: str) -> bool:
    """True for what another method than that may do better."""
    if isinstance(error, (NotSupported, CommandTimeout)):
        return True
    # Only the older ways are accepted by devices that then do nothing.
    codes = (400, 404, 500) if name == Queue.name else (None, 400, 404, 500)
    return isinstance(error, CommandFailed) and error.code in codes
