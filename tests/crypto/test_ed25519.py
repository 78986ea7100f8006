"""Ed25519."""

from __future__ import annotations

import hashlib
import os
import sys
import threading

import pytest

from tests.crypto.conftest import wycheproof
from tests.support.vectors import cases
from tinyatv import crypto
from tinyatv.crypto import ed25519

RFC_8032 = [  # section 7.1: seed, public key, message, signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970"
        "1cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613"
        "d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760"
        "984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
        "08b8b2b733424243760fe426a4b54908632110a66c2f6591eabd3345e3e4eb98fa6e264bf09efe12ee50f8f5"
        "4e9f77b1e355f6c50544e23fb1433ddf73be84d879de7c0046dc4996d9e773f4bc9efe5738829adb26c81b37"
        "c93a1b270b20329d658675fc6ea534e0810a4432826bf58c941efb65d57a338bbd2e26640f89ffbc1a858efc"
        "b8550ee3a5e1998bd177e93a7363c344fe6b199ee5d02e82d522c4feba15452f80288a821a579116ec6dad2b"
        "3b310da903401aa62100ab5d1a36553e06203b33890cc9b832f79ef80560ccb9a39ce767967ed628c6ad573c"
        "b116dbefefd75499da96bd68a8a97b928a8bbc103b6621fcde2beca1231d206be6cd9ec7aff6f6c94fcd7204"
        "ed3455c68c83f4a41da4af2b74ef5c53f1d8ac70bdcb7ed185ce81bd84359d44254d95629e9855a94a7c1958"
        "d1f8ada5d0532ed8a5aa3fb2d17ba70eb6248e594e1a2297acbbb39d502f1a8c6eb6f1ce22b3de1a1f40cc24"
        "554119a831a9aad6079cad88425de6bde1a9187ebb6092cf67bf2b13fd65f27088d78b7e883c8759d2c4f5c6"
        "5adb7553878ad575f9fad878e80a0c9ba63bcbcc2732e69485bbc9c90bfbd62481d9089beccf80cfe2df16a2"
        "cf65bd92dd597b0707e0917af48bbb75fed413d238f5555a7a569d80c3414a8d0859dc65a46128bab27af87a"
        "71314f318c782b23ebfe808b82b0ce26401d2e22f04d83d1255dc51addd3b75a2b1ae0784504df543af8969b"
        "e3ea7082ff7fc9888c144da2af58429ec96031dbcad3dad9af0dcbaaaf268cb8fcffead94f3c7ca495e056a9"
        "b47acdb751fb73e666c6c655ade8297297d07ad1ba5e43f1bca32301651339e22904cc8c42f58c30c04aafdb"
        "038dda0847dd988dcda6f3bfd15c4b4c4525004aa06eeff8ca61783aacec57fb3d1f92b0fe2fd1a85f672451"
        "7b65e614ad6808d6f6ee34dff7310fdc82aebfd904b01e1dc54b2927094b2db68d6f903b68401adebf5a7e08"
        "d78ff4ef5d63653a65040cf9bfd4aca7984a74d37145986780fc0b16ac451649de6188a7dbdf191f64b5fc5e"
        "2ab47b57f7f7276cd419c17a3ca8e1b939ae49e488acba6b965610b5480109c8b17b80e1b7b750dfc7598d5d"
        "5011fd2dcc5600a32ef5b52a1ecc820e308aa342721aac0943bf6686b64b2579376504ccc493d97e6aed3fb0"
        "f9cd71a43dd497f01f17c0e2cb3797aa2a2f256656168e6c496afc5fb93246f6b1116398a346f1a641f3b041"
        "e989f7914f90cc2c7fff357876e506b50d334ba77c225bc307ba537152f3f1610e4eafe595f6d9d90d11faa9"
        "33a15ef1369546868a7f3a45a96768d40fd9d03412c091c6315cf4fde7cb68606937380db2eaaa707b4c4185"
        "c32eddcdd306705e4dc1ffc872eeee475a64dfac86aba41c0618983f8741c5ef68d3a101e8a3b8cac60c905c"
        "15fc910840b94c00a0b9d0",
        "0aab4c900501b3e24d7cdf4663326a3a87df5e4843b2cbdb67cbf6e460fec350aa5371b1508f9f4528ecea23"
        "c436d94b5e8fcd4f681e30a6ac00a9704a188a03",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"), RFC_8032, ids=["1", "2", "3", "1024", "SHA(abc)"]
)
def test_rfc_8032(seed, public, message, signature, engine):
    seed, public, message, signature = map(bytes.fromhex, (seed, public, message, signature))
    assert ed25519.public(seed) == public
    assert ed25519.sign(seed, message) == signature
    assert ed25519.verify(public, message, signature)


KEYS = [case for case in cases("pairing", "public_keys") if case["algorithm"] == "ed25519"]


@pytest.mark.parametrize("case", KEYS, ids=lambda case: case["name"])
def test_public_keys(case, engine):
    public = ed25519.public(bytes.fromhex(case["private_hex"]))
    assert public.hex() == case["expect"]["public_hex"]


SIGNED = [
    (case["name"], case.get("client_seed_hex") or case.get("device_seed_hex") or case["seed_hex"])
    + (case["expect"]["signed_hex"], case["expect"]["signature_hex"])
    for group in ("pair_setup", "pair_verify")
    for case in cases("pairing", group)
    if "signature_hex" in case["expect"]
]


@pytest.mark.parametrize(("seed", "signed", "signature"), [c[1:] for c in SIGNED])
def test_signatures_of_pairing(seed, signed, signature, engine):
    seed, signed = bytes.fromhex(seed), bytes.fromhex(signed)
    assert ed25519.sign(seed, signed).hex() == signature
    assert ed25519.verify(ed25519.public(seed), signed, bytes.fromhex(signature))


@pytest.mark.parametrize("group", ["pair_setup", "pair_verify"])
def test_bad_signatures_of_pairing(group, engine):
    bad = [case for case in cases("pairing", group) if case["name"].endswith("bad_signature")]
    assert len(bad) == 1
    public, signed, signature = (
        bytes.fromhex(bad[0][name]) for name in ("public_hex", "signed_hex", "signature_hex")
    )
    assert not ed25519.verify(public, signed, signature)


def test_every_flipped_bit_is_refused(engine):
    seed = os.urandom(32)
    public = ed25519.public(seed)
    signature = ed25519.sign(seed, b"message")
    assert ed25519.verify(public, b"message", signature)
    assert not ed25519.verify(public, b"messagf", signature)
    for bit in range(0, 512, 3):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert not ed25519.verify(public, b"message", bytes(changed))
    for bit in range(0, 256, 3):
        changed = bytearray(public)
        changed[bit // 8] ^= 1 << bit % 8
        assert not ed25519.verify(bytes(changed), b"message", signature)


def test_verify_never_raises(engine):
    seed = bytes(32)
    public, signature = ed25519.public(seed), ed25519.sign(seed, b"")
    for size in (0, 31, 33, 64):
        assert not ed25519.verify(bytes(size), b"", signature)
    for size in (0, 63, 65, 128):
        assert not ed25519.verify(public, b"", bytes(size))
    for _ in range(50):
        assert not ed25519.verify(os.urandom(32), b"", os.urandom(32) + bytes(32))
        assert not ed25519.verify(os.urandom(32), b"", os.urandom(64))


def test_only_one_way_to_write_it(engine):
    """RFC 8032 section 5.1: S below the group's order, y below the prime."""
    seed = bytes(32)
    public, signature = ed25519.public(seed), ed25519.sign(seed, b"")
    s = int.from_bytes(signature[32:], "little") + L
    assert not ed25519.verify(public, b"", signature[:32] + s.to_bytes(32, "little"))
    for y in range(P, 2**255):
        assert not signs_anything(y)


def test_low_order_keys_are_refused(engine):
    assert len(ed25519.LOW_ORDER) == 5  # 8 points, of which 6 differ only in the sign of x
    for y in ed25519.LOW_ORDER:
        assert not signs_anything(y)


def signs_anything(y):
    """Whether R = S * B is taken for a signature: for these keys of all messages, or one in 8."""
    s = (
        int.from_bytes(hashlib.sha512(bytes(32)).digest()[:32], "little") & (1 << 254) - 8
        | 1 << 254
    )
    forged = ed25519.public(bytes(32)) + (s % L).to_bytes(32, "little")
    return any(
        ed25519.verify((y | sign << 255).to_bytes(32, "little"), bytes([number]), forged)
        for sign in (0, 1)
        for number in range(16)
    )


def test_first_use_by_many_threads(monkeypatch):
    """The table is made at first use, and nobody sees half of one."""
    crypto.use("python")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    results = []
    try:
        for _ in range(5):
            monkeypatch.setattr(ed25519, "_comb", [])
            threads = [
                threading.Thread(target=lambda: results.append(ed25519.public(bytes(32))))
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
    finally:
        sys.setswitchinterval(interval)
        crypto.use(None)
    assert results == [ed25519.public(bytes(32))] * 20


def test_same_signatures(both):
    for size in (0, 1, 31, 100, 2000):
        seed, message = os.urandom(32), os.urandom(size)
        ours, theirs = both(ed25519.sign, seed, message)
        assert ours == theirs
        assert both(ed25519.verify, ed25519.public(seed), message, ours) == [True, True]


def test_wycheproof(engine):
    """Acceptable to it are keys of low and of mixed order; we take the latter only."""
    run = low = 0
    for group, case in wycheproof("Signature/wycheproof/ed25519_test.json"):
        public = bytes.fromhex(group["publicKey"]["pk"])
        expect = case["result"] != "invalid"
        if "SmallOrderPublicKey" in case["flags"]:
            low += 1
            expect = False
        message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
        run += 1
        assert ed25519.verify(public, message, signature) is expect, case["tcId"]
    assert (run, low) == (210, 8)
