"""Messages: the vectors both ways, numbers and names, how they look in a log."""

from __future__ import annotations

import gc
import os
import re

import pytest
from google.protobuf.internal import api_implementation

from tests.support.mrp_trees import arguments, frames, tree
from tests.support.vectors import cases
from tinyatv import proto

FRAMES = [pytest.param(*rest, id=name) for name, *rest in frames()]
UUID4 = r"[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}"


def test_runtime():
    """Who asks for a runtime gets it; test_runtimes.py relies on that."""
    asked = os.environ.get("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION")
    assert asked is None or api_implementation.Type() == asked


# -- vectors


@pytest.mark.parametrize(("data", "fields", "kind"), FRAMES)
def test_parse(data, fields, kind):
    message = proto.parse(data)
    assert tree(message.envelope) == fields
    assert message.kind == kind
    assert message.identifier == dict(fields).get("identifier", "")
    if kind in proto.BODIES and proto.BODIES[kind] in dict(fields):
        assert tree(message.body) == dict(fields)[proto.BODIES[kind]]
    assert proto.dumps(message) == data


@pytest.mark.parametrize(("data", "fields", "kind"), FRAMES)
def test_build(data, fields, kind):
    given = arguments(fields, proto.parse(b"").envelope.DESCRIPTOR)
    body = given.get(proto.BODIES.get(kind), {})
    message = proto.build(kind, given.get("identifier", ""), **body)
    assert re.fullmatch(UUID4, message.envelope.uniqueIdentifier)
    if "uniqueIdentifier" in given:
        message.envelope.uniqueIdentifier = given["uniqueIdentifier"]
    else:  # recorded from devices that do not send it
        message.envelope.ClearField("uniqueIdentifier")
    if body == {} and proto.BODIES.get(kind) in given:
        message.body.SetInParent()  # there, and empty
    assert proto.dumps(message) == data
    assert message.kind == kind


def test_first_message():
    """As another client writes it: in another order, which is legal."""
    case = next(case for case in cases("pairing", "first_message") if case["name"] == "mrp_setup")
    data = bytes.fromhex(case["expect"]["message_hex"])
    message = proto.parse(data)
    assert message.kind == proto.CRYPTO_PAIRING
    built = proto.build(
        proto.CRYPTO_PAIRING,
        pairingData=bytes.fromhex("000100060101"),
        status=0,
        isRetrying=False,
        isUsingSystemPairing=False,
        state=2,
    )
    built.envelope.uniqueIdentifier = message.envelope.uniqueIdentifier
    assert tree(built.envelope) == tree(message.envelope)
    assert sorted(proto.dumps(built)) == sorted(data)


# -- messages


def test_unset_is_not_zero():
    message = proto.parse(proto.dumps(proto.build(proto.SET_STATE, playbackState=0)))
    assert message.body.HasField("playbackState")
    assert not message.body.HasField("playbackStateTimestamp")
    assert message.body.playbackState == message.body.playbackStateTimestamp == 0


def test_kind_that_is_not_known():
    message = proto.parse(bytes.fromhex("086f 12014b"))  # 111: what tvOS 15 announces
    assert (message.kind, message.identifier, message.body) == (111, "K", None)
    assert repr(message) == "111()"
    assert proto.dumps(proto.build(111, "K"))[:5] == bytes.fromhex("086f 12014b")


def test_kind_is_left_out():
    """Origin: a refusal of pair-verify, recorded from a device; section 6.3 of the sheet."""
    refused = proto.parse(bytes.fromhex("ba020b 10b9cbffffffffffffff01"))
    assert refused.kind == proto.CRYPTO_PAIRING
    assert refused.body.status == -6727
    assert proto.key(refused) == proto.CRYPTO_PAIRING
    info = proto.parse(bytes.fromhex("a20103 120141"))
    assert (info.kind, info.body.name) == (proto.DEVICE_INFO, "A")


def test_update_has_the_body_of_what_it_updates():
    message = proto.build(proto.DEVICE_INFO_UPDATE, name="Attic")
    assert message.kind == proto.DEVICE_INFO_UPDATE
    assert proto.parse(proto.dumps(message)).body.name == "Attic"
    assert message.envelope.deviceInfoMessage.name == "Attic"


def test_empty_message():
    """A frame of length 0: harmless."""
    message = proto.parse(b"")
    assert (message.kind, message.identifier, message.body) == (proto.UNKNOWN, "", None)
    assert proto.dumps(message) == b""
    assert proto.key(message) is None


def test_garbage_collection():
    """Old C runtimes free what they still use, and end the process: 4.22 to 4.24 did."""
    body = proto.parse(bytes.fromhex("0804 4a06 1a04 1202 0a00")).body
    for _ in range(2):
        gc.collect()
        assert body.playbackQueue.contentItems[0].identifier == ""
        assert [item.metadata.title for item in body.playbackQueue.contentItems] == [""]
        assert proto.parse(proto.dumps(proto.build(proto.SET_STATE))).body.playerPath is not None


def test_packed_numbers():
    """Devices write each number with its tag, but may pack them."""
    packed = bytes.fromhex("0804 4a16 1214 0a12 2210 0000000000002440 0000000000003e40")
    [command] = proto.parse(packed).body.supportedCommands.supportedCommands
    assert list(command.preferredIntervals) == [10.0, 30.0]


def test_key():
    assert proto.key(proto.build(proto.GENERIC, "K")) == "K"
    assert proto.key(proto.build(proto.GENERIC)) is None
    assert proto.key(proto.build(proto.CRYPTO_PAIRING)) == proto.CRYPTO_PAIRING


def test_new_id():
    found = [proto.new_id() for _ in range(200)]
    assert all(re.fullmatch(UUID4, one) for one in found)
    assert len(set(found)) == 200


def test_text():
    player = proto.build(proto.SET_NOW_PLAYING_CLIENT, client={"displayName": ""}).body.client
    assert proto.text(player, "displayName") == ""
    assert proto.text(player, "bundleIdentifier") is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (proto.UNKNOWN, {"volume": 1}),
        (999, {"volume": 1}),
        (proto.SET_VOLUME, {"nope": 1}),
        (proto.SET_VOLUME, {"volume": "loud"}),
        (proto.SET_VOLUME, {"outputDeviceUID": 5}),
        (proto.SET_VOLUME, {"outputDeviceUID": b"\xff"}),
        (proto.SET_VOLUME, {"outputDeviceUID": "\ud800"}),
        (proto.SET_STATE, {"playbackState": 1 << 31}),
        (proto.SET_STATE, {"playbackState": 1.5}),
        (proto.SET_STATE, {"playerPath": 5}),
        (proto.SET_STATE, {"playerPath": {"nope": 1}}),
        (proto.SET_STATE, {"playerPath": [{}]}),
        (proto.UPDATE_CONTENT_ITEM, {"contentItems": [5]}),
        (proto.UPDATE_CONTENT_ITEM, {"contentItems": 5}),
        (proto.GET_KEYBOARD_SESSION, {"volume": 1}),
    ],
)
def test_build_refuses(kind, fields):
    with pytest.raises(ValueError):  # noqa: PT011, each runtime has words of its own
        proto.build(kind, **fields)


# -- in a log


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (proto.build(proto.WAKE_DEVICE), "WAKE_DEVICE()"),
        (proto.build(proto.UNKNOWN, "K"), "DONE()"),
        (proto.build(proto.GET_KEYBOARD_SESSION), "GET_KEYBOARD_SESSION()"),
        (proto.build(-1), "-1()"),
        (
            proto.build(proto.SET_VOLUME, volume=0.25, outputDeviceUID="Küche"),
            "SET_VOLUME(volume: 0.25 outputDeviceUID: 'Küche')",
        ),
        (
            proto.build(proto.SEND_HID_EVENT, hidEventData=bytes(60)),
            "SEND_HID_EVENT(hidEventData: 60 bytes)",
        ),
        (
            proto.build(
                proto.SET_STATE,
                supportedCommands={
                    "supportedCommands": [
                        {"command": 18, "preferredIntervals": [10, 30]},
                        {"enabled": False},
                    ]
                },
            ),
            "SET_STATE(supportedCommands { supportedCommands { command: 18 preferredIntervals: 10.0"
            " preferredIntervals: 30.0 } supportedCommands { enabled: False } })",
        ),
    ],
)
def test_repr(message, shown):
    assert repr(message) == shown


def test_repr_keeps_secrets():
    """Neither keys nor what somebody types gets into a log."""
    for kind, fields in (
        (proto.CRYPTO_PAIRING, {"pairingData": b"secret"}),
        (proto.TEXT_INPUT, {"text": "secret"}),
        (proto.REMOTE_TEXT_INPUT, {"data": b"secret"}),
    ):
        assert repr(proto.build(kind, **fields)) == proto.NAMES[kind]


def test_repr_is_short():
    """Artwork and long lists are neither shown nor written out first."""
    items = [{"identifier": "x" * 1_000_000, "artworkData": bytes(1_000_000)}] * 3
    message = proto.build(proto.UPDATE_CONTENT_ITEM, contentItems=items)
    assert len(repr(message)) < 250
    assert repr(message).endswith("...)")


@pytest.mark.parametrize(
    ("command", "options", "part"),
    [
        (57, {"contentItemID": "A"}, "c2010141"),
        (57, {"playbackQueueOffset": 3}, "c80103"),
        (53, {"languageOption": b"\x08\x01"}, "da01020801"),
        (55, {"contentItemID": "A", "insertAfterContentItemID": "B"}, "c2010141ea010142"),
    ],
)
def test_options_of_queue_commands(command, options, part):
    """Worked by hand: 24 is a text, 25 a number, 27 bytes and 29 a text."""
    message = proto.build(proto.SEND_COMMAND, command=command, options=options)
    assert bytes.fromhex(part) in proto.dumps(message)
    again = proto.parse(proto.dumps(message)).body
    assert {one.name: value for one, value in again.options.ListFields()} == options
