"""Answers out of a trace: what a device answered once, it answers again to the same request.

A tape is what was recorded, in order. A message of the client is looked for among those that have
not come yet; what the device answered to it is sent, with the identifier of the one who asks now.
What the device said by itself comes once everything has been asked that had been asked before it.
Handshakes are not on the tape: the replaying device has keys of its own.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from .. import trace
    from .peer import StreamPeer


class Step:
    """One message on a tape.

    Attributes:
        message: As it was recorded.
        mark: Of a message to the device: what one that is the same has in common with it; None for
            what the device says.
        request: What it answers, or None.
        patient: True if its answer may come much later, when something else has happened.
        idle: True if it comes whenever nothing else does, so that nothing depends on it.
        played: True once it has come, or was sent.
        live: Who sent it now, and the message: what it is answered with goes there.
    """

    __slots__ = ("idle", "live", "mark", "message", "patient", "played", "request")

    def __init__(
        self,
        message: Any,
        mark: Hashable = None,
        request: Step | None = None,
        patient: bool = False,
        idle: bool = False,
    ) -> None:
        self.message = message
        self.mark = mark
        self.request = request
        self.patient = patient
        self.idle = idle
        self.played = False
        self.live: tuple[Any, Any] | None = None


class Tape:
    """What was recorded, and how far it has been played.

    Args:
        steps: In order.
        answer: Called with (recorded answer, request of now); returns the answer of now.
    """

    def __init__(self, steps: Iterable[Step], answer: Callable[[Any, Any], Any]) -> None:
        self._steps = list(steps)
        self._answer = answer
        self._lock = threading.Lock()

    def play(self, owner: Any, mark: Hashable, message: Any) -> list[tuple[Any, Any]] | None:
        """A client sent a message; what to send now, and to whom (None: to every client).

        Returns:
            None if nothing like it was recorded.
        """
        with self._lock:
            fitting = [step for step in self._steps if step.mark is not None and step.mark == mark]
            if not fitting:
                return None
            step = next((step for step in fitting if not step.played), None)
            if step is None:  # asked more often than recorded: the same as the last time
                last = fitting[-1]
                answers = [one for one in self._steps if one.request is last and one.played]
                return [(owner, self._answer(one.message, message)) for one in answers]
            step.played, step.live = True, (owner, message)
            return self._due()

    def knows(self, mark: Hashable) -> bool:
        """Whether a message that is the same is still to come."""
        with self._lock:
            return any(step.mark == mark and not step.played for step in self._steps)

    def rewind(self) -> None:
        """Begin again."""
        with self._lock:
            for step in self._steps:
                step.played, step.live = False, None

    def _due(self) -> list[tuple[Any, Any]]:
        """What the device says now."""
        due, all_asked = [], True
        for step in self._steps:
            if step.mark is not None:
                all_asked = all_asked and (step.played or step.idle)
            elif step.played:
                continue
            elif step.request is None:
                if all_asked:
                    step.played = True
                    due.append((None, step.message))
            elif step.request.live is not None and (all_asked or not step.request.patient):
                step.played = True
                owner, request = step.request.live
                due.append((owner, self._answer(step.message, request)))
        return due


class Tapes:
    """The tape of each connection.

    Args:
        new: Called with how many there were before; returns one.
    """

    def __init__(self, new: Callable[[int], Tape]) -> None:
        self._new = new
        self._tapes: weakref.WeakKeyDictionary[StreamPeer, Tape] = weakref.WeakKeyDictionary()
        self._count = 0
        self._lock = threading.Lock()

    def of(self, peer: StreamPeer) -> Tape:
        """The one of a connection, which is a new one if it has not had any."""
        with self._lock:
            tape = self._tapes.get(peer)
            if tape is None:
                tape = self._tapes[peer] = self._new(self._count)
                self._count += 1
            return tape


def by_connection(records: list[trace.Record]) -> list[list[trace.Record]]:
    """The records of each connection on which the client said something."""
    found: dict[int, list[trace.Record]] = {}
    for record in records:
        if record.raw is not None:
            found.setdefault(record.connection, []).append(record)
    return [one for one in found.values() if any(record.to_device for record in one)]
