"""Connections over Companion that do not throw each other out, whatever process they belong to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import tinyatv
from tests.support.program import ROOT, Program
from tests.support.watching import Heard, ours
from tinyatv.backends.companion_identity import IDENTITIES, SUFFIX
from tinyatv.virtual import VirtualAppleTV

ONE_SHOTS = 40
HOLDING = """
import os, sys
from tinyatv import Store, connect
from tinyatv.backends import companion_identity

PATCHES
with connect(Store().default(), protocols=["companion"]) as atv:
    print("connected", flush=True)
    sys.stdin.readline()
    atv.up()
    print(atv.power_state().name, flush=True)
"""


@pytest.fixture
def profile():
    return "tvos18"


@pytest.fixture
def protocols():
    return ["companion"]


@pytest.fixture
def serve_socket(tmp_path, monkeypatch):
    """A folder for the socket of `tinyatv serve`, with a path that is short enough."""
    import tempfile

    folder = tempfile.mkdtemp(prefix="tinyatv-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    yield folder
    shutil.rmtree(folder)


def held(patches="", **environment):
    """A process of its own that holds a connection until it is told to press a button."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDING.replace("PATCHES", patches)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, **environment},
    )  # fmt: skip


def all_press(tv, processes):
    """All are connected at once, then each presses: nobody has been thrown out."""
    try:
        for one in processes:
            assert one.stdout.readline() == "connected\n", one.stderr.read()
        assert len({peer.installation for peer in tv.companion.peers}) == len(processes)
        for one in processes:
            assert one.communicate("\n", timeout=60) == ("On\n", "")
    finally:
        for one in processes:
            one.kill()
            one.communicate()
    assert tv.log == ["up"] * len(processes)
    assert tv.companion.complaints == []


def test_one_shots_beside_watch_and_serve(tv, serve_socket):
    """Forty of them, four at a time: the device throws out who comes again, and throws out none."""
    without = {**os.environ, "TINYATV_SERVE": "off"}

    def one_shot(number):
        return subprocess.run(
            [sys.executable, "-m", "tinyatv", "menu" if number % 2 else "up"],
            capture_output=True, text=True, timeout=120, env=without, cwd=ROOT,
        )  # fmt: skip

    with Program("watch", "--json") as watch, Program("serve", "--json") as serve:
        assert json.loads(watch.stdout.readline())["result"] == "success"
        assert "serving" in json.loads(serve.stdout.readline())
        through = [sys.executable, "-m", "tinyatv", "select"]  # from here on, it is connected
        assert subprocess.run(through, timeout=60, cwd=ROOT, check=False).returncode == 0
        assert tv.wait_for(lambda: len(tv.companion.peers) == 2)
        staying = set(tv.companion.peers)
        names = {peer.installation for peer in staying}
        with ThreadPoolExecutor(4) as pool:
            for done in pool.map(one_shot, range(ONE_SHOTS)):
                assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert tv.wait_for(lambda: len(tv.companion.peers) == 2)
        assert set(tv.companion.peers) == staying
        assert subprocess.run(through, timeout=60, cwd=ROOT, check=False).returncode == 0
        tv.state.sleep()
        assert json.loads(watch.stdout.readline())["power_state"] == "off"
        watch.send_signal(signal.SIGINT)  # without a terminal, ENTER does not end it
        out, err = watch.communicate(timeout=60)
        assert err == ""
        assert "connection" not in out
        serve.terminate()
        assert serve.communicate(timeout=60) == ("", "")
    assert sorted(tv.log) == sorted(
        ["menu", "up"] * (ONE_SHOTS // 2) + ["select"] * 2 + ["turn_off"]
    )
    # One that has just ended may be there still when its name is taken again: that harms none.
    assert not [one for one in tv.companion.complaints if one.split()[0] in names]


def test_the_test_can_tell(tv):
    """Without locks, processes with the same id take the same name: the later throws out."""
    same = "os.getpid = lambda: 7; companion_identity._paths = lambda: ()"
    with pytest.raises(AssertionError):
        all_press(tv, [held(same) for _ in range(2)])
    assert any("came again" in one for one in tv.companion.complaints)


def test_processes_with_the_same_id(tv):
    all_press(tv, [held("os.getpid = lambda: 7") for _ in range(4)])


def test_two_stores_of_one_content(tv, own_store, tmp_path):
    """On two machines that cannot see each other's locks, or at two places of one machine."""
    machines = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "machine-id").write_text(f"{name}\n")
        shutil.copy(own_store, tmp_path / name / "devices.json")
        machines.append(
            f"companion_identity.MACHINE_IDS = [{str(tmp_path / name / 'machine-id')!r}]"
        )
    same = "os.getpid = lambda: 7; companion_identity._paths = lambda: (); "
    stores = [{"TINYATV_STORE": str(tmp_path / name / "devices.json")} for name in ("one", "two")]
    processes = [held(same + machine, **store) for machine, store in zip(machines, stores)]
    processes += [held(**store) for store in stores]
    all_press(tv, processes)


def test_more_connections_than_the_usual_names(tv):
    """In one process, in which some have pressed and gone meanwhile."""
    made = [tinyatv.connect(tv.device) for _ in range(IDENTITIES + 2)]
    try:
        made.pop(3).close()
        made.append(tinyatv.connect(tv.device))
        for atv in made:
            atv.up()
    finally:
        for atv in made:
            atv.close()
    assert tv.log == ["up"] * (IDENTITIES + 2)
    assert tv.companion.complaints == []
    assert ours() == []


def test_the_same_name_again(tv, own_store):
    """One connection after the other: the device knows it, and lists one remote."""
    names = set()
    for _ in range(3):
        with tinyatv.connect(tv.device) as atv:
            names |= {peer.installation for peer in tv.companion.peers}
            atv.up()
        assert tv.wait_for(lambda: not tv.companion.peers)
    assert len(names) == 1
    lock = own_store.parent / (own_store.name + SUFFIX)
    assert (lock.stat().st_mode & 0o777, lock.stat().st_size) == (0o600, 0)


def test_where_nothing_can_be_locked(tv, own_store, monkeypatch):
    """A folder in the place of the lock file, and no folder for temporary files."""
    (own_store.parent / (own_store.name + SUFFIX)).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(own_store.parent / "none"))
    with tinyatv.connect(tv.device) as one, tinyatv.connect(tv.device) as other:
        one.up()
        other.up()
    assert tv.companion.complaints == []


def test_no_folder_is_made_for_it(own_store, monkeypatch, tmp_path):
    """Who stores nothing gets no store; the lock is where temporary files are."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with VirtualAppleTV(profile="tvos18", protocols=["companion"]) as tv:
        with tinyatv.connect(tv.device) as atv:
            heard = Heard(atv)
            with tinyatv.connect(tv.device) as other:
                other.up()
            tv.state.sleep()
            assert heard.next(tinyatv.PowerChanged).power is tinyatv.PowerState.Off
        assert tv.companion.complaints == []
    assert not own_store.parent.exists()
    assert [one.name for one in tmp_path.iterdir() if one.name.endswith(SUFFIX)]
