"""A full-screen remote: arrows, enter, esc, space ...; `?` shows all keys, q quits.

What you type goes to the TV's text field while one has focus, and after t.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ..errors import AppleTVError, CommandFailed, DeviceNotFound, NotSupported
from ..events import KeyboardChanged, PowerChanged, Reconnected, VolumeChanged
from ..model import PowerState, RepeatState, ShuffleState
from .command import HOLD
from .output import show, terminal
from .screen import Answered, Failed, FeaturesKnown, TextKnown, View, draw
from .target import called, open_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..device import AppleTV
    from .flags import Arguments, Parser
    from .output import Output
    from .screen import Line

Action = Callable[["AppleTV", View], object]

TICK = 0.1  # s; how late a change may be drawn
GONE = 3  # times that something could be read and nothing was there: the end of a terminal
LAST = 1.0  # s that the last keys have to arrive
PASTE = 1000  # keys that are taken at once


def _press(name: str, **how: Any) -> Action:
    return lambda atv, _: getattr(atv, name)(**how)


def _power(atv: AppleTV, view: View) -> None:
    if view.power is PowerState.Off:
        atv.turn_on()
    else:
        atv.turn_off()


def _shuffle(atv: AppleTV, view: View) -> None:
    now = view.playing.shuffle if view.playing is not None else None
    atv.set_shuffle(ShuffleState.Songs if now in (None, ShuffleState.Off) else ShuffleState.Off)


def _repeat(atv: AppleTV, view: View) -> None:
    now = view.playing.repeat if view.playing is not None else None
    atv.set_repeat(RepeatState(((now or RepeatState.Off).value + 1) % len(RepeatState)))


KEYS: tuple[tuple[str, str, str, str, Action], ...] = (
    # keys, how they are shown, feature, what it does, how
    ("up", "", "up", "", _press("up")),
    ("down", "", "down", "", _press("down")),
    ("left", "", "left", "", _press("left")),
    ("right", "arrows", "right", "move", _press("right")),
    ("enter", "enter", "select", "select", _press("select")),
    ("e", "e", "select", "select, held", _press("select", hold=HOLD)),
    ("escape backspace", "esc", "menu", "back", _press("menu")),
    ("m", "m", "top_menu", "top menu", _press("top_menu")),
    ("h", "h", "home", "home", _press("home")),
    ("H", "H", "home", "home, held", _press("home", hold=HOLD)),
    ("space", "space", "play_pause", "play/pause", _press("play_pause")),
    ("n", "n", "next", "next", _press("next")),
    ("p", "p", "previous", "previous", _press("previous")),
    (". >", ".", "skip_forward", "skip ahead", _press("skip_forward")),
    (", <", ",", "skip_backward", "skip back", _press("skip_backward")),
    ("x", "x", "stop", "stop", _press("stop")),
    ("+ =", "+", "volume_up", "louder", _press("volume_up")),
    ("-", "-", "volume_down", "quieter", _press("volume_down")),
    ("0", "0", "mute", "mute", _press("mute")),
    ("s", "s", "set_shuffle", "shuffle", _shuffle),
    ("r", "r", "set_repeat", "repeat", _repeat),
    ("pgup", "pgup", "channel_up", "channel up", _press("channel_up")),
    ("pgdn", "pgdn", "channel_down", "channel down", _press("channel_down")),
    ("g", "g", "guide", "guide", _press("guide")),
    ("c", "c", "control_center", "control centre", _press("control_center")),
    ("z", "z", "screensaver", "screen saver", _press("screensaver")),
    ("o", "o", "turn_off", "on/off", _power),
)
ACTIONS = {key: (feature, do) for keys, _, feature, _, do in KEYS for key in keys.split()}
SHOWN = [
    *((shown, feature, text) for _, shown, feature, text, _ in KEYS if shown),
    ("t", "text_append", "type"),
    ("?", "", "keys"),
    ("q", "", "quit"),
]
NAMES = {  # what the terminal says: key
    "\n": "enter", "\r": "enter", "\x1b": "escape", "\x7f": "backspace", "\b": "backspace",
    " ": "space", "\x04": "end", "\x15": "ctrl-u",
}  # fmt: skip
CODES = {  # name of a constant of curses: key
    "KEY_UP": "up", "KEY_DOWN": "down", "KEY_LEFT": "left", "KEY_RIGHT": "right",
    "KEY_ENTER": "enter", "KEY_BACKSPACE": "backspace", "KEY_PPAGE": "pgup", "KEY_NPAGE": "pgdn",
    "KEY_RESIZE": "resize",
}  # fmt: skip
SEQUENCES = {  # behind an escape, from terminals that are not what they are said to be: key
    "[A": "up", "[B": "down", "[C": "right", "[D": "left",
    "OA": "up", "OB": "down", "OC": "right", "OD": "left",
}  # fmt: skip


def add_flags(parser: Parser, word: str) -> None:
    """Nothing beside the common ones."""


def run(flags: Arguments, out: Output, word: str) -> int:
    """Show it until q, or the end of the terminal."""
    if not terminal() or out.json:
        raise ValueError("the remote needs a terminal; `tinyatv prompt` and single words do not")
    if (flags.debug or flags.verbose) and sys.stderr.isatty():
        raise ValueError("the log would overwrite the screen: send it elsewhere with 2>FILE")
    try:
        import curses

        curses.setupterm()
    except ImportError:
        raise NotSupported("this Python has no curses; use `tinyatv prompt`") from None
    except curses.error as exc:
        kind = os.environ.get("TERM") or "unknown"
        raise NotSupported(f"no curses on a terminal of type {kind!r}: {exc}") from exc
    import locale

    locale.setlocale(locale.LC_ALL, "")  # letters beyond ASCII
    os.environ.setdefault("ESCDELAY", "25")  # ms; is it the key, or does a sequence begin?
    flags.reconnect = True
    with _connected(flags, out) as atv:
        remote = Remote(atv)
        before = {
            number: signal.signal(number, remote.signalled)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            with _screen() as screen:
                remote.run(screen)
        finally:
            remote.close()
            for number, handler in before.items():
                signal.signal(number, handler)
    return remote.code


def _connected(flags: Arguments, out: Output) -> AppleTV:
    shown = sys.stderr.isatty()
    if shown:
        show("Connecting ...", error=True, end="")
    try:
        return open_target(flags, out)
    except DeviceNotFound as exc:
        if called(flags):
            raise
        hint = "`tinyatv wizard` finds and pairs one, `tinyatv --help` shows the rest"
        raise DeviceNotFound(f"{exc}; {hint}") from exc
    finally:
        if shown:
            show(error=True, end="", erase=True)


@contextlib.contextmanager
def _screen() -> Iterator[Any]:
    """The terminal as a screen, and as it was before at the end.

    ``curses.wrapper`` would switch colours on, and with them make everything white on black.
    """
    import curses

    screen = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        screen.keypad(True)
        screen.nodelay(True)
        try:
            curses.curs_set(0)
        except curses.error:
            pass  # it cannot be hidden
        yield screen
    finally:
        try:
            curses.endwin()
        except curses.error:
            pass  # the terminal has gone


class Remote:
    """The keys, and the thread that carries them out while the screen goes on.

    Args:
        atv: Connected; it comes back by itself.

    Attributes:
        view: What is shown.
        code: The exit code so far.
    """

    def __init__(self, atv: AppleTV) -> None:
        model = atv.device.info.model_name
        self.view = View(atv.name, "" if model == "Unknown" else model)
        self.code = 0
        self._atv = atv
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="tinyatv-keys", daemon=True)
        self._letters = ""  # typed, and not yet given to the worker
        self._ended = False
        self._painted: list[Line] | None = None

    # -- life ------------------------------------------------------------------------------------

    def run(self, screen: Any) -> None:
        """Draw, and take keys, until q, a signal, or the end of the terminal."""
        self._worker.start()
        self._atv.add_listener(self._events.put)
        self._jobs.put(self._learn)
        silent = 0
        while not self._ended and silent < GONE:
            self._take_events()
            self._paint(screen)
            ready, _, _ = select.select([sys.stdin], [], [], TICK)
            typed = _typed(screen)
            for key in keys_of(typed):
                if not self._ended:
                    self.press(key)
            self._do(None)
            silent = silent + 1 if ready and not typed else 0

    def close(self) -> None:
        """Disconnect, and end the worker; it has a moment for the keys before the last one."""
        self._jobs.put(None)
        started = self._worker.ident is not None
        if started and not self.code:
            self._worker.join(LAST)
        self._atv.close()  # whatever still waits for the device ends with that
        if started:
            self._worker.join(5)

    def signalled(self, number: int, _: object) -> None:
        """End soon because of a signal."""
        self.code = 130 if number == signal.SIGINT else 0
        self._ended = True

    # -- keys ------------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Do what a key does. Returns at once."""
        view = self.view
        if key == "resize":
            self._painted = None
            return
        view.message = ""
        if key == "end":
            self._ended = True
        elif view.help:
            view.help = False
        elif view.typed is not None and self._type(view.typed, key):
            pass
        elif key == "q":
            self._ended = True
        elif key == "?":
            view.help = True
        elif key == "t":
            if view.supports("text_append"):
                view.typed = ""
                self._do(partial(self._learn_text, view.edits))
        elif key in ACTIONS:
            feature, action = ACTIONS[key]
            if view.supports(feature):
                self._do(partial(action, self._atv, view))
            else:
                view.message = f"{view.name} cannot do that ({feature})"

    def _type(self, typed: str, key: str) -> bool:
        """A key while letters go to the text field; False if it is for something else."""
        letter = " " if key == "space" else key
        if key in ("enter", "escape"):
            self.view.typed = None
        elif key == "ctrl-u":
            self.view.edit("")
            self._do(self._atv.text_clear)
        elif key == "backspace":
            self.view.edit(typed[:-1])
            self._do(partial(self._erase, typed, self.view.edits))
        elif len(letter) == 1:
            if letter.isprintable():
                self.view.edit(typed + letter)
                self._letters += letter
        else:
            return False
        return True

    def _do(self, job: Callable[[], object] | None) -> None:
        """Give the worker something to do, after the letters that were typed before it."""
        letters, self._letters = self._letters, ""
        if letters:
            self._jobs.put(partial(self._atv.text_append, letters))
        if job is not None:
            self._jobs.put(job)

    # -- the worker ------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            try:
                job()
            except Exception as exc:
                self._events.put(Failed(exc))
                if not isinstance(exc, (CommandFailed, NotSupported)):  # those are a plain no
                    self._forget_keys()

    def _forget_keys(self) -> None:
        """What was pressed while the device did not react is not for later."""
        kept = []
        while not self._jobs.empty():
            job = self._jobs.get()
            if job in (None, self._learn):
                kept.append(job)
        for job in kept:
            self._jobs.put(job)

    def _learn(self) -> None:
        """Ask for what is only reported when it changes."""
        atv, put = self._atv, self._events.put
        put(FeaturesKnown(atv.features()))
        asked: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
            (atv.power_state, PowerChanged),
            (atv.volume, VolumeChanged),
            (atv.text_focus, KeyboardChanged),
        )
        for ask, event in asked:
            try:
                put(Answered(event(ask())))
            except (NotSupported, CommandFailed):
                pass  # not this one

    def _learn_text(self, edits: int) -> None:
        """What the text field holds, if the device says."""
        if self.view.supports("text_get"):
            try:
                self._events.put(TextKnown(self._atv.text_get() or "", edits))
            except AppleTVError:
                pass  # no text field, or one that keeps it for itself

    def _erase(self, typed: str, edits: int) -> None:
        """Take the last letter away: of what is in the field, or else of what is known of it."""
        text: str | None = typed
        with contextlib.suppress(NotSupported):
            text = self._atv.text_get()
        if text != "":
            left = (text or "")[:-1]
            self._atv.text_set(left)
            self._events.put(TextKnown(left, edits))

    # -- the screen ------------------------------------------------------------------------------

    def _take_events(self) -> None:
        while not self._events.empty():
            event = self._events.get()
            typed = self.view.typed
            self.view.apply(event)
            if isinstance(event, Reconnected):
                self._jobs.put(self._learn)
            elif typed is None and self.view.typed is not None:
                self._jobs.put(partial(self._learn_text, self.view.edits))

    def _paint(self, screen: Any) -> None:
        import curses

        with contextlib.suppress(OSError):  # it has gone: the end of its input says so
            width, height = os.get_terminal_size(sys.stdout.fileno())
            if (height, width) != screen.getmaxyx() and height and width:
                # curses misses a change of size that comes while it deals with another.
                curses.resizeterm(height, width)
                self._painted = None
        height, width = screen.getmaxyx()
        lines = draw(self.view, width, height, SHOWN)
        if lines == self._painted:
            return
        afresh, self._painted = self._painted is None, lines
        looks = {"": curses.A_NORMAL, "bold": curses.A_BOLD, "reverse": curses.A_REVERSE}
        (screen.clear if afresh else screen.erase)()  # what was drawn for another size is nowhere
        for row, (text, look) in enumerate(lines):
            text = text.encode(screen.encoding, "replace").decode(screen.encoding)
            try:
                screen.addstr(row, 0, text, looks[look])
            except curses.error:
                pass  # it is drawn, but there is nothing behind the last cell to go to
        screen.refresh()


def _typed(screen: Any) -> list[str | int]:
    """What the terminal has said since the last time: letters, and numbers of other keys."""
    import curses

    typed: list[str | int] = []
    while len(typed) < PASTE:
        try:
            typed.append(screen.get_wch())
        except curses.error:
            break
    return typed


def keys_of(typed: list[str | int]) -> list[str]:
    """Names of keys; a letter is its own.

    Unknown sequences, such as that of ctrl and an arrow, are no keys: neither an escape
    nor letters.
    """
    import curses

    codes = {getattr(curses, name): key for name, key in CODES.items()}
    keys: list[str] = []
    at = 0
    while at < len(typed):
        one, follows = typed[at], typed[at + 1 : at + 2]
        at += 1
        if one == "\x1b" and follows and follows != ["\x1b"]:
            start = at
            at += 1
            if follows[0] in ("[", "O"):
                while at < len(typed) and not "@" <= str(typed[at]) <= "~":
                    at += 1
                at += 1
            key = SEQUENCES.get("".join(map(str, typed[start:at])))
        else:
            key = codes.get(one) if isinstance(one, int) else NAMES.get(one, one)
        if key is not None:
            keys.append(key)
    return keys
