"""A home on loopback: devices that keep who they are and change where they are."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

import tinyatv
from tinyatv.virtual import VirtualAppleTV

SHARING = "6b1a2f3c-1d2e-4f50-8a9b-0c1d2e3f4a5b"  # Home Sharing id of whoever lives here

PIN = "1234"  # what all of them show
KINDS = {
    # what a device speaks: profile, protocols, Home Sharing
    "pairing": ("atv3", None, False),
    "sharing": ("atv3", None, SHARING),
    "mrp": ("tvos14", None, False),
    "unpaired mrp": ("tvos14", ["mrp"], False),
    "tunnel": ("tvos18", None, False),
    "companion": ("tvos18", ["companion"], False),
    "airplay 1": ("airplay1", None, False),
    "homepod": ("homepod", None, False),
}


class Resident:
    """A device; :attr:`tv` is what it is now, at the place where it is.

    Args:
        kind: One of ``KINDS``.
        name: What it is called.
    """

    def __init__(self, kind: str, name: str) -> None:
        profile, protocols, sharing = KINDS[kind]
        self.kind = kind
        self.name = name
        self._how = {"profile": profile, "protocols": protocols, "home_sharing": sharing}
        if sharing:
            self._how["credentials"] = ()
        if profile != "atv3":
            self._how["pin"] = PIN
        # Before it is anywhere: who it is, and what it was paired with.
        made = VirtualAppleTV(name, **self._how)
        made.stop()
        self._how["identifier"] = made.identifier
        if kind == "unpaired mrp":
            self._how["credentials"] = ()
        elif "credentials" not in self._how:
            self._how["credentials"] = tuple(dict.fromkeys(made.credentials.values())) or None
        if made._accessory is not None:
            self._how["seed"] = made.accessory.identity.seed
        self.identifiers = made.identifier, made.mac
        self.tv: VirtualAppleTV | None = None

    def at(self, place: Place, *, announce: bool = False) -> VirtualAppleTV:
        """Be there from now on."""
        self.leave()
        how = dict(self._how)
        mdns = None if announce else place.ports["mdns"]
        ports = {key: port for key, port in place.ports.items() if key != "mdns"}
        self.tv = VirtualAppleTV(
            self.name, host=place.host, ports=ports, mdns_port=mdns, announce=announce, **how
        )
        return self.tv.start()

    def leave(self) -> None:
        if self.tv is not None:
            self.tv.stop()

    @property
    def log(self) -> list[str]:
        return self.tv.log


class Place:
    """An address, with ports that any device there uses."""

    def __init__(self, host: str, ports: dict[str, int]) -> None:
        self.host = host
        self.ports = ports

    @property
    def query(self) -> str:
        return f"{self.host}:{self.ports['mdns']}"


class Home:
    """Places, and who lives there; all have the same ports, as real devices may."""

    def __init__(self, places: int = 3) -> None:
        network = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"
        hosts = [f"{network}.{number}" for number in range(2, 2 + places)]
        protocols = ("dmap", "mrp", "airplay", "companion", "mdns")
        ports = dict(zip(protocols, _free(hosts, len(protocols))))
        self.places = [Place(host, ports) for host in hosts]
        self.residents: list[Resident] = []

    @property
    def hosts(self) -> str:
        """For TINYATV_SCAN_HOSTS."""
        return ",".join(place.query for place in self.places)

    def add(self, kind: str, name: str, place: int) -> Resident:
        resident = Resident(kind, name)
        self.residents.append(resident)
        resident.at(self.places[place])
        return resident

    def swap(self, one: Resident, other: Resident) -> None:
        """Each gets the address of the other; both begin a new log."""
        places = [self._place(resident) for resident in (one, other)]
        one.leave()
        other.leave()
        one.at(places[1])
        other.at(places[0])

    def _place(self, resident: Resident) -> Place:
        (place,) = [one for one in self.places if one.host == resident.tv.host]
        return place

    def close(self) -> None:
        for resident in self.residents:
            resident.leave()


def _free(hosts: Iterable[str], count: int) -> list[int]:
    """Ports that are free at all addresses."""
    found: list[int] = []
    while len(found) < count:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        try:
            for host in hosts:
                socket.create_server((host, port)).close()
        except OSError:
            continue
        if port not in found:
            found.append(port)
    return found


def keys(store: tinyatv.Store, resident: Resident) -> dict[str, str | None]:
    """The credentials that are stored for a device."""
    device = store.find(resident.tv.device.identifier)
    return {service.protocol: service.credentials for service in device.services}
