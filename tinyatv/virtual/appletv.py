"""The virtual Apple TV: one state, the device side of every protocol of a profile."""

from __future__ import annotations

import secrets
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

from ..errors import DeviceNotFound, PairingError
from ..model import Device
from .dmap import VirtualDmap
from .server import Fault, Faults
from .state import State

if TYPE_CHECKING:
    from ..discovery import Publication
    from ..records import Record
    from .responder import Responder

PROFILES = {
    # name: (protocols, model, internal model, system version)
    "atv3": (("dmap",), "AppleTV3,2", "J33IAP", "8.4.4"),
}


class VirtualAppleTV:
    """The device side of an Apple TV, for trying things out and for tests.

    ::

        with VirtualAppleTV() as tv, tinyatv.connect(tv.device) as atv:
            atv.pause()
            assert tv.log == ["pause"]

    Args:
        name: What it is called; None makes one up.
        profile: Which generation, see ``PROFILES``.
        host: Own address to listen on; only this machine reaches the default.
        ports: TCP port per protocol; a missing one or 0 picks a free port.
        announce: Announce it by multicast DNS, so that scans find it.
        mdns_port: UDP port of an own responder for directed queries, which needs no multicast:
            0 picks a free one, None does without.
        identifier: 16 hex digits that stay the same over restarts; None makes them up.
        home_sharing: Home Sharing id that logs in without pairing; True makes one up.
        credentials: DMAP pairing GUIDs (``0x`` and 16 hex digits) that are accepted from the
            start. None makes one up and puts it into :attr:`device`, so that nobody has to pair.

    Attributes:
        state: What it is doing; see :class:`tinyatv.virtual.state.State`.
        faults: How it misbehaves.
        dmap: Its DMAP side: sessions, accepted credentials, strictness.

    Raises:
        ValueError: Unknown profile or malformed identifier.
        OSError: A port is taken.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        profile: str = "atv3",
        host: str = "127.0.0.1",
        ports: dict[str, int] | None = None,
        announce: bool = False,
        mdns_port: int | None = None,
        identifier: str | None = None,
        home_sharing: str | bool = False,
        credentials: tuple[str, ...] | None = None,
    ) -> None:
        if profile not in PROFILES:
            raise ValueError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}")
        self.profile = profile
        self.host = host
        self.identifier = (identifier or secrets.token_hex(8)).upper()
        if len(self.identifier) != 16:
            raise ValueError(f"an identifier has 16 hex digits, not {identifier!r}")
        self.name = name or f"Virtual Apple TV {self.identifier[:4]}"
        self.home_sharing = _home_sharing_id() if home_sharing is True else home_sharing or None
        self.state = State(self.name)
        self.faults = Faults()
        self._credentials = credentials
        if credentials is None:
            self._credentials = (f"0x{secrets.token_hex(8).upper()}",)
        self._wanted_ports = dict(ports or {})
        self._announce = announce
        self._mdns_port = mdns_port
        self._publication: Publication | None = None
        self._responder: Responder | None = None
        self._prefix = f"virtual-{self.identifier[:4]}"
        self.dmap = self._new_dmap()

    def _new_dmap(self) -> VirtualDmap:
        dmap = VirtualDmap(
            self.state, self.faults, self.host, self._wanted_ports.get("dmap", 0),
            f"{self._prefix}-dmap", self.identifier,
        )  # fmt: skip
        dmap.accepted.update(self._credentials or ())
        if self.home_sharing:
            dmap.accepted.add(self.home_sharing)
        return dmap

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> VirtualAppleTV:
        """Open the ports and, if asked to, announce them. Blocks about a second for that."""
        try:
            self.state.start(f"{self._prefix}-clock")
            self.dmap.server.start()
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
        self.dmap.server.stop()
        self.state.stop()

    def move(self, port: int = 0) -> None:
        """Do what a reboot does: drop everybody, forget sessions, come back on another port."""
        accepted, strict = self.dmap.accepted, self.dmap.strict
        self.dmap.server.stop()
        self._wanted_ports["dmap"] = port
        self.dmap = self._new_dmap()
        self.dmap.accepted, self.dmap.strict = accepted, strict
        self.dmap.server.start()
        if self._publication is not None:
            self._publication.close()
            self._publish()

    def _publish(self) -> None:
        from ..discovery import Publication

        self._publication = Publication(self.host, quick=self.host.startswith("127."))
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
    def ports(self) -> dict[str, int]:
        """TCP port of each protocol, and ``"mdns"``: UDP port of its own responder."""
        ports = {"dmap": self.dmap.server.port}
        if self._responder is not None:
            ports["mdns"] = self._responder.port
        return ports

    @property
    def credentials(self) -> dict[str, str]:
        """Credentials of each protocol that are accepted now; empty before pairing."""
        return {"dmap": sorted(self.dmap.accepted)[0]} if self.dmap.accepted else {}

    @property
    def device(self) -> Device:
        """The device as a scan would find it, credentials included."""
        from ..records import build_device

        query = f"{self.host}:{self.ports['mdns']}" if self._responder is not None else None
        found = [r._replace(txt={k.lower(): v for k, v in r.txt.items()}) for r in self.records()]
        device = build_device(self.host, found, query=query)
        assert device is not None, "our own records name the device"
        for service in device.services:
            service.credentials = self.credentials.get(service.protocol, service.credentials)
        return device

    def records(self) -> list[Record]:
        """The service records that it publishes."""
        from ..records import Record

        _, _, internal, _ = PROFILES[self.profile]
        port = self.dmap.server.port
        touch: dict[str, str | None] = {
            "CtlN": self.name, "DbId": self.identifier, "DvTy": "AppleTV", "DvSv": "1792",
            "Ver": "131077", "atSV": "65541", "atCV": "65539", "txtvers": "1",
        }  # fmt: skip
        records = [Record("_touch-able._tcp.local.", self.identifier, port, self.host, touch)]
        if self.home_sharing:
            sharing: dict[str, str | None] = {"Name": self.name, "hG": self.home_sharing}
            kind = "_appletv-v2._tcp.local."
            records.append(Record(kind, self.identifier, port, self.host, sharing))
        info: dict[str, str | None] = {"model": internal}
        records.append(Record("_device-info._tcp.local.", self.identifier, 0, self.host, info))
        return records

    # -- shortcuts for tests ---------------------------------------------------------------------

    @property
    def log(self) -> list[str]:
        """Commands that it was given, in order."""
        return self.state.log

    @property
    def requests(self) -> list[tuple[str, str]]:
        """(method, path) of all requests on the DMAP port, in order."""
        return self.dmap.server.requests

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


def _home_sharing_id() -> str:
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
