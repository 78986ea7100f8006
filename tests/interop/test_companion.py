"""The peer's unmodified programs and client use everything that Companion has."""

from __future__ import annotations

import contextlib
import json

import pytest

from tests.support.companion_client import Remote
from tinyatv import DeviceState, PowerState
from tinyatv.virtual import VirtualAppleTV

from .conftest import Client, Peer, Refused

NETFLIX, MUSIC = "com.netflix.Netflix", "com.apple.TVMusic"


@pytest.fixture(scope="module")
def process(peer_bin):
    """One for all tests: starting it takes longer than most of them."""
    client = Client(peer_bin, "control_client.py")
    yield client
    client.stop()


@pytest.fixture(params=["tvos18"])
def tv(request):
    """A device with a known client."""
    with VirtualAppleTV("Den", profile=request.param, protocols=["companion"]) as tv:
        yield tv


def where(tv):
    return tv.identifier, tv.ports["companion"]


@pytest.fixture
def client(process, tv):
    """The peer's library, connected."""
    process("connect", *where(tv), tv.credentials["companion"], "Companion")
    yield process
    process("close")


def done(tv, *log):
    """What it was asked to do, once it was done; then forgotten."""
    assert tv.wait_for(lambda: tv.log == list(log)), tv.log
    tv.log.clear()


# -- programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["tvos14", "tvos15", "tvos27"])
def test_scan_pair_and_use(peer_bin, tmp_path, profile):
    protocols = ["companion"]
    with VirtualAppleTV(
        "Den", profile=profile, mdns_port=0, credentials=(), protocols=protocols
    ) as tv:
        peer = Peer(peer_bin, tv, tmp_path)
        out = peer.run("atvremote", "scan")
        assert "       Name: Den\n" in out
        assert f"Protocol: Companion, Port: {tv.ports['companion']}" in out
        assert "Pairing: Mandatory" in out
        assert f" - {tv.identifier}\n" in out
        process = peer.start("atvremote", "--id", tv.identifier, "--protocol", "companion", "pair")
        try:
            assert tv.wait_for(lambda: tv.pin is not None, 30)
            out, err = process.communicate(f"{tv.pin}\n", timeout=60)
        finally:
            process.kill()
        assert "seems to have succeeded" in out, out + err
        assert tv.wait_for(lambda: tv.pin is None)
        tv.state.open_field("text")
        out = peer.run(
            "atvremote", "--id", tv.identifier, "up", "select", f"launch_app={NETFLIX}",
            "app_list", "account_list", "power_state", "set_volume=35", "volume", "text_get",
            "text_append=!", "swipe=500,900,500,100,50", "delay=100",
        )  # fmt: skip
        assert tv.log == [
            "up", "select", f"launch_app {NETFLIX}", "set_volume 35", "text_append !", "up",
        ]  # fmt: skip
        assert "App: Netflix (com.netflix.Netflix)" in out
        assert "Account: Alex (6A3B1F52-0C7D-4E8B-9A15-2D4C6E8F0A1B)" in out
        assert "PowerState.On" in out
        assert "35.0" in out
        assert "\ntext\n" in f"\n{out}"
        assert tv.companion.complaints == []
        line = json.loads(peer.run("atvscript", "--id", tv.identifier, "menu"))
        assert (line["result"], tv.log[-1]) == ("success", "menu")
        peer.run("atvremote", "--id", tv.identifier, "turn_off")
        assert tv.state.power is PowerState.Off


# -- pairing by its library ------------------------------------------------------------------------


def test_wrong_pin_and_then_right(process):
    with VirtualAppleTV(profile="tvos18", protocols=["companion"], credentials=()) as tv:
        tv.accessory.back_off = False
        process("pair", *where(tv), "Companion")
        with pytest.raises(Refused, match="Authentication"):
            process("pin", f"{(int(tv.pin) + 1) % 10000:04}")
        assert tv.accessory.clients == {}
        process("pair", *where(tv), "Companion")
        credentials = process("pin", tv.pin)
        assert tv.wait_for(lambda: tv.pin is None)
        with Remote(tv) as remote:  # what it was given works for us
            remote.ready(credentials)
            remote.tap(6)
        process("connect", *where(tv), credentials, "Companion")
        process.press("up")
        process("close")
    assert tv.log == ["select", "up"]
    assert tv.companion.complaints == []


def test_back_off(process):
    with VirtualAppleTV(profile="tvos18", protocols=["companion"], credentials=()) as tv:
        process("pair", *where(tv), "Companion")
        with pytest.raises(Refused, match="Authentication"):
            process("pin", f"{(int(tv.pin) + 1) % 10000:04}")
        with pytest.raises(Refused, match="BackOff"):
            process("pair", *where(tv), "Companion")


def test_credentials_that_are_forgotten(process, tv):
    credentials = tv.credentials["companion"]
    tv.forget_clients()
    with contextlib.suppress(Refused):  # it does not look at the last message
        process("connect", *where(tv), credentials, "Companion")
    with pytest.raises(Refused):
        process.press("up")
    process("close")
    assert tv.log == []


@pytest.mark.parametrize("tv", ["tvos14", "tvos15", "tvos26", "tvos27"], indirect=True)
def test_every_system(client, tv):
    client.press("menu")
    done(tv, "menu")
    assert client("get", "power.power_state") == "On"
    assert tv.companion.complaints == []


# -- buttons ---------------------------------------------------------------------------------------

INPUT = ["up", "down", "left", "right", "select", "menu", "home"]


@pytest.mark.parametrize("button", INPUT)
def test_input(client, tv, button):
    client.press(button)
    client.press(button, "InputAction.DoubleTap")
    client.press(button, "InputAction.Hold")
    done(tv, button, button, button, f"{button} hold")
    assert tv.state.gestures[2].startswith(f"{button}")
    assert [seconds > 0.9 for _, seconds in tv.state.presses] == [False, False, False, True]


BUTTONS = [
    "play_pause", "volume_up", "volume_down", "channel_up", "channel_down", "screensaver", "guide",
    "control_center",
]  # fmt: skip


@pytest.mark.parametrize("button", BUTTONS)
def test_button(client, tv, button):
    client.press(button)
    done(tv, button)


def test_media(client, tv):
    tv.wait_for(lambda: "_mcc" in tv.companion.requests)  # it knows what can be controlled
    for command in ("pause", "play", "next", "previous"):
        client.press(command)
        done(tv, command)
    client.press("skip_forward", 30)
    client.press("skip_backward", 12)
    client.press("skip_forward")
    client.press("skip_backward")
    done(
        tv, "skip_forward 30", "skip_backward 12", "skip_forward 10", "skip_backward 10"
    )  # fmt: skip


def test_refused(client, tv):
    tv.state.activate(None)
    with pytest.raises(Refused, match="Nothing that would do it"):
        client.press("next")


# -- apps and accounts -----------------------------------------------------------------------------


def test_apps(client, tv):
    assert client("call", "apps.app_list") == [[app.name, app.identifier] for app in tv.state.apps]
    client("call", "apps.launch_app", NETFLIX)
    assert tv.state.app.identifier == NETFLIX
    url = "https://www.example.com/x?y=0"
    client("call", "apps.launch_app", url)
    assert tv.state.url == url
    done(tv, f"launch_app {NETFLIX}", f"launch_app {url}")
    with pytest.raises(Refused, match=r"com\.example\.none"):
        client("call", "apps.launch_app", "com.example.none")


def test_accounts(client, tv):
    accounts = client("call", "user_accounts.account_list")
    assert accounts == [[name, one] for one, name in tv.state.accounts.items()]
    client("call", "user_accounts.switch_account", accounts[1][1])
    assert tv.state.account == accounts[1][1]
    done(tv, f"switch_account {accounts[1][1]}")


# -- power and volume ------------------------------------------------------------------------------


def test_power(client, tv):
    assert client("get", "power.power_state") == "On"
    client("call", "power.turn_off")
    assert tv.state.power is PowerState.Off
    assert client.until("power", "Off") == ["power", "Off"]
    assert client("get", "power.power_state") == "Off"
    client("call", "power.turn_on")
    client.until("power", "On")
    done(tv, "turn_off", "turn_on")
    tv.state.sleep()  # by somebody else
    client.until("power", "Off")
    tv.state.wake()
    client.until("power", "On")


@pytest.mark.parametrize("attention", ["error", "always"])
def test_power_as_it_is_told(process, tv, attention):
    tv.companion.attention = attention
    process("connect", *where(tv), tv.credentials["companion"], "Companion")
    known = "On" if attention == "always" else "Unknown"
    assert process("get", "power.power_state") == known
    wanted = {"SystemStatus", "TVSystemStatus"}
    assert tv.wait_for(lambda: any(wanted <= peer.interests for peer in tv.companion.peers))
    tv.state.sleep()
    process.until("power", "Off")
    process("close")


def test_volume(client, tv):
    client.until("volume", 50.0)
    client("call", "audio.set_volume", 20.0)
    assert tv.state.volume == 20.0
    client.until("volume", 20.0)
    client("call", "audio.volume_up")
    client.until("volume", 25.0)
    client("call", "audio.volume_down")
    assert client("get", "audio.volume") == 20.0
    tv.state.set_volume(70)
    client.until("volume", 70.0)
    tv.state.set_volume(70)
    client("call", "audio.set_volume", 70.0)  # as loud as it is; it does not wait in vain
    done(
        tv, "set_volume 20", "volume_up", "volume_down", "set_volume 70", "set_volume 70",
        "set_volume 70",
    )  # fmt: skip


# -- touch -----------------------------------------------------------------------------------------


def test_touch(client, tv):
    client("call", "touch.swipe", 100, 500, 900, 500, 100)
    done(tv, "right")
    client("call", "touch.swipe", 500, 100, 520, 900, 100)
    done(tv, "down")
    phases = [phase for phase, _, _ in tv.companion.touches]
    assert (phases[0], phases[-1]) == (1, 4)
    assert set(phases) == {1, 3, 4}
    assert tv.companion.touches[-1] == (4, 520, 900)


def test_touch_actions(client, tv):
    for action in ("Press", "Hold", "Release", "Click"):
        client("call", "touch.action", 10, 20, f"TouchAction.{action}")
    assert tv.wait_for(lambda: len(tv.companion.touches) == 4)
    assert tv.companion.touches == [(phase, 10, 20) for phase in (1, 3, 4, 5)]
    assert tv.log == []


@pytest.mark.parametrize(
    ("how", "log"),
    [("SingleTap", ["select"]), ("DoubleTap", ["select"] * 2), ("Hold", ["select hold"])],
)
def test_click(client, tv, how, log):
    client("call", "touch.click", f"InputAction.{how}")
    done(tv, *log)


# -- text ------------------------------------------------------------------------------------------


def test_text(client, tv):
    assert client("get", "keyboard.text_focus_state") == "Unfocused"
    assert client("call", "keyboard.text_get") is None
    tv.state.open_field("abc")
    client.until("focus", "Focused")
    assert client("get", "keyboard.text_focus_state") == "Focused"
    assert client("call", "keyboard.text_get") == "abc"
    client("call", "keyboard.text_append", "déf")
    assert tv.wait_for(lambda: tv.state.text == "abcdéf")
    client("call", "keyboard.text_set", "new")
    assert tv.wait_for(lambda: tv.state.text == "new")
    assert client("call", "keyboard.text_get") == "new"
    client("call", "keyboard.text_clear")
    assert tv.wait_for(lambda: tv.state.text == "")
    assert client("call", "keyboard.text_get") == ""
    done(tv, "text_append déf", "text_clear", "text_append new", "text_clear")
    tv.state.close_field()
    client.until("focus", "Unfocused")
    assert tv.companion.complaints == []


# -- features --------------------------------------------------------------------------------------

ALWAYS = [
    "Up", "Down", "Left", "Right", "Select", "Menu", "Home", "PlayPause", "VolumeUp", "VolumeDown",
    "ChannelUp", "ChannelDown", "Screensaver", "Guide", "ControlCenter", "AppList", "LaunchApp",
    "AccountList", "SwitchAccount", "TurnOn", "TurnOff", "TextFocusState", "TextGet", "TextSet",
    "TextAppend", "TextClear", "Swipe", "Action", "Click", "PowerState",
]  # fmt: skip
CONTROLS = {
    "Play": "play", "Pause": "pause", "Next": "next", "Previous": "previous",
    "SkipForward": "skip_forward", "SkipBackward": "skip_backward",
}  # fmt: skip


def test_features(client, tv):
    client.until("volume", 50.0)
    for name in [*ALWAYS, *CONTROLS, "Volume", "SetVolume"]:
        assert client("call", "features.get_feature", f"FeatureName.{name}") == "Available", name
    tv.state.disable(*CONTROLS.values())
    tv.state.set_volume(60)
    client.until("volume", 60.0)
    for name in CONTROLS:
        assert client("call", "features.get_feature", f"FeatureName.{name}") == "Unavailable", name
    tv.state.volume_control = False
    tv.companion.notify_peers()
    client.until("volume", 0.0)
    assert client("call", "features.get_feature", "FeatureName.SetVolume") == "Unavailable"
    tv.state.volume_control = True


# -- how it misbehaves -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        "named_replies",
        "events_first",
        "stray",
        "noop",
        "unknown_frames",
        "one_byte_writes",
        "eager",
    ],
)
def test_quirks(process, tv, odd):
    """Those that a client must put up with."""
    setattr(tv.companion.quirks, odd, True)
    process("connect", *where(tv), tv.credentials["companion"], "Companion")
    assert len(process("call", "apps.app_list")) == len(tv.state.apps)
    process.press("up")
    process("call", "power.turn_off")
    process("close")
    done(tv, "up", "turn_off")


def test_disconnect(process, tv):
    """It takes leave as it should, and is gone."""
    process("connect", *where(tv), tv.credentials["companion"], "Companion")
    process("close")
    assert tv.wait_for(lambda: tv.companion.peers == [])
    requests = tv.companion.requests
    assert {"_sessionStop", "_touchStop", "_tiStop"} <= set(requests)
    assert tv.companion.complaints == []


def test_lost(process, tv):
    process("connect", *where(tv), tv.credentials["companion"], "Companion")
    tv.companion.drop_peers()
    process.until("closed")
    process("close")


def test_launched_app_plays(process):
    """What was started over Companion is what MRP says to play."""
    with VirtualAppleTV("Den", profile="tvos14") as tv:
        process("connect", *where(tv), tv.credentials["companion"], "Companion")
        process("call", "apps.launch_app", "com.apple.podcasts")
        process("close")
        assert tv.state.device_state is DeviceState.Paused
        process("connect", tv.identifier, tv.ports["mrp"], tv.credentials["mrp"], "MRP")
        process.until("playing", {"title": "Episode 7"})
        assert process("get", "metadata.app") == ["Podcasts", "com.apple.podcasts"]
        process("close")
