"""One word of the command line, as a row: what it is called, what it takes, and what it runs.

    Command("set_volume", "set the volume", ArgumentSpec("=PERCENT", number(0, 100)))

Help, the manual page, completion, the prompt and `tinyatv serve` read the row. Arguments are
checked when a word is parsed, before anything touches the network.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ..routes import GO_TO_SLEEP, QUESTIONS, ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import Enum

    from .output import Output

Run = Callable[..., None]
"""Called with what is controlled, where results go, the name of the row, and the arguments."""

HOLD = 1.0  # s; what "hold" means without a number
MAX_PRESSES = 100


class Argument:
    """One argument between commas.

    Args:
        parse: Called with the word and the text; returns the value, or raises ValueError.
        choices: Texts that completion offers.
    """

    __slots__ = ("choices", "parse")

    def __init__(self, parse: Callable[[str, str], Any], choices: Iterable[str] = ()) -> None:
        self.parse = parse
        self.choices = tuple(choices)


class ArgumentSpec:
    """What may follow ``word=``.

    Args:
        usage: How it is written, for help: ``=SECONDS``.
        arguments: One for each place between commas.
        least: How many must be given; None for all.
        repeat: True if the last one may be repeated.
        whole: True if commas are part of the only argument.
        files: True if the name of a file may be given, which completion then offers.
        note: A sentence that explains the usage; shown below the help of the word.
    """

    __slots__ = ("arguments", "files", "least", "note", "repeat", "usage", "whole")

    def __init__(
        self,
        usage: str,
        *arguments: Argument,
        least: int | None = None,
        repeat: bool = False,
        whole: bool = False,
        files: bool = False,
        note: str = "",
    ) -> None:
        self.usage = usage
        self.arguments = arguments
        self.least = len(arguments) if least is None else least
        self.repeat = repeat
        self.whole = whole
        self.files = files
        self.note = note

    @property
    def choices(self) -> tuple[str, ...]:
        """What completion offers right behind the ``=``."""
        return self.arguments[0].choices if self.arguments else ()

    def parse(self, word: str, text: str | None) -> tuple[Any, ...]:
        """The values of the arguments.

        Args:
            word: What they belong to, for errors.
            text: What follows the ``=``; None if there is none.

        Raises:
            ValueError: Too few, too many, or a wrong one.
        """
        texts = [] if text is None else split(text)
        if self.whole and len(texts) > 1:
            texts = [text or ""]
        most = len(self.arguments)
        if len(texts) < self.least or (len(texts) > most and not self.repeat):
            given = f"not {text}" if text else "not nothing" if self.least else "not an empty one"
            raise ValueError(f"{word} takes {self.usage or 'no argument'}, {given}")
        places = [*self.arguments, *self.arguments[-1:] * (len(texts) - most)]
        return tuple(place.parse(word, one) for place, one in zip(places, texts))


NOTHING = ArgumentSpec("")


class Command:
    """A word of the command line.

    Args:
        name: The word.
        help: What it does, in a few words.
        args: What may follow ``=``.
        run: Runs it; None calls the method of the device that `feature` names.
        aliases: Other words for the same.
        feature: Command or field of the device behind it, as in ``ROUTES``; None: its own name.
        known_as: What other tools call it, which names it in `features`; also an alias.
        served: Whether a remote caller may send it, such as `tinyatv serve`. Not so for what is
            about a path, a setting, a flag or the terminal.
        offline: True for what is about the store: `run` gets the settings, and no connection.
        program: Module here that is the program of a subcommand; None for a mere word. With `run`
            as well it may also end a chain of words.
    """

    __slots__ = (
        "aliases", "args", "feature", "group", "help", "known_as", "name", "offline",
        "program", "run", "served",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        help: str,
        args: ArgumentSpec = NOTHING,
        run: Run | None = None,
        *,
        aliases: tuple[str, ...] = (),
        feature: str | None = None,
        known_as: str | None = None,
        group: str = "More",
        served: bool = True,
        offline: bool = False,
        program: str | None = None,
    ) -> None:
        self.name = name
        self.help = help
        self.args = args
        self.feature = name if feature is None else feature
        self.run = partial(_call, self.feature) if run is None and program is None else run
        self.aliases = aliases if known_as is None else (known_as, *aliases)
        self.known_as = name if known_as is None else known_as
        self.group = group
        self.served = served and program is None
        self.offline = offline
        self.program = program

    def __repr__(self) -> str:
        return f"Command({self.name!r})"

    @property
    def acts(self) -> bool:
        """True if it does something to the device, for which one that sleeps is woken."""
        return bool(ROUTES.get(self.feature)) and self.feature not in QUESTIONS | GO_TO_SLEEP

    @property
    def line(self) -> str:
        """The help of the word and what it takes, in one line."""
        return f"{self.help}; {self.args.usage}" if self.args.usage else self.help


class Step:
    """A word with its arguments, ready to run: call it with what is controlled, and an output."""

    __slots__ = ("_args", "command")

    def __init__(self, command: Command, args: tuple[Any, ...]) -> None:
        self.command = command
        self._args = args

    def __call__(self, target: Any, out: Output) -> None:
        run = self.command.run
        assert run is not None, "parse() makes no step of a mere subcommand"
        run(target, out, self.command.name, *self._args)


def _call(verb: str, atv: Any, out: Output, name: str, *args: Any) -> None:
    getattr(atv, verb)(*args)
    out.result(command=name)


def split(text: str) -> list[str]:
    """Split at commas; double quotes keep what is inside together."""
    args, start, quoted = [], 0, False
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            args.append(text[start:at])
            start = at + 1
    args.append(text[start:])
    return [a[1:-1] if len(a) > 1 and a[0] == a[-1] == '"' else a for a in args]


# -- kinds of arguments ----------------------------------------------------------------------------


TEXT = Argument(lambda word, text: text)


def _named(word: str, text: str) -> str:
    if not text:
        raise ValueError(f"{word}: an identifier is missing")
    return text


IDENTIFIER = Argument(_named)


def number(low: float, high: float = float("inf"), *, unit: float = 1.0) -> Argument:
    """A number from `low` to `high`, which is multiplied by `unit`."""

    def parse(word: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{word}: {text!r} is not a number") from None
        if not low <= value <= high or value == float("inf"):
            limit = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
            raise ValueError(f"{word}: {text} is not {limit}")
        return value * unit

    return Argument(parse)


def one_of(*choices: str) -> Argument:
    """One of a few texts."""

    def parse(word: str, text: str) -> str:
        if text not in choices:
            raise ValueError(f"{word}: {text!r} is not {' or '.join(f'={c}' for c in choices)}")
        return text

    return Argument(parse, choices)


def member(states: type[Enum]) -> Argument:
    """A member of an enumeration, by its name in any case, or by its number."""

    def parse(word: str, text: str) -> Enum:
        for state in states:
            if text.lower() in (state.name.lower(), str(state.value)):
                return state
        known = ", ".join(f"{state.value} or {state.name.lower()}" for state in states)
        raise ValueError(f"{word}: {text!r} is none of {known}")

    return Argument(parse, [state.name.lower() for state in states])


def _times(word: str, text: str) -> int:
    digits = text.lower().strip("x")
    if not digits.isdecimal() or not 1 <= int(digits) <= MAX_PRESSES:
        raise ValueError(f"{word}: {text!r} is not a number of times, 1 to {MAX_PRESSES}")
    return int(digits)


def _press(word: str, text: str) -> tuple[float, int]:
    """0, 1 and 2 are single, double and hold, as in other remotes; 3 and more are presses."""
    how = text.lower()
    if how in ("single", "0"):
        return 0.0, 1
    if how in ("double", "1"):
        return 0.0, 2
    if how in ("hold", "2"):
        return HOLD, 1
    if how.startswith("hold:"):
        return number(0).parse(word, how[len("hold:") :]), 1
    try:
        return 0.0, _times(word, how)
    except ValueError:
        known = f"{PRESSES.note}, up to {MAX_PRESSES}"
        raise ValueError(f"{word}: {text!r} is not an action; {known}") from None


PRESSES = ArgumentSpec(
    "=ACTION",
    Argument(_press, ("hold", "double")),
    least=0,
    note="ACTION is hold, hold:SECONDS, double, or a number of presses (3, or x2)",
)
TIMES = ArgumentSpec("=TIMES", Argument(_times), least=0)
