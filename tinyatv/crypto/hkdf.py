"""HKDF with SHA-512, RFC 5869.

    ikm --HMAC(salt)--> one secret --HMAC(info, 1)--> 64 bytes --HMAC(info, 2)--> 64 more ...

The hashes are C in every Python, so there is nothing for another engine to do better.
"""

from __future__ import annotations

import hmac

SIZE = 64  # of a digest


def derive(ikm: bytes, salt: bytes | str, info: bytes | str, length: int = 32) -> bytes:
    """Derive a key.

    Args:
        ikm: Secret to start from.
        salt: Says which group of keys; text is taken as UTF-8. May be empty.
        info: Says which key.
        length: Bytes wanted, 1 to 16320.

    Raises:
        ValueError: Length out of range.
    """
    if not 0 < length <= 255 * SIZE:
        raise ValueError(f"cannot derive {length} bytes")
    if isinstance(salt, str):
        salt = salt.encode()
    if isinstance(info, str):
        info = info.encode()
    secret = hmac.digest(salt, ikm, "sha512")  # an empty salt is as good as 64 zeros: HMAC pads
    key = block = b""
    for number in range(1, -(-length // SIZE) + 1):
        block = hmac.digest(secret, block + info + bytes((number,)), "sha512")
        key += block
    return key[:length]
