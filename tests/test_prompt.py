"""The prompt: from a pipe and in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import stat
import subprocess

import pytest

from tests.support.program import Person, Program

PROMPT = "tinyatv> "


@pytest.fixture
def profile():
    return "tvos14"


def typed(text: str, *flags: str, word: str = "prompt") -> tuple[int, str, str]:
    """What comes of text in a pipe."""
    with Program(word, *flags) as process:
        out, err = process.communicate(text, timeout=60)
    return process.returncode, out, err


# -- from a pipe -----------------------------------------------------------------------------------


def test_lines(tv):
    tv.state.open_field()
    text = "up\n\n# a comment\n  menu down=3 'text_set=two words'\ntitle artist\nexit\nleft\n"
    assert typed(text) == (0, "Harbour Lights\nThe Loopbacks\n", "")
    assert tv.log == ["up", "menu", "down", "down", "down", "text_clear", "text_append two words"]
    assert typed('text_set="one"\nquit\n', word="cli") == (0, "", "")
    assert tv.state.text == "one"
    assert tv.wait_for(lambda: not tv.mrp.peers)


def test_exit_code_is_that_of_the_last_failure(tv):
    """And nothing ends it."""
    tv.state.disable("next")
    code, out, err = typed("plya\nup 'text\nup=x left\nnext down\nserver_info\nright")
    assert (code, out) == (5, "")
    assert err.count("\n") == 5
    assert err.startswith("tinyatv: unknown command 'plya', did you mean 'play'?")
    assert tv.log == ["right"]
    assert typed("plya\nright\n")[0] == 2
    assert typed("\n\n")[0] == typed("")[0] == 0


def test_bytes_that_are_no_text(tv):
    with Program("prompt", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.buffer.write(b"up\n\xff\xfe\0\ndown\n")
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (2, 1)
    assert tv.log == ["up", "down"]


def test_json(tv):
    code, out, err = typed("pause\ntitle\nplya\n", "--json")
    assert (code, err) == (2, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["result"] for line in lines] == ["success", "success", "failure"]
    assert (lines[0]["command"], lines[1]["title"]) == ("pause", "Harbour Lights")


def test_programs(tv):
    code, out, err = typed("help select\ncommands\ndevices\nwatch\nserve --stop\nup\n")
    assert code == 2
    assert out.startswith("select: ")
    assert f"Living Room: 127.0.0.1, {tv.identifier}" in out
    assert err == "".join(
        f"tinyatv: {word} is a program of its own: `exit` first\n" for word in ("watch", "serve")
    )
    assert tv.log == ["up"]


def test_watch_at_the_end_of_a_line(tv):
    """It would read what comes next, and end the connection."""
    tv.state.open_field()
    code, out, err = typed("pause watch\nup push_updates\ntype watch\ntitle\n")
    assert (code, out) == (2, "Harbour Lights\n")
    assert err == "".join(
        f"tinyatv: {word} is a program of its own: `exit` first\n"
        for word in ("watch", "push_updates")
    )
    assert tv.log == ["text_clear", "text_append watch"]


def test_programs_have_the_flags_of_the_prompt(tv, monkeypatch):
    hosts = f"127.0.0.1:{tv.ports['mdns']}"
    monkeypatch.delenv("TINYATV_SCAN_HOSTS")
    code, out, err = typed(
        "scan\ndevices\n", "-s", hosts, "--scan-timeout", "1", "--storage", "none",
        "--mrp-credentials", tv.device.service("mrp").credentials, "--protocol", "mrp",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "Name: Living Room" in out
    assert f"Living Room: 127.0.0.1, {tv.identifier}" not in out  # nothing is stored


def test_which_device(tv):
    assert typed("up\n", "-n", "living room")[0] == 0
    code, out, err = typed("up\n", "-t", "0.2", "-n", "Attic")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert tv.log == ["up"]


@pytest.mark.parametrize("profile", ["atv3", "tvos14", "tvos18"])
def test_lost_connection(tv, profile):
    """It says so, and connects anew for the next line, though the port has changed."""
    with Program("prompt", "--json") as process:

        def pause() -> dict:
            process.stdin.write("pause\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        assert pause()["result"] == "success"
        tv.move()
        told = [pause()]
        while told[-1]["result"] == "failure" and len(told) < 3:  # what is under way as it breaks
            told.append(pause())
        _, err = process.communicate("up\n", timeout=60)
    assert told[-1]["result"] == "success", told
    assert all(line["error"] == "connection_lost" for line in told[:-1])
    assert err == "tinyatv: the connection to Living Room was lost; reconnecting\n"
    assert tv.log == ["pause", "pause", "up"]


def test_device_that_is_off(tv):
    tv.stop()
    code, out, err = typed("up\n", "-t", "0.2")
    assert (code, out, err.count("\n")) == (4, "", 2)


def test_reader_goes_away(tv):
    """It ends, without a word."""
    with Program("prompt") as process:
        process.stdin.write("title\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write("title\ntitle\n")
        process.stdin.flush()
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


# -- in a terminal ---------------------------------------------------------------------------------


class Session(Program):
    """The prompt in a terminal, and somebody at it."""

    def __init__(self, *args: str) -> None:
        self.screen, terminal = pty.openpty()
        super().__init__("prompt", *args, **dict.fromkeys(("stdin", "stdout", "stderr"), terminal))
        os.close(terminal)
        self.person = Person(self.screen)

    def types(self, text: str) -> str:
        """Type a line at the next prompt; what came before it."""
        before = self.person.reads(PROMPT)
        self.person.types(text)
        return before

    def presses(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def interrupt(self) -> None:
        """Ctrl-C; once more if it came just before readline began to wait, which it overlooks."""
        for _ in range(20):
            self.send_signal(signal.SIGINT)
            if select.select([self.screen], [], [], 1.0)[0]:
                return

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.wait(timeout=30)
        super().__exit__(kind, error, trace)
        os.close(self.screen)


@pytest.fixture
def history(own_store, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")  # no sequences between the letters
    return own_store.parent / "history"


def test_terminal(tv, history):
    tv.state.open_field()
    with Session() as session:
        assert "Connected to Living Room." in session.types("title")
        assert "Harbour Lights" in session.types("plya")
        assert "tinyatv: unknown command 'plya'" in session.types("text_set=password1")
        session.types("up")
        session.person.reads(PROMPT)
        session.presses("half a li")
        session.person.reads("half a li")
        session.interrupt()  # only the line is gone
        session.types("down")
        session.person.reads(PROMPT)
        session.presses("\x04")  # Ctrl-D
    assert session.returncode == 0
    assert tv.log == ["text_clear", "text_append password1", "up", "down"]
    pytest.importorskip("readline")
    assert history.read_text() == "title\nplya\nup\ndown\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_history_and_completion(tv, history):
    pytest.importorskip("readline")
    history.write_text("left\nright\n")
    history.chmod(0o644)
    with Session() as session:
        session.person.reads(PROMPT)
        session.presses("\x10\x10\n")  # Ctrl-P: the line before
        session.person.reads(PROMPT)
        session.presses("screen\t\n")
        session.types("exit")
    assert session.returncode == 0
    assert tv.log == ["left", "screensaver"]
    assert history.read_text() == "left\nright\nleft\nscreensaver\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_nothing_is_remembered(tv, history):
    by_hand = ["-m", "--address", "127.0.0.1", "--port", str(tv.ports["mrp"]), "--protocol", "mrp"]
    secret = history.parent / "secret"
    secret.write_text(tv.credentials["mrp"])
    with Session(*by_hand, "--storage", "none", "--mrp-credentials", f"@{secret}") as session:
        session.types("up")
        session.types("exit")
    assert session.returncode == 0
    assert tv.log == ["up"]
    assert not history.exists()


def test_history_that_cannot_be_written(tv, history):
    history.mkdir()
    with Session() as session:
        session.types("up")
        session.types("exit")
        session.person.reads("history: Is a directory")
    assert session.returncode == 0


def test_interrupted_in_a_pipe(tv):
    with Program("prompt") as process:
        process.stdin.write("title\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
