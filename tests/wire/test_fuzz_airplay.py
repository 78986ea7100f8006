"""Whatever arrives over AirPlay: a message that can be used, or a ValueError, within bounds."""

from __future__ import annotations

import plistlib
import random
import struct
import tracemalloc

import pytest

from tests.support.mrp_trees import frames
from tests.support.mutations import mutate
from tests.support.vectors import cases
from tinyatv import proto
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.wire import plist, varint
from tinyatv.wire.datastream import LIMIT, DataStreamWire
from tinyatv.wire.hap import HapWire
from tinyatv.wire.http import HttpWire, Request, Response

KEY = bytes(range(32))
NUMBERS = [0, 1, 31, 32, 33, 127, 128, 1023, 1024, 65535, 65536, LIMIT, LIMIT + 1, (1 << 32) - 1]
# Bytes allocated at the peak, per byte of input: an entry of a property list takes two bytes there,
# and here a place in a table, a number, and an object.
MEMORY_FACTOR = 250
MEMORY_SMALL = 65536

LISTS = [
    bytes.fromhex(case["plist_hex"])
    for group in ("property_lists", "tunnel_setup")
    for case in cases("airplay", group)
    if "plist_hex" in case and "error" not in case["expect"]
]
LISTS += [plistlib.dumps(plistlib.loads(data)) for data in LISTS[:4]]
LISTS += [plist.dumps({"a": [[1, 2.5, b"3", {"x": "\u00e4"}]] * 20, "b": "c" * 300})]
BODIES = [data for _, data, *_ in frames()]


def data_frame(*bodies, kind=b"sync", bare=b""):
    data = b"".join(varint.encode(len(body)) + body for body in bodies) + bare
    payload = plist.dumps({"params": {"data": data}})
    return struct.pack(">I12s4sQI", 32 + len(payload), kind, b"cmnd", 7, 0) + payload


FRAMES = [data_frame(body) for body in BODIES]
FRAMES += [
    data_frame(*BODIES[:3]),
    data_frame(bare=b"\x08\x78"),
    data_frame(BODIES[0], kind=b"rply"),
]
FRAMES += [struct.pack(">I12s4sQI", 32, b"sync", b"cmnd", 9, 0)]
FRAMES += [
    struct.pack(">I12s4sQI", 32 + len(data), b"sync", b"cmnd", 9, 0) + data for data in LISTS
]
TEXTS = [
    HttpWire().encode(message)
    for message in (
        Request("POST", "/feedback", [("CSeq", "1")], protocol="RTSP/1.0"),
        Request("SETUP", "rtsp://10.0.0.5/1", [("CSeq", "0")], LISTS[0], "RTSP/1.0"),
        Request("POST", "/pair-verify", [("X-Apple-HKP", "3")], bytes(37)),
        Response(200, "", [("CSeq", "0"), ("Audio-Latency", "0")], LISTS[1], "RTSP/1.0"),
        Response(401, "", [("WWW-Authenticate", 'Digest realm="r", nonce="n"')]),
        Response(470),
    )
]


def number(rng, data, at):
    """A size, in one of the forms that are about."""
    value = rng.choice(NUMBERS)
    form = rng.randrange(5)
    if form == 0:
        piece = (value & 0xFFFF).to_bytes(2, "little")
    elif form == 1:
        piece = value.to_bytes(4, "big")
    elif form == 2:
        piece = varint.encode(value)
    elif form == 3:
        piece = value.to_bytes(8, "big")
    else:
        piece = b"%d" % value
    data[at : at + len(piece)] = piece


def size_of_a_frame(rng, data, at):
    """What is here becomes all there is, and says so."""
    data[0:4] = len(data).to_bytes(4, "big")


def sized(rng, data, at):
    """A container of a property list that claims to be large."""
    piece = bytes([rng.choice((0x4F, 0x5F, 0x6F, 0xAF, 0xDF, 0x1F)), 0x10 + rng.randrange(5)])
    data[at : at + 2] = piece


def trailer(rng, data, at):
    end = len(data) - rng.randrange(1, 33)
    if end > 0:
        data[end : end + 1] = bytes([rng.choice((0, 1, 2, 8, 127, 255))])


WAYS = [number, size_of_a_frame, sized, trailer]


def fed(wire, data, step):
    """How many messages were in it, and whether it was refused then; pending replies are taken."""
    count = 0
    try:
        for at in range(0, len(data), step):
            wire.feed(data[at : at + step])
            while True:
                message = wire.next_message()
                wire.pending_replies()
                if message is None:
                    break
                repr(message)
                wire.key(message)
                count += 1
    except ValueError:
        return count, True
    return count, False


def stream():
    return DataStreamWire(proto.dumps, proto.parse, proto.key)


def sealed(inner):
    wire = HapWire(inner)
    wire.secure(Session(KEY, KEY))
    return wire


def blocks(rng, session, data):
    """Sealed, in blocks of any size."""
    found = b""
    while data:
        piece = data[: rng.choice((1, 30, 1024, 5000))] or data
        data = data[len(piece) :]
        length = len(piece).to_bytes(2, "little")
        found += length + session.seal(piece, length)
    return found


def peak(call, *arguments):
    """Bytes allocated at the worst moment, the result included."""
    tracemalloc.start()
    try:
        call(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def use(data):
    """The property list, or None if refused; anything but a ValueError fails the test."""
    try:
        return plist.loads(data)
    except ValueError:
        return None


def inside(rng, data):
    """Damage among the objects of a binary list; its table, and what says where, stay sound."""
    if not data.startswith(b"bplist"):
        return data[:-10]
    end = int.from_bytes(data[-8:], "big")
    objects = mutate(rng, data[8:end], data[8:end], WAYS)[: end - 8]
    return data[:8] + objects + bytes(end - 8 - len(objects)) + data[end:]


def test_property_lists(share):
    rng = random.Random(7000)
    count = share(60_000)
    read = 0
    for _ in range(count):
        data = mutate(rng, rng.choice(LISTS), rng.choice(LISTS), WAYS)
        if rng.random() < 0.5:
            data = inside(rng, rng.choice(LISTS))
        read += use(data) is not None
    assert count // 50 < read < count * 9 // 10


def streams(rng, seeds):
    """One to three of them in a row, damaged; half of the time, only inside one of them."""
    parts = rng.choices(seeds, k=rng.randrange(1, 4))
    if rng.random() < 0.5:
        return mutate(rng, b"".join(parts), rng.choice(seeds), WAYS)
    spot = rng.randrange(len(parts))
    parts[spot] = mutate(rng, parts[spot], rng.choice(seeds), WAYS)
    if seeds is FRAMES and len(parts[spot]) >= 4:
        parts[spot] = len(parts[spot]).to_bytes(4, "big") + parts[spot][4:]
    return b"".join(parts)


@pytest.mark.parametrize(("make", "seeds"), [(stream, FRAMES), (HttpWire, TEXTS)])
def test_streams(make, seeds, share):
    """In clear."""
    rng = random.Random(7001)
    count = share(40_000)
    read = refused = 0
    for _ in range(count):
        found, bad = fed(make(), streams(rng, seeds), rng.randrange(1, 400))
        read += found > 0
        refused += bad
    assert count // 10 < read < count
    assert count // 10 < refused < count * 9 // 10


@pytest.mark.parametrize(("make", "seeds"), [(stream, FRAMES), (HttpWire, TEXTS)])
def test_damaged_inside(make, seeds, share):
    """Sealed well, and damaged inside: what a broken device may send."""
    rng = random.Random(7002)
    count = share(15_000)
    read = 0
    for _ in range(count):
        data = blocks(rng, Session(KEY, KEY), streams(rng, seeds))
        read += fed(sealed(make()), data, rng.randrange(1, 2000))[0] > 0
    assert read > count // 10


class Heard:
    """An inner wire that keeps what was opened."""

    data = b""

    def feed(self, data):
        self.data += data

    def next_message(self):
        return None

    def pending_replies(self):
        return b""

    def unused(self):
        return b""


@pytest.mark.parametrize("seeds", [FRAMES, TEXTS])
def test_damaged_outside(seeds, share):
    """Damaged after sealing: what is in front of the damage is opened, and nothing behind it."""
    rng = random.Random(7003)
    count = share(15_000)
    refused = opened = 0
    for _ in range(count):
        clear = b"".join(rng.choices(seeds, k=2))
        data = blocks(rng, Session(KEY, KEY), clear)
        inner = Heard()
        changed = mutate(rng, data, rng.choice(seeds), WAYS)
        refused += fed(sealed(inner), changed, rng.randrange(1, 2000))[1]
        assert clear.startswith(inner.data)
        opened += inner.data not in (b"", clear)
    assert refused > count // 3
    assert opened > count // 10


def test_pieces_make_no_difference(share):
    """However the bytes are cut, they mean the same."""
    rng = random.Random(7004)
    for _ in range(share(10_000)):
        data = streams(rng, FRAMES)
        assert (
            fed(stream(), data, 1)
            == fed(stream(), data, rng.randrange(2, 90))
            == fed(stream(), data, 1 << 20)
        ), data.hex()


def test_memory(share):
    rng = random.Random(7005)
    use(LISTS[0]), use(LISTS[-2]), proto.parse(b"")  # what is made at first use is not counted
    for _ in range(share(4000)):
        data = mutate(rng, rng.choice(LISTS), rng.choice(LISTS), WAYS)
        assert peak(use, data) <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, data.hex()
        data = streams(rng, FRAMES)
        assert peak(fed, stream(), data, 300) <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, (
            data.hex()
        )


SIZE = 1 << 16


def listed(objects, table, count, width=1):
    return (
        b"bplist00"
        + objects
        + table
        + struct.pack(">6xBBQQQ", width, 1, count, 0, 8 + len(objects))
    )


WORST = {
    "entries that all are one": listed(b"\x09", b"\x08" * SIZE, SIZE),
    "entries that all are an empty dictionary": listed(b"\xd0", b"\x08" * SIZE, SIZE),
    "entries that all are an array": listed(
        b"\xaf\x10\x20" + bytes(32), b"\x08" * (SIZE // 32), SIZE // 32
    ),
    "one array": listed(b"\xaf\x12" + SIZE.to_bytes(4, "big") + bytes(SIZE), b"\x08", 1),
    "one array of empty arrays": listed(
        b"\xaf\x12" + SIZE.to_bytes(4, "big") + b"\1" * SIZE + b"\xa0",
        b"\0\0\0\x08" + (SIZE + 14).to_bytes(4, "big"), 2, 4,
    ),
    "a chain": listed(
        b"".join(b"\xa1" + bytes([number + 1]) for number in range(250)) + b"\x09",
        b"".join(bytes([8 + 2 * number]) for number in range(120)), 120,
    ),
    "xml": b'<?xml version="1.0"?><plist><array>' + b"<array/>" * (SIZE // 8) + b"</array></plist>",
    "xml, deep": b'<?xml version="1.0"?><plist>' + b"<array>" * (SIZE // 7),
}  # fmt: skip


@pytest.mark.parametrize("data", WORST.values(), ids=WORST.keys())
def test_worst_lists(data):
    use(data)
    used = peak(use, data)
    assert used <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, f"{used / len(data):.1f} times"


@pytest.mark.parametrize(
    "data",
    [struct.pack(">I12s4sQI", 32, b"sync", b"cmnd", 9, 0) * (SIZE // 32), data_frame(b"") * 600,
     data_frame(*[b""] * SIZE), LIMIT.to_bytes(4, "big"), b"\0\0\1\0" + bytes(SIZE)],
    ids=["pings", "empty messages", "empty messages in one frame", "large size", "zeros"],
)  # fmt: skip
@pytest.mark.parametrize("step", [100, 1 << 20])
def test_worst_streams(data, step):
    proto.parse(b"")
    used = peak(fed, stream(), data, step)
    assert used <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, f"{used / len(data):.1f} times"
