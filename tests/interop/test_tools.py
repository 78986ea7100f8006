"""What the peer's own programs say that they take has its row in `tinyatv migrating`."""

from __future__ import annotations

import re
import subprocess

import pytest

from tinyatv.cli.migrating import rows


def said(peer_bin, program, *words):
    """What one of the peer's programs prints; its exit code for help is 1."""
    done = subprocess.run([peer_bin / program, *words], capture_output=True, text=True, timeout=60)
    return done.stdout


def known(tool):
    return {row.theirs for row in rows() if row.tool == tool}


def test_every_word(peer_bin):
    words = re.findall(r"^ - (\w+) - ", said(peer_bin, "atvremote", "commands"), re.MULTILINE)
    assert len(words) > 90
    assert {*words} - known("atvremote") == set()


@pytest.mark.parametrize(
    ("program", "count"),
    [("atvremote", 30), ("atvscript", 12), ("atvproxy mrp", 5), ("atvproxy companion", 4),
     ("atvproxy airplay", 5), ("atvproxy relay", 4), ("atvlog", 12)],
)  # fmt: skip
def test_every_flag(peer_bin, program, count):
    text = said(peer_bin, *program.split(), "--help")
    flags = {*re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text)}
    assert len(flags) >= count
    assert flags - known(program.split()[0]) == set()


@pytest.mark.parametrize("form", ["mrp", "companion", "airplay", "relay"])
def test_every_argument_of_a_proxy(peer_bin, form):
    text = said(peer_bin, "atvproxy", form, "--help")
    names = re.findall(r"^  (\w+) ", text.partition("positional arguments:")[2], re.MULTILINE)
    assert names
    assert {*names} - known("atvproxy") == set()
