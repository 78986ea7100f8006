"""Send a WAV file to a speaker: python stream_file.py SPEAKER FILE."""

import sys

import tinyatv

with tinyatv.connect(sys.argv[1]) as atv:
    try:
        stream = atv.stream(sys.argv[2])
    except (tinyatv.AppleTVError, OSError, ValueError) as error:
        sys.exit(f"cannot send it: {error}")
    with stream:
        print(f"plays on {atv.name}; Ctrl-C stops it", flush=True)
        try:
            while not stream.wait(5):
                print(f"{stream.position:.0f} of {stream.duration:.0f} s", flush=True)
        except KeyboardInterrupt:
            pass
    print("\n".join([*stream.warnings, "done"]))
