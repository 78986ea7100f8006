"""The data stream of AirPlay 2, which carries MRP messages.

    +---------+-------------------+------------+-------------+------------+----------------+
    | size: 4 | type: 4, zeros: 8 | command: 4 | sequence: 8 | padding: 4 | property list  |
    +---------+-------------------+------------+-------------+------------+----------------+
      all of it  sync, rply         comm, cmnd   big, as the    zero        {"params": {"data":
                                    or zeros     rest is                    length: varint | message
                                                                            ...}}, or nothing

Every ``sync`` is answered by a ``rply`` with the same sequence: without payload by the client, with
the property list of ``{}`` by the device. A ``sync`` without payload is a ping. Nothing waits for a
``rply``. Seen between iPhones and tvOS 15 to 18. Not for MicroPython: see ``plist.py``.
"""

import functools
import os
import random
from collections import deque
from struct import Struct

from . import plist, varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

HEADER = ">I4s8x4sQ4x"
HEADERS = Struct(HEADER)
SIZE = 32  # bytes of a header
LIMIT = 16 * 1024 * 1024  # bytes of a frame; ours: artwork comes in one piece
HEAD = b"bplist00\xd1\1\2\x56params\xd1\3\4\x54data"  # of {"params": {"data": ...}}
OFFSETS = (8, 11, 18, 21, len(HEAD))  # of the objects in it; data is the last
TRAILER = Struct(">6xBBQQQ")
# CONFIGURE_CONNECTION was seen without a length. 8 is the protobuf tag of field 1, with which every
# message begins, and no message is 8 bytes long: so 8 is not a length.
MESSAGE = 8


class DataStreamWire:
    """One data stream, either end; inside a ``HapWire``.

    Args:
        dumps: Turns a message into bytes.
        loads: Turns bytes into a message; ValueError if they make no sense.
        key: What matches a message with its reply, or None.
        device: The device's end.
        sequence: Number of all frames that are sent, for tests. Otherwise the client draws one for
            all of its frames, as iOS does, and the device a new one for each, as tvOS does.
    """

    def __init__(
        self,
        dumps: "Callable[[Any], bytes]",
        loads: "Callable[[bytes], Any]",
        key: "Callable[[Any], Any]",
        device: bool = False,
        sequence: "int | None" = None,
    ) -> None:
        self._dumps = dumps
        self._loads = loads
        self.key = key
        self._device = device
        if sequence is None and not device:
            sequence = 1 << 32 | int.from_bytes(os.urandom(4), "big")  # iOS: 0x1_xxxxxxxx
        self._sequence = sequence
        self._reply = plist.dumps({}) if device else b""
        self._buffer = bytearray()
        self._start = 0
        self._data = b""  # of the current frame
        self._at = 0
        self._replies: "deque[bytes]" = deque()  # one thread may read while another one writes

    def encode(self, message: "Any") -> bytes:
        """Turn a message into a frame."""
        data = self._dumps(message)
        payload = property_list(varint.encode(len(data)) + data)
        sequence = self._sequence
        if sequence is None:
            sequence = random.getrandbits(64)
        return _frame(b"sync", b"cmnd" if self._device else b"comm", sequence, payload)

    def feed(self, data: bytes) -> None:
        """Store received bytes."""
        if self._start:
            self._buffer = self._buffer[self._start :]
            self._start = 0
        self._buffer += data

    def next_message(self) -> "Any":
        """Return the next message, or None until more bytes are fed; a frame may hold several.

        Raises:
            ValueError: A frame of impossible size, something in it that is no property list, or
                in that, that is no message.
        """
        while self._at >= len(self._data):
            if not self._next_frame():
                return None
        data, start = self._data, self._at
        self._at = len(data)  # nothing can be found behind a damaged message
        if data[start] == MESSAGE:
            return self._loads(data[start:])
        prefix = varint.decode(data, start)
        if prefix is None or sum(prefix) > len(data):
            raise ValueError("the data ends inside a message")
        length, start = prefix
        self._at = start + length
        return self._loads(data[start : self._at])

    def pending_replies(self) -> bytes:
        """The replies to all frames that arrived since the last call, pings included."""
        replies = []
        while self._replies:
            replies.append(self._replies.popleft())
        return b"".join(replies)

    def unused(self) -> bytes:
        """Take back what was fed and belongs to no frame yet: encryption begins there."""
        data = bytes(self._buffer[self._start :])
        self._buffer = bytearray()
        self._start = 0
        return data

    def _next_frame(self) -> bool:
        """Begin the next frame; False if it is not complete."""
        have = len(self._buffer) - self._start
        if have < 4:
            return False
        size = int.from_bytes(self._buffer[self._start : self._start + 4], "big")
        if not SIZE <= size <= LIMIT:
            raise ValueError(f"a frame of {size} bytes; {SIZE} to {LIMIT} are possible")
        if have < size:
            return False
        frame = bytes(self._buffer[self._start : self._start + size])
        self._start += size
        _, kind, _, sequence = HEADERS.unpack_from(frame)
        if kind == b"sync":
            self._replies.append(_frame(b"rply", b"", sequence, self._reply))
            self._data = _data(frame[SIZE:]) if size > SIZE else b""
            self._at = 0
        return True


def _frame(kind: bytes, command: bytes, sequence: int, payload: bytes) -> bytes:
    return HEADERS.pack(SIZE + len(payload), kind, command, sequence) + payload


def property_list(data: bytes) -> bytes:
    """What ``plist.dumps({"params": {"data": data}})`` returns, 10 us sooner."""
    size = len(data)
    if size < 15:
        sized = HEAD + bytes((0x40 | size,)) + data
    else:  # a number of 1, 2, 4 or 8 bytes follows
        width = _width(size)
        power = width.bit_length() - 1
        sized = HEAD + bytes((0x4F, 0x10 | power)) + size.to_bytes(width, "big") + data
    return sized + _table(len(sized))


@functools.lru_cache(maxsize=256)  # many messages have the same size
def _table(at: int) -> bytes:
    """The end of such a list, from its table of objects on, which is there."""
    width = _width(at)
    offsets = [place.to_bytes(width, "big") for place in OFFSETS]
    return b"".join(offsets) + TRAILER.pack(width, 1, len(OFFSETS), 0, at)


def _width(number: int) -> int:
    return 1 if number < 1 << 8 else 2 if number < 1 << 16 else 4 if number < 1 << 32 else 8


def _data(payload: bytes) -> bytes:
    """The data in a property list of the usual shape; empty for others, which have no meaning here.

    Raises:
        ValueError: It is no property list.
    """
    if payload.startswith(HEAD) and len(payload) > len(HEAD) + 2:  # is it one as we would write it?
        marker, width = payload[len(HEAD)], payload[len(HEAD) + 1]
        start, size = len(HEAD) + 1, marker & 15
        if size == 15:
            start += 1 + (1 << (width & 3))
            size = int.from_bytes(payload[len(HEAD) + 2 : start], "big")
        end = start + size
        usual = marker >> 4 == 4 and (marker & 15 != 15 or width >> 2 == 4)
        if usual and end < len(payload) and payload[end:] == _table(end):
            return payload[start:end]
    content = plist.loads(payload)
    params = content.get("params") if isinstance(content, dict) else None
    found = params.get("data") if isinstance(params, dict) else None
    return found if isinstance(found, bytes) else b""
