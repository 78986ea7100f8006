"""Where the artwork comes from: a URL, or the device itself, in one piece or many."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from .. import proto
from ..model import Artwork

log = logging.getLogger(__name__)

ANY_SIZE = 999999  # what fills a template when no size is asked for
LIMIT = 32 * 1024 * 1024  # bytes


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
        return [url for url in (filled, self._url) if _is_web(url)]


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def download(urls: Iterable[str], timeout: float) -> Artwork | None:
    """The first image that can be had; None if there is none.

    Args:
        timeout: Seconds that a server may stall.
    """
    for url in urls:
        import requests

        try:
            with requests.get(url, timeout=timeout, stream=True) as response:
                data = b"".join(_limited(response.iter_content(65536)))
        except (requests.RequestException, ValueError) as exc:
            log.info("artwork: %s", exc)
            continue
        if response.status_code == 200 and data:
            return Artwork(data)
        log.info("artwork: status %d", response.status_code)
    return None


def _limited(chunks: Iterable[bytes]) -> Iterable[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > LIMIT:
            raise ValueError(f"more than {LIMIT} bytes")
        yield chunk


class Pieces:
    """An image that is too large for one message and comes as transaction packets."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._total = -1

    def complete(self, message: proto.Message) -> bool:
        """Take a message in; True once the image is whole."""
        if message.kind != proto.TRANSACTION:
            return False
        for packet in message.body.packets.packets:
            end = packet.totalWritePosition + len(packet.packetData)
            if end > LIMIT or packet.totalLength > LIMIT:
                continue
            if len(self._data) < end:
                self._data.extend(bytes(end - len(self._data)))
            self._data[packet.totalWritePosition : end] = packet.packetData
            self._total = packet.totalLength
        return 0 <= self._total <= len(self._data)

    def artwork(self) -> Artwork | None:
        """The image; None if there is none in what came."""
        return Artwork(bytes(self._data)) if self._data else None
