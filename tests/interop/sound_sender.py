"""Sends a WAV file to 127.0.0.1 port 5000, and prints its report: FILE FORM [PASSWORD]."""

import json
import sys

import tinyatv

path, form, *password = sys.argv[1:]
service = tinyatv.Service(
    "raop", 5000, properties={"am": "ShairportSync", "md": "0,1,2", "et": "0,1"},
    password=password[0] if password else None,
)  # fmt: skip
with tinyatv.connect(tinyatv.Device("Test", "127.0.0.1", [service])) as atv:
    stream = atv.stream(path, title="Tön", artist="A", album="B", volume=100, form=form)
    stream.wait(100)
    report = {name: getattr(stream.report, name) for name in stream.report.__slots__}
print(json.dumps({**report, "warnings": stream.warnings}))
