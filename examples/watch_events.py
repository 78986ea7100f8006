"""Print what happens, until nothing does: python watch_events.py "Living Room" [SECONDS]."""

import sys

import tinyatv

patience = float(sys.argv[2]) if len(sys.argv) > 2 else None
with tinyatv.connect(sys.argv[1]) as atv:
    for event in atv.events(timeout=patience):
        if isinstance(event, tinyatv.PlayingChanged):
            playing = event.playing
            print(f"{playing.device_state.name}: {playing.title} by {playing.artist}", flush=True)
        else:
            print(event, flush=True)
