"""Keys of input devices: USB keyboards, infrared receivers, remotes. Linux has one format for all.

    +-----------------+---------------------+-------------+-------------+---------------------+
    | seconds: long   | microseconds: long  | type: 2     | code: 2     | value: 4, signed    |
    +-----------------+---------------------+-------------+-------------+---------------------+

24 bytes, 16 on 32-bit systems. Type 1 is a key; value 1 is down, 0 up, 2 the keyboard's repetition.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import threading
from typing import Callable

log = logging.getLogger(__name__)

EVENT = struct.Struct("llHHi")
EV_KEY = 1
REPETITION = 2
EVIOCGRAB = 0x40044590
AGAIN = 0.5  # s until a device that is not there is looked for again

Handler = Callable[[int, bool], object]


class InputDevice:
    """Reads one device, on a thread of its own, and again whenever it comes back.

    Args:
        path: ``/dev/input/by-id/...``, which stays the same.
        handler: Called with the number of each key, and True if it goes down; on the thread.
        grab: Whether nothing else is to get the keys.
        changed: Called with a text when it appears or vanishes.
    """

    def __init__(
        self, path: str, handler: Handler, *, grab: bool = False,
        changed: Callable[[str], object] = log.info,
    ) -> None:  # fmt: skip
        self._path = path
        self._handler = handler
        self._grab = grab
        self._changed = changed
        self._stop, self._stopped = socket.socketpair()
        self._down: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="tinyatv-keys", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def close(self) -> None:
        """End the thread. Blocks for a moment."""
        self._stop.close()
        if self._thread.is_alive():
            self._thread.join(5)
        self._stopped.close()

    def _run(self) -> None:
        missing = False
        while True:
            try:
                device = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as exc:
                if not missing:
                    self._changed(f"{self._path}: {exc.strerror}; waiting for it")
                missing = True
            else:
                if missing:
                    self._changed(f"{self._path}: it is there")
                try:
                    if self._grab:
                        self._grab_it(device)
                    if not self._read(device):
                        return
                finally:
                    os.close(device)
                for number in sorted(self._down):  # nobody holds what has vanished
                    self._handle(number, False)
                self._changed(f"{self._path}: it has gone; waiting for it")
                missing = True
            if select.select([self._stopped], [], [], AGAIN)[0]:
                return

    def _grab_it(self, device: int) -> None:
        import fcntl

        try:
            fcntl.ioctl(device, EVIOCGRAB, 1)
        except OSError as exc:
            self._changed(f"{self._path}: its keys reach others, too: {exc.strerror}")

    def _read(self, device: int) -> bool:
        """Read until it has gone (True), or until we are closed (False)."""
        data = b""
        while True:
            ready, _, _ = select.select([device, self._stopped.fileno()], [], [])
            if self._stopped.fileno() in ready:
                return False
            try:
                piece = os.read(device, 64 * EVENT.size)
            except BlockingIOError:
                continue
            except OSError as exc:  # ENODEV: pulled out
                log.debug("%s: %s", self._path, exc)
                return True
            if not piece:
                return True
            data += piece
            while len(data) >= EVENT.size:
                _, _, kind, code, value = EVENT.unpack(data[: EVENT.size])
                data = data[EVENT.size :]
                if kind == EV_KEY and value != REPETITION:
                    self._handle(code, bool(value))

    def _handle(self, number: int, down: bool) -> None:
        if down:
            self._down.add(number)
        else:
            self._down.discard(number)
        self._handler(number, down)
