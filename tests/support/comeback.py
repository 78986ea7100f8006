"""A stored device that may be away for a while, as when its power is off."""

from __future__ import annotations

import os
import random
import socket
import uuid

import tinyatv
from tests.support.program import WAIT
from tinyatv.virtual import PROFILES, VirtualAppleTV


class Comeback:
    """A device that comes back with the same identity, credentials and ports.

    Args:
        name: What it is called.
        profile: Which generation.
        there: False starts with the device away.

    Attributes:
        tv: The virtual device, as long as it is there.
    """

    def __init__(self, name: str, profile: str = "atv3", *, there: bool = True) -> None:
        ports = {protocol: quiet_port() for protocol in PROFILES[profile].protocols}
        identifier = str(uuid.uuid4()) if profile != "atv3" else os.urandom(8).hex()
        self._about = {
            "name": name, "profile": profile, "ports": ports, "identifier": identifier.upper(),
            "mdns_port": free_udp_port(),
        }  # fmt: skip
        self._log: list[str] = []
        self.tv = VirtualAppleTV(**self._about)
        self.tv.start()
        device = self.tv.device
        self._about["credentials"] = {s.credentials for s in device.services if s.credentials}
        self.tv.stop()
        tinyatv.Store().save(device)
        if there:
            self.come_back()

    def __enter__(self) -> Comeback:
        return self

    def __exit__(self, *_: object) -> None:
        self.tv.stop()

    @property
    def scan_host(self) -> str:
        """Where its own responder is, for TINYATV_SCAN_HOSTS."""
        return f"127.0.0.1:{self._about['mdns_port']}"

    @property
    def state(self):
        return self.tv.state

    @property
    def log(self) -> list[str]:
        """All commands, also of those before it went away."""
        return self._log + self.tv.log

    def leave(self) -> None:
        """The power goes off."""
        self.tv.stop()

    def come_back(self) -> None:
        """It is there again."""
        self._log = self.log
        self.tv = VirtualAppleTV(**self._about)
        self.tv.state.update(duration=100_000)
        self.tv.start()

    def wait_for(self, condition) -> bool:
        """True as soon as the condition is, False if it is not in time."""
        return self.tv.wait_for(condition, WAIT)


def quiet_port() -> int:
    """A free port that no connection gets by chance while the device is away."""
    while True:
        port = random.randrange(20_000, 32_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            pass  # taken: another one


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
