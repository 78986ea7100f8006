"""The store: who may read it, what survives, who is meant, and the other library's file."""

from __future__ import annotations

import json
import os
import pathlib
import re
import stat
import subprocess
import sys

import pytest

from tests.support.program import ROOT, limited
from tinyatv.errors import CredentialsError, DeviceNotFound
from tinyatv.model import Device, DeviceInfo, OperatingSystem, Service
from tinyatv.store import Store, default_path

GUID = "0x0123456789ABCDEF"
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
        == "'twin' is the name of several devices: AA11 at 192.0.2.1, BB22 at 192.0.2.2"
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

HAP = ":".join(["ab" * 32, "cd" * 32, "41423a4344", "65662d3031"])
LEGACY = f"{'0123456789ABCDEF'}:{'ef' * 32}"
HSGID = "00000000-110e-2165-db5a-61d3c9944002"

# Origin: the layout and the forms of credentials as documented; invented values.
FOREIGN = json.dumps(
    {
        "version": 1,
        "devices": [
            {
                "info": {"name": "Me", "mac": "02:70:79:61:74:76", "rp_id": "0123456789ab"},
                "protocols": {
                    "airplay": {"identifier": "11:22:33:44:55:66", "credentials": HAP},
                    "companion": {"identifier": "CC33", "credentials": HAP},
                    "mrp": {"identifier": "MM44", "credentials": HAP},
                    "raop": {
                        "identifier": "112233445566", "password": "pass", "timing_port": 5,
                        "protocol_version": "2",
                    },
                },
            },
            {"info": {}, "protocols": {"airplay": {"identifier": "OLD", "credentials": LEGACY}}},
            {"info": {}, "protocols": {"dmap": {"identifier": "AA11", "credentials": GUID}}},
            {"info": {}, "protocols": {"dmap": {"identifier": "BB22", "credentials": HSGID}}},
            {"info": {}, "protocols": {"dmap": {"identifier": "EE55", "credentials": ""}}},
            {"info": {}, "protocols": {"dmap": {"credentials": GUID}}},
            {"info": {}, "protocols": {"later": {"identifier": "FF66", "credentials": "x"}}},
            {"info": {}, "protocols": {}},
            {"info": {}},
        ],
    },
    indent=4,
)  # fmt: skip


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
