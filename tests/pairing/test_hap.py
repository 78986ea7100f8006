"""HAP pairing: both ends against the vectors, against each other, and against every liar."""

from __future__ import annotations

import random
import threading
import time

import pytest

import tinyatv
from tests.support.srp_values import SALTED, ZEROS
from tests.support.vectors import cases
from tinyatv import CredentialsError, PairingBackOff, PairingError, ProtocolError
from tinyatv.crypto import srp
from tinyatv.errors import AppleTVError
from tinyatv.pairing import credentials, hap
from tinyatv.pairing.accessory import DELAYS, Accessory
from tinyatv.pairing.credentials import Credentials
from tinyatv.pairing.hap import Identity, channel_keys, drive
from tinyatv.pairing.hap_device import Handshakes
from tinyatv.pairing.hap_setup import checked_pin, hap_setup, hap_setup_device, hap_transient
from tinyatv.pairing.hap_verify import hap_verify, hap_verify_device
from tinyatv.virtual import VirtualAppleTV
from tinyatv.wire import tlv8

# Origin of all golden bytes: the pairing vectors, which were computed with two implementations.
SETUP = {case["name"]: case for case in cases("pairing", "pair_setup")}
VERIFY = {case["name"]: case for case in cases("pairing", "pair_verify")}
SRP = cases("pairing", "srp")[0]
CLIENT = Identity(SETUP["m5"]["client_id"].encode(), bytes.fromhex(SETUP["m5"]["client_seed_hex"]))
DEVICE = Identity(SETUP["m6"]["device_id"].encode(), bytes.fromhex(SETUP["m6"]["device_seed_hex"]))
CREDENTIALS = credentials.parse(SETUP["credentials"]["expect"]["credentials"])
PIN = "1111"


def message(group: dict, name: str) -> bytes:
    case = group[name]
    return bytes.fromhex(case.get("message_hex") or case["expect"]["message_hex"])


def hexed(case: dict, key: str) -> bytes:
    return bytes.fromhex(case[key])


class Clock:
    """Time that only moves when it is told to."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def accessory():
    made = Accessory(Identity(DEVICE.identifier, DEVICE.seed), pin=PIN)
    made.clock = Clock()
    return made


@pytest.fixture
def paired(accessory):
    accessory.clients[CLIENT.identifier] = CLIENT.public
    return accessory


def pair(accessory, pin=PIN, identity=CLIENT, **more) -> Credentials:
    peer = Handshakes(accessory)
    try:
        return drive(hap_setup(identity, pin, **more), peer.answer)
    finally:
        peer.close()


def verify(accessory, mine=CREDENTIALS) -> bytes:
    return drive(hap_verify(mine), Handshakes(accessory).answer)


# -- the vectors -----------------------------------------------------------------------------------


def test_setup_of_the_client():
    steps = hap_setup(CLIENT, PIN, private=hexed(SRP, "a_hex"))
    assert next(steps) == message(SETUP, "m1")
    assert steps.send(message(SETUP, "m2")) == message(SETUP, "m3")
    assert steps.send(message(SETUP, "m4")) == message(SETUP, "m5")
    with pytest.raises(StopIteration) as done:
        steps.send(message(SETUP, "m6"))
    assert done.value.value == CREDENTIALS
    assert str(done.value.value) == SETUP["credentials"]["expect"]["credentials"]


def test_setup_of_the_client_with_a_name():
    case = SETUP["m5_with_name"]
    steps = hap_setup(
        CLIENT, PIN, info=hexed(case, "info_hex"), private=hexed(SRP, "a_hex")
    )  # fmt: skip
    next(steps)
    steps.send(message(SETUP, "m2"))
    m5 = dict(tlv8.decode(steps.send(message(SETUP, "m4"))))
    inner = hap.opened(m5, hexed(case, "EK_hex"), "PS-Msg05")
    assert inner == dict(tlv8.decode(bytes.fromhex(case["expect"]["sub_tlv_hex"])))


def test_setup_of_the_device(accessory):
    steps = hap_setup_device(
        accessory, None, private=hexed(SRP, "b_hex"), salt=hexed(SRP, "salt_hex")
    )
    next(steps)
    assert steps.send(message(SETUP, "m1")) == message(SETUP, "m2")
    m4 = steps.send(message(SETUP, "m3"))
    assert sorted(tlv8.decode(m4)) == sorted(tlv8.decode(message(SETUP, "m4")))
    m6 = steps.send(message(SETUP, "m5"))
    assert sorted(tlv8.decode(m6)) == sorted(tlv8.decode(message(SETUP, "m6")))
    assert accessory.clients == {CLIENT.identifier: CLIENT.public}


def test_verify_of_the_client():
    steps = hap_verify(CREDENTIALS, private=hexed(VERIFY["shared"], "client_private_hex"))
    assert next(steps) == message(VERIFY, "m1")
    assert steps.send(message(VERIFY, "m2")) == message(VERIFY, "m3")
    with pytest.raises(StopIteration) as done:
        steps.send(message(VERIFY, "m4"))
    assert done.value.value.hex() == VERIFY["shared"]["expect"]["shared_hex"]


def test_verify_of_the_device(paired):
    steps = hap_verify_device(paired, private=hexed(VERIFY["shared"], "device_private_hex"))
    next(steps)
    m2 = steps.send(message(VERIFY, "m1"))
    assert sorted(tlv8.decode(m2)) == sorted(tlv8.decode(message(VERIFY, "m2")))
    m4 = steps.send(message(VERIFY, "m3"))
    assert m4 == message(VERIFY, "m4")
    assert m4.secret.hex() == VERIFY["shared"]["expect"]["shared_hex"]
    assert m4.client == CLIENT.identifier


@pytest.mark.parametrize("name", ["m6_bad_tag", "m4_wrong_pin"])
def test_setup_refuses(name):
    steps = hap_setup(CLIENT, PIN, private=hexed(SRP, "a_hex"))
    next(steps)
    steps.send(message(SETUP, "m2"))
    if name == "m4_wrong_pin":
        with pytest.raises(PairingError, match="wrong PIN: start again"):
            steps.send(message(SETUP, name))
        return
    steps.send(message(SETUP, "m4"))
    with pytest.raises(ProtocolError, match="PS-Msg06"):
        steps.send(message(SETUP, name))


@pytest.mark.parametrize("name", ["m4_refused", "m4_refused_error_first"])
def test_verify_hears_that_it_is_refused(name):
    steps = hap_verify(CREDENTIALS, private=hexed(VERIFY["shared"], "client_private_hex"))
    next(steps)
    steps.send(message(VERIFY, "m2"))
    with pytest.raises(CredentialsError, match="any more: pair again"):
        steps.send(message(VERIFY, name))


def test_verify_refuses_a_bad_tag():
    steps = hap_verify(CREDENTIALS, private=hexed(VERIFY["shared"], "client_private_hex"))
    next(steps)
    with pytest.raises(ProtocolError, match="PV-Msg02"):
        steps.send(message(VERIFY, "m2_bad_tag"))


@pytest.mark.parametrize("group", [SETUP["m6_bad_signature"], VERIFY["m2_bad_signature"]])
def test_bad_signatures(group):
    from tinyatv.crypto import ed25519

    signed = hexed(group, "signed_hex")
    assert not ed25519.verify(hexed(group, "public_hex"), signed, hexed(group, "signature_hex"))


@pytest.mark.parametrize(
    "case",
    [c for c in cases("pairing", "key_derivation") if c["name"].count(".") == 2],
    ids=lambda c: c["name"],
)
def test_channel_keys(case):
    """Names are verify.CHANNEL.DIRECTION and transient.CHANNEL.DIRECTION."""
    channel, direction = case["name"].split(".")[1:]
    seed = 15014746994705656022 if channel == "datastream" else None
    keys = channel_keys(bytes.fromhex(case["ikm_hex"]), channel, seed)
    assert keys[direction == "device_to_client"].hex() == case["expect"]["key_hex"]


@pytest.mark.parametrize("case", cases("pairing", "data_stream_salt"), ids=lambda c: c["name"])
def test_data_stream_seed(case):
    """A negative seed is the same number, read as signed."""
    seed = int(case["seed_int_hex"], 16)
    expected = case["expect"]["salt"].removeprefix("DataStream-Salt")
    assert channel_keys(bytes(32), "datastream", seed) == channel_keys(
        bytes(32), "datastream", int(expected)
    )


@pytest.mark.parametrize("case", cases("pairing", "credentials"), ids=lambda c: c["name"])
def test_credentials(case):
    expect = case["expect"]
    if "error" in expect:
        with pytest.raises(CredentialsError, match="malformed"):
            credentials.parse(case["text"])
        return
    found = credentials.parse(case["text"])
    fields = (found.device_key, found.seed, found.device_id, found.client_id)
    names = ("ltpk_hex", "ltsk_hex", "atv_id_hex", "client_id_hex")
    assert tuple(field.hex() for field in fields) == tuple(expect[name] for name in names)
    assert found.kind == expect["type"]
    if "printed" in expect:
        assert str(found) == expect["printed"]
        assert credentials.parse(str(found)) == found


def test_credentials_with_keys_of_another_length():
    for text in ("aa:bb:cc:dd", ":bb::aa", f"{'aa' * 32}:{'bb' * 31}:cc:dd"):
        with pytest.raises(CredentialsError, match="not 32"):
            credentials.parse(text).checked()
    for text in (None, "7472616e7369656e74:::", str(CREDENTIALS)):
        assert credentials.parse(text).checked() == credentials.parse(text)


def test_nothing_secret_is_shown():
    for shown in (repr(CREDENTIALS), repr(CLIENT)):
        assert CLIENT.seed.hex() not in shown
        assert repr(CLIENT.seed)[2:-1] not in shown
    assert repr(CREDENTIALS) == "Credentials(hap)"


# -- both ends -------------------------------------------------------------------------------------


def test_pair_then_verify(accessory):
    mine = pair(accessory)
    assert mine == Credentials(DEVICE.public, CLIENT.seed, DEVICE.identifier, CLIENT.identifier)
    assert accessory.clients == {CLIENT.identifier: CLIENT.public}
    peer = Handshakes(accessory)
    last = []
    secret = drive(hap_verify(mine), lambda data: last.append(peer.answer(data)) or last[-1])
    assert (last[-1].secret, last[-1].client) == (secret, CLIENT.identifier)
    assert [reply.secret for reply in last[:-1]] == [None]


def test_a_new_secret_each_time(paired):
    assert verify(paired) != verify(paired)


def test_transient(accessory):
    accessory.transient = True
    peer = Handshakes(accessory)
    last = []
    secret = drive(hap_transient(), lambda data: last.append(peer.answer(data)) or last[-1])
    assert len(secret) == 64
    assert last[-1].secret == secret
    assert accessory.clients == {}


def test_transient_is_not_for_everyone(accessory):
    with pytest.raises(PairingError, match="does not allow pairing"):
        drive(hap_transient(), Handshakes(accessory).answer)


def test_the_pin_is_asked_for_once_it_is_shown():
    shown = []
    accessory = Accessory(Identity(b"device"), show=shown.append)

    def read_the_screen():
        assert accessory.pin_shown == shown[-1]
        return shown[-1]

    pair(accessory, read_the_screen)
    assert len(shown[0]) == 4
    assert shown[0].isdecimal()
    assert shown[1:] == [None]
    assert accessory.pin_shown is None


def test_pin_stays_until_it_was_put_to_use(accessory):
    peer = Handshakes(accessory)
    mine = drive(hap_setup(CLIENT, PIN), peer.answer)
    assert accessory.pin_shown == PIN
    drive(hap_verify(mine), peer.answer)
    assert accessory.pin_shown is None


@pytest.mark.parametrize(("given", "hashed"), [("1", "0001"), ("0042", "0042"), (" 1234 ", "1234")])
def test_pin(given, hashed):
    assert checked_pin(given) == hashed


@pytest.mark.parametrize("given", ["", "12345", "12a4", "-1", "²", "１２３４", "1 2"])
def test_no_pin(given, accessory):
    with pytest.raises(ValueError, match="a PIN has four digits"):
        pair(accessory, given)
    assert accessory.pin_shown is None


def test_leading_zeros(accessory):
    accessory = Accessory(DEVICE, pin="0042")
    assert pair(accessory, "42").kind == "hap"


# -- refusals --------------------------------------------------------------------------------------


def test_wrong_pins_cost_more_and_more(accessory):
    for delay in DELAYS[:4]:
        with pytest.raises(PairingError, match=f"wrong PIN.*pause of {delay} s"):
            pair(accessory, "2222")
        with pytest.raises(PairingBackOff, match="the device wants a pause") as caught:
            pair(accessory)
        assert caught.value.seconds in (delay, delay + 1)
        accessory.clock.now += delay + 1
    assert pair(accessory)
    assert accessory.failures == 0
    assert accessory.pin_shown is None


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (hap.UNKNOWN, r"refuses \(error 1\)"),
        (hap.MAX_PEERS, "stores no more remotes: remove one in Settings"),
        (hap.MAX_TRIES, "refuses every further try: restart it"),
        (hap.UNAVAILABLE, "does not allow pairing: allow it"),
        (hap.BUSY, "paired by another remote: try again"),
        (99, r"refuses \(error 99\)"),
    ],
)
def test_refused(accessory, code, text):
    accessory.refuse = code
    with pytest.raises(PairingError, match=text):
        pair(accessory)
    assert accessory.clients == {}


def test_back_off_without_a_delay(accessory):
    accessory.refuse = hap.BACK_OFF
    with pytest.raises(PairingBackOff, match="try again in a while") as caught:
        pair(accessory)
    assert caught.value.seconds is None


def test_back_off_of_hours():
    """Origin: the sheet's tlv.locked, 10812 s."""
    steps = hap_setup(CLIENT, PIN)
    next(steps)
    with pytest.raises(PairingBackOff) as caught:
        steps.send(bytes.fromhex("07010306010208023c2a"))
    assert caught.value.seconds == 10812


def test_full(accessory):
    accessory.max_peers = 1
    pair(accessory)
    with pytest.raises(PairingError, match="no more remotes"):
        pair(accessory, identity=Identity(b"another"))


def test_one_at_a_time(accessory):
    first = Handshakes(accessory)
    steps = hap_setup(CLIENT, PIN)
    first.answer(next(steps))
    with pytest.raises(PairingError, match="paired by another"):
        pair(accessory, identity=Identity(b"another"))
    first.close()
    assert pair(accessory, identity=Identity(b"another"))


def test_a_second_client_with_the_same_identity(accessory):
    """It takes the first one's place; the first is not known any more."""
    first = pair(accessory)
    second = pair(accessory, identity=Identity(CLIENT.identifier))
    verify(accessory, second)
    with pytest.raises(CredentialsError, match="pair again"):
        verify(accessory, first)


def test_a_thief_of_the_identifier(paired):
    stolen = Credentials(DEVICE.public, bytes(32), DEVICE.identifier, CLIENT.identifier)
    with pytest.raises(CredentialsError, match="does not accept the credentials"):
        verify(paired, stolen)


def test_a_removed_pairing(paired):
    verify(paired)
    paired.clients.clear()
    with pytest.raises(CredentialsError, match="any more: pair again"):
        verify(paired)


@pytest.mark.parametrize("identity", [Identity(DEVICE.identifier), Identity(b"X", DEVICE.seed)])
def test_another_device(paired, identity):
    """With another key under the same name, or another name and the same key."""
    paired.identity = identity
    with pytest.raises(CredentialsError, match="not the device that was paired"):
        verify(paired)


def test_steps_out_of_order(accessory):
    for data in (message(SETUP, "m3"), message(SETUP, "m5"), message(VERIFY, "m3"), b"", b"\xff"):
        answer = dict(tlv8.decode(Handshakes(accessory).answer(data)))
        assert answer[hap.ERROR] == bytes([hap.UNKNOWN])
    peer = Handshakes(accessory)
    peer.answer(message(SETUP, "m1"))
    assert dict(tlv8.decode(peer.answer(message(SETUP, "m5"))))[hap.ERROR] == b"\1"
    assert accessory.clients == {}


def test_recorded_messages_are_no_use(paired):
    """What an earlier connection said proves nothing on this one."""
    said = []
    peer = Handshakes(paired)
    drive(hap_verify(CREDENTIALS), lambda data: said.append(data) or peer.answer(data))
    thief = Handshakes(paired)
    assert hap.ERROR not in dict(tlv8.decode(thief.answer(said[0])))
    reply = thief.answer(said[1])
    assert dict(tlv8.decode(reply))[hap.ERROR] == bytes([hap.AUTHENTICATION])
    assert reply.secret is None


# -- every message, tampered -----------------------------------------------------------------------


def spots(length: int, share) -> list[int]:
    """Where to tamper: tags, lengths, first and last bytes, and others."""
    count = share(240)
    return sorted(
        {0, 1, 2, 3, length - 1, *(length * n // count for n in range(count))} & {*range(length)}
    )


class Liar:
    """Stands between the ends and changes one byte of one message."""

    def __init__(self, peer, number, at, flip):
        self.peer, self.number, self.at, self.flip = peer, number, at, flip
        self.count = 0
        self.lengths = []
        self.replies = []

    def touch(self, data):
        self.count += 1
        self.lengths.append(len(data))
        if self.count != self.number or self.at >= len(data):
            return data
        return data[: self.at] + bytes([data[self.at] ^ self.flip]) + data[self.at + 1 :]

    def __call__(self, request):
        reply = self.peer.answer(self.touch(request))
        self.replies.append(reply)
        return self.touch(bytes(reply))


def lengths(steps, accessory) -> list[int]:
    liar = Liar(Handshakes(accessory), 0, 0, 0)
    drive(steps, liar)
    liar.peer.close()
    return liar.lengths


def test_tampered_setup(accessory, share):
    accessory.back_off = False
    sizes = lengths(hap_setup(CLIENT, PIN), accessory)
    assert len(sizes) == 6
    tried = 0
    for number, size in enumerate(sizes, 1):
        for at in spots(size, share):
            accessory.clients.clear()
            accessory.failures = 0  # after 100 it would refuse the rest unheard
            peer = Handshakes(accessory)
            liar = Liar(peer, number, at, 1 << tried % 8)
            with pytest.raises(AppleTVError):
                drive(hap_setup(CLIENT, PIN), liar)
            peer.close()
            assert accessory.pin_shown is None
            # Only the last message may fail to arrive without the device noticing.
            assert bool(accessory.clients) is (number == 6)
            tried += 1
    assert tried > 60


def test_tampered_verify(paired, share):
    sizes = lengths(hap_verify(CREDENTIALS), paired)
    assert len(sizes) == 4
    for number, size in enumerate(sizes, 1):
        for at in spots(size, share):
            liar = Liar(Handshakes(paired), number, at, 1 << at % 8)
            with pytest.raises(AppleTVError):
                drive(hap_verify(CREDENTIALS), liar)
            assert any(reply.secret for reply in liar.replies) is (number == 4)


def test_nonsense_to_the_device(paired, share):
    rng = random.Random(3)
    start = [message(SETUP, "m1"), message(VERIFY, "m1")]
    for _ in range(share(2000)):
        peer = Handshakes(paired)
        if rng.random() < 0.5:
            peer.answer(rng.choice(start))
        data = bytearray(rng.choice([*start, message(SETUP, "m3"), message(VERIFY, "m3")]))
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        reply = peer.answer(bytes(data[: rng.randrange(len(data) + 1)]))
        assert reply.secret is None
        tlv8.decode(reply)
        peer.close()


def test_nonsense_to_the_client(share):
    rng = random.Random(4)
    replies = [message(SETUP, "m2"), message(VERIFY, "m2")]
    for _ in range(share(2000)):
        data = bytearray(rng.choice(replies))
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        data = bytes(data[: rng.randrange(len(data) + 1)])
        for steps in (hap_setup(CLIENT, PIN), hap_verify(CREDENTIALS)):
            with pytest.raises(AppleTVError):
                drive(steps, lambda _, data=data: data)


@pytest.mark.parametrize("protocol", ["mrp", "airplay", "companion"])
def test_computed_before_the_pin_is_typed(protocol, monkeypatch):
    """What needs no PIN is done while the device thinks, or the person looks for the remote."""
    monkeypatch.setattr(srp.HAP, "powers", [])
    monkeypatch.setattr(srp.HAP, "drawn", [])
    with VirtualAppleTV(
        profile="tvos14" if protocol == "mrp" else "tvos15", protocols=[protocol], credentials=()
    ) as tv:  # fmt: skip
        ready = []

        def pin():
            until = time.monotonic() + 5
            while not srp.HAP.drawn and time.monotonic() < until:
                threading.Event().wait(0.01)
            ready.extend(srp.HAP.drawn)
            return tv.pin

        store = tinyatv.Store(memory=True)
        tinyatv.pair(tv.device, protocols=[protocol], pin=pin, store=store)
        assert len(ready) == 1
        assert srp.HAP.drawn == []  # used, and not twice
        tinyatv.connect(store.devices()[0].device).close()


@pytest.mark.parametrize("kind", ZEROS)
def test_leading_zeros_of_public_values(accessory, kind):
    """In A, in B, in both: paired; and a wrong PIN is still wrong."""
    a, b = ZEROS[kind]
    accessory._pin = "1234"
    for pin, right in (("1234", True), ("1235", False)):
        device = hap_setup_device(accessory, accessory, private=b, salt=SALTED)
        next(device)
        steps = hap_setup(CLIENT, pin, private=a)
        if right:
            made = drive(steps, device.send)
            assert made.device_key == DEVICE.public
            assert accessory.clients[CLIENT.identifier] == CLIENT.public
        else:
            with pytest.raises(PairingError, match="wrong PIN"):
                drive(steps, device.send)
