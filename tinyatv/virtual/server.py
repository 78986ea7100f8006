"""The HTTP of the device: accepts connections, answers requests."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import parse_qsl, urlsplit

from ..errors import AppleTVError
from ..link import Link, Listener
from ..wire.http import HttpWire, Request, Response

if TYPE_CHECKING:
    from ..link import Wire
    from .faults import Fault, Faults

log = logging.getLogger(__name__)


class Query:
    """A request, taken apart.

    Attributes:
        method: ``GET`` or ``POST``.
        path: Without the query.
        args: The query's parameters; the first of a name wins.
        body: Payload.
        request: The message itself.
    """

    def __init__(self, request: Request) -> None:
        parts = urlsplit(request.path)
        self.method = request.method
        self.path = parts.path
        self.args = dict(reversed(parse_qsl(parts.query, keep_blank_values=True)))
        self.body = request.body
        self.request = request


REQUESTS = 10_000  # that a device remembers, for assertions
REMEMBERED = 300  # characters of each
MESSAGE_TIMEOUT = 30.0  # s from the first byte of a message to its last


def remember(seen: list[Any], request: Any) -> None:
    """Add to what a device was asked; half of it is forgotten when there is no more room."""
    if len(seen) >= REQUESTS:
        del seen[: REQUESTS // 2]
    seen.append(request)


class Peer:
    """A client that is connected.

    Attributes:
        link: The connection.
        address: Where from.
        waiting: True while a request is open that is answered later.
    """

    def __init__(self, sock: socket.socket, address: tuple[str, int], server: HttpServer) -> None:
        self.address = address
        self.waiting = False
        self.link = Link(
            sock,
            self.new_wire(),
            lambda message: server.received(self, message),
            lost=lambda error: server.on_disconnect(self),
            name=f"{server.name}-{address[0]}:{address[1]}",
            message_timeout=MESSAGE_TIMEOUT,
        )

    def new_wire(self) -> Wire:
        """What it speaks."""
        return ServerWire(limit=1024 * 1024)

    def finish(self, request: Request, response: Response) -> None:
        """Put into a response what all of them have."""

    def answered(self, response: Response) -> None:
        """A response was sent."""

    def on_disconnect(self) -> None:
        """The connection ended."""


class HttpServer:
    """Serves HTTP on one port, each peer on a thread of its own.

    Args:
        answer: Called with (peer, query); returns the response, or None if it is sent later
            through ``peer.link``.
        name_of: Called with a query; returns the word by which faults know it, or all of them.
        faults: Faults to inject.
        seen: Called whenever a request came or was taken up, for those who wait for one.
        host: Address to listen on.
        port: TCP port; 0 picks a free one.
        name: Prefix of the threads' names.
        new_peer: Called with (socket, address, self) for each connection.
    """

    def __init__(
        self,
        answer: Callable[[Peer, Query], Response | None],
        name_of: Callable[[Query], str | tuple[str, ...]],
        faults: Faults,
        seen: Callable[[], object],
        host: str,
        port: int,
        name: str,
        new_peer: Callable[[socket.socket, tuple[str, int], HttpServer], Peer] = Peer,
    ) -> None:
        self.name = name
        self.requests: list[tuple[str, str]] = []
        self._answer = answer
        self._name_of = name_of
        self._faults = faults
        self._seen = seen
        self._new_peer = new_peer
        self._lock = threading.Lock()
        self._peers: list[Peer] = []
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()  # also those that are just ending
        self._stopping = threading.Event()
        self._listener = Listener(self._accepted, host, port, f"{name}-accept")
        self.port = self._listener.port

    @property
    def peers(self) -> list[Peer]:
        """Who is connected now."""
        with self._lock:
            return self._peers.copy()

    def start(self) -> None:
        """Start accepting connections."""
        self._listener.start()

    def stop(self) -> None:
        """Stop listening, close all connections, join all threads."""
        self._stopping.set()
        self._listener.close()
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def drop_peers(self) -> None:
        """Close all connections, as a reboot would."""
        for peer in self.peers:
            peer.link.close()

    def _accepted(self, sock: socket.socket, address: tuple[str, int]) -> None:
        peer = self._new_peer(sock, address, self)
        with self._lock:
            self._peers.append(peer)
            self._links.add(peer.link)
        peer.link.start()
        self._seen()

    def on_disconnect(self, peer: Peer) -> None:
        """A connection ended."""
        with self._lock:
            if peer in self._peers:
                self._peers.remove(peer)
        peer.on_disconnect()
        self._seen()

    def received(self, peer: Peer, message: Request | Response) -> None:
        """A message arrived."""
        if not isinstance(message, Request):
            peer.link.close()
            return
        query = Query(message)
        remember(self.requests, (message.method, message.path[:REMEMBERED]))
        self._seen()
        words = self._name_of(query)
        fault = self._faults.take(*((words,) if isinstance(words, str) else words))
        try:
            if fault is not None:
                if fault.delay:
                    self._stopping.wait(fault.delay)
                if self._misbehave(peer, message, fault):
                    return
            response = self._answer(peer, query)
            self._seen()
            if response is not None:
                if fault is not None:
                    _spoil(response, fault)
                peer.finish(message, response)
                peer.link.send(response)
                peer.answered(response)
            closing = (message.header("Connection") or "").lower() == "close"
            if closing or (fault is not None and fault.truncate):
                peer.link.close()
        except AppleTVError as exc:
            log.debug("%s: %s", self.name, exc)  # the peer went away in the middle

    def _misbehave(self, peer: Peer, request: Request, fault: Fault) -> bool:
        if fault.status is not None:
            response = Response(fault.status, body=fault.body)
            peer.finish(request, response)
            peer.link.send(response)
        elif fault.garbage is not None:
            peer.link.send(Raw(fault.garbage))
            peer.link.close()
        elif fault.drop:
            peer.link.close()
        elif not fault.silent:
            return False
        return True


def _spoil(response: Response, fault: Fault) -> None:
    if fault.chunked:
        response.headers.append(("Transfer-Encoding", "chunked"))
    if fault.truncate:
        response.headers.append(("Content-Length", str(len(response.body))))
        response.body = response.body[: len(response.body) // 2]


class Raw(Response):
    """Bytes that only pretend to be a response."""

    def __init__(self, data: bytes) -> None:
        super().__init__(200)
        self.data = data


class ServerWire(HttpWire):
    """Also sends what is no message."""

    def encode(self, message: Request | Response) -> bytes:
        return message.data if isinstance(message, Raw) else super().encode(message)


def compress(response: Response) -> Response:
    """Compress a body the way Apple TVs do, even a tiny one."""
    if response.body:
        response.headers.append(("Content-Encoding", "gzip"))
        response.body = gzip.compress(response.body, 1)
    return response
