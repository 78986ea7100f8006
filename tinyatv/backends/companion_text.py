"""The archives that a text field is read and written with, in the order that remotes write."""

from __future__ import annotations

from plistlib import UID
from typing import Any

from ..errors import ProtocolError
from ..wire import archive
from ..wire.companion_codes import TEXT_ARCHIVER

SESSION = 16  # bytes of a session's identifier


class Field:
    """The text field that has the focus.

    Attributes:
        session: What the device calls it: 16 bytes. It is another one each time.
        text: What stands in front of the cursor.
    """

    def __init__(self, session: bytes, text: str) -> None:
        self.session = session
        self.text = text


def read(data: Any) -> Field:
    """What the device says of the text field.

    Raises:
        ProtocolError: Malformed.
    """
    try:
        content = archive.loads(data)
    except ValueError as exc:
        raise ProtocolError(f"text field: {exc} (companion)") from exc
    session = archive.follow(content, "sessionUUID")
    if isinstance(session, dict):  # as an NSUUID, which is how remotes write it
        session = archive.follow(content, "sessionUUID", "NS.uuidbytes")
    if not isinstance(session, bytes) or len(session) != SESSION:
        raise ProtocolError("text field: it has no session (companion)")
    text = archive.follow(content, "documentState", "docSt", "contextBeforeInput")
    return Field(session, text if isinstance(text, str) else "")


def insertion(session: bytes, text: str) -> bytes:
    """What types at the cursor."""
    operations = {"keyboardOutput": UID(2), "$class": UID(7), "targetSessionUUID": UID(5)}
    output = {"insertionText": UID(3), "$class": UID(4)}
    return _archive(session, [operations, output, text, _a_class("TIKeyboardOutput")])


def clearing(session: bytes) -> bytes:
    """What empties the field."""
    operations = {
        "$class": UID(7),
        "targetSessionUUID": UID(5),
        "keyboardOutput": UID(2),
        "textToAssert": UID(4),
    }
    return _archive(session, [operations, {"$class": UID(3)}, _a_class("TIKeyboardOutput"), ""])


def _archive(session: bytes, objects: list[Any]) -> bytes:
    """An archive of text operations; `objects` are numbers 1 to 4."""
    target = {"NS.uuidbytes": session, "$class": UID(6)}
    classes = [_a_class("NSUUID"), _a_class("RTITextOperations")]
    return archive.dumps(TEXT_ARCHIVER, {"textOperations": 1}, [*objects, target, *classes])


def _a_class(name: str) -> dict[str, Any]:
    return {"$classname": name, "$classes": [name, "NSObject"]}
