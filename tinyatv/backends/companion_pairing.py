"""Pairing over Companion: the TV shows a PIN, and this end has to know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from ..addresses import reached
from ..errors import ConnectionFailed, ConnectionLost
from ..link import Link, cause_of, keep_alive, open_socket
from ..pairing.credentials import Credentials, parse
from ..pairing.hap import Identity, drive
from ..pairing.hap_setup import hap_setup, own_info, preparation
from ..wire.companion import SETUP_NEXT, SETUP_START, CompanionWire
from . import PairingRequest
from .companion import exchange_by, secure

if TYPE_CHECKING:
    from ..model import Device, Service

ANSWER_TIMEOUT = 10.0  # s; devices take a while to check a PIN


def pair(device: Device, service: Service, request: PairingRequest) -> str:
    """Pair with a device, as the contract has it; it has accepted the credentials already."""
    identity = Identity(request.client_id().encode())
    link = _connect(
        device, service.port, CompanionWire(), ANSWER_TIMEOUT, preparation(identity),
        request.cancellation.check,
    )  # fmt: skip
    try:
        steps = hap_setup(identity, request.shown_pin, info=own_info(request.name))
        exchange = exchange_by(link, "pair", SETUP_START, SETUP_NEXT, {"_pwTy": 1})
        with request.cancellation.closing(link.close):
            credentials = drive(steps, exchange)
    except ConnectionLost as exc:
        cause = cause_of(exc, link.label)
        where = f"{device.address} port {service.port} (companion)"
        raise ConnectionFailed(f"{where} hung up while pairing: {cause}") from exc
    finally:
        link.close()
    _verify(device, service, credentials, ANSWER_TIMEOUT)
    return str(credentials)


def check(device: Device, service: Service, *, timeout: float) -> None:
    """Find out whether a device accepts the credentials of a service: verify only."""
    credentials = parse(service.credentials or None).checked()
    _verify(device, service, credentials, max(timeout, ANSWER_TIMEOUT))


def _verify(device: Device, service: Service, credentials: Credentials, timeout: float) -> None:
    wire = CompanionWire()
    link = _connect(device, service.port, wire, timeout)
    try:
        secure(link, wire, credentials)
    except ConnectionLost as exc:
        cause = cause_of(exc, link.label)
        where = f"{device.address} port {service.port} (companion)"
        raise ConnectionFailed(f"{where} hung up: {cause}") from exc
    finally:
        link.close()


def _connect(
    device: Device, port: int, wire: CompanionWire, timeout: float,
    prepare: Callable[[], bool | None] | None = None, check: Callable[[], object] | None = None,
) -> Link:  # fmt: skip
    sock = open_socket(device.addresses, port, timeout, "companion", check=check)
    keep_alive(sock)
    address = reached(sock, device.addresses)
    return Link(
        sock, wire, lambda message: None, timeout=timeout, name=f"tinyatv-companion-{address}",
        label=f"{address} (companion)", prepare=prepare,
    )  # fmt: skip
