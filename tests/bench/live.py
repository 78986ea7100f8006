"""Connected clients: presses, pushes, and what it takes to stay connected."""

import contextlib
import time

from .processes import Child, cpu_time, memory, threads
from .report import Row, compare, percentile

ROUNDS = 10  # presses and pushes come in so many turns, to cancel drift


class Sides:
    """A client of each kind, connected to as many devices, which all live in one process.

    Args:
        environments: Those of tinyatv and of the peer.
        count: Devices of each client.
        home: An empty folder.
    """

    def __init__(self, environments, count, home):
        self.count = count
        with contextlib.ExitStack() as stack:  # closes what is open if something goes wrong
            enter = stack.enter_context
            self.device = enter(Child(environments[0], "device.py", 2 * count, home=home))
            where = self.device.answer()
            self.clients = [enter(Child(env, env.client, home=home)) for env in environments]
            for side, client in enumerate(self.clients):
                mine = where[side * count : (side + 1) * count]
                devices = [{**one, "port": one["ports"]["dmap"]} for one in mine]
                client.ask(do="connect", devices=devices)
            self._stack = stack.pop_all()

    def close(self):
        """End the clients, then the devices."""
        try:
            for client in self.clients:
                client.ask(do="close")
        finally:
            self._stack.close()

    def measure(self, presses, pushes):
        """Rows of presses, pushes, and memory, in this order."""
        label = f"{self.count} connected: " if self.count > 1 else ""
        yield from self._presses(f"{label}press", presses)
        for client in self.clients:
            client.ask(do="listen")
        yield from self._pushes(label, pushes)
        yield from self._presses(f"{label}press while listening", presses)
        resident, anonymous = zip(*(memory(client.pid) for client in self.clients))
        yield Row(f"{label}memory, resident", "MB", *resident, 0.5)
        yield Row(f"{label}memory, anonymous", "MB", *anonymous, 0.5)
        yield Row(f"{label}threads", "", *(threads(client.pid) for client in self.clients))

    def _presses(self, name, presses):
        taken = [[], []]
        for number in range(ROUNDS + 1):
            for values, client in self._in_turn(zip(taken, self.clients), number):
                done = client.ask(do="press", count=max(presses // ROUNDS, self.count))
                values.extend(done if number else [])  # the first round warms up
        p99 = [percentile(values, 99) / 1e6 for values in taken]
        yield compare(f"{name}, p50", "ms", *taken, 1.0, 1e-6)
        yield Row(f"{name}, p99", "ms", *p99)

    def _pushes(self, label, pushes):
        taken = [[], []]
        for number in range(ROUNDS + 1):
            for side, client in self._in_turn(enumerate(self.clients), number):
                first, changes = side * self.count, pushes // ROUNDS
                done = self.device.ask(do="push", first=first, count=self.count, changes=changes)
                heard = _heard(client, [title for title, _ in done])
                for title, changed in done if number else ():
                    taken[side].append(heard[title] - changed)
        p99 = [percentile(values, 99) / 1e6 for values in taken]
        yield compare(f"{label}push, p50", "ms", *taken, 0.7, 1e-6)
        yield Row(f"{label}push, p99", "ms", *p99)

    @staticmethod
    def _in_turn(sides, number):
        """Both sides; who is first changes each time."""
        return list(sides)[:: 1 if number % 2 else -1]


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
    clients = [client for sides in all_sides for client in sides.clients]
    if cpu_time(clients[0].pid) is None:
        return
    time.sleep(1)
    before = [cpu_time(client.pid) for client in clients]
    time.sleep(seconds)
    used = [(cpu_time(client.pid) - was) * 1000 for client, was in zip(clients, before)]
    for number, sides in enumerate(all_sides):
        label = f"{sides.count} connected: " if sides.count > 1 else ""
        mine, theirs = used[2 * number : 2 * number + 2]
        name = f"{label}CPU in {seconds:g} s of listening"
        yield Row(name, "ms", mine, theirs, 1.0)
