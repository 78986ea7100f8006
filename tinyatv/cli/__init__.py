"""The command line: flags, then words that run in order over one connection."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from .. import __version__
from .output import Output, exits_text
from .words import SETTINGS, SUBCOMMANDS, parse_all

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from types import ModuleType

    from ..trace import Trace

EXAMPLES = """\
  tinyatv scan                                   what is on the network
  tinyatv wizard                                 find, pair and try a device
  tinyatv                                        a remote that fills the terminal
  tinyatv -n Den play_pause                      press a key
  tinyatv menu down=3 select=hold play           several keys over one connection
  tinyatv set_position=90 playing                jump, then show what plays
  tinyatv artwork=cover.png                      save the image
  tinyatv launch=com.netflix.Netflix             start an app
  tinyatv type "stranger things"                 into the text field that is open
  tinyatv watch --json                           changes, one JSON object a line
  tinyatv watch --all --reconnect                of all stored devices
  tinyatv devices alias Den tv                   a short name
  tinyatv serve                                  makes every press take milliseconds
  tinyatv doctor                                 what is wrong, and what helps
  tinyatv virtual                                an Apple TV to try it with
  tinyatv demo                                   everything, on this machine alone
"""
EPILOG = f"""\
examples:
{EXAMPLES}
`tinyatv commands` lists all words, `tinyatv help WORD` explains one, `tinyatv migrating` tells what
those of other tools are called here.

exit codes:
{exits_text()}
"""
NAMES = "complete-names"  # what completion calls; a person has no use for it
PROTOCOLS = ("dmap", "mrp", "airplay", "companion", "raop")


class Arguments(argparse.Namespace):
    """The flags that every command knows."""

    id: str | None
    name: str | None
    scan_hosts: str | None
    scan_timeout: float
    scan_protocols: str | None
    protocol: str | None
    manual: bool
    address: str | None
    port: int
    service_properties: str | None
    storage: str
    storage_filename: str | None
    timeout: float
    reconnect: bool
    all: bool
    json: bool
    verbose: bool
    debug: bool
    mdns_debug: bool
    pin: str | None
    remote_name: str
    pairing_guid: str | None
    trace: str | None
    trace_secrets: bool
    words: list[str]


class Parser(argparse.ArgumentParser):
    """A parser whose usage errors can be JSON, too.

    A subcommand's own flags replace common ones of the same name.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(conflict_handler="resolve", **kwargs)

    def error(self, message: str) -> None:  # type: ignore[override]
        raise ValueError(f"{message}; see tinyatv --help")


def common_flags(**kwargs: object) -> Parser:
    """A parser of the flags that every command knows."""
    parser = Parser(add_help=False, allow_abbrev=False)
    add = parser.add_argument
    group = parser.add_argument_group("which device")
    add_to = group.add_argument
    add_to("-i", "--id", metavar="ID[,ID]", help="by identifier; alternatives after commas")
    add_to("-n", "--name", help="by name or alias")
    add_to("-s", "--scan-hosts", metavar="HOST[,HOST]", help="ask these hosts only")
    add_to(
        "-t", "--scan-timeout", type=_seconds, default=3.0, metavar="S", help="scan this long (3)"
    )
    add_to("--scan-protocols", metavar="P[,P]", help="look for these protocols only")
    add_to("--protocol", choices=PROTOCOLS, help="use, or pair, this protocol only")
    add_to("-m", "--manual", action="store_true", help="no scan; --address etc. say all")
    add_to("--address", help="address for --manual")
    add_to("--port", type=_port, default=0, help="port for --manual")
    add_to("--service-properties", metavar="Xk=vXk=v", help="TXT values for --manual; X separates")
    for protocol in PROTOCOLS:
        add_to(f"--{protocol}-credentials", metavar="TEXT", help=argparse.SUPPRESS)
    for protocol in ("airplay", "raop"):
        add_to(f"--{protocol}-password", metavar="TEXT", help=argparse.SUPPRESS)
    add_to("--storage", choices=("file", "none"), default="file", help="none: remember nothing")
    add_to("--storage-filename", metavar="FILE", help="the store to use")
    add("--timeout", type=_seconds, default=5.0, metavar="S", help="seconds a command may take (5)")
    add("--reconnect", action="store_true", help="come back after a lost connection (watch)")
    add("--json", action="store_true", help="one JSON object a line")
    add("--output", choices=("json",), help=argparse.SUPPRESS)  # how atvscript says it
    add("-v", "--verbose", action="store_true", help="log to standard error")
    add("--debug", action="store_true", help="log more, and show tracebacks")
    add("--mdns-debug", action="store_true", help="log multicast DNS, too")
    add("--trace", metavar="FILE", help="write all messages to FILE; see `tinyatv decode`")
    add("--trace-secrets", action="store_true", help="with keys, passwords and typed text")
    add_to = parser.add_argument_group("pairing").add_argument
    add_to("-p", "--pin", help="PIN that the TV shows (asks), or to type on an old one (random)")
    add_to("--remote-name", default="tinyatv", metavar="NAME", help="name shown on the TV")
    add_to("--pairing-guid", metavar="0xHEX", help="fixed identity on old ones: 16 hex digits")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to 3600 seconds")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit code.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    out = Output("--json" in args or "--output=json" in args or _follows("json", "--output", args))
    debug = "--debug" in args
    try:
        code = _run(args, out)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has what it wanted. Nobody is left to tell, so not even the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130
    except SystemExit as exc:  # argparse's --help and --version
        return exc.code if isinstance(exc.code, int) else 2
    except Exception as exc:
        if debug and not out.json:
            raise
        return out.failure(exc)


def _follows(value: str, flag: str, args: list[str]) -> bool:
    return (flag, value) in zip(args, args[1:])


def console() -> None:
    """Run the program and end the process.

    All connections are closed by now, and to take 300 modules apart would take as long as the rest
    of a key press.
    """
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass  # the reader has gone
    os._exit(code)


def _run(args: list[str], out: Output) -> int:
    if args[:1] == [NAMES]:  # before anything that takes time: somebody has pressed TAB
        from .completion import print_names

        print_names(*args[1:2])
        return 0
    common = common_flags()
    at = _first_word(args, common)
    word = args[at] if at is not None else None
    if word in SUBCOMMANDS and at is not None:
        return _subcommand(word, args[:at] + args[at + 1 :], common, out)
    parser = program_parser(common)
    flags = parser.parse_intermixed_args(args, namespace=Arguments())
    if not flags.words:
        if terminal() and not out.json:
            return _subcommand("remote", args, common, out)
        parser.print_help()
        return 2
    steps = parse_all(flags.words)  # before any network use
    logs(flags)
    if flags.words[0].partition("=")[0] in SETTINGS:
        from .settings import open_settings

        settings = open_settings(flags, out)
        for step in steps:
            step(settings, out)
        return 0
    from .target import open_target

    with traced(flags), open_target(flags, out) as atv:
        for step in steps:
            step(atv, out)
    return 0


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
    parser.add_argument("--version", action="version", version=f"tinyatv {__version__}")
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help=f"{', '.join(SUBCOMMANDS)}, or keys"
    )
    return parser


def subcommand_module(word: str) -> ModuleType:
    """The module that is the program of a subcommand."""
    from importlib import import_module

    home = {"wizard": "pair", "push_updates": "watch", "commands": "help", "cli": "prompt"}
    return import_module(f".{home.get(word, word)}", __name__)


def subcommand_parser(word: str, *parents: Parser) -> Parser:
    """The parser of a subcommand; without `parents`, of its own flags alone."""
    module = subcommand_module(word)
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


def _subcommand(word: str, args: list[str], common: Parser, out: Output) -> int:
    flags = subcommand_parser(word, common).parse_args(args, namespace=Arguments())
    logs(flags)
    with contextlib.nullcontext() if word == "proxy" else traced(flags):
        code: int = subcommand_module(word).run(flags, out, word)
    return code


def terminal() -> bool:
    """True if somebody types and sees what comes of it."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _first_word(args: list[str], parser: Parser) -> int | None:
    """Where the first argument is that is neither a flag nor the value of one."""
    takes_value = {
        flag: action.nargs is None
        for action in parser._actions
        for flag in action.option_strings
    }  # fmt: skip
    skip = False
    for at, arg in enumerate(args):
        if skip:
            skip = False
        elif not arg.startswith("-") or arg == "-":
            return at
        else:
            skip = takes_value.get(arg, False)
    return None


def traced(flags: Arguments) -> AbstractContextManager[object]:
    """What writes the trace that the flags ask for, while the command runs."""
    if flags.trace is None:
        if flags.trace_secrets:
            raise ValueError("--trace-secrets needs --trace FILE")
        return contextlib.nullcontext()
    return new_trace(flags.trace, flags)


def new_trace(path: str, flags: Arguments) -> Trace:
    """What writes a trace, for a command that reads other files.

    Raises:
        ValueError: It is one of those, and would be emptied before it is read.
    """
    from ..files import store_path
    from ..trace import Trace

    read = [getattr(flags, "what", None), getattr(flags, "replay", None)]
    read += [word.partition("=")[2] for word in getattr(flags, "words", ())]
    read += [one[1:] for one in vars(flags).values() if isinstance(one, str) and one[:1] == "@"]
    read += [flags.storage_filename or store_path(), "-"]
    for one in filter(None, read):
        if _is_same_file(path, one):
            what = "standard input" if one == "-" else one
            raise ValueError(f"--trace {path}: that is {what}, which is to be read: name another")
    return Trace(path, secrets=flags.trace_secrets)


def _is_same_file(path: str, other: str) -> bool:
    """True if both are the same regular file, by whatever names; `-` is standard input."""
    try:
        about = os.stat(path)
        there = os.stat(other if other != "-" else sys.stdin.fileno())
    except (OSError, ValueError, AttributeError):
        return False  # at least one is not there; standard input may be nothing at all
    return stat.S_ISREG(about.st_mode) and os.path.samestat(about, there)


def logs(flags: Arguments) -> None:
    """Send the log to standard error as far as the flags ask for it."""
    if flags.debug or flags.verbose or flags.mdns_debug:
        import logging

        logging.basicConfig(
            level=logging.DEBUG if flags.debug or flags.mdns_debug else logging.INFO,
            format="%(asctime)s %(levelname)s [%(name)s]: %(message)s",
            stream=sys.stderr,
        )
        logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug log shows whole URLs
        for name in ("zeroconf", "tinyatv.discovery.mdns"):
            logging.getLogger(name).setLevel(logging.DEBUG if flags.mdns_debug else logging.INFO)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_hide_home_sharing)


def _hide_home_sharing(record: logging.LogRecord) -> bool:
    """Multicast DNS tells everybody a Home Sharing id, which is a login; a log goes further."""
    import re

    text = record.getMessage()
    if "hg=" in text.lower():
        record.msg, record.args = re.sub(r"(?i)(hg=)[0-9a-f-]+", r"\1...", text), ()
    return True
