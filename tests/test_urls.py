"""URLs that a device names: none leads to this machine or to its networks."""

from __future__ import annotations

import logging
import socket
import threading

import pytest

import tinyatv
from tests.support.media import Server
from tinyatv.backends import fetch as module
from tinyatv.backends.fetch import Refused, addresses_of, fetch, may_be_reached
from tinyatv.virtual import VirtualAppleTV

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (3).to_bytes(4, "big") + (2).to_bytes(4, "big") + bytes(50)
PUBLIC = "93.184.216.34"


@pytest.fixture
def web():
    with Server({"/image": PNG, "/secret": b"secret"}) as server:
        yield server


@pytest.fixture
def names(monkeypatch):
    """What names stand for, and nothing else; a list gives one answer after the other."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host, port, *args, **more):
        answers = known.get(host)
        if answers is None:
            return real(host, port, *args, **more)
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def get(url, **more):
    return fetch(url, **{"timeout": 5.0, "limit": 1 << 20, **more})


# -- addresses -------------------------------------------------------------------------------------

OURS = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.20",
    "169.254.169.254", "100.64.0.1", "192.0.2.1", "224.0.0.251", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::5", "fc00::1", "ff02::fb", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "2002:c0a8:101::1",
    "localhost", "", "nonsense", "1.2.3",
]  # fmt: skip
THEIRS = [PUBLIC, "8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700:4700::1111"]


@pytest.mark.parametrize("address", OURS)
def test_not_for_a_device(address):
    assert not may_be_reached(address)
    assert not may_be_reached(address, own=["192.168.1.77", "den.local"])


@pytest.mark.parametrize("address", THEIRS)
def test_public(address):
    assert may_be_reached(address)


@pytest.mark.parametrize("own", ["192.168.1.20", "::ffff:192.168.1.20", "::ffff:c0a8:114"])
def test_the_device_itself(own):
    assert may_be_reached("192.168.1.20", own=[own])
    assert may_be_reached("::ffff:192.168.1.20", own=[own])
    assert not may_be_reached("192.168.1.21", own=[own])


def test_a_public_address_of_our_own(monkeypatch):
    """Whoever has public addresses at home has neighbours with them as well."""
    ours = {"8.8.8.8": "8.8.8.20", "9.9.9.9": "8.8.8.20"}

    class Routed(socket.socket):
        def connect(self, address):
            self._to = address[0]

        def getsockname(self):
            return ours[self._to], 1

    monkeypatch.setattr(module.socket, "socket", Routed)
    assert not may_be_reached("8.8.8.8")
    assert may_be_reached("9.9.9.9")


def test_addresses_of_names(names):
    names["den.local"] = ["192.0.2.5"]
    assert addresses_of(["den.local", "192.0.2.5", "::1", "den.local"]) == ["192.0.2.5", "::1"]
    assert addresses_of(["\ud800", ""]) == addresses_of([""])


# -- fetching --------------------------------------------------------------------------------------

FORMS = [
    "http://127.0.0.1:%d/secret", "http://localhost:%d/secret", "http://2130706433:%d/secret",
    "http://0177.0.0.1:%d/secret", "http://0x7f.1:%d/secret", "http://127.1:%d/secret",
    "http://0.0.0.0:%d/secret", "http://[::ffff:127.0.0.1]:%d/secret",
    "http://[::ffff:7f00:1]:%d/secret", "http://user@127.0.0.1:%d/secret", "http://0:%d/secret",
    "HTTP://127.0.0.1:%d/secret", "http://home.example:%d/secret",
    "http://192.168.1.1:%d/", "http://169.254.169.254:%d/latest/meta-data/", "http://[::1]:%d/",
    "http://[fe80::1]:%d/", "http://[fd00::1]:%d/", "https://127.0.0.1:%d/secret",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_nothing_of_ours(web, names, caplog, form):
    names["home.example"] = ["127.0.0.1"]
    with caplog.at_level(logging.WARNING), pytest.raises(Refused, match="of ours"):
        get(form % web.server_port)
    assert "not fetched: " in caplog.text
    assert "secret" not in caplog.text  # the rest of a URL may be somebody's key
    assert web.asked == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://%s/", "gopher://127.0.0.1:%s", "data:image/png;base64,AA==",
     "//127.0.0.1:%s/", "", "http://", "http:///x", "http://[broken", "http://h:99999/",
     "unix:///run/x", "/etc/passwd"],
)  # fmt: skip
def test_other_schemes(web, url, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(Refused):
        get(url.replace("%s", str(web.server_port)))
    assert "not fetched: " in caplog.text
    assert web.asked == []


def test_the_devices_own_address(web):
    assert get(f"{web.url}/image", own=["127.0.0.1"]).data == PNG
    assert [path for path, _ in web.asked] == ["/image"]


def test_a_name_that_leads_home_the_second_time(web, names):
    """The connection goes to the address that was checked, whatever the name is by then."""
    names["rebind.example"] = ["127.0.0.1", "127.0.0.99"]  # the device's own, then another one
    url = f"http://rebind.example:{web.server_port}/image"
    assert get(url, own=["127.0.0.1"]).data == PNG
    assert web.asked[0][1]["Host"] == f"rebind.example:{web.server_port}"
    names["rebind.example"] = ["127.0.0.99", "127.0.0.1"]
    with pytest.raises(Refused, match=r"127\.0\.0\.99"):
        get(url, own=["127.0.0.1"])
    assert len(web.asked) == 1


def test_of_several_addresses_those_that_may_be(web, monkeypatch):
    port = web.server_port
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in ("127.0.0.98", "127.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: found)
    assert get(f"http://both.example:{port}/image", own=["127.0.0.1"]).data == PNG


LEADS = ["http://127.0.0.99:%d/secret", "http://localhost.example:%d/secret", "file:///etc/passwd",
         "ftp://127.0.0.1/", "http://[::1]:%d/secret", "//127.0.0.99:%d/secret",
         "http://192.168.0.1/", "http://2130706531:%d/secret"]  # fmt: skip


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("by", ["device", "user"])
def test_redirections_are_checked(web, names, lead, by):
    names["localhost.example"] = ["127.0.0.99"]
    web.moved["/start"] = "/next"
    web.moved["/next"] = lead % web.server_port if "%" in lead else lead
    how = {"own": ["127.0.0.1"]} if by == "device" else {"trusted": "127.0.0.1"}
    with pytest.raises(Refused):
        get(f"{web.url}/start", **how)
    assert [path for path, _ in web.asked] == ["/start", "/next"]


def test_three_redirections_and_no_more(web):
    web.moved.update({"/1": "/2", "/2": "/3", "/3": "/image"})
    found = get(f"{web.url}/1", own=["127.0.0.1"])
    assert (found.data, found.url) == (PNG, f"{web.url}/image")
    web.moved["/0"] = "/1"
    with pytest.raises(ValueError, match="too many redirections"):
        get(f"{web.url}/0", own=["127.0.0.1"])


def test_what_the_user_named_may_be_anywhere(web):
    assert get(f"{web.url}/secret", trusted="127.0.0.1").data == b"secret"


class Slow:
    """A server that answers a byte at a time, for ever."""

    def __init__(self, data):
        self._data, self._over = data, threading.Event()
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        peer, _ = self._sock.accept()
        with peer:
            at = 0
            try:
                while not self._over.wait(0.02):
                    peer.sendall(self._data[at : at + 1] or b"a")
                    at += 1
            except OSError:
                pass  # it had enough

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._sock.close()


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["status", "headers", "body"],
)  # fmt: skip
def test_one_time_limit_over_all(start):
    with Slow(start) as server, pytest.raises(ValueError, match="too long"):
        get(server.url, own=["127.0.0.1"], timeout=0.3)


def test_a_resolver_that_does_not_answer(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: over.wait(10) and [])
    try:
        with pytest.raises(ValueError, match="too long"):
            get("http://slow.example/", timeout=0.2)
    finally:
        over.set()


def test_too_large(web):
    web.files["/large"] = bytes(2000)
    for limit in (1999, 10):
        with pytest.raises(ValueError, match=f"more than {limit} bytes"):
            get(f"{web.url}/large", own=["127.0.0.1"], limit=limit)
    assert len(get(f"{web.url}/large", own=["127.0.0.1"], limit=2000).data) == 2000


# -- through the library ---------------------------------------------------------------------------


@pytest.fixture
def tv():
    with VirtualAppleTV(profile="tvos14", protocols=["mrp"]) as made:
        yield made


@pytest.fixture
def atv(tv):
    with tinyatv.connect(tv.device) as made:
        yield made


def test_artwork_is_fetched_from_the_device_alone(atv, tv, web):
    """127.0.0.1 is the device here; the same server by another address is somebody else."""
    own = tv.state.artwork(512)
    for url, expected in (
        (f"{web.url}/image", PNG),
        (f"http://127.0.0.99:{web.server_port}/image", own),
        (f"http://localhost.:{web.server_port}/nothing", own),
        ("file:///etc/passwd", own),
    ):
        tv.state.update(artwork_url=url, artwork_identifier="x")
        atv.wakeup()
        assert atv.artwork().data == expected


def test_a_page_is_no_artwork(atv, tv, web):
    web.files["/image"] = b"<!DOCTYPE html><html>not found</html>"
    tv.state.update(artwork_url=f"{web.url}/image", artwork_identifier="x")
    atv.wakeup()
    assert atv.artwork().data == tv.state.artwork(512)
    assert [path for path, _ in web.asked] == ["/image"]
