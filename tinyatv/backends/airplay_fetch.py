"""What a device asks its sender to fetch for it while it plays: playlists and keys of HLS.

It may ask for anything, and we can reach more than it can: this machine, and whatever trusts it. So
it gets what belongs to the URL that it plays, and nothing else: things on the same server, and what
the playlists that we fetched refer to.
"""

from __future__ import annotations

import http.client
import logging
import queue
import re
import socket
import threading
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import urljoin, urlsplit

from ..errors import AppleTVError
from ..threads import join, start
from .fetch import Fetched, fetch

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

WHOLE = 30.0  # s for everything; players give up long before
IDLE_TIMEOUT = 5.0  # s to connect, and without a byte
LIMIT = 16 * 1024 * 1024  # bytes
NAMES = 20_000  # addresses that playlists may refer to; in a live stream they change all the time
WAITING = 64  # requests that may wait
FAILED = 504  # status of what we could not fetch
PLAYLIST = b"#EXTM3U"
URI = re.compile(r'URI="([^"]*)"')  # in tags: keys, initialization, other renditions
PASSED_ON = ("accept", "accept-language", "range", "referer", "user-agent", "x-playback-session-id")


class Fetcher:
    """Fetches what belongs to one URL.

    Args:
        url: What the device plays.
        path: The file that it stands for, if it is one of ours.
    """

    def __init__(self, url: str, path: str | None = None) -> None:
        self._url = url
        self._path = path
        self._origin = _origin(url)
        self._host = self._origin[1] if self._origin is not None else None
        self._named: set[str] = set()
        self._sock: socket.socket | None = None
        self._lock = threading.Lock()
        self._closed = False  # the lock is held while it changes, and while the socket does

    def close(self) -> None:
        """End what is being fetched, and fetch nothing any more. From any thread."""
        with self._lock:
            self._closed = True
            if self._sock is not None:
                try:
                    self._sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it has ended by itself

    def fetch(self, url: str, headers: Mapping[str, str]) -> Fetched:
        """Fetch something. Blocks up to 30 s.

        Args:
            headers: Of the device; only what concerns the content is passed on.

        Raises:
            ValueError: It does not belong to what is played, is too large, or no address.
            OSError, HTTPException: It cannot be had.
        """
        if self._path is not None and url == self._url:
            with open(self._path, "rb") as file:
                found = Fetched(url, 200, "", file.read(LIMIT + 1))
        else:
            if _origin(url) != self._origin and url not in self._named:
                raise ValueError("it does not belong to what is played")
            found = fetch(
                url, timeout=WHOLE, stall=IDLE_TIMEOUT, limit=LIMIT, trusted=self._host,
                opened=self._opened,
                headers={k: v for k, v in headers.items() if k.lower() in PASSED_ON},
            )  # fmt: skip
        if len(found.data) > LIMIT:
            raise ValueError(f"more than {LIMIT} bytes")
        if found.data.startswith(PLAYLIST):
            self._remember(found)
        return found

    def _remember(self, playlist: Fetched) -> None:
        names = _names(playlist.data.decode("utf-8", "replace"))
        if len(self._named) > NAMES:
            self._named.clear()
        self._named.update(urljoin(playlist.url, name) for name in names[:NAMES])

    def _opened(self, sock: socket.socket | None) -> None:
        with self._lock:
            if self._closed and sock is not None:
                raise ValueError("closed")
            self._sock = sock


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Whose it is; None if that is no address."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        return None


def _names(playlist: str) -> list[str]:
    """What a playlist names, as it stands there."""
    found = []
    for line in playlist.splitlines():
        if line.startswith("#"):
            found += URI.findall(line)
        elif line.strip():
            found.append(line.strip())
    return found


class FetchQueue:
    """Does what a device asks its sender for, one after the other, on a thread of its own.

    Args:
        fetcher: Knows what may be fetched.
        send: Sends a command to the device.
        name: Of the thread, which begins with the first of them.
    """

    def __init__(
        self, fetcher: Fetcher, send: Callable[[dict[str, Any]], object], name: str
    ) -> None:  # fmt: skip
        self._fetcher = fetcher
        self._send = send
        self._name = name
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def add(self, asked: dict[str, Any]) -> None:
        """Take a request (``unhandledURL``). Does not block; one too many is dropped."""
        with self._lock:
            if self._closed or self._waiting.qsize() >= WAITING:
                log.debug("%s: too many requests, one is dropped", self._name)
                return
            try:
                self._thread = self._thread or start(self._run, self._name)
            except AppleTVError as exc:  # no room: the next request tries again
                log.info("%s", exc)
            self._waiting.put(asked)

    def close(self) -> None:
        """Stop. Safe to call twice and from any thread; blocks up to 6 s."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._waiting.put(None)
        self._fetcher.close()
        join(thread, IDLE_TIMEOUT + 1)

    def _run(self) -> None:
        while (asked := self._waiting.get()) is not None and not self._closed:
            answer = self._answer(asked)
            if answer is not None and not self._closed:
                try:
                    self._send(answer)
                except AppleTVError as exc:
                    log.info("%s: %s", self._name, exc)

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """The command that answers a request; None if the request makes no sense."""
        request = asked.get("request")
        request = request if isinstance(request, dict) else {}
        url = request.get("FCUP_Response_URL")
        if asked.get("kind") != "request" or "messageID" not in asked or not isinstance(url, str):
            log.debug("%s: not a request to fetch: %r", self._name, asked.get("kind"))
            return None
        response: dict[str, Any] = {
            "FCUP_Response_URL": url, "FCUP_Response_StatusCode": FAILED,
            "FCUP_Response_Data": b"", "FCUP_Response_Headers": {},
        }  # fmt: skip
        if "FCUP_Response_RequestID" in request:
            response["FCUP_Response_RequestID"] = request["FCUP_Response_RequestID"]
        try:
            found = self._fetcher.fetch(url, _texts(request.get("FCUP_Response_Headers")))
        except (OSError, ValueError, http.client.HTTPException) as exc:
            # Without the address: whoever reads the one of a file of ours could fetch it.
            log.info("%s: cannot fetch what the device wants: %s", self._name, exc)
        else:
            response["FCUP_Response_StatusCode"] = found.code
            response["FCUP_Response_Data"] = found.data if found.code < 400 else b""
            if found.kind:
                response["FCUP_Response_Headers"] = {"Content-Type": found.kind}
        kind = {"type": "unhandledURL", "kind": "response"}
        return {**kind, "messageID": asked["messageID"], "response": response}


def _texts(headers: Any) -> dict[str, str]:
    """What of it can be headers."""
    pairs = headers.items() if isinstance(headers, dict) else ()
    return {k: v for k, v in pairs if isinstance(k, str) and isinstance(v, str)}
