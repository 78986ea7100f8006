"""What HAP pairing leaves behind, as text, and which services of a device share it.

The text is the one that other tools of the field write:

    device key : own seed : device identifier : own identifier     HAP
    own identifier : own seed                                      legacy AirPlay
    :own seed::own identifier                                      the same, as others write it
    7472616e7369656e74:::                                          transient: nothing to keep
    :::                                                            none

All fields are hex.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from ..errors import CredentialsError
from ..model import PairingRequirement
from ..routes import PROTOCOLS

if TYPE_CHECKING:
    from ..model import Device, Service

TRANSIENT = b"transient"
KEY = 32  # bytes of a key or seed
LEGACY = "these are AirPlay 1 credentials: pair again"  # where others are wanted


class Credentials:
    """Keys and identifiers of a pairing. ``repr`` shows none of them.

    Attributes:
        device_key: The device's public key, 32 bytes; ``b"transient"`` or ``b""`` without one.
        seed: Our private key, 32 bytes.
        device_id: The device's identifier.
        client_id: Our identifier.
    """

    __slots__ = ("client_id", "device_id", "device_key", "seed")

    def __init__(
        self,
        device_key: bytes = b"",
        seed: bytes = b"",
        device_id: bytes = b"",
        client_id: bytes = b"",
    ) -> None:
        self.device_key = device_key
        self.seed = seed
        self.device_id = device_id
        self.client_id = client_id

    @property
    def kind(self) -> str:
        """``"hap"``, ``"legacy"``, ``"transient"`` or ``"null"``."""
        if self.device_key == TRANSIENT:
            return "transient"
        if not self.seed:
            return "null"
        return "hap" if self.device_key else "legacy"

    def checked(self) -> Credentials:
        """These credentials, if the lengths of their keys are right.

        Raises:
            CredentialsError: They are not.
        """
        for name, value in (("device key", self.device_key), ("seed", self.seed)):
            if value and value != TRANSIENT and len(value) != KEY:
                raise CredentialsError(
                    f"malformed credentials: the {name} has {len(value)} bytes, not {KEY}"
                )
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credentials) and str(self) == str(other)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        fields = (self.device_key, self.seed, self.device_id, self.client_id)
        return ":".join(field.hex() for field in fields)

    def __repr__(self) -> str:
        return f"Credentials({self.kind})"


def parse(text: str | None) -> Credentials:
    """Read credentials; None means that there are none.

    Raises:
        CredentialsError: Malformed.
    """
    if text is None:
        return Credentials()
    fields = text.strip().split(":")
    try:
        values = [binascii.unhexlify(field) for field in fields]
    except ValueError:
        raise CredentialsError("malformed credentials: fields are hex, with : between") from None
    if len(values) == 2:
        values = [b"", values[1], b"", values[0]]
    if len(values) != 4:
        raise CredentialsError(f"malformed credentials: {len(values)} fields instead of 4 or 2")
    found = Credentials(*values)
    present = tuple(bool(value) for value in values)
    if present == (False, False, False, False) or found.device_key == TRANSIENT:
        return found
    if present not in ((True, True, True, True), (False, True, False, True)):
        raise CredentialsError("malformed credentials: a field is missing")
    return found


def check(protocol: str, text: str) -> None:
    """Check the form of credentials, and whether they are of a kind that a protocol can use.

    Raises:
        CredentialsError: They are not.
    """
    kinds = PROTOCOLS[protocol].credentials
    if "guid" in kinds:
        from .dmap import check_credentials

        check_credentials(text)
    elif kinds and parse(text).checked().kind == "legacy" and "legacy" not in kinds:
        raise CredentialsError(LEGACY)


def should_pair(service: Service) -> bool:
    """True if a service can be paired, and is better for it."""
    key = PROTOCOLS[service.protocol].pairing_key
    if key and key in service.properties:
        return service.pairing is PairingRequirement.Mandatory  # others cannot be paired at all
    return service.pairing is not PairingRequirement.NotNeeded


def shares_credentials_with(service: Service, other: Service) -> bool:
    """True if the credentials of a service are of the kind that another one accepts."""
    rows = PROTOCOLS[service.protocol], PROTOCOLS[other.protocol]
    if service is other or not service.credentials or not all(row.hap for row in rows):
        return False
    try:
        return parse(service.credentials).checked().kind == "hap"
    except CredentialsError:
        return False


def with_shared_credentials(device: Device, service: Service) -> Service:
    """A service without credentials, with those of another one that may open it too.

    Returns:
        A copy; the service itself if it has its own, needs none, or no other one shares them.
    """
    if service.credentials or not should_pair(service):
        return service
    from copy import copy

    for other in device.services:
        if shares_credentials_with(other, service):
            service = copy(service)
            service.credentials = other.credentials
            break
    return service
