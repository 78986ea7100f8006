"""mypy sees a call that no backend has: the contract is typed all the way from AppleTV."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest

import tinyatv

pytest.importorskip("mypy", reason="needs mypy")

PACKAGE = pathlib.Path(tinyatv.__file__).parent
CALL = 'self._via("play").play()'


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """A function that replaces the call in `AppleTV.play`, in a copy; returns what mypy says."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, copy / "tinyatv", ignore=shutil.ignore_patterns("__pycache__"))
    device = copy / "tinyatv" / "device.py"
    source = device.read_text("utf-8")
    assert source.count(CALL) == 1

    def complain(call):
        device.write_text(source.replace(CALL, call), "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "tinyatv/device.py"],
            cwd=copy, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.splitlines()

    return complain


def test_the_call_as_it_is(complaints):
    assert complaints(CALL) == []


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ('self._via("play").playy()', 'has no attribute "playy"'),
        ('self._via("play").play(1)', "Too many arguments"),
        ('self._via("play").set_position("1")', "incompatible type"),
    ],
)
def test_a_wrong_call(complaints, call, error):
    (complaint,) = complaints(call)
    assert error in complaint
