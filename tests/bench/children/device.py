"""A process of virtual Apple TVs that a benchmark controls by lines of JSON.

Usage: device.py COUNT. The first line that it prints says where they are; the first of them has a
responder for directed queries, too.
"""

import json
import sys
import time

from tinyatv.virtual import VirtualAppleTV

SETTLE = 0.003  # s; from seeing a poll to the next change, so that the client is asleep by then


def waiting(tv):
    """True while a client waits for a change."""
    return any(peer.waiting for peer in tv.dmap.server.peers)


def push(tvs, first, count, changes):
    """Change titles, one device after the other; return each title and when it was changed."""
    done = []
    for number in range(changes):
        tv = tvs[first + number % count]
        if not tv.wait_for(lambda tv=tv: waiting(tv), 10):
            raise TimeoutError("the client does not wait for changes")
        time.sleep(SETTLE)
        title = f"Title {time.monotonic_ns()}"
        done.append([title, time.monotonic_ns()])
        tv.state.update(title=title)
        if not tv.wait_for(lambda tv=tv: waiting(tv), 10):
            raise TimeoutError("the client does not wait for changes any more")
    return done


def presses(tvs):
    """How many keys were pressed on all devices together."""
    return sum(len(tv.log) for tv in tvs)


def main():
    """Serve until standard input ends."""
    tvs = [VirtualAppleTV(mdns_port=None if n else 0) for n in range(int(sys.argv[1]))]
    for tv in tvs:
        for item in tv.state.items:
            item.duration = 36000.0  # nothing ends by itself while somebody measures
        tv.start()
    where = [
        {"identifier": tv.identifier, "ports": tv.ports, "credentials": tv.credentials["dmap"]}
        for tv in tvs
    ]
    print(json.dumps(where), flush=True)
    commands = {"push": push, "presses": presses}
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(commands[command.pop("do")](tvs, **command)), flush=True)
    for tv in tvs:
        tv.stop()


if __name__ == "__main__":
    main()
