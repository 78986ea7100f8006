"""ChaCha20-Poly1305, RFC 8439, and the ciphers of a connection.

One Python operation costs nearly the same on a small integer and on a large one, so the state of
all blocks is four large integers. Each word has a lane of 64 bits, of which it uses 32; what an
addition or a shift leaves in the others is masked off.

    row a   | x0 of block 0 | x0 of block 1 | ... | x1 of block 0 | x1 of block 1 | ... | x3 ... |
    row b   | x4 ...                              | x5                                  | x7     |
    row c   | x8 ...
    row d   | x12 = block counter                 | x13 .. x15 = nonce

A quarter round of the rows is all four column rounds of all blocks. Moving the words of b, c and d
by one, two and three places makes columns of the diagonals. The blocks need not belong to the same
message, which is how ``Session.prepare()`` makes the key stream of the next ones in one go.
"""

from __future__ import annotations

import struct
from hmac import compare_digest
from operator import mul
from threading import Lock

from . import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TAG = 16

PASS = 512  # blocks computed at once; beyond it the integers outgrow the processor's cache
AHEAD = 100  # messages prepared at once at most, and at first no more than are needed
FIRST, LARGEST = 5, 17  # blocks prepared for each message: the Poly1305 key, and 256 to 1024 bytes
SPAN = 32  # messages of which the longest counts
LOW = 8  # prepared messages left at which more are made: a burst of so many is always covered

P = (1 << 130) - 5
CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
ONE = 1 << 128
STRIDE = 16  # Poly1305 blocks for one reduction


def seal(key: bytes, nonce: bytes, data: bytes, aad: bytes = b"") -> bytes:
    """Encrypt.

    Args:
        key: 32 bytes.
        nonce: 12 bytes; 8 are taken as four zeros and those.
        data: What to hide.
        aad: What to protect, but not to hide.

    Returns:
        As many bytes as the data, and a tag of 16.
    """
    nonce = _checked(key, nonce)
    aead = native(_native)
    if aead is not None:
        return bytes(aead(key).encrypt(nonce, data, aad))
    return _seal(key, nonce, data, aad, b"")


def open(key: bytes, nonce: bytes, data: bytes, aad: bytes = b"") -> bytes:
    """Decrypt what seal() returned.

    Raises:
        ValueError: Not sealed with this key, nonce and associated data, or too short for a tag.
    """
    nonce = _checked(key, nonce)
    aead = native(_native)
    if aead is not None:
        return _native_open(aead(key), nonce, data, aad)
    return _open(key, nonce, data, aad, b"")


class Session:
    """The ciphers of a connection; each direction counts its messages.

    ``seal(data, aad=b"")`` encrypts the next message, ``open(data, aad=b"")`` decrypts it. One
    thread may seal while another opens and a third prepares. Both raise ValueError: what is opened
    is not what the peer sealed next, or the session is closed.

    Args:
        out_key: For what we send, 32 bytes.
        in_key: For what we receive.
        wide: The nonce is the counter in 12 bytes (Companion), not four zeros and 8 bytes.
    """

    def __init__(self, out_key: bytes, in_key: bytes, wide: bool = False) -> None:
        aead = native(_native)
        nonce = struct.Struct("<Q4x" if wide else "<4xQ").pack
        self._out, self._in = (
            _Prepared(key, nonce) if aead is None else _Native(key, nonce, aead)
            for key in (out_key, in_key)
        )
        self.seal = self._out.seal
        self.open = self._in.open

    def __repr__(self) -> str:  # never the keys
        return f"Session(sealed={self._out.counter}, opened={self._in.counter})"

    def prepare(self) -> bool | None:
        """Do a piece of the work for the next messages, while no thread waits.

        Returns:
            False if there was nothing to do; None if there never is, with ``cryptography``.
        """
        return self._out.prepare() or self._in.prepare()

    def close(self) -> None:
        """Forget the keys, and what was prepared with them."""
        self._out.close()
        self._in.close()


class _Native:
    """The key and counter of one direction, of which ``cryptography`` does the work."""

    def __init__(self, key: bytes, nonce: Callable[[int], bytes], aead: Any) -> None:
        self.counter = 0
        self._nonce = nonce
        self._key: Any = aead(key)  # None once closed

    def seal(self, data: bytes, aad: bytes = b"") -> bytes:
        """Encrypt the next message."""
        key, number = self._key, self.counter
        if key is None:
            raise _closed()
        self.counter = number + 1
        sealed: bytes = key.encrypt(self._nonce(number), data, aad)
        return sealed

    def open(self, data: bytes, aad: bytes = b"") -> bytes:
        """Decrypt the next message; it counts as received even if it is refused."""
        key, number = self._key, self.counter
        if key is None:
            raise _closed()
        self.counter = number + 1
        return _native_open(key, self._nonce(number), data, aad)

    def prepare(self) -> None:
        """Nothing: the work is too quick to be done ahead."""

    def close(self) -> None:
        self._key = None


class _Prepared:
    """The key and counter of one direction, and key stream made ahead, in pure Python."""

    def __init__(self, key: bytes, nonce: Callable[[int], bytes]) -> None:
        if len(key) != 32:
            raise ValueError(f"a key has 32 bytes, not {len(key)}")
        self.counter = 0
        self._nonce = nonce
        self._key: bytes | None = bytes(key)  # None once closed
        self._ready: dict[int, bytes] = {}  # by counter, from the next one on without a gap
        self._blocks = self._most = FIRST  # as many as the longest of the last messages took
        # Held to count, not to compute: no thread waits for the work of another one.
        self._lock = Lock()

    def seal(self, data: bytes, aad: bytes = b"") -> bytes:
        """Encrypt the next message."""
        with self._lock:
            key, number = self._key, self.counter
            if key is None:
                raise _closed()
            self.counter += 1
            ready = self._take(number, len(data))
        return _seal(key, self._nonce(number), data, aad, ready)

    def open(self, data: bytes, aad: bytes = b"") -> bytes:
        """Decrypt the next message; it counts as received even if it is refused."""
        with self._lock:
            key, number = self._key, self.counter
            if key is None:
                raise _closed()
            self.counter += 1
            ready = self._take(number, len(data) - TAG)
        return _open(key, self._nonce(number), data, aad, ready)

    def _take(self, number: int, size: int) -> bytes:
        """Key stream that is prepared for a message; remembers how much would have been useful."""
        blocks = min(1 + (size + 63) // 64, LARGEST)
        if number % SPAN == 0:
            self._blocks, self._most = max(self._most, blocks), blocks
        elif blocks > self._most:  # not max() each time, which takes longer
            self._most = blocks
            self._blocks = max(self._blocks, blocks)
        return self._ready.pop(number, b"")

    def prepare(self) -> bool:
        """Make key stream for the next messages; False if there is enough."""
        with self._lock:
            if self._key is None or len(self._ready) > LOW:
                return False
            key, blocks = self._key, self._blocks
            first = self.counter + len(self._ready)
            count = max(1, min(max(LOW + 1, self.counter), AHEAD, PASS // blocks))
        numbers = range(first, first + count)
        stream = _blocks(key, [self._nonce(number) for number in numbers], blocks)
        size = blocks * 64
        with self._lock:
            for number in numbers:
                if self._key is not None and number >= self.counter:
                    at = (number - first) * size
                    self._ready[number] = stream[at : at + size]
        return True

    def close(self) -> None:
        with self._lock:
            self._key = None
            self._ready.clear()


def _checked(key: bytes, nonce: bytes) -> bytes:
    """The nonce in 12 bytes."""
    if len(key) != 32:
        raise ValueError(f"a key has 32 bytes, not {len(key)}")
    if len(nonce) == 8:
        return bytes(4) + nonce
    if len(nonce) != 12:
        raise ValueError(f"a nonce has 12 bytes, or 8, not {len(nonce)}")
    return nonce


def _native() -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import (  # type: ignore[import-not-found,unused-ignore]
        ChaCha20Poly1305,
    )

    ChaCha20Poly1305(bytes(32))  # raises if the library below was built without it
    return ChaCha20Poly1305


def _native_open(aead: Any, nonce: bytes, data: bytes, aad: bytes) -> bytes:
    if len(data) >= TAG:
        try:
            return bytes(aead.decrypt(nonce, data, aad))
        except Exception as exc:
            from cryptography.exceptions import (  # type: ignore[import-not-found,unused-ignore]
                InvalidTag,
            )

            if not isinstance(exc, InvalidTag):
                raise
    raise _refused(data)


def _closed() -> ValueError:
    return ValueError("the session is closed")


def _refused(data: bytes) -> ValueError:
    return ValueError("wrong tag" if len(data) >= TAG else f"{len(data)} bytes hold no tag")


def _seal(key: bytes, nonce: bytes, data: bytes, aad: bytes, ready: bytes) -> bytes:
    once, stream = _stream(key, nonce, len(data), ready)
    sealed = _xor(data, stream)
    return sealed + _tag(once, sealed, aad)


def _open(key: bytes, nonce: bytes, data: bytes, aad: bytes, ready: bytes) -> bytes:
    if len(data) < TAG:
        raise _refused(data)
    sealed = data[:-TAG]
    once, stream = _stream(key, nonce, len(sealed), ready)
    if not compare_digest(_tag(once, sealed, aad), data[-TAG:]):
        raise _refused(data)
    return _xor(sealed, stream)


def _tag(once: bytes, sealed: bytes, aad: bytes) -> bytes:
    """The tag: of both in whole blocks, and their lengths."""
    size = len(sealed)
    authenticated = sealed + _PADDING[size & 15] + _lengths(len(aad), size)
    if aad:
        authenticated = aad + _PADDING[len(aad) & 15] + authenticated
    return _poly1305(once, authenticated)


_PADDING = [bytes(-size & 15) for size in range(16)]
_lengths = struct.Struct("<QQ").pack


def _xor(data: bytes, stream: bytes) -> bytes:
    mixed = _int(data, "little") ^ _int(stream, "little")
    return mixed.to_bytes(len(data), "little")


_int = int.from_bytes


# -- ChaCha20


def _stream(key: bytes, nonce: bytes, size: int, ready: bytes) -> tuple[bytes, bytes]:
    """The Poly1305 key, and key stream of that size; what is ready need not be made.

    What is not ready is made for this message alone. Making it for the next ones as well would
    halve the mean of a burst, and double the time of each message that does it.
    """
    end = 1 + (size + 63) // 64
    if len(ready) < 64 * end:
        at = len(ready) // 64
        parts = [ready]
        while at < end:
            count = min(end - at, PASS)
            parts.append(_blocks(key, [nonce], count, at))
            at += count
        ready = b"".join(parts)
    return ready[:32], ready[64 : 64 + size]


def _blocks(key: bytes, nonces: list[bytes], count: int, first: int = 0) -> bytes:
    """Key stream: so many blocks for each nonce, beginning with the block of number ``first``."""
    n = len(nonces) * count
    mask, a0, ones, counters = _plans.get((n, count)) or _plan(n, count)
    b0 = _row(key, 0, n)
    c0 = _row(key, 16, n)
    lanes = b"".join([(nonce[i : i + 4] + _GAP) * count for i in (0, 4, 8) for nonce in nonces])
    s1 = 64 * n
    d0 = int.from_bytes(lanes, "little") << s1 | counters + first * ones
    s2 = 2 * s1
    s3 = 3 * s1
    m1 = (1 << s1) - 1
    m2 = (1 << s2) - 1
    m3 = (1 << s3) - 1
    a, b, c, d = a0, b0, c0, d0
    for _ in range(10):
        a, b, c, d = _quarter_round(a, b, c, d, mask)
        b = b >> s1 | (b & m1) << s3
        c = c >> s2 | (c & m2) << s2
        d = d >> s3 | (d & m3) << s1
        a, b, c, d = _quarter_round(a, b, c, d, mask)
        b = b >> s3 | (b & m3) << s1
        c = c >> s2 | (c & m2) << s2
        d = d >> s1 | (d & m1) << s3
    stream = bytearray(64 * n)
    out = memoryview(stream).cast("Q")  # in units of 8 bytes, whatever their order
    for place, row in ((0, a + a0), (2, b + b0), (4, c + c0), (6, d + d0)):
        row &= mask
        row |= row >> (s1 - 32)  # words 1 and 3 come into the gaps of words 0 and 2
        pairs = memoryview(row.to_bytes(32 * n, "little")).cast("Q")
        out[place::8] = pairs[:n]
        out[place + 1 :: 8] = pairs[2 * n : 3 * n]
    return bytes(stream)


def _quarter_round(a: int, b: int, c: int, d: int, mask: int) -> tuple[int, int, int, int]:
    a = (a + b) & mask
    d ^= a
    d = (d << 16 | d >> 16) & mask
    c = (c + d) & mask
    b ^= c
    b = (b << 12 | b >> 20) & mask
    a = (a + b) & mask
    d ^= a
    d = (d << 8 | d >> 24) & mask
    c = (c + d) & mask
    b ^= c
    b = (b << 7 | b >> 25) & mask
    return a, b, c, d


_GAP = bytes(4)
_plans: dict[tuple[int, int], tuple[int, int, int, int]] = {}


def _plan(n: int, count: int) -> tuple[int, int, int, int]:
    """What only depends on the numbers of blocks: mask, row a, a one in each lane, counters."""
    if len(_plans) >= 32:
        _plans.clear()
    ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * n, "little")
    lanes = b"".join([struct.pack("<Q", i) for i in range(count)]) * (n // count)
    mask = int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * (4 * n), "little")
    row = _row(b"expand 32-byte k", 0, n)
    plan = _plans[n, count] = mask, row, ones, int.from_bytes(lanes, "little")
    return plan


def _row(words: bytes, at: int, n: int) -> int:
    """Four words, each of them in n lanes."""
    lanes = b"".join([(words[i : i + 4] + _GAP) * n for i in range(at, at + 16, 4)])
    return int.from_bytes(lanes, "little")


# -- Poly1305


_pairs = [struct.Struct(f"<{4 * pairs}Q").unpack_from for pairs in range(64 * 16 // 32)]


def _poly1305(key: bytes, data: bytes) -> bytes:
    """The tag of any data; here it is always whole blocks of 16 bytes."""
    r = int.from_bytes(key[:16], "little") & CLAMP
    total = 0
    done = 0
    if len(data) >= 64 * 16:
        done = len(data) // (16 * STRIDE) * (16 * STRIDE)
        total = _poly1305_strides(r, data, done)
    pairs = (len(data) - done) // 32
    words = iter(_pairs[pairs](data, done))
    square = r * r % P
    for a, b, c, d in zip(words, words, words, words):  # two blocks for one reduction
        total = ((total + (b << 64 | a | ONE)) * square + (d << 64 | c | ONE) * r) % P
    done += 32 * pairs
    for at in range(done, len(data), 16):
        total = (total + int.from_bytes(data[at : at + 16] + b"\1", "little")) * r % P
    return ((total + int.from_bytes(key[16:32], "little")) % (1 << 128)).to_bytes(16, "little")


def _poly1305_strides(r: int, data: bytes, end: int) -> int:
    """Sum up whole strides: each word times its power of r, with one reduction per stride."""
    power = 1
    powers: list[int] = []
    high = 0
    for _ in range(STRIDE):
        power = power * r % P
        high += power
        powers += (power << 64, power)
    high <<= 128
    powers.reverse()
    words = struct.Struct(f"<{2 * STRIDE}Q")
    total = 0
    for at in range(0, end, 16 * STRIDE):
        total = sum(map(mul, words.unpack_from(data, at), powers), total * power + high) % P
    return total
