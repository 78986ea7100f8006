"""Names and numbers of keys, as Linux has them."""

from __future__ import annotations

# Origin: numbers from linux/input-event-codes.h. Runs of keys: the number of the first one, names.
_RUNS = {
    1: "ESC 1 2 3 4 5 6 7 8 9 0 MINUS EQUAL BACKSPACE TAB",
    16: "Q W E R T Y U I O P LEFTBRACE RIGHTBRACE ENTER LEFTCTRL",
    30: "A S D F G H J K L SEMICOLON APOSTROPHE GRAVE LEFTSHIFT BACKSLASH",
    44: "Z X C V B N M COMMA DOT SLASH RIGHTSHIFT KPASTERISK LEFTALT SPACE CAPSLOCK",
    59: "F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NUMLOCK SCROLLLOCK",
    71: "KP7 KP8 KP9 KPMINUS KP4 KP5 KP6 KPPLUS KP1 KP2 KP3 KP0 KPDOT",
    87: "F11 F12",
    96: "KPENTER RIGHTCTRL KPSLASH SYSRQ RIGHTALT LINEFEED HOME UP PAGEUP LEFT RIGHT END DOWN",
    109: "PAGEDOWN INSERT DELETE MACRO MUTE VOLUMEDOWN VOLUMEUP POWER KPEQUAL KPPLUSMINUS PAUSE",
    125: "LEFTMETA RIGHTMETA COMPOSE STOP",
    138: "HELP MENU",
    142: "SLEEP WAKEUP",
    158: "BACK FORWARD",
    161: "EJECTCD",
    163: "NEXTSONG PLAYPAUSE PREVIOUSSONG STOPCD RECORD REWIND PHONE",
    171: "CONFIG HOMEPAGE REFRESH EXIT",
    183: "F13 F14 F15 F16 F17 F18 F19 F20 F21 F22 F23 F24",
    200: "PLAYCD PAUSECD",
    207: "PLAY FASTFORWARD",
    217: "SEARCH",
    352: "OK",
    358: "INFO",
    362: "PROGRAM",
    365: "EPG",
    370: "SUBTITLE",
    393: "VIDEO",
    398: "RED GREEN YELLOW BLUE CHANNELUP CHANNELDOWN FIRST LAST",
    407: "NEXT RESTART",
    412: "PREVIOUS",
    512: "NUMERIC_0 NUMERIC_1 NUMERIC_2 NUMERIC_3 NUMERIC_4 NUMERIC_5 NUMERIC_6 NUMERIC_7 "
         "NUMERIC_8 NUMERIC_9",
    582: "VOICECOMMAND",
}  # fmt: skip
KEYS = {
    f"KEY_{name}": first + offset
    for first, names in _RUNS.items()
    for offset, name in enumerate(names.split())
}
NAMES = {number: name for name, number in KEYS.items()}
LARGEST = 0x2FF


def number_of(name: str) -> int:
    """The number of ``KEY_OK``, or of ``KEY_#353`` for keys without a name here.

    Raises:
        ValueError: There is no such key.
    """
    number = name[len("KEY_#") :]
    if name.startswith("KEY_#") and number.isdecimal() and 0 < int(number) <= LARGEST:
        return int(number)
    if name not in KEYS:
        import difflib

        close = difflib.get_close_matches(name.upper(), KEYS, 1)
        raise ValueError(f"no key {name!r}{f', did you mean {close[0]}?' if close else ''}")
    return KEYS[name]


def name_of(number: int) -> str:
    """What :func:`number_of` takes."""
    return NAMES.get(number, f"KEY_#{number}")
