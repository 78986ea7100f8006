"""Answers out of a trace: what a device said to somebody is said again to whoever asks the same.

A tape is what was recorded, in order. A message of the client is looked for among those that have
not come yet; what the device answered to it is sent, with the identifier of the one who asks now.
What the device said by itself comes once everything has been asked that had been asked before it.
Handshakes are not on the tape: the replaying device has keys of its own.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import parse_qsl, urlsplit

from .. import link, proto, trace
from ..decode import companion_frame
from ..wire import hid
from ..wire.companion import AUTH, REPLY, REQUEST
from ..wire.companion_codes import NO_HANDLER
from ..wire.http import HttpWire, Request, Response
from .companion import CompanionPeer, VirtualCompanion
from .dmap import VirtualDmap
from .mrp import MrpPeer, VirtualMrp

if TYPE_CHECKING:
    from .peer import StreamPeer
    from .server import Peer, Query

log = logging.getLogger(__name__)

NOT_RECORDED = 404  # error of a message
NOT_NOW = 500  # status; after any other one, clients log in again

SAME = {  # kind of MRP message: fields that must be the same; of all others, the kind alone
    proto.SEND_COMMAND: ("command", "options", "playerPath"),
    proto.SEND_BUTTON_EVENT: ("usagePage", "usage", "buttonDown"),
    proto.TEXT_INPUT: ("actionType",),  # the text is a secret, and on no tape
    proto.PLAYBACK_QUEUE_REQUEST: ("location", "length", "artworkWidth", "artworkHeight"),
    proto.SET_VOLUME: ("volume", "outputDeviceUID"),
    proto.GET_VOLUME: ("outputDeviceUID",),
    proto.MODIFY_OUTPUT_CONTEXT_REQUEST: (
        "addingDevices", "removingDevices", "settingDevices", "clusterAwareAddingDevices",
        "clusterAwareRemovingDevices", "clusterAwareSettingDevices",
    ),
}  # fmt: skip
INTRODUCTIONS = (  # requests of Companion that are the same whatever is in them
    "_systemInfo", "_sessionStart", "_sessionStop", "TVRCSessionStart", "TVRCSessionStop",
    "_touchStart", "_touchStop", "_tiStart", "_tiStop", "_tiC",
)  # fmt: skip
VOLATILE = ("session-id", "prompt-id", "pairing-guid", "hsgid", "hasfp")  # of a query


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
        """Somebody sent a message; what to send now, and to whom (None: to whom it may concern).

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


class Recording:
    """A trace that can be replayed.

    Args:
        path: Of the file.

    Attributes:
        file: Which one that is.
        missing: What was asked for and is not on a tape, in words.
        profile: The profile of a device that speaks what was recorded.
        protocols: Those of it.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no trace, or one that is being written, or there is nothing in it to be
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
        self._mrp = _by_connection(records, "mrp")
        self._dmap = [record for record in records if record.protocol == "dmap"]
        self._companion = _by_connection(records, "companion")
        self.protocols: tuple[str, ...] = ()
        if self._dmap:
            self.profile = "atv3"
            self.protocols = ("dmap",)
            self.dmap()  # what is damaged is to be noticed now
            trace.replays.add(self)
            return
        tunnel = any(
            record.protocol == "airplay" and record.name.startswith("SETUP") for record in records
        )
        self.profile = "tvos14" if self._mrp and not tunnel else "tvos18"
        if self._mrp:
            self.protocols += ("airplay",) if tunnel else ("mrp",)
        if self._companion:
            self.protocols += ("companion",)
        if not self.protocols:
            raise ValueError("nothing in the trace can be replayed: no DMAP, MRP or Companion")
        for number in range(len(self._mrp)):
            self.mrp(number)
        for number in range(len(self._companion)):
            self.companion(number)
        trace.replays.add(self)

    def close(self) -> None:
        """It is not being replayed any more: its file may be overwritten."""
        trace.replays.discard(self)

    def mrp(self, number: int) -> Tape:
        """The tape for a connection of MRP.

        Args:
            number: How many there were before; after the last one, it begins again.
        """
        records = self._mrp[number % len(self._mrp)] if self._mrp else []
        return Tape(_mrp_steps(records), _mrp_answer)

    def companion(self, number: int) -> Tape:
        """The tape for a connection of Companion; see :meth:`mrp`."""
        records = self._companion[number % len(self._companion)] if self._companion else []
        return Tape(_companion_steps(records), _companion_answer)

    def dmap(self) -> Tape:
        """The tape for all connections of DMAP, since it does not matter which one takes what."""
        return Tape(_dmap_steps(self._dmap), lambda recorded, _: recorded)

    def miss(self, what: str) -> None:
        """Something was asked for that was not recorded."""
        log.info("not in the trace: %s", what)
        self.missing.append(what)


def _by_connection(records: list[trace.Record], protocol: str) -> list[list[trace.Record]]:
    found: dict[int, list[trace.Record]] = {}
    for record in records:
        if record.protocol == protocol and record.raw is not None:
            found.setdefault(record.connection, []).append(record)
    return [one for one in found.values() if any(record.to_device for record in one)]


# -- MRP -------------------------------------------------------------------------------------------


def _mrp_steps(records: list[trace.Record]) -> Iterable[Step]:
    asked: dict[str, Step] = {}
    later = time.time() - records[0].time if records else 0.0
    for record in records:
        message = proto.parse(record.raw or b"")
        if message.kind == proto.CRYPTO_PAIRING:
            continue
        if record.to_device:
            step = Step(message, mrp_mark(message), idle=message.kind == proto.GENERIC)
            if message.identifier:
                asked[message.identifier] = step
        else:
            _shift(message.envelope, later)
            step = Step(message, request=asked.get(message.identifier))
        yield step


def _shift(message: Any, later: float) -> None:
    """Let positions be right at the times of now, or what plays would have ended long ago."""
    for field, value in message.ListFields():
        if field.name == "elapsedTimeTimestamp":
            setattr(message, field.name, value + later)
        elif field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                _shift(one, later)


def mrp_mark(message: proto.Message) -> Hashable:
    """What two MRP messages of a client have in common that ask for the same."""
    kind, body = message.kind, message.body
    if kind == proto.SEND_HID_EVENT:
        try:
            return kind, hid.parse_event(body.hidEventData)
        except ValueError:
            return kind, bytes(body.hidEventData)
    values: list[Hashable] = [kind]
    for field in SAME.get(kind, ()):
        value = getattr(body, field)
        if hasattr(value, "SerializeToString"):
            values.append(value.SerializeToString(deterministic=True))
        else:
            values.append(value if isinstance(value, (str, int, float)) else tuple(value))
    return tuple(values)


def _mrp_answer(recorded: proto.Message, request: proto.Message) -> proto.Message:
    envelope = type(recorded.envelope)()
    envelope.CopyFrom(recorded.envelope)
    envelope.identifier = request.identifier
    return proto.Message(envelope)


class ReplayMrp(VirtualMrp):
    """Serves MRP out of a recording, directly or through a tunnel.

    Args:
        recording: What to say.
        args: As for :class:`VirtualMrp`.
    """

    def __init__(self, recording: Recording, *args: Any) -> None:
        super().__init__(*args)
        self._recording = recording
        self._tapes = Tapes(recording.mrp)

    def received(self, peer: MrpPeer, message: proto.Message) -> None:
        """A message arrived."""
        if message.kind == proto.CRYPTO_PAIRING:
            super().received(peer, message)
            return
        if message.kind == proto.DEVICE_INFO:
            peer.info = message.body
        elif peer.info is None:
            return  # who does not introduce himself is not answered
        name = proto.NAMES.get(message.kind, str(message.kind))
        self.requests.append(name)
        self._state.note(name)
        answers = self._tapes.of(peer).play(peer, mrp_mark(message), message)
        try:
            if answers is None:
                self._recording.miss(repr(message))
                self._acknowledge(peer, message, NOT_RECORDED)
            else:
                with peer.at_once():
                    peer.send(*(answer for _, answer in answers))
        except ConnectionError as exc:
            log.debug("%s: %s", self.name, exc)  # it went away in the middle


# -- Companion -------------------------------------------------------------------------------------


def _companion_steps(records: list[trace.Record]) -> Iterable[Step]:
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


def _companion_answer(recorded: Any, request: Any) -> Any:
    kind, message = recorded
    return kind, {**message, "_x": request[1].get("_x")}


class ReplayCompanion(VirtualCompanion):
    """Serves Companion out of a recording.

    Args:
        recording: What to say.
        args: As for :class:`VirtualCompanion`.
    """

    def __init__(self, recording: Recording, *args: Any) -> None:
        super().__init__(*args)
        self._recording = recording
        self._tapes = Tapes(recording.companion)

    def received(self, peer: CompanionPeer, frame: tuple[int, dict[Any, Any]]) -> None:
        """A message arrived."""
        kind, message = frame
        if kind in AUTH:
            super().received(peer, frame)
            return
        name = str(message.get("_i"))
        self.requests.append(name)
        self._state.note(name)
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


# -- DMAP ------------------------------------------------------------------------------------------


def _dmap_steps(records: list[trace.Record]) -> Iterable[Step]:
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


class ReplayDmap(VirtualDmap):
    """Serves DMAP out of a recording; everybody may log in.

    Args:
        recording: What to say.
        args: As for :class:`VirtualDmap`.
    """

    def __init__(self, recording: Recording, *args: Any) -> None:
        super().__init__(*args)
        self._recording = recording
        self._tape = recording.dmap()

    def _answer(self, peer: Peer, query: Query) -> Response | None:
        request = query.request
        mark = dmap_mark(request)
        if query.path == "/login" and not self._tape.knows(mark):
            self._tape.rewind()
        answers = self._tape.play(peer, mark, request)
        self._state.note(f"{request.method} {query.path}")
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


SIDES = {"mrp": ReplayMrp, "companion": ReplayCompanion, "dmap": ReplayDmap}
