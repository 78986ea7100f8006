"""Finding devices, and announcing what others shall find.

``scan()`` makes devices out of what ``mdns.py`` hears on the network; ``records.py`` says what it
means. ``publish()`` announces services by means of the ``zeroconf`` package.
"""

from __future__ import annotations

import os
import queue
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Callable, Union

from .deadline import Deadline
from .errors import AppleTVError, DeviceNotFound
from .link import reason
from .mdns import PORT, Answers, Search, close_zeroconf, port_is_shared
from .model import PROTOCOLS, Device
from .records import (
    AIRPORT,
    DEVICE_INFO,
    SERVICE_TYPES,
    SLEEP_PROXY,
    Record,
    build_device,
    encode_txt,
    merge_devices,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zeroconf import Zeroconf

_SCANNED = [kind for kind in SERVICE_TYPES if kind not in (DEVICE_INFO, SLEEP_PROXY)]

_PROBE = 0.5  # seconds to wait for somebody who owns a name

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
            ``TINYATV_SCAN_HOSTS`` names (with commas between).
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

    sights: list[_Sight] = []
    searches = []
    if places is None:
        sights = [_Sight(None, called, events)]
        searches = [Search(kinds, sights[0], interfaces=_listed(interfaces))]
    else:
        for query, (host, port) in places.items():
            sights.append(_Sight(query, lambda devices: devices, events))
            searches.append(Search(kinds, sights[-1], host=host, port=port))

    def handle(event: Device | Search) -> None:
        if isinstance(event, Search):
            if any(called(sight.devices) for sight in sights):
                for search in searches:
                    search.stop()
        elif progress is not None:
            progress(event)

    _conduct(searches, timeout, events, handle)
    if len(searches) == 1 and searches[0].unknown_host:
        raise DeviceNotFound(f"no address is known for {', '.join(places or ())}")
    found = merge_devices(device for sight in sights for device in sight.devices)
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
    _conduct([search], timeout, queue.SimpleQueue(), lambda event: None)
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


class _Sight:
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


def _conduct(
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


def publish(
    kind: str,
    instance: str,
    port: int,
    address: str,
    properties: Mapping[str, str | bytes | None],
    *,
    server: str | None = None,
    quick: bool = False,
) -> Publication:
    """Announce one service; see :class:`Publication`."""
    publication = Publication(address, quick=quick)
    try:
        publication.add(kind, instance, port, properties, server=server)
    except BaseException:
        publication.close()
        raise
    return publication


class Publication:
    """Services that are announced on the local network until :meth:`close`.

    Args:
        address: IPv4 address of the services. It also chooses the network: for 127.x nothing leaves
            this machine, and an address that is not ours (in a container, that of its host) is
            announced on all interfaces.
        quick: Announce without asking first whether a name is taken, 0.5 s instead of 1 s each.

    Raises:
        ValueError: Not an IPv4 address.
    """

    def __init__(self, address: str, *, quick: bool = False) -> None:
        try:
            socket.inet_pton(socket.AF_INET, address)
        except OSError:
            raise ValueError(f"not an IPv4 address: {address!r}") from None
        self.address = address
        self._quick = quick
        # One host name for all services, unlike that of anybody else: withdrawing a name that
        # another publication uses would take its address away.
        self._server = f"tinyatv-{os.urandom(4).hex()}.local."
        self._interfaces: list[str] | None = [address]
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
        import zeroconf

        try:
            info = zeroconf.ServiceInfo(
                kind,
                f"{instance}.{kind}",
                port=port,
                addresses=[socket.inet_aton(self.address)],
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

    def __enter__(self) -> Publication:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        if not port_is_shared():
            raise AppleTVError(f"cannot announce: another program has UDP port {PORT} for itself")
        failed: list[BaseException] = []
        # On a thread of its own, or it would hook itself into an asyncio loop that runs here.
        thread = threading.Thread(target=self._start, args=(failed,), name="tinyatv-publish")
        thread.start()
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
            self._zeroconf = Zeroconf(
                interfaces=self._interfaces or InterfaceChoice.All, ip_version=IPVersion.V4Only
            )
        except (OSError, RuntimeError) as exc:
            failed.append(exc)


def _is_ours(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True
