"""Connected clients: presses, pushes, and what it takes to stay connected."""

import contextlib
import time
from itertools import chain
from statistics import mean, median

from .processes import Child, cpu_time, memory, threads
from .report import Row, heads, percentile

ROUNDS = 10  # presses and pushes come in so many turns, to cancel drift
LAUNCHES = 5  # of the processes: each has luck of its own, with hashes, addresses, and processors
TARGETS = {  # protocol: {label of our environment: (press, push)}
    "dmap": {"": (1.0, 0.7)},
    "mrp": {"": (1.0, 1.0), "fast": (0.8, 0.7)},
    "airplay": {"": (1.0, 1.0), "fast": (0.7, 0.7)},  # MRP through its tunnel
    "companion": {"": (1.0, 1.0), "fast": (1.0, 1.0)},  # what is pushed is the volume
}


class Sides:
    """A client of each kind, connected to as many devices, which all live in one process.

    Args:
        protocol: What they speak.
        ours: Environments of tinyatv.
        peer: Environment of the peer.
        count: Devices of each client.
        host: Environment of the devices.
        home: An empty folder.

    Attributes:
        clients: The processes; that of the peer is the last.
        calm: (resident memory, threads) of each client while it is connected and nobody listens.
    """

    def __init__(self, protocol, ours, peer, count, host, home):
        self.count = count
        self.protocol = protocol
        self.clients = []
        self.calm = []
        self._ours = ours
        self.heads = list(heads(protocol, ours, f"{count} connected" if count > 1 else ""))
        environments = [*ours, peer]
        with contextlib.ExitStack() as stack:  # closes what is open if something goes wrong
            enter = stack.enter_context
            total = len(environments) * count
            self.device = enter(Child(host, "device.py", total, protocol, home=home))
            where = self.device.ask(do="where")
            for env in environments:
                self.clients.append(enter(Child(env, env.client, home=home)))
                mine, where = where[:count], where[count:]
                self.clients[-1].ask(do="connect", devices=mine)
            self._stack = stack.pop_all()

    def close(self):
        """End the clients, then the devices."""
        try:
            for client in self.clients:
                client.ask(do="close")
        finally:
            self._stack.close()

    def measure(self, presses, pushes):
        """Let each client do so much; returns the nanoseconds as :func:`pooled` takes them."""
        taken = {"press": self._presses(presses)}
        self.calm = [(memory(client.pid)[0], threads(client.pid)) for client in self.clients]
        for client in self.clients:
            client.ask(do="listen")
        taken["push"] = self._pushes(pushes)
        taken["press while listening"] = self._presses(presses)
        return taken

    def results(self, taken):
        """Rows of the speeds that were taken, then of the memory that is in use now."""
        for name, sides in taken.items():
            targets = [TARGETS[self.protocol].get(env.label, (None, None)) for env in self._ours]
            kind = int(name == "push")
            *mine, peer = [mean(median(values) for values in side.values()) for side in sides]
            for head, value, wanted in zip(self.heads, mine, targets):
                yield Row(f"{head}{name}, p50", "ms", value * 1e-6, peer * 1e-6, wanted[kind])
            slow = [percentile([*chain(*side.values())], 99) / 1e6 for side in sides]
            yield from self.rows(f"{name}, p99", "ms", slow)
        resident, anonymous = zip(*(memory(client.pid) for client in self.clients))
        yield from self.rows("memory, resident", "MB", resident, 0.5)
        yield from self.rows("memory, anonymous", "MB", anonymous, 0.5)
        yield from self.rows("threads", "", [threads(client.pid) for client in self.clients])

    def rows(self, name, unit, values, target=None):
        """A row for each environment of ours, of one value for each client."""
        for head, env, value in zip(self.heads, self._ours, values):
            wanted = target if env.label in TARGETS[self.protocol] else None
            yield Row(head + name, unit, value, values[-1], wanted)

    def _presses(self, presses):
        taken = [{} for _ in self.clients]
        for number in range(ROUNDS + 1):
            for kinds, client in self._in_turn(zip(taken, self.clients), number):
                done = client.ask(do="press", count=max(presses // ROUNDS, self.count))
                for key, values in done.items() if number else ():  # the first round warms up
                    kinds.setdefault(key, []).extend(values)
        return taken

    def _pushes(self, pushes):
        taken = [{"change": []} for _ in self.clients]
        for number in range(ROUNDS + 1):
            for side, client in self._in_turn(enumerate(self.clients), number):
                first, changes = side * self.count, pushes // ROUNDS
                done = self.device.ask(do="push", first=first, count=self.count, changes=changes)
                heard = _heard(client, [title for title, _ in done])
                for title, changed in done if number else ():
                    taken[side]["change"].append(heard[title] - changed)
        return taken

    @staticmethod
    def _in_turn(sides, number):
        """All sides, each behind the same other one; who is first changes each time."""
        sides = list(sides)
        first = number % len(sides)
        return sides[first:] + sides[:first]


def pooled(launches):
    """What was taken in several launches as one: for each name, each client, each kind a list.

    Of several kinds, such as keys that do different things, the p50 is the mean of their medians:
    the median of a mixture of two would lie in the gap between them, and jump.
    """
    first, *others = launches
    for other in others:
        for name, sides in other.items():
            for mine, more in zip(first[name], sides):
                for kind, values in more.items():
                    mine[kind].extend(values)
    return first


def _heard(client, titles):
    """When a client heard of each title; it may need a moment after the last change."""
    heard = {}
    until = time.monotonic() + 5
    while not heard.keys() >= set(titles):
        if time.monotonic() > until:
            raise RuntimeError("a client did not hear of all changes")
        heard.update(client.ask(do="pushed"))
    return heard


def idle(all_sides, seconds):
    """CPU time that listening clients use while nothing happens; all of them at the same time."""
    if cpu_time(all_sides[0].clients[0].pid) is None:
        return
    time.sleep(1)
    before = [[cpu_time(client.pid) for client in sides.clients] for sides in all_sides]
    time.sleep(seconds)
    for sides, were in zip(all_sides, before):
        used = [(cpu_time(one.pid) - was) * 1000 for one, was in zip(sides.clients, were)]
        yield from sides.rows(f"CPU in {seconds:g} s of listening", "ms", used, 1.0)


def increments(one, many):
    """What each further device takes while nobody listens, from one to many of them."""
    for kind, (name, unit) in enumerate([("memory", "MB"), ("threads", "")]):
        if one.calm[0][kind] is None:  # not told here
            continue
        pairs = zip(one.calm, many.calm)
        each = [(more[kind] - less[kind]) / (many.count - one.count) for less, more in pairs]
        for row in many.rows(f"{name}, each further device", unit, each, 1.0):
            row.absolute = True
            yield row
