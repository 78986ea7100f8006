"""The archives of text fields, against the vectors."""

from __future__ import annotations

import hashlib
import plistlib

import pytest

from tests.support.vectors import cases
from tinyatv import ProtocolError
from tinyatv.backends import companion_text
from tinyatv.wire import archive

ARCHIVES = {case["name"]: case for case in cases("companion", "text_archives")}
SESSION = bytes(range(16))


@pytest.mark.parametrize("name", ["insert_hi", "clear"])
def test_what_we_write(name):
    case = ARCHIVES[name]
    session = bytes.fromhex(case["session_hex"])
    if "text" in case:
        data = companion_text.insertion(session, case["text"])
    else:
        data = companion_text.clearing(session)
    assert len(data) == case["expect"]["length"]
    assert hashlib.sha256(data).hexdigest() == case["expect"]["sha256_hex"]


def test_what_we_read():
    case = ARCHIVES["device_archive"]
    data = bytes.fromhex(case["archive_hex"])
    assert len(data) == case["expect"]["length"]
    field = companion_text.read(data)
    assert field.session.hex() == case["expect"]["session_hex"]
    assert field.text == case["expect"]["text"]


def test_a_session_that_is_an_object():
    """As remotes write it themselves."""
    target = {"NS.uuidbytes": SESSION, "$class": plistlib.UID(2)}
    data = archive.dumps("RTIKeyedArchiver", {"sessionUUID": 1}, [target, {}])
    field = companion_text.read(data)
    assert (field.session, field.text) == (SESSION, "")


@pytest.mark.parametrize(
    "objects", [[], [b"short"], [{"NS.uuidbytes": "text"}], [plistlib.UID(1)], [plistlib.UID(9)]]
)
def test_without_a_session(objects):
    with pytest.raises(ProtocolError, match="it has no session"):
        companion_text.read(archive.dumps("RTIKeyedArchiver", {"sessionUUID": 1}, objects))


def test_truncated():
    data = bytes.fromhex(ARCHIVES["device_archive"]["archive_hex"])
    for end in range(len(data)):
        with pytest.raises(ProtocolError):
            companion_text.read(data[:end])
