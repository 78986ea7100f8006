"""The child of a fork does not touch what its parent has opened."""

from __future__ import annotations

import os
import queue
import signal
import threading
import warnings

import pytest

import tinyatv
from tests.support.life import comes_true
from tinyatv.virtual import VirtualAppleTV

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

WAIT = 30.0  # s; a deadline for things that take milliseconds
DEVICES = [
    ("atv3", ["dmap"]),
    ("tvos14", ["mrp"]),
    ("tvos14", ["companion"]),
    ("tvos18", None),
    ("tvos18", ["airplay"]),
]


def in_child(call):
    """What a call returns in the child of a fork, as a text; errors are what they say."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads
        child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs ends
        try:
            text = call()
        except BaseException as exc:
            text = f"{type(exc).__name__}: {exc}"
        os.write(write, str(text).encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        text = file.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return text


@pytest.mark.parametrize(("profile", "protocols"), DEVICES)
def test_fork_in_the_middle_of_presses(share, profile, protocols):
    """The parent goes on undisturbed: a nonce used twice would end its connection."""
    with VirtualAppleTV(profile=profile, protocols=protocols) as tv, tinyatv.connect(
        tv.device
    ) as atv:  # fmt: skip
        heard, wrong, pressed = queue.SimpleQueue(), [], []
        atv.add_listener(heard.put)
        enough = threading.Event()

        def press():
            while not enough.is_set():
                try:
                    atv.menu()
                    pressed.append(1)
                except BaseException as exc:
                    wrong.append(exc)
                    return

        threads = [threading.Thread(target=press) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(share(100)):
                count = len(pressed)
                for name in ("menu", "playing", "features"):
                    text = in_child(getattr(atv, name))
                    assert text.startswith("ConnectionLost"), text
                    assert "forked" in text
                assert comes_true(lambda count=count: len(pressed) > count + 3)
        finally:
            enough.set()
            for thread in threads:
                thread.join(WAIT)
        assert wrong == []
        assert comes_true(lambda: len(tv.log) == len(pressed))
        while not heard.empty():
            assert not isinstance(heard.get(), tinyatv.Disconnected)
        atv.menu()


@pytest.mark.parametrize(("profile", "protocols"), DEVICES)
def test_a_child_connects_again(profile, protocols):
    """With the same object, beside its parent."""
    with VirtualAppleTV(profile=profile, protocols=protocols) as tv, tinyatv.connect(
        tv.device, reconnect=True
    ) as atv:  # fmt: skip
        atv.menu()

        def again():
            atv.open()
            atv.menu()
            atv.close()
            return "pressed"

        assert in_child(again) == "pressed"
        assert comes_true(lambda: tv.log == ["menu", "menu"])
        atv.menu()
        assert in_child(atv.close) == "None"  # of the parent's nothing is closed
        atv.menu()
    assert tv.log == ["menu"] * 4


def test_events_end_in_a_child():
    with VirtualAppleTV(profile="tvos14") as tv, tinyatv.connect(tv.device) as atv:
        events = atv.events()
        tv.state.update(title="Another")
        next(events)
        assert in_child(lambda: [*events]).startswith("ConnectionLost")
        tv.state.update(title="A third")
        assert next(events) is not None
        events.close()


def test_a_stream_is_over_in_a_child():
    with VirtualAppleTV(profile="tvos15") as tv, tinyatv.connect(
        tv.device
    ) as atv, atv.play_url(__file__) as stream:  # fmt: skip
        text = in_child(stream.wait)
        assert text.startswith("ConnectionLost")
        assert "forked" in text
        assert stream.playing


def test_a_fork_of_a_signal_handler_in_the_middle_of_a_press(share):
    """Whatever the press was about to do: the child does not go on with it."""
    with VirtualAppleTV(profile="tvos14", protocols=["mrp"]) as tv, tinyatv.connect(
        tv.device
    ) as atv:  # fmt: skip
        texts = []
        parent = os.getpid()
        for _ in range(share(100)):
            read, write = os.pipe()
            done = []

            def fork(*_, done=done):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    done.append(os.fork())

            before = signal.signal(signal.SIGALRM, fork)
            error = None
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.002)
                while not done:
                    atv.menu()
            except BaseException as exc:
                error = exc
            if os.getpid() != parent:
                signal.alarm(20)
                try:
                    if error is None:  # the fork came between two presses
                        atv.menu()
                except BaseException as exc:
                    error = exc
                os.write(write, f"{type(error).__name__}: {error}".encode())
                os._exit(0)
            signal.signal(signal.SIGALRM, before)
            assert error is None
            os.close(write)
            with os.fdopen(read, "rb") as file:
                texts.append(file.read().decode())
            os.waitpid(done[0], 0)
        assert all(text.startswith("ConnectionLost") and "forked" in text for text in texts), texts
        atv.menu()


def test_identifiers_and_secrets_are_made_anew():
    from tinyatv import proto
    from tinyatv.crypto import srp

    srp.prepare()
    secret = srp.HAP.drawn[0][0]
    assert in_child(lambda: srp.HAP.drawn) == "[]"
    assert srp.HAP.drawn[0][0] == secret
    mine = proto.build(proto.GENERIC, True).identifier
    theirs = in_child(lambda: proto.build(proto.GENERIC, True).identifier)
    assert len(theirs) == len(mine)
    assert theirs[:23] != mine[:23]
