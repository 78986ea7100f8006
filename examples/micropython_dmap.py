"""Read a play status on a microcontroller: runs the same on MicroPython and CPython."""

from binascii import unhexlify

try:
    from tinyatv.wire import dmap
except ImportError:  # on a board, where tinyatv/wire was copied as the package "wire"
    from wire import dmap

STATES = ["idle", "loading", "stopped", "paused", "playing", "seeking", "seeking"]

# What an Apple TV answers to GET /ctrl-int/1/playstatusupdate
body = unhexlify(
    "636d73740000004e636d7372000000040000009f63617073000000010463616e6e0000000a"
    "43616c6c204f6e204d6563616e6100000007537461726c657963616e7400000004000343f5"
    "636173740000000400036330"
)

items = dmap.decode(body)
total, left = (dmap.first(items, "cmst", code) // 1000 for code in ("cast", "cant"))
print("title: ", dmap.first(items, "cmst", "cann"))
print("artist:", dmap.first(items, "cmst", "cana"))
print(
    "state: ", STATES[dmap.first(items, "cmst", "caps") or 0], "at", total - left, "of", total, "s"
)
