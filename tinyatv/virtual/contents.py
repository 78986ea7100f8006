"""What is on a virtual Apple TV: apps, something to play, players, outputs, a text field."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterable
from typing import Any

from ..model import App, Artwork, DeviceState, MediaType, RepeatState, ShuffleState
from ..proto.commands import DEFAULT_PLAYER
from .artwork import render

MUSIC = App("Music", "com.apple.TVMusic")
VIDEO = App("TV", "com.apple.TVWatchList")

APPS = [
    MUSIC,
    VIDEO,
    App("Podcasts", "com.apple.podcasts"),
    App("Photos", "com.apple.TVPhotos"),
    App("App\xa0Store", "com.apple.TVAppStore"),
    App("Settings", "com.apple.TVSettings"),
    App("Search", "com.apple.TVSearch"),
    App("Movies", "com.apple.TVMovies"),
    App("TV\xa0Shows", "com.apple.TVShows"),
    App("Computers", "com.apple.TVHomeSharing"),
    App("Arcade", "com.apple.Arcade"),
    App("Fitness", "com.apple.Fitness"),
    App("Netflix", "com.netflix.Netflix"),
    App("YouTube", "com.google.ios.youtube"),
    App("Plex", "com.plexapp.plex"),
    App("Überblick", "com.example.ueberblick"),
]
"""What is installed on a new virtual Apple TV; names have no-break spaces where real ones do."""

ACCOUNTS = {
    "6A3B1F52-0C7D-4E8B-9A15-2D4C6E8F0A1B": "Alex",
    "C4D5E6F7-1829-4A3B-8C4D-5E6F70819203": "Kim",
}


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
        series_name: Series of a TV episode, or None.
        season_number: Its season, or None.
        episode_number: Its number, or None.
        content_identifier: The app's own name for it, or None.
        itunes_store_identifier: Number in the iTunes Store, or None.
        artwork_identifier: Of the image; may be the template of a URL. None makes one up.
        artwork_url: Where the image is, or None.
        artwork_mime: What kind of image is announced; None says what it is.
        identifier: Of the item itself; stays the same when other fields change. None makes one up.
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
        *,
        series_name: str | None = None,
        season_number: int | None = None,
        episode_number: int | None = None,
        content_identifier: str | None = None,
        itunes_store_identifier: int | None = None,
        artwork_identifier: str | None = None,
        artwork_url: str | None = None,
        artwork_mime: str | None = None,
        identifier: str | None = None,
    ) -> None:
        self.title = title
        self.artist = artist
        self.album = album
        self.genre = genre
        self.duration = duration
        self.media_type = media_type
        self.artwork = artwork
        self.series_name = series_name
        self.season_number = season_number
        self.episode_number = episode_number
        self.content_identifier = content_identifier
        self.itunes_store_identifier = itunes_store_identifier
        self.artwork_identifier = artwork_identifier
        self.artwork_url = artwork_url
        self.artwork_mime = artwork_mime
        self.identifier = secrets.token_hex(8) if identifier is None else identifier

    def image(self, width: int = 0, height: int = 0) -> bytes:
        """Its artwork, no larger than asked (0: any size); ``b""`` if there is none."""
        if self.artwork is not None:
            return self.artwork
        wide = self.media_type in (MediaType.Video, MediaType.TV)
        size = (640, 360) if wide else (512, 512)
        return render(f"{self.title}{self.album}", size, width, height)

    @classmethod
    def restore(cls, attributes: dict[str, Any]) -> Item:
        """An item as it was when a copy of its ``vars()`` was made."""
        item = cls.__new__(cls)
        vars(item).update(attributes)
        return item

    @property
    def mime(self) -> str | None:
        """What kind of image is announced; None without one."""
        if self.artwork_mime is not None or self.artwork == b"":
            return self.artwork_mime
        return "image/png" if self.artwork is None else Artwork(self.artwork).mimetype


def playlist() -> list[Item]:
    """The items that a new virtual Apple TV has."""
    return [
        Item("Harbour Lights", "The Loopbacks", "Local Hosts", "Ambient", 222),
        Item("Three Hops", "The Loopbacks", "Local Hosts", "Ambient", 187),
        Item("Umlaut Café", "Ünï Cödes", "Plane Zero", "Pop", 201),
        Item("The Long Poll", None, None, "Documentary", 2580, MediaType.Video),
        Item(
            "Pilot", None, None, "Drama", 1500, MediaType.TV,
            series_name="Keep Alive", season_number=1, episode_number=1,
            content_identifier="keep-alive-s01e01", itunes_store_identifier=1402001,
        ),
    ]  # fmt: skip


class Player:
    """What one app plays.

    Args:
        items: What there is to play.
        app: The app; None is Music for music and TV for everything else.

    Attributes:
        items: What there is to play.
        device_state: What it does.
        shuffle: Shuffle state.
        repeat: Repeat state.
        rate: Speed of playback; negative while it rewinds.
        identifier: Of the player, within its app.
        name: What the app calls it.
        disabled: Commands that the app does not take now, as words of the log: ``"next"``.
        missing: Commands that it does not know at all.
        one_sided: Of play and pause, offer only the one that changes something, and no
            play_pause: as YouTube does.
    """

    def __init__(
        self,
        items: Iterable[Item] = (),
        app: App | None = None,
        *,
        device_state: DeviceState = DeviceState.Paused,
        position: float = 0.0,
        identifier: str = DEFAULT_PLAYER,
        name: str = "Default Player",
    ) -> None:
        self.items = list(items)
        self.device_state = device_state
        self.shuffle = ShuffleState.Off
        self.repeat = RepeatState.Off
        self.rate = 1.0
        self.identifier = identifier
        self.name = name
        self.disabled: set[str] = set()
        self.missing: set[str] = set()
        self.one_sided = False
        self._app = app
        self._index = 0
        self._order: list[int] = []
        self._position = position
        self._since = time.monotonic()

    @property
    def app(self) -> App:
        """The app; assign another one to pretend that it plays the same."""
        if self._app is not None:
            return self._app
        item = self.item or (self.items[0] if self.items else None)
        return MUSIC if item is None or item.media_type is MediaType.Music else VIDEO

    @app.setter
    def app(self, app: App) -> None:
        self._app = app

    @property
    def item(self) -> Item | None:
        """What it plays, or None when idle."""
        if self.device_state is DeviceState.Idle or not self.items:
            return None
        return self.items[self._index % len(self.items)]

    @property
    def speed(self) -> float:
        """How fast the position moves."""
        if self.device_state is DeviceState.Playing:
            return self.rate
        seeks = self.device_state is DeviceState.Seeking and self.rate != 1.0
        return self.rate if seeks else 0.0

    @property
    def position(self) -> float:
        """Seconds from the start of the item, now."""
        position = self._position + self.speed * (time.monotonic() - self._since)
        item = self.item
        if item is not None and position > item.duration > 0:
            return item.duration
        return max(0.0, position)

    @position.setter
    def position(self, seconds: float) -> None:
        item = self.item
        limit = item.duration if item is not None and item.duration else seconds
        self._position, self._since = max(0.0, min(seconds, limit)), time.monotonic()

    def hold_position(self) -> None:
        """Write down where it is, before something changes that moves it."""
        if self.speed:
            self._position = self.position
        self._since = time.monotonic()

    def restart_clock(self) -> None:
        """Move on from what was written down."""
        self._since = time.monotonic()

    def step(self, by: int) -> None:
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

    def around(self, location: int, length: int) -> list[Item]:
        """The items from a place in the order of play on; 0 is what plays, -1 what did before."""
        order = self._sequence()
        if self.item is None or not order:
            return []
        start = order.index(self._index % len(order)) + location
        wanted = range(max(0, start), max(0, min(start + length, len(order))))
        return [self.items[order[place]] for place in wanted]

    def mix(self, shuffle: ShuffleState) -> None:
        """Set the shuffle state and with it the order of play; what plays now comes first."""
        self.shuffle = shuffle
        self._order = list(range(len(self.items)))
        if shuffle is not ShuffleState.Off and self.items:
            random.shuffle(self._order)
            self._order.remove(self._index % len(self.items))
            self._order.insert(0, self._index % len(self.items))

    @property
    def unknown(self) -> set[str]:
        """The commands that it does not have now."""
        if not self.one_sided:
            return self.missing
        playing = self.device_state is DeviceState.Playing
        return {*self.missing, "play_pause", "play" if playing else "pause"}

    def knows(self, command: str) -> bool:
        """True if it has that command now, whether it takes it or not."""
        return command not in self.unknown

    def takes(self, command: str) -> bool:
        """True if there is something to play, and that command would do something to it."""
        return self.item is not None and self.knows(command) and command not in self.disabled

    def _sequence(self) -> list[int]:
        """The order of play, as indexes of the items; anew if there are other items now."""
        if sorted(self._order) != list(range(len(self.items))):
            self._order = list(range(len(self.items)))
        return self._order


class Output:
    """Something that sounds can come out of.

    Attributes:
        name: What its owner calls it.
        identifier: A UUID or hardware address.
        volume: Percent.
    """

    def __init__(self, name: str, identifier: str, volume: float = 40.0) -> None:
        self.name = name
        self.identifier = identifier
        self.volume = volume


def speakers() -> list[Output]:
    """The other outputs that a new virtual Apple TV has in its home."""
    return [
        Output("Kitchen", "00:F7:6F:0A:0B:0C"),
        Output("Bedroom", "7A0C4D2E-9B1F-4E6A-8C3D-5F60718293A4"),
    ]


class TextField:
    """A text field, and whether it has focus.

    Attributes:
        text: What is in it.
        title: What stands above it.
        prompt: What stands in it while it is empty.
        secure: True for a password.
    """

    def __init__(
        self, text: str = "", title: str = "", prompt: str = "", secure: bool = False
    ) -> None:
        self.text = text
        self.title = title
        self.prompt = prompt
        self.secure = secure
