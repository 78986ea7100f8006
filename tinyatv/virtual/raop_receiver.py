"""How a speaker receives sound: by its own clock, with gaps where something was lost.

It asks the sender for the time, learns from sync packets when each frame is to be heard, and asks
again for packets that are missing. What comes too late is not heard. Without the time, nothing is.
"""

from __future__ import annotations

import heapq
import logging
import random
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Callable

from ..addresses import sockaddr
from ..wire import alac, rtp
from ..wire.raop_codes import ALAC, CHANNELS, FRAMES, RATE

if TYPE_CHECKING:
    from ..wire.sdp import Description

log = logging.getLogger(__name__)

SIZE = 4096  # bytes of a packet
FRAME = 2 * CHANNELS  # bytes
TICK = 0.05  # s between two looks at what is missing
ASK_AFTER, ASK_EVERY, GIVE_UP = 0.1, 0.25, 1.4  # s: when a lost packet is asked for, and how long
QUICK, QUICKLY, SLOWLY = 6, 0.3, 3.0  # questions for the time: how many, how often; then how often
FAR = 10 * RATE  # frames; a packet that is farther away is none of this stream
MOST = 200_000  # packets that are kept: 26 minutes
ONE = 1 << 32  # units of a second in packets


class RaopQuirks:
    """How a speaker misbehaves.

    Attributes:
        drop: Share of the packets of sound that it loses, 0 to 1.
        delay: Seconds by which packets of sound come late.
        reorder: Each so many packets, two are exchanged; 0 for none.
        no_timing: Never ask for the time.
        no_resend: Never ask for lost packets.
        late_volume: Refuse the volume before FLUSH, as some speakers do.
        empty_info: Answer ``/info`` with 200, and nothing.
        hang_up_after: Hang up after so many packets of sound; 0 for never.
    """

    __slots__ = (
        "delay", "drop", "empty_info", "hang_up_after", "late_volume", "no_resend", "no_timing",
        "reorder",
    )  # fmt: skip  # a misspelt one must not go unnoticed

    def __init__(self) -> None:
        self.drop = 0.0
        self.delay = 0.0
        self.reorder = 0
        self.no_timing = self.no_resend = self.late_volume = self.empty_info = False
        self.hang_up_after = 0


class Heard:
    """A stream, as it arrived.

    Attributes:
        description: How it was announced.
        title: As the sender says; None if it does not, and so are the next two.
        artist: The same.
        album: The same.
        artwork: Type and content of the picture, or None.
        progress: Start, now and end, in frames; or None.
        volume: In decibels, or None.
        packets: Packets of sound, those that were sent again included.
        resent: Those.
        lost: Packets that never came.
        late: Packets that came too late to be heard.
        requested: Packets that were asked for again.
        compressed: Packets of compressed ALAC; they are kept as they are, and silence is heard.
        strange: Packets that belong to no stream of this sender.
        syncs: Sync packets.
        times: Answers to questions for the time.
        flushes: How often it was told to forget what it has.
        over: True once it has ended.
    """

    def __init__(self, description: Description) -> None:
        self.description = description
        self.title: str | None = None
        self.artist: str | None = None
        self.album: str | None = None
        self.artwork: tuple[str, bytes] | None = None
        self.progress: tuple[int, int, int] | None = None
        self.volume: float | None = None
        self.packets = self.resent = self.lost = self.late = self.requested = 0
        self.strange = self.syncs = self.times = self.flushes = 0
        self.compressed: list[bytes] = []
        self.over = False
        self._parts: dict[int, bytes] = {}  # first frame: samples
        self._newest: int | None = None  # first frame of the newest packet

    def __repr__(self) -> str:
        return f"Heard({self.title!r}, {self.packets} packets, {self.lost} lost, {self.late} late)"

    @property
    def synchronized(self) -> bool:
        """True if it knows what time the sender has; nothing is heard before that."""
        return self.times > 0 and self.syncs > 0

    def place(self, timestamp: int) -> int | None:
        """The frame that a timestamp, which wraps, stands for; None if it is far away."""
        if self._newest is None:
            return timestamp
        frame = self._newest + rtp.ahead(timestamp, self._newest & 0xFFFFFFFF, 32)
        return frame if abs(frame - self._newest) < FAR else None

    def add(self, frame: int, samples: bytes) -> None:
        """Add what a packet holds."""
        if len(self._parts) < MOST:
            self._parts.setdefault(frame, samples)
        self._newest = frame if self._newest is None else max(frame, self._newest)

    def samples(self) -> bytes:
        """What was heard: 16 bits, little endian, stereo, with silence in the gaps."""
        if not self.synchronized:
            return b""
        parts = sorted(self._parts.copy().items())
        data = bytearray()
        for frame, samples in parts:
            at = (frame - parts[0][0]) * FRAME
            data += bytes(max(0, at - len(data)))
            data[at:] = samples
        data[0::2], data[1::2] = data[1::2], data[0::2]
        return bytes(data)


def save_wav(path: str, samples: bytes) -> None:
    """Write what was heard to a file; what was there is replaced."""
    import io
    import wave

    from ..files import replace_file

    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(CHANNELS)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples)
    replace_file(path, data.getvalue())


class Receiver:
    """The UDP ports of a stream, and the thread that serves them.

    Args:
        host: Own address.
        sender: Address of the sender; what others send is only counted.
        heard: Where everything is noted.
        quirks: How it misbehaves.
        name: Of the thread.
        hang_up: Closes the sender's connection.
        seen: Called when something has arrived.
    """

    def __init__(
        self,
        host: str,
        sender: str,
        heard: Heard,
        quirks: RaopQuirks,
        name: str,
        hang_up: Callable[[], object],
        seen: Callable[[], object],
    ) -> None:
        self.heard = heard
        self.recording = False  # after RECORD
        self._sender = sender
        self._quirks = quirks
        self._hang_up = hang_up
        self._seen = seen
        self._chance = random.Random(7)
        self._sockets = [self._open(host) for _ in range(3)]
        self._audio, self._control, self._timing = self._sockets
        self.ports = [sock.getsockname()[1] for sock in self._sockets]
        self._theirs = (0, 0)  # control and timing port of the sender
        self._offset: int | None = None  # the sender's clock minus ours
        self._sync: rtp.Sync | None = None
        self._next_question = 0.0
        self._questions = self._requests = 0
        self._highest: int | None = None  # number of the newest packet, which does not wrap
        self._missing: dict[int, tuple[float, float]] = {}  # number: missed and asked for at
        self._held: list[tuple[float, int, bytes]] = []  # for later
        self._arrived = 0
        self._swap: bytes | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @staticmethod
    def _open(host: str) -> socket.socket:
        family, place = sockaddr(host, 0, socket.SOCK_DGRAM)
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(place)
        return sock

    def start(self, control: int, timing: int) -> None:
        """Begin to receive.

        Args:
            control: UDP port of the sender.
            timing: UDP port of the sender.
        """
        self._theirs = (control, timing)
        self._thread.start()

    def flush(self) -> None:
        """Forget what is missing: the sender begins anew."""
        self.heard.flushes += 1
        self._missing.clear()

    def close(self) -> None:
        """Stop receiving, and join the thread. Safe to call twice."""
        self._closing = True
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(5)
        for sock in self._sockets:
            sock.close()
        if not self.heard.over:
            self.heard.lost += len(self._missing)
            self.heard.over = True

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in self._sockets:
                selector.register(sock, selectors.EVENT_READ)
            while not self._closing:
                for key, _ in selector.select(TICK):
                    self._take(key.fileobj)  # type: ignore[arg-type]
                now = time.monotonic()
                while self._held and self._held[0][0] <= now:
                    self._sound(heapq.heappop(self._held)[2], now)
                if self.recording and now >= self._next_question and not self._quirks.no_timing:
                    self._ask_time(now)
                if not self._quirks.no_resend:
                    self._ask_again(now)

    def _take(self, sock: socket.socket) -> None:
        try:
            data, address = sock.recvfrom(SIZE)
        except OSError as exc:
            log.debug("receiving: %s", exc)
            return
        now = time.monotonic()
        if address[0] != self._sender:
            self.heard.strange += 1
            return
        kind = data[1] & 0x7F if len(data) > 1 else None
        if kind in (rtp.AUDIO, rtp.RESENT):
            self._misdirect(data, now)
            return
        try:
            message = rtp.decode(data)
        except ValueError:
            self.heard.strange += 1
            return
        if isinstance(message, rtp.Sync):
            self._sync = message
            self.heard.syncs += 1
        elif isinstance(message, rtp.Timing) and message.answer:
            self._learn_time(message, now)
        self._seen()

    def _misdirect(self, data: bytes, now: float) -> None:
        """Take a packet of sound as the quirks want it."""
        quirks = self._quirks
        self._arrived += 1
        if quirks.drop and self._chance.random() < quirks.drop:
            return
        if quirks.delay:
            heapq.heappush(self._held, (now + quirks.delay, self._arrived, data))
            return
        swapped, self._swap = self._swap, None
        if quirks.reorder and swapped is None and self._arrived % quirks.reorder == 0:
            self._swap = data
            return
        self._sound(data, now)
        if swapped is not None:
            self._sound(swapped, now)

    def _sound(self, data: bytes, now: float) -> None:
        heard = self.heard
        try:
            packet = rtp.decode(data)
            assert isinstance(packet, rtp.Audio), "the caller looked"
            frame = heard.place(packet.timestamp)
            if frame is None:
                raise ValueError("far away")
            samples = self._decode(packet.payload)
        except ValueError as exc:
            log.debug("no sound: %s", exc)
            heard.strange += 1
            return
        heard.packets += 1
        heard.resent += data[1] & 0x7F == rtp.RESENT
        self._count(packet.sequence, now)
        if self._is_late(frame, now):
            heard.late += 1
        else:
            heard.add(frame, samples)
        if heard.packets == self._quirks.hang_up_after:
            self._hang_up()
        self._seen()

    def _decode(self, payload: bytes) -> bytes:
        description = self.heard.description
        if description.codec != ALAC:
            if len(payload) % FRAME or len(payload) > 4 * SIZE:
                raise ValueError(f"{len(payload)} bytes are no frames")
            return payload
        samples = alac.unpack(payload, description.frames)
        if samples is None:
            if len(self.heard.compressed) < MOST:
                self.heard.compressed.append(payload)
            return bytes(description.frames * FRAME)
        return samples

    def _count(self, sequence: int, now: float) -> None:
        if self._highest is None:
            self._highest = sequence
            return
        number = self._highest + rtp.ahead(sequence, self._highest & 0xFFFF)
        self._missing.pop(number, None)
        if self._highest < number <= self._highest + FAR // FRAMES:
            for one in range(self._highest + 1, number):
                self._missing[one] = (now, 0.0)
        self._highest = max(number, self._highest)

    def _is_late(self, frame: int, now: float) -> bool:
        sync, offset = self._sync, self._offset
        if sync is None or offset is None:
            return False
        ahead = rtp.ahead(frame & 0xFFFFFFFF, sync.heard, 32)
        return (sync.time - offset) / ONE + ahead / RATE < now

    # -- questions -------------------------------------------------------------------------------

    def _ask_time(self, now: float) -> None:
        self._questions += 1
        self._next_question = now + (QUICKLY if self._questions < QUICK else SLOWLY)
        question = rtp.Timing(0, 0, int(now * ONE))
        self._send(self._timing, question.encode(), self._theirs[1])

    def _learn_time(self, answer: rtp.Timing, now: float) -> None:
        asked, here = answer.origin, int(now * ONE)
        if 0 <= here - asked < ONE:  # an old answer says little
            self._offset = (answer.received - asked + answer.sent - here) // 2
            self.heard.times += 1

    def _ask_again(self, now: float) -> None:
        due = []
        for number, (since, asked) in list(self._missing.items()):
            if now - since > GIVE_UP:
                del self._missing[number]
                self.heard.lost += 1
            elif now - since > ASK_AFTER and now - asked > ASK_EVERY:
                self._missing[number] = (since, now)
                due.append(number)
        while due:
            count = 1
            while count < len(due) and due[count] == due[0] + count:
                count += 1
            self._requests += 1
            self.heard.requested += count
            request = rtp.Resend(self._requests, due[0], count)
            self._send(self._control, request.encode(), self._theirs[0])
            del due[:count]

    def _send(self, sock: socket.socket, data: bytes, port: int) -> None:
        if port:
            try:
                sock.sendto(data, (self._sender, port))
            except OSError as exc:
                log.debug("asking: %s", exc)
