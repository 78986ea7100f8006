"""Fixtures: a virtual Apple TV, a connection to it, and the promise that no thread survives."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import tinyatv
from tinyatv.virtual import VirtualAppleTV

pytest.register_assert_rewrite("tests.support")  # its assertions explain themselves, too

# In the background of a shell it is ignored, here and in all programs that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="full fuzz counts and soak runs")


@pytest.hookimpl(optionalhook=True)  # also where there is no xdist
def pytest_xdist_auto_num_workers(config):
    """More than there are cores, since most tests wait; none for files alone: they start sooner."""
    if config.option.capture == "no" or not any(map(os.path.isdir, config.args)):
        return 0
    return (os.cpu_count() or 1) + 2


@pytest.fixture
def share(request):
    """A function that cuts a count down to a twentieth unless --long is given."""
    whole = request.config.getoption("--long")
    return lambda full: full if whole else max(1, full // 20)


@pytest.fixture(autouse=True)
def no_thread_survives():
    """Every thread that a test started is gone when it ends."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(("tinyatv", "virtual", "zeroconf")):
            thread.join(max(0.0, until - time.monotonic()))
    left = [
        thread.name
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith(("tinyatv", "virtual", "zeroconf"))
    ]
    assert not left, f"threads left: {left}"


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """No test touches the user's store, or finds the other library's."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TINYATV_STORE", str(tmp_path / "store" / "devices.json"))
    return tmp_path / "store" / "devices.json"


@pytest.fixture
def device():
    """A virtual Apple TV on loopback that nobody announces."""
    with VirtualAppleTV() as tv:
        yield tv


@pytest.fixture
def profile():
    """Which generation `tv` is; modules that try several have a fixture of their own."""
    return "atv3"


@pytest.fixture
def protocols():
    """What `tv` speaks; None is all that its generation does."""
    return None


@pytest.fixture
def tv(own_store, monkeypatch, profile, protocols):
    """A virtual device called Living Room that is stored, and that a scan finds."""
    made = VirtualAppleTV("Living Room", profile=profile, protocols=protocols, mdns_port=0)
    with made as tv:
        tinyatv.Store().save(tv.device)
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        yield tv


@pytest.fixture
def atv(device):
    """A connection to it."""
    with tinyatv.connect(device.device) as atv:
        yield atv


@pytest.fixture
def two_networks():
    """Names of two network namespaces, and of the ends of the cable between them."""
    if sys.platform != "linux" or os.getuid() or not shutil.which("ip"):
        pytest.skip("takes root, and ip(8)")
    tag = secrets.token_hex(3)
    spaces, ends = [f"tinyatv-{tag}-{n}" for n in "ab"], [f"v{tag}{n}" for n in "ab"]
    commands = [
        *(f"netns add {space}" for space in spaces),
        f"link add {ends[0]} netns {spaces[0]} type veth peer name {ends[1]} netns {spaces[1]}",
        *(f"-n {space} link set lo up" for space in spaces),
        # No search for duplicates: the address can be used at once.
        *(f"-n {space} link set {end} addrgenmode none up" for space, end in zip(spaces, ends)),
        f"-n {spaces[0]} addr add fe80::a/64 dev {ends[0]} nodad",
        f"-n {spaces[1]} addr add fe80::b/64 dev {ends[1]} nodad",
    ]
    try:
        for command in commands:
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no network namespaces: {done.stderr}")
        yield spaces, ends
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)
