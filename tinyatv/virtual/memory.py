"""What `tinyatv virtual` remembers from one run to the next: who it is, and who has paired with it.

    virtual-attic-1f2e3d4c.json, beside the store; its owner alone can read it

    {"name": "Attic", "profiles": {"tvos18": {"identifier": "...", "seed": "...",
     "credentials": ["..."], "clients": {"...": "..."}, "accepted": {}, "home_sharing": null}}}

Whoever holds the lock beside it is the device of that name; another one gets another name.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from typing import TYPE_CHECKING, Any

from ..errors import CredentialsError
from ..files import make_folder, read_json, replace_file

if TYPE_CHECKING:
    from .appletv import VirtualAppleTV

KEY = 32  # bytes


class Memory:
    """The identity of one virtual device, claimed until :meth:`release` or the end of the process.

    Args:
        folder: Where the files are; it is made if it is missing.
        name: What the device should be called. If another process is that device, a number is
            added: ``Attic 2``.
        profile: Its generation. Each has an identity of its own, as a device that is replaced.

    Attributes:
        name: What it is called.
        identifier: None before the first run.
        seed: Its private key; None before the first run.
        home_sharing: Its Home Sharing id, or None.
        credentials: What it accepts from the start; none before the first run.

    Raises:
        CredentialsError: The file is damaged.
        OSError: It cannot be read, or the folder cannot be written.
    """

    def __init__(self, folder: str, name: str, profile: str) -> None:
        make_folder(os.path.abspath(folder))
        self._profile = profile
        for number in itertools.count(1):
            self.name = name if number == 1 else f"{name} {number}"
            self._path = os.path.join(folder, f"virtual-{_slug(self.name)}.json")
            lock = _lock(f"{self._path}.lock")
            if lock is not None:
                break
        self._held: int | None = lock
        try:
            self._data = self._read()
            known = self._data["profiles"].get(profile, {})
            self._understand(known)
        except BaseException:
            self.release()
            raise
        self._known = known

    def _read(self) -> dict[str, Any]:
        try:
            data = read_json(self._path)
        except FileNotFoundError:
            return {"name": self.name, "profiles": {}}
        except ValueError as exc:
            raise self._damaged(exc) from exc
        if not isinstance(data, dict) or not isinstance(data.get("profiles"), dict):
            raise self._damaged("no profiles")
        return data

    def _damaged(self, why: object) -> CredentialsError:
        return CredentialsError(f"{self._path} is damaged ({why}): move it away")

    def _understand(self, known: Any) -> None:
        self.identifier: str | None = None
        self.seed: bytes | None = None
        self.home_sharing: str | None = None
        self.credentials: list[str] = []
        self._clients: dict[bytes, bytes] = {}
        self._accepted: dict[str, list[str]] = {}
        if not known:
            return
        try:
            self.identifier, self.seed = str(known["identifier"]), bytes.fromhex(known["seed"])
            sharing = known.get("home_sharing")
            self.home_sharing = None if sharing is None else str(sharing)
            self.credentials = [str(one) for one in known.get("credentials", [])]
            clients = known.get("clients", {}).items()
            self._clients = {bytes.fromhex(name): bytes.fromhex(key) for name, key in clients}
            accepted = known.get("accepted", {}).items()
            self._accepted = {name: [str(one) for one in found] for name, found in accepted}
            every = [one for some in self._accepted.values() for one in some]
            self.credentials = self.credentials or every
            if any(len(key) != KEY for key in (self.seed, *self._clients.values())):
                raise ValueError("a key of the wrong length")
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise self._damaged(exc) from exc

    def restore(self, tv: VirtualAppleTV) -> None:
        """Let those in who have paired with it before."""
        for protocol, side in tv.sides.items():
            if side.accepted is not None:
                side.accepted.update(self._accepted.get(protocol, ()))
        if tv.is_hap:
            tv.accessory.clients.update(self._clients)

    def note(self, tv: VirtualAppleTV, seed: bytes) -> None:
        """Write down who it is and who has paired, if that is news.

        Args:
            tv: The device.
            seed: Its private key.

        Raises:
            OSError: The file cannot be written.
        """
        own = {name: side.accepted for name, side in tv.sides.items() if side.accepted is not None}
        given = [one for name, one in tv.credentials.items() if name not in own]
        clients = tv.accessory.clients.copy() if tv.is_hap else {}
        known = {
            "identifier": tv.identifier,
            "seed": seed.hex(),
            "credentials": list(dict.fromkeys(given)) or ([] if own else self.credentials),
            "clients": {name.hex(): key.hex() for name, key in clients.items()},
            "accepted": {name: sorted(accepted) for name, accepted in own.items()},
            "home_sharing": tv.home_sharing or self.home_sharing,
        }
        if known == self._known:
            return
        self._known = self._data["profiles"][self._profile] = known
        replace_file(self._path, json.dumps(self._data, indent=1).encode(), 0o600)

    def release(self) -> None:
        """Let another process be this device."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)


def _slug(name: str) -> str:
    """What a name is in the name of a file."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest


def _lock(path: str) -> int | None:
    """Lock a file until its descriptor is closed; None if another process has.

    Without fcntl (Windows), nobody ever has.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        import fcntl
    except ImportError:
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle
