"""Explain a word, a subcommand or a topic; without one, list them all.

tinyatv help set_repeat               a word
tinyatv help pair                     a subcommand
tinyatv help pairing                  a topic
tinyatv help --man > tinyatv.1        everything, as a manual page
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from .parsers import flag_rows, subcommand_parser
from .topics import TOPICS, topic_text
from .words import find, is_program, lines, notes, parse

if TYPE_CHECKING:
    from .flags import Arguments, Parser
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
    elif topic in TOPICS and not is_program(topic):
        line = TOPICS[topic][0]
        out.result(f"{topic}: {line}\n\n{topic_text(topic)}", command=topic, help=line)
    else:
        _explain(topic, out)
    return 0


def topics() -> list[str]:
    """All that ``tinyatv help`` can explain."""
    return list({**lines(), **TOPICS})


def _list(out: Output) -> None:
    words = lines()
    about = {name: line for name, (line, _) in TOPICS.items()}
    width = max(map(len, words))
    rows: list[str] = []
    group = None
    for name, text in words.items():
        row = find(name)
        if row is not None and row.group != group:
            group = row.group
            rows += ["", f"{group}:"] if rows else [f"{group}:"]
        rows.append(f"{name:<{width}}  {text}")
    rows += ["", *notes(), "", "Topics, for `tinyatv help TOPIC`:"]
    rows += [f"{name:<{width}}  {text}" for name, text in about.items()]
    out.result("\n".join(rows), commands=words, topics=about)


def _explain(word: str, out: Output) -> None:
    words, row = lines(), find(word)
    if row is None:
        parse(word)  # says what is wrong with it
        raise ValueError(f"help explains words without arguments: {word.partition('=')[0]}")
    text = f"{word}: {words[word]}"
    if row.args.note:
        text += f"\n{row.args.note}"
    if is_program(word):
        text += f"\n\n{about_subcommand(word)}\n\n`tinyatv {word} --help` shows all flags"
        if word in TOPICS:
            text += f"\n\n{topic_text(word)}"
    else:
        text += "".join(f"\n{line}" for line in about_word(word))
    out.result(text, command=word, help=words[word])


def about_word(word: str) -> list[str]:
    """Which protocols serve a word, and how to call it in Python, if a device does it."""
    from ..device import AppleTV
    from ..routes import FIELDS, ROUTES

    row = find(word)
    if row is None:
        return []
    command = row.feature
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
        text = f"in Python: atv.{command}{call}"
        lines.append(textwrap.fill(text, 118, subsequent_indent="    ", break_on_hyphens=False))
    return lines


def about_subcommand(word: str) -> str:
    """The description of a subcommand, and the flags that are its own."""
    parser = subcommand_parser(word)
    rows = flag_rows(parser)
    text = (parser.description or "").strip()
    if rows:
        text += "\n"
        for flags, about in rows:
            gap = "\n" + " " * WIDTH if len(flags) > WIDTH - 4 else ""
            text += f"\n  {flags:<{WIDTH - 2}}{gap}{about}".rstrip()
    return text
