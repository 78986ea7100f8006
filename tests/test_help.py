"""Help for everything: words, subcommands, topics, the manual page; and all of it is complete."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import tinyatv
from tests.support.program import run, run_json
from tinyatv.cli.flags import common_flags
from tinyatv.cli.help import about_word, topics
from tinyatv.cli.manual import page
from tinyatv.cli.output import EXIT_CODES, EXITS
from tinyatv.cli.parsers import program_parser, subcommand_parser
from tinyatv.cli.topics import ENVIRONMENT, TOPICS
from tinyatv.cli.words import COMMANDS, lines, programs
from tinyatv.routes import FIELDS, ROUTES

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = "".join(path.read_text("utf-8") for path in (ROOT / "tinyatv").rglob("*.py"))


def flags_of(parser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("topic", topics())
def test_every_topic(capsys, topic):
    code, out, err = run(capsys, "help", topic)
    assert (code, err) == (0, "")
    assert out.startswith(f"{topic}: ")
    assert len(out.splitlines()[0]) > len(topic) + 5
    assert max(map(len, out.splitlines())) <= 120
    code, (line,) = run_json(capsys, "help", topic)
    assert (code, line["command"]) == (0, topic)
    assert line["help"] in out


@pytest.mark.parametrize("word", [row.name for row in programs()])
def test_help_of_a_subcommand_tells_its_flags(capsys, word):
    _, out, _ = run(capsys, "help", word)
    assert all(flag in out for flag in flags_of(subcommand_parser(word)))
    assert f"tinyatv {word} --help" in out


def test_topics_that_a_person_looks_for():
    wanted = "pairing devices scripting exit-codes environment virtual keys".split()
    assert set(wanted) <= set(TOPICS)


def test_list(capsys):
    code, out, _ = run(capsys, "help")
    assert code == 0
    for name in topics():
        assert re.search(rf"^{re.escape(name)} ", out, re.M)
    assert run(capsys, "commands")[1] == out
    _, (line,) = run_json(capsys, "help")
    assert set(line["commands"]) == set(lines())
    assert set(line["topics"]) == set(TOPICS)


@pytest.mark.parametrize("topic", ["plya", "nonsense", "play=1", "select=hold", "", "exit_codes"])
def test_unknown_topic(capsys, topic):
    code, out, err = run(capsys, "help", topic)
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("word", "lines"),
    [
        ("select", ["over mrp or dmap", "in Python: atv.select(*, hold=0.0, presses=1)"]),
        ("home_hold", ["over mrp", "in Python: atv.home(*, hold=0.0, presses=1)"]),
        ("artwork_save", ["over mrp or dmap", "in Python: atv.artwork(width=512, height=None)"]),
        ("title", ["over mrp or dmap"]),
        ("delay", []),
        ("model", []),
    ],
)
def test_about_a_word(word, lines):
    told = about_word(word)
    assert len(told) == len(lines)
    assert told[1:] == lines[1:]
    if lines:  # protocols may be added
        assert set(lines[0].split()) <= {*told[0].split(), "or"}


def test_about_a_word_is_what_the_tables_say():
    for word in COMMANDS:
        served = {**FIELDS, **ROUTES}.get(word)
        if served:
            assert about_word(word)[0] == f"over {' or '.join(served)}"
        method = getattr(tinyatv.AppleTV, word, None)
        if word in ROUTES and callable(method):
            assert about_word(word)[-1].startswith(f"in Python: atv.{word}(")


def test_exit_codes(capsys):
    assert {code for _, code, _ in EXIT_CODES} <= set(EXITS)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert dict(re.findall(r"^\| (\d+) \| (.*?) \|$", readme, re.M)) == {
        str(code): text for code, text in EXITS.items()
    }
    _, out, _ = run(capsys, "help", "exit-codes")
    for code, text in EXITS.items():
        assert re.search(rf"^ *{code} +{text}$", out, re.M)
        assert re.search(rf"^ *{code} +{text}$", run(capsys, "--help")[1], re.M)


def test_every_variable_is_explained(capsys):
    read = set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", SOURCES))
    assert read
    assert read <= set(ENVIRONMENT)
    _, out, _ = run(capsys, "help", "environment")
    assert all(name in out for name in ENVIRONMENT)


# -- the manual page -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manual(tmp_path_factory):
    path = tmp_path_factory.mktemp("man") / "tinyatv.1"
    path.write_text(page() + "\n", "utf-8")
    return path


def test_manual_is_printed(capsys, manual):
    assert run(capsys, "help", "--man") == (0, manual.read_text("utf-8"), "")
    _, (line,) = run_json(capsys, "help", "--man")
    assert line["man"] + "\n" == manual.read_text("utf-8")


def test_structure_of_the_manual(manual):
    lines = manual.read_text("utf-8").splitlines()
    assert lines[0].startswith(".TH TINYATV 1 ")
    sections = [line[4:] for line in lines if line.startswith(".SH ")]
    assert sections[:4] == ["NAME", "SYNOPSIS", "DESCRIPTION", "FLAGS"]
    assert {"SUBCOMMANDS", "WORDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"} <= set(
        sections
    )
    assert len(set(sections)) == len(sections)
    known = {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".br", ".nf", ".fi", ".nh", ".ad"}
    for line in lines:
        if line.startswith((".", "'")):
            assert line.split(" ")[0] in known
        assert not re.search(r"(?<!\\)-", line)  # a hyphen that cannot be copied
        assert set(re.findall(r"\\(.)", line)) <= set("-&e(f")
    assert lines.count(".nf") == lines.count(".fi")


def as_text(manual: pathlib.Path, command: list[str]) -> str:
    done = subprocess.run([*command, manual], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout).replace("‐", "-").replace("−", "-")


@pytest.mark.parametrize(
    "command",
    [["groff", "-man", "-Tutf8", "-ww"], ["mandoc", "-T", "utf8", "-W", "error"],
     ["man", "--warnings=w", "-E", "UTF-8", "-P", "cat", "-l"]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_manual_tells_everything(manual, command, monkeypatch):
    """Formatted without a warning, with nothing lost."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    monkeypatch.setenv("MANWIDTH", "100")
    text = as_text(manual, command)
    for word in lines():
        assert re.search(rf"^ +{re.escape(word)}\b", text, re.M), word
    for row in programs():
        assert all(flag in text for flag in flags_of(subcommand_parser(row.name)))
    parser = program_parser(common_flags())
    hidden = {f for a in parser._actions if a.help == argparse.SUPPRESS for f in a.option_strings}
    assert all(flag in text for flag in flags_of(parser) - hidden)
    assert 'devices alias "Living Room" tv' in text
    assert "~/.config/tinyatv/devices.json" in text
    assert "`tinyatv doctor` tries what is stored" in text


def test_manual_without_lint(manual):
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    lint = ["mandoc", "-T", "lint", "-W", "warning", manual]
    done = subprocess.run(lint, capture_output=True, text=True, timeout=60)
    told = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert told == []  # a date would be that of printing it, and say nothing


# -- the other way to start it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [["--help"], ["--version"], ["help"], ["help", "--man"], ["help", "pairing"], ["commands"],
     ["scan", "--help"], ["completion", "zsh"], ["devices"], ["plya"], ["--nonsense"], [],
     ["help", "nonsense"], ["complete-names"]],
    ids=" ".join,
)  # fmt: skip
def test_module_is_the_program(tmp_path, args):
    """``python -m tinyatv`` and the installed program: the same output, errors and exit code."""
    program = tmp_path / "tinyatv"  # as pip writes it
    program.write_text(
        f"#!{sys.executable}\nimport re\nimport sys\nfrom tinyatv.__main__ import console\n"
        "if __name__ == '__main__':\n"
        "    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n"
        "    sys.exit(console())\n"
    )
    program.chmod(0o755)
    script, module = (
        subprocess.run(
            [*command, *args], capture_output=True, text=True, timeout=60, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for command in ([program], [sys.executable, "-m", "tinyatv"])
    )  # fmt: skip
    assert (script.returncode, script.stdout, script.stderr) == (
        module.returncode,
        module.stdout,
        module.stderr,
    )
    assert script.stdout or script.stderr or args == ["complete-names"]


def test_json_of_help_is_one_line(capsys):
    _, out, _ = run(capsys, "help", "--json")
    assert out.count("\n") == 1
    assert json.loads(out)["result"] == "success"
