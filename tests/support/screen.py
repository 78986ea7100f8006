"""The full-screen remote, 80 cells wide: what `tinyatv.virtual` shows when it is paused at 62 s."""

from __future__ import annotations

SCREEN = [
    "Living Room" + " " * 54 + "Apple TV 4K, on",
    "",
    "Harbour Lights",
    "The Loopbacks - Local Hosts",
    "Paused in Music, repeat off, shuffle off",
    "1:02 [" + "=" * 18 + ">" + " " * 49 + "] 3:42",
    "",
    "Volume [" + "=" * 20 + " " * 20 + "] 50%",
]
