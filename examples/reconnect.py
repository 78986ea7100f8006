"""Stay connected, whatever happens to the TV: python reconnect.py "Living Room"."""

import sys

import tinyatv

with tinyatv.connect(sys.argv[1], reconnect=True) as atv:
    for event in atv.events():
        if isinstance(event, tinyatv.Disconnected):
            print(f"lost: {event.error}", flush=True)
        elif isinstance(event, tinyatv.Reconnected):
            print(f"back, by {', '.join(event.protocols)}", flush=True)
        elif isinstance(event, tinyatv.PlayingChanged):
            print(f"{event.playing.title}", flush=True)
