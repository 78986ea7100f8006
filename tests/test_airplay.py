"""AppleTV over AirPlay against the virtual one: the tunnel, pairing, playing URLs and files."""

from __future__ import annotations

import os
import plistlib
import queue
import signal
import sys
import threading

import pytest

import tinyatv
from tests.support.media import Server
from tests.support.watching import ours
from tinyatv import DeviceState, PowerState
from tinyatv.virtual import VirtualAppleTV

WAIT = 5.0  # s; a deadline for things that take milliseconds
TUNNELS = ["tvos15", "tvos18", "tvos26", "tvos27", "homepod"]
VIDEO = ["airplay1", "tvos15", "tvos18", "tvos26", "tvos27"]  # profiles that play URLs


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
    [("batch", True), ("split", True), ("one_byte_writes", True), ("unprefixed", True),
     ("ping_after", 0.01), ("event_delay", 0.3), ("http_errors", True), ("cseq_zero", True),
     ("no_events", True)],
)  # fmt: skip
def test_odd_tunnels(tv, oddity, value):
    setattr(tv.airplay.quirks, oddity, value)
    with tinyatv.connect(tv.device) as atv:
        atv.up()
        atv.pause()
        assert atv.playing().device_state is DeviceState.Paused
        assert tv.log == ["up", "pause"]
        if not tv.airplay.quirks.no_events:
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


@pytest.mark.parametrize("profile", TUNNELS)
def test_one_connection(atv, tv):
    """The tunnel shows that the device is there, so nobody asks for that on another connection."""
    assert [peer for peer in tv.airplay.peers if peer.session is None] == []
    assert len(tv.airplay.peers) == 1
    assert ("GET", "/info") not in tv.airplay.requests
    plays = tinyatv.FeatureState.Unsupported if tv.profile == "homepod" else None
    assert atv.features()["play_url"] is (plays or tinyatv.FeatureState.Available)
    assert ("GET", "/info") not in tv.airplay.requests


@pytest.mark.parametrize("profile", TUNNELS)
def test_of_a_stored_device_the_tunnel_is_asked(tv, film):
    """What is stored has no feature bits; they are asked for once they are needed."""
    store = tinyatv.Store(memory=True)
    store.save(tv.device)
    with tinyatv.connect("Living Room", store=store) as atv:
        assert tv.airplay.requests.count(("GET", "/info")) == 0
        if tv.profile == "homepod":
            with pytest.raises(tinyatv.NotSupported, match="plays no URLs"):
                atv.play_url(str(film))
        else:
            with atv.play_url(str(film)) as stream:
                assert stream.playing
                assert len(tv.airplay.peers) == 2
        assert tv.airplay.requests.count(("GET", "/info")) == 1
        atv.features()
        assert tv.airplay.requests.count(("GET", "/info")) == 1
        assert tv.wait_for(lambda: len(tv.airplay.peers) == 1)


@pytest.mark.parametrize("profile", ["tvos15", "tvos18"])
def test_a_device_that_says_nothing_of_itself(tv, film):
    """It is controlled through a tunnel, so it is not one of the old ones."""
    store = tinyatv.Store(memory=True)
    store.save(tv.device)
    tv.fail("/info", times=None, status=500)
    with tinyatv.connect("Living Room", store=store) as atv:
        with atv.play_url(str(film)) as stream:
            assert stream.playing
        assert ("SETUP", "") in [(method, "") for method, _ in tv.airplay.requests]


@pytest.mark.parametrize("profile", ["tvos15"])
@pytest.mark.parametrize("said", [{}, {"featuresEx": "1d9/St5fFTw"}])
def test_the_other_form_of_the_feature_bits(tv, film, said):
    """In the service record, or else in what the device says of itself."""
    tv.airplay.identity.extra = {"features": None} if not said else {"features": None, "fex": None}
    tv.fail("/info", times=None, status=200, body=plistlib.dumps(said))
    device = tv.device
    assert "features" not in device.services[0].properties
    with tinyatv.connect(device, protocols=["airplay"]) as atv:
        assert atv.features()["play_url"] is tinyatv.FeatureState.Available
        with atv.play_url(str(film)) as stream:
            assert stream.playing
        assert "RECORD" in [method for method, _ in tv.airplay.requests]  # as AirPlay 2


def test_a_tunnel_that_is_refused(tv):
    """The device may still play; alone, that is not what was asked for."""
    tv.airplay.tunnel = False
    with pytest.raises(tinyatv.CommandFailed, match="SETUP"):
        tinyatv.connect(tv.device)
    assert ours() == []
    with tinyatv.connect(tv.device, protocols=["airplay"]) as atv:
        assert atv.protocols == ("airplay",)


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


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize(
    "word",
    ["/pair-verify", "verify M3", "SETUP 1", "event port", "RECORD", "SETUP 2", "DEVICE_INFO",
     "CLIENT_UPDATES_CONFIG"],
)  # fmt: skip
def test_reboot_while_the_tunnel_is_opened(word):
    """At every step; SETUP was answered and RECORD was not, among others."""
    before, came = descriptors(), []
    with VirtualAppleTV(profile="tvos15", protocols=["airplay"]) as tv:
        device = tv.device
        if word == "event port":
            tv.airplay.quirks.event_delay = 60
        else:
            tv.fail(word, silent=True)

        def connect():
            try:
                tinyatv.connect(device).close()
            except tinyatv.AppleTVError as exc:
                came.append(exc)

        connecting = threading.Thread(target=connect, name="tinyatv-test-connect")
        connecting.start()
        assert tv.wait_for(lambda: is_at(tv, word))
        tv.stop()
        connecting.join(WAIT)
        assert not connecting.is_alive()
    [error] = came
    assert isinstance(error, (tinyatv.ConnectionFailed, tinyatv.ConnectionLost))
    assert ours() == []
    assert descriptors() <= before


def is_at(tv, word):
    """True once the device has been asked for it."""
    if word == "event port":
        return bool(tv.airplay.sessions)
    if word in ("DEVICE_INFO", "CLIENT_UPDATES_CONFIG"):
        return word in tv.requests
    steps = {"verify M3": ("/pair-verify", 2), "SETUP 1": ("SETUP", 1), "SETUP 2": ("SETUP", 2)}
    name, times = steps.get(word, (word, 1))
    return sum(name in request for request in tv.airplay.requests) == times


def descriptors():
    """What this process has open."""
    return len(os.listdir("/proc/self/fd"))


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
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.01, 0.05))
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
def test_play_a_url(atv, tv):
    """Of some other server; the device fetches it, and we do not."""
    with Server({"/film.mp4": os.urandom(200_000)}) as media:
        url = f"{media.url}/film.mp4"
        with atv.play_url(url, position=5) as stream:
            assert stream.url == url
            assert tv.wait_for(lambda: tv.airplay.player.body == media.files["/film.mp4"])
            assert tv.wait_for(lambda: tv.state.position >= 5)
            assert not [name for name in ours() if name.endswith("-accept") or "fetch" in name]
        assert {headers["User-Agent"].split("/")[0] for _, headers in media.asked} == {
            "AppleCoreMedia"
        }


QUEUES = ["tvos18", "tvos26", "tvos27"]


@pytest.mark.parametrize("profile", QUEUES)
def test_what_the_tv_shows(atv, tv, film):
    told = {"title": "A Film", "artist": "Somebody", "album": "Films"}
    with atv.play_url(str(film), **told):
        assert {name: getattr(tv.state.item, name) for name in told} == told
        assert tv.airplay.commands[0]["item"]["title"] == "A Film"
    with atv.play_url(str(film)):
        assert tv.state.item.title == "a film #1 ü"
    with Server({"/film.mp4": b"x"}) as media, atv.play_url(f"{media.url}/film.mp4"):
        assert tv.state.item.title == "film.mp4"  # what the device makes of it
    tv.airplay.commands.clear()
    tv.fail("/command", after=4, status=400)
    with atv.play_url(str(film), title="B") as stream:  # it shows nothing, and plays
        assert stream.playing
        assert tv.airplay.commands[-1]["type"] == "setRate"


@pytest.mark.parametrize("profile", QUEUES)
def test_the_device_lets_us_fetch(atv, tv):
    """Playlists and keys: what belongs to what it plays, and nothing else."""
    tv.airplay.player.duration = 600
    with Server({"/private": b"private"}) as other, Server({}) as media:
        url = f"{media.url}/list.m3u8"
        media.files["/list.m3u8"] = b'#EXTM3U\n#EXT-X-KEY:URI="key"\none.ts\n'
        media.files["/key"], media.files["/one.ts"] = b"k" * 16, b"1"
        media.kinds["/list.m3u8"] = "application/vnd.apple.mpegurl"
        with atv.play_url(url) as stream:
            reply = tv.airplay.ask_sender(url)
            assert reply["FCUP_Response_URL"] == url
            assert reply["FCUP_Response_StatusCode"] == 200
            assert reply["FCUP_Response_Data"] == media.files["/list.m3u8"]
            assert reply["FCUP_Response_Headers"] == {"Content-Type": media.kinds["/list.m3u8"]}
            assert tv.airplay.ask_sender(f"{media.url}/key")["FCUP_Response_Data"] == b"k" * 16
            for strange in (f"{other.url}/private", "file:///etc/passwd", "mlhls://localhost/"):
                reply = tv.airplay.ask_sender(strange)
                assert reply["FCUP_Response_StatusCode"] == 504
                assert reply["FCUP_Response_Data"] == b""
            assert other.asked == []
            stream.pause()  # it can be controlled all the while
        assert [name for name in ours() if "fetch" in name] == []
        assert tv.airplay.complaints == []


@pytest.mark.parametrize("profile", QUEUES)
def test_odd_events(atv, tv, film):
    """A device may say what it likes; it is answered, and plays on."""
    odd = [
        {}, {"params": 5}, {"params": []}, {"params": {"data": 5}}, {"params": {"data": b""}},
        {"params": {"data": b"bplist00"}}, {"type": "playbackState", "name": "stopped"},
        *({"params": {"data": plistlib.dumps(inner, fmt=plistlib.FMT_BINARY)}} for inner in (
            [], "text", 5, {}, {"type": []}, {"type": "playbackState", "params": [1], "name": {}},
            {"type": "playbackState", "params": {"playbackState": {"a": 1}}},
            {"type": "playbackState", "name": "sideways"}, {"type": "notification", "name": 5},
            {"type": "unhandledURL"}, {"type": "unhandledURL", "kind": "request", "request": 5},
            {"type": "unhandledURL", "kind": "request", "messageID": {}, "request": {
                "FCUP_Response_URL": "", "FCUP_Response_RequestID": [], "FCUP_Response_Headers": 5,
            }},
        )),
    ]  # fmt: skip
    tv.airplay.player.duration = 600
    with atv.play_url(str(film)) as stream:
        [session] = [s for s in tv.airplay.sessions if not s.remote_only]
        for content in odd:
            session.push(content)
        assert tv.wait_for(lambda: tv.airplay.answered[-1:] == odd[-1:])
        stream.seek(50)
        stream.pause()
        assert tv.wait_for(lambda: tv.state.device_state is DeviceState.Paused)
        assert stream.playing
        assert tv.airplay.complaints == []


@pytest.mark.parametrize("profile", QUEUES)
def test_the_device_lets_us_fetch_our_own_file(atv, tv, tmp_path):
    path = tmp_path / "list.m3u8"
    with Server({"/one.ts": b"1"}) as media:
        path.write_bytes(f"#EXTM3U\n{media.url}/one.ts\n".encode())
        with atv.play_url(str(path)) as stream:
            for url, data in ((stream.url, path.read_bytes()), (f"{media.url}/one.ts", b"1")):
                assert tv.airplay.ask_sender(url)["FCUP_Response_Data"] == data


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


def test_no_such_file(atv, tv, tmp_path):
    """Before the device hears of it."""
    with pytest.raises(FileNotFoundError):
        atv.play_url(str(tmp_path / "nothing.mp4"))
    with pytest.raises(IsADirectoryError):
        atv.play_url(str(tmp_path))

    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(OSError, match="is empty"):
        atv.play_url(str(empty))
    with pytest.raises(OSError, match="not a regular file"):
        atv.play_url("/dev/null")
    assert len(tv.airplay.peers) == 1
    assert tv.airplay.player.urls == []


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


@pytest.mark.parametrize("profile", VIDEO)
def test_power_cut_while_it_plays(atv, tv, film, monkeypatch):
    """No goodbye: nothing is answered any more."""
    monkeypatch.setattr("tinyatv.backends.airplay_stream.POLL", 0.02)
    monkeypatch.setattr("tinyatv.backends.airplay_session.FEEDBACK", 0.02)
    monkeypatch.setattr("tinyatv.backends.airplay_session.ANSWER_TIMEOUT", 0.2)
    with tinyatv.connect(tv.device, protocols=["airplay"], timeout=0.2) as atv:
        stream = atv.play_url(str(film))
        tv.fail("*", times=None, silent=True)
        with pytest.raises((tinyatv.ConnectionLost, tinyatv.CommandTimeout)):
            stream.wait(WAIT)
    assert [name for name in ours() if "stream" in name] == []


@pytest.mark.parametrize("profile", VIDEO)
@pytest.mark.parametrize("how", ["deleted", "cut short"])
def test_the_file_is_lost_while_it_plays(atv, tv, tmp_path, monkeypatch, how):
    monkeypatch.setattr("tinyatv.backends.airplay_stream.POLL", 0.02)
    path = tmp_path / "film.mp4"
    with open(path, "wb") as file:
        file.truncate(300 * 1024 * 1024)  # it takes seconds to fetch
    with atv.play_url(str(path)) as stream:
        path.unlink() if how == "deleted" else os.truncate(path, 1)
        with pytest.raises(tinyatv.CommandFailed, match="cannot read the file: ") as caught:
            stream.wait(2 * WAIT)
        words = {"deleted": "No such file", "cut short": "it is shorter than it was"}
        assert words[how] in str(caught.value)
    assert not stream.playing


@pytest.mark.parametrize("profile", ["tvos15", "tvos18"])
def test_the_file_is_lost_once_the_device_has_it(atv, tv, film, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.airplay_stream.POLL", 0.02)
    tv.airplay.player.duration = 0.5
    stream = atv.play_url(str(film))
    data = film.read_bytes()
    assert tv.wait_for(lambda: tv.airplay.player.body == data)
    film.unlink()
    assert stream.wait(WAIT)


@pytest.mark.parametrize("profile", ["tvos15"])
def test_nothing_plays(atv, tv, film):
    """The device accepts it, and that is all; it is asked in both ways that it may know."""
    tv.fail("/play", times=None, status=200)
    with pytest.raises(tinyatv.CommandFailed, match="has not fetched the file, a firewall"):
        atv.play_url(str(film), timeout=0.3)
    with pytest.raises(tinyatv.CommandFailed, match=r"nothing plays after 0.3 s \(airplay\)$"):
        atv.play_url("http://127.0.0.1/a.mp4", timeout=0.3)


@pytest.mark.parametrize("profile", QUEUES)
def test_nothing_plays_in_the_queue(atv, tv):
    """There is no other way on these, so none is tried; what the device says is passed on."""
    with pytest.raises(tinyatv.CommandFailed, match="the device says 'stopped'"):
        atv.play_url("http://127.0.0.1:1/nothing.mp4", timeout=0.3)
    assert ("POST", "/play") not in tv.airplay.requests


@pytest.mark.parametrize("profile", VIDEO)
@pytest.mark.parametrize("status", [403, 404, 453, 470, 500, 501, 503])
def test_refused(atv, tv, film, status):
    """With what the status means, in one line, and nothing left behind."""
    for word in ("/play", "/command", "SETUP 1"):
        tv.fail(word, times=None, status=status)
    refused = tinyatv.CredentialsError
    kinds = {403: refused, 470: refused, 501: tinyatv.NotSupported}
    with pytest.raises(kinds.get(status, tinyatv.CommandFailed)) as caught:
        atv.play_url(str(film))
    assert str(status) in str(caught.value) or status in (403, 470)
    assert "\n" not in str(caught.value)
    assert [name for name in ours() if "stream" in name] == []
    assert tv.wait_for(lambda: len(tv.airplay.peers) <= 1)


@pytest.mark.parametrize("profile", ["airplay1", "tvos15", "tvos18"])
@pytest.mark.parametrize("word", ["/pair-verify", "SETUP 1", "RECORD", "SETUP 2", "/play",
                                  "/command", "/rate", "/playback-info"])  # fmt: skip
def test_gone_before_it_plays(atv, tv, film, word):
    """Whatever step it is that the device hangs up at; or it is not a step of this device."""
    tv.fail(word, drop=True)
    try:
        with atv.play_url(str(film)):
            assert tv.faults.take(word) is not None  # it was not asked for
    except (tinyatv.ConnectionFailed, tinyatv.ConnectionLost):
        assert tv.faults.take(word) is None
    assert [name for name in ours() if "stream" in name] == []


@pytest.mark.parametrize("profile", ["airplay1", "tvos15"])
def test_gone_while_it_is_asked(atv, tv, film):
    """The error names the device and not a thread, as if the reader had seen it first."""
    tv.airplay.player.duration = 1000
    with atv.play_url(str(film)) as stream:
        tv.fail("/playback-info", drop=True)
        lost = r"^connection to 127\.0\.0\.1 \(airplay\) lost: closed by the peer$"
        with pytest.raises(tinyatv.ConnectionLost, match=lost):
            stream.wait(WAIT)


def test_interrupted_before_it_plays(atv, tv, film):
    """Nobody holds the stream yet who could stop it."""
    tv.fail("/play", status=200)  # and nothing comes of it
    pressed = []

    def press():
        pressed.append(tv.wait_for(lambda: ("GET", "/playback-info") in tv.airplay.requests))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    pressing = threading.Thread(target=press, name="tinyatv-test-press")
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        atv.play_url(str(film))
    pressing.join(WAIT)
    assert pressed == [True]
    assert [name for name in ours() if "stream" in name] == []


def test_closing_while_it_begins(tv, film):
    """From another thread; nothing plays on behind our back."""
    came = []
    tv.fail("/rate", times=None, silent=True)
    with tinyatv.connect(tv.device) as atv:

        def play():
            try:
                atv.play_url(str(film))
            except tinyatv.AppleTVError as exc:
                came.append(exc)

        playing = threading.Thread(target=play, name="tinyatv-test-play")
        playing.start()
        assert tv.wait_for(lambda: ("POST", "/rate?value=1.000000") in tv.airplay.requests)
    playing.join(WAIT)
    assert not playing.is_alive()
    [error] = came
    assert isinstance(error, tinyatv.ConnectionLost)
    assert ours() == []
    assert tv.wait_for(lambda: tv.airplay.player.load_now is None)


def test_closing_stops_what_plays(tv, film):
    with tinyatv.connect(tv.device) as atv:
        stream = atv.play_url(str(film))
    assert not stream.playing
    assert ours() == []


@pytest.mark.parametrize("profile", ["airplay1", "tvos15", "tvos18"])
def test_a_large_file(atv, tv, tmp_path, monkeypatch):
    """All 300 MB of it, both ends in constant memory; the file server's own tests look closer."""
    import tracemalloc

    monkeypatch.setattr("tinyatv.virtual.airplay_player.PIECE", 1 << 20)
    path, size = tmp_path / "large.mp4", 300 << 20
    with open(path, "wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        with atv.play_url(str(path)) as stream:
            assert tv.wait_for(lambda: len(tv.airplay.player.fetched) == 301, 60)
            assert tv.wait_for(lambda: stream._server.sent == size + 2)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
