"""The device side of AirPlay: pairing, sessions, tunnels for MRP, playing URLs.

tvOS 10.2 and older   /play, and everything in clear
tvOS 14 to 17         SETUP, RECORD, /play
tvOS 18 and newer     SETUP, RECORD, SETUP of a stream that unlocks /command
tvOS 15 and newer     SETUP, RECORD, SETUP of a data stream for MRP
"""

from __future__ import annotations

import logging
import math
import plistlib
import secrets
import socket
import threading
import weakref
from typing import Any, Callable

from ..crypto import curve25519
from ..crypto.chacha20poly1305 import Session as Ciphers
from ..errors import AppleTVError
from ..pairing import digest, hap
from ..pairing.accessory import Accessory
from ..pairing.hap import Refusal, Reply, channel_keys
from ..pairing.hap_device import Handshakes
from ..pairing.legacy import LegacyHandshakes
from ..wire import airplay_codes as codes
from ..wire import plist, tlv8
from ..wire.hap import HapWire
from ..wire.http import Request, Response
from .airplay_about import AirPlayAbout, decibels, percent
from .airplay_player import Load, UrlPlayer
from .airplay_session import AirPlayOddities, AirPlaySession, ask_time
from .mrp import VirtualMrp
from .server import Faults, HttpServer, Peer, Query, ServerWire
from .state import State

log = logging.getLogger(__name__)

REALM = "airplay"
FIRST_LIMIT = 64 * 1024  # bytes; of a body from somebody who has not proved who he is
BODY_LIMIT = 16 * 1024 * 1024
LOGGING_ID = 6  # letters that a playerLoggingID may have

METHODS = (
    "SETUP", "RECORD", "FLUSH", "TEARDOWN", "OPTIONS", "SETPEERS", "SETPEERSX", "SET_PARAMETER",
    "GET_PARAMETER", "POST", "GET", "PUT",
)  # fmt: skip


class VirtualAirPlay:
    """Serves AirPlay.

    Args:
        state: Shared state of the device.
        faults: Shared faults.
        host: Address to listen on.
        port: TCP port; 0 picks a free one.
        name: Prefix of the threads' names.
        accessory: The device's memory of pairings.
        about: What it says of itself.
        mrp: Serves the clients that come through a tunnel; None without tunnels.

    Attributes:
        oddities: How it is peculiar.
        accessory: The device's memory of pairings.
        about: What it says of itself.
        mrp: Serves the clients that come through a tunnel, or None.
        player: Plays URLs.
        password: Password that is asked for, or None.
        must_verify: True if nobody may do anything before he is verified.
        busy: True pretends that somebody else plays.
        tunnel: False refuses data streams.
        timing: Timing protocols that it takes.
        commands: What was asked for over ``/command``, in order.
        properties: What was set, by name.
        answered: What was pushed on event channels, and answered as it should be.
        complaints: What clients did wrong, in words.
        names: What clients call themselves (``X-Apple-Client-Name``).
    """

    def __init__(
        self,
        state: State,
        faults: Faults,
        host: str,
        port: int,
        name: str,
        accessory: Accessory,
        about: AirPlayAbout,
        mrp: VirtualMrp | None = None,
    ) -> None:
        self.host = host
        self.name = name
        self.accessory = accessory
        self.about = about
        self.mrp = mrp
        self.oddities = AirPlayOddities()
        self.player = UrlPlayer(state, name, self._told)
        self.password: str | None = None
        self.must_verify = about.generation.verified
        self.busy = False
        self.tunnel = True
        self.timing = about.generation.timing
        self.commands: list[dict[str, Any]] = []
        self.properties: dict[str, Any] = {}
        self.answered: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.names: list[str] = []
        self.stopping = threading.Event()
        self.seen = state.notify
        self._state = state
        self._messages = 0
        self._replies: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()  # over the next
        self._sessions: weakref.WeakSet[AirPlaySession] = weakref.WeakSet()  # also ending ones
        if about.generation.transient:
            accessory.transient = True
        self.server = HttpServer(
            self._answer, self._words, faults, state.notify, host, port, name,
            self._new_peer,
        )  # fmt: skip
        self.port = self.server.port
        handlers = """
            GET /info, GET /server-info, POST /pair-pin-start, POST /pair-setup, POST /pair-verify,
            POST /pair-setup-pin, POST /auth-setup, POST /feedback, POST /play, GET /playback-info,
            POST /stop, GET /scrub, POST /scrub, POST /rate, PUT /setProperty, GET /getProperty,
            POST /getProperty, POST /reverse, POST /command
        """
        self._paths: dict[tuple[str, str], Callable[[AirPlayPeer, Query], Response]] = {}
        for text in handlers.split(","):
            method, path = text.split()
            word = path[1:].replace("-", "_").replace("Property", "_property")
            handler = getattr(self, f"_{word}")
            self._paths[method, path] = handler
        self._methods: dict[str, Callable[[AirPlayPeer, Query], Response]] = {
            "SETUP": self._setup,
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
        return AirPlayPeer(sock, address, server, self)

    # -- life ------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[tuple[str, str]]:
        """(method, path) of all requests, in order."""
        return self.server.requests

    @property
    def peers(self) -> list[AirPlayPeer]:
        """Who is connected now."""
        return [peer for peer in self.server.peers if isinstance(peer, AirPlayPeer)]

    @property
    def sessions(self) -> list[AirPlaySession]:
        """The sessions of those who are connected now."""
        return [peer.session for peer in self.peers if peer.session is not None]

    def start(self) -> None:
        """Start to accept."""
        self.server.start()

    def stop(self) -> None:
        """Stop to listen, drop everybody, join all threads."""
        self.stopping.set()
        self.server.stop()
        for session in list(self._sessions):
            session.join()
        self.player.close()

    def drop_peers(self) -> None:
        """Close all connections, as a reboot would."""
        self.server.drop_peers()

    def take_over(self, other: VirtualAirPlay) -> None:
        """Be what `other` was; it is stopped."""
        self.oddities, self.about, self.password = other.oddities, other.about, other.password
        self.must_verify = other.must_verify
        self.busy, self.tunnel, self.timing = other.busy, other.tunnel, other.timing
        self.player.duration = other.player.duration
        self.player.anywhere = other.player.anywhere
        self.server.requests = other.server.requests

    # -- requests --------------------------------------------------------------------------------

    def _words(self, query: Query) -> tuple[str, ...]:
        """The words by which faults know a request."""
        if query.method not in ("GET", "POST", "PUT"):
            if query.method != "SETUP":
                return (query.method,)
            return "SETUP", "SETUP 2" if "streams" in _dict(query.body) else "SETUP 1"
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
                return Response(codes.AUTHORIZE if self.about.generation.airplay == 2 else 403)
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
        if self.about.generation.airplay == 1:
            return Response(404)
        wanted = _dict(query.body).get("qualifier")
        if isinstance(wanted, list) and "txtAirPlay" in wanted:
            return _binary({"txtAirPlay": self.about.txt_data()})
        return _binary(self.about.info(self._state, peer.sender))

    def _server_info(self, peer: AirPlayPeer, query: Query) -> Response:
        if self.about.generation.airplay == 2:
            return Response(404)
        return _xml(self.about.server_info())

    def _options(self, peer: AirPlayPeer, query: Query) -> Response:
        return Response(200, headers=[("Public", ", ".join(METHODS))])

    # -- pairing ---------------------------------------------------------------------------------

    def _pair_pin_start(self, peer: AirPlayPeer, query: Query) -> Response:
        if self.about.generation.transient:
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
        return self.about.generation.transient or not self.accessory.transient

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
        if self.about.generation.transient:
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
        nothing = secrets.token_bytes(128)  # a certificate and a signature that nobody can check
        length = len(nothing).to_bytes(4, "big")
        body = public + length + nothing + length + nothing
        return Response(200, headers=[("Content-Type", codes.OCTETS)], body=body)

    # -- sessions --------------------------------------------------------------------------------

    def _setup(self, peer: AirPlayPeer, query: Query) -> Response:
        body = _dict(query.body)
        if peer.secret is None:
            return Response(codes.AUTHORIZE)
        if "streams" in body:
            return self._setup_streams(peer, body["streams"])
        if peer.session is not None:
            return Response(codes.WRONG_STATE)
        if not isinstance(body.get("sessionUUID"), str) or not body["sessionUUID"]:
            return Response(400)
        alone = bool(body.get("isRemoteControlOnly"))
        if not alone and self._is_busy(peer):
            return Response(codes.BUSY)
        answer: dict[str, Any] = {}
        timing = body.get("timingProtocol")
        if timing != "None" or not alone:
            if timing not in self.timing or not self._synchronize(peer, timing, body):
                return Response(400)
            answer["timingPort"] = 0
        if self.stopping.is_set():
            return Response(503)
        session = peer.session = AirPlaySession(self, peer, body)
        with self._lock:
            self._sessions.add(session)
        if peer.link.ended:  # it may have been before there was a session to end
            session.close()
        session.start()
        return _binary({"eventPort": session.port, **answer})

    def _synchronize(self, peer: AirPlayPeer, timing: str, body: dict[str, Any]) -> bool:
        if timing == "PTP":
            return isinstance(body.get("timingPeerInfo"), dict) and "timingPort" not in body
        port = body.get("timingPort")
        if not isinstance(port, int) or not 0 < port < 65536:
            return False
        return ask_time(
            peer.address[0], port, self.oddities.timing_deadline,
            lambda: self.stopping.is_set() or peer.link.ended,
        )  # fmt: skip

    def _setup_streams(self, peer: AirPlayPeer, streams: Any) -> Response:
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
        return _binary({"streams": answers})

    def _record(self, peer: AirPlayPeer, query: Query) -> Response:
        session = peer.session
        if session is None or not session.wait_for_events():
            return Response(codes.WRONG_STATE)
        session.recorded = True
        info = self.about.info(self._state, peer.sender)
        session.push({"type": "updateInfo", "value": info})
        return Response(200, headers=[("Audio-Latency", "0")])

    def _teardown(self, peer: AirPlayPeer, query: Query) -> Response:
        return Response(200 if peer.end_session() else codes.WRONG_STATE)

    def _in_session(self, peer: AirPlayPeer, query: Query) -> Response:
        return Response(codes.WRONG_STATE if peer.session is None else 200)

    def _feedback(self, peer: AirPlayPeer, query: Query) -> Response:
        return _binary({"streams": []})

    def _set_parameter(self, peer: AirPlayPeer, query: Query) -> Response:
        if peer.session is None or peer.session.remote_only:
            return Response(codes.WRONG_STATE)
        try:
            level = float(_parameters(query.body)["volume"])
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
        return _text(f"volume: {decibels(self._state.volume):.6f}\r\n")

    # -- playing ---------------------------------------------------------------------------------

    def _is_busy(self, peer: AirPlayPeer) -> bool:
        load = self.player.load_now
        return self.busy or (load is not None and load.owner is not peer)

    def _play(self, peer: AirPlayPeer, query: Query) -> Response:
        generation, session = self.about.generation, peer.session
        if not generation.play:
            return Response(404)
        body = _dict(query.body) or _parameters(query.body)
        url = body.get("Content-Location")
        if not isinstance(url, str) or not url:
            return Response(400)
        if self._is_busy(peer):
            return Response(codes.BUSY)
        uuid = str(body.get("uuid") or query.request.header("X-Apple-Session-ID") or "")
        if generation.airplay == 1:
            peer.playing_id = body.get("X-Apple-Session-ID") or uuid
            start = _number(body.get("Start-Position"))
            self.player.load(peer, url, uuid, start, fraction=True, rate=1.0)
        elif generation.play == "play" and session is not None and session.plays:
            self.player.load(peer, url, uuid, _number(body.get("Start-Position-Seconds")))
        return Response(200)  # also where nothing comes of it

    def _playback_info(self, peer: AirPlayPeer, query: Query) -> Response:
        if self.about.generation.play != "play":
            return Response(500)
        return _xml(self.player.info())

    def _stop(self, peer: AirPlayPeer, query: Query) -> Response:
        self.player.stop()
        self.player.error = None
        return Response(200)

    def _scrub(self, peer: AirPlayPeer, query: Query) -> Response:
        if query.method == "POST":
            return self._with_number(query, "position", self.player.seek)
        info = self.player.info()
        duration, position = info.get("duration", 0.0), info.get("position", 0.0)
        return _text(f"duration: {duration:.6f}\nposition: {position:.6f}\n")

    def _rate(self, peer: AirPlayPeer, query: Query) -> Response:
        return self._with_number(query, "value", self.player.rate)

    def _with_number(
        self, query: Query, name: str, change: Callable[[float], object]
    ) -> Response:  # fmt: skip
        try:
            value = float(query.args[name])
        except (KeyError, ValueError):
            return Response(400)
        if not math.isfinite(value) or value < 0:
            return Response(400)
        change(value)
        return Response(200)

    def _set_property(self, peer: AirPlayPeer, query: Query) -> Response:
        body = _dict(query.body)
        if "value" not in body or len(query.args) != 1:
            return Response(400)
        self.properties[next(iter(query.args))] = body["value"]
        return _binary({"errorCode": 0})

    def _get_property(self, peer: AirPlayPeer, query: Query) -> Response:
        if not {"playbackAccessLog", "playbackErrorLog"} & query.args.keys():
            return Response(404)
        return _binary({"errorCode": 0, "value": []})

    def _reverse(self, peer: AirPlayPeer, query: Query) -> Response:
        request = query.request
        upgrade = request.header("Upgrade"), request.header("X-Apple-Purpose")
        if upgrade != ("PTTH/1.0", "event"):
            return Response(400)
        peer.reversed_for = request.header("X-Apple-Session-ID") or ""
        headers = [("Upgrade", "PTTH/1.0"), ("Connection", "Upgrade")]
        return Response(101, "Switching Protocols", headers)

    # -- the play queue --------------------------------------------------------------------------

    def _command(self, peer: AirPlayPeer, query: Query) -> Response:
        session = peer.session
        if session is None or session.queue is None or self.about.generation.play != "queue":
            return Response(500)
        headers = query.request.header
        if headers("X-Apple-Session-ID") != session.uuid:
            return Response(400)
        if headers("X-Apple-StreamID") != str(session.queue):
            return Response(400)
        params = _dict(query.body).get("params")
        data = params.get("data") if isinstance(params, dict) else None
        command = _dict(data) if isinstance(data, bytes) else {}
        if not isinstance(command.get("type"), str):
            return Response(400)
        self.commands.append(command)
        item = command.get("item")
        item = item if isinstance(item, dict) else {}
        kind = command["type"]
        if kind == "insertPlayQueueItem":
            return self._insert(peer, item)
        if kind == "setProperty":
            self.properties[str(command.get("property"))] = command.get("value")
        elif kind == "setRate":
            self.player.rate(_number(command.get("rate")))
        elif kind == "seek":
            self.player.seek(_seconds(command.get("time")))
        elif kind == "unhandledURL" and command.get("kind") == "response":
            number, response = command.get("messageID"), command.get("response")
            if not isinstance(number, int) or not isinstance(response, dict):
                return Response(400)
            self._replies[number] = response
        elif kind == "updateMRNowPlayingInfo":
            self._describe(command.get("params"))
        else:
            return Response(400)
        return Response(200)

    def _insert(self, peer: AirPlayPeer, item: dict[str, Any]) -> Response:
        url, uuid = item.get("Content-Location"), item.get("uuid")
        if not isinstance(url, str) or not isinstance(uuid, str) or not url or not uuid:
            return Response(400)
        if len(str(item.get("playerLoggingID", ""))) > LOGGING_ID:
            self.complaints.append("playerLoggingID too long")
            peer.link.close()
            return Response(400)
        if self._is_busy(peer):
            return Response(codes.BUSY)
        start = item.get("Start-Position-Seconds", _seconds(item.get("Start-Position")))
        title = item.get("title")
        title = title if isinstance(title, str) else None
        self.player.load(peer, url, uuid, _number(start), title=title)
        return Response(200)

    def _describe(self, params: Any) -> None:
        """What the sender says of what it plays."""
        load = self.player.load_now
        inner = params.get("params") if isinstance(params, dict) else None
        if load is None or not isinstance(inner, dict):
            return
        prefix, item = codes.NOW_PLAYING, load.player.items[0]
        with self._state.change():
            for key, field in (("Title", "title"), ("Artist", "artist"), ("Album", "album")):
                if isinstance(inner.get(prefix + key), str):
                    setattr(item, field, inner[prefix + key])
            if isinstance(inner.get(prefix + "ArtworkData"), bytes):
                item.artwork = inner[prefix + "ArtworkData"]

    def ask_sender(self, url: str, timeout: float = 5.0) -> dict[str, Any]:
        """Let the one who plays fetch something, as devices do with playlists of their own kind.

        Returns:
            The answer: ``FCUP_Response_StatusCode``, ``FCUP_Response_Data`` and others.

        Raises:
            ValueError: Nobody plays, or there is no answer.
        """
        load = self.player.load_now
        session = load.owner.session if load and isinstance(load.owner, AirPlayPeer) else None
        if session is None:
            raise ValueError("nobody plays")
        self._messages += 1
        number = self._messages
        _push(session, {
            "type": "unhandledURL", "kind": "request", "messageID": number,
            "request": {
                "FCUP_Response_URL": url, "FCUP_Response_RequestID": number,
                "FCUP_Response_Headers": {"User-Agent": "AppleCoreMedia/1.0.0"},
            },
        })  # fmt: skip
        if not self._state.wait_for(lambda _: number in self._replies, timeout):
            raise ValueError("no answer")
        return self._replies.pop(number)

    # -- events ----------------------------------------------------------------------------------

    def _told(self, load: Load, kind: str, name: str) -> None:
        """Something happened to what is played: tell who sent it."""
        peer = load.owner
        self._state.notify()
        if not isinstance(peer, AirPlayPeer) or self.oddities.no_events:
            return
        session = peer.session
        if session is not None and session.queue is not None:
            if kind == "notification":
                _push(session, {"type": kind, "name": name, "item": {"uuid": load.uuid}})
            elif self.oddities.named_state:
                _push(session, {"type": "playbackState", "name": name})
            else:
                _push(session, {"type": "playbackState", "params": {"playbackState": name}})
        elif self.about.generation.airplay == 1 and kind == "state":
            content = {"category": "video", "sessionID": 1, "state": name}
            request = Request(
                "POST", "/event", [("Content-Type", codes.XML_PLIST)], plistlib.dumps(content)
            )
            for other in self.peers:
                if other.reversed_for is not None and other.reversed_for == peer.playing_id:
                    try:
                        other.link.send(request, answered=True)
                    except AppleTVError as exc:
                        log.debug("%s: %s", self.name, exc)  # it is gone


class AirPlayPeer(Peer):
    """Somebody who is connected.

    Attributes:
        link: The connection.
        address: Where from.
        nonce: What it must use to prove that it knows the password.
        verified: ``"hap"``, ``"transient"`` or ``"legacy"`` once it is; None before.
        client: Its identifier, or public key (legacy).
        secret: Where the keys of its channels come from.
        session: What SETUP made, or None.
        hides_pin: True while no PIN may be shown to it.
        transient: True if it wants to pair without a PIN.
        playing_id: What it calls what it plays (AirPlay 1).
        reversed_for: If it takes events, those of what is called so (AirPlay 1); else None.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        server: HttpServer,
        airplay: VirtualAirPlay,
    ) -> None:
        self.nonce = secrets.token_hex(16)
        self.verified: str | None = None
        self.client: bytes | None = None
        self.secret: bytes | None = None
        self.session: AirPlaySession | None = None
        self.hides_pin = False
        self.transient = False
        self.playing_id: str | None = None
        self.reversed_for: str | None = None
        self.handshakes = Handshakes(airplay.accessory, self)
        self.legacy = LegacyHandshakes(airplay.accessory, self)
        self._airplay = airplay
        self._ciphers: Ciphers | None = None
        self._http = ServerWire(limit=FIRST_LIMIT)
        self._wire = HapWire(self._http)
        super().__init__(sock, address, server)

    @property
    def sender(self) -> str:
        """Its address and port as text."""
        return f"{self.address[0]}:{self.address[1]}"

    def new_wire(self) -> HapWire:
        """What it speaks: sealed once it is verified."""
        return self._wire

    def heard_name(self, request: Request) -> None:
        """New systems show no PIN to somebody who does not say who he is."""
        named = bool(request.header("X-Apple-Client-Name"))
        self.hides_pin = self._airplay.about.generation.client_name and not named

    def verify(self, kind: str, reply: Reply) -> None:
        """It is verified; behind this answer, everything is sealed. An old session is over."""
        self.end_session()
        self.verified, self.client, self.secret = kind, reply.client, reply.secret
        assert reply.secret is not None, "the caller looked"
        theirs, ours = channel_keys(reply.secret, "control")
        self._ciphers = Ciphers(ours, theirs)

    def finish(self, request: Request, response: Response) -> None:
        """Put in what all answers have."""
        odd = self._airplay.oddities
        response.protocol = request.protocol
        if response.code >= 400 and odd.http_errors:
            response.protocol = "HTTP/1.1"
        cseq = request.header("CSeq")
        if cseq is None and odd.cseq_zero:
            cseq = "0"
        response.headers.append(
            ("Server", f"AirTunes/{self._airplay.about.generation.source_version}")
        )
        if cseq is not None:
            response.headers.append(("CSeq", cseq))

    def answered(self, response: Response) -> None:
        """The answer to the last step of a handshake was in clear; what follows is not."""
        if self._ciphers is not None:
            self._wire.secure(self._ciphers)
            self._http.limit = BODY_LIMIT
            self._ciphers = None

    def end_session(self) -> bool:
        """End the session, and what plays in it; False if there is none."""
        session, self.session = self.session, None
        self._airplay.player.stop(self)
        if session is not None:
            session.close()
        return session is not None

    def left(self) -> None:
        """The connection ended."""
        self.end_session()
        self.handshakes.close()


def is_open(path: str) -> bool:
    """Whether everybody may ask for it."""
    return path in ("/info", "/server-info", "/auth-setup") or path.startswith("/pair-")


def _push(session: AirPlaySession, content: dict[str, Any]) -> None:
    session.push({"params": {"data": plist.dumps(content)}})


def _binary(content: dict[str, Any]) -> Response:
    return Response(200, headers=[("Content-Type", codes.PLIST)], body=plist.dumps(content))


def _xml(content: dict[str, Any]) -> Response:
    return Response(200, headers=[("Content-Type", codes.XML_PLIST)], body=plistlib.dumps(content))


def _text(text: str) -> Response:
    return Response(200, headers=[("Content-Type", codes.PARAMETERS)], body=text.encode())


def _dict(data: bytes) -> dict[str, Any]:
    """The property list in a body; {} if it is none, or no dictionary."""
    try:
        content = plist.loads(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _parameters(data: bytes) -> dict[str, str]:
    """The lines of a body of the old kind: ``name: value``."""
    found = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def _seconds(time: Any) -> float:
    """A time as a number of some units per second."""
    if not isinstance(time, dict) or not time.get("timescale"):
        return 0.0
    return _number(time.get("value")) / (_number(time.get("timescale")) or 1.0)
