"""Fetches what a URL names, when it is not our user who named it.

A device may name whatever it likes, and we can reach more than it can: this machine, and whatever
trusts it. So an address is looked up once, checked, and connected to as it was checked:

    the user named it      any address; redirections to the same host, or to a public address
    the device named it    a public address, or one of the device's own
    a file, ftp ...        nobody

That holds for each redirection, of which there are three at most. One time limit is over all of it.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import logging
import queue
import socket
import threading
from typing import TYPE_CHECKING, Any, Callable, Union, cast
from urllib.parse import urljoin, urlsplit

from ..deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

log = logging.getLogger(__name__)

REDIRECTIONS = 3
REDIRECTS = (301, 302, 303, 307, 308)
PORTS = {"http": 80, "https": 443}
PIECE = 65536  # bytes
NEIGHBOURS = {4: 24, 6: 64}  # bits of an address that are the same for those of our own network

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Refused(ValueError):
    """A URL that is not fetched, because of where it leads."""


class Fetched:
    """An answer.

    Attributes:
        url: Where it came from in the end.
        code: HTTP status.
        kind: Content-Type; empty without one.
        data: What it is.
    """

    __slots__ = ("code", "data", "kind", "url")

    def __init__(self, url: str, code: int, kind: str, data: bytes) -> None:
        self.url = url
        self.code = code
        self.kind = kind
        self.data = data


def fetch(
    url: str,
    *,
    timeout: float,
    limit: int,
    trusted: str | None = None,
    own: Collection[str] = (),
    headers: Mapping[str, str] | None = None,
    opened: Callable[[socket.socket | None], object] = lambda sock: None,
    stall: float | None = None,
) -> Fetched:
    """Fetch what a URL names.

    Args:
        url: Of http or https.
        timeout: Seconds that all of it may take, redirections included.
        limit: Bytes of the answer.
        trusted: Host that the user named, which may be anywhere; None if a device named the URL.
        own: Addresses of the device that named it, which it may name.
        headers: Sent beside ours.
        opened: Called with each socket before it is used, and with None when it is closed; whoever
            has it may shut it down, and may raise.
        stall: Seconds without a byte; None for as long as all of it may take.

    Raises:
        Refused: It leads somewhere that is not for whoever named it; the log says so.
        ValueError: Too large, cut short, too slow, or too many redirections.
        OSError, HTTPException: It cannot be had.
    """
    deadline = _Patience(timeout, stall)
    try:
        for _ in range(REDIRECTIONS + 1):
            try:
                sock, path, host = _connect(url, trusted, own, opened, deadline)
                with sock:
                    response = _ask(sock, path, host, headers or {}, deadline)
                    location = response.headers.get("Location")
                    if response.status not in REDIRECTS or not location:
                        kind = response.headers.get("Content-Type", "")
                        return Fetched(url, response.status, kind, _body(response, limit))
            finally:
                opened(None)
            url = urljoin(url, location)
    except Refused as exc:
        log.warning("not fetched: %s", exc)
        raise
    except (TimeoutError, socket.timeout) as exc:  # one since Python 3.10
        if deadline.over:
            raise ValueError(f"it takes too long: more than {timeout:g} s") from exc
        raise
    raise ValueError(f"too many redirections: more than {REDIRECTIONS}")


class _Patience(Deadline):
    """A time limit over all waits, and one for each."""

    __slots__ = ("_stall",)

    def __init__(self, seconds: float, stall: float | None) -> None:
        super().__init__(seconds)
        self._stall = seconds if stall is None else stall

    def wait(self) -> float:
        """Seconds that one wait may take.

        Raises:
            TimeoutError: There are none left.
        """
        if self.over:
            raise TimeoutError("timed out")
        return min(self._stall, super().wait() or 0.001)


def _connect(
    url: str,
    trusted: str | None,
    own: Collection[str],
    opened: Callable[[socket.socket | None], object],
    deadline: _Patience,
) -> tuple[socket.socket, str, str]:
    """A connection for a URL, what to ask there, and the Host header."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Refused("a URL that is none") from None
    scheme = parts.scheme
    if scheme not in PORTS or not host:
        raise Refused(f"{scheme or 'no scheme'}: only http and https are fetched")
    free = trusted is not None and host.casefold() == trusted.casefold()
    failed: OSError | None = None
    refused = ""
    for family, where in _look_up(host, PORTS[scheme] if port is None else port, deadline):
        if not free and not may_be_reached(where[0], own):
            refused = str(where[0])
            continue
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened(sock)
            sock.settimeout(deadline.wait())
            sock.connect(where)  # not by name: that might be another address by now
            if scheme == "https":
                import ssl

                context = ssl.create_default_context()
                sealed = context.wrap_socket(
                    sock, server_hostname=host, do_handshake_on_connect=False
                )
                sock = sealed  # the other one is empty now
                opened(sock)
                sock.settimeout(deadline.wait())
                sealed.do_handshake()
        except OSError as exc:
            sock.close()
            if isinstance(exc, (TimeoutError, socket.timeout)):
                raise
            failed = exc
            continue
        except BaseException:
            sock.close()
            raise
        shown = f"[{host}]" if ":" in host else host
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return sock, path, shown if port is None else f"{shown}:{port}"
    if failed is not None:
        raise failed
    raise Refused(f"{host} is {refused}, an address of this machine or of a network of ours")


def _look_up(
    host: str, port: int, deadline: _Patience
) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """All addresses of a host, as sockets take them. A resolver knows no time limit of ours."""
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as exc:  # UnicodeError for a name that cannot be one, OverflowError ...
            answer.put(exc)

    try:
        threading.Thread(target=ask, name=f"tinyatv-resolve-{host[:60]}", daemon=True).start()
        found = answer.get(timeout=deadline.wait())
    except queue.Empty:
        raise TimeoutError("timed out") from None
    except RuntimeError as exc:
        raise OSError("there are too many threads to look up an address") from exc
    if isinstance(found, OSError):
        raise found
    if isinstance(found, Exception):
        raise OSError(f"{host[:60]!r} is no host name") from found
    return [(family, where) for family, *_, where in found]


def may_be_reached(text: str, own: Collection[str] = ()) -> bool:
    """True for an address that is public, or among `own`; False for this machine and our networks.

    Args:
        text: An address; a zone after a percent sign does not matter.
        own: Addresses that may be reached wherever they are.
    """
    try:
        address = _plain(text)
    except ValueError:
        return False
    if any(address == known for known in map(_address_or_none, own)):
        return True
    hidden = _inside(address)
    if hidden is not None:
        return may_be_reached(str(hidden), own)
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not _is_near(address)


def addresses_of(names: Iterable[str]) -> list[str]:
    """The addresses that host names stand for, and those among them that are addresses already."""
    found: dict[str, None] = {}
    for name in names:
        if _address_or_none(name) is not None:
            found[name] = None
            continue
        try:
            known = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            continue
        found.update((str(where[0]), None) for *_, where in known)
    return list(found)


def _plain(text: str) -> Address:
    """An address without its zone, and as IPv4 if it is that inside IPv6."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _address_or_none(text: str) -> Address | None:
    try:
        return _plain(text)
    except ValueError:
        return None


def _inside(address: Address) -> Address | None:
    """The IPv4 address that one of the transitional forms of IPv6 leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    number = int(address)
    if number >> 32 in (0x0064FF9B << 64, 0) and number > 1:  # NAT64 (RFC 6052), and ::192.0.2.1
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return None


def _is_near(address: Address) -> bool:
    """True for a public address that is this machine's, or in the network that leads to it."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((str(address), 9))  # sends nothing, but asks the routing table
            ours = _plain(sock.getsockname()[0])
    except OSError:
        return False  # there is no way to it at all
    network = ipaddress.ip_network(f"{ours}/{NEIGHBOURS[ours.version]}", strict=False)
    return address in network


class _Timed(io.RawIOBase):
    """What http.client reads an answer from: every wait is under the same deadline."""

    def __init__(self, sock: socket.socket, deadline: _Patience) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._deadline.wait())
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)


def _ask(
    sock: socket.socket, path: str, host: str, headers: Mapping[str, str], deadline: _Patience
) -> http.client.HTTPResponse:
    lines = {"Host": host, "Accept-Encoding": "identity", "Connection": "close", **headers}
    text = f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    if not text.isascii() or " " in path or text.count("\n") != len(lines) + 1:
        raise ValueError("a URL or a header with characters that cannot be sent")
    sock.settimeout(deadline.wait())
    sock.sendall(text.encode() + b"\r\n")
    response = http.client.HTTPResponse(cast(socket.socket, _Timed(sock, deadline)), method="GET")
    response.begin()
    return response


def _body(response: http.client.HTTPResponse, limit: int) -> bytes:
    announced = response.length or 0
    if announced > limit:
        raise ValueError(f"more than {limit} bytes")
    data = io.BytesIO()
    while piece := response.read1(PIECE):
        if data.tell() + len(piece) > limit:
            raise ValueError(f"more than {limit} bytes")
        data.write(piece)
    if response.length:
        raise ValueError("it was cut short")
    return data.getvalue()
