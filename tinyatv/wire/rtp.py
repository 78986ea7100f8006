"""Packets of RAOP over UDP, in the manner of RTP (RFC 3550); numbers are big endian, and wrap.

              0    1    2    4                8                12               16       20
    audio     80 | 60 | u16  | timestamp u32  | source u32     | payload: 352 frames
    sync      80 | d4 | 0007 | heard u32      | time u64                        | next u32
    ask time  80 | d2 | 0007 | 0 u32          | origin u64                      | ... | ... u64
    time      80 | d3 | 0007 | 0 u32          | origin u64 | received u64 at 16 | sent u64 at 24
    ask again 80 | d5 | u16  | first u16, count u16
    again     80 | d6 | u16  | the whole audio packet, with its header

The second byte of audio is e0 in the first packet after a start or a flush, and the first byte of
sync is 90 in the first one. Sync says: the frame `heard` is to be heard at `time`, and the next
packet begins with the frame `next`. A time is the seconds since 1900 and, below them, 32 bits of a
fraction; the sender's clock may start anywhere.

Source: what Apple's senders and receivers send, as recorded by openairplay and shairport-sync.
"""

import struct

TYPE_CHECKING = False  # checkers take it for typing's, which MicroPython does not have
if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = 12  # bytes in front of the payload
SYNC_SIZE = 20
TIMING_SIZE = 32
AUDIO, SYNC = 0x60, 0x54  # types: second byte without the marker
TIMING_REQUEST, TIMING_REPLY = 0x52, 0x53
RESEND_REQUEST, RESENT = 0x55, 0x56

_VERSION, _EXTENSION, _MARKER = 0x80, 0x10, 0x80
_SEVEN = 7  # a length in words that RTP's other packets have; receivers do not look at it
_U16, _U32, _U64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1


class Audio:
    """A packet of sound.

    Attributes:
        sequence: Its number, 16 bits.
        timestamp: Number of its first frame, 32 bits.
        source: Who sends it.
        first: True for the first one after a start or a flush.
        payload: The frames.
    """

    def __init__(
        self, sequence: int, timestamp: int, source: int, payload: bytes, first: bool = False
    ) -> None:
        self.sequence = sequence
        self.timestamp = timestamp
        self.source = source
        self.payload = payload
        self.first = first

    def encode(self) -> bytes:
        """Return the packet."""
        return (
            struct.pack(
                ">BBHII",
                _VERSION,
                AUDIO | (_MARKER if self.first else 0),
                self.sequence & _U16,
                self.timestamp & _U32,
                self.source & _U32,
            )
            + self.payload
        )


class Sync:
    """What keeps both clocks together.

    Attributes:
        heard: The frame that is to be heard at `time`.
        time: By the sender's clock.
        next: First frame of the next packet.
        first: True for the first one.
    """

    def __init__(self, heard: int, time: int, next: int, first: bool = False) -> None:
        self.heard = heard
        self.time = time
        self.next = next
        self.first = first

    def encode(self) -> bytes:
        """Return the packet."""
        return struct.pack(
            ">BBHIQI",
            _VERSION | (_EXTENSION if self.first else 0),
            SYNC | _MARKER,
            _SEVEN,
            self.heard & _U32,
            self.time & _U64,
            self.next & _U32,
        )


class Timing:
    """A question for the time, or the answer.

    Attributes:
        origin: In an answer: `sent` of the question.
        received: In an answer: when the question came.
        sent: When this was sent.
        answer: True for an answer.
    """

    def __init__(self, origin: int, received: int, sent: int, answer: bool = False) -> None:
        self.origin = origin
        self.received = received
        self.sent = sent
        self.answer = answer

    def encode(self) -> bytes:
        """Return the packet."""
        kind = TIMING_REPLY if self.answer else TIMING_REQUEST
        return struct.pack(
            ">BBHIQQQ",
            _VERSION,
            kind | _MARKER,
            _SEVEN,
            0,
            self.origin & _U64,
            self.received & _U64,
            self.sent & _U64,
        )


class Resend:
    """A request for packets that were lost.

    Attributes:
        number: Of the request.
        first: Number of the first packet.
        count: How many.
    """

    def __init__(self, number: int, first: int, count: int) -> None:
        self.number = number
        self.first = first
        self.count = count

    def sequences(self) -> "Iterator[int]":
        """The numbers of the packets; behind 65535 comes 0."""
        for at in range(self.count):
            yield (self.first + at) & _U16

    def encode(self) -> bytes:
        """Return the packet."""
        return struct.pack(
            ">BBHHH",
            _VERSION,
            RESEND_REQUEST | _MARKER,
            self.number & _U16,
            self.first & _U16,
            self.count & _U16,
        )


def resent(packet: bytes) -> bytes:
    """A packet of sound, as it is sent again."""
    return bytes([_VERSION, RESENT | _MARKER]) + packet[2:4] + packet


def decode(data: bytes) -> "Audio | Sync | Timing | Resend":
    """Return what is in a packet; one that was sent again is what it was the first time.

    Raises:
        ValueError: It is none of these, or not whole.
    """
    kind = data[1] & ~_MARKER if len(data) > 1 and data[0] & 0xC0 == _VERSION else None
    if kind == RESENT:
        inner = bytes(data[4:])
        if len(inner) < HEADER or inner[1] & ~_MARKER != AUDIO:
            raise ValueError("no packet of sound in one that was sent again")
        return _audio(inner)
    if kind == AUDIO:
        return _audio(data)
    if kind == SYNC:
        if len(data) != SYNC_SIZE:
            raise ValueError(f"length of a sync packet is {len(data)}")
        _, _, _, heard, time, following = struct.unpack(">BBHIQI", data)
        return Sync(heard, time, following, bool(data[0] & _EXTENSION))
    if kind in (TIMING_REQUEST, TIMING_REPLY):
        if len(data) != TIMING_SIZE:
            raise ValueError(f"length of a timing packet is {len(data)}")
        _, _, _, _, origin, received, sent = struct.unpack(">BBHIQQQ", data)
        return Timing(origin, received, sent, kind == TIMING_REPLY)
    if kind == RESEND_REQUEST:
        if len(data) not in (8, 16):  # some have a time behind it
            raise ValueError(f"length of a request to send again is {len(data)}")
        _, _, number, first, count = struct.unpack(">BBHHH", data[:8])
        return Resend(number, first, count)
    raise ValueError("not a packet of RAOP")


def _audio(data: bytes) -> Audio:
    if len(data) < HEADER:
        raise ValueError(f"length of a packet of sound is {len(data)}")
    _, kind, sequence, timestamp, source = struct.unpack(">BBHII", data[:HEADER])
    return Audio(sequence, timestamp, source, bytes(data[HEADER:]), bool(kind & _MARKER))


def ahead(number: int, other: int, bits: int = 16) -> int:
    """How far a number is ahead of another one, where numbers wrap; negative if it is behind."""
    half = 1 << (bits - 1)
    return ((number - other + half) & ((1 << bits) - 1)) - half
