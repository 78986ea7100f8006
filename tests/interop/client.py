"""A client made with the peer's library: prints updates as JSON, does the words it reads.

Run by the peer's Python: client.py IDENTIFIER PORT CREDENTIALS
"""

import asyncio
import json
import sys

import pyatv
from pyatv.conf import AppleTV, ManualService
from pyatv.const import Protocol


class Listener:
    """Prints what it is told."""

    def playstatus_update(self, updater, playstatus):
        print(json.dumps({"title": playstatus.title, "state": playstatus.device_state.name}))

    def playstatus_error(self, updater, exception):
        print(json.dumps({"error": repr(exception)}))


async def main(identifier: str, port: str, credentials: str) -> None:
    loop = asyncio.get_running_loop()
    config = AppleTV("127.0.0.1", "Device")
    config.add_service(
        ManualService(identifier, Protocol.DMAP, int(port), {}, credentials=credentials)
    )
    atv = await pyatv.connect(config, loop)
    listener = Listener()  # the library keeps no reference of its own
    atv.push_updater.listener = listener
    atv.push_updater.start()
    while True:
        word = (await loop.run_in_executor(None, sys.stdin.readline)).strip()
        if not word:
            break
        await getattr(atv.remote_control, word)()
    await asyncio.gather(*atv.close())


asyncio.run(main(*sys.argv[1:]))
