"""The store: devices that were paired, where they were last, and what pairing gave.

    ~/.config/tinyatv/devices.json, or $XDG_CONFIG_HOME/tinyatv/devices.json, or $TINYATV_STORE

    {"version": 1, "client": {"id": "..."}, "default": "<identifier>",
     "devices": [{"name": "Den", "alias": "tv", "address": "192.0.2.10", "identifiers": ["..."],
                  "services": {"dmap": {"port": 3689, "identifier": "...", "credentials": "..."}}}]}

Only the owner can read it, it is replaced as a whole, and processes take turns. The store of the
field's other library, ``~/.pyatv.conf``, is read as well, so nobody pairs again, and never written.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

from .errors import CredentialsError, DeviceNotFound
from .files import replace_file
from .files import store_path as default_path
from .model import (
    PROTOCOLS,
    Device,
    DeviceInfo,
    OperatingSystem,
    PairingRequirement,
    Service,
)

VERSION = 1
FOREIGN = "~/.pyatv.conf"
SECRETS = ("credentials", "password")  # fields of a service that nobody else may see


class StoredDevice:
    """A device in the store.

    Attributes:
        device: As it was last seen, with credentials.
        alias: A short name given by the user, or None.
        default: True if it is the one to use when none is named.
    """

    __slots__ = ("alias", "default", "device")

    def __init__(self, device: Device, alias: str | None, default: bool) -> None:
        self.device = device
        self.alias = alias
        self.default = default


class Store:
    """Devices that are remembered.

    Reading never fails because a file is missing; a damaged one is reported and left alone.

    Args:
        path: File; None takes :func:`tinyatv.files.store_path`.
        memory: Keep everything in memory and touch no file.
        foreign: Another library's store to read credentials from; None reads none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        memory: bool = False,
        foreign: str | None = FOREIGN,
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
                StoredDevice(_device(entry), entry.get("alias"), default in entry["identifiers"]),
                entry["identifiers"],
            )
            for entry in data.get("devices", [])
        ]

    def find(self, text: str) -> Device | None:
        """The device of that alias, name, address or identifier (case is ignored), or None.

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
            if k.device.is_called(text) or wanted in map(str.casefold, identifiers)
        ]
        if len(found) > 1:
            several = ", ".join(f"{d.identifier} at {d.address}" for d in found)
            raise DeviceNotFound(f"{text!r} is the name of several devices: {several}")
        return found[0] if found else None

    def default(self) -> Device | None:
        """The default device, or the only one there is, or None."""
        known = self.devices()
        chosen = [k.device for k in known if k.default] or [k.device for k in known]
        return chosen[0] if len(chosen) == 1 else None

    def fill(self, device: Device) -> Device:
        """Give `device` the credentials and passwords that are stored for it; returns it.

        What was paired wins over what the device announces (a Home Sharing id).
        """
        foreign = _foreign_devices(self._foreign) if self._foreign else []
        sources = [(known, known.identifiers) for known in foreign]
        sources += [(known.device, names) for known, names in self._known_entries()]
        for known, identifiers in sources:
            if not set(identifiers) & set(device.identifiers):
                continue
            for service in known.services:
                mine = device.service(service.protocol)
                if mine is not None:
                    mine.credentials = service.credentials or mine.credentials
                    mine.password = service.password or mine.password
        return device

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
            entry.update(name=device.name, address=device.address)
            entry["identifiers"] = list(
                dict.fromkeys([*device.identifiers, *entry.get("identifiers", [])])
            )
            for other in _entries(data, device)[1:]:  # what was seen in parts is one device
                data["devices"].remove(other)
                entry["identifiers"] += other["identifiers"]
                entry["alias"] = entry.get("alias") or other.get("alias")
                entry["services"] = {**other["services"], **entry.get("services", {})}
            entry["identifiers"] = list(dict.fromkeys(entry["identifiers"]))
            if device.query is not None:
                entry["query"] = device.query
            entry.setdefault("info", {}).update(_told(device.info))
            services = entry.setdefault("services", {})
            for service in device.services:
                if not service.enabled:
                    continue
                fields = services.setdefault(service.protocol, {})
                fields["port"] = service.port
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
            if data.get("default") in device.identifiers:
                del data["default"]
        return device

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

    def import_foreign(self, path: str | None = None) -> list[str]:
        """Copy the credentials of another library's store into this one.

        Args:
            path: Its file; None takes ``~/.pyatv.conf``.

        Returns:
            Main identifiers of the devices that were copied.

        Raises:
            CredentialsError: The file is missing or damaged.
        """
        path = os.path.expanduser(path or self._foreign or FOREIGN)
        if not os.path.exists(path):
            raise CredentialsError(f"{path} does not exist")
        copied = []
        for device in _foreign_devices(path):
            if device.identifier is not None:
                known = self.find(device.identifier)
                device.name = known.name if known else device.identifier
                device.address = known.address if known else ""
                for service in device.services:
                    old = known.service(service.protocol) if known else None
                    service.port = old.port if old else 0
                self.save(device)
                copied.append(device.identifier)
        return copied

    def _known(self, text: str) -> Device:
        device = self.find(text)
        if device is None:
            names = ", ".join(known.alias or known.device.name for known in self.devices())
            raise DeviceNotFound(f"{text!r} is not stored; stored: {names or 'nothing'}")
        return device

    # -- the file --------------------------------------------------------------------------------

    def _read(self) -> dict[str, Any]:
        if self.path is None:
            return self._memory
        data = _load(self.path)
        problem = _problem(data)
        if problem:
            raise CredentialsError(f"{self.path} is damaged ({problem}): mend it or move it away")
        return data

    @contextlib.contextmanager
    def _change(self) -> Iterator[dict[str, Any]]:
        """Read, change and replace the file while no other process can."""
        if self.path is None:
            self._memory.setdefault("devices", [])
            yield self._memory
            return
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), mode=0o700, exist_ok=True)
        with _locked(self.path + ".lock"):
            data = self._read()
            data["version"] = VERSION
            data.setdefault("devices", [])
            yield data
            text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
            replace_file(self.path, text.encode(), 0o600)


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError as exc:
        raise CredentialsError(f"{path} is damaged ({exc}): mend it or move it away") from exc
    if not isinstance(data, dict) or not isinstance(data.get("devices", []), list):
        raise CredentialsError(f"{path} is damaged (no list of devices): mend it or move it away")
    return data


def _problem(data: dict[str, Any]) -> str | None:
    """What is wrong with the content of a store, or None: people edit it, and disks fail."""
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
        if not _texts(named) or not _texts(entry, "alias", "query"):
            return f"device {number} has a name that is no text"
        info = entry.get("info", {})
        system = info.get("operating_system", "Unknown") if isinstance(info, dict) else None
        if not _texts(info) or system not in OperatingSystem.__members__:
            return f"device {number} is of an unknown kind"
        for protocol, fields in entry["services"].items():
            if not isinstance(fields, dict) or not _texts(fields, *SECRETS, "identifier"):
                return f"{protocol} of device {number} makes no sense"
            port = fields.get("port") or 0
            if not isinstance(port, int) or not 0 <= port <= 65535:
                return f"{protocol} of device {number} has no such port"
    return None


def _texts(fields: Any, *optional: str) -> bool:
    """True if `fields` is a dict and all its values are texts; of `optional` ones, if there."""
    if not isinstance(fields, dict):
        return False
    if optional:
        return all(isinstance(fields.get(key) or "", str) for key in optional)
    return all(isinstance(value, str) for value in fields.values())


def _foreign_devices(path: str) -> list[Device]:
    """Devices in the other library's store: identifiers and credentials, nothing else."""
    devices = []
    for entry in _load(os.path.expanduser(path)).get("devices", []):
        services = []
        protocols = entry.get("protocols") if isinstance(entry, dict) else None
        for protocol, fields in (protocols if isinstance(protocols, dict) else {}).items():
            if protocol in PROTOCOLS and isinstance(fields, dict):
                known = {key: fields.get(key) for key in ("identifier", *SECRETS)}
                services.append(
                    _service(protocol, {k: v for k, v in known.items() if isinstance(v, str)})
                )
        devices.append(Device("", "", services))
    return devices


def _entries(data: dict[str, Any], device: Device) -> list[dict[str, Any]]:
    """The entries that are about a device; usually one."""
    mine = set(device.identifiers)
    return [entry for entry in data.get("devices", []) if mine & set(entry["identifiers"])]


def _device(entry: dict[str, Any]) -> Device:
    services = [
        _service(protocol, fields)
        for protocol, fields in entry["services"].items()
        if protocol in PROTOCOLS  # a later version may know more
    ]
    told = {key: text for key, text in entry.get("info", {}).items() if key in _INFO}
    system = OperatingSystem[told.pop("operating_system", "Unknown")]
    return Device(
        entry.get("name", ""),
        entry.get("address", ""),
        services,
        info=DeviceInfo(operating_system=system, **told),
        query=entry.get("query"),
    )


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
        pairing=PairingRequirement.Optional,
    )


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold a lock that ends with the process. Without fcntl (Windows), go without."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
