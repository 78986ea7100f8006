"""Buttons and touches."""

from __future__ import annotations

import re

import pytest

from tests.support.vectors import cases
from tinyatv.wire import hid

VOLUME_UP = bytes.fromhex(cases("mrp", "hid")[0]["expect"]["down_hex"])


@pytest.mark.parametrize("case", cases("mrp", "hid"), ids=lambda case: case["name"])
def test_vectors(case):
    page, usage = case["page"], case["usage"]
    assert hid.USAGE[case["name"]] == (page, usage)
    assert hid.BUTTON[page, usage] == case["name"]
    for down in (True, False):
        data = bytes.fromhex(case["expect"]["down_hex" if down else "up_hex"])
        assert hid.event(page, usage, down) == data
        assert hid.parse_event(data) == (page, usage, down)


@pytest.mark.parametrize("case", cases("mrp", "touch"), ids=lambda case: case["name"])
def test_touch_vectors(case):
    touch = tuple(case[name] for name in ("x", "y", "phase", "device", "finger"))
    data = bytes.fromhex(case["expect"]["data_hex"])
    assert hid.touch(*touch) == data
    assert hid.parse_touch(data) == touch


def test_every_button_is_another():
    assert len(hid.BUTTON) == len(hid.USAGE)


def test_usages_beyond_a_byte():
    """Origin: the field is 16 bits in Apple's IOHIDFamily headers; no button there is known."""
    data = hid.event(0xFF01, 0x0223, True)
    assert data[44:52] == bytes.fromhex("01ff 2302 01000000")
    assert hid.parse_event(data) == (0xFF01, 0x0223, True)


def test_what_the_device_does_not_look_at():
    """Time and sender of a real remote; a shorter end."""
    data = bytes(range(1, 17)) + VOLUME_UP[16:]
    assert hid.parse_event(data) == hid.parse_event(data[:52]) == hid.parse_event(VOLUME_UP)


@pytest.mark.parametrize("size", [*range(52)])
def test_short_event(size):
    with pytest.raises(ValueError, match=f"60 bytes, not {size}$"):
        hid.parse_event(VOLUME_UP[:size])


def test_event_of_another_kind():
    with pytest.raises(ValueError, match="event type 11 is no button"):
        hid.parse_event(VOLUME_UP[:32] + b"\x0b" + VOLUME_UP[33:])


@pytest.mark.parametrize("size", [0, 9, 11, 20])
def test_touch_of_another_size(size):
    with pytest.raises(ValueError, match=f"10 bytes, not {size}$"):
        hid.parse_touch(bytes(size))


@pytest.mark.parametrize("number", [-1, 0x10000, 1 << 70])
def test_too_large(number):
    message = re.escape(f"{number} is not a number of 16 bits")
    for at in range(2):
        with pytest.raises(ValueError, match=message):
            hid.event(*[number if n == at else 1 for n in range(2)], True)
    for at in range(5):
        with pytest.raises(ValueError, match=message):
            hid.touch(*[number if n == at else 1 for n in range(5)])
