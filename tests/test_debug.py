"""``--debug``: every message of every protocol, both ways, one line each, without secrets."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import tinyatv
from tinyatv.redact import LINE, Redactor
from tinyatv.virtual import VirtualAppleTV
from tinyatv.wire.http import Request, Response

PIN = "0007"  # no number is written like this
LINES = re.compile(
    r"DEBUG \[tinyatv\.link\]: (?:tinyatv-)?([a-z-]+?)(?:-127\.0\.0\.1)? ([<>]) (.*)"
)


def debug(*words):
    """Run the program with --debug; returns its messages as (link, direction, line), and all."""
    command = [sys.executable, "-m", "tinyatv", "--debug", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return LINES.findall(done.stderr), done.stderr


def secrets(tv):
    """What must not be in a log: credentials, whole and each key in them, in every form."""
    for credentials in {*tv.credentials.values()}:
        yield credentials
        parts = [part for part in credentials.split(":") if len(part) == 64]
        for part in [*parts, credentials.removeprefix("0x")]:
            yield part
            yield repr(bytes.fromhex(part))[2:-1] if len(part) == 64 else part


def shown(text, words):
    """Which of them can be read in a text."""
    return [word for word in words if word.lower() in text.lower()]


def names(messages, link, way):
    return [
        line.split(" {")[0]
        for name, direction, line in messages
        if (name, direction) == (link, way)
    ]


@pytest.mark.parametrize(
    ("profile", "expect"),
    [
        ("atv3", {("dmap", ">"): ["GET /login", "POST /ctrl-int/1/playpause"],
                  ("dmap", "<"): ["200 OK"]}),
        ("tvos14", {("mrp", ">"): ["DEVICE_INFO", "CRYPTO_PAIRING", "SEND_COMMAND"],
                    ("mrp", "<"): ["DEVICE_INFO", "CRYPTO_PAIRING", "SEND_COMMAND_RESULT"],
                    ("companion", ">"): ["PairVerifyStart", "_systemInfo request"],
                    ("companion", "<"): ["PairVerifyNext", "reply", "_iMC event"]}),
        ("tvos18", {("airplay", ">"): ["POST /pair-verify", "SETUP rtsp://", "RECORD rtsp://"],
                    ("airplay", "<"): ["200 OK"],
                    ("airplay-events", "<"): ["POST /command"],
                    ("airplay-events", ">"): ["200 OK"],
                    ("mrp", ">"): ["DEVICE_INFO", "SEND_COMMAND"],  # in the tunnel
                    ("mrp", "<"): ["DEVICE_INFO", "SEND_COMMAND_RESULT"],
                    ("companion", ">"): ["PairVerifyStart", "_systemInfo request"],
                    ("companion", "<"): ["PairVerifyNext", "reply", "_iMC event"]}),
    ],
)  # fmt: skip
def test_each_message_both_ways(tv, expect):
    # A word waits for the protocols that it needs alone: `apps` needs Companion.
    words = ["play_pause"] if "dmap" in tv.protocols else ["play_pause", "apps"]
    messages, text = debug(*words)
    assert tv.log == ["play_pause"]
    for (link, way), starts in expect.items():
        found = names(messages, link, way)
        for start in starts:
            assert [name for name in found if name.startswith(start)], (link, way, start, found)
    assert {(name, way) for name, way, _ in messages} == expect.keys()
    assert max(len(line) for _, _, line in messages) < LINE + 40
    assert shown(text, secrets(tv)) == []


@pytest.mark.parametrize(
    ("profile", "protocols"),
    [("tvos14", ["mrp"]), ("tvos15", ["airplay"]), ("tvos18", ["companion"])],
)
def test_typed_text_is_not_shown(tv):
    tv.state.open_field()
    typed = f"swordfish-{os.urandom(4).hex()}"
    asked = ["text_get"] if "companion" in tv.protocols else []
    messages, text = debug(f"text_set={typed}", "text_append=Zebra42", *asked)
    assert messages
    assert tv.state.text == f"{typed}Zebra42"
    forms = [
        typed,
        "Zebra42",
        typed.encode().hex(),
        b"Zebra42".hex(),
        "Zebra42".encode("utf-16be").hex(),
    ]
    assert shown(text, [*forms, *secrets(tv)]) == []


@pytest.mark.parametrize(
    ("generation", "protocol"),
    [("tvos14", "mrp"), ("tvos15", "airplay"), ("tvos18", "companion")],
)
def test_pairing_is_not_shown(own_store, monkeypatch, generation, protocol):
    made = VirtualAppleTV("Bedroom", profile=generation, mdns_port=0, credentials=(), pin=PIN)
    with made as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        messages, text = debug("pair", "--protocol", protocol, "--pin", PIN)
        assert {way for _, way, _ in messages} == {"<", ">"}
        assert re.search(r'"State": "M5"', text)
        assert not re.search(rf"(?<![\w-]){PIN}(?![\w-])", text)
        stored = [one.credentials for one in tinyatv.Store().find("Bedroom").services]
        assert any(stored)
        for credentials in stored:
            if credentials:
                parts = credentials.split(":")
                assert shown(text, [credentials, *(p for p in parts if len(p) == 64)]) == []


@pytest.mark.parametrize("profile", ["tvos15"])
def test_password_is_not_shown(tv, tmp_path):
    tv.airplay.password = "correct-horse"
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    command = [
        sys.executable, "-m", "tinyatv", "--debug", "--airplay-password", "correct-horse",
        "--timeout", "3", "play_url=http://kim:battery-staple@127.0.0.1:9/film.mp4",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert " < 401 Unauthorized" in done.stderr
    assert "http://(hidden)@127.0.0.1" in done.stderr
    assert shown(done.stderr, ["correct-horse", *secrets(tv)]) == []
    assert "battery-staple" not in done.stderr


def test_what_is_long_or_hostile_stays_one_line():
    redactor = Redactor()
    (line,) = redactor.lines(Request("GET", "/a\x1b[2J\n" + "x" * 5000), True)
    assert len(line) < LINE + 40
    assert line.isprintable()
    (line,) = redactor.lines(
        (8, {"_i": "\x1b]0;\n", "_t": 2, "_c": {"a": [["b"] * 99] * 99}}), False
    )
    assert len(line) < LINE + 40
    assert line.isprintable()
    nested = []
    for _ in range(100_000):
        nested = [nested]
    (line,) = redactor.lines((8, {"_i": "deep", "_t": 2, "_c": nested}), False)
    assert line.startswith("deep request")
    assert list(redactor.lines([b"secret", None, b"x"], True)) == ["6 bytes", "1 bytes"]


def test_response_is_hidden_because_of_its_request():
    """DMAP's answer to a pairing request is the credentials; requests pass both ways."""
    redactor = Redactor()
    asked = Request("GET", "/pair?pairingcode=ABCD&servicename=1")
    (line,) = redactor.lines(asked, False)
    assert line == "GET /pair?pairingcode=(hidden)&servicename=1"
    list(redactor.lines(Request("GET", "/server-info"), True))
    (line,) = redactor.lines(Response(200, body=b"cmpg-secret"), False)  # of /server-info
    assert line.startswith("200 OK")
    (line,) = redactor.lines(Response(200, body=b"\x01\x02secret"), True)
    assert line == "200 OK"
