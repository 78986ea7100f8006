"""What MRP clients are told: the state at one moment, and the messages from one to the next.

A :class:`DeviceView` is taken after every change. Each client has its own last one, and
gets messages for what is different now, so that it misses nothing and hears nothing twice.
"""

from __future__ import annotations

import functools
import time
import zlib
from collections.abc import Iterator
from typing import Any, Callable

from .. import proto
from ..model import App, DeviceState, MediaType, RepeatState, ShuffleState
from ..proto import Message, build, commands
from ..wire import varint
from .contents import Item, Player, TextField
from .mrp_identity import Hardware, MrpIdentity, MrpQuirks
from .state import FAST, SKIP, State

ORIGIN = 1280262988  # "LOCL": what real devices call themselves
FIRST_PROCESS = 123  # made up; real ones change with each launch, and are part of no key
JUMP = 0.05  # s; a position that is further off than this has moved by more than the clock

STATES = {
    DeviceState.Idle: commands.STATE_PAUSED,
    DeviceState.Loading: commands.STATE_INTERRUPTED,
    DeviceState.Paused: commands.STATE_PAUSED,
    DeviceState.Playing: commands.STATE_PLAYING,
    DeviceState.Stopped: commands.STATE_STOPPED,
    DeviceState.Seeking: commands.STATE_SEEKING,
}
SHUFFLES = {ShuffleState[name]: mode for name, mode in commands.SHUFFLE_MODES.items()}
REPEATS = {RepeatState[name]: mode for name, mode in commands.REPEAT_MODES.items()}
MEDIA = {
    MediaType.Unknown: commands.MEDIA_UNKNOWN,
    MediaType.Music: commands.MEDIA_AUDIO,
    MediaType.Video: commands.MEDIA_VIDEO,
    MediaType.TV: commands.MEDIA_VIDEO,
}

QUEUE_COMMANDS = (  # real devices list them, too (captured); here they are noted, and do nothing
    commands.ENABLE_LANGUAGE, commands.DISABLE_LANGUAGE, commands.REORDER_QUEUE,
    commands.REMOVE_FROM_QUEUE, commands.PLAY_FROM_QUEUE,
)  # fmt: skip
COMMANDS = {  # command: word, by which the app knows it
    commands.PLAY: "play",
    commands.PAUSE: "pause",
    commands.PLAY_PAUSE: "play_pause",
    commands.STOP: "stop",
    commands.NEXT: "next",
    commands.PREVIOUS: "previous",
    commands.ADVANCE_SHUFFLE: "set_shuffle",
    commands.ADVANCE_REPEAT: "set_repeat",
    commands.BEGIN_FAST_FORWARD: "fast_forward",
    commands.END_FAST_FORWARD: "fast_forward",
    commands.BEGIN_REWIND: "rewind",
    commands.END_REWIND: "rewind",
    commands.SKIP_FORWARD: "skip_forward",
    commands.SKIP_BACKWARD: "skip_backward",
    commands.SET_RATE: "set_rate",
    commands.NEXT_IN_CONTEXT: "next",
    commands.PREVIOUS_IN_CONTEXT: "previous",
    commands.SET_POSITION: "set_position",
    commands.SET_REPEAT: "set_repeat",
    commands.SET_SHUFFLE: "set_shuffle",
    **{number: commands.NAMES[number] for number in QUEUE_COMMANDS},
}


class Config:
    """What a client wants to hear, from CLIENT_UPDATES_CONFIG."""

    def __init__(self, body: Any) -> None:
        self.artwork: bool = body.artworkUpdates
        self.now_playing: bool = body.nowPlayingUpdates  # SET_STATE and its like come anyway
        self.volume: bool = body.volumeUpdates
        self.keyboard: bool = body.keyboardUpdates
        self.outputs: bool = body.outputDeviceUpdates


class PlayerView:
    """One player at one moment; what messages need of it is made when they do.

    Attributes:
        facts: All that it depends on, but the position.
        elapsed: The position, in seconds.
        at: When that was, in seconds since 2001.
        speed: How fast it moves.
        app: Its app.
        identifier: Its own.
    """

    def __init__(
        self, state: State, player: Player, app: App, process: int, quirks: MrpQuirks
    ) -> None:
        self.app = app
        self.identifier = "" if quirks.client_without_player else player.identifier
        self.elapsed = player.position
        self.at = time.time() - commands.EPOCH
        self.speed = player.speed
        self._hidden = quirks.netflix and player is state.player
        item = None if self._hidden else player.item
        self._attributes = None if item is None else vars(item).copy()
        self._does = player.device_state
        self._offers = (
            frozenset(player.unknown), frozenset(player.disabled), player.repeat, player.shuffle,
        )  # fmt: skip
        self._where = state.name, process, player.identifier, player.name
        self._quirks = (
            quirks.no_metadata, quirks.rate_zero, quirks.no_timestamp,
            quirks.client_without_player,
        )  # fmt: skip
        self.facts = (
            self._does, self.speed, self._hidden, self._offers, self._where, app, self._quirks,
            self._attributes,
        )  # fmt: skip
        self._metadata: dict[str, Any] | None = None

    @property
    def state(self) -> int:
        """What it does, as a number of messages."""
        return commands.STATE_PAUSED if self._hidden else STATES[self._does]

    @property
    def commands(self) -> list[dict[str, Any]]:
        """The commands that its app knows, as a field of messages."""
        return list_commands(*self._offers)

    @property
    def item(self) -> str | None:
        """Identifier of what it plays, or None."""
        return None if self._attributes is None else self._attributes["identifier"]

    @property
    def artwork(self) -> bytes | None:
        """Image of what it plays; None draws one."""
        return b"" if self._attributes is None else self._attributes["artwork"]

    @property
    def metadata(self) -> dict[str, Any]:
        """What is told of that, without its position."""
        if self._metadata is None:
            no_metadata, rate_zero, _, _ = self._quirks
            metadata = {}
            if self._attributes is not None and not no_metadata:
                still = rate_zero and self._does is DeviceState.Playing
                metadata = item_metadata(Item.restore(self._attributes))
                metadata["playbackRate"] = 0.0 if still else self.speed
            self._metadata = metadata
        return self._metadata

    @property
    def path(self) -> Any:
        """Where it is, as a field of messages."""
        return player_path(*self._where, self.app.identifier, self.app.name, bool(self.identifier))

    def jumped(self, before: PlayerView) -> bool:
        """True if the position is not where it would be by now."""
        expected = before.elapsed + before.speed * (self.at - before.at)
        return abs(self.elapsed - expected) > JUMP

    def content(self) -> dict[str, Any]:
        """Its item as a field of messages."""
        if not self.metadata:
            return {"identifier": self.item}
        metadata = {**self.metadata, "elapsedTime": self.elapsed}
        _, _, no_timestamp, _ = self._quirks
        if not no_timestamp:
            metadata["elapsedTimeTimestamp"] = self.at
        return {"identifier": self.item, "metadata": metadata}

    def queue(self) -> dict[str, Any]:
        """Its queue as a field of messages."""
        return {"location": 0, "contentItems": [] if self.item is None else [self.content()]}

    def set_state(self, **fields: Any) -> Message:
        """A SET_STATE about it."""
        return build(
            proto.SET_STATE, displayID=self.app.identifier, displayName=self.app.name or "",
            playerPath=self.path, playbackStateTimestamp=self.at, **fields,
        )  # fmt: skip

    def everything(self) -> Message:
        """A SET_STATE with all that there is."""
        return self.set_state(
            supportedCommands={"supportedCommands": self.commands},
            playbackQueue=self.queue(),
            playbackState=self.state,
            playbackQueueCapabilities={"requestByRange": True},
        )

    def news(self, before: PlayerView, config: Config) -> Iterator[Message]:
        """What is different."""
        jumped = self.jumped(before)
        if self.facts == before.facts and not jumped:
            return
        fields: dict[str, Any] = {}
        if self.commands != before.commands:
            fields["supportedCommands"] = {"supportedCommands": self.commands}
        if self.state != before.state:
            fields["playbackState"] = self.state
        same = self.item is not None and self.item == before.item
        moved = self.item != before.item or self.state != before.state or jumped
        described = self.metadata != before.metadata
        # An update of an item can set fields but take none away.
        kept = self.metadata.keys() >= before.metadata.keys()
        updated = described and same and kept and not moved
        if not updated and (described or moved):
            fields["playbackQueue"] = self.queue()
        if fields:
            yield self.set_state(**fields)
        if updated:
            about: dict[str, Any] = {"contentItems": [self.content()], "playerPath": self.path}
            yield build(proto.UPDATE_CONTENT_ITEM, **about)
        images = (self.artwork, self.metadata.get("artworkIdentifier"))
        if same and config.artwork and images != (
            before.artwork, before.metadata.get("artworkIdentifier"),
        ):  # fmt: skip
            which: dict[str, Any] = {
                "contentItems": [{"identifier": self.item}], "playerPath": self.path,
            }  # fmt: skip
            yield build(proto.UPDATE_CONTENT_ITEM_ARTWORK, **which)


class DeviceView:
    """The device at one moment."""

    def __init__(
        self, state: State, identity: MrpIdentity, quirks: MrpQuirks, processes: dict[str, int]
    ) -> None:
        self.identity = identity
        self.quirks = quirks
        self.processes = processes
        with state.lock:
            apps = state.running
            for app in apps:
                processes.setdefault(app.identifier, FIRST_PROCESS + len(processes))
            self.clients = {app.identifier: app.name or "" for app in apps}
            self.players: dict[tuple[str, str], PlayerView] = {}
            self.chosen: dict[str, tuple[str, str]] = {}  # the player that counts, of each app
            self.active: str | None = None
            for player in state.players:
                app = player.app
                view = PlayerView(state, player, app, processes[app.identifier], quirks)
                key = app.identifier, view.identifier
                self.players[key] = view
                if player is state.player or app.identifier not in self.chosen:
                    self.chosen[app.identifier] = key
                if player is state.player and player.device_state is not DeviceState.Idle:
                    self.active = app.identifier
            self.hardware = Hardware(state, identity)
            field = state.field
            self.field = field
            self.text = None if field is None else field.text

    def client(self, app: str | None) -> dict[str, Any]:
        """An app as a field of messages; an empty one for none."""
        if app is None:
            return {}
        fields = {"processIdentifier": self.processes[app], "bundleIdentifier": app}
        return {**fields, "displayName": self.clients[app]} if self.clients[app] else fields

    # -- everything, for a client that has just said what it wants to hear -----------------------

    def burst(self, config: Config, defaults: dict[str, list[int]]) -> list[Message]:
        """All there is to tell, in the order of a real device."""
        messages = [
            build(
                proto.SET_DEFAULT_SUPPORTED_COMMANDS,
                supportedCommands={
                    "supportedCommands": [{"command": n, "enabled": True} for n in numbers]
                },
                playerPath={"client": {"bundleIdentifier": app}},
            )
            for app, numbers in defaults.items()
        ]
        now = time.time() - commands.EPOCH
        messages.append(build(proto.ORIGIN_CLIENT_PROPERTIES, lastPlayingTimestamp=now))
        if self.quirks.old_messages:
            messages += [
                build(proto.REGISTER_FOR_GAME_CONTROLLER_EVENTS, inputModeFlags=0),
                build(proto.SET_HILITE_MODE, hiliteMode=0),
                build(proto.SET_ARTWORK, jpegData=b""),
                build(
                    proto.NOTIFICATION,
                    notification=["kMRTelevisionRemoteNowPlayingArtworkChanged"],
                ),
            ]
        if self.quirks.update_client_first:
            messages += [self._now_playing(), *self._clients({})]
        for key, player in self.players.items():
            if not self.quirks.update_client_first:
                messages += self._clients({}, key[0])
            messages += self._new_player(key, player)
        if not self.quirks.update_client_first:
            with_players = {key[0] for key in self.players}
            for app in self.clients:
                if app not in with_players:
                    messages += self._clients({}, app)
            messages.append(self._now_playing())
        if config.volume:
            messages += self._volume_control() + self._volumes({})
        if config.outputs:
            messages.append(self._outputs(self.hardware.outputs))
        return messages

    # -- what is new -----------------------------------------------------------------------------

    def news(self, before: DeviceView, config: Config) -> Iterator[Message]:
        """What is different from `before`; each message is made when it is asked for."""
        now, then = self.hardware, before.hardware
        moved = now.facts != then.facts
        if moved and now.info != then.info:
            yield self.device_info(proto.DEVICE_INFO_UPDATE)
        yield from self._clients(before.clients)
        yield from self._players(before, config)
        if self.active != before.active:
            yield self._now_playing()
        for app in before.clients:
            if app not in self.clients:
                yield build(proto.REMOVE_CLIENT, client=before.client(app))
        if moved and config.volume:
            if now.capabilities != then.capabilities:
                yield from self._volume_control()
            yield from self._volumes(then.volumes)
        if moved and config.outputs:
            gone = [uid for uid in then.outputs if uid not in now.outputs]
            new = {uid: out for uid, out in now.outputs.items() if then.outputs.get(uid) != out}
            if gone:
                yield build(
                    proto.REMOVE_OUTPUT_DEVICES, outputDeviceUIDs=gone,
                    endpointUID=self.identity.group,
                )  # fmt: skip
            if new:
                yield self._outputs(new)
        if config.keyboard and (self.field, self.text) != (before.field, before.text):
            yield self._keyboard_event(before)

    def _players(self, before: DeviceView, config: Config) -> Iterator[Message]:
        for key, player in before.players.items():
            if key in self.players:
                continue
            yield player.set_state(
                playbackQueue={"location": 0}, playbackState=commands.STATE_PAUSED
            )
            if key[0] in self.clients:
                yield build(proto.REMOVE_PLAYER, playerPath=player.path)
        for key, player in self.players.items():
            if key not in before.players:
                yield from self._new_player(key, player)
                continue
            yield from player.news(before.players[key], config)
            if self.chosen[key[0]] == key != before.chosen.get(key[0]):
                yield build(proto.SET_NOW_PLAYING_PLAYER, playerPath=player.path)

    def _new_player(self, key: tuple[str, str], player: PlayerView) -> list[Message]:
        messages = []
        if not self.quirks.client_without_player:
            messages.append(build(proto.UPDATE_PLAYER, playerPath=player.path))
            if self.chosen[key[0]] == key:
                messages.append(build(proto.SET_NOW_PLAYING_PLAYER, playerPath=player.path))
        messages.append(player.everything())
        messages.append(build(
            proto.PLAYER_CLIENT_PROPERTIES, playerPath=player.path, lastPlayingTimestamp=player.at
        ))  # fmt: skip
        return messages

    def _clients(self, before: dict[str, str], only: str | None = None) -> list[Message]:
        return [
            build(proto.UPDATE_CLIENT, client=self.client(app))
            for app, name in self.clients.items()
            if before.get(app) != name and only in (None, app)
        ]

    def _now_playing(self) -> Message:
        return build(proto.SET_NOW_PLAYING_CLIENT, client=self.client(self.active))

    def _volume_control(self) -> list[Message]:
        fields: dict[str, Any] = {
            "volumeControlAvailable": self.hardware.available,
            "volumeCapabilities": self.hardware.capabilities,
        }
        return [
            build(proto.VOLUME_CONTROL_AVAILABILITY, **fields),
            build(
                proto.VOLUME_CONTROL_CAPABILITIES_DID_CHANGE, capabilities=fields,
                endpointUID=self.identity.group, outputDeviceUID=self.identity.output,
            ),
        ]  # fmt: skip

    def _volumes(self, before: dict[str, float]) -> list[Message]:
        return [
            build(
                proto.VOLUME_DID_CHANGE, volume=level, endpointUID=self.identity.group,
                outputDeviceUID=uid,
            )
            for uid, level in self.hardware.volumes.items()
            if before.get(uid) != level
        ]  # fmt: skip

    def _outputs(self, outputs: dict[str, dict[str, Any]]) -> Message:
        found = list(outputs.values())
        return build(
            proto.UPDATE_OUTPUT_DEVICE, outputDevices=found, clusterAwareOutputDevices=found,
            endpointUID=self.identity.group,
        )  # fmt: skip

    def device_info(self, kind: int, identifier: str = "") -> Message:
        """DEVICE_INFO or DEVICE_INFO_UPDATE."""
        return build(kind, identifier, **self.hardware.info)

    # -- text ------------------------------------------------------------------------------------

    def keyboard(self, identifier: str = "", state: int | None = None) -> Message:
        """The text field as it is."""
        if state is None:
            state = commands.NOT_EDITING if self.field is None else commands.EDITING
        field = self.field or TextField()
        traits = {
            "autocapitalizationType": 0,
            "keyboardType": 0,
            "returnKeyType": 0,
            "autocorrection": False,
            "spellchecking": False,
            "enablesReturnKeyAutomatically": False,
            "secureTextEntry": field.secure,
            "validTextRangeLocation": 0,
            "validTextRangeLength": 0,
        }
        about: dict[str, Any] = {"inputTraits": traits}
        if field.title:
            about["title"] = field.title
        if field.prompt:
            about["prompt"] = field.prompt
        return build(proto.KEYBOARD, identifier, state=state, attributes=about)

    def _keyboard_event(self, before: DeviceView) -> Message:
        if self.field is None:
            return self.keyboard(state=commands.DID_END)
        return self.keyboard(
            state=commands.TEXT_CHANGED if self.field is before.field else commands.DID_BEGIN
        )


@functools.lru_cache(maxsize=64)
def player_path(
    origin: str, process: int, identifier: str, name: str, app: str, title: str | None, whole: bool
) -> Any:
    """Where a player is, as a field of messages: a message, since it is part of nearly all."""
    client = {"processIdentifier": process, "bundleIdentifier": app}
    path: dict[str, Any] = {
        "origin": {"type": 1, "displayName": origin, "identifier": ORIGIN},
        "client": client if title is None else {**client, "displayName": title},
    }
    if whole:
        path["player"] = {
            "identifier": identifier, "displayName": name,
            "isDefaultPlayer": identifier == commands.DEFAULT_PLAYER,
        }  # fmt: skip
    return build(proto.UPDATE_PLAYER, playerPath=path).body.playerPath


@functools.lru_cache(maxsize=64)  # a view of every player is taken after each change
def list_commands(
    absent: frozenset[str], disabled: frozenset[str], repeat: RepeatState, shuffle: ShuffleState
) -> list[dict[str, Any]]:
    """The commands that an app knows, whether it takes them now, and what they need."""
    details: dict[int, dict[str, Any]] = {
        commands.SKIP_FORWARD: {"preferredIntervals": [SKIP]},
        commands.SKIP_BACKWARD: {"preferredIntervals": [SKIP]},
        commands.SET_RATE: {"supportedRates": [0.5, 1.0, 1.5, FAST]},
        commands.SET_POSITION: {"canScrub": 1},
        commands.SET_REPEAT: {"repeatMode": REPEATS[repeat]},
        commands.SET_SHUFFLE: {"shuffleMode": SHUFFLES[shuffle]},
    }
    return [
        {"command": number, "enabled": word not in disabled, **details.get(number, {})}
        for number, word in COMMANDS.items()
        if word not in absent
    ]


def item_metadata(item: Item) -> dict[str, Any]:
    """What is known of an item, without its position."""
    image = item.artwork != b"" or item.artwork_url is not None
    identifier = item.artwork_identifier
    if identifier is None and image:
        drawn = f"{item.title}{item.album}".encode()
        identifier = f"{zlib.crc32(drawn if item.artwork is None else item.artwork):08x}"
    fields = {
        "title": item.title,
        "albumName": item.album,
        "trackArtistName": item.artist,
        "genre": item.genre,
        "duration": item.duration or None,
        "seriesName": item.series_name,
        "seasonNumber": item.season_number,
        "episodeNumber": item.episode_number,
        "contentIdentifier": item.content_identifier,
        "iTunesStoreIdentifier": item.itunes_store_identifier,
        "artworkAvailable": image,
        "artworkMIMEType": item.mime,
        "artworkIdentifier": identifier,
        "artworkURL": item.artwork_url,
        "mediaType": MEDIA[item.media_type],
        "mediaSubType": 1 if item.media_type is MediaType.Music else 0,
        "defaultPlaybackRate": 1.0,
        "isAlwaysLive": not item.duration,
    }
    return {name: value for name, value in fields.items() if value is not None}


def dumper(quirks: MrpQuirks) -> Callable[[Message], bytes]:
    """A function that turns messages into bytes, as well as the quirks let it."""

    def dumps(message: Message) -> bytes:
        if quirks.wrong_types:
            for item in _items(message):
                metadata = item.metadata
                elapsed = int(metadata.elapsedTime)
                metadata.ClearField("elapsedTime")
                metadata.ClearField("genre")
                metadata.MergeFromString(
                    varint.encode(35 << 3) + varint.encode(elapsed)
                    + varint.encode(36 << 3 | 5) + b"\x01\x02\x03\x04"
                )  # fmt: skip
        if not quirks.unknown_fields:
            return proto.dumps(message)
        extra = (
            varint.encode(500 << 3) + varint.encode(1 << 40)
            + varint.encode(500 << 3 | 2) + b"\x03odd"
            + varint.encode(501 << 3 | 1) + bytes(range(8))
            + varint.encode(501 << 3 | 5) + bytes(4)
        )  # fmt: skip
        if message.body is not None and hasattr(message.body, "MergeFromString"):
            message.body.MergeFromString(extra)
        return proto.dumps(message) + extra

    return dumps


def _items(message: Message) -> list[Any]:
    """The items in a message that have metadata."""
    body = message.body
    if message.kind == proto.SET_STATE:
        found = body.playbackQueue.contentItems
    elif message.kind == proto.UPDATE_CONTENT_ITEM:
        found = body.contentItems
    else:
        return []
    return [item for item in found if item.HasField("metadata")]
