"""Events: in order, on one thread, whatever listeners do."""

from __future__ import annotations

import queue
import threading

import pytest

from tinyatv import events
from tinyatv.errors import ConnectionLost
from tinyatv.events import (
    Disconnected,
    Event,
    Events,
    PlayingChanged,
    PowerChanged,
    VolumeChanged,
)
from tinyatv.model import Playing, PowerState

WAIT = 20.0  # s; a deadline for things that take milliseconds
NAME = "tinyatv-events-test"


@pytest.fixture
def hub():
    hub = Events(NAME)
    yield hub
    hub.close()


class Listener:
    """Takes events, and does something when they come."""

    def __init__(self, action=None):
        self.events = queue.SimpleQueue()
        self.threads = set()
        self._action = action

    def __call__(self, event):
        self.threads.add(threading.current_thread().name)
        self.events.put(event)
        if self._action is not None:
            self._action()

    def volumes(self, count):
        """Wait for so many events; no more may be there."""
        found = [self.events.get(timeout=WAIT).volume for _ in range(count)]
        assert self.events.empty()
        return found


def threads():
    return [t for t in threading.enumerate() if t.name == NAME]


def post(hub, *volumes):
    for volume in volumes:
        hub.post(VolumeChanged(volume))


def test_in_order_on_one_thread(hub):
    first, second = Listener(), Listener()
    assert (hub.add(first), hub.add(second)) == (1, 2)
    post(hub, *range(200))
    hub.close()
    assert first.volumes(200) == second.volumes(200) == list(range(200))
    assert first.threads == second.threads == {NAME}


def test_no_thread_before_the_first_listener(hub):
    assert threads() == []
    post(hub, 1)
    assert threads() == []
    listener = Listener()
    hub.add(listener)
    hub.add(Listener())
    assert len(threads()) == 1
    assert threads()[0].daemon
    post(hub, 2)
    assert listener.volumes(1) == [2]  # the first one had no listener


def test_nothing_is_kept_while_nobody_listens(hub):
    first, second = Listener(), Listener()
    hub.add(first)
    assert hub.remove(first) == 0
    post(hub, 1)
    hub.add(second)
    post(hub, 2)
    hub.close()
    assert first.volumes(0) == []
    assert second.volumes(1) == [2]


def test_remove(hub):
    first, second = Listener(), Listener()
    hub.add(first)
    hub.add(first)
    hub.add(second)
    assert hub.remove(first) == 2  # one of the two
    post(hub, 1)
    hub.close()
    assert first.volumes(1) == second.volumes(1) == [1]
    assert hub.remove(first) == 1
    with pytest.raises(ValueError, match="not in list"):
        hub.remove(first)


def test_bound_methods_can_be_removed(hub):
    listener = Listener()
    hub.add(listener.events.put)
    assert hub.remove(listener.events.put) == 0


@pytest.mark.parametrize("error", [RuntimeError, ConnectionLost, StopIteration, AssertionError])
def test_failing_listener_is_logged_and_the_others_go_on(hub, caplog, error):
    def fail():
        raise error("on purpose")

    failing, other = Listener(fail), Listener()
    hub.add(failing)
    hub.add(other)
    post(hub, 1, 2)
    hub.close()
    assert failing.volumes(2) == other.volumes(2) == [1, 2]
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 2
    assert "on purpose" in caplog.text
    assert "VolumeChanged" in caplog.text


def test_listener_that_removes_itself(hub):
    once, other = Listener(lambda: hub.remove(once)), Listener()
    hub.add(once)
    hub.add(other)
    post(hub, 1, 2)
    hub.close()
    assert once.volumes(1) == [1]
    assert other.volumes(2) == [1, 2]


def test_listener_that_adds_another(hub):
    added = Listener()
    first = Listener(lambda: first.events.qsize() == 1 and hub.add(added))
    hub.add(first)
    post(hub, 1, 2)
    hub.close()
    assert first.volumes(2) == [1, 2]
    assert added.volumes(1) == [2]  # from the next event on


def plays(number):
    return PlayingChanged(Playing(title=str(number)))


def test_late_listener_gets_what_plays_first(hub):
    first, late = Listener(), Listener()
    hub.add(first)
    post(hub, 1)
    hub.post(plays(1))
    hub.post(plays(2))
    post(hub, 2)
    heard = [first.events.get(timeout=WAIT) for _ in range(4)]
    hub.add(late)
    post(hub, 3)
    assert late.events.get(timeout=WAIT) is heard[2]
    assert late.volumes(1) == first.volumes(1) == [3]
    assert late.threads == {NAME}


@pytest.mark.parametrize("how", ["it left", "all left", "disconnected"])
def test_late_listener_does_not_get_what_is_outdated(hub, how):
    busy, free = threading.Event(), threading.Event()
    first = Listener(lambda: (busy.set(), free.wait(WAIT)))
    other, late = Listener(), Listener()
    for listener in (first, other):
        hub.add(listener)
    hub.post(plays(1))
    if how == "disconnected":
        hub.post(Disconnected(None))
    assert busy.wait(WAIT)
    if how != "disconnected":
        for _ in range(3):
            hub.add(late)
            hub.remove(late)
    if how == "all left":
        for listener in (first, other):
            hub.remove(listener)
    free.set()
    if how == "disconnected":
        assert [type(other.events.get(timeout=WAIT)) for _ in range(2)][1] is Disconnected
    if how != "it left":
        hub.add(late)
    post(hub, 1)
    hub.close()
    assert late.volumes(how != "it left") == [1] * (how != "it left")


def test_late_listener_that_comes_and_goes_is_called_once(hub):
    busy, free = threading.Event(), threading.Event()
    first, late = Listener(lambda: (busy.set(), free.wait(WAIT))), Listener()
    hub.add(first)
    hub.post(plays(1))
    assert busy.wait(WAIT)
    for _ in range(3):
        hub.add(late)
        hub.remove(late)
    hub.add(late)
    free.set()
    post(hub, 1)
    hub.close()
    assert late.events.get(timeout=WAIT).playing.title == "1"
    assert late.volumes(1) == [1]


def test_late_listeners_miss_nothing_and_hear_nothing_twice(hub, share):
    last = min(share(20_000), events.QUEUED - 500)  # more than that may be dropped
    hub.add(Listener())
    hub.post(plays(0))
    poster = threading.Thread(target=lambda: [hub.post(plays(n)) for n in range(1, last + 1)])
    poster.start()
    listeners = []
    while poster.is_alive() and len(listeners) < 200:
        listeners.append(Listener())
        hub.add(listeners[-1])
    poster.join(WAIT)
    late = Listener()
    hub.add(late)
    hub.close()
    for listener in (*listeners, late):
        heard = []
        while not listener.events.empty():
            heard.append(int(listener.events.get().playing.title))
        assert heard == list(range(heard[0], last + 1))


def test_listener_that_posts(hub):
    more = [9]
    first = Listener(lambda: more and post(hub, more.pop()))
    hub.add(first)
    post(hub, 1)
    assert first.volumes(2) == [1, 9]


def test_listener_that_closes(hub):
    """What is queued still comes; then the thread ends."""
    ready = threading.Event()
    listener = Listener(lambda: (ready.wait(WAIT), hub.close()))
    hub.add(listener)
    thread = threads()[0]
    post(hub, 1, 2, 3)
    ready.set()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert listener.volumes(3) == [1, 2, 3]


def test_post_does_not_wait_for_listeners(hub):
    ready = threading.Event()
    listener = Listener(lambda: ready.wait(WAIT))
    hub.add(listener)
    post(hub, *range(100))
    assert listener.events.get(timeout=WAIT).volume == 0
    assert listener.events.empty()  # it is busy with the first one
    ready.set()
    hub.close()
    assert listener.volumes(99) == list(range(1, 100))


@pytest.mark.parametrize("listening", [True, False])
def test_close_is_final(hub, listening):
    listener = Listener()
    if listening:
        hub.add(listener)
    post(hub, 1)
    closers = [threading.Thread(target=hub.close) for _ in range(5)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(WAIT)
        assert not closer.is_alive()
    hub.close()
    assert threads() == []
    hub.add(listener)
    post(hub, 2)
    assert threads() == []
    hub.close()
    assert listener.volumes(int(listening)) == [1][: int(listening)]


def test_events_say_what_they_are():
    assert repr(PowerChanged(PowerState.On)) == "PowerChanged(power=<PowerState.On: 2>)"
    assert repr(Disconnected(None)) == "Disconnected(error=None, protocol=None)"
    error = ConnectionLost("gone")
    assert (Disconnected(error, "mrp").error, Disconnected(error, "mrp").protocol) == (error, "mrp")
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type)]
    kinds = [kind for kind in kinds if issubclass(kind, Event) and kind is not Event]
    assert len(kinds) == 8
    for kind in kinds:
        made = kind(*range(len(kind.__slots__)))
        assert [getattr(made, name) for name in kind.__slots__] == list(range(len(kind.__slots__)))
        for name in kind.__slots__:
            assert f"{name} " in repr(made).replace("=", " ")
        with pytest.raises(AttributeError):
            made.other = 1
