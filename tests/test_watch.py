"""`tinyatv watch` and `push_updates`: order, end, several devices, what happens when they go."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import ExitStack

import pytest

import tinyatv
from tests.support.program import PLAYING_KEYS, Program, free_port, run, run_json
from tinyatv import PowerState
from tinyatv.virtual import VirtualAppleTV

ENVELOPE = ["result", "datetime"]
POWER = [*ENVELOPE, "power_state"]
OUTPUTS = [*ENVELOPE, "output_devices"]
PLAYING = [*ENVELOPE, *PLAYING_KEYS]
FINISHED = [*ENVELOPE, "push_updates"]
LABEL = ["device", "name"]


def read(process) -> dict:
    line = process.stdout.readline()
    assert line, f"it ended: {process.stderr.read()}"
    return json.loads(line)


def finish(process, typed: str = "\n") -> list[dict]:
    """Type, and read to the end; nothing may be on standard error."""
    out, err = process.communicate(typed, timeout=60)
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def read_to_the_end(process) -> list[dict]:
    """What comes by itself: nobody types."""
    lines = [json.loads(line) for line in process.stdout]
    assert process.wait(timeout=60) is not None
    assert process.stderr.read() == ""
    return lines


@pytest.fixture(params=["atv3", "tvos14", "tvos18"])
def profile(request):
    return request.param


@pytest.fixture
def nothing(monkeypatch):
    """Standard input that ends at once."""
    with open(os.devnull, encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield


@pytest.fixture
def home(own_store, monkeypatch):
    """Devices of every kind, all stored, that a scan finds as well."""
    with ExitStack() as stack:
        made = {}
        for name, profile, protocol in (
            ("Attic", "atv3", "dmap"), ("Den", "tvos14", "mrp"), ("Bedroom", "tvos18", "airplay")
        ):  # fmt: skip
            tv = VirtualAppleTV(name, profile=profile, mdns_port=0, protocols=(protocol,))
            made[name] = stack.enter_context(tv)
            tinyatv.Store().save(made[name].device)
        hosts = [f"127.0.0.1:{tv.ports['mdns']}" for tv in made.values()]
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", ",".join(hosts))
        yield made


def store_absent(name: str, port: int | None = None) -> str:
    """Store a device that is not there; returns its identifier."""
    with VirtualAppleTV(name, profile="tvos14", protocols=("mrp",)) as tv:
        device = tv.device
    if port is not None:
        device.services[0].port = port
    tinyatv.Store().save(device)
    return device.identifier


# -- one device ------------------------------------------------------------------------------------


def test_the_state_of_things_comes_first(tv, capsys, nothing, profile):
    """Also if the input has ended already, and on devices that tell neither power nor speakers."""
    code, lines = run_json(capsys, "push_updates")
    assert code == 0
    first = [] if profile == "atv3" else [POWER, OUTPUTS]
    assert [list(line) for line in lines] == [*first, PLAYING, FINISHED]
    assert all(line["result"] == "success" for line in lines)
    assert lines[-1]["push_updates"] == "finished"
    assert [line.get("power_state") for line in lines[: len(first)]] == (
        ["on", None] if first else []
    )


def test_push_updates_ends_with_a_line_of_text(tv):
    with Program("push_updates") as process:
        while "Title: Harbour Lights" not in (line := process.stdout.readline()):
            assert line
        out, err = process.communicate("x\n", timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "{" not in out


def test_standard_input_that_was_never_open(tv):
    done = subprocess.run(
        f"exec {sys.executable} -m tinyatv push_updates --json <&-", shell=True,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [list(json.loads(line)) for line in done.stdout.splitlines()][-2:] == [PLAYING, FINISHED]


def test_input_without_an_end_of_line_is_no_end(tv):
    with Program("push_updates", "--json") as process:
        process.stdin.write("half a line")
        process.stdin.flush()
        while "title" not in read(process):
            pass
        tv.state.update(title="Still there")
        assert read(process)["title"] == "Still there"
        (last,) = finish(process, "")
    assert (process.returncode, last["push_updates"]) == (0, "finished")


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"], indirect=True)
def test_closed_by_the_device(tv):
    with Program("push_updates", "--json", "--protocol", "mrp") as process:
        while "title" not in read(process):
            pass
        tv.stop()
        lines = read_to_the_end(process)
    assert process.returncode == 4
    assert [list(line) for line in lines] == [[*ENVELOPE, "connection"], FINISHED]
    assert [line["result"] for line in lines] == ["success", "success"]
    assert lines[0]["connection"] == "closed"


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_broken(tv):
    with Program("push_updates", "--json", "--protocol", "mrp") as process:
        while "title" not in read(process):
            pass
        for peer in tv.mrp.peers:
            peer.send(b"\xff" * 64)
        lines = read_to_the_end(process)
    assert process.returncode == 4
    failure = [*ENVELOPE, "error", "exception", "stacktrace", "connection"]
    assert [list(line) for line in lines] == [failure, FINISHED]
    assert (lines[0]["result"], lines[0]["connection"]) == ("failure", "lost")


def test_the_error_says_who_ended_it(tv, profile):
    errors = []
    protocols = ["dmap" if profile == "atv3" else "mrp"]
    with tinyatv.connect(tv.device, protocols=protocols) as atv:
        events = atv.events(timeout=10)
        next(events)
        tv.stop()
        errors = [e.error for e in events if isinstance(e, tinyatv.Disconnected)]
    assert errors[0].closed is (profile != "atv3")  # DMAP has no connection to speak of
    assert not tinyatv.ConnectionLost("broken").closed


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_what_has_not_changed_is_not_told_again(tv):
    with Program("push_updates", "--json") as process:
        assert [list(read(process)) for _ in range(3)] == [POWER, OUTPUTS, PLAYING]
        for power in (PowerState.Off, PowerState.On):
            with tv.state.change():
                tv.state.power = power
        tv.state.open_field()
        lines = []
        while not lines or "focus_state" not in lines[-1]:
            lines.append(read(process))
        lines += finish(process)
    assert [line["power_state"] for line in lines if "power_state" in line] == ["off", "on"]
    assert [line["focus_state"] for line in lines if "focus_state" in line] == ["focused"]
    assert not [line for line in lines if "output_devices" in line]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_back_after_a_loss(tv):
    """What has changed meanwhile is told, the rest is not."""
    with Program("push_updates", "--json", "--protocol", "mrp", "--reconnect") as process:
        assert [list(read(process)) for _ in range(3)] == [POWER, OUTPUTS, PLAYING]
        with tv.state.change():
            tv.state.power = PowerState.Off
        assert read(process)["power_state"] == "off"
        tv.move()
        with tv.state.change():
            tv.state.power = PowerState.On
        lines = [read(process)]
        while "title" not in lines[-1] or "reconnected" not in [x.get("connection") for x in lines]:
            lines.append(read(process))
        rest = finish(process)
    assert process.returncode == 0
    told = [line["connection"] for line in lines if "connection" in line]
    assert told == ["closed", "reconnected"]
    powers = [line["power_state"] for line in [*lines, *rest] if "power_state" in line]
    assert powers == ["on"]


def test_one_of_two_protocols_goes(own_store):
    """That is no loss of the device; what is left goes on, and then it is."""
    with VirtualAppleTV(profile="tvos14", protocols=("mrp",)) as new, VirtualAppleTV() as old:
        services = [*new.device.services, *old.device.services]
        tinyatv.Store().save(tinyatv.Device("Den", "127.0.0.1", services))
        with Program("push_updates", "--json") as process:
            while "title" not in read(process):
                pass
            new.stop()
            while (line := read(process))["result"] == "success":
                assert "connection" not in line
            assert list(line) == [*ENVELOPE, "error", "exception", "stacktrace"]
            assert line["error"] == "connection_lost"
            old.state.update(title="Still there")
            while read(process).get("title") != "Still there":
                pass
            old.stop()
            lines = read_to_the_end(process)
    assert process.returncode == 4
    assert [line.get("connection") for line in lines] == ["lost", None]
    assert list(lines[-1]) == FINISHED


def test_two_protocols_go(own_store):
    """A device that goes says so once."""
    with VirtualAppleTV(profile="tvos14", protocols=("mrp",)) as new, VirtualAppleTV() as old:
        services = [*new.device.services, *old.device.services]
        tinyatv.Store().save(tinyatv.Device("Den", "127.0.0.1", services))
        with Program("push_updates", "--json") as process:
            while "title" not in read(process):
                pass
            old.stop()
            new.stop()
            lines = [line for line in read_to_the_end(process) if "title" not in line]
    assert process.returncode == 4
    assert len([line for line in lines if "connection" in line]) == 1
    assert list(lines[-1]) == FINISHED
    assert "connection" in lines[-2]


def test_a_device_that_tells_nothing(own_store, capsys, nothing):
    with VirtualAppleTV("Den", profile="airplay1", mdns_port=0) as tv:
        tinyatv.Store().save(tv.device)
        code, lines = run_json(capsys, "push_updates")
    assert code == 5
    assert lines[0]["error"] == "unsupported_command"
    assert list(lines[1]) == FINISHED


def test_at_the_end_of_a_chain(tv, capsys, nothing):
    code, lines = run_json(capsys, "pause", "push_updates")
    assert code == 0
    assert lines[0]["command"] == "pause"
    assert lines[-2]["device_state"] == "paused"
    assert list(lines[-1]) == FINISHED
    for words in (["push_updates", "pause"], ["up", "watch", "down"], ["up", "watch=1"]):
        assert run(capsys, *words)[0] == 2
    assert tv.log == ["pause"]


def test_at_the_end_of_a_chain_when_the_device_goes(tv):
    flags = [] if "dmap" in tv.protocols else ["--protocol", "mrp"]
    with Program("up", "push_updates", "--json", *flags) as process:
        while "title" not in read(process):
            pass
        tv.stop()
        assert list(read_to_the_end(process)[-1]) == FINISHED
    assert process.returncode == 4


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_at_the_end_of_a_chain_with_a_device_that_comes_back(tv):
    with Program("up", "push_updates", "--json", "--protocol", "mrp", "--reconnect") as process:
        while "title" not in read(process):
            pass
        tv.move()
        told = []
        while "reconnected" not in told:
            told.append(read(process).get("connection"))
        finish(process)
    assert (process.returncode, told) == (0, ["closed", "reconnected"])


# -- several devices -------------------------------------------------------------------------------


def test_all_that_are_stored(home, capsys, nothing):
    gone = store_absent("Gone")
    code, lines = run_json(capsys, "push_updates", "--all", "-t", "0.3")
    assert code == 0
    assert list(lines[-1]) == FINISHED
    by_name = {name: [list(x) for x in lines if x.get("name") == name] for name in [*home, "Gone"]}
    told = [[*POWER, *LABEL], [*OUTPUTS, *LABEL], [*PLAYING, *LABEL]]
    assert by_name["Attic"] == told[2:]
    assert by_name["Den"] == by_name["Bedroom"] == told
    (failed,) = [line for line in lines if line.get("device") == gone]
    assert (failed["result"], failed["error"]) == ("failure", "connection_failed")
    for name, tv in home.items():
        labels = {line["device"] for line in lines if line.get("name") == name}
        assert labels == {tv.device.identifier}


def test_text_says_who(home, capsys, nothing):
    store_absent("Gone")
    code, out, err = run(capsys, "push_updates", "--all", "-t", "0.3")
    assert code == 0
    for line in ("Den: Power: On", "Den: Output: Den", "Bedroom:        Title: Harbour Lights",
                 "Attic: Device state: Playing"):  # fmt: skip
        assert line in out.splitlines()
    assert all(line.startswith(tuple(f"{name}: " for name in home)) for line in out.splitlines())
    assert err.startswith("tinyatv: Gone: cannot connect")
    assert err.count("\n") == 1


@pytest.mark.parametrize("flag", ["-i", "-n", "-s"])
def test_those_that_are_named(home, capsys, nothing, own_store, flag):
    named = {
        "-i": ["-i", f"{home['Attic'].identifier},{home['Den'].identifier.lower()}"],
        "-n": ["-n", "bedroom"],
        "-s": ["-s", ",".join(f"127.0.0.1:{home[n].ports['mdns']}" for n in ("Attic", "Bedroom"))],
    }[flag]
    code, lines = run_json(capsys, "push_updates", "--all", "-t", "2", *named)
    assert code == 0
    wanted = {"-i": {"Attic", "Den"}, "-n": {"Bedroom"}, "-s": {"Attic", "Bedroom"}}[flag]
    assert {line.get("name") for line in lines[:-1]} == wanted


def test_one_that_nobody_knows(home, capsys, nothing):
    code, lines = run_json(
        capsys, "push_updates", "--all", "-t", "0.3", "-i", f"XYZ,{home['Den'].identifier}"
    )
    assert code == 0
    (failed,) = [line for line in lines if line["result"] == "failure"]
    assert (failed["error"], failed["device"], failed["name"]) == ("device_not_found", None, "XYZ")
    assert {"Den"} == {line["name"] for line in lines[:-1] if line is not failed}


def test_none_at_all(own_store, capsys, monkeypatch, nothing):
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    code, (line,) = run_json(capsys, "push_updates", "--all")
    assert (code, line["error"]) == (3, "device_not_found")
    nobody = f"127.0.0.1:{free_port()}"
    code, (line,) = run_json(capsys, "push_updates", "--all", "-s", nobody, "-t", "0.2")
    assert (code, line["error"]) == (3, "device_not_found")
    store_absent("Gone")
    store_absent("Lost")
    code, lines = run_json(capsys, "push_updates", "--all", "-t", "0.2")
    assert code == 4
    assert [line.get("error") for line in lines] == ["connection_failed"] * 2 + [None]
    assert list(lines[-1]) == FINISHED


def test_damaged_store(home, capsys, own_store):
    own_store.write_text('{"devices": [')
    code, _, err = run(capsys, "watch", "--all")
    assert (code, err.count("\n")) == (6, 1)
    assert "damaged" in err


def test_one_talks_nonsense_the_others_stay(home):
    with Program("push_updates", "--all", "--json") as process:
        seen: set[str] = set()
        while seen != set(home):
            line = read(process)
            seen |= {line["name"]} if "title" in line else set()
        for peer in home["Den"].mrp.peers:
            peer.send(b"\xff" * 64)
        line = read(process)
        assert (line["name"], line["result"], line["connection"]) == ("Den", "failure", "lost")
        home["Bedroom"].state.set_volume(11)
        assert read(process)["volume"] == 11
        (last,) = finish(process)
    assert (process.returncode, list(last)) == (0, FINISHED)


def test_credentials_are_not_for_all(home, capsys):
    code, _, err = run(capsys, "watch", "--all", "--mrp-credentials", "1:2:3:4")
    assert code == 2
    assert "from the store" in err


def test_one_goes_the_others_stay(home):
    with Program("push_updates", "--all", "--json") as process:
        seen: set[str] = set()
        while seen != set(home):
            line = read(process)
            seen |= {line["name"]} if "title" in line else set()
        home["Den"].stop()
        line = read(process)
        assert (line["name"], line["device"]) == ("Den", home["Den"].identifier)
        assert line["connection"] == "closed"
        home["Attic"].state.update(title="Here")
        line = read(process)
        assert (line["name"], line["title"]) == ("Attic", "Here")
        home["Bedroom"].state.set_volume(11)
        line = read(process)
        assert (line["name"], line["volume"]) == ("Bedroom", 11)
        (last,) = finish(process)
    assert process.returncode == 0
    assert list(last) == FINISHED


def test_the_last_one_goes(home):
    with Program("push_updates", "--all", "--json") as process:
        seen: set[str] = set()
        while seen != set(home):
            line = read(process)
            seen |= {line["name"]} if "title" in line else set()
        for tv in home.values():
            tv.stop()
        lines = read_to_the_end(process)
    assert process.returncode == 4
    assert {line.get("connection") for line in lines} == {"closed", "lost", None}
    assert list(lines[-1]) == FINISHED


def test_all_come_back(home):
    """One that was lost, and one that was not there when it began."""
    same = {"profile": "tvos14", "protocols": ("mrp",), "identifier": str(uuid.uuid4()).upper()}
    with VirtualAppleTV("Late", **same) as late:
        tinyatv.Store().save(late.device)
    same.update(credentials=(late.credentials["mrp"],), ports=late.ports)
    with Program("push_updates", "--all", "--json", "--reconnect", "-t", "0.5") as process:
        seen: set[str] = set()
        failed = []
        while seen != set(home) or not failed:
            line = read(process)
            seen |= {line["name"]} if "title" in line else set()
            failed += [line] if line["result"] == "failure" else []
        assert [line["name"] for line in failed] == ["Late"]
        home["Den"].move()
        told = []
        while "reconnected" not in told:
            line = read(process)
            told += [line["connection"]] if line["name"] == "Den" and "connection" in line else []
        assert told == ["closed", "reconnected"]
        with VirtualAppleTV("Late", **same):
            while not (line["name"] == "Late" and "title" in line):
                line = read(process)
                assert line["result"] == "success"  # the failure is told once
            finish(process)
    assert process.returncode == 0


def test_interrupted_while_one_does_not_answer(home):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store_absent("Silent", silent.getsockname()[1])
        with Program("watch", "--all", "--timeout", "60") as process:
            seen: set[str] = set()
            while seen != set(home):
                name, _, text = process.stdout.readline().partition(": ")
                seen |= {name} if "Title" in text else set()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")


def test_nobody_reads(home):
    with Program("watch", "--all") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""


# -- without a terminal ----------------------------------------------------------------------------


def test_json_without_a_terminal_runs_until_it_is_ended(home):
    """As under systemd, or with </dev/null: it survives reboots, and SIGTERM is no failure."""
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    command = ("watch", "--all", "--json", "--reconnect")
    with Program(*command, stdin=nothing, stdout=pipe, stderr=pipe) as process:
        seen: set[str] = set()
        while seen != set(home):
            line = read(process)
            seen |= {line["name"]} if "title" in line else set()
        for name in ("Den", "Attic"):
            home[name].move()
            told = []
            while "reconnected" not in told:
                line = read(process)
                told += (
                    [line["connection"]] if line["name"] == name and "connection" in line else []
                )
            assert told[1:] == ["reconnected"]
        process.send_signal(signal.SIGTERM)
        (*_, last) = read_to_the_end(process)
    assert (process.returncode, list(last)) == (0, FINISHED)


def test_json_in_the_background_of_a_shell(tv):
    """The terminal belongs to another group of processes: reading from it would stop all."""
    main, terminal = os.openpty()
    script = (
        "import fcntl, os, subprocess, sys, termios\n"
        "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "child = subprocess.Popen([sys.executable, '-m', 'tinyatv', 'watch', '--json'],"
        " preexec_fn=lambda: os.setpgid(0, 0), stdout=3, stderr=3)\n"
        "print(child.pid, flush=True)\n"
        "sys.exit(child.wait())\n"
    )
    got, put = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", f"import os; os.dup2({put}, 3)\n{script}"], pass_fds=[put],
        stdin=terminal, stdout=subprocess.PIPE, text=True,
    ) as shell, open(got, encoding="utf-8") as lines:  # fmt: skip
        os.close(put)
        pid = int(shell.stdout.readline())
        try:
            while "title" not in json.loads(lines.readline()):
                pass
            os.write(main, b"\n")  # for the shell
            tv.state.update(title="Still here")
            assert json.loads(lines.readline())["title"] == "Still here"
        finally:
            os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(ProcessLookupError):  # it has ended, so it was not stopped
                os.kill(pid, signal.SIGCONT)
        assert shell.wait(30) == 0
        assert list(json.loads(lines.readlines()[-1])) == FINISHED
    os.close(main)
    os.close(terminal)
