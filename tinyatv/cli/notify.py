"""What systemd wants to hear from a service of ``Type=notify``: nothing outside of one."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def notify(text: str) -> None:
    """Send ``READY=1``, ``STATUS=...``, ``RELOADING=1``, ``WATCHDOG=1`` or ``STOPPING=1``."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.sendall(text.encode())
    except OSError:
        pass  # a status is not worth failing for


@contextlib.contextmanager
def running(status: str) -> Iterator[None]:
    """Say that the service is ready, that it is alive, and at the end that it is stopping."""
    done = threading.Event()
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())

    def beat(pause: float) -> None:
        while not done.wait(pause):
            notify("WATCHDOG=1")

    thread = None
    if microseconds.isdecimal() and ours:
        pause = int(microseconds) / 2_000_000
        thread = threading.Thread(target=beat, args=(pause,), name="tinyatv-alive", daemon=True)
        thread.start()
    notify(f"READY=1\nSTATUS={status}")
    try:
        yield
    finally:
        notify("STOPPING=1")
        done.set()
        if thread is not None:
            thread.join()
