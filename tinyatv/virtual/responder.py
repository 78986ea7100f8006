"""The device side of a directed search: answers multicast DNS questions at a port of its own.

    PTR   kind         -> PTR, and beside it SRV + TXT + A of each instance, TXT of _device-info
    SRV   instance     -> SRV, and beside it A
    TXT   instance     -> TXT
    A     host         -> A
    ANY   instance     -> SRV + TXT, and beside them A

A stands for AAAA as well: of each address what fits.

A real device listens to the multicast group at port 5353, and so does
:class:`tinyatv.discovery.Announcement`. This one needs no multicast and no free port 5353, and
nothing else on the machine sees it.
"""

from __future__ import annotations

import collections
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Callable

from ..addresses import family_of
from ..discovery.records import Record, encode_txt
from ..services import DEVICE_INFO, SLEEP_PROXY
from ..threads import start

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

_A, _PTR, _TXT, _AAAA, _SRV, _ANY = 1, 12, 16, 28, 33, 255
_IN = 0x0001
_ANSWER = 0x8400  # a response, authoritative
_TTL = 10  # seconds; as devices give to those who do not ask from port 5353


class Responder:
    """Answers questions about services.

    Args:
        records: Called for each question; returns what there is now. A record of kind
            ``_device-info._tcp.local.`` goes along with the others and has no port.
        host: Own address to listen on; of IPv6, link-local with its scope.
        port: UDP port; 0 picks a free one.

    Attributes:
        port: The UDP port.
        asleep: A sleep proxy answers instead: names alone, everything else when asked for it.
        skip: Packets with questions to ignore from now on.
        drop_addresses: Leave the addresses out, as devices do when an answer gets too long, unless
            they are asked for.
        silent: Answer nothing at all.
        asked: The last questions heard, each as (name, type number).

    Raises:
        OSError: The port is taken, or the address is not ours.
    """

    def __init__(
        self, records: Callable[[], Iterable[Record]], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.asleep = False
        self.skip = 0
        self.drop_addresses = False
        self.silent = False
        self.asked: collections.deque[tuple[str, int]] = collections.deque(maxlen=1000)
        self._records = records
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # over starting and closing
        self._closed = False
        # A host name of its own: another responder may have the same address.
        self._name = f"tinyatv-{os.urandom(4).hex()}"
        self._family = family_of(host) or socket.AF_INET
        self._sock = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            place = socket.getaddrinfo(host, port, self._family, socket.SOCK_DGRAM)[0][4]
            self._sock.bind(place)
        except BaseException:
            self._sock.close()
            raise
        self.host: str = host
        self.port: int = self._sock.getsockname()[1]

    def start(self) -> Responder:
        """Start answering."""
        with self._lock:
            if not self._closed:
                self._thread = start(self._run, f"virtual-mdns-{self.port}")
        return self

    def close(self) -> None:
        """Stop and join the thread. Safe to call more than once and from any thread."""
        with self._lock:
            if self._closed:
                return
            self._closed, thread = True, self._thread
        if thread is not None:
            # Nothing but a datagram wakes a blocked recvfrom() on every system.
            with socket.socket(self._family, socket.SOCK_DGRAM) as sock:
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
                place = socket.getaddrinfo(host, self.port, self._family, socket.SOCK_DGRAM)
                sock.sendto(b"", place[0][4])
            thread.join(5)
        self._sock.close()

    def __enter__(self) -> Responder:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closed:
            try:
                data, peer = self._sock.recvfrom(9000)
                if not self._closed:
                    for packet in self._answer(data):
                        self._sock.sendto(packet, peer)
            except OSError as exc:  # the peer is gone; Windows even says so at the next recvfrom()
                log.debug("%d: %s", self.port, exc)
            except Exception:  # the next question may be better
                log.exception("%d: cannot answer", self.port)

    def _answer(self, data: bytes) -> list[bytes]:
        from zeroconf import DNSOutgoing  # type: ignore[attr-defined]

        query = _parse(data)
        if query is None or self.silent:
            return []
        if self.skip:
            self.skip -= 1
            return []
        zone = [_Entry(record, self._name) for record in self._zone()]
        answers: dict[Any, None] = {}  # a set that keeps its order
        beside: dict[Any, None] = {}
        # Who does not ask from port 5353 gets question and number back (RFC 6762, 6.7).
        out = DNSOutgoing(_ANSWER, multicast=False, id_=query.id)
        for question in query.questions:
            self.asked.append((question.name, question.type))
            out.add_question(question)
            for entry in zone:
                self._about(entry, question.name.lower(), question.type, answers, beside)
        if not answers:
            return []
        if not self.asleep and any(answer.type == _PTR for answer in answers):
            beside.update((entry.text, None) for entry in zone if entry.kind == DEVICE_INFO)
        for answer in answers:
            out.add_answer_at_time(answer, 0)
        for answer in beside:
            if answer not in answers:
                out.add_additional_answer(answer)
        packets: list[bytes] = out.packets()
        return packets

    def _zone(self) -> list[Record]:
        """What there is, and a sleep proxy: every Apple TV is one, for others."""
        records = list(self._records())
        for record in records[:1]:
            name = f"70-35-60-63.1 {record.instance}".encode()[:63].decode("utf-8", "ignore")
            records.append(Record(SLEEP_PROXY, name, self.port, record.address, {}))
        return records

    def _about(
        self,
        entry: _Entry,
        asked: str,
        number: int,
        answers: dict[Any, None],
        beside: dict[Any, None],
    ) -> None:
        """Collect what there is to say about one question."""
        if asked == entry.kind and number in (_PTR, _ANY) and entry.service is not None:
            answers[entry.pointer] = None
            if self.asleep:
                return
            beside[entry.service] = beside[entry.text] = None
            if not self.drop_addresses:
                beside.update(entry.addresses)
        elif asked == entry.name:
            if number in (_SRV, _ANY) and entry.service is not None:
                answers[entry.service] = None
                beside.update(entry.addresses)
            if number in (_TXT, _ANY):
                answers[entry.text] = None
        elif asked == entry.host:
            wanted = (one for one in entry.addresses if number in (one.type, _ANY))
            answers.update(dict.fromkeys(wanted))


class _Entry:
    """A record as the DNS records that carry it."""

    def __init__(self, record: Record, host: str) -> None:
        from zeroconf import (  # type: ignore[attr-defined]
            DNSAddress,
            DNSPointer,
            DNSService,
            DNSText,
        )

        full = f"{record.instance}.{record.kind}"
        self.kind = record.kind.lower()
        self.name = full.lower()
        addresses = record.addresses or (record.address,)
        # Records of different addresses are of different hosts.
        digits = "".join(c if c.isalnum() else "-" for c in addresses[0].partition("%")[0])
        self.host = f"{host}-{digits}.local."
        self.pointer = DNSPointer(record.kind, _PTR, _IN, _TTL, full)
        self.text = DNSText(full, _TXT, _IN, _TTL, encode_txt(record.txt))
        self.addresses: dict[Any, None] = {}
        for address in addresses:
            family = family_of(address) or socket.AF_INET
            data = socket.inet_pton(family, address.partition("%")[0])
            kind = _A if family == socket.AF_INET else _AAAA
            self.addresses[DNSAddress(self.host, kind, _IN, _TTL, data)] = None
        self.service = None
        if record.port:
            self.service = DNSService(full, _SRV, _IN, _TTL, 0, 0, record.port, self.host)


def _parse(data: bytes) -> Any:
    """Return the query in a packet, or None."""
    from zeroconf import DNSIncoming  # type: ignore[attr-defined]

    try:
        query = DNSIncoming(data)
    except Exception as exc:  # it has its own ways to fail, depending on the version
        log.debug("malformed packet: %s", exc)
        return None
    return query if query.valid and query.is_query() else None
