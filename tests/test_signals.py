"""Signals that end a program, at whatever moment they come."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# A handler that runs while the main thread is inside wait(): thousands of signals find each moment.
SCRIPT = """
import os, signal, sys, threading
from tinyatv.cli.signals import stop_on_signals
stop = stop_on_signals()
sent = threading.Thread(target=lambda: [os.kill(os.getpid(), signal.SIGUSR1) for _ in range(5000)])
signal.signal(signal.SIGUSR1, signal.getsignal(signal.SIGTERM))
print("ready", flush=True)
sent.start()
while sent.is_alive():
    stop.wait(0)
assert stop.wait()
sent.join()
"""


def test_a_signal_in_the_middle_of_a_wait():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\n", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_is_ended(number):
    process = subprocess.Popen(
        [sys.executable, "-m", "tinyatv", "virtual", "--no-announce", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr.read() == b""
