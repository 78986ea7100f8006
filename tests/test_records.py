"""TXT records to devices: the worked examples of the fact sheet, and what is odd or hostile."""

from __future__ import annotations

import random

import pytest

from tests.support.vectors import cases, check_scan
from tinyatv import services
from tinyatv.discovery import records
from tinyatv.discovery.records import Record, build_device, build_devices, merge_devices
from tinyatv.model import PairingRequirement
from tinyatv.services import (
    AIRPLAY,
    AIRPORT,
    COMPANION,
    DEVICE_INFO,
    HOME_SHARING,
    MRP,
    MUSIC,
    RAOP,
    SERVICE_TYPES,
    SLEEP_PROXY,
    TOUCH_ABLE,
)

ADDRESS = "192.0.2.7"


def vectors(group):
    return pytest.mark.parametrize("case", cases("discovery", group), ids=lambda c: c["name"])


def record(kind, instance="Den", port=7000, **txt):
    return Record(kind, instance, port, ADDRESS, txt)


def of(case):
    """The records of a case, keys as a device spells them."""
    return [
        Record(one["type"], one["instance"], one["port"], ADDRESS, one["txt"])
        for one in case["services"]
    ]


def parsed(case):
    """The one record of a case, keys as they come out of a TXT record."""
    txt = {key.lower(): value for key, value in case["txt"].items()}
    return Record(case["type"], case["instance"], 7000, ADDRESS, txt)


@vectors("features")
def test_features(case):
    expect = case["expect"]
    if "error" in expect:
        with pytest.raises(ValueError, match="features"):
            services.parse_features(case["text"])
        return
    value = services.parse_features(case["text"])
    assert value == int(expect["value_int_hex"], 16)
    assert [bit for bit in range(64) if value >> bit & 1] == expect["bits"]
    assert bool(value & services.AIRPLAY_2_FEATURES) == expect["airplay2"]
    assert bool(value & services.PLAY_URL_FEATURES) == expect["play_url"]


@vectors("airplay_pairing")
def test_airplay_pairing(case):
    txt = {"deviceid": "AA:BB:CC:00:00:02", **case["txt"]}
    service = build_device(ADDRESS, [record(AIRPLAY, **txt)]).service("airplay")
    assert service.pairing.name == case["expect"]["pairing"]
    assert service.requires_password == case["expect"]["password"]


@vectors("companion_pairing")
def test_companion_pairing(case):
    txt = {"rpMRtID": "M", "rpFl": case["rpFl"]}
    device = build_device(ADDRESS, [record(COMPANION, **txt)])
    assert device.service("companion").pairing.name == case["expect"]["pairing"]


@vectors("mrp_pairing")
def test_mrp_pairing(case):
    txt = {"UniqueIdentifier": "M", **case["txt"]}
    service = build_device(ADDRESS, [record(MRP, **txt)]).service("mrp")
    assert service.pairing.name == case["expect"]["pairing"]
    assert service.enabled == case["expect"]["enabled"]


@vectors("dmap_pairing")
def test_dmap_pairing(case):
    service = build_device(ADDRESS, [record(TOUCH_ABLE, **case["txt"])]).service("dmap")
    assert service.pairing.name == case["expect"]["pairing"]
    assert service.credentials == case["txt"].get("hG")


@vectors("build_version")
def test_build_version(case):
    assert services.version_of_build(case["build"]) == case["expect"]["version"]


@vectors("models")
def test_models(case):
    if "internal" in case:
        found = [record(DEVICE_INFO, port=0, model=case["internal"])]
        txt = {"deviceid": "A"}
    else:
        found = []
        txt = {"deviceid": "A", "model": case["model"]} if case["model"] else {"deviceid": "A"}
    info = build_device(ADDRESS, [record(AIRPLAY, **txt), *found]).info
    assert info.model_name == case["expect"]["text"]
    if "os" in case["expect"]:
        assert info.operating_system.name.lower() == (case["expect"]["os"] or "Unknown").lower()


@vectors("text_values")
def test_text_values(case):
    data, expect = bytes.fromhex(case["data_hex"]), case["expect"]
    if "error" in expect:
        with pytest.raises(ValueError, match=expect["error"]):
            records.parse_txt(data)
    elif "keys" in expect:
        assert list(records.parse_txt(data)) == expect["keys"]
    else:
        assert [list(pair) for pair in records.parse_txt(data).items()] == expect["items"]


@vectors("identifiers")
def test_identifiers(case):
    assert records.service_identifier(parsed(case)) == case["expect"]["identifier"]


@vectors("names")
def test_names(case):
    assert (records.device_name(parsed(case)) or "Unknown") == case["expect"]["device_name"]


@vectors("airport")
def test_airport(case):
    raop = record(RAOP, "CCDD@AX", am="AirPort10,115")
    info = build_device(ADDRESS, [raop, record(AIRPORT, "AX", 5009, wama=case["wama"])]).info
    assert (info.mac, info.version) == (case["expect"]["mac"], case["expect"]["version"])


@vectors("sleep_proxy")
def test_sleep_proxy(case):
    metrics, features, name = records.parse_sleep_proxy(case["instance"])
    assert list(metrics) == case["expect"]["metrics"]
    assert features == case["expect"]["features"]
    assert name == case["expect"]["device_name"]


def test_no_sleep_proxy():
    with pytest.raises(ValueError, match="sleep proxy"):
        records.parse_sleep_proxy("Ohana")


@vectors("scan")
def test_scan_matrix(case):
    device = build_device(ADDRESS, of(case), deep_sleep=True, query="den:5353")
    if case["expect"] is None:
        assert device is None
        return
    check_scan(device, case["expect"])
    assert (device.address, device.query, device.deep_sleep) == (ADDRESS, "den:5353", True)
    kinds = {one["type"].rstrip(".") for one in case["services"]}
    assert set(device.properties) == kinds


def test_every_kind_has_a_protocol_or_none():
    protocols = {row.protocol for row in SERVICE_TYPES.values()}
    assert protocols == {"airplay", "raop", "mrp", "companion", "dmap", None}
    assert all(kind.endswith(("._tcp.local.", "._udp.local.")) for kind in SERVICE_TYPES)


def test_services_of_one_protocol_merge():
    device = build_device(
        ADDRESS,
        [
            record(TOUCH_ABLE, "61FB_2", 3689, CtlN="Den", both="1"),
            record(HOME_SHARING, "0000", 3690, Name="Bedroom", hG="11-22", both="2"),
        ],
    )
    (service,) = device.services
    assert (service.port, service.identifier, service.credentials) == (3689, "61FB", "11-22")
    assert service.properties["both"] == "2"
    assert device.name == "Den"
    assert device.properties["_touch-able._tcp.local"] == {"ctln": "Den", "both": "1"}


def test_a_version_that_is_told_beats_a_guess():
    mrp = record(MRP, UniqueIdentifier="M", SystemBuildVersion="23K53")
    assert build_device(ADDRESS, [mrp]).info.version == "26.x"
    airplay = record(AIRPLAY, deviceid="A", osvers="26.2")
    assert build_device(ADDRESS, [mrp, airplay]).info.version == "26.2"


def test_model_decides_about_the_system():
    # An Apple TV 4 up to tvOS 12 speaks the protocol of the old ones, too.
    old = record(TOUCH_ABLE, "61FB", 3689, CtlN="Den")
    new = record(AIRPLAY, deviceid="A", model="AppleTV5,3", osvers="11.4")
    assert str(build_device(ADDRESS, [old, new]).info) == "Apple TV 4, tvOS 11.4"
    assert str(build_device(ADDRESS, [old]).info) == "Unknown, ATV SW"


def test_device_without_services_or_port():
    assert build_device(ADDRESS, []) is None
    assert build_device(ADDRESS, [record(AIRPLAY, port=0, deviceid="A")]) is None
    assert build_device(ADDRESS, [record(SLEEP_PROXY, "70-35-60-63.1 Den", 5000)]) is None


def test_raop_obeys_the_rights_of_airplay_whatever_comes_first():
    raop = record(RAOP, "AA@Den", sf="0x200")
    for txt, expect in (({"acl": "1"}, "Disabled"), ({"act": "2"}, "Unsupported")):
        airplay = record(AIRPLAY, deviceid="A", flags="0x200", **txt)
        for order in ([raop, airplay], [airplay, raop]):
            assert build_device(ADDRESS, order).service("raop").pairing.name == expect


@pytest.mark.parametrize("flags", ["", "zz", "0x", "-", "0x244 ", None, "١"])
def test_odd_flags_are_no_reason_to_lose_a_device(flags):
    device = build_device(ADDRESS, [record(AIRPLAY, deviceid="A", flags=flags, features="foo")])
    assert isinstance(device.service("airplay").pairing, PairingRequirement)


def test_one_odd_service_does_not_hide_the_others():
    good = record(AIRPLAY, deviceid="A")
    bad = record(RAOP, "AA@Den", port=123456)
    assert [one.protocol for one in build_device(ADDRESS, [bad, good]).services] == ["airplay"]


def test_values_missing_everywhere():
    # Every key that anybody looks at, present without value.
    keys = "deviceid model osvers flags pw acl act psi pi am ov sf wama hG Name CtlN rpMd rpFl"
    keys += " UniqueIdentifier SystemBuildVersion AllowPairing macAddress rpMRtID pk"
    txt = dict.fromkeys(keys.split())
    found = [record(kind, "61FB", 3689, **txt) for kind in SERVICE_TYPES]
    assert build_device(ADDRESS, found).identifier == "61FB"


def test_random_records(share):
    rng = random.Random(20)
    keys = ["deviceid", "model", "flags", "sf", "acl", "act", "pw", "wama", "hg", "rpfl", "rpmrtid"]
    keys += ["systembuildversion", "uniqueidentifier", "name", "ctln", "am", "osvers", "psi", ""]
    values = [None, "", "1", "2", "0x244", "Mac14,2", "AppleTV6,2", "=", ",", "18M60", "9" * 250]
    values += ["\0", "\ufffd", "AA:BB:CC:DD:EE:FF", "true", "é", "_hscp._tcp.local."]
    for _ in range(share(20000)):
        found = [
            record(
                rng.choice([*SERVICE_TYPES, "_other._tcp.local."]),
                rng.choice(["", "@", "a@b", "_", "Den", "x" * 63]),
                rng.choice([0, 1, 7000, 65535]),
                **{rng.choice(keys): rng.choice(values) for _ in range(rng.randrange(6))},
            )
            for _ in range(rng.randrange(6))
        ]
        device = build_device(ADDRESS, found)
        assert device is None or device.identifier


def test_random_text(share):
    rng = random.Random(21)
    for _ in range(share(20000)):
        data = bytes(rng.randrange(256) for _ in range(rng.randrange(20)))
        try:
            pairs = records.parse_txt(data)
        except ValueError:
            continue
        assert all(key and key == key.lower() for key in pairs)


def test_text_round_trip():
    txt = {"a": "1", "b": None, "c": "", "d": "é" * 100}
    assert records.parse_txt(records.encode_txt(txt)) == txt
    assert records.encode_txt({"rpMd": "x", "raw": b"\xff"}) == b"\x06rpMd=x\x05raw=\xff"
    assert records.encode_txt({}) == b"\0"
    assert records.parse_txt(b"\0") == {}
    assert len(records.encode_txt({"k": "x" * 253})) == 256
    with pytest.raises(ValueError, match="'k' takes 256 bytes"):
        records.encode_txt({"k": "x" * 254})


def test_merge_shared_identifier():
    def device(address, *found, **kw):
        return build_device(address, [one._replace(address=address) for one in found], **kw)

    airplay = record(AIRPLAY, deviceid="A")
    raop, mrp = record(RAOP, "A@Den"), record(MRP, UniqueIdentifier="M", port=49152)
    wire = device("192.0.2.7", airplay, mrp)
    radio = device("192.0.2.8", airplay, raop, deep_sleep=True)
    other = device("192.0.2.9", record(MUSIC, port=3689, **{"Machine ID": "X"}))
    first, second = merge_devices([wire, other, radio])
    assert second is other
    assert first.address == "192.0.2.7"
    assert first.deep_sleep
    assert [one.protocol for one in first.services] == ["airplay", "mrp", "raop"]


# -- which records are one device ------------------------------------------------------------------


def twin(number, name, host="", address=ADDRESS):
    """AirPlay, RAOP and Companion of one receiver; Companion has nothing to identify it."""
    mac = f"02:00:5E:00:00:{number:02X}"
    txt = {"deviceid": mac, "model": "AppleTV6,2", "psi": f"P{number}"}
    found = [
        Record(AIRPLAY, name, 7000 + number, address, txt),
        Record(
            RAOP, f"{mac.replace(':', '')}@{name}", 7100 + number, address, {"am": "AppleTV6,2"}
        ),
        Record(COMPANION, name, 7200 + number, address, {"rpmd": f"AppleTV{number},1"}),
        Record(DEVICE_INFO, name, 0, address, {"model": "J105aAP"}),
    ]
    return [one._replace(host=host) for one in found]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (twin(1, "Den", "a.local."), twin(2, "Kitchen", "b.local.")),
        (twin(1, "Den", "a.local."), twin(2, "Kitchen", "a.local.")),  # two receivers, one computer
        (twin(1, "Den", "a.local."), twin(2, "Den", "b.local.")),
        (twin(1, "Den"), twin(2, "Kitchen")),
        (twin(1, "Den", "a.local."), twin(2, "Den", "a.local.", "192.0.2.8")),  # two networks
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_two_devices_at_one_address(one, other, seed):
    found = [*one, *other]
    random.Random(seed).shuffle(found)
    devices, unusable = build_devices(found)
    assert unusable == []
    first, second = sorted(devices, key=lambda device: device.service("airplay").port)
    for number, device in ((1, first), (2, second)):
        assert {s.protocol: s.port for s in device.services} == {
            "airplay": 7000 + number, "raop": 7100 + number, "companion": 7200 + number,
        }  # fmt: skip
        assert device.info.output_device_id == f"P{number}"
        assert device.service("companion").properties == {"rpmd": f"AppleTV{number},1"}


def test_one_device_with_several_hosts_and_names():
    airplay = record(AIRPLAY, "Den", deviceid="02:00:5E:00:00:01")
    raop = record(RAOP, "02005E000001@Den speaker")
    companion = record(COMPANION, "Den")
    found = [
        airplay._replace(host="a.local."),
        raop._replace(host="b.local.", address="192.0.2.8"),
        companion._replace(host="c.local."),
    ]
    ((device,), unusable) = build_devices(found)
    assert unusable == []
    assert {one.protocol for one in device.services} == {"airplay", "raop", "companion"}
    assert device.names == ["Den", "Den speaker"]
    assert device.addresses == [ADDRESS, "192.0.2.8"]
    for text in ("den SPEAKER", "den", "192.0.2.8", "02-00-5e-00-00-01", "02005E000001"):
        assert device.is_called(text)
    assert not device.is_called("speaker")


@pytest.mark.parametrize(
    "nobody",
    ["00:00:00:00:00:00", "FF:FF:FF:FF:FF:FF", "02:00:00:00:00:00", "0", "unknown",
     "00000000-0000-0000-0000-000000000000", ""],
)  # fmt: skip
def test_placeholders_identify_nobody(nobody):
    one = record(AIRPLAY, "Den", deviceid=nobody)._replace(address="192.0.2.7")
    other = record(AIRPLAY, "Kitchen", deviceid=nobody)._replace(address="192.0.2.8")
    devices, unusable = build_devices([one, other])
    assert devices == []
    assert {str(each) for each in unusable} == {
        "Den (192.0.2.7) answered, with airplay only: nothing identifies it (no deviceid)",
        "Kitchen (192.0.2.8) answered, with airplay only: nothing identifies it (no deviceid)",
    }
    raop = record(RAOP, "AA@Den")
    ((device,), _) = build_devices([one, raop])
    assert device.identifiers == ["AA"]
    assert device.info.mac is None


def test_what_nothing_identifies_is_named():
    found = [record(COMPANION, "Mac", rpfl="0x20000")]
    devices, (mac,) = build_devices(found)
    assert devices == []
    assert str(mac) == f"Mac ({ADDRESS}) answered, with companion only: nothing identifies it"


def test_merging_joins_what_seemed_two():
    ids = [{"deviceid": "A"}, {"UniqueIdentifier": "M"}]
    airplay, mrp = record(AIRPLAY, **ids[0]), record(MRP, Name="Den", **ids[1])
    devices = [build_device(f"192.0.2.{n}", [one]) for n, one in enumerate([airplay, mrp], 1)]
    both = build_device("192.0.2.3", [airplay, mrp])
    (device,) = merge_devices([*devices, both])
    assert device.addresses == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert {one.protocol for one in device.services} == {"airplay", "mrp"}


def test_records_from_elsewhere():
    """As another browser has them: keys as the device spells them, bytes."""
    txt = {b"deviceid": b"AA:BB:CC:00:00:02", b"model": b"AppleTV6,2", b"acl": None}
    device = build_device(ADDRESS, [Record(AIRPLAY, "Den", 7000, ADDRESS, txt)])
    assert device.identifier == "AA:BB:CC:00:00:02"
    assert device.service("airplay").properties["model"] == "AppleTV6,2"
    assert device.info.model == "Gen4K"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("AppleTV16,1", "Apple TV, tvOS 30.1"),
        ("AudioAccessory7,1", "HomePod, tvOS 30.1"),
        ("AppleTVfoo", "AppleTVfoo, Unknown OS 30.1"),
    ],
)
def test_models_newer_than_this(model, text):
    txt = {"deviceid": "A", "model": model, "osvers": "30.1"}
    info = build_device(ADDRESS, [record(AIRPLAY, **txt)]).info
    assert (str(info), info.raw_model, info.model) == (text, model, "Unknown")


@pytest.mark.parametrize("text", ["02005e102030", "02-00-5E-10-20-30", "02:00:5e:10:20:30"])
def test_spellings_of_a_hardware_address(text):
    assert build_device(ADDRESS, [record(AIRPLAY, deviceid=text)]).info.mac == "02:00:5E:10:20:30"
