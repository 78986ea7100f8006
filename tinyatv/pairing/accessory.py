"""What a device remembers of pairings, and the PIN on its screen: one for all its protocols."""

from __future__ import annotations

import re
import secrets
import threading
import time
from typing import Callable

from . import hap
from .hap import Identity, Refusal

DELAYS = (1, 16, 32, 64, 128, 256, 512)  # s; the pause after the n-th wrong PIN, as devices ask for
MAX_FAILURES = 100  # HomeKit Accessory Protocol: MaxTries after 100 wrong PINs


class Accessory:
    """The device's identity, its list of paired clients, and the PIN on its screen.

    Args:
        identity: Its own.
        pin: Always this PIN; None makes up a new one each time.
        show: Called with a PIN when it appears, and with None when it goes away.
        info: About it, for clients that pair: an OPACK dictionary.

    Attributes:
        clients: Public key of each client that is paired, by identifier.
        pin_shown: What is on screen now, or None.
        pairings: How often a client was stored.
        failures: Wrong PINs since the last right one.
        locked_until: Time of `clock` before which pairing is refused.
        clock: Seconds; a test may put its own here.
        back_off: False allows any number of tries, without a pause.
        max_peers: How many clients it stores.
        refuse: Code of an error to answer every pairing with, or None.
        transient: True allows pairing without a PIN.
        password: What takes the place of the PIN in that; None if it has no password.
        wrong_passwords: How often another one was given.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        pin: str | None = None,
        show: Callable[[str | None], object] | None = None,
        info: bytes = b"",
    ) -> None:
        self.identity = identity
        self.info = info
        self.clients: dict[bytes, bytes] = {}
        self.pin_shown: str | None = None
        self.pairings = 0
        self.failures = 0
        self.locked_until = 0.0
        self.clock: Callable[[], float] = time.monotonic
        self.back_off = True
        self.max_peers = 16
        self.refuse: int | None = None
        self.transient = False
        self.password: str | None = None
        self.wrong_passwords = 0
        self.use_pin(pin)
        self._show = show
        self._owner: object = None
        self._early: str | None = None
        self._lock = threading.Lock()

    def use_pin(self, pin: str | None) -> None:
        """From now on, show this PIN, or with None a new one each time.

        Raises:
            ValueError: It has not four digits.
        """
        if pin is not None and not re.fullmatch(r"[0-9]{4}", pin):
            raise ValueError(f"a PIN has four digits, not {pin!r}")
        self._pin = pin

    def begin(self, owner: object, transient: bool, *, early: bool = False) -> str:
        """A client wants to pair: show a PIN and return it.

        Args:
            owner: The connection that pairs. If its attribute `hides_pin` is true, the PIN is not
                shown.
            transient: True to do without a PIN.
            early: True if the handshake comes later; it will be about the same PIN.

        Raises:
            Refusal: Not now.
        """
        if self.refuse is not None:
            raise Refusal(self.refuse)
        if transient:
            if not self.transient:
                raise Refusal(hap.UNAVAILABLE)
            return self.password or hap.TRANSIENT_PIN
        if len(self.clients) >= self.max_peers:
            raise Refusal(hap.MAX_PEERS)
        if self.failures >= MAX_FAILURES:
            raise Refusal(hap.MAX_TRIES)
        left = self.locked_until - self.clock()
        if left > 0:
            raise Refusal(hap.BACK_OFF, int(left) + 1)
        with self._lock:
            if self._owner not in (None, owner):
                raise Refusal(hap.BUSY)
            self._owner = owner
            pin = self._early or self._pin or f"{secrets.randbelow(10000):04}"
            shown = self.pin_shown is not None and self._early is not None
            self._early = pin if early else None
        if not shown and not getattr(owner, "hides_pin", False):
            self._on_screen(pin)
        return pin

    def failed(self, transient: bool = False) -> Refusal:
        """A PIN was wrong, or with `transient` the password; returns what to answer.

        The pause after a wrong PIN keeps people from trying all 10,000; a password needs none.
        """
        if transient:
            self.wrong_passwords += 1
            return Refusal(hap.AUTHENTICATION)
        self.failures += 1
        if not self.back_off:
            return Refusal(hap.AUTHENTICATION)
        delay = DELAYS[min(self.failures, len(DELAYS)) - 1]
        self.locked_until = self.clock() + delay
        return Refusal(hap.AUTHENTICATION, delay)

    def remember(self, client_id: bytes, key: bytes) -> None:
        """Store a client; one that is known gets the new key."""
        self.failures = 0
        self.clients[client_id] = key
        self.pairings += 1

    def done(self, owner: object) -> None:
        """`owner` is verified, has failed, or is gone: take its PIN off the screen."""
        with self._lock:
            if self._owner is not owner:
                return
            self._owner = self._early = None
        self._on_screen(None)

    def _on_screen(self, pin: str | None) -> None:
        self.pin_shown = pin
        if self._show is not None:
            self._show(pin)
