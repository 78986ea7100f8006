"""DMAP pairing without a network: hashes, names, and a client that judges codes."""

from __future__ import annotations

import pytest

import tinyatv
from tests.conftest import cases
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


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"cmpa\0\0\0\0", b"cmpa\0\0\0\x0ccmpg\0\0", dmap.encode([("cmnm", "x")])],
)
def test_answers_without_guid(body):
    with pytest.raises(tinyatv.ProtocolError):
        pairing.granted(body)


@pytest.mark.parametrize("pin", ["", "12345", "12a4", "-123", "1 23", "¼", -1, 10000, "١٢٣٤"])
def test_bad_pins(pin):
    with pytest.raises(ValueError, match="PIN"):
        pairing.check_pin(pin)


@pytest.mark.parametrize("guid", ["", "0xBEEF", "0" * 17, "g" * 16, "0x" + "0" * 15])
def test_bad_guids(guid):
    with pytest.raises(ValueError, match="GUID"):
        pairing.check_guid(guid)
