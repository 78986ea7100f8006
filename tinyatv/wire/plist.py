"""Property lists from untrusted peers.

``plistlib`` trusts the sizes in a binary property list, and reads an object again for each entry of
the offset table that refers to it: a few bytes can make it use all memory. So the sizes are added
up first: objects that do not overlap cannot be larger than the data. Not for MicroPython, which has
no ``plistlib``. The format is that of CFBinaryPList.c in Apple's CoreFoundation.
"""

import plistlib
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Ours: devices send lists of a few hundred objects; each takes up to a hundred bytes in memory.
OBJECTS = 20_000  # in a list
MARKS = 40_000  # of XML: elements, lines and entities, each of which the parser hands out apart

TRAILER = 32  # bytes
NUMBER = 1  # upper half of a marker byte
MEMBERS = (10, 13)  # array, dictionary
SIZED = (4, 5, 6, 10, 13)  # likewise: data, ASCII text, UTF-16 text, array, dictionary


def dumps(value: "Any") -> bytes:
    """Turn a value into a binary property list.

    Raises:
        ValueError: A type that property lists do not have, or a number that is too large.
    """
    try:
        return plistlib.dumps(value, fmt=plistlib.FMT_BINARY, sort_keys=False)
    except (TypeError, OverflowError) as exc:
        raise ValueError(f"not for a property list: {exc}") from exc


def loads(data: bytes) -> "Any":
    """Read a property list, binary or XML.

    Raises:
        ValueError: It is not a property list.
    """
    try:
        if data[:6] == b"bplist":
            _check(data)
        elif sum(data.count(mark) for mark in (b"<", b"\n", b"\r", b"&")) > MARKS:
            raise ValueError(f"more than {MARKS} elements and lines")
        return plistlib.loads(data)
    except Exception as exc:  # plistlib raises many kinds of errors, even RecursionError
        raise ValueError(f"not a property list: {exc or type(exc).__name__}") from exc


def _check(data: bytes) -> None:
    """Refuse sizes that the data cannot hold."""
    width, _, count, _, table = struct.unpack(">6xBBQQQ", data[-TRAILER:])
    if not 0 < width <= 8 or table + count * width > len(data):
        raise ValueError("the table of objects is longer than the data")
    if count > OBJECTS:
        raise ValueError(f"{count} objects, more than {OBJECTS}")
    total = members = 0
    for at in range(table, table + count * width, width):
        place = int.from_bytes(data[at : at + width], "big")
        kind, size = data[place] >> 4, data[place] & 15
        if kind in SIZED:
            if size == 15:
                end = place + 2 + (1 << (data[place + 1] & 3))
                size = int.from_bytes(data[place + 2 : end], "big")
            total += size
            members += size if kind in MEMBERS else 0
        elif kind == NUMBER and size > 4:  # of more than 16 bytes
            raise ValueError("a number is too long")
        if total > len(data):
            raise ValueError("the objects are larger than the data")
    if members > OBJECTS:
        raise ValueError(f"more than {OBJECTS} members of lists and dictionaries")
