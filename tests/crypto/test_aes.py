"""AES-128: NIST's vectors, the recording of a real device, Wycheproof."""

from __future__ import annotations

import hashlib
import os
import random

import pytest

from tests.crypto.conftest import wycheproof
from tests.support.vectors import cases
from tinyatv.crypto import aes, curve25519, ed25519

SETUP = {case["name"]: case for case in cases("pairing", "legacy_setup")}
VERIFY = {case["name"]: case for case in cases("pairing", "legacy_verify")}

# SP 800-38A, appendix F
KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)

# The GCM specification (McGrew and Viega), appendix B, test cases 1 to 6.
GCM_KEY = "feffe9928665731c6d6a8f9467308308"
GCM_PLAIN = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
GCM_SEALED = (
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
    "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
)
GCM_AAD = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
GCM = [  # key, iv, plain, aad, sealed, tag
    ("00" * 16, "00" * 12, "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
    (
        "00" * 16,
        "00" * 12,
        "00" * 16,
        "",
        "0388dace60b6a392f328c2b971b2fe78",
        "ab6e47d42cec13bdf53a67b21257bddf",
    ),
    (
        GCM_KEY,
        "cafebabefacedbaddecaf888",
        GCM_PLAIN,
        "",
        GCM_SEALED,
        "4d5c2af327cd64a62cf35abd2ba6fab4",
    ),
    (
        GCM_KEY,
        "cafebabefacedbaddecaf888",
        GCM_PLAIN[:120],
        GCM_AAD,
        GCM_SEALED[:120],
        "5bc94fbc3221a5db94fae95ae7121a47",
    ),
    (
        GCM_KEY,
        "cafebabefacedbad",
        GCM_PLAIN[:120],
        GCM_AAD,
        "61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c7423"
        "73806900e49f24b22b097544d4896b424989b5e1ebac0f07c23f4598",
        "3612d2e79e3b0785561be14aaca2fccb",
    ),
    (
        GCM_KEY,
        "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728"
        "c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b",
        GCM_PLAIN[:120],
        GCM_AAD,
        "8ce24998625615b603a033aca13fb894be9112a5c3a211a8ba262a3cca7e2ca7"
        "01e4a9a4fba43c90ccdcb281d48c7c6fd62875d2aca417034c34aee5",
        "619cc5aefffe0bfa462af43c1699d050",
    ),
]


def test_cbc(engine):
    """SP 800-38A F.2.1 and F.2.2."""
    iv = bytes(range(16))
    sealed = bytes.fromhex(
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
        "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"
    )
    assert aes.cbc_encrypt(KEY, iv, PLAIN) == sealed
    assert aes.cbc_decrypt(KEY, iv, sealed) == PLAIN
    assert aes.cbc_encrypt(KEY, iv, b"") == aes.cbc_decrypt(KEY, iv, b"") == b""


def test_ctr(engine):
    """SP 800-38A F.5.1 and F.5.2."""
    iv = bytes(range(0xF0, 0x100))
    sealed = bytes.fromhex(
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
        "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee"
    )
    assert aes.ctr(KEY, iv, PLAIN) == sealed
    assert aes.ctr(KEY, iv, sealed) == PLAIN
    assert aes.ctr(KEY, iv, b"") == b""


def test_ctr_goes_on(engine):
    whole = aes.ctr(KEY, bytes(16), bytes(2000))
    rng = random.Random(3)
    stream = aes.Ctr(KEY, bytes(16))
    at = 0
    while at < 2000:
        size = min(rng.choice((0, 1, 5, 15, 16, 17, 64, 200)), 2000 - at)
        assert stream.xor(bytes(size)) == whole[at : at + size]
        at += size


def test_ctr_wraps(engine):
    """All 128 bits count."""
    after = aes.ctr(KEY, bytes(16), bytes(32))
    assert aes.ctr(KEY, b"\xff" * 16, bytes(48))[16:] == after
    stream = aes.Ctr(KEY, b"\xff" * 16)
    stream.xor(bytes(16))
    assert stream.xor(bytes(32)) == after


@pytest.mark.parametrize(("key", "iv", "plain", "aad", "sealed", "tag"), GCM)
def test_gcm(key, iv, plain, aad, sealed, tag, engine):
    key, iv, plain, aad, sealed, tag = map(bytes.fromhex, (key, iv, plain, aad, sealed, tag))
    assert aes.gcm_seal(key, iv, plain, aad) == (sealed, tag)
    assert aes.gcm_open(key, iv, sealed, tag, aad) == plain
    for at in range(16):
        changed = bytearray(tag)
        changed[at] ^= 1
        with pytest.raises(ValueError, match="wrong tag"):
            aes.gcm_open(key, iv, sealed, bytes(changed), aad)
    with pytest.raises(ValueError, match="wrong tag"):
        aes.gcm_open(key, iv, sealed, tag, aad + b"\0")


def test_same_bytes(both):
    rng = random.Random(4)
    for _ in range(40):
        key, iv = os.urandom(16), os.urandom(16)
        data, aad = os.urandom(rng.randrange(300)), os.urandom(rng.randrange(40))
        blocks = os.urandom(16 * rng.randrange(20))
        for call in (
            (aes.ctr, key, iv, data),
            (aes.cbc_encrypt, key, iv, blocks),
            (aes.cbc_decrypt, key, iv, blocks),
            (aes.gcm_seal, key, os.urandom(rng.randrange(1, 200)), data, aad),
        ):
            ours, theirs = both(*call)
            assert ours == theirs


def test_wycheproof(engine):
    run = 0
    for group, case in wycheproof("Cipher/wycheproof/aes_gcm_test.json"):
        if group["keySize"] != 128:
            continue
        run += 1
        key, iv, aad, data, sealed, tag = (
            bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        if case["result"] == "valid":
            assert aes.gcm_seal(key, iv, data, aad) == (sealed, tag), case["tcId"]
            assert aes.gcm_open(key, iv, sealed, tag, aad) == data, case["tcId"]
        else:
            with pytest.raises(ValueError, match="wrong tag" if iv else "empty iv"):
                aes.gcm_open(key, iv, sealed, tag, aad)
    assert run == 108


# -- Legacy pairing


def test_legacy_setup(engine):
    expect = SETUP["gcm_keys"]["expect"]
    secret = bytes.fromhex(SETUP["gcm_keys"]["K_hex"])
    key = hashlib.sha512(b"Pair-Setup-AES-Key" + secret).digest()[:16]
    assert key.hex() == expect["aes_key_hex"]
    case = SETUP["client_message"]
    sealed, tag = aes.gcm_seal(key, bytes.fromhex(case["iv_hex"]), bytes.fromhex(case["plain_hex"]))
    assert sealed.hex() == case["expect"]["epk_hex"]
    assert tag.hex() == case["expect"]["tag_hex"]
    for name in ("device_message", "device_message_changed_tag"):
        case = SETUP[name]
        iv, sealed, tag = (bytes.fromhex(case[f"{part}_hex"]) for part in ("iv", "epk", "tag"))
        if "error" in case["expect"]:
            with pytest.raises(ValueError, match="wrong tag"):
                aes.gcm_open(key, iv, sealed, tag)
        else:
            assert aes.gcm_open(key, iv, sealed, tag).hex() == case["expect"]["plain_hex"]


def test_legacy_intermediates():
    """What an iv of 16 bytes becomes."""
    case = SETUP["gcm_intermediates"]
    keys = aes._expand(bytes.fromhex(case["aes_key_hex"]))
    assert aes._encrypt(keys, bytes(16)).hex() == case["expect"]["H_hex"]
    start = aes._gcm_start(keys, bytes.fromhex(case["iv_hex"]))
    assert f"{start:032x}" == case["expect"]["J0_hex"]


@pytest.mark.parametrize("name", ["response_1", "response_1_changed_signature"])
def test_legacy_verify(name, engine):
    """The client's signature continues the key stream where the device's ended."""
    case, reply = VERIFY[name], VERIFY["request_2"]
    response = bytes.fromhex(case["response_hex"])
    private = bytes.fromhex(case["x25519_private_hex"])
    shared = curve25519.shared(private, response[:32])
    key = hashlib.sha512(b"Pair-Verify-AES-Key" + shared).digest()[:16]
    stream = aes.Ctr(key, hashlib.sha512(b"Pair-Verify-AES-IV" + shared).digest()[:16])
    signature = stream.xor(response[32:])
    public = bytes.fromhex(case["device_ed25519_public_hex"])
    signed = response[:32] + curve25519.public(private)
    if "error" in case["expect"]:
        assert not ed25519.verify(public, signed, signature)
        return
    assert shared.hex() == case["expect"]["shared_hex"]
    assert key.hex() == case["expect"]["aes_key_hex"]
    assert signature.hex() == case["expect"]["device_signature_hex"]
    assert ed25519.verify(public, signed, signature)
    mine = curve25519.public(private) + response[:32]
    mine = ed25519.sign(bytes.fromhex(reply["ed25519_seed_hex"]), mine)
    assert mine.hex() == reply["expect"]["client_signature_hex"]
    assert (bytes(4) + stream.xor(mine)).hex() == reply["expect"]["message_hex"]
