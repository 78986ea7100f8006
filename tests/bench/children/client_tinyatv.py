"""A tinyatv client that a benchmark controls by lines of JSON; see the other client."""

import json
import sys
from time import monotonic_ns, perf_counter_ns

import tinyatv


def target(device):
    """What to connect to."""
    service = tinyatv.Service(
        device["protocol"], device["port"], identifier=device["identifier"],
        credentials=device["credentials"], properties=device["properties"],
    )  # fmt: skip
    return tinyatv.Device("Device", "127.0.0.1", [service])


class Client:
    """Does what it is told, with tinyatv."""

    def __init__(self):
        self.atvs = []
        self.pushes = []

    def connect(self, devices):
        for device in devices:
            self.atvs.append(tinyatv.connect(target(device), store=tinyatv.Store(memory=True)))

    def come_and_go(self, device):
        start = perf_counter_ns()
        tinyatv.connect(target(device), store=tinyatv.Store(memory=True)).close()
        return perf_counter_ns() - start

    def pair(self, device):
        unpaired = target({**device, "credentials": None})
        start = perf_counter_ns()
        tinyatv.pair(unpaired, pin=device["pin"], store=tinyatv.Store(memory=True))
        return perf_counter_ns() - start

    def listen(self):
        for atv in self.atvs:
            atv.add_listener(self.event)

    def event(self, event):
        if isinstance(event, tinyatv.PlayingChanged):
            self.pushes.append([event.playing.title, monotonic_ns()])
        elif isinstance(event, tinyatv.VolumeChanged):
            self.pushes.append([f"{event.volume:.1f}", monotonic_ns()])

    def press(self, count):
        taken = {"select": [], "play_pause": []}  # they differ: nothing changes after the first
        for number in range(count):
            atv = self.atvs[number % len(self.atvs)]
            key = "select" if number % 4 < 2 else "play_pause"
            press = getattr(atv, key)
            start = perf_counter_ns()
            press()
            taken[key].append(perf_counter_ns() - start)
        return taken

    def pushed(self):
        pushes, self.pushes = self.pushes, []
        return pushes

    def close(self):
        for atv in self.atvs:
            atv.close()


def main():
    """Carry out commands until standard input ends."""
    client = Client()
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(client, command.pop("do"))(**command)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
