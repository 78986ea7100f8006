"""How another thread ends a pairing, whatever it waits for."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable

from ..errors import PairingError
from ..threads import join, start

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK = 0.05  # s between two looks at the event, which wakes only those who wait for it


class Cancellation:
    """Ends what is being waited for once an event is set. To be used with ``with``.

    Args:
        event: What the other thread sets; None if there is none, which costs nothing.
    """

    def __init__(self, event: threading.Event | None) -> None:
        self._event = event
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._close: Callable[[], object] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Cancellation:
        if self._event is not None:
            self._thread = start(self._watch, "tinyatv-pairing-cancel")
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._over.set()
        join(self._thread, None)
        kept = hasattr(error, "device")  # it has credentials that could not be stored
        if isinstance(error, Exception) and self.requested and not kept:
            raise PairingError("cancelled") from error

    @property
    def requested(self) -> bool:
        """True once the event is set."""
        return self._event is not None and self._event.is_set()

    def check(self) -> None:
        """Raise PairingError if the event is set."""
        if self.requested:
            raise PairingError("cancelled")

    @contextmanager
    def closing(self, close: Callable[[], object]) -> Iterator[None]:
        """While this is open, `close` is called, on another thread, once the event is set.

        Args:
            close: Ends what this thread waits for. Harmless when that is over.
        """
        with self._lock:
            self.check()
            self._close = close
        try:
            yield
        finally:
            with self._lock:
                self._close = None

    def _watch(self) -> None:
        assert self._event is not None, "without one there is no thread"
        while not self._event.wait(LOOK):
            if self._over.is_set():
                return
        with self._lock:
            close = self._close
        if close is not None:
            close()
