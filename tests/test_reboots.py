"""Many threads, a device that reboots, and callbacks that close: nothing hangs, nothing is left."""

from __future__ import annotations

import logging
import queue
import threading

import pytest

import tinyatv
from tests.support.watching import Heard, ours
from tinyatv.virtual import VirtualAppleTV

WAIT = 30.0  # s; a deadline for things that take milliseconds
PRESSERS = 20
PROFILES = ["atv3", "tvos14", "tvos18"]


@pytest.fixture
def quick(monkeypatch):
    """Coming back takes no time."""
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.01, 0.05))


class Pressers:
    """Threads that press until they are stopped.

    Args:
        press: What each of them does, again and again.

    Attributes:
        wrong: What no command may raise.
    """

    def __init__(self, press):
        self.wrong = []
        self._press = press
        self._enough = threading.Event()
        self._done = threading.Semaphore(0)  # presses that went well
        self._threads = [threading.Thread(target=self._run) for _ in range(PRESSERS)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._enough.is_set():
            try:
                self._press()
                self._done.release()
            except tinyatv.ConnectionLost:
                self._enough.wait(0.001)
            except tinyatv.AppleTVError:
                pass
            except BaseException as exc:
                self.wrong.append(exc)
                return

    def go_on(self, count=PRESSERS):
        """Wait until so many more presses have gone well."""
        while self._done.acquire(blocking=False):
            pass
        for _ in range(count):
            assert self._done.acquire(timeout=WAIT)

    def stop(self):
        self._enough.set()
        for thread in self._threads:
            thread.join(WAIT)
        assert not any(thread.is_alive() for thread in self._threads)
        assert self.wrong == []


def nothing_is_left():
    """Who told of a loss may still be on its way out; nobody else is there."""
    for thread in threading.enumerate():
        if thread.name.startswith("tinyatv"):
            thread.join(WAIT)
    assert ours() == []


def told_of(heard, kind):
    """Losses and returns, up to the next one of a kind."""
    kinds = []
    while not kinds or kinds[-1] is not kind:
        event = heard.events.get(timeout=WAIT)
        if isinstance(event, (tinyatv.Disconnected, tinyatv.Reconnected)):
            kinds.append(type(event))
    return kinds


@pytest.mark.parametrize("profile", PROFILES)
def test_many_threads_press_while_the_device_reboots(quick, share, profile):
    """They hear of the loss, or of nothing; each loss is told once, and then the return."""
    tv = VirtualAppleTV(profile=profile, mdns_port=0)
    with tv, tinyatv.connect(tv.device, reconnect=True, timeout=5.0) as atv:
        heard = Heard(atv)
        pressers = Pressers(atv.menu)
        try:
            for _ in range(share(60)):
                pressers.go_on()
                tv.move()
                order = told_of(heard, tinyatv.Reconnected)
                assert order[::2] == [tinyatv.Disconnected] * len(order[::2])
                assert order[1::2] == [tinyatv.Reconnected] * len(order[1::2])
            pressers.go_on()
        finally:
            pressers.stop()
    nothing_is_left()


@pytest.mark.parametrize("profile", PROFILES)
def test_closed_while_many_threads_press(share, profile):
    with VirtualAppleTV(profile=profile) as tv:
        for _ in range(share(100)):
            atv = tinyatv.connect(tv.device)
            pressers = Pressers(atv.menu)
            pressers.go_on()
            atv.close()
            with pytest.raises(tinyatv.ConnectionLost):
                atv.menu()
            pressers.stop()
            nothing_is_left()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("calls", ["pause", "close"])
def test_callback_at_every_event_while_the_device_reboots(quick, share, profile, calls):
    """What a listener calls has its answer on the events thread, or an error."""
    for _ in range(share(40)):
        called = queue.SimpleQueue()

        def listener(event, called=called):
            try:
                getattr(atv, calls)()
            except tinyatv.AppleTVError:
                pass
            called.put(event)

        tv = VirtualAppleTV(profile=profile, mdns_port=0)
        with tv, tinyatv.connect(tv.device, reconnect=True) as atv:
            atv.add_listener(listener)
            tv.state.update(title="Another")
            called.get(timeout=WAIT)
            tv.move()
            if calls == "pause":
                while not isinstance(called.get(timeout=WAIT), tinyatv.Reconnected):
                    pass
        nothing_is_left()


@pytest.mark.parametrize("profile", PROFILES)
def test_closed_while_it_comes_back(quick, share, profile):
    for number in range(share(100)):
        tv = VirtualAppleTV(profile=profile, mdns_port=0)
        with tv, tinyatv.connect(tv.device, reconnect=True) as atv:
            heard = Heard(atv)
            tv.move()
            if number % 2:
                heard.next(tinyatv.Disconnected)
            atv.close()
            assert atv.protocols == ()
        nothing_is_left()


@pytest.mark.parametrize("profile", PROFILES)
def test_listeners_that_come_and_go(share, profile):
    """On several threads at once: who is left hears what happens, and nobody polls for nobody."""
    with VirtualAppleTV(profile=profile) as tv, tinyatv.connect(tv.device) as atv:

        def come_and_go():
            heard = queue.SimpleQueue()
            for _ in range(share(400)):
                atv.add_listener(heard.put)
                atv.remove_listener(heard.put)

        threads = [threading.Thread(target=come_and_go) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert not [name for name in ours() if "poll" in name]
        heard = Heard(atv)
        tv.state.update(title="Another")
        heard.until(lambda event: event.playing.title == "Another")


@pytest.mark.parametrize("reconnect", [False, True])
def test_lost_while_another_protocol_connects(quick, reconnect, caplog):
    """A connection that is gone before the others are there does not pass for one that is up."""
    up = threading.Event()

    class Watching(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("connected to"):
                up.set()

    handler, log = Watching(), logging.getLogger("tinyatv.backends.mrp")
    caplog.set_level(logging.INFO, log.name)
    log.addHandler(handler)
    try:
        with VirtualAppleTV(profile="tvos14") as tv:
            introduce = tv.companion._handlers["_systemInfo"]

            def later(*args):
                assert up.wait(WAIT)
                tv.mrp.drop_peers()
                lost = [t for t in threading.enumerate() if t.name.startswith("tinyatv-mrp")]
                for thread in lost:
                    thread.join(WAIT)
                return introduce(*args)

            tv.companion._handlers["_systemInfo"] = later
            with tinyatv.connect(tv.device, reconnect=reconnect) as atv:
                assert atv.protocols == ("companion",)
                atv.menu()  # by what is there
            assert tv.log == ["menu"]
    finally:
        log.removeHandler(handler)
    nothing_is_left()
