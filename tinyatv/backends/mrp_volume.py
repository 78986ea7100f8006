"""What is known of how loud the outputs of an MRP device are; "not told" is not a level."""

from __future__ import annotations

import time

ROUNDING = 3.5  # percent; devices with 16 steps of volume have been seen, of 6.25 each
SAME = 0.05  # percent; less is no change
SETTLE = 2.0  # s in which reports may still be about what was asked for before


class Levels:
    """The levels of outputs, in percent: as the device told, and as it was asked for since.

    Attributes:
        told: What the device told last, by output.
    """

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        self._wanted: dict[str, tuple[float, float]] = {}  # level, and when it was asked for
        self._pressed: set[str] = set()  # a key was pressed, and nothing told since

    def tell(self, output: str, level: float) -> float | None:
        """The device tells a level; returns the one before, None if that is not known."""
        before = self.told.get(output)
        self.told[output] = level
        self._pressed.discard(output)
        if output in self._wanted:
            wanted, at = self._wanted[output]
            # A report from between two steps must not take the later one back.
            if abs(wanted - level) <= ROUNDING or time.monotonic() - at > SETTLE:
                del self._wanted[output]
        return before

    def forget(self, output: str) -> None:
        """The output has no levels any more."""
        self.told.pop(output, None)
        self._wanted.pop(output, None)
        self._pressed.discard(output)

    def press(self, output: str) -> None:
        """A key is about to be pressed: from here on, the level is open."""
        self._pressed.add(output)

    def want(self, output: str, level: float) -> None:
        """A level is about to be asked for."""
        now = self.fresh(output)
        if now is None or abs(now - level) >= SAME:  # else it changes nothing, and is not reported
            self._wanted[output] = level, time.monotonic()

    def fresh(self, output: str) -> float | None:
        """What the device told, if nothing was sent since that may have changed it."""
        if output in self._pressed or output in self._wanted:
            return None
        return self.told.get(output)

    def expected(self, output: str) -> float | None:
        """What the level should be now, after what was asked for; None if that is open."""
        if output in self._pressed:
            return None
        if output in self._wanted:
            level, at = self._wanted[output]
            return level if time.monotonic() - at <= SETTLE else None
        return self.told.get(output)

    def guess(self, output: str) -> float | None:
        """The same where the device does not say: as it was asked for last, or told."""
        wanted = self._wanted.get(output)
        return self.told.get(output) if wanted is None else wanted[0]
