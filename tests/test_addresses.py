"""Addresses: reading them, their order, and trying several; over real sockets."""

from __future__ import annotations

import ipaddress
import json
import queue
import random
import secrets
import socket
import subprocess
import sys
import threading

import pytest
from requests import PreparedRequest

import tinyatv
from tests.support.program import run, run_json
from tinyatv import ConnectionFailed, Device, Service, Store
from tinyatv.addresses import (
    OwnNetwork,
    connect_first,
    family_of,
    in_order,
    is_usable,
    join_host,
    own_networks,
    split_host,
    url_host,
    with_scope,
)
from tinyatv.backends.http import Transport
from tinyatv.events import Reconnected
from tinyatv.virtual import VirtualAppleTV
from tinyatv.virtual.responder import Responder

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


def test_in_a_url():
    assert url_host("192.0.2.1") == "192.0.2.1"
    assert url_host("tv.local") == "tv.local"
    assert url_host("fd00::5") == url_host("fd00::5", scope=True) == "[fd00::5]"
    assert url_host("fe80::1%eth0") == "[fe80::1]"
    assert url_host("fe80::1%eth0", scope=True) == "[fe80::1%25eth0]"


# -- a device with several -----------------------------------------------------------------------

GUID = "0xFEDCBA9876543210"
PROFILES = ("atv3", "tvos14", "tvos18", "homepod")  # each protocol, and the tunnel


def loopback():
    """An address of this computer that nothing else uses."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(2, 254)}"


def name():
    return f"Attic {secrets.token_hex(4)}"


def announced(tv, *addresses, host):
    """Answers questions about a device, which has these addresses."""
    return Responder(
        lambda: [one._replace(address=addresses[0], addresses=addresses) for one in tv.records()],
        host,
    )


@pytest.fixture(params=PROFILES)
def two_addresses(request):
    """A stored device and where it answers questions: at an address that has none of its ports."""
    dead, alive = loopback(), loopback()
    with (
        VirtualAppleTV(name(), profile=request.param, host=alive) as tv,
        announced(tv, dead, alive, host=dead) as responder,
    ):
        yield tv, dead, f"{dead}:{responder.port}"


def test_one_of_two_addresses_is_dead(two_addresses):
    """Found, connected, controlled; and next time the one that answered comes first."""
    tv, dead, query = two_addresses
    store = Store()
    (found,) = tinyatv.scan(20, hosts=query)
    assert found.addresses == [dead, tv.host]
    for service in found.services:
        service.credentials = tv.credentials.get(service.protocol)
    store.save(found)
    with tinyatv.connect(tv.name) as atv:
        assert atv.address == tv.host
        assert set(atv.protocols) >= set(tv.protocols)
        atv.pause()
    assert tv.log[-1] == "pause"
    assert found.address == dead
    assert store.find(tv.name).addresses == [tv.host, dead]
    assert store.find(tv.name).query == query


def test_pairing_past_a_dead_address(own_store):
    dead, alive = loopback(), loopback()
    with VirtualAppleTV(name(), profile="tvos14", host=alive, credentials=()) as tv:
        device = tv.device
        device.address, device._addresses = dead, [alive]
        paired = tinyatv.pair(device, pin=lambda: tv.pin)
        assert [one.protocol for one in paired.services if one.credentials] == ["mrp", "companion"]
        with tinyatv.connect(tv.name) as atv:
            atv.pause()
    assert tv.log == ["pause"]
    assert Store().find(tv.name).addresses == [alive, dead]


def test_past_an_address_that_does_not_answer():
    """Nothing refuses there, and nothing answers."""
    dead, alive = loopback(), loopback()
    with VirtualAppleTV(name(), profile="homepod", host=alive) as tv:
        device = tv.device
        device.address, device._addresses = dead, [alive]
        queue = full(dead, tv.ports["airplay"])
        try:
            with tinyatv.connect(device) as atv:
                atv.pause()
        finally:
            for one in queue:
                one.close()
    assert tv.log == ["pause"]


def test_all_addresses_are_dead():
    one, other = loopback(), loopback()
    device = Device("Attic", one, [Service("dmap", 1, credentials=GUID)], addresses=[other])
    with pytest.raises(ConnectionFailed, match=f"{one} or {other} port 1 .dmap.: Connection refu"):
        tinyatv.connect(device)


def test_coming_back_at_another_address():
    """A device with two addresses that loses the one it was connected by."""
    first, second = loopback(), loopback()
    events = queue.SimpleQueue()
    with VirtualAppleTV(name(), host=first) as tv:
        device = tv.device
        device._addresses = [second]
        port = tv.ports["dmap"]
        with tinyatv.connect(device, reconnect=True) as atv:
            atv.add_listener(events.put)
            tv.stop()
            with VirtualAppleTV(
                tv.name, host=second, ports={"dmap": port}, identifier=tv.identifier,
                credentials=(tv.credentials["dmap"],),
            ) as again:  # fmt: skip
                while not isinstance(events.get(timeout=WAIT), Reconnected):
                    pass
                assert atv.address == second
                atv.pause()
                assert again.log == ["pause"]


def test_a_file_is_served_to_all_addresses_of_the_device(tmp_path):
    """It is reached at one address, and fetches from another one: loopback's first."""
    film = tmp_path / "film.mp4"
    film.write_bytes(b"x" * 1000)
    with VirtualAppleTV(name(), profile="tvos18", host=loopback()) as tv:
        device = tv.device
        device._addresses = ["127.0.0.1"]
        with tinyatv.connect(device) as atv, atv.play_url(film):
            assert tv.wait_for(lambda: tv.airplay.player.fetched, WAIT)
        assert {status for _, status in tv.airplay.player.fetched} <= {200, 206}


# -- IPv6 ----------------------------------------------------------------------------------------


@pytest.fixture
def loopback_6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    return "::1"


@pytest.mark.parametrize("profile", [*PROFILES, "tvos15", "tvos26", "airplay1"])
def test_ipv6_alone(profile, loopback_6, tmp_path):
    """Found, connected, controlled, and given a file to play, at ``::1``."""
    film = tmp_path / "film.mp4"
    film.write_bytes(b"x" * 1000)
    with VirtualAppleTV(name(), profile=profile, host=loopback_6, mdns_port=0) as tv:
        Store().save(tv.device)
        port = tv.ports["mdns"]
        (found,) = tinyatv.scan(20, hosts=f"[::1]:{port}")
        assert (found.name, found.addresses, found.query) == (tv.name, ["::1"], f"[::1]:{port}")
        with tinyatv.connect(f"[::1]:{port}") as atv:
            assert atv.address == "::1"
            assert set(atv.protocols) >= set(tv.protocols)
            if profile != "airplay1":
                atv.pause()
                assert tv.log == ["pause"]
            if profile not in ("atv3", "homepod", "tvos14"):
                with atv.play_url(film):
                    pass
        if profile != "airplay1":
            with tinyatv.connect("::1") as atv:  # as it is stored
                atv.play()
            assert tv.log[-1] == "play"


def test_host_header_of_ipv6(loopback_6):
    """In brackets; the peer is not told a scope, which means nothing to it."""
    with socket.create_server((loopback_6, 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        heard = []

        def answer():
            sock, _ = server.accept()
            with sock:
                heard.append(sock.recv(4096))
                sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        http = Transport([loopback(), loopback_6], port, {}, "text/plain", "dmap")
        request = PreparedRequest()
        request.method, request.url = "GET", f"{http.base}/here?a=1"
        assert http.send(request, timeout=WAIT).status_code == 204
        http.close()
        thread.join()
    assert Transport(["fe80::1%lo"], 1, {}, "", "dmap").base == "http://[fe80::1%25lo]:1"
    assert heard[0].split(b"\r\n")[:2] == [b"GET /here?a=1 HTTP/1.1", b"Host: [::1]:%d" % port]


def test_pairing_over_ipv6(loopback_6):
    for profile in ("tvos14", "tvos18"):
        with VirtualAppleTV(name(), profile=profile, host=loopback_6, credentials=()) as tv:
            tinyatv.pair(tv.device, pin=lambda tv=tv: tv.pin)
            with tinyatv.connect(tv.name) as atv:
                atv.pause()
        assert tv.log == ["pause"]


LINK_LOCAL_TVS = """
import json, sys
from tinyatv.backends.http import Transport
from tinyatv.events import Reconnected
from tinyatv.virtual import VirtualAppleTV
with VirtualAppleTV("Old", host=sys.argv[1], announce=True) as old, VirtualAppleTV(
    "New", profile="tvos18", host=sys.argv[1], announce=True
) as new:
    print(json.dumps({"Old": old.credentials, "New": new.credentials}), flush=True)
    sys.stdin.read()
    print(json.dumps([old.log, new.log, [list(one) for one in new.airplay.requests]]))
"""
LINK_LOCAL_USER = """
import json, sys, tinyatv
film, credentials = sys.argv[1], json.loads(sys.argv[2])
for name in ("Old", "New"):
    (device, *_) = [one for one in tinyatv.scan(20, wanted=name) if one.name == name]
    for service in device.services:
        service.credentials = credentials[name].get(service.protocol)
    tinyatv.Store().save(device)
    with tinyatv.connect(name) as atv:
        print(atv.address, *sorted(atv.protocols))
        atv.pause()
        if name == "New":
            with atv.play_url(film):
                pass
"""


def test_link_local_is_controlled(two_networks, tmp_path):
    """Devices with a link-local address alone, found by multicast: every protocol, with scope."""
    (here, there), (near, far) = two_networks
    inside = ["ip", "netns", "exec"]
    film = tmp_path / "film.mp4"
    film.write_bytes(b"x" * 1000)
    with subprocess.Popen(
        [*inside, there, sys.executable, "-c", LINK_LOCAL_TVS, f"fe80::b%{far}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as tvs:  # fmt: skip
        credentials = tvs.stdout.readline().strip()
        done = subprocess.run(
            [*inside, here, sys.executable, "-c", LINK_LOCAL_USER, str(film), credentials],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        tvs.stdin.close()
        old, new, requests = json.loads(tvs.stdout.read())
    assert done.stderr == ""
    where = f"fe80::b%{near}"
    assert done.stdout.splitlines() == [f"{where} dmap", f"{where} airplay companion mrp"]
    assert old == ["pause"]
    assert new[0] == "pause"
    rtsp = [path for _, path in requests if path.startswith("rtsp:")]
    assert rtsp
    assert all(path.startswith("rtsp://[fe80::a]/") for path in rtsp)


# -- several devices at one address --------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_two_receivers_at_one_address(profile):
    """A program for AirPlay on a computer, twice: each found, connected, controlled."""
    host = loopback()
    with (
        VirtualAppleTV(name(), profile=profile, host=host) as one,
        VirtualAppleTV(name(), profile=profile, host=host) as other,
        Responder(lambda: [*one.records(), *other.records()], host) as responder,
    ):
        found = tinyatv.scan(20, hosts=f"{host}:{responder.port}")
        assert {(each.name, each.identifier) for each in found} == {
            (tv.name, tv.device.identifier) for tv in (one, other)
        }
        store = Store()
        for tv in (one, other):
            (mine,) = [each for each in found if each.name == tv.name]
            for service in mine.services:
                service.credentials = tv.credentials.get(service.protocol)
            store.save(mine)
        for tv, command in ((one, "pause"), (other, "play")):
            with tinyatv.connect(tv.name) as atv:
                getattr(atv, command)()
            assert tv.log == [command]


# -- what is stored ------------------------------------------------------------------------------


def stored(store):
    with open(store.path, encoding="utf-8") as file:
        return json.load(file)["devices"]


def attic(*addresses, identifier="0123456789ABCDEF"):
    service = Service("dmap", 3689, identifier=identifier, credentials=GUID)
    return Device("Attic", addresses[0], [service], addresses=addresses[1:])


def test_all_addresses_are_stored():
    store = Store()
    store.save(attic("192.0.2.7", "fe80::7%eth0", "fd00::7"))
    assert store.find("fd00::7").addresses == ["192.0.2.7", "fe80::7%eth0", "fd00::7"]
    assert stored(store)[0]["address"] == "192.0.2.7"
    store.save(attic("fd00::7"))
    assert store.find("attic").addresses == ["fd00::7"]
    assert "addresses" not in stored(store)[0]


def test_a_store_from_before(own_store):
    """It has one address of each device, and may have what a later version wrote."""
    entry = {"name": "Attic", "address": "192.0.2.7", "identifiers": ["0123456789ABCDEF"],
             "colour": "red", "services": {"dmap": {"port": 3689}}}  # fmt: skip
    own_store.parent.mkdir()
    own_store.write_text(json.dumps({"version": 1, "devices": [entry], "later": [1]}))
    store = Store()
    assert store.find("Attic").addresses == ["192.0.2.7"]
    store.save(attic("192.0.2.7", "fd00::7"))
    store.set_address("Attic", "192.0.2.9")
    assert stored(store)[0]["colour"] == "red"
    assert json.loads(own_store.read_text())["later"] == [1]


@pytest.mark.parametrize("damage", [{"addresses": 5}, {"addresses": [5]}, {"fixed_address": 5}])
def test_a_damaged_store(own_store, damage):
    entry = {"name": "Attic", "identifiers": [], "services": {}, **damage}
    own_store.parent.mkdir()
    own_store.write_text(json.dumps({"version": 1, "devices": [entry]}))
    with pytest.raises(tinyatv.CredentialsError, match="damaged"):
        Store().devices()


def test_a_fixed_address_counts():
    store = Store()
    store.save(attic("192.0.2.7", "fd00::7"))
    assert store.set_address("fd00::7", "10.1.1.1").addresses == ["10.1.1.1"]
    assert store.find("Attic").addresses == ["10.1.1.1"]
    assert store.devices()[0].fixed_address == "10.1.1.1"
    assert store.fill(attic("192.0.2.8")).addresses == ["10.1.1.1"]
    # What is announced is noted all the same, for the time after it.
    store.save(attic("192.0.2.8", "fd00::8"))
    store.save(store.find("Attic"))
    assert store.find("Attic").addresses == ["10.1.1.1"]
    assert store.set_address("Attic", None).addresses == ["192.0.2.8", "fd00::8"]
    assert store.devices()[0].fixed_address is None


@pytest.mark.parametrize("wrong", ["", "a b", "192.0.2.1:80", "[::1]:80", "1.2.3", "tv_\n"])
def test_what_cannot_be_fixed(wrong):
    store = Store()
    store.save(attic("192.0.2.7"))
    with pytest.raises(ValueError, match="address"):
        store.set_address("Attic", wrong)
    with pytest.raises(tinyatv.DeviceNotFound):
        store.set_address("Cellar", "192.0.2.1")


def test_a_fixed_address_is_used(capsys):
    """What the device announces is wrong, as behind a NAT: the address of the user is right."""
    wrong, right = loopback(), loopback()
    with (
        VirtualAppleTV(name(), host=right) as tv,
        announced(tv, wrong, host=wrong) as responder,
    ):
        device = tv.device
        device.address, device.query = wrong, f"{wrong}:{responder.port}"
        Store().save(device)
        assert run(capsys, "-n", tv.name, "pause")[0] == 4
        code, out, _ = run(capsys, "devices", "address", tv.name, right)
        assert (code, out) == (0, f"{tv.name} is at {right}, whatever it announces\n")
        assert run(capsys, "-n", tv.name, "pause")[0] == 0
        assert tv.log == ["pause"]
        # Looked for again, since its port is another one now: the address stays.
        tv.move()
        with tinyatv.connect(tv.name) as atv:
            assert atv.address == right
        _, (line,) = run_json(capsys, "devices")
        (known,) = line["devices"]
        assert (known["address"], known["fixed_address"]) == (right, right)
        assert f"{right} (fixed)" in run(capsys, "devices")[1]
        code, (line,) = run_json(capsys, "devices", "address", tv.name)
        assert (code, line["address"], line["fixed_address"]) == (0, wrong, None)
        assert run(capsys, "devices", "address", tv.name, "a b")[0] == 2
        assert run(capsys, "devices", "address")[0] == 2
        assert run(capsys, "-n", tv.name, "pause")[0] == 4
