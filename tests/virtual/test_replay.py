"""A trace becomes a device: the same commands get the same answers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys

import pytest

import tinyatv
from tests.support.mutations import mutate
from tests.support.program import ROOT
from tinyatv import KeyboardFocus, PowerState
from tinyatv.virtual import Item, VirtualAppleTV
from tinyatv.virtual.replay import Recording


def media(atv):
    """What anybody does: press keys, watch, look at things, be refused."""
    told = []
    for command in ("pause", "next", "play"):
        getattr(atv, command)()
        told.append(atv.playing())
    atv.up()
    atv.select(presses=2)
    art = atv.artwork()
    told.append(art and art.data)
    try:
        atv.set_position(90)
    except tinyatv.CommandFailed as error:
        told.append(str(error))
    told.append(atv.playing().position)
    return told


def settings(atv):
    """What only newer ones have."""
    told = [atv.power_state(), atv.volume(), atv.output_devices()]
    atv.set_volume(35)
    told.append(atv.volume())
    atv.mute()
    told.append(atv.volume())
    told.append(atv.text_focus())
    return told


def companion(atv):
    told = [atv.apps(), atv.accounts(), atv.power_state()]
    atv.up(hold=0.5)
    atv.launch(atv.apps()[0].identifier)
    atv.set_volume(35)
    told.append(atv.volume())
    atv.swipe(500, 900, 500, 100, 0.1)
    try:
        atv.launch("not there")
    except tinyatv.CommandFailed as error:
        told.append(str(error))
    told.append(atv.text_focus())
    return told


DEVICES = {
    # name: profile, protocols, what to do
    "dmap": ("atv3", None, [media]),
    "mrp": ("tvos14", ("mrp",), [media, settings]),
    "tunnel": ("tvos18", ("airplay",), [media, settings]),
    "companion": ("tvos18", ("companion",), [companion]),
    "everything": ("tvos26", None, [media, settings]),
}


@contextlib.contextmanager
def taped(path, **options):
    """A connection to a device, and a trace of it."""
    with VirtualAppleTV(**options) as tv, tinyatv.Trace(path), tinyatv.connect(tv.device) as atv:
        yield atv


def session(device, doing):
    with tinyatv.connect(device) as atv:
        return [atv.protocols, *(do(atv) for do in doing)]


@pytest.fixture(params=DEVICES)
def recorded(request, tmp_path):
    """A trace, what to do again, and what came of it."""
    profile, protocols, doing = DEVICES[request.param]
    path = tmp_path / "session.jsonl"
    with VirtualAppleTV(profile=profile, protocols=protocols) as tv:
        if "dmap" not in tv.protocols:
            tv.fail("set_position", status=2)
        with tinyatv.Trace(path):
            told = session(tv.device, doing)
    return path, doing, told


def test_a_trace_into_what_is_replayed(recorded, tmp_path):
    """It would be emptied: refused, by whatever name, as long as the device is there."""
    path, _, _ = recorded
    before = path.read_bytes()
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    with VirtualAppleTV(replay=path):
        for name in (path, link):
            with pytest.raises(ValueError, match=r"is being replayed: name another file"):
                tinyatv.Trace(name).start()
        assert path.read_bytes() == before
        with tinyatv.Trace(tmp_path / "other.jsonl"):
            pass
    written = pytest.raises(ValueError, match="cannot be replayed: a trace is written to it")
    with tinyatv.Trace(link), written:
        VirtualAppleTV(replay=path)
    assert path.read_bytes() != before


def test_same_commands_same_answers(recorded):
    path, doing, told = recorded
    with VirtualAppleTV(replay=path) as tv:
        assert session(tv.device, doing) == told
        assert tv.recording.missing == []
        # And again: the tape begins anew for a new session.
        assert session(tv.device, doing) == told
        assert tv.recording.missing == []
    assert json.dumps(str(told[1])).count("Harbour Lights") or "Music" in str(told[1])


def test_any_credentials_will_do(recorded):
    """Whoever has the trace has no credentials of the device, and pairs with this one."""
    path, doing, told = recorded
    with VirtualAppleTV(replay=path, credentials=()) as tv:
        device = tv.device
        store = tinyatv.Store(memory=True)
        if tv.profile == "atv3":
            for service in device.services:
                service.credentials = "0xFEDCBA9876543210"
        else:
            device = tinyatv.pair(device, pin=lambda: tv.pin, store=store)
        with tinyatv.connect(device) as atv:
            assert [do(atv) for do in doing] == told[1:]


@pytest.mark.parametrize("name", ["dmap", "mrp", "tunnel"])
def test_changes_come_when_they_came(tmp_path, name):
    """What the device says by itself waits for what the client had done before it."""
    profile, protocols, _ = DEVICES[name]
    path = tmp_path / "session.jsonl"

    def watch(device, tv=None):
        titles = []
        with tinyatv.connect(device) as atv:
            events = atv.events(timeout=10)
            titles.append(next(events).playing.title)
            atv.next()
            while titles[-1] == titles[0]:
                titles.append(next(events).playing.title)
            if tv is not None:  # somebody else chooses something
                tv.state.update(title="Nobody Pressed Anything")
            while titles[-1] != "Nobody Pressed Anything":
                titles.append(next(events).playing.title)
            atv.pause()
        return list(dict.fromkeys(titles))

    with VirtualAppleTV(profile=profile, protocols=protocols) as tv, tinyatv.Trace(path):
        seen = watch(tv.device, tv)
    assert len(seen) == 3
    with VirtualAppleTV(replay=path) as tv:
        assert watch(tv.device) == seen


def test_positions_are_those_of_then(tmp_path):
    """A report of last week: what played then still plays, at the same place."""
    path = tmp_path / "session.jsonl"
    with VirtualAppleTV(profile="tvos14", protocols=["mrp"]) as tv, tinyatv.Trace(path):
        tv.state.set_position(60)
        with tinyatv.connect(tv.device) as atv:
            assert 60 <= atv.playing().position <= 65
    week = 7 * 24 * 3600
    old = []
    for line in path.read_text().splitlines():
        keys = json.loads(line)
        if keys.get("raw") and keys["name"] in ("SET_STATE", "UPDATE_CONTENT_ITEM"):
            from tinyatv import proto

            message = proto.parse(bytes.fromhex(keys["raw"]))
            move(message.envelope, -week)
            keys["raw"] = proto.dumps(message).hex()
        old.append(json.dumps({**keys, "time": keys["time"] - week}) + "\n")
    path.write_text("".join(old))
    with VirtualAppleTV(replay=path) as tv, tinyatv.connect(tv.device) as atv:
        assert 60 <= atv.playing().position <= 70


def move(message, seconds):
    """Put the times at which positions were right elsewhere."""
    for field, value in message.ListFields():
        if field.name == "elapsedTimeTimestamp":
            message.elapsedTimeTimestamp = value + seconds
        elif field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                move(one, seconds)


@pytest.mark.parametrize("name", ["dmap", "mrp", "companion"])
def test_what_was_not_recorded(tmp_path, name):
    profile, protocols, _ = DEVICES[name]
    path = tmp_path / "session.jsonl"
    with taped(path, profile=profile, protocols=protocols) as atv:
        atv.pause()
    with VirtualAppleTV(replay=path) as tv, tinyatv.connect(tv.device) as atv:
        atv.pause()
        with pytest.raises(tinyatv.CommandFailed, match=r"404|500|not in the trace"):
            atv.next()
        atv.pause()  # once more is the same as the last time
        (missing,) = tv.recording.missing
        assert "next" in missing or "command: 5" in missing or "_mcc" in missing


def test_typed_text_is_not_in_the_trace(tmp_path):
    path = tmp_path / "session.jsonl"
    with VirtualAppleTV(profile="tvos14", protocols=["mrp"]) as tv, tinyatv.Trace(path):
        tv.state.open_field("")
        with tinyatv.connect(tv.device) as atv:
            atv.text_set("correct horse")
    with VirtualAppleTV(replay=path) as tv, tinyatv.connect(tv.device) as atv:
        assert atv.text_focus() is KeyboardFocus.Focused
        atv.text_set("something else")
        assert tv.recording.missing == []


def test_written_by_the_device(tmp_path):
    """`tinyatv virtual --trace`: there is only the device's end, which is as good."""
    path = tmp_path / "session.jsonl"
    with taped(path, profile="tvos14", protocols=["mrp"]) as atv:
        atv.pause()
        title = atv.playing().title
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "".join(one for one in lines[1:] if '"end": "device"' in one))
    with VirtualAppleTV(replay=path) as tv, tinyatv.connect(tv.device) as atv:
        atv.pause()
        assert atv.playing().title == title


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "this is not a trace"),
        ('{"trace": 1}\n', "nothing in the trace can be replayed"),
        ('{"trace": 1}\n{"time": 1, "protocol": "mrp", "connection": 1, "direction": "to_device",'
         ' "name": "x", "raw": "ff"}\n', "not an MRP message"),
        ('{"trace": 1}\n{"time": 1, "protocol": "companion", "connection": 1,'
         ' "direction": "to_device", "name": "x", "raw": "08000001"}\n', "no frame of Companion"),
        ('{"trace": 1}\n{"time": 1, "protocol": "dmap", "connection": 1,'
         ' "direction": "to_device", "name": "x", "raw": "00"}\n', "not a message"),
    ],
)  # fmt: skip
def test_nothing_to_replay(tmp_path, text, words):
    path = tmp_path / "session.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        VirtualAppleTV(replay=path)
    with pytest.raises(FileNotFoundError):
        VirtualAppleTV(replay=tmp_path / "missing")


@pytest.mark.parametrize("name", ["dmap", "mrp", "companion"])
def test_damaged_trace(tmp_path, share, name):
    """However a trace is damaged, it is replayed, or there is one error."""
    profile, protocols, _ = DEVICES[name]
    path = tmp_path / "session.jsonl"
    with taped(path, profile=profile, protocols=protocols) as atv:
        atv.pause()
    head, *lines = path.read_bytes().splitlines(keepends=True)
    rng = random.Random(f"replay {name}")
    good = 0
    for _ in range(share(2000)):
        at = rng.randrange(len(lines))
        if rng.random() < 0.5:
            line = mutate(rng, lines[at], rng.choice(lines))
        else:  # sound JSON about unsound bytes
            keys = json.loads(lines[at])
            raw = bytes.fromhex(keys.get("raw", ""))
            keys["raw"] = mutate(rng, raw or b"x", raw or b"x").hex()
            line = json.dumps(keys).encode() + b"\n"
        path.write_bytes(b"".join([head, *lines[:at], line, *lines[at + 1 :]]))
        try:
            Recording(path)
            good += 1
        except ValueError:
            pass
    assert good


def test_program(own_store, tmp_path):
    """A user's bug report becomes a test: `--trace` here, `virtual --replay` there."""
    path = tmp_path / "session.jsonl"
    run = lambda *args: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "tinyatv", *map(str, args)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    words = ["pause", "title", "artist", "set_volume=35", "volume", "next", "title"]
    with VirtualAppleTV("Den", profile="tvos14", mdns_port=0, protocols=["mrp"]) as tv:
        tv.state.items.insert(1, Item("Second", duration=10))
        tinyatv.Store().save(tv.device)
        before = run("--trace", path, "-n", "Den", *words)
        assert (before.returncode, before.stderr) == (0, "")
    process = subprocess.Popen(
        [sys.executable, "-m", "tinyatv", "virtual", "--replay", path, "--no-announce", "--json"],
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with process:
        about = json.loads(process.stdout.readline())
        assert about["replay"] == str(path)
        secret = tmp_path / "credentials"
        secret.write_text(about["credentials"]["mrp"])
        after = run(
            "--manual", "--protocol", "mrp", "--address", "127.0.0.1", "--port",
            about["ports"]["mrp"], "--mrp-credentials", f"@{secret}", *words,
        )  # fmt: skip
        assert (after.returncode, after.stdout, after.stderr) == (0, before.stdout, "")
        other = run(
            "--manual", "--protocol", "mrp", "--address", "127.0.0.1", "--port",
            about["ports"]["mrp"], "stop",
        )  # fmt: skip
        assert (other.returncode, other.stderr) == (
            1,
            "tinyatv: stop: refused with error 404 (mrp)\n",
        )
        while "missing" not in (line := json.loads(process.stdout.readline())):
            pass
        assert line["missing"].startswith("SEND_COMMAND(command: 4")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_power(tmp_path):
    path = tmp_path / "session.jsonl"
    with taped(path, profile="tvos14", protocols=["mrp"]) as atv:
        atv.turn_off(wait=True)
        atv.turn_on(wait=True)
    with VirtualAppleTV(replay=path) as tv, tinyatv.connect(tv.device) as atv:
        atv.turn_off(wait=True)
        assert atv.power_state() is PowerState.Off
        atv.turn_on(wait=True)
        assert atv.power_state() is PowerState.On
