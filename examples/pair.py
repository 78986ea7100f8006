"""Pair with an Apple TV: python pair.py "Living Room".

It shows a PIN, to be typed here. One of the first three generations does not: there, open
Settings > General > Remotes, choose "Kitchen button", and type the PIN that is shown here.
"""

import sys

import tinyatv

try:
    device = tinyatv.pair(
        sys.argv[1],
        name="Kitchen button",
        show_pin=lambda pin: print(f"Type {pin} on the TV", flush=True),
    )
except tinyatv.PairingError as error:
    sys.exit(f"{error}")
print(f"Paired with {device.name}; tinyatv.connect({device.name!r}) works from now on")
