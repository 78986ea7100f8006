"""The store: who may read it, what survives, who is meant, and the other library's file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile

import pytest

from tests.support.foreign import FOREIGN, GUID, HAP, HSGID, LEGACY
from tests.support.program import ROOT, limited, run
from tinyatv.errors import CredentialsError, DeviceNotFound
from tinyatv.files import replace_file
from tinyatv.model import Device, DeviceInfo, OperatingSystem, Service
from tinyatv.store import Store, default_path
from tinyatv.trace import Trace

OTHER_GUID = "0xFEDCBA9876543210"


def device(name="Den", identifier="AA11", address="192.0.2.10", credentials=GUID, **more):
    service = Service("dmap", 3689, identifier=identifier, credentials=credentials, **more)
    return Device(name, address, [service])


@pytest.fixture
def path(own_store):
    return own_store


@pytest.fixture
def store(path):
    return Store(path)


@pytest.fixture
def foreign(tmp_path):
    """Where the other library has its store; it is not there yet."""
    return tmp_path / "home" / ".pyatv.conf"


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return text


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# -- where it is, and who may read it


@pytest.mark.parametrize(
    ("environment", "expect"),
    [
        ({"TINYATV_STORE": "/x/y.json", "XDG_CONFIG_HOME": "/z"}, "/x/y.json"),
        ({"TINYATV_STORE": "~/y.json"}, "HOME/y.json"),
        ({"TINYATV_STORE": "", "XDG_CONFIG_HOME": "/z"}, "/z/tinyatv/devices.json"),
        ({"XDG_CONFIG_HOME": "~/z"}, "HOME/z/tinyatv/devices.json"),
        ({"XDG_CONFIG_HOME": ""}, "HOME/.config/tinyatv/devices.json"),
        ({}, "HOME/.config/tinyatv/devices.json"),
    ],
)
def test_place(tmp_path, monkeypatch, environment, expect):
    for name in ("TINYATV_STORE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    expect = expect.replace("HOME", str(tmp_path / "home"))
    assert default_path() == Store().path == expect
    assert repr(Store()) == f"Store({expect})"


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_it(path, store, mask):
    before = os.umask(mask)
    try:
        store.save(device())
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert {p.name for p in path.parent.iterdir()} == {"devices.json", "devices.json.lock"}
    assert mode(path.parent / "devices.json.lock") == 0o600


def test_a_file_that_others_could_read_is_closed_to_them(path, store):
    written(path, '{"version": 1, "devices": []}')
    path.chmod(0o644)
    store.save(device())
    assert mode(path) == 0o600


def test_reading_creates_nothing(path, store):
    assert store.devices() == []
    assert store.find("Den") is None
    assert store.default() is None
    assert store.fill(device()).service("dmap").credentials == GUID
    assert not path.parent.exists()


def test_file_is_replaced_and_not_overwritten(path, store):
    """Whoever reads at that moment goes on reading the old one; a link stays a link."""
    target = path.parent / "elsewhere.json"
    written(target, '{"devices": []}')
    path.symlink_to(target.name)
    with open(path, encoding="utf-8") as reader:
        store.save(device())
        assert reader.read() == '{"devices": []}'
    assert path.is_symlink()
    assert json.loads(target.read_text("utf-8"))["devices"][0]["name"] == "Den"


def test_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Store("mine.json").save(device())
    assert (tmp_path / "mine.json").exists()


def test_full_disk_keeps_the_old_file(path, store):
    pytest.importorskip("resource")
    store.save(device())
    store.save(device("Kitchen", "CC33"))
    before = path.read_bytes()
    code = """
import sys
from tinyatv import files
from tinyatv.store import Store
from tinyatv.model import Device, Service
LIMIT
device = Device("Other", "192.0.2.11", [Service("dmap", 3689, identifier="BB22")])
for action in (
    lambda store: store.save(device),
    lambda store: store.forget("Den"),
    lambda store: store.set_alias("Den", "tv"),
    lambda store: store.client_id(),
):
    try:
        action(Store(sys.argv[1]))
    except OSError as exc:
        print(exc.strerror)
"""
    assert limited(code, path).splitlines() == ["File too large"] * 4
    assert path.read_bytes() == before
    assert {p.name for p in path.parent.iterdir()} == {"devices.json", "devices.json.lock"}


# -- what survives


def test_everything_that_is_saved_is_found_again(path):
    info = DeviceInfo(
        model="Gen3", model_name="Apple TV 3", raw_model="AppleTV3,2", version="8.4.4",
        operating_system=OperatingSystem.TvOS, build="12H1006", mac="AA:BB:CC:DD:EE:FF",
    )  # fmt: skip
    services = [
        Service("dmap", 3689, identifier="AA11", credentials=GUID),
        Service("raop", 7000, identifier="BB22", password="pass wörd"),
        Service("companion", 49152),
    ]
    saved = Device("Dén \U0001f4fa", "192.0.2.10", services, info=info, query="192.0.2.10:5353")
    Store(path).save(saved)
    [known] = Store(path).devices()
    assert known.alias is None
    assert not known.default
    found = known.device
    assert (found.name, found.address, found.query) == (saved.name, saved.address, saved.query)
    assert found.info == info
    assert found.identifiers == ["AA11", "BB22"]
    facts = [(s.protocol, s.port, s.identifier, s.credentials, s.password) for s in found.services]
    assert facts == [
        ("dmap", 3689, "AA11", GUID, None),
        ("raop", 7000, "BB22", None, "pass wörd"),
        ("companion", 49152, None, None, None),
    ]


def test_saving_again_updates_and_keeps_what_is_not_told(store):
    store.save(device(password="old"))
    store.set_alias("Den", "tv")
    store.set_default("tv")
    seen = Device("Living Room", "192.0.2.99", [Service("dmap", 4000, identifier="AA11")])
    seen.services.append(Service("airplay", 7000, identifier="BB22"))
    store.save(seen)
    [known] = store.devices()
    service = known.device.service("dmap")
    assert (known.device.name, known.device.address) == ("Living Room", "192.0.2.99")
    assert (service.port, service.credentials, service.password) == (4000, GUID, "old")
    assert (known.alias, known.default) == ("tv", True)
    assert known.device.service("airplay").port == 7000
    store.save(device(credentials=OTHER_GUID))
    assert store.find("tv").service("dmap").credentials == OTHER_GUID


def test_services_that_only_name_the_device(store):
    """They are not stored, but the device answers to their identifiers."""
    seen = device()
    seen.services.append(Service("mrp", 0, identifier="MM00", enabled=False))
    store.save(seen)
    assert [s.protocol for s in store.find("AA11").services] == ["dmap"]
    assert store.find("MM00") is not None
    assert store.set_default("mm00").name == "Den"
    assert store.default().name == "Den"
    again = Device("Den", "192.0.2.10", [Service("dmap", 3689)])
    again.services.append(Service("mrp", 0, identifier="MM00", enabled=False))
    assert store.fill(again).service("dmap").credentials == GUID


def test_device_that_was_stored_in_two_halves(store):
    """Seen once by each protocol, then by both: one device, and it can be named."""
    store.save(device())
    airplay = Service("airplay", 7000, identifier="BB22", credentials="aa:bb:cc:dd")
    store.save(Device("Den", "192.0.2.10", [airplay]))
    both = [Service("dmap", 3689, identifier="AA11"), Service("airplay", 7000, identifier="BB22")]
    store.save(Device("Den", "192.0.2.10", both))
    for name in ("Den", "AA11", "BB22"):
        found = store.find(name)
        assert found.service("dmap").credentials == GUID
        assert found.service("airplay").credentials == "aa:bb:cc:dd"
    store.forget("Den")
    assert store.devices() == []


def test_unknown_fields_of_later_versions_survive(path, store):
    store.save(device())
    data = json.loads(path.read_text("utf-8"))
    data["later"] = {"x": 1}
    data["devices"][0]["later"] = [1]
    data["devices"][0]["services"]["dmap"]["later"] = None
    written(path, json.dumps(data))
    store.save(device(name="New"))
    store.set_alias("New", "tv")
    data = json.loads(path.read_text("utf-8"))
    assert data["later"] == {"x": 1}
    assert data["devices"][0]["later"] == [1]
    assert "later" in data["devices"][0]["services"]["dmap"]


def test_device_without_identifier(path, store):
    with pytest.raises(ValueError, match="Den: a device without an identifier"):
        store.save(device(identifier=None))
    assert not path.exists()


def test_memory(path, foreign, tmp_path):
    written(foreign, FOREIGN)
    store = Store(memory=True)
    store.save(device(credentials=None))
    assert store.fill(device(credentials=None)).service("dmap").credentials is None
    store.save(device())
    store.set_alias("Den", "tv")
    assert store.set_default("tv").name == "Den"
    assert store.default().service("dmap").credentials == GUID
    assert store.client_id() == store.client_id() != Store(memory=True).client_id()
    assert store.forget("tv").name == "Den"
    assert store.devices() == []
    assert Store(memory=True).devices() == []
    assert repr(store) == "Store(in memory)"
    assert not path.parent.exists()
    assert {p.name for p in (tmp_path / "home").iterdir()} == {".pyatv.conf"}


def test_client_id_is_made_up_once(path, store):
    first = store.client_id()
    assert re.fullmatch("[0-9A-F]{16}", first)
    store.save(device())
    store.forget("Den")
    assert store.client_id() == Store(path).client_id() == first
    assert mode(path) == 0o600
    assert Store(path.with_name("other.json")).client_id() != first


WRITER = """
import sys
from tinyatv.store import Store
from tinyatv.model import Device, Service
path, number, protocol = sys.argv[1:]
store = Store(path, foreign=None)
print(store.client_id())
print("ready", flush=True)
sys.stdin.readline()
for count in range(12):
    name = f"{number}-{count}"
    store.save(Device(name, "192.0.2.1", [Service("dmap", 1, identifier=name)]))
    shared = Service(protocol, count, identifier="shared", credentials=name)
    store.save(Device("Shared", "192.0.2.2", [shared]))
    store.set_alias(name, "alias-" + name)
"""


def test_processes_take_turns(path):
    """Four of them write at once, while this one reads: nothing is lost, nothing is half."""
    protocols = ("dmap", "mrp", "airplay", "companion")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number), protocol],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number, protocol in enumerate(protocols)
    ]  # fmt: skip
    try:
        identities = {writer.stdout.readline() for writer in writers}
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("\n")
            writer.stdin.flush()
        store, counts = Store(path), [0]
        while any(writer.poll() is None for writer in writers):
            counts.append(len(store.devices()))
        assert [writer.returncode for writer in writers] == [0] * 4
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert counts == sorted(counts)
    assert len(identities) == 1
    assert identities == {store.client_id() + "\n"}
    known = {k.device.name: k for k in store.devices()}
    expect = {f"{number}-{count}" for number in range(4) for count in range(12)}
    assert set(known) == expect | {"Shared"}
    assert all(known[name].alias == f"alias-{name}" for name in expect)
    shared = known["Shared"].device
    assert {s.protocol: s.credentials for s in shared.services} == {
        protocol: f"{number}-11" for number, protocol in enumerate(protocols)
    }
    assert {p.name for p in path.parent.iterdir()} == {"devices.json", "devices.json.lock"}


# -- names


@pytest.fixture
def three(store):
    """Two of one name, and another."""
    store.save(device("Twin", "AA11", "192.0.2.1"))
    store.save(device("Twin", "BB22", "192.0.2.2"))
    store.save(device("Dén", "CC33", "192.0.2.3"))
    return store


@pytest.mark.parametrize("text", ["aa11", "AA11", "192.0.2.1", "first", "FIRST"])
def test_find(three, text):
    three.set_alias("AA11", "First")
    assert three.find(text).identifier == "AA11"


def test_find_by_name(three):
    assert three.find("DÉN").identifier == "CC33"
    assert three.find("Den") is None
    with pytest.raises(DeviceNotFound) as caught:
        three.find("twin")
    assert (
        str(caught.value)
        == "'twin' is the name of several devices: AA11 at 192.0.2.1, BB22 at 192.0.2.2; give an"
        " identifier instead (-i)"
    )
    for action in (three.forget, three.set_default, lambda name: three.set_alias(name, "x")):
        with pytest.raises(DeviceNotFound, match="several"):
            action("Twin")
    assert len(three.devices()) == 3


def test_an_alias_wins_over_names(three):
    three.set_alias("CC33", "Twin")
    assert three.find("twin").identifier == "CC33"


def test_nobody_is_called_nothing(store):
    """An empty name, as from a variable that is not set, means no device."""
    store.save(device())
    assert store.find("") is None
    for action in (store.forget, store.set_default, lambda name: store.set_alias(name, "x")):
        with pytest.raises(DeviceNotFound):
            action("")
    assert [known.device.name for known in store.devices()] == ["Den"]


def test_alias(three):
    assert three.set_alias("AA11", "tv").identifier == "AA11"
    assert three.set_alias("tv", "TV").identifier == "AA11"
    with pytest.raises(ValueError, match="Twin has the alias 'tv' already"):
        three.set_alias("CC33", "tv")
    assert [known.alias for known in three.devices()] == ["TV", None, None]
    three.set_alias("tv", None)
    three.set_alias("CC33", None)
    assert [known.alias for known in three.devices()] == [None, None, None]
    three.set_alias("CC33", "tv")
    assert three.find("tv").identifier == "CC33"


def test_default(store):
    store.save(device("Only", "AA11"))
    assert store.default().name == "Only"  # since there is no other
    store.save(device("Other", "BB22"))
    assert store.default() is None
    assert store.set_default("bb22").name == "Other"
    assert store.default().name == "Other"
    assert [known.default for known in store.devices()] == [False, True]
    store.save(device("Third", "CC33"))
    store.forget("Other")
    assert store.default() is None
    assert not any(known.default for known in store.devices())


def test_forget(three, path):
    assert three.forget("192.0.2.1").identifier == "AA11"
    assert [known.device.identifier for known in three.devices()] == ["BB22", "CC33"]
    assert three.find("twin").identifier == "BB22"
    three.forget("twin")
    three.forget("cc33")
    assert three.devices() == []
    assert GUID not in path.read_text("utf-8")


def test_not_there(three):
    three.set_alias("CC33", "tv")
    for action in (three.forget, three.set_default, lambda name: three.set_alias(name, "x")):
        with pytest.raises(DeviceNotFound) as caught:
            action("Kitchen")
        assert str(caught.value) == "'Kitchen' is not stored; stored: Twin, Twin, tv"
    with pytest.raises(DeviceNotFound, match="stored: nothing"):
        Store(memory=True).forget("Kitchen")


# -- damage

ENTRY = {
    "name": "Den", "alias": "tv", "address": "192.0.2.10", "identifiers": ["AA11"],
    "info": {"model": "Gen3"},
    "services": {"dmap": {"port": 3689, "identifier": "AA11", "credentials": GUID}},
}  # fmt: skip


def with_entry(**changes):
    entry = {**ENTRY, **changes}
    return {"version": 1, "devices": [{k: v for k, v in entry.items() if v is not ...}]}


def with_service(**changes):
    return with_entry(services={"dmap": {**ENTRY["services"]["dmap"], **changes}})


DAMAGED = {
    "empty": "",
    "cut": json.dumps(with_entry())[:-5],
    "binary": b"\xff\xfe{}\0",
    "a list": [],
    "a number": 5,
    "null": None,
    "devices: null": {"devices": None},
    "devices: object": {"devices": {"AA11": ENTRY}},
    "devices: text": {"devices": "AA11"},
    "device: null": {"devices": [None]},
    "device: list": {"devices": [[]]},
    "device: text": {"devices": ["AA11"]},
    "device: empty": {"devices": [{}]},
    "identifiers: missing": with_entry(identifiers=...),
    "identifiers: null": with_entry(identifiers=None),
    "identifiers: number": with_entry(identifiers=5),
    "identifiers: text": with_entry(identifiers="AA11"),
    "identifiers: of numbers": with_entry(identifiers=[5]),
    "identifiers: of lists": with_entry(identifiers=[[]]),
    "name: number": with_entry(name=5),
    "name: null": with_entry(name=None),
    "alias: number": with_entry(alias=5),
    "alias: list": with_entry(alias=["tv"]),
    "address: number": with_entry(address=5),
    "address: null": with_entry(address=None),
    "query: number": with_entry(query=5),
    "info: null": with_entry(info=None),
    "info: text": with_entry(info="Gen3"),
    "info: unknown system": with_entry(info={"operating_system": "BeOS"}),
    "services: missing": with_entry(services=...),
    "services: null": with_entry(services=None),
    "services: list": with_entry(services=["dmap"]),
    "service: null": with_entry(services={"dmap": None}),
    "service: text": with_entry(services={"dmap": GUID}),
    "port: text": with_service(port="3689"),
    "port: too large": with_service(port=65536),
    "port: negative": with_service(port=-1),
    "port: list": with_service(port=[1]),
    "identifier: number": with_service(identifier=5),
    "identifier: list": with_service(identifier=["AA11"]),
    "credentials: number": with_service(credentials=5),
    "credentials: object": with_service(credentials={"a": 1}),
    "password: number": with_service(password=1234),
}


def as_text(content):
    return content if isinstance(content, (str, bytes)) else json.dumps(content)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_store_is_reported_and_left_alone(path, store, content):
    """Whatever is asked for: one kind of error, with the name of the file, and no change."""
    text = written(path, as_text(content))
    for action in (
        store.devices,
        lambda: store.find("tv"),
        store.default,
        lambda: store.fill(device()),
        lambda: store.save(device()),
        lambda: store.set_alias("tv", "other"),
        lambda: store.set_default("tv"),
        lambda: store.forget("tv"),
    ):
        with pytest.raises(CredentialsError) as caught:
            action()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == (text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize("client", [None, [], "x", 5, {"id": 5}, {"id": None}])
def test_damaged_client_is_reported_and_left_alone(path, store, client):
    text = written(path, json.dumps({"version": 1, "devices": [], "client": client}))
    with pytest.raises(CredentialsError):
        store.client_id()
    assert path.read_text("utf-8") == text


def test_null_is_as_good_as_missing_where_something_may_be_missing(path, store):
    service = {"port": None, "identifier": "AA11", "credentials": None, "password": None}
    entry = {"identifiers": ["AA11"], "services": {"dmap": service}, "alias": None, "query": None}
    written(path, json.dumps({"devices": [entry]}))
    [known] = store.devices()
    assert (known.device.name, known.device.address, known.device.query) == ("", "", None)
    assert known.device.service("dmap").port == 0
    store.save(device())
    assert store.find("Den").service("dmap").credentials == GUID


# -- the other library's store


@pytest.mark.parametrize(
    ("protocol", "identifier", "credentials", "password"),
    [
        ("airplay", "11:22:33:44:55:66", HAP, None),
        ("companion", "CC33", HAP, None),
        ("mrp", "MM44", HAP, None),
        ("raop", "112233445566", None, "pass"),
        ("airplay", "OLD", LEGACY, None),
        ("dmap", "AA11", GUID, None),
        ("dmap", "BB22", HSGID, None),
        ("dmap", "EE55", None, None),
        ("dmap", "unknown", None, None),
    ],
)
def test_foreign_credentials_are_used(
    store, foreign, path, protocol, identifier, credentials, password
):
    """Without importing them first, and without creating a store."""
    written(foreign, FOREIGN)
    asked = Device("D", "192.0.2.1", [Service(protocol, 1, identifier=identifier)])
    service = store.fill(asked).services[0]
    assert (service.credentials, service.password) == (credentials, password)
    assert not path.exists()


def test_foreign_entry_of_any_identifier_fills_all_services(store, foreign):
    written(foreign, FOREIGN)
    asked = Device("D", "192.0.2.1", [Service("mrp", 1, identifier="MM44"), Service("airplay", 2)])
    assert [s.credentials for s in store.fill(asked).services] == [HAP, HAP]


@pytest.mark.parametrize(
    ("stored", "other", "announced", "expect"),
    [
        (GUID, OTHER_GUID, HSGID, GUID),
        (None, OTHER_GUID, HSGID, OTHER_GUID),
        (GUID, None, HSGID, GUID),
        (None, None, HSGID, HSGID),
        (GUID, OTHER_GUID, None, GUID),
        (None, None, None, None),
    ],
)
@pytest.mark.parametrize("kind", ["credentials", "password"])
def test_precedence(store, foreign, kind, stored, other, announced, expect):
    """What was paired here, then elsewhere, then what the device says by itself."""
    fields = {"identifier": "AA11", **({kind: other} if other else {})}
    written(foreign, json.dumps({"version": 1, "devices": [{"protocols": {"dmap": fields}}]}))
    store.save(Device("D", "192.0.2.1", [Service("dmap", 1, identifier="AA11", **{kind: stored})]))
    asked = Device("D", "a", [Service("dmap", 1, identifier="AA11", **{kind: announced})])
    assert store.fill(asked) is asked
    assert getattr(asked.services[0], kind) == expect


def test_without_the_other_store(path, foreign):
    written(foreign, FOREIGN)
    store = Store(path, foreign=None)
    assert store.fill(device(credentials=None)).service("dmap").credentials is None


IMPORTED = ["MM44", "OLD", "AA11", "BB22", "EE55"]


def test_import(store, foreign, path):
    written(foreign, FOREIGN)
    store.save(device("Den", "AA11", "192.0.2.10", credentials=None))
    store.set_alias("Den", "tv")
    for _ in range(2):  # twice is as good as once
        assert store.import_foreign() == IMPORTED
        known = {k.device.identifier: k.device for k in Store(path, foreign=None).devices()}
        assert sorted(known) == sorted(IMPORTED)
        first = known["MM44"]
        assert {s.protocol: s.credentials for s in first.services} == {
            "airplay": HAP, "companion": HAP, "mrp": HAP, "raop": None,
        }  # fmt: skip
        assert first.service("raop").password == "pass"
        assert [known[name].services[0].credentials for name in IMPORTED[1:]] == [
            LEGACY, GUID, HSGID, None,
        ]  # fmt: skip
        den = store.find("tv")
        assert (den.name, den.address, den.service("dmap").port) == ("Den", "192.0.2.10", 3689)
        assert den.service("dmap").credentials == GUID
        assert known["BB22"].name == "BB22"
    assert mode(path) == 0o600


def test_import_from_elsewhere(store, tmp_path, foreign):
    other = tmp_path / "other.conf"
    written(other, FOREIGN)
    assert store.import_foreign(str(other)) == IMPORTED
    with pytest.raises(CredentialsError, match=r"\.pyatv\.conf does not exist"):
        store.import_foreign()


def test_foreign_store_is_never_written(store, foreign):
    written(foreign, FOREIGN)
    foreign.chmod(0o444)
    before = foreign.stat()
    store.import_foreign()
    store.save(device(credentials=OTHER_GUID))
    store.fill(device())
    store.client_id()
    store.forget("Den")
    after = foreign.stat()
    assert foreign.read_text("utf-8") == FOREIGN
    assert (after.st_mtime_ns, after.st_ino, after.st_mode) == (
        before.st_mtime_ns, before.st_ino, before.st_mode,
    )  # fmt: skip
    assert [p.name for p in foreign.parent.iterdir()] == [".pyatv.conf"]


def foreign_entry(**fields):
    fields = {"identifier": "AA11", "credentials": GUID, **fields}
    return {"version": 1, "devices": [{"info": {}, "protocols": {"dmap": fields}}]}


ODD_FOREIGN = {
    "empty": "",
    "cut": FOREIGN[:-20],
    "binary": b"\xff\xfe{}\0",
    "a list": [],
    "devices: object": {"devices": {}},
    "devices: null": {"devices": None},
    "device: null": {"devices": [None]},
    "device: text": {"devices": ["AA11"]},
    "protocols: list": {"devices": [{"protocols": ["dmap"]}]},
    "protocol: null": {"devices": [{"protocols": {"dmap": None}}]},
    "identifier: number": foreign_entry(identifier=5),
    "identifier: list": foreign_entry(identifier=["AA11"]),
    "credentials: number": foreign_entry(credentials=5),
    "credentials: list": foreign_entry(credentials=[GUID]),
    "password: number": foreign_entry(password=1234),
    "port: text": foreign_entry(port="3689"),
    "port: negative": foreign_entry(port=-1),
}


@pytest.mark.parametrize("content", ODD_FOREIGN.values(), ids=ODD_FOREIGN.keys())
def test_odd_foreign_store(store, foreign, path, content):
    """Reported, or passed over: no other error, and nothing odd gets into devices or the store."""
    text = written(foreign, as_text(content))
    store.save(device("Other", "ZZ99"))
    asked = device(credentials=None)
    complaint = str(foreign)
    try:
        store.fill(asked)
        store.import_foreign()
    except CredentialsError as exc:
        complaint = str(exc)
    assert str(foreign) in complaint
    service = asked.service("dmap")
    for value in (service.credentials, service.password):
        assert value is None or isinstance(value, str)
    for known in store.devices():
        assert known.device.identifiers
        assert all(isinstance(identifier, str) for identifier in known.device.identifiers)
    assert foreign.read_bytes() == (text if isinstance(text, bytes) else text.encode())


def test_paths_may_be_path_objects(tmp_path):
    Store(pathlib.Path(tmp_path) / "a.json").save(device())
    assert Store(str(tmp_path / "a.json")).find("Den").identifier == "AA11"


# -- whatever the file is


def as_a_folder(path):
    path.mkdir()


def as_a_pipe(path):
    os.mkfifo(path)


def as_nested(path):
    path.write_bytes(b'{"devices": [], "later": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")


def as_half_a_character(path):
    path.write_text(json.dumps(with_entry(name="Den \ud83d")))


def as_too_large(path):
    with open(path, "wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize(
    "make", [as_a_folder, as_a_pipe, as_nested, as_half_a_character, as_too_large]
)
@pytest.mark.parametrize(
    "words", [["devices"], ["-n", "Den", "up"], ["devices", "alias", "tv", "x"], ["scan"], ["pair"]]
)
def test_a_store_that_is_none(path, tv, capsys, make, words):
    """One line and the exit code of credentials; what is there stays."""
    path.unlink()
    make(path)
    before = path.stat()
    code, out, err = run(capsys, *words)
    assert (code, out) == (6, "")
    assert err.startswith(f"tinyatv: {path} is damaged (")
    assert err.count("\n") == 1
    assert path.stat().st_ino == before.st_ino


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [200, 400, 600, 800, 990])
def test_nested_as_deep_as_can_be_read(path, store, depth):
    """Reading takes more levels than writing: it is written as it was, or not at all."""
    text = written(path, f'{{"version": 1, "devices": [], "later": {nested(depth)}}}')
    try:
        store.save(device())
        data = json.loads(path.read_text("utf-8"))
        assert "".join(json.dumps(data["later"]).split()) == nested(depth)
    except CredentialsError:
        assert path.read_text("utf-8") == text


def test_half_a_character_from_the_network(path, store):
    store.save(device("Den \ud83d"))
    assert store.find("AA11").name == "Den ?"


# -- versions


def test_a_later_version_stays_one(path, store):
    service = {"port": 3689, "identifier": "AA11", "credentials": GUID, "later": {"x": [1]}}
    entry = {
        "name": "Den", "address": "192.0.2.10", "identifiers": ["AA11"], "later": None,
        "info": {"model": "Gen3", "operating_system": "LaterOS", "later": [1]},
        "services": {"dmap": service, "telepathy": ["x"]},
    }  # fmt: skip
    made = {"version": 99, "later": {"x": 1}, "devices": [entry], "client": {"later": 5}}
    written(path, json.dumps(made))
    store.save(device(address="192.0.2.11"))
    store.set_alias("Den", "tv")
    store.set_default("tv")
    identity = store.client_id()
    store.save(device("Other", "BB22"))
    store.forget("Other")
    expect = json.loads(json.dumps(made))
    expect["client"]["id"] = identity
    expect["default"] = "AA11"
    expect["devices"][0].update(address="192.0.2.11", alias="tv")
    expect["devices"][0]["services"]["dmap"]["pairing"] = "Unsupported"
    assert json.loads(path.read_text("utf-8")) == expect


def test_a_later_version_that_cannot_be_read(path, store):
    text = written(path, json.dumps({"version": 99, "devices": {"AA11": {}}}))
    for action in (store.devices, lambda: store.save(device())):
        with pytest.raises(CredentialsError, match=r"later version.*: update tinyatv$"):
            action()
    assert path.read_text("utf-8") == text


def test_halves_keep_what_only_one_has(path, store):
    """Unknown fields, and credentials of a protocol that both halves have."""
    bare = {"port": 3689, "identifier": "AA11"}
    full = {"port": 0, "identifier": "BB22", "credentials": GUID, "later": 1}
    entries = [
        {"identifiers": ["AA11"], "services": {"dmap": bare}},
        {"identifiers": ["BB22"], "services": {"dmap": full}, "later": [1], "alias": "tv"},
    ]
    written(path, json.dumps({"devices": entries}))
    both = [Service("dmap", 3689, identifier="AA11"), Service("mrp", 1, identifier="BB22")]
    store.save(Device("Den", "192.0.2.10", both))
    [entry] = json.loads(path.read_text("utf-8"))["devices"]
    assert (entry["later"], entry["alias"]) == ([1], "tv")
    assert entry["services"]["dmap"]["credentials"] == GUID
    assert entry["services"]["dmap"]["later"] == 1


# -- processes that meet, or end

NAMES = """
import sys
from tinyatv.store import Store
from tinyatv.model import Device, Service
path, mark, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store(path, foreign=None)
for number in range(count):
    name = f"{mark}{number}"
    store.save(Device(name, "192.0.2.1", [Service("dmap", 1, identifier=name)]))
"""


def test_a_link_and_its_target_are_one_store(path, tmp_path, share):
    """Two processes write at once, one through a symbolic link: no device is lost."""
    path.parent.mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(path)
    count = share(500)
    writers = [
        subprocess.Popen([sys.executable, "-c", NAMES, str(file), mark, str(count)], cwd=ROOT)
        for file, mark in ((path, "a"), (link, "b"))
    ]
    try:
        assert [writer.wait(timeout=300) for writer in writers] == [0, 0]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    expect = {f"{mark}{number}" for mark in "ab" for number in range(count)}
    assert {known.device.name for known in Store(link).devices()} == expect
    assert link.is_symlink()
    assert {p.name for p in path.parent.iterdir()} == {"devices.json", "devices.json.lock"}


DIES = """
import os, signal, sys
from tinyatv.store import Store
from tinyatv.model import Device, Service
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
os.fsync = kill  # the data is in the temporary file
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        credentials = "0x0123456789ABCDEF"
        service = Service("dmap", 1, identifier="AA11", credentials=credentials)
        Store(sys.argv[1], foreign=None).save(Device("Den", "192.0.2.1", [service]))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


def test_temporary_files_of_killed_processes_go(path, store, share):
    """They hold credentials. Those that are being written, and files of others, stay."""
    path.parent.mkdir()
    others = {".devices.json-backup.tmp", ".devices.json-abc.tmp", ".other-12345678.tmp"}
    for name in others:
        (path.parent / name).write_text("mine")
    count = share(200)
    subprocess.run([sys.executable, "-c", DIES, str(path), str(count)], cwd=ROOT, check=True)
    left = {p.name for p in path.parent.iterdir()} - others
    assert [name for name in left if name.endswith(".tmp")], "none was killed in the middle"
    with files_being_written(path) as living:
        store.save(device("Other", "BB22"))
        now = {p.name for p in path.parent.iterdir()}
    assert now == {"devices.json", "devices.json.lock", living} | others
    store.save(device("Other", "BB22"))
    now = {p.name for p in path.parent.iterdir()}
    assert now == {"devices.json", "devices.json.lock"} | others
    assert [known.device.name for known in store.devices()] == ["Other"]


@contextlib.contextmanager
def files_being_written(path):
    """A temporary file of a process that lives."""
    name = f".{path.name}-abcd1234.tmp"
    with open(path.parent / name, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield name


def test_other_files_are_cleaned_up_as_well(tmp_path):
    """A proxy's memory holds keys, too."""
    (tmp_path / ".image.png-12345678.tmp").write_text("half")
    replace_file(tmp_path / "image.png", b"whole")
    assert {p.name for p in tmp_path.iterdir()} == {"image.png", "home"}


def test_a_temporary_file_that_somebody_removes(tmp_path, monkeypatch):
    """Another writer may take it for a left one, in the moment before it is locked."""
    write, times = os.fsync, []

    def fsync(handle):
        write(handle)
        if len(times) < 2:
            times.append(handle)
            [temporary] = [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]
            temporary.unlink()

    monkeypatch.setattr(os, "fsync", fsync)
    replace_file(tmp_path / "image.png", b"whole")
    assert (tmp_path / "image.png").read_bytes() == b"whole"
    assert len(times) == 2


def test_a_lock_that_is_held_for_ever(path, tmp_path, monkeypatch, capsys):
    """By its real path; reading needs no lock, and what was paired is not lost."""
    Store().save(device())
    monkeypatch.setattr("tinyatv.store.PATIENCE", 0.2)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    before = path.read_bytes()
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(capsys, "--storage-filename", str(link), "devices")[0] == 0
        code, out, err = run(
            capsys, "--storage-filename", str(link), "devices", "alias", "Den", "tv"
        )
    assert (code, out) == (1, "")
    assert err == f"tinyatv: {path}.lock: another process has held it for 0.2 s\n"
    assert path.read_bytes() == before
    assert run(capsys, "devices", "alias", "Den", "tv")[0] == 0


# -- folders and users


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_folders_are_for_their_owner_alone(tmp_path, mask):
    path = tmp_path / "a" / "b" / "c" / "devices.json"
    before = os.umask(mask)
    try:
        Store(path).save(device())
        Store(path).set_alias("Den", "tv")
    finally:
        os.umask(before)
    assert [mode(folder) for folder in list(path.parents)[:3]] == [0o700] * 3
    assert [mode(p) for p in path.parent.iterdir()] == [0o600] * 2
    assert Store(path).find("tv").name == "Den"


def test_folders_that_are_there_stay_as_they_are(tmp_path):
    tmp_path.chmod(0o755)
    Store(tmp_path / "a" / "devices.json").save(device())
    assert mode(tmp_path) == 0o755


BECOME = """
import contextlib, importlib, io, os, pkgutil, sys
import tinyatv
from tests.support.program import main
for module in pkgutil.walk_packages(tinyatv.__path__, "tinyatv."):  # while we may read them
    importlib.import_module(module.name)
with contextlib.redirect_stdout(io.StringIO()):
    main(["--storage", "none", "devices"])
os.setgid(4321)
os.setuid(4321)
"""


def as_another_user(code, *args, **environment):
    """Run code as a user that this machine does not know."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "TINYATV_STORE")}
    command = [sys.executable, "-c", BECOME + code, *map(str, args)]
    return subprocess.run(
        command, cwd=ROOT, env={**env, **environment}, capture_output=True, text=True, timeout=60
    )


MAIN = "sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize("words", [["devices"], ["up"], ["print_settings"]])
def test_no_home(words):
    """It says what to set, and makes no folder called ~."""
    done = as_another_user(MAIN, *words)
    assert (done.returncode, done.stdout) == (6, "")
    assert "set HOME or TINYATV_STORE" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (pathlib.Path(ROOT) / "~").exists()


@pytest.mark.parametrize("given", ["~nobody-of-that-name/x.json", "~~"])
def test_a_home_that_is_not_known(monkeypatch, given):
    monkeypatch.setenv("TINYATV_STORE", given)
    with pytest.raises(CredentialsError, match="set HOME or TINYATV_STORE"):
        Store()


@pytest.fixture
def shared():
    """A folder that everybody can get at and write to; that of pytest is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield pathlib.Path(folder)


def test_no_home_and_no_need_for_one(shared):
    done = as_another_user(MAIN, "devices", TINYATV_STORE=str(shared / "devices.json"))
    assert (done.returncode, done.stderr) == (0, "")
    done = as_another_user(MAIN, "--storage", "none", "devices")
    assert (done.returncode, done.stderr) == (0, "")


def test_files_of_another_user(shared):
    """Their store cannot be read, their lock not taken, their folder not written: one line each."""
    path = shared / "devices.json"
    Store(path).save(device())
    before = path.read_bytes()
    for words in (["devices"], ["devices", "forget", "Den"], ["-n", "Den", "up"]):
        done = as_another_user(MAIN, *words, TINYATV_STORE=str(path))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"tinyatv: {path}: Permission denied\n"
    path.chmod(0o644)
    done = as_another_user(MAIN, "devices", "forget", "Den", TINYATV_STORE=str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"tinyatv: {path}.lock: Permission denied\n"
    (shared / "closed").mkdir(mode=0o700)
    for name in ("closed/devices.json", "closed/more/devices.json"):
        done = as_another_user(MAIN, "devices", TINYATV_STORE=str(shared / name))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
    assert path.read_bytes() == before


def test_a_trace_into_a_file_of_another_user(shared):
    path = shared / "trace.jsonl"
    path.write_text("theirs")
    path.chmod(0o666)
    code = "tinyatv.Trace(sys.argv[1]).start()"
    done = as_another_user(code, path)
    assert done.returncode == 1
    assert f"it belongs to another user, who could read the trace: '{path}'" in done.stderr
    assert path.read_text() == "theirs"
    path.unlink()
    assert as_another_user(code, path).returncode == 0
    with pytest.raises(PermissionError, match="belongs to another user"):
        Trace(path).start()  # nor does root write into what a user may read
