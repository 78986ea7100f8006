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
    """Waits until a socket can be read, on up to three threads, of which bytes wake only one.

    They stand in a line: bytes wake the asker while it waits; else the host, or the guest while it
    has the host's place. Who was woken reads all of them, or calls :meth:`look_again`, for nobody
    else hears of them. The end of the connection wakes all who stand there.

    Raises:
        OSError: No descriptor is left, or the system cannot do this: only Linux can, since 4.5.
    """

    def __init__(self, sock: socket.socket) -> None:
        if not hasattr(select, "EPOLLEXCLUSIVE"):
            raise OSError("no such epoll here")
        self._sock = sock.fileno()
        self._asker = select.epoll()
        self._stand_in_line(self._asker)
        self._host = self._on_duty = select.epoll()
        self._stand_in_line(self._host)
        self._guest: select.epoll | None = None
        self._bell: socket.socket | None = None
        self._lock = threading.Lock()  # over who is on duty

    def wait(self, timeout: float | None) -> bool:
        """Wait, as the host; False if the time ran out."""
        return bool(self._host.poll(timeout, 1))

    def wait_as_asker(self, timeout: float | None) -> bool:
        """Wait, as the asker; False if the time ran out."""
        return bool(self._asker.poll(timeout, 1))

    def wait_as_guest(self, timeout: float | None) -> bool:
        """Wait, as the guest while it is lent, also for :meth:`ring`; False if the time ran out."""
        assert self._guest is not None, "it has been lent"
        return bool(self._guest.poll(timeout, 1))

    def look_again(self) -> None:
        """Wake the host, or the guest, if there is something to read.

        Raises:
            OSError: The system has no room for that any more; he hears of nothing from here on.
        """
        with self._lock:
            self._on_duty.unregister(self._sock)
            self._stand_in_line(self._on_duty)

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
            guest.register(self._bell, 0)
            self._stand_in_line(guest)
            self._guest = guest
        with self._lock:
            self._host.unregister(self._sock)
            self._on_duty = self._guest

    def take_back(self) -> None:
        """From here on, they wake the host again; the guest does not wait.

        Raises:
            OSError: As :meth:`look_again`.
        """
        with self._lock:
            self._on_duty = self._host
            self._stand_in_line(self._host)

    def _stand_in_line(self, waiter: select.epoll) -> None:
        """Go to its end; bytes that are there already wake at once."""
        waiter.register(self._sock, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def ring(self) -> None:
        """Wake the guest: now, or once it waits again."""
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            if self._guest is not None and self._bell is not None:
                self._guest.modify(self._bell, select.EPOLLOUT | select.EPOLLONESHOT)

    def close(self) -> None:
        """Give the descriptors back. Nobody may wait."""
        for one in (self._asker, self._host, self._guest, self._bell):
            if one is not None:
                one.close()
