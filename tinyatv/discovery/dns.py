"""DNS packets (RFC 1035, 4) as far as service discovery needs them: questions out, answers in.

The ``zeroconf`` package would do it, but not say who sent an answer, cut names at every dot (nobody
answers for ``Dr`` . ``Who``), and take longer to be imported than a device takes to answer.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

A, PTR, TXT, AAAA, SRV = 1, 12, 16, 28, 33  # RFC 1035, 3.2.2; RFC 3596; RFC 2782
IN, QU = 0x0001, 0x8000  # QU: please answer by unicast; RFC 6762, 5.4

_RESPONSE, _TRUNCATED = 0x8000, 0x0200

Question = tuple[tuple[str, ...], int]  # the labels of a name, and a record type


class Answer(NamedTuple):
    """A resource record.

    Attributes:
        name: Labels with dots between and behind them.
        type: Number of the record type.
        ttl: Seconds; 0 takes it back (RFC 6762, 10.1).
        data: Of PTR a name; of SRV a port and a name; of TXT and addresses the bytes.
    """

    name: str
    type: int
    ttl: int
    data: str | tuple[int, str] | bytes


class Packet(NamedTuple):
    """A response.

    Attributes:
        number: Of the query that it answers, if that had one.
        truncated: True if there is more to come.
        questions: Names that it repeats the questions about.
        answers: Records of the types in the head of this file.
    """

    number: int
    truncated: bool
    questions: list[str]
    answers: list[Answer]


def labels(name: str) -> tuple[str, ...]:
    """Split a name that has dots between its labels alone."""
    return tuple(name.rstrip(".").split("."))


def encode_query(questions: Sequence[Question], bit: int, number: int = 0) -> bytes:
    """Encode questions.

    Args:
        questions: What to ask.
        bit: QU, or 0.
        number: Comes back in answers to an own port (RFC 6762, 6.7).

    Raises:
        ValueError: A label is empty or longer than 63 bytes.
    """
    data = struct.pack(">6H", number, 0, len(questions), 0, 0, 0)
    for name, kind in questions:
        for label in name:
            text = label.encode()
            if not 0 < len(text) < 64:
                raise ValueError(f"not a label: {label!r}")
            data += bytes([len(text)]) + text
        data += b"\0" + struct.pack(">2H", kind, IN | bit)
    return data


def decode_response(data: bytes) -> Packet | None:
    """Decode a response; None for a query.

    Raises:
        ValueError: It is malformed. What stands before the damage is not used either.
    """
    if len(data) < 12:
        raise ValueError(f"not a DNS packet: {len(data)} bytes")
    number, flags, asked, *counts = struct.unpack_from(">6H", data)
    if not flags & _RESPONSE:
        return None
    names: dict[int, str] = {}
    questions, answers = [], []
    at = 12
    try:
        for _ in range(asked):
            name, at = _name(data, at, names)
            questions.append(name)
            at += 4
        for _ in range(sum(counts)):
            name, at = _name(data, at, names)
            kind, _, ttl, length = struct.unpack_from(">2HIH", data, at)
            at += 10
            end = at + length
            if end > len(data):
                raise ValueError("a record runs past the end")
            if kind == PTR:
                answers.append(Answer(name, kind, ttl, _name(data, at, names)[0]))
            elif kind == SRV:
                (port,) = struct.unpack_from(">H", data, at + 4)
                answers.append(Answer(name, kind, ttl, (port, _name(data, at + 6, names)[0])))
            elif kind == TXT or (kind, length) in ((A, 4), (AAAA, 16)):
                answers.append(Answer(name, kind, ttl, data[at:end]))
            at = end
    except (struct.error, IndexError):
        raise ValueError("truncated DNS packet") from None
    return Packet(number, bool(flags & _TRUNCATED), questions, answers)


def _name(data: bytes, start: int, known: dict[int, str]) -> tuple[str, int]:
    """Read a name; returns it and where what follows begins.

    Args:
        data: The packet.
        start: Where the name begins.
        known: Names that were read before, by where they begin.
    """
    found: list[tuple[int, str]] = []  # labels, and where they begin
    at, end, total = start, 0, 0
    rest = ""
    while True:
        if end and at in known:  # behind a pointer; to read on, its own end must be found
            rest = known[at]
            break
        size = data[at]
        if size >= 0xC0:
            target = (size & 0x3F) << 8 | data[at + 1]
            end = end or at + 2
            if target >= at:  # forwards, it could go round in circles
                raise ValueError("a name points forwards")
            at = target
            continue
        if size >= 0x40:
            raise ValueError("not a label")
        if not size:
            break
        label = data[at + 1 : at + 1 + size]
        total += size + 1
        if len(label) < size or total > 255:
            raise ValueError("not a name")
        found.append((at, label.decode("utf-8", "replace")))
        at += 1 + size
    end = end or at + 1
    for place, text in reversed(found):
        rest = f"{text}.{rest}"
        known[place] = rest
    return rest, end
