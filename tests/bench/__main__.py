"""Compare tinyatv with pyatv on this machine. Numbers are medians, ratios are tinyatv / pyatv.

Rows of MRP are encrypted; those called fast are of tinyatv[fast], the others have no cryptography.
The devices are virtual ones, in a process that is the same for all and has it.

With --against, this checkout is compared with another one instead, and with that one once more, to
show how far two that are the same differ here (A/A). It takes about 8 minutes, with --quick 3.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import against, live, pairing, report, scans, startup
from .environments import CHECKOUT, prepare
from .processes import Child, timed

COUNTS = (1, 10, 50)
PARTS = ("startup", "scan", "decode", "crypto", "pairing", "live")
PROTOCOLS = ("dmap", "mrp", "airplay", "companion")


def arguments():
    """The flags."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--env", type=Path, metavar="DIR", help="where all are installed (.bench)")
    add("--fresh", action="store_true", help="install all from nothing")
    add("--quick", action="store_true", help="fewer rounds")
    add("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    parts = sorted({*PARTS, *against.PARTS})
    add("--only", choices=parts, help="this part alone")
    add("--protocol", choices=PROTOCOLS, help="this protocol alone")
    add("--against", type=Path, metavar="DIR", help="compare with another checkout of tinyatv")
    add("--launches", type=int, metavar="N", help="how often clients are started, with --against")
    flags = parser.parse_args()
    if flags.only and flags.only not in (against.PARTS if flags.against else PARTS):
        parser.error(
            f"there is no part {flags.only} {'with' if flags.against else 'without'} --against"
        )
    return flags


def here(module, env, home):
    """What ``measure()`` of a module beside this one returns, in a process of its own.

    It runs the checkout's tinyatv and whatever else is in the environment.
    """
    code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import json;"
    code += f"from tests.bench.{module} import measure; print(json.dumps(measure()))"
    _, text = timed([env.python, "-c", code], home)
    return json.loads(text)


def decoding(protocol, peer, home):
    """Codecs; both in one process, since they need no connection."""
    if protocol == "companion":
        for name, mine, theirs in here("opack", peer, home):
            yield report.Row(f"OPACK: {name}", "MB/s", mine, theirs, 2.0, speed=True)
        return
    for name, mine, theirs in here("decode", peer, home):
        target = 4.0 if theirs else None  # None: beyond the peer's recursion limit
        yield report.Row(f"decoding, {name}", "MB/s", mine, theirs, target, speed=True)


def ciphers(fast, home):
    """Primitives, in pure Python and by the package cryptography; targets are for the former."""
    for name, pure, native, unit, target in here("crypto", fast, home):
        for label, value, wanted in (("", pure, target), (", fast", native, None)):
            if value is not None:
                speed = "/s" in unit
                yield report.Row(f"crypto{label}: {name}", unit, value, None, wanted, speed, True)


def starting(protocol, sides, rounds, home):
    """Whole processes."""
    ours, fast, peer = sides
    if protocol == "dmap":  # what has nothing to do with a protocol, too
        yield from startup.imports(ours, peer, rounds, home)
        yield from startup.programs(ours, peer, rounds, home)
    with Child(fast, "device.py", 1, protocol, home=home) as device:
        if protocol != "dmap":
            yield from startup.connects(protocol, [ours, fast], peer, rounds, home, device)
        if protocol != "airplay":  # the peer has no manual mode for a tunnel
            yield from startup.one_press(protocol, ours, peer, rounds, home, device)


def living(protocol, sides, quick, home):
    """Connected clients."""
    ours, fast, peer = sides
    presses, pushes, seconds = (500, 100, 5) if quick else (1000, 200, 20)
    if protocol != "dmap":
        seconds = 35  # both ask after 30 s of silence whether the device is still there
    mine = [ours] if protocol == "dmap" else [ours, fast]
    connected = []
    with contextlib.ExitStack() as stack:
        for count in COUNTS if protocol in ("dmap", "mrp") else COUNTS[:1]:
            before = []
            for _ in range(live.LAUNCHES - 1 if count == 1 else 0):
                with contextlib.closing(live.Sides(protocol, mine, peer, 1, fast, home)) as sides:
                    before.append(sides.measure(presses, pushes))
            connected.append(live.Sides(protocol, mine, peer, count, fast, home))
            stack.callback(connected[-1].close)
            taken = live.pooled([*before, connected[-1].measure(presses, pushes)])
            yield from connected[-1].results(taken)
        if protocol == "mrp":
            yield from live.increments(connected[0], connected[-1])
        yield from live.idle(connected, seconds)
    if protocol == "mrp":
        slow = ours.variant("pure protobuf", PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python")
        with contextlib.closing(live.Sides(protocol, [slow], peer, 1, fast, home)) as alone:
            yield from alone.results(alone.measure(presses, pushes))


def measure(flags, sides, home):
    """All rows, one after the other."""
    ours, fast, peer = sides
    protocols = [flags.protocol] if flags.protocol else PROTOCOLS
    rounds = 6 if flags.quick else 15
    for protocol in protocols:
        if flags.only in (None, "startup"):
            yield from starting(protocol, sides, rounds, home)
        if protocol == "companion" and flags.only in (None, "scan"):
            yield from scans.directed(ours, peer, rounds, fast, home)
            yield from scans.crowd(ours, 3, fast, home)
        if protocol in ("dmap", "companion") and flags.only in (None, "decode"):
            yield from decoding(protocol, peer, home)
        if protocol == "mrp" and flags.only in (None, "crypto"):
            yield from ciphers(fast, home)
        if protocol == "mrp" and flags.only in (None, "pairing"):
            yield from pairing.pairings(protocol, [ours, fast], peer, rounds, fast, home)
        if flags.only in (None, "live"):
            yield from living(protocol, sides, flags.quick, home)


def main():
    """Run everything and print it as it comes."""
    flags = arguments()
    started = time.monotonic()
    folder = (flags.env or CHECKOUT / ".bench").resolve()
    if flags.against:
        print(report.machine(), flush=True)
        protocols = [flags.protocol] if flags.protocol else PROTOCOLS
        with tempfile.TemporaryDirectory() as home:
            worse = against.run(flags, folder, protocols, home)
        print(f"{worse} rows got worse, {time.monotonic() - started:.0f} s")
        return
    sides = prepare(folder, flags.fresh)
    ours, fast, peer = sides
    facts = {
        "machine": report.machine(),
        "tinyatv": ours.versions("tinyatv", "requests", "urllib3", "protobuf"),
        "fast": fast.versions("tinyatv", "cryptography"),
        "peer": peer.versions("pyatv", "aiohttp", "protobuf", "cryptography"),
    }
    for fact in facts.values():
        print(fact, flush=True)
    print(report.heading())
    rows = []
    with tempfile.TemporaryDirectory() as home:
        for row in measure(flags, sides, Path(home)):
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
