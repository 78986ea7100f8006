"""A press through ``tinyatv serve``, which keeps connections open: the client's side.

    request   length: 4, big | fields, each with a NUL behind it: version, what, store, words ...
    answer    kind: 1 | length: 4, big | payload

    program   request                      "go"
    server             "wait"    "ready"           "out" ...  "err" ...  "exit"

Nothing is done before the program says "go". If it has not, and the server is gone, it can do the
command itself; if it has, what was done is unknown, and nothing may be done twice.

Every press from the shell comes through here, so it imports next to nothing: the module ``socket``
alone would take as long as all the rest.
"""

import os
import sys

from .. import __version__
from ..files import socket_path, store_path

TYPE_CHECKING = False  # see ../__init__.py
if TYPE_CHECKING:
    from _socket import socket as PlainSocket
    from socket import socket
    from typing import TextIO

NOT_MINE, WAIT, READY, OUT, ERR, EXIT = b"n", b"w", b"r", b"o", b"e", b"x"
GO = b"g"
UNKNOWN = "tinyatv serve stopped in the middle: whether the device acted is unknown"

ANSWERS = 2.0  # s until the server must have accepted; and then, until it must have answered
CONNECTS = 60.0  # s until it must have connected to the device


def press(args: "list[str]") -> "int | None":
    """Let the server carry out a command line.

    Args:
        args: Arguments of the program.

    Returns:
        The exit code; None if the server has done nothing, or there is none.

    Raises:
        OSError: The output cannot be written.
    """
    if os.environ.get("TINYATV_SERVE", "").lower() in ("off", "no", "0"):
        return None
    try:
        store = os.path.abspath(store_path())
    except ValueError:  # no home folder
        return None
    try:
        sock = connect(socket_path(store)) if hasattr(os, "getuid") else None
    except BlockingIOError:
        _log("it does not let us in")
        return None
    if sock is None:
        return None
    try:
        return _converse(sock, request("words", store, *args), "--json" in args)
    finally:
        sock.close()


def connect(path: str) -> "socket | None":
    """A connection to the server that listens there, or None: there is none, or not one of ours.

    Raises:
        BlockingIOError: There is one, and so many callers wait that it accepts no other within 2 s.
    """
    try:
        if not is_ours(os.lstat(os.path.dirname(path))):
            return None  # in /tmp, say, any user may have made it
        os.lstat(path)
    except OSError:
        return None
    import _socket  # what `socket` is made of

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(ANSWERS)
        _enter(sock, path)
        if same_user(sock):
            return sock  # type: ignore[return-value]
    except BlockingIOError:
        sock.close()
        raise
    except OSError:
        pass  # it was killed, and its socket is still there
    sock.close()
    return None


def _enter(sock: "PlainSocket", path: str) -> None:
    """Connect, and wait for room where the system says that there is none (Linux)."""
    until = None
    while True:
        try:
            sock.connect(path)
            return
        except BlockingIOError:  # at once, whatever the time limit of the socket is
            from time import monotonic, sleep

            if until is None:
                until = monotonic() + ANSWERS
            elif monotonic() >= until:
                raise
            sleep(0.01)


def is_ours(folder: os.stat_result) -> bool:
    """True if it is a folder of the user that we are, and no other user gets in."""
    return folder.st_uid == os.geteuid() and folder.st_mode & 0o170077 == 0o040000


def same_user(sock: object) -> bool:
    """True if whoever is at the other end is the user that we are, as far as the system says."""
    import _socket

    get = sock.getsockopt  # type: ignore[attr-defined]
    if hasattr(_socket, "SO_PEERCRED"):  # Linux: pid, uid, gid
        peer = get(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    elif sys.platform == "darwin":  # LOCAL_PEERCRED: version, uid, groups
        peer = get(0, 1, 76)
    else:
        return True  # no other user gets into the folder
    return int.from_bytes(peer[4:8], sys.byteorder) == os.geteuid()


def request(*fields: str) -> bytes:
    """One request, for :func:`receive` at the other end."""
    data = b"".join(
        field.encode("utf-8", "surrogateescape") + b"\0" for field in (__version__, *fields)
    )
    return len(data).to_bytes(4, "big") + data


def receive(sock: "socket", count: int) -> bytes:
    """Exactly so many bytes.

    Raises:
        OSError: The other end has gone, or takes too long.
    """
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionResetError("the other end has gone")
        data += piece
    return data


def receive_answer(sock: "socket") -> "tuple[bytes, bytes]":
    """The next (kind, payload) from the server.

    Raises:
        OSError: It has gone, or takes too long.
    """
    head = receive(sock, 5)
    return head[:1], receive(sock, int.from_bytes(head[1:], "big"))


def _converse(sock: "socket", data: bytes, json: bool) -> "int | None":
    gone = False  # whether we said "go"
    try:
        sock.sendall(data)
    except OSError:
        return None
    while True:
        try:
            kind, data = receive_answer(sock)
            if kind == WAIT:
                sock.settimeout(CONNECTS)
            elif kind == READY:
                sock.settimeout(None)  # a delay, or a button that is held, may take any time
                sock.sendall(GO)
                gone = True
        except OSError as exc:
            if gone:
                return _unknown(json)
            _log(f"it has not done anything ({exc})")
            return None
        if kind == NOT_MINE:
            return None
        if kind == EXIT:
            return data[0]
        if kind in (OUT, ERR):
            _print(sys.stdout if kind == OUT else sys.stderr, data.decode("utf-8", "replace"))


def _print(stream: "TextIO | None", text: str) -> None:
    if stream is not None:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


def _log(why: str) -> None:
    import logging  # not before there is something to say

    logging.getLogger(__name__).debug("without tinyatv serve: %s", why)


def _unknown(json: bool) -> int:
    from ..errors import ConnectionLost
    from .output import Output

    return Output(json).failure(ConnectionLost(UNKNOWN))
