"""Whoever has paired with one of the two programs need not do it again with the other."""

from __future__ import annotations

import pytest

import tinyatv
from tests.support.program import run
from tinyatv.virtual import VirtualAppleTV

from .conftest import Peer

SERVES = {  # protocol: profile, what is asked for over it
    "mrp": "tvos14",
    "airplay": "tvos18",
    "companion": "tvos27",
}


@pytest.fixture(params=SERVES)
def protocol(request):
    return request.param


@pytest.fixture
def tv(protocol, monkeypatch):
    """A device that speaks one protocol, and that nobody is paired with."""
    made = VirtualAppleTV(
        "Den", profile=SERVES[protocol], protocols=[protocol], mdns_port=0, credentials=()
    )
    with made as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        yield tv


@pytest.fixture
def peer(peer_bin, tv, tmp_path):
    """The peer's programs, at home where ours are: that is where `.pyatv.conf` is."""
    return Peer(peer_bin, tv, tmp_path / "home")


def test_theirs_work_here(tv, peer, protocol, capsys, tmp_path):
    process = peer.start("atvremote", "-n", "Den", "--protocol", protocol, "pair")
    try:
        assert tv.wait_for(lambda: tv.pin is not None, 30)
        out, err = process.communicate(f"{tv.pin}\n", timeout=60)
    finally:
        process.kill()
    assert "seems to have succeeded" in out, out + err
    assert (tmp_path / "home" / ".pyatv.conf").exists()
    assert run(capsys, "-n", "Den", "up") == (0, "", "")
    assert run(capsys, "-n", "Den", "devices", "import")[0] == 0
    (tmp_path / "home" / ".pyatv.conf").unlink()
    assert run(capsys, "-n", "Den", "down")[0] == 0
    assert tv.log == ["up", "down"]


def test_ours_work_there(tv, peer, protocol):
    device = tinyatv.pair("Den", pin=lambda: tv.pin)
    given = device.service(protocol).credentials
    peer.run("atvremote", "-n", "Den", f"--{protocol}-credentials", given, "up", "down")
    assert tv.log == ["up", "down"]
