"""Pairing over MRP: the TV shows a PIN, and this end has to know it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .. import proto
from ..addresses import reached
from ..errors import CommandTimeout, ConnectionFailed, ConnectionLost
from ..identity import check as compare
from ..link import Link, cause_of, keep_alive, open_socket
from ..pairing.hap import Identity, drive
from ..pairing.hap_setup import hap_setup, preparation
from ..pairing.hap_verify import hap_verify
from ..wire.mrp import MrpWire
from . import PairingRequest, try_connect
from .mrp import DEVICE_INFO, exchange, introduction

if TYPE_CHECKING:
    from ..model import Device, Service

ANSWER_TIMEOUT = 5.0  # s that each answer of the device may take


def pair(device: Device, service: Service, request: PairingRequest) -> str:
    """Pair with a device, as the contract has it; returns the credentials."""
    port = service.port
    sock = open_socket(
        device.addresses, port, ANSWER_TIMEOUT, "mrp", check=request.cancellation.check
    )
    keep_alive(sock)
    host = reached(sock, device.addresses)
    wire = MrpWire(proto.dumps, proto.parse, proto.key)
    client_id = request.client_id()
    identity = Identity(client_id.encode())
    begun, prepare = threading.Event(), preparation(identity)
    link = Link(
        sock, wire, lambda message: None, timeout=ANSWER_TIMEOUT, name=f"tinyatv-mrp-{host}",
        label=f"{host} (mrp)",
        prepare=lambda: begun.is_set() and prepare(),
    )  # fmt: skip
    try:
        with request.cancellation.closing(link.close):
            info = {**DEVICE_INFO, "name": request.name, "uniqueIdentifier": client_id}
            answer = link.request(proto.build(proto.DEVICE_INFO, True, **info))
            if answer.body is not None and answer.kind == proto.DEVICE_INFO:
                compare(device, introduction(answer), f"{host} port {port} (mrp)")
            # From here on the device computes for its answers, and so do we meanwhile.
            begun.set()
            credentials = drive(
                hap_setup(identity, request.shown_pin),
                lambda data: exchange(link, data, verifying=False),
            )
            # From tvOS 14 on the PIN stays on screen until it has been put to use.
            drive(hap_verify(credentials), lambda data: exchange(link, data, verifying=True))
    except ConnectionLost as exc:
        cause = cause_of(exc, link.label)
        raise ConnectionFailed(f"{host} port {port} (mrp) hung up while pairing: {cause}") from exc
    except CommandTimeout as exc:
        raise CommandTimeout(
            f"no reply to pair within {ANSWER_TIMEOUT:g} s (mrp): is the device awake?"
        ) from exc
    finally:
        link.close()
    return str(credentials)


def check(device: Device, service: Service, *, timeout: float) -> None:
    """Find out whether a device accepts the credentials of a service: connect."""
    try_connect(device, service, timeout)
