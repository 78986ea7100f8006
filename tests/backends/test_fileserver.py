"""The server for one local file, over real sockets on loopback."""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import logging
import os
import random
import socket
import sys
import threading
import tracemalloc
from email.utils import parsedate_to_datetime

import pytest

from tests.support.vectors import cases
from tinyatv.backends import fileserver
from tinyatv.backends.fileserver import FileServer, content_type, parse_range
from tinyatv.errors import AppleTVError, ConnectionLost

WAIT = 20.0  # s; a deadline for things that take milliseconds
HOST = "127.0.0.1"
OTHER = "127.0.0.2"
SIZE = 5120
DATA = random.Random(11).randbytes(SIZE)
MB = 1 << 20

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files: links, holes, deleting while open")


@pytest.fixture(autouse=True)
def quiet(capfd):
    """Whatever a client does, nothing is printed."""
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def film(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "film.mp4").write_bytes(DATA)
    (folder / "secret.mp4").write_bytes(b"not yours")
    return folder / "film.mp4"


@pytest.fixture
def serve():
    """A function that starts a server."""
    started = []

    def start(path, host=HOST, peer=HOST):
        started.append(FileServer(path, host, peer))
        return started[-1].start()

    yield start
    for server in started:
        server.close()


@pytest.fixture
def server(serve, film):
    return serve(film)


def parts(server):
    """(port, path) of its URL."""
    port, _, path = (
        server.url.partition("://")[2].rpartition("]")[2].partition(":")[2].partition("/")
    )
    return int(port), "/" + path


class Client(http.client.HTTPConnection):
    """One connection."""

    def __init__(self, server, source=HOST, host=HOST):
        port, self.path = parts(server)
        super().__init__(host, port, timeout=WAIT, source_address=(source, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, path=None, method="GET", body=None, **headers):
        """The answer, read whole, with its `.body`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.request(method, path or self.path, body, named)
        response = self.getresponse()
        response.body = response.read()
        return response


def fetch(server, path=None, **options):
    with Client(server) as client:
        return client.ask(path, **options)


def raw(server, data):
    """Everything that comes back for these bytes, until the server hangs up."""
    with socket.create_connection((HOST, parts(server)[0]), WAIT) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return drain(sock)


def drain(sock):
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


def stalled(server):
    """A client that has asked for everything, seen one byte, and reads no more."""
    sock = socket.socket()
    sock.settimeout(WAIT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    port, path = parts(server)
    sock.connect((HOST, port))
    sock.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    assert sock.recv(1) == b"H"
    return sock


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("tinyatv-stream")]


def hung_up(*ports):
    """Wait until the server is done with the clients on these ports, or with all."""
    for thread in threads():
        port = thread.name.partition(":")[2]
        if port and (not ports or int(port) in ports):
            thread.join(WAIT)
            assert not thread.is_alive()


def sparse(path, size):
    with path.open("wb") as file:
        for at in range(
            0, size, 7 * MB + 13
        ):  # holes are zeros; mistakes in offsets would not show
            file.seek(at)
            file.write(at.to_bytes(8, "big"))
        file.truncate(size)
    return path


# What it answers


def test_whole_file(server):
    with Client(server) as client:
        response = client.ask()
        assert (response.status, response.version, response.body) == (200, 11, DATA)
        assert response.headers["Content-Type"] == "video/mp4"
        assert response.headers["Content-Length"] == str(SIZE)
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["ETag"].startswith('"')
        assert response.headers["Last-Modified"].endswith(" GMT")
        sock = client.sock
        head = client.ask(method="HEAD")
        assert (head.status, head.body) == (200, b"")
        for name in "Content-Type Content-Length Accept-Ranges ETag Last-Modified".split():
            assert head.headers[name] == response.headers[name]
        assert server.sent == SIZE
        assert client.sock is sock  # kept alive


@pytest.mark.parametrize("case", cases("airplay", "file_ranges"), ids=lambda case: case["name"])
def test_vectors(server, case):
    assert case["size"] == SIZE
    response = fetch(server, **({"Range": case["range"]} if case["range"] else {}))
    expect = case["expect"]
    assert response.status == expect["status"]
    assert response.headers["Content-Range"] == expect["content_range"]
    assert response.headers["Content-Length"] == str(expect["length"])
    assert len(response.body) == expect["length"]


RANGES = [  # header, positions; worked by hand from RFC 9110 14.1.2
    (None, None),
    ("bytes=0-0", range(1)),
    ("bytes=0-1", range(2)),
    ("bytes=0-", range(100)),
    ("bytes=99-", range(99, 100)),
    ("bytes=100-", range(0)),
    ("bytes=100-200", range(0)),
    ("bytes=90-200", range(90, 100)),
    ("bytes=-16", range(84, 100)),
    ("bytes=-100", range(100)),
    ("bytes=-101", range(100)),
    ("bytes=-0", range(0)),
    ("bytes=007-0008", range(7, 9)),
    ("Bytes = 1 - 2", range(1, 3)),
    ("bytes=0-" + "9" * 100, range(100)),
    ("bytes=-" + "9" * 100, range(100)),
    ("bytes=" + "9" * 100 + "-", range(0)),
    ("bytes=0-" + "9" * 5000, None),
    ("bytes=0-1,5-6", None),
    ("bytes=2-1", None),
    ("bytes=-", None),
    ("bytes=", None),
    ("bytes", None),
    ("", None),
    ("bytes=1", None),
    ("bytes=a-b", None),
    ("bytes=+1-2", None),
    ("bytes=--1", None),
    ("bytes=1_0-20", None),
    ("bytes=\xb2-", None),
    ("bytes=0x1-", None),
    ("items=0-1", None),
    ("bytes=0-1\x00", None),
]


@pytest.mark.parametrize(("header", "positions"), RANGES, ids=lambda value: repr(value)[:30])
def test_range(header, positions):
    got = parse_range(header, 100)
    assert (got is None) == (positions is None)
    assert got is None or list(got) == list(positions)


@pytest.mark.parametrize("header", [None, "bytes=0-", "bytes=-1", "bytes=-0", "bytes=5-"])
def test_range_of_nothing(header):
    got = parse_range(header, 0)
    assert (got is None) if header is None else not got


def test_every_range_over_the_wire(server):
    with Client(server) as client:
        for header, _ in RANGES:
            if header and header.isprintable():
                response = client.ask(Range=header)
                part = parse_range(header, SIZE)
                if part is None:
                    assert (response.status, response.body) == (200, DATA)
                elif part:
                    assert (response.status, response.body) == (206, DATA[part.start : part.stop])
                else:
                    assert (response.status, response.body) == (416, b"")


def test_range_of_head_is_ignored(server):
    response = fetch(server, method="HEAD", Range="bytes=0-1")
    assert (response.status, response.headers["Content-Length"]) == (200, str(SIZE))


def test_if_range(server, film):
    with Client(server) as client:
        first = client.ask(Range="bytes=0-1")
        for same in (first.headers["ETag"], first.headers["Last-Modified"]):
            assert client.ask(Range="bytes=2-3", If_Range=same).body == DATA[2:4]
        for other in ('"other"', "W/" + first.headers["ETag"], "Thu, 01 Jan 1970 00:00:00 GMT"):
            assert client.ask(Range="bytes=2-3", If_Range=other).body == DATA
        film.write_bytes(b"changed")
        changed = client.ask(Range="bytes=2-3", If_Range=first.headers["ETag"])
        assert (changed.status, changed.body) == (200, b"changed")


@pytest.mark.parametrize("when", [-5, 0, 1 << 33], ids=["1969", "1970", "2242"])
def test_odd_dates(film, serve, when):
    os.utime(film, (when, when))
    response = fetch(serve(film))
    assert response.body == DATA
    changed = parsedate_to_datetime(response.headers["Last-Modified"])
    assert changed.timestamp() >= 0
    assert changed <= parsedate_to_datetime(response.headers["Date"])


def test_empty_file(film, serve):
    film.write_bytes(b"")
    server = serve(film)
    with Client(server) as client:
        assert (client.ask().status, client.ask().body) == (200, b"")
        response = client.ask(Range="bytes=0-1")
        assert (response.status, response.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", "video/mp4"),
        ("A.MP4", "video/mp4"),
        ("a.m4v", "video/mp4"),
        ("a.mov", "video/quicktime"),
        ("a.mp3", "audio/mpeg"),
        ("a.m4a", "audio/mp4"),
        ("a.m3u8", "application/vnd.apple.mpegurl"),
        ("a.ts", "video/mp2t"),
        ("a.wav", "audio/wav"),
        ("a.flac", "audio/flac"),
        ("a.jpg", "image/jpeg"),
        ("a.pdf", "application/pdf"),
        ("a.tar.gz", "application/octet-stream"),
        ("a.nobody-knows", "application/octet-stream"),
        ("mp4", "application/octet-stream"),
        (".mp4", "application/octet-stream"),
        ("a.", "application/octet-stream"),
    ],
)
def test_types(name, kind):
    assert content_type(name) == kind


@posix
@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("my film.mp4", "my%20film.mp4"),
        ("#1 100%.mp4", "%231%20100%25.mp4"),
        ("%41.mp4", "%2541.mp4"),
        ("Käse.mp4", "K%C3%A4se.mp4"),
        ('it\'s "it".mp4', "it%27s%20%22it%22.mp4"),
        ("two\nlines\r\n.mp4", "two%0Alines%0D%0A.mp4"),
        ("a?b&c=d;e+f.mp4", "a%3Fb%26c%3Dd%3Be%2Bf.mp4"),
        ("back\\slash.mp4", "back%5Cslash.mp4"),
        ("🍿", "%F0%9F%8D%BF"),
    ],
)
def test_names(tmp_path, serve, name, quoted):
    (tmp_path / name).write_bytes(DATA)
    server = serve(tmp_path / name)
    assert server.url.rpartition("/")[2] == quoted
    assert fetch(server).body == DATA


@pytest.mark.skipif(sys.platform != "linux", reason="other systems want UTF-8")
def test_a_name_that_is_no_text(tmp_path, serve):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4")
    with open(path, "wb") as file:
        file.write(DATA)
    server = serve(path)
    assert server.url.endswith("/%FF%FE.mp4")
    assert fetch(server).body == DATA


def test_encoded_in_another_way(tmp_path, serve):
    (tmp_path / "Käse (1).mp4").write_bytes(DATA)
    server = serve(tmp_path / "Käse (1).mp4")
    token = parts(server)[1].split("/")[1]
    assert fetch(server, f"/{token}/K%c3%a4se%20(1).mp4").body == DATA
    sent = raw(server, f"GET /{token}/Käse%20%281%29.mp4 HTTP/1.0\r\n\r\n".encode())
    assert sent.partition(b"\r\n\r\n")[2] == DATA


def test_url(film, serve):
    one, two = serve(film), serve(str(film))
    host, token, name = one.url.partition("://")[2].split("/")
    assert host.startswith("127.0.0.1:")
    assert len(token) >= 22
    assert name == "film.mp4"
    assert token not in two.url
    assert fetch(two, parts(one)[1]).status == 404


def test_ipv6(film, serve):
    try:
        server = serve(film, "::1", "::1")
    except OSError:
        pytest.skip("no IPv6 here")
    assert server.url.startswith("http://[::1]:")
    with Client(server, source="::1", host="::1") as client:
        assert client.ask(Range="bytes=0-1").body == DATA[:2]


@pytest.mark.parametrize("host", [HOST, "::ffff:127.0.0.1"])
@pytest.mark.parametrize("peer", [HOST, "::ffff:127.0.0.1", "::FFFF:7f00:1"])
def test_mapped_addresses(film, serve, host, peer):
    server = serve(film, host, peer)
    assert server.url.startswith("http://127.0.0.1:")
    assert fetch(server).body == DATA


def test_dates_and_names_of_ours(server):
    response = fetch(server)
    assert response.headers["Server"].strip() == "tinyatv"
    assert response.headers["Date"].endswith(" GMT")


# What it does not answer


def test_other_paths(server, film):
    _, path = parts(server)
    token = path.split("/")[1]
    with Client(server) as client:
        for other in (
            "/",
            "*",
            "/favicon.ico",
            "/film.mp4",
            f"/{token}",
            f"/{token}/",
            f"/{token}/secret.mp4",
            f"/{token}/film.mp4/",
            f"/{token}/film.mp4?a",
            f"/{token}/film.mp4#a",
            f"/{token}/film.mp4%00",
            f"/{token}/FILM.mp4",
            f"/{token}/./film.mp4",
            f"/{token}/../{token}/film.mp4",
            f"/{token}/../../../../../../etc/passwd",
            f"/{token}/%2e%2e/secret.mp4",
            f"/{token}/..%2fsecret.mp4",
            f"/{token}/%252e%252e/secret.mp4",
            f"/{token}/..%5csecret.mp4",
            f"/{token}/{film.with_name('secret.mp4')}",
            f"/{'A' * len(token)}/film.mp4",
            path[1:],
            "%",
            "/%zz",
            "/" + "a" * 60000,
        ):
            for method in ("GET", "HEAD"):
                response = client.ask(other, method=method)
                assert (response.status, response.body) == (404, b""), other
                assert response.headers["Content-Length"] == "0"
        assert client.ask().body == DATA
    hung_up()
    assert server.sent == SIZE


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PLAY"])
def test_other_methods(server, method):
    response = fetch(server, method=method, body=b"GET / HTTP/1.1\r\n\r\n")
    assert (response.status, response.body) == (501, b"")
    assert response.headers["Connection"] == "close"


def test_a_body_is_not_the_next_request(server):
    path = parts(server)[1]
    request = f"GET {path} HTTP/1.1\r\nRange: bytes=0-1\r\n"
    answer = raw(
        server, f"{request}Content-Length: {len(request) + 2}\r\n\r\n{request}\r\n".encode()
    )
    assert answer.count(b"HTTP/1.1 206") == 1
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", b""),
        (b"\r\n\r\n", b""),
        (b"\0\1\2\n\n", b""),
        (b"GET\r\n\r\n", b""),
        (b"GET / HTTP/9\r\n\r\n", b""),
        (b"GET / HTTP/1.1", b"HTTP/1.1 404 "),
        (b"GET / HTTP/2.0\r\n\r\n", b""),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 414 "),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 70000 + b"\r\n\r\n", b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\nnonsense\r\n\r\n", b"HTTP/1.1 404 "),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_nonsense(server, data, status):
    answer = raw(server, data)
    # What we did not read makes the system reset the connection, which may eat the answer.
    assert answer.startswith(status) or not answer
    assert b"<" not in answer
    assert fetch(server).body == DATA


def test_random_bytes(server, share):
    rng = random.Random(4)
    for _ in range(share(400)):
        raw(server, b"GET " + rng.randbytes(rng.randrange(300)) + b"\r\n\r\n")
    assert fetch(server).body == DATA


def test_two_requests_at_once(server):
    path = parts(server)[1]
    request = f"GET {path} HTTP/1.1\r\nRange: bytes=0-1\r\n\r\n".encode()
    assert raw(server, request * 2).count(b"HTTP/1.1 206") == 2


def test_other_addresses(film, serve):
    server = serve(film, peer=OTHER)
    with Client(server) as client, pytest.raises((ConnectionError, http.client.BadStatusLine)):
        client.ask()
    assert server.sent == 0


@pytest.mark.skipif(sys.platform != "linux", reason="one loopback address only")
def test_from_another_address(server):
    with Client(server, source=OTHER) as client, pytest.raises(ConnectionError):
        client.ask()
    assert server.sent == 0
    assert fetch(server).body == DATA


def test_too_many_connections(server):
    clients = [Client(server) for _ in range(fileserver.CONNECTIONS)]
    try:
        for client in clients:
            assert client.ask(Range="bytes=0-1").status == 206
        with Client(server) as one_more, pytest.raises(ConnectionError):
            one_more.ask()
        assert clients[0].ask().body == DATA
        port = clients[0].sock.getsockname()[1]
        clients[0].close()
        hung_up(port)
        assert fetch(server).body == DATA
    finally:
        for client in clients:
            client.close()


# The file


def test_not_there(film, serve, tmp_path):
    with pytest.raises(FileNotFoundError):
        serve(tmp_path / "nothing.mp4")
    with pytest.raises(IsADirectoryError if os.name != "nt" else PermissionError):
        serve(tmp_path)
    with pytest.raises(OSError, match="address"):
        serve(film, host="192.0.2.1")  # TEST-NET: nobody's
    for host, peer in (("localhost", HOST), (HOST, ""), ("300.0.0.1", HOST)):
        with pytest.raises(ValueError, match="does not appear to be"):
            FileServer(film, host, peer)
    assert not threads()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_not_allowed(film, serve):
    film.chmod(0)
    with pytest.raises(PermissionError):
        serve(film)


@posix
def test_no_regular_file(tmp_path, serve):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            serve(path)
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    with pytest.raises(OSError, match="symbolic link"):
        serve(tmp_path / "loop.mp4")


@posix
def test_links(tmp_path, film, serve):
    (tmp_path / "blob").write_bytes(DATA)
    link = tmp_path / "link.mp4"
    link.symlink_to("blob")
    server = serve(link)
    with Client(server) as client:
        first = client.ask()
        assert first.body == DATA
        assert first.headers["Content-Type"] == "video/mp4"  # of the name that was asked for
        assert server.url.endswith("/link.mp4")
        link.unlink()
        link.symlink_to(film.with_name("secret.mp4"))
        assert client.ask().body == DATA
        (tmp_path / "blob").unlink()
        (tmp_path / "blob").symlink_to(film.with_name("secret.mp4"))
        assert client.ask().status == 404
        (tmp_path / "blob").unlink()
        os.mkfifo(tmp_path / "blob")
        assert client.ask().status == 404
        (tmp_path / "blob").unlink()
        (tmp_path / "blob").write_bytes(b"new")
        assert client.ask().body == b"new"


@posix
def test_a_folder_becomes_a_link(tmp_path, film, serve):
    other = tmp_path / "other"
    other.mkdir()
    (other / "film.mp4").write_bytes(b"not yours")
    server = serve(film)
    film.parent.rename(tmp_path / "moved")
    film.parent.symlink_to(other)
    assert fetch(server).status == 404


@posix
def test_deleted_midway(tmp_path, serve):
    film = sparse(tmp_path / "film.mp4", 32 * MB)
    server = serve(film)
    with Client(server) as client:
        client.request("GET", client.path)
        response = client.getresponse()
        assert len(response.read(1000)) == 1000
        film.unlink()
        assert len(response.read()) == 32 * MB - 1000  # it is still there for who has it open
        assert client.ask().status == 404
    assert fetch(server).status == 404


@posix
def test_shrinks_midway(tmp_path, serve):
    film = sparse(tmp_path / "film.mp4", 64 * MB)
    server = serve(film)
    with stalled(server) as sock:
        os.truncate(film, 100)
        assert len(drain(sock)) < 64 * MB
    assert len(fetch(server).body) == 100


@posix
def test_large_file_takes_no_memory(tmp_path, serve):
    size = 300 * MB
    film = sparse(tmp_path / "film.mp4", size)
    server = serve(film)
    expected, got = hashlib.sha1(), hashlib.sha1()
    with film.open("rb") as file:
        while chunk := file.read(MB):
            expected.update(chunk)
    buffer = bytearray(MB)
    tracemalloc.start()
    try:
        with Client(server) as client:
            client.request("GET", client.path)
            response = client.getresponse()
            assert response.length == size
            with memoryview(buffer) as view:
                while count := response.readinto(view):
                    got.update(view[:count])
        assert tracemalloc.get_traced_memory()[1] < 2 * MB
    finally:
        tracemalloc.stop()
    assert got.digest() == expected.digest()
    hung_up()
    assert server.sent == size


@posix
def test_beyond_4_gigabytes(tmp_path, serve):
    film = tmp_path / "film.mp4"
    with film.open("wb") as file:
        try:
            file.truncate((1 << 32) + 100)
        except OSError:
            pytest.skip("no such files here")
        file.seek(1 << 32)
        file.write(b"end")
    server = serve(film)
    assert fetch(server, Range=f"bytes={1 << 32}-{(1 << 32) + 2}").body == b"end"
    assert fetch(server, method="HEAD").headers["Content-Length"] == str((1 << 32) + 100)


# Connections


def test_parallel(server):
    start = threading.Barrier(8)

    def work(number):
        rng = random.Random(number)
        with Client(server) as client:
            start.wait(WAIT)
            for _ in range(50):
                first = rng.randrange(SIZE)
                last = rng.randrange(first, SIZE)
                body = client.ask(Range=f"bytes={first}-{last}").body
                assert body == DATA[first : last + 1]
                yield len(body)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(lambda number: sum(work(number)), range(8)))
    hung_up()
    assert server.sent == total


def test_one_stalls_others_do_not(tmp_path, serve):
    server = serve(sparse(tmp_path / "film.mp4", 64 * MB))
    with stalled(server):
        assert len(fetch(server, Range="bytes=-16").body) == 16


def test_client_hangs_up(tmp_path, serve):
    server = serve(sparse(tmp_path / "film.mp4", 64 * MB))
    for _ in range(20):
        stalled(server).close()  # with unread bytes: a reset
    hung_up()
    assert fetch(server, method="HEAD").status == 200


def test_client_is_slow(tmp_path, serve, monkeypatch):
    assert fileserver._Exchange.timeout == fileserver.IDLE_TIMEOUT
    monkeypatch.setattr(fileserver._Exchange, "timeout", 0.05)
    server = serve(sparse(tmp_path / "film.mp4", 64 * MB))
    with stalled(server) as sock:
        hung_up()
        assert len(drain(sock)) < 64 * MB
    with Client(server) as client:  # asks nothing
        client.connect()
        assert client.sock.recv(1) == b""


# The end


def closed(server):
    return not threads() and not reachable(parts(server)[0])


def reachable(port):
    try:
        socket.create_connection((HOST, port), WAIT).close()
    except ConnectionError:
        return False
    return True


def test_close(server):
    port = parts(server)[0]
    with Client(server) as client:
        assert client.ask().body == DATA
        server.close()
        assert closed(server)
        assert client.sock.recv(1) == b""
    server.close()
    socket.create_server((HOST, port)).close()  # free
    with pytest.raises(ConnectionLost):
        server.start()
    assert not threads()


def test_close_before_start(film):
    server = FileServer(film, HOST, HOST)
    assert (server.url, server.sent) == ("", 0)
    server.close()
    with pytest.raises(ConnectionLost):
        server.start()
    assert not threads()


def test_start_twice(server):
    url = server.url
    with pytest.raises(ConnectionLost):
        server.start()
    assert server.url == url
    assert fetch(server).body == DATA


def test_context(film):
    with FileServer(film, HOST, HOST).start() as server:
        assert fetch(server).body == DATA
    assert closed(server)


def test_no_thread_left_to_start(film, monkeypatch):
    """Nothing stays open, and it can be closed, as who wanted to play the file will."""
    server = FileServer(film, HOST, HOST)
    listening = []
    create = socket.create_server

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        patched.setattr(
            socket,
            "create_server",
            lambda *a, **k: listening.append(create(*a, **k)) or listening[0],
        )
        with pytest.raises(AppleTVError, match="can't start new thread"):
            server.start()
    assert listening[0].fileno() == -1
    server.close()
    with pytest.raises(ConnectionLost, match="closed"):
        server.start()


def test_close_while_nobody_reads(tmp_path, serve):
    server = serve(sparse(tmp_path / "film.mp4", 64 * MB))
    socks = [stalled(server) for _ in range(4)]
    port = parts(server)[0]
    server.close()
    assert closed(server)
    socket.create_server((HOST, port)).close()
    assert server.sent < 4 * 64 * MB
    for sock in socks:
        with sock:
            assert len(drain(sock)) < 64 * MB


def test_close_while_reading(tmp_path, serve):
    server = serve(sparse(tmp_path / "film.mp4", 300 * MB))

    def read():
        with Client(server) as client:
            client.request("GET", client.path)
            response = client.getresponse()
            begun.release()
            try:
                while response.read(MB):
                    pass
            except ConnectionError:
                pass

    begun = threading.Semaphore(0)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for _ in readers:
            assert begun.acquire(timeout=WAIT)
        server.close()
        assert closed(server)
        for reader in readers:
            reader.result(WAIT)


def test_close_by_many(tmp_path, serve):
    server = serve(sparse(tmp_path / "film.mp4", 64 * MB))
    with stalled(server), concurrent.futures.ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(server.close) for _ in range(8)]:
            done.result(WAIT)
        assert closed(server)


@pytest.mark.parametrize("peer", [HOST, OTHER], ids=["exchange", "accept"])
def test_close_from_its_own_threads(film, serve, peer):
    """The only foreign code that runs there is the user's logging."""
    server = serve(film, peer=peer)
    done = threading.Semaphore(0)

    class Closer(logging.Handler):
        def emit(self, record):
            assert threading.current_thread().name.startswith("tinyatv-stream")
            server.close()
            done.release()

    handler, level = Closer(), fileserver.log.level
    fileserver.log.addHandler(handler)
    fileserver.log.setLevel(logging.DEBUG)
    try:
        clients = [Client(server) for _ in range(3)]
        for client in clients:
            with client, pytest.raises((OSError, http.client.HTTPException)):
                client.ask()  # the log line comes before the answer
        assert done.acquire(timeout=WAIT)
        server.close()
        assert closed(server)
    finally:
        fileserver.log.removeHandler(handler)
        fileserver.log.setLevel(level)


def test_close_races_with_start(film, share):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for _ in range(share(400)):
            server = FileServer(film, HOST, HOST)
            closing = pool.submit(server.close)
            try:
                server.start()
            except ConnectionLost:
                pass
            closing.result(WAIT)
            assert not threads()


def test_close_races_with_clients(film, share):
    for _ in range(share(100)):
        server = FileServer(film, HOST, HOST).start()
        port, path = parts(server)
        socks = [socket.create_connection((HOST, port), WAIT) for _ in range(4)]
        for sock in socks:
            sock.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        server.close()
        assert not threads()
        for sock in socks:
            with sock:
                drain(sock)


def test_the_log_does_not_tell_the_url(server, caplog):
    caplog.set_level(logging.DEBUG)
    fetch(server)
    fetch(server, "/favicon.ico")
    token = parts(server)[1].split("/")[1]
    assert "200" in caplog.text
    assert "404" in caplog.text
    assert token not in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_no_descriptor_is_left(film, tmp_path):
    large = sparse(tmp_path / "large.mp4", 64 * MB)
    before = len(os.listdir("/proc/self/fd"))
    for path in (film, large):
        with FileServer(path, HOST, HOST).start() as server, stalled(server):
            fetch(server, Range="bytes=0-1")
            fetch(server, "/")
    with pytest.raises(OSError, match="address"):
        FileServer(film, "192.0.2.1", HOST).start()
    assert len(os.listdir("/proc/self/fd")) == before
