"""An AppleTV that nobody refers to any more is closed; what uses it keeps it."""

from __future__ import annotations

import gc
import queue
import threading
import warnings

import pytest

import tinyatv
from tests.support.life import comes_true, descriptors, nothing_is_left, peers
from tests.support.watching import ours
from tinyatv.virtual import VirtualAppleTV

WAIT = 30.0  # s; a deadline for things that take milliseconds
PROFILES = ["atv3", "tvos14", "tvos18"]
GROWTH = 4 * 1024  # KiB; less than 5 per object, and what the allocator keeps


@pytest.fixture(params=PROFILES)
def tv(request):
    with VirtualAppleTV("Living Room", profile=request.param) as tv:
        yield tv


@pytest.fixture(autouse=True)
def quiet():
    """Warnings are shown where a test looks for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def used(tv, **options):
    atv = tinyatv.connect(tv.device, **options)
    atv.menu()
    return atv


def memory():
    """Resident memory in KiB; None where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4
    except OSError:
        return None


@pytest.mark.parametrize("reconnect", [False, True])
def test_dropped(tv, reconnect):
    open_before = descriptors()
    with pytest.warns(ResourceWarning, match="Living Room: dropped while it was connected"):
        used(tv, reconnect=reconnect)
    nothing_is_left(tv, open_before)


def test_dropped_in_a_cycle(tv):
    """Where only the garbage collector finds it, on whatever thread."""
    open_before = descriptors()
    holder = [used(tv)]
    holder.append(holder)
    del holder
    with pytest.warns(ResourceWarning, match="Living Room"):
        gc.collect()
    nothing_is_left(tv, open_before)


def test_closed_without_a_warning(tv):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with tinyatv.connect(tv.device) as atv:
            atv.menu()
        del atv
        gc.collect()


def test_a_cell_that_connects_again(tv, share):
    """What a notebook does: the name is bound again, and what it was before is dropped."""
    tvs = [used(tv) for _ in range(3)]
    for one in tvs:
        one.close()
    del tvs, one
    open_before = descriptors()
    before = memory()
    for _ in range(share(1000)):
        atv = used(tv)
        assert comes_true(lambda: len(peers(tv)) <= 8)
    atv.close()
    nothing_is_left(tv, open_before)
    gc.collect()
    if before is not None:
        assert memory() - before < GROWTH


def test_a_listener_keeps_it(tv):
    """A script may well keep nothing but its callback."""
    heard = queue.SimpleQueue()
    open_before = descriptors()
    used(tv).add_listener(heard.put)
    gc.collect()
    tv.state.update(title="Another")
    if "companion" not in tv.protocols or len(tv.protocols) > 1:
        while True:
            event = heard.get(timeout=WAIT)
            if isinstance(event, tinyatv.PlayingChanged) and event.playing.title == "Another":
                break
    assert peers(tv)
    assert ours()
    # A listener that removes itself lets go of it.
    atv = used(tv)

    def listener(event):
        atv_of[0].remove_listener(listener)
        atv_of.clear()
        gone.set()

    atv_of, gone = [atv], threading.Event()
    atv.add_listener(listener)
    del atv, event
    tv.state.update(title="A third")
    assert gone.wait(WAIT)
    # The first one is kept until the test is over: close it by the only thread that knows it.
    kept = [one for one in gc.get_objects() if isinstance(one, tinyatv.AppleTV) and one.protocols]
    for one in kept:
        one.close()
    del kept, one
    nothing_is_left(tv, open_before)


def test_events_in_use_keep_it(tv):
    open_before = descriptors()
    events = used(tv).events(timeout=WAIT)
    gc.collect()
    tv.state.update(title="Another")
    assert next(events) is not None
    assert peers(tv)
    events.close()
    nothing_is_left(tv, open_before)


def test_events_that_nobody_took(tv):
    """An iterator that is dropped before its first event does not listen any more."""
    open_before = descriptors()
    atv = used(tv)
    atv.events()
    gc.collect()
    assert not atv._session.events.heard
    del atv
    nothing_is_left(tv, open_before)


def test_a_bound_method_keeps_it(tv):
    open_before = descriptors()
    press = used(tv).menu
    gc.collect()
    seen = len(tv.log)
    press()
    assert tv.wait_for(lambda: len(tv.log) > seen)
    del press
    nothing_is_left(tv, open_before)


def test_a_queued_press_keeps_it(tv):
    open_before = descriptors()
    atv = used(tv)
    press = atv.queued(atv.menu)
    del atv
    gc.collect()
    seen = len(tv.log)
    press()
    assert tv.wait_for(lambda: len(tv.log) > seen)
    del press
    nothing_is_left(tv, open_before)


def test_a_stream_that_plays_keeps_it():
    with VirtualAppleTV(profile="tvos15") as tv:
        open_before = descriptors()
        stream = used(tv).play_url(__file__)
        gc.collect()
        assert peers(tv)
        assert stream.playing
        stream.stop()
        nothing_is_left(tv, open_before)
        assert not stream.playing
