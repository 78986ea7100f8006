"""Whatever bytes arrive, decode() answers quickly, within bounds, and with ValueError at worst."""

import json
import pathlib
import plistlib
import random
import time
import tracemalloc

import pytest

from tests.support.mutations import mutate
from tinyatv.wire import dmap
from tinyatv.wire.dmap_tags import TAGS

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "dmap.json"

SECONDS = 0.05  # for any input
MEMORY_FACTOR = 20  # bytes allocated at the peak, per byte of input
MEMORY_SMALL = 4096  # an exception, a stack of containers

CODES = sorted(code.encode() for code in TAGS) + [b"zzzz", b"f\x8dch", b"\0\0\0\0"]
CONTAINERS = sorted(code.encode() for code, tag in TAGS.items() if tag[0] == "container")
LENGTHS = [0, 1, 3, 7, 8, 9, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF7, 0xFFFFFFFF]


def item(code, data=b""):
    return code + len(data).to_bytes(4, "big") + data


def listing(count):
    """A valid large tree."""
    songs = [
        ("mlit", [("miid", n), ("minm", f"Söng {n}"), ("asar", "Starley"), ("astm", 1000 * n)])
        for n in range(count)
    ]
    return dmap.encode([("adbs", [("mstt", 200), ("mtco", count), ("mlcl", songs)])])


def seeds():
    """All vectors, and valid trees of up to 30 KB."""
    groups = json.loads(VECTORS.read_text("utf-8"))["groups"]
    found = [
        bytes.fromhex(case["data_hex"])
        for group in groups
        if group["name"] in ("decode", "decode_damaged")
        for case in group["cases"]
    ]
    deep = b""
    for _ in range(30):
        deep = item(b"cmst", deep + item(b"cmsr", b"\0\0\0\1"))
    return [*found, deep, listing(5), listing(40), listing(400)]


def length(rng, data, at):  # where one is likely to be
    data[at : at + 4] = rng.choice(LENGTHS).to_bytes(4, "big")


def code(rng, data, at):  # changes the meaning of what follows
    at = max(0, data.find(rng.choice(CODES[:40] + CONTAINERS), at))
    data[at : at + 4] = rng.choice(CODES)


def another(rng, data, at):
    data[at:at] = item(rng.choice(CODES), rng.randbytes(rng.randrange(20)))


def wrap(rng, data, at):
    data[:] = item(rng.choice(CONTAINERS), bytes(data))


WAYS = [length, code, another, wrap]


def inputs(count, seed):
    rng = random.Random(seed)
    small = seeds()
    large = small[-2:]
    small = small[:-2]
    for number in range(count):
        # Large ones are rarer, since they take a hundred times as long.
        pool = large if number % 200 == 0 else small
        yield mutate(rng, rng.choice(pool), rng.choice(small), WAYS)


def outcome(data, plist=None):
    """The decoded items, or None if refused; anything but a ValueError fails the test."""
    try:
        return dmap.decode(data, plist)
    except ValueError:
        return None


def is_quick(data, plist=None):
    """One decode within the limit of processor time; who is not gets three more tries.

    A garbage collection of the whole test run may fall into any single one.
    """
    for _ in range(4):
        start = time.process_time()
        outcome(data, plist)
        if time.process_time() - start < SECONDS:
            return True
    return False


def peak(data):
    """Bytes allocated while decoding, at the worst moment, the result included."""
    tracemalloc.start()
    try:
        outcome(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_only_value_errors_and_quick(share):
    count = share(200_000)
    decoded = 0
    for number, data in enumerate(inputs(count, seed=3689)):
        plist = plistlib.loads if number % 2 else None
        start = time.process_time()
        items = outcome(data, plist)
        if time.process_time() - start > SECONDS:
            assert is_quick(data, plist), f"slow: {data.hex()}"
        decoded += items is not None
    # Had all been refused at the first byte, or none, this would have tried nothing.
    assert count // 10 < decoded < count * 9 // 10


def test_what_was_decoded_can_be_used(share):
    """Any decoded tree can be shown; sent again, it means the same."""
    count = share(20_000)
    sent = 0
    for data in inputs(count, seed=1021):
        items = outcome(data)
        if items is None:
            continue
        assert dmap.dump(items).count("\n") >= len(items) - 1
        try:
            again = dmap.encode(items)
        except ValueError:
            continue  # a number wider than its tag has it
        assert dmap.decode(again) == items, data.hex()
        sent += 1
    assert sent > count // 20


def test_property_lists_are_kept_or_dicts(share):
    """Damage in the property list itself: a dict or the bytes, and no exception of its own."""
    rng = random.Random(1)
    valid = plistlib.dumps(
        {"k": "v", "n": [1, 2.5, {"d": b"data"}], "big": 2**70 // 3 % 2**63, "t": True},
        fmt=plistlib.FMT_BINARY,
    )
    kinds = {dict: 0, bytes: 0}
    for _ in range(share(20_000)):
        data = bytearray(valid)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(8, len(data))] = rng.randrange(256)
        [(code, value)] = dmap.decode(item(b"ceSD", bytes(data)), plistlib.loads)
        assert code == "ceSD"
        kinds[type(value)] += 1
        dmap.dump([(code, value)])
    assert all(kinds.values())


def test_memory(share):
    for data in inputs(share(4_000), seed=20):
        assert peak(data) <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, data.hex()


SIZE = 1 << 16


def filled(piece):
    return piece * (SIZE // len(piece))


def distinct(data, low=0):
    """Items that share nothing: every code is another one."""
    step = 8 + len(data)
    codes = ((low * 0x01010101 + n).to_bytes(4, "big") for n in range(SIZE // step))
    return b"".join(item(code, data) for code in codes)


def chain(depth, inside=b""):
    for _ in range(depth):
        inside = item(b"cmst", inside)
    return inside


WORST = {
    "empty numbers": filled(item(b"mstt")),
    "empty text": filled(item(b"minm")),
    "empty bytes": filled(item(b"canp")),
    "empty containers": filled(item(b"mlit")),
    "empty containers in one": item(b"mlcl", filled(item(b"mlit"))),
    "containers of one": filled(chain(2)),
    "containers of five": filled(item(b"mlit", item(b"mlit") * 5)),
    "deepest chains": filled(chain(32)),
    "deepest chains of three": filled(chain(31, item(b"mlit") * 3)),
    "too deep": chain(8000),
    "unknown, empty": distinct(b""),
    "unknown, not ASCII": distinct(b"", low=0x80),
    "unknown, two bytes": distinct(b"ab", low=0x80),
    "numbers of two bytes": filled(item(b"mstt", b"\xff\xff")),
    "numbers of five bytes": filled(item(b"mstt", b"\xff" * 5)),
    "signed numbers": filled(item(b"msto", b"\x80\0")),
    "one long number": item(b"mstt", b"\xff" * SIZE),
    "one long signed number": item(b"msto", b"\xff" * SIZE),
    "one long flag": item(b"cavc", b"\0" * SIZE),
    "characters": filled(item(b"minm", "\u4e16".encode())),
    "characters, broken": filled(item(b"minm", b"\xff")),
    "characters, two broken": filled(item(b"minm", b"a\xff")),
    "long text, broken": item(b"minm", b"\xff" * SIZE),
    "long text, broken at the end": item(b"minm", b"a" * SIZE + b"\xff"),
    "long text, one wide": item(b"minm", b"a" * SIZE + "\U0001f600".encode()),
    "long text, wide and broken": item(b"minm", b"a" * SIZE + "\U0001f600".encode() + b"\xff"),
    "valid, then a stray byte": filled(item(b"mstt")) + b"m",
    "valid, then too much": filled(item(b"mstt")) + b"mstt\xff\xff\xff\xff",
    "listing": listing(700),
}


@pytest.mark.parametrize("data", WORST.values(), ids=WORST.keys())
def test_worst_cases(data):
    assert is_quick(data)
    used = peak(data)
    assert used <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, f"{used / len(data):.1f} times"
