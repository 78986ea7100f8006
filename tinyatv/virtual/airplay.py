"""The device side of AirPlay: pairing, sessions, and the tunnels in them.

tvOS 10.2 and older   /play, and everything in clear
tvOS 14 to 17         SETUP, RECORD, /play
tvOS 18 and newer     SETUP, RECORD, SETUP of a stream that unlocks /command
tvOS 15 and newer     SETUP, RECORD, SETUP of a data stream for MRP
"""

from __future__ import annotations

import math
import secrets
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable

from ..crypto import curve25519
from ..pairing import digest, hap
from ..pairing.hap import Refusal
from ..wire import airplay_codes as codes
from ..wire import tlv8
from ..wire.http import Response
from ..wire.volume import decibels, percent
from .airplay_bodies import binary_response, read_dict, read_parameters, text_response, xml_response
from .airplay_identity import AirPlayIdentity, AirPlayQuirks
from .airplay_peer import AirPlayPeer
from .airplay_playing import Playback
from .airplay_session import AirPlaySession, SessionClient, ask_time
from .mrp import VirtualMrp
from .server import HttpServer, Peer, Query

if TYPE_CHECKING:
    from ..discovery.records import Record
    from .airplay_player import UrlPlayer
    from .side import Setup

REALM = "airplay"

METHODS = (
    "SETUP", "RECORD", "FLUSH", "TEARDOWN", "OPTIONS", "SETPEERS", "SETPEERSX", "SET_PARAMETER",
    "GET_PARAMETER", "POST", "GET", "PUT",
)  # fmt: skip


class VirtualAirPlay:
    """Serves AirPlay.

    Args:
        setup: What it is made with.

    Attributes:
        quirks: What it does differently from others.
        accessory: The device's memory of pairings.
        identity: What it says of itself.
        mrp: Serves the clients that come through a tunnel, or None.
        password: Password that is asked for, or None.
        must_verify: True if nothing is allowed before pair-verify.
        tunnel: False refuses data streams.
        timing: Timing protocols that it takes.
        answered: What was pushed on event channels, and answered as it should be.
        complaints: What clients did wrong, in words.
        names: What clients call themselves (``X-Apple-Client-Name``).
    """

    protocol = "airplay"
    kind = "_airplay._tcp.local."
    accepted = None  # the accessory knows who may log in

    def __init__(self, setup: Setup) -> None:
        state = setup.state
        self.host = setup.host
        self.name = setup.thread
        self.accessory = setup.accessory
        self.identity = AirPlayIdentity(setup)
        profile = self.identity.profile
        carried = (setup.sides.get(one) for one in setup.profile.carried)
        self.mrp = next((side for side in carried if isinstance(side, VirtualMrp)), None)
        self.quirks = AirPlayQuirks()
        self.password: str | None = None
        self.must_verify = profile.verified
        self.tunnel = True
        self.timing = profile.timing
        self.answered: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.names: list[str] = []
        self.playback = Playback(
            state, self.name, profile, self.quirks, self.complaints.append, lambda: self.peers
        )
        self.stopping = threading.Event()
        self._setup = setup
        self._state = state
        self._lock = threading.Lock()  # over the next
        self._sessions: weakref.WeakSet[AirPlaySession] = weakref.WeakSet()  # also ending ones
        if setup.password is not None:
            self.identity.flags |= codes.HAS_PASSWORD
        if profile.transient:
            self.accessory.transient = True
            self.accessory.password = setup.password
        else:
            self.password = setup.password
        self.server = HttpServer(
            self._answer, self._words, setup.faults, state.notify, setup.host, setup.port or 0,
            self.name, self._new_peer,
        )  # fmt: skip
        self.port = self.server.port
        play = self.playback
        self._paths: dict[tuple[str, str], Callable[[AirPlayPeer, Query], Response]] = {
            ("GET", "/info"): self._info,
            ("GET", "/server-info"): self._server_info,
            ("POST", "/pair-pin-start"): self._pair_pin_start,
            ("POST", "/pair-setup"): self._pair_setup,
            ("POST", "/pair-verify"): self._pair_verify,
            ("POST", "/pair-setup-pin"): self._pair_setup_pin,
            ("POST", "/auth-setup"): self._auth_setup,
            ("POST", "/feedback"): self._feedback,
            ("POST", "/play"): play.play,
            ("GET", "/playback-info"): play.playback_info,
            ("POST", "/stop"): play.stop,
            ("GET", "/scrub"): play.scrub,
            ("POST", "/scrub"): play.scrub,
            ("POST", "/rate"): play.rate,
            ("PUT", "/setProperty"): play.set_property,
            ("GET", "/getProperty"): play.get_property,
            ("POST", "/getProperty"): play.get_property,
            ("POST", "/reverse"): play.reverse,
            ("POST", "/command"): play.command,
        }
        self._methods: dict[str, Callable[[AirPlayPeer, Query], Response]] = {
            "SETUP": self._set_up,
            "RECORD": self._record,
            "TEARDOWN": self._teardown,
            "OPTIONS": self._options,
            "FLUSH": self._in_session,
            "SETPEERS": self._in_session,
            "SETPEERSX": self._in_session,
            "SET_PARAMETER": self._set_parameter,
            "GET_PARAMETER": self._get_parameter,
        }

    def _new_peer(
        self, sock: socket.socket, address: tuple[str, int], server: HttpServer
    ) -> AirPlayPeer:
        return AirPlayPeer(
            sock, address, server, self.accessory, self.identity, self.quirks, self.player
        )

    # -- life ------------------------------------------------------------------------------------

    @property
    def about(self) -> AirPlayIdentity:
        """What :attr:`identity` was called before."""
        return self.identity

    @property
    def oddities(self) -> AirPlayQuirks:
        """What :attr:`quirks` was called before."""
        return self.quirks

    @property
    def requests(self) -> list[tuple[str, str]]:
        """(method, path) of all requests, in order."""
        return self.server.requests

    @property
    def peers(self) -> list[AirPlayPeer]:
        """The clients that are connected now."""
        return [peer for peer in self.server.peers if isinstance(peer, AirPlayPeer)]

    @property
    def sessions(self) -> list[AirPlaySession]:
        """The sessions of those who are connected now."""
        return [peer.session for peer in self.peers if peer.session is not None]

    def start(self) -> None:
        """Start accepting connections."""
        self.server.start()

    def stop(self) -> None:
        """Stop listening, close all connections, join all threads."""
        self.stopping.set()
        self.server.stop()
        for session in list(self._sessions):
            session.join()
        self.player.close()

    def drop_peers(self) -> None:
        """Close all connections, as a reboot would."""
        self.server.drop_peers()

    def restore_from(self, before: VirtualAirPlay) -> None:
        """Take over the settings of the one before a reboot."""
        self.quirks = self.playback.quirks = before.quirks
        self.identity, self.password = before.identity, before.password
        self.must_verify = before.must_verify
        self.busy, self.tunnel, self.timing = before.busy, before.tunnel, before.timing
        self.player.duration = before.player.duration
        self.player.anywhere = before.player.anywhere
        self.server.requests = before.server.requests

    def records(self) -> list[Record]:
        """The service record that announces it."""
        from ..discovery.records import Record

        txt = self.identity.txt(active=self.player.load_now is not None)
        return [Record(self.kind, self._setup.name, self.port, self.host, txt)]

    # -- what is played --------------------------------------------------------------------------

    @property
    def player(self) -> UrlPlayer:
        """Plays URLs."""
        return self.playback.player

    @property
    def busy(self) -> bool:
        """True pretends that another sender plays."""
        return self.playback.busy

    @busy.setter
    def busy(self, busy: bool) -> None:
        self.playback.busy = busy

    @property
    def commands(self) -> list[dict[str, Any]]:
        """What was asked for over ``/command``, in order."""
        return self.playback.commands

    @property
    def properties(self) -> dict[str, Any]:
        """What was set, by name."""
        return self.playback.properties

    def ask_sender(self, url: str, timeout: float = 5.0) -> dict[str, Any]:
        """Have the sender fetch something; see :meth:`Playback.ask_sender`."""
        return self.playback.ask_sender(url, timeout)

    # -- requests --------------------------------------------------------------------------------

    def _words(self, query: Query) -> tuple[str, ...]:
        """The words by which faults know a request."""
        if query.method not in ("GET", "POST", "PUT"):
            if query.method != "SETUP":
                return (query.method,)
            return "SETUP", "SETUP 2" if "streams" in read_dict(query.body) else "SETUP 1"
        word = {"/pair-setup": "pair", "/pair-verify": "verify"}.get(query.path)
        if word is None:
            return (query.path,)
        try:
            step = dict(tlv8.decode(query.body)).get(hap.STATE, b"\0")[0]
        except (ValueError, IndexError):
            step = 0
        return query.path, word, f"{word} M{step}"

    def _answer(self, peer: Peer, query: Query) -> Response | None:
        assert isinstance(peer, AirPlayPeer), "we made it"
        client = query.request.header("X-Apple-Client-Name")
        if client is not None and client not in self.names:
            self.names.append(client)
        if query.request.protocol.startswith("RTSP") and query.request.header("CSeq") is None:
            return Response(400)
        if not is_open(query.path) and query.method != "OPTIONS":
            if not self._may(peer):
                return Response(codes.AUTHORIZE if self.identity.profile.airplay == 2 else 403)
            challenge = self._challenge(peer, query)
            if challenge is not None:
                return challenge
        if query.method in ("GET", "POST", "PUT"):
            handler = self._paths.get((query.method, query.path))
            return Response(404) if handler is None else handler(peer, query)
        method = self._methods.get(query.method)
        return Response(501) if method is None else method(peer, query)

    def _may(self, peer: AirPlayPeer) -> bool:
        return peer.verified is not None or not self.must_verify

    def _challenge(self, peer: AirPlayPeer, query: Query) -> Response | None:
        """Ask for the password; None if there is none, or it is known."""
        if self.password is None:
            return None
        request = query.request
        given = request.header("Authorization")
        if digest.authorized(given, self.password, REALM, peer.nonce, request.method, request.path):
            return None
        return Response(401, headers=[("WWW-Authenticate", digest.challenge(REALM, peer.nonce))])

    # -- what it is ------------------------------------------------------------------------------

    def _info(self, peer: AirPlayPeer, query: Query) -> Response:
        if self.identity.profile.airplay == 1:
            return Response(404)
        wanted = read_dict(query.body).get("qualifier")
        if isinstance(wanted, list) and "txtAirPlay" in wanted:
            return binary_response({"txtAirPlay": self.identity.txt_data()})
        return binary_response(self.identity.info(self._state, peer.sender))

    def _server_info(self, peer: AirPlayPeer, query: Query) -> Response:
        if self.identity.profile.airplay == 2:
            return Response(404)
        return xml_response(self.identity.server_info())

    def _options(self, peer: AirPlayPeer, query: Query) -> Response:
        return Response(200, headers=[("Public", ", ".join(METHODS))])

    # -- pairing ---------------------------------------------------------------------------------

    def _pair_pin_start(self, peer: AirPlayPeer, query: Query) -> Response:
        if self.identity.profile.transient:
            return Response(200)  # it has no screen, and does not mind
        peer.heard_name(query.request)
        try:
            self.accessory.begin(peer, False, early=True)
        except Refusal as refusal:
            if refusal.code == hap.UNAVAILABLE:
                return Response(400)
        return Response(200)

    def _pair_setup(self, peer: AirPlayPeer, query: Query) -> Response:
        kind, body = query.request.header("X-Apple-HKP"), query.body
        if kind not in ("3", "4"):
            return Response(codes.AUTHORIZE)
        try:
            items = hap.read(body)
        except ValueError:
            return Response(400)
        peer.heard_name(query.request)
        if items.get(hap.STATE) == b"\1":
            flags = int.from_bytes(items.get(hap.FLAGS, b""), "little")
            if kind == "4" and not flags:
                body += tlv8.encode([(hap.FLAGS, bytes([hap.TRANSIENT]))])
            peer.transient = kind == "4" or bool(flags & hap.TRANSIENT)
            if peer.transient != self.accessory.transient and self._insists():
                return Response(codes.AUTHORIZE)
        reply = peer.handshakes.answer(body)
        if hap.read(reply).get(hap.STATE) == b"\6":
            self.accessory.done(peer)  # it may close the connection much later
        if reply.secret is not None:
            peer.verify("transient", reply)
        return Response(200, headers=[("Content-Type", codes.OCTETS)], body=bytes(reply))

    def _insists(self) -> bool:
        """True if there is one way to pair only: who tries another one is told so at once."""
        return self.identity.profile.transient or not self.accessory.transient

    def _pair_verify(self, peer: AirPlayPeer, query: Query) -> Response:
        kind = query.request.header("X-Apple-HKP")
        if kind is None:
            try:
                reply = peer.legacy.verify(query.body)
            except Refusal as refusal:
                return Response(400 if refusal.code == hap.UNKNOWN else 403)
            if reply.client is not None:
                peer.verified, peer.client = "legacy", reply.client
            return Response(200, headers=[("Content-Type", codes.OCTETS)], body=bytes(reply))
        if kind != "3":
            return Response(codes.AUTHORIZE)
        reply = peer.handshakes.answer(query.body)
        if reply.secret is not None:
            peer.verify("hap", reply)
        return Response(200, headers=[("Content-Type", codes.OCTETS)], body=bytes(reply))

    def _pair_setup_pin(self, peer: AirPlayPeer, query: Query) -> Response:
        if self.identity.profile.transient:
            return Response(404)
        try:
            reply = peer.legacy.setup(query.body)
        except Refusal as refusal:
            return Response(400 if refusal.code == hap.UNKNOWN else codes.AUTHORIZE)
        return Response(200, headers=[("Content-Type", codes.PLIST)], body=bytes(reply))

    def _auth_setup(self, peer: AirPlayPeer, query: Query) -> Response:
        if len(query.body) != 33 or query.body[:1] != b"\1":
            return Response(400)
        _, public = curve25519.generate()
        nothing = secrets.token_bytes(128)  # certificate and signature: no client checks them
        length = len(nothing).to_bytes(4, "big")
        body = public + length + nothing + length + nothing
        return Response(200, headers=[("Content-Type", codes.OCTETS)], body=body)

    # -- sessions --------------------------------------------------------------------------------

    def _set_up(self, peer: AirPlayPeer, query: Query) -> Response:
        body = read_dict(query.body)
        if peer.secret is None:
            return Response(codes.AUTHORIZE)
        if "streams" in body:
            return self._set_up_streams(peer, body["streams"])
        if peer.session is not None:
            return Response(codes.WRONG_STATE)
        if not isinstance(body.get("sessionUUID"), str) or not body["sessionUUID"]:
            return Response(400)
        alone = bool(body.get("isRemoteControlOnly"))
        if not alone and self.playback.is_busy(peer):
            return Response(codes.BUSY)
        answer: dict[str, Any] = {}
        timing = body.get("timingProtocol")
        if timing != "None" or not alone:
            if timing not in self.timing or not self._synchronize(peer, timing, body):
                return Response(400)
            answer["timingPort"] = 0
        if self.stopping.is_set():
            return Response(503)
        session = peer.session = AirPlaySession(
            self.name, self.host, SessionClient(peer.address[1], peer.client, peer.secret), body,
            self.quirks, self.mrp, hang_up=peer.link.close, complain=self.complaints.append,
            answered=self.answered.append, seen=self._state.notify,
        )  # fmt: skip
        with self._lock:
            self._sessions.add(session)
        if peer.link.ended:  # it may have been before there was a session to end
            session.close()
        session.start()
        return binary_response({"eventPort": session.port, **answer})

    def _synchronize(self, peer: AirPlayPeer, timing: str, body: dict[str, Any]) -> bool:
        if timing == "PTP":
            return isinstance(body.get("timingPeerInfo"), dict) and "timingPort" not in body
        port = body.get("timingPort")
        if not isinstance(port, int) or not 0 < port < 65536:
            return False
        return ask_time(
            peer.address[0], port, self.quirks.timing_deadline,
            lambda: self.stopping.is_set() or peer.link.ended,
        )  # fmt: skip

    def _set_up_streams(self, peer: AirPlayPeer, streams: Any) -> Response:
        session = peer.session
        if session is None or not session.recorded:
            return Response(codes.WRONG_STATE)
        answers = []
        for stream in streams if isinstance(streams, list) else [None]:
            if not isinstance(stream, dict) or stream.get("type") != codes.STREAM:
                return Response(400)
            kind = stream.get("controlType"), stream.get("clientTypeUUID")
            answer: dict[str, Any] = {"type": codes.STREAM}
            if (
                kind == (codes.DATA_CONTROL, codes.MEDIA_REMOTE)
                and self.tunnel
                and self.mrp is not None
            ):
                seed = stream.get("seed")
                if not isinstance(seed, int) or not stream.get("wantsDedicatedSocket"):
                    return Response(400)
                answer["streamID"], answer["dataPort"] = session.add_data_stream(seed)
            elif kind == (codes.QUEUE_CONTROL, codes.PLAY_QUEUE) and not session.remote_only:
                answer["streamID"] = session.add_queue()
            else:
                return Response(400)
            answers.append(answer)
        return binary_response({"streams": answers})

    def _record(self, peer: AirPlayPeer, query: Query) -> Response:
        session = peer.session
        if session is None or not session.wait_for_events():
            return Response(codes.WRONG_STATE)
        session.recorded = True
        info = self.identity.info(self._state, peer.sender)
        session.push({"type": "updateInfo", "value": info})
        return Response(200, headers=[("Audio-Latency", "0")])

    def _teardown(self, peer: AirPlayPeer, query: Query) -> Response:
        return Response(200 if peer.end_session() else codes.WRONG_STATE)

    def _in_session(self, peer: AirPlayPeer, query: Query) -> Response:
        return Response(codes.WRONG_STATE if peer.session is None else 200)

    def _feedback(self, peer: AirPlayPeer, query: Query) -> Response:
        return binary_response({"streams": []})

    def _set_parameter(self, peer: AirPlayPeer, query: Query) -> Response:
        if peer.session is None or peer.session.remote_only:
            return Response(codes.WRONG_STATE)
        try:
            level = float(read_parameters(query.body)["volume"])
        except (KeyError, ValueError):
            return Response(400)
        if not math.isfinite(level):
            return Response(400)
        self._state.set_volume(round(percent(level), 2))
        return Response(200)

    def _get_parameter(self, peer: AirPlayPeer, query: Query) -> Response:
        if peer.session is None or peer.session.remote_only:
            return Response(codes.WRONG_STATE)
        if query.body.strip() != b"volume":
            return Response(400)
        return text_response(f"volume: {decibels(self._state.volume):.6f}\r\n")


def is_open(path: str) -> bool:
    """True if it may be asked for without being verified."""
    return path in ("/info", "/server-info", "/auth-setup") or path.startswith("/pair-")
