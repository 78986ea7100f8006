"""Compare tinyatv with pyatv on this machine. Numbers are medians, ratios are tinyatv / pyatv."""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import live, report, startup
from .environments import CHECKOUT, prepare
from .processes import Child, timed

COUNTS = (1, 10, 50)


def arguments():
    """The flags."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--env", type=Path, metavar="DIR", help="where both are installed (.bench)")
    add("--fresh", action="store_true", help="install both from nothing")
    add("--quick", action="store_true", help="fewer rounds")
    add("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    add("--only", choices=("startup", "live", "decode"), help="this part alone")
    return parser.parse_args()


def decoding(peer, home):
    """DMAP bodies; both decoders in one process, since they need no connection."""
    code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import json;"
    code += "from tests.bench.decode import measure; print(json.dumps(measure()))"
    _, text = timed([peer.python, "-c", code], home)
    for name, mine, theirs in json.loads(text):
        target = 4.0 if theirs else None  # None: beyond the peer's recursion limit
        yield report.Row(f"decoding, {name}", "MB/s", mine, theirs, target, speed=True)


def measure(flags, ours, peer, home):
    """All rows, one after the other."""
    if flags.only in (None, "startup"):
        rounds = 6 if flags.quick else 15
        yield from startup.imports(ours, peer, rounds, home)
        yield from startup.programs(ours, peer, rounds, home)
        with Child(ours, "device.py", 1, home=home) as device:
            yield from startup.one_press(ours, peer, rounds, home, device)
    if flags.only in (None, "decode"):
        yield from decoding(peer, home)
    if flags.only in (None, "live"):
        presses, pushes, seconds = (500, 50, 5) if flags.quick else (1000, 200, 20)
        connected = []
        with contextlib.ExitStack() as stack:
            for count in COUNTS:
                connected.append(live.Sides((ours, peer), count, home))
                stack.callback(connected[-1].close)
                yield from connected[-1].measure(presses, pushes)
            yield from live.idle(connected, seconds)


def main():
    """Run everything and print it as it comes."""
    flags = arguments()
    started = time.monotonic()
    ours, peer = prepare((flags.env or CHECKOUT / ".bench").resolve(), flags.fresh)
    facts = {
        "machine": report.machine(),
        "tinyatv": ours.versions("tinyatv", "requests", "urllib3"),
        "peer": peer.versions("pyatv", "aiohttp"),
    }
    for fact in facts.values():
        print(fact, flush=True)
    print(report.heading())
    rows = []
    with tempfile.TemporaryDirectory() as home:
        for row in measure(flags, ours, peer, Path(home)):
            rows.append(row)
            print(report.text(row), flush=True)
    missed = [row.name for row in rows if row.holds is False]
    held = sum(row.holds is True for row in rows)
    print(f"{held} targets reached, {len(missed)} missed, {time.monotonic() - started:.0f} s")
    if flags.json:
        report.write(flags.json, facts, rows)


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(f"bench: {error}")
