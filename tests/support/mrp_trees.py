"""The vectors' notation of a message, [[field, value], ...] in wire order, and back."""

from __future__ import annotations

from tests.support.vectors import cases
from tinyatv.wire import varint


def frames():
    """Every message of the vectors: [(name, bytes, fields, kind)]."""
    found = []
    for case in cases("mrp", "messages"):
        data = bytes.fromhex(case.get("frame_hex") or case["message_hex"])
        if "frame_hex" in case:
            length, start = varint.decode(data)
            assert start + length == len(data)
            data = data[start:]
        found.append((case["name"], data, case["expect"]["fields"], case["expect"]["type"]))
    return found


def tree(message):
    """A protobuf message as a list of [field, value]."""
    found = []
    for field, value in message.ListFields():
        for item in value if repeated(field) else [value]:
            if field.message_type is not None:
                item = tree(item)
            elif isinstance(item, bytes):
                item = {"hex": item.hex()}
            found.append([field.name, item])
    return found


def arguments(fields, descriptor):
    """The same list as what a message is made from: {field: value}."""
    found = {}
    for name, value in fields:
        field = descriptor.fields_by_name[name]
        if field.message_type is not None:
            value = arguments(value, field.message_type)
        elif isinstance(value, dict):
            value = bytes.fromhex(value["hex"])
        if repeated(field):
            found.setdefault(name, []).append(value)
        else:
            assert name not in found
            found[name] = value
    return found


def repeated(field):
    """True for a repeated field; how to ask for it differs between versions of protobuf."""
    if hasattr(field, "is_repeated"):
        return field.is_repeated
    return field.label == field.LABEL_REPEATED


def put(number, value):
    """A field as bytes: a number or something of varying length."""
    if isinstance(value, int):
        return varint.encode(number << 3) + varint.encode(value)
    return varint.encode(number << 3 | 2) + varint.encode(len(value)) + value
