"""Where things are on this computer. Every press comes by here, so it imports nothing but `os`."""

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
