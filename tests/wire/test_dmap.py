"""DMAP items: the vectors, damage, what the encoder refuses, and the text for people."""

import json
import pathlib
import plistlib
import re

import pytest

from tinyatv.wire import dmap
from tinyatv.wire.dmap_tags import TAGS

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "dmap.json"


def cases(group):
    groups = json.loads(VECTORS.read_text("utf-8"))["groups"]
    found = next(g["cases"] for g in groups if g["name"] == group)
    return [pytest.param(case, id=case["name"]) for case in found]


def tree(pairs):
    """The vectors' notation as decode() returns it."""
    return [(code, value(item)) for code, item in pairs]


def value(item):
    if isinstance(item, list):
        return tree(item)
    if isinstance(item, dict):
        if "hex" in item:
            return bytes.fromhex(item["hex"])
        if "int_hex" in item:
            return int(item["int_hex"], 16)
        return item["plist"]
    return item


def same(left, right):
    """Equal with types: True is not 1 here."""
    return left == right and repr(left) == repr(right)


def nested(depth, inside=b""):
    for _ in range(depth):
        inside = b"cmst" + len(inside).to_bytes(4, "big") + inside
    return inside


# -- vectors


@pytest.mark.parametrize("case", cases("decode"))
def test_decode(case):
    decoded = dmap.decode(bytes.fromhex(case["data_hex"]), plistlib.loads)
    expect = case["expect"]
    assert same(decoded, tree(expect["tree"]))
    if "characters" in expect:
        assert len(decoded[0][1]) == expect["characters"]
    if "first_at_path" in expect:
        path = expect["first_at_path"]["path"]
        assert dmap.first(decoded, *path) == expect["first_at_path"]["value"]
    inside = dict(dmap.first(decoded, "msrv") or decoded) if "versions" in expect else {}
    for code, text in expect.get("versions", {}).items():
        assert dmap.version_text(inside[code]) == text


@pytest.mark.parametrize("case", [c for c in cases("decode") if c.values[0]["roundtrip"]])
def test_roundtrip(case):
    data = bytes.fromhex(case["data_hex"])
    assert dmap.encode(dmap.decode(data)) == data


@pytest.mark.parametrize("case", cases("decode_damaged"))
def test_decode_damaged(case):
    data = bytes.fromhex(case["data_hex"])
    expect = case["expect"]
    if "tree" in expect:
        assert same(dmap.decode(data, plistlib.loads), tree(expect["tree"]))
        return
    with pytest.raises(ValueError, match=f"^{expect['error']}") as caught:
        dmap.decode(data)
    if "kept" in expect:
        assert isinstance(caught.value, dmap.TrailingBytes)
        assert caught.value.kept == tree(expect["kept"])
        assert caught.value.trailing == bytes.fromhex(expect["trailing_hex"])


@pytest.mark.parametrize("case", cases("encode"))
def test_encode(case):
    assert dmap.encode(tree(case["tree"])) == bytes.fromhex(case["expect"]["data_hex"])


# -- decode


@pytest.mark.parametrize("case", [c for c in cases("decode") if c.values[0]["data_hex"]])
def test_every_truncation_is_refused(case):
    """Cut anywhere but between two top-level items, a body is damaged and says so."""
    data = bytes.fromhex(case["data_hex"])
    ends = {0}
    at = 0
    while at < len(data):
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "big")
        ends.add(at)
    assert at == len(data)
    for size in range(len(data)):
        if size in ends:
            assert dmap.decode(data[:size]) == dmap.decode(data)[: sorted(ends).index(size)]
        else:
            with pytest.raises(ValueError, match=r"truncated|trailing"):
                dmap.decode(data[:size])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("636d7372 00000004 0000", "truncated: 'cmsr' at offset 0 says 4 bytes, 2 left"),
        ("636d7372 ffffffff", "truncated: 'cmsr' at offset 0 says 4294967295 bytes, 0 left"),
        ("636d7372", "truncated: 4 bytes at offset 0, a header has 8"),
        (
            "636d7374 0000000d 63616e6e 00000020 48656c6c6f",
            "overrun: 'cann' at offset 8 says 32 bytes, 5 left in its container",
        ),
        (  # the rest of the body would hold the child, but the container does not
            "636d7374 0000000a 63616e6e 00000004 4142 6d737474 00000000",
            "overrun: 'cann' at offset 8 says 4 bytes, 2 left in its container",
        ),
        (
            "636d7374 00000003 616263 6d737474 00000000",
            "truncated: 3 bytes at offset 8, a header has 8",
        ),
        ("6d737474 00000000 616263", "trailing: 3 bytes at offset 8 are no item"),
    ],
)
def test_errors_say_what_and_where(data, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        dmap.decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("data", "expect"),
    [
        ("6d7374740000000100", 0),
        ("6d73747400000003010203", 0x010203),
        ("6d7374740000000affffffffffffffffffff", (1 << 80) - 1),  # no width is refused
        ("61737276000000019c", -100),
        ("6173727600000003fffffe", -2),
        ("6173727600000000", 0),
        ("6173646d000000045f5e1000", 1600000000),  # date
        ("6d736c7200000000", False),
        ("6d736c720000000400000001", True),
        ("6d736c720000000102", False),  # only 1 is true
        ("6174656400000002 0007", True),  # but in this one
        ("6174656400000002 0000", False),
        ("6174656400000002 0100", True),
        ("6365475300000001 02", 2),  # ceGS
        ("63616e6e00000003 486900", "Hi"),
        ("63616e6e00000004 48690000", "Hi"),
        ("63616e6e00000003 41ff00", "A\ufffd"),
        ("63616e6e00000003 004869", "\0Hi"),
        ("636d636300000001 00", "\0"),  # all of a prompt's
        ("636d637600000001 32", "2"),  # the peer drops this one
        ("63616e6e00000003 41ff42", "A\ufffdB"),
    ],
)
def test_decode_value(data, expect):
    assert same(dmap.decode(bytes.fromhex(data))[0][1], expect)


def test_depth_is_bounded():
    deepest = nested(dmap.MAX_DEPTH)
    assert dmap.encode(dmap.decode(deepest)) == deepest
    with pytest.raises(ValueError, match=f"nested deeper than 32 at offset {32 * 8}$"):
        dmap.decode(nested(dmap.MAX_DEPTH + 1))
    with pytest.raises(ValueError, match="nested deeper"):
        dmap.decode(nested(5000))
    with pytest.raises(ValueError, match="nested deeper"):
        dmap.encode([("cmst", dmap.decode(deepest))])


def test_siblings_are_not():
    """Thousands of items side by side: a listing has that, and a recursive decoder fails."""
    decoded = dmap.decode(b"mlit\0\0\0\x0cmiid\0\0\0\4\0\0\0\1" * 5000)
    assert decoded == [("mlit", [("miid", 1)])] * 5000


@pytest.mark.parametrize(
    "error", [ValueError, RecursionError, OverflowError, MemoryError, KeyError, EOFError]
)
def test_property_list_that_fails_stays_bytes(error):
    def plist(data):
        raise error("no")

    assert dmap.decode(b"ceSD\0\0\0\3abc", plist) == [("ceSD", b"abc")]


def test_property_list_that_is_no_dict_stays_bytes():
    """A list would look like a container."""
    data = plistlib.dumps([1, 2], fmt=plistlib.FMT_BINARY)
    body = dmap.encode([("ceSD", data)])
    assert dmap.decode(body, plistlib.loads) == [("ceSD", data)]


def test_interrupts_are_not_swallowed():
    def plist(data):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dmap.decode(b"ceSD\0\0\0\0", plist)


@pytest.mark.parametrize(
    "data", [b"", b"abc", "Bj\u00f6rk \u4e16\u754c \U0001f600".encode(), b"a\xffb\xc0\xc3\xb6\xfe"]
)
def test_replacing_by_hand_is_what_the_library_does(data):
    """For MicroPython; its run of the vectors goes through here as well."""
    assert dmap._replaced(data) == data.decode("utf-8", "replace")


# -- encode


@pytest.mark.parametrize(
    ("pair", "expect"),
    [
        (("caps", 4), "6361707300000001 04"),
        (("cmsr", 4), "636d737200000004 00000004"),
        (("asai", 2**64 - 1), "6173616900000008 ffffffffffffffff"),
        (("asrv", -100), "6173727600000001 9c"),
        (("msto", -(2**31)), "6d73746f00000004 80000000"),
        (("cavc", True), "6361766300000001 01"),
        (("cavc", 0), "6361766300000001 00"),
        (("ated", True), "6174656400000002 0001"),
        (("ceMQ", True), "63654d5100000001 01"),  # bool without a width
        (("aeCD", b""), "6165434400000000"),
        # Numbers without a width: the smallest that fits.
        (("aeCF", 0), "6165434600000001 00"),
        (("aeCF", 255), "6165434600000001 ff"),
        (("aeCF", 256), "6165434600000002 0100"),
        (("aeCF", 65536), "6165434600000004 00010000"),
        (("aeCF", 2**32), "6165434600000008 0000000100000000"),
        # Bytes as they are: another width, an unknown tag, one that is not ASCII.
        (("caps", b"\0\4"), "6361707300000002 0004"),
        (("cmst", b"raw"), "636d737400000003 726177"),
        (("zzzz", b"\1"), "7a7a7a7a00000001 01"),
        (("f\x8dch", b"\1"), "668d636800000001 01"),
    ],
)
def test_encode_value(pair, expect):
    assert dmap.encode([pair]) == bytes.fromhex(expect)


REFUSED = {
    "number out of range": [
        ("caps", 256),
        ("caps", -1),
        ("asrv", 128),
        ("asrv", -129),
        ("cavc", 2),
        ("aeCF", 2**64),
    ],
    "cannot hold": [
        ("caps", "4"),
        ("caps", 4.0),
        ("caps", None),
        ("caps", [("caps", 4)]),
        ("cann", 5),
        ("canp", "text"),
        ("canp", 16),
        ("ceSD", {"k": "v"}),
        ("cmst", "text"),
        ("cmst", {"cmsr": 1}),
    ],
    "surrogates": [("cann", "\ud800")],
    "a pair of code and value": [("cmst", [5]), ("cmst", [("cmsr", 1, 2)])],
    "an unknown tag takes bytes": [("zzzz", 1), ("zzzz", [])],
    "four Latin-1 characters": [
        ("cap", b""),
        ("capss", b""),
        ("", b""),
        ("cap\u0100", b""),
        (b"caps", b""),
        (None, b""),
    ],
}


@pytest.mark.parametrize(
    ("message", "pair"), [(message, pair) for message in REFUSED for pair in REFUSED[message]]
)
def test_encode_refuses(message, pair):
    with pytest.raises(ValueError, match=message):
        dmap.encode([pair])


def test_encode_refuses_what_is_no_list():
    for items in (5, "cmst", b"cmst", {"cmsr": 1}, None):
        with pytest.raises(ValueError, match="list"):
            dmap.encode(items)
    cyclic = []
    cyclic.append(("cmst", cyclic))
    with pytest.raises(ValueError, match="nested"):
        dmap.encode(cyclic)


# -- first, dump, table


def test_first():
    items = [
        ("cmst", []),
        ("mlcl", [("mlit", [("minm", "A")]), ("mlit", [("miid", 0), ("miid", 2)])]),
        ("mlcl", [("mlit", [("miid", 3), ("asal", "B")])]),
        ("mstt", 200),
    ]
    assert dmap.first(items, "mstt") == 200
    assert dmap.first(items, "mlcl", "mlit", "miid") == 0  # a value, though it is false
    assert dmap.first(items, "mlcl", "mlit", "asal") == "B"  # in the second mlcl
    assert dmap.first(items, "cmst") == []
    assert dmap.first(items, "cmst", "miid") is None
    assert dmap.first(items, "mstt", "miid") is None  # no container
    assert dmap.first(items, "miid") is None
    assert dmap.first([], "miid") is None
    assert dmap.first(items) is items


def test_dump():
    items = [
        (
            "cmst",
            [
                ("mstt", 200),
                ("cavc", True),
                ("cann", "one\nline"),
                ("canp", bytes(range(16))),
                ("mlcl", [("mlit", [])]),
                ("ceQA", 0),
            ],
        ),
        ("mpro", 0x0003000C),
        ("zzzz", b"abc"),
        ("f\x8dch", b""),
        ("capl", bytes(33)),
        ("ceSD", {"k": "v"}),
        ("cmsr", 1 << 20000),  # more digits than str() is willing to write
        ("msto", -18000),
    ]
    assert dmap.dump(items).splitlines() == [
        "cmst: [container, dmcp.playstatus]",
        "  mstt: 200 [uint, dmap.status]",
        "  cavc: True [bool, dacp.volumecontrollable]",
        "  cann: 'one\\nline' [string, dacp.nowplayingname]",
        "  canp: 0x000102030405060708090a0b0c0d0e0f [raw, dacp.nowplayingids]",
        "  mlcl: [container, dmap.listing]",
        "    mlit: [container, dmap.listingitem]",
        "  ceQA: 0 [uint, unknown]",
        "mpro: 3.12 [version, dmap.protocolversion]",
        "zzzz: 0x616263 [unknown]",
        "0x668d6368: 0x [unknown]",
        f"capl: 0x{'00' * 32}... (33 bytes) [raw, unknown]",
        "ceSD: property list with 1 keys [bplist, playing metadata]",
        f"cmsr: 0x1{'0' * 63}... [uint, dmcp.serverrevision]",
        "msto: -18000 [int, dmap.utcoffset]",
    ]
    assert dmap.dump([]) == ""


def test_table():
    kinds = {"uint", "int", "bool", "date", "version", "string", "raw", "bplist", "container"}
    for code, (kind, name, width) in TAGS.items():
        assert len(code.encode("ascii")) == 4
        assert kind in kinds
        assert name
        # A width is for numbers; canp and ceQs are raw, but always 16 bytes.
        assert width in (None, 16) if kind == "raw" else width in (None, 1, 2, 4, 8)
        assert width is None or kind not in ("string", "container", "bplist")
