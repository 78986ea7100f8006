"""DMAP out of a trace."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ..wire.http import HttpWire, Request, Response
from .dmap import VirtualDmap
from .tape import Step

if TYPE_CHECKING:
    from .. import trace
    from .replay import Recording
    from .server import Peer, Query
    from .side import Setup

log = logging.getLogger(__name__)

NOT_NOW = 500  # status; after any other one, clients log in again
VOLATILE = ("session-id", "prompt-id", "pairing-guid", "hsgid", "hasfp")  # of a query


def _steps(records: list[trace.Record]) -> Iterable[Step]:
    asked: dict[int, list[Step]] = {}
    for record in records:
        message = _http(record)
        waiting = asked.setdefault(record.connection, [])
        if isinstance(message, Request) and record.to_device:
            waits = not message.path.endswith("revision-number=0") and _is_poll(message.path)
            step = Step(message, dmap_mark(message), patient=waits)
            waiting.append(step)
            yield step
        elif isinstance(message, Response) and not record.to_device and waiting:
            yield Step(message, request=waiting.pop(0))


def _http(record: trace.Record) -> Any:
    wire = HttpWire()
    wire.feed(record.raw or b"")
    return wire.next_message()


def _is_poll(path: str) -> bool:
    return "/playstatusupdate" in path


def dmap_mark(request: Request) -> Hashable:
    """What two requests have in common that ask for the same."""
    parts = urlsplit(request.path)
    query = parse_qsl(parts.query, keep_blank_values=True)
    args = sorted((name, value) for name, value in query if name.lower() not in VOLATILE)
    return request.method, parts.path, tuple(args), request.body


def _all_in_one(records: list[trace.Record]) -> list[list[trace.Record]]:
    """One tape for all connections, since it does not matter which one takes what."""
    return [records] if records else []


def _as_it_was(recorded: Any, _: Any) -> Any:
    return recorded


class ReplayDmap(VirtualDmap):
    """Serves DMAP out of a recording; any client may log in.

    Args:
        recording: What to say.
        setup: As for :class:`VirtualDmap`.
    """

    connections = staticmethod(_all_in_one)
    steps = staticmethod(_steps)
    answer = staticmethod(_as_it_was)

    def __init__(self, recording: Recording, setup: Setup) -> None:
        super().__init__(setup)
        self._recording = recording
        self._tape = recording.tape(self.protocol)

    def _answer(self, peer: Peer, query: Query) -> Response | None:
        request = query.request
        mark = dmap_mark(request)
        if query.path == "/login" and not self._tape.knows(mark):
            self._tape.rewind()
        answers = self._tape.play(peer, mark, request)
        self._state.log_command(f"{request.method} {query.path}")
        if answers is None:
            self._recording.miss(f"{request.method} {query.path}")
            return None if _is_poll(query.path) else Response(NOT_NOW)
        mine = None
        for owner, response in answers:
            if owner is peer and mine is None:
                mine = response
            elif owner is not None:
                try:
                    owner.link.send(response)
                except ConnectionError as exc:
                    log.debug("%s", exc)  # it did not wait
        return mine
