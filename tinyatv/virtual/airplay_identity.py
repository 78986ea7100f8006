"""What the device says of itself over AirPlay, and the quirks that it may have."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from ..discovery.records import encode_txt
from ..wire.volume import decibels

if TYPE_CHECKING:
    from .side import Setup
    from .state import State

SESSION_ACTIVE = 1 << 17  # flag


class AirPlayIdentity:
    """What the device says of itself.

    Attributes:
        profile: What its generation does over AirPlay.
        identifier: Of the device: a UUID, or 16 hex digits.
        mac: Hardware address; the identifier of this service.
        model: ``AppleTV6,2``.
        version: Of its system.
        public_key: That it proves itself with, 32 bytes.
        pairing_id: UUID that others know it by (``pi``).
        access: ``"1"`` admits members of the home only.
        flags: Status flags.
        features: Feature bits.
        extra: More pairs for the service record; None takes one away.
    """

    def __init__(self, setup: Setup) -> None:
        profile = setup.profile.airplay
        if profile is None:
            raise ValueError("a generation without AirPlay")
        self.profile = profile
        self.identifier = setup.identifier
        self.mac = setup.mac
        self.model = setup.model
        self.version = setup.version
        self.public_key = setup.accessory.identity.public
        digest = hashlib.sha256(f"airplay {self.identifier}".encode()).digest()
        self.pairing_id = str(uuid.UUID(bytes=digest[:16], version=4))
        self.access = "0"
        self.flags = profile.flags
        self.features = profile.features
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
            active: True while a sender plays something.
        """
        flags = self.flags | (SESSION_ACTIVE if active else 0)
        pairs: dict[str, str | None] = {
            "deviceid": self.mac, "features": self.bits, "flags": f"0x{flags:x}",
            "model": self.model, "osvers": self.version,
            "srcvers": self.profile.source_version, "vv": "2", "pi": self.pairing_id,
            "pk": self.public_key.hex(),
        }  # fmt: skip
        if self.profile.airplay == 2:
            own = self.identifier.lower()
            pairs = {
                "acl": self.access, **pairs, "fex": self.base64_bits, "protovers": "1.1",
                "psi": own, "gid": own, "igl": "1", "gcgl": "1",
            }  # fmt: skip
        pairs.update(self.extra)
        return {key: value for key, value in pairs.items() if value is not None}

    def info(self, state: State, sender: str) -> dict[str, Any]:
        """The answer to ``/info``, and what is pushed at the start of a session.

        Args:
            state: Of the device.
            sender: The client's address and port.
        """
        profile = self.profile
        audio = {"audioStream": 21235712, "bufferStream": 14680064}
        return {
            "name": state.name, "model": self.model, "sourceVersion": profile.source_version,
            "protocolVersion": "1.1", "deviceID": self.mac, "macAddress": self.mac,
            "pi": self.pairing_id, "psi": self.identifier.lower(), "pk": self.public_key,
            "features": self.features, "featuresEx": self.base64_bits, "statusFlags": self.flags,
            "vv": 2, "initialVolume": decibels(state.volume),
            "volumeControlType": 3 if profile.transient else 4, "senderAddress": sender,
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
            "protovers": "1.0", "srcvers": self.profile.source_version,
        }  # fmt: skip


class AirPlayQuirks:
    """How sessions are peculiar. All are off but those with a number.

    Attributes:
        http_errors: Answer RTSP requests that are refused as if they had been HTTP.
        cseq_zero: Answer HTTP requests with a CSeq of 0.
        event_delay: Seconds that the event port opens late; before that it refuses.
        no_events: Push nothing on the event channel.
        event_deadline: Seconds within which what is pushed must be answered.
        event_patience: Seconds that RECORD waits for the event channel to be connected.
        timing_deadline: Seconds within which the client's timing port must answer.
        named_state: Say the state of a played URL in ``name``, not in ``params``.
        ping_after: Seconds of quiet on a data stream after which the device pings; None never does.
        unprefixed: Send a message without length at the start of a data stream.
        batch: Put all messages that belong together into one frame of the data stream.
        split: Seal header and content of each frame on the data stream for themselves.
        one_byte_writes: Write data streams one byte at a time.
    """

    __slots__ = (
        "batch", "cseq_zero", "one_byte_writes", "event_deadline", "event_delay", "event_patience",
        "http_errors", "named_state", "no_events", "ping_after", "split", "timing_deadline",
        "unprefixed",
    )  # fmt: skip  # a misspelt one must not go unnoticed

    def __init__(self) -> None:
        self.http_errors = False
        self.cseq_zero = False
        self.event_delay = 0.0
        self.no_events = False
        self.event_deadline = 30.0
        self.event_patience = 2.0
        self.timing_deadline = 30.0
        self.named_state = False
        self.ping_after: float | None = None
        self.unprefixed = False
        self.batch = False
        self.split = False
        self.one_byte_writes = False
