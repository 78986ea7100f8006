"""What AirPlay's records, clocks and answers mean, against the vectors."""

from __future__ import annotations

import pytest

from tests.conftest import cases
from tinyatv import CommandFailed, DeviceInfo, Service
from tinyatv.backends import airplay, airplay_stream
from tinyatv.pairing.credentials import Credentials
from tinyatv.wire.http import Response

HAP = str(Credentials(bytes(32), bytes(32), b"device", b"client"))


@pytest.mark.parametrize("case", cases("airplay", "features"), ids=lambda c: c["name"])
def test_features(case):
    """A malformed text has no bits; the other form of them is not read, as it says the same."""
    if "fex" in case:
        assert airplay.features({"fex": case["fex"]}) == 0
        return
    expected = int(case["expect"].get("value_int_hex", "0"), 16)
    assert airplay.features({"features": case["text"]}) == expected


@pytest.mark.parametrize("case", cases("airplay", "profiles"), ids=lambda c: c["name"])
def test_profiles(case):
    """Which credentials open a tunnel, and which version plays URLs."""
    properties = {key: case[key] for key in ("features", "flags", "model", "osvers")}
    expect = case["expect"]
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
    backend = airplay.AirPlayBackend(
        "127.0.0.1", service, info=DeviceInfo(), timeout=1, post=print, lost=print
    )
    assert (backend.features()["play_url"].name == "Available") is expect["play_url"]


@pytest.mark.parametrize("case", cases("airplay", "timing"), ids=lambda c: c["name"])
def test_timing(case):
    if "unix" in case:
        reply = airplay_stream.timing_reply(bytes(32), case["unix"])
        assert reply[16:24].hex() == reply[24:].hex() == case["expect"]["ntp_hex"]
    elif "error" in case["expect"]:
        assert len(bytes.fromhex(case["request_hex"])) < 32  # what the clock ignores
    else:
        whole = int(case["receive_ntp_hex"][:8], 16) - airplay_stream.NTP_EPOCH
        now = whole + int(case["receive_ntp_hex"][8:], 16) / 2**32
        reply = airplay_stream.timing_reply(bytes.fromhex(case["request_hex"]), now)
        assert reply.hex() == case["expect"]["reply_hex"]


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
    way = airplay_stream.AirPlay1(Answers(case["body"]), b"")
    if "error" in case["expect"]:
        with pytest.raises(CommandFailed, match="-6707 NSOSStatusErrorDomain") as caught:
            way.poll()
        assert caught.value.code == -6707
        return
    way.poll()
    assert way.status.started is (case["expect"]["state"] != "idle")
    if way.status.started:
        assert (way.status.duration, way.status.position) == (1800.0, 12.5)
