"""OPACK: what Companion messages are made of.

    +--------+---------+
    | tag: 1 | content |     the tag gives the type, and a small value or a short length as well
    +--------+---------+

    01 02 04   true, false, null      40-60  text of 0 to 32 bytes     61-64  longer, length first
    05         UUID: 16, big          70-90  data of 0 to 32 bytes     91-94  longer, length first
    06         date: 8                D0-DE  array of 0 to 14          DF     array until 03
    07         -1                     E0-EE  dictionary of 0 to 14     EF     dictionary until 03
    08-2F      0 to 39                6F     text until a zero byte    9F     data in parts until 03
    30-34      number: 1 to 16        A0-C0  entry 0 to 32 of the table, C1-C4 any
    35 36      float: 4, 8

Numbers and lengths are little-endian. The table holds everything that was read before in the same
object and took more than one byte, except arrays and dictionaries. References to it are read, but
never written: pyatv counts the entries of the table differently.

Sized numbers are written in the smallest size that reads the same signed and unsigned, as Apple's
encoder does (3950126335 was seen in 8 bytes, from tvOS 15), and read as unsigned. Strings and data
behind 61-64 and 91-94 have lengths of 1, 2, 4 and 8 bytes, as Apple's codec was probed to write.
"""

import struct

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any, Callable

SIZES = (1, 2, 4, 8, 16)  # bytes of a number behind the tags 30 to 34
DEPTH = 32  # nested containers; ours: boards have a small stack, and messages need less than ten
OBJECTS = 1 << 18  # in one; ours: an empty array takes one byte, but a hundred in memory
SHORT = 32  # bytes of text or data whose length is in the tag
FEW = 14  # elements that are counted by the tag
END = 3


class Sized(int):
    """A number that was encoded in more or fewer bytes than :func:`pack` would take.

    Attributes:
        size: Bytes: 1, 2, 4, 8 or 16.
    """

    __slots__ = ()
    size = 0


# One class per size: an attribute of each number would take hundreds of bytes.
_WIDE = {}  # type: dict[int, type[Sized]]
for _size in SIZES:
    _WIDE[_size] = type("Sized", (Sized,), {"__slots__": (), "size": _size})


class UUID(bytes):
    """The 16 bytes of a UUID, in the order of its text."""


class Date(float):
    """A time in seconds since 2001-01-01, UTC."""


def sized(value: int, size: int) -> Sized:
    """A number to be written in so many bytes.

    Raises:
        ValueError: Not in 1, 2, 4, 8 or 16.
    """
    if size not in SIZES:
        raise ValueError(f"OPACK has no numbers of {size} bytes")
    return _WIDE[size](value)


def signed(value: int) -> int:
    """A number that was read, where what it stands for may be negative."""
    size = getattr(value, "size", 0)  # without one, it is the same either way
    number = int(value)
    return number - (1 << 8 * size) if size and number >> (8 * size - 1) else number


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
    elif isinstance(value, Sized):
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
    if value >> 8 * size:
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


def unpack(data: "bytes | bytearray | memoryview", objects: int = OBJECTS) -> "tuple[Any, bytes]":
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
        value, at = _value(data, 0, [], [objects], 0)
    except IndexError:
        raise ValueError("OPACK ends inside a value") from None
    except UnicodeError:
        raise ValueError("an OPACK text is not UTF-8") from None
    except RuntimeError:  # on a board with a small stack
        raise ValueError("too many containers in one another") from None
    if at > len(data):
        raise ValueError("OPACK ends inside a value")
    return value, data[at:]


def _value(
    data: bytes, at: int, table: "list[Any]", room: "list[int]", depth: int
) -> "tuple[Any, int]":
    """A value, and the index behind it.

    That is beyond the end if the last part is cut short: slices do not mind an end that is not
    there, and the next tag cannot be read then. So only the last of them needs to be looked at.
    """
    tag = data[at]
    at += 1
    if 0x41 <= tag <= 0x60:
        end = at + tag - 0x40
        text = data[at:end].decode()
        table.append(text)
        return text, end
    if 0x08 <= tag < 0x30:
        return tag - 8, at
    value = None  # type: Any
    if 0xE0 <= tag <= 0xEF:
        endless = tag == 0xEF
        count = _begin(tag, room, depth)
        pairs = {}  # type: dict[Any, Any]
        for _ in range(count):
            # What is most frequent is read right here: short keys, and small numbers.
            tag = data[at]
            if 0x41 <= tag <= 0x60:
                at += 1
                end = at + tag - 0x40
                key = data[at:end].decode()  # type: Any
                table.append(key)
                at = end
            elif endless and tag == END:
                return pairs, at + 1
            else:
                key, at = _value(data, at, table, room, depth + 1)
                if isinstance(key, (list, dict)):
                    raise ValueError("a key of an OPACK dictionary is a container")
            tag = data[at]
            if 0x08 <= tag < 0x30:
                pairs[key] = tag - 8
                at += 1
            else:
                pairs[key], at = _value(data, at, table, room, depth + 1)
            if endless:
                _take(room, 2)
        return pairs, at
    if 0x30 <= tag < 0x35:
        size, least, most = _SIZED[tag - 0x30]
        end = at + size
        value = int.from_bytes(data[at:end], "little")
        if not least <= value < most:
            value = sized(value, size)
        table.append(value)
        return value, end
    if tag in _CONSTANT:
        return _CONSTANT[tag], at
    if 0x70 < tag <= 0x90:
        end = at + tag - 0x70
        value = data[at:end]
        table.append(value)
        return value, end
    if 0xD0 <= tag < 0xE0:
        endless = tag == 0xDF
        items = []  # type: list[Any]
        for _ in range(_begin(tag, room, depth)):
            if endless:
                if data[at] == END:
                    return items, at + 1
                _take(room, 1)
            value, at = _value(data, at, table, room, depth + 1)
            items.append(value)
        return items, at
    if 0xA0 <= tag < 0xC5:
        return _reference(data, tag, at, table)
    if tag == 0x9F:
        return _parts(data, at)
    value, at = _rare(data, tag, at)
    table.append(value)
    return value, at


def _begin(tag: int, room: "list[int]", depth: int) -> int:
    """How many elements or pairs a container has, at most."""
    if depth == DEPTH:
        raise ValueError(f"more than {DEPTH} containers in one another")
    count = tag & 15
    if count == 15:
        _take(room, 1)
        return OBJECTS
    _take(room, 1 + count + count)
    return count


def _take(room: "list[int]", count: int) -> None:
    """Make room for more values."""
    room[0] -= count
    if room[0] < 0:
        raise ValueError("too many OPACK values in one")


# Bytes of a number, and what pack() writes in that size, from and below.
_SIZED = (
    (1, 40, 0x80), (2, 0x80, 0x8000), (4, 0x8000, 1 << 31), (8, 1 << 31, 1 << 63),
    (16, 1 << 63, 1 << 128),
)  # fmt: skip
_CONSTANT = {1: True, 2: False, 4: None, 7: -1, 0x40: "", 0x70: b""}


def _reference(data: bytes, tag: int, at: int, table: "list[Any]") -> "tuple[Any, int]":
    end = at + max(0, tag - 0xC0)
    index = int.from_bytes(data[at:end], "little") if end > at else tag - 0xA0
    if index >= len(table):
        raise ValueError(f"OPACK refers to value {index} of {len(table)}")
    return table[index], end


def _rare(data: bytes, tag: int, at: int) -> "tuple[Any, int]":
    """UUID, date, float; text and data behind their length; text before a zero byte."""
    if tag in _LONG:
        size = _SIZED[(tag & 15) - 1][0]
        start = at + size
        end = start + int.from_bytes(data[at:start], "little")
        if end > len(data):
            raise IndexError
        content = data[start:end]
        return content if tag > 0x90 else content.decode(), end
    if tag == 0x6F:
        end = data.find(b"\0", at)
        if end < 0:
            raise IndexError
        return data[at:end].decode(), end + 1
    size = {5: 16, 6: 8, 0x35: 4, 0x36: 8}.get(tag, 0)
    if not size:
        raise ValueError(f"OPACK has no tag {tag:02x}")
    end = at + size
    content = data[at:end]
    if len(content) < size:
        raise IndexError
    if tag == 5:
        return UUID(content), end
    value = struct.unpack("<f" if tag == 0x35 else "<d", content)[0]
    return Date(value) if tag == 6 else value, end


_LONG = (0x61, 0x62, 0x63, 0x64, 0x91, 0x92, 0x93, 0x94)


def _parts(data: bytes, at: int) -> "tuple[bytes, int]":
    """Data objects until END, joined."""
    joined = bytearray()
    while data[at] != END:
        tag = data[at]
        at += 1
        if 0x70 <= tag <= 0x90:
            end = at + tag - 0x70
            joined += data[at:end]
            at = end
        elif tag in _LONG[4:]:
            content, at = _rare(data, tag, at)
            joined += content
        else:
            raise ValueError("a part of OPACK data is none")
    return bytes(joined), at + 1
