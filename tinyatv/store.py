"""The store: devices that were paired, where they were last, and their credentials.

    ~/.config/tinyatv/devices.json, or $XDG_CONFIG_HOME/tinyatv/devices.json, or $TINYATV_STORE

    {"version": 1, "client": {"id": "..."}, "default": "<identifier>",
     "devices": [{"name": "Den", "alias": "tv", "address": "192.0.2.10",
                  "addresses": ["192.0.2.10", "fd00::5"], "identifiers": ["..."],
                  "services": {"dmap": {"port": 3689, "identifier": "...", "credentials": "...",
                                        "pairing": "Mandatory"}}}]}

Only the owner can read it, it is replaced as a whole, and processes take turns. The store of the
field's other library, ``~/.pyatv.conf``, is read as well, so nobody pairs again, and never written.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from . import foreign
from .deadline import Deadline
from .errors import CredentialsError, DeviceNotFound, SeveralFound
from .files import expand, make_folder, read_json, replace_file
from .files import store_path as default_path
from .foreign import PYATV
from .foreign import SECRETS as SECRETS
from .model import (
    PROTOCOLS,
    Device,
    DeviceInfo,
    OperatingSystem,
    PairingRequirement,
    Service,
    identifier_key,
    identifier_keys,
)

log = logging.getLogger(__name__)

VERSION = 1
PATIENCE = 10.0  # s; a lock is held for milliseconds


class StoredDevice:
    """A device in the store.

    Attributes:
        device: As it was last seen, with credentials.
        alias: A short name given by the user, or None.
        default: True if it is the one to use when none is named.
        fixed_address: An address given by the user, which counts instead of those that the device
            announces; or None.
    """

    __slots__ = ("alias", "default", "device", "fixed_address")

    def __init__(
        self, device: Device, alias: str | None, default: bool, fixed_address: str | None = None
    ) -> None:
        self.device = device
        self.alias = alias
        self.default = default
        self.fixed_address = fixed_address


class Store:
    """Devices that are remembered.

    Reading never fails because a file is missing; a damaged one is reported and left alone. Another
    library's store that cannot be read is passed over, with one warning in the log.

    Args:
        path: File; None takes :func:`tinyatv.files.store_path`.
        memory: Keep everything in memory and touch no file.
        foreign: Another library's store to read credentials from; None reads none.

    Raises:
        CredentialsError: No path is given, and there is no home folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        memory: bool = False,
        foreign: str | None = PYATV,
    ) -> None:
        self.path = None if memory else os.fspath(path) if path is not None else default_path()
        self._memory: dict[str, Any] = {}
        self._foreign = None if memory else foreign

    def __repr__(self) -> str:
        return f"Store({self.path or 'in memory'})"

    # -- reading ---------------------------------------------------------------------------------

    def devices(self) -> list[StoredDevice]:
        """All devices, in the order in which they were added.

        Raises:
            CredentialsError: The file is damaged.
        """
        return [known for known, _ in self._known_entries()]

    def _known_entries(self) -> list[tuple[StoredDevice, list[str]]]:
        """All devices, each with the identifiers that it answers to.

        These are more than its services have: some services are not stored, since they only name
        the device.
        """
        data = self._read()
        default = data.get("default")
        return [
            (
                StoredDevice(
                    _device(entry),
                    entry.get("alias"),
                    _is_among(default, entry["identifiers"]),
                    entry.get("fixed_address") or None,
                ),
                entry["identifiers"],
            )
            for entry in data.get("devices", [])
        ]

    def find(self, text: str) -> Device | None:
        """The device of that alias, name, address or identifier, or None.

        Case is ignored; of identifiers, colons as well.

        Raises:
            DeviceNotFound: Several devices have that name.
            CredentialsError: The file is damaged.
        """
        known = self._known_entries()
        if not text:
            return None
        wanted = text.casefold()
        aliased = [k.device for k, _ in known if (k.alias or "").casefold() == wanted]
        found = aliased or [
            k.device
            for k, identifiers in known
            if k.device.is_called(text) or _is_among(text, identifiers)
        ]
        if len(found) > 1:
            raise SeveralFound(several(text, found))
        return found[0] if found else None

    def default(self) -> Device | None:
        """The default device, or the only one there is, or None."""
        known = self.devices()
        chosen = [k.device for k in known if k.default] or [k.device for k in known]
        return chosen[0] if len(chosen) == 1 else None

    def fill(self, device: Device, *, given: bool = False) -> Device:
        """Give `device` the credentials and passwords that are stored for it; returns it.

        What was paired wins over what the device announces (a Home Sharing id), and an address that
        is fixed over all that it announces.

        Args:
            device: To be changed.
            given: True if what it brings is the caller's own, and wins over what is stored.
        """
        own = [
            (service, key, value)
            for service in device.services
            for key in SECRETS
            if given and (value := getattr(service, key)) and value != service.properties.get("hg")
        ]
        sources = [(known, known.identifiers) for known in self._foreign_devices()]
        sources += [(known.device, names) for known, names in self._known_entries()]
        wanted = identifier_keys(device.identifiers)
        for known, identifiers in sources:
            if not wanted & identifier_keys(identifiers):
                continue
            for service in known.services:
                mine = device.service(service.protocol)
                if mine is not None:
                    mine.credentials = service.credentials or mine.credentials
                    mine.password = service.password or mine.password
        for service, key, value in own:
            setattr(service, key, value)
        self.fix_address(device)
        return device

    def fix_address(self, device: Device) -> None:
        """If an address is fixed for a device, make that its only one."""
        for entry in _entries(self._read(), device):
            if entry.get("fixed_address"):
                device.use_only(entry["fixed_address"])

    # -- writing ---------------------------------------------------------------------------------

    def save(self, device: Device) -> None:
        """Add a device, or update what is known of it. Credentials it lacks are kept.

        Raises:
            OSError: The file cannot be written; it is as it was.
            CredentialsError: The file is damaged.
            ValueError: The device has no identifier.
        """
        if not device.identifiers:
            raise ValueError(f"{device.name}: a device without an identifier cannot be stored")
        with self._change() as data:
            same = _entries(data, device)
            entry = same[0] if same else {}
            if not same:
                data["devices"].append(entry)
            for other in same[1:]:  # what was seen in parts is one device
                data["devices"].remove(other)
                _merge(entry, other)
            entry["name"] = device.name
            if device.address != entry.get("fixed_address"):
                _note_addresses(entry, device.addresses)
            names = [*device.identifiers, *entry.get("identifiers", [])]
            entry["identifiers"] = list({identifier_key(one): one for one in names[::-1]}.values())
            entry["identifiers"].reverse()
            if device.query is not None:
                entry["query"] = device.query
            entry.setdefault("info", {}).update(_told(device.info))
            services = entry.setdefault("services", {})
            for service in device.services:
                if not service.enabled:
                    continue
                fields = services.setdefault(service.protocol, {})
                fields.update(port=service.port, pairing=service.pairing.name)
                if service.properties:  # its record tells
                    fields["requires_password"] = service.requires_password
                for key in ("identifier", "credentials", "password"):
                    if getattr(service, key):
                        fields[key] = getattr(service, key)

    def take_away(self, device: Device, protocol: str, field: str) -> bool:
        """Forget the credentials or the password of one service; the rest is kept.

        Args:
            device: Whose.
            protocol: Name of the service.
            field: ``"credentials"`` or ``"password"``.

        Returns:
            False if none were stored.

        Raises:
            OSError: The file cannot be written; it is as it was.
            CredentialsError: The file is damaged.
            ValueError: No such field.
        """
        if field not in SECRETS:
            raise ValueError(f"{field} is none of {', '.join(SECRETS)}")

        def stored(data: dict[str, Any]) -> list[dict[str, Any]]:
            services = [entry["services"].get(protocol, {}) for entry in _entries(data, device)]
            return [fields for fields in services if fields.get(field)]

        if not stored(self._read()):
            return False
        with self._change() as data:
            for fields in stored(data):
                del fields[field]
        return True

    def forget(self, text: str) -> Device:
        """Remove a device with its credentials; returns it.

        Raises:
            DeviceNotFound: It is not there.
        """
        device = self._known(text)
        with self._change() as data:
            for entry in _entries(data, device):
                data["devices"].remove(entry)
                if _is_among(data.get("default"), entry["identifiers"]):
                    del data["default"]
        return device

    def replace(self, text: str, device: Device) -> Device:
        """Let a device take the place of a stored one, with its alias and as the default.

        For one that was replaced, or that is the same but has other identifiers after a reset. What
        the old one was paired with is dropped: the new one does not accept it.

        Args:
            text: The old one: alias, name, address or identifier.
            device: The new one. What is stored for it already is kept.

        Returns:
            The old one.

        Raises:
            DeviceNotFound: The old one is not there, or it is the same one.
            OSError: The file cannot be written; it is as it was.
            CredentialsError: The file is damaged.
        """
        old = self._known(text)
        self.save(device)
        with self._change() as data:
            mine = _entries(data, device)[0]
            gone = [one for one in _entries(data, old) if one is not mine]
            if not gone:
                raise DeviceNotFound(f"{old.name} is {device.name}: nothing to replace")
            for entry in gone:
                data["devices"].remove(entry)
                mine["alias"] = mine.get("alias") or entry.get("alias")
                if _is_among(data.get("default"), entry["identifiers"]):
                    data["default"] = device.identifier
        return old

    def set_alias(self, text: str, alias: str | None) -> Device:
        """Give a device a short name, or with None take it away; returns the device.

        Raises:
            DeviceNotFound: It is not there.
            ValueError: Another device has that alias.
        """
        device = self._known(text)
        with self._change() as data:
            mine = _entries(data, device)
            for entry in data["devices"]:
                taken = (entry.get("alias") or "").casefold() == (alias or "").casefold()
                if alias and taken and entry not in mine:
                    raise ValueError(f"{entry.get('name')} has the alias {alias!r} already")
            for entry in mine:
                entry["alias"] = alias
        return device

    def set_address(self, text: str, address: str | None) -> Device:
        """Fix the address of a device, or with None let it announce its own; returns the device.

        Args:
            text: Alias, name, address or identifier.
            address: Address or host name; it counts instead of what scans find.

        Raises:
            DeviceNotFound: It is not there.
            ValueError: Not an address or host name, or it has a port: each service has its own.
        """
        if address is not None:
            from .addresses import split_host  # only here: completion has no use for sockets

            host, port = split_host(address)
            if port is not None:
                raise ValueError(f"an address without a port, not {address!r}")
            address = host
        device = self._known(text)
        with self._change() as data:
            for entry in _entries(data, device):
                entry.pop("fixed_address", None)
                if address is not None:
                    entry["fixed_address"] = address
        return self.find(str(device.identifier)) or device

    def set_default(self, text: str) -> Device:
        """Make a device the one that is used when none is named; returns it.

        Raises:
            DeviceNotFound: It is not there.
        """
        device = self._known(text)
        with self._change() as data:
            data["default"] = device.identifier
        return device

    def client_id(self) -> str:
        """The identity of this installation: 16 hex digits, made up once and kept."""
        data = self._read()
        if "id" not in data.get("client", {}):
            import secrets

            with self._change() as data:
                data.setdefault("client", {}).setdefault("id", secrets.token_hex(8).upper())
        return str(data["client"]["id"])

    def client_uuid(self) -> str:
        """The same identity as the text of a UUID, which is how HAP pairing wants it.

        Always the same one, so that a device which is paired again does not list two remotes. Made
        up anew if the store cannot be written.
        """
        import hashlib
        import uuid

        try:
            seed = self.client_id().encode()
        except OSError:
            seed = os.urandom(16)
        return str(uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16], version=4))

    def import_foreign(
        self, path: str | None = None, *, unusable: Callable[[str], object] | None = None
    ) -> list[str]:
        """Copy the credentials of another program's file into this store.

        Args:
            path: The file of another library, or Home Assistant's ``.storage/core.config_entries``;
                None takes ``~/.pyatv.conf``.
            unusable: Called with one line for each thing in it that cannot be used, and why; None
                writes them to the log.

        Returns:
            Main identifiers of the devices that were copied.

        Raises:
            CredentialsError: The file is missing or damaged, or there is nothing in it to use.
            OSError: It cannot be read, or the store cannot be written.
        """
        path = expand(path or self._foreign or PYATV)
        try:
            found = foreign.read(path)
        except FileNotFoundError:
            raise CredentialsError(f"{path} does not exist") from None
        copied, problems = [], []
        for one in found:
            problems += one.problems
            device = one.device
            if device.identifier is not None:
                self._adopt(device)
                copied.append(device.identifier)
        if problems and not copied:
            raise CredentialsError(f"{path} has nothing that can be used: {'; '.join(problems)}")
        for problem in problems:
            if unusable is None:
                log.warning("%s: not imported: %s", path, problem)
            else:
                unusable(problem)
        return copied

    def _adopt(self, device: Device) -> None:
        """Save what another program knows of a device; what is known here stays."""
        known = next((self.find(one) for one in device.identifiers if self.find(one)), None)
        device.name = known.name if known else device.name or str(device.identifier)
        if known is not None:
            device.address = known.address
            device.add_addresses(known.addresses)
        for service in device.services:
            old = known.service(service.protocol) if known else None
            service.port = old.port if old else 0
            service.pairing = old.pairing if old else service.pairing
        self.save(device)

    def _foreign_devices(self) -> list[Device]:
        """Devices in the other library's store, or none if it cannot be read."""
        if not self._foreign or os.path.expanduser(self._foreign).startswith("~"):
            return []
        try:
            return [one.device for one in foreign.read(self._foreign)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except CredentialsError as exc:
            _warn(f"{exc}: it is passed over")
        except OSError as exc:
            path = os.path.expanduser(self._foreign)
            _warn(f"{path} cannot be read ({exc.strerror}): it is passed over")
        return []

    def names(self) -> list[str]:
        """What the stored devices are called, aliases included; nothing if that cannot be read."""
        try:
            known = self.devices()
        except (CredentialsError, OSError):
            return []
        return [name for one in known for name in (one.device.name, one.alias) if name]

    def _known(self, text: str) -> Device:
        device = self.find(text)
        if device is None:
            names = ", ".join(known.alias or known.device.name for known in self.devices())
            near = did_you_mean([text], self.names())
            raise DeviceNotFound(f"'{text}' is not stored; stored: {names or 'nothing'}{near}")
        return device

    # -- the file --------------------------------------------------------------------------------

    def _read(self) -> dict[str, Any]:
        if self.path is None:
            return self._memory
        try:
            data = read_json(self.path)
        except FileNotFoundError:
            return {}
        except ValueError as exc:
            raise self._damaged(str(exc)) from exc
        problem = _problem(data)
        if problem is None:
            return dict(data)
        if _is_later(data):
            raise CredentialsError(
                f"{self.path} was written by a later version of tinyatv, and this one cannot read"
                f" it ({problem}): update tinyatv"
            )
        raise self._damaged(problem)

    def _damaged(self, problem: str) -> CredentialsError:
        return CredentialsError(f"{self.path} is damaged ({problem}): repair it or move it away")

    @contextlib.contextmanager
    def _change(self) -> Iterator[dict[str, Any]]:
        """Read, change and replace the file while no other process can."""
        if self.path is None:
            self._memory.setdefault("devices", [])
            yield self._memory
            return
        path = os.path.realpath(self.path)
        make_folder(os.path.dirname(path))
        with _locked(lock_path(path)):
            data = self._read()
            data.setdefault("version", VERSION)  # a later one stays: its fields do, too
            data.setdefault("devices", [])
            yield data
            try:
                text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
            except RecursionError:
                raise self._damaged("it is nested too deeply") from None
            # A name from the network may hold half a character, which no file can.
            replace_file(path, text.encode("utf-8", "replace"), 0o600)


def several(text: str, devices: Iterable[Device]) -> str:
    """The words of the error that a name is not enough, and of what is."""
    them = ", ".join(f"{one.identifier} at {one.address or 'unknown address'}" for one in devices)
    return f"'{text}' is the name of several devices: {them}; give an identifier instead (-i)"


def did_you_mean(wanted: Iterable[str], names: Iterable[str]) -> str:
    """Words for the end of an error: the name that is near to one that is not known, or nothing."""
    import difflib

    known = {name.casefold(): name for name in names}
    for text in wanted:
        for near in difflib.get_close_matches(text.casefold(), known, 1):
            return f"; did you mean '{known[near]}'?"
    return ""


def lock_path(path: str) -> str:
    """What is locked while a store is changed: the same file by whatever name it goes."""
    return os.path.realpath(path) + ".lock"


_warned: set[str] = set()


def _warn(text: str) -> None:
    """Log a warning, the first time in this process."""
    if text not in _warned:
        _warned.add(text)
        log.warning("%s", text)


def _problem(data: Any) -> str | None:
    """What is wrong with the content of a store, or None: people edit it, and disks fail."""
    if not isinstance(data, dict) or not isinstance(data.get("devices", []), list):
        return "no list of devices"
    client = data.get("client", {})
    if not isinstance(client, dict) or not isinstance(client.get("id", ""), str):
        return "the client has no identity"
    for number, entry in enumerate(data.get("devices", []), 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("services"), dict):
            return f"device {number} has no services"
        identifiers = entry.get("identifiers")
        if not isinstance(identifiers, list) or not _texts(dict(enumerate(identifiers))):
            return f"device {number} has no identifiers"
        named = {key: entry.get(key, "") for key in ("name", "address")}
        if not _texts(named) or not _texts(entry, "alias", "query", "fixed_address"):
            return f"device {number} has a name that is no text"
        addresses = entry.get("addresses") or []
        if not isinstance(addresses, list) or not _texts(dict(enumerate(addresses))):
            return f"device {number} has addresses that are no list of texts"
        info = entry.get("info", {})
        system = info.get("operating_system", "Unknown") if isinstance(info, dict) else None
        known = _is_later(data) or system in OperatingSystem.__members__
        if not known or not _texts(info, *_INFO):
            return f"device {number} is of an unknown kind"
        for protocol, fields in entry["services"].items():
            if protocol not in PROTOCOLS:
                continue
            if not isinstance(fields, dict) or not _texts(
                fields, *SECRETS, "identifier", "pairing"
            ):
                return f"{protocol} of device {number} makes no sense"
            port = fields.get("port") or 0
            if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
                return f"{protocol} of device {number} has no such port"
    return None


def _is_later(data: Any) -> bool:
    """True if a later version of this package has written it, which may know more."""
    version = data.get("version") if isinstance(data, dict) else None
    return isinstance(version, int) and version > VERSION


def _texts(fields: Any, *optional: str) -> bool:
    """True if `fields` is a dict and all its values are texts; of `optional` ones, if there."""
    if not isinstance(fields, dict):
        return False
    if optional:
        return all(isinstance(fields.get(key) or "", str) for key in optional)
    return all(isinstance(value, str) for value in fields.values())


def _entries(data: dict[str, Any], device: Device) -> list[dict[str, Any]]:
    """The entries that are about a device; usually one."""
    mine = identifier_keys(device.identifiers)
    return [
        entry for entry in data.get("devices", []) if mine & identifier_keys(entry["identifiers"])
    ]


def _is_among(identifier: Any, identifiers: list[str]) -> bool:
    return isinstance(identifier, str) and bool(
        identifier_keys([identifier]) & identifier_keys(identifiers)
    )


def _merge(entry: dict[str, Any], other: dict[str, Any]) -> None:
    """Add to an entry what only another one of the same device has."""
    for key, value in other.items():
        mine = entry.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            _merge(mine, value)
        elif key == "identifiers":
            entry[key] = [*mine, *value] if mine else value
        elif not mine:
            entry[key] = value


def _note_addresses(entry: dict[str, Any], addresses: list[str]) -> None:
    entry["address"] = addresses[0] if addresses else ""
    entry["addresses"] = addresses
    if len(addresses) < 2:
        del entry["addresses"]


def _device(entry: dict[str, Any]) -> Device:
    services = [
        _service(protocol, fields)
        for protocol, fields in entry["services"].items()
        if protocol in PROTOCOLS  # a later version may know more
    ]
    told = {key: text for key, text in entry.get("info", {}).items() if key in _INFO and text}
    system = OperatingSystem.__members__.get(
        told.pop("operating_system", ""), OperatingSystem.Unknown
    )
    device = Device(
        entry.get("name", ""),
        entry.get("address", ""),
        services,
        info=DeviceInfo(operating_system=system, **told),
        query=entry.get("query"),
        addresses=entry.get("addresses") or (),
    )
    if entry.get("fixed_address"):
        device.use_only(entry["fixed_address"])
    return device


_INFO = [name for name, _ in DeviceInfo().fields()]


def _told(info: DeviceInfo) -> dict[str, str]:
    """What is known of a device, ready for JSON."""
    told = {key: value for key, value in info.fields() if value not in (None, "Unknown")}
    system = told.pop("operating_system")
    return told if system is OperatingSystem.Unknown else {**told, "operating_system": system.name}


def _service(protocol: str, fields: dict[str, Any]) -> Service:
    return Service(
        protocol,
        fields.get("port") or 0,
        identifier=fields.get("identifier"),
        credentials=fields.get("credentials"),
        password=fields.get("password"),
        pairing=PairingRequirement.__members__.get(
            fields.get("pairing") or "", PairingRequirement.Optional
        ),
        requires_password=fields.get("requires_password") is True,
    )


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold a lock that ends with the process. Without fcntl (Windows), go without.

    Raises:
        TimeoutError: Another process keeps it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        about = os.fstat(handle)
        if about.st_mode & 0o777 != 0o600 and about.st_uid == os.geteuid():
            os.fchmod(handle, 0o600)  # the umask may have taken more away
        deadline, pause = Deadline(PATIENCE), 0.0005
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline.over:
                    text = f"another process has held it for {PATIENCE:g} s"
                    raise TimeoutError(errno.ETIMEDOUT, text, path) from None
            time.sleep(pause)  # the kernel tells nobody when a lock is free, except by waiting
            pause = min(pause * 2, 0.01)
        yield
    finally:
        os.close(handle)
