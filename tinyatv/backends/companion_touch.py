"""The touchpad of a remote: a thousand points wide and high, and what a finger does on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Callable

from ..wire.companion_codes import HOLD, PRESS, RELEASE

STEP = 0.016  # s between two places of a finger that moves


class Touchpad:
    """Makes the messages about a finger.

    Time counts from when it was made.
    """

    def __init__(self) -> None:
        self._began = time.monotonic_ns()

    def at(self, x: float, y: float, phase: int) -> dict[str, Any]:
        """The finger is at a place, now."""
        return {
            "_ns": time.monotonic_ns() - self._began,
            "_tFg": 1,
            "_cx": round(x),
            "_tPh": phase,
            "_cy": round(y),
        }

    def swipe(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        seconds: float,
        pause: Callable[[float], bool],
    ) -> Iterator[dict[str, Any]]:
        """The finger moves in a straight line, in `seconds`.

        Args:
            pause: Blocks for so many seconds; True if there is no use in going on.
        """
        yield self.at(*start, PRESS)
        began = time.monotonic()
        while (left := began + seconds - time.monotonic()) > STEP:
            if pause(STEP):
                return
            done = min(1.0, (time.monotonic() - began) / seconds)
            x, y = (a + (b - a) * done for a, b in zip(start, end))
            yield self.at(x, y, HOLD)
        if left > 0 and pause(left):
            return
        yield self.at(*end, RELEASE)
