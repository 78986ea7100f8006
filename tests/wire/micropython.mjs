// Runs tinyatv/wire on MicroPython: node micropython.mjs <directory with node_modules>
//
// Mounts the package as "wire", the way it is copied to a board, imports every module, runs the
// vectors and the example, and prints what the example printed and, for each sheet of vectors,
// "OK <sheet> <count> cases". Exits with 1 if anything fails.

import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

// There is no plistlib on a board, and the payloads of the data stream are property lists.
const NOT_FOR_BOARDS = ["archive.py", "datastream.py", "plist.py"];

const CHECK = String.raw`
import json
import sys
from binascii import hexlify, unhexlify
from hashlib import sha256

for name in json.loads(MODULES):
    try:
        __import__("wire." + name)
    except Exception as error:
        sys.print_exception(error)
        raise RuntimeError("wire/" + name + ".py does not import")

from wire import alac, companion, dmap, hap, hid, http, mrp, opack, rtp, sdp, tlv8, varint


def value(item):
    if isinstance(item, list):
        return [(code, value(inner)) for code, inner in item]
    if isinstance(item, dict):
        if "hex" in item:
            return unhexlify(item["hex"])
        return int(item["int_hex"], 16)
    return item


def decode(case):
    data = unhexlify(case["data_hex"])
    expect = case["expect"]
    if case["name"] == "V14":  # a property list stays bytes here
        expect["tree"] = [["ceSD", {"hex": case["data_hex"][16:]}]]
    tree = dmap.decode(data)
    # repr() too, since True == 1
    assert tree == value(expect["tree"]) and repr(tree) == repr(value(expect["tree"])), tree
    if case["roundtrip"]:
        assert dmap.encode(tree) == data, dmap.encode(tree)
    if "first_at_path" in expect:
        found = dmap.first(tree, *expect["first_at_path"]["path"])
        assert found == expect["first_at_path"]["value"], found
    if case["name"] == "V13":
        for code, text in expect["versions"].items():
            assert dmap.version_text(dmap.first(tree, code)) == text
    assert len(dmap.dump(tree).split("\n")) >= len(tree)


def damaged(case):
    expect = case["expect"]
    try:
        tree = dmap.decode(unhexlify(case["data_hex"]))
    except dmap.TrailingBytes as error:
        assert expect["error"] == "trailing", error
        assert error.kept == value(expect["kept"]), error.kept
        assert error.trailing == unhexlify(expect["trailing_hex"]), error.trailing
    except ValueError as error:
        assert str(error).startswith(expect["error"]), error
    else:
        assert tree == value(expect["tree"]), tree


def encode(case):
    data = dmap.encode(value(case["tree"]))
    assert data == unhexlify(case["expect"]["data_hex"]), data


def number(case):
    expect = case["expect"]
    if "value" in case:
        data = unhexlify(expect["data_hex"])
        assert varint.encode(case["value"]) == data
        assert varint.decode(data) == (case["value"], len(data)), varint.decode(data)
    elif "need_more" in expect:
        assert varint.decode(unhexlify(case["data_hex"])) is None
    else:
        refused(varint.decode, unhexlify(case["data_hex"]))


def refused(call, *arguments):
    try:
        found = call(*arguments)
    except ValueError:
        return
    raise AssertionError("not refused: " + repr(found))


def plain(cipher=None):
    wire = mrp.MrpWire(bytes, bytes, lambda message: None)
    if cipher:
        wire.secure(cipher)
    return wire


def cut(wire, data, size):
    found = []
    for at in range(0, len(data), size):
        wire.feed(data[at : at + size])
        message = wire.next_message()
        while message is not None:
            found.append(message)
            message = wire.next_message()
    return found


def framing(case):
    data = unhexlify(case["stream_hex"])
    expect = case["expect"]
    for size in (1, 3, 1000):
        if "error" in expect:
            refused(cut, plain(), data, size)
        else:
            whole = [unhexlify(message) for message in expect["messages_hex"]]
            assert cut(plain(), data, size) == whole, cut(plain(), data, size)


def message(case):
    """There is no protobuf on a board: the frames are cut and made, not read."""
    data = unhexlify(case.get("frame_hex") or case["message_hex"])
    if "frame_hex" in case:
        [body] = cut(plain(), data, 7)
        assert plain().encode(body) == data
    else:
        assert cut(plain(), plain().encode(data), 7) == [data]


class Recorded:
    """A cipher that knows one message: the board brings its own."""

    def __init__(self, clear, sealed):
        self.clear = clear
        self.sealed = sealed

    def seal(self, data):
        assert data == self.clear
        return self.sealed

    def open(self, data):
        if data != self.sealed:
            raise ValueError("not for us")
        return self.clear


def sealed(case):
    expect = case["expect"]
    if "key_hex" not in case:
        return
    frame = unhexlify(case.get("frame_hex") or expect["frame_hex"])
    if "error" in expect:
        refused(cut, plain(Recorded(b"", b"another")), frame, 5)
        return
    clear = unhexlify(case.get("plain_hex") or expect["plain_hex"])
    cipher = Recorded(clear, frame[varint.decode(frame)[1] :])
    assert plain(cipher).encode(clear) == frame
    assert cut(plain(cipher), frame, 5) == [clear]


def button(case):
    page, usage = case["page"], case["usage"]
    assert hid.USAGE[case["name"]] == (page, usage)
    assert hid.BUTTON[page, usage] == case["name"]
    for name, down in (("down_hex", True), ("up_hex", False)):
        data = unhexlify(case["expect"][name])
        assert hid.event(page, usage, down) == data, hid.event(page, usage, down)
        assert hid.parse_event(data) == (page, usage, down), hid.parse_event(data)
        refused(hid.parse_event, data[:51])
    refused(hid.event, 65536, usage, True)
    refused(hid.event, page, -1, True)


def touch(case):
    numbers = tuple(case[name] for name in ("x", "y", "phase", "device", "finger"))
    data = unhexlify(case["expect"]["data_hex"])
    assert hid.touch(*numbers) == data, hid.touch(*numbers)
    assert hid.parse_touch(data) == numbers, hid.parse_touch(data)
    refused(hid.touch, 65536, 0, 1, 1)


def items(case):
    data = unhexlify(case["data_hex"])
    expect = case["expect"]
    if "error" in expect:
        refused(tlv8.decode, data)
        return
    records = [[(tag, value(item)) for tag, item in record] for record in expect.get("records", [])]
    found = tlv8.decode(data)
    if records:
        assert tlv8.records(found) == records, found
    else:
        assert found == [(tag, value(item)) for tag, item in expect["items"]], found
    if case["direction"] == "both":
        assert tlv8.encode(found) == data, tlv8.encode(found)


class Blocks:
    """A cipher that knows the blocks of one message."""

    def __init__(self, clear, data):
        self.blocks = []
        while data:
            size = data[0] + 256 * data[1]
            self.blocks.append((data[:2], clear[:size], data[2 : size + 18]))
            clear = clear[size:]
            data = data[size + 18 :]

    def seal(self, data, aad):
        length, clear, sealed = self.blocks.pop(0)
        assert (aad, data) == (length, clear), (aad, data)
        return sealed

    def open(self, data, aad):
        length, clear, sealed = self.blocks.pop(0)
        if (aad, data) != (length, sealed):
            raise ValueError("not for us")
        return clear


class Shape:
    """A cipher that hides nothing."""

    def seal(self, data, aad):
        return data + bytes(14) + aad

    def open(self, data, aad):
        assert data[-2:] == aad
        return data[:-16]


class Pieces:
    """An inner wire whose messages are the pieces it is fed."""

    has_replies = False

    def __init__(self):
        self.pieces = []
        self.feed = self.pieces.append

    def encode(self, message):
        return message

    def next_message(self):
        return self.pieces.pop(0) if self.pieces else None

    def unused(self):
        return b""


def blocks(clear, data, inner=None):
    wire = hap.HapWire(inner or Pieces())
    wire.secure(Blocks(clear, data))
    return wire


def control(case):
    expect = case["expect"]
    if "length" in expect:  # of many bytes, only some are told
        clear = unhexlify(case["plain_hex"])
        wire = hap.HapWire(Pieces())
        wire.secure(Shape())
        data = wire.encode(clear)
        assert len(data) == expect["length"], len(data)
        assert b"".join(cut(wire, data, 700)) == clear
        return
    data = unhexlify(case.get("frames_hex") or expect["frames_hex"])
    if "error" in expect:
        refused(cut, blocks(b"", bytes(2000)), data, 5)
    elif "need_more" in expect:
        assert cut(blocks(b"", data), data, 5) == []
    else:
        clear = unhexlify(case["plain_hex"])
        assert blocks(clear, data).encode(clear) == data
        for size in (1, 700, 5000):
            assert b"".join(cut(blocks(clear, data), data, size)) == clear


def event(case):
    data = unhexlify(case["expect"]["frames_hex"])
    if "plain_hex" in case:
        clear = unhexlify(case["plain_hex"])
    else:
        clear = "\r\n".join(case["head"] + ["", ""]).encode() + unhexlify(case["body_hex"])
    [message] = cut(blocks(clear, data, http.HttpWire()), data, 7)
    assert message.header("cseq") == "0" and message.protocol == "RTSP/1.0", message
    assert http.HttpWire().encode(message) == clear


def switch():
    """Three messages in one piece; what is sealed begins behind the first."""
    answers = [http.Response(code, headers=[("CSeq", str(code))]) for code in (200, 404, 470)]
    plain = http.HttpWire()
    data = plain.encode(answers[0])
    sealed = b""
    for answer in answers[1:]:
        clear = plain.encode(answer)
        sealed += len(clear).to_bytes(2, "little") + clear + bytes(16)
    wire = hap.HapWire(http.HttpWire())
    wire.feed(data + sealed)
    assert wire.next_message().code == 200
    wire.secure(Blocks(b"".join([plain.encode(answer) for answer in answers[1:]]), sealed))
    assert wire.next_message().code == 404
    assert wire.next_message().code == 470
    assert wire.next_message() is None


def tree(item):
    """A value of the Companion vectors."""
    if isinstance(item, list):
        return [tree(inner) for inner in item]
    if not isinstance(item, dict):
        return item
    if "dict" in item:
        return {tree(key): tree(inner) for key, inner in item["dict"]}
    if "uuid" in item:
        return opack.UUID(unhexlify(item["uuid"].replace("-", "")))
    if "date" in item:
        return opack.Date(int(item["date"][17:19]))
    return unhexlify(item["hex"]) if "hex" in item else int(item["int_hex"], 16)


def same(one, other):
    """Equal, with 1, 1.0 and True told apart; dictionaries have no order here."""
    if isinstance(one, dict):
        pairs = [(key, one[key]) for key in one]
        return len(one) == len(other) and all([same(item, other[key]) for key, item in pairs])
    if isinstance(one, list):
        return len(one) == len(other) and all([same(*pair) for pair in zip(one, other)])
    kinds = [int if isinstance(item, opack.Sized) else type(item) for item in (one, other)]
    return kinds[0] == kinds[1] and one == other


def ordered(item):
    """True if there is one order only."""
    if isinstance(item, dict):
        return len(item) < 2 and all([ordered(item[key]) for key in item])
    return all([ordered(inner) for inner in item]) if isinstance(item, list) else True


def packed(case):
    wanted = tree(case["value"])
    data = unhexlify(case["expect"]["data_hex"])
    made = opack.pack(wanted)
    assert made == data if ordered(wanted) else len(made) == len(data), made
    for text in (case["expect"]["data_hex"], case.get("peer_hex"), case.get("references_hex")):
        if text:
            found, rest = opack.unpack(unhexlify(text))
            assert same(found, wanted) and rest == b"", found
            again, _ = opack.unpack(opack.pack(found))
            assert same(again, wanted), again
            if ordered(wanted) and text == case.get("peer_hex"):
                assert opack.pack(found) == unhexlify(text)  # as wide as it was


def unpacked(case):
    found, rest = opack.unpack(unhexlify(case["data_hex"]))
    assert same(found, tree(case["expect"]["value"])), found
    assert rest == unhexlify(case["expect"].get("left_hex", "")), rest


def malformed(case):
    refused(opack.unpack, unhexlify(case["data_hex"]))


def frame(case):
    data = unhexlify(case["frame_hex"])
    expect = case["expect"]
    frames = [] if "need_more" in expect else expect.get("frames")
    if frames is None:
        frames = [[data[:1].hex(), expect["payload_hex"]]]
    wanted = [(int(kind, 16), unhexlify(payload)) for kind, payload in frames]
    wanted = [(kind, opack.unpack(payload)[0]) for kind, payload in wanted if 3 <= kind <= 6]
    for size in (1, 5, 1000):
        found = cut(companion.CompanionWire(), data, size)
        assert len(found) == len(wanted), found
        for (kind, message), (number, content) in zip(found, wanted):
            assert kind == number and same(message, content), message


class RecordedFrame:
    """A cipher that knows one frame."""

    def __init__(self, clear, data):
        self.clear = clear
        self.header = data[:4]
        self.sealed = data[4:]

    def seal(self, data, aad):
        assert aad == self.header and len(data) == len(self.clear), (aad, data)
        return self.sealed

    def open(self, data, aad):
        if (data, aad) != (self.sealed, self.header):
            raise ValueError("not for us")
        return self.clear


def sealed_frame(case):
    expect = case["expect"]
    data = unhexlify(case.get("frame_hex") or expect["frame_hex"])
    wire = companion.CompanionWire()
    if "error" in expect:
        wire.secure(RecordedFrame(b"", bytes(len(data))))
        refused(cut, wire, data, 5)
        return
    clear = unhexlify(case.get("plain_hex", ""))
    if "value" in case:
        clear = clear or opack.pack(tree(case["value"]))
    message = (case.get("frame_type", 8), opack.unpack(clear)[0] if clear else None)
    wire.secure(RecordedFrame(clear, data))
    assert wire.encode(message) == data
    found = cut(wire, data, 5)
    assert [kind for kind, _ in found] == ([8] if clear else []), found
    assert not clear or same(found[0][1], message[1]), found


def deep():
    """Nothing that arrives uses up the stack of a board."""
    refused(opack.unpack, b"\xd1" * 5000)
    value = None
    for _ in range(opack.DEPTH):
        value = [value]
    assert opack.unpack(opack.pack(value))[0] == value
    refused(opack.pack, [value])


def pcm(case):
    if "pcm_hex" in case:
        return unhexlify(case["pcm_hex"])
    pairs = [(0, 0) if case["generate"] == "zero" else (at, -at) for at in range(case["frames"])]
    return b"".join([(n & 0xFFFF).to_bytes(2, "big") for pair in pairs for n in pair])


def fits(data, expect):
    for key, found in (
        ("data_hex", hexlify(data).decode()),
        ("packet_hex", hexlify(data).decode()),
        ("length", len(data)),
        ("sha256_hex", hexlify(sha256(data).digest()).decode()),
    ):
        assert expect.get(key, found) == found, (key, found)
    assert hexlify(data).decode().startswith(expect.get("starts_hex", ""))
    assert hexlify(data).decode().endswith(expect.get("ends_hex", ""))


def lossless(case):
    samples = pcm(case)
    data = alac.pack(samples, case["partial"])
    fits(data, case["expect"])
    assert alac.unpack(data, len(samples) // 4) == samples


def audio(case):
    payload = pcm(case) if "generate" in case else b""
    fields = [case[name] for name in ("sequence", "timestamp", "ssrc")]
    data = rtp.Audio(*fields, payload, case["marker"]).encode()
    fits(data, case["expect"])
    assert hexlify(data[:12]).decode() == case["expect"].get("header_hex", hexlify(data[:12]).decode())
    assert rtp.decode(data).payload == payload


def sync(case):
    if "error" in case["expect"]:
        return refused(rtp.decode, unhexlify(case["packet_hex"]))
    heard, time = case["now"] - case["latency"], int(case["ntp_hex"], 16)
    data = rtp.Sync(heard, time, case["now"], case["first"]).encode()
    fits(data, case["expect"])
    found = rtp.decode(data)
    assert (found.heard, found.time, found.next, found.first) == (
        heard, time, case["now"], case["first"])


def again(case):
    if "original_hex" in case:
        packet = unhexlify(case["original_hex"])
        fits(rtp.resent(packet), case["expect"])
        assert rtp.decode(rtp.resent(packet)).encode() == packet
        return
    data = unhexlify(case.get("packet_hex") or case["expect"]["packet_hex"])
    if "error" in case["expect"]:
        return refused(rtp.decode, data)
    found = rtp.decode(data)
    assert list(found.sequences()) == case["expect"]["sequences"]
    assert found.encode() == data


def described(case):
    codec = {"alac": "AppleLossless", "l16": "L16/44100/2"}[case["codec"]]
    data = sdp.encode(case["session"], case["local"], case["remote"], codec, case["codec"] == "alac")
    assert data.decode().split("\r\n") == case["expect"]["lines"] + [""], data
    assert sdp.decode(data).codec == codec and sdp.decode(data).frames == 352


CHECKS = {
    "airplay": {"control_frames": control, "event_channel": event},
    "companion": {
        "opack_encode": packed,
        "opack_decode": unpacked,
        "opack_malformed": malformed,
        "frames": frame,
        "messages": unpacked,
        "sealed_frames": sealed_frame,
    },
    "dmap": {"decode": decode, "decode_damaged": damaged, "encode": encode},
    "mrp": {
        "varint": number,
        "messages": message,
        "framing": framing,
        "encryption": sealed,
        "hid": button,
        "touch": touch,
    },
    "pairing": {"tlv8": items},
    "raop": {
        "alac": lossless,
        "audio_packets": audio,
        "sync_packets": sync,
        "retransmit": again,
        "sdp": described,
    },
}

counts = {}
failed = 0
for sheet, checks in CHECKS.items():
    counts[sheet] = 0
    for group in json.loads(VECTORS[sheet])["groups"]:
        if group["name"] in checks:
            for case in group["cases"]:
                counts[sheet] += 1
                try:
                    checks[group["name"]](case)
                except Exception as error:
                    failed += 1
                    print("FAILED", sheet, group["name"], case["name"])
                    sys.print_exception(error)

# What there is no vector for and MicroPython does its own way: bool is no int, to_bytes() does
# not know signs, numbers beyond 30 bits are another type inside.
for code, number, data in (
    ("cavc", True, "6361766300000001" "01"),
    ("msto", -18000, "6d73746f00000004" "ffffb9b0"),
    ("asai", (1 << 64) - 1, "6173616900000008" "ffffffffffffffff"),
):
    counts["dmap"] += 1
    if dmap.encode([(code, number)]) != unhexlify(data) or dmap.decode(unhexlify(data)) != [
        (code, number)
    ]:
        failed += 1
        print("FAILED", code, number)

counts["airplay"] += 1
switch()
counts["companion"] += 1
deep()

if failed:
    raise RuntimeError(str(failed) + " cases failed")
for sheet in sorted(counts):
    print("OK", sheet, counts[sheet], "cases")
`;

if (process.argv.length !== 3) {
  console.error("usage: node micropython.mjs <directory with node_modules>");
  process.exit(2);
}
const root = fileURLToPath(new URL("../..", import.meta.url));
const main = join(
  resolve(process.argv[2]),
  "node_modules/@micropython/micropython-webassembly-pyscript/micropython.mjs",
);
const { loadMicroPython } = await import(pathToFileURL(main));

const read = (...path) => readFileSync(join(root, ...path), "utf8");
const python = await loadMicroPython({ stdout: (line) => console.log(line), linebuffer: true });

const files = readdirSync(join(root, "tinyatv/wire"))
  .filter((name) => name.endsWith(".py") && !NOT_FOR_BOARDS.includes(name))
  .sort();
python.FS.mkdir("/board");
python.FS.mkdir("/board/wire");
for (const name of files) {
  python.FS.writeFile(`/board/wire/${name}`, read("tinyatv/wire", name));
}
const modules = files.map((name) => name.slice(0, -3)).filter((name) => name !== "__init__");

try {
  python.runPython("import sys; sys.path.append('/board'); print(sys.version)");
  python.runPython(read("examples/micropython_dmap.py"));
  python.globals.set("MODULES", JSON.stringify(modules));
  python.runPython("VECTORS = {}");
  for (const sheet of ["airplay", "companion", "dmap", "mrp", "pairing", "raop"]) {
    python.globals.set("SHEET", read("tests/vectors", `${sheet}.json`));
    python.runPython(`VECTORS["${sheet}"] = SHEET`);
  }
  python.runPython(CHECK);
  console.log(`imported ${modules.join(" ")}`);
} catch (error) {
  console.error(String(error.message ?? error));
  process.exit(1);
}
