"""Programs that start before the TV does: `wait` of connect(), and --wait."""

from __future__ import annotations

import json
import threading

import pytest

import tinyatv
from tests.support.comeback import Comeback
from tests.support.program import Program, run

LINE = "tinyatv: waiting: cannot connect to 127.0.0.1"


@pytest.fixture(params=["atv3", "tvos18"])
def tv(own_store, request, monkeypatch):
    """A stored device that is not there yet."""
    with Comeback("Living Room", request.param, there=False) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", tv.scan_host)
        yield tv


@pytest.fixture
def waiting(monkeypatch):
    """Is set once the first try has failed; pauses take no time then."""
    waits = threading.Event()

    def pause(seconds):
        waits.set()
        threading.Event().wait(min(seconds, 0.05))

    monkeypatch.setattr("tinyatv.connecting.time.sleep", pause)
    return waits


def test_connect_waits_for_the_device(tv, waiting, caplog):
    arriving = threading.Thread(target=lambda: waiting.wait(30) and tv.come_back())
    arriving.start()
    with tinyatv.connect("Living Room", wait=True, scan_timeout=0.3) as atv:
        atv.play()
    arriving.join()
    assert tv.log == ["play"]
    assert "waiting for the device: cannot connect" in caplog.text


@pytest.mark.parametrize("wait", [False, 0, 2])
def test_connect_waits_no_longer_than_that(tv, waiting, wait):
    with pytest.raises(tinyatv.ConnectionFailed):
        tinyatv.connect("Living Room", wait=wait, scan_timeout=0.1)
    assert waiting.is_set() is bool(wait)


@pytest.mark.parametrize("wait", [-1, float("nan")])
def test_wait_is_a_number_of_seconds(own_store, wait):
    with pytest.raises(ValueError, match="wait must be 0 s or more"):
        tinyatv.connect("Living Room", wait=wait)


def test_what_waiting_does_not_cure_is_raised_at_once(own_store, waiting):
    with Comeback("Den", "tvos14") as tv:
        device, store = tv.tv.device, tinyatv.Store(memory=True)
    for service in device.services:
        service.credentials = None
    with pytest.raises(tinyatv.CredentialsError):
        tinyatv.connect(device, protocols=["companion"], wait=True, store=store)
    assert not waiting.is_set()


@pytest.mark.parametrize("word", ["pause", "push_updates", "prompt"])
def test_the_program_waits(tv, word):
    with Program("--wait", word, "-t", "0.3", "--json") as process:
        assert process.stderr.readline().startswith(LINE)
        tv.come_back()
        out, err = process.communicate("pause\n", timeout=60)
    assert (process.returncode, err) == (0, "")
    assert [json.loads(line)["result"] for line in out.splitlines()]
    assert tv.log == ([] if word == "push_updates" else ["pause"])


def test_watch_of_several_waits(tv):
    with Program("push_updates", "--all", "--wait", "-t", "0.3", "--json") as process:
        assert json.loads(process.stdout.readline())["error"] == "connection_failed"
        tv.come_back()
        while "title" not in json.loads(process.stdout.readline()):
            pass
        process.communicate("\n", timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("flag", ["--wait=2", "--wait 2.0"])
def test_the_program_waits_no_longer_than_that(tv, capsys, flag):
    code, _, err = run(capsys, *flag.split(), "pause", "-t", "0.1")
    assert (code, err.count("\n")) == (4, 2)
    assert err.startswith(LINE)


def test_wait_takes_seconds(own_store, capsys):
    code, _, err = run(capsys, "--wait=soon", "pause")
    assert (code, err.count("\n")) == (2, 1)
    assert "not a number of seconds" in err
