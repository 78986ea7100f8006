"""Private values of SRP, for PIN 1234, with which a public value begins with a zero byte."""

from __future__ import annotations

import hashlib


def secret(text):
    return hashlib.sha256(text.encode()).digest()


SALTED = bytes(range(16, 32))
# Origin: made up; searched for among secrets of that form, PIN 1234.
A_ZERO, A_PLAIN, B_ZERO, B_PLAIN = secret("a 6"), secret("a 0"), secret("b 0"), secret("b 1")
ZEROS = {"A": (A_ZERO, B_PLAIN), "B": (A_PLAIN, B_ZERO), "both": (A_ZERO, B_ZERO)}
