"""Waiting until a socket can be read or written."""

from __future__ import annotations

import select
import socket


def ready(sock: socket.socket, write: bool, timeout: float | None) -> bool:
    """Wait until the socket can be read (or written); False on time-out.

    Args:
        sock: An open socket.
        write: True waits until it can be written, False until it can be read.
        timeout: Seconds; None waits without a limit.
    """
    if not hasattr(select, "poll"):  # Windows
        reads, writes = ([], [sock]) if write else ([sock], [])
        return any(select.select(reads, writes, [], timeout))
    poll = select.poll()
    poll.register(sock, select.POLLOUT if write else select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


class ExclusivePoller:
    """Lets two threads wait for the same socket so that arriving bytes wake only one of them.

    The two are the reader thread and a requester, which waits for its own reply. Bytes wake the
    requester while it waits, else the reader::

        socket --> EPOLLEXCLUSIVE list: [requester's epoll, reader's epoll]
                                         woken first        woken if the first does not wait

    With EPOLLEXCLUSIVE, the kernel walks the list in the order of registration and stops at the
    first epoll that has a waiting thread (epoll_ctl(2); Linux 4.5). So no system call is needed to
    say who reads. The thread that was woken must read everything or call :meth:`release`: the other
    one is not woken for the same bytes. The end of the connection (EPOLLHUP) wakes both.

    Raises:
        OSError: No descriptor is left, or the system has no EPOLLEXCLUSIVE: only Linux has.
    """

    def __init__(self, sock: socket.socket) -> None:
        if not hasattr(select, "EPOLLEXCLUSIVE"):
            raise OSError("this system has no EPOLLEXCLUSIVE")
        self._sock = sock.fileno()
        self._requester = select.epoll()
        self._register(self._requester)
        self._reader = select.epoll()
        self._register(self._reader)

    def wait_as_reader(self, timeout: float | None) -> bool:
        """Wait on the reader thread until bytes are there; False on time-out."""
        return bool(self._reader.poll(timeout, 1))

    def wait_as_requester(self, timeout: float | None) -> bool:
        """Wait in place of the reader; False on time-out. One thread at a time."""
        return bool(self._requester.poll(timeout, 1))

    def release(self) -> None:
        """Hand unread bytes over: wake the reader if there are any.

        Raises:
            OSError: The kernel has no room to register the reader again (ENOMEM, ENOSPC); the
                reader is woken by nothing from here on.
        """
        self._reader.unregister(self._sock)
        self._register(self._reader)

    def _register(self, poller: select.epoll) -> None:
        """Put it at the end of the list; bytes that have arrived already wake it at once."""
        poller.register(self._sock, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def close(self) -> None:
        """Close both descriptors. No thread may wait."""
        self._requester.close()
        self._reader.close()
