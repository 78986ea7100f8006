"""AppleTV over AirPlay against the virtual one: the tunnel, pairing, playing URLs and files."""

from __future__ import annotations

import os
import queue
import threading

import pytest

import tinyatv
from tinyatv import DeviceState, PowerState
from tinyatv.virtual import VirtualAppleTV

WAIT = 5.0  # s; a deadline for things that take milliseconds
TUNNELS = ["tvos15", "tvos18", "tvos26", "tvos27", "homepod"]
VIDEO = ["airplay1", "tvos15", "tvos18", "tvos26", "tvos27"]  # profiles that play URLs

ASKED = {"play_url"}


@pytest.fixture
def profile():
    return "tvos15"


@pytest.fixture
def tv(profile):
    with VirtualAppleTV("Living Room", profile=profile, protocols=["airplay"]) as made:
        yield made


@pytest.fixture
def atv(tv):
    with tinyatv.connect(tv.device) as made:
        yield made


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "a film #1 ü.mp4"
    path.write_bytes(os.urandom(200_000))
    return path


def heard(atv):
    events = queue.SimpleQueue()
    atv.add_listener(events.put)
    return events


def next_of(events, kind):
    while True:
        event = events.get(timeout=WAIT)
        if isinstance(event, kind):
            return event


def ours():
    return [t.name for t in threading.enumerate() if t.name.startswith("tinyatv")]


# -- the tunnel ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", TUNNELS)
def test_tunnel(atv, tv):
    """Everything that MRP can, through AirPlay."""
    assert "mrp" in atv.protocols
    atv.up(presses=2)
    atv.select(hold=0.6)
    atv.pause()
    assert atv.playing().device_state is DeviceState.Paused
    atv.set_position(100)
    assert atv.playing().position == 100
    atv.set_volume(20)
    assert tv.state.volume == 20
    assert tv.log == ["up", "up", "select hold", "pause", "set_position 100", "set_volume 20"]
    assert atv.artwork().data == tv.state.artwork(512)
    image = b"\xff\xd8\xff" + bytes(range(256)) * 2000
    tv.state.update(artwork=image)
    atv.wakeup()
    assert atv.artwork().data == image  # in hundreds of sealed blocks
    events = heard(atv)
    next_of(events, tinyatv.PlayingChanged)
    tv.state.update(title="Pushed")
    assert next_of(events, tinyatv.PlayingChanged).playing.title == "Pushed"


def test_power_through_the_tunnel(atv, tv):
    atv.turn_off(wait=True)
    assert tv.state.power is PowerState.Off
    atv.turn_on(wait=True)
    assert atv.power_state() is PowerState.On


@pytest.mark.parametrize(
    ("oddity", "value"),
    [("batch", True), ("split", True), ("dribble", True), ("unprefixed", True),
     ("ping_after", 0.01), ("event_delay", 0.3), ("http_errors", True), ("cseq_zero", True),
     ("no_events", True)],
)  # fmt: skip
def test_odd_tunnels(tv, oddity, value):
    setattr(tv.airplay.oddities, oddity, value)
    with tinyatv.connect(tv.device) as atv:
        atv.up()
        atv.pause()
        assert atv.playing().device_state is DeviceState.Paused
        assert tv.log == ["up", "pause"]
        if not tv.airplay.oddities.no_events:
            assert tv.wait_for(lambda: tv.airplay.answered)
        assert tv.airplay.complaints == []


def test_feedback_keeps_it_open(tv, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.airplay_session.FEEDBACK", 0.02)
    with tinyatv.connect(tv.device) as atv:
        assert tv.wait_for(lambda: tv.airplay.requests.count(("POST", "/feedback")) >= 5)
        atv.play()


def test_feedback_without_an_answer(tv, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.airplay_session.FEEDBACK", 0.02)
    monkeypatch.setattr("tinyatv.backends.airplay_session.ANSWER_TIMEOUT", 0.1)
    with tinyatv.connect(tv.device, timeout=0.1) as atv:
        events = heard(atv)
        tv.fail("/feedback", times=None, silent=True)
        error = next_of(events, tinyatv.Disconnected).error
        assert "does not answer any more" in str(error)


def test_direct_mrp_comes_first():
    with VirtualAppleTV(profile="tvos14", protocols=["mrp", "airplay"]) as tv:
        with tinyatv.connect(tv.device) as atv:
            assert atv.protocols == ("mrp", "airplay")
            atv.play()
        assert tv.airplay.mrp is None or not [r for r in tv.airplay.server.requests if "SETUP" in r]


def test_only_mrp_is_wanted(tv):
    with tinyatv.connect(tv.device, protocols=["mrp"]) as atv:
        assert atv.protocols == ("mrp",)
        with pytest.raises(tinyatv.NotSupported):
            atv.play_url("http://127.0.0.1/x.mp4")


# -- refusals and losses ---------------------------------------------------------------------------


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


@pytest.mark.parametrize("word", ["/pair-verify", "SETUP", "RECORD"])
def test_access_refused(tv, word):
    tv.fail(word, status=470)
    with pytest.raises(tinyatv.CredentialsError, match="pair again"):
        tinyatv.connect(tv.device)
    assert ours() == []


@pytest.mark.parametrize("word", ["/pair-verify", "SETUP", "RECORD"])
@pytest.mark.parametrize(
    ("how", "error"),
    [({"drop": True}, tinyatv.ConnectionFailed), ({"status": 500}, tinyatv.CommandFailed),
     ({"garbage": b"\0" * 64}, tinyatv.AppleTVError)],
)  # fmt: skip
def test_trouble_while_the_tunnel_is_opened(tv, word, how, error):
    tv.fail(word, **how)
    with pytest.raises(error):
        tinyatv.connect(tv.device)
    assert ours() == []


@pytest.mark.parametrize("word", ["/pair-verify", "SETUP", "RECORD"])
def test_silence_while_the_tunnel_is_opened(tv, word, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.airplay_session.ANSWER_TIMEOUT", 0.2)
    tv.fail(word, silent=True)
    with pytest.raises(tinyatv.CommandTimeout, match=r"within 0.2 s \(airplay\)"):
        tinyatv.connect(tv.device, timeout=0.2)
    assert ours() == []


def test_second_setup_refused(tv):
    tv.fail("SETUP", after=1, status=500)
    with pytest.raises(tinyatv.CommandFailed, match="SETUP"):
        tinyatv.connect(tv.device)
    assert ours() == []


def test_device_gone(atv, tv):
    events = heard(atv)
    tv.stop()
    assert isinstance(next_of(events, tinyatv.Disconnected).error, tinyatv.ConnectionLost)
    for command in (atv.play, atv.playing, lambda: atv.play_url("http://127.0.0.1/a.mp4")):
        with pytest.raises(tinyatv.ConnectionLost):
            command()


def test_reconnect(monkeypatch):
    monkeypatch.setattr("tinyatv.device.PAUSES", (0.01, 0.05))
    tv = VirtualAppleTV(profile="tvos18", mdns_port=0)
    with tv, tinyatv.connect(tv.device, reconnect=True) as atv:
        events = heard(atv)
        next_of(events, tinyatv.PlayingChanged)
        tv.move()
        next_of(events, tinyatv.Disconnected)
        next_of(events, tinyatv.Reconnected)
        atv.pause()
        assert tv.log == ["pause"]


def test_many_tunnels(tv, share):
    for _ in range(share(200)):
        with tinyatv.connect(tv.device) as atv:
            atv.up()
    assert ours() == []


# -- pairing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", VIDEO)
def test_pair(profile):
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV(profile=profile, credentials=()) as tv:
        tinyatv.pair(tv.device, protocols=["airplay"], pin=lambda: tv.pin, store=store, name="Me")
        assert len(tv.pins) == 1
        assert set(tv.airplay.names) == {"Me"}
        with tinyatv.connect(store.fill(tv.device), store=store) as atv:
            assert "airplay" in atv.protocols


def test_one_pin_for_everything():
    """MRP and AirPlay of one device: the second opens with the key of the first."""
    store = tinyatv.Store(memory=True)
    tv = VirtualAppleTV(profile="tvos14", protocols=["mrp", "airplay"], credentials=())
    with tv:
        for service in (device := tv.device).services:
            service.pairing = tinyatv.PairingRequirement.Mandatory
        tinyatv.pair(device, pin=lambda: tv.pin, store=store)
        assert len(tv.pins) == 1
        assert len({service.credentials for service in device.services}) == 1
        with tinyatv.connect(device, store=store) as atv:
            assert atv.protocols == ("mrp", "airplay")


@pytest.mark.parametrize("profile", ["airplay1", "tvos18"])
def test_wrong_pin(profile):
    with VirtualAppleTV(profile=profile, credentials=(), pin="1111") as tv:
        for pin in ("2222", "1111"):  # and then the device wants a pause
            with pytest.raises(tinyatv.PairingError):
                tinyatv.pair(tv.device, protocols=["airplay"], pin=pin,
                             store=tinyatv.Store(memory=True))  # fmt: skip
        assert not tv.accessory.clients


def test_pairing_is_not_needed():
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV("Speaker", profile="homepod") as tv:
        tinyatv.pair(tv.device, store=store)
        assert tv.pins == []
        with tinyatv.connect("Speaker", store=store) as atv:
            atv.set_volume(30)
        assert tv.state.volume == 30


def test_hangs_up_while_pairing():
    for word in ("/pair-pin-start", "/pair-setup"):
        with VirtualAppleTV(profile="tvos15", credentials=(), pin="1111") as tv:
            tv.fail(word, drop=True)
            with pytest.raises(tinyatv.ConnectionFailed, match="hung up"):
                tinyatv.pair(tv.device, pin="1111", store=tinyatv.Store(memory=True))


def test_password(tv):
    tv.airplay.password = "secret"
    device = tv.device
    for password in (None, "wrong"):
        device.services[0].password = password
        with pytest.raises(tinyatv.CredentialsError, match="password"):
            tinyatv.connect(device)
    device.services[0].password = "secret"
    with tinyatv.connect(device) as atv:
        atv.play()


# -- playing something -----------------------------------------------------------------------------


@pytest.mark.parametrize("profile", VIDEO)
def test_play_a_file(atv, tv, film):
    """The device fetches it, plays it, and it can be controlled."""
    tv.airplay.player.duration = 100
    with atv.play_url(str(film), position=10) as stream:
        assert stream.playing
        assert tv.wait_for(lambda: tv.airplay.player.body == film.read_bytes())
        assert tv.state.app.identifier == "com.apple.TVAirPlay"
        stream.pause()
        assert tv.state.device_state is DeviceState.Paused
        stream.resume()
        assert tv.state.device_state is DeviceState.Playing
        stream.seek(50)
        assert 50 <= stream.position < 52
        assert 50 <= tv.state.position < 52
    assert not stream.playing
    assert tv.wait_for(lambda: tv.state.app.identifier != "com.apple.TVAirPlay")
    with pytest.raises(ValueError, match="seconds must be 0 or more"):
        stream.seek(-1)


@pytest.mark.parametrize("profile", VIDEO)
def test_it_plays_to_its_end(atv, tv, film, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.airplay_stream.POLL", 0.02)
    tv.airplay.player.duration = 0.4
    stream = atv.play_url(str(film))
    assert stream.wait(WAIT)
    stream.stop()
    assert [name for name in ours() if "stream" in name] == []


@pytest.mark.parametrize("profile", VIDEO)
def test_what_cannot_be_fetched(atv, tv, profile, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.airplay_stream.POLL", 0.02)
    with pytest.raises(tinyatv.CommandFailed, match="play_url: "):
        atv.play_url("http://127.0.0.1:1/nothing.mp4", timeout=0.5)
    assert [name for name in ours() if "stream" in name] == []


def test_no_such_file(atv, tmp_path):
    with pytest.raises(FileNotFoundError):
        atv.play_url(str(tmp_path / "nothing.mp4"))
    with pytest.raises(IsADirectoryError):
        atv.play_url(str(tmp_path))


@pytest.mark.parametrize(
    "arguments", [{"position": -1}, {"position": float("nan")}, {"version": "3"}]
)
def test_wrong_arguments(atv, arguments, film):
    with pytest.raises(ValueError, match=r"position|version"):
        atv.play_url(str(film), **arguments)


@pytest.mark.parametrize("profile", ["homepod"])
def test_a_speaker_plays_no_urls(atv):
    with pytest.raises(tinyatv.NotSupported, match="plays no URLs"):
        atv.play_url("http://127.0.0.1/a.mp4")


@pytest.mark.parametrize("profile", ["airplay1", "tvos15"])
def test_a_passing_fault_is_tried_again(atv, tv, film):
    tv.fail("/play", times=2, status=500)
    with atv.play_url(str(film)):
        assert tv.airplay.player.urls


def test_another_way_is_tried(tv, film):
    """A device that knows less than its version says."""
    device = tv.device
    device.services[0].properties["osvers"] = "18.1"
    with tinyatv.connect(device) as atv:
        with pytest.raises(tinyatv.AppleTVError):
            atv.play_url(str(film), version="queue")
        with atv.play_url(str(film)) as stream:
            assert stream.playing


@pytest.mark.parametrize("profile", ["airplay1", "tvos15"])
def test_busy(atv, tv, film):
    tv.airplay.busy = True
    with pytest.raises(tinyatv.CommandFailed, match="busy") as caught:
        atv.play_url(str(film))
    assert caught.value.code == 453


@pytest.mark.parametrize("profile", VIDEO)
def test_reboot_while_it_plays(atv, tv, film, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.airplay_stream.POLL", 0.02)
    stream = atv.play_url(str(film))
    url = stream.url
    tv.stop()
    with pytest.raises(tinyatv.AppleTVError):
        stream.wait(WAIT)
    assert not stream.playing
    assert tv.wait_for(lambda: not [name for name in ours() if "stream" in name])
    import urllib.request

    with pytest.raises(OSError):  # noqa: PT011  # the file is not served any more
        urllib.request.urlopen(url, timeout=2)


def test_closing_stops_what_plays(tv, film):
    with tinyatv.connect(tv.device) as atv:
        stream = atv.play_url(str(film))
    assert not stream.playing
    assert ours() == []


@pytest.mark.long
def test_a_large_file(atv, tv, tmp_path):
    """300 MB, in constant memory; the file server's own tests look closer."""
    import tracemalloc

    path = tmp_path / "large.mp4"
    with open(path, "wb") as file:
        file.truncate(300 * 1024 * 1024)
    tracemalloc.start()
    with atv.play_url(str(path)):
        assert tv.wait_for(lambda: len(tv.airplay.player.fetched) > 3)
        assert tracemalloc.get_traced_memory()[1] < 400 * 1024 * 1024
    tracemalloc.stop()
