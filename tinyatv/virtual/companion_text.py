"""The archives of the device: its text field, what a client types, and what plays."""

from __future__ import annotations

from plistlib import UID
from typing import Any, NamedTuple

from ..wire import archive
from ..wire.companion_codes import TEXT_ARCHIVER
from .contents import TextField
from .state import State


class Typed(NamedTuple):
    """What a client did to the text field.

    Attributes:
        session: The field, 16 bytes.
        replaced: Text that takes the place of what is there, or None.
        inserted: Text that goes behind it, or None.
    """

    session: bytes
    replaced: str | None
    inserted: str | None


def field(session: bytes, shown: TextField) -> bytes:
    """What clients are told of the text field."""
    document: dict[str, Any] = {"docSt": UID(3)}
    objects: list[Any] = [session, document, {"contextBeforeInput": UID(4)}, shown.text]
    if shown.secure or shown.title or shown.prompt:
        traits = {"secureTextEntry": shown.secure, "keyboardType": 0, "returnKeyType": 0}
        document["documentTraits"] = UID(5)
        objects += [{**traits, "title": UID(6), "prompt": UID(7)}, shown.title, shown.prompt]
    return archive.dumps(TEXT_ARCHIVER, {"sessionUUID": 1, "documentState": 2}, objects)


def typed(data: Any) -> Typed:
    """Read what a client typed.

    Raises:
        ValueError: Malformed.
    """
    if not isinstance(data, bytes):
        raise ValueError("no archive")
    content = archive.loads(data)
    session = archive.follow(content, "textOperations", "targetSessionUUID", "NS.uuidbytes")
    replaced = archive.follow(content, "textOperations", "textToAssert")
    inserted = archive.follow(content, "textOperations", "keyboardOutput", "insertionText")
    if not isinstance(session, bytes) or len(session) != 16:
        raise ValueError("it does not say for which field")
    for text in (replaced, inserted):
        if not isinstance(text, (str, type(None))):
            raise ValueError(f"not a text: {text!r}")
    return Typed(session, replaced, inserted)


def now_playing(state: State) -> bytes:
    """What plays, as remotes of Apple's get it."""
    names = ["TVRCNowPlayingInfo", "NSObject"]
    with state.lock:
        item, player = state.item, state.player
        metadata = {} if item is None else {
            "title": item.title, "artist": item.artist, "album": item.album,
            "genre": item.genre, "duration": item.duration, "elapsedTime": player.position,
            "seriesTitle": item.series_name, "seasonNumber": item.season_number,
            "episodeNumber": item.episode_number,
        }  # fmt: skip
        info = {
            "identifier": UID(2), "playbackState": UID(3), "playbackRate": player.speed,
            "metadata": UID(4), "$class": UID(5),
        }  # fmt: skip
        known = {key: value for key, value in metadata.items() if value is not None}
        objects = [info, player.app.identifier, player.device_state.name.lower(), known]
    objects.append({"$classname": names[0], "$classes": names})
    return archive.dumps("NSKeyedArchiver", {"root": 1}, objects)
