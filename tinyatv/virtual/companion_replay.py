"""Companion out of a trace."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

from ..decode import companion_frame
from ..wire.companion import AUTH, REPLY, REQUEST
from ..wire.companion_codes import NO_HANDLER
from .companion import CompanionPeer, VirtualCompanion
from .tape import Step, Tapes, by_connection

if TYPE_CHECKING:
    from .. import trace
    from .replay import Recording
    from .side import Setup

log = logging.getLogger(__name__)

INTRODUCTIONS = (  # requests that are the same whatever is in them
    "_systemInfo", "_sessionStart", "_sessionStop", "TVRCSessionStart", "TVRCSessionStop",
    "_touchStart", "_touchStop", "_tiStart", "_tiStop", "_tiC",
)  # fmt: skip


def _steps(records: list[trace.Record]) -> Iterable[Step]:
    asked: dict[Any, Step] = {}
    for record in records:
        frame = companion_frame(record.raw or b"")
        kind, message = frame
        if kind in AUTH:
            continue
        number = message.get("_x")
        if record.to_device:
            step = Step(frame, companion_mark(message), idle=message.get("_i") == "_hidT")
            if message.get("_t") == REQUEST:
                asked[number] = step
        else:
            request = asked.get(number) if message.get("_t") == REPLY else None
            step = Step(frame, request=request)
        yield step


def companion_mark(message: dict[Any, Any]) -> Hashable:
    """What two Companion messages of a client have in common that ask for the same."""
    name, content = message.get("_i"), message.get("_c")
    if name in INTRODUCTIONS or not isinstance(content, dict):
        return str(name), message.get("_t"), ""
    if name == "_hidT":  # how many, and where exactly, depends on how fast the client is
        return str(name), message.get("_t"), repr(content.get("_tPh"))
    return str(name), message.get("_t"), repr(content)


def _answer_of(recorded: Any, request: Any) -> Any:
    kind, message = recorded
    return kind, {**message, "_x": request[1].get("_x")}


class ReplayCompanion(VirtualCompanion):
    """Serves Companion out of a recording.

    Args:
        recording: What to say.
        setup: As for :class:`VirtualCompanion`.
    """

    connections = staticmethod(by_connection)
    steps = staticmethod(_steps)
    answer = staticmethod(_answer_of)

    def __init__(self, recording: Recording, setup: Setup) -> None:
        super().__init__(setup)
        self._recording = recording
        self._tapes = Tapes(lambda number: recording.tape(self.protocol, number))

    def received(self, peer: CompanionPeer, frame: tuple[int, dict[Any, Any]]) -> None:
        """A message arrived."""
        kind, message = frame
        if kind in AUTH:
            super().received(peer, frame)
            return
        name = str(message.get("_i"))
        self.requests.append(name)
        self._state.log_command(name)
        answers = self._tapes.of(peer).play(peer, companion_mark(message), frame)
        if answers is None:
            self._recording.miss(name)
            answers = []
            if message.get("_t") == REQUEST:
                no = {"_ec": NO_HANDLER, "_ed": "RPErrorDomain", "_em": "not in the trace"}
                answers = [(peer, (kind, {**no, "_t": REPLY, "_x": message.get("_x")}))]
        try:
            with peer.at_once():
                peer.send(*(answer for _, answer in answers))
        except ConnectionError as exc:
            log.debug("%s: %s", self.name, exc)  # it went away in the middle
