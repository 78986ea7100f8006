"""Pairing over AirPlay: the TV shows a PIN, and this end has to know it. Both versions of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import (
    CommandFailed,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    PairingError,
)
from ..identity import check as compare
from ..link import cause_of
from ..pairing.credentials import Credentials, parse
from ..pairing.hap import Identity, drive
from ..pairing.hap_setup import hap_setup, own_info, preparation
from ..wire.airplay_codes import OCTETS, PLIST
from . import PairingRequest
from .airplay import device_key, is_legacy
from .airplay_session import ANSWER_TIMEOUT, PAIRING_AGENT, ControlConnection, introduction

if TYPE_CHECKING:
    from ..model import Device, Service

TIMEOUT = 30.0  # s that each answer may take while pairing


def pair(device: Device, service: Service, request: PairingRequest) -> str:
    """Pair with a device, as the contract has it; it has accepted the credentials already."""
    port, legacy = service.port, is_legacy(service)
    key = device_key(service.properties)  # only AirPlay 1 needs it
    client_id = request.client_id()
    identity = Identity(client_id.encode())
    prepare = None if legacy else preparation(identity)
    control = ControlConnection(
        device.addresses, port, Credentials(), timeout=TIMEOUT, prepare=prepare,
        check=request.cancellation.check,
    )  # fmt: skip
    control.open()
    headers = [
        ("User-Agent", PAIRING_AGENT),
        ("Connection", "keep-alive"),
        ("X-Apple-Client-Name", request.name),  # newer systems show no PIN without it
    ]

    def post(path: str, data: bytes, content_type: str, *more: tuple[str, str]) -> bytes:
        sent = [*headers, *more]
        return control.http("POST", path, data, sent, content_type=content_type).body

    try:
        with request.cancellation.closing(control.close):
            recognize(device, control)  # before it shows a PIN
            control.http("POST", "/pair-pin-start", b"", headers)
            if legacy:
                from ..pairing.legacy import legacy_setup

                short = bytes.fromhex(client_id.replace("-", "")[:16])
                steps: Any = legacy_setup(short, request.shown_pin, device_key=key)
                found: Credentials = drive(steps, lambda data: post("/pair-setup-pin", data, PLIST))
            else:
                found = drive(
                    hap_setup(identity, request.shown_pin, info=own_info(request.name)),
                    lambda data: post("/pair-setup", data, OCTETS, ("X-Apple-HKP", "3")),
                )
    except CredentialsError as exc:
        raise PairingError(f"the device refuses to be paired: {exc}") from exc
    except CommandFailed as exc:
        hint = ": allow it in Settings > AirPlay and HomeKit" if exc.code == 400 else ""
        raise PairingError(f"{exc}{hint}") from exc
    except ConnectionLost as exc:
        cause = cause_of(exc, control.label)
        where = f"{control.address} port {port} (airplay)"
        raise ConnectionFailed(f"{where} hung up: {cause}") from exc
    finally:
        control.close()
    _verify(device, service, found, ANSWER_TIMEOUT)
    return str(found)


def recognize(device: Device, control: ControlConnection) -> None:
    """Ask who answers, on an open connection.

    Raises:
        WrongDevice: Another device than the one that is meant.
        AppleTVError: The connection fails.
    """
    try:
        told = introduction(control.info())
    except (CommandFailed, CredentialsError, NotSupported):
        return  # it does not say
    compare(device, told, f"{device.address} (airplay)")


def check(device: Device, service: Service, *, timeout: float) -> None:
    """Find out whether a device accepts the credentials of a service, on a new connection.

    Not by connecting: that needs no credentials, which the backend uses only to play something.
    """
    _verify(device, service, parse(service.credentials or None).checked(), timeout)


def _verify(device: Device, service: Service, credentials: Credentials, timeout: float) -> None:
    control = ControlConnection(
        device.addresses, service.port, credentials, timeout=timeout, password=service.password,
        device_key=device_key(service.properties),
    )  # fmt: skip
    control.open()
    control.close()
