"""Presses from callbacks: never raised, never blocking, in order, and not twice.

The real thread of lgpio calls them, fed through its FIFO as its daemon does. It has no ``try``: a
test shows how a bound method ends it.
"""

from __future__ import annotations

import queue
import struct
import subprocess
import sys
import threading

import pytest

import tinyatv
from tests.support.comeback import Comeback
from tests.support.program import WAIT
from tinyatv.queued import WAITING

LGPIO = """
import itertools, sys, threading, lgpio, tinyatv

class Callback:
    chip = 0
    def __init__(self, gpio, func):
        self.gpio, self.func = gpio, func
        lgpio._notify_thread.append(self)

numbers = itertools.count(1)
def press(**how):
    return lambda *_: atv.queued(atv.set_position, next(numbers), on_error=failed, **how)()

def failed(error):
    print(type(error).__name__, flush=True)

atv = tinyatv.connect("Living Room", reconnect=True)
Callback(17, press())
Callback(27, press(patience=10))
Callback(22, lambda *_: atv.play_pause())
Callback(6, atv.queued(print, "answered", flush=True))
Callback(5, lambda *_: print("alive", flush=True))
print("ready", flush=True)
sys.stdin.read()
atv.close()
"""


class Box(subprocess.Popen):
    """A program with the real lgpio, whose thread gets what its daemon would send."""

    def __init__(self, folder) -> None:
        pytest.importorskip("lgpio")
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-c", LGPIO]
        super().__init__(command, cwd=folder, text=True, **pipes)
        assert self.line() == "ready"
        self._fifo = open(folder / ".lgd-nfy0", "wb", buffering=0)  # noqa: SIM115

    def __exit__(self, kind, error, trace) -> None:
        if kind is not None:
            self.kill()
        self._fifo.close()
        if kind is None:
            self.stdin.close()
            assert self.wait(WAIT) == 0
            self.errors = self.stderr.read()
        super().__exit__(kind, error, trace)

    def line(self) -> str:
        return self.stdout.readline().strip()

    def press(self, gpio: int, times: int = 1) -> None:
        record = struct.pack("QBBBBI", 1, 0, gpio, 0, 0, 0)  # tick, chip, gpio, level, flags, pad
        self._fifo.write(record * times)


@pytest.fixture
def tv(own_store, profile, monkeypatch):
    with Comeback("Living Room", profile) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", tv.scan_host)
        yield tv


@pytest.mark.parametrize("profile", ["atv3", "tvos18"])
def test_the_thread_of_lgpio_lives(tv, tmp_path, share):
    """1,000 presses over 20 losses: none doubled, the buttons work once the device is back."""
    acted = 0
    with Box(tmp_path) as box:
        for _ in range(share(20) + 1):
            for _ in range(2):
                box.press(17, 20)
                acted += 20
                box.press(6)
                assert box.line() == "answered"  # all of them
                assert len(tv.log) == acted
            tv.leave()
            for _ in range(9):
                box.press(17)
                assert box.line() in ("ConnectionLost", "CommandTimeout")
            box.press(27)  # which waits for the device
            tv.come_back()
            acted += 1
            assert tv.wait_for(lambda n=acted: len(tv.log) == n)
            box.press(6)
            assert box.line() == "answered"
        box.press(5)
        assert box.line() == "alive"
    assert len({*tv.log}) == acted
    assert box.errors == ""


def test_a_bound_method_ends_the_thread_of_lgpio(tv, tmp_path):
    """The control: what an error in a callback does without a queue."""
    with Box(tmp_path) as box:
        box.press(22)
        assert tv.wait_for(lambda: tv.log == ["play_pause"])
        tv.leave()
        box.press(22)
        while "ConnectionLost" not in (line := box.stderr.readline()):
            assert line
        box.press(5)
        box.stdin.close()
        assert box.line() == ""  # and not "alive"


@pytest.fixture
def failed():
    """Takes errors; on the thread of the queue."""
    return queue.SimpleQueue()


def stuck(pressing, go_on):
    """A press that says that it has begun, and waits."""

    def press():
        pressing.set()
        assert go_on.wait(WAIT)

    return press


def test_presses_keep_their_order_and_their_arguments(atv, device):
    up = atv.queued(atv.up, presses=2)
    seek = atv.queued(atv.set_position, 30)
    for _ in range(3):
        up()
        seek("a pin", "its level")
    assert device.wait_for(lambda: len(device.log) == 9)
    assert device.log == ["up", "up", "set_position 30"] * 3


def test_a_caller_does_not_wait(atv, device):
    pressing, go_on = threading.Event(), threading.Event()
    atv.queued(stuck(pressing, go_on))()
    atv.queued(atv.play_pause)()
    assert pressing.wait(WAIT)
    assert device.log == []
    go_on.set()
    assert device.wait_for(lambda: device.log == ["play_pause"])


def test_too_many_presses_are_dropped_and_reported_once(atv, device, failed):
    pressing, go_on = threading.Event(), threading.Event()
    press = atv.queued(atv.volume_up, on_error=failed.put)
    atv.queued(stuck(pressing, go_on))()
    assert pressing.wait(WAIT)
    for _ in range(WAITING + 7):
        press()
    go_on.set()
    assert str(failed.get(timeout=WAIT)) == f"7 presses dropped: {WAITING} are waiting already"
    assert len(device.log) == WAITING
    press()
    assert device.wait_for(lambda: len(device.log) == WAITING + 1)
    assert failed.empty()


def test_errors_are_reported_and_logged(atv, device, failed, caplog):
    device.fail("play", status=500)
    device.fail("play", status=500)
    atv.queued(atv.play)()
    atv.queued(atv.play, on_error=failed.put)()
    assert isinstance(failed.get(timeout=WAIT), tinyatv.CommandFailed)
    levels = [one.levelname for one in caplog.records if one.name == "tinyatv.queued"]
    assert levels == ["WARNING"]  # the other one is the user's to show


@pytest.mark.parametrize("wrong", [ZeroDivisionError("on_error's"), SystemExit(1)])
def test_an_error_in_on_error_costs_nothing(atv, device, wrong, caplog):
    def on_error(error):
        raise wrong

    atv.queued(lambda: 1 / 0, on_error=on_error)()
    atv.queued(atv.pause)()
    assert device.wait_for(lambda: device.log == ["pause"])
    assert "ZeroDivisionError" in caplog.text


def test_a_press_may_close(atv, device):
    closed = threading.Event()

    def close():
        atv.close()
        closed.set()

    press = atv.queued(close)
    press()
    assert closed.wait(WAIT)
    press()  # ignored


def test_close_forgets_what_waits(device):
    pressing, go_on = threading.Event(), threading.Event()
    with tinyatv.connect(device.device) as atv:
        atv.queued(stuck(pressing, go_on))()
        atv.queued(atv.play)()
        assert pressing.wait(WAIT)
        closing = threading.Thread(target=atv.close)
        closing.start()
        assert device.wait_for(lambda: atv.protocols == ())
        go_on.set()
        closing.join(WAIT)
    assert device.log == []


def test_a_press_that_waits_for_the_device_ends_with_close(tv):
    errors = queue.SimpleQueue()
    with tinyatv.connect("Living Room", reconnect=True) as atv:
        heard = atv.events()
        tv.leave()
        while not isinstance(next(heard), tinyatv.Disconnected):
            pass
        atv.queued(atv.play, patience=3600, on_error=errors.put)()
    assert errors.empty()


def test_patience_is_a_number_of_seconds(atv):
    for patience in (-1, float("nan")):
        with pytest.raises(ValueError, match="patience must be 0 or more"):
            atv.queued(atv.play, patience=patience)
