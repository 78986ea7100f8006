"""Every example runs, against the virtual Apple TV, and does what it says."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest

import tinyatv
from tests.support.sound import matching, samples, wav
from tinyatv.virtual import VirtualAppleTV

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
TESTED = {
    "play_pause.py", "now_playing.py", "pair.py", "watch_events.py", "button_box.py",
    "reconnect.py", "remote.ipynb", "micropython_dmap.py", "sleep_timer.py",
    "play_file.py", "stream_file.py", "launch_app.py", "type_text.py", "big_buttons.py",
    "ir_remote.ini",
}  # fmt: skip


@pytest.fixture(params=["atv3", "tvos14", "tvos18"])
def profile(request):
    """Each example, on every generation."""
    return request.param


def run(name: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *args], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


class Running(subprocess.Popen):
    """An example that runs until it is interrupted."""

    def __init__(self, command: list, **more) -> None:
        pipe = subprocess.PIPE
        super().__init__(command, stdout=pipe, stderr=pipe, text=True, **more)

    def __exit__(self, kind, error, trace):
        self.kill()
        super().__exit__(kind, error, trace)

    def line(self) -> str:
        return self.stdout.readline().strip()


def test_all_examples_are_tested():
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == TESTED


def test_examples_are_short():
    for path in EXAMPLES.glob("*.py"):
        assert 5 <= len(path.read_text("utf-8").splitlines()) <= 32, path


def test_play_pause(tv):
    assert run("play_pause.py", "Living Room") == "Living Room is paused\n"
    assert tv.log == ["play_pause"]


def test_now_playing(tv, tmp_path):
    out = run("now_playing.py", "Living Room", str(tmp_path))
    assert "Title: Harbour Lights" in out
    assert (tmp_path / "cover.png").read_bytes() == tv.state.artwork(400)


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"])
def test_pair_with_the_pin_on_the_tv(own_store, monkeypatch, profile):
    with VirtualAppleTV("Bedroom", profile=profile, mdns_port=0, credentials=()) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        command = [sys.executable, EXAMPLES / "pair.py", "Bedroom"]
        with Running(command, stdin=subprocess.PIPE) as example:
            assert tv.wait_for(lambda: tv.pin, 30)
            out, err = example.communicate(f"{tv.pin}\n", timeout=60)
        assert (example.returncode, err) == (0, "")
        assert "Paired with Bedroom" in out
        with tinyatv.connect("Bedroom") as atv:
            atv.pause()
        assert tv.log == ["pause"]


def test_pair_with_the_pin_here(own_store, monkeypatch):
    """The remote is announced and found on loopback."""
    name = f"Kitchen button {os.urandom(4).hex()}"
    script = (EXAMPLES / "pair.py").read_text("utf-8").replace("Kitchen button", name)
    with VirtualAppleTV("Bedroom", mdns_port=0, credentials=()) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        with Running([sys.executable, "-c", script, "Bedroom"]) as example:
            pin = example.line().split()[1]
            tv.enter_pin(pin, name, timeout=20)
            out, err = example.communicate(timeout=60)
        assert (example.returncode, err) == (0, "")
        assert "Paired with Bedroom" in out
        with tinyatv.connect("Bedroom") as atv:
            atv.pause()
        assert tv.log == ["pause"]


def test_watch_events(tv):
    with Running([sys.executable, EXAMPLES / "watch_events.py", "Living Room"]) as example:
        assert example.line() == "Playing: Harbour Lights by The Loopbacks"
        tv.state.next()
        assert example.line() == "Playing: Three Hops by The Loopbacks"
        tv.stop()
        assert example.line().startswith("Disconnected(")
        example.communicate(timeout=60)
        assert example.returncode == 0


def test_reconnect(tv):
    with Running([sys.executable, EXAMPLES / "reconnect.py", "Living Room"]) as example:
        assert example.line() == "Harbour Lights"
        tv.move()
        assert example.line().startswith("lost: ")
        by = {"atv3": "dmap", "tvos14": "mrp, companion", "tvos18": "mrp, airplay, companion"}
        assert example.line() == f"back, by {by[tv.profile]}"
        assert example.line() == "Harbour Lights"


PRESSES = (  # runs an example with gpiozero's mock pins; each line on standard input presses one
    "import os, sys, threading; os.environ['GPIOZERO_PIN_FACTORY'] = 'mock';"
    "from gpiozero import Device; Device.ensure_pin_factory();"
    "path = sys.argv.pop(1);"
    "press = lambda: [Device.pin_factory.pin(int(l)).drive_low() or "
    "Device.pin_factory.pin(int(l)).drive_high() for l in sys.stdin];"
    "threading.Thread(target=press, daemon=True).start();"
    "exec(compile(open(path).read(), path, 'exec'))"
)


class ButtonBox(Running):
    """An example with buttons, and somebody who presses them."""

    def __init__(self, name: str) -> None:
        pytest.importorskip("gpiozero")
        command = [sys.executable, "-c", PRESSES, EXAMPLES / name, "Living Room"]
        super().__init__(command, stdin=subprocess.PIPE)

    def press(self, pin: int) -> None:
        self.stdin.write(f"{pin}\n")
        self.stdin.flush()

    def end(self) -> None:
        self.send_signal(signal.SIGINT)
        self.communicate(timeout=60)


def test_button_box(tv):
    with ButtonBox("button_box.py") as example:
        assert example.line() == "ready"
        for number, (pin, command) in enumerate(
            [(17, "play_pause"), (27, "volume_up"), (22, "volume_down")], 1
        ):
            example.press(pin)
            assert tv.wait_for(lambda n=number: len(tv.log) >= n)
            assert tv.log[-1] == command
        example.end()


@pytest.mark.parametrize("profile", ["tvos14", "tvos18", "tvos27"])
def test_big_buttons(tv):
    """Each press says what happened, and has done all of it by then."""
    tv.state.sleep()
    with ButtonBox("big_buttons.py") as example:
        assert example.line() == "ready"
        for pin, line, power, volume, app in (
            (17, "on", "On", 30, None),
            (13, "silent", "On", 0, None),
            (5, "TVMusic", "On", 30, "com.apple.TVMusic"),
            (27, "off", "Off", 30, None),
            (27, "off", "Off", 30, None),
            (22, "TVWatchList", "On", 30, "com.apple.TVWatchList"),
            (6, "podcasts", "On", 30, "com.apple.podcasts"),
        ):
            example.press(pin)
            assert example.line() == line
            assert (tv.state.power.name, tv.state.volume) == (power, volume)
            assert app in (None, tv.state.app.identifier)
        tv.state.apps.clear()
        example.press(6)
        assert "there is no app" in example.line()
        example.end()


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"])
def test_launch_app(tv):
    assert "Netflix: com.netflix.Netflix\n" in run("launch_app.py", "Living Room")
    for app in ("Netflix", "com.netflix.Netflix"):
        assert run("launch_app.py", "Living Room", app) == "started com.netflix.Netflix\n"
    assert tv.log == ["launch_app com.netflix.Netflix"] * 2
    with Running([sys.executable, EXAMPLES / "launch_app.py", "Living Room", "nothing"]) as example:
        _, err = example.communicate(timeout=60)
    assert (example.returncode, err.count("\n")) == (1, 1)


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"])
def test_type_text(tv):
    command = [sys.executable, EXAMPLES / "type_text.py", "Living Room", "stranger"]
    with Running(command) as example:
        assert example.line() == "open a text field on the TV"
        tv.state.open_field()
        while (line := example.line()) == "open a text field on the TV":
            pass  # something else had happened
        assert line == "it reads 'stranger' now"
        assert example.wait(timeout=60) == 0
    assert tv.state.text == "stranger"


@pytest.mark.parametrize("profile", ["tvos15", "tvos18"])
def test_play_file(tv, tmp_path):
    path = tmp_path / "a film.mp4"
    path.write_bytes(bytes(1000))
    tv.airplay.player.duration = 0.5
    assert run("play_file.py", "Living Room", str(path)).endswith("\ndone\n")
    assert tv.airplay.player.body == bytes(1000)


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"])
def test_sleep_timer(tv):
    assert "Living Room is Off" in run("sleep_timer.py", "Living Room", "0.001")
    assert tv.log == ["volume_down", "turn_off"]


def test_notebook():
    """Executed as Jupyter does it: inside a running event loop."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLES / "remote.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("Harbour Lights" in output["data"].get("text/html", "") for output in outputs
               if "data" in output)  # fmt: skip
    assert "next" in outputs[-1]["data"]["text/plain"]


def test_micropython_dmap():
    assert "Call On Me" in run("micropython_dmap.py")


def test_stream_file(tmp_path, monkeypatch):
    sent = samples(22050)
    file = tmp_path / "song.wav"
    file.write_bytes(wav(sent))
    with VirtualAppleTV(profile="speaker", mdns_port=0) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        monkeypatch.setenv("TINYATV_STORE", str(tmp_path / "store.json"))
        assert run("stream_file.py", tv.name, str(file)).splitlines()[-1] == "done"
        assert tv.wait_for(lambda: tv.raop.streams[-1].over)
        assert matching(tv.raop.streams[-1].samples(), sent) == (0, 22050)
