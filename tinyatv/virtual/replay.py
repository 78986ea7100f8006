"""A trace that can be replayed: what was recorded, and which device answers like that."""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import Any

from .. import link, trace
from .profiles import PROFILES, REPLAYING, SIDES
from .tape import Tape

log = logging.getLogger(__name__)


class Recording:
    """A trace that can be replayed.

    Args:
        path: Of the file.

    Attributes:
        file: Which one that is.
        missing: What was asked for and is not on a tape, in words.
        profile: The profile of a device that speaks what was recorded.
        protocols: Those of it.
        identifier: What the device said that it is, or None.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not a trace, or one that is being written, or there is nothing in it to be
            replayed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with open(path, "rb") as file:
            self.file = os.fstat(file.fileno())
            if isinstance(link.observer, trace.Trace) and link.observer.writes(self.file):
                raise ValueError(f"{os.fspath(path)} cannot be replayed: a trace is written to it")
            records = [record for record in trace.read(file) if record.ended is None]
        if any(not record.at_device for record in records):  # of two ends in one, one is enough
            records = [record for record in records if not record.at_device]
        self.missing: list[str] = []
        self._sides: dict[str, Any] = {}
        self._connections: dict[str, list[list[trace.Record]]] = {}
        tunnel = False
        for protocol, row in SIDES.items():
            own = [record for record in records if record.protocol == protocol]
            if row.replay is None:
                tunnel = tunnel or any(record.name.startswith("SETUP") for record in own)
                continue
            side = getattr(import_module(f"{row.module}_replay", __package__), row.replay)
            found = side.connections(own)
            if found:
                self._sides[protocol], self._connections[protocol] = side, found
        if not self._sides:
            names = ", ".join(row.title for row in SIDES.values() if row.replay)
            raise ValueError(f"nothing in the trace can be replayed: no {names}")
        self.profile = self._fitting(tunnel)
        speaks, carrier = PROFILES[self.profile].protocols, PROFILES[self.profile].carrier
        spoken = [one if one in speaks else carrier for one in self._sides]
        self.protocols = tuple(one for one in speaks if one in spoken)
        for protocol, connections in self._connections.items():
            for number in range(len(connections)):
                self.tape(protocol, number)  # what is damaged is to be noticed now
        self.identifier = self._identifier()
        trace.replays.add(self)

    def close(self) -> None:
        """It is not being replayed any more: its file may be overwritten."""
        trace.replays.discard(self)

    def _identifier(self) -> str | None:
        for protocol, side in self._sides.items():
            if hasattr(side, "identifier_of"):
                found: str | None = side.identifier_of(self._connections[protocol][0])
                return found
        return None

    def _fitting(self, tunnel: bool) -> str:
        """The profile whose main protocol was recorded; the last one if it came in a tunnel."""
        *others, last = REPLAYING
        for name in others:
            main = PROFILES[name].protocols[0]
            if main in self._sides and not (tunnel and main in PROFILES[last].carried):
                return name
        return last

    def tape(self, protocol: str, number: int = 0) -> Tape:
        """The tape for a connection.

        Args:
            protocol: What it speaks.
            number: How many there were before; after the last one, it begins again.
        """
        connections = self._connections.get(protocol)
        if not connections:
            return Tape([], lambda recorded, _: recorded)
        side = self._sides[protocol]
        return Tape(side.steps(connections[number % len(connections)]), side.answer)

    def miss(self, what: str) -> None:
        """Something was asked for that was not recorded."""
        log.info("not in the trace: %s", what)
        self.missing.append(what)
