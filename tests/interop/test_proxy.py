"""The peer's unmodified programs talk to `tinyatv virtual` through `tinyatv proxy`."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

import tinyatv
from tinyatv.virtual import VirtualAppleTV

from .conftest import Client, Peer

ROOT = pathlib.Path(tinyatv.__file__).parents[1]


class Program:
    """One of our programs, and the JSON that it prints."""

    def __init__(self, *args: str) -> None:
        self._endless = "decode" not in args
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tinyatv", *args, "--json"],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._came = threading.Condition()
        self.lines: list[dict] = []
        self._thread = threading.Thread(target=self._read, name=f"reader of {args[0]}")
        self._thread.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._came:
                self.lines.append(json.loads(line))
                self._came.notify_all()

    def wait(self, wanted, timeout: float = 30.0) -> dict:
        """The first line that `wanted` is true of."""
        until = time.monotonic() + timeout
        with self._came:
            while True:
                for line in self.lines:
                    if wanted(line):
                        return line
                left = until - time.monotonic()
                assert left > 0, self.lines
                self._came.wait(left)

    def shown(self) -> list[str]:
        """The messages that a proxy has shown, each with its direction."""
        with self._came:
            return [
                f"{'>' if line['direction'] == 'to_device' else '<'} {line['name']}"
                for line in self.lines
                if "direction" in line
            ]

    def stop(self) -> str:
        """End it; returns what it wrote to standard error."""
        process = self._process
        if process.stdout.closed:
            return ""
        if self._endless:
            process.send_signal(signal.SIGTERM)
        with process:
            assert process.wait(20) == 0
            self._thread.join(20)
            return process.stderr.read()


@pytest.fixture
def start(own_store):
    """A function that starts programs, which end with the test."""
    started = []

    def start(*args):
        started.append(Program(*args))
        return started[-1]

    yield start
    for program in reversed(started):
        assert program.stop() == ""


def through(start, tmp_path, protocol, profile, *flags):
    """A virtual device, and a proxy to it."""
    tv = start(
        "virtual", "-n", "Den", "--profile", profile, "--protocols", protocol, "--no-announce",
        "--mdns-port", "0",
    )  # fmt: skip
    about = tv.wait(lambda line: "credentials" in line)
    secret = tmp_path / "credentials"
    secret.write_text(about["credentials"][protocol])
    proxy = start(
        "-s", f"127.0.0.1:{about['ports']['mdns']}", f"--{protocol}-credentials", f"@{secret}",
        "proxy", protocol, "--no-announce", "--mdns-port", "0", *flags,
    )  # fmt: skip
    return tv, proxy, proxy.wait(lambda line: line.get("name") == "Den Proxy")


EVERYTHING = {
    # protocol: profile, words for the peer, what the device was asked to do, what it shows of that
    "mrp": (
        "tvos14",
        ["up", "menu", "pause", "set_volume=30", "volume", "playing", "app"],
        ["up", "menu", "pause", "set_volume 30"],
        ["> DEVICE_INFO", "< DEVICE_INFO", "> CLIENT_UPDATES_CONFIG", "< SET_STATE",
         "> SEND_HID_EVENT", "> SEND_COMMAND", "< SEND_COMMAND_RESULT", "> SET_VOLUME",
         "< VOLUME_DID_CHANGE"],
    ),
    "companion": (
        "tvos18",
        ["up", "select", "app_list", "launch_app=com.apple.TVMusic", "set_volume=30", "volume",
         "power_state"],
        ["up", "select", "launch_app com.apple.TVMusic", "set_volume 30"],
        ["> _systemInfo request", "< reply", "> _hidC request", "> _launchApp request",
         "> FetchLaunchableApplicationsEvent request", "> _mcc request", "< _iMC event"],
    ),
    "airplay": (
        "tvos15",
        ["up", "menu", "pause", "set_volume=30", "volume", "playing", "app"],
        ["up", "menu", "pause", "set_volume 30"],
        ["> POST /pair-verify", "> RECORD rtsp://", "> SETUP rtsp://", "< POST /command",
         "> 200 OK", "> DEVICE_INFO", "< SET_STATE", "> SEND_HID_EVENT", "> SEND_COMMAND",
         "< SEND_COMMAND_RESULT", "< VOLUME_DID_CHANGE"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("protocol", EVERYTHING)
def test_find_pair_and_use(peer_bin, start, tmp_path, protocol):
    profile, words, done, shown = EVERYTHING[protocol]
    saved = tmp_path / "proxy.jsonl"
    tv, proxy, about = through(start, tmp_path, protocol, profile, "--trace", str(saved))
    peer = Peer(peer_bin, types.SimpleNamespace(ports=about["ports"]), tmp_path)
    assert "       Name: Den Proxy\n" in peer.run("atvremote", "scan")

    process = peer.start("atvremote", "-n", "Den Proxy", "--protocol", protocol, "pair")
    try:
        pin = proxy.wait(lambda line: "pin" in line)["pin"]
        out, err = process.communicate(f"{pin}\n", timeout=60)
    finally:
        process.kill()
    assert "seems to have succeeded" in out, out + err

    out = peer.run("atvremote", "-n", "Den Proxy", *words)
    assert "30.0" in out
    assert ("Harbour Lights" in out and "com.apple.TVMusic" in out) or "App: Music" in out
    tv.wait(lambda line: line.get("command") == done[-1])
    asked = [line["command"] for line in tv.lines if "command" in line]
    assert asked == done
    # Everything that passes is shown, decoded and named.
    assert proxy.stop() == ""
    seen = proxy.shown()
    assert [name for name in shown if not any(one.startswith(name) for one in seen)] == []
    for line in proxy.lines:
        assert "direction" not in line or line["message"] is not None
        assert not str(line.get("name")).startswith(("message ", "frame "))
    # And saved: what is decoded from the file is the same.
    decoded = start("decode", str(saved))
    assert decoded.stop() == ""
    assert decoded.shown() == seen
    secret = (tmp_path / "credentials").read_text().split(":")[1]
    assert secret not in saved.read_text()
    assert secret not in json.dumps(proxy.lines)


def test_relay(peer_bin, start, tmp_path):
    """Raw TCP: the peer's client does what it does without."""
    with VirtualAppleTV("Den", profile="tvos14") as tv:
        relay = start("proxy", "relay", f"127.0.0.1:{tv.ports['mrp']}", "--host", "127.0.0.1")
        port = relay.wait(lambda line: "target" in line)["ports"]["relay"]
        client = Client(peer_bin, "control_client.py")
        try:
            client("connect", tv.identifier, port, tv.credentials["mrp"], "MRP")
            client.until("playing", {"title": "Harbour Lights"})
            client.press("pause")
            client.until("playing", {"device_state": "Paused"})
            client("close")
        finally:
            client.stop()
        assert tv.log == ["pause"]
        assert relay.stop() == ""
    ways = {line["direction"] for line in relay.lines if "direction" in line}
    assert ways == {"to_device", "to_client"}


def test_what_was_saved_can_be_replayed(peer_bin, start, tmp_path):
    """The trace of a proxy: the peer's client gets the same answers from it."""
    saved = tmp_path / "proxy.jsonl"
    _, proxy, about = through(start, tmp_path, "mrp", "tvos14", "--trace", str(saved))
    words = ["pause", "playing", "app", "volume", "power_state"]
    device = types.SimpleNamespace(ports=about["ports"])
    peer = Peer(peer_bin, device, tmp_path)
    process = peer.start("atvremote", "-n", "Den Proxy", "--protocol", "mrp", "pair")
    try:
        pin = proxy.wait(lambda line: "pin" in line)["pin"]
        process.communicate(f"{pin}\n", timeout=60)
    finally:
        process.kill()
    (saved_before,) = [saved.read_text().count("\n")]
    before = peer.run("atvremote", "-n", "Den Proxy", *words)
    session = tmp_path / "session.jsonl"  # without the pairing, which was a connection of its own
    lines = saved.read_text().splitlines(keepends=True)
    session.write_text("".join([lines[0], *lines[saved_before:]]))
    again = start("virtual", "--replay", str(session), "-n", "Again", "--no-announce",
                  "--mdns-port", "0")  # fmt: skip
    ports = again.wait(lambda line: "ports" in line)["ports"]
    peer = Peer(peer_bin, types.SimpleNamespace(ports=ports), tmp_path / "home")
    assert peer.run("atvremote", "-n", "Again", *words) == before
