"""All that a user can call, on all that there is: each effect is looked up on the device.

What `SURFACE` does not have, although `AppleTV` does, fails the last test. What no connected
protocol serves must say so.
"""

from __future__ import annotations

import pathlib
import queue

import pytest

import tinyatv
from tests.support.sound import samples, wav
from tinyatv import (
    AppleTV,
    DeviceState,
    FeatureState,
    KeyboardFocus,
    PowerState,
    RepeatState,
    ShuffleState,
    TouchAction,
)
from tinyatv.routes import ROUTES
from tinyatv.virtual import PROFILES, VirtualAppleTV

WAIT = 5.0  # s; a deadline for things that take milliseconds
NETFLIX = "com.netflix.Netflix"
SPEAKERS = ("airport", "speaker")  # for these, all is about what is streamed: see test_raop.py
DEVICES = [  # profile, what it speaks: everything, and each protocol without help of the others
    *((profile, None) for profile in PROFILES if profile not in SPEAKERS),
    ("tvos14", ["mrp", "raop"]),
    ("atv3", ["dmap", "airplay"]),
    ("tvos14", ["mrp"]),
    ("tvos14", ["companion"]),
    ("tvos14", ["mrp", "airplay", "companion"]),
    ("tvos18", ["airplay"]),
    ("tvos27", ["companion"]),
]


class Case:
    """One method: what is the case before, the call, and how to see on the device that it came."""

    def __init__(self, call, seen, before=None):
        self.call = call
        self.seen = seen
        self.before = before


def logged(*entries):
    return lambda tv, result: tv.log == list(entries)


def is_now(name, value):
    return lambda tv, result: getattr(tv.state, name) == value


def about(name, value):
    """So much, and what a moment may add."""
    return lambda tv, result: value <= getattr(tv.state, name) < value + 3


def plays(what):
    return is_now("device_state", what)


def kitchen(tv):
    return tv.state.known_outputs[1].identifier


def in_kitchen(tv):
    tv.state.add_outputs(kitchen(tv))


def other_account(tv):
    return list(tv.state.accounts)[-1]


def typing(tv):
    tv.state.open_field("old")


def listens(atv, tv):
    """Hears of a change, and then no more."""
    heard = queue.SimpleQueue()
    atv.add_listener(heard.put)
    tv.state.pause()
    tv.state.set_volume(tv.state.volume - 1)
    told = heard.get(timeout=WAIT)
    atv.remove_listener(heard.put)
    return told


def queues(atv, tv):
    pressed = queue.SimpleQueue()
    atv.queued(pressed.put, "pressed")("pin 17")
    return pressed.get(timeout=WAIT)


def plays_a_file(atv, tv):
    """True once the device has fetched it; it is not served any longer than it plays."""
    data = pathlib.Path(__file__).read_bytes()
    with atv.play_url(__file__):
        return tv.wait_for(lambda: tv.airplay.player.body == data)


def streams(atv, tv):
    with atv.stream(wav(samples(44100))):
        return tv.wait_for(lambda: tv.raop.streams[-1].packets > 20)


def iterates(atv, tv):
    events = atv.events(timeout=WAIT)
    tv.state.pause()
    tv.state.set_volume(tv.state.volume - 1)
    try:
        return next(events)
    finally:
        events.close()


SURFACE = {
    **{
        name: Case(lambda atv, tv, name=name: getattr(atv, name)(), logged(name))
        for name in ("up", "down", "left", "right", "select", "menu", "home", "top_menu",
                     "channel_up", "channel_down", "guide", "screensaver",
                     "control_center", "siri_start", "suspend", "play_pause", "next", "previous",
                     "stop")
    },
    "page_up": Case(lambda atv, tv: atv.page_up(), logged()),  # nobody has a button for it
    "page_down": Case(lambda atv, tv: atv.page_down(), logged()),
    "siri_stop": Case(
        lambda atv, tv: (atv.siri_start(), atv.siri_stop()),
        logged("siri_start", "siri_stop", "siri"),
    ),
    "wakeup": Case(
        lambda atv, tv: atv.wakeup(), is_now("power", PowerState.On), lambda tv: tv.state.sleep()
    ),
    "swipe": Case(lambda atv, tv: atv.swipe(500, 100, 500, 900, 0.03), logged("down")),
    "touch": Case(
        lambda atv, tv: atv.touch(10, 20, TouchAction.Press),
        lambda tv, result: tv.companion.touches[-1] == (1, 10, 20),
    ),
    "click": Case(lambda atv, tv: atv.click(), logged("select")),
    "play": Case(
        lambda atv, tv: atv.play(), plays(DeviceState.Playing), lambda tv: tv.state.pause()
    ),
    "pause": Case(lambda atv, tv: atv.pause(), plays(DeviceState.Paused)),
    "skip_forward": Case(lambda atv, tv: atv.skip_forward(30), about("position", 130)),
    "skip_backward": Case(lambda atv, tv: atv.skip_backward(30), about("position", 70)),
    "begin_fast_forward": Case(
        lambda atv, tv: atv.begin_fast_forward(),
        lambda tv, result: (tv.state.device_state, tv.state.rate) == (DeviceState.Seeking, 2.0),
    ),
    "end_fast_forward": Case(
        lambda atv, tv: atv.end_fast_forward(), plays(DeviceState.Playing),
        lambda tv: tv.state.fast_forward(),
    ),
    "begin_rewind": Case(
        lambda atv, tv: atv.begin_rewind(),
        lambda tv, result: (tv.state.device_state, tv.state.rate) == (DeviceState.Seeking, -2.0),
    ),
    "end_rewind": Case(
        lambda atv, tv: atv.end_rewind(), plays(DeviceState.Playing), lambda tv: tv.state.rewind()
    ),
    "set_position": Case(lambda atv, tv: atv.set_position(60), about("position", 60)),
    "set_shuffle": Case(
        lambda atv, tv: atv.set_shuffle(ShuffleState.Songs), is_now("shuffle", ShuffleState.Songs)
    ),
    "set_repeat": Case(
        lambda atv, tv: atv.set_repeat(RepeatState.All), is_now("repeat", RepeatState.All)
    ),
    "captions": Case(lambda atv, tv: atv.captions("on"), is_now("captions", 2)),
    "volume_up": Case(lambda atv, tv: atv.volume_up(), is_now("volume", 55)),
    "volume_down": Case(lambda atv, tv: atv.volume_down(), is_now("volume", 45)),
    "volume": Case(lambda atv, tv: atv.volume(), lambda tv, result: result == tv.state.volume),
    "set_volume": Case(lambda atv, tv: atv.set_volume(20), is_now("volume", 20)),
    "mute": Case(lambda atv, tv: atv.mute(), is_now("volume", 0)),
    "output_devices": Case(
        lambda atv, tv: [one.identifier for one in atv.output_devices()],
        lambda tv, result: result == tv.state.outputs,
    ),
    "add_output_devices": Case(
        lambda atv, tv: atv.add_output_devices(kitchen(tv)),
        lambda tv, result: kitchen(tv) in tv.state.outputs,
    ),
    "remove_output_devices": Case(
        lambda atv, tv: atv.remove_output_devices(kitchen(tv)),
        lambda tv, result: kitchen(tv) not in tv.state.outputs, in_kitchen,
    ),
    "set_output_devices": Case(
        lambda atv, tv: atv.set_output_devices(kitchen(tv)),
        lambda tv, result: tv.state.outputs == [kitchen(tv)],
    ),
    "power_state": Case(
        lambda atv, tv: atv.power_state(), lambda tv, result: result is tv.state.power
    ),
    "turn_off": Case(lambda atv, tv: atv.turn_off(wait=True), is_now("power", PowerState.Off)),
    "turn_on": Case(
        lambda atv, tv: atv.turn_on(), is_now("power", PowerState.On), lambda tv: tv.state.sleep()
    ),
    "apps": Case(
        lambda atv, tv: [one.identifier for one in atv.apps()],
        lambda tv, result: result == [one.identifier for one in tv.state.apps],
    ),
    "launch": Case(
        lambda atv, tv: atv.launch(NETFLIX),
        lambda tv, result: tv.state.app.identifier == NETFLIX,
    ),
    "accounts": Case(
        lambda atv, tv: {one.identifier: one.name for one in atv.accounts()},
        lambda tv, result: result == tv.state.accounts,
    ),
    "switch_account": Case(
        lambda atv, tv: atv.switch_account(other_account(tv)),
        lambda tv, result: tv.state.account == other_account(tv),
    ),
    "text_focus": Case(
        lambda atv, tv: atv.text_focus(),
        lambda tv, result: result is KeyboardFocus.Focused, typing,
    ),
    "text_get": Case(lambda atv, tv: atv.text_get(), lambda tv, result: result == "old", typing),
    "text_set": Case(lambda atv, tv: atv.text_set("new"), is_now("text", "new"), typing),
    "text_append": Case(lambda atv, tv: atv.text_append("er"), is_now("text", "older"), typing),
    "text_clear": Case(lambda atv, tv: atv.text_clear(), is_now("text", ""), typing),
    "play_url": Case(plays_a_file, lambda tv, result: result),
    "stream": Case(streams, lambda tv, result: result),
    "playing": Case(
        lambda atv, tv: atv.playing().title, lambda tv, result: result == tv.state.item.title
    ),
    "artwork": Case(
        lambda atv, tv: atv.artwork(100).data,
        lambda tv, result: result == tv.state.artwork(100),
    ),
    "server_info": Case(
        lambda atv, tv: atv.server_info(),
        lambda tv, result: result["dmap.itemname"] == tv.name,
    ),
    "device": Case(
        lambda atv, tv: atv.device, lambda tv, result: result.identifier == tv.device.identifier
    ),
    "timeout": Case(lambda atv, tv: atv.timeout, lambda tv, result: result == 5.0),
    "name": Case(lambda atv, tv: atv.name, lambda tv, result: result == tv.name),
    "address": Case(lambda atv, tv: atv.address, lambda tv, result: result == tv.host),
    "protocols": Case(
        lambda atv, tv: {*atv.protocols} - {"mrp"},
        lambda tv, result: result == {*tv.protocols} - {"mrp"},
    ),
    "reconnects": Case(lambda atv, tv: atv.reconnects, lambda tv, result: result is False),
    "features": Case(lambda atv, tv: atv.features(), lambda tv, result: {*ROUTES} <= {*result}),
    "queued": Case(queues, lambda tv, result: result == "pressed"),
    "add_listener": Case(listens, lambda tv, result: result is not None),
    "remove_listener": Case(listens, lambda tv, result: result is not None),
    "events": Case(iterates, lambda tv, result: result is not None),
    "close": Case(lambda atv, tv: atv.close(), lambda tv, result: not peers(tv)),
    "is_whole": Case(lambda atv, tv: atv.is_whole, lambda tv, result: result is True),
    "has_answered": Case(lambda atv, tv: atv.has_answered, lambda tv, result: result is True),
    "wait_for_rest": Case(lambda atv, tv: atv.wait_for_rest(), lambda tv, result: True),
    "open": Case(lambda atv, tv: atv.open(), lambda tv, result: True),
}  # fmt: skip
LAST = ("close",)  # nothing comes behind it
SILENT = {"events", "add_listener", "remove_listener"}  # AirPlay alone has nothing to tell


def peers(tv):
    """Who is connected; DMAP and AirPlay keep nobody."""
    found = []
    for protocol in ("companion", "mrp"):
        if protocol in tv.sides:
            found += tv.sides[protocol].peers
    return found


def ready(atv, tv, player):
    """Awake, playing at 100 s, half as loud as it can be; and known to be so."""
    state = tv.state
    state.wake()
    state.close_field()
    state.activate(player)
    with state.change():
        state.device_state, player.rate = DeviceState.Playing, 1.0
        state.shuffle, state.repeat = ShuffleState.Off, RepeatState.Off
        state.outputs = [state.output.identifier]
        player.position = 100.0
    state.set_volume(50)
    state.captions = 1
    up_to_date(atv)


def up_to_date(atv):
    """Whatever the device has said until now is known: it answers after it has told."""
    if "mrp" in atv.protocols:
        atv.wakeup()
    if "companion" in atv.protocols:
        atv.accounts()
        atv.accounts()  # behind the question for the volume that what came first made us ask


def check(name, atv, tv, player):
    """Call a method and look at the device; returns what is wrong, or None."""
    case = SURFACE[name]
    ready(atv, tv, player)
    if case.before is not None:
        case.before(tv)
        if tv.state.power is PowerState.On:
            up_to_date(atv)
    supported = name not in ROUTES or atv.features()[name] is not FeatureState.Unsupported
    serving = name not in ROUTES or {*ROUTES[name]} & {*atv.protocols}
    del tv.log[:]
    try:
        result = case.call(atv, tv)
    except tinyatv.NotSupported as exc:
        return f"{exc}" if supported and serving else None
    if not supported or not serving:
        return "it should not be supported"
    if not tv.wait_for(lambda: case.seen(tv, result)):
        return f"{result!r}, log {tv.log}, {tv.state.device_state}, {tv.state.power}"
    return None


@pytest.mark.parametrize(("profile", "protocols"), DEVICES)
def test_surface(profile, protocols):
    tv = VirtualAppleTV("Living Room", profile=profile, protocols=protocols)
    tv.state.absolute_volume = True  # over DMAP it is iTunes that has it
    wrong = {}
    with tv:
        player = tv.state.player
        with AppleTV(tv.device).open() as atv:
            for name in sorted(SURFACE, key=lambda name: name in LAST):
                if name in SILENT and atv.protocols == ("airplay",):
                    continue
                found = check(name, atv, tv, player)
                if found is not None:
                    wrong[name] = found
    assert wrong == {}


def test_nothing_is_left_out():
    """Every public name of the class is in the table, and every route is taken by some device."""
    public = {name for name in dir(AppleTV) if not name.startswith("_")}
    assert public - {*SURFACE} == set()
    assert {*SURFACE} - public == set()
    taken = {(name, "raop") for name, served in ROUTES.items() if "raop" in served}  # test_raop.py
    for profile, protocols in DEVICES:
        speaks = {*(protocols or PROFILES[profile][0])}
        if "airplay" in speaks and profile not in ("atv3", "airplay1"):
            speaks.add("mrp")  # through a tunnel
        for name, routes in ROUTES.items():
            taken.update((name, one) for one in routes if one in speaks and not (
                {*routes[: routes.index(one)]} & speaks))  # fmt: skip
    assert {(name, one) for name, routes in ROUTES.items() for one in routes} - taken == set()
