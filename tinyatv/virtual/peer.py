"""What MRP and Companion have in common on the device's side: connections that are told things."""

from __future__ import annotations

import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from ..link import Link, Listener
from ..pairing.accessory import Accessory
from ..pairing.hap_device import Handshakes
from .server import Faults
from .state import State

if TYPE_CHECKING:
    from ..link import Wire

AnyPeer = TypeVar("AnyPeer", bound="StreamPeer")

# A device has a processor of its own. A virtual one may be on that of its client, who would have to
# wait until the next message is made, too. Windows has no such call.
give_way: Callable[[], object] = getattr(os, "sched_yield", lambda: None)


class StreamServer(Generic[AnyPeer]):
    """Serves a protocol whose clients hear of things without asking.

    Args:
        state: Shared state of the device.
        faults: Shared faults.
        host: Address to listen on.
        port: TCP port; 0 picks a free one, None takes clients only from :meth:`adopt`.
        name: Prefix of the threads' names.
        accessory: The device's memory of pairings.
    """

    def __init__(
        self,
        state: State,
        faults: Faults,
        host: str,
        port: int | None,
        name: str,
        accessory: Accessory,
    ) -> None:
        self.name = name
        self.accessory = accessory
        self.requests: list[str] = []
        self._state = state
        self._faults = faults
        self._lock = threading.Lock()
        self._peers: list[AnyPeer] = []
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()  # also those that are just ending
        self._stopping = threading.Event()
        self._listener: Listener | None = None
        self.port = 0
        if port is not None:
            self._listener = Listener(self._accepted, host, port, f"{name}-accept")
            self.port = self._listener.port
        state.watch(self.tell)

    @property
    def peers(self) -> list[AnyPeer]:
        """Who is connected now."""
        with self._lock:
            return self._peers.copy()

    def start(self) -> None:
        """Start to accept."""
        if self._listener is not None:
            self._listener.start()

    def stop(self) -> None:
        """Stop to listen, drop everybody, join all threads."""
        self._stopping.set()
        self._state.unwatch(self.tell)
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
        """Serve somebody who came here, or through a tunnel."""
        with self._lock:
            self._peers.append(peer)
            self._links.add(peer.link)
        peer.link.start()
        self._state.notify()

    def left(self, peer: AnyPeer) -> None:
        """A connection ended."""
        with self._lock:
            if peer in self._peers:
                self._peers.remove(peer)
        for button in peer.buttons:
            self._state.forget_button(button)
        peer.handshakes.close()
        peer.left()
        self._state.notify()

    def tell(self) -> None:
        """Tell every client what is new. Changes of the state do so by themselves."""
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
        dribble: Tells whether to write single bytes.
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
        dribble: Callable[[], bool],
        **options: Any,
    ) -> None:
        self.address = address
        self.client = client
        self.handshakes = Handshakes(owner.accessory, self)
        self.buttons: set[str] = set()
        self.lock = threading.RLock()
        self._held: list[Any] | None = None
        self.link = Link(
            _Socket(sock, dribble), wire, lambda message: owner.received(self, message),
            lost=lambda error: owner.left(self), name=f"{owner.name}-{address[0]}:{address[1]}",
            **options,
        )  # fmt: skip

    def left(self) -> None:
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
            give_way()

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

    def __init__(self, sock: socket.socket, dribble: Callable[[], bool]) -> None:
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self._dribble = dribble

    def send(self, data: Any, flags: int = 0) -> int:
        return super().send(data[:1] if self._dribble() else data, flags)
