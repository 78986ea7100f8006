"""The virtual device's MRP side, asked by a bare socket."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

import tinyatv
from tests.support.mrp_client import WAIT, Remote
from tinyatv import DeviceState, RepeatState, ShuffleState, proto
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.model import App, Artwork, PowerState
from tinyatv.pairing import hap
from tinyatv.pairing.credentials import Credentials, parse
from tinyatv.pairing.hap_setup import hap_setup
from tinyatv.pairing.hap_verify import hap_verify
from tinyatv.proto import build
from tinyatv.virtual import Item, VirtualAppleTV
from tinyatv.virtual.contents import Player
from tinyatv.wire import hid, varint
from tinyatv.wire.mrp import FIRST_LIMIT, LIMIT, MrpWire

MUSIC, PODCASTS = "com.apple.TVMusic", "com.apple.podcasts"
KITCHEN = "00:F7:6F:0A:0B:0C"


@pytest.fixture
def tv():
    """A device that nobody has paired with."""
    with VirtualAppleTV("Living Room", profile="tvos14", credentials=()) as tv:
        yield tv


@pytest.fixture
def remote(tv):
    """A client that is told of everything."""
    with Remote(tv) as remote:
        yield remote.ready()


def kinds(messages):
    return [proto.NAMES.get(message.kind, message.kind) for message in messages]


def only(messages, kind):
    return [message.body for message in messages if message.kind == kind]


def item_of(state):
    """The metadata of the item in a SET_STATE."""
    return state.playbackQueue.contentItems[state.playbackQueue.location].metadata


def listed(state):
    return {info.command: info for info in state.supportedCommands.supportedCommands}


# -- handshake -------------------------------------------------------------------------------------


def test_nothing_before_introduction(tv):
    with Remote(tv) as remote:
        remote.send(proto.GENERIC, "1")
        remote.send(proto.CLIENT_UPDATES_CONFIG, "2", volumeUpdates=True)
        remote.send(proto.CRYPTO_PAIRING, pairingData=bytes.fromhex("000100060101"))
        remote.tap("up")
        assert remote.is_silent()
        remote.hello()
        remote.news()
        assert tv.log == []
        assert tv.requests[:3] == ["GENERIC", "CLIENT_UPDATES_CONFIG", "CRYPTO_PAIRING"]


def test_device_info(tv):
    with Remote(tv) as remote:
        info = remote.hello()
        assert (info.name, info.modelID) == ("Living Room", "AppleTV6,2")
        assert info.uniqueIdentifier == info.deviceUID == tv.identifier
        assert (info.systemBuildVersion, info.deviceClass) == ("18M60", 4)
        assert (info.logicalDeviceCount, info.isGroupLeader, info.isProxyGroupPlayer) == (1, 1, 0)
        assert len(info.bluetoothAddress) == 6
        assert remote.is_silent()  # until it is asked to tell


def test_burst(tv):
    with Remote(tv) as remote:
        remote.hello()
        told = remote.listen()
        order = """
            SET_DEFAULT_SUPPORTED_COMMANDS ORIGIN_CLIENT_PROPERTIES
            UPDATE_CLIENT UPDATE_PLAYER SET_NOW_PLAYING_PLAYER SET_STATE PLAYER_CLIENT_PROPERTIES
            UPDATE_CLIENT UPDATE_PLAYER SET_NOW_PLAYING_PLAYER SET_STATE PLAYER_CLIENT_PROPERTIES
            SET_NOW_PLAYING_CLIENT
            VOLUME_CONTROL_AVAILABILITY VOLUME_CONTROL_CAPABILITIES_DID_CHANGE VOLUME_DID_CHANGE
            UPDATE_OUTPUT_DEVICE"""
        assert kinds(told) == order.split()
        assert all(message.envelope.uniqueIdentifier for message in told)
        assert len({message.envelope.uniqueIdentifier for message in told}) == len(told)
        music, podcasts = only(told, proto.SET_STATE)
        assert (music.displayName, music.playbackState) == ("Music", 1)
        assert music.playerPath.client.bundleIdentifier == MUSIC
        assert music.playerPath.origin.identifier == 1280262988
        assert (podcasts.displayName, podcasts.playbackState) == ("Podcasts", 2)
        assert podcasts.playerPath.player.identifier.startswith("avkit-")
        item = item_of(music)
        assert (item.title, item.trackArtistName) == ("Harbour Lights", "The Loopbacks")
        assert (item.duration, item.mediaType, item.playbackRate) == (222, 1, 1)
        assert item_of(podcasts).elapsedTime == pytest.approx(333)
        (active,) = only(told, proto.SET_NOW_PLAYING_CLIENT)
        assert active.client.bundleIdentifier == MUSIC
        (volume,) = only(told, proto.VOLUME_DID_CHANGE)
        assert (volume.volume, volume.outputDeviceUID) == (0.5, tv.identifier)
        assert volume.endpointUID != tv.identifier


@pytest.mark.parametrize("flag", ["artworkUpdates", "volumeUpdates", "keyboardUpdates"])
def test_burst_has_only_what_was_asked_for(tv, flag):
    with Remote(tv) as remote:
        remote.hello()
        told = kinds(remote.listen(flag))
        assert ("VOLUME_DID_CHANGE" in told) is (flag == "volumeUpdates")
        assert "UPDATE_OUTPUT_DEVICE" not in told
        tv.state.volume_up()
        tv.state.open_field()
        tv.state.add_outputs(KITCHEN)
        told = kinds(remote.news())
        assert ("VOLUME_DID_CHANGE" in told) is (flag == "volumeUpdates")
        assert ("KEYBOARD" in told) is (flag == "keyboardUpdates")
        assert "DEVICE_INFO_UPDATE" in told
        assert "UPDATE_OUTPUT_DEVICE" not in told


def test_nobody_is_told_before_he_asks(tv):
    with Remote(tv) as remote:
        remote.hello()
        tv.state.sleep()
        tv.state.update(title="Other")
        assert remote.is_silent()
        told = remote.listen()
        assert told[0].kind == proto.DEVICE_INFO_UPDATE  # since it is not what was said at first
        assert told[0].body.logicalDeviceCount == 0


def test_position(tv):
    tv.state.set_position(100)
    with Remote(tv) as remote:
        remote.hello()
        item = item_of(only(remote.listen(), proto.SET_STATE)[0])
        now = time.time() - 978307200
        assert item.elapsedTime + now - item.elapsedTimeTimestamp == pytest.approx(100, abs=2)
        assert abs(item.elapsedTimeTimestamp - now) < 2


# -- acknowledgements ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "answer"),
    [
        (proto.GENERIC, {}, "UNKNOWN"),
        (proto.GET_KEYBOARD_SESSION, {}, "KEYBOARD"),
        (proto.SEND_COMMAND, {"command": 2}, "SEND_COMMAND_RESULT"),
        (proto.PLAYBACK_QUEUE_REQUEST, {"location": 0, "length": 1}, "SET_STATE"),
        (proto.GET_VOLUME, {}, "GET_VOLUME_RESULT"),
        (proto.SET_VOLUME, {"volume": 0.25}, "UNKNOWN"),
        (proto.REGISTER_HID_DEVICE, {}, "REGISTER_HID_DEVICE_RESULT"),
        (proto.REGISTER_VOICE_INPUT_DEVICE, {}, "REGISTER_VOICE_INPUT_DEVICE_RESPONSE"),
        (proto.WAKE_DEVICE, {}, "UNKNOWN"),
        (proto.TEXT_INPUT, {"text": "x", "actionType": 2}, "UNKNOWN"),
        (proto.SET_CONNECTION_STATE, {"state": 2}, "UNKNOWN"),
        (proto.MODIFY_OUTPUT_CONTEXT_REQUEST, {"addingDevices": [KITCHEN]}, "UNKNOWN"),
    ],
)
def test_answers(tv, remote, kind, fields, answer):
    with Remote(tv) as other:
        other.ready()
        assert kinds([remote.ask(kind, **fields)]) == [answer]
        assert all(message.identifier == "" for message in remote.events + other.news())


@pytest.mark.parametrize("kind", [99, 109, proto.CONFIGURE_CONNECTION, 126])
def test_what_is_not_known_is_not_acknowledged(tv, remote, kind):
    """Not even a type that newer systems know: this one says that 108 is its last."""
    remote.send(kind, "nobody answers this")
    assert remote.news() == []
    assert tv.mrp.complaints == [f"type {kind}, which is not known"]


@pytest.mark.parametrize("kind", [proto.SEND_COMMAND, proto.GENERIC, proto.SET_VOLUME, 99])
def test_no_answer_to_who_wants_none(remote, kind):
    remote.send(kind, **({"volume": 0.5} if kind == proto.SET_VOLUME else {}))
    assert remote.news() == []


def test_button_events_are_not_acknowledged(tv, remote):
    remote.send(proto.SEND_HID_EVENT, "id", hidEventData=hid.event(1, 0x8C, True))
    assert remote.news() == []
    tv.mrp.quirks.hid_ack = True
    remote.send(proto.SEND_HID_EVENT, "id", hidEventData=hid.event(1, 0x8C, False))
    assert [message.identifier for message in remote.news()] == ["id"]


# -- buttons ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("button", sorted(set(hid.USAGE) - {"suspend"}))
def test_tap(tv, remote, button):
    remote.tap(button)
    remote.news()
    assert tv.log == [button]
    ((pressed, seconds),) = tv.state.presses
    assert (pressed, tv.state.gestures) == (button, [button])
    assert seconds < 0.5


def test_hold_double_and_edges_out_of_place(tv, remote):
    remote.edge("up", True)
    assert tv.wait_for(lambda: "up" in tv.state.held)
    tv.state.held["up"] -= 1.0  # as if a second had passed
    remote.edge("up", False)
    for _ in range(3):
        remote.tap("up")
    remote.tap("left")
    remote.edge("down", False)
    remote.send(proto.SEND_HID_EVENT, hidEventData=hid.event(99, 99, True))
    remote.send(proto.SEND_HID_EVENT, hidEventData=b"short")
    remote.news()
    assert tv.log == ["up hold", "up", "up", "up", "left"]
    assert tv.state.gestures == ["up hold", "up", "up double", "up", "left"]
    assert tv.state.presses[0] == ("up", pytest.approx(1, abs=0.4))


def test_button_message(tv, remote):
    for down in (True, False):
        remote.send(proto.SEND_BUTTON_EVENT, usagePage=1, usage=0x86, buttonDown=down)
    remote.news()
    assert tv.log == ["menu"]


def test_swipe(tv, remote):
    number = remote.ask(proto.REGISTER_HID_DEVICE).body.deviceIdentifier
    steps = [(500, hid.BEGAN), (300, hid.MOVED), (100, hid.ENDED)]
    for x, phase in steps:
        data = hid.touch(x, 500, phase, number)
        remote.send(proto.SEND_PACKED_VIRTUAL_TOUCH_EVENT, data=data)
    remote.news()
    assert tv.log == ["left"]


def test_power(tv, remote):
    remote.edge("home", True)
    assert tv.wait_for(lambda: "home" in tv.state.held)
    tv.state.held["home"] -= 1.0
    remote.edge("home", False)
    remote.tap("select")
    told = remote.news()
    assert kinds(told) == ["DEVICE_INFO_UPDATE", "SET_STATE"]
    assert only(told, proto.DEVICE_INFO_UPDATE)[0].logicalDeviceCount == 0
    assert tv.log == ["home hold", "select", "turn_off"]
    remote.send(proto.WAKE_DEVICE)
    assert only(remote.news(), proto.DEVICE_INFO_UPDATE)[0].logicalDeviceCount == 1
    assert tv.log[-1] == "turn_on"
    remote.tap("suspend")
    remote.tap("volume_up")
    remote.news()
    assert tv.state.power is PowerState.Off
    remote.tap("menu")
    remote.news()
    assert tv.state.power is PowerState.On


def test_button_of_a_client_that_leaves(tv, remote):
    with Remote(tv) as other:
        other.hello()
        other.edge("up", True)
        assert tv.wait_for(lambda: "up" in tv.state.held)
    assert tv.wait_for(lambda: not tv.state.held)
    assert tv.state.presses == []


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "options", "entry", "told"),
    [
        (1, {}, "play", []),  # it does
        (2, {}, "pause", ["SET_STATE"]),
        (3, {}, "play_pause", ["SET_STATE"]),
        (4, {}, "stop", ["SET_STATE"]),
        (5, {}, "next", ["SET_STATE"]),
        (6, {}, "previous", ["SET_STATE"]),
        (7, {}, "set_shuffle Albums", ["SET_STATE"]),
        (8, {}, "set_repeat Track", ["SET_STATE"]),
        (9, {}, "fast_forward", ["SET_STATE"]),
        (11, {}, "rewind", ["SET_STATE"]),
        (18, {"skipInterval": 30.0}, "skip_forward 30", ["SET_STATE"]),
        (18, {}, "skip_forward 10", ["SET_STATE"]),
        (19, {"skipInterval": 7.0}, "skip_backward 7", ["SET_STATE"]),
        (20, {"playbackRate": 1.5}, "set_rate 1.5", ["UPDATE_CONTENT_ITEM"]),
        (45, {"playbackPosition": 90.0}, "set_position 90", ["SET_STATE"]),
        (46, {"repeatMode": 3, "sendOptions": 0}, "set_repeat All", ["SET_STATE"]),
        (47, {"shuffleMode": 3, "sendOptions": 0}, "set_shuffle Songs", ["SET_STATE"]),
    ],
)
def test_command(tv, remote, number, options, entry, told):
    tv.state.set_position(60)
    remote.news()
    with Remote(tv) as other:
        other.ready()
        tv.log.clear()
        assert remote.command(number, **options) == (0, 0)
        assert tv.log == [entry]
        assert kinds(remote.events) == kinds(other.news()) == told


def test_what_commands_do(tv, remote):
    state = tv.state
    remote.command(45, playbackPosition=90.0)
    remote.command(18, skipInterval=30.0)
    assert state.position == pytest.approx(120, abs=2)
    remote.command(46, repeatMode=2)
    remote.command(47, shuffleMode=2)
    assert (state.repeat, state.shuffle) == (RepeatState.Track, ShuffleState.Albums)
    remote.news()
    remote.command(9)
    (told,) = only(remote.news(), proto.SET_STATE)
    assert (told.playbackState, item_of(told).playbackRate) == (5, 2)
    assert state.device_state is DeviceState.Seeking
    remote.command(10)
    (told,) = only(remote.news(), proto.SET_STATE)
    assert (told.playbackState, item_of(told).playbackRate) == (1, 1)
    remote.command(4)
    (told,) = only(remote.news(), proto.SET_STATE)
    assert (told.playbackState, item_of(told).elapsedTime) == (3, 0)


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (45, {}), (45, {"playbackPosition": float("nan")}), (46, {"repeatMode": 0}),
        (47, {"shuffleMode": 9}), (20, {}), (18, {"skipInterval": float("inf")}),
    ],
)  # fmt: skip
def test_command_with_bad_options(tv, remote, number, options):
    assert remote.command(number, **options) == (7, 0)
    assert tv.log == []


def test_commands_of_real_devices(tv, remote):
    """Origin: captures of real devices, which list these as well."""
    with Remote(tv) as other:
        other.hello()
        told = only(other.listen(), proto.SET_STATE)[0]
    assert {1, 2, 3, 4, 9, 11, 18, 19, 20, 34, 35, 45, 53, 54, 55, 56, 57} <= {*listed(told)}
    title = tv.state.item.title
    assert remote.command(34) == (0, 0)
    assert tv.state.item.title != title
    assert remote.command(35) == (0, 0)
    assert tv.state.item.title == title
    assert remote.command(53) == (0, 0)
    assert tv.log == ["next", "previous", "enable_language"]


@pytest.mark.parametrize("status", [-6762, 58822, 2])
def test_any_refusal(tv, remote, status):
    tv.fail("SET_VOLUME", status=status)
    assert remote.ask(proto.SET_VOLUME, volume=0.5).envelope.errorCode == status
    tv.fail("play", status=status)
    assert remote.command(1) == (status, 0)


def test_refused_commands(tv, remote):
    assert remote.command(135) == (8, 0)  # unknown
    tv.state.disable("next")
    tv.state.player.missing.add("stop")
    told = only(remote.news(), proto.SET_STATE)[-1]
    assert listed(told)[5].enabled is False
    assert remote.command(5) == (8, 2)
    assert remote.command(4) == (8, 0)
    tv.state.enable("next", "stop")
    assert {4, 5} <= set(listed(only(remote.news(), proto.SET_STATE)[-1]))
    assert remote.command(5) == (0, 0)
    tv.state.activate(None)
    assert remote.command(1) == (8, 10)
    assert tv.log == ["next"]


def test_command_for_another_app(tv, remote):
    path = {"client": {"bundleIdentifier": PODCASTS}}
    result = remote.ask(proto.SEND_COMMAND, command=1, playerPath=path).body
    assert (result.sendError, tv.state.item.title) == (0, "Episode 7")
    assert tv.state.device_state is DeviceState.Playing
    path = {"client": {"bundleIdentifier": "org.example.none"}}
    assert remote.ask(proto.SEND_COMMAND, command=1, playerPath=path).body.sendError == 1


def test_one_sided_app(tv, remote):
    """As YouTube: of play and pause only the other one, and no toggle."""
    with tv.state.change():
        tv.state.player.one_sided = True
    (told,) = only(remote.news(), proto.SET_STATE)
    assert listed(told)[2].enabled
    assert not {1, 3} & set(listed(told))
    assert remote.command(1) == (8, 0)
    assert remote.command(2) == (0, 0)
    (told,) = only(remote.news(), proto.SET_STATE)
    assert not {2, 3} & set(listed(told))


# -- what is told ----------------------------------------------------------------------------------


def test_changes_come_in_one_message(tv, remote):
    with tv.state.change():
        tv.state.pause()
        tv.state.update(title="Other", artist="Another")
        tv.state.set_position(30)
    (told,) = remote.news()[:1]
    assert told.kind == proto.SET_STATE
    assert told.body.playbackState == 2
    item = item_of(told.body)
    assert (item.title, item.trackArtistName, item.elapsedTime) == ("Other", "Another", 30)
    assert not told.body.HasField("supportedCommands")


def test_metadata_of_the_same_item(tv, remote):
    tv.state.update(title="Other")
    told = remote.news()
    assert kinds(told) == ["UPDATE_CONTENT_ITEM", "UPDATE_CONTENT_ITEM_ARTWORK"]
    (item,) = told[0].body.contentItems
    assert (item.identifier, item.metadata.title) == (tv.state.item.identifier, "Other")
    tv.state.update(artist=None)  # an update cannot take it away
    (told,) = only(remote.news(), proto.SET_STATE)
    assert not item_of(told).HasField("trackArtistName")


def test_nothing_new_is_not_told(tv, remote):
    tv.state.play()
    with tv.state.change():
        pass
    assert remote.news() == []


def test_episode(tv, remote):
    for _ in range(4):
        tv.state.next()
    told = only(remote.news(), proto.SET_STATE)[-1]
    item = item_of(told)
    assert (item.seriesName, item.seasonNumber, item.episodeNumber) == ("Keep Alive", 1, 1)
    assert (item.contentIdentifier, item.mediaType) == ("keep-alive-s01e01", 2)
    assert item.iTunesStoreIdentifier == 1402001


def test_video_plays_in_another_app(tv, remote):
    for _ in range(2):
        tv.state.next()
    remote.news()
    tv.state.next()
    told = remote.news()
    order = """UPDATE_CLIENT SET_STATE REMOVE_PLAYER UPDATE_PLAYER
        SET_NOW_PLAYING_PLAYER SET_STATE PLAYER_CLIENT_PROPERTIES SET_NOW_PLAYING_CLIENT"""
    assert kinds(told) == order.split()
    gone, new = only(told, proto.SET_STATE)
    assert (gone.displayName, gone.playbackState) == ("Music", 2)
    assert len(gone.playbackQueue.contentItems) == 0
    assert (new.displayName, item_of(new).title) == ("TV", "The Long Poll")


def test_apps(tv, remote):
    tv.state.activate(PODCASTS)
    told = remote.news()
    assert kinds(told) == ["SET_STATE", "SET_NOW_PLAYING_CLIENT"]  # Music pauses
    assert told[1].body.client.bundleIdentifier == PODCASTS
    assert tv.state.item.title == "Episode 7"
    tv.state.remove_player(PODCASTS)
    assert kinds(remote.news()) == ["SET_STATE", "REMOVE_PLAYER", "SET_NOW_PLAYING_CLIENT"]
    tv.state.remove_app(PODCASTS)
    assert kinds(remote.news()) == ["REMOVE_CLIENT"]
    tv.state.activate(MUSIC)
    tv.state.app = App("Muzak", MUSIC)
    told = remote.news()
    assert kinds(told) == ["SET_NOW_PLAYING_CLIENT", "UPDATE_CLIENT"]
    assert told[1].body.client.displayName == "Muzak"
    youtube = Player([Item("Clip")], App("YouTube", "com.google.ios.youtube"))
    tv.state.add_player(youtube)
    assert kinds(remote.news())[:2] == ["UPDATE_CLIENT", "UPDATE_PLAYER"]
    tv.state.activate(None)
    (client,) = only(remote.news(), proto.SET_NOW_PLAYING_CLIENT)
    assert not client.client.HasField("bundleIdentifier")


def test_two_players_of_one_app(tv, remote):
    clip = Player([Item("Clip")], App("Music", MUSIC), identifier="avkit-1", name="player-2")
    tv.state.add_player(clip)
    told = kinds(remote.news())
    assert "SET_NOW_PLAYING_PLAYER" not in told
    tv.state.activate(clip)
    told = only(remote.news(), proto.SET_NOW_PLAYING_PLAYER)
    assert [message.playerPath.player.identifier for message in told] == ["avkit-1"]


def test_two_clients_at_once(tv, remote):
    with Remote(tv) as other:
        other.ready()
        assert remote.command(2) == (0, 0)
        assert other.command(1) == (0, 0)
        assert kinds(other.news()) == kinds(remote.news()) == ["SET_STATE", "SET_STATE"]
    assert tv.wait_for(lambda: len(tv.mrp.peers) == 1)
    tv.state.pause()
    assert kinds(remote.news()) == ["SET_STATE"]


def test_end_of_an_item(tv, remote):
    tv.state.update(duration=0.05)
    assert tv.wait_for(lambda: tv.state.item.title == "Three Hops")
    assert item_of(only(remote.news(), proto.SET_STATE)[-1]).title == "Three Hops"


# -- artwork ---------------------------------------------------------------------------------------


def queue_of(remote, **fields):
    """(place, titles, artwork) of the items in the answer to a question for the queue."""
    queue = remote.ask(proto.PLAYBACK_QUEUE_REQUEST, **fields).body.playbackQueue
    items = queue.contentItems
    images = [item.artworkData for item in items]
    return queue.location, [item.metadata.title for item in items], images


def test_other_places_of_the_queue(tv, remote):
    titles = [item.title for item in tv.state.items]
    for _ in range(2):
        remote.command(5)
    remote.news()
    assert queue_of(remote, location=0, length=2)[:2] == (0, titles[2:4])
    assert queue_of(remote, location=1, length=9)[:2] == (1, titles[3:])
    assert queue_of(remote, location=-1, length=1)[:2] == (-1, titles[1:2])
    assert queue_of(remote, location=-9, length=8)[:2] == (-9, titles[:1])
    assert queue_of(remote, location=9, length=1)[:2] == (9, [])
    assert queue_of(remote, location=1, length=1)[2] == [b""]
    (image,) = queue_of(remote, location=1, length=1, artworkWidth=64, artworkHeight=64)[2]
    assert Artwork(image).width == 64
    tv.state.activate(None)
    assert queue_of(remote, location=1, length=3)[1] == []


def artwork(remote, **fields):
    """Ask for artwork; the item of the answer, or None."""
    answer = remote.ask(proto.PLAYBACK_QUEUE_REQUEST, location=0, length=1, **fields).body
    items = answer.playbackQueue.contentItems
    return items[0] if len(items) else None


WHOLE = {"returnContentItemAssetsInUserCompletion": True}


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ((512, -1), 512), ((100, 100), 100), ((0, -1), 512), ((9999, 64), 64),
        ((float("nan"), 0), 512),
    ],
)  # fmt: skip
def test_artwork(tv, remote, asked, size):
    item = artwork(remote, artworkWidth=asked[0], artworkHeight=asked[1], **WHOLE)
    image = Artwork(item.artworkData)
    assert (image.mimetype, image.width, image.height) == ("image/png", size, size)
    assert (item.artworkDataWidth, item.artworkDataHeight) == (size, size)
    assert remote.events == []


def test_no_artwork(tv, remote):
    tv.state.update(artwork=b"")
    told = only(remote.news(), proto.SET_STATE)
    assert item_of(told[-1]).artworkAvailable is False
    assert artwork(remote, **WHOLE) is None
    tv.state.activate(None)
    assert artwork(remote, **WHOLE) is None


def test_artwork_announced_otherwise(tv, remote):
    tv.state.update(artwork_url="http://192.0.2.1/a.png", artwork_mime="image/none",
                    artwork_identifier="http://192.0.2.1/{w}x{h}{c}.{f}")  # fmt: skip
    item = only(remote.news(), proto.UPDATE_CONTENT_ITEM)[-1].contentItems[0].metadata
    assert item.artworkURL == "http://192.0.2.1/a.png"
    assert item.artworkMIMEType == "image/none"
    assert item.artworkIdentifier == "http://192.0.2.1/{w}x{h}{c}.{f}"
    tv.mrp.quirks.artwork_not_delivered = True
    assert artwork(remote, **WHOLE) is None


def test_large_artwork(tv, remote):
    data = os.urandom(150_000)
    tv.state.update(artwork=data)
    remote.news()
    remote.wire.limit = LIMIT
    item = artwork(remote, **WHOLE)
    assert item.artworkData == data
    assert not item.HasField("artworkDataWidth")  # no image that we know
    assert remote.news() == []
    tv.mrp.quirks.artwork_limit = 100_000
    assert artwork(remote, **WHOLE).artworkData == b""
    packets = [p for body in only(remote.news(), proto.TRANSACTION) for p in body.packets.packets]
    assert b"".join(packet.packetData for packet in packets) == data
    assert {packet.totalLength for packet in packets} == {len(data)}


def test_artwork_twice_for_who_does_not_say_how(tv, remote):
    data = artwork(remote).artworkData
    (told,) = only(remote.news(), proto.TRANSACTION)
    assert told.packets.packets[0].packetData == data


# -- volume and outputs ----------------------------------------------------------------------------


def test_volume(tv, remote):
    remote.send(proto.SET_VOLUME, volume=0.33, outputDeviceUID=tv.identifier)
    (told,) = only(remote.news(), proto.VOLUME_DID_CHANGE)
    assert (told.volume, told.outputDeviceUID) == (pytest.approx(0.33), tv.identifier)
    for level in (1.5, -0.1, float("nan")):
        remote.send(proto.SET_VOLUME, volume=level, outputDeviceUID=tv.identifier)
    remote.send(proto.SET_VOLUME, volume=0.9, outputDeviceUID="nobody")
    assert remote.news() == []
    remote.tap("volume_up")
    assert only(remote.news(), proto.VOLUME_DID_CHANGE)[0].volume == pytest.approx(0.38)
    assert remote.ask(proto.GET_VOLUME).body.volume == pytest.approx(0.38)
    assert tv.log == ["set_volume 33", "volume_up"]


@pytest.mark.parametrize(
    ("fields", "capabilities"),
    [
        ({}, 3),
        ({"absolute_volume": False}, 1),
        ({"relative_volume": False}, 2),
        ({"absolute_volume": False, "relative_volume": False}, 0),
        ({"volume_control": False}, 0),
    ],
)
def test_volume_capabilities(tv, remote, fields, capabilities):
    with tv.state.change():
        vars(tv.state).update(fields)
    told = remote.news()
    for body in only(told, proto.VOLUME_CONTROL_AVAILABILITY):
        assert (body.volumeControlAvailable, body.volumeCapabilities) == (
            capabilities > 0, capabilities,
        )  # fmt: skip
    for body in only(told, proto.VOLUME_CONTROL_CAPABILITIES_DID_CHANGE):
        assert body.capabilities.volumeCapabilities == capabilities
        assert body.outputDeviceUID == tv.identifier
    assert ("VOLUME_CONTROL_AVAILABILITY" in kinds(told)) is bool(fields)
    remote.send(proto.SET_VOLUME, volume=0.1, outputDeviceUID=tv.identifier)
    assert bool(only(remote.news(), proto.VOLUME_DID_CHANGE)) is bool(capabilities & 2)
    before = tv.state.volume
    remote.tap("volume_up")
    # Where only up and down are known, the level is not reported at all.
    assert bool(only(remote.news(), proto.VOLUME_DID_CHANGE)) is (capabilities == 3)
    assert (tv.state.volume > before) is bool(capabilities & 1)


def test_outputs(tv, remote):
    both = {"addingDevices": [KITCHEN], "clusterAwareAddingDevices": [KITCHEN]}
    remote.send(proto.MODIFY_OUTPUT_CONTEXT_REQUEST, type=1, **both)
    told = remote.news()
    (info,) = only(told, proto.DEVICE_INFO_UPDATE)
    assert [(one.name, one.deviceUID) for one in info.groupedDevices] == [("Kitchen", KITCHEN)]
    assert (info.isGroupLeader, info.isProxyGroupPlayer) == (True, False)
    (volume,) = only(told, proto.VOLUME_DID_CHANGE)
    assert (volume.outputDeviceUID, volume.volume) == (KITCHEN, pytest.approx(0.4))
    assert only(told, proto.UPDATE_OUTPUT_DEVICE)[0].outputDevices[0].name == "Kitchen"
    remote.send(proto.SET_VOLUME, volume=0.7, outputDeviceUID=KITCHEN)
    (volume,) = only(remote.news(), proto.VOLUME_DID_CHANGE)
    assert (volume.outputDeviceUID, volume.volume) == (KITCHEN, pytest.approx(0.7))
    assert tv.state.volume == 50
    remote.send(proto.MODIFY_OUTPUT_CONTEXT_REQUEST, type=1, removingDevices=[tv.identifier])
    (info,) = only(remote.news(), proto.DEVICE_INFO_UPDATE)
    assert (info.isGroupLeader, info.isProxyGroupPlayer) == (True, True)
    remote.send(proto.MODIFY_OUTPUT_CONTEXT_REQUEST, type=1, settingDevices=[tv.identifier])
    told = remote.news()
    assert list(only(told, proto.REMOVE_OUTPUT_DEVICES)[0].outputDeviceUIDs) == [KITCHEN]
    remote.send(proto.MODIFY_OUTPUT_CONTEXT_REQUEST, type=1, addingDevices=["nobody"])
    assert remote.news() == []
    assert tv.log == [
        f"add_output_devices {KITCHEN}", f"set_volume 70 {KITCHEN}",
        f"remove_output_devices {tv.identifier}", f"set_output_devices {tv.identifier}",
        "add_output_devices nobody",
    ]  # fmt: skip


def test_part_of_a_cluster(tv):
    tv.mrp.identity.cluster = "CLUSTER"
    with Remote(tv) as remote:
        assert remote.hello().clusterID == "CLUSTER"
        assert only(remote.listen(), proto.VOLUME_DID_CHANGE)[0].outputDeviceUID == "CLUSTER"
        remote.send(proto.SET_VOLUME, volume=0.25, outputDeviceUID="CLUSTER")
        assert len(only(remote.news(), proto.VOLUME_DID_CHANGE)) == 1
    assert tv.log == ["set_volume 25"]


# -- text ------------------------------------------------------------------------------------------


def test_text(tv, remote):
    assert remote.ask(proto.GET_KEYBOARD_SESSION).body.state == 1
    tv.state.open_field("ab", title="Search", secure=True)
    assert [body.state for body in only(remote.news(), proto.KEYBOARD)] == [2]
    session = remote.ask(proto.GET_KEYBOARD_SESSION).body
    assert (session.state, session.attributes.title) == (3, "Search")
    assert session.attributes.inputTraits.secureTextEntry is True
    for action, text in ((1, "c"), (3, None), (2, "xyz"), (1, "!")):
        fields = {"text": text} if text else {}
        remote.send(proto.TEXT_INPUT, timestamp=time.time(), actionType=action, **fields)
    assert [body.state for body in only(remote.news(), proto.KEYBOARD)] == [4, 4, 4, 4]
    assert tv.state.text == "xyz!"
    remote.send(proto.TEXT_INPUT, timestamp=time.time(), actionType=4)
    remote.news()
    assert tv.state.text == ""
    tv.state.close_field()
    assert [body.state for body in only(remote.news(), proto.KEYBOARD)] == [5]
    assert tv.log == ["text_append c", "text_delete", "text_set xyz", "text_append !", "text_clear"]


# -- quirks --------------------------------------------------------------------------------------


def odd(tv, **switches):
    """Switch, and connect; returns the client and what it was told."""
    for switch, value in switches.items():
        setattr(tv.mrp.quirks, switch, value)
    remote = Remote(tv)
    remote.hello()
    return remote, remote.listen()


def test_unknown_quirk(tv):
    with pytest.raises(AttributeError, match="hid_akc"):
        tv.mrp.quirks.hid_akc = True


@pytest.mark.parametrize(
    ("switch", "check"),
    [
        ("no_timestamp", lambda s: not item_of(s).HasField("elapsedTimeTimestamp")),
        ("client_without_player", lambda s: not s.playerPath.HasField("player")),
        ("netflix", lambda s: (s.playbackState, len(s.playbackQueue.contentItems)) == (2, 0)),
        ("rate_zero", lambda s: (s.playbackState, item_of(s).playbackRate) == (1, 0)),
        ("no_metadata", lambda s: not s.playbackQueue.contentItems[0].HasField("metadata")),
        ("wrong_types", lambda s: not item_of(s).HasField("elapsedTime") and item_of(s).title),
        ("unknown_fields", lambda s: item_of(s).title == "Harbour Lights"),
        ("one_byte_writes", lambda s: item_of(s).title == "Harbour Lights"),
        ("coalesce", lambda s: item_of(s).title == "Harbour Lights"),
    ],
)
def test_odd_state(tv, switch, check):
    remote, told = odd(tv, **{switch: True})
    with remote:
        assert check(only(told, proto.SET_STATE)[0])
        assert ("SET_NOW_PLAYING_PLAYER" in kinds(told)) is (switch != "client_without_player")
        setattr(tv.mrp.quirks, switch, False)
        tv.mrp.notify_peers()
        remote.news()
        assert remote.command(2) == (0, 0)


def test_unknown_fields_and_wrong_types_are_there(tv):
    tv.mrp.quirks.unknown_fields = tv.mrp.quirks.wrong_types = True
    with Remote(tv) as remote:
        remote.hello()
        remote.send(proto.CLIENT_UPDATES_CONFIG, "x")
        seen = b""
        while b"Harbour Lights" not in seen:
            seen += remote.sock.recv(65536)
    for tag in (500 << 3, 500 << 3 | 2, 501 << 3 | 1, 501 << 3 | 5, 35 << 3, 36 << 3 | 5):
        assert varint.encode(tag) in seen


def test_client_first(tv):
    remote, told = odd(tv, update_client_first=True)
    remote.sock.close()
    assert kinds(told)[2:5] == ["SET_NOW_PLAYING_CLIENT", "UPDATE_CLIENT", "UPDATE_CLIENT"]
    assert kinds(told)[5] == "UPDATE_PLAYER"


def test_old_messages(tv):
    remote, told = odd(tv, old_messages=True)
    remote.sock.close()
    assert {"SET_ARTWORK", "NOTIFICATION", "SET_HILITE_MODE"} <= set(kinds(told))


def test_unknown_messages(tv):
    remote, told = odd(tv, unknown_messages=True)
    with remote:
        assert {111, 200} <= set(kinds(told))
        assert all(bool(message.identifier) == (message.kind == 200) for message in told)


def test_missing_type(tv, remote):
    tv.mrp.quirks.missing_type = True
    answer = remote.ask(proto.SEND_COMMAND, command=2)
    assert not answer.envelope.HasField("type")
    assert answer.kind == proto.SEND_COMMAND_RESULT
    assert remote.ask(proto.GENERIC).kind == proto.UNKNOWN


def test_generic_without_answer(tv, remote):
    tv.mrp.quirks.no_generic_ack = True
    remote.send(proto.GENERIC, "x")
    assert remote.is_silent()
    assert remote.ask(proto.SET_CONNECTION_STATE).kind == proto.UNKNOWN


def test_late_acknowledgement(tv, remote):
    tv.mrp.quirks.late_ack = 0.2
    since = time.monotonic()
    remote.ask(proto.GENERIC)
    assert time.monotonic() - since >= 0.2


def test_refused_verify(tv):
    tv.mrp.quirks.refuse_verify = True
    with Remote(tv) as remote:
        remote.hello()
        data = bytes.fromhex("0601010320") + bytes(range(32))
        remote.send(proto.CRYPTO_PAIRING, pairingData=data)
        refusal = remote.read()
        assert refusal.kind == proto.CRYPTO_PAIRING
        assert not refusal.envelope.HasField("type")
        assert (refusal.body.status, refusal.body.HasField("pairingData")) == (-6727, False)


def test_bytewise_both_ways(tv):
    tv.mrp.quirks.one_byte_writes = True
    with Remote(tv, bytewise=True) as remote:
        remote.ready()
        remote.tap("up")
        assert remote.command(2) == (0, 0)
    assert tv.log == ["up", "pause"]


def test_several_frames_in_one_segment(tv, remote):
    frames = [proto.build(proto.SEND_COMMAND, f"{n}", command=n) for n in (2, 1, 5)]
    remote.write(b"".join(map(remote.wire.encode, frames)))
    answers = []
    while "5" not in answers:
        answers.append(remote.read().identifier)
    assert [one for one in answers if one] == ["2", "1", "5"]
    assert tv.log == ["pause", "play", "next"]


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["pause", "SEND_COMMAND", "*"])
def test_command_fails_on_demand(tv, remote, word):
    tv.fail(word, status=5)
    assert remote.command(2) == (5, 0)
    assert tv.log == []
    assert remote.command(2) == (0, 0)


def test_silence_and_garbage(tv, remote):
    tv.fail("pause", silent=True)
    remote.send(proto.SEND_COMMAND, "x", command=2)
    assert remote.news() == []
    tv.fail("up", silent=True)
    remote.tap("up")
    remote.news()
    assert tv.log == []
    tv.fail("artwork", garbage=b"\x03abc")
    remote.send(proto.PLAYBACK_QUEUE_REQUEST, "x")
    with pytest.raises(ValueError, match="message"):
        remote.read()


def test_delay(tv, remote):
    tv.fail("generic", delay=0.2)
    since = time.monotonic()
    remote.news()
    assert time.monotonic() - since >= 0.2


@pytest.mark.parametrize("word", ["connect", "playing", "keyboard", "volume", "turn_on"])
def test_drop(tv, word):
    tv.fail(word, drop=True)
    kind = {
        "connect": proto.DEVICE_INFO, "playing": proto.CLIENT_UPDATES_CONFIG,
        "keyboard": proto.GET_KEYBOARD_SESSION, "volume": proto.SET_VOLUME,
        "turn_on": proto.WAKE_DEVICE,
    }[word]  # fmt: skip
    with Remote(tv) as remote:
        if word != "connect":
            remote.hello()
        remote.send(kind, "x")
        assert remote.is_closed()


def test_error_code(tv, remote):
    tv.fail("keyboard", status=107)
    assert remote.ask(proto.GET_KEYBOARD_SESSION).envelope.errorCode == 107


# -- hostile peers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\x05\xff\xff\xff\xff\xff",  # no message
        varint.encode(FIRST_LIMIT + 1),
        b"\xff" * 10,  # a length that does not end
    ],
    ids=["garbage", "oversize", "length"],
)
@pytest.mark.parametrize("ready", [True, False])
def test_garbage_ends_the_connection(tv, data, ready):
    with Remote(tv) as remote, Remote(tv) as other:
        other.ready()
        if ready:
            remote.ready()
        remote.write(data)
        assert remote.is_closed()
        assert tv.wait_for(lambda: len(tv.mrp.peers) == 1)
        assert other.command(2) == (0, 0)


def test_empty_frame_is_harmless(remote):
    remote.write(b"\0")
    assert remote.command(2) == (0, 0)


def test_truncated_frame(tv):
    with Remote(tv) as remote:
        remote.hello()
        remote.write(b"\x20\x08\x01")
        remote.sock.shutdown(socket.SHUT_WR)
        assert remote.is_closed()
    assert tv.wait_for(lambda: not tv.mrp.peers)


def test_disconnect_in_the_middle(tv):
    for number in range(20):
        with Remote(tv) as remote:
            remote.hello()
            remote.send(proto.CLIENT_UPDATES_CONFIG, "x", volumeUpdates=True)
        tv.state.update(title=f"{number}")
    assert tv.wait_for(lambda: not tv.mrp.peers)


def test_changes_from_many_threads(tv, remote):
    """Everybody is told of the last state last, whoever made it."""

    def work():
        for _ in range(25):
            tv.state.volume_up()
            tv.state.volume_down()
            tv.state.update(genre=threading.current_thread().name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        remote.command(2)
        remote.command(1)
    for thread in threads:
        thread.join(WAIT)
    told = remote.news()
    assert only(told, proto.VOLUME_DID_CHANGE)[-1].volume == pytest.approx(tv.state.volume / 100)
    genres = [item.metadata.genre for m in told if m.kind == proto.UPDATE_CONTENT_ITEM
              for item in m.body.contentItems]  # fmt: skip
    genres += [item_of(s).genre for s in only(told, proto.SET_STATE) if s.HasField("playbackQueue")]
    assert tv.state.item.genre in genres


def test_stop_with_clients(tv, remote):
    tv.stop()
    assert remote.is_closed()
    tv.stop()


# -- encryption ------------------------------------------------------------------------------------


@pytest.fixture
def paired():
    """A device that comes with credentials."""
    with VirtualAppleTV(profile="tvos14") as tv:
        yield tv


def test_encrypted(paired):
    with Remote(paired) as remote:
        remote.hello()
        remote.verify()
        remote.listen()
        remote.tap("up")
        assert remote.command(2) == (0, 0)
        paired.state.update(title="Sealed")
        assert kinds(remote.news())[1:2] == ["UPDATE_CONTENT_ITEM"]
        assert paired.mrp.peers[0].client is not None
    assert paired.log == ["up", "pause"]


def test_encrypted_bytewise_and_coalesced(paired):
    for switch in ("one_byte_writes", "coalesce"):
        paired.mrp.quirks.one_byte_writes = False
        setattr(paired.mrp.quirks, switch, True)
        with Remote(paired, bytewise=True) as remote:
            remote.hello()
            remote.verify()
            assert len(remote.listen()) > 10
            assert artwork(remote, **WHOLE).artworkData


def test_frames_behind_the_end_of_verify(paired):
    """In one segment with it: one frame that is clear, and two with the keys that it brings."""
    with Remote(paired) as remote:
        remote.hello()
        steps = hap_verify(parse(paired.credentials["mrp"]))
        last = steps.send(remote.exchange(next(steps)))
        with pytest.raises(StopIteration) as done:
            steps.send(b"\6\1\4")  # what the device will answer
        session = Session(*hap.channel_keys(done.value.value, "mrp"))
        wire = MrpWire(proto.dumps, proto.parse, proto.key)
        clear = wire.encode(build(proto.CRYPTO_PAIRING, pairingData=last, status=0, state=0))
        wire.secure(session)
        sealed = [wire.encode(build(proto.GENERIC, name)) for name in ("first", "second")]
        remote.write(clear + b"".join(sealed))
        assert remote.read().body.pairingData == b"\6\1\4"
        remote.wire.secure(session)
        assert [remote.read().identifier for _ in sealed] == ["first", "second"]


def test_plain_frame_after_verify(paired):
    with Remote(paired) as remote:
        remote.hello()
        remote.verify()
        remote.listen()
        remote.wire.secure(None)
        message = proto.build(proto.SEND_COMMAND, "x", command=2)
        body = proto.dumps(message)
        remote.write(varint.encode(len(body)) + body)
        assert remote.is_closed()
    assert paired.log == []


def test_state_changes_during_the_handshake(paired):
    """None of them slips out in clear, and none is missed."""
    stop = threading.Event()

    def work():
        while not stop.wait(0.001):
            paired.state.volume_up()
            paired.state.volume_down()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(10):
            with Remote(paired) as remote:
                remote.hello()
                if number % 2:
                    remote.listen()  # is told in clear, until the very last step
                    remote.verify()
                else:
                    remote.verify()
                    assert remote.events == []
                    remote.listen()
                while not remote.news():
                    pass
    finally:
        stop.set()
        thread.join(WAIT)


def test_unpaired_clients_can_be_refused(paired):
    paired.mrp.allow_unpaired = False
    with Remote(paired) as remote:
        remote.hello()
        remote.tap("up")
        assert remote.ask(proto.CLIENT_UPDATES_CONFIG).envelope.errorCode == 110
        assert paired.log == []
        remote.verify()
        remote.listen()


def test_forgotten_client(paired):
    credentials = paired.credentials["mrp"]
    paired.forget_clients()
    assert paired.credentials == {}
    with Remote(paired) as remote:
        remote.hello()
        with pytest.raises(tinyatv.CredentialsError, match="pair again"):
            remote.verify(credentials)


# Origin: the client that other implementations test with, pairing.md 12.
IDENTIFIER = "5D797FD3-3538-427E-A47B-A32FC6CF3A6A"
KNOWN = (
    "E734EA6C2B6257DE72355E472AA05A4C487E6B463C029ED306DF2F01B5636B58:"
    "80FD8265B0748DA90BC5C5294DABE394D3D47199994AE96AC73EE45C783537B1:"
    "35443739374644332D333533382D343237452D413437422D413332464336434633413641:"
    "34443739374644332D333533382D343237452D413437422D413332464336434633413641"
)


def test_known_good_identity():
    about = {"identifier": IDENTIFIER, "seed": bytes([0xAA]) * 32, "credentials": (KNOWN,)}
    with VirtualAppleTV(profile="tvos14", **about) as tv, Remote(tv) as remote:
        remote.hello()
        remote.verify(KNOWN)
        assert remote.command(2) == (0, 0)


def paired_by(remote, pin):
    """Pair; returns credentials."""
    identity = hap.Identity(b"6f1a2b3c-4d5e-4f60-8172-8394a5b6c7d8")
    return hap.drive(hap_setup(identity, pin), remote.exchange)


def test_pair(tv):
    with Remote(tv) as remote:
        remote.hello()
        credentials = paired_by(remote, lambda: tv.pin)
        assert len(tv.pins) == 1
        remote.verify(str(credentials))  # takes the PIN off the screen
        assert tv.pin is None
        assert remote.command(2) == (0, 0)
    with Remote(tv) as remote:
        remote.hello()
        remote.verify(str(credentials))
        remote.listen()
    assert isinstance(credentials, Credentials)
    assert credentials.device_id == tv.identifier.encode()


def test_wrong_pins(tv):
    now = [1000.0]
    tv.accessory.clock = lambda: now[0]
    for delay in (1, 16, 32, 64):
        with Remote(tv) as remote:
            remote.hello()
            with pytest.raises(tinyatv.PairingError, match=f"wrong PIN.* {delay} s"):
                paired_by(remote, lambda: "0000" if tv.pin != "0000" else "1111")
            assert tv.pin is None
        with Remote(tv) as remote:
            remote.hello()
            with pytest.raises(tinyatv.PairingBackOff) as caught:
                paired_by(remote, lambda: tv.pin)
            assert 0 < caught.value.seconds <= delay + 1
        now[0] += delay + 1
    with Remote(tv) as remote:
        remote.hello()
        paired_by(remote, lambda: tv.pin)


def test_fixed_pin():
    with VirtualAppleTV(profile="tvos14", pin="0042", credentials=()) as tv, Remote(tv) as remote:
        remote.hello()
        paired_by(remote, "0042")
        assert tv.pins == ["0042"]


def test_dialog_goes_away_with_the_client(tv):
    with Remote(tv) as remote:
        remote.hello()
        remote.exchange(bytes.fromhex("000100060101"))
        assert tv.pin is not None
    assert tv.wait_for(lambda: tv.pin is None)


def test_pairing_not_allowed():
    with VirtualAppleTV(profile="tvos14") as tv, Remote(tv) as remote:
        tv.mrp.identity.allows_pairing = False
        assert tv.device.service("mrp").pairing is tinyatv.PairingRequirement.Disabled
        assert remote.hello().allowsPairing is False
        with pytest.raises(tinyatv.PairingError, match="does not allow"):
            paired_by(remote, "0000")
        assert tv.pins == []
        remote.verify()


@pytest.mark.parametrize("step", ["verify M1", "verify M3", "verify", "CRYPTO_PAIRING"])
def test_drop_during_verify(paired, step):
    paired.fail(step, drop=True)
    with Remote(paired) as remote:
        remote.hello()
        with pytest.raises((EOFError, ConnectionError)):
            remote.verify()


def test_status_of_pairing(paired):
    paired.fail("verify", status=-6727)
    with Remote(paired) as remote:
        remote.hello()
        remote.send(proto.CRYPTO_PAIRING, pairingData=bytes.fromhex("0601010320") + bytes(32))
        assert remote.read().body.status == -6727


# -- the device as a whole -------------------------------------------------------------------------


def test_device():
    with VirtualAppleTV("Den", profile="tvos14", mdns_port=0) as tv:
        device = tv.device
        assert device.name == "Den"
        assert device.identifier == tv.identifier
        assert [one.protocol for one in device.services] == ["mrp", "companion"]
        service = device.service("mrp")
        assert service.port == tv.ports["mrp"]
        assert service.credentials == tv.credentials["mrp"]
        assert service.pairing is tinyatv.PairingRequirement.Optional
        assert service.properties["allowpairing"] == "YES"
        info = device.info
        assert (info.model, info.raw_model) == ("Gen4K", "AppleTV6,2")
        assert (info.version, info.build, info.mac) == ("14.7", "18M60", tv.mac)
        (found,) = tinyatv.scan(5.0, hosts=[f"127.0.0.1:{tv.ports['mdns']}"])
        assert found.identifier == tv.identifier
        assert found.service("mrp").port == tv.ports["mrp"]
        with pytest.raises(AttributeError, match="DMAP"):
            _ = tv.dmap


def test_identifier_fixes_the_key():
    with VirtualAppleTV(profile="tvos14", identifier=IDENTIFIER.lower()) as tv:
        assert tv.identifier == IDENTIFIER
        credentials = tv.credentials["mrp"]
    again = VirtualAppleTV(profile="tvos14", identifier=IDENTIFIER, credentials=(credentials,))
    with again as tv, Remote(tv) as remote:
        remote.hello()
        remote.verify(credentials)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"identifier": "0123456789ABCDEF"}, ValueError),
        ({"pin": "12345"}, ValueError),
        ({"credentials": ("0x0123456789ABCDEF",)}, tinyatv.CredentialsError),
        ({"credentials": (KNOWN,)}, tinyatv.CredentialsError),  # of another device
    ],
)
def test_bad_arguments(arguments, error):
    with pytest.raises(error):
        VirtualAppleTV(profile="tvos14", **arguments)


def test_move():
    with VirtualAppleTV(profile="tvos14", mdns_port=0) as tv, Remote(tv) as remote:
        remote.hello()
        before = tv.ports["mrp"]
        tv.mrp.quirks.hid_ack = True
        tv.move()
        assert remote.is_closed()
        assert tv.ports["mrp"] != before
        assert tv.mrp.quirks.hid_ack
        (found,) = tinyatv.scan(5.0, hosts=[f"127.0.0.1:{tv.ports['mdns']}"])
        assert found.service("mrp").port == tv.ports["mrp"]
        with Remote(tv) as again:
            again.hello()
            again.verify()
            again.listen()
