"""DMAP pairing without a network: hashes, names, and a client that judges codes."""

from __future__ import annotations

from hashlib import md5

import pytest

import tinyatv
from tests.support.vectors import cases
from tinyatv.pairing import dmap as pairing
from tinyatv.wire import dmap

GUID = "0123456789ABCDEF"


@pytest.mark.parametrize("case", cases("dmap", "pairing_code"), ids=lambda case: case["name"])
def test_pairing_code(case):
    code = pairing.pairing_code(case["guid"], case["pin"])
    expected = case["expect"]
    if "code" in expected:
        assert code == expected["code"]
    elif "code_prefix" in expected:  # what a frequent mistake makes must not be accepted
        assert not code.lower().startswith(expected["code_prefix"])
        wrong = md5(bytes.fromhex(case["wrong_hashed_hex"])).hexdigest()
        assert wrong.startswith(expected["code_prefix"])
        remote = pairing.Remote(case["guid"], str(case["pin"]), "Remote")
        assert remote.answer("/pair", {"pairingcode": wrong}) == (500, b"")
    else:  # the request of a real device
        service = case["url"].split("servicename=")[1]
        assert pairing.ask(case["guid"], case["pin"], service) == case["url"]
        asked = dict(pair.split("=") for pair in case["url"].split("?")[1].split("&"))
        remote = pairing.Remote(case["guid"], str(case["pin"]), "Remote")
        assert (remote.answer("/pair", asked)[0] == 200) is expected["accepted"]


@pytest.mark.parametrize("case", cases("dmap", "pairing_names"), ids=lambda case: case["name"])
def test_names(case):
    if "address" in case:
        assert pairing.instance_name(case["address"]) == case["expect"]["instance"]
    else:
        guid = f"{int(case['guid_int_hex'], 16):016X}"
        assert pairing.credentials(guid) == case["expect"]["credentials"]


def test_new_guids_are_padded():
    guids = {pairing.new_guid() for _ in range(200)}
    assert len(guids) == 200
    assert all(pairing.check_guid(guid) == guid for guid in guids)
    assert any(guid.startswith("0") for guid in {pairing.new_guid() for _ in range(500)})


def ask(remote: pairing.Remote, pin: str, guid: str = GUID) -> tuple[int, bytes]:
    return remote.answer("/pair", {"pairingcode": pairing.pairing_code(guid, pin)})


def test_right_pin():
    remote = pairing.Remote(GUID, "1234", "Button")
    status, body = ask(remote, "1234")
    assert (status, remote.paired) == (200, True)
    assert dmap.decode(body) == [
        ("cmpa", [("cmpg", int(GUID, 16)), ("cmnm", "Button"), ("cmty", "iPhone")])
    ]
    assert pairing.granted(body) == f"0x{GUID}"


def test_code_in_lower_case():
    remote = pairing.Remote(GUID, "1234", "Button")
    code = pairing.pairing_code(GUID, "1234").lower()
    assert remote.answer("/pair", {"pairingcode": code})[0] == 200


def test_three_wrong_pins_are_the_end():
    remote = pairing.Remote(GUID, "1234", "Button")
    assert [ask(remote, pin)[0] for pin in ("4321", "0000", "9999")] == [500] * 3
    assert ask(remote, "1234") == (403, b"")
    assert not remote.paired


@pytest.mark.parametrize(
    ("path", "args", "status"),
    [
        ("/", {"pairingcode": "x"}, 404),
        ("/pairing", {}, 404),
        ("/pair", {}, 400),
        ("/pair", {"pairingcode": ""}, 500),
        ("/pair", {"pairingcode": "Ü" * 32}, 500),
    ],
)
def test_odd_requests(path, args, status):
    remote = pairing.Remote(GUID, "1234", "Button")
    assert remote.answer(path, args) == (status, b"")
    assert not remote.paired


def test_only_wrong_codes_count():
    remote = pairing.Remote(GUID, "1234", "Button")
    for _ in range(2):
        assert ask(remote, "4321")[0] == 500
        assert remote.answer("/pair", {"servicename": "x"})[0] == 400
        assert remote.answer("/login", {"pairingcode": "x"})[0] == 404
    assert ask(remote, "1234")[0] == 200
    assert remote.wrong == 2


def cmpa(cmpg: bytes) -> bytes:
    """An answer with nothing but a GUID of that many bytes."""
    item = b"cmpg" + len(cmpg).to_bytes(4, "big") + cmpg
    return b"cmpa" + len(item).to_bytes(4, "big") + item


@pytest.mark.parametrize(
    ("cmpg", "credentials"),
    [
        ("0123456789abcdef", "0x0123456789ABCDEF"),
        ("0bef14e8e636294b", "0x0BEF14E8E636294B"),
        ("0000000000000001", "0x0000000000000001"),
        ("ffffffffffffffff", "0xFFFFFFFFFFFFFFFF"),
        ("2a", "0x000000000000002A"),
    ],
)
def test_granted_guid_is_padded(cmpg, credentials):
    assert pairing.granted(cmpa(bytes.fromhex(cmpg))) == credentials


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"cmpa\0\0\0\0",
        b"cmpa\0\0\0\x0ccmpg\0\0",
        b"cmpa\xff\xff\xff\xffcmpg\0\0\0\1\1",
        cmpa(b"\1") + b"trailing",
        cmpa(b"\1")[8:],  # not inside a cmpa
        dmap.encode([("cmpa", [("cmnm", "x")])]),
        dmap.encode([("cmpa", b"cmpg")]),
        dmap.encode([("cmnm", "x")]),
        b"cmst\0\0\x40\0" * 4000,
        b"<html>" * 1000,
    ],
)
def test_answers_without_guid(body):
    with pytest.raises(tinyatv.ProtocolError) as caught:
        pairing.granted(body)
    assert caught.value.data == body


def test_remote_in_the_network():
    assert pairing.properties("Button", GUID) == {
        "DvNm": "Button", "RemV": "10000", "DvTy": "iPod", "RemN": "Remote", "txtvers": "1",
        "Pair": GUID,
    }  # fmt: skip
    assert all(pairing.check_pin(pairing.new_pin()) for _ in range(200))


@pytest.mark.parametrize(
    ("pin", "text"), [(0, "0000"), (1, "0001"), ("7", "0007"), ("0123", "0123"), (9999, "9999")]
)
def test_pins_are_padded(pin, text):
    assert pairing.check_pin(pin) == text
    assert pairing.pairing_code(GUID, pin) == pairing.pairing_code(f"0x{GUID.lower()}", text)


@pytest.mark.parametrize("pin", ["", "12345", "12a4", "-123", "1 23", "¼", -1, 10000, "١٢٣٤"])
def test_bad_pins(pin):
    with pytest.raises(ValueError, match="PIN"):
        pairing.check_pin(pin)


@pytest.mark.parametrize("guid", ["", "0xBEEF", "0" * 17, "g" * 16, "0x" + "0" * 15])
def test_bad_guids(guid):
    with pytest.raises(ValueError, match="GUID"):
        pairing.check_guid(guid)
