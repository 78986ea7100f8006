"""Files of other programs: nothing in them stops us, and what they have can be used."""

from __future__ import annotations

import io
import json
import os

import pytest

import tinyatv
from tests.support.foreign import FOREIGN, GUID, HAP, HSGID, LEGACY
from tests.support.program import run, run_json
from tinyatv.store import Store
from tinyatv.virtual import VirtualAppleTV

DEEP = 200_000


@pytest.fixture
def foreign(tmp_path):
    return tmp_path / "home" / ".pyatv.conf"


@pytest.fixture
def unpaired(own_store, monkeypatch):
    made = VirtualAppleTV(
        "Bedroom", profile="tvos14", protocols=["mrp"], mdns_port=0, pin="1234", credentials=()
    )
    with made as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        yield tv


# -- damage ----------------------------------------------------------------------------------------

CONTENTS = {
    "empty": b"",
    "cut": FOREIGN.encode()[:-20],
    "mark alone": b"\xef\xbb\xbf",
    "mark of UTF-16, then UTF-8": b"\xff\xfe" + FOREIGN.encode(),
    "zeros, as after a crash": bytes(4096),
    "binary": bytes(range(256)),
    "a page": b"<!DOCTYPE html><html></html>",
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "another shape": b'{"pairings": {"AA11": "x"}}',
    "devices: object": b'{"version": 1, "devices": {"AA11": {}}}',
    "devices: null": b'{"version": 1, "devices": null}',
    "nested": b'{"devices": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "half a character": b'{"devices": [{"protocols": {"mrp": {"identifier": "\\ud800"}}}]}',
    "half a character, raw": b'{"devices": [], "later": "\xed\xa0\x80"}',
}  # fmt: skip


def a_folder(path):
    path.mkdir()


def a_pipe(path):
    os.mkfifo(path)


def a_loop(path):
    path.symlink_to(path.name)


def too_large(path):
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # it takes no room


def unreadable(path):
    path.write_text(FOREIGN)
    path.chmod(0)
    if os.access(path, os.R_OK):  # we are root, who may
        path.unlink()
        a_loop(path)


DAMAGES = {
    **{name: lambda path, data=data: path.write_bytes(data) for name, data in CONTENTS.items()},
    "a folder": a_folder, "a pipe": a_pipe, "a loop": a_loop, "too large": too_large,
    "unreadable": unreadable,
}  # fmt: skip


@pytest.fixture(params=DAMAGES)
def damaged(request, foreign):
    DAMAGES[request.param](foreign)
    return foreign


def test_damage_stops_nothing(damaged, unpaired, capsys, monkeypatch, caplog, own_store):
    """Scan, connect, the wizard, pair, a press: all work, with one warning that names the file."""
    code, lines = run_json(capsys, "scan")
    assert code == 0
    assert [device["name"] for device in lines[0]["devices"]] == ["Bedroom"]
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n1234\n"))
    code, out, _ = run(capsys, "wizard")
    assert code == 0
    assert "All set" in out
    assert run(capsys, "pair", "--pin", "1234")[0] == 0
    assert run(capsys, "-n", "Bedroom", "pause")[0] == 0
    with tinyatv.connect("Bedroom") as atv:
        atv.play()
    assert unpaired.log == ["pause", "play"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1, warnings
    assert str(damaged) in warnings[0]
    assert "\n" not in warnings[0]


def test_damage_stops_the_import(damaged, own_store, capsys):
    code, out, err = run(capsys, "devices", "import")
    assert (code, out) == (1 if err.endswith("symbolic links\n") else 6, "")
    assert str(damaged) in err
    assert "bug" not in err
    assert err.count("\n") == 1
    assert not own_store.exists()


def test_the_warning_is_on_standard_error(unpaired, foreign):
    """By the program itself: a line, beside a result that is as ever."""
    from tests.support.program import Program

    foreign.write_text("{")
    with Program("scan", "--json") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["devices"][0]["name"] == "Bedroom"
    assert err.count("\n") == 1
    assert err.startswith(f"{foreign} is damaged")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(foreign, own_store, encoding):
    """As editors of Windows write them."""
    foreign.write_bytes(FOREIGN.encode(encoding))
    device = tinyatv.Device("D", "a", [tinyatv.Service("dmap", 1, identifier="AA11")])
    assert Store().fill(device).services[0].credentials == GUID
    assert "AA11" in Store().import_foreign()
    own_store.write_bytes(own_store.read_text("utf-8").encode(encoding))
    assert Store(foreign=None).find("AA11").service("dmap").credentials == GUID


def test_home_that_is_no_folder(monkeypatch, caplog):
    """As many services have it."""
    monkeypatch.setenv("HOME", "/dev/null")
    device = tinyatv.Device("D", "a", [tinyatv.Service("dmap", 1, identifier="AA11")])
    Store().fill(device)
    assert caplog.records == []


# -- what cannot be used ---------------------------------------------------------------------------


def entries(*protocols):
    return json.dumps({"version": 1, "devices": [{"protocols": one} for one in protocols]})


UNUSABLE = {
    "hap cut": ("companion", HAP[:-1], "malformed credentials"),
    "not hex": ("mrp", "secret", "malformed credentials"),
    "short key": ("airplay", "ab:cd:ef:01", "malformed credentials"),
    "guid": ("dmap", "0x12", "malformed DMAP credentials"),
    "legacy for companion": ("companion", LEGACY, "AirPlay 1 credentials: pair again"),
    "legacy for mrp": ("mrp", LEGACY, "AirPlay 1 credentials: pair again"),
    "number": ("mrp", 5, "its credentials is not a text"),
    "unknown": ("telepathy", HAP, "no such protocol"),
}


@pytest.mark.parametrize(("protocol", "credentials", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_credentials(foreign, own_store, capsys, protocol, credentials, why):
    """Never called imported, never shown, and no harm to what is good beside them."""
    bad = {protocol: {"identifier": "BAD1", "credentials": credentials}}
    foreign.write_text(entries(bad))
    code, out, err = run(capsys, "devices", "import")
    assert (code, out) == (6, "")
    assert "BAD1" in err
    assert why in err
    assert str(credentials) not in err or credentials == 5
    assert not own_store.exists()
    asked = tinyatv.Device("D", "a", [tinyatv.Service("mrp", 1, identifier="BAD1")])
    assert Store().fill(asked).services[0].credentials is None

    foreign.write_text(entries(bad, {"dmap": {"identifier": "AA11", "credentials": GUID}}))
    code, out, err = run(capsys, "devices", "import")
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == "imported 1: AA11"
    assert second.startswith("not imported: BAD1: ")
    assert why in second
    code, [line] = run_json(capsys, "devices", "import")
    assert line["imported"] == ["AA11"]
    assert len(line["unusable"]) == 1


def test_unusable_credentials_in_python(foreign, caplog):
    foreign.write_text(entries({"dmap": {"identifier": "AA11", "credentials": GUID}}, {"dmap": 5}))
    told = []
    assert Store().import_foreign(unusable=told.append) == ["AA11"]
    assert told == ["entry 2: dmap: it is no service"]
    assert caplog.records == []
    assert Store().import_foreign() == ["AA11"]
    assert "entry 2: dmap: it is no service" in caplog.text


def test_credentials_without_a_device(foreign, capsys):
    foreign.write_text(entries({"dmap": {"credentials": GUID}}))
    code, _, err = run(capsys, "devices", "import")
    assert code == 6
    assert "entry 1: it has no identifier" in err
    foreign.write_text(entries())
    code, out, _ = run(capsys, "devices", "import")
    assert (code, out) == (0, "nothing to import\n")


# -- Home Assistant --------------------------------------------------------------------------------


def home_assistant(*made):
    """Origin: the layout as documented; invented values."""
    about = {"entry_id": "01J", "version": 1, "source": "zeroconf", "options": {}}
    others = [{"domain": "sun", "title": "Sun", "unique_id": None, "data": {}, **about}]
    listed = [{**about, "domain": "apple_tv", **entry} for entry in made]
    return {
        "version": 1, "minor_version": 5, "key": "core.config_entries",
        "data": {"entries": others + listed},
    }  # fmt: skip


def entry(title, identifier, credentials, *more, **data):
    data = {
        "name": title, "address": "192.0.2.7", "identifiers": [identifier, *more],
        "credentials": credentials, **data,
    }  # fmt: skip
    return {"title": title, "unique_id": identifier, "data": data}


def test_home_assistant(tmp_path, own_store, capsys, monkeypatch):
    """Three good entries of five are imported and work; two are named with the reason."""
    with (
        VirtualAppleTV("Den", profile="atv3", mdns_port=0) as old,
        VirtualAppleTV("Attic", profile="tvos14", protocols=["mrp"], mdns_port=0) as direct,
        VirtualAppleTV("Hall", profile="tvos18", mdns_port=0) as new,
    ):
        sets = [old, direct, new]
        hosts = ",".join(f"127.0.0.1:{tv.ports['mdns']}" for tv in sets)
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", hosts)
        numbers = {"dmap": "1", "mrp": "2", "airplay": "3", "companion": "4"}
        good = [
            entry(
                tv.state.name, tv.device.identifier,
                {numbers[name]: text for name, text in tv.credentials.items()},
                *tv.device.identifiers,
            )
            for tv in sets
        ]  # fmt: skip
        file = tmp_path / "core.config_entries"
        made = home_assistant(
            *good,
            entry("Bath", "AA:BB:CC:00:11:22", {"3": "secret"}),
            entry("Roof", "AA:BB:CC:00:11:33", {}),
        )
        file.write_text(json.dumps(made))
        code, out, err = run(capsys, "devices", "import", str(file))
        assert (code, err) == (0, "")
        first, *rest = out.splitlines()
        assert first.startswith("imported 3: ")
        assert rest == [
            "not imported: Bath: airplay: malformed credentials: fields are hex, with : between",
            "not imported: Roof: it has no credentials",
        ]
        assert [k.device.name for k in Store().devices()] == ["Den", "Attic", "Hall"]
        for tv in sets:
            assert run(capsys, "-n", tv.state.name, "pause") == (0, "", "")
            assert "pause" in tv.log


def test_home_assistant_keeps_what_is_known(tmp_path, own_store):
    known = tinyatv.Service("companion", 49152, identifier="aabbcc001122", credentials=None)
    Store().save(tinyatv.Device("Den", "192.0.2.10", [known]))
    Store().set_alias("Den", "tv")
    file = tmp_path / "entries"
    file.write_text(json.dumps(home_assistant(entry("X", "AA:BB:CC:00:11:22", {"4": HAP}))))
    assert Store().import_foreign(str(file)) == ["AA:BB:CC:00:11:22"]
    [one] = Store().devices()
    service = one.device.service("companion")
    assert (one.device.name, one.device.address, one.alias) == ("Den", "192.0.2.10", "tv")
    assert (service.port, service.credentials) == (49152, HAP)


ODD_ENTRIES = {
    "no data": {"title": "Den", "unique_id": "AA11"},
    "data: list": {"title": "Den", "unique_id": "AA11", "data": []},
    "no identifier": {"title": "Den", "data": {"credentials": {"4": HAP}}},
    "identifiers: text": {"title": "Den", "data": {"identifiers": "AA", "credentials": {"4": HAP}}},
    "identifiers: of 5": {"title": "Den", "data": {"identifiers": [5], "credentials": {"4": HAP}}},
    "credentials: list": {"title": "Den", "unique_id": "AA11", "data": {"credentials": [HAP]}},
    "credentials: text": {"title": "Den", "unique_id": "AA11", "data": {"credentials": HAP}},
    "protocol: 9": {"title": "Den", "unique_id": "AA11", "data": {"credentials": {"9": HAP}}},
    "wrong kind": {"title": "Den", "unique_id": "AA11", "data": {"credentials": {"1": HAP}}},
    "id for mrp": {"title": "Den", "unique_id": "AA11", "data": {"credentials": {"2": HSGID}}},
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD_ENTRIES.values(), ids=ODD_ENTRIES)
def test_odd_entries_of_home_assistant(tmp_path, own_store, capsys, odd):
    file = tmp_path / "entries"
    file.write_text(json.dumps(home_assistant(odd)))
    code, out, err = run(capsys, "devices", "import", str(file))
    assert (code, out) == (6, "")
    assert "Den: " in err
    assert err.count("\n") == 1
    assert not own_store.exists()


# -- AirPlay 1 credentials -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["airplay", "companion"])
def test_old_credentials_on_a_new_system(protocol):
    with VirtualAppleTV("Hall", profile="tvos18", protocols=[protocol]) as tv:
        device = tv.device
        device.service(protocol).credentials = LEGACY
        with pytest.raises(tinyatv.CredentialsError) as caught:
            tinyatv.connect(device, store=Store(memory=True))
        assert str(caught.value).endswith("these are AirPlay 1 credentials: pair again")


def test_old_credentials_do_not_keep_others_from_working():
    with VirtualAppleTV("Hall", profile="tvos18") as tv:
        device = tv.device
        device.service("airplay").credentials = LEGACY
        with tinyatv.connect(device, store=Store(memory=True)) as atv:
            atv.select()
            assert atv.protocols == ("companion",)


# -- identifiers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["AA:BB:CC:00:11:22", "aabbcc001122", "aa:bb:cc:00:11:22"])
def test_spellings_of_identifiers(foreign, spelling):
    """The same in the store, in files of others, and on the command line."""
    other = "AABBCC001122"
    fields = {"identifier": spelling, "credentials": HAP}
    foreign.write_text(entries({"companion": fields}))
    asked = tinyatv.Device("D", "a", [tinyatv.Service("companion", 1, identifier=other)])
    assert Store().fill(asked).services[0].credentials == HAP
    assert asked.is_called(spelling)
    store = Store(foreign=None)
    store.save(asked)
    again = tinyatv.Device("D", "b", [tinyatv.Service("companion", 1, identifier=spelling)])
    store.save(again)
    [known] = store.devices()
    assert known.device.service("companion").credentials == HAP
    assert store.find(spelling).address == store.find(other).address == "b"
    store.set_default(spelling)
    assert [k.default for k in store.devices()] == [True]
    assert store.forget(other).address == "b"
    assert store.devices() == []
