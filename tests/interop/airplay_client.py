"""A client made with the peer's library that does what it is told, line by line, over AirPlay.

Run by the peer's Python. Each line read is a JSON list, each line printed the answer:

    ["connect", {PORT, TXT, CREDENTIALS, PASSWORD, TUNNEL}]   what is null is not there
    ["call", "remote_control.pause", ARGUMENT...]
    ["get", "audio.volume"]
    ["until", {FIELD: VALUE}]                what plays, once it is so
    ["play", URL OR FILE, {OPTIONS}]         begins; ["played"] answers when it is over
    ["lost"]                                 answers when the connection is lost
    ["logged"]                               warnings and errors since the connection was begun
    ["pair", {...}]                          then ["pin", PIN]; answers credentials
    ["close"]
"""

import asyncio
import enum
import ipaddress
import json
import logging
import sys

import pyatv
from pyatv import const
from pyatv.conf import AppleTV, ManualService

FIELDS = ("title", "device_state", "position", "total_time")


def plain(value):
    """A value as JSON can have it."""
    return value.name if isinstance(value, enum.Enum) else value


class Log(logging.Handler):
    """Keeps what the library complains of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{record.levelname} {record.getMessage()}")


class Client:
    """One connection or pairing at a time."""

    def __init__(self):
        self.log = Log()
        logging.getLogger().addHandler(self.log)
        self.atv = self.pairing = self.task = None
        self.events = self.gone = None

    def config(self, where):
        config = AppleTV(ipaddress.IPv4Address("127.0.0.1"), "Device")
        config.add_service(ManualService(
            where["txt"]["deviceid"], const.Protocol.AirPlay, where["port"], where["txt"],
            credentials=where.get("credentials"), password=where.get("password"),
        ))  # fmt: skip
        return config

    async def connect(self, where):
        self.events, self.gone = asyncio.Queue(), asyncio.Event()
        self.log.lines.clear()
        self.atv = await pyatv.connect(self.config(where), asyncio.get_running_loop())
        self.atv.listener = self
        if where.get("tunnel"):
            self.atv.push_updater.listener = self
            self.atv.push_updater.start()

    def playstatus_update(self, updater, playing):
        self.events.put_nowait({name: plain(getattr(playing, name)) for name in FIELDS})

    def playstatus_error(self, updater, exception):
        self.events.put_nowait({"error": repr(exception)})

    def connection_lost(self, exception):
        self.gone.set()

    def connection_closed(self):
        self.gone.set()

    async def call(self, what, *arguments):
        side, name = what.split(".")
        result = getattr(getattr(self.atv, side), name)(*arguments)
        return plain(await result if asyncio.iscoroutine(result) else result)

    async def get(self, what):
        side, name = what.split(".")
        return plain(getattr(getattr(self.atv, side), name))

    async def until(self, wanted):
        while True:
            seen = await asyncio.wait_for(self.events.get(), 15)
            if all(seen.get(key) == value for key, value in wanted.items()):
                return seen

    async def play(self, what, options):
        self.task = asyncio.ensure_future(self.atv.stream.play_url(what, **options))

    async def played(self):
        await asyncio.wait_for(self.task, 20)

    async def lost(self):
        await asyncio.wait_for(self.gone.wait(), 20)

    async def logged(self):
        return self.log.lines

    async def pair(self, where):
        loop = asyncio.get_running_loop()
        self.pairing = await pyatv.pair(self.config(where), const.Protocol.AirPlay, loop)
        await self.pairing.begin()

    async def pin(self, pin):
        try:
            self.pairing.pin(pin)
            await self.pairing.finish()
            return self.pairing.service.credentials if self.pairing.has_paired else None
        finally:
            await self.pairing.close()

    async def close(self):
        if self.task is not None:
            self.task.cancel()
        if self.atv is not None:
            await asyncio.gather(*self.atv.close(), return_exceptions=True)
        self.atv = self.task = None


async def main():
    loop, client = asyncio.get_running_loop(), Client()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        word, *arguments = json.loads(line)
        try:
            answer = {"result": await getattr(client, word)(*arguments)}
        except Exception as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
