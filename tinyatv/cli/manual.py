"""The manual page, out of the same tables as ``tinyatv help``."""

from __future__ import annotations

from .. import __version__
from .flags import common_flags
from .output import exits_text
from .parsers import EXAMPLES, flag_rows, program_parser, subcommand_parser
from .topics import ENVIRONMENT, TOPICS, topic_text
from .words import is_program, lines, notes, programs

ABOUT = """\
Controls Apple TVs of every generation: finds them, pairs with them, presses their buttons, plays
videos on them, and shows what is playing. Each WORD is a command; several run in order over one
connection. A subcommand is a program of its own."""

FILES = {
    "~/.config/tinyatv/devices.json": "devices and credentials; only its owner can read it",
    "~/.pyatv.conf": "credentials of pyatv; read, never written",
}


def page() -> str:
    """The whole page, in roff with the macros of man(7)."""
    words = {word: text for word, text in lines().items() if not is_program(word)}
    out = [f'.TH TINYATV 1 "" "tinyatv {__version__}" "User Commands"', ".nh", ".ad l"]
    out += [".SH NAME", r"tinyatv \- control an Apple TV", ".SH SYNOPSIS"]
    out += _synopsis("[flags] WORD[=ARGUMENTS] [WORD ...]", "[flags] SUBCOMMAND [arguments]")
    out += [".SH DESCRIPTION", *_prose(ABOUT)]
    out += [".SH FLAGS", *_rows(flag_rows(program_parser(common_flags())))]
    out += [".SH SUBCOMMANDS"]
    for row in programs():
        parser = subcommand_parser(row.name)
        text = f"{row.help[:1].upper()}{row.help[1:]}."
        out += [f".SS {_escape(row.name)}", *_prose(text)]
        out += _literal(parser.description or "")
        out += _rows(flag_rows(parser))
    out += [".SH WORDS", *_prose(" ".join(notes())), *_rows(list(words.items()))]
    for topic, (line, _) in TOPICS.items():
        if topic in ("exit-codes", "environment"):
            continue  # these have sections of their own
        out += [f".SH {_escape(topic.upper())}", *_prose(f"{line[:1].upper()}{line[1:]}.")]
        out += _literal(topic_text(topic))
    out += [".SH EXIT STATUS", *_literal(exits_text())]
    out += [".SH ENVIRONMENT", *_rows(list(ENVIRONMENT.items()))]
    out += [".SH FILES", *_rows(list(FILES.items()))]
    out += [".SH EXAMPLES", *_literal(EXAMPLES)]
    # a heading begins a paragraph by itself
    begun = [line.startswith((".SH", ".SS")) for line in ["", *out]]
    return "\n".join(line for line, new in zip(out, begun) if not (new and line == ".PP"))


def _synopsis(*forms: str) -> list[str]:
    out: list[str] = []
    for form in forms:
        out += [".br"] if out else []
        out += [".B tinyatv", _escape(form)]
    return out


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    out = []
    for name, text in rows:
        out += [".TP", rf"\fB{_escape(name)}\fR", _escape(text) or r"\&"]
    return out


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
