"""What bytes and messages mean: as values that JSON has, and as text.

The input is not trusted, so everything is bounded: how deep values are nested, how many there are,
and how long each one is. Text never contains control characters, which a terminal would obey.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from .text import printable
from .wire.http import HttpWire, Request, Response

LIMIT = 64 * 1024 * 1024  # bytes that are decoded at once
DEPTH = 32  # nested values
VALUES = 20000  # values in one message
TEXT = 2000  # characters of one text
BYTES = 64  # of data that are shown

ITEMS = {  # tag of a pairing message: what it is
    0x00: "Method",
    0x01: "Identifier",
    0x02: "Salt",
    0x03: "PublicKey",
    0x04: "Proof",
    0x05: "Encrypted",
    0x06: "State",
    0x07: "Error",
    0x08: "RetryDelay",
    0x09: "Certificate",
    0x0A: "Signature",
    0x0B: "Permissions",
    0x11: "Name",
    0x13: "Flags",
    0xFF: "Separator",
}
ERRORS = {
    1: "unknown",
    2: "authentication",
    3: "back-off",
    4: "max peers",
    5: "max tries",
    6: "unavailable",
    7: "busy",
}
FRAMES = {  # kind of a Companion frame: name
    0x01: "NoOp",
    0x03: "PairSetupStart",
    0x04: "PairSetupNext",
    0x05: "PairVerifyStart",
    0x06: "PairVerifyNext",
    0x07: "OpackClear",
    0x08: "Opack",
}
DIRECTIONS = {1: "event", 2: "request", 3: "reply"}  # _t of a Companion message


class JsonView:
    """Turns one message into values that JSON has."""

    def __init__(self) -> None:
        self._left = VALUES

    def value(self, value: Any, depth: int = DEPTH) -> Any:
        """A value of any of the formats as one that JSON has."""
        self._left -= 1
        if self._left < 0 or depth < 0:
            return "..."
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            # Python refuses to print thousands of digits.
            return int(value) if -(1 << 128) < value < 1 << 128 else "a number of over 128 bits"
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(value)
        if isinstance(value, str):
            return truncate(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return to_hex(bytes(value))
        if isinstance(value, Mapping):
            return {
                self._key(key): self.value(one, depth - 1) for key, one in self._some(value.items())
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(one, depth - 1) for one in self._some(value)]
        if hasattr(value, "ListFields"):
            return self.fields(value, depth)
        return truncate(str(value))  # a date, the UID of an archive

    def fields(self, message: Any, depth: int = DEPTH) -> dict[str, Any]:
        """The fields of a protobuf message."""
        found = {}
        for field, value in self._some(message.ListFields()):
            single = isinstance(value, (bool, int, float, str, bytes))
            if single or hasattr(value, "ListFields"):
                found[field.name] = self.value(value, depth - 1)
            else:
                found[field.name] = [self.value(one, depth - 1) for one in self._some(value)]
        return found

    def items(self, items: list[tuple[str, Any]], depth: int = DEPTH) -> list[dict[str, Any]]:
        """DMAP items with the names of their tags."""
        from .wire.dmap_tags import TAGS

        found = []
        for code, value in self._some(items):
            kind, name, _ = TAGS.get(code, ("unknown", "", None))
            inner = self.items(value, depth - 1) if isinstance(value, list) else self.value(value)
            found.append({"tag": code, "name": name, "type": kind, "value": inner})
        return found

    def _some(self, values: Any) -> Any:
        """As many of the values as may still be shown."""
        for value in values:
            if self._left < 0:
                return
            yield value

    def _key(self, key: Any) -> str:
        return truncate(key) if isinstance(key, str) else str(self.value(key, 0))


def truncate(text: str) -> str:
    """A text, cut if it is long; what JSON cannot have is replaced."""
    text = text.encode("utf-8", "replace").decode()  # lone surrogates
    return text if len(text) <= TEXT else f"{text[:TEXT]}... ({len(text)} characters)"


def to_hex(data: bytes) -> str:
    """Data as hex, cut if it is long."""
    if len(data) <= BYTES:
        return f"0x{data.hex()}"
    return f"0x{data[:BYTES].hex()}... ({len(data)} bytes)"


# -- messages --------------------------------------------------------------------------------------


def describe(message: Any) -> tuple[str, Any]:
    """What a message is called, and its content as values that JSON has.

    Args:
        message: Of any wire: an MRP message, an HTTP one, a Companion frame, or bytes.
    """
    if isinstance(message, Request):
        return f"{message.method} {truncate(message.path)}", _http(message)
    if isinstance(message, Response):
        return f"{message.code} {truncate(message.reason)}", _http(message)
    if isinstance(message, tuple) and len(message) == 2 and isinstance(message[0], int):
        return _companion(*message)
    if isinstance(message, (bytes, bytearray)):
        return f"{len(message)} bytes", to_hex(bytes(message))
    if hasattr(message, "envelope"):
        return _mrp(message)
    return type(message).__name__, truncate(str(message))


def _mrp(message: Any) -> tuple[str, dict[str, Any]]:
    from . import proto

    kind, body = message.kind, message.body
    name = proto.NAMES.get(kind, f"message {kind}") if kind else "DONE"
    found: dict[str, Any] = {}
    if message.identifier:
        found["identifier"] = truncate(message.identifier)
    if message.envelope.errorCode:
        found["errorCode"] = message.envelope.errorCode
    if hasattr(body, "ListFields"):
        found.update(JsonView().fields(body))
    if kind == proto.SEND_COMMAND:
        from .proto import commands

        found["command"] = f"{body.command} ({commands.NAMES.get(body.command, 'unknown')})"
    elif kind == proto.SEND_HID_EVENT:
        found.update(_button(body.hidEventData))
    elif kind == proto.CRYPTO_PAIRING:
        found["pairingData"] = _or_bytes(_pairing, body.pairingData)
    return name, found


def _button(data: bytes) -> dict[str, str]:
    from .wire import hid

    try:
        page, usage, down = hid.parse_event(data)
    except ValueError:
        return {}
    button = hid.BUTTON.get((page, usage), f"page {page}, usage {usage}")
    return {"button": button, "moves": "down" if down else "up"}


def _companion(kind: int, content: Any) -> tuple[str, dict[str, Any]]:
    frame = FRAMES.get(kind, f"frame {kind}")
    content = content if isinstance(content, dict) else {}
    found: dict[str, Any] = JsonView().value(content)
    if isinstance(content.get("_pd"), bytes):
        found["_pd"] = _or_bytes(_pairing, content["_pd"])
        return frame, found
    name, number = content.get("_i"), content.get("_t")
    direction = DIRECTIONS.get(number, "") if isinstance(number, int) else ""
    words = [truncate(name) if isinstance(name, str) else "", direction]
    return " ".join(word for word in words if word) or frame, found


def _http(message: Request | Response) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if message.headers:
        found["headers"] = [[truncate(n), truncate(v)] for n, v in message.headers[:100]]
    if message.body:
        found["body"] = body(message)
    return found


def body(message: Request | Response) -> Any:
    """The body of an HTTP message as values that JSON has, as far as its type is known."""
    kind = (message.header("Content-Type") or "").lower()
    try:
        data = message.plain()
    except ValueError:
        return to_hex(message.body)
    path = message.path if isinstance(message, Request) else ""
    if data[:8] == b"bplist00" or "plist" in kind:
        return _or_bytes(_plist, data)
    if "x-dmap" in kind or path.startswith("/ctrl-int/"):
        return _or_bytes(_dmap, data)
    if path.startswith("/pair-") or (kind == "application/octet-stream" and is_pairing(data)):
        return _or_bytes(_pairing, data)
    if kind.startswith("text/"):
        return truncate(data.decode("utf-8", "replace"))
    return to_hex(data)


def _or_bytes(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except ValueError:
        return to_hex(data)


# -- formats ---------------------------------------------------------------------------------------


def _plist(data: bytes) -> Any:
    from .wire import plist

    return JsonView().value(plist.loads(data))


def _dmap(data: bytes) -> list[dict[str, Any]]:
    from .wire import dmap

    try:
        items = dmap.decode(data, bounded=False)
    except dmap.TrailingBytes as exc:
        found = JsonView().items(exc.kept)
        return [*found, {"tag": "", "name": "", "type": "trailing", "value": to_hex(exc.trailing)}]
    return JsonView().items(items)


def _tlv8(data: bytes) -> list[list[Any]]:
    from .wire import tlv8

    return [[tag, to_hex(value)] for tag, value in tlv8.decode(data)[:VALUES]]


def _pairing(data: bytes) -> dict[str, Any]:
    from .wire import tlv8

    found: dict[str, Any] = {}
    for tag, value in tlv8.decode(data)[:VALUES]:
        name = ITEMS.get(tag, f"0x{tag:02x}")
        shown: Any = to_hex(value)
        if name == "State" and len(value) == 1:
            shown = f"M{value[0]}"
        elif name == "Error" and len(value) == 1:
            shown = f"{value[0]} ({ERRORS.get(value[0], 'unknown')})"
        elif name == "Identifier" and value.isascii() and value.decode().isprintable():
            shown = value.decode()
        found[name] = shown
    return found


def is_pairing(data: bytes) -> bool:
    """True for a list of the items of a pairing, and nothing else."""
    from .wire import tlv8

    try:
        items = tlv8.decode(data)
    except ValueError:
        return False
    states = [value for tag, value in items if tag == 6]
    known = all(tag in ITEMS for tag, _ in items)
    return known and len(states) == 1 and len(states[0]) == 1 and 1 <= states[0][0] <= 6


def _opack(data: bytes) -> Any:
    from .wire import opack

    value, rest = opack.unpack(data)
    if rest:
        raise ValueError(f"{len(rest)} bytes follow the value")
    return JsonView().value(value)


def _mrp_bytes(data: bytes) -> list[Any]:
    """MRP messages: frames one after the other, or a single message without a length."""
    from . import proto

    try:
        messages = [proto.parse(frame) for frame in _frames(data)]
    except ValueError:
        messages = []
    if not all(_is_known(message) for message in messages) or not messages:
        messages = [proto.parse(data)]
        if not _is_known(messages[0]):
            raise ValueError("no MRP message: nothing in it is known")
    return [_named(message) for message in messages]


def _frames(data: bytes) -> Iterator[bytes]:
    """What is in frames of MRP that follow each other."""
    from .wire import varint

    at = 0
    while at < len(data):
        prefix = varint.decode(data, at, 10)
        if prefix is None or sum(prefix) > len(data):
            raise ValueError("cut short")
        length, start = prefix
        at = start + length
        yield data[start:at]


def _is_known(message: Any) -> bool:
    """Whether something in it is known: much can be read as a message."""
    from . import proto

    return message.kind in proto.NAMES and bool(message.kind or message.identifier)


def _http_bytes(data: bytes) -> list[Any]:
    wire = HttpWire()
    wire.feed(data)
    found = []
    while (message := wire.next_message()) is not None:
        found.append(_named(message))
    if wire.unused():
        raise ValueError("an HTTP message that is cut short")
    return found


def _companion_bytes(data: bytes) -> list[Any]:
    found, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        found.append(_named(companion_frame(data[at:end])))
        at = end
    return found


def companion_frame(data: bytes) -> tuple[int, dict[Any, Any]]:
    """A Companion frame that is not sealed, or not any more.

    Raises:
        ValueError: It is none.
    """
    from .wire import opack

    if len(data) < 4 or data[0] not in FRAMES or len(data) != 4 + int.from_bytes(data[1:4], "big"):
        raise ValueError("no frame of Companion")
    content = opack.unpack(data[4:])[0] if len(data) > 4 else {}
    if not isinstance(content, dict):
        raise ValueError("a frame of Companion without a dictionary: is it encrypted?")
    return data[0], content


def _named(message: Any) -> dict[str, Any]:
    name, content = describe(message)
    return {"name": name, "message": content}


KINDS: dict[str, Callable[[bytes], Any]] = {
    # in the order in which they are tried: what is easily mistaken for something else comes last
    "plist": _plist,
    "http": _http_bytes,
    "dmap": _dmap,
    "hap": _pairing,
    "companion": _companion_bytes,
    "mrp": _mrp_bytes,
    "opack": _opack,
    "tlv8": _tlv8,
}


def decode(data: bytes, kind: str = "auto") -> tuple[str, Any]:
    """Decode bytes.

    Args:
        data: At most ``LIMIT`` bytes.
        kind: One of ``KINDS``, or ``"auto"`` for the first that fits.

    Returns:
        The kind, and values that JSON has.

    Raises:
        ValueError: They are not of that kind, or of none that is known.
    """
    if not data:
        raise ValueError("nothing to decode")
    if len(data) > LIMIT:
        raise ValueError(f"over {LIMIT} bytes")
    if kind != "auto":
        try:
            return kind, KINDS[kind](data)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"not {kind}: {exc or type(exc).__name__}") from exc
    for name, decoder in KINDS.items():
        if name == "hap" and not is_pairing(data):
            continue
        try:
            return name, decoder(data)
        except (ValueError, RecursionError):
            continue
    raise ValueError(f"{len(data)} bytes that are nothing known: {to_hex(data)}")


def from_hex(text: str) -> bytes:
    """The bytes that a hex string stands for; spaces, colons, commas and 0x may be in it.

    Raises:
        ValueError: Something else is.
    """
    digits = re.sub(r"0[xX]|[\s:,]", "", text)
    if len(digits) % 2:
        raise ValueError("an odd number of hex digits")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError("not hex") from None


# -- text ------------------------------------------------------------------------------------------


def lines(value: Any, indent: str = "") -> Iterator[str]:
    """Values as lines of text; what is nested too deeply is cut."""
    if len(indent) > 8 * DEPTH and isinstance(value, (dict, list)):
        yield f"{indent}..."
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _line(f"{indent}{printable(str(key))}", one, indent)
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, dict) and {"tag", "name", "value"} <= one.keys():
                name = f" [{printable(str(one['name']))}]" if one["name"] else ""
                yield from _line(
                    f"{indent}{printable(str(one['tag']))}{name}", one["value"], indent
                )
            elif (
                isinstance(one, list) and one and not any(isinstance(v, (list, dict)) for v in one)
            ):
                yield f"{indent}{': '.join(_scalar(v) for v in one)}"
            elif isinstance(one, (list, dict)) and one:
                yield f"{indent}-"
                yield from lines(one, f"{indent}  ")
            else:
                yield f"{indent}- {_scalar(one)}"
    else:
        yield f"{indent}{_scalar(value)}"


def _line(label: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, (dict, list)) and value:
        yield f"{label}:"
        yield from lines(value, f"{indent}  ")
    else:
        yield f"{label}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return printable(value)
    return json.dumps(value)
