"""What is left of a process after something ended: threads, descriptors, keys that are down."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

from tests.support.watching import ours

WAIT = 30.0  # s; a deadline for things that take milliseconds


def descriptors():
    """How many descriptors are open. Collects garbage first: a traceback may hold a socket."""
    gc.collect()
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


def comes_true(condition):
    """Wait until something is so; False if it never is."""
    until = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > until:
            return False
        threading.Event().wait(0.002)
    return True


def nothing_is_left(tv, open_before):
    """No thread, no peer of the device, no descriptor, and no key or finger down."""
    assert comes_true(lambda: not ours()), ours()
    assert comes_true(lambda: not any(peers(tv))), peers(tv)
    assert comes_true(lambda: descriptors() <= open_before)
    assert not pressed(tv)


def peers(tv):
    """Who is connected to the device, by protocol."""
    servers = {"dmap": lambda: tv.dmap.server}
    sides = [servers.get(name, lambda name=name: getattr(tv, name))() for name in tv.protocols]
    return [one for side in sides for one in side.peers]


def pressed(tv):
    """What is down on the device: buttons, and the finger of a remote."""
    down = list(tv.state.held)
    if "dmap" in tv.protocols and tv.dmap._touch is not None:
        down.append("touch")
    if "companion" in tv.protocols:
        down += ["touch" for peer in tv.companion.peers if peer.touch is not None]
    return down


def interrupt(call, after):
    """Call something, and interrupt it like Ctrl-C after so many seconds, if it still runs then.

    Returns:
        True if it was interrupted; errors of ours that the interruption leads to count as well.
    """
    armed = [True]

    def handler(*_):
        if armed:
            armed.clear()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(after, 1e-6))
            call()
        finally:
            armed.clear()
    except KeyboardInterrupt:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return False
