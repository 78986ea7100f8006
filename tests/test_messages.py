"""What people read when something does not work: what was lost and why, and what to do next."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys

import pytest

import tinyatv
from tests.support.program import free_port, run, run_json
from tinyatv import Store
from tinyatv.model import PROTOCOLS
from tinyatv.virtual import VirtualAppleTV

NEXT = "pair first, with `tinyatv wizard` or tinyatv.pair(...)"
PROFILES = ["atv3", "tvos14", "tvos18", "airplay1", "homepod"]


@pytest.fixture(params=PROFILES)
def profile(request):
    return request.param


def found_by(monkeypatch, tv):
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")


# -- not paired ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["atv3", "tvos15", "tvos18"], indirect=True)
def test_not_paired(own_store, monkeypatch, capsys, profile):
    with VirtualAppleTV("Den", profile=profile, mdns_port=0, credentials=()) as tv:
        found_by(monkeypatch, tv)
        code, out, err = run(capsys, "-n", "Den", "pause")
        assert (code, out) == (6, "")
        assert err.endswith(f": {NEXT}\n")
        assert err.count("\n") == 1
        with pytest.raises(tinyatv.CredentialsError) as refused:
            tinyatv.connect("Den")
        assert str(refused.value).endswith(NEXT)


# -- nobody there ----------------------------------------------------------------------------------


def test_connection_refused_at_a_stored_address(own_store, monkeypatch, capsys, profile):
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    with VirtualAppleTV("Den", profile=profile) as tv:
        Store().save(tv.device)
    code, out, err = run(capsys, "-t", "0.1", "pause")
    assert (code, out) == (4, "")
    assert err.endswith(": Connection refused; `tinyatv doctor` finds out why\n")
    code, (line,) = run_json(capsys, "-t", "0.1", "pause")
    assert (code, line["error"]) == (4, "connection_failed")
    assert line["exception"].endswith("`tinyatv doctor` finds out why")


def test_connection_refused_at_an_address_that_is_given(own_store, capsys):
    """Nothing is stored that the doctor could look at."""
    args = ["--manual", "--address", "127.0.0.1", "--protocol", "mrp", "--port", str(free_port())]
    code, _, err = run(capsys, *args, "--mrp-credentials", ":".join(["aa" * 32] * 4), "pause")
    assert code == 4
    assert err.endswith(" (mrp): Connection refused\n")


NAMES = [
    ("Livin Room", "Living Room"),
    ("LIVINGROOM", "Living Room"),
    ("Küch", "Küche"),
    ("soffa", "sofa"),
    ("Aple TV", "Apple\xa0TV"),
]


@pytest.mark.parametrize(("name", "near"), NAMES)
@pytest.mark.parametrize("stored", [True, False])
def test_names_that_are_near(own_store, monkeypatch, capsys, name, near, stored):
    known = "Sofa TV" if near == "sofa" else near
    with VirtualAppleTV(known, mdns_port=0) as tv:
        found_by(monkeypatch, tv)
        limit = []
        if stored or near in ("sofa", "Apple\xa0TV"):  # what answers tells the plain name, too
            monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
            Store().save(tv.device)
            Store().set_alias(known, "sofa")
            limit = ["-t", "0.2"]
        code, out, err = run(capsys, *limit, "-n", name, "pause")
        assert (code, out, tv.log) == (3, "", [])
        assert err.startswith(f"tinyatv: no device called '{name}'; found: ")
        assert err.endswith(f"; did you mean '{near}'?\n")
        assert err.count("\n") == 1


def test_the_space_in_apples_own_name(own_store, capsys):
    with VirtualAppleTV("Apple\xa0TV") as tv:
        Store().save(tv.device)
        assert run(capsys, "-n", "apple tv", "pause") == (0, "", "")
        assert tv.log == ["pause"]


def test_a_stored_name_that_is_near(own_store, capsys):
    with VirtualAppleTV("Living Room") as tv:
        Store().save(tv.device)
    for args in (["forget", "Living Rom"], ["default", "Living Rom"], ["alias", "Living Rom", "x"]):
        said = (
            "tinyatv: 'Living Rom' is not stored; stored: Living Room; did you mean 'Living Room'?"
        )
        assert run(capsys, "devices", *args) == (3, "", f"{said}\n")


def test_a_name_that_is_near_to_none(own_store, monkeypatch, capsys):
    with VirtualAppleTV("Den", mdns_port=0) as tv:
        found_by(monkeypatch, tv)
        code, _, err = run(capsys, "-n", "Observatory", "pause")
    assert (code, err) == (3, "tinyatv: no device called 'Observatory'; found: Den (127.0.0.1)\n")


# -- losses ----------------------------------------------------------------------------------------


def lost(tv, end, wait_for=tinyatv.Disconnected):
    """The errors of a connection that ends: that of the event, and those of what follows."""
    events = queue.SimpleQueue()
    with tinyatv.connect(tv.device, timeout=1) as atv:
        atv.add_listener(events.put)
        end()
        while not isinstance(event := events.get(timeout=30), wait_for):
            pass
        command = atv.server_info if tv.profile == "atv3" else atv.volume
        return [event.error, failure(command)]


def failure(command):
    try:
        while True:  # others may be up a moment longer
            command()
    except tinyatv.ConnectionLost as exc:
        return exc


@pytest.mark.parametrize("profile", ["atv3", "tvos14", "tvos15", "tvos18"], indirect=True)
def test_losses_are_said_once(own_store, profile):
    tv = VirtualAppleTV("Living Room", profile=profile).start()
    try:
        errors = lost(tv, tv.stop)
    finally:
        tv.stop()
    for error in errors:
        text = str(error)
        protocol = text.partition("(")[2].partition(")")[0]
        assert protocol in PROTOCOLS, text
        assert text.count(f"({protocol})") == text.count("127.0.0.1") == text.count("lost") == 1
        assert text.startswith(("connection to 127.0.0.1 (", "volume needs "))
        assert len(f"tinyatv: {text}".replace("127.0.0.1", "192.168.178.1")) <= 80, text
        assert "tinyatv-" not in text
        assert "\n" not in text


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"], indirect=True)
def test_a_command_that_loses_the_connection(own_store, capsys, profile):
    with VirtualAppleTV("Living Room", profile=profile) as tv:
        Store().save(tv.device)
        tv.fail("pause", drop=True, times=None)
        code, out, err = run(capsys, "pause")
    assert (code, out) == (4, "")
    assert len(err) <= 81, err
    assert err.count("\n") == err.count("127.0.0.1") == 1
    assert "tinyatv-" not in err


# -- what a device wants ---------------------------------------------------------------------------


def pairing_of(services):
    return {one["protocol"]: one["pairing"] for one in services if one["enabled"]}


def test_scan_and_info_agree_on_pairing(own_store, monkeypatch, capsys, profile):
    with VirtualAppleTV("Den", profile=profile, mdns_port=0) as tv:
        found_by(monkeypatch, tv)
        store = Store()
        store.save(tv.device)
        store.save(store.fill(tinyatv.scan()[0]))
        code, (scanned,) = run_json(capsys, "scan")
        assert code == 0
        monkeypatch.delenv("TINYATV_SCAN_HOSTS")
        code, (info,) = run_json(capsys, "info")
        assert code == 0
        wanted = pairing_of(scanned["devices"][0]["services"])
        assert pairing_of(info["services"]) == wanted
        assert wanted


def test_stores_of_older_versions_are_read(own_store):
    """They do not say whether a service wants to be paired, and lose nothing."""
    service = {"port": 3689, "identifier": "AA11", "credentials": "0x0123456789ABCDEF", "own": [1]}
    entry = {"name": "Den", "address": "192.0.2.1", "identifiers": ["AA11"],
             "services": {"dmap": service}}  # fmt: skip
    own_store.parent.mkdir()
    own_store.write_text(json.dumps({"version": 1, "devices": [entry]}))
    store = Store()
    (known,) = store.devices()
    (found,) = known.device.services
    assert found.pairing is tinyatv.PairingRequirement.Optional
    found.pairing = tinyatv.PairingRequirement.Mandatory
    store.save(known.device)
    written = json.loads(own_store.read_text())["devices"][0]["services"]["dmap"]
    assert written == {**service, "pairing": "Mandatory"}
    assert store.devices()[0].device.services[0].pairing is tinyatv.PairingRequirement.Mandatory
    own_store.write_text(own_store.read_text().replace("Mandatory", "Whatever"))
    assert store.devices()[0].device.services[0].pairing is tinyatv.PairingRequirement.Optional


# -- places that cannot be written -----------------------------------------------------------------


@pytest.mark.parametrize("words", [
    ["-n", "Den", "--storage-filename", "/dev/null/x", "up"],
    ["devices", "--storage-filename", "/dev/null/x"],
    ["-n", "Den", "--trace", "/dev/null/x", "up"],
    ["virtual", "--trace", "/dev/null/x"],
    ["-n", "Den", "artwork_save=/dev/null/x"],
])  # fmt: skip
def test_unwritable_paths(own_store, monkeypatch, capsys, words):
    with VirtualAppleTV("Den", mdns_port=0) as tv:
        found_by(monkeypatch, tv)
        Store().save(tv.device)
        code, _, err = run(capsys, *words)
    assert err.count("\n") <= 1
    assert "bug" not in err
    assert code in (0, 1, 2, 6)
    assert ("/dev/null/x" in err) is (code != 0) or "Not a directory" in err


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full", "| true"])
@pytest.mark.parametrize("word", ["scan", "devices", "commands", "help", "doctor", "--help"])
def test_standard_output_that_is_closed_or_full(own_store, monkeypatch, word, redirection):
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    command = f"set -o pipefail; {sys.executable} -m tinyatv -t 0.1 {word} {redirection}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "this is a bug" not in done.stderr
    assert done.stderr.count("\n") <= 1
    if redirection == ">&-":
        assert (done.returncode, done.stderr) == (1, "tinyatv: standard output is closed\n")
    if redirection == ">/dev/full":
        assert (done.returncode, done.stderr) == (1, "tinyatv: No space left on device\n")
