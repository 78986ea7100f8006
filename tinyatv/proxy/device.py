"""The device that controllers see."""

from __future__ import annotations

import logging
import os
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ..backends.airplay import is_legacy, tunnel_credentials
from ..errors import CredentialsError, NotSupported
from ..link import reason
from ..pairing.credentials import parse
from ..virtual.appletv import VirtualAppleTV
from .bridge import Tap, Target
from .memory import KEY, Memory

if TYPE_CHECKING:
    from ..model import Device

log = logging.getLogger(__name__)

PROTOCOLS = ("mrp", "companion", "airplay")
GENERATIONS = (27, 26, 18, 15)  # systems that differ from the one before
IDENTITY = {  # protocol: properties, in lower case, that two devices must not have in common
    "airplay": ("deviceid", "pi", "psi", "pk", "gid", "acl", "hgid", "hmid"),
    "companion": ("rpmrtid", "rpba", "rphn", "rpha", "rpad", "rphi"),
}


class ProxyAppleTV(VirtualAppleTV):
    """Announces itself like a device, and passes everything on to a real one.

    Args:
        device: The real one; with the credentials of a pairing.
        protocol: Which of ``PROTOCOLS``.
        tap: Who looks on.
        name: What it is called; None is that of the device, with " Proxy" behind it.
        port: TCP port; 0 picks a free one.
        memory: File that keeps who it is and who has paired with it; None forgets both.
        credentials: Those of controllers that are accepted without pairing; see
            :class:`tinyatv.VirtualAppleTV`.
        identifier: What stays the same over restarts: a UUID; None takes that of `memory`.
        options: ``host``, ``announce``, ``mdns_port`` and ``pin``, likewise.

    Raises:
        NotSupported: The device does not speak that.
        CredentialsError: It is not paired, or `memory` is damaged.
        OSError: The port is taken, or `memory` cannot be read.
    """

    _kind = "tinyatv-proxy"

    def __init__(
        self,
        device: Device,
        protocol: str,
        tap: Tap,
        *,
        name: str | None = None,
        port: int = 0,
        memory: str | os.PathLike[str] | None = None,
        credentials: tuple[str, ...] | None = (),
        identifier: str | None = None,
        **options: Any,
    ) -> None:
        self._target = _target(device, protocol)
        self._tap = tap
        self._memory = known = None if memory is None else Memory(memory)
        seed = secrets.token_bytes(KEY)  # and not one that the identifier gives away
        if known is not None and known.seed is not None and identifier in (None, known.identifier):
            identifier, seed = known.identifier, known.seed
        super().__init__(
            name or f"{device.name} Proxy", profile=_profile(self._target, protocol),
            protocols=[protocol], ports={protocol: port}, credentials=credentials,
            identifier=identifier, seed=seed, **options,
        )  # fmt: skip
        if known is not None:
            if known.seed == seed:
                self.accessory.clients.update(known.clients)
            known.identifier, known.seed = self.identifier, seed
            known.clients = self.accessory.clients.copy()
        properties = self._target.service.properties
        about: Any = None
        if protocol == "airplay":
            about = self.airplay.identity
        elif protocol == "companion":
            about = self.companion.identity
        if about is not None:
            case = {key.lower(): key for key in about.txt()}
            about.extra = {
                case.get(key, key): value
                for key, value in properties.items()
                if key not in IDENTITY[protocol]
            }

    def _pin_shown(self, pin: str | None) -> None:
        super()._pin_shown(pin)
        known = self._memory
        if pin is not None or known is None or known.clients == self.accessory.clients:
            return
        known.clients = self.accessory.clients.copy()
        try:
            known.save()
        except OSError as exc:
            log.warning("who has paired is forgotten when this ends: %s", reason(exc))

    def _side(self, protocol: str, usual: Callable[..., Any]) -> Callable[..., Any]:
        """What serves a protocol: what passes it on."""
        info = self._target.device.info
        self.model = info.raw_model or self.model
        self.version, self.build = info.version or self.version, info.build or self.build
        if protocol not in self.protocols:
            return usual
        from importlib import import_module

        names = {"mrp": "ProxyMrp", "companion": "ProxyCompanion", "airplay": "ProxyAirPlay"}
        side = getattr(import_module(f".{protocol}", __package__), names[protocol])
        return partial(side, self._target, self._tap)


def _target(device: Device, protocol: str) -> Target:
    """How to reach the device."""
    service = next((one for one in device.services if one.protocol == protocol), None)
    if service is None or not service.port:
        offered = ", ".join(one.protocol for one in device.services) or "nothing"
        hint = ""
        if protocol == "mrp" and "airplay" in offered:
            hint = "; from tvOS 15 on, MRP goes through AirPlay: use airplay"
        raise NotSupported(f"{device.name} does not speak {protocol}, but {offered}{hint}")
    credentials = parse(service.credentials or None).checked()
    if protocol == "airplay" and not is_legacy(service):
        credentials = tunnel_credentials(service, device.info) or credentials
    needed = protocol == "companion" or (protocol == "airplay" and not is_legacy(service))
    if credentials.kind == "null" and needed:
        raise CredentialsError(f"{device.name} is not paired ({protocol}): pair first")
    return Target(device, service, credentials)


def _profile(target: Target, protocol: str) -> str:
    """The profile of a device that is like the real one."""
    if protocol == "mrp":
        return "tvos14"
    model = target.service.properties.get("model") or target.device.info.raw_model or ""
    if protocol == "airplay" and is_legacy(target.service):
        return "airplay1"
    if protocol == "airplay" and model.startswith("AudioAccessory"):
        return "homepod"
    version = (target.device.info.version or "").partition(".")[0]
    major = int(version) if version.isdecimal() else GENERATIONS[-2]
    return next((f"tvos{one}" for one in GENERATIONS if major >= one), "tvos14")
