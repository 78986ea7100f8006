"""Keyed archives: what stands where, and whatever a stranger may write."""

from __future__ import annotations

import plistlib
import random
from plistlib import UID

import pytest

from tests.support.mutations import mutate
from tests.support.vectors import cases
from tinyatv.wire import archive

[DEVICE] = [c for c in cases("companion", "text_archives") if c["name"] == "device_archive"]
DATA = bytes.fromhex(DEVICE["archive_hex"])
TEXT = ("documentState", "docSt", "contextBeforeInput")


def test_archive_of_a_device():
    content = archive.loads(DATA)
    assert archive.follow(content, *TEXT) == DEVICE["expect"]["text"]
    assert archive.follow(content, "sessionUUID").hex() == DEVICE["expect"]["session_hex"]
    objects = content["$objects"][1:]
    assert (
        archive.dumps("RTIKeyedArchiver", {"sessionUUID": 1, "documentState": 2}, objects) == DATA
    )


def test_steps_that_lead_nowhere():
    content = archive.loads(DATA)
    for path in (("nothing",), (*TEXT, "more"), ("sessionUUID", "x"), ("documentState", "x", "y")):
        assert archive.follow(content, *path) is None


@pytest.mark.parametrize(
    "objects", [[UID(1)], [UID(2), UID(1)], [UID(9)], [UID(2), UID(3), UID(1)]]
)
def test_in_circles_and_out_of_bounds(objects):
    content = archive.loads(archive.dumps("X", {"a": 1}, objects))
    assert archive.follow(content, "a") is None


def test_from_one_to_the_next():
    content = archive.loads(archive.dumps("X", {"a": 1}, [UID(2), UID(3), "end"]))
    assert archive.follow(content, "a") == "end"
    assert archive.follow(content) == {"a": UID(1)}


@pytest.mark.parametrize(
    "content",
    [[], "text", {}, {"$top": {}}, {"$objects": []}, {"$top": [], "$objects": []},
     {"$top": {}, "$objects": {}}],
)  # fmt: skip
def test_no_archive(content):
    with pytest.raises(ValueError, match="archive"):
        archive.loads(plistlib.dumps(content, fmt=plistlib.FMT_BINARY))


def test_only_value_errors(share):
    rng = random.Random(70)
    count, read = share(40_000), 0
    for _ in range(count):
        try:
            content = archive.loads(mutate(rng, DATA, DATA))
        except ValueError:
            continue
        read += 1
        for path in (TEXT, ("sessionUUID",), ("sessionUUID", "NS.uuidbytes")):
            archive.follow(content, *path)
    assert count // 50 < read < count
