"""MRP out of a trace."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

from .. import proto
from ..wire import hid
from .mrp import MrpPeer, VirtualMrp
from .tape import Step, Tapes, by_connection

if TYPE_CHECKING:
    from .. import trace
    from .replay import Recording
    from .side import Setup

log = logging.getLogger(__name__)

NOT_RECORDED = 404  # error of a message

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


def _steps(records: list[trace.Record]) -> Iterable[Step]:
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


def _identifier_of(records: list[trace.Record]) -> str | None:
    """Who the device says it is; clients compare that with what is announced."""
    for record in records:
        message = proto.parse(record.raw or b"")
        if message.kind == proto.DEVICE_INFO and not record.to_device and message.body is not None:
            return proto.text(message.body, "uniqueIdentifier")
    return None


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


def _answer_of(recorded: proto.Message, request: proto.Message) -> proto.Message:
    envelope = type(recorded.envelope)()
    envelope.CopyFrom(recorded.envelope)
    envelope.identifier = request.identifier
    return proto.Message(envelope)


class ReplayMrp(VirtualMrp):
    """Serves MRP out of a recording, directly or through a tunnel.

    Args:
        recording: What to say.
        setup: As for :class:`VirtualMrp`.
    """

    connections = staticmethod(by_connection)
    steps = staticmethod(_steps)
    answer = staticmethod(_answer_of)
    identifier_of = staticmethod(_identifier_of)

    def __init__(self, recording: Recording, setup: Setup) -> None:
        super().__init__(setup)
        self._recording = recording
        self._tapes = Tapes(lambda number: recording.tape(self.protocol, number))

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
        self._state.log_command(name)
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
