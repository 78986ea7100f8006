"""One time limit for several waits."""

from __future__ import annotations

import time


class Deadline:
    """A point in time, and how far away it still is.

    Args:
        seconds: From now; None means never.
    """

    __slots__ = ("_at", "seconds")

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._at = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds until the deadline, 0.0 once it is over, None if there is none."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    def wait(self) -> float | None:
        """Like :meth:`left`, for ``SimpleQueue.get``: on Python 3.9, that never ends with 0.0."""
        left = self.left()
        return None if left is None else max(0.001, left)

    @property
    def over(self) -> bool:
        """True once the time is up."""
        return self._at is not None and time.monotonic() >= self._at
