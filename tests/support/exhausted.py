"""A process with next to no room: 20 threads press, and a listener counts what comes back.

Usage: exhausted.py SECONDS, with a pickled device on the standard input. It prints a line for each
thing that happens, and ends when its input does.
"""

from __future__ import annotations

import pickle
import random
import resource
import sys
import threading

import tinyatv
import tinyatv.session

PRESSERS = 20
DESCRIPTORS = 32
REFUSED = 0.3  # of all threads that are to be started

tinyatv.session.PAUSES = (0.01, 0.05)
saying = threading.Lock()


def say(*words):
    with saying:
        print(*words, flush=True)


def main():
    device = pickle.load(sys.stdin.buffer)
    start = threading.Thread.start

    def sometimes(self):
        if random.random() < REFUSED and "main" not in self.name:
            raise RuntimeError("can't start new thread")
        start(self)

    atv = tinyatv.connect(device, reconnect=True)
    back = threading.Event()
    enough = threading.Event()

    def heard(event):
        if isinstance(event, tinyatv.Reconnected):
            back.set()
        say(type(event).__name__)

    def press():
        while not enough.is_set():
            try:
                atv.menu()
                if back.is_set():
                    back.clear()
                    say("pressed")
            except tinyatv.AppleTVError:
                enough.wait(0.002)
            except BaseException as exc:
                say("wrong", repr(exc))
                return

    atv.add_listener(heard)
    atv.menu()
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    threads = [threading.Thread(target=press) for _ in range(PRESSERS)]
    for thread in threads:
        thread.start()
    threading.Thread.start = sometimes
    say("ready")
    sys.stdin.buffer.read()
    enough.set()
    for thread in threads:
        thread.join(30)
    atv.close()
    left = [one.name for one in threading.enumerate() if one.name.startswith("tinyatv")]
    say("closed", len(left), *left)


if __name__ == "__main__":
    main()
