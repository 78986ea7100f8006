"""Sound for tests: a tone on the left, noise on the right, so that no two places are alike."""

from __future__ import annotations

import array
import io
import math
import random
import sys
import wave

RATE = 44100
MATCH = 64  # frames that find the place


def samples(frames: int, seed: int = 19) -> bytes:
    """Stereo, 16 bits, little endian."""
    rng = random.Random(seed)
    values = array.array("h")
    for at in range(frames):
        values.append(round(12000 * math.sin(2 * math.pi * 440 * at / RATE)))
        values.append(rng.randrange(-20000, 20000))
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def wav(data: bytes, channels: int = 2, width: int = 2, rate: int = RATE) -> bytes:
    """A WAV file of samples as such files have them."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(data)
    return file.getvalue()


def matching(heard: bytes, sent: bytes) -> tuple[int, int]:
    """Where what was heard is what was sent: (first frame, frames that are equal from there on).

    Silence in front does not count; the start may be missing, and then what is left is compared.
    """
    for first in range(0, len(sent) - 4 * MATCH, 4 * MATCH):
        block = sent[first : first + 4 * MATCH]
        place = heard.find(block)
        while place >= 0 and place % 4:
            place = heard.find(block, place + 1)
        if place >= 0:
            break
    else:
        return 0, 0
    while first and place and heard[place - 4 : place] == sent[first - 4 : first]:
        first, place = first - 4, place - 4
    equal = 0
    while equal < len(sent) - first and (
        heard[place + equal : place + equal + 4] == sent[first + equal : first + equal + 4]
    ):
        equal += 4
    return first // 4, equal // 4
