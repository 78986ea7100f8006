"""One search on the local network: multicast DNS (RFC 6762) from the asking side.

    ask   PTR          which instances of these service types are there?     every second
    ask   SRV, TXT, A  whatever an answer left out                           at once, then likewise
    hear  datagrams -> Answers -> Record(kind, instance, port, address, txt)

Sockets, packets and the multicast group are those of the ``zeroconf`` package. It is imported by
the first search only, and its threads end with the search.
"""

from __future__ import annotations

import logging
import queue
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Callable, Union

from ..deadline import Deadline
from .records import DEVICE_INFO, SLEEP_PROXY, Record, device_name, parse_sleep_proxy, parse_txt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zeroconf import Zeroconf

log = logging.getLogger(__name__)

PORT = 5353

_A, _PTR, _TXT, _SRV = 1, 12, 16, 33  # RFC 1035, RFC 2782
_IN, _QU = 0x0001, 0x8000  # QU: please answer by unicast; RFC 6762, 5.4

_ROUND = 1.0  # seconds from question to question: Wi-Fi loses multicast
_SECOND_TRY = 0.1  # seconds after which a host is asked again, once, for what it did not answer
_QUIET = 0.3  # seconds without news after which an answer counts as complete
_TRIES = 3  # questions about one instance, after which it does not delay the end any more
# Apple devices drop records, often all addresses, when an answer exceeds one packet.
_KINDS_PER_PACKET = 3
_INSTANCES = 2000  # a flood of names must not use up our memory,
_QUERIED = 200  # nor make us ask about each of them
# A connection to one of these wakes a device behind a sleep proxy: DMAP, AirPlay, MRP or Companion;
# the last one is what the peer library tries as well.
_WAKE_PORTS = (3689, 7000, 49152, 32498)

_Question = tuple[tuple[str, ...], int]  # the labels of a name, and a record type
_Heard = Union["list[Any]", str, None]  # records of a datagram; address of the host; the end


class Answers:
    """Everything that was heard so far. No network, no clock.

    Args:
        kinds: Service types of interest; all others are ignored.
    """

    def __init__(self, kinds: Iterable[str]) -> None:
        self._kinds = {kind.lower(): kind for kind in kinds}
        # All by full name in lower case, in order of discovery.
        self._instances: dict[str, tuple[str, str]] = {}  # kind and instance
        self._services: dict[str, tuple[int, str]] = {}  # port and host name
        self._texts: dict[str, dict[str, str | None]] = {}
        self._addresses: dict[str, list[str]] = {}
        self._proxied: set[str] = set()

    def heard_of(self, kinds: Iterable[str]) -> bool:
        """True if there is an instance of one of these service types."""
        kinds = set(kinds)
        return any(kind in kinds for kind, _ in self._instances.values())

    def take(self, datagram: Iterable[Any]) -> None:
        """Note the records (``zeroconf.DNSRecord``) of one datagram."""
        names: list[str] = []
        served = False
        for record in datagram:
            name = record.name.lower()
            gone = not record.ttl  # a goodbye; RFC 6762, 10.1
            if record.type == _PTR:
                names += self._pointer(name, record.alias, gone)
            elif record.type == _SRV:
                served = served or name.endswith(tuple(self._kinds))
                _note(self._services, name, (record.port, record.server.lower()), gone)
            elif record.type == _TXT:
                try:
                    _note(self._texts, name, parse_txt(record.text), gone)
                except ValueError as exc:
                    log.debug("%s: %s", record.name, exc)
            elif record.type == _A and len(record.address) == 4:
                self._address(name, socket.inet_ntoa(record.address), gone)
        # A sleep proxy answers with names alone for a sleeper, and tells the rest when asked.
        if served:
            self._proxied.difference_update(names)
        else:
            self._proxied.update(name for name in names if name not in self._services)

    def _pointer(self, name: str, alias: str, gone: bool) -> list[str]:
        key = alias.lower()
        instance = alias[: -len(name) - 1]
        if name == SLEEP_PROXY and log.isEnabledFor(logging.DEBUG):
            _log_proxy(instance)
        if name not in self._kinds or not instance or not key.endswith("." + name):
            return []
        if gone:
            self._instances.pop(key, None)
            return []
        if len(self._instances) < _INSTANCES:
            self._instances.setdefault(key, (self._kinds[name], instance))
        return [key]

    def _address(self, host: str, address: str, gone: bool) -> None:
        if address.startswith(("169.254.", "0.")):
            return  # an AirPort announces a link-local address beside the one that works
        known = self._addresses.setdefault(host, [])
        if gone and address in known:
            known.remove(address)
        elif not gone and address not in known:
            known.append(address)

    def records(self) -> list[tuple[Record, bool]]:
        """All complete instances, each with whether a sleep proxy answered for it."""
        found = []
        for key, (kind, instance) in self._instances.items():
            port, host = self._services.get(key, (0, ""))
            addresses = self._addresses.get(host)
            if port and addresses:
                record = Record(kind, instance, port, addresses[0], self._texts.get(key, {}))
                found.append((record, key in self._proxied))
        # Of _device-info there is only a TXT record, which comes along with other answers.
        models = {}
        for record, proxied in found:
            for name in (device_name(record), record.instance):
                txt = self._texts.get(f"{name}.{DEVICE_INFO}".lower())
                if name and txt is not None:
                    info = Record(DEVICE_INFO, name, 0, record.address, txt)
                    models[name, record.address] = (info, proxied)
        return found + list(models.values())

    def unknown_models(self) -> set[str]:
        """The names under which ``_device-info`` may tell a model, and has not."""
        names: set[str] = set()
        for record, _ in self.records():
            names.update(name for name in (device_name(record), record.instance) if name)
        return {name for name in names if f"{name}.{DEVICE_INFO}".lower() not in self._texts}

    def missing(self) -> dict[str, list[_Question]]:
        """The questions that would complete each incomplete instance."""
        wanted = {}
        for key, (kind, instance) in self._instances.items():
            name = (instance, *_labels(kind))  # one label, whatever dots are in it
            host = self._services.get(key, (0, ""))[1]
            questions: list[_Question] = []
            if key not in self._services:
                questions.append((name, _SRV))
            elif not self._addresses.get(host):
                questions.append((_labels(host), _A))
            if key not in self._texts:
                questions.append((name, _TXT))
            if questions:
                wanted[key] = questions
        return wanted


def _labels(name: str) -> tuple[str, ...]:
    return tuple(name.rstrip(".").split("."))


def _note(table: dict[str, Any], name: str, value: object, gone: bool) -> None:
    if gone:
        table.pop(name, None)
    else:
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
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            for option in ("SO_REUSEADDR", "SO_REUSEPORT"):
                if hasattr(socket, option):
                    sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
            sock.bind(("", PORT))
        except OSError as exc:
            log.debug("UDP port %d: %s", PORT, exc)
            return False
    return True


def close_zeroconf(zc: Zeroconf) -> None:
    """Close it, and what older versions leave open: the pipe and the poll of its loop."""
    zc.close()
    if zc.loop is not None and not zc.loop.is_running():
        zc.loop.close()


class Search:
    """A search for services, by multicast or at one host. Runs once, on any one thread.

    Args:
        kinds: Service types.
        news: Called on the thread of the search when something was learned. What it returns must
            not change for a moment before the search ends by itself; nothing (an empty list) goes
            on searching until time is up.
        host: Address or name to ask by unicast; None asks everybody.
        port: UDP port of `host`; None takes 5353, and knocks at the host to wake it up.
        interfaces: Own addresses to use for multicast; None uses all.

    Attributes:
        unknown_host: True if the name of the host could not be resolved.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        news: Callable[[Answers], Sequence[object]],
        *,
        host: str | None = None,
        port: int | None = None,
        interfaces: Sequence[str] | None = None,
    ) -> None:
        self.unknown_host = False
        self._news = news
        self._host = host
        self._port = port
        self._interfaces = interfaces
        self._groups = [
            kinds[at : at + _KINDS_PER_PACKET] for at in range(0, len(kinds), _KINDS_PER_PACKET)
        ]
        self._answers = Answers(kinds)
        self._heard: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
        self._address: str | None = None  # of the host; None for multicast
        self._senders: list[tuple[Zeroconf, int]] = []  # with the bit that it asks with
        self._wakings: list[socket.socket] = []
        self._asked: dict[str, int] = {}  # instances that were asked for: how often
        self._models: set[str] = set()  # names whose model was asked for
        self._rest: Sequence[object] = ()
        self._quiet = Deadline(0)
        self._stopped = False

    def stop(self) -> None:
        """End the search now. Safe to call at any time and from any thread."""
        self._stopped = True
        self._heard.put(None)

    def run(self, deadline: Deadline) -> None:
        """Search; blocks until it is over."""
        try:
            if self._host is None:
                self._open_multicast()
            elif not self._find_host(deadline) or not self._open_unicast():
                return
            if self._senders:
                self._query_loop(deadline)
        finally:
            for knock in self._wakings:
                knock.close()
            for zc, _ in self._senders:
                try:
                    close_zeroconf(zc)
                except Exception:  # the others must be closed all the same
                    log.exception("cannot close")

    def _find_host(self, deadline: Deadline) -> bool:
        """Find out the address of the host; False if there is none, or the search is over."""
        # Looking up a name cannot be interrupted: leave it behind when nobody waits any more.
        lookup = threading.Thread(
            target=self._resolve, name=f"tinyatv-resolve-{self._host}", daemon=True
        )
        lookup.start()
        try:
            heard = self._heard.get(timeout=deadline.wait())
        except queue.Empty:
            heard = ""
        if not isinstance(heard, str):
            return False  # stopped
        self._address = heard or None
        self.unknown_host = not heard
        if heard:
            lookup.join()
        return bool(heard)

    def _resolve(self) -> None:
        try:
            found = socket.getaddrinfo(self._host, None, socket.AF_INET, socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as exc:
            log.debug("%s: %s", self._host, exc)
            self._heard.put("")
        else:
            self._heard.put(str(found[0][4][0]))

    def _open_unicast(self) -> bool:
        """Open a port for the talk with the host; False if there is no way to it."""
        from zeroconf import InterfaceChoice

        address = (self._address, self._port or PORT)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect(address)  # sends nothing, but asks the routing table
            except OSError as exc:
                log.debug("%s: %s", self._host, exc)
                return False
        if self._port is None:
            self._wake_ports()
        # Port 5353 may be shared with other programs, and the kernel gives each unicast answer to
        # one of them: hence an own port. Hence, too, an own cache: two hosts may have one name.
        return self._open(InterfaceChoice.Default, unicast=True)

    def _open_multicast(self) -> None:
        from zeroconf import InterfaceChoice

        interfaces = InterfaceChoice.All if self._interfaces is None else list(self._interfaces)
        # Two ways, since each fails somewhere: answers to an own port do not pass most firewalls,
        # and port 5353 may be held by a program that does not share it.
        if port_is_shared():
            self._open(interfaces, unicast=False)
        self._open(interfaces, unicast=True)

    def _open(self, interfaces: Any, *, unicast: bool) -> bool:
        from zeroconf import IPVersion, RecordUpdateListener, Zeroconf

        heard = self._heard

        class Listener(RecordUpdateListener):
            def async_update_records(self, zc: Any, now: float, records: list[Any]) -> None:
                # One call for each datagram; besides, the cache tells what has expired.
                new = [one.new for one in records]
                heard.put([one for one in new if not one.ttl or not one.is_expired(now)])

            def async_update_records_complete(self) -> None:
                pass

        try:
            zc = Zeroconf(interfaces=interfaces, unicast=unicast, ip_version=IPVersion.V4Only)
        except (OSError, RuntimeError) as exc:  # the port is taken; there is no interface
            log.debug("no multicast DNS %s: %s", "by unicast" if unicast else "on its port", exc)
            return False
        self._senders.append((zc, _QU if unicast else 0))
        zc.add_listener(Listener(), None)
        return True

    def _wake_ports(self) -> None:
        """Start connections; nothing is sent over them, and no caller waits for them."""
        for port in _WAKE_PORTS:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            self._wakings.append(sock)
            try:
                sock.connect((self._address, port))
            except BlockingIOError:
                pass  # on its way
            except OSError as exc:
                log.debug("%s port %d: %s", self._host, port, exc)

    def _query_loop(self, deadline: Deadline) -> None:
        self._ask(self._groups)
        round_over = Deadline(_ROUND if self._address is None else _SECOND_TRY)
        while not self._stopped and not deadline.over and not self._settled():
            waits = [deadline, round_over]
            if self._rest and not self._quiet.over:
                waits.append(self._quiet)
            try:
                heard = self._heard.get(timeout=min(one.wait() or 0.0 for one in waits))
            except queue.Empty:
                heard = None
            if isinstance(heard, list):
                self._answers.take(heard)
                if self._heard.empty():  # else all that is there first: a flood costs less
                    self._learn()
            if round_over.over:
                round_over = Deadline(_ROUND)
                self._ask(self._unanswered())
                self._ask_missing(again=True)

    def _unanswered(self) -> list[Sequence[str]]:
        """The groups of service types to ask for again."""
        if self._address is None:  # others may answer what one has answered
            return self._groups
        return [group for group in self._groups if not self._answers.heard_of(group)]

    def _learn(self) -> None:
        self._ask_missing(again=False)
        self._ask_models()
        rest = self._news(self._answers)
        if rest != self._rest:
            self._rest = rest
            self._quiet = Deadline(_QUIET)

    def _settled(self) -> bool:
        """True if what was looked for is there, complete, and has not changed for a moment."""
        if not self._rest or not self._quiet.over:
            return False
        return all(self._asked.get(key, _TRIES) >= _TRIES for key in self._answers.missing())

    def _ask(self, groups: Iterable[Sequence[str]]) -> None:
        for group in groups:
            # Where there are sleep proxies, the question for them makes every packet answered.
            self._send([(_labels(kind), _PTR) for kind in [*group, SLEEP_PROXY]])

    def _ask_missing(self, *, again: bool) -> None:
        for key, questions in self._answers.missing().items():
            tries = self._asked.get(key, 0)
            if not tries and len(self._asked) >= _QUERIED:
                continue
            if again or not tries:
                self._asked[key] = tries + 1
                if tries < _TRIES:
                    self._quiet = Deadline(_QUIET)
                self._send(questions)

    def _ask_models(self) -> None:
        """Ask for models that nobody told. Devices do so unasked, so nothing waits for it."""
        for name in self._answers.unknown_models() - self._models:
            if len(self._models) < _QUERIED:
                self._models.add(name)
                self._send([((name, *_labels(DEVICE_INFO)), _TXT)])

    def _send(self, questions: Sequence[_Question]) -> None:
        for zc, bit in self._senders:
            try:
                packet = _ready(packet_of(questions, bit))
            except ValueError as exc:  # a name that nobody can have
                log.debug("cannot ask: %s", exc)
                return
            zc.send(packet, self._address, self._port or PORT)


def packet_of(questions: Sequence[_Question], bit: int) -> bytes:
    """Encode questions (RFC 1035, 4.1).

    zeroconf would do it, but cuts names at every dot, and nobody answers for ``Dr`` . ``Who``.

    Raises:
        ValueError: A label is empty or longer than 63 bytes.
    """
    data = struct.pack(">6H", 0, 0, len(questions), 0, 0, 0)
    for labels, number in questions:
        for label in labels:
            text = label.encode()
            if not 0 < len(text) < 64:
                raise ValueError(f"not a label: {label!r}")
            data += bytes([len(text)]) + text
        data += b"\0" + struct.pack(">2H", number, _IN | bit)
    return data


def _ready(data: bytes) -> Any:
    """Return what makes zeroconf send `data` as it is."""
    from zeroconf import DNSOutgoing  # type: ignore[attr-defined]

    class Ready(DNSOutgoing):
        def packets(self) -> list[bytes]:
            return [data]

    return Ready(0)
