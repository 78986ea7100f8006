"""Credentials that other programs keep. Their files are read and never written.

    ~/.pyatv.conf                   {"version": 1, "devices": [{"protocols": {
                                       "airplay": {"identifier": "...", "credentials": "..."}}}]}
    Home Assistant, in its folder   {"data": {"entries": [{"domain": "apple_tv", "title": "Den",
    .storage/core.config_entries       "unique_id": "...", "data": {"name": "Den", "address": "...",
                                       "identifiers": ["..."], "credentials": {"3": "..."}}}]}}

Whatever is in there: reading it ends with devices and lines about what cannot be used, or with one
clear error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import routes
from .errors import CredentialsError
from .files import expand, read_json
from .model import PROTOCOLS, Device, PairingRequirement, Service
from .pairing.credentials import check

PYATV = "~/.pyatv.conf"
SECRETS = ("credentials", "password")  # fields of a service that nobody else may see
NUMBERED = {str(row.number): name for name, row in routes.PROTOCOLS.items() if row.number}
DOMAIN = "apple_tv"  # what Home Assistant calls its integration


class Found:
    """A device in such a file.

    Attributes:
        device: With what can be used of it; its services have no port.
        problems: What cannot be used, and why, one line each.
    """

    __slots__ = ("device", "problems")

    def __init__(self, device: Device, problems: list[str]) -> None:
        self.device = device
        self.problems = problems


def read(path: str) -> list[Found]:
    """All devices in a file of another program.

    Raises:
        OSError: It cannot be read.
        CredentialsError: It is damaged, or something else.
    """
    path = expand(path)
    try:
        return list(_devices(read_json(path)))
    except CredentialsError:
        raise
    except ValueError as exc:
        raise CredentialsError(f"{path} is damaged ({exc})") from exc


def problem_with(protocol: str, credentials: str) -> str | None:
    """Why a protocol cannot use these credentials, or None."""
    try:
        check(protocol, credentials)
    except CredentialsError as exc:
        return str(exc)
    return None


def _devices(content: Any) -> Iterator[Found]:
    data = content.get("data") if isinstance(content, dict) else None
    if isinstance(data, dict) and isinstance(data.get("entries"), list):
        for number, entry in enumerate(data["entries"], 1):
            if isinstance(entry, dict) and entry.get("domain") == DOMAIN:
                yield _of_home_assistant(entry, number)
    elif isinstance(content, dict) and isinstance(content.get("devices"), list):
        for number, entry in enumerate(content["devices"], 1):
            yield _of_pyatv(entry, number)
    else:
        raise ValueError("neither a list of devices nor Home Assistant's entries")


def _of_pyatv(entry: Any, number: int) -> Found:
    known = entry.get("protocols", {}) if isinstance(entry, dict) else None
    if not isinstance(known, dict):
        return Found(Device("", ""), [f"entry {number}: it is no device"])
    named = [f["identifier"] for f in known.values() if isinstance(f, dict) and f.get("identifier")]
    label = next((one for one in named if isinstance(one, str)), f"entry {number}")
    services, problems = [], []
    for protocol, fields in known.items():
        service, wrong = _service(protocol, fields)
        services += [service] if service is not None else []
        problems += [f"{label}: {protocol}: {one}" for one in wrong]
    device = Device("", "", services)
    if services and device.identifier is None:
        problems.append(f"{label}: it has no identifier")
    return Found(device, problems)


def _of_home_assistant(entry: dict[str, Any], number: int) -> Found:
    data = entry["data"] if isinstance(entry.get("data"), dict) else {}
    name = _text(data.get("name")) or _text(entry.get("title"))
    label = name or f"entry {number}"
    listed = data.get("identifiers")
    named = [entry.get("unique_id"), *(listed if isinstance(listed, list) else [])]
    identifiers = list(dict.fromkeys(filter(None, map(_text, named))))
    credentials = data.get("credentials") or {}
    if not isinstance(credentials, dict):
        return Found(Device(name, ""), [f"{label}: its credentials are not a table"])
    services, problems = [], []
    for key, text in credentials.items():
        protocol = NUMBERED.get(key, f"protocol {key}")
        service, wrong = _service(protocol, {"credentials": text})
        services += [service] if service is not None else []
        problems += [f"{label}: {protocol}: {one}" for one in wrong]
    if not identifiers:
        return Found(Device(name, ""), [*problems, f"{label}: it has no identifier"])
    if not services and not problems:
        problems.append(f"{label}: it has no credentials")
    for service, identifier in zip(services, identifiers):
        service.identifier = identifier
    if services:  # whose identifiers these are is not told: the rest just name the device
        services += [Service(PROTOCOLS[0], identifier=one, enabled=False) for one in identifiers]
    return Found(Device(name, _text(data.get("address")), services), problems)


def _service(protocol: str, fields: Any) -> tuple[Service | None, list[str]]:
    """What can be used of a service, if it is one, and what is wrong with it."""
    if protocol not in PROTOCOLS:
        return None, ["no such protocol is known"]
    if not isinstance(fields, dict):
        return None, ["it is no service"]
    problems, good = [], {}
    for key in ("identifier", *SECRETS):
        value = fields.get(key)
        wrong = None if value is None or isinstance(value, str) else f"its {key} is not a text"
        if wrong is None and value and key == "credentials":
            wrong = problem_with(protocol, value)
        if wrong is not None:
            problems.append(wrong)
        elif value:
            good[key] = value
    if problems and not any(key in good for key in SECRETS):
        return None, problems
    return Service(protocol, pairing=PairingRequirement.Optional, **good), problems


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
