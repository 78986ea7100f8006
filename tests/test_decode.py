"""`tinyatv decode`: every format, and what hostile hands make of them."""

from __future__ import annotations

import io
import json
import plistlib
import random
import struct
import sys
import types

import pytest

import tinyatv
from tests.support.mutations import mutate
from tests.support.vectors import cases
from tinyatv import decode, proto
from tinyatv.cli.program import main
from tinyatv.virtual import VirtualAppleTV
from tinyatv.wire import dmap, opack, plist, tlv8


def shown(capsys, *args) -> str:
    assert main(["decode", *map(str, args)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def shown_json(capsys, *args) -> list[dict]:
    return [json.loads(line) for line in shown(capsys, *args, "--json").splitlines()]


def stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))


# -- formats ---------------------------------------------------------------------------------------

# Origin: the project's vectors; DMAP, MRP, HAP and Companion were checked against other programs
# there, which the sheets say. What is shown of them is worked by hand.
DMAP = next(c for c in cases("dmap", "play_status"))["data_hex"]
MRP = next(c for c in cases("mrp", "messages") if "frame_hex" in c)
COMPANION = "03000013e2435f706476000100060101455f7077547909"  # M1 of pair-setup
PING = "e4425f69455f70696e67425f740a425f63e0425f7809"  # {"_i": "_ping", "_t": 2, "_c": {}, "_x": 1}
REFUSED = "060104070102"  # state M4, error 2
PLIST = plist.dumps({"a": [1, True, b"\x01\x02"], "b": {"c": 0.5}}).hex()
HTTP = b"POST /pair-setup HTTP/1.1\r\nX-Apple-HKP: 3\r\nContent-Length: 6\r\n\r\n" + bytes.fromhex(
    "000100060101"
)

EXAMPLES = {
    # format: (hex, what is shown)
    "dmap": (DMAP, ["dmap:", "cmst [dmcp.playstatus]:", "mstt [dmap.status]: 200"]),
    "mrp": (MRP["frame_hex"], ["mrp:", "name: "]),
    "companion": (COMPANION, ["companion:", "name: PairSetupStart", "State: M1", "_pwTy: 1"]),
    "opack": (PING, ["opack:", "_i: _ping", "_t: 2", "_c: {}", "_x: 1"]),
    "hap": (REFUSED, ["hap:", "State: M4", "Error: 2 (authentication)"]),
    "plist": (PLIST, ["plist:", "a:", "- true", "- 0x0102", "c: 0.5"]),
    "http": (HTTP.hex(), ["http:", "name: POST /pair-setup", "X-Apple-HKP: 3", "State: M1"]),
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_format(capsys, monkeypatch, tmp_path, kind):
    text, wanted = EXAMPLES[kind]
    out = shown(capsys, text)  # recognized by itself
    rest = iter(out.splitlines())
    assert [one for one in wanted if not any(one in line for line in rest)] == []
    assert shown(capsys, "--as", kind, text) == out
    (tmp_path / "file").write_bytes(bytes.fromhex(text))
    assert shown(capsys, tmp_path / "file") == out
    (tmp_path / "file").write_text(" ".join(text[at : at + 2] for at in range(0, len(text), 2)))
    assert shown(capsys, tmp_path / "file") == out
    for data in (bytes.fromhex(text), f"0x{text}\n".encode()):
        stdin(monkeypatch, data)
        assert shown(capsys) == out
        stdin(monkeypatch, data)
        assert shown(capsys, "-") == out
    (line,) = shown_json(capsys, text)
    assert (line["result"], line["format"]) == ("success", kind)
    assert line["content"] == decode.decode(bytes.fromhex(text), kind)[1]


def test_tlv8(capsys):
    assert shown(capsys, "--as", "tlv8", REFUSED) == "tlv8:\n  6: 0x04\n  7: 0x02\n"
    (line,) = shown_json(capsys, "--as", "tlv8", REFUSED)
    assert line["content"] == [[6, "0x04"], [7, "0x02"]]


@pytest.mark.parametrize("one", cases("companion", "messages"), ids=lambda one: one["name"])
def test_companion_messages(one):
    kind, value = decode.decode(bytes.fromhex(one["data_hex"]))
    assert kind == "opack"
    assert isinstance(value, dict)


@pytest.mark.parametrize(
    "one", [c for c in cases("mrp", "messages") if "frame_hex" in c], ids=lambda one: one["name"]
)
def test_mrp_messages(one):
    data = bytes.fromhex(one["frame_hex"])
    kind, (first, *_) = decode.decode(data, "mrp")
    assert kind == "mrp"
    message = proto.parse(next(decode._frames(data)))
    assert first["name"] == (proto.NAMES[message.kind] if message.kind else "DONE")


def test_mrp_shows_words(capsys):
    data = b"".join(
        bytes([len(one)]) + one
        for one in map(
            proto.dumps,
            [
                proto.build(proto.SEND_COMMAND, "A", command=1),
                proto.build(proto.SEND_HID_EVENT, hidEventData=tinyatv_event("menu", True)),
            ],
        )
    )
    out = shown(capsys, data.hex())
    assert "command: 1 (play)" in out
    assert "button: menu" in out
    assert "moves: down" in out
    assert shown(capsys, data[1:][: data[0]].hex()).startswith("mrp:\n")  # without its length


def tinyatv_event(button, down):
    from tinyatv.wire import hid

    return hid.event(*hid.USAGE[button], down)


# -- traces ----------------------------------------------------------------------------------------


def test_trace(capsys, monkeypatch, tmp_path):
    path = tmp_path / "session.jsonl"
    with VirtualAppleTV() as tv, tinyatv.Trace(path), tinyatv.connect(tv.device) as atv:
        atv.up()
        atv.playing()
    out = shown(capsys, path)
    assert " dmap 1 > GET /login?pairing-guid=(hidden)&hasFP=1\n" in out
    assert "cann [dacp.nowplayingname]: Harbour Lights\n" in out
    assert "cmbe" in out
    stdin(monkeypatch, path.read_bytes())
    assert shown(capsys) == out
    seen = shown_json(capsys, path)
    assert len(seen) == path.read_text().count("\n") - 1
    assert {line["protocol"] for line in seen} == {"dmap"}
    assert [line["message"] for line in seen if line.get("name", "").startswith("GET /login")]


def test_damaged_trace(capsys, tmp_path):
    path = tmp_path / "session.jsonl"
    path.write_text('{"trace": 1}\n{"time": 1}\n{}\n')
    assert main(["decode", str(path)]) == 2
    assert capsys.readouterr().err == (
        "tinyatv: line 2 of the trace is damaged: protocol is missing, or wrong\n"
    )
    assert main(["decode", "--as", "trace", PING]) == 2
    capsys.readouterr()


# -- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["zz"], "zz: no such file, and not hex digits (not hex)"),
        (["\x1b[2Jz"], "\\x1b[2Jz: no such file"),
        (["123"], "123: no such file, and not hex digits (an odd number of hex digits)"),
        (["ff" * 20], "20 bytes that are nothing known: 0xffff"),
        (["--as", "opack", "00"], "not opack: "),
        (["--as", "dmap", "636d7374000000ff00"], "not dmap: truncated: 'cmst'"),
        (["--as", "mrp", "ffff"], "not mrp: "),
        (["--as", "plist", PING], "not plist: "),
        (["--as", "hap", "0605"], "not hap: TLV8 ends inside an item"),
        (["--as", "http", "474554"], "not http: "),
        (["--as", "companion", COMPANION[:-2]], "not companion: no frame of Companion"),
        (["--as", "soap", "00"], "invalid choice: 'soap'"),
        ([""], "nothing to decode"),
        (["/"], "Is a directory"),
        (["/dev/zero"], "over 67108864 bytes"),
    ],
)
def test_nonsense(capsys, args, words):
    assert main(["decode", *args]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert len(err) < 400
    assert "\x1b" not in err


def test_nothing_on_standard_input(capsys, monkeypatch):
    stdin(monkeypatch, b"")
    assert main(["decode"]) == 2
    assert capsys.readouterr().err == "tinyatv: nothing to decode\n"


def nested_plist() -> bytes:
    """Arrays whose both entries are the next one: 30 objects, a thousand million values."""
    objects = [bytes([0xA2, at + 1, at + 1]) for at in range(30)] + [b"\x10\x01"]
    data = b"bplist00"
    table = b""
    for one in objects:
        table += struct.pack(">H", len(data))
        data += one
    trailer = struct.pack(">6xBBQQQ", 2, 1, len(objects), 0, len(data))
    return data + table + trailer


def endless_plist() -> bytes:
    """An array that is its own entry."""
    return b"bplist00" + b"\xa1\x00" + b"\x08" + struct.pack(">6xBBQQQ", 1, 1, 1, 0, 10)


BOMBS = {
    "shared": ("plist", nested_plist()),
    "endless": ("plist", endless_plist()),
    "deep opack": ("opack", b"\xd1" * (opack.DEPTH - 1) + b"\x01"),
    "wide opack": ("opack", b"\xdf" + b"\x01" * 200000 + b"\x03"),
    "long number": ("dmap", dmap.encode([("mstt", b"\xff" * 5000)])),
    "long text": ("dmap", dmap.encode([("cann", "x" * 500000)])),
    "many items": ("dmap", dmap.encode([("mstt", 1)] * 50000)),
    "many tags": ("tlv8", tlv8.encode([(n % 250, b"x") for n in range(1000)])),
    "infinite": ("opack", opack.pack({"a": float("inf"), "b": float("nan")})),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_shown_is_bounded(capsys, tmp_path, name):
    kind, data = BOMBS[name]
    path = tmp_path / "bomb"
    path.write_bytes(data)
    for out in (shown(capsys, "--as", kind, path), shown(capsys, "--as", kind, path, "--json")):
        assert len(out) < 3_000_000
        assert "Infinity" not in out
        assert "NaN" not in out


def test_nothing_that_a_terminal_obeys(capsys):
    evil = "\x1b]0;owned\x07\x9b31m\u202e\x00"
    message = opack.pack({evil: [evil], "_i": evil})
    frame = b"\x08" + len(message).to_bytes(3, "big") + message
    track = dmap.encode([("cann", evil)])
    playing = proto.dumps(proto.build(proto.TEXT_INPUT, evil[:-1], text=evil))
    property_list = plistlib.dumps({"a": evil[3:4], "b": ["\x85"]}, fmt=plistlib.FMT_BINARY)
    for data in (message, frame, track, playing, property_list):
        out = shown(capsys, data.hex())
        assert all(char.isprintable() or char == "\n" for char in out), out


@pytest.mark.parametrize("kind", EXAMPLES)
def test_damage(capsys, share, kind):
    """However it is damaged, it is shown, or there is one line about it."""
    rng = random.Random(f"decode {kind}")
    seeds = [bytes.fromhex(text) for text, _ in EXAMPLES.values()]
    seed = bytes.fromhex(EXAMPLES[kind][0])
    good = 0
    for _ in range(share(6000)):
        data = mutate(rng, seed, rng.choice(seeds))
        for how in (kind, "auto"):
            code = main(["decode", "--as", how, data.hex()])
            out, err = capsys.readouterr()
            assert code in (0, 2)
            good += code == 0
            assert (err.count("\n"), bool(out)) == ((0, True) if code == 0 else (1, False))
            assert "Traceback" not in err + out
            assert "bug" not in err
    assert good
