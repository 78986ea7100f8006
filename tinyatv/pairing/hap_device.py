"""The handshakes of one connection to a device, the device's end."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from . import hap
from .hap import Refusal, Reply
from .hap_setup import hap_setup_device
from .hap_verify import hap_verify_device

if TYPE_CHECKING:
    from .accessory import Accessory


class Handshakes:
    """The handshakes of one connection.

    Args:
        accessory: The device.
        owner: What pairs, in the eyes of the device; None is this object.
    """

    def __init__(self, accessory: Accessory, owner: object = None) -> None:
        self._accessory = accessory
        self._owner = self if owner is None else owner
        self._steps: Generator[Reply, bytes, None] | None = None

    def answer(self, data: bytes) -> Reply:
        """Take a message of pair-setup or pair-verify and return the reply to it.

        The first message of a handshake says which one it is: it has a method, or a public key.
        """
        try:
            items = hap.read(data)
        except ValueError:
            items = {}
        if items.get(hap.STATE) == b"\1":
            verifying = hap.PUBLIC_KEY in items and hap.METHOD not in items
            self._steps = (
                hap_verify_device(self._accessory)
                if verifying
                else hap_setup_device(self._accessory, self._owner)
            )
            next(self._steps)
        try:
            if self._steps is None:
                raise StopIteration
            reply = self._steps.send(data)
        except StopIteration:  # nothing was begun, or it is over
            self._steps = None
            state = items.get(hap.STATE, b"\0")[:1] or b"\0"
            return Refusal(hap.UNKNOWN).reply(min(state[0] + 1, 255))
        if reply.secret is not None:
            self._accessory.done(self._owner)
        return reply

    def close(self) -> None:
        """The connection is gone."""
        self._accessory.done(self._owner)
