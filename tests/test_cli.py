"""The command line: what it prints, what it answers with, and what it does to the device."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

import tinyatv
from tests.support.program import PLAYING_KEYS, WAIT, Person, Program, free_port, run, run_json
from tinyatv.cli.output import Output
from tinyatv.cli.words import lines, programs
from tinyatv.routes import ROUTES
from tinyatv.virtual import VirtualAppleTV

INFO_KEYS = ["mac", "model", "model_str", "operating_system", "version"]
SCAN_KEYS = ["name", "address", "identifier", "all_identifiers", "device_info", "services"]


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "log"),
    [
        (["menu", "down=3", "select=hold", "play"], ["menu", *["down"] * 3, "select hold", "play"]),
        (["up=0", "up=1", "up=single"], ["up"] * 4),
        (["select=2", "select=double"], ["select hold", "select", "select"]),
        (["left=x2", "right=4"], ["left"] * 2 + ["right"] * 4),
        (["up=hold:0.6"], ["up hold"]),
        (["top_menu", "pause", "play_pause", "stop"], ["top_menu", "pause", "play_pause", "stop"]),
        (["next", "previous"], ["next", "previous"]),
        (["volume_up", "delay=1", "volume_down"], ["volume_up", "volume_down"]),
        (["pause", "set_position=90", "skip_forward=30"],
         ["pause", "set_position 90", "set_position 120"]),
        (["set_shuffle=1", "set_shuffle=songs"], ["set_shuffle Songs"] * 2),
        (["set_repeat=2", "set_repeat=track"], ["set_repeat All", "set_repeat Track"]),
    ],
)  # fmt: skip
def test_words_in_a_chain(tv, capsys, words, log):
    assert run(capsys, *words) == (0, "", "")
    assert tv.log == log


@pytest.mark.parametrize(
    "word",
    ["plya", "play=1", "up=4,5", "up=sideways", "up=hold:x", "up=0x", "up=101", "set_position",
     "set_position=-1", "set_position=abc", "set_position=inf", "set_volume=101", "set_shuffle=3",
     "set_repeat=", "delay=-5", "artwork=1,2,3,4", "features=some", "title=x", "delay=nan"],
)  # fmt: skip
def test_wrong_word_is_found_before_any_network_use(tv, capsys, word):
    code, out, err = run(capsys, "play", word)
    assert (code, out) == (2, "")
    assert err.startswith("tinyatv: ")
    assert err.count("\n") == 1
    assert tv.requests == []


def test_wrong_word_in_json(tv, capsys):
    code, (line,) = run_json(capsys, "plya")
    assert code == 2
    assert list(line)[:4] == ["result", "datetime", "error", "exception"]
    assert (line["result"], line["error"]) == ("failure", "unsupported_command")
    assert "did you mean 'play'" in line["exception"]


def test_chain_stops_at_the_first_failure(tv, capsys):
    tv.fail("pause", status=500)
    code, _, err = run(capsys, "play", "pause", "next")
    assert code == 1
    assert "pause: refused with status 500" in err
    assert tv.log == ["play"]


def test_every_word_has_help(capsys):
    for word in lines():
        code, out, _ = run(capsys, "help", word)
        assert code == 0
        assert out.startswith(f"{word}: ")
    code, out, _ = run(capsys, "commands")
    assert code == 0
    assert all(word in out for word in lines())
    assert run(capsys, "help", "nonsense")[0] == 2


def test_every_command_is_a_word(capsys):
    """What it is called in Python works on the command line, whatever else it is called there."""
    for command, protocols in ROUTES.items():
        served = f"\nover {' or '.join(protocols)}\n" if protocols else "(no known device does)"
        assert served in run(capsys, "help", command)[1]


# -- what is printed -------------------------------------------------------------------------------


def test_playing(tv, capsys):
    tv.state.pause()
    tv.state.set_position(22)
    code, out, _ = run(capsys, "playing")
    assert code == 0
    assert out.splitlines() == [
        "  Media type: Music",
        "Device state: Paused",
        "       Title: Harbour Lights",
        "      Artist: The Loopbacks",
        "       Album: Local Hosts",
        "       Genre: Ambient",
        "    Position: 22/222s (9.9%)",
        "      Repeat: Off",
        "     Shuffle: Off",
    ]


def test_playing_json(tv, capsys):
    tv.state.pause()
    tv.state.set_position(0)
    code, (line,) = run_json(capsys, "playing")
    assert code == 0
    assert list(line) == ["result", "datetime", *PLAYING_KEYS]
    assert line["result"] == "success"
    assert (line["media_type"], line["device_state"]) == ("music", "paused")
    assert (line["shuffle"], line["repeat"]) == ("off", "off")
    assert (line["position"], line["total_time"]) == (0, 222)
    assert (line["app"], line["series_name"]) == (None, None)


def test_button_json(tv, capsys):
    code, lines = run_json(capsys, "up", "play")
    assert code == 0
    assert [line["command"] for line in lines] == ["up", "play"]
    assert [list(line) for line in lines] == [["result", "datetime", "command"]] * 2


def test_single_fields(tv, capsys):
    code, out, _ = run(capsys, "title", "artist", "shuffle", "device_state", "series_name")
    assert code == 0
    assert out.splitlines() == [
        "Harbour Lights", "The Loopbacks", "ShuffleState.Off", "DeviceState.Playing",
    ]  # fmt: skip
    assert run(capsys, "device_id")[1] == f"{tv.identifier}\n"
    assert run(capsys, "model_str", "operating_system")[1] == "Apple TV 3\nOperatingSystem.Legacy\n"
    _, (line,) = run_json(capsys, "shuffle")
    assert line["shuffle"] == "off"


def test_scan(tv, capsys):
    code, out, _ = run(capsys, "scan")
    assert code == 0
    assert out.startswith("Scan Results\n" + "=" * 40 + "\n")
    assert "       Name: Living Room\n" in out
    assert f" - {tv.identifier}\n" in out
    assert tv.credentials["dmap"] not in out
    code, (line,) = run_json(capsys, "scan")
    (found,) = line["devices"]
    assert list(found)[:6] == SCAN_KEYS
    assert list(found["device_info"]) == [
        "mac",
        "model",
        "model_str",
        "operating_system",
        "version",
    ]
    assert found["device_info"]["model"] == "Gen3"
    assert found["services"][0]["protocol"] == "dmap"
    assert found["services"][0]["port"] == tv.ports["dmap"]


def test_scan_that_finds_nothing(tv, capsys):
    code, (line,) = run_json(capsys, "-t", "0.2", "-i", "NOBODY", "scan")
    assert (code, line["result"], line["devices"]) == (0, "success", [])


def test_info_and_features(tv, capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert "Living Room: Apple TV 3, ATV SW" in out
    code, out, _ = run(capsys, "features")
    assert "PlayPause: Unknown" in out
    assert "Title: Available" in out
    _, (line,) = run_json(capsys, "features")
    assert line["features"]["VolumeUp"] == "Available"


def test_artwork(tv, capsys, tmp_path):
    path = tmp_path / "cover"
    code, out, _ = run(capsys, f"artwork=100,-1,{path}")
    assert code == 0
    assert (tmp_path / "cover.png").read_bytes() == tv.state.artwork(100)
    assert out == f"{path}.png (image/png, 100x100)\n"
    tv.state.update(artwork=b"")
    code, _, err = run(capsys, f"artwork={path}")
    assert code == 1
    assert "no artwork" in err
    code, _, err = run(capsys, "artwork_id")
    assert code == 0


def test_artwork_into_nowhere(tv, capsys, tmp_path):
    code, _, err = run(capsys, f"artwork={tmp_path}/none/cover.png")
    assert code == 1
    assert err.count("\n") == 1


# -- which device ----------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [["-n", "living room"], ["-i", "nobody,{id}"], ["-n", "tv"], []])
def test_stored_device_needs_no_scan(tv, capsys, monkeypatch, flags):
    tinyatv.Store().set_alias("Living Room", "tv")
    monkeypatch.setitem(sys.modules, "zeroconf", None)  # importing it now fails
    assert run(capsys, *[f.format(id=tv.identifier) for f in flags], "pause")[0] == 0
    assert tv.log == ["pause"]


def test_warm_press_loads_only_what_it_needs(tv):
    script = (
        "import sys; from tinyatv.cli.program import main; code = main(['play_pause']);"
        "print(code, *[m for m in ('zeroconf', 'asyncio', 'google.protobuf', 'dataclasses',"
        "'tinyatv.discovery.scanner', 'tinyatv.virtual', 'plistlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "0\n"
    assert tv.log == ["play_pause"]


def test_importing_loads_no_third_party_module():
    script = (
        "import sys; before = set(sys.modules); import tinyatv; new = set(sys.modules) - before;"
        "print(sorted(m for m in new if not m.startswith('tinyatv')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_the_only_device_of_a_scan_is_taken_and_remembered(tv, capsys, own_store):
    own_store.unlink()
    with VirtualAppleTV("Shared", mdns_port=0, home_sharing=True, credentials=()) as shared:
        host = f"127.0.0.1:{shared.ports['mdns']}"
        assert run(capsys, "-s", host, "pause")[0] == 0
        assert shared.log == ["pause"]
        assert run(capsys, "-n", "Shared", "play")[0] == 0  # now without a scan


def test_several_devices(tv, capsys, own_store):
    own_store.unlink()
    with VirtualAppleTV("Other", mdns_port=0) as other:
        hosts = ",".join(f"127.0.0.{n}:{port}" for n, port in
                         ((1, tv.ports["mdns"]), (1, other.ports["mdns"])))  # fmt: skip
        code, _, err = run(capsys, "-s", hosts, "-t", "2", "-n", "nobody", "pause")
    assert code == 3
    assert err.count("\n") == 1


def test_unknown_device(tv, capsys):
    code, _, err = run(capsys, "-t", "0.3", "-n", "Attic", "pause")
    assert code == 3
    assert "Attic" in err
    code, (line,) = run_json(capsys, "-t", "0.3", "-n", "Attic", "pause")
    assert (code, line["error"]) == (3, "device_not_found")


def by_hand(tv, *more: str) -> list[str]:
    port = str(tv.ports["dmap"])
    return ["-m", "--address", "127.0.0.1", "--port", port, "--protocol", "dmap", *more]


def test_manual(tv, capsys, own_store, tmp_path):
    own_store.unlink()
    given = tv.credentials["dmap"]
    assert run(capsys, *by_hand(tv), "--dmap-credentials", given, "pause")[0] == 0
    secret = tmp_path / "secret"
    secret.write_text(given + "\n")
    assert run(capsys, *by_hand(tv, "-i", "AB"), "--dmap-credentials", f"@{secret}", "play")[0] == 0
    assert tv.log == ["pause", "play"]
    assert run(capsys, "-i", "AB", "stop")[0] == 0  # remembered, credentials and all
    assert run(capsys, "-m", "--address", "127.0.0.1", "pause")[0] == 2


def test_storage_none_remembers_nothing(tv, capsys, own_store):
    before = own_store.read_text()
    given = tv.credentials["dmap"]
    args = by_hand(tv, "-i", "AB", "--storage", "none", "--dmap-credentials", given)
    assert run(capsys, *args, "pause")[0] == 0
    assert own_store.read_text() == before


@pytest.mark.parametrize(
    ("credentials", "code"),
    [("0x0123456789ABCDEF", 6), ("0xBEEF", 6), ("", 6)],
)
def test_bad_credentials(tv, capsys, credentials, code):
    got, _, err = run(capsys, *by_hand(tv), "--dmap-credentials", credentials, "pause")
    assert got == code
    assert err.count("\n") == 1
    assert credentials == "" or credentials not in err


def test_nobody_at_home(tv, capsys):
    args = by_hand(tv, "--dmap-credentials", "0x0123456789ABCDEF")
    args[args.index("--port") + 1] = "1"
    code, _, err = run(capsys, *args, "pause")
    assert code == 4
    assert "refused" in err


def test_time_out(tv, capsys):
    tv.fail("pause", silent=True)
    code, (line,) = run_json(capsys, "--timeout", "0.3", "pause")
    assert (code, line["error"]) == (7, "timeout")


@pytest.mark.parametrize(
    ("command", "fault", "code", "words"),
    [
        ("login", {"silent": True}, 7, "no reply to login within 0.3 s"),
        ("login", {"garbage": b"\x00\xff" * 50}, 1, "login: "),
        ("login", {"garbage": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncm"}, 4, "login"),
        ("login", {"drop": True}, 4, "login"),
        ("login", {"status": 500}, 6, "pair again"),
        ("playing", {"garbage": b"\x00\xff" * 50}, 1, "playing: "),
        ("playing", {"truncate": True}, 4, "playing: "),
        ("playing", {"status": 500}, 1, "status 500"),
    ],
)
def test_device_that_misbehaves(tv, capsys, monkeypatch, own_store, command, fault, code, words):
    """One clear line, the right exit code, and the store is as it was."""
    monkeypatch.setattr("tinyatv.backends.dmap.LOGIN_TIMEOUT", 0.3)
    before = own_store.read_text()
    tv.fail(command, times=None, **fault)
    got, out, err = run(capsys, "playing")
    assert (got, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1
    assert "Request(" not in err
    assert own_store.read_text() == before


def test_forgotten_session_and_no_answer_to_the_new_login(tv, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.dmap.LOGIN_TIMEOUT", 0.3)
    with tinyatv.connect("Living Room") as atv:
        tv.dmap.expire_sessions()
        tv.fail("login", silent=True)
        with pytest.raises(tinyatv.CommandTimeout, match=r"no reply to login within 0\.3 s"):
            atv.play()


def test_secrets_stay_out_of_the_log(tv):
    done = subprocess.run(
        [sys.executable, "-m", "tinyatv", "--debug", "pause"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert "login" in done.stderr
    assert tv.credentials["dmap"][2:] not in done.stderr + done.stdout


@pytest.mark.parametrize("args", [["--nonsense"], ["-t", "0", "scan"], ["-t", "x"], [], ["-n"]])
def test_wrong_usage(capsys, args):
    assert run(capsys, *args)[0] == 2


def test_help_and_version(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "examples:" in out
    assert "exit codes:" in out
    assert run(capsys, "--version") == (0, f"tinyatv {tinyatv.__version__}\n", "")
    for row in programs():
        if row.program != "help":
            code, out, _ = run(capsys, row.name, "--help")
            assert code == 0
            assert f"tinyatv {row.name}" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["volume=20"], "volume shows the volume; set_volume=20 sets it"),
        (["volume=12.5"], "set_volume=12.5 sets it"),
        (["volume_up=x"], "volume_up: 'x' is not a number of times, 1 to 100"),
        (["volume_up=101"], "1 to 100"),
        (["PLAY"], "did you mean 'play'?"),
        (["Volume-Up"], "did you mean 'volume_up'?"),
        (["--reconect", "up"], "did you mean --reconnect?"),
        (["watch", "--al"], "did you mean --all?"),
        (["--TIMEOUT=3", "up"], "did you mean --timeout?"),
        (["--timeout", "x", "up"], "argument --timeout: 'x' is not a number of seconds"),
        (["--timeout", "nan", "up"], "argument --timeout: 'nan' is not a number of seconds"),
        (["--port", "x", "up"], "argument --port: 'x' is not a port, 0 to 65535"),
        (["pair", "--pairing-timeout", "x"], "'x' is not a number of seconds"),
        (["pair", "--pairing-port", "70000"], "'70000' is not a port"),
        (["play", "scan"], "scan is a program of its own"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_is_one_line_that_says_what_is_right(tv, capsys, args, said):
    code, out, err = run(capsys, *args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert tv.requests == []


def test_steps_repeat(tv, capsys):
    assert run(capsys, "volume_up=3", "volume_down=x2", "next=2") == (0, "", "")
    assert tv.log == [*["volume_up"] * 3, *["volume_down"] * 2, *["next"] * 2]
    code, lines_ = run_json(capsys, "volume_up=2")
    assert (code, [line["command"] for line in lines_]) == (0, ["volume_up"])


def test_short_flag_for_the_version(capsys):
    assert run(capsys, "-V") == run(capsys, "--version")


def test_missing_package(capsys):
    with pytest.raises(ModuleNotFoundError) as missing:
        __import__("google.protobuf_of_another_time")
    assert Output(False).failure(missing.value) == 1
    assert capsys.readouterr() == (
        "",
        "tinyatv: the package protobuf is missing: pip install protobuf\n",
    )


@pytest.mark.parametrize(
    ("redirection", "code", "err"),
    [
        ("commands >&-", 1, "tinyatv: standard output is closed\n"),
        ("commands --json >&-", 1, "tinyatv: standard output is closed\n"),
        ("commands >/dev/full", 1, "tinyatv: No space left on device\n"),
        ("plya 2>&-", 2, ""),
        ("wizard <&-", 3, None),
        ("devices --trace /nowhere/at/all", 1, "tinyatv: /nowhere/at/all: No such file"),
        ("doctor --json >&-", 1, "tinyatv: standard output is closed\n"),
    ],
)
def test_streams_that_are_closed_or_full(own_store, monkeypatch, redirection, code, err):
    """One line, if there is a place for it; and the right exit code."""
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    command = f"{sys.executable} -m tinyatv -t 0.1 {redirection}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert "bug" not in done.stderr
    assert done.stderr.count("\n") == (err != "")
    assert done.stderr.startswith(err or "")


def test_the_prompt_of_the_shell_begins_on_a_line_of_its_own(tv):
    """After Ctrl-C at a terminal, which shows ^C."""
    screen, terminal = pty.openpty()
    with Program("watch", **dict.fromkeys(("stdin", "stdout", "stderr"), terminal)) as process:
        os.close(terminal)
        person = Person(screen)
        person.reads("-" * 20 + "\r\n")
        process.send_signal(signal.SIGINT)
        person.reads("\r\n")
        assert process.wait(30) == 130
    os.close(screen)


# -- the store -------------------------------------------------------------------------------------


def test_devices(tv, capsys):
    code, out, _ = run(capsys, "devices")
    assert code == 0
    assert "Living Room" in out
    assert run(capsys, "devices", "alias", "Living Room", "tv")[0] == 0
    assert run(capsys, "devices", "default", "tv")[0] == 0
    _, (line,) = run_json(capsys, "devices")
    assert (line["devices"][0]["alias"], line["devices"][0]["default"]) == ("tv", True)
    assert tv.credentials["dmap"] not in json.dumps(line)
    assert run(capsys, "devices", "forget", "tv")[0] == 0
    assert "No device" in run(capsys, "devices")[1]
    assert run(capsys, "devices", "forget", "tv")[0] == 3
    assert run(capsys, "devices", "polish")[0] == 2


def test_import(tv, capsys, own_store, tmp_path):
    own_store.unlink()
    foreign = tmp_path / "home" / ".pyatv.conf"
    entry = {"protocols": {"dmap": {"identifier": tv.identifier,
                                    "credentials": tv.credentials["dmap"]}}}  # fmt: skip
    foreign.write_text(json.dumps({"version": 1, "devices": [entry]}))
    before = foreign.read_bytes()
    code, (line,) = run_json(capsys, "devices", "import")
    assert (code, line["imported"]) == (0, [tv.identifier])
    assert run(capsys, "-i", tv.identifier, "pause")[0] == 0  # a scan tells where it is
    assert foreign.read_bytes() == before


def test_credentials_of_the_other_store_are_used(tv, capsys, own_store, tmp_path):
    own_store.unlink()
    entry = {"protocols": {"dmap": {"identifier": tv.identifier,
                                    "credentials": tv.credentials["dmap"]}}}  # fmt: skip
    foreign = tmp_path / "home" / ".pyatv.conf"
    foreign.write_text(json.dumps({"version": 1, "devices": [entry]}))
    assert run(capsys, "pause")[0] == 0
    assert tv.log == ["pause"]


def test_damaged_store(tv, capsys, own_store):
    own_store.write_text('{"devices": [')
    code, _, err = run(capsys, "pause")
    assert code == 6
    assert "damaged" in err
    assert own_store.read_text() == '{"devices": ['


# -- pairing ---------------------------------------------------------------------------------------


def type_pin_when_shown(process: subprocess.Popen, tv: VirtualAppleTV, **remote) -> str:
    """Read the PIN that the program shows, type it on the device, return the rest of the output."""
    line = process.stdout.readline()
    pin = line.strip().rsplit(" ", 1)[-1]
    assert pin.isdecimal()
    assert len(pin) == 4
    tv.enter_pin(pin, **remote)
    return process.communicate(timeout=30)[0]


@pytest.fixture
def unpaired(own_store, monkeypatch):
    with VirtualAppleTV("Bedroom", mdns_port=0, credentials=()) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        yield tv


def test_pair_then_play(unpaired, capsys):
    """The remote is published and found by multicast on loopback."""
    name = f"remote {os.urandom(4).hex()}"
    with Program("pair", "-n", "Bedroom", "--remote-name", name) as process:
        out = type_pin_when_shown(process, unpaired, remote=name)
    assert process.returncode == 0
    assert "Paired with Bedroom (dmap)" in out
    assert run(capsys, "-n", "Bedroom", "pause")[0] == 0
    assert unpaired.log == ["pause"]


def test_wrong_pin_three_times(unpaired):
    guid = "0123456789ABCDEF"
    port = free_port()
    args = ["--pairing-guid", guid, "--pairing-port", str(port), "--no-announce", "-p", "1234"]
    with Program("pair", *args) as process:
        assert process.stdout.readline().endswith("type 1234\n")
        for _ in range(3):
            with pytest.raises(tinyatv.PairingError):
                unpaired.enter_pin("4321", ("127.0.0.1", port, guid))
        _, err = process.communicate(timeout=30)
    assert process.returncode == 6
    assert "3 wrong PINs" in err
    with pytest.raises(tinyatv.ConnectionFailed):  # it does not listen any more
        unpaired.enter_pin("1234", ("127.0.0.1", port, guid))


def test_nobody_types_the_pin(unpaired, capsys):
    code, _, err = run(capsys, "pair", "--pairing-timeout", "0.2", "--no-announce")
    assert code == 6
    assert "no PIN was typed" in err


def test_bad_pin(unpaired, capsys):
    for pin in ("12345", "abcd", "-1"):
        assert run(capsys, "pair", f"--pin={pin}", "--no-announce")[0] == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of a process")
def test_full_disk_loses_no_pairing(unpaired, own_store):
    """The store cannot be written: the credentials are shown, nothing half-written is left."""
    own_store.parent.mkdir(exist_ok=True)
    own_store.write_text('{"version": 1, "devices": []}')
    guid, port = "0123456789ABCDEF", free_port()
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from tinyatv.cli.program import main; sys.exit(main(sys.argv[1:]))"
    )
    args = ["pair", "--pairing-guid", guid, "--pairing-port", str(port), "--no-announce"]
    with Program(*args, command=("-u", "-c", script)) as process:
        line = process.stdout.readline()
        unpaired.enter_pin(line.strip().rsplit(" ", 1)[-1], ("127.0.0.1", port, guid))
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"0x{guid}" in out
    assert err.count("\n") == 1
    assert own_store.read_text() == '{"version": 1, "devices": []}'
    assert sorted(os.listdir(own_store.parent)) in (
        ["devices.json"], ["devices.json", "devices.json.lock"],
    )  # fmt: skip


def test_wizard_in_a_terminal(unpaired, capsys):
    """A person at a real pseudo-terminal."""
    guid, port = "0123456789ABCDEF", free_port()
    args = ["--pairing-guid", guid, "--pairing-port", str(port), "--no-announce"]
    screen, terminal = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    with Program("wizard", *args, **streams) as process:
        os.close(terminal)
        person = Person(screen)
        assert "Bedroom" in person.reads("q to leave)? ")
        person.types("7")
        person.reads("is not a number from 1 to 1")
        person.reads("q to leave)? ")
        person.types("1")
        person.reads(", type ")
        unpaired.enter_pin(person.reads("\n").strip(), ("127.0.0.1", port, guid))
        assert "Harbour Lights" in person.reads("All set")
        process.wait(timeout=30)
    os.close(screen)
    assert process.returncode == 0
    assert run(capsys, "-n", "Bedroom", "pause")[0] == 0


def test_wizard_without_devices(own_store, monkeypatch, capsys):
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    code, _, err = run(capsys, "-t", "0.3", "wizard")
    assert code == 3
    assert "no device answered" in err


# -- watching --------------------------------------------------------------------------------------


def test_watch_json(tv):
    with Program("push_updates", "--json") as process:
        first = json.loads(process.stdout.readline())
        assert list(first) == ["result", "datetime", *PLAYING_KEYS]
        tv.state.update(title="Other")
        assert json.loads(process.stdout.readline())["title"] == "Other"
        out, err = process.communicate("\n", timeout=30)
    assert process.returncode == 0
    assert json.loads(out) == {**json.loads(out), "result": "success", "push_updates": "finished"}
    assert err == ""


def test_watch_ends_with_the_device(tv):
    with Program("push_updates", "--json") as process:
        process.stdout.readline()
        tv.stop()
        line = json.loads(process.stdout.readline())
        process.communicate(timeout=30)
    assert process.returncode == 4
    assert (line["result"], line["connection"]) == ("failure", "lost")


def test_watch_that_reconnects(tv):
    """The device comes back on another port, and a scan tells where."""
    with Program("push_updates", "--json", "--reconnect") as process:
        process.stdout.readline()
        tv.move()
        seen = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.communicate("\n", timeout=30)
    assert process.returncode == 0
    assert [line.get("connection") for line in seen] == ["lost", "reconnected", None]
    assert seen[2]["title"] == "Harbour Lights"


def test_scan_interrupted(own_store, monkeypatch):
    """Ctrl-C while a silent host is asked."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(WAIT)
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{silent.getsockname()[1]}")
        with Program("scan", "-t", "60") as process:
            silent.recv(9000)  # it asks, so it scans
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_watch_until_interrupted(tv):
    with Program("watch") as process:
        assert "Media type" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == ""


def test_watch_notices_that_nobody_reads(tv):
    with Program("watch") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""


def test_closed_pipe(tv):
    done = subprocess.run(
        f"{sys.executable} -m tinyatv commands | head -n 1", shell=True,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


# -- the virtual device and the demo ---------------------------------------------------------------


def test_virtual(own_store, capsys):
    with Program(
        "virtual", "--no-announce", "--json", "-n", "Attic", "--mdns-port", "0"
    ) as process:
        about = json.loads(process.stdout.readline())
        assert about["name"] == "Attic"
        assert set(about["ports"]) == {"dmap", "mdns"}
        host = f"127.0.0.1:{about['ports']['mdns']}"
        given = about["credentials"]["dmap"]
        assert run(capsys, "-s", host, "--dmap-credentials", given, "up", "play")[0] == 0
        assert [json.loads(process.stdout.readline())["command"] for _ in range(2)] == [
            "up",
            "play",
        ]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_virtual_with_a_taken_port(tv, capsys):
    code, _, err = run(capsys, "virtual", "--no-announce", "--port", str(tv.ports["dmap"]))
    assert code == 1
    assert err.count("\n") == 1


def test_demo(capsys, tmp_path):
    code, lines = run_json(capsys, "demo", "--artwork", str(tmp_path / "art.png"))
    assert code == 0, [line for line in lines if not line.get("passed", True)]
    steps = [line for line in lines if "step" in line]
    wanted = "scan pair connect playing up select pause next seek shuffle push artwork".split()
    wanted += ["home", "set volume", "speakers", "type", "turn off", "turn on", "swipe", "launch"]
    assert set(wanted) <= {step["step"] for step in steps}
    assert all(step["passed"] and step["ms"] >= 0 and step["seen"] for step in steps)
    assert (tmp_path / "art.png").read_bytes()[:4] == b"\x89PNG"


def test_demo_fails_when_the_device_does_not_react(capsys, monkeypatch):
    from tinyatv.virtual.state import State

    monkeypatch.setattr(State, "volume_up", lambda self: None)  # a deaf device
    code, lines = run_json(capsys, "demo")
    assert code == 1
    failed = [line["step"] for line in lines if not line.get("passed", True) and "step" in line]
    assert set(failed) == {"volume up"}


def test_module_is_the_program():
    done = subprocess.run(
        [sys.executable, "-m", "tinyatv", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"tinyatv {tinyatv.__version__}\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [("cover.jpg", "not what its name says, JPG"), ("cover.png", ""), ("cover.xyz", "")],
)
def test_artwork_by_another_name(tv, capsys, tmp_path, name, said):
    code, out, _ = run(capsys, f"artwork=100,-1,{tmp_path / name}")
    assert code == 0
    assert ("not what its name says" in out) is bool(said)
    assert said in out
