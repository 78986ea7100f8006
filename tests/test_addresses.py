"""Addresses: reading them, their order, and trying several; over real sockets."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from tinyatv.addresses import (
    OwnNetwork,
    connect_first,
    family_of,
    in_order,
    is_usable,
    join_host,
    own_networks,
    split_host,
    with_scope,
)

WAIT = 20.0  # s; a deadline


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", None),
        ("192.0.2.1:53", "192.0.2.1", 53),
        ("appletv.local", "appletv.local", None),
        ("appletv.local.:65535", "appletv.local.", 65535),
        ("fd00::5", "fd00::5", None),
        ("::1", "::1", None),
        ("[::1]:53", "::1", 53),
        ("[fe80::1%eth0]:5353", "fe80::1%eth0", 5353),
        ("fe80::1%eth0", "fe80::1%eth0", None),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", None),
    ],
)
def test_split_and_join(text, host, port):
    assert split_host(text) == (host, port)
    assert join_host(host, port) == text


def test_family():
    assert family_of("192.0.2.1") == socket.AF_INET
    assert family_of("fe80::1%eth0") == family_of("fe80::1%3") == socket.AF_INET6
    for text in ("", "1.2.3", "192.0.2.1%eth0", "tv.local", "::1%", "::g", "a\0", "fe80::1%a b"):
        assert family_of(text) is None


def test_scope():
    name = socket.if_indextoname(1)
    assert with_scope("fe80::1", 1) == with_scope("fe80::1%1", 1) == f"fe80::1%{name}"
    assert with_scope("fe80::1", 0) == "fe80::1"
    assert with_scope("fd00::1", 1) == "fd00::1"
    assert with_scope("192.0.2.1", 1) == "192.0.2.1"


@pytest.mark.parametrize(
    "text", ["0.0.0.0", "224.0.0.251", "255.255.255.255", "::", "ff02::fb", "fe80::1"]
)
def test_what_no_device_has(text):
    assert not is_usable(text)


def test_order():
    """First who answered, then our networks, then the rest; no rule about private ranges."""
    own = [
        OwnNetwork("172.16.5.2", ipaddress.ip_network("172.16.0.0/12"), 2),
        OwnNetwork("fd00::2", ipaddress.ip_network("fd00::/64"), 2),
        OwnNetwork("fe80::2%eth0", ipaddress.ip_network("fe80::/64"), 2),
    ]
    told = ["10.0.0.7", "169.254.3.3", "fe80::9%eth1", "2001:db8::7", "fd00::7", "172.20.0.7",
            "fe80::7%eth0", "192.0.2.7"]  # fmt: skip
    assert in_order(told, {"2001:db8::7"}, own) == [
        "2001:db8::7",  # answered
        "172.20.0.7", "fd00::7", "fe80::7%eth0",  # here
        "10.0.0.7", "192.0.2.7",  # anywhere
        "169.254.3.3", "fe80::9%eth1",  # on other links
    ]  # fmt: skip
    assert in_order(["127.0.0.1", "10.0.0.7"], set(), own) == ["127.0.0.1", "10.0.0.7"]
    assert in_order(["fd00::7", "fd00::7"], set(), own) == ["fd00::7"]


def test_own_networks():
    found = own_networks()
    assert ipaddress.ip_network("127.0.0.0/8") in [one.network for one in found]
    assert all(family_of(one.address) for one in found)


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_connect_to_the_only_one(server):
    with connect_first(["127.0.0.1"], server.getsockname()[1], WAIT) as sock:
        assert sock.getpeername() == server.getsockname()
        assert sock.gettimeout() == WAIT


def test_connect_past_one_that_refuses(server):
    port = server.getsockname()[1]
    with connect_first(["127.0.0.2", "127.0.0.1"], port, WAIT) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"


def full(host, port):
    """A port of which nobody takes connections, and that sends no refusal."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(0)
    queue = [sock]
    for _ in range(8):
        caller = socket.socket()
        queue.append(caller)
        caller.settimeout(0.1)
        try:
            caller.connect((host, port))
        except OSError:
            return queue
    for one in queue:
        one.close()
    return pytest.skip("this system does not let a queue run full")


def test_connect_past_one_that_does_not_answer(server):
    port = server.getsockname()[1]
    queue = full("127.0.0.3", port)
    try:
        with connect_first(["127.0.0.3", "127.0.0.1"], port, WAIT, stagger=0.01) as sock:
            assert sock.getpeername()[0] == "127.0.0.1"
        with pytest.raises(OSError, match="timed out"):
            connect_first(["127.0.0.3"], port, 0.1)
    finally:
        for one in queue:
            one.close()


def test_connect_to_the_first_if_both_answer(server):
    port = server.getsockname()[1]
    with (
        socket.create_server(("127.0.0.4", port)),
        connect_first(["127.0.0.4", "127.0.0.1"], port, WAIT) as sock,
    ):
        assert sock.getpeername()[0] == "127.0.0.4"


def test_connect_to_nobody(server):
    port = server.getsockname()[1]
    server.close()
    with pytest.raises(ConnectionRefusedError):
        connect_first(["127.0.0.1", "nowhere.invalid"], port, WAIT)
    with pytest.raises(socket.gaierror):
        connect_first(["nowhere.invalid"], port, WAIT)
    with pytest.raises(OSError, match="no address"):
        connect_first([], port, WAIT)


def test_connect_by_ipv6():
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        port = server.getsockname()[1]
        with connect_first(["127.0.0.1", "::1"], port, WAIT) as sock:
            assert sock.getpeername()[0] == "::1"
