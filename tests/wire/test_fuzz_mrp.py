"""Whatever arrives: a message that can be used, or a ValueError, within bounds of memory."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from tests.support.mrp_trees import frames, put, repeated
from tests.support.mutations import mutate
from tinyatv import proto
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.wire import varint
from tinyatv.wire.mrp import MrpWire

KEY = bytes(range(32))
LENGTHS = [0, 1, 126, 127, 128, 16383, 16384, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 64) - 1, 1 << 69]
# Bytes allocated at the peak, per byte of input: an empty message takes two bytes on the wire, and
# an object of 400 bytes where protobuf is written in Python.
MEMORY_FACTOR = 250
MEMORY_SMALL = 65536  # an exception of a runtime with the way it came, a chain of objects


def inner(message):
    """A message of the vectors and all messages in it: [(field numbers from outside, bytes)]."""
    found = [((), message.SerializeToString())]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if repeated(field) else [value]:
                found += [((field.number, *path), data) for path, data in inner(item)]
    return found


SEEDS = [
    (kind, path, data)
    for _, body, _, kind in frames()
    for path, data in inner(proto.parse(body).envelope)
]
BODIES = [data for _, data, *_ in frames()]
FIELDS = sorted(
    field.number for field in proto.parse(b"").envelope.DESCRIPTOR.fields if field.message_type
)


def length(rng, data, at):
    data[at : at + 1] = varint.encode(rng.choice(LENGTHS))


def wire_type(rng, data, at):
    data[at : at + 1] = bytes(byte & 0xF8 | rng.randrange(8) for byte in data[at : at + 1])


def add_field(rng, data, at):
    value = rng.choice((rng.randbytes(rng.randrange(12)), rng.choice(LENGTHS[:-1])))
    data[at:at] = put(rng.randrange(1, 90), value)


def wrap(rng, data, at):
    data[at:] = put(rng.choice(FIELDS), bytes(data[at:]))


WAYS = [length, wire_type, add_field, wrap]


def bodies(count, seed):
    """Damaged messages; mostly the damage sits deep inside, and what is around it is sound."""
    rng = random.Random(seed)
    for _ in range(count):
        kind, path, data = rng.choice(SEEDS)
        data = mutate(rng, data, rng.choice(SEEDS)[2], WAYS)
        for number in reversed(path):
            data = put(number, data)
        yield put(1, kind) + data if path and rng.random() < 0.9 else data


def outcome(data):
    """The message, or None if refused; anything but a ValueError fails the test."""
    try:
        return proto.parse(data)
    except ValueError:
        return None


def use(message):
    """What a link, a backend and a log do with any message."""
    assert len(repr(message)) < 2 * proto.SHOWN
    assert isinstance(message.identifier, str)
    assert isinstance(message.kind, int)
    assert proto.key(message) is None or proto.key(message) in (message.identifier, 34)
    new = [message.envelope]
    while new:
        part = new.pop()
        for field, value in part.ListFields():
            if field.message_type is not None:
                new += value if repeated(field) else [value]
            elif field.type == field.TYPE_STRING and not repeated(field):
                assert isinstance(proto.text(part, field.name), str)


def framed(body):
    return varint.encode(len(body)) + body


def wire(sealed=False):
    made = MrpWire(proto.dumps, proto.parse, proto.key)
    if sealed:
        made.secure(Session(KEY, KEY))
    return made


def peak(call, *arguments):
    """Bytes allocated at the worst moment, the result included."""
    tracemalloc.start()
    try:
        call(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def shown(data):
    return repr(outcome(data))


def test_bodies(share):
    count = share(100_000)
    read = inside = 0
    for data in bodies(count, seed=49152):
        message = outcome(data)
        if message is not None:
            use(message)
            read += 1
            inside += message.body is not None
    # Had all been refused, or none, this would have tried nothing.
    assert count // 3 < read < count * 99 // 100
    assert inside > count // 4


def test_frames(share):
    """Damaged streams of one to three frames, in pieces."""
    rng = random.Random(5353)
    count = share(70_000)
    read = refused = 0
    for _ in range(count):
        stream = b"".join(map(framed, rng.choices(BODIES, k=rng.randrange(1, 4))))
        stream = mutate(rng, stream, framed(rng.choice(BODIES)), WAYS)
        receiver, step = wire(), rng.randrange(1, 300)
        try:
            for at in range(0, len(stream), step):
                receiver.feed(stream[at : at + step])
                for message in iter(receiver.next_message, None):
                    use(message)
                    read += 1
        except ValueError:
            refused += 1
    assert read > count // 3
    assert count // 10 < refused < count * 9 // 10


def test_sealed_bodies(share):
    """Sealed well, and damaged inside: what a broken device may send."""
    receiver = wire(sealed=True)
    session = Session(KEY, KEY)
    count = share(20_000)
    read = 0
    for data in bodies(count, seed=123):
        receiver.feed(framed(session.seal(data)))
        try:
            use(receiver.next_message())
            read += 1
        except ValueError:
            pass  # the next one opens all the same
        assert receiver.next_message() is None
    assert read > count // 3


def test_sealed_frames(share):
    """Damaged after sealing: none opens, unless the damage leaves the frame as it was."""
    rng = random.Random(32498)
    count = share(10_000)
    whole = [wire(sealed=True).encode(proto.parse(data)) for data in BODIES]
    refused = 0
    for _ in range(count):
        frame = rng.choice(whole)
        data = mutate(rng, frame, rng.choice(whole), WAYS)
        receiver = wire(sealed=True)
        receiver.feed(data)
        try:
            message = receiver.next_message()
        except ValueError:
            refused += 1
        else:
            assert message is None or any(map(data.startswith, whole)), data.hex()
    assert refused > count // 2


def test_memory(share):
    proto.parse(b"")
    for data in bodies(share(4_000), seed=20):
        assert peak(shown, data) <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, data.hex()


SIZE = 1 << 16


def filled(piece):
    return piece * (SIZE // len(piece))


def message(*path, data):
    for number in reversed(path):
        data = put(number, data)
    return put(1, proto.SET_STATE) + data


def chain(depth, data=b""):
    for _ in range(depth):
        data = put(28, data)
    return put(1, proto.DEVICE_INFO) + put(20, data)


WORST = {
    "numbers": message(9, data=filled(put(6, 1))),
    "a list of numbers": message(9, 2, 1, data=filled(b"\x21" + bytes(8))),
    "packed numbers": message(9, 2, 1, data=put(4, bytes(SIZE))),
    "packed numbers, cut short": message(9, 2, 1, data=put(4, bytes(SIZE - 1))),
    "empty messages": message(9, 2, data=filled(put(1, b""))),
    "empty items": message(9, 3, data=filled(put(2, b""))),
    "empty items, one damaged": message(9, 3, data=filled(put(2, b"")) + put(2, b"\xff")),
    "damaged items": message(9, 3, data=filled(put(2, b"\xff"))),
    "texts": message(9, 9, 2, data=filled(put(8, b"a"))),
    "texts that are not UTF-8": message(9, 9, 2, data=filled(put(8, b"\xff"))),
    "one text": message(9, data=put(5, b"a" * SIZE)),
    "one text that is not UTF-8": message(9, data=put(5, b"\xff" * SIZE)),
    "one text with one wide character": message(9, data=put(5, b"a" * SIZE + b"\xf0\x9f\x98\x80")),
    "one datum": message(10, data=put(1, bytes(SIZE))),
    "the same field again and again": put(1, proto.SET_STATE) + filled(put(9, put(6, 1))),
    "unknown numbers": message(9, data=filled(put(100, 1))),
    "unknown data": message(9, data=filled(put(100, b""))),
    "unknown groups": message(9, data=filled(b"\xa3\x06\xa4\x06")),
    "a chain": chain(90),
    "a chain that is too deep": chain(8000),
    "damage at the end of a chain": chain(15, bytes(SIZE) + b"\xff"),
    "damage beside long data in a chain": chain(15, put(2, bytes(SIZE)) + b"\xff"),
}


@pytest.mark.parametrize("data", WORST.values(), ids=WORST.keys())
def test_worst_cases(data):
    shown(data)  # what is made at first use is not counted
    used = peak(shown, data)
    assert used <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, f"{used / len(data):.1f} times"
