"""The device side of RAOP: a speaker that takes sound from one sender at a time."""

from __future__ import annotations

import math
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Callable

from ..pairing import digest
from ..pairing.hap_device import Handshakes
from ..wire import dmap, plist, sdp
from ..wire import raop_codes as codes
from ..wire.airplay_codes import BUSY, OCTETS, PARAMETERS, PLIST, WRONG_STATE
from ..wire.dmap_codes import CONTENT_TYPE
from ..wire.http import Request, Response
from ..wire.volume import decibels, percent
from .raop_receiver import Heard, RaopQuirks, Receiver
from .server import HttpServer, Peer, Query

if TYPE_CHECKING:
    from ..discovery.records import Record
    from ..pairing.accessory import Accessory
    from .side import Setup

REALM = "raop"
OPEN = ("/info", "/auth-setup", "/pair-verify")  # need no password
METHODS = (
    "ANNOUNCE", "SETUP", "RECORD", "FLUSH", "TEARDOWN", "OPTIONS", "GET_PARAMETER",
    "SET_PARAMETER", "POST", "GET",
)  # fmt: skip


class RaopPeer(Peer):
    """A client that is connected.

    Attributes:
        nonce: What it must use to prove that it knows the password.
        heard: What it has announced, or None.
        receiver: What receives it, or None.
        authorized: True once it has sent ``/auth-setup``.
        handshakes: Those that it begins.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        server: HttpServer,
        agent: str,
        accessory: Accessory,
    ) -> None:
        self.handshakes = Handshakes(accessory, self)
        self.nonce = secrets.token_hex(16)
        self.heard: Heard | None = None
        self.receiver: Receiver | None = None
        self.authorized = False
        self._agent = agent
        super().__init__(sock, address, server)

    def finish(self, request: Request, response: Response) -> None:
        """Put in what all answers have."""
        response.protocol = request.protocol
        response.headers.append(("Server", self._agent))
        cseq = request.header("CSeq")
        if cseq is not None:
            response.headers.append(("CSeq", cseq))

    def end(self) -> None:
        """End the stream, if there is one."""
        heard, self.heard = self.heard, None
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.close()
        if heard is not None:
            heard.over = True

    def on_disconnect(self) -> None:
        """The connection ended."""
        self.end()
        self.handshakes.close()


class VirtualRaop:
    """Serves RAOP.

    Args:
        setup: What it is made with.

    Attributes:
        quirks: How it misbehaves.
        password: Password that is asked for, or None.
        streams: What it was sent, the newest last.
        extra: More pairs for the service record; None takes one away.
    """

    protocol = "raop"
    kind = "_raop._tcp.local."
    accepted = None

    def __init__(self, setup: Setup) -> None:
        profile = setup.profile.raop
        if profile is None:
            raise ValueError("a generation without RAOP")
        self.profile = profile
        self.host = setup.host
        self.name = setup.thread
        self.quirks = RaopQuirks()
        self.password = setup.password
        self.streams: list[Heard] = []
        self.extra: dict[str, str | None] = {}
        self._setup = setup
        self._state = setup.state
        self._lock = threading.Lock()  # over who streams
        self.server = HttpServer(
            self._answer, lambda query: (query.method, query.path), setup.faults,
            setup.state.notify, setup.host, setup.port or 0, self.name, self._new_peer,
        )  # fmt: skip
        self.port = self.server.port
        self._handlers: dict[tuple[str, str], Callable[[RaopPeer, Query], Response]] = {
            ("GET", "/info"): self._info,
            ("POST", "/auth-setup"): self._auth_setup,
            ("POST", "/feedback"): self._feedback,
            ("POST", "/pair-verify"): self._pair_verify,
        }
        self._methods: dict[str, Callable[[RaopPeer, Query], Response]] = {
            "OPTIONS": self._options,
            "ANNOUNCE": self._announce,
            "SETUP": self._set_up,
            "RECORD": self._record,
            "FLUSH": self._flush,
            "TEARDOWN": self._teardown,
            "SET_PARAMETER": self._set_parameter,
            "GET_PARAMETER": self._get_parameter,
        }

    def _new_peer(
        self, sock: socket.socket, address: tuple[str, int], server: HttpServer
    ) -> RaopPeer:
        agent = f"AirTunes/{self.profile.source_version}"
        return RaopPeer(sock, address, server, agent, self._setup.accessory)

    # -- life ------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[tuple[str, str]]:
        """(method, path) of all requests, in order."""
        return self.server.requests

    @property
    def peers(self) -> list[RaopPeer]:
        """The clients that are connected now."""
        return [peer for peer in self.server.peers if isinstance(peer, RaopPeer)]

    def start(self) -> None:
        """Start accepting connections."""
        self.server.start()

    def stop(self) -> None:
        """Stop listening, close all connections, join all threads."""
        peers = self.peers
        self.server.stop()
        for peer in peers:
            peer.end()

    def drop_peers(self) -> None:
        """Close all connections, as a reboot would."""
        self.server.drop_peers()

    def restore_from(self, before: VirtualRaop) -> None:
        """Take over the settings of the one before a reboot."""
        self.quirks, self.password, self.streams = before.quirks, before.password, before.streams
        self.extra = before.extra
        self.server.requests = before.server.requests

    def records(self) -> list[Record]:
        """The service record that announces it."""
        from ..discovery.records import Record

        pairs: dict[str, str | None] = {
            "txtvers": "1", "ch": "2", "cn": "0,1", "da": "true", "et": self.profile.encryption,
            "md": "0,1,2", "pw": "true" if self.password is not None else "false", "sr": "44100",
            "ss": "16", "tp": "UDP", "vn": "65537", "vs": self.profile.source_version,
            "am": self._setup.model, "ov": self._setup.version, "sf": "0x4", **self.extra,
        }  # fmt: skip
        txt = {key: value for key, value in pairs.items() if value is not None}
        instance = f"{self._setup.mac.replace(':', '')}@{self._setup.name}"
        return [Record(self.kind, instance, self.port, self.host, txt)]

    # -- requests --------------------------------------------------------------------------------

    def _answer(self, peer: Peer, query: Query) -> Response | None:
        assert isinstance(peer, RaopPeer), "we made it"
        handler = self._handlers.get((query.method, query.path))
        if handler is None and query.method in ("GET", "POST"):
            return Response(404)
        if query.path not in OPEN:
            if "4" in self.profile.encryption and query.method != "OPTIONS" and not peer.authorized:
                return Response(403)
            challenge = self._challenge(peer, query)
            if challenge is not None:
                return challenge
        handler = handler or self._methods.get(query.method)
        return Response(501) if handler is None else handler(peer, query)

    def _challenge(self, peer: RaopPeer, query: Query) -> Response | None:
        """Ask for the password; None if there is none, or it is known."""
        request = query.request
        if self.password is None or query.method == "OPTIONS":
            return None
        given = request.header("Authorization")
        if digest.authorized(given, self.password, REALM, peer.nonce, request.method, request.path):
            return None
        return Response(401, headers=[("WWW-Authenticate", digest.challenge(REALM, peer.nonce))])

    def _info(self, peer: RaopPeer, query: Query) -> Response:
        if not self.profile.info:
            return Response(404)
        if self.quirks.empty_info:
            return Response(200)
        body = plist.dumps({
            "name": self._setup.name, "model": self._setup.model, "deviceID": self._setup.mac,
            "initialVolume": decibels(self._state.volume),
        })  # fmt: skip
        return Response(200, headers=[("Content-Type", PLIST)], body=body)

    def _auth_setup(self, peer: RaopPeer, query: Query) -> Response:
        if len(query.body) != 33 or query.body[:1] != b"\1":
            return Response(400)
        peer.authorized = True
        nothing = (4).to_bytes(4, "big") + bytes(4)  # no client checks certificate and signature
        body = secrets.token_bytes(32) + nothing + nothing
        return Response(200, headers=[("Content-Type", OCTETS)], body=body)

    def _pair_verify(self, peer: RaopPeer, query: Query) -> Response:
        """Verify each other by HAP; what follows stays in clear."""
        if query.request.header("X-Apple-HKP") != "3":
            return Response(404)
        reply = peer.handshakes.answer(query.body)
        return Response(200, headers=[("Content-Type", OCTETS)], body=bytes(reply))

    def _feedback(self, peer: RaopPeer, query: Query) -> Response:
        return Response(200 if self.profile.info else 501)

    def _options(self, peer: RaopPeer, query: Query) -> Response:
        return Response(200, headers=[("Public", ", ".join(METHODS))])

    def _announce(self, peer: RaopPeer, query: Query) -> Response:
        try:
            description = sdp.decode(query.body)
        except ValueError:
            return Response(400)
        if description.encrypted or description.codec not in (codes.ALAC, codes.L16):
            return Response(415)
        with self._lock:
            if any(one.heard is not None for one in self.peers if one is not peer):
                return Response(BUSY)
            peer.end()
            peer.heard = Heard(description)
            self.streams.append(peer.heard)
        return Response(200)

    def _set_up(self, peer: RaopPeer, query: Query) -> Response:
        heard = peer.heard
        if heard is None or peer.receiver is not None:
            return Response(WRONG_STATE)
        options = dict(
            part.strip().partition("=")[::2]
            for part in (query.request.header("Transport") or "").split(";")
        )
        theirs = [options.get(name, "") for name in ("control_port", "timing_port")]
        if not all(one.isdecimal() and 0 < int(one) < 65536 for one in theirs):
            return Response(400)
        receiver = Receiver(
            self.host, peer.address[0], heard, self.quirks, f"{self.name}-sound",
            peer.link.close, self._state.notify,
        )  # fmt: skip
        receiver.start(int(theirs[0]), int(theirs[1]))
        peer.receiver = receiver
        if peer.link.ended:  # it may have been before there was something to end
            peer.end()
        transport = (
            "RTP/AVP/UDP;unicast;interleaved=0-1;mode=record;"
            "server_port={};control_port={};timing_port={}"
        )
        ports = transport.format(*receiver.ports)
        return Response(200, headers=[("Transport", ports), ("Session", "1")])

    def _record(self, peer: RaopPeer, query: Query) -> Response:
        if peer.receiver is None:
            return Response(WRONG_STATE)
        peer.receiver.recording = True
        latency = str(codes.EXTRA_LATENCY)
        return Response(200, headers=[("Audio-Latency", latency)])

    def _flush(self, peer: RaopPeer, query: Query) -> Response:
        if peer.receiver is None:
            return Response(WRONG_STATE)
        peer.receiver.flush()
        return Response(200)

    def _teardown(self, peer: RaopPeer, query: Query) -> Response:
        peer.end()
        return Response(200)

    def _get_parameter(self, peer: RaopPeer, query: Query) -> Response:
        if query.body.strip() != b"volume":
            return Response(200)
        body = f"volume: {decibels(self._state.volume):.6f}\r\n".encode()
        return Response(200, headers=[("Content-Type", PARAMETERS)], body=body)

    def _set_parameter(self, peer: RaopPeer, query: Query) -> Response:
        heard = peer.heard
        if heard is None:
            return Response(WRONG_STATE)
        kind = (query.request.header("Content-Type") or "").partition(";")[0].strip().lower()
        try:
            if kind == CONTENT_TYPE:
                self._describe(heard, query.body)
            elif kind.startswith("image/"):
                heard.artwork = (kind, query.body)
            elif kind == PARAMETERS:
                return self._parameters(heard, query.body)
            else:
                return Response(501)
        except ValueError:
            return Response(400)
        return Response(200)

    @staticmethod
    def _describe(heard: Heard, body: bytes) -> None:
        items = dmap.decode(body)
        for code, name in (("minm", "title"), ("asar", "artist"), ("asal", "album")):
            value = dmap.first(items, "mlit", code)
            if isinstance(value, str):
                setattr(heard, name, value)

    def _parameters(self, heard: Heard, body: bytes) -> Response:
        for line in body.decode("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name == "volume":
                if self.quirks.late_volume and not heard.flushes:
                    return Response(500)
                level = float(value)
                if not math.isfinite(level):
                    return Response(400)
                heard.volume = level
                self._state.set_volume(round(percent(level), 2))
            elif name == "progress":
                start, now, end = (int(one) for one in value.split("/"))
                heard.progress = (start, now, end)
        return Response(200)
