"""play_url on the command line: at a terminal, interrupted, with all that it cannot play."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

import pytest

from tests.support.program import WAIT, Program, run, run_json
from tinyatv.virtual.airplay_player import APP

VIDEO = ["airplay1", "tvos15", "tvos18", "tvos26"]


@pytest.fixture(params=VIDEO)
def profile(request):
    return request.param


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "a film #1.mp4"
    path.write_bytes(os.urandom(200_000))
    return path


class Terminal:
    """The program at a pseudo-terminal that is its own, so that Ctrl-C is its, too."""

    def __init__(self, *args):
        self._screen, terminal = pty.openpty()
        self._unread = ""

        def take():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "tinyatv", *args], stdin=terminal, stdout=terminal,
            stderr=terminal, start_new_session=True, preexec_fn=take,
        )  # fmt: skip
        os.close(terminal)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._screen)

    def reads(self, wanted):
        """All that comes, until it has this."""
        until = time.monotonic() + 30
        while wanted not in self._unread:
            left = max(0, until - time.monotonic())
            assert select.select([self._screen], [], [], left)[0], repr(self._unread)
            self._unread += self._read() or pytest.fail(f"it ended: {self._unread!r}")
        text, self._unread = self._unread, ""
        return text

    def rest(self):
        """All that comes until the program ends, and its exit code."""
        text, self._unread = self._unread, ""
        until = time.monotonic() + 60
        while select.select([self._screen], [], [], max(0, until - time.monotonic()))[0]:
            data = self._read()
            if not data:
                return text, self.process.wait(WAIT)
            text += data
        pytest.fail(f"it does not end: {text!r}")

    def presses_ctrl_c(self):
        os.write(self._screen, b"\x03")

    def _read(self):
        try:
            return os.read(self._screen, 4096).decode()
        except OSError as exc:
            if exc.errno != errno.EIO:  # how Linux says that nobody is there any more
                raise
            return ""


def plays(tv):
    return tv.state.app is not None and tv.state.app.identifier == APP.identifier


def test_progress(tv, film):
    tv.airplay.player.duration = 2.5
    with Terminal(f"play_url={film}") as terminal:
        text = terminal.reads(" s")
        assert "starting" in text
        assert plays(tv)
        text, code = terminal.rest()
    assert code == 0
    assert text.endswith("\r\x1b[K")  # and the line is empty for the shell


def test_progress_of_what_is_paused(tv, film):
    tv.airplay.player.duration = 100
    with Terminal(f"play_url={film}") as terminal:
        terminal.reads(" s")  # it has heard that it plays; what is paused before has not begun
        tv.state.pause()
        terminal.reads(", paused")
        terminal.presses_ctrl_c()
        assert terminal.rest()[1] == 130


@pytest.mark.parametrize("when", ["starting", "plays"])
def test_ctrl_c(tv, film, when):
    """Nothing plays on at the device, which has nobody left on the line."""
    tv.airplay.player.duration = 1000
    if when == "starting":
        for word in ("/play", "/command"):
            tv.fail(word, times=None, silent=True)
    with Terminal(f"play_url={film}") as terminal:
        if when == "starting":
            terminal.reads("starting")
            asked = {"/play", "/command"}
            assert tv.wait_for(lambda: asked & {path for _, path in tv.airplay.requests}, WAIT)
        else:
            terminal.reads(" s")
            assert plays(tv)
        terminal.presses_ctrl_c()
        text, code = terminal.rest()
    assert code == 130
    assert "Traceback" not in text
    assert text.endswith("\r\x1b[K")
    assert tv.wait_for(lambda: not plays(tv) and tv.airplay.player.load_now is None)
    assert tv.wait_for(lambda: tv.airplay.peers == [])


def test_terminated(tv, film):
    """Killed outright, it is gone for the device as well."""
    tv.airplay.player.duration = 1000
    with Program(f"play_url={film}") as process:
        assert tv.wait_for(lambda: plays(tv) and tv.airplay.player.speed, WAIT)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert tv.wait_for(lambda: not plays(tv))


def test_without_a_terminal(tv, film, capsys):
    """Nothing is shown on the way, to nobody."""
    tv.airplay.player.duration = 0.3
    assert run(capsys, f"play_url={film}") == (0, "", "")
    assert tv.log[0].startswith("play_url http://127.0.0.1:")
    assert tv.log[0].endswith("/a%20film%20%231.mp4")
    code, [line] = run_json(capsys, f"play-url={film}")
    assert (code, line["command"]) == (0, "play_url")


# -- what it cannot play ---------------------------------------------------------------------------


def refusal(capsys, *args):
    """Exit code and the one line of an error."""
    code, out, err = run(capsys, *args)
    assert out == ""
    assert err.startswith("tinyatv: ")
    assert err.count("\n") == 1
    return code, err[9:-1]


@pytest.mark.parametrize("profile", ["tvos15"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nothing.mp4", "nothing.mp4: No such file or directory"),
        ("folder", "folder: Is a directory"),
        ("empty.mp4", "empty.mp4: the file is empty"),
        ("pipe.mp4", "pipe.mp4'"),
        ("gone.mp4", "gone.mp4: No such file or directory"),
        ("film.mp4/x", "film.mp4/x: Not a directory"),
        ("x" * 300, ": File name too long"),
    ],
)
def test_wrong_file(tv, tmp_path, capsys, name, text):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "film.mp4").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere/gone.mp4")
    code, line = refusal(capsys, f"play_url={tmp_path / name}")
    assert code == 1
    assert line.endswith(text)
    assert tv.airplay.player.urls == []


@pytest.mark.parametrize("profile", ["tvos15"])
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_of_somebody_else(tv, film, capsys):
    film.chmod(0)
    code, line = refusal(capsys, f"play_url={film}")
    assert (code, line) == (1, f"{film}: Permission denied")


@pytest.mark.parametrize("profile", ["airplay1", "tvos15"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.mp4", "http://127.0.0.1:1/a.m3u8"])
def test_url_that_the_device_cannot_fetch(tv, capsys, url):
    code, line = refusal(capsys, f"play_url={url}")
    assert code == 1
    assert line == "play_url: the device cannot play it: error -6707 NSOSStatusErrorDomain"


@pytest.mark.parametrize("profile", ["tvos15"])
def test_without_an_argument(tv, capsys):
    assert refusal(capsys, "play_url")[0] == 2
    assert refusal(capsys, "play_url=")[0] == 2
    assert tv.airplay.requests == []


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [(453, 1, "busy"), (470, 6, "pair"), (501, 5, "does not know how"), (404, 1, "404")],
)
def test_refused(tv, film, capsys, status, code, text):
    for word in ("/play", "/command"):
        tv.fail(word, times=None, status=status)
    found, line = refusal(capsys, f"play_url={film}")
    assert found == code
    assert text in line


@pytest.mark.parametrize("profile", ["tvos15", "tvos18"])
def test_forgotten(tv, film, capsys):
    tv.forget_clients()
    for word in (f"play_url={film}", "pause"):
        code, line = refusal(capsys, word)
        assert code == 6
        assert line.endswith("pair again")


def test_device_gone(tv, film):
    """The error begins a line of its own."""
    tv.airplay.player.duration = 1000
    with Terminal(f"play_url={film}") as terminal:
        terminal.reads(" s")
        tv.stop()
        text, code = terminal.rest()
    assert code == 4
    assert "\r\x1b[Ktinyatv: " in text
    assert "lost" in text
    assert text.endswith("\r\n")
    assert text.count("\n") == 1


@pytest.mark.parametrize("profile", ["tvos15", "tvos18"])
def test_file_deleted(tv, tmp_path):
    path = tmp_path / "film.mp4"
    with open(path, "wb") as file:
        file.truncate(1 << 30)
    with Program(f"play_url={path}") as process:
        assert tv.wait_for(lambda: plays(tv) and tv.state.position > 0.5, WAIT)
        path.unlink()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err == "tinyatv: play_url: cannot read the file: No such file or directory\n"
