"""What was measured, as a table and as JSON."""

import json
import platform
import sys
from statistics import median, quantiles

WIDTH = 52  # of the names


class Row:
    """One thing that was measured on both sides.

    Attributes:
        name: What.
        unit: Of the numbers.
        ours: Median of tinyatv, or None if it could not be measured.
        peer: Median of the peer, or None.
        target: Largest ratio ours / peer that is asked for, of a speed the smallest; None if
            nothing is.
        speed: More is better.
        absolute: The target is one of ours itself, in its unit.
    """

    def __init__(self, name, unit, ours, peer, target=None, speed=False, absolute=False):
        self.name = name
        self.unit = unit
        self.ours = ours
        self.peer = peer
        self.target = target
        self.speed = speed
        self.absolute = absolute

    @property
    def ratio(self):
        """Ours / peer, or None."""
        if self.ours is None or not self.peer:
            return None
        return self.ours / self.peer

    @property
    def holds(self):
        """True if the target is reached, None if there is none or nothing to compare."""
        if self.target is None or self.ours is None or (self.peer is None and not self.absolute):
            return None
        value = self.ours if self.absolute else self.ratio
        if value is None:  # the peer's is 0
            return self.ours == 0
        return value >= self.target if self.speed else value <= self.target


def percentile(values, percent):
    """A percentile of many values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def compare(name, unit, ours, peer, target=None, scale=1.0):
    """A row of the medians of two lists, each times `scale`."""
    return Row(name, unit, median(ours) * scale, median(peer) * scale, target)


def heads(protocol, ours, more=""):
    """How the rows of each of our environments begin: ``"MRP, fast: "``; those of DMAP plainly."""
    for env in ours:
        words = [protocol.upper() if protocol != "dmap" else "", env.label, more]
        yield "".join([", ".join(filter(None, words)), ": " if any(words) else ""])


def machine():
    """One line about this machine."""
    model = platform.processor() or platform.machine()
    cores = 0
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model"):
                    model = value.strip()
                cores += key.strip() == "processor"
    except OSError:
        pass
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{model}, {cores or '?'} cores, {platform.system()} {platform.release()}, {python}"


def heading():
    """First lines of the table."""
    return f"{'':<{WIDTH}}{'tinyatv':>10}{'pyatv':>10} {'':<8}{'ratio':>7}{'target':>12}"


def text(row):
    """One line of the table."""
    verdict = {True: "  yes", False: "  NO", None: ""}[row.holds]
    unit = f" {row.unit}".rstrip() if row.absolute else ""
    target = "" if row.target is None else f"{'>=' if row.speed else '<='} {row.target:.3g}{unit}"
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    numbers = f"{number(row.ours):>10}{number(row.peer):>10} {row.unit:<8}"
    return f"{row.name:<{WIDTH}}{numbers}{ratio:>7}{target:>12}{verdict}".rstrip()


def number(value):
    """A number in three digits or more; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def write(path, facts, rows):
    """Write everything as JSON."""
    keys = ("name", "unit", "ours", "peer", "ratio", "target", "holds")
    data = {**facts, "rows": [{key: getattr(row, key) for key in keys} for row in rows]}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
    print(f"written: {path}", file=sys.stderr)
