"""What the virtual Apple TV is doing: one state, shown through every protocol at once."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

from ..model import DeviceState, MediaType, PowerState, RepeatState, ShuffleState
from .artwork import render

VOLUME_STEP = 5.0


class Item:
    """Something to play.

    Attributes:
        title: Title, or None.
        artist: Artist, or None.
        album: Album, or None.
        genre: Genre, or None.
        duration: Seconds; 0 if it has no end.
        media_type: Kind of media.
        artwork: PNG or JPEG bytes; None draws one, ``b""`` means that there is none.
    """

    def __init__(
        self,
        title: str | None,
        artist: str | None = None,
        album: str | None = None,
        genre: str | None = None,
        duration: float = 180.0,
        media_type: MediaType = MediaType.Music,
        artwork: bytes | None = None,
    ) -> None:
        self.title = title
        self.artist = artist
        self.album = album
        self.genre = genre
        self.duration = duration
        self.media_type = media_type
        self.artwork = artwork


def playlist() -> list[Item]:
    """The items that a new virtual Apple TV has."""
    return [
        Item("Harbour Lights", "The Loopbacks", "Local Hosts", "Ambient", 222),
        Item("Three Hops", "The Loopbacks", "Local Hosts", "Ambient", 187),
        Item("Umlaut Café", "Ünï Cödes", "Plane Zero", "Pop", 201),
        Item("The Long Poll", None, None, "Documentary", 2580, MediaType.Video),
        Item("Pilot", None, None, "Drama", 1500, MediaType.TV),
    ]


class State:
    """Everything the device knows, safe for use from any thread.

    Attributes:
        name: What the owner calls the device.
        items: The playlist.
        device_state: What the player does.
        shuffle: Shuffle state.
        repeat: Repeat state.
        volume: Percent.
        volume_control: False if the output has a fixed volume.
        absolute_volume: True if the volume can be asked for and set, as in iTunes; Apple TVs
            only know up and down.
        power: Whether it is awake.
        log: Commands it was given, in order, for assertions.
        revision: Counts the changes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.items = playlist()
        self.device_state = DeviceState.Playing
        self.shuffle = ShuffleState.Off
        self.repeat = RepeatState.Off
        self.volume = 50.0
        self.volume_control = True
        self.absolute_volume = False
        self.power = PowerState.On
        self.log: list[str] = []
        self.revision = 2  # 1 is what some remotes ask with first, and must not block
        self._index = 0
        self._order: list[int] = []
        self._position = 0.0
        self._since = time.monotonic()
        self._changed = threading.Condition(threading.RLock())
        self._watchers: list[Callable[[], object]] = []
        self._clock: threading.Thread | None = None
        self._stopped = False

    # -- life ------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start the clock that goes on to the next item at the end of one."""
        self._clock = threading.Thread(target=self._run, name=name, daemon=True)
        self._clock.start()

    def stop(self) -> None:
        """Stop the clock and join it."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._clock is not None:
            self._clock.join(5)

    def watch(self, watcher: Callable[[], object]) -> None:
        """Call `watcher` after every change, on the thread that made it, with no lock held."""
        self._watchers.append(watcher)

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Group changes: the revision moves once, and watchers hear of it once, at the end."""
        with self._changed:
            self._position, self._since = self._position_now(), time.monotonic()
            yield
            self._since = time.monotonic()
            self.revision += 1
        for watcher in self._watchers:
            watcher()
        self.wake()

    def wait_for(self, condition: Callable[[State], Any], timeout: float = 5.0) -> bool:
        """Block until `condition(state)` is true.

        Args:
            timeout: Seconds.

        Returns:
            False if it did not become true in time.
        """
        with self._changed:
            return self._changed.wait_for(lambda: bool(condition(self)), timeout)

    def wake(self) -> None:
        """Let everybody in :meth:`wait_for` look again."""
        with self._changed:
            self._changed.notify_all()

    def note(self, entry: str) -> None:
        """Append to the log and wake everybody in :meth:`wait_for`."""
        with self._changed:
            self.log.append(entry)
            self._changed.notify_all()

    # -- what is playing -------------------------------------------------------------------------

    @property
    def item(self) -> Item | None:
        """The item that plays, or None when idle."""
        if self.device_state is DeviceState.Idle or not self.items:
            return None
        return self.items[self._index % len(self.items)]

    @property
    def position(self) -> float:
        """Seconds from the start of the item, now."""
        with self._changed:
            return self._position_now()

    def _position_now(self) -> float:
        position = self._position
        if self.device_state is DeviceState.Playing:
            position += time.monotonic() - self._since
        item = self.item
        if item is not None and item.duration:
            position = min(position, item.duration)
        return position

    def artwork(self, width: int = 0, height: int = 0) -> bytes:
        """The image of the item, no larger than asked (0: any size); ``b""`` if there is none."""
        item = self.item
        if item is None:
            return b""
        if item.artwork is not None:
            return item.artwork
        wide = item.media_type in (MediaType.Video, MediaType.TV)
        return render(
            f"{item.title}{item.album}", (640, 360) if wide else (512, 512), width, height
        )

    def update(self, **fields: Any) -> None:
        """Change fields of the playing item: ``update(title="Other")``."""
        item = self.item
        if item is None:
            raise ValueError("nothing is playing")
        for name in fields:
            if name not in vars(item):
                raise ValueError(f"an item has no {name!r}")
        with self.change():
            vars(item).update(fields)

    def _run(self) -> None:
        while True:
            with self._changed:
                item, wait = self.item, None
                if item is not None and item.duration and self.device_state is DeviceState.Playing:
                    wait = item.duration - self._position_now()
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    if self._stopped:
                        return
                    continue
            self._finished()

    def _finished(self) -> None:
        with self.change():
            if self.repeat is not RepeatState.Track:
                self._step(1)
            self._position = 0.0

    def _step(self, by: int) -> None:
        """Go on (or back) in the order of play; at its end, stop unless everything repeats."""
        order = self._sequence()
        if not order:
            return
        place = order.index(self._index % len(order)) + by
        if not 0 <= place < len(order) and self.repeat is not RepeatState.All:
            place = max(0, min(place, len(order) - 1))
            if by > 0:
                self.device_state = DeviceState.Stopped
        self._index = order[place % len(order)]

    def _sequence(self) -> list[int]:
        """The order of play, as indexes of the items; anew if there are other items now."""
        if sorted(self._order) != list(range(len(self.items))):
            self._order = list(range(len(self.items)))
        return self._order

    # -- commands: each one is what the word says, and stands in the log -------------------------

    def play(self) -> None:
        self.note("play")
        self._set_player(DeviceState.Playing)

    def pause(self) -> None:
        self.note("pause")
        self._set_player(DeviceState.Paused)

    def play_pause(self) -> None:
        self.note("play_pause")
        playing = self.device_state is DeviceState.Playing
        self._set_player(DeviceState.Paused if playing else DeviceState.Playing)

    def stop_playing(self) -> None:
        self.note("stop")
        with self.change():
            self.device_state = DeviceState.Stopped
            self._position = 0.0

    def next(self) -> None:
        self.note("next")
        with self.change():
            self._step(1)
            self._position = 0.0

    def previous(self) -> None:
        self.note("previous")
        with self.change():
            self._step(-1)
            self._position = 0.0

    def set_position(self, seconds: float) -> None:
        self.note(f"set_position {seconds:g}")
        with self.change():
            item = self.item
            limit = item.duration if item is not None and item.duration else seconds
            self._position = max(0.0, min(seconds, limit))

    def set_shuffle(self, shuffle: ShuffleState) -> None:
        self.note(f"set_shuffle {shuffle.name}")
        with self.change():
            self.shuffle = shuffle
            self._order = list(range(len(self.items)))
            if shuffle is not ShuffleState.Off and self.items:
                random.shuffle(self._order)
                self._order.remove(self._index % len(self.items))
                self._order.insert(0, self._index % len(self.items))

    def set_repeat(self, repeat: RepeatState) -> None:
        self.note(f"set_repeat {repeat.name}")
        with self.change():
            self.repeat = repeat

    def volume_up(self) -> None:
        self.note("volume_up")
        self._set_volume(self.volume + VOLUME_STEP)

    def volume_down(self) -> None:
        self.note("volume_down")
        self._set_volume(self.volume - VOLUME_STEP)

    def set_volume(self, level: float) -> None:
        self.note(f"set_volume {level:g}")
        self._set_volume(level)

    def press(self, button: str, action: str = "") -> None:
        """A button without an effect of its own here; `action` is "", "hold" or "double"."""
        self.note(f"{button} {action}".rstrip())

    def _set_player(self, player: DeviceState) -> None:
        with self.change():
            self.device_state = player

    def _set_volume(self, level: float) -> None:
        if self.volume_control:
            with self.change():
                self.volume = max(0.0, min(100.0, level))
