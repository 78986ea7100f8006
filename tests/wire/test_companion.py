"""Companion frames: cut from a stream, sealed, refused; and the messages in them."""

from __future__ import annotations

import hashlib
import os
import socket
import threading

import pytest

from tests.support.vectors import cases, opack_value
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.errors import ProtocolError
from tinyatv.link import Link
from tinyatv.pairing.accessory import Accessory
from tinyatv.pairing.credentials import Credentials
from tinyatv.pairing.hap import Identity, channel_keys
from tinyatv.pairing.hap_setup import hap_setup, hap_setup_device
from tinyatv.pairing.hap_verify import hap_verify, hap_verify_device
from tinyatv.wire import opack
from tinyatv.wire.companion import (
    AUTH,
    EVENT,
    FIRST_LIMIT,
    LIMIT,
    NO_OP,
    OPACK,
    REPLY,
    REQUEST,
    SETUP_NEXT,
    SETUP_START,
    VERIFY_NEXT,
    VERIFY_START,
    CompanionWire,
)

SECRET = bytes(range(32))
NO_KEY = bytes(32)
SETUP = {case["name"]: case for case in cases("companion", "pair_setup")}
VERIFY = {case["name"]: case for case in cases("companion", "pair_verify")}
PING = {"_i": "_ping", "_t": REQUEST, "_c": {}, "_x": 1}


def ends():
    """The client's wire and the device's, with keys."""
    to_device, to_client = channel_keys(SECRET, "companion")
    client, device = CompanionWire(), CompanionWire()
    client.secure(Session(to_device, to_client, wide=True))
    device.secure(Session(to_client, to_device, wide=True))
    return client, device


def messages(receiver):
    """All that are there."""
    return list(iter(receiver.next_message, None))


def fed(receiver, data, size=1 << 30):
    found = []
    for at in range(0, len(data), size):
        receiver.feed(data[at : at + size])
        found += messages(receiver)
    return found


# -- the vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("case", cases("companion", "frames"), ids=lambda case: case["name"])
def test_frames(case, size):
    data, expect = bytes.fromhex(case["frame_hex"]), case["expect"]
    if expect.get("need_more"):
        wanted = []
    else:
        frames = expect.get("frames") or [[f"{expect['type']:02x}", expect["payload_hex"]]]
        assert data == b"".join(
            bytes.fromhex(kind) + (len(payload) // 2).to_bytes(3, "big") + bytes.fromhex(payload)
            for kind, payload in frames
        )
        # Empty ones, and those of unknown kinds, are skipped.
        known = [(int(kind, 16), bytes.fromhex(payload)) for kind, payload in frames]
        wanted = [(kind, opack.unpack(payload)[0]) for kind, payload in known if kind in AUTH]
    receiver = CompanionWire()
    found = fed(receiver, data, size)
    assert found == wanted
    if "value" in case:
        assert found == [(expect["type"], opack_value(case["value"]))]
    for message in wanted:
        assert CompanionWire().encode(message) in data
    if not expect.get("need_more"):  # what follows is found
        follows = CompanionWire().encode((SETUP_START, {"_pd": b"follows"}))
        assert fed(receiver, follows, size) == [(SETUP_START, {"_pd": b"follows"})]


def check_frame(frame, expect):
    if "frame_hex" in expect:
        assert frame.hex() == expect["frame_hex"]
        return
    assert len(frame) == expect["length"]
    assert frame.hex().startswith(expect.get("starts_hex", ""))
    assert hashlib.sha256(frame).hexdigest() == expect["sha256_hex"]


def test_pair_setup():
    """Both ends with fixed private values: the frames, and the credentials."""
    about = SETUP["srp_and_keys"]
    client = Identity(about["client_id"].encode(), bytes.fromhex(about["a_hex"]))
    device = Identity(about["device_id"].encode(), bytes.fromhex(about["b_hex"]))
    info = opack.pack(opack_value(SETUP["frame_m6"]["info"]))
    name = opack.pack({"name": SETUP["frame_m5"]["display_name"]})
    accessory = Accessory(device, pin=about["password"], info=info)
    asks = hap_setup(client, about["password"], info=name, private=bytes.fromhex(about["a_hex"]))
    answers = hap_setup_device(
        accessory, None, private=bytes.fromhex(about["b_hex"]),
        salt=bytes.fromhex(about["salt_hex"]),
    )  # fmt: skip
    next(answers)
    wire, request = CompanionWire(), next(asks)
    for step, kind in ((1, SETUP_START), (3, SETUP_NEXT), (5, SETUP_NEXT)):
        frame = wire.encode((kind, {"_pd": request, "_pwTy": 1}))
        check_frame(frame, SETUP[f"frame_m{step}"]["expect"])
        reply = answers.send(request)
        # Devices add an item to the first answer that nobody knows.
        content = {"_pd": reply + b"\x1b\1\1", "_pwTy": 1} if step == 1 else {"_pd": reply}
        check_frame(wire.encode((SETUP_NEXT, content)), SETUP[f"frame_m{step + 1}"]["expect"])
        if step < 5:
            request = asks.send(content["_pd"])
    with pytest.raises(StopIteration) as done:
        asks.send(reply)
    assert str(done.value.value) == SETUP["credentials"]["expect"]["credentials"]
    public = (client.public.hex(), device.public.hex())
    expect = about["expect"]
    assert public == (expect["client_public_hex"], expect["device_public_hex"])
    assert reply.client == client.identifier
    assert reply.kept.hex() == expect["K_hex"]


def test_wrong_pin():
    [case] = [c for c in cases("companion", "frames") if c["name"] == "pair_setup_m4_error"]
    assert fed(CompanionWire(), bytes.fromhex(case["frame_hex"])) == [
        (SETUP_NEXT, {"_pd": bytes.fromhex("070102060104")})
    ]


def test_pair_verify():
    """Both ends with fixed ephemeral keys: the frames, and the keys of the session."""
    about, expect = VERIFY["keys"], VERIFY["keys"]["expect"]
    seed = {name: bytes.fromhex(about[f"{name}_seed_hex"]) for name in ("client", "device")}
    client = Identity(about["client_id"].encode(), seed["client"])
    device = Identity(about["device_id"].encode(), seed["device"])
    accessory = Accessory(device)
    accessory.remember(client.identifier, client.public)
    asks = hap_verify(
        Credentials(device.public, client.seed, device.identifier, client.identifier),
        private=bytes.fromhex(about["client_eph_private_hex"]),
    )
    private = bytes.fromhex(about["device_eph_private_hex"])
    answers = hap_verify_device(accessory, private=private)
    next(answers)
    wire, request = CompanionWire(), next(asks)
    first = wire.encode((VERIFY_START, {"_pd": request, "_auTy": 4}))
    check_frame(first, VERIFY["m1"]["expect"])
    reply = answers.send(request)
    check_frame(wire.encode((VERIFY_NEXT, {"_pd": reply})), VERIFY["m2"]["expect"])
    request = asks.send(reply)
    check_frame(wire.encode((VERIFY_NEXT, {"_pd": request})), VERIFY["m3"]["expect"])
    reply = answers.send(request)
    check_frame(wire.encode((VERIFY_NEXT, {"_pd": reply})), VERIFY["m4"]["expect"])
    with pytest.raises(StopIteration) as done:
        asks.send(reply)
    assert done.value.value == reply.secret
    assert reply.secret.hex() == expect["shared_hex"]
    assert [key.hex() for key in channel_keys(reply.secret, "companion")] == [
        expect["client_to_device_key_hex"], expect["device_to_client_key_hex"],
    ]  # fmt: skip


SEALED = cases("companion", "sealed_frames")
SEALED += [case for case in cases("pairing", "frames") if case["channel"] == "companion"]


@pytest.mark.parametrize("case", SEALED, ids=lambda case: case["name"])
def test_sealed_frames(case):
    key, expect = bytes.fromhex(case["key_hex"]), case["expect"]
    sender, receiver = CompanionWire(), CompanionWire()
    seals, opens = Session(key, NO_KEY, wide=True), Session(NO_KEY, key, wide=True)
    for _ in range(case["counter"]):
        seals.seal(b"")
        try:
            opens.open(bytes(16))
        except ValueError:
            pass  # it counts all the same
    sender.secure(seals)
    receiver.secure(opens)
    if "error" in expect:
        receiver.feed(bytes.fromhex(case["frame_hex"]))
        with pytest.raises(ValueError, match="tag"):
            receiver.next_message()
        return
    frame = bytes.fromhex(expect["frame_hex"])
    kind, plain = case.get("frame_type", OPACK), bytes.fromhex(case.get("plain_hex", ""))
    if not plain and "value" in case:
        plain = opack.pack(opack_value(case["value"]))
    if not plain:
        assert sender.encode((kind, None)) == frame
        assert fed(receiver, frame) == []
        assert repr(seals) == "Session(sealed=0, opened=0)"  # nothing was counted
        return
    message = opack.unpack(plain)[0]
    assert sender.encode((kind, message)) == frame
    assert fed(receiver, frame, 7) == [(kind, message)]
    if "value" in case:
        assert message == opack_value(case["value"])


@pytest.mark.parametrize("case", cases("companion", "messages"), ids=lambda case: case["name"])
def test_messages(case):
    """Captured from a client that writes references."""
    message = opack_value(case["expect"]["value"])
    data = bytes.fromhex(case["data_hex"])
    assert opack.unpack(data) == (message, b"")
    if "plain_hex" in case:
        assert opack.pack(message).hex() == case["plain_hex"]
    client, device = ends()
    assert fed(device, client.encode((OPACK, opack.unpack(data)[0]))) == [(OPACK, message)]


def test_first_messages():
    first = {c["name"]: c["expect"]["message_hex"] for c in cases("pairing", "first_message")}
    for name, kind, mark in (("setup", SETUP_START, "_pwTy"), ("verify", VERIFY_START, "_auTy")):
        frame = bytes.fromhex(first[f"companion_{name}"])
        [(found, content)] = fed(CompanionWire(), frame)
        assert (found, list(content)) == (kind, ["_pd", mark])
        assert CompanionWire().encode((found, content)) == frame


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 64, 1 << 20])
def test_stream(size):
    """Frames of all sorts in a row, cut anywhere."""
    client, device = ends()
    sent = [
        (OPACK, {"_x": number, "data": os.urandom(number * 97)}) for number in range(40)
    ]  # fmt: skip
    stream = b""
    for message in sent:
        stream += client.encode((NO_OP, None)) + client.encode(message)
        stream += client.encode((0x20, {"nobody": "knows"})) + b"\x7f\0\0\0"
    assert fed(device, stream, size) == sent


def test_both_directions():
    client, device = ends()
    for number in range(50):
        question, answer = {"_x": number}, {"_x": number, "_c": bytes(number * 30)}
        device.feed(client.encode((OPACK, question)))
        client.feed(device.encode((OPACK, answer)))
        if number % 7 == 0:
            client.prepare()
            device.prepare()
        assert device.next_message() == (OPACK, question)
        assert client.next_message() == (OPACK, answer)


def test_encryption_begins_between_frames():
    """Three frames in one segment; the first one makes the keys for the others."""
    for size in (1, 1 << 20):
        client, device = CompanionWire(), CompanionWire()
        to_device, to_client = channel_keys(SECRET, "companion")
        stream = device.encode((VERIFY_NEXT, {"_pd": b"M4"}))
        device.secure(Session(to_client, to_device, wide=True))
        stream += device.encode((OPACK, {"_x": 1})) + device.encode((OPACK, {"_x": 2}))
        found = []
        for at in range(0, len(stream), size):
            client.feed(stream[at : at + size])
            for message in iter(client.next_message, None):
                found.append(message)
                if message[0] == VERIFY_NEXT:
                    client.secure(Session(to_device, to_client, wide=True))
        assert found == [(VERIFY_NEXT, {"_pd": b"M4"}), (OPACK, {"_x": 1}), (OPACK, {"_x": 2})]


def test_pairing_stays_clear():
    """Who goes on after pairing, and who verifies himself then, are both understood."""
    client, device = ends()
    frame = client.encode((VERIFY_START, {"_pd": b"M1", "_auTy": 4}))
    assert frame == CompanionWire().encode((VERIFY_START, {"_pd": b"M1", "_auTy": 4}))
    stream = client.encode((OPACK, PING)) + frame + client.encode((OPACK, PING))
    assert [kind for kind, _ in fed(device, stream)] == [OPACK, VERIFY_START, OPACK]


def test_small_frames_in_one_piece():
    """Thousands of frames in one segment: each is copied once."""
    frame = CompanionWire().encode((SETUP_START, {"_pd": b""}))
    receiver = CompanionWire()
    assert len(fed(receiver, frame * 50_000)) == 50_000


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [FIRST_LIMIT + 1, LIMIT])
def test_too_large(size):
    """Before anybody has proved who he is; known from the header alone."""
    receiver = CompanionWire()
    receiver.feed(b"\x03" + size.to_bytes(3, "big"))
    with pytest.raises(ValueError, match=f"{size} bytes, more than {FIRST_LIMIT}"):
        receiver.next_message()


def test_large():
    client, device = ends()
    image = os.urandom(LIMIT - 100)
    assert fed(device, client.encode((OPACK, {"image": image})), 1 << 20) == [
        (OPACK, {"image": image})
    ]
    with pytest.raises(ValueError, match="more than"):
        client.encode((OPACK, {"image": bytes(LIMIT)}))
    # What was refused has not been counted.
    assert fed(device, client.encode((OPACK, PING))) == [(OPACK, PING)]


def test_not_encodable():
    client, device = ends()
    for content in ({"_x": object()}, {"_x": -5}):
        with pytest.raises(ValueError, match="OPACK"):
            client.encode((OPACK, content))
    assert fed(device, client.encode((OPACK, PING))) == [(OPACK, PING)]


@pytest.mark.parametrize(
    "order",
    [(1,), (0, 2), (0, 0), (0, 1, 0), (0, 1, 1)],
    ids=["late", "lost", "again", "replayed", "twice"],
)
def test_order(order):
    """A frame opens once, at its place."""
    client, device = ends()
    sealed = [client.encode((OPACK, {"_x": number})) for number in range(3)]
    *good, bad = order
    for number in good:
        assert fed(device, sealed[number]) == [(OPACK, {"_x": number})]
    device.feed(sealed[bad])
    with pytest.raises(ValueError, match="tag"):
        device.next_message()


def test_own_frame_comes_back():
    """Each direction has its key: nobody can send us what we said."""
    client, _ = ends()
    client.feed(client.encode((OPACK, PING)))
    with pytest.raises(ValueError, match="tag"):
        client.next_message()


def test_every_bit_is_protected():
    """The header, too; only of the length, a larger one has to wait for more bytes."""
    client, _ = ends()
    frame = client.encode((OPACK, PING))
    for bit in range(len(frame) * 8):
        changed = bytearray(frame)
        changed[bit // 8] ^= 1 << bit % 8
        _, device = ends()
        device.feed(bytes(changed) + bytes(LIMIT if 8 <= bit < 32 else 0))
        if changed[0] in AUTH:
            with pytest.raises(ValueError, match="OPACK"):
                device.next_message()
            continue
        with pytest.raises(ValueError, match="tag"):
            device.next_message()


@pytest.mark.parametrize("size", range(1, 16))
def test_shorter_than_a_tag(size):
    _, device = ends()
    device.feed(bytes([OPACK]) + size.to_bytes(3, "big") + bytes(size))
    with pytest.raises(ValueError, match="no tag"):
        device.next_message()


def test_clear_when_it_should_be_sealed():
    payload = opack.pack(PING)
    for kind in (7, OPACK, 9):
        _, device = ends()
        device.feed(bytes([kind]) + len(payload).to_bytes(3, "big") + payload)
        with pytest.raises(ValueError, match="tag"):
            device.next_message()


def test_sealed_before_there_are_keys():
    client, _ = ends()
    receiver = CompanionWire()
    receiver.feed(client.encode((OPACK, PING)))
    with pytest.raises(ValueError, match="before there are keys"):
        receiver.next_message()


@pytest.mark.parametrize("content", [[], "text", 5, None, b"data"])
def test_no_dictionary(content):
    payload = opack.pack(content)
    receiver = CompanionWire()
    receiver.feed(bytes([SETUP_START]) + len(payload).to_bytes(3, "big") + payload)
    with pytest.raises(ValueError, match="no dictionary"):
        receiver.next_message()


# -- who waits for what ----------------------------------------------------------------------------


def test_key():
    wire = CompanionWire()
    assert wire.key((OPACK, {"_t": REQUEST, "_x": 5})) == 5
    assert wire.key((OPACK, {"_t": REPLY, "_x": 5, "_em": "no"})) == 5
    assert wire.key((OPACK, {"_t": REPLY, "_x": opack.sized(5, 8)})) == 5
    assert wire.key((OPACK, {"_t": EVENT, "_x": 5})) is None
    assert wire.key((SETUP_START, {"_pd": b""})) == wire.key((SETUP_NEXT, {"_pd": b"", "_x": 1}))
    assert wire.key((VERIFY_START, {"_pd": b""})) == wire.key((VERIFY_NEXT, {}))
    assert wire.key((VERIFY_NEXT, {})) is not None


@pytest.mark.parametrize("number", [None, [], {}, "5", b"5", 5.0])
def test_no_key(number):
    """Whatever a device may put there."""
    assert CompanionWire().key((OPACK, {"_t": REPLY, "_x": number})) is None
    assert CompanionWire().key((OPACK, {"_t": number, "_x": 5})) is None


# -- in a link -------------------------------------------------------------------------------------


def test_replies_find_their_requests():
    """Whatever their order, with an event and an answer to nobody between them."""
    ours, theirs = socket.socketpair()
    client, device = ends()
    events = []
    link = Link(ours, client, events.append, name="tinyatv-companion-test")
    found = {}

    def ask(number):
        found[number] = link.request((OPACK, {**PING, "_x": number}), 5)

    threads = [threading.Thread(target=ask, args=(number,)) for number in (1, 2)]
    try:
        link.start()
        for thread in threads:
            thread.start()
        asked = []
        while len(asked) < 2:
            device.feed(theirs.recv(4096))
            asked += messages(device)
        for number in [99, *(message["_x"] for _, message in reversed(asked))]:
            theirs.sendall(device.encode((OPACK, {"_i": "news", "_t": EVENT, "_x": number})))
            theirs.sendall(device.encode((OPACK, {"_t": REPLY, "_x": number})))
        for thread in threads:
            thread.join(5)
    finally:
        link.close()
        theirs.close()
    assert found == {n: (OPACK, {"_t": REPLY, "_x": n}) for n in (1, 2)}
    assert [message["_x"] for _, message in events if message["_t"] == REPLY] == [99]


BAD = {
    "damaged": b"\x03\0\0\x01\x37",
    "too large": b"\x03\xff\xff\xff",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + bytes(1 << 17),
    "sealed": b"\x08\0\0\x20" + bytes(32),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_frame_ends_the_link(name):
    """A handshake that waits fails with the error, and the peer is told."""
    ours, theirs = socket.socketpair()
    lost = []
    link = Link(ours, CompanionWire(), lambda m: None, lost=lost.append, name="tinyatv-test")
    theirs.settimeout(5)
    sending = threading.Thread(target=theirs.sendall, args=(BAD[name],))
    try:
        sending.start()
        with pytest.raises(ProtocolError) as raised:
            link.request((VERIFY_START, {"_pd": b""}), 5)
        assert isinstance(raised.value.__cause__.__cause__, ValueError)
        assert lost == [link.error]
    finally:
        link.close()
        sending.join(5)
        theirs.close()
