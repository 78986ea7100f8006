"""What the user holds: an Apple TV, with every command documented once."""

from __future__ import annotations

import contextlib
import math
import queue
import time
import warnings
import weakref
from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

from .deadline import Deadline
from .errors import AppleTVError, CommandTimeout, NotSupported
from .events import EventQueue
from .model import (
    Device,
    FeatureState,
    KeyboardFocus,
    PowerState,
    RepeatState,
    ShuffleState,
    TouchAction,
)
from .routes import FIELDS, ROUTES, TOLD_BY_ANY
from .session import Session

if TYPE_CHECKING:
    from .backends import Backend
    from .backends.airplay_stream import Stream
    from .backends.raop_source import Source
    from .backends.raop_stream import AudioStream
    from .events import Event, Listener
    from .model import (
        Account,
        App,
        Artwork,
        OutputDevice,
        Playing,
    )

T = TypeVar("T")

WAKE_TIMEOUT = 25.0  # s; waking up or falling asleep
POWER_POLL = 1.0  # s between two questions: not every system reports it
BEST_FIRST = (
    FeatureState.Available,
    FeatureState.Unknown,
    FeatureState.Unavailable,
    FeatureState.Unsupported,
)


class AppleTV:
    """A connected Apple TV. Made by :func:`connect`; use it in a ``with`` block, or close it.

    Every command blocks until the device has answered, at most ``timeout`` seconds, and raises an
    :class:`~tinyatv.errors.AppleTVError` if it did not do what was asked:

    * ``CommandFailed``: the device refused.
    * ``CommandTimeout``: it did not answer; whether it acted is unknown.
    * ``ConnectionLost``: the connection is gone, or was closed.
    * ``NotSupported``: no connected protocol can do it.

    Where a protocol that could do it failed while connecting, or was lost, its error is raised:
    ``CredentialsError``, ``CommandTimeout``, ``ConnectionLost``.

    Methods may be called from any thread, and bound methods work as callbacks. A signal handler may
    call them, too: while the thread that it interrupts is itself in the middle of a command, it
    gets an ``AppleTVError`` that says so, where it cannot be served. In the child of a fork, the
    connections are the parent's: commands raise ``ConnectionLost`` until :meth:`open` is called.

    One that nothing refers to any more is closed, with a ``ResourceWarning``.

    Attributes:
        device: What was connected to.
        timeout: Seconds that a command may take.
    """

    def __init__(
        self, device: Device, *, protocols: Iterable[str] | None = None, timeout: float = 5.0,
        reconnect: bool = False, rediscover: Callable[[Device], Device] | None = None,
        wake: bool | None = None,
    ) -> None:  # fmt: skip
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, not {timeout}")
        self._session = Session(
            device, protocols=protocols, timeout=timeout, reconnect=reconnect,
            rediscover=rediscover, wake=wake,
        )  # fmt: skip
        self._finalizer = weakref.finalize(self, _dropped, self._session, device.name)
        self._finalizer.atexit = False  # the system closes what is open then

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
    def device(self) -> Device:
        """What it is connected to; another object once it was found elsewhere."""
        return self._session.device

    @device.setter
    def device(self, device: Device) -> None:
        self._session.device, self._session.address = device, device.address

    @property
    def timeout(self) -> float:
        """Seconds that a command may take; a change counts from the next connection on."""
        return self._session.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._session.timeout = seconds

    @property
    def name(self) -> str:
        """What its owner calls it."""
        return self.device.name

    @property
    def address(self) -> str:
        """The one of its addresses that it is connected to, or was last."""
        return self._session.address

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols that are connected now; empty after a loss or ``close()``."""
        return tuple(self._session.backends)

    @property
    def is_whole(self) -> bool:
        """True if every protocol that was ever connected still is."""
        return self._session.is_whole

    @property
    def reconnects(self) -> bool:
        """True if a lost connection comes back by itself."""
        return self._session.reconnect

    def features(self) -> dict[str, FeatureState]:
        """What can be used now: every command of ``ROUTES`` and every field of ``FIELDS``.

        May ask the device. ``Unknown`` means that the device does not say: try it. What a protocol
        does that is not there now, but should be, is ``Unavailable``.
        """
        self._session.check_open()
        self._session.wait_for_rest()
        backends = self._session.backends
        known = {name: backend.features() for name, backend in backends.items()}
        states = {}
        for name, protocols in {**ROUTES, **FIELDS}.items():
            taken = [p for p in known if name in backends[p].taken]
            told = [known[p].get(name, FeatureState.Unknown) for p in protocols if p in known]
            if taken:
                states[name] = known[taken[0]].get(name, FeatureState.Unknown)
            elif not told:
                missing = self._session.is_missing(protocols)
                states[name] = FeatureState.Unavailable if missing else FeatureState.Unsupported
            elif name in TOLD_BY_ANY:
                states[name] = min(told, key=BEST_FIRST.index)
            else:
                states[name] = told[0]
        return states

    # -- life ------------------------------------------------------------------------------------

    def open(self, *, wait_for_all: bool = True) -> AppleTV:
        """Open all protocols that have credentials, unless that is done: :func:`connect` does it.

        Args:
            wait_for_all: False returns once one protocol is up. The others connect in the
                background; a command waits for those that it needs.

        Raises:
            ConnectionFailed: None of them could be reached.
            CredentialsError: No credentials, or they are not accepted any more.
        """
        self._session.open(wait_for_all=wait_for_all)
        return self

    @property
    def has_answered(self) -> bool:
        """True if anything of the device has answered since it was tried to connect."""
        return self._session.has_answered

    def wait_for_rest(self) -> None:
        """Wait for protocols that are still connecting, until 1.5 s after :meth:`open` at most."""
        self._session.wait_for_rest()

    def close(self) -> None:
        """Close all connections and end all threads. Safe to call more than once, from anywhere.

        Listeners get a last :class:`~tinyatv.events.Disconnected`. Blocks up to 5 s. What was
        interrupted in it, by Ctrl-C for example, another call finishes.
        """
        self._session.close()
        self._finalizer.detach()

    # -- queued presses --------------------------------------------------------------------------

    def queued(
        self,
        command: Callable[..., object],
        *args: Any,
        patience: float = 0.0,
        on_error: Callable[[BaseException], object] | None = None,
        **how: Any,
    ) -> Callable[..., None]:
        """Make a callback that never raises and never blocks, as GPIO libraries need it.

            button.when_pressed = atv.queued(atv.play_pause)
            louder.when_held = atv.queued(atv.set_volume, 30, patience=10, on_error=print)

        Calling it queues the command. One thread carries out all queued ones of this Apple TV, in
        order; up to 32 may wait, more are dropped, and reported as one error. The callback ignores
        its own arguments, such as the number of a pin. What waits at :meth:`close` is forgotten.

        Args:
            command: A method of this object, or any function, for several steps.
            *args: Passed on to it.
            patience: Seconds from the press on that it may wait for a lost device to come back, if
                the connection was made with ``reconnect=True``. 0 fails at once; it lets the next
                try to reconnect begin now in either case.
            on_error: Called with each error, on the thread of the queue. None logs a warning.
            **how: Passed on to `command`.
        """
        from .queued import name_of

        return self._session.presses().bind(
            name_of(command), partial(command, *args, **how), patience, on_error,
            single=getattr(command, "__self__", None) is self,
        )  # fmt: skip

    def _via(self, command: str) -> Backend:
        """The backend that serves a command."""
        session = self._session
        backends = session.backends
        for one in backends.values():
            if command in one.taken:
                return one
        for protocol in ROUTES[command]:
            if protocol in backends:
                return backends[protocol]
            if session.connecting:
                break  # it may be there soon
        return session.serving(command)[0]

    def _by_any(self, command: str, act: Callable[[Backend], None]) -> None:
        """Let the best protocol do something that can; those that cannot send nothing."""
        first: NotSupported | None = None
        for backend in self._session.serving(command):
            try:
                act(backend)
            except NotSupported as exc:
                first = first or exc
            else:
                return
        raise first or NotSupported(command)

    def _ask(self, command: str, ask: Callable[[Backend], T], unknown: T) -> T:
        """Ask one protocol after the other, until one asks the device and is answered.

        What they only remember of what the device has told counts if none can ask; of several, what
        was told last.
        """
        start = time.monotonic()
        first: AppleTVError | None = None
        remembered: list[tuple[float, T]] = []
        for backend in self._session.serving(command):
            try:
                answer = ask(backend)
            except AppleTVError as exc:
                first = first or exc
                continue
            told_at = backend.told_at(command)
            if answer is unknown:
                continue
            if told_at >= start:
                return answer
            remembered.append((told_at, answer))
        if remembered:
            return max(remembered, key=lambda one: one[0])[1]
        if first is not None:
            raise first
        return unknown

    # -- events ----------------------------------------------------------------------------------

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with every event, one at a time, on a thread of its own.

        It may call anything, ``close()`` included. What is playing comes as the first event.

        It keeps the connection open, even if the program keeps nothing but its listener: until
        :meth:`close` or :meth:`remove_listener`. So do an iterator of :meth:`events`, what
        :meth:`play_url` plays, and a bound method of this object.

        Args:
            listener: Any callable with one argument, the event.

        Raises:
            ConnectionLost: The connection is closed.
            AppleTVError: The system has no room for the thread.
        """
        self._session.add_listener(listener, self)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling `listener`.

        Raises:
            ValueError: It is not there.
        """
        self._session.remove_listener(listener)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Iterate over events; listening starts with this call.

        Ends after ``close()``, after a loss for good, and when nothing happens for
        `timeout` seconds.

        Args:
            timeout: Seconds to wait for each event; None waits forever.
        """
        taken = self._take(timeout)
        next(taken)  # it listens now, and does not any more once it is dropped
        return cast("Iterator[Event]", taken)

    def _take(self, timeout: float | None) -> Iterator[Event | None]:
        """The events, after a None that says that it listens."""
        received = EventQueue(f"events of {self.name}")
        try:
            self.add_listener(received.put)
            yield None
            while True:
                try:
                    event = received.get(timeout=Deadline(timeout).wait())
                except queue.Empty:
                    return
                if event is None:  # forked
                    return self._session.check_open()
                yield event
                if self._session.is_end(event):
                    return
        finally:
            with contextlib.suppress(ValueError):  # it was not added, or this is a fork
                self.remove_listener(received.put)

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
        """Select what has the focus; held down, open its menu.

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
        """Kept for programs that call it: no device is known to go up by a page.

        Raises:
            NotSupported: Always. Companion's button 18, once taken for it, is mute.
        """
        raise self._no_pages("page_up", "button 18 of Companion, once taken for it, is mute")

    def page_down(self) -> None:
        """Kept for programs that call it; see :meth:`page_up`.

        Raises:
            NotSupported: Always. Companion's button 19, once taken for it, is power.
        """
        raise self._no_pages("page_down", "button 19 of Companion, once taken for it, is power")

    def _no_pages(self, command: str, why: str) -> NotSupported:
        self._session.check_open()
        return NotSupported(f"{command}: no button is known for it; {why}")

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
        """Release the Siri button; see :meth:`siri_start`."""
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
        """Click the touchpad, which chooses the highlighted item. Arguments as in :meth:`up`."""
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
        """Start fast-forwarding; :meth:`end_fast_forward` ends it."""
        self._via("begin_fast_forward").begin_fast_forward()

    def end_fast_forward(self) -> None:
        """Stop fast-forwarding, and go on playing."""
        self._via("end_fast_forward").end_fast_forward()

    def begin_rewind(self) -> None:
        """Start rewinding; :meth:`end_rewind` ends it."""
        self._via("begin_rewind").begin_rewind()

    def end_rewind(self) -> None:
        """Stop rewinding, and go on playing."""
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
        """Turn subtitles on or off.

        Args:
            mode: ``"toggle"``, ``"on"``, ``"auto"``, or ``"forced"``: only the subtitles that are
                part of the film.
        """
        if mode not in ("auto", "on", "forced", "toggle"):
            raise ValueError(f"captions are toggle, on, auto or forced, not {mode!r}")
        self._via("captions").captions(mode)

    # -- volume ----------------------------------------------------------------------------------

    def volume_up(self) -> None:
        """Raise the volume by one step.

        Like every button, this returns when the device has acknowledged it; over MRP and Companion
        no other button waits for it. Unlike :meth:`set_volume`, it does not wait until the device
        tells the new volume: many outputs do as they are told and say nothing.

        Raises:
            NotSupported: The device has told that its output is fixed.
        """
        self._by_any("volume_up", lambda backend: backend.volume_up())

    def volume_down(self) -> None:
        """Lower the volume by one step, as :meth:`volume_up` raises it."""
        self._by_any("volume_down", lambda backend: backend.volume_down())

    def volume(self, output_device: str | None = None) -> float:
        """The volume: percent, 0 to 100.

        As the device told last, or, where it may have changed since, asked for.

        Args:
            output_device: Identifier of one of :meth:`output_devices`; None asks for the device
                itself.

        Raises:
            NotSupported: The output only knows steps.
            CommandFailed: The device does not tell it.
        """
        return self._ask("volume", lambda backend: backend.volume(output_device), math.nan)

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
        self._by_any("set_volume", lambda backend: backend.set_volume(level, output_device))

    def mute(self) -> None:
        """Mute the sound, or restore the volume if it is muted.

        From tvOS 18.4 on, and where the output only knows steps, this is the mute key of a remote:
        what that does is up to the device, or the television. Like :meth:`volume_up`, it does not
        wait for the new volume.

        Raises:
            NotSupported: The output is fixed.
            CommandFailed: How loud it is, or was before it was muted, is not known.
        """
        self._by_any("mute", lambda backend: backend.mute())

    # -- output devices --------------------------------------------------------------------------

    def output_devices(self) -> list[OutputDevice]:
        """Where the sound comes out now: the device itself, or speakers."""
        return self._via("output_devices").output_devices()

    def add_output_devices(self, *identifiers: str) -> None:
        """Add speakers to those that play the sound. Blocks until the device says that they do.

        Args:
            *identifiers: Of the speakers.
        """
        self._via("add_output_devices").add_output_devices(*_some(identifiers))

    def remove_output_devices(self, *identifiers: str) -> None:
        """Remove speakers from those that play the sound; see :meth:`add_output_devices`."""
        self._via("remove_output_devices").remove_output_devices(*_some(identifiers))

    def set_output_devices(self, *identifiers: str) -> None:
        """Play the sound on these speakers only; see :meth:`add_output_devices`."""
        self._via("set_output_devices").set_output_devices(*_some(identifiers))

    # -- power -----------------------------------------------------------------------------------

    def power_state(self) -> PowerState:
        """Whether it is awake."""
        return self._ask("power_state", lambda backend: backend.power_state(), PowerState.Unknown)

    def turn_on(self, *, wait: bool = False) -> None:
        """Wake it up.

        If the connection is lost, and comes back by itself (``reconnect=True``), a magic packet is
        sent (Wake-on-LAN), and this blocks for up to 15 s more until it is back.

        Args:
            wait: Block until it says that it is awake, up to 25 s.

        Raises:
            CommandTimeout: It did not wake up in time.
        """
        self._session.wake()
        backend = self._via("turn_on")
        self._switch("turn_on", backend.turn_on, PowerState.On, wait)

    def turn_off(self, *, wait: bool = False) -> None:
        """Put it to sleep.

        Over MRP alone there is no command for it: then this presses keys, in 1.1 s, that do it up
        to tvOS 17.

        Args:
            wait: Block until it says that it sleeps, up to 25 s.

        Raises:
            CommandTimeout: It did not fall asleep in time.
        """
        backend = self._via("turn_off")
        self._switch("turn_off", backend.turn_off, PowerState.Off, wait)

    def _switch(
        self, command: str, act: Callable[[], None], wanted: PowerState, wait: bool
    ) -> None:
        """Send a command, and maybe wait until any protocol tells that the device has obeyed."""
        if not wait:
            act()
            return
        news = EventQueue(f"power of {self.name}")
        self.add_listener(news.put)
        try:
            act()
            deadline, silence = Deadline(WAKE_TIMEOUT), Deadline(self.timeout)
            while (power := self.power_state()) is not wanted:
                if power is PowerState.Unknown and silence.over:
                    raise CommandTimeout(f"{command}: sent, but the device does not tell its power")
                if deadline.over:
                    late = f"after {WAKE_TIMEOUT:g} s"
                    raise CommandTimeout(f"{command}: the device is {power.name} {late}")
                try:
                    news.get(timeout=POWER_POLL)
                except queue.Empty:
                    pass  # not all report it: ask again
        finally:
            self.remove_listener(news.put)

    # -- apps and accounts -----------------------------------------------------------------------

    def apps(self) -> list[App]:
        """Ask which apps can be launched."""
        return self._via("apps").apps()

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
        """Ask for the user accounts of the device."""
        return self._via("accounts").accounts()

    def switch_account(self, identifier: str) -> None:
        """Switch to another user account.

        Args:
            identifier: Of one of :meth:`accounts`.

        Raises:
            CommandFailed: There is no such account.
        """
        self._via("switch_account").switch_account(_text(identifier, "identifier"))

    # -- text ------------------------------------------------------------------------------------

    def text_focus(self) -> KeyboardFocus:
        """Whether a text field has focus."""
        return self._ask("text_focus", lambda backend: backend.text_focus(), KeyboardFocus.Unknown)

    def text_get(self) -> str | None:
        """Ask what is in the text field, up to the cursor; None if no text field is open."""
        return self._via("text_get").text_get()

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
        """Clear the text field; see :meth:`text_set`."""
        self._via("text_clear").text_clear()

    # -- playing something of your own -----------------------------------------------------------

    def play_url(
        self, url: str, *, position: float = 0.0, timeout: float = 30.0, version: str = "auto",
        title: str | None = None, artist: str | None = None, album: str | None = None,
    ) -> Stream:  # fmt: skip
        """Play a video or a song from the web, or a file of this computer.

        Returns once it plays. The device fetches it by itself; a file is served to that one device,
        under an address that cannot be guessed, for as long as it plays.

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
            What it plays; :meth:`~tinyatv.backends.airplay_stream.Stream.wait` blocks until its
            end.

        Raises:
            CommandFailed: The device does not play it.
            OSError: The file cannot be read, or is empty.
        """
        if version not in ("auto", "1", "2", "queue"):
            raise ValueError(f"version is auto, 1, 2 or queue, not {version!r}")
        start = _at_least(0, position, "position")
        given = {"Title": title, "Artist": artist, "Album": album}
        about = {key: text for key, text in given.items() if text is not None}
        stream = self._via("play_url").play_url(url, start, timeout, version, about)
        stream.owner = self
        if not stream.playing:
            stream.owner = None
        return stream

    def stream(
        self, source: Source, *, title: str | None = None, artist: str | None = None,
        album: str | None = None, artwork: Artwork | bytes | str | None = None,
        volume: float | None = None, raw: bool = False, form: str = "alac", control_port: int = 0,
        timing_port: int = 0,
    ) -> AudioStream:  # fmt: skip
        """Send sound to a speaker, or to whatever takes AirPlay 1: AirPort Express, shairport-sync.

        Returns once it is being sent; it is heard about 2 s later. Something else that this object
        streams is stopped first. While it plays, :meth:`stop`, :meth:`volume`,
        :meth:`set_volume`, :meth:`volume_up`, :meth:`volume_down` and :meth:`playing` are about it.

        Args:
            source: A WAV file with 44100 Hz, mono or stereo: its path, its content, or something
                with ``read``; ``"-"`` is standard input.
            title: What the speaker shows; None is the name of the file.
            artist: The same.
            album: The same.
            artwork: JPEG or PNG: an image, the content of a file, or its path.
            volume: Percent, 0 to 100. None leaves it as it is, or takes 33 where the speaker does
                not say what it is.
            raw: True if there is no header: 16 bits, little endian, stereo, 44100 Hz.
            form: ``"alac"``, which all receivers take; ``"l16"``, or ``"l16-fmtp"`` for those of
                Apple.
            control_port: Own UDP port, for firewalls; 0 picks a free one.
            timing_port: The same.

        Returns:
            What is sent; :meth:`~tinyatv.backends.raop_stream.AudioStream.wait` blocks until its
            end. Its ``report`` and ``warnings`` say what is known of how it arrives.

        Raises:
            CommandFailed: The speaker refuses, or is busy.
            CredentialsError: It wants a password, or another one.
            OSError: The file cannot be read.
            ValueError: It cannot be streamed.
        """
        if form not in ("alac", "l16", "l16-fmtp"):
            raise ValueError(f"form is alac, l16 or l16-fmtp, not {form!r}")
        if volume is not None and not 0 <= volume <= 100:
            raise ValueError(f"volume is 0 to 100, not {volume}")
        for port in (control_port, timing_port):
            if not 0 <= port < 65536:
                raise ValueError(f"a port is 0 to 65535, not {port}")
        backend = self._via("stream")
        given = {"title": title, "artist": artist, "album": album}
        about = {key: text for key, text in given.items() if text is not None}
        return backend.stream(
            source, raw, about, _content(artwork), volume, form, (control_port, timing_port)
        )

    # -- what is playing -------------------------------------------------------------------------

    def playing(self) -> Playing:
        """Ask what is playing. "Nothing" is an answer too: ``device_state`` is ``Idle``."""
        return self._via("playing").playing()

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
        return self._via("artwork").artwork(width, height)

    def server_info(self) -> dict[str, Any]:
        """Ask a DMAP device about itself: names of tags, such as ``dmap.itemname``, and values."""
        return self._via("server_info").server_info()


def _dropped(session: Session, name: str) -> None:
    """Nobody refers to an AppleTV any more; called on any thread, whatever locks it holds."""
    if session.backends:
        text = f"{name}: dropped while it was connected; close() was not called"
        warnings.warn(text, ResourceWarning, stacklevel=2)
    session.close_later()


def _press(hold: float, presses: int) -> tuple[float, int]:
    if presses < 1:
        raise ValueError(f"presses must be 1 or more, not {presses}")
    return _at_least(0, hold, "hold"), presses


def _content(artwork: Artwork | bytes | str | None) -> bytes | None:
    """The content of an image; a path is read."""
    if artwork is None or isinstance(artwork, (bytes, bytearray, memoryview)):
        return None if artwork is None else bytes(artwork)
    data = getattr(artwork, "data", None)
    if isinstance(data, bytes):
        return data
    with open(cast("str", artwork), "rb") as file:
        return file.read()


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
