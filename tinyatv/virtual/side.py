"""The contract between the virtual device and its protocols: one side serves one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..discovery.records import Record
    from ..pairing.accessory import Accessory
    from .faults import Faults
    from .profiles import Profile
    from .state import State


class Setup:
    """What a side is made with; its class takes this and nothing else.

    Attributes:
        state: What the device does, shared by all sides.
        faults: How it misbehaves, likewise.
        host: Address to listen on.
        port: TCP port; 0 picks a free one, None has none: clients come through another side.
        thread: Prefix of the threads' names.
        profile: Which generation it is.
        name: What the device is called.
        identifier: A UUID, or 16 hex digits.
        mac: Hardware address, upper case with colons.
        model: ``AppleTV6,2``.
        version: Version of its system.
        build: Build of its system.
        home_sharing: Home Sharing id that logs in without pairing, or None.
        password: Of the device, or None.
        sides: The sides that there are already, by protocol: a tunnel leads to one of them.
    """

    def __init__(
        self,
        *,
        state: State,
        faults: Faults,
        host: str,
        port: int | None,
        thread: str,
        profile: Profile,
        name: str,
        identifier: str,
        mac: str,
        model: str,
        version: str = "",
        build: str = "",
        home_sharing: str | None = None,
        accessory: Accessory | None = None,
        sides: Mapping[str, Side] | None = None,
        password: str | None = None,
    ) -> None:
        self.state = state
        self.faults = faults
        self.host = host
        self.port = port
        self.thread = thread
        self.profile = profile
        self.name = name
        self.identifier = identifier
        self.mac = mac
        self.model = model
        self.version = version
        self.build = build
        self.home_sharing = home_sharing
        self.sides: Mapping[str, Side] = {} if sides is None else sides
        self.password = password
        self._accessory = accessory

    @property
    def accessory(self) -> Accessory:
        """The device's memory of pairings."""
        if self._accessory is None:
            raise ValueError("a device without HomeKit pairing")
        return self._accessory


class Side(Protocol):
    """The device's end of one protocol."""

    @property
    def port(self) -> int:
        """TCP port; 0 if clients come through another side."""

    @property
    def requests(self) -> list[Any]:
        """What it received, in order."""

    @property
    def accepted(self) -> set[str] | None:
        """Credentials of its own that may log in; None if the accessory knows who may."""

    def start(self) -> None:
        """Start accepting connections."""

    def stop(self) -> None:
        """Stop listening, close all connections, join all threads."""

    def drop_peers(self) -> None:
        """Close all connections, as a reboot would."""

    def restore_from(self, before: Any) -> None:
        """Take over the settings of the side of the same class that ran before a reboot."""

    def records(self) -> list[Record]:
        """The service records that announce it; none if it has no port of its own."""
