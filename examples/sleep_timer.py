"""Turn the Apple TV off in a while, a little quieter each minute: python sleep_timer.py TV MINUTES.

For tvOS; an Apple TV of the first three generations cannot be turned off over the network.
"""

import sys
import time

import tinyatv

minutes = float(sys.argv[2])
with tinyatv.connect(sys.argv[1], reconnect=True) as atv:
    until = time.monotonic() + minutes * 60
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 60))
        try:
            atv.volume_down()
        except tinyatv.AppleTVError as error:
            print(f"not quieter: {error}")
    atv.turn_off(wait=True)
    print(f"{atv.name} is {atv.power_state().name}")
