"""The archives of the device: its text field, what a client types, and what plays."""

from __future__ import annotations

import time
from plistlib import UID
from typing import Any, NamedTuple

from ..proto.commands import EPOCH
from ..wire import archive
from ..wire.companion_codes import CAPTIONS, TEXT_ARCHIVER
from .contents import TextField
from .mrp_view import STATES
from .state import State


class Typed(NamedTuple):
    """What a client did to the text field.

    Attributes:
        session: The field, 16 bytes; None does not say.
        replaced: Text that takes the place of what is there, or None.
        inserted: Text that goes behind it, or None.
        deleted: How many letters go from its end before that.
    """

    session: bytes | None
    replaced: str | None
    inserted: str | None
    deleted: int = 0


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
    deleted = archive.follow(content, "textOperations", "keyboardOutput", "deletionCount")
    if session is not None and (not isinstance(session, bytes) or len(session) != 16):
        raise ValueError("it does not say for which field")
    if not isinstance(deleted, int):
        deleted = 0
    for text in (replaced, inserted):
        if not isinstance(text, (str, type(None))):
            raise ValueError(f"not a text: {text!r}")
    return Typed(session, replaced, inserted, max(0, deleted))


def now_playing(state: State) -> bytes:
    """What plays, in the form of real devices (as two clients read it): no artist, no album."""
    names = ["TVRCNowPlayingInfo", "NSObject"]
    with state.lock:
        item, player = state.item, state.player
        info: dict[str, Any] = {
            "playbackState": STATES[player.device_state],
            "playbackRate": player.speed,
            "playerIdentifier": player.identifier,
            "captionsEnabled": state.captions == CAPTIONS["on"],
            "hasValidCaptionOptions": False,
        }
        metadata: dict[str, Any] = {"bundleID": player.app.identifier}
        if item is not None:
            image = item.image()
            info.update({"identifier": item.identifier, "imageDataIsPlaceholder": not image})
            info.update({"imageData": image} if image else {})
            metadata.update({
                "title": item.title, "genre": item.genre, "duration": item.duration,
                "timeOffset": player.position, "timestamp": time.time() - EPOCH,
                "episodeTitle": item.title if item.series_name else None,
                "seasonNumber": item.season_number, "episodeNumber": item.episode_number,
                "iTunesStoreIdentifier": item.itunes_store_identifier,
            })  # fmt: skip
    # Every leaf is an object of its own, to which a UID leads.
    objects: list[Any] = [{}, {}, {"$classname": names[0], "$classes": names}]
    for place, values in ((objects[0], info), (objects[1], metadata)):
        for key, value in values.items():
            if value is not None:
                objects.append(value)
                place[key] = UID(len(objects))
    objects[0].update({"metadata": UID(2), "$class": UID(3)})
    return archive.dumps("NSKeyedArchiver", {"root": 1}, objects)
