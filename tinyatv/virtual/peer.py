"""What MRP and Companion have in common on the device's side: clients that are notified."""

from __future__ import annotations

import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from ..link import Link, Listener
from ..pairing.hap_device import Handshakes
from .server import MESSAGE_TIMEOUT

if TYPE_CHECKING:
    from ..discovery.records import Record
    from ..link import Wire
    from .side import Setup

AnyPeer = TypeVar("AnyPeer", bound="StreamPeer")

# A device has a processor of its own. A virtual one may be on that of its client, who would have to
# wait until the next message is made, too. Windows has no such call.
yield_cpu: Callable[[], object] = getattr(os, "sched_yield", lambda: None)


class StreamServer(Generic[AnyPeer]):
    """Serves a protocol that notifies its clients of changes.

    Args:
        setup: What it is made with.

    Attributes:
        accessory: The device's memory of pairings.
        requests: Names of all messages received, in order.
        port: TCP port; 0 without one.
    """

    accepted = None  # the accessory knows who may log in
    kind = ""  # of its service records
    identity: Any
    quirks: Any

    def __init__(self, setup: Setup) -> None:
        self.name = setup.thread
        self.accessory = setup.accessory
        self.requests: list[str] = []
        self._setup = setup
        self._state = setup.state
        self._faults = setup.faults
        self._lock = threading.Lock()
        self._peers: list[AnyPeer] = []
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()  # also those that are just ending
        self._stopping = threading.Event()
        self._listener: Listener | None = None
        self.port = 0
        if setup.port is not None:
            name = f"{self.name}-accept"
            self._listener = Listener(self._accepted, setup.host, setup.port, name)
            self.port = self._listener.port
        self._state.watch(self.notify_peers)

    @property
    def about(self) -> Any:
        """What :attr:`identity` was called before."""
        return self.identity

    @property
    def oddities(self) -> Any:
        """What :attr:`quirks` was called before."""
        return self.quirks

    def records(self) -> list[Record]:
        """The service record that announces it; none without a port."""
        if self._listener is None:
            return []
        from ..discovery.records import Record

        return [
            Record(self.kind, self._setup.name, self.port, self._setup.host, self.identity.txt())
        ]

    @property
    def peers(self) -> list[AnyPeer]:
        """The clients that are connected now."""
        with self._lock:
            return self._peers.copy()

    def start(self) -> None:
        """Start accepting connections."""
        if self._listener is not None:
            self._listener.start()

    def stop(self) -> None:
        """Stop listening, close all connections, join all threads."""
        self._stopping.set()
        self._state.unwatch(self.notify_peers)
        if self._listener is not None:
            self._listener.close()
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def drop_peers(self) -> None:
        """Close all connections, as a reboot would."""
        for peer in self.peers:
            peer.link.close()

    def adopt(self, peer: AnyPeer) -> None:
        """Serve a client that connected here, or came through a tunnel."""
        with self._lock:
            self._peers.append(peer)
            self._links.add(peer.link)
        peer.link.start()
        self._state.notify()

    def on_disconnect(self, peer: AnyPeer) -> None:
        """A connection ended."""
        with self._lock:
            if peer in self._peers:
                self._peers.remove(peer)
        for button in peer.buttons:
            self._state.forget_button(button)
        peer.handshakes.close()
        peer.on_disconnect()
        self._state.notify()

    def notify_peers(self) -> None:
        """Notify every client of what is new. Changes of the state do so by themselves."""
        raise NotImplementedError

    def received(self, peer: AnyPeer, message: Any) -> None:
        """A message arrived."""
        raise NotImplementedError

    def _accepted(self, sock: socket.socket, address: tuple[str, int]) -> None:
        raise NotImplementedError


class StreamPeer:
    """One connection, the device's end.

    Args:
        sock: The connection.
        address: Where from.
        owner: Serves it.
        wire: What it speaks. It also has to take lists of messages, for one write.
        client: Its identifier if it is verified already.
        one_byte_writes: Tells whether to write single bytes.
        options: For the link.

    Attributes:
        link: The connection.
        address: Where from.
        client: Its identifier once it is verified.
        handshakes: Those that it begins.
        buttons: Those that it holds down.
        lock: Held while messages go out that must not be torn apart by other threads.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        owner: StreamServer[Any],
        wire: Wire,
        client: bytes | None,
        one_byte_writes: Callable[[], bool],
        **options: Any,
    ) -> None:
        self.address = address
        self.client = client
        self.handshakes = Handshakes(owner.accessory, self)
        self.buttons: set[str] = set()
        self.lock = threading.RLock()
        self._held: list[Any] | None = None
        self.link = Link(
            _Socket(sock, one_byte_writes), wire, lambda message: owner.received(self, message),
            lost=lambda error: owner.on_disconnect(self), message_timeout=MESSAGE_TIMEOUT,
            name=f"{owner.name}-{address[0]}:{address[1]}", **options,
        )  # fmt: skip

    def on_disconnect(self) -> None:
        """The connection ended."""

    def send(self, *messages: Any) -> None:
        """Send messages, or bytes that are none.

        Raises:
            ConnectionLost: It is gone.
        """
        with self.lock:
            if self._held is not None:
                self._held += messages
            else:
                self._send(messages)

    def _send(self, messages: tuple[Any, ...]) -> None:
        for message in messages:
            self.link.send(message)
            yield_cpu()

    def at_once(self) -> _AtOnce:
        """What goes out meanwhile, whoever sends it, leaves at the end and in one piece.

        For ``with``, which gives the messages that wait, to be put in order.
        """
        return _AtOnce(self)

    def _hold(self) -> list[Any]:
        held: list[Any] = []
        with self.lock:
            self._held = held
        return held

    def _let_go(self) -> None:
        with self.lock:
            held, self._held = self._held, None
            if held:
                self.link.send(held)


class _AtOnce:
    """What at_once() gives; each request enters one, and a generator would take longer."""

    __slots__ = ("_peer",)

    def __init__(self, peer: StreamPeer) -> None:
        self._peer = peer

    def __enter__(self) -> list[Any]:
        return self._peer._hold()

    def __exit__(self, *_: object) -> None:
        self._peer._let_go()


class _Socket(socket.socket):
    """Writes single bytes if it has to."""

    def __init__(self, sock: socket.socket, one_byte_writes: Callable[[], bool]) -> None:
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self._one_byte_writes = one_byte_writes

    def send(self, data: Any, flags: int = 0) -> int:
        return super().send(data[:1] if self._one_byte_writes() else data, flags)
