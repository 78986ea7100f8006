"""The peer's unmodified programs find, pair, control and watch the virtual Apple TV."""

from __future__ import annotations

import json
import os
import socket

import pytest

import tinyatv
from tinyatv import DeviceState, RepeatState, ShuffleState

KEYS = [
    "up", "down", "left", "right", "select", "menu", "top_menu", "play", "pause", "play_pause",
    "stop", "next", "previous", "volume_up", "volume_down",
]  # fmt: skip


def has_private_address() -> bool:
    """The peer announces itself on private addresses alone, loopback left out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return False
        return not sock.getsockname()[0].startswith("127.")


def test_scan(peer):
    out = peer.run("atvremote", "scan")
    assert f"       Name: {peer.tv.name}\n" in out
    assert "Model/SW: Apple TV 3, ATV SW" in out
    assert f" - {peer.tv.identifier}\n" in out
    assert f"Protocol: DMAP, Port: {peer.tv.ports['dmap']}" in out
    found = json.loads(peer.run("atvscript", "scan"))["devices"]
    assert [device["identifier"] for device in found] == [peer.tv.identifier]


@pytest.mark.skipif(not has_private_address(), reason="the peer announces nothing on loopback")
def test_pair_then_play(peer):
    name = f"remote {os.urandom(4).hex()}"
    process = peer.start(
        "atvremote", "--id", peer.tv.identifier, "--protocol", "dmap", "--remote-name", name,
        "-p", "4711", "--pairing-guid", "0xF123456789ABCDEF", "pair",
    )  # fmt: skip  # its own random GUIDs lack leading zeros, and then it cannot log in
    try:
        assert "4711" in process.stdout.readline()
        with pytest.raises(tinyatv.PairingError):
            peer.tv.enter_pin("1174", name, timeout=20)
        peer.tv.enter_pin("4711", name, timeout=20)
        out, _ = process.communicate("\n", timeout=60)
    finally:
        process.kill()
    assert "seems to have succeeded" in out
    peer.run("atvremote", "--id", peer.tv.identifier, "pause")  # with what it has stored
    assert peer.tv.log == ["pause"]


def test_playing(paired):
    peer, flags = paired
    peer.tv.state.pause()
    peer.tv.state.set_position(22)
    out = peer.run("atvremote", *flags, "playing")
    assert out == str(tinyatv_playing(peer)) + "\n"
    line = json.loads(peer.run("atvscript", *flags, "playing"))
    assert (line["title"], line["artist"]) == ("Harbour Lights", "The Loopbacks")
    assert (line["device_state"], line["position"], line["total_time"]) == ("paused", 22, 222)


def tinyatv_playing(peer) -> tinyatv.Playing:
    device = peer.tv.device
    with tinyatv.connect(device, store=tinyatv.Store(memory=True)) as atv:
        return atv.playing()


@pytest.mark.parametrize("program", ["atvremote", "atvscript"])
def test_every_key(paired, program):
    peer, flags = paired
    if program == "atvremote":
        peer.run(program, *flags, *KEYS)
        assert peer.tv.log == KEYS
    else:
        for key in ("up", "play_pause", "volume_up"):  # one word a run
            assert json.loads(peer.run(program, *flags, key))["result"] == "success"
        assert peer.tv.log == ["up", "play_pause", "volume_up"]


def test_position_shuffle_repeat(paired):
    peer, flags = paired
    peer.run("atvremote", *flags, "pause", "set_position=50", "set_shuffle=2", "set_repeat=1")
    state = peer.tv.state
    assert state.position == 50
    assert (state.shuffle, state.repeat) == (ShuffleState.Songs, RepeatState.Track)
    peer.run("atvremote", *flags, "set_shuffle=0", "set_repeat=2", "skip_forward=30")
    assert (state.shuffle, state.repeat) == (ShuffleState.Off, RepeatState.All)
    assert peer.tv.log[-1] == "set_position 80"


def test_artwork(paired, tmp_path):
    peer, flags = paired
    peer.run("atvremote", *flags, f"artwork_save=100,100,{tmp_path}/art")
    assert (tmp_path / "art.png").read_bytes() == peer.tv.state.artwork(100, 100)


def test_push_updates(paired):
    peer, flags = paired
    process = peer.start("atvremote", *flags, "push_updates")
    try:
        read_until(process, "Title: Harbour Lights")
        peer.tv.state.update(title="Pushed")
        read_until(process, "Title: Pushed")
        peer.tv.state.pause()
        read_until(process, "Device state: Paused")
        process.communicate("\n", timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0


def read_until(process, wanted: str) -> None:
    """Read lines until one has the text; the stream's end fails the test."""
    for line in process.stdout:
        if wanted in line:
            return
    pytest.fail(f"{wanted!r} did not come: {process.stderr.read()}")


def test_client_sees_what_we_do(paired, store):
    """One device, both clients at once: what one does, the other is told."""
    peer, flags = paired
    device = peer.tv.device
    process = peer.python("client.py", peer.tv.identifier, str(peer.tv.ports["dmap"]), flags[-1])
    try:
        assert json.loads(process.stdout.readline())["title"] == "Harbour Lights"
        with tinyatv.connect(device, store=store) as atv:
            events = atv.events(timeout=20)
            assert next(events).playing.title == "Harbour Lights"
            atv.pause()
            assert json.loads(process.stdout.readline())["state"] == "Paused"
            assert next(events).playing.device_state is DeviceState.Paused
            process.stdin.write("next\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["title"] == "Three Hops"
            assert next(events).playing.title == "Three Hops"
        process.communicate("", timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
