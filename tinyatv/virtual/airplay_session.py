"""What SETUP makes: the event channel, on which the device asks, and data streams with MRP."""

from __future__ import annotations

import logging
import queue
import secrets
import socket
import struct
import threading
import time
from typing import Any, Callable, NamedTuple

from .. import proto
from ..addresses import sockaddr
from ..crypto.chacha20poly1305 import Session as Ciphers
from ..errors import AppleTVError, CommandTimeout
from ..link import Link, Listener
from ..pairing.hap import channel_keys
from ..threads import start
from ..wire import airplay_codes as codes
from ..wire import plist, varint
from ..wire.datastream import HEADER, SIZE, DataStreamWire, property_list
from ..wire.hap import HapWire
from ..wire.http import HttpWire, Request, Response
from .airplay_identity import AirPlayQuirks
from .mrp import MrpPeer, VirtualMrp
from .mrp_view import dumper

log = logging.getLogger(__name__)

TIMING = ">2sH4x8s8s8s"  # kind, sequence; reference, receive and send time as NTP has them
AGAIN = 0.5  # s until a timing request is repeated


class SessionClient(NamedTuple):
    """Whose session it is.

    Attributes:
        port: Of its end of the control connection; in the names of threads.
        identifier: By which it is paired, or None.
        secret: Where the keys of its channels come from.
    """

    port: int
    identifier: bytes | None
    secret: bytes


class AirPlaySession:
    """One session: a control connection after SETUP.

    Args:
        name: Prefix of the threads' names.
        host: Address to listen on.
        client: Whose session it is.
        body: Of SETUP.
        quirks: How it is to behave.
        mrp: Serves the clients on its data streams; None without data streams.
        hang_up: Closes the control connection.
        complain: Takes what the client did wrong, in words.
        answered: Takes what was pushed, and answered as it should be.
        seen: Called whenever something happened, for those who wait for it.

    Attributes:
        uuid: By what the client calls it.
        remote_only: True if it is there for a tunnel, and leaves what plays alone.
        recorded: True once RECORD came.
        queue: Stream that unlocks commands to play, or None.
        port: TCP port of the event channel.
        tunnels: Clients of MRP on its data streams.
    """

    def __init__(
        self,
        name: str,
        host: str,
        client: SessionClient,
        body: dict[str, Any],
        quirks: AirPlayQuirks,
        mrp: VirtualMrp | None,
        *,
        hang_up: Callable[[], object],
        complain: Callable[[str], object],
        answered: Callable[[dict[str, Any]], object],
        seen: Callable[[], object],
    ) -> None:
        self.uuid: str = body["sessionUUID"]
        self.remote_only = bool(body.get("isRemoteControlOnly"))
        self.recorded = False
        self.queue: int | None = None
        self.tunnels: list[TunnelPeer] = []
        self.client = client
        self.seen = seen
        self._prefix = name
        self._host = host
        self._quirks = quirks
        self._mrp = mrp
        self._hang_up = hang_up
        self._complain = complain
        self._answered = answered
        self._name = f"{name}-events-{client.port}"
        self._closing = threading.Event()
        self._closed = threading.Event()
        self._connected = threading.Event()
        self._pushes: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._cseq = 0
        self._streams = 0
        self._events: Link | None = None
        self._doors: list[Listener] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        if self._quirks.event_delay:
            with socket.socket() as closed:  # keeps the port, and refuses
                closed.bind((host, 0))
                self.port: int = closed.getsockname()[1]
        else:
            self.port = self._open_door(self._event_came, "events").port

    def start(self) -> None:
        """Start pushing; does nothing once it is closed."""
        with self._lock:  # close() on another thread joins it only once it runs
            if not self._closing.is_set():
                self._thread = start(self._run, self._name)

    def close(self) -> None:
        """Close event channel and data streams."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            doors, thread = self._doors, self._thread
        self._pushes.put(None)
        self._connected.set()
        for door in doors:
            door.close()
        for link in [self._events, *(tunnel.link for tunnel in self.tunnels.copy())]:
            if link is not None:
                link.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)
        self._closed.set()

    def join(self) -> None:
        """Close it, and wait for whoever does so already; one of its own threads may."""
        self.close()
        self._closed.wait(5)
        if self._events is not None:
            self._events.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    def fail(self, reason: str) -> None:
        """The client did something that ends all of its connections."""
        if not self._closing.is_set():
            self._complain(reason)
            log.debug("%s: %s", self._name, reason)
            self.close()
            self._hang_up()
            self.seen()

    def _open_door(self, came: Callable[..., object], what: str, port: int = 0) -> Listener:
        name = f"{self._prefix}-{what}-{self.client.port}"
        door = Listener(came, self._host, port, f"{name}-accept")
        with self._lock:
            if self._closing.is_set():
                door.close()
                return door
            self._doors.append(door)
            door.start()
        return door

    def _ciphers(self, channel: str, seed: int | None = None) -> Ciphers:
        theirs, ours = channel_keys(self.client.secret, channel, seed)
        return Ciphers(ours, theirs)

    @property
    def plays(self) -> bool:
        """True if something can be played in it."""
        return self.recorded and not self.remote_only

    # -- events ----------------------------------------------------------------------------------

    def wait_for_events(self) -> bool:
        """Wait until the event channel is connected; False if it is not in time."""
        return self._connected.wait(self._quirks.event_patience) and self._events is not None

    def push(self, content: dict[str, Any]) -> None:
        """Send something on the event channel, once that is there."""
        if not self._quirks.no_events:
            self._pushes.put(content)

    def _event_came(self, sock: socket.socket, address: tuple[str, int]) -> None:
        with self._lock:
            if self._events is not None or self._closing.is_set():
                sock.close()
                return
            wire = HapWire(HttpWire())
            wire.secure(self._ciphers("events"))
            self._events = Link(
                sock, wire, lambda message: self.fail(f"unasked on the event channel: {message}"),
                lost=lambda error: self.lost(), name=self._name, prepare=wire.prepare,
            )  # fmt: skip
        self._events.start()
        self._connected.set()
        self.seen()

    def lost(self) -> None:
        """Who closes one of the connections ends all of them."""
        if not self._closing.is_set():
            self.close()
            self._hang_up()

    def _run(self) -> None:
        """Open the port if it opens late, then push one thing after another."""
        if self._quirks.event_delay:
            if self._closing.wait(self._quirks.event_delay):
                return
            self._open_door(self._event_came, "events", self.port)
        while True:
            content = self._pushes.get()
            if content is None:
                return
            self._connected.wait(self._quirks.event_deadline)
            if self._events is None:
                self.fail("the event channel was not connected")
                return
            try:
                self._push(self._events, content)
            except CommandTimeout:
                self.fail(f"{content.get('type')}: not answered in time")
                return
            except AppleTVError as exc:
                log.debug("%s: %s", self._name, exc)  # it is gone
                return

    def _push(self, link: Link, content: dict[str, Any]) -> None:
        headers = [("CSeq", str(self._cseq)), ("Content-Type", codes.PLIST)]
        request = Request("POST", "/command", headers, plist.dumps(content), "RTSP/1.0")
        answer = link.request(request, self._quirks.event_deadline)
        what = str(content.get("type") or "event")
        if not isinstance(answer, Response) or answer.code != 200:
            self.fail(f"{what}: answered by {answer!r}")
        elif answer.header("CSeq") != str(self._cseq):
            self.fail(f"{what}: answered with CSeq {answer.header('CSeq')} instead of {self._cseq}")
        else:
            self._answered(content)
        self._cseq += 1
        self.seen()

    # -- streams ---------------------------------------------------------------------------------

    def add_queue(self) -> int:
        """The stream that has no socket, and unlocks commands to play; returns its number."""
        self._streams += 1
        self.queue = self._streams
        return self.queue

    def add_data_stream(self, seed: int) -> tuple[int, int]:
        """A stream that carries MRP; returns its number and port."""
        ciphers = self._ciphers("datastream", seed)
        mrp = self._mrp
        assert mrp is not None, "there is MRP wherever there are data streams"
        came = threading.Lock()

        def data_came(sock: socket.socket, address: tuple[str, int]) -> None:
            if not came.acquire(blocking=False) or self._closing.is_set():
                sock.close()
                return
            tunnel = TunnelPeer(sock, address, mrp, self, ciphers, self._quirks)
            self.tunnels.append(tunnel)
            mrp.adopt(tunnel)
            tunnel.begin()
            self.seen()

        self._streams += 1
        return self._streams, self._open_door(data_came, "data").port


class TunnelPeer(MrpPeer):
    """A client of MRP that came through a tunnel.

    Attributes:
        wire: What it speaks, sealed.
        stream: The data stream in it.
        pings: How many frames without content it was sent.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        owner: VirtualMrp,
        session: AirPlaySession,
        ciphers: Ciphers,
        quirks: AirPlayQuirks,
    ) -> None:
        self._session = session
        self._airplay_quirks = quirks
        self.pings = 0
        self.stream = _Stream(dumper(owner.quirks), session.seen)
        wire = _Sealed(self.stream, quirks)
        wire.secure(ciphers)
        super().__init__(
            sock, address, owner, wire, client=session.client.identifier or b"transient",
            one_byte_writes=lambda: quirks.one_byte_writes, idle=self._ping,
            idle_after=quirks.ping_after,
        )  # fmt: skip

    def begin(self) -> None:
        """What a device may send first."""
        if self._airplay_quirks.unprefixed:
            self.link.send(b"\x08\x78")

    def send(self, *messages: Any) -> None:
        """Send messages, or bytes that are none."""
        if self._airplay_quirks.batch:
            with self.lock:
                self.link.send(list(messages))
        else:
            super().send(*messages)

    def on_disconnect(self) -> None:
        """It is gone."""
        self._session.lost()

    def ping(self) -> None:
        """Send a frame without content; it must be replied to."""
        self.pings += 1
        self.link.send(None)

    def _ping(self, times: int) -> None:
        if times > 1 and self.stream.unanswered:
            self._session.fail(f"{self.stream.unanswered} frames of the data stream without reply")
        elif not self.link.ended:
            self.ping()


class _Stream(DataStreamWire):
    """The device's end of a data stream, which also knows whether all it sent was replied to."""

    def __init__(self, dumps: Callable[[Any], bytes], seen: Callable[[], object]) -> None:
        super().__init__(dumps, proto.parse, proto.key, device=True)
        self._seen = seen
        self.sent: set[int] = set()
        self.replied = 0

    @property
    def unanswered(self) -> int:
        """How many frames were not replied to until now."""
        return len(self.sent)

    def encode(self, message: Any) -> bytes:
        """A frame with a message, several of them, bytes that are none, or nothing (None)."""
        messages = message if isinstance(message, list) else [message]
        data = b""
        for one in messages:
            if isinstance(one, bytes):
                data += one
            elif one is not None:
                body = self._dumps(one)
                data += varint.encode(len(body)) + body
        payload = property_list(data) if data else b""
        sequence = secrets.randbits(64)
        self.sent.add(sequence)
        return struct.pack(HEADER, SIZE + len(payload), b"sync", b"cmnd", sequence) + payload

    def _next_frame(self) -> bool:
        start = self._start
        head = bytes(self._buffer[start : start + SIZE])
        found = super()._next_frame()
        if found and len(head) == SIZE:
            _, kind, _, sequence = struct.unpack(HEADER, head)
            if kind == b"rply":
                self.sent.discard(sequence)
                self.replied += 1
                self._seen()
        return found


class _Sealed(HapWire):
    """Seals header and content of a frame apart, if it has to."""

    def __init__(self, stream: _Stream, quirks: AirPlayQuirks) -> None:
        super().__init__(stream)
        self._quirks = quirks

    def encode(self, message: Any) -> bytes:
        if not self._quirks.split:
            return super().encode(message)
        data = self._inner.encode(message)
        return self._seal(data[:SIZE]) + self._seal(data[SIZE:])


def ask_time(host: str, port: int, deadline: float, gone: Callable[[], bool]) -> bool:
    """Ask a client for its time, as often as it takes.

    Args:
        host: Its address.
        port: Its UDP port.
        deadline: Seconds to try.
        gone: Tells when there is no more need to.

    Returns:
        False if it did not answer, or not as it should.
    """
    until, number = time.monotonic() + deadline, 0
    family, place = sockaddr(host, port, socket.SOCK_DGRAM)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        while not gone():
            left = until - time.monotonic()
            if left <= 0:
                return False
            sock.settimeout(min(left, AGAIN))
            now = struct.pack(">Q", int((time.time() + codes.NTP_EPOCH) * (1 << 32)))
            number += 1
            try:
                request = struct.pack(TIMING, codes.TIMING_REQUEST, number, bytes(8), bytes(8), now)
                sock.sendto(request, place)
                data, _ = sock.recvfrom(128)
            except OSError:
                time.sleep(min(left, 0.05))  # a closed port is noticed at once
                continue
            if len(data) == codes.TIMING_SIZE:
                kind, _, reference, received, sent = struct.unpack(TIMING, data)
                times = [int.from_bytes(one, "big") >> 32 for one in (received, sent)]
                near = all(abs(one - time.time() - codes.NTP_EPOCH) < 60 for one in times)
                if (kind, reference) == (codes.TIMING_REPLY, now) and near:
                    return True
    return False
