"""Legacy pairing and passwords: a recording, both ends against each other, and every liar."""

from __future__ import annotations

import random

import pytest

from tests.support.vectors import cases
from tinyatv import CredentialsError, PairingError, ProtocolError
from tinyatv.crypto import aes, curve25519, ed25519, srp
from tinyatv.errors import AppleTVError
from tinyatv.pairing import credentials, digest, hap, legacy
from tinyatv.pairing.accessory import Accessory
from tinyatv.pairing.credentials import Credentials
from tinyatv.pairing.hap import Identity, Refusal, drive
from tinyatv.pairing.hap_device import Handshakes
from tinyatv.pairing.hap_setup import hap_setup
from tinyatv.pairing.legacy import (
    LegacyHandshakes,
    legacy_setup,
    legacy_setup_device,
    legacy_verify,
    legacy_verify_device,
)
from tinyatv.wire import plist

# Origin: the recording of a real device in the pairing vectors.
SETUP = {case["name"]: case for case in cases("pairing", "legacy_setup")}
VERIFY = {case["name"]: case for case in cases("pairing", "legacy_verify")}
USER = bytes.fromhex(SETUP["request_1"]["user"])
SEED = bytes.fromhex(VERIFY["request_1"]["ed25519_seed_hex"])
PUBLIC = bytes.fromhex(SETUP["client_message"]["plain_hex"])
DEVICE_KEY = bytes.fromhex(SETUP["device_message"]["expect"]["plain_hex"])
PIN = SETUP["srp"]["password"]
CREDENTIALS = Credentials(seed=SEED, client_id=USER)
DEVICE = Identity(b"device", b"\xaa" * 32)


def hexed(case, key):
    return bytes.fromhex(case["expect"][key] if key in case["expect"] else case[key])


@pytest.fixture
def accessory():
    return Accessory(DEVICE, pin=PIN)


@pytest.fixture
def paired(accessory):
    accessory.clients[PUBLIC] = PUBLIC
    return accessory


def pair(accessory, pin=PIN, client_id=USER, seed=SEED, **more):
    peer = LegacyHandshakes(accessory)
    try:
        return drive(legacy_setup(client_id, pin, seed, **more), peer.setup)
    finally:
        peer.close()


def verify(accessory, mine=CREDENTIALS, **more):
    peer = LegacyHandshakes(accessory)
    drive(legacy_verify(mine, **more), peer.verify)
    return peer.client


# -- the vectors


def test_setup_of_the_client():
    """The whole recording, device proof and device key included."""
    case = SETUP["srp"]
    steps = legacy_setup(USER, PIN, SEED, device_key=DEVICE_KEY, private=hexed(case, "a_hex"))
    assert next(steps) == hexed(SETUP["request_1"], "plist_hex")
    request = steps.send(plist.dumps({"pk": hexed(case, "B_hex"), "salt": hexed(case, "salt_hex")}))
    assert plist.loads(request) == {
        "pk": hexed(case, "A_hex"),
        "proof": hexed(case, "client_proof_hex"),
    }
    request = steps.send(plist.dumps({"proof": hexed(case, "device_proof_hex")}))
    sealed = SETUP["client_message"]
    assert plist.loads(request) == {
        "epk": hexed(sealed, "epk_hex"),
        "authTag": hexed(sealed, "tag_hex"),
    }
    answer = SETUP["device_message"]
    with pytest.raises(StopIteration) as done:
        steps.send(
            plist.dumps({"epk": hexed(answer, "epk_hex"), "authTag": hexed(answer, "tag_hex")})
        )
    assert done.value.value == CREDENTIALS
    assert done.value.value.kind == "legacy"
    assert str(done.value.value) == f":{SEED.hex()}::{USER.hex()}"
    assert credentials.parse(str(done.value.value)) == CREDENTIALS


@pytest.mark.parametrize("name", ["device_message_changed_tag", "other key"])
def test_setup_refuses(name):
    case = SETUP["srp"]
    steps = legacy_setup(USER, PIN, SEED, device_key=bytes(32), private=hexed(case, "a_hex"))
    next(steps)
    steps.send(plist.dumps({"pk": hexed(case, "B_hex"), "salt": hexed(case, "salt_hex")}))
    steps.send(plist.dumps({"proof": hexed(case, "device_proof_hex")}))
    answer = SETUP.get(name, SETUP["device_message"])
    error, text = (
        (ProtocolError, "wrong tag") if name in SETUP else (PairingError, "not the one that it")
    )
    with pytest.raises(error, match=text):
        steps.send(
            plist.dumps({"epk": hexed(answer, "epk_hex"), "authTag": hexed(answer, "tag_hex")})
        )


def test_setup_of_the_device(accessory):
    """The same with our device; its own values make other messages, which fit the formulas."""
    steps = legacy_setup_device(accessory, None, private=b"\x55" * 32, salt=bytes(range(16)))
    next(steps)
    answer = plist.loads(steps.send(hexed(SETUP["request_1"], "plist_hex")))
    assert answer["salt"] == bytes(range(16))
    assert len(answer["pk"]) == 256
    client = srp.Client(PIN, SETUP["srp"]["user"], srp.LEGACY, hexed(SETUP["srp"], "a_hex"))
    proof = client.respond(answer["salt"], answer["pk"])
    answer = plist.loads(steps.send(plist.dumps({"pk": client.public, "proof": proof})))
    assert client.check(answer["proof"])
    assert len(answer["proof"]) == 20
    key, iv = legacy._setup_keys(client.key, 1)
    sealed, tag = aes.gcm_seal(key, iv, PUBLIC)
    reply = steps.send(plist.dumps({"epk": sealed, "authTag": tag}))
    answer = plist.loads(reply)
    key, iv = legacy._setup_keys(client.key, 2)
    assert aes.gcm_open(key, iv, answer["epk"], answer["authTag"]) == DEVICE.public
    assert reply.client == PUBLIC
    assert accessory.clients == {PUBLIC: PUBLIC}


def test_setup_keys():
    case = SETUP["gcm_keys"]
    key = hexed(case, "K_hex")
    for number, name in ((1, "iv_client_hex"), (2, "iv_device_hex")):
        assert legacy._setup_keys(key, number) == (hexed(case, "aes_key_hex"), hexed(case, name))


@pytest.mark.parametrize("name", ["iv_wraps_client", "iv_wraps_device"])
def test_iv_wraps(name, monkeypatch):
    case = SETUP[name]
    monkeypatch.setattr(legacy, "_derive", lambda use, secret: hexed(case, "iv_base_hex"))
    assert legacy._setup_keys(b"", case["increment"])[1] == hexed(case, "iv_hex")


def test_iv_wraps_for_real():
    """One pairing in 256 has an IV that ends with 255: the first that comes up."""
    ends = {}
    for number in range(100_000):
        key = number.to_bytes(40, "big")
        base = legacy._derive("Pair-Setup-AES-IV", key)
        if base[-1] >= 254 and base[-1] not in ends:
            ends[base[-1]] = [legacy._setup_keys(key, n)[1] for n in (1, 2)]
            assert {iv[:-1] for iv in ends[base[-1]]} == {base[:-1]}
        if len(ends) == 2:
            break
    assert [iv[-1] for iv in ends[254] + ends[255]] == [255, 0, 0, 1]


def test_gcm_messages():
    case = SETUP["client_message"]
    key, iv = hexed(case, "aes_key_hex"), hexed(case, "iv_hex")
    assert aes.gcm_seal(key, iv, PUBLIC) == (hexed(case, "epk_hex"), hexed(case, "tag_hex"))


def test_verify_of_the_client():
    private = hexed(VERIFY["request_1"], "x25519_private_hex")
    steps = legacy_verify(CREDENTIALS, device_key=DEVICE_KEY, private=private)
    assert next(steps) == hexed(VERIFY["request_1"], "message_hex")
    answer = steps.send(hexed(VERIFY["response_1"], "response_hex"))
    assert answer == hexed(VERIFY["request_2"], "message_hex")
    with pytest.raises(StopIteration):
        steps.send(b"")


def test_verify_streams():
    """What is between the messages."""
    case = VERIFY["response_1"]
    shared = curve25519.shared(hexed(case, "x25519_private_hex"), hexed(case, "response_hex")[:32])
    assert shared == hexed(case, "shared_hex") == hexed(VERIFY["request_2"], "shared_hex")
    assert legacy._derive("Pair-Verify-AES-Key", shared) == hexed(case, "aes_key_hex")
    assert legacy._derive("Pair-Verify-AES-IV", shared) == hexed(case, "aes_iv_hex")
    stream = legacy._stream(shared)
    signature = stream.xor(hexed(case, "response_hex")[32:])
    assert signature == hexed(case, "device_signature_hex")
    mine = hexed(VERIFY["request_2"], "client_signature_hex")
    assert b"\0\0\0\0" + stream.xor(mine) == hexed(VERIFY["request_2"], "message_hex")


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [("response_1_changed_signature", CredentialsError, "not the device"),
     ("response_1_short", ProtocolError, "95 bytes, not 96")],
)  # fmt: skip
def test_verify_refuses(name, error, text):
    case = VERIFY[name]
    private = hexed(case, "x25519_private_hex")
    steps = legacy_verify(CREDENTIALS, device_key=DEVICE_KEY, private=private)
    next(steps)
    with pytest.raises(error, match=text):
        steps.send(hexed(case, "response_hex"))


def test_verify_of_the_device(paired):
    """The recorded client against our device, which has another key and another signature."""
    private = hexed(VERIFY["request_1"], "x25519_private_hex")
    steps = legacy_verify_device(paired, private=b"\x55" * 32)
    next(steps)
    answer = steps.send(hexed(VERIFY["request_1"], "message_hex"))
    assert answer[:32] == curve25519.public(b"\x55" * 32)
    stream = legacy._stream(curve25519.shared(private, answer[:32]))
    public = curve25519.public(private)
    assert ed25519.verify(DEVICE.public, answer[:32] + public, stream.xor(answer[32:]))
    signature = ed25519.sign(SEED, public + answer[:32])
    reply = steps.send(b"\0\0\0\0" + stream.xor(signature))
    assert (reply, reply.client) == (b"", PUBLIC)


# -- both ends


def test_pair_then_verify(accessory):
    mine = pair(accessory, device_key=DEVICE.public)
    assert mine == CREDENTIALS
    assert accessory.clients == {PUBLIC: PUBLIC}
    assert verify(accessory, mine, device_key=DEVICE.public) == PUBLIC
    assert verify(accessory, mine) == PUBLIC


def test_a_new_seed_each_time(accessory):
    first, second = pair(accessory, seed=None), pair(accessory, seed=None)
    assert first.seed != second.seed
    assert len(accessory.clients) == 2
    verify(accessory, first)
    verify(accessory, second)


def test_ephemeral_keys_are_fresh(paired):
    """Not the long-term seed, with which every connection would have the same key stream."""
    seen = {next(legacy_verify(CREDENTIALS))[4:36] for _ in range(5)}
    assert len(seen) == 5
    assert hexed(VERIFY["request_1"], "message_hex")[4:36] not in seen
    first = next(legacy_verify(CREDENTIALS))
    assert len({LegacyHandshakes(paired).verify(first)[:32] for _ in range(5)}) == 5


def test_users_whose_digest_begins_with_zero(accessory):
    """One identifier in 256: the zero belongs into the proof."""
    ids = (number.to_bytes(8, "big") for number in range(10_000))
    zero = [i for i in ids if srp.LEGACY.digest(i.hex().upper().encode())[0] == 0]
    for client_id in zero[:3]:
        assert pair(accessory, client_id=client_id).client_id == client_id


@pytest.mark.parametrize("client_id", [b"", b"another identifier", bytes(8)])
def test_any_identifier(accessory, client_id):
    assert pair(accessory, client_id=client_id).client_id == client_id


def test_the_pin_is_asked_for_once_it_is_shown():
    shown = []
    accessory = Accessory(DEVICE, show=shown.append)

    def read_the_screen():
        assert accessory.pin_shown == shown[-1]
        return shown[-1]

    pair(accessory, read_the_screen)
    assert len(shown) == 2
    assert shown[-1] is accessory.pin_shown is None


def test_hap_and_legacy_side_by_side(accessory):
    """One memory for both, and neither takes the other's clients for its own."""
    mine = pair(accessory)
    peer = Handshakes(accessory)
    drive(hap_setup(Identity(b"id"), PIN), peer.answer)
    peer.close()
    assert set(accessory.clients) == {b"id", PUBLIC}
    assert verify(accessory, mine) == PUBLIC
    with pytest.raises(Refusal):
        verify(accessory, Credentials(seed=bytes(32), client_id=b"id"))


# -- refusals


def test_wrong_pin(accessory):
    with pytest.raises(Refusal) as caught:
        pair(accessory, "0000")
    assert (caught.value.code, caught.value.delay) == (hap.AUTHENTICATION, 1)
    assert accessory.clients == {}
    assert accessory.pin_shown is None
    with pytest.raises(Refusal) as caught:
        pair(accessory)
    assert caught.value.code == hap.BACK_OFF


@pytest.mark.parametrize("code", range(1, 8))
def test_refused(accessory, code):
    accessory.refuse = code
    with pytest.raises(Refusal) as caught:
        pair(accessory)
    assert caught.value.code == code


def test_full(accessory):
    accessory.max_peers = 1
    pair(accessory)
    with pytest.raises(Refusal) as caught:
        pair(accessory, seed=None)
    assert caught.value.code == hap.MAX_PEERS


def test_one_at_a_time(accessory):
    first = LegacyHandshakes(accessory)
    first.setup(next(legacy_setup(USER, PIN)))
    assert accessory.pin_shown == PIN
    with pytest.raises(Refusal) as caught:
        pair(accessory)
    assert caught.value.code == hap.BUSY
    assert accessory.pin_shown == PIN
    first.close()
    assert accessory.pin_shown is None
    assert pair(accessory)


def test_the_pin_of_pair_pin_start():
    """It is shown before setup begins, and setup is about that one; also after one given up."""
    accessory, owner = Accessory(DEVICE), object()
    peer = LegacyHandshakes(accessory, owner)
    for _ in range(3):
        pin = accessory.begin(owner, False, early=True)
        peer.setup(next(legacy_setup(USER, pin)))
        assert accessory.pin_shown == pin
    pin = accessory.begin(owner, False, early=True)
    assert drive(legacy_setup(USER, pin, SEED), peer.setup) == CREDENTIALS
    assert accessory.pin_shown is None
    accessory.begin(owner, False)
    peer.close()
    assert accessory.pin_shown is None


def test_begin_anew(accessory):
    """A client may give up and start again on the same connection."""
    peer = LegacyHandshakes(accessory)
    peer.setup(next(legacy_setup(USER, PIN)))
    assert drive(legacy_setup(USER, PIN, SEED), peer.setup) == CREDENTIALS
    first = next(legacy_verify(CREDENTIALS))
    peer.verify(first)
    drive(legacy_verify(CREDENTIALS), peer.verify)
    assert peer.client == PUBLIC
    with pytest.raises(Refusal):
        peer.verify(b"")
    assert peer.client is None


@pytest.mark.parametrize("key", [b"", bytes(32), ed25519.public(bytes(32))])
def test_unknown_client(accessory, key):
    accessory.clients[key] = key
    with pytest.raises(Refusal) as caught:
        verify(accessory)
    assert caught.value.code == hap.AUTHENTICATION


def test_a_removed_pairing(paired):
    verify(paired)
    paired.clients.clear()
    with pytest.raises(Refusal):
        verify(paired)


def test_a_thief_of_the_public_key(paired):
    """Who knows a key, but not what belongs to it, proves nothing."""
    thief = legacy_verify(Credentials(seed=bytes(32), client_id=USER))
    first = next(thief)
    peer = LegacyHandshakes(paired)
    second = thief.send(peer.verify(first[:36] + PUBLIC))
    with pytest.raises(Refusal) as caught:
        peer.verify(second)
    assert caught.value.code == hap.AUTHENTICATION
    assert peer.client is None


@pytest.mark.parametrize("key", [DEVICE_KEY, bytes(32)])
def test_another_device(paired, key):
    with pytest.raises(CredentialsError, match="not the device"):
        verify(paired, device_key=key)
    with pytest.raises(PairingError, match="not the one that it announces"):
        pair(paired, device_key=key)


@pytest.mark.parametrize("public", [bytes(32), b"\1" + bytes(31)])
def test_ephemeral_keys_of_low_order(paired, public):
    steps = legacy_verify(CREDENTIALS)
    next(steps)
    with pytest.raises(ProtocolError, match="low order"):
        steps.send(public + bytes(64))
    with pytest.raises(Refusal):
        LegacyHandshakes(paired).verify(b"\1\0\0\0" + public + PUBLIC)


def test_steps_out_of_order(paired):
    setup = [plist.dumps({"pk": b"1", "proof": b"2"}), plist.dumps({"epk": b"", "authTag": b""}),
             b"", b"nonsense", plist.dumps([]), plist.dumps({"method": "pin"}),
             plist.dumps({"method": "other", "user": "A"}),
             plist.dumps({"method": "pin", "user": 5})]  # fmt: skip
    first = next(legacy_verify(CREDENTIALS))
    for call, data in [
        *(("setup", data) for data in setup),
        *(("verify", data) for data in (b"", bytes(68), first[:-1], first + b"x", b"\2" + first)),
    ]:
        with pytest.raises(Refusal) as caught:
            getattr(LegacyHandshakes(paired), call)(data)
        assert caught.value.code == hap.UNKNOWN
        assert paired.pin_shown is None
    peer = LegacyHandshakes(paired)
    peer.verify(first)
    for data in (bytes(67), b"\1\0\0\1" + bytes(64)):
        with pytest.raises(Refusal):
            peer.verify(data)
    assert peer.client is None


def test_recorded_messages_are_no_use(paired):
    """What an earlier connection said proves nothing on this one, nor does it pair again."""
    said = []
    peer = LegacyHandshakes(paired)
    drive(legacy_verify(CREDENTIALS), lambda data: said.append(data) or peer.verify(data))
    with pytest.raises(Refusal):  # not even on the same one
        peer.verify(said[1])
    thief = LegacyHandshakes(paired)
    thief.verify(said[0])
    with pytest.raises(Refusal):
        thief.verify(said[1])
    assert thief.client is None
    said.clear()
    drive(legacy_setup(USER, PIN), lambda data: said.append(data) or peer.setup(data))
    known = dict(paired.clients)
    for order in ((0, 1), (0, 2), (1,), (2,), (0, 0, 1)):
        thief = LegacyHandshakes(paired)
        *good, bad = order
        for number in good:
            thief.setup(said[number])
        with pytest.raises(Refusal):
            thief.setup(said[bad])
        thief.close()
        paired.failures, paired.locked_until = 0, 0.0
    assert paired.clients == known


def test_replayed_answers_are_no_use(paired):
    """A device that only repeats what another one said."""
    answers = []
    peer = LegacyHandshakes(paired)
    steps = legacy_verify(CREDENTIALS, device_key=DEVICE.public)
    drive(steps, lambda data: answers.append(peer.verify(data)) or answers[-1])
    old = iter(answers)
    with pytest.raises(CredentialsError):
        drive(legacy_verify(CREDENTIALS, device_key=DEVICE.public), lambda _: next(old))
    answers.clear()
    drive(legacy_setup(USER, PIN), lambda data: answers.append(peer.setup(data)) or answers[-1])
    for order in ((0, 1), (0, 2), (1,), (2,), (0, 0)):
        old = iter([answers[number] for number in order])
        with pytest.raises(AppleTVError):
            drive(legacy_setup(USER, PIN), lambda _, old=old: next(old))


# -- every message, tampered


class Liar:
    """Stands between the ends and changes one byte of one message."""

    def __init__(self, answer, number=0, at=0, flip=0):
        self.answer, self.number, self.at, self.flip = answer, number, at, flip
        self.messages = []
        self.changed = b""
        self.client = None

    def touch(self, data):
        self.messages.append(bytes(data))
        if len(self.messages) != self.number or self.at >= len(data):
            return data
        self.changed = bytes([data[self.at] ^ self.flip])
        self.changed = data[: self.at] + self.changed + data[self.at + 1 :]
        return self.changed

    def __call__(self, request):
        reply = self.answer(self.touch(request))
        self.client = getattr(reply, "client", None)
        return self.touch(bytes(reply))


def same(one, other):
    """Whether two property lists say the same: some of their bytes mean nothing."""
    try:
        return plist.loads(one) == plist.loads(other)
    except ValueError:
        return False


def test_tampered_setup(accessory, share):
    accessory.back_off = False
    honest = Liar(LegacyHandshakes(accessory).setup)
    drive(legacy_setup(USER, PIN, SEED), honest)
    assert len(honest.messages) == 6
    tried = 0
    for number, message in enumerate(honest.messages, 1):
        spots = share(120)
        for at in sorted({*range(0, len(message), max(1, len(message) // spots)), 12, 40, 60}):
            accessory.clients.clear()
            accessory.failures = 0
            peer = LegacyHandshakes(accessory)
            liar = Liar(peer.setup, number, at, 1 << tried % 8)
            result = None
            try:
                result = drive(legacy_setup(USER, PIN, SEED), liar)
            except (AppleTVError, Refusal):
                pass
            peer.close()
            assert accessory.pin_shown is None
            if result is not None:
                assert not liar.changed or same(liar.changed, liar.messages[number - 1])
                continue
            # Only the last message may fail to arrive without the device noticing.
            assert bool(accessory.clients) is (number == 6)
            tried += 1
    assert tried > 40


@pytest.mark.parametrize("known", [True, False], ids=["device known", "device unknown"])
def test_tampered_verify(paired, known):
    """Every byte. Of an unknown device, nobody can check the signature."""
    key = DEVICE.public if known else None
    honest = Liar(LegacyHandshakes(paired).verify)
    drive(legacy_verify(CREDENTIALS, device_key=key), honest)
    assert [len(message) for message in honest.messages] == [68, 96, 68, 0]
    for number, message in enumerate(honest.messages[:3], 1):
        for at in range(len(message)):
            if number == 2 and at >= 32 and not known:
                continue
            liar = Liar(LegacyHandshakes(paired).verify, number, at, 1 << at % 8)
            with pytest.raises((AppleTVError, Refusal)):
                drive(legacy_verify(CREDENTIALS, device_key=key), liar)
            assert liar.client is None


def damaged(rng, data):
    data = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data) + 1)])


def test_nonsense_to_the_device(paired, share):
    rng = random.Random(8)
    paired.back_off = False
    setup = [next(legacy_setup(USER, PIN)), plist.dumps({"pk": b"\2" * 256, "proof": bytes(20)}),
             plist.dumps({"epk": bytes(32), "authTag": bytes(16)})]  # fmt: skip
    checks = [next(legacy_verify(CREDENTIALS)), bytes(68)]
    for _ in range(share(2000)):
        peer = LegacyHandshakes(paired)
        paired.failures = 0
        for call, messages in ((peer.setup, setup), (peer.verify, checks)):
            try:
                if rng.random() < 0.5:
                    call(messages[0])
                call(damaged(rng, rng.choice(messages)))
            except Refusal:
                pass
        assert peer.client is None
        peer.close()
    assert paired.clients == {PUBLIC: PUBLIC}


def test_nonsense_to_the_client(share):
    rng = random.Random(9)
    case = SETUP["srp"]
    replies = [
        plist.dumps({"pk": hexed(case, "B_hex"), "salt": hexed(case, "salt_hex")}),
        hexed(VERIFY["response_1"], "response_hex"),
        plist.dumps([]),
        plist.dumps({"pk": 5, "salt": "text"}),
        plist.dumps({"pk": b"", "salt": b""}),
    ]
    for _ in range(share(2000)):
        data = damaged(rng, rng.choice(replies))
        for steps in (
            legacy_setup(USER, PIN, SEED),
            legacy_verify(CREDENTIALS, device_key=DEVICE_KEY),
        ):
            with pytest.raises(AppleTVError):
                drive(steps, lambda _, data=data: data)


# -- the password


@pytest.mark.parametrize("case", cases("airplay", "digest"), ids=lambda case: case["name"])
def test_digest(case):
    user, password, realm, nonce, method, uri = (
        case[name] for name in ("user", "password", "realm", "nonce", "method", "uri")
    )
    header = digest.authorization(user, password, realm, nonce, method, uri)
    assert header == case["expect"]["authorization"]
    assert digest.digest(user, password, realm, nonce, method, uri) in header
    assert digest.parse_challenge(digest.challenge(realm, nonce)) == (realm, nonce)
    right = (password, realm, nonce, method, uri)
    assert digest.authorized(header, *right)
    assert digest.authorized(header.replace("96a8a1d4", "96A8A1D4"), *right)
    for at, wrong in enumerate(("Secret", "other", "0", "SETUP", "rtsp://10.0.0.1/1235")):
        assert not digest.authorized(header, *right[:at], wrong, *right[at + 1 :])
    for changed in (None, "", "Basic abc", header[:-2] + '0"', header.replace("pyatv", "x"),
                    header.replace("response", "other"), header + ", x"):  # fmt: skip
        assert not digest.authorized(changed, *right), changed


def test_digest_of_the_rfc():
    """RFC 2617 section 3.5, without its qop; the value is that of RFC 2069 with its errata."""
    found = digest.digest(
        "Mufasa", "CircleOfLife", "testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        "GET", "/dir/index.html",
    )  # fmt: skip
    assert found == "1949323746fe6a43ef61f9606e7febea"


@pytest.mark.parametrize(
    ("header", "expect"),
    [
        ('Digest realm="raop", nonce="abc"', ("raop", "abc")),
        ('digest   nonce="abc" ,realm="r, a=\\"p\\"",stale=FALSE', ('r, a="p"', "abc")),
        ("Digest realm=raop,nonce=abc", ("raop", "abc")),
        ('Digest realm="", nonce=""', ("", "")),
        ('Digest realm="r", nonce="n", algorithm=MD5, qop="auth", opaque="x"', ("r", "n")),
        ('Digest realm="r", nonce="n", realm="second"', ("r", "n")),
        ('Digest realm="r", nonce="n", algorithm=SHA-256', None),
        ('Digest realm="r"', None),
        ('Digest nonce="n"', None),
        ('Digest realm="r" nonce="n"', None),
        ('Digest realm="r", nonce="n', None),
        ('Digest realm="r", =', None),
        ("Digest", None),
        ("", None),
        ('Basic realm="r"', None),
    ],
)
def test_challenge(header, expect):
    assert digest.parse_challenge(header) == expect


def test_quotes():
    odd = 'a "b" \\ c'
    header = digest.authorization(odd, "p", odd, odd, "GET", "/")
    assert digest.parse(header)["username"] == odd
    assert digest.authorized(header, "p", odd, odd, "GET", "/")
    assert digest.parse_challenge(digest.challenge(odd, odd)) == (odd, odd)
