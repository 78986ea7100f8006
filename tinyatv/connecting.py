"""How to get an :class:`~tinyatv.device.AppleTV`: finding, connecting, pairing."""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from .backends import PairingRequest, load_pairing
from .deadline import Deadline
from .device import AppleTV
from .errors import (
    AppleTVError,
    CommandTimeout,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    DeviceNotFound,
    NotSupported,
    PairingError,
    SeveralFound,
    WrongDevice,
    is_elsewhere,
)
from .identity import check, wrong
from .link import is_full, reason
from .model import PROTOCOLS, Device, Service, identifier_keys
from .pairing.credentials import shares_credentials_with, should_pair
from .routes import BACKENDS
from .session import PAUSES
from .store import did_you_mean, several

if TYPE_CHECKING:
    from .discovery.records import Unusable
    from .identity import Introduction
    from .store import Store

log = logging.getLogger(__name__)

AWAY = (ConnectionFailed, ConnectionLost, CommandTimeout, DeviceNotFound)  # may come, or come back
LONGEST_WAIT = 10.0  # s between two tries of a program that waits: whoever sits there waits, too
LONGEST_PAUSE = 60.0  # s that somebody who mistyped a PIN is made to wait
CHECK_TIMEOUT = 5.0  # s that each answer may take while credentials of another protocol are tried


def connect(
    target: str | Device | None = None,
    *,
    protocols: Iterable[str] | None = None,
    timeout: float = 5.0,
    scan_timeout: float = 3.0,
    reconnect: bool = False,
    wake: bool | None = None,
    wait: bool | float = False,
    store: Store | None = None,
) -> AppleTV:
    """Connect to an Apple TV.

    A device in the store is connected to without a scan. If another one answers where it was, or
    none, a scan follows. No command goes to a device with other identifiers.

    One of which nothing answers at all is sent a magic packet (Wake-on-LAN), if its hardware
    address is known, and given 15 s.

    Args:
        target: Name, alias, identifier, address, host name, ``host:port`` for a directed query, or
            a :class:`~tinyatv.model.Device`. None takes the default device of the store, or the
            only device that a scan finds.
        protocols: Names of the protocols to use; None uses all that are paired.
        timeout: Seconds that a command may take. Waking a sleeping device up while connecting may
            take 25 s.
        scan_timeout: Seconds that a scan may take.
        reconnect: After a loss, try again after 1, 2, 4 ... 60 s, forever. Until then commands
            raise ``ConnectionLost``. The object and its listeners stay valid.
        wake: True sends the packet at once, False never; None as said above. What reconnects by
            itself sends none, except for :meth:`AppleTV.turn_on`.
        wait: For programs that start when the computer does. True keeps trying while the device is
            not there or does not answer, a number does so for that many seconds; the first failure
            is logged. Only the first try wakes it up, unless `wake` is True.
        store: Where credentials are; None takes the user's.

    Raises:
        DeviceNotFound: No such device; says what was found.
        ConnectionFailed: It cannot be reached.
        WrongDevice: Another device answers, and this one is not found.
        CommandTimeout: It takes the connection and does not answer.
        ProtocolError: It answers with nonsense.
        CredentialsError: It is not paired, or does not accept the credentials any more.
        NotSupported: It offers no protocol that can be connected to.
        AppleTVError: This computer has no thread or descriptor left for it.
    """
    store = _store(store)
    protocols = None if protocols is None else tuple(protocols)

    def once(first: bool) -> AppleTV:
        device, remembered = find(target, store, scan_timeout)
        return connect_to(
            device, store, remembered=remembered, protocols=protocols, timeout=timeout,
            scan_timeout=scan_timeout, reconnect=reconnect, acts=first, wake=wake,
        )  # fmt: skip

    def waiting(error: Exception) -> None:
        log.warning("waiting for the device: %s", error)

    try:
        return keep_trying(once, wait, waiting)
    except OSError as exc:  # of the store, or of a module that is loaded only now
        if is_full(exc):
            raise AppleTVError(f"this computer has no room: {reason(exc)}") from exc
        raise


def keep_trying(
    connect: Callable[[bool], AppleTV], wait: bool | float, waiting: Callable[[Exception], object]
) -> AppleTV:
    """Connect to a device that may not be there yet; see `wait` of :func:`connect`.

    Args:
        connect: Tries once; its argument is True the first time.
        wait: True, or seconds; 0 tries once.
        waiting: Called with the first error if another try follows.
    """
    if not wait >= 0:
        raise ValueError(f"wait must be 0 s or more, not {wait}")
    deadline = Deadline(None if wait is True else wait)
    first, pause = True, PAUSES[0]
    while True:
        try:
            return connect(first)
        except AWAY as exc:
            if deadline.over or isinstance(exc, SeveralFound):
                raise
            if first:
                waiting(exc)
        first = False
        left = deadline.left()
        time.sleep(pause if left is None else min(pause, left))
        pause = min(pause * 2, LONGEST_WAIT)


def connect_to(
    device: Device,
    store: Store,
    *,
    remembered: bool,
    protocols: Iterable[str] | None = None,
    timeout: float = 5.0,
    scan_timeout: float = 3.0,
    reconnect: bool = False,
    hosts: Iterable[str] = (),
    wake: bool | None = None,
    acts: bool = True,
    wait_for_all: bool = True,
) -> AppleTV:
    """Connect to a device that is found already; see :func:`connect`.

    Args:
        remembered: True if its address is an old one: if it is not the device that answers there,
            look for it.
        hosts: What to ask when looking for it, beside what it was found by.
        acts: False if it is connected to for questions alone: then nothing wakes it, unless `wake`
            is True.
        wait_for_all: False returns once one protocol is up; see :meth:`AppleTV.open`.
    """
    wanted = None if protocols is None else tuple(protocols)
    for protocol in wanted or ():
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    asked = tuple(hosts)

    def rediscover(device: Device) -> Device:
        return look_again(device, store, scan_timeout, asked)

    atv = AppleTV(
        device, protocols=wanted, timeout=timeout, reconnect=reconnect, rediscover=rediscover,
        wake=wake,
    )  # fmt: skip
    from .discovery.wake import WakeOnLan

    def opened() -> AppleTV:
        tried = atv.address
        atv.open(wait_for_all=wait_for_all)
        if atv.address != tried:  # another one answered: it comes first next time
            remember(atv.device, store)
        return atv

    try:
        with WakeOnLan(
            device, bool(wake), answered=lambda: atv.has_answered,
            never=not (acts if wake is None else wake),
        ) as waking:  # fmt: skip
            try:
                return opened()
            except AppleTVError as exc:
                error = exc
            if is_elsewhere(error) and (remembered or isinstance(error, WrongDevice)):
                where = " or ".join(device.addresses)
                log.info("%s is not at %s any more, scanning", device.name, where)
                try:
                    found = rediscover(device)
                except NotThere as missing:
                    error = missing.explains(error, atv._session.answered)
                except DeviceNotFound:
                    pass  # the first error says more
                else:
                    if isinstance(error, ConnectionFailed) or not _same_place(found, device):
                        atv.device = found
                        return opened()
            while isinstance(error, ConnectionFailed) and waking.is_worth_it(error):
                try:
                    return opened()
                except ConnectionFailed as exc:
                    log.debug("it does not wake up yet: %s", exc)
            if remembered and type(error) is ConnectionFailed:
                raise ConnectionFailed(
                    f"{error}; `tinyatv doctor` finds out why"
                ) from error.__cause__
            raise error
    except BaseException:  # Ctrl-C, too
        atv.close()
        raise


def find(target: str | Device | None, store: Store, timeout: float) -> tuple[Device, bool]:
    """Find a device in the store, or else on the network.

    Returns:
        The device with its credentials, and whether it came out of the store. One that was given
        stays as it is; its credentials win over stored ones.

    Raises:
        DeviceNotFound: No such device, or several.
    """
    if target is not None and not isinstance(target, str):
        return store.fill(target.copy(), given=True), False
    device = store.default() if target is None else store.find(target)
    if device is not None and is_reachable(device):
        return device, True
    from .discovery import scan

    if device is not None:  # imported: credentials, but no address
        target = device.identifier
    if target is None:
        check_unambiguous(store)
        found = scan(timeout)
        if len(found) == 1:
            return store.fill(found[0]), False
        raise DeviceNotFound(f"name a device; found: {_names(found)}")
    odd: list[Unusable] = []
    directed = _is_host(target)
    where: dict[str, Any] = {"hosts": [target]} if directed else {"wanted": target}
    found = scan(timeout, unusable=odd.append, **where)
    matching = [one for one in found if directed or one.is_called(target)]
    if len(matching) > 1:
        raise SeveralFound(several(target, matching))
    for one in odd:
        if not matching and (directed or target.casefold() in map(str.casefold, one[:2])):
            raise DeviceNotFound(str(one))
    if not matching:
        names = [*store.names(), *(name for one in found for name in one.names)]
        near = did_you_mean([target], names)
        raise DeviceNotFound(f"no device called '{target}'; found: {_names(found)}{near}")
    return store.fill(matching[0]), False


def check_unambiguous(store: Store) -> None:
    """Nothing is guessed from who happens to answer: one of several may be off.

    Raises:
        DeviceNotFound: Several devices are stored, and none is the default.
    """
    known = [one.device for one in store.devices()]
    if len(known) > 1 and store.default() is None:
        names = ", ".join(f"{one.name} ({one.identifier})" for one in known)
        raise SeveralFound(
            f"several devices are stored: name one, or choose one for always with"
            f" `tinyatv devices default NAME`; stored: {names}"
        )


def is_reachable(device: Device) -> bool:
    """True if it is known where to connect to; an imported device has credentials alone."""
    return bool(device.address) and any(service.port for service in device.services)


class NotThere(DeviceNotFound):
    """A device that was known is nowhere to be found.

    Args:
        device: It.
        seen: Who answers instead.

    Attributes:
        there: Those of them that have its address, and a port of it.
    """

    def __init__(self, device: Device, seen: list[Device]) -> None:
        self._device = device
        ports = {service.port for service in device.services} - {0}
        self.there = [
            one
            for one in seen
            if device.address in one.addresses
            # One address may be that of two devices, each with its own ports.
            and not ports.isdisjoint(service.port for service in one.services)
        ]
        names = {name.casefold() for name in device.names}
        self._namesakes = [
            one for one in seen if not names.isdisjoint(name.casefold() for name in one.names)
        ]
        super().__init__(
            "; ".join([f"{device.name} ({device.identifier}) is not there", *self.advice])
        )

    @property
    def advice(self) -> list[str]:
        """What to do about a device that has taken its name, if there is one."""
        from shlex import quote

        return [
            f"a device called {one.name} with other identifiers ({one.identifier}) answers at"
            f" {one.address}: if it has replaced the old one, or is the same after a reset,"
            f" `tinyatv devices adopt {quote(one.name)}`; else name it by its identifier"
            for one in self._namesakes
        ]

    def explains(self, error: AppleTVError, answered: Iterable[Introduction] = ()) -> AppleTVError:
        """Why there was an error: maybe because another device has its address, or its name.

        Args:
            error: What went wrong at the address.
            answered: How those introduced themselves who answered there.
        """
        device = self._device
        if not isinstance(error, WrongDevice):
            found = next(iter(self.there), None)
            if found is not None:
                fresh: AppleTVError = wrong(device, device.address, found.name, found.identifiers)
                fresh.__cause__ = error
                error = fresh
            for told in answered:
                try:
                    check(device, told, device.address)
                except WrongDevice as exc:
                    exc.__cause__, error = error, exc
        if not self.advice or not isinstance(error, (ConnectionFailed, CredentialsError)):
            return error
        text = "; ".join([str(error), *self.advice])
        better = WrongDevice(text, getattr(error, "answered", ()))
        better.__cause__ = error.__cause__ or error
        return better


def look_again(device: Device, store: Store, timeout: float, hosts: Iterable[str] = ()) -> Device:
    """Find a device again that is not where it was, and remember where it is now.

    Asks the hosts that it and other stored devices were found by, then all that a scan would ask.

    Args:
        device: With identifiers.
        store: Where to remember it.
        timeout: Seconds that each of the two scans may take.
        hosts: More to ask.

    Returns:
        What was found, with the credentials of `device`.

    Raises:
        NotThere: It does not answer; says who does.
        DeviceNotFound: It cannot be recognized.
    """
    from .discovery import scan

    if not device.identifiers:
        raise DeviceNotFound(f"{device.name} was described by hand and has no identifier")
    mine = identifier_keys(device.identifiers)
    seen: list[Device] = []
    for asked in _rounds(device, store, hosts):
        try:
            answers = scan(timeout, hosts=asked, wanted=device.identifiers)
        except DeviceNotFound as exc:  # the only host has no address any more
            log.debug("%s", exc)
            continue
        for found in answers:
            if not identifier_keys(found.identifiers) & mine:
                continue
            store.fix_address(found)
            for service in found.services:
                old = device.service(service.protocol)
                if old is not None:
                    service.credentials = old.credentials or service.credentials
                    service.password = old.password or service.password
            remember(found, store)
            return found
        seen += answers
    raise NotThere(device, list({one.identifier: one for one in seen}.values()))


def _rounds(device: Device, store: Store, hosts: Iterable[str]) -> list[list[str] | None]:
    """Hosts to ask, one scan after the other; None stands for those of every scan."""
    asked = [device.query, *hosts]
    try:
        asked += [one.device.query for one in store.devices()]  # they may have swapped addresses
    except (AppleTVError, OSError) as exc:
        log.debug("%s", exc)
    first = list(dict.fromkeys(filter(None, asked)))
    usual = [one.strip() for one in os.environ.get("TINYATV_SCAN_HOSTS", "").split(",")]
    if not first:
        return [None]
    return [first] if any(usual) and {*usual} <= {*first} else [first, None]


def _same_place(device: Device, other: Device) -> bool:
    ports = [{s.protocol: s.port for s in one.services if s.enabled} for one in (device, other)]
    return device.address == other.address and ports[1].items() <= ports[0].items()


def remember(device: Device, store: Store) -> None:
    """Update address and ports of a device that is stored already."""
    try:
        if any(store.find(identifier) for identifier in device.identifiers):
            store.save(device)
    except (AppleTVError, OSError) as exc:
        log.warning("cannot update the store: %s", exc)


def pair(
    target: str | Device | None = None,
    *,
    protocols: Iterable[str] | None = None,
    pin: str | int | Callable[[], str | int | None] | None = None,
    show_pin: Callable[[str], object] | None = None,
    name: str = "tinyatv",
    timeout: float = 60.0,
    scan_timeout: float = 3.0,
    store: Store | None = None,
    cancel: threading.Event | None = None,
    address: str | None = None,
    port: int = 0,
    guid: str | None = None,
    instance: str | None = None,
    announce: bool = True,
) -> Device:
    """Pair with a device and store the result.

    One that is stored is looked for first, so that no other one is asked to show a PIN.

    Most devices show a PIN, and this end has to know it. What one protocol has accepted is tried on
    the others first, so that one PIN is enough where the device allows it; what it stored before an
    error stays. Over DMAP (Apple TV 1-3, tvOS up to 12)
    it is the other way round: this end chooses the PIN, and the user picks the remote on the TV, in
    *Settings > General > Remotes*, and types the PIN there.

    Args:
        target: As for :func:`connect`.
        protocols: Names of the protocols to pair; None pairs all that can be.
        pin: The PIN that the TV shows, or a function that asks for it, called once the TV shows
            it; None asks on the terminal, and again after a wrong one. Over DMAP: the PIN to type
            on the TV, up to four digits, or a function that returns it; None makes one up.
        show_pin: Over DMAP: called with the PIN when the TV is ready for it; None prints it.
        name: Shown on the TV.
        timeout: Seconds to wait for the user over DMAP.
        scan_timeout: Seconds that a scan may take.
        store: Where the result goes; None takes the user's.
        cancel: Set it on another thread, and the pairing ends with a ``PairingError`` that says
            "cancelled", at once, or after a scan that runs, or when credentials have been tried. A
            `pin` function that waits for something has to return by itself; what it returns then
            does not matter.
        address: Over DMAP, as for :func:`tinyatv.backends.dmap_pairing.publish_remote`, like the
            next four: our address, for containers.
        port: TCP port to listen on; 0 picks a free one.
        guid: Identity of the remote: 16 hex digits; None makes one up.
        instance: Instance name to publish; None makes it of the address.
        announce: False publishes nothing.

    Returns:
        The device, with its credentials.

    Raises:
        DeviceNotFound: No such device.
        PairingError: Wrong PIN, it was not typed in time, the device refuses, or it was cancelled.
        PairingBackOff: The device wants a pause after wrong PINs.
        ConnectionFailed: The device cannot be reached.
        NotSupported: The device offers nothing that can be paired.
        ValueError: The device has no identifier, so that nothing could be stored for it.
        OSError: The store cannot be written. The credentials are in the error's ``device``.
    """
    store = _store(store)
    choose: dict[str, Any] = {
        "ask_pin": partial(_ask_pin, cancel),
        "again": partial(_ask_again, cancel),
    }
    if callable(pin):
        choose = {"ask_pin": partial(_told_pin, pin), "choose_pin": pin}
    elif pin is not None:
        choose["pin"] = str(pin)
        del choose["again"]
    request = PairingRequest(
        show_pin=show_pin, client_id=store.client_uuid, name=name, timeout=timeout, cancel=cancel,
        options={"address": address, "port": port, "guid": guid, "instance": instance,
                 "announce": announce}, **choose,
    )  # fmt: skip
    with request.cancellation:
        if target is not None and not isinstance(target, str):
            device, remembered = store.fill(target, given=True), False
        else:
            device, remembered = find(target, store, scan_timeout)
        if remembered:
            device = locate(device, store, scan_timeout)
        pair_by(request, device, store, protocols)
    return device


def pair_by(
    request: PairingRequest, device: Device, store: Store, protocols: Iterable[str] | None
) -> None:
    """Pair with a device that is found already; see :func:`pair`.

    Args:
        request: How. Its cancellation has been entered.
        device: Gets the credentials.
        store: Where they go.
        protocols: As for :func:`pair`.
    """
    services = [one for one in device.services if one.protocol in BACKENDS and one.enabled]
    if protocols is not None:
        wanted = tuple(protocols)
        services = [one for one in services if one.protocol in wanted]
    if not services:
        offered = ", ".join(one.protocol for one in device.services) or "nothing"
        raise NotSupported(f"{device.name} offers nothing that can be paired: {offered}")
    if not device.identifiers:
        raise ValueError(
            f"{device.name} has no identifier, so a pairing could not be stored:"
            " give it one (--id), or let a scan find it"
        )

    def pair_one(service: Service) -> str:
        for other in device.services:  # try what is known before asking for a PIN
            candidate = other in fresh or not service.credentials
            if candidate and shares_credentials_with(other, service):
                assert other.credentials, "they are what it shares"
                if _accepts(device, service, other.credentials):
                    return other.credentials
        while True:
            request.cancellation.check()
            try:
                return load_pairing(service.protocol).pair(device, service, request)
            except PairingError as exc:
                if not exc.wrong_pin or request.pin is not None or not request.again(exc):
                    raise

    fresh: list[Service] = []
    needed = services if protocols is not None else [one for one in services if should_pair(one)]
    for service in sorted(needed, key=lambda one: PROTOCOLS.index(one.protocol)):
        service.credentials = pair_one(service)
        fresh.append(service)
        _save(device, store)
    if not needed:
        _save(device, store)  # it can be used as it is


def locate(device: Device, store: Store, timeout: float, hosts: Iterable[str] = ()) -> Device:
    """Make sure where a stored device is, before anything is agreed on with it.

    Args:
        timeout: Seconds that each of two scans may take.
        hosts: More to ask.

    Returns:
        What was found. If nothing was, the device as it is stored: whoever pairs compares again,
        where the protocol allows that.

    Raises:
        WrongDevice: Another device has its address or its name.
    """
    try:
        return look_again(device, store, timeout, hosts)
    except NotThere as missing:
        silent = ConnectionFailed(f"{device.name} ({device.identifier}) was not found")
        error = missing.explains(silent)
        if error is not silent:
            raise error from None
    except DeviceNotFound as exc:
        log.debug("%s", exc)
        return device
    service = device.service("airplay")
    if service is not None and service.port:
        from .backends.airplay_session import introduction_at

        told = introduction_at(device.addresses, service.port, CHECK_TIMEOUT)
        if told is not None:
            check(device, told, device.address)
    return device


def _save(device: Device, store: Store) -> None:
    try:
        store.save(device)
    except OSError as exc:
        exc.device = device  # type: ignore[attr-defined]
        raise


def _accepts(device: Device, service: Service, credentials: str) -> bool:
    """True if the credentials of another service are accepted here."""
    tried = copy(service)
    tried.credentials = credentials
    try:
        load_pairing(service.protocol).check(device, tried, timeout=CHECK_TIMEOUT)
    except AppleTVError as exc:
        log.info("%s: %s", service.protocol, exc)
        return False
    return True


def _told_pin(pin: Callable[[], str | int | None]) -> str:
    told = pin()
    return "" if told is None else str(told)


def _ask_pin(cancel: threading.Event | None) -> str:
    """Ask on the terminal."""
    print("PIN on the TV: ", end="", flush=True)
    while cancel is not None and hasattr(select, "poll") and sys.stdin is not None:
        if cancel.is_set():
            print()
            return ""
        if select.select([sys.stdin], [], [], 0.1)[0]:
            break
    line = sys.stdin.readline() if sys.stdin is not None else ""
    if not line:
        raise PairingError("no PIN was given")
    return line


def ask_again(
    error: PairingError, show: Callable[[str], object], cancel: threading.Event | None = None
) -> bool:
    """After a wrong PIN, make the pause that the device wants, unless that is long.

    Args:
        error: That the PIN was wrong.
        show: Called with lines for the person who typed it.
        cancel: Ends the pause.

    Returns:
        False if the device has to be left alone for more than a minute.
    """
    show("That PIN is wrong.")
    if error.seconds is not None and error.seconds > LONGEST_PAUSE:
        return False
    if error.seconds:
        show(f"The TV wants a pause of {error.seconds:g} s, and shows a new one then.")
        (cancel or threading.Event()).wait(error.seconds)
    return True


def _ask_again(cancel: threading.Event | None, error: PairingError) -> bool:
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    return at_terminal and ask_again(error, print, cancel)


def _store(store: Store | None) -> Store:
    if store is not None:
        return store
    from .store import Store

    return Store()


def _is_host(text: str) -> bool:
    """True for ``192.0.2.10``, ``fd00::5``, ``appletv.local``, ``localhost`` and ``host:port``."""
    from .addresses import family_of

    if family_of(text) is not None or text.startswith("["):
        return True
    host, _, port = text.partition(":")
    if port and not port.isdecimal():
        return False
    dotted = "." in host and all(c.isalnum() or c in "-._" for c in host)
    return dotted or (bool(port) and host != "") or host == "localhost"


def _names(devices: list[Device]) -> str:
    return ", ".join(f"{one.name} ({one.address})" for one in devices) or "nothing"
