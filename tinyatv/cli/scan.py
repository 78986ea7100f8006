"""Look for devices on the network, or on the hosts given with -s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import device_keys, device_lines
from .target import called, scan, the_store

if TYPE_CHECKING:
    from .flags import Arguments, Parser
    from .output import Output


def add_flags(parser: Parser, word: str) -> None:
    """Nothing beside the common ones."""


def run(flags: Arguments, out: Output, word: str) -> int:
    """Scan and print."""
    store = the_store(flags)
    wanted = called(flags)
    found = [store.fill(one) for one in scan(flags, out, wanted)]
    if wanted:
        found = [one for one in found if any(map(one.is_called, wanted))]
    lines = ["Scan Results", "=" * 40]
    for one in found:
        lines += [*device_lines(one), ""]
    if not found:
        lines += ["No device answered. `tinyatv virtual` runs one to try.", ""]
    out.result(lines[:-1], devices=[device_keys(one) for one in found])
    return 0
