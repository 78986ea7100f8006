"""Ctrl-C at any moment: nothing is left, no key stays down, and the next connection works."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import tinyatv
from tests.support.life import comes_true, descriptors, interrupt, nothing_is_left, pressed
from tinyatv.virtual import VirtualAppleTV

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="signals come from a timer"
)

WAIT = 30.0  # s; a deadline for things that take milliseconds
PROFILES = ["atv3", "tvos14", "tvos18"]
HOLDS = [  # profile, protocol, what holds something down
    ("atv3", "dmap", lambda atv: atv.up(hold=60)),
    ("tvos14", "mrp", lambda atv: atv.up(hold=60)),
    ("tvos14", "companion", lambda atv: atv.up(hold=60)),
    ("tvos14", "companion", lambda atv: atv.click(hold=60)),
    ("tvos14", "companion", lambda atv: atv.swipe(0, 0, 1000, 1000, 60)),
    ("tvos18", None, lambda atv: atv.select(hold=60)),
]


@pytest.fixture(params=PROFILES)
def tv(request):
    with VirtualAppleTV(profile=request.param) as tv:
        yield tv


@pytest.fixture
def numbers(request):
    """Random numbers; the seed is shown if a test fails."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    return random.Random(seed)


def works(tv):
    """A connection of its own, and a press on it."""
    seen = len(tv.log)
    with tinyatv.connect(tv.device) as atv:
        atv.menu()
    assert tv.wait_for(lambda: len(tv.log) > seen)


def duration(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_interrupted_while_connecting(tv, share, numbers):
    works(tv)
    open_before = descriptors()
    takes = duration(lambda: works(tv))
    for _ in range(share(100)):
        interrupt(lambda: works(tv), numbers.uniform(0, takes * 1.2))
        nothing_is_left(tv, open_before)
    works(tv)
    nothing_is_left(tv, open_before)


def test_interrupted_in_the_middle_of_commands(tv, share, numbers):
    """The connection goes on, or says that it was interrupted; the device is well either way."""
    works(tv)
    open_before = descriptors()

    def press(atv):
        for _ in range(50):
            atv.menu()
            atv.playing()

    for _ in range(share(100)):
        with tinyatv.connect(tv.device) as atv:
            takes = duration(lambda atv=atv: press(atv))
            interrupt(lambda atv=atv: press(atv), numbers.uniform(0, takes))
            try:
                atv.menu()
            except tinyatv.ConnectionLost as exc:
                assert "interrupted" in str(exc)  # noqa: PT017
        nothing_is_left(tv, open_before)
    works(tv)


@pytest.mark.parametrize(("profile", "protocol", "hold"), HOLDS)
def test_interrupted_while_a_key_is_down(share, numbers, profile, protocol, hold):
    protocols = None if protocol is None else [protocol]
    with VirtualAppleTV(profile=profile, protocols=protocols) as tv:
        works(tv)
        open_before = descriptors()
        main = threading.get_ident()

        def ctrl_c():
            comes_true(lambda: pressed(tv))
            signal.pthread_kill(main, signal.SIGINT)

        for number in range(share(100)):
            with tinyatv.connect(tv.device) as atv:
                if number % 2:  # at any moment: while it goes down, or just after
                    interrupt(lambda atv=atv: hold(atv), numbers.uniform(0, 0.02))
                else:
                    other = threading.Thread(target=ctrl_c)
                    other.start()
                    with pytest.raises(KeyboardInterrupt):
                        hold(atv)
                    other.join()
                assert comes_true(lambda: not pressed(tv)), "a key is still down"
            nothing_is_left(tv, open_before)
        works(tv)


@pytest.mark.parametrize(("profile", "protocol", "hold"), HOLDS)
def test_closed_while_a_key_is_down(profile, protocol, hold):
    protocols = None if protocol is None else [protocol]
    with VirtualAppleTV(profile=profile, protocols=protocols) as tv:
        errors = []

        def press():
            try:
                hold(atv)
            except tinyatv.AppleTVError as exc:
                errors.append(exc)

        with tinyatv.connect(tv.device) as atv:
            thread = threading.Thread(target=press)
            thread.start()
            assert comes_true(lambda: pressed(tv))
        thread.join(WAIT)
        assert comes_true(lambda: not pressed(tv))
        assert isinstance(errors[0], tinyatv.ConnectionLost)


def test_interrupted_while_closing(tv, share, numbers):
    """A second close() does what the first one could not."""
    works(tv)
    open_before = descriptors()
    for number in range(share(100)):
        atv = tinyatv.connect(tv.device, reconnect=bool(number % 2))
        atv.add_listener(print)
        atv.menu()
        takes = 0.005
        interrupt(atv.close, numbers.uniform(0, takes))
        atv.close()
        nothing_is_left(tv, open_before)
        with pytest.raises(tinyatv.ConnectionLost):
            atv.menu()
    works(tv)


def test_a_process_that_is_interrupted_ends():
    """Nobody waits for threads that still connect to a device which does not answer."""
    script = (
        "import sys, tinyatv\n"
        "from tinyatv import Device, Service\n"
        "print('ready', flush=True)\n"
        "services = [Service(one, int(sys.argv[1])) for one in ('mrp', 'airplay')]\n"
        "tinyatv.AppleTV(Device('Den', '127.0.0.1', services), timeout=60).open()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-c", script, port],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        with process:
            assert process.stdout.readline() == b"ready\n"
            silent.settimeout(WAIT)
            taken = silent.accept()
            process.send_signal(signal.SIGINT)
            try:
                _, error = process.communicate(timeout=WAIT / 3)
            finally:
                process.kill()
            taken[0].close()
        assert b"KeyboardInterrupt" in error


def test_a_signal_handler_that_presses(tv):
    """In the middle of a press of its own thread: it works, or an error says why not, at once."""
    done, wrong = [], []
    with tinyatv.connect(tv.device) as atv:

        def handler(*_):
            for press in (atv.menu, atv.up, atv.play):
                try:
                    press()
                    done.append(press)
                except tinyatv.CommandTimeout as exc:
                    wrong.append(exc)
                except tinyatv.AppleTVError as exc:
                    done.append(exc)

        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0031)
            until = time.monotonic() + WAIT
            while len(done) < 100 and time.monotonic() < until:
                atv.menu()
                atv.select(hold=0.002)
                atv.pause()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert not wrong
        assert len(done) >= 100
        texts = {str(one) for one in done if isinstance(one, tinyatv.AppleTVError)}
        assert all("signal handler" in text for text in texts), texts
        atv.menu()
    assert not pressed(tv)
