"""A trace: every message of every protocol, both directions, as JSON lines in a file.

::

    with tinyatv.Trace("trouble.jsonl"), tinyatv.connect("Den") as atv:
        atv.play()

The first line says what the file is; each other one is a message, or the end of a connection:

    {"trace": 1, "tinyatv": "0.1.0", "time": 1795675593.21, "secrets": false}
    {"time": ..., "protocol": "mrp", "connection": 1, "end": "client", "direction": "to_device",
     "name": "SEND_COMMAND", "message": {...}, "raw": "08011001..."}

``raw`` is the message as it was before it was sealed, so that it can be replayed. Pairing, keys,
passwords, credentials and text that was typed are left out of both unless they are asked for.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import stat
import threading
import time
import weakref
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Protocol, Union

from . import __version__, link
from .decode import LIMIT, describe, lines
from .link import reason
from .model import PROTOCOLS
from .redact import Redactor, each
from .text import printable
from .wire.http import HttpWire, Request, Response

if TYPE_CHECKING:
    from .errors import AppleTVError
    from .link import Link

log = logging.getLogger(__name__)

Path = Union[str, "os.PathLike[str]"]

VERSION = 1
TO_DEVICE, TO_CLIENT = "to_device", "to_client"
LINE = 4 * LIMIT  # bytes; a message as hex, and decoded


class Replay(Protocol):
    """Who replays a trace, which must not be overwritten then."""

    file: os.stat_result


replays: weakref.WeakSet[Replay] = weakref.WeakSet()


class Trace:
    """Writes what all connections of this process send and receive into a file.

    One at a time. It costs time for each message, on the thread that sends or reads it, and never
    breaks a command: when the disk is full, it stops with a warning in the log.

    Args:
        path: File to write; what is there is replaced. Only its owner may read it.
        secrets: True to write pairings, keys, passwords and typed text as well.
    """

    def __init__(self, path: Path, *, secrets: bool = False) -> None:
        self._path = path
        self._secrets = secrets
        self._file: IO[bytes] | None = None
        self._size = 0
        self._lock = threading.Lock()
        self._numbers: weakref.WeakKeyDictionary[Any, Connection] = weakref.WeakKeyDictionary()
        self._count = 0

    def open(self) -> Trace:
        """Create the file.

        Raises:
            OSError: It cannot be written, or belongs to another user.
            ValueError: The file is being replayed.
        """
        self._file = _create(self._path)
        head = {"trace": VERSION, "tinyatv": __version__, "time": _now(), "secrets": self._secrets}
        try:
            self._put(head)
        except OSError as exc:
            self._file.close()
            self._file = None
            exc.filename = os.fspath(self._path)
            raise
        return self

    def start(self) -> Trace:
        """Create the file, and write down everything from here on.

        Raises:
            OSError: It cannot be written, or belongs to another user.
            ValueError: Another trace is being written, or the file is being replayed.
        """
        if link.observer is not None:
            raise ValueError("another trace is being written")
        self.open()
        link.observer = self
        return self

    def close(self) -> None:
        """Stop, and close the file. Safe to call more than once and from any thread."""
        if link.observer is self:
            link.observer = None
        with self._lock:
            file, self._file = self._file, None
        if file is not None:
            file.close()

    def writes(self, about: os.stat_result) -> bool:
        """True if that is the file that is being written."""
        with self._lock:
            return self._file is not None and os.path.samestat(about, os.fstat(self._file.fileno()))

    def __enter__(self) -> Trace:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- called by links -------------------------------------------------------------------------

    def sent(self, link: Link, message: Any) -> None:
        """A link sends a message."""
        self._observe(link, message, True)

    def received(self, link: Link, message: Any) -> None:
        """A link received a message."""
        self._observe(link, message, False)

    def ended(self, link: Link, error: AppleTVError | None) -> None:
        """A link has ended."""
        if link in self._numbers:
            connection = self._connection(link)
            self.write(ending(connection, None if error is None else str(error)))

    def _observe(self, link: Link, message: Any, ours: bool) -> None:
        connection = self._connection(link)
        to_device = ours is not connection.device
        for one in each(message):
            if self._file is None:
                return
            try:
                self.write(entry(connection, one, to_device, self._secrets))
            except Exception:  # no command may fail because of what a peer has sent
                log.exception("cannot write %s to the trace", type(one).__name__)

    def _connection(self, link: Link) -> Connection:
        with self._lock:
            connection = self._numbers.get(link)
            if connection is None:
                connection = self._numbers[link] = self._new(link.name)
            return connection

    def _new(self, name: str) -> Connection:
        self._count += 1
        words = name.split("-")
        protocol = next((word for word in words if word in PROTOCOLS), words[-1])
        return Connection(self._count, protocol, words[0] == "virtual")

    # -- writing ---------------------------------------------------------------------------------

    def write(self, keys: dict[str, Any]) -> None:
        """Write a line; see :func:`entry` and :func:`ending`."""
        try:
            with self._lock:
                self._put(keys)
        except OSError as exc:
            log.warning("the trace ends here, %s: %s", os.fspath(self._path), reason(exc))
            self.close()

    def _put(self, keys: dict[str, Any]) -> None:
        if self._file is None:
            return
        data = json.dumps(keys).encode() + b"\n"
        done = 0
        try:
            while done < len(data):
                count = self._file.write(data[done:])
                if count is None:
                    raise BlockingIOError(errno.EAGAIN, "its reader does not keep up")
                done += count
        except OSError:
            try:
                self._file.truncate(self._size)  # no half line
            except OSError:
                pass  # a pipe, or a device
            raise
        self._size += done


class Connection:
    """What has to be known about a connection to write its messages.

    Attributes:
        end: Which end this is, ``"client"`` or ``"device"``.
        number: Its number in the trace.
        protocol: Of its messages.
        device: True at the device's end.
        redactor: Hides the secrets in its messages.
    """

    __slots__ = ("device", "end", "number", "protocol", "redactor")

    def __init__(self, number: int, protocol: str, device: bool = False) -> None:
        self.number = number
        self.protocol = protocol
        self.device = device
        self.end = "device" if device else "client"
        self.redactor = Redactor()


def entry(
    connection: Connection, message: Any, to_device: bool, secrets: bool = False
) -> dict[str, Any]:
    """The line of a message."""
    hidden = False
    if not secrets:
        message, hidden = connection.redactor.redact(message, to_device)
    name, content = describe(message)
    keys = {
        "time": _now(),
        "protocol": connection.protocol,
        "connection": connection.number,
        "end": connection.end,
        "direction": TO_DEVICE if to_device else TO_CLIENT,
        "name": name,
        "message": content,
    }
    if hidden:
        keys["hidden"] = True
    data = _raw(message)
    if data is not None:
        keys["raw"] = data.hex()
    return keys


def ending(connection: Connection, why: str | None) -> dict[str, Any]:
    """The line of the end of a connection; None if it was closed."""
    return {
        "time": _now(),
        "protocol": connection.protocol,
        "connection": connection.number,
        "end": connection.end,
        "ended": why,
    }


def _raw(message: Any) -> bytes | None:
    """A message as bytes, before it is sealed; None if it cannot be put so."""
    if isinstance(message, (bytes, bytearray)):
        return bytes(message)
    if isinstance(message, (Request, Response)):
        return HttpWire().encode(message)
    if isinstance(message, tuple):
        from .wire.companion import CompanionWire

        frame: bytes = CompanionWire().encode(message)
        return frame
    if hasattr(message, "envelope"):
        from . import proto

        return proto.dumps(message)
    return None


def _now() -> float:
    return round(time.time(), 6)


def _create(path: Path) -> IO[bytes]:
    """A new, empty file that only its owner can read; unbuffered, so that nothing is lost."""
    # O_NONBLOCK: opening a pipe without a reader must not block.
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o600)
    try:
        about = os.fstat(handle)
        if any(os.path.samestat(about, one.file) for one in replays):
            raise ValueError(f"{os.fspath(path)} is being replayed: name another file")
        if stat.S_ISREG(about.st_mode):
            if hasattr(os, "geteuid") and about.st_uid != os.geteuid():
                why = "it belongs to another user, who could read the trace"
                raise PermissionError(errno.EPERM, why)
            if hasattr(os, "fchmod"):
                os.fchmod(handle, 0o600)  # before anything is in it: it may have been there
            os.ftruncate(handle, 0)
        return open(handle, "wb", buffering=0)
    except (OSError, ValueError) as exc:
        os.close(handle)
        if isinstance(exc, OSError):
            exc.filename = os.fspath(path)
        raise


# -- reading ---------------------------------------------------------------------------------------


class Record:
    """A message in a trace.

    Attributes:
        time: When, in seconds since 1970.
        protocol: Of the connection.
        connection: Its number.
        at_device: True if the device has written it down, False for the client.
        to_device: True from the client to the device.
        name: What the message is called.
        content: Its content as plain values.
        raw: Its bytes, or None.
        hidden: True if secrets were left out.
        ended: For the end of a connection, why it ended; ``""`` if it was closed. Else None.
    """

    __slots__ = (
        "at_device", "connection", "content", "ended", "hidden", "name", "protocol", "raw", "time",
        "to_device",
    )  # fmt: skip

    def __init__(self, keys: dict[str, Any]) -> None:
        self.time = float(_of(keys, "time", (int, float)))
        if not math.isfinite(self.time):
            raise ValueError("time is missing, or wrong")
        self.protocol: str = _of(keys, "protocol", str)
        self.connection: int = _of(keys, "connection", int)
        self.at_device = keys.get("end") == "device"
        self.ended: str | None = None
        if "ended" in keys:
            self.ended = str(keys["ended"] or "")
        whole = self.ended is None
        direction = _of(keys, "direction", str) if whole else TO_CLIENT
        if direction not in (TO_DEVICE, TO_CLIENT):
            raise ValueError(f"unknown direction {direction[:40]!r}")
        self.to_device = direction == TO_DEVICE
        self.name: str = _of(keys, "name", str) if whole else "ended"
        self.content = keys.get("message")
        self.hidden = bool(keys.get("hidden"))
        self.raw: bytes | None = None
        if keys.get("raw") is not None:
            self.raw = bytes.fromhex(_of(keys, "raw", str))

    def lines(self) -> Iterator[str]:
        """The message for people."""
        clock = time.strftime("%H:%M:%S", time.localtime(max(0.0, min(self.time, 1e11))))
        clock += f".{int(self.time * 1000) % 1000:03}"
        where = f"{clock} {printable(self.protocol)} {self.connection}"
        if self.ended is not None:
            yield f"{where} ended{': ' if self.ended else ''}{printable(self.ended)}"
            return
        yield f"{where} {'>' if self.to_device else '<'} {printable(self.name)}"
        if self.content not in (None, {}, [], ""):
            yield from lines(self.content, "    ")


def _of(keys: dict[str, Any], name: str, kind: Any) -> Any:
    value = keys.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} is missing, or wrong")
    return value


def read(file: IO[bytes], first: bytes | None = None) -> Iterator[Record]:
    """Read a trace, message after message.

    Args:
        file: Open for reading, binary.
        first: Its first line, if that has been read already.

    Raises:
        ValueError: It is not a trace, or damaged. A last line that is cut short is left out.
    """
    if not is_trace(file.readline(LINE) if first is None else first):
        raise ValueError("this is not a trace")
    number = 1
    while line := file.readline(LINE):
        number += 1
        try:
            keys = json.loads(line)
            if not isinstance(keys, dict):
                raise ValueError("no object")
            record = Record(keys)
        except (ValueError, RecursionError, OverflowError) as exc:
            if not line.endswith(b"\n") and len(line) < LINE:
                return  # it was being written
            what = exc if not isinstance(exc, json.JSONDecodeError) else "not JSON"
            raise ValueError(f"line {number} of the trace is damaged: {what}") from exc
        yield record


def is_trace(line: bytes) -> bool:
    """Whether this is the first line of a trace.

    Raises:
        ValueError: It is, but of a later version.
    """
    if b'"trace"' not in line[:200]:
        return False
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(head, dict) or "trace" not in head:
        return False
    if head["trace"] != VERSION:
        raise ValueError(f"a trace of version {str(head['trace'])[:20]}; this reads {VERSION}")
    return True
