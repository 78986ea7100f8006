"""Files that are either the old ones or the new ones, never half of either."""

from __future__ import annotations

import os
import tempfile


def replace_file(path: str | os.PathLike[str], data: bytes, mode: int | None = None) -> None:
    """Write `data` to `path` so that a reader, or a crash, sees all of it or what was there before.

    Args:
        mode: Permission bits of the new file; None gives what ``open()`` would.

    Raises:
        OSError: It cannot be written, for example because the disk is full. Nothing is left behind.
    """
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
