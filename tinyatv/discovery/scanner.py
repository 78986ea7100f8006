"""Finding devices: ``mdns.py`` asks the network, ``records.py`` says what the answers mean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable

from ..addresses import split_host
from ..errors import DeviceNotFound
from ..model import PROTOCOLS, Device
from ..services import SERVICE_TYPES
from .mdns import Search, run_searches
from .records import (
    Record,
    Unusable,
    build_devices,
    device_name,
    merge_devices,
    protocols_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


def scan(
    timeout: float = 3.0,
    *,
    hosts: str | Iterable[str] | None = None,
    wanted: str | Iterable[str] | None = None,
    protocols: str | Iterable[str] | None = None,
    progress: Callable[[Device], object] | None = None,
    interfaces: Iterable[str] | None = None,
    unusable: Callable[[Unusable], object] | None = None,
) -> list[Device]:
    """Look for devices.

    Blocks for the whole `timeout`, unless something ends the scan early: what was `wanted` has
    been found, or every host that was asked has answered all questions; one that answers some has
    said nothing new for 0.3 s.

    Args:
        timeout: Seconds.
        hosts: Ask these only, by unicast, and believe nobody else: addresses or names, with
            ``:port`` if it is not 5353 (``[fd00::5]:5354`` for IPv6). Without a port, the usual
            service ports are called at too, which wakes a device up. None asks the whole network by
            multicast, or the hosts that the environment variable ``TINYATV_SCAN_HOSTS`` names
            (separated by commas).
        wanted: Name, identifier or address; of several, any will do. It ends the scan but does
            not filter: what else was seen comes behind it.
        protocols: Names of the protocols to look for; None looks for all.
        progress: Called with each device as soon as it is known. Some of its services may still be
            missing then.
        interfaces: Own addresses to use for multicast; None uses all.
        unusable: Called at the end with whatever answered and is no device to connect to.

    Returns:
        The devices found. Without a network there are none, which is no error.

    Raises:
        DeviceNotFound: The only host that was given has no address.
        AppleTVError: This process may open no socket any more.
        ValueError: A host or protocol cannot be one, or the time is not positive.
    """
    if not timeout > 0:
        raise ValueError(f"timeout must be positive, not {timeout}")
    kinds = _kinds_of(_texts(protocols))
    names = _texts(wanted)
    if hosts is None and interfaces is None and os.environ.get("TINYATV_SCAN_HOSTS"):
        hosts = os.environ["TINYATV_SCAN_HOSTS"].split(",")
    places = None if hosts is None else {one: split_host(one) for one in _stripped(hosts)}

    def called(devices: list[Device]) -> list[Device]:
        return [one for one in devices if any(map(one.is_called, names))]

    results: list[_ScanResult] = []
    searches = []
    if places is None:
        results = [_ScanResult(None, called, progress)]
        # Devices are put together at the end, if nobody asks for them before.
        searches = [Search(kinds, results[0], eager=bool(names or progress))]
    else:
        for query, (host, port) in places.items():
            results.append(_ScanResult(query, list, progress))
            searches.append(Search(kinds, results[-1], host=host, port=port))

    def ended(search: Search) -> None:
        if names and any(called(result.devices) for result in results):
            for one in searches:
                one.over = True

    run_searches(searches, timeout, interfaces=_listed(interfaces), ended=ended)
    if len(searches) == 1 and searches[0].unknown_host:
        raise DeviceNotFound(f"no address is known for {', '.join(places or ())}")
    if unusable is not None:
        for search, result in zip(searches, results):
            for one in result.left_over(search):
                unusable(one)
    found = merge_devices(device for result in results for device in result.devices)
    return sorted(found, key=lambda device: not called([device])) if names else found


def browse(
    kind: str,
    timeout: float,
    *,
    interfaces: Iterable[str] | None = None,
    found: Callable[[Record], bool] | None = None,
) -> list[Record]:
    """Look for the instances of one service type by multicast.

    Args:
        kind: Service type with domain and final dot: ``_touch-remote._tcp.local.``.
        timeout: Seconds to block, if nothing ends it early.
        interfaces: Own addresses to use; None uses all.
        found: Called with each complete record, and again when it changes; True ends the search.

    Returns:
        All complete records.
    """
    records: list[Record] = []

    def news(search: Search) -> list[object]:
        known = records[:]
        records[:] = [record for record in search.answers.records() if record.kind == kind]
        if found is not None and any(found(one) for one in records if one not in known):
            search.over = True
        return []

    run_searches([Search([kind], news)], timeout, interfaces=_listed(interfaces))
    return records


def _listed(texts: Iterable[str] | None) -> list[str] | None:
    return None if texts is None else _texts(texts)


def _texts(given: str | Iterable[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def _stripped(hosts: str | Iterable[str]) -> list[str]:
    return [one.strip() for one in _texts(hosts)]


def _kinds_of(protocols: list[str]) -> list[str]:
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    wanted = protocols or PROTOCOLS
    kinds = {kind for kind, row in SERVICE_TYPES.items() if row.protocol in wanted}
    return [kind for kind, row in SERVICE_TYPES.items() if kind in kinds or row.about in kinds]


class _ScanResult:
    """The devices that one search has found.

    Args:
        query: Host that is asked; None for multicast.
        enough: Picks the devices that end the search, once nothing changes about them.
        progress: Called with each device when it is first seen.
    """

    def __init__(
        self,
        query: str | None,
        enough: Callable[[list[Device]], list[Device]],
        progress: Callable[[Device], object] | None,
    ) -> None:
        self.devices: list[Device] = []
        self.unusable: list[Unusable] = []
        self._query = query
        self._enough = enough
        self._progress = progress
        self._reported: set[str] = set()

    def __call__(self, search: Search) -> list[Device]:
        self.devices, self.unusable = build_devices(
            search.answers.records(), query=self._query, sort=search.sort
        )
        if self._progress is not None:
            for device in self.devices:
                if self._reported.isdisjoint(device.identifiers):
                    self._progress(device)
                self._reported.update(device.identifiers)
        return self._enough(self.devices)

    def left_over(self, search: Search) -> list[Unusable]:
        """What answered, and is none of the devices."""
        known = {name.casefold() for device in self.devices for name in device.names}
        lacking: dict[str, tuple[str, list[str], str]] = {}
        for kind, instance, sender, reason in search.answers.incomplete():
            name = device_name(Record(kind, instance, 0, sender, {})) or instance
            if name.casefold() not in known:
                lacking.setdefault(name, (sender, [], reason))[1].append(kind)
        return self.unusable + [
            Unusable(name, sender, f"with {protocols_of(kinds)} only: it has {reason}")
            for name, (sender, kinds, reason) in lacking.items()
        ]
