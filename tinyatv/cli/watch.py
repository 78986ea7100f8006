"""Show what is playing whenever it changes, until Ctrl-C.

With --json also until ENTER or the end of standard input, after which comes a line with
"push_updates": "finished". --reconnect goes on after a lost connection.
"""

from __future__ import annotations

import queue
import select
import sys
import threading
from typing import TYPE_CHECKING, Any

from ..events import Disconnected, PlayingChanged, Reconnected, UpdateFailed
from .output import playing_keys
from .target import open_target

if TYPE_CHECKING:
    from . import Arguments, Parser
    from .output import Output

LOOK = 1.0  # s; how often to look whether anybody still reads


def add_flags(parser: Parser, word: str) -> None:
    """Nothing beside the common ones."""


def run(flags: Arguments, out: Output, word: str) -> int:
    """Print events until somebody has enough."""
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with open_target(flags, out) as atv:
        atv.add_listener(received.put)
        if out.json:
            threading.Thread(
                target=_wait_for_enter, args=(received,), name="tinyatv-stdin", daemon=True
            ).start()
        while True:
            try:
                event = received.get(timeout=LOOK)
            except queue.Empty:
                if _nobody_reads():
                    return 0
                continue
            if event is None:
                out.result(push_updates="finished")
                return 0
            if isinstance(event, PlayingChanged):
                out.result(f"{event.playing}\n{'-' * 20}", **playing_keys(event.playing))
            elif isinstance(event, Reconnected):
                out.result("reconnected", connection="reconnected")
            elif isinstance(event, UpdateFailed):
                out.failure(event.error)
            elif isinstance(event, Disconnected) and event.error is not None:
                code = out.failure(event.error, connection="lost")
                if not flags.reconnect:
                    return code


def _wait_for_enter(received: queue.SimpleQueue[Any]) -> None:
    try:
        sys.stdin.readline()
    except (OSError, ValueError):
        pass  # closed from the start
    received.put(None)


def _nobody_reads() -> bool:
    """True if standard output is a pipe that nobody reads from any more."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False  # no file behind it
    return any(bits & select.POLLERR for _, bits in poll.poll(0))
