"""The peer's unmodified client pairs with the virtual device over AirPlay, controls it, plays."""

from __future__ import annotations

import os

import pytest

from tinyatv.virtual import VirtualAppleTV

from .conftest import Client, Peer, Refused

PIN = "1111"
APP = "com.apple.TVAirPlay"


@pytest.fixture(scope="module")
def process(peer_bin):
    """One for all tests: starting it takes longer than most of them."""
    client = Client(peer_bin, "airplay_client.py")
    yield client
    client.stop()


@pytest.fixture
def client(process):
    yield process
    process("close")


@pytest.fixture
def tv(request):
    """A device with a known client."""
    protocols = ("mrp", "airplay") if request.param == "tvos14" else None
    with VirtualAppleTV("Den", profile=request.param, pin=PIN, protocols=protocols) as tv:
        yield tv


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(200000))
    return path


def where(tv, **more):
    txt = next(r for r in tv.records() if r.kind == "_airplay._tcp.local.").txt
    credentials = tv.credentials.get("airplay")
    return {"port": tv.ports["airplay"], "txt": txt, "credentials": credentials, **more}


# -- programs --------------------------------------------------------------------------------------


def test_scan_pair_and_use(peer_bin, tmp_path):
    with VirtualAppleTV("Den", profile="tvos15", mdns_port=0, credentials=()) as tv:
        peer = Peer(peer_bin, tv, tmp_path)
        out = peer.run("atvremote", "scan")
        assert "Model/SW: Apple TV 4K, tvOS 15.0" in out
        assert f"Protocol: AirPlay, Port: {tv.ports['airplay']}" in out
        assert "Pairing: Mandatory" in out
        process = peer.start("atvremote", "--id", tv.mac, "--protocol", "airplay", "pair")
        try:
            assert tv.wait_for(lambda: tv.pin is not None, 30)
            out, err = process.communicate(f"{tv.pin}\n", timeout=60)
        finally:
            process.kill()
        assert "seems to have succeeded" in out, out + err
        out = peer.run("atvremote", "--id", tv.mac, "up", "pause", "playing")
        assert tv.log == ["up", "pause"]
        assert "Harbour Lights" in out
        assert tv.airplay.complaints == []


# -- its library -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tv", ["airplay1", "tvos15", "tvos18"], indirect=True)
def test_pair(client, tv):
    tv.forget_clients()
    client("pair", where(tv, credentials=None))
    assert tv.wait_for(lambda: tv.pin == PIN)
    credentials = client("pin", PIN)
    assert len(credentials.split(":")) == 4
    assert len(tv.accessory.clients) == 1
    assert tv.wait_for(lambda: tv.pin is None)
    client("connect", where(tv, credentials=credentials, tunnel=tv.profile != "airplay1"))
    if tv.profile != "airplay1":
        client("call", "remote_control.pause")
        assert tv.log == ["pause"]


@pytest.mark.parametrize("tv", ["tvos14", "tvos15", "tvos26", "homepod"], indirect=True)
def test_tunnel(client, tv):
    odd = tv.airplay.quirks
    odd.ping_after = 0.05
    odd.unprefixed = tv.profile == "tvos15"
    odd.batch = tv.profile == "tvos26"
    odd.split = odd.one_byte_writes = tv.profile == "tvos14"
    client("connect", where(tv, tunnel=True))
    client("until", {"title": "Harbour Lights", "device_state": "Playing"})
    client("call", "remote_control.pause")
    client("until", {"device_state": "Paused"})
    tv.state.next()
    client("until", {"title": "Three Hops"})
    client("call", "audio.set_volume", 25.0)
    assert tv.state.volume == 25
    assert client("get", "audio.volume") == 25
    stream = tv.airplay.sessions[0].tunnels[0].stream
    assert tv.wait_for(lambda: not stream.unanswered)
    assert tv.wait_for(lambda: ("POST", "/feedback") in tv.airplay.requests)
    assert tv.airplay.complaints == []
    assert [content["type"] for content in tv.airplay.answered] == ["updateInfo"]
    tv.airplay.drop_peers()
    client("lost")


@pytest.mark.parametrize("tv", ["tvos15", "homepod"], indirect=True)
@pytest.mark.parametrize("pings", [False, True])
def test_idle(client, tv, pings):
    """The peer complains of nothing that comes through the tunnel, while much happens or nothing.

    Of a ping it does: it takes it for a broken property list that there is none in it. A ping is
    like that, though; the one recorded from a real device is in the vectors.
    """
    tv.airplay.quirks.ping_after = 0.05 if pings else None
    client("connect", where(tv, tunnel=True))
    client("until", {"title": "Harbour Lights", "device_state": "Playing"})
    tv.state.update(artwork=os.urandom(100_000))
    client("call", "remote_control.pause")
    client("call", "remote_control.next")
    client("call", "audio.set_volume", 25.0)
    client("until", {"title": "Three Hops"})
    assert tv.wait_for(lambda: tv.airplay.requests.count(("POST", "/feedback")) >= 2, 20)
    [tunnel] = tv.airplay.sessions[0].tunnels
    logged = client("logged")
    assert tv.wait_for(lambda: not tunnel.stream.unanswered)
    if pings:
        assert tunnel.pings > 10
        assert 10 < len(logged) <= tunnel.pings
        assert set(logged) == {"WARNING failed to process data frame"}
    else:
        assert logged == []
        assert tunnel.pings == 0
    assert tv.airplay.complaints == []


@pytest.mark.parametrize("tv", ["airplay1", "tvos15"], indirect=True)
def test_play_a_file(client, tv, film):
    tv.airplay.player.duration = 1.5
    client("connect", where(tv))
    client("play", str(film), {})
    assert tv.wait_for(lambda: tv.airplay.player.body == film.read_bytes(), 15)
    assert tv.airplay.player.fetched[0] == ("bytes=0-1", 206)
    assert (tv.state.app.identifier, tv.state.item.title) == (APP, "film.mp4")
    client("played")
    assert tv.airplay.player.load_now is None
    assert tv.airplay.complaints == []


@pytest.mark.parametrize("tv", ["tvos15"], indirect=True)
def test_play_and_watch(client, tv, film):
    tv.airplay.player.duration = 600
    client("connect", where(tv, tunnel=True))
    tv.fail("/play", status=500)
    client("play", "http://192.0.2.1/film.mp4", {"position": 30})
    seen = client("until", {"title": "film.mp4", "device_state": "Playing"})
    assert seen["total_time"] == 600
    assert 30 <= seen["position"] <= 33
    client("call", "remote_control.stop")  # which closes the connection
    assert tv.wait_for(lambda: tv.airplay.player.load_now is None)
    client("until", {"title": "Harbour Lights", "device_state": "Paused"})


@pytest.mark.parametrize("tv", ["airplay1"], indirect=True)
def test_play_what_is_not_there(client, tv):
    client("connect", where(tv))
    client("play", "http://127.0.0.1:9/film.mp4", {})
    with pytest.raises(Refused, match=r"-6707 \(NSOSStatusErrorDomain\)"):
        client("played")


@pytest.mark.parametrize("tv", ["tvos15"], indirect=True)
@pytest.mark.parametrize("word", ["/pair-verify", "SETUP 1", "RECORD", "SETUP 2"])
def test_refusals(client, tv, word):
    tv.fail(word, status=470)
    with pytest.raises(Refused, match="InvalidCredentialsError"):
        client("connect", where(tv, tunnel=True))
