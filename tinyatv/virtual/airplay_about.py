"""What the device says of itself over AirPlay, and how its generation differs from others."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import Any, NamedTuple

from ..discovery.records import encode_txt
from .state import State

SESSION_ACTIVE = 1 << 17  # flag


class Generation(NamedTuple):
    """What devices of one generation have in common.

    Attributes:
        airplay: 1 or 2.
        features: Feature bits.
        flags: Status flags.
        source_version: Of the AirPlay software.
        timing: Timing protocols that it takes, besides none at all.
        play: How URLs are played: ``"play"`` by a request of that name; ``"queue"`` by commands,
            while ``/play`` is answered and does nothing; ``""`` not at all.
        transient: True if pairing without a PIN is allowed, and nothing else.
        verified: True if nobody may do anything before he is verified.
        client_name: True if no PIN is shown to a client that does not give its name.
    """

    airplay: int
    features: int
    flags: int
    source_version: str
    timing: tuple[str, ...] = ()
    play: str = "play"
    transient: bool = False
    verified: bool = True
    client_name: bool = False


_OLD, _TV, _NEW_TV = 0xE5A7FFFF7, 0x3C155FDE4A7FDFD5, 0xBC157FDE4A7FDFD5
_HOMEPOD = 0xBC356BD04A7FCA00

GENERATIONS = {
    "atv3": Generation(1, _OLD, 0x44, "220.68", verified=False),
    "airplay1": Generation(1, _OLD, 0x44, "220.68", verified=False),
    "tvos14": Generation(2, _TV, 0x244, "550.10", ("NTP",)),
    "tvos15": Generation(2, _TV, 0x244, "550.10", ("NTP",)),
    "tvos18": Generation(2, _NEW_TV, 0x18644, "820.10.1", ("NTP",), play="queue"),
    "tvos26": Generation(2, _NEW_TV, 0x18644, "900.20.1", ("PTP",), play="queue"),
    "tvos27": Generation(
        2, _NEW_TV, 0x18644, "950.10.1", ("PTP",), play="queue", client_name=True
    ),
    "homepod": Generation(2, _HOMEPOD, 0x1B8C84, "820.10.1", ("PTP",), play="", transient=True),
}  # fmt: skip
"""Versions of AirPlay from tvOS 18 on are made up; nothing depends on them."""


class AirPlayAbout:
    """What the device says of itself.

    Attributes:
        generation: What it has in common with others.
        identifier: Of the device: a UUID, or 16 hex digits.
        mac: Hardware address; the identifier of this service.
        model: ``AppleTV6,2``.
        version: Of its system.
        public_key: That it proves itself with, 32 bytes.
        pairing_id: UUID that others know it by (``pi``).
        access: ``"1"`` lets nobody in but members of the home.
        flags: Status flags.
        features: Feature bits.
        extra: More pairs for the service record; None takes one away.
    """

    def __init__(
        self,
        generation: str | Generation,
        identifier: str,
        mac: str,
        model: str,
        version: str,
        public_key: bytes,
    ) -> None:
        if isinstance(generation, str):
            generation = GENERATIONS[generation]
        self.generation = generation
        self.identifier = identifier
        self.mac = mac
        self.model = model
        self.version = version
        self.public_key = public_key
        digest = hashlib.sha256(f"airplay {identifier}".encode()).digest()
        self.pairing_id = str(uuid.UUID(bytes=digest[:16], version=4))
        self.access = "0"
        self.flags = generation.flags
        self.features = generation.features
        self.extra: dict[str, str | None] = {}

    @property
    def bits(self) -> str:
        """The feature bits as two numbers, the low word first."""
        high, low = divmod(self.features, 1 << 32)
        return f"0x{low:X},0x{high:X}"

    @property
    def base64_bits(self) -> str:
        """The feature bits as text of their bytes."""
        return base64.b64encode(self.features.to_bytes(8, "little")).decode().rstrip("=")

    def txt(self, active: bool = False) -> dict[str, str | None]:
        """The properties of the service record.

        Args:
            active: True while somebody plays something.
        """
        flags = self.flags | (SESSION_ACTIVE if active else 0)
        pairs: dict[str, str | None] = {
            "deviceid": self.mac, "features": self.bits, "flags": f"0x{flags:x}",
            "model": self.model, "osvers": self.version,
            "srcvers": self.generation.source_version, "vv": "2", "pi": self.pairing_id,
            "pk": self.public_key.hex(),
        }  # fmt: skip
        if self.generation.airplay == 2:
            own = self.identifier.lower()
            pairs = {
                "acl": self.access, **pairs, "fex": self.base64_bits, "protovers": "1.1",
                "psi": own, "gid": own, "igl": "1", "gcgl": "1",
            }  # fmt: skip
        pairs.update(self.extra)
        return {key: value for key, value in pairs.items() if value is not None}

    def info(self, state: State, sender: str) -> dict[str, Any]:
        """The answer to ``/info``, and what is pushed at the begin of a session.

        Args:
            state: Of the device.
            sender: The client's address and port.
        """
        generation = self.generation
        audio = {"audioStream": 21235712, "bufferStream": 14680064}
        return {
            "name": state.name, "model": self.model, "sourceVersion": generation.source_version,
            "protocolVersion": "1.1", "deviceID": self.mac, "macAddress": self.mac,
            "pi": self.pairing_id, "psi": self.identifier.lower(), "pk": self.public_key,
            "features": self.features, "featuresEx": self.base64_bits, "statusFlags": self.flags,
            "vv": 2, "initialVolume": decibels(state.volume),
            "volumeControlType": 3 if generation.transient else 4, "senderAddress": sender,
            "supportedFormats": {
                "lowLatencyAudioStream": 0, "screenStream": 21235712, **audio,
            },
            "playbackCapabilities": {
                "supportsInterstitials": True, "supportsFPSSecureStop": True,
                "supportsUIForAudioOnlyContent": True,
            },
            "keepAliveLowPower": True, "keepAliveSendStatsAsBody": True,
            "canRecordScreenStream": False, "screenDemoMode": False,
        }  # fmt: skip

    def txt_data(self) -> bytes:
        """The service record as data, in answers to those who ask for it."""
        return encode_txt(self.txt())

    def server_info(self) -> dict[str, Any]:
        """The answer to ``/server-info``."""
        return {
            "deviceid": self.mac, "features": self.features, "model": self.model,
            "protovers": "1.0", "srcvers": self.generation.source_version,
        }  # fmt: skip


def decibels(percent: float) -> float:
    """A volume as AirPlay has it: -30 to 0, and -144 for nothing."""
    return -144.0 if percent <= 0 else -30.0 + 0.3 * percent


def percent(db: float) -> float:
    """A volume that AirPlay has, in percent."""
    return 0.0 if db < -30.0 else min(100.0, (db + 30.0) / 0.3)
