"""The network: interfaces, multicast on each, who answers mDNS, who else uses its port."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import socket
from typing import TYPE_CHECKING

from ..deadline import Deadline
from ..discovery.dns import encode_query
from ..discovery.mdns import PORT, port_is_shared
from ..link import reason
from . import NOTE, OK, PROBLEM, WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "224.0.0.251"  # RFC 6762, 3
EVERYTHING = ("_services", "_dns-sd", "_udp", "local")  # RFC 6763, 9: whoever has anything answers
_PTR, _QU = 12, 0x8000

UP, POINT_TO_POINT, MULTICAST = 0x1, 0x10, 0x1000
"""Flags of an interface; net/if.h."""

ECHO = 0.5  # s; for what never leaves this machine
ANSWERS = 1.5  # s; responders wait up to 0.12 s, Wi-Fi and sleepers longer

SAME_NETWORK = (
    "put this computer and the Apple TV into the same network: same Wi-Fi or router, no guest"
    " network, client (AP) isolation off, no VPN, IGMP snooping off if nothing else helps"
)

IN_CONTAINER = (
    "a container sees no multicast of the network around it: run it with the host's network"
    " (docker run --network host), or name the Apple TV: -s ADDRESS, or TINYATV_SCAN_HOSTS"
)
CONTAINERS = ("/.dockerenv", "/run/.containerenv")  # who is there is in one


class Interface:
    """One network interface of this computer.

    Attributes:
        name: ``eth0``.
        networks: Its IPv4 addresses with their networks.
        flags: As the kernel says; None where it does not.
    """

    __slots__ = ("flags", "name", "networks")

    def __init__(
        self, name: str, networks: list[ipaddress.IPv4Interface], flags: int | None
    ) -> None:
        self.name = name
        self.networks = networks
        self.flags = flags

    @property
    def is_loopback(self) -> bool:
        """True if nothing leaves this computer."""
        return any(one.ip.is_loopback for one in self.networks)

    @property
    def is_usable(self) -> bool:
        """True if it leads to other computers."""
        cut = self.flags is not None and not self.flags & UP
        return bool(self.networks) and not self.is_loopback and not cut


def interfaces() -> list[Interface]:
    """All interfaces of this computer, also those without an IPv4 address, if they are listed."""
    found: dict[str, list[ipaddress.IPv4Interface]] = {}
    with contextlib.suppress(OSError, AttributeError):  # not everywhere
        found = {name: [] for _, name in socket.if_nameindex()}
    try:
        import ifaddr  # zeroconf cannot do without it

        for adapter in ifaddr.get_adapters():
            addresses = [
                ipaddress.IPv4Interface(f"{one.ip}/{one.network_prefix}")
                for one in adapter.ips
                if isinstance(one.ip, str)
            ]
            name = adapter.name if isinstance(adapter.name, str) else adapter.nice_name
            found.setdefault(name, []).extend(addresses)
    except (ImportError, OSError, ValueError):
        found.setdefault("", []).extend(_own_addresses())
    return [Interface(name, networks, _flags(name)) for name, networks in found.items()]


def _own_addresses() -> list[ipaddress.IPv4Interface]:
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return []
    return [ipaddress.IPv4Interface(f"{one[4][0]}/24") for one in found]


def _flags(name: str) -> int | None:
    try:
        with open(f"/sys/class/net/{name}/flags", encoding="ascii") as file:
            return int(file.read(), 16)
    except (OSError, ValueError):
        return None


def findings(known: list[Interface], hosts: list[str]) -> list[Finding]:
    """All checks of the network, but the scan. Blocks about 2 s.

    Args:
        known: What :func:`interfaces` gave.
        hosts: Hosts that scans ask instead of multicast, so that a problem with multicast is only a
            warning.
    """
    bad = WARNING if hosts else PROBLEM
    usable = [one for one in known if one.is_usable]
    found: list[Finding] = []
    for one in known:
        if not one.networks or one.is_loopback or one not in usable:
            continue
        found += [_address(one), _multicast(one)]
    if not usable:
        names = ", ".join(one.name for one in known if one.name) or "none"
        text = f"no interface has an IPv4 address in a network (there are: {names})"
        found.append(Finding("network.interface", bad, text, "connect to the network"))
    elif not any(each.check == "network.multicast" and each.status == OK for each in found):
        for each in found:
            if each.check == "network.multicast":
                each.status = bad
    found.append(_port(bad))
    if hosts:
        text = f"scans only ask {', '.join(hosts)} (TINYATV_SCAN_HOSTS, or -s)"
        found.append(Finding("network.hosts", NOTE, text, facts={"hosts": hosts}))
    elif usable:
        found.append(_answers(usable))
    return found


def _address(one: Interface) -> Finding:
    shown = ", ".join(str(network) for network in one.networks)
    facts = {"interface": one.name, "addresses": [str(n) for n in one.networks]}
    if all(network.ip.is_link_local for network in one.networks):
        return Finding(
            "network.interface", WARNING, f"{one.name}: {shown}, which no router has assigned",
            "no address from the router: is the cable plugged in, is Wi-Fi connected?", facts=facts,
        )  # fmt: skip
    return Finding("network.interface", OK, f"{one.name}: {shown}", facts=facts)


def _multicast(one: Interface) -> Finding:
    check, facts = "network.multicast", {"interface": one.name}
    if one.flags is not None and not one.flags & MULTICAST:
        what = "a tunnel (VPN?), which" if one.flags & POINT_TO_POINT else "an interface that"
        text = f"{one.name}: {what} has no multicast"
        advice = "if the Apple TV is behind it, name it: -s ADDRESS, or TINYATV_SCAN_HOSTS"
        return Finding(check, NOTE, text, advice, facts=facts)
    error = echo(str(one.networks[0].ip))
    if error is None:
        return Finding(check, OK, f"{one.name}: multicast can be sent and received", facts=facts)
    advice = "let UDP from and to port 5353 through the firewall of this computer"
    return Finding(check, WARNING, f"{one.name}: no multicast: {error}", advice, facts=facts)


def echo(address: str) -> str | None:
    """Send a datagram to the group of mDNS that does not leave this machine, and hear it.

    Returns:
        What went wrong, or None.
    """
    token = os.urandom(16)
    group = socket.inet_aton(GROUP) + socket.inet_aton(address)
    try:
        with _udp() as hears, _udp() as sends:
            hears.bind(("", 0))
            hears.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            _leave_through(sends, address, ttl=0)
            sends.sendto(token, (GROUP, hears.getsockname()[1]))
            for data, _ in _datagrams(hears, ECHO):
                if data == token:
                    return None
    except OSError as exc:
        return reason(exc)
    return "what was sent did not come back"


def ask(addresses: list[str]) -> set[str]:
    """Ask by multicast DNS who is there, once from each of our addresses.

    Returns:
        The addresses of all that answer, ourselves left out.
    """
    answering: set[str] = set()
    question = encode_query([(EVERYTHING, _PTR)], _QU)
    with contextlib.ExitStack() as opened:
        asking = []
        for address in addresses:
            sock = opened.enter_context(_udp())
            try:
                _leave_through(sock, address, ttl=255)  # RFC 6762, 11
                sock.sendto(question, (GROUP, PORT))
            except OSError:
                continue  # its own check has said why
            asking.append(sock)
        deadline = Deadline(ANSWERS)
        while asking and not deadline.over:
            ready, _, _ = select.select(asking, [], [], deadline.left())
            for sock in ready:
                with contextlib.suppress(OSError):
                    answering.add(sock.recvfrom(9000)[1][0])
    return answering - set(addresses)


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _leave_through(sock: socket.socket, address: str, *, ttl: int) -> None:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    sock.bind((address, 0))


def _datagrams(sock: socket.socket, seconds: float) -> Iterator[tuple[bytes, str]]:
    deadline = Deadline(seconds)
    while select.select([sock], [], [], deadline.left())[0]:
        data, sender = sock.recvfrom(9000)
        yield data, sender[0]


def _answers(usable: list[Interface]) -> Finding:
    answering = ask([str(one.networks[0].ip) for one in usable])
    facts = {"answering": sorted(answering)}
    if answering:
        text = f"{len(answering)} hosts answer multicast DNS: {', '.join(sorted(answering))}"
        return Finding("network.answers", OK, text, facts=facts)
    text = "no host on this network answers multicast DNS"
    advice = IN_CONTAINER if any(map(os.path.exists, CONTAINERS)) else SAME_NETWORK
    return Finding("network.answers", WARNING, text, advice, facts=facts)


def _port(bad: str) -> Finding:
    owners = owners_of_port()
    named = f" ({', '.join(owners)})" if owners else ""
    facts = {"port": PORT, "owners": owners}
    if port_is_shared():
        text = f"UDP port {PORT} is {'shared' if named else 'free, or shared'}{named}"
        return Finding("network.port", OK, text, facts=facts)
    text = f"another program has exclusive use of UDP port {PORT}{named}: nothing can be announced"
    advice = (
        "stop it, or let it share the port (avahi: disallow-other-stacks=no); scans work"
        " without it, pairing an Apple TV of the first three generations does not"
    )
    return Finding("network.port", bad, text, advice, facts=facts)


def owners_of_port() -> list[str]:
    """Names of the programs that have UDP port 5353 open, as far as we may see them (Linux)."""
    inodes: set[str] = set()
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(table, encoding="ascii") as file:
                rows = [line.split() for line in list(file)[1:]]
            inodes.update(row[9] for row in rows if int(row[1].split(":")[1], 16) == PORT)
    names = set()
    sockets = {f"socket:[{inode}]" for inode in inodes}
    with contextlib.suppress(OSError):
        for number in os.listdir("/proc") if sockets else ():
            with contextlib.suppress(OSError):
                if number.isdecimal() and _has_open(number, sockets):
                    with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
                        names.add(file.read().strip())
    return sorted(names)


def _has_open(number: str, sockets: set[str]) -> bool:
    folder = f"/proc/{number}/fd"
    for handle in os.listdir(folder):
        with contextlib.suppress(OSError):
            if os.readlink(f"{folder}/{handle}") in sockets:
                return True
    return False


def is_near(address: str, known: list[Interface]) -> bool | None:
    """True if an address is in a network of ours; None if it is no IPv4 address."""
    try:
        there = ipaddress.IPv4Address(address)
    except ValueError:
        return None
    return any(there in network.network for one in known for network in one.networks)
