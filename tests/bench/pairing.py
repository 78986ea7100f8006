"""HAP: pairing, and what it costs to verify each other and to encrypt."""

import contextlib
from statistics import median

from .processes import Child
from .report import Row, compare, heads

VERIFY = 30  # ms


def pairings(protocol, ours, peer, rounds, host, home):
    """Pair-setup and pair-verify with a PIN that is known before, and connecting."""
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(Child(host, "device.py", 1, protocol, home=home))
        (where,) = device.ask(do="where")
        clients = [stack.enter_context(Child(env, env.client, home=home)) for env in [*ours, peer]]
        names = list(heads(protocol, ours))
        *mine, theirs = _in_turns(clients, rounds, do="pair", device=where)
        for head, env, taken in zip(names, ours, mine):
            target = None if env.label else 1.0
            yield compare(f"{head}pairing", "ms", taken, theirs, target, 1e-6)
        secured = _in_turns(clients, rounds, do="come_and_go", device=where)
        for head, taken in zip(names, secured):
            name = f"{head}connect + close, not the first time"
            yield compare(name, "ms", taken, secured[-1], None, 1e-6)
        # The same without credentials: what is left is the verifying, and sealing a few messages.
        plain = _in_turns(clients, rounds, do="come_and_go", device={**where, "credentials": None})
        added = [(median(one) - median(less)) / 1e6 for one, less in zip(secured, plain)]
        for head, env, value in zip(names, ours, added):
            target = None if env.label else VERIFY
            name = f"{head}pair-verify"
            yield Row(name, "ms", value, added[-1], target, absolute=True)


def _in_turns(clients, rounds, **command):
    """Nanoseconds of each client; the first round warms up."""
    taken = [[] for _ in clients]
    for number in range(rounds + 1):
        for values, client in zip(taken, clients):
            done = client.ask(**command)
            values.extend([done] if number else [])
    return taken
