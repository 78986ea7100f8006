"""OPACK values."""

from __future__ import annotations

import datetime
import uuid

import pytest

from tests.conftest import cases
from tinyatv.wire.opack import UUID, Date, Sized, pack, unpack

EPOCH = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)

ENCODE = cases("companion", "opack_encode")
DECODE = cases("companion", "opack_decode")
MALFORMED = cases("companion", "opack_malformed")


def value(tree):
    """A value of the vectors."""
    if isinstance(tree, list):
        return [value(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "dict" in tree:
        return {value(key): value(item) for key, item in tree["dict"]}
    if "hex" in tree:
        return bytes.fromhex(tree["hex"])
    if "uuid" in tree:
        return UUID(uuid.UUID(tree["uuid"]).bytes)
    if "int_hex" in tree:
        return int(tree["int_hex"], 16)
    return Date((datetime.datetime.fromisoformat(tree["date"]) - EPOCH).total_seconds())


def shape(tree):
    """A value with all types, so that 1, 1.0 and True differ; how wide a number was is left out."""
    if isinstance(tree, list):
        return [shape(item) for item in tree]
    if isinstance(tree, dict):
        return [(shape(key), shape(item)) for key, item in tree.items()]
    return int if isinstance(tree, Sized) else type(tree), tree


@pytest.mark.parametrize("case", ENCODE, ids=lambda case: case["name"])
def test_encode(case):
    data, tree = bytes.fromhex(case["expect"]["data_hex"]), value(case["value"])
    assert pack(tree) == data
    for written in (data.hex(), case.get("peer_hex"), case.get("references_hex")):
        if written is not None:
            found, rest = unpack(bytes.fromhex(written))
            assert (shape(found), rest) == (shape(tree), b"")


@pytest.mark.parametrize("case", DECODE, ids=lambda case: case["name"])
def test_decode(case):
    found, rest = unpack(bytes.fromhex(case["data_hex"]))
    assert shape(found) == shape(value(case["expect"]["value"]))
    assert rest == bytes.fromhex(case["expect"].get("left_hex", ""))


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case["name"])
def test_malformed(case):
    words = {
        "truncated": "ends inside|UTF-8",  # a text that is cut short may show it first
        "tag": "no tag|must not",
        "utf8": "UTF-8",
        "reference": "refers to value",
        "chunk": "a piece of OPACK data",
        "depth": "more than 64 containers",
    }
    with pytest.raises(ValueError, match=words[case["expect"]["error"]]):
        unpack(bytes.fromhex(case["data_hex"]))
