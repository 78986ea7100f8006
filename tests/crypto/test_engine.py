"""Which engine does the work, and what happens when one is missing or broken."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tinyatv import crypto
from tinyatv.crypto import aes, chacha20poly1305, curve25519, ed25519, hkdf, srp

NATIVE = "cryptography.hazmat.bindings._rust"


class Panic(BaseException):
    """What a half-installed package raises, or nearly."""


@pytest.fixture(autouse=True)
def automatic(monkeypatch):
    monkeypatch.delenv("TINYATV_CRYPTO", raising=False)
    monkeypatch.setattr(crypto, "_loaded", {})
    crypto.use(None)
    yield
    crypto.use(None)


@pytest.fixture(params=[ImportError, OSError, AttributeError, Panic])
def broken(request, monkeypatch):
    """An installation of the package that fails when it is imported."""

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "cryptography":
                raise request.param("broken")
            return None

    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])


def test_use(engine):
    assert crypto.engine() == engine


def test_unknown_name(monkeypatch):
    with pytest.raises(ValueError, match=r"'openssl' is neither of cryptography, python"):
        crypto.use("openssl")
    monkeypatch.setenv("TINYATV_CRYPTO", "openssl")
    with pytest.raises(ValueError, match=r"TINYATV_CRYPTO: 'openssl'"):
        curve25519.generate()


def test_broken_package_is_passed_over(broken):
    assert crypto.engine() == "python"
    private, public = curve25519.generate()
    assert curve25519.public(private) == public


def test_broken_package_that_was_asked_for(broken, monkeypatch):
    with pytest.raises(ImportError, match=r"cryptography cannot be used: broken"):
        crypto.use("cryptography")
    assert crypto.engine() == "python"
    crypto.use(None)
    monkeypatch.setenv("TINYATV_CRYPTO", "cryptography")
    with pytest.raises(ImportError, match=r"TINYATV_CRYPTO: .* broken"):
        crypto.engine()


def test_interrupt_is_not_swallowed(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            raise KeyboardInterrupt

    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        crypto.engine()


def test_environment(engine, monkeypatch):
    crypto.use(None)
    monkeypatch.setenv("TINYATV_CRYPTO", engine)
    assert crypto.engine() == engine
    monkeypatch.setenv("TINYATV_CRYPTO", "")
    assert crypto.engine() == engine  # it is read once
    crypto.use(None)
    assert crypto.engine() in crypto.ENGINES


def test_build_without_a_primitive(monkeypatch):
    """That primitive is ours, and the others are not."""
    exceptions = pytest.importorskip("cryptography.exceptions")
    from cryptography.hazmat.primitives.ciphers import aead

    def unsupported(key):
        raise exceptions.UnsupportedAlgorithm("no")

    crypto.use("cryptography")
    expect = chacha20poly1305.seal(bytes(32), bytes(12), b"data")
    monkeypatch.setattr(crypto, "_loaded", {})
    monkeypatch.setattr(aead, "ChaCha20Poly1305", unsupported)
    assert chacha20poly1305.seal(bytes(32), bytes(12), b"data") == expect
    assert chacha20poly1305.Session(bytes(32), bytes(32)).prepare()
    assert crypto.native(chacha20poly1305._native) is None
    assert crypto.native(ed25519._native) is not None


@pytest.mark.parametrize(
    "call",
    [
        lambda: chacha20poly1305.seal(bytes(31), bytes(12), b""),
        lambda: chacha20poly1305.open(bytes(33), bytes(12), bytes(16)),
        lambda: chacha20poly1305.seal(bytes(32), bytes(11), b""),
        lambda: chacha20poly1305.seal(bytes(32), b"", b""),
        lambda: chacha20poly1305.Session(bytes(32), bytes(16)),
        lambda: curve25519.public(bytes(31)),
        lambda: curve25519.shared(bytes(33), bytes([9]) + bytes(31)),
        lambda: curve25519.shared(bytes(32), bytes([9]) + bytes(30)),
        lambda: ed25519.public(bytes(64)),
        lambda: ed25519.sign(b"", b""),
        lambda: hkdf.derive(b"", b"", b"", 0),
        lambda: hkdf.derive(b"", b"", b"", 255 * 64 + 1),
        lambda: aes.ctr(bytes(24), bytes(16), b""),
        lambda: aes.ctr(bytes(16), bytes(12), b""),
        lambda: aes.cbc_encrypt(bytes(16), bytes(16), bytes(17)),
        lambda: aes.cbc_decrypt(bytes(16), bytes(16), bytes(15)),
        lambda: aes.gcm_seal(bytes(32), bytes(12), b""),
        lambda: aes.gcm_seal(bytes(16), b"", b""),
        lambda: aes.gcm_open(bytes(16), bytes(12), b"", bytes(12)),
    ],
)
def test_wrong_sizes(engine, call):
    with pytest.raises(ValueError, match=r"bytes|empty"):
        call()


def test_import_is_light():
    """No third-party module, and none that is heavy and that we could do without."""
    names = "aes chacha20poly1305 curve25519 ed25519 hkdf srp".split()
    code = f"import sys; from tinyatv.crypto import {', '.join(names)}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "tinyatv.crypto.srp" in loaded
    heavy = {"cryptography", "typing", "random", "secrets", "dataclasses", "inspect"}
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert not heavy & (set(loaded) - set(bare))
    assert srp.HAP.size == 384
