"""This checkout beside another one: ``python -m tests.bench --against DIR``.

    before   the other checkout
    after    this one
    again    the other checkout once more, in processes of its own

All three take turns in one run. ``again`` shows what the machine makes of two things that are the
same (A/A): a change counts only beyond that.
"""

import contextlib
import json
import sys
from itertools import chain
from pathlib import Path
from statistics import mean, median
from time import sleep

from .environments import CHECKOUT, Environment, install
from .live import Sides, pooled
from .processes import Child, cpu_time, memory, timed
from .report import WIDTH, number
from .startup import PEAK

NAMES = ("before", "after", "again")
ENGINES = ("python", "cryptography")
LIMIT = 1.05  # a ratio above it, and above the A/A ratio, is marked
LIMITS = {"push": 1.15}
LEAST = {"ms": 1.0, "MB": 1.0, "ms/min": 5.0}  # smaller differences are not marked
SAVE = """
import json, sys, tinyatv
known = json.load(sys.stdin)
keys = ("identifier", "credentials", "properties")
service = tinyatv.Service(known["protocol"], known["port"], **{key: known[key] for key in keys})
tinyatv.Store().save(tinyatv.Device("Device", "127.0.0.1", [service]))
"""  # a device into the store
PARTS = ("startup", "connect", "live", "idle")


class Change:
    """One thing that was measured before, after, and before again.

    Attributes:
        name: What.
        unit: Of the numbers.
        before: Median of the other checkout.
        after: Median of this one.
        again: Median of the other one, taken once more.
        noise: How far two medians of what is the same may well differ, as a part of them.
    """

    def __init__(self, name, unit, before, after, again, noise=0.0):
        self.name = name
        self.unit = unit
        self.before = before
        self.after = after
        self.again = again
        self.noise = noise

    @property
    def ratio(self):
        """After / before, where before is the mean of the two; None if that is 0."""
        base = (self.before + self.again) / 2
        return self.after / base if base else None

    @property
    def same(self):
        """The A/A ratio: again / before."""
        return self.again / self.before if self.before else None

    @property
    def worse(self):
        """True if it got worse by more than the limit and the spread allow."""
        if self.ratio is None or self.same is None:
            return self.after > LEAST[self.unit]
        limit = max((v for k, v in LIMITS.items() if k in self.name.split()), default=LIMIT)
        spread = max(abs(self.same - 1), self.noise)
        more = self.after - (self.before + self.again) / 2
        return self.ratio > limit + spread and more > LEAST[self.unit]

    def __str__(self):
        numbers = "".join(f"{number(getattr(self, name)):>10}" for name in NAMES)
        ratios = "".join(f"{'-' if r is None else f'{r:.3f}':>8}" for r in (self.ratio, self.same))
        ratios += f"{self.noise:>8.3f}" if self.noise else f"{'':>8}"
        return f"{self.name:<{WIDTH}}{numbers} {self.unit:<7}{ratios}{'  WORSE' * self.worse}"


def heading():
    """First line of the table."""
    names = "".join(f"{name:>10}" for name in NAMES)
    return f"{'':<{WIDTH}}{names} {'':<7}{'ratio':>8}{'A/A':>8}{'noise':>8}"


def prepare(folder, other):
    """The environments of both checkouts, each with its dependencies: (before, after, again)."""
    made = []
    for name, checkout in (("before", other), ("after", CHECKOUT)):
        made.append(Environment(folder / name, "tinyatv", "client_tinyatv.py"))
        print(f"installing {checkout} as {name}", file=sys.stderr)
        install(checkout, [(made[-1], "[fast]")])
    return [*made, made[0]]


def _variants(sides, protocol):
    """Pairs of what the rows of an engine begin with, and its environment for each side."""
    for engine in ENGINES[: 1 if protocol == "dmap" else 2]:
        label = f"{protocol.upper()}{', fast' if engine == 'cryptography' else ''}: "
        yield label, [side.variant(label, TINYATV_CRYPTO=engine) for side in sides]


def _change(name, unit, values, scale=1.0):
    return Change(name, unit, *(median(one) * scale for one in values), _noise(values))


def _noise(sides):
    """Twice the standard error of the difference of two medians, as a part of them.

    Args:
        sides: A list of values for each side.
    """
    errors = []
    for values in sides:
        middle = median(values)
        deviation = 1.4826 * median(abs(value - middle) for value in values)
        errors.append(1.2533 * deviation / len(values) ** 0.5 / middle if middle else 0.0)
    return 2 * mean(errors) * 2**0.5


def _in_turns(items, rounds, run):
    """What `run` returns for each item, a list for each; who is first changes every round."""
    taken = [[] for _ in items]
    for count in range(rounds + 1):
        first = count % len(items)
        for at in chain(range(first, len(items)), range(first)):
            result = run(items[at])
            if count:  # the first round warms up
                taken[at].append(result)
    return taken


def _processes(name, commands, rounds, home):
    """A row of whole processes."""
    taken = _in_turns(commands, rounds, lambda one: timed(one[0], home, **one[1])[0])
    return _change(name, "ms", taken, 1000)


def starting(sides, protocols, rounds, home):
    """Import, ``--help``, and one press, each in a process of its own."""
    commands = [([side.python, "-c", "import tinyatv"], {}) for side in sides]
    yield _processes("import, whole process", commands, rounds, home)
    peaks = _in_turns(
        [[side.python, "-c", f"import tinyatv{PEAK}"] for side in sides],
        rounds, lambda command: float(timed(command, home)[1]) / 1024,
    )  # fmt: skip
    yield _change("import, peak memory", "MB", peaks)
    commands = [([side.program, "--help"], {}) for side in sides]
    yield _processes("--help, whole process", commands, rounds, home)
    for protocol in protocols:
        with Child(sides[1], "device.py", 1, protocol, home=home) as device:
            (where,) = device.ask(do="where")
            for label, variants in _variants(sides, protocol):
                commands = _presses(variants, protocol, where, home)
                before = device.ask(do="presses")
                yield _processes(f"{label}one press, whole process", commands, rounds, home)
                pressed = device.ask(do="presses") - before
                if pressed != 3 * (rounds + 1):
                    raise RuntimeError(f"{pressed} presses arrived, not {3 * (rounds + 1)}")


def _presses(variants, protocol, where, home):
    commands = []
    for name, env in zip(NAMES, variants):
        engine = env.variables["TINYATV_CRYPTO"]
        own = home / f"{protocol}-{engine}-{name}"
        own.mkdir()
        extra = {"TINYATV_STORE": str(own / "store"), "XDG_RUNTIME_DIR": str(own), **env.variables}
        timed([env.python, "-c", SAVE], home, json.dumps(where), **extra)
        commands.append(([env.program, "-i", where["identifier"], "play_pause"], extra))
    return commands


def connecting(sides, protocols, rounds, home):
    """Connect and close, in processes that have done it before."""
    for protocol in protocols:
        with contextlib.ExitStack() as stack:
            device = stack.enter_context(Child(sides[1], "device.py", 1, protocol, home=home))
            (where,) = device.ask(do="where")
            for label, variants in _variants(sides, protocol):
                clients = [
                    stack.enter_context(Child(env, env.client, home=home)) for env in variants
                ]

                def come_and_go(client, where=where):
                    return client.ask(do="come_and_go", device=where)

                taken = _in_turns(clients, rounds, come_and_go)
                yield _change(f"{label}connect and close", "ms", taken, 1e-6)


def living(sides, protocols, flags, home):
    """Connected clients: press, push, memory, and then, all at the same time, being idle."""
    presses, pushes, launches, seconds = (200, 50, 2, 32) if flags.quick else (500, 100, 5, 45)
    launches = flags.launches or launches
    with contextlib.ExitStack() as stack:
        connected = []
        for protocol in protocols:
            labels, variants = zip(*_variants(sides, protocol))
            environments = [*chain(*variants)]
            taken, sizes = [], []
            for launch in range(launches if flags.only != "idle" else 1):
                live = Sides(protocol, environments[:-1], environments[-1], 1, sides[1], home)
                close = stack.enter_context(contextlib.ExitStack())
                close.callback(live.close)
                if flags.only == "idle":
                    for client in live.clients:
                        client.ask(do="listen")
                else:
                    taken.append(live.measure(presses, pushes))
                    sizes.append([memory(client.pid) for client in live.clients])
                if launch < launches - 1 and flags.only != "idle":
                    close.close()
            connected.append((labels, live))
            if taken:
                yield from _speeds(labels, pooled(taken))
                yield from _sizes(labels, sizes)
        if flags.only in (None, "idle"):
            yield from _idle(connected, seconds)


def _threes(labels, values):
    """For each engine its label, and the values of before, after and again."""
    for at, label in enumerate(labels):
        yield label, values[3 * at : 3 * at + 3]


def _speeds(labels, taken):
    for name, clients in taken.items():
        values = [mean(median(kind) for kind in client.values()) * 1e-6 for client in clients]
        noises = [mean(map(_noise, zip(*(one.values() for one in three))))
                  for _, three in _threes(labels, clients)]  # fmt: skip
        for (label, three), noise in zip(_threes(labels, values), noises):
            yield Change(f"{label}{name}", "ms", *three, noise)


def _sizes(labels, sizes):
    if sizes[0][0][0] is None:  # only Linux says
        return
    for at, name in enumerate(("memory, resident", "memory, anonymous")):
        values = [median(launch[at] for launch in launches) for launches in zip(*sizes)]
        for label, three in _threes(labels, values):
            yield Change(f"{label}{name}", "MB", *three)


def _idle(connected, seconds):
    clients = [client for _, live in connected for client in live.clients]
    if cpu_time(clients[0].pid) is None:
        return
    sleep(1)
    before = {client.pid: cpu_time(client.pid) for client in clients}
    sleep(seconds)
    used = {pid: (cpu_time(pid) - was) * 60_000 / seconds for pid, was in before.items()}
    for labels, live in connected:
        values = [used[client.pid] for client in live.clients]
        for label, three in _threes(labels, values):
            yield Change(f"{label}CPU while idle and listening", "ms/min", *three)


def measure(flags, sides, protocols, home):
    """All rows, one after the other."""
    rounds = 5 if flags.quick else 15
    if flags.only in (None, "startup"):
        yield from starting(sides, protocols, rounds, home)
    if flags.only in (None, "connect"):
        yield from connecting(sides, protocols, 3 * rounds, home)
    if flags.only in (None, "live", "idle"):
        yield from living(sides, protocols, flags, home)


def run(flags, folder, protocols, home):
    """Print the table as it comes; returns how many rows got worse."""
    other = flags.against.resolve()
    if not (other / "tinyatv" / "__init__.py").exists():
        raise OSError(f"{other} is no checkout of tinyatv")
    sides = prepare(folder, other)
    print(heading(), flush=True)
    rows = []
    for row in measure(flags, sides, protocols, Path(home)):
        rows.append(row)
        print(row, flush=True)
    if flags.json:
        keys = ("name", "unit", *NAMES, "ratio", "same", "noise", "worse")
        data = [{key: getattr(row, key) for key in keys} for row in rows]
        flags.json.write_text(json.dumps({"rows": data}, indent=1) + "\n", encoding="utf-8")
    return sum(row.worse for row in rows)
