"""Print a script that makes a shell complete words, flags, files and device names.

bash   source <(tinyatv completion bash)               in ~/.bashrc
zsh    source <(tinyatv completion zsh)                in ~/.zshrc, after compinit
fish   tinyatv completion fish > ~/.config/fish/completions/tinyatv.fish

Print it again after an update: the words are part of the script, so that TAB takes no time. Only
device names are looked up, in the store.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..text import printable
from .words import COMMANDS, find, programs

if TYPE_CHECKING:
    from .command import Command
    from .flags import Arguments, Parser
    from .output import Output

SHELLS = ("bash", "zsh", "fish")

FILES, NAMES, IDS, FREE = "@files", "@names", "@ids", "@free"
"""What can be completed beside fixed words; FREE is anything."""


def add_flags(parser: Parser, word: str) -> None:
    """Which shell."""
    parser.add_argument("shell", choices=SHELLS, help="shell to print it for")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Print the script."""
    from .shells import script

    text = script(flags.shell, Tables())
    out.result(text, shell=flags.shell, script=text)
    return 0


def print_names(kind: str = "names") -> None:
    """Print the names of stored devices, one per line. A person waits at a prompt: never fails.

    Args:
        kind: ``names``, which are names and aliases, or ``ids``.
    """
    from ..store import Store

    try:
        known = Store().devices()
    except Exception:
        return  # `tinyatv doctor` says what is wrong
    for one in known:
        texts = one.device.identifiers if kind == "ids" else [one.device.name, one.alias or ""]
        for text in texts:
            if text and printable(text) == text:
                print(text)


class Tables:
    """What can be typed, out of the parsers and the tables of words.

    What can be completed is a text: words with blanks in between, or ``FILES`` and its like.

    Attributes:
        words: Words, with ``=`` at the end where an argument can follow.
        subcommands: Words that are programs of their own.
        behind: What can follow ``WORD=``, by word.
        flags: Flags of each subcommand; of all of them, and of none, those of ``""``.
        values: What can follow a flag that takes something, by subcommand and flag.
        arguments: What can follow a subcommand: one for each place; the last one again and again.
        texts: Help of words, subcommands and flags.
    """

    def __init__(self) -> None:
        from .flags import common_flags
        from .help import topics
        from .parsers import program_parser, subcommand_parser

        self.words: list[str] = []
        self.subcommands = [row.name for row in programs()]
        self.behind: dict[str, str] = {}
        self.flags: dict[str, list[str]] = {}
        self.values: dict[tuple[str, str], str] = {}
        self.arguments: dict[str, list[str]] = {}
        self.texts: dict[str, str] = {row.name: row.help for row in programs()}
        self._topics = " ".join(topics())
        for row in COMMANDS.values():
            if row.program is None:
                self._add_word(row.name, row)
                for alias in row.aliases:
                    self._add_word(alias, row)
        self._add_flags("", program_parser(common_flags()))
        for word in self.subcommands:
            self._add_flags(word, subcommand_parser(word))

    def _add_word(self, word: str, row: Command) -> None:
        behind = argument(word)
        forms = [word] if not row.args.least else []
        forms += [f"{word}="] if behind is not None else []
        self.words += forms
        self.texts.update(dict.fromkeys(forms, row.line))
        if behind is not None:
            self.behind[word] = behind

    def _add_flags(self, word: str, parser: Parser) -> None:
        places: list[str] = []
        for action in parser._actions:
            if action.help == argparse.SUPPRESS:
                continue
            if not action.option_strings:
                places += self._places(action)
                continue
            self.flags.setdefault(word, []).extend(action.option_strings)
            for flag in action.option_strings:
                self.texts.setdefault(flag, _help_of(action))
                if action.nargs is None:  # it must have one
                    self.values[word, flag] = self._kind(action)
        if word:
            self.arguments[word] = places

    def _places(self, action: argparse.Action) -> list[str]:
        kind = self._kind(action)
        if action.nargs in ("*", "+"):
            verbs = isinstance(action.metavar, str) and "|" in action.metavar
            return [kind, NAMES if verbs else kind]  # a verb, then what it is about
        return [kind, FREE]

    def _kind(self, action: argparse.Action) -> str:
        metavar = action.metavar if isinstance(action.metavar, str) else action.dest
        if action.choices is not None:
            return " ".join(map(str, action.choices))
        if "FILE" in metavar:
            return FILES
        if "|" in metavar:
            return " ".join(part for part in metavar.split("|") if part.islower()) or FREE
        if action.dest == "id":
            return IDS
        if action.dest in ("name", "device"):
            return NAMES
        return self._topics if metavar == "TOPIC" else FREE


def argument(word: str) -> str | None:
    """What can be completed behind ``word=``; None if nothing can follow."""
    row = find(word)
    if row is None or not row.args.arguments:
        return None
    return FILES if row.args.files else " ".join(row.args.choices) or FREE


def _help_of(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")
