"""Six big buttons that always end in the same place: python big_buttons.py "Living Room"."""

import sys
from functools import partial
from signal import pause

from gpiozero import Button

import tinyatv


def press(what, *steps):
    try:
        for step in steps:
            step()
    except tinyatv.AppleTVError as error:
        what = f"{what}: {error}"
    print(what, flush=True)


start, stop, one, two, three, mute = map(Button, (17, 27, 22, 5, 6, 13))
with tinyatv.connect(sys.argv[1], reconnect=True) as atv:
    on, loud = partial(atv.turn_on, wait=True), partial(atv.set_volume, 30)
    start.when_pressed = partial(press, "on", on, atv.home, loud)
    stop.when_pressed = partial(press, "off", partial(atv.turn_off, wait=True))
    mute.when_pressed = partial(press, "silent", partial(atv.set_volume, 0))
    for button, app in ((one, "TVWatchList"), (two, "TVMusic"), (three, "podcasts")):
        button.when_pressed = partial(press, app, on, partial(atv.launch, f"com.apple.{app}"), loud)
    press("ready")
    pause()
