"""Scans: of one host, and of a crowd of devices in another process."""

import json
from statistics import median

from .processes import CHILDREN, Child, running, timed
from .report import Row, compare

CROWD = 2000
TIMEOUT = 3.0  # s
OURS = """
import json, sys, time
from tinyatv import scan
taken, found = [], 0
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    found = len(scan(float(sys.argv[3]), hosts="127.0.0.1:" + sys.argv[1]))
    taken.append(time.perf_counter() - began)
print(json.dumps([taken, found]))
"""
PEER = """
import asyncio, json, os, sys, time
os.environ["PYATV_UDNS_PORT"] = sys.argv[1]
import pyatv
async def main():
    taken, found = [], 0
    for _ in range(int(sys.argv[2])):
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        found = len(await pyatv.scan(loop, timeout=float(sys.argv[3]), hosts=["127.0.0.1"]))
        taken.append(time.perf_counter() - began)
    print(json.dumps([taken, found]))
asyncio.run(main())
"""


def scans(env, code, port, rounds, home):
    """The seconds of scans in one process, the first left out, and how many devices it found."""
    command = [env.python, "-c", code, str(port), str(rounds + 1), str(TIMEOUT)]
    _, text = timed(command, home, **env.variables)
    taken, found = json.loads(text)
    return taken[1:], found


def directed(ours, peer, rounds, host, home):
    """A host that answers at once, asked by both."""
    with Child(host, "device.py", 1, "companion", home=home) as device:
        (port,) = [one["mdns"] for one in device.ask(do="where")]
        mine, found = scans(ours, OURS, port, rounds, home)
        theirs, others = scans(peer, PEER, port, rounds, home)
    if (found, others) != (1, 1):
        raise RuntimeError(f"found {found} devices, and the peer {others}, of 1")
    yield compare("scan of one host", "ms", mine, theirs, 3.0, 1000)


def crowd(ours, rounds, host, home):
    """Many devices that all answer at once."""
    command = [host.python, str(CHILDREN / "crowd.py"), str(CROWD)]
    with running(command, home) as line:
        taken, found = scans(ours, OURS, int(line), rounds, home)
    yield Row(f"scan of {CROWD} devices, {TIMEOUT:g} s", "s", median(taken), None, 3.5, False, True)
    yield Row(f"scan of {CROWD} devices: found", "", found, None, CROWD, True, True)
