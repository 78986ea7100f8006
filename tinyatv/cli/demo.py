"""Try everything against virtual Apple TVs on this machine: no TV and no network needed.

Each step is checked on the device; the exit code is 0 only if the device saw every step.
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
from ..connecting import connect_to, pair
from ..deadline import Deadline
from ..device import AppleTV
from ..discovery import scan
from ..errors import AppleTVError
from ..events import KeyboardChanged, PlayingChanged
from ..model import Device, DeviceState, FeatureState, PowerState, RepeatState, ShuffleState
from ..pairing.dmap import new_guid
from ..routes import PROTOCOLS
from ..store import Store
from ..virtual import VirtualAppleTV
from .output import one_line

if TYPE_CHECKING:
    from .flags import Arguments, Parser
    from .output import Output


def add_flags(parser: Parser, word: str) -> None:
    """Where the artwork goes."""
    parser.add_argument("--artwork", metavar="FILE", help="where to keep the artwork")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Run all steps; 1 if one of them failed."""
    out.result(f"tinyatv {__version__} demo: virtual Apple TVs on loopback", demo=__version__)
    steps = passed = 0
    for profile in ("atv3", "tvos14", "tvos18"):
        tv = VirtualAppleTV("Demo Apple TV", profile=profile, mdns_port=0, credentials=())
        with tv, tempfile.TemporaryDirectory() as folder:
            out.result(f"\n{tv.device.info}, over {' and '.join(tv.protocols)}", profile=profile)
            demo = Demo(tv, out)
            demo.run(flags.artwork or os.path.join(folder, "artwork.png"))
        steps, passed = steps + demo.steps, passed + demo.passed
    total = f"\n{passed} of {steps} steps seen on the device"
    out.result(total, steps=steps, passed=passed)
    return 0 if passed == steps else 1


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
            features = atv.features()
            can = {name for name in features if features[name] is not FeatureState.Unsupported}
            newer = "home" in can
            for button in ("up", "down", "left", "right", "select", "menu", *["home"] * newer):
                self.step(button, partial(self._press, getattr(atv, button), button))
            self.step("select hold", lambda: self._press(lambda: atv.select(hold=1), "select hold"))
            self.step("pause", lambda: self._effect(atv.pause, self._is(DeviceState.Paused)))
            self.step("play", lambda: self._effect(atv.play, self._is(DeviceState.Playing)))
            self.step("next", lambda: self._title(atv))
            self.step("seek", lambda: self._effect(lambda: atv.set_position(60), self._at_60))
            self.step("volume up", lambda: self._volume(atv.volume_up, +5))
            self.step("volume down", lambda: self._volume(atv.volume_down, -5))
            self.step("shuffle", lambda: self._shuffle(atv))
            if newer:
                self.step("repeat", lambda: self._repeat(atv))
                self.step("set volume", lambda: self._set_volume(atv, 20.0))
                self.step("speakers", lambda: self._speakers(atv))
                self.step("type", lambda: self._type(atv))
                self.step("turn off", lambda: self._power(atv, PowerState.Off))
                self.step("turn on", lambda: self._power(atv, PowerState.On))
            self.step("push", lambda: self._push(atv))
            self.step("artwork", lambda: self._artwork(atv, artwork))
            if "play_url" in can:
                self.step("play a file", lambda: self._play(atv, artwork))
            if "swipe" in can:
                self.step("swipe", lambda: self._press(lambda: atv.swipe(500, 900, 500, 100), "up"))
                self.step("launch", lambda: self._launch(atv, "Netflix"))

    # -- steps -----------------------------------------------------------------------------------

    def _scan(self, found: list[Device]) -> str:
        host = f"{self._tv.host}:{self._tv.ports['mdns']}"
        wanted = {*self._tv.device.identifiers}
        found += [d for d in scan(5.0, hosts=[host]) if wanted & {*d.identifiers}]
        if not found:
            raise StepFailed("the scan did not find it")
        return f"{found[0].name}: {found[0].info}"

    def _pair(self, device: Device) -> str:
        """Let the device and this remote agree on keys, whichever of them shows the PIN.

        An old device gets the address of the remote, so that the demo needs no multicast.
        """
        guid, port = new_guid(), _free_port(self._tv.host)
        read: list[str] = []
        typed: list[str] = []
        errors: list[BaseException] = []

        def read_the_screen() -> str:
            read.append(self._tv.pin or "")
            return read[0]

        def type_pin() -> None:
            try:
                self._tv.enter_pin(typed[0], (self._tv.host, port, guid))
            except (AppleTVError, OSError) as exc:
                errors.append(exc)

        typing = threading.Thread(target=type_pin, name="tinyatv-demo-pin", daemon=True)

        def show(pin: str) -> None:
            typed.append(pin)
            typing.start()

        shows = any(PROTOCOLS[one.protocol].hap for one in device.services)  # over HAP the TV does
        pair(
            device, pin=read_the_screen if shows else None, show_pin=show, timeout=5.0,
            store=self._store, guid=guid, port=port, announce=False,
        )  # fmt: skip
        if typed:
            typing.join(5)
        if errors:
            raise StepFailed(one_line(errors[0]))
        if len(read) + len(typed) != 1:
            raise StepFailed(f"it took {len(read) + len(typed)} PINs")
        paired = [service.protocol for service in device.services if service.credentials]
        how = f"read {read[0]} on the TV, typed it here" if read else f"typed {typed[0]} on the TV"
        return f"{how}: paired {' and '.join(paired)}"

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

    def _set_volume(self, atv: AppleTV, level: float) -> str:
        return self._volume(lambda: atv.set_volume(level), level - self._tv.state.volume)

    def _shuffle(self, atv: AppleTV) -> str:
        atv.set_shuffle(ShuffleState.Songs)
        if self._tv.state.shuffle is not ShuffleState.Songs:
            raise StepFailed("the device does not shuffle")
        return f"the device reports {atv.playing().shuffle}"

    def _repeat(self, atv: AppleTV) -> str:
        atv.set_repeat(RepeatState.All)
        if self._tv.state.repeat is not RepeatState.All:
            raise StepFailed("the device does not repeat")
        return f"the device reports {atv.playing().repeat}"

    def _speakers(self, atv: AppleTV) -> str:
        kitchen = self._tv.state.known_outputs[1]
        atv.add_output_devices(kitchen.identifier)
        if kitchen.identifier not in self._tv.state.outputs:
            raise StepFailed("the device does not use it")
        return f"plays in {', '.join(one.name for one in atv.output_devices())}"

    def _type(self, atv: AppleTV) -> str:
        """Open a text field on the device, and type into it."""
        received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        atv.add_listener(received.put)
        try:
            self._tv.state.open_field()
            while not isinstance(received.get(timeout=5), KeyboardChanged):
                pass
        except queue.Empty:
            raise StepFailed("the text field was not reported") from None
        finally:
            atv.remove_listener(received.put)
        atv.text_set("stranger things")
        if self._tv.state.text != "stranger things":
            raise StepFailed(f"the device has {self._tv.state.text!r}")
        return f"the device has {self._tv.state.text!r}"

    def _power(self, atv: AppleTV, wanted: PowerState) -> str:
        turn = atv.turn_on if wanted is PowerState.On else atv.turn_off
        turn(wait=True)
        if self._tv.state.power is not wanted:
            raise StepFailed(f"the device is {self._tv.state.power.name}")
        return f"the device is {self._tv.state.power.name}"

    def _push(self, atv: AppleTV) -> str:
        """Change the title on the device, and wait for the event."""
        received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        atv.add_listener(received.put)
        try:
            received.get(timeout=5)  # what is playing when we begin to listen
            started = time.perf_counter()
            self._tv.state.update(title="Pushed")
            event, deadline = received.get(timeout=5), Deadline(5)
            # Other events come as well: the volume, say, or the pause while it was off.
            while not isinstance(event, PlayingChanged) or event.playing.title != "Pushed":
                event = received.get(timeout=deadline.wait())
        except queue.Empty:
            raise StepFailed("no update came") from None
        finally:
            atv.remove_listener(received.put)
        taken = (time.perf_counter() - started) * 1000
        return f"the title changed on the device, and we knew {taken:.1f} ms later"

    def _play(self, atv: AppleTV, path: str) -> str:
        """Let the device fetch a file of ours, and play it."""
        with open(path, "rb") as file:
            data = file.read()
        with atv.play_url(path):
            if not self._tv.wait_for(lambda: self._tv.airplay.player.body == data):
                raise StepFailed("the device did not fetch it")
            app = self._tv.state.app
            return f"the device fetched {len(data)} bytes, and plays them in {app and app.name}"

    def _launch(self, atv: AppleTV, name: str) -> str:
        """Look for an app by its name, and start it."""
        apps = {app.name: app.identifier for app in atv.apps()}
        atv.launch(apps[name])
        app = self._tv.state.app
        if app is None or app.identifier != apps[name]:
            raise StepFailed(f"the device shows {app}")
        return f"the device has {len(apps)} apps, and shows {app.name}"

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
