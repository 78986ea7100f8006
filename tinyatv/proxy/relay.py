"""Raw TCP: whatever it is, passed on and counted, and nothing decrypted."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..addresses import is_loopback
from ..errors import AppleTVError
from ..link import Link, Listener, open_socket
from .bridge import Bridge, Tap

if TYPE_CHECKING:
    from ..discovery import Announcement

log = logging.getLogger(__name__)

TIMEOUT = 60.0  # s that one end may refuse to read until it is given up


class RawWire:
    """Bytes are the messages."""

    has_replies = False

    def __init__(self) -> None:
        self._data = b""

    def encode(self, message: bytes) -> bytes:
        """The same bytes."""
        return message

    def feed(self, data: bytes) -> None:
        """Store received bytes."""
        self._data += data

    def next_message(self) -> bytes | None:
        """All that is there, or None."""
        data, self._data = self._data, b""
        return data or None

    def pending_replies(self) -> bytes:
        """Nothing."""
        return b""

    def key(self, message: bytes) -> None:
        """None: nothing is paired."""
        return None


class Relay:
    """Listens at a port, and passes all bytes between whoever comes and a device.

    Args:
        target: Its address.
        target_port: Its port.
        tap: Who looks on.
        host: Own address to listen on.
        port: Own port; 0 picks a free one.
        protocol: What the bytes are called when shown.

    Attributes:
        host: Own address.
        port: Own port.

    Raises:
        OSError: The port is taken.
    """

    def __init__(
        self,
        target: str,
        target_port: int,
        tap: Tap,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        protocol: str = "relay",
    ) -> None:
        self._target = target, target_port
        self._tap = tap
        self._protocol = protocol
        self._lock = threading.Lock()
        self._bridges: list[Bridge] = []
        self._publication: Announcement | None = None
        self._listener = Listener(self._accepted, host, port, "tinyatv-proxy-relay-accept")
        self.host, self.port = self._listener.host, self._listener.port

    def start(self) -> Relay:
        """Start to accept."""
        self._listener.start()
        return self

    def announce(self, kind: str, instance: str, properties: Mapping[str, str | None]) -> None:
        """Announce it by multicast DNS until it stops.

        Args:
            kind: Service type: ``_airplay._tcp.local.``.
            instance: Name.
            properties: TXT record.

        Raises:
            AppleTVError: Not possible here, or the name is taken.
            ValueError: It cannot be announced like this.
        """
        from ..discovery import Announcement

        publication = Announcement(self.host, quick=is_loopback(self.host))
        self._publication = publication
        publication.add(kind, instance, self.port, properties)

    def stop(self) -> None:
        """Stop listening, drop all peers, join all threads. Safe to call twice."""
        if self._publication is not None:
            self._publication.close()
        self._listener.close()
        with self._lock:
            bridges = self._bridges
        for bridge in bridges:
            bridge.close()

    def __enter__(self) -> Relay:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accepted(self, sock: socket.socket, address: tuple[str, int]) -> None:
        bridge = Bridge(self._tap, self._protocol)
        name = f"tinyatv-proxy-relay-{address[0]}:{address[1]}"
        options: dict[str, Any] = {"timeout": TIMEOUT}
        try:
            far = open_socket(*self._target, 10.0, self._protocol)
        except AppleTVError as exc:
            sock.close()
            bridge.over(f"device: {exc}")
            return
        bridge.near = Link(
            sock, RawWire(), bridge.to_device, lost=bridge.near_lost, name=f"{name}-controller",
            **options,
        )  # fmt: skip
        bridge.far = Link(
            far, RawWire(), bridge.to_client, lost=bridge.far_lost, name=f"{name}-device",
            **options,
        )  # fmt: skip
        with self._lock:
            self._bridges = [one for one in self._bridges if not one.is_over] + [bridge]
        bridge.near.start()
        bridge.far.start()
