"""ChaCha20-Poly1305: one message, and the two directions of a connection."""

from __future__ import annotations

import os
import random
import threading

import pytest

from tests.crypto.conftest import missing, wycheproof
from tests.support.vectors import cases
from tinyatv import crypto
from tinyatv.crypto import chacha20poly1305
from tinyatv.crypto.chacha20poly1305 import Session

KEY = bytes(range(32))
OTHER = bytes(range(32, 64))
SUNSCREEN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)

# RFC 8439
POLY1305 = [  # key, message, tag
    (  # section 2.5.2
        "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
        b"Cryptographic Forum Research Group".hex(),
        "a8061dc1305136c6c22b8baf0c0127a9",
    ),
    # section A.3, 1 to 11
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000",
        "00000000000000000000000000000000",
    ),
    (
        "0000000000000000000000000000000036e5f6b5c5e06070f0efca96227a863e",
        "416e79207375626d697373696f6e20746f20746865204945544620696e74656e646564206279207468652043"
        "6f6e7472696275746f7220666f72207075626c69636174696f6e20617320616c6c206f722070617274206f66"
        "20616e204945544620496e7465726e65742d4472616674206f722052464320616e6420616e79207374617465"
        "6d656e74206d6164652077697468696e2074686520636f6e74657874206f6620616e20494554462061637469"
        "7669747920697320636f6e7369646572656420616e20224945544620436f6e747269627574696f6e222e2053"
        "7563682073746174656d656e747320696e636c756465206f72616c2073746174656d656e747320696e204945"
        "54462073657373696f6e732c2061732077656c6c206173207772697474656e20616e6420656c656374726f6e"
        "696320636f6d6d756e69636174696f6e73206d61646520617420616e792074696d65206f7220706c6163652c"
        "207768696368206172652061646472657373656420746f",
        "36e5f6b5c5e06070f0efca96227a863e",
    ),
    (
        "36e5f6b5c5e06070f0efca96227a863e00000000000000000000000000000000",
        "416e79207375626d697373696f6e20746f20746865204945544620696e74656e646564206279207468652043"
        "6f6e7472696275746f7220666f72207075626c69636174696f6e20617320616c6c206f722070617274206f66"
        "20616e204945544620496e7465726e65742d4472616674206f722052464320616e6420616e79207374617465"
        "6d656e74206d6164652077697468696e2074686520636f6e74657874206f6620616e20494554462061637469"
        "7669747920697320636f6e7369646572656420616e20224945544620436f6e747269627574696f6e222e2053"
        "7563682073746174656d656e747320696e636c756465206f72616c2073746174656d656e747320696e204945"
        "54462073657373696f6e732c2061732077656c6c206173207772697474656e20616e6420656c656374726f6e"
        "696320636f6d6d756e69636174696f6e73206d61646520617420616e792074696d65206f7220706c6163652c"
        "207768696368206172652061646472657373656420746f",
        "f3477e7cd95417af89a6b8794c310cf0",
    ),
    (
        "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
        "2754776173206272696c6c69672c20616e642074686520736c6974687920746f7665730a4469642067797265"
        "20616e642067696d626c6520696e2074686520776162653a0a416c6c206d696d737920776572652074686520"
        "626f726f676f7665732c0a416e6420746865206d6f6d65207261746873206f757467726162652e",
        "4541669a7eaaee61e708dc7cbcc5eb62",
    ),
    (
        "0200000000000000000000000000000000000000000000000000000000000000",
        "ffffffffffffffffffffffffffffffff",
        "03000000000000000000000000000000",
    ),
    (
        "02000000000000000000000000000000ffffffffffffffffffffffffffffffff",
        "02000000000000000000000000000000",
        "03000000000000000000000000000000",
    ),
    (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff110000000000000000000000"
        "00000000",
        "05000000000000000000000000000000",
    ),
    (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe010101010101010101010101"
        "01010101",
        "00000000000000000000000000000000",
    ),
    (
        "0200000000000000000000000000000000000000000000000000000000000000",
        "fdffffffffffffffffffffffffffffff",
        "faffffffffffffffffffffffffffffff",
    ),
    (
        "0100000000000000040000000000000000000000000000000000000000000000",
        "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000000000000000000000000000"
        "0000000001000000000000000000000000000000",
        "14000000000000005500000000000000",
    ),
    (
        "0100000000000000040000000000000000000000000000000000000000000000",
        "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000000000000000000000000000"
        "00000000",
        "13000000000000000000000000000000",
    ),
]


# -- RFC 8439


def test_rfc_block():
    """Section 2.3.2: the block function."""
    nonce = bytes.fromhex("000000090000004a00000000")
    assert chacha20poly1305._blocks(KEY, [nonce], 1, 1).hex() == (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )


def test_rfc_cipher():
    """Section 2.4.2: two blocks, from number 1 on."""
    nonce = bytes.fromhex("000000000000004a00000000")
    stream = chacha20poly1305._blocks(KEY, [nonce], 2, 1)[: len(SUNSCREEN)]
    assert chacha20poly1305._xor(SUNSCREEN, stream).hex() == (
        "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b"
        "f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8"
        "07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736"
        "5af90bbf74a35be6b40b8eedf2785e42874d"
    )


@pytest.mark.parametrize(("key", "message", "tag"), POLY1305)
def test_rfc_poly1305(key, message, tag):
    key, message = bytes.fromhex(key), bytes.fromhex(message)
    assert chacha20poly1305._poly1305(key, message).hex() == tag


def test_rfc_seal(engine):
    """Section 2.8.2."""
    key = bytes(range(0x80, 0xA0))
    nonce = bytes.fromhex("070000004041424344454647")
    aad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    sealed = chacha20poly1305.seal(key, nonce, SUNSCREEN, aad)
    assert sealed.hex() == (
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b6116"
        "1ae10b594f09e26a7e902ecbd0600691"
    )
    assert chacha20poly1305.open(key, nonce, sealed, aad) == SUNSCREEN


# -- One message


def test_wycheproof(engine):
    run = odd = 0
    for group, case in wycheproof("Cipher/wycheproof/chacha20_poly1305_test.json"):
        key, nonce, aad, data, sealed, tag = (
            bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        run += 1
        if group["ivSize"] == 64:  # for us, the rest of a nonce that begins with four zeros
            odd += 1
            continue
        if case["result"] == "valid":
            assert chacha20poly1305.seal(key, nonce, data, aad) == sealed + tag, case["tcId"]
            assert chacha20poly1305.open(key, nonce, sealed + tag, aad) == data, case["tcId"]
        else:
            odd += group["ivSize"] != 96
            match = "wrong tag" if group["ivSize"] == 96 else "a nonce has"
            with pytest.raises(ValueError, match=match):
                chacha20poly1305.open(key, nonce, sealed + tag, aad)
    assert (run, odd) == (325, 9)


MESSAGES = [
    (case["name"], case["EK_hex"], case["nonce"], case["expect"])
    for case in cases("pairing", "pair_setup")
    if "encrypted_hex" in case["expect"]
]


@pytest.mark.parametrize(("key", "nonce", "expect"), [m[1:] for m in MESSAGES])
def test_short_nonce(key, nonce, expect, engine):
    """Pairing names its messages in 8 characters."""
    key, plain = bytes.fromhex(key), bytes.fromhex(expect["sub_tlv_hex"])
    sealed = chacha20poly1305.seal(key, nonce.encode(), plain)
    assert sealed.hex() == expect["encrypted_hex"]
    assert chacha20poly1305.open(key, bytes(4) + nonce.encode(), sealed) == plain


def test_same_bytes(both):
    rng = random.Random(1)
    sizes = [0, 1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1007, 1023, 1024, 1025, 16319, 16384]
    for size in sizes + [40_000] + [rng.randrange(2000) for _ in range(100)]:
        key, nonce, data = os.urandom(32), os.urandom(12), os.urandom(size)
        aad = os.urandom(rng.choice((0, 1, 2, 4, 16, 33)))
        ours, theirs = both(chacha20poly1305.seal, key, nonce, data, aad)
        assert ours == theirs
        assert both(chacha20poly1305.open, key, nonce, ours, aad) == [data, data]


@pytest.mark.parametrize("size", [0, 1, 50])
def test_every_changed_byte_is_refused(size, engine):
    sealed = chacha20poly1305.seal(KEY, bytes(12), os.urandom(size), b"aad")
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1 << at % 8
        with pytest.raises(ValueError, match="wrong tag"):
            chacha20poly1305.open(KEY, bytes(12), bytes(changed), b"aad")
    for aad in (b"", b"aac", b"aad\0"):
        with pytest.raises(ValueError, match="wrong tag"):
            chacha20poly1305.open(KEY, bytes(12), sealed, aad)
    for key, nonce in ((OTHER, bytes(12)), (KEY, bytes(11) + b"\1")):
        with pytest.raises(ValueError, match="wrong tag"):
            chacha20poly1305.open(key, nonce, sealed, b"aad")
    for end in range(len(sealed)):
        with pytest.raises(ValueError, match=r"wrong tag|hold no tag"):
            chacha20poly1305.open(KEY, bytes(12), sealed[:end], b"aad")


# -- Session


@pytest.mark.parametrize("case", cases("pairing", "frames"), ids=lambda case: case["name"])
@pytest.mark.parametrize("prepared", [False, True])
def test_frames(case, prepared, engine):
    """Header and payload of whole frames; the header is protected in Companion only."""
    key = bytes.fromhex(case["key_hex"])
    good = "error" not in case["expect"]
    frame = bytes.fromhex(case["expect"]["frame_hex"] if good else case["frame_hex"])
    companion = case["channel"] == "companion"
    header = 4 if companion else 1
    aad = frame[:4] if companion else b""
    session = Session(key, key, wide=companion)
    for _ in range(case["counter"]):
        session.seal(b"")
        with pytest.raises(ValueError, match="wrong tag"):
            session.open(bytes(16))
    if prepared:
        session.prepare()
        session.prepare()
    if good:
        plain = bytes.fromhex(case["plain_hex"])
        assert session.seal(plain, aad) == frame[header:]
        assert session.open(frame[header:], aad) == plain
    else:
        with pytest.raises(ValueError, match="wrong tag"):
            session.open(frame[header:], aad)


@pytest.fixture(params=["python-python", "python-cryptography", "cryptography-python"])
def pair(request):
    """A function that makes both ends of a connection, each with an engine of its own."""

    def make(wide=False):
        ends = []
        for name, keys in zip(request.param.split("-"), ((KEY, OTHER), (OTHER, KEY))):
            try:
                crypto.use(name)
            except ImportError as exc:
                missing("cryptography", exc)
            ends.append(Session(*keys, wide=wide))
        return ends

    yield make
    crypto.use(None)


@pytest.mark.parametrize("wide", [False, True])
def test_conversation(pair, wide):
    rng = random.Random(2)
    ends = pair(wide)
    for _ in range(200):
        near, far = rng.sample(ends, 2)
        data = rng.randbytes(rng.choice((0, 5, 100, 255, 256, 257, 320, 1024, 5000)))
        aad = rng.randbytes(rng.choice((0, 2, 4)))
        assert far.open(near.seal(data, aad), aad) == data
        for end in ends:
            if rng.random() < 0.1:
                end.prepare()


def test_nonces(engine):
    """The counter in 12 bytes, or four zeros and 8: they differ, but for the first message."""
    for wide in (False, True):
        session = Session(KEY, OTHER, wide)
        for number in range(40):
            nonce = number.to_bytes(12, "little")
            if not wide:
                nonce = bytes(4) + nonce[:8]
            assert session.seal(b"data", b"a") == chacha20poly1305.seal(KEY, nonce, b"data", b"a")
            if number % 7 == 0:
                session.prepare()


def test_refused_message_counts(pair):
    near, far = pair()
    frames = [near.seal(bytes([number])) for number in range(40)]
    for number, frame in enumerate(frames):
        if number % 9 == 0:
            far.prepare()
        if number % 3:
            assert far.open(frame) == bytes([number])
        elif number % 2:
            with pytest.raises(ValueError, match="hold no tag"):
                far.open(frame[:15])
        else:
            with pytest.raises(ValueError, match="wrong tag"):
                far.open(frame, b"x")


def test_order(pair):
    """A repeated, skipped or swapped message is refused."""
    near, far = pair()
    first, second, third, fourth = (near.seal(bytes([number])) for number in range(4))
    assert far.open(first) == b"\0"
    with pytest.raises(ValueError, match="wrong tag"):
        far.open(first)
    with pytest.raises(ValueError, match="wrong tag"):
        far.open(second)
    with pytest.raises(ValueError, match="wrong tag"):
        far.open(third)
    with pytest.raises(ValueError, match="wrong tag"):
        near.open(fourth)  # its own


def test_prepare_ends(engine):
    """A caller may loop: False comes soon, and stays until messages have used some of it up."""
    session = Session(KEY, OTHER)
    count = 0
    while session.prepare():
        count += 1
    assert 2 <= count <= 2 * (chacha20poly1305.LOW + 1) if engine == "python" else count == 0
    assert not session.prepare()
    for number in range(100):
        session.seal(bytes(number * 20))
        session.open(Session(OTHER, KEY).seal(b"")) if not number else None
    assert bool(session.prepare()) == (engine == "python")
    while session.prepare():
        count += 1
    assert count < 100


def test_prepared_stream_is_used(monkeypatch):
    """It covers bursts, and what is left is added to; long messages are learnt from the first."""
    crypto.use("python")
    blocks = chacha20poly1305._blocks
    session = Session(KEY, OTHER)
    try:
        for burst, size in ((3, 256), (8, 256), (120, 1024), (8, 1024), (8, 700), (60, 5), (8, 5)):
            monkeypatch.setattr(chacha20poly1305, "_blocks", blocks)
            while session.prepare():
                pass
            if burst <= chacha20poly1305.LOW:  # nothing else is made
                monkeypatch.setattr(chacha20poly1305, "_blocks", None)
            for _ in range(burst):
                session.seal(bytes(size))
    finally:
        crypto.use(None)


def test_close(engine):
    session = Session(KEY, OTHER)
    session.prepare()
    session.seal(b"")
    session.close()
    session.close()
    for call in (session.seal, session.open):
        with pytest.raises(ValueError, match="closed"):
            call(bytes(16))
    assert not session.prepare()
    for direction in (session._out, session._in):
        assert direction._key is None
        assert not getattr(direction, "_ready", None)  # there is none with cryptography


def test_repr_shows_no_keys(engine):
    session = Session(KEY, OTHER)
    session.seal(b"")
    session.prepare()
    assert repr(session) == "Session(sealed=1, opened=0)"
    for part in (session._out, session._in):
        assert repr(KEY) not in repr(part)


def test_keeps_its_engine():
    """Switching in the middle changes new sessions only."""
    crypto.use("python")
    try:
        near, far = Session(KEY, OTHER), Session(OTHER, KEY)
        crypto.use(None)
        for number in range(20):
            assert far.open(near.seal(bytes([number]))) == bytes([number])
    finally:
        crypto.use(None)


def test_threads(pair, share):
    """One seals, one opens, two prepare: each message has the nonce of its place."""
    near, far = pair()
    count = share(20_000)
    frames = [far.seal(number.to_bytes(4, "big")) for number in range(count)]
    sealed = []
    opened = []
    done = threading.Event()

    def seal():
        for number in range(count):
            sealed.append(near.seal(number.to_bytes(4, "big")))

    def open_all():
        for frame in frames:
            opened.append(near.open(frame))

    def prepare():
        while not done.is_set():
            near.prepare()

    workers = [threading.Thread(target=work) for work in (seal, open_all)]
    helpers = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in helpers + workers:
        thread.start()
    for thread in workers:
        thread.join(120)
    done.set()
    for thread in helpers:
        thread.join(120)
    expect = [number.to_bytes(4, "big") for number in range(count)]
    assert opened == expect
    assert [far.open(frame) for frame in sealed] == expect


def test_close_while_preparing(monkeypatch):
    """What is finished after close() is not kept."""
    crypto.use("python")
    try:
        session = Session(KEY, OTHER)
        blocks = chacha20poly1305._blocks

        def closing(*args):
            session.close()
            return blocks(*args)

        monkeypatch.setattr(chacha20poly1305, "_blocks", closing)
        session.prepare()
        assert not session._out._ready
    finally:
        crypto.use(None)
