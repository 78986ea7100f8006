"""Property lists: those of the vectors, and those that are made to do harm."""

from __future__ import annotations

import plistlib
import struct
import tracemalloc

import pytest

from tests.support.vectors import cases
from tinyatv.wire import plist


def value(item):
    if isinstance(item, list):
        return [value(inner) for inner in item]
    if isinstance(item, dict):
        if set(item) == {"hex"}:
            return bytes.fromhex(item["hex"])
        if set(item) == {"int_hex"}:
            return int(item["int_hex"], 16)
        return {name: value(inner) for name, inner in item.items()}
    return item


LISTS = cases("airplay", "property_lists")
LISTS += [case for case in cases("airplay", "tunnel_setup") if "plist_hex" in case]


@pytest.mark.parametrize("case", LISTS, ids=lambda case: case["name"])
def test_vectors(case):
    data, expect = bytes.fromhex(case["plist_hex"]), case["expect"]
    if "error" in expect:
        with pytest.raises(ValueError, match=r"^not a property list: "):
            plist.loads(data)
        return
    found = plist.loads(data)
    assert found == value(expect["value"])
    assert repr(found) == repr(value(expect["value"])) or isinstance(found, dict)  # True == 1
    assert plist.loads(plist.dumps(found)) == found
    assert len(plist.dumps(found)) == len(data)
    if "seed_unsigned_int_hex" in case:
        assert found["seed"] % (1 << 64) == int(case["seed_unsigned_int_hex"], 16)


def test_xml():
    for content in ({"rate": 1.0, "list": [1, "two", b"three", True]}, [], {}):
        assert plist.loads(plistlib.dumps(content)) == content


@pytest.mark.parametrize("content", [{1: 2}, {"a": object()}, 1 << 64, -(1 << 63) - 1, object()])
def test_not_for_a_property_list(content):
    with pytest.raises(ValueError, match=r"^not for a property list"):
        plist.dumps(content)


def binary(objects, width=1, count=None, table=None, refs=1):
    """A binary property list of encoded objects; ``objects`` may be (offset, ...) made up."""
    body, places = b"bplist00", []
    for item in objects:
        if isinstance(item, int):
            places.append(item)
        else:
            places.append(len(body))
            body += item
    where = len(body) if table is None else table
    entries = b"".join(place.to_bytes(width, "big") for place in places)
    count = len(places) if count is None else count
    return body + entries + struct.pack(">6xBBQQQ", width, refs, count, 0, where)


def nested(depth):
    """Arrays in arrays."""
    return binary(
        [b"\xa1" + (number + 1).to_bytes(2, "big") for number in range(depth)] + [b"\x09"],
        4,
        refs=2,
    )


BAD = {
    "nothing": b"",
    "text": b"nope",
    "beginning alone": b"bplist00",
    "another version": b"bplist16" + bytes(40),
    "trailer of zeros": b"bplist00" + bytes(40),
    "more objects than bytes": binary([b"\x09"], count=1 << 40),
    "more objects than a machine has": binary([b"\x09"], count=(1 << 64) - 1),
    "table behind the end": binary([b"\x09"], table=1 << 50),
    "table of wide numbers": binary([b"\x09"], width=200, count=1),
    "huge array": binary([b"\xaf\x13" + (1 << 40).to_bytes(8, "big")]),
    "huge array of 2 GB": binary([b"\xaf\x12" + (1 << 31).to_bytes(4, "big")]),
    "huge dictionary": binary([b"\xdf\x13" + (1 << 62).to_bytes(8, "big")]),
    "huge data": binary([b"\x4f\x13" + ((1 << 63) + 1).to_bytes(8, "big")]),
    "huge text": binary([b"\x6f\x12\xff\xff\xff\xff"]),
    "object behind the end": binary([5000], width=2),
    "long number": binary([b"\x1f" + bytes(1 << 15)]),
    "array in itself as a key": binary([b"\xd1\0\0"]),
    "depth": nested(20000),
    "xml, cut short": plistlib.dumps({"a": 1})[:-12],
    "xml with entities": b'<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "bb">]>'
    b"<plist><string>&a;</string></plist>",
    "xml with a number that is none": b'<?xml version="1.0"?><plist><integer>x</integer></plist>',
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_bad(data):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^not a property list: "):
            plist.loads(data)
        assert tracemalloc.get_traced_memory()[1] < 300 * len(data) + 200_000
    finally:
        tracemalloc.stop()


def test_one_object_read_a_thousand_times():
    """Each entry of the table leads to the same large array."""
    size = 20_000
    array = b"\xaf\x12" + size.to_bytes(4, "big") + bytes(size * 2)
    data = binary([array, *[8] * 2000], width=2, refs=2)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="larger than the data"):
            plist.loads(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_as_large_as_can_be():
    """What is honest passes, however it fills the data."""
    for content in (bytes(100_000), "a" * 50_000, "ä" * 50_000, [[]] * 9999, list(range(9999)),
                    {str(number): [number] for number in range(3000)}):  # fmt: skip
        assert plist.loads(plist.dumps({"it": content})) == {"it": content}
