"""AppleTV over Companion against the virtual one: commands, events, quirks, losses, pairing."""

from __future__ import annotations

import queue
import socket
import threading
import traceback

import pytest

import tinyatv
from tests.support.commands import COMPANION_PRESSED, NETFLIX
from tests.support.vectors import cases
from tests.support.watching import Heard, ours
from tinyatv import (
    DeviceState,
    FeatureState,
    KeyboardFocus,
    PowerState,
    ShuffleState,
    TouchAction,
)
from tinyatv.backends.companion_identity import IDENTITIES
from tinyatv.pairing.accessory import Accessory
from tinyatv.pairing.credentials import Credentials
from tinyatv.pairing.hap import Identity
from tinyatv.virtual import Item, VirtualAppleTV
from tinyatv.virtual.companion import VirtualCompanion
from tinyatv.virtual.contents import APPS
from tinyatv.virtual.profiles import PROFILES as VIRTUAL
from tinyatv.virtual.side import Setup

WAIT = 5.0  # s; a deadline for things that take milliseconds
PROFILES = ["tvos14", "tvos15", "tvos18", "tvos26", "tvos27"]


@pytest.fixture
def profile():
    return "tvos18"


@pytest.fixture
def tv(profile):
    """Nothing but Companion: no other protocol may help out."""
    with VirtualAppleTV("Living Room", profile=profile, protocols=["companion"]) as made:
        yield made


@pytest.fixture
def atv(tv):
    with tinyatv.connect(tv.device) as made:
        yield made


@pytest.fixture
def hurried(tv):
    """A connection whose commands wait for an answer for 1 s, and not for 5."""
    with tinyatv.connect(tv.device, timeout=1.0) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch):
    """Waits that a test would have to sit through, cut down."""
    monkeypatch.setattr("tinyatv.device.POWER_POLL", 0.1)
    for name in ("OPTIONAL_TIMEOUT", "SETTLE", "GOODBYE"):
        monkeypatch.setattr(f"tinyatv.backends.companion.{name}", 0.1)


def up_to_date(atv):
    """Whatever the device has said until now is known: answers come in order."""
    atv.accounts()


def over(tv, protocol):
    """A connection by one protocol alone."""
    return tinyatv.connect(tv.device, protocols=[protocol])


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "args", "seen"), COMPANION_PRESSED)
def test_command(atv, tv, command, args, seen):
    tv.state.pause()
    tv.state.set_position(100)
    up_to_date(atv)
    del tv.log[:]
    getattr(atv, command)(**args)
    assert tv.log == seen
    assert tv.companion.complaints == []


@pytest.mark.parametrize("profile", PROFILES)
def test_every_generation(atv, tv):
    """With what each of them answers, or does not."""
    assert atv.protocols == ("companion",)
    atv.menu()
    atv.pause()
    assert tv.log == ["menu", "pause"]
    assert atv.power_state() is PowerState.On
    assert atv.volume() == 50
    assert tv.companion.complaints == []


def test_double_press_is_one_for_the_device(atv, tv):
    atv.menu(presses=2)
    assert tv.state.gestures == ["menu", "menu double"]


def test_a_hold_is_as_long_as_it_was_asked_for(atv, tv):
    """Down for 1 s, 50 ms more or less, as the device sees it; not a test of speed."""
    atv.select(hold=1.0)
    [(button, seconds)] = tv.state.presses
    assert button == "select"
    assert seconds == pytest.approx(1.0, abs=0.05)


def test_what_nothing_can_do_now(atv, tv):
    tv.state.disable("next")
    with pytest.raises(tinyatv.CommandFailed, match=r"^next: .* \(error 1, companion\)$") as caught:
        atv.next()
    assert (caught.value.command, caught.value.code) == ("next", 1)
    up_to_date(atv)
    assert atv.features()["next"] is FeatureState.Unavailable
    tv.state.enable("next")
    up_to_date(atv)
    assert atv.features()["next"] is FeatureState.Available


def test_error_replies_have_their_code(atv, tv):
    for command, run in (
        ("menu", atv.menu), ("play", atv.play), ("app_list", atv.apps), ("volume", atv.volume),
        ("account_list", atv.accounts), ("launch_app", lambda: atv.launch(NETFLIX)),
    ):  # fmt: skip
        tv.fail(command, status=4711)
        with pytest.raises(tinyatv.CommandFailed, match="error 4711") as caught:
            run()
        assert caught.value.code == 4711
        run()


def test_no_such_app_and_no_such_account(atv, tv):
    with pytest.raises(tinyatv.CommandFailed, match="there is no app"):
        atv.launch("com.example.none")
    with pytest.raises(tinyatv.CommandFailed, match="switch_account: there is no account"):
        atv.switch_account("nobody")
    assert tv.log == []


def test_a_system_that_does_not_know_how(atv, tv):
    tv.fail("FetchUserAccountsEvent", status=58822)
    with pytest.raises(tinyatv.CommandFailed, match="does not know how") as caught:
        atv.accounts()
    assert caught.value.code == 58822


@pytest.mark.parametrize(
    ("command", "args"),
    [("launch", ("",)), ("launch", (5,)), ("launch", (None,)), ("switch_account", ("",)),
     ("text_set", (5,)), ("text_append", (None,)), ("swipe", (0, 0, 1001, 0)),
     ("swipe", (0, 0, 0, -1)), ("swipe", (0, 0, 1, 1, -1)), ("touch", (0, float("nan"), 1)),
     ("touch", (0, 0, 2)), ("captions", ("loud",)), ("skip_forward", (-1,)),
     ("set_volume", (101,))],
)  # fmt: skip
def test_wrong_arguments(atv, tv, command, args):
    before = list(tv.companion.requests)
    with pytest.raises(ValueError, match=r".+") as caught:
        getattr(atv, command)(*args)
    assert not isinstance(caught.value, tinyatv.AppleTVError)
    assert tv.companion.requests == before


# -- apps and accounts -----------------------------------------------------------------------------


def test_apps(atv, tv):
    """Sixteen of them: more than a message counts; spaces are plain ones."""
    assert atv.apps() == [
        tinyatv.App(app.name.replace("\xa0", " "), app.identifier) for app in APPS
    ]
    assert tinyatv.App("App Store", "com.apple.TVAppStore") in atv.apps()
    atv.launch(NETFLIX)
    assert tv.state.app.identifier == NETFLIX
    atv.launch("https://tv.example.com/film?x=1")
    assert tv.state.url == "https://tv.example.com/film?x=1"


@pytest.mark.parametrize("case", cases("companion", "launch_app"), ids=lambda c: c["name"])
def test_what_is_a_url(atv, tv, case):
    tv.state.apps.append(tinyatv.App("Any", case["argument"]))
    atv.launch(case["argument"])
    is_url = tv.state.url == case["argument"]
    assert is_url is (case["expect"]["key"] == "_urlS")


def test_accounts(atv, tv):
    alex, kim = atv.accounts()
    assert (alex.name, kim.name) == ("Alex", "Kim")
    atv.switch_account(kim.identifier)
    assert tv.state.account == kim.identifier
    assert tv.log == [f"switch_account {kim.identifier}"]


# -- volume ----------------------------------------------------------------------------------------


def test_volume(atv, tv):
    atv.set_volume(25)
    assert (atv.volume(), tv.state.volume) == (25.0, 25.0)
    atv.set_volume(25)
    atv.volume_up()
    assert atv.volume() == tv.state.volume == 30.0
    atv.volume_down()
    assert atv.volume() == 25.0
    atv.mute()
    assert tv.state.volume == 0
    atv.volume_down()
    assert tv.state.volume == 0
    atv.mute()
    assert tv.state.volume == 25
    atv.set_volume(100)
    atv.volume_up()
    assert tv.state.volume == 100
    with pytest.raises(tinyatv.NotSupported, match="output devices"):
        atv.volume("kitchen")


@pytest.mark.parametrize("command", ["page_up", "page_down"])
def test_no_button_for_pages(atv, tv, command):
    """What was taken for them is mute and power: nothing is sent."""
    with pytest.raises(tinyatv.NotSupported, match=f"{command}: .* once taken for it, is"):
        getattr(atv, command)()
    assert atv.features()[command] is FeatureState.Unsupported
    assert "_hidC" not in tv.companion.requests


def test_an_output_that_only_knows_steps(atv, tv):
    with tv.state.change():
        tv.state.absolute_volume = False
    up_to_date(atv)
    atv.volume_up()
    atv.mute()
    assert tv.log == ["volume_up", "mute"]
    for ask in (atv.volume, lambda: atv.set_volume(5)):
        with pytest.raises(tinyatv.NotSupported, match="only knows volume_up and volume_down"):
            ask()
    assert atv.features()["set_volume"] is FeatureState.Unavailable
    assert atv.features()["volume_up"] is FeatureState.Available


def test_a_volume_that_does_not_change(hurried, tv, impatient):
    """The device says yes, and it stays as loud as it was."""
    tv.fail("set_volume", silent=True)
    with pytest.raises(tinyatv.CommandTimeout):
        hurried.set_volume(5)
    with tv.state.change():
        tv.state.volume_control = True
    tv.state.set_volume = lambda level, output=None: tv.state.log_command("ignored")
    with pytest.raises(tinyatv.CommandFailed, match="stays as it was"):
        hurried.set_volume(5)


# -- power -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_power(atv, tv):
    heard = Heard(atv)
    assert atv.power_state() is PowerState.On
    atv.turn_off(wait=True)
    assert atv.power_state() is tv.state.power is PowerState.Off
    assert heard.next(tinyatv.PowerChanged).power is PowerState.Off
    atv.turn_on(wait=True)
    assert atv.power_state() is PowerState.On
    assert heard.next(tinyatv.PowerChanged).power is PowerState.On
    atv.screensaver()
    up_to_date(atv)
    assert atv.power_state() is PowerState.On
    assert tv.log == ["turn_off", "turn_on", "screensaver"]


def test_a_system_that_tells_no_change(tv, impatient):
    tv.companion.quirks.no_power_events = True
    with tinyatv.connect(tv.device) as atv:
        atv.turn_off(wait=True)
        assert tv.state.power is PowerState.Off
        atv.turn_on(wait=True)


@pytest.mark.parametrize("attention", ["error", "never"])
def test_a_system_that_does_not_answer_but_tells(tv, impatient, attention):
    tv.companion.attention = attention
    with tinyatv.connect(tv.device) as atv:
        assert atv.power_state() is PowerState.Unknown
        assert atv.features()["power_state"] is FeatureState.Unknown
        atv.turn_off(wait=True)
        assert atv.power_state() is PowerState.Off
    assert tv.companion.requests.count("FetchAttentionState") == 1


def test_it_does_not_wake_up(tv, impatient, monkeypatch):
    monkeypatch.setattr("tinyatv.device.WAKE_TIMEOUT", 0.2)
    tv.state.sleep()
    with tinyatv.connect(tv.device) as atv:
        tv.state.wake = lambda: tv.state.log_command("not today")
        with pytest.raises(tinyatv.CommandTimeout, match="the device is Off after"):
            atv.turn_on(wait=True)


@pytest.mark.parametrize("case", cases("companion", "attention_state"), ids=lambda c: c["name"])
def test_attention(tv, case):
    tv.companion.attention = "error"
    with tinyatv.connect(tv.device) as atv:
        (peer,) = tv.companion.peers
        peer.send_event("TVSystemStatus", {"state": case["state"]})
        up_to_date(atv)
        expected = case["expect"].get("power", "Unknown")
        assert atv.power_state() is PowerState[expected]


@pytest.mark.parametrize("case", cases("companion", "media_control_flags"), ids=lambda c: c["name"])
def test_controls(atv, tv, case):
    (peer,) = tv.companion.peers
    peer.send_event("_iMC", {"_mcF": case["flags"]})
    up_to_date(atv)
    told = {"next track": "next", "previous track": "previous", "fast forward":
            "begin_fast_forward", "rewind": "begin_rewind"}  # fmt: skip
    expected = {told.get(one, one.replace(" ", "_")) for one in case["expect"]["controls"]}
    states = atv.features()
    names = {"play", "pause", "next", "previous", "begin_fast_forward", "begin_rewind", "volume",
             "skip_forward", "skip_backward"}  # fmt: skip
    assert {name for name in names if states[name] is FeatureState.Available} == expected


# -- text ------------------------------------------------------------------------------------------


def test_text(atv, tv):
    heard = Heard(atv)
    assert atv.text_focus() is KeyboardFocus.Unfocused
    assert atv.text_get() is None
    for write in (lambda: atv.text_set("a"), lambda: atv.text_append("a"), atv.text_clear):
        with pytest.raises(tinyatv.CommandFailed, match="no text field is open"):
            write()
    tv.state.open_field("old")
    assert heard.next(tinyatv.KeyboardChanged).focus is KeyboardFocus.Focused
    assert atv.text_focus() is KeyboardFocus.Focused
    assert atv.text_get() == "old"
    atv.text_set("stranger")
    atv.text_append(" thïngs 🎬")
    assert atv.text_get() == tv.state.text == "stranger thïngs 🎬"
    atv.text_clear()
    assert atv.text_get() == tv.state.text == ""
    atv.text_set("")
    assert tv.state.text == ""
    atv.text_append("x" * 70_000)
    assert tv.state.text == "x" * 70_000
    tv.state.close_field()
    assert heard.next(tinyatv.KeyboardChanged).focus is KeyboardFocus.Unfocused
    assert atv.text_get() is None
    assert tv.companion.complaints == []


def test_a_field_that_is_open_already(tv):
    tv.state.open_field("here", title="Search", prompt="Films", secure=True)
    with tinyatv.connect(tv.device) as atv:
        assert atv.text_focus() is KeyboardFocus.Focused
        assert atv.text_get() == "here"
        assert atv.features()["text_set"] is FeatureState.Available


def test_another_remote_has_the_field(tv, impatient):
    """The second one connects, and says that it cannot type."""
    tv.companion.quirks.one_text_session = True
    tv.state.open_field()
    with tinyatv.connect(tv.device) as first, tinyatv.connect(tv.device, timeout=0.3) as second:
        assert second.text_focus() is KeyboardFocus.Unknown
        with pytest.raises(tinyatv.CommandTimeout, match="no reply to text_set"):
            second.text_set("x")
        second.menu()
        first.text_set("mine")
    assert tv.state.text == "mine"


@pytest.mark.parametrize("archive", [b"", b"bplist00", 5, "text", None, {"a": 1}])
def test_a_text_field_that_makes_no_sense(atv, tv, archive, monkeypatch):
    tv.state.open_field()
    monkeypatch.setattr(tv.companion, "_field", lambda peer: {"_tiD": archive})
    with pytest.raises(tinyatv.ProtocolError, match="text field"):
        atv.text_get()
    atv.menu()


def test_closed_while_typing(tv):
    atv = tinyatv.connect(tv.device)
    tv.state.open_field()
    tv.fail("_tiStart", silent=True)
    error = in_background(lambda: atv.text_set("x"))
    assert tv.wait_for(lambda: tv.companion.requests.count("_tiStart") == 2)
    atv.close()
    assert isinstance(error(), tinyatv.ConnectionLost)


def in_background(command):
    """Run something on a thread; returns a function that waits for its error."""
    errors = queue.SimpleQueue()

    def run():
        try:
            command()
            errors.put(None)
        except tinyatv.AppleTVError as exc:
            errors.put(exc)

    thread = threading.Thread(target=run)
    thread.start()

    def error():
        thread.join(WAIT)
        return errors.get(timeout=WAIT)

    return error


# -- touch -----------------------------------------------------------------------------------------


def test_swipe(atv, tv):
    """From place to place, never back, from the first to the last."""
    atv.swipe(100, 200, 900, 700, 0.2)
    phases, across, down = zip(*tv.companion.touches)
    assert (phases[0], phases[-1], {*phases[1:-1]}) == (1, 4, {3})
    assert (across[0], down[0], across[-1], down[-1]) == (100, 200, 900, 700)
    assert list(across) == sorted(across)
    assert list(down) == sorted(down)
    assert 4 <= len(phases) <= 14  # every 16 ms, or fewer on a machine that is busy
    assert tv.log == ["right"]


@pytest.mark.parametrize(
    ("places", "log"),
    [((500, 100, 500, 900), ["down"]), ((900, 500, 100, 500), ["left"]), ((5, 5, 5, 5), [])],
)
def test_directions(atv, tv, places, log):
    atv.swipe(*places, 0)
    assert tv.log == log


def test_touch(atv, tv):
    for action, x in ((TouchAction.Press, 0), (3, 500), (TouchAction.Release, 1000)):
        atv.touch(x, 500, action)
    assert tv.companion.touches == [(1, 0, 500), (3, 500, 500), (4, 1000, 500)]
    atv.touch(7, 8, TouchAction.Click)
    assert tv.companion.touches[-1] == (5, 7, 8)
    assert tv.log == ["right"]


def test_click_tells_both(atv, tv):
    atv.click()
    assert tv.companion.touches == [(5, 1000, 1000)]
    assert tv.log == ["select"]


def test_no_touchpad(tv):
    tv.fail("_touchStart", status=1)
    with tinyatv.connect(tv.device) as atv:
        for use in (lambda: atv.swipe(0, 0, 1, 1), lambda: atv.touch(0, 0, 1), atv.click):
            with pytest.raises(tinyatv.NotSupported, match="no touchpad"):
                use()
        assert atv.features()["swipe"] is FeatureState.Unavailable
        atv.menu()


def test_closed_during_a_swipe(tv):
    atv = tinyatv.connect(tv.device)
    error = in_background(lambda: atv.swipe(0, 0, 1000, 0, 60))
    assert tv.wait_for(lambda: len(tv.companion.touches) > 3)
    atv.close()
    assert isinstance(error(), tinyatv.ConnectionLost)


def test_siri(atv, tv):
    atv.siri_start()
    assert "siri" in tv.state.held
    atv.siri_stop()
    assert tv.log == ["siri_start", "siri_stop", "siri"]
    with pytest.raises(tinyatv.CommandFailed, match="Siri is not listening"):
        atv.siri_stop()
    tv.fail("_siriStart", status=3)
    with pytest.raises(tinyatv.CommandFailed):
        atv.siri_start()
    assert not tv.state.held


# -- events ----------------------------------------------------------------------------------------


def test_events(atv, tv):
    up_to_date(atv)
    assert atv.volume() == 50
    heard = Heard(atv)
    tv.state.set_volume(60)
    event = heard.next(tinyatv.VolumeChanged)
    assert (event.volume, event.before, event.output_device) == (60.0, 50.0, None)
    tv.state.open_field()
    assert heard.next(tinyatv.KeyboardChanged).focus is KeyboardFocus.Focused
    tv.state.sleep()
    assert heard.next(tinyatv.PowerChanged).power is PowerState.Off
    tv.state.sleep()
    tv.state.wake()
    assert heard.next(tinyatv.PowerChanged).power is PowerState.On
    atv.remove_listener(heard.events.put)
    tv.state.sleep()
    up_to_date(atv)
    assert heard.events.empty()


def test_nobody_hears_it_twice():
    """MRP and Companion tell the same; one of them is believed."""
    with VirtualAppleTV(profile="tvos18") as tv, tinyatv.connect(tv.device) as atv:
        assert {"mrp", "companion"} <= {*atv.protocols}
        heard = Heard(atv)
        tv.state.set_volume(60)
        tv.state.open_field()
        tv.state.sleep()
        atv.set_shuffle(ShuffleState.Songs)  # over MRP, which has told all of it by now
        up_to_date(atv)  # and so has Companion
        tv.state.close_field()
        kinds = []
        while kinds.count("KeyboardChanged") < 2:
            kinds.append(type(heard.events.get(timeout=WAIT)).__name__)
        assert (kinds.count("PowerChanged"), kinds.count("VolumeChanged")) == (1, 1)


@pytest.mark.parametrize(("profile", "protocols"), [
    ("tvos18", None), ("tvos14", ["mrp", "companion"]), ("tvos27", None),
])  # fmt: skip
def test_a_press_is_an_event_over_mrp(profile, protocols):
    """What is pressed over Companion shows in what MRP pushes."""
    tv = VirtualAppleTV(profile=profile, protocols=protocols)
    with tv, over(tv, "companion") as presser, over(tv, "mrp") as watcher:
        heard = Heard(watcher)
        assert heard.next(tinyatv.PlayingChanged).playing.device_state is DeviceState.Playing
        presser.play_pause()
        assert heard.next(tinyatv.PlayingChanged).playing.device_state is DeviceState.Paused
        presser.next()
        title = heard.next(tinyatv.PlayingChanged).playing.title
        assert title == tv.state.item.title != "Harbour Lights"
        presser.turn_off()
        assert heard.next(tinyatv.PowerChanged).power is PowerState.Off


def test_a_press_is_an_event_over_dmap():
    """One state is behind both, though no system speaks both."""
    mine, device = Identity(b"client"), Identity(b"device")
    accessory = Accessory(device)
    accessory.remember(mine.identifier, mine.public)
    given = Credentials(device.public, mine.seed, device.identifier, mine.identifier)
    with VirtualAppleTV() as tv:
        side = VirtualCompanion(Setup(
            state=tv.state, faults=tv.faults, host=tv.host, port=0, thread="virtual-companion",
            profile=VIRTUAL["tvos14"], name=tv.name, identifier="device", mac=tv.mac,
            model=tv.model, accessory=accessory,
        ))  # fmt: skip
        side.start()
        service = tinyatv.Service("companion", side.port, credentials=str(given))
        found = tinyatv.Device("Living Room", tv.host, [*tv.device.services, service])
        try:
            with tinyatv.connect(found) as atv:
                assert atv.protocols == ("dmap", "companion")
                heard = Heard(atv)
                state = heard.next(tinyatv.PlayingChanged).playing.device_state
                assert state is DeviceState.Playing
                with tinyatv.connect(found, protocols=["companion"]) as presser:
                    presser.play_pause()
                state = heard.next(tinyatv.PlayingChanged).playing.device_state
                assert state is DeviceState.Paused
                atv.select(hold=0.6)  # over Companion, which knows how long
                atv.next()  # over DMAP
                assert tv.log == ["play_pause", "select hold", "next"]
        finally:
            side.stop()


# -- connecting ------------------------------------------------------------------------------------

STEPS = ["_systemInfo", "_sessionStart"]
OPTIONAL = ["_touchStart", "TVRCSessionStart", "_tiStart", "FetchAttentionState"]


def test_introduction(atv, tv):
    """The order that current systems want, and what they check."""
    # The first interest is followed by an event that says what can be controlled. Who reads it
    # asks for the volume, maybe before the other interests have left.
    requests = list(tv.companion.requests)
    assert "_mcc" not in requests[:8]
    assert [request for request in requests if request != "_mcc"] == [
        "verify M1", "verify M3", "_systemInfo", "_touchStart", "_sessionStart",
        "TVRCSessionStart", "_tiStart", "_interest", "_interest", "_interest",
        "FetchAttentionState",
    ]  # fmt: skip
    (peer,) = tv.companion.peers
    assert len(peer.installation) == 12
    assert int(peer.installation, 16) >= 0
    assert peer.interests == {"_iMC", "SystemStatus", "TVSystemStatus"}
    assert peer.info["_idsID"].encode() == peer.client
    assert tv.companion.complaints == []


# Origin: captured from another client, see the file. Numbers of messages and times differ.
CAPTURED = {case["name"]: case["expect"]["value"] for case in cases("companion", "messages")}


def plain(value):
    """A value of the vectors, which spell dictionaries as lists of pairs."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value["dict"]}
    return [plain(one) for one in value] if isinstance(value, list) else value


def test_messages_are_those_of_other_remotes(tv, monkeypatch):
    """Keys in their order, floats that are floats, whole numbers that are whole."""
    sent = []
    received = tv.companion.received
    monkeypatch.setattr(
        tv.companion, "received", lambda peer, frame: (sent.append(frame[1]), received(peer, frame))
    )
    with tinyatv.connect(tv.device) as atv:
        atv.set_volume(20)
        atv.skip_forward(10)
        atv.click()
    ours = {without_numbers(message) for message in sent}
    assert len(CAPTURED) == 8
    assert {without_numbers(plain(value)) for value in CAPTURED.values()} <= ours


def without_numbers(message):
    """Its text, which tells the order, and 1 from 1.0."""
    content = {key: value for key, value in message.get("_c", {}).items() if key != "_ns"}
    return repr({**message, "_c": content, "_x": 0})


def test_leave(tv):
    """Everything that was begun is ended, so that the device keeps nothing of us."""
    with tinyatv.connect(tv.device):
        (peer,) = tv.companion.peers
        assert peer.session is not None
    assert tv.wait_for(lambda: not tv.companion.peers)
    assert peer.interests == set()
    assert (peer.session, peer.text_session, peer.pad) == (None, None, False)
    assert tv.companion.requests[-7:] == [
        "_interest", "_interest", "_interest", "_tiStop", "TVRCSessionStop", "_sessionStop",
        "_touchStop",
    ]  # fmt: skip


def test_leave_without_an_answer(tv, impatient):
    atv = tinyatv.connect(tv.device)
    tv.fail("_touchStop", silent=True)
    atv.close()
    assert ours() == []


def test_two_programs_do_not_throw_each_other_out(tv):
    """Of the same pairing, on the same machine."""
    with tinyatv.connect(tv.device) as one, tinyatv.connect(tv.device) as other:
        one.menu()
        other.menu()
        one.menu()
        assert len({peer.installation for peer in tv.companion.peers}) == 2
    assert tv.log == ["menu"] * 3


@pytest.mark.parametrize("how", [{"status": 58822}, {"silent": True}])
@pytest.mark.parametrize("word", OPTIONAL)
def test_what_may_fail_while_connecting(tv, word, how, impatient):
    tv.fail(word, **how)
    with tinyatv.connect(tv.device) as atv:
        atv.menu()
        tv.state.open_field()
        atv.text_set("typed")
        assert tv.state.text == "typed"
    assert tv.log == ["menu", "text_clear", "text_append typed"]


@pytest.mark.parametrize("word", STEPS)
@pytest.mark.parametrize(
    ("how", "error"),
    [({"drop": True}, tinyatv.ConnectionFailed), ({"status": 5}, tinyatv.CommandFailed),
     ({"silent": True}, tinyatv.CommandTimeout), ({"truncate": True}, tinyatv.ConnectionFailed),
     ({"garbage": b"\x08\x00\x00\x20" + bytes(32)}, tinyatv.ProtocolError),
     ({"damage": True}, tinyatv.ProtocolError)],
)  # fmt: skip
def test_trouble_while_connecting(tv, word, how, error):
    tv.fail(word, **how)
    with pytest.raises(error) as caught:
        tinyatv.connect(tv.device, timeout=0.3)
    assert "\n" not in str(caught.value)
    assert ours() == []


@pytest.mark.parametrize("word", ["verify M1", "verify M3"])
@pytest.mark.parametrize(
    ("how", "error"),
    [({"drop": True}, tinyatv.ConnectionFailed), ({"status": 5}, tinyatv.CredentialsError),
     ({"silent": True}, tinyatv.CommandTimeout),
     ({"garbage": b"\x06\x00\x00\x01\xff"}, tinyatv.ProtocolError),
     ({"garbage": b"\x06\x00\x00\x02\xe1\x00"}, tinyatv.ProtocolError),
     ({"garbage": b"\x06\x00\x00\x01\xe0"}, tinyatv.ProtocolError)],
)  # fmt: skip
def test_trouble_while_verifying(tv, word, how, error):
    tv.fail(word, **how)
    with pytest.raises(error) as caught:
        tinyatv.connect(tv.device, timeout=0.3)
    assert "\n" not in str(caught.value)
    assert ours() == []


def test_no_reply_says_nothing_of_keys(tv):
    tv.fail("verify M3", silent=True)
    with pytest.raises(tinyatv.CommandTimeout) as caught:
        tinyatv.connect(tv.device, timeout=0.3)
    text = "".join(traceback.format_exception(None, caught.value, None))
    assert "no reply to PairVerifyNext within 0.3 s" in text
    assert "_pd" not in text


def test_a_session_without_a_number(tv, monkeypatch):
    for answer in ({}, {"_sid": "x"}, {"_sid": 1 << 40}):
        monkeypatch.setitem(tv.companion._handlers, "_sessionStart", lambda *_, a=answer: a)
        with pytest.raises(tinyatv.ProtocolError, match="begins no session"):
            tinyatv.connect(tv.device)


def test_forgotten(tv):
    device = tv.device
    tv.forget_clients()
    with pytest.raises(tinyatv.CredentialsError, match="pair again"):
        tinyatv.connect(device)
    assert ours() == []


def test_not_paired(tv):
    device = tv.device
    device.services[0].credentials = None
    with pytest.raises(tinyatv.CredentialsError, match="not paired"):
        tinyatv.connect(device)


def test_another_device_at_this_address(tv):
    with VirtualAppleTV(profile="tvos18", protocols=["companion"]) as other:
        device = tv.device
        device.services[0].port = other.ports["companion"]
        with pytest.raises(tinyatv.CredentialsError, match="not the device that was paired"):
            tinyatv.connect(device)


@pytest.mark.parametrize("text", ["nonsense", "aa:bb:cc:dd", "aa:bb", "7472616e7369656e74:::"])
def test_malformed_credentials(tv, text):
    device = tv.device
    device.services[0].credentials = text
    with pytest.raises(tinyatv.CredentialsError):
        tinyatv.connect(device)


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with VirtualAppleTV(profile="tvos18", protocols=["companion"]) as tv:
        device = tv.device
    device.services[0].port = port
    with pytest.raises(tinyatv.ConnectionFailed, match=rf"port {port} \(companion\): "):
        tinyatv.connect(device)


def test_one_protocol_fails_and_the_others_work():
    with VirtualAppleTV(profile="tvos18") as tv:
        tv.fail("_systemInfo", drop=True)
        with tinyatv.connect(tv.device) as atv:
            assert atv.protocols == ("mrp", "airplay")
            atv.menu()
            with pytest.raises(tinyatv.ConnectionFailed, match=r"apps needs companion.* hung up"):
                atv.apps()
        tv.fail("SETUP", drop=True)
        with tinyatv.connect(tv.device) as atv:
            assert "companion" in atv.protocols
            assert "mrp" not in atv.protocols
            atv.menu()
    assert tv.log == ["menu", "menu"]


# -- quirks and losses ---------------------------------------------------------------------------

ODD = ["lenient", "named_replies", "events_first", "stray", "eager", "system_status_only", "noop",
       "unknown_frames", "one_byte_writes"]  # fmt: skip


@pytest.mark.parametrize("oddity", ODD)
def test_odd_devices(tv, oddity):
    """Everything works with each of them."""
    setattr(tv.companion.quirks, oddity, True)
    with tinyatv.connect(tv.device) as atv:
        heard = Heard(atv)
        atv.up(presses=2)
        atv.set_volume(20)
        assert atv.volume() == 20
        assert len(atv.apps()) == len(APPS)
        atv.turn_off(wait=True)
        assert heard.next(tinyatv.PowerChanged).power is PowerState.Off
        tv.state.open_field()
        heard.next(tinyatv.KeyboardChanged)
        atv.text_set("x")
        assert tv.state.text == "x"
    assert tv.log[:4] == ["up", "up", "set_volume 20", "turn_off"]


def test_answers_in_another_order(atv, tv):
    """Each goes to whom it belongs."""
    tv.fail("account_list", later=True)
    found = []
    error = in_background(lambda: found.append(atv.accounts()))
    assert tv.wait_for(lambda: "FetchUserAccountsEvent" in tv.companion.requests)
    assert len(atv.apps()) == len(APPS)
    assert error() is None
    assert [one.name for one in found[0]] == ["Alex", "Kim"]


def test_a_late_answer_is_not_that_of_the_next(hurried, tv):
    tv.fail("account_list", later=True)
    with pytest.raises(tinyatv.CommandTimeout, match=r"no reply to accounts within 1 s"):
        hurried.accounts()
    assert len(hurried.apps()) == len(APPS)
    assert len(hurried.accounts()) == 2


@pytest.mark.parametrize(
    "message",
    [{"_t": 1}, {"_t": 1, "_i": "_iMC"}, {"_t": 1, "_i": "_iMC", "_c": {"_mcF": "x"}},
     {"_t": 1, "_i": 5, "_c": []}, {"_t": 9}, {}, {"_t": 2, "_i": "what?", "_x": 1},
     {"_t": 3, "_x": "x"}, {"_t": 3, "_x": 99999999, "_c": {"_vol": 7}}, {1: 2},
     {"_t": 1, "_i": "TVSystemStatus", "_c": {"state": {}}},
     {"_t": 1, "_i": "_tiStarted", "_c": None}],
)  # fmt: skip
def test_messages_that_make_no_sense(atv, tv, message):
    """They are read, and nothing comes of them."""
    (peer,) = tv.companion.peers
    peer.send((8, message))
    atv.menu()
    assert atv.power_state() is PowerState.On
    assert tv.log == ["menu"]


@pytest.mark.parametrize("volume", [{}, {"_vol": "x"}, {"_vol": 2.0}, {"_vol": None}])
def test_a_volume_that_makes_no_sense(atv, tv, monkeypatch, volume):
    monkeypatch.setitem(tv.companion._handlers, "_mcc", lambda *_: volume)
    with pytest.raises(tinyatv.CommandFailed, match="does not report"):
        atv.volume()


def test_answers_without_content(atv, tv, monkeypatch):
    for name, ask in (
        ("FetchLaunchableApplicationsEvent", atv.apps), ("FetchUserAccountsEvent", atv.accounts),
    ):  # fmt: skip
        monkeypatch.setitem(tv.companion._handlers, name, lambda *_: [])
        with pytest.raises(tinyatv.ProtocolError, match="has no content"):
            ask()
        monkeypatch.setitem(tv.companion._handlers, name, lambda *_: {1: 2, "id": None, "a": "A"})
        assert [(one.name, one.identifier) for one in ask()] == [(None, "id"), ("A", "a")]


@pytest.mark.parametrize(
    ("how", "error"),
    [({"drop": True}, tinyatv.ConnectionLost), ({"truncate": True}, tinyatv.ConnectionLost),
     ({"damage": True}, tinyatv.ProtocolError),
     ({"garbage": b"\x08\x00\x00\x40" + bytes(64)}, tinyatv.ProtocolError)],
)  # fmt: skip
def test_trouble_later(atv, tv, how, error):
    heard = Heard(atv)
    tv.fail("menu", **how)
    with pytest.raises(error):
        atv.menu()
    assert heard.next(tinyatv.Disconnected).protocol == "companion"
    with pytest.raises(tinyatv.ConnectionLost):
        atv.menu()


def test_device_gone(atv, tv):
    heard = Heard(atv)
    tv.stop()
    event = heard.next(tinyatv.Disconnected)
    assert isinstance(event.error, tinyatv.ConnectionLost)
    for command in (atv.menu, atv.apps, atv.volume, atv.text_get, atv.power_state, atv.text_focus):
        with pytest.raises(tinyatv.ConnectionLost):
            command()


def test_gone_while_a_button_is_down(atv, tv):
    error = in_background(lambda: atv.up(hold=60))
    assert tv.wait_for(lambda: "up" in tv.state.held)
    tv.stop()
    assert isinstance(error(), tinyatv.ConnectionLost)


def test_gone_while_it_wakes_up(atv, tv):
    tv.state.sleep()
    tv.state.wake = lambda: tv.state.log_command("not today")
    error = in_background(lambda: atv.turn_on(wait=True))
    assert tv.wait_for(lambda: "not today" in tv.log)
    tv.stop()
    assert isinstance(error(), tinyatv.ConnectionLost)


def test_no_answer_to_a_press(hurried, tv):
    tv.fail("menu", silent=True)
    no_reply = r"no reply to menu within 1 s \(companion\)"
    with pytest.raises(tinyatv.CommandTimeout, match=no_reply):
        hurried.menu()
    tv.fail("play", silent=True)  # some of these are never answered
    with pytest.raises(tinyatv.CommandTimeout, match="no reply to play"):
        hurried.play()
    hurried.up()
    assert tv.log == ["up"]


def test_reconnect(monkeypatch):
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.01, 0.05))
    tv = VirtualAppleTV(profile="tvos27", protocols=["companion"], mdns_port=0)
    with tv, tinyatv.connect(tv.device, reconnect=True) as atv:
        heard = Heard(atv)
        tv.move()
        heard.next(tinyatv.Disconnected)
        heard.next(tinyatv.Reconnected)
        tv.state.sleep()
        heard.next(tinyatv.PowerChanged)
        atv.menu()
        assert "menu" in tv.log


def test_a_device_that_goes_and_comes_back_as_a_whole(monkeypatch):
    """One loss and one return, however many protocols; none stays away because it was slower."""
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.05, 0.05))
    tv = VirtualAppleTV(profile="tvos18", mdns_port=0)
    with tv, tinyatv.connect(tv.device, reconnect=True) as atv:
        before = atv.protocols
        heard = Heard(atv)
        heard.next(tinyatv.PlayingChanged)
        tv.fail("_systemInfo", drop=True, times=2)  # not ready yet
        tv.move()
        told = []
        while not told or not isinstance(told[-1], tinyatv.Reconnected):
            told.append(heard.events.get(timeout=2 * WAIT))
        kinds = [type(event) for event in told]
        assert kinds.count(tinyatv.Disconnected) == 1
        assert told[-1].protocols == before == atv.protocols
        atv.pause()
        atv.launch(NETFLIX)
    assert tv.log == ["pause", f"launch_app {NETFLIX}"]


def test_what_does_not_come_back_is_done_without(monkeypatch):
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.05, 0.05))
    tv = VirtualAppleTV(profile="tvos18", mdns_port=0)
    with tv, tinyatv.connect(tv.device, reconnect=True) as atv:
        heard = Heard(atv)
        tv.fail("_systemInfo", drop=True, times=None)
        tv.move()
        assert heard.next(tinyatv.Reconnected).protocols == ("mrp", "airplay")
        atv.pause()
    assert tv.log == ["pause"]


def test_many_connections(tv, share):
    """Connect, press, close: nothing is left, and the device has not lost count."""
    for _ in range(share(400)):
        with tinyatv.connect(tv.device) as atv:
            atv.up()
    assert tv.wait_for(lambda: not tv.companion.peers)
    assert tv.log == ["up"] * share(400)


def test_connections_that_come_and_go_beside_one_that_stays(atv, tv):
    """The device throws out who comes again: none of them may look like the one that stays."""
    for _ in range(IDENTITIES + 1):
        tinyatv.connect(tv.device).close()
    atv.up()
    assert tv.log == ["up"]


def test_commands_from_many_threads(atv, tv):
    """Each press is whole, though ten threads press at once, and each answer finds its own."""
    ends = [in_background(lambda: [(atv.up(), atv.apps()) for _ in range(10)]) for _ in range(10)]
    assert [end() for end in ends] == [None] * 10
    assert [button for button, _ in tv.state.presses] == ["up"] * 100


def test_features_of_what_does_not_play(atv, tv):
    tv.state.activate(None)
    up_to_date(atv)
    states = atv.features()
    assert states["play"] is FeatureState.Unavailable
    assert states["volume"] is FeatureState.Available
    assert states["top_menu"] is FeatureState.Unsupported
    tv.state.items = [Item("Film")]


# -- pairing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_pair(profile):
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV(profile=profile, protocols=["companion"], credentials=()) as tv:
        device = tv.device
        assert tinyatv.pair(device, pin=lambda: tv.pin, store=store, name="Kitchen") is device
        assert len(tv.pins) == 1
        assert tv.wait_for(lambda: tv.pin is None)
        with tinyatv.connect(tv.identifier, store=store) as atv:
            atv.menu()
        assert tv.log == ["menu"]
        assert tv.companion.complaints == []


@pytest.mark.parametrize("profile", PROFILES)
def test_one_pin_for_everything(profile):
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV(profile=profile, credentials=()) as tv:
        device = tv.device
        tinyatv.pair(device, pin=lambda: tv.pin, store=store)
        assert len(tv.pins) == 1
        assert len(tv.accessory.clients) == 1
        with tinyatv.connect(device, store=store) as atv:
            assert {"mrp", "companion"} <= {*atv.protocols}


@pytest.mark.parametrize("first", ["airplay", "companion"])
def test_either_pairing_opens_the_rest(first):
    """What is known of one protocol is tried on the others; also without pairing those at all."""
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV(profile="tvos18", credentials=()) as tv:
        device = tv.device
        tinyatv.pair(device, protocols=[first], pin=lambda: tv.pin, store=store)
        with tinyatv.connect(device, store=store) as atv:
            assert {*atv.protocols} == {"mrp", "airplay", "companion"}
        other = "companion" if first == "airplay" else "airplay"
        assert device.service(other).credentials is None  # lent, not given
        tinyatv.pair(device, protocols=[other], pin="no PIN is needed", store=store)
        assert device.service(other).credentials == device.service(first).credentials
        assert len(tv.pins) == 1


def test_a_device_with_a_memory_for_each_protocol():
    """It refuses over Companion what was paired over AirPlay, so there is a second PIN."""
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV(profile="tvos18", credentials=()) as tv:
        pins = []
        tv.companion.accessory = Accessory(tv.accessory.identity, show=pins.append)
        device = tv.device
        tinyatv.pair(device, pin=lambda: pins[-1] if pins else tv.pin, store=store)
        assert (len(tv.pins), len([pin for pin in pins if pin])) == (1, 1)
        assert device.service("airplay").credentials != device.service("companion").credentials
        with tinyatv.connect(device, store=store) as atv:
            assert {*atv.protocols} == {"mrp", "airplay", "companion"}


def test_wrong_pin():
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV(
        profile="tvos18", protocols=["companion"], pin="1111", credentials=()
    ) as tv:
        with pytest.raises(tinyatv.PairingError, match="wrong PIN"):
            tinyatv.pair(tv.device, pin="2222", store=store)
        with pytest.raises(tinyatv.PairingBackOff) as caught:
            tinyatv.pair(tv.device, pin="1111", store=store)
        assert caught.value.seconds
        assert store.devices() == []
        assert not tv.accessory.clients


@pytest.mark.parametrize("word", ["pair M1", "pair M3", "pair M5", "verify M1", "verify M3"])
@pytest.mark.parametrize(
    ("how", "error"),
    [({"drop": True}, tinyatv.ConnectionFailed), ({"status": 5}, tinyatv.AppleTVError),
     ({"garbage": b"\x04\x00\x00\x01\xe0"}, tinyatv.AppleTVError)],
)  # fmt: skip
def test_trouble_while_pairing(word, how, error):
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV(
        profile="tvos18", protocols=["companion"], pin="1111", credentials=()
    ) as tv:
        tv.fail(word, **how)
        with pytest.raises(error) as caught:
            tinyatv.pair(tv.device, pin="1111", store=store)
        assert "\n" not in str(caught.value)
        assert store.devices() == []
    assert ours() == []


def test_it_does_not_allow_pairing():
    with VirtualAppleTV(profile="tvos18", protocols=["companion"], credentials=()) as tv:
        tv.companion.identity.allows_pairing = False
        with pytest.raises(tinyatv.PairingError, match="refuses to pair: Pairing not allowed"):
            tinyatv.pair(tv.device, pin="1111", store=tinyatv.Store(memory=True))


def test_only_for_people_of_its_home():
    """Companion is announced, and lets nobody in: everything else is paired."""
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV(profile="tvos18", credentials=()) as tv:
        tv.companion.identity.flags = 0x627B6
        device = tv.device
        assert device.service("companion").pairing is tinyatv.PairingRequirement.Disabled
        tinyatv.pair(device, pin=lambda: tv.pin, store=store)
        assert device.service("companion").credentials is None
        with tinyatv.connect(device, store=store) as atv:
            assert atv.protocols == ("mrp", "airplay")
        assert "verify M1" not in tv.companion.requests
