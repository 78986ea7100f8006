"""The remote's words: ``tinyatv menu down=3 select=hold play``.

Each word is checked, arguments included, before anything touches the network.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable

from .output import named_keys, playing_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..device import AppleTV
    from ..model import Account, App, Artwork, OutputDevice
    from .output import Output

Run = Callable[[Any, "Output"], None]  # what is controlled, where results go

HOLD = 1.0  # s; what "hold" means without a number


class UnknownWord(ValueError):
    """No command has that name."""


PRESSES = {  # word with an action: what it does
    "up": "move up",
    "down": "move down",
    "left": "move left",
    "right": "move right",
    "select": "choose what is marked",
    "menu": "go back",
    "home": "go home; held down, the control centre",
    "click": "click the touchpad",
}
PLAIN = {  # word without arguments: what it does
    "top_menu": "go to the main menu",
    "play": "start or resume playback",
    "pause": "pause",
    "play_pause": "pause or resume",
    "stop": "stop playback",
    "next": "next item",
    "previous": "previous item",
    "begin_fast_forward": "start to wind forward",
    "end_fast_forward": "stop to wind forward",
    "begin_rewind": "start to wind back",
    "end_rewind": "stop to wind back",
    "channel_up": "next channel",
    "channel_down": "previous channel",
    "page_up": "up by a page",
    "page_down": "down by a page",
    "guide": "what is on television",
    "screensaver": "start the screen saver",
    "control_center": "open the control centre",
    "siri_start": "press the Siri button, and keep it down (experimental)",
    "siri_stop": "let go of the Siri button",
    "suspend": "the key that puts old systems to sleep",
    "wakeup": "the key that wakes old systems",
    "mute": "mute, or unmute",
    "text_clear": "empty the text field",
    "volume_up": "volume one step up",
    "volume_down": "volume one step down",
}
FIELDS = {  # field of what is playing: what it is
    "media_type": "kind of media",
    "device_state": "what the player does",
    "title": "title",
    "artist": "artist",
    "album": "album",
    "genre": "genre",
    "total_time": "length in seconds",
    "position": "position in seconds",
    "shuffle": "shuffle state",
    "repeat": "repeat state",
    "hash": "identifier of the content",
    "series_name": "series",
    "season_number": "season",
    "episode_number": "episode",
    "content_identifier": "the app's own identifier",
    "itunes_store_identifier": "number in the iTunes Store",
    "app": "app that plays",
}
INFO = {  # word about the device: attribute of DeviceInfo
    "operating_system": "operating_system",
    "version": "version",
    "build_number": "build",
    "model": "model",
    "model_str": "model_name",
    "raw_model": "raw_model",
    "mac": "mac",
    "output_device_id": "output_device_id",
}
ELSEWHERE = {  # word that people know: protocols that will serve it
    "stream_file": "raop",
}
KNOWN_AS = {  # feature: what it is called in the field
    "apps": "app_list",
    "launch": "launch_app",
    "accounts": "account_list",
    "touch": "action",
    "text_focus": "text_focus_state",
}
SAME = {  # word: another one for the same
    "launch_app": "launch",
    "app_list": "apps",
    "account_list": "accounts",
    "text_focus": "text_focus_state",
    "touch": "action",
    "type": "text_set",
    "device_info": "info",
    "artwork_save": "artwork",
    "play-url": "play_url",
}
SETTINGS = {  # word about the store, which needs no connection: what it does
    "print_settings": "show what is stored of the device; =all shows credentials, too",
    "change_setting": "store it; =PATH,VALUE or =PATH,@FILE; PATH as in print_settings",
    "unset_setting": "forget one of them; =PATH",
    "remove_settings": "forget the device, as devices forget does",
}
WATCHES = ("watch", "push_updates")  # a subcommand, or the last word of a chain
HERE = ("artwork", "play_url", "stream_file", *SETTINGS, *WATCHES)
"""Words that `tinyatv serve` leaves to the program itself, whose are the folder that a file is in,
the terminal, and Ctrl-C."""
ACTIONS = "ACTION is hold, hold:SECONDS, double, or a number of presses (3, or x2)"
HELP = {
    # what stands behind "=": in small letters as it is typed (completion offers it), in capitals
    # what it stands for (FILE: a file)
    **{w: f"{t}; =ACTION" for w, t in PRESSES.items()},
    **PLAIN,
    "skip_forward": "jump ahead; =SECONDS",
    "skip_backward": "jump back; =SECONDS",
    "set_position": "jump to a position; =SECONDS",
    "set_shuffle": "=off, albums or songs (0, 1, 2)",
    "set_repeat": "=off, track or all (0, 1, 2)",
    "home_hold": "the same as home=hold",
    "volume": "show the volume in percent; =ID of an output device",
    "set_volume": "set the volume; =PERCENT[,ID of an output device]",
    "output_devices": "show what plays the sound",
    "add_output_devices": "let more speakers play the sound; =ID[,ID...]",
    "remove_output_devices": "let speakers play it no more; =ID[,ID...]",
    "set_output_devices": "let these speakers play it and no others; =ID[,ID...]",
    "power_state": "show whether it is awake",
    "turn_on": "wake it up; =wait blocks until it is awake",
    "turn_off": "put it to sleep; =wait blocks until it sleeps",
    "apps": "list the apps",
    "launch": "start an app; =IDENTIFIER, or =URL of something that an app opens",
    "accounts": "list the people who use the device",
    "switch_account": "let one of them use it; =IDENTIFIER",
    "captions": "show subtitles, or show them no more; =on, auto or forced",
    "swipe": "move a finger over the touchpad; =X1,Y1,X2,Y2,MILLISECONDS, each place 0 to 1000",
    "action": "=X,Y,ACTION: a finger on the touchpad; press, hold, release, click (1, 3, 4, 5)",
    "text_get": "show what is in the text field",
    "text_focus_state": "show whether a text field wants letters",
    "text_set": "replace what is in the text field; =TEXT",
    "text_append": "add to what is in the text field; =TEXT",
    "play_url": "play what is on the web, or a file, to its end; =URL or =FILE; Ctrl-C stops it",
    "playing": "show what is playing",
    **{w: f"show the {t}" for w, t in FIELDS.items()},
    "artwork": "save the image; =FILE or =WIDTH,HEIGHT[,FILE]; -1 is any size",
    "artwork_id": "identifier of the image",
    "info": "show make, software and connection of the device",
    **dict.fromkeys(INFO, "show this part of info"),
    "device_id": "identifier of the device",
    "features": "show what can be used now; =all adds what cannot",
    "server_info": "show what a DMAP device says about itself",
    "delay": "wait; =MILLISECONDS",
    **{w: f"the same as {t}" for w, t in SAME.items()},
    "close": "what other remotes need after play_url; here that ends by itself",
    **SETTINGS,
}


def parse_all(words: list[str]) -> list[Run]:
    """Turn the words of a command line into what they do, one step after the other.

    ``type TEXT`` and ``features all``, as other remotes document it, may be two words.

    Raises:
        ValueError: No such word, wrong arguments, or some that do not go together.
    """
    rest, names, steps = list(words), [], []
    while rest:
        word = rest.pop(0)
        if word == "features" and rest[:1] == ["all"]:
            word = f"{word}={rest.pop(0)}"
        if word == "type" and rest:
            name, step = word, _typing("text_set", rest.pop(0))
        else:
            name, step = parse(word)
        names.append(name)
        steps.append(step)
    for name in names[:-1]:
        if name in WATCHES:
            raise ValueError(f"{name} comes last: it ends with the connection")
    if len({name in SETTINGS for name in names}) > 1:
        raise ValueError(f"{', '.join(SETTINGS)} do not go together with other words")
    return steps


def parse(word: str) -> tuple[str, Run]:
    """Turn ``name=argument,argument`` into its name and something to run.

    Raises:
        UnknownWord: No such word.
        ValueError: Wrong arguments.
    """
    name, equals, rest = word.partition("=")
    name = SAME.get(name, name)
    args = _split(rest) if equals else []
    if name in PRESSES:
        return name, _press(name, args)
    if name in PLAIN:
        _count(name, args, 0, 0)
        return name, lambda atv, out: _done(getattr(atv, name)(), out, name)
    if name in ("skip_forward", "skip_backward"):
        _count(name, args, 0, 1)
        seconds = _number(name, args[0], 0) if args else 0.0
        return name, lambda atv, out: _done(getattr(atv, name)(seconds), out, name)
    if name == "home_hold":
        _count(name, args, 0, 0)
        return name, lambda atv, out: _done(atv.home(hold=HOLD), out, name)
    if name == "set_position":
        _count(name, args, 1, 1)
        value = _number(name, args[0], 0)
        return name, lambda atv, out: _done(atv.set_position(value), out, name)
    if name == "set_volume":
        _count(name, args, 1, 2)
        value = _number(name, args[0], 0, 100)
        return name, lambda atv, out: _done(atv.set_volume(value, *args[1:]), out, name)
    if name == "volume":
        _count(name, args, 0, 1)
        return name, lambda atv, out: _value(atv.volume(*args), out, name)
    if name in ("turn_on", "turn_off"):
        if args not in ([], ["wait"]):
            raise ValueError(f"{name} takes nothing or =wait")
        wait = bool(args)
        return name, lambda atv, out: _done(getattr(atv, name)(wait=wait), out, name)
    if name in ("add_output_devices", "remove_output_devices", "set_output_devices"):
        if not args or not all(args):
            raise ValueError(f"{name} takes identifiers: =ID[,ID...]")
        return name, lambda atv, out: _done(getattr(atv, name)(*args), out, name)
    if name == "launch":
        if not rest:
            raise ValueError("launch takes an app or a URL: =IDENTIFIER or =URL")
        target = args[0] if len(args) == 1 else rest  # a comma may be part of it
        return name, lambda atv, out: _done(atv.launch(target), out, name)
    if name == "switch_account":
        _count(name, args, 1, 1)
        if not rest:
            raise ValueError("switch_account takes an account: =IDENTIFIER")
        return name, lambda atv, out: _done(atv.switch_account(args[0]), out, name)
    if name == "captions":
        _count(name, args, 0, 1)
        if args and args[0] not in ("toggle", "on", "auto", "forced"):
            raise ValueError(f"captions: {args[0]!r} is none of on, auto, forced, toggle")
        return name, lambda atv, out: _done(atv.captions(*args), out, name)
    if name == "swipe":
        _count(name, args, 5, 5)
        places = [_number(name, text, 0, 1000) for text in args[:4]]
        seconds = _number(name, args[4], 0) / 1000
        return name, lambda atv, out: _done(atv.swipe(*places, seconds), out, name)
    if name == "action":
        _count(name, args, 3, 3)
        x, y = (_number(name, text, 0, 1000) for text in args[:2])
        action = _state(name, args[2])
        return name, lambda atv, out: _done(atv.touch(x, y, action), out, name)
    if name == "play_url":
        if not rest:
            raise ValueError(f"{name} takes a URL or a file: =URL")
        url = args[0] if len(args) == 1 else rest  # a comma may be part of it
        return name, lambda atv, out: _play_url(atv, out, url)
    if name in ("text_set", "text_append"):
        if not equals:
            raise ValueError(f"{name} takes a text: =TEXT")
        # A comma is part of what somebody types.
        return name, _typing(name, args[0] if len(args) == 1 else rest)
    if name in ("set_shuffle", "set_repeat"):
        _count(name, args, 1, 1)
        state = _state(name, args[0])
        return name, lambda atv, out: _done(getattr(atv, name)(state), out, name)
    if name == "delay":
        _count(name, args, 1, 1)
        pause = _number(name, args[0], 0) / 1000
        return name, lambda atv, out: _delay(pause, out)
    if name == "artwork":
        return name, _artwork(name, args)
    if name == "features":
        if args not in ([], ["all"]):
            raise ValueError("features takes nothing or =all")
        return name, lambda atv, out: _features(atv, out, bool(args))
    if name in SETTINGS:
        low, high = {
            "print_settings": (0, 1),
            "change_setting": (2, 2),
            "unset_setting": (1, 1),
        }.get(name, (0, 0))
        _count(name, args, low, high)
        return name, lambda settings, out: _setting(settings, out, name, args)
    if name in WATCHES:
        _count(name, args, 0, 0)
        return name, lambda atv, out: _watch(atv, out, name)
    simple = _SIMPLE.get(name)
    if simple is not None:
        _count(name, args, 0, 0)
        return name, simple
    if name in FIELDS:
        _count(name, args, 0, 0)
        return name, lambda atv, out: _field(atv, out, name)
    if name in INFO:
        _count(name, args, 0, 0)
        return name, lambda atv, out: _value(getattr(atv.device.info, INFO[name]), out, name)
    if name in ELSEWHERE:
        return name, lambda atv, out: _elsewhere(atv, name)
    raise UnknownWord(f"unknown command {name!r}{_guess(name)}; `tinyatv commands` lists them")


def _guess(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, [*HELP, *ELSEWHERE, *SUBCOMMANDS], 1)
    return f", did you mean {close[0]!r}?" if close else ""


SUBCOMMANDS = {  # word that is a program of its own: what it does
    "scan": "look for devices",
    "pair": "pair with a device",
    "wizard": "find, pair and try a device, step by step",
    "devices": "list stored devices; alias, default, forget, import",
    "watch": "show changes until Ctrl-C",
    "push_updates": "the same as watch",
    "migrating": "what the words and flags of other tools are called here",
    "remote": "a remote that fills the terminal; the same as no word at all",
    "prompt": "type words line by line, over one connection",
    "cli": "the same as prompt",
    "serve": "keep connections open, so that a press takes milliseconds",
    "virtual": "run a virtual Apple TV",
    "demo": "try everything against a virtual Apple TV",
    "doctor": "find out what is wrong, and what to do about it",
    "proxy": "sit between a controller and a device, and show what passes",
    "decode": "show what is in a trace, or in bytes",
    "completion": "print what makes a shell complete words: bash, zsh or fish",
    "commands": "list all commands",
    "help": "explain a command or a topic; --man prints a manual page",
}


def _split(text: str) -> list[str]:
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


def _count(name: str, args: list[str], low: int, high: int) -> None:
    if not low <= len(args) <= high:
        wanted = (
            "no argument"
            if high == 0
            else "one argument"
            if low == high == 1
            else f"{high} arguments"
            if low == high
            else f"at most {high}"
        )
        raise ValueError(f"{name} takes {wanted}, not {','.join(args) or 'none'}")


def _number(name: str, text: str, low: float, high: float = float("inf")) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number") from None
    if not low <= value <= high or value == float("inf"):
        limit = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
        raise ValueError(f"{name}: {text} is not {limit}")
    return value


def _state(name: str, text: str) -> Any:
    from ..model import RepeatState, ShuffleState, TouchAction

    states: Any = {
        "set_shuffle": ShuffleState, "set_repeat": RepeatState, "action": TouchAction,
    }[name]  # fmt: skip
    for state in states:
        if text.lower() in (state.name.lower(), str(state.value)):
            return state
    known = ", ".join(f"{state.value} or {state.name.lower()}" for state in states)
    raise ValueError(f"{name}: {text!r} is none of {known}")


def _press(name: str, args: list[str]) -> Run:
    """0, 1 and 2 are single, double and hold, as in other remotes; 3 and more are presses."""
    _count(name, args, 0, 1)
    text = args[0].lower() if args else "single"
    hold, presses = 0.0, 1
    if text in ("double", "1"):
        presses = 2
    elif text in ("hold", "2"):
        hold = HOLD
    elif text.startswith("hold:"):
        hold = _number(name, text[len("hold:") :], 0)
    elif text not in ("single", "0"):
        digits = text.strip("x")
        if not digits.isdecimal() or not 1 <= int(digits) <= 100:
            raise ValueError(f"{name}: {args[0]!r} is no action; {ACTIONS}, up to 100")
        presses = int(digits)
    return lambda atv, out: _done(getattr(atv, name)(hold=hold, presses=presses), out, name)


def _typing(name: str, text: str) -> Run:
    return lambda atv, out: _done(getattr(atv, name)(text), out, name)


def _delay(seconds: float, out: Output) -> None:
    out.wait(seconds)
    out.result(command="delay")


def _setting(settings: Any, out: Output, name: str, args: list[str]) -> None:
    if not hasattr(settings, name):  # a connection, in a place that keeps one open
        raise ValueError(f"{name} is about the store and no connection: tinyatv {name}")
    getattr(settings, name)(out, *args)


def _close(atv: AppleTV, out: Output) -> None:
    out.result(command="close")


def _watch(atv: AppleTV, out: Output, name: str) -> None:
    from .watch import watch

    code = watch(atv, out, name)
    if code:
        raise SystemExit(code)


def _done(_: None, out: Output, name: str) -> None:
    out.result(command=name)


def _value(value: Any, out: Output, name: str) -> None:
    shown = value.name if hasattr(value, "value") and hasattr(value, "name") else value
    text = str(value) if value is not None else None
    out.result(text, **{name: shown})


def _field(atv: AppleTV, out: Output, name: str) -> None:
    playing = atv.playing()
    if out.json:
        out.result(**{name: playing_keys(playing)[name]})
    elif name == "app" and playing.app is not None:
        out.result(f"App: {playing.app.name} ({playing.app.identifier})")
    else:
        _value(getattr(playing, name), out, name)


def _playing(atv: AppleTV, out: Output) -> None:
    playing = atv.playing()
    out.result(str(playing), **playing_keys(playing))


def _play_url(atv: AppleTV, out: Output, url: str) -> None:
    """Play to the end, with the position on a terminal."""
    import sys

    shown = sys.stderr.isatty() and not out.json

    def show(text: str) -> None:
        if shown:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    try:
        show("starting")
        with atv.play_url(url) as stream:
            while not stream.wait(1.0):
                length = f" of {stream.duration:.0f}" if stream.duration else ""
                show(f"{stream.position:.0f}{length} s{', paused' if stream.paused else ''}")
    finally:
        show("")  # an error, or the shell, goes on at the begin of the line
    out.result(command="play_url")


def _power_state(atv: AppleTV, out: Output) -> None:
    power = atv.power_state()
    out.result(str(power), power_state=power.name.lower())


def _text_focus(atv: AppleTV, out: Output) -> None:
    focus = atv.text_focus()
    out.result(focus.name, focus_state=focus.name.lower())


def _apps(atv: AppleTV, out: Output) -> None:
    _named(atv.apps(), out, "apps")


def _accounts(atv: AppleTV, out: Output) -> None:
    _named(atv.accounts(), out, "accounts")


def _text_get(atv: AppleTV, out: Output) -> None:
    text = atv.text_get()
    out.result("no text field is open" if text is None else text, text_get=text)


def _named(found: Sequence[Account | App | OutputDevice], out: Output, key: str) -> None:
    text = "\n".join(f"{one.name}: {one.identifier}" for one in found)
    out.result(text or "none", **{key: named_keys(found)})


def _output_devices(atv: AppleTV, out: Output) -> None:
    _named(atv.output_devices(), out, "output_devices")


def _artwork_id(atv: AppleTV, out: Output) -> None:
    playing = atv.playing()
    _value(playing.artwork_id or playing.hash, out, "artwork_id")


def _device_id(atv: AppleTV, out: Output) -> None:
    _value(atv.device.identifier, out, "device_id")


def _info(atv: AppleTV, out: Output) -> None:
    from .output import device_keys

    device = atv.device
    text = "\n".join(
        [
            f"{device.name}: {device.info}",
            f"{device.address}, connected by {', '.join(atv.protocols)}",
        ]
    )
    out.result(text, **device_keys(device), connected=list(atv.protocols))


def _server_info(atv: AppleTV, out: Output) -> None:
    info = {k: v.hex() if isinstance(v, bytes) else v for k, v in atv.server_info().items()}
    out.result("\n".join(f"{key}: {value}" for key, value in info.items()), server_info=info)


_SIMPLE: dict[str, Run] = {
    "server_info": _server_info,
    "playing": _playing,
    "output_devices": _output_devices,
    "power_state": _power_state,
    "text_focus_state": _text_focus,
    "artwork_id": _artwork_id,
    "device_id": _device_id,
    "info": _info,
    "apps": _apps,
    "accounts": _accounts,
    "text_get": _text_get,
    "close": _close,
}


def _artwork(name: str, args: list[str]) -> Run:
    if len(args) == 1 and not _is_size(args[0]):
        args = ["-1", "-1", args[0]]
    if len(args) not in (0, 2, 3) or not all(_is_size(a) for a in args[:2]):
        raise ValueError(f"{name} takes =FILE, =WIDTH,HEIGHT or =WIDTH,HEIGHT,FILE")
    width, height = ([int(a) if int(a) > 0 else None for a in args[:2]] or [None, None])[:2]
    path = args[2] if len(args) == 3 else "artwork"

    def run(atv: AppleTV, out: Output) -> None:
        from ..errors import CommandFailed

        art = atv.artwork(width, height)
        if art is None:
            raise CommandFailed("there is no artwork", name)
        saved = _save(art, path)
        text = f"{saved} ({art.mimetype}, {art.width}x{art.height})"
        keys = {"mimetype": art.mimetype, "width": art.width, "height": art.height}
        out.result(text, artwork=saved, **keys)

    return run


def _is_size(text: str) -> bool:
    return text == "-1" or (text.isdecimal() and int(text) <= 65535)


def _save(art: Artwork, path: str) -> str:
    if not os.path.splitext(path)[1]:
        path += art.extension
    art.save(path)
    return path


def _features(atv: AppleTV, out: Output, everything: bool) -> None:
    states = atv.features()
    named = {feature_name(name): state.name for name, state in states.items()}
    if not out.json and not everything:
        named = {name: state for name, state in named.items() if state != "Unsupported"}
    lines = ["Feature list:", "-" * 13, *(f"{name}: {state}" for name, state in named.items())]
    lines += ["", "Unknown: the device does not say, try it. Unavailable: not now."]
    out.result("\n".join(lines), features=named)


def feature_name(name: str) -> str:
    """``play_pause`` as the field writes it: ``PlayPause``."""
    name = KNOWN_AS.get(name, name)
    return "".join(part.capitalize() for part in name.split("_"))


def _elsewhere(atv: AppleTV, name: str) -> None:
    from ..errors import NotSupported

    raise NotSupported(
        f"{name} needs {ELSEWHERE[name]}; {atv.name} is connected by {', '.join(atv.protocols)}"
    )
