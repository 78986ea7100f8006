"""A word of the command line is one row: adding it makes the word appear, and work, everywhere."""

from __future__ import annotations

import inspect
import io
import json
import os
import sys
import tempfile
import threading

import pytest

import tinyatv
from tests.support.program import run, run_json
from tests.support.shells import SHELL_PARAMS, open_shell
from tinyatv.cli import press
from tinyatv.cli.command import ArgumentSpec, Command, one_of
from tinyatv.cli.manual import page
from tinyatv.cli.serve import Server
from tinyatv.cli.words import COMMANDS, find, lines, parse
from tinyatv.files import socket_path, store_path
from tinyatv.routes import FIELDS, ROUTES

ROW = Command(
    "subtitles",
    "choose which subtitles are shown",
    ArgumentSpec("=on or forced", one_of("on", "forced"), least=0),
    feature="captions",
    aliases=("subs",),
)


@pytest.fixture
def profile():
    return "tvos14"


@pytest.fixture
def row(monkeypatch):
    """The row, and nothing else."""
    monkeypatch.setitem(COMMANDS, ROW.name, ROW)
    return ROW


# -- one row ---------------------------------------------------------------------------------------


def test_it_works(tv, row, capsys):
    assert run(capsys, "subtitles=on", "up", "subs") == (0, "", "")
    assert tv.log == ["set_captions 2", "up", "set_captions 4"]
    code, (line,) = run_json(capsys, "subs=forced")
    assert (code, line["result"], line["command"]) == (0, "success", "subtitles")


@pytest.mark.parametrize("word", ["subtitles=x", "subs=on,on", "subtitels"])
def test_it_is_checked_before_anything_is_sent(tv, row, capsys, word):
    code, out, err = run(capsys, "up", word)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "subtitles" in err
    assert tv.log == []


def test_it_is_listed_and_explained(row, capsys):
    line = "choose which subtitles are shown; =on or forced"
    for word in ("commands", "help"):
        text = run(capsys, word)[1]
        assert any(one.split("  ")[0] == "subtitles" and line in one for one in text.splitlines())
        assert run_json(capsys, word)[1][0]["commands"]["subtitles"] == line
    code, text, _ = run(capsys, "help", "subtitles")
    assert code == 0
    assert text.splitlines()[0] == f"subtitles: {line}"
    assert f"over {' or '.join(ROUTES['captions'])}" in text
    assert "atv.captions(" in text
    code, (shown,) = run_json(capsys, "help", "subtitles")
    assert (code, shown["help"]) == (0, line)
    assert run(capsys, "help", "subs")[1].startswith("subs: the same as subtitles\n")


def test_it_is_in_the_manual(row):
    text = page()
    assert r"\fBsubtitles\fR" + "\nchoose which subtitles are shown; =on or forced" in text
    assert r"\fBsubs\fR" + "\nthe same as subtitles" in text


def test_it_works_at_the_prompt(tv, row, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("subtitles=on\nhelp subs\n"))
    code, out, err = run(capsys, "prompt")
    assert (code, err) == (0, "")
    assert out.startswith("subs: the same as subtitles\n")
    assert tv.log == ["set_captions 2"]


@pytest.mark.parametrize("name", SHELL_PARAMS)
def test_it_is_completed(row, name, capsys, tmp_path, monkeypatch, own_store):
    shell = open_shell(name, run(capsys, "completion", name)[1], tmp_path, monkeypatch)
    assert shell.offers("tinyatv subt") == {"subtitles", "subtitles="}
    assert shell.offers("tinyatv up subs") >= {"subs", "subs="}
    assert shell.offers("tinyatv subs=") == {"subs=on", "subs=forced"}
    assert shell.offers("tinyatv help subt") == {"subtitles"}


@pytest.mark.parametrize("served", [True, False])
def test_a_remote_caller_may_send_it_or_not(tv, row, monkeypatch, served):
    monkeypatch.setattr(row, "served", served)
    store = os.path.abspath(store_path())
    with tempfile.TemporaryDirectory(prefix="tinyatv-") as folder:  # short enough for a socket
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        server = Server(socket_path(store), store)
        server.open()
        serving = threading.Thread(target=server.run)
        serving.start()
        try:
            assert press.press(["subs=on"]) == (0 if served else None)
            assert tv.log == ["set_captions 2"] * served
        finally:
            server.stop()
            serving.join(10)
            server.close()


# -- all rows --------------------------------------------------------------------------------------


def test_every_command_of_a_device_has_a_row():
    features = {row.feature for row in COMMANDS.values()}
    assert features >= {*ROUTES, *FIELDS}


@pytest.mark.parametrize("command", [name for name in ROUTES if hasattr(tinyatv.AppleTV, name)])
def test_every_verb_can_be_typed(command):
    row = find(command)
    assert row is not None
    assert row.feature == command
    assert inspect.getdoc(getattr(tinyatv.AppleTV, command))


def test_no_word_stands_twice():
    words = [word for row in COMMANDS.values() for word in (row.name, *row.aliases)]
    assert len(words) == len(set(words)) == len(lines())


def test_remote_callers_get_nothing_that_is_about_files_or_this_computer():
    """No paths, settings, flags or subcommands."""
    for row in COMMANDS.values():
        if row.args.files or row.offline or row.program or "FILE" in row.line:
            assert not row.served, row
    served = {row.name for row in COMMANDS.values() if row.served}
    assert {"up", "play", "playing", "set_volume", "launch", "text_set", "delay"} <= served


def test_what_completion_offers_is_accepted():
    for row in COMMANDS.values():
        if row.run is None:
            with pytest.raises(ValueError, match="program of its own"):
                parse(row.name)
            continue
        if row.args.least <= 1:
            for choice in row.args.choices:
                assert parse(f"{row.name}={choice}").command is row
        if not row.args.least:
            assert parse(row.name).command is row
        else:
            with pytest.raises(ValueError, match=row.name):
                parse(row.name)


def test_help_of_every_word_is_one_line(capsys):
    listed = json.loads(run(capsys, "commands", "--json")[1])["commands"]
    assert listed == lines()
    assert all("\n" not in line and line.strip() for line in listed.values())
    assert all(bool(row.args.usage) == bool(row.args.arguments) for row in COMMANDS.values())
