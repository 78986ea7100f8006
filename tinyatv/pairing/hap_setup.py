"""HAP pair-setup: a PIN becomes keys that both ends keep. Both ends of it, without any I/O.

M1  client -> device   method, state [, flags]
M2                     state, salt, public key B             the PIN is on screen now
M3                     state, public key A, client proof
M4                     state, device proof                   a transient pairing ends here
M5                     state, sealed: identifier, long-term key, signature [, name]
M6                     state, sealed: identifier, long-term key, signature [, name and model]
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Callable

from ..crypto import chacha20poly1305, ed25519, hkdf, srp
from ..errors import PairingError, ProtocolError
from ..wire import opack, tlv8
from . import hap
from .credentials import Credentials
from .hap import Identity, Refusal, Reply, Steps

if TYPE_CHECKING:
    from .accessory import Accessory


def hap_setup(
    identity: Identity,
    pin: str | Callable[[], str],
    *,
    info: bytes = b"",
    private: bytes | None = None,
) -> Steps[Credentials]:
    """The client's end.

    Args:
        identity: Ours; the device stores it.
        pin: What the screen shows, or a function that asks for it, called once it is there.
        info: About us, for the device's list of remotes: an OPACK dictionary.
        private: Fixed private value of SRP, for tests; None draws one.

    Returns:
        What to keep.

    Raises:
        PairingError: Wrong PIN, or the device refuses.
        PairingBackOff: The device wants a pause.
        ProtocolError: The device answers with nonsense.
    """
    key = yield from _agree(lambda: checked_pin(pin if isinstance(pin, str) else pin()), private)
    sealed_with = _derive(key, "Encrypt")
    signature = identity.sign(
        _derive(key, "Controller-Sign") + identity.identifier + identity.public
    )
    mine = [
        (hap.IDENTIFIER, identity.identifier),
        (hap.PUBLIC_KEY, identity.public),
        (hap.SIGNATURE, signature),
    ]
    if info:
        mine.append((hap.NAME, info))
    sealed = chacha20poly1305.seal(sealed_with, hap.nonce("PS-Msg05"), tlv8.encode(mine))
    reply = yield tlv8.encode([(hap.STATE, b"\5"), (hap.ENCRYPTED, sealed)])

    theirs = hap.opened(hap.check(reply, 6), sealed_with, "PS-Msg06")
    device_id = hap.item(theirs, hap.IDENTIFIER, "identifier")
    device_key = hap.item(theirs, hap.PUBLIC_KEY, "public key", 32)
    signature = hap.item(theirs, hap.SIGNATURE, "signature", 64)
    signed = _derive(key, "Accessory-Sign") + device_id + device_key
    if not device_id or not ed25519.verify(device_key, signed, signature):
        raise PairingError("the device's signature is wrong: the connection may be intercepted")
    return Credentials(device_key, identity.seed, device_id, identity.identifier)


def preparation(identity: Identity) -> Callable[[], bool | None]:
    """What computes ahead for :func:`hap_setup`, while the device computes or the user types.

    It is a link's `prepare`: each call does a piece, and the one after the last returns None.
    """
    pieces = iter((srp.prepare, lambda: identity.public))

    def prepare() -> bool | None:
        piece = next(pieces, None)
        if piece is None:
            return None
        piece()
        return True

    return prepare


def hap_transient(
    password: str | None = None, *, private: bytes | None = None
) -> Steps[bytes]:  # fmt: skip
    """The client's end of a pairing without a PIN, which leaves nothing behind.

    Args:
        password: Of the device; None if it has none.
        private: Fixed private value of SRP, for tests; None draws one.

    Returns:
        The secret that the keys of the channels come from, 64 bytes.

    Raises:
        PairingError: The device has another password (``wrong_pin``), or refuses.
        PairingBackOff: The device wants a pause.
        ProtocolError: The device answers with nonsense.
    """
    word = password or hap.TRANSIENT_PIN
    return (yield from _agree(lambda: word, private, bytes([hap.TRANSIENT])))


def _agree(
    secret: Callable[[], str], private: bytes | None, flags: bytes = b""
) -> Steps[bytes]:  # fmt: skip
    """M1 to M4: agree on a key; `secret` is called once the device has answered."""
    first = [(hap.METHOD, b"\0"), (hap.STATE, b"\1")]
    if flags:
        first.append((hap.FLAGS, flags))
    items = hap.check((yield tlv8.encode(first)), 2)
    salt = hap.item(items, hap.SALT, "salt")
    public = hap.item(items, hap.PUBLIC_KEY, "public key")
    client = srp.Client(secret(), private=private)
    try:
        proof = client.respond(salt, public)
    except ValueError as exc:
        raise ProtocolError(f"pairing: {exc}") from exc
    items = hap.check(
        (yield tlv8.encode([
            (hap.STATE, b"\3"), (hap.PUBLIC_KEY, client.public), (hap.PROOF, proof),
        ])),
        4,
    )  # fmt: skip
    if not client.check(hap.item(items, hap.PROOF, "proof")):
        raise PairingError("the device does not know the PIN: the connection may be intercepted")
    return client.key


def own_info(name: str) -> bytes:
    """What the device's list of remotes shows of us: an OPACK dictionary."""
    return opack.pack({"name": name})


def checked_pin(pin: str) -> str:
    """A PIN as it is hashed: four digits.

    Raises:
        ValueError: It is no PIN.
    """
    text = pin.strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 4:
        raise ValueError("a PIN has four digits")
    return text.zfill(4)


def hap_setup_device(
    accessory: Accessory,
    owner: object,
    *,
    private: bytes | None = None,
    salt: bytes | None = None,
) -> Generator[Reply, bytes, None]:
    """The device's end; ``next()`` starts it, then it takes requests and yields replies.

    Args:
        accessory: The device's identity and its paired clients.
        owner: Who pairs: one at a time may.
        private: Fixed private value of SRP, for tests; None draws one.
        salt: Likewise.
    """
    step = 2
    try:
        request = hap.asked((yield Reply()), 1)
        if request.get(hap.METHOD) != b"\0":
            raise Refusal(hap.UNKNOWN)
        transient = bool(int.from_bytes(request.get(hap.FLAGS, b""), "little") & hap.TRANSIENT)
        pin = accessory.begin(owner, transient)
        device = srp.Device(pin, private=private, salt=salt)
        answer = [(hap.STATE, b"\2"), (hap.SALT, device.salt), (hap.PUBLIC_KEY, device.public)]
        request = hap.asked((yield Reply(tlv8.encode(answer))), 3)

        step = 4
        try:
            proof = device.check(request.get(hap.PUBLIC_KEY, b""), request.get(hap.PROOF, b""))
        except ValueError as exc:
            raise accessory.failed(transient) from exc
        reply = Reply(tlv8.encode([(hap.STATE, b"\4"), (hap.PROOF, proof)]))
        if transient:
            accessory.done(owner)
            reply.secret = device.key
        request = hap.asked((yield reply), 5)

        step = 6
        sealed_with = _derive(device.key, "Encrypt")
        theirs = hap.unsealed(request, sealed_with, "PS-Msg05")
        client_id = theirs.get(hap.IDENTIFIER, b"")
        client_key = theirs.get(hap.PUBLIC_KEY, b"")
        signed = _derive(device.key, "Controller-Sign") + client_id + client_key
        if not client_id or not ed25519.verify(client_key, signed, theirs.get(hap.SIGNATURE, b"")):
            raise Refusal(hap.AUTHENTICATION)
        accessory.remember(client_id, client_key)
        identity = accessory.identity
        signature = identity.sign(
            _derive(device.key, "Accessory-Sign") + identity.identifier + identity.public
        )
        mine = [
            (hap.IDENTIFIER, identity.identifier),
            (hap.PUBLIC_KEY, identity.public),
            (hap.SIGNATURE, signature),
        ]
        if accessory.info:
            mine.append((hap.NAME, accessory.info))
        sealed = chacha20poly1305.seal(sealed_with, hap.nonce("PS-Msg06"), tlv8.encode(mine))
        reply = Reply(tlv8.encode([(hap.STATE, b"\6"), (hap.ENCRYPTED, sealed)]))
        reply.client, reply.kept = client_id, device.key
        yield reply
    except Refusal as refusal:
        accessory.done(owner)
        yield refusal.reply(step)


def _derive(key: bytes, use: str) -> bytes:
    """One of the keys of pair-setup: ``Encrypt``, ``Controller-Sign`` or ``Accessory-Sign``."""
    return hkdf.derive(key, f"Pair-Setup-{use}-Salt", f"Pair-Setup-{use}-Info")
