"""HAP pair-verify: both ends prove who they are and agree on a secret, on every new connection.

M1  client -> device   state, ephemeral key
M2                     state, ephemeral key, sealed: identifier, signature
M3                     state, sealed: identifier, signature
M4                     state, in clear; everything after it is encrypted
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from ..crypto import chacha20poly1305, curve25519, ed25519, hkdf
from ..errors import CredentialsError, ProtocolError
from ..wire import tlv8
from . import hap
from .credentials import Credentials
from .hap import Identity, Refusal, Reply, Steps

if TYPE_CHECKING:
    from .accessory import Accessory


def hap_verify(credentials: Credentials, *, private: bytes | None = None) -> Steps[bytes]:
    """The client's end.

    Args:
        credentials: What pair-setup gave.
        private: Fixed ephemeral key, for tests; None draws one.

    Returns:
        The secret that the keys of the channels come from, 32 bytes.

    Raises:
        CredentialsError: Another device than the one that was paired, or one that forgot us.
        ProtocolError: The device answers with nonsense.
    """
    mine, public = _ephemeral(private)
    first = tlv8.encode([(hap.STATE, b"\1"), (hap.PUBLIC_KEY, public)])
    items = hap.check((yield first), 2, verifying=True)
    their_public = hap.item(items, hap.PUBLIC_KEY, "public key", 32)
    try:
        secret = curve25519.shared(mine, their_public)
    except ValueError as exc:
        raise ProtocolError(f"pairing: {exc}") from exc
    sealed_with = _derive(secret)
    theirs = hap.opened(items, sealed_with, "PV-Msg02")
    device_id = hap.item(theirs, hap.IDENTIFIER, "identifier")
    signature = hap.item(theirs, hap.SIGNATURE, "signature", 64)
    signed = their_public + device_id + public
    if device_id != credentials.device_id or not ed25519.verify(
        credentials.device_key, signed, signature
    ):
        text = "this is not the device that was paired: pair again"
        raise CredentialsError(text, refused=True)

    identity = Identity(credentials.client_id, credentials.seed)
    sealed = chacha20poly1305.seal(
        sealed_with, hap.nonce("PV-Msg03"), _introduction(identity, public, their_public)
    )
    reply = yield tlv8.encode([(hap.STATE, b"\3"), (hap.ENCRYPTED, sealed)])
    hap.check(reply, 4, verifying=True)  # a device that forgot us says so here, and only here
    return secret


def hap_verify_device(
    accessory: Accessory, *, private: bytes | None = None
) -> Generator[Reply, bytes, None]:
    """The device's end; ``next()`` starts it, then it takes requests and yields replies."""
    step = 2
    try:
        request = hap.asked((yield Reply()), 1)
        their_public = request.get(hap.PUBLIC_KEY, b"")
        mine, public = _ephemeral(private)
        try:
            secret = curve25519.shared(mine, their_public)
        except ValueError as exc:
            raise Refusal(hap.UNKNOWN) from exc
        sealed_with = _derive(secret)
        sealed = chacha20poly1305.seal(
            sealed_with,
            hap.nonce("PV-Msg02"),
            _introduction(accessory.identity, public, their_public),
        )
        answer = [(hap.STATE, b"\2"), (hap.PUBLIC_KEY, public), (hap.ENCRYPTED, sealed)]
        request = hap.asked((yield Reply(tlv8.encode(answer))), 3)

        step = 4
        theirs = hap.unsealed(request, sealed_with, "PV-Msg03")
        client_id = theirs.get(hap.IDENTIFIER, b"")
        key = accessory.clients.get(client_id)
        signed = their_public + client_id + public
        if key is None or not ed25519.verify(key, signed, theirs.get(hap.SIGNATURE, b"")):
            raise Refusal(hap.AUTHENTICATION)
        reply = Reply(tlv8.encode([(hap.STATE, b"\4")]))
        reply.secret, reply.client = secret, client_id
        yield reply
    except Refusal as refusal:
        yield refusal.reply(step)


def _introduction(identity: Identity, public: bytes, their_public: bytes) -> bytes:
    """Who an end is, and its proof."""
    signature = identity.sign(public + identity.identifier + their_public)
    return tlv8.encode([(hap.IDENTIFIER, identity.identifier), (hap.SIGNATURE, signature)])


def _ephemeral(private: bytes | None) -> tuple[bytes, bytes]:
    if private is None:
        return curve25519.generate()
    return private, curve25519.public(private)


def _derive(secret: bytes) -> bytes:
    return hkdf.derive(secret, "Pair-Verify-Encrypt-Salt", "Pair-Verify-Encrypt-Info")
