"""SRP-6a as the pairing procedures use it: both sides prove that they know the PIN.

    client                                                device
    A = g^a                        <-- salt, B --         B = k*v + g^b,  v = g^x
    S = (B - k*g^x)^(a + u*x)      -- A, proof -->        S = (A * v^u)^b
                                   <-- proof --
    x = H(salt | H(user : PIN))    k = H(PAD(N) | PAD(g))    u = H(PAD(A) | PAD(B))    K = H(S)

k and u take numbers padded to the size of the group, everything else takes them without leading
zeros. One form in place of the other works with 255 PINs of 256, and then fails. For the proofs,
some implementations take A and B padded as well: both forms are accepted, on either side.

The powers are Python's own pow() with both engines: the package ``cryptography`` has no function
for them, pow() is C, and a side needs some 30 ms once in the life of a pairing. A client can do a
part of it before it knows anything of the device: see prepare().
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable

SALT = 16
SECRET = 32  # bytes of the private value
DIGITS = 128  # hexadecimal ones, of the largest exponent that powers are made for


def _short(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _secret(private: bytes | None) -> int:
    return int.from_bytes(os.urandom(SECRET) if private is None else private, "big")


def _draw(group: Group, private: bytes | None) -> tuple[int, int]:
    """A client's secret and its public value.

    Some devices prove with the public value padded, some without leading zeros: have none.
    """
    while True:
        secret = _secret(private)
        public = group.power(secret)
        if private is not None or group.pad(public)[0]:
            return secret, public


def prepare(group: Group | None = None) -> None:
    """Compute ahead what the next client of this process will need, while no thread waits.

    It takes 8 ms, and saves 10 of the 32 that a client needs.
    """
    group = HAP if group is None else group
    if not group.powers:
        group.powers = group.make_powers()
    if not group.drawn:
        group.drawn.append(_draw(group, None))


def _salt() -> bytes:
    salt = bytes(SALT)
    while salt[0] == 0:
        salt = os.urandom(SALT)
    return salt


class WrongProof(ValueError):
    """The other side does not know the PIN."""


class Group:
    """A prime, a generator and a hash.

    Args:
        prime: N in hexadecimal.
        generator: g.
        hash_name: As hashlib calls it.
        halves: The session key is two digests of S, followed by the numbers 0 and 1, not one of S.
    """

    def __init__(self, prime: str, generator: int, hash_name: str, halves: bool = False) -> None:
        self.prime = int(prime, 16)
        self.generator = generator
        self.hash_name = hash_name
        self.halves = halves
        self.size = (self.prime.bit_length() + 7) // 8
        self.k = self.number(self.pad(self.prime), self.pad(generator))
        both = zip(self.digest(_short(self.prime)), self.digest(_short(generator)))
        self.mark = bytes(n ^ g for n, g in both)  # the first thing in a client's proof
        self.powers: list[int] = []  # of the generator, once prepare() has made them
        self.drawn: list[tuple[int, int]] = []  # by prepare(); nothing is used twice

    def digest(self, *parts: bytes) -> bytes:
        return hashlib.new(self.hash_name, b"".join(parts)).digest()

    def number(self, *parts: bytes) -> int:
        return int.from_bytes(self.digest(*parts), "big")

    def pad(self, number: int) -> bytes:
        return number.to_bytes(self.size, "big")

    def make_powers(self) -> list[int]:
        """The generator to the powers of 1, 16, 16**2 ... as far as a hash of 512 bits reaches."""
        powers = [self.generator]
        while len(powers) < DIGITS:
            powers.append(pow(powers[-1], 16, self.prime))
        return powers

    def power(self, exponent: int) -> int:
        """The generator to some power.

        With the powers at hand, those that have the same hexadecimal digit are multiplied first:
        a product to the power of 15 is a factor of 15 products.
        """
        if not self.powers or exponent >= 16**DIGITS:
            return pow(self.generator, exponent, self.prime)
        products = [1] * 16
        for digit, power in zip(reversed(f"{exponent:x}"), self.powers):
            products[int(digit, 16)] = products[int(digit, 16)] * power % self.prime
        total = factor = 1
        for product in reversed(products[1:]):
            factor = factor * product % self.prime
            total = total * factor % self.prime
        return total

    def x(self, salt: bytes, user: str, pin: str) -> int:
        return self.number(salt, self.digest(f"{user}:{pin}".encode()))

    def u(self, client: int, device: int) -> int:
        """Raises ValueError for zero, with which the PIN would not matter."""
        u = self.number(self.pad(client), self.pad(device))
        if u == 0:
            raise ValueError("SRP public values that cancel out the PIN")
        return u

    def public(self, data: bytes) -> int:
        """The public value of the other side; zero would make S public knowledge."""
        if not 0 < len(data) <= self.size:
            raise ValueError(f"SRP public value of {len(data)} bytes; the group has {self.size}")
        number = int.from_bytes(data, "big")
        if number % self.prime == 0:
            raise ValueError("SRP public value is zero")
        return number

    def key(self, shared: int) -> bytes:
        secret = _short(shared)
        if self.halves:
            return self.digest(secret, bytes(4)) + self.digest(secret, b"\0\0\0\1")
        return self.digest(secret)

    def client_proof(
        self,
        user: str,
        salt: bytes,
        client: int,
        device: int,
        key: bytes,
        form: Callable[[int], bytes] = _short,
    ) -> bytes:
        """The proof of a client that takes the public values in some form."""
        name = self.digest(user.encode())
        return self.digest(self.mark, name, salt, form(client), form(device), key)

    def forms(self, *values: int) -> list[Callable[[int], bytes]]:
        """The forms of public values that are in use; one if these are the same in both."""
        return [_short] if all(self.pad(one)[0] for one in values) else [_short, self.pad]


HAP = Group(  # RFC 5054, 3072 bits
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd"
    "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed"
    "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f"
    "83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b"
    "e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510"
    "15728e5a8aaac42dad33170d04507a33a85521abdf1cba64ecfb850458dbef0a8aea71575d060c7db3970f85a6e1e4c7"
    "abf5ae8cdb0933d71e8c94e04a25619dcee3d2261ad2ee6bf12ffa06d98a0864d87602733ec86a64521f2b18177b200c"
    "bbe117577a615d6c770988c0bad946e208e24fa074e5ab3143db5bfce0fd108e4b82d120a93ad2caffffffffffffffff",
    5,
    "sha512",
)
LEGACY = Group(  # RFC 5054, 2048 bits
    "ac6bdb41324a9a9bf166de5e1389582faf72b6651987ee07fc3192943db56050a37329cbb4a099ed8193e0757767a13d"
    "d52312ab4b03310dcd7f48a9da04fd50e8083969edb767b0cf6095179a163ab3661a05fbd5faaae82918a9962f0b93b8"
    "55f97993ec975eeaa80d740adbf4ff747359d041d5c33ea71d281e446b14773bca97b43a23fb801676bd207a436c6481"
    "f1d2b9078717461a5b9d32e688f87748544523b524b0d57d5ea77a2775d2ecfa032cfbdbf52fb3786160279004e57ae6"
    "af874e7303ce53299ccc041c7bc308d82a5698f3a8d0c38271ae35f8e9dbfbb694b5c803d89f7ae435de236d525f5475"
    "9b65e372fcd68ef20fa7111f9e4aff73",
    2,
    "sha1",
    halves=True,
)

if hasattr(os, "register_at_fork"):  # both processes would use the same secret; not on Windows
    for _group in (HAP, LEGACY):
        os.register_at_fork(after_in_child=_group.drawn.clear)


class Client:
    """The side where the PIN is typed in.

    Args:
        pin: As it is shown, leading zeros included.
        user: User name.
        group: HAP or LEGACY.
        private: a, for tests.

    Attributes:
        public: A, as long as the group's prime.
        key: K, once the device's values are known.
    """

    key = b""

    def __init__(
        self,
        pin: str,
        user: str = "Pair-Setup",
        group: Group = HAP,
        private: bytes | None = None,
    ) -> None:
        self._pin = pin
        self._user = user
        self._group = group
        try:
            drawn = group.drawn.pop() if private is None else _draw(group, private)
        except IndexError:
            drawn = _draw(group, None)
        self._secret, self._public = drawn
        self.public = group.pad(self._public)
        self._proof = b""

    def respond(self, salt: bytes, B: bytes) -> bytes:
        """Return the client's proof.

        Raises:
            ValueError: A value of the device that no device sends.
        """
        group = self._group
        device = group.public(B)
        u = group.u(self._public, device)
        x = group.x(salt, self._user, self._pin)
        base = (device - group.k * group.power(x)) % group.prime
        self.key = group.key(pow(base, self._secret + u * x, group.prime))
        self._proof = group.client_proof(self._user, salt, self._public, device, self.key)
        return self._proof

    def check(self, device_proof: bytes) -> bool:
        """Whether the device knows the PIN as well."""
        group = self._group
        right = False
        for form in group.forms(self._public):
            expected = group.digest(form(self._public), self._proof, self.key)
            right |= hmac.compare_digest(expected, device_proof)
        return right and bool(self._proof)


class Device:
    """The side that shows the PIN.

    Args:
        pin: As it is shown, leading zeros included.
        user: User name.
        group: HAP or LEGACY.
        private: b, for tests.
        salt: 16 bytes, for tests.

    Attributes:
        salt: 16 bytes.
        public: B, as long as the group's prime.
        key: K, once the client has proved itself.
    """

    key = b""

    def __init__(
        self,
        pin: str,
        user: str = "Pair-Setup",
        group: Group = HAP,
        private: bytes | None = None,
        salt: bytes | None = None,
    ) -> None:
        self._user = user
        self._group = group
        # Some clients take salt and B for numbers and lose leading zeros: have none.
        self.salt = _salt() if salt is None else salt
        self._verifier = group.power(group.x(self.salt, user, pin))
        while True:
            self._secret = _secret(private)
            power = group.power(self._secret)
            self._public = (group.k * self._verifier + power) % group.prime
            self.public = group.pad(self._public)
            if private is not None or self.public[0]:
                break

    def check(self, A: bytes, client_proof: bytes) -> bytes:
        """Return the device's proof.

        Raises:
            WrongProof: The client does not know the PIN.
            ValueError: A value of the client that no client sends.
        """
        group = self._group
        client = group.public(A)
        u = group.u(client, self._public)
        shared = pow(client * pow(self._verifier, u, group.prime), self._secret, group.prime)
        key = group.key(shared)
        right = False
        for form in group.forms(client, self._public):
            expected = group.client_proof(self._user, self.salt, client, self._public, key, form)
            right |= hmac.compare_digest(expected, client_proof)
        if not right:
            raise WrongProof("wrong proof: the PIN is not the one shown")
        self.key = key
        return group.digest(group.pad(client), client_proof, key)
