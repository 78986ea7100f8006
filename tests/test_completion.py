"""Completion in real shells: what TAB offers, and that it is what the program takes."""

from __future__ import annotations

import fcntl
import json
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

import tinyatv
from tests.support.program import run
from tinyatv import Device, Service
from tinyatv.cli import NAMES, common_flags, subcommand_parser
from tinyatv.cli.completion import SHELLS, Tables, argument
from tinyatv.cli.help import topics
from tinyatv.cli.words import ELSEWHERE, HELP, SUBCOMMANDS, parse
from tinyatv.virtual import PROFILES

ROOT = pathlib.Path(__file__).parent.parent
DEVICES = {  # name: identifier
    "Living Room": "AA:BB:CC:00:00:01",
    "Lounge": "AA:BB:CC:00:00:02",
    "Evil! $(touch pwned) `touch pwned` 'x'; \"y\" \\z": "EVIL",
    "Küche": "CC:00",
}


@pytest.fixture(params=[pytest.param(s, marks=pytest.mark.skipif(
    shutil.which(s) is None, reason=f"{s} is not installed")) for s in SHELLS])  # fmt: skip
def shell(request, own_store, tmp_path, monkeypatch, capsys):
    """A shell with the script, stored devices, and files in the current folder."""
    for name, identifier in DEVICES.items():
        service = Service("dmap", 1, identifier=identifier, credentials="0x0123456789ABCDEF")
        tinyatv.Store().save(Device(name, "192.0.2.1", [service]))
    tinyatv.Store().set_alias("Lounge", "tele")
    programs, here = tmp_path / "bin", tmp_path / "here"
    programs.mkdir()
    here.mkdir()
    program = programs / "tinyatv"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tinyatv "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.chdir(here)
    (here / "cover.png").touch()
    (here / "co dir").mkdir()
    script = tmp_path / f"script.{request.param}"
    code, out, _ = run(capsys, "completion", request.param)
    assert code == 0
    script.write_text(out)
    yield {"bash": Bash, "zsh": Zsh, "fish": Fish}[request.param](script)
    assert not (here / "pwned").exists()


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


# -- what is offered -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("tinyatv set_re", {"set_repeat="}),
        ("tinyatv set_repeat=", {"set_repeat=off", "set_repeat=track", "set_repeat=all"}),
        ("tinyatv set_repeat=tr", {"set_repeat=track"}),
        ("tinyatv -n tv menu set_shuffle=s", {"set_shuffle=songs"}),
        ("tinyatv select=h", {"select=hold"}),
        ("tinyatv turn_on=", {"turn_on=wait"}),
        ("tinyatv features=", {"features=all"}),
        ("tinyatv set_position=", set()),
        ("tinyatv play select=nonsense", set()),
        ("tinyatv wiz", {"wizard"}),
        ("tinyatv --protocol d", {"dmap"}),
        ("tinyatv virtual --profile tv", {one for one in PROFILES if one.startswith("tv")}),
        ("tinyatv completion ", set(SHELLS)),
        ("tinyatv completion bash ", set()),
        ("tinyatv devices a", {"alias"}),
        ("tinyatv devices alias Lo", {"Lounge"}),
        ("tinyatv -n te", {"tele"}),
        ("tinyatv --name K", {"Küche"}),
        ("tinyatv doctor Lo", {"Lounge"}),
        ("tinyatv -i AA:BB:CC:00:00:0", {"AA:BB:CC:00:00:01", "AA:BB:CC:00:00:02"}),
        ("tinyatv --storage-fil", {"--storage-filename"}),
        ("tinyatv --storage-filename cov", {"cover.png"}),
        ("tinyatv artwork=cov", {"artwork=cover.png"}),
        ("tinyatv play_url=cov", {"play_url=cover.png"}),
        ("tinyatv virtual --home-sharing --prof", {"--profile"}),
        ("tinyatv help exit", {"exit-codes"}),
        ("tinyatv help set_rep", {"set_repeat"}),
    ],
)  # fmt: skip
def test_offers(shell, line, wanted):
    assert shell.offers(line) == wanted


def test_everything_is_offered(shell):
    words = {word.rstrip("=") for word in shell.offers("tinyatv ")}
    assert words == {*HELP, *ELSEWHERE, *SUBCOMMANDS}
    assert {word.rstrip("=") for word in shell.offers("tinyatv play ")} == {*HELP, *ELSEWHERE}
    assert shell.offers("tinyatv help ") == set(topics())


@pytest.mark.parametrize("word", ["", *SUBCOMMANDS])
def test_every_flag_is_offered(shell, word):
    parser = subcommand_parser(word, common_flags()) if word else common_flags()
    left = [line.strip().split("  ")[0] for line in parser.format_help().splitlines()]
    shown = {flag for one in left if one.startswith("-") for flag in re.findall("--[a-z-]+", one)}
    assert len(shown) > 10
    assert shell.offers(f"tinyatv {word} --") - {"--version", "--help"} == shown - {"--help"}


@pytest.mark.parametrize("typed", ["-n Liv\t", "-n 'Liv\t", '-n "Liv\t', "--name=Liv\t"])
def test_name_with_a_blank_at_a_prompt(prompt, typed):
    prompt.types(f"show {typed}")
    prompt.reads("Living.*Room")
    prompt.types("\n")
    prompt.reads(r"\n<(--name=)?Living Room>\r?\n")


@pytest.mark.parametrize("typed", ["-n Evi\t", "-n 'Evi\t", '-n "Evi\t'])
def test_hostile_name_at_a_prompt(prompt, typed):
    """What somebody called their TV is text, whatever is in it."""
    prompt.types(f"show {typed}")
    prompt.reads("z")
    prompt.types("\n")
    (name,) = [one for one in DEVICES if one.startswith("Evil")]
    prompt.reads(re.escape(f"<{name}>"))


@pytest.fixture
def prompt(shell):
    """A prompt at which `show` is completed like tinyatv, and shows its arguments."""
    if isinstance(shell, Bash):
        command = ["bash", "--norc", "--noprofile", "-i"]
        start = (
            'show() { if [[ $1 == complete-names ]]; then tinyatv "$@";'
            " else printf '<%s>\\n' \"$@\"; fi; }; complete -F _tinyatv show\n"
            "bind 'set enable-bracketed-paste off'; PS1='ready> '\n"
        )
    elif isinstance(shell, Zsh):
        command = ["zsh", "-f", "-i"]
        start = (
            'show() { if [[ $1 == complete-names ]]; then tinyatv "$@";'
            " else printf '<%s>\\n' \"$@\"; fi; }; compdef _tinyatv show\n"
        )
    else:
        command = ["fish", "--no-config", "-i"]
        start = (
            "function fish_prompt; echo -n 'ready> '; end\n"
            "function show; if test $argv[1] = complete-names; tinyatv $argv;"
            " else; printf '<%s>\\n' $argv; end; end; complete -c show -f -a '(__tinyatv)'\n"
        )
    before = shell.START if isinstance(shell, Zsh) else ""
    shell.script.with_suffix(".prompt").write_text(f"{before}\nsource {shell.script}\n{start}")
    with Terminal(*command) as terminal:
        terminal.types(f"source {shell.script.with_suffix('.prompt')}\n")
        terminal.reads("ready> ")
        yield terminal


def test_bash_that_cuts_words_elsewhere(shell):
    """Some people take = and : out of what ends a word."""
    if not isinstance(shell, Bash):
        pytest.skip("only bash cuts words")
    code = "COMP_WORDBREAKS=$' \\t\\n\"'\n" + Bash.CODE
    given = 'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))'
    whole = code.replace(given, "COMP_WORDS=($COMP_LINE) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))")
    for line, wanted in (
        ("tinyatv set_repeat=tr", "set_repeat=track"),
        ("tinyatv -i AA:BB:CC:00:00:01", "AA:BB:CC:00:00:01"),
        ("tinyatv --protocol=dm", "--protocol=dmap"),
    ):
        done = subprocess.run(
            ["bash", "--norc", "-c", whole, "bash", shell.script, line],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == (f"{wanted}\n", "")


# -- where it comes from ---------------------------------------------------------------------------


def test_what_is_offered_is_accepted():
    tables = Tables()
    assert {word.rstrip("=") for word in tables.words} == {*HELP, *ELSEWHERE}
    for word in tables.words:
        if not word.endswith("="):
            parse(word)
    for word, kind in tables.behind.items():
        for choice in [] if kind.startswith("@") else kind.split():
            parse(f"{word}={choice}")
    assert set(tables.arguments) == set(SUBCOMMANDS)


@pytest.mark.parametrize(
    ("word", "kind"),
    [("up", "hold double"), ("set_shuffle", "off albums songs"), ("turn_off", "wait"),
     ("features", "all"), ("artwork", "@files"), ("artwork_save", "@files"), ("play_url", "@files"),
     ("play-url", "@files"), ("text_set", "@free"), ("delay", "@free"), ("volume", "@free"),
     ("play", None), ("home_hold", None), ("nonsense", None)],
)  # fmt: skip
def test_argument(word, kind):
    assert argument(word) == kind


@pytest.fixture
def stored(own_store):
    service = Service("dmap", 1, identifier="AB:CD")
    tinyatv.Store().save(Device("Den\n-n x", "192.0.2.1", [service]))  # two lines: left out
    tinyatv.Store().set_alias("AB:CD", "den")
    return own_store


def test_names(stored, capsys):
    assert run(capsys, NAMES) == (0, "den\n", "")
    assert run(capsys, NAMES, "ids") == (0, "AB:CD\n", "")


@pytest.mark.parametrize("content", ["{", "[]", '{"devices": [1]}', "\x00", None])
def test_names_never_fail(stored, capsys, content):
    if content is None:
        stored.unlink()
        stored.mkdir()
    else:
        stored.write_text(content)
    assert run(capsys, NAMES) == (0, "", "")


def test_names_load_only_what_they_need(stored):
    script = (
        "import sys; from tinyatv.cli import main; code = main(['complete-names']);"
        "print(code, *[m for m in ('zeroconf', 'asyncio', 'google.protobuf', 'requests', 'socket',"
        "'tinyatv.device', 'tinyatv.discovery', 'tinyatv.cli.help') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "den\n0\n"


def test_usage(capsys):
    assert run(capsys, "completion")[0] == 2
    assert run(capsys, "completion", "tcsh")[0] == 2
    code, out, _ = run(capsys, "completion", "bash", "--json")
    assert (code, json.loads(out)["shell"]) == (0, "bash")
    assert "complete -F" in json.loads(out)["script"]
