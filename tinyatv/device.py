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
    NotSupported,
)
from .events import (
    Disconnected,
    Events,
    KeyboardChanged,
    PlayingChanged,
    PowerChanged,
    Reconnected,
    VolumeChanged,
)
from .model import (
    PROTOCOLS,
    Device,
    FeatureState,
    PairingRequirement,
    RepeatState,
    Service,
    ShuffleState,
    TouchAction,
)

if TYPE_CHECKING:
    from .backends.airplay_stream import Stream
    from .events import Event, Listener
    from .model import (
        Account,
        App,
        Artwork,
        KeyboardFocus,
        OutputDevice,
        Playing,
        PowerState,
    )

log = logging.getLogger(__name__)

ROUTES: dict[str, tuple[str, ...]] = {
    # command: protocols that serve it, best first. MRP before the others: it knows what plays, and
    # says why it refuses. Companion before DMAP for what is pressed: it knows how long.
    "up": ("mrp", "companion", "dmap"),
    "down": ("mrp", "companion", "dmap"),
    "left": ("mrp", "companion", "dmap"),
    "right": ("mrp", "companion", "dmap"),
    "select": ("mrp", "companion", "dmap"),
    "menu": ("mrp", "companion", "dmap"),
    "top_menu": ("mrp", "dmap"),
    "home": ("mrp", "companion"),
    "channel_up": ("companion",),
    "channel_down": ("companion",),
    "page_up": ("companion",),
    "page_down": ("companion",),
    "guide": ("companion",),
    "screensaver": ("companion",),
    "control_center": ("companion",),
    "siri_start": ("companion",),
    "siri_stop": ("companion",),
    "suspend": ("mrp",),
    "wakeup": ("mrp",),
    "swipe": ("companion",),
    "touch": ("companion",),
    "click": ("companion",),
    "play": ("mrp", "dmap", "companion"),  # DMAP always answers; Companion does not
    "pause": ("mrp", "dmap", "companion"),
    "play_pause": ("mrp", "dmap", "companion"),
    "stop": ("mrp", "dmap"),
    "next": ("mrp", "dmap", "companion"),
    "previous": ("mrp", "dmap", "companion"),
    "skip_forward": ("mrp", "dmap", "companion"),
    "skip_backward": ("mrp", "dmap", "companion"),
    "begin_fast_forward": ("mrp", "companion"),
    "end_fast_forward": ("mrp", "companion"),
    "begin_rewind": ("mrp", "companion"),
    "end_rewind": ("mrp", "companion"),
    "set_position": ("mrp", "dmap"),
    "set_shuffle": ("mrp", "dmap"),
    "set_repeat": ("mrp", "dmap"),
    "captions": ("companion",),
    "volume_up": ("mrp", "companion", "dmap"),
    "volume_down": ("mrp", "companion", "dmap"),
    # DMAP: iTunes and its like; an Apple TV has steps alone
    "volume": ("mrp", "companion", "dmap"),
    "set_volume": ("mrp", "companion", "dmap"),
    "mute": ("mrp", "companion"),
    "output_devices": ("mrp",),
    "add_output_devices": ("mrp",),
    "remove_output_devices": ("mrp",),
    "set_output_devices": ("mrp",),
    "power_state": ("companion", "mrp"),  # MRP takes it for awake while a HomePod plays the sound
    "turn_on": ("companion", "mrp"),
    # over MRP it takes keys, which newer systems understand differently
    "turn_off": ("companion", "mrp"),
    "apps": ("companion",),
    "launch": ("companion",),
    "accounts": ("companion",),
    "switch_account": ("companion",),
    "text_focus": ("companion", "mrp"),  # one for all of these: what it reads is what it writes
    "text_get": ("companion",),
    "text_set": ("companion", "mrp"),
    "text_append": ("companion", "mrp"),
    "text_clear": ("companion", "mrp"),
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
    "companion": "CompanionBackend",
}
UNPAIRED = ("mrp", "airplay")
"""Protocols that may work without credentials, if the device allows it."""
HAP = {"mrp", "airplay", "companion"}
"""Protocols that are paired in the same way; a device seems to have one memory for all of them."""
TOLD_BY = {
    # event: command that asks for the same; of several protocols that tell it, the one that serves
    # the command is believed, so that nobody hears it twice
    PlayingChanged: "playing",
    PowerChanged: "power_state",
    VolumeChanged: "volume",
    KeyboardChanged: "text_focus",
}

PAUSES = (1.0, 60.0)  # s; first and longest pause between two tries to reconnect
PATIENT = 3  # tries that want all protocols back; a device that boots opens its ports one by one


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
        self._had: tuple[str, ...] = ()  # protocols that were connected last
        self._early: dict[Any, AppleTVError] = {}  # backends that were lost while others opened
        self._error: AppleTVError | None = None
        self._events = Events(f"tinyatv-events-{device.address}")
        self._listening = False
        self._lock = threading.Lock()
        self._switching = threading.Lock()  # one thread at a time lets backends listen, or not
        self._closing = threading.Event()
        self._reconnecting: threading.Thread | None = None
        self._hurry = threading.Event()  # somebody waits for us to come back
        self._back = threading.Event()

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
        """Open all protocols that have credentials, unless that is done: :func:`connect` does it.

        Raises:
            ConnectionFailed: None of them could be reached.
            CredentialsError: No credentials, or they are not accepted any more.
        """
        if not self._backends:
            self._open()
        return self

    def _open(self, again: bool = False, wanted: Iterable[str] = ()) -> None:
        """Open all protocols, `wanted` at least; after a loss (`again`), tell so first."""
        errors: dict[str, AppleTVError] = {}

        def connect(backend: Any) -> None:
            try:
                backend.connect()
            except AppleTVError as exc:
                log.info("%s: %s", backend.protocol, exc)
                errors[backend.protocol] = exc

        made = self._new_backends()
        with self._lock:
            self._early = {}
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
        with self._lock:
            for backend in made:
                if backend in self._early:  # it was up, but not for long
                    lost = ConnectionFailed(str(self._early[backend]))
                    errors.setdefault(backend.protocol, lost)
            backends = {b.protocol: b for b in made if b.protocol not in errors}
            enough = (not _is_only_extra(backends) or not errors) and {*wanted} <= {*backends}
            usable = bool(backends) and enough and not self._closing.is_set()
            if usable:
                self._backends, self._error = backends, None
                self._had = tuple(backends)
                self._back.set()
                self._reconnecting = None  # from here on, a loss is a new one
                if again:
                    self._events.post(Reconnected(self._had))  # before news of another loss
            listening = usable and self._listening
        for backend in made:
            if not usable or backend.protocol in errors:
                backend.close()
        if not usable:
            told = [errors[b.protocol] for b in made if b.protocol in errors]
            raise told[0] if told else ConnectionLost("closed while connecting")
        if listening:
            self._tune_in(backends)

    def close(self) -> None:
        """Close all connections and end all threads. Safe to call more than once, from anywhere.

        Listeners get a last :class:`~tinyatv.events.Disconnected`. Blocks up to 5 s.
        """
        with self._lock:
            first = not self._closing.is_set()
            self._closing.set()
            self._hurry.set()
            self._back.set()
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
        offered = {s.protocol: s for s in self.device.services if s.enabled and s.port}
        usable = [offered[p] for p in PROTOCOLS if p in offered and p in BACKENDS]
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
                service = lend(self.device, service)
                if not service.credentials:
                    missing.append(protocol)
                    continue
            about: dict[str, Any] = {}
            if protocol == "airplay":
                about = {"info": self.device.info, "tunnel": tunnel and tunnel[1]}
                about["addresses"] = tuple(getattr(self.device, "addresses", ()))
            backends.append(self._new_backend(protocol, service, **about))
        if missing and not backends:
            raise CredentialsError(f"{self.name} is not paired ({', '.join(missing)}): pair first")
        if not backends:
            there = ", ".join(s.protocol for s in self.device.services) or "nothing"
            wanted = f", asked for {', '.join(self._wanted)}" if self._wanted is not None else ""
            raise NotSupported(f"{self.name} offers nothing to connect to: {there}{wanted}")
        return backends

    def _wants(self, protocol: str) -> bool:
        return self._wanted is None or protocol in self._wanted

    def _new_backend(self, protocol: str, service: Service, **more: Any) -> Any:
        from importlib import import_module

        make = getattr(import_module(f".backends.{protocol}", __package__), BACKENDS[protocol])
        backend: Any = make(
            self.device.address, service, timeout=self.timeout,
            post=lambda event: self._heard(protocol, event),
            lost=lambda error: self._lost(backend, error), **more,
        )  # fmt: skip
        return backend

    def _new_tunnel(self, usable: list[Service]) -> tuple[Service, Any] | None:
        """The service through which MRP goes, and the way; None if it goes directly, or not."""
        by_name = {service.protocol: service for service in usable}
        airplay, direct = by_name.get("airplay"), by_name.get("mrp")
        if airplay is None or not self._wants("mrp") or (direct is not None and direct.credentials):
            return None
        from .backends.airplay import tunnel_credentials

        airplay = lend(self.device, airplay)
        credentials = tunnel_credentials(airplay, self.device.info)
        if credentials is None:
            return None
        from .backends.airplay_tunnel import Tunnel

        return airplay, Tunnel(
            self.device.address, airplay.port, credentials, timeout=self.timeout,
            password=airplay.password,
        )  # fmt: skip

    def _heard(self, protocol: str, event: Event) -> None:
        """A backend has news; called on any thread."""
        command = TOLD_BY.get(type(event))
        if command is None or self._serving(command) in (protocol, None):
            self._events.post(event)

    def _lost(self, backend: Any, error: AppleTVError) -> None:
        """A backend lost its device; called on any thread, once for each backend."""
        protocol = backend.protocol
        with self._lock:
            if self._closing.is_set():
                return
            if self._backends.get(protocol) is not backend:
                self._early[backend] = error
                return
            backends = self._backends.copy()
            gone = [backends.pop(protocol)]
            if _is_only_extra(backends):
                gone += backends.values()
                backends = {}
            self._backends = backends
            self._error = self._error or error
            known = self._reconnecting is not None  # it comes back as a whole, and went as one
            thread = None
            if self._reconnect and self._reconnecting is None:
                name = f"tinyatv-reconnect-{self.address}"
                thread = threading.Thread(target=self._come_back, name=name, daemon=True)
                self._reconnecting = thread
                thread.start()
            if not known:
                self._events.post(Disconnected(error, protocol))
        log.info("%s: %s", protocol, error)
        gone[0].close()
        for extra in gone[1:]:
            extra.close(error)  # for those who wait for the end of what it plays

    def _come_back(self) -> None:
        pause, tries = PAUSES[0], 0
        while True:
            self._hurry.wait(pause)
            self._hurry.clear()
            if self._closing.is_set():
                return
            tries += 1
            wanted = self._had if tries <= PATIENT else ()
            try:
                left, self._backends = self._backends, {}
                for backend in left.values():
                    backend.close()
                try:
                    self._open(again=True, wanted=wanted)
                except ConnectionFailed:
                    if self._rediscover is None or self._closing.is_set():
                        raise
                    self.device = self._rediscover(self.device)  # the port may have moved
                    self._open(again=True, wanted=wanted)
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
            backend = self._backends.get(protocol)
            if backend is not None:
                return backend
        self._check_open()
        serving = ", ".join(ROUTES[command]) or "no protocol yet"
        raise NotSupported(f"{command} needs {serving}; connected: {', '.join(self.protocols)}")

    def _serving(self, command: str) -> str | None:
        """The protocol that serves a command now, or None."""
        for protocol in ROUTES[command]:
            if protocol in self._backends:
                return protocol
        return None

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
            self._listen()

    def remove_listener(self, listener: Listener) -> None:
        """Stop to call `listener`.

        Raises:
            ValueError: It is not there.
        """
        if self._events.remove(listener) == 0:
            self._listen()

    def _listen(self) -> None:
        """Let the backends listen if anybody does, whoever came and went meanwhile."""
        with self._switching:
            with self._lock:
                on = self._events.heard
                changed, self._listening = self._listening is not on, on
                backends = self._backends.copy()
            if changed and on:
                self._tune_in(backends)
            elif changed:
                for backend in backends.values():
                    backend.unlisten()

    def _tune_in(self, backends: dict[str, Any]) -> None:
        if "mrp" in backends:  # what plays is news that it brings without being asked
            self._events.link = backends["mrp"].link
        for backend in backends.values():
            backend.listen()

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

    def channel_up(self) -> None:
        """Go to the next channel, in apps that have some."""
        self._via("channel_up").channel_up()

    def channel_down(self) -> None:
        """Go to the previous channel; see :meth:`channel_up`."""
        self._via("channel_down").channel_down()

    def page_up(self) -> None:
        """Go up by a page."""
        self._via("page_up").page_up()

    def page_down(self) -> None:
        """Go down by a page. Newer systems open the control centre instead."""
        self._via("page_down").page_down()

    def guide(self) -> None:
        """Show what is on television, in apps that have such a guide."""
        self._via("guide").guide()

    def screensaver(self) -> None:
        """Start the screen saver."""
        self._via("screensaver").screensaver()

    def control_center(self) -> None:
        """Open the control centre."""
        self._via("control_center").control_center()

    def siri_start(self) -> None:
        """Press the Siri button, and keep it down until :meth:`siri_stop`.

        Experimental: nothing is said, since no sound is sent.
        """
        self._via("siri_start").siri_start()

    def siri_stop(self) -> None:
        """Let go of the Siri button; see :meth:`siri_start`."""
        self._via("siri_stop").siri_stop()

    # -- touchpad --------------------------------------------------------------------------------

    def swipe(self, x1: float, y1: float, x2: float, y2: float, seconds: float = 0.3) -> None:
        """Move a finger over the touchpad, in a straight line.

        Args:
            x1: Where it starts, 0 (left) to 1000.
            y1: Likewise, 0 (top) to 1000.
            x2: Where it ends.
            y2: Likewise.
            seconds: How long it takes; blocks for that long.
        """
        start, end = _place(x1, y1), _place(x2, y2)
        self._via("swipe").swipe(start, end, _at_least(0, seconds, "seconds"))

    def touch(self, x: float, y: float, action: TouchAction) -> None:
        """Put a finger on the touchpad, move it, or lift it: what :meth:`swipe` is made of.

        The device notes when it comes.

        Args:
            x: 0 (left) to 1000.
            y: 0 (top) to 1000.
            action: What the finger does.
        """
        self._via("touch").touch(*_place(x, y), TouchAction(action))

    def click(self, *, hold: float = 0.0, presses: int = 1) -> None:
        """Click the touchpad, which chooses what is marked. Arguments as in :meth:`up`."""
        self._via("click").click(*_press(hold, presses))

    # -- old keys --------------------------------------------------------------------------------

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
                (over DMAP and Companion 10 s).

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

    def captions(self, mode: str = "toggle") -> None:
        """Show subtitles, or show them no more.

        Args:
            mode: ``"toggle"``, ``"on"``, ``"auto"``, or ``"forced"``: those alone that belong to
                the film.
        """
        if mode not in ("auto", "on", "forced", "toggle"):
            raise ValueError(f"captions are toggle, on, auto or forced, not {mode!r}")
        self._via("captions").captions(mode)

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

        If the connection is lost, and comes back by itself (``reconnect=True``), a magic packet is
        sent (Wake-on-LAN), and this blocks for up to 15 s more until it is back.

        Args:
            wait: Block until it says that it is awake, up to 25 s.

        Raises:
            CommandTimeout: It did not wake up in time.
        """
        if self._reconnecting is not None and not self._backends:
            self._wake()
        self._via("turn_on").turn_on(wait)

    def _wake(self) -> None:
        """Wake up a device that is lost until it is back, or has had time enough."""
        from .wake import WAKE_TIMEOUT, Waking

        deadline = Deadline(WAKE_TIMEOUT)
        self._back.clear()
        with Waking(self.device, at_once=True):
            while not (self._backends or self._closing.is_set() or deadline.over):
                self._hurry.set()
                self._back.wait(1.0)

    def turn_off(self, *, wait: bool = False) -> None:
        """Put it to sleep.

        Over MRP alone there is no command for it: then this presses keys, in 1.1 s, that do it up
        to tvOS 17.

        Args:
            wait: Block until it says that it sleeps, up to 25 s.

        Raises:
            CommandTimeout: It did not fall asleep in time.
        """
        self._via("turn_off").turn_off(wait)

    # -- apps and accounts -----------------------------------------------------------------------

    def apps(self) -> list[App]:
        """Ask which apps can be launched."""
        apps: list[App] = self._via("apps").apps()
        return apps

    def launch(self, target: str) -> None:
        """Launch an app: ``launch("com.netflix.Netflix")``.

        Args:
            target: Its identifier, one of :meth:`apps`; or a URL that it opens, which may lead
                straight to a film: ``"https://tv.apple.com/..."``.

        Raises:
            CommandFailed: There is no such app.
        """
        self._via("launch").launch(_text(target, "target"))

    def accounts(self) -> list[Account]:
        """Ask who uses the device."""
        accounts: list[Account] = self._via("accounts").accounts()
        return accounts

    def switch_account(self, identifier: str) -> None:
        """Let somebody else use the device.

        Args:
            identifier: Of one of :meth:`accounts`.

        Raises:
            CommandFailed: There is no such account.
        """
        self._via("switch_account").switch_account(_text(identifier, "identifier"))

    # -- text ------------------------------------------------------------------------------------

    def text_focus(self) -> KeyboardFocus:
        """Whether a text field wants letters."""
        focus: KeyboardFocus = self._via("text_focus").text_focus()
        return focus

    def text_get(self) -> str | None:
        """Ask what is in the text field, up to the cursor; None if no text field is open."""
        text: str | None = self._via("text_get").text_get()
        return text

    def text_set(self, text: str) -> None:
        """Replace what is in the text field.

        Raises:
            CommandFailed: No text field is open.
        """
        self._via("text_set").text_set(_text(text, "text", empty=True))

    def text_append(self, text: str) -> None:
        """Add to what is in the text field; see :meth:`text_set`."""
        self._via("text_append").text_append(_text(text, "text", empty=True))

    def text_clear(self) -> None:
        """Empty the text field; see :meth:`text_set`."""
        self._via("text_clear").text_clear()

    # -- playing something of your own -----------------------------------------------------------

    def play_url(
        self, url: str, *, position: float = 0.0, timeout: float = 30.0, version: str = "auto",
        title: str | None = None, artist: str | None = None, album: str | None = None,
    ) -> Stream:  # fmt: skip
        """Play a video or a song from the web, or a file of this computer.

        Returns once it plays. The device fetches it by itself; a file is served to that one device,
        under an address that nobody can guess, for as long as it plays.

        Args:
            url: Where it is: ``http://...``, or the path of a file.
            position: Seconds from the start.
            timeout: Seconds until it must have begun, for each way to ask.
            version: How to ask: ``"1"``, ``"2"`` or ``"queue"``; ``"auto"`` tries what the device
                should like best, then the others.
            title: What the TV shows, from tvOS 18 on; None is the name of the file.
            artist: The same.
            album: The same.

        Returns:
            What plays; :meth:`~tinyatv.backends.airplay_stream.Stream.wait` blocks until its end.

        Raises:
            CommandFailed: The device does not play it.
            OSError: The file cannot be read, or is empty.
        """
        if version not in ("auto", "1", "2", "queue"):
            raise ValueError(f"version is auto, 1, 2 or queue, not {version!r}")
        start = _at_least(0, position, "position")
        given = {"Title": title, "Artist": artist, "Album": album}
        about = {key: text for key, text in given.items() if text is not None}
        stream: Stream = self._via("play_url").play_url(url, start, timeout, version, about)
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


def _place(x: float, y: float) -> tuple[float, float]:
    for value in (x, y):
        if not 0 <= value <= 1000:
            raise ValueError(f"a place on the touchpad is 0 to 1000, not {value}")
    return x, y


def _text(text: str, name: str, *, empty: bool = False) -> str:
    if not isinstance(text, str) or not (text or empty):
        raise ValueError(f"{name} must be a text, not {text!r}")
    return text


def _some(identifiers: tuple[str, ...]) -> tuple[str, ...]:
    if not identifiers or not all(isinstance(one, str) and one for one in identifiers):
        raise ValueError(f"name output devices by their identifiers, not {identifiers!r}")
    return identifiers


def _at_least(low: float, value: float, name: str) -> float:
    if not low <= value < float("inf"):
        raise ValueError(f"{name} must be {low} or more, not {value}")
    return value


def needs_pairing(service: Service) -> bool:
    """True if a service can be paired, and is better for it."""
    if service.protocol == "companion" and "rpfl" in service.properties:
        return service.pairing is PairingRequirement.Mandatory  # others are not let in at all
    return service.pairing is not PairingRequirement.NotNeeded


def may_open(service: Service, other: Service) -> bool:
    """True if the credentials of a service are of the kind that another one takes."""
    if service is other or not service.credentials or {service.protocol, other.protocol} - HAP:
        return False
    from .pairing.credentials import parse

    try:
        return parse(service.credentials).checked().kind == "hap"
    except CredentialsError:
        return False


def lend(device: Device, service: Service) -> Service:
    """A service that has no credentials, with those of another one: they may open it, too."""
    lent = next((o.credentials for o in device.services if may_open(o, service)), None)
    if lent is None or service.credentials or not needs_pairing(service):
        return service
    from copy import copy

    service = copy(service)
    service.credentials = lent
    return service
