"""Waiting until a socket can be read or written."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


def ready(sock: socket.socket, write: bool, timeout: float | None) -> bool:
    """Wait until the socket can be read (or written); False if the time ran out."""
    if not hasattr(select, "poll"):  # Windows
        reads, writes = ([], [sock]) if write else ([sock], [])
        return any(select.select(reads, writes, [], timeout))
    poll = select.poll()
    poll.register(sock, select.POLLOUT if write else select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


class Watch:
    """Waits until a socket can be read, in the host's thread or, while it is lent, in the guest's.

    While it looks away, bytes wake neither: whoever reads them meanwhile need not fear that two do.
    The end of the connection always wakes both.

    Raises:
        OSError: No descriptor is left, or the system cannot do this: only Linux can.
    """

    def __init__(self, sock: socket.socket) -> None:
        if not hasattr(select, "epoll"):
            raise OSError("no epoll here")
        self._sock = sock.fileno()
        self._host = self._on_duty = select.epoll()
        self._host.register(self._sock, select.EPOLLIN)
        self._guest: select.epoll | None = None
        self._bell: socket.socket | None = None
        self._looks = True
        self._lock = threading.Lock()  # over who is on duty, and whether he looks

    def wait(self, timeout: float | None) -> bool:
        """Wait, as the host; False if the time ran out."""
        return bool(self._host.poll(timeout, 1))

    def wait_as_guest(self, timeout: float | None) -> bool:
        """Wait, as the guest while it is lent, also for :meth:`ring`; False if the time ran out."""
        assert self._guest is not None, "it has been lent"
        return bool(self._guest.poll(timeout, 1))

    def look_away(self) -> None:
        """From here on, bytes wake nobody."""
        with self._lock:
            self._looks = False
            self._on_duty.modify(self._sock, 0)

    def look_back(self) -> None:
        """From here on, they do; those that are there already do at once."""
        with self._lock:
            self._looks = True
            self._on_duty.modify(self._sock, select.EPOLLIN)

    def lend(self) -> None:
        """From here on, bytes wake the guest in the host's place.

        Raises:
            OSError: No descriptor is left.
        """
        if self._guest is None:
            if self._bell is None:
                # It can always be written to, so it rings when somebody wants to know that.
                self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            guest = select.epoll()
            guest.register(self._sock, 0)
            guest.register(self._bell, 0)
            self._guest = guest
        with self._lock:
            self._host.modify(self._sock, 0)
            self._guest.modify(self._sock, select.EPOLLIN if self._looks else 0)
            self._on_duty = self._guest

    def take_back(self) -> None:
        """From here on, they wake the host again; the guest does not wait."""
        with self._lock:
            self._on_duty = self._host
            if self._looks:
                self._host.modify(self._sock, select.EPOLLIN)

    def ring(self) -> None:
        """Wake the guest: now, or once it waits again."""
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            if self._guest is not None and self._bell is not None:
                self._guest.modify(self._bell, select.EPOLLOUT | select.EPOLLONESHOT)

    def close(self) -> None:
        """Give the descriptors back. Nobody may wait."""
        for one in (self._host, self._guest, self._bell):
            if one is not None:
                one.close()
