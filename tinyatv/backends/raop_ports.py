"""The UDP ports of a sender of sound: it answers for the time, and sends again what was lost.

receiver -> timing port     what time is it?           -> answered from the same port
receiver -> control port    packets n to m are lost    -> sent again from the same port
control port -> receiver    sync, once a second
audio port -> receiver      sound
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time

from ..addresses import sockaddr
from ..wire import rtp
from ..wire.airplay_codes import NTP_EPOCH
from ..wire.raop_codes import BACKLOG

log = logging.getLogger(__name__)

# Our clock never steps: the time since 1900 when this was imported, and monotonic from there.
_OFFSET = time.time() - time.monotonic() + NTP_EPOCH
SIZE = 2048  # bytes of a packet; ours have up to 1500


def ntp(moment: float) -> int:
    """A moment of the monotonic clock, as packets have it."""
    return int((moment + _OFFSET) * (1 << 32))


class Report:
    """What is known about a stream beside its sound. A speaker may say 200, and play nothing.

    Attributes:
        packets: Packets of sound that were sent, silence included.
        timing: How often the speaker has asked for the time: if never, it plays nothing.
        requested: Packets that it has asked for again.
        resent: Packets that were sent again.
        expired: Those that were too old for that.
        silent: Packets of silence, since the source was not ready.
        latest: How late a packet was, at most, in seconds.
        stalls: How often this computer stood still for longer than the speaker can bridge.
        unsent: Packets that the system did not take.
        strangers: Packets that came from somebody else, or were none.
    """

    __slots__ = (
        "expired", "latest", "packets", "requested", "resent", "silent", "stalls", "strangers",
        "timing", "unsent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.packets = self.timing = self.requested = self.resent = self.expired = 0
        self.silent = self.stalls = self.unsent = self.strangers = 0
        self.latest = 0.0

    def __repr__(self) -> str:
        known = ", ".join(f"{name}={getattr(self, name):g}" for name in self.__slots__)
        return f"Report({known})"


class Ports:
    """The three ports, and a thread that answers on two of them.

    Args:
        local: Own address.
        remote: The receiver's; nobody else is answered.
        control: UDP port; 0 picks a free one.
        timing: UDP port; 0 picks a free one.
        report: Where things are counted.
        name: Of the thread.

    Raises:
        OSError: A port is taken.
    """

    def __init__(
        self, local: str, remote: str, control: int, timing: int, report: Report, name: str
    ) -> None:
        self._remote = remote
        self._report = report
        self._kept: list[tuple[int, bytes] | None] = [None] * BACKLOG
        self._closing = False
        self._lock = threading.Lock()  # over starting and closing
        self._where: tuple[str, int] | None = None  # control port of the receiver
        self._sockets: list[socket.socket] = []
        try:
            self._audio, self._control, self._timing = (
                self._open(local, port) for port in (0, control, timing)
            )
        except BaseException:
            self._close_all()
            raise
        self.control: int = self._control.getsockname()[1]
        self.timing: int = self._timing.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _open(self, local: str, port: int) -> socket.socket:
        family, place = sockaddr(local, port, socket.SOCK_DGRAM)
        sock = socket.socket(family, socket.SOCK_DGRAM)
        self._sockets.append(sock)
        sock.setblocking(False)
        sock.bind(place)
        return sock

    def start(self, audio: int, control: int) -> None:
        """Begin to answer.

        Args:
            audio: UDP port of the receiver.
            control: UDP port of the receiver; 0 if it has none.
        """
        self._audio.connect((self._remote, audio))
        self._where = (self._remote, control) if control else None
        with self._lock:
            if not self._closing:
                self._thread.start()

    def close(self) -> None:
        """Close the ports, and join the thread. Safe to call twice."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        try:
            self._audio.close()
            with self._open_waker() as waker:
                waker.sendto(b"", self._timing.getsockname())
        except OSError as exc:
            log.debug("waking up: %s", exc)
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(5)
        self._close_all()

    def _open_waker(self) -> socket.socket:
        return socket.socket(self._timing.family, socket.SOCK_DGRAM)

    def _close_all(self) -> None:
        for sock in self._sockets:
            sock.close()

    # -- sending ---------------------------------------------------------------------------------

    def send(self, sequence: int, packet: bytes) -> None:
        """Send a packet of sound, and keep it for a while."""
        self._kept[sequence % BACKLOG] = (sequence, packet)
        self._report.packets += 1
        try:
            self._audio.send(packet)
        except OSError as exc:  # full, unreachable for a moment, or refused by a closed port
            self._report.unsent += 1
            log.debug("audio: %s", exc)

    def sync(self, sync: rtp.Sync) -> None:
        """Send a sync packet."""
        if self._where is not None:
            try:
                self._control.sendto(sync.encode(), self._where)
            except OSError as exc:
                log.debug("sync: %s", exc)

    # -- answering -------------------------------------------------------------------------------

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._timing, selectors.EVENT_READ)
            while not self._closing:
                for key, _ in selector.select():
                    self._take(key.fileobj)  # type: ignore[arg-type]

    def _take(self, sock: socket.socket) -> None:
        try:
            data, address = sock.recvfrom(SIZE)
        except OSError as exc:
            log.debug("receiving: %s", exc)
            return
        now = time.monotonic()
        if self._closing:
            return  # it is what wakes us
        try:
            if address[0].partition("%")[0] != self._remote.partition("%")[0]:
                raise ValueError("from a stranger")
            message = rtp.decode(data)
        except ValueError:
            self._report.strangers += 1
            return
        if isinstance(message, rtp.Timing) and not message.answer:
            reply = rtp.Timing(message.sent, ntp(now), ntp(time.monotonic()), answer=True)
            self._answer(sock, reply.encode(), address)
            self._report.timing += 1
        elif isinstance(message, rtp.Resend):
            self._resend(message, address)

    def _resend(self, request: rtp.Resend, address: tuple[str, int]) -> None:
        self._report.requested += request.count
        known = min(request.count, BACKLOG)
        self._report.expired += request.count - known
        for _, sequence in zip(range(known), request.sequences()):
            kept = self._kept[sequence % BACKLOG]
            if kept is None or kept[0] != sequence:
                self._report.expired += 1
            elif self._answer(self._control, rtp.resent(kept[1]), address):
                self._report.resent += 1

    def _answer(self, sock: socket.socket, data: bytes, address: tuple[str, int]) -> bool:
        try:
            sock.sendto(data, address)
        except OSError as exc:
            log.debug("answering: %s", exc)
            return False
        return True
