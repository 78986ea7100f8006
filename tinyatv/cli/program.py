"""The program: flags, then words that run in order over one connection."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .flags import Arguments, common_flags, first_word, with_values
from .logs import logs, traced
from .output import Output, exit_code, interrupted, show, terminal, trace_lines
from .parsers import program_parser, run_subcommand
from .words import is_program, parse_all

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = "complete-names"  # what completion scripts call; of no use to a person


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    args = with_values(list(sys.argv[1:] if argv is None else argv))
    out = Output("--json" in args or "--output=json" in args or _follows("json", "--output", args))
    debug = "--debug" in args
    if sys.stderr is None:  # closed from the start; print() would take standard output instead
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    try:
        code = _run(args, out)
        if sys.stdout is not None:  # it was closed from the start
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has what it wanted. Nothing more can be written, not even by the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        interrupted()
        return 130
    except SystemExit as exc:  # argparse's --help and --version
        return exc.code if isinstance(exc.code, int) else 2
    except Exception as exc:
        if debug and not out.json:
            show(*trace_lines(exc), error=True)
            return exit_code(exc)[0]
        return out.failure(exc)


def _follows(value: str, flag: str, args: list[str]) -> bool:
    return (flag, value) in zip(args, args[1:])


def console() -> None:
    """Run the program and end the process.

    All connections are closed by now, and taking 300 modules apart would take as long as the rest
    of a press.
    """
    code = main()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        pass  # the reader has gone
    os._exit(code)


def _run(args: list[str], out: Output) -> int:
    if args[:1] == [NAMES]:  # before anything that takes time: TAB was pressed
        from .completion import print_names

        print_names(*args[1:2])
        return 0
    common = common_flags()
    at = first_word(args, common)
    if at is not None and is_program(args[at]):
        return run_subcommand(args[at], args[:at] + args[at + 1 :], out)
    parser = program_parser(common)
    flags = parser.parse_intermixed_args(args, namespace=Arguments())
    if not flags.words:
        if terminal() and not out.json:
            return run_subcommand("remote", args, out)
        parser.print_help()
        return 2
    steps = parse_all(flags.words)  # before any network use
    logs(flags)
    if steps[0].command.offline:
        from .settings import open_settings

        settings = open_settings(flags, out)
        for step in steps:
            step(settings, out)
        return 0
    from .target import open_target

    acts = any(step.command.acts for step in steps)
    with traced(flags), open_target(flags, out, acts=acts, wait_for_all=False) as atv:
        for step in steps:
            step(atv, out)
    return 0
