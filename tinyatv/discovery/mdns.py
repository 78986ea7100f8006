"""Searches on the local network: multicast DNS (RFC 6762) from the asking side.

    ask   PTR                which instances of these service types are there?     every second
    ask   SRV, TXT, A, AAAA  whatever an answer left out                           at once, likewise
    hear  datagrams -> Answers -> Record(kind, instance, port, address, txt)

Everything runs on the thread of the caller: up to four sockets, whatever is searched for.
"""

from __future__ import annotations

import collections
import errno
import logging
import select
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, cast

from ..addresses import (
    OwnNetwork,
    family_of,
    in_order,
    is_link_local,
    is_usable,
    own_networks,
    with_scope,
)
from ..deadline import Deadline
from ..errors import AppleTVError
from ..services import DEVICE_INFO, SLEEP_PROXY
from .dns import AAAA, PTR, QU, SRV, TXT, A, Packet, decode_response, encode_query, labels
from .records import Record, device_name, parse_sleep_proxy, parse_txt

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from zeroconf import Zeroconf

    from .dns import Answer, Question

log = logging.getLogger(__name__)

PORT = 5353
GROUP, GROUP_6 = "224.0.0.251", "ff02::fb"  # RFC 6762, 3

_ROUND = 1.0  # seconds from question to question: Wi-Fi loses multicast
_SECOND_TRY = 0.1  # seconds after which a host is asked again, once, for what it did not answer
_QUIET = 0.3  # seconds without news after which an answer counts as complete
_SETTLED = 0.004  # the same, at least, once all questions were answered; a slow host is given
_PACES = 2  # times what it took for its slowest answer
_TRIES = 3  # questions about one instance, after which it does not delay the end any more
# Apple devices drop records, often all addresses, when an answer exceeds one packet.
_KINDS_PER_PACKET = 3
_INSTANCES = 20_000  # a flood of names must not use up our memory,
_QUERIED = 200  # nor make us ask about each of them
_BACKLOG = 64_000  # datagrams that wait to be looked at
_IN_A_ROW = 500  # of them, taken in before one is looked at, and
_AT_ONCE = 20  # looked at before others are taken in
_OVERTIME = 0.15  # seconds beyond the end to look at what has arrived before it
_LEARNING = 3  # time between two looks at all that is known, in times of what a look takes
_HOPS = 255  # RFC 6762, 11
_BUFFER = 4 << 20  # bytes; a home full of devices answers all at once
# A connection to one of these wakes a device behind a sleep proxy: DMAP, AirPlay, MRP or Companion;
# the last one is what the peer library tries as well.
_WAKE_PORTS = (3689, 7000, 49152, 32498)

_TYPES = {A: "A", AAAA: "AAAA", PTR: "PTR", SRV: "SRV", TXT: "TXT"}
_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Answers:
    """Everything that was heard so far. No network, no clock.

    Args:
        kinds: Service types of interest; all others are ignored.
        directed: True if one host was asked. Then a sleep proxy answers from its address, while by
            multicast it has its own: who speaks for himself there is awake.
    """

    def __init__(self, kinds: Iterable[str], *, directed: bool = False) -> None:
        self._kinds = {kind.lower(): kind for kind in kinds}
        # What one has said is not mixed with what another says: names are unique on one link only,
        # and there may be several.
        self._senders: dict[str, _Sender] = {}
        self._directed = directed
        self._count = 0

    @property
    def senders(self) -> Container[str]:
        """Addresses that something came from."""
        return self._senders.keys()

    def heard_of(self, kinds: Iterable[str]) -> bool:
        """True if there is an instance of one of these service types."""
        kinds = set(kinds)
        return any(kinds & one.kinds for one in self._senders.values())

    def take(self, answers: Iterable[Answer], sender: str = "", index: int = 0) -> bool:
        """Note the answers of one datagram.

        Args:
            answers: What it says.
            sender: Address that it came from.
            index: Number of the interface that it came in by, which link-local addresses need.

        Returns:
            True if it took something back.
        """
        known = self._senders.get(sender)
        if known is None:
            if max(self._count, len(self._senders)) >= _INSTANCES:
                return False
            known = self._senders[sender] = _Sender(sender, self._kinds, self._directed)
        before = len(known.instances)
        gone = known.take(answers, index, _INSTANCES - self._count)
        self._count += len(known.instances) - before
        return gone

    def records(self) -> list[Record]:
        """All complete instances."""
        return [found for one in self._senders.values() for found in one.records()]

    def unknown_models(self) -> set[str]:
        """The names under which ``_device-info`` may tell a model, and has not."""
        return set().union(*(one.unknown_models() for one in self._senders.values()))

    def missing(self) -> dict[str, list[Question]]:
        """The questions that would complete each incomplete instance."""
        wanted: dict[str, list[Question]] = {}
        for one in self._senders.values():
            wanted.update(one.missing())
        return wanted

    def incomplete(self) -> list[tuple[str, str, str, str]]:
        """Kind, instance and sender of what cannot be used, and what it lacks."""
        return [found for one in self._senders.values() for found in one.incomplete()]


class _Sender:
    """What one address has said. All tables are by full name in lower case, in order."""

    def __init__(self, address: str, kinds: dict[str, str], directed: bool) -> None:
        self.instances: dict[str, tuple[str, str]] = {}  # kind and instance
        self.kinds: set[str] = set()
        self._address = address
        self._directed = directed
        self._wanted = kinds
        self._services: dict[str, tuple[int, str]] = {}  # port and host name
        self._texts: dict[str, dict[str, str | None]] = {}
        self._addresses: dict[str, list[str]] = {}
        self._proxied: set[str] = set()

    def take(self, answers: Iterable[Answer], index: int, room: int) -> bool:
        names: list[str] = []
        taken_back = False
        alone = True  # nothing but names: what a sleep proxy says
        for answer in answers:
            name = answer.name.lower()
            gone = not answer.ttl  # a goodbye; RFC 6762, 10.1
            taken_back = taken_back or gone
            if answer.type == PTR:
                names += self._pointer(name, str(answer.data), gone, room)
            elif answer.type == SRV:
                port, host = cast("tuple[int, str]", answer.data)
                _note(self._services, name, (port, host.lower()), gone)
                alone = alone and not name.endswith(tuple(self._wanted))
            elif answer.type == TXT:
                try:
                    _note(self._texts, name, parse_txt(answer.data), gone)  # type: ignore[arg-type]
                except ValueError as exc:
                    log.debug("%s: %s", answer.name, exc)
                alone = alone and not name.endswith(tuple(self._wanted))
            else:
                family = socket.AF_INET if answer.type == A else socket.AF_INET6
                text = socket.inet_ntop(family, answer.data)  # type: ignore[arg-type]
                self._note_address(name, with_scope(text, index), gone)
        # A sleep proxy answers with names alone for a sleeper, and tells the rest when asked. An
        # answer that lacks a service only was too long for a packet.
        if not alone:
            self._proxied.difference_update(names)
        else:
            self._proxied.update(name for name in names if name not in self._services)
        return taken_back

    def _pointer(self, name: str, target: str, gone: bool, room: int) -> list[str]:
        key = target.lower()
        if name == SLEEP_PROXY and key.endswith(f".{SLEEP_PROXY}") and not gone:
            _log_proxy(target[: -len(SLEEP_PROXY) - 1])
        if name not in self._wanted or not key.endswith(f".{name}"):
            return []
        instance = target[: -len(name) - 1]
        if not instance:
            return []
        if gone:
            self.instances.pop(key, None)
            return []
        if key not in self.instances:
            if room <= len(self.instances):
                return []
            self.instances[key] = (self._wanted[name], instance)
            self.kinds.add(self._wanted[name])
        return [key]

    def _note_address(self, host: str, address: str, gone: bool) -> None:
        if not is_usable(address):
            return
        known = self._addresses.setdefault(host, [])
        if gone and address in known:
            known.remove(address)
        elif not gone and address not in known:
            known.append(address)

    def records(self) -> list[Record]:
        found = []
        for key, (kind, instance) in self.instances.items():
            port, host = self._services.get(key, (0, ""))
            addresses = self._addresses.get(host)
            if port and addresses:
                asleep = key in self._proxied
                asleep = asleep and (self._directed or self._address not in addresses)
                found.append(
                    Record(
                        kind,
                        instance,
                        port,
                        self._first(addresses),
                        self._texts.get(key, {}),
                        tuple(addresses),
                        host,
                        asleep,
                    )
                )
        # Of _device-info there is only a TXT record, which comes along with other answers.
        models = {}
        for record in found:
            for name in (device_name(record), record.instance):
                txt = self._texts.get(f"{name}.{DEVICE_INFO}".lower())
                if name and txt is not None:
                    info = record._replace(kind=DEVICE_INFO, instance=name, port=0, txt=txt)
                    models[name, record.address] = info
        return found + list(models.values())

    def _first(self, addresses: list[str]) -> str:
        """The address that the answer came from, or else the first that any network knows."""
        if self._address in addresses:
            return self._address
        return min(addresses, key=is_link_local)

    def unknown_models(self) -> set[str]:
        names: set[str] = set()
        for record in self.records():
            names.update(name for name in (device_name(record), record.instance) if name)
        return {name for name in names if f"{name}.{DEVICE_INFO}".lower() not in self._texts}

    def missing(self) -> dict[str, list[Question]]:
        wanted = {}
        for key, (kind, instance) in self.instances.items():
            name = (instance, *labels(kind))  # one label, whatever dots are in it
            host = self._services.get(key, (0, ""))[1]
            questions: list[Question] = []
            if key not in self._services:
                questions.append((name, SRV))
            elif not self._addresses.get(host):
                questions += [(labels(host), A), (labels(host), AAAA)]
            if key not in self._texts:
                questions.append((name, TXT))
            if questions:
                wanted[key] = questions
        return wanted

    def incomplete(self) -> list[tuple[str, str, str, str]]:
        found = []
        for key, (kind, instance) in self.instances.items():
            port, host = self._services.get(key, (-1, ""))
            if port < 0:
                found.append((kind, instance, self._address, "no port (SRV record)"))
            elif not port:
                found.append((kind, instance, self._address, "no port"))
            elif not self._addresses.get(host):
                found.append((kind, instance, self._address, "no address"))
        return found


def _note(table: dict[str, Any], name: str, value: object, gone: bool) -> None:
    if gone:
        table.pop(name, None)
    elif name in table or len(table) < _INSTANCES:
        table[name] = value


def _log_proxy(instance: str) -> None:
    try:
        metrics, features, name = parse_sleep_proxy(instance)
    except ValueError as exc:
        log.debug("%s", exc)
    else:
        log.debug("sleep proxy %s, metrics %s, features %d", name, metrics, features)


def port_is_shared() -> bool:
    """True if port 5353 is free, or its owners let others in: most do, some do not."""
    try:
        _bound(socket.AF_INET, PORT).close()
    except OSError as exc:
        log.debug("UDP port %d: %s", PORT, exc)
        return False
    return True


def close_zeroconf(zc: Zeroconf) -> None:
    """Close it, and what older versions leave open: the pipe and the poll of its loop."""
    zc.close()
    if zc.loop is not None and not zc.loop.is_running():
        zc.loop.close()


# -- sockets ---------------------------------------------------------------------------------------


def _bound(family: int, port: int) -> socket.socket:
    """A socket at a port of all addresses, which others may share unless it is 0."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port:
            for option in ("SO_REUSEADDR", "SO_REUSEPORT"):
                if hasattr(socket, option):
                    sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        sock.bind(("", port))
    except BaseException:
        sock.close()
        raise
    return sock


class _Socket:
    """A UDP socket of a search, and where it sends what is for everybody.

    Args:
        family: AF_INET or AF_INET6.
        port: Own port; 0 for any.
        links: Own addresses whose networks it asks, each with the number of its interface.
    """

    def __init__(self, family: int, port: int, links: Sequence[tuple[str, int]] = ()) -> None:
        self.family = family
        self.sock = _bound(family, port)
        # To an own port answers come by unicast; at the common one another program might get them.
        self.bit = 0 if port else QU
        self._links = links
        try:
            self._set_up(port)
        except BaseException:
            self.sock.close()
            raise

    def _set_up(self, port: int) -> None:
        for option in (33, socket.SO_RCVBUF):  # SO_RCVBUFFORCE, which not everybody may set
            if option == socket.SO_RCVBUF or sys.platform == "linux":
                try:
                    self.sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
                    break
                except OSError:
                    pass
        if self.family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _HOPS)
            self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        else:
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        if port:
            for address, index in self._links:
                try:
                    self._join(address, index)
                except OSError as exc:  # the link is down, or has no multicast
                    log.debug("cannot hear what is sent to all on %s: %s", address, exc)

    def _join(self, address: str, index: int) -> None:
        if self.family == socket.AF_INET:
            group = socket.inet_aton(GROUP) + socket.inet_aton(address)
            self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        else:
            group = socket.inet_pton(socket.AF_INET6, GROUP_6) + struct.pack("@I", index)
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)

    def send_to_all(self, data: bytes) -> None:
        """Send to the group on each link."""
        for address, index in self._links:
            try:
                if self.family == socket.AF_INET:
                    own = socket.inet_aton(address)
                    self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
                    self.sock.sendto(data, (GROUP, PORT))
                else:
                    self.sock.sendto(data, (GROUP_6, PORT, 0, index))
            except OSError as exc:
                log.debug("cannot ask on %s: %s", address, exc)


class _Datagram:
    """What arrived: its sender with scope, the port, and the interface if it is known."""

    __slots__ = ("data", "index", "port", "sender")

    def __init__(self, data: bytes, place: tuple[Any, ...]) -> None:
        self.data = data
        self.port: int = place[1]
        self.index: int = place[3] if len(place) > 2 else 0
        self.sender: str = with_scope(place[0], self.index) if self.index else place[0]


class Network:
    """The sockets of all searches that run side by side.

    Args:
        interfaces: Own addresses to use for multicast; None uses all.

    Raises:
        AppleTVError: At opening: this process may open no socket any more.
    """

    def __init__(self, interfaces: Sequence[str] | None = None) -> None:
        self._interfaces = interfaces
        self._sockets: list[_Socket] = []
        self._backlog: collections.deque[_Datagram] = collections.deque()
        self._seen: set[int] = set()  # of all datagrams
        self._failed: OSError | None = None
        self._own: list[OwnNetwork] | None = None
        self._waking: list[socket.socket] = []

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            one.sock.close()
        for sock in self._waking:
            sock.close()

    @property
    def own(self) -> list[OwnNetwork]:
        """Networks that this computer is in."""
        if self._own is None:
            self._own = own_networks()
        return self._own

    def open_multicast(self) -> bool:
        """Open what it takes to ask everybody; False if there is no network.

        Two ways, since each fails somewhere: answers to an own port do not pass most firewalls, and
        port 5353 may be held by a program that does not share it.
        """
        links: dict[int, list[tuple[str, int]]] = {socket.AF_INET: [], socket.AF_INET6: []}
        if self._interfaces is None:
            for one in self.own:
                links[socket.AF_INET6 if ":" in one.address else socket.AF_INET].append(
                    (one.address, one.interface)
                )
            if not self.own:  # the system does not tell: then where it sends by itself
                links[socket.AF_INET].append(("0.0.0.0", 0))
        else:
            for address in self._interfaces:
                family = family_of(address)
                if family is None:
                    raise ValueError(f"not an address of this computer: {address!r}")
                index = 0 if family == socket.AF_INET else self._index_of(address)
                links[family].append((address, index))
        # Multicast of IPv6 goes by interface: once on each.
        links[socket.AF_INET6] = list(
            {index: (a, index) for a, index in links[socket.AF_INET6]}.values()
        )
        for port in (0, PORT):
            for kind, found in links.items():
                if found:
                    self._open(kind, port, found)
        return self._opened()

    def _index_of(self, address: str) -> int:
        scope = address.partition("%")[2]
        if scope.isdecimal():
            return int(scope)
        if scope:
            try:
                return socket.if_nametoindex(scope)
            except OSError:
                return 0
        return next((one.interface for one in self.own if one.address.split("%")[0] == address), 0)

    def open_unicast(self, address: str) -> bool:
        """Open what it takes to ask a host; False if there is no way to it.

        Always an own port: 5353 may be shared with other programs, and the kernel gives each
        unicast answer to one of them.
        """
        family = family_of(address)
        assert family is not None, "it was looked up"
        if all(one.family != family for one in self._sockets):
            self._open(family, 0)
        return any(one.family == family for one in self._sockets) or self._opened()

    def _open(self, family: int, port: int, links: Sequence[tuple[str, int]] = ()) -> None:
        try:
            self._sockets.append(_Socket(family, port, links))
        except OSError as exc:  # the port is taken, there is no IPv6, or no descriptor is left
            log.debug("UDP port %d: %s", port, exc)
            self._failed = exc if exc.errno in _DESCRIPTORS else self._failed

    def _opened(self) -> bool:
        if not self._sockets and self._failed is not None:
            text = f"cannot search the network: {self._failed.strerror}"
            raise AppleTVError(text) from self._failed
        return bool(self._sockets)

    def ask(
        self, questions: Sequence[Question], number: int, hosts: Iterable[tuple[str, int]] | None
    ) -> None:
        """Send questions to hosts, or with None to everybody."""
        for one in self._sockets:
            try:
                data = encode_query(questions, one.bit, number if one.bit else 0)
            except ValueError as exc:  # a name that nobody can have
                log.debug("cannot ask: %s", exc)
                return
            if hosts is None:
                one.send_to_all(data)
                continue
            for address, port in hosts:
                if family_of(address) == one.family:
                    try:
                        one.sock.sendto(data, _place(address, port))
                    except OSError as exc:
                        log.debug("cannot ask %s: %s", address, exc)

    def wake(self, address: str) -> None:
        """Start connections; nothing is sent over them, and no caller waits for them."""
        for port in _WAKE_PORTS:
            try:
                sock = socket.socket(family_of(address) or socket.AF_INET, socket.SOCK_STREAM)
                self._waking.append(sock)
                sock.setblocking(False)
                sock.connect(_place(address, port))
            except BlockingIOError:
                pass  # on its way
            except OSError as exc:
                log.debug("%s port %d: %s", address, port, exc)

    def drain(self) -> None:
        """Take in what has arrived, before the system has no room for more."""
        for one in self._sockets:
            for _ in range(min(_IN_A_ROW, _BACKLOG - len(self._backlog))):
                try:
                    data, place = one.sock.recvfrom(9000)  # RFC 6762, 17
                except BlockingIOError:
                    break
                except OSError as exc:  # Windows: a host that was asked does not want to be
                    log.debug("%s", exc)
                    break
                mark = hash((place, data))
                if mark not in self._seen:  # the same again says nothing new
                    if len(self._seen) < _BACKLOG:
                        self._seen.add(mark)
                    self._backlog.append(_Datagram(data, place))

    def wait(self, seconds: float) -> None:
        """Block until something arrives, or for so long."""
        if self._backlog:
            return
        # select() cannot watch descriptors from 1024 on, and a poll of its own would take one.
        if hasattr(select, "poll"):
            poll = select.poll()
            for one in self._sockets:
                poll.register(one.sock, select.POLLIN)
            poll.poll(seconds * 1000)
        elif self._sockets:
            select.select([one.sock for one in self._sockets], [], [], seconds)
        else:
            time.sleep(seconds)

    def take(self, count: int) -> list[_Datagram]:
        """The oldest datagrams that were not looked at yet."""
        return [self._backlog.popleft() for _ in range(min(count, len(self._backlog)))]

    def forget_seen(self) -> None:
        """Let the same words count as news again: something was taken back, and may return."""
        self._seen.clear()


def _place(address: str, port: int) -> tuple[Any, ...]:
    if ":" not in address:
        return address, port
    # With its scope, which only this understands on every system.
    return tuple(socket.getaddrinfo(address, port, socket.AF_INET6, socket.SOCK_DGRAM)[0][4])


# -- searching -------------------------------------------------------------------------------------


class Search:
    """A search for services, by multicast or at one host.

    Args:
        kinds: Service types.
        news: Called when something was learned. What it returns must not change for a moment before
            the search ends by itself; nothing (an empty list) goes on searching until time is up.
        host: Address or name to ask by unicast; None asks everybody.
        port: UDP port of `host`; None takes 5353, and wakes the host up.
        eager: False if nobody cares for news before the end.

    Attributes:
        answers: What was heard.
        look: Seconds that the longest look at all that is known took.
        unknown_host: True if the name of the host could not be resolved.
        over: True once there is nothing more to wait for; setting it ends the search.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        news: Callable[[Search], Sequence[object]],
        *,
        host: str | None = None,
        port: int | None = None,
        eager: bool = True,
    ) -> None:
        self.answers = Answers(kinds, directed=host is not None)
        self.look = 0.0
        self.unknown_host = False
        self.over = False
        self._kinds = kinds
        self._news = news
        self._eager = eager
        self._host = host
        self._port = port
        self._groups = [
            kinds[at : at + _KINDS_PER_PACKET] for at in range(0, len(kinds), _KINDS_PER_PACKET)
        ]
        self._network: Network | None = None
        self._places: list[tuple[str, int]] = []  # of the host
        self._lookup: tuple[threading.Thread, list[str]] | None = None
        self._answered: set[str] = set()  # service types
        self._numbers: dict[int, Sequence[str]] = {}  # of queries, with their service types
        self._asked: dict[str, int] = {}  # instances that were asked for: how often
        self._models: set[str] = set()  # names whose model was asked for
        self._missing: dict[str, list[Question]] = {}
        self._rest: Sequence[object] = ()
        self._asked_at = 0.0
        self._pace = 0.0  # seconds from a question to the slowest answer
        self._changed = 0.0
        self._round_over = Deadline(None)
        self._is_news = False
        self._learn_again = Deadline(0)

    @property
    def is_directed(self) -> bool:
        return self._host is not None

    def sort(self, addresses: Iterable[str]) -> list[str]:
        """Put the addresses of a device in order, best first."""
        given = list(addresses)
        if len(given) < 2 or self._network is None:
            return given
        return in_order(given, self.answers.senders, self._network.own)

    def begin(self, network: Network) -> None:
        """Ask for the first time, or find out whom to ask."""
        self._network = network
        if self._host is None:
            self.over = not network.open_multicast()
            self._ask_all()
        elif family_of(self._host) is not None:
            self._ask_host([self._host])
        else:
            # Looking up a name cannot be interrupted: it is left behind when time is up.
            found: list[str] = []
            lookup = threading.Thread(
                target=_look_up, args=(self._host, found), name=f"tinyatv-resolve-{self._host}",
                daemon=True,
            )  # fmt: skip
            self._lookup = lookup, found
            try:
                lookup.start()
            except RuntimeError as exc:  # no thread is left
                log.debug("%s: %s", self._host, exc)
                self._lookup, self.over = None, True

    def _ask_host(self, addresses: Sequence[str]) -> None:
        assert self._network is not None, "it has begun"
        addresses = [one for one in addresses if self._network.open_unicast(one)]
        self._places = [(one, self._port or PORT) for one in addresses]
        self.over = not addresses
        if self._port is None:
            for one in addresses:
                self._network.wake(one)
        self._ask_all()

    def _ask_all(self) -> None:
        self._asked_at = self._changed = time.monotonic()
        self._ask(self._groups)
        self._round_over = Deadline(_SECOND_TRY if self.is_directed else _ROUND)

    def is_for_me(self, datagram: _Datagram) -> bool:
        """True for what comes from where was asked: whoever else answers is not believed."""
        return not self.is_directed or (datagram.sender, datagram.port) in self._places

    def take(self, datagram: _Datagram) -> None:
        """Note what a datagram says."""
        assert self._network is not None, "it has begun"
        try:
            packet = decode_response(datagram.data)
        except ValueError as exc:
            log.debug("from %s: %s", datagram.sender, exc)
            return
        if packet is None:
            return
        if log.isEnabledFor(logging.DEBUG):
            said = ", ".join(f"{one.name} {_TYPES[one.type]}" for one in packet.answers)
            log.debug("%s said: %s", datagram.sender, said or "nothing")
        self._pace = max(self._pace, time.monotonic() - self._asked_at) if self._asked_at else 0.0
        self._changed = time.monotonic()
        if self.answers.take(packet.answers, datagram.sender, self._index_of(datagram)):
            self._network.forget_seen()
        self._note_answered(packet)
        self._is_news = True

    def _index_of(self, datagram: _Datagram) -> int:
        """The interface, for link-local addresses that are told by IPv4."""
        if datagram.index or self.is_directed or not self._mentions_links(datagram):
            return datagram.index
        assert self._network is not None, "it has begun"
        import ipaddress

        sender = ipaddress.ip_address(datagram.sender.partition("%")[0])
        return next((one.interface for one in self._network.own if sender in one.network), 0)

    @staticmethod
    def _mentions_links(datagram: _Datagram) -> bool:
        return b"\xfe\x80" in datagram.data

    def _note_answered(self, packet: Packet) -> None:
        """Note which questions have had their answer: those that it repeats, or names."""
        if packet.truncated or not packet.answers:
            return
        repeated = {name.lower() for name in packet.questions}
        self._answered |= repeated or set(self._numbers.get(packet.number, ()))
        self._answered |= {one.name.lower() for one in packet.answers if one.type == PTR}

    def advance(self, deadline: Deadline) -> float:
        """Do what is due; returns the seconds until something will be."""
        if self._lookup is not None:
            return self._resolved()
        if self._is_news and self._learn_again.over:
            began = time.monotonic()
            self._learn()
            took = time.monotonic() - began
            self.look = max(self.look, took)
            self._learn_again = Deadline(_LEARNING * took)
        if self._round_over.over:
            self._round_over = Deadline(_ROUND)
            self._asked_at = 0.0  # what comes now may belong to either question
            self._ask(self._unanswered())
            self._ask_missing(again=True)
        quiet = self._quiet_at()
        now = time.monotonic()
        if quiet is not None and now >= quiet and not self._is_news:
            self.over = True
            return 0.0
        waits = [self._round_over.left() or 0.0]
        if quiet is not None:
            waits.append(quiet - now)
        if self._is_news:
            waits.append(self._learn_again.left() or 0.0)
        return max(0.0, min(waits))

    def _resolved(self) -> float:
        assert self._lookup is not None, "it was started"
        thread, found = self._lookup
        if thread.is_alive():
            return 0.01
        thread.join()
        self._lookup = None
        self.unknown_host = not found
        self._ask_host(found)
        return 0.0

    def _quiet_at(self) -> float | None:
        """When the search may end if nothing more comes; None if it may not."""
        if any(self._asked.get(key, _TRIES) < _TRIES for key in self._missing):
            return None
        if self.is_directed and self._answered.issuperset(self._kinds):
            return self._changed + max(_SETTLED, _PACES * self._pace)
        return self._changed + _QUIET if self._rest else None

    def finish(self) -> None:
        """Tell what came last."""
        if self._is_news or not self._eager:
            self._news(self)

    def _learn(self) -> None:
        self._is_news = False
        self._missing = self.answers.missing()
        self._ask_missing(again=False)
        self._ask_models()
        if self._eager:
            rest = self._news(self)
            if rest != self._rest:
                self._rest = rest
                self._changed = time.monotonic()

    def _unanswered(self) -> list[Sequence[str]]:
        """The groups of service types to ask for again."""
        if not self.is_directed:  # others may answer what one has answered
            return self._groups
        return [group for group in self._groups if not self._answered.issuperset(group)]

    def _ask(self, groups: Iterable[Sequence[str]]) -> None:
        for group in groups:
            number = 1 + self._groups.index(group)
            log.debug("asking %s for %s", self._host or "everybody", ", ".join(group))
            self._numbers[number] = group
            # Where there are sleep proxies, the question for them makes every packet answered.
            self._send([(labels(kind), PTR) for kind in [*group, SLEEP_PROXY]], number)

    def _ask_missing(self, *, again: bool) -> None:
        for key, questions in self._missing.items():
            tries = self._asked.get(key, 0)
            if not tries and len(self._asked) >= _QUERIED:
                continue
            if again or not tries:
                self._asked[key] = tries + 1
                self._changed = time.monotonic()
                self._send(questions)

    def _ask_models(self) -> None:
        """Ask for models that nobody told. Devices do so unasked, so nothing waits for it."""
        if len(self._models) < _QUERIED:
            for name in self.answers.unknown_models() - self._models:
                if len(self._models) < _QUERIED:
                    self._models.add(name)
                    self._send([((name, *labels(DEVICE_INFO)), TXT)])

    def _send(self, questions: Sequence[Question], number: int = 0) -> None:
        assert self._network is not None, "it has begun"
        self._network.ask(questions, number, self._places if self.is_directed else None)


def _look_up(host: str, found: list[str]) -> None:
    try:
        places = socket.getaddrinfo(host, None, 0, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as exc:
        log.debug("%s: %s", host, exc)
        return
    addresses = [with_scope(str(place[0]), int(place[3]) if len(place) > 2 else 0)
                 for _, _, _, _, place in places]  # fmt: skip
    found += dict.fromkeys(addresses)


def run_searches(
    searches: Sequence[Search],
    timeout: float,
    *,
    interfaces: Sequence[str] | None = None,
    ended: Callable[[Search], object] = lambda search: None,
) -> None:
    """Run searches side by side, on this thread, until all are over.

    Args:
        searches: Each runs once.
        timeout: Seconds.
        interfaces: Own addresses to use for multicast; None uses all.
        ended: Called with each that is over.

    Raises:
        AppleTVError: This process may open no socket any more.
    """
    deadline = Deadline(timeout)
    with Network(interfaces) as network:
        running = list(searches)
        for search in running:
            search.begin(network)
        while running and not deadline.over:
            # The last look at all must fit in, too: with a crowd on a slow machine it takes long.
            if (deadline.left() or 0.0) < min(sum(one.look for one in running), timeout / 4):
                break
            network.drain()
            for datagram in network.take(_AT_ONCE):
                for search in running:
                    if search.is_for_me(datagram):
                        search.take(datagram)
            waits = [search.advance(deadline) for search in running]
            for search in [one for one in running if one.over]:
                running.remove(search)
                search.finish()
                ended(search)
            # Windows notices Ctrl-C between two waits only.
            network.wait(min([*waits, deadline.left() or 0.0, 0.5]))
        overtime = Deadline(_OVERTIME)
        network.drain()
        while not overtime.over and (datagrams := network.take(_AT_ONCE)):
            for datagram in datagrams:
                for search in running:
                    if search.is_for_me(datagram):
                        search.take(datagram)
        for search in running:
            search.finish()
