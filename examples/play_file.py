"""Play a video or a song of this computer on the Apple TV: python play_file.py TV FILE."""

import sys

import tinyatv

with tinyatv.connect(sys.argv[1]) as atv:
    try:
        stream = atv.play_url(sys.argv[2])
    except (tinyatv.AppleTVError, OSError) as error:
        sys.exit(f"cannot play it: {error}")
    with stream:
        print(f"plays on {atv.name}; Ctrl-C stops it", flush=True)
        try:
            while not stream.wait(5):
                print(f"{stream.position:.0f} of {stream.duration:.0f} s", flush=True)
        except KeyboardInterrupt:
            pass
    print("done")
