// Runs tinyatv/wire on MicroPython: node micropython.mjs <directory with node_modules>
//
// Mounts the package as "wire", the way it is copied to a board, imports every module, runs the
// DMAP vectors and the example, and prints what the example printed and "OK <count> cases".
// Exits with 1 if anything fails.

import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

// Its payloads are property lists, and there is no plistlib on a board.
const NOT_FOR_BOARDS = ["datastream.py"];

const CHECK = String.raw`
import json
import sys
from binascii import unhexlify

for name in json.loads(MODULES):
    try:
        __import__("wire." + name)
    except Exception as error:
        sys.print_exception(error)
        raise RuntimeError("wire/" + name + ".py does not import")

from wire import dmap


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


CHECKS = {"decode": decode, "decode_damaged": damaged, "encode": encode}

count = 0
failed = 0
for group in json.loads(VECTORS)["groups"]:
    if group["name"] in CHECKS:
        for case in group["cases"]:
            count += 1
            try:
                CHECKS[group["name"]](case)
            except Exception as error:
                failed += 1
                print("FAILED", group["name"], case["name"])
                sys.print_exception(error)

# What there is no vector for and MicroPython does its own way: bool is no int, to_bytes() does
# not know signs, numbers beyond 30 bits are another type inside.
for code, number, data in (
    ("cavc", True, "6361766300000001" "01"),
    ("msto", -18000, "6d73746f00000004" "ffffb9b0"),
    ("asai", (1 << 64) - 1, "6173616900000008" "ffffffffffffffff"),
):
    count += 1
    if dmap.encode([(code, number)]) != unhexlify(data) or dmap.decode(unhexlify(data)) != [
        (code, number)
    ]:
        failed += 1
        print("FAILED", code, number)

if failed:
    raise RuntimeError(str(failed) + " cases failed")
print("OK", count, "cases")
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
  python.globals.set("VECTORS", read("tests/vectors/dmap.json"));
  python.runPython(CHECK);
  console.log(`imported ${modules.join(" ")}`);
} catch (error) {
  console.error(String(error.message ?? error));
  process.exit(1);
}
