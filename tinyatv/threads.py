"""How threads of ours start and end.

All are daemons: a program that ends waits for none of them. Whoever keeps a thread keeps it from
here on, so what is kept is a thread that runs and can be joined.
"""

from __future__ import annotations

import threading
from typing import Any, Callable

from .errors import AppleTVError

FORKED = "this process was forked after it was opened: connect again in the child"
NESTED = (
    "this thread is in the middle of another command: a signal handler has to leave its commands"
    " to another thread"
)


def start(run: Callable[..., object], name: str, *args: Any) -> threading.Thread:
    """Start a daemon thread.

    Raises:
        AppleTVError: The system has no room for another thread.
    """
    thread = threading.Thread(target=run, name=name, args=args, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as exc:
        raise AppleTVError(f"no thread can be started: {exc or 'out of memory'}") from exc
    return thread


def join(thread: threading.Thread | None, seconds: float | None) -> None:
    """Wait until a thread has ended, unless it is this one, or there is none."""
    if thread is not None and thread.ident not in (None, threading.get_ident()):
        thread.join(seconds)
