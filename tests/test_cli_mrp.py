"""The command line with a device that speaks MRP: its words, its PIN, what watch shows."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

import tinyatv
from tests.support.program import Person, Program, run, run_json
from tinyatv import PowerState
from tinyatv.virtual import VirtualAppleTV


@pytest.fixture
def profile():
    return "tvos14"


@pytest.fixture
def protocols():
    return ["mrp"]


@pytest.fixture(params=["tvos14", "tvos18"])
def unpaired(request, own_store, monkeypatch):
    with VirtualAppleTV("Bedroom", profile=request.param, mdns_port=0, credentials=()) as tv:
        tv.accessory.back_off = False
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        yield tv


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "log"),
    [
        (["home", "home=double", "home_hold", "menu=hold:0.6"],
         ["home", "home", "home", "home hold", "menu hold"]),
        (["suspend", "wakeup", "top_menu"], ["suspend", "wakeup", "top_menu"]),
        (["begin_fast_forward", "end_fast_forward"], ["fast_forward", "end_seeking"]),
        (["begin_rewind", "end_rewind"], ["rewind", "end_seeking"]),
        (["set_volume=30", "mute", "mute"], ["set_volume 30", "set_volume 0", "set_volume 30"]),
        (["turn_off=wait", "turn_on=wait"], ["home hold", "select", "turn_off", "turn_on"]),
        (["skip_forward=30", "set_repeat=track"], ["skip_forward 30", "set_repeat Track"]),
    ],
)  # fmt: skip
def test_words(tv, capsys, words, log):
    assert run(capsys, *words) == (0, "", "")
    assert tv.log == log


@pytest.mark.parametrize(
    "word",
    ["home=4,5", "home_hold=1", "turn_on=now", "set_volume=101", "set_volume=5,x,y", "volume=a,b",
     "add_output_devices", "set_output_devices=", "remove_output_devices=a,,b", "text_set",
     "text_clear=x", "mute=1", "power_state=1"],
)  # fmt: skip
def test_wrong_words(tv, capsys, word):
    code, out, err = run(capsys, "play", word)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert tv.requests == []


def test_asking(tv, capsys):
    assert run(capsys, "power_state") == (0, "PowerState.On\n", "")
    assert run(capsys, "volume") == (0, "50.0\n", "")
    assert run(capsys, "text_focus_state") == (0, "Unfocused\n", "")
    assert run(capsys, "app") == (0, "App: Music (com.apple.TVMusic)\n", "")
    own, kitchen, _ = tv.state.known_outputs
    assert run(capsys, "output_devices") == (0, f"Living Room: {own.identifier}\n", "")
    code, lines = run_json(
        capsys, f"add_output_devices={kitchen.identifier}", "output_devices", "power_state",
        f"set_volume=15,{kitchen.identifier}", f"volume={kitchen.identifier}", "text_focus_state",
    )  # fmt: skip
    assert code == 0
    assert lines[1]["output_devices"] == [
        {"name": "Living Room", "identifier": own.identifier},
        {"name": "Kitchen", "identifier": kitchen.identifier},
    ]
    assert (lines[2]["power_state"], lines[4]["volume"]) == ("on", 15.0)
    assert lines[5]["focus_state"] == "unfocused"
    assert kitchen.volume == 15


def test_text(tv, capsys):
    code, _, err = run(capsys, "text_set=hello")
    assert (code, err) == (1, "tinyatv: text_set: no text field is open (mrp)\n")
    tv.state.open_field()
    assert run(capsys, "text_set=stranger", "text_append= things, and more")[0] == 0
    assert tv.state.text == "stranger things, and more"
    assert run(capsys, 'text_set="123"', "text_clear")[0] == 0
    assert tv.state.text == ""


def test_playing_json(tv, capsys):
    _, (line,) = run_json(capsys, "playing")
    assert (line["app"], line["app_id"]) == ("Music", "com.apple.TVMusic")
    assert (line["title"], line["device_state"]) == ("Harbour Lights", "playing")


def test_artwork_id(tv, capsys):
    _, out, _ = run(capsys, "artwork_id")
    with tinyatv.connect(tv.device) as atv:
        assert out.strip() == atv.playing().artwork_id


def test_refused(tv, capsys):
    tv.state.disable("next")
    code, _, err = run(capsys, "next")
    assert code == 1
    assert err.startswith("tinyatv: next: ")
    assert err.count("\n") == 1


def test_forgotten(tv, capsys):
    tv.forget_clients()
    code, _, err = run(capsys, "play")
    assert code == 6
    assert "any more: pair again" in err


def test_another_protocols_word(tv, capsys):
    code, _, err = run(capsys, "server_info")
    assert code == 5
    assert "needs dmap; connected: mrp" in err


def test_secrets_stay_out_of_the_log(tv):
    command = [sys.executable, "-m", "tinyatv", "--debug", "play"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "CRYPTO_PAIRING" in done.stderr
    keys = tv.credentials["mrp"].split(":")[:2]
    assert not [key for key in keys if key in done.stderr.lower()]


def test_a_press_loads_what_it_needs(tv):
    script = (
        "import sys; from tinyatv.cli.program import main;"
        "code = main(['-n', 'Living Room', 'play']);"
        "print(code, *sorted(m for m in sys.modules if m in "
        "('zeroconf', 'asyncio', 'requests', 'dataclasses', 'tinyatv.discovery.scanner',"
        "'tinyatv.virtual',"
        "'plistlib', 'tinyatv.wire.http', 'tinyatv.backends.dmap')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_play_a_file(own_store, capsys, monkeypatch, tmp_path):
    """To its end, then the next word."""
    film = tmp_path / "a film.mp4"
    film.write_bytes(b"x" * 1000)
    with VirtualAppleTV("Living Room", profile="tvos18", mdns_port=0) as tv:
        tinyatv.Store().save(tv.device)
        tv.airplay.player.duration = 0.3
        assert run(capsys, f"play_url={film}", "up") == (0, "", "")
        words = [entry.split()[0] for entry in tv.log]
        words = [word for word in words if word != "play"]  # if it was there before being told to
        assert words == ["play_url", "up"]
        code, _, err = run(capsys, f"play-url={tmp_path}/nothing.mp4")
        assert code == 1
        assert err.count("\n") == 1
    assert run(capsys, "play_url")[0] == 2


# -- pairing ---------------------------------------------------------------------------------------


def test_pair_with_a_known_pin(unpaired, capsys):
    with VirtualAppleTV("Attic", profile="tvos14", mdns_port=0, credentials=(), pin="0042") as tv:
        os.environ["TINYATV_SCAN_HOSTS"] = f"127.0.0.1:{tv.ports['mdns']}"  # fixture restores it
        assert run(capsys, "-n", "Attic", "pair", "--pin", "42")[0] == 0
        assert run(capsys, "-n", "Attic", "pause")[0] == 0
        assert tv.log == ["pause"]


def test_pair_in_a_terminal(unpaired, capsys):
    """A person who first sees no PIN, then mistypes it."""
    screen, terminal = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    with Program("pair", "-n", "Bedroom", **streams) as process:
        os.close(terminal)
        person = Person(screen)
        person.reads("PIN that Bedroom shows (ENTER if there is none): ")
        person.types("")
        assert "Allow Access" in person.reads("No PIN on the TV?") + person.reads("ends that.")
        person.reads("if there is none): ")
        person.types("12a")
        person.reads("four digits")
        person.reads("if there is none): ")
        person.types(unpaired.pin)
        person.reads(f"Paired with Bedroom ({', '.join(unpaired.protocols)})")
        process.wait(timeout=30)
    os.close(screen)
    assert process.returncode == 0
    assert unpaired.pin is None
    assert run(capsys, "-n", "Bedroom", "pause")[0] == 0


def test_wizard_in_a_terminal(unpaired):
    screen, terminal = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    with Program("wizard", **streams) as process:
        os.close(terminal)
        person = Person(screen)
        person.reads("q to leave)? ")
        person.types("1")
        person.reads("if there is none): ")
        person.types(unpaired.pin)
        assert "Harbour Lights" in person.reads("All set")
        process.wait(timeout=30)
    os.close(screen)
    assert process.returncode == 0


def test_pair_with_a_wrong_pin(unpaired, capsys, own_store):
    wrong = "--pin=0000"
    unpaired.accessory._pin = "1111"
    code, out, err = run(capsys, "pair", wrong)
    assert (code, out) == (6, "")
    assert err == "tinyatv: wrong PIN: start again, a new one will be shown\n"
    unpaired.accessory.back_off = True
    code, _, err = run(capsys, "pair", wrong)
    assert "the device wants a pause of" in err
    code, _, err = run(capsys, "pair", "--pin=1111")
    assert code == 6
    assert "too many tries: the device wants a pause; try again in" in err
    assert not own_store.exists() or "credentials" not in own_store.read_text()


def test_pair_from_a_pipe_in_json(unpaired):
    with Program("pair", "--json") as process:
        line = json.loads(process.stdout.readline())
        assert (line["result"], line["pin"]) == ("success", "wanted")
        out, err = process.communicate(f"{unpaired.pin}\n", timeout=30)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["paired"] == list(unpaired.protocols)


def test_pair_without_anybody(unpaired):
    with Program("pair", "--json") as process:
        out, _ = process.communicate("", timeout=30)
    assert process.returncode == 6
    assert "no PIN was given" in json.loads(out.splitlines()[-1])["exception"]
    assert unpaired.wait_for(lambda: unpaired.pin is None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of a process")
def test_full_disk_loses_no_pairing(unpaired, own_store):
    own_store.parent.mkdir(exist_ok=True)
    before = '{"version": 1, "client": {"id": "0123456789ABCDEF"}, "devices": []}'
    own_store.write_text(before)
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from tinyatv.cli.program import main; sys.exit(main(sys.argv[1:]))"
    )
    with Program("pair", command=("-u", "-c", script)) as process:
        assert unpaired.wait_for(lambda: unpaired.pin, 30)
        out, err = process.communicate(f"{unpaired.pin}\n", timeout=30)
    assert process.returncode == 1
    flag = f"--{unpaired.protocols[0]}-credentials "
    assert f"Paired, but not stored. Keep these: {flag}" in out
    kept = out.split(flag)[1].split()[0]
    assert err.count("\n") == 1
    assert own_store.read_text() == before
    device = unpaired.device
    device.services[0].credentials = kept
    with tinyatv.connect(device):
        pass


# -- watching --------------------------------------------------------------------------------------


def test_watch_shows_every_kind_of_change(tv):
    with Program("push_updates", "--json") as process:

        def next_with(key):
            while True:
                line = json.loads(process.stdout.readline())
                if key in line:
                    return line

        assert next_with("title")["title"] == "Harbour Lights"
        tv.state.set_volume(20)
        assert next_with("volume")["volume"] == 20
        kitchen = tv.state.known_outputs[1]
        tv.state.add_outputs(kitchen.identifier)
        names = [one["name"] for one in next_with("output_devices")["output_devices"]]
        assert names == ["Living Room", "Kitchen"]
        tv.state.set_volume(10, kitchen.identifier)
        line = next_with("output_device_id")
        while line["new_level"] != 10:
            line = next_with("output_device_id")
        assert (line["output_device_id"], line["old_level"]) == (kitchen.identifier, 40)
        tv.state.open_field()
        assert next_with("focus_state")["focus_state"] == "focused"
        with tv.state.change():
            tv.state.power = PowerState.Off
        assert next_with("power_state")["power_state"] == "off"
        out, _ = process.communicate("\n", timeout=30)
    assert process.returncode == 0
    assert json.loads(out.splitlines()[-1])["push_updates"] == "finished"


# -- the virtual one -------------------------------------------------------------------------------


def test_virtual_shows_its_pin(own_store, capsys, monkeypatch):
    """Two programs, as two people would use them."""
    args = ["virtual", "--profile", "tvos14", "--no-announce", "--mdns-port", "0", "--pin", "1234"]
    with Program(*args, "--json") as device:
        there = json.loads(device.stdout.readline())
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{there['ports']['mdns']}")
        with Program("pair") as process:
            shown = json.loads(device.stdout.readline())
            assert shown["pin"] == "1234"
            _, err = process.communicate("1234\n", timeout=30)
        assert (process.returncode, err) == (0, "")
        assert run(capsys, "play_pause")[0] == 0
        while "command" not in (line := json.loads(device.stdout.readline())):
            pass  # how the pairing ended
        assert line["command"] == "play_pause"
        device.terminate()
        device.communicate(timeout=30)
    assert device.returncode == 0
