"""The bodies of AirPlay requests and answers."""

from __future__ import annotations

import math
import plistlib
from typing import Any

from ..wire import airplay_codes as codes
from ..wire import plist
from ..wire.http import Response


def binary_response(content: dict[str, Any]) -> Response:
    """An answer with a binary property list."""
    return Response(200, headers=[("Content-Type", codes.PLIST)], body=plist.dumps(content))


def xml_response(content: dict[str, Any]) -> Response:
    """An answer with a property list of the old kind."""
    return Response(200, headers=[("Content-Type", codes.XML_PLIST)], body=plistlib.dumps(content))


def text_response(text: str) -> Response:
    """An answer with parameters as text."""
    return Response(200, headers=[("Content-Type", codes.PARAMETERS)], body=text.encode())


def read_dict(data: bytes) -> dict[str, Any]:
    """The property list in a body; {} if it is none, or no dictionary."""
    try:
        content = plist.loads(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def read_parameters(data: bytes) -> dict[str, str]:
    """The lines of a body of the old kind: ``name: value``."""
    found = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found


def number(value: Any) -> float:
    """A number that makes sense as a position or rate; 0.0 for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return 0.0
    return found if math.isfinite(found) and found > 0 else 0.0


def seconds(time: Any) -> float:
    """A time as a number of some units per second."""
    if not isinstance(time, dict) or not time.get("timescale"):
        return 0.0
    return number(time.get("value")) / (number(time.get("timescale")) or 1.0)
