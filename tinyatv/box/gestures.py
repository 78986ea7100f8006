"""What a button means by being down and up: press, hold, double, release, repeat.

A press acts at once, unless there is something that it could still become: with a hold it acts when
the button is released in time, with a double once no second press has followed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Callable

GESTURES = ("press", "hold", "double", "release", "repeat")


class Times:
    """How long things take, in seconds.

    Args:
        hold: A button that is down for longer is held, and begins to repeat.
        double: Two presses within this time are one double press.
        repeat: From one repetition to the next.
    """

    def __init__(self, hold: float = 0.6, double: float = 0.3, repeat: float = 0.2) -> None:
        self.hold = hold
        self.double = double
        self.repeat = repeat


class Button:
    """One button. Has no clock and no thread: it is told the time.

    Args:
        bound: Gestures that something is bound to.
        times: How long they take.
        act: Called with each gesture.

    Attributes:
        due: When :meth:`wait_over` is to be called; None if nothing is pending.
    """

    def __init__(self, bound: Collection[str], times: Times, act: Callable[[str], object]) -> None:
        self.due: float | None = None
        self._bound = bound
        self._times = times
        self._act = act
        self._down = False
        self._used = False  # the press that is going on has become something else
        self._waiting = False  # for a second press

    def change(self, down: bool, now: float) -> None:
        """The button goes down or up."""
        if down is self._down:
            return
        self._down = down
        if down:
            self._pressed(now)
        else:
            self._released(now)

    def _pressed(self, now: float) -> None:
        self._used = self._waiting
        if self._waiting:
            self._waiting, self.due = False, None
            self._do("double")
            return
        if "hold" in self._bound or "repeat" in self._bound:
            self.due = now + self._times.hold
        if not {"hold", "double"} & {*self._bound}:
            self._do("press")

    def _released(self, now: float) -> None:
        self.due = None
        self._do("release")
        if self._used or not {"hold", "double"} & {*self._bound}:
            return
        if "double" in self._bound:
            self._waiting, self.due = True, now + self._times.double
        else:
            self._do("press")

    def wait_over(self, now: float) -> None:
        """The time in `due` has come."""
        self.due = None
        if self._waiting:
            self._waiting = False
            self._do("press")
        elif self._down:
            self._used = True
            self._do("hold")
            if "repeat" in self._bound:
                self._do("repeat")
                self.due = now + self._times.repeat

    def _do(self, gesture: str) -> None:
        if gesture in self._bound:
            self._act(gesture)
