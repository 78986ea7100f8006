"""OPACK: what Companion messages are made of.

    +--------+---------+
    | tag: 1 | content |     the tag tells the type, and a small value or a short length as well
    +--------+---------+

    01 02 04   true, false, null      40-60  text of 0 to 32 bytes     61-64  longer, length first
    05         UUID: 16, big          70-90  data of 0 to 32 bytes     91-94  longer, length first
    06         date: 8                D0-DE  array of 0 to 14          DF     array until 03
    07         -1                     E0-EE  dictionary of 0 to 14     EF     dictionary until 03
    08-2F      0 to 39                6F     text until a zero byte    9F     data in parts until 03
    30-34      number: 1 to 16        A0-C0  entry 0 to 32 of the table, C1-C4 any
    35 36      float: 4, 8

Numbers and lengths are little-endian. The table holds everything that was read before in the same
object and took more than one byte, arrays and dictionaries excepted; what refers to it is read
here, and never written: the table of the widespread client counts differently.

Sized numbers are written so that they are the same signed and unsigned, and read as unsigned.
"""

import struct

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any, Callable

SIZES = (1, 2, 4, 8, 16)  # bytes of a number behind the tags 30 to 34
DEPTH = 64  # containers in one another
OBJECTS = 1 << 18  # in one object; an empty array takes one byte, and a hundred in memory
SHORT = 32  # bytes of text or data whose length is in the tag
FEW = 14  # elements that are counted by the tag
END = 3


class Sized(int):
    """A number that was written in more or less bytes than :func:`pack` would take.

    Attributes:
        size: Bytes: 1, 2, 4, 8 or 16.
    """

    size = 0


class UUID(bytes):
    """The 16 bytes of a UUID, in the order of its text."""


class Date(float):
    """A time in seconds since 2001-01-01, UTC."""


def sized(value: int, size: int) -> Sized:
    """A number to be written in so many bytes: 1, 2, 4, 8 or 16."""
    number = Sized(value)
    number.size = size
    return number


# -- writing


def pack(value: "Any") -> bytes:
    """Turn a value into bytes.

    Args:
        value: None, bool, int, float, str, bytes, list, dict, or one of the types above; other
            bytes-like objects are data, tuples are arrays.

    Raises:
        ValueError: Of another type, too deep, or a number that OPACK does not have: below -1, or
            above 128 bits.
    """
    parts = []  # type: list[bytes]
    _write(value, parts.append, 0)
    return b"".join(parts)


def _write(value: "Any", put: "Callable[[bytes], object]", depth: int) -> None:
    kind = type(value)
    if kind is str:
        text = value.encode()
        put(_TEXT[len(text)] + text if len(text) <= SHORT else _long(0x61, text))
    elif kind is int:
        put(_INT[value] if -1 <= value < 40 else _number(value))
    elif kind is dict:
        if depth >= DEPTH:
            raise ValueError(f"more than {DEPTH} containers in one another")
        count = len(value)
        put(_DICT[count] if count <= FEW else b"\xef")
        for key, item in value.items():
            _write(key, put, depth + 1)
            _write(item, put, depth + 1)
        if count > FEW:
            put(b"\x03")
    elif kind is bytes:
        put(_DATA[len(value)] + value if len(value) <= SHORT else _long(0x91, value))
    elif kind is list or kind is tuple:
        if depth >= DEPTH:
            raise ValueError(f"more than {DEPTH} containers in one another")
        count = len(value)
        put(_LIST[count] if count <= FEW else b"\xdf")
        for item in value:
            _write(item, put, depth + 1)
        if count > FEW:
            put(b"\x03")
    elif kind is float:
        put(b"\x36" + struct.pack("<d", value))
    elif value is None:
        put(b"\x04")
    elif kind is bool:
        put(b"\x01" if value else b"\x02")
    elif kind is Sized:
        put(_number(int(value), value.size))
    elif kind is UUID:
        data = bytes(value)  # MicroPython has no length of it
        if len(data) != 16:
            raise ValueError(f"a UUID has 16 bytes, not {len(data)}")
        put(b"\x05" + data)
    elif kind is Date:
        put(b"\x06" + struct.pack("<d", value))
    else:
        _write(_plain(value), put, depth)


def _plain(value: "Any") -> "Any":
    """A value of a type made from one that OPACK has, as that one."""
    bases = (int, str, float, dict, list, tuple)  # type: Any
    for base in bases:
        if isinstance(value, base):
            return base(value)
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise ValueError(f"not for OPACK: {type(value).__name__}")
    return bytes(value)


def _number(value: int, size: int = 0) -> bytes:
    if value < 0:
        raise ValueError(f"OPACK has no negative numbers but -1: {value}; a float can be one")
    if not size:
        for size in SIZES:
            if not value >> (8 * size - 1):
                break
    if value >> 8 * size or size not in SIZES:
        raise ValueError(f"{value} does not fit into {size} bytes")
    return bytes([0x30 + SIZES.index(size)]) + value.to_bytes(size, "little")


def _long(tag: int, data: bytes) -> bytes:
    """Text or data whose length does not fit into the tag."""
    size = len(data)
    at = 0 if size < 0x100 else 1 if size < 0x10000 else 2
    return bytes([tag + at]) + size.to_bytes(SIZES[at], "little") + data


_INT = {value: bytes([8 + value]) for value in range(-1, 40)}
_TEXT = [bytes([0x40 + size]) for size in range(SHORT + 1)]
_DATA = [bytes([0x70 + size]) for size in range(SHORT + 1)]
_LIST = [bytes([0xD0 + count]) for count in range(FEW + 1)]
_DICT = [bytes([0xE0 + count]) for count in range(FEW + 1)]


# -- reading


def unpack(data: "bytes | bytearray | memoryview") -> "tuple[Any, bytes]":
    """Read one value.

    Args:
        data: Bytes that begin with it.

    Returns:
        (value, bytes behind it). A number that :func:`pack` would write in another size is a
        ``Sized``. Of equal keys in a dictionary, the last one counts.

    Raises:
        ValueError: The data ends inside the value, or makes no sense.
    """
    data = bytes(data)
    try:
        value, at = _read(data)
    except IndexError:
        raise ValueError("OPACK ends inside a value") from None
    except UnicodeError:
        raise ValueError("an OPACK text is not UTF-8") from None
    if at > len(data):
        raise ValueError("OPACK ends inside a value")
    return value, data[at:]


def _read(data: bytes) -> "tuple[Any, int]":
    """The value, and the index behind it, which is beyond the end if the last part is cut short.

    Slices do not mind an end that is not there, and the next tag cannot be read then: so only that
    index needs to be looked at, and lengths may be anything.
    """
    at = 0
    value = None  # type: Any
    table = []  # type: list[Any]
    stack = []  # type: list[tuple[list[Any], int, bool]] # the containers around it
    items = []  # type: list[Any] # of the container that is being read
    left = 1  # that it lacks; below 0 it goes on until END
    keyed = False  # it is a dictionary
    for _ in range(OBJECTS):
        tag = data[at]
        at += 1
        if 0x41 <= tag <= 0x60:
            end = at + tag - 0x40
            value = data[at:end].decode()
            table.append(value)
            at = end
        elif 0x08 <= tag < 0x30:
            value = tag - 8
        elif tag >= 0xD0:
            if tag > 0xEF:
                raise ValueError(f"OPACK has no tag {tag:02x}")
            if len(stack) == DEPTH:
                raise ValueError(f"more than {DEPTH} containers in one another")
            stack.append((items, left, keyed))
            items = []
            keyed = tag >= 0xE0
            left = tag & 15
            if left == 15:
                left = -1
                continue
            if keyed:
                left *= 2
            if left:
                continue
            value = {} if keyed else []
            items, left, keyed = stack.pop()
        elif 0x30 <= tag < 0x35:
            end = at + SIZES[tag - 0x30]
            value = int.from_bytes(data[at:end], "little")
            if value < _LEAST[tag] or value >= _MOST[tag]:
                value = sized(value, end - at)
            table.append(value)
            at = end
        elif tag == END:
            if left >= 0 or (keyed and len(items) % 2):
                raise ValueError("an OPACK container ends where it must not")
            value = _dict(items) if keyed else items
            items, left, keyed = stack.pop()
        elif tag < 0x40:
            if tag in _CONSTANT:
                value = _CONSTANT[tag]
            else:
                value, at = _special(data, tag, at)
                table.append(value)
        elif 0x70 <= tag <= 0x90:
            end = at + tag - 0x70
            value = data[at:end]
            if tag > 0x70:
                table.append(value)
            at = end
        elif tag == 0x40:
            value = ""
        elif 0xA0 <= tag < 0xC5:
            index = tag - 0xA0
            if tag > 0xC0:
                end = at + tag - 0xC0
                index = int.from_bytes(data[at:end], "little")
                at = end
            if index >= len(table):
                raise ValueError(f"OPACK refers to value {index} of {len(table)}")
            value = table[index]
        elif tag == 0x9F:
            value, at = _pieces(data, at)
        else:
            value, at = _sized_or_ended(data, tag, at)
            table.append(value)
        items.append(value)
        left -= 1
        while left == 0:
            if not stack:
                return value, at
            value = _dict(items) if keyed else items
            items, left, keyed = stack.pop()
            items.append(value)
            left -= 1
    raise ValueError(f"more than {OBJECTS} OPACK values in one")


# What pack() writes in that size, from and below.
_LEAST = {0x30: 40, 0x31: 0x80, 0x32: 0x8000, 0x33: 1 << 31, 0x34: 1 << 63}
_MOST = {0x30: 0x80, 0x31: 0x8000, 0x32: 1 << 31, 0x33: 1 << 63, 0x34: 1 << 128}
_CONSTANT = {1: True, 2: False, 4: None, 7: -1}


def _dict(items: "list[Any]") -> "dict[Any, Any]":
    pairs = iter(items)
    try:
        return dict(zip(pairs, pairs))
    except TypeError:
        raise ValueError("a key of an OPACK dictionary is a container") from None


def _special(data: bytes, tag: int, at: int) -> "tuple[Any, int]":
    """What is rare, and has a size of its own: UUID, date, floats."""
    size = {5: 16, 6: 8, 0x35: 4, 0x36: 8}.get(tag)
    if size is None:
        raise ValueError(f"OPACK has no tag {tag:02x}")
    end = at + size
    content = data[at:end]
    if len(content) < size:
        raise IndexError
    if tag == 5:
        return UUID(content), end
    value = struct.unpack("<f" if tag == 0x35 else "<d", content)[0]
    return Date(value) if tag == 6 else value, end


def _sized_or_ended(data: bytes, tag: int, at: int) -> "tuple[Any, int]":
    """Text or data behind its length, or text before a zero byte."""
    if tag == 0x6F:
        end = data.find(b"\0", at)
        if end < 0:
            raise IndexError
        return data[at:end].decode(), end + 1
    place = (tag & 15) - 1
    if tag not in _LONG:
        raise ValueError(f"OPACK has no tag {tag:02x}")
    start = at + SIZES[place]
    end = start + int.from_bytes(data[at:start], "little")
    if end > len(data):
        raise IndexError
    content = data[start:end]
    return content if tag > 0x90 else content.decode(), end


_LONG = (0x61, 0x62, 0x63, 0x64, 0x91, 0x92, 0x93, 0x94)


def _pieces(data: bytes, at: int) -> "tuple[bytes, int]":
    """Data objects until END, joined."""
    joined = bytearray()
    while data[at] != END:
        tag = data[at]
        at += 1
        if 0x70 <= tag <= 0x90:
            end = at + tag - 0x70
            piece = data[at:end]
        elif tag in _LONG[4:]:
            piece, end = _sized_or_ended(data, tag, at)
        else:
            raise ValueError("a piece of OPACK data is none")
        joined += piece
        at = end
    return bytes(joined), at + 1
