"""Real shells that complete words: what TAB offers."""

from __future__ import annotations

import fcntl
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time

import pytest

from tinyatv.cli.completion import SHELLS

ROOT = pathlib.Path(__file__).parents[2]
SHELL_PARAMS = [
    pytest.param(name, marks=pytest.mark.skipif(
        shutil.which(name) is None, reason=f"{name} is not installed"))
    for name in SHELLS
]  # fmt: skip


def open_shell(name: str, text: str, folder: pathlib.Path, monkeypatch) -> Bash | Fish | Zsh:
    """A shell that has read a completion script, with `tinyatv` in its path.

    Args:
        name: Which one.
        text: The script.
        folder: Takes the files that it needs.
        monkeypatch: Sets its environment.
    """
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "tinyatv"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tinyatv "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
    monkeypatch.setenv("TERM", "dumb")
    script = folder / f"script.{name}"
    script.write_text(text)
    return {"bash": Bash, "zsh": Zsh, "fish": Fish}[name](script)


class Fish:
    """``complete -C`` does what TAB does."""

    def __init__(self, script: pathlib.Path) -> None:
        self.script = script

    def offers(self, line: str) -> set[str]:
        """What TAB offers at the end of the line, each as the whole word that it makes."""
        code = f"source {self.script}; complete -C (cat)"
        done = subprocess.run(
            ["fish", "--no-config", "-c", code], input=line, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return {one.split("\t")[0] for one in done.stdout.splitlines()}


class Bash:
    """The function, called as bash calls it."""

    CODE = """
    source "$1"; shift
    COMP_LINE=$1 COMP_POINT=${#1}; shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _tinyatv
    printf '%s\\n' "${COMPREPLY[@]}"
    """

    def __init__(self, script: pathlib.Path) -> None:
        self.script = script

    def offers(self, line: str, *, code: str = CODE) -> set[str]:
        words = re.findall(r"""["'][^"']*["']?|[=:]|(?:\\.|[^\s=:])+""", line)
        if line.endswith(" ") and not re.search(r"\\ $|[\"'][^\"']*$", line):
            words.append("")
        done = subprocess.run(
            ["bash", "--norc", "-c", code, "bash", self.script, line, *words],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return {self._whole(line, one) for one in done.stdout.splitlines() if one}

    def _whole(self, line: str, reply: str) -> str:
        """bash replaces what stands behind the last cut."""
        word = line.rsplit(" ", 1)[-1]
        return re.sub(r"[^=:]*$", "", word) + reply if re.match(r"[^\"']", word) else reply


class Terminal:
    """An interactive shell at a pseudo-terminal."""

    def __init__(self, *command: str | pathlib.Path) -> None:
        self._screen, terminal = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(terminal)
        self.text = ""

    def types(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def reads(self, wanted: str) -> str:
        """Read until `wanted`, a pattern, has come; returns all that was read since the last."""
        until = time.monotonic() + 30
        while not (found := re.search(wanted, self.text)):
            ready, _, _ = select.select([self._screen], [], [], max(0, until - time.monotonic()))
            assert ready, f"{wanted!r} did not come; came: {self.text!r}"
            self.text += os.read(self._screen, 4096).decode(errors="replace")
        read, self.text = self.text[: found.end()], self.text[found.end() :]
        return read

    def close(self) -> None:
        os.close(self._screen)
        self._process.terminate()
        self._process.wait(timeout=30)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Zsh:
    """An interactive zsh: only there does its completion run."""

    START = """
    PS1='ready> '; unset zle_bracketed_paste; unsetopt beep
    autoload -U compinit; compinit -u -D
    """
    # What is offered is caught where it is handed over, as the whole word that it makes. Calls with
    # -O, -A or -D only sort out.
    CATCH = """
    catch() {
        compadd() {
            local -a got
            if (( ! ${@[(I)-[OAD]]} )); then
                builtin compadd -O got "$@"
                for one in $got; do print -r -- "$IPREFIX$one" >>$OUT; done
            fi
            builtin compadd "$@"
        }
        _main_complete
        unfunction compadd
        print -r -- done >>$OUT
    }
    zle -C catch complete-word catch
    bindkey '^T' catch
    """

    def __init__(self, script: pathlib.Path) -> None:
        self.script = script
        self._start = script.with_suffix(".start")
        self._start.write_text(f"{self.START}{self.CATCH}source {script}\n")

    def offers(self, line: str) -> set[str]:
        caught = self.script.with_suffix(".caught")
        caught.unlink(missing_ok=True)
        os.mkfifo(caught)
        with Terminal("zsh", "-f", "-i") as terminal:
            terminal.types(f"OUT={caught}; source {self._start}\n")
            terminal.reads("ready> ")
            terminal.types(line + "\x14")
            return self._read(caught)

    def _read(self, caught: pathlib.Path) -> set[str]:
        handle = os.open(caught, os.O_RDWR)  # does not wait for a writer, nor end with it
        text = ""
        until = time.monotonic() + 30
        try:
            while not re.search(r"^done$", text, re.M):
                ready, _, _ = select.select([handle], [], [], max(0, until - time.monotonic()))
                assert ready, f"nothing more came: {text!r}"
                text += os.read(handle, 65536).decode()
        finally:
            os.close(handle)
            caught.unlink()
        return set(text.split("\ndone\n")[0].splitlines()) - {"done"}
