"""What people read is in plain English: phrases that were wrong once do not come back."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

from tests.support.program import run
from tinyatv.cli.completion import SHELLS
from tinyatv.cli.flags import common_flags
from tinyatv.cli.help import topics
from tinyatv.cli.manual import page
from tinyatv.cli.migrating import SURPRISES, rows
from tinyatv.cli.parsers import program_parser
from tinyatv.cli.words import lines

ROOT = pathlib.Path(__file__).parents[1]

WRONG = {
    # phrase: what to say instead. Patterns, in any case.
    r"\bstop(s)? to (call|wind|press|read|send|watch|listen|wait)": "stop calling, winding ...",
    r"\bstart to (wind|press|read|send|watch|listen)": "start fast-forwarding ...",
    r"\bat the begin of\b": "at the start of",
    r"\bwind (forward|back)\b": "fast-forward, rewind",
    r"\blet speakers play it no more\b": "remove speakers",
    r"\bplay the sound no more\b": "remove speakers",
    r"\blet (more|these) speakers play\b": "add speakers; use these speakers",
    r"\bshow subtitles, or show them no more\b": "turn subtitles on or off",
    r"\b(show|shows|listen|listens|use|uses) (it|them) no more\b": "hide; stop listening",
    r"\bwants (letters|text)\b": "has focus",
    r"\bthose alone that\b": "only those that",
    r"\bthat belong to the film\b": "that are part of the film",
    r"\bshow the what\b": "show what",
    r"\bwhat the player does\b": "the state of the player",
    r"\bnothing is wrong that hinders\b": "no problems found",
    r"\bhas enough\b": "until Ctrl-C",
    r"\bwhat comes of it\b": "the credentials, the result",
    r"\bwhat pairing gave\b": "the credentials",
    r"\blets? nobody (in|pair|control)\b": "does not allow ...",
    r"\bnobody else (may|gets|can)\b": "only the owner can",
    r"\bnobody is told\b": "is not reported",
    r"\b(some|no|every|any)body (reads|sees|hears|knows|waits|types|listens|says|tells)\b":
        "name the peer, client, caller, reader or user",
    r"\bfor somebody's\b": "for a ...",
    r"\bwith commas between\b": "separated by commas",
    r"\ba remote that fills\b": "a full-screen remote",
    r"\bone JSON object a line\b": "one JSON object per line",
    r"\blet go of the\b": "release the",
    r"\bwhat is marked\b": "the highlighted item",
    r"\bempty the text field\b": "clear the text field",
    r"\bleads through it\b": "guides you",
    r"\bdoes? (without|as they are)\b`": "ignores, works unchanged",
    r"\bas it is told\b": "as asked",
    r"\bdo as told\b": "do what was asked",
    r"\bhow it stands\b": "the summary",
    r"\bis to be read\b": "would be read",
    r"\bwhoever it is that\b": "whichever",
    r"\bfor ever\b": "forever",
    r"\bmend (it|its|what)\b": "repair it",
    r"\bconnecting anew\b": "reconnecting",
    r"\binvalid _\w+ value\b": "say what the value should be",
    r"\bis no (file|trace|setting|action)\b": "is not a file",
    }  # fmt: skip
PATTERN = re.compile("|".join(f"(?:{one})" for one in WRONG), re.IGNORECASE)


def wrong(text: str) -> list[str]:
    """The wrong phrases in a text, with what is around them."""
    flat = " ".join(text.split())
    return [flat[max(0, m.start() - 30) : m.end() + 30] for m in PATTERN.finditer(flat)]


def texts(source: str) -> Iterator[str]:
    """Docstrings and messages of a module: every text in it that has a blank in it."""
    tree = ast.parse(source)
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    pieces = {piece for node in joined for piece in node.values}
    for node in joined:
        yield "".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values)
    for node in ast.walk(tree):
        if node in pieces:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


def test_help_of_everything(capsys):
    for topic in topics():
        assert wrong(run(capsys, "help", topic)[1]) == [], topic
    assert wrong(run(capsys, "commands")[1]) == []
    assert wrong(program_parser(common_flags()).format_help()) == []
    assert wrong("\n".join(lines().values())) == []


def test_the_manual_page():
    assert wrong(page().replace("\\", "")) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts(shell, capsys):
    assert wrong(run(capsys, "completion", shell)[1]) == []


def test_the_table_for_those_who_migrate():
    said = [text for row in rows() for text in (row.here, row.remark)]
    assert wrong("\n".join([*said, *(here for _, here in SURPRISES)])) == []


def test_the_readme():
    assert wrong((ROOT / "README.md").read_text("utf-8")) == []


@pytest.mark.parametrize(
    "folder", sorted(path.name for path in (ROOT / "tinyatv").iterdir() if path.name[0] not in "._")
)
def test_docstrings_and_messages(folder):
    path = ROOT / "tinyatv" / folder
    found = []
    for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        if source.suffix == ".py" and not source.name.endswith("_pb2.py"):
            for text in texts(source.read_text("utf-8")):
                found += [f"{source.relative_to(ROOT)}: {one}" for one in wrong(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["Stop to call `listener`.", "stop to wind forward", "at the\n    begin of the line",
     "let speakers play it no more; =ID", "Whether a text field wants letters.",
     "show the what the player does", 'raise ValueError(f"{path} is no file")'],
)  # fmt: skip
def test_a_wrong_phrase_is_found(text):
    assert len(wrong(text)) == 1


def test_texts_of_a_module_are_found():
    source = 'def f():\n    """At the begin of it."""\n    raise E(f"{x} wants letters")\n'
    assert sum(len(wrong(text)) for text in texts(source)) == 2
