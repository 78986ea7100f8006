"""Six big buttons that always end in the same place: python big_buttons.py "Living Room"."""

import sys
from functools import partial
from signal import pause

from gpiozero import Button

import tinyatv


def press(what, *steps):
    """A callback that does one step after the other, and says what came of them."""

    def run():
        for step in steps:
            step()
        print(what, flush=True)

    return atv.queued(run, on_error=lambda error: print(f"{what}: {error}", flush=True))


start, stop, one, two, three, mute = map(Button, (17, 27, 22, 5, 6, 13))
with tinyatv.connect(sys.argv[1], reconnect=True, wait=True) as atv:
    on, loud = partial(atv.turn_on, wait=True), partial(atv.set_volume, 30)
    start.when_pressed = press("on", on, atv.home, loud)
    stop.when_pressed = press("off", partial(atv.turn_off, wait=True))
    mute.when_pressed = press("silent", partial(atv.set_volume, 0))
    for button, app in ((one, "TVWatchList"), (two, "TVMusic"), (three, "podcasts")):
        button.when_pressed = press(app, on, partial(atv.launch, f"com.apple.{app}"), loud)
    print("ready", flush=True)
    pause()
