"""OPACK values."""

from __future__ import annotations

import collections
import enum
import math
import struct
import tracemalloc

import pytest

from tests.support.vectors import cases, opack_value
from tinyatv.wire.opack import DEPTH, OBJECTS, UUID, Date, Sized, pack, sized, unpack

ENCODE = cases("companion", "opack_encode")
DECODE = cases("companion", "opack_decode")
MALFORMED = cases("companion", "opack_malformed")


def shape(tree):
    """A value with all types, so that 1, 1.0 and True differ; how wide a number was is left out."""
    if isinstance(tree, list):
        return [shape(item) for item in tree]
    if isinstance(tree, dict):
        return [(shape(key), shape(item)) for key, item in tree.items()]
    return int if isinstance(tree, Sized) else type(tree), tree


@pytest.mark.parametrize("case", ENCODE, ids=lambda case: case["name"])
def test_encode(case):
    data, tree = bytes.fromhex(case["expect"]["data_hex"]), opack_value(case["value"])
    assert pack(tree) == data
    for written in (data.hex(), case.get("peer_hex"), case.get("references_hex")):
        if written is not None:
            found, rest = unpack(bytes.fromhex(written))
            assert (shape(found), rest) == (shape(tree), b"")


@pytest.mark.parametrize("case", DECODE, ids=lambda case: case["name"])
def test_decode(case):
    found, rest = unpack(bytes.fromhex(case["data_hex"]))
    assert shape(found) == shape(opack_value(case["expect"]["value"]))
    assert rest == bytes.fromhex(case["expect"].get("left_hex", ""))


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case["name"])
def test_malformed(case):
    words = {
        "truncated": "ends inside|UTF-8",  # a text that is cut short may show it first
        "tag": "no tag",
        "utf8": "UTF-8",
        "reference": "refers to value",
        "chunk": "a part of OPACK data",
        "depth": "more than 32 containers",
    }
    with pytest.raises(ValueError, match=words[case["expect"]["error"]]):
        unpack(bytes.fromhex(case["data_hex"]))


SEEDS = [bytes.fromhex(case["expect"]["data_hex"]) for case in ENCODE]
SEEDS += [bytes.fromhex(case["data_hex"]) for case in DECODE if "left_hex" not in case["expect"]]


@pytest.mark.parametrize("data", SEEDS, ids=bytes.hex)
def test_cut_short_and_more_behind(data):
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"ends inside|UTF-8|refers"):
            unpack(data[:end])
    for behind in (b"\0", b"\x03", b"A" * 100):
        assert repr(unpack(data + behind)) == repr((unpack(data)[0], behind))
    for view in (bytearray(data), memoryview(data)):
        assert repr(unpack(view)) == repr(unpack(data))


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_width_is_kept(size):
    """An answer can repeat a number exactly as it came."""
    for number in (0, 1, 39, 40, 127, 128, 255, (1 << 8 * size) - 1):
        data = bytes([0x30 + [1, 2, 4, 8, 16].index(size)]) + number.to_bytes(size, "little")
        found, _ = unpack(data)
        assert found == number
        assert {found: "as a key"}[number] == "as a key"
        assert pack(found) == data
        if isinstance(found, Sized):
            assert found.size == size
            assert pack(int(found)) != data
        assert pack({"_x": found})[-len(data) :] == data


def test_sizes_are_those_of_signed_numbers():
    """Signed and unsigned, they are the same, up to 127 bits."""
    for bits in range(1, 128):
        for number in ((1 << bits) - 1, (1 << bits - 1) + 1):
            data = pack(number)
            assert unpack(data) == (number, b"")
            assert type(unpack(data)[0]) is int
            if len(data) > 1:
                assert int.from_bytes(data[1:], "little", signed=True) == number
                assert len(data) - 1 in (1, 2, 4, 8, 16)
    assert unpack(pack((1 << 128) - 1)) == ((1 << 128) - 1, b"")


@pytest.mark.parametrize(
    "number", [-2, -9, -(1 << 40), 1 << 128, 1 << 200, sized(256, 1), sized(-1, 2)]
)
def test_no_number(number):
    with pytest.raises(ValueError, match=r"OPACK|fit"):
        pack(number)


@pytest.mark.parametrize("size", [-1, 0, 3, 32])
def test_no_size(size):
    with pytest.raises(ValueError, match=f"no numbers of {size} bytes"):
        sized(1, size)


@pytest.mark.parametrize("number", [0.0, -0.0, 1.5, math.inf, -math.inf, 1e308, 5e-324])
def test_floats(number):
    assert unpack(pack(number)) == (number, b"")
    assert math.copysign(1, unpack(pack(number))[0]) == math.copysign(1, number)
    assert pack(unpack(b"\x35" + struct.pack("<f", 0.5))[0]) == pack(0.5)
    assert math.isnan(unpack(pack(math.nan))[0])


# -- types -----------------------------------------------------------------------------------------


class Number(enum.IntEnum):
    SIX = 6


class Text(str):
    pass


def test_types_made_from_others():
    assert pack(Number.SIX) == pack(6)
    assert pack(Text("a")) == pack("a")
    assert pack(collections.OrderedDict(b=1, a=2)) == pack({"b": 1, "a": 2})
    assert pack((1, [2])) == pack([1, [2]])
    for data in (bytearray(b"ab"), memoryview(b"ab")):
        assert pack(data) == pack(b"ab")


def test_order_is_kept():
    for order in ("abc", "cba", "bca"):
        content = dict.fromkeys(order, 1)
        assert pack(content)[1::3].decode() == "".join("A" for _ in order)
        assert list(unpack(pack(content))[0]) == list(order)


def test_keys():
    """Any value that is no container; of equal ones, the last counts."""
    content = {1: "a", "1": "b", b"1": "c", None: "d", 2.5: "e", UUID(bytes(16)): "f"}
    assert unpack(pack(content)) == (content, b"")
    assert unpack(b"\xe2" + pack("a") + pack(1) + pack("a") + pack(2)) == ({"a": 2}, b"")
    for key in (b"\xd0", b"\xe0", b"\xdf\x03"):
        with pytest.raises(ValueError, match="a key"):
            unpack(b"\xe1" + key + b"\x04")


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, lambda: 0, range(3)])
def test_no_type(value):
    for content in (value, [value], {"a": value}, {"a": [{"b": value}]}):
        with pytest.raises(ValueError, match="not for OPACK"):
            pack(content)


def test_uuid_and_date():
    assert unpack(pack(UUID(range(16))))[0] == UUID(range(16))
    assert isinstance(unpack(pack(UUID(range(16))))[0], UUID)
    assert isinstance(unpack(pack(Date(1.5)))[0], Date)
    with pytest.raises(ValueError, match="16 bytes"):
        pack(UUID(b"short"))


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 255, 256, 65535, 65536, 100_000])
def test_lengths(size):
    """Text and data at every border of a length."""
    ladder = [(32, 1), (255, 2), (65535, 3), (1 << 32, 5)]
    head = next(head for most, head in ladder if size <= most)
    for content in ("a" * size, b"a" * size):
        data = pack(content)
        assert len(data) == size + head
        assert unpack(data) == (content, b"")
    wide = "ö" * (size // 2)  # it is bytes that count
    assert unpack(pack(wide)) == (wide, b"")


@pytest.mark.parametrize("count", [0, 1, 13, 14, 15, 16, 1000])
def test_counts(count):
    """At the border where containers become endless."""
    array, content = list(range(count)), {str(n): n for n in range(count)}
    for value, short in ((array, 0xD0), (content, 0xE0), ([array, content], 0xD0)):
        data = pack(value)
        assert unpack(data) == (value, b"")
        endless = len(value) > 14
        assert data[0] == (short | 15 if endless else short + len(value))
        assert (data[-1:] == b"\x03") == endless or value is not array


# -- the table of what was there before ------------------------------------------------------------

ENTERS = [
    "61 01 61", "41 61", "6f 61 00", "6f 00", "61 00", "71 61", "91 01 61", "91 00", "30 01",
    "31 0100", "33 0100000000000000", "34" + "00" * 16, "35 0000803f", "36" + "00" * 8,
    "05" + "11" * 16, "06" + "00" * 8,
]  # fmt: skip
STAYS_OUT = [
    "01", "02", "04", "07", "08", "2f", "40", "70", "d0", "e0", "df 03", "9f 71 61 03",
    "d2 01 02", "e1 08 09",
]  # fmt: skip


@pytest.mark.parametrize("written", ENTERS)
def test_enters_the_table(written):
    data = bytes.fromhex(written)
    # A tuple, so that equal values are found to be one.
    first, second, mark = unpack(b"\xd3" + data + b"\xa0" + b"\x08")[0]
    assert first is second
    assert mark == 0
    # Equal ones count as often as they come.
    assert unpack(b"\xd4" + data + data + b"\x42no\xa2")[0][-1] == "no"


@pytest.mark.parametrize("written", STAYS_OUT)
def test_stays_out_of_the_table(written):
    data = bytes.fromhex(written)
    assert unpack(b"\xd3" + data + b"\x42no\xa0")[0][-1] == "no"
    with pytest.raises(ValueError, match="refers to value 0 of 0"):
        unpack(b"\xd2" + data + b"\xa0")


def test_table_of_one_object():
    """The next object begins with an empty one."""
    _, rest = unpack(pack("first") + b"\xa0")
    with pytest.raises(ValueError, match="refers"):
        unpack(rest)


def test_values_inside_containers_and_keys_enter():
    data = b"\xe2" + pack("key") + b"\xd1" + pack("inner") + b"\xa0\xa1"
    assert unpack(data)[0] == {"key": "inner"}
    assert unpack(b"\xd2\x9f" + pack(b"piece") + b"\x03\x44last")[0] == [b"piece", "last"]


# -- bounds ----------------------------------------------------------------------------------------


def nested(depth, kind):
    value = None
    for _ in range(depth):
        value = [value] if kind == "array" else {"a": value}
    return value


@pytest.mark.parametrize("kind", ["array", "dictionary"])
def test_depth(kind):
    deepest = nested(DEPTH, kind)
    assert unpack(pack(deepest)) == (deepest, b"")
    with pytest.raises(ValueError, match=f"more than {DEPTH} containers"):
        pack(nested(DEPTH + 1, kind))
    head = pack(deepest)[:-1]
    with pytest.raises(ValueError, match=f"more than {DEPTH} containers"):
        unpack(head + b"\xd0")


@pytest.mark.parametrize("head", [b"\xd1", b"\xdf", b"\xe1\x04", b"\xef\x04"])
def test_far_too_deep(head):
    with pytest.raises(ValueError, match=f"more than {DEPTH} containers"):
        unpack(head * 100_000)


def test_an_endless_list_of_itself():
    """Nobody can pack it; it must not hang or crash."""
    value: list = []
    value.append(value)
    with pytest.raises(ValueError, match="containers in one another"):
        pack(value)


FULL = OBJECTS + 1000
WORST = {
    "empty arrays": b"\xdf" + b"\xd0" * FULL,
    "empty dictionaries": b"\xdf" + b"\xe0" * FULL,
    "arrays of one": b"\xdf" + b"\xd1\x04" * FULL,
    "odd numbers": b"\xdf" + b"\x30\x01" * FULL,
    "texts": b"\xdf" + b"\x41a" * FULL,
    "keys": b"\xef" + b"".join(b"\x32" + n.to_bytes(4, "little") + b"\x04" for n in range(FULL)),
    "references": b"\xdf\x41a" + b"\xa0" * FULL,
    "constants": b"\xdf" + b"\x04" * FULL,
}


@pytest.mark.parametrize("name", WORST)
def test_worst_cases(name):
    """A few bytes of input per value make a few hundred in memory, so their number is bounded."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="OPACK"):
            unpack(WORST[name])
        assert tracemalloc.get_traced_memory()[1] < OBJECTS * 400
    finally:
        tracemalloc.stop()


def test_many_pieces():
    """However small, they take no more memory than what they make."""
    tracemalloc.start()
    try:
        data = b"\x9f" + b"\x71a" * 1_000_000
        assert unpack(data + b"\x03") == (b"a" * 1_000_000, b"")
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
    finally:
        tracemalloc.stop()


def test_lengths_that_lie():
    for tag in (0x61, 0x91):
        for width, size in enumerate((1, 2, 4, 8)):
            for length in (200, (1 << 8 * size) - 1):
                data = bytes([tag + width]) + length.to_bytes(size, "little") + b"abc"
                with pytest.raises(ValueError, match="ends inside"):
                    unpack(b"\xd1" + data)
