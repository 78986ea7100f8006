"""Device authentication of AirPlay 1: a PIN makes the device remember our key. Both ends of it.

setup, binary property lists to /pair-setup-pin

    client -> device   method, user            the PIN is on screen now
                       pk = A, proof           pk = B, salt  <- device
                       epk, authTag            proof
                                               epk, authTag

verify, raw bytes to /pair-verify, on every new connection

    client -> device   1, 0, 0, 0 | ephemeral key: 32 | long-term key: 32
                       0, 0, 0, 0 | signature: 64      ephemeral key: 32 | signature: 64  <- device
                                                       nothing

``epk`` is a long-term key, encrypted; both signatures are, too. No keys for a channel come of it:
the connection stays in clear.
"""

from __future__ import annotations

from collections.abc import Generator
from hashlib import sha512
from typing import TYPE_CHECKING, Any, Callable

from ..crypto import aes, curve25519, ed25519, srp
from ..errors import CredentialsError, PairingError, ProtocolError
from ..wire import plist
from . import hap
from .credentials import Credentials
from .hap import WRONG_PIN, Identity, Refusal, Reply, Steps
from .hap_setup import checked_pin

if TYPE_CHECKING:
    from .accessory import Accessory

FIRST = b"\1\0\0\0"  # of verify
SECOND = b"\0\0\0\0"
CLIENT_IV, DEVICE_IV = 1, 2  # what the last byte of the IV is raised by


def legacy_setup(
    client_id: bytes,
    pin: str | Callable[[], str],
    seed: bytes | None = None,
    *,
    device_key: bytes | None = None,
    private: bytes | None = None,
) -> Steps[Credentials]:
    """The client's end of setup.

    Args:
        client_id: Our identifier, by custom 8 bytes.
        pin: What the screen shows, or a function that asks for it, called once it is there.
        seed: Our private key, 32 bytes; None draws one.
        device_key: The device's public key, if its TXT record has one (``pk``); to be checked.
        private: Fixed private value of SRP, for tests; None draws one.

    Returns:
        What to keep.

    Raises:
        PairingError: Wrong PIN, or the device does not know it, or is another one.
        ProtocolError: The device answers with nonsense.
    """
    identity = Identity(client_id, seed)
    user = client_id.hex().upper()
    reply = _read((yield plist.dumps({"method": "pin", "user": user})))
    salt, public = _item(reply, "salt"), _item(reply, "pk")
    pin = checked_pin(pin if isinstance(pin, str) else pin())
    client = srp.Client(pin, user, srp.LEGACY, private)
    try:
        proof = client.respond(salt, public)
    except ValueError as exc:
        raise ProtocolError(f"pairing: {exc}") from exc

    try:
        reply = _read((yield plist.dumps({"pk": client.public, "proof": proof})))
    except CredentialsError as exc:  # status 470, as for everything else that it refuses
        raise PairingError(WRONG_PIN, wrong_pin=True) from exc
    if not client.check(_item(reply, "proof")):
        raise PairingError("the device does not know the PIN: the connection may be intercepted")

    reply = _read((yield plist.dumps(_sealed(client.key, CLIENT_IV, identity.public))))
    try:
        theirs = _opened(client.key, DEVICE_IV, _item(reply, "epk"), _item(reply, "authTag"))
    except ValueError as exc:
        raise ProtocolError(f"pairing: the device's key: {exc}") from exc
    if len(theirs) != 32 or device_key not in (None, theirs):
        raise PairingError("the device's key is not the one that it announces")
    return Credentials(seed=identity.seed, client_id=client_id)


def legacy_verify(
    credentials: Credentials,
    *,
    device_key: bytes | None = None,
    private: bytes | None = None,
) -> Steps[None]:
    """The client's end of verify.

    Args:
        credentials: What setup gave.
        device_key: The device's public key, if its TXT record has one (``pk``). Without it, the
            device is not authenticated.
        private: Fixed ephemeral key, for tests; None draws one.

    Raises:
        CredentialsError: Another device than the one of that key.
        ProtocolError: The device answers with nonsense.
    """
    identity = Identity(credentials.client_id, credentials.seed)
    mine, public = _ephemeral(private)
    reply = yield FIRST + public + identity.public
    if len(reply) != 96:
        raise ProtocolError(f"pairing: an answer of {len(reply)} bytes, not 96", reply)
    their_public, signature = reply[:32], reply[32:]
    try:
        stream = _stream(curve25519.shared(mine, their_public))
    except ValueError as exc:
        raise ProtocolError(f"pairing: {exc}") from exc
    signature = stream.xor(signature)
    if device_key is not None and not ed25519.verify(device_key, their_public + public, signature):
        text = "this is not the device that announced itself here"
        raise CredentialsError(text, refused=True)
    yield SECOND + stream.xor(identity.sign(public + their_public))


def legacy_setup_device(
    accessory: Accessory,
    owner: object,
    *,
    private: bytes | None = None,
    salt: bytes | None = None,
) -> Generator[Reply, bytes, None]:
    """The device's end of setup; ``next()`` starts it, then it takes requests and yields replies.

    A client is remembered by its public key, which is all that it will show. The last reply has it
    as ``client``.

    Args:
        accessory: The device's identity and its paired clients.
        owner: The connection that pairs: one at a time may.
        private: Fixed private value of SRP, for tests; None draws one.
        salt: Likewise.

    Raises:
        Refusal: Its code is ``hap.UNKNOWN`` for nonsense (HTTP 400); anything else is for the
            client as status 470.
    """
    try:
        request = _asked((yield Reply()), method=str, user=str)
        if request["method"] != "pin":
            raise Refusal(hap.UNKNOWN)
        pin = accessory.begin(owner, False)
        device = srp.Device(pin, request["user"], srp.LEGACY, private, salt)
        answer = {"pk": device.public, "salt": device.salt}
        request = _asked((yield Reply(plist.dumps(answer))), pk=bytes, proof=bytes)
        try:
            proof = device.check(request["pk"], request["proof"])
        except ValueError as exc:
            raise accessory.failed() from exc
        request = _asked((yield Reply(plist.dumps({"proof": proof}))), epk=bytes, authTag=bytes)
        try:
            client_key = _opened(device.key, CLIENT_IV, request["epk"], request["authTag"])
        except ValueError as exc:
            raise Refusal(hap.AUTHENTICATION) from exc
        if len(client_key) != 32:
            raise Refusal(hap.AUTHENTICATION)
        accessory.remember(client_key, client_key)
        reply = Reply(plist.dumps(_sealed(device.key, DEVICE_IV, accessory.identity.public)))
        reply.client = client_key
    except Refusal:
        accessory.done(owner)
        raise
    accessory.done(owner)
    yield reply


def legacy_verify_device(
    accessory: Accessory, *, private: bytes | None = None
) -> Generator[Reply, bytes, None]:
    """The device's end of verify; ``next()`` starts it, then it takes requests and yields replies.

    The last reply is empty and has the client's public key as ``client``.

    Raises:
        Refusal: Its code is ``hap.UNKNOWN`` for nonsense (HTTP 400), ``hap.AUTHENTICATION`` for
            an unknown client (403).
    """
    request = yield Reply()
    if len(request) != 68 or request[:4] != FIRST:
        raise Refusal(hap.UNKNOWN)
    their_public, client_key = request[4:36], request[36:]
    if client_key not in accessory.clients:
        raise Refusal(hap.AUTHENTICATION)
    mine, public = _ephemeral(private)
    try:
        stream = _stream(curve25519.shared(mine, their_public))
    except ValueError as exc:
        raise Refusal(hap.UNKNOWN) from exc
    request = yield Reply(public + stream.xor(accessory.identity.sign(public + their_public)))
    if len(request) != 68 or request[:4] != SECOND:
        raise Refusal(hap.UNKNOWN)
    if not ed25519.verify(client_key, their_public + public, stream.xor(request[4:])):
        raise Refusal(hap.AUTHENTICATION)
    reply = Reply()
    reply.client = client_key
    yield reply


class LegacyHandshakes:
    """The handshakes of one connection, the device's end.

    Args:
        accessory: The device.
        owner: What pairs, in the eyes of the device; None is this object.

    Attributes:
        client: Public key of the client that is verified; None before.
    """

    def __init__(self, accessory: Accessory, owner: object = None) -> None:
        self.client: bytes | None = None
        self._accessory = accessory
        self._owner = self if owner is None else owner
        self._setup: Generator[Reply, bytes, None] | None = None
        self._verify: Generator[Reply, bytes, None] | None = None

    def setup(self, body: bytes) -> Reply:
        """Answer a request to /pair-setup-pin; a first one begins anew.

        Raises:
            Refusal: See :func:`legacy_setup_device`.
        """
        if _begins(body):
            self._setup = legacy_setup_device(self._accessory, self._owner)
            next(self._setup)
        return _send(self._setup, body)

    def verify(self, body: bytes) -> Reply:
        """Answer a request of this kind to /pair-verify; a first one begins anew.

        Raises:
            Refusal: See :func:`legacy_verify_device`.
        """
        self.client = None
        if body[:4] == FIRST:
            self._verify = legacy_verify_device(self._accessory)
            next(self._verify)
        reply = _send(self._verify, body)
        self.client = reply.client
        return reply

    def close(self) -> None:
        """The connection is gone."""
        self._accessory.done(self._owner)


def _begins(body: bytes) -> bool:
    try:
        content = plist.loads(body)
    except ValueError:
        return False
    return isinstance(content, dict) and "method" in content


def _send(steps: Generator[Reply, bytes, None] | None, body: bytes) -> Reply:
    try:
        if steps is None:
            raise StopIteration
        return steps.send(body)
    except StopIteration:  # nothing was begun, or it is over
        raise Refusal(hap.UNKNOWN) from None


def _read(data: bytes) -> dict[str, Any]:
    try:
        content = plist.loads(data)
    except ValueError as exc:
        raise ProtocolError(f"pairing: {exc}", data) from exc
    if not isinstance(content, dict):
        raise ProtocolError("pairing: the answer is no dictionary", data)
    return content


def _item(content: dict[str, Any], name: str) -> bytes:
    value = content.get(name)
    if not isinstance(value, bytes):
        raise ProtocolError(f"pairing: the answer has no {name}")
    return value


def _asked(data: bytes, **types: type) -> dict[str, Any]:
    try:
        content = plist.loads(data)
    except ValueError as exc:
        raise Refusal(hap.UNKNOWN) from exc
    if not isinstance(content, dict):
        raise Refusal(hap.UNKNOWN)
    for name, kind in types.items():
        if not isinstance(content.get(name), kind):
            raise Refusal(hap.UNKNOWN)
    return content


def _sealed(key: bytes, number: int, public: bytes) -> dict[str, bytes]:
    sealed, tag = aes.gcm_seal(*_setup_keys(key, number), public)
    return {"epk": sealed, "authTag": tag}


def _opened(key: bytes, number: int, sealed: bytes, tag: bytes) -> bytes:
    return aes.gcm_open(*_setup_keys(key, number), sealed, tag)


def _setup_keys(key: bytes, number: int) -> tuple[bytes, bytes]:
    """Key and IV; the IV's last byte goes on from 255 with 0."""
    iv = _derive("Pair-Setup-AES-IV", key)
    return _derive("Pair-Setup-AES-Key", key), iv[:-1] + bytes([(iv[-1] + number) % 256])


def _stream(secret: bytes) -> aes.Ctr:
    """One stream for both signatures: the device's comes first."""
    return aes.Ctr(_derive("Pair-Verify-AES-Key", secret), _derive("Pair-Verify-AES-IV", secret))


def _derive(use: str, secret: bytes) -> bytes:
    return sha512(use.encode() + secret).digest()[:16]


def _ephemeral(private: bytes | None) -> tuple[bytes, bytes]:
    if private is None:
        return curve25519.generate()
    return private, curve25519.public(private)
