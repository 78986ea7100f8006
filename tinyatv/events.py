"""The events that listeners get, and the one thread that calls listeners."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, Callable

from .threads import join, start

if TYPE_CHECKING:
    from .errors import AppleTVError
    from .model import KeyboardFocus, OutputDevice, Playing, PowerState

log = logging.getLogger(__name__)

Listener = Callable[[Any], object]


QUEUED = 2000  # events that may wait for a listener


class Event:
    """Something that happened."""

    __slots__: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"


class PlayingChanged(Event):
    """What plays has changed. A new listener gets this event first, with what plays then.

    Attributes:
        playing: What plays now.
    """

    __slots__ = ("playing",)

    def __init__(self, playing: Playing) -> None:
        self.playing = playing


class PowerChanged(Event):
    """The device woke up or went to sleep.

    Attributes:
        power: Its state now.
    """

    __slots__ = ("power",)

    def __init__(self, power: PowerState) -> None:
        self.power = power


class VolumeChanged(Event):
    """The volume changed.

    Attributes:
        volume: Percent, 0 to 100.
        output_device: Identifier of the speaker; None for the device itself.
        before: The volume before, in percent; None if it was not known.
    """

    __slots__ = ("volume", "output_device", "before")

    def __init__(
        self, volume: float, output_device: str | None = None, before: float | None = 0.0
    ) -> None:
        self.volume = volume
        self.output_device = output_device
        self.before = before


class OutputDevicesChanged(Event):
    """The speakers that play have changed.

    Attributes:
        output_devices: All that play now.
    """

    __slots__ = ("output_devices",)

    def __init__(self, output_devices: list[OutputDevice]) -> None:
        self.output_devices = output_devices


class KeyboardChanged(Event):
    """A text field got or lost the focus.

    Attributes:
        focus: Its state now.
    """

    __slots__ = ("focus",)

    def __init__(self, focus: KeyboardFocus) -> None:
        self.focus = focus


class UpdateFailed(Event):
    """An update could not be fetched. The next try comes after a pause of 1, 2, 4 ... 30 s.

    Attributes:
        error: Why.
        protocol: Which protocol.
    """

    __slots__ = ("error", "protocol")

    def __init__(self, error: AppleTVError, protocol: str) -> None:
        self.error = error
        self.protocol = protocol


class Disconnected(Event):
    """The connection is gone: lost (`error` says why) or closed by us (`error` is None).

    Attributes:
        error: Why, or None after ``close()``.
        protocol: Which protocol noticed, or None.
    """

    __slots__ = ("error", "protocol")

    def __init__(self, error: AppleTVError | None, protocol: str | None = None) -> None:
        self.error = error
        self.protocol = protocol


class Reconnected(Event):
    """The connection is back. Listeners stay in place.

    Attributes:
        protocols: Names of the protocols that are connected now.
    """

    __slots__ = ("protocols",)

    def __init__(self, protocols: tuple[str, ...]) -> None:
        self.protocols = protocols


_GREETING = Event()  # in the queue: new listeners are to be told what plays


class EventQueue:
    """Events on their way to a thread that may be slow: so many, and the oldest are dropped.

    Args:
        name: Of the thread, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._dropped = 0  # since there was room last

    def put(self, event: Event | None) -> None:
        """Add an event, or None for the end. Never blocks."""
        if event is None or self._queue.qsize() < QUEUED:
            self._dropped = 0
        else:
            self._drop()
        self._queue.put(event)

    def _drop(self) -> None:
        try:
            oldest = self._queue.get_nowait()
        except queue.Empty:
            return  # taken meanwhile
        if oldest is None or oldest is _GREETING:
            self._queue.put(oldest)
            return
        self._dropped += 1
        if self._dropped & (self._dropped - 1) == 0:  # 1, 2, 4, 8 ...
            log.warning("%s: a listener is too slow: %d events dropped", self._name, self._dropped)

    def get(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event.

        Raises:
            queue.Empty: None came in time.
        """
        return self._queue.get(timeout=timeout)


class Events:
    """Calls listeners with events, in order, on one thread of its own.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._listeners: list[Listener] = []
        self._queue = EventQueue(name)
        self._owner: object = None  # kept alive by the thread while somebody listens
        self._last_playing: PlayingChanged | None = None  # the last one that listeners got
        self._new: list[Listener] = []  # listeners that did not get it yet
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()  # a signal handler may add one, too
        self._closed = False

    def add(self, listener: Listener, owner: object = None) -> int:
        """Add a listener; the first one starts the thread. Returns how many there are now.

        Args:
            owner: Stays alive until the last listener is removed, or this is closed.

        Raises:
            AppleTVError: The system has no room for the thread.
        """
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = start(self._run, self._name)
            self._listeners = [*self._listeners, listener]
            self._owner = owner
            if self._last_playing is not None:
                self._new.append(listener)
                self._queue.put(_GREETING)
            return len(self._listeners)

    def remove(self, listener: Listener) -> int:
        """Remove a listener; returns how many are left.

        Raises:
            ValueError: It was not there.
        """
        with self._lock:
            listeners = self._listeners.copy()
            listeners.remove(listener)
            self._listeners = listeners
            if listener in self._new:
                self._new.remove(listener)
            if not listeners:
                self._last_playing = self._owner = None
            return len(listeners)

    @property
    def running(self) -> bool:
        """True if there has been a listener: the thread runs until it is closed."""
        return self._thread is not None

    @property
    def heard(self) -> bool:
        """True if there is a listener."""
        return bool(self._listeners)

    def post(self, event: Event) -> None:
        """Queue an event. Never blocks; without listeners it is dropped."""
        if self._listeners:
            self._queue.put(event)

    def close(self) -> None:
        """Deliver what is queued, then end the thread. Blocks until then, at most 5 s."""
        with self._lock:
            self._closed, thread = True, self._thread
            self._owner = None
        self._queue.put(None)  # each time: Ctrl-C may have come before it the first time
        join(thread, 5)

    def leave_to_parent(self) -> None:
        """In the child of a fork there is no thread: end it, and whoever iterates over events."""
        self._closed, self._thread, self._owner = True, None, None
        for listener in self._listeners:
            queue = getattr(listener, "__self__", None)
            if isinstance(queue, EventQueue):
                queue.put(None)
        self._queue.put(None)  # the thread that forked may be this one

    def _recipients(self, event: Event) -> tuple[Event, list[Listener]]:
        """The event to deliver, and the listeners that get it."""
        with self._lock:
            listeners = self._listeners
            if event is _GREETING:
                listeners = self._new
                event = self._last_playing or event
            elif isinstance(event, PlayingChanged) and listeners:
                self._last_playing = event
            elif isinstance(event, Disconnected):
                self._last_playing = None
            else:
                return event, listeners
            self._new = []
            return event, listeners

    def _run(self) -> None:
        while True:
            event = self._queue.get()
            if event is None:
                return
            event, listeners = self._recipients(event)
            for listener in listeners:
                try:
                    listener(event)
                except BaseException:  # sys.exit() ends a thread, and here that would be ours
                    log.exception("listener %r failed on %s", listener, type(event).__name__)
