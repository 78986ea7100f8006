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

    def heard(self) -> None:
        """The peer has said something that is not all of it yet; see :class:`Patience`."""

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


class Patience(Deadline):
    """A time limit that is longer while the peer says nothing at all: it may be waking up.

    Args:
        seconds: Time from now, for a peer that is awake.
        silent: Time from now, for one that is silent; at least `seconds`.
    """

    __slots__ = ("_awake", "_quick")

    def __init__(self, seconds: float, silent: float) -> None:
        super().__init__(max(seconds, silent))
        self._quick = seconds
        self._awake = time.monotonic() + seconds

    def heard(self) -> None:
        """The peer is awake: it has the usual time, from the beginning or from here on."""
        if self.seconds != self._quick:
            self.seconds = self._quick
            now = time.monotonic()
            self._at = self._awake if now < self._awake else now + self._quick
