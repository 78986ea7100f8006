"""Keyed archives: property lists whose objects are numbered.

    {"$version": 100000, "$archiver": NAME, "$top": {key: UID}, "$objects": ["$null", ...]}

A UID stands for the object of that number. This is what NSKeyedArchiver of Apple's Foundation
writes; Companion's text fields use it. Not for MicroPython: see ``plist.py``.
"""

from plistlib import UID

from . import plist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 100000


def dumps(archiver: str, top: "dict[str, int]", objects: "list[Any]") -> bytes:
    """Turn objects into an archive.

    Args:
        archiver: Name of the class that reads it.
        top: Numbers of the outermost objects, by key.
        objects: Those from 1 on; in them, a ``UID`` stands for another one.
    """
    return plist.dumps({
        "$version": VERSION,
        "$archiver": archiver,
        "$top": {key: UID(number) for key, number in top.items()},
        "$objects": ["$null", *objects],
    })  # fmt: skip


def loads(data: bytes) -> "dict[str, Any]":
    """Read an archive, to be walked through with :func:`follow`.

    Raises:
        ValueError: It is not a keyed archive.
    """
    content = plist.loads(data)
    if not isinstance(content, dict) or not isinstance(content.get("$top"), dict):
        raise ValueError("not a keyed archive")
    if not isinstance(content.get("$objects"), list):
        raise ValueError("a keyed archive without objects")
    return content


def follow(content: "dict[str, Any]", *path: str) -> "Any":
    """What stands at the end of a path that begins at the top; None where a step leads nowhere."""
    objects, found = content["$objects"], content["$top"]
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
        for _ in objects:  # a UID may refer to another one, but not endlessly
            if not isinstance(found, UID):
                break
            found = objects[found.data] if found.data < len(objects) else None
    return None if isinstance(found, UID) else found
