"""What a device is, who it is, and whether it must be paired: what services.py finds out."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class OperatingSystem(enum.Enum):
    """Family of system software."""

    Unknown = 0
    Legacy = 1
    TvOS = 2
    AirPortOS = 3
    MacOS = 4


class PairingRequirement(enum.Enum):
    """Whether a service must be paired before use."""

    Unsupported = 1
    Disabled = 2
    NotNeeded = 3
    Optional = 4
    Mandatory = 5


def identifier_key(identifier: str) -> str:
    """An identifier without case and separators: protocols spell the same one differently."""
    return identifier.replace(":", "").replace("-", "").casefold()


_PLACEHOLDERS = ("", "0", "unknown", "none", "null", "020000000000")


def is_placeholder(identifier: str) -> bool:
    """True for what stands where an identifier should be, and is the same on many devices.

    ``00:00:00:00:00:00``, ``FF:FF:FF:FF:FF:FF``, a UUID of zeros; ``02:00:00:00:00:00`` is what
    Android and iOS give to apps that ask for the hardware address.
    """
    digits = identifier_key(identifier).strip()
    if digits in _PLACEHOLDERS:
        return True
    return len(digits) >= 8 and digits[0] in "0f" and not digits.strip(digits[0])


def mac_of(text: str | None) -> str | None:
    """A hardware address, upper case with colons, whatever separates its bytes; None if none."""
    digits = identifier_key(text or "").replace(".", "").upper()
    if len(digits) != 12 or set(digits) - set("0123456789ABCDEF") or is_placeholder(digits):
        return None
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


class Data:
    """Equality and repr over ``__slots__``; a leading underscore keeps a slot out of both."""

    __slots__: tuple[str, ...] = ()

    def fields(self) -> Iterable[tuple[str, Any]]:
        """(name, value) of everything public."""
        return ((n, getattr(self, n)) for n in self.__slots__ if not n.startswith("_"))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        for name in self.__slots__:
            if name[0] != "_":
                mine, theirs = getattr(self, name), getattr(other, name)
                if mine is not theirs and mine != theirs:
                    return False
        return True

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = (f"{n}={v}" if isinstance(v, enum.Enum) else f"{n}={v!r}"
                 for n, v in self.fields() if v is not None and v != () and v != {})  # fmt: skip
        return f"{type(self).__name__}({', '.join(shown)})"


class DeviceInfo(Data):
    """Make and software of a device; what no service told is None.

    Attributes:
        model: Constant name of the model, for example ``"Gen4K"``; ``"Unknown"`` if not known.
        model_name: The model for people: ``"Apple TV 4K"``, the raw model, or ``"Unknown"``.
        raw_model: What the device says: ``"AppleTV6,2"``.
        operating_system: Family of system software.
        version: System version, ``"14.7"``.
        build: Build number, ``"18M60"``.
        mac: Hardware address, upper case with colons.
        output_device_id: Identifier as an audio output.
    """

    __slots__ = (
        "model", "model_name", "raw_model", "operating_system", "version", "build", "mac",
        "output_device_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        model: str = "Unknown",
        model_name: str = "Unknown",
        raw_model: str | None = None,
        operating_system: OperatingSystem = OperatingSystem.Unknown,
        version: str | None = None,
        build: str | None = None,
        mac: str | None = None,
        output_device_id: str | None = None,
    ) -> None:
        self.model = model
        self.model_name = model_name
        self.raw_model = raw_model
        self.operating_system = operating_system
        self.version = version
        self.build = build
        self.mac = mac
        self.output_device_id = output_device_id

    def __str__(self) -> str:
        text = f"{self.model_name}, {_OS_TEXT[self.operating_system]}"
        if self.version:
            text += f" {self.version}"
        if self.build:
            text += f" build {self.build}"
        return text


_OS_TEXT = {
    OperatingSystem.Unknown: "Unknown OS",
    OperatingSystem.Legacy: "ATV SW",
    OperatingSystem.TvOS: "tvOS",
    OperatingSystem.AirPortOS: "AirPortOS",
    OperatingSystem.MacOS: "macOS",
}
