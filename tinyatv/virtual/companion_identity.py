"""What the device says of itself over Companion, and the quirks that it may have."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ..wire.companion_codes import SERVICE

if TYPE_CHECKING:
    from .side import Setup


class CompanionQuirks:
    """What real devices do differently from each other, and what broken ones would do.

    All are off.

    Attributes:
        lenient: Answer unknown requests with nothing, instead of error 58822.
        named_replies: Name the request in its answer (``_i``).
        events_first: What a request changes is told before the request is answered.
        stray: Before each answer, one to a request that was never made.
        eager: ``_iMC`` follows whatever a client registers for, not only that.
        one_text_session: Do not answer ``_tiStart`` while another one is not stopped.
        no_power_events: Say nothing when the device falls asleep or wakes up.
        system_status_only: Say it as ``SystemStatus``, and not as ``TVSystemStatus``.
        noop: An empty frame before each message.
        unknown_frames: A frame of an unknown kind before each message.
        one_byte_writes: Write one byte at a time.
    """

    __slots__ = (
        "eager", "events_first", "lenient", "named_replies", "no_power_events", "noop",
        "one_byte_writes", "one_text_session", "stray", "system_status_only", "unknown_frames",
    )  # fmt: skip  # a misspelt one must not go unnoticed

    def __init__(self) -> None:
        self.lenient = False
        self.named_replies = False
        self.events_first = False
        self.stray = False
        self.eager = False
        self.one_text_session = False
        self.no_power_events = False
        self.system_status_only = False
        self.noop = False
        self.unknown_frames = False
        self.one_byte_writes = False


class CompanionIdentity:
    """What the device says of itself.

    Attributes:
        profile: What its generation does over Companion.
        identifier: A UUID; that of MRP, and of its pairings.
        mac: Hardware address.
        model: ``AppleTV6,2``.
        flags: ``rpFl``.
        allows_pairing: False refuses whoever wants to pair.
        extra: More pairs for the service record; None takes one away.
    """

    def __init__(self, setup: Setup) -> None:
        profile = setup.profile.companion
        if profile is None:
            raise ValueError("a generation without Companion")
        self.profile = profile
        self.identifier = setup.identifier
        self.mac = setup.mac
        self.model = setup.model
        self.flags = profile.flags
        self.allows_pairing = True
        self.extra: dict[str, str | None] = {}

    def txt(self) -> dict[str, str | None]:
        """The properties of the service record."""
        pairs: dict[str, str | None] = {
            "rpMac": "2", "rpHN": self._digits("HN"), "rpFl": f"0x{self.flags:X}",
            "rpHA": self._digits("HA"), "rpMd": self.model,
            "rpVr": self.profile.source_version, "rpAD": self._digits("AD"),
            "rpHI": self._digits("HI"), "rpMRtID": self.identifier, "rpBA": self.mac,
        }  # fmt: skip
        pairs.update(self.extra)
        return {key: value for key, value in pairs.items() if value is not None}

    def system_info(self, name: str, port: int) -> dict[str, Any]:
        """The answer to ``_systemInfo``."""
        return {
            "_bf": 1920, "_cf": 512, "_clFl": 128, "_dCapF": 1, "_i": self._digits("HI"),
            "_idsID": self.identifier, "_lP": port, "_mRtID": self.identifier,
            "_mrID": self.identifier, "_msRo": 1, "_msSt": 1, "_pubID": self.mac, "_sf": 65536,
            "_siriInfo": {"audio-session-coordination.system-info": {"mediaRemoteGroupIdentifier":
                self.identifier}},
            "_stA": [SERVICE, "com.apple.LiveAudio", "com.apple.siri.wakeup"],
            "_sv": self.profile.source_version, "model": self.model, "name": name,
        }  # fmt: skip

    def _digits(self, name: str) -> str:
        """Twelve hex digits that look like those that change every few hours."""
        return hashlib.sha256(f"{name} {self.identifier}".encode()).hexdigest()[:12]
