"""Lets a device fetch one local file over HTTP.

An Apple TV plays nothing that it cannot fetch by itself, so the path of a file becomes a URL:

    http://192.168.1.5:49152/q0dJ3vCkQ9yGmXrW2a1sZg/My%20film.mp4
           our own address   not to be guessed      the extension chooses the demuxer

Only that URL, only for the device's address. Requests are parsed by ``http.server``. Its server
classes stay out: they look up our host name first, poll twice a second to see whether they
should end, and do not join daemon threads.
"""

from __future__ import annotations

import errno
import http.server
import ipaddress
import logging
import mimetypes
import os
import re
import secrets
import socket
import stat
import struct
import threading
import time
import urllib.parse
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, Union, cast

from ..deadline import Deadline
from ..errors import ConnectionLost
from ..link import reason
from ..threads import start
from ..wire.airplay_codes import OCTETS

if TYPE_CHECKING:
    import socketserver
    from collections.abc import Iterable

log = logging.getLogger(__name__)

CHUNK = 65536
CONNECTIONS = 16  # at a time; players open a few while seeking
IDLE_TIMEOUT = 30.0  # s without a byte in either direction

TYPES = {  # extension: Content-Type; what Apple TVs play, whatever the system's table says
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".qt": "video/quicktime",
    ".ts": "video/mp2t",  # mimetypes may know it as a translation of Qt
    ".m2ts": "video/mp2t",
    ".3gp": "video/3gpp",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".m4b": "audio/mp4",
    ".aac": "audio/aac",
    ".ac3": "audio/ac3",
    ".ec3": "audio/eac3",
    ".aif": "audio/aiff",
    ".aiff": "audio/aiff",
    ".caf": "audio/x-caf",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".vtt": "text/vtt",
}

SHRUNK = "it is shorter than it was"

LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # on, 0 s

# No number is longer: int() refuses 4300 digits, and is slow below that.
RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,100})\s*-\s*(\d{0,100})\s*", re.ASCII | re.IGNORECASE)

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class FileServer:
    """Serves one file to one device until closed.

    Args:
        path: The file. Links are followed once, in :meth:`start`.
        host: Our own address to listen on: that of the control connection. A link-local one
            needs its zone: ``fe80::1%eth0``.
        peer: Address of the device; all other connections are closed at once.
        also: Its other addresses: which one it fetches from is its own choice.

    Attributes:
        url: What the device should fetch; empty before :meth:`start`.
        refused: Who was turned away last; empty if nobody was.
        error: Why the file could not be served any more, or None.

    Raises:
        ValueError: `host` or `peer` is not an address.
    """

    def __init__(
        self, path: str | os.PathLike[str], host: str, peer: str, also: Iterable[str] = ()
    ) -> None:
        self.url = self.refused = ""
        self.error: OSError | None = None
        self.name = f"tinyatv-stream-{peer}"
        self._path = os.fspath(path)
        self._host = host
        self._own = _address(host)
        self._peers = {_address(one) for one in (peer, *also)}
        self._refused: set[Address] = set()
        self._file = ""  # the path without links
        # Of the name that was asked for, not of what it links to: that may have no extension.
        name = os.path.basename(self._path)
        self._type = content_type(name)
        self._route = f"/{secrets.token_urlsafe(16)}/".encode() + os.fsencode(name)
        self._size = 0  # when it was started
        self._sent = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._listening: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._served: dict[threading.Thread, socket.socket] = {}

    @property
    def sent(self) -> int:
        """Bytes of the file sent so far; more than its size if parts were fetched again."""
        return self._sent

    def start(self) -> FileServer:
        """Start serving.

        Raises:
            OSError: The file cannot be read, or the address is not ours.
            ConnectionLost: It was closed already.
            AppleTVError: The system has no room for another thread.
        """
        self._file = os.path.realpath(self._path)
        with _open(self._file) as file:
            self._size = os.fstat(file.fileno()).st_size
        own = self._host if self._own.version == 6 else str(self._own)
        family, _, _, _, where = socket.getaddrinfo(
            own, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        listening = socket.create_server(where, family=family, backlog=CONNECTIONS)
        with self._lock:  # so that close() finds nothing, or a thread that can be joined
            if self._closed.is_set() or self._thread is not None:
                listening.close()
                raise ConnectionLost(f"{self.name}: closed, or started before")
            try:
                self._thread = start(self._accept, self.name, listening)
            except BaseException:
                listening.close()
                raise
            self._listening = listening
            shown = f"[{self._own}]" if self._own.version == 6 else str(self._own)
            port = listening.getsockname()[1]
            self.url = f"http://{shown}:{port}{urllib.parse.quote(self._route)}"
        return self

    def close(self) -> None:
        """Stop. Safe to call more than once and from any thread; blocks up to 5 s."""
        with self._lock:
            closed, thread, listening = self._closed.is_set(), self._thread, self._listening
            self._closed.set()
            threads = [*self._served, *([thread] if thread is not None else [])]
            for sock in self._served.values():
                _abort(sock)
            asleep = listening is not None and not closed and not _shut(listening)
        if listening is not None and asleep:
            _knock(listening)  # only Linux wakes accept() by a shutdown
        # One of ours must not wait for another: that one may be closing as well.
        # Numbers of threads that have ended are given to new ones.
        if threading.get_ident() not in [one.ident for one in threads if one.is_alive()]:
            deadline = Deadline(5.0)
            for one in threads:
                one.join(deadline.left())

    def __enter__(self) -> FileServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, listening: socket.socket) -> None:
        while not self._closed.is_set():
            try:
                sock, address = listening.accept()
            except OSError as exc:
                if not self._closed.is_set():
                    log.debug("%s: cannot accept: %s", self.name, reason(exc))
                    self._closed.wait(0.1)  # out of descriptors: let some go first
                continue
            if not self._admitted(sock, address[0], address[1]):
                sock.close()
        with self._lock:
            listening.close()

    def _admitted(self, sock: socket.socket, host: str, port: int) -> bool:
        """Give a connection its thread, unless it comes from elsewhere or is one too many."""
        if _address(host) not in self._peers:
            self._turn_away(_address(host))
            return False
        thread = threading.Thread(
            target=self._serve, args=(sock, (host, port)), name=f"{self.name}:{port}", daemon=True
        )
        with self._lock:
            # Kept until they have ended, so that close() joins also those that are about to.
            self._served = {t: s for t, s in self._served.items() if t.is_alive()}
            busy = sum(s.fileno() != -1 for s in self._served.values())
            if self._closed.is_set() or busy >= CONNECTIONS:
                return False
            try:
                thread.start()
            except RuntimeError:  # no more threads
                return False
            self._served[thread] = sock
        return True

    def _turn_away(self, address: Address) -> None:
        """Say who it was, once for each: it may be the device, by an address nobody knew of."""
        self.refused = str(address)
        if address not in self._refused and len(self._refused) < CONNECTIONS:
            self._refused.add(address)
            ours = ", ".join(sorted(map(str, self._peers)))
            log.warning("%s: turned away %s, for the device is %s", self.name, address, ours)

    def _serve(self, sock: socket.socket, address: tuple[str, int]) -> None:
        try:
            _Exchange(self, sock, address)
        except OSError as exc:
            # Players hang up whenever they have seen enough.
            log.debug("%s:%s: ended: %s", self.name, address[1], reason(exc))
        except Exception:  # whatever the peer sent, it is not for the user's terminal
            log.debug("%s:%s: failed", self.name, address[1], exc_info=True)
        finally:
            with self._lock:  # close() must not shut down a descriptor that has been reused by then
                sock.close()

    def _count(self, size: int) -> None:
        with self._lock:
            self._sent += size


class _Exchange(http.server.BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tinyatv", ""
    disable_nagle_algorithm = True  # a header and two bytes are two writes
    timeout = IDLE_TIMEOUT

    def __init__(self, owner: FileServer, sock: socket.socket, address: tuple[str, int]) -> None:
        self._owner = owner
        super().__init__(sock, address, cast("socketserver.BaseServer", owner))

    def do_GET(self) -> None:
        self._answer(self.headers.get("Range"))

    def do_HEAD(self) -> None:
        self._answer(None)  # RFC 9110 14.2: a range means something for GET only

    def _answer(self, wanted: str | None) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # that body is not read, so what follows is no request
        path = urllib.parse.unquote_to_bytes(self.path.encode("latin-1"))
        if not secrets.compare_digest(path, self._owner._route):
            self._head(HTTPStatus.NOT_FOUND, 0)
            return
        try:
            file = _open(self._owner._file)  # or what has replaced it by that name
        except OSError as exc:
            log.debug("%s: %s", self._owner.name, reason(exc))
            self._owner.error = exc
            self._head(HTTPStatus.NOT_FOUND, 0)
            return
        with file:
            self._send_file(file, wanted)

    def _send_file(self, file: BinaryIO, wanted: str | None) -> None:
        about = os.fstat(file.fileno())
        size = about.st_size
        if size < self._owner._size:
            self._owner.error = OSError(SHRUNK)
        etag = f'"{about.st_mtime_ns:x}-{size:x}"'
        # RFC 9110 8.8.2.1: not in the future; and before 1970 or after 9999 there is no date.
        changed = self.date_time_string(int(min(max(about.st_mtime, 0), time.time())))
        if self.headers.get("If-Range", etag) not in (etag, changed):
            wanted = None  # it has parts of another file
        part = parse_range(wanted, size)
        fields = [("Accept-Ranges", "bytes"), ("ETag", etag), ("Last-Modified", changed)]
        if part is None:
            first, length = 0, size
            status = HTTPStatus.OK
        elif part:
            first, length = part.start, len(part)
            status = HTTPStatus.PARTIAL_CONTENT
            fields.append(("Content-Range", f"bytes {first}-{first + length - 1}/{size}"))
        else:
            first = length = 0
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            fields.append(("Content-Range", f"bytes */{size}"))
        if status is not HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            fields.append(("Content-Type", self._owner._type))
        self._head(status, length, fields)
        if self.command != "HEAD":
            file.seek(first)
            self._body(file, length)

    def _body(self, file: BinaryIO, left: int) -> None:
        while left:
            data = file.read(min(CHUNK, left))
            if not data:  # it has shrunk; fewer bytes than announced say so
                self._owner.error = OSError(SHRUNK)
                self.close_connection = True
                return
            left -= len(data)
            view = memoryview(data)
            while view:
                # Not sendall(): its time limit is for all of it, not since the last byte.
                size = self.connection.send(view)
                self._owner._count(size)
                view = view[size:]

    def _head(
        self, status: HTTPStatus, length: int, fields: list[tuple[str, str]] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in fields or []:
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself, without its page of HTML."""
        self.close_connection = True
        self._head(HTTPStatus(code), 0)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # Not the path: who knows it may fetch the file.
        log.debug("%s: %r -> %d", self._owner.name, self.command, code)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s: " + format, self._owner.name, *args)


def content_type(name: str) -> str:
    """The Content-Type for a file name."""
    extension = os.path.splitext(name)[1].lower()
    if extension in TYPES:
        return TYPES[extension]
    kind, packed = mimetypes.guess_type("file" + extension)
    return kind if kind and not packed else OCTETS


def parse_range(text: str | None, size: int) -> range | None:
    """Which bytes a Range header wants.

    Returns:
        Positions; empty if there are none such; None for the whole file, which also is the
        answer to what is malformed or wants several parts.
    """
    match = RANGE.fullmatch(text) if text else None
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(min(int(first), size), min(int(last) + 1 if last else size, size))


def check_file(path: str | os.PathLike[str]) -> None:
    """See whether a file can be served, before a device is asked to play it.

    Raises:
        OSError: It cannot be read, is no regular file, or is empty.
    """
    with _open(os.path.realpath(path)) as file:
        if not os.fstat(file.fileno()).st_size:
            raise OSError(errno.EINVAL, "the file is empty", os.fspath(path))


def _open(path: str) -> BinaryIO:
    """Open a file by its path without links.

    Raises:
        OSError: It is gone, not readable, no regular file, or a link by now.
    """
    file = cast(BinaryIO, open(path, "rb", buffering=0, opener=_opener))  # noqa: SIM115
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"not a regular file: {path!r}")
        if os.path.realpath(path) != path:  # one of its folders became a link
            raise FileNotFoundError(f"not there any more: {path!r}")
    except BaseException:
        file.close()
        raise
    return file


def _address(text: str) -> Address:
    """An address without its zone, and as IPv4 if it is that inside IPv6."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _opener(path: str, flags: int) -> int:
    """Follow no link, and do not wait for the other end of a pipe by that name."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _abort(sock: socket.socket) -> None:
    """End a connection and wake who is blocked on it."""
    try:
        # What is queued need not reach the peer any more: reset instead of lingering.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    except OSError:
        pass  # closed by its thread
    _shut(sock)


def _shut(sock: socket.socket) -> bool:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return False
    return True


def _knock(listening: socket.socket) -> None:
    try:
        socket.create_connection(listening.getsockname()[:2], 1).close()
    except OSError:
        pass  # the listener is closed already
