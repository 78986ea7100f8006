"""How programs that run until they are ended hear of SIGTERM and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from ..deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

POLL = 0.1  # s between two looks


class Stop(threading.Event):
    """An event that a signal handler may set.

    A plain one has a lock. If the signal arrives while the main thread holds it in ``wait()``, the
    handler, which runs on the same thread, waits for it forever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stopped = False

    def set(self) -> None:
        """End the wait; from a signal handler or from any thread."""
        self._stopped = True

    def is_set(self) -> bool:
        """True once it was set."""
        return self._stopped

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds; True if it is."""
        deadline = Deadline(timeout)
        while not (self._stopped or deadline.over):
            left = deadline.left()
            time.sleep(POLL if left is None else min(POLL, left))
        return self._stopped


def stop_on_signals() -> Stop:
    """An event that SIGTERM and Ctrl-C set from now on."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@contextlib.contextmanager
def exit_on_terminate() -> Iterator[None]:
    """Meanwhile SIGTERM is an exception on the main thread, as Ctrl-C is: things are put in order.

    On another thread, where no signals arrive, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
