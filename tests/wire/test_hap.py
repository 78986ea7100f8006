"""HAP blocks: cut, sealed, opened in order, and begun between two messages."""

from __future__ import annotations

import hashlib
import os
import plistlib
import random

import pytest

from tests.support.vectors import cases
from tinyatv import proto
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.pairing import hap
from tinyatv.pairing.accessory import Accessory
from tinyatv.pairing.hap import Identity, channel_keys, drive
from tinyatv.pairing.hap_device import Handshakes
from tinyatv.pairing.hap_setup import hap_setup, hap_setup_device, hap_transient
from tinyatv.wire.datastream import DataStreamWire
from tinyatv.wire.hap import BLOCK, HapWire
from tinyatv.wire.http import HttpWire, Request, Response

SECRET = bytes(range(32))
NO_KEY = bytes(32)
AIRPLAY = {
    case["name"]: case
    for group in ("tunnel_setup", "event_channel")
    for case in cases("airplay", group)
}
SIZES = [1, 2, 3, 19, 700, 1 << 20]


class Raw:
    """An inner wire whose message is whatever has been fed."""

    has_replies = True

    def __init__(self):
        self.fed = b""
        self.replies = b""

    def encode(self, message):
        return message

    def feed(self, data):
        self.fed += data

    def next_message(self):
        return self.unused() or None

    def pending_replies(self):
        replies, self.replies = self.replies, b""
        return replies

    def key(self, message):
        return message[:1]

    def unused(self):
        data, self.fed = self.fed, b""
        return data


def wire(seals=NO_KEY, opens=NO_KEY, inner=None):
    made = HapWire(inner or Raw())
    made.secure(Session(seals, opens))
    return made


def ends(inner=Raw):
    """The client's wire and the device's, with keys."""
    to_device, to_client = channel_keys(SECRET, "control")
    return wire(to_device, to_client, inner()), wire(to_client, to_device, inner())


def messages(receiver):
    found = []
    while (message := receiver.next_message()) is not None:
        found.append(message)
    return found


def fed(receiver, data, size=1 << 20):
    found = []
    for at in range(0, len(data), size):
        receiver.feed(data[at : at + size])
        found += messages(receiver)
    return found


def blocks(data):
    """What is on the wire, block by block."""
    found = []
    while data:
        size = 2 + int.from_bytes(data[:2], "little") + 16
        assert len(data) >= size
        found.append(data[:size])
        data = data[size:]
    return found


def refused(receiver, data):
    receiver.feed(data)
    with pytest.raises(ValueError):  # noqa: PT011, the words are those of the cipher
        messages(receiver)


def key_of(case):
    return bytes.fromhex(case["key_hex"])


def message_of(case):
    """The request or response of a case."""
    first, *rest = case["head"]
    headers = [tuple(line.split(": ", 1)) for line in rest]
    one, two, three = first.split(" ", 2)
    body = bytes.fromhex(case["body_hex"])
    if one == "RTSP/1.0":
        return Response(int(two), three, headers, body, one)
    return Request(one, two, headers, body, three)


# -- vectors


@pytest.mark.parametrize("case", cases("airplay", "control_frames"), ids=lambda case: case["name"])
@pytest.mark.parametrize("size", SIZES)
def test_control_frames(case, size):
    key, counter, expect = key_of(case), case["counter"], case["expect"]
    sender, receiver = wire(seals=key), wire(opens=key)
    for number in range(counter):  # the frames before it
        assert fed(receiver, sender.encode(b"%d" % number)) == [b"%d" % number]
    if "plain_hex" not in case:
        data = bytes.fromhex(case["frames_hex"])
        if "need_more" in expect:
            assert fed(receiver, data, size) == []
            return
        with pytest.raises(ValueError):  # noqa: PT011
            fed(receiver, data, size)
        return
    plain = bytes.fromhex(case["plain_hex"])
    data = sender.encode(plain)
    if "length" in expect:
        assert len(data) == expect["length"]
        assert [len(block) for block in blocks(data)] == expect["frame_lengths"]
        assert [block[:2].hex() for block in blocks(data)] == expect["prefixes_hex"]
        assert [block[-16:].hex() for block in blocks(data)] == expect["tags_hex"]
    else:
        assert data.hex() == expect["frames_hex"]
    assert b"".join(fed(receiver, data, size)) == plain
    assert receiver.next_message() is None


def test_tunnel_request():
    case = AIRPLAY["setup1_request"]
    expect, key = case["expect"], key_of(case)
    message = message_of(case)
    plain = HttpWire().encode(message)
    assert len(plain) == expect["plain_length"]
    assert hashlib.sha256(plain).hexdigest() == expect["plain_sha256_hex"]
    data = wire(seals=key, inner=HttpWire()).encode(message)
    assert len(data) == expect["wire_length"]
    assert data.hex().startswith(expect["wire_first_hex"])
    assert data.hex().endswith(expect["wire_tag_hex"])
    assert hashlib.sha256(data).hexdigest() == expect["wire_sha256_hex"]
    [found] = fed(wire(opens=key, inner=HttpWire()), data, 7)
    assert (found.path, found.body, found.headers) == (message.path, message.body, message.headers)


@pytest.mark.parametrize("name", ["setup1_response", "request"])
@pytest.mark.parametrize("size", SIZES)
def test_tunnel_response_and_event(name, size):
    case = AIRPLAY[name]
    key, message = key_of(case), message_of(case)
    data = bytes.fromhex(case["expect"]["frames_hex"])
    assert wire(seals=key, inner=HttpWire()).encode(message) == data
    [found] = fed(wire(opens=key, inner=HttpWire()), data, size)
    assert type(found) is type(message)
    assert found.header("cseq") == "0"
    told = plistlib.loads(found.body)
    assert told in ({"eventPort": 49338}, {"type": "updateInfo", "value": {"name": "Sim"}})


def test_event_response():
    case = AIRPLAY["response"]
    data = bytes.fromhex(case["expect"]["frames_hex"])
    [found] = fed(wire(opens=key_of(case), inner=HttpWire()), data)
    assert (found.code, found.protocol, found.body) == (200, "RTSP/1.0", b"")
    assert [name for name, _ in found.headers] == [
        "Server", "Content-Length", "Audio-Latency", "CSeq",
    ]  # fmt: skip
    assert wire(seals=key_of(case), inner=HttpWire()).encode(found) == data


TUNNEL = {case["name"]: case for case in cases("mrp", "tunnel")}


@pytest.mark.parametrize("name", ["T1ENC", "changed_block"])
def test_data_stream_blocks(name):
    case = TUNNEL[name]
    key, expect = key_of(case), case["expect"]
    if "error" in expect:
        refused(wire(opens=key), bytes.fromhex(case["blocks_hex"]))
        return
    plain, data = bytes.fromhex(case["plain_hex"]), bytes.fromhex(expect["blocks_hex"])
    assert wire(seals=key).encode(plain) == data
    assert fed(wire(opens=key), data, 10) == [plain]
    [message] = fed(
        wire(opens=key, inner=DataStreamWire(proto.dumps, proto.parse, proto.key)), data
    )
    assert message.kind == proto.SET_CONNECTION_STATE


@pytest.mark.parametrize("name", ["keys", "keys_negative_seed"])
def test_data_stream_keys(name):
    case = TUNNEL[name]
    keys = channel_keys(
        bytes.fromhex(case["shared_hex"]), "datastream", int(case["seed_int_hex"], 16)
    )
    expect = case["expect"]
    assert [key.hex() for key in keys] == [expect["output_key_hex"], expect["input_key_hex"]]


# -- pairing, as it goes over this connection


FIRST = {case["name"]: case["expect"]["message_hex"] for case in cases("pairing", "first_message")}
SRP = {case["name"]: case for case in cases("pairing", "srp")}


def test_first_messages():
    assert next(hap_setup(Identity(b"id"), "1111")).hex() == FIRST["airplay_setup"]
    assert next(hap_transient()).hex() == FIRST["airplay_transient"]


def test_transient_with_the_vectors():
    """Both ends with fixed values; then the keys of the channels."""
    case = SRP["transient_3939"]
    accessory = Accessory(Identity(b"device"))
    accessory.transient = True
    private, salt = (bytes.fromhex(case[name]) for name in ("b_hex", "salt_hex"))
    device = hap_setup_device(accessory, None, private=private, salt=salt)
    next(device)
    said = []

    def exchange(data):
        said.append(data)
        said.append(device.send(data))
        return said[-1]

    secret = drive(hap_transient(private=bytes.fromhex(case["a_hex"])), exchange)
    assert secret.hex() == case["expect"]["K_hex"]
    assert said[-1].secret == secret
    items = [hap.read(data) for data in said]
    assert items[1][hap.PUBLIC_KEY].hex() == case["expect"]["B_hex"]
    assert items[2][hap.PROOF].hex() == case["expect"]["client_proof_hex"]
    assert items[3][hap.PROOF].hex() == case["expect"]["device_proof_hex"]
    for derived in cases("pairing", "key_derivation"):
        way, channel, direction = (*derived["name"].split("."), "", "")[:3]
        if way == "transient" and channel in ("control", "events", "datastream"):
            seed = 15014746994705656022 if channel == "datastream" else None
            keys = channel_keys(secret, channel, seed)
            assert keys[direction == "device_to_client"].hex() == derived["expect"]["key_hex"], (
                derived["name"]
            )


@pytest.mark.parametrize("size", SIZES)
def test_transient_then_a_session(size):
    """Both ends over bytes: pairing in clear, what follows sealed, nothing lost in between."""
    client, device = HapWire(HttpWire()), HapWire(HttpWire())
    accessory = Accessory(Identity(b"device"))
    accessory.transient = True
    peer = Handshakes(accessory)

    def exchange(body):
        request = Request("POST", "/pair-setup", [("X-Apple-HKP", "4")], body)
        [asked] = fed(device, client.encode(request), size)
        reply = peer.answer(asked.body)
        data = device.encode(Response(200, body=bytes(reply), protocol=asked.protocol))
        if reply.secret is not None:
            to_device, to_client = channel_keys(reply.secret, "control")
            device.secure(Session(to_client, to_device))
            data += device.encode(Request("POST", "/early", protocol="RTSP/1.0"))
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        answer = None
        for piece in pieces:
            client.feed(piece)
            answer = answer or client.next_message()
        return answer.body

    secret = drive(hap_transient(), exchange)
    client.secure(Session(*channel_keys(secret, "control")))
    assert client.next_message().path == "/early"
    assert client.next_message() is None
    [asked] = fed(device, client.encode(Request("POST", "/feedback", protocol="RTSP/1.0")), size)
    assert (asked.path, asked.protocol) == ("/feedback", "RTSP/1.0")


# -- in clear


def test_clear_passes_through():
    made = HapWire(HttpWire())
    request = Request("GET", "/info", protocol="RTSP/1.0")
    assert made.encode(request) == HttpWire().encode(request)
    assert [found.path for found in fed(made, made.encode(request) * 3, 5)] == ["/info"] * 3
    assert made.pending_replies() == b""
    assert made.prepare() is False
    assert made.key(request) is None


def test_what_the_inner_wire_owes():
    assert HapWire(HttpWire()).has_replies is False
    assert HapWire(DataStreamWire(bytes, bytes, len)).has_replies is True
    client, device = ends()
    assert client.pending_replies() == b""
    client._inner.replies = b"reply" * 300
    sealed = client.pending_replies()
    assert len(blocks(sealed)) == 2
    assert b"".join(fed(device, sealed)) == b"reply" * 300
    assert client.pending_replies() == b""
    assert client.key(b"abc") == b"a"


# -- the switch


def switching(first, rest, client_side):
    """A stream of one clear message and sealed ones, and the wire that is to read it."""
    to_device, to_client = channel_keys(SECRET, "control")
    ours, theirs = (to_device, to_client) if client_side else (to_client, to_device)
    sender = HapWire(HttpWire())
    stream = sender.encode(first)
    sender.secure(Session(theirs, ours))
    stream += b"".join(map(sender.encode, rest))
    return stream, HapWire(HttpWire()), Session(ours, theirs)


SWITCHES = {
    "client": (
        Response(200, body=b"M4"),
        [Request("POST", "/command", body=b"x" * 3000, protocol="RTSP/1.0"), Response(404)],
    ),
    "device": (
        Request("POST", "/pair-verify", body=b"M3"),
        [Request("SETUP", "rtsp://h/1", body=b"y" * 1024, protocol="RTSP/1.0"),
         Request("GET", "/info")],
    ),
}  # fmt: skip


def shown(message):
    return type(message), message.body, message.protocol


@pytest.mark.parametrize("side", SWITCHES)
@pytest.mark.parametrize("size", SIZES)
def test_encryption_begins_between_messages(side, size):
    """Three messages in one segment; the first one makes the keys for the others."""
    first, rest = SWITCHES[side]
    stream, receiver, session = switching(first, rest, side == "client")
    found = []
    for at in range(0, len(stream), size):
        receiver.feed(stream[at : at + size])
        while (message := receiver.next_message()) is not None:
            found.append(message)
            if len(found) == 1:
                receiver.secure(session)
    assert [shown(message) for message in found] == [shown(m) for m in (first, *rest)]


@pytest.mark.parametrize("side", SWITCHES)
def test_switch_with_every_cut(side):
    """The bytes arrive in two segments before anybody looks, and in two after it."""
    first, rest = SWITCHES[side]
    stream, *_ = switching(first, rest, side == "client")
    for cut in range(0, len(stream), 7):
        _, receiver, session = switching(first, rest, side == "client")
        receiver.feed(stream[:cut])
        early = receiver.next_message()
        if early is not None:
            receiver.secure(session)
        receiver.feed(stream[cut:])
        if early is None:
            early = receiver.next_message()
            receiver.secure(session)
        assert [shown(m) for m in (early, *messages(receiver))] == [
            shown(m) for m in (first, *rest)
        ]


def test_switch_inside_a_message():
    """Somebody read too far: nothing can be made of it."""
    receiver = HapWire(HttpWire())
    receiver.feed(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
    assert receiver.next_message() is None
    with pytest.raises(ValueError, match="inside a message"):
        receiver.secure(Session(NO_KEY, NO_KEY))


def test_new_keys():
    """A second cipher takes over with the next block; what was opened already stays open."""
    sender, receiver = HapWire(HttpWire()), HapWire(HttpWire())
    both = Request("GET", "/1"), Request("GET", "/2")
    plain = b"".join(map(HttpWire().encode, both))
    raw = wire()
    stream = raw.encode(plain)
    raw.secure(Session(SECRET, SECRET))
    stream += raw.encode(HttpWire().encode(Request("GET", "/3")))
    receiver.secure(Session(NO_KEY, NO_KEY))
    receiver.feed(stream)
    assert receiver.next_message().path == "/1"
    receiver.secure(Session(SECRET, SECRET))
    assert [message.path for message in messages(receiver)] == ["/2", "/3"]
    assert sender.prepare() is False


def test_unused_of_http():
    """Everything comes back, whatever had been looked at; and the wire goes on from anew."""
    for data in (b"", b"GET", b"GET / HTTP/1.1\r\nX: y\r\n", b"\0\xff\r\n\r\n"):
        for looked in (False, True):
            receiver = HttpWire()
            receiver.feed(b"GET /1 HTTP/1.1\r\n\r\n" + data[:2])
            assert receiver.next_message().path == "/1"
            receiver.feed(data[2:])
            if looked and data[:1] != b"\0":
                assert receiver.next_message() is None
            assert receiver.unused() == data
            assert receiver.unused() == b""
            receiver.feed(b"GET /2 HTTP/1.1\r\n\r\n")
            assert receiver.next_message().path == "/2"


# -- sealed


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 2048, 5000, 70000])
def test_sizes(size):
    client, device = ends()
    message = os.urandom(size)
    data = client.encode(message)
    lengths = [len(block) - 18 for block in blocks(data)]
    assert sum(lengths) == size
    assert set(lengths[:-1]) <= {BLOCK}
    assert 0 < lengths[-1] <= BLOCK
    assert b"".join(fed(device, data + client.encode(b"next"), 4096)) == message + b"next"


def test_nothing_to_send():
    client, _ = ends()
    assert client.encode(b"") == b""
    assert client._cipher._out.counter == 0


def sealed(session, piece):
    """One block, of whatever size."""
    length = len(piece).to_bytes(2, "little")
    return length + session.seal(piece, length)


@pytest.mark.parametrize("length", [0, 1, 1024, 1025, 40000, 65535])
def test_blocks_of_any_size_are_accepted(length):
    data, session = os.urandom(70000), Session(NO_KEY, NO_KEY)
    stream = sealed(session, data[:length]) + sealed(session, data[length:][:65535])
    for size in (1000, 1 << 20):
        assert b"".join(fed(wire(), stream, size)) == data[: length + 65535]


def test_blocks_and_messages_do_not_keep_step():
    """A block may hold several messages, a message several blocks."""
    requests = [Request("POST", f"/{number}", body=b"z" * (number * 37)) for number in range(60)]
    plain = b"".join(map(HttpWire().encode, requests))
    rng = random.Random(7)
    session, stream = Session(NO_KEY, NO_KEY), b""
    at = 0
    while at < len(plain):
        piece = plain[at : at + rng.randrange(0, 3000)]
        at += len(piece)
        stream += sealed(session, piece)
    for size in SIZES:
        found = fed(wire(inner=HttpWire()), stream, size)
        assert [(m.path, m.body) for m in found] == [(m.path, m.body) for m in requests]


def test_both_directions_and_prepare():
    client, device = ends()
    for number in range(50):
        question, answer = b"question %d" % number, b"answer %d" % number * (number + 1)
        device.feed(client.encode(question))
        client.feed(device.encode(answer))
        if number % 7 == 0:
            client.prepare()
            device.prepare()
        assert messages(device) == [question]
        assert messages(client) == [answer]


def test_a_block_is_opened_when_it_is_needed():
    """Not earlier: a message before it may bring other keys."""
    client, device = ends(HttpWire)
    device.feed(client.encode(Request("GET", "/1")) + client.encode(Request("GET", "/2")))
    assert device.next_message().path == "/1"
    assert device._cipher._in.counter == 1
    assert device.next_message().path == "/2"
    assert device._cipher._in.counter == 2


# -- attacks


@pytest.mark.parametrize(
    "order",
    [(1,), (0, 2), (0, 0), (0, 1, 0), (0, 1, 1)],
    ids=["late", "lost", "again", "replayed", "twice"],
)
def test_order(order):
    """A block opens once, at its place."""
    client, device = ends()
    sealed = [client.encode(b"%d" % number) for number in range(3)]
    *good, bad = order
    for number in good:
        assert fed(device, sealed[number]) == [b"%d" % number]
    refused(device, sealed[bad])


def test_blocks_of_a_message_swapped():
    client, device = ends(HttpWire)
    data = blocks(client.encode(Request("POST", "/a", body=bytes(5000))))
    assert len(data) == 5
    refused(device, b"".join([data[0], data[2], data[1], *data[3:]]))
    _, device = ends(HttpWire)
    refused(device, b"".join(data[:1] + data[2:]))


def test_nothing_opens_behind_a_hole():
    """Otherwise a message would be put together of pieces that do not belong together."""
    client, device = ends()
    bad = bytearray(client.encode(b"bad"))
    bad[4] ^= 1
    device.feed(bytes(bad) + client.encode(b"good"))
    for _ in range(5):
        with pytest.raises(ValueError):  # noqa: PT011
            device.next_message()
    refused(device, client.encode(b"good"))


def test_own_blocks_come_back():
    client, _ = ends()
    refused(client, client.encode(b"hello"))


def test_every_bit_is_protected():
    client, _ = ends()
    data = client.encode(b"message") + client.encode(b"end" * 30)
    for bit in range(len(data) * 8):
        _, device = ends()
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        device.feed(bytes(changed))
        found = []
        try:
            while (message := device.next_message()) is not None:
                found.append(message)
        except ValueError:
            pass
        else:  # the length is larger now: it waits for more, which will not open
            assert bit // 8 in (0, 1, 25, 26)
            refused(device, bytes(1 << 16))
        assert found == ([] if bit < 25 * 8 else [b"message"])


@pytest.mark.parametrize("clear", [b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_clear_when_it_should_be_sealed(clear):
    _, device = ends(HttpWire)
    refused(device, clear + bytes(1 << 16))


class Counted(bytearray):
    """A buffer that counts the bytes that are copied to it and from it."""

    copied = 0

    def __getitem__(self, index):
        if not isinstance(index, slice):
            return bytearray.__getitem__(self, index)
        piece = Counted(bytearray.__getitem__(self, index))
        Counted.copied += len(piece)
        return piece

    def __iadd__(self, data):
        Counted.copied += len(data)
        return bytearray.__iadd__(self, data)


@pytest.mark.parametrize("piece", [1460, 1 << 16, 1 << 24])
def test_copies(piece, monkeypatch):
    """Nothing is copied again for each piece that arrives, nor for each block in one."""
    receiver = wire()
    receiver._buffer = Counted()
    monkeypatch.setattr(Counted, "copied", 0)
    stream = wire().encode(bytes(1 << 18))
    assert sum(map(len, fed(receiver, stream, piece))) == 1 << 18
    assert Counted.copied < 3.5 * len(stream)
