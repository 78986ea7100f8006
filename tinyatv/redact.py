"""Messages without their secrets, for traces and logs.

Hidden are: everything of a pairing but which step it is and how it failed; keys, credentials and
passwords; text that was typed; and messages of unknown types, which may hold any of these.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from .decode import DEPTH, VALUES, describe, is_pairing
from .text import printable
from .wire import tlv8
from .wire.http import Request, Response

HIDDEN = "(hidden)"
QUERY = ("pairing-guid", "hsgid", "pairingcode", "password", "pin")  # in the query of a path
HEADERS = ("authorization", "apple-challenge", "apple-response")
KEYS = ("shk", "ekey", "eiv", "key", "password", "authTag", "epk", "proof", "salt")  # in a plist
PAIRING = ("/pair", "/auth-setup", "/fp-setup")  # paths that begin like this have secret bodies
LINE = 300  # characters of a message in the log
USER = re.compile(r"://[^/@\s\"]+@")  # name and password in a URL


class Redactor:
    """Hides the secrets in the messages of one connection.

    It remembers the path of each HTTP request until the response comes, which may be secret because
    of it.
    """

    def __init__(self) -> None:
        self._paths: dict[bool, deque[str]] = {True: deque(), False: deque()}

    def redact(self, message: Any, forth: bool) -> tuple[Any, bool]:
        """A message without its secrets, and whether it had any.

        Args:
            message: Of any wire.
            forth: In which of the two directions it passes.
        """
        path = ""
        if isinstance(message, Request):
            path = message.path
            self._paths[forth].append(path)
        elif isinstance(message, Response):
            asked = self._paths[not forth]
            path = asked.popleft() if asked and message.code != 100 else ""
        return redacted(message, path)

    def lines(self, message: Any, forth: bool) -> Iterator[str]:
        """A line for each message that was sent or received at once: name, and content in short."""
        for one in each(message):
            try:
                shown, _ = self.redact(one, forth)
                yield _line(shown)
            except Exception as exc:  # no command may fail because of what a peer has sent
                yield f"{type(one).__name__} that cannot be shown: {type(exc).__name__}"


def each(message: Any) -> Iterator[Any]:
    """The messages in what a wire takes: one, several in a list or tuple, or None."""
    frame = isinstance(message, tuple) and message and isinstance(message[0], int)  # Companion
    if isinstance(message, (list, tuple)) and not frame:
        for one in message:
            yield from each(one)
    elif message is not None:
        yield message


def title(message: Any) -> str:
    """What a message is called, without secrets; for errors."""
    if isinstance(message, (bytes, bytearray)):
        return f"{len(message)} bytes"
    shown, _ = redacted(message, message.path if isinstance(message, Request) else "")
    return printable(describe(shown)[0])


def _line(message: Any) -> str:
    if isinstance(message, (bytes, bytearray)):
        return f"{len(message)} bytes"  # which may be anything
    name, content = describe(message)
    if isinstance(message, (Request, Response)):
        content = content.get("body")
    text = json.dumps(content) if content else ""
    line = USER.sub(f"://{HIDDEN}@", f"{printable(name)} {text}".rstrip())
    return line if len(line) <= LINE else f"{line[:LINE]}... ({len(line)} characters)"


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
        copy.DiscardUnknownFields()  # which may hold anything
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
