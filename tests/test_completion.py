"""Completion in real shells: what TAB offers, and that it is what the program takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

import tinyatv
from tests.support.program import run
from tests.support.shells import SHELL_PARAMS, Bash, Terminal, Zsh, open_shell
from tinyatv import Device, Service
from tinyatv.cli.completion import SHELLS, Tables, argument
from tinyatv.cli.flags import common_flags
from tinyatv.cli.help import topics
from tinyatv.cli.parsers import subcommand_parser
from tinyatv.cli.program import NAMES
from tinyatv.cli.words import is_program, lines, parse, programs
from tinyatv.virtual import PROFILES

DEVICES = {  # name: identifier
    "Living Room": "AA:BB:CC:00:00:01",
    "Lounge": "AA:BB:CC:00:00:02",
    "Evil! $(touch pwned) `touch pwned` 'x'; \"y\" \\z": "EVIL",
    "Küche": "CC:00",
}


@pytest.fixture(params=SHELL_PARAMS)
def shell(request, own_store, tmp_path, monkeypatch, capsys):
    """A shell with the script, stored devices, and files in the current folder."""
    for name, identifier in DEVICES.items():
        service = Service("dmap", 1, identifier=identifier, credentials="0x0123456789ABCDEF")
        tinyatv.Store().save(Device(name, "192.0.2.1", [service]))
    tinyatv.Store().set_alias("Lounge", "tele")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "cover.png").touch()
    (here / "co dir").mkdir()
    code, out, _ = run(capsys, "completion", request.param)
    assert code == 0
    yield open_shell(request.param, out, tmp_path, monkeypatch)
    assert not (here / "pwned").exists()


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
        ("tinyatv devices a", {"address", "adopt", "alias"}),
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
    assert words == set(lines())
    plain = {word for word in lines() if not is_program(word)}
    assert {word.rstrip("=") for word in shell.offers("tinyatv play ")} == plain
    assert shell.offers("tinyatv help ") == set(topics())


@pytest.mark.parametrize("word", ["", *(row.name for row in programs())])
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
    plain = {word for word in lines() if not is_program(word)}
    assert {word.rstrip("=") for word in tables.words} == plain
    for word in tables.words:
        if not word.endswith("="):
            parse(word)
    for word, kind in tables.behind.items():
        for choice in [] if kind.startswith("@") else kind.split():
            parse(f"{word}={choice}")
    assert set(tables.arguments) == {row.name for row in programs()}


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
        "import sys; from tinyatv.cli.program import main; code = main(['complete-names']);"
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
