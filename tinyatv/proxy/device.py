"""The device that controllers see."""

from __future__ import annotations

import logging
import os
import secrets
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable

from .. import routes
from ..errors import NotSupported
from ..link import reason
from ..virtual.appletv import VirtualAppleTV
from .bridge import ProxySide, Tap, Target
from .memory import KEY, Memory

if TYPE_CHECKING:
    from ..model import Device

log = logging.getLogger(__name__)

PROTOCOLS = tuple(name for name, row in routes.PROTOCOLS.items() if row.proxy)


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
            name or f"{device.name} Proxy", profile=self._target.profile,
            protocols=[protocol], ports={protocol: port}, credentials=credentials,
            identifier=identifier, seed=seed, **options,
        )  # fmt: skip
        if known is not None:
            if known.seed == seed:
                self.accessory.clients.update(known.clients)
            known.identifier, known.seed = self.identifier, seed
            known.clients = self.accessory.clients.copy()

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
        return partial(_proxy_side(protocol), self._target, self._tap)


def _proxy_side(protocol: str) -> type[ProxySide]:
    module, _, name = routes.PROTOCOLS[protocol].proxy.partition(":")
    side: type[ProxySide] = getattr(import_module(module), name)
    return side


def _target(device: Device, protocol: str) -> Target:
    """How to reach the device."""
    service = device.service(protocol)
    if service is None or not service.port:
        offered = ", ".join(one.protocol for one in device.services) or "nothing"
        carrier, hint = routes.PROTOCOLS[protocol].carrier, ""
        if carrier and device.service(carrier) is not None:
            hint = f"; newer systems carry it through {carrier}: use {carrier}"
        raise NotSupported(f"{device.name} does not speak {protocol}, but {offered}{hint}")
    return _proxy_side(protocol).target(device, service)
