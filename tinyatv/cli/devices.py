"""Stored devices: list them, give one an alias, make it the default, replace it, or forget it.

tinyatv devices
tinyatv devices alias "Living Room" tv       set a short name; without one, remove it
tinyatv devices default tv                   used when no device is named
tinyatv devices address tv 192.0.2.7         use this address, whatever it announces; without one,
                                             use again what it announces
tinyatv devices forget tv                    remove it with its credentials
tinyatv devices adopt tv [IDENTIFIER]        another device has its place now: it was replaced or
                                             reset. It gets the alias; old credentials are dropped
tinyatv devices import [FILE]                copy credentials from ~/.pyatv.conf, or from
                                             core.config_entries of Home Assistant
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from ..errors import DeviceNotFound
from ..model import identifier_keys
from ..store import several
from .output import confirms
from .target import scan, the_store

if TYPE_CHECKING:
    from ..store import Store
    from .flags import Arguments, Parser
    from .output import Output


def add_flags(parser: Parser, word: str) -> None:
    """What to do, and with which device."""
    metavar = "alias|default|address|forget|adopt|import"
    parser.add_argument("words", nargs="*", metavar=metavar, help="see above")
    parser.add_argument("--yes", action="store_true", help="adopt without asking")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Do it."""
    store = the_store(flags)
    action, *args = flags.words or ["list"]
    if action == "list" and not args:
        rows, keys = [], []
        for known in store.devices():
            device = known.device
            paired = [s.protocol for s in device.services if s.credentials]
            marks = " (default)" if known.default else ""
            alias = f" = {known.alias}" if known.alias else ""
            fixed = " (fixed)" if known.fixed_address else ""
            rows.append(
                f"{device.name}{alias}{marks}: {device.address or 'address unknown'}{fixed}, "
                f"{device.identifier}, paired: {', '.join(paired) or 'nothing'}"
            )
            keys.append(
                {"name": device.name, "alias": known.alias, "default": known.default,
                 "address": device.address, "addresses": device.addresses,
                 "fixed_address": known.fixed_address, "identifier": device.identifier,
                 "all_identifiers": device.identifiers, "paired": paired}
            )  # fmt: skip
        out.result(rows or "No device is stored. `tinyatv wizard` adds one.", devices=keys)
    elif action == "alias" and len(args) in (1, 2):
        new = args[1] if len(args) == 2 else None
        device = store.set_alias(args[0], new)
        text = f"{device.name} is now {new!r}" if new else f"{device.name} has no alias"
        out.result([text], device=device.identifier, alias=new)
    elif action == "default" and len(args) == 1:
        device = store.set_default(args[0])
        out.result([f"{device.name} is the default"], default=device.identifier)
    elif action == "address" and len(args) in (1, 2):
        host = args[1] if len(args) == 2 else None
        device = store.set_address(args[0], host)
        text = f"{device.name} is at {host}, whatever it announces"
        if host is None:
            text = f"{device.name} is where it announces"
        out.result(
            [text], device=device.identifier, address=device.address, fixed_address=host
        )  # fmt: skip
    elif action == "forget" and len(args) == 1:
        device = store.forget(args[0])
        out.result([f"{device.name} was removed"], forgotten=device.identifier)
    elif action == "adopt" and len(args) in (1, 2):
        _adopt(flags, out, store, *args)
    elif action == "import" and len(args) <= 1:
        unusable: list[str] = []
        copied = store.import_foreign(args[0] if args else None, unusable=unusable.append)
        lines = [f"imported {len(copied)}: {', '.join(copied)}" if copied else "nothing to import"]
        lines += [f"not imported: {problem}" for problem in unusable]
        out.result(lines, imported=copied, unusable=unusable)
    else:
        raise ValueError(
            "devices [alias DEVICE [ALIAS] | default DEVICE | address DEVICE [HOST] | forget DEVICE"
            " | adopt DEVICE [IDENTIFIER] | import]"
        )
    return 0


def _adopt(flags: Arguments, out: Output, store: Store, name: str, new: str | None = None) -> None:
    """Let the device that has the name of a stored one, or is named, take its place."""
    old = store.find(name)
    if old is None:
        raise DeviceNotFound(f"{name!r} is not stored: `tinyatv devices` lists what is")
    mine = identifier_keys(old.identifiers)
    wanted = [new] if new else old.names
    found = [
        one
        for one in scan(flags, out, [new] if new else [])
        if any(map(one.is_called, wanted)) and not identifier_keys(one.identifiers) & mine
    ]
    if not found:
        raise DeviceNotFound(f"no other device called {' or '.join(wanted)} answers")
    if len(found) > 1:
        raise DeviceNotFound(several(wanted[0], found))
    device = found[0]
    text = f"{old.name} ({old.identifier}) is {device.name} ({device.identifier}) from now on"
    if not flags.yes:
        if out.json or not sys.stdin or not sys.stdin.isatty():
            raise ValueError(f"this drops the old pairing; with --yes, {text}")
        if not confirms(f"{text}; its old pairing is dropped. Go on?"):
            out.result(["nothing was changed"])
            return
    store.replace(str(old.identifier), device)
    quoted = shlex.quote(str(device.identifier))
    out.result(
        [text, f"Pair with it: tinyatv pair -i {quoted}"],
        adopted=device.identifier, replaced=old.identifier,
    )  # fmt: skip
