"""HKDF-SHA512."""

from __future__ import annotations

import pytest

from tests.crypto.conftest import wycheproof
from tests.support.vectors import cases
from tinyatv.crypto import hkdf


@pytest.mark.parametrize("case", cases("pairing", "key_derivation"), ids=lambda case: case["name"])
def test_derived_keys(case, engine):
    key = hkdf.derive(bytes.fromhex(case["ikm_hex"]), case["salt"], case["info"])
    assert key.hex() == case["expect"]["key_hex"]


def test_text_is_utf8():
    assert hkdf.derive(b"k", "sälz", "ïnfo") == hkdf.derive(b"k", "sälz".encode(), "ïnfo".encode())


def test_lengths_are_prefixes():
    longest = hkdf.derive(b"k", b"s", b"i", 255 * 64)
    assert len(longest) == 255 * 64
    for length in (1, 32, 63, 64, 65, 128):
        assert hkdf.derive(b"k", b"s", b"i", length) == longest[:length]


def test_wycheproof():
    run = 0
    for _, case in wycheproof("Protocol/wycheproof/hkdf_sha512_test.json"):
        ikm, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
        run += 1
        if case["result"] == "valid":
            assert hkdf.derive(ikm, salt, info, case["size"]).hex() == case["okm"], case["tcId"]
        else:
            with pytest.raises(ValueError, match="cannot derive"):
                hkdf.derive(ikm, salt, info, case["size"])
    assert run == 83
