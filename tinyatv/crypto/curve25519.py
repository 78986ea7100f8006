"""X25519, RFC 7748: two sides agree on a secret."""

from __future__ import annotations

import os

from . import ed25519, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

P = ed25519.P
LOW = ed25519.LOW


def generate() -> tuple[bytes, bytes]:
    """A new pair of private and public key."""
    private = os.urandom(32)
    return private, public(private)


def public(private: bytes) -> bytes:
    """The public key of a private key of 32 bytes."""
    scalar = _scalar(private)
    keys = native(_native)
    if keys is not None:
        return bytes(keys[0].from_private_bytes(private).public_key().public_bytes_raw())
    # The base point of this curve is that of Ed25519 in other coordinates, and there is a table.
    _, y, z, _ = ed25519.multiply_base(scalar)
    return ((z + y) * pow(z - y, -1, P) % P).to_bytes(32, "little")


def shared(private: bytes, peer_public: bytes) -> bytes:
    """The secret that both sides come to.

    Raises:
        ValueError: Wrong length, or a public key that gives zero with every private key.
    """
    scalar = _scalar(private)
    if len(peer_public) != 32:
        raise ValueError(f"a public key has 32 bytes, not {len(peer_public)}")
    keys = native(_native)
    if keys is not None:
        secret = _native_shared(keys, private, peer_public)
    else:
        u = int.from_bytes(peer_public, "little") & LOW
        secret = _ladder(scalar, u).to_bytes(32, "little")
    if not any(secret):
        raise ValueError("the public key is of low order")
    return secret


def _native() -> Any:
    from cryptography.hazmat.primitives.asymmetric.x25519 import (  # type: ignore[import-not-found,unused-ignore]
        X25519PrivateKey,
        X25519PublicKey,
    )

    # Raises if the library was built without it, or is older than this method.
    X25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    return X25519PrivateKey, X25519PublicKey


def _native_shared(keys: Any, private: bytes, peer_public: bytes) -> bytes:
    try:
        mine = keys[0].from_private_bytes(private)
        return bytes(mine.exchange(keys[1].from_public_bytes(peer_public)))
    except ValueError:
        return bytes(32)  # how it says so


def _scalar(private: bytes) -> int:
    if len(private) != 32:
        raise ValueError(f"a private key has 32 bytes, not {len(private)}")
    return int.from_bytes(private, "little") & (1 << 254) - 8 | 1 << 254


def _ladder(scalar: int, u: int) -> int:
    """Montgomery's ladder: two points a step apart, until one is scalar * u."""
    x2, z2, x3, z3 = 1, 0, u, 1
    swapped = "0"
    for bit in f"{scalar:b}":
        if bit != swapped:
            x2, z2, x3, z3 = x3, z3, x2, z2
            swapped = bit
        a = x2 + z2
        b = x2 - z2
        da = (x3 - z3) * a
        cb = (x3 + z3) * b
        aa = a * a
        bb = b * b
        e = da + cb
        f = da - cb
        # Nearly as good as % P before another product, and cheaper.
        aa = (aa & LOW) + 19 * (aa >> 255)
        bb = (bb & LOW) + 19 * (bb >> 255)
        e = (e & LOW) + 19 * (e >> 255)
        f = (f & LOW) + 19 * (f >> 255)
        f *= f
        x3 = e * e % P
        z3 = u * ((f & LOW) + 19 * (f >> 255)) % P
        e = aa - bb
        x2 = aa * bb % P
        z2 = e * (aa + 121665 * e) % P
    if swapped == "1":
        x2, z2 = x3, z3
    return x2 * pow(z2, P - 2, P) % P  # zero for zero, which has no inverse
