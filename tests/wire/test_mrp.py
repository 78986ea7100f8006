"""MRP frames: cut from a stream, sealed, refused.

The group "tunnel" of the vectors belongs to the data stream, and is not covered here.
"""

from __future__ import annotations

import os
import socket
import threading

import pytest

from tests.support.mrp_trees import frames
from tests.support.vectors import cases
from tinyatv import proto
from tinyatv.crypto import hkdf
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.errors import ProtocolError
from tinyatv.link import Link
from tinyatv.pairing.hap import channel_keys
from tinyatv.wire import varint
from tinyatv.wire.mrp import FIRST_LIMIT, LIMIT, MrpWire

SECRET = bytes(range(32))
NO_KEY = bytes(32)


def wire(seals=None, opens=None):
    """A wire whose messages are bytes, sealed if there are keys."""
    made = MrpWire(bytes, bytes, lambda message: None)
    if seals or opens:
        made.secure(Session(seals or NO_KEY, opens or NO_KEY))
    return made


def ends():
    """The client's wire and the device's, with keys."""
    to_device, to_client = channel_keys(SECRET, "mrp")
    return wire(to_device, to_client), wire(to_client, to_device)


def mrp():
    """A wire as the backend has it."""
    return MrpWire(proto.dumps, proto.parse, proto.key)


def messages(receiver):
    """All that are there."""
    found = []
    while True:
        message = receiver.next_message()
        if message is None:
            return found
        found.append(message)


def fed(receiver, data, size):
    found = []
    for at in range(0, len(data), size):
        receiver.feed(data[at : at + size])
        found += messages(receiver)
    return found


# -- vectors


@pytest.mark.parametrize("case", cases("mrp", "framing"), ids=lambda case: case["name"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_framing(case, size):
    data, expect = bytes.fromhex(case["stream_hex"]), case["expect"]
    receiver = wire()
    if "error" in expect:
        with pytest.raises(ValueError, match=f"more than {FIRST_LIMIT}"):
            fed(receiver, data, size)
        return
    whole = [bytes.fromhex(message) for message in expect["messages_hex"]]
    assert fed(receiver, data, size) == whole
    # What is left is the beginning of a frame, and goes on where it was cut.
    left = bytes.fromhex(expect["left_hex"])
    assert data.endswith(left)
    if left:
        rest = b"" if varint.decode(left) else b"\x01"
        length, start = varint.decode(left + rest)
        rest += bytes(start + length - len(left + rest))
        assert fed(receiver, rest, size) == [(left + rest)[start:]]
    assert fed(receiver, b"\x02ok", size) == [b"ok"]


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_messages(size):
    """All messages of the vectors as one stream; those that are bare get their length here."""
    stream = b"".join(
        bytes.fromhex(case["frame_hex"])
        if "frame_hex" in case
        else varint.encode(len(case["message_hex"]) // 2) + bytes.fromhex(case["message_hex"])
        for case in cases("mrp", "messages")
    )
    found = fed(mrp(), stream, size)
    assert [message.kind for message in found] == [kind for *_, kind in frames()]
    assert [proto.dumps(message) for message in found] == [data for _, data, *_ in frames()]
    sender = mrp()
    assert b"".join(map(sender.encode, found)) == stream


SEALED = [case for case in cases("mrp", "encryption") if "key_hex" in case]
SEALED += [case for case in cases("pairing", "frames") if case["channel"] == "mrp"]


def test_keys():
    [case] = [case for case in cases("mrp", "encryption") if "key_hex" not in case]
    shared, expect = bytes.fromhex(case["shared_hex"]), case["expect"]
    write, read = (bytes.fromhex(expect[name]) for name in ("write_key_hex", "read_key_hex"))
    assert channel_keys(shared, "mrp") == (write, read)
    assert hkdf.derive(shared, "MediaRemote-Salt", "MediaRemote-Write-Encryption-Key") == write
    assert hkdf.derive(shared, "MediaRemote-Salt", "MediaRemote-Read-Encryption-Key") == read


@pytest.mark.parametrize("case", SEALED, ids=lambda case: case["name"])
def test_sealed(case):
    key, counter, expect = bytes.fromhex(case["key_hex"]), case["counter"], case["expect"]
    frame = bytes.fromhex(case.get("frame_hex") or expect["frame_hex"])
    sender, receiver = wire(seals=key), wire(opens=key)
    for number in range(counter):  # the frames before it
        receiver.feed(sender.encode(b"%d" % number))
        assert receiver.next_message() == b"%d" % number
    receiver.feed(frame)
    if "error" in expect:
        with pytest.raises(ValueError):  # noqa: PT011, the words are those of the cipher
            receiver.next_message()
        return
    plain = bytes.fromhex(case.get("plain_hex") or expect["plain_hex"])
    assert sender.encode(plain) == frame
    assert receiver.next_message() == plain
    assert receiver.next_message() is None
    assert proto.parse(plain).kind == plain[1]


# -- in clear


def test_length_arrives_in_pieces():
    """A segment may end inside the length: that is no error."""
    data = mrp().encode(proto.build(proto.SET_ARTWORK, jpegData=bytes(20000)))
    assert data[0] & data[1] & 128  # three bytes
    receiver = mrp()
    for at in range(3):
        receiver.feed(data[at : at + 1])
        assert receiver.next_message() is None
    receiver.feed(data[3:])
    assert receiver.next_message().kind == proto.SET_ARTWORK
    assert receiver.next_message() is None


def test_nothing():
    receiver = mrp()
    assert receiver.next_message() is None
    receiver.feed(b"")
    assert receiver.next_message() is None
    assert receiver.pending_replies() == b""
    receiver.prepare()  # nothing to prepare without a cipher


def test_empty_frame():
    receiver = mrp()
    receiver.feed(b"\0\x80\0")  # once more with a length of two bytes
    assert [message.kind for message in messages(receiver)] == [proto.UNKNOWN] * 2


def test_after_a_bad_frame_comes_a_good_one():
    """Whoever wants to go on can: a frame that is no message has an end."""
    receiver = mrp()
    receiver.feed(b"\x02\xff\xff" + b"\x02\x08\x2a")
    with pytest.raises(ValueError, match="not an MRP message"):
        receiver.next_message()
    assert receiver.next_message().kind == proto.GENERIC


def test_key():
    assert mrp().key(proto.build(proto.GENERIC, "K")) == "K"
    assert mrp().key(proto.build(proto.GENERIC)) is None


# -- limits


@pytest.mark.parametrize("secured", [False, True])
def test_limit(secured):
    """What is too large is refused at its length, before anything of it is waited for."""
    receiver = wire(opens=NO_KEY) if secured else wire()
    limit = LIMIT if secured else FIRST_LIMIT
    assert receiver.limit == limit
    receiver.feed(varint.encode(limit))
    assert receiver.next_message() is None
    for length in (limit + 1, 1 << 31, 1 << 63, (1 << 70) - 1):
        receiver = wire(opens=NO_KEY) if secured else wire()
        receiver.feed(varint.encode(length))
        with pytest.raises(ValueError, match=f"^a frame of {length} bytes, more than {limit}$"):
            receiver.next_message()


def test_largest_frames():
    message = bytes(FIRST_LIMIT)
    assert fed(wire(), wire().encode(message), 1 << 20) == [message]
    client, device = ends()
    message = os.urandom(LIMIT - 16)
    assert fed(client, device.encode(message), 1 << 16) == [message]


def test_endless_length():
    receiver = wire()
    receiver.feed(b"\xff" * 9)
    assert receiver.next_message() is None
    receiver.feed(b"\xff" * 60 * 1024)
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        receiver.next_message()


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


@pytest.mark.parametrize("piece", [1 << 16, 1 << 12])
def test_large_frame_in_pieces(piece, monkeypatch):
    """Nothing is copied again for each piece that arrives, whatever came before the frame."""
    receiver = wire()
    receiver.limit = LIMIT
    receiver._buffer = Counted()
    monkeypatch.setattr(Counted, "copied", 0)
    stream = (b"\x02ok" + wire().encode(bytes(LIMIT)) + b"\x02ok") * 2
    assert [len(message) for message in fed(receiver, stream, piece)] == [2, LIMIT, 2] * 2
    assert Counted.copied < 2.1 * len(stream)


def test_small_frames_in_one_piece(monkeypatch):
    """Thousands of frames in one segment: each is copied once."""
    receiver = wire()
    receiver._buffer = Counted()
    monkeypatch.setattr(Counted, "copied", 0)
    stream = b"\x02ok" * 50_000
    assert fed(receiver, stream, len(stream)) == [b"ok"] * 50_000
    assert Counted.copied < 2.1 * len(stream)


# -- sealed


def test_both_directions():
    client, device = ends()
    for number in range(50):
        question, answer = b"question %d" % number, b"answer %d" % number * number
        device.feed(client.encode(question))
        client.feed(device.encode(answer))
        if number % 7 == 0:
            client.prepare()
            device.prepare()
        assert (device.next_message(), client.next_message()) == (question, answer)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 63, 64, 127, 111, 112, 1000, 16383, 70000])
def test_sizes(size):
    client, device = ends()
    message = os.urandom(size)
    frame = client.encode(message)
    length, start = varint.decode(frame)
    assert (length, start + length) == (size + 16, len(frame))
    assert fed(device, frame + client.encode(b"next"), 4096) == [message, b"next"]


def test_encryption_begins_between_frames():
    """Three frames in one segment; the first one makes the keys for the others."""
    for size in (1, 1 << 20):
        client, device = wire(), wire()
        to_device, to_client = channel_keys(SECRET, "mrp")
        stream = device.encode(b"M4")
        device.secure(Session(to_client, to_device))
        stream += device.encode(b"first") + device.encode(b"second")
        found = []
        for at in range(0, len(stream), size):
            client.feed(stream[at : at + size])
            while True:
                message = client.next_message()
                if message is None:
                    break
                found.append(message)
                if message == b"M4":
                    client.secure(Session(to_device, to_client))
        assert found == [b"M4", b"first", b"second"]


@pytest.mark.parametrize(
    "order",
    [(1,), (0, 2), (0, 0), (0, 1, 0), (0, 1, 1), (1, 0)],
    ids=["late", "lost", "again", "replayed", "twice", "swapped"],
)
def test_order(order):
    """A frame opens once, at its place."""
    client, device = ends()
    sealed = [client.encode(b"%d" % number) for number in range(3)]
    *good, bad = order if order != (1, 0) else (1,)
    for number in good:
        device.feed(sealed[number])
        assert device.next_message() == b"%d" % number
    device.feed(sealed[bad])
    with pytest.raises(ValueError):  # noqa: PT011, the words are those of the cipher
        device.next_message()


def test_own_frame_comes_back():
    """Each direction has its key: nobody can send us what we said."""
    client, _ = ends()
    client.feed(client.encode(b"hello"))
    with pytest.raises(ValueError):  # noqa: PT011
        client.next_message()


def test_every_bit_is_protected():
    client, _ = ends()
    frame = client.encode(b"message")
    for bit in range(8, len(frame) * 8):
        _, device = ends()
        device.feed(
            frame[: bit // 8] + bytes([frame[bit // 8] ^ 1 << bit % 8]) + frame[bit // 8 + 1 :]
        )
        with pytest.raises(ValueError):  # noqa: PT011
            device.next_message()


@pytest.mark.parametrize("size", range(16))
def test_shorter_than_a_tag(size):
    _, device = ends()
    device.feed(varint.encode(size) + bytes(size))
    with pytest.raises(ValueError):  # noqa: PT011
        device.next_message()


def test_clear_when_it_should_be_sealed():
    _, device = ends()
    device.feed(mrp().encode(proto.build(proto.GENERIC)))
    with pytest.raises(ValueError):  # noqa: PT011
        device.next_message()


# -- in a link


BAD = {
    "no message": b"\x02\xff\xff",
    "too large": varint.encode(FIRST_LIMIT + 1),
    "endless length": b"\xff" * 11,
    "another protocol": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + bytes(100),
    "not sealed": mrp().encode(proto.build(proto.GENERIC)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_frame_ends_the_link(name):
    """With the error, for whoever waits and whoever comes later; and the thread ends."""
    ours, theirs = socket.socketpair()
    lost = []
    ended = threading.Event()
    receiver = mrp()
    if name == "not sealed":
        receiver.secure(Session(NO_KEY, NO_KEY))

    def gone(error):
        lost.append(error)
        ended.set()

    link = Link(ours, receiver, lambda message: None, lost=gone, name="tinyatv-mrp-test")
    try:
        link.start()
        theirs.sendall(BAD[name])
        assert ended.wait(5)
        assert isinstance(link.error, ProtocolError)
        assert lost == [link.error]
        assert isinstance(link.error.__cause__, ValueError)
        with pytest.raises(ProtocolError):
            link.request(proto.build(proto.GENERIC, proto.new_id()), 5)
        theirs.settimeout(5)
        while theirs.recv(4096):  # up to the end: the peer is told
            pass
    finally:
        link.close()
        theirs.close()
    assert not [thread for thread in threading.enumerate() if thread.name == link.name]


def test_request_fails_with_the_link():
    """A request that waits when the bad frame arrives, and a handshake that reads by itself."""
    for started in (True, False):
        ours, theirs = socket.socketpair()
        link = Link(ours, mrp(), lambda message: None, name="tinyatv-mrp-test")
        peer = threading.Thread(target=answer, args=(theirs, b"\x01\xff"))
        try:
            if started:
                link.start()
            peer.start()
            with pytest.raises(ProtocolError, match=r"^tinyatv-mrp-test: not an MRP message"):
                link.request(proto.build(proto.GENERIC, "K"), 5)
            with pytest.raises(ProtocolError):
                link.send(proto.build(proto.GENERIC))
        finally:
            link.close()
            theirs.close()
            peer.join(5)


def answer(sock, data):
    sock.settimeout(5)
    sock.recv(4096)
    sock.sendall(data)
