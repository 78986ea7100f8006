"""A process of virtual Apple TVs that a benchmark controls by lines of JSON.

Usage: device.py COUNT PROTOCOL. The first of them has a responder for directed queries, too.
"""

import itertools
import json
import sys
import time

from tinyatv.virtual import VirtualAppleTV

PROFILES = {"dmap": "atv3", "mrp": "tvos14", "airplay": "tvos15", "companion": "tvos15"}
PIN = "1234"
NUMBERS = itertools.count()
SETTLE = 0.003  # s; from seeing a poll to the next change, so that the client is asleep by then


def waiting(tv):
    """True while a client waits for a change; it does from the moment it listens, but over DMAP."""
    if "dmap" in tv.protocols:
        return any(peer.waiting for peer in tv.dmap.server.peers)
    if "companion" in tv.protocols:
        return any("_iMC" in peer.interests for peer in tv.companion.peers)
    return any(peer.config is not None for peer in tv.mrp.peers)


def change(tv, number):
    """Change what a client is told of; returns by what it knows the change, and when it was."""
    if "companion" in tv.protocols:
        level = number % 1000 / 10 + 0.1
        asked = len(tv.companion.requests)
        done = [f"{level:.1f}", time.monotonic_ns()]
        tv.state.set_volume(level)
        tv.wait_for(lambda: len(tv.companion.requests) > asked)  # it is told that, and asks what
        return done
    done = [f"Title {time.monotonic_ns()}", time.monotonic_ns()]
    tv.state.update(title=done[0])
    return done


def push(tvs, first, count, changes):
    """Change titles, one device after the other; return each and when it was changed."""
    done = []
    for number in range(changes):
        tv = tvs[first + number % count]
        if not tv.wait_for(lambda tv=tv: waiting(tv), 10):
            raise TimeoutError("the client does not wait for changes")
        time.sleep(SETTLE)
        done.append(change(tv, next(NUMBERS)))
        if not tv.wait_for(lambda tv=tv: waiting(tv), 10):
            raise TimeoutError("the client does not wait for changes any more")
    return done


def presses(tvs):
    """How many keys were pressed on all devices together."""
    return sum(len(tv.log) for tv in tvs)


def where(tvs):
    """What a client has to know of each."""
    protocol = sys.argv[2]
    return [
        {
            "identifier": tv.identifier,
            "protocol": protocol,
            "port": tv.ports[protocol],
            "mdns": tv.ports.get("mdns"),
            "credentials": tv.credentials[protocol],
            "properties": tv.device.service(protocol).properties,
            "pin": PIN,
        }
        for tv in tvs
    ]


def main():
    """Serve until standard input ends."""
    protocol = sys.argv[2]
    profile = PROFILES[protocol]
    tvs = [
        VirtualAppleTV(profile=profile, protocols=[protocol], pin=PIN, mdns_port=None if n else 0)
        for n in range(int(sys.argv[1]))
    ]
    for tv in tvs:
        for item in tv.state.items:
            item.duration = 36000.0  # nothing ends by itself while somebody measures
        if profile != "atv3":
            tv.accessory.back_off = False
            tv.accessory.max_peers = 10000
        tv.start()
    commands = {"where": where, "push": push, "presses": presses}
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(commands[command.pop("do")](tvs, **command)), flush=True)
    for tv in tvs:
        tv.stop()


if __name__ == "__main__":
    main()
