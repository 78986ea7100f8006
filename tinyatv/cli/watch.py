"""Show what is playing whenever it changes, until Ctrl-C.

With --json also until ENTER or the end of standard input, after which comes a line with
"push_updates": "finished". --reconnect goes on after a lost connection.
"""

from __future__ import annotations

import queue
import select
import sys
import threading
from typing import TYPE_CHECKING, Any

from ..events import (
    Disconnected,
    KeyboardChanged,
    OutputDevicesChanged,
    PlayingChanged,
    PowerChanged,
    Reconnected,
    UpdateFailed,
    VolumeChanged,
)
from .output import named_keys, playing_keys
from .target import open_target

if TYPE_CHECKING:
    from . import Arguments, Parser
    from .output import Output

LOOK = 1.0  # s; how often to look whether anybody still reads


def add_flags(parser: Parser, word: str) -> None:
    """Nothing beside the common ones."""


def run(flags: Arguments, out: Output, word: str) -> int:
    """Print events until somebody has enough."""
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with open_target(flags, out) as atv:
        atv.add_listener(received.put)
        if out.json:
            threading.Thread(
                target=_wait_for_enter, args=(received,), name="tinyatv-stdin", daemon=True
            ).start()
        while True:
            try:
                event = received.get(timeout=LOOK)
            except queue.Empty:
                if _nobody_reads():
                    return 0
                continue
            if event is None:
                out.result(push_updates="finished")
                return 0
            if isinstance(event, PlayingChanged):
                out.result(f"{event.playing}\n{'-' * 20}", **playing_keys(event.playing))
            elif isinstance(event, (PowerChanged, VolumeChanged, OutputDevicesChanged)):
                _show(event, out)
            elif isinstance(event, KeyboardChanged):
                focus = event.focus.name
                out.result(f"Keyboard: {focus}", focus_state=focus.lower())
            elif isinstance(event, Reconnected):
                out.result("reconnected", connection="reconnected")
            elif isinstance(event, UpdateFailed):
                out.failure(event.error)
            elif isinstance(event, Disconnected) and event.error is not None:
                code = out.failure(event.error, connection="lost")
                if not flags.reconnect and not atv.protocols:
                    return code


def _show(event: PowerChanged | VolumeChanged | OutputDevicesChanged, out: Output) -> None:
    if isinstance(event, PowerChanged):
        out.result(f"Power: {event.power.name}", power_state=event.power.name.lower())
    elif isinstance(event, OutputDevicesChanged):
        names = ", ".join(one.name for one in event.output_devices) or "none"
        out.result(f"Output: {names}", output_devices=named_keys(event.output_devices))
    elif event.output_device is None:
        out.result(f"Volume: {event.volume:g}", volume=event.volume)
    else:
        out.result(
            f"Volume of {event.output_device}: {event.volume:g}",
            output_device_id=event.output_device, old_level=event.before, new_level=event.volume,
        )  # fmt: skip


def _wait_for_enter(received: queue.SimpleQueue[Any]) -> None:
    try:
        sys.stdin.readline()
    except (OSError, ValueError):
        pass  # closed from the start
    received.put(None)


def _nobody_reads() -> bool:
    """True if standard output is a pipe that nobody reads from any more."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False  # no file behind it
    return any(bits & select.POLLERR for _, bits in poll.poll(0))
