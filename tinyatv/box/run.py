"""A box at work: gestures become commands, one thread decides, each device has its own queue."""

from __future__ import annotations

import logging
import queue
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ..connecting import AWAY, LONGEST_WAIT
from ..deadline import Deadline
from ..events import Disconnected, PlayingChanged, PowerChanged, Reconnected
from ..model import DeviceState, PowerState
from .gestures import Button
from .inputs import InputDevice
from .keys import name_of

if TYPE_CHECKING:
    from ..device import AppleTV
    from .config import Binding, Config, Knob

log = logging.getLogger(__name__)

SETTLE = 0.15  # s without a turn, after which a knob has been turned to its end
WAITING = 32  # presses that may wait for a device that was not there yet
Report = Callable[[str], object]
Carry = Callable[["AppleTV", Any], object]


class Tv:
    """A device that a box controls; it may be away, at the start as well.

    Args:
        name: What it was called in the file, for people.
        connect: Connects to it, with ``reconnect=True``.
        patience: Seconds that a press may wait for it.
        report: Takes a line about what happens.
        changed: Called with (what, value) when it starts to play, to sleep, or to be away.
    """

    def __init__(
        self, name: str, connect: Callable[[], AppleTV], patience: float, report: Report,
        changed: Callable[[str, bool], object] = lambda what, on: None,
    ) -> None:  # fmt: skip
        self.name = name
        self._connect = connect
        self._patience = patience
        self._report = report
        self._changed = changed
        self._atv: AppleTV | None = None
        self._early: list[tuple[Callable[[AppleTV], object], Deadline]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._open, name=f"tinyatv-box-{name}", daemon=True)

    def start(self) -> None:
        """Connect, for as long as it takes; does not block."""
        self._thread.start()

    def press(self, run: Callable[[AppleTV], object]) -> None:
        """Queue what is to be done. Never blocks, never raises."""
        with self._lock:
            atv = self._atv
            if atv is None:
                early = [one for one in self._early if not one[1].over]
                if self._patience and len(early) < WAITING:
                    self._early = [*early, (run, Deadline(self._patience))]
                    return
        if atv is None:
            self._report(f"{self.name}: it is not there")
            return
        self._queue(atv, run, self._patience)

    def _queue(
        self, atv: AppleTV, run: Callable[[AppleTV], object], patience: float | None
    ) -> None:
        atv.queued(run, atv, patience=patience or 0.0, on_error=self._failed)()

    def _failed(self, error: BaseException) -> None:
        self._report(f"{self.name}: {error}")

    def _open(self) -> None:
        pause, reported = 1.0, False
        while not self._closing.is_set():
            try:
                atv = self._connect()
                break
            except Exception as exc:
                if not reported:
                    self._failed(exc)
                if not isinstance(exc, AWAY):
                    return
            reported = True
            self._closing.wait(pause)
            pause = min(2 * pause, LONGEST_WAIT)
        else:
            return
        self._report(f"{self.name}: connected by {', '.join(atv.protocols)}")
        with self._lock:
            self._atv = atv
            early, self._early = self._early, []
        if self._closing.is_set():
            atv.close()
            return
        self._connected(atv)
        atv.add_listener(self._heard)
        for run, deadline in early:
            if not deadline.over:
                self._queue(atv, run, deadline.left())

    def _connected(self, atv: AppleTV) -> None:
        self._changed("connected", True)

        def look() -> None:  # changes alone are reported
            self._changed("awake", atv.power_state() is PowerState.On)

        atv.queued(look, on_error=lambda error: log.debug("%s: %s", self.name, error))()

    def _heard(self, event: Any) -> None:
        if isinstance(event, PlayingChanged):
            self._changed("playing", event.playing.device_state is DeviceState.Playing)
        elif isinstance(event, PowerChanged):
            self._changed("awake", event.power is PowerState.On)
        elif isinstance(event, Reconnected) and self._atv is not None:
            self._connected(self._atv)
        elif isinstance(event, Disconnected):  # if any protocol is lost, all come back together
            for what in ("connected", "awake", "playing"):
                self._changed(what, False)
            if event.error is not None:
                self._failed(event.error)

    def close(self) -> None:
        """Disconnect. Blocks up to 5 s."""
        self._closing.set()
        with self._lock:
            atv = self._atv
        if atv is not None:
            atv.close()
        if self._thread.is_alive():
            self._thread.join(0.5)  # it may be in the middle of connecting


class Box:
    """What a file describes, at work.

    Args:
        config: The file.
        connect: Connects to the device of a name.
        carry_out: Does the steps of a binding on a device.
        report: Takes a line about what happens.
    """

    def __init__(
        self, config: Config, connect: Callable[[str | None], AppleTV], carry_out: Carry,
        report: Report,
    ) -> None:  # fmt: skip
        self._config = config
        self._carry_out = carry_out
        self._report = report
        self._events: queue.SimpleQueue[Callable[[float], object] | None] = queue.SimpleQueue()
        self._buttons: list[Button] = []
        self._knobs: dict[int, tuple[Knob, float, float]] = {}  # turned: knob, steps, since when
        self._closing: list[Callable[[], object]] = []
        self._leds: dict[str, list[Any]] = {}
        self._tvs: dict[str | None, Tv] = {}
        for name in config.tvs():
            changed = self._show if name == config.tv else (lambda what, on: None)
            self._tvs[name] = Tv(
                name or "the default device", partial(connect, name), config.patience, report,
                changed,
            )  # fmt: skip

    def lines(self) -> list[str]:
        """What is bound to what, for people."""
        config, shown = self._config, []
        for pin, gestures in config.pins.items():
            shown += [f"pin {pin} {g}: {b.text}" for g, b in gestures.items()]
        for knob in config.knobs:
            pins = f"knob {knob.pins[0]} {knob.pins[1]}"
            shown += [f"{pins}: volume, {knob.volume:g} % per step"] if knob.volume else []
            shown += [f"{pins} {turn}: {b.text}" for turn, b in knob.turns.items()]
        for path, keys in config.keys.items():
            shown += [
                f"{path} {name_of(number)} {g}: {b.text}"
                for number, gestures in keys.items()
                for g, b in gestures.items()
            ]
        return shown + [f"LED {pin}: {what}" for pin, what in config.leds.items()]

    def open(self) -> None:
        """Take the pins and the input devices, and start connecting.

        Raises:
            ImportError: There are pins, and no gpiozero.
        """
        config = self._config
        if config.pins or config.knobs or config.leds:
            self._open_pins()
        for path, keys in config.keys.items():
            buttons = {number: self._button(gestures) for number, gestures in keys.items()}
            device = InputDevice(
                path, partial(self._key, buttons), grab=path in config.grabbed,
                changed=self._report,
            )  # fmt: skip
            device.start()
            self._closing.append(device.close)
        for tv in self._tvs.values():
            tv.start()

    def _open_pins(self) -> None:
        import gpiozero  # type: ignore[import-untyped,import-not-found,unused-ignore]

        for pin, gestures in self._config.pins.items():
            button, device = self._button(gestures), gpiozero.Button(pin)
            device.when_pressed = partial(self._change, button, True)
            device.when_released = partial(self._change, button, False)
            self._closing.append(device.close)
        for number, knob in enumerate(self._config.knobs):
            device = gpiozero.RotaryEncoder(*knob.pins, max_steps=0)
            device.when_rotated_clockwise = partial(self._turn, number, 1)
            device.when_rotated_counter_clockwise = partial(self._turn, number, -1)
            self._closing.append(device.close)
        for pin, what in self._config.leds.items():
            led = gpiozero.LED(pin)
            self._leds.setdefault(what, []).append(led)
            self._closing.append(led.close)

    def run(self) -> None:
        """Work until :meth:`stop`."""
        while True:
            now = time.monotonic()
            waits = [one.due for one in self._buttons if one.due is not None]
            waits += [since + SETTLE for _, _, since in self._knobs.values()]
            try:
                left = max(0.001, min(waits) - now) if waits else None
                event = self._events.get(timeout=left)
            except queue.Empty:
                self._over(time.monotonic())
                continue
            if event is None:
                return
            event(time.monotonic())
            self._over(time.monotonic())

    def stop(self) -> None:
        """End :meth:`run`; from any thread, and from a signal handler."""
        self._events.put(None)

    def close(self) -> None:
        """Release pins and devices, and disconnect."""
        for close in self._closing:
            close()
        for tv in self._tvs.values():
            tv.close()

    # -- what comes in ---------------------------------------------------------------------------

    def _button(self, gestures: dict[str, Binding]) -> Button:
        button = Button(gestures, self._config.times, lambda one: self._do(gestures[one]))
        self._buttons.append(button)
        return button

    def _change(self, button: Button, down: bool) -> None:
        self._events.put(lambda now: button.change(down, now))

    def _key(self, buttons: dict[int, Button], number: int, down: bool) -> None:
        if number in buttons:
            self._change(buttons[number], down)

    def _turn(self, number: int, step: int) -> None:
        self._events.put(lambda now: self._turned(number, step, now))

    def _turned(self, number: int, step: int, now: float) -> None:
        knob = self._config.knobs[number]
        binding = knob.turns.get("right" if step > 0 else "left")
        if binding is not None:
            self._do(binding)
        if knob.volume:
            _, steps, _ = self._knobs.get(number, (knob, 0, now))
            self._knobs[number] = knob, steps + step, now

    def _over(self, now: float) -> None:
        for button in self._buttons:
            if button.due is not None and button.due <= now:
                button.wait_over(now)
        for number, (knob, steps, since) in list(self._knobs.items()):
            if since + SETTLE <= now:
                del self._knobs[number]
                self._tvs[knob.tv].press(partial(_change_volume, steps * knob.volume))

    # -- what goes out ---------------------------------------------------------------------------

    def _do(self, binding: Binding) -> None:
        self._tvs[binding.tv].press(lambda atv: self._carry_out(atv, binding.steps))

    def _show(self, what: str, on: bool) -> None:
        for led in self._leds.get(what, []):
            led.value = on


def _change_volume(by: float, atv: AppleTV) -> None:
    atv.set_volume(min(100.0, max(0.0, atv.volume() + by)))
