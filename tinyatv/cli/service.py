"""Let serve, a box or watch run at boot, as a service of systemd.

    tinyatv service install serve
    tinyatv service install box /home/pi/box.ini
    tinyatv service show watch --all --reconnect --json
    tinyatv service remove serve

install writes the unit that show prints, and says what to type then; it starts nothing. It is a
unit of your own user, or with --system one of the computer, which runs as you all the same: it
needs your store, and `tinyatv serve` is for its own user alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from ..errors import NotSupported

if TYPE_CHECKING:
    from .flags import Arguments, Parser
    from .output import Output

RUNS = ("serve", "box", "watch")
NOTIFIES = ("box", "serve")  # say when they are ready, and that they are alive
SYSTEM = "/etc/systemd/system"

# Checked with systemd-analyze 252: exposure 1.5 without devices, instead of 9.6.
HARDENED = """\
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077
"""
DEVICES = """\
SupplementaryGroups=input gpio
DevicePolicy=closed
DeviceAllow=char-input r
DeviceAllow=char-gpiochip rw
"""


def add_flags(parser: Parser, word: str) -> None:
    """What to do, and the command line that is to run."""
    parser.add_argument("action", choices=("install", "show", "remove"))
    parser.add_argument("--system", action="store_true", help="a unit of the computer, with User=")
    parser.add_argument("runs", choices=RUNS, help="what is to run")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its own arguments")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Write a unit, show it, or remove it."""
    action: str = flags.action
    if not sys.platform.startswith("linux"):
        raise NotSupported("services are for systemd, which this system does not have")
    name = f"tinyatv-{flags.runs}.service"
    folder = SYSTEM if flags.system else _user_folder()
    path = os.path.join(folder, name)
    text = unit(flags.runs, flags.rest, system=flags.system)
    control = "sudo systemctl" if flags.system else "systemctl --user"
    if action == "show":
        out.result(text.rstrip(), unit=text, path=path)
        return 0
    if action == "remove":
        os.unlink(path)
        out.result([f"removed {path}; now: {control} stop {name} && {control} daemon-reload"],
                   removed=path)  # fmt: skip
        return 0
    from ..files import replace_file

    os.makedirs(folder, exist_ok=True)
    replace_file(path, text.encode(), 0o644)
    lines = [f"wrote {path}; now type:", f"  {control} daemon-reload",
             f"  {control} enable --now {name}"]  # fmt: skip
    if not flags.system:
        lines += ["  loginctl enable-linger      # so that it runs before you log in"]
    out.result(lines, installed=path)
    return 0


def unit(runs: str, rest: list[str], *, system: bool) -> str:
    """The text of a unit.

    Args:
        runs: ``serve``, ``box`` or ``watch``.
        rest: Its arguments; names of files become absolute.
        system: True for a unit of the computer.
    """
    rest = [os.path.abspath(one) if os.path.isfile(one) else one for one in rest]
    words = [sys.executable, "-m", "tinyatv", runs, *rest]
    if runs == "watch" and not any(one.startswith("--wait") for one in rest):
        words.append("--wait")
    lines = ["[Unit]", f"Description=tinyatv {runs}", "Wants=network-online.target",
             "After=network-online.target", "", "[Service]",
             f"Type={'notify' if runs in NOTIFIES else 'simple'}"]  # fmt: skip
    lines += [f"ExecStart={' '.join(map(_quoted, words))}", "Restart=on-failure", "RestartSec=5"]
    lines += ["WatchdogSec=60"] if runs in NOTIFIES else []
    lines += ["ExecReload=/bin/kill -HUP $MAINPID"] if runs == "box" else []
    for variable in ("TINYATV_STORE", "TINYATV_SCAN_HOSTS"):
        value = os.environ.get(variable)
        lines += [f"Environment={_quoted(f'{variable}={value}')}"] if value else []
    if system:
        lines += _system(runs)
    lines += ["", "[Install]", f"WantedBy={'multi-user' if system else 'default'}.target"]
    return "\n".join(lines) + "\n"


def _system(runs: str) -> list[str]:
    import pwd

    from ..files import socket_path, store_path

    user = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    store = os.path.abspath(store_path())
    # "-": the folders may not be there yet
    writable = dict.fromkeys(map(os.path.dirname, (store, socket_path(store))))
    lines = [f"User={user}", *(f"ReadWritePaths=-{_quoted(one)}" for one in writable)]
    lines += HARDENED.splitlines()
    return lines + (DEVICES.splitlines() if runs == "box" else ["PrivateDevices=yes"])


def _user_folder() -> str:
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(config, "systemd", "user")


def _quoted(text: str) -> str:
    """A word as systemd reads it."""
    text = text.replace("%", "%%").replace("$", "$$")
    if text and not any(one in text for one in " \t'\"\\;"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
