"""The topics of ``tinyatv help TOPIC`` and of the manual page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .command import PRESSES
from .output import exits_text
from .words import COMMANDS

if TYPE_CHECKING:
    from typing import Callable

ENVIRONMENT = {
    "TINYATV_STORE": "file with stored devices (~/.config/tinyatv/devices.json)",
    "TINYATV_SCAN_HOSTS": "hosts to scan where there is no multicast, separated by commas",
    "TINYATV_CRYPTO": "encryption by: python or cryptography (the default if installed)",
    "TINYATV_SERVE": "off ignores a running `tinyatv serve`",
    "XDG_CONFIG_HOME": "folder of tinyatv/devices.json (~/.config)",
    "XDG_RUNTIME_DIR": "folder of the socket of `tinyatv serve`; without it, beside the store",
    "TERM": "type of terminal, for the full-screen remote",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python avoids the C part of protobuf",
}


def _rows(table: dict[str, str]) -> str:
    width = max(map(len, table))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in table.items())


def _pairing() -> str:
    from .pair import NO_PIN

    return f"""\
A device is paired once: `tinyatv wizard` guides you, `tinyatv pair -n NAME` does it directly.
Most devices show a PIN that you type here. An Apple TV up to the third generation lists this
program in Settings > General > Remotes: choose it, and type the PIN that is shown here.
The credentials are stored, and stay valid until this remote is removed on the TV, in
Settings > Remotes and Devices > Remote App and Devices.
A speaker or HomePod with a password needs no pairing, and takes it from --airplay-password TEXT, or
@FILE; `pair` stores it.

{NO_PIN}
If you have paired with pyatv, you need not pair again: ~/.pyatv.conf is read.
`tinyatv doctor` tries what is stored, and changes nothing."""


def _keys() -> str:
    rows = COMMANDS.values()
    pressed = {row.name: row.help for row in rows if row.args is PRESSES}
    others = {
        row.name: row.line
        for row in rows
        if row.group in ("Buttons", "Playback", "Sound") and row.args.least == 0
        and row.name not in pressed and row.args.usage in ("", "=TIMES")
    }  # fmt: skip
    return (
        f"{_rows(pressed)}\n\nThese take =ACTION. {PRESSES.note}.\nAs in other remotes, =0, =1"
        f" and =2 mean single, double and hold.\n\nThe others:\n{_rows(others)}"
    )


TOPICS: dict[
    str, tuple[str, str | Callable[[], str]]
] = {  # topic: one line about it, and the text or what makes it
    "pairing": ("how to pair, and what to do if no PIN shows", _pairing),
    "devices": (
        "how to choose a device",
        """\
  -n NAME     name or alias; an address or a host name works as well
  -i ID       identifier; alternatives separated by commas
  -s HOST     what answers at that host, where multicast does not work
  -m          as described by --address, --port and --protocol
Without any of them, the default device is used, or the only one; of several stored devices without
a default, one must be named. Of two devices with one name, -i chooses. A stored device needs no
scan: its address is known. If it has moved, or another device answers there, a scan follows. One
that was replaced or reset has other identifiers: adopt gives it the place of the old one. Of
several addresses, the next one is tried when one fails or is slow; IPv6 goes everywhere (fd00::5,
fe80::5%eth0). `devices address` gives a device an address that counts instead of those that it
announces.

  tinyatv devices                        list stored devices
  tinyatv devices alias "Living Room" tv
  tinyatv devices default tv
  tinyatv devices adopt tv
  tinyatv devices address tv 192.0.2.7   without the address: what it announces again""",
    ),
    "scripting": (
        "JSON, exit codes, several commands at once",
        """\
--json prints one JSON object per line for every command. Each begins with "result" ("success" or
"failure") and "datetime"; a failure has "error" (a word), "exception" and "stacktrace", a success
the keys of its command. The exit code says the same (`tinyatv help exit-codes`).

  tinyatv --json playing
  tinyatv turn_on=wait home delay=500 down=3 select     over one connection
  tinyatv --json watch --reconnect                      forever, a line for each change

Words are checked before anything is sent. A chain stops at the first failure. Logs and errors
go to standard error. Secrets can be read from files: --mrp-credentials @FILE.""",
    ),
    "exit-codes": ("what the exit codes mean", exits_text),
    "environment": ("environment variables", lambda: _rows(ENVIRONMENT)),
    "virtual": (
        "a virtual Apple TV to try things with",
        """\
Run `tinyatv virtual --profile tvos14` in one terminal and `tinyatv wizard` in another; the first
shows the PIN. `tinyatv demo` does all of this by itself. Where multicast does not work, start it
with --mdns-port 5454 and set TINYATV_SCAN_HOSTS=127.0.0.1:5454.

Started again, it is the same device: what has paired with it need not pair again. -n gives it a
name; a second one beside it gets a number. Type there: title TEXT, text [TEXT], close, pin DIGITS.
--password gives it one, as speakers have.""",
    ),
    "keys": (
        "buttons and how to press them",
        _keys,
    ),
}


def topic_text(name: str) -> str:
    """The text of a topic."""
    text = TOPICS[name][1]
    return text if isinstance(text, str) else text()
