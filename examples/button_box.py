"""A Raspberry Pi with three buttons: python button_box.py "Living Room".

Wire each button between its pin and ground. Needs gpiozero, which Raspberry Pi OS has.
"""

import sys
from signal import pause

from gpiozero import Button

import tinyatv

play, louder, quieter = Button(17), Button(27), Button(22)
try:
    with tinyatv.connect(sys.argv[1], reconnect=True, wait=True) as atv:
        play.when_pressed = atv.queued(atv.play_pause, patience=10)
        louder.when_pressed = atv.queued(atv.volume_up)
        quieter.when_pressed = atv.queued(atv.volume_down)
        print("ready", flush=True)
        pause()
except tinyatv.AppleTVError as error:  # not paired, say
    sys.exit(f"{sys.argv[1]}: {error}")
except KeyboardInterrupt:
    print("bye")
