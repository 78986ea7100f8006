"""All words of the command line: ``tinyatv menu down=3 select=hold play``.

A word whose verb exists on :class:`tinyatv.AppleTV` is one row in :data:`COMMANDS`.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ..model import RepeatState, ShuffleState, TouchAction
from .command import (
    HOLD,
    IDENTIFIER,
    NOTHING,
    PRESSES,
    TEXT,
    TIMES,
    Argument,
    ArgumentSpec,
    Command,
    Step,
    member,
    number,
    one_of,
)
from .output import named_keys, playing_keys, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..backends.airplay_stream import Stream
    from ..backends.raop_stream import AudioStream
    from ..device import AppleTV
    from ..model import Artwork
    from .output import Output


class UnknownWord(ValueError):
    """No command has that name."""


# -- what words run --------------------------------------------------------------------------------


def _press(atv: AppleTV, out: Output, name: str, how: tuple[float, int] = (0.0, 1)) -> None:
    hold, presses = how
    getattr(atv, name)(hold=hold, presses=presses)
    out.result(command=name)


def _home_hold(atv: AppleTV, out: Output, name: str) -> None:
    atv.home(hold=HOLD)
    out.result(command=name)


def _repeat(atv: AppleTV, out: Output, name: str, times: int = 1) -> None:
    for _ in range(times):
        getattr(atv, name)()
    out.result(command=name)


def _turn(atv: AppleTV, out: Output, name: str, wait: str = "") -> None:
    getattr(atv, name)(wait=bool(wait))
    out.result(command=name)


def _touch(atv: AppleTV, out: Output, name: str, x: float, y: float, mode: TouchAction) -> None:
    atv.touch(x, y, mode)
    out.result(command=name)


def _delay(atv: AppleTV, out: Output, name: str, seconds: float) -> None:
    out.wait(seconds)
    out.result(command=name)


def _done(atv: AppleTV, out: Output, name: str) -> None:
    out.result(command=name)


def _setting(settings: Any, out: Output, name: str, *args: str) -> None:
    if not hasattr(settings, name):  # a connection, in a place that keeps one open
        raise ValueError(f"{name} is about the store and no connection: tinyatv {name}")
    getattr(settings, name)(out, *args)


def _watch(atv: AppleTV, out: Output, name: str) -> None:
    from .watch import watch

    code = watch(atv, out, name)
    if code:
        raise SystemExit(code)


def _show(value: Any, out: Output, name: str) -> None:
    shown = value.name if hasattr(value, "value") and hasattr(value, "name") else value
    out.result(None if value is None else [str(value)], **{name: shown})


def _ask(atv: AppleTV, out: Output, name: str, *args: Any) -> None:
    _show(getattr(atv, name)(*args), out, name)


def _field(atv: AppleTV, out: Output, name: str) -> None:
    playing = atv.playing()
    if out.json:
        out.result(**{name: playing_keys(playing)[name]})
    elif name == "app" and playing.app is not None:
        out.result([f"App: {playing.app.name} ({playing.app.identifier})"])
    else:
        _show(getattr(playing, name), out, name)


def _about(attribute: str, atv: AppleTV, out: Output, name: str) -> None:
    _show(getattr(atv.device.info, attribute), out, name)


def _playing(atv: AppleTV, out: Output, name: str) -> None:
    playing = atv.playing()
    out.result(str(playing), **playing_keys(playing))


def _play_url(atv: AppleTV, out: Output, name: str, url: str) -> None:
    """Play to the end, with the position on a terminal."""
    with _Progress(out) as tell, atv.play_url(url) as stream:
        while not stream.wait(1.0):
            tell(f"{_position(stream)}{', paused' if stream.paused else ''}")
    out.result(command=name)


def _stream_file(atv: AppleTV, out: Output, name: str, path: str) -> None:
    """Send to the end; a speaker that is not told of an early end stays busy."""
    from .signals import exit_on_terminate

    told = 0
    with exit_on_terminate(), _Progress(out) as tell, atv.stream(path) as stream:
        over = False
        while not over:
            over = stream.wait(1.0)
            tell(_position(stream))
            for text in stream.warnings[told:]:
                told += 1
                tell("")
                show(f"tinyatv: {text}", error=True)
    out.result(command=name, **({"warnings": stream.warnings} if told else {}))


def _position(stream: Stream | AudioStream) -> str:
    length = f" of {stream.duration:.0f}" if stream.duration else ""
    return f"{stream.position:.0f}{length} s"


class _Progress:
    """A line on the terminal that is written again and again; for ``with``, which gives its writer.

    Args:
        out: With JSON, nothing is shown.
    """

    def __init__(self, out: Output) -> None:
        import sys

        self._shown = sys.stderr is not None and sys.stderr.isatty() and not out.json

    def __enter__(self) -> Callable[[str], None]:
        self._tell("starting")
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._tell("")  # an error, or the shell, continues at the start of the line

    def _tell(self, text: str) -> None:
        if self._shown:
            show(text, error=True, end="", erase=True)


def _power_state(atv: AppleTV, out: Output, name: str) -> None:
    power = atv.power_state()
    out.result(str(power), power_state=power.name.lower())


def _text_focus(atv: AppleTV, out: Output, name: str) -> None:
    focus = atv.text_focus()
    out.result(focus.name, focus_state=focus.name.lower())


def _text_get(atv: AppleTV, out: Output, name: str) -> None:
    text = atv.text_get()
    out.result(["no text field is open" if text is None else text], text_get=text)


def _list(atv: AppleTV, out: Output, name: str) -> None:
    found = getattr(atv, name)()
    lines = [f"{one.name}: {one.identifier}" for one in found]
    out.result(lines or "none", **{name: named_keys(found)})


def _artwork_id(atv: AppleTV, out: Output, name: str) -> None:
    playing = atv.playing()
    _show(playing.artwork_id or playing.hash, out, name)


def _device_id(atv: AppleTV, out: Output, name: str) -> None:
    _show(atv.device.identifier, out, name)


def _info(atv: AppleTV, out: Output, name: str) -> None:
    from .output import device_keys

    atv.wait_for_rest()
    device = atv.device
    lines = [
        f"{device.name}: {device.info}",
        f"{device.address}, connected by {', '.join(atv.protocols)}",
    ]
    out.result(lines, **device_keys(device), connected=list(atv.protocols))


def _server_info(atv: AppleTV, out: Output, name: str) -> None:
    info = {k: v.hex() if isinstance(v, bytes) else v for k, v in atv.server_info().items()}
    out.result([f"{key}: {value}" for key, value in info.items()], server_info=info)


def _artwork(atv: AppleTV, out: Output, name: str, *args: str) -> None:
    from ..errors import CommandFailed

    width, height, path = artwork_arguments(name, *args)
    art = atv.artwork(width, height)
    if art is None:
        raise CommandFailed("there is no artwork", name)
    saved = _save(art, path)
    text = f"{saved} ({art.mimetype}, {art.width}x{art.height})"
    ending = os.path.splitext(saved)[1].lower().replace(".jpeg", ".jpg")
    if ending in IMAGE_ENDINGS and ending != art.extension:
        text += f": not what its name says, {ending[1:].upper()}"
    out.result(text, artwork=saved, mimetype=art.mimetype, width=art.width, height=art.height)


IMAGE_ENDINGS = (".png", ".jpg", ".heic", ".webp", ".gif")


def _save(art: Artwork, path: str) -> str:
    if not os.path.splitext(path)[1]:
        path += art.extension
    art.save(path)
    return path


def _features(atv: AppleTV, out: Output, name: str, everything: str = "") -> None:
    states = atv.features()
    named = {feature_name(feature): state.name for feature, state in states.items()}
    if not out.json and not everything:
        named = {feature: state for feature, state in named.items() if state != "Unsupported"}
    lines = ["Feature list:", "-" * 13, *(f"{one}: {state}" for one, state in named.items())]
    lines += ["", "Unknown: the device does not say, try it. Unavailable: not now."]
    out.result("\n".join(lines), features=named)


def feature_name(feature: str) -> str:
    """A command or field as the field writes it: ``PlayPause``."""
    rows = (row.known_as for row in COMMANDS.values() if row.feature == feature)
    return "".join(part.capitalize() for part in next(rows, feature).split("_"))


# -- what words take -------------------------------------------------------------------------------


class _ArtworkSpec(ArgumentSpec):
    """A file, or a size and perhaps a file."""

    __slots__ = ()

    def parse(self, word: str, text: str | None) -> tuple[Any, ...]:
        args = super().parse(word, text)
        artwork_arguments(word, *args)
        return args


def artwork_arguments(word: str, *args: str) -> tuple[int | None, int | None, str]:
    """Width, height (None is any) and path, from FILE or WIDTH,HEIGHT[,FILE].

    Raises:
        ValueError: It is neither.
    """
    if len(args) == 1 and not _is_size(args[0]):
        args = ("-1", "-1", args[0])
    if len(args) not in (0, 2, 3) or not all(map(_is_size, args[:2])):
        raise ValueError(f"{word} takes =FILE, =WIDTH,HEIGHT or =WIDTH,HEIGHT,FILE")
    width, height = ([int(a) if int(a) > 0 else None for a in args[:2]] or [None, None])[:2]
    return width, height, args[2] if len(args) == 3 else "artwork"


def _is_size(text: str) -> bool:
    return text == "-1" or (text.isdecimal() and int(text) <= 65535)


def _speaker(word: str, text: str) -> str:
    if text.replace(".", "", 1).isdecimal():
        raise ValueError(f"{word} shows the volume; set_volume={text} sets it")
    return IDENTIFIER.parse(word, text)  # type: ignore[no-any-return]


SECONDS = ArgumentSpec("=SECONDS", number(0))
STEP = ArgumentSpec("=SECONDS", number(0), least=0)
PLACE = number(0, 1000)
IDS = ArgumentSpec("=ID[,ID...]", IDENTIFIER, repeat=True)
TYPED = ArgumentSpec("=TEXT", TEXT, whole=True)
APP = ArgumentSpec("=IDENTIFIER, or =URL that an app opens", IDENTIFIER, whole=True)
MEDIA = ArgumentSpec("=URL or =FILE", IDENTIFIER, whole=True, files=True)
WAIT = ArgumentSpec("=wait waits until it has done so", one_of("wait"), least=0)


# -- the table -------------------------------------------------------------------------------------


def _group(group: str, *rows: Command) -> Iterator[Command]:
    for row in rows:
        row.group = group
        yield row


def _table() -> Iterator[Command]:
    yield from _group(
        "Programs",
        Command("scan", "look for devices on the network", program="scan"),
        Command("pair", "pair with a device", program="pair"),
        Command("wizard", "find, pair and try a device, step by step", program="pair"),
        Command("devices", "list stored devices; alias, default, address, forget, import",
                program="devices"),
        Command("watch", "show changes until Ctrl-C", run=_watch, program="watch"),
        Command("push_updates", "the same as watch", run=_watch, program="watch"),
        Command("migrating", "what the words and flags of other tools are called here",
                program="migrating"),
        Command("remote", "a full-screen remote; the same as no word at all", program="remote"),
        Command("prompt", "type words line by line, over one connection", program="prompt"),
        Command("cli", "the same as prompt", program="prompt"),
        Command("serve", "keep connections open, so that a press takes milliseconds",
                program="serve"),
        Command("box", "run a button box: pins, knobs and keys that a file binds to words",
                program="box"),
        Command("service", "let serve, a box or watch run at boot", program="service"),
        Command("virtual", "run a virtual Apple TV", program="virtual"),
        Command("demo", "try everything against a virtual Apple TV", program="demo"),
        Command("doctor", "find out what is wrong, and how to fix it", program="doctor"),
        Command("proxy", "relay between a remote and a device, and show the messages",
                program="proxy"),
        Command("decode", "show the contents of a trace, or decode bytes", program="decode"),
        Command("completion", "print the completion script for bash, zsh or fish",
                program="completion"),
        Command("commands", "list all words", program="help"),
        Command("help", "explain a word or a topic; --man prints a manual page", program="help"),
    )  # fmt: skip
    yield from _group(
        "Buttons",
        Command("up", "move up", PRESSES, _press),
        Command("down", "move down", PRESSES, _press),
        Command("left", "move left", PRESSES, _press),
        Command("right", "move right", PRESSES, _press),
        Command("select", "choose the highlighted item", PRESSES, _press),
        Command("menu", "go back", PRESSES, _press),
        Command("home", "go home; held down, open the control centre", PRESSES, _press),
        Command("home_hold", "the same as home=hold", run=_home_hold, feature="home"),
        Command("top_menu", "go to the main menu"),
        Command("channel_up", "next channel", TIMES, _repeat),
        Command("channel_down", "previous channel", TIMES, _repeat),
        Command("page_up", "scroll up by a page (no known device does)", TIMES, _repeat),
        Command("page_down", "scroll down by a page (no known device does)", TIMES, _repeat),
        Command("guide", "open the programme guide"),
        Command("screensaver", "start the screen saver"),
        Command("control_center", "open the control centre"),
        Command("siri_start", "press the Siri button and hold it down (experimental)"),
        Command("siri_stop", "release the Siri button"),
        Command("suspend", "press the key that puts old systems to sleep"),
        Command("wakeup", "press the key that wakes old systems up"),
    )
    yield from _group(
        "Touchpad",
        Command("click", "click the touchpad", PRESSES, _press),
        Command("swipe", "swipe on the touchpad", ArgumentSpec(
            "=X1,Y1,X2,Y2,MILLISECONDS, coordinates 0 to 1000",
            PLACE, PLACE, PLACE, PLACE, number(0, unit=0.001))),
        Command("action", "put a finger on the touchpad, move it or lift it", ArgumentSpec(
            "=X,Y,MODE; MODE is press, hold, release or click (1, 3, 4, 5)",
            PLACE, PLACE, member(TouchAction)), _touch, aliases=("touch",), feature="touch"),
    )  # fmt: skip
    yield from _group(
        "Playback",
        Command("play", "start or resume playback"),
        Command("pause", "pause playback"),
        Command("play_pause", "pause or resume"),
        Command("stop", "stop playback"),
        Command("next", "skip to the next item", TIMES, _repeat),
        Command("previous", "go back to the previous item", TIMES, _repeat),
        Command("skip_forward", "skip ahead", STEP),
        Command("skip_backward", "skip back", STEP),
        Command("begin_fast_forward", "start fast-forwarding"),
        Command("end_fast_forward", "stop fast-forwarding"),
        Command("begin_rewind", "start rewinding"),
        Command("end_rewind", "stop rewinding"),
        Command("set_position", "jump to a position", SECONDS),
        Command("set_shuffle", "set the shuffle mode", ArgumentSpec(
            "=off, albums or songs (0, 1, 2)", member(ShuffleState))),
        Command("set_repeat", "set the repeat mode", ArgumentSpec(
            "=off, track or all (0, 1, 2)", member(RepeatState))),
        Command("captions", "turn subtitles on or off", ArgumentSpec(
            "=on, auto or forced (only those that are part of the film)",
            one_of("on", "auto", "forced", "toggle"), least=0)),
        Command("play_url", "play a URL or a file to its end; Ctrl-C stops it", MEDIA, _play_url,
                aliases=("play-url",), served=False),
        Command("stream_file", "send a WAV file to a speaker, to its end; Ctrl-C stops it",
                ArgumentSpec("=FILE, or =- for standard input; 44100 Hz, AirPlay 1",
                             IDENTIFIER, whole=True, files=True),
                _stream_file, aliases=("stream",), feature="stream", served=False),
        Command("close", "accepted for other remotes, which need it after play_url", run=_done),
    )  # fmt: skip
    yield from _group(
        "Sound",
        Command("volume_up", "turn the volume up one step", TIMES, _repeat),
        Command("volume_down", "turn the volume down one step", TIMES, _repeat),
        Command("volume", "show the volume in percent", ArgumentSpec(
            "=ID of an output device", Argument(_speaker), least=0), _ask),
        Command("set_volume", "set the volume", ArgumentSpec(
            "=PERCENT[,ID of an output device]", number(0, 100), IDENTIFIER, least=1)),
        Command("mute", "mute or unmute"),
        Command("output_devices", "list the speakers in use", run=_list),
        Command("add_output_devices", "add speakers", IDS),
        Command("remove_output_devices", "remove speakers", IDS),
        Command("set_output_devices", "use these speakers and no others", IDS),
    )  # fmt: skip
    yield from _group(
        "What is playing",
        Command("playing", "show what is playing", run=_playing),
        Command("media_type", "show the kind of media", run=_field),
        Command("device_state", "show the state of the player", run=_field),
        Command("title", "show the title", run=_field),
        Command("artist", "show the artist", run=_field),
        Command("album", "show the album", run=_field),
        Command("genre", "show the genre", run=_field),
        Command("total_time", "show the length in seconds", run=_field),
        Command("position", "show the position in seconds", run=_field),
        Command("shuffle", "show the shuffle mode", run=_field),
        Command("repeat", "show the repeat mode", run=_field),
        Command("hash", "show the identifier of the content", run=_field),
        Command("series_name", "show the name of the series", run=_field),
        Command("season_number", "show the number of the season", run=_field),
        Command("episode_number", "show the number of the episode", run=_field),
        Command("content_identifier", "show the app's own identifier", run=_field),
        Command("itunes_store_identifier", "show the number in the iTunes Store", run=_field),
        Command("app", "show the app that is playing", run=_field),
        Command("artwork", "save the artwork", _ArtworkSpec(
            "=FILE or =WIDTH,HEIGHT[,FILE]; -1 is any size",
            TEXT, TEXT, TEXT, least=0, files=True), _artwork,
            aliases=("artwork_save",), served=False),
        Command("artwork_id", "show the identifier of the artwork", run=_artwork_id),
    )  # fmt: skip
    yield from _group(
        "Power",
        Command("power_state", "show whether the device is on", run=_power_state),
        Command("turn_on", "wake the device up", WAIT, _turn),
        Command("turn_off", "put the device to sleep", WAIT, _turn),
    )
    yield from _group(
        "Apps and accounts",
        Command("apps", "list the apps", run=_list, known_as="app_list"),
        Command("launch", "start an app", APP, known_as="launch_app"),
        Command("accounts", "list the user accounts", run=_list, known_as="account_list"),
        Command("switch_account", "switch to another user account", ArgumentSpec(
            "=IDENTIFIER", IDENTIFIER)),
    )  # fmt: skip
    yield from _group(
        "Text",
        Command("text_focus_state", "show whether a text field has focus", run=_text_focus,
                aliases=("text_focus",), feature="text_focus"),
        Command("text_get", "show the contents of the text field", run=_text_get),
        Command("text_set", "replace the contents of the text field", TYPED, aliases=("type",)),
        Command("text_append", "append to the contents of the text field", TYPED),
        Command("text_clear", "clear the text field"),
    )  # fmt: skip
    yield from _group(
        "The device",
        Command("info", "show the model, software and connections of the device", run=_info,
                aliases=("device_info",)),
        Command("operating_system", "show the operating system",
                run=partial(_about, "operating_system")),
        Command("version", "show the version of the system", run=partial(_about, "version")),
        Command("build_number", "show the build of the system", run=partial(_about, "build")),
        Command("model", "show the model", run=partial(_about, "model")),
        Command("model_str", "show the name of the model", run=partial(_about, "model_name")),
        Command("raw_model", "show what the device calls its model",
                run=partial(_about, "raw_model")),
        Command("mac", "show the MAC address", run=partial(_about, "mac")),
        Command("output_device_id", "show its identifier as an output device",
                run=partial(_about, "output_device_id")),
        Command("device_id", "show the identifier of the device", run=_device_id),
        Command("features", "list the features that can be used now", ArgumentSpec(
            "=all includes those that cannot", one_of("all"), least=0), _features),
        Command("server_info", "show what a DMAP device says about itself", run=_server_info),
    )  # fmt: skip
    offline: dict[str, Any] = {"run": _setting, "served": False, "offline": True}
    yield from _group(
        "Settings",
        Command("print_settings", "show what is stored of the device", ArgumentSpec(
            "=all includes credentials", one_of("all"), least=0), **offline),
        Command("change_setting", "store a setting", ArgumentSpec(
            "=PATH,VALUE or =PATH,@FILE; PATH as in print_settings", TEXT, TEXT), **offline),
        Command("unset_setting", "remove a setting", ArgumentSpec("=PATH", TEXT), **offline),
        Command("remove_settings", "forget the device, as `devices forget` does", NOTHING,
                **offline),
    )  # fmt: skip
    yield from _group(
        "More",
        Command("delay", "wait", ArgumentSpec("=MILLISECONDS", number(0, unit=0.001)), _delay),
    )


COMMANDS: dict[str, Command] = {row.name: row for row in _table()}


# -- reading a command line ------------------------------------------------------------------------


def find(word: str) -> Command | None:
    """The row of a word or of an alias, or None."""
    found = COMMANDS.get(word)
    if found is None:
        return next((row for row in COMMANDS.values() if word in row.aliases), None)
    return found


def is_program(word: str | None) -> bool:
    """True for a subcommand."""
    return word in COMMANDS and COMMANDS[word].program is not None


def programs() -> list[Command]:
    """The rows of the subcommands."""
    return [row for row in COMMANDS.values() if row.program is not None]


def lines() -> dict[str, str]:
    """All words, subcommands and aliases, each with a line about it."""
    found = {}
    for row in COMMANDS.values():
        found[row.name] = row.line
        found.update(dict.fromkeys(row.aliases, f"the same as {row.name}"))
    return found


def notes() -> list[str]:
    """What explains the arguments of several words, each once."""
    return list(dict.fromkeys(f"{row.args.note}." for row in COMMANDS.values() if row.args.note))


def parse_all(words: list[str]) -> list[Step]:
    """Turn the words of a command line into what they do, one step after the other.

    ``type TEXT`` and ``features all``, as other remotes document it, may be two words.

    Raises:
        ValueError: No such word, wrong arguments, or some that do not go together.
    """
    rest, steps = list(words), []
    while rest:
        word = rest.pop(0)
        if word == "features" and rest[:1] == ["all"]:
            word = f"{word}={rest.pop(0)}"
        if word == "type" and rest:
            steps.append(Step(COMMANDS["text_set"], (rest.pop(0),)))
        else:
            steps.append(parse(word))
    for step in steps[:-1]:
        if step.command.program is not None:
            raise ValueError(f"{step.command.name} comes last: it ends with the connection")
    if len({step.command.offline for step in steps}) > 1:
        offline = ", ".join(row.name for row in COMMANDS.values() if row.offline)
        raise ValueError(f"{offline} do not go together with other words")
    return steps


def parse(word: str) -> Step:
    """Turn ``name=argument,argument`` into something to run.

    Raises:
        UnknownWord: No such word.
        ValueError: Wrong arguments, or a mere subcommand.
    """
    name, equals, rest = word.partition("=")
    command = find(name)
    if command is None:
        raise UnknownWord(f"unknown command {name!r}{_guess(name)}; `tinyatv commands` lists them")
    if command.run is None:
        raise ValueError(f"{name} is a program of its own: it stands alone, without other words")
    return Step(command, command.args.parse(command.name, rest if equals else None))


def _guess(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name.lower().replace("-", "_"), lines(), 1)
    return f", did you mean {close[0]!r}?" if close else ""
