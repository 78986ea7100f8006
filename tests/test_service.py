"""Services: what the units are, and what systemd hears from those that run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess

import pytest

from tests.support.program import Program, run
from tinyatv.cli.service import unit

verifies = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
RUNS = [("serve",), ("box", "box.ini"), ("watch", "--all", "--json", "-n", 'a "b" 5% $x')]


@pytest.fixture
def folder(tmp_path, monkeypatch, own_store):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box.ini").write_text("[keys x]\nKEY_OK = up\n", "utf-8")
    return tmp_path / "config" / "systemd" / "user"


def test_install_show_and_remove(folder, capsys):
    code, out, _ = run(capsys, "service", "install", "box", "box.ini")
    path = folder / "tinyatv-box.service"
    assert code == 0
    assert str(path) in out
    assert "systemctl --user enable --now tinyatv-box.service" in out
    assert f" box {os.getcwd()}/box.ini\n" in path.read_text("utf-8")
    _, shown, _ = run(capsys, "service", "show", "box", "box.ini")
    assert shown.rstrip("\n") == path.read_text("utf-8").rstrip("\n")
    assert run(capsys, "service", "remove", "box")[0] == 0
    assert not path.exists()
    code, _, err = run(capsys, "service", "remove", "box")
    assert (code, err.count("\n")) == (1, 1)


@verifies
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("runs", RUNS, ids=lambda runs: runs[0])
def test_units_are_correct(folder, tmp_path, runs, system):
    path = tmp_path / f"tinyatv-{runs[0]}.service"
    path.write_text(unit(runs[0], [*runs[1:]], system=system), "utf-8")
    scope = "--system" if system else "--user"
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", scope, "verify", "--man=no", path], env=environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if path.name in line]
    assert ours == []


@verifies
@pytest.mark.parametrize(("runs", "most"), [("serve", 2.0), ("watch", 2.0), ("box", 2.2)])
def test_system_units_are_hardened(folder, tmp_path, runs, most):
    path = tmp_path / f"tinyatv-{runs}.service"
    path.write_text(unit(runs, [], system=True), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={most * 10:.0f}", path],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


@pytest.mark.parametrize("words", [("serve",), ("box", "box.ini")])
def test_systemd_hears_of_it(folder, tmp_path, monkeypatch, words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        with Program(*words) as process:
            assert notified.recv(1000).startswith(b"READY=1\nSTATUS=")
            assert notified.recv(1000) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            while (heard := notified.recv(1000)) == b"WATCHDOG=1":
                pass
            process.communicate(timeout=30)
    assert (heard, process.returncode) == (b"STOPPING=1", 0)
