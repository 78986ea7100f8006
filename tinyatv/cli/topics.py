"""What ``tinyatv help TOPIC`` and the manual page tell beside the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .command import PRESSES
from .output import exits_text
from .words import COMMANDS

if TYPE_CHECKING:
    from typing import Callable

ENVIRONMENT = {
    "TINYATV_STORE": "file with stored devices (~/.config/tinyatv/devices.json)",
    "TINYATV_SCAN_HOSTS": "hosts that a scan asks where there is no multicast, with commas between",
    "TINYATV_CRYPTO": "what encrypts: python or cryptography, which is the default if it is there",
    "TINYATV_SERVE": "off does without `tinyatv serve` though it is running",
    "XDG_CONFIG_HOME": "folder of tinyatv/devices.json (~/.config)",
    "XDG_RUNTIME_DIR": "folder of the socket of `tinyatv serve`; without one, beside the store",
    "TERM": "kind of the terminal that the remote fills",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python goes without the C part of protobuf",
}


def _rows(table: dict[str, str]) -> str:
    width = max(map(len, table))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in table.items())


def _pairing() -> str:
    from .pair import NO_PIN

    return f"""\
A device is paired once; `tinyatv wizard` leads through it, `tinyatv pair -n NAME` does it at once.
Most devices show a PIN that you type here. An Apple TV up to the third generation lists this
program in Settings > General > Remotes: choose it, and type the PIN that is shown here.
What comes of it is stored. It is good until somebody removes this remote on the TV, in
Settings > Remotes and Devices > Remote App and Devices.

{NO_PIN}
Who has paired with pyatv need not do so again: ~/.pyatv.conf is read.
`tinyatv doctor` tries what is stored, and changes nothing."""


def _keys() -> str:
    rows = COMMANDS.values()
    pressed = {row.name: row.help for row in rows if row.args is PRESSES}
    others = {
        row.name: row.line
        for row in rows
        if row.group in ("Buttons", "Playback", "Sound") and row.args.least == 0
        and row.name not in pressed and not row.missing and row.args.usage in ("", "=TIMES")
    }  # fmt: skip
    return (
        f"{_rows(pressed)}\n\nThese take =ACTION. {PRESSES.note}.\nAs in other remotes, =0, =1"
        f" and =2 mean single, double and hold.\n\nThe others:\n{_rows(others)}"
    )


TOPICS: dict[
    str, tuple[str, str | Callable[[], str]]
] = {  # topic: one line about it, and the text or what makes it
    "pairing": ("how a device comes to trust this program", _pairing),
    "devices": (
        "how to say which device is meant",
        """\
  -n NAME     name or alias; an address or a host name does as well
  -i ID       identifier; alternatives after commas
  -s HOST     whatever answers there, where multicast does not work
  -m          as described by --address, --port and --protocol
Without any of them it is the default device, or the only one that there is. A stored device is not
looked for: its address is known. If it is not there any more, a scan follows.

  tinyatv devices                        what is stored
  tinyatv devices alias "Living Room" tv
  tinyatv devices default tv""",
    ),
    "scripting": (
        "JSON, exit codes, several commands at once",
        """\
--json prints one JSON object a line for every command. Each begins with "result" ("success" or
"failure") and "datetime"; a failure has "error" (a word), "exception" and "stacktrace", a success
the keys of its command. The exit code tells the same (`tinyatv help exit-codes`).

  tinyatv --json playing
  tinyatv turn_on=wait home delay=500 down=3 select     over one connection
  tinyatv --json watch --reconnect                      for ever, a line for each change

Words are checked before anything is sent. A chain ends at the first one that fails. Logs and errors
go to standard error. Secrets are read from files: --mrp-credentials @FILE.""",
    ),
    "exit-codes": ("what the exit code says", exits_text),
    "environment": ("variables that are read", lambda: _rows(ENVIRONMENT)),
    "virtual": (
        "an Apple TV to try things with",
        """\
Run `tinyatv virtual --profile tvos14` in one terminal, `tinyatv wizard` in another; the PIN is in
the first. `tinyatv demo` does all of it by itself. Where multicast does not work, give it
--mdns-port 5454 and set TINYATV_SCAN_HOSTS=127.0.0.1:5454.""",
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
