"""Whatever arrives: a message that can be used, or a ValueError, in bounded memory and time."""

from __future__ import annotations

import random
import tracemalloc

from tests.support.mutations import mutate
from tests.support.vectors import cases
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.wire import opack
from tinyatv.wire.companion import OPACK, SETUP_NEXT, SETUP_START, CompanionWire
from tinyatv.wire.opack import DEPTH, UUID, Date, Sized

KEY = bytes(range(32))
# Bytes allocated at the peak, per byte of input: an empty dictionary takes one byte on the wire.
MEMORY_FACTOR = 250
MEMORY_SMALL = 65536
TYPES = (
    type(None), bool, int, float, str, bytes, list, dict, UUID, Date,
)  # fmt: skip

TAGS = bytes.fromhex("000103040506073034353640606f70909fa0c1c4d0dedfe0eeef")

SEEDS = [bytes.fromhex(case["expect"]["data_hex"]) for case in cases("companion", "opack_encode")]
SEEDS += [bytes.fromhex(case["data_hex"]) for case in cases("companion", "opack_decode")]
SEEDS += [bytes.fromhex(case["data_hex"]) for case in cases("companion", "messages")]
SEEDS += [
    opack.pack(content)
    for content in (
        {"_c": {f"com.example.app{n}": f"App {n}" for n in range(20)}, "_t": 3, "_x": 300},
        {"_c": {"NowPlayingInfoKey": bytes(300)}, "_t": 1, "_i": "NowPlayingInfo"},
        {"_i": "_siA", "_c": {3: bytes(50), 4: 0.1, 5: [{1: 10, 2: 0}, {1: 40, 2: 10}]}, "_t": 1},
        [UUID(range(16)), Date(1.0), 1.5, -1, None, [[[[{"a": [True, {}]}]]]]],
    )
]
DICTIONARIES = [data for data in SEEDS if isinstance(opack.unpack(data)[0], dict)]


def tag(rng, data, at):
    data[at : at + 1] = bytes(
        [rng.choice(b"\0\1\3\4\5\6\7\x30\x34\x35\x36\x6f\x9f\xc1\xc4\xdf\xef")]
    )


def length(rng, data, at):
    width = rng.choice((1, 2, 4, 8))
    number = rng.choice((0, 1, 32, 255, 65535, (1 << 31) - 1, (1 << 64) - 1)) % (1 << 8 * width)
    place = (1, 2, 4, 8).index(width)
    data[at:at] = bytes([rng.choice((0x61, 0x91)) + place]) + number.to_bytes(width, "little")


def reference(rng, data, at):
    data[at : at + 1] = rng.choice((bytes([0xA0 + rng.randrange(33)]), b"\xc1\x02", b"\xc3\0\0\1"))


def wrap(rng, data, at):
    data[at:at] = rng.choice((b"\xd1", b"\xdf", b"\xe1\x04", b"\xef")) * rng.randrange(1, 80)


def end(rng, data, at):
    data[at:at] = b"\x03" * rng.randrange(1, 3)


WAYS = [tag, length, reference, wrap, end]


def damaged(count, seed, seeds=SEEDS):
    rng = random.Random(seed)
    for _ in range(count):
        yield mutate(rng, rng.choice(seeds), rng.choice(seeds), WAYS)


def check(found):
    """Everything in a value is of a type that there is, and not too deep."""
    new = [(found, 0)]
    while new:
        item, depth = new.pop()
        assert type(item) in TYPES or isinstance(item, Sized)
        assert depth <= DEPTH + 1
        if isinstance(item, list):
            new += [(one, depth + 1) for one in item]
        elif isinstance(item, dict):
            new += [(one, depth + 1) for pair in item.items() for one in pair]


def peak(call, *arguments):
    """Bytes allocated at the worst moment, the result included."""
    tracemalloc.start()
    try:
        try:
            kept = call(*arguments)
        except ValueError:
            kept = None
        del kept
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_values(share):
    """What can be read can be written, and means the same when it is read again."""
    count = share(200_000)
    read = 0
    for data in damaged(count, seed=49153):
        try:
            found, rest = opack.unpack(data)
        except ValueError:
            continue
        read += 1
        assert data.endswith(rest)
        assert len(rest) < len(data)
        check(found)
        again = opack.pack(found)
        assert repr(opack.unpack(again)) == repr((found, b""))
    # Had all been refused, or none, this would have tried nothing.
    assert count // 5 < read < count * 9 // 10


def test_frames(share):
    """Damaged streams of one to three frames, in pieces."""
    rng = random.Random(5354)
    sender = CompanionWire()
    whole = [sender.encode((SETUP_NEXT, opack.unpack(data)[0])) for data in DICTIONARIES]
    count = share(200_000)
    read = refused = 0
    for _ in range(count):
        stream = mutate(rng, b"".join(rng.choices(whole, k=rng.randrange(1, 4))), rng.choice(whole))
        receiver, step = CompanionWire(), rng.randrange(1, 300)
        try:
            for at in range(0, len(stream), step):
                receiver.feed(stream[at : at + step])
                for kind, message in iter(receiver.next_message, None):
                    assert SETUP_START <= kind <= 6
                    assert isinstance(message, dict)
                    receiver.key((OPACK, message))
                    read += 1
        except ValueError:
            refused += 1
    assert read > count // 3
    assert count // 20 < refused < count * 9 // 10


def test_sealed_values(share):
    """Sealed well, and damaged inside: what a broken device may send."""
    receiver, session = CompanionWire(), Session(KEY, KEY, wide=True)
    receiver.secure(Session(KEY, KEY, wide=True))
    count = share(40_000)
    read = 0
    for data in damaged(count, seed=124, seeds=DICTIONARIES):
        header = bytes([OPACK]) + (len(data) + 16).to_bytes(3, "big")
        receiver.feed(header + session.seal(data, header))
        try:
            message = receiver.next_message()
        except ValueError:
            continue  # the next one opens all the same
        assert receiver.next_message() is None
        if message is None:
            assert data == b""
            continue
        read += 1
        key = receiver.key(message)
        assert key is None or isinstance(key, int)
        assert len({key: message}) == 1
    assert read > count // 10


def test_sealed_frames(share):
    """Damaged after sealing: none opens, unless the damage leaves the frame as it was."""
    rng = random.Random(32499)
    count = share(20_000)

    def sealed():
        wire = CompanionWire()
        wire.secure(Session(KEY, KEY, wide=True))
        return wire

    whole = [sealed().encode((OPACK, opack.unpack(data)[0])) for data in DICTIONARIES]
    refused = 0
    for _ in range(count):
        data = mutate(rng, rng.choice(whole), rng.choice(whole))
        receiver = sealed()
        receiver.feed(data)
        try:
            message = receiver.next_message()
        except ValueError:
            refused += 1
            continue
        clear = message is None or message[0] < OPACK  # frames of pairing, empty ones
        assert clear or any(frame in data for frame in whole)
    assert refused > count // 3


def test_memory(share):
    opack.unpack(SEEDS[0])
    for data in damaged(share(6_000), seed=21):
        assert peak(opack.unpack, data) <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, data.hex()


def test_large_values():
    """Nothing is gone through again and again: these would take hours then."""
    for data, most in (
        (b"\x64" + (1 << 24).to_bytes(8, "little") + b"a" * (1 << 24), 1 << 24),
        (b"\x9f" + b"\x71a" * (1 << 20) + b"\x03", 1 << 20),
        (b"\xdf" + b"\xd2\x04\x04" * 40_000 + b"\x03", 40_000),
        (b"\xdf\x41a" + b"\xa0" * 250_000 + b"\x03", 250_001),
        (b"\xdf" + b"\x6fa\0" * 250_000 + b"\x03", 250_000),
    ):
        found, rest = opack.unpack(data)
        assert (len(found), rest) == (most, b"")
        assert opack.unpack(opack.pack(found))[0] == found
