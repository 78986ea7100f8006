"""What the HAP handshakes have in common: items, errors, identities, and the keys they give."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Generator
from typing import Callable, TypeVar

from ..crypto import chacha20poly1305, ed25519, hkdf
from ..errors import CredentialsError, PairingBackOff, PairingError, ProtocolError
from ..wire import tlv8

Result = TypeVar("Result")
Steps = Generator[bytes, bytes, Result]  # yields requests, takes replies

METHOD, IDENTIFIER, SALT, PUBLIC_KEY, PROOF, ENCRYPTED, STATE, ERROR, RETRY_DELAY = range(9)
SIGNATURE, NAME, FLAGS = 0x0A, 0x11, 0x13

UNKNOWN, AUTHENTICATION, BACK_OFF, MAX_PEERS, MAX_TRIES, UNAVAILABLE, BUSY = range(1, 8)

TRANSIENT = 0x10  # bit 4 of the flags: no PIN to type, no keys to keep
TRANSIENT_PIN = "3939"  # the same for all devices; speakers with a password take that instead

WRONG_PIN = "wrong PIN: start again, a new one will be shown"

CHANNELS = {  # channel: salt, info of client to device, info of device to client
    "mrp": (
        "MediaRemote-Salt",
        "MediaRemote-Write-Encryption-Key",
        "MediaRemote-Read-Encryption-Key",
    ),
    "control": ("Control-Salt", "Control-Write-Encryption-Key", "Control-Read-Encryption-Key"),
    # The other way round: there the device sends the requests.
    "events": ("Events-Salt", "Events-Read-Encryption-Key", "Events-Write-Encryption-Key"),
    "datastream": (
        "DataStream-Salt",
        "DataStream-Output-Encryption-Key",
        "DataStream-Input-Encryption-Key",
    ),
    "companion": ("", "ClientEncrypt-main", "ServerEncrypt-main"),
}


def channel_keys(secret: bytes, channel: str, seed: int | None = None) -> tuple[bytes, bytes]:
    """The keys of a channel.

    Args:
        secret: What the handshake gave.
        channel: One of ``CHANNELS``.
        seed: Of a data stream; a negative one is the same number, read as signed.

    Returns:
        The client's key and the device's: each encrypts what that end sends.
    """
    salt, to_device, to_client = CHANNELS[channel]
    if seed is not None:
        salt += str(seed % (1 << 64))
    return hkdf.derive(secret, salt, to_device), hkdf.derive(secret, salt, to_client)


def own_mac(client_id: bytes) -> str:
    """A hardware address that stays the same for an identity; locally administered (IEEE 802)."""
    digest = hashlib.sha256(client_id or os.urandom(16)).digest()
    return ":".join(f"{byte:02X}" for byte in (digest[0] & 0xFC | 2, *digest[1:6]))


class Identity:
    """Who an end is, permanently: an identifier, and the key that it signs with.

    Attributes:
        identifier: Its bytes, as they are signed and stored; by custom the text of a UUID.
        seed: The private key, 32 bytes.
    """

    __slots__ = ("_public", "identifier", "seed")

    def __init__(self, identifier: bytes, seed: bytes | None = None) -> None:
        self.identifier = identifier
        self.seed = secrets.token_bytes(32) if seed is None else seed
        self._public: bytes | None = None

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes; computed when it is asked for."""
        if self._public is None:
            self._public = ed25519.public(self.seed)
        return self._public

    def __repr__(self) -> str:
        return f"Identity({self.identifier!r})"

    def sign(self, message: bytes) -> bytes:
        """Sign a message: 64 bytes."""
        return ed25519.sign(self.seed, message)


class Reply(bytes):
    """What the device answers. The last one of a handshake carries what the handshake gave.

    Attributes:
        secret: Where the keys of the channels come from; None until the client is verified.
        client: The client's identifier; None until it is verified, or has paired.
        kept: What a pairing with a PIN agreed on: a client of Companion may go on with that instead
            of verifying itself. None for all other replies.
    """

    secret: bytes | None = None
    client: bytes | None = None
    kept: bytes | None = None


def drive(steps: Steps[Result], exchange: Callable[[bytes], bytes]) -> Result:
    """Run a client's handshake; every request it yields goes through `exchange`.

    A refusal that `exchange` raises is raised where the request was made, which knows best what it
    means.
    """
    request = next(steps)
    while True:
        try:
            try:
                reply = exchange(request)
            except CredentialsError as exc:
                request = steps.throw(exc)
            else:
                request = steps.send(reply)
        except StopIteration as done:
            result: Result = done.value
            return result


def nonce(name: str) -> bytes:
    """The nonce of a sealed item: ``PS-Msg05`` and its like."""
    return bytes(4) + name.encode()


def read(data: bytes) -> dict[int, bytes]:
    """The items of a message by tag.

    Raises:
        ValueError: Malformed.
    """
    return dict(tlv8.decode(data))


def check(data: bytes, step: int, verifying: bool = False) -> dict[int, bytes]:
    """Read a message of the device: the answer that was expected, or an error.

    Args:
        data: The message.
        step: Its number: 2 for M2.
        verifying: True in pair-verify, where a refusal means that the credentials are not
            accepted any more.

    Raises:
        PairingBackOff: Too many tries; says how long to wait.
        PairingError: The device refuses.
        CredentialsError: It refuses, and `verifying`.
        ProtocolError: Malformed, or another step.
    """
    try:
        items = read(data)
    except ValueError as exc:
        raise ProtocolError(f"pairing: {exc}", data) from exc
    if ERROR in items:
        raise refused(int.from_bytes(items[ERROR][:4], "little"), items, step, verifying)
    if items.get(STATE) != bytes([step]):
        state = items.get(STATE, b"").hex() or "none"
        raise ProtocolError(f"pairing: step {state} instead of {step:02}", data)
    return items


def item(items: dict[int, bytes], tag: int, what: str, length: int | None = None) -> bytes:
    """An item that must be there.

    Raises:
        ProtocolError: It is not, or of another length.
    """
    value = items.get(tag)
    if value is None:
        raise ProtocolError(f"pairing: the answer has no {what}")
    if length is not None and len(value) != length:
        raise ProtocolError(f"pairing: {what} has {len(value)} bytes, not {length}")
    return value


def opened(items: dict[int, bytes], key: bytes, name: str) -> dict[int, bytes]:
    """The items inside the sealed one of a message of the device.

    Raises:
        ProtocolError: It is not there, or was not sealed with this key.
    """
    sealed = item(items, ENCRYPTED, "sealed item")
    try:
        return read(chacha20poly1305.open(key, nonce(name), sealed))
    except ValueError as exc:
        raise ProtocolError(f"pairing: {name}: {exc}") from exc


def refused(
    code: int, items: dict[int, bytes], step: int, verifying: bool
) -> PairingError | CredentialsError:
    """The exception for an error code, with advice for the user."""
    delay = items.get(RETRY_DELAY)
    seconds = float(int.from_bytes(delay[:8], "little")) if delay else None
    if code == BACK_OFF:
        wait = f"{seconds:g} s" if seconds else "a while"
        return PairingBackOff(
            f"too many tries: the device wants a pause; try again in {wait},"
            " or restart it and try again",
            seconds,
        )
    if verifying:
        if code == AUTHENTICATION:
            return CredentialsError(
                "the device does not accept the credentials any more: pair again", refused=True
            )
        text = f"the device refuses to verify the credentials (error {code})"
        return CredentialsError(text, refused=True)
    if code == AUTHENTICATION and step == 4:
        wait = f"; the device wants a pause of {seconds:g} s first" if seconds else ""
        return PairingError(f"{WRONG_PIN}{wait}", seconds, wrong_pin=True)
    text = {
        AUTHENTICATION: "the device does not trust our signature",
        MAX_PEERS: "the device stores no more remotes: remove one in Settings > Remotes and Devices"
        " > Remote App and Devices",
        MAX_TRIES: "the device refuses every further try: restart it, and if that does not help,"
        " reset it",
        UNAVAILABLE: "the device does not allow pairing: allow it in its settings",
        BUSY: "the device is being paired by another remote: try again in a minute",
    }.get(code, f"the device refuses (error {code})")
    return PairingError(text)


# -- the device's end ------------------------------------------------------------------------------


class Refusal(Exception):
    """The device says no.

    Args:
        code: Which error.
        delay: Seconds that it wants to be left alone, or None.
    """

    def __init__(self, code: int, delay: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.delay = delay

    def reply(self, step: int) -> Reply:
        """The message that says so."""
        items = [(STATE, bytes([step])), (ERROR, bytes([self.code]))]
        if self.delay is not None:
            items.append((RETRY_DELAY, self.delay.to_bytes(2, "little")))
        return Reply(tlv8.encode(items))


def asked(data: bytes, step: int) -> dict[int, bytes]:
    """Read a message of the client: the step that was expected.

    Raises:
        Refusal: Malformed, or another step.
    """
    try:
        items = read(data)
    except ValueError as exc:
        raise Refusal(UNKNOWN) from exc
    if items.get(STATE) != bytes([step]):
        raise Refusal(UNKNOWN)
    return items


def unsealed(items: dict[int, bytes], key: bytes, name: str) -> dict[int, bytes]:
    """The items inside the sealed one of a message of the client.

    Raises:
        Refusal: It is not there, or was not sealed with this key.
    """
    try:
        return read(chacha20poly1305.open(key, nonce(name), items.get(ENCRYPTED, b"")))
    except ValueError as exc:
        raise Refusal(AUTHENTICATION) from exc
