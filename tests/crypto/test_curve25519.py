"""X25519."""

from __future__ import annotations

import os

import pytest

from tests.crypto.conftest import wycheproof
from tests.support.vectors import cases
from tinyatv.crypto import curve25519

BASE = "09" + 31 * "00"


@pytest.mark.parametrize(
    ("scalar", "u", "expect"),
    [  # RFC 7748 section 5.2
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_rfc_7748(scalar, u, expect, engine):
    assert curve25519.shared(bytes.fromhex(scalar), bytes.fromhex(u)).hex() == expect


def test_rfc_7748_iterated(engine):
    """RFC 7748 section 5.2: each result is the next private key, and the key before its point."""
    scalar = u = bytes.fromhex(BASE)
    expect = {
        1: "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
        1000: "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
    }
    for number in range(1, 1001):
        scalar, u = curve25519.shared(scalar, u), scalar
        if number in expect:
            assert scalar.hex() == expect[number]


def test_rfc_7748_agreement(engine):
    """RFC 7748 section 6.1."""
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    secret = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    alices = curve25519.public(alice)
    bobs = curve25519.public(bob)
    assert alices.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bobs.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert curve25519.shared(alice, bobs).hex() == secret
    assert curve25519.shared(bob, alices).hex() == secret


KEYS = [case for case in cases("pairing", "public_keys") if case["algorithm"] == "x25519"]


@pytest.mark.parametrize("case", KEYS, ids=lambda case: case["name"])
def test_public_keys(case, engine):
    public = curve25519.public(bytes.fromhex(case["private_hex"]))
    assert public.hex() == case["expect"]["public_hex"]


def test_shared_secret_of_pair_verify(engine):
    case = cases("pairing", "pair_verify")[0]
    for mine, theirs in (("client", "device"), ("device", "client")):
        private = bytes.fromhex(case[f"{mine}_private_hex"])
        secret = curve25519.shared(private, bytes.fromhex(case[f"{theirs}_public_hex"]))
        assert secret.hex() == case["expect"]["shared_hex"]


def test_public_is_the_base_point_times_the_key(both):
    """The table of Ed25519 points gives what the ladder gives."""
    for private in [bytes(32), b"\xff" * 32, b"\x08" + bytes(31), *map(os.urandom, [32] * 30)]:
        ours, theirs = both(curve25519.public, private)
        assert ours == theirs == curve25519.shared(private, bytes.fromhex(BASE))


def test_generate(engine):
    pairs = {curve25519.generate() for _ in range(10)}
    assert len(pairs) == 10
    (mine, my_public), (theirs, their_public) = list(pairs)[:2]
    assert curve25519.public(mine) == my_public
    assert curve25519.shared(mine, their_public) == curve25519.shared(theirs, my_public)


def test_low_order(engine):
    """RFC 7748 section 6.1: a secret of zeros is refused. The points are those of order 1 to 8."""
    for point in (
        bytes(32),
        b"\1" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        (2**255 - 20).to_bytes(32, "little"),
        (2**255 - 19).to_bytes(32, "little"),
        (2**255 - 18).to_bytes(32, "little"),
    ):
        with pytest.raises(ValueError, match="low order"):
            curve25519.shared(os.urandom(32), point)


def test_wycheproof(engine):
    """What it calls acceptable (twists, unusual encodings) works, but zeros are refused."""
    run = zeros = 0
    for _, case in wycheproof("Protocol/wycheproof/x25519_test.json"):
        private, public = bytes.fromhex(case["private"]), bytes.fromhex(case["public"])
        run += 1
        if case["shared"] == 64 * "0":
            zeros += 1
            with pytest.raises(ValueError, match="low order"):
                curve25519.shared(private, public)
        else:
            assert curve25519.shared(private, public).hex() == case["shared"], case["tcId"]
    assert (run, zeros) == (518, 31)
