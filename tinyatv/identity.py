"""Who answers: what a device says of itself on a new connection, against what is known of it.

An address is a hint and no identity: devices swap addresses, move and are replaced. So a backend
makes sure before it lets any command through. That costs no round trip: either the device proves
itself by the key of its pairing, which nothing it says outweighs (what a proxy passes on is about
another device), or it is compared by how it introduces itself anyway.

    MRP         DEVICE_INFO    uniqueIdentifier, managedConfigDeviceID
    Companion   _systemInfo    _mRtID, _pubID; always proven by a key
    AirPlay     GET /info      deviceID
    DMAP        nothing        a pairing that is refused; with Home Sharing, see backends/dmap.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import WrongDevice
from .info import identifier_key, is_placeholder
from .model import identifier_keys
from .routes import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import Device


class Introduction:
    """What a device says of itself.

    Attributes:
        identifiers: By the protocol that they belong to.
        more: Identifiers that may prove that it is the right one, but not that it is not: the
            device has several of that kind.
        name: What its owner calls it, or None.
        model: ``AppleTV6,2``, or None.
        version: Of its system, or None.
        build: Of its system, or None.
    """

    __slots__ = ("build", "identifiers", "model", "more", "name", "version")

    def __init__(
        self,
        identifiers: Mapping[str, Any],
        *,
        more: Iterable[Any] = (),
        name: Any = None,
        model: Any = None,
        version: Any = None,
        build: Any = None,
    ) -> None:
        # It comes from the network: anything that is no text tells nothing.
        self.identifiers = {kind: text for kind, one in identifiers.items() if (text := _text(one))}
        self.more = [text for one in more if (text := _text(one))]
        self.name = _text(name)
        self.model = _text(model)
        self.version = _text(version)
        self.build = _text(build)


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def check(device: Device, told: Introduction, where: str) -> bool:
    """Compare who answers with the device that is meant.

    Args:
        device: The one that is meant.
        told: What the other end says of itself.
        where: Address and port, for the words of an error.

    Returns:
        True if it is that one; False if nothing can be compared, so that it may be.

    Raises:
        WrongDevice: It is another one.
    """
    theirs = [*told.identifiers.values(), *told.more]
    if identifier_keys(theirs) & identifier_keys(device.identifiers):
        return True
    known = {
        PROTOCOLS[one.protocol].named_by
        for one in device.services
        if one.identifier and _identifies(one.identifier)
    }
    for protocol, identifier in told.identifiers.items():
        if PROTOCOLS[protocol].named_by in known and _identifies(identifier):
            raise wrong(device, where, told.name, [identifier])
    return False


def wrong(device: Device, where: str, name: str | None, identifiers: list[str]) -> WrongDevice:
    """The error that says who answers instead of a device."""
    shown = ", ".join(identifiers) or "which does not say who it is"
    return WrongDevice(
        f"{name or 'another device'} ({shown}) answers at {where},"
        f" not {device.name} ({device.identifier})",
        tuple(identifiers),
    )


def _identifies(text: str) -> bool:
    """True for a hardware address, a UUID and the like, of which no two devices have the same."""
    digits = identifier_key(text)
    return len(digits) >= 12 and set(digits) <= set("0123456789abcdef") and not is_placeholder(text)
