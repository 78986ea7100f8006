"""Speed of the cryptography, in pure Python and by the package ``cryptography``, in the same run.

python -m tests.bench.crypto          without the package, pure Python alone
"""

from __future__ import annotations

import time

from tinyatv import crypto
from tinyatv.crypto import aes, chacha20poly1305, curve25519, ed25519, srp

KEY = bytes(range(32))
FRAME = bytes(200)
LARGE = bytes(65536)
PACKET = bytes(352 * 4)  # 8 ms of audio


def seconds(call, repeat, rounds=7, setup=None):
    """Time of one call, best of the rounds."""
    call()
    best = float("inf")
    for _ in range(rounds):
        if setup:
            setup()
        start = time.perf_counter()
        for _ in range(repeat):
            call()
        best = min(best, time.perf_counter() - start)
    return best / repeat


def speeds():
    """The figures of the engine in use, in the order of ROWS."""
    nonce = bytes(12)
    private, public = curve25519.generate()
    signature = ed25519.sign(KEY, FRAME)
    signer = ed25519.public(KEY)
    plain = chacha20poly1305.Session(KEY, KEY)
    ahead = chacha20poly1305.Session(KEY, KEY)

    def prepare():
        while ahead.prepare():
            pass

    def client():
        srp.Client("1111", private=KEY).respond(KEY[:16], device.public)

    def both_sides_of_device():
        srp.Device("1111", private=KEY, salt=KEY[:16]).check(mine.public, proof)

    device = srp.Device("1111", private=KEY, salt=KEY[:16])
    mine = srp.Client("1111", private=KEY)
    proof = mine.respond(device.salt, device.public)
    large = seconds(lambda: chacha20poly1305.seal(KEY, nonce, LARGE), 5)
    ms = [
        seconds(lambda: plain.seal(FRAME), 50),
        # No more in a round than what is prepared.
        seconds(lambda: ahead.seal(FRAME), chacha20poly1305.LOW, 50, prepare),
        seconds(lambda: curve25519.public(private), 10),
        seconds(lambda: curve25519.shared(private, public), 10),
        seconds(lambda: ed25519.sign(KEY, FRAME), 10),
        seconds(lambda: ed25519.verify(signer, FRAME, signature), 10),
        seconds(client, 1, 5),
        seconds(both_sides_of_device, 1, 5),
        seconds(lambda: aes.ctr(KEY[:16], KEY[:16], PACKET), 5),
        seconds(lambda: aes.cbc_encrypt(KEY[:16], KEY[:16], PACKET), 5),
    ]
    return [len(LARGE) / large / 1e6] + [value * 1e3 for value in ms]


ROWS = [  # name, unit, target of the pure engine
    ("ChaCha20-Poly1305, 64 KiB", "MB/s", 10.0),
    ("200-byte frame", "ms", 0.3),
    ("200-byte frame, prepared", "ms", 0.06),
    ("X25519 public key", "ms", 3.0),
    ("X25519 shared secret", "ms", 3.0),
    ("Ed25519 sign", "ms", 3.0),
    ("Ed25519 verify", "ms", 3.0),
    ("SRP client", "ms", None),
    ("SRP device", "ms", None),
    ("AES-CTR, audio packet", "ms", 10.0),
    ("AES-CBC, audio packet", "ms", 10.0),
]


def measure():
    """Rows of (name, pure Python, cryptography or None, unit, target of the former or None)."""
    columns = []
    for name in ("python", "cryptography"):
        try:
            crypto.use(name)
        except ImportError:
            columns.append([None] * len(ROWS))
        else:
            columns.append(speeds())
    crypto.use(None)
    return [
        (name, ours, theirs, unit, target)
        for (name, unit, target), ours, theirs in zip(ROWS, *columns)
    ]


def main():
    for name, ours, theirs, unit, target in measure():
        line = f"{name:26} {ours:8.3f} {unit:4}"
        line += f"   target {target:6.2f}" if target else " " * 16
        if theirs is not None:
            line += f"   cryptography {theirs:9.3f}"
        print(line.rstrip())


if __name__ == "__main__":
    main()
