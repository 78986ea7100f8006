"""Scanning and announcing, over real sockets on the loopback interface.

Directed scans ask a responder at a port of its own, so they meet nobody else. By multicast all
programs on this machine hear each other: names, identifiers and addresses (127.x.x.x) are random.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import queue
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading

import pytest

import tinyatv
from tests.support.vectors import cases, check_scan
from tinyatv import connecting
from tinyatv.discovery import Announcement, announce, browse, mdns, publish, scan
from tinyatv.discovery.dns import Answer, encode_query, labels
from tinyatv.discovery.records import Record, parse_txt
from tinyatv.errors import AppleTVError, DeviceNotFound
from tinyatv.model import Device
from tinyatv.services import (
    AIRPLAY,
    COMPANION,
    DEVICE_INFO,
    MRP,
    RAOP,
    TOUCH_ABLE,
    TOUCH_REMOTE,
)
from tinyatv.virtual.responder import Responder

LOOPBACK = ["127.0.0.1"]
MATRIX = {case["name"]: case for case in cases("discovery", "scan")}
PTR, TXT, SRV, A, AAAA, ANY = 12, 16, 33, 1, 28, 255


@pytest.fixture(autouse=True)
def no_thread_left():
    """Nothing is left behind, zeroconf's nameless threads included."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) - before == set()


def preset(name, address="127.0.0.1"):
    return [
        Record(one["type"], one["instance"], one["port"], address, one["txt"])
        for one in MATRIX[name]["services"]
    ]


def identity():
    """A random hardware address."""
    return ":".join(f"{byte:02X}" for byte in secrets.token_bytes(6))


def address():
    """A random loopback address."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"


@pytest.fixture
def respond():
    """A function that starts a responder for some records."""
    running = []

    def start(*records, host="127.0.0.1"):
        responder = Responder(lambda: records, host)
        running.append(responder)
        responder.start()
        return responder

    yield start
    for responder in running:
        responder.close()


def at(responder):
    return f"{responder.host}:{responder.port}"


def services(device):
    return {service.protocol for service in device.services}


# -- directed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MATRIX)
def test_directed_scan(respond, name):
    responder = respond(*preset(name))
    expect = MATRIX[name]["expect"]
    found = scan(1.0 if expect is None else 20.0, hosts=at(responder))
    if expect is None:
        assert found == []
        return
    (device,) = found
    check_scan(device, expect)
    assert (device.address, device.query) == ("127.0.0.1", at(responder))
    assert not device.deep_sleep


def test_two_hosts_of_one_name(respond):
    ids = [identity(), identity()]
    hosts = [
        respond(Record(AIRPLAY, "Apple TV", 7000, host, {"deviceid": one}), host=host)
        for host, one in zip(("127.0.0.1", "127.0.0.2"), ids)
    ]
    found = scan(20, hosts=[at(one) for one in hosts])
    assert {(d.address, d.identifier, d.query) for d in found} == {
        (host.host, one, at(host)) for host, one in zip(hosts, ids)
    }


def test_one_device_behind_two_hosts(respond):
    airplay = Record(AIRPLAY, "Den", 7000, "127.0.0.1", {"deviceid": identity()})
    raop = Record(RAOP, "AA@Den", 7000, "127.0.0.2", {})
    wire, radio = respond(airplay), respond(airplay._replace(address="127.0.0.2"), raop)
    (device,) = scan(20, hosts=[at(wire), at(radio)])
    assert device.address == "127.0.0.1"
    assert services(device) == {"airplay", "raop"}


def test_sleeping_device(respond):
    responder = respond(*preset("atv4k_tvos14"))
    responder.asleep = True
    (device,) = scan(20, hosts=at(responder))
    check_scan(device, MATRIX["atv4k_tvos14"]["expect"] | {"name": device.name})
    assert device.deep_sleep
    assert {number for _, number in responder.asked} == {PTR, SRV, TXT}


@pytest.mark.parametrize("skip", [1, 3])
def test_lost_questions(respond, skip):
    responder = respond(*preset("atv4k_tvos14"))
    responder.skip = skip
    (device,) = scan(20, hosts=at(responder))
    assert services(device) == {"mrp", "airplay", "raop", "companion"}


def test_lost_addresses(respond):
    responder = respond(*preset("atv4k_tvos14"))
    responder.drop_addresses = True
    (device,) = scan(20, hosts=at(responder))
    assert services(device) == {"mrp", "airplay", "raop", "companion"}
    assert not device.deep_sleep


def test_silent_host(respond):
    responder = respond(*preset("atv4k_tvos14"))
    responder.silent = True
    assert scan(0.5, hosts=at(responder)) == []


def test_silent_host_beside_one_that_answers(respond):
    silent, other = respond(*preset("music_app")), respond(*preset("atv4k_tvos14"))
    silent.silent = True
    (device,) = scan(1, hosts=[at(silent), at(other)])
    assert device.query == at(other)


def test_wanted_ends_a_scan_of_many_hosts(respond):
    silent, other = respond(), respond(*preset("music_app"))
    done = threading.Event()
    result = queue.SimpleQueue()

    def work():
        result.put(scan(600, hosts=[at(silent), at(other)], wanted=["x", "MAC"]))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert done.wait(60)
    thread.join()
    assert [device.name for device in result.get()] == ["Mac"]


def test_wanted_comes_first(respond):
    hosts = [respond(*preset(name)) for name in ("music_app", "airport_express_2")]
    found = scan(1, hosts=[at(one) for one in hosts], wanted="CCDD")
    assert found[0].name == "AX"


def test_protocols(respond):
    responder = respond(*preset("atv4k_tvos14"))
    (device,) = scan(20, hosts=at(responder), protocols=["airplay", "mrp"])
    assert services(device) == {"airplay", "mrp"}
    (device,) = scan(20, hosts=at(responder), protocols="raop")
    assert services(device) == {"raop"}
    responder = respond(*preset("airport_express_2"))
    (device,) = scan(20, hosts=at(responder), protocols="raop")
    assert device.info.version == "7.8.1"


def test_progress_runs_on_the_callers_thread(respond):
    seen = []
    hosts = [respond(*preset(name)) for name in ("music_app", "atv4k_tvos14")]

    def progress(device):
        seen.append((device.name, threading.current_thread()))

    scan(20, hosts=[at(one) for one in hosts], progress=progress)
    assert sorted(seen, key=str) == [
        ("Living Room", threading.current_thread()),
        ("Mac", threading.current_thread()),
    ]


def test_progress_may_end_the_scan(respond):
    responder = respond(*preset("music_app"))

    def progress(device):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        scan(600, hosts=[at(responder)], progress=progress)


def test_host_names(respond):
    responder = respond(*preset("music_app"))
    (device,) = scan(20, hosts=f"localhost:{responder.port}")
    assert device.query == f"localhost:{responder.port}"
    assert device.address == "127.0.0.1"


def test_unknown_host_name(respond):
    with pytest.raises(DeviceNotFound, match=r"nowhere\.invalid"):
        scan(5, hosts="nowhere.invalid")
    responder = respond(*preset("music_app"))
    (device,) = scan(20, hosts=["nowhere.invalid", at(responder)])
    assert device.name == "Mac"


def test_model_by_device_info(respond):
    # Only a TXT record, at the name of the device, beside other answers.
    responder = respond(
        Record(DEVICE_INFO, "Den", 0, "127.0.0.1", {"model": "K66AP"}),
        Record(TOUCH_ABLE, "61FBE455BD6E3BF2", 3689, "127.0.0.1", {"CtlN": "Den"}),
    )
    (device,) = scan(20, hosts=at(responder))
    assert str(device.info) == "Apple TV 2, ATV SW"
    assert device.properties["_device-info._tcp.local"] == {"model": "K66AP"}


def test_ports_change_at_run_time():
    records = preset("music_app")
    with Responder(lambda: records) as responder:
        (before,) = scan(20, hosts=at(responder))
        records = [one._replace(port=4711) for one in records]
        (after,) = scan(20, hosts=at(responder))
    assert [one.service("dmap").port for one in (before, after)] == [3689, 4711]


@pytest.mark.parametrize(
    "name",
    [
        "Dr. Who's “TV” (2)",
        "Größe 5",
        "Apple\u00a0TV",
        "x" * 63,
        "é" * 31,
        "a.b._airplay._tcp.local",
    ],
)
def test_odd_names(respond, name):
    responder = respond(Record(AIRPLAY, name, 7000, "127.0.0.1", {"deviceid": identity()}))
    responder.drop_addresses = responder.asleep = True
    (device,) = scan(20, hosts=at(responder))
    assert device.name == name.replace("\u00a0", " ")


def test_dots_do_not_cut_a_name_that_is_asked_for():
    asked = []
    done = threading.Event()
    label = b"\x07Dr. Who"
    packet = answer((AIRPLAY, PTR, label + name_of(AIRPLAY)))

    def listen():
        while not done.is_set():
            data, peer = sock.recvfrom(9000)
            asked.append(data)
            sock.sendto(packet, peer)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=listen)
        thread.start()
        assert scan(0.5, hosts=f"127.0.0.1:{sock.getsockname()[1]}") == []
        done.set()
        sock.sendto(b"", sock.getsockname())
        thread.join()
    # Origin: by hand from RFC 1035, 4.1; one question for SRV, one for TXT, answers by unicast.
    name = label + b"\x08_airplay\x04_tcp\x05local\x00"
    whole = bytes.fromhex("0000 0000 0002 0000 0000 0000")
    whole += name + bytes.fromhex("0021 8001") + name + bytes.fromhex("0010 8001")
    assert whole in asked


def test_service_without_text(respond):
    responder = respond(Record(RAOP, "AABB@Den", 7000, "127.0.0.1", {}))
    (device,) = scan(20, hosts=at(responder))
    assert (device.name, device.identifier) == ("Den", "AABB")


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "1.2.3", "1.2.3.256", "::g", "[::1", "[::1]53", "[::1]:0", "[a]:53", "::1%",
     "a:0", "a:65536", "a:b", "a:", "a..b",
     "x" * 64, "a:1:2", "a/b"],
)  # fmt: skip
def test_what_cannot_be_a_host(host):
    with pytest.raises(ValueError, match="not a"):
        scan(1, hosts=["127.0.0.1", host])


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"unknown protocol 'foo'.*mrp"):
        scan(protocols=["airplay", "foo"])
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            scan(timeout)


def test_hosts_from_the_environment(respond, monkeypatch):
    hosts = [respond(*preset(name)) for name in ("music_app", "airport_express_2")]
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", ", ".join(map(at, hosts)))
    assert {device.name for device in scan(20)} == {"Mac", "AX"}


# -- hostile answers -----------------------------------------------------------------------------


class Attacker:
    """Answers the first question with `packets`, and all as a responder with `records` does."""

    def __init__(self, records, packets):
        self._real = Responder(lambda: records)
        self._packets = packets
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.host, self.port = self._sock.getsockname()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", (self.host, self.port))
        self._thread.join()
        self._sock.close()
        self._real.close()

    def _run(self):
        packets = self._packets
        while True:
            data, peer = self._sock.recvfrom(9000)
            if not data:
                return
            for packet in [*packets, *self._real._answer(data)]:
                self._sock.sendto(packet, peer)
            packets = []  # once: more would only flood the socket and lose what is real


def name_of(text):
    labels = (label.encode() for label in text.rstrip(".").split("."))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def answer(*records):
    """A response packet; each record is (name, type, data)."""
    packet = bytes.fromhex("0000 8400 0000") + len(records).to_bytes(2, "big") + bytes(4)
    for name, number, data in records:
        packet += name_of(name) + number.to_bytes(2, "big") + bytes.fromhex("0001 00000078")
        packet += len(data).to_bytes(2, "big") + data
    return packet


def service(instance, text=b"\0", port=7000, host="h.local.", kind=AIRPLAY):
    name = f"{instance}.{kind}"
    return [
        (kind, PTR, name_of(name)),
        (name, SRV, bytes(4) + port.to_bytes(2, "big") + name_of(host)),
        (name, TXT, text),
        (host, A, bytes([127, 0, 0, 66])),
    ]


RNG = random.Random(7)
FULL = answer(*service("Evil", b"\x0adeviceid=E"))
HOSTILE = {
    "random": [bytes(RNG.randrange(256) for _ in range(RNG.randrange(600))) for _ in range(30)],
    "random_body": [FULL[:12] + RNG.randbytes(200) for _ in range(30)],
    "truncated": [FULL[:end] for end in range(len(FULL))],
    "flipped": [
        FULL[:at] + bytes([FULL[at] ^ 1 << RNG.randrange(8)]) + FULL[at + 1 :]
        for at in range(4, len(FULL))
    ],
    "endless_name": [bytes.fromhex("0000 8400 0000 0001 0000 0000 c00c 000c 0001") + bytes(6)],
    "other_type": [answer(*service("Evil", kind="_ipp._tcp.local."))],
    "pointer_elsewhere": [answer((AIRPLAY, PTR, name_of("Evil._raop._tcp.local.")))],
    "pointer_to_itself": [answer((AIRPLAY, PTR, name_of(AIRPLAY)))],
    "pointer_to_root": [answer((AIRPLAY, PTR, b"\0"))],
    "wrong_data": [answer((AIRPLAY, number, b"\xff\xff")) for number in (A, PTR, SRV, TXT, 28, 47)],
    "giant_text": [answer(*service("Evil", b"\xff" + b"x" * 255 + b"\x09" + b"deviceid=" * 800))],
    "truncated_text": [answer(*service("Evil", b"\x10deviceid"))],
    "not_utf8": [answer(*service("Evil", b"\x0cdeviceid=\xff\xfe\x80"))],
    "odd_text": [answer(*service("Evil", b"\x09features=\x08flags=zz\x06acl=\x00\x00"))],
    "port_0": [answer(*service("Evil", b"\x0adeviceid=E", port=0))],
    "link_local": [answer(("h.local.", A, bytes([169, 254, 1, 1])), *service("Evil")[:3])],
    "names_not_utf8": [answer((AIRPLAY, PTR, b"\x3f" + b"\xff" * 63 + name_of(AIRPLAY)))],
    "many": [
        answer(*((AIRPLAY, PTR, name_of(f"n{at}x{n}.{AIRPLAY}")) for n in range(30)))
        for at in range(30)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(name, caplog):
    with Attacker(preset("atv4k_tvos14"), HOSTILE[name]) as attacker:
        found = scan(2, hosts=at(attacker))
    device = next(one for one in found if one.is_called("AA:BB:CC:00:00:02"))
    assert services(device) == {"mrp", "airplay", "raop", "companion"}
    ours = [one for one in caplog.records if one.name.startswith(("tinyatv", "asyncio"))]
    assert [one for one in ours if one.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_questions(respond, name, caplog):
    responder = respond(*preset("music_app"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for packet in HOSTILE[name]:
            sock.sendto(packet, ("127.0.0.1", responder.port))
            sock.sendto(packet[:2] + b"\0\0" + packet[4:], ("127.0.0.1", responder.port))
    (device,) = scan(20, hosts=at(responder))
    assert device.name == "Mac"
    ours = [one for one in caplog.records if one.name.startswith("tinyatv")]
    assert [one for one in ours if one.levelno >= logging.WARNING] == []


# -- addresses -----------------------------------------------------------------------------------


needs_ipv6 = pytest.mark.skipif(
    not os.path.exists("/proc/net/if_inet6"), reason="no IPv6, or not known"
)


def test_the_address_that_answers_comes_first(respond):
    airplay = Record(AIRPLAY, "Den", 7000, "127.0.0.5", {"deviceid": identity()})
    told = ["192.0.2.200", "127.0.0.5", "169.254.7.7", "2001:db8::5"]
    responder = respond(airplay._replace(addresses=told), host="127.0.0.5")
    (device,) = scan(20, hosts=at(responder))
    assert device.address == device.addresses[0] == "127.0.0.5"
    assert set(device.addresses) == set(told)
    assert device.addresses[-1] == "169.254.7.7"
    assert device.is_called("2001:DB8::5")


@needs_ipv6
def test_ipv6_alone(respond):
    responder = respond(Record(AIRPLAY, "Den", 7000, "::1", {"deviceid": identity()}), host="::1")
    (device,) = scan(20, hosts=f"[::1]:{responder.port}")
    assert (device.name, device.addresses) == ("Den", ["::1"])
    assert device.query == f"[::1]:{responder.port}"


def test_who_cannot_be_connected_to_is_named(respond, monkeypatch):
    responder = respond(Record(AIRPLAY, "Den", 7000, "127.0.0.1", {"model": "AppleTV6,2"}))
    store = tinyatv.Store(memory=True)
    with pytest.raises(DeviceNotFound, match=r"^Den \(127.0.0.1\) answered, .* \(no deviceid\)$"):
        tinyatv.connect(at(responder), store=store)
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", at(responder))
    with pytest.raises(DeviceNotFound, match=r"^Den \(127.0.0.1\) answered"):
        tinyatv.connect("den", store=store)
    with pytest.raises(DeviceNotFound, match="no device called 'Attic'; found: nothing"):
        tinyatv.connect("Attic", store=store)


@needs_ipv6
def test_connect_by_ipv6_address():
    assert connecting._is_host("fd00::5")
    assert connecting._is_host("[fd00::5]:5354")
    assert connecting._is_host("fe80::1%eth0")
    assert not connecting._is_host("Den: TV")


def test_two_receivers_at_one_host(respond):
    ids = [identity(), identity()]
    responder = respond(
        *(
            Record(AIRPLAY, f"TV {number}", 7000 + number, "127.0.0.1", {"deviceid": one})
            for number, one in enumerate(ids)
        )
    )
    found = scan(20, hosts=at(responder))
    assert {(d.name, d.identifier, d.service("airplay").port) for d in found} == {
        ("TV 0", ids[0], 7000),
        ("TV 1", ids[1], 7001),
    }


def test_two_publications_at_one_address():
    where, ids = address(), [identity(), identity()]
    with Announcement(where, quick=True) as one, Announcement(where, quick=True) as other:
        for each, who in zip((one, other), ids):
            each.add(AIRPLAY, f"TV {who}", 7000, {"deviceid": who})
            each.add(COMPANION, f"TV {who}", 7001, {"rpFl": "0x36782"})
        found = [
            device for who in ids for device in scan(60, wanted=who, interfaces=LOOPBACK)
            if device.is_called(who)
        ]  # fmt: skip
    assert {(one.identifier, tuple(one.names)) for one in found} == {
        (who, (f"TV {who}",)) for who in ids
    }
    assert all(services(one) == {"airplay", "companion"} for one in found)


# -- link-local addresses, in a network of our own -----------------------------------------------

LINK_LOCAL_TV = """
import socket, struct, sys
from tinyatv.discovery.records import Record
from tinyatv.services import AIRPLAY
from tinyatv.virtual.responder import Responder
link, address = sys.argv[1:]
server = socket.create_server((address, 0, 0, socket.if_nametoindex(link)), family=socket.AF_INET6)
port = server.getsockname()[1]
record = Record(AIRPLAY, "Attic", port, address, {"deviceid": "02:00:5E:00:00:07"})
with Responder(lambda: [record], "::", 5353) as responder:
    group = socket.inet_pton(socket.AF_INET6, "ff02::fb")
    group += struct.pack("@I", socket.if_nametoindex(link))
    responder._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    print("ready", flush=True)
    sys.stdin.read()
"""
LINK_LOCAL_SCAN = """
import sys
from tinyatv import scan
from tinyatv.addresses import connect_first
(device,) = scan(20, wanted="Attic")
print(device.name, device.addresses)
(again,) = scan(20, hosts=device.address)
assert again.identifier == device.identifier
with connect_first(device.addresses, device.service("airplay").port, 10) as sock:
    print(sock.getpeername()[0].partition("%")[0])
"""


def test_link_local_alone(two_networks):
    """Found by multicast over IPv6, asked directly, and connected to: by address and scope."""
    (here, there), (near, far) = two_networks
    inside = ["ip", "netns", "exec"]
    with subprocess.Popen(
        [*inside, there, sys.executable, "-c", LINK_LOCAL_TV, far, "fe80::b"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as tv:  # fmt: skip
        assert tv.stdout.readline() == "ready\n"
        done = subprocess.run(
            [*inside, here, sys.executable, "-c", LINK_LOCAL_SCAN],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        tv.stdin.close()
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"Attic ['fe80::b%{near}']", "fe80::b"]


# -- whose answer --------------------------------------------------------------------------------


def test_only_the_host_that_was_asked_is_believed(respond):
    """Somebody else answers first, from another address and from another port."""
    honest = respond(*preset("music_app"))
    lie = answer(*service("Evil", b"\x0adeviceid=E"))
    asked = threading.Event()

    def relay():
        data, peer = sock.recvfrom(9000)
        for liar in liars:
            liar.sendto(lie, peer)
        asked.set()
        replies = []
        while True:
            for reply in honest._answer(data):
                replies.append(reply)
                sock.sendto(reply, peer)
            data, peer = sock.recvfrom(9000)
            if not data:
                return

    with contextlib.ExitStack() as stack:
        socks = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)
        ]
        sock, *liars = socks
        for one, host in zip(socks, ("127.0.0.1", "127.0.0.1", "127.0.0.9")):
            one.bind((host, 0))
        thread = threading.Thread(target=relay)
        thread.start()
        found = scan(20, hosts=f"127.0.0.1:{sock.getsockname()[1]}")
        assert asked.is_set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"", sock.getsockname())
        thread.join()
    assert [device.name for device in found] == ["Mac"]


# -- what cannot be used -------------------------------------------------------------------------


def test_what_answers_but_cannot_be_used(respond):
    odd = []
    responder = respond(Record(COMPANION, "Phone", 7000, "127.0.0.1", {"rpFl": "0x20000"}))
    assert scan(20, hosts=at(responder), unusable=odd.append) == []
    assert [str(one) for one in odd] == [
        "Phone (127.0.0.1) answered, with companion only: nothing identifies it"
    ]
    odd.clear()
    responder = respond(Record(AIRPLAY, "Den", 7000, "127.0.0.1", {"model": "AppleTV6,2"}))
    assert scan(20, hosts=at(responder), unusable=odd.append) == []
    assert [str(one) for one in odd] == [
        "Den (127.0.0.1) answered, with airplay only: nothing identifies it (no deviceid)"
    ]
    odd.clear()
    responder = respond(*preset("atv4k_tvos14"))
    assert scan(20, hosts=at(responder), unusable=odd.append)
    assert odd == []


def test_an_answer_without_a_port_is_not_deep_sleep():
    """Names and texts, and nothing else, even when asked for it."""
    name = f"Den.{AIRPLAY}"
    packet = answer((AIRPLAY, PTR, name_of(name)), (name, TXT, b"\x0adeviceid=E"))
    with Attacker(preset("music_app"), [packet]) as attacker:
        odd = []
        (device,) = scan(0.5, hosts=at(attacker), unusable=odd.append)
    assert (device.name, device.deep_sleep) == ("Mac", False)
    assert [str(one) for one in odd] == [
        "Den (127.0.0.1) answered, with airplay only: it has no port (SRV record)"
    ]


def test_one_service_that_came_without_its_port_is_not_deep_sleep(respond):
    """A device drops records when an answer gets too long for a packet."""
    short = answer((COMPANION, PTR, name_of(f"Living Room.{COMPANION}")))
    with Attacker(preset("atv4k_tvos14"), [short]) as attacker:
        (device,) = scan(20, hosts=at(attacker))
    assert not device.deep_sleep


# -- when ----------------------------------------------------------------------------------------


def test_services_that_come_a_little_later_are_not_lost(respond):
    """Each kind has an answer of its own, and all but the first are slow."""
    honest = respond(*preset("atv4k_tvos14"))
    late = []

    def relay():
        while True:
            data, peer = sock.recvfrom(9000)
            if not data:
                return
            asked = honest.asked
            asked.clear()
            honest._answer(data)
            for name, number in list(asked):
                replies = honest._answer(encode_query([(labels(name), number)], 0))
                slow = bool(late) and name != MRP
                late.append(threading.Timer(0.06 * slow, send, [replies, peer]))
                late[-1].start()

    def send(replies, peer):
        for reply in replies:
            sock.sendto(reply, peer)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=relay)
        thread.start()
        (device,) = scan(20, hosts=f"127.0.0.1:{sock.getsockname()[1]}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"", sock.getsockname())
        for one in (thread, *late):
            one.join()
    assert services(device) == {"mrp", "airplay", "raop", "companion"}


@pytest.mark.skipif(os.name == "nt", reason="no such limits there")
@pytest.mark.parametrize("free", range(7))
@pytest.mark.parametrize("how", ["multicast", "directed"])
def test_few_descriptors(free, how, respond):
    """It returns within its time; with none at all it says why it cannot search."""
    responder = respond(*preset("music_app"))
    code = f"""
import os, resource, sys, tinyatv
from tinyatv import scan
tinyatv.Store().devices()
used = len(os.listdir("/dev/fd")) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (used + {free}, used + {free}))
hosts = {at(responder) if how == "directed" else None!r}
try:
    print("found", len(scan(1.0, hosts=hosts)))
except tinyatv.AppleTVError as exc:
    print("error", exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    word, rest = done.stdout.split(" ", 1)
    if not free:
        assert (word, rest.strip()) == ("error", "cannot search the network: Too many open files")
    elif how == "directed":
        assert (word, rest.strip()) == ("found", "1"), done.stderr
    else:
        assert word == "found", done.stdout


@pytest.mark.skipif(os.name == "nt", reason="no such limits there")
@pytest.mark.parametrize("free", [0, 1, 3, 6, 9, 30])
def test_announcing_with_few_descriptors(free):
    code = f"""
import os, resource, tinyatv
from tinyatv.discovery import publish
from tinyatv.services import AIRPLAY
import tinyatv.discovery.announce
used = len(os.listdir("/dev/fd")) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (used + {free}, used + {free}))
try:
    publish(AIRPLAY, {identity()!r}, 7000, {address()!r}, {{}}, quick=True).close()
    print("announced")
except tinyatv.AppleTVError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    if free == 30:
        assert done.stdout == "announced\n"
    else:
        assert done.stdout in ("announced\n", "cannot announce: Too many open files\n")


CROWD = 2000


@pytest.fixture
def crowd():
    """A responder in another process: many devices, each with AirPlay and Companion."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.children.crowd", str(CROWD)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def test_a_crowd_of_devices(crowd):
    found = scan(20, hosts=crowd)
    assert len({device.identifier for device in found}) == CROWD
    assert all(services(device) == {"airplay", "companion"} for device in found)


# -- what was heard ------------------------------------------------------------------------------


def heard(instance, port=7000, ttl=120, ip=(192, 0, 2, 7)):
    name = f"{instance}.{AIRPLAY}"
    return [
        Answer(AIRPLAY, PTR, ttl, name),
        Answer(name, SRV, ttl, (port, "H.local.")),
        Answer(name, TXT, ttl, b"\x0adeviceid=E"),
        Answer("h.LOCAL.", A, ttl, bytes(ip)),
    ]


def test_answers_in_any_order_and_case():
    records = heard("Den")
    records[1] = records[1]._replace(name=records[1].name.upper())
    for _ in range(24):
        random.shuffle(records)
        answers = mdns.Answers([AIRPLAY])
        for one in records:
            answers.take([one])
        (record,) = answers.records()
        assert record[:5] == (AIRPLAY, "Den", 7000, "192.0.2.7", {"deviceid": "E"})
        assert answers.missing() == {}


def test_answers_ask_for_what_is_missing():
    pointer, service, text, address = heard("Dr. Who")
    key = f"dr. who.{AIRPLAY}"
    name = ("Dr. Who", "_airplay", "_tcp", "local")
    hosts = [(("h", "local"), A), (("h", "local"), AAAA)]
    answers = mdns.Answers([AIRPLAY])
    answers.take([pointer])
    assert answers.missing() == {key: [(name, SRV), (name, TXT)]}
    answers.take([service])
    assert answers.missing() == {key: [*hosts, (name, TXT)]}
    answers.take([text])
    assert answers.missing() == {key: hosts}
    assert answers.records() == []
    answers.take([address])
    assert answers.missing() == {}


def test_answers_forget_what_says_goodbye():
    answers = mdns.Answers([AIRPLAY])
    answers.take(heard("Den"))
    answers.take(heard("Den", ttl=0))
    assert answers.records() == []
    assert answers.missing() == {}
    answers.take(heard("Den", port=7001))
    assert [record.port for record in answers.records()] == [7001]


def test_answers_prefer_what_is_not_link_local():
    """An AirPort announces such an address beside the one that works."""
    answers = mdns.Answers([AIRPLAY])
    answers.take(heard("Den", ip=(169, 254, 1, 1)))
    answers.take(heard("Den", ip=(192, 0, 2, 8)))
    answers.take(heard("Den", ip=(192, 0, 2, 9)))
    answers.take(heard("Den", ip=(224, 0, 0, 1)))  # nobody's
    (record,) = answers.records()
    assert record.address == "192.0.2.8"
    assert sorted(record.addresses) == ["169.254.1.1", "192.0.2.8", "192.0.2.9"]


def test_answers_of_a_sleep_proxy():
    answers = mdns.Answers([AIRPLAY])
    pointer, *rest = heard("Den")
    answers.take([pointer])
    answers.take(rest)
    assert [one.proxied for one in answers.records()] == [True]
    answers.take([pointer, *rest])  # woken up: now it answers itself
    assert [one.proxied for one in answers.records()] == [False]
    answers.take([pointer])
    assert [one.proxied for one in answers.records()] == [False]


# -- multicast -----------------------------------------------------------------------------------


@pytest.fixture
def announced():
    """An AirPlay service somewhere in 127.x.x.x, announced by multicast."""
    where, who = address(), identity()
    with Announcement(where, quick=True) as publication:
        txt = {"deviceid": who, "flags": "0x244", "model": "AppleTV6,2"}
        publication.add(AIRPLAY, f"Den {who}", 7000, txt)
        publication.add(RAOP, f"{who.replace(':', '')}@Den {who}", 7001, {"sf": "0x244"})
        yield Device(f"Den {who}", where), who


def test_multicast_scan(announced):
    wanted, who = announced
    for text in (wanted.name, wanted.address, who, [who.lower(), "nobody"]):
        device = scan(60, wanted=text, interfaces=LOOPBACK)[0]
        assert (device.name, device.address, device.query) == (wanted.name, wanted.address, None)
        assert device.info.model == "Gen4K"
        assert services(device) == {"airplay", "raop"}


def test_multicast_scan_waits_for_all(announced):
    wanted, who = announced
    seen = []
    found = scan(1, interfaces=LOOPBACK, progress=seen.append)
    assert who in [device.identifier for device in found]
    assert wanted.address in [device.address for device in seen]


def test_publication_is_gone_after_close():
    who = identity()
    publication = publish(AIRPLAY, who, 7000, address(), {"deviceid": who}, quick=True)
    assert who in [device.name for device in scan(60, wanted=who, interfaces=LOOPBACK)]
    publication.close()
    publication.close()
    assert who not in [device.name for device in scan(0.5, interfaces=LOOPBACK)]


def test_publication_says_goodbye():
    zeroconf = pytest.importorskip("zeroconf")
    who = identity()
    changes = queue.SimpleQueue()

    def changed(zeroconf, service_type, name, state_change):
        if name.startswith(who):
            changes.put(state_change)

    listening = zeroconf.Zeroconf(interfaces=LOOPBACK)
    try:
        browser = zeroconf.ServiceBrowser(listening, AIRPLAY, handlers=[changed])
        with publish(AIRPLAY, who, 7000, address(), {"deviceid": who}, quick=True):
            assert changes.get(timeout=60) is zeroconf.ServiceStateChange.Added
        seen = changes.get(timeout=60)
        while seen is zeroconf.ServiceStateChange.Updated:
            seen = changes.get(timeout=60)
        assert seen is zeroconf.ServiceStateChange.Removed
        browser.cancel()
    finally:
        mdns.close_zeroconf(listening)


def test_browse():
    name, here = secrets.token_hex(20), address()
    txt = {"DvNm": "Pad", "Pair": "0000000000000001", "DvTy": "iPod", "key": None}
    with publish(TOUCH_REMOTE, name, 4711, here, txt, quick=True):
        seen = []

        def found(record):
            seen.append(record)
            return record.instance == name

        records = browse(TOUCH_REMOTE, 60, interfaces=LOOPBACK, found=found)
    (record,) = [one for one in records if one.instance == name]
    assert record in seen
    assert record[:4] == (TOUCH_REMOTE, name, 4711, here)
    lower = {"dvnm": "Pad", "pair": "0000000000000001", "dvty": "iPod", "key": None}
    assert record.txt == lower


def test_browse_passes_on_what_found_raises(announced):
    def found(record):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        browse(AIRPLAY, 60, interfaces=LOOPBACK, found=found)


def test_name_that_is_taken(announced):
    wanted, who = announced
    with pytest.raises(AppleTVError, match="announced by somebody else"):
        publish(AIRPLAY, wanted.name, 7002, address(), {})
    with Announcement(address(), quick=True) as publication:
        publication.add(AIRPLAY, who, 7002, {})
        with pytest.raises(AppleTVError, match=who):
            publication.add(AIRPLAY, who, 7003, {})


def test_name_that_is_free():
    who = identity()
    with publish(AIRPLAY, who, 7000, address(), {"deviceid": who}):
        assert scan(60, wanted=who, interfaces=LOOPBACK)[0].name == who


def test_publish_wrong_arguments():
    for where in ("localhost", "::1", "127.0.0.256"):
        with pytest.raises(ValueError, match=r"not an address|cannot be announced"):
            publish(AIRPLAY, "Den", 7000, where, {})
    for kind, name, txt in (
        (AIRPLAY, "x" * 64, {}),
        ("airplay", "Den", {}),
        (AIRPLAY, "Den", {"key": "x" * 300}),
    ):
        with pytest.raises(ValueError, match="cannot announce"):
            publish(kind, name, 7000, "127.0.0.1", txt, quick=True)


def test_beside_other_owners_of_port_5353(announced):
    zeroconf = pytest.importorskip("zeroconf")
    wanted, who = announced
    others = [zeroconf.Zeroconf(interfaces=LOOPBACK) for _ in range(3)]
    try:
        assert scan(60, wanted=who, interfaces=LOOPBACK)[0].name == wanted.name
    finally:
        for one in others:
            mdns.close_zeroconf(one)


def test_other_process_on_port_5353():
    who, here = identity(), address()
    code = (
        "import sys; from tinyatv.discovery import publish\n"
        f"with publish({AIRPLAY!r}, {who!r}, 7000, {here!r}, {{'deviceid': {who!r}}}, quick=True):"
        "\n    print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        assert scan(60, wanted=who, interfaces=LOOPBACK)[0].address == here
        process.stdin.close()
    assert process.returncode == 0


def test_port_is_taken(monkeypatch):
    """By a program that answers, but does not let others in; not at 5353, which others need."""
    who = identity()
    packet = answer(*service("Sole", b"\x1adeviceid=" + who.encode()))
    done = threading.Event()

    def hold():
        while not done.is_set():
            _, peer = sock.recvfrom(9000)
            sock.sendto(packet, peer)

    group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        port = sock.getsockname()[1]
        monkeypatch.setattr(mdns, "PORT", port)
        monkeypatch.setattr(announce, "PORT", port)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert scan(60, wanted=who, interfaces=LOOPBACK)[0].name == "Sole"
            with pytest.raises(AppleTVError, match=f"UDP port {port} for itself"):
                publish(AIRPLAY, identity(), 7000, "127.0.0.1", {})
        finally:
            done.set()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"", ("127.0.0.1", port))
            thread.join()


def test_inside_a_running_loop(announced, respond):
    wanted, who = announced
    responder = respond(*preset("music_app"))

    async def cell():
        found = scan(60, wanted=who, interfaces=LOOPBACK) + scan(20, hosts=at(responder))
        name = identity()
        with publish(AIRPLAY, name, 7000, address(), {}, quick=True):
            browse(AIRPLAY, 60, interfaces=LOOPBACK, found=lambda one: one.instance == name)
        return [device.name for device in found]

    names = asyncio.run(cell())
    assert wanted.name in names
    assert "Mac" in names


@pytest.mark.skipif(os.name == "nt", reason="no signals there")
@pytest.mark.parametrize("directed", [False, True])
def test_interrupted(directed, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        port = sock.getsockname()[1]
        group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        monkeypatch.setattr(mdns, "PORT", port)

        def interrupt():
            sock.recv(9000)  # it asks
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        how = {"interfaces": LOOPBACK}
        if directed:
            how = {"hosts": [f"127.0.0.1:{port}", "127.0.0.2:9"]}
        try:
            with pytest.raises(KeyboardInterrupt):
                scan(60, **how)
        finally:
            signal.signal(signal.SIGINT, before)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"", ("127.0.0.1", port))
            thread.join()


# -- the responder -------------------------------------------------------------------------------


def test_responder_answers_directly():
    # As other programs ask: SRV, TXT and ANY of an instance, A of a host.
    zeroconf = pytest.importorskip("zeroconf")
    records = preset("atv4k_tvos14")
    name = f"Living Room.{COMPANION}"
    with (
        Responder(lambda: records) as responder,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.settimeout(20)

        def ask(name, number):
            out = zeroconf.DNSOutgoing(0, multicast=False, id_=4711)
            out.add_question(zeroconf.DNSQuestion(name, number, 1))
            sock.sendto(out.packets()[0], ("127.0.0.1", responder.port))
            data = sock.recv(9000)
            assert data[:2] == (4711).to_bytes(2, "big")
            assert data[2:4] == b"\x84\x00"
            reply = zeroconf.DNSIncoming(data)
            assert [(one.name, one.type) for one in reply.questions] == [(name, number)]
            found = reply.answers() if callable(reply.answers) else reply.answers
            return {one.type: one for one in found}

        assert set(ask(name, SRV)) == {SRV, A}
        assert set(ask(name.upper(), TXT)) == {TXT}
        both = ask(name, ANY)
        assert set(both) == {SRV, TXT, A}
        assert both[SRV].port == 49153
        assert parse_txt(both[TXT].text)["rpfl"] == "0x36782"
        assert ask(both[SRV].server, A)[A].address == bytes([127, 0, 0, 1])
        assert set(ask(MRP, PTR)) == {PTR, SRV, TXT, A}
        responder.asleep = True
        assert set(ask(MRP, PTR)) == {PTR}
        assert set(ask(name, ANY)) == {SRV, TXT, A}


def test_responder_survives_its_provider(caplog):
    failing = [True]

    def records():
        if failing:
            failing.clear()
            raise RuntimeError("not now")
        return preset("music_app")

    with Responder(records) as responder:
        assert [device.name for device in scan(20, hosts=at(responder))] == ["Mac"]
    assert "not now" in caplog.text


def test_responder_lifetime():
    responder = Responder(list)
    with pytest.raises(OSError, match=r".+"):
        Responder(list, port=responder.port)
    responder.close()
    responder = Responder(list)
    responder.start()
    responder.close()
    responder.close()


def test_no_third_party_module_before_a_scan():
    code = (
        "import sys, json, tinyatv.discovery.announce, tinyatv.virtual.responder\n"
        "print(json.dumps([name for name in ('zeroconf', 'asyncio', 'dataclasses', 'ifaddr')"
        " if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
