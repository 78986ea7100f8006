"""Waking a device up by its hardware address, while somebody connects to it."""

from __future__ import annotations

import logging
import socket
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Callable

from ..deadline import Deadline
from ..errors import AppleTVError, is_silence
from ..info import mac_of
from ..threads import join, start

if TYPE_CHECKING:
    from ..model import Device

log = logging.getLogger(__name__)

PORT = 9  # "discard"; whoever listens looks at the packet alone
PATIENCE = 1.0  # s that a device which is awake may take to answer
AGAIN = 3.0  # s between two packets: a device that wakes up does not hear at once
WAKE_TIMEOUT = 15.0  # s until nobody tries any more


def magic_packet(mac: str) -> bytes:
    """What wakes the device of a hardware address.

    Raises:
        ValueError: It is none.
    """
    address = mac_of(mac)
    if address is None:
        raise ValueError(f"not a hardware address: {mac!r}")
    return b"\xff" * 6 + bytes.fromhex(address.replace(":", "")) * 16


def send(mac: str, *addresses: str) -> None:
    """Send a magic packet to a network. Nobody answers it, and needs no rights.

    Args:
        mac: Hardware address of the device.
        *addresses: Where it was last. Of loopback, the packet does not leave this machine.

    Raises:
        ValueError: Not a hardware address.
    """
    packet = magic_packet(mac)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for target in dict.fromkeys(one for address in addresses for one in _targets(address)):
            try:
                sock.sendto(packet, (target, PORT))
            except OSError as exc:  # no network, or it does not take broadcasts
                log.debug("no magic packet to %s: %s", target, exc)


def _targets(address: str) -> list[str]:
    """Everybody; all neighbours, if the network is one of the usual size; and the device itself.

    The first reaches one network of this machine, and the second the right one.
    """
    parts = address.split(".")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        return ["255.255.255.255"]
    if parts[0] == "127":
        return [address]
    return ["255.255.255.255", ".".join([*parts[:3], "255"]), address]


class WakeOnLan:
    """Sends magic packets for as long as a ``with`` block takes, if it takes longer than usual.

    Nothing is sent to a device that answers at once, or whose hardware address is not known.

    Args:
        device: Whom to wake.
        at_once: True if it is known to sleep, or to be woken whether it answers or not.
        answered: Whether anything of the device has answered: then nothing more is sent.
        never: True sends nothing at all.
    """

    def __init__(
        self,
        device: Device,
        at_once: bool = False,
        *,
        answered: Callable[[], bool] = lambda: False,
        never: bool = False,
    ) -> None:
        self._mac = None if never else mac_of(device.info.mac)
        self._answered = answered
        self._address = device.address
        self._addresses = device.addresses
        self._first = 0.0 if at_once or device.deep_sleep else PATIENCE
        self._deadline = Deadline(WAKE_TIMEOUT)
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> WakeOnLan:
        if self._mac is not None:
            try:
                self._thread = start(self._run, f"tinyatv-wake-{self._address}")
            except AppleTVError as exc:
                log.info("cannot wake %s: %s", self._address, exc)
            except BaseException:  # Ctrl-C: it may run all the same
                self._done.set()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        join(self._thread, None)

    def is_worth_it(self, error: AppleTVError) -> bool:
        """Whether to try again after an error; blocks for a moment before it says yes.

        Only if nobody answered: whoever says no is awake. And not for longer than waking up takes.
        """
        if self._thread is None or self._answered() or not is_silence(error):
            return False
        return not self._deadline.over and not self._done.wait(PATIENCE)

    def _run(self) -> None:
        assert self._mac is not None, "there is no thread without it"
        pause = self._first
        while not self._done.wait(pause):
            if pause and self._answered():
                return
            pause = AGAIN
            try:
                send(self._mac, *self._addresses)
            except OSError as exc:  # no network at all
                log.info("cannot wake %s: %s", self._address, exc)
                return
            log.info("sent a magic packet to wake %s", self._address)
