"""Pair with a device, and store the credentials.

Most devices show a PIN: type it here. An Apple TV up to the third generation lists this program in
Settings > General > Remotes instead; choose it there and type the PIN that is shown here.

Each paired protocol is then tried by connecting. The wizard pairs again what the device no longer
accepts.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from ..backends import PairingRequest
from ..connecting import ask_again, locate, pair_by
from ..errors import AppleTVError, CredentialsError, PairingError
from ..model import PROTOCOLS, Device, Service, identifier_keys
from ..pairing.credentials import should_pair
from ..routes import BACKENDS, ROUTES
from .flags import port, seconds
from .output import confirms, one_line, show, terminal
from .target import (
    Progress,
    choose,
    given_credentials,
    open_target,
    scan,
    scan_hosts,
    the_store,
)

if TYPE_CHECKING:
    from ..store import Store
    from .flags import Arguments, Parser
    from .output import Output


NO_PIN = """\
No PIN on the TV?
 - Wake it up: while it sleeps, or shows its screen saver, there is none.
 - Settings > Remotes and Devices > Remote App and Devices must allow remotes.
 - Settings > AirPlay and HomeKit > Allow Access: "Anyone on the Same Network".
 - After wrong PINs it refuses for a while; restarting it ends that.
"""


def add_flags(parser: Parser, word: str) -> None:
    """How an old device finds us."""
    add = parser.add_argument
    add("--pairing-timeout", type=seconds, default=120.0, metavar="S", help="seconds to wait (120)")
    add("--pairing-port", type=port, default=0, metavar="N", help="TCP port to listen on (any)")
    add("--pairing-address", metavar="IP", help="address to announce, for containers")
    add("--pairing-instance", metavar="NAME", help="instance name to publish")
    add("--no-announce", action="store_true", help="publish nothing; the TV knows our address")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Pair, or go through the wizard."""
    if word == "wizard":
        return _wizard(flags, out)
    store = the_store(flags)
    device, remembered = choose(flags, store, out)
    if remembered:
        with Progress(out):
            device = locate(device, store, flags.scan_timeout, scan_hosts(flags))
    given_credentials(flags, device, store)
    return _pair(flags, out, device, None if flags.protocol is None else [flags.protocol])


def _pair(flags: Arguments, out: Output, device: Device, protocols: list[str] | None) -> int:
    store = the_store(flags)
    request = PairingRequest(
        pin=None if flags.pin == "none" else flags.pin,
        ask_pin=lambda: _ask_pin(device, out),
        show_pin=lambda pin: _show_pin(pin, flags, out),
        client_id=store.client_uuid,
        name=flags.remote_name,
        timeout=flags.pairing_timeout,
        again=lambda error: not out.json and terminal() and ask_again(error, show),
        options={
            "port": flags.pairing_port,
            "guid": flags.pairing_guid,
            "address": flags.pairing_address,
            "instance": flags.pairing_instance,
            "announce": not flags.no_announce,
        },
    )
    paired = store.fill(device, given=True)
    try:
        pair_by(request, paired, store, protocols)
    except OSError as exc:
        lost = getattr(exc, "device", None)
        if lost is None:
            raise
        # The pairing itself succeeded: do not make the user do it again.
        kept = {s.protocol: s.credentials for s in lost.services if s.credentials}
        shown = ", ".join(f"--{p}-credentials {c}" for p, c in kept.items())
        if not out.json:
            show(f"Paired, but not stored. Keep these: {shown}")
        return out.failure(exc, credentials=kept)
    there = {s.protocol for s in paired.services if s.credentials}
    done = [protocol for protocol in PROTOCOLS if protocol in there]
    errors = _trials(paired, flags.timeout)
    up = [protocol for protocol in done if errors.get(protocol, "not ours") is None]
    name = paired.name or paired.address
    text = f"Paired with {name} ({', '.join(done)})" if done else f"{name} needs no pairing"
    if errors and not any(errors.values()):
        text += ", and connected with each"
    out.result([text], paired=done, device=paired.identifier, name=paired.name, connected=up)
    codes = [_not_connected(out, protocol, error) for protocol, error in errors.items() if error]
    return codes[0] if codes else 0


def _trials(device: Device, timeout: float) -> dict[str, AppleTVError | None]:
    """Connect by each protocol that is paired; why that fails, or None."""
    from ..diagnosis import at_once
    from ..diagnosis.device import verify

    def trial(service: Service) -> AppleTVError | None:
        try:
            verify(device, service, timeout)
        except AppleTVError as exc:
            return exc
        return None

    paired = [s for s in device.services if s.credentials and s.enabled and s.protocol in BACKENDS]
    results = at_once("trial", [partial(trial, service) for service in paired])
    return dict(zip([service.protocol for service in paired], results))


def _not_connected(out: Output, protocol: str, error: AppleTVError) -> int:
    if not out.json:
        show(f"{protocol} is paired, but does not connect:", error=True)
    return out.failure(error, protocol=protocol)


def _ask_pin(device: Device, out: Output) -> str:
    """Ask for the PIN on the TV, with hints if there is none."""
    if out.json:
        out.result(pin="wanted", device=device.identifier)
    while True:
        if not out.json:
            show(f"PIN that {device.name} shows (ENTER if there is none): ", end="")
        line = sys.stdin.readline() if sys.stdin is not None else ""
        if not line:
            raise PairingError("no PIN was given: use --pin, or type it")
        digits = line.strip()
        if digits.isascii() and digits.isdecimal() and len(digits) <= 4:
            return digits
        if out.json:
            raise ValueError("a PIN has four digits")
        show("A PIN has four digits." if digits else NO_PIN)


def _show_pin(pin: str, flags: Arguments, out: Output) -> None:
    text = f"On the TV, open Settings > General > Remotes, choose {flags.remote_name!r}, type {pin}"
    if out.json:
        out.result(pin=pin, remote=flags.remote_name)
    else:
        show(text)


def _wizard(flags: Arguments, out: Output) -> int:
    if out.json:
        raise ValueError("the wizard is for people; use `pair --json`")
    found = scan(flags, out, [])
    if not found:
        from ..errors import DeviceNotFound

        raise DeviceNotFound("no device answered; is it on, and on the same network?")
    show("Found the following devices:")
    width = max(len(one.name) for one in found)
    for number, one in enumerate(found, 1):
        show(f"{number:>3}  {one.name:<{width}}  {one.info.model_name:<20}  {one.address}")
    device = _ask_device(found)
    if device is None:
        return 0
    store = the_store(flags)
    _ask_whether_it_replaces(device, store, found)
    store.fill(device)
    services = [s for s in device.services if s.protocol in BACKENDS and s.enabled]
    if not services:
        offered = ", ".join(s.protocol for s in device.services)
        show(f"{device.name} offers {offered}; this version only pairs {', '.join(BACKENDS)}")
        return 5
    unpaired, code = [], 0
    errors = _trials(device, flags.timeout)
    for service in services:
        error = errors.get(service.protocol)
        if isinstance(error, CredentialsError):
            show(f"{device.name} ({service.protocol}) no longer accepts our pairing")
            service.credentials = None
        state = _state(service)
        if state is None:
            unpaired.append(service)
            continue
        show(f"{device.name} ({service.protocol}) {state}")
        if error is not None:
            code = _not_connected(out, service.protocol, error)
        store.save(device)
    if unpaired:
        try:
            code = _pair(flags, out, device, [service.protocol for service in unpaired]) or code
        except PairingError as exc:
            missing = [service.protocol for service in unpaired if not service.credentials]
            if len(missing) == len(unpaired):
                raise
            code = out.failure(exc)
            show(f"The rest is set up. Later: tinyatv pair --protocol {missing[0]}")
    flags.protocol = None
    flags.id, flags.name = device.identifier, None
    try:
        with open_target(flags, out, acts=False) as atv:
            show(f"Connected to {atv.name} by {', '.join(atv.protocols)}.")
            if not {*ROUTES["playing"]}.isdisjoint(atv.protocols):
                show("It is playing:", *str(atv.playing()).split("\n"))
    except Exception as exc:
        show(f"Cannot connect: {one_line(exc)}", error=True)
        raise
    if not code:
        show("All set. Try: tinyatv play_pause")
    return code


def _ask_whether_it_replaces(device: Device, store: Store, found: list[Device]) -> None:
    """If a stored device of that name did not answer, this one may have taken its place."""
    names = {name.casefold() for name in device.names}
    answered = identifier_keys(text for one in found for text in one.identifiers)
    for known in store.devices():
        old = known.device
        if old.name.casefold() not in names or identifier_keys(old.identifiers) & answered:
            continue
        show(f"Another {old.name} ({old.identifier}) is stored, and did not answer.")
        if confirms("Has this one replaced it? Then the old pairing is dropped"):
            store.replace(str(old.identifier), device)


def _state(service: Service) -> str | None:
    """Why a service need not be paired, or None."""
    if service.credentials:
        shared = service.properties.get("hg")  # its Home Sharing id, which opens it
        return "needs no pairing: Home Sharing is on" if shared else "is paired already"
    if should_pair(service):
        return None
    if service.pairing.name == "Disabled":
        return "only lets members of its home in; change it in Settings > Remotes and Devices"
    return "needs no pairing" if service.pairing.name == "NotNeeded" else "cannot be paired"


def _ask_device(found: list[Device]) -> Device | None:
    only = len(found) == 1
    choice = "ENTER or 1" if only else f"1 to {len(found)}"
    while True:
        try:
            answer = input(f"Which one ({choice}, q to leave)? ").strip()
        except (EOFError, RuntimeError):  # its end, or there is none
            show()
            return None
        if answer.lower() == "q":
            return None
        if only and not answer:
            return found[0]
        if answer.isdecimal() and 1 <= int(answer) <= len(found):
            return found[int(answer) - 1]
        show(f"{answer!r} is not a number from 1 to {len(found)}")
