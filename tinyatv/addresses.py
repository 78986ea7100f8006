"""Addresses of devices: reading and writing them, which to try first, and trying several.

192.0.2.10   192.0.2.10:5353   appletv.local   fd00::5   [fd00::5]:5353   fe80::1%eth0
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
from collections.abc import Container
from typing import TYPE_CHECKING, Any, NamedTuple

from .deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from ipaddress import IPv4Network, IPv6Network

STAGGER = 0.25  # s until the next address is tried beside one that is slow (RFC 8305, 5)


def family_of(text: str) -> socket.AddressFamily | None:
    """AF_INET or AF_INET6 for an address, with its scope if it has one; None for anything else."""
    address, percent, scope = text.partition("%")
    for family in (socket.AF_INET6, socket.AF_INET):
        if percent and (family == socket.AF_INET or not re.fullmatch(r"[\w.:-]+", scope)):
            continue
        try:
            socket.inet_pton(family, address)
        except (OSError, ValueError):  # ValueError: a zero byte
            continue
        return family
    return None


def split_host(text: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port`` or ``[address]:port``.

    Returns:
        The address or name, and the port or None. An IPv6 address without brackets has no port.

    Raises:
        ValueError: It is neither an address nor a host name, or the port is none.
    """
    if family_of(text) is not None:
        return text, None
    bracket = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text, re.DOTALL)
    if bracket is not None:
        host, port = bracket.groups()
        if family_of(host) != socket.AF_INET6:
            raise ValueError(f"not an IPv6 address: {text!r}")
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
        if ":" in rest:
            raise ValueError(f"not an IPv6 address: {text!r} (a port goes behind brackets)")
        if re.fullmatch(r"[0-9.]+", host):
            if family_of(host) is None:
                raise ValueError(f"not an IPv4 address: {text!r}")
        elif len(host) > 253 or not re.fullmatch(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?", host):
            raise ValueError(f"not an address or host name: {text!r}")
    if port is None:
        return host, None
    if not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise ValueError(f"not a port: {text!r}")
    return host, int(port)


def join_host(host: str, port: int | None) -> str:
    """The other way round: ``host:port``, or ``[address]:port`` for IPv6."""
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url_host(address: str, *, scope: bool = False) -> str:
    """An address or name as it stands in a URL: IPv6 in brackets.

    Args:
        scope: True writes the scope (RFC 6874), for a URL that stays on this computer. It means
            nothing to anybody else.
    """
    if ":" not in address:
        return address
    address, percent, interface = address.partition("%")
    return f"[{address}%25{interface}]" if percent and scope else f"[{address}]"


def sockaddr(
    host: str, port: int, kind: int = socket.SOCK_STREAM
) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Family and place of an own address, for ``bind``: with its scope, if it has one.

    Raises:
        OSError: No such address.
    """
    found = socket.getaddrinfo(host, port, 0, kind, 0, socket.AI_PASSIVE)
    return found[0][0], found[0][4]


def own_end(sock: socket.socket) -> str:
    """The address of this end of a socket; of IPv6 on one link, with its scope."""
    return host_of(sock.getsockname())


def far_end(sock: socket.socket) -> str:
    """The address of the other end, likewise."""
    return host_of(sock.getpeername())


def reached(sock: socket.socket, addresses: Sequence[str]) -> str:
    """Which of the addresses a socket is connected to; the first, if that is a host name."""
    try:
        address = far_end(sock)
    except OSError:  # it has hung up already, which whoever reads from it will notice
        return addresses[0]
    return address if address in addresses else addresses[0]


def host_of(place: tuple[Any, ...]) -> str:
    """The address in what the socket module says of one end, likewise."""
    return with_scope(place[0], place[3]) if len(place) > 3 else str(place[0])


def as_list(hosts: str | Sequence[str]) -> Sequence[str]:
    """One address, or several, as several."""
    return [hosts] if isinstance(hosts, str) else hosts


def with_scope(address: str, index: int) -> str:
    """A link-local IPv6 address with the interface behind it; any other as it is."""
    address = address.partition("%")[0]
    if not index or not is_link_local(address):
        return address
    try:
        return f"{address}%{socket.if_indextoname(index)}"
    except (OSError, AttributeError):  # gone; a system without names
        return f"{address}%{index}"


def is_link_local(address: str) -> bool:
    """True for addresses that mean something on one link alone (RFC 3927; RFC 4291, 2.5.6)."""
    return bool(re.match(r"169\.254\.|fe[89ab][0-9a-f]:", address, re.IGNORECASE))


def is_loopback(address: str) -> bool:
    """True for addresses that mean this computer."""
    return address.startswith("127.") or address.partition("%")[0] == "::1"


def is_usable(address: str) -> bool:
    """False for what no device can have: unspecified, multicast, of a link that is not known."""
    if ":" in address:
        if re.match(r"ff|::$|::%", address, re.IGNORECASE):
            return False
        return "%" in address or not is_link_local(address)
    first = int(address.partition(".")[0])
    return 0 < first < 224


class OwnNetwork(NamedTuple):
    """A network that this computer is in.

    Attributes:
        address: Our address in it; with its scope, if it is of one link.
        network: All of it.
        interface: Its number.
    """

    address: str
    network: IPv4Network | IPv6Network
    interface: int


def own_networks() -> list[OwnNetwork]:
    """The networks of this computer, loopback included; none if the system does not tell."""
    try:
        import ipaddress

        import ifaddr  # zeroconf cannot do without it

        adapters = list(ifaddr.get_adapters())
    except (ImportError, OSError):  # OSError: no descriptor left to read the module
        return []
    found = []
    for adapter in adapters:
        index = adapter.index or 0
        for one in adapter.ips:
            text = one.ip if isinstance(one.ip, str) else with_scope(one.ip[0], one.ip[2] or index)
            bare = text.partition("%")[0]
            try:
                network = ipaddress.ip_network(f"{bare}/{one.network_prefix}", strict=False)
            except ValueError:
                continue
            found.append(OwnNetwork(text, network, index))
    return found


def in_order(
    addresses: Iterable[str], answered: Container[str], networks: Iterable[OwnNetwork]
) -> list[str]:
    """Sort addresses of a device: which to try first.

    Args:
        addresses: All that it announces.
        answered: Addresses that something came from.
        networks: Our own.

    Returns:
        First those that answered, then those of our own networks, then the rest, and last those
        of other links; of equals IPv4 first, and otherwise in the order given.
    """
    given = list(dict.fromkeys(addresses))
    networks = list(networks)

    def rank(address: str) -> tuple[int, bool, bool]:
        if address in answered:
            distance = 0
        elif _is_near(address, networks):
            distance = 1
        else:
            distance = 3 if is_link_local(address) else 2
        return distance, is_link_local(address), ":" in address

    return given if len(given) < 2 else sorted(given, key=rank)


def _is_near(address: str, networks: Sequence[OwnNetwork]) -> bool:
    if not networks:
        return False
    import ipaddress

    bare, _, scope = address.partition("%")
    ip = ipaddress.ip_address(bare)
    if ip.is_loopback:  # ours, but hardly what a device means by it
        return False
    return any(
        ip.version == one.network.version
        and ip in one.network
        and (not scope or one.address.partition("%")[2] == scope)
        for one in networks
    )


def connect_first(
    addresses: Iterable[str],
    port: int,
    timeout: float,
    *,
    stagger: float = STAGGER,
    check: Callable[[], object] | None = None,
) -> socket.socket:
    """Connect to whichever of a device's addresses answers, the first of them preferred.

    The next one is tried as soon as one fails, and beside it if it is slow (RFC 8305).

    Args:
        addresses: Addresses or names, best first.
        port: TCP port.
        timeout: Seconds for all of them together.
        stagger: Seconds until the next is tried beside one that is slow.
        check: Called every 0.1 s; what it raises ends it.

    Returns:
        A blocking socket with `timeout` set.

    Raises:
        OSError: None can be connected to; of several errors the first.
    """
    deadline = Deadline(timeout)
    targets: list[tuple[int, str | tuple[object, ...]]] = []
    errors: list[OSError] = []
    unknown: list[OSError] = []
    for address in addresses:
        try:
            found = socket.getaddrinfo(address, port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            unknown.append(exc if isinstance(exc, OSError) else OSError(str(exc)))
        else:
            targets += [(family, place) for family, _, _, _, place in found]
    targets.reverse()
    trying: list[socket.socket] = []
    next_try = Deadline(0)
    try:
        while targets or trying:
            if targets and (next_try.over or not trying):
                family, place = targets.pop()
                next_try = Deadline(stagger)
                try:
                    trying.append(_start(family, place))
                except OSError as exc:
                    errors.append(exc)
                    continue
            if deadline.over:
                errors.append(TimeoutError(errno.ETIMEDOUT, "timed out"))
                break
            waits = [deadline.left() or 0.0, *([next_try.left() or 0.0] if targets else [])]
            if check is not None:
                check()
                waits.append(0.1)
            for sock in _writable(trying, min(waits)):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                trying.remove(sock)
                if not code:
                    sock.settimeout(timeout)
                    return sock
                sock.close()
                errors.append(OSError(code, os.strerror(code)))
        raise [*errors, *unknown, OSError("no address")][0]
    finally:
        for sock in trying:
            sock.close()


def _start(family: int, place: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(place)  # type: ignore[arg-type]
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _writable(socks: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
    """Those whose connection is made, or has failed."""
    if hasattr(select, "poll"):  # select() cannot watch descriptors from 1024 on
        poll = select.poll()
        for sock in socks:
            poll.register(sock, select.POLLOUT)
        ready = {number for number, _ in poll.poll(seconds * 1000 + 1)}
        return [sock for sock in socks if sock.fileno() in ready]
    # Windows reports failures among the exceptional ones.
    _, done, failed = select.select([], socks, socks, seconds)
    return list({*done, *failed})
