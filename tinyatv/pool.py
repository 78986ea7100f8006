"""Connections that stay open, for programs that send a command now and then, to one device or many.

    pool = Pool(store)
    with pool.connection(device) as atv:   # opened the first time, the same one from then on
        atv.play_pause()

One thread opens a connection; others that want the same one wait for it. A connection that is lost,
or whose device has changed in the store, is replaced the next time it is wanted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

from .connecting import connect_to
from .errors import AppleTVError, CommandFailed, ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from .device import AppleTV
    from .model import Device
    from .store import Store

log = logging.getLogger(__name__)

MAX_IDLE = 16


class Pool:
    """Connections that stay open, by the device and by how it is to be used.

    None is closed while it is in use, except by :meth:`close`. Safe to use from any thread.

    Args:
        store: What is known of the devices.
        max_idle: How many connections may be open while nothing uses them; the one that has not
            been used for the longest time is closed first.
    """

    def __init__(self, store: Store, *, max_idle: int = MAX_IDLE) -> None:
        self._store = store
        self._max_idle = max_idle
        self._lock = threading.Lock()
        # the last one used at the end
        self._connections: dict[tuple[Any, ...], PooledConnection] = {}
        self._outdated: list[PooledConnection] = []  # for no new user; the last one closes it
        self._closed = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def connection(
        self, device: Device, *, protocols: Iterable[str] | None = None, timeout: float = 5.0
    ) -> Iterator[AppleTV]:
        """The connection to a device, for one ``with`` block; arguments as for :meth:`get`."""
        connection = self.get(device, protocols=protocols, timeout=timeout)
        try:
            yield connection.atv
        except Exception as exc:
            self.check(connection, exc)
            raise
        finally:
            self.release(connection)

    def get(
        self,
        device: Device,
        *,
        protocols: Iterable[str] | None = None,
        timeout: float = 5.0,
        scan_timeout: float = 3.0,
        acts: bool = True,
    ) -> PooledConnection:
        """The open connection to a device, for use until :meth:`release`.

        It is opened if there is none, or if the store has changed, or if a protocol was lost.

        Args:
            device: As the store knows it.
            protocols: Those to connect by; None takes all that there are.
            timeout: Seconds that a command may take.
            scan_timeout: Seconds to look for it if it is not where it was.
            acts: False if it is for questions alone, for which no sleeping device is woken.

        Raises:
            AppleTVError: As for :func:`tinyatv.connect`.
            ConnectionLost: The pool is closed.
        """
        wanted = None if protocols is None else tuple(protocols)
        key = (device.identifier or device.address, wanted, timeout)
        with self._lock:
            if self._closed:
                raise ConnectionLost("the pool of connections is closed")
            before = self._connections.pop(key, None)
            opens = before is None or not before.is_good(device)
            connection = PooledConnection(device) if before is None or opens else before
            connection.users += 1
            self._connections[key] = connection
            closing = self._superfluous()
            if before is not None and opens:
                closing += self._retire(before)
        for one in closing:
            one.close()
        if opens:
            connection.open(self._store, wanted, timeout, scan_timeout, acts)
        try:
            connection.future.result()
        except BaseException:
            self._drop(connection)
            self.release(connection)
            raise
        return connection

    def release(self, connection: PooledConnection) -> None:
        """One of those who got it does not use it any more."""
        with self._lock:
            connection.users -= 1
            closing = self._superfluous()
            if connection in self._outdated and not connection.users:
                self._outdated.remove(connection)
                closing.append(connection)
        for one in closing:
            one.close()

    def check(self, connection: PooledConnection, error: Exception) -> None:
        """Give a connection to nobody else if it failed in a way that a new one might not."""
        if isinstance(error, AppleTVError) and not isinstance(error, CommandFailed):
            self._drop(connection)

    def forget(self) -> None:
        """Close connections to devices that are not in the store any more."""
        try:
            known = {one for each in self._store.devices() for one in each.device.identifiers}
        except AppleTVError:
            return  # damaged: that does not mean that they should go
        with self._lock:
            connections = self._connections.values()
            gone = [one for one in connections if one.device.identifier not in known]
        for one in gone:
            self._drop(one)

    def all(self) -> list[AppleTV]:
        """Those that are open now."""
        with self._lock:
            connections = [*self._connections.values(), *self._outdated]
        return [one.atv for one in connections if one.is_open]

    def close(self) -> None:
        """Close all connections, used or not; there will be no more. Safe to call twice."""
        with self._lock:
            self._closed = True
            closing = [*self._connections.values(), *self._outdated]
            self._connections = {}
        for one in closing:
            one.close()

    def _superfluous(self) -> list[PooledConnection]:
        """Take out those that are too many and unused; the caller has the lock."""
        idle = [key for key, one in self._connections.items() if not one.users]
        many = max(0, len(self._connections) - self._max_idle)
        return [self._connections.pop(key) for key in idle[:many]]

    def _drop(self, connection: PooledConnection) -> None:
        """Give it to nobody else, and close it as soon as it is not used."""
        with self._lock:
            closing = self._retire(connection)
        for one in closing:
            one.close()

    def _retire(self, connection: PooledConnection) -> list[PooledConnection]:
        """The same, but returns what is to be closed now; the caller has the lock."""
        others = {key: one for key, one in self._connections.items() if one is not connection}
        self._connections = others
        if not connection.users or self._closed:
            return [connection]
        if connection not in self._outdated:
            self._outdated.append(connection)
        return []


class PooledConnection:
    """One connection of a pool, maybe not open yet.

    Args:
        device: As the store knows it.

    Attributes:
        device: As the store knew it.
        future: The connection once it is open, or why it could not be opened.
        users: How many use it, or wait for it.
    """

    def __init__(self, device: Device) -> None:
        from concurrent.futures import Future

        self.device = device
        self.future: Future[AppleTV] = Future()
        self.users = 0
        self._known = _known(device)

    @property
    def atv(self) -> AppleTV:
        """The connection; waits until it is open.

        Raises:
            AppleTVError: It could not be opened.
        """
        return self.future.result()

    def open(
        self, store: Store, protocols: tuple[str, ...] | None, timeout: float, scan_timeout: float,
        acts: bool,
    ) -> None:  # fmt: skip
        """Connect, on this thread; others wait for it."""
        try:
            atv = connect_to(
                self.device, store, remembered=True, timeout=timeout, protocols=protocols,
                scan_timeout=scan_timeout, acts=acts, wait_for_all=False,
            )  # fmt: skip
            # With a listener, a loss is noticed before the next command runs into it.
            atv.add_listener(lambda event: log.debug("%s: %r", atv.name, event))
        except BaseException as exc:
            self.future.set_exception(exc)
        else:
            self.future.set_result(atv)

    def is_good(self, device: Device) -> bool:
        """True if it is to the device as the store knows it now, and nothing of it is lost."""
        same = self._known == _known(device)
        return same and (not self.future.done() or self.is_open)

    @property
    def is_open(self) -> bool:
        """True if all that had been connected still is."""
        if not self.future.done() or self.future.exception() is not None:
            return False
        return self.atv.is_whole

    def close(self) -> None:
        """Close it, or do so as soon as it is open."""
        self.future.add_done_callback(_close)


def _close(future: Future[AppleTV]) -> None:
    if future.exception() is None:
        future.result().close()


def _known(device: Device) -> tuple[Any, ...]:
    """What a connection depends on."""
    services = [(s.protocol, s.port, s.credentials, s.password) for s in device.services]
    return (device.address, services)
