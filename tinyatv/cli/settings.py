"""What is stored about a device, under the names that other remotes use: no connection needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import CommandFailed
from ..model import PASSWORDS, PROTOCOLS, Device, Service
from ..store import SECRETS
from .target import called, choose, secret, the_store

if TYPE_CHECKING:
    from ..store import Store
    from .flags import Arguments
    from .output import Output

NOT_HERE = {  # start of a path that other tools have: why it cannot be changed here
    "info.name": "give --remote-name when pairing",
    "info": "tinyatv presents the same remote to all devices",
    "protocols.airplay.mrp_tunnel": "tinyatv detects by itself what the device needs",
    "protocols.raop": "tinyatv detects by itself what the device needs",
}


class Settings:
    """What is stored of one device.

    Args:
        store: Where.
        device: Which.
    """

    def __init__(self, store: Store, device: Device) -> None:
        self._store = store
        self._device = device

    def print_settings(self, out: Output, how: str = "") -> None:
        """Print all settings; credentials and passwords only if `how` is ``all``."""
        if how not in ("", "all"):
            raise ValueError("print_settings takes nothing or =all")
        settings: dict[str, str | bool | None] = {}
        lines = []
        for service in self._store.fill(self._device).services:
            start = f"protocols.{service.protocol}"
            settings[f"{start}.identifier"] = service.identifier
            lines.append(f"{start}.identifier = {service.identifier} (from the device)")
            for field in SECRETS:
                value = getattr(service, field)
                if field == "password" and service.protocol not in PASSWORDS:
                    continue
                shown = value if how or value is None else "stored"
                settings[f"{start}.{field}"] = value if how else bool(value)
                lines.append(f"{start}.{field} = {shown} (text)")
        out.result(
            lines or [f"{self._device.name} has no services"],
            device=self._device.identifier, settings=settings,
        )  # fmt: skip

    def change_setting(self, out: Output, path: str, value: str) -> None:
        """Store a setting; ``@FILE`` as the value reads it from a file."""
        protocol, field = _split(path)
        value = secret(value)
        if not value:
            raise ValueError(f"{path}: an empty value; unset_setting removes it")
        if field == "credentials":
            _check(protocol, value)
        service = self._device.service(protocol)
        if service is None:
            service = Service(protocol)  # its port comes with the next scan
            self._device.services.append(service)
        setattr(service, field, value)
        self._store.save(self._device)
        out.result(command="change_setting", setting=path)

    def unset_setting(self, out: Output, path: str) -> None:
        """Take a setting away."""
        protocol, field = _split(path)
        service = self._device.service(protocol)
        if not self._store.take_away(self._device, protocol, field) and service is not None:
            setattr(service, field, None)
            if getattr(self._store.fill(self._device).service(protocol), field):
                raise CommandFailed(
                    f"{path} is not stored here but in ~/.pyatv.conf, which is never written",
                    "unset_setting",
                )
        if service is not None:
            setattr(service, field, None)
        out.result(command="unset_setting", setting=path)

    def remove_settings(self, out: Output) -> None:
        """Forget the device."""
        self._store.forget(self._device.identifier or self._device.name)
        out.result(command="remove_settings")


def open_settings(flags: Arguments, out: Output) -> Settings:
    """The settings of the device that the flags name.

    A scan is needed only for one that is not stored.

    Raises:
        DeviceNotFound: None, or several, fit.
    """
    store = the_store(flags)
    wanted = called(flags)
    found = [store.find(text) for text in wanted]
    if not wanted and not flags.scan_hosts:
        found = [store.default()]
    for device in found:
        if device is not None:
            return Settings(store, device)
    return Settings(store, choose(flags, store, out)[0])


def _split(path: str) -> tuple[str, str]:
    """The protocol and the field that a path names.

    Raises:
        ValueError: There is no such setting; says why if others have it.
    """
    start, _, rest = path.partition(".")
    protocol, _, field = rest.partition(".")
    known = start == "protocols" and protocol in PROTOCOLS
    if known and (field == "credentials" or (field == "password" and protocol in PASSWORDS)):
        return protocol, field
    if known and field == "identifier":
        raise ValueError(f"{path}: the device itself reports it")
    for beginning, why in NOT_HERE.items():
        if f"{path}.".startswith(f"{beginning}."):
            raise ValueError(f"{path} is not a setting here: {why}")
    raise ValueError(f"{path} is not a setting: protocols.PROTOCOL.credentials or .password")


def _check(protocol: str, credentials: str) -> None:
    """Raise CredentialsError for what no device can have given."""
    from ..pairing.credentials import check

    check(protocol, credentials)
