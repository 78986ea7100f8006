"""`tinyatv box`: what its file says is what buttons, knobs and keys do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import tinyatv
from tests.support.comeback import Comeback
from tests.support.program import ROOT, Program, run
from tinyatv.box.config import read
from tinyatv.box.gestures import GESTURES, Button, Times
from tinyatv.box.inputs import EVENT
from tinyatv.box.keys import KEYS
from tinyatv.virtual import VirtualAppleTV

OK, ONE, UP = KEYS["KEY_OK"], KEYS["KEY_1"], KEYS["KEY_VOLUMEUP"]

EXAMPLE = ROOT / "examples" / "ir_remote.ini"
README_BOX = (ROOT / "README.md").read_text("utf-8").split("```ini\n")[1].split("```")[0]

# Runs the program with gpiozero's mock pins, which lines on standard input drive: "17 low".
MOCK = (
    "import os, sys, threading; os.environ['GPIOZERO_PIN_FACTORY'] = 'mock'\n"
    "from gpiozero import Device; Device.ensure_pin_factory()\n"
    "def drive():\n"
    "    for line in sys.stdin:\n"
    "        number, what = line.split()\n"
    "        pin = Device.pin_factory.pin(int(number))\n"
    "        if what == 'state': print(bool(pin.state), flush=True)\n"
    "        else: pin.drive_low() if what == 'low' else pin.drive_high()\n"
    "threading.Thread(target=drive, daemon=True).start()\n"
    "from tinyatv.cli.program import console; console()\n"
)


class Pins(Program):
    """The program with mock pins."""

    def __init__(self, *args: str) -> None:
        pytest.importorskip("gpiozero")
        super().__init__(*args, command=("-u", "-c", MOCK))

    def drive(self, *changes: str) -> None:
        self.stdin.write("".join(f"{one}\n" for one in changes))
        self.stdin.flush()

    def push(self, pin: int) -> None:
        self.drive(f"{pin} low", f"{pin} high")

    def says(self, wanted: str) -> str:
        while wanted not in (line := self.stderr.readline()):
            assert line, wanted
        return line

    def end(self) -> None:
        self.send_signal(signal.SIGTERM)
        self.communicate(timeout=30)
        assert self.returncode == 0


class Keys:
    """An input device, as a FIFO."""

    def __init__(self, path) -> None:
        self.path = path
        os.mkfifo(path)

    def plug(self) -> None:
        self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115

    def unplug(self) -> None:
        self._file.close()

    def send(self, key: int, *values: int) -> None:
        """Each value with what comes beside it: a scan code before, SYN behind."""
        for value in values:
            around = EVENT.pack(1, 2, 4, 4, 458792), EVENT.pack(1, 2, 0, 0, 0)
            self._file.write(around[0] + EVENT.pack(1, 2, 1, key, value) + around[1])


@pytest.fixture
def box_file(tmp_path):
    """A function that writes a file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "box.ini"
        path.write_text(text, "utf-8")
        return str(path)

    return write


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "event0")


# -- gestures --------------------------------------------------------------------------------------


class Finger:
    """A button at times of our own."""

    def __init__(self, *bound: str) -> None:
        self.done: list[str] = []
        self._now = 0.0
        self._button = Button(bound, Times(hold=1.0, double=0.5, repeat=0.25), self.done.append)

    def after(self, seconds: float, down: bool | None = None) -> Finger:
        until = self._now + seconds
        while (due := self._button.due) is not None and due <= until:
            self._button.wait_over(due)
        self._now = until
        if down is not None:
            self._button.change(down, until)
        return self


@pytest.mark.parametrize(
    ("bound", "short", "long", "twice"),
    [
        (("press",), ["press"], ["press"], ["press", "press"]),
        (("press", "release"), ["press", "release"], ["press", "release"],
         ["press", "release"] * 2),
        (("press", "hold"), ["press"], ["hold"], ["press", "press"]),
        (("hold",), [], ["hold"], []),
        (("press", "double"), ["press"], ["press"], ["double"]),
        (("press", "hold", "double"), ["press"], ["hold"], ["double"]),
        (("press", "repeat"), ["press"], ["press", "repeat", "repeat", "repeat"],
         ["press", "press"]),
    ],
)  # fmt: skip
def test_gestures(bound, short, long, twice):
    tap = Finger(*bound).after(0, True).after(0.1, False).after(9)
    held = Finger(*bound).after(0, True).after(1.6, False).after(9)
    both = Finger(*bound).after(0, True).after(0.1, False).after(0.2, True).after(0.1, False)
    assert (tap.done, held.done, both.after(9).done) == (short, long, twice)


def test_a_second_press_that_is_too_late_is_another_one():
    finger = Finger("press", "double").after(0, True).after(0.1, False)
    assert finger.after(0.6, True).after(0.1, False).after(9).done == ["press", "press"]


# -- the file --------------------------------------------------------------------------------------


def parse(words):
    from tinyatv.cli.box import _parse

    return _parse(words)


def test_the_file():
    config = read(
        "[pins]\n17 = play_pause ; or so\n17 hold = turn_off=wait\n"
        "[keys /dev/input/by-id/a b]\ngrab = yes\nKEY_OK hold = select=hold\n"
        "KEY_1 = -n Bedroom launch=app://x?a=1%20;2\nKEY_#700 = up down\n"
        "[knob 5 6]\nvolume = 2\n[leds]\n12 = playing\n[box]\ntv = Den\npatience = 0\n",
        "box.ini", parse,
    )  # fmt: skip
    assert {pin: [*gestures] for pin, gestures in config.pins.items()} == {17: ["press", "hold"]}
    (path,) = config.keys
    assert (path, config.grabbed) == ("/dev/input/by-id/a b", {"/dev/input/by-id/a b"})
    launch = config.keys[path][ONE]["press"]
    assert (launch.tv, launch.text) == ("Bedroom", "-n Bedroom launch=app://x?a=1%20;2")
    assert [step.command.name for step in config.keys[path][700]["press"].steps] == ["up", "down"]
    assert (config.patience, config.leds, config.knobs[0].volume) == (0, {12: "playing"}, 2)
    assert config.tvs() == ["Den", "Bedroom"]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("17 = play", 1, "a [SECTION] comes first"),
        ("[pins]\n17", 2, "expected"),
        ("[pins]\n17 = play\n17 = pause", 3, "17 is there twice"),
        ("[pins]\n17 = play\n\n[pins]\n", 4, "[pins] is there twice"),
        ("[pin]\n17 = play", 1, "[pin] is not"),
        ("[pins]\n99 = play", 2, "'99' is not a pin"),
        ("[pins]\n17 = plya", 2, "did you mean 'play'"),
        ("[pins]\n17 =", 2, "A word is missing"),
        ("[pins]\n17 long = play", 2, "'long' is not press"),
        ("[pins]\n17 hold = up\n17 repeat = up", 3, "hold and repeat"),
        ("[pins]\n17 = artwork=x.png", 2, "artwork is nothing for a button"),
        ("[pins]\n17 = watch", 2, "watch"),
        ("[pins]\n17 = up 'down", 2, "No closing quotation"),
        ("[pins]\n17 = up\n[leds]\n17 = playing", 4, "pin 17 is a button already"),
        ("[leds]\n12 = loud", 2, "'loud' is not playing"),
        ("[keys]\nKEY_OK = up", 1, "[keys] is not"),
        ("[keys x]\nKEY_OKK = up", 2, "did you mean KEY_OK?"),
        ("[keys x]\ngrab = maybe\nKEY_OK = up", 2, "grab is yes or no"),
        ("[knob 5]\nvolume = 2", 1, "a knob has two pins"),
        ("[knob 5 6]\nvolume = loud", 2, "'loud' is not a number"),
        ("[box]\nhold = -1\n[pins]\n17 = up", 2, "'-1' is not a number"),
        ("[box]\ncolour = red\n[pins]\n17 = up", 2, "colour is not tv"),
        ("# nothing\n", 1, "nothing is bound"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(capsys, own_store, box_file, text, line, why):
    path = box_file(text)
    code, out, err = run(capsys, "box", path)
    assert (code, out) == (2, "")
    assert f"{path}:{line}: " in err
    assert why in err


def test_all_mistakes_are_named_at_once(capsys, own_store, box_file):
    _, _, err = run(capsys, "box", box_file("[pins]\n1 = up\n99 = up\n2 = upp\n[knob]\n"))
    assert [part.split(":")[0] for part in err.split("box.ini:")[1:]] == ["3", "4", "5"]


def test_every_gesture_can_be_bound():
    for gesture in GESTURES:
        assert read(f"[pins]\n1 {gesture} = up", "x", parse).pins[1].keys() == {gesture}


@pytest.mark.parametrize(
    "text", [EXAMPLE.read_text("utf-8"), README_BOX], ids=["example", "README"]
)
def test_files_that_are_shown(text):
    assert len(read(text, "x", parse).keys) == 1


# -- pins ------------------------------------------------------------------------------------------


@pytest.fixture
def profile():
    return "tvos14"


def test_buttons_a_knob_and_leds(tv, box_file):
    path = box_file(
        "[box]\nhold = 0.2\n[pins]\n17 = play_pause\n27 hold = up\n27 release = down\n"
        "[knob 5 6]\nvolume = 2\n[leds]\n12 = playing\n13 = connected\n"
    )
    with Pins("box", path, "-n", "Living Room") as box:
        assert box.stdout.readline() == "pin 17 press: play_pause\n"
        box.says("Living Room: connected by")
        box.push(17)
        assert tv.wait_for(lambda: tv.log == ["play_pause"], 30)
        box.drive("27 low")
        assert tv.wait_for(lambda: tv.log[1:] == ["up"], 30)
        box.drive("27 high")
        assert tv.wait_for(lambda: tv.log[2:] == ["down"], 30)
        level = tv.state.volume
        for _ in range(5):  # clockwise
            box.drive("5 low", "6 low", "5 high", "6 high")
        assert tv.wait_for(lambda: tv.state.volume == level + 10, 30)
        assert [one for one in tv.log if "volume" in one] == [f"set_volume {level + 10:g}"]
        for led, on in ((12, "False"), (13, "True")):
            shown = ""
            while f"{shown}" != on:
                box.drive(f"{led} state")
                while (shown := box.stdout.readline().strip()) not in ("True", "False"):
                    assert shown
        box.end()


def test_without_gpiozero(tv, box_file):
    code = "import sys; sys.modules['gpiozero'] = None; from tinyatv.cli.program import console;"
    with Program("box", box_file("[pins]\n17 = up\n"), command=("-c", f"{code} console()")) as box:
        _, err = box.communicate(timeout=30)
    assert box.returncode == 5
    assert "--system-site-packages" in err
    assert err.count("\n") == 1


# -- keys ------------------------------------------------------------------------------------------


def test_keys_of_a_device_that_vanishes_and_comes_back(tv, box_file, keys):
    path = box_file(f"[keys {keys.path}]\nKEY_OK = select\nKEY_VOLUMEUP repeat = volume_up\n")
    os.rename(keys.path, f"{keys.path}-away")
    with Program("box", path) as box:
        assert "waiting for it" in box.stderr.readline()
        os.rename(f"{keys.path}-away", keys.path)
        keys.plug()
        keys.send(OK, 1, 2, 2, 0)  # the keyboard's own repetition is not ours
        assert tv.wait_for(lambda: tv.log == ["select"], 30)
        keys.send(ONE, 1, 0)  # is bound to nothing
        keys.send(UP, 1)
        assert tv.wait_for(lambda: tv.log.count("volume_up") >= 2, 30)
        keys.unplug()  # while it is down
        while "it has gone" not in (line := box.stderr.readline()):
            assert line
        keys.plug()
        before = tv.log.count("volume_up")
        keys.send(OK, 1, 0)
        assert tv.wait_for(lambda: tv.log[-1] == "select", 30)
        assert tv.log.count("volume_up") - before <= 1  # that was on its way
        box.send_signal(signal.SIGTERM)
        box.communicate(timeout=30)
    assert box.returncode == 0
    keys.unplug()


def test_learn_names_keys(own_store, keys):
    with Program("box", "--learn", str(keys.path)) as box:
        assert box.stdout.readline() == f"[keys {keys.path}]\n"
        keys.plug()
        keys.send(OK, 1, 0)
        keys.send(700, 1, 0)
        assert box.stdout.readline() == "KEY_OK = \n"
        assert box.stdout.readline() == "KEY_#700 = \n"
        box.send_signal(signal.SIGINT)
        box.communicate(timeout=30)
    assert box.returncode == 0
    keys.unplug()


# -- devices ---------------------------------------------------------------------------------------


def test_a_tv_that_is_away_at_the_start_and_later(own_store, monkeypatch, box_file, keys):
    path = box_file(f"[box]\ntv = Den\npatience = 60\n[keys {keys.path}]\nKEY_OK = select\n")
    with Comeback("Den", "tvos14", there=False) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", tv.scan_host)
        with Program("box", path, "-t", "0.5") as box:
            assert box.stderr.readline().startswith("tinyatv: Den: cannot connect")
            keys.plug()
            keys.send(OK, 1, 0)
            tv.come_back()
            assert tv.wait_for(lambda: tv.log == ["select"])
            tv.leave()
            while "lost" not in (line := box.stderr.readline()):
                assert line
            keys.send(OK, 1, 0)
            tv.come_back()
            assert tv.wait_for(lambda: tv.log == ["select"] * 2)
            box.send_signal(signal.SIGTERM)
            box.communicate(timeout=30)
        assert box.returncode == 0
    keys.unplug()


def test_two_tvs(tv, box_file, keys):
    path = box_file(
        f"[box]\ntv = Living Room\n[keys {keys.path}]\nKEY_OK = select\nKEY_1 = -n Bedroom menu\n"
    )
    with VirtualAppleTV("Bedroom") as other:
        tinyatv.Store().save(other.device)
        with Program("box", path) as box:
            keys.plug()
            keys.send(OK, 1, 0)
            keys.send(ONE, 1, 0)
            assert tv.wait_for(lambda: tv.log == ["select"], 30)
            assert other.wait_for(lambda: other.log == ["menu"], 30)
            box.send_signal(signal.SIGTERM)
            box.communicate(timeout=30)
    assert box.returncode == 0
    keys.unplug()


def test_hangup_reads_the_file_again(tv, box_file, keys):
    path = box_file(f"[keys {keys.path}]\nKEY_OK = select\n")
    with Program("box", path) as box:
        keys.plug()
        for text, says, pressed in (
            ("oops", "nothing changes", "select"),
            (f"[keys {keys.path}]\nKEY_OK = menu\n", "connected by", "menu"),
        ):
            while "connected by" not in (line := box.stderr.readline()):
                assert line
            box_file(text)
            keys.unplug()
            box.send_signal(signal.SIGHUP)
            while says not in (line := box.stderr.readline()):
                assert line
            keys.plug()
            keys.send(OK, 1, 0)
            assert tv.wait_for(lambda word=pressed: tv.log[-1:] == [word], 30)
        box.send_signal(signal.SIGTERM)
        box.communicate(timeout=30)
    assert box.returncode == 0
    keys.unplug()


def test_nothing_is_needed_but_the_standard_library(own_store):
    code = (
        "import sys; sys.modules['evdev'] = sys.modules['gpiozero'] = None; import tinyatv.cli.box"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
