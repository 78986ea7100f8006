"""Pairing over DMAP: publish a remote, wait until the TV asks for it with the right code."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import nullcontext
from copy import copy
from typing import TYPE_CHECKING, Callable
from urllib.parse import parse_qsl, urlsplit

from ..addresses import as_list, is_loopback, own_end, sockaddr
from ..errors import (
    AppleTVError,
    ConnectionFailed,
    CredentialsError,
    PairingError,
    WrongDevice,
)
from ..link import Link, Listener, reason
from ..pairing import dmap as pairing
from ..wire.dmap_codes import CONTENT_TYPE
from ..wire.http import HttpWire, Request, Response
from . import PairingRequest, try_connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model import Device, Service
    from .cancellation import Cancellation

log = logging.getLogger(__name__)

LOGIN_TIMEOUT = 5.0  # s; a TV on which a PIN was just typed is awake
REQUEST_LIMIT = 4096  # bytes of a body; the real ones have none
MESSAGE_TIMEOUT = 30.0  # s from the first byte of a request to its last


def pair(device: Device, service: Service, request: PairingRequest) -> str:
    """Pair with a device, as the contract has it; see :func:`publish_remote`.

    Any TV of the house may pick the remote: the login shows whether it was this one.
    """
    credentials = publish_remote(
        device.addresses, pin=request.typed_pin(), show_pin=request.show_pin, name=request.name,
        timeout=request.timeout, cancellation=request.cancellation, **request.options,
    )  # fmt: skip
    fresh = copy(service)
    fresh.credentials = credentials
    try:
        check(device, fresh, timeout=LOGIN_TIMEOUT)
    except CredentialsError as exc:
        raise PairingError(
            f"not paired: {device.name} does not accept what was agreed on"
            f" (was the PIN typed on another TV?): {exc}"
        ) from exc
    except WrongDevice:
        raise
    except AppleTVError as exc:
        log.info("paired, but not tried out: %s", exc)
    return credentials


def check(device: Device, service: Service, *, timeout: float) -> None:
    """Find out whether a device accepts the credentials of a service: log in."""
    try_connect(device, service, timeout)


def publish_remote(
    device: str | Sequence[str],
    pin: str | int | None = None,
    show_pin: Callable[[str], object] | None = None,
    name: str = "tinyatv",
    timeout: float = 60.0,
    address: str | None = None,
    port: int = 0,
    guid: str | None = None,
    instance: str | None = None,
    announce: bool = True,
    cancellation: Cancellation | None = None,
) -> str:
    """Publish a remote and wait for the device to ask for it; returns the credentials.

    Args:
        device: Its address, or all of them, best first.
        pin: Up to four digits; None makes one up.
        show_pin: Called with the PIN once it can be typed on the TV; None prints it.
        name: Shown on the TV.
        timeout: Seconds to wait.
        address: Address to advertise; None takes that of the interface which reaches the device.
            In a container, give the address of its host.
        port: TCP port to listen on; 0 picks a free one.
        guid: Identity: 16 hex digits, with or without 0x; None makes one up.
        instance: Instance name to publish; None makes it of the address.
        announce: False publishes nothing, for a TV that learns our address by other means.
        cancellation: What another thread may end the wait by; None if none does.

    Raises:
        PairingError: The PIN was not typed in time, or was wrong three times; or it was cancelled.
        ConnectionFailed: There is no way to the device.
        OSError: The port is taken.
    """
    pin = pairing.new_pin() if pin is None else pairing.check_pin(pin)
    guid = pairing.new_guid() if guid is None else pairing.check_guid(guid)
    own = address or own_address(device)
    server = _Server(pairing.Remote(guid, pin, name))
    try:
        listener = Listener(server.accepted, own, port, "tinyatv-dmap-pairing")
    except OSError:
        if address is None:
            raise
        listener = Listener(server.accepted, "0.0.0.0", port, "tinyatv-dmap-pairing")
    publication = None
    try:
        listener.start()
        if announce:
            from ..discovery import publish

            publication = publish(
                pairing.SERVICE_TYPE,
                instance or pairing.instance_name(own),
                listener.port,
                own,
                pairing.properties(name, guid),
                quick=is_loopback(own),
            )
        with cancellation.closing(server.done.set) if cancellation else nullcontext():
            (show_pin or _print_pin)(pin)
            server.done.wait(timeout)
    finally:
        listener.close()
        if publication is not None:
            publication.close()
        server.close()
    if server.remote.paired:
        return pairing.credentials(guid)
    if cancellation is not None:
        cancellation.check()
    if server.remote.wrong:
        tries = f"{server.remote.wrong} wrong PIN" + ("s" if server.remote.wrong > 1 else "")
        raise PairingError(f"not paired: {tries} typed on the TV (it was {pin} here)")
    raise PairingError(f"not paired: no PIN was typed on the TV within {timeout:g} s")


def _print_pin(pin: str) -> None:
    print(f"On the TV, open Settings > General > Remotes, pick this remote and type {pin}")


def own_address(device: str | Sequence[str]) -> str:
    """The address of the interface that reaches a device.

    Args:
        device: Its address; of several, the first that there is a way to.

    Raises:
        ConnectionFailed: There is no way to it.
    """
    device = as_list(device)
    failed: OSError | None = None
    for address in device:
        try:
            family, place = sockaddr(address, 3689, socket.SOCK_DGRAM)
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect(place)  # sends nothing; the kernel picks the interface
                return own_end(sock)
        except OSError as exc:
            failed = failed or exc
    why = reason(failed) if failed is not None else "its address is not known"
    raise ConnectionFailed(f"no way to {' or '.join(device)}: {why}") from failed


class _Server:
    """Answers the device."""

    def __init__(self, remote: pairing.Remote) -> None:
        self.remote = remote
        self.done = threading.Event()
        self._links: list[Link] = []
        self._lock = threading.Lock()

    def accepted(self, sock: socket.socket, address: tuple[str, int]) -> None:
        wire = HttpWire(limit=REQUEST_LIMIT)
        name = f"tinyatv-dmap-pairing-{address[0]}:{address[1]}"
        link = Link(
            sock, wire, lambda message: self._received(link, message), name=name,
            message_timeout=MESSAGE_TIMEOUT,
        )  # fmt: skip
        with self._lock:
            self._links.append(link)
        link.start()

    def _received(self, link: Link, message: Request | Response) -> None:
        if not isinstance(message, Request):
            link.close()
            return
        parts = urlsplit(message.path)
        with self._lock:
            code, body = self.remote.answer(parts.path, dict(parse_qsl(parts.query)))
        log.debug("%s %s: %d", message.method, parts.path, code)
        try:
            headers = [("Content-Type", CONTENT_TYPE)] if body else []
            link.send(Response(code, headers=headers, body=body))
        except ConnectionError:
            pass  # the device did not wait for the answer
        if self.remote.paired or self.remote.wrong >= pairing.TRIES:
            self.done.set()

    def close(self) -> None:
        with self._lock:
            links = self._links.copy()
        for link in links:
            link.close()
