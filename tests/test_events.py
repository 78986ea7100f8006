"""Events: in order, on one thread, whatever listeners do."""

from __future__ import annotations

import queue
import threading

import pytest

from tinyatv import events
from tinyatv.errors import ConnectionLost
from tinyatv.events import Disconnected, Event, Events, PowerChanged, VolumeChanged
from tinyatv.model import PowerState

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
    assert listener.volumes(1) == [2]  # the first one had nobody to go to


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
