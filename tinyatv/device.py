"""What the user holds: an Apple TV, every command documented once, and who serves it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from .deadline import Deadline
from .errors import (
    AppleTVError,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    DeviceNotFound,
    NotSupported,
    PairingError,
)
from .events import Disconnected, Events, Reconnected
from .model import (
    PROTOCOLS,
    Device,
    FeatureState,
    PairingRequirement,
    RepeatState,
    Service,
    ShuffleState,
)

if TYPE_CHECKING:
    from .backends.airplay_stream import Stream
    from .credentials import Store
    from .events import Event, Listener
    from .model import Artwork, KeyboardFocus, OutputDevice, Playing, PowerState

log = logging.getLogger(__name__)

ROUTES: dict[str, tuple[str, ...]] = {
    # command: protocols that serve it, best first. MRP before DMAP (tvOS 9 to 12 has both): it is
    # one connection that stays open, and says when it refuses.
    "up": ("mrp", "dmap"),
    "down": ("mrp", "dmap"),
    "left": ("mrp", "dmap"),
    "right": ("mrp", "dmap"),
    "select": ("mrp", "dmap"),
    "menu": ("mrp", "dmap"),
    "top_menu": ("mrp", "dmap"),
    "home": ("mrp",),
    "suspend": ("mrp",),
    "wakeup": ("mrp",),
    "play": ("mrp", "dmap"),
    "pause": ("mrp", "dmap"),
    "play_pause": ("mrp", "dmap"),
    "stop": ("mrp", "dmap"),
    "next": ("mrp", "dmap"),
    "previous": ("mrp", "dmap"),
    "skip_forward": ("mrp", "dmap"),
    "skip_backward": ("mrp", "dmap"),
    "begin_fast_forward": ("mrp",),
    "end_fast_forward": ("mrp",),
    "begin_rewind": ("mrp",),
    "end_rewind": ("mrp",),
    "set_position": ("mrp", "dmap"),
    "set_shuffle": ("mrp", "dmap"),
    "set_repeat": ("mrp", "dmap"),
    "volume_up": ("mrp", "dmap"),
    "volume_down": ("mrp", "dmap"),
    "volume": ("mrp", "dmap"),  # DMAP: iTunes and its like; an Apple TV has steps alone
    "set_volume": ("mrp", "dmap"),
    "mute": ("mrp",),
    "output_devices": ("mrp",),
    "add_output_devices": ("mrp",),
    "remove_output_devices": ("mrp",),
    "set_output_devices": ("mrp",),
    "power_state": ("mrp",),
    "turn_on": ("mrp",),
    "turn_off": ("mrp",),
    "text_focus": ("mrp",),
    "text_set": ("mrp",),
    "text_append": ("mrp",),
    "text_clear": ("mrp",),
    "play_url": ("airplay",),
    "playing": ("mrp", "dmap"),
    "artwork": ("mrp", "dmap"),
    "server_info": ("dmap",),
}

FIELDS: dict[str, tuple[str, ...]] = {
    # what is told of what plays: protocols that tell it
    "title": ("mrp", "dmap"),
    "artist": ("mrp", "dmap"),
    "album": ("mrp", "dmap"),
    "genre": ("mrp", "dmap"),
    "total_time": ("mrp", "dmap"),
    "position": ("mrp", "dmap"),
    "shuffle": ("mrp", "dmap"),
    "repeat": ("mrp", "dmap"),
    "series_name": ("mrp",),
    "season_number": ("mrp",),
    "episode_number": ("mrp",),
    "content_identifier": ("mrp",),
    "itunes_store_identifier": ("mrp",),
    "app": ("mrp",),
    "push_updates": ("mrp", "dmap"),
}

BACKENDS = {  # protocol: class in the module of that name
    "mrp": "MrpBackend",
    "dmap": "DmapBackend",
    "airplay": "AirPlayBackend",
}
UNPAIRED = (
    "mrp",
    "airplay",
)  # protocols that may work without credentials, if the device allows it

PAUSES = (1.0, 60.0)  # s; first and longest pause between two tries to reconnect


class AppleTV:
    """A connected Apple TV. Made by :func:`connect`; use it in a ``with`` block, or close it.

    Every command blocks until the device has answered, at most ``timeout`` seconds, and raises an
    :class:`~tinyatv.errors.AppleTVError` if it did not do what was asked:

    * ``CommandFailed``: the device refused.
    * ``CommandTimeout``: it did not answer; whether it acted is unknown.
    * ``ConnectionLost``: the connection is gone, or was closed.
    * ``NotSupported``: no connected protocol can do it.

    Methods may be called from any thread, and bound methods work as callbacks.

    Attributes:
        device: What was connected to.
        timeout: Seconds that a command may take.
    """

    def __init__(
        self, device: Device, *, protocols: Iterable[str] | None = None, timeout: float = 5.0,
        reconnect: bool = False, rediscover: Callable[[Device], Device] | None = None,
    ) -> None:  # fmt: skip
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, not {timeout}")
        self.device = device
        self.timeout = timeout
        self._wanted = None if protocols is None else tuple(protocols)
        self._reconnect = reconnect
        self._rediscover = rediscover
        self._backends: dict[str, Any] = {}
        self._error: AppleTVError | None = None
        self._events = Events(f"tinyatv-events-{device.address}")
        self._listening = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._reconnecting: threading.Thread | None = None

    def __repr__(self) -> str:
        up = ", ".join(self.protocols) or "not connected"
        return f"AppleTV({self.name!r}, {self.address}, {up})"

    def __enter__(self) -> AppleTV:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- what we know ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What its owner calls it."""
        return self.device.name

    @property
    def address(self) -> str:
        """Its address."""
        return self.device.address

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols that are connected now; empty after a loss or ``close()``."""
        return tuple(self._backends)

    @property
    def reconnects(self) -> bool:
        """True if a lost connection comes back by itself."""
        return self._reconnect

    def features(self) -> dict[str, FeatureState]:
        """What can be used now: every command of ``ROUTES`` and every field of ``FIELDS``.

        May ask the device. ``Unknown`` means that the device does not say: try it.
        """
        self._check_open()
        told: dict[str, dict[str, FeatureState]] = {
            protocol: backend.features() for protocol, backend in self._backends.items()
        }
        states = {}
        for name, protocols in {**ROUTES, **FIELDS}.items():
            serving = [p for p in protocols if p in told]
            states[name] = FeatureState.Unsupported
            if serving:
                states[name] = told[serving[0]].get(name, FeatureState.Unknown)
        return states

    # -- life ------------------------------------------------------------------------------------

    def open(self) -> AppleTV:
        """Open all protocols that have credentials; :func:`connect` has done it already.

        Raises:
            ConnectionFailed: None of them could be reached.
            CredentialsError: No credentials, or they are not accepted any more.
        """
        self._open()
        return self

    def _open(self, again: bool = False) -> None:
        """Open all protocols; after a loss (`again`), tell so before any other news."""
        errors: dict[str, AppleTVError] = {}

        def connect(backend: Any) -> None:
            try:
                backend.connect()
            except AppleTVError as exc:
                log.info("%s: %s", backend.protocol, exc)
                errors[backend.protocol] = exc

        made = self._new_backends()
        first, *rest = made
        threads = [
            threading.Thread(target=connect, args=(backend,), name=f"tinyatv-open-{self.address}")
            for backend in rest
        ]
        for thread in threads:
            thread.start()
        connect(first)
        for thread in threads:
            thread.join()
        backends = {b.protocol: b for b in made if b.protocol not in errors}
        enough = not _is_only_extra(backends) or not errors
        with self._lock:
            usable = bool(backends) and enough and not self._closing.is_set()
            if usable:
                self._backends, self._error = backends, None
                self._reconnecting = None  # from here on, a loss is a new one
            listening = usable and self._listening
        if not usable:
            for backend in backends.values():
                backend.close()
            told = [errors[b.protocol] for b in made if b.protocol in errors]
            raise told[0] if told else ConnectionLost("closed while connecting")
        if again:
            self._events.post(Reconnected(tuple(backends)))
        if listening:
            for backend in backends.values():
                backend.listen()

    def close(self) -> None:
        """Close all connections and end all threads. Safe to call more than once, from anywhere.

        Listeners get a last :class:`~tinyatv.events.Disconnected`. Blocks up to 5 s.
        """
        with self._lock:
            first = not self._closing.is_set()
            self._closing.set()
            backends, self._backends = self._backends, {}
            reconnecting = self._reconnecting
        for backend in backends.values():
            backend.close()
        if reconnecting is not None and reconnecting is not threading.current_thread():
            reconnecting.join(5)
        if first and (backends or reconnecting is not None):
            self._events.post(Disconnected(None))
        self._events.close()

    def _new_backends(self) -> list[Any]:
        usable = [
            s for s in self.device.services if s.enabled and s.port and s.protocol in BACKENDS
        ]
        tunnel = self._new_tunnel(usable)
        backends, missing = [], []
        if tunnel is not None:
            service, made = tunnel
            backends.append(self._new_backend("mrp", service, tunnel=made))
        for service in usable:
            protocol = service.protocol
            if not self._wants(protocol) or (protocol == "mrp" and tunnel is not None):
                continue
            must_pair = protocol not in UNPAIRED or service.pairing is PairingRequirement.Mandatory
            if must_pair and not service.credentials:
                missing.append(protocol)
                continue
            about = {"info": self.device.info} if protocol == "airplay" else {}
            backends.append(self._new_backend(protocol, service, **about))
        if missing and not backends:
            raise CredentialsError(f"{self.name} is not paired ({', '.join(missing)}): pair first")
        if not backends:
            offered = ", ".join(s.protocol for s in self.device.services) or "nothing"
            wanted = f", asked for {', '.join(self._wanted)}" if self._wanted is not None else ""
            raise NotSupported(f"{self.name} offers nothing to connect to: {offered}{wanted}")
        return backends

    def _wants(self, protocol: str) -> bool:
        return self._wanted is None or protocol in self._wanted

    def _new_backend(self, protocol: str, service: Service, **more: Any) -> Any:
        from importlib import import_module

        make = getattr(import_module(f".backends.{protocol}", __package__), BACKENDS[protocol])
        return make(
            self.device.address, service, timeout=self.timeout, post=self._events.post,
            lost=lambda error: self._lost(protocol, error), **more,
        )  # fmt: skip

    def _new_tunnel(self, usable: list[Service]) -> tuple[Service, Any] | None:
        """The service through which MRP goes, and the way; None if it goes directly, or not."""
        by_name = {service.protocol: service for service in usable}
        airplay, direct = by_name.get("airplay"), by_name.get("mrp")
        if airplay is None or not self._wants("mrp") or (direct is not None and direct.credentials):
            return None
        from .backends.airplay import tunnel_credentials

        credentials = tunnel_credentials(airplay, self.device.info)
        if credentials is None:
            return None
        from .backends.airplay_tunnel import Tunnel

        return airplay, Tunnel(
            self.device.address, airplay.port, credentials, timeout=self.timeout,
            password=airplay.password,
        )  # fmt: skip

    def _lost(self, protocol: str, error: AppleTVError) -> None:
        """A backend lost its device; called on any thread, once for each backend."""
        with self._lock:
            if self._closing.is_set() or protocol not in self._backends:
                return
            backends = self._backends.copy()
            gone = [backends.pop(protocol)]
            if _is_only_extra(backends):
                gone += backends.values()
                backends = {}
            self._backends = backends
            self._error = self._error or error
            thread = None
            if self._reconnect and self._reconnecting is None:
                name = f"tinyatv-reconnect-{self.address}"
                thread = threading.Thread(target=self._come_back, name=name, daemon=True)
                self._reconnecting = thread
                thread.start()
        log.info("%s: %s", protocol, error)
        self._events.post(Disconnected(error, protocol))
        for backend in gone:
            backend.close()

    def _come_back(self) -> None:
        pause = PAUSES[0]
        while not self._closing.wait(pause):
            try:
                left, self._backends = self._backends, {}
                for backend in left.values():
                    backend.close()
                try:
                    self._open(again=True)
                except ConnectionFailed:
                    if self._rediscover is None or self._closing.is_set():
                        raise
                    self.device = self._rediscover(self.device)  # the port may have moved
                    self._open(again=True)
                return
            except (AppleTVError, OSError) as exc:
                log.debug("cannot reconnect to %s: %s", self.name, exc)
                pause = min(pause * 2, PAUSES[1])

    def _check_open(self) -> None:
        if self._backends:
            return
        if self._closing.is_set():
            raise ConnectionLost(f"{self.name}: closed")
        raise ConnectionLost(f"{self.name}: {self._error or 'not connected'}") from self._error

    def _via(self, command: str) -> Any:
        """The backend that serves a command."""
        for protocol in ROUTES[command]:
            if protocol in self._backends:
                return self._backends[protocol]
        self._check_open()
        serving = ", ".join(ROUTES[command]) or "no protocol yet"
        raise NotSupported(f"{command} needs {serving}; connected: {', '.join(self.protocols)}")

    # -- events ----------------------------------------------------------------------------------

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with every event, one at a time, on a thread of its own.

        It may call anything, ``close()`` included. What is playing comes as the first event.

        Args:
            listener: Any callable with one argument, the event.

        Raises:
            ConnectionLost: The connection is closed.
        """
        if self._closing.is_set():
            raise ConnectionLost(f"{self.name}: closed")
        if self._events.add(listener) == 1:
            self._listen(True)

    def remove_listener(self, listener: Listener) -> None:
        """Stop to call `listener`.

        Raises:
            ValueError: It is not there.
        """
        if self._events.remove(listener) == 0:
            self._listen(False)

    def _listen(self, on: bool) -> None:
        with self._lock:
            changed, self._listening = self._listening is not on, on
            backends = list(self._backends.values())
        for backend in backends if changed else ():
            if on:
                backend.listen()
            else:
                backend.unlisten()

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Iterate over events; listening starts with this call.

        Ends after ``close()``, after a loss that nobody repairs, and when nothing happens for
        `timeout` seconds.

        Args:
            timeout: Seconds to wait for each event; None waits for ever.
        """
        received: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.add_listener(received.put)
        return self._take(received, timeout)

    def _take(self, received: queue.SimpleQueue[Event], timeout: float | None) -> Iterator[Event]:
        try:
            while True:
                try:
                    event = received.get(timeout=Deadline(timeout).wait())
                except queue.Empty:
                    return
                yield event
                if isinstance(event, Disconnected) and self._is_final(event):
                    return
        finally:
            self.remove_listener(received.put)

    def _is_final(self, event: Disconnected) -> bool:
        repaired = self._reconnect and event.error is not None
        return not self._backends and not repaired

    # -- navigation ------------------------------------------------------------------------------

    def up(self, *, hold: float = 0.0, presses: int = 1) -> None:
        """Move up.

        Args:
            hold: Seconds to keep the button down; 0 is a tap.
            presses: How often to press; 2 is a double press.
        """
        self._via("up").up(*_press(hold, presses))

    def down(self, *, hold: float = 0.0, presses: int = 1) -> None:
        """Move down; see :meth:`up`."""
        self._via("down").down(*_press(hold, presses))

    def left(self, *, hold: float = 0.0, presses: int = 1) -> None:
        """Move left; see :meth:`up`."""
        self._via("left").left(*_press(hold, presses))

    def right(self, *, hold: float = 0.0, presses: int = 1) -> None:
        """Move right; see :meth:`up`."""
        self._via("right").right(*_press(hold, presses))

    def select(self, *, hold: float = 0.0, presses: int = 1) -> None:
        """Choose what is marked; held down, open its menu.

        Args:
            hold: Seconds to keep the button down. Over DMAP any time above 0 means "held".
            presses: How often to press.
        """
        self._via("select").select(*_press(hold, presses))

    def menu(self, *, hold: float = 0.0, presses: int = 1) -> None:
        """Go back; held down, go to the main menu. Arguments as in :meth:`select`."""
        self._via("menu").menu(*_press(hold, presses))

    def top_menu(self) -> None:
        """Go to the main menu."""
        self._via("top_menu").top_menu()

    def home(self, *, hold: float = 0.0, presses: int = 1) -> None:
        """Press the TV button: go home; held down, open the control centre.

        Arguments as in :meth:`up`.
        """
        self._via("home").home(*_press(hold, presses))

    def suspend(self) -> None:
        """Press the key that puts old systems to sleep; :meth:`turn_off` is better."""
        self._via("suspend").suspend()

    def wakeup(self) -> None:
        """Press the key that wakes old systems; :meth:`turn_on` is better."""
        self._via("wakeup").wakeup()

    # -- playback --------------------------------------------------------------------------------

    def play(self) -> None:
        """Start or resume playback."""
        self._via("play").play()

    def pause(self) -> None:
        """Pause playback."""
        self._via("pause").pause()

    def play_pause(self) -> None:
        """Pause if it plays, resume if it does not."""
        self._via("play_pause").play_pause()

    def stop(self) -> None:
        """Stop playback."""
        self._via("stop").stop()

    def next(self) -> None:
        """Go to the next item."""
        self._via("next").next()

    def previous(self) -> None:
        """Go to the previous item."""
        self._via("previous").previous()

    def skip_forward(self, seconds: float = 0.0) -> None:
        """Jump ahead, at most to the end.

        Args:
            seconds: How far, over MRP in whole seconds; 0 takes the step of the app that plays
                (over DMAP 10 s).

        Raises:
            CommandFailed: The app does not allow it now, or the position is not known, as in live
                streams.
        """
        self._via("skip_forward").skip_forward(_at_least(0, seconds, "seconds"))

    def skip_backward(self, seconds: float = 0.0) -> None:
        """Jump back, at most to the start; see :meth:`skip_forward`."""
        self._via("skip_backward").skip_backward(_at_least(0, seconds, "seconds"))

    def begin_fast_forward(self) -> None:
        """Start to wind forward; :meth:`end_fast_forward` ends it."""
        self._via("begin_fast_forward").begin_fast_forward()

    def end_fast_forward(self) -> None:
        """Stop to wind forward, and go on playing."""
        self._via("end_fast_forward").end_fast_forward()

    def begin_rewind(self) -> None:
        """Start to wind back; :meth:`end_rewind` ends it."""
        self._via("begin_rewind").begin_rewind()

    def end_rewind(self) -> None:
        """Stop to wind back, and go on playing."""
        self._via("end_rewind").end_rewind()

    def set_position(self, seconds: float) -> None:
        """Jump to a position.

        Args:
            seconds: From the start.
        """
        self._via("set_position").set_position(_at_least(0, seconds, "seconds"))

    def set_shuffle(self, shuffle: ShuffleState) -> None:
        """Set shuffling. DMAP has no albums: there it means songs."""
        self._via("set_shuffle").set_shuffle(ShuffleState(shuffle))

    def set_repeat(self, repeat: RepeatState) -> None:
        """Set repeating."""
        self._via("set_repeat").set_repeat(RepeatState(repeat))

    # -- volume ----------------------------------------------------------------------------------

    def volume_up(self) -> None:
        """Raise the volume by one step."""
        self._via("volume_up").volume_up()

    def volume_down(self) -> None:
        """Lower the volume by one step."""
        self._via("volume_down").volume_down()

    def volume(self, output_device: str | None = None) -> float:
        """Ask for the volume: percent, 0 to 100.

        Args:
            output_device: Identifier of one of :meth:`output_devices`; None asks for the device
                itself.

        Raises:
            NotSupported: The output only knows steps.
        """
        level: float = self._via("volume").volume(output_device)
        return level

    def set_volume(self, level: float, output_device: str | None = None) -> None:
        """Set the volume.

        Args:
            level: Percent, 0 to 100.
            output_device: As in :meth:`volume`.

        Raises:
            NotSupported: The output only knows steps, or is fixed.
        """
        if not 0 <= level <= 100:
            raise ValueError(f"volume is 0 to 100, not {level}")
        self._via("set_volume").set_volume(level, output_device)

    def mute(self) -> None:
        """Mute the sound; once more, and it is as loud as before.

        Where the output only knows steps, this is the mute key of a remote: what it does is up to
        the television.

        Raises:
            NotSupported: The output is fixed.
        """
        self._via("mute").mute()

    # -- output devices --------------------------------------------------------------------------

    def output_devices(self) -> list[OutputDevice]:
        """What plays the sound now: the device itself, or speakers."""
        devices: list[OutputDevice] = self._via("output_devices").output_devices()
        return devices

    def add_output_devices(self, *identifiers: str) -> None:
        """Let more speakers play the sound. Blocks until the device says that they do.

        Args:
            *identifiers: Of the speakers.
        """
        self._via("add_output_devices").add_output_devices(*_some(identifiers))

    def remove_output_devices(self, *identifiers: str) -> None:
        """Let speakers play the sound no more; see :meth:`add_output_devices`."""
        self._via("remove_output_devices").remove_output_devices(*_some(identifiers))

    def set_output_devices(self, *identifiers: str) -> None:
        """Let these speakers play the sound, and no others; see :meth:`add_output_devices`."""
        self._via("set_output_devices").set_output_devices(*_some(identifiers))

    # -- power -----------------------------------------------------------------------------------

    def power_state(self) -> PowerState:
        """Whether it is awake."""
        power: PowerState = self._via("power_state").power_state()
        return power

    def turn_on(self, *, wait: bool = False) -> None:
        """Wake it up.

        Args:
            wait: Block until it says that it is awake, up to 25 s.

        Raises:
            CommandTimeout: It did not wake up in time.
        """
        self._via("turn_on").turn_on(wait)

    def turn_off(self, *, wait: bool = False) -> None:
        """Put it to sleep.

        Over MRP there is no command for it: this presses keys, in 1.1 s, that do it up to tvOS 17.

        Args:
            wait: Block until it says that it sleeps, up to 25 s.

        Raises:
            CommandTimeout: It did not fall asleep in time.
        """
        self._via("turn_off").turn_off(wait)

    # -- text ------------------------------------------------------------------------------------

    def text_focus(self) -> KeyboardFocus:
        """Whether a text field wants letters."""
        focus: KeyboardFocus = self._via("text_focus").text_focus()
        return focus

    def text_set(self, text: str) -> None:
        """Replace what is in the text field.

        Raises:
            CommandFailed: No text field is open.
        """
        self._via("text_set").text_set(text)

    def text_append(self, text: str) -> None:
        """Add to what is in the text field; see :meth:`text_set`."""
        self._via("text_append").text_append(text)

    def text_clear(self) -> None:
        """Empty the text field; see :meth:`text_set`."""
        self._via("text_clear").text_clear()

    # -- playing something of your own -----------------------------------------------------------

    def play_url(
        self, url: str, *, position: float = 0.0, timeout: float = 30.0, version: str = "auto"
    ) -> Stream:
        """Play a video or a song from the web, or a file of this computer.

        Returns once it plays. The device fetches it by itself; a file is served to that one device,
        under an address that nobody can guess, for as long as it plays.

        Args:
            url: Where it is: ``http://...``, or the path of a file.
            position: Seconds from the start.
            timeout: Seconds until it must have begun.
            version: How to ask: ``"1"``, ``"2"`` or ``"queue"``; ``"auto"`` tries what the device
                should like best, then the others.

        Returns:
            What plays; :meth:`~tinyatv.backends.airplay_stream.Stream.wait` blocks until its end.

        Raises:
            CommandFailed: The device does not play it.
            OSError: The file cannot be read.
        """
        if version not in ("auto", "1", "2", "queue"):
            raise ValueError(f"version is auto, 1, 2 or queue, not {version!r}")
        start = _at_least(0, position, "position")
        stream: Stream = self._via("play_url").play_url(url, start, timeout, version)
        return stream

    # -- what is playing -------------------------------------------------------------------------

    def playing(self) -> Playing:
        """Ask what is playing. "Nothing" is an answer too: ``device_state`` is ``Idle``."""
        playing: Playing = self._via("playing").playing()
        return playing

    def artwork(self, width: int | None = 512, height: int | None = None) -> Artwork | None:
        """Fetch the image of what is playing. Blocks up to 25 s.

        Args:
            width: Largest width in pixels; None for any. The device never scales up.
            height: Largest height in pixels; None for any.

        Returns:
            The image, or None if there is none.
        """
        for side in (width, height):
            if side is not None and not 1 <= side <= 65535:
                raise ValueError(f"a size is 1 to 65535 pixels, not {side}")
        artwork: Artwork | None = self._via("artwork").artwork(width, height)
        return artwork

    def server_info(self) -> dict[str, Any]:
        """Ask a DMAP device about itself: names of tags, such as ``dmap.itemname``, and values."""
        info: dict[str, Any] = self._via("server_info").server_info()
        return info


def _is_only_extra(protocols: Iterable[str]) -> bool:
    """True if there is nothing but AirPlay, which keeps no connection: it cannot tell a loss."""
    return set(protocols) == {"airplay"}


def _press(hold: float, presses: int) -> tuple[float, int]:
    if presses < 1:
        raise ValueError(f"presses must be 1 or more, not {presses}")
    return _at_least(0, hold, "hold"), presses


def _some(identifiers: tuple[str, ...]) -> tuple[str, ...]:
    if not identifiers or not all(isinstance(one, str) and one for one in identifiers):
        raise ValueError(f"name output devices by their identifiers, not {identifiers!r}")
    return identifiers


def _at_least(low: float, value: float, name: str) -> float:
    if not low <= value < float("inf"):
        raise ValueError(f"{name} must be {low} or more, not {value}")
    return value


def connect(
    target: str | Device | None = None,
    *,
    protocols: Iterable[str] | None = None,
    timeout: float = 5.0,
    scan_timeout: float = 3.0,
    reconnect: bool = False,
    store: Store | None = None,
) -> AppleTV:
    """Connect to an Apple TV.

    A device in the store is connected to without a scan. If it is not where it was, a scan follows.

    Args:
        target: Name, alias, identifier, address, host name, ``host:port`` for a directed query, or
            a :class:`~tinyatv.model.Device`. None takes the default device of the store, or the
            only device that a scan finds.
        protocols: Names of the protocols to use; None uses all that are paired.
        timeout: Seconds that a command may take. Waking a sleeping device up while connecting may
            take 25 s.
        scan_timeout: Seconds that a scan may take.
        reconnect: After a loss, try again after 1, 2, 4 ... 60 s, for ever. Until then commands
            raise ``ConnectionLost``. The object and its listeners stay valid.
        store: Where credentials are; None takes the user's.

    Raises:
        DeviceNotFound: No such device; says what was found.
        ConnectionFailed: It cannot be reached.
        CommandTimeout: It takes the connection and does not answer.
        ProtocolError: It answers with nonsense.
        CredentialsError: It is not paired, or does not accept the credentials any more.
        NotSupported: It offers no protocol that can be connected to.
    """
    store = _store(store)
    device, remembered = find(target, store, scan_timeout)
    return connect_to(
        device, store, remembered=remembered, protocols=protocols, timeout=timeout,
        scan_timeout=scan_timeout, reconnect=reconnect,
    )  # fmt: skip


def connect_to(
    device: Device,
    store: Store,
    *,
    remembered: bool,
    protocols: Iterable[str] | None = None,
    timeout: float = 5.0,
    scan_timeout: float = 3.0,
    reconnect: bool = False,
) -> AppleTV:
    """Connect to a device that is found already; see :func:`connect`.

    Args:
        remembered: True if its address is an old one: if nobody answers there, scan.
    """
    wanted = None if protocols is None else tuple(protocols)
    for protocol in wanted or ():
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")

    def rediscover(device: Device) -> Device:
        return _rediscover(device, scan_timeout, store)

    atv = AppleTV(
        device, protocols=wanted, timeout=timeout, reconnect=reconnect, rediscover=rediscover
    )
    try:
        return atv.open()
    except ConnectionFailed:
        if not remembered:
            raise
        log.info("%s is not at %s any more, scanning", device.name, device.address)
        try:
            atv.device = rediscover(device)
        except DeviceNotFound:
            pass  # the first error says more
        else:
            return atv.open()
        raise


def find(target: str | Device | None, store: Store, timeout: float) -> tuple[Device, bool]:
    """Find a device in the store, or else on the network.

    Returns:
        The device with its credentials, and whether it came out of the store.

    Raises:
        DeviceNotFound: No such device, or several.
    """
    if target is not None and not isinstance(target, str):
        return store.fill(target), False
    device = store.default() if target is None else store.find(target)
    if device is not None and device.address and any(s.port for s in device.services):
        return device, True
    from .discovery import scan

    if device is not None:  # imported: credentials, but no address
        target = device.identifier
    if target is None:
        found = scan(timeout)
        if len(found) == 1:
            return store.fill(found[0]), False
        raise DeviceNotFound(f"name a device; found: {_names(found)}")
    found = scan(timeout, hosts=[target]) if _is_host(target) else scan(timeout, wanted=target)
    matching = [one for one in found if _is_host(target) or one.is_called(target)]
    if len(matching) > 1:
        several = ", ".join(f"{one.identifier} at {one.address}" for one in matching)
        raise DeviceNotFound(f"{target!r} is the name of several devices: {several}")
    if not matching:
        raise DeviceNotFound(f"no device called {target!r}; found: {_names(found)}")
    return store.fill(matching[0]), False


def _rediscover(device: Device, timeout: float, store: Store) -> Device:
    """Find a device again that is not where it was, and remember where it is now.

    Raises:
        DeviceNotFound: It does not answer.
    """
    from .discovery import scan

    if not device.identifiers:
        raise DeviceNotFound(f"{device.name} was described by hand and has no identifier")
    hosts = [device.query] if device.query else None
    for found in scan(timeout, hosts=hosts, wanted=device.identifiers):
        if set(found.identifiers) & set(device.identifiers):
            for service in found.services:
                old = device.service(service.protocol)
                if old is not None:
                    service.credentials = old.credentials or service.credentials
                    service.password = old.password or service.password
            remember(found, store)
            return found
    raise DeviceNotFound(f"{device.name} does not answer")


def remember(device: Device, store: Store) -> None:
    """Update address and ports of a device that is stored already."""
    try:
        if any(store.find(identifier) for identifier in device.identifiers):
            store.save(device)
    except (AppleTVError, OSError) as exc:
        log.warning("cannot update the store: %s", exc)


def pair(
    target: str | Device | None = None,
    *,
    protocols: Iterable[str] | None = None,
    pin: str | int | Callable[[], str] | None = None,
    show_pin: Callable[[str], object] | None = None,
    name: str = "tinyatv",
    timeout: float = 60.0,
    scan_timeout: float = 3.0,
    store: Store | None = None,
    **options: Any,
) -> Device:
    """Pair with a device and store the result.

    Most devices show a PIN, and this end has to know it. Over DMAP (Apple TV 1-3, tvOS up to 12)
    it is the other way round: this end chooses the PIN, and the user picks the remote on the TV, in
    *Settings > General > Remotes*, and types the PIN there.

    Args:
        target: As for :func:`connect`.
        protocols: Names of the protocols to pair; None pairs all that can be.
        pin: The PIN that the TV shows, or a function that asks for it, called once the TV shows
            it; None asks on the terminal. Over DMAP: the PIN to type on the TV, up to four digits;
            None makes one up.
        show_pin: Over DMAP: called with the PIN when the TV is ready for it; None prints it.
        name: Shown on the TV.
        timeout: Seconds to wait for the user over DMAP.
        scan_timeout: Seconds that a scan may take.
        store: Where the result goes; None takes the user's.
        **options: For odd networks; see :func:`tinyatv.backends.dmap_pairing.pair`.

    Returns:
        The device, with its credentials.

    Raises:
        DeviceNotFound: No such device.
        PairingError: Wrong PIN, nobody typed it in time, or the device refuses.
        PairingBackOff: The device wants a pause after wrong PINs.
        ConnectionFailed: The device cannot be reached.
        NotSupported: The device offers nothing that can be paired.
        OSError: The store cannot be written. The credentials are in the error's ``device``.
    """
    store = _store(store)
    device, _ = find(target, store, scan_timeout)
    wanted = PROTOCOLS if protocols is None else tuple(protocols)
    services = [
        s for s in device.services if s.protocol in wanted and s.protocol in BACKENDS and s.enabled
    ]
    if not services:
        offered = ", ".join(s.protocol for s in device.services) or "nothing"
        raise NotSupported(f"{device.name} offers nothing that can be paired: {offered}")

    def pair_one(service: Service) -> str:
        if service.protocol == "dmap":
            from .backends import dmap_pairing

            return dmap_pairing.pair(
                device.address, pin=None if callable(pin) else pin, show_pin=show_pin, name=name,
                timeout=timeout, **options,
            )  # fmt: skip
        for other in services:  # one pairing may open several doors: try before asking for a PIN
            candidate = other in fresh or (other is not service and not service.credentials)
            if candidate and other.credentials and _opens(device, service, other):
                return other.credentials
        known: dict[str, Any] = {"client_id": store.client_uuid(), "name": name}
        known["pin"] = _ask_pin if pin is None else pin if callable(pin) else str(pin)
        if service.protocol == "airplay":
            from .backends import airplay

            known["legacy"] = airplay.is_legacy(service)
            known["key"] = airplay.device_key(service.properties)
            return airplay.pair(device.address, service.port, **known)
        from .backends import mrp_pairing

        return mrp_pairing.pair(device.address, service.port, **known)

    fresh: list[Service] = []
    needed = [s for s in services if s.pairing is not PairingRequirement.NotNeeded]
    for service in services if protocols is not None else needed:
        service.credentials = pair_one(service)
        fresh.append(service)
        _save(device, store)
    if not needed and protocols is None:
        _save(device, store)  # it can be used as it is
    return device


def _save(device: Device, store: Store) -> None:
    try:
        store.save(device)
    except OSError as exc:
        exc.device = device  # type: ignore[attr-defined]
        raise


def _opens(device: Device, service: Service, other: Service) -> bool:
    """True if the credentials of another service are accepted here."""
    from .backends.airplay_session import ControlConnection
    from .pairing.credentials import parse

    try:
        credentials = parse(other.credentials).checked()
        if credentials.kind != "hap":
            return False
        if service.protocol == "airplay":
            control = ControlConnection(device.address, service.port, credentials)
            control.open()
            control.close()
        else:
            probe = Device(
                device.name, device.address,
                [Service("mrp", service.port, credentials=other.credentials)],
            )  # fmt: skip
            AppleTV(probe).open().close()
    except AppleTVError as exc:
        log.info("%s: %s", service.protocol, exc)
        return False
    return True


def _ask_pin() -> str:
    try:
        return input("PIN on the TV: ")
    except EOFError:
        raise PairingError("no PIN was given") from None


def _store(store: Store | None) -> Store:
    if store is not None:
        return store
    from .credentials import Store

    return Store()


def _is_host(text: str) -> bool:
    """True for ``192.0.2.10``, ``appletv.local``, ``localhost`` and ``host:port``."""
    host, _, port = text.partition(":")
    if port and not port.isdecimal():
        return False
    dotted = "." in host and all(c.isalnum() or c in "-._" for c in host)
    return dotted or (bool(port) and host != "") or host == "localhost"


def _names(devices: list[Device]) -> str:
    return ", ".join(f"{one.name} ({one.address})" for one in devices) or "nothing"
