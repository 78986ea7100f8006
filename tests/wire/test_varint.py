"""Numbers in groups of seven bits."""

from __future__ import annotations

import pytest

from tests.support.vectors import cases
from tinyatv.wire import varint


@pytest.mark.parametrize("case", cases("mrp", "varint"), ids=lambda case: case["name"])
def test_vectors(case):
    expect = case["expect"]
    if "value" in case:
        data = bytes.fromhex(expect["data_hex"])
        assert varint.encode(case["value"]) == data
        assert varint.decode(data) == (case["value"], len(data))
        assert varint.decode(bytearray(b"\xff" + data + b"\xff"), 1) == (
            case["value"],
            len(data) + 1,
        )
        return
    data = bytes.fromhex(case["data_hex"])
    if "error" in expect:
        with pytest.raises(ValueError, match=expect["error"]):
            varint.decode(data)
    else:
        assert expect == {"need_more": True}
        assert varint.decode(data) is None


@pytest.mark.parametrize("bits", range(70))
def test_edges(bits):
    """Where a byte more is needed, and everything on the way there."""
    for value in {(1 << bits) - 1, 1 << bits}:
        data = varint.encode(value)
        assert len(data) == max(1, -(-value.bit_length() // 7))
        assert all(varint.decode(data[:size], 0, 11) is None for size in range(len(data)))
        assert varint.decode(data + b"\0", 0, 11) == (value, len(data))


@pytest.mark.parametrize("longest", [1, 2, 5, 10])
def test_longest(longest):
    last = b"\x80" * (longest - 1) + b"\x01"
    assert varint.decode(last, 0, longest) == (1 << 7 * (longest - 1), longest)
    assert varint.decode(b"\xff" * (longest - 1), 0, longest) is None
    for data in (b"\x80" + last, b"\xff" * longest):
        with pytest.raises(ValueError, match=f"longer than {longest} bytes"):
            varint.decode(data, 0, longest)


def test_more_zeros_than_needed():
    """Legal: who reserves room for a length and fills it in later writes that."""
    assert varint.decode(bytes.fromhex("8000")) == (0, 2)
    assert varint.decode(bytes.fromhex("81808000")) == (1, 4)


@pytest.mark.parametrize("start", [0, 3, 4, 100])
def test_nothing_left(start):
    assert varint.decode(b"\x01\x01\x01"[:start], start) is None


class Watched(bytes):
    """Bytes that know which of them were read."""

    def __getitem__(self, index):
        assert isinstance(index, int)
        self.read.add(index)
        return bytes.__getitem__(self, index)


@pytest.mark.parametrize("start", [0, 7])
def test_endless_number(start):
    """60 KiB of "more follows": ten of them are enough to refuse it."""
    data = Watched(b"\xff" * 60 * 1024)
    data.read = set()
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        varint.decode(data, start)
    assert data.read == set(range(start, start + 10))


def test_negative():
    with pytest.raises(ValueError, match="0 or more"):
        varint.encode(-1)
