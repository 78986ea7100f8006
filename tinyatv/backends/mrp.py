"""The client side of MRP, the Media Remote Protocol: direct up to tvOS 14, then through AirPlay.

The device pushes what is playing, so that is known without asking. Buttons are HID events, which
systems after tvOS 13 do not acknowledge: an empty request follows each press, and its answer says
that the press was seen.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable

from .. import proto
from ..addresses import reached
from ..deadline import Deadline
from ..errors import (
    PAIR_FIRST,
    AppleTVError,
    CommandFailed,
    CommandTimeout,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    ProtocolError,
)
from ..events import (
    KeyboardChanged,
    OutputDevicesChanged,
    PlayingChanged,
    PowerChanged,
    VolumeChanged,
)
from ..identity import Introduction, check
from ..link import Link, cause_of, keep_alive, lost, open_socket
from ..model import (
    Artwork,
    DeviceState,
    FeatureState,
    KeyboardFocus,
    OutputDevice,
    Playing,
    PowerState,
    RepeatState,
    ShuffleState,
    is_image,
)
from ..proto import commands
from ..threads import NESTED
from ..wire import hid
from ..wire.mrp import OPEN_LIMIT, MrpWire
from . import Backend
from . import mrp_state as state
from .mrp_volume import ROUNDING, Levels

if TYPE_CHECKING:
    from ..events import Event
    from ..model import Device, Service
    from ..wire.hap import HapWire
    from .airplay_tunnel import Tunnel

log = logging.getLogger(__name__)

HEARTBEAT = 30.0  # s without a message from the device until it is asked whether it is there
HEARTBEAT_EVERY = 4.5  # s, at most, from one question to the next: 39 s in all
MAX_MISSED = 2  # unanswered ones until it is given up; a single late answer can be harmless
GOODBYE = 1.0  # s, at most, that a button takes to come up after an error
VOLUME_STEP = 5.0  # percent; for outputs that only know absolute levels (HomePods)
MUTES = 137  # lastSupportedMessageType of tvOS 18.4; the mute key is known to work since 17.5
LEVEL_TIMEOUT = 2.0  # s for an answer to GET_VOLUME, which not all systems give
SKIP = 15.0  # s; where the app names no step of its own
ARTWORK_TIMEOUT = 25.0  # s; the device renders large images first

SEND_ERRORS = {
    commands.NO_APP: "the app was not found",
    commands.NO_CONNECTION: "no connection to the app",
    commands.IGNORED: "ignored",
    commands.CANNOT_START: "the app cannot be started",
    commands.NO_ANSWER: "the app did not answer",
    commands.NO_ORIGIN: "the device does not know its origin",
    commands.INVALID_OPTIONS: "wrong options",
    commands.NO_HANDLERS: "what is playing cannot do this now",
    commands.NOT_INSTALLED: "the app is not installed",
    commands.NOT_SUPPORTED: "not supported",
}
PAIRING_ERRORS = {  # errorCode of a message
    107: "the device is locked: unlock it first",
    commands.NOT_PAIRED: "the device does not know this client: pair again",
    111: "the PIN was dismissed on the TV: start again",
    112: "the PIN was on screen for too long: start again",
    114: "the device has blocked this client: allow this remote in its settings",
}
DEVICE_INFO: dict[str, Any] = {  # our introduction: that of an iPhone's remote, iOS 14.7.1
    "name": "tinyatv",
    "localizedModelName": "iPhone",
    "systemBuildVersion": "18G82",
    "applicationBundleIdentifier": "com.apple.TVRemote",
    "applicationBundleVersion": "344.28",
    "protocolVersion": 1,
    "lastSupportedMessageType": 137,
    "supportsSystemPairing": True,
    "allowsPairing": True,
    "systemMediaApplication": "com.apple.TVMusic",
    "supportsACL": True,
    "supportsSharedQueue": True,
    "supportsExtendedMotion": True,
    "sharedQueueVersion": 2,
    "deviceClass": 1,
    "logicalDeviceCount": 1,
}
UPDATES: dict[str, Any] = {
    "artworkUpdates": True,
    "nowPlayingUpdates": False,  # SET_STATE comes all the same
    "volumeUpdates": True,
    "keyboardUpdates": True,
    "outputDeviceUpdates": True,
}

ALWAYS = (
    "up", "down", "left", "right", "select", "menu", "top_menu", "home", "suspend", "wakeup",
    "turn_on", "turn_off", "power_state", "output_devices", "add_output_devices",
    "remove_output_devices", "set_output_devices", "playing", "push_updates", "text_focus",
)  # fmt: skip
COMMANDS = {  # feature: command that must be enabled
    "play": commands.PLAY,
    "pause": commands.PAUSE,
    "stop": commands.STOP,
    "next": commands.NEXT,
    "previous": commands.PREVIOUS,
    "skip_forward": commands.SKIP_FORWARD,
    "skip_backward": commands.SKIP_BACKWARD,
    "set_position": commands.SET_POSITION,
    "set_repeat": commands.SET_REPEAT,
    "repeat": commands.SET_REPEAT,
    "set_shuffle": commands.SET_SHUFFLE,
    "shuffle": commands.SET_SHUFFLE,
    "begin_fast_forward": commands.BEGIN_FAST_FORWARD,
    "end_fast_forward": commands.BEGIN_FAST_FORWARD,
    "begin_rewind": commands.BEGIN_REWIND,
    "end_rewind": commands.BEGIN_REWIND,
}


class MrpBackend(Backend):
    """One device over MRP; arguments as in :class:`~tinyatv.backends.Backend`.

    Without a tunnel, which verifies and encrypts, it connects directly; without credentials nothing
    is encrypted then.
    """

    protocol = "mrp"

    def __init__(
        self,
        device: Device,
        service: Service,
        *,
        timeout: float,
        post: Callable[[Event], None],
        lost: Callable[[AppleTVError], None],
        tunnel: Tunnel | None = None,
    ) -> None:
        from ..pairing.credentials import Credentials, parse

        self._device = device
        self.address = device.address
        self._addresses = device.addresses
        self._port = service.port
        self._tunnel = tunnel
        self._credentials = Credentials()
        if tunnel is None:
            self._credentials = parse(service.credentials or None).checked()
        self._timeout = timeout
        self._post = post
        self._lost = lost
        self._link: Link | None = None
        self._closing = threading.Event()
        # These locks may be taken twice: by a thread, and by a signal handler that interrupts it.
        self._pressing = threading.RLock()  # over the messages of a button, too
        self._held = False
        self._turning = threading.RLock()  # over steps that add up; held for a write
        self._edges: dict[tuple[str, bool], proto.Message] = {}
        self._listening = False
        self._lock = threading.RLock()  # over everything below
        self._players = state.Players()
        self._shown: Playing | None = None  # what was posted last
        self._info: Any = None  # the latest DEVICE_INFO
        self._told_power = PowerState.Unknown
        self._own_uid = ""  # us as an output device; of the first DEVICE_INFO
        self._levels = Levels()
        self._capabilities: int | None = None  # how the volume can be changed; None if not told
        self._tells = True  # False once the device has not answered GET_VOLUME
        self._muted = 0.0  # the volume before mute()
        self._focus = KeyboardFocus.Unknown
        self._told_at = {"power_state": 0.0, "text_focus": 0.0, "volume": 0.0}
        self._expecting: list[tuple[Callable[[proto.Message], bool], queue.SimpleQueue[Any]]] = []

    # -- life ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Introduce ourselves, verify each other, learn what is playing.

        Raises:
            ConnectionFailed: The device cannot be reached.
            CommandTimeout: It takes the connection and does not answer.
            CredentialsError: It does not accept the credentials.
            ProtocolError: It answers with nonsense.
        """
        wire: MrpWire | HapWire
        if self._tunnel is not None:
            sock, wire = self._tunnel.open(self._tunnel_lost)
            self.address = self._tunnel.address
        else:
            sock = open_socket(self._addresses, self._port, self._timeout, self.protocol)
            self.address = reached(sock, self._addresses)
            wire = MrpWire(proto.dumps, proto.parse, proto.key)
        keep_alive(sock)
        link = self._link = Link(
            sock, wire, self._received, lost=self._ended, timeout=self._timeout,
            name=f"tinyatv-mrp-{self.address}", label=self._label, prepare=wire.prepare,
            idle=self._idle,
            idle_after=HEARTBEAT,  # in a tunnel, too: its own is about another connection
            idle_every=min(HEARTBEAT_EVERY, self._timeout),
        )  # fmt: skip
        try:
            self._introduce(link, wire)
        except CommandTimeout as exc:
            self.close()
            paired = self._tunnel is not None or self._credentials.kind == "hap"
            if not paired and self._info is not None:
                raise CredentialsError(
                    f"{self._where} does not answer a remote that is not paired: {PAIR_FIRST}"
                ) from exc
            raise
        except ConnectionLost as exc:  # it broke before anything was up
            self.close()
            cause = cause_of(exc, self._label)
            raise ConnectionFailed(f"{self._where} hung up while connecting: {cause}") from exc
        except BaseException:
            self.close()
            raise
        log.info("connected to %s", self._where)

    def _introduce(self, link: Link, wire: MrpWire | HapWire) -> None:
        """The start of every connection; until it is secured, on the caller's thread.

        A device answers nothing before DEVICE_INFO.
        """
        who = self._credentials.client_id.decode("utf-8", "replace") or proto.new_id()
        answer = self._ask("DEVICE_INFO", proto.DEVICE_INFO, uniqueIdentifier=who, **DEVICE_INFO)
        if answer.body is None or answer.kind != proto.DEVICE_INFO:
            raise ProtocolError(f"{self._where} does not introduce itself (mrp)")
        self.introduction = introduction(answer)
        if isinstance(wire, MrpWire):
            if self._credentials.kind == "hap":
                secure(link, wire, self._credentials)
            else:
                wire.limit = OPEN_LIMIT
        self._recognize(self.introduction)
        with self._lock:
            self._take_info(answer.body)
            self._own_uid = (
                proto.text(answer.body, "clusterID") or proto.text(answer.body, "deviceUID") or ""
            )
        link.start()
        connected = proto.build(proto.SET_CONNECTION_STATE, state=2)
        # Its answer comes after the state of all players: from here on, what is playing is known.
        self._ask(
            "CLIENT_UPDATES_CONFIG", proto.CLIENT_UPDATES_CONFIG, after=[connected], **UPDATES
        )
        keyboard = self._ask("GET_KEYBOARD_SESSION", proto.GET_KEYBOARD_SESSION)
        if keyboard.kind == proto.KEYBOARD:
            self._received(keyboard)

    def _recognize(self, told: Introduction) -> None:
        """Make sure that it is the device that is meant, unless its key has proven that.

        Raises:
            WrongDevice: It is another one.
        """
        tunnel = self._tunnel
        if self._credentials.kind == "hap" if tunnel is None else tunnel.proven:
            return
        if not check(self._device, told, self._where) and tunnel is not None:
            check(self._device, tunnel.introduction(), self._where)

    def close(self, error: AppleTVError | None = None) -> None:
        """Close the connection and join the reader."""
        self._closing.set()
        if self._link is not None:
            self._link.close()
        if self._tunnel is not None:
            self._tunnel.close()

    def _tunnel_lost(self, error: AppleTVError) -> None:
        if self._link is not None:
            self._link.fail(error)

    def told_at(self, command: str) -> float:
        """When the device told what a question returns; see the contract."""
        return self._told_at.get(command, float("inf"))

    def subscribe(self) -> None:
        """Start posting what changes; what is playing now comes first."""
        with self._lock:
            self._listening, self._shown = True, None
            self._show()

    def unsubscribe(self) -> None:
        """Stop posting."""
        self._listening = False

    @property
    def _where(self) -> str:
        return f"{self.address} port {self._port} (mrp)"

    @property
    def _label(self) -> str:
        return f"{self.address} (mrp)"

    def _ended_error(self) -> ConnectionLost:
        return lost(self._label, None if self._link is None else self._link.error)

    def _ended(self, error: AppleTVError | None) -> None:
        """The link is gone: wake all threads that wait for a message."""
        self._closing.set()
        with self._lock:
            waiting = [found for _, found in self._expecting]
        for found in waiting:
            found.put(None)
        if error is not None:
            self._lost(lost(self._label, error))

    def _idle(self, times: int) -> None:
        """No message came for long: send a heartbeat, and give up after two unanswered ones."""
        if times > MAX_MISSED:
            raise ConnectionLost(f"{self._label}: it does not answer any more")
        assert self._link is not None, "there is a link, for it calls us"
        self._link.send(proto.build(proto.GENERIC, True))

    # -- requests --------------------------------------------------------------------------------

    def _open(self) -> Link:
        if self._link is None:
            raise ConnectionLost(f"{self._where}: not connected")
        return self._link

    def _ask(
        self, command: str, kind: int, /, *, after: Sequence[proto.Message] = (), **fields: Any
    ) -> proto.Message:
        """Send a request and return the answer.

        Args:
            command: For the words of an error.
            kind: Of the request.
            after: Messages that are sent before it and have no answer.
            **fields: Of the request.
        """
        link = self._link or self._open()
        try:
            answer: proto.Message = link.request(proto.build(kind, True, **fields), after=after)
        except CommandTimeout as exc:
            raise CommandTimeout(f"no reply to {command} within {self._timeout:g} s (mrp)") from exc
        if answer.envelope.errorCode:
            code = answer.envelope.errorCode
            raise CommandFailed(f"{command}: refused with error {code} (mrp)", command, code)
        return answer

    def _control(self, word: str, number: int, **options: Any) -> None:
        """Send a media command and check its result."""
        fields: dict[str, Any] = {"command": number}
        if options:
            fields["options"] = options
        answer = self._ask(word, proto.SEND_COMMAND, **fields)
        code = answer.body.sendError if answer.kind == proto.SEND_COMMAND_RESULT else 0
        if code:
            status = answer.body.handlerReturnStatus
            text = SEND_ERRORS.get(code, f"error {code}") + (f", status {status}" if status else "")
            raise CommandFailed(f"{word}: {text} (mrp)", word, code)

    @contextlib.contextmanager
    def _expect(self, wanted: Callable[[proto.Message], bool]) -> Iterator[Callable[..., Any]]:
        """Wait for a message that is no reply; the waiting begins before anything is sent::

        with self._expect(is_it) as wait:
            link.send(...)
            message = wait("set_volume")
        """
        found: queue.SimpleQueue[Any] = queue.SimpleQueue()
        entry = (wanted, found)
        with self._lock:
            self._expecting.append(entry)

        def wait(command: str, timeout: float | None = None) -> Any:
            deadline = Deadline(self._timeout if timeout is None else timeout)
            try:
                message = found.get(timeout=deadline.wait())
            except queue.Empty:
                raise CommandTimeout(
                    f"{command}: the device did not confirm it within {deadline.seconds:g} s (mrp)"
                ) from None
            if message is None:
                raise self._ended_error()
            return message

        try:
            if self._closing.is_set():
                raise self._ended_error()
            yield wait
        finally:
            with self._lock:
                self._expecting.remove(entry)

    # -- what the device says --------------------------------------------------------------------

    def _received(self, message: proto.Message) -> None:
        """Take in a message that is no reply; on the reader thread."""
        kind, body = message.kind, message.body
        events: list[Event] = []
        with self._lock:
            if self._players.handle(message):
                if self._listening:
                    self._show()
            elif kind in (proto.DEVICE_INFO_UPDATE, proto.DEVICE_INFO):
                events = self._set_info(body)
            elif kind == proto.VOLUME_DID_CHANGE:
                events = self._set_level(body)
            elif kind == proto.GET_VOLUME_RESULT:
                self._tells = True
            elif kind == proto.VOLUME_CONTROL_AVAILABILITY:
                self._set_capabilities(body)
            elif kind == proto.VOLUME_CONTROL_CAPABILITIES_DID_CHANGE:
                if proto.text(body, "outputDeviceUID") in (None, "", self._own_uid):
                    self._set_capabilities(body.capabilities)
            elif kind == proto.KEYBOARD:
                events = self._set_focus(body)
            for wanted, found in self._expecting:
                if wanted(message):
                    found.put(message)
        if self._listening:
            for event in events:
                self._post(event)

    def _show(self) -> None:
        """Post what is playing, if that is something else now.

        The lock is held, so that they come in order; posting only puts them into a queue.
        """
        playing = self._playing()
        shown = self._shown
        if shown is None or playing != shown or playing.jumped(shown):
            self._shown = playing
            self._post(PlayingChanged(playing))

    def _set_info(self, info: Any) -> list[Event]:
        before = (self._power(), self._outputs())
        self._take_info(info)
        events: list[Event] = []
        if self._power() is not before[0]:
            events.append(PowerChanged(self._power()))
        if self._outputs() != before[1]:
            events.append(OutputDevicesChanged(self._outputs()))
        return events

    def _take_info(self, info: Any) -> None:
        self._info = info
        if info.HasField("logicalDeviceCount"):
            self._told_power = PowerState.On if info.logicalDeviceCount else PowerState.Off
            self._told_at["power_state"] = time.monotonic()

    def _set_level(self, body: Any) -> list[Event]:
        uid = proto.text(body, "outputDeviceUID") or self._own_uid
        return self._note_level(uid, _percent(body)) if body.HasField("volume") else []

    def _note_level(self, uid: str, level: float) -> list[Event]:
        before = self._levels.tell(uid, level)
        if uid == self._own_uid:
            self._told_at["volume"] = time.monotonic()
        if level == before:
            return []
        return [VolumeChanged(level, None if uid == self._own_uid else uid, before)]

    def _set_capabilities(self, body: Any) -> None:
        # Some devices report control without saying of which kind: then the volume keys work.
        bits = body.volumeCapabilities if body.HasField("volumeCapabilities") else commands.RELATIVE
        self._capabilities = bits if body.volumeControlAvailable else 0
        if not self._capabilities & commands.ABSOLUTE:
            self._levels.forget(self._own_uid)  # those of the output that was there before

    def _set_focus(self, body: Any) -> list[Event]:
        editing = body.state in (2, 3, 4)  # began, goes on, changed
        focus = KeyboardFocus.Focused if editing else KeyboardFocus.Unfocused
        self._told_at["text_focus"] = time.monotonic()
        if focus is self._focus:
            return []
        self._focus = focus
        return [KeyboardChanged(focus)]

    # -- buttons ---------------------------------------------------------------------------------

    def up(self, hold: float, presses: int) -> None:
        self._press("up", hold, presses)

    def down(self, hold: float, presses: int) -> None:
        self._press("down", hold, presses)

    def left(self, hold: float, presses: int) -> None:
        self._press("left", hold, presses)

    def right(self, hold: float, presses: int) -> None:
        self._press("right", hold, presses)

    def select(self, hold: float, presses: int) -> None:
        self._press("select", hold, presses)

    def menu(self, hold: float, presses: int) -> None:
        self._press("menu", hold, presses)

    def home(self, hold: float, presses: int) -> None:
        self._press("home", hold, presses)

    def top_menu(self) -> None:
        self._press("top_menu")

    def suspend(self) -> None:
        self._press("suspend")

    def wakeup(self) -> None:
        self._press("wakeup")

    def _press(self, button: str, hold: float = 0.0, presses: int = 1) -> None:
        """Press a button; presses of two threads must not mix."""
        if not self._pressing.acquire(timeout=self._timeout):
            raise CommandTimeout(f"{button}: another button is still down (mrp)")
        try:
            if self._held:
                raise AppleTVError(f"{button}: {NESTED} (mrp)")
            try:
                self._held = True
                for _ in range(presses):
                    if hold:
                        self._keep_down(button, hold)
                    else:
                        self._tap(button)
            finally:
                self._held = False
        finally:
            self._pressing.release()

    def _tap(self, button: str) -> None:
        """Down and up in one write.

        Without the request behind them, presses got lost when the next one, or the close, came too
        early.
        """
        edges = [self._edge(button, True), self._edge(button, False)]
        self._ask(button, proto.GENERIC, after=edges)

    def _keep_down(self, button: str, seconds: float) -> None:
        """Hold a button. Whatever goes wrong, Ctrl-C included, it comes up again."""
        link = self._open()
        try:
            link.send(self._edge(button, True))
            if self._closing.wait(seconds):
                raise self._ended_error()
            self._ask(button, proto.GENERIC, after=[self._edge(button, False)])
        except BaseException:
            self._let_go(link, button)
            raise

    def _let_go(self, link: Link, button: str) -> None:
        """A button comes up; if that cannot be said, it does so at the end of the connection."""
        up = self._edge(button, False)
        try:
            link.request(proto.build(proto.GENERIC, True), min(GOODBYE, self._timeout), after=[up])
        except AppleTVError as exc:
            log.info("%s: %s", button, exc)
        except BaseException:
            link.fail(ConnectionLost(f"{button}: interrupted while it was down"))
            raise

    def _edge(self, button: str, down: bool) -> proto.Message:
        """A button goes down, or up; made once."""
        message = self._edges.get((button, down))
        if message is None:
            event = hid.event(*hid.USAGE[button], down)
            message = proto.build(proto.SEND_HID_EVENT, hidEventData=event)
            self._edges[button, down] = message
        else:
            message.renew()
        return message

    # -- playback --------------------------------------------------------------------------------

    def play(self) -> None:
        self._control("play", commands.PLAY)

    def pause(self) -> None:
        self._control("pause", commands.PAUSE)

    def play_pause(self) -> None:
        """Some apps only offer what would change something: play while paused, and so on."""
        number = commands.PLAY_PAUSE
        with self._lock:
            players = self._players
            if players.listed and not players.enabled(commands.PLAY_PAUSE):
                still = players.state() in (
                    DeviceState.Paused,
                    DeviceState.Stopped,
                    DeviceState.Idle,
                )
                number = commands.PLAY if still else commands.PAUSE
        self._control("play_pause", number)

    def stop(self) -> None:
        self._control("stop", commands.STOP)

    def next(self) -> None:
        self._control("next", commands.NEXT)

    def previous(self) -> None:
        self._control("previous", commands.PREVIOUS)

    def begin_fast_forward(self) -> None:
        self._control("begin_fast_forward", commands.BEGIN_FAST_FORWARD)

    def end_fast_forward(self) -> None:
        self._control("end_fast_forward", commands.END_FAST_FORWARD)

    def begin_rewind(self) -> None:
        self._control("begin_rewind", commands.BEGIN_REWIND)

    def end_rewind(self) -> None:
        self._control("end_rewind", commands.END_REWIND)

    def skip_forward(self, seconds: float) -> None:
        self._skip("skip_forward", commands.SKIP_FORWARD, seconds)

    def skip_backward(self, seconds: float) -> None:
        self._skip("skip_backward", commands.SKIP_BACKWARD, seconds)

    def _skip(self, word: str, number: int, seconds: float) -> None:
        step = float(int(seconds))  # whole seconds, as all remotes send them
        if not step:
            with self._lock:
                info = self._players.command(number)
            step = next(iter(info.preferredIntervals), SKIP) if info is not None else SKIP
        self._control(word, number, skipInterval=step)

    def set_position(self, seconds: float) -> None:
        self._control("set_position", commands.SET_POSITION, playbackPosition=seconds)

    def set_shuffle(self, shuffle: ShuffleState) -> None:
        mode = state.SHUFFLE_MODE[shuffle]
        self._control("set_shuffle", commands.SET_SHUFFLE, sendOptions=0, shuffleMode=mode)

    def set_repeat(self, repeat: RepeatState) -> None:
        mode = state.REPEAT_MODE[repeat]
        self._control("set_repeat", commands.SET_REPEAT, sendOptions=0, repeatMode=mode)

    # -- volume ----------------------------------------------------------------------------------

    def volume_up(self) -> None:
        self._step("volume_up", VOLUME_STEP)

    def volume_down(self) -> None:
        self._step("volume_down", -VOLUME_STEP)

    def _step(self, word: str, by: float) -> None:
        """One step up or down, by whatever the output understands.

        Done when the device has seen it. Not all outputs tell the new level, so neither the caller
        waits for that nor, since no other button needs to be up, any other press.
        """
        with self._lock:
            capabilities, uid = self._capabilities, self._own_uid
        if capabilities == 0:
            raise NotSupported(f"{word}: the output has a fixed volume (mrp)")
        if capabilities is not None and not capabilities & commands.RELATIVE:
            level = self._expected(uid)  # HomePods ignore the volume keys
            if level is not None:
                self._turn(word, uid, level, by)
                return
        self._key(word, uid)

    def _key(self, word: str, uid: str) -> None:
        """Press a volume key: one write, so that it mixes with no other button."""
        with self._lock:
            self._levels.press(uid)
        edges = []
        for down in (True, False):  # made anew: another thread may be sending the same ones
            event = hid.event(*hid.USAGE[word], down)
            edges.append(proto.build(proto.SEND_HID_EVENT, hidEventData=event))
        self._ask(word, proto.GENERIC, after=edges)

    def _turn(self, word: str, uid: str, level: float, by: float) -> None:
        """Set a level that is one step away from `level`, or from what others have set since."""
        with self._turning:  # they are sent in the order in which they are worked out
            with self._lock:
                now = self._levels.expected(uid)
            level = (level if now is None else now) + by
            self._send_level(uid, max(0.0, min(100.0, level)))
        self._ask(word, proto.GENERIC)

    def _send_level(self, uid: str, level: float) -> None:
        with self._lock:
            self._levels.want(uid, level)
        self._open().send(proto.build(proto.SET_VOLUME, volume=level / 100, outputDeviceUID=uid))

    def _expected(self, uid: str) -> float | None:
        """What the level of an output should be now; asked for if that is not clear."""
        with self._lock:
            level = self._levels.expected(uid)
        if level is None:
            level = self._ask_level(uid)
        if level is None:
            with self._lock:
                level = self._levels.guess(uid)
        return level

    def _ask_level(self, uid: str) -> float | None:
        """Ask how loud an output is; None if the device does not say.

        GET_VOLUME may be answered with VOLUME_DID_CHANGE, or not at all: then it is asked once.
        """
        if not self._tells:
            return None
        question = proto.build(proto.GET_VOLUME, True, outputDeviceUID=uid)

        def is_it(message: proto.Message) -> bool:
            if message.kind == proto.VOLUME_DID_CHANGE and message.body.HasField("volume"):
                return (proto.text(message.body, "outputDeviceUID") or self._own_uid) == uid
            return message.identifier == question.identifier

        with self._expect(is_it) as wait:
            self._open().send(question)
            try:
                answer = wait("volume", min(LEVEL_TIMEOUT, self._timeout))
            except CommandTimeout as exc:
                log.info("%s", exc)
                self._tells = False
                return None
        if answer.kind == proto.VOLUME_DID_CHANGE:
            return _percent(answer.body)
        if answer.kind != proto.GET_VOLUME_RESULT or not answer.body.HasField("volume"):
            return None
        level = _percent(answer.body)
        with self._lock:
            first = uid not in self._levels.told
            events = self._note_level(uid, level)
        for event in events if self._listening and not first else ():
            self._post(event)
        return level

    def volume(self, output_device: str | None = None) -> float:
        with self._lock:
            uid = output_device or self._own_uid
            level = self._levels.fresh(uid)
            absolute = self._has_levels
        if output_device is None and not absolute:
            raise NotSupported("volume: the output only knows volume_up and volume_down (mrp)")
        if level is None:
            level = self._ask_level(uid)
        if level is None:
            with self._lock:
                level = self._levels.told.get(uid)
        if level is None:
            raise CommandFailed(f"volume: {uid} does not report it (mrp)", "volume")
        return level

    @property
    def _has_levels(self) -> bool:
        """False if the device has told that its output has none."""
        return self._capabilities is None or bool(self._capabilities & commands.ABSOLUTE)

    def set_volume(self, level: float, output_device: str | None = None) -> None:
        with self._lock:
            absolute, uid = self._has_levels, output_device or self._own_uid
        if output_device is None and not absolute:
            raise NotSupported("set_volume: the output only knows volume_up and volume_down (mrp)")
        self._set_volume("set_volume", level, uid)

    def mute(self) -> None:
        with self._lock:
            capabilities, uid = self._capabilities, self._own_uid
        if capabilities == 0:
            raise NotSupported("mute: the output has a fixed volume (mrp)")
        if (
            capabilities is None
            or not capabilities & commands.ABSOLUTE
            or (capabilities & commands.RELATIVE and self._info.lastSupportedMessageType >= MUTES)
        ):
            self._key("mute", uid)  # the device knows by itself whether it is mute
            return
        level = self._expected(uid)
        if level is None:
            raise CommandFailed("mute: the device does not tell how loud it is (mrp)", "mute")
        if not level and not self._muted:
            raise CommandFailed(
                "mute: it is at 0 %, and how loud it was before is not known: set_volume (mrp)",
                "mute",
            )
        if level:
            self._muted = level
        with self._turning:
            self._send_level(uid, 0.0 if level else self._muted)
        self._ask("mute", proto.GENERIC)

    def _set_volume(self, word: str, level: float, uid: str) -> None:
        """Set a volume, and wait until the device says that it has changed."""
        with self._lock:
            known = self._levels.fresh(uid)
        # One that was on its way already does not count; devices round to steps of their own.
        with self._expect(_level_of(uid, lambda now: abs(now - level) <= ROUNDING)) as wait:
            self._send_level(uid, level)
            if known is None or abs(known - level) >= 0.05:  # no change, no report
                wait(word)

    # -- output devices --------------------------------------------------------------------------

    def output_devices(self) -> list[OutputDevice]:
        with self._lock:
            return self._outputs()

    def _outputs(self) -> list[OutputDevice]:
        info = self._info
        found = []
        if info.isGroupLeader and not info.isProxyGroupPlayer:
            found.append(
                OutputDevice(
                    proto.text(info, "name") or "", proto.text(info, "uniqueIdentifier") or ""
                )
            )
        for one in info.groupedDevices:
            found.append(
                OutputDevice(proto.text(one, "name") or "", proto.text(one, "deviceUID") or "")
            )
        return found

    def add_output_devices(self, *identifiers: str) -> None:
        now = self._output_ids()
        self._modify_outputs("add_output_devices", "Adding", identifiers, now | {*identifiers})

    def remove_output_devices(self, *identifiers: str) -> None:
        now = self._output_ids()
        self._modify_outputs("remove_output_devices", "Removing", identifiers, now - {*identifiers})

    def set_output_devices(self, *identifiers: str) -> None:
        self._modify_outputs("set_output_devices", "Setting", identifiers, {*identifiers})

    def _output_ids(self) -> set[str]:
        return {one.identifier for one in self.output_devices()}

    def _modify_outputs(
        self, word: str, how: str, identifiers: tuple[str, ...], wanted: set[str]
    ) -> None:
        if wanted == self._output_ids():
            return  # no change, no DEVICE_INFO_UPDATE to wait for
        fields: dict[str, Any] = {
            f"{how.lower()}Devices": list(identifiers),
            f"clusterAware{how}Devices": list(identifiers),
        }
        message = proto.build(proto.MODIFY_OUTPUT_CONTEXT_REQUEST, type=1, **fields)
        with self._expect(lambda m: m.kind == proto.DEVICE_INFO_UPDATE) as wait:
            self._open().send(message)
            wait(word)

    # -- power -----------------------------------------------------------------------------------

    def power_state(self) -> PowerState:
        with self._lock:
            return self._power()

    def _power(self) -> PowerState:
        """As it was told last: a message without the count says nothing about it."""
        return self._told_power

    def turn_on(self) -> None:
        self._open().send(proto.build(proto.WAKE_DEVICE))

    def turn_off(self) -> None:
        """Home held down opens the control centre, and select presses its default item, Sleep.

        Reported to work up to tvOS 17: on tvOS 18 the item has the focus but is not pressed, and
        tvOS 27 places Sleep lower.
        """
        if self.power_state() is PowerState.Off:
            return  # it would wake up
        self._press("home", 1.0)
        if self._closing.wait(0.1):
            raise self._ended_error()
        self._press("select")

    # -- text ------------------------------------------------------------------------------------

    def text_focus(self) -> KeyboardFocus:
        return self._focus

    def text_set(self, text: str) -> None:
        self._type("text_set", commands.TEXT_SET, text)

    def text_append(self, text: str) -> None:
        self._type("text_append", commands.TEXT_INSERT, text)

    def text_clear(self) -> None:
        self._type("text_clear", commands.TEXT_CLEAR, "")

    def _type(self, word: str, action: int, text: str) -> None:
        """Change the text field. Not acknowledged, so ask for something that is."""
        if self._focus is not KeyboardFocus.Focused:
            raise CommandFailed(f"{word}: no text field is open (mrp)", word)
        self._open().send(
            proto.build(proto.TEXT_INPUT, timestamp=time.time(), text=text, actionType=action)
        )
        self._ask(word, proto.GENERIC)

    # -- what is playing -------------------------------------------------------------------------

    def playing(self) -> Playing:
        with self._lock:
            self._check()
            return self._playing()

    def _playing(self) -> Playing:
        return self._players.playing(lambda: self.artwork(256, None))

    def _check(self) -> None:
        if self._closing.is_set():
            raise self._ended_error()

    def artwork(self, width: int | None, height: int | None) -> Artwork | None:
        from . import mrp_artwork
        from .fetch import addresses_of

        with self._lock:
            self._check()
            player, metadata = self._players.player, self._players.metadata
            location = player.location if player is not None else 0
            source = mrp_artwork.Source(metadata) if metadata is not None else None
        if source is None or not source.announced:
            return None
        timeout = max(self._timeout, 10.0)
        found = mrp_artwork.download(
            source.urls(width, height), addresses_of(self._addresses), timeout
        )
        return found or self._queue_artwork(location, width, height)

    def _queue_artwork(
        self, location: int, width: int | None, height: int | None
    ) -> Artwork | None:
        """Ask the device for the image of the current item."""
        from . import mrp_artwork

        request = proto.build(
            proto.PLAYBACK_QUEUE_REQUEST, True, location=location, length=1,
            artworkWidth=float(width or 0), artworkHeight=float(height or -1),
            returnContentItemAssetsInUserCompletion=True,
        )  # fmt: skip
        proven = self._tunnel is not None or self._credentials.kind == "hap"
        pieces = mrp_artwork.Pieces(mrp_artwork.LIMIT if proven else mrp_artwork.OPEN_LIMIT)
        timeout = max(self._timeout, ARTWORK_TIMEOUT)
        with self._expect(pieces.complete) as wait:
            try:
                answer = self._open().request(request, timeout)
            except CommandTimeout as exc:
                raise CommandTimeout(f"no reply to artwork within {timeout:g} s (mrp)") from exc
            if answer.kind != proto.SET_STATE:
                return None
            queue = answer.body.playbackQueue
            size: tuple[int, int] = (0, 0)
            for item in queue.contentItems:  # its index differs between systems
                size = item.artworkDataWidth or size[0], item.artworkDataHeight or size[1]
                if is_image(item.artworkData):
                    return Artwork(item.artworkData, *size)
            if not queue.sendingPlaybackQueueTransaction:
                return None
            wait("artwork", timeout)  # too large for one message
        return pieces.artwork(*size)

    def features(self) -> dict[str, FeatureState]:
        """What the active player says that it can do now."""
        with self._lock:
            players, metadata = self._players, self._players.metadata
            there = dict.fromkeys(ALWAYS, True)
            there.update((name, players.enabled(number)) for name, number in COMMANDS.items())
            doing = players.state()
            there["play_pause"] = (
                players.enabled(commands.PLAY_PAUSE)
                or (doing is DeviceState.Playing and there["pause"])
                or (doing is DeviceState.Paused and there["play"])
            )
            fields = {**state.TEXTS, **state.NUMBERS, "total_time": "duration"}
            fields["position"] = "elapsedTimeTimestamp"
            there.update(
                (name, metadata is not None and metadata.HasField(field))
                for name, field in fields.items()
            )
            there["artwork"] = metadata is not None and metadata.artworkAvailable
            there["app"] = players.client is not None
            steps = bool(self._capabilities)
            there.update(volume_up=steps, volume_down=steps, mute=steps)
            absolute = self._has_levels
            there.update(volume=absolute, set_volume=absolute)
            unknown = {"volume_up", "volume_down", "mute", "volume", "set_volume"}
            if self._capabilities is not None:
                unknown.clear()
            if self._power() is PowerState.Unknown:
                unknown.add("power_state")
            typing = self._focus is KeyboardFocus.Focused
            there.update(text_set=typing, text_append=typing, text_clear=typing)
        states = {
            name: FeatureState.Available if can else FeatureState.Unavailable
            for name, can in there.items()
        }
        states.update(dict.fromkeys(unknown, FeatureState.Unknown))
        return states


def _percent(body: Any) -> float:
    """The level in a message, with one decimal."""
    return round(100 * float(body.volume), 1)


def _level_of(uid: str, wanted: Callable[[float], bool]) -> Callable[[proto.Message], bool]:
    """What recognizes the message that an output device has a new volume."""
    return lambda message: (
        message.kind == proto.VOLUME_DID_CHANGE
        and (proto.text(message.body, "outputDeviceUID") or uid) == uid
        and wanted(100 * message.body.volume)
    )


def introduction(answer: proto.Message) -> Introduction:
    """What DEVICE_INFO says of a device."""
    info = answer.body
    # Its hardware address need not be the one that AirPlay announces: it may have two.
    return Introduction(
        {"mrp": proto.text(info, "uniqueIdentifier")},
        more=[proto.text(info, "managedConfigDeviceID"), proto.text(info, "deviceUID")],
        name=proto.text(info, "name"), model=proto.text(info, "modelID"),
        build=proto.text(info, "systemBuildVersion"),
    )  # fmt: skip


def secure(link: Link, wire: MrpWire, credentials: Any) -> None:
    """Verify each other, and encrypt everything from here on.

    Raises:
        CredentialsError: The device does not accept the credentials, or is another one.
        ProtocolError: It answers with nonsense.
    """
    from ..crypto.chacha20poly1305 import Session
    from ..pairing.hap import channel_keys, drive
    from ..pairing.hap_verify import hap_verify

    secret = drive(hap_verify(credentials), lambda data: exchange(link, data, verifying=True))
    wire.secure(Session(*channel_keys(secret, "mrp")))


def exchange(link: Link, data: bytes, *, verifying: bool) -> bytes:
    """Send one message of a pairing and return the answer.

    Raises:
        CredentialsError: Refused, while `verifying`.
        PairingError: Refused.
    """
    from ..errors import PairingError

    first = not verifying and data[-3:] == b"\6\1\1"
    message = proto.build(
        proto.CRYPTO_PAIRING, pairingData=data, status=0, isRetrying=False,
        isUsingSystemPairing=False, state=2 if first else 0,
    )  # fmt: skip
    reply = link.request(message)
    answer, code = reply.body, reply.envelope.errorCode
    if code and not verifying:
        raise PairingError(PAIRING_ERRORS.get(code, f"the device refuses (error {code})"))
    if answer.status or not answer.pairingData:
        if verifying:  # what a device says to a client that it does not know
            raise CredentialsError(
                f"the device does not know the credentials (status {answer.status}): pair again",
                refused=True,
            )
        raise PairingError(f"the device refuses (status {answer.status})")
    pairing_data: bytes = answer.pairingData
    return pairing_data
