"""AirPlay: every request of the control connection, the event channel, and MRP in its tunnel.

What the device opens further ports for is passed through a port of ours each. Audio and timing are
not: they are UDP, and go to whoever the controller takes for the device.
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

from .. import proto
from ..backends.airplay import device_key, is_legacy, tunnel_credentials
from ..backends.airplay_session import ControlConnection
from ..crypto.chacha20poly1305 import Session as Ciphers
from ..errors import PAIR_FIRST, AppleTVError, ConnectionLost, CredentialsError
from ..link import Link, Listener
from ..pairing.credentials import parse
from ..pairing.hap import channel_keys
from ..virtual.airplay import VirtualAirPlay, is_open
from ..virtual.airplay_peer import AirPlayPeer
from ..virtual.server import HttpServer, Peer, Query
from ..wire import plist
from ..wire.airplay_codes import AUTHORIZE, STREAM
from ..wire.datastream import DataStreamWire
from ..wire.hap import HapWire
from ..wire.http import HttpWire, Request, Response
from .bridge import Bridge, Tap, Target, profile_of, txt_of_target

if TYPE_CHECKING:
    from ..model import Device, Service
    from ..virtual.side import Setup

log = logging.getLogger(__name__)

IDENTITY = ("deviceID", "macAddress", "pi", "psi", "pk", "name", "txtAirPlay")  # in /info
SERVER_IDENTITY = ("deviceid",)  # in /server-info
TXT_IDENTITY = ("deviceid", "pi", "psi", "pk", "gid", "acl", "hgid", "hmid")  # in lower case


class ProxyAirPlay(VirtualAirPlay):
    """Pairs with controllers itself, and passes on what they say once they are verified.

    Args:
        target: The real device.
        tap: Who looks on.
        setup: As for :class:`VirtualAirPlay`.
    """

    @staticmethod
    def target(device: Device, service: Service) -> Target:
        """How to reach the real device.

        Raises:
            CredentialsError: It is not paired.
        """
        credentials = parse(service.credentials or None).checked()
        if is_legacy(service):
            return Target(device, service, credentials, "airplay1")
        credentials = tunnel_credentials(service, device.info) or credentials
        if credentials.kind == "null":
            raise CredentialsError(f"{device.name} is not paired (airplay): {PAIR_FIRST}")
        model = service.properties.get("model") or device.info.raw_model or ""
        profile = "homepod" if model.startswith("AudioAccessory") else profile_of(device)
        return Target(device, service, credentials, profile)

    def __init__(self, target: Target, tap: Tap, setup: Setup) -> None:
        self.real = target
        self.tap = tap
        super().__init__(setup)
        self.identity.extra = txt_of_target(target, self.identity.txt(), TXT_IDENTITY)

    def _new_peer(
        self, sock: socket.socket, address: tuple[str, int], server: HttpServer
    ) -> AirPlayPeer:
        return ProxyPeer(sock, address, server, self)

    def _answer(self, peer: Peer, query: Query) -> Response | None:
        assert isinstance(peer, ProxyPeer), "we made it"
        request = query.request
        peer.bridge.show(request, True)
        if query.path.startswith("/pair-"):
            answer = super()._answer(peer, query)
            if answer is not None:
                peer.bridge.show(answer, False)
            return answer
        if not is_open(query.path) and query.method != "OPTIONS" and not self._may(peer):
            answer = Response(AUTHORIZE if self.identity.profile.airplay == 2 else 403)
            peer.bridge.show(answer, False)
            return answer
        try:
            answer = peer.control().forward(request)
            peer.bridge.show(answer, False)
            peer.forwarded = self._own(peer, request, answer)
        except (AppleTVError, ValueError) as exc:
            peer.bridge.over(f"device: {exc}")
            return None
        return peer.forwarded

    def _own(self, peer: ProxyPeer, request: Request, answer: Response) -> Response:
        """An answer of the device in which our ports stand, and who we are."""
        if answer.code != 200 or not answer.body:
            return answer
        if request.method == "SETUP":
            told, asked = plist.loads(answer.body), plist.loads(request.body)
            if not isinstance(told, dict) or not isinstance(asked, dict):
                return answer
            self._open_channels(peer, told, asked)
        elif request.path.partition("?")[0] == "/info":
            told = plist.loads(answer.body)
            if not isinstance(told, dict):
                return answer
            own: dict[str, Any] = self.identity.info(self._state, peer.sender)
            own["txtAirPlay"] = self.identity.txt_data()
            told.update({key: own[key] for key in IDENTITY if key in told})
        elif request.path.partition("?")[0] == "/server-info":
            told = plist.loads(answer.body)
            if not isinstance(told, dict):
                return answer
            own = self.identity.server_info()
            told.update({key: own[key] for key in SERVER_IDENTITY if key in told})
        else:
            return answer
        headers = [(n, v) for n, v in answer.headers if n.lower() != "content-length"]
        body = plist.dumps(told)
        return Response(answer.code, answer.reason, headers, body, answer.protocol)

    def _open_channels(self, peer: ProxyPeer, told: dict[str, Any], asked: dict[str, Any]) -> None:
        """Put our ports in the place of the device's."""
        event_port = told.get("eventPort")
        if isinstance(event_port, int) and 0 < event_port < 65536:
            told["eventPort"] = peer.open_channel("events", event_port)
        streams, wanted = told.get("streams"), asked.get("streams")
        if not isinstance(streams, list) or not isinstance(wanted, list):
            return
        for stream, request in zip(streams, wanted):
            if not isinstance(stream, dict) or not isinstance(request, dict):
                continue
            port, seed = stream.get("dataPort"), request.get("seed")
            if request.get("type") != STREAM or not isinstance(seed, int):
                continue
            if isinstance(port, int) and 0 < port < 65536:
                stream["dataPort"] = peer.open_channel("datastream", port, seed)


class ProxyPeer(AirPlayPeer):
    """A controller that is connected.

    Attributes:
        bridge: Who looks on, and what ends both.
        forwarded: The last answer of the device, which is sent as it is.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        server: HttpServer,
        airplay: ProxyAirPlay,
    ) -> None:
        self._proxy = airplay
        self._lock = threading.Lock()
        self._control: ControlConnection | None = None
        self._channels: list[Channel] = []
        self._gone = False
        self.forwarded: Response | None = None
        self.bridge = Bridge(airplay.tap, "airplay")
        super().__init__(
            sock, address, server, airplay.accessory, airplay.identity, airplay.quirks,
            airplay.player,
        )  # fmt: skip
        self.bridge.near = self.link

    def control(self) -> ControlConnection:
        """The connection to the device; made when it is first needed.

        Raises:
            AppleTVError: There is no way to it.
        """
        target = self._proxy.real
        with self._lock:
            if self._gone:
                raise ConnectionLost("closed")
            if self._control is not None:
                return self._control
            self._control = control = ControlConnection(
                target.hosts, target.port, target.credentials, timeout=target.timeout,
                password=target.service.password,
                device_key=device_key(target.service.properties), lost=self.bridge.far_lost,
            )  # fmt: skip
        control.open()
        return control

    def open_channel(self, kind: str, port: int, seed: int | None = None) -> int:
        """Connect to a port of the device, and open one of ours for it.

        Args:
            kind: Of the keys: ``"events"`` or ``"datastream"``.
            port: Of the device.
            seed: For the keys of a data stream.

        Returns:
            Our port.

        Raises:
            ConnectionLost: Everything is being closed.
            ConnectionFailed: The device's port does not open.
        """
        control = self.control()
        assert self.secret is not None, "SETUP is passed on for verified controllers only"
        assert control.secret is not None, "the device has taken SETUP"
        near, far = _wire(kind, True), _wire(kind, False)
        theirs, ours = channel_keys(self.secret, kind, seed)
        near.secure(Ciphers(ours, theirs))
        far.secure(Ciphers(*channel_keys(control.secret, kind, seed)))
        name = f"{self._proxy.name}-{kind}-{self.address[1]}"
        bridge = Bridge(self._proxy.tap, "airplay" if kind == "events" else "mrp")
        channel = Channel(
            bridge, control.channel_socket(port), near, far, self._proxy.host, name,
            self._proxy.real.timeout,
        )  # fmt: skip
        with self._lock:
            self._channels.append(channel)
            gone = self._gone
        if gone:
            channel.close()
            raise ConnectionLost("closed")
        return channel.start()

    def finish(self, request: Request, response: Response) -> None:
        """Put in what all answers have; those of the device have it."""
        if response is not self.forwarded:
            super().finish(request, response)

    def on_disconnect(self) -> None:
        """The controller has left."""
        with self._lock:
            self._gone = True
            control, channels = self._control, self._channels
        self.bridge.near_lost(self.link.error)
        for channel in channels:
            channel.close()
        if control is not None:
            control.close()
        super().on_disconnect()


class Channel:
    """A further connection of a session: waits for the controller to come.

    Args:
        bridge: Lets everything pass.
        sock: Connected to the device.
        near: What the controller speaks.
        far: What the device speaks.
        host: Own address to listen on.
        name: Prefix of the threads' names.
        timeout: Seconds that either may refuse to read.
    """

    def __init__(
        self,
        bridge: Bridge,
        sock: socket.socket,
        near: HapWire,
        far: HapWire,
        host: str,
        name: str,
        timeout: float,
    ) -> None:
        self._bridge = bridge
        self._near = near
        self._name = name
        self._timeout = timeout
        self._lock = threading.Lock()
        self._closed = False
        bridge.far = self._far = Link(
            sock, far, bridge.to_client, lost=bridge.far_lost, name=f"{name}-device",
            timeout=timeout, prepare=far.prepare,
        )  # fmt: skip
        self._door = Listener(self._came, host, 0, f"{name}-accept")

    def start(self) -> int:
        """Start to accept; returns the port."""
        self._door.start()
        port: int = self._door.port
        return port

    def _came(self, sock: socket.socket, address: tuple[str, int]) -> None:
        bridge = self._bridge
        with self._lock:
            if self._closed or bridge.near is not None:
                sock.close()
                return
            bridge.near = Link(
                sock, self._near, bridge.to_device, lost=bridge.near_lost,
                name=f"{self._name}-controller", timeout=self._timeout, prepare=self._near.prepare,
            )  # fmt: skip
            bridge.near.start()
            self._far.start()

    def close(self) -> None:
        """End both connections, and join all threads."""
        with self._lock:
            self._closed = True
        self._door.close()
        self._bridge.close()


def _wire(kind: str, device: bool) -> HapWire:
    if kind == "events":
        return HapWire(HttpWire())
    return HapWire(DataStreamWire(proto.dumps, proto.parse, proto.key, device=device))
