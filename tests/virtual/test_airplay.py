"""The virtual device's AirPlay side, asked by bare sockets."""

from __future__ import annotations

import json
import os
import plistlib
import random
import select
import socket
import struct
import subprocess
import sys
import threading

import pytest

from tests.support.airplay_client import (
    PLAY_QUEUE,
    PTP,
    REMOTE,
    SESSION,
    WAIT,
    Clock,
    Controller,
    Refused,
    bplist,
)
from tests.support.media import Server
from tests.support.vectors import cases
from tinyatv import DeviceState, proto
from tinyatv.discovery.records import parse_txt
from tinyatv.errors import CredentialsError, PairingBackOff, PairingError
from tinyatv.pairing import digest
from tinyatv.pairing.credentials import Credentials
from tinyatv.services import parse_features
from tinyatv.virtual import VirtualAppleTV
from tinyatv.virtual.airplay_player import APP, UrlPlayer
from tinyatv.virtual.state import State
from tinyatv.wire import tlv8
from tinyatv.wire.http import Request

MUSIC, KITCHEN = "com.apple.TVMusic", "00:F7:6F:0A:0B:0C"
PIN = "1234"
ALL = {"atv3": ("dmap", "airplay"), "tvos14": ("mrp", "airplay")}
TUNNELS = ["tvos14", "tvos15", "tvos18", "tvos26", "tvos27"]


@pytest.fixture
def profile():
    return "tvos15"


@pytest.fixture
def tv(profile):
    """A device with a known client, if it remembers clients at all."""
    with VirtualAppleTV(
        "Living Room", profile=profile, pin=PIN, protocols=ALL.get(profile)
    ) as tv:  # fmt: skip
        yield tv


@pytest.fixture
def client(tv):
    """A client that nobody knows."""
    with Controller(tv.airplay) as client:
        yield client


@pytest.fixture
def known(client, tv):
    """A client that is verified, if it has to be."""
    return known_to(tv, client)


def known_to(tv, client):
    if tv.profile == "homepod":
        return client.transient()
    return client.verify(tv.credentials["airplay"]) if "airplay" in tv.credentials else client


def playing(url, seconds=0.0):
    return {"Content-Location": url, "Start-Position-Seconds": seconds, "uuid": SESSION}


def play_info(client):
    return client.content("GET", "/playback-info")


# -- what it says of itself ------------------------------------------------------------------------


def test_record(tv):
    record = next(r for r in tv.records() if r.kind == "_airplay._tcp.local.")
    identity = tv.identifier.lower()
    pairing = record.txt["pi"]
    assert (record.instance, record.port) == ("Living Room", tv.ports["airplay"])
    assert record.txt == {
        "acl": "0", "deviceid": tv.mac, "features": "0x4A7FDFD5,0x3C155FDE", "fex": "1d9/St5fFTw",
        "flags": "0x244", "model": "AppleTV6,2", "osvers": "15.0", "srcvers": "550.10",
        "protovers": "1.1", "vv": "2", "pi": pairing, "psi": identity, "gid": identity,
        "igl": "1", "gcgl": "1", "pk": tv.accessory.identity.public.hex(),
    }  # fmt: skip
    assert not [r for r in tv.records() if "mediaremote" in r.kind]
    assert set(tv.ports) == {"airplay", "companion"}


@pytest.mark.parametrize(
    ("profile", "features", "flags", "model", "version"),
    [
        ("atv3", "0x5A7FFFF7,0xE", "0x44", "AppleTV3,2", "8.4.4"),
        ("airplay1", "0x5A7FFFF7,0xE", "0x44", "AppleTV3,2", "8.4.4"),
        ("tvos14", "0x4A7FDFD5,0x3C155FDE", "0x244", "AppleTV6,2", "14.7"),
        ("tvos18", "0x4A7FDFD5,0xBC157FDE", "0x18644", "AppleTV14,1", "18.1"),
        ("homepod", "0x4A7FCA00,0xBC356BD0", "0x1b8c04", "AudioAccessory5,1", "18.1"),
    ],
)
def test_profiles(tv, features, flags, model, version):
    txt = next(r for r in tv.records() if r.kind == "_airplay._tcp.local.").txt
    found = [txt[key] for key in ("features", "flags", "model", "osvers")]
    assert found == [features, flags, model, version]
    service = next(s for s in tv.device.services if s.protocol == "airplay")
    assert (service.port, service.identifier) == (tv.ports["airplay"], tv.mac)


def test_protocols():
    with VirtualAppleTV(profile="atv3", protocols=["airplay", "dmap"]) as tv:
        assert (tv.protocols, set(tv.ports)) == (("dmap", "airplay"), {"dmap", "airplay"})
    with VirtualAppleTV(profile="tvos14", protocols=["mrp", "airplay"]) as tv:
        assert tv.credentials["mrp"] == tv.credentials["airplay"]
    with VirtualAppleTV(profile="tvos14", protocols=["airplay"]) as tv:
        assert set(tv.ports) == {"airplay"}
    for wrong in ([], ["mrp"], ["smoke"]):
        with pytest.raises(ValueError, match="can speak"):
            VirtualAppleTV(profile="tvos15", protocols=wrong)


def test_program():
    command = [
        sys.executable, "-m", "tinyatv", "virtual", "--json", "--profile", "tvos14", "--protocols",
        "mrp,airplay", "--no-announce", "--pin", PIN,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            about = json.loads(program.stdout.readline())
            assert set(about["ports"]) == {"mrp", "airplay"}
            with socket.create_connection(("127.0.0.1", about["ports"]["airplay"]), WAIT) as sock:
                sock.sendall(b"POST /pair-pin-start HTTP/1.1\r\n\r\n")
                assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")
                assert json.loads(program.stdout.readline())["pin"] == PIN
        finally:
            program.terminate()


def test_info(client, tv):
    info = client.content("GET", "/info", protocol="RTSP/1.0")
    assert info["features"] == parse_features("0x4A7FDFD5,0x3C155FDE") == 4329472025123872725
    assert (info["name"], info["deviceID"], info["statusFlags"]) == ("Living Room", tv.mac, 580)
    assert info["pk"] == tv.accessory.identity.public
    assert info["senderAddress"] == "{}:{}".format(*client.sock.getsockname())
    assert info["initialVolume"] == -15.0
    asked = {"qualifier": ["txtAirPlay"]}
    told = client.content("GET", "/info", asked, protocol="RTSP/1.0")
    assert parse_txt(told["txtAirPlay"])["deviceid"] == tv.mac
    assert client.code("GET", "/server-info") == 404


@pytest.mark.parametrize("profile", ["airplay1"])
def test_server_info(client, tv):
    response = client.ask("GET", "/server-info")
    assert response.header("Content-Type") == "text/x-apple-plist+xml"
    assert plistlib.loads(response.body) == {
        "deviceid": tv.mac, "features": 0xE5A7FFFF7, "model": "AppleTV3,2", "protovers": "1.0",
        "srcvers": "220.68",
    }  # fmt: skip
    assert client.code("GET", "/info") == 404


def test_options(client):
    methods = client.ask("OPTIONS", "*", protocol="RTSP/1.0").header("Public").split(", ")
    assert {"SETUP", "RECORD", "TEARDOWN", "GET_PARAMETER"} <= set(methods)


def test_auth_setup(client):
    body = client.ask("POST", "/auth-setup", b"\1" + bytes(range(32))).body
    length = int.from_bytes(body[32:36], "big")
    rest = body[36 + length :]
    assert len(rest) == 4 + int.from_bytes(rest[:4], "big")
    assert client.code("POST", "/auth-setup", b"\1") == 400


# -- pairing ---------------------------------------------------------------------------------------


def test_pair_then_verify(client, tv):
    credentials = client.pair(lambda: tv.pin)
    assert (tv.pins, tv.pin) == ([PIN], None)
    assert credentials.device_key == tv.accessory.identity.public
    assert client.code("POST", "/feedback") == 470  # paired is not verified
    with Controller(tv.airplay) as other:
        other.verify(credentials)
        assert other.content("POST", "/feedback", protocol="RTSP/1.0") == {"streams": []}


def test_random_pin_survives_pin_start(profile):
    with VirtualAppleTV(profile=profile) as tv, Controller(tv.airplay) as client:
        assert client.code("POST", "/pair-pin-start") == 200
        shown = tv.pin
        client.pair(shown)  # which asks for it to be shown again
        assert set(tv.pins) == {shown}


def test_credentials_of_the_device(known, tv):
    assert known.code("POST", "/feedback") == 200
    assert tv.airplay.peers[0].verified == "hap"


def test_wrong_pin(client, tv):
    with pytest.raises(PairingError, match="wrong PIN"):
        client.pair("9999")
    assert tv.wait_for(lambda: tv.pin is None)
    with Controller(tv.airplay) as other, pytest.raises(PairingBackOff):
        other.pair(PIN)


def test_forgotten_client(client, tv):
    credentials = tv.credentials["airplay"]
    tv.forget_clients()
    with pytest.raises(CredentialsError, match="any more"):
        client.verify(credentials)
    assert client.code("POST", "/feedback") == 470


def test_m4_error(client, tv):
    tv.fail("verify M3", status=200, body=tlv8.encode([(6, b"\4"), (7, b"\2")]))
    with pytest.raises(CredentialsError, match="any more"):
        client.verify(tv.credentials["airplay"])


def test_pairing_forbidden(client, tv):
    tv.accessory.refuse = 6
    assert client.code("POST", "/pair-pin-start") == 400


@pytest.mark.parametrize("kind", [None, "0", "2", "6"])
def test_kinds_of_pairing(client, kind):
    headers = [("X-Apple-HKP", kind)] if kind else []
    assert client.code("POST", "/pair-setup", b"\0\1\0\6\1\1", headers) == 470
    if kind:
        assert client.code("POST", "/pair-verify", b"\6\1\1", headers) == 470


def test_no_transient_on_apple_tv(client):
    with pytest.raises(Refused, match="470"):
        client.transient()


@pytest.mark.parametrize("profile", ["homepod"])
def test_transient(client, tv):
    assert client.code("POST", "/pair-pin-start") == 200
    client.transient()
    assert client.code("POST", "/feedback") == 200
    assert (tv.pins, tv.accessory.clients) == ([], {})
    with Controller(tv.airplay) as other:
        headers = [("X-Apple-HKP", "4")]  # which is enough, without the flag
        assert other.ask("POST", "/pair-setup", b"\0\1\0\6\1\1", headers).body[:3] == b"\6\1\2"
    with Controller(tv.airplay) as other, pytest.raises(Refused, match="470"):
        other.pair("3939")
    with Controller(tv.airplay) as other:
        assert other.code("POST", "/play", {"Content-Location": "x"}) == 470
        assert other.code("POST", "/pair-setup-pin", {"method": "pin", "user": "1"}) == 404


@pytest.mark.parametrize("profile", ["airplay1", "tvos15"])
def test_legacy(client, tv):
    credentials = client.pair_legacy(lambda: tv.pin)
    assert (tv.pins, tv.pin) == ([PIN], None)
    with Controller(tv.airplay) as other:
        other.verify_legacy(credentials)
        assert other.code("POST", "/stop") == 200
        assert tv.airplay.peers[-1].verified == "legacy"
        if tv.profile == "tvos15":  # there are no keys for it
            assert other.rtsp("SETUP", REMOTE).code == 470
    tv.forget_clients()
    with Controller(tv.airplay) as other, pytest.raises(Refused, match="403"):
        other.verify_legacy(credentials)


@pytest.mark.parametrize("profile", ["airplay1"])
def test_legacy_refusals(client):
    with pytest.raises(Refused, match="470"):
        client.pair_legacy("9999")
    assert client.code("POST", "/pair-setup-pin", b"nonsense") == 400
    assert client.code("POST", "/pair-verify", b"nonsense") == 400


@pytest.mark.parametrize("profile", ["airplay1"])
def test_legacy_credentials_from_the_start(profile):
    given = Credentials(seed=bytes(range(32)), client_id=b"12345678")
    with VirtualAppleTV(profile=profile, credentials=(str(given),)) as tv:
        assert tv.credentials == {"airplay": str(given)}
        with Controller(tv.airplay) as client:
            client.verify_legacy(given)


@pytest.mark.parametrize("profile", ["airplay1"])
def test_verification_mandatory(client, tv):
    tv.airplay.must_verify = True  # as from tvOS 10.2 on
    assert client.code("POST", "/stop") == 403


@pytest.mark.parametrize("profile", ["tvos27"])
def test_client_name(client, tv):
    assert client.code("POST", "/pair-pin-start") == 200
    with pytest.raises(PairingError, match="wrong PIN"):
        client.pair(lambda: tv.pin or "0000")
    assert tv.pins == []
    tv.accessory.locked_until = 0
    with Controller(tv.airplay) as other:
        other.pair(lambda: tv.pin, headers=[("X-Apple-Client-Name", "test")])
    assert (tv.pins, tv.airplay.names) == ([PIN], ["test"])


@pytest.mark.parametrize("path", ["/feedback", "/play", "/command", "/nowhere"])
def test_nothing_before_verification(client, path):
    assert client.code("POST", path) == 470
    assert client.rtsp("SETUP", REMOTE).code == 470
    assert client.rtsp("RECORD").code == 470


def test_password(client, tv):
    tv.airplay.password = "secret"
    known_to(tv, client)
    response = client.rtsp("SETUP", REMOTE)
    assert response.code == 401
    realm, nonce = digest.parse_challenge(response.header("WWW-Authenticate"))

    def proof(method, path, password="secret"):
        text = digest.authorization("who", password, realm, nonce, method, path)
        return [("Authorization", text)]

    assert client.code("POST", "/feedback", headers=proof("POST", "/feedback", "wrong")) == 401
    assert client.code("POST", "/feedback", headers=proof("POST", "/stop")) == 401
    assert client.code("POST", "/feedback", headers=proof("POST", "/feedback")) == 200
    assert client.code("GET", "/info") == 200


# -- the protocol ----------------------------------------------------------------------------------


def test_rtsp_needs_a_number(known):
    assert known.code("POST", "/feedback", headers=[], protocol="HTTP/1.1") == 200
    known.cseq = 7
    assert known.ask("POST", "/feedback", protocol="RTSP/1.0").protocol == "RTSP/1.0"
    known.send(Request("POST", "/feedback", protocol="RTSP/1.0"))
    assert known.read().code == 400


def test_unknown(known):
    assert known.code("GET", "/nowhere") == 404
    assert known.code("GET", "/play") == 404
    assert known.code("DANCE", "/info") == 501
    assert known.rtsp("ANNOUNCE").code == 501


def test_two_requests_in_one_segment(known):
    wire = known.wire
    data = wire.encode(Request("POST", "/feedback")) + wire.encode(Request("POST", "/nowhere"))
    known.sock.sendall(data)
    assert [known.read().code, known.read().code] == [200, 404]


def test_bodies_of_strangers_are_small(client):
    client.send(Request("POST", "/info", body=bytes(65537)))
    assert client.is_closed()


def test_request_in_pieces(known):
    body = os.urandom(3000)
    for byte in known.wire.encode(Request("POST", "/nowhere", body=body)):
        known.sock.sendall(bytes([byte]))
    assert known.read().code == 404


def test_broken_seal_ends_the_connection(known):
    known.sock.sendall(b"\x04\x00" + bytes(20))
    assert known.is_closed()


def test_peculiar_heads(known, tv):
    tv.airplay.quirks.http_errors = tv.airplay.quirks.cseq_zero = True
    known.post("RECORD", "*", protocol="RTSP/1.0")
    response = known.read()
    assert (response.code, response.protocol) == (455, "HTTP/1.1")
    assert known.ask("POST", "/feedback").header("CSeq") == "0"


# -- sessions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [*TUNNELS, "homepod"])
def test_tunnel(known, tv):
    known.begin()
    assert known.info["value"]["name"] == "Living Room"
    assert known.info["value"]["deviceID"] == tv.mac
    assert tv.wait_for(lambda: len(tv.airplay.answered) == 1)
    remote = known.tunnel().ready()
    if tv.profile != "homepod":
        remote.tap("up")
        remote.news()
        assert tv.log == ["up"]
    assert remote.command(2) == (0, 0)
    assert tv.state.device_state is DeviceState.Paused
    assert any(message.kind == proto.SET_STATE for message in remote.news())
    assert known.content("POST", "/feedback", protocol="RTSP/1.0") == {"streams": []}
    assert tv.requests[:2] == ["DEVICE_INFO", "CLIENT_UPDATES_CONFIG"]
    assert ("SETUP", tv.airplay.requests[-1][1]) not in tv.airplay.requests[-1:]
    assert tv.airplay.complaints == []


def test_tunnel_tells_what_happens(known, tv):
    remote = known.begin().tunnel().ready()
    with tv.state.change():
        tv.state.volume = 20.0
    tv.state.next()
    messages = remote.news()
    volumes = [m.body.volume for m in messages if m.kind == proto.VOLUME_DID_CHANGE]
    assert volumes == [pytest.approx(0.2)]
    titles = [
        m.body.playbackQueue.contentItems[0].metadata.title
        for m in messages if m.kind == proto.SET_STATE and m.body.playbackQueue.contentItems
    ]  # fmt: skip
    assert titles == ["Three Hops"]


@pytest.mark.parametrize("profile", ["homepod"])
def test_homepod_volume_is_absolute(known, tv):
    remote = known.begin().tunnel()
    remote.hello()
    told = {m.kind: m.body for m in remote.listen()}
    availability = told[proto.VOLUME_CONTROL_AVAILABILITY]
    assert (availability.volumeControlAvailable, availability.volumeCapabilities) == (True, 2)
    remote.ask(proto.SET_VOLUME, volume=0.25, outputDeviceUID=tv.identifier)
    assert tv.state.volume == 25
    remote.tap("volume_up")
    remote.news()
    assert tv.state.volume == 25
    assert known.code("POST", "/play", playing("http://127.0.0.1/")) == 404


@pytest.mark.parametrize("seed", [0, 5, (1 << 63) - 1, 15014746994705656022, -3431997079003895594])
def test_seeds(known, seed):
    known.begin().tunnel(seed).hello()


def test_order(known):
    assert known.rtsp("RECORD").code == 455
    assert known.stream().code == 455
    assert known.rtsp("TEARDOWN").code == 455
    assert known.rtsp("FLUSH").code == 455
    response = known.rtsp("SETUP", REMOTE)
    assert response.code == 200
    assert known.stream().code == 455
    assert known.rtsp("SETUP", REMOTE).code == 455
    known.events = known.connect_events(plistlib.loads(response.body)["eventPort"])
    assert known.rtsp("RECORD").code == 200
    assert known.stream().code == 200


def test_record_before_events(known, tv):
    tv.airplay.quirks.event_patience = 0.05
    assert known.rtsp("SETUP", REMOTE).code == 200
    assert known.rtsp("RECORD").code == 455


@pytest.mark.parametrize(
    "change",
    [
        {"sessionUUID": None}, {"sessionUUID": 5}, {"timingProtocol": None},
        {"timingProtocol": "SUNDIAL"}, {"isRemoteControlOnly": None},
    ],
)  # fmt: skip
def test_setup_needs(known, change):
    body = {k: v for k, v in {**REMOTE, **change}.items() if v is not None}
    assert known.rtsp("SETUP", body).code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"type": 96}, {"seed": None}, {"seed": "1"}, {"wantsDedicatedSocket": None},
        {"controlType": 3}, {"clientTypeUUID": PLAY_QUEUE}, {"controlType": 1},
    ],
)  # fmt: skip
def test_stream_needs(known, change):
    known.begin()
    assert known.stream(**change).code == 400


def test_teardown(known, tv):
    remote = known.begin().tunnel().ready()
    assert known.rtsp("TEARDOWN").code == 200
    assert remote.is_closed()
    assert known.events.is_closed()
    assert known.code("POST", "/feedback") == 200
    assert (tv.airplay.sessions, tv.mrp.peers) == ([], [])
    known.begin().tunnel().hello()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_connection_ends_all(known, tv, which):
    known.begin().tunnel().ready()
    known.channels[which].sock.close()
    for channel in known.channels:
        if channel is not known.channels[which]:
            assert channel.is_closed()
    assert tv.wait_for(lambda: not tv.airplay.peers and not tv.mrp.peers)


@pytest.mark.parametrize("steps", range(5))
def test_reboot(tv, steps):
    with Controller(tv.airplay) as client:
        if steps > 0:
            known_to(tv, client)
        if steps == 2:
            assert client.rtsp("SETUP", REMOTE).code == 200
        if steps > 2:
            client.begin()
        if steps > 3:
            client.tunnel().ready()
        assert tv.wait_for(lambda: tv.airplay.peers)
        tv.airplay.drop_peers()
        for channel in client.channels:
            assert channel.is_closed()
    assert tv.wait_for(lambda: not tv.airplay.sessions)


def test_two_clients(tv):
    with Controller(tv.airplay) as one, Controller(tv.airplay) as two:
        first = known_to(tv, one).begin().tunnel().ready()
        second = known_to(tv, two).begin().tunnel().ready()
        assert first.command(2) == (0, 0)
        assert any(message.kind == proto.SET_STATE for message in second.news())
        one.sock.close()
        assert second.command(1) == (0, 0)


def test_move(tv):
    with Controller(tv.airplay) as client:
        known_to(tv, client).begin().tunnel().ready()
        before = tv.ports["airplay"]
        tv.airplay.player.duration = 7
        tv.move()
        assert client.is_closed()
    assert tv.ports["airplay"] != before
    assert tv.airplay.player.duration == 7
    with Controller(tv.airplay) as client:
        known_to(tv, client).begin().tunnel().ready()


def test_device_without_tunnels(known, tv):
    tv.airplay.tunnel = False
    assert known.begin().stream().code == 400


def test_golden_answers(known):
    # Origin: section 18.4 of the protocol's description, where they are captures of a device.
    feedback = (
        "62706c6973743030d101025773747265616d73a0080b1300000000000001010000000000000003000000000000"
        "00000000000000000014"
    )
    assert known.ask("POST", "/feedback").body.hex() == feedback
    error = (
        "62706c6973743030d10102596572726f72436f64651000080b1500000000000001010000000000000003000000"
        "00000000000000000000000017"
    )
    assert known.ask("PUT", "/setProperty?a", {"value": True}).body.hex() == error
    assert len(known.rtsp("SETUP", REMOTE).body) == 59


def golden(group):
    """The bodies of requests, as other senders write them."""
    return {case["name"]: bytes.fromhex(case["plist_hex"]) for case in cases("airplay", group)
            if "plist_hex" in case}  # fmt: skip


def test_golden_tunnel(known):
    bodies = golden("tunnel_setup")
    response = known.rtsp("SETUP", bodies["setup1_body"])
    assert response.code == 200
    known.connect_events(plistlib.loads(response.body)["eventPort"])
    assert known.rtsp("RECORD").code == 200
    response = known.rtsp("SETUP", bodies["setup2_body"])
    [stream] = plistlib.loads(response.body)["streams"]
    assert (stream["type"], stream["streamID"]) == (130, 1)
    assert 0 < stream["dataPort"] < 65536


@pytest.mark.parametrize("profile", ["airplay1"])
def test_golden_play(client, tv):
    assert client.code("POST", "/play", golden("property_lists")["play_v1"]) == 200
    assert tv.airplay.player.urls == ["http://10.0.0.5:8080/a.mp4"]


@pytest.mark.parametrize("profile", ["tvos26"])
def test_golden_command(queue, tv):
    queue.queue()
    headers = [("X-Apple-Session-ID", SESSION), ("X-Apple-StreamID", str(queue.stream_id))]
    body = golden("property_lists")["command_outer"]
    assert queue.code("POST", "/command", body, headers) == 200
    assert tv.airplay.commands == [{"type": "setRate", "rate": 1.0}]


# -- events ----------------------------------------------------------------------------------------


def test_event_port_opens_late(known, tv):
    tv.airplay.quirks.event_delay = 0.3
    port = plistlib.loads(known.rtsp("SETUP", REMOTE).body)["eventPort"]
    with pytest.raises(ConnectionRefusedError):
        known.connect_events(port)
    done = threading.Event()
    while not done.wait(0.05):
        try:
            known.events = known.connect_events(port)
            break
        except ConnectionRefusedError:
            pass
    assert known.rtsp("RECORD").code == 200
    assert known.events.next()["type"] == "updateInfo"


def begin_without_answer(client):
    response = client.rtsp("SETUP", REMOTE)
    events = client.connect_events(plistlib.loads(response.body)["eventPort"])
    assert client.rtsp("RECORD").code == 200
    return events


def test_event_must_be_answered(known, tv):
    tv.airplay.quirks.event_deadline = 0.1
    events = begin_without_answer(known)
    assert events.command()[1] == "0"
    assert known.is_closed()
    assert events.is_closed()
    assert tv.airplay.complaints == ["updateInfo: not answered in time"]


@pytest.mark.parametrize(("cseq", "code"), [("1", 200), ("0", 404)])
def test_event_answered_wrong(known, tv, cseq, code):
    events = begin_without_answer(known)
    events.command()
    events.answer(cseq, code)
    assert known.is_closed()
    assert tv.wait_for(lambda: len(tv.airplay.complaints) == 1)


def test_no_events(known, tv):
    tv.airplay.quirks.no_events = True
    known.begin().tunnel().ready()
    assert not select.select([known.events.sock], [], [], 0.05)[0]


# -- data streams ----------------------------------------------------------------------------------


def test_every_frame_is_replied_to(known):
    remote = known.begin().tunnel()
    # Origin: 14.1 of the protocol's description: a bare header is a ping.
    frame = struct.pack(">I4s8x4sQ4x", 32, b"sync", b"comm", 5)
    remote.sock.sendall(remote.wire._seal(frame))
    raw = b""
    while len(raw) < 2 + 74 + 16:
        raw += remote.sock.recv(65536)
    remote.wire.feed(raw)
    sealed = remote.wire._next_block(remote.wire._cipher)
    assert sealed[:32] == struct.pack(">I4s8x4xQ4x", 74, b"rply", 5)
    assert plistlib.loads(sealed[32:]) == {}


@pytest.mark.parametrize("switch", ["split", "one_byte_writes", "batch", "unprefixed"])
def test_stream_quirks(known, tv, switch):
    setattr(tv.airplay.quirks, switch, True)
    remote = known.begin().tunnel(bytewise=switch == "one_byte_writes").ready()
    assert remote.command(2) == (0, 0)
    messages = remote.news()
    assert any(message.kind == proto.SET_STATE for message in messages)
    stream = tv.airplay.sessions[0].tunnels[0].stream
    assert tv.wait_for(lambda: not stream.unanswered)
    assert stream.replied


def test_unprefixed_message(known, tv):
    tv.airplay.quirks.unprefixed = True
    assert known.begin().tunnel().read().kind == proto.CONFIGURE_CONNECTION


def test_batch(known, tv):
    tv.airplay.quirks.batch = True
    remote = known.begin().tunnel()
    remote.hello()
    messages = remote.listen()
    stream = tv.airplay.sessions[0].tunnels[0].stream
    assert len(messages) > 10
    assert tv.wait_for(lambda: not stream.unanswered)
    assert stream.replied < 5


@pytest.mark.parametrize(("profile", "last"), [
    ("tvos14", 108), ("tvos15", 111), ("tvos18", 137), ("tvos26", 137), ("homepod", 121),
])  # fmt: skip
def test_last_message_that_it_knows(known, last):
    """Origin: DEVICE_INFO of real devices."""
    assert known.begin().tunnel().hello().lastSupportedMessageType == last


def test_pings(known, tv):
    tv.airplay.quirks.ping_after = 0.02
    remote = known.begin().tunnel().ready()
    stream = tv.airplay.sessions[0].tunnels[0].stream
    for _ in range(3):
        replied = stream.replied
        assert select.select([remote.sock], [], [], WAIT)[0]
        remote.news()
        assert tv.wait_for(lambda before=replied: stream.replied > before)
    assert tv.airplay.complaints == []


def test_large_artwork(known, tv):
    tv.state.update(artwork=bytes(8) + os.urandom(300000))
    remote = known.begin().tunnel().ready()
    answer = remote.ask(
        proto.PLAYBACK_QUEUE_REQUEST, location=0, length=1, artworkWidth=600, artworkHeight=-1,
        returnContentItemAssetsInUserCompletion=True,
    )  # fmt: skip
    assert len(answer.body.playbackQueue.contentItems[0].artworkData) == 300008


def test_faults_of_messages(known, tv):
    remote = known.begin().tunnel().ready()
    tv.fail("pause", status=2)
    assert remote.command(2) == (2, 0)
    tv.fail("pause", drop=True)
    with pytest.raises(EOFError):
        remote.command(2)


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["SETUP", "SETUP 1", "RECORD", "SETUP 2", "/feedback"])
def test_faults(known, tv, word):
    tv.fail(word, status=470)
    codes = []
    response = known.rtsp("SETUP", REMOTE)
    codes.append(response.code)
    if response.code != 200:
        response = known.rtsp("SETUP", REMOTE)
    known.connect_events(plistlib.loads(response.body)["eventPort"])
    for _ in range(2):
        codes.append(known.rtsp("RECORD").code)
    codes.append(known.stream().code)
    codes.append(known.code("POST", "/feedback"))
    assert sorted(codes) == [200, 200, 200, 200, 470]


def test_fault_of_the_nth(known, tv):
    tv.fail("/feedback", after=2, status=500)
    assert [known.code("POST", "/feedback") for _ in range(4)] == [200, 200, 500, 200]


def test_silence_delay_and_drop(known, tv):
    tv.fail("/feedback", silent=True)
    known.post("POST", "/feedback")
    assert known.code("GET", "/nowhere") == 404
    tv.fail("/feedback", delay=0.05)
    assert known.code("POST", "/feedback") == 200
    tv.fail("/feedback", drop=True)
    known.post("POST", "/feedback")
    assert known.is_closed()


# -- playing, AirPlay 1 ----------------------------------------------------------------------------


@pytest.fixture
def media():
    """A server with something to play."""
    playlist = b"#EXTM3U\n#EXTINF:4,\none.ts\n#EXTINF:4,\nsub/two.ts\n"
    master = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlist.m3u8\n"
    files = {
        "/a%20film.mp4": os.urandom(150000), "/tiny.mp4": b"x", "/list.m3u8": playlist,
        "/master.m3u8": master, "/one.ts": b"1" * 188, "/sub/two.ts": b"2" * 188,
        "/wrong.m3u8": b"<html>", "/astray.m3u8": b"#EXTM3U\nhttp://192.0.2.1/one.ts\n",
    }  # fmt: skip
    with Server(files) as server:
        yield server


def started(tv, client=None):
    return tv.wait_for(lambda: "duration" in tv.airplay.player.info())


@pytest.mark.parametrize("profile", ["airplay1", "atv3"])
@pytest.mark.parametrize("form", ["list", "text"])
def test_play_old(client, tv, media, form):
    url = f"{media.url}/a%20film.mp4"
    tv.airplay.player.duration = 100
    body = {"Content-Location": url, "Start-Position": 0.25, "X-Apple-Session-ID": "1-2"}
    text = f"Content-Location: {url}\nStart-Position: 0.25\n".encode()
    assert client.content("GET", "/playback-info")["readyToPlay"] is False
    assert client.code("POST", "/play", body if form == "list" else text) == 200
    assert started(tv)
    assert tv.wait_for(lambda: tv.airplay.player.body == media.files["/a%20film.mp4"])
    assert tv.airplay.player.fetched[:3] == [
        ("bytes=0-1", 206), ("bytes=0-65535", 206), ("bytes=65536-131071", 206),
    ]  # fmt: skip
    info = play_info(client)
    assert (info["duration"], info["rate"], info["readyToPlay"]) == (100, 1.0, True)
    assert 25 <= info["position"] < 30
    assert tv.state.app.identifier == APP.identifier == "com.apple.TVAirPlay"
    assert tv.state.item.title == "a film.mp4"
    assert tv.log == [f"play_url {url}"]
    assert client.code("POST", "/rate?value=0.000000") == 200
    assert play_info(client)["rate"] == 0.0
    assert client.code("POST", "/scrub?position=50.5") == 200
    assert client.ask("GET", "/scrub").body == b"duration: 100.000000\nposition: 50.500000\n"
    assert client.code("POST", "/stop") == 200
    assert "duration" not in play_info(client)
    assert tv.state.app.identifier == MUSIC
    assert tv.log[1:] == ["pause", "set_position 50.5"]


@pytest.mark.parametrize("profile", ["airplay1"])
def test_play_ends_by_itself(client, tv, media):
    tv.airplay.player.duration = 0.3
    client.code("POST", "/play", {"Content-Location": f"{media.url}/tiny.mp4"})
    assert started(tv)
    assert tv.wait_for(lambda: "duration" not in tv.airplay.player.info())
    assert tv.state.app.identifier == MUSIC
    assert play_info(client) == {"readyToPlay": False, "uuid": ""}


@pytest.mark.parametrize("profile", ["airplay1"])
def test_closing_stops(client, tv, media):
    client.code("POST", "/play", {"Content-Location": f"{media.url}/tiny.mp4"})
    assert started(tv)
    client.sock.close()
    assert tv.wait_for(lambda: tv.airplay.player.load_now is None)


@pytest.mark.parametrize("profile", ["airplay1"])
@pytest.mark.parametrize("path", ["/missing.mp4", "/wrong.m3u8", "/astray.m3u8", None])
def test_play_what_cannot_be_fetched(client, tv, media, path):
    url = f"{media.url}{path}" if path else "http://127.0.0.1:9/a.mp4"
    assert client.code("POST", "/play", {"Content-Location": url}) == 200
    assert tv.wait_for(lambda: tv.airplay.player.error is not None)
    assert play_info(client)["error"] == {"code": -6707, "domain": "NSOSStatusErrorDomain"}
    assert client.code("POST", "/play", {"Content-Location": f"{media.url}/tiny.mp4"}) == 200
    assert started(tv)


@pytest.mark.parametrize("profile", ["airplay1"])
def test_server_without_ranges(client, tv, media):
    media.ranges = False
    play = {"Content-Location": f"{media.url}/tiny.mp4"}
    assert client.code("POST", "/play", play) == 200
    assert tv.wait_for(lambda: tv.airplay.player.error is not None)
    tv.airplay.player.needs_ranges = False
    assert client.code("POST", "/play", play) == 200
    assert started(tv)
    assert tv.airplay.player.body == b"x"


@pytest.mark.parametrize("profile", ["airplay1"])
@pytest.mark.parametrize("name", ["list", "master"])
def test_play_a_playlist(client, tv, media, name):
    client.code("POST", "/play", {"Content-Location": f"{media.url}/{name}.m3u8"})
    assert tv.wait_for(lambda: tv.airplay.player.body == b"1" * 188 + b"2" * 188)


@pytest.mark.parametrize("profile", ["airplay1"])
@pytest.mark.parametrize("kind", ["application/vnd.apple.mpegurl", "audio/mpegurl"])
def test_a_playlist_is_known_by_its_type(client, tv, media, kind):
    media.files["/stream"] = media.files["/list.m3u8"]
    media.kinds["/stream"] = kind
    client.code("POST", "/play", {"Content-Location": f"{media.url}/stream"})
    assert tv.wait_for(lambda: tv.airplay.player.body == b"1" * 188 + b"2" * 188)


@pytest.mark.parametrize("profile", ["airplay1"])
def test_redirections_are_followed(client, tv, media):
    media.moved = {"/a": f"{media.url}/b", "/b": "/tiny.mp4", "/sub": "/sub/list.m3u8"}
    media.files["/sub/list.m3u8"] = b"#EXTM3U\n#EXTINF:4,\ntwo.ts\n"
    media.kinds["/sub/list.m3u8"] = "audio/mpegurl"
    client.code("POST", "/play", {"Content-Location": f"{media.url}/a"})
    assert tv.wait_for(lambda: tv.airplay.player.body == b"x")
    client.code("POST", "/play", {"Content-Location": f"{media.url}/sub"})
    assert tv.wait_for(lambda: tv.airplay.player.body == b"2" * 188)  # beside where it is


@pytest.mark.parametrize("profile", ["airplay1"])
def test_redirections_that_lead_nowhere(client, tv, media):
    media.moved = {"/a": "/b", "/b": "/a", "/far": "https://tv.example.com/film.mp4"}
    client.code("POST", "/play", {"Content-Location": f"{media.url}/a"})
    assert tv.wait_for(lambda: tv.airplay.player.error is not None)
    client.code("POST", "/play", {"Content-Location": f"{media.url}/far"})
    assert started(tv)  # as whatever is elsewhere
    assert tv.airplay.player.error is None


@pytest.mark.parametrize("profile", ["airplay1"])
@pytest.mark.parametrize("url", ["https://127.0.0.1/a.mp4", "http://192.0.2.1/a.mp4"])
def test_what_is_elsewhere_is_not_fetched(client, tv, url):
    client.code("POST", "/play", {"Content-Location": url})
    assert started(tv)
    assert tv.airplay.player.fetched == []


@pytest.mark.parametrize("profile", ["airplay1"])
def test_bad_requests(client):
    assert client.code("POST", "/play", b"") == 400
    assert client.code("POST", "/play", {"Content-Location": 5}) == 400
    assert client.code("POST", "/rate") == 400
    assert client.code("POST", "/rate?value=nan") == 400
    assert client.code("POST", "/scrub?position=x") == 400
    assert client.code("PUT", "/setProperty?a", {}) == 400


@pytest.mark.parametrize("profile", ["airplay1"])
def test_busy(tv, media):
    play = {"Content-Location": f"{media.url}/tiny.mp4"}
    with Controller(tv.airplay) as one, Controller(tv.airplay) as two:
        assert one.code("POST", "/play", play) == 200
        assert two.code("POST", "/play", play) == 453
        assert one.code("POST", "/play", play) == 200
        one.code("POST", "/stop")
        assert two.code("POST", "/play", play) == 200


@pytest.mark.parametrize("profile", ["airplay1"])
def test_play_faults(client, tv, media):
    play = {"Content-Location": f"{media.url}/tiny.mp4"}
    tv.fail("/play", times=2, status=500)
    assert [client.code("POST", "/play", play) for _ in range(3)] == [500, 500, 200]
    tv.fail("/playback-info", status=200)
    response = client.ask("GET", "/playback-info")
    assert (response.code, response.body) == (200, b"")
    tv.fail("/playback-info", status=403)
    assert client.code("GET", "/playback-info") == 403
    tv.airplay.player.error = -1
    assert play_info(client)["error"]["code"] == -1


@pytest.mark.parametrize("profile", ["airplay1"])
def test_reversed_connection(client, tv, media):
    with Controller(tv.airplay) as events:
        headers = [
            ("Upgrade", "PTTH/1.0"), ("Connection", "Upgrade"), ("X-Apple-Purpose", "event"),
            ("X-Apple-Session-ID", "1-2"),
        ]  # fmt: skip
        assert events.code("POST", "/reverse") == 400
        assert events.code("POST", "/reverse", headers=headers) == 101
        body = {"Content-Location": f"{media.url}/tiny.mp4", "X-Apple-Session-ID": "1-2"}
        client.code("POST", "/play", body)
        seen = []
        while seen[-1:] != ["playing"]:
            request = events.read()
            assert (request.method, request.path) == ("POST", "/event")
            seen.append(plistlib.loads(request.body)["state"])
        assert seen[0] == "loading"
        client.code("POST", "/stop")
        assert plistlib.loads(events.read().body)["state"] == "stopped"


class Pause:
    """Something that lasts until :meth:`go`, once it is armed, for the first who comes by."""

    def __init__(self):
        self._armed = False
        self._came, self._go = threading.Event(), threading.Event()

    def __call__(self):
        if self._armed:
            self._armed = False
            self._came.set()
            self._go.wait(WAIT)

    def during(self, call):
        """Let `call` run into it on a thread of its own, which is returned."""
        self._armed = True
        thread = threading.Thread(target=call)
        thread.start()
        assert self._came.wait(WAIT)
        return thread

    def go(self, thread):
        self._go.set()
        thread.join(WAIT)
        assert not thread.is_alive()


def states(told):
    return [name for kind, name in told if kind == "state"]


@pytest.fixture(params=["before the watchers", "while telling"])
def paused_player(request):
    """A player whose first change is told late, the pause in it, and what is told."""
    state, pause, told = State("Living Room", "0011223344556677"), Pause(), []

    def tell(load, kind, name):
        if request.param == "while telling":
            pause()
        told.append((kind, name))
        state.notify()

    if request.param == "before the watchers":
        state.watch(pause)
    player = UrlPlayer(state, "virtual-test", tell)
    player.load(None, "http://192.0.2.1/film.mp4")  # elsewhere, so it is not fetched
    assert state.wait_for(lambda _: ("notification", "currentItemChanged") in told, WAIT)
    yield state, player, pause, told
    player.close()


def test_each_state_is_told_in_order(paused_player):
    """Others change it again before the first change is told; none of them has to wait for that."""
    _, player, pause, told = paused_player
    before = len(told)
    first = pause.during(lambda: player.rate(1.0))
    player.rate(0.0)
    player.rate(1.0)
    pause.go(first)
    assert told[:before] == [
        ("state", "loading"), ("state", "paused"), ("notification", "currentItemChanged"),
    ]  # fmt: skip
    changed = ("notification", "rateChanged")
    assert told[before:] == [
        ("state", "playing"), changed, ("state", "paused"), changed, ("state", "playing"), changed,
    ]  # fmt: skip


def test_the_end_is_told_before_the_next_begin(paused_player):
    state, player, pause, told = paused_player
    player.rate(1.0)
    first = pause.during(player.stop)
    player.load(None, "http://192.0.2.1/next.mp4", rate=1.0)
    pause.go(first)
    assert state.wait_for(lambda _: states(told).count("playing") == 2, WAIT)
    assert player.load_now.player is state.player
    assert state.players.count(state.player) == 1
    assert [one.app for one in state.players].count(APP) == 1
    assert states(told) == ["loading", "paused", "playing", "stopped", "loading", "playing"]


def test_loaded_by_several_at_once(share):
    """One of them plays in the end; the others are told that theirs was stopped."""
    told = []
    state = State("Living Room", "0011223344556677")
    before = len(state.players)
    player = UrlPlayer(state, "virtual-test", lambda load, kind, name: told.append((load, name)))
    try:
        for _ in range(share(400)):
            loads = [
                threading.Thread(target=player.load, args=(None, f"http://192.0.2.1/{n}.mp4"))
                for n in range(4)
            ]
            for thread in loads:
                thread.start()
            for thread in loads:
                thread.join(WAIT)
            assert state.player is player.load_now.player
            assert len(state.players) == before + 1
        player.stop()
        assert len(state.players) == before
    finally:
        player.close()
    stopped = [load for load, name in told if name == "stopped"]
    assert len(stopped) == len(set(stopped)) == share(400) * 4


# -- playing, AirPlay 2 ----------------------------------------------------------------------------


def ntp(clock):
    base = {**PTP, "timingProtocol": "NTP", "timingPort": clock.port}
    del base["timingPeerInfo"]
    return base


@pytest.mark.parametrize("profile", ["tvos14", "tvos15"])
def test_play_in_a_session(known, tv, media):
    with Clock() as clock:
        known.begin(ntp(clock))
        assert clock.asked[0][:2] == b"\x80\xd2"
        assert clock.asked[0][4:24] == bytes(20)
        url = f"{media.url}/tiny.mp4"
        assert known.code("POST", "/play", playing(url, 12)) == 200
        assert started(tv)
        assert play_info(known)["rate"] == 0.0  # until it is told otherwise
        for name, value in (("isInterestedInDateRange", True), ("actionAtItemEnd", 0)):
            path = f"/setProperty?{name}"
            response = known.ask("PUT", path, {"value": value}, protocol="RTSP/1.0")
            assert plistlib.loads(response.body) == {"errorCode": 0}
        assert tv.airplay.properties == {"isInterestedInDateRange": True, "actionAtItemEnd": 0}
        assert known.rtsp("POST", path="/rate?value=1.000000").code == 200
        info = play_info(known)
        assert info["rate"] == 1.0
        assert 12 <= info["position"] < 15
        errors = known.content("POST", "/getProperty?playbackErrorLog", protocol="RTSP/1.0")
        assert errors["errorCode"] == 0
        flags = next(r for r in tv.records() if r.kind == "_airplay._tcp.local.").txt["flags"]
        assert flags == "0x20244"


def test_play_shows_through_the_tunnel(known, tv, media):
    remote = known.begin().tunnel().ready()
    with Clock() as clock, Controller(tv.airplay) as player:
        known_to(tv, player).begin(ntp(clock))
        player.code("POST", "/play", playing(f"{media.url}/tiny.mp4"))
        player.code("POST", "/rate?value=1")
        assert started(tv)
        assert tv.wait_for(lambda: tv.state.device_state is DeviceState.Playing)
        clients = [
            m.body.client.bundleIdentifier
            for m in remote.news() if m.kind == proto.SET_NOW_PLAYING_CLIENT
        ]  # fmt: skip
        assert clients == [APP.identifier]
        assert remote.command(2) == (0, 0)
        assert play_info(player)["rate"] == 0.0
        assert remote.command(4) == (0, 0)
        assert "duration" not in play_info(player)


def test_play_without_a_session_does_nothing(known, tv, media):
    assert known.code("POST", "/play", playing(f"{media.url}/tiny.mp4")) == 200
    known.begin()
    assert known.code("POST", "/play", playing(f"{media.url}/tiny.mp4")) == 200
    assert tv.airplay.player.urls == []


def test_nobody_tells_the_time(known, tv):
    tv.airplay.quirks.timing_deadline = 0.1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        base = {**PTP, "timingProtocol": "NTP", "timingPort": sock.getsockname()[1]}
        assert known.rtsp("SETUP", base).code == 400
        assert len(sock.recv(100)) == 32
    with Clock(offset=3600) as clock:
        assert known.rtsp("SETUP", ntp(clock)).code == 400
    assert known.rtsp("SETUP", {**base, "timingPort": 0}).code == 400


def test_reboot_while_it_asks_for_the_time(known, tv):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        base = {**PTP, "timingProtocol": "NTP", "timingPort": sock.getsockname()[1]}
        known.post("SETUP", "*", base, protocol="RTSP/1.0")
        assert len(sock.recv(100)) == 32
        tv.airplay.drop_peers()
        assert known.is_closed()


@pytest.mark.parametrize("profile", ["tvos15", "tvos26"])
def test_timing_is_chosen_on_one_connection(known, tv):
    with Clock() as clock:
        bases = [PTP, ntp(clock)]
        if tv.profile == "tvos26":
            bases.reverse()
        assert known.rtsp("SETUP", bases[0]).code == 400
        assert known.rtsp("SETUP", bases[1]).code == 200


def test_busy_session(tv, media):
    with Clock() as clock, Controller(tv.airplay) as one, Controller(tv.airplay) as two:
        known_to(tv, one).begin(ntp(clock))
        one.code("POST", "/play", playing(f"{media.url}/tiny.mp4"))
        known_to(tv, two)
        assert two.rtsp("SETUP", ntp(clock)).code == 453
        two.begin().tunnel().ready()  # which leaves alone what plays
    tv.airplay.busy = True
    with Controller(tv.airplay) as three, Clock() as clock:
        assert known_to(tv, three).rtsp("SETUP", ntp(clock)).code == 453


def test_volume(known, tv):
    headers = [("Content-Type", "text/parameters")]
    volume = ("SET_PARAMETER", "*", b"volume: -22.5\r\n", headers)
    assert known.code(*volume, protocol="RTSP/1.0") == 455
    with Clock() as clock:
        known.begin(ntp(clock))
    assert known.code(*volume, protocol="RTSP/1.0") == 200
    assert tv.state.volume == 25
    response = known.ask("GET_PARAMETER", "*", b"volume\r\n", headers, protocol="RTSP/1.0")
    assert response.body == b"volume: -22.500000\r\n"
    known.code("SET_PARAMETER", "*", b"volume: -144.0", headers, protocol="RTSP/1.0")
    assert tv.state.volume == 0
    for case in cases("airplay", "volume"):
        expect = case["expect"]
        if "percent" in case:
            tv.state.set_volume(case["percent"])
            response = known.ask(
                "GET_PARAMETER", "*", b"volume", headers, protocol="RTSP/1.0"
            )  # fmt: skip
            name, _, level = response.body.decode().partition(": ")
            assert (name, float(level)) == ("volume", pytest.approx(expect["db"]))
        else:
            body = f"volume: {case['db']}".encode()
            known.code("SET_PARAMETER", "*", body, headers, protocol="RTSP/1.0")
            assert tv.state.volume == pytest.approx(expect["percent"], abs=0.01)


# -- the play queue --------------------------------------------------------------------------------


@pytest.fixture
def queue(known, tv):
    """A client with a session that may play."""
    if tv.profile == "tvos18":
        with Clock() as clock:
            return known.begin(ntp(clock))
    return known.begin(PTP)


@pytest.mark.parametrize("profile", ["tvos18", "tvos26", "tvos27"])
@pytest.mark.parametrize("named", [False, True])
def test_queue(queue, tv, media, named):
    tv.airplay.quirks.named_state = named
    tv.airplay.player.duration = 20
    queue.stream_id = 1
    assert queue.command("setRate", rate=1.0) == 500
    assert queue.code("POST", "/play", playing(f"{media.url}/tiny.mp4")) == 200
    assert queue.code("GET", "/playback-info") == 500
    assert tv.airplay.player.urls == []
    queue.queue()
    item = {"uuid": SESSION, "mediaType": "file", "Content-Location": f"{media.url}/tiny.mp4"}
    start = {"value": 9, "timescale": 2, "epoch": 0, "flags": 1}
    assert queue.command("insertPlayQueueItem", item={**item, "Start-Position": start}) == 200
    assert queue.command("setProperty", property="actionAtItemEnd", value=1) == 200
    assert queue.command("setRate", rate=1.0) == 200

    def until(wanted):
        seen = []
        while seen[-1:] != [wanted]:
            event = queue.events.next()
            seen.append(event.get("name") or event["params"]["playbackState"])
        return seen

    assert until("playing")[0] == "loading"
    assert 4.5 <= tv.state.position < 9
    assert tv.airplay.properties == {"actionAtItemEnd": 1}
    time = {"value": 19900, "timescale": 1000, "epoch": 0, "flags": 1}
    what = {"kind": "request", "item": {"uuid": SESSION}, "time": time}
    text = {"kMRMediaRemoteNowPlayingInfoTitle": "Film"}
    params = {"type": "npi-text", "mergePolicy": "replace", "params": text}
    assert queue.command("updateMRNowPlayingInfo", params=params) == 200
    assert tv.state.item.title == "Film"
    assert queue.command("seek", **what) == 200
    assert until("stopped")[-2:] == ["itemPlayedToEnd", "stopped"]
    assert [command["type"] for command in tv.airplay.commands] == [
        "insertPlayQueueItem", "setProperty", "setRate", "updateMRNowPlayingInfo", "seek",
    ]  # fmt: skip
    assert tv.airplay.complaints == []


@pytest.mark.parametrize("profile", ["tvos26"])
def test_queue_is_strict(queue, tv, media):
    queue.queue()
    assert queue.command("dance") == 400
    assert queue.command("insertPlayQueueItem", item={"uuid": SESSION}) == 400
    flat = {"type": "setRate", "rate": 1.0}
    headers = [("X-Apple-Session-ID", SESSION), ("X-Apple-StreamID", str(queue.stream_id))]
    assert queue.code("POST", "/command", flat, headers) == 400
    body = {"params": {"data": bplist(flat)}}
    assert queue.code("POST", "/command", body, headers) == 200
    assert queue.code("POST", "/command", body, headers[:1]) == 400
    assert queue.code("POST", "/command", body, headers[1:]) == 400
    item = {"uuid": SESSION, "Content-Location": media.url, "playerLoggingID": "1234567"}
    with pytest.raises((EOFError, ConnectionError)):
        queue.command("insertPlayQueueItem", item=item)


ODD = [0, -1, 5, (1 << 64) - 1, 2.5, float("nan"), True, "", "a", b"", b"bplist00", [], [5], {},
       {"a": 5}, "http://127.0.0.1:1/a.mp4"]  # fmt: skip
KEYS = """
    qualifier sessionUUID timingProtocol timingPort timingPeerInfo isRemoteControlOnly streams type
    controlType clientTypeUUID seed wantsDedicatedSocket Content-Location Start-Position
    Start-Position-Seconds uuid value params data item title playerLoggingID property rate time
    timescale kind messageID response pk user method proof epk authTag X-Apple-Session-ID
""".split()


def odd_value(rng, depth=3):
    """Something that nobody would send."""
    if depth and rng.random() < 0.6:
        names = rng.sample(KEYS, 12)
        made = {name: odd_value(rng, depth - 1) for name in names}
        if rng.random() < 0.3:
            return [made]
        return bplist(made) if rng.random() < 0.3 else made
    return rng.choice(ODD)


@pytest.mark.parametrize("profile", ["airplay1", "tvos15", "tvos26"])
def test_odd_bodies(tv, share, caplog):
    """Each is refused or done; nothing breaks at the device, and everybody else is served."""
    tv.airplay.quirks.timing_deadline = 0.01
    rng = random.Random(1000)
    paths = sorted(tv.airplay._paths) + [(name, "*") for name in sorted(tv.airplay._methods)]
    kinds = "insertPlayQueueItem setProperty setRate seek unhandledURL updateMRNowPlayingInfo"
    connected = None
    for _ in range(share(8000)):
        method, path = rng.choice(paths)
        if path in ("/pair-verify", "/pair-setup", "/reverse"):  # have tests of their own
            continue
        if connected is None:
            connected = Controller(tv.airplay)
            known_to(tv, connected)
            tv.airplay.quirks.event_patience = WAIT
            if tv.profile == "tvos26":
                connected.begin(PTP).queue()
            tv.airplay.quirks.event_patience = 0.01  # for what never connects
        body, headers = odd_value(rng), [("X-Apple-HKP", rng.choice("34"))]
        if path == "/command" and tv.profile == "tvos26":
            command = {name: odd_value(rng) for name in rng.sample(KEYS, 5)}
            command.update(type=rng.choice(kinds.split()), kind="response")
            body = {"params": {"data": bplist(command)}}
            headers += [("X-Apple-Session-ID", SESSION),
                        ("X-Apple-StreamID", str(connected.stream_id))]  # fmt: skip
        protocol = rng.choice(["HTTP/1.1", "RTSP/1.0"])
        data = body if isinstance(body, bytes) else bplist(body)
        try:
            code = connected.code(method, path, data, headers, protocol)
            assert code in (200, 400, 403, 404, 453, 455, 470, 500, 503), (method, path, body)
        except (EOFError, ConnectionError):  # refused by hanging up
            connected.__exit__()
            connected = None
    if connected is not None:
        connected.__exit__()
    assert [record.getMessage() for record in caplog.records if record.levelno >= 40] == []
    with Controller(tv.airplay) as other:
        assert other.code("OPTIONS", "*", protocol="RTSP/1.0") == 200


@pytest.mark.parametrize("profile", ["tvos26"])
def test_queue_asks_the_sender(queue, tv, media):
    queue.queue()
    item = {"uuid": SESSION, "Content-Location": f"{media.url}/tiny.mp4"}
    queue.command("insertPlayQueueItem", item=item)
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(tv.airplay.ask_sender("mlhls://localhost/master.m3u8")),
        name="tinyatv-test-asking",
    )
    asking.start()
    while True:
        event = queue.events.next()
        if event["type"] == "unhandledURL":
            break
    response = {"FCUP_Response_StatusCode": 200, "FCUP_Response_Data": b"#EXTM3U"}
    assert event["request"]["FCUP_Response_URL"] == "mlhls://localhost/master.m3u8"
    assert queue.command(
        "unhandledURL", kind="response", messageID=event["messageID"], response=response
    ) == 200  # fmt: skip
    asking.join(5)
    assert answers == [response]


@pytest.mark.parametrize("profile", ["tvos26"])
def test_queue_cannot_fetch(queue, tv, media):
    queue.queue()
    item = {"uuid": SESSION, "Content-Location": f"{media.url}/missing.mp4"}
    assert queue.command("insertPlayQueueItem", item=item) == 200
    states = []
    while states[-1:] != ["stopped"]:
        event = queue.events.next()
        states += [event["params"]["playbackState"]] if "params" in event else []
    assert "playing" not in states
