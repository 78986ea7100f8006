"""Presses that never raise and never block their caller: what GPIO callbacks need.

The library that watches the pins calls from one thread. On a Raspberry Pi of today that is lgpio's,
which has no ``try``: the first callback that raises ends it, and with it all buttons.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, Callable

from .deadline import Deadline
from .errors import AppleTVError, CommandFailed, ConnectionLost
from .threads import join, start

if TYPE_CHECKING:
    from .session import Session

log = logging.getLogger(__name__)

Press = Callable[[], object]
ErrorHandler = Callable[[BaseException], object]

WAITING = 32  # presses that may wait; whoever presses more often has given up on them


class PressQueue:
    """Carries out presses one after the other, on one thread of its own.

    Args:
        session: What they go to.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.leave_to_parent()

    def leave_to_parent(self) -> None:
        """Begin, at first or in the child of a fork: nothing waits, and no thread runs."""
        self._lock = threading.RLock()  # a signal handler may press, too
        self._waiting: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def bind(
        self, name: str, press: Press, patience: float, on_error: ErrorHandler | None,
        *, single: bool,
    ) -> Callable[..., None]:  # fmt: skip
        """A callback that puts a press into the queue; see :meth:`AppleTV.queued`.

        Args:
            name: What it is called in the log.
            press: What to do.
            patience: Seconds that it may wait for a lost device.
            on_error: Takes errors.
            single: True if it is one command, so that nothing was done if nothing could be sent.
        """
        if not patience >= 0:
            raise ValueError(f"patience must be 0 or more, not {patience}")
        dropped = 0  # for want of room, and not reported yet

        def failed(error: BaseException) -> None:
            _report(name, error, on_error)

        def report_dropped() -> None:
            nonlocal dropped
            with self._lock:
                count, dropped = dropped, 0
            raise CommandFailed(f"{count} presses dropped: {WAITING} are waiting already", name)

        def put(*_: object) -> None:
            """Press; what the caller says about its pin is ignored."""
            nonlocal dropped
            one = _Queued(press, Deadline(patience), failed, single)
            with self._lock:
                if self._session.closed:
                    log.info("%s: ignored, the connection is closed", name)
                    return
                if self._waiting.qsize() >= WAITING:
                    dropped += 1
                    if dropped > 1:
                        return  # the first one's report counts it, too
                    one = _Queued(report_dropped, Deadline(0), failed, False)
                self._start()
                self._waiting.put(one)

        return put

    def close(self) -> None:
        """End the thread, once the session is closed: what waits is forgotten. Blocks up to 5 s."""
        with self._lock:
            self._waiting.put(None)
            thread = self._thread
        join(thread, 5)

    def _start(self) -> None:
        try:
            name = f"tinyatv-presses-{self._session.device.address}"
            self._thread = self._thread or start(self._run, name)
        except AppleTVError as exc:  # what waits is done once the next press finds room
            log.warning("%s", exc)

    def _run(self) -> None:
        while True:
            one = self._waiting.get()
            if one is None or self._session.closed:
                return
            try:
                self._press(one)
            except BaseException as exc:  # sys.exit() as well: the next press shall work
                if self._session.closed and isinstance(exc, ConnectionLost):
                    return
                one.failed(exc)
            del one  # or what it refers to would be kept until the next press

    def _press(self, one: _Queued) -> None:
        while True:
            self._session.await_connection(one.patience)
            try:
                one.press()
                return
            except AppleTVError as exc:
                # An idle connection of DMAP shows only now that the device has gone; and one
                # protocol of a device is back sooner than another.
                unsent = exc.unsent or getattr(exc.__cause__, "unsent", False)
                again = one.single and unsent and self._session.reconnect
                if not again or one.patience.over or self._session.closed:
                    raise
                self._session.await_change(one.patience)


class _Queued:
    """A press that waits.

    Attributes:
        press: What to do.
        patience: Until when a lost device may come back for it.
        failed: Takes the error.
        single: True if it can be tried again when nothing could be sent.
    """

    __slots__ = ("failed", "patience", "press", "single")

    def __init__(
        self, press: Press, patience: Deadline, failed: Callable[[BaseException], None],
        single: bool,
    ) -> None:  # fmt: skip
        self.press = press
        self.patience = patience
        self.failed = failed
        self.single = single


def _report(name: str, error: BaseException, on_error: ErrorHandler | None) -> None:
    if not isinstance(error, (AppleTVError, ValueError)):
        log.error("%s: %r", name, error, exc_info=error)  # a bug: not to be guessed from one line
    else:
        log.log(logging.WARNING if on_error is None else logging.INFO, "%s: %s", name, error)
    if on_error is None:
        return
    try:
        on_error(error)
    except BaseException:
        log.exception("on_error failed")


def name_of(press: Any) -> str:
    """What a function is called, for the log."""
    while hasattr(press, "func"):  # functools.partial
        press = press.func
    return getattr(press, "__name__", None) or repr(press)
