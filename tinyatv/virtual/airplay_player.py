"""What plays the URL that was sent to the device: fetches it, and shows it as an app of the TV.

load()   loading    the URL is asked for: 2 bytes first, then all of it in pieces
         paused     it can be played; AirPlay 2 waits for a rate, AirPlay 1 goes on at once
         playing    the position moves
         stopped    at its end, or told to; or it cannot be fetched, which is an error
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable
from urllib.parse import unquote, urljoin, urlsplit

from ..model import App, DeviceState, MediaType
from .contents import Item, Player
from .state import State

log = logging.getLogger(__name__)

APP = App("AirPlay", "com.apple.TVAirPlay")

CANNOT_OPEN = -6707  # error code and domain that a device gave in /playback-info
DOMAIN = "NSOSStatusErrorDomain"
PIECE = 64 * 1024  # bytes
KEPT = 64 * 1024 * 1024  # bytes of a body
SEGMENTS = 100  # of a playlist; enough for any test
HOPS = 10  # redirections
REDIRECTIONS = (301, 302, 303, 307, 308)
PLAYLISTS = (  # types of HLS, RFC 8216
    "application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl",
)  # fmt: skip
NEAR = 0.3  # s; an end that is at most so early came by itself

_NAMES = {
    DeviceState.Loading: "loading",
    DeviceState.Playing: "playing",
    DeviceState.Seeking: "playing",
    DeviceState.Paused: "paused",
    DeviceState.Stopped: "stopped",
    DeviceState.Idle: "stopped",
}


class Load:
    """One URL that is played.

    Attributes:
        owner: Who sent it.
        url: What.
        uuid: By what the sender knows it.
        start: Position to begin at: seconds, or a fraction of the duration.
        fraction: What `start` is.
        rate: 1.0 plays as soon as it can be played.
        ready: True once it can be played.
        player: How the state shows it.
        name: What its owner is told last.
        complete: None until it is over; then, whether it came to its end.
        ends: When it will be over if nothing happens (monotonic clock).
    """

    def __init__(
        self, owner: object, url: str, uuid: str, start: float, fraction: bool, rate: float,
        title: str | None, duration: float,
    ) -> None:  # fmt: skip
        self.owner = owner
        self.url = url
        self.uuid = uuid
        self.start = start
        self.fraction = fraction
        self.rate = rate
        self.ready = False
        self.name = ""
        self.complete: bool | None = None
        self.ends = 0.0
        name = title or unquote(os.path.basename(urlsplit(url).path)) or url
        item = Item(name, duration=duration, media_type=MediaType.Video, artwork=b"")
        self.player = Player([item], APP, device_state=DeviceState.Loading)


class UrlPlayer:
    """Plays URLs, one at a time.

    Args:
        state: Shared state of the device.
        name: Prefix of the threads' names.
        told: Called with (load, kind, name) when something happens: ``"state"`` with
            ``"loading"``, ``"playing"``, ``"paused"``, ``"stopped"``; ``"notification"`` with
            ``"itemPlayedToEnd"`` and others. Each state that there was, in order, one at a time;
            on any thread, with no lock held but that over :meth:`load`, so it must not load.

    Attributes:
        duration: Seconds that whatever is played takes.
        anywhere: True fetches from everywhere; else only from this machine, and what is
            elsewhere, or not HTTP, is played without being fetched.
        needs_ranges: False also plays from servers that know no ranges.
        timeout: Seconds for a server to answer.
        urls: All that were sent, in order.
        fetched: (range, status) of each request for the last one; the range is None without one.
        body: What the last one held, if that was at most 64 MB.
        error: Code of the last one's error, or None.
    """

    def __init__(
        self, state: State, name: str, told: Callable[[Load, str, str], object]
    ) -> None:  # fmt: skip
        self.duration = 60.0
        self.anywhere = False
        self.needs_ranges = True
        self.timeout = 5.0
        self.urls: list[str] = []
        self.fetched: list[tuple[str | None, int]] = []
        self.body = b""
        self.error: int | None = None
        self._state = state
        self._name = name
        self._told = told
        self._untold: deque[tuple[Load, str, str]] = deque()
        self._telling = False  # some thread does it
        self._closed = False
        self._loading = threading.Lock()  # two must not replace the same one
        self._lock = threading.Lock()  # taken after that of the state
        self._load: Load | None = None
        self._before: Player | None = None  # what played when it began
        self._threads: list[threading.Thread] = []
        state.record(self._record)
        state.watch(self._look)

    # -- what its clients ask --------------------------------------------------------------------

    @property
    def load_now(self) -> Load | None:
        """What is loaded, or None."""
        return self._load

    def load(
        self, owner: object, url: str, uuid: str = "", start: float = 0.0, *,
        fraction: bool = False, rate: float = 0.0, title: str | None = None,
    ) -> None:  # fmt: skip
        """Play something else."""
        load = Load(owner, url, uuid, start, fraction, rate, title, self.duration)
        thread = threading.Thread(
            target=self._fetch, args=(load,), name=f"{self._name}-fetch", daemon=True
        )
        with self._loading:
            self.stop()
            self.urls.append(url)
            self.fetched, self.body, self.error = [], b"", None
            state = self._state
            self._before = state.player
            with self._lock:
                self._load = load
            state.log_command(f"play_url {url}")
            state.activate(load.player)
            with self._lock:  # close() on another thread joins it only once it runs
                if not self._closed:
                    thread.start()
                    self._threads = [one for one in self._threads if one.is_alive()] + [thread]

    def rate(self, value: float) -> None:
        """Pause (0) or play."""
        load = self._load
        if load is None:
            return
        load.rate = value
        if load.ready:
            state = self._state
            if state.player is not load.player:
                state.activate(load.player)
            (state.play if value else state.pause)()

    def seek(self, seconds: float) -> None:
        """Move to a position."""
        load = self._load
        if load is None:
            return
        if not load.ready:
            load.start, load.fraction = seconds, False
        elif self._state.player is load.player:
            self._state.set_position(seconds)

    def stop(self, owner: object = None) -> None:
        """Stop it; with an owner, only if that sent it."""
        load = self._load
        if load is not None and owner in (None, load.owner):
            self._end(load)

    def close(self) -> None:
        """Stop, and join all threads."""
        self._state.unwatch(self._record)
        self._state.unwatch(self._look)
        with self._lock:
            self._closed, self._load = True, None
            threads = self._threads
        for thread in threads:
            thread.join(self.timeout + 1)

    @property
    def position(self) -> float:
        """Seconds from the start; 0 without anything."""
        load = self._load
        return 0.0 if load is None else load.player.position

    @property
    def speed(self) -> float:
        """0 paused, 1 playing."""
        load = self._load
        return 0.0 if load is None else load.player.speed

    def info(self, owner: object = None) -> dict[str, Any]:
        """What ``/playback-info`` answers."""
        load = self._load
        if self.error is not None:
            return {"error": {"code": self.error, "domain": DOMAIN}, "readyToPlay": False}
        if load is None or not load.ready or owner not in (None, load.owner):
            return {"readyToPlay": False, "uuid": "" if load is None else load.uuid}
        duration = load.player.items[0].duration
        whole = [{"start": 0.0, "duration": duration}]
        return {
            "duration": duration, "position": load.player.position, "rate": load.player.speed,
            "readyToPlay": True, "playbackBufferEmpty": False, "playbackBufferFull": True,
            "playbackLikelyToKeepUp": True, "loadedTimeRanges": whole,
            "seekableTimeRanges": whole, "uuid": load.uuid,
        }  # fmt: skip

    # -- what happens to it ----------------------------------------------------------------------

    def _record(self) -> None:
        """Something changed: note what the owner is to be told, or the end."""
        with self._lock:
            load = self._load
            if load is None or load.complete is not None:
                return
            now, before = _NAMES[load.player.device_state], load.name
            if now == "playing":
                load.ends = time.monotonic() + max(0.0, self.duration - load.player.position)
            elif now == "paused":
                load.ends = float("inf")
            if now == "stopped" and load.ready:
                load.complete = time.monotonic() >= load.ends - NEAR
            elif now != before:
                load.name = now
                self._untold.append((load, "state", now))
                if before not in ("", "loading"):
                    self._untold.append((load, "notification", "rateChanged"))

    def _look(self) -> None:
        """Something changed, and the lock is free again: end what is over, and tell."""
        load = self._load
        if load is not None and load.complete is not None:
            self._end(load)
        self._notify()

    def _notify(self) -> None:
        """Tell what is noted. One thread at a time does it, for all: so it stays in order."""
        while True:
            with self._lock:
                if self._telling or not self._untold:
                    return
                self._telling = True
                event = self._untold.popleft()
            try:
                self._told(*event)
            finally:
                with self._lock:
                    self._telling = False

    def _end(self, load: Load) -> None:
        with self._lock:
            if self._load is not load:
                return
            self._load = None
            if load.complete:
                self._untold.append((load, "notification", "itemPlayedToEnd"))
            self._untold.append((load, "state", "stopped"))
        state, before = self._state, self._before
        with state.change():
            active = state.player is load.player
            if self._load is None:
                state.remove_app(APP.identifier)
            elif load.player in state.players:  # what is loaded since is the same app
                state.players.remove(load.player)
            if active and before in state.players:
                state.activate(before)
        self._notify()

    def _ready(self, load: Load) -> None:
        state = self._state
        with state.change():
            with self._lock:
                if self._load is not load:
                    return
                load.ready = True
            player = load.player
            start = load.start * self.duration if load.fraction else load.start
            player.device_state = DeviceState.Paused
            player.position = start
            if load.rate and state.player is player:
                player.device_state = DeviceState.Playing
        with self._lock:
            if self._load is load:
                self._untold.append((load, "notification", "currentItemChanged"))
        self._notify()

    # -- fetching --------------------------------------------------------------------------------

    def _fetch(self, load: Load) -> None:
        if not self._may_fetch(load.url):
            self._ready(load)
            return
        try:
            self._fetch_what_it_is(load)
        except _Elsewhere:
            self._ready(load)
        except (OSError, ValueError, http.client.HTTPException) as exc:
            log.debug("%s: cannot fetch %s: %s", self._name, load.url, exc)
            if self._load is load:
                self.error = CANNOT_OPEN
                self._end(load)
        self._state.notify()

    def _fetch_what_it_is(self, load: Load) -> None:
        """A playlist or a file: players go by the type that the server says, not by the name."""
        if urlsplit(load.url).path.endswith(".m3u8"):
            self._fetch_playlist(load, load.url)
            return
        try:
            self._fetch_pieces(load)
        except _IsPlaylist as found:
            self._fetch_playlist(load, found.url)

    def _may_fetch(self, url: str) -> bool:
        parts = urlsplit(url)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        return parts.scheme == "http" and (local or self.anywhere)

    def _fetch_pieces(self, load: Load) -> None:
        size = sum(whole for _, whole, _ in self._get(load, load.url, ["bytes=0-1"]))
        pieces = (f"bytes={at}-{min(at + PIECE, size) - 1}" for at in range(0, size, PIECE))
        if size == 0 and self.error is None:  # no ranges
            for body, _, _ in self._get(load, load.url, [None]):
                self.body = body
            self._ready(load)
            return
        kept, first = [], True
        for body, _, _ in self._get(load, load.url, pieces):
            if size <= KEPT:
                kept.append(body)
            if first:
                first = False
                self._ready(load)
        if self._load is load:
            self.body = b"".join(kept)

    def _fetch_playlist(self, load: Load, url: str, depth: int = 2) -> None:
        """The playlist, and what is in it; of several qualities, the first."""
        text = ""
        for body, _, where in self._get(load, url, [None]):
            text, url = body.decode("utf-8", "replace"), where
        if not text.startswith("#EXTM3U"):
            raise ValueError("not a playlist")
        names = [line.strip() for line in text.splitlines()]
        names = [name for name in names if name and not name.startswith("#")]
        if "#EXT-X-STREAM-INF" in text:
            if not depth or not names:
                raise ValueError("a playlist without segments")
            self._fetch_playlist(load, urljoin(url, names[0]), depth - 1)
            return
        self._ready(load)
        kept = []
        for name in names[:SEGMENTS]:
            kept += [body for body, _, _ in self._get(load, urljoin(url, name), [None])]
        self.body = b"".join(kept)

    def _get(self, load: Load, url: str, ranges: Any) -> Iterator[tuple[bytes, int, str]]:
        """Ask for each of the ranges; yields (body, size of the whole, where it was in the end).

        Raises:
            OSError, HTTPException: It cannot be reached.
            ValueError: It is not there, or elsewhere, or is not what it should be.
        """
        if not self._may_fetch(url):
            raise ValueError(f"{url} is elsewhere")
        connection, hops = self._connect(url), 0
        try:
            for wanted in ranges:
                while True:
                    if self._load is not load:
                        return
                    response = self._request(connection, url, wanted)
                    place = response.headers.get("Location")
                    if response.status not in REDIRECTIONS or not place:
                        break
                    hops += 1
                    if hops > HOPS:
                        raise ValueError("too many redirections")
                    connection.close()
                    url = urljoin(url, place)
                    if not self._may_fetch(url):
                        raise _Elsewhere(url)
                    connection = self._connect(url)
                if wanted is not None and response.headers.get_content_type() in PLAYLISTS:
                    raise _IsPlaylist(url)
                if wanted is not None and response.status == 200 and not self.needs_ranges:
                    return
                body = response.read()
                yield body, _whole(wanted, response, body), url
        finally:
            connection.close()

    def _connect(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        return http.client.HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=self.timeout
        )

    def _request(
        self, connection: http.client.HTTPConnection, url: str, wanted: str | None
    ) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": "AppleCoreMedia/1.0.0 (Apple TV)", "Accept": "*/*"}
        if wanted is not None:
            headers["Range"] = wanted
        connection.request("GET", path or "/", headers=headers)
        response = connection.getresponse()
        self.fetched.append((wanted, response.status))
        return response


class _IsPlaylist(Exception):
    """What is fetched in pieces is a playlist.

    Args:
        url: Where it is.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class _Elsewhere(Exception):
    """A redirection leads to where nothing may be fetched from: it is played all the same."""


def _whole(wanted: str | None, response: http.client.HTTPResponse, body: bytes) -> int:
    """The size of what there is, from the answer for a part of it.

    Raises:
        ValueError: It is not the part that was asked for.
    """
    if wanted is None:
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        return len(body)
    given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    if response.status != 206 or given is None:
        raise ValueError(f"no ranges (status {response.status})")
    first, last, size = map(int, given.groups())
    begin, end = map(int, wanted.partition("=")[2].split("-"))
    if (first, last) != (begin, min(end, size - 1)) or len(body) != last - first + 1:
        raise ValueError(f"{len(body)} bytes of {given[0]} instead of {wanted}")
    return size
