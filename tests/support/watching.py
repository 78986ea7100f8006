"""What a test sees of a connection: its events, its threads."""

from __future__ import annotations

import queue
import threading

import tinyatv

WAIT = 5.0  # s; a deadline for things that take milliseconds


class Heard:
    """Events, in a queue."""

    def __init__(self, atv):
        self.events = queue.SimpleQueue()
        atv.add_listener(self.events.put)

    def next(self, kind):
        """The next event of a kind; others before it are dropped."""
        while True:
            event = self.events.get(timeout=WAIT)
            if isinstance(event, kind):
                return event

    def until(self, condition, kind=tinyatv.PlayingChanged):
        while True:
            event = self.next(kind)
            if condition(event):
                return event


def ours():
    """Names of the library's threads that run."""
    return [t.name for t in threading.enumerate() if t.name.startswith("tinyatv")]
