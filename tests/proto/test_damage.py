"""What is damaged, hostile or of the future: read as far as it makes sense, or a ValueError."""

from __future__ import annotations

import struct
import tracemalloc

import pytest

from tests.support.mrp_trees import frames, put, tree
from tinyatv import proto

V19 = next(data for name, data, *_ in frames() if name == "V19")  # SET_STATE, music playing
NOT_UTF8 = b"a\xffb\xc3"
MENDED = "a\ufffdb\ufffd"

DEVICE_INFO = put(1, proto.DEVICE_INFO)
SET_STATE = put(1, proto.SET_STATE)


def group(depth):
    return b"\xa3\x06" * depth + b"\xa4\x06" * depth  # field 100, which nobody knows


# -- a field that is something else today


def fixed(number, wire_type):
    return bytes([number << 3 | wire_type]) + bytes(8 if wire_type == 1 else 4)


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 15])
@pytest.mark.parametrize(
    "other",
    [
        lambda number: put(number, 5),
        lambda number: put(number, (1 << 64) - 1),
        lambda number: fixed(number, 1),
        lambda number: fixed(number, 5),
        lambda number: put(number, b""),
        lambda number: put(number, b"\xff\xff\xff"),  # no text, no message, no numbers
        lambda number: put(number, b"\x0a\xff"),  # a message that is cut short
    ],
    ids="varint negative 64 32 empty garbage short".split(),
)
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_state_of_a_future_tvos(number, other, first):
    """A SetState whose fields have become something else still gives title and state."""
    known = put(3, put(2, put(1, b"id") + put(2, put(1, b"Blue in Green")))) + put(6, 2)
    strange = other(number)
    if number == 6 and strange[0] == 6 << 3:
        pytest.skip("that is the state")
    inside = strange + known if first else known + strange
    message = proto.parse(SET_STATE + put(9, inside))
    [item] = message.body.playbackQueue.contentItems
    assert proto.text(item.metadata, "title") == "Blue in Green"
    assert message.body.playbackState == 2
    repr(message)


def test_each_field_damaged():
    """Whichever field of a state is replaced by garbage, all the others stay."""
    whole = proto.parse(V19).body
    fields = [(field.number, field.name) for field, _ in whole.ListFields()]
    for damaged, name in fields:
        copy = type(whole)()
        copy.CopyFrom(whole)
        copy.ClearField(name)
        inside = copy.SerializeToString() + put(damaged, b"\xff\xff\xff")
        body = proto.parse(SET_STATE + put(9, inside)).body
        rest = [pair for pair in tree(body) if pair[0] != name]
        assert rest == tree(copy), name


def test_unknown_fields():
    """Every release adds some; also numbers that no schema allows."""
    strange = [
        put(77, 5),
        put(77, b"\xff\xff"),
        put(536870911, b"the highest"),
        b"\xe9\x04" + bytes(8),
        b"\xed\x04" + bytes(4),
        group(1),
        group(50),
    ]
    for data in strange:
        message = proto.parse(data + SET_STATE + data + put(9, data + put(6, 1) + data) + data)
        assert message.kind == proto.SET_STATE
        assert message.body.playbackState == 1
        repr(message)


def test_known_fields_beside_what_has_to_be_left_out():
    """Mending keeps numbers of every width, bytes, lists and what is nested."""
    inside = (
        put(2, put(1, put(1, 18) + fixed(4, 1) + struct.pack("<Bd", 4 << 3 | 1, 2.5)))
        + put(3, put(2, put(3, b"\x00\xff")) + put(2, put(1, b"second")))
        + put(10, b"\xff")
        + struct.pack("<Bd", 11 << 3 | 1, 7.25)
    )
    body = proto.parse(SET_STATE + put(9, inside)).body
    assert tree(body) == [
        [
            "supportedCommands",
            [
                [
                    "supportedCommands",
                    [["command", 18], ["preferredIntervals", 0.0], ["preferredIntervals", 2.5]],
                ]
            ],
        ],
        [
            "playbackQueue",
            [
                ["contentItems", [["artworkData", {"hex": "00ff"}]]],
                ["contentItems", [["identifier", "second"]]],
            ],
        ],
        ["playbackStateTimestamp", 7.25],
    ]


# -- text


def test_text_that_is_not_utf8():
    client = put(1, put(2, NOT_UTF8) + put(7, b"Music"))
    message = proto.parse(put(1, proto.SET_NOW_PLAYING_CLIENT) + put(50, client))
    assert proto.text(message.body.client, "bundleIdentifier") == MENDED
    assert proto.text(message.body.client, "displayName") == "Music"
    assert "Music" in repr(message)


def test_identifier_that_is_not_utf8():
    """It stays a text, so that it can be looked up and sent back."""
    message = proto.parse(put(1, proto.GENERIC) + put(2, NOT_UTF8))
    assert message.identifier == proto.key(message) == MENDED
    assert proto.build(proto.UNKNOWN, message.identifier).identifier == MENDED


def test_listed_text_that_is_not_utf8():
    """Beside it, the rest is there, and it can be shown."""
    message = proto.parse(put(1, proto.NOTIFICATION) + put(16, put(1, NOT_UTF8) + put(1, b"ok")))
    assert len(message.body.notification) == 2
    assert message.body.notification[1] == "ok"
    assert "ok" in repr(message)


# -- depth


def nested(depth):
    """A device in a group in a group ..."""
    inside = put(2, b"innermost")
    for _ in range(depth):
        inside = put(2, b"one") + put(28, inside)
    return DEVICE_INFO + put(20, inside)


@pytest.mark.parametrize("depth", [1, 15, 16, 17, 50, 90])
def test_nested_as_deep_as_nobody_does(depth):
    device = proto.parse(nested(depth)).body
    for _ in range(min(depth, 14)):
        assert device.name == "one"
        [device] = device.groupedDevices


@pytest.mark.parametrize("depth", [*range(95, 120), 200, 250, 300, 350, 1000, 3000])
def test_nesting_bomb(depth):
    """64 KiB hold thousands of levels: those further down are left out."""
    data = nested(depth)
    message = proto.parse(data)
    assert message.kind == proto.DEVICE_INFO
    assert message.body.name == "one"
    assert len(repr(message)) < 250


@pytest.mark.parametrize("depth", [95, 100, 105, 300, 1000, 16000])
@pytest.mark.parametrize("ended", [True, False])
def test_groups_bomb(depth, ended):
    """Groups were given up before MRP was made; who sends thousands gets nothing or a refusal."""
    bomb = group(depth) if ended else group(depth)[: 2 * depth]
    try:
        message = proto.parse(SET_STATE + bomb)
    except ValueError:
        assert depth > 99 or not ended
    else:
        assert message.kind == proto.SET_STATE
    # Inside the body it costs no more than the body.
    message = proto.parse(SET_STATE + put(9, bomb))
    assert message.kind == proto.SET_STATE
    repr(message)


# -- no message at all


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x12\x05abc",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7fabc",
        b"\x09abc",
        b"\x0dabc",
        b"\x00\x00",  # field 0
        b"\x02\x00",
        b"\x0c",  # a group ends that never began
        b"\x0b",
        b"\x0e\x00",  # wire types that do not exist
        b"\x0f\x00",
        b"\xff" * 10,
        b"\x08" + b"\xff" * 10,
        b"\x08" + b"\xff" * 60 * 1024,
        b"\xff" * 60 * 1024,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",  # TLS
    ],
    ids=lambda data: data[:12].hex(),
)
def test_no_message(data):
    with pytest.raises(ValueError):  # noqa: PT011, each runtime has words of its own
        proto.parse(data)


@pytest.mark.parametrize(("data", "name"), [(data, name) for name, data, *_ in frames()])
def test_every_truncation(data, name):
    """Cut between two fields, what is there counts; cut anywhere else, it is no message."""
    whole = tree(proto.parse(data).envelope)
    read = 0
    for size in range(len(data)):
        try:
            message = proto.parse(data[:size])
        except ValueError:
            continue
        read += 1
        assert tree(message.envelope) == whole[: len(message.envelope.ListFields())]
        repr(message)
    assert read == len(whole)


def test_endless_number_in_a_body():
    message = proto.parse(SET_STATE + put(9, put(5, b"Music") + b"\x30" + b"\xff" * 60 * 1024))
    assert (message.kind, message.body.HasField("displayName")) == (proto.SET_STATE, False)


@pytest.mark.parametrize("depth", [1, 8, 15, 16])
def test_memory_to_mend(depth):
    """However deep the damage sits, what is around it is not kept once for each level."""
    inside = put(2, bytes(1 << 18)) + b"\xff"
    for _ in range(depth):
        inside = put(28, inside)
    data = DEVICE_INFO + put(20, inside)
    proto.parse(b"")
    tracemalloc.start()
    try:
        proto.parse(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
    finally:
        tracemalloc.stop()
