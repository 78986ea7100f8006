"""The device side of MRP: handshake, buttons, commands, and what is told to whom."""

from __future__ import annotations

import logging
import math
import socket
from typing import TYPE_CHECKING, Any, Callable

from .. import proto
from ..crypto.chacha20poly1305 import Session
from ..errors import AppleTVError
from ..model import Artwork, RepeatState, ShuffleState
from ..pairing.hap import ERROR, METHOD, STATE, UNAVAILABLE, Reply, channel_keys
from ..proto import Message, build, commands
from ..wire import hid, tlv8
from ..wire.hap import HapWire
from ..wire.mrp import MrpWire
from .mrp_identity import MrpIdentity, MrpQuirks
from .mrp_view import (
    COMMANDS,
    QUEUE_COMMANDS,
    REPEATS,
    SHUFFLES,
    Config,
    DeviceView,
    dumper,
    item_metadata,
)
from .peer import StreamPeer, StreamServer
from .server import REMEMBERED, remember
from .state import EFFECTS, direction

if TYPE_CHECKING:
    from .faults import Fault
    from .side import Setup

log = logging.getLogger(__name__)

UNKNOWN_CLIENT = -6727  # status of a pairing; seen once, of a real device that had forgotten

SYSTEM_COMMANDS = [
    commands.SET_QUEUE,
    commands.PREPARE_QUEUE,
]  # set the queue, get ready for that: what Music can while it is closed

_WORDS = {  # kind: words by which faults know it, besides its name
    proto.DEVICE_INFO: ["connect"],
    proto.CLIENT_UPDATES_CONFIG: ["playing"],
    proto.GET_KEYBOARD_SESSION: ["keyboard"],
    proto.GENERIC: ["generic"],
    proto.PLAYBACK_QUEUE_REQUEST: ["artwork"],
    proto.SET_VOLUME: ["set_volume", "volume"],
    proto.GET_VOLUME: ["volume"],
    proto.MODIFY_OUTPUT_CONTEXT_REQUEST: ["output_devices"],
    proto.WAKE_DEVICE: ["turn_on"],
    proto.TEXT_INPUT: ["text"],
}


class VirtualMrp(StreamServer["MrpPeer"]):
    """Serves MRP.

    Args:
        setup: What it is made with.

    Attributes:
        quirks: What it does differently from others.
        accessory: The device's memory of pairings.
        identity: What it says of itself.
        allow_unpaired: False refuses everything but pairing to a client that is not verified.
        default_commands: Numbers of the commands that an app knows while it has no player.
        complaints: What clients did that real devices do not answer, in words.
        requests: Names of all messages received, in order.
        port: TCP port; 0 without one.
    """

    protocol = "mrp"
    kind = "_mediaremotetv._tcp.local."

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.identity: MrpIdentity = MrpIdentity(setup)
        self.quirks: MrpQuirks = MrpQuirks()
        self.allow_unpaired = True
        self.complaints: list[str] = []
        self.default_commands = {"com.apple.TVMusic": SYSTEM_COMMANDS}
        self._processes: dict[str, int] = {}
        self._numbers = 0  # of touch areas and microphones
        self._handlers: dict[int, Callable[[MrpPeer, Message], object]] = {
            proto.DEVICE_INFO: self._introduce,
            proto.CRYPTO_PAIRING: self._pair,
            proto.SET_CONNECTION_STATE: self._connection_state,
            proto.CLIENT_UPDATES_CONFIG: self._configure,
            proto.GET_KEYBOARD_SESSION: self._keyboard,
            proto.GENERIC: self._generic,
            proto.SEND_HID_EVENT: self._hid_event,
            proto.SEND_BUTTON_EVENT: self._button_event,
            proto.SEND_PACKED_VIRTUAL_TOUCH_EVENT: self._touch_event,
            proto.SEND_COMMAND: self._command,
            proto.PLAYBACK_QUEUE_REQUEST: self._queue,
            proto.SET_VOLUME: self._set_volume,
            proto.GET_VOLUME: self._get_volume,
            proto.MODIFY_OUTPUT_CONTEXT_REQUEST: self._outputs,
            proto.WAKE_DEVICE: self._wake,
            proto.TEXT_INPUT: self._text,
            proto.REGISTER_HID_DEVICE: self._register_hid,
            proto.REGISTER_VOICE_INPUT_DEVICE: self._register_voice,
        }

    # -- life ------------------------------------------------------------------------------------

    def restore_from(self, before: VirtualMrp) -> None:
        """Take over the settings of the one before a reboot."""
        self.quirks, self.identity, self.requests = before.quirks, before.identity, before.requests
        self.allow_unpaired = before.allow_unpaired
        self.default_commands, self.complaints = before.default_commands, before.complaints

    def _accepted(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.adopt(MrpPeer(sock, address, self))

    # -- what clients are told -------------------------------------------------------------------

    def notify_peers(self) -> None:
        """Tell every client what is new. Changes of the state do so by themselves."""
        for peer in self.peers:
            try:
                with peer.lock:
                    if peer.config is None or peer.told is None:
                        continue  # it does not listen yet
                    now = self._view()
                    news = now.news(peer.told, peer.config)
                    peer.told = now
                    # One is on its way before the next is made, unless all have to leave at once.
                    for messages in [[*news]] if self.quirks.coalesce else ([m] for m in news):
                        if messages:
                            peer.send(*messages)
            except AppleTVError as exc:
                log.debug("%s: %s", self.name, exc)  # it went away; its link has noticed

    def _view(self) -> DeviceView:
        return DeviceView(self._state, self.identity, self.quirks, self._processes)

    # -- what clients ask ------------------------------------------------------------------------

    def received(self, peer: MrpPeer, message: Message) -> None:
        """A message arrived."""
        name = proto.NAMES.get(message.kind) or str(message.kind)
        remember(self.requests, name[:REMEMBERED])
        if peer.info is None and message.kind != proto.DEVICE_INFO:
            self._state.notify()
            return  # who does not introduce himself is not answered
        fault = None
        if self._faults or message.kind == proto.CRYPTO_PAIRING:  # its words count anyway
            fault = self._faults.take(*self._words(peer, message), name)
        try:
            if fault is not None:
                self._state.notify()
                self._stopping.wait(fault.delay)
                if self._misbehave(peer, message, fault):
                    return
            if message.kind not in (proto.DEVICE_INFO, proto.CRYPTO_PAIRING) and not (
                self.allow_unpaired or peer.client is not None
            ):
                self._acknowledge(peer, message, commands.NOT_PAIRED)
                return
            handler = self._handlers.get(message.kind, self._not_known)
            if message.kind == proto.CRYPTO_PAIRING:
                handler(peer, message)  # which says itself what leaves before the keys are there
            else:
                with peer.at_once():
                    handler(peer, message)
        except AppleTVError as exc:
            log.debug("%s: %s", self.name, exc)  # the peer went away in the middle
        self._state.notify()

    def _words(self, peer: MrpPeer, message: Message) -> list[str]:
        """The words by which faults know a message."""
        kind, body = message.kind, message.body
        if kind == proto.SEND_COMMAND:
            return [COMMANDS.get(body.command, "command")]
        if kind in (proto.SEND_HID_EVENT, proto.SEND_BUTTON_EVENT):
            button, down = _button(message)
            return [button] if button and down else []  # once for both edges
        if kind == proto.CRYPTO_PAIRING:
            items = _items(body.pairingData)
            if items.get(STATE) == b"\1":
                peer.pairing = "pair" if METHOD in items else "verify"
            return [peer.pairing, f"{peer.pairing} M{items.get(STATE, bytes(1))[0]}"]
        return _WORDS.get(kind, [])

    def _misbehave(self, peer: MrpPeer, message: Message, fault: Fault) -> bool:
        if fault.status is not None:
            if message.kind == proto.SEND_COMMAND:
                self._result(peer, message, fault.status)
            elif message.kind == proto.CRYPTO_PAIRING:
                peer.send(build(proto.CRYPTO_PAIRING, status=fault.status))
            else:
                self._acknowledge(peer, message, fault.status)
        elif fault.garbage is not None:
            peer.send(fault.garbage)
        elif fault.drop:
            peer.link.close()
        elif not fault.silent:
            return False
        return True

    def _answer(self, peer: MrpPeer, *messages: Message) -> None:
        """Send answers, made as quirks as they have to be."""
        if self.quirks.missing_type:
            for message in messages:
                message.envelope.ClearField("type")
        peer.send(*messages)

    def _acknowledge(self, peer: MrpPeer, request: Message, error: int = 0) -> None:
        """The empty answer, to those who asked for one."""
        if not request.identifier:
            return
        if self.quirks.late_ack:
            self._stopping.wait(self.quirks.late_ack)
        message = build(proto.UNKNOWN, request.identifier)
        message.envelope.errorCode = error
        self._answer(peer, message)

    def _not_known(self, peer: MrpPeer, request: Message) -> None:
        """A message that does nothing here; real devices answer no type that they do not know."""
        if request.kind in proto.NAMES and request.kind <= self.identity.last_message:
            self._acknowledge(peer, request)
        else:
            self.complaints.append(f"type {request.kind}, which is not known")

    # -- handshake -------------------------------------------------------------------------------

    def _introduce(self, peer: MrpPeer, request: Message) -> None:
        view = self._view()
        with peer.lock:
            peer.info = request.body
            peer.told = peer.told or view
            self._answer(peer, view.device_info(proto.DEVICE_INFO, request.identifier))

    def _pair(self, peer: MrpPeer, request: Message) -> None:
        if self.quirks.refuse_verify and peer.pairing == "verify":
            refusal = build(proto.CRYPTO_PAIRING, status=UNKNOWN_CLIENT)
            refusal.envelope.ClearField("type")  # in the only recording of this, it has none
            peer.send(refusal)
            return
        if peer.pairing == "pair" and not self.identity.allows_pairing:
            reply = Reply(tlv8.encode([(STATE, b"\2"), (ERROR, bytes([UNAVAILABLE]))]))
        else:
            reply = peer.handshakes.answer(request.body.pairingData)
        answer = build(
            proto.CRYPTO_PAIRING, pairingData=bytes(reply), status=0, isRetrying=False,
            isUsingSystemPairing=False, state=0,
        )  # fmt: skip
        with peer.lock:  # nothing of another thread may go out between the last step and the keys
            self._answer(peer, answer)
            if reply.secret is not None:
                theirs, ours = channel_keys(reply.secret, self.protocol)
                peer.wire.secure(Session(ours, theirs))
                peer.client = reply.client

    def _connection_state(self, peer: MrpPeer, request: Message) -> None:
        peer.connection_state = request.body.state
        self._acknowledge(peer, request)

    def _configure(self, peer: MrpPeer, request: Message) -> None:
        with peer.lock:
            config, now, before = Config(request.body), self._view(), peer.told
            messages = now.burst(config, self.default_commands)
            if before is not None and now.hardware.info != before.hardware.info:
                messages.insert(0, now.device_info(proto.DEVICE_INFO_UPDATE))
            peer.config, peer.told = config, now
            peer.send(*messages)
        self._acknowledge(peer, request)

    def _keyboard(self, peer: MrpPeer, request: Message) -> None:
        self._answer(peer, self._view().keyboard(request.identifier))

    def _generic(self, peer: MrpPeer, request: Message) -> None:
        if not self.quirks.no_generic_ack:
            self._acknowledge(peer, request)

    # -- buttons ---------------------------------------------------------------------------------

    def _hid_event(self, peer: MrpPeer, request: Message) -> None:
        self._button_event(peer, request)
        if self.quirks.hid_ack:
            self._answer(peer, build(proto.UNKNOWN, request.identifier))

    def _button_event(self, peer: MrpPeer, request: Message) -> None:
        button, down = _button(request)
        if button is None:
            log.debug("%s: no such button: %r", self.name, request)
        elif down:
            peer.buttons.add(button)
            self._state.button_down(button)
        else:
            peer.buttons.discard(button)
            self._state.button_up(button)

    def _touch_event(self, peer: MrpPeer, request: Message) -> None:
        """A swipe is a button; a tap does nothing, one has to press for that."""
        try:
            x, y, phase, _, _ = hid.parse_touch(request.body.data)
        except ValueError as exc:
            log.debug("%s: %s", self.name, exc)
            return
        if phase == hid.BEGAN:
            peer.touch = x, y
        elif phase == hid.ENDED and peer.touch is not None:
            (from_x, from_y), peer.touch = peer.touch, None
            button = direction(x - from_x, y - from_y)
            if button is not None:
                self._state.press(button)
        elif phase == hid.CANCELLED:
            peer.touch = None

    def _register_hid(self, peer: MrpPeer, request: Message) -> None:
        fields = {"errorCode": 0, "deviceIdentifier": self._new_number()}
        self._answer(
            peer, build(proto.REGISTER_HID_DEVICE_RESULT, request.identifier, **fields)
        )  # fmt: skip

    def _register_voice(self, peer: MrpPeer, request: Message) -> None:
        kind, fields = proto.REGISTER_VOICE_INPUT_DEVICE_RESPONSE, {"errorCode": 0}
        number = self._new_number()
        self._answer(peer, build(kind, request.identifier, deviceID=number, **fields))

    def _new_number(self) -> int:
        with self._lock:
            self._numbers += 1
            return self._numbers

    # -- commands --------------------------------------------------------------------------------

    def _command(self, peer: MrpPeer, request: Message) -> None:
        self._result(peer, request, *self._carry_out(request.body))

    def _result(self, peer: MrpPeer, request: Message, error: int, status: int = 0) -> None:
        if request.identifier:
            kind, fields = proto.SEND_COMMAND_RESULT, {"handlerReturnStatus": status}
            self._answer(peer, build(kind, request.identifier, sendError=error, **fields))

    def _carry_out(self, body: Any) -> tuple[int, int]:
        """Do what a command says; returns the error, and what its handler says."""
        state, number, options = self._state, body.command, body.options
        word = COMMANDS.get(number)
        if word is None:
            return commands.NO_HANDLERS, 0
        app = body.playerPath.client.bundleIdentifier
        with state.lock:
            player = state.player
            if app and app != player.app.identifier:
                try:
                    player = state.find_player(app)
                except ValueError:
                    return commands.NO_APP, 0
            known, disabled = player.knows(word), word in player.disabled
        if player.item is None:
            return commands.NO_HANDLERS, commands.NOTHING_PLAYS
        if not known:
            return commands.NO_HANDLERS, 0
        if disabled:
            return commands.NO_HANDLERS, commands.HANDLER_FAILED
        if player is not state.player:
            state.activate(player)  # who is told to do something becomes the one that counts
        if word in ("skip_forward", "skip_backward"):
            far = (options.skipInterval,) if options.HasField("skipInterval") else ()
            if not all(map(math.isfinite, far)):
                return commands.INVALID_OPTIONS, 0
            (state.skip_forward if word == "skip_forward" else state.skip_backward)(*far)
        elif word in ("set_position", "set_rate"):
            field = "playbackPosition" if word == "set_position" else "playbackRate"
            value = getattr(options, field)
            if not options.HasField(field) or not math.isfinite(value):
                return commands.INVALID_OPTIONS, 0
            (state.set_position if word == "set_position" else state.set_rate)(value)
        elif word == "set_shuffle":
            following = {s: n % 3 + 1 for s, n in SHUFFLES.items()}[state.shuffle]
            wanted = options.shuffleMode if number == commands.SET_SHUFFLE else following
            shuffles: dict[int, ShuffleState] = {n: s for s, n in SHUFFLES.items()}
            if wanted not in shuffles:
                return commands.INVALID_OPTIONS, 0
            state.set_shuffle(shuffles[wanted])
        elif word == "set_repeat":
            following = {s: n % 3 + 1 for s, n in REPEATS.items()}[state.repeat]
            wanted = options.repeatMode if number == commands.SET_REPEAT else following
            repeats: dict[int, RepeatState] = {n: s for s, n in REPEATS.items()}
            if wanted not in repeats:
                return commands.INVALID_OPTIONS, 0
            state.set_repeat(repeats[wanted])
        elif number in QUEUE_COMMANDS:
            state.log_command(word)
        elif number in (commands.END_FAST_FORWARD, commands.END_REWIND):
            state.end_seeking()
        else:
            EFFECTS[word](state)
        return 0, 0

    # -- queue and artwork -----------------------------------------------------------------------

    def _queue(self, peer: MrpPeer, request: Message) -> None:
        """The current item with its artwork, or others: places count from the current one."""
        if request.body.location == 0 and request.body.length <= 1:
            self._artwork(peer, request)
            return
        asked, view, state = request.body, self._view(), self._state
        player = None if view.active is None else view.players[view.chosen[view.active]]
        fields: dict[str, Any] = {}
        if player is not None:
            sides = _pixels(asked.artworkWidth), _pixels(asked.artworkHeight)
            items = []
            for item in state.player.around(asked.location, asked.length or 1):
                content = {"identifier": item.identifier, "metadata": item_metadata(item)}
                if item is state.item:
                    content = player.content()
                items.append(
                    {**content, "artworkData": item.image(*sides)} if any(sides) else content
                )
            fields = {
                "playbackQueue": {"location": asked.location, "contentItems": items},
                "playerPath": player.path,
            }
        self._answer(peer, build(proto.SET_STATE, request.identifier, **fields))

    def _artwork(self, peer: MrpPeer, request: Message) -> None:
        quirks, asked = self.quirks, request.body
        view = self._view()
        player = None if view.active is None else view.players[view.chosen[view.active]]
        item = self._state.item
        data = b""
        if item is not None and not quirks.artwork_not_delivered:
            data = item.image(_pixels(asked.artworkWidth), _pixels(asked.artworkHeight))
        if player is None or player.item is None or not data:
            fields = {"playerPath": player.path} if player is not None else {}
            self._answer(peer, build(proto.SET_STATE, request.identifier, **fields))
            return
        image = Artwork(data)
        content = player.content()
        for name, side in (("Width", image.width), ("Height", image.height)):
            content[f"artworkData{name}"] = side if side is None or side < 1 << 31 else None
        large = quirks.artwork_limit is not None and len(data) >= quirks.artwork_limit
        if not large:
            content["artworkData"] = data
        queue = {
            "location": asked.location,
            "contentItems": [{k: v for k, v in content.items() if v is not None}],
            **({"requestId": asked.requestID} if asked.requestID else {}),
            **({"sendingPlaybackQueueTransaction": True} if large else {}),
        }
        answers = [
            build(proto.SET_STATE, request.identifier, playbackQueue=queue, playerPath=player.path)
        ]
        if large or not asked.returnContentItemAssetsInUserCompletion:
            answers += _transaction(player.path, player.item, data)
        self._answer(peer, *answers)

    # -- volume and outputs ----------------------------------------------------------------------

    def _set_volume(self, peer: MrpPeer, request: Message) -> None:
        state, level = self._state, request.body.volume
        output = request.body.outputDeviceUID
        if output in (self.identity.output, self.identity.identifier):
            output = ""
        known = not output or any(output == one.identifier for one in state.known_outputs)
        if 0.0 <= level <= 1.0 and state.volume_control and state.absolute_volume and known:
            state.set_volume(round(level * 100, 1), output or None)
        self._acknowledge(peer, request)

    def _get_volume(self, peer: MrpPeer, request: Message) -> None:
        if not self._state.tells_volume:
            return
        volumes = self._view().hardware.volumes
        uid = request.body.outputDeviceUID
        level = volumes.get(uid, volumes.get(self.identity.output, 0.0))
        self._answer(peer, build(proto.GET_VOLUME_RESULT, request.identifier, volume=level))

    def _outputs(self, peer: MrpPeer, request: Message) -> None:
        body, state = request.body, self._state
        own, identifier = self.identity.output, self.identity.identifier
        for plain, aware, change in (
            (body.addingDevices, body.clusterAwareAddingDevices, state.add_outputs),
            (body.removingDevices, body.clusterAwareRemovingDevices, state.remove_outputs),
            (body.settingDevices, body.clusterAwareSettingDevices, state.set_outputs),
        ):
            given = dict.fromkeys([*plain, *aware])
            if given:
                change(*(identifier if uid == own else uid for uid in given))
        self._acknowledge(peer, request)

    # -- the rest --------------------------------------------------------------------------------

    def _wake(self, peer: MrpPeer, request: Message) -> None:
        self._state.wake()
        self._acknowledge(peer, request)

    def _text(self, peer: MrpPeer, request: Message) -> None:
        state, body = self._state, request.body
        if body.actionType == commands.TEXT_INSERT:
            state.text_append(body.text)
        elif body.actionType == commands.TEXT_SET:
            state.text_set(body.text)
        elif body.actionType == commands.TEXT_DELETE:
            state.text_delete()
        elif body.actionType == commands.TEXT_CLEAR:
            state.text_clear()
        self._acknowledge(peer, request)


class MrpPeer(StreamPeer):
    """A client that is connected.

    Args:
        sock: The connection.
        address: Where from.
        owner: Serves it.
        wire: What it speaks; None is plain MRP.
        client: Its identifier if it is verified already.
        one_byte_writes: Tells whether to write single bytes.
        options: For the link.

    Attributes:
        wire: What it speaks.
        info: Its DEVICE_INFO, or None before that.
        config: What it wants to hear; None until it says so.
        told: What it knows.
        pairing: ``"pair"`` or ``"verify"``: the handshake that it began last.
        connection_state: What it said with SET_CONNECTION_STATE.
        touch: Where its finger came down.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        owner: VirtualMrp,
        wire: MrpWire | HapWire | None = None,
        client: bytes | None = None,
        one_byte_writes: Callable[[], bool] = lambda: False,
        **options: Any,
    ) -> None:
        self.info: Any = None
        self.config: Config | None = None
        self.told: DeviceView | None = None
        self.pairing = "pair"
        self.connection_state = 0
        self.touch: tuple[int, int] | None = None
        self._quirks = quirks = owner.quirks
        self.wire = wire or _DeviceWire(dumper(quirks), proto.parse, proto.key)
        super().__init__(
            sock, address, owner, self.wire, client,
            lambda: quirks.one_byte_writes or one_byte_writes(),
            prepare=self.wire.prepare, **options,
        )  # fmt: skip

    def send(self, *messages: Message | bytes) -> None:
        """Send messages, or bytes that are none."""
        if self._quirks.unknown_messages:
            messages = (build(111), build(200, proto.new_id()), *messages)
        super().send(*messages)

    def _send(self, messages: tuple[Any, ...]) -> None:
        if self._quirks.coalesce:
            self.link.send(list(messages))
        else:
            super()._send(messages)


class _DeviceWire(MrpWire):
    """Also takes several messages at once, and bytes as they are."""

    def encode(self, message: Any) -> bytes:
        if isinstance(message, list):
            return b"".join(map(self.encode, message))
        return message if isinstance(message, bytes) else super().encode(message)


def _button(message: Message) -> tuple[str | None, bool]:
    """The button that an event is about, and whether it goes down; None if there is none."""
    body = message.body
    if message.kind == proto.SEND_BUTTON_EVENT:
        return hid.BUTTON.get((body.usagePage, body.usage)), body.buttonDown
    try:
        page, usage, down = hid.parse_event(body.hidEventData)
    except ValueError:
        return None, False
    return hid.BUTTON.get((page, usage)), down


def _items(data: bytes) -> dict[int, bytes]:
    try:
        return dict(tlv8.decode(data))
    except ValueError:
        return {}


def _pixels(side: float) -> int:
    """A side of a picture that was asked for; 0 for any."""
    return int(side) if math.isfinite(side) and side >= 1 else 0


def _transaction(path: dict[str, Any], item: str, data: bytes) -> list[Message]:
    """An image in packets of 64 KiB."""
    size, messages = 65536, []
    for start in range(0, len(data), size):
        packet = {
            "key": {"identifier": item},
            "packetData": data[start : start + size],
            "totalLength": len(data),
            "totalWritePosition": start,
        }
        packets = {"packets": [packet]}
        messages.append(build(proto.TRANSACTION, name=1, packets=packets, playerPath=path))
    return messages
