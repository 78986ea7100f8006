"""The data stream: frames, replies, and the messages in them."""

from __future__ import annotations

import os
import socket
import struct
import threading

import pytest

from tests.support.vectors import cases
from tinyatv import proto
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.errors import ProtocolError
from tinyatv.link import Link
from tinyatv.pairing.hap import channel_keys
from tinyatv.wire import plist, varint
from tinyatv.wire.datastream import LIMIT, DataStreamWire, property_list
from tinyatv.wire.hap import HapWire

SECRET = bytes(range(32))
CASES = {case["name"]: case for case in cases("airplay", "data_stream")}
TUNNEL = {case["name"]: case for case in cases("mrp", "tunnel")}
SIZES = [1, 2, 3, 31, 32, 33, 1 << 20]


def wire(device=False, sequence=None):
    """A wire whose messages are bytes."""
    return DataStreamWire(bytes, bytes, lambda message: None, device, sequence)


def mrp(device=False, sequence=None):
    """A wire as the backend has it."""
    return DataStreamWire(proto.dumps, proto.parse, proto.key, device, sequence)


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


def frame(payload=b"", kind=b"sync", command=b"comm", sequence=7):
    head = struct.pack(">I12s4sQI", 32 + len(payload), kind, command, sequence, 0)
    return head + payload


def data_frame(data, sequence=7):
    return frame(plist.dumps({"params": {"data": data}}), sequence=sequence)


def number(case):
    return case["sequence"] if "sequence" in case else int(case["sequence_int_hex"], 16)


def hexed(case, *names):
    for name in names:
        if name in case:
            return bytes.fromhex(case[name])
        if name in case["expect"]:
            return bytes.fromhex(case["expect"][name])
    raise KeyError(names)


# -- vectors


def test_client_message():
    case = CASES["client_message"]
    data = wire(sequence=number(case)).encode(hexed(case, "protobuf_hex"))
    assert data == hexed(case, "header_hex") + hexed(case, "plist_hex")
    sealed = HapWire(wire(sequence=number(case)))
    sealed.secure(Session(hexed(case, "key_hex"), bytes(32)))
    frames = hexed(case, "frames_hex")
    assert sealed.encode(hexed(case, "protobuf_hex")) == frames
    device = HapWire(mrp(device=True))
    device.secure(Session(bytes(32), hexed(case, "key_hex")))
    [message] = fed(device, frames, 5)
    assert message.kind == proto.SET_CONNECTION_STATE


@pytest.mark.parametrize("size", SIZES)
def test_device_reply(size):
    """The device answers with an empty dictionary; the client hears nothing in it."""
    device, case = wire(device=True), CASES["device_reply"]
    assert len(fed(device, hexed(CASES["client_message"], "header_hex")
                   + hexed(CASES["client_message"], "plist_hex"), size)) == 1  # fmt: skip
    reply = device.pending_replies()
    assert reply == hexed(case, "message_hex")
    assert device.pending_replies() == b""
    client = wire()
    assert fed(client, reply, size) == []
    assert client.pending_replies() == b""  # replies are not replied to


@pytest.mark.parametrize("size", SIZES)
def test_device_message_in_two_frames(size):
    case, answer = CASES["device_message_two_frames"], CASES["client_reply"]
    client = HapWire(wire())
    client.secure(Session(hexed(answer, "key_hex"), hexed(case, "key_hex")))
    assert fed(client, hexed(case, "frames_hex"), size) == [hexed(case, "data_hex")]
    assert client.pending_replies() == hexed(answer, "frames_hex")
    clear = wire()
    assert fed(clear, hexed(case, "header_hex") + hexed(case, "plist_hex"), size) == [b"\x08\x78"]
    assert clear.pending_replies() == hexed(answer, "message_hex")
    found = fed(mrp(), hexed(case, "header_hex") + hexed(case, "plist_hex"), size)
    assert [message.kind for message in found] == [proto.CONFIGURE_CONNECTION]


@pytest.mark.parametrize(("ping", "pong"), [("ping", "pong"), ("captured_ping", "captured_pong")])
@pytest.mark.parametrize("size", SIZES)
def test_ping(ping, pong, size):
    client = wire()
    data, answer = (hexed(CASES[name], "message_hex") for name in (ping, pong))
    assert fed(client, data, size) == []
    assert client.pending_replies() == answer
    assert client.pending_replies() == b""


@pytest.mark.parametrize("name", ["size_too_small", "size_too_large", "incomplete"])
@pytest.mark.parametrize("size", SIZES)
def test_sizes_of_frames(name, size):
    case = CASES[name]
    data = hexed(case, "message_hex")
    if "need_more" in case["expect"]:
        receiver = wire()
        assert fed(receiver, data, size) == []
        assert receiver.pending_replies() == b""
        assert fed(receiver, b"\0") == []
        assert receiver.pending_replies() == hexed(CASES["pong"], "message_hex")
        return
    with pytest.raises(ValueError, match="a frame of "):
        fed(wire(), data, size)


def test_tunnel_group():
    """The data stream as the MRP sheet tells it."""
    case = TUNNEL["T1"]
    data = hexed(case, "frame_hex")
    prefixed = hexed(case, "message_frames_hex")
    assert wire(sequence=number(case)).encode(prefixed[1:]) == data
    device, client = wire(device=True), wire()
    assert fed(device, data) == fed(client, data) == [prefixed[1:]]
    assert client.pending_replies() == hexed(TUNNEL["T2"], "frame_hex")
    with pytest.raises(ValueError, match="a frame of 31 bytes"):
        fed(client, hexed(TUNNEL["size_below_header"], "frame_hex"))


@pytest.mark.parametrize("name", ["no_length_prefix", "two_prefixed"])
@pytest.mark.parametrize("size", SIZES)
def test_payloads(name, size):
    case = TUNNEL[name]
    whole = [bytes.fromhex(message) for message in case["expect"]["messages_hex"]]
    receiver = wire()
    assert fed(receiver, data_frame(hexed(case, "data_hex")), size) == whole
    assert receiver.pending_replies() == frame(kind=b"rply", command=b"")
    assert [m.kind for m in fed(mrp(), data_frame(hexed(case, "data_hex")))] == [
        m[1] for m in whole
    ]


@pytest.mark.parametrize("case", cases("airplay", "varint"), ids=lambda case: case["name"])
def test_varint(case):
    data = bytes.fromhex(case["expect"]["data_hex"])
    assert varint.encode(case["value"]) == data
    assert varint.decode(data) == (case["value"], len(data))
    # 9 is not the first byte of a message without a length
    message = b"\x09" * case["value"]
    assert fed(wire(), data_frame(data + message)) == [message]


# -- ends


def test_commands_and_sequences():
    client, device = wire(), wire(device=True)
    sent = [client.encode(b"\x01") for _ in range(5)]
    sequences = {data[20:28] for data in sent}
    assert len(sequences) == 1  # one for all
    assert 1 << 32 <= int.from_bytes(sequences.pop(), "big") < 2 << 32
    assert wire().encode(b"\x01")[20:28] != sent[0][20:28]
    assert {data[4:20] for data in sent} == {b"sync" + bytes(8) + b"comm"}
    sent = [device.encode(b"\x01") for _ in range(5)]
    assert len({data[20:28] for data in sent}) == 5  # each has its own
    assert {data[4:20] for data in sent} == {b"sync" + bytes(8) + b"cmnd"}
    assert {data[28:32] for data in sent} == {bytes(4)}
    assert wire(True, 5).encode(b"")[20:28] == (5).to_bytes(8, "big")
    assert client.key(b"x") is None


@pytest.mark.parametrize("size", [1, 100, 4096, 1 << 20])
def test_both_directions(size):
    client, device = mrp(), mrp(device=True)
    asked = proto.build(proto.DEVICE_INFO, "K")
    [found] = fed(device, client.encode(asked), size)
    assert (found.kind, found.identifier) == (proto.DEVICE_INFO, "K")
    answer = device.pending_replies() + device.encode(found)
    [found] = fed(client, answer, size)
    assert proto.dumps(found) == proto.dumps(asked)
    reply = client.pending_replies()
    assert len(reply) == 32
    assert fed(device, reply, size) == []
    assert device.pending_replies() == b""


def test_every_cut():
    data = data_frame(b"\x02ok\x03yes", 1) + frame(sequence=2) + data_frame(b"\x08\x78", 3)
    expect = b"".join(frame(kind=b"rply", command=b"", sequence=n) for n in (1, 2, 3))
    for cut in range(len(data) + 1):
        receiver = wire()
        receiver.feed(data[:cut])
        found = messages(receiver)
        replies = receiver.pending_replies()
        receiver.feed(data[cut:] + b"\0\0")
        assert found + messages(receiver) == [b"ok", b"yes", b"\x08\x78"]
        assert replies + receiver.pending_replies() == expect


def test_unused():
    receiver = wire()
    receiver.feed(frame() + b"\0\0\0")
    assert receiver.next_message() is None
    assert receiver.unused() == b"\0\0\0"
    assert receiver.unused() == b""
    assert fed(receiver, data_frame(b"\x02ok")) == [b"ok"]


# -- payloads


@pytest.mark.parametrize(
    "content",
    [{}, [], "text", 5, {"params": {}}, {"params": []}, {"params": {"data": "text"}},
     {"params": {"data": b""}}, {"data": b"\x02ok"}, {"params": {"data": []}}],
)  # fmt: skip
def test_other_property_lists(content):
    """They mean nothing to us, and are replied to all the same."""
    receiver = wire()
    assert fed(receiver, frame(plist.dumps(content))) == []
    assert receiver.pending_replies() == frame(kind=b"rply", command=b"")
    assert fed(receiver, data_frame(b"\x02ok")) == [b"ok"]


def test_other_kinds():
    """A frame of a kind that nobody knows is neither read nor answered."""
    receiver = wire()
    assert fed(receiver, frame(b"nonsense", kind=b"what") + frame(b"nonsense", kind=b"rply")) == []
    assert receiver.pending_replies() == b""


def test_large_and_small_messages_in_one_frame():
    whole = [b"\x09" * size for size in (1, 127, 128, 16384, 70000, 3)] + [b""]
    data = b"".join(varint.encode(len(message)) + message for message in whole)
    assert fed(wire(), data_frame(data)) == whole
    # The check for a message without a length comes with each: here it takes all the rest.
    assert fed(wire(), data_frame(b"\x02ok\x08\x78\x02ok")) == [b"ok", b"\x08\x78\x02ok"]


@pytest.mark.parametrize(
    "data", [b"\x05four", b"\x80", b"\xff" * 11, b"\x02ok\x03no", b"\x02ok\x81"]
)
def test_damaged_data(data):
    receiver = wire()
    receiver.feed(data_frame(data))
    with pytest.raises(ValueError, match=r"ends inside a message|longer than 10 bytes"):
        messages(receiver)
    # Whoever wants to go on can: the frame has an end.
    assert fed(receiver, data_frame(b"\x02ok")) == [b"ok"]


@pytest.mark.parametrize("payload", [b"nope", b"bplist00", bytes(60), b"<?xml version='1.0'?><a>"])
def test_no_property_list(payload):
    receiver = wire()
    receiver.feed(frame(payload))
    with pytest.raises(ValueError, match="not a property list"):
        receiver.next_message()
    assert fed(receiver, data_frame(b"\x02ok")) == [b"ok"]


def test_no_message():
    receiver = mrp()
    receiver.feed(data_frame(b"\x02\xff\xff\x02\x08\x2a"))
    with pytest.raises(ValueError, match="not an MRP message"):
        receiver.next_message()
    assert receiver.next_message().kind == proto.GENERIC


# -- limits


@pytest.mark.parametrize("size", [0, 1, 31, LIMIT + 1, 1 << 31, (1 << 32) - 1])
def test_impossible_sizes(size):
    """Refused at the first four bytes."""
    receiver = wire()
    receiver.feed(size.to_bytes(4, "big")[:3])
    assert receiver.next_message() is None
    receiver.feed(size.to_bytes(4, "big")[3:])
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^a frame of {size} bytes; 32 to {LIMIT} are"):
            receiver.next_message()


def test_largest_frame():
    message = os.urandom(LIMIT - 32 - 200)
    data = wire().encode(message)
    assert LIMIT - 200 < len(data) <= LIMIT
    assert fed(wire(), data, 1 << 16) == [message]
    receiver = wire()
    receiver.feed(LIMIT.to_bytes(4, "big"))
    assert receiver.next_message() is None


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


@pytest.mark.parametrize("piece", [1024, 1 << 16, 1 << 24])
@pytest.mark.parametrize(
    "data",
    [wire().encode(bytes(1 << 20)) * 2, frame() * 30_000],
    ids=["two large frames", "30000 small ones"],  # not the bytes, which differ in each process
)
def test_copies(data, piece, monkeypatch):
    """Nothing is copied again for each piece that arrives."""
    receiver = wire()
    receiver._buffer = Counted()
    monkeypatch.setattr(Counted, "copied", 0)
    fed(receiver, data, piece)
    assert Counted.copied < 3.3 * len(data)


# -- in a link


def linked(sock, device, received, lost):
    keys = channel_keys(SECRET, "datastream", 5)
    made = HapWire(mrp(device))
    made.secure(Session(*(reversed(keys) if device else keys)))
    return Link(sock, made, received, lost=lost, name=f"tinyatv-test-{device}")


def test_replies_leave_in_order():
    """Both ends talk at once from several threads, and owe replies: every block opens."""
    count, talkers = 60, 3
    heard, gone, done = ([], []), [], threading.Event()

    def received(device):
        def add(message):
            heard[device].append(message)
            if all(len(side) == count * talkers for side in heard):
                done.set()

        return add

    def lost(error):
        gone.append(error)
        if error is not None:
            done.set()

    socks = socket.socketpair()
    links = [linked(sock, bool(n), received(n), lost) for n, sock in enumerate(socks)]
    threads = []
    try:
        for link in links:
            link.start()
        for link in links * talkers:
            talk = [link.send] * count
            threads.append(
                threading.Thread(
                    target=lambda talk=talk: [send(proto.build(proto.GENERIC)) for send in talk]
                )
            )
            threads[-1].start()
        assert done.wait(30)
        assert gone == []
    finally:
        for thread in threads:
            thread.join(30)
        for link in links:
            link.close()
    assert [len(side) for side in heard] == [count * talkers] * 2


class Heard(DataStreamWire):
    """A wire that keeps what it is fed."""

    heard = b""

    def feed(self, data):
        self.heard += data
        super().feed(data)


def test_request_and_ping():
    """A request finds its answer between pings and other messages, before and after start()."""
    ours, theirs = socket.socketpair()
    inner = Heard(proto.dumps, proto.parse, proto.key, True)
    device = HapWire(inner)
    device.secure(Session(*reversed(channel_keys(SECRET, "datastream", 5))))
    seen = []

    def answer():
        theirs.settimeout(10)
        for _ in range(2):
            while (message := device.next_message()) is None:
                device.feed(theirs.recv(4096))
            data = device.pending_replies() + device._seal(frame(command=b"cmnd", sequence=9))
            data += device.encode(proto.build(proto.SET_STATE)) + device.encode(message)
            theirs.sendall(data)
        while inner.heard.count(b"rply") < 2 * 3:  # to two messages and a ping, twice
            device.feed(theirs.recv(4096))
            assert device.next_message() is None

    link = linked(ours, False, seen.append, lambda error: None)
    peer = threading.Thread(target=answer)
    try:
        peer.start()
        for started in (False, True):
            if started:
                link.start()
            found = link.request(proto.build(proto.DEVICE_INFO, f"K{started}"), 10)
            assert found.identifier == f"K{started}"
        peer.join(10)
        assert not peer.is_alive()
        assert [message.kind for message in seen] == [proto.SET_STATE] * 2
    finally:
        link.close()
        theirs.close()
        peer.join(10)


def test_bad_block_ends_the_link():
    ours, theirs = socket.socketpair()
    ended = threading.Event()
    link = linked(ours, False, lambda message: None, lambda error: ended.set())
    try:
        link.start()
        theirs.sendall(b"\x05\0" + bytes(21))
        assert ended.wait(5)
        assert isinstance(link.error, ProtocolError)
    finally:
        link.close()
        theirs.close()


# -- property lists of the usual shape -------------------------------------------------------------

WIDTHS = [0, 1, 14, 15, 16, 180, 181, 182, 183, 184, 255, 256, 65470, 65480, 65535, 65536, 1 << 20]


@pytest.mark.parametrize("size", WIDTHS)
def test_usual_property_list(size):
    """Spliced together, it is byte by byte what Python's own plistlib writes."""
    data = os.urandom(size)
    written = plist.dumps({"params": {"data": data}})
    assert property_list(data) == written
    if size:  # the data of an empty one is no message
        prefixed = varint.encode(size) + data
        assert fed(wire(), frame(plist.dumps({"params": {"data": prefixed}}))) == [data]


@pytest.mark.parametrize("message", [b"hello", bytes(range(40)), bytes(300)], ids=len)
def test_nearly_usual_property_lists(message):
    """One bit changed anywhere: read as it stands or refused, exactly as by plistlib."""
    prefixed = varint.encode(len(message)) + message
    whole = property_list(prefixed)
    for at in range(len(whole)):
        for bit in range(8):
            payload = bytearray(whole)
            payload[at] ^= 1 << bit
            payload = bytes(payload)
            try:
                content = plist.loads(payload)
            except ValueError:
                with pytest.raises(ValueError, match="property list"):
                    fed(wire(), frame(payload))
                continue
            params = content.get("params") if isinstance(content, dict) else None
            data = params.get("data") if isinstance(params, dict) else None
            start = len(prefixed) - len(message)
            usual = isinstance(data, bytes) and data[:start] == prefixed[:start]
            usual = usual and len(data) == len(prefixed)
            try:
                found = fed(wire(), frame(payload))
            except ValueError:
                assert not usual
            else:
                assert found == [data[start:]] if usual else True
    for cut in range(len(whole)):
        with pytest.raises(ValueError, match="property list"):
            fed(wire(), frame(whole[:cut])) if cut else fed(wire(), frame(b"b"))


def test_replies_are_collected_while_frames_arrive():
    """One thread reads, another one sends and takes pending replies along: no reply is lost."""
    receiver, taken, done = wire(), [], threading.Event()

    def send():
        while not done.is_set():
            taken.append(receiver.pending_replies())
        taken.append(receiver.pending_replies())

    sender = threading.Thread(target=send)
    sender.start()
    for sequence in range(3000):
        assert fed(receiver, data_frame(b"\x01m", sequence)) == [b"m"]
    done.set()
    sender.join(20)
    expect = [frame(kind=b"rply", command=b"", sequence=n) for n in range(3000)]
    assert b"".join(taken) == b"".join(expect)
