"""Pairing over MRP: the TV shows a PIN, and this end has to know it."""

from __future__ import annotations

import threading
from typing import Callable

from .. import proto
from ..errors import CommandTimeout, ConnectionFailed, ConnectionLost
from ..link import Link, keep_alive, open_socket
from ..pairing.hap import Identity, drive
from ..pairing.hap_setup import hap_setup, preparation
from ..pairing.hap_verify import hap_verify
from ..wire.mrp import MrpWire
from .mrp import DEVICE_INFO, exchange


def pair(
    host: str,
    port: int,
    *,
    pin: str | Callable[[], str],
    client_id: str,
    name: str = "tinyatv",
    timeout: float = 5.0,
) -> str:
    """Pair with a device; returns the credentials.

    Args:
        host: Its address.
        port: Its MRP port.
        pin: What the TV shows, or a function that asks for it once it is there.
        client_id: Our identifier: pairing again with the same one replaces the old pairing.
        name: Shown on the TV.
        timeout: Seconds that each answer of the device may take.

    Raises:
        PairingError: Wrong PIN, or the device refuses.
        PairingBackOff: The device wants a pause.
        ConnectionFailed: It cannot be reached, or hung up.
        ProtocolError: It answers with nonsense.
        ValueError: Not a PIN.
    """
    sock = open_socket(host, port, timeout, "mrp")
    keep_alive(sock)
    wire = MrpWire(proto.dumps, proto.parse, proto.key)
    identity = Identity(client_id.encode())
    begun, prepare = threading.Event(), preparation(identity)
    link = Link(
        sock, wire, lambda message: None, timeout=timeout, name=f"tinyatv-mrp-{host}",
        prepare=lambda: begun.is_set() and prepare(),
    )  # fmt: skip
    try:
        info = {**DEVICE_INFO, "name": name, "uniqueIdentifier": client_id}
        link.request(proto.build(proto.DEVICE_INFO, True, **info))
        # From here on the device computes for its answers, and so do we meanwhile.
        begun.set()
        credentials = drive(
            hap_setup(identity, pin), lambda data: exchange(link, data, verifying=False)
        )
        # From tvOS 14 on the PIN stays on screen until it has been put to use.
        drive(hap_verify(credentials), lambda data: exchange(link, data, verifying=True))
    except ConnectionLost as exc:
        raise ConnectionFailed(f"{host} port {port} (mrp) hung up while pairing: {exc}") from exc
    except CommandTimeout as exc:
        raise CommandTimeout(
            f"no reply to pair within {timeout:g} s (mrp): is the device awake?"
        ) from exc
    finally:
        link.close()
    return str(credentials)
