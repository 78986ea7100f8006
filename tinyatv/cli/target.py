"""Which device is meant, and the connection to it."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Callable

from ..connecting import (
    check_unambiguous,
    connect_to,
    find,
    is_reachable,
    keep_trying,
)
from ..errors import DeviceNotFound, SeveralFound
from ..model import PROTOCOLS, Device, Service
from ..store import SECRETS, Store, did_you_mean
from ..text import printable
from .output import show

if TYPE_CHECKING:
    from ..device import AppleTV
    from .flags import Arguments
    from .output import Output


def the_store(flags: Arguments) -> Store:
    """The store that the flags name."""
    if flags.storage == "none":
        return Store(memory=True)
    return Store(flags.storage_filename)


def open_target(flags: Arguments, out: Output, **how: bool) -> AppleTV:
    """Connect to the device that the flags name, and remember where it is.

    Args:
        flags: As given.
        out: Shows the progress of a scan.
        **how: `acts` and `wait_for_all` of :func:`~tinyatv.connecting.connect_to`.
    """
    store = the_store(flags)

    def once(first: bool) -> AppleTV:
        device, remembered = choose(flags, store, out)
        again = {**how, "acts": first and how.get("acts", True)}
        return open_device(flags, store, device, remembered, **again)

    return keep_trying(once, flags.wait, lambda exc: out.warn(f"tinyatv: waiting: {exc}"))


def open_device(
    flags: Arguments, store: Store, device: Device, remembered: bool, **how: bool
) -> AppleTV:
    """Connect to a device as the flags say, and remember where it is.

    Args:
        flags: As given.
        store: Where it is remembered.
        device: With its credentials, but for those in the flags.
        remembered: True if its address comes from the store.
        **how: As for :func:`open_target`.
    """
    given = given_credentials(flags, device, store)
    protocols = None if flags.protocol is None else [flags.protocol]
    atv = connect_to(
        device, store, remembered=remembered, protocols=protocols, timeout=flags.timeout,
        scan_timeout=flags.scan_timeout, reconnect=flags.reconnect, hosts=scan_hosts(flags),
        wake=flags.wake, **how,
    )  # fmt: skip
    if device.identifiers and (given or not remembered):
        _remember(atv.device, store)
    return atv


def _remember(device: Device, store: Store) -> None:
    """Saves the scan next time. Not worth failing for."""
    try:
        store.save(device)
    except OSError as exc:
        show(f"tinyatv: cannot write the store: {exc.strerror}", error=True)


def choose(flags: Arguments, store: Store, out: Output) -> tuple[Device, bool]:
    """The device that the flags name, and whether its address comes from the store.

    Raises:
        DeviceNotFound: None, or several, fit.
    """
    if flags.manual:
        return store.fill(_by_hand(flags)), False
    wanted = called(flags)
    if flags.scan_hosts or flags.scan_protocols:
        if not wanted and len(scan_hosts(flags)) != 1:  # one host names the device
            check_unambiguous(store)
            default = store.default()
            wanted = [default.identifier] if default is not None and default.identifier else []
        found = scan(flags, out, wanted)
        fitting = [one for one in found if not wanted or any(map(one.is_called, wanted))]
        return store.fill(_only(fitting, found, wanted, store)), False
    known = stored(flags, store)
    if known is not None:
        return known, True
    if not wanted:
        check_unambiguous(store)
        return store.fill(_only(found := scan(flags, out, []), found, [])), False
    if len(wanted) == 1:
        with Progress(out):
            return find(wanted[0], store, flags.scan_timeout)
    found = scan(flags, out, wanted)
    fitting = [one for one in found if any(map(one.is_called, wanted))]
    return store.fill(_only(fitting, found, wanted, store)), False


def called(flags: Arguments) -> list[str]:
    """The identifiers and the name that the flags give."""
    return [*(flags.id.split(",") if flags.id else []), *([flags.name] if flags.name else [])]


def choose_all(
    flags: Arguments, store: Store, out: Output
) -> list[tuple[Device, Callable[[], tuple[Device, bool]]]]:
    """All devices that the flags name, or all that are stored.

    Returns:
        For each one what is known of it, and a function that finds it, which may take a scan, and
        returns it and whether its address comes from the store.

    Raises:
        DeviceNotFound: None is named, stored or found.
    """
    wanted = called(flags)
    if flags.manual or flags.scan_hosts or flags.scan_protocols:
        if flags.manual:
            found = [_by_hand(flags)]
        else:
            found = scan(flags, out, wanted if len(wanted) == 1 else [])
        chosen = [one for one in found if not wanted or any(map(one.is_called, wanted))]
        missing = [text for text in wanted if not any(one.is_called(text) for one in chosen)]
        pairs = [(one, _known(store.fill(one), False)) for one in chosen]
        pairs += [(Device(text, ""), _unknown(text, found)) for text in missing]
    else:
        pairs = []
        stored = wanted or [k.device.identifier or k.device.name for k in store.devices()]
        for text in stored:
            device = store.find(text)
            if device is not None and is_reachable(device):
                pairs.append((device, _known(device, True)))
            else:
                look = partial(find, text, store, flags.scan_timeout)
                pairs.append((device or Device(text, ""), look))
    if not pairs:
        raise DeviceNotFound("no device is stored, or none answered; `tinyatv wizard` adds one")
    known = {one.identifier or one.name: (one, look) for one, look in pairs}
    return list(known.values())


def _known(device: Device, remembered: bool) -> Callable[[], tuple[Device, bool]]:
    return lambda: (device, remembered)


def _unknown(text: str, found: list[Device]) -> Callable[[], tuple[Device, bool]]:
    return lambda: (_only([], found, [text]), False)


def stored(flags: Arguments, store: Store) -> Device | None:
    """The device that the flags name, or else the default, if the store knows where it is.

    Raises:
        DeviceNotFound: Several have that name.
        CredentialsError: The store is damaged.
    """
    wanted = called(flags)
    for device in map(store.find, wanted) if wanted else [store.default()]:
        if device is not None and is_reachable(device):
            return device
    return None


def _only(
    fitting: list[Device], found: list[Device], wanted: list[str], store: Store | None = None
) -> Device:
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(f"{one.name} ({one.identifier})" for one in (fitting or found)) or "nothing"
    if fitting:
        how = "-i IDENTIFIER" if len({one.name for one in fitting}) == 1 else "-n or -i"
        raise SeveralFound(f"several devices; choose one with {how}: {names}")
    called = f" called {' or '.join(wanted)}" if wanted else ""
    known = [*(store.names() if store else ()), *(name for one in found for name in one.names)]
    raise DeviceNotFound(f"no device{called}; found: {names}{did_you_mean(wanted, known)}")


def scan(flags: Arguments, out: Output, wanted: list[str]) -> list[Device]:
    """Scan as the flags say, with progress on a terminal."""
    from ..discovery import scan as scan_network

    hosts = scan_hosts(flags) or None
    protocols = flags.scan_protocols.split(",") if flags.scan_protocols else None
    with Progress(out) as progress:
        return scan_network(
            flags.scan_timeout, hosts=hosts, wanted=wanted or None, protocols=protocols,
            progress=progress.found,
        )  # fmt: skip


def scan_hosts(flags: Arguments) -> list[str]:
    """The hosts that -s names."""
    return flags.scan_hosts.split(",") if flags.scan_hosts else []


class Progress:
    """A line on the terminal while a scan runs; nothing without a terminal."""

    def __init__(self, out: Output) -> None:
        self._shown = sys.stderr.isatty() and not out.json
        self._names: list[str] = []

    def __enter__(self) -> Progress:
        self._print("scanning ...")
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            show(error=True, end="", erase=True)

    def found(self, device: Device) -> None:
        """A device answered."""
        if device.name not in self._names:
            self._names.append(device.name)
        self._print(f"scanning ... {', '.join(self._names)}")

    def _print(self, text: str) -> None:
        if self._shown:
            show(printable(text)[:78], error=True, end="", erase=True)


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


def has_credentials(flags: Arguments) -> bool:
    """True if the flags bring credentials or a password."""
    return any(
        getattr(flags, f"{protocol}_{what}", None) is not None
        for protocol in PROTOCOLS
        for what in SECRETS
    )


def secret(text: str) -> str:
    """A secret that a flag or a word gives.

    ``@FILE`` reads it from a file: anyone can see a command line in the list of
    processes.

    Raises:
        OSError: The file cannot be read.
    """
    if not text.startswith("@"):
        return text
    with open(text[1:], encoding="utf-8") as file:
        return file.read().strip()


def given_credentials(flags: Arguments, device: Device, store: Store | None = None) -> bool:
    """Put credentials from the flags into the device; returns whether there were any.

    An empty text takes them away, out of `store`, too.
    """
    given = False
    for service in device.services:
        for what in SECRETS:
            text = getattr(flags, f"{service.protocol}_{what}", None)
            if text is None:
                continue
            text = secret(text) or None
            setattr(service, what, text)
            given = given or text is not None
            if text is None and store is not None:
                store.take_away(device, service.protocol, what)
    return given
