"""The peer's unmodified programs and client find, pair, control and watch the virtual device."""

from __future__ import annotations

import base64
import json

import pytest

from tests.support.mrp_client import Remote
from tinyatv import PowerState, RepeatState, ShuffleState
from tinyatv.model import App
from tinyatv.virtual import Item, VirtualAppleTV

from .conftest import Client, Peer, Refused

MUSIC, PODCASTS = "com.apple.TVMusic", "com.apple.podcasts"
KITCHEN, BEDROOM = "00:F7:6F:0A:0B:0C", "7A0C4D2E-9B1F-4E6A-8C3D-5F60718293A4"


@pytest.fixture(scope="module")
def process(peer_bin):
    """One for all tests: starting it takes longer than most of them."""
    client = Client(peer_bin, "control_client.py")
    yield client
    client.stop()


@pytest.fixture
def tv():
    """A device with a known client."""
    with VirtualAppleTV("Den", profile="tvos14") as tv:
        yield tv


@pytest.fixture
def client(process, tv):
    """The peer's library, connected and watching."""
    process("connect", tv.identifier, tv.ports["mrp"], tv.credentials["mrp"], "MRP")
    yield process
    process("close")


@pytest.fixture
def programs(peer_bin, tmp_path):
    """The peer's programs, and a device that they have not paired with."""
    with VirtualAppleTV("Den", profile="tvos14", mdns_port=0, credentials=()) as tv:
        yield Peer(peer_bin, tv, tmp_path)


# -- programs --------------------------------------------------------------------------------------


def test_scan(programs):
    out = programs.run("atvremote", "scan")
    assert "       Name: Den\n" in out
    assert "Model/SW: Apple TV 4K, tvOS 14.7 build 18M60" in out
    assert f"MAC: {programs.tv.mac.lower()}\n" in out
    assert f" - {programs.tv.identifier}\n" in out
    assert f"Protocol: MRP, Port: {programs.tv.ports['mrp']}" in out
    assert "Pairing: Optional" in out


def test_pair_then_use(programs):
    tv = programs.tv
    process = programs.start(
        "atvremote", "--id", tv.identifier, "--protocol", "mrp", "--remote-name", "peer", "pair"
    )
    try:
        assert tv.wait_for(lambda: tv.pin is not None, 30)
        out, err = process.communicate(f"{tv.pin}\n", timeout=60)
    finally:
        process.kill()
    assert "seems to have succeeded" in out, out + err
    assert tv.wait_for(lambda: tv.pin is None)
    out = programs.run(
        "atvremote", "--id", tv.identifier, "up", "menu", "pause", "volume_up", "playing", "app",
        "power_state", "volume", "output_devices", "features",
    )  # fmt: skip  # with what it has stored
    assert tv.log == ["up", "menu", "pause", "volume_up"]
    assert "Harbour Lights" in out
    assert "App: Music (com.apple.TVMusic)" in out
    assert "PowerState.On" in out
    assert tv.mrp.requests.count("CRYPTO_PAIRING") == 3 + 2 + 2
    line = json.loads(programs.run("atvscript", "--id", tv.identifier, "playing"))
    assert (line["title"], line["device_state"], line["app_id"]) == (
        "Harbour Lights", "paused", MUSIC,
    )  # fmt: skip


# -- pairing by its library ------------------------------------------------------------------------


def test_wrong_pin_back_off_and_then_right(process):
    now = [1000.0]
    with VirtualAppleTV(profile="tvos14", credentials=()) as tv:
        tv.accessory.clock = lambda: now[0]
        where = tv.identifier, tv.ports["mrp"]
        for delay in (1, 16):
            process("pair", *where, "MRP")
            with pytest.raises(Refused, match="Authentication"):
                process("pin", f"{(int(tv.pin) + 1) % 10000:04}")
            assert tv.accessory.locked_until == now[0] + delay
            with pytest.raises(Refused, match="BackOff"):
                process("pair", *where, "MRP")
            now[0] += delay + 1
        assert tv.accessory.clients == {}
        process("pair", *where, "MRP")
        credentials = process("pin", tv.pin)
        assert tv.wait_for(lambda: tv.pin is None)
        with Remote(tv) as remote:  # what it was given works for us
            remote.hello()
            remote.verify(credentials)
            assert remote.command(2) == (0, 0)
        process("connect", *where, credentials, "MRP")
        process.press("up")
        process("close")
    assert tv.log == ["pause", "up"]


def test_unpaired(process, tv):
    process("connect", tv.identifier, tv.ports["mrp"], None, "MRP")
    process.press("up")
    process("close")
    assert tv.log == ["up"]


# -- what plays ------------------------------------------------------------------------------------


def test_metadata(client, tv):
    episode = Item(
        "Pilot", "Cast", "First Season", "Drama", 1500, series_name="Keep Alive", season_number=2,
        episode_number=3, content_identifier="id-1", itunes_store_identifier=1402001,
    )  # fmt: skip
    with tv.state.change():
        tv.state.items.insert(0, episode)
        tv.state.player.mix(ShuffleState.Songs)
        tv.state.set_repeat(RepeatState.All)
        tv.state.set_position(90)
        tv.state.pause()
    _, seen = client.until("playing", {"title": "Pilot"})
    assert len(seen.pop("hash")) > 0
    assert seen == {
        "media_type": "Music", "device_state": "Paused", "title": "Pilot", "artist": "Cast",
        "album": "First Season", "genre": "Drama", "total_time": 1500, "position": 90,
        "shuffle": "Songs", "repeat": "All", "series_name": "Keep Alive", "season_number": 2,
        "episode_number": 3, "content_identifier": "id-1", "itunes_store_identifier": 1402001,
    }  # fmt: skip
    assert client("get", "metadata.app") == ["Music", MUSIC]


def test_position_moves_with_the_clock(client, tv):
    tv.state.set_position(100)
    client.until("playing", {"position": 100})
    assert 100 <= client("call", "metadata.playing")["position"] <= 103


def test_push_updates(client, tv):
    client.until("playing", {"title": "Harbour Lights", "device_state": "Playing"})
    tv.state.update(title="Pushed")
    client.until("playing", {"title": "Pushed"})
    tv.state.pause()
    client.until("playing", {"device_state": "Paused"})
    tv.state.fast_forward()
    client.until("playing", {"device_state": "Seeking"})
    tv.state.end_seeking()
    client.until("playing", {"device_state": "Playing"})
    tv.state.stop_playing()
    client.until("playing", {"device_state": "Stopped", "position": 0})
    tv.state.activate(PODCASTS)
    client.until("playing", {"title": "Episode 7", "device_state": "Paused", "position": 333})
    assert client("get", "metadata.app") == ["Podcasts", PODCASTS]
    tv.state.remove_app(PODCASTS)
    client.until("playing", {"title": None, "device_state": "Idle"})
    assert client("get", "metadata.app") is None or client("get", "metadata.app")[1] == ""
    tv.state.activate(MUSIC)
    client.until("playing", {"title": "Pushed", "device_state": "Stopped"})
    with tv.state.change():
        tv.state.app = App("Muzak", MUSIC)
        tv.state.play()
    client.until("playing", {"device_state": "Playing"})
    assert client("get", "metadata.app") == ["Muzak", MUSIC]
    tv.state.sleep()
    client.until("power", "Off")
    tv.state.wake()
    client.until("power", "On")
    tv.state.set_volume(12)
    client.until("volume", 12.0)
    tv.mrp.drop_peers()
    client.until("closed")


@pytest.mark.parametrize("size", [(512, None), (100, 100), (0, 64)])
def test_artwork(client, tv, size):
    kind, width, height, data = client("call", "metadata.artwork", *size)
    expected = tv.state.artwork(size[0] or 0, size[1] or 0)
    assert base64.b64decode(data) == expected
    assert (kind, width, height) == ("image/png", *[min(n or 512, 512) for n in size][-1:] * 2)


def test_no_artwork(client, tv):
    tv.mrp.quirks.artwork_not_delivered = True
    assert client("call", "metadata.artwork") is None


# -- control ---------------------------------------------------------------------------------------

ARROWS = ["up", "down", "left", "right", "select", "menu", "home"]
KEYS = [
    "top_menu", "play", "pause", "play_pause", "stop", "next", "previous", "volume_up",
    "volume_down", "wakeup", "suspend",
]  # fmt: skip


def test_every_key(client, tv):
    for button in [*ARROWS, *KEYS]:
        client.press(button)
    assert tv.log == [*ARROWS, *KEYS]
    tv.log.clear()
    tv.state.gestures.clear()
    for button in ARROWS:
        client.press(button, "InputAction.DoubleTap")
    assert tv.log == [button for button in ARROWS for _ in range(2)]
    assert tv.state.gestures == [text for b in ARROWS for text in (b, f"{b} double")]


def test_hold(client, tv):
    client.press("select", "InputAction.Hold")
    client.press("home_hold")
    assert tv.log == ["select hold", "home hold"]
    assert [seconds for _, seconds in tv.state.presses] == [pytest.approx(1, abs=0.3)] * 2


def test_position_shuffle_repeat_skip(client, tv):
    client.press("set_position", 50)
    client.press("skip_forward", 30)
    client.press("skip_backward", 7.9)
    client.press("skip_forward")
    for state in ("Songs", "Albums", "Off"):
        client.press("set_shuffle", f"ShuffleState.{state}")
        client.until("playing", {"shuffle": state})
    for state in ("Track", "All", "Off"):
        client.press("set_repeat", f"RepeatState.{state}")
        client.until("playing", {"repeat": state})
    assert tv.log == [
        "set_position 50", "skip_forward 30", "skip_backward 7", "skip_forward 10",
        "set_shuffle Songs", "set_shuffle Albums", "set_shuffle Off",
        "set_repeat Track", "set_repeat All", "set_repeat Off",
    ]  # fmt: skip


def test_refused_command(client, tv):
    tv.fail("pause", status=5)
    with pytest.raises(Refused, match="TimedOut"):
        client.press("pause")
    with tv.state.change():
        tv.state.disable("next")
        tv.state.update(title="Last")
    client.until("playing", {"title": "Last"})
    with pytest.raises(Refused, match="NoCommandHandlers"):
        client.press("next")
    assert client("call", "features.all_features")["Next"] == "Unavailable"
    assert tv.log == []


def test_one_sided_app(client, tv):
    """Without a toggle, the peer chooses from the state."""
    with tv.state.change():
        tv.state.player.one_sided = True
        tv.state.update(title="Clip")
    client.until("playing", {"title": "Clip"})
    client.press("play_pause")
    client.until("playing", {"device_state": "Paused"})
    client.press("play_pause")
    assert tv.log == ["pause", "play"]


def test_volume(client, tv):
    assert client("get", "audio.volume") == 50
    client("call", "audio.set_volume", 20.0)
    client("call", "audio.volume_up")
    assert client("get", "audio.volume") == 25
    assert tv.log == ["set_volume 20", "volume_up"]
    with tv.state.change():
        tv.state.relative_volume = False  # as a HomePod
        tv.state.volume = 40.0
    client.until("volume", 40.0)
    client("call", "audio.volume_down")
    assert tv.log[2:] == ["set_volume 35"]
    with tv.state.change():
        tv.state.relative_volume, tv.state.absolute_volume = True, False  # as a TV behind HDMI
    while client("call", "features.all_features")["SetVolume"] == "Available":
        pass  # it has not heard of it yet
    client("call", "audio.volume_down")
    assert tv.wait_for(lambda: tv.log[3:] == ["volume_down"])  # it does not wait for an event


def test_output_devices(client, tv):
    own = ["Den", tv.identifier]
    assert client("get", "audio.output_devices") == [own]
    client("call", "audio.add_output_devices", KITCHEN, BEDROOM)
    assert client("get", "audio.output_devices") == [own, ["Kitchen", KITCHEN],
                                                     ["Bedroom", BEDROOM]]  # fmt: skip
    tv.state.set_volume(33, KITCHEN)
    client.until("volume", KITCHEN, 33.0)
    client("call", "audio.remove_output_devices", KITCHEN)
    assert client("get", "audio.output_devices") == [own, ["Bedroom", BEDROOM]]
    client("call", "audio.set_output_devices", BEDROOM)
    assert client("get", "audio.output_devices") == [["Bedroom", BEDROOM]]
    client("call", "audio.set_output_devices", tv.identifier)
    client.until("outputs", [own])


def test_power(client, tv):
    assert client("get", "power.power_state") == "On"
    client("call", "power.turn_off", True)
    assert client("get", "power.power_state") == "Off"
    assert tv.state.power is PowerState.Off
    client("call", "power.turn_on", True)
    assert tv.log == ["home hold", "select", "turn_off", "turn_on"]


def test_features(client):
    states = client("call", "features.all_features")
    for name in """Up Down Left Right Select Menu TopMenu Home HomeHold Play Pause PlayPause Stop
            Next Previous SkipForward SkipBackward SetPosition SetShuffle SetRepeat Title Artist
            Album Genre TotalTime Position Artwork App VolumeUp VolumeDown Volume SetVolume
            TurnOn TurnOff PowerState OutputDevices PushUpdates""".split():
        assert states[name] == "Available", name
    assert states["SeriesName"] == "Unavailable"


# -- quirks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "switch",
    ["hid_ack", "update_client_first", "old_messages", "unknown_messages", "unknown_fields",
     "wrong_types", "coalesce"],
)  # fmt: skip
def test_quirks_that_it_survives(process, tv, switch):
    setattr(tv.mrp.quirks, switch, True)
    process("connect", tv.identifier, tv.ports["mrp"], tv.credentials["mrp"], "MRP")
    process.until("playing", {"title": "Harbour Lights"})
    process.press("up")
    process.press("pause")
    process.until("playing", {"device_state": "Paused"})
    process("close")
    assert tv.log == ["up", "pause"]


@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        ("netflix", {"title": None, "device_state": "Idle"}),
        ("rate_zero", {"title": "Harbour Lights", "device_state": "Playing", "position": 0}),
        ("no_timestamp", {"title": "Harbour Lights", "position": None}),
        ("no_metadata", {"title": None, "device_state": "Playing"}),
        ("client_without_player", {"title": None, "device_state": "Idle"}),
    ],
)
def test_quirks_that_it_sees(process, tv, switch, expected):
    setattr(tv.mrp.quirks, switch, True)
    process("connect", tv.identifier, tv.ports["mrp"], tv.credentials["mrp"], "MRP")
    seen = process("call", "metadata.playing")
    process("close")
    assert {name: seen[name] for name in expected} == expected
