"""Which device is meant, and the connection to it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..credentials import Store
from ..device import connect_to, find
from ..errors import DeviceNotFound
from ..model import Device, Service

if TYPE_CHECKING:
    from ..device import AppleTV
    from . import Arguments
    from .output import Output


def the_store(flags: Arguments) -> Store:
    """The store that the flags name."""
    if flags.storage == "none":
        return Store(memory=True)
    return Store(flags.storage_filename)


def open_target(flags: Arguments, out: Output) -> AppleTV:
    """Connect to the device that the flags name, and remember where it is."""
    store = the_store(flags)
    device, remembered = choose(flags, store, out)
    given = given_credentials(flags, device)
    protocols = None if flags.protocol is None else [flags.protocol]
    atv = connect_to(
        device, store, remembered=remembered, protocols=protocols, timeout=flags.timeout,
        scan_timeout=flags.scan_timeout, reconnect=flags.reconnect,
    )  # fmt: skip
    if device.identifiers and (given or not remembered):
        _remember(atv.device, store)
    return atv


def _remember(device: Device, store: Store) -> None:
    """So that the next time needs no scan. Not worth failing for."""
    try:
        store.save(device)
    except OSError as exc:
        print(f"tinyatv: cannot write the store: {exc.strerror}", file=sys.stderr)


def choose(flags: Arguments, store: Store, out: Output) -> tuple[Device, bool]:
    """The device that the flags name, and whether its address comes from the store.

    Raises:
        DeviceNotFound: None, or several, fit.
    """
    if flags.manual:
        return store.fill(_by_hand(flags)), False
    wanted = [*(flags.id.split(",") if flags.id else []), *([flags.name] if flags.name else [])]
    if flags.scan_hosts or flags.scan_protocols:
        found = scan(flags, out, wanted)
        fitting = [one for one in found if not wanted or any(map(one.is_called, wanted))]
        return store.fill(_only(fitting, found, wanted)), False
    for text in wanted:
        device = store.find(text)
        if device is not None and device.address:
            return device, True
    if not wanted:
        device = store.default()
        if device is not None and device.address:
            return device, True
        return store.fill(_only(found := scan(flags, out, []), found, [])), False
    if len(wanted) == 1:
        with Progress(out):
            return find(wanted[0], store, flags.scan_timeout)
    found = scan(flags, out, wanted)
    fitting = [one for one in found if any(map(one.is_called, wanted))]
    return store.fill(_only(fitting, found, wanted)), False


def _only(fitting: list[Device], found: list[Device], wanted: list[str]) -> Device:
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(f"{one.name} ({one.identifier})" for one in (fitting or found)) or "nothing"
    if fitting:
        raise DeviceNotFound(f"several devices, name one with -n or -i: {names}")
    called = f" called {' or '.join(wanted)}" if wanted else ""
    raise DeviceNotFound(f"no device{called}; found: {names}")


def scan(flags: Arguments, out: Output, wanted: list[str]) -> list[Device]:
    """Scan as the flags say, with progress on a terminal."""
    from ..discovery import scan as scan_network

    hosts = flags.scan_hosts.split(",") if flags.scan_hosts else None
    protocols = flags.scan_protocols.split(",") if flags.scan_protocols else None
    with Progress(out) as progress:
        return scan_network(
            flags.scan_timeout, hosts=hosts, wanted=wanted or None, protocols=protocols,
            progress=progress.found,
        )  # fmt: skip


class Progress:
    """A line on the terminal while a scan runs; nothing where nobody looks."""

    def __init__(self, out: Output) -> None:
        self._shown = sys.stderr.isatty() and not out.json
        self._names: list[str] = []

    def __enter__(self) -> Progress:
        self._print("scanning ...")
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def found(self, device: Device) -> None:
        """A device answered."""
        if device.name not in self._names:
            self._names.append(device.name)
        self._print(f"scanning ... {', '.join(self._names)}")

    def _print(self, text: str) -> None:
        if self._shown:
            print(f"\r\033[K{text[:78]}", end="", file=sys.stderr, flush=True)


def _by_hand(flags: Arguments) -> Device:
    if not flags.address or not flags.port or not flags.protocol:
        raise ValueError("--manual needs --address, --port and --protocol")
    identifier = flags.id.split(",")[0] if flags.id else None
    properties = {}
    if flags.service_properties:
        separator, rest = flags.service_properties[0], flags.service_properties[1:]
        for pair in rest.split(separator):
            key, _, value = pair.partition("=")
            properties[key.lower()] = value
    service = Service(flags.protocol, flags.port, identifier=identifier, properties=properties)
    return Device(flags.name or flags.address, flags.address, [service])


def given_credentials(flags: Arguments, device: Device) -> bool:
    """Put credentials from the flags into the device; an empty text takes them away.

    ``@FILE`` reads them from a file: flags can be seen by everybody in the list of processes.
    """
    given = False
    for service in device.services:
        for what in ("credentials", "password"):
            text = getattr(flags, f"{service.protocol}_{what}", None)
            if text is None:
                continue
            if text.startswith("@"):
                with open(text[1:], encoding="utf-8") as file:
                    text = file.read().strip()
            setattr(service, what, text or None)
            given = True
    return given
