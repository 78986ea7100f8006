"""Ed25519 signatures, RFC 8032.

    signature = R (32 bytes) || S (32 bytes),    S * B = R + SHA-512(R || A || message) * A

Points are (X, Y, Z, T) with x = X / Z, y = Y / Z and x * y = T / Z.
"""

from __future__ import annotations

from hashlib import sha512

from . import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Point = tuple[int, int, int, int]

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493  # order of the base point
D = -121665 * pow(121666, -1, P) % P
ROOT = 0x2B8324804FC1DF0B2B4D00993DFBD7A72F431806AD2FE478C4EE1B274A0EA0B0  # of -1
BASE_X = 0x216936D3CD6E53FEC0A4E231FDD6DC5C692CC7609525A7B2C9562D608F25D51A
BASE_Y = 0x6666666666666666666666666666666666666666666666666666666666666658
LOW = (1 << 255) - 1
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
LOW_ORDER = (0, 1, P - 1, ORDER_8, P - ORDER_8)  # y of the points for which 8 times is nothing

TEETH = 6  # of the comb: the base point's table has 2**6 points,
SPACING = 43  # and 6 * 43 bits cover a scalar


def public(seed: bytes) -> bytes:
    """The public key of a seed of 32 bytes."""
    _checked(seed)
    keys = native(_native)
    if keys is not None:
        return bytes(keys[0].from_private_bytes(seed).public_key().public_bytes_raw())
    return _encode(multiply_base(_expand(seed)[0]))


def sign(seed: bytes, message: bytes) -> bytes:
    """The signature, 64 bytes."""
    _checked(seed)
    keys = native(_native)
    if keys is not None:
        return bytes(keys[0].from_private_bytes(seed).sign(message))
    scalar, prefix = _expand(seed)
    mine = _encode(multiply_base(scalar))
    once = _number(sha512(prefix + message).digest()) % L
    r = _encode(multiply_base(once))
    k = _number(sha512(r + mine + message).digest())
    return r + ((once + k * scalar) % L).to_bytes(32, "little")


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature was made with the private key of this public key.

    Refused with both engines, though the library under ``cryptography`` takes some of them: keys
    that are not written in the one way RFC 8032 allows, and keys of low order, for which anybody
    can make a signature of anything.
    """
    if len(public) != 32 or len(signature) != 64:
        return False
    y = _number(public) & LOW
    if y >= P or y in LOW_ORDER:
        return False
    s = _number(signature[32:])
    if s >= L:
        return False
    keys = native(_native)
    if keys is not None:
        return _native_verify(keys[1], public, message, signature)
    point = _decode(y, public[31] >> 7)
    if point is None:
        return False
    k = _number(sha512(signature[:32] + public + message).digest()) % L
    x, y, z, t = point
    expected = _add(_multiply(k, (P - x, y, z, P - t)), _cached(multiply_base(s)))
    return _encode(expected) == signature[:32]


def _native() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # type: ignore[import-not-found,unused-ignore]
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    # Raises if the library was built without it, or is older than this method.
    Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    return Ed25519PrivateKey, Ed25519PublicKey


def _native_verify(keys: Any, public: bytes, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import (  # type: ignore[import-not-found,unused-ignore]
        InvalidSignature,
    )

    try:
        keys.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _checked(seed: bytes) -> None:
    if len(seed) != 32:
        raise ValueError(f"a seed has 32 bytes, not {len(seed)}")


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _expand(seed: bytes) -> tuple[int, bytes]:
    """The secret scalar, and what makes the signatures' random numbers."""
    digest = sha512(seed).digest()
    return _number(digest[:32]) & (1 << 254) - 8 | 1 << 254, digest[32:]


# -- Points


def multiply_base(scalar: int) -> Point:
    """The base point times a number below 2**258; also for X25519, whose curve is the same."""
    if not _comb:
        _make_comb()
    bits = f"{scalar:0{TEETH * SPACING}b}"
    columns = zip(*[bits[at : at + SPACING] for at in range(0, len(bits), SPACING)])
    point = 0, 1, 1, 0
    for column in columns:
        point = _add(_double(point), _comb[int("".join(column), 2)])
    return point


_comb: list[Point] = []  # by the bits of a column, as _cached() returns them


def _make_comb() -> None:
    """Fill the table at first use; it costs as much as three multiplications."""
    table: list[Point] = [(0, 1, 1, 0)]
    tooth = BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P
    for number in range(TEETH):
        if number:
            for _ in range(SPACING):
                tooth = _double(tooth)
        step = _cached(tooth)
        table += [tooth] + [_add(point, step) for point in table[1:]]
    _comb[:] = [_cached(point) for point in table]  # at once: another thread may look


def _multiply(scalar: int, point: Point) -> Point:
    """A point times a number below 2**256, four bits at a time."""
    step = _cached(point)
    table: list[Point] = [(0, 1, 1, 0), point]
    for _ in range(14):
        table.append(_add(table[-1], step))
    table = [_cached(point) for point in table]
    total = 0, 1, 1, 0
    for digit in f"{scalar:x}":
        total = _double(_double(_double(_double(total))))
        if digit != "0":
            total = _add(total, table[int(digit, 16)])
    return total


def _double(p: Point) -> Point:
    x, y, z, _ = p
    a = x * x
    b = y * y
    e = 2 * x * y
    g = b - a
    f = 2 * z * z - g
    h = a + b
    # Nearly as good as % P before another product, and cheaper.
    e = (e & LOW) + 19 * (e >> 255)
    f = (f & LOW) + 19 * (f >> 255)
    g = (g & LOW) + 19 * (g >> 255)
    h = (h & LOW) + 19 * (h >> 255)
    return e * f % P, g * h % P, f * g % P, e * h % P


def _cached(p: Point) -> Point:
    """A point as the second operand of _add()."""
    x, y, z, t = p
    return y - x, y + x, 2 * D * t % P, 2 * z


def _add(p: Point, q: Point) -> Point:
    x, y, z, t = p
    minus, plus, t2, z2 = q
    a = (y - x) * minus
    b = (y + x) * plus
    c = t * t2
    d = z * z2
    e = b - a
    f = d - c
    g = d + c
    h = b + a
    e = (e & LOW) + 19 * (e >> 255)
    f = (f & LOW) + 19 * (f >> 255)
    g = (g & LOW) + 19 * (g >> 255)
    h = (h & LOW) + 19 * (h >> 255)
    return e * f % P, g * h % P, f * g % P, e * h % P


def _encode(p: Point) -> bytes:
    x, y, z, _ = p
    inverse = pow(z, -1, P)
    return (y * inverse % P | (x * inverse % P & 1) << 255).to_bytes(32, "little")


def _decode(y: int, sign: int) -> Point | None:
    """The point with this y, and an x whose lowest bit is the sign; None if there is none."""
    u = y * y - 1
    v = D * y * y + 1
    x = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * ROOT % P
        if (v * x * x - u) % P:
            return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P
