"""TLV8 items."""

from __future__ import annotations

import random

import pytest

from tests.support.mutations import mutate
from tests.support.vectors import cases
from tinyatv.wire import tlv8

CASES = cases("pairing", "tlv8")
SEEDS = [bytes.fromhex(case["data_hex"]) for case in CASES]


def pairs(items):
    return [(tag, bytes.fromhex(value["hex"])) for tag, value in items]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vectors(case):
    data, expect = bytes.fromhex(case["data_hex"]), case["expect"]
    if "error" in expect:
        with pytest.raises(ValueError, match="ends inside an item"):
            tlv8.decode(data)
        return
    items = tlv8.decode(data)
    records = [pairs(record) for record in expect.get("records", [expect.get("items")])]
    assert tlv8.records(items) == records
    if "items" in expect:
        assert items == records[0]
    if case["direction"] == "both":
        assert tlv8.encode(items) == data
    if "dropped_hex" in case:
        assert tlv8.decode(bytes.fromhex(case["dropped_hex"])) == items[:-1]
    by_tag = dict(items)
    for name, tag in (("tlv_error", 7), ("state", 6), ("retry_delay", 8)):
        if name in expect:
            assert int.from_bytes(by_tag[tag], "little") == expect[name]


@pytest.mark.parametrize("size", [0, 1, 254, 255, 256, 509, 510, 511, 765, 1000])
def test_sizes(size):
    """Pieces of 255 bytes and what is left, which is nothing only where there is nothing."""
    value = bytes(n % 251 for n in range(size))
    data = tlv8.encode([(1, value), (2, b"end")])
    pieces = max(1, -(-size // 255))
    assert len(data) == 2 * pieces + size + 5
    assert [data[n * 257 + 1] for n in range(pieces - 1)] == [255] * (pieces - 1)
    assert tlv8.decode(data) == [(1, value), (2, b"end")]
    for cut in range(len(data)):
        if cut and data[cut:] == b"\x02\x03end":
            continue
        # Cut behind a piece, a value looks like a whole, shorter one.
        if cut % 257 == 0 and cut // 257 < pieces:
            assert tlv8.decode(data[:cut]) == ([(1, value[: cut // 257 * 255])] if cut else [])
            continue
        with pytest.raises(ValueError, match="ends inside an item"):
            tlv8.decode(data[:cut])


def test_pieces():
    """Only a full piece goes on, only with the same tag, and only in the next item."""
    full = b"\x01\xff" + bytes(255)
    assert tlv8.decode(full + b"\x01\x00") == [(1, bytes(255))]  # as some encoders end it
    assert tlv8.decode(b"\x01\x01a\x01\x01b") == [(1, b"a"), (1, b"b")]
    assert tlv8.decode(full + b"\x02\x00\x01\x01b") == [(1, bytes(255)), (2, b""), (1, b"b")]
    assert tlv8.decode(full + b"\xff\x00\x01\x01b") == [(1, bytes(255)), (255, b""), (1, b"b")]
    assert tlv8.decode(b"") == []


def test_records():
    assert tlv8.records([]) == [[]]
    assert tlv8.records([(255, b""), (1, b"a"), (255, b""), (255, b"")]) == [
        [],
        [(1, b"a")],
        [],
        [],
    ]


def test_large_value():
    """Pieces are put together in linear time: copying what is there for each would take minutes."""
    value = bytes(16 << 20)
    assert tlv8.decode(tlv8.encode([(1, value)])) == [(1, value)]


@pytest.mark.parametrize("tag", [-1, 256])
def test_no_tag(tag):
    with pytest.raises(ValueError, match="range"):
        tlv8.encode([(tag, b"")])


def test_only_value_errors(share):
    """What can be decoded means the same when it is encoded again."""
    rng = random.Random(8)
    count, decoded = share(100_000), 0
    for _ in range(count):
        data = mutate(rng, rng.choice(SEEDS), rng.choice(SEEDS))
        try:
            items = tlv8.decode(data)
        except ValueError:
            continue
        decoded += 1
        assert tlv8.decode(tlv8.encode(items)) == items
        assert sum(len(record) for record in tlv8.records(items)) <= len(items)
    assert count // 20 < decoded < count * 19 // 20
