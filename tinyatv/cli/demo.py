"""Try everything against a virtual Apple TV on this machine: no television, no network needed.

Each step is checked on the device; the exit code is 0 only if the device saw all of it.
"""

from __future__ import annotations

import os
import queue
import socket
import tempfile
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from .. import __version__
from ..credentials import Store
from ..device import AppleTV, connect_to, pair
from ..discovery import scan
from ..errors import AppleTVError
from ..events import PlayingChanged
from ..model import Device, DeviceState, ShuffleState
from ..pairing.dmap import new_guid
from ..virtual import VirtualAppleTV
from .output import one_line

if TYPE_CHECKING:
    from . import Arguments, Parser
    from .output import Output


def add_flags(parser: Parser, word: str) -> None:
    """Where the artwork goes."""
    parser.add_argument("--artwork", metavar="FILE", help="keep the artwork that is saved")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Run all steps; 1 if one of them failed."""
    out.result(f"tinyatv {__version__} demo: a virtual Apple TV on loopback", demo=__version__)
    with VirtualAppleTV("Demo Apple TV", mdns_port=0, credentials=()) as tv:
        demo = Demo(tv, out)
        with tempfile.TemporaryDirectory() as folder:
            demo.run(flags.artwork or os.path.join(folder, "artwork.png"))
    total = f"{demo.passed} of {demo.steps} steps seen on the device"
    out.result(total, steps=demo.steps, passed=demo.passed)
    return 0 if demo.passed == demo.steps else 1


class StepFailed(AppleTVError):
    """The device did not show what a step should have done."""


class Demo:
    """The steps, and how many of them the device confirmed."""

    def __init__(self, tv: VirtualAppleTV, out: Output) -> None:
        self.steps = 0
        self.passed = 0
        self._tv = tv
        self._out = out
        self._store = Store(memory=True)

    def step(self, title: str, action: Callable[[], str]) -> bool:
        """Run one step and print how long it took and what came of it."""
        self.steps += 1
        started = time.perf_counter()
        try:
            seen, passed = action(), True
        except (AppleTVError, OSError) as exc:
            seen, passed = one_line(exc), False
        taken = (time.perf_counter() - started) * 1000
        self.passed += passed
        mark = "ok  " if passed else "FAIL"
        text = f"{mark} {title:<12} {taken:8.1f} ms  {seen}"
        self._out.result(text, step=title, passed=passed, ms=round(taken, 1), seen=seen)
        return passed

    def run(self, artwork: str) -> None:
        """Find, pair, connect, then control and watch."""
        found: list[Device] = []
        if not self.step("scan", lambda: self._scan(found)):
            return
        if not self.step("pair", lambda: self._pair(found[0])):
            return
        connected: list[AppleTV] = []
        if not self.step("connect", lambda: self._connect(found[0], connected)):
            return
        with connected[0] as atv:
            self.step("playing", lambda: self._playing(atv))
            for button in ("up", "down", "left", "right", "select", "menu"):
                self.step(button, partial(self._press, getattr(atv, button), button))
            self.step("select hold", lambda: self._press(lambda: atv.select(hold=1), "select hold"))
            self.step("pause", lambda: self._effect(atv.pause, self._is(DeviceState.Paused)))
            self.step("play", lambda: self._effect(atv.play, self._is(DeviceState.Playing)))
            self.step("next", lambda: self._title(atv))
            self.step("seek", lambda: self._effect(lambda: atv.set_position(60), self._at_60))
            self.step("volume up", lambda: self._volume(atv.volume_up, +5))
            self.step("volume down", lambda: self._volume(atv.volume_down, -5))
            self.step("shuffle", lambda: self._shuffle(atv))
            self.step("push", lambda: self._push(atv))
            self.step("artwork", lambda: self._artwork(atv, artwork))

    # -- steps -----------------------------------------------------------------------------------

    def _scan(self, found: list[Device]) -> str:
        host = f"{self._tv.host}:{self._tv.ports['mdns']}"
        found += [d for d in scan(5.0, hosts=[host]) if d.is_called(self._tv.identifier)]
        if not found:
            raise StepFailed("the scan did not find it")
        return f"{found[0].name}: {found[0].info}"

    def _pair(self, device: Device) -> str:
        """Type on the TV, once it is shown, the PIN that this end made up.

        The TV is told where the remote is, so that the demo needs no multicast.
        """
        guid, port = new_guid(), _free_port(self._tv.host)
        shown: list[str] = []
        errors: list[BaseException] = []

        def type_pin() -> None:
            try:
                self._tv.enter_pin(shown[0], (self._tv.host, port, guid))
            except (AppleTVError, OSError) as exc:
                errors.append(exc)

        typing = threading.Thread(target=type_pin, name="tinyatv-demo-pin", daemon=True)

        def show(pin: str) -> None:
            shown.append(pin)
            typing.start()

        pair(
            device, show_pin=show, timeout=5.0, store=self._store,
            guid=guid, port=port, announce=False,
        )  # fmt: skip
        typing.join(5)
        if errors:
            raise StepFailed(one_line(errors[0]))
        if not self._tv.credentials:
            raise StepFailed("the device accepts no credentials")
        return f"typed {shown[0]} on the TV, which trusts this remote now"

    def _connect(self, device: Device, connected: list[AppleTV]) -> str:
        connected.append(connect_to(device, self._store, remembered=False))
        return f"{connected[0]!r}"

    def _playing(self, atv: AppleTV) -> str:
        playing = atv.playing()
        item = self._tv.state.item
        if item is None or playing.title != item.title:
            raise StepFailed(f"reports {playing.title!r}")
        return f"{playing.title!r} by {playing.artist}, {playing.position}/{playing.total_time} s"

    def _press(self, press: Callable[[], Any], expected: str) -> str:
        before = len(self._tv.log)
        press()
        seen = self._tv.log[before:]
        if seen != [expected]:
            raise StepFailed(f"the device saw {seen}")
        return f"the device saw {expected!r}"

    def _is(self, wanted: DeviceState) -> Callable[[], bool]:
        return lambda: self._tv.state.device_state is wanted

    def _at_60(self) -> bool:
        return 60 <= self._tv.state.position < 65

    def _effect(self, command: Callable[[], Any], expected: Callable[[], bool]) -> str:
        command()
        state = self._tv.state
        if not expected():
            raise StepFailed(f"the device is {state.device_state.name} at {state.position:.0f} s")
        return f"the device is {state.device_state.name} at {state.position:.0f} s"

    def _title(self, atv: AppleTV) -> str:
        before = self._tv.state.item
        atv.next()
        item = self._tv.state.item
        if item is None or item is before or atv.playing().title != item.title:
            raise StepFailed("the device plays the same as before")
        return f"the device plays {item.title!r}"

    def _volume(self, command: Callable[[], None], step: float) -> str:
        before = self._tv.state.volume
        command()
        if self._tv.state.volume != before + step:
            raise StepFailed(f"the device is at {self._tv.state.volume:g} %")
        return f"the device went from {before:g} to {self._tv.state.volume:g} %"

    def _shuffle(self, atv: AppleTV) -> str:
        atv.set_shuffle(ShuffleState.Songs)
        if self._tv.state.shuffle is not ShuffleState.Songs:
            raise StepFailed("the device does not shuffle")
        return f"the device reports {atv.playing().shuffle}"

    def _push(self, atv: AppleTV) -> str:
        """Change the title on the device, and wait until we are told."""
        received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        atv.add_listener(received.put)
        try:
            received.get(timeout=5)  # what is playing when we begin to listen
            started = time.perf_counter()
            self._tv.state.update(title="Pushed")
            event = received.get(timeout=5)
        except queue.Empty:
            raise StepFailed("no update came") from None
        finally:
            atv.remove_listener(received.put)
        if not isinstance(event, PlayingChanged) or event.playing.title != "Pushed":
            raise StepFailed(f"{event!r} came")
        taken = (time.perf_counter() - started) * 1000
        return f"the title changed on the device, and we knew {taken:.1f} ms later"

    def _artwork(self, atv: AppleTV, path: str) -> str:
        art = atv.artwork(256)
        if art is None or art.data != self._tv.state.artwork(256):
            raise StepFailed("not the image that the device shows")
        art.save(path)
        return f"{art.width}x{art.height} {art.mimetype}, {os.path.getsize(path)} bytes saved"


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
