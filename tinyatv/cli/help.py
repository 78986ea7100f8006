"""Explain a command, a subcommand or a topic; without one, list them all.

tinyatv help set_repeat               a word
tinyatv help pair                     a subcommand
tinyatv help pairing                  a topic
tinyatv help --man > tinyatv.1        everything, as a manual page
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from .topics import TOPICS, topic_text
from .words import ACTIONS, ELSEWHERE, HELP, KNOWN_AS, SUBCOMMANDS, parse

if TYPE_CHECKING:
    from . import Arguments, Parser
    from .output import Output

WIDTH = 24  # where the help of a flag begins


def add_flags(parser: Parser, word: str) -> None:
    """What to explain."""
    if word == "help":
        parser.add_argument("topic", nargs="?", metavar="TOPIC", help="a word or a topic")
        parser.add_argument("--man", action="store_true", help="print a manual page (roff)")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Explain it."""
    topic = getattr(flags, "topic", None)
    if getattr(flags, "man", False):
        from .manual import page

        text = page()
        out.result(text, man=text)
    elif topic is None:
        _list(out)
    elif topic in TOPICS and topic not in SUBCOMMANDS:
        line = TOPICS[topic][0]
        out.result(f"{topic}: {line}\n\n{topic_text(topic)}", command=topic, help=line)
    else:
        _explain(topic, out)
    return 0


def everything() -> dict[str, str]:
    """All words and subcommands, each with a line about it."""
    return {**SUBCOMMANDS, **HELP, **{w: f"needs {p}" for w, p in ELSEWHERE.items()}}


def topics() -> list[str]:
    """All that ``tinyatv help`` can explain."""
    return list({**everything(), **TOPICS})


def _list(out: Output) -> None:
    words = everything()
    about = {name: line for name, (line, _) in TOPICS.items()}
    width = max(map(len, words))
    lines = [f"{name:<{width}}  {text}" for name, text in words.items()]
    lines += ["", ACTIONS, "", "Topics, for `tinyatv help TOPIC`:"]
    lines += [f"{name:<{width}}  {text}" for name, text in about.items()]
    out.result("\n".join(lines), commands=words, topics=about)


def _explain(word: str, out: Output) -> None:
    words = everything()
    if word not in words:
        parse(word)  # says what is wrong with it
        raise ValueError(f"help explains words without arguments: {word.partition('=')[0]}")
    text = f"{word}: {words[word]}"
    if "=ACTION" in text:
        text += f"\n{ACTIONS}"
    if word in SUBCOMMANDS:
        text += f"\n\n{about_subcommand(word)}\n\n`tinyatv {word} --help` shows all flags"
        if word in TOPICS:
            text += f"\n\n{topic_text(word)}"
    else:
        text += "".join(f"\n{line}" for line in about_word(word))
    out.result(text, command=word, help=words[word])


def about_word(word: str) -> list[str]:
    """Who serves a word, and what it is in Python, as far as it is a command of the device."""
    from ..device import AppleTV
    from ..routes import FIELDS, ROUTES

    command = _command(word)
    lines = []
    serving = {**FIELDS, **ROUTES}.get(command)
    if serving:
        lines.append(f"over {' or '.join(serving)}")
    method = getattr(AppleTV, command, None)
    if command in ROUTES and callable(method):
        import inspect

        signature = inspect.signature(method)
        shown = [
            one.replace(annotation=one.empty)
            for one in signature.parameters.values()
            if one.name != "self"
        ]
        call = signature.replace(parameters=shown, return_annotation=signature.empty)
        lines.append(f"in Python: atv.{command}{call}")
    return lines


def _command(word: str) -> str:
    """The command of the device behind a word: its own name, or that of what it is the same as."""
    same = re.match(r"the same as ([\w-]+)", HELP.get(word, ""))
    if same:
        return _command(same[1])
    return next((command for command, known in KNOWN_AS.items() if known == word), word)


def about_subcommand(word: str) -> str:
    """The description of a subcommand, and the flags that are its own."""
    from . import subcommand_parser

    parser = subcommand_parser(word)
    rows = flag_rows(parser)
    text = (parser.description or "").strip()
    if rows:
        text += "\n"
        for flags, about in rows:
            gap = "\n" + " " * WIDTH if len(flags) > WIDTH - 4 else ""
            text += f"\n  {flags:<{WIDTH - 2}}{gap}{about}".rstrip()
    return text


def flag_rows(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """The flags and arguments of a parser, each with its help."""
    shown = parser._get_formatter()
    return [
        (shown._format_action_invocation(action), shown._expand_help(action) if action.help else "")
        for action in parser._actions
        if action.help != argparse.SUPPRESS
    ]
