"""Announcing services by multicast DNS, by means of the ``zeroconf`` package."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from ..addresses import family_of, is_loopback, own_networks, sockaddr
from ..errors import AppleTVError
from ..link import reason
from ..threads import start
from .mdns import PORT, close_zeroconf, port_is_shared
from .records import Record, encode_txt
from .scanner import browse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zeroconf import Zeroconf

_DESCRIPTORS = 8  # that zeroconf needs besides one for each interface: its loop, modules
_PROBE = 0.5  # seconds to wait for whoever owns a name


def publish(
    kind: str,
    instance: str,
    port: int,
    address: str,
    properties: Mapping[str, str | bytes | None],
    *,
    server: str | None = None,
    quick: bool = False,
) -> Announcement:
    """Announce one service; see :class:`Announcement`."""
    announcement = Announcement(address, quick=quick)
    try:
        announcement.add(kind, instance, port, properties, server=server)
    except BaseException:
        announcement.close()
        raise
    return announcement


class Announcement:
    """Services that are announced on the local network until :meth:`close`.

    Args:
        address: Address of the services; of IPv6 on one link, with its scope. It also chooses the
            network: for 127.x nothing leaves this machine, and an address that is not ours (in a
            container, that of its host) is announced on all interfaces.
        quick: Announce without asking first whether a name is taken, 0.5 s instead of 1 s each.

    Raises:
        ValueError: Not an address, or ``::1``: there is no multicast on loopback over IPv6.
    """

    def __init__(self, address: str, *, quick: bool = False) -> None:
        family = family_of(address)
        if family is None:
            raise ValueError(f"not an address: {address!r}")
        if family == socket.AF_INET6 and is_loopback(address):
            raise ValueError(f"{address} cannot be announced: loopback has no multicast over IPv6")
        self.address = address
        self._family = family
        self._quick = quick
        # One host name for all services, unlike that of anybody else: withdrawing a name that
        # another announcement uses would take its address away.
        self._server = f"tinyatv-{os.urandom(4).hex()}.local."
        # zeroconf takes addresses of IPv6 without scope, and finds the interface.
        self._interfaces: list[str] | None = [address.partition("%")[0]]
        if address.startswith("127."):
            self._interfaces = ["127.0.0.1"]
        elif not _is_ours(address):
            self._interfaces = None
        self._lock = threading.Lock()
        self._zeroconf: Zeroconf | None = None

    def add(
        self,
        kind: str,
        instance: str,
        port: int,
        properties: Mapping[str, str | bytes | None],
        *,
        server: str | None = None,
    ) -> None:
        """Announce a service; blocks until that is done.

        Args:
            kind: Service type with domain and final dot: ``_airplay._tcp.local.``.
            instance: Name of the service, at most 63 bytes of UTF-8.
            port: TCP port.
            properties: TXT record; None for a key without value.
            server: Host name in ``local.``; None makes one up for all services.

        Raises:
            AppleTVError: The name is taken, or announcing is not possible on this machine.
            ValueError: The type, the name or the properties cannot be announced.
        """
        if self._zeroconf is None:
            _check_descriptors(_DESCRIPTORS + len(self._interfaces or own_networks()))
        import zeroconf

        try:
            info = zeroconf.ServiceInfo(
                kind,
                f"{instance}.{kind}",
                port=port,
                addresses=[socket.inet_pton(self._family, self.address.partition("%")[0])],
                properties=encode_txt(properties),
                server=server or self._server,
            )
        except (zeroconf.BadTypeInNameException, ValueError) as exc:
            raise ValueError(f"cannot announce {instance!r}: {exc}") from exc
        with self._lock:
            if self._zeroconf is None:
                self._open()
            assert self._zeroconf is not None
            if not self._quick and self._is_taken(kind, instance):
                raise AppleTVError(f"{instance!r} ({kind}) is announced by somebody else already")
            try:
                self._zeroconf.register_service(info, cooperating_responders=True)
            except (zeroconf.BadTypeInNameException, zeroconf.NamePartTooLongException) as exc:
                raise ValueError(f"cannot announce {instance!r}: {exc}") from exc
            except zeroconf.Error as exc:
                text = str(exc) or type(exc).__name__
                raise AppleTVError(f"cannot announce {instance!r} ({kind}): {text}") from exc

    def _is_taken(self, kind: str, instance: str) -> bool:
        # Not left to zeroconf: it asks from port 5353, and where that is shared, the answer may go
        # to another program.
        def same(record: Record) -> bool:
            return record.instance.lower() == instance.lower()

        return any(map(same, browse(kind, _PROBE, interfaces=self._interfaces, found=same)))

    def close(self) -> None:
        """Withdraw everything; blocks for about 0.3 s. Safe to call more than once."""
        with self._lock:
            zc, self._zeroconf = self._zeroconf, None
            if zc is not None:
                close_zeroconf(zc)

    def __enter__(self) -> Announcement:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        if not port_is_shared():
            raise AppleTVError(f"cannot announce: another program has UDP port {PORT} for itself")
        failed: list[BaseException] = []
        # On a thread of its own, or it would hook itself into an asyncio loop that runs here.
        thread = start(self._start, "tinyatv-publish", failed)
        try:
            thread.join()
        finally:
            thread.join()  # also after Ctrl-C: close() must see what was opened
        if failed:
            text = f"cannot announce at {self.address}: {reason(failed[0])}"
            raise AppleTVError(text) from failed[0]

    def _start(self, failed: list[BaseException]) -> None:
        from zeroconf import InterfaceChoice, IPVersion, Zeroconf

        try:
            version = IPVersion.V6Only if self._family == socket.AF_INET6 else IPVersion.V4Only
            self._zeroconf = Zeroconf(
                interfaces=self._interfaces or InterfaceChoice.All, ip_version=version
            )
        except (OSError, RuntimeError) as exc:
            failed.append(exc)


def _check_descriptors(count: int) -> None:
    """Make sure that sockets can be opened: zeroconf waits forever if its thread cannot."""
    socks = []
    try:
        for _ in range(count):
            socks.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    except OSError as exc:
        raise AppleTVError(f"cannot announce: {reason(exc)}") from exc
    finally:
        for sock in socks:
            sock.close()


def _is_ours(address: str) -> bool:
    try:
        family, place = sockaddr(address, 0, socket.SOCK_DGRAM)
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind(place)
    except OSError:
        return False
    return True


Publication = Announcement
