"""What AirPlay clients play: requests of the old kind, commands of the play queue, and events.

/play, /rate, /scrub, /stop, /playback-info    AirPlay 1, and AirPlay 2 up to tvOS 17
/command                                       the play queue, from tvOS 18 on (seen on 18.1)
"""

from __future__ import annotations

import logging
import math
import plistlib
from typing import TYPE_CHECKING, Any, Callable

from ..errors import AppleTVError
from ..wire import airplay_codes as codes
from ..wire import plist
from ..wire.http import Request, Response
from .airplay_bodies import (
    binary_response,
    number,
    read_dict,
    read_parameters,
    seconds,
    text_response,
    xml_response,
)
from .airplay_peer import AirPlayPeer
from .airplay_player import Load, UrlPlayer

if TYPE_CHECKING:
    from .airplay_identity import AirPlayQuirks
    from .airplay_session import AirPlaySession
    from .profiles import AirPlayProfile
    from .server import Query
    from .state import State

log = logging.getLogger(__name__)

LOGGING_ID = 6  # letters of a playerLoggingID; longer ones were seen to make devices hang up


class Playback:
    """Carries out what clients want to play.

    Args:
        state: Shared state of the device.
        name: Prefix of the threads' names.
        profile: What the generation does over AirPlay.
        quirks: How it behaves.
        complain: Takes what clients did wrong, in words.
        peers: The clients that are connected now.

    Attributes:
        player: Plays URLs.
        busy: True pretends that another sender plays.
        commands: What was asked for over ``/command``, in order.
        properties: What was set, by name.
    """

    def __init__(
        self,
        state: State,
        name: str,
        profile: AirPlayProfile,
        quirks: AirPlayQuirks,
        complain: Callable[[str], object],
        peers: Callable[[], list[AirPlayPeer]],
    ) -> None:
        self.player = UrlPlayer(state, name, self.notify_owner)
        self.busy = False
        self.commands: list[dict[str, Any]] = []
        self.properties: dict[str, Any] = {}
        self.quirks = quirks
        self._state = state
        self._name = name
        self._profile = profile
        self._complain = complain
        self._peers = peers
        self._messages = 0
        self._replies: dict[int, dict[str, Any]] = {}

    # -- playing ---------------------------------------------------------------------------------

    def is_busy(self, peer: AirPlayPeer) -> bool:
        load = self.player.load_now
        return self.busy or (load is not None and load.owner is not peer)

    def play(self, peer: AirPlayPeer, query: Query) -> Response:
        profile, session = self._profile, peer.session
        if not profile.play:
            return Response(404)
        body = read_dict(query.body) or read_parameters(query.body)
        url = body.get("Content-Location")
        if not isinstance(url, str) or not url:
            return Response(400)
        if self.is_busy(peer):
            return Response(codes.BUSY)
        uuid = str(body.get("uuid") or query.request.header("X-Apple-Session-ID") or "")
        if profile.airplay == 1:
            peer.playing_id = body.get("X-Apple-Session-ID") or uuid
            start = number(body.get("Start-Position"))
            self.player.load(peer, url, uuid, start, fraction=True, rate=1.0)
        elif profile.play == "play" and session is not None and session.plays:
            self.player.load(peer, url, uuid, number(body.get("Start-Position-Seconds")))
        return Response(200)  # also where nothing comes of it

    def playback_info(self, peer: AirPlayPeer, query: Query) -> Response:
        if self._profile.play != "play":
            return Response(500)
        return xml_response(self.player.info())

    def stop(self, peer: AirPlayPeer, query: Query) -> Response:
        self.player.stop()
        self.player.error = None
        return Response(200)

    def scrub(self, peer: AirPlayPeer, query: Query) -> Response:
        if query.method == "POST":
            return self._with_number(query, "position", self.player.seek)
        info = self.player.info()
        duration, position = info.get("duration", 0.0), info.get("position", 0.0)
        return text_response(f"duration: {duration:.6f}\nposition: {position:.6f}\n")

    def rate(self, peer: AirPlayPeer, query: Query) -> Response:
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

    def set_property(self, peer: AirPlayPeer, query: Query) -> Response:
        body = read_dict(query.body)
        if "value" not in body or len(query.args) != 1:
            return Response(400)
        self.properties[next(iter(query.args))] = body["value"]
        return binary_response({"errorCode": 0})

    def get_property(self, peer: AirPlayPeer, query: Query) -> Response:
        if not {"playbackAccessLog", "playbackErrorLog"} & query.args.keys():
            return Response(404)
        return binary_response({"errorCode": 0, "value": []})

    def reverse(self, peer: AirPlayPeer, query: Query) -> Response:
        request = query.request
        upgrade = request.header("Upgrade"), request.header("X-Apple-Purpose")
        if upgrade != ("PTTH/1.0", "event"):
            return Response(400)
        peer.reversed_for = request.header("X-Apple-Session-ID") or ""
        headers = [("Upgrade", "PTTH/1.0"), ("Connection", "Upgrade")]
        return Response(101, "Switching Protocols", headers)

    # -- the play queue --------------------------------------------------------------------------

    def command(self, peer: AirPlayPeer, query: Query) -> Response:
        session = peer.session
        if session is None or session.queue is None or self._profile.play != "queue":
            return Response(500)
        headers = query.request.header
        if headers("X-Apple-Session-ID") != session.uuid:
            return Response(400)
        if headers("X-Apple-StreamID") != str(session.queue):
            return Response(400)
        params = read_dict(query.body).get("params")
        data = params.get("data") if isinstance(params, dict) else None
        command = read_dict(data) if isinstance(data, bytes) else {}
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
            self.player.rate(number(command.get("rate")))
        elif kind == "seek":
            self.player.seek(seconds(command.get("time")))
        elif kind == "unhandledURL" and command.get("kind") == "response":
            message_id, response = command.get("messageID"), command.get("response")
            if not isinstance(message_id, int) or not isinstance(response, dict):
                return Response(400)
            self._replies[message_id] = response
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
            self._complain("playerLoggingID too long")
            peer.link.close()
            return Response(400)
        if self.is_busy(peer):
            return Response(codes.BUSY)
        start = item.get("Start-Position-Seconds", seconds(item.get("Start-Position")))
        title = item.get("title")
        title = title if isinstance(title, str) else None
        self.player.load(peer, url, uuid, number(start), title=title)
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
        """Have the sender fetch something, as devices do with playlists of their own kind.

        Returns:
            The answer: ``FCUP_Response_StatusCode``, ``FCUP_Response_Data`` and others.

        Raises:
            ValueError: Nothing is played, or there is no answer.
        """
        load = self.player.load_now
        session = load.owner.session if load and isinstance(load.owner, AirPlayPeer) else None
        if session is None:
            raise ValueError("nothing is played")
        self._messages += 1
        message_id = self._messages
        _push(session, {
            "type": "unhandledURL", "kind": "request", "messageID": message_id,
            "request": {
                "FCUP_Response_URL": url, "FCUP_Response_RequestID": message_id,
                "FCUP_Response_Headers": {"User-Agent": "AppleCoreMedia/1.0.0"},
            },
        })  # fmt: skip
        if not self._state.wait_for(lambda _: message_id in self._replies, timeout):
            raise ValueError("no answer")
        return self._replies.pop(message_id)

    # -- events ----------------------------------------------------------------------------------

    def notify_owner(self, load: Load, kind: str, name: str) -> None:
        """Something happened to what is played: notify its sender."""
        peer = load.owner
        self._state.notify()
        if not isinstance(peer, AirPlayPeer) or self.quirks.no_events:
            return
        session = peer.session
        if session is not None and session.queue is not None:
            if kind == "notification":
                _push(session, {"type": kind, "name": name, "item": {"uuid": load.uuid}})
            elif self.quirks.named_state:
                _push(session, {"type": "playbackState", "name": name})
            else:
                _push(session, {"type": "playbackState", "params": {"playbackState": name}})
        elif self._profile.airplay == 1 and kind == "state":
            content = {"category": "video", "sessionID": 1, "state": name}
            request = Request(
                "POST", "/event", [("Content-Type", codes.XML_PLIST)], plistlib.dumps(content)
            )
            for other in self._peers():
                if other.reversed_for is not None and other.reversed_for == peer.playing_id:
                    try:
                        other.link.send(request, answered=True)
                    except AppleTVError as exc:
                        log.debug("%s: %s", self._name, exc)  # it is gone


def _push(session: AirPlaySession, content: dict[str, Any]) -> None:
    session.push({"params": {"data": plist.dumps(content)}})
