"""What the full-screen remote shows: what it knows, and the lines that are drawn of it.

    +----------------------------------------------+
    | Living Room                 Apple TV 4K, on  |   reverse
    |                                              |
    | Harbour Lights                               |   bold
    | The Loopbacks - Local Hosts                  |
    | Playing in Music, repeat off, shuffle off    |
    | 1:02 [=========>                       ] 3:42|
    |                                              |
    | Volume [==========          ] 50%            |
    | what went wrong                              |
    |                                              |
    | arrows move  enter select  esc back  ...     |
    +----------------------------------------------+

Where there is no room for all, the least important lines go. Nothing here knows of a terminal, but
how many cells of one a letter takes.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from ..events import (
    Disconnected,
    Event,
    KeyboardChanged,
    PlayingChanged,
    PowerChanged,
    Reconnected,
    UpdateFailed,
    VolumeChanged,
)
from ..model import DeviceState, FeatureState, KeyboardFocus, PowerState, clock
from ..text import printable
from .output import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model import Playing

Line = tuple[str, str]  # text, and how it looks: "", "bold" or "reverse"

MARKS = 3  # combining marks that one letter may have; ncurses can hold four
WIDER = "\ufe0f"  # makes an emoji of a character, in most terminals of two cells


class Failed(Event):
    """A command went wrong.

    Attributes:
        error: Why.
    """

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class FeaturesKnown(Event):
    """What the device can do now.

    Attributes:
        features: As of :meth:`tinyatv.AppleTV.features`.
    """

    __slots__ = ("features",)

    def __init__(self, features: dict[str, FeatureState]) -> None:
        self.features = features


class Answered(Event):
    """An answer as an event; what the device has reported meanwhile is newer.

    Attributes:
        event: What it comes to.
    """

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event


class TextKnown(Event):
    """What is in the text field.

    Attributes:
        text: All of it.
        edits: How often it had been changed here when it was asked for.
    """

    __slots__ = ("edits", "text")

    def __init__(self, text: str, edits: int = 0) -> None:
        self.text = text
        self.edits = edits


class View:
    """What the remote knows.

    Args:
        name: Of the device.
        model: Its model, for people.

    Attributes:
        playing: What plays, or None.
        power: Whether it is awake.
        volume: Percent, or None.
        focus: Whether a text field has focus.
        lost: Why there is no connection; None if there is one.
        typed: What is in the text field while letters go there; None while they are keys.
        edits: How often that was changed here.
        message: What went wrong last, or "".
        help: True while all keys are shown.
        features: What the device can do now; empty until it is known.
    """

    def __init__(self, name: str, model: str = "") -> None:
        self.name = name
        self.model = model
        self.playing: Playing | None = None
        self.power = PowerState.Unknown
        self.volume: float | None = None
        self.focus = KeyboardFocus.Unknown
        self.lost: str | None = None
        self.typed: str | None = None
        self.edits = 0
        self.message = ""
        self.help = False
        self.features: dict[str, FeatureState] = {}
        self._told: set[type] = set()  # kinds of events since it is connected

    def apply(self, event: Any) -> None:
        """Take in what happened."""
        if isinstance(event, Answered):
            event = event.event
            if type(event) in self._told:
                return
        elif getattr(event, "output_device", None) is None:
            self._told.add(type(event))
        if isinstance(event, PlayingChanged):
            self.playing = event.playing
        elif isinstance(event, PowerChanged):
            self.power = event.power
        elif isinstance(event, VolumeChanged):
            if event.output_device is None:
                self.volume = event.volume
        elif isinstance(event, KeyboardChanged):
            if event.focus is not self.focus:  # after a reconnection it may be an old story
                self.typed = "" if event.focus is KeyboardFocus.Focused else None
            self.focus = event.focus
        elif isinstance(event, TextKnown):
            if self.typed is not None and event.edits == self.edits:  # else it is an old story
                self.typed = event.text
        elif isinstance(event, FeaturesKnown):
            self.features = event.features
        elif isinstance(event, Disconnected):
            self.lost = "closed" if event.error is None else one_line(event.error)
        elif isinstance(event, Reconnected):
            self.lost, self.message = None, ""
            self._told.clear()
        elif isinstance(event, (Failed, UpdateFailed)):
            self.message = one_line(event.error)

    def edit(self, text: str) -> None:
        """Show a change that was made here."""
        self.typed = text
        self.edits += 1

    def supports(self, feature: str) -> bool:
        """False if the device cannot do it at all; "" is what needs no device."""
        if not feature or not self.features:
            return True
        return self.features.get(feature, FeatureState.Unsupported) is not FeatureState.Unsupported


def draw(
    view: View, width: int, height: int, keys: Iterable[tuple[str, str, str]] = ()
) -> list[Line]:
    """The lines of a screen.

    Args:
        view: What is known.
        width: Cells of a line.
        height: Lines.
        keys: (key, feature, what it does) of each that is explained.

    Returns:
        At most `height` lines of at most `width` cells.
    """
    if width < 1 or height < 1:
        return []
    usable = [(key, text) for key, feature, text in keys if view.supports(feature)]
    if view.help:
        body = [(1, (text, "")) for text in _table(usable, width)]
        foot = ["any key goes back"]
    else:
        body = list(_body(view, width))
        foot = _foot(view, usable, width, height)
    rows = [(0, (_ends(view.name, _about(view), width), "reverse")), *body]
    # The foot gets what the important lines leave, and one line of its own if there are three.
    most = 0 if height < 3 else max(1, height - 1 - sum(rank < 9 for rank, _ in rows))
    foot = foot[:most]
    room = height - len(foot)
    for rank in range(9, 0, -1):
        while len(rows) > room and any(row[0] == rank for row in rows):
            last = max(at for at, row in enumerate(rows) if row[0] == rank)
            del rows[last]
    lines = [line for _, line in rows][:room]
    lines += [("", "")] * (room - len(lines))
    lines += [(text, "") for text in foot]
    return [(fit(text, width), look) for text, look in lines]


def _body(view: View, width: int) -> Iterable[tuple[int, Line]]:
    """(rank, line): those of the highest rank go first when there is no room."""
    yield 9, ("", "")
    playing = view.playing
    if view.lost is not None:
        yield 1, (f"Connection lost, trying again: {view.lost}", "bold")
    elif playing is None or playing.device_state is DeviceState.Idle:
        yield 1, ("Nothing is playing", "")
    else:
        yield 1, (playing.title or playing.device_state.name, "bold")
        by = " - ".join(text for text in (playing.artist, playing.album) if text)
        if by:
            yield 5, (by, "")
        if playing.series_name:
            yield 5, (_episode(playing), "")
        yield 6, (_how(playing), "")
        yield 2, (_progress(playing, width), "")
    yield 9, ("", "")
    if view.volume is not None:
        yield 4, (_level("Volume", view.volume, width), "")
    if view.typed is not None:
        yield 1, (f"Text: {_tail(view.typed, width - 7)}_", "bold")
    if view.message:
        yield 3, (view.message, "bold")


def _about(view: View) -> str:
    power = {PowerState.On: "on", PowerState.Off: "asleep"}.get(view.power, "")
    return ", ".join(filter(None, (view.model, "not connected" if view.lost else power)))


def _episode(playing: Playing) -> str:
    parts = [playing.series_name or ""]
    if playing.season_number is not None:
        parts.append(f"season {playing.season_number}")
    if playing.episode_number is not None:
        parts.append(f"episode {playing.episode_number}")
    return ", ".join(parts)


def _how(playing: Playing) -> str:
    where = f" in {playing.app.name or playing.app.identifier}" if playing.app else ""
    parts = [f"{playing.device_state.name}{where}"]
    if playing.repeat is not None:
        parts.append(f"repeat {playing.repeat.name.lower()}")
    if playing.shuffle is not None:
        parts.append(f"shuffle {playing.shuffle.name.lower()}")
    return ", ".join(parts)


def _progress(playing: Playing, width: int) -> str:
    """The position and a bar, as of this moment."""
    position, total = playing.position, playing.total_time
    if position is None:
        return clock(total) if total else ""
    if not total:
        return clock(position)
    left, right = clock(position), clock(total)
    room = width - len(left) - len(right) - 4
    if room < 3:
        return f"{left}/{right}"
    done = min(room - 1, room * position // total)
    return f"{left} [{'=' * done}>{' ' * (room - done - 1)}] {right}"


def _level(name: str, percent: float, width: int) -> str:
    room = min(40, width - len(name) - 8)
    bar = f"[{'=' * round(room * percent / 100):<{room}}] " if room >= 5 else ""
    return f"{name} {bar}{percent:.0f}%"


def _foot(view: View, keys: list[tuple[str, str]], width: int, height: int) -> list[str]:
    if view.typed is not None:
        return ["what you type goes to the TV; enter or esc ends that, ctrl-u clears it"]
    lines, line = [], ""
    for item in (f"{key} {text}" for key, text in keys):
        longer = f"{line}  {item}" if line else item
        if cells(longer) > width and line:
            lines.append(line)
            longer = item
        line = longer
    if line:
        lines.append(line)
    if len(lines) > max(1, height // 4):  # better a few than some
        return ["? keys  q quit"]
    return lines


def _table(keys: list[tuple[str, str]], width: int) -> list[str]:
    """All keys, in as many columns as fit."""
    wide = max((len(key) for key, _ in keys), default=0)
    items = [f"{key:>{wide}}  {text}" for key, text in keys]
    column = max(map(cells, items), default=1) + 3
    count = max(1, width // column)
    size = -(-len(items) // count)
    return [
        "".join(f"{item:<{column}}" for item in items[row::size]).rstrip() for row in range(size)
    ]


# -- cells -----------------------------------------------------------------------------------------


def clean(text: str) -> str:
    """`text` as a terminal may have it, with no more marks on a letter than a cell can hold.

    Names and titles come from the network.
    """
    kept: list[str] = []
    marks = 0
    for char in printable(text):
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if marks <= (MARKS if kept else 0):
            kept.append("?" if kind == "Cn" else char)
    return "".join(kept)


def cells(text: str) -> int:
    """How many cells of a terminal `text` takes at most, once it is :func:`clean`.

    Of an emoji made of several, some terminals draw one, and some draw each.
    """
    return sum(map(_cells, text))


def _cells(char: str) -> int:
    if char < "\u0300" or char == WIDER:
        return 1
    if unicodedata.category(char) in ("Mn", "Me", "Cf") or "\u1160" <= char <= "\u11ff":
        return 0  # written over, or with, the letter before
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def fit(text: str, width: int) -> str:
    """`text`, clean, cut to so many cells; dots show that there was more."""
    text = clean(text)
    if cells(text) <= width:
        return text
    dots = "..." if width > 5 else ""
    room, kept = width - len(dots), []
    for char in text:
        room -= _cells(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + dots


def _tail(text: str, width: int) -> str:
    """The end of a text, which is where typing happens."""
    text = clean(text)
    while text and cells(text) > max(0, width):
        text = text[1:]
    return text


def _ends(left: str, right: str, width: int) -> str:
    """A whole line with a text at each end; the right one goes if there is no room."""
    left, right = clean(left), clean(right)
    room = width - cells(left) - cells(right)
    if room < 2:
        left = fit(left, width)
        return left + " " * (width - cells(left))
    return left + " " * room + right
