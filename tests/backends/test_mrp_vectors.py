"""What MRP messages mean, against the vectors and every rule of the player state model."""

from __future__ import annotations

import math

import pytest

from tests.support.vectors import cases
from tinyatv import App, DeviceState, MediaType, RepeatState, ShuffleState, proto
from tinyatv.backends.mrp_state import REPEAT_MODE, SHUFFLE_MODE, Players
from tinyatv.discovery.records import Record, build_device
from tinyatv.proto import commands as numbers
from tinyatv.proto.commands import DEFAULT_PLAYER
from tinyatv.wire.mrp import MrpWire

MUSIC, PLEX = "com.apple.TVMusic", "com.plexapp.plex"
NOW = 700000010.0


def vector(name: str) -> proto.Message:
    """A message of the vectors; some have a frame around them."""
    case = next(c for c in cases("mrp", "messages") if c["name"] == name)
    if "frame_hex" not in case:
        return proto.parse(bytes.fromhex(case["message_hex"]))
    wire = MrpWire(proto.dumps, proto.parse, proto.key)
    wire.feed(bytes.fromhex(case["frame_hex"]))
    return wire.next_message()


def path(client: str | None = MUSIC, player: str | None = DEFAULT_PLAYER, name: str | None = None):
    made: dict = {"client": {}}
    if client is not None:
        made["client"]["bundleIdentifier"] = client
    if name is not None:
        made["client"]["displayName"] = name
    if player is not None:
        made["player"] = {"identifier": player}
    return made


def set_state(where=None, **fields):
    return proto.build(proto.SET_STATE, playerPath=where or path(), **fields)


def queue(*titles, location=0, **metadata):
    items = [{"identifier": f"id {t}", "metadata": {"title": t, **metadata}} for t in titles]
    return {"location": location, "contentItems": items}


def active(client: str | None = MUSIC, **more):
    fields = {} if client is None else {"bundleIdentifier": client, **more}
    return proto.build(proto.SET_NOW_PLAYING_CLIENT, client=fields)


def commands(*infos):
    return {"supportedCommands": [dict(zip(("command", "enabled"), info)) for info in infos]}


def after(*messages) -> Players:
    players = Players()
    for message in messages:
        # As it comes over the wire, which may differ from what was built.
        assert players.handle(proto.parse(proto.dumps(message)))
    return players


def title(players: Players) -> str | None:
    return players.playing().title


# -- the vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("mrp", "commands"), ids=lambda c: c["name"])
def test_commands(case):
    word, expect = case["name"], case["expect"]
    if "command" in expect:
        assert getattr(numbers, word.upper()) == expect["command"]
    elif "repeat_mode" in expect:
        assert REPEAT_MODE[RepeatState[word.partition("_")[2]]] == expect["repeat_mode"]
    else:
        assert SHUFFLE_MODE[ShuffleState[word.partition("_")[2]]] == expect["shuffle_mode"]


@pytest.mark.parametrize("case", cases("mrp", "device_state"), ids=lambda c: c["name"])
def test_device_state(case):
    fields: dict = {}
    if case["playback_state"] is not None:
        fields["playbackState"] = case["playback_state"]
    if case["item"]:
        rate = {} if case["rate"] is None else {"playbackRate": case["rate"]}
        fields["playbackQueue"] = queue("x", **rate)
    players = after(active(), set_state(**fields))
    assert players.state() is DeviceState[case["expect"]["state"]]


@pytest.mark.parametrize("case", cases("mrp", "snapshot"), ids=lambda c: c["name"])
def test_snapshot(case):
    players = Players()
    for name in case["messages"]:
        assert players.handle(vector(name))
    playing, expect = players.playing(now=case["now"]), dict(case["expect"])
    assert playing.device_state is DeviceState[expect.pop("state")]
    app = App(expect.pop("app_name", None), expect.pop("app_id", ""))
    if app.identifier:
        assert playing.app == app
    for enum, name in (
        (MediaType, "media_type"),
        (RepeatState, "repeat"),
        (ShuffleState, "shuffle"),
    ):
        if name in expect:
            assert getattr(playing, name) is enum[expect.pop(name)]
    for name, value in expect.items():
        assert getattr(playing, name) == value


@pytest.mark.parametrize("case", cases("mrp", "discovery"), ids=lambda c: c["name"])
def test_discovery(case):
    txt = {"Name": "TV", "UniqueIdentifier": "I", "SystemBuildVersion": case["SystemBuildVersion"]}
    if case["AllowPairing"] is not None:
        txt["AllowPairing"] = case["AllowPairing"]
    txt = {key.lower(): value for key, value in txt.items()}
    record = Record("_mediaremotetv._tcp.local.", "TV", 49152, "192.0.2.1", txt)
    service = build_device("192.0.2.1", [record]).service("mrp")
    assert service.enabled is case["expect"]["enabled"]
    assert service.pairing.name == case["expect"]["pairing"]


# -- which player counts ---------------------------------------------------------------------------


def test_any_order():
    """Neither the client nor the player has to come first."""
    told = [
        active(MUSIC, displayName="Music"),
        set_state(playbackState=1, playbackQueue=queue("Song")),
        proto.build(proto.UPDATE_CLIENT, client={"bundleIdentifier": MUSIC}),
    ]
    for messages in (told, told[::-1], told[1:] + told[:1]):
        playing = after(*messages).playing()
        assert (playing.title, playing.device_state) == ("Song", DeviceState.Playing)
        assert playing.app == App("Music", MUSIC)


def test_nothing_plays_until_a_client_is_active():
    players = after(set_state(playbackState=1, playbackQueue=queue("Song")))
    assert players.playing().device_state is DeviceState.Idle
    assert players.app() is None


def test_an_empty_client_means_none():
    for empty in (active(None), active("")):
        players = after(active(), set_state(playbackState=1, playbackQueue=queue("Song")), empty)
        assert (players.state(), players.app(), title(players)) == (DeviceState.Idle, None, None)


def test_two_clients():
    players = after(
        active(MUSIC),
        set_state(playbackState=1, playbackQueue=queue("Song")),
        set_state(path(PLEX), playbackState=2, playbackQueue=queue("Film")),
    )
    assert title(players) == "Song"
    players.handle(active(PLEX))
    assert (title(players), players.state()) == ("Film", DeviceState.Paused)


def test_active_player_of_a_client():
    """It is the default player until another is named; that does not change the client."""
    players = after(
        active(),
        set_state(playbackState=1, playbackQueue=queue("Default")),
        set_state(path(player="avkit-1"), playbackState=2, playbackQueue=queue("Other")),
    )
    assert title(players) == "Default"
    players.handle(proto.build(proto.SET_NOW_PLAYING_PLAYER, playerPath=path(player="avkit-1")))
    assert title(players) == "Other"
    players.handle(proto.build(proto.SET_NOW_PLAYING_PLAYER, playerPath=path(PLEX, "avkit-2")))
    assert title(players) == "Other"
    players.handle(proto.build(proto.REMOVE_PLAYER, playerPath=path(player="avkit-1")))
    assert title(players) == "Default"


def test_client_without_any_player():
    players = after(active(MUSIC))
    assert players.playing().device_state is DeviceState.Idle
    assert players.app() == App(None, MUSIC)


def test_a_player_that_is_not_the_default_does_not_count_by_itself():
    players = after(active(), set_state(path(player="avkit-1"), playbackQueue=queue("x")))
    assert players.player is None


def test_remove_client():
    gone = proto.build(proto.REMOVE_CLIENT, client={"bundleIdentifier": MUSIC})
    other = proto.build(proto.REMOVE_CLIENT, client={"bundleIdentifier": PLEX})
    playing = set_state(playbackState=1, playbackQueue=queue("Song"))
    players = after(active(), playing, other)
    assert title(players) == "Song"
    players.handle(gone)
    assert (players.app(), title(players)) == (None, None)
    players.handle(active())
    assert title(players) is None  # its players went with it


def test_remove_player_without_identifier_is_ignored():
    for where in (path(player=None), path(player="")):
        removed = proto.build(proto.REMOVE_PLAYER, playerPath=where)
        players = after(active(), set_state(playbackQueue=queue("Song")), removed)
        assert title(players) == "Song"


def test_state_without_client_or_player_does_no_harm():
    players = after(
        active(), set_state(playbackState=1, playbackQueue=queue("Song")),
        proto.build(proto.SET_STATE, playbackState=2),
        set_state(path(None, None), playbackState=2), set_state(path(player=""), playbackState=2),
    )  # fmt: skip
    assert (title(players), players.state()) == ("Song", DeviceState.Playing)


def test_name_of_the_app():
    def named(name):
        return proto.build(
            proto.UPDATE_CLIENT, client={"bundleIdentifier": MUSIC, "displayName": name}
        )

    players = after(named("First"), active())
    assert players.app() == App("First", MUSIC)
    players.handle(named(""))
    assert players.app() == App("First", MUSIC)
    players.handle(named("Second"))
    assert players.app() == App("Second", MUSIC)
    players.handle(set_state(path(name="Third")))
    assert players.app() == App("Third", MUSIC)


# -- how states merge ------------------------------------------------------------------------------


def test_set_state_replaces_what_is_there_and_nothing_else():
    players = after(
        active(),
        set_state(
            playbackState=1, playbackQueue=queue("a", "b"), supportedCommands=commands((1, True))
        ),
        set_state(playbackState=2),
    )
    assert (title(players), players.state()) == ("a", DeviceState.Paused)
    assert players.enabled(1)
    players.handle(set_state(playbackQueue=queue("c", "d", location=1)))
    assert (title(players), players.state()) == ("d", DeviceState.Paused)
    players.handle(set_state(supportedCommands={}))
    assert not players.enabled(1)
    players.handle(set_state(playbackQueue={}))
    assert (title(players), players.state()) == (None, DeviceState.Idle)


@pytest.mark.parametrize("location", [1, 7, -1, 2**31 - 1, -(2**31)])
def test_location_outside_of_the_queue(location):
    players = after(
        active(), set_state(playbackState=1, playbackQueue=queue("a", location=location))
    )
    assert title(players) is None


def test_update_merges_into_items_of_that_identifier():
    def update(identifier, **metadata):
        item = {"identifier": identifier, "metadata": metadata}
        return proto.build(proto.UPDATE_CONTENT_ITEM, contentItems=[item], playerPath=path())

    players = after(
        active(),
        set_state(playbackState=1, playbackQueue=queue("Song", seasonNumber=3, isAlwaysLive=True)),
        update("id Song", trackArtistName="Somebody", seasonNumber=0),
        update("id of nobody", title="No"),
    )
    playing = players.playing()
    assert (playing.title, playing.artist, playing.season_number) == ("Song", "Somebody", 0)
    players.handle(proto.build(proto.UPDATE_CONTENT_ITEM, playerPath=path(),
                               contentItems=[{"identifier": "id Song"}]))  # fmt: skip
    assert players.playing() == playing


def test_update_of_items_without_identifier():
    players = after(
        active(),
        set_state(playbackQueue={"contentItems": [{"metadata": {"title": "a"}}]}),
        proto.build(
            proto.UPDATE_CONTENT_ITEM,
            contentItems=[{"metadata": {"albumName": "b"}}], playerPath=path(),
        ),
    )  # fmt: skip
    assert (players.playing().title, players.playing().album) == ("a", "b")


def test_an_update_for_another_player_changes_nothing_here():
    players = after(
        active(), set_state(playbackQueue=queue("Song")),
        proto.build(proto.UPDATE_CONTENT_ITEM, playerPath=path(PLEX),
                    contentItems=[{"identifier": "id Song", "metadata": {"title": "Other"}}]),
    )  # fmt: skip
    assert title(players) == "Song"


# -- commands --------------------------------------------------------------------------------------


def defaults(*infos):
    return proto.build(
        proto.SET_DEFAULT_SUPPORTED_COMMANDS,
        supportedCommands=commands(*infos), playerPath=path(player=None),
    )  # fmt: skip


def test_commands_of_the_player_then_of_the_app():
    players = after(
        active(), defaults((1, True), (2, True)),
        set_state(supportedCommands=commands((1, False), (3,), (5, True))),
    )  # fmt: skip
    enabled = [number for number in range(1, 7) if players.enabled(number)]
    assert enabled == [2, 5]  # 1 is disabled, and found first; 3 does not say


def test_default_commands_count_without_a_player():
    assert after(active(), defaults((1, True))).enabled(1)


@pytest.mark.parametrize(
    ("mode", "expect"),
    [(None, None), (0, None), (1, ShuffleState.Off), (2, ShuffleState.Albums),
     (3, ShuffleState.Songs), (9, None)],
)  # fmt: skip
def test_shuffle(mode, expect):
    info = {"command": 47} if mode is None else {"command": 47, "shuffleMode": mode}
    players = after(active(), set_state(supportedCommands={"supportedCommands": [info]}))
    assert players.shuffle() is expect
    assert after(active()).shuffle() is ShuffleState.Off


@pytest.mark.parametrize(
    ("mode", "expect"),
    [(None, None), (0, None), (1, RepeatState.Off), (2, RepeatState.Track),
     (3, RepeatState.All), (9, None)],
)  # fmt: skip
def test_repeat(mode, expect):
    info = {"command": 46} if mode is None else {"command": 46, "repeatMode": mode}
    players = after(active(), set_state(supportedCommands={"supportedCommands": [info]}))
    assert players.repeat() is expect
    assert after(active()).repeat() is RepeatState.Off


# -- metadata and position -------------------------------------------------------------------------


def playing_with(state=1, **metadata):
    return after(active(), set_state(playbackState=state, playbackQueue=queue("x", **metadata)))


@pytest.mark.parametrize(
    ("state", "metadata", "expect"),
    [
        (1, {"elapsedTime": 42.5}, None),  # too old to say anything
        (1, {"elapsedTime": 42.5, "elapsedTimeTimestamp": 0.0, "playbackRate": 1.0}, None),
        (1, {"elapsedTime": 42.5, "elapsedTimeTimestamp": NOW - 10, "playbackRate": 1.0}, 52),
        (1, {"elapsedTime": 42.5, "elapsedTimeTimestamp": NOW - 10}, 42),
        (1, {"elapsedTime": 42.5, "elapsedTimeTimestamp": NOW - 10, "playbackRate": 0.0}, 42),
        (1, {"elapsedTime": 42.5, "elapsedTimeTimestamp": NOW - 10, "playbackRate": 2.0}, 42),
        (2, {"elapsedTime": 42.5, "elapsedTimeTimestamp": NOW - 10, "playbackRate": 1.0}, 42),
        (1, {"elapsedTimeTimestamp": NOW - 10, "playbackRate": 1.0}, 10),
        (2, {"elapsedTime": -0.449, "elapsedTimeTimestamp": NOW}, 0),
        (1, {"elapsedTime": 5.0, "elapsedTimeTimestamp": NOW + 60, "playbackRate": 1.0}, 0),
        (1, {"elapsedTime": 90.0, "elapsedTimeTimestamp": NOW - 60, "playbackRate": 1.0,
             "duration": 100.9}, 100),
        (1, {"elapsedTime": 90.0, "elapsedTimeTimestamp": NOW - 60, "playbackRate": 1.0,
             "duration": 0.0}, 150),
        (1, {"elapsedTime": math.nan, "elapsedTimeTimestamp": NOW, "playbackRate": 1.0}, None),
        (1, {"elapsedTime": 1.0, "elapsedTimeTimestamp": math.inf, "playbackRate": 1.0}, None),
    ],
)  # fmt: skip
def test_position(state, metadata, expect):
    assert playing_with(state, **metadata).playing(now=NOW).position == expect


@pytest.mark.parametrize(
    ("duration", "expect"), [(337.6, 337), (0.0, 0), (math.nan, 0), (math.inf, 0), (-5.0, 0)]
)
def test_total_time(duration, expect):
    assert playing_with(duration=duration).playing().total_time == expect
    assert playing_with().playing().total_time == 0


@pytest.mark.parametrize(
    ("number", "expect"),
    [(1, MediaType.Music), (2, MediaType.Video), (0, MediaType.Unknown), (7, MediaType.Unknown)],
)
def test_media_type(number, expect):
    assert playing_with(mediaType=number).playing().media_type is expect


def test_episode():
    playing = playing_with(
        seriesName="Series", seasonNumber=2, episodeNumber=5, contentIdentifier="c",
        iTunesStoreIdentifier=-1, genre="", trackArtistName="Artist", albumArtistName="No",
    ).playing()  # fmt: skip
    assert (playing.series_name, playing.season_number, playing.episode_number) == ("Series", 2, 5)
    assert (playing.content_identifier, playing.itunes_store_identifier) == ("c", -1)
    assert (playing.genre, playing.album, playing.artist) == ("", None, "Artist")


@pytest.mark.parametrize(
    ("metadata", "expect"),
    [
        ({}, None),
        ({"artworkIdentifier": "a"}, None),  # nothing says that there is one
        ({"artworkAvailable": True}, "id x"),
        ({"artworkAvailable": True, "contentIdentifier": "c"}, "c"),
        ({"artworkAvailable": True, "contentIdentifier": "c", "artworkIdentifier": "a"}, "a"),
        ({"artworkURL": "http://example.com"}, "id x"),
    ],
)
def test_artwork_id(metadata, expect):
    assert playing_with(**metadata).playing().artwork_id == expect


def test_hash_of_an_item_without_identifier():
    item = {"metadata": {"title": "t", "trackArtistName": "a", "albumName": "b", "duration": 3.0}}
    players = after(active(), set_state(playbackQueue={"contentItems": [item]}))
    import hashlib

    assert players.playing().hash == hashlib.sha256(b"tab3").hexdigest()


def test_other_messages_are_not_for_us():
    assert not Players().handle(proto.build(proto.VOLUME_DID_CHANGE, volume=0.5))
    assert not Players().handle(proto.build(proto.GENERIC))


def test_a_future_system():
    """Fields of other wire types: a rate of text, a position of whole seconds, an unknown state.

    Origin: worked by hand. SetState { playerPath, playbackState 1, playbackQueue { item {
    metadata { title, playbackRate "fast", elapsedTime varint 7, genre varint 9 } } } }
    """
    metadata = b"\x0a\x03New" + b"\xba\x02\x04fast" + b"\x98\x02\x07" + b"\xa0\x02\x09"
    item = b"\x12" + bytes([len(metadata)]) + metadata
    queued = b"\x12" + bytes([len(item)]) + item
    where = b"\x12\x03\x12\x01a" + b"\x1a\x1b\x0a\x19" + DEFAULT_PLAYER.encode()
    body = b"\x30\x01" + b"\x1a" + bytes([len(queued)]) + queued
    body += b"\x4a" + bytes([len(where)]) + where
    data = b"\x08\x04" + b"\x4a" + bytes([len(body)]) + body
    players = after(active("a"))
    assert players.handle(proto.parse(data))
    playing = players.playing()
    assert (playing.title, playing.device_state) == ("New", DeviceState.Playing)
    assert (playing.genre, playing.position) == (None, None)
