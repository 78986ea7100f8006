"""Connections that stay open, as a long-running program uses them."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

import tinyatv
from tinyatv import ConnectionFailed, ConnectionLost, Store
from tinyatv.pool import Pool

WAIT = 20.0


@pytest.fixture
def profile():
    return "tvos14"


@pytest.fixture
def store(tv):
    return Store()


@pytest.fixture
def pool(store):
    with Pool(store) as pool:
        yield pool


def test_one_connection_for_all(tv, store, pool):
    device = store.find("Living Room")
    with pool.connection(device) as first:
        first.up()
    with pool.connection(device) as second, pool.connection(device) as third:
        second.down()
        assert first is second is third
    assert tv.log == ["up", "down"]
    assert pool.all() == [first]
    assert len(tv.mrp.peers) == 1


def test_each_way_to_use_a_device_has_its_own(tv, store, pool):
    device = store.find("Living Room")
    with (
        pool.connection(device, protocols=["mrp"]) as one,
        pool.connection(device, protocols=["companion"], timeout=7.0) as other,
    ):
        assert (one.protocols, other.protocols) == (("mrp",), ("companion",))
        assert other.timeout == 7.0


def test_those_who_come_at_once_share_one(tv, store, pool):
    device = store.find("Living Room")
    got = []
    together = threading.Barrier(8)

    def use():
        together.wait(WAIT)
        with pool.connection(device) as atv:
            got.append(atv)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(got) == 8
    assert len(set(map(id, got))) == 1


def test_a_lost_connection_is_replaced(tv, store, pool):
    device = store.find("Living Room")
    with pool.connection(device) as before:
        before.up()
    tv.move()
    assert tv.wait_for(lambda: not before.protocols, WAIT)
    with pool.connection(store.find("Living Room")) as after:
        after.down()
        assert after is not before
    assert tv.log[-1] == "down"


def test_the_store_is_what_counts(tv, store, pool):
    """New credentials or a new password: a new connection. A forgotten device: none."""
    with pool.connection(store.find("Living Room")) as before:
        pass
    changed = store.find("Living Room")
    changed.services[0].password = "new"
    store.save(changed)
    with pool.connection(store.find("Living Room")) as after:
        assert after is not before
    pool.forget()
    assert pool.all() == [after]
    store.forget("Living Room")
    pool.forget()
    assert pool.all() == []
    assert tv.wait_for(lambda: not tv.mrp.peers, WAIT)


def test_idle_ones_are_closed_first(tv, store):
    device = store.find("Living Room")
    with Pool(store, max_idle=1) as pool:
        with pool.connection(device) as kept:
            with pool.connection(device, timeout=9.0):
                pass
            kept.up()  # it is in use, so it was the other one
        assert pool.all() == [kept]
    assert tv.wait_for(lambda: not tv.mrp.peers, WAIT)


def test_a_refusal_keeps_the_connection(tv, store, pool):
    tv.state.disable("next")
    device = store.find("Living Room")
    with pytest.raises(tinyatv.CommandFailed), pool.connection(device) as before:
        before.next()
    with pool.connection(device) as after:
        assert after is before


def test_a_device_that_is_off(tv, store, pool):
    device = store.find("Living Room")
    tv.stop()
    for _ in range(2):
        connection = None
        with pytest.raises((ConnectionFailed, tinyatv.CommandTimeout, tinyatv.DeviceNotFound)):
            connection = pool.get(device, scan_timeout=0.1)
        assert connection is None
    assert pool.all() == []


def test_after_the_end(tv, store):
    pool = Pool(store)
    with pool.connection(store.find("Living Room")) as atv:
        pool.close()
        pool.close()
        with pytest.raises(ConnectionLost):
            atv.up()
    with pytest.raises(ConnectionLost), pool.connection(store.find("Living Room")):
        pytest.fail("it was opened")


def test_it_needs_no_command_line():
    script = (
        "import sys, tinyatv.pool; print([m for m in sys.modules if m.startswith('tinyatv.cli')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
