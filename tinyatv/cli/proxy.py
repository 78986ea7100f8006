"""Relay between a remote and a device, and show every message, until Ctrl-C.

  tinyatv -n Den proxy mrp          tvOS up to 14
  tinyatv -n Den proxy companion    tvOS 13 and later
  tinyatv -n Den proxy airplay      with MRP in its tunnel, from tvOS 15 on
  tinyatv proxy relay HOST:PORT     raw TCP; nothing is decrypted

The proxy is announced as a device of its own: pair the remote with it once. The PIN is printed
here. -n, -i and so on choose the real device, which must be paired with tinyatv. --trace FILE saves
the messages.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from ..proxy.device import PROTOCOLS as PROXIED
from ..trace import Record
from .flags import port
from .logs import new_trace
from .output import show
from .signals import stop_on_signals
from .target import choose, given_credentials, the_store

if TYPE_CHECKING:
    from ..proxy import Tap
    from .flags import Arguments, Parser
    from .output import Output


TRACES = True  # writes the trace itself: what passes, not what we send


def add_flags(parser: Parser, word: str) -> None:
    """What to be, and where."""
    add = parser.add_argument
    add("what", choices=(*PROXIED, "relay"), help="what to relay")
    add("target", nargs="?", metavar="HOST:PORT", help="where to connect to (relay)")
    add(
        "--proxy-name",
        metavar="NAME",
        help='name that remotes see (the device\'s name and "Proxy")',
    )
    add("--proxy-port", type=port, default=0, metavar="N", help="TCP port to listen on (any)")
    add("--host", metavar="IP", help="own address to listen on (the one facing the device)")
    add("--no-announce", action="store_true", help="do not announce it by multicast DNS")
    add("--mdns-port", type=port, metavar="N", help="UDP port for directed queries; 0 is any")
    add("--identifier", metavar="UUID", help="fixed identifier")
    add("--accept", action="append", metavar="CRED", help="credentials that are accepted")
    add("--pin", help="PIN to show to remotes (a new one each time)")
    add("--type", metavar="TYPE", help="announce this service type: _airplay._tcp (relay)")
    add("--property", action="append", metavar="K=V", help="of the service record (relay)")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Run it."""
    from ..proxy import Tap

    file = None if flags.trace is None else new_trace(flags.trace, flags).open()
    stop = stop_on_signals()

    lines = threading.Lock()  # so that a PIN is not printed inside a message

    def watch(line: dict[str, Any]) -> None:
        if file is not None:
            file.write(line)
        try:
            with lines:
                if out.json:
                    out.result(**{key: value for key, value in line.items() if key != "raw"})
                else:
                    show(*Record(line).lines())
        except OSError:
            stop.set()  # the reader has gone

    tap = Tap(watch, secrets=flags.trace_secrets)
    try:
        if flags.what == "relay":
            return _relay(flags, out, tap, stop)
        return _device(flags, out, tap, stop, lines)
    finally:
        if file is not None:
            file.close()


def _device(
    flags: Arguments, out: Output, tap: Tap, stop: threading.Event, lines: threading.Lock
) -> int:
    from ..backends.dmap_pairing import own_address
    from ..proxy import ProxyAppleTV

    if flags.target is not None:
        raise ValueError(f"{flags.what} takes no address: choose the device with -n, -i or -s")
    store = the_store(flags)
    device, _ = choose(flags, store, out)
    given_credentials(flags, device)
    proxy = ProxyAppleTV(
        device, flags.what, tap,
        name=flags.proxy_name,
        port=flags.proxy_port,
        host=flags.host or own_address(device.addresses),
        announce=not flags.no_announce,
        mdns_port=flags.mdns_port,
        identifier=flags.identifier,
        credentials=tuple(flags.accept or ()),
        pin=flags.pin,
        memory=_memory(store.path, device.identifiers, flags.what),
    )  # fmt: skip
    with proxy:
        port = proxy.ports[flags.what]
        text = f"{proxy.name} ({flags.what}) at {proxy.host} port {port}. Ctrl-C ends it."
        out.result(
            [text], name=proxy.name, protocol=flags.what, address=proxy.host, ports=proxy.ports,
            identifier=proxy.identifier, device=device.name,
        )  # fmt: skip
        shown = 0
        while not stop.wait(0.1):
            for pin in proxy.pins[shown:]:
                shown += 1
                with lines:
                    out.result(f"PIN {pin}", pin=pin)
    return 0


def _memory(store: str | None, identifiers: list[str], protocol: str) -> str | None:
    """The file of a proxy, beside the store; None if nothing is stored."""
    if store is None or not identifiers:
        return None
    name = "".join(char for char in identifiers[0] if char.isalnum())
    return os.path.join(os.path.dirname(store), f"proxy-{protocol}-{name}.json")


def _relay(flags: Arguments, out: Output, tap: Tap, stop: threading.Event) -> int:
    from ..backends.dmap_pairing import own_address
    from ..proxy import Relay

    host, colon, port = (flags.target or "").rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("relay needs an address: HOST:PORT")
    properties: dict[str, str | None] = {}
    for pair in flags.property or ():
        key, _, value = pair.partition("=")
        properties[key] = value
    relay = Relay(
        host, int(port), tap, host=flags.host or own_address(host), port=flags.proxy_port
    )  # fmt: skip
    with relay:
        if flags.type and not flags.no_announce:
            kind = flags.type.rstrip(".").removesuffix(".local")
            relay.announce(f"{kind}.local.", flags.proxy_name or "Relay", properties)
        text = f"Relay to {flags.target} at {relay.host} port {relay.port}. Ctrl-C ends it."
        out.result([text], address=relay.host, ports={"relay": relay.port}, target=flags.target)
        stop.wait()
    return 0
