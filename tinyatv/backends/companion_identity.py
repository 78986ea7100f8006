"""What a Companion connection calls itself to the device: always one of the same few names.

A device keeps a list of the remotes that it has seen. Without a name that it knows already, tvOS
pushes no TVSystemStatus; two connections that use the same name disconnect each other. So each
connection takes the first name that no other one has now, of this process or another:

name    = hash of: the client's identity, the machine, the path of the lock file, a number
number  = the first whose byte of the lock file is not locked; locks end with the process

Machine and path tell apart containers, and copies of a store, that cannot see each other's locks.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
from collections.abc import Iterator

from ..errors import CredentialsError
from ..files import store_path

log = logging.getLogger(__name__)

IDENTITIES = 16  # names to choose from where nothing can be locked: do not flood the list
MOST = 4096  # bytes of the lock file for each device
SUFFIX = ".remotes"  # of the lock file, after the name of the store
MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")

_guard = threading.Lock()  # over everything below
_taken: set[tuple[str, int]] = set()  # (lock file, place in it); a process does not lock itself out
_files: dict[str, int] = {}  # open: closing one would drop all the locks that are in it


def _leave_to_parent() -> None:
    """In the child of a fork: the names are the parent's, and so are their locks."""
    global _guard
    _guard = threading.Lock()
    _taken.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave_to_parent)


class Claim:
    """A name that no other connection has, until :meth:`release`.

    Args:
        client: Our identity in the pairing.
        device: The device's.

    Attributes:
        name: 12 hex digits. Never ``cafecafecafe``, which is refused since tvOS 18.4.
    """

    def __init__(self, client: bytes, device: bytes) -> None:
        first = int.from_bytes(hashlib.sha256(client + b"\0" + device).digest()[:6], "big") * MOST
        with _guard:
            self._path, number = _take(first)
        self._place: int | None = first + number
        seed = [client, machine(), os.fsencode(self._path), b"%d" % number]
        self.name = hashlib.sha256(b"\0".join(seed)).hexdigest()[:12]

    def release(self) -> None:
        """Let other connections use the name. Safe to call more than once."""
        with _guard:
            if self._place is not None:
                _give_back(self._path, self._place)
            self._place = None


def machine() -> bytes:
    """What is different on another computer, or in another container."""
    for path in MACHINE_IDS:
        try:
            with open(path, "rb") as file:
                found = file.read(64).strip()
        except OSError:
            continue
        if found:  # an image of a container has an empty one
            return found
    return os.fsencode(socket.gethostname())


def _take(first: int) -> tuple[str, int]:
    """The first number that is free, and the lock file; by chance, and ``""``, without any."""
    for path in _paths():
        handle = _open(path)
        if handle is None:
            continue
        try:
            for number in range(MOST):
                place = first + number
                if (path, place) not in _taken and _lock(handle, place):
                    _taken.add((path, place))
                    return path, number
        except OSError as exc:  # a file system that knows no locks
            log.debug("%s: %s", path, exc)
        _close(path)
    numbers = [(os.getpid() + more) % IDENTITIES for more in range(IDENTITIES)]
    free = [number for number in numbers if ("", first + number) not in _taken]
    number = (free or numbers)[0]
    _taken.add(("", first + number))
    return "", number


def _give_back(path: str, place: int) -> None:
    _taken.discard((path, place))
    if path in _files:
        _lock(_files[path], place, unlock=True)
        _close(path)


def _paths() -> Iterator[str]:
    """Where a lock file may be: beside the store if there is one, or where temporary files are."""
    try:
        store = os.path.realpath(store_path())
        if os.path.isdir(os.path.dirname(store)):
            yield store + SUFFIX
    except CredentialsError:
        pass  # no home folder
    from tempfile import gettempdir  # it takes a while

    user = os.getuid() if hasattr(os, "getuid") else 0
    yield os.path.join(gettempdir(), f"tinyatv-{user}{SUFFIX}")


def _open(path: str) -> int | None:
    if path not in _files:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            _files[path] = os.open(path, flags, 0o600)
        except OSError as exc:
            log.debug("%s: %s", path, exc)
            return None
    return _files[path]


def _close(path: str) -> None:
    """Close a lock file, unless some of it is locked: that would be lost."""
    if not any(taken == path for taken, _ in _taken):
        os.close(_files.pop(path))


def _lock(handle: int, place: int, unlock: bool = False) -> bool:
    """Lock one byte, or unlock it; False if another process has locked it.

    Raises:
        OSError: There are no locks here.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        raise OSError("no locks") from None
    how = fcntl.LOCK_UN if unlock else fcntl.LOCK_EX | fcntl.LOCK_NB
    try:
        fcntl.lockf(handle, how, 1, place)
    except (BlockingIOError, PermissionError):  # which of them depends on the system
        return False
    return True
