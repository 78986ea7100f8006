"""Companion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backends.companion import secure
from ..errors import PAIR_FIRST, AppleTVError, CredentialsError
from ..link import Link, keep_alive, open_socket
from ..pairing.credentials import parse
from ..virtual.companion import CompanionPeer, VirtualCompanion
from ..wire.companion import AUTH, CompanionWire
from .bridge import Bridge, Bridges, Tap, Target, profile_of, txt_of_target

if TYPE_CHECKING:
    from ..model import Device, Service
    from ..virtual.side import Setup

IDENTITY = ("rpmrtid", "rpba", "rphn", "rpha", "rpad", "rphi")  # TXT keys, in lower case


class ProxyCompanion(VirtualCompanion):
    """Pairs with controllers itself, and passes on what they say once they are verified.

    Args:
        target: The real device.
        tap: Who looks on.
        setup: As for :class:`VirtualCompanion`.
    """

    @staticmethod
    def target(device: Device, service: Service) -> Target:
        """How to reach the real device.

        Raises:
            CredentialsError: It is not paired.
        """
        credentials = parse(service.credentials or None).checked()
        if credentials.kind == "null":
            raise CredentialsError(f"{device.name} is not paired (companion): {PAIR_FIRST}")
        return Target(device, service, credentials, profile_of(device))

    def __init__(self, target: Target, tap: Tap, setup: Setup) -> None:
        super().__init__(setup)
        self.identity.extra = txt_of_target(target, self.identity.txt(), IDENTITY)
        self._target = target
        self._bridges = Bridges(tap, "companion")

    def received(self, peer: CompanionPeer, frame: tuple[int, dict[Any, Any]]) -> None:
        """A controller says something."""
        if frame[0] in AUTH:
            super().received(peer, frame)
            return
        # Nothing else comes in before there are keys: the wire refuses it.
        bridge = self._bridges.get(peer)
        try:
            if bridge is None:
                bridge = self._bridges.new(peer, peer.link)
                self._connect(bridge).start()
            bridge.to_device(frame)
        except AppleTVError as exc:
            if bridge is not None:
                bridge.over(f"device: {exc}")

    def _connect(self, bridge: Bridge) -> Link:
        target = self._target
        sock = open_socket(target.hosts, target.port, target.timeout, "companion")
        keep_alive(sock)
        wire = CompanionWire()
        link = Link(
            sock, wire, bridge.to_client, lost=bridge.far_lost, timeout=target.timeout,
            name=f"{self.name}-device-{target.device.address}", prepare=wire.prepare,
        )  # fmt: skip
        self._bridges.connected(bridge, link)
        secure(link, wire, target.credentials)
        return link

    def on_disconnect(self, peer: CompanionPeer) -> None:
        """A controller has left."""
        super().on_disconnect(peer)
        self._bridges.left(peer, peer.link.error)

    def stop(self) -> None:
        """Stop listening, drop all peers, join all threads."""
        super().stop()
        self._bridges.close()
