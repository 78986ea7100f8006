"""The flags that every command knows."""

from __future__ import annotations

import argparse
from typing import Any

from ..model import PASSWORDS, PROTOCOLS

FOREVER = "forever"


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
    wait: bool | float
    wake: bool | None
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
        raise ValueError(f"{message}{self._guess(message)}; see tinyatv --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help, or the version; to nowhere else if standard output is closed."""
        from .output import Output

        Output(False).write(message.rstrip("\n"))

    def _guess(self, message: str) -> str:
        """The flag that was meant, if the message is about one that does not exist."""
        import difflib

        known = [flag for action in self._actions for flag in action.option_strings]
        _, unknown, flags = message.partition("unrecognized arguments: ")
        for flag in flags.split() if unknown else ():
            close = difflib.get_close_matches(flag.partition("=")[0].lower(), known, 1)
            if close:
                return f", did you mean {close[0]}?"
        return ""


def common_flags(**kwargs: object) -> Parser:
    """A parser of the flags that every command knows."""
    parser = Parser(add_help=False, allow_abbrev=False)
    add = parser.add_argument
    group = parser.add_argument_group("which device")
    add_to = group.add_argument
    add_to("-i", "--id", metavar="ID[,ID]", help="by identifier; alternatives separated by commas")
    add_to("-n", "--name", help="by name or alias")
    add_to("-s", "--scan-hosts", metavar="HOST[,HOST]", help="scan only these hosts")
    add_to(
        "-t", "--scan-timeout", type=seconds, default=3.0, metavar="S", help="seconds to scan (3)"
    )
    add_to("--scan-protocols", metavar="P[,P]", help="look only for these protocols")
    add_to("--protocol", choices=PROTOCOLS, help="use or pair only this protocol")
    add_to(
        "-m",
        "--manual",
        action="store_true",
        help="no scan; needs --address, --port, --protocol",
    )
    add_to("--address", help="address for --manual")
    add_to("--port", type=port, default=0, help="port for --manual")
    add_to(
        "--service-properties",
        metavar="Xk=vXk=v",
        help="TXT values for --manual; X separates them",
    )
    for protocol in PROTOCOLS:
        add_to(f"--{protocol}-credentials", metavar="TEXT", help=argparse.SUPPRESS)
    for protocol in PASSWORDS:
        add_to(f"--{protocol}-password", metavar="TEXT", help=argparse.SUPPRESS)
    add_to("--storage", choices=("file", "none"), default="file", help="none: store nothing")
    add_to("--storage-filename", metavar="FILE", help="the store to use")
    add("--timeout", type=seconds, default=5.0, metavar="S", help="seconds a command may take (5)")
    add("--reconnect", action="store_true", help="reconnect when the connection is lost (watch)")
    add(
        "--wait", type=wait, default=False, metavar="[S]",
        help="keep trying, for S seconds or forever, while the device is not there",
    )  # fmt: skip
    add(
        "--wake", action="store_true", default=None,
        help="wake the device up first; buttons and the like do if nothing of it answers",
    )  # fmt: skip
    add("--no-wake", action="store_false", dest="wake", help="never wake the device up")
    add("--json", action="store_true", help="one JSON object per line")
    add("--output", choices=("json",), help=argparse.SUPPRESS)  # as atvscript has it
    add("-v", "--verbose", action="store_true", help="log to standard error")
    add("--debug", action="store_true", help="log more, and show tracebacks")
    add("--mdns-debug", action="store_true", help="also log multicast DNS")
    add("--trace", metavar="FILE", help="write all messages to FILE; see `tinyatv decode`")
    add("--trace-secrets", action="store_true", help="include keys, passwords and typed text")
    add_to = parser.add_argument_group("pairing").add_argument
    add_to("-p", "--pin", help="PIN that the TV shows, or the one to type on an old TV")
    add_to("--remote-name", default="tinyatv", metavar="NAME", help="name shown on the TV")
    add_to("--pairing-guid", metavar="0xHEX", help="fixed identity for old TVs: 16 hex digits")
    return parser


def seconds(text: str) -> float:
    """The value of a flag that takes seconds: more than 0, at most an hour."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 3600")
    return value


def wait(text: str) -> bool | float:
    """The value of --wait: True is forever."""
    return True if text == FOREVER else seconds(text)


def with_values(args: list[str]) -> list[str]:
    """A command line in which --wait has its value behind an equals sign.

    argparse would take the next word for the value, whatever it is.
    """
    done: list[str] = []
    for arg in args:
        if done[-1:] == ["--wait"]:
            number = arg.replace(".", "", 1).isdecimal()
            done[-1] = f"--wait={arg if number else FOREVER}"
            if number:
                continue
        done.append(arg)
    return [f"--wait={FOREVER}" if arg == "--wait" else arg for arg in done]


def port(text: str) -> int:
    """The value of a flag that takes a port; 0 is any."""
    if not text.isdecimal() or not int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def first_word(args: list[str], parser: Parser) -> int | None:
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
