"""What the program prints: text for people, or one JSON object per line, from the same result."""

from __future__ import annotations

import errno
import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..text import on_one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..model import Account, App, Device, OutputDevice, Playing

ERASE = "\r\033[K"  # the line on the terminal
_erased = False  # is the terminal's line empty, because we have erased it last?
EXITS = {  # exit code: what it means
    0: "done",
    1: "the device refused, or the command failed",
    2: "wrong usage",
    3: "device not found",
    4: "connection failed or lost",
    5: "not supported",
    6: "pairing or credentials",
    7: "timed out",
    130: "interrupted",
}
EXIT_CODES = (
    # error, exit code, word in JSON
    ("DeviceNotFound", 3, "device_not_found"),
    ("ConnectionFailed", 4, "connection_failed"),
    ("ConnectionLost", 4, "connection_lost"),
    ("NotSupported", 5, "unsupported_command"),
    ("CredentialsError", 6, "credentials"),
    ("PairingError", 6, "pairing"),
    ("CommandTimeout", 7, "timeout"),
    ("AppleTVError", 1, "command_failed"),
    ("UnknownWord", 2, "unsupported_command"),
    ("ValueError", 2, "usage"),
    ("OSError", 1, "os_error"),
    ("ModuleNotFoundError", 1, "missing_package"),
)


def exit_code(error: BaseException) -> tuple[int, str]:
    """The exit code of an error, and its word in JSON."""
    names = [kind.__name__ for kind in type(error).__mro__]
    for name, code, word in EXIT_CODES:
        if name in names:
            return code, word
    return 1, "unexpected"


def exits_text() -> str:
    """All exit codes, one per line."""
    return "\n".join(f"  {code:<5}{text}" for code, text in EXITS.items())


class Output:
    """Where results go.

    Args:
        json: True for one JSON object per line.
        about: The device that every line is about, where there are several.
    """

    def __init__(self, json: bool, about: Device | None = None) -> None:
        self.json = json
        self.about = about

    def result(self, text: str | Iterable[str] | None = None, **keys: Any) -> None:
        """Print a result: text for people, or `keys` as JSON.

        Args:
            text: A text with lines of our own, or its lines, where these may hold names and titles:
                a line break in one of those is shown as such. None prints nothing.
            **keys: What JSON has of it.
        """
        if self.json:
            self._line({"result": "success", "datetime": _now(), **keys})
        elif text is not None:
            lines = (
                (text[:-1] if text.endswith("\n") else text).split("\n")
                if isinstance(text, str)
                else text
            )
            self.write("\n".join(map(self._marked, lines)))

    def failure(self, error: BaseException, **keys: Any) -> int:
        """Print an error, and return the exit code for it."""
        code, word = exit_code(error)
        message = one_line(error)
        if self.json and sys.stdout is not None:
            import traceback

            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            envelope = {"result": "failure", "datetime": _now(), "error": word}
            self._line({**envelope, "exception": message, "stacktrace": trace, **keys})
        else:
            self.warn(f"tinyatv: {self._marked(message)}")
            if word == "unexpected":
                self.warn("tinyatv: this is a bug; --debug shows where")
        return code

    def write(self, line: str) -> None:
        """Print a line on standard output."""
        if sys.stdout is None:
            raise OSError(errno.EBADF, "standard output is closed")
        show(*line.split("\n"))

    def warn(self, line: str) -> None:
        """Print a line on standard error."""
        show(line, error=True)

    def wait(self, seconds: float) -> None:
        """Wait, as long as the output has a reader."""
        time.sleep(seconds)

    def _marked(self, line: str) -> str:
        return printable(line if self.about is None else f"{self.about.name}: {line}")

    def _line(self, keys: dict[str, Any]) -> None:
        if self.about is not None:
            keys = {**keys, "device": self.about.identifier, "name": self.about.name}
        self.write(json.dumps(keys))


def show(*lines: str, error: bool = False, end: str = "\n", erase: bool = False) -> None:
    """Print text. This is the one place where text for people leaves the program.

    Args:
        *lines: What a terminal would obey in them is escaped, as is what its encoding does not
            have.
        error: To standard error.
        end: What comes behind it.
        erase: True to write it over the line that the terminal shows.
    """
    global _erased
    stream = sys.stderr if error else sys.stdout
    if stream is None:
        return  # closed from the start
    encoding = stream.encoding or "utf-8"
    _erased = erase and not "".join(lines)
    text = "\n".join(map(printable, lines)).encode(encoding, "backslashreplace").decode(encoding)
    print(ERASE + text if erase else text, end=end, file=stream, flush=True)


def terminal() -> bool:
    """True if a person types, and sees the output."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = {"google": "protobuf"}.get(error.name.partition(".")[0], error.name)
        text = f"the package {package} is missing: pip install {package}"
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return printable(on_one_line(text)) or type(error).__name__


def trace_lines(error: BaseException) -> list[str]:
    """A traceback, ready to be printed; of messages with line breaks, each is one line."""
    from traceback import format_exception

    lines = []
    for part in format_exception(type(error), error, error.__traceback__):
        own = part.startswith((" ", "\n", "Traceback"))
        lines += part.rstrip("\n").split("\n") if own else [part.rstrip("\n")]
    return lines


def interrupted() -> None:
    """Let the shell's prompt begin on a line of its own, after the ^C that a terminal shows."""
    if sys.stderr is not None and sys.stderr.isatty() and not _erased:
        print(file=sys.stderr)


def _now() -> str:
    return datetime.now().astimezone().isoformat()


def playing_keys(playing: Playing) -> dict[str, Any]:
    """What is playing, with the keys, their order and the lower-case values that scripts expect.

    An empty text is null, as is a length that is not known.
    """
    return {
        "hash": playing.hash,
        "media_type": playing.media_type.name.lower(),
        "device_state": playing.device_state.name.lower(),
        "title": playing.title or None,
        "artist": playing.artist or None,
        "album": playing.album or None,
        "genre": playing.genre or None,
        "total_time": playing.total_time or None,
        "position": playing.position,
        "shuffle": None if playing.shuffle is None else playing.shuffle.name.lower(),
        "repeat": None if playing.repeat is None else playing.repeat.name.lower(),
        "series_name": playing.series_name or None,
        "season_number": playing.season_number,
        "episode_number": playing.episode_number,
        "content_identifier": playing.content_identifier or None,
        "itunes_store_identifier": playing.itunes_store_identifier,
        "app": None if playing.app is None else playing.app.name,
        "app_id": None if playing.app is None else playing.app.identifier,
    }


def device_keys(device: Device) -> dict[str, Any]:
    """A device with the keys that scripts expect; more of them at the end."""
    info = device.info
    return {
        "name": device.name,
        "address": device.address,
        "identifier": device.identifier,
        "all_identifiers": device.identifiers,
        "device_info": {
            "mac": info.mac,
            "model": info.model,
            "model_str": info.model_name,
            "operating_system": info.operating_system.name,
            "version": info.version,
        },
        "services": [
            {"protocol": s.protocol, "port": s.port, "pairing": s.pairing.name.lower(),
             "paired": bool(s.credentials), "enabled": s.enabled}
            for s in device.services
        ],
        "deep_sleep": device.deep_sleep,
        "addresses": device.addresses,
    }  # fmt: skip


def device_lines(device: Device) -> list[str]:
    """Lines about a device."""
    lines = [
        f"       Name: {device.name}",
        f"   Model/SW: {device.info}",
        f"    Address: {' '.join(device.addresses)}",
        f"        MAC: {device.info.mac}",
        f" Deep Sleep: {device.deep_sleep}",
        "Identifiers:",
        *(f" - {identifier}" for identifier in device.identifiers),
        "Services:",
    ]
    for service in device.services:
        state = "stored" if service.credentials else "none"
        lines.append(
            f" - Protocol: {service.protocol}, Port: {service.port}, Credentials: {state}, "
            f"Requires Password: {service.requires_password}, Pairing: {service.pairing.name}"
            + ("" if service.enabled else " (disabled)")
        )
    return lines


def named_keys(found: Sequence[Account | App | OutputDevice]) -> list[dict[str, str | None]]:
    """Things with a name and an identifier as JSON shows them."""
    return [{"name": one.name, "identifier": one.identifier} for one in found]


def confirms(question: str) -> bool:
    """Ask a person; only a yes is one."""
    try:
        show(f"{question} [y/N] ", end="")
        answer = input()
    except EOFError:
        show()
        return False
    return answer.strip().lower() in ("y", "yes")
