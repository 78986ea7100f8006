"""The virtual Apple TV: one state, the device side of every protocol of a profile."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from ..errors import CredentialsError, DeviceNotFound, PairingError
from ..model import App, Device, DeviceState
from .contents import Item, Player
from .dmap import VirtualDmap
from .server import Fault, Faults
from .state import State

if TYPE_CHECKING:
    from ..discovery import Announcement
    from ..discovery.records import Record
    from ..pairing.accessory import Accessory
    from .airplay import VirtualAirPlay
    from .companion import VirtualCompanion
    from .mrp import VirtualMrp
    from .replay import Recording
    from .responder import Responder

PROFILES = {
    # name: (protocols, model, internal model, system version, build)
    "atv3": (("dmap",), "AppleTV3,2", "J33IAP", "8.4.4", "12H1006"),
    "airplay1": (("airplay",), "AppleTV3,2", "J33IAP", "8.4.4", "12H1006"),
    "tvos14": (("mrp", "companion"), "AppleTV6,2", "J105aAP", "14.7", "18M60"),
    "tvos15": (("airplay", "companion"), "AppleTV6,2", "J105aAP", "15.0", "19J346"),
    "tvos18": (("airplay", "companion"), "AppleTV14,1", "J255AP", "18.1", "22J580"),
    "tvos26": (("airplay", "companion"), "AppleTV14,1", "J255AP", "26.5", "23L501"),
    "tvos27": (("airplay", "companion"), "AppleTV14,1", "J255AP", "27.0", "24J301"),
    "homepod": (("airplay",), "AudioAccessory5,1", "B520AP", "18.1", "22J580"),
}

BESIDE = {"atv3": ("airplay",), "tvos14": ("airplay",)}
"""What devices of a profile speak, too; the virtual ones only if they are told to."""

_WITHOUT_MRP = ("atv3", "airplay1")
_PIN_PROFILES = ("airplay1", "tvos14", "tvos15", "tvos18", "tvos26", "tvos27")

_UUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")


class VirtualAppleTV:
    """The device side of an Apple TV, for trying things out and for tests.

    ::

        with VirtualAppleTV() as tv, tinyatv.connect(tv.device) as atv:
            atv.pause()
            assert tv.log == ["pause"]

    Args:
        name: What it is called; None makes one up.
        profile: Which generation, see ``PROFILES``; None is ``atv3``, or what fits `replay`.
        host: Own address to listen on; only this machine reaches the default.
        ports: TCP port per protocol; a missing one or 0 picks a free port.
        announce: Announce it by multicast DNS, so that scans find it.
        mdns_port: UDP port of an own responder for directed queries, which needs no multicast:
            0 picks a free one, None does without.
        identifier: What stays the same over restarts, and with it the key that the device proves
            itself with: 16 hex digits (``atv3``) or a UUID (all others). None makes it up.
        home_sharing: Home Sharing id that logs in without pairing; True makes one up.
        credentials: What is accepted from the start: DMAP pairing GUIDs (``0x`` and 16 hex
            digits), or HAP credentials of this very device. None makes one up and puts it into
            :attr:`device`, so that nobody has to pair.
        pin: The PIN that it shows, always; None makes up a new one each time.
        seed: Its private key, 32 bytes; None derives it from `identifier`, if that is given.
        protocols: What it speaks; None is what `PROFILES` says. `BESIDE` says what else it can.
        replay: File with a trace, see :class:`tinyatv.Trace`: it answers DMAP, MRP and Companion
            with what the device answered there, instead of doing anything itself.

    Attributes:
        state: What it is doing; see :class:`tinyatv.virtual.state.State`.
        faults: How it misbehaves.
        pins: Every PIN that it has shown, in order; see :attr:`pin` for the one on screen.
        protocols: What it speaks, in this order.
        model: ``AppleTV6,2``.
        mac: Its hardware address.
        version: Version of its system.
        build: Build of its system.
        recording: The trace that it replays, or None.

    Raises:
        ValueError: Unknown profile or malformed identifier; nothing in the trace to replay.
        CredentialsError: Malformed credentials, or those of another device.
        OSError: A port is taken.
    """

    _kind = "virtual"  # what the names of its threads begin with

    def __init__(
        self,
        name: str | None = None,
        *,
        profile: str | None = None,
        host: str = "127.0.0.1",
        ports: dict[str, int] | None = None,
        announce: bool = False,
        mdns_port: int | None = None,
        identifier: str | None = None,
        home_sharing: str | bool = False,
        credentials: tuple[str, ...] | None = None,
        pin: str | None = None,
        seed: bytes | None = None,
        protocols: Iterable[str] | None = None,
        replay: str | os.PathLike[str] | None = None,
    ) -> None:
        self.recording: Recording | None = None
        if replay is not None:
            from .replay import Recording

            self.recording = Recording(replay)
            protocols = protocols or self.recording.protocols
        if profile is None:
            profile = "atv3" if self.recording is None else self.recording.profile
        if profile not in PROFILES:
            raise ValueError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}")
        self.profile = profile
        self.protocols, self.model, self._internal, self.version, self.build = PROFILES[profile]
        if protocols is not None:
            possible = (*self.protocols, *BESIDE.get(profile, ()))
            wanted = set(protocols)
            if not wanted or not wanted <= set(possible):
                raise ValueError(f"{profile} can speak {', '.join(possible)}")
            self.protocols = tuple(one for one in possible if one in wanted)
        self.host = host
        self.identifier = self._checked(identifier)
        digits = self.identifier.replace("-", "")
        self.mac = ":".join(["02", *(digits[n : n + 2] for n in range(0, 10, 2))])
        self.name = name or f"Virtual Apple TV {self.identifier[:4]}"
        self.home_sharing = _home_sharing_id() if home_sharing is True else home_sharing or None
        self.state = State(self.name, self.identifier)
        self.faults = Faults()
        self.pins: list[str] = []
        self._accessory: Accessory | None = None
        self._credentials: list[str] = []
        self._wanted_ports = dict(ports or {})
        self._announce = announce
        self._mdns_port = mdns_port
        self._publication: Announcement | None = None
        self._responder: Responder | None = None
        self._prefix = f"{self._kind}-{self.identifier[:4]}"
        self._dmap: VirtualDmap | None = None
        self._mrp: VirtualMrp | None = None
        self._airplay: VirtualAirPlay | None = None
        self._companion: VirtualCompanion | None = None
        hap: tuple[str, ...] | None = ()
        if "dmap" in self.protocols:
            self._dmap = self._new_dmap()
            if credentials is None:
                credentials = (f"0x{secrets.token_hex(8).upper()}",)
            self._dmap.accepted.update(credentials)
        elif profile in _PIN_PROFILES:
            hap = credentials
        if self.protocols != ("dmap",):
            if pin is not None and not re.fullmatch(r"[0-9]{4}", pin):
                raise ValueError(f"a PIN has four digits, not {pin!r}")
            if seed is None and identifier is not None:
                seed = hashlib.sha256(f"virtual {self.identifier}".encode()).digest()
            self._new_accessory(pin, seed, hap)
        if profile not in _WITHOUT_MRP:
            self.state.absolute_volume = True
            self.state.relative_volume = profile != "homepod"
            self.state.players.append(paused_podcast())
            self._mrp = self._new_mrp()
        if "airplay" in self.protocols:
            self._airplay = self._new_airplay()
        if "companion" in self.protocols:
            self._companion = self._new_companion()

    def _checked(self, identifier: str | None) -> str:
        if "dmap" not in self.protocols:
            text = (identifier or _uuid()).upper()
            if not _UUID.fullmatch(text):
                raise ValueError(f"an identifier is a UUID, not {identifier!r}")
            return text
        text = (identifier or secrets.token_hex(8)).upper()
        if len(text) != 16:
            raise ValueError(f"an identifier has 16 hex digits, not {identifier!r}")
        return text

    def _new_accessory(
        self, pin: str | None, seed: bytes | None, credentials: tuple[str, ...] | None
    ) -> None:
        from ..pairing.accessory import Accessory
        from ..pairing.credentials import Credentials, parse
        from ..pairing.hap import Identity
        from ..wire import opack

        identity = Identity(self.identifier.encode(), seed)
        info = opack.pack({"name": self.name, "model": self.model})
        self._accessory = Accessory(identity, pin=pin, show=self._pin_shown, info=info)
        if credentials is None and self.profile == "airplay1":
            credentials = ()  # it needs none
        if credentials is None:
            mine, client = secrets.token_bytes(32), _uuid().lower().encode()
            credentials = (str(Credentials(identity.public, mine, identity.identifier, client)),)
        for text in credentials:
            given = parse(text)
            if given.kind == "legacy":
                legacy_key = Identity(given.client_id, given.seed).public
                self._accessory.remember(legacy_key, legacy_key)
                self._credentials.append(text)
                continue
            known = given.device_key, given.device_id
            if given.kind != "hap" or known != (identity.public, identity.identifier):
                raise CredentialsError("these are not credentials for this device")
            client_key = Identity(given.client_id, given.seed).public
            self._accessory.remember(given.client_id, client_key)
            self._credentials.append(text)

    def _pin_shown(self, pin: str | None) -> None:
        if pin is not None:
            self.pins.append(pin)
        self.state.notify()

    def _side(self, protocol: str, usual: Callable[..., Any]) -> Callable[..., Any]:
        """What serves a protocol: as usual, or out of a trace."""
        if self.recording is None:
            return usual
        from .replay import SIDES

        side = SIDES.get(protocol)
        return usual if side is None else partial(side, self.recording)

    def _new_dmap(self) -> VirtualDmap:
        dmap: VirtualDmap = self._side("dmap", VirtualDmap)(
            self.state, self.faults, self.host, self._wanted_ports.get("dmap", 0),
            f"{self._prefix}-dmap", self.identifier,
        )  # fmt: skip
        if self.home_sharing:
            dmap.accepted.add(self.home_sharing)
        return dmap

    def _new_mrp(self) -> VirtualMrp:
        from .mrp import VirtualMrp
        from .mrp_about import About

        about = About(self.identifier, self.model, self.build, self.mac)
        port = self._wanted_ports.get("mrp", 0) if "mrp" in self.protocols else None
        mrp: VirtualMrp = self._side("mrp", VirtualMrp)(
            self.state, self.faults, self.host, port, f"{self._prefix}-mrp", self.accessory, about
        )
        return mrp

    def _new_airplay(self) -> VirtualAirPlay:
        from .airplay import VirtualAirPlay
        from .airplay_about import AirPlayAbout

        about = AirPlayAbout(
            self.profile, self.identifier, self.mac, self.model, self.version,
            self.accessory.identity.public,
        )  # fmt: skip
        airplay: VirtualAirPlay = self._side("airplay", VirtualAirPlay)(
            self.state, self.faults, self.host, self._wanted_ports.get("airplay", 0),
            f"{self._prefix}-airplay", self.accessory, about, self._mrp,
        )  # fmt: skip
        return airplay

    def _new_companion(self) -> VirtualCompanion:
        from .companion import VirtualCompanion
        from .companion_about import CompanionAbout

        about = CompanionAbout(self.profile, self.identifier, self.mac, self.model)
        companion: VirtualCompanion = self._side("companion", VirtualCompanion)(
            self.state, self.faults, self.host, self._wanted_ports.get("companion", 0),
            f"{self._prefix}-companion", self.accessory, about,
        )  # fmt: skip
        return companion

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> VirtualAppleTV:
        """Open the ports and, if asked to, announce them. Blocks about a second for that."""
        try:
            self.state.start(f"{self._prefix}-clock")
            if self._dmap is not None:
                self._dmap.server.start()
            if self._mrp is not None:
                self._mrp.start()
            if self._airplay is not None:
                self._airplay.start()
            if self._companion is not None:
                self._companion.start()
            if self._mdns_port is not None:
                from .responder import Responder

                self._responder = Responder(self.records, self.host, self._mdns_port)
                self._responder.start()
            if self._announce:
                self._publish()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Withdraw it, drop all connections, join all threads. Safe to call twice."""
        if self._publication is not None:
            self._publication.close()
        if self._responder is not None:
            self._responder.close()
        if self._dmap is not None:
            self._dmap.server.stop()
        if self._airplay is not None:
            self._airplay.stop()
        if self._mrp is not None:
            self._mrp.stop()
        if self._companion is not None:
            self._companion.stop()
        self.state.stop()
        if self.recording is not None:
            self.recording.close()

    def move(self, port: int = 0) -> None:
        """Do what a reboot does: drop everybody, forget sessions, come back on another port.

        Args:
            port: Of the first protocol; 0 picks free ones for all.
        """
        self._wanted_ports = {self.protocols[0]: port}
        if self._dmap is not None:
            old = self._dmap
            old.server.stop()
            self._dmap = self._new_dmap()
            self._dmap.accepted, self._dmap.strict = old.accepted, old.strict
            self._dmap.server.start()
        if self._airplay is not None:
            self._airplay.stop()
        if self._mrp is not None:
            before = self._mrp
            before.stop()
            self._mrp = self._new_mrp()
            self._mrp.take_over(before)
            self._mrp.start()
        if self._airplay is not None:
            airplay = self._airplay
            self._airplay = self._new_airplay()
            self._airplay.take_over(airplay)
            self._airplay.start()
        if self._companion is not None:
            companion = self._companion
            companion.stop()
            self._companion = self._new_companion()
            self._companion.take_over(companion)
            self._companion.start()
        if self._publication is not None:
            self._publication.close()
            self._publish()

    def _publish(self) -> None:
        from ..discovery import Announcement

        self._publication = Announcement(self.host, quick=self.host.startswith("127."))
        for record in self.records():
            self._publication.add(record.kind, record.instance, record.port, record.txt)

    def __enter__(self) -> VirtualAppleTV:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- what it offers --------------------------------------------------------------------------

    @property
    def dmap(self) -> VirtualDmap:
        """Its DMAP side: sessions, accepted credentials, strictness."""
        if self._dmap is None:
            raise AttributeError(f"{self.profile} does not speak DMAP")
        return self._dmap

    @property
    def mrp(self) -> VirtualMrp:
        """Its MRP side: who is connected, oddities, whether pairing is needed."""
        if self._mrp is None:
            raise AttributeError(f"{self.profile} does not speak MRP")
        return self._mrp

    @property
    def airplay(self) -> VirtualAirPlay:
        """Its AirPlay side: sessions, the player of URLs, password, oddities."""
        if self._airplay is None:
            raise AttributeError(f"{self.profile} does not speak AirPlay")
        return self._airplay

    @property
    def companion(self) -> VirtualCompanion:
        """Its Companion side: sessions, touches, what was said to Siri, oddities."""
        if self._companion is None:
            raise AttributeError(f"{self.profile} does not speak Companion")
        return self._companion

    @property
    def accessory(self) -> Accessory:
        """Its memory of pairings, one for all protocols: clients, back-off, how it refuses."""
        if self._accessory is None:
            raise AttributeError(f"{self.profile} does not pair by a PIN of its own")
        return self._accessory

    @property
    def pin(self) -> str | None:
        """The PIN on its screen, or None."""
        return None if self._accessory is None else self._accessory.pin_shown

    @property
    def ports(self) -> dict[str, int]:
        """TCP port of each protocol, and ``"mdns"``: UDP port of its own responder."""
        ports = {}
        if self._dmap is not None:
            ports["dmap"] = self._dmap.server.port
        if self._mrp is not None and "mrp" in self.protocols:
            ports["mrp"] = self._mrp.port
        if self._airplay is not None:
            ports["airplay"] = self._airplay.port
        if self._companion is not None:
            ports["companion"] = self._companion.port
        if self._responder is not None:
            ports["mdns"] = self._responder.port
        return ports

    @property
    def credentials(self) -> dict[str, str]:
        """Credentials of each protocol that are accepted now; empty before pairing."""
        if self._dmap is not None:
            return {"dmap": sorted(self._dmap.accepted)[0]} if self._dmap.accepted else {}
        return {name: self._credentials[0] for name in self.protocols if self._credentials}

    def forget_clients(self) -> None:
        """Forget everybody who is paired. Those who are connected stay connected."""
        self._credentials.clear()
        if self._dmap is not None:
            self._dmap.accepted.clear()
        if self._accessory is not None:
            self._accessory.clients.clear()

    @property
    def device(self) -> Device:
        """The device as a scan would find it, credentials included."""
        from ..discovery.records import build_device

        query = f"{self.host}:{self.ports['mdns']}" if self._responder is not None else None
        found = [r._replace(txt={k.lower(): v for k, v in r.txt.items()}) for r in self.records()]
        device = build_device(self.host, found, query=query)
        assert device is not None, "our own records name the device"
        for service in device.services:
            service.credentials = self.credentials.get(service.protocol, service.credentials)
        return device

    def records(self) -> list[Record]:
        """The service records that it publishes."""
        from ..discovery.records import Record

        records = []
        info: dict[str, str | None] = {"model": self._internal}
        instance = self.identifier
        if self._dmap is not None:
            records += self._dmap_records(self._dmap.server.port)
        else:
            instance = self.name
        if self._mrp is not None and "mrp" in self.protocols:
            pairing = self._mrp.about.allows_pairing
            txt: dict[str, str | None] = {
                "Name": self.name, "ModelName": "Apple TV", "UniqueIdentifier": self.identifier,
                "SystemBuildVersion": self.build, "AllowPairing": "YES" if pairing else "NO",
                "macAddress": self.mac.lower(),
            }  # fmt: skip
            kind = "_mediaremotetv._tcp.local."
            records.append(Record(kind, instance, self._mrp.port, self.host, txt))
        if self._airplay is not None:
            active = self._airplay.player.load_now is not None
            airplay = self._airplay.about.txt(active)
            port = self._airplay.port
            records.append(Record("_airplay._tcp.local.", self.name, port, self.host, airplay))
        if self._companion is not None:
            kind, port = "_companion-link._tcp.local.", self._companion.port
            records.append(Record(kind, self.name, port, self.host, self._companion.about.txt()))
        records.append(Record("_device-info._tcp.local.", instance, 0, self.host, info))
        return records

    def _dmap_records(self, port: int) -> list[Record]:
        from ..discovery.records import Record

        touch: dict[str, str | None] = {
            "CtlN": self.name, "DbId": self.identifier, "DvTy": "AppleTV", "DvSv": "1792",
            "Ver": "131077", "atSV": "65541", "atCV": "65539", "txtvers": "1",
        }  # fmt: skip
        records = [Record("_touch-able._tcp.local.", self.identifier, port, self.host, touch)]
        if self.home_sharing:
            sharing: dict[str, str | None] = {"Name": self.name, "hG": self.home_sharing}
            kind = "_appletv-v2._tcp.local."
            records.append(Record(kind, self.identifier, port, self.host, sharing))
        return records

    # -- shortcuts for tests ---------------------------------------------------------------------

    @property
    def log(self) -> list[str]:
        """Commands that it was given, in order."""
        return self.state.log

    @property
    def requests(self) -> list[Any]:
        """What it received, in order.

        Names of messages over Companion if it speaks nothing else; over MRP, through a tunnel as
        well; else (method, path) over DMAP, or over AirPlay if there is no DMAP.
        """
        if self._companion is not None and len(self.protocols) == 1:
            return self._companion.requests
        if self._mrp is not None:
            return self._mrp.requests
        return self.airplay.requests if self._dmap is None else self._dmap.server.requests

    def wait_for(self, condition: Callable[[], Any], timeout: float = 5.0) -> bool:
        """Block until `condition()` is true; it is looked at after every request and change.

        Args:
            timeout: Seconds.

        Returns:
            False if it did not become true in time.
        """
        return self.state.wait_for(lambda _: condition(), timeout)

    def fail(self, command: str = "*", **how: Any) -> None:
        """Misbehave once when `command` comes; see :class:`tinyatv.virtual.server.Fault`."""
        self.faults.add(Fault(command, **how))

    def enter_pin(
        self, pin: str | int, remote: str | tuple[str, int, str] | None = None, timeout: float = 5.0
    ) -> None:
        """Do what a person does in front of the TV: pick a remote and type its PIN.

        Args:
            pin: The PIN that the remote shows.
            remote: Name of the remote; None takes the first that is found; (address, port, guid)
                does without looking for it.
            timeout: Seconds to look for it.

        Raises:
            DeviceNotFound: There is no such remote.
            PairingError: The PIN is wrong.
            ConnectionFailed: The remote does not answer.
        """
        if not isinstance(remote, tuple):
            remote = self._find_remote(remote, timeout)
        self.dmap.pair(*remote, pin)

    def _find_remote(self, name: str | None, timeout: float) -> tuple[str, int, str]:
        from ..discovery import browse
        from ..pairing.dmap import SERVICE_TYPE

        def wanted(record: Record) -> bool:
            return bool(record.txt.get("pair")) and name in (None, record.txt.get("dvnm"))

        interfaces = ["127.0.0.1"] if self.host.startswith("127.") else None
        found = browse(SERVICE_TYPE, timeout, interfaces=interfaces, found=wanted)
        for record in found:
            if wanted(record):
                return record.address, record.port, record.txt["pair"] or ""
        names = ", ".join(sorted(record.txt.get("dvnm") or "?" for record in found)) or "none"
        raise DeviceNotFound(f"no remote called {name!r} wants to be paired; found: {names}")

    def accept_pin(self, pin: str | int, stop: threading.Event) -> bool:
        """Try `pin` on every remote that shows up until one takes it or `stop` is set."""
        tried: set[str] = set()
        while not stop.is_set():
            try:
                remote = self._find_remote(None, 2.0)
                if remote[2] not in tried:
                    tried.add(remote[2])
                    self.dmap.pair(*remote, pin)
                    return True
            except (DeviceNotFound, PairingError, ConnectionError):
                pass
            stop.wait(0.5)
        return False


def paused_podcast() -> Player:
    """What another app than the one that plays has to say: clients are told of all of them."""
    episode = Item("Episode 7", "The Port Authority", "Knocking", "Technology", 1860)
    return Player(
        [episode], App("Podcasts", "com.apple.podcasts"), device_state=DeviceState.Paused,
        position=333, identifier="avkit-5C1B7C1E-3A54-4A61-9D0B-0A3D7A6E1F52", name="player-1",
    )  # fmt: skip


def _home_sharing_id() -> str:
    return _uuid().lower()


def _uuid() -> str:
    digits = secrets.token_hex(16).upper()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
