"""DMAP pairing: one request, with the roles the other way round.

    client                                         device
      publishes _touch-remote._tcp, Pair=<guid>      lists it; the user picks it and types the PIN
                    <-  GET /pair?pairingcode=MD5(guid, PIN)&servicename=...
      200, cmpa{ cmpg: guid, ... }  ->               accepts login?pairing-guid=0x<guid> from now on

The code is no secret that lasts: four digits and a broken hash keep neighbours out for as long as
the pairing is open, no longer. So a client stops after a success or three wrong codes.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from hashlib import md5
from urllib.parse import urlencode

from ..errors import CredentialsError, ProtocolError
from ..wire import dmap

SERVICE_TYPE = "_touch-remote._tcp.local."
TRIES = 3


GUID = re.compile(r"0x[0-9A-Fa-f]{16}")
HSGID = re.compile(r"[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")


def check_credentials(text: str) -> None:
    """Check the form of credentials: those of a pairing, or a Home Sharing id.

    Raises:
        CredentialsError: Neither.
    """
    if not GUID.fullmatch(text) and not HSGID.fullmatch(text):
        raise CredentialsError(
            "malformed DMAP credentials: neither 0x and 16 hex digits nor a UUID"
        )


def new_guid() -> str:
    """64 random bits as the 16 upper-case hex digits that devices insist on."""
    return f"{secrets.randbits(64):016X}"


def new_pin() -> str:
    """Four random digits."""
    return f"{secrets.randbelow(10000):04}"


def check_pin(pin: str | int) -> str:
    """Return a PIN as four digits.

    Raises:
        ValueError: It is not a number from 0 to 9999.
    """
    text = str(pin)
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ValueError(f"a PIN has up to four digits, not {text!r}")
    return text.zfill(4)


def check_guid(guid: str) -> str:
    """Return a GUID, with or without ``0x``, as 16 upper-case hex digits.

    Raises:
        ValueError: It is something else.
    """
    digits = guid[2:] if guid[:2] in ("0x", "0X") else guid
    if len(digits) != 16 or any(c not in "0123456789abcdefABCDEF" for c in digits):
        raise ValueError(f"a pairing GUID has 16 hex digits, not {guid!r}")
    return digits.upper()


def credentials(guid: str) -> str:
    """The credentials that a pairing with `guid` gives."""
    return f"0x{check_guid(guid)}"


def pairing_code(guid: str, pin: str | int) -> str:
    """The hash that proves that the PIN was typed: 32 upper-case hex digits.

    Args:
        guid: As it is announced; some remotes leave out leading zeros, which changes the hash.
        pin: Up to four digits.
    """
    digits = "".join(f"{digit}\0" for digit in check_pin(pin))
    guid = guid[2:] if guid[:2] in ("0x", "0X") else guid
    return md5((guid.upper() + digits).encode(), usedforsecurity=False).hexdigest().upper()


def instance_name(address: str) -> str:
    """40 digits that name the remote on the network: its IPv4 address as one number."""
    number = 0
    for part in address.split("."):
        number = number * 256 + int(part)
    return f"{number:040}"


def properties(name: str, guid: str) -> dict[str, str]:
    """TXT record of a remote that wants to be paired.

    Args:
        name: Shown on the TV.
        guid: Identity of the remote.
    """
    return {
        "DvNm": name,
        "RemV": "10000",
        "DvTy": "iPod",
        "RemN": "Remote",
        "txtvers": "1",
        "Pair": guid,
    }


class Remote:
    """The client's part: judges codes.

    Args:
        guid: Identity of this remote.
        pin: What the user is to type on the TV.
        name: Reported to the device.

    Attributes:
        paired: True once the right code came.
        wrong: How many wrong codes came.
    """

    def __init__(self, guid: str, pin: str, name: str) -> None:
        self.guid = check_guid(guid)
        self.paired = False
        self.wrong = 0
        self._code = pairing_code(guid, pin)
        self._name = name

    def answer(self, path: str, args: Mapping[str, str]) -> tuple[int, bytes]:
        """Judge a request; returns (HTTP status, body)."""
        if path != "/pair":
            return 404, b""
        code = args.get("pairingcode")
        if code is None:
            return 400, b""
        if self.wrong >= TRIES:
            return 403, b""
        if not hmac.compare_digest(code.upper().encode(), self._code.encode()):
            self.wrong += 1
            return 500, b""
        self.paired = True
        fields = [("cmpg", int(self.guid, 16)), ("cmnm", self._name), ("cmty", "iPhone")]
        return 200, dmap.encode([("cmpa", fields)])


def ask(guid: str, pin: str | int, service: str) -> str:
    """The device's part: path of the request that proves the PIN.

    Args:
        guid: From the remote's TXT record.
        pin: What the user typed.
        service: Instance name of the device.
    """
    args = {"pairingcode": pairing_code(guid, pin), "servicename": service}
    return f"/pair?{urlencode(args)}"


def granted(body: bytes) -> str:
    """The device's part: credentials to accept from now on, out of the remote's answer.

    Raises:
        ProtocolError: There is no GUID in it.
    """
    try:
        guid = dmap.first(dmap.decode(body), "cmpa", "cmpg")
    except ValueError as exc:
        raise ProtocolError(f"pairing answer: {exc}", body) from exc
    if not isinstance(guid, int):
        raise ProtocolError("pairing answer without a GUID", body)
    return f"0x{guid & 0xFFFFFFFFFFFFFFFF:016X}"
