"""What AirPlay's records, clocks, volumes and answers mean, against the vectors."""

from __future__ import annotations

import socket

import pytest

from tests.support.vectors import cases
from tinyatv import CommandFailed, Device, DeviceInfo, Service
from tinyatv.backends import airplay, airplay_stream
from tinyatv.backends.airplay_session import read_plist
from tinyatv.backends.airplay_tunnel import Tunnel
from tinyatv.discovery.records import (
    Record,
    build_device,
    encode_txt,
    parse_txt,
)
from tinyatv.pairing.credentials import TRANSIENT, Credentials
from tinyatv.services import airplay_features, parse_extended_features
from tinyatv.wire import airplay_codes, dmap, plist, volume
from tinyatv.wire.http import Response

LOW = (1 << 64) - 1
HAP = str(Credentials(bytes(32), bytes(32), b"device", b"client"))


@pytest.mark.parametrize("case", cases("airplay", "features"), ids=lambda c: c["name"])
def test_features(case):
    """In a record and in what the device says of itself; a malformed text has no bits."""
    expect = case["expect"]
    if "fex" in case:
        expected = int(expect["low64_int_hex"], 16)
        assert parse_extended_features(case["fex"]) & LOW == expected
        for features in ({}, {"features": ""}, {"features": "0x1,"}):
            assert airplay_features({**features, "fex": case["fex"]}) & LOW == expected
        assert airplay_features({"features": "0x77", "fex": case["fex"]}) == 0x77
        assert airplay.told_features({"featuresEx": case["fex"]}) & LOW == expected
        assert airplay.told_features({"features": 0x77, "featuresEx": case["fex"]}) == 0x77
        return
    expected = 0 if "error" in expect else int(expect["value_int_hex"], 16)
    assert airplay_features({"features": case["text"]}) == expected
    assert airplay_features({"ft": case["text"], "features": "0x5"}) == (expected or 5)


@pytest.mark.parametrize("text", ["A", "AAAAA", "*", "=", "ä", "\n", "1d9/ St5fFTw"])
def test_malformed_features(text):
    with pytest.raises(ValueError, match=r"."):
        parse_extended_features(text)
    assert airplay_features({"fex": text}) == 0
    assert airplay.told_features({"featuresEx": text}) == 0


@pytest.mark.parametrize("text", [5, None, b"AAAA", [], ""])
def test_odd_features(text):
    """Whatever a property list has there."""
    assert airplay.told_features({"features": "0x77", "featuresEx": text}) == 0
    assert airplay.told_features({"features": -1}) == LOW


@pytest.mark.parametrize("case", cases("airplay", "profiles"), ids=lambda c: c["name"])
def test_profiles(case):
    """How it is paired, which credentials open a tunnel, which version plays URLs."""
    properties = {key: case[key] for key in ("features", "flags", "model", "osvers")}
    expect = case["expect"]
    txt = {**properties, "deviceid": "AA:BB:CC:DD:EE:FF"}
    record = Record("_airplay._tcp.local.", "Den", 7000, "127.0.0.1", txt)
    [judged] = build_device("127.0.0.1", [record]).services
    assert judged.pairing.name == expect["pairing"]
    assert judged.requires_password is expect["password"]
    found = {}
    for kind, text in (("none", None), ("hap", HAP)):
        service = Service("airplay", 7000, credentials=text, properties=properties)
        credentials = airplay.tunnel_credentials(service, DeviceInfo())
        found[kind] = None if credentials is None else credentials.kind
    wanted = {
        None: {"none": None, "hap": None},
        "hap": {"none": None, "hap": "hap"},
        "transient": {"none": "transient", "hap": "hap"},
    }
    assert found == wanted[expect["tunnel"]]
    assert airplay.is_legacy(service) is (expect["version"] == 1)
    service.credentials = None
    device = Device("Den", "127.0.0.1", [service])
    backend = airplay.AirPlayBackend(device, service, timeout=1, post=print, lost=print)
    method = airplay_stream.PLAY_METHODS[str(expect["version"])]
    kind = backend._credentials(method).kind
    assert {"null": "none"}.get(kind, kind) == expect["default_credentials"]
    assert (backend.features()["play_url"].name == "Available") is expect["play_url"]


@pytest.mark.parametrize("case", cases("airplay", "timing"), ids=lambda c: c["name"])
def test_timing(case):
    if "unix" in case:
        reply = airplay_stream.timing_reply(bytes(32), case["unix"])
        assert reply[16:24].hex() == reply[24:].hex() == case["expect"]["ntp_hex"]
    elif "error" in case["expect"]:
        assert asked(bytes.fromhex(case["request_hex"])) == b""
    else:
        whole = int(case["receive_ntp_hex"][:8], 16) - airplay_codes.NTP_EPOCH
        now = whole + int(case["receive_ntp_hex"][8:], 16) / 2**32
        reply = airplay_stream.timing_reply(bytes.fromhex(case["request_hex"]), now)
        assert reply.hex() == case["expect"]["reply_hex"]


def test_session():
    """What begins a tunnel; identities are our own, and fresh ones."""
    case = next(c for c in cases("airplay", "tunnel_setup") if c["name"] == "setup1_body")
    golden = plist.loads(bytes.fromhex(case["plist_hex"]))
    mine = Tunnel("127.0.0.1", 7000, Credentials(TRANSIENT), timeout=1)._session()
    own = {"deviceID", "macAddress", "sessionUUID", "name"}
    assert mine.keys() == golden.keys()
    assert {k: mine[k] for k in mine.keys() - own} == {k: golden[k] for k in mine.keys() - own}
    for key in own - {"name"}:
        assert [len(part) for part in mine[key].replace(":", "-").split("-")] == [
            len(part) for part in golden[key].replace(":", "-").split("-")
        ]
        assert mine[key] == mine[key].upper()


def asked(data):
    """What the clock says to something, by UDP; it is asked a right question behind it."""
    right = b"\x80\xd2\x00\x07" + bytes(20) + b"\x83\xaa\x7e\x80" + bytes(4)
    clock = airplay_stream._Clock("127.0.0.1")
    clock.start()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect(("127.0.0.1", clock.port))
            sock.send(data)
            sock.send(right)
            reply = sock.recv(100)
            if reply[8:16] == right[24:]:
                return b""
            assert sock.recv(100)[8:16] == right[24:]
            return reply
    finally:
        clock.close()


def test_clock():
    """By UDP: it answers what is a question, and only that."""
    question = b"\x80\xd2\x00\x01" + bytes(28)
    assert asked(question)[:2] == b"\x80\xd3"
    for other in (b"", b"\x80", b"\x81" + question[1:], b"\x80\xd3" + question[2:]):
        assert asked(other) == b""


class Answers:
    """A control connection that answers with one body."""

    lost = None

    def __init__(self, body):
        self._body = body

    def http(self, method, path):
        assert (method, path) == ("GET", "/playback-info")
        return Response(200, body=self._body.encode())


@pytest.mark.parametrize("case", cases("airplay", "playback_info"), ids=lambda c: c["name"])
def test_playback_info(case):
    way, expect = airplay_stream.AirPlay1(Answers(case["body"]), b""), case["expect"]
    if "error" in expect:
        with pytest.raises(CommandFailed) as caught:
            way.poll()
        assert caught.value.code == expect["code"]
        assert str(caught.value).endswith(f"error {expect['code']} {expect['domain']}")
        return
    way.poll()
    status = way.status
    assert status.started is (expect["state"] == "loaded")
    if status.started:
        found = (status.duration, status.position, status.rate)
        assert found == (expect["duration"], expect["position"], expect["rate"])
        told = read_plist(case["body"].encode())
        assert told["readyToPlay"] is expect["ready"]
        for name in ("loaded", "seekable"):
            ranges = [[r["start"], r["duration"]] for r in told[f"{name}TimeRanges"]]
            assert ranges == expect[f"{name}_ranges"]


@pytest.mark.parametrize("case", cases("airplay", "volume"), ids=lambda c: c["name"])
def test_volume(case):
    """The virtual device, asked over the wire, is in ``tests/virtual/test_airplay.py``."""
    if "percent" in case:
        assert volume.decibels(case["percent"]) == pytest.approx(case["expect"]["db"])
    else:
        found = volume.percent(case["db"])
        assert found == pytest.approx(case["expect"]["percent"], abs=case["tolerance"])


@pytest.mark.parametrize("case", cases("airplay", "txt_record"), ids=lambda c: c["name"])
def test_txt_record(case):
    data = bytes.fromhex(case["expect"]["data_hex"])
    assert encode_txt(dict(case["items"])) == data
    assert parse_txt(data) == dict(case["items"])


@pytest.mark.parametrize("case", cases("airplay", "metadata"), ids=lambda c: c["name"])
def test_metadata(case):
    """What a sender says of a song."""
    song = [("minm", case["title"]), ("asal", case["album"]), ("asar", case["artist"])]
    data = bytes.fromhex(case["expect"]["data_hex"])
    assert dmap.encode([("mlit", song)]) == data
    assert dmap.decode(data) == [("mlit", song)]
