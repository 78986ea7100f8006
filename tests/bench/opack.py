"""OPACK in both directions, ours and the reference's side by side, on the same values.

python tests/bench/opack.py          the reference needs pyatv; without it, ours alone
"""

import pathlib
import sys

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.bench.decode import speeds
from tinyatv.wire import opack

MESSAGES = {
    "button": {"_i": "_hidC", "_t": 2, "_c": {"_hBtS": 1, "_hidC": 6}, "_x": 1001},
    "touch": {
        "_i": "_hidT", "_t": 1, "_x": 11553,
        "_c": {"_ns": 327543903, "_tFg": 1, "_cx": 1000, "_tPh": 5, "_cy": 640},
    },
    "introduction": {
        "_i": "_systemInfo", "_t": 2, "_x": 11540,
        "_c": {
            "_bf": 0, "_cf": 512, "_clFl": 128, "_i": "0123456789ab",
            "_idsID": "4D797FD3-3538-427E-A47B-A32FC6CF3A6A", "_pubID": "02:70:79:61:74:76",
            "_sf": 256, "_sv": "170.18", "model": "iPhone10,6", "name": "tinyatv",
        },
    },
    "60 apps": {
        "_c": {f"com.example.app{n}.TV": f"App number {n}" for n in range(60)},
        "_t": 3, "_x": 1002,
    },
    "artwork": {"_i": "NowPlayingInfo", "_t": 1, "_c": {"NowPlayingInfoKey": bytes(60_000)}},
}  # fmt: skip


def reference():
    """The reference's two functions, or None if it is not installed."""
    try:
        from pyatv.support import opack as theirs
    except ImportError:
        return None
    return theirs.pack, theirs.unpack


def measure():
    """Rows of (name of the input, our MB/s, the reference's or None)."""
    theirs, rows = reference(), []
    for way, mine in enumerate((opack.pack, opack.unpack)):
        for name, message in MESSAGES.items():
            data = opack.pack(message)
            functions = [mine, theirs[way]] if theirs else [mine]
            given = data if way else message
            calls = [lambda data, call=call, given=given: call(given) for call in functions]
            found = speeds(calls, data)
            rows.append((f"{('pack', 'unpack')[way]}, {name}", *found, *[None][len(found) - 1 :]))
    return rows


def main():
    for name, ours, theirs in measure():
        line = f"{name:24} {ours:7.1f} MB/s"
        if theirs:
            line += f"   reference {theirs:7.1f} MB/s   {ours / theirs:5.1f} times"
        print(line)


if __name__ == "__main__":
    main()
