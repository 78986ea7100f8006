"""What a device may have fetched, and what not."""

from __future__ import annotations

import http.client
import queue
import socket
import threading

import pytest

from tests.support.media import Server
from tinyatv import ConnectionLost
from tinyatv.backends import airplay_fetch
from tinyatv.backends.airplay_fetch import LIMIT, Fetcher, FetchQueue

WAIT = 5.0  # s; a deadline for things that take milliseconds
MASTER = b"""#EXTM3U
#EXT-X-SESSION-KEY:METHOD=AES-128,URI="keys/1"
#EXT-X-MEDIA:TYPE=AUDIO,URI="%(other)s/audio.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1
sub/list.m3u8
%(other)s/list.m3u8
"""
LIST = b"#EXTM3U\n#EXTINF:4,\none.ts\n"


@pytest.fixture
def other():
    """Another server, which has nothing to do with it at first."""
    files = {"/list.m3u8": LIST, "/audio.m3u8": LIST, "/one.ts": b"1", "/private": b"private"}
    with Server(files) as server:
        yield server


@pytest.fixture
def media(other):
    """The server of what is played."""
    master = MASTER % {b"other": other.url.encode()}
    files = {"/master.m3u8": master, "/sub/list.m3u8": LIST, "/sub/one.ts": b"2", "/keys/1": b"k"}
    with Server(files) as server:
        server.kinds["/master.m3u8"] = "application/vnd.apple.mpegurl"
        yield server


@pytest.fixture
def fetcher(media):
    return Fetcher(f"{media.url}/master.m3u8")


def test_the_same_server(fetcher, media):
    found = fetcher.fetch(f"{media.url}/master.m3u8", {})
    assert (found.code, found.kind) == (200, "application/vnd.apple.mpegurl")
    assert found.data == media.files["/master.m3u8"]
    found = fetcher.fetch(f"{media.url}/nothing", {})
    assert found.code == 404


def test_what_a_playlist_names(fetcher, media, other):
    names = [f"{other.url}/list.m3u8", f"{other.url}/audio.m3u8"]
    for name in names:
        with pytest.raises(ValueError, match="does not belong"):
            fetcher.fetch(name, {})
    fetcher.fetch(f"{media.url}/master.m3u8", {})
    for name in names:
        assert fetcher.fetch(name, {}).data == LIST
    assert fetcher.fetch(f"{other.url}/one.ts", {}).data == b"1"  # named by those
    with pytest.raises(ValueError, match="does not belong"):
        fetcher.fetch(f"{other.url}/private", {})
    assert [path for path, _ in other.asked] == ["/list.m3u8", "/audio.m3u8", "/one.ts"]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "/etc/passwd", "", "ftp://127.0.0.1/", "http://", "http://[", "http:",
        "http://127.0.0.1:99999/", "mlhls://localhost/master.m3u8", "data:text/plain,x", "\0",
        "http://a\nb/", "http://127.0.0.1:1/",
    ],
)  # fmt: skip
def test_what_cannot_be_fetched(fetcher, url):
    """Not even if it is what is played."""
    for it in (fetcher, Fetcher(url), Fetcher("film.mp4")):
        with pytest.raises((ValueError, OSError, http.client.HTTPException)):
            it.fetch(url, {})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://169.254.169.254/latest", "https://127.0.0.1:{port}/x"]
)
def test_what_does_not_belong(fetcher, media, url):
    with pytest.raises(ValueError, match="does not belong"):
        fetcher.fetch(url.format(port=media.server_port), {})
    assert media.asked == []


def test_a_file_of_ours(tmp_path):
    path = tmp_path / "list.m3u8"
    path.write_bytes(LIST)
    url = "http://192.0.2.1:5/token/list.m3u8"
    fetcher = Fetcher(url, str(path))
    assert fetcher.fetch(url, {}).data == LIST
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        fetcher.fetch(url, {})


def test_headers(fetcher, media):
    """Those about the content are passed on; nothing can be smuggled in by them."""
    url = f"{media.url}/master.m3u8"
    fetcher.fetch(url, {"User-Agent": "AppleCoreMedia", "Host": "x", "Cookie": "c", "accept": "q"})
    headers = media.asked[-1][1]
    assert headers["User-Agent"] == "AppleCoreMedia"
    assert headers["Accept"] == "q"
    assert headers["Host"] == media.url[7:]
    assert "Cookie" not in headers
    for odd in ("a\r\nX: y", "€"):
        with pytest.raises(ValueError, match=r"."):
            fetcher.fetch(url, {"User-Agent": odd})


def test_redirections(fetcher, media, other):
    media.moved = {"/a": "/b", "/b": f"{other.url}/list.m3u8", "/loop": "/loop"}
    found = fetcher.fetch(f"{media.url}/a", {})
    assert (found.url, found.data) == (f"{other.url}/list.m3u8", LIST)
    assert fetcher.fetch(f"{other.url}/one.ts", {}).data == b"1"  # relative to where it was
    with pytest.raises(ValueError, match="too many"):
        fetcher.fetch(f"{media.url}/loop", {})
    media.moved["/out"] = "file:///etc/passwd"
    with pytest.raises(ValueError, match="only http"):
        fetcher.fetch(f"{media.url}/out", {})


def test_too_large(fetcher, media, tmp_path):
    media.files["/large"] = bytes(LIMIT + 1)
    media.files["/fits"] = bytes(LIMIT)
    assert len(fetcher.fetch(f"{media.url}/fits", {}).data) == LIMIT
    with pytest.raises(ValueError, match="more than"):
        fetcher.fetch(f"{media.url}/large", {})
    (tmp_path / "large").write_bytes(bytes(LIMIT + 1))
    with pytest.raises(ValueError, match="more than"):
        Fetcher("http://x/", str(tmp_path / "large")).fetch("http://x/", {})


def test_names_are_bounded(fetcher, media, monkeypatch):
    """A live stream names something else every few seconds, for hours."""
    monkeypatch.setattr(airplay_fetch, "NAMES", 3)
    for number in range(50):
        media.files["/live.m3u8"] = b"#EXTM3U\nhttp://192.0.2.1/%d.ts\n" % number
        fetcher.fetch(f"{media.url}/live.m3u8", {})
    assert len(fetcher._named) <= 4
    assert "http://192.0.2.1/49.ts" in fetcher._named


class Raw:
    """A server that says what it is told to, and then nothing more."""

    def __init__(self, *parts):
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}/"
        self._parts = parts
        self.came = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            sock, _ = self._sock.accept()
        except OSError:
            return  # the client's time was over before it came
        with sock:
            sock.recv(65536)
            for part in self._parts:
                if part is None:
                    return
                sock.sendall(part)
            self.came.set()
            self._over.wait(30)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._sock.close()
        self._thread.join(5)


@pytest.mark.parametrize(
    "parts",
    [
        [None],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", None],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nshort", None],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nshort", None],
        [b"nonsense\r\n\r\n", None],
        [b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n", None],
    ],
)
def test_broken_answers(parts):
    with Raw(*parts) as server, pytest.raises((ValueError, OSError, http.client.HTTPException)):
        Fetcher(server.url).fetch(server.url, {})


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"


@pytest.mark.parametrize("parts", [[], [b"HTTP/1.1 2"], [HEAD], [HEAD + b"\r\nsho"],
                                   [HEAD + b"Connection: close\r\n\r\nsho"]])  # fmt: skip
def test_close_ends_it(parts, monkeypatch):
    """Whatever the server has said until it went silent; nobody waits until patience is over."""
    monkeypatch.setattr(airplay_fetch, "IDLE_TIMEOUT", 60.0)
    told = queue.SimpleQueue()
    with Raw(*parts) as server:
        fetches = FetchQueue(Fetcher(server.url), told.put, "tinyatv-stream-fetch-test")
        fetches.add(request(server.url))
        assert server.came.wait(WAIT)
        closing = threading.Thread(target=fetches.close, name="tinyatv-test-close")
        closing.start()
        closing.join(WAIT)
        assert not closing.is_alive()
        fetches.close()
        fetches.add(request(server.url))  # nobody does it
    assert told.empty()


def test_a_silent_server(monkeypatch):
    monkeypatch.setattr(airplay_fetch, "IDLE_TIMEOUT", 0.1)
    with Raw() as server, pytest.raises(OSError, match="timed out"):
        Fetcher(server.url).fetch(server.url, {})


def test_a_slow_server(monkeypatch):
    monkeypatch.setattr(airplay_fetch, "WHOLE", 0.0)
    with Raw(HEAD + b"\r\nsho") as server, pytest.raises(ValueError, match="too long"):
        Fetcher(server.url).fetch(server.url, {})


# -- errands ---------------------------------------------------------------------------------------


def request(url, number=7, **more):
    asked = {"FCUP_Response_URL": url, "FCUP_Response_RequestID": number, **more}
    return {"type": "unhandledURL", "kind": "request", "messageID": 3, "request": asked}


@pytest.fixture
def done(fetcher):
    """A function that has errands done; what the device is told first."""
    told = queue.SimpleQueue()
    fetches = FetchQueue(fetcher, told.put, "tinyatv-stream-fetch-test")

    def do(*errand):
        for asked in errand:
            fetches.add(asked)
        return told.get(timeout=WAIT)

    yield do
    fetches.close()


def test_errand(done, media):
    url = f"{media.url}/master.m3u8"
    assert done(request(url, FCUP_Response_Headers={"User-Agent": "me", "Range": 5})) == {
        "type": "unhandledURL", "kind": "response", "messageID": 3,
        "response": {
            "FCUP_Response_RequestID": 7, "FCUP_Response_URL": url, "FCUP_Response_StatusCode": 200,
            "FCUP_Response_Data": media.files["/master.m3u8"],
            "FCUP_Response_Headers": {"Content-Type": "application/vnd.apple.mpegurl"},
        },
    }  # fmt: skip
    assert media.asked[-1][1]["User-Agent"] == "me"


def test_errands_that_fail(done, media):
    for url, code in (
        ("file:///etc/passwd", 504), ("http://127.0.0.1:1/", 504), (f"{media.url}/nothing", 404),
        ("http://[", 504),
    ):  # fmt: skip
        response = done(request(url))["response"]
        assert response["FCUP_Response_URL"] == url
        assert response["FCUP_Response_StatusCode"] == code
        assert response["FCUP_Response_Data"] == b""


def test_what_is_no_errand(done, media):
    """It is not answered, and does no harm to what comes after it."""
    whole = request(f"{media.url}/keys/1")
    odd = [
        {}, {**whole, "kind": "response"}, {**whole, "request": None}, {**whole, "request": []},
        {**whole, "request": {"FCUP_Response_URL": 5}},
        {k: v for k, v in whole.items() if k != "messageID"},
    ]  # fmt: skip
    assert done(*odd, whole)["response"]["FCUP_Response_Data"] == b"k"


def test_the_device_is_gone(fetcher, media):
    """What cannot be told to it is nobody's trouble."""
    tried = queue.SimpleQueue()

    def send(answer):
        tried.put(answer)
        raise ConnectionLost("gone")

    fetches = FetchQueue(fetcher, send, "tinyatv-stream-fetch-test")
    for _ in range(3):
        fetches.add(request(f"{media.url}/keys/1"))
        tried.get(timeout=WAIT)
    fetches.close()


def test_too_many_errands(monkeypatch):
    monkeypatch.setattr(airplay_fetch, "WAITING", 2)
    with Raw(HEAD) as server:
        fetches = FetchQueue(Fetcher(server.url), print, "tinyatv-stream-fetch-test")
        fetches.add(request(server.url))
        assert server.came.wait(WAIT)
        for _ in range(1000):
            fetches.add(request(server.url))
        assert fetches._waiting.qsize() == 2
        fetches.close()
