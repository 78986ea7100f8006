"""One device: whether it is there, which ports are open, whether each credential is accepted.

Connecting is the test. Nothing is pressed, played or paired; a device that sleeps may wake up.
"""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

from ..addresses import connect_first
from ..backends import load_pairing
from ..connecting import NotThere
from ..device import AppleTV
from ..errors import (
    AppleTVError,
    CommandTimeout,
    ConnectionFailed,
    CredentialsError,
    ProtocolError,
    WrongDevice,
)
from ..link import reason
from ..model import Device, PairingRequirement
from ..pairing.credentials import with_shared_credentials
from ..routes import BACKENDS, ROUTES
from ..text import on_one_line
from . import NOTE, OK, PROBLEM, WARNING, Finding, at_once
from .network import SAME_NETWORK, is_near

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model import Service
    from .network import Interface

ALLOW = (
    'on the TV: Settings > AirPlay and HomeKit > AirPlay on, Allow Access "Anyone on the Same'
    ' Network"'
)
RESTART = "restart the Apple TV: Settings > System > Restart, or pull its plug"
FEW = 6  # commands that are named one by one


class DeviceCheck:
    """The checks of one device.

    Args:
        device: With stored credentials, and where it was seen last.
        known: Our interfaces.
        timeout: Seconds that each connection, and each answer, may take. A protocol may take
            longer for its first answer: up to 25 s, since that wakes a device up.
        protocols: Names of those to check; None checks all.
    """

    def __init__(
        self,
        device: Device,
        known: list[Interface],
        *,
        timeout: float,
        protocols: tuple[str, ...] | None = None,
    ) -> None:
        self._device = device
        self._known = known
        self._timeout = timeout
        self._services = [
            one for one in device.services if protocols is None or one.protocol in protocols
        ]
        self._wanted = protocols

    def findings(
        self, answered: list[str], old: Device | None, others: Iterable[Device] = ()
    ) -> list[Finding]:
        """All of them. Blocks until each connection has been tried.

        Args:
            answered: How it answered mDNS: ``multicast``, ``directed``, both or neither.
            old: As the store remembers it, or None.
            others: Other devices that answered.
        """
        if not answered and (replaced := self._replaced(NotThere(self._device, [*others]))):
            return replaced  # what answers at its address is another device
        enabled = [one for one in self._services if one.enabled]
        ports = list(at_once("port", [partial(self._port, one) for one in enabled]))
        there = any(one.status == OK for one in ports)
        found = [self._mdns(answered, there)]
        found += self._address(old, there)
        found += self._withdrawn(old)
        found += ports
        reachable = [one for one, port in zip(enabled, ports) if port.status == OK]
        trials = [partial(self._credentials, one) for one in reachable]
        tried = [one for one in at_once("trial", trials) if one is not None]
        found += tried
        hopeless = not reachable or (tried and all(one.status == PROBLEM for one in tried))
        up, why = ((), None) if hopeless else self._connect()
        found.append(self._commands(up, why))
        return found

    def _finding(
        self,
        check: str,
        status: str,
        text: str,
        advice: str | None = None,
        *,
        protocol: str | None = None,
        facts: dict[str, Any] | None = None,
    ) -> Finding:
        name = self._device.name or self._device.address
        return Finding(
            f"device.{check}", status, text, advice, device=name, protocol=protocol,
            facts={
                "identifier": self._device.identifier, "address": self._device.address,
                **(facts or {}),
            },
        )  # fmt: skip

    # -- is it there -----------------------------------------------------------------------------

    def _mdns(self, answered: list[str], there: bool) -> Finding:
        facts = {"answered": answered}
        if "multicast" in answered or ("directed" in answered and self._device.query):
            text = f"it answers mDNS ({' and '.join(answered)})"
            return self._finding("mdns", OK, text, facts=facts)
        if "directed" in answered:
            text = "it answers mDNS when asked directly, but not by multicast: scans miss it"
            advice = f"{SAME_NETWORK}; or TINYATV_SCAN_HOSTS={self._device.address}"
            return self._finding("mdns", WARNING, text, advice, facts=facts)
        if there:
            text = "it does not answer mDNS: if its port changes, it will not be found"
            return self._finding("mdns", WARNING, text, SAME_NETWORK, facts=facts)
        text = "it does not answer mDNS: it is off, elsewhere, or on another network"
        return self._finding("mdns", PROBLEM, text, SAME_NETWORK, facts=facts)

    def _address(self, old: Device | None, there: bool) -> list[Finding]:
        address, found = self._device.address, []
        if old is not None and old.address and old.address != address:
            text = f"it has moved from {old.address} to {address}; that is noticed when connecting"
            found.append(self._finding("address", NOTE, text, facts={"was": old.address}))
        if is_near(address, self._known) is False:
            text = f"{address} is on none of the networks of this computer"
            advice = f"{SAME_NETWORK}. mDNS does not cross networks: describe it with --manual"
            status = WARNING if there else PROBLEM
            found.append(self._finding("address", status, text, advice))
        return found

    def _replaced(self, missing: NotThere) -> list[Finding]:
        """Who has its address, or its name."""
        device, found = self._device, []
        facts = {"answered": [one.identifier for one in missing.there]}
        for one in missing.there:
            text = (
                f"it did not answer, and {device.address} is the address of {one.name}"
                f" ({one.identifier}) now"
            )
            advice = "; ".join(missing.advice) or f"is it on? {SAME_NETWORK}"
            found.append(self._finding("identity", PROBLEM, text, advice, facts=facts))
        if missing.advice and not found:
            text = f"it ({device.identifier}) did not answer"
            found.append(
                self._finding("identity", PROBLEM, text, "; ".join(missing.advice), facts=facts)
            )
        return found

    def _withdrawn(self, old: Device | None) -> list[Finding]:
        found = []
        for one in old.services if old is not None else ():
            if one.credentials and self._device.service(one.protocol) is None:
                text = f"{one.protocol} is paired, but the TV does not offer it now"
                advice = f"its software may have been updated; {ALLOW}"
                protocol = one.protocol
                found.append(self._finding("offer", NOTE, text, advice, protocol=protocol))
        return found

    def _port(self, service: Service) -> Finding:
        protocol, port = service.protocol, service.port
        where, facts = f"{protocol} port {port}", {"port": port}
        if not port or not self._device.address:
            text = f"{protocol}: address and port are not known"
            return self._finding("port", WARNING, text, "tinyatv scan", protocol=protocol)
        try:
            connect_first(self._device.addresses, port, self._timeout).close()
        except (OSError, ValueError) as exc:
            refused = isinstance(exc, ConnectionRefusedError)
            text = f"{where} is closed: {reason(exc)}"
            advice = (
                f"a device is at this address, but not this service: {RESTART}; {ALLOW}"
                if refused
                else f"is it on? Is it this address? {SAME_NETWORK}"
            )
            # What we cannot use is no problem.
            status = PROBLEM if protocol in BACKENDS else NOTE
            return self._finding("port", status, text, advice, protocol=protocol, facts=facts)
        return self._finding("port", OK, f"{where} is open", protocol=protocol, facts=facts)

    # -- is it ours ------------------------------------------------------------------------------

    def _credentials(self, service: Service) -> Finding | None:
        """Try to connect with what is stored; None if there is nothing to try or to say."""
        protocol = service.protocol
        if protocol not in BACKENDS:
            if not service.credentials:
                return None
            text = f"{protocol} is paired, but this version does not support it"
            return self._finding("credentials", NOTE, text, protocol=protocol)
        if not service.credentials:
            return self._lent(service) or self._unpaired(service)
        try:
            verify(self._device, service, self._timeout)
        except (AppleTVError, ImportError) as exc:
            return self._refused(service, exc)
        text = f"{protocol}: the stored credentials are accepted"
        return self._finding("credentials", OK, text, protocol=protocol)

    def _lent(self, service: Service) -> Finding | None:
        """Try those of another protocol, as connecting does; None if there are none, or in vain."""
        lent = with_shared_credentials(self._device, service)
        if lent is service:
            return None
        try:
            verify(self._device, lent, self._timeout)
        except (AppleTVError, ImportError):
            return None
        text = f"{service.protocol}: not paired, but the credentials of another one are accepted"
        return self._finding("credentials", OK, text, protocol=service.protocol)

    def _unpaired(self, service: Service) -> Finding | None:
        protocol = service.protocol
        if service.pairing is PairingRequirement.Disabled:
            text = f"{protocol}: the TV does not allow pairing"
            return self._finding("credentials", WARNING, text, ALLOW, protocol=protocol)
        if service.requires_password and not service.password:
            text = f"{protocol}: the TV wants its password"
            advice = f"--{protocol}-password @FILE, or take the password away on the TV"
            return self._finding("credentials", WARNING, text, advice, protocol=protocol)
        if service.pairing is PairingRequirement.NotNeeded:
            text = f"{protocol}: needs no pairing"
            return self._finding("credentials", OK, text, protocol=protocol)
        if BACKENDS[protocol].unpaired and service.pairing is not PairingRequirement.Mandatory:
            return None  # whether it works without shows when connecting
        text = f"{protocol}: not paired"
        return self._finding("credentials", NOTE, text, self._pair(protocol), protocol=protocol)

    def _refused(self, service: Service, exc: AppleTVError | ImportError) -> Finding:
        protocol = service.protocol
        why = on_one_line(str(exc))
        if isinstance(exc, CredentialsError):
            text = f"{protocol}: the stored credentials do not work: {why}"
            advice = self._pair(protocol)
        elif isinstance(exc, CommandTimeout):
            text = f"{protocol}: it accepts the connection but does not answer: {why}"
            advice = f"wake it up and try again; or {RESTART}"
        elif isinstance(exc, ProtocolError):
            text = f"{protocol}: what answers at port {service.port} makes no sense: {why}"
            advice = f"is this the Apple TV, or another program at its old port? {RESTART}"
        elif isinstance(exc, WrongDevice):
            text = f"{protocol}: {why}"
            advice = "tinyatv scan: if it is there under its own name, it is found when connecting"
        elif isinstance(exc, ConnectionFailed):
            text = f"{protocol}: it closes the connection: {why}"
            advice = f"{RESTART}; {ALLOW}"
        elif isinstance(exc, ImportError):
            text, advice = f"{protocol}: {why}", "install what is missing; see above"
        else:
            text, advice = f"{protocol}: {why}", RESTART
        facts = {"error": type(exc).__name__}
        return self._finding("credentials", PROBLEM, text, advice, protocol=protocol, facts=facts)

    def _pair(self, protocol: str) -> str:
        return f"tinyatv pair -n {self._quoted} --protocol {protocol}"

    @property
    def _quoted(self) -> str:
        """Its name, to be pasted into a shell: a stranger may have chosen it."""
        name = self._device.name or self._device.identifier or self._device.address
        return shlex.quote(name)

    # -- what it does ----------------------------------------------------------------------------

    def _connect(self) -> tuple[tuple[str, ...], Exception | None]:
        """The protocols that are up when connecting as every command does, or why none is."""
        try:
            with AppleTV(self._device, protocols=self._wanted, timeout=self._timeout) as atv:
                return atv.open().protocols, None
        except (AppleTVError, ImportError) as exc:
            return (), exc

    def _commands(self, up: tuple[str, ...], why: Exception | None) -> Finding:
        """Which protocol does what."""
        served: dict[str, list[str]] = {one: [] for one in up}
        missing: dict[str, list[str]] = {}
        for command, protocols in ROUTES.items():
            serving = next((one for one in protocols if one in up), None)
            if serving is not None:
                served[serving].append(command)
            elif protocols:
                missing.setdefault(protocols[0], []).append(command)
        facts = {"connected": list(up), "commands": served, "missing": missing}
        if not up:
            told = "" if why is None else f": {' '.join(str(why).split())}"
            pairs = why is not None and isinstance(why, CredentialsError)
            advice = f"tinyatv pair -n {self._quoted}" if pairs else "fix what is reported above"
            return self._finding("commands", PROBLEM, f"nothing works{told}", advice, facts=facts)
        done = "; ".join(f"{protocol} does {_named(them)}" for protocol, them in served.items())
        offered = {one.protocol for one in self._device.services}
        more = {protocol: them for protocol, them in missing.items() if protocol in offered}
        text = f"connected. {done}"
        if more:
            text += ". Not connected: " + "; ".join(
                f"{protocol}, for {_named(them)}" for protocol, them in more.items()
            )
        return self._finding("commands", OK, text, facts=facts)


def verify(device: Device, service: Service, timeout: float) -> None:
    """Use a service, and no other, with its credentials.

    Args:
        device: Where it is.
        service: With credentials.
        timeout: Seconds that the connection, and each answer, may take.

    Raises:
        AppleTVError: That does not work.
    """
    if BACKENDS[service.protocol].connected:
        alone = Device(device.name, device.address, [service])
        AppleTV(alone, timeout=timeout).open().close()
    else:  # connecting needs no credentials there
        load_pairing(service.protocol).check(device, service, timeout=timeout)


def _named(commands: list[str]) -> str:
    if len(commands) <= FEW:
        return ", ".join(commands) or "nothing that others do not do"
    return f"{', '.join(commands[:FEW])} and {len(commands) - FEW} more"
