"""Draws cover art, so that no image has to be shipped."""

from __future__ import annotations

import functools
import hashlib
import struct
import zlib


@functools.lru_cache(maxsize=16)
def render(seed: str, size: tuple[int, int], width: int = 0, height: int = 0) -> bytes:
    """Return a PNG of two colours that depend on `seed`: a gradient under a grid of squares.

    Args:
        seed: Any text; the same text gives the same picture.
        size: Natural width and height in pixels.
        width: Largest width, 0 for any; the picture is never scaled up and keeps its proportions.
        height: Largest height, 0 for any.
    """
    scale = min(1.0, (width or size[0]) / size[0], (height or size[1]) / size[1])
    wide, high = (max(1, round(side * scale)) for side in size)
    digest = hashlib.sha256(seed.encode()).digest()
    top, bottom, bits = digest[0:3], digest[3:6], int.from_bytes(digest[6:14], "big")
    rows = []
    for y in range(high):
        part = y / high
        dark = bytes(round(a + (b - a) * part) for a, b in zip(top, bottom))
        light = bytes(min(255, value + 48) for value in dark)
        line = y * 8 // high
        edges = [x * wide // 8 for x in range(9)]
        cells = (
            (light if bits >> (line * 8 + x) & 1 else dark) * (edges[x + 1] - edges[x])
            for x in range(8)
        )
        rows.append(b"\0" + b"".join(cells))  # filter type 0
    header = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)  # 8 bits, RGB
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b"".join(rows), 6))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
