"""The file that says what a button box does. Mistakes are named with their line.

[box]
tv = Living Room        ; else the default device
patience = 10           ; seconds that a press waits for a TV that is away
hold = 0.6              ; seconds

[pins]                  ; gpiozero's numbers; buttons to ground
17 = play_pause
17 hold = turn_off
27 repeat = volume_up

[knob 5 6]              ; the pins of a rotary encoder
volume = 2              ; percent per step; or: left = ..., right = ...

[keys /dev/input/by-id/usb-remote-event-kbd]
grab = yes              ; the keys do nothing else
KEY_OK = select
KEY_OK hold = select=hold
KEY_1 = -n Bedroom launch=com.netflix.Netflix

[leds]
12 = playing            ; or awake, connected
"""

from __future__ import annotations

import configparser
import shlex
from typing import Any, Callable

from .gestures import GESTURES, Times
from .keys import number_of

LAMPS = ("playing", "awake", "connected")
BOX = ("tv", "patience", "hold", "double", "repeat")
MAX_PIN = 27  # of the header of a Raspberry Pi
Parse = Callable[["list[str]"], Any]


class Binding:
    """What one gesture does.

    Attributes:
        tv: Name of the device; None is the default one.
        text: As in the file.
        steps: As `parse` made them.
    """

    def __init__(self, tv: str | None, text: str, steps: Any) -> None:
        self.tv = tv
        self.text = text
        self.steps = steps


class Knob:
    """A rotary encoder.

    Attributes:
        pins: A and B.
        tv: Whose volume; None is the default device.
        volume: Percent per step, or 0.
        turns: What ``left`` and ``right`` do.
    """

    def __init__(self, pins: tuple[int, int], tv: str | None) -> None:
        self.pins = pins
        self.tv = tv
        self.volume = 0.0
        self.turns: dict[str, Binding] = {}


class Config:
    """A file that was read.

    Attributes:
        tv: Name of the device that is meant if a line names none; None is the default one.
        patience: Seconds that a press may wait for a device.
        times: How long gestures take.
        pins: Bindings of each pin, by gesture.
        keys: For each path, the bindings of each key, by gesture.
        grabbed: Paths whose keys are to reach nothing else.
        knobs: Rotary encoders.
        leds: What each LED shows, by its pin.
    """

    def __init__(self) -> None:
        self.tv: str | None = None
        self.patience = 10.0
        self.times = Times()
        self.pins: dict[int, dict[str, Binding]] = {}
        self.keys: dict[str, dict[int, dict[str, Binding]]] = {}
        self.grabbed: set[str] = set()
        self.knobs: list[Knob] = []
        self.leds: dict[int, str] = {}

    def tvs(self) -> list[str | None]:
        """All devices that are named."""
        buttons = [*self.pins.values(), *(b for keys in self.keys.values() for b in keys.values())]
        bindings = [one for button in buttons for one in button.values()]
        bindings += [one for knob in self.knobs for one in knob.turns.values()]
        named = [one.tv for one in bindings] + [k.tv for k in self.knobs if k.volume]
        return list(dict.fromkeys(named + ([self.tv] if self.leds else [])))


def read(text: str, path: str, parse: Parse, tv: str | None = None) -> Config:
    """Read a file.

    Args:
        text: Its contents.
        path: Its name, for errors.
        parse: Turns a list of words into what they do; raises ValueError.
        tv: The device that is meant if the file names none.

    Raises:
        ValueError: Every mistake, one per line, with path and line.
    """
    reader = configparser.ConfigParser(
        delimiters=("=",), interpolation=None, strict=True, inline_comment_prefixes=(";",),
        default_section="",
    )  # fmt: skip
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        reader.read_string(text, path)
    except configparser.MissingSectionHeaderError as exc:
        raise _mistakes(path, [(exc.lineno, "a [SECTION] comes first")]) from exc
    except configparser.ParsingError as exc:
        wrong = [(line, "expected [SECTION] or NAME = WORDS") for line, _ in exc.errors]
        raise _mistakes(path, wrong) from exc
    except configparser.Error as exc:
        line = getattr(exc, "lineno", 0) or 0
        raise _mistakes(path, [(line, f"{_doubled(exc)} is there twice")]) from exc
    return _Reading(reader, _lines(text), path, parse, tv).config()


def _doubled(error: configparser.Error) -> str:
    return str(getattr(error, "option", None) or f"[{getattr(error, 'section', '')}]")


def _mistakes(path: str, wrong: list[tuple[int, str]]) -> ValueError:
    return ValueError("\n".join(f"{path}:{line}: {what}" for line, what in sorted(wrong)))


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Where each section (with an empty key) and each key of it is."""
    found, section = {}, ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split(" ;")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            found[section, ""] = number
        elif not line.startswith((";", "#")):
            found[section, line.partition("=")[0].strip()] = number
    return found


class _Reading:
    def __init__(
        self, reader: configparser.ConfigParser, lines: dict[tuple[str, str], int], path: str,
        parse: Parse, tv: str | None,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._lines = lines
        self._path = path
        self._parse = parse
        self._config = Config()
        self._config.tv = tv
        self._wrong: list[tuple[int, str]] = []
        self._taken: dict[int, str] = {}

    def config(self) -> Config:
        sections = self._reader.sections()
        for section in sorted(sections, key=lambda one: one != "box"):  # what others go by
            kind, _, rest = section.partition(" ")
            read = {
                "box": self._box, "pins": self._pin, "leds": self._led, "keys": self._key,
                "knob": self._knob,
            }.get(kind)  # fmt: skip
            items = self._reader.items(section)
            rest = rest.strip()
            try:
                if read is None or (kind in ("keys", "knob")) is not bool(rest):
                    known = "[box], [pins], [leds], [keys PATH] or [knob A B]"
                    raise ValueError(f"[{section}] is not {known}")
                if kind == "knob":
                    self._new_knob(rest)
            except ValueError as exc:
                self._note(section, "", exc)
                continue
            for key, value in items:
                try:
                    read(rest, key, value)
                except ValueError as exc:
                    self._note(section, key, exc)
        config = self._config
        if not self._wrong and not (config.pins or config.keys or config.knobs):
            self._wrong.append((1, "nothing is bound to anything"))
        if self._wrong:
            raise _mistakes(self._path, self._wrong)
        return config

    def _note(self, section: str, key: str, error: ValueError) -> None:
        self._wrong.append((self._lines.get((section, key), 0), str(error)))

    def _box(self, _: str, key: str, value: str) -> None:
        if key == "tv":
            self._config.tv = value or None
        elif key == "patience":
            self._config.patience = _number(value, 0)
        elif key in BOX:
            setattr(self._config.times, key, _number(value, 0.01))
        else:
            raise ValueError(f"{key} is not {', '.join(BOX)}")

    def _pin(self, _: str, key: str, value: str) -> None:
        name, gesture = _gesture(key)
        pin = _pin(name)
        self._take(pin, "a button")
        self._bind(self._config.pins.setdefault(pin, {}), gesture, value)

    def _led(self, _: str, key: str, value: str) -> None:
        pin = _pin(key)
        self._take(pin, "an LED")
        if value not in LAMPS:
            raise ValueError(f"{value!r} is not {', '.join(LAMPS)}")
        self._config.leds[pin] = value

    def _key(self, path: str, key: str, value: str) -> None:
        keys = self._config.keys.setdefault(path, {})
        if key == "grab":
            if value not in ("yes", "no"):
                raise ValueError(f"grab is yes or no, not {value!r}")
            if value == "yes":
                self._config.grabbed.add(path)
            return
        name, gesture = _gesture(key)
        self._bind(keys.setdefault(number_of(name), {}), gesture, value)

    def _new_knob(self, rest: str) -> None:
        pins = [_pin(one) for one in rest.split()]
        if len(pins) != 2:
            raise ValueError("a knob has two pins: [knob 5 6]")
        for pin in pins:
            self._take(pin, f"knob {rest}")
        self._config.knobs.append(Knob((pins[0], pins[1]), self._config.tv))

    def _knob(self, rest: str, key: str, value: str) -> None:
        knob = self._config.knobs[-1]
        if key == "volume":
            knob.volume = _number(value, 0.1)
        elif key == "tv":
            knob.tv = value or None
        elif key in ("left", "right"):
            self._bind(knob.turns, key, value)
        else:
            raise ValueError(f"{key} is not volume, tv, left or right")

    def _take(self, pin: int, what: str) -> None:
        other = self._taken.setdefault(pin, what)
        if other != what:
            raise ValueError(f"pin {pin} is {other} already")

    def _bind(self, gestures: dict[str, Binding], gesture: str, value: str) -> None:
        if {gesture, *gestures} >= {"hold", "repeat"}:
            raise ValueError("hold and repeat are the same gesture: one of them")
        words = shlex.split(value)
        tv = self._config.tv
        if words[:1] == ["-n"] and len(words) > 1:
            tv, words = words[1], words[2:]
        if not words:
            raise ValueError("what should it do? A word is missing")
        gestures[gesture] = Binding(tv, value, self._parse(words))


def _gesture(key: str) -> tuple[str, str]:
    name, _, gesture = key.partition(" ")
    gesture = gesture.strip() or "press"
    if gesture not in GESTURES:
        raise ValueError(f"{gesture!r} is not {', '.join(GESTURES)}")
    return name, gesture


def _pin(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_PIN:
        raise ValueError(f"{text!r} is not a pin, 0 to {MAX_PIN}")
    return int(text)


def _number(text: str, low: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not low <= value <= 3600:
        raise ValueError(f"{text!r} is not a number from {low:g} to 3600")
    return value
