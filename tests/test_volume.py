"""Volume, power and shuffle that were not told: unknown, and asked for; volume keys are buttons."""

from __future__ import annotations

import queue
import threading

import pytest

import tinyatv
from tests.support.program import Program
from tests.support.watching import WAIT, Heard, ours
from tinyatv import FeatureState, PowerState, RepeatState, ShuffleState, proto
from tinyatv.virtual import VirtualAppleTV
from tinyatv.virtual.mrp_identity import Hardware
from tinyatv.virtual.mrp_view import DeviceView

PROFILES = {"mrp": "tvos14", "airplay": "tvos15", "companion": "tvos18", "dmap": "atv3"}
LONG = 600.0  # s that an answer may take: who waits for one that never comes fails the test


def virtual(protocol="mrp"):
    return VirtualAppleTV("Den", profile=PROFILES[protocol], protocols=[protocol])


@pytest.fixture
def protocol():
    return "mrp"


@pytest.fixture
def tv(protocol):
    with virtual(protocol) as made:
        yield made
    assert ours() == []


@pytest.fixture
def atv(tv):
    with tinyatv.connect(tv.device, timeout=LONG) as made:
        yield made


def output(tv, *, absolute=True, relative=True, tells=True):
    with tv.state.change():
        tv.state.absolute_volume = absolute
        tv.state.relative_volume = relative
        tv.state.tells_volume = tells


def in_background(command):
    """Starts it; the function that is returned waits for its end, and returns its error."""
    result = queue.SimpleQueue()

    def run():
        try:
            command()
        except Exception as exc:
            result.put(exc)
        else:
            result.put(None)

    thread = threading.Thread(target=run)
    thread.start()

    def end():
        error = result.get(timeout=30)
        thread.join(30)
        return error

    return end


# -- not told --------------------------------------------------------------------------------------


@pytest.fixture
def no_reports(monkeypatch):
    """Levels are told to who asks, and not otherwise."""
    monkeypatch.setattr(DeviceView, "_volumes", lambda self, before: [])


def test_an_unknown_level_is_asked_for(tv, no_reports):
    """It is not 0: going up from there would have set 5 %, and going down done nothing."""
    output(tv, relative=False)
    with tinyatv.connect(tv.device) as atv:
        atv.volume_down()
        assert tv.log == ["set_volume 45"]
        atv.volume_up()
        assert (tv.state.volume, atv.volume()) == (50.0, 50.0)
        tv.state.set_volume(30)
        assert atv.volume() == 50.0  # what was set by us is all that can be known without asking


def test_asked_again_after_a_key(tv, no_reports):
    with tinyatv.connect(tv.device) as atv:
        assert atv.volume() == 50.0
        atv.volume_up()
        assert atv.volume() == tv.state.volume == 55.0
        atv.volume_down()
        atv.volume_down()
        assert atv.volume() == tv.state.volume == 45.0
    assert tv.requests.count("GET_VOLUME") == 3


@pytest.mark.parametrize("how", ["an event alone", "both", "a result alone"])
def test_what_answers_the_question(tv, no_reports, how, monkeypatch):
    def told(peer, request):
        if how != "a result alone":
            uid = tv.mrp.identity.output
            peer.send(proto.build(proto.VOLUME_DID_CHANGE, volume=0.35, outputDeviceUID=uid))
        if how != "an event alone":
            peer.send(proto.build(proto.GET_VOLUME_RESULT, request.identifier, volume=0.35))

    monkeypatch.setitem(tv.mrp._handlers, proto.GET_VOLUME, told)
    with tinyatv.connect(tv.device, timeout=LONG) as atv:
        assert atv.volume() == 35.0


@pytest.mark.parametrize("how", ["nothing", "no level", "an error", "done"])
def test_a_level_that_nobody_tells(tv, no_reports, how, monkeypatch):
    def told(peer, request):
        if how == "no level":
            peer.send(proto.build(proto.GET_VOLUME_RESULT, request.identifier))
        elif how == "an error":
            answer = proto.build(proto.GET_VOLUME_RESULT, request.identifier)
            answer.envelope.errorCode = 5
            peer.send(answer)
        elif how == "done":
            peer.send(proto.build(proto.UNKNOWN, request.identifier))

    monkeypatch.setitem(tv.mrp._handlers, proto.GET_VOLUME, told)
    monkeypatch.setattr("tinyatv.backends.mrp.LEVEL_TIMEOUT", 0.1)
    with tinyatv.connect(tv.device, timeout=LONG) as atv:
        for _ in range(2):
            with pytest.raises(tinyatv.CommandFailed, match=r"volume: .* does not report it"):
                atv.volume()
        with pytest.raises(tinyatv.CommandFailed, match="does not tell how loud it is"):
            atv.mute()
        atv.volume_up()  # by the key, for there is nothing to count from
        assert (tv.log, tv.state.volume) == (["volume_up"], 55.0)


def test_a_report_without_a_level(tv, atv):
    heard = Heard(atv)
    uid = tv.mrp.identity.output
    for peer in tv.mrp.peers:
        peer.send(proto.build(proto.VOLUME_DID_CHANGE, outputDeviceUID=uid))
        peer.send(proto.build(proto.VOLUME_DID_CHANGE, outputDeviceUID=uid, volume=0.0))
    event = heard.next(tinyatv.VolumeChanged)
    assert (event.before, event.volume, atv.volume()) == (50.0, 0.0, 0.0)


def test_the_first_level_that_is_told(tv):
    """What was before is None, not 0."""
    output(tv, absolute=False)
    with tinyatv.connect(tv.device) as atv:
        heard = Heard(atv)
        output(tv)
        event = heard.next(tinyatv.VolumeChanged)
        assert (event.before, event.volume) == (None, 50.0)
        output(tv, absolute=False)
        atv.wakeup()  # it is answered after what was told before
        with pytest.raises(tinyatv.NotSupported):
            atv.volume()
        tv.state.set_volume(80)
        output(tv)
        event = heard.next(tinyatv.VolumeChanged)
        assert (event.before, event.volume) == (None, 80.0)  # of another output, perhaps


def test_nothing_told_is_no_fixed_volume(tv, monkeypatch):
    monkeypatch.setattr(DeviceView, "_volume_control", lambda self: [])
    with tinyatv.connect(tv.device) as atv:
        states = atv.features()
        for name in ("volume_up", "volume_down", "mute", "volume", "set_volume"):
            assert states[name] is FeatureState.Unknown
        atv.volume_up()
        atv.volume_down()
        atv.mute()
        atv.mute()
        assert tv.log == ["volume_up", "volume_down", "mute", "mute"]
        assert atv.volume() == 50.0
        atv.set_volume(20)
        assert tv.state.volume == 20.0


@pytest.mark.parametrize("protocol", ["companion"])
def test_nothing_told_over_companion(tv, monkeypatch):
    """No _iMC has come yet: the key of a remote does it, and the level is asked for."""
    monkeypatch.setitem(tv.companion._events, "_interest", lambda peer, content: None)
    with tinyatv.connect(tv.device) as atv:
        assert atv.features()["volume"] is FeatureState.Unknown
        assert atv.volume() == 50.0
        atv.volume_up()
        atv.mute()
        atv.mute()
        assert (tv.log, atv.volume()) == (["volume_up", "mute", "mute"], 55.0)


# -- power, shuffle and repeat ---------------------------------------------------------------------


def test_an_update_without_the_count_says_nothing_of_power(tv, atv):
    heard = Heard(atv)
    for peer in tv.mrp.peers:
        peer.send(proto.build(proto.DEVICE_INFO_UPDATE, name="Den", deviceUID="x"))
    atv.wakeup()
    assert atv.power_state() is PowerState.On
    tv.state.sleep()
    assert heard.next(tinyatv.PowerChanged).power is PowerState.Off
    for peer in tv.mrp.peers:
        peer.send(proto.build(proto.DEVICE_INFO_UPDATE, name="Den", deviceUID="x"))
    atv.volume_up()  # it does not wake it up
    assert atv.power_state() is PowerState.Off


def test_power_that_was_never_told(tv, monkeypatch):
    def info(self):
        fields = dict(told(self))
        del fields["logicalDeviceCount"]
        return fields

    told = Hardware.info.func
    monkeypatch.setattr(Hardware, "info", property(info))
    with tinyatv.connect(tv.device) as atv:
        assert atv.power_state() is PowerState.Unknown
        assert atv.features()["power_state"] is FeatureState.Unknown
        assert atv.features()["turn_on"] is FeatureState.Available


@pytest.mark.parametrize(
    ("listed", "shuffle", "repeat"),
    [
        ([{"command": 47}, {"command": 46}], None, None),
        ([{"command": 47, "shuffleMode": 0}, {"command": 46, "repeatMode": 0}], None, None),
        ([{"command": 47, "shuffleMode": 3}, {"command": 46, "repeatMode": 2}],
         ShuffleState.Songs, RepeatState.Track),
        ([{"command": 1}], ShuffleState.Off, RepeatState.Off),  # it can do neither
    ],
)  # fmt: skip
def test_a_mode_that_is_not_told(tv, atv, listed, shuffle, repeat):
    client = {"bundleIdentifier": "org.example"}
    path = {"client": client, "player": {"identifier": "MediaRemote-DefaultPlayer"}}
    for peer in tv.mrp.peers:
        peer.send(proto.build(proto.SET_NOW_PLAYING_CLIENT, client=client))
        peer.send(proto.build(
            proto.SET_STATE, playerPath=path, playbackState=1,
            supportedCommands={"supportedCommands": listed},
        ))  # fmt: skip
    atv.wakeup()
    playing = atv.playing()
    assert (playing.shuffle, playing.repeat) == (shuffle, repeat)


# -- volume keys are buttons -----------------------------------------------------------------------

BUTTONS = ("volume_up", "volume_down", "up", "down", "select", "menu")
ROUNDS = 9  # so that 50 %, 5 % up and down, never comes to an end of the scale


@pytest.mark.parametrize("protocol", PROFILES)
@pytest.mark.parametrize("tells", [False, True])
def test_six_buttons_on_six_threads(tv, protocol, tells):
    """The output does as it is told and, maybe, says nothing: nobody waits, and nothing is lost."""
    output(tv, tells=tells)
    start = threading.Barrier(len(BUTTONS))

    def press(button):
        start.wait(WAIT)
        for _ in range(ROUNDS):
            getattr(atv, button)()

    with tinyatv.connect(tv.device, timeout=LONG) as atv:
        ends = [in_background(lambda button=button: press(button)) for button in BUTTONS]
        assert [end() for end in ends] == [None] * len(BUTTONS)
        for button in BUTTONS:
            assert tv.log.count(button) == ROUNDS, button
    assert tv.state.volume == 50.0


@pytest.mark.parametrize("tells", [False, True])
def test_steps_of_many_threads_add_up(tv, tells):
    """An output that ignores keys is set to levels, each a step from the one before."""
    output(tv, relative=False)
    with tv.state.change():
        tv.state.volume = 20.0
    with tinyatv.connect(tv.device, timeout=LONG) as atv:
        atv.wakeup()
        output(tv, relative=False, tells=tells)
        ends = [in_background(atv.volume_up) for _ in range(6)]
        assert [end() for end in ends] == [None] * 6
        assert tv.state.volume == 50.0
        atv.volume_down()
        assert tv.state.volume == 45.0


@pytest.mark.parametrize(
    ("protocol", "what"),
    [("mrp", "GENERIC"), ("airplay", "GENERIC"), ("companion", "volume_up")],
)
def test_nobody_waits_for_a_volume_key(tv, what):
    """Its acknowledgement never comes; all other buttons work, and so does it, later."""
    atv = tinyatv.connect(tv.device, timeout=LONG)
    try:
        tv.fail(what, silent=True)
        end = in_background(atv.volume_up)
        assert tv.wait_for(lambda: not tv.faults)
        for button in ("up", "down", "select", "menu"):
            getattr(atv, button)()
        assert [one for one in tv.log if one != "volume_up"] == ["up", "down", "select", "menu"]
    finally:
        atv.close()
    assert isinstance(end(), tinyatv.ConnectionLost)


@pytest.mark.parametrize("protocol", ["mrp", "airplay", "companion"])
def test_a_volume_key_waits_for_no_button_that_is_down(tv):
    atv = tinyatv.connect(tv.device, timeout=LONG)
    try:
        end = in_background(lambda: atv.select(hold=LONG))
        assert tv.wait_for(lambda: "select" in tv.state.held)
        atv.volume_up()
        atv.volume_up()
        atv.volume_down()
        assert tv.state.volume == 55.0
    finally:
        atv.close()
    assert isinstance(end(), tinyatv.ConnectionLost)


# -- mute ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["mrp", "airplay", "companion"])
@pytest.mark.parametrize(("absolute", "relative"), [(True, True), (True, False), (False, True)])
def test_mute_twice_restores(tv, absolute, relative):
    output(tv, absolute=absolute, relative=relative)
    with tinyatv.connect(tv.device, timeout=LONG) as atv:
        for _ in range(2):
            atv.mute()
            assert tv.state.volume == 0.0
            atv.mute()
            assert tv.state.volume == 50.0


def test_mute_twice_restores_without_reports(tv):
    """The output was heard of once, and is silent from then on."""
    with tinyatv.connect(tv.device, timeout=LONG) as atv:
        atv.wakeup()
        output(tv, tells=False)
        atv.mute()
        assert tv.state.volume == 0.0
        atv.mute()
        assert tv.state.volume == 50.0


def test_mute_twice_restores_from_two_processes(monkeypatch):
    """tvOS 18.4 has a mute key, and knows how loud it was; a process of its own does not."""
    monkeypatch.setenv("TINYATV_SERVE", "off")
    with VirtualAppleTV("Den", profile="tvos18", protocols=["airplay"]) as tv:
        output(tv)
        tinyatv.Store().save(tv.device)
        for level in (0.0, 50.0):
            with Program("mute") as program:
                assert program.communicate(timeout=60) == ("", "")
            assert tv.state.volume == level
        assert tv.log == ["mute", "mute"]


@pytest.mark.parametrize("protocol", ["mrp", "companion"])
def test_nothing_to_restore(tv):
    """Another remote has muted it: that is said, instead of doing nothing."""
    with tv.state.change():
        tv.state.volume = 0.0
    output(tv)
    with tinyatv.connect(tv.device) as atv:
        with pytest.raises(tinyatv.CommandFailed, match="at 0 %, and how loud it was before"):
            atv.mute()
        assert tv.log == []
