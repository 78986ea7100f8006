"""What a command leaves behind where the flags ask for it: a log, and a trace."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from ..text import printable
from .output import trace_lines

if TYPE_CHECKING:
    import logging
    from contextlib import AbstractContextManager

    from ..trace import Trace
    from .flags import Arguments


def traced(flags: Arguments) -> AbstractContextManager[object]:
    """Writes the trace that the flags ask for, while the command runs."""
    if flags.trace is None:
        if flags.trace_secrets:
            raise ValueError("--trace-secrets needs --trace FILE")
        return contextlib.nullcontext()
    return new_trace(flags.trace, flags)


def new_trace(path: str, flags: Arguments) -> Trace:
    """A trace to a file, for a command that reads other files.

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
            raise ValueError(f"--trace {path}: that is {what}, which is read: name another file")
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
            stream=sys.stderr,
        )
        logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug log shows whole URLs
        for name in ("zeroconf", "tinyatv.discovery.mdns"):
            logging.getLogger(name).setLevel(logging.DEBUG if flags.mdns_debug else logging.INFO)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_hide_home_sharing)
            handler.setFormatter(_formatter("%(asctime)s %(levelname)s [%(name)s]: %(message)s"))
    elif "logging" in sys.modules:
        import logging

        if logging.lastResort is not None:  # it prints warnings where there is no log
            logging.lastResort.setFormatter(_formatter("%(message)s"))


def _formatter(form: str) -> logging.Formatter:
    """A formatter whose messages a terminal does not obey: names come from the network."""
    import logging

    class Formatter(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:
            return printable(super().formatMessage(record))

        def formatException(self, info: Any) -> str:
            return "\n".join(map(printable, trace_lines(info[1])))

    return Formatter(form)


def _hide_home_sharing(record: logging.LogRecord) -> bool:
    """Multicast DNS shows a Home Sharing id, which is a login; but a log may go further."""
    import re

    text = record.getMessage()
    if "hg=" in text.lower():
        record.msg, record.args = re.sub(r"(?i)(hg=)[0-9a-f-]+", r"\1...", text), ()
    return True
