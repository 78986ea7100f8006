"""Run a button box: pins, knobs and keys that a file binds to words, until Ctrl-C or SIGTERM.

    [box]
    tv = Living Room        ; else -n, or the default device
    patience = 10           ; seconds that a press may wait for a TV that is away

    [pins]                  ; gpiozero's numbers; each button between its pin and ground
    17 = play_pause
    17 hold = turn_off      ; press, hold, double, release, or repeat while it is held
    27 repeat = volume_up

    [knob 5 6]              ; the pins of a rotary encoder
    volume = 2              ; percent per step; a fast turn is one command

    [keys /dev/input/by-id/usb-remote-event-kbd]
    grab = yes              ; the keys reach nothing else
    KEY_OK = select
    KEY_1 = -n Bedroom launch=com.netflix.Netflix

    [leds]
    12 = playing            ; or awake, connected

The TV may be off when the box starts. Input devices that vanish come back by their path. SIGHUP
reads the file again; a file with mistakes changes nothing. --learn names the keys that are pressed.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from ..box.config import Config, read
from ..box.inputs import InputDevice
from ..box.keys import name_of
from ..box.run import Box
from ..connecting import connect
from ..errors import NotSupported
from .notify import notify, running
from .target import the_store
from .words import parse_all

if TYPE_CHECKING:
    from ..device import AppleTV
    from .flags import Arguments, Parser
    from .output import Output


def add_flags(parser: Parser, word: str) -> None:
    """The file."""
    parser.add_argument("file", metavar="FILE", help="the file; with --learn an input device")
    parser.add_argument("--learn", action="store_true", help="show the names of pressed keys")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Run it until a signal."""
    if sys.platform == "win32":
        raise NotSupported("a box needs Linux")
    path: str = flags.file
    ended = Ended()
    if flags.learn:
        return _learn(path, out, ended)
    config = _read(path, flags)
    while True:
        box = _Running(config, flags, out)
        ended.stops(box.stop)
        try:
            box.open()
            out.result(box.lines(), bound=box.lines())
            with running(f"{len(box.lines())} bindings of {path}"):
                box.run()
        except ImportError as exc:
            raise NotSupported(
                f"pins need gpiozero ({exc}): sudo apt install python3-gpiozero, and a virtual"
                " environment made with --system-site-packages"
            ) from exc
        finally:
            ended.stops(None)
            box.close()
        if not ended.reloads():
            return 0
        notify("RELOADING=1")
        try:
            config = _read(path, flags)
        except (OSError, ValueError) as exc:
            out.warn(f"tinyatv: nothing changes: {exc}")


def _read(path: str, flags: Arguments) -> Config:
    with open(path, encoding="utf-8") as file:
        return read(file.read(), path, _parse, flags.name or flags.id)


def _parse(words: list[str]) -> Any:
    steps = parse_all(words)
    for step in steps:
        if not step.command.served:
            raise ValueError(f"{step.command.name} is nothing for a button")
    return steps


class _Running(Box):
    """A box whose commands are words of the program."""

    def __init__(self, config: Config, flags: Arguments, out: Output) -> None:
        def to(name: str | None) -> AppleTV:
            return connect(
                name, protocols=None if flags.protocol is None else [flags.protocol],
                timeout=flags.timeout, scan_timeout=flags.scan_timeout, reconnect=True,
                store=the_store(flags),
            )  # fmt: skip

        def carry_out(atv: AppleTV, steps: Any) -> None:
            for step in steps:
                step(atv, out)

        super().__init__(config, to, carry_out, lambda line: out.warn(f"tinyatv: {line}"))


class Ended:
    """Signals: SIGTERM and Ctrl-C end what runs, SIGHUP lets it begin again."""

    def __init__(self) -> None:
        self._again = False
        self._ended = False
        self._stop: Any = None
        signal.signal(signal.SIGHUP, lambda *_: self._end(again=True))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end(again=False))

    def stops(self, stop: Any) -> None:
        """What a signal calls; one that has come already calls it now."""
        self._stop = stop
        if stop is not None and (self._ended or self._again):
            stop()

    def reloads(self) -> bool:
        """True if it was only SIGHUP."""
        again, self._again = self._again, False
        return again and not self._ended

    def _end(self, *, again: bool) -> None:
        self._again = self._again or again
        self._ended = self._ended or not again
        if self._stop is not None:
            self._stop()


def _learn(path: str, out: Output, ended: Ended) -> int:
    """Show what is pressed on an input device."""
    import queue

    pressed: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def handler(number: int, down: bool) -> None:
        if down:
            pressed.put(number)

    device = InputDevice(path, handler, changed=lambda line: out.warn(f"tinyatv: {line}"))
    ended.stops(lambda: pressed.put(None))
    device.start()
    try:
        out.result(f"[keys {path}]")
        while (number := pressed.get()) is not None:
            out.result(f"{name_of(number)} = ", key=name_of(number))
    finally:
        device.close()
    return 0
