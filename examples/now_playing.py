"""Show what plays and save its artwork: python now_playing.py "Living Room" [FOLDER]."""

import pathlib
import sys

import tinyatv

folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ".")
with tinyatv.connect(sys.argv[1]) as atv:
    print(atv.playing())
    artwork = atv.artwork(width=400)
    if artwork is None:
        print("no artwork")
    else:
        path = folder / f"cover{artwork.extension}"
        artwork.save(path)
        print(f"saved {path}")
