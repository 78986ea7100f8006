"""Pairing over Companion: the TV shows a PIN, and this end has to know it. And verifying, later."""

from __future__ import annotations

from typing import Callable

from ..crypto.chacha20poly1305 import Session
from ..errors import (
    CommandTimeout,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    PairingError,
    ProtocolError,
)
from ..link import Link, keep_alive, open_socket
from ..pairing.credentials import Credentials
from ..pairing.hap import Identity, channel_keys, drive
from ..pairing.hap_setup import hap_setup, own_info, preparation
from ..pairing.hap_verify import hap_verify
from ..wire import opack
from ..wire.companion import (
    SETUP_NEXT,
    SETUP_START,
    VERIFY_NEXT,
    VERIFY_START,
    CompanionWire,
)

UNKNOWN_REQUEST = 58822  # error: the device does not know the request
ANSWER_TIMEOUT = 10.0  # s; devices take a while to check a PIN


def pair(
    host: str,
    port: int,
    *,
    pin: str | Callable[[], str],
    client_id: str,
    name: str = "tinyatv",
    timeout: float = ANSWER_TIMEOUT,
) -> str:
    """Pair with a device; returns the credentials, which it has accepted on a new connection.

    Arguments and errors are those of :func:`tinyatv.backends.mrp_pairing.pair`.
    """
    identity = Identity(client_id.encode())
    link = _connect(host, port, CompanionWire(), timeout, preparation(identity))
    try:
        steps = hap_setup(identity, pin, info=own_info(name))
        credentials = drive(steps, _exchange(link, "pair", SETUP_START, SETUP_NEXT, {"_pwTy": 1}))
    except ConnectionLost as exc:
        raise ConnectionFailed(
            f"{host} port {port} (companion) hung up while pairing: {exc}"
        ) from exc
    finally:
        link.close()
    check(host, port, credentials, timeout)
    return str(credentials)


def check(host: str, port: int, credentials: Credentials, timeout: float = ANSWER_TIMEOUT) -> None:
    """Find out whether a device accepts credentials; CredentialsError if it does not."""
    wire = CompanionWire()
    link = _connect(host, port, wire, timeout)
    try:
        secure(link, wire, credentials)
    except ConnectionLost as exc:
        raise ConnectionFailed(f"{host} port {port} (companion) hung up: {exc}") from exc
    finally:
        link.close()


def secure(link: Link, wire: CompanionWire, credentials: Credentials) -> None:
    """Verify each other, and encrypt everything from here on.

    Raises:
        CredentialsError: The device does not accept the credentials, or is another one.
        ProtocolError: It answers with nonsense.
        CommandTimeout: It does not answer.
    """
    exchange = _exchange(link, "verify", VERIFY_START, VERIFY_NEXT, {})
    secret = drive(hap_verify(credentials), exchange)
    wire.secure(Session(*channel_keys(secret, "companion"), wide=True))


def _connect(
    host: str, port: int, wire: CompanionWire, timeout: float,
    prepare: Callable[[], bool | None] | None = None,
) -> Link:  # fmt: skip
    sock = open_socket(host, port, timeout, "companion")
    keep_alive(sock)
    name = f"tinyatv-companion-{host}"
    return Link(sock, wire, lambda message: None, timeout=timeout, name=name, prepare=prepare)


def _exchange(
    link: Link, what: str, start: int, after: int, fields: dict[str, int]
) -> Callable[[bytes], bytes]:
    """What carries a handshake: its first message in a frame of kind `start`.

    Args:
        link: The connection.
        what: The word of a user, for errors; those of "verify" are about credentials.
        start: Kind of the first frame.
        after: Kind of all others, the device's included.
        fields: What is sent beside each message.
    """
    verifying = what == "verify"
    kinds = iter([start])

    def exchange(data: bytes) -> bytes:
        kind = next(kinds, after)
        message = {"_pd": data, **fields}
        if kind == VERIFY_START:
            message["_auTy"] = 4
        try:
            kind, reply = link.request((kind, message))
        except CommandTimeout as exc:
            hint = "" if verifying else ": is the device awake?"
            raise CommandTimeout(f"no reply to {what} in time (companion){hint}") from exc
        answer = reply.get("_pd")
        if kind == after and isinstance(answer, bytes):
            return answer
        if refused(reply):
            text = f"the device refuses to {what}: {refusal(reply)}"
            raise CredentialsError(text) if verifying else PairingError(text)
        raise ProtocolError(f"{what}: the answer makes no sense (companion)")

    return exchange


def refused(reply: dict[object, object]) -> bool:
    """True for a reply that says no, be it with a code, a text, or a user info alone."""
    return bool(reply.get("_ec") or reply.get("_em") or reply.get("_eu"))


def error_code(reply: dict[object, object]) -> int | None:
    """The code of a reply that says no, or None. Codes are signed, such as -6762."""
    code = reply.get("_ec")
    if not isinstance(code, int) or isinstance(code, bool):
        return None
    number = opack.signed(code)
    # Written in two bytes, the code of a request without a handler is negative, too; it is known
    # as the unsigned one.
    return number & 0xFFFF if number == UNKNOWN_REQUEST - (1 << 16) else number


def refusal(reply: dict[object, object]) -> str:
    """The words of a reply that says no."""
    text, code = reply.get("_em"), error_code(reply)
    info = reply.get("_eu")
    if not isinstance(text, str):
        text = info.get("NSLocalizedDescription") if isinstance(info, dict) else info
    words = " ".join(text.split())[:200] if isinstance(text, str) else ""
    number = f"error {code}, " if code else ""
    return f"{words or 'refused'} ({number}companion)"
