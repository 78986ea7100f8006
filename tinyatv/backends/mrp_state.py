"""What an MRP device reports of its players, put together.

    client (an app)         key: bundle identifier      one of them is active
      default commands
      player                key: identifier             one of them is active in each client
        playback state, commands, items, location

Nothing creates a client or a player explicitly: any message that names one does. What is playing
is the active player of the active client, or that client's default player.
"""

from __future__ import annotations

import math
import time
from typing import Any, Callable

from .. import proto
from ..model import (
    App,
    Artwork,
    DeviceState,
    MediaType,
    Playing,
    RepeatState,
    ShuffleState,
    content_hash,
)
from ..proto import commands

STATES = {  # playbackState: what it is; STATE_PLAYING depends on the rate as well
    commands.STATE_UNKNOWN: DeviceState.Paused,
    commands.STATE_PLAYING: DeviceState.Playing,
    commands.STATE_PAUSED: DeviceState.Paused,
    commands.STATE_STOPPED: DeviceState.Stopped,
    commands.STATE_INTERRUPTED: DeviceState.Loading,
    commands.STATE_SEEKING: DeviceState.Seeking,
}
MEDIA_TYPES = {commands.MEDIA_AUDIO: MediaType.Music, commands.MEDIA_VIDEO: MediaType.Video}
REPEAT_MODE = {RepeatState[name]: mode for name, mode in commands.REPEAT_MODES.items()}
REPEAT = {mode: state for state, mode in REPEAT_MODE.items()}  # anything else is Off
SHUFFLE_MODE = {ShuffleState[name]: mode for name, mode in commands.SHUFFLE_MODES.items()}
SHUFFLE = {mode: state for state, mode in SHUFFLE_MODE.items()}  # anything else is Songs

TEXTS = {  # field of Playing: field of the metadata
    "title": "title",
    "artist": "trackArtistName",
    "album": "albumName",
    "genre": "genre",
    "series_name": "seriesName",
    "content_identifier": "contentIdentifier",
}
NUMBERS = {
    "season_number": "seasonNumber",
    "episode_number": "episodeNumber",
    "itunes_store_identifier": "iTunesStoreIdentifier",
}


class Player:
    """One player of an app.

    Attributes:
        identifier: Its key.
        state: The last playbackState, or None.
        commands: What it offers: CommandInfo messages by number.
        items: Its queue: ContentItem messages.
        location: Index of the current item.
    """

    __slots__ = ("commands", "identifier", "items", "location", "state")

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.state: int | None = None
        self.commands: dict[int, Any] = {}
        self.items: list[Any] = []
        self.location = 0

    @property
    def item(self) -> Any:
        """The current item, or None."""
        return self.items[self.location] if 0 <= self.location < len(self.items) else None


class Client:
    """One app that plays, or did.

    Attributes:
        identifier: Its bundle identifier.
        name: What it is called, or None.
        players: By identifier.
        active: The one that counts, or None.
        commands: What its players offer unless they say otherwise.
    """

    __slots__ = ("active", "commands", "identifier", "name", "players")

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.name: str | None = None
        self.players: dict[str, Player] = {}
        self.active: Player | None = None
        self.commands: dict[int, Any] = {}


class Players:
    """All apps and their players. Not safe for several threads: the owner takes a lock."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._active: Client | None = None
        self._handlers: dict[int, Callable[[Any], None]] = {
            proto.SET_STATE: self._set_state,
            proto.UPDATE_CONTENT_ITEM: self._update_items,
            proto.SET_NOW_PLAYING_CLIENT: self._set_client,
            proto.SET_NOW_PLAYING_PLAYER: self._set_player,
            proto.UPDATE_CLIENT: self._update_client,
            proto.REMOVE_CLIENT: self._remove_client,
            proto.REMOVE_PLAYER: self._remove_player,
            proto.SET_DEFAULT_SUPPORTED_COMMANDS: self._set_default_commands,
        }

    def handle(self, message: proto.Message) -> bool:
        """Take a message in; False if it says nothing about players."""
        handler = self._handlers.get(message.kind)
        if handler is None:
            return False
        handler(message.body)
        return True

    # -- messages --------------------------------------------------------------------------------

    def _client(self, body: Any) -> Client:
        """The client that a message names; one that is not known is made."""
        identifier = proto.text(body, "bundleIdentifier") or ""
        client = self._clients.get(identifier)
        if client is None:
            client = self._clients[identifier] = Client(identifier)
        client.name = proto.text(body, "displayName") or client.name
        return client

    def _player(self, path: Any) -> tuple[Client, Player]:
        client = self._client(path.client)
        identifier = proto.text(path.player, "identifier") or ""
        player = client.players.get(identifier)
        if player is None:
            player = client.players[identifier] = Player(identifier)
        return client, player

    def _set_state(self, body: Any) -> None:
        """Each field that is there replaces what was there; the others stay."""
        _, player = self._player(body.playerPath)
        if body.HasField("playbackState"):
            player.state = body.playbackState
        if body.HasField("supportedCommands"):
            player.commands = _by_number(body.supportedCommands)
        if body.HasField("playbackQueue"):
            player.items = list(body.playbackQueue.contentItems)
            player.location = body.playbackQueue.location

    def _update_items(self, body: Any) -> None:
        """Fields that are there overwrite; an update cannot clear one."""
        _, player = self._player(body.playerPath)
        for update in body.contentItems:
            if not update.HasField("metadata"):
                continue
            identifier = update.identifier
            for item in player.items:
                if item.identifier == identifier:
                    item.metadata.MergeFrom(update.metadata)

    def _set_client(self, body: Any) -> None:
        # Without an identifier it says that nothing is active, not that an app without one is.
        named = bool(proto.text(body.client, "bundleIdentifier"))
        self._active = self._client(body.client) if named else None

    def _set_player(self, body: Any) -> None:
        client, player = self._player(body.playerPath)
        client.active = player

    def _update_client(self, body: Any) -> None:
        self._client(body.client)

    def _remove_client(self, body: Any) -> None:
        identifier = proto.text(body.client, "bundleIdentifier") or ""
        removed = self._clients.pop(identifier, None)
        if removed is self._active:
            self._active = None

    def _remove_player(self, body: Any) -> None:
        client = self._client(body.playerPath.client)
        identifier = proto.text(body.playerPath.player, "identifier")
        if not identifier:
            return
        removed = client.players.pop(identifier, None)
        if removed is client.active:
            client.active = None

    def _set_default_commands(self, body: Any) -> None:
        client = self._client(body.playerPath.client)
        client.commands = _by_number(body.supportedCommands)

    # -- what is playing -------------------------------------------------------------------------

    @property
    def client(self) -> Client | None:
        """The app that plays, or None."""
        return self._active

    @property
    def player(self) -> Player | None:
        """The active player, or None."""
        if self._active is None:
            return None
        return self._active.active or self._active.players.get(commands.DEFAULT_PLAYER)

    @property
    def metadata(self) -> Any:
        """Metadata of the current item, or None."""
        player = self.player
        item = player.item if player is not None else None
        return item.metadata if item is not None and item.HasField("metadata") else None

    def command(self, number: int) -> Any:
        """What is said about a command: of the player, or else of its app; None if nothing."""
        player, client = self.player, self._active
        info = player.commands.get(number) if player is not None else None
        return client.commands.get(number) if info is None and client is not None else info

    def enabled(self, number: int) -> bool:
        """True if a command can be used now."""
        info = self.command(number)
        return info is not None and info.enabled

    def app(self) -> App | None:
        """The app that plays, which need not be the one on screen."""
        client = self._active
        return None if client is None else App(client.name, client.identifier)

    def state(self) -> DeviceState:
        """What the player does."""
        return self._doing(self.player, self.metadata)

    def _doing(self, player: Player | None, metadata: Any) -> DeviceState:
        if player is None or player.state is None:
            return DeviceState.Idle
        if player.state == commands.STATE_PAUSED and player.item is None:
            return DeviceState.Idle
        if (
            player.state == commands.STATE_PLAYING
            and metadata is not None
            and metadata.HasField("playbackRate")
        ):
            # 0 while playing is what some apps say; their picture moves all the same.
            rate = metadata.playbackRate
            if not math.isclose(rate, 0.0) and not math.isclose(rate, 1.0):
                return DeviceState.Seeking
        return STATES.get(player.state, DeviceState.Paused)

    def shuffle(self) -> ShuffleState:
        """The shuffle state; Off if the app has none."""
        info = self.command(commands.SET_SHUFFLE)
        mode = commands.SHUFFLE_MODES["Off"] if info is None else info.shuffleMode
        return SHUFFLE.get(mode, ShuffleState.Songs)

    def repeat(self) -> RepeatState:
        """The repeat state; Off if the app has none."""
        info = self.command(commands.SET_REPEAT)
        return REPEAT.get(info.repeatMode, RepeatState.Off) if info is not None else RepeatState.Off

    def playing(
        self, artwork: Callable[[], Artwork | None] | None = None, now: float | None = None
    ) -> Playing:
        """What is playing, as the user sees it.

        Args:
            artwork: Gets the image, for notebooks.
            now: Seconds since 2001; None asks the clock.
        """
        player = self.player
        item = None if player is None else player.item
        metadata = item.metadata if item is not None and item.HasField("metadata") else None
        state = self._doing(player, metadata)
        identifier = (proto.text(item, "identifier") if item is not None else None) or None
        fields: dict[str, Any] = {}
        if metadata is not None:
            has = metadata.HasField
            for name, field in TEXTS.items():
                value = getattr(metadata, field)  # as proto.text(), without a call for each
                if value or has(field):
                    fields[name] = value if type(value) is str else proto.text(metadata, field)
            for name, field in NUMBERS.items():
                if has(field):
                    fields[name] = getattr(metadata, field)
            fields["total_time"] = _whole(metadata.duration)
            fields["media_type"] = MEDIA_TYPES.get(metadata.mediaType, MediaType.Unknown)
            moving = state is DeviceState.Playing and metadata.playbackRate != 0
            fields["rate"] = 1.0 if moving else 0.0
            fields["position"] = _position(metadata, moving, now)
            if metadata.artworkAvailable or metadata.artworkURL:
                image = proto.text(metadata, "artworkIdentifier")
                fields["artwork_id"] = image or fields.get("content_identifier") or identifier
        if identifier is None:
            named = (fields.get("title"), fields.get("artist"), fields.get("album"))
            identifier = content_hash(*named, fields.get("total_time") or None)
        return Playing(
            device_state=state,
            shuffle=self.shuffle(),
            repeat=self.repeat(),
            app=self.app(),
            hash=identifier,
            artwork=artwork,
            **fields,
        )


def _by_number(supported: Any) -> dict[int, Any]:
    """CommandInfo messages by number; of several, the first counts."""
    return {info.command: info for info in reversed(supported.supportedCommands)}


def _whole(seconds: float) -> int:
    return int(seconds) if math.isfinite(seconds) and seconds > 0 else 0


def _position(metadata: Any, moving: bool, now: float | None) -> float | None:
    """Seconds from the start; None without a time stamp, for the elapsed time alone is too old."""
    elapsed: float = metadata.elapsedTime
    at: float = metadata.elapsedTimeTimestamp
    if not at or not math.isfinite(at) or not math.isfinite(elapsed):
        return None
    if moving:
        elapsed += (time.time() - commands.EPOCH if now is None else now) - at
    return max(0.0, elapsed)
