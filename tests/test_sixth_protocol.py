"""A new protocol is one row at each end, a device generation one more; no edit elsewhere."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import tinyatv

PACKAGE = pathlib.Path(tinyatv.__file__).parent
ROWS = {  # file: the line behind which the row goes, and the row
    "routes.py": (
        "_ROWS = (\n",
        '    ProtocolRow("toy", ("_toy._tcp.local.",), "tests.support.toy:ToyBackend",'
        ' "tests.support.toy", serves=("play",)),\n',
    ),
    "virtual/profiles.py": (
        "SIDES = {\n",
        '    "toy": SideClass("tests.support.toy", "VirtualToy", "Toy", own_pairing=True),\n',
    ),
}
PROFILE = (
    "PROFILES = {\n",
    '    "toybox": Profile(("toy",), "AppleTV9,9", "J999AP", "99.0", "99A1", carried=()),\n',
)
USE = """
import os, tinyatv
from tinyatv.virtual import VirtualAppleTV

def protocols(device):
    return [service.protocol for service in device.services]

with VirtualAppleTV("Toy Box", profile="toybox", mdns_port=0, credentials=()) as tv:
    where = f"127.0.0.1:{tv.ports['mdns']}"
    (found,) = tinyatv.scan(3, hosts=[where])
    assert (found.name, protocols(found)) == ("Toy Box", ["toy"]), found
    (found,) = tinyatv.scan(3, hosts=[where], protocols="toy")
    try:
        tinyatv.pair(found, pin="4321")
    except tinyatv.PairingError as exc:
        assert "wrong PIN" in str(exc)
    else:
        raise AssertionError("any PIN will do")
    paired = tinyatv.pair(found, pin="1234")
    assert {paired.service("toy").credentials} == tv.toy.accepted
    with tinyatv.connect("Toy Box", protocols=["toy"]) as atv:
        assert atv.protocols == ("toy",)
        features = atv.features()
        assert features["play"] is tinyatv.FeatureState.Available
        assert features["pause"] is tinyatv.FeatureState.Unsupported
        atv.play()
        assert tv.log == ["play"], tv.log
        try:
            atv.pause()
        except tinyatv.NotSupported as exc:
            assert "connected: toy" in str(exc)
        else:
            raise AssertionError("pause is not served")
    tv.toy.accepted.clear()
    try:
        tinyatv.connect("Toy Box")
    except tinyatv.CredentialsError:
        pass
    else:
        raise AssertionError("it should be forgotten")

with VirtualAppleTV(profile="tvos14") as tv, tinyatv.connect(tv.device) as atv:
    atv.play()  # the others are as they were
    assert atv.protocols == ("mrp", "companion")
print("all of it")
"""


def test_a_sixth_protocol(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "tinyatv", ignore=shutil.ignore_patterns("__pycache__"))
    rows = [*ROWS.items(), ("virtual/profiles.py", PROFILE)]
    for name, (line, row) in rows:
        file = tmp_path / "tinyatv" / name
        source = file.read_text("utf-8")
        assert source.count(f"\n{line}") == 1
        file.write_text(source.replace(f"\n{line}", f"\n{line}{row}"), "utf-8")
    path = os.pathsep.join([str(tmp_path), str(pathlib.Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("all of it\n", "")
