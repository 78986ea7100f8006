"""HTTP to one device, on `requests`: a time limit that holds, and a close that wakes who waits."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection

from ..deadline import Deadline
from ..errors import CommandTimeout, ConnectionFailed, ConnectionLost, ProtocolError
from ..link import reason

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

BODY_LIMIT = 16 * 1024 * 1024
CONNECT_TIMEOUT = 5.0


class Transport(HTTPAdapter):
    """Sends requests to one device over connections that stay open.

    Args:
        host: Address.
        port: TCP port.
        headers: Sent with every request, in this order, after ``Host``.
        body_type: Content type of every POST.
        protocol: For the words of an error.
    """

    def __init__(
        self, host: str, port: int, headers: Mapping[str, str], body_type: str, protocol: str
    ) -> None:
        super().__init__(max_retries=0)
        self._args = host, port, headers, body_type, protocol
        self._where = f"{host} port {port} ({protocol})"
        self._protocol = protocol
        self._base = f"http://{host}:{port}"
        self._get = requests.Request("GET", self._base, headers=dict(headers)).prepare().headers
        self._post = self._get.copy()
        self._post["Content-Type"] = body_type
        self._pool = _Pool(host, port)
        self._closed = False

    def sibling(self) -> Transport:
        """Another transport to the same device."""
        return Transport(*self._args)

    def send(  # type: ignore[override]
        self, method: str, path: str, command: str, deadline: Deadline, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Send a request and wait for its answer.

        Args:
            command: For the words of an error.
            deadline: For everything together.

        Returns:
            Status and body, the latter decompressed.

        Raises:
            CommandTimeout: No answer in time.
            ConnectionFailed: No connection could be made, so nothing was sent.
            ConnectionLost: It broke; whether the device acted is unknown. Also after `close`.
            ProtocolError: The answer makes no sense.
        """
        if self._closed:
            raise ConnectionLost(f"{command}: connection is closed ({self._protocol})")
        # Prepared by hand: everything but the path is the same each time.
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, self._base + path, body or b""
        request.headers = self._post if method == "POST" else self._get
        left = deadline.left() or 0.001
        # A login's query is the credentials, which are nobody's business.
        log.debug("> %s %s", method, path.split("?")[0])
        try:
            response = super().send(request, True, (min(CONNECT_TIMEOUT, left), left))
            answer = response.raw.read(BODY_LIMIT + 1, decode_content=True)
            if len(answer) > BODY_LIMIT:
                response.raw.close()
                raise ProtocolError(f"{command}: answer is too large ({self._protocol})")
            response.raw.release_conn()
        except (requests.RequestException, urllib3_errors.HTTPError, OSError) as exc:
            raise self._translate(exc, command, deadline) from exc
        log.debug("< %d, %d bytes", response.status_code, len(answer))
        return response.status_code, answer

    def _translate(self, exc: Exception, command: str, deadline: Deadline) -> Exception:
        """Which of the things that can go wrong did."""
        if self._closed:
            return ConnectionLost(f"{command}: connection is closed ({self._protocol})")
        causes = list(_causes(exc))
        if any(isinstance(one, _UNOPENED) for one in causes):
            return ConnectionFailed(f"cannot connect to {self._where}: {reason(causes[-1])}")
        if any(isinstance(one, _TIMEOUTS) for one in causes):
            limit = f"within {deadline.seconds:g} s ({self._protocol})"
            return CommandTimeout(f"no reply to {command} {limit}")
        if any(isinstance(one, (ConnectionError, EOFError)) for one in causes):
            return ConnectionLost(f"{command}: {self._where} broke off: {reason(causes[-1])}")
        if any(isinstance(one, urllib3_errors.IncompleteRead) for one in causes):
            return ConnectionLost(f"{command}: {self._where} broke off in the middle of its answer")
        return ProtocolError(f"{command}: {reason(causes[-1])} ({self._protocol})")

    def get_connection(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        """The one pool; there are no proxies on the way to a television."""
        return self._pool

    get_connection_with_tls_context = get_connection  # its name since requests 2.32

    def close(self) -> None:
        """Close all connections. Safe to call twice and from any thread."""
        self._closed = True
        for sock in self._pool.sockets.copy():
            try:
                # Closing a session does not wake a thread that waits for an answer; this does.
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # not connected any more
        self._pool.close()
        super().close()


_UNOPENED = (urllib3_errors.NewConnectionError, urllib3_errors.ConnectTimeoutError)
_TIMEOUTS = (urllib3_errors.ReadTimeoutError, TimeoutError, socket.timeout)


def _causes(exc: BaseException) -> list[BaseException]:
    """An error and what it was made from, the innermost last."""
    causes = [exc]
    while True:
        inside = [exc.__cause__, getattr(exc, "reason", None), *exc.args, exc.__context__]
        found = [one for one in inside if isinstance(one, BaseException) and one not in causes]
        if not found:
            return causes
        exc = found[0]
        causes.append(exc)


class _Socket(socket.socket):
    """A socket whose time limit covers a whole answer, not each of the bytes that dribble in."""

    _until: Deadline | None = None

    def settimeout(self, value: float | None) -> None:
        self._until = None if value is None else Deadline(value)
        super().settimeout(value)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self._until is not None:
            left = self._until.left()
            if not left:
                raise TimeoutError("timed out")
            super().settimeout(left)
        return super().recv_into(*args, **kwargs)


class _Connection(HTTPConnection):
    """A connection that tells its pool of its socket, and sends head and body in one piece.

    Two pieces would be two packets, and wake the device twice.
    """

    sockets: set[_Socket]  # of the pool
    _held: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        self._held = []
        try:
            super().request(*args, **kwargs)
            data = b"".join(self._held)
        finally:
            self._held = None
        self.sock.sendall(data)

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)

    def _new_conn(self) -> _Socket:
        plain = super()._new_conn()
        sock = _Socket(plain.family, plain.type, plain.proto, plain.detach())
        # A device that lost power says no goodbye: notice within 20 s, not after hours.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 2)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
        self.sockets.add(sock)
        return sock

    def close(self) -> None:
        if isinstance(self.sock, _Socket):
            self.sockets.discard(self.sock)
        super().close()


class _Pool(HTTPConnectionPool):
    """Connections to one device."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, maxsize=4)
        self.sockets: set[_Socket] = set()
        self.ConnectionCls = type("_Connection", (_Connection,), {"sockets": self.sockets})
