"""Type into the text field that is open on the TV: python type_text.py "Living Room" TEXT.

If none is open, wait until somebody opens one: choose "Search" in any app.
"""

import sys

import tinyatv

with tinyatv.connect(sys.argv[1]) as atv:
    events = atv.events(timeout=120)
    while atv.text_focus() is not tinyatv.KeyboardFocus.Focused:
        print("open a text field on the TV", flush=True)
        if next(events, None) is None:
            sys.exit("nobody did")
    atv.text_set(sys.argv[2])
    print(f"it reads {atv.text_get()!r} now")
