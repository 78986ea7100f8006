"""DMAP decoding, ours and the reference's side by side, on the same bytes in the same run.

    python tests/bench/decode.py          the reference needs pyatv; without it, ours alone

The reference calls itself for each sibling, so a large listing is beyond its recursion limit: the
two are compared on a shorter listing, and ours is reported on 1 MB as well.
"""

import logging
import pathlib
import sys
import time

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tinyatv.wire import dmap

# Music playing, answered by a real device.
PLAY_STATUS = bytes.fromhex(
    "636d7374000000db6d73747400000004000000c8636d7372000000040000009f6361707300000001"
    "046361736800000001006361727000000001006361667300000001006361767300000001006361766300000001"
    "006361617300000004000000016361617200000004000000016361666500000001006361766500000001"
    "0063616e6e0000000a43616c6c204f6e204d6563616e6100000007537461726c657963616e6c00000007"
    "52656d6978657363617363000000010163616b73000000010663616e7400000004000343f5636173740000"
    "000400036330636173750000000100"
)

ARTISTS = ["Starley", "Björk", "The Chemical Brothers", "宇多田ヒカル", "Queen", "Boards of Canada"]
ALBUMS = ["Remixes", "Vespertine", "Greatest Hits", "A Night at the Opera (Deluxe Edition)"]


def song(number):
    """One entry of a listing, with what a remote asks for."""
    return (
        "mlit",
        [
            ("miid", number + 1),
            ("minm", f"{number % 14 + 1:02} Song with a Usual Title {number}"),
            ("asal", ALBUMS[number // 14 % len(ALBUMS)]),
            ("asar", ARTISTS[number // 56 % len(ARTISTS)]),
            ("astm", 150_000 + number * 7919 % 200_000),
        ],
    )


def listing(size):
    """Songs of a library: ``adbs{ ... mlcl{ mlit{ ... }* } }`` of about that many bytes."""
    count = size * 50 // len(dmap.encode([song(n) for n in range(50)]))
    return dmap.encode(
        [
            (
                "adbs",
                [
                    ("mstt", 200),
                    ("mtco", count),
                    ("mrco", count),
                    ("mlcl", [song(n) for n in range(count)]),
                ],
            )
        ]
    )


INPUTS = {  # name: (bytes, can the reference take it)
    "play status": (PLAY_STATUS, True),
    "listing, 50 KB": (listing(50_000), True),
    "listing, 1 MB": (listing(1_000_000), False),
}


def reference():
    """The reference's decoder as a function of the bytes, or None if it is not installed."""
    try:
        from pyatv.protocols.dmap import parser, tag_definitions
    except ImportError:
        return None

    def decode(data):
        # It does not know adbs and would skip the whole listing, so it starts inside.
        body = data[8:] if data[:4] == b"adbs" else data
        return parser.parse(body, tag_definitions.lookup_tag)

    return decode


def speeds(decoders, data, rounds=15):
    """MB/s of each decoder, best of the rounds; they take turns, so that noise hits all."""
    repeat = max(1, 100_000 // len(data))
    best = [float("inf")] * len(decoders)
    for _ in range(rounds):
        for number, decode in enumerate(decoders):
            start = time.perf_counter()
            for _ in range(repeat):
                decode(data)
            best[number] = min(best[number], time.perf_counter() - start)
    return [len(data) * repeat / seconds / 1e6 for seconds in best]


def measure():
    """Rows of (name of the input, our MB/s, the reference's or None)."""
    logging.disable(logging.CRITICAL)
    theirs = reference()
    rows = []
    for name, (data, fits) in INPUTS.items():
        decoders = [dmap.decode] + ([theirs] if theirs and fits else [])
        rows.append((name, *speeds(decoders, data), *([None] if len(decoders) == 1 else [])))
    logging.disable(logging.NOTSET)
    return rows


def main():
    for name, ours, theirs in measure():
        line = f"{name:16} {ours:6.1f} MB/s"
        if theirs:
            line += f"   reference {theirs:6.1f} MB/s   {ours / theirs:4.1f} times"
        print(line)


if __name__ == "__main__":
    main()
