"""Where files are on this computer, and how one is replaced: never half of it, even after a crash.

Every press comes by here, so it imports nothing but `os`.
"""

import os


def store_path() -> str:
    """Where the store is unless somebody says otherwise."""
    given = os.environ.get("TINYATV_STORE")
    if given:
        return os.path.expanduser(given)
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return os.path.join(os.path.expanduser(base), "tinyatv", "devices.json")


def socket_path(store: str) -> str:
    """Where ``tinyatv serve`` listens for those who use that store, in a folder of its own.

    Args:
        store: Path of the store.
    """
    from binascii import crc32

    run = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"  # cron does not set it
    store = os.path.abspath(store)
    if os.path.isdir(run):
        folder = os.path.join(run, "tinyatv")
    else:
        folder = os.path.join(os.path.dirname(store), "serve")
    return os.path.join(folder, f"{crc32(os.fsencode(store)):08x}")


def replace_file(path: "str | os.PathLike[str]", data: bytes, mode: "int | None" = None) -> None:
    """Write `data` to `path` so that a reader, or a crash, sees all of it or what was there before.

    Args:
        mode: Permission bits of the new file; None gives what ``open()`` would.

    Raises:
        OSError: It cannot be written, for example because the disk is full. Nothing is left behind.
    """
    import tempfile  # with its imports worth the time only when writing

    path = os.path.realpath(path)  # a symbolic link stays one
    handle, temporary = tempfile.mkstemp(prefix=".tinyatv-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is None:
            mask = os.umask(0)
            os.umask(mask)
            mode = 0o666 & ~mask
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
