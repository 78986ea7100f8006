"""Show the contents of a trace, or decode bytes of any protocol.

The bytes come from a file, as hex digits, or from standard input (-), raw or as hex. Without --as,
the first format that fits is used. `hap` is the format of pairing messages, and `tlv8` the same
without names. Encrypted data cannot be shown.
"""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

from .. import decode, trace
from ..text import printable
from .output import show

if TYPE_CHECKING:
    from .flags import Arguments, Parser
    from .output import Output


def add_flags(parser: Parser, word: str) -> None:
    """What to decode."""
    add = parser.add_argument
    add("--as", dest="kind", choices=("auto", "trace", *decode.KINDS), default="auto",
        help="the format (auto)")  # fmt: skip
    add("what", nargs="?", default="-", metavar="FILE|HEX|-", help="what to decode (-)")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Decode it."""
    what, kind = flags.what, flags.kind
    if what == "-":
        _show(sys.stdin.buffer, kind, out)
    elif os.path.exists(what):
        with open(what, "rb") as file:
            _show(file, kind, out)
    else:
        try:
            data = decode.from_hex(what)
        except ValueError as exc:
            shown = printable(what[:40])
            raise ValueError(f"{shown}: no such file, and not hex digits ({exc})") from exc
        _bytes(data, kind, out)
    return 0


def _show(file: IO[bytes], kind: str, out: Output) -> None:
    first = file.readline(decode.LIMIT + 1)
    if kind in ("auto", "trace") and trace.is_trace(first):
        for record in trace.read(file, first):
            _record(record, out)
        return
    data = first + file.read(decode.LIMIT + 1 - len(first))
    try:
        text = data.decode("ascii")
        data = decode.from_hex(text) if text.strip() else data
    except ValueError:
        pass  # it is what it is
    _bytes(data, kind, out)


def _record(record: trace.Record, out: Output) -> None:
    if out.json and record.ended is not None:
        out.result(
            time=record.time, protocol=record.protocol, connection=record.connection,
            ended=record.ended or None,
        )  # fmt: skip
    elif out.json:
        out.result(
            time=record.time, protocol=record.protocol, connection=record.connection,
            direction=trace.TO_DEVICE if record.to_device else trace.TO_CLIENT, name=record.name,
            message=record.content,
        )  # fmt: skip
    else:
        show(*record.lines())


def _bytes(data: bytes, kind: str, out: Output) -> None:
    if kind == "trace":
        raise ValueError("this is not a trace")
    kind, value = decode.decode(data, kind)
    if out.json:
        out.result(format=kind, content=value)
    else:
        show(f"{kind}:", *decode.lines(value, "  "))
