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
from collections import deque
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Union

from . import __version__, link
from .decode import DEPTH, LIMIT, VALUES, describe, is_pairing, lines, printable
from .link import reason
from .model import PROTOCOLS
from .wire import tlv8
from .wire.http import HttpWire, Request, Response

if TYPE_CHECKING:
    from .errors import AppleTVError
    from .link import Link

log = logging.getLogger(__name__)

Path = Union[str, "os.PathLike[str]"]

VERSION = 1
TO_DEVICE, TO_CLIENT = "to_device", "to_client"
HIDDEN = "(hidden)"
QUERY = ("pairing-guid", "hsgid", "pairingcode", "password", "pin")
HEADERS = ("authorization", "apple-challenge", "apple-response")
KEYS = ("shk", "ekey", "eiv", "key", "password", "authTag", "epk", "proof", "salt")
PAIRING = ("/pair", "/auth-setup", "/fp-setup")  # what paths begin with whose bodies are secret
LINE = 4 * LIMIT  # bytes; a message as hex, and decoded


class Trace:
    """Writes what all connections of this process send and receive into a file.

    One at a time. It costs time for each message, on the thread that sends or reads it, and never
    breaks a command: when the disk is full, it stops with a warning in the log.

    Args:
        path: File to write; what is there is replaced. Nobody but its owner may read it.
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
            OSError: It cannot be written.
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
            OSError: It cannot be written.
            ValueError: Another trace is being written.
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

    def __enter__(self) -> Trace:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what links do ---------------------------------------------------------------------------

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
        frame = isinstance(message, tuple) and message and isinstance(message[0], int)
        if isinstance(message, (list, tuple)) and not frame:  # several at once
            for one in message:
                self._observe(link, one, ours)
        elif message is not None and self._file is not None:  # None: an empty frame
            try:
                self.write(entry(connection, message, ours is not connection.device, self._secrets))
            except Exception:  # whatever a stranger has sent: no command is to fail because of it
                log.exception("cannot write %s to the trace", type(message).__name__)

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
    """What has to be known of a connection to write its messages.

    Attributes:
        end: Whose end ours is, ``"client"`` or ``"device"``.
        number: Its number in the trace.
        protocol: What it speaks.
        device: True if ours is the device's end.
        paths: Of HTTP requests that are not answered yet, by who asked: the client, the device.
    """

    __slots__ = ("device", "end", "number", "paths", "protocol")

    def __init__(self, number: int, protocol: str, device: bool = False) -> None:
        self.number = number
        self.protocol = protocol
        self.device = device
        self.end = "device" if device else "client"
        self.paths: dict[bool, deque[str]] = {True: deque(), False: deque()}


def entry(
    connection: Connection, message: Any, to_device: bool, secrets: bool = False
) -> dict[str, Any]:
    """The line of a message."""
    path = ""
    if isinstance(message, Request):
        path = message.path
        connection.paths[to_device].append(path)
    elif isinstance(message, Response):
        asked = connection.paths[not to_device]
        path = asked.popleft() if asked and message.code != 100 else ""
    hidden = False
    if not secrets:
        message, hidden = redacted(message, path)
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
    """A new, empty file that its owner alone can read; unbuffered, so that nothing is lost."""
    # O_NONBLOCK: a pipe that nobody reads must not make us wait.
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o600)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            if hasattr(os, "fchmod"):
                os.fchmod(handle, 0o600)  # before anything is in it: it may have been there
            os.ftruncate(handle, 0)
        return open(handle, "wb", buffering=0)
    except OSError as exc:
        os.close(handle)
        exc.filename = os.fspath(path)
        raise


# -- secrets ---------------------------------------------------------------------------------------


def redacted(message: Any, path: str = "") -> tuple[Any, bool]:
    """A message without its secrets, and whether it had any.

    Args:
        path: Of an HTTP request, or of the one that a response answers.
    """
    if isinstance(message, (Request, Response)):
        return _http(message, path)
    if isinstance(message, tuple):
        return _companion(*message)
    if hasattr(message, "envelope"):
        return _mrp(message)
    return message, False


def _mrp(message: Any) -> tuple[Any, bool]:
    from . import proto

    envelope, kind = message.envelope, message.kind
    known = kind in proto.BODIES or not kind
    keyboard = kind == proto.KEYBOARD and message.body.encryptedTextCyphertext
    token = envelope.HasField("authenticationToken")
    if known and kind not in proto.SECRET and not keyboard and not token:
        return message, False
    copy = type(envelope)()
    copy.CopyFrom(envelope)
    if not known or kind in proto.SECRET:
        copy.DiscardUnknownFields()  # nobody knows what is in them
    if token:
        copy.authenticationToken = HIDDEN
    if kind == proto.CRYPTO_PAIRING:
        body = copy.cryptoPairingMessage
        body.pairingData = _pairing(body.pairingData)
    elif kind == proto.TEXT_INPUT and copy.textInputMessage.text:
        copy.textInputMessage.text = HIDDEN
    elif kind == proto.REMOTE_TEXT_INPUT:
        copy.remoteTextInputMessage.data = b""
    elif keyboard:
        copy.keyboardMessage.encryptedTextCyphertext = b""
    return proto.Message(copy), True


def _pairing(data: bytes) -> bytes:
    """Of a pairing message, which step it is, and how it failed."""
    try:
        items = tlv8.decode(data)
    except ValueError:
        return b""
    return tlv8.encode([(tag, value) for tag, value in items if tag in (6, 7) and len(value) == 1])


def _http(message: Request | Response, path: str) -> tuple[Request | Response, bool]:
    body = message.body
    if path.startswith(PAIRING) or is_pairing(body):
        body = _pairing(body)
    elif _is_plist(body) and any(key.encode() in body for key in KEYS):
        body = _plist(body)
    headers = [(n, HIDDEN if n.lower() in HEADERS else v) for n, v in message.headers]
    if len(body) != len(message.body):
        headers = [(n, str(len(body)) if n.lower() == "content-length" else v) for n, v in headers]
        headers = [(n, v) for n, v in headers if n.lower() != "content-encoding"]
    if isinstance(message, Response):
        changed = body is not message.body or headers != message.headers
        made = Response(message.code, message.reason, headers, body, message.protocol)
        return (made, True) if changed else (message, False)
    shown = _path(message.path)
    if body is message.body and headers == message.headers and shown == message.path:
        return message, False
    return Request(message.method, shown, headers, body, message.protocol), True


def _path(path: str) -> str:
    """A path whose query says no secrets."""
    before, mark, query = path.partition("?")
    if not mark:
        return path
    parts = []
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        parts.append(f"{name}={HIDDEN}" if equals and name.lower() in QUERY else part)
    return f"{before}?{'&'.join(parts)}"


def _companion(kind: int, content: Any) -> tuple[Any, bool]:
    if not isinstance(content, dict):
        return (kind, content), False
    if isinstance(content.get("_pd"), bytes):
        return (kind, {**content, "_pd": _pairing(content["_pd"])}), True
    inner = content.get("_c")
    if isinstance(inner, dict) and isinstance(inner.get("_tiD"), bytes):
        return (kind, {**content, "_c": {**inner, "_tiD": _text_input(inner["_tiD"])}}), True
    return (kind, content), False


def _text_input(data: bytes) -> bytes:
    """An archive about the text field, without the texts in it."""
    from .wire import plist

    try:
        archive = plist.loads(data)
        objects = archive["$objects"]
        for at, value in enumerate(objects):
            if isinstance(value, str) and value != "$null":
                objects[at] = HIDDEN
        return plist.dumps(archive)
    except (ValueError, TypeError, LookupError, RecursionError):
        return b""


def _is_plist(data: bytes) -> bool:
    return data[:8] == b"bplist00" or b"<plist" in data[:400]


def _plist(data: bytes) -> bytes:
    """A property list without keys; nothing if it makes no sense."""
    from .wire import plist

    left = VALUES

    def without(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth < 0:  # a short one may refer to its parts again and again
            raise ValueError("too large")
        if isinstance(value, dict):
            return {
                key: HIDDEN if key in KEYS else without(one, depth - 1)
                for key, one in value.items()
            }
        return [without(one, depth - 1) for one in value] if isinstance(value, list) else value

    try:
        return plist.dumps(without(plist.loads(data), DEPTH))
    except ValueError:
        return b""


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
        ValueError: It is no trace, or damaged. A last line that is cut short is left out.
    """
    if not is_trace(file.readline(LINE) if first is None else first):
        raise ValueError("this is no trace")
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
        ValueError: It is, of a version that nobody knew yet.
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
