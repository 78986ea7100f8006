"""MRP, directly: up to tvOS 14."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .. import proto
from ..backends.mrp import secure
from ..errors import AppleTVError
from ..link import Link, keep_alive, open_socket
from ..pairing.credentials import parse
from ..proto.commands import NOT_PAIRED
from ..virtual.mrp import MrpPeer, VirtualMrp
from ..wire.mrp import OPEN_LIMIT, MrpWire
from .bridge import Bridge, Bridges, Tap, Target

if TYPE_CHECKING:
    from ..model import Device, Service
    from ..virtual.side import Setup

log = logging.getLogger(__name__)


class ProxyMrp(VirtualMrp):
    """Pairs with controllers itself, and passes on what they say once they are verified.

    Args:
        target: The real device.
        tap: Who looks on.
        setup: As for :class:`VirtualMrp`.
    """

    @staticmethod
    def target(device: Device, service: Service) -> Target:
        """How to reach the real device; without credentials in clear."""
        return Target(device, service, parse(service.credentials or None).checked(), "tvos14")

    def __init__(self, target: Target, tap: Tap, setup: Setup) -> None:
        super().__init__(setup)
        self._target = target
        self._bridges = Bridges(tap, "mrp")

    def received(self, peer: MrpPeer, message: proto.Message) -> None:
        """A controller says something."""
        bridge = self._bridges.get(peer)
        if message.kind == proto.CRYPTO_PAIRING:
            super().received(peer, message)
        elif bridge is None:
            if message.kind == proto.DEVICE_INFO:
                self._meet(peer, message)
        elif peer.client is None:
            self._acknowledge(peer, message, NOT_PAIRED)
        else:
            bridge.to_device(message)

    def _meet(self, peer: MrpPeer, message: proto.Message) -> None:
        """A controller introduces itself: so do we, in its words, to the device."""
        bridge = self._bridges.new(peer, peer.link)
        bridge.own = self._own
        bridge.show(message, True)
        try:
            link, answer = self._connect(bridge, message)
            bridge.show(answer, False)
            peer.info = message.body
            peer.send(self._own(answer))
            link.start()
        except AppleTVError as exc:
            bridge.over(f"device: {exc}")

    def _connect(self, bridge: Bridge, message: proto.Message) -> tuple[Link, proto.Message]:
        """Connect to the device, verify each other; returns its DEVICE_INFO as well."""
        target, credentials = self._target, self._target.credentials
        sock = open_socket(target.hosts, target.port, target.timeout, "mrp")
        keep_alive(sock)
        wire = MrpWire(proto.dumps, proto.parse, proto.key)
        link = Link(
            sock, wire, bridge.to_client, lost=bridge.far_lost, timeout=target.timeout,
            name=f"{self.name}-device-{target.device.address}", prepare=wire.prepare,
        )  # fmt: skip
        self._bridges.connected(bridge, link)
        hello = _copy(message)
        if credentials.kind == "hap":
            who = credentials.client_id.decode("utf-8", "replace")
            hello.envelope.deviceInfoMessage.uniqueIdentifier = who
        answer: proto.Message = link.request(hello)
        if credentials.kind == "hap":
            secure(link, wire, credentials)
        else:
            wire.limit = OPEN_LIMIT
        return link, answer

    def _own(self, message: proto.Message) -> proto.Message:
        """What the device says of itself, but as the one that was announced."""
        if message.kind not in (proto.DEVICE_INFO, proto.DEVICE_INFO_UPDATE):
            return message
        copy = _copy(message)
        info = copy.envelope.deviceInfoMessage
        info.uniqueIdentifier, info.name = self.identity.identifier, self._state.name
        return copy

    def on_disconnect(self, peer: MrpPeer) -> None:
        """A controller has left."""
        super().on_disconnect(peer)
        self._bridges.left(peer, peer.link.error)

    def stop(self) -> None:
        """Stop listening, drop all peers, join all threads."""
        super().stop()
        self._bridges.close()


def _copy(message: proto.Message) -> proto.Message:
    envelope = type(message.envelope)()
    envelope.CopyFrom(message.envelope)
    return proto.Message(envelope)
