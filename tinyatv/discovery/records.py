"""What devices announce: DNS-SD records in, services and devices out. No network here.

    kind       _airplay._tcp.local.          what it is; services.py says what that means
    instance   Living Room                   its name, unique within the kind
    port       7000                          from the SRV record
    host       Living-Room.local.            from the SRV record
    addresses  192.0.2.7, fd00::7            from the A and AAAA records of that host
    txt        {"model": "AppleTV6,2"}       from the TXT record

Which records are one device: those that share an identifier, a host or an address, unless two
services of one kind contradict it. Nothing in a record is trusted: anybody on the network may
announce anything.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Callable, NamedTuple

from ..info import identifier_key, is_placeholder
from ..model import Device, Service
from ..services import AIRPLAY, SERVICE_TYPES, device_info

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

log = logging.getLogger(__name__)


class Record(NamedTuple):
    """One service instance as announced.

    Attributes:
        kind: Service type with domain and final dot: ``_airplay._tcp.local.``.
        instance: Name of the instance, without the kind.
        port: Port; 0 where there is none (``_device-info``).
        address: Address to try first.
        txt: None for a key without value.
        addresses: All addresses of its host; none stands for `address` alone.
        host: Name of its host; empty if it is not known.
        proxied: True if a sleep proxy answered for it.
    """

    kind: str
    instance: str
    port: int
    address: str
    txt: Mapping[str, str | None]
    addresses: Sequence[str] = ()
    host: str = ""
    proxied: bool = False


class Unusable(NamedTuple):
    """Something that answered, and is no device that can be connected to.

    Attributes:
        name: What it calls itself.
        address: Where it is, or an empty text.
        reason: What is missing: ``"with companion only: nothing identifies it"``.
    """

    name: str
    address: str
    reason: str

    def __str__(self) -> str:
        where = f" ({self.address})" if self.address else ""
        return f"{self.name}{where} answered, {self.reason}"


def parse_txt(data: bytes) -> dict[str, str | None]:
    """Decode the data of a TXT record.

    Bytes that are not UTF-8 become replacement characters: some devices announce raw addresses.

    Returns:
        Keys in lower case, since case does not count; None for a key without ``=``. The first of
        equal keys wins (RFC 6763, 6.4).

    Raises:
        ValueError: A string runs past the end.
    """
    pairs: dict[str, str | None] = {}
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data):
            raise ValueError(f"truncated TXT record: {end - len(data)} bytes missing")
        # Apple writes names with non-breaking spaces ("Apple TV"), in two spellings.
        text = data[at + 1 : end].replace(b"\xc2\xa0", b" ").replace(b"\x00\xa0", b" ")
        key, equals, value = text.partition(b"=")
        if key:
            found = value.decode("utf-8", "replace") if equals else None
            pairs.setdefault(key.decode("utf-8", "replace").lower(), found)
        at = end
    return pairs


def encode_txt(properties: Mapping[str, str | bytes | None]) -> bytes:
    """Encode the data of a TXT record.

    Raises:
        ValueError: A key with its value is longer than 255 bytes.
    """
    data = b""
    for key, value in properties.items():
        text = key.encode()
        if value is not None:
            text += b"=" + (value.encode() if isinstance(value, str) else value)
        if len(text) > 255:
            raise ValueError(f"{key!r} takes {len(text)} bytes in a TXT record, 255 are possible")
        data += bytes([len(text)]) + text
    return data or b"\0"  # there must be one string at least (RFC 6763, 6.1)


def parse_sleep_proxy(instance: str) -> tuple[tuple[int, ...], int, str]:
    """Split the instance name of a sleep proxy: ``70-35-60-63.1 Ohana``.

    Returns:
        The metrics (intent, portability, marginal and total power; lower is better), the feature
        bits, and the name of the device.

    Raises:
        ValueError: The name has another form.
    """
    match = re.fullmatch(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)\.(\d+) (.*)", instance)
    if match is None:
        raise ValueError(f"not the name of a sleep proxy: {instance!r}")
    *metrics, features, name = match.groups()
    return tuple(map(int, metrics)), int(features), name


def device_name(record: Record) -> str | None:
    """Return the name of the device as this service gives it, or None."""
    row = SERVICE_TYPES.get(record.kind)
    return row.name(record.instance, record.txt) if row else record.instance


def service_identifier(record: Record) -> str | None:
    """Return what identifies the device in this service, or None."""
    row = SERVICE_TYPES.get(record.kind)
    found = row.identifier(record.instance, record.txt) if row else None
    return None if found is None or is_placeholder(found) else found


# -- which records are one device ------------------------------------------------------------------


class _Group:
    """Records of one device, and what they say about which one it is."""

    def __init__(self, record: Record) -> None:
        self.records = [record]
        self.into: _Group | None = None  # the group that has taken this one over
        self.identifiers: set[str] = set()
        self.names: set[str] = set()  # of the device
        self.labels = {record.instance.casefold()}  # those, and the names of the instances
        self.services: dict[str, tuple[str | None, str]] = {}  # kind: identifier, instance
        if SERVICE_TYPES[record.kind].protocol is not None:
            identifier, name = service_identifier(record), device_name(record)
            if identifier is not None:
                identifier = identifier_key(identifier)
                self.identifiers.add(identifier)
            if name:
                self.names.add(name.casefold())
            self.labels |= self.names
            self.services[record.kind] = (identifier, record.instance.casefold())

    def root(self) -> _Group:
        """The group that its records are in."""
        group = self
        while group.into is not None:
            group = group.into
        return group

    def take_over(self, other: _Group) -> None:
        other.into = self
        self.records += other.records
        self.identifiers |= other.identifiers
        self.names |= other.names
        self.labels |= other.labels
        for kind, service in other.services.items():
            self.services.setdefault(kind, service)


def group_records(records: Iterable[Record]) -> list[list[Record]]:
    """Sort records by device; takes time in proportion to their number.

    Records that share an identifier are one device. Beyond that, those that share host and name, or
    only the host, or address and name, or only the address: each unless two services of one kind
    are not the same one. Two devices may have one address, and one device several hosts.

    Args:
        records: TXT keys in lower case.
    """
    records = [record for record in records if record.kind in SERVICE_TYPES]
    groups = [_Group(record) for record in records]
    groups = _joined(groups, lambda group: group.identifiers, proven=True)
    groups = _joined(groups, lambda group: _by_name(group, _hosts))
    groups = _joined(groups, _hosts)
    groups = _joined(groups, lambda group: _by_name(group, _addresses))
    groups = _joined(groups, lambda group: {one.address for one in group.records}, named=True)
    number = {id(record): at for at, record in enumerate(records)}
    return [sorted(group.records, key=lambda one: number[id(one)]) for group in groups]


def _hosts(group: _Group) -> set[tuple[str, str]]:
    # With the address: hosts of one name may be in two networks.
    return {(one.host, one.address) for one in group.records if one.host}


def _addresses(group: _Group) -> set[str]:
    return {address for one in group.records for address in (one.address, *one.addresses)}


def _by_name(
    group: _Group, places: Callable[[_Group], Iterable[Hashable]]
) -> set[tuple[Hashable, str]]:
    return {(place, name) for place in places(group) for name in group.labels}


def _joined(
    groups: list[_Group],
    keys: Callable[[_Group], Iterable[Hashable]],
    *,
    proven: bool = False,
    named: bool = False,
) -> list[_Group]:
    """Join groups that have a key in common, and return what is left.

    Args:
        groups: In order of discovery.
        keys: What to look at.
        proven: True if it proves that they are one; otherwise nothing may contradict it.
        named: True if different names contradict it.
    """
    sharing: dict[Hashable, list[_Group]] = {}
    for group in groups:
        for key in keys(group):
            sharing.setdefault(key, []).append(group)
    for found in sharing.values():
        first, *others = {id(one): one for one in (group.root() for group in found)}.values()
        if others and (proven or not _contradict([first, *others], named)):
            for other in others:
                first.take_over(other)
    return [group for group in groups if group.into is None]


def _contradict(groups: Iterable[_Group], named: bool) -> bool:
    """True if these cannot be one device."""
    services: dict[str, tuple[str | None, str]] = {}
    names: set[str] = set()
    for group in groups:
        for kind, (identifier, instance) in group.services.items():
            known = services.setdefault(kind, (identifier, instance))
            same = known[0] == identifier if known[0] and identifier else known[1] == instance
            if not same:
                return True
        if named and names and group.names and names.isdisjoint(group.names):
            return True
        names |= group.names
    return False


# -- from records to devices -----------------------------------------------------------------------


def build_device(
    address: str,
    records: Iterable[Record],
    *,
    deep_sleep: bool = False,
    query: str | None = None,
    addresses: Iterable[str] = (),
) -> Device | None:
    """Make a device out of what it announces.

    The way in for whoever has the records from elsewhere, such as a zeroconf browser of their own::

        txt = {"deviceid": "AA:BB:CC:00:00:02", "model": "AppleTV6,2", "flags": "0x244"}
        build_device("192.0.2.7", [Record("_airplay._tcp.local.", "Den", 7000, "192.0.2.7", txt)])

    Args:
        address: Address to try first.
        records: In order of discovery: the first to tell something is believed. TXT keys in any
            case, values as text or bytes.
        deep_sleep: Whether a sleep proxy answered for it.
        query: The host that was asked; None for multicast.
        addresses: Others that it has, best first.

    Returns:
        None if no service has an identifier: such a device could not be recognised again. A
        computer or telephone that announces nothing but Companion is one of them.
    """
    lowered = [_lowered(record) for record in records]
    return _build(address, lowered, deep_sleep, query, addresses)


def _build(
    address: str,
    records: Sequence[Record],
    deep_sleep: bool,
    query: str | None,
    addresses: Iterable[str],
) -> Device | None:
    services: dict[str, Service] = {}
    properties: dict[str, dict[str, str | None]] = {}
    told = []
    for record in records:
        kind = record.kind.rstrip(".")
        if kind in properties:
            continue  # the same service again, at another address of the device
        row = SERVICE_TYPES.get(record.kind)
        if row is not None and row.protocol is not None:
            if not record.port:
                continue
            try:
                _add_service(services, row.protocol, record)
            except ValueError as exc:  # one odd service must not hide the device
                log.debug("%s at %s: %s", record.kind, address, exc)
                continue
        properties[kind] = dict(record.txt)
        told.append((record.kind, record.txt))
    if not any(service.identifier for service in services.values()):
        return None
    airplay = properties.get(AIRPLAY.rstrip("."), {})
    access = {row.protocol: row.access for row in reversed(SERVICE_TYPES.values())}
    for protocol, service in services.items():
        judged = access[protocol](service.properties, airplay)
        service.pairing, service.requires_password, service.enabled = judged
    names = _names(records)
    return Device(
        names[0] if names else "Unknown",
        address,
        services.values(),
        info=device_info(told),
        deep_sleep=deep_sleep,
        query=query,
        properties=properties,
        names=names,
        addresses=addresses,
    )


def build_devices(
    records: Iterable[Record],
    *,
    query: str | None = None,
    sort: Callable[[Iterable[str]], list[str]] = list,
) -> tuple[list[Device], list[Unusable]]:
    """Make devices out of everything that was heard.

    Args:
        records: Complete ones, TXT keys in lower case.
        query: The host that was asked; None for multicast.
        sort: Puts the addresses of a device in order, best first.

    Returns:
        The devices, and what cannot be one.
    """
    devices, unusable = [], []
    for found in group_records(records):
        addresses = sort(dict.fromkeys(a for one in found for a in (one.address, *one.addresses)))
        serving = [one for one in found if SERVICE_TYPES[one.kind].protocol is not None]
        asleep = bool(serving) and all(one.proxied for one in serving)
        device = _build(addresses[0], found, asleep, query, addresses)
        if device is not None:
            devices.append(device)
        elif serving:
            name = next(iter(_names(serving)), serving[0].instance)
            unusable.append(Unusable(name, addresses[0], _what_is_missing(serving)))
    return devices, unusable


def _what_is_missing(records: Sequence[Record]) -> str:
    text = f"with {protocols_of(one.kind for one in records)} only: "
    if not any(one.port for one in records):
        return text + "it has no port"
    keyless = any(one.kind == AIRPLAY for one in records)
    return text + "nothing identifies it" + (" (no deviceid)" if keyless else "")


def protocols_of(kinds: Iterable[str]) -> str:
    """The names of the protocols of these service types, for people."""
    rows = (SERVICE_TYPES[kind].protocol for kind in kinds)
    return " and ".join(dict.fromkeys(filter(None, rows)))


def _names(records: Iterable[Record]) -> list[str]:
    serving = (one for one in records if (row := SERVICE_TYPES.get(one.kind)) and row.protocol)
    return list(dict.fromkeys(filter(None, map(device_name, serving))))


def merge_devices(devices: Iterable[Device]) -> list[Device]:
    """Join devices that share an identifier: one that was found at two hosts that were asked.

    The first address stays the first. The devices given may be changed.
    """
    owners: dict[str, Device] = {}
    merged: dict[int, Device] = {}
    for device in devices:
        known = [identifier_key(one) for one in device.identifiers if not is_placeholder(one)]
        twins = {id(owners[one]): owners[one] for one in known if one in owners}
        first, *others = [*twins.values(), device]
        for other in others:
            _merge(first, other)
            merged.pop(id(other), None)
        merged[id(first)] = first
        for one in first.identifiers:
            owners[identifier_key(one)] = first
    return list(merged.values())


def _merge(device: Device, other: Device) -> None:
    device.services += [s for s in other.services if device.service(s.protocol) is None]
    device.deep_sleep = device.deep_sleep or other.deep_sleep
    device.add_names(other.names)
    device.add_addresses(other.addresses)
    for kind, txt in other.properties.items():
        device.properties.setdefault(kind, txt)


def _lowered(record: Record) -> Record:
    """Those who announce a record spell its keys as devices do: hG, rpMd."""
    txt = {_text(key).lower(): None if v is None else _text(v) for key, v in record.txt.items()}
    return record if txt == record.txt else record._replace(txt=txt)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _add_service(services: dict[str, Service], protocol: str, record: Record) -> None:
    service = services.get(protocol)
    if service is None:
        service = services[protocol] = Service(protocol, record.port)
    service.identifier = service.identifier or service_identifier(record)
    service.properties.update(record.txt)
    key = SERVICE_TYPES[record.kind].credentials
    if key is not None and record.txt.get(key):
        service.credentials = record.txt[key]
