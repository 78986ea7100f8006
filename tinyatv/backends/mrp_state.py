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
from .mrp_clock import Anchor, Clock, anchor_of

# What a device may make us keep. Real ones have a few clients with one player or two.
CLIENTS = 64
PLAYERS = 16  # of a client
KEPT = 2 * 1024 * 1024  # bytes of the messages about all of them, the current one aside
NAME = 1000  # characters of an identifier or a name
TEXT = 1000  # characters of a title and the like; many events may wait with one

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
REPEAT = {mode: state for state, mode in REPEAT_MODE.items()}
SHUFFLE_MODE = {ShuffleState[name]: mode for name, mode in commands.SHUFFLE_MODES.items()}
SHUFFLE = {mode: state for state, mode in SHUFFLE_MODE.items()}

TEXTS = {  # field of Playing: field of the metadata
    "title": "title",
    "artist": "trackArtistName",
    "album": "albumName",
    "genre": "genre",
    "series_name": "seriesName",
    "content_identifier": "contentIdentifier",
}
OLD_FIELDS = {  # field of an old device's NowPlayingInfo: field of the metadata
    "title": "title",
    "artist": "trackArtistName",
    "album": "albumName",
    "duration": "duration",
    "elapsedTime": "elapsedTime",
    "timestamp": "elapsedTimeTimestamp",
    "playbackRate": "playbackRate",
    "isAlwaysLive": "isAlwaysLive",
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
        anchor: Where the current item was when; None if that is not known.
        size: Bytes of the messages that are kept here.
    """

    __slots__ = ("_told", "anchor", "commands", "identifier", "items", "location", "size", "state")

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.state: int | None = None
        self.commands: dict[int, Any] = {}
        self.items: list[Any] = []
        self.location = 0
        self.anchor: Anchor | None = None
        self.size = 0
        self._told: tuple[str, float, float] | None = None  # item, elapsed time, stamp

    @property
    def item(self) -> Any:
        """The current item, or None."""
        return self.items[self.location] if 0 <= self.location < len(self.items) else None

    @property
    def metadata(self) -> Any:
        """Metadata of the current item, or None."""
        item = self.item
        return item.metadata if item is not None and item.HasField("metadata") else None

    @property
    def doing(self) -> DeviceState:
        """What it does."""
        if self.state is None:
            return DeviceState.Idle
        if self.state == commands.STATE_PAUSED and self.item is None:
            return DeviceState.Idle
        metadata = self.metadata
        playing = self.state == commands.STATE_PLAYING
        if playing and metadata is not None and metadata.HasField("playbackRate"):
            # 0 while playing is what some apps say; their picture moves all the same.
            rate = metadata.playbackRate
            if not math.isclose(rate, 0.0) and not math.isclose(rate, 1.0):
                return DeviceState.Seeking
        return STATES.get(self.state, DeviceState.Paused)

    @property
    def moving(self) -> bool:
        """True if the position advances with the clock."""
        metadata = self.metadata
        if metadata is None or metadata.playbackRate == 0:
            return False
        return self.doing is DeviceState.Playing

    def position(self, clock: Clock, now: float | None = None) -> float | None:
        """Seconds from the start; None if nothing tells."""
        metadata = self.metadata
        if self.anchor is None or metadata is None:
            return None
        return self.anchor.position(clock, self.moving, metadata.duration, now)

    def follow(self, clock: Clock, moved: bool, at: float | None, unstamped: bool = False) -> None:
        """Set the anchor anew after a message: it may say where it is, or only what it does.

        Args:
            clock: Of the device.
            moved: What :attr:`moving` was before.
            at: When that changed, by the device's clock; None is now.
            unstamped: True if the message says where it is, but not when that was.
        """
        item, metadata = self.item, self.metadata
        if metadata is None:
            self.anchor = self._told = None
            return
        told = (item.identifier, metadata.elapsedTime, metadata.elapsedTimeTimestamp)
        known, self._told = self._told, told
        if unstamped and self.anchor is not None and math.isfinite(told[1]):
            self.anchor = Anchor(told[1], None)  # a seek that happens now
        elif told != known:
            clock.see(told[2])
            self.anchor = anchor_of(told[1], told[2])
        elif self.anchor is not None and self.moving is not moved:
            total = metadata.duration
            where = self.anchor.position(clock, moved, total, at)
            if 0 < total < where:
                where = total
            self.anchor = Anchor(where, at)


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
        self._clock = Clock()
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
        name = proto.text(body, "displayName")
        return self._client_called(proto.text(body, "bundleIdentifier") or "", name)

    def _client_called(self, identifier: str, name: str | None) -> Client:
        identifier = identifier[:NAME]
        client = self._clients.get(identifier)
        if client is None:
            _make_room(self._clients, CLIENTS, self._active)
            client = self._clients[identifier] = Client(identifier)
        client.name = (name or "")[:NAME] or client.name
        return client

    def _player(self, path: Any) -> tuple[Client, Player]:
        client = self._client(path.client)
        return client, self._player_called(client, proto.text(path.player, "identifier") or "")

    def _player_called(self, client: Client, identifier: str) -> Player:
        identifier = identifier[:NAME]
        player = client.players.get(identifier)
        if player is None:
            _make_room(client.players, PLAYERS, client.active)
            player = client.players[identifier] = Player(identifier)
        return player

    def _set_state(self, body: Any) -> None:
        """Each field that is there replaces what was there; the others stay."""
        old = not body.HasField("playerPath") and proto.text(body, "displayID")
        if old:  # up to tvOS 11: what is told is what plays
            client = self._client_called(old, proto.text(body, "displayName"))
            player = self._player_called(client, commands.DEFAULT_PLAYER)
            self._active, client.active = client, None
        else:
            _, player = self._player(body.playerPath)
        moved, at = player.moving, self._when(body, player)
        if body.HasField("playbackState"):
            player.state = body.playbackState
        if body.HasField("supportedCommands"):
            player.commands = _by_number(body.supportedCommands)
        if body.HasField("playbackQueue"):
            player.items = list(body.playbackQueue.contentItems)
            player.location = body.playbackQueue.location
        elif old and body.HasField("nowPlayingInfo"):
            player.items, player.location = [_item_of(body.nowPlayingInfo)], 0
        if body.HasField("playbackQueue") or body.HasField("supportedCommands"):
            player.size = body.ByteSize()
            self._forget(player)
        player.follow(self._clock, moved, at)

    def _when(self, body: Any, player: Player) -> float | None:
        """When the state in a message began, by the device's clock; None if that is not told."""
        at: float = body.playbackStateTimestamp
        if not at or not math.isfinite(at):
            return None
        known = player.state
        fresh = body.HasField("playbackState") and known not in (None, body.playbackState)
        self._clock.see(at, fresh)
        return at

    def _forget(self, current: Player) -> None:
        """Keep no more than there is room for: what was told first goes first."""
        everyone = [p for client in self._clients.values() for p in client.players.values()]
        kept = sum(player.size for player in everyone)
        for player in everyone:
            if kept <= KEPT:
                return
            if player is not current and player is not self.player:
                kept -= player.size
                player.items, player.commands, player.size = [], {}, 0

    def _update_items(self, body: Any) -> None:
        """Fields that are there overwrite; an update cannot clear one."""
        _, player = self._player(body.playerPath)
        moved, unstamped, current = player.moving, False, player.item
        for update in body.contentItems:
            if not update.HasField("metadata"):
                continue
            identifier, metadata = update.identifier, update.metadata
            for item in player.items:
                if item.identifier == identifier:
                    item.metadata.MergeFrom(metadata)
                    if item is current and metadata.HasField("elapsedTime"):
                        unstamped = not metadata.HasField("elapsedTimeTimestamp")
        player.follow(self._clock, moved, None, unstamped)

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
        return None if player is None else player.metadata

    @property
    def listed(self) -> bool:
        """True if what plays says what can be done with it."""
        player, client = self.player, self._active
        return bool((player is not None and player.commands) or (client and client.commands))

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
        """What the player is doing."""
        player = self.player
        return DeviceState.Idle if player is None else player.doing

    def shuffle(self) -> ShuffleState | None:
        """The shuffle state; Off if the app cannot shuffle, None if it does not say how it is."""
        info = self.command(commands.SET_SHUFFLE)
        return ShuffleState.Off if info is None else SHUFFLE.get(info.shuffleMode)

    def repeat(self) -> RepeatState | None:
        """The repeat state; Off if the app cannot repeat, None if it does not say how it is."""
        info = self.command(commands.SET_REPEAT)
        return RepeatState.Off if info is None else REPEAT.get(info.repeatMode)

    def playing(
        self, artwork: Callable[[], Artwork | None] | None = None, now: float | None = None
    ) -> Playing:
        """What is playing, as the user sees it.

        Args:
            artwork: Gets the image, for notebooks.
            now: Seconds since 2001 by the device's clock; None asks that.
        """
        player = self.player
        item = None if player is None else player.item
        metadata = item.metadata if item is not None and item.HasField("metadata") else None
        state = self.state()
        identifier = (proto.text(item, "identifier") if item is not None else None) or None
        fields: dict[str, Any] = {}
        if metadata is not None:
            has = metadata.HasField
            for name, field in TEXTS.items():
                value = getattr(metadata, field)  # as proto.text(), without a call for each
                if value or has(field):
                    value = value if type(value) is str else proto.text(metadata, field)
                    fields[name] = value[:TEXT] if value else value
            for name, field in NUMBERS.items():
                if has(field):
                    fields[name] = getattr(metadata, field)
            fields["total_time"] = _whole(metadata.duration)
            fields["media_type"] = MEDIA_TYPES.get(metadata.mediaType, MediaType.Unknown)
            fields["rate"] = 1.0 if player is not None and player.moving else 0.0
            fields["position"] = player.position(self._clock, now) if player is not None else None
            if metadata.artworkAvailable or metadata.artworkURL:
                image = (proto.text(metadata, "artworkIdentifier") or "")[:TEXT]
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


def _make_room(known: dict[str, Any], most: int, active: Any) -> None:
    """Forget what was heard of first if there are too many, but not what is active."""
    if len(known) >= most:
        first = next(key for key, one in known.items() if one is not active)
        del known[first]


def _item_of(info: Any) -> Any:
    """What an old device tells of what plays, in the form of newer ones."""
    metadata: dict[str, Any] = {}
    for name, field in OLD_FIELDS.items():
        if info.HasField(name):
            value = getattr(info, name)
            metadata[field] = proto.text(info, name) if isinstance(value, (str, bytes)) else value
    item: dict[str, Any] = {"metadata": metadata}
    if info.uniqueIdentifier:
        item["identifier"] = str(info.uniqueIdentifier)
    return proto.build(proto.UPDATE_CONTENT_ITEM, contentItems=[item]).body.contentItems[0]
