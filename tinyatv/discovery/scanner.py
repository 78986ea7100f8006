"""Finding devices: ``mdns.py`` asks the network, ``records.py`` says what the answers mean."""

from __future__ import annotations

import os
import queue
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Callable, Union

from ..deadline import Deadline
from ..errors import DeviceNotFound
from ..model import PROTOCOLS, Device
from .mdns import Answers, Search
from .records import (
    AIRPORT,
    DEVICE_INFO,
    SERVICE_TYPES,
    SLEEP_PROXY,
    Record,
    build_device,
    merge_devices,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCANNED = [kind for kind in SERVICE_TYPES if kind not in (DEVICE_INFO, SLEEP_PROXY)]

_Event = Union[Device, Search, BaseException]  # found; ended; failed


def scan(
    timeout: float = 3.0,
    *,
    hosts: str | Iterable[str] | None = None,
    wanted: str | Iterable[str] | None = None,
    protocols: str | Iterable[str] | None = None,
    progress: Callable[[Device], object] | None = None,
    interfaces: Iterable[str] | None = None,
) -> list[Device]:
    """Look for devices.

    Blocks for the whole `timeout`, unless something ends the scan early: what was `wanted` has
    been found, or every host that was asked has answered and said nothing new for 0.3 s.

    Args:
        timeout: Seconds.
        hosts: Ask these only, by unicast: IPv4 addresses or names, with ``:port`` if it is not
            5353. Without a port, the usual service ports are knocked at too, which wakes a device
            up. None asks the whole network by multicast, or the hosts that the environment variable
            ``TINYATV_SCAN_HOSTS`` names (separated by commas).
        wanted: Name, identifier or address; of several, any will do. It ends the scan but does
            not filter: what else was seen comes behind it.
        protocols: Names of the protocols to look for; None looks for all.
        progress: Called on this thread with each device as soon as it is known. Some of its
            services may still be missing then.
        interfaces: Own addresses to use for multicast; None uses all.

    Returns:
        The devices found. Without a network there are none, which is no error.

    Raises:
        DeviceNotFound: The only host that was given has no address.
        ValueError: A host or protocol cannot be one, or the time is not positive.
    """
    if not timeout > 0:
        raise ValueError(f"timeout must be positive, not {timeout}")
    kinds = _kinds_of(_texts(protocols))
    names = _texts(wanted)
    if hosts is None and interfaces is None and os.environ.get("TINYATV_SCAN_HOSTS"):
        hosts = os.environ["TINYATV_SCAN_HOSTS"].split(",")
    places = None if hosts is None else {one: _place(one) for one in map(str.strip, _texts(hosts))}
    events: queue.SimpleQueue[_Event] = queue.SimpleQueue()

    def called(devices: list[Device]) -> list[Device]:
        return [one for one in devices if any(map(one.is_called, names))]

    results: list[_ScanResult] = []
    searches = []
    if places is None:
        results = [_ScanResult(None, called, events)]
        searches = [Search(kinds, results[0], interfaces=_listed(interfaces))]
    else:
        for query, (host, port) in places.items():
            results.append(_ScanResult(query, lambda devices: devices, events))
            searches.append(Search(kinds, results[-1], host=host, port=port))

    def handle(event: Device | Search) -> None:
        if isinstance(event, Search):
            if any(called(result.devices) for result in results):
                for search in searches:
                    search.stop()
        elif progress is not None:
            progress(event)

    _run_searches(searches, timeout, events, handle)
    if len(searches) == 1 and searches[0].unknown_host:
        raise DeviceNotFound(f"no address is known for {', '.join(places or ())}")
    found = merge_devices(device for result in results for device in result.devices)
    return sorted(found, key=lambda device: not called([device]))


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
        found: Called on another thread with each complete record, and again when it changes; True
            ends the search.

    Returns:
        All complete records.
    """
    records: list[Record] = []

    def news(answers: Answers) -> list[object]:
        known = records[:]
        records[:] = [record for record, _ in answers.records() if record.kind == kind]
        if found is not None and any(found(one) for one in records if one not in known):
            search.stop()
        return []

    search = Search([kind], news, interfaces=_listed(interfaces))
    _run_searches([search], timeout, queue.SimpleQueue(), lambda event: None)
    return records


def _listed(texts: Iterable[str] | None) -> list[str] | None:
    return None if texts is None else _texts(texts)


def _texts(given: str | Iterable[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def _kinds_of(protocols: list[str]) -> list[str]:
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if not protocols:
        return _SCANNED
    # An AirPort Express names its version and address beside its RAOP service.
    extra = AIRPORT if "raop" in protocols else None
    return [kind for kind in _SCANNED if SERVICE_TYPES[kind] in protocols or kind == extra]


def _place(text: str) -> tuple[str, int | None]:
    """Split ``host[:port]``."""
    host, colon, port = text.partition(":")
    if ":" in port:
        raise ValueError(f"not an IPv4 address or host name: {text!r} (IPv6 is not supported)")
    if colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise ValueError(f"not a port: {text!r}")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            socket.inet_pton(socket.AF_INET, host)
        except OSError:
            raise ValueError(f"not an IPv4 address: {text!r}") from None
    elif len(host) > 253 or not re.fullmatch(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?", host):
        raise ValueError(f"not an IPv4 address or host name: {text!r}")
    return host, int(port) if colon else None


class _ScanResult:
    """The devices that one search has seen.

    Args:
        query: Host that is asked; None for multicast.
        enough: Picks the devices that end the search, once nothing changes about them.
        events: Where to put each device when it is first seen.
    """

    def __init__(
        self,
        query: str | None,
        enough: Callable[[list[Device]], list[Device]],
        events: queue.SimpleQueue[_Event],
    ) -> None:
        self.devices: list[Device] = []
        self._query = query
        self._enough = enough
        self._events = events
        self._reported: set[str] = set()

    def __call__(self, answers: Answers) -> list[Device]:
        places: dict[str, list[Record]] = {}
        asleep = set()
        for record, proxied in answers.records():
            places.setdefault(record.address, []).append(record)
            if proxied:
                asleep.add(record.address)
        built = (
            build_device(address, records, deep_sleep=address in asleep, query=self._query)
            for address, records in places.items()
        )
        self.devices = merge_devices(device for device in built if device is not None)
        for device in self.devices:
            if device.address not in self._reported:
                self._reported.add(device.address)
                self._events.put(device)
        return self._enough(self.devices)


def _run_searches(
    searches: list[Search],
    timeout: float,
    events: queue.SimpleQueue[_Event],
    handle: Callable[[Device | Search], object],
) -> None:
    """Run searches side by side; `handle` gets, on this thread, all events but failures."""
    # Threads of our own also where one search would do on this one: zeroconf would hook itself
    # into an asyncio loop that runs here (a notebook), and Ctrl-C could leave it half open.
    deadline = Deadline(timeout)

    def run(search: Search) -> None:
        try:
            search.run(deadline)
        except BaseException as exc:  # raised again by the caller's thread
            events.put(exc)
        else:
            events.put(search)

    threads: list[threading.Thread] = []
    try:
        for number, search in enumerate(searches):
            name = f"tinyatv-scan-{number}"
            thread = threading.Thread(target=run, args=(search,), name=name, daemon=True)
            threads.append(thread)
            thread.start()
        running = len(threads)
        while running:
            try:
                event = events.get(timeout=0.5)  # Windows notices Ctrl-C between two waits only
            except queue.Empty:
                continue
            if isinstance(event, BaseException):
                raise event
            running -= isinstance(event, Search)
            handle(event)
    finally:
        for search in searches:
            search.stop()
        starting = Deadline(1)
        for thread in threads:
            # Ctrl-C while it was being started: it is there, but cannot be waited for yet.
            while not thread.is_alive() and thread in threading.enumerate() and not starting.over:
                time.sleep(0.001)
            if thread.is_alive():
                thread.join()
