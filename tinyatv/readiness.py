"""Waiting until a socket can be read or written."""

from __future__ import annotations

import select
import socket


def ready(sock: socket.socket, write: bool, timeout: float | None) -> bool:
    """Wait until the socket can be read (or written); False if the time ran out."""
    if not hasattr(select, "poll"):  # Windows
        reads, writes = ([], [sock]) if write else ([sock], [])
        return any(select.select(reads, writes, [], timeout))
    poll = select.poll()
    poll.register(sock, select.POLLOUT if write else select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


class Watch:
    """Waits until a socket can be read, and lets another thread look away in its place.

    While it looks away, bytes do not wake the thread in :meth:`wait`: whoever reads them meanwhile
    need not fear that two do. The end of the connection always does.

    Raises:
        OSError: No descriptor is left, or the system cannot do this: only Linux can.
    """

    def __init__(self, sock: socket.socket) -> None:
        if not hasattr(select, "epoll"):
            raise OSError("no epoll here")
        self._sock = sock.fileno()
        self._epoll = select.epoll()
        self._epoll.register(self._sock, select.EPOLLIN)

    def wait(self, timeout: float | None) -> bool:
        """Wait; False if the time ran out."""
        return bool(self._epoll.poll(timeout, 1))

    def look_away(self) -> None:
        """From here on, bytes wake nobody."""
        self._epoll.modify(self._sock, 0)

    def look_back(self) -> None:
        """From here on, they do; those that are there already do at once."""
        self._epoll.modify(self._sock, select.EPOLLIN)

    def close(self) -> None:
        """Give the descriptor back. Nobody may be in :meth:`wait`."""
        self._epoll.close()
