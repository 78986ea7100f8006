"""Type words line by line, over one connection that stays open.

A line is what would follow `tinyatv`, quotes included: menu down=3 "text_set=two words". Lines that
begin with # are skipped. help, commands, devices and scan work as well; exit, quit or the end of
input leaves. From a pipe, the exit code is that of the last line that failed.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from ..errors import CommandTimeout, ConnectionFailed
from .output import show, terminal
from .parsers import run_subcommand
from .target import open_target, the_store
from .words import is_program, lines, parse_all

if TYPE_CHECKING:
    from ..device import AppleTV
    from .flags import Arguments, Parser
    from .output import Output

PROMPT = "tinyatv> "
PROGRAMS = ("help", "commands", "devices", "scan")  # subcommands that work here
SECRET = ("text_", "type", "credentials", "password")
"""Lines with any of these are not kept in the history: people type passwords."""
KEPT = 500  # lines of history


def add_flags(parser: Parser, word: str) -> None:
    """Nothing beside the common ones."""


def run(flags: Arguments, out: Output, word: str) -> int:
    """Read lines until there are no more."""
    interactive = terminal() and not out.json
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a wrong byte costs one line, not all of them
    prompt = Prompt(flags, out)
    history = History(_history_path(flags)) if interactive else None
    try:
        prompt.open()
        if interactive:
            show(f"Connected to {prompt.name}. `help` lists all words, `exit` leaves.")
        while True:
            try:
                line = _read(interactive)
                if line is None or line.strip() in ("exit", "quit"):
                    break
                prompt.do(line)
                if history is not None:
                    history.add(line)
            except KeyboardInterrupt:
                if not interactive:
                    raise
                print()  # only the line
    finally:
        prompt.close()
        if history is not None:
            history.save()
    return 0 if interactive else prompt.code


class Prompt:
    """One connection, and what is typed to it.

    Attributes:
        code: Exit code of the last line that failed, or 0.
    """

    def __init__(self, flags: Arguments, out: Output) -> None:
        self.code = 0
        self._flags = flags
        self._out = out
        self._atv: AppleTV | None = None

    @property
    def name(self) -> str:
        """The device, or a word for none."""
        return self._atv.name if self._atv is not None else "nothing yet"

    def open(self) -> None:
        """Connect; a device that does not answer now may do so later."""
        try:
            self._atv = open_target(self._flags, self._out, acts=False, wait_for_all=False)
        except (ConnectionFailed, CommandTimeout) as exc:
            self.code = self._out.failure(exc)

    def close(self) -> None:
        """Disconnect."""
        if self._atv is not None:
            self._atv.close()

    def do(self, line: str) -> None:
        """Carry out one line. Its errors are printed."""
        try:
            words = [] if line.lstrip().startswith("#") else shlex.split(line)
            if not words:
                return
            if is_program(words[0]):
                self._program(words)
                return
            steps = parse_all(words)
            if steps[-1].command.program is not None:  # it would end the connection
                raise _own(words[-1])
            offline = steps[0].command.offline
            acts = any(step.command.acts for step in steps)
            target: Any = self._settings() if offline else self._connected(acts)
            for step in steps:
                step(target, self._out)
        except BrokenPipeError:
            raise  # the reader has gone
        except Exception as exc:  # even a bug costs one line, not the prompt
            self.code = self._out.failure(exc)

    def _program(self, words: list[str]) -> None:
        if words[0] not in PROGRAMS:
            raise _own(words[0])
        flags = ["--json"] if self._out.json else []
        flags += [f"--storage={self._flags.storage}", f"--scan-timeout={self._flags.scan_timeout}"]
        for flag in ("storage_filename", "scan_hosts", "scan_protocols"):
            value = getattr(self._flags, flag)
            flags += [] if value is None else [f"--{flag.replace('_', '-')}={value}"]
        try:
            code = run_subcommand(words[0], [*words[1:], *flags], self._out)
        except SystemExit as exc:  # argparse's --help
            code = exc.code if isinstance(exc.code, int) else 2
        self.code = code or self.code

    def _settings(self) -> Any:
        from .settings import open_settings

        return open_settings(self._flags, self._out)

    def _connected(self, acts: bool) -> AppleTV:
        """The connection; a new one if any of it was lost, for which words that act wake a device.

        Raises:
            AppleTVError: As for :func:`tinyatv.connect`.
        """
        if self._atv is not None and not self._atv.is_whole:
            self._out.warn(f"tinyatv: the connection to {self._atv.name} was lost; reconnecting")
            self._atv.close()
            self._atv = None
        if self._atv is None:
            self._atv = open_target(self._flags, self._out, acts=acts, wait_for_all=False)
        return self._atv


def _own(word: str) -> ValueError:
    return ValueError(f"{word} is a program of its own: `exit` first")


def _read(interactive: bool) -> str | None:
    """The next line, or None at the end of input."""
    if not interactive:
        return (sys.stdin.readline() if sys.stdin is not None else "") or None
    try:
        return input(PROMPT)
    except EOFError:
        print()
        return None


def _history_path(flags: Arguments) -> str | None:
    store = the_store(flags).path
    return None if store is None else os.path.join(os.path.dirname(store), "history")


class History:
    """What was typed before, where Python has readline.

    Args:
        path: File, for its owner alone; None remembers nothing.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._lines: list[str] = []
        try:
            import readline
        except ImportError:
            self._path = None
            return
        readline.set_auto_history(False)
        readline.set_completer_delims(" ")
        readline.set_completer(self._complete)
        readline.parse_and_bind("tab: complete")
        try:
            with open(path or os.devnull, encoding="utf-8", errors="replace") as file:
                self._lines = file.read().splitlines()[-KEPT:]
        except OSError:
            pass  # the first time
        for line in self._lines:
            readline.add_history(line)

    def add(self, line: str) -> None:
        """Remember a line, unless it may hold a secret."""
        line = line.strip()
        if not line or line in self._lines[-1:] or any(secret in line for secret in SECRET):
            return
        self._lines.append(line)
        if self._path is not None:
            import readline

            readline.add_history(line)

    def save(self) -> None:
        """Write the file. Not worth failing for."""
        from ..files import make_folder, replace_file

        if self._path is None or not self._lines:
            return
        try:
            make_folder(os.path.dirname(os.path.abspath(self._path)))
            text = "\n".join([*self._lines[-KEPT:], ""])
            replace_file(self._path, text.encode("utf-8", "replace"), 0o600)
        except OSError as exc:
            show(f"tinyatv: cannot write {self._path}: {exc.strerror}", error=True)

    @staticmethod
    def _complete(text: str, state: int) -> str | None:
        names = [word for word in lines() if not is_program(word) or word in PROGRAMS]
        words = [*names, "exit", "quit"]
        return [*(word for word in words if word.startswith(text)), None][state]
