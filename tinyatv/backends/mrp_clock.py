"""How far something is, on a device whose clock need not be ours.

Devices say where it was and when that was, by their own clock. Ours may be wrong: a small computer
without a battery begins each day in the past. So the device's clock is taken from its messages, as
far as they tell; else ours is believed, and once it cannot be right, the log says so.
"""

from __future__ import annotations

import logging
import math
import time

from ..proto import commands

log = logging.getLogger(__name__)

SLACK = 2.0  # s that two clocks may differ, the way of a message included
FRESH = 5.0  # s that news may be old
LATE = 120.0  # s that something may stand at its end before that is hard to believe
LONGEST = 86400.0  # s that something plays at most without a word of how far it is


class Clock:
    """The clock of one device."""

    def __init__(self) -> None:
        self._least: float | None = None  # it shows at least that, and our monotonic clock
        self._exact: float | None = None  # it shows that, and our monotonic clock
        self._warned = False

    def now(self) -> float:
        """What it shows: seconds since 2001."""
        if self._exact is not None:
            return time.monotonic() + self._exact
        ours = time.time() - commands.EPOCH
        return ours if self._least is None else max(ours, time.monotonic() + self._least)

    def see(self, stamp: float, fresh: bool = False) -> None:
        """Take in a stamp of the device.

        Args:
            stamp: Seconds since 2001; it cannot be in the future.
            fresh: True if it is of something that the device tells as it happens.
        """
        if not _is_stamp(stamp):
            return
        apart = stamp - self.now()
        if fresh and not -FRESH < apart < SLACK:
            self._exact = stamp - time.monotonic()
        elif apart > SLACK and self._exact is None:
            self._least = stamp - time.monotonic()
        else:
            return
        log.info(
            "the device's clock differs from ours by %.0f s", stamp - (time.time() - commands.EPOCH)
        )

    def doubt(self, seconds: float) -> None:
        """Say once that our clock or the device's is wrong, and that nothing tells by how much."""
        if not self._warned:
            self._warned = True
            log.warning(
                "the clock here or that of the device is wrong: what plays seems to have begun"
                " %.0f s ago; positions are counted from now on",
                seconds,
            )


class Anchor:
    """Where something was at some moment.

    Args:
        elapsed: Seconds from the start.
        stamp: The moment, by the device's clock; None is now.
    """

    __slots__ = ("elapsed", "heard", "stamp")

    def __init__(self, elapsed: float, stamp: float | None) -> None:
        self.elapsed = elapsed
        self.stamp = stamp
        self.heard = time.monotonic()

    def position(
        self, clock: Clock, moving: bool, total: float, now: float | None = None
    ) -> float:  # fmt: skip
        """Where it is.

        Args:
            clock: Of the device.
            moving: False if it stands still since then.
            total: Its length in seconds; 0 if it is not known.
            now: By the device's clock; None asks it.
        """
        gone = 0.0
        if moving:
            gone = time.monotonic() - self.heard
            if self.stamp is not None:
                since = (clock.now() if now is None else now) - self.stamp
                end = total - self.elapsed if 0 < total < math.inf else LONGEST
                if since <= max(end + LATE, gone):
                    gone = since
                elif gone < end:  # it would have been over before we heard that it plays
                    clock.doubt(since)
        return max(0.0, self.elapsed + gone)


def anchor_of(elapsed: float, stamp: float) -> Anchor | None:
    """An anchor as a device tells it; None without a stamp: the position alone is too old."""
    if not _is_stamp(stamp) or not math.isfinite(elapsed):
        return None
    return Anchor(elapsed, stamp)


def _is_stamp(value: float) -> bool:
    return math.isfinite(value) and value != 0
