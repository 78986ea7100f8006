"""Where the artwork comes from: a URL, or the device itself, in one piece or many."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

from .. import proto
from ..deadline import Deadline
from ..model import Artwork, is_image

log = logging.getLogger(__name__)

ANY_SIZE = 999999  # what fills a template when no size is asked for
LIMIT = 32 * 1024 * 1024  # bytes
OPEN_LIMIT = 2 * 1024 * 1024  # bytes; of a device that has not proved who it is


class Source:
    """What the metadata says about the image.

    Args:
        metadata: Of the current item.
    """

    def __init__(self, metadata: Any) -> None:
        self._template = proto.text(metadata, "artworkIdentifier") or ""
        self._url = proto.text(metadata, "artworkURL") or ""
        self.announced = bool(metadata.artworkAvailable or self._url)

    def urls(self, width: int | None, height: int | None) -> list[str]:
        """Where to look, best first. Apple Music gives no image itself, but a template."""
        filled = self._template
        for hole, value in (("w", width or ANY_SIZE), ("h", height or ANY_SIZE)):
            filled = filled.replace("{%s}" % hole, str(value))  # noqa: UP031
        filled = filled.replace("{c}", "bb").replace("{f}", "png")
        return [url for url in (filled, self._url) if "://" in url]


def download(urls: Iterable[str], own: Collection[str], timeout: float) -> Artwork | None:
    """The first image that can be had; None if there is none.

    Args:
        urls: As the device names them.
        own: The device's addresses.
        timeout: Seconds that all of it may take.
    """
    deadline = Deadline(timeout)
    for url in urls:
        if deadline.over:
            break
        from http.client import HTTPException

        from .fetch import fetch

        try:
            found = fetch(url, timeout=deadline.wait() or timeout, limit=LIMIT, own=own)
        except (OSError, ValueError, HTTPException) as exc:
            log.info("artwork: %s", exc)
            continue
        if found.code == 200 and is_image(found.data, found.kind):
            return Artwork(found.data)
        log.info("artwork: status %d, %s", found.code, found.kind or "of no type")
    return None


class Pieces:
    """An image that is too large for one message and comes as transaction packets.

    Args:
        limit: Bytes that it may have.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._data = bytearray()
        self._total = -1
        self._limit = limit

    def complete(self, message: proto.Message) -> bool:
        """Take a message in; True once the image is whole."""
        if message.kind != proto.TRANSACTION:
            return False
        for packet in message.body.packets.packets:
            start = packet.totalWritePosition
            end = start + len(packet.packetData)
            # In order and without holes: a few bytes far away would cost us all those before.
            if start > len(self._data) or max(end, packet.totalLength) > self._limit:
                continue
            self._data[start:end] = packet.packetData
            self._total = packet.totalLength
        return 0 <= self._total <= len(self._data)

    def artwork(self, width: int | None = None, height: int | None = None) -> Artwork | None:
        """The image; None if there is none in what came.

        Args:
            width: Pixels, as the device tells.
            height: The same.
        """
        data = bytes(self._data)
        return Artwork(data, width, height) if is_image(data) else None
