"""The full-screen remote in real terminals: what is on screen, and what the device is told."""

from __future__ import annotations

import os
import pathlib
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

import tinyatv
from tests.support.program import Person, Program, run
from tests.support.screen import SCREEN
from tinyatv import PowerState
from tinyatv.virtual import VirtualAppleTV

WAIT = 20.0

pytest.importorskip("curses")


@pytest.fixture
def profile():
    return "tvos14"


class Terminal:
    """A terminal of a given size, in tmux.

    Args:
        command: Line for a shell.
        width: Cells.
        height: Lines.
        variables: Environment variables of the command.
    """

    def __init__(self, command: str, width: int = 80, height: int = 24, **variables: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="tinyatv-")
        self._tmux = ["tmux", "-u", "-f", os.devnull, "-S", os.path.join(self._folder, "tmux")]
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        setting = "".join(f"export {key}={shlex.quote(text)}; " for key, text in variables.items())
        # The program's exit code stays to be seen, and whether the terminal is as it was.
        command = f"sh -c {shlex.quote(f'echo $$ > pid; exec {command}')}"
        script = f"{setting}stty -g > before; {command}; code=$?; stty -g > after; echo ended $code"
        subprocess.run(
            [*self._tmux, "new-session", "-d", "-x", str(width), "-y", str(height),
             f"{script}; exec cat"],
            cwd=self._folder, env={**environment, "PYTHONPATH": os.getcwd()}, check=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._do("kill-server")
        shutil.rmtree(self._folder)

    def _do(self, *args: str) -> str:
        done = subprocess.run([*self._tmux, *args], capture_output=True, text=True, timeout=30)
        return done.stdout

    def lines(self) -> list[str]:
        """What is on screen now."""
        return self._do("capture-pane", "-p").split("\n")[:-1]

    def until(self, condition) -> list[str]:
        """Wait until what is on screen fulfils a condition; a text is one that must be there."""
        end = time.monotonic() + WAIT
        while True:
            lines = self.lines()
            if condition in "\n".join(lines) if isinstance(condition, str) else condition(lines):
                return lines
            assert time.monotonic() < end, "\n".join(lines)

    def keys(self, *names: str) -> None:
        """Press keys by the names that tmux has for them."""
        self._do("send-keys", *names)

    def types(self, text: str) -> None:
        self._do("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        self._do("resize-window", "-x", str(width), "-y", str(height))

    def pid(self) -> int:
        """The process of the command."""
        return int(pathlib.Path(self._folder, "pid").read_text())

    def ended(self) -> int:
        """Wait for the end of the program; its exit code. The terminal must be as it was."""
        lines = self.until(lambda lines: any(line.startswith("ended ") for line in lines))
        before, after = (pathlib.Path(self._folder, one).read_text() for one in ("before", "after"))
        assert before == after
        assert self._do("display-message", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"
        assert "Traceback" not in "\n".join(lines)
        return int(next(line for line in lines if line.startswith("ended ")).split()[1])


@pytest.fixture
def terminal():
    """A function that opens one with the remote in it."""
    if shutil.which("tmux") is None:
        assert not os.environ.get("CI"), "tmux is missing"
        pytest.skip("needs tmux")
    opened = []

    def open_one(*args: str, **more) -> Terminal:
        command = shlex.join([sys.executable, "-m", "tinyatv", *args])
        opened.append(Terminal(command, **more))
        return opened[-1]

    yield open_one
    for one in opened:
        one.__exit__()


# -- what is on screen -----------------------------------------------------------------------------


def test_80x24(tv, terminal):
    tv.state.pause()
    tv.state.set_position(62)
    screen = terminal()
    lines = screen.until(lambda lines: "Volume" in "".join(lines) and "q quit" in lines[-1])
    assert lines[:8] == SCREEN
    assert len(lines) == 24
    assert lines[8:19] == [""] * 11
    assert lines[19].startswith("arrows move  enter select")
    assert screen._do("capture-pane", "-p", "-e").startswith("\x1b[7mLiving Room")
    screen.keys("q")
    assert screen.ended() == 0


@pytest.mark.parametrize("profile", ["atv3", "tvos18", "homepod"])
def test_every_generation(tv, terminal, profile):
    screen = terminal()
    lines = screen.until("Harbour Lights")
    assert lines[0].startswith("Living Room  ")
    screen.keys("Space")
    screen.until("Paused")
    screen.keys("q")
    assert screen.ended() == 0
    assert "play_pause" in tv.log


def test_tiny_and_resized(tv, terminal):
    screen = terminal(width=20, height=5)
    lines = screen.until(lambda lines: lines[-1] == "? keys  q quit" and "Volume" in lines[3])
    assert lines[:2] == ["Living Room", "Harbour Lights"]
    assert lines[3] == "Volume [===   ] 50%"
    # Of a single cell, nothing: after writing to the last one, a terminal would scroll.
    for width, height, last in ((3, 2, "Har"), (1, 1, ""), (2, 9, "?"), (200, 60, "q quit")):
        screen.resize(width, height)
        screen.until(lambda lines: len(lines) == height and lines[-1].endswith(last))  # noqa: B023
    screen.resize(80, 24)
    screen.until(lambda lines: len(lines) == 24 and lines[0].endswith("Apple TV 4K, on"))
    screen.keys("Up")
    assert tv.wait_for(lambda: tv.log == ["up"], WAIT)
    screen.keys("q")
    assert screen.ended() == 0


def test_wide_letters(tv, terminal):
    """In the cells where they belong; and nothing that a title says is obeyed."""
    title = "茶の湯 🎧👨\u200d👩 Cafe\u0301 \x1b[31m\x07"
    tv.state.update(title=title + "界" * 40, artist="\u202eÜnï")
    screen = terminal(width=60, height=14)
    lines = screen.until(lambda lines: "Ünï - Local Hosts" in lines[3] and ", on" in lines[0])
    assert lines[2] == "茶の湯 🎧👨👩 Cafe\u0301 \\x1b[31m\\x07" + "界" * 13 + "..."
    assert lines[3] == "\\u202eÜnï - Local Hosts"
    assert lines[0] == "Living Room" + " " * 34 + "Apple TV 4K, on"
    screen.resize(20, 5)
    screen.until(lambda lines: lines[1] == "茶の湯 🎧👨👩 Caf...")
    screen.keys("q")
    assert screen.ended() == 0


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
                                       {"TERM": "vt100"}, {"TERM": "ansi"}])  # fmt: skip
def test_poor_terminals(tv, terminal, variables):
    """Without letters beyond ASCII, without colours, without a cursor that hides."""
    tv.state.update(title="茶 Harbour Lights")
    screen = terminal(**variables)
    screen.until("Harbour Lights")
    screen.keys("n")
    screen.until("Three Hops")
    screen.keys("q")
    assert screen.ended() == 0


def test_what_changes_is_seen(tv, terminal):
    tv.state.set_position(100)
    screen = terminal()
    screen.until("1:4")
    screen.until("1:43")  # by the clock
    tv.state.next()
    screen.until("Three Hops")
    tv.state.set_volume(25)
    screen.until("25%")
    with tv.state.change():
        tv.state.power = PowerState.Off
    screen.until("Apple TV 4K, asleep")
    screen.keys("q")
    assert screen.ended() == 0


# -- keys ------------------------------------------------------------------------------------------


def test_keys(tv, terminal):
    screen = terminal()
    screen.until("q quit")
    screen.keys("Up", "Down", "Left", "Right", "Enter", "BSpace", "Escape")
    assert tv.wait_for(lambda: tv.log[5:] == ["menu", "menu"], WAIT), tv.log
    screen.keys("m", "h", "H", "Space", "n", "p", ".", ",", "+", "-", "s", "r", "x", "0")
    wanted = "up down left right select menu menu top_menu home".split()
    wanted += ["home hold", "play_pause", "next", "previous"]
    assert tv.wait_for(lambda: tv.log[: len(wanted)] == wanted, WAIT), tv.log
    assert tv.wait_for(lambda: "mute" in tv.log or "set_volume 0" in tv.log, WAIT), tv.log
    assert [word for word in tv.log if word.startswith(("skip", "volume", "set_sh", "set_r"))] == [
        "skip_forward 10", "skip_backward 10", "volume_up", "volume_down", "set_shuffle Songs",
        "set_repeat Track",
    ]  # fmt: skip
    assert "stop" in tv.log
    screen.types("\x1b[1;5A\x1bx")  # ctrl and an arrow, alt and a letter: no keys of ours
    screen.keys("o")
    screen.until("asleep")
    assert tv.log[-1] == "turn_off"
    screen.keys("o")
    screen.until("Apple TV 4K, on")
    screen.keys("q")
    assert screen.ended() == 0


def test_refusal_costs_one_key(tv, terminal):
    tv.state.disable("next")
    screen = terminal()
    screen.until("q quit")
    screen.keys("n", "Up", "Down")
    screen.until("next: ")
    assert tv.wait_for(lambda: tv.log == ["up", "down"], WAIT)
    screen.keys("Left", "q", "Right")  # the last keys still arrive, those behind q do not
    assert screen.ended() == 0
    assert tv.log == ["up", "down", "left"]


@pytest.mark.parametrize("profile", ["homepod"])
def test_help_of_keys(tv, terminal, profile):
    screen = terminal(width=40, height=12)
    screen.until("? keys  q quit")
    screen.keys("?")
    lines = screen.until("any key goes back")
    assert "arrows  move" in lines[1]
    assert "guide" not in "".join(lines)  # no protocol for it
    screen.keys("g")
    screen.until("? keys  q quit")
    screen.keys("g")
    screen.until("cannot do that (guide)")
    screen.keys("q")
    assert screen.ended() == 0
    assert tv.log == []


def test_letters_go_to_the_text_field(tv, terminal):
    screen = terminal()
    screen.until("q quit")
    tv.state.open_field()
    screen.until("what you type goes to the TV")
    screen.types("q Ünï 茶")
    screen.until("Text: q Ünï 茶_")
    assert tv.wait_for(lambda: tv.state.text == "q Ünï 茶", WAIT)
    screen.keys("BSpace", "BSpace", "Right")
    assert tv.wait_for(lambda: tv.state.text == "q Ünï" and tv.log[-1] == "right", WAIT)
    screen.keys("C-u")
    assert tv.wait_for(lambda: tv.state.text == "", WAIT)
    screen.keys("x", "Enter", "p")
    screen.until("q quit")
    assert tv.wait_for(lambda: tv.log[-1] == "previous", WAIT)
    assert tv.state.text == "x"
    screen.keys("t", "y")
    assert tv.wait_for(lambda: tv.state.text == "xy", WAIT)
    tv.state.close_field()
    screen.until("q quit")
    screen.keys("t", "z")
    screen.until("text_append: no text field is open")
    screen.keys("Escape")
    screen.until("q quit")
    screen.keys("q")
    assert screen.ended() == 0


@pytest.mark.parametrize("profile", ["tvos18"])
def test_backspace_takes_what_is_in_the_field(tv, terminal):
    """Somebody else has typed there, too; what this remote has seen of it is too little."""
    tv.state.open_field("dunes")
    screen = terminal()
    screen.until("Text: dunes_")
    screen.keys("BSpace")
    assert tv.wait_for(lambda: tv.state.text == "dune", WAIT)
    screen.until("Text: dune_")
    tv.state.text_append(" part two")  # on a phone
    screen.keys("BSpace")
    assert tv.wait_for(lambda: tv.state.text == "dune part tw", WAIT)
    screen.until("Text: dune part tw_")
    screen.keys("Enter", "t", "BSpace")  # before it can know what is there
    assert tv.wait_for(lambda: tv.state.text == "dune part t", WAIT)
    screen.keys("C-u", "BSpace", "x", "y", "BSpace")
    assert tv.wait_for(lambda: tv.log[-2:] == ["text_clear", "text_append x"], WAIT)
    screen.until("Text: x_")


@pytest.mark.parametrize("profile", ["atv3"])
def test_command_without_an_answer(tv, terminal, profile):
    """The screen goes on meanwhile; what was pressed after it does not come late."""
    screen = terminal("--timeout", "3")
    screen.until("Harbour Lights")
    tv.fail("pause", silent=True)
    tv.fail("play_pause", silent=True)
    screen.keys("Space", "Up", "Up")
    tv.state.update(title="Something else")
    lines = screen.until("Something else")
    assert "no reply" not in "".join(lines)
    screen.until("no reply to play_pause within 3 s")
    screen.keys("Down")
    assert tv.wait_for(lambda: "down" in tv.log, WAIT)
    assert "up" not in tv.log
    screen.keys("q")
    assert screen.ended() == 0


@pytest.mark.parametrize("profile", ["atv3", "tvos14", "tvos18"])
def test_lost_connection(tv, terminal, profile):
    """It is shown, keys say so, and it comes back, on another port as well."""
    screen = terminal(width=70, height=12)
    screen.until("Harbour Lights")
    tv.move()
    lines = screen.until("Connection lost, trying again")
    assert lines[0].endswith("not connected")
    screen.until("Harbour Lights")
    screen.keys("Up")
    assert tv.wait_for(lambda: "up" in tv.log, WAIT)
    tv.stop()
    screen.until("Connection lost")
    screen.keys("Up")
    screen.until(lambda lines: any(line.startswith("connection to ") for line in lines))
    screen.keys("q")
    assert screen.ended() == 0


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code"),
    [("q", 0), ("C-c", 130), ("C-d", 0), (signal.SIGTERM, 0), (signal.SIGINT, 130)],
)
def test_end(tv, terminal, how, code):
    screen = terminal()
    screen.until("q quit")
    if isinstance(how, str):
        screen.keys(how)
    else:
        os.kill(screen.pid(), how)
    assert screen.ended() == code


def test_end_by_a_bug(tv, terminal):
    script = (
        "import sys; from tinyatv.cli import remote; from tinyatv.cli.program import main\n"
        "def draw(*_): raise RuntimeError('a bug')\n"
        "remote.draw = draw; sys.exit(main([]))"
    )
    with Terminal(shlex.join([sys.executable, "-c", script])) as screen:
        assert screen.ended() == 1
        lines = screen.lines()
    assert "tinyatv: a bug" in lines


def test_terminal_goes_away(tv):
    """Somebody closes the window."""
    own, other = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout"), other)
    with Program(**streams, stderr=subprocess.PIPE) as process:
        os.close(other)
        Person(own).reads("Harbour")
        os.close(own)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


def test_stopped_and_continued(tv, terminal):
    """Ctrl-Z gives the terminal back; afterwards all is drawn anew."""
    with Terminal("sh -i", PS1="shell ") as screen:
        screen.types(f"{sys.executable} -m tinyatv\n")
        screen.until("Harbour Lights")
        screen.keys("C-z")
        screen.until(lambda lines: "shell" in lines and "Harbour Lights" not in lines)
        screen.types("fg\n")
        screen.until("Harbour Lights")
        screen.keys("Up")
        assert tv.wait_for(lambda: tv.log == ["up"], WAIT)
        screen.keys("q")
        screen.until(lambda lines: "shell" in lines)  # it asks again
        screen.types("exit\n")
        assert screen.ended() == 0


# -- where it cannot be ----------------------------------------------------------------------------


def in_a_terminal(*args: str, command=("-u", "-m", "tinyatv")) -> tuple[int, str]:
    """Exit code and screen of a program that ends by itself."""
    own, other = pty.openpty()
    with Program(*args, command=command, **dict.fromkeys(("stdin", "stdout"), other),
                 stderr=subprocess.PIPE) as process:  # fmt: skip
        os.close(other)
        _, err = process.communicate(timeout=60)
    os.close(own)
    return process.returncode, err


def test_terminal_of_an_unknown_kind(tv, monkeypatch):
    monkeypatch.setenv("TERM", "nonsense")
    code, err = in_a_terminal()
    assert (code, err.count("\n")) == (5, 1)
    assert "'nonsense'" in err


def test_no_curses(tv):
    script = "import sys; sys.modules['curses'] = None; from tinyatv.cli.program import main;"
    code, err = in_a_terminal(command=("-c", f"{script} sys.exit(main([]))"))
    assert (code, err) == (5, "tinyatv: this Python has no curses; use `tinyatv prompt`\n")


def test_nobody_at_home(own_store, monkeypatch):
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", "127.0.0.1:1")
    code, err = in_a_terminal("-t", "0.2", "-n", "Attic")
    assert (code, err.count("\n")) == (3, 1)
    code, err = in_a_terminal("-t", "0.2")  # somebody who has just installed it
    assert (code, err.count("\n")) == (3, 1)
    assert "`tinyatv wizard`" in err


def test_no_terminal(tv, capsys):
    code, out, err = run(capsys, "remote")
    assert (code, out, err.count("\n")) == (2, "", 1)
    code, out, _ = run(capsys)
    assert code == 2
    assert "examples:" in out
    assert run(capsys, "remote", "--json")[0] == 2


def test_device_is_chosen_as_everywhere(tv, terminal):
    with VirtualAppleTV("Den", profile="tvos14") as den:
        tinyatv.Store().save(den.device)
        tinyatv.Store().set_alias("Den", "study")
        screen = terminal("-n", "study")
        screen.until("Den  ")
        screen.keys("Up", "q")
        assert screen.ended() == 0
        assert (den.log, tv.log) == (["up"], [])
