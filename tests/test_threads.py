"""Closing what another thread is just starting, or what is just ending by itself."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

import tinyatv
from tests.support.airplay_client import Controller
from tinyatv.cli.program import main
from tinyatv.virtual import VirtualAppleTV
from tinyatv.virtual.responder import Responder
from tinyatv.virtual.state import State

WAIT = 5.0  # s; a deadline for things that take milliseconds
MOMENT = 0.2  # s that something is given to go wrong
NOWHERE = "http://127.0.0.1:1/film.mp4"


@contextlib.contextmanager
def airplay():
    with VirtualAppleTV(profile="tvos15", protocols=["airplay"]) as tv:
        yield tv


@contextlib.contextmanager
def fetching():
    """The virtual player begins to fetch a URL, and the device is stopped."""
    with airplay() as tv:
        yield lambda: tv.airplay.player.load(None, NOWHERE), tv.stop


@contextlib.contextmanager
def keeping_time():
    state = State("Living Room", "0011223344556677")
    yield lambda: state.start("virtual-clock"), state.stop


@contextlib.contextmanager
def responding():
    responder = Responder(list)
    yield responder.start, responder.close


@contextlib.contextmanager
def playing():
    with airplay() as tv, tinyatv.connect(tv.device) as atv:
        yield lambda: atv.play_url(NOWHERE), atv.close


@pytest.mark.parametrize(
    ("case", "thread"),
    [(fetching, "-fetch"), (keeping_time, "virtual-clock"), (responding, "virtual-mdns-"),
     (playing, "tinyatv-stream-clock-"), (playing, "tinyatv-stream-127.0.0.1")],
)  # fmt: skip
def test_closed_while_a_thread_is_started(monkeypatch, case, thread):
    """Between making a thread and starting it, a pause in which another thread closes."""
    about, go = threading.Event(), threading.Event()
    start, wrong = threading.Thread.start, []

    def late(self):
        if thread in self.name:
            about.set()
            go.wait(WAIT)
        start(self)

    def attempt(call):
        try:
            call()
        except tinyatv.AppleTVError:
            pass  # it was closed
        except Exception as exc:
            wrong.append(exc)

    with case() as (begin, close):
        monkeypatch.setattr(threading.Thread, "start", late)
        one = threading.Thread(target=attempt, args=(begin,), name="begins")
        other = threading.Thread(target=attempt, args=(close,), name="closes")
        one.start()
        try:
            assert about.wait(WAIT)
            other.start()
            other.join(MOMENT)  # it has to wait, or finds nothing to join
        finally:
            go.set()
        one.join(WAIT)
        other.join(WAIT)
        assert not one.is_alive()
        assert not other.is_alive()
        close()
    assert wrong == []


@pytest.mark.parametrize(
    ("protocol", "whole"),
    [("dmap", True), ("mrp", True), ("airplay", True), ("airplay", False), ("companion", True)],
)
def test_stopped_while_a_client_leaves(protocol, whole):
    """A client that leaves just then may still have things to close: that is waited for.

    With AirPlay, also if it closes the event channel alone: then another thread does it.
    """
    profile = {"dmap": "atv3", "airplay": "tvos15"}.get(protocol, "tvos14")
    with contextlib.ExitStack() as stack:
        tv = stack.enter_context(VirtualAppleTV(profile=profile, protocols=[protocol]))
        server = tv.dmap.server if protocol == "dmap" else getattr(tv, protocol)
        stopped = threading.Event()
        stopping = threading.Thread(target=lambda: (server.stop(), stopped.set()), name="stops")
        if whole:
            leaver = socket.create_connection(("127.0.0.1", tv.ports[protocol]), WAIT)
            assert tv.wait_for(lambda: server.peers)
        else:
            client = stack.enter_context(Controller(tv.airplay))
            leaver = client.verify(tv.credentials["airplay"]).begin().events.sock
            assert tv.wait_for(lambda: tv.airplay.answered)
        tv.state.lock.acquire()  # which is needed to leave
        try:
            leaver.close()
            until = time.monotonic() + 2 * WAIT  # a thread that needs the lock is given 5 s
            while server.peers and time.monotonic() < until:
                threading.Event().wait(0.001)
            assert not server.peers
            stopping.start()
            early = stopped.wait(MOMENT)
        finally:
            tv.state.lock.release()
        stopping.join(WAIT)
        assert stopped.is_set()
        assert not early
        assert [one.name for one in threading.enumerate() if f"-{protocol}" in one.name] == []


def test_interrupted_before_a_thread_is_started(monkeypatch, tv):
    """Ctrl-C just when `watch` begins is no reason to complain of threads that never ran."""
    start = threading.Thread.start

    def interrupted(self):
        if self.name.startswith("tinyatv-watch-"):
            raise KeyboardInterrupt
        start(self)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    assert main(["watch"]) == 130
