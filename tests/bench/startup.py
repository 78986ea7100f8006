"""Whole processes: importing, ``--help``, connecting, one press."""

import json

from .processes import CHILDREN, running, timed
from .report import compare, heads

# Not ru_maxrss: on Linux a new process inherits that of the one that started it.
PEAK = """
import sys
if sys.platform.startswith("linux"):
    print(next(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line))
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1, 1024)[sys.platform == "darwin"])
"""


def interleaved(commands, rounds, home):
    """Run commands in turns; return the seconds and the outputs of each, the first round left out.

    Args:
        commands: Of each side: (command line, environment variables, maybe what it can read).
        rounds: How many count.
        home: An empty folder.
    """
    taken = [[] for _ in commands]
    printed = [[] for _ in commands]
    for number in range(rounds + 1):
        for side, (command, extra, *text) in enumerate(commands):
            seconds, text = timed(command, home, *text, **extra)
            if number:
                taken[side].append(seconds)
                printed[side].append(text)
    return taken, printed


def imports(ours, peer, rounds, home):
    """Time and memory of an import, less those of a bare interpreter of the same environment."""
    modules = [None, "tinyatv", "tinyatv.device, tinyatv.backends.dmap"], [None, "pyatv"]
    commands = [
        ([env.python, "-c", (f"import {module}" if module else "") + PEAK], {})
        for env, of_this in zip((ours, peer), modules)
        for module in of_this
    ]
    taken, printed = interleaved(commands, rounds, home)
    peaks = [[float(text) / 1024 for text in one] for one in printed]

    def added(values, bare, loaded):  # what is there to lose in the noise is 0
        less, more = values[bare], values[loaded]
        return [max(0.0, after - before) for before, after in zip(less, more)]

    kinds = [("import", 1, 0.1, 0.25), ("import, DMAP client and all", 2, None, None)]
    for name, loaded, time_target, memory_target in kinds:
        mine, theirs = added(taken, 0, loaded), added(taken, 3, 4)
        yield compare(f"{name}: time", "ms", mine, theirs, time_target, 1000)
        mine, theirs = added(peaks, 0, loaded), added(peaks, 3, 4)
        yield compare(f"{name}: peak memory", "MB", mine, theirs, memory_target)


def programs(ours, peer, rounds, home):
    """The programs' ``--help``."""
    commands = [([env.program, "--help"], {}) for env in (ours, peer)]
    (mine, theirs), _ = interleaved(commands, rounds, home)
    yield compare("--help, whole process", "ms", mine, theirs, 0.25, 1000)


def connects(protocol, ours, peer, rounds, home, device):
    """Import, connect, close: whole processes of the clients that are measured connected, too."""
    (where,) = device.ask(do="where")
    text = json.dumps({"do": "connect", "devices": [where]}) + "\n" + json.dumps({"do": "close"})
    commands = [
        ([env.python, str(CHILDREN / env.client)], env.variables, text) for env in [*ours, peer]
    ]
    (*mine, theirs), _ = interleaved(commands, rounds, home)
    for head, taken in zip(heads(protocol, ours), mine):
        yield compare(f"{head}import + connect, process", "ms", taken, theirs, 1 / 3, 1000)


def one_press(protocol, ours, peer, rounds, home, device):
    """One press as a whole process, the device known before; then the same by ``serve``."""
    (where,) = device.ask(do="where")
    (head,) = heads(protocol, [ours])
    ident, credentials = where["identifier"], (f"--{protocol}-credentials", where["credentials"])
    store = {"TINYATV_STORE": str(home / f"{protocol}.json"), **ours.variables}
    store["XDG_RUNTIME_DIR"] = str(home)
    by_hand = [
        "-m", "-i", ident, "--address", "127.0.0.1", "--port", str(where["port"]),
        "--protocol", protocol, *credentials,
    ]  # fmt: skip
    asked = "power_state" if protocol == "companion" else "playing"
    timed([ours.program, *by_hand, asked], home, **store)  # now it is in the store
    mine = [ours.program, "-i", ident, "play_pause"]
    fastest = [peer.program, "--storage", "none", *by_hand, "play_pause"]
    commands = [(mine, store), (fastest, {})]
    before = device.ask(do="presses")
    (known, manual), _ = interleaved(commands, rounds, home)
    _check(device, before + 2 * (rounds + 1))
    yield compare(f"{head}one press, whole process", "ms", known, manual, 0.25, 1000)
    bare = [ours.python, "-c", "pass"]
    with running([ours.program, "serve"], home, **store):
        before = device.ask(do="presses")
        (served, nothing, manual), _ = interleaved(
            [commands[0], (bare, {}), commands[1]], rounds, home
        )
        _check(device, before + 2 * (rounds + 1))
    yield compare(f"{head}one press by serve, whole process", "ms", served, manual, 1 / 20, 1000)
    yield compare(f"{head}  of that, Python doing nothing", "ms", nothing, manual, None, 1000)
    scanning = [peer.program, "-s", "127.0.0.1", "-i", ident, *credentials, "play_pause"]
    commands = [(mine, store), (scanning, {"PYATV_UDNS_PORT": str(where["mdns"])})]
    rounds = min(rounds, 5)
    before = device.ask(do="presses")
    (known, scanned), _ = interleaved(commands, rounds, home)
    _check(device, before + 2 * (rounds + 1))
    yield compare(f"{head}one press, the peer with its scan", "ms", known, scanned, None, 1000)


def _check(device, expected):
    """The peer ends with 0 after many failures, too: ask the device instead."""
    presses = device.ask(do="presses")
    if presses != expected:
        raise RuntimeError(f"{presses} presses arrived instead of {expected}")
