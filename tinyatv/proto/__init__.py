"""MRP messages: numbers of the kinds, how to make one, how to read one.

``mrp.proto`` is the readable source; ``mrp.binpb`` is the same, compiled, and loaded into a private
pool at first use. There is no generated code, which would run on one version of protobuf only.
"""

from __future__ import annotations

import itertools
import operator
import os
from collections.abc import Iterator
from typing import Any, Callable

from ..wire import varint

UNKNOWN = 0  # with an identifier: "done", to a request that has no answer of its own
SEND_COMMAND = 1
SEND_COMMAND_RESULT = 2
SET_STATE = 4
SET_ARTWORK = 5
REGISTER_HID_DEVICE = 6
REGISTER_HID_DEVICE_RESULT = 7
SEND_HID_EVENT = 8
NOTIFICATION = 11
DEVICE_INFO = 15
CLIENT_UPDATES_CONFIG = 16
VOLUME_CONTROL_AVAILABILITY = 17
REGISTER_FOR_GAME_CONTROLLER_EVENTS = 22
KEYBOARD = 23
GET_KEYBOARD_SESSION = 24
TEXT_INPUT = 25
REGISTER_VOICE_INPUT_DEVICE = 28
REGISTER_VOICE_INPUT_DEVICE_RESPONSE = 29
PLAYBACK_QUEUE_REQUEST = 32
TRANSACTION = 33
CRYPTO_PAIRING = 34
DEVICE_INFO_UPDATE = 37
SET_CONNECTION_STATE = 38
SEND_BUTTON_EVENT = 39
SET_HILITE_MODE = 40
WAKE_DEVICE = 41
GENERIC = 42
SEND_PACKED_VIRTUAL_TOUCH_EVENT = 43
SET_NOW_PLAYING_CLIENT = 46
SET_NOW_PLAYING_PLAYER = 47
MODIFY_OUTPUT_CONTEXT_REQUEST = 48
GET_VOLUME = 49
GET_VOLUME_RESULT = 50
SET_VOLUME = 51
VOLUME_DID_CHANGE = 52
REMOVE_CLIENT = 53
REMOVE_PLAYER = 54
UPDATE_CLIENT = 55
UPDATE_CONTENT_ITEM = 56
UPDATE_CONTENT_ITEM_ARTWORK = 57
UPDATE_PLAYER = 58
VOLUME_CONTROL_CAPABILITIES_DID_CHANGE = 64
UPDATE_OUTPUT_DEVICE = 65
REMOVE_OUTPUT_DEVICES = 66
REMOTE_TEXT_INPUT = 67
GET_REMOTE_TEXT_INPUT_SESSION = 68
SET_DEFAULT_SUPPORTED_COMMANDS = 72
PLAYER_CLIENT_PROPERTIES = 104
ORIGIN_CLIENT_PROPERTIES = 105
CONFIGURE_CONNECTION = 120

NAMES = {number: name for name, number in globals().items() if name.isupper()}


def _field(name: str) -> str:
    """``SEND_HID_EVENT`` -> ``sendHIDEventMessage``, the field of the envelope that holds it."""
    words = [word if word == "HID" else word.capitalize() for word in name.split("_")]
    return "".join([words[0].lower(), *words[1:], "Message"])


BODIES = {number: _field(name) for number, name in NAMES.items() if number}  # kind: field
BODIES[DEVICE_INFO_UPDATE] = BODIES[DEVICE_INFO]
KINDS = {field: kind for kind, field in reversed(BODIES.items())}

SMALL = 4096  # bytes of a message that cannot cost much
OBJECTS = 16384  # in a message: texts and data count once; ours, as devices send a few hundred
MESSAGE_COST = 4  # what a message in it counts
DEPTH = 16  # of messages in messages, where a damaged one is mended
SHOWN = 200  # characters of a message in a log
SECRET = (CRYPTO_PAIRING, TEXT_INPUT, REMOTE_TEXT_INPUT)  # not shown in logs: keys and passwords


def _new_ids() -> None:
    """Identifiers that nobody else has: a process has its own, and the child of a fork, too."""
    global _ID, _ids
    seed = os.urandom(16).hex().upper()
    _ID = f"{seed[:8]}-{seed[8:12]}-4{seed[13:16]}-8{seed[17:20]}-%012X"
    _ids = itertools.count(int(seed[20:], 16) >> 1)  # half, so that it keeps to twelve digits


_ID: str
_ids: Iterator[int]
_new_ids()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_new_ids)

_envelope: Any = None
_classes: list[Any] = []


class Message:
    """One message.

    Attributes:
        kind: Number of its type, such as ``SET_STATE``; may be one that is not known here.
        identifier: Pairs a request with its answer; ``""`` if there is none.
        key: What an answer has in common with its request; None of a message that is neither. The
            messages of a pairing have no identifier: only one is ever under way.
        body: Its fields as a protobuf message; None if the kind is not known or has none.
        envelope: All of it.
    """

    __slots__ = ("body", "envelope", "identifier", "key", "kind")

    def __init__(self, envelope: Any) -> None:
        self.envelope = envelope
        identifier: str | bytes = envelope.identifier
        if not isinstance(identifier, str):
            identifier = text(envelope, "identifier") or ""
        kind: int = envelope.type
        if not kind and not envelope.HasField("type"):  # some devices do: the body tells
            bodies = (field.name for field, _ in envelope.ListFields() if field.name in KINDS)
            kind = KINDS.get(next(bodies, ""), UNKNOWN)
        field = BODIES.get(kind)
        self.kind = kind
        self.identifier = identifier
        self.key: str | int | None = identifier or (kind if kind == CRYPTO_PAIRING else None)
        self.body: Any = getattr(envelope, field) if field else None

    def renew(self) -> None:
        """Make it another message, which says the same."""
        self.envelope.uniqueIdentifier = _ID % next(_ids)

    def __repr__(self) -> str:
        name = NAMES.get(self.kind, str(self.kind)) if self.kind else "DONE"
        if self.kind in SECRET:
            return name
        shown = ""
        for word in _words(self.body, DEPTH):
            shown += f" {word}" if shown else word
            if len(shown) > SHOWN:  # str() would first write out all of it
                return f"{name}({shown[:SHOWN]}...)"
        return f"{name}({shown})"


def build(kind: int, identifier: str | bool = "", **fields: Any) -> Message:
    """Make a message.

    Args:
        kind: Number of its type.
        identifier: To give an answer, or to ask for one: True makes a new one.
        **fields: Of the body; a dict is a message in it, a list something repeated.

    Raises:
        ValueError: No such field, or a value of the wrong kind.
    """
    envelope: dict[str, Any] = {"type": kind, "errorCode": 0, "uniqueIdentifier": _ID % next(_ids)}
    if identifier:
        envelope["identifier"] = _ID % next(_ids) if identifier is True else identifier
    if fields:
        if kind not in BODIES:
            raise ValueError(f"message {kind} has no fields that are known")
        envelope[BODIES[kind]] = fields
    try:
        return Message((_envelope or _load())(**envelope))
    except TypeError as exc:
        raise ValueError(f"{NAMES.get(kind, kind)}: {exc}") from exc


def parse(data: bytes) -> Message:
    """Read a message.

    What is not known is skipped. What is damaged inside is left out: tomorrow's devices may well
    put something else where a field is today.

    Raises:
        ValueError: Not a message at all.
    """
    envelope = _envelope or _load()
    if len(data) > SMALL:
        _count(data, envelope.DESCRIPTOR)
    try:
        return Message(envelope.FromString(data))
    except Exception:  # which one differs between the runtimes and their versions
        mended = _mend(memoryview(data), envelope.DESCRIPTOR, 0)
    try:
        return Message(envelope.FromString(mended))
    except Exception as exc:
        raise ValueError(f"not an MRP message: {exc}") from exc


def dumps(message: Message) -> bytes:
    """Turn a message into bytes."""
    data: bytes = message.envelope.SerializeToString()
    return data


key: Callable[[Message], str | int | None] = operator.attrgetter("key")


def new_id() -> str:
    """An identifier as devices make them: a UUID of version 4 in upper case.

    Random once in a process, then counted: it has to be unique, not secret, and asking the system
    for random bytes several times for each press would be noticed.
    """
    return _ID % next(_ids)


def text(message: Any, field: str) -> str | None:
    """A text field, or None if it is not set.

    Of text that is not UTF-8, one runtime makes bytes and the other refuses the message.
    """
    value: str | bytes = getattr(message, field)
    if not value and not message.HasField(field):
        return None
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _words(message: Any, depth: int) -> Iterator[str]:
    """The fields of a message for people; bytes only by their number."""
    if not hasattr(message, "ListFields"):  # a body that is a text, or none
        return
    for field, value in message.ListFields():
        one = isinstance(value, (int, float, str, bytes)) or hasattr(value, "ListFields")
        for item in (value,) if one else value:
            if field.message_type is not None:
                yield f"{field.name} {{"
                yield from _words(item, depth - 1) if depth else ("...",)
                yield "}"
            elif field.type == field.TYPE_BYTES:
                yield f"{field.name}: {len(item)} bytes"
            else:
                shown = item[:SHOWN] if isinstance(item, (str, bytes)) else item
                yield f"{field.name}: {shown!r}"


def _load() -> Any:
    """The class of the envelope. Takes 2 ms at first use, 35 ms without protobuf's C part."""
    global _envelope
    if _envelope is None:
        from google.protobuf import descriptor_pool, message_factory

        with open(os.path.join(os.path.dirname(__file__), "mrp.binpb"), "rb") as file:
            data = file.read()
        # A descriptor set is a list of files, and this one has one: tag, length, file.
        _, start = _number(data, 1)
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(data[start:])
        descriptor = pool.FindMessageTypeByName("tinyatv.mrp.ProtocolMessage")
        # Up to 4.24, protobuf's C part frees the classes of inner messages while it uses them.
        for inner in descriptor.file.message_types_by_name.values():
            _classes.append(message_factory.GetMessageClass(inner))
        _envelope = message_factory.GetMessageClass(descriptor)
    return _envelope


def _count(data: bytes, descriptor: Any) -> None:
    """Refuse a message with more in it than any device sends: two bytes can cost a kilobyte.

    Raises:
        ValueError: It has more.
    """
    left = OBJECTS
    inside = [(0, len(data), descriptor)]  # what is still to be looked at
    while inside:
        at, end, descriptor = inside.pop()
        try:
            for start, size, field in _long_fields(data, at, end, descriptor):
                left -= 1 if field.message_type is None else MESSAGE_COST
                if left < 0:
                    break
                if field.message_type is not None:
                    inside.append((start, start + size, field.message_type))
        except ValueError:
            continue  # damaged: the runtime does not read on there either
        if left < 0:
            raise ValueError("not an MRP message: there is too much in it")


def _long_fields(
    data: bytes, at: int, end: int, descriptor: Any
) -> Iterator[tuple[int, int, Any]]:  # fmt: skip
    """Start, size and descriptor of the known fields of varying length in a part of a message."""
    fields = descriptor.fields_by_number
    while at < end:
        tag, at = _number(data, at)
        wire_type = tag & 7
        if wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        elif wire_type in (0, 2):
            value, at = _number(data, at)
            if wire_type == 2:
                field = fields.get(tag >> 3)
                if field is not None:
                    yield at, min(value, end - at), field
                at += value


def _mend(data: memoryview, descriptor: Any, depth: int) -> bytes:
    """Leave out of a message what cannot be read, and mend text that is not UTF-8.

    Raises:
        ValueError: Its own fields cannot be told apart.
    """
    kept = bytearray()
    at = 0
    while at < len(data):
        start = at
        tag, at = _number(data, at)
        number, wire_type = tag >> 3, tag & 7
        field = descriptor.fields_by_number.get(number)
        if wire_type == 0:
            _, at = _number(data, at)
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        elif wire_type == 2:
            length, at = _number(data, at)
            value, at = data[at : at + length], at + length
            if at <= len(data) and field is not None:
                mended = _mended(value, field, depth)
                if mended is not None:
                    kept += varint.encode(tag) + varint.encode(len(mended))
                    kept += mended
                continue
        else:
            raise ValueError(f"not an MRP message: wire type {wire_type}")
        if at > len(data) or not number:
            raise ValueError("not an MRP message: cut short")
        if field is not None:
            kept += data[start:at]
    return bytes(kept)


def _mended(value: memoryview, field: Any, depth: int) -> bytes | memoryview | None:
    """A mended field of varying length; None to leave it out."""
    if field.message_type is not None:
        try:
            return _mend(value, field.message_type, depth + 1) if depth < DEPTH else None
        except ValueError:
            return None
    if field.type == field.TYPE_STRING:
        return str(value, "utf-8", "replace").encode()
    return value if field.type == field.TYPE_BYTES else None  # packed numbers, or another kind


def _number(data: bytes | memoryview, at: int) -> tuple[int, int]:
    found = varint.decode(data, at)
    if found is None:
        raise ValueError("not an MRP message: cut short")
    return found
