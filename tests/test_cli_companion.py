"""The command line with a device that speaks Companion, and a fresh user's first minutes."""

from __future__ import annotations

import json
import os
import pty
import queue
import signal
import threading

import pytest

from tests.support.program import Person, Program, run, run_json
from tinyatv.pairing.accessory import Accessory
from tinyatv.virtual import VirtualAppleTV

NETFLIX = "com.netflix.Netflix"
KIM = "C4D5E6F7-1829-4A3B-8C4D-5E6F70819203"


@pytest.fixture
def profile():
    return "tvos18"


@pytest.fixture
def protocols():
    return ["companion"]


@pytest.fixture(params=["tvos15", "tvos27"])
def unpaired(request, own_store, monkeypatch):
    with VirtualAppleTV("Bedroom", profile=request.param, mdns_port=0, credentials=()) as tv:
        tv.accessory.back_off = False
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        yield tv


@pytest.mark.parametrize(
    ("words", "log"),
    [
        (["home", "menu=hold:0.6", "click=1", "click=2"],
         ["home", "menu hold", "select", "select", "select hold"]),
        (["channel_up", "channel_down", "guide", "screensaver", "control_center"],
         ["channel_up", "channel_down", "guide", "screensaver", "control_center"]),
        ([f"launch={NETFLIX}", f"launch_app={NETFLIX}"], [f"launch_app {NETFLIX}"] * 2),
        (["launch=https://tv.example.com/a,b"], ["launch_app https://tv.example.com/a,b"]),
        ([f"switch_account={KIM}"], [f"switch_account {KIM}"]),
        (["swipe=500,900,500,100,50", "swipe=0,0,0,0,0"], ["up"]),
        (["action=0,0,1", "action=500,0,hold", "action=1000,0,release"], ["right"]),
        (["siri_start", "siri_stop"], ["siri_start", "siri_stop", "siri"]),
        (["captions", "captions=on"], ["set_captions 4", "set_captions 2"]),
        (["turn_off=wait", "turn_on=wait"], ["turn_off", "turn_on"]),
        (["set_volume=30", "mute", "mute"], ["set_volume 30", "set_volume 0", "set_volume 30"]),
        (["play_pause", "begin_rewind", "end_rewind"], ["play_pause", "rewind", "end_seeking"]),
    ],
)  # fmt: skip
def test_words(tv, capsys, words, log):
    assert run(capsys, *words) == (0, "", "")
    assert tv.log == log
    assert tv.companion.complaints == []


@pytest.mark.parametrize(
    "word",
    ["launch", "launch=", "switch_account", "switch_account=", "switch_account=a,b", "swipe",
     "swipe=1,2,3,4", "swipe=0,0,0,1001,5", "swipe=a,b,c,d,e", "action=1,2", "action=1,2,fly",
     "action=1,2,2", "click=0x", "captions=loud", "text_get=1", "apps=1", "type", "guide=1"],
)  # fmt: skip
def test_wrong_words(tv, capsys, word):
    code, out, err = run(capsys, "menu", word)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert tv.companion.requests == []


def test_lists(tv, capsys):
    for word in ("apps", "app_list"):
        code, out, _ = run(capsys, word)
        assert (code, len(out.splitlines())) == (0, len(tv.state.apps))
        assert f"Netflix: {NETFLIX}\n" in out
        assert "App Store: com.apple.TVAppStore\n" in out
    assert run(capsys, "accounts")[1].splitlines()[1] == f"Kim: {KIM}"
    code, (apps, accounts) = run_json(capsys, "app_list", "account_list")
    assert code == 0
    assert {"name": "Netflix", "identifier": NETFLIX} in apps["apps"]
    assert accounts["accounts"][1] == {"name": "Kim", "identifier": KIM}


def test_no_such_app(tv, capsys):
    code, out, err = run(capsys, "launch=com.example.nothing", "menu")
    assert (code, out) == (1, "")
    assert err == ("tinyatv: launch: there is no app 'com.example.nothing' (error 1, companion)\n")
    code, (line,) = run_json(capsys, "launch=com.example.nothing")
    assert (code, line["error"]) == (1, "command_failed")
    assert tv.log == []


def test_text(tv, capsys):
    assert run(capsys, "text_get", "text_focus_state") == (
        0, "no text field is open\nUnfocused\n", "",
    )  # fmt: skip
    _, (line,) = run_json(capsys, "text_get")
    assert line["text_get"] is None
    code, _, err = run(capsys, "type", "stranger")
    assert (code, err) == (1, "tinyatv: text_set: no text field is open (companion)\n")
    tv.state.open_field()
    for words, text in (
        (["type", "stranger"], "stranger"),
        (["type", 'a","b", c'], 'a","b", c'),
        (["type=x, y", "text_append= z"], "x, y z"),
        (["text_set=hello", "type", "down"], "down"),
        (["text_set=hello", "text_clear"], ""),
    ):
        assert run(capsys, *words) == (0, "", "")
        assert tv.state.text == text
    assert run(capsys, "type", "again", "text_get") == (0, "again\n", "")


def test_features(tv, capsys):
    """By the names that are known in the field."""
    _, (line,) = run_json(capsys, "features")
    states = line["features"]
    for name in ("AppList", "LaunchApp", "AccountList", "SwitchAccount", "ChannelUp", "Guide",
                 "ControlCenter", "Swipe", "Action", "Click", "TextFocusState"):  # fmt: skip
        assert states[name] == "Available", name
    assert states["TextGet"] == "Unavailable"
    assert states["Artwork"] == "Unsupported"


def test_a_press_over_companion_loads_what_it_needs(tv):
    script = (
        "import sys; from tinyatv.cli.program import main;"
        "code = main(['-n', 'Living Room', 'home']);"
        "print(code, *sorted(m for m in sys.modules if m in "
        "('zeroconf', 'asyncio', 'requests', 'dataclasses', 'tinyatv.discovery.scanner',"
        "'tinyatv.virtual', 'plistlib', 'tinyatv.wire.http', 'google.protobuf',"
        "'tinyatv.backends.mrp')))"
    )
    with Program(command=("-c", script)) as process:
        out, err = process.communicate(timeout=60)
    assert (out, err) == ("0\n", "")


def test_secrets_stay_out_of_the_log(tv, capsys):
    tv.state.open_field()
    with Program("--debug", "type", "hunter2", "text_get") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "hunter2\n")
    assert " > _tiC event " in err  # something of everything
    assert " < reply " in err
    keys = tv.credentials["companion"].split(":")[:2]
    assert not [key for key in keys if key in err.lower()]
    assert "hunter2" not in err


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ({"drop": True}, 4, "hung up"),
        ({"status": 5}, 1, "connect: refused (error 5, companion)"),
        ({"silent": True}, 7, "no reply to connect within 0.3 s"),
        ({"garbage": b"\x08\0\0\x20" + bytes(32)}, 1, "tag"),
    ],
)
def test_device_that_misbehaves(tv, capsys, own_store, fault, code, words):
    """One clear line, the right exit code, and the store is as it was."""
    before = own_store.read_text()
    tv.fail("_systemInfo", times=None, **fault)
    got, out, err = run(capsys, "--timeout", "0.3", "home")
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert words in err
    assert own_store.read_text() == before


def test_forgotten(tv, capsys):
    tv.forget_clients()
    code, _, err = run(capsys, "home")
    assert (code, err.count("\n")) == (6, 1)
    assert "pair again" in err


def test_watch(tv):
    """Changes that only Companion tells; it says nothing of what plays."""
    lines = queue.SimpleQueue()
    with Program("push_updates", "--json") as process:
        reading = threading.Thread(target=lambda: [*map(lines.put, process.stdout)])
        reading.start()
        assert tv.wait_for(lambda: "FetchAttentionState" in tv.companion.requests, 30)
        line = None
        while line is None:  # the device does not know when it begins to listen
            tv.state.sleep()
            tv.state.wake()
            line = next_line(lines, 0.2)
        assert line["power_state"] in ("on", "off")
        tv.state.open_field()
        while "focus_state" not in line:
            line = next_line(lines, 30)
        assert line["focus_state"] == "focused"
        tv.stop()
        assert process.wait(timeout=30) == 4
        reading.join(30)
    assert next_line(lines, 1)["connection"] == "closed"  # it took its leave


def next_line(lines, timeout):
    try:
        return json.loads(lines.get(timeout=timeout))
    except queue.Empty:
        return None


# -- pairing ---------------------------------------------------------------------------------------


def test_one_pin_sets_up_everything(unpaired, capsys):
    with Program("pair", "--json") as process:
        assert json.loads(process.stdout.readline())["pin"] == "wanted"
        out, err = process.communicate(f"{unpaired.pin}\n", timeout=30)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["paired"] == list(unpaired.protocols)
    assert json.loads(out)["connected"] == list(unpaired.protocols)
    assert "_sessionStart" in unpaired.companion.requests  # that is how it knows
    assert len(unpaired.pins) == 1
    _, (line,) = run_json(capsys, "info")
    assert {*line["connected"]} == {"mrp", *unpaired.protocols}


def test_companion_alone(unpaired, capsys):
    """Paired for Companion, and the tunnel opens, too."""
    with Program("pair", "--protocol", "companion", "--json") as process:
        process.stdout.readline()
        out, err = process.communicate(f"{unpaired.pin}\n", timeout=30)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["paired"] == ["companion"]
    assert run(capsys, f"launch={NETFLIX}", "title")[0] == 0


def test_wizard_lets_nobody_wait_for_what_cannot_be(own_store, monkeypatch):
    """Companion is for people of its home alone; the rest is set up."""
    with VirtualAppleTV("Bedroom", profile="tvos18", mdns_port=0, credentials=()) as tv:
        tv.companion.identity.flags = 0x627B6
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        with Terminal("wizard") as person:
            person.reads("q to leave)? ")
            person.types("1")
            assert "(companion) only lets members of its home in" in person.reads("PIN that")
            person.reads("there is none): ")
            person.types(tv.pin)
            person.reads("Connected to Bedroom by mrp, airplay")
            person.reads("All set")


def test_wizard_sets_up_what_it_can(unpaired, capsys):
    """Companion wants a PIN of its own, and shows none: the person gives up."""
    side = unpaired.companion
    side.accessory = Accessory(unpaired.accessory.identity)
    with Terminal("wizard", code=6) as person:
        person.reads("q to leave)? ")
        person.types("1")
        person.reads("there is none): ")
        person.types(unpaired.pin)
        person.reads("there is none): ")
        person.types("\x04")
        person.reads("no PIN was given")
        person.reads("The rest is set up. Later: tinyatv pair --protocol companion")
        person.reads("Connected to Bedroom by mrp, airplay.")
    with Program("pair", "--protocol", "companion", "--json") as process:
        process.stdout.readline()
        process.communicate(f"{side.accessory.pin_shown}\n", timeout=30)
    assert process.returncode == 0
    assert run(capsys, f"launch={NETFLIX}", "title")[0] == 0


def test_paired_and_no_connection(unpaired, capsys):
    """The PIN was right, and yet Companion does not work: that is said, and the rest does."""
    unpaired.fail("_sessionStart", status=5)
    with Program("pair", "--json") as process:
        process.stdout.readline()
        out, err = process.communicate(f"{unpaired.pin}\n", timeout=30)
    assert (process.returncode, err) == (1, "")
    paired, refused = map(json.loads, out.splitlines())
    assert paired["paired"] == list(unpaired.protocols)
    assert paired["connected"] == ["airplay"]
    assert (refused["result"], refused["protocol"]) == ("failure", "companion")
    unpaired.fail("_sessionStart", status=5)
    with Terminal("wizard", code=1) as person:
        person.reads("q to leave)? ")
        person.types("1")
        person.reads("(companion) is paired already")
        person.reads("companion is paired, but does not connect:")
        assert "All set" not in person.reads("Connected to Bedroom by")
    assert len(unpaired.pins) == 1


def test_wizard_pairs_again_what_was_forgotten(unpaired, capsys):
    """Somebody has removed this remote in the settings of the TV."""
    for forgotten in (False, True):
        with Terminal("wizard") as person:
            person.reads("q to leave)? ")
            person.types("1")
            if forgotten:
                assert "already" not in person.reads("no longer accepts our pairing")
            person.reads("there is none): ")
            person.types(unpaired.pin)
            person.reads("and connected with each")
            person.reads("Connected to Bedroom by mrp, airplay, companion.")
            person.reads("All set")
        unpaired.forget_clients()
    assert len(unpaired.pins) == 2


class Terminal:
    """The program in a terminal of its own, and a person in front of it."""

    def __init__(self, *args, code=0):
        self._code = code
        self._screen, self._terminal = pty.openpty()
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self._terminal)
        self._program = Program(*args, **streams)
        os.close(self._terminal)

    def __enter__(self):
        self._person = Person(self._screen)
        return self._person

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self._program.kill()
        assert self._program.wait(timeout=30) == self._code or kind is not None
        os.close(self._screen)

    def interrupt(self):
        self._program.send_signal(signal.SIGINT)


def test_a_fresh_user(unpaired, capsys):
    """Finds and pairs it with one PIN, starts an app, types into it, and watches."""
    with Terminal("wizard") as person:
        person.reads("Bedroom")
        person.reads("q to leave)? ")
        person.types("1")
        person.reads("PIN that Bedroom shows (ENTER if there is none): ")
        person.types(unpaired.pin)
        person.reads(f"Paired with Bedroom ({', '.join(unpaired.protocols)})")
        person.reads("Connected to Bedroom by mrp, airplay, companion.")
        assert "Harbour Lights" in person.reads("All set")
    assert len(unpaired.pins) == 1

    with Terminal(f"launch={NETFLIX}"):
        assert unpaired.wait_for(lambda: unpaired.state.app.identifier == NETFLIX, 30)

    unpaired.state.open_field()
    with Terminal("type", "stranger"):
        assert unpaired.wait_for(lambda: unpaired.state.text == "stranger", 30)

    watching = Terminal("watch", code=130)
    with watching as person:
        person.reads("Device state: ")
        unpaired.state.sleep()
        person.reads("Power: Off")
        watching.interrupt()
    assert unpaired.log[:1] == [f"launch_app {NETFLIX}"]
    assert unpaired.companion.complaints == []
