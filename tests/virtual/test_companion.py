"""The device side of Companion, asked by a client that helps with nothing."""

from __future__ import annotations

import contextlib
import plistlib
import random
import socket
import threading

import pytest

import tinyatv
from tests.support.airplay_client import Controller
from tests.support.companion_client import NUMBER, SERVICE, Refused, Remote, insertion, shown
from tests.support.mrp_client import Remote as MrpRemote
from tests.support.mutations import mutate
from tests.support.vectors import cases
from tinyatv import DeviceState, MediaType, PairingRequirement, PowerState, proto
from tinyatv.crypto import srp
from tinyatv.model import App
from tinyatv.pairing.credentials import parse
from tinyatv.services import COMPANION
from tinyatv.virtual import Item, VirtualAppleTV
from tinyatv.virtual.companion_text import field
from tinyatv.virtual.contents import TextField
from tinyatv.wire import archive, opack
from tinyatv.wire.companion import (
    EVENT,
    OPACK,
    REPLY,
    SETUP_NEXT,
    SETUP_START,
    VERIFY_NEXT,
    VERIFY_START,
    CompanionWire,
)

TVOS = ["tvos14", "tvos15", "tvos18", "tvos26", "tvos27"]
NETFLIX, PODCASTS, MUSIC = "com.netflix.Netflix", "com.apple.podcasts", "com.apple.TVMusic"
ALL = 0x0001 | 0x0002 | 0x0004 | 0x0008 | 0x0010 | 0x0020 | 0x0200 | 0x0400  # controls of a player
MUSIC_PLAYS = ALL | 0x00C0 | 0x0100
EVENTS = ["_iMC", "SystemStatus", "TVSystemStatus", "MediaControlStatus", "NowPlayingInfo"]


@pytest.fixture
def tv():
    with VirtualAppleTV("Den", profile="tvos15", protocols=["companion"]) as tv:
        yield tv


@pytest.fixture
def remote(tv):
    """A client that has done everything that remotes do at first."""
    with Remote(tv) as remote:
        yield remote.ready()


def refused(remote, code, *question):
    with pytest.raises(Refused) as error:
        remote.ask(*question)
    assert error.value.code == code
    return error.value.args[1]


# -- what it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", TVOS)
def test_every_apple_tv_of_tvos_speaks_it(profile):
    with VirtualAppleTV("Den", profile=profile) as tv, Remote(tv) as remote:
        [record] = [one for one in tv.records() if one.kind == COMPANION]
        assert (record.instance, record.port) == ("Den", tv.ports["companion"])
        assert record.txt["rpMd"] == tv.model
        assert record.txt["rpMRtID"] == tv.identifier
        assert record.txt["rpBA"] == tv.mac
        for key in ("rpHN", "rpHA", "rpAD", "rpHI"):
            assert len(bytes.fromhex(record.txt[key])) == 6
        service = tv.device.service("companion")
        assert service.pairing is PairingRequirement.Mandatory
        assert (service.port, service.credentials) == (record.port, tv.credentials["companion"])
        remote.ready()
        remote.tap(6)
        assert tv.log == ["select"]


@pytest.mark.parametrize("profile", ["atv3", "airplay1", "homepod"])
def test_others_do_not(profile):
    tv = VirtualAppleTV(profile=profile)
    assert "companion" not in tv.protocols
    with pytest.raises(AttributeError, match="Companion"):
        _ = tv.companion
    with pytest.raises(ValueError, match="can speak"):
        VirtualAppleTV(profile=profile, protocols=["companion"])
    tv.stop()


def test_some_of_its_protocols():
    with VirtualAppleTV(profile="tvos15", protocols=["airplay"]) as tv:
        assert set(tv.ports) == set(tv.credentials) == {"airplay"}
        assert not [record for record in tv.records() if record.kind == COMPANION]
    with VirtualAppleTV(profile="tvos15", protocols=["companion"]) as tv:
        assert set(tv.ports) == set(tv.credentials) == {"companion"}
        assert tv.requests is tv.companion.requests


@pytest.mark.parametrize("case", cases("companion", "discovery"), ids=lambda case: case["name"])
def test_flags_of_the_record(case):
    with VirtualAppleTV(profile="tvos15") as tv:
        tv.companion.identity.extra["rpFl"] = case["rpFl"]
        assert tv.device.service("companion").pairing.name == case["expect"]["pairing"]


def test_found_by_a_scan():
    with VirtualAppleTV("Den", profile="tvos26", mdns_port=0) as tv:
        (found,) = tinyatv.scan(5.0, hosts=[f"127.0.0.1:{tv.ports['mdns']}"])
        assert found.service("companion").port == tv.ports["companion"]
        assert found.service("companion").identifier == tv.identifier
        assert found.identifier in found.identifiers


def test_what_it_says_of_itself(tv):
    with Remote(tv) as remote:
        about = remote.verify().introduce()
    assert (about["name"], about["model"]) == ("Den", tv.model)
    assert SERVICE in about["_stA"]
    assert about["_lP"] == tv.ports["companion"]
    assert about["_mRtID"] == tv.identifier
    assert len(bytes.fromhex(about["_i"])) == 6
    assert tv.companion.complaints == []


# -- pairing ---------------------------------------------------------------------------------------


@pytest.fixture
def unpaired():
    with VirtualAppleTV(profile="tvos15", credentials=()) as tv:
        yield tv


@pytest.mark.parametrize("bytewise", [False, True])
def test_pair_and_verify(unpaired, bytewise):
    tv = unpaired
    with Remote(tv, bytewise) as remote:
        credentials = remote.pair(lambda: tv.pin)
        assert tv.wait_for(lambda: tv.pin is None)
        assert len(tv.pins) == 1
    with Remote(tv, bytewise) as remote:
        remote.ready(credentials)
        remote.tap(1)
    assert tv.log == ["up"]
    assert tv.companion.requests[:5] == ["pair M1", "pair M3", "pair M5", "verify M1", "verify M3"]
    assert tv.companion.complaints == []


def test_goes_on_after_pairing(unpaired, monkeypatch):
    """As Apple's remotes do: with the keys of the pairing, on the same connection."""
    tv, secrets = unpaired, []

    class Client(srp.Client):
        def check(self, proof):
            secrets.append(self.key)
            return super().check(proof)

    monkeypatch.setattr(srp, "Client", Client)
    with Remote(tv) as remote:
        remote.client = remote.pair(lambda: tv.pin).client_id
        remote.secure(secrets[0])
        remote.introduce()
        remote.begin()
        remote.tap(2)
        [peer] = tv.companion.peers
        assert peer.client == remote.client
    assert tv.log == ["down"]
    assert tv.companion.complaints == []


def test_verifies_after_pairing(unpaired):
    """On the same connection, as nobody forbids."""
    with Remote(unpaired) as remote:
        credentials = remote.pair(lambda: unpaired.pin)
        remote.ready(credentials)
        remote.tap(3)
    assert unpaired.log == ["left"]


def test_wrong_pin(unpaired):
    with Remote(unpaired) as remote:
        wrong = lambda: f"{(int(unpaired.pin) + 1) % 10000:04}"  # noqa: E731
        with pytest.raises(tinyatv.PairingError, match="wrong PIN"):
            remote.pair(wrong)
        with pytest.raises(tinyatv.PairingBackOff):
            remote.pair(lambda: unpaired.pin)
    assert unpaired.accessory.clients == {}


def test_one_pin_for_all_protocols():
    """The device remembers a client, not the way by which it came."""
    with VirtualAppleTV(profile="tvos15", credentials=()) as tv:
        with Remote(tv) as remote:
            credentials = remote.pair(lambda: tv.pin)
        with Controller(tv.airplay) as controller:
            controller.verify(credentials)
    with VirtualAppleTV(profile="tvos15", credentials=(), pin="1234") as tv:
        with Controller(tv.airplay) as controller:
            credentials = controller.pair("1234")
        with Remote(tv) as remote:
            remote.verify(credentials)
    with VirtualAppleTV(profile="tvos14", credentials=()) as tv:
        with Remote(tv) as remote:
            credentials = remote.pair(lambda: tv.pin)
        with MrpRemote(tv) as remote:
            remote.hello()
            remote.verify(str(credentials))


def test_pairing_not_allowed(unpaired):
    unpaired.companion.identity.allows_pairing = False
    with Remote(unpaired) as remote, pytest.raises(Refused, match="Pairing not allowed"):
        remote.pair("1234")
    assert unpaired.pins == []


def test_nobody_knows_us(tv):
    """Told in M4, and no keys."""
    with VirtualAppleTV(profile="tvos15", protocols=["companion"]) as other, Remote(tv) as remote:
        stranger = parse(other.credentials["companion"])
        stranger.device_key = tv.accessory.identity.public
        stranger.device_id = tv.accessory.identity.identifier
        with pytest.raises(tinyatv.CredentialsError, match="pair again"):
            remote.verify(stranger)
    assert tv.companion.complaints == []


def test_forget_clients(tv):
    credentials = tv.credentials["companion"]
    with Remote(tv) as connected:
        connected.ready(credentials)
        tv.forget_clients()
        assert tv.credentials == {}
        connected.tap(6)  # who is connected stays connected
        with Remote(tv) as remote, pytest.raises(tinyatv.CredentialsError):
            remote.verify(credentials)


def frame(kind, **content):
    return CompanionWire().encode((kind, content))


M1_SETUP, M1_VERIFY = bytes.fromhex("000100060101"), b"\6\1\1\3\x20" + bytes(range(1, 33))
WRONG = {
    "sealed before verified": b"\x08\0\0\x20" + bytes(32),
    "setup begins as next": frame(SETUP_NEXT, _pd=M1_SETUP, _pwTy=1),
    "verify begins as next": frame(VERIFY_NEXT, _pd=M1_VERIFY, _auTy=4),
    "setup as verify": frame(VERIFY_START, _pd=M1_SETUP, _auTy=4),
    "verify as setup": frame(SETUP_START, _pd=M1_VERIFY, _pwTy=1),
    "M3 as start": frame(SETUP_START, _pd=b"\6\1\3", _pwTy=1),
    "no step": frame(SETUP_START, _pd=b"", _pwTy=1),
    "no data": frame(VERIFY_START, _auTy=4),
    "broken data": frame(VERIFY_START, _pd=b"\6\x05", _auTy=4),
    "not OPACK": b"\x03\0\0\1\x37",
    "too large": b"\x03\xff\xff\xff",
}


@pytest.mark.parametrize("name", WRONG)
def test_strict_before_it_is_verified(tv, name):
    with Remote(tv) as remote:
        remote.write(WRONG[name])
        assert remote.is_closed()
        assert tv.wait_for(lambda: tv.companion.peers == [])
    assert tv.log == []
    assert tv.pins == []


@pytest.mark.parametrize(
    ("kind", "data", "follows"),
    [(SETUP_NEXT, b"\6\1\3", SETUP_NEXT), (VERIFY_NEXT, b"\6\1\3", VERIFY_NEXT)],
)
def test_step_of_a_handshake_that_did_not_begin(tv, kind, data, follows):
    with Remote(tv) as remote:
        remote.write(frame(kind, _pd=data, _pwTy=1))
        assert remote.read() == (follows, {"_pd": bytes.fromhex("060104070101")})


def test_handshake_once_more(tv, remote):
    remote.write(frame(VERIFY_START, _pd=M1_VERIFY, _auTy=4))
    assert remote.is_closed()
    assert "verify M1" in tv.companion.complaints[0]


def test_marks_of_a_handshake(tv):
    """Nobody minds, but it is written down."""
    with Remote(tv) as remote:
        remote.write(frame(SETUP_START, _pd=M1_SETUP))
        kind, message = remote.read()
        assert (kind, message["_pwTy"]) == (SETUP_NEXT, 1)
        assert message["_pd"].endswith(b"\x1b\1\1")
    assert tv.companion.complaints == ["pair M1 without _pwTy 1"]


def test_gone_in_the_middle_of_pairing(unpaired):
    """Its PIN goes, and the next one may pair."""
    with Remote(unpaired) as remote:
        remote.write(frame(SETUP_START, _pd=M1_SETUP, _pwTy=1))
        remote.read()
        assert unpaired.pin is not None
    assert unpaired.wait_for(lambda: unpaired.pin is None)
    with Remote(unpaired) as remote:
        remote.pair(lambda: unpaired.pin)


def test_busy(unpaired):
    with Remote(unpaired) as first, Remote(unpaired) as second:
        first.write(frame(SETUP_START, _pd=M1_SETUP, _pwTy=1))
        first.read()
        with pytest.raises(tinyatv.PairingError, match="another remote"):
            second.pair("1234")


# -- sessions --------------------------------------------------------------------------------------


def test_session(tv, remote):
    assert remote.session & 0xFFFFFFFF == NUMBER
    assert refused(remote, 1, "_sessionStop", {"_sid": NUMBER}) == "Invalid SID"
    assert refused(remote, 1, "_sessionStop", {"_srvT": SERVICE}) == "Invalid SID"
    remote.tap(6)
    assert remote.ask("_sessionStop", {"_srvT": SERVICE, "_sid": remote.session}) == {}
    assert tv.log == ["select"]
    assert tv.companion.complaints == []
    refused(remote, 1, "_sessionStop", {"_sid": remote.session})


def test_number_of_a_session(remote, monkeypatch):
    """The device's half is the upper one."""
    [case] = cases("companion", "session_id")
    monkeypatch.setattr("tinyatv.virtual.companion.secrets.randbits", lambda _: case["device_sid"])
    about = {"_srvT": SERVICE, "_sid": case["client_sid"]}
    assert remote.ask("_sessionStart", about) == {"_sid": case["device_sid"]}
    both = int(case["expect"]["combined_int_hex"], 16)
    refused(remote, 1, "_sessionStop", {**about, "_sid": both + 1})
    assert remote.ask("_sessionStop", {**about, "_sid": both}) == {}


@pytest.mark.parametrize(
    "content",
    [{}, {"_srvT": SERVICE}, {"_srvT": "other", "_sid": 1}, {"_srvT": SERVICE, "_sid": 1 << 32},
     {"_srvT": SERVICE, "_sid": "1"}],
)  # fmt: skip
def test_no_session(remote, content):
    refused(remote, 1, "_sessionStart", content)


def test_nothing_happens_without_a_session(tv):
    with Remote(tv) as remote:
        remote.verify()
        remote.introduce()
        remote.tap(6)
        assert remote.ask("_launchApp", {"_bundleID": NETFLIX}) == {}
    assert tv.log == []
    assert tv.companion.complaints == ["_hidC without a session"] * 2 + [
        "_launchApp without a session"
    ]


def test_two_clients_under_one_name(tv, remote):
    with Remote(tv) as other:
        other.verify().introduce("another name0")
        assert remote.ask("_ping") == {}
        other.introduce()  # now they have the same
        assert remote.is_closed()
        assert other.ask("_ping") == {}


@pytest.mark.parametrize("profile", ["tvos18", "tvos26", "tvos27"])
def test_a_name_that_everybody_uses(profile):
    with VirtualAppleTV(profile=profile) as tv, Remote(tv) as remote:
        remote.verify()
        if profile == "tvos18":
            remote.introduce("cafecafecafe")
            return
        with pytest.raises((EOFError, ConnectionError)):
            remote.introduce("cafecafecafe")


def test_another_identity_than_that_of_the_pairing(tv):
    with Remote(tv) as remote:
        remote.verify().introduce(_idsID=remote.client.decode())  # as text, as Apple's do
        assert tv.companion.complaints == []
        remote.introduce(_idsID="somebody else")
    assert "_idsID" in tv.companion.complaints[0]


def test_remote_sessions(remote):
    assert remote.ask("TVRCSessionStart", {"ProtocolVersionKey": "1.2"}) == {
        "ProtocolVersionKey": "1.2"
    }
    assert remote.ask("TVRCSessionStop") == {}


def test_old_systems_know_no_remote_sessions():
    with VirtualAppleTV(profile="tvos14") as tv, Remote(tv) as remote:
        remote.ready()
        refused(remote, 58822, "TVRCSessionStart", {"ProtocolVersionKey": "1.2"})


NOTHING = [
    "_ping", "_systemInfoUpdate", "FetchUpNextInfoEvent", "FetchSiriStatus", "FetchSiriRemoteInfo",
    "PublishPresenceEvent", "SwitchActiveUserAccountEvent",
    "FetchCurrentTopShelfItemsEvent", "AddToUpNextEvent", "RemoveFromUpNextEvent",
    "MarkAsWatchedEvent", "PlayMediaEvent", "FetchSupportedActionsEvent",
    "FetchCurrentNowPlayingInfoEvent", "TVRCSessionStop", "_touchStop",
]  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
def test_requests_with_nothing_to_say(remote, name):
    assert remote.ask(name, {"IdentifierKey": "x", "_i": 1}) == {}


def test_unknown_request(tv, remote):
    assert refused(remote, 58822, "Foo") == "No request handler"
    [case] = cases("companion", "error_reply")
    message = remote.reply(remote.send("Foo"))
    expected = dict(case["value"]["dict"])
    assert {key: message[key] for key in ("_ec", "_ed", "_em")} == {
        key: expected[key] for key in ("_ec", "_ed", "_em")
    }
    tv.companion.quirks.lenient = True
    assert remote.ask("Foo") == {}


ODD = [
    {}, {"_t": 2}, {"_t": 2, "_x": 1}, {"_i": 5, "_t": 2, "_x": 1},
    {"_i": "_ping", "_t": 2, "_c": [], "_x": None}, {"_i": "_interest", "_t": 1},
    {"_i": "_interest", "_t": 1, "_c": {"_regEvents": "text", "_deregEvents": [1, [], {}]}},
    {"_i": "_hidT", "_t": 1, "_c": {"_cx": "a", "_cy": [], "_tPh": {}}},
    {"_i": "_hidT", "_t": 1, "_c": {"_cx": float("nan"), "_cy": float("inf"), "_tPh": 1}},
    {"_i": "_tiC", "_t": 1, "_c": {"_tiD": b"no archive"}}, {"_i": "_tiC", "_t": 1, "_c": {}},
    {"_i": "_siA", "_t": 1, "_c": {3: b"", 5: [1, {}, {1: -1, 2: 0}]}},
    {"_i": "_hidC", "_t": 2, "_c": {"_hBtS": {}, "_hidC": []}, "_x": 7},
    {"_i": "_mcc", "_t": 2, "_c": {"_mcc": 7, "_skpS": float("nan")}, "_x": 7},
    {"_i": "_mcc", "_t": 2, "_c": {"_mcc": 6, "_vol": float("nan")}, "_x": 7},
    {"_i": "_mcc", "_t": 2, "_c": {"_mcc": 13, "_mcs": []}, "_x": 7},
    {"_i": "_touchStart", "_t": 2, "_c": {"_width": "1", "_height": None}, "_x": 7},
    {"_i": "_systemInfo", "_t": 2, "_c": {"_i": [], "_idsID": {}}, "_x": 7},
    {"_i": "_sessionStop", "_t": 2, "_c": {"_sid": []}, "_x": 7},
    {"_i": "SwitchUserAccountEvent", "_t": 2, "_c": {"SwitchAccountID": []}, "_x": 7},
    {"_i": "_launchApp", "_t": 2, "_c": {"_bundleID": 1, "_urlS": []}, "_x": 7},
    {"_i": "_ping", "_t": 3, "_x": 1}, {"_i": "_ping", "_t": 1}, {"_i": "_ping", "_t": "2"},
]  # fmt: skip


@pytest.mark.parametrize("message", ODD, ids=repr)
def test_odd_messages(tv, remote, message):
    """Nothing happens; what comes next is answered."""
    remote.write(remote.wire.encode((OPACK, message)))
    assert remote.ask("_ping") == {}
    assert tv.log == []


FIRST = [  # what a remote of iOS 27 asks at first; it gives up if anything of it is refused
    ("TVRCSessionStart", {"ProtocolVersionKey": "1.2"}), ("FetchAttentionState", {}),
    ("FetchSiriRemoteInfo", {}), ("FetchSupportedActionsEvent", {}),
    ("FetchCurrentNowPlayingInfoEvent", {}), ("FetchCurrentTopShelfItemsEvent", {}),
    ("FetchMediaControlStatus", {}), ("_touchStart", {"_width": 1000.0, "_height": 1000.0}),
    ("_tiStart", {}),
]  # fmt: skip


def test_a_remote_of_apple():
    with VirtualAppleTV(profile="tvos27") as tv, Remote(tv) as remote:
        remote.verify().introduce(_sv="715.2", _sf=1099511628032)
        remote.begin()
        wanted = [
            "PushSiriRemoteInfo", "SupportedActions", "NowPlayingInfo", "TopShelfItems",
            "MediaControlStatus",
        ]  # fmt: skip
        remote.tell("_interest", {"_regEvents": wanted})
        for question in FIRST:
            remote.ask(*question)
        assert [name for name, _ in remote.news()] == ["SupportedActions", "NowPlayingInfo"]
        assert tv.companion.complaints == []


QUESTIONS = [
    ("_systemInfo", {"_i": "0123456789ab", "_idsID": "x", "_sf": 256, "name": "y"}),
    ("_sessionStart", {"_srvT": SERVICE, "_sid": 5}), ("_sessionStop", {"_sid": 5}),
    ("_touchStart", {"_height": 1000.0, "_tFl": 0, "_width": 1000.0}), ("_touchStop", {"_i": 1}),
    ("_hidC", {"_hBtS": 1, "_hidC": 6}), ("_hidC", {"_hBtS": 2, "_hidC": 6}),
    ("_mcc", {"_mcc": 7, "_skpS": 10.0}), ("_mcc", {"_mcc": 6, "_vol": 0.5}),
    ("_mcc", {"_mcc": 13, "_mcs": 2}), ("_launchApp", {"_bundleID": "com.netflix.Netflix"}),
    ("_launchApp", {"_urlS": "https://www.example.com"}), ("_tiStart", {}), ("_tiStop", {}),
    ("FetchAttentionState", {}), ("SwitchUserAccountEvent", {"SwitchAccountID": "x"}),
    ("_interest", {"_regEvents": EVENTS}), ("_interest", {"_deregEvents": ["_iMC"]}),
    ("_hidT", {"_ns": 1, "_tFg": 1, "_cx": 500, "_tPh": 1, "_cy": 500}),
    ("_hidT", {"_ns": 9, "_tFg": 1, "_cx": 900, "_tPh": 4, "_cy": 500}),
    ("_siriStart", {}), ("_siA", {3: bytes(20), 4: 0.1, 5: [{1: 10, 2: 0}, {1: 10, 2: 10}]}),
    ("_siriStop", {}), ("FetchCurrentNowPlayingInfoEvent", {}),
    ("_tiC", {"_tiV": 1, "_tiD": insertion(bytes(16), "text", "")}),
]  # fmt: skip


def test_damaged_messages(tv, remote, share):
    """Sealed well, and damaged inside: the device goes on to answer."""
    rng = random.Random(49154)
    tv.state.open_field("")
    whole = [
        opack.pack({"_i": name, "_t": kind, "_c": content, "_x": number})
        for number, (name, content) in enumerate(QUESTIONS)
        for kind in (1, 2)
    ]
    count = sent = 0
    while count < share(40_000):
        count += 1
        try:
            message, _ = opack.unpack(mutate(rng, rng.choice(whole), rng.choice(whole)))
        except ValueError:
            continue
        if isinstance(message, dict):
            sent += 1
            remote.write(remote.wire.encode((OPACK, message)))
        if sent % 20 == 0:
            remote.ask("_ping")
    remote.ask("_ping")
    assert sent > count // 10
    assert tv.companion.complaints
    assert tv.log


# -- buttons ---------------------------------------------------------------------------------------

BUTTONS = {
    1: "up", 2: "down", 3: "left", 4: "right", 5: "menu", 6: "select", 7: "home", 8: "volume_up",
    9: "volume_down", 10: "siri", 11: "screensaver", 14: "play_pause", 15: "channel_up",
    16: "channel_down", 17: "guide", 18: "mute", 19: "control_center", 22: "back", 23: "exit",
    24: "info", 25: "captions", 26: "accessibility", 27: "input",
}  # fmt: skip


@pytest.mark.parametrize("code", BUTTONS)
def test_button(tv, remote, code):
    remote.tap(code)
    assert tv.log == [BUTTONS[code]]
    assert [button for button, _ in tv.state.presses] == [BUTTONS[code]]


@pytest.mark.parametrize("code", [29, 30])
def test_no_buttons(tv, remote, code):
    """Another numbering has mute and power there; on the wire, nothing happens."""
    remote.tap(code)
    assert tv.log == []
    assert tv.companion.complaints == [f"_hidC {code}, which is no button"] * 2


def test_skip_buttons(tv, remote):
    remote.tap(20)
    remote.tap(21)
    assert tv.log == ["skip_forward 10", "skip_backward 10"]


def test_hold_and_double(tv, remote):
    for code, name in ((6, "select"), (7, "home")):
        remote.tap(code)
        remote.tap(code)
        tv.state.presses.clear()
        remote.edge(code, 1)
        tv.state.held[name] -= 1.0  # down since a second
        remote.edge(code, 2)
        [(_, seconds)] = tv.state.presses
        assert seconds >= 1.0
    assert tv.state.gestures == [
        "select", "select double", "select hold", "home", "home double", "home hold",
    ]  # fmt: skip
    assert tv.log == ["select", "select", "select hold", "home", "home", "home hold"]


def test_up_without_down(tv, remote):
    """Not even if somebody else holds it down."""
    refused(remote, 1337, "_hidC", {"_hBtS": 2, "_hidC": 6})
    with Remote(tv) as other:
        other.verify().introduce("other")
        other.begin()
        other.edge(6, 1)
        refused(remote, 1337, "_hidC", {"_hBtS": 2, "_hidC": 6})
        assert tv.log == []
        other.edge(6, 2)
    assert tv.log == ["select"]


@pytest.mark.parametrize("content", [{}, {"_hBtS": 1}, {"_hBtS": 1, "_hidC": 99}, {"_hBtS": 3}])
def test_no_button(tv, remote, content):
    refused(remote, 1, "_hidC", content)


def test_button_of_somebody_who_is_gone(tv, remote):
    with Remote(tv) as other:
        other.verify().introduce("other")
        other.begin()
        other.edge(6, 1)
        assert tv.wait_for(lambda: "select" in tv.state.held)
    assert tv.wait_for(lambda: "select" not in tv.state.held)
    assert tv.log == []


# -- power -----------------------------------------------------------------------------------------


def test_sleep_and_wake(tv, remote):
    remote.listen("SystemStatus", "TVSystemStatus")
    assert remote.ask("FetchAttentionState") == {"state": 3}
    assert remote.edge(12, 2) == {}
    assert tv.state.power is PowerState.Off
    assert remote.news() == [("SystemStatus", {"state": 1}), ("TVSystemStatus", {"state": 1})]
    assert remote.ask("FetchAttentionState") == {"state": 1}
    assert remote.edge(13, 2) == {}
    assert tv.state.power is PowerState.On
    assert remote.news() == [("SystemStatus", {"state": 3}), ("TVSystemStatus", {"state": 3})]
    assert tv.log == ["turn_off", "turn_on"]
    remote.edge(12, 1)  # nothing before it comes up
    assert tv.state.power is PowerState.On


def test_screensaver(tv, remote):
    remote.listen("TVSystemStatus")
    remote.tap(11)
    assert remote.ask("FetchAttentionState") == {"state": 2}
    remote.tap(8)  # the volume leaves it on
    assert remote.news() == [("TVSystemStatus", {"state": 2})]
    remote.tap(6)
    assert remote.news() == [("TVSystemStatus", {"state": 3})]
    assert tv.log == ["screensaver", "volume_up", "select"]


def test_who_hears_of_power(tv, remote):
    """Only those who registered, and said who they are."""
    remote.listen("SystemStatus")
    with Remote(tv) as nameless:
        nameless.verify().introduce(None)
        nameless.listen("SystemStatus", "TVSystemStatus")
        assert nameless.news() == []
        tv.state.sleep()
        assert remote.news() == [("SystemStatus", {"state": 1})]
        assert nameless.news() == []
        remote.tell("_interest", {"_deregEvents": ["SystemStatus"]})
        assert remote.news() == []
        tv.state.wake()
        assert remote.news() == []


def test_quirks_of_power(tv, remote):
    remote.listen("SystemStatus", "TVSystemStatus")
    tv.companion.quirks.system_status_only = True
    tv.state.sleep()
    assert remote.news() == [("SystemStatus", {"state": 1})]
    tv.companion.quirks.no_power_events = True
    tv.state.wake()
    assert remote.news() == []


@pytest.mark.parametrize("profile", ["tvos18", "tvos26", "tvos27"])
def test_attention_needs_a_session_since_tvos_26(profile):
    with VirtualAppleTV(profile=profile) as tv, Remote(tv) as remote:
        remote.ready()
        if profile != "tvos18":
            remote.send("FetchAttentionState")
            assert remote.is_silent()
        remote.ask("TVRCSessionStart", {"ProtocolVersionKey": "1.2"})
        assert remote.ask("FetchAttentionState") == {"state": 3}


def test_end_of_a_remote_session():
    with VirtualAppleTV(profile="tvos27") as tv, Remote(tv) as remote:
        remote.ready()
        remote.ask("TVRCSessionStart", {"ProtocolVersionKey": "1.2"})
        remote.ask("TVRCSessionStop")
        remote.send("FetchAttentionState")
        assert remote.is_silent()


def test_attention_as_it_is_told(tv, remote):
    tv.companion.attention = "error"
    refused(remote, 58822, "FetchAttentionState")
    tv.companion.attention = "never"
    remote.ask("TVRCSessionStart", {"ProtocolVersionKey": "1.2"})
    remote.send("FetchAttentionState")
    assert remote.is_silent()


# -- media -----------------------------------------------------------------------------------------


def test_media_commands(tv, remote):
    for number in (2, 1, 3, 4, 8, 9, 10, 11):
        assert remote.media(number) == {}
    assert remote.media(7, _skpS=10.0) == {}
    assert remote.media(7, _skpS=-12.5) == {}
    assert remote.media(7, _skpS=30) == {}
    assert tv.log == [
        "pause", "play", "next", "previous", "fast_forward", "end_seeking", "rewind",
        "end_seeking", "skip_forward 10", "skip_backward 12.5", "skip_forward 30",
    ]  # fmt: skip
    assert tv.state.device_state is DeviceState.Playing


def test_what_cannot_be_done(tv, remote):
    refused(remote, 1, "_mcc", {"_mcc": 99})
    refused(remote, 1, "_mcc", {})
    refused(remote, 1, "_mcc", {"_mcc": 7})
    tv.state.disable("next")
    refused(remote, 1, "_mcc", {"_mcc": 3})
    tv.state.activate(None)
    for number in (1, 2, 4, 8):
        refused(remote, 1, "_mcc", {"_mcc": number})
    assert tv.log == []


def test_controls(tv, remote):
    remote.listen("_iMC", "MediaControlStatus")
    assert remote.news() == [("_iMC", {"_mcF": MUSIC_PLAYS, "_mcs": 1})]
    assert remote.ask("FetchMediaControlStatus") == {"MediaControlFlags": MUSIC_PLAYS}
    tv.state.disable("next")
    changed = MUSIC_PLAYS & ~0x0004
    assert remote.news() == [
        ("_iMC", {"_mcF": changed, "_mcs": 1}),
        ("MediaControlStatus", {"MediaControlFlags": changed}),
    ]  # fmt: skip
    tv.state.enable("next")
    remote.news()
    tv.state.pause()  # changes nothing of it
    assert remote.news() == []
    tv.state.items.insert(0, Item("Film", media_type=MediaType.Video))
    tv.state.update(title="Film")
    assert remote.news()[0] == ("_iMC", {"_mcF": ALL | 0x0100, "_mcs": 1})
    tv.state.activate(None)
    assert remote.news()[0] == ("_iMC", {"_mcF": 0x0100, "_mcs": 1})
    tv.state.volume_control = False
    tv.companion.notify_peers()
    assert remote.news()[0] == ("_iMC", {"_mcF": 0, "_mcs": 1})


@pytest.mark.parametrize(
    "case", cases("companion", "media_control_flags"), ids=lambda case: case["name"]
)
def test_flags_of_real_devices(tv, remote, case):
    """Each set of controls that was seen can be shown."""
    words = {
        "play": "play", "pause": "pause", "next track": "next", "previous track": "previous",
        "fast forward": "fast_forward", "rewind": "rewind", "skip forward": "skip_forward",
        "skip backward": "skip_backward",
    }  # fmt: skip
    offered = case["expect"]["controls"]
    tv.state.disable(*(word for name, word in words.items() if name not in offered))
    tv.state.volume_control = "volume" in offered
    found = remote.ask("FetchMediaControlStatus")["MediaControlFlags"]
    assert found & ~0x00C0 == case["flags"] & ~0x00C0


def test_volume(tv, remote):
    remote.listen("_iMC")
    remote.news()
    told = [("_iMC", {"_mcF": MUSIC_PLAYS, "_mcs": 1})]
    assert remote.media(5) == {"_vol": 0.5}
    assert remote.media(6, _vol=0.2) == {}
    assert remote.news() == told
    assert remote.media(5) == {"_vol": 0.2}
    remote.media(6, _vol=0.2)  # not louder than before, and told all the same
    assert remote.news() == told
    remote.tap(8)
    assert remote.media(5) == {"_vol": 0.25}
    assert remote.news() == told
    remote.tap(9)
    assert remote.news() == told
    for level in (-0.1, 1.1, "0.5", None):
        refused(remote, 1, "_mcc", {"_mcc": 6, "_vol": level})
    assert tv.log == ["set_volume 20", "set_volume 20", "volume_up", "volume_down"]
    tv.state.absolute_volume = False
    refused(remote, 1, "_mcc", {"_mcc": 5})
    refused(remote, 1, "_mcc", {"_mcc": 6, "_vol": 0.1})


def test_captions(tv, remote):
    assert remote.media(12) == {"_mcs": 1}
    for given, found in ((2, 2), (3, 3), (4, 2), (4, 1), (1, 1)):
        assert remote.media(13, _mcs=given) == {}
        assert remote.media(12) == {"_mcs": found}
    refused(remote, 1, "_mcc", {"_mcc": 13, "_mcs": 5})
    assert tv.log == [f"set_captions {n}" for n in (2, 3, 4, 4, 1)]


def test_now_playing(tv, remote):
    remote.listen("NowPlayingInfo")
    assert remote.ask("FetchCurrentNowPlayingInfoEvent") == {}
    tv.state.update(title="Another title")
    (_, first), (_, second) = remote.news()
    for content, title in ((first, "Harbour Lights"), (second, "Another title")):
        content = archive.loads(content["NowPlayingInfoKey"])
        names = archive.follow(content, "root", "$class")
        assert names["$classname"] == "TVRCNowPlayingInfo"

        def of(*path, content=content):
            return archive.follow(content, "root", *path)

        assert (of("playbackState"), of("playbackRate")) == (1, 1.0)
        assert of("metadata", "title") == title
        assert of("metadata", "bundleID") == MUSIC
        assert 0 <= of("metadata", "timeOffset") < 60
        assert {"artist", "album"} & {*of("metadata")} == set()
        assert of("imageData").startswith(b"\x89PNG")
        assert of("imageDataIsPlaceholder") is False
    tv.state.pause()
    ((_, paused),) = remote.news()
    content = archive.loads(paused["NowPlayingInfoKey"])
    assert archive.follow(content, "root", "playbackState") == 2
    assert archive.follow(content, "root", "playbackRate") == 0.0


def test_eager_device(tv, remote):
    """An _iMC may follow whatever was registered."""
    tv.companion.quirks.eager = True
    remote.listen("SystemStatus", "TVSystemStatus")
    assert [name for name, _ in remote.news()] == ["_iMC"] * 2
    tv.state.disable("next")
    assert remote.news() == []


# -- apps and accounts -----------------------------------------------------------------------------


def test_apps(tv, remote):
    apps = remote.ask("FetchLaunchableApplicationsEvent")
    assert apps == {app.identifier: app.name for app in tv.state.apps}
    assert len(apps) > 14
    assert any("\xa0" in name for name in apps.values())
    tv.state.apps = [App("One", "com.example.one")]
    assert remote.ask("FetchLaunchableApplicationsEvent") == {"com.example.one": "One"}


def test_launch(tv, remote):
    remote.listen("_iMC")
    remote.news()
    assert remote.ask("_launchApp", {"_bundleID": NETFLIX}) == {}
    assert tv.state.app == App("Netflix", NETFLIX)
    assert remote.news() == [("_iMC", {"_mcF": 0x0100, "_mcs": 1})]  # it plays nothing yet
    remote.ask("_launchApp", {"_bundleID": PODCASTS})
    assert tv.state.app.identifier == PODCASTS
    assert tv.state.device_state is DeviceState.Paused
    remote.ask("_launchApp", {"_bundleID": MUSIC})
    assert tv.state.item.title == "Harbour Lights"
    assert tv.state.device_state is DeviceState.Paused  # that is what the others made of it
    assert tv.log == [f"launch_app {app}" for app in (NETFLIX, PODCASTS, MUSIC)]


def test_launch_what_plays_already(tv, remote):
    remote.ask("_launchApp", {"_bundleID": MUSIC})
    assert tv.state.device_state is DeviceState.Playing


def test_launched_app_is_seen_through_mrp():
    with VirtualAppleTV(profile="tvos14") as tv, MrpRemote(tv) as watcher, Remote(tv) as remote:
        watcher.ready()
        remote.ready()
        remote.ask("_launchApp", {"_bundleID": NETFLIX})
        news = [
            message for message in watcher.news() if message.kind == proto.SET_NOW_PLAYING_CLIENT
        ]
        assert news[-1].body.client.bundleIdentifier == NETFLIX
        assert news[-1].body.client.displayName == "Netflix"


def test_launch_wakes_it(tv, remote):
    tv.state.sleep()
    remote.ask("_launchApp", {"_bundleID": NETFLIX})
    assert tv.state.power is PowerState.On


def test_no_such_app(tv, remote):
    assert "com.example.none" in refused(remote, 1, "_launchApp", {"_bundleID": "com.example.none"})
    refused(remote, 1, "_launchApp", {})
    assert tv.log == []


@pytest.mark.parametrize("case", cases("companion", "launch_app"), ids=lambda case: case["name"])
def test_launch_as_it_is_asked(tv, remote, case):
    """Both keys; a URL goes to whatever app takes it."""
    argument = case["argument"]
    remote.ask("_launchApp", {case["expect"]["key"]: argument})
    assert tv.log == [f"launch_app {argument}"]
    if case["expect"]["key"] == "_urlS":
        assert tv.state.url == argument
        assert tv.state.app.identifier == MUSIC


def test_accounts(tv, remote):
    accounts = remote.ask("FetchUserAccountsEvent")
    assert accounts == tv.state.accounts
    first, second = accounts
    assert tv.state.account == first
    assert remote.ask("SwitchUserAccountEvent", {"SwitchAccountID": second}) == {}
    assert tv.state.account == second
    refused(remote, 1, "SwitchUserAccountEvent", {"SwitchAccountID": "nobody"})
    refused(remote, 1, "SwitchUserAccountEvent", {})
    assert tv.log == [f"switch_account {second}"]


# -- text ------------------------------------------------------------------------------------------


def test_archive_of_the_device():
    [case] = [c for c in cases("companion", "text_archives") if c["name"] == "device_archive"]
    session = bytes.fromhex(case["expect"]["session_hex"])
    made = field(session, TextField(case["expect"]["text"]))
    assert made.hex() == case["archive_hex"]


def test_no_text_field(remote):
    assert remote.ask("_tiStart") == {}
    assert remote.ask("_tiStop") == {}


def test_read_text(tv, remote):
    tv.state.open_field("héllo")
    session, text, traits = shown(remote.ask("_tiStart")["_tiD"])
    assert (len(session), text, traits) == (16, "héllo", None)
    tv.state.text_append("!")
    assert remote.ask("_tiStop") == {}
    again, text, _ = shown(remote.ask("_tiStart")["_tiD"])
    assert text == "héllo!"
    assert again != session


def test_secret_field(tv, remote):
    tv.state.open_field(secure=True, prompt="Password", title="Sign in")
    _, text, traits = shown(remote.ask("_tiStart")["_tiD"])
    assert text == ""
    assert traits["secureTextEntry"] is True
    assert (traits["title"], traits["prompt"]) == ("Sign in", "Password")


def test_type(tv, remote):
    tv.state.open_field("abc")
    session, _, _ = shown(remote.ask("_tiStart")["_tiD"])
    for typed in (
        insertion(session, "def"), insertion(session, None, ""), insertion(session, "new"),
        insertion(session, " more", "other"), insertion(session, None),
    ):  # fmt: skip
        remote.tell("_tiC", {"_tiV": 1, "_tiD": typed})
    remote.ask("_ping")
    assert tv.state.text == "other more"
    assert tv.log == [
        "text_append def", "text_clear", "text_append new", "text_set other", "text_append  more",
    ]  # fmt: skip
    assert tv.companion.complaints == []


def test_type_as_iphones_do(tv, remote):
    """Origin: captures of iOS 26. They do not name the session, and backspace has a count."""
    tv.state.open_field("abcdef")
    remote.tell("_tiC", {"_tiD": iphone({"insertionText": "lost"})})  # before there is a session
    remote.ask("_tiStart")
    for output in (
        {"deletionCount": 2, "producedByDeleteInput": True}, {"insertionText": "x"},
        {"deletionCount": 1}, {"deletionCount": 0}, {"insertionText": "YZ"},
    ):  # fmt: skip
        remote.tell("_tiC", {"_tiD": iphone(output)})
    remote.ask("_ping")
    assert tv.state.text == "abcdYZ"
    remote.tell("_tiC", {"_tiD": iphone({"deletionCount": 1 << 40})})
    remote.ask("_ping")
    assert tv.state.text == ""
    assert len(tv.companion.complaints) == 1


def iphone(output):
    """An archive of what is typed that names no session."""
    operations = {"keyboardOutput": plistlib.UID(2)}
    content = {
        "$version": 100000, "$archiver": "RTIKeyedArchiver",
        "$top": {"textOperations": plistlib.UID(1)}, "$objects": ["$null", operations, output],
    }  # fmt: skip
    return plistlib.dumps(content, fmt=plistlib.FMT_BINARY)


def test_events_that_nobody_knows_are_noticed(tv, remote):
    remote.tell("_whatever", {})
    remote.ask("_ping")
    assert tv.companion.complaints == ["event '_whatever', which is not known"]


@pytest.mark.parametrize(("status", "seen"), [(-6762, 0xFFFFE596), (58822, 58822), (1, 1)])
def test_any_refusal(tv, remote, status, seen):
    tv.fail("_ping", status=status)
    refused(remote, seen, "_ping")


def test_type_into_another_field(tv, remote):
    """The one that is meant is not there any more."""
    tv.state.open_field("abc")
    session, _, _ = shown(remote.ask("_tiStart")["_tiD"])
    remote.ask("_tiStop")
    remote.tell("_tiC", {"_tiD": insertion(session, "late")})
    remote.ask("_tiStart")
    remote.tell("_tiC", {"_tiD": insertion(session, "late")})
    remote.tell("_tiC", {"_tiD": insertion(bytes(5), "bad")})
    session, _, _ = shown(remote.ask("_tiStart")["_tiD"])
    tv.state.close_field()
    remote.tell("_tiC", {"_tiD": insertion(session, "gone")})
    remote.ask("_ping")
    assert tv.log == []
    assert len(tv.companion.complaints) == 4


def test_focus(tv, remote):
    assert remote.ask("_tiStart") == {}
    tv.state.open_field("first")
    [(name, content)] = remote.news()
    session, text, _ = shown(content["_tiD"])
    assert (name, text) == ("_tiStarted", "first")
    remote.tell("_tiC", {"_tiD": insertion(session, "!")})
    assert remote.news() == []
    assert tv.state.text == "first!"
    tv.state.open_field("second")  # without a pause
    assert [name for name, _ in remote.news()] == ["_tiStopped", "_tiStarted"]
    tv.state.close_field()
    assert remote.news() == [("_tiStopped", {})]
    remote.ask("_tiStop")
    tv.state.open_field("third")
    assert remote.news() == []


def test_one_text_session(tv, remote):
    tv.companion.quirks.one_text_session = True
    assert remote.ask("_tiStart") == {}
    remote.send("_tiStart")
    assert remote.is_silent()
    remote.ask("_tiStop")
    assert remote.ask("_tiStart") == {}
    with Remote(tv) as other:
        other.verify().introduce("other")
        other.send("_tiStart")
        assert other.is_silent()


def test_text_through_mrp_as_well():
    with VirtualAppleTV(profile="tvos14") as tv, MrpRemote(tv) as watcher, Remote(tv) as remote:
        watcher.ready()
        remote.ready()
        tv.state.open_field("abc")
        session, _, _ = shown(remote.ask("_tiStart")["_tiD"])
        watcher.news()
        remote.tell("_tiC", {"_tiD": insertion(session, "def")})
        remote.ask("_ping")
        assert [message.kind for message in watcher.news()] == [proto.KEYBOARD]
        assert tv.state.text == "abcdef"


# -- touch -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "log"),
    [
        ([(500, 900), (500, 500), (500, 100)], ["up"]),
        ([(500, 100), (510, 900)], ["down"]),
        ([(900, 500), (100, 480)], ["left"]),
        ([(100, 500), (900, 500)], ["right"]),
        ([(500, 500), (500, 500)], []),
        ([(-50.0, 500), (2000, 500)], ["right"]),
    ],
)
def test_swipe(tv, remote, points, log):
    remote.swipe(*points)
    remote.ask("_ping")
    assert tv.log == log
    assert tv.companion.touches[0][0] == 1
    assert all(0 <= x <= 1000 and 0 <= y <= 1000 for _, x, y in tv.companion.touches)


def test_moves_of_newer_remotes(tv, remote):
    """They say 2 where others say 3."""
    for phase, x in ((1, 100), (2, 400), (2, 700), (4, 900)):
        remote.touch(phase, x, 500)
    remote.ask("_ping")
    assert tv.log == ["right"]


def test_click(tv, remote):
    """A button, and a touch that says so."""
    remote.tap(6)
    remote.touch(5, 1000, 1000)
    remote.ask("_ping")
    assert tv.log == ["select"]
    assert tv.companion.touches == [(5, 1000, 1000)]


def test_touch_pad(tv):
    with Remote(tv) as remote:
        remote.verify().introduce()
        for width, height in ((0, 1000), (1000.0, -1), (1001, 1000), (1000, 1e9)):
            refused(remote, 1, "_touchStart", {"_width": width, "_height": height})
        remote.swipe((100, 500), (900, 500))
        remote.ask("_ping")
        assert tv.log == []
        assert len(tv.companion.complaints) == 2
        assert remote.ask("_touchStart", {"_width": 1000.0, "_height": 1000, "_tFl": 0}) == {
            "_i": 1
        }
        remote.swipe((100, 500), (900, 500))
        remote.ask("_ping")
        assert tv.log == ["right"]


# -- Siri ------------------------------------------------------------------------------------------


def test_siri(tv, remote):
    remote.edge(10, 1)
    assert remote.ask("_siriStart") == {}
    packets = [bytes([n]) * (n + 1) for n in range(5)]
    for _ in range(2):
        places, at = [], 0
        for packet in packets:
            places.append({1: len(packet), 2: at})
            at += len(packet)
        remote.tell("_siA", {3: b"".join(packets), 4: 0.1, 5: places})
    assert remote.ask("_siriStop") == {}
    remote.edge(10, 2)
    assert tv.companion.voice == [packets * 2]
    assert tv.log == ["siri_start", "siri_stop", "siri"]
    assert tv.companion.complaints == []


def test_nobody_speaks_to_siri(tv, remote):
    refused(remote, 1, "_siriStop")
    remote.tell("_siA", {3: b"abc", 5: []})
    remote.ask("_siriStart")
    remote.tell("_siA", {3: b"abc", 5: [{1: 3, 2: 1}]})
    remote.ask("_siriStop")
    assert tv.companion.voice == [[]]
    assert len(tv.companion.complaints) == 2


# -- how it misbehaves -----------------------------------------------------------------------------


def test_noop_and_unknown_frames(tv, remote):
    for odd in ("noop", "unknown_frames"):
        setattr(tv.companion.quirks, odd, True)
        assert remote.ask("_ping") == {}
    remote.write(b"\x01\0\0\0" * 3)
    assert remote.ask("_ping") == {}


def test_dribble():
    with VirtualAppleTV(profile="tvos15", protocols=["companion"]) as tv:
        tv.companion.quirks.one_byte_writes = True
        with Remote(tv) as remote:
            remote.ready()
            assert len(remote.ask("FetchLaunchableApplicationsEvent")) > 14


def test_names_in_replies(tv, remote):
    tv.companion.quirks.named_replies = True
    assert remote.reply(remote.send("_ping"))["_i"] == "_ping"
    assert remote.reply(remote.send("Foo"))["_i"] == "Foo"


@pytest.mark.parametrize("first", [False, True])
def test_order_of_events_and_replies(tv, remote, first):
    tv.companion.quirks.events_first = first
    remote.listen("SystemStatus")
    number = remote.send("_hidC", {"_hBtS": 2, "_hidC": 12})
    kinds = [remote.read()[1]["_t"] for _ in range(2)]
    assert kinds == ([EVENT, REPLY] if first else [REPLY, EVENT])
    assert remote.number == number


def test_reply_to_nobody(tv, remote):
    tv.companion.quirks.stray = True
    number = remote.send("_ping")
    found = [remote.read()[1]["_x"] for _ in range(2)]
    assert found[1] == number != found[0]


def test_reordered_replies(tv, remote):
    tv.fail("_ping", later=True)
    first, second = remote.send("_ping"), remote.send("FetchAttentionState")
    assert [remote.read()[1]["_x"] for _ in range(2)] == [second, first]


def test_everything_at_once(tv, remote):
    """What a request causes comes in one piece, and a client may ask in one, too."""
    remote.listen("SystemStatus", "TVSystemStatus")
    off, on = ({"_i": "_hidC", "_t": 2, "_c": {"_hBtS": 2, "_hidC": n}, "_x": n} for n in (12, 13))
    remote.write(remote.wire.encode((OPACK, off)) + remote.wire.encode((OPACK, on)))
    found = [remote.read()[1] for _ in range(6)]
    assert [message.get("_i", message["_x"]) for message in found] == [
        12, "SystemStatus", "TVSystemStatus", 13, "SystemStatus", "TVSystemStatus",
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["launch_app", "_launchApp", "*"])
def test_refuses(tv, remote, word):
    tv.fail(word, status=4711)
    refused(remote, 4711, "_launchApp", {"_bundleID": NETFLIX})
    assert remote.ask("_launchApp", {"_bundleID": NETFLIX}) == {}
    assert tv.log == [f"launch_app {NETFLIX}"]


@pytest.mark.parametrize(
    ("word", "question"),
    [
        ("up", ("_hidC", {"_hBtS": 1, "_hidC": 1})),
        ("turn_off", ("_hidC", {"_hBtS": 2, "_hidC": 12})),
        ("pause", ("_mcc", {"_mcc": 2})),
        ("volume", ("_mcc", {"_mcc": 5})),
        ("set_volume", ("_mcc", {"_mcc": 6, "_vol": 0.5})),
        ("skip_backward", ("_mcc", {"_mcc": 7, "_skpS": -1.0})),
        ("skip_forward", ("_mcc", {"_mcc": 7, "_skpS": 1.0})),
        ("connect", ("_systemInfo", {})),
        ("app_list", ("FetchLaunchableApplicationsEvent", {})),
        ("account_list", ("FetchUserAccountsEvent", {})),
        ("switch_account", ("SwitchUserAccountEvent", {})),
        ("power_state", ("FetchAttentionState", {})),
        ("keyboard", ("_tiStart", {})),
    ],
)
def test_words_of_faults(tv, remote, word, question):
    tv.fail(word, status=4711)
    refused(remote, 4711, *question)
    assert tv.log == []


def test_silent(tv, remote):
    tv.fail("_ping", silent=True)
    remote.send("_ping")
    assert remote.is_silent()
    assert remote.ask("_ping") == {}
    tv.state.open_field("")
    session, _, _ = shown(remote.ask("_tiStart")["_tiD"])
    tv.fail("text", silent=True)
    tv.fail("touch", silent=True)
    remote.tell("_tiC", {"_tiD": insertion(session, "lost")})
    remote.touch(1, 0, 0)
    remote.ask("_ping")
    assert (tv.log, tv.companion.touches) == ([], [])


def test_delayed(tv, remote):
    tv.fail("_ping", delay=0.05)
    assert remote.ask("_ping") == {}


@pytest.mark.parametrize("how", [{"drop": True}, {"garbage": b"garbage"}, {"truncate": True}])
def test_ends_in_the_middle(tv, remote, how):
    tv.fail("_ping", **how)
    remote.send("_ping")
    data = b""
    with contextlib.suppress(ConnectionError):
        while "garbage" not in how or not data:
            piece = remote.sock.recv(65536)
            if not piece:
                break
            data += piece
    if "garbage" in how:
        assert data == b"garbage"
    elif "truncate" in how:
        whole = 4 + int.from_bytes(data[1:4], "big")
        assert (data[0], 4 < len(data) < whole) == (OPACK, True)
    else:
        assert data == b""


def test_damaged(tv, remote):
    tv.fail("_ping", damage=True)
    remote.send("_ping")
    with pytest.raises(ValueError, match="wrong tag"):
        remote.read()


@pytest.mark.parametrize("step", ["verify", "verify M1", "verify M3"])
@pytest.mark.parametrize("how", [{"drop": True}, {"status": 5}, {"truncate": True}])
def test_handshake_goes_wrong(tv, step, how):
    tv.fail(step, **how)
    with Remote(tv) as remote, pytest.raises((Refused, EOFError, ConnectionError)):
        remote.verify()
    with Remote(tv) as remote:
        remote.ready()


def test_silent_handshake(unpaired):
    unpaired.fail("pair M1", silent=True)
    with Remote(unpaired) as remote:
        remote.write(frame(SETUP_START, _pd=M1_SETUP, _pwTy=1))
        assert remote.is_silent()
        assert unpaired.pin is None
        remote.write(frame(SETUP_START, _pd=M1_SETUP, _pwTy=1))
        remote.read()
        assert unpaired.pin is not None


# -- the device as a whole -------------------------------------------------------------------------


def test_one_state_for_all(tv):
    """What one client does, another one hears of."""
    with Remote(tv) as first, Remote(tv) as second:
        first.ready()
        second.verify().introduce("second")
        second.listen(*EVENTS)
        second.news()
        first.edge(12, 2)
        first.media(6, _vol=0.3)
        first.ask("_launchApp", {"_bundleID": NETFLIX})
        names = {name for name, _ in second.news()}
        assert names == set(EVENTS)


def test_move_is_a_reboot():
    with VirtualAppleTV(profile="tvos15", mdns_port=0) as tv, Remote(tv) as remote:
        remote.ready()
        tv.companion.quirks.lenient = True
        before, credentials = tv.ports["companion"], tv.credentials["companion"]
        tv.move()
        assert remote.is_closed()
        assert tv.ports["companion"] != before
        with Remote(tv) as again:
            again.ready(credentials)
            assert again.ask("Foo") == {}
            again.tap(6)
        assert tv.log == ["select"]
        assert "Foo" in tv.companion.requests
        (found,) = tinyatv.scan(5.0, hosts=[f"127.0.0.1:{tv.ports['mdns']}"])
        assert found.service("companion").port == tv.ports["companion"]


def test_port_of_its_own():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with VirtualAppleTV(profile="tvos15", ports={"companion": port}) as tv:
        assert tv.ports["companion"] == port


def test_many_clients_at_once(tv, share):
    """All press, all hear of everything, and some leave without a word."""
    rounds = share(200)
    errors = []

    def work(number):
        try:
            for turn in range(rounds):
                with Remote(tv) as remote:
                    remote.verify().introduce(f"client {number}")
                    remote.begin()
                    remote.listen(*EVENTS)
                    remote.ask("_tiStart")
                    remote.tap(number)  # each a button of its own, since they share the device
                    remote.media(6, _vol=turn % 100 / 100)
                    if turn % 2:
                        remote.ask("_tiStop")
        except Exception as exc:
            errors.append(exc)

    threads = [
        threading.Thread(target=work, args=(number,), name=f"tinyatv-test-{number}")
        for number in range(1, 7)
    ]
    for thread in threads:
        thread.start()
    for turn in range(rounds * 5):
        tv.state.open_field(str(turn))
        tv.state.update(title=str(turn))
        (tv.state.sleep if turn % 2 else tv.state.wake)()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert [tv.log.count(BUTTONS[number]) for number in range(1, 7)] == [rounds] * 6
    assert tv.wait_for(lambda: tv.companion.peers == [])


def test_stop_with_somebody_connected(tv, remote):
    """And with somebody who said nothing."""
    with Remote(tv) as silent:
        assert tv.wait_for(lambda: len(tv.companion.peers) == 2)
        tv.stop()
        assert remote.is_closed()
        assert silent.is_closed()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("virtual")]
