"""A client made with the peer's library that does what it is told, line by line.

Run by the peer's Python. Each line read is a JSON list, each line printed the answer:

    ["connect", IDENTIFIER, PORT, CREDENTIALS, PROTOCOL]   credentials may be null
    ["call", "remote_control.up", ARGUMENT...]       an argument "InputAction.Hold" is the constant
    ["get", "audio.volume"]
    ["until", [WHAT, ...]]                           events up to the one that begins so
    ["pair", IDENTIFIER, PORT, PROTOCOL]             then ["pin", PIN]; answers credentials
    ["close"]
"""

import asyncio
import base64
import enum
import json
import sys

import pyatv
from pyatv import const, interface
from pyatv.conf import AppleTV, ManualService

TXT = {"MRP": {"allowpairing": "YES"}, "Companion": {"rpfl": "0x36782"}}
FIELDS = [name for name in vars(interface.Playing) if name[0] != "_"]


def plain(value):
    """A value as JSON can have it."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, interface.Playing):
        return {name: plain(getattr(value, name)) for name in FIELDS if name.isidentifier()
                and not callable(getattr(value, name))}  # fmt: skip
    if isinstance(value, interface.ArtworkInfo):
        data = base64.b64encode(value.bytes).decode()
        return [value.mimetype, value.width, value.height, data]
    if isinstance(value, (interface.App, interface.OutputDevice, interface.UserAccount)):
        return [value.name, value.identifier]
    if isinstance(value, dict):
        return {plain(key): plain(one) for key, one in value.items()}
    if isinstance(value, interface.FeatureInfo):
        return value.state.name
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def argument(text):
    """An argument; the name of a constant stands for it."""
    if isinstance(text, str) and text.partition(".")[0] in vars(const):
        kind, _, name = text.partition(".")
        return getattr(const, kind)[name]
    return text


class Listener:
    """Keeps what it is told."""

    def __init__(self):
        self.events = asyncio.Queue()

    def playstatus_update(self, updater, playstatus):
        self.events.put_nowait(["playing", plain(playstatus)])

    def playstatus_error(self, updater, exception):
        self.events.put_nowait(["error", repr(exception)])

    def powerstate_update(self, old, new):
        self.events.put_nowait(["power", new.name])

    def volume_update(self, old, new):
        self.events.put_nowait(["volume", new])

    def volume_device_update(self, device, old, new):
        self.events.put_nowait(["volume", device.identifier, new])

    def outputdevices_update(self, old, new):
        self.events.put_nowait(["outputs", sorted(plain(new))])

    def focusstate_update(self, old, new):
        self.events.put_nowait(["focus", new.name])

    def connection_lost(self, exception):
        self.events.put_nowait(["lost"])

    def connection_closed(self):
        self.events.put_nowait(["closed"])


class Client:
    """One connection or pairing at a time."""

    def __init__(self):
        self.atv = self.pairing = None
        self.listener = Listener()

    def config(self, identifier, port, protocol, credentials=None):
        config = AppleTV("127.0.0.1", "Device")
        service = ManualService(
            identifier, const.Protocol[protocol], port, TXT[protocol], credentials=credentials
        )
        config.add_service(service)
        return config

    async def connect(self, identifier, port, credentials, protocol):
        config = self.config(identifier, port, protocol, credentials)
        self.atv = await pyatv.connect(config, asyncio.get_running_loop())
        self.listener = Listener()
        self.atv.listener = self.listener
        self.atv.power.listener = self.atv.audio.listener = self.listener
        if protocol == "Companion":
            self.atv.keyboard.listener = self.listener
            return
        self.atv.push_updater.listener = self.listener
        self.atv.push_updater.start()

    async def call(self, what, *arguments):
        side, name = what.split(".")
        result = getattr(getattr(self.atv, side), name)(*map(argument, arguments))
        return await result if asyncio.iscoroutine(result) else result

    async def get(self, what):
        side, name = what.split(".")
        return getattr(getattr(self.atv, side), name)

    async def until(self, wanted):
        """Events up to the one that is `wanted`, or a playing one with these fields."""
        seen = []
        while True:
            try:
                seen.append(await asyncio.wait_for(self.listener.events.get(), 15))
            except asyncio.TimeoutError:
                raise ValueError(f"{wanted} did not come, but {seen}") from None
            what, *rest = seen[-1]
            if what != wanted[0]:
                continue
            if what == "playing" and all(rest[0][k] == v for k, v in wanted[1].items()):
                return seen
            if seen[-1] == wanted:
                return seen

    async def pair(self, identifier, port, protocol):
        config = self.config(identifier, port, protocol)
        loop = asyncio.get_running_loop()
        self.pairing = await pyatv.pair(config, const.Protocol[protocol], loop)
        await self.pairing.begin()

    async def pin(self, pin):
        try:
            self.pairing.pin(pin)
            await self.pairing.finish()
            return self.pairing.service.credentials if self.pairing.has_paired else None
        finally:
            await self.pairing.close()

    async def close(self):
        if self.atv is not None:
            await asyncio.gather(*self.atv.close())
        self.atv = None


async def main():
    loop, client = asyncio.get_running_loop(), Client()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        word, *arguments = json.loads(line)
        try:
            answer = {"result": plain(await getattr(client, word)(*arguments))}
        except Exception as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
