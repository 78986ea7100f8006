"""Damage, as it happens to bytes and as somebody malicious would do it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Way = Callable[[random.Random, bytearray, int], object]  # damages the data at an index, in place


def change(rng, data, at):
    data[at : at + 1] = bytes([rng.randrange(256)])


def flip(rng, data, at):
    data[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1])


def cut(rng, data, at):
    del data[at:]


def leave_out(rng, data, at):
    del data[at : at + rng.randrange(1, 12)]


def insert(rng, data, at):
    data[at:at] = rng.randbytes(rng.randrange(1, 12))


def repeat(rng, data, at):
    piece = data[at : at + rng.randrange(1, 40)]
    data[at:at] = piece * rng.randrange(1, 4)


WAYS: list[Way] = [change, flip, cut, leave_out, insert, repeat]


def mutate(
    rng: random.Random, seed: bytes, other: bytes, ways: Sequence[Way] = (), share: float = 0.45
) -> bytes:
    """Damage `seed` in one to four ways.

    Args:
        rng: Where chance comes from; the same one gives the same damage.
        seed: Valid data.
        other: Valid data, too; a part of it, or all, may replace the end.
        ways: Those of a format, which know where a length or a tag may be.
        share: How many of all are of the format.
    """
    data = bytearray(seed)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data) + 1)
        if ways and rng.random() < share:
            rng.choice(ways)(rng, data, at)
            continue
        way = rng.choice([*WAYS, None])
        if way is not None:
            way(rng, data, at)
        else:
            start = rng.choice((0, rng.randrange(len(other) + 1)))
            data[at:] = other[start : start + 2000]
    return bytes(data)
