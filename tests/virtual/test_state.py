"""What all protocols of the virtual device share."""

from __future__ import annotations

import threading

import pytest

from tinyatv import DeviceState, MediaType
from tinyatv.model import App, PowerState
from tinyatv.virtual import Item, Player, State
from tinyatv.virtual.state import direction


@pytest.fixture
def state():
    return State("Den", "OWN")


def test_watchers_hear_once_of_nested_changes(state):
    heard = []
    state.watch(lambda: heard.append(state.revision))
    before = state.revision
    with state.change():
        state.volume_up()
        with state.change():
            state.pause()
    assert heard == [before + 1]


def test_a_watcher_may_be_told_without_any_lock(state):
    """Another thread can read the state while a watcher runs."""
    seen = []

    def watcher():
        thread = threading.Thread(target=lambda: seen.append(state.position))
        thread.start()
        thread.join(5)

    state.watch(watcher)
    with state.change():
        state.pause()
    assert len(seen) == 1


def test_change_that_fails(state):
    with pytest.raises(ZeroDivisionError), state.change():
        _ = 1 / 0
    heard = []
    state.watch(lambda: heard.append(1))
    state.pause()
    assert heard == [1]


def test_app_follows_the_item(state):
    assert state.app == App("Music", "com.apple.TVMusic")
    state.items.insert(0, Item("Film", media_type=MediaType.Video))
    assert state.app == App("TV", "com.apple.TVWatchList")
    state.app = App("Films", "org.example.films")
    assert state.app.name == "Films"
    with state.change():
        state.device_state = DeviceState.Idle
    assert state.app is None
    assert state.item is None


def test_activate_pauses_the_other(state):
    music = state.player
    clip = Player([Item("Clip")], App("Clips", "org.example.clips"), position=12)
    state.activate(clip)
    assert (music.device_state, clip.device_state) == (DeviceState.Paused, DeviceState.Paused)
    assert state.position == 12
    state.play()
    state.activate("com.apple.TVMusic")
    assert (state.player, clip.device_state) == (music, DeviceState.Paused)
    with pytest.raises(ValueError, match="no player of 'x'"):
        state.activate("x")
    state.activate(None)
    assert (state.item, state.device_state) == (None, DeviceState.Idle)


def test_rate(state):
    state.set_position(100)
    state.player._since -= 10  # as if ten seconds had passed
    assert state.position == pytest.approx(110, abs=1)
    state.set_position(100)
    state.fast_forward()
    state.player._since -= 10
    assert state.position == pytest.approx(120, abs=1)
    state.rewind()
    state.player._since -= 10
    assert state.position == pytest.approx(100, abs=1)
    state.end_seeking()
    assert (state.device_state, state.rate) == (DeviceState.Playing, 1)
    state.skip_backward(500)
    assert state.position == pytest.approx(0, abs=1)


def test_sleep_pauses(state):
    state.sleep()
    assert (state.power, state.device_state) == (PowerState.Off, DeviceState.Paused)
    state.wake()
    assert state.power is PowerState.On
    assert state.log == ["turn_off", "turn_on"]


def test_mute(state):
    state.mute()
    assert state.volume == 0
    state.mute()
    assert state.volume == 50
    state.relative_volume = False
    state.mute()
    assert state.volume == 50
    assert state.log == ["mute"] * 3


def test_outputs(state):
    kitchen, bedroom = (one.identifier for one in state.known_outputs[1:])
    assert state.outputs == ["OWN"]
    state.add_outputs(kitchen, bedroom, kitchen, "nobody")
    assert state.outputs == ["OWN", kitchen, bedroom]
    state.remove_outputs("OWN", bedroom)
    assert state.outputs == [kitchen]
    state.set_outputs(bedroom)
    assert state.outputs == [bedroom]
    state.set_volume(77, bedroom)
    assert (state.volume, state.known_outputs[2].volume) == (50, 77)


def test_typing_without_a_field(state):
    state.text_set("x")
    assert state.text is None
    assert state.log == ["text_set x"]


# -- apps, accounts, screen ------------------------------------------------------------------------


def test_launch(state):
    assert len(state.apps) > 14
    state.launch("com.netflix.Netflix")
    assert state.app == App("Netflix", "com.netflix.Netflix")
    assert (state.item, state.device_state) == (None, DeviceState.Stopped)
    state.launch("com.apple.TVMusic")  # goes back to what it was
    assert (state.item.title, state.device_state) == ("Harbour Lights", DeviceState.Paused)
    state.play()
    state.launch("com.apple.TVMusic")
    assert state.device_state is DeviceState.Playing
    with pytest.raises(ValueError, match=r"no app 'com\.example\.none'"):
        state.launch("com.example.none")
    assert [app.identifier for app in state.running] == ["com.apple.TVMusic", "com.netflix.Netflix"]
    assert state.log == [
        "launch_app com.netflix.Netflix", "launch_app com.apple.TVMusic", "play",
        "launch_app com.apple.TVMusic",
    ]  # fmt: skip


def test_launch_the_app_that_was_idle(state):
    state.activate(None)
    state.launch("com.apple.TVMusic")
    assert state.app.identifier == "com.apple.TVMusic"


def test_use_wakes_the_screen(state):
    for use in (lambda: state.launch("com.apple.TVMusic"), lambda: state.open_url("https://a.b")):
        state.sleep()
        use()
        assert state.power is PowerState.On
        press(state, "screensaver")
        assert state.screensaver
        use()
        assert not state.screensaver
    assert state.url == "https://a.b"


def press(state, button):
    state.button_down(button)
    state.button_up(button)


def test_screensaver(state):
    press(state, "screensaver")
    assert state.screensaver
    press(state, "volume_up")
    assert state.screensaver
    press(state, "up")
    assert (state.screensaver, state.power) == (False, PowerState.On)
    press(state, "screensaver")
    state.sleep()
    assert (state.screensaver, state.power) == (False, PowerState.Off)


def test_accounts(state):
    first, second = state.accounts
    assert state.account == first
    state.switch_account(second)
    assert state.account == second
    with pytest.raises(ValueError, match="no account 'nobody'"):
        state.switch_account("nobody")


def test_captions(state):
    for given, found in ((4, 2), (4, 1), (3, 3), (4, 2), (1, 1)):
        state.set_captions(given)
        assert state.captions == found


@pytest.mark.parametrize(
    ("across", "along", "button"),
    [(0, 0, None), (5, 0, "right"), (-5, 0, "left"), (0, 5, "down"), (0, -5, "up"), (5, -6, "up"),
     (5, 5, "right"), (-0.5, 0.25, "left")],
)  # fmt: skip
def test_direction_of_a_swipe(across, along, button):
    assert direction(across, along) == button


def test_what_a_player_takes(state):
    player = state.player
    assert player.takes("next")
    state.disable("next")
    assert (player.knows("next"), player.takes("next")) == (True, False)
    player.missing.add("pause")
    assert not player.knows("pause")
    player.one_sided = True
    assert [player.takes(word) for word in ("play", "play_pause")] == [False, False]
    state.pause()
    assert player.takes("play")
    state.activate(None)
    assert not state.player.takes("play")


@pytest.mark.parametrize(
    "sooner",
    [
        lambda state: state.set_position(99.9),
        lambda state: state.update(duration=0.1),
        lambda state: state.set_rate(2000.0),
        lambda state: (state.pause(), state.set_position(99.9), state.play()),
        lambda state: state.activate(
            state.add_player(
                Player([Item("Short", duration=0.1)], device_state=DeviceState.Playing)
            )
        ),
    ],
    ids=["jump", "shorter", "faster", "paused meanwhile", "another player"],
)
def test_the_clock_hears_of_an_end_that_comes_sooner(state, sooner):
    """It sleeps until the end that it knows, whatever else happens."""
    state.player.items[:] = [Item("Long", duration=100.0), Item("Next", duration=100.0)]
    state.start("virtual-clock")
    try:
        with state.change():
            state.player.position = 0.0
        pace = threading.Event()
        for _ in range(5000):
            if state._due is not None:
                break
            pace.wait(0.001)  # until it sleeps
        item = state.item
        sooner(state)
        over = (DeviceState.Stopped,)  # a player with one item stops at its end
        assert state.wait_for(lambda s: s.item.title == "Next" or s.device_state in over, 10)
        assert item.title == "Long"
    finally:
        state.stop()
