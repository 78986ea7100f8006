"""The wire modules run on MicroPython, with the same results.

Needs Node and the npm package ``@micropython/micropython-webassembly-pyscript`` (1.27.0);
``TINYATV_MICROPYTHON`` names the directory it is installed in::

    npm install --prefix DIRECTORY @micropython/micropython-webassembly-pyscript@1.27.0
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.support.vectors import cases

ROOT = pathlib.Path(__file__).parents[2]
RUNNER = pathlib.Path(__file__).with_name("micropython.mjs")
EXAMPLE = ROOT / "examples" / "micropython_dmap.py"
PACKAGE = "node_modules/@micropython/micropython-webassembly-pyscript"
VERSION = "1.27.0"


def missing():
    """What keeps MicroPython from running here, or None."""
    directory = os.environ.get("TINYATV_MICROPYTHON")
    if not shutil.which("node"):
        return "node is not installed"
    if not directory:
        return "TINYATV_MICROPYTHON does not name a directory with node_modules"
    package = pathlib.Path(directory) / PACKAGE / "package.json"
    if not package.exists():
        return f"no {PACKAGE} in {directory}"
    found = json.loads(package.read_text("utf-8"))["version"]
    if found != VERSION:
        return f"MicroPython {found} is installed, {VERSION} is needed"
    return None


@pytest.fixture(scope="module")
def run():
    """The runner, finished; its output is text."""
    reason = missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)  # a skip would go unnoticed there
    if reason:
        pytest.skip(reason)
    return subprocess.run(
        ["node", str(RUNNER), os.environ["TINYATV_MICROPYTHON"]],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


SHEETS = {  # sheet: groups that concern this layer, and cases of the runner's own
    "airplay": (("control_frames", "event_channel"), 1),
    "companion": (
        ("opack_encode", "opack_decode", "opack_malformed", "frames", "messages", "sealed_frames"),
        1,
    ),
    "dmap": (("decode", "decode_damaged", "encode"), 3),
    "mrp": (("varint", "messages", "framing", "encryption", "hid", "touch"), 0),
    "pairing": (("tlv8",), 0),
    "raop": (("alac", "audio_packets", "sync_packets", "retransmit", "sdp"), 0),
}


@pytest.mark.parametrize("sheet", SHEETS)
def test_vectors(run, sheet):
    assert run.returncode == 0, run.stdout + run.stderr
    names, own = SHEETS[sheet]
    count = sum(len(cases(sheet, name)) for name in names) + own
    assert f"OK {sheet} {count} cases" in run.stdout.splitlines()


def test_every_module_is_imported(run):
    assert run.returncode == 0, run.stdout + run.stderr
    modules = {path.stem for path in (ROOT / "tinyatv/wire").glob("*.py")}
    imported = next(
        line.split()[1:] for line in run.stdout.splitlines() if line.startswith("imported ")
    )
    assert set(imported) == modules - {"__init__", "archive", "datastream", "plist"}


def test_example_prints_the_same(run):
    here = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    ).stdout
    assert here.splitlines()[0].split() == ["title:", "Call", "On", "Me"]
    assert here in run.stdout
