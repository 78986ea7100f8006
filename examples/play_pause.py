"""Pause what plays, or resume it: python play_pause.py "Living Room"."""

import sys

import tinyatv

with tinyatv.connect(sys.argv[1]) as atv:
    atv.play_pause()
    print(f"{atv.name} is {atv.playing().device_state.name.lower()}")
