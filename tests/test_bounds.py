"""Hostile peers, both directions: what one connection may cost before the peer has proved itself.

Each case runs in a process of its own, whose memory the system counts: also what libraries take.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import pathlib
import plistlib
import queue
import socket
import struct
import subprocess
import sys
import threading

import pytest

import tinyatv
from tinyatv import proto
from tinyatv.events import QUEUED, Events, VolumeChanged
from tinyatv.link import Link
from tinyatv.wire import companion, dmap, opack, plist, tlv8, varint
from tinyatv.wire.http import CHUNKS, FIRST_LIMIT, HEADERS, HttpWire
from tinyatv.wire.mrp import MrpWire

MEMORY = 8 * 1024 * 1024  # bytes above what it was
TIMEOUT = 1.5  # s; that of the call
PATIENCE = 6.0  # s beyond it, on a machine that is busy
WAIT = 60.0  # s; a deadline for the tests themselves

needs_proc = pytest.mark.skipif(
    not pathlib.Path("/proc/self/clear_refs").exists(), reason="no /proc"
)

MEASURE = """
import json, sys, time
def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024
def begin():
    global baseline
    open("/proc/self/clear_refs", "w").write("5")
    baseline = status("VmRSS")
def peak():
    return status("VmHWM") - baseline
"""
CLIENT = (
    MEASURE
    + """
import tinyatv, requests, plistlib, zlib
from tinyatv import proto
from tinyatv.backends import airplay, companion, dmap, mrp
from tinyatv.crypto import chacha20poly1305, curve25519, ed25519, hkdf
from tinyatv.pairing import hap_verify, legacy
proto.parse(proto.dumps(proto.build(proto.DEVICE_INFO, True, name="x")))
from tinyatv.virtual import VirtualAppleTV
protocol, port, credentials, timeout, call = json.loads(sys.argv[1])
# As a normal connection would have it: everything that is loaded once is there.
with VirtualAppleTV(profile={"dmap": "atv3"}.get(protocol, "tvos14"), protocols=[protocol]) as tv:
    with tinyatv.connect(tv.device) as atv:
        atv.features()
service = tinyatv.Service(protocol, port, credentials=credentials)
device = tinyatv.Device("Hostile", "127.0.0.1", [service])
begin()
start = time.monotonic()
try:
    with tinyatv.connect(device, timeout=timeout, store=tinyatv.Store(memory=True)) as atv:
        getattr(atv, call)()
        said = "nothing"
except tinyatv.AppleTVError as exc:
    said = f"{type(exc).__name__}: {exc}"
print(json.dumps([said, peak(), time.monotonic() - start]))
"""
)
SERVER = (
    MEASURE
    + """
import threading
from tinyatv import proto
from tinyatv.virtual import VirtualAppleTV, peer, server
import tinyatv
server.MESSAGE_TIMEOUT = peer.MESSAGE_TIMEOUT = 1.0
protocol, profile = json.loads(sys.argv[1])
with VirtualAppleTV(profile=profile, protocols=[protocol]) as tv:
    with tinyatv.connect(tv.device) as atv:
        atv.features()
    begin()
    print(tv.ports[protocol], flush=True)
    sys.stdin.readline()
    print(json.dumps(peak()), flush=True)
"""
)


class Hostile:
    """A server that answers everybody in the same way.

    Args:
        answer: Called with a socket, after each first bytes of a peer; what it yields is sent.
    """

    def __init__(self, answer):
        self._answer = answer
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port = self._sock.getsockname()[1]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._over.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        for thread in self._threads:
            thread.join(WAIT)
        self._sock.close()

    def _run(self):
        while not self._over.is_set():
            peer, _ = self._sock.accept()
            thread = threading.Thread(target=self._serve, args=(peer,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer):
        peer.settimeout(0.1)
        with peer, contextlib.suppress(OSError):
            for data in self._answer(Heard(peer, self._over)):
                view = memoryview(data)
                while view and not self._over.is_set():
                    with contextlib.suppress(socket.timeout):
                        view = view[peer.send(view) :]
            Heard(peer, self._over).all()


class Heard:
    """What a peer says."""

    def __init__(self, sock, over):
        self.sock, self.over = sock, over

    def some(self):
        while not self.over.is_set():
            with contextlib.suppress(socket.timeout):
                return self.sock.recv(65536)
        return b""

    def all(self):
        while self.some():
            pass


def once(*data, repeat=1):
    """Wait until the peer has asked, then send all of it."""

    def answer(heard):
        if heard.some():
            for _ in range(repeat):
                yield from data

    return answer


def drip(data, pause=0.1):
    """A byte now and then, for ever."""

    def answer(heard):
        if heard.some():
            for at in range(len(data)):
                yield data[at : at + 1]
                if heard.over.wait(pause):
                    return

    return answer


def http(body, *headers, length=None):
    lines = [
        "HTTP/1.1 200 OK",
        *headers,
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def item(code, data=b""):
    return code + len(data).to_bytes(4, "big") + data


def put(field, data):
    return varint.encode(field << 3 | 2) + varint.encode(len(data)) + data


def frame(data):
    return varint.encode(len(data)) + data


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ZEROS = bytes(64 * 1024)
ITEMS = put(9, put(3, put(2, b"") * 15_000))  # SET_STATE with a queue of empty items
DEEP = put(9, put(3, put(2, put(2, b"")) * 12_000))
TLV = bytes(60_000)
MIB = 1024 * 1024


def objects(count, one=b"\xa0"):
    """A binary property list with so many empty objects in an array."""
    refs = b"".join(n.to_bytes(3, "big") for n in range(1, count))
    body = b"bplist00" + b"\xaf\x12" + (count - 1).to_bytes(4, "big") + refs
    places = [8] + [len(body) + n * len(one) for n in range(count - 1)]
    body += one * (count - 1)
    table = b"".join(place.to_bytes(4, "big") for place in places)
    return body + table + struct.pack(">6xBBQQQ", 4, 3, count, 0, len(body))


def mrp_then(*more):
    """Introduces itself like a device, then answers the next message so."""

    def answer(heard):
        wire = MrpWire(proto.dumps, proto.parse, proto.key)
        while True:
            data = heard.some()
            if not data:
                return
            wire.feed(data)
            message = wire.next_message()
            if message is None:
                continue
            if message.kind == proto.DEVICE_INFO:
                told = proto.build(proto.DEVICE_INFO, message.identifier, name="x")
                yield wire.encode(told)
            else:
                for one in more:
                    yield one(message) if callable(one) else one

    return answer


def crypto(message):
    """The answer of a pairing."""
    told = proto.build(proto.CRYPTO_PAIRING, message.identifier, pairingData=TLV, status=0)
    return frame(proto.dumps(told))


def companion_frame(kind, payload):
    return bytes([kind]) + len(payload).to_bytes(3, "big") + payload


HAP = ":".join(["11" * 32, "22" * 32, "4142", "4344"])
GUID = "0x0000000000000001"
PEERS = {
    # name: (protocol, credentials, what the device does)
    "dmap, chunks of 2 bytes": ("dmap", GUID, once(CHUNKED, *[b"2\r\naa\r\n" * 9000] * 400)),
    "dmap, gzip of zeros": (
        "dmap", GUID, once(http(gzip.compress(bytes(200 * MIB)), "Content-Encoding: gzip"))),
    "dmap, zeros": ("dmap", GUID, once(http(bytes(FIRST_LIMIT - 8)))),
    "dmap, containers": (
        "dmap", GUID, once(http(item(b"mlog", item(b"mlit") * 130_000)))),
    "dmap, too large": ("dmap", GUID, once(http(b"", length=900 * MIB), *[ZEROS] * 300)),
    "dmap, one large chunk": ("dmap", GUID, once(CHUNKED + b"fffffff\r\n", *[ZEROS] * 300)),
    "dmap, endless 100": (
        "dmap", GUID, once(*[b"HTTP/1.1 100 Continue\r\n\r\n" * 2000] * 300)),
    "dmap, endless head": ("dmap", GUID, once(b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n" * 9000] * 90)),
    "dmap, drips": ("dmap", GUID, drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000)),
    "dmap, drips a body": ("dmap", GUID, drip(http(b"", length=9000) + bytes(9000), 0.05)),
    "mrp, empty frames": ("mrp", None, once(*[ZEROS] * 320)),
    "mrp, tiny frames": ("mrp", None, once(*[b"\2\x08\x2a" * 20_000] * 100)),
    "mrp, empty items": ("mrp", None, once(*[frame(b"\x08\4" + ITEMS)] * 50)),
    "mrp, items in items": ("mrp", None, once(*[frame(b"\x08\4" + DEEP)] * 50)),
    "mrp, empty items, later": (
        "mrp", None, mrp_then(*[frame(b"\x08\4" + put(9, put(3, put(2, b"") * 400_000)))] * 4)),
    "mrp, TLV8 of zeros": ("mrp", HAP, mrp_then(crypto)),
    "mrp, too large": ("mrp", None, once(varint.encode(1 << 40), *[ZEROS] * 300)),
    "mrp, drips": ("mrp", None, drip(b"\xff\x7f" + bytes(9000))),
    "companion, TLV8 of zeros": (
        "companion", HAP, once(companion_frame(6, opack.pack({"_pd": TLV})))),
    "companion, empty arrays": (
        "companion", HAP, once(companion_frame(6, b"\xdf" + b"\xd0" * 65_000))),
    "companion, dictionaries": (
        "companion", HAP, once(companion_frame(6, b"\xdf" + b"\xe1\x08\x08" * 21_000))),
    "companion, many frames": (
        "companion", HAP, once(*[companion_frame(1, bytes(60_000))] * 300)),
    "companion, empty frames": ("companion", HAP, once(*[bytes([8, 0, 0, 0]) * 16_000] * 300)),
    "companion, too large": ("companion", HAP, once(b"\6\xff\xff\xff", *[ZEROS] * 300)),
    "companion, drips": ("companion", HAP, drip(b"\6\0\xff\0" + bytes(9000))),
    "airplay, objects": ("airplay", None, once(http(objects(130_000)))),
    "airplay, dictionaries": ("airplay", None, once(http(objects(120_000, b"\xd0")))),
    "airplay, elements": (
        "airplay", None, once(http(b"<?xml version='1.0'?><plist><array>" + b"<dict/>" * 140_000))),
    "airplay, lines": (
        "airplay", None, once(http(b"<?xml version='1.0'?><plist><string>" + b"ab\n" * 330_000))),
    "airplay, TLV8 of zeros": ("airplay", HAP, once(http(bytes(FIRST_LIMIT - 2)))),
    "airplay, too large": ("airplay", None, once(http(b"", length=16 * MIB), *[ZEROS] * 256)),
    "airplay, answers": ("airplay", None, once(*[b"HTTP/1.1 200 \r\n\r\n" * 4000] * 300)),
    "airplay, drips": ("airplay", HAP, drip(http(bytes(9000)))),
}  # fmt: skip


@needs_proc
@pytest.mark.parametrize("name", PEERS)
def test_a_hostile_device(name, tmp_path):
    """It costs a few megabytes, and no longer than the call may take."""
    protocol, credentials, answer = PEERS[name]
    with Hostile(answer) as server:
        about = [protocol, server.port, credentials, TIMEOUT, "features"]
        run = subprocess.run(
            [sys.executable, "-c", CLIENT, json.dumps(about)],
            capture_output=True, text=True, timeout=WAIT, check=False,
            cwd=pathlib.Path(__file__).parents[1],
        )  # fmt: skip
    assert run.returncode == 0, run.stderr
    said, peak, seconds = json.loads(run.stdout.splitlines()[-1])
    print(f"{name}: {peak / MIB:.1f} MB, {seconds:.1f} s, {said}")
    assert said != "nothing" or protocol == "airplay"
    assert peak <= MEMORY, f"{peak / MIB:.1f} MB: {said}"
    assert seconds < TIMEOUT + PATIENCE, said


def post(path, body, *headers, length=None):
    lines = [f"POST {path} HTTP/1.1", "User-Agent: Remote/1021", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


START = opack.pack({"_pd": TLV, "_pwTy": 1})
CHUNKED_POST = b"POST /login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
CLIENTS = {
    # name: (protocol, profile, what the client sends)
    "dmap, chunks of 2 bytes": ("dmap", "atv3", [CHUNKED_POST, *[b"2\r\naa\r\n" * 9000] * 200]),
    "dmap, zeros": (
        "dmap", "atv3", [post("/ctrl-int/1/controlpromptentry", bytes(1_000_000))] * 4),
    "dmap, requests": ("dmap", "atv3", [b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * 60_000)] * 300),
    "dmap, too large": ("dmap", "atv3", [post("/", b"", length=900 * MIB), *[ZEROS] * 200]),
    "mrp, empty frames": ("mrp", "tvos14", [ZEROS] * 100),
    "mrp, empty items": ("mrp", "tvos14", [frame(b"\x08\4" + ITEMS)] * 50),
    "mrp, TLV8 of zeros": (
        "mrp", "tvos14",
        [frame(proto.dumps(proto.build(proto.CRYPTO_PAIRING, pairingData=TLV)))] * 20),
    "mrp, too large": ("mrp", "tvos14", [varint.encode(1 << 40), *[ZEROS] * 200]),
    "companion, TLV8 of zeros": ("companion", "tvos18", [companion_frame(3, START)] * 20),
    "companion, empty arrays": (
        "companion", "tvos18", [companion_frame(3, b"\xdf" + b"\xd0" * 65_000)] * 20),
    "companion, empty frames": ("companion", "tvos18", [bytes([8, 0, 0, 0]) * 16_000] * 100),
    "companion, too large": ("companion", "tvos18", [b"\3\xff\xff\xff", *[ZEROS] * 200]),
    "airplay, TLV8 of zeros": ("airplay", "tvos15", [post("/pair-setup", TLV)] * 20),
    "airplay, objects": ("airplay", "tvos15", [post("/play", objects(12_000))] * 20),
    "airplay, requests": (
        "airplay", "tvos15", [b"GET /%s RTSP/1.0\r\n\r\n" % (b"a" * 60_000)] * 300),
    "airplay, too large": ("airplay", "tvos15", [post("/", b"", length=16 * MIB), *[ZEROS] * 200]),
}  # fmt: skip


@contextlib.contextmanager
def virtual(protocol, profile):
    """A virtual device in a process of its own; gives its port, and a function for its peak."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps([protocol, profile])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=pathlib.Path(__file__).parents[1],
    ) as process:  # fmt: skip
        port = int(process.stdout.readline())

        def peak():
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield port, peak


@needs_proc
@pytest.mark.parametrize("name", CLIENTS)
def test_a_hostile_client(name):
    protocol, profile, sent = CLIENTS[name]
    with virtual(protocol, profile) as (port, peak):
        with socket.create_connection(("127.0.0.1", port), WAIT) as sock:
            reading = threading.Thread(target=read_all, args=(sock,))
            reading.start()
            with contextlib.suppress(OSError):
                for data in sent:
                    sock.sendall(data)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            reading.join(WAIT)
            assert not reading.is_alive()
        used = peak()
    print(f"{name}: {used / MIB:.1f} MB")
    assert used <= MEMORY, f"{used / MIB:.1f} MB"


def read_all(sock):
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


@needs_proc
@pytest.mark.parametrize(
    ("protocol", "profile", "data"),
    [("dmap", "atv3", b"GET /server-info HTTP/1.1\r\n"), ("mrp", "tvos14", b"\xff\x7f"),
     ("companion", "tvos18", b"\3\0\xff\0"),
     ("airplay", "tvos15", b"POST /pair-setup RTSP/1.0\r\n")],
)  # fmt: skip
def test_a_client_that_sends_a_byte_now_and_then(protocol, profile, data):
    """The device hangs up once a message takes too long; 1 s here."""
    with virtual(protocol, profile) as (port, peak):
        with socket.create_connection(("127.0.0.1", port), WAIT) as sock:
            over = threading.Event()
            reading = threading.Thread(target=lambda: (read_all(sock), over.set()))
            reading.start()
            with contextlib.suppress(OSError):
                for byte in data:
                    sock.sendall(bytes([byte]))
                while not over.wait(0.1):
                    sock.sendall(b"a")
            reading.join(WAIT)
            assert over.is_set()
        peak()


JPEG = b"\xff\xd8\xff\xe0"


def test_artwork_may_be_large(device, atv):
    """Larger than any other answer; but not whatever comes."""
    device.state.update(artwork=JPEG + bytes(20 * MIB))
    assert len(atv.artwork().data) == 20 * MIB + 4
    device.fail("artwork", garbage=http(b"", length=33 * MIB))
    with pytest.raises(tinyatv.ProtocolError, match="is over"):
        atv.artwork()
    squeezed = gzip.compress(JPEG + bytes(33 * MIB))
    device.fail("artwork", garbage=http(squeezed, "Content-Encoding: gzip"))
    with pytest.raises(tinyatv.ProtocolError, match="too large"):
        atv.artwork()
    device.fail("playing", garbage=http(bytes(2 * MIB)))
    with pytest.raises(tinyatv.ProtocolError, match="is over"):
        atv.playing()
    assert atv.playing().title


def test_artwork_that_drips():
    """Nobody waits 25 s for a device that is evidently awake."""
    session = dmap.encode([("mlog", [("mlid", 5)])])

    def answer(heard):
        heard.some()
        yield http(session)
        heard.some()
        for _ in range(600):
            yield b"H"
            if heard.over.wait(0.1):
                return

    with Hostile(answer) as server:
        service = tinyatv.Service("dmap", server.port, credentials=GUID)
        device = tinyatv.Device("Hostile", "127.0.0.1", [service])
        store = tinyatv.Store(memory=True)
        late = pytest.raises(tinyatv.CommandTimeout, match="artwork within 1 s")
        with tinyatv.connect(device, timeout=1.0, store=store) as atv, late:
            atv.artwork()


# -- codecs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "data", "words"),
    [
        (tlv8.decode, bytes(2 * tlv8.ITEMS + 2), "more than 1000 items"),
        (dmap.decode, item(b"mstt") * (dmap.MAX_ITEMS + 1), "more than 16384 items"),
        (plist.loads, objects(plist.OBJECTS + 1), "objects, more than"),
        (plist.loads, b"<plist>" + b"<a/>" * plist.MARKS, "elements and lines"),
        (lambda data: opack.unpack(data, 1000), b"\xdf" + b"\xd0" * 1001, "too many"),
        (proto.parse, b"\x08\4" + ITEMS, "too much in it"),
        (proto.parse, b"\x08\4" + DEEP, "too much in it"),
    ],
)
def test_items_are_counted(read, data, words):
    with pytest.raises(ValueError, match=words):
        read(data)


def test_what_is_allowed():
    assert len(tlv8.decode(bytes(2 * tlv8.ITEMS))) == tlv8.ITEMS
    assert len(dmap.decode(item(b"mstt") * dmap.MAX_ITEMS)) == dmap.MAX_ITEMS
    assert len(plist.loads(objects(plist.OBJECTS))) == plist.OBJECTS - 1
    assert len(plist.loads(plistlib.dumps([{"a": n} for n in range(3000)]))) == 3000
    found = proto.parse(b"\x08\4" + put(9, put(3, put(2, b"") * 4000)))
    assert len(found.body.playbackQueue.contentItems) == 4000


def test_headers_and_chunks_are_counted():
    wire = HttpWire()
    wire.feed(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * HEADERS + b"\r\n")
    with pytest.raises(ValueError, match="headers"):
        wire.next_message()
    wire = HttpWire()
    wire.feed(CHUNKED + b"1\r\na\r\n" * (CHUNKS + 1))
    with pytest.raises(ValueError, match="chunks"):
        wire.next_message()


def test_companion_counts_less_before_it_is_secured():
    wire = companion.CompanionWire()
    wire.feed(companion_frame(6, b"\xe1\x41a\xdf" + b"\x08" * 1001 + b"\3"))
    with pytest.raises(ValueError, match="too many"):
        wire.next_message()


def test_messages_before_the_handshake_is_over():
    """What is no reply is kept for later, but not for ever."""
    ours, theirs = socket.socketpair()
    wire = MrpWire(proto.dumps, proto.parse, proto.key)
    link = Link(ours, wire, lambda message: None, name="tinyatv-test")
    with theirs:
        theirs.sendall(frame(proto.dumps(proto.build(proto.GENERIC))) * 100)
        with pytest.raises(tinyatv.ProtocolError, match="nobody asked for"):
            link.request(proto.build(proto.GENERIC, True), WAIT)
    link.close()


# -- events ----------------------------------------------------------------------------------------


def test_events_that_nobody_takes(caplog):
    """The oldest are dropped, which is said; what comes last is not lost."""
    hub = Events("tinyatv-events-test")
    go, heard, started = threading.Event(), queue.SimpleQueue(), threading.Event()
    hub.add(lambda event: (started.set(), go.wait(WAIT), heard.put(event)))
    hub.post(VolumeChanged(0.0))
    assert started.wait(WAIT)
    with caplog.at_level(logging.WARNING):
        for number in range(1, QUEUED + 101):
            hub.post(VolumeChanged(float(number)))
    go.set()
    hub.close()
    levels = [heard.get(timeout=WAIT).volume for _ in range(heard.qsize())]
    assert levels == [0.0, *map(float, range(101, QUEUED + 101))]
    assert "too slow: 1 events dropped" in caplog.text
    assert "too slow: 64 events dropped" in caplog.text
