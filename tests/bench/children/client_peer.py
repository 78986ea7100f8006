"""A pyatv client that a benchmark controls by lines of JSON; see the other client."""

import asyncio
import json
import sys
from time import monotonic_ns, perf_counter_ns

import pyatv
from pyatv.conf import AppleTV, ManualService
from pyatv.const import Protocol
from pyatv.interface import AudioListener, PushListener

PROTOCOLS = {
    "dmap": Protocol.DMAP, "mrp": Protocol.MRP, "airplay": Protocol.AirPlay,
    "companion": Protocol.Companion,
}  # fmt: skip


def target(device):
    """What to connect to."""
    service = ManualService(
        device["identifier"], PROTOCOLS[device["protocol"]], device["port"],
        device["properties"], credentials=device["credentials"],
    )  # fmt: skip
    found = AppleTV("127.0.0.1", "Device")
    found.add_service(service)
    return found


class Client(PushListener, AudioListener):
    """Does what it is told, with pyatv."""

    def __init__(self):
        self.atvs = []
        self.pushes = []

    async def connect(self, devices):
        loop = asyncio.get_running_loop()
        for device in devices:
            self.atvs.append(await pyatv.connect(target(device), loop))

    async def come_and_go(self, device):
        start = perf_counter_ns()
        atv = await pyatv.connect(target(device), asyncio.get_running_loop())
        await asyncio.gather(*atv.close())
        return perf_counter_ns() - start

    async def pair(self, device):
        unpaired = target({**device, "credentials": None})
        protocol, loop = PROTOCOLS[device["protocol"]], asyncio.get_running_loop()
        start = perf_counter_ns()
        pairing = await pyatv.pair(unpaired, protocol, loop)
        await pairing.begin()
        pairing.pin(device["pin"])
        await pairing.finish()
        await pairing.close()
        taken = perf_counter_ns() - start
        if not pairing.has_paired:
            raise RuntimeError("not paired")
        return taken

    async def listen(self):
        for atv in self.atvs:
            if atv.service.protocol is Protocol.Companion:  # it tells of nothing that plays
                atv.audio.listener = self
                continue
            atv.push_updater.listener = self
            atv.push_updater.start()

    def playstatus_update(self, updater, playstatus):
        self.pushes.append([playstatus.title, monotonic_ns()])

    def volume_update(self, old_level, new_level):
        self.pushes.append([f"{new_level:.1f}", monotonic_ns()])

    def volume_device_update(self, output_device, old_level, new_level):
        pass

    def outputdevices_update(self, old_devices, new_devices):
        pass

    def playstatus_error(self, updater, exception):
        print(f"push updates failed: {exception!r}", file=sys.stderr)

    async def press(self, count):
        taken = {"select": [], "play_pause": []}  # they differ: nothing changes after the first
        for number in range(count):
            remote = self.atvs[number % len(self.atvs)].remote_control
            key = "select" if number % 4 < 2 else "play_pause"
            press = getattr(remote, key)
            start = perf_counter_ns()
            await press()
            taken[key].append(perf_counter_ns() - start)
        return taken

    async def pushed(self):
        pushes, self.pushes = self.pushes, []
        return pushes

    async def close(self):
        for atv in self.atvs:
            await asyncio.gather(*atv.close())


async def main():
    """Carry out commands until standard input ends."""
    # No thread for standard input: it would be counted against the client.
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    client = Client()
    while line := await lines.readline():
        command = json.loads(line)
        answer = await getattr(client, command.pop("do"))(**command)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
