"""AES-128 in three modes: CTR and GCM for legacy pairing, CBC for audio.

A block is four columns of four bytes. A round takes its bytes through four tables, each of which
substitutes a byte and spreads it over a column, so a new column is four lookups.
"""

from __future__ import annotations

import struct
from hmac import compare_digest

from . import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCK = 16
TAG = 16
ROUNDS = 10


def ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt or decrypt; the whole iv of 16 bytes is a big-endian counter."""
    return Ctr(key, iv).xor(data)


class Ctr:
    """A key stream that goes on where the piece of data before ended.

    Args:
        key: 16 bytes.
        iv: 16 bytes, a big-endian counter.
    """

    def __init__(self, key: bytes, iv: bytes) -> None:
        _checked(key, iv)
        cipher = native(_native)
        if cipher is not None:
            self._encryptor = cipher("CTR", key, iv).encryptor()
            return
        self._encryptor = None
        self._keys = _expand(key)
        self._counter = int.from_bytes(iv, "big")
        self._left = b""

    def xor(self, data: bytes) -> bytes:
        """Encrypt or decrypt the next piece."""
        if self._encryptor is not None:
            return bytes(self._encryptor.update(data))
        count = -(-(len(data) - len(self._left)) // BLOCK)
        if count > 0:
            self._left += _stream(self._keys, self._counter, count, (1 << 128) - 1)
            self._counter += count
        stream, self._left = self._left[: len(data)], self._left[len(data) :]
        return _xor(data, stream)


def cbc_encrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt whole blocks.

    Raises:
        ValueError: The data is not a multiple of 16 bytes long.
    """
    _checked(key, iv, data)
    cipher = native(_native)
    if cipher is not None:
        return bytes(cipher("CBC", key, iv).encryptor().update(data))
    keys = _expand(key)
    blocks = []
    for at in range(0, len(data), BLOCK):
        iv = _encrypt(keys, _xor(iv, data[at : at + BLOCK]))
        blocks.append(iv)
    return b"".join(blocks)


def cbc_decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Decrypt whole blocks.

    Raises:
        ValueError: The data is not a multiple of 16 bytes long.
    """
    _checked(key, iv, data)
    cipher = native(_native)
    if cipher is not None:
        return bytes(cipher("CBC", key, iv).decryptor().update(data))
    keys = _inverse_keys(_expand(key))
    blocks = [_decrypt(keys, data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    return _xor(b"".join(blocks), (iv + data)[: len(data)])


def gcm_seal(key: bytes, iv: bytes, data: bytes, aad: bytes = b"") -> tuple[bytes, bytes]:
    """Encrypt.

    Args:
        key: 16 bytes.
        iv: Of any length but none; pairing uses 16 bytes.
        data: What to hide.
        aad: What to protect, but not to hide.

    Returns:
        As many bytes as the data, and the tag of 16.
    """
    _checked(key)
    aead = _gcm_engine(iv)
    if aead is not None:
        sealed = bytes(aead(key).encrypt(iv, data, aad))
        return sealed[:-TAG], sealed[-TAG:]
    keys = _expand(key)
    start = _gcm_start(keys, iv)
    sealed = _gcm_xor(keys, start, data)
    return sealed, _gcm_tag(keys, start, sealed, aad)


def gcm_open(key: bytes, iv: bytes, data: bytes, tag: bytes, aad: bytes = b"") -> bytes:
    """Decrypt what gcm_seal() returned.

    Raises:
        ValueError: Not sealed with this key, iv and associated data.
    """
    _checked(key)
    aead = _gcm_engine(iv)
    if len(tag) != TAG:
        raise ValueError(f"a tag has 16 bytes, not {len(tag)}")
    if aead is not None:
        plain = _native_gcm_open(aead(key), iv, data + tag, aad)
    else:
        keys = _expand(key)
        start = _gcm_start(keys, iv)
        plain = None
        if compare_digest(_gcm_tag(keys, start, data, aad), tag):
            plain = _gcm_xor(keys, start, data)
    if plain is None:
        raise ValueError("wrong tag")
    return plain


def _checked(key: bytes, iv: bytes = bytes(BLOCK), data: bytes = b"") -> None:
    if len(key) != 16:
        raise ValueError(f"a key has 16 bytes, not {len(key)}")
    if len(iv) != BLOCK:
        raise ValueError(f"an iv has 16 bytes, not {len(iv)}")
    if len(data) % BLOCK:
        raise ValueError(f"{len(data)} bytes are not whole blocks of 16")


def _native() -> Any:
    from cryptography.hazmat.primitives.ciphers import (  # type: ignore[import-not-found,unused-ignore]
        Cipher,
        algorithms,
        modes,
    )

    def cipher(mode: str, key: bytes, iv: bytes) -> Any:
        return Cipher(algorithms.AES(key), getattr(modes, mode)(iv))

    for mode in ("CTR", "CBC"):  # raises if the library below was built without it
        cipher(mode, bytes(16), bytes(16)).encryptor()
    return cipher


def _native_gcm() -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import (  # type: ignore[import-not-found,unused-ignore]
        AESGCM,
    )

    AESGCM(bytes(16))
    return AESGCM


def _native_gcm_open(aead: Any, iv: bytes, data: bytes, aad: bytes) -> bytes | None:
    from cryptography.exceptions import (  # type: ignore[import-not-found,unused-ignore]
        InvalidTag,
    )

    try:
        return bytes(aead.decrypt(iv, data, aad))
    except InvalidTag:
        return None


def _xor(left: bytes, right: bytes) -> bytes:
    mixed = int.from_bytes(left, "big") ^ int.from_bytes(right, "big")
    return mixed.to_bytes(len(left), "big")


# -- GCM


def _gcm_engine(iv: bytes) -> Any:
    """The package, if it takes an iv of that length."""
    if not iv:
        raise ValueError("an empty iv")
    return native(_native_gcm) if 8 <= len(iv) <= 128 else None


def _gcm_start(keys: list[int], iv: bytes) -> int:
    """The counter before the first: what it encrypts to hides the tag."""
    if len(iv) == 12:
        return int.from_bytes(iv + b"\0\0\0\1", "big")
    return _ghash(keys, iv + bytes(-len(iv) % BLOCK) + struct.pack(">QQ", 0, len(iv) * 8))


def _gcm_xor(keys: list[int], start: int, data: bytes) -> bytes:
    # Only the last 32 bits of the counter count.
    first = start >> 32 << 32 | (start + 1) & 0xFFFFFFFF
    count = -(-len(data) // BLOCK)
    return _xor(data, _stream(keys, first, count, 0xFFFFFFFF)[: len(data)])


def _gcm_tag(keys: list[int], start: int, sealed: bytes, aad: bytes) -> bytes:
    lengths = struct.pack(">QQ", len(aad) * 8, len(sealed) * 8)
    padded = aad + bytes(-len(aad) % BLOCK) + sealed + bytes(-len(sealed) % BLOCK) + lengths
    return _xor(_ghash(keys, padded).to_bytes(TAG, "big"), _stream(keys, start, 1, 0))


def _ghash(keys: list[int], data: bytes) -> int:
    """Horner's scheme over GF(2**128), whose bits are numbered from the left."""
    powers = [int.from_bytes(_encrypt(keys, bytes(BLOCK)), "big")]
    for _ in range(127):
        last = powers[-1]
        powers.append(last >> 1 ^ (0xE1 << 120 if last & 1 else 0))
    total = 0
    for at in range(0, len(data), BLOCK):
        total ^= int.from_bytes(data[at : at + BLOCK], "big")
        product = 0
        for bit, power in zip(f"{total:0128b}", powers):
            if bit == "1":
                product ^= power
        total = product
    return total


# -- One block


def _stream(keys: list[int], counter: int, count: int, wrap: int) -> bytes:
    """Encrypted counters; the bits of ``wrap`` count."""
    high = counter & ~wrap
    blocks = [high & (1 << 128) - 1 | counter + i & wrap for i in range(count)]
    return b"".join([_encrypt(keys, block.to_bytes(BLOCK, "big")) for block in blocks])


def _encrypt(keys: list[int], block: bytes) -> bytes:
    t0, t1, t2, t3 = _tables()[0]
    box = _tables()[2]
    a, b, c, d = struct.unpack(">4I", block)
    a ^= keys[0]
    b ^= keys[1]
    c ^= keys[2]
    d ^= keys[3]
    for at in range(4, 4 * ROUNDS, 4):
        a, b, c, d = (
            t0[a >> 24] ^ t1[b >> 16 & 255] ^ t2[c >> 8 & 255] ^ t3[d & 255] ^ keys[at],
            t0[b >> 24] ^ t1[c >> 16 & 255] ^ t2[d >> 8 & 255] ^ t3[a & 255] ^ keys[at + 1],
            t0[c >> 24] ^ t1[d >> 16 & 255] ^ t2[a >> 8 & 255] ^ t3[b & 255] ^ keys[at + 2],
            t0[d >> 24] ^ t1[a >> 16 & 255] ^ t2[b >> 8 & 255] ^ t3[c & 255] ^ keys[at + 3],
        )
    return struct.pack(
        ">4I",
        _last(box, a, b, c, d) ^ keys[-4],
        _last(box, b, c, d, a) ^ keys[-3],
        _last(box, c, d, a, b) ^ keys[-2],
        _last(box, d, a, b, c) ^ keys[-1],
    )


def _decrypt(keys: list[int], block: bytes) -> bytes:
    """The same with inverse tables, rows shifted the other way, and keys from the last on."""
    t0, t1, t2, t3 = _tables()[1]
    box = _tables()[3]
    a, b, c, d = struct.unpack(">4I", block)
    a ^= keys[0]
    b ^= keys[1]
    c ^= keys[2]
    d ^= keys[3]
    for at in range(4, 4 * ROUNDS, 4):
        a, b, c, d = (
            t0[a >> 24] ^ t1[d >> 16 & 255] ^ t2[c >> 8 & 255] ^ t3[b & 255] ^ keys[at],
            t0[b >> 24] ^ t1[a >> 16 & 255] ^ t2[d >> 8 & 255] ^ t3[c & 255] ^ keys[at + 1],
            t0[c >> 24] ^ t1[b >> 16 & 255] ^ t2[a >> 8 & 255] ^ t3[d & 255] ^ keys[at + 2],
            t0[d >> 24] ^ t1[c >> 16 & 255] ^ t2[b >> 8 & 255] ^ t3[a & 255] ^ keys[at + 3],
        )
    return struct.pack(
        ">4I",
        _last(box, a, d, c, b) ^ keys[-4],
        _last(box, b, a, d, c) ^ keys[-3],
        _last(box, c, b, a, d) ^ keys[-2],
        _last(box, d, c, b, a) ^ keys[-1],
    )


def _last(box: bytes, a: int, b: int, c: int, d: int) -> int:
    """The last round substitutes, and does not spread."""
    return box[a >> 24] << 24 | box[b >> 16 & 255] << 16 | box[c >> 8 & 255] << 8 | box[d & 255]


def _expand(key: bytes) -> list[int]:
    """The words of the round keys."""
    box = _tables()[2]
    keys = list(struct.unpack(">4I", key))
    constant = 1
    for at in range(4, 4 * (ROUNDS + 1)):
        word = keys[-1]
        if at % 4 == 0:
            word = (word << 8 | word >> 24) & 0xFFFFFFFF
            word = _last(box, word, word, word, word) ^ constant << 24
            constant = _twice(constant)
        keys.append(keys[-4] ^ word)
    return keys


def _inverse_keys(keys: list[int]) -> list[int]:
    """Round keys in the order of decryption; all but the outer ones are spread backwards."""
    t0, t1, t2, t3 = _tables()[1]
    box = _tables()[2]
    backwards = [word for at in range(4 * ROUNDS, -1, -4) for word in keys[at : at + 4]]
    for at in range(4, 4 * ROUNDS):
        word = backwards[at]
        backwards[at] = (
            t0[box[word >> 24]]
            ^ t1[box[word >> 16 & 255]]
            ^ t2[box[word >> 8 & 255]]
            ^ t3[box[word & 255]]
        )
    return backwards


def _twice(x: int) -> int:
    """Times 2 in GF(2**8)."""
    return x << 1 ^ (0x11B if x & 0x80 else 0)


_made: list[Any] = []


def _tables() -> list[Any]:
    """Tables for both ways, and the plain substitutions; made at first use."""
    if not _made:
        box = bytearray(256)
        inverse = bytearray(256)
        p = q = 1
        while True:  # p runs through all numbers but 0, q is its inverse
            p ^= _twice(p)  # times 3
            q ^= q << 1
            q ^= q << 2
            q ^= q << 4
            q &= 255
            q ^= 0x09 if q & 0x80 else 0
            spread = q * 0x101  # a byte twice, so that shifts of it are rotations
            box[p] = (spread ^ spread >> 4 ^ spread >> 5 ^ spread >> 6 ^ spread >> 7 ^ 0x63) & 255
            if p == 1:
                break
        box[0] = 0x63
        for x in range(256):
            inverse[box[x]] = x
        _made.extend((_spread(box, 2, 1, 1, 3), _spread(inverse, 14, 9, 13, 11), box, inverse))
    return _made


def _spread(box: bytearray, *factors: int) -> list[list[int]]:
    """Four tables: a byte's substitute times the factors, and that rotated by 1, 2 and 3 bytes."""
    first = []
    for value in box:
        twice = _twice(value)
        four = _twice(twice)
        eight = _twice(four)
        word = 0
        for factor in factors:
            product = 0
            for bit, multiple in ((1, value), (2, twice), (4, four), (8, eight)):
                product ^= multiple if factor & bit else 0
            word = word << 8 | product
        first.append(word)
    return [[word >> n | word << 32 - n & 0xFFFFFFFF for word in first] for n in (0, 8, 16, 24)]
