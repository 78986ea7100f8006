"""The peer: pyatv's own programs and client, in whatever environment has them.

``TINYATV_PEER`` names a virtual environment with it; otherwise the one that runs the tests is used.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

import tinyatv
from tinyatv.virtual import VirtualAppleTV


@pytest.fixture(scope="session")
def peer_bin() -> pathlib.Path:
    """The folder of the peer's programs."""
    home = os.environ.get("TINYATV_PEER")
    folder = pathlib.Path(home, "bin") if home else pathlib.Path(sys.executable).parent
    if not (folder / "atvremote").exists():
        if os.environ.get("CI"):
            pytest.fail("the peer is not installed, and CI must not go without it")
        pytest.skip("the peer (pyatv) is not installed; set TINYATV_PEER to an environment with it")
    return folder


class Peer:
    """Runs the peer's programs against a virtual device."""

    def __init__(self, folder: pathlib.Path, tv: VirtualAppleTV, home: pathlib.Path) -> None:
        self._folder = folder
        self.tv = tv
        self.env = {**os.environ, "HOME": str(home), "PYATV_UDNS_PORT": str(tv.ports["mdns"])}

    def start(self, program: str, *args: str) -> subprocess.Popen:
        """Start a program; the device is chosen by a directed scan, as its users do."""
        return subprocess.Popen(
            [self._folder / program, "-s", "127.0.0.1", *args], env=self.env, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, program: str, *args: str) -> str:
        """Run a program to its end; returns what it printed."""
        process = self.start(program, *args)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0, out + err
        return out

    def python(self, script: str, *args: str) -> subprocess.Popen:
        """Start a script with the peer's library."""
        return subprocess.Popen(
            [self._folder / "python", "-u", pathlib.Path(__file__).parent / script, *args],
            env=self.env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


class Refused(Exception):
    """The peer's library raised something."""


class Client:
    """A process with the peer's library; see control_client.py and airplay_client.py."""

    def __init__(self, folder, script):
        self._process = subprocess.Popen(
            [folder / "python", "-u", "-W", "ignore",
             pathlib.Path(__file__).parent / script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=os.environ,
        )  # fmt: skip

    def __call__(self, *words):
        self._process.stdin.write(json.dumps(words) + "\n")
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def press(self, button, *arguments):
        return self("call", f"remote_control.{button}", *arguments)

    def until(self, *wanted):
        """What it was told last, once it was told that."""
        return self("until", wanted)[-1]

    def stop(self):
        with self._process as process:
            process.stdin.close()
            process.wait(20)


@pytest.fixture
def peer(peer_bin, tmp_path):
    """The peer, and a device that it has not paired with."""
    with VirtualAppleTV(profile="atv3", mdns_port=0, credentials=()) as tv:
        yield Peer(peer_bin, tv, tmp_path)


@pytest.fixture
def paired(peer):
    """The peer, and credentials that the device accepts."""
    credentials = "0x0123456789ABCDEF"
    peer.tv.dmap.accepted.add(credentials)
    return peer, ["--id", peer.tv.identifier, "--dmap-credentials", credentials]


@pytest.fixture
def store() -> tinyatv.Store:
    """A store that nobody else sees."""
    return tinyatv.Store(memory=True)
