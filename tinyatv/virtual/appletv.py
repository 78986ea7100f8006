"""The virtual Apple TV: one state, the device side of every protocol of a profile."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from ..addresses import is_loopback, join_host
from ..errors import CredentialsError, DeviceNotFound, PairingError
from ..model import PASSWORDS, App, Device, DeviceState
from .contents import Item, Player
from .faults import Fault, Faults
from .profiles import PROFILES, SIDES
from .side import Setup
from .state import State

if TYPE_CHECKING:
    from ..discovery import Announcement
    from ..discovery.records import Record
    from ..pairing.accessory import Accessory
    from .airplay import VirtualAirPlay
    from .companion import VirtualCompanion
    from .dmap import VirtualDmap
    from .mrp import VirtualMrp
    from .raop import VirtualRaop
    from .replay import Recording
    from .responder import Responder
    from .side import Side

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
            :attr:`device`, so that no pairing is needed.
        pin: The PIN that it shows, always; None makes up a new one each time.
        seed: Its private key, 32 bytes; None derives it from `identifier`, if that is given.
        protocols: What it speaks; None is what `PROFILES` says, and so is what else it can.
        password: Password that AirPlay asks for; None if it has none.
        replay: File with a trace, see :class:`tinyatv.Trace`: it answers DMAP, MRP and Companion
            with what the device answered there, instead of doing anything itself.

    Attributes:
        state: What it is doing; see :class:`tinyatv.virtual.state.State`.
        faults: How it misbehaves.
        pins: Every PIN that it has shown, in order; see :attr:`pin` for the one on screen.
        pairings: How each pairing ended that it has shown a PIN for: ``"paired"``,
            ``"wrong PIN"`` or ``"given up"``.
        protocols: What it speaks, in this order.
        sides: What serves each protocol, those without a port of their own included.
        dmap, mrp, airplay, companion, raop: Those of `sides`, by name: sessions, quirks, clients,
            and what they were asked; AttributeError if it does not speak that.
        model: ``AppleTV6,2``.
        mac: Its hardware address.
        version: Version of its system.
        build: Build of its system.
        recording: The trace that it replays, or None.

    Raises:
        ValueError: Unknown profile or malformed identifier; nothing in the trace to replay; a
            password without AirPlay.
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
        password: str | None = None,
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
        row = self._row = PROFILES[profile]
        self.profile = profile
        self.protocols, self.model = row.protocols, row.model
        self.version, self.build = row.version, row.build
        if protocols is not None:
            possible = (*row.protocols, *row.beside)
            wanted = set(protocols)
            if not wanted or not wanted <= set(possible):
                raise ValueError(f"{profile} can speak {', '.join(possible)}")
            self.protocols = tuple(one for one in possible if one in wanted)
        if password is not None and not any(one in PASSWORDS for one in self.protocols):
            raise ValueError(f"{profile} takes no password: it does not speak AirPlay")
        self._password = password or None
        own = [one for one in self.protocols if SIDES[one].own_pairing]
        self.host = host
        self.identifier = _checked(identifier or self._recorded(bool(own)), short=bool(own))
        digits = self.identifier.replace("-", "")
        self.mac = ":".join(["02", *(digits[n : n + 2] for n in range(0, 10, 2))])
        self.name = name or f"Virtual Apple TV {self.identifier[:4]}"
        self.home_sharing = _home_sharing_id() if home_sharing is True else home_sharing or None
        self.state = State(self.name, self.identifier)
        self.faults = Faults()
        self.pins: list[str] = []
        self.pairings: list[str] = []
        self._pairing: tuple[int, int] | None = None  # what the accessory had counted before it
        self._accessory: Accessory | None = None
        self._credentials: list[str] = []
        self._wanted_ports = dict(ports or {})
        self._announce = announce
        self._mdns_port = mdns_port
        self._publication: Announcement | None = None
        self._responder: Responder | None = None
        self._prefix = f"{self._kind}-{self.identifier[:4]}"
        if len(own) < len(self.protocols):
            if seed is None and identifier is not None:
                seed = hashlib.sha256(f"virtual {self.identifier}".encode()).digest()
            self._new_accessory(pin, seed, () if own else credentials)
        self.state.absolute_volume = row.absolute_volume
        self.state.relative_volume = row.relative_volume
        if row.several_apps:
            self.state.players.append(paused_podcast())
        self.sides = self._new_sides()
        if credentials is None:
            credentials = (f"0x{secrets.token_hex(8).upper()}",)
        for protocol in own:
            self._accepted(protocol).update(credentials)

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
        if credentials is None and not self._row.pairs:
            credentials = ()
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
        known = self.accessory
        before, self._pairing = self._pairing, None
        if pin is not None:
            self._pairing = known.pairings, known.failures
            self.pins.append(pin)
        elif before is not None and known.pairings > before[0]:
            self.pairings.append("paired")
        elif before is not None:
            self.pairings.append("wrong PIN" if known.failures > before[1] else "given up")
        self.state.notify()

    def _side(self, protocol: str, usual: Callable[[Setup], Side]) -> Callable[[Setup], Side]:
        """What serves a protocol: as usual, or out of a trace."""
        replayed = SIDES[protocol].replay
        if self.recording is None or replayed is None:
            return usual
        module = import_module(f"{SIDES[protocol].module}_replay", __package__)
        return partial(getattr(module, replayed), self.recording)

    def _new_sides(self) -> dict[str, Side]:
        """Sides for all protocols; a tunnel comes behind what it leads to."""
        carried = self._row.carried if self._row.carrier in self.protocols else ()
        inner = [one for one in carried if one not in self.protocols]
        sides: dict[str, Side] = {}
        try:
            for protocol in (*inner, *self.protocols):
                module = import_module(SIDES[protocol].module, __package__)
                new = self._side(protocol, getattr(module, SIDES[protocol].name))
                port = self._wanted_ports.get(protocol, 0) if protocol in self.protocols else None
                sides[protocol] = new(Setup(
                    state=self.state, faults=self.faults, host=self.host, port=port,
                    thread=f"{self._prefix}-{protocol}", profile=self._row, name=self.name,
                    identifier=self.identifier, mac=self.mac, model=self.model,
                    version=self.version, build=self.build, home_sharing=self.home_sharing,
                    accessory=self._accessory, sides=sides, password=self._password,
                ))  # fmt: skip
        except BaseException:
            for side in sides.values():
                side.stop()
            raise
        return sides

    def _accepted(self, protocol: str) -> set[str]:
        accepted = self.sides[protocol].accepted
        assert accepted is not None, "its row says that it pairs by itself"
        return accepted

    def _recorded(self, short: bool) -> str | None:
        """The identifier of the device that is replayed, if it can be ours."""
        found = (self.recording.identifier if self.recording is not None else None) or ""
        return found if _UUID.fullmatch(found.upper()) and not short else None

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> VirtualAppleTV:
        """Open the ports and, if asked to, announce them. Blocks about a second for that."""
        try:
            self.state.start(f"{self._prefix}-clock")
            for side in self.sides.values():
                side.start()
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
        self._stop_sides()
        self.state.stop()
        if self.recording is not None:
            self.recording.close()

    def _stop_sides(self) -> None:
        for side in reversed(list(self.sides.values())):  # tunnels before what they lead to
            side.stop()

    def move(self, port: int = 0) -> None:
        """Do what a reboot does: drop all connections and sessions, come back on another port.

        Args:
            port: Of the first protocol; 0 picks free ones for all.
        """
        self._wanted_ports = {self.protocols[0]: port}
        before = self.sides
        self._stop_sides()
        self.sides = self._new_sides()
        for protocol, side in self.sides.items():
            side.restore_from(before[protocol])
            side.start()
        if self._publication is not None:
            self._publication.close()
            self._publish()

    def _publish(self) -> None:
        from ..discovery import Announcement

        self._publication = Announcement(self.host, quick=is_loopback(self.host))
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

    if TYPE_CHECKING:
        dmap: VirtualDmap
        mrp: VirtualMrp
        airplay: VirtualAirPlay
        companion: VirtualCompanion
        raop: VirtualRaop

    def __getattr__(self, name: str) -> Any:
        """Its sides, by the names of their protocols: ``tv.mrp``.

        Raises:
            AttributeError: It does not speak that.
        """
        if name not in SIDES:
            return object.__getattribute__(self, name)  # raises, with the right words
        if name not in self.sides:
            raise AttributeError(f"{self.profile} does not speak {SIDES[name].title}")
        return self.sides[name]

    @property
    def accessory(self) -> Accessory:
        """Its memory of pairings, one for all protocols: clients, back-off, how it refuses."""
        if self._accessory is None:
            raise AttributeError(f"{self.profile} does not pair by a PIN of its own")
        return self._accessory

    @property
    def is_hap(self) -> bool:
        """True if it pairs by a PIN of its own, over HomeKit's protocol; see :attr:`accessory`."""
        return self._accessory is not None

    @property
    def takes_remotes(self) -> bool:
        """True if remotes show the PIN, and it is typed here; see :meth:`enter_pin`."""
        return any(SIDES[one].own_pairing for one in self.protocols)

    @property
    def pin(self) -> str | None:
        """The PIN on its screen, or None."""
        return None if self._accessory is None else self._accessory.pin_shown

    @property
    def ports(self) -> dict[str, int]:
        """TCP port of each protocol, and ``"mdns"``: UDP port of its own responder."""
        ports = {protocol: self.sides[protocol].port for protocol in self.protocols}
        if self._responder is not None:
            ports["mdns"] = self._responder.port
        return ports

    @property
    def credentials(self) -> dict[str, str]:
        """Credentials of each protocol that are accepted now; empty before pairing."""
        found: dict[str, str] = {}
        for protocol in self.protocols:
            own = self.sides[protocol].accepted
            accepted = self._credentials[:1] if own is None else sorted(own)[:1]
            found.update((protocol, one) for one in accepted)
        return found

    def forget_clients(self) -> None:
        """Forget all pairings. Clients that are connected stay connected."""
        self._credentials.clear()
        for side in self.sides.values():
            if side.accepted is not None:
                side.accepted.clear()
        if self._accessory is not None:
            self._accessory.clients.clear()

    @property
    def device(self) -> Device:
        """The device as a scan would find it, credentials included."""
        from ..discovery.records import build_device

        query = join_host(self.host, self.ports["mdns"]) if self._responder is not None else None
        found = [r._replace(txt={k.lower(): v for k, v in r.txt.items()}) for r in self.records()]
        device = build_device(self.host, found, query=query)
        assert device is not None, "our own records name the device"
        for service in device.services:
            service.credentials = self.credentials.get(service.protocol, service.credentials)
        return device

    def records(self) -> list[Record]:
        """The service records that it publishes."""
        from ..discovery.records import Record

        records = [one for protocol in self.protocols for one in self.sides[protocol].records()]
        info: dict[str, str | None] = {"model": self._row.internal_model}
        kind = "_device-info._tcp.local."
        # RAOP's are called MAC@name
        named = (one.instance for one in records if "@" not in one.instance)
        return [*records, Record(kind, next(named, self.name), 0, self.host, info)]

    # -- shortcuts for tests ---------------------------------------------------------------------

    @property
    def log(self) -> list[str]:
        """Commands that it was given, in order."""
        return self.state.log

    @property
    def requests(self) -> list[Any]:
        """What its main side received, in order: the one that a tunnel leads to, or else the first.

        Names of messages over MRP, through a tunnel as well, and over Companion if it speaks
        nothing else; (method, path) over DMAP and AirPlay.
        """
        return next(iter(self.sides.values())).requests

    def wait_for(self, condition: Callable[[], Any], timeout: float = 5.0) -> bool:
        """Block until `condition()` is true; it is looked at after every request and change.

        Args:
            timeout: Seconds.

        Returns:
            False if it did not become true in time.
        """
        return self.state.wait_for(lambda _: condition(), timeout)

    def fail(self, command: str = "*", **how: Any) -> None:
        """Misbehave once when `command` comes; see :class:`tinyatv.virtual.Fault`."""
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

    def remotes(self, timeout: float) -> list[tuple[str, str]]:
        """The remotes that want to be paired: GUID and name of each. Blocks for `timeout` seconds.

        Raises:
            AppleTVError: The network cannot be searched.
        """
        found = self._browse(timeout, lambda record: False)
        pairs = ((one.txt.get("pair"), one.txt.get("dvnm") or "a remote") for one in found)
        return [(guid, name) for guid, name in pairs if guid]

    def _browse(self, timeout: float, wanted: Callable[[Record], bool]) -> list[Record]:
        from ..discovery import browse
        from ..pairing.dmap import SERVICE_TYPE

        interfaces = ["127.0.0.1"] if is_loopback(self.host) else None
        return browse(SERVICE_TYPE, timeout, interfaces=interfaces, found=wanted)

    def _find_remote(self, name: str | None, timeout: float) -> tuple[str, int, str]:
        def wanted(record: Record) -> bool:
            return bool(record.txt.get("pair")) and name in (None, record.txt.get("dvnm"))

        found = self._browse(timeout, wanted)
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


def _checked(identifier: str | None, short: bool) -> str:
    """An identifier in capitals; None makes one up."""
    if not short:
        text = (identifier or _uuid()).upper()
        if not _UUID.fullmatch(text):
            raise ValueError(f"an identifier is a UUID, not {identifier!r}")
        return text
    text = (identifier or secrets.token_hex(8)).upper()
    if len(text) != 16:
        raise ValueError(f"an identifier has 16 hex digits, not {identifier!r}")
    return text


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
