"""No thread, no descriptor, no memory: errors that say so, and it goes on when there is room."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import socket
import subprocess
import sys
import threading

import pytest

import tinyatv
from tests.support.life import comes_true, descriptors, nothing_is_left, peers
from tests.support.program import ROOT
from tests.support.watching import Heard
from tinyatv.link import Listener
from tinyatv.virtual import VirtualAppleTV

resource = pytest.importorskip("resource")

WAIT = 60.0  # s; a deadline for things that take milliseconds
PROFILES = ["atv3", "tvos14", "tvos18"]


@pytest.fixture(params=PROFILES)
def tv(request):
    with VirtualAppleTV(profile=request.param, mdns_port=0) as tv:
        yield tv


@pytest.fixture
def quick(monkeypatch):
    """Coming back takes no time."""
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.01, 0.05))


@pytest.fixture
def refuse(monkeypatch):
    """While it is set, no thread of the client can be started."""
    refused, start = threading.Event(), threading.Thread.start

    def maybe(self):
        if refused.is_set() and self.name.startswith("tinyatv"):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", maybe)
    return refused


class Exhausted(subprocess.Popen):
    """The process of :mod:`tests.support.exhausted`, and the lines that it prints."""

    def __init__(self, device):
        super().__init__(
            [sys.executable, "-m", "tests.support.exhausted"], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.lines = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        pickle.dump(device, self.stdin)
        self.stdin.flush()

    def _read(self):
        for line in self.stdout:
            self.lines.put(line.decode().strip())

    def until(self, word):
        """Lines up to one that begins with a word."""
        seen = []
        while not seen or not seen[-1].startswith(word):
            seen.append(self.lines.get(timeout=WAIT))
            assert not seen[-1].startswith("wrong"), seen[-1]
        return seen

    def __exit__(self, *error):
        if error[0] is not None:
            self.kill()
        super().__exit__(*error)
        self._reader.join(WAIT)


def test_reboots_with_next_to_no_room(tv, share):
    """32 descriptors, 20 threads that press, and a third of all threads are refused."""
    with Exhausted(tv.device) as process:
        process.until("ready")
        for _ in range(share(200)):
            tv.move()
            process.until("Reconnected")
            process.until("pressed")
        process.stdin.close()
        assert process.until("closed")[-1] == "closed 0"
        assert process.wait(WAIT) == 0


def test_no_thread_to_connect(tv, refuse):
    open_before = descriptors()
    refuse.set()
    if "dmap" in tv.protocols:  # which needs none before somebody listens
        with tinyatv.connect(tv.device, protocols=["dmap"]) as atv:
            with pytest.raises(tinyatv.AppleTVError, match="no thread can be started"):
                atv.add_listener(print)
            atv.menu()
            refuse.clear()
            heard = Heard(atv)
            tv.state.update(title="Another")
            heard.until(lambda event: event.playing.title == "Another")
    else:
        with pytest.raises(tinyatv.AppleTVError, match="no thread can be started"):
            tinyatv.connect(tv.device)
    refuse.clear()
    nothing_is_left(tv, open_before)
    with tinyatv.connect(tv.device) as atv:
        atv.menu()


def press_on(atv):
    while True:
        atv.menu()


def test_lost_while_no_thread_can_be_started(quick, tv, refuse):
    """It comes back by itself as soon as there is room."""
    open_before = descriptors()
    with tinyatv.connect(tv.device, reconnect=True) as atv:
        heard = Heard(atv)
        refuse.set()
        tv.move()
        heard.next(tinyatv.Disconnected)
        with pytest.raises(tinyatv.ConnectionLost):
            press_on(atv)
        refuse.clear()
        heard.next(tinyatv.Reconnected)
        assert comes_true(lambda: atv.protocols)
        atv.menu()
    nothing_is_left(tv, open_before)


def test_closed_while_no_thread_can_be_started(quick, tv, refuse):
    open_before = descriptors()
    atv = tinyatv.connect(tv.device, reconnect=True)
    heard = Heard(atv)
    refuse.set()
    tv.move()
    heard.next(tinyatv.Disconnected)
    atv.close()
    refuse.clear()
    nothing_is_left(tv, open_before)


def test_no_descriptor_is_left(tv):
    """To connect with, or for a press; the connection that is there goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with tinyatv.connect(tv.device) as atv:
        atv.menu()
        taken = []
        try:
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
            try:
                while True:
                    taken.append(os.dup(0))
            except OSError:
                pass
            with pytest.raises(tinyatv.AppleTVError, match="Too many open files"):
                tinyatv.connect(tv.device)
            if "dmap" not in tv.protocols:
                atv.menu()
        finally:
            for one in taken:
                os.close(one)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        atv.menu()


@pytest.mark.parametrize("error", [SystemExit, RuntimeError, KeyboardInterrupt])
def test_a_listener_that_exits_ends_nothing_else(tv, error, caplog):
    with tinyatv.connect(tv.device) as atv:

        def leaves(event):
            raise error(1)

        atv.add_listener(leaves)
        heard = Heard(atv)
        for title in ("One", "Two"):
            tv.state.update(title=title)
            heard.until(lambda event, title=title: event.playing.title == title)
    assert "listener" in caplog.text


def test_out_of_memory_in_the_middle_of_a_press(monkeypatch, tv):
    """An error that says so; the connection is lost if a message may be half sealed."""
    from tinyatv.link import Link

    with tinyatv.connect(tv.device, reconnect=True) as atv:
        write, armed = Link._write, [True]

        def full(self, *args):
            if armed and not self.name.startswith("virtual"):
                armed.clear()
                raise MemoryError
            return write(self, *args)

        monkeypatch.setattr(Link, "_write", full)
        with pytest.raises(tinyatv.ConnectionLost, match="out of memory"):
            atv.menu()
        monkeypatch.undo()
        assert comes_true(lambda: atv.protocols)
        atv.menu()


def test_dropped_while_no_thread_can_be_started(tv, refuse):
    """It is closed once there is room."""
    open_before = descriptors()
    atv = tinyatv.connect(tv.device)
    refuse.set()
    with pytest.warns(ResourceWarning):
        del atv
    assert peers(tv)
    refuse.clear()
    with tinyatv.connect(tv.device) as atv:
        atv.menu()
    nothing_is_left(tv, open_before)


def test_an_accepting_thread_outlives_errors(caplog):
    taken = queue.SimpleQueue()

    def accepted(sock, address):
        sock.close()
        taken.put(address)
        raise LookupError("on purpose")

    caplog.set_level(logging.CRITICAL)
    listener = Listener(accepted)
    listener.start()
    try:
        for _ in range(3):
            socket.create_connection((listener.host, listener.port)).close()
            taken.get(timeout=WAIT)
    finally:
        listener.close()
