"""HTTP to one device: `requests` on top, the link of all other protocols below.

A transport adapter of our own, and not the usual one, because of three things: a time limit that
covers a whole answer, a close that wakes threads which wait for one, and speed: the usual one takes
five times as long for a key press as the network and the device together.
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from ..addresses import as_list, reached, url_host
from ..errors import ConnectionLost, ProtocolError
from ..link import Link, open_socket
from ..wire import http

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0


class Transport(BaseAdapter):
    """Sends requests to one device over connections that stay open.

    Args:
        hosts: Its address, or all of them, best first.
        port: TCP port.
        headers: Sent with every request, in this order, after ``Host``.
        body_type: Content type of every POST.
        protocol: For the words of an error.

    Attributes:
        address: The one of `hosts` that answered last; before that, the first.
        base: What every URL begins with. Of IPv6 on one link it has the scope, which stays here.
        label: What errors call the connection.
    """

    def __init__(
        self,
        hosts: str | Sequence[str],
        port: int,
        headers: Mapping[str, str],
        body_type: str,
        protocol: str,
    ) -> None:
        super().__init__()
        self._args = port, headers, body_type, protocol
        self._hosts = list(as_list(hosts)) or [""]
        self._port = port
        self._headers = list(headers.items())
        self._body_type = body_type
        self._protocol = protocol
        self._use(self._hosts[0])
        self.label = f"{self.address} ({protocol})"
        self.base = f"http://{url_host(self.address, scope=True)}:{port}"
        self._lock = threading.RLock()  # a signal handler may send, too
        self._idle: list[Link] = []
        self._links: dict[Link, http.HttpWire] = {}
        self._closed = False

    def sibling(self) -> Transport:
        """Another transport to the same device."""
        return Transport(self._hosts, *self._args)

    def _use(self, address: str) -> None:
        """From now on, this address comes first."""
        self.address = address
        self._hosts = [address, *(one for one in self._hosts if one != address)]
        self._get = [("Host", f"{url_host(address)}:{self._port}"), *self._headers]
        self._post = [*self._get, ("Content-Type", self._body_type)]

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
        silent: float | None = None,
        limit: int = http.FIRST_LIMIT,
    ) -> Response:
        """Carry out a request: what `requests` asks of an adapter.

        Args:
            timeout: Seconds from here to the last byte of the answer; None waits forever.
            silent: Seconds to wait instead while the device says nothing.
            limit: Bytes that the answer may have: no device proves who it is.

        Raises:
            CommandTimeout: No answer in time.
            ConnectionFailed: No connection could be made, so nothing was sent.
            ConnectionLost: It broke; whether the device acted is unknown. Also after `close`.
            ProtocolError: The answer makes no sense.
        """
        link = None
        with self._lock:
            while self._idle and link is None:
                link = self._idle.pop()
                if link.stale():  # the device has closed it meanwhile
                    self._links.pop(link, None)
                    link.close()
                    link = None
        link = link or self._open(timeout)
        path = (request.url or "")[len(self.base) :]
        headers = self._post if request.method == "POST" else self._get
        body: Any = request.body
        message = http.Request(request.method or "GET", path, headers, body or b"")
        try:
            self._links[link].limit = limit
            answer = link.request(message, timeout, silent=silent)
            response = self._response(request, answer, limit)
        except KeyError:  # closed meanwhile
            raise ConnectionLost(f"connection is closed ({self._protocol})") from None
        except BaseException:
            self._drop(link)  # an answer that comes too late must not be taken for the next one
            raise
        if (answer.header("Connection") or "").lower() == "close":
            self._drop(link)
        else:
            with self._lock:
                if not self._closed:
                    self._idle.append(link)
        return response

    def _open(self, timeout: float | None) -> Link:
        limit = CONNECT_TIMEOUT if timeout is None else max(0.001, min(CONNECT_TIMEOUT, timeout))
        if self._closed:
            raise ConnectionLost(f"connection is closed ({self._protocol})")
        sock = open_socket(self._hosts, self._port, limit, self._protocol)
        address = reached(sock, self._hosts)
        if address != self.address:
            self._use(address)
        # A device that lost power closes nothing: notice within 20 s, not after hours.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 2)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
        wire = http.HttpWire(http.FIRST_LIMIT)
        link = Link(sock, wire, _unasked, name=self._protocol, label=self.label)
        with self._lock:
            self._links[link] = wire
            closed = self._closed
        if closed:
            self._drop(link)
            raise ConnectionLost(f"connection is closed ({self._protocol})")
        return link

    def _drop(self, link: Link) -> None:
        link.close()
        with self._lock:
            self._links.pop(link, None)

    def _response(self, request: PreparedRequest, answer: Any, limit: int) -> Response:
        if not isinstance(answer, http.Response):
            raise ProtocolError(f"a request instead of an answer ({self._protocol})")
        response = Response()
        response.request = request
        response.url = request.url or ""
        response.status_code = answer.code
        response.reason = answer.reason
        response.headers.update(answer.headers)
        response._content = self._plain(answer, limit)
        return response

    def _plain(self, answer: http.Response, limit: int) -> bytes:
        """The body, decompressed: devices compress even 32 bytes."""
        try:
            return answer.plain(limit)
        except ValueError as exc:
            raise ProtocolError(f"{exc} ({self._protocol})") from exc

    def close(self) -> None:
        """Close all connections; wake the threads that wait. Safe to call twice, from anywhere."""
        with self._lock:
            self._closed = True
            links = list(self._links)
            self._idle.clear()
        for link in links:
            self._drop(link)


def _unasked(message: Any) -> None:
    log.debug("ignored: %r", message)
