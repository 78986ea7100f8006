"""The README is true: its programs run, its commands do, its table is the one in the code."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

import pytest

import tinyatv
from tests.support.sound import samples, wav
from tinyatv.cli.words import find
from tinyatv.routes import BACKENDS, FIELDS, ROUTES
from tinyatv.virtual import VirtualAppleTV

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
PROGRAMS = [text for kind, text in BLOCKS if kind == "python" and "gpiozero" not in text]
COMMANDS = [
    line.split("#")[0].strip()
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.startswith("tinyatv ")
]
ENDLESS = ("wizard", "pair", "watch", "virtual", "serve", "proxy")


@pytest.fixture(params=["atv3", "tvos14", "tvos18"])
def profile(request):
    """All of it, on every generation."""
    return request.param


@pytest.fixture
def living_room(tv, monkeypatch, tmp_path):
    """The device that the README talks about, and a folder to write into."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # of `tinyatv service`
    (tmp_path / "holiday.mp4").write_bytes(bytes(1000))
    with tinyatv.Trace("trouble.jsonl"), tinyatv.connect(tv.device) as atv:
        atv.pause()
    tv.state.open_field()  # somebody chose "Search"
    if "airplay" in tv.protocols:
        tv.airplay.player.duration = 0.5
    return tv


def is_for(tv, words) -> bool:
    """True if a device of this generation can do all of it."""
    with tinyatv.connect(tv.device) as atv:
        speaks = {*atv.protocols}
    rows = {word: find(word) for word in words}
    features = [row.feature if row is not None else word for word, row in rows.items()]
    return all(speaks & {*ROUTES.get(feature, BACKENDS)} for feature in features)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_program(program, living_room, tmp_path):
    if not is_for(living_room, re.findall(r"\batv\.(\w+)\(", program)):
        return
    program = program.replace("192.0.2.10", "127.0.0.1").replace("3689", "1")  # loopback alone
    path = tmp_path / "program.py"
    path.write_text(program, "utf-8")
    run = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_program_that_streams(own_store, monkeypatch, tmp_path):
    """The same for a speaker."""
    (program,) = [text for text in PROGRAMS if "atv.stream(" in text]
    (tmp_path / "song.wav").write_bytes(wav(samples(4000)))
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with VirtualAppleTV("Kitchen", profile="speaker", mdns_port=0) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
            cwd=tmp_path,
        )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, "")
        (heard,) = tv.raop.streams
    assert (heard.title, heard.artist, heard.artwork[0]) == ("song", "Somebody", "image/jpeg")


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.split()[1].startswith(ENDLESS)])
def test_command(command, living_room):
    if not is_for(living_room, [word.partition("=")[0] for word in command.split()]):
        return
    if " tv " in f"{command} " and "alias" not in command:
        tinyatv.Store().set_alias("Living Room", "tv")
    args = shlex.split(command)[1:]
    run = subprocess.run(
        [sys.executable, "-m", "tinyatv", *args], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1].startswith(ENDLESS)])
def test_endless_command(command, living_room):
    args = shlex.split(command)[1:]
    if args[0] == "proxy" and args[1] not in living_room.protocols:
        return  # not for this generation
    if args[0] in ("virtual", "proxy"):
        args += ["--no-announce"]  # loopback alone, and no name for others to find
    run = subprocess.Popen(
        [sys.executable, "-u", "-m", "tinyatv", *args],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    assert run.stdout.read(1)  # it has begun; a question has no end of line
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode in (0, 130)
    assert "Traceback" not in err


def test_every_endless_command_is_there():
    assert {c.split()[1] for c in COMMANDS} >= set(ENDLESS)


def test_button_box_is_the_example():
    box = next(text for kind, text in BLOCKS if "gpiozero" in text)
    example = (ROOT / "examples" / "button_box.py").read_text("utf-8")
    assert box.strip() == example.split('"""\n', 1)[1].strip()


def matrix() -> str:
    """The support matrix, out of the table that the code routes by."""
    protocols = list(BACKENDS)
    lines = ["| | " + " | ".join(protocols) + " |", "|---|" + "---|" * len(protocols)]
    for table in (ROUTES, FIELDS):
        for name, served in table.items():
            lines.append(
                f"| {name} | " + " | ".join("yes" if p in served else "" for p in protocols) + " |"
            )
    return "\n".join(lines)


def test_support_matrix():
    shown = re.search(r"<!-- generated[^\n]*-->\n\n(.*?)\n<!-- end -->", README, re.S)
    assert shown is not None
    if os.environ.get("TINYATV_WRITE_README"):
        (ROOT / "README.md").write_text(README.replace(shown[1], matrix()), "utf-8")
    assert shown[1] == matrix()


def test_errors_table():
    for name in re.findall(r"^\| `(\w+)` \|", README, re.M):
        assert issubclass(getattr(tinyatv, name), tinyatv.AppleTVError)
    for name, builtin in re.findall(r"^\| `(\w+)` \| `(\w+)` \|", README, re.M):
        assert issubclass(getattr(tinyatv, name), getattr(__import__("builtins"), builtin))
