"""The manual page, out of the same tables as ``tinyatv help``."""

from __future__ import annotations

from .. import __version__
from .output import exits_text
from .topics import ENVIRONMENT, TOPICS, topic_text
from .words import ACTIONS, SUBCOMMANDS

ABOUT = """\
Controls Apple TVs of every generation: finds them, pairs with them, presses their keys, sends them
videos, and tells what they play. Each WORD is a command; several run in order over one connection.
A subcommand is a program of its own."""

FILES = {
    "~/.config/tinyatv/devices.json": "stored devices and what pairing gave; for its owner alone",
    "~/.pyatv.conf": "credentials of pyatv; read, never written",
}


def page() -> str:
    """The whole page, in roff with the macros of man(7)."""
    from . import EXAMPLES, common_flags, program_parser, subcommand_parser
    from .help import everything, flag_rows

    words = {w: t for w, t in everything().items() if w not in SUBCOMMANDS}
    lines = [f'.TH TINYATV 1 "" "tinyatv {__version__}" "User Commands"', ".nh", ".ad l"]
    lines += [".SH NAME", r"tinyatv \- control an Apple TV", ".SH SYNOPSIS"]
    lines += _synopsis("[flags] WORD[=ARGUMENTS] [WORD ...]", "[flags] SUBCOMMAND [arguments]")
    lines += [".SH DESCRIPTION", *_prose(ABOUT)]
    lines += [".SH FLAGS", *_rows(flag_rows(program_parser(common_flags())))]
    lines += [".SH SUBCOMMANDS"]
    for word, text in SUBCOMMANDS.items():
        parser = subcommand_parser(word)
        lines += [f".SS {_escape(word)}", *_prose(f"{text[:1].upper()}{text[1:]}.")]
        lines += _literal(parser.description or "")
        lines += _rows(flag_rows(parser))
    lines += [".SH WORDS", *_prose(f"{ACTIONS}."), *_rows(list(words.items()))]
    for topic, (line, _) in TOPICS.items():
        if topic in ("exit-codes", "environment"):
            continue  # these have sections of their own
        lines += [f".SH {_escape(topic.upper())}", *_prose(f"{line[:1].upper()}{line[1:]}.")]
        lines += _literal(topic_text(topic))
    lines += [".SH EXIT STATUS", *_literal(exits_text())]
    lines += [".SH ENVIRONMENT", *_rows(list(ENVIRONMENT.items()))]
    lines += [".SH FILES", *_rows(list(FILES.items()))]
    lines += [".SH EXAMPLES", *_literal(EXAMPLES)]
    # a heading begins a paragraph by itself
    begun = [line.startswith((".SH", ".SS")) for line in ["", *lines]]
    return "\n".join(line for line, new in zip(lines, begun) if not (new and line == ".PP"))


def _synopsis(*forms: str) -> list[str]:
    lines: list[str] = []
    for form in forms:
        lines += [".br"] if lines else []
        lines += [".B tinyatv", _escape(form)]
    return lines


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    lines = []
    for name, text in rows:
        lines += [".TP", rf"\fB{_escape(name)}\fR", _escape(text) or r"\&"]
    return lines


def _prose(text: str) -> list[str]:
    return [".PP", *map(_escape, text.splitlines())]


def _literal(text: str) -> list[str]:
    """Lines as they stand."""
    return [".PP", ".nf", *map(_escape, text.strip("\n").splitlines()), ".fi"]


def _escape(text: str) -> str:
    """Text in roff: a hyphen that can be copied, and no line that is taken for a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga")
    text = text.replace("'", r"\(aq").replace("^", r"\(ha").replace("~", r"\(ti")
    return rf"\&{text}" if text.startswith(".") else text
