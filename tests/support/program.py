"""The program as people and scripts run it: in this process, in one of its own, at a terminal."""

from __future__ import annotations

import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import time

import tinyatv
from tinyatv.cli.program import main

WAIT = 10.0  # s; a deadline for things that take milliseconds

ROOT = pathlib.Path(tinyatv.__file__).parents[1]

# Origin: section 4.5 of the project's sheet on the field's tools, keys in their order.
PLAYING_KEYS = [
    "hash", "media_type", "device_state", "title", "artist", "album", "genre", "total_time",
    "position", "shuffle", "repeat", "series_name", "season_number", "episode_number",
    "content_identifier", "itunes_store_identifier", "app", "app_id",
]  # fmt: skip


def run(capsys, *args: str) -> tuple[int, str, str]:
    code = main(args)
    out, err = capsys.readouterr()
    return code, out, err


def run_json(capsys, *args: str) -> tuple[int, list[dict]]:
    code, out, err = run(capsys, *args, "--json")
    assert err == ""
    return code, [json.loads(line) for line in out.splitlines()]


class Program(subprocess.Popen):
    """The program; a failing test ends it instead of waiting for it."""

    def __init__(self, *args: str, command=("-u", "-m", "tinyatv"), **streams) -> None:
        streams = streams or dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        super().__init__([sys.executable, *command, *args], text=True, **streams)

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self.kill()
        super().__exit__(kind, error, trace)


class Person:
    """Somebody at a terminal, who reads on until what they wait for has come."""

    def __init__(self, screen: int) -> None:
        self._screen = screen
        self._unread = ""

    def reads(self, wanted: str) -> str:
        until = time.monotonic() + 30
        while wanted not in self._unread:
            ready, _, _ = select.select([self._screen], [], [], max(0, until - time.monotonic()))
            assert ready, f"{wanted!r} did not come; came: {self._unread!r}"
            self._unread += os.read(self._screen, 4096).decode()
        text, self._unread = self._unread.split(wanted, 1)
        return text

    def types(self, text: str) -> None:
        os.write(self._screen, f"{text}\n".encode())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def limited(code, *args):
    """Run code in a process whose files may have 100 bytes, as on a disk that is full."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, -1))"
    return subprocess.run(
        [sys.executable, "-c", code.replace("LIMIT", limit), *map(str, args)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.strip()  # fmt: skip
