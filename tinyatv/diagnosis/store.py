"""The store: whether it can be read and written, and by which users."""

from __future__ import annotations

import os
import stat
import time
from shlex import quote
from typing import Any

from ..deadline import Deadline
from ..errors import AppleTVError
from ..foreign import PYATV, read
from ..store import PATIENCE as GIVES_UP
from ..store import Store, lock_path
from ..text import on_one_line
from . import NOTE, OK, PROBLEM, WARNING, Finding

PATIENCE = 1.0  # s; writing takes milliseconds, so a lock held longer is stuck


def findings(store: Store) -> tuple[list[Finding], Store]:
    """All checks of the store; and a store that can be read, if need be an empty one."""
    path = store.path
    if path is None:
        return [Finding("store.file", NOTE, "no store: nothing is stored")], store
    content, readable = _content(store, path)
    found = [content, *_foreign()]
    if os.path.exists(path):
        found.append(_mode(path))
    found += _writing(path)
    if any(one.status == PROBLEM for one in found if one.check == "store.foreign"):
        readable = Store(path, foreign=None) if readable is store else readable
    return found, readable


def _content(store: Store, path: str) -> tuple[Finding, Store]:
    check = "store.file"
    facts: dict[str, Any] = {"path": path, "devices": 0, "default": None}
    empty = Store(memory=True)
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        text = f"{path} does not exist: nothing has been paired yet"
        return Finding(check, NOTE, text, "tinyatv wizard", facts=facts), store
    except OSError as exc:
        text = f"{path}: {exc.strerror}"
        return Finding(check, PROBLEM, text, "choose another: TINYATV_STORE", facts=facts), empty
    if not stat.S_ISREG(kind):
        text = f"{path} is not a file"
        return Finding(check, PROBLEM, text, "choose another: TINYATV_STORE", facts=facts), empty
    try:
        known = store.devices()
    except OSError as exc:
        advice = f"make it yours: sudo chown $USER {quote(path)}"
        return Finding(check, PROBLEM, f"{path}: {exc.strerror}", advice, facts=facts), empty
    except (AppleTVError, ValueError) as exc:
        text = on_one_line(str(exc))
        advice = f"repair it, or: mv {quote(path)} {quote(path)}.damaged, and pair again"
        return Finding(check, PROBLEM, text, advice, facts=facts), empty
    default = next((one.device.name for one in known if one.default), None)
    names = ", ".join(one.device.name for one in known) or "no device"
    text = f"{path}: {names}"
    facts.update(devices=len(known), default=default)
    return Finding(check, OK, text, facts=facts), store


def _foreign() -> list[Finding]:
    """The other library's store, which is read as well."""
    foreign = os.path.expanduser(PYATV)
    if not os.path.lexists(foreign):
        return []
    check = "store.foreign"
    try:
        read(foreign)
    except (AppleTVError, OSError) as exc:
        text = f"{foreign} is read as well, and cannot be: {' '.join(str(exc).split())}"
        return [Finding(check, PROBLEM, text, "repair or move it", facts={"path": foreign})]
    return [Finding(check, OK, f"{foreign} is read as well", facts={"path": foreign})]


def _mode(path: str) -> Finding:
    about = os.stat(path)
    mode = stat.S_IMODE(about.st_mode)
    facts = {"path": path, "mode": f"{mode:04o}"}
    if hasattr(os, "getuid") and mode & 0o077:
        text = f"{path} has mode {mode:04o}: other users of this machine can read the credentials"
        return Finding("store.mode", WARNING, text, f"chmod 600 {quote(path)}", facts=facts)
    return Finding("store.mode", OK, f"only its owner can read it (mode {mode:04o})", facts=facts)


def _writing(path: str) -> list[Finding]:
    """Whether it could be replaced: its folder can be written to, and no process holds the lock."""
    folder = os.path.dirname(os.path.realpath(path))
    while not os.path.exists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)  # it will be made
    found = []
    if not os.access(folder, os.W_OK | os.X_OK):
        text = f"{folder} cannot be written to: pairing would not be stored"
        advice = "repair its permissions, or choose another store: TINYATV_STORE"
        found.append(Finding("store.folder", WARNING, text, advice, facts={"path": folder}))
    lock = lock_path(path)
    if _is_locked(lock):
        text = f"{lock} has been held for {PATIENCE:g} s: writing fails after {GIVES_UP:g} s"
        advice = f"end the process that holds it: fuser {quote(lock)}"
        found.append(Finding("store.lock", PROBLEM, text, advice, facts={"path": lock}))
    elif not found:
        found.append(Finding("store.lock", OK, "it can be written, no process has locked it"))
    return found


def _is_locked(path: str) -> bool:
    try:
        import fcntl
    except ImportError:
        return False  # Windows goes without
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # it has never been written, or belongs to another user
    try:
        deadline = Deadline(PATIENCE)
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return False
            except OSError:
                if deadline.over:
                    return True
            time.sleep(0.05)  # the kernel says when a lock is free only to who waits for it
    finally:
        os.close(handle)
