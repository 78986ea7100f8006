"""The parsers of the program and of its subcommands, and how those are run."""

from __future__ import annotations

import argparse
import contextlib
from importlib import import_module
from typing import TYPE_CHECKING

from .. import __version__
from .flags import Arguments, Parser, common_flags
from .logs import logs, traced
from .output import exits_text
from .words import COMMANDS, programs

if TYPE_CHECKING:
    from types import ModuleType

    from .output import Output

EXAMPLES = """\
  tinyatv scan                                   what is on the network
  tinyatv wizard                                 find, pair and try a device
  tinyatv                                        a full-screen remote
  tinyatv -n Den play_pause                      press a button
  tinyatv menu down=3 select=hold play           several buttons over one connection
  tinyatv set_position=90 playing                jump, then show what is playing
  tinyatv artwork=cover.png                      save the artwork
  tinyatv launch=com.netflix.Netflix             start an app
  tinyatv type "stranger things"                 into the text field that is open
  tinyatv watch --json                           changes, one JSON object per line
  tinyatv watch --all --reconnect                of all stored devices
  tinyatv devices alias Den tv                   a short name
  tinyatv serve                                  makes every press take milliseconds
  tinyatv doctor                                 what is wrong, and how to fix it
  tinyatv virtual                                an Apple TV to try it with
  tinyatv demo                                   everything, on this machine alone
"""
EPILOG = f"""\
examples:
{EXAMPLES}
`tinyatv commands` lists all words, `tinyatv help WORD` explains one, `tinyatv migrating` shows what
the words of other tools are called here.

exit codes:
{exits_text()}
"""


def program_parser(common: Parser) -> Parser:
    """The parser of a command line that consists of words."""
    parser = Parser(
        prog="tinyatv",
        parents=[common],
        usage="tinyatv [flags] WORD[=ARGUMENTS] [WORD ...]",
        description="Controls Apple TVs of every generation.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"tinyatv {__version__}")
    names = ", ".join(row.name for row in programs())
    parser.add_argument("words", nargs="*", metavar="WORD", help=f"{names}, or keys")
    return parser


def subcommand_parser(word: str, *parents: Parser) -> Parser:
    """The parser of a subcommand; without `parents`, of its own flags alone."""
    module = _module(word)
    parser = Parser(
        prog=f"tinyatv {word}",
        parents=parents,
        add_help=bool(parents),
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_flags(parser, word)
    return parser


def run_subcommand(word: str, args: list[str], out: Output) -> int:
    """Run a subcommand; returns its exit code.

    Args:
        word: Which one.
        args: All flags and arguments of the command line but that word.
        out: Where results go.
    """
    flags = subcommand_parser(word, common_flags()).parse_args(args, namespace=Arguments())
    logs(flags)
    module = _module(word)
    with contextlib.nullcontext() if getattr(module, "TRACES", False) else traced(flags):
        code: int = module.run(flags, out, word)
    return code


def _module(word: str) -> ModuleType:
    program = COMMANDS[word].program
    assert program is not None, f"{word} is no subcommand"
    return import_module(f".{program}", __package__)


def flag_rows(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """The flags and arguments of a parser, each with its help."""
    shown = parser._get_formatter()
    return [
        (shown._format_action_invocation(action), shown._expand_help(action) if action.help else "")
        for action in parser._actions
        if action.help != argparse.SUPPRESS
    ]
