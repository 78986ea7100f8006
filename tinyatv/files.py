"""Where files are on this computer, how one is read whatever it is, and how one is replaced.

Every press comes by here, so it imports nothing but `os`.
"""

import os

TYPE_CHECKING = False  # see __init__.py
if TYPE_CHECKING:
    from typing import Any

LIMIT = 1 << 24  # bytes of a file that is read; a store of a thousand devices has 400 kB
ATTEMPTS = 5  # of a replacement whose temporary file somebody removes
SUFFIX, RANDOM = ".tmp", 8  # how temporary files end; before it, so many characters of mkstemp()


def store_path() -> str:
    """Where the store is unless TINYATV_STORE says otherwise.

    Raises:
        CredentialsError: There is no home folder to put it in.
    """
    given = os.environ.get("TINYATV_STORE")
    if given:
        return expand(given)
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return os.path.join(expand(base), "tinyatv", "devices.json")


def expand(path: str) -> str:
    """`path` with ``~`` written out.

    Raises:
        CredentialsError: That home folder is not known. A folder called ``~`` would be made else.
    """
    found = os.path.expanduser(path)
    if not found.startswith("~"):
        return found
    from .errors import CredentialsError

    raise CredentialsError(f"{path}: no such home folder is known: set HOME or TINYATV_STORE")


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


def make_folder(path: str) -> None:
    """Make a folder and those above it, for their owner alone, whatever the umask.

    Raises:
        OSError: It cannot be made.
    """
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above not in ("", path):
        make_folder(above)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):  # not another process that was faster
            raise
    else:
        os.chmod(path, 0o700)


def read_json(path: str) -> "Any":
    """The content of a JSON file, in UTF-8 or with a byte order mark.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, is not a regular file, or nobody can have meant it to be read.
    """
    import json
    from stat import S_ISREG

    # O_NONBLOCK: a pipe that nobody writes to must not make us wait.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
    try:
        about = os.fstat(handle)
        if not S_ISREG(about.st_mode):
            raise ValueError("it is not a regular file")
        if about.st_size > LIMIT:
            raise ValueError(f"it is larger than {LIMIT >> 20} MB")
        with open(handle, "rb", closefd=False) as file:
            data = file.read()
    finally:
        os.close(handle)
    try:
        content = json.loads(data)  # finds out which Unicode it is
        if b"\\ud" in data.lower() or b"\xed" in data:  # perhaps half a character
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it has half of a character, a lone surrogate") from None
    return content


def replace_file(path: "str | os.PathLike[str]", data: bytes, mode: "int | None" = None) -> None:
    """Write `data` to `path` so that a reader, or a crash, sees all of it or what was there before.

    Temporary files of processes that were killed while they wrote it are removed.

    Args:
        mode: Permission bits of the new file; None gives what ``open()`` would.

    Raises:
        OSError: It cannot be written, for example because the disk is full. Nothing is left behind.
    """
    import tempfile  # with its imports worth the time only when writing

    path = os.path.realpath(path)  # a symbolic link stays one
    folder, name = os.path.split(path)
    prefix = f".{name[:40]}-"
    _remove_left(folder, prefix)
    if mode is None:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    for attempt in range(1, ATTEMPTS + 1):
        handle, temporary = tempfile.mkstemp(prefix=prefix, suffix=SUFFIX, dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                _try_lock(handle)  # it shows that it is being written
                file.write(data)
                file.flush()
                os.fsync(handle)
            os.chmod(temporary, mode)
            os.replace(temporary, path)
            return
        except BaseException as exc:
            try:
                os.unlink(temporary)
            except FileNotFoundError:  # another writer came before we held the lock
                if isinstance(exc, FileNotFoundError) and attempt < ATTEMPTS:
                    continue
            raise


def _remove_left(folder: str, prefix: str) -> None:
    """Remove temporary files that nobody is writing."""
    try:
        names = os.listdir(folder)
    except OSError:
        return  # a folder may be for writing only
    length = len(prefix) + RANDOM + len(SUFFIX)
    for name in names:
        if not (name.startswith(prefix) and name.endswith(SUFFIX) and len(name) == length):
            continue
        left = os.path.join(folder, name)
        try:
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, AttributeError):  # somebody else's, or gone, or Windows
            continue
        try:
            if _try_lock(handle):
                os.unlink(left)
        except OSError:
            pass
        finally:
            os.close(handle)


def _try_lock(handle: int) -> bool:
    """Lock an open file if nobody else has; the lock ends with the process."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
