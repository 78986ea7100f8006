"""SRP: the sheet's exchanges, the recording of a real device, corner cases."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.srp_values import SALTED, ZEROS
from tests.support.vectors import cases
from tinyatv.crypto import srp

CASES = {case["name"]: case for case in cases("pairing", "srp")}
GROUPS = {case["name"]: case for case in cases("pairing", "srp_groups")}
LEGACY = {case["name"]: case for case in cases("pairing", "legacy_setup")}["srp"]


def raw(case, name):
    return bytes.fromhex(case[f"{name}_hex"])


def client_of(case, **changes):
    case = {**case, **changes}
    return srp.Client(case["password"], case["user"], private=raw(case, "a"))


def device_of(case, **changes):
    case = {**case, **changes}
    return srp.Device(
        case["password"], case["user"], private=raw(case, "b"), salt=raw(case, "salt")
    )


@pytest.mark.parametrize(
    ("group", "name"), [(srp.HAP, "hap_3072_sha512"), (srp.LEGACY, "legacy_2048_sha1")]
)
def test_groups(group, name):
    case = GROUPS[name]
    expect = case["expect"]
    assert group.prime == int(case["n_int_hex"], 16)
    assert group.generator == case["generator"]
    assert group.hash_name == case["hash"]
    assert group.k == int(expect["k_hex"], 16)
    if "hash_n_xor_hash_g_hex" in expect:
        assert group.mark.hex() == expect["hash_n_xor_hash_g_hex"]
    else:
        assert group.mark.hex().startswith(expect["hash_n_xor_hash_g_prefix_hex"])
        assert group.digest(case["user"].encode()).hex().startswith(expect["hash_user_prefix_hex"])


@pytest.mark.parametrize(("prime", "generator"), [("17", 5), (f"{srp.LEGACY.prime:x}", 2)])
def test_powers(prime, generator):
    """The same with the powers at hand and without, whatever the size of the exponent."""
    group, other = (srp.Group(prime, generator, "sha512") for _ in range(2))
    group.powers = group.make_powers()
    most = 1 << 4 * srp.DIGITS
    for exponent in (0, 1, 15, 16, 0xF0, 12345678901, most // 3, most - 1, most, most * 7 + 5):
        assert (
            group.power(exponent)
            == other.power(exponent)
            == pow(generator, exponent, int(prime, 16))
        )


def test_prepare():
    """What is computed ahead is used once, by clients that draw, and the exchange is as ever."""
    group = srp.Group(f"{srp.LEGACY.prime:x}", 2, "sha1", halves=True)
    plain = srp.Client("1234", group=group, private=bytes(range(32))).public
    srp.prepare(group)
    srp.prepare(group)
    assert len(group.drawn) == 1
    assert srp.Client("1234", group=group, private=bytes(range(32))).public == plain
    assert len(group.drawn) == 1
    clients = [srp.Client("1234", group=group) for _ in range(3)]
    assert not group.drawn
    assert len({client.public for client in clients}) == 3
    for client in clients:
        device = srp.Device("1234", group=group)
        proof = device.check(client.public, client.respond(device.salt, device.public))
        assert client.check(proof)
        assert client.key == device.key


def test_prime():
    digest = hashlib.sha256(srp.HAP.pad(srp.HAP.prime)).hexdigest()
    assert digest == GROUPS["hap_3072_prime_digest"]["expect"]["sha256_hex"]


@pytest.mark.parametrize("name", ["pin_1111", "shared_s_is_383_bytes", "transient_3939"])
def test_exchange(name):
    case = CASES[name]
    expect = case["expect"]
    client, device = client_of(case), device_of(case)
    assert client.public.hex() == expect.get("A_hex", client.public.hex())
    assert device.public.hex() == expect.get("B_hex", device.public.hex())
    proof = client.respond(device.salt, device.public)
    assert proof.hex() == expect["client_proof_hex"]
    answer = device.check(client.public, proof)
    assert answer.hex() == expect["device_proof_hex"]
    assert client.check(answer)
    assert client.key.hex() == device.key.hex() == expect["K_hex"]


def test_short_public_value():
    """A of 383 bytes: devices take it with and without its zero, clients both of their proofs."""
    case = CASES["public_a_is_383_bytes"]
    expect = case["expect"]
    client = client_of(case)
    assert client.public.hex() == "00" * (384 - expect["A_length"]) + expect["A_hex"].lstrip("0")
    proof = client.respond(raw(case, "salt"), device_of(case).public)
    assert proof.hex() == expect["client_proof_hex"]
    for public in (client.public, client.public[1:]):
        answer = device_of(case).check(public, proof)
        assert answer.hex() == expect["device_proof_padded_a_hex"]
    assert client.key.hex() == expect["K_hex"]
    assert client.check(raw(expect, "device_proof_padded_a"))
    assert client.check(raw(expect, "device_proof_minimal_a"))
    assert not client.check(bytes(64))


def test_device_side():
    case = CASES["device_side_only"]
    device = device_of(case)
    assert device.public.hex() == case["expect"]["B_hex"]
    answer = device.check(raw(case, "A"), raw(case["expect"], "client_proof"))
    assert answer.hex() == case["expect"]["device_proof_hex"]
    assert device.key.hex() == case["expect"]["K_hex"]


@pytest.mark.parametrize("name", ["b_is_zero", "b_is_n"])
def test_client_refuses(name):
    case = CASES[name]
    with pytest.raises(ValueError, match="zero"):
        client_of(case).respond(raw(case, "salt"), raw(case, "B"))


@pytest.mark.parametrize("name", ["a_is_zero", "a_is_n"])
def test_device_refuses(name):
    case = CASES[name]
    with pytest.raises(ValueError, match="zero") as caught:
        device_of(case).check(raw(case, "A"), bytes(64))
    assert not isinstance(caught.value, srp.WrongProof)


def test_wrong_proofs():
    case = CASES["wrong_client_proof"]
    device = device_of(case)
    with pytest.raises(srp.WrongProof, match="PIN"):
        device.check(raw(case, "A"), raw(case, "client_proof"))
    assert device.key == b""
    case = CASES["wrong_device_proof"]
    client = client_of(case)
    too_early = srp.HAP.digest(client.public, b"", b"")
    assert not client.check(too_early)
    client.respond(raw(case, "salt"), raw(case, "B"))
    assert not client.check(raw(case, "device_proof"))
    assert not client.check(b"")


@pytest.mark.parametrize("group", [srp.HAP, srp.LEGACY])
@pytest.mark.parametrize("size", [0, 1])
def test_sizes_of_public_values(group, size):
    """Empty, and longer than the group."""
    data = bytes(group.size + 1)[: size * (group.size + 1)]
    with pytest.raises(ValueError, match=f"of {len(data)} bytes"):
        srp.Client("1111", group=group).respond(bytes(16), data)
    with pytest.raises(ValueError, match=f"of {len(data)} bytes"):
        srp.Device("1111", group=group).check(data, bytes(64))


@pytest.mark.parametrize("group", [srp.HAP, srp.LEGACY])
def test_zero_u_is_refused(group, monkeypatch):
    client, device = srp.Client("1111", group=group), srp.Device("1111", group=group)
    monkeypatch.setattr(srp.Group, "number", lambda *args: 0)
    with pytest.raises(ValueError, match="cancel out"):
        client.respond(device.salt, device.public)
    with pytest.raises(ValueError, match="cancel out"):
        device.check(client.public, bytes(64))


@pytest.mark.parametrize("pin", ["0042", "3939"])
@pytest.mark.parametrize(("group", "user"), [(srp.HAP, "Pair-Setup"), (srp.LEGACY, "75FBEEC7")])
def test_fresh_values(group, user, pin):
    client, device = srp.Client(pin, user, group), srp.Device(pin, user, group)
    proof = client.respond(device.salt, device.public)
    assert client.check(device.check(client.public, proof))
    assert client.key == device.key
    assert len(client.key) == (64 if group is srp.HAP else 40)
    with pytest.raises(srp.WrongProof):
        srp.Device("42", user, group, salt=device.salt).check(client.public, proof)
    with pytest.raises(srp.WrongProof):
        device.check(client.public, proof[:-1])


def test_values_have_no_leading_zeros(monkeypatch):
    """Drawn again: 1 of 256 would begin with a zero, here it is every other."""
    pad = srp.Group.pad

    def stricter(self, number):
        data = pad(self, number)
        return data if data[0] & 1 else b"\0" + data[1:]

    monkeypatch.setattr(srp.Group, "pad", stricter)
    for _ in range(5):
        assert srp.Client("1111", group=srp.LEGACY).public[0]
        device = srp.Device("1111", group=srp.LEGACY)
        assert device.public[0]
        assert device.salt[0]
        assert len(device.salt) == 16


def test_legacy_recording():
    """A real device: what it computed, we do."""
    expect = LEGACY["expect"]
    client = srp.Client(LEGACY["password"], LEGACY["user"], srp.LEGACY, raw(LEGACY, "a"))
    assert client.public.hex() == expect["A_hex"]
    proof = client.respond(raw(LEGACY, "salt"), raw(LEGACY, "B"))
    assert proof.hex() == expect["client_proof_hex"]
    assert client.key.hex() == expect["K_hex"]
    assert client.check(raw(expect, "device_proof"))


# -- leading zeros


def number(data):
    return int.from_bytes(data, "big")


class Peer:
    """SRP as RFC 5054 has it, written anew, by a side that takes its numbers padded, or short."""

    def __init__(self, padded: bool) -> None:
        self.prime, self.size = srp.HAP.prime, 384
        self.form = self.pad if padded else self.short

    def pad(self, value):
        return value.to_bytes(self.size, "big")

    def short(self, value):
        return self.pad(value).lstrip(b"\0")

    def hash(self, *parts):
        return hashlib.sha512(b"".join(parts)).digest()

    def proof(self, A, B, key):
        n, g = self.hash(self.pad(self.prime)), self.hash(b"\5")
        mark = bytes(x ^ y for x, y in zip(n, g))
        return self.hash(
            mark, self.hash(b"Pair-Setup"), SALTED, self.form(number(A)), self.form(number(B)), key
        )

    def answer(self, A, proof, key):
        return self.hash(self.form(number(A)), proof, key)


def exchange(kind, pin="1234"):
    """Both ends of ours, after the public values have crossed."""
    a, b = ZEROS[kind]
    client = srp.Client(pin, private=a)
    device = srp.Device("1234", private=b, salt=SALTED)
    assert (client.public[0] == 0, device.public[0] == 0) == (kind in "A both", kind in "B both")
    return client, device


@pytest.mark.parametrize("kind", ZEROS)
def test_leading_zeros_between_our_ends(kind):
    client, device = exchange(kind)
    assert client.check(device.check(client.public, client.respond(SALTED, device.public)))
    assert client.key == device.key


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("kind", ZEROS)
def test_leading_zeros_and_a_client_of_another_make(kind, padded):
    """Our device takes its proof, in whichever form it takes and sends the numbers."""
    client, device = exchange(kind)
    client.respond(SALTED, device.public)  # for the key, which has one form alone
    peer = Peer(padded)
    proof = peer.proof(client.public, device.public, client.key)
    for public in (client.public, client.public.lstrip(b"\0")):
        answer = exchange(kind)[1].check(public, proof)
        assert answer in {Peer(form).answer(public, proof, client.key) for form in (True, False)}


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("kind", ZEROS)
def test_leading_zeros_and_a_device_of_another_make(kind, padded):
    """Our client takes its proof."""
    client, device = exchange(kind)
    proof = client.respond(SALTED, device.public)
    assert client.check(Peer(padded).answer(client.public, proof, client.key))


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("kind", ZEROS)
def test_leading_zeros_and_a_wrong_pin(kind, padded):
    client, device = exchange(kind, pin="1235")
    proof = client.respond(SALTED, device.public)
    with pytest.raises(srp.WrongProof):
        device.check(client.public, proof)
    with pytest.raises(srp.WrongProof):
        device.check(client.public, Peer(padded).proof(client.public, device.public, client.key))
    assert device.key == b""
    right = exchange(kind)[0]
    right.respond(SALTED, device.public)
    assert not client.check(Peer(padded).answer(client.public, proof, right.key))


def test_forms_differ_for_leading_zeros_alone():
    assert len(srp.HAP.forms(srp.HAP.prime - 1)) == 1
    assert len(srp.HAP.forms(srp.HAP.prime - 1, srp.HAP.prime >> 8)) == 2
