"""DMAP items, the bodies of all messages of Apple TV 1 to 3, iTunes and Music.

    +---------+----------------+--------------+
    | code: 4 | length: 4, big | data: length |    items follow each other without padding
    +---------+----------------+--------------+
                               |
                               +-- number, big endian   caps 00000001 04            ("caps", 4)
                               +-- text, UTF-8          cann 00000002 4869          ("cann", "Hi")
                               +-- items                cmst 00000009 caps...       ("cmst", [...])

Decoded, a body is a list of (code, value) pairs: the order matters, and codes repeat. The type of
the data follows from the code alone, so data of an unknown code stays bytes.
"""

from binascii import hexlify
from struct import pack, unpack_from

from .dmap_tags import TAGS

TYPE_CHECKING = False  # checkers take it for typing's, which MicroPython does not have
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HEADER = 8
MAX_DEPTH = 32  # nested containers; ours: devices need four
MAX_ITEMS = 16384  # in a body; an empty one takes 8 bytes here and 200 in memory
MAX_NUMBER = 16  # bytes; devices send up to 8, and Python prints no more than 4300 digits
SHOWN_BYTES = 32  # of a raw value, by dump()

# The same table by the four bytes on the wire. Dates and versions read like any other number.
_KNOWN = {
    code.encode(): (code, "uint" if tag[0] in ("date", "version") else tag[0])
    for code, tag in TAGS.items()
}
_KNOWN[b"ated"] = ("ated", "bits")  # a flag of two bytes; servers send 1 and 7 in it


class TrailingBytes(ValueError):
    """Complete items, then a few bytes that cannot be one.

    Attributes:
        kept: The items before them, decoded.
        trailing: The bytes left over, 1 to 7 of them.
    """

    def __init__(self, kept: "list[tuple[str, Any]]", trailing: bytes, at: int) -> None:
        super().__init__(f"trailing: {len(trailing)} bytes at offset {at} are no item")
        self.kept = kept
        self.trailing = trailing


def decode(
    data: bytes, plist: "Callable[[bytes], object] | None" = None, bounded: bool = True
) -> "list[tuple[str, Any]]":
    """Return the items of a body.

    Numbers come as int whatever their width, up to 16 bytes; flags as bool (only 1 is True, in
    ``ated`` anything but 0); text as str without the NUL that some servers end it with, and with
    replacement characters where it is not UTF-8; containers as list, the rest as bytes.

    Args:
        data: The whole body; may be empty.
        plist: Reads a property list, like ``plistlib.loads``. Without it, if it fails, and if the
            outcome is not a dict, the value stays bytes.
        bounded: False for data of one's own: any number of items, and numbers of any length.

    Raises:
        TrailingBytes: Less than a header is left after the last item.
        ValueError: Any other damage; the text says what was cut short, and where.
    """
    known = _KNOWN.get
    number = int.from_bytes
    items: "list[tuple[str, Any]]" = []
    # Where the container we are in ends and where its items go; then the same of those around it.
    end, append = len(data), items.append
    outer: "list[tuple[int, Callable[[tuple[str, Any]], None]]]" = []
    at = 0
    room = MAX_ITEMS
    # No recursion, and no call per item for the frequent types: that is most of the speed.
    while True:
        start = at + HEADER
        if start > end:
            if at < end:
                raise _leftover(data, at, end, None if outer else items)
            if not outer:
                return items
            end, append = outer.pop()
            continue
        raw, length = unpack_from(">4sI", data, at)
        at = start + length
        if at > end:
            raise _overlong(raw, start, length, end - start, bool(outer))
        room -= 1
        if room < 0 and bounded:
            raise ValueError(f"more than {MAX_ITEMS} items")
        code, kind = known(raw) or (_text_of(raw), "raw")
        if length > MAX_NUMBER and bounded and kind in ("uint", "int", "bool", "bits"):
            raise ValueError(f"{code!r} at offset {start - HEADER}: a number of {length} bytes")
        if kind == "string":
            try:
                text = data[start:at].decode()
            except UnicodeError:
                text = _lenient(data[start:at])
            if text[-1:] == "\0":
                text = text.rstrip("\0") or text  # nothing but a NUL says something in "cmcc"
            append((code, text))
        elif kind == "uint":
            append((code, number(data[start:at], "big")))
        elif kind == "container":
            if len(outer) == MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} at offset {start - HEADER}")
            inner: "list[tuple[str, Any]]" = []
            append((code, inner))
            outer.append((end, append))
            end, append = at, inner.append
            at = start
        elif kind == "bool":
            append((code, number(data[start:at], "big") == 1))
        elif kind == "bits":
            append((code, number(data[start:at], "big") != 0))
        elif kind == "int":
            append((code, _signed(data[start:at])))
        elif kind == "bplist" and plist:
            append((code, _property_list(data[start:at], plist)))
        else:
            append((code, data[start:at]))


def _leftover(data: bytes, at: int, end: int, kept: "list[tuple[str, Any]] | None") -> ValueError:
    if kept:
        return TrailingBytes(kept, data[at:end], at)
    return ValueError(f"truncated: {end - at} bytes at offset {at}, a header has {HEADER}")


def _overlong(raw: bytes, start: int, length: int, left: int, inside: bool) -> ValueError:
    what = f"{_text_of(raw)!r} at offset {start - HEADER} says {length} bytes, {left} left"
    if inside:
        return ValueError(f"overrun: {what} in its container")
    return ValueError(f"truncated: {what}")


def _text_of(raw: bytes) -> str:
    # Latin-1, which MicroPython cannot decode. One tag in use is not ASCII: 66 8d 63 68.
    return "".join([chr(byte) for byte in raw])


def _signed(data: bytes) -> int:
    value = int.from_bytes(data, "big")
    return value - (1 << 8 * len(data)) if data and data[0] & 0x80 else value


def _lenient(data: bytes) -> str:
    try:
        return data.decode("utf-8", "replace")
    except UnicodeError:  # MicroPython takes "replace" and ignores it
        return _replaced(data)


def _replaced(data: bytes) -> str:
    """Decode UTF-8, with one replacement character per byte that belongs to no character."""
    text = []
    at = 0
    while at < len(data):
        for size in (1, 2, 3, 4):
            try:
                text.append(data[at : at + size].decode())
                break
            except UnicodeError:
                pass
        else:
            size = 1
            text.append("\ufffd")
        at += size
    return "".join(text)


def _property_list(data: bytes, plist: "Callable[[bytes], object]") -> object:
    try:
        value = plist(data)
    except Exception:  # plistlib raises a dozen kinds, even RecursionError and OverflowError
        return data
    # A list would be mistaken for a container.
    return value if isinstance(value, dict) else data


def encode(items: "list[tuple[str, Any]]") -> bytes:
    """Return the body made of (code, value) pairs.

    A list makes a container, str makes UTF-8, a number takes the width devices use for it; where
    that is not known, the smallest of 1, 2, 4 and 8 bytes that holds it. Bytes are sent as they
    are, whatever the tag, so they force a width and are the only way to send an unknown tag.

    Raises:
        ValueError: A code that is not four Latin-1 characters, a value its tag cannot hold, an
            unknown tag, or containers nested too deep.
    """
    return _encode(items, 0)


def _encode(items: "list[tuple[str, Any]]", depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if not isinstance(items, (list, tuple)):
        raise ValueError(f"a list of (code, value) pairs, not {type(items).__name__}")
    parts = []
    for item in items:
        if not isinstance(item, (list, tuple)) or len(item) != 2:
            raise ValueError(f"a pair of code and value, not {type(item).__name__}")
        code, value = item
        if not isinstance(code, str) or len(code) != 4 or max(code) > "\xff":
            raise ValueError(f"a code has four Latin-1 characters, not {code!r}")
        data = _value(code, value, depth)
        parts.append(bytes([ord(char) for char in code]))
        parts.append(pack(">I", len(data)))
        parts.append(data)
    return b"".join(parts)


def _value(code: str, value: object, depth: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if code not in TAGS:
        raise ValueError(f"{code!r}: an unknown tag takes bytes, not {type(value).__name__}")
    kind, _, width = TAGS[code]
    if kind == "container" and isinstance(value, list):
        return _encode(value, depth + 1)
    if kind == "string" and isinstance(value, str):
        return value.encode()
    # MicroPython's bool is not an int.
    if kind in ("uint", "int", "bool", "date", "version") and isinstance(value, (int, bool)):
        return _number(code, kind, int(value), width)
    raise ValueError(f"{code}: a {kind} cannot hold {type(value).__name__}")


def _number(code: str, kind: str, value: int, width: "int | None") -> bytes:
    for size in (width,) if width else (1, 2, 4, 8):
        limit = 1 << 8 * size
        if kind == "int":
            low, high = -limit // 2, limit // 2
        else:
            low, high = 0, 2 if kind == "bool" else limit
        if low <= value < high:
            # Without the keyword "signed", which not every MicroPython has.
            return (value % limit).to_bytes(size, "big")
    raise ValueError(f"{code}: number out of range for a {kind} of {width or 8} bytes")


def first(items: "list[tuple[str, Any]]", *path: str) -> "Any":
    """Return the first value at a path, or None.

    All siblings are searched, depth first: ``first(items, "mlcl", "mlit", "miid")`` is the first
    ``miid`` of any ``mlit`` of any ``mlcl``.
    """
    if not path:
        return items
    for code, value in items:
        if code == path[0]:
            if len(path) == 1:
                return value
            if isinstance(value, list):
                found = first(value, *path[1:])
                if found is not None:
                    return found
    return None


def version_text(number: int) -> str:
    """Return a version as text: 0x0003000C is 3.12."""
    return f"{number >> 16}.{number & 0xFFFF}"


def dump(items: "list[tuple[str, Any]]") -> str:
    """Return decoded items as text, one to a line, for people."""
    return "\n".join(_lines(items, ""))


def _lines(items: "list[tuple[str, Any]]", indent: str) -> "list[str]":
    lines = []
    for code, value in items:
        kind, name, _ = TAGS.get(code, ("unknown", "", None))
        label = f"[{kind}, {name}]" if name else "[unknown]"
        if min(code) < " " or max(code) > "~":
            code = "0x" + _hex(bytes([ord(char) for char in code]))
        if isinstance(value, list):
            lines.append(f"{indent}{code}: {label}")
            lines += _lines(value, indent + "  ")
        else:
            lines.append(f"{indent}{code}: {_shown(kind, value)} {label}")
    return lines


def _shown(kind: str, value: object) -> str:
    if isinstance(value, bytes):
        if len(value) <= SHOWN_BYTES:
            return "0x" + _hex(value)
        return f"0x{_hex(value[:SHOWN_BYTES])}... ({len(value)} bytes)"
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, dict):
        # Malicious property lists can be small and print as gigabytes.
        return f"property list with {len(value)} keys"
    if isinstance(value, int) and value >> 64 not in (0, -1):
        # Python refuses to print thousands of digits.
        return hex(value)[: 2 + 2 * SHOWN_BYTES] + "..."
    if kind == "version" and isinstance(value, int):
        return version_text(value)
    return str(value)


def _hex(data: bytes) -> str:
    return hexlify(data).decode()
