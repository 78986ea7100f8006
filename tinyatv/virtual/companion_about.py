"""What the device says of itself over Companion, and how generations differ."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from ..wire.companion_codes import SERVICE

HOME_ONLY, PIN_PAIRING = 0x0004, 0x4000  # flags


class Generation(NamedTuple):
    """What devices of one generation have in common.

    Attributes:
        flags: ``rpFl`` of the service record.
        source_version: Of the software.
        remote_sessions: True if it knows ``TVRCSessionStart``.
        attention: How ``FetchAttentionState`` is answered: ``"always"``, ``"error"``, ``"never"``,
            or ``"session"`` for silence until there is such a session.
        refused: Identifiers of clients that are thrown out, since too many use them.
    """

    flags: int
    source_version: str
    remote_sessions: bool = True
    attention: str = "always"
    refused: tuple[str, ...] = ()


_KNOWN = ("cafecafecafe",)

GENERATIONS = {
    "tvos14": Generation(0x36782, "230.1", remote_sessions=False),
    "tvos15": Generation(0x36782, "300.56"),
    "tvos18": Generation(0xB6782, "600.35"),
    "tvos26": Generation(0xB6782, "700.44", attention="session", refused=_KNOWN),
    "tvos27": Generation(0xB6782, "715.2", attention="session", refused=_KNOWN),
}
"""Versions from tvOS 18 on, and which of the older ones know what, are made up."""


class CompanionOddities:
    """What real devices do differently from each other, and what broken ones would do.

    All are off.

    Attributes:
        lenient: Answer requests that nobody knows with nothing, instead of error 58822.
        named_replies: Name the request in its answer (``_i``).
        events_first: What a request changes is told before the request is answered.
        stray: Before each answer, one to a request that nobody made.
        eager: ``_iMC`` follows whatever a client registers for, not only that.
        one_text_session: Do not answer ``_tiStart`` while another one is not stopped.
        no_power_events: Say nothing when the device falls asleep or wakes up.
        system_status_only: Say it as ``SystemStatus``, and not as ``TVSystemStatus``.
        noop: An empty frame before each message.
        unknown_frames: A frame of a kind that nobody knows before each message.
        dribble: Write one byte at a time.
    """

    __slots__ = (
        "dribble", "eager", "events_first", "lenient", "named_replies", "no_power_events", "noop",
        "one_text_session", "stray", "system_status_only", "unknown_frames",
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
        self.dribble = False


class CompanionAbout:
    """What the device says of itself.

    Attributes:
        generation: What it has in common with others.
        identifier: A UUID; that of MRP, and of its pairings.
        mac: Hardware address.
        model: ``AppleTV6,2``.
        flags: ``rpFl``.
        allows_pairing: False refuses whoever wants to pair.
        extra: More pairs for the service record; None takes one away.
    """

    def __init__(
        self, generation: str | Generation, identifier: str, mac: str, model: str
    ) -> None:  # fmt: skip
        if isinstance(generation, str):
            generation = GENERATIONS[generation]
        self.generation = generation
        self.identifier = identifier
        self.mac = mac
        self.model = model
        self.flags = generation.flags
        self.allows_pairing = True
        self.extra: dict[str, str | None] = {}

    def txt(self) -> dict[str, str | None]:
        """The properties of the service record."""
        pairs: dict[str, str | None] = {
            "rpMac": "2", "rpHN": self._digits("HN"), "rpFl": f"0x{self.flags:X}",
            "rpHA": self._digits("HA"), "rpMd": self.model,
            "rpVr": self.generation.source_version, "rpAD": self._digits("AD"),
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
            "_sv": self.generation.source_version, "model": self.model, "name": name,
        }  # fmt: skip

    def _digits(self, name: str) -> str:
        """Twelve hex digits that look like those that change every few hours."""
        return hashlib.sha256(f"{name} {self.identifier}".encode()).hexdigest()[:12]
