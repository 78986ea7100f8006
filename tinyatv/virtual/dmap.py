"""The device side of DMAP: sessions, commands, play status with its long poll, artwork."""

from __future__ import annotations

import http.client
import logging
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING, Callable

from ..errors import ConnectionFailed, PairingError
from ..link import reason
from ..model import DeviceState, MediaType, RepeatState, ShuffleState
from ..pairing import dmap as pairing
from ..wire import dmap
from ..wire import dmap_codes as codes
from ..wire.http import Response
from .server import HttpServer, Peer, Query, compress
from .state import direction

if TYPE_CHECKING:
    from ..discovery.records import Record
    from .side import Setup

log = logging.getLogger(__name__)

CAPS = {
    DeviceState.Loading: codes.LOADING,
    DeviceState.Stopped: codes.STOPPED,
    DeviceState.Paused: codes.PAUSED,
    DeviceState.Playing: codes.PLAYING,
    DeviceState.Seeking: codes.SEEKING_FORWARD,
}
MEDIA_KIND = {
    MediaType.Unknown: 1,
    MediaType.Music: codes.MUSIC,
    MediaType.Video: codes.MOVIE,
    MediaType.TV: codes.TV_SHOW,
}

BUTTONS = {
    codes.SELECT: "select",
    codes.MENU: "menu",
    codes.TOP_MENU: "top_menu",
    codes.HOLD_SELECT: "select hold",
}
TOUCH = re.compile(r"touch(Down|Move|Up)&time=\d+&point=(-?\d+),(-?\d+)")
HOLD = 0.5
"""Seconds between first and last touch from which on it counts as held."""

CLIENT_HEADERS = [name for name, _ in codes.HEADERS if "Client" in name]
AGENT = "Remote/"


class VirtualDmap:
    """Serves DMAP.

    Args:
        setup: What it is made with.

    Attributes:
        port: TCP port.
        service_name: Instance name: 16 hex digits.
        accepted: Credentials that may log in: pairing GUIDs and Home Sharing ids.
        strict: Refuse clients without a remote's headers, as tvOS does since 12.1.
        gzip: Compress every body, as Apple TVs do.
        extra: Further (code, value) pairs for every play status.
    """

    protocol = "dmap"

    def __init__(self, setup: Setup) -> None:
        state = setup.state
        self.service_name = setup.identifier
        self.accepted: set[str] = set()
        if setup.home_sharing:
            self.accepted.add(setup.home_sharing)
        self.strict = True
        self.gzip = True
        self.extra: list[tuple[str, object]] = []
        self._setup = setup
        self._state = state
        self._sessions: set[int] = set()
        self._touch: tuple[int, int, float] | None = None
        self._waiting = threading.Lock()
        self.server = HttpServer(
            self._answer, self._word, setup.faults, state.notify, setup.host, setup.port or 0,
            setup.thread,
        )  # fmt: skip
        self.port: int = self.server.port
        state.watch(self._release)
        self._commands: dict[str, Callable[[], object]] = {
            "play": state.play,
            "playresume": state.play,
            "pause": state.pause,
            "discrete-pause": state.pause,
            "playpause": state.play_pause,
            "stop": state.stop_playing,
            "nextitem": state.next,
            "previtem": state.previous,
            "volumeup": state.volume_up,
            "volumedown": state.volume_down,
            "beginff": lambda: state.press("fast_forward"),
            "beginrew": lambda: state.press("rewind"),
        }

    # -- life ------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[tuple[str, str]]:
        """(method, path) of all requests, in order."""
        return self.server.requests

    def start(self) -> None:
        """Start accepting connections."""
        self.server.start()

    def stop(self) -> None:
        """Stop listening, close all connections, join all threads."""
        self._state.unwatch(self._release)
        self.server.stop()

    def drop_peers(self) -> None:
        """Close all connections, as a reboot would."""
        self.server.drop_peers()

    def restore_from(self, before: VirtualDmap) -> None:
        """Take over the settings of the one before a reboot."""
        self.accepted, self.strict = before.accepted, before.strict

    def records(self) -> list[Record]:
        """The service records that announce it: for remotes, and for Home Sharing."""
        from ..discovery.records import Record

        setup, port = self._setup, self.port
        touch: dict[str, str | None] = {
            "CtlN": setup.name, "DbId": setup.identifier, "DvTy": "AppleTV", "DvSv": "1792",
            "Ver": "131077", "atSV": "65541", "atCV": "65539", "txtvers": "1",
        }  # fmt: skip
        records = [Record("_touch-able._tcp.local.", setup.identifier, port, setup.host, touch)]
        if setup.home_sharing:
            sharing: dict[str, str | None] = {"Name": setup.name, "hG": setup.home_sharing}
            kind = "_appletv-v2._tcp.local."
            records.append(Record(kind, setup.identifier, port, setup.host, sharing))
        return records

    def expire_sessions(self) -> None:
        """Forget all sessions: the next request of each client is answered by 403."""
        self._sessions.clear()

    # -- pairing ---------------------------------------------------------------------------------

    def pair(self, address: str, port: int, guid: str, pin: str | int) -> None:
        """Do what the TV does when the user picked a remote and typed the PIN.

        Args:
            address: The remote's address.
            port: Its port.
            guid: Its ``Pair`` value.
            pin: What the user typed.

        Raises:
            PairingError: The remote says that the PIN is wrong.
            ConnectionFailed: The remote does not answer.
        """
        connection = http.client.HTTPConnection(address, port, timeout=5)
        try:
            connection.request("GET", pairing.ask(guid, pin, self.service_name))
            response = connection.getresponse()
            body = response.read(65536)
        except (OSError, http.client.HTTPException) as exc:
            raise ConnectionFailed(f"remote at {address}:{port}: {reason(exc)}") from exc
        finally:
            connection.close()
        if response.status != 200:
            raise PairingError(f"the remote refused the PIN (status {response.status})")
        self.accepted.add(pairing.granted(body))

    # -- requests --------------------------------------------------------------------------------

    def _word(self, query: Query) -> str:
        """The word by which faults know a request."""
        last = query.path.rsplit("/", 1)[-1]
        if last == "controlpromptentry":
            return self._prompt(query)
        return {
            "server-info": "server_info",
            "playstatusupdate": "playing",
            "nowplayingartwork": "artwork",
            "playpause": "play_pause",
            "nextitem": "next",
            "previtem": "previous",
            "volumeup": "volume_up",
            "volumedown": "volume_down",
            "setproperty": "set_property",
            "getproperty": "get_property",
        }.get(last, last)

    def _prompt(self, query: Query) -> str:
        try:
            word = dmap.first(dmap.decode(query.body), "cmbe")
        except ValueError:
            return "prompt"
        return word.split("&")[0] if isinstance(word, str) else "prompt"

    def _answer(self, peer: Peer, query: Query) -> Response | None:
        if self.strict and not self._is_remote(query):
            return Response(403)
        if query.path == "/server-info":
            return self._dmap(self._server_info())
        if query.path == "/login":
            return self._login(query)
        session = query.args.get("session-id", "")
        if not session.isdecimal() or int(session) not in self._sessions:
            return Response(403)
        if query.path == "/logout":
            self._sessions.discard(int(session))
            return Response(204)
        if not query.path.startswith("/ctrl-int/1/"):
            return Response(404)
        name = query.path[len("/ctrl-int/1/") :]
        if name == "playstatusupdate":
            return self._play_status(peer, query)
        if name == "nowplayingartwork":
            return self._artwork(query)
        if name == "controlpromptentry":
            return self._prompt_entry(query)
        if name == "setproperty":
            return self._set_properties(query)
        if name == "getproperty":
            return self._get_properties(query)
        command = self._commands.get(name)
        if command is None:
            return Response(404)
        if self._state.item is None:
            return Response(500)
        command()
        return Response(200)

    def _is_remote(self, query: Query) -> bool:
        if not (query.request.header("User-Agent") or "").startswith(AGENT):
            return False
        return all(query.request.header(name) is not None for name in CLIENT_HEADERS)

    def _dmap(self, items: list[tuple[str, object]]) -> Response:
        headers = [
            ("DAAP-Server", "iTunes/11.1b37 (OS X)"),
            ("Content-Type", codes.CONTENT_TYPE),
        ]
        response = Response(200, headers=headers, body=dmap.encode(items))
        return compress(response) if self.gzip else response

    def _login(self, query: Query) -> Response:
        given = query.args.get("pairing-guid") or query.args.get("hsgid") or ""
        if not any(given.casefold() == known.casefold() for known in self.accepted):
            return Response(503, body=b"103")
        session = secrets.randbelow(0xFFFFFFFF) + 1
        self._sessions.add(session)
        return self._dmap([("mlog", [("mstt", 200), ("mlid", session)])])

    def _server_info(self) -> list[tuple[str, object]]:
        fields: list[tuple[str, object]] = [
            ("mstt", 200),
            ("mpro", 0x2000A),
            ("minm", self._state.name),
            ("apro", 0x3000C),
            ("aeSV", 0x3000A),
            ("mstm", 1800),
            ("msdc", 1),
            ("mslr", True),
            ("msal", True),
            ("mstc", int(time.time())),
            ("msto", 0),
            ("atSV", 65541),
        ]
        return [("msrv", fields)]

    # -- play status -----------------------------------------------------------------------------

    def _play_status(self, peer: Peer, query: Query) -> Response | None:
        text = query.args.get("revision-number", "0")
        if not text.isdecimal():
            return Response(400)
        with self._waiting:
            if int(text) == self._state.revision:
                peer.waiting = True  # answered by _release()
                return None
        return self._dmap(self._status())

    def _release(self) -> None:
        """Answer all who wait for a change."""
        with self._waiting:
            released = [peer for peer in self.server.peers if peer.waiting]
            for peer in released:
                peer.waiting = False
        for peer in released:
            try:
                peer.link.send(self._dmap(self._status()))
            except ConnectionError:
                pass  # it went away; its link has noticed

    def _status(self) -> list[tuple[str, object]]:
        state = self._state
        fields: list[tuple[str, object]] = [("mstt", 200), ("cmsr", state.revision)]
        item = state.item
        if item is None:
            return [("cmst", [*fields, *self.extra])]
        fields += [
            ("caps", CAPS.get(state.device_state, codes.STOPPED)),
            ("cash", 0 if state.shuffle is ShuffleState.Off else 1),
            ("carp", state.repeat.value),
            ("cafs", False),
            ("cavs", False),
            ("cavc", state.volume_control),
            ("caas", 1),
            ("caar", 1),
            ("cafe", False),
            ("cave", False),
        ]
        texts = {"cann": item.title, "cana": item.artist, "canl": item.album, "cang": item.genre}
        fields += [(code, text) for code, text in texts.items() if text is not None]
        fields += [("cmmk", MEDIA_KIND[item.media_type]), ("casc", 1), ("caks", 6)]
        total = round(item.duration * 1000)
        if total:
            fields += [("cant", total - round(state.position * 1000)), ("cast", total)]
        fields.append(("casu", 0))
        return [("cmst", [*fields, *self.extra])]

    def _artwork(self, query: Query) -> Response:
        width, height = query.args.get("mw", ""), query.args.get("mh", "")
        if not (width.isdecimal() and height.isdecimal()):
            return Response(400)
        data = self._state.artwork(int(width), int(height))
        kind = "image/jpeg" if data[:3] == b"\xff\xd8\xff" else "image/png"
        return Response(200, headers=[("Content-Type", kind)], body=data)

    # -- buttons and properties ------------------------------------------------------------------

    def _prompt_entry(self, query: Query) -> Response:
        try:
            word = dmap.first(dmap.decode(query.body), "cmbe")
        except ValueError:
            return Response(400)
        if not isinstance(word, str):
            return Response(400)
        if word in BUTTONS:
            self._state.press(*BUTTONS[word].split())
            return Response(200)
        touch = TOUCH.fullmatch(word)
        if touch is None:
            return Response(500)
        self._touched(touch[1], int(touch[2]), int(touch[3]))
        return Response(200)

    def _touched(self, phase: str, x: int, y: int) -> None:
        if phase == "Down":
            self._touch = x, y, time.monotonic()
        elif phase == "Up" and self._touch is not None:
            from_x, from_y, since = self._touch
            self._touch = None
            button = direction(x - from_x, y - from_y)
            if button is not None:
                self._state.press(button, "hold" if time.monotonic() - since >= HOLD else "")

    def _set_properties(self, query: Query) -> Response:
        known = {
            codes.POSITION: lambda n: self._state.set_position(n / 1000),
            codes.SHUFFLE: lambda n: self._state.set_shuffle(
                ShuffleState.Songs if n else ShuffleState.Off
            ),
            codes.REPEAT: lambda n: self._state.set_repeat(RepeatState(int(n))),
        }
        if self._state.absolute_volume:
            known[codes.VOLUME] = self._state.set_volume
        given = {k: v for k, v in query.args.items() if k not in ("session-id", "prompt-id")}
        if not given or self._state.item is None:
            return Response(500)
        for name, text in given.items():
            try:
                known[name](float(text))
            except (KeyError, ValueError, OverflowError):
                return Response(500)
        return Response(200)

    def _get_properties(self, query: Query) -> Response:
        state = self._state
        (_, status) = self._status()[0]
        shown = dict(status) if isinstance(status, list) else {}
        known = {
            codes.POSITION: ("cant", "cast"),
            codes.SHUFFLE: ("cash",),
            codes.REPEAT: ("carp",),
            "dacp.playerstate": ("caps",),
            "dacp.nowplaying": ("cann", "cana", "canl", "cang"),
            "dacp.volumecontrollable": ("cavc",),
        }
        fields: list[tuple[str, object]] = [("mstt", 200)]
        for name in query.args.get("properties", "").split(","):
            if name == codes.VOLUME and state.absolute_volume:
                fields.append(("cmvo", round(state.volume)))
            elif name in known:
                fields += [(code, shown[code]) for code in known[name] if code in shown]
            else:
                return Response(500)
        return self._dmap([("cmgt", fields)])
