"""Buttons and touches as MRP carries them: an event of Apple's HID family.

    offset  size
         0     8  time stamp; any old one is accepted
         8     8  sender
        16    12  options, length of attributes, count
        28     4  32: bytes of the record that follows
        32     4  3: keyboard
        36     8  options, depth
        44     2  usage page         all little-endian
        46     2  usage
        48     4  1 down, 0 up
        52     8  flags, 1

A touch is five 16-bit numbers, little-endian: x, y, phase, device, finger.

The layout is that of Apple's IOHIDEvent, as iPhones send it to tvOS; usages are those of the USB
HID Usage Tables, page 1 Generic Desktop and page 12 Consumer. The names of the fields at 16 and 36
are guesses. Since tvOS 14, button events are not acknowledged: a request behind them flushes them.
"""

import struct

USAGE = {  # button: (usage page, usage)
    "up": (1, 0x8C),
    "down": (1, 0x8D),
    "left": (1, 0x8B),
    "right": (1, 0x8A),
    "select": (1, 0x89),
    "menu": (1, 0x86),
    "suspend": (1, 0x82),
    "wakeup": (1, 0x83),
    "home": (12, 0x40),
    "top_menu": (12, 0x60),  # "Data On Screen" in the HID tables; the home screen
    "siri": (12, 0x04),
    "play": (12, 0xB0),
    "pause": (12, 0xB1),
    "next": (12, 0xB5),
    "previous": (12, 0xB6),
    "stop": (12, 0xB7),
    "play_pause": (12, 0xCD),
    "volume_up": (12, 0xE9),
    "volume_down": (12, 0xEA),
    "mute": (12, 0xE2),  # from the HID tables; the others were seen
}
BUTTON = {usage: name for name, usage in USAGE.items()}

BEGAN, MOVED, STATIONARY, ENDED, CANCELLED = 1, 2, 3, 4, 5  # phases of a touch

TIME = 0x208CF228943  # mach time of a recorded event; devices ignore it
RECORD = "<QQIIIIIIIHHIII"


def event(page: int, usage: int, down: bool) -> bytes:
    """A button that goes down or up: 60 bytes."""
    _check(page, usage)
    return struct.pack(RECORD, TIME, 0, 1, 0, 2, 32, 3, 1, 0, page, usage, int(down), 0, 1)


def parse_event(data: bytes) -> "tuple[int, int, bool]":
    """Read a button event.

    Returns:
        (usage page, usage, True if it goes down).

    Raises:
        ValueError: No button event.
    """
    if len(data) < 52:
        raise ValueError(f"a button event has 60 bytes, not {len(data)}")
    kind = struct.unpack_from("<I", data, 32)[0]
    if kind != 3:
        raise ValueError(f"event type {kind} is no button")
    page, usage, down = struct.unpack_from("<HHI", data, 44)
    return page, usage, bool(down)


def touch(x: int, y: int, phase: int, device: int, finger: int = 0) -> bytes:
    """A finger on the touch area: 10 bytes.

    Args:
        x: 0 (left) to 1000.
        y: 0 (top) to 1000.
        phase: ``BEGAN``, ``MOVED``, ``STATIONARY``, ``ENDED`` or ``CANCELLED``.
        device: Number that the device gave when the touch area was registered.
        finger: Number of the finger.
    """
    _check(x, y, phase, device, finger)
    return struct.pack("<HHHHH", x, y, phase, device, finger)


def parse_touch(data: bytes) -> "tuple[int, int, int, int, int]":
    """Read a touch: (x, y, phase, device, finger); ValueError if it is none."""
    if len(data) != 10:
        raise ValueError(f"a touch has 10 bytes, not {len(data)}")
    return struct.unpack("<HHHHH", data)


def _check(*numbers: int) -> None:
    for number in numbers:  # struct refuses it with an error of its own, MicroPython's cuts it
        if not 0 <= number <= 0xFFFF:
            raise ValueError(f"{number} is not a number of 16 bits")
