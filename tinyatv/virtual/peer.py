"""Somebody who is connected to the device and hears of things without asking."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

from ..link import Link

if TYPE_CHECKING:
    from ..link import Wire


class StreamPeer:
    """One connection of MRP or Companion, the device's end.

    Args:
        sock: The connection.
        address: Where from.
        wire: What it speaks. It also has to take lists of messages, for one write.
        received: Called on the reader thread with each message.
        lost: Called once when the connection ends.
        name: Prefix of the thread's name.
        dribble: Tells whether to write single bytes.
        options: For the link.

    Attributes:
        link: The connection.
        address: Where from.
        lock: Held while messages go out that must not be torn apart by other threads.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        wire: Wire,
        received: Callable[[Any], object],
        lost: Callable[[], object],
        name: str,
        dribble: Callable[[], bool],
        **options: Any,
    ) -> None:
        self.address = address
        self.lock = threading.RLock()
        self._held: list[Any] | None = None
        self.link = Link(
            _Socket(sock, dribble), wire, received, lost=lambda error: lost(),
            name=f"{name}-{address[0]}:{address[1]}", **options,
        )  # fmt: skip

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

    @contextlib.contextmanager
    def at_once(self) -> Iterator[list[Any]]:
        """What goes out meanwhile, whoever sends it, leaves at the end and in one piece.

        Gives the messages that wait, to be put in order.
        """
        with self.lock:
            held: list[Any] = []
            self._held = held
        try:
            yield held
        finally:
            with self.lock:
                self._held = None
                if held:
                    self.link.send(held)


class _Socket(socket.socket):
    """Writes single bytes if it has to."""

    def __init__(self, sock: socket.socket, dribble: Callable[[], bool]) -> None:
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self._dribble = dribble

    def send(self, data: Any, flags: int = 0) -> int:
        return super().send(data[:1] if self._dribble() else data, flags)
