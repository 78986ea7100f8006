"""Half of a device: what commands mean while a protocol is silent, refused, or lost."""

from __future__ import annotations

import queue
import secrets
import threading

import pytest

import tinyatv
from tests.support.program import Program, run, run_json
from tests.support.stalling import Stalling
from tests.support.watching import WAIT, Heard, ours
from tinyatv import FeatureState, KeyboardFocus, PowerState, proto
from tinyatv.proto import commands
from tinyatv.virtual import VirtualAppleTV

LONG = 60.0  # s; a time limit that nobody may wait for
APP = "com.netflix.Netflix"


def other_key(credentials):
    """Credentials of a remote that the device does not know."""
    public, _, rest = credentials.split(":", 2)
    return ":".join([public, secrets.token_hex(32), rest])


@pytest.fixture
def tv(own_store):
    """A device that speaks both, each on a port of its own."""
    with VirtualAppleTV("Living Room", profile="tvos14", protocols=["mrp", "companion"]) as tv:
        yield tv


@pytest.fixture
def device(tv):
    return tv.device


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.05, 0.1))


def stored(device):
    tinyatv.Store().save(device)
    return device.identifier


def in_time(do):
    """Do something on another thread, which has the time of things that take milliseconds."""
    done = queue.SimpleQueue()
    threading.Thread(target=lambda: done.put(do()), daemon=True).start()
    return done.get(timeout=2 * WAIT)


# -- a protocol that is gone is not one that never was -------------------------------------------


def test_refused_credentials_keep_their_reason(tv, device, capsys):
    service = device.service("companion")
    service.credentials = other_key(service.credentials)
    with tinyatv.connect(device) as atv:
        assert atv.protocols == ("mrp",)
        with pytest.raises(tinyatv.CredentialsError, match="launch needs companion: "):
            atv.launch(APP)
        atv.menu()
        assert atv.playing().title
        states = atv.features()
        assert states["launch"] is FeatureState.Unavailable
        assert states["server_info"] is FeatureState.Unsupported  # that never was
        with pytest.raises(tinyatv.NotSupported, match="server_info needs dmap"):
            atv.server_info()
    wanted = stored(device)
    code, _, err = run(capsys, "-i", wanted, f"launch={APP}")
    assert (code, "launch needs companion" in err) == (6, True)
    assert run(capsys, "-i", wanted, "menu", "title")[0] == 0
    assert tv.log == ["menu", "menu"]


def test_an_unpaired_protocol_that_was_asked_for(tv, device):
    for service in device.services:  # they would share them
        service.credentials = None
    with tinyatv.connect(device, protocols=["mrp", "companion"]) as atv:
        with pytest.raises(tinyatv.CredentialsError, match=r"launch needs companion: .*not paired"):
            atv.launch(APP)
        atv.menu()


def test_a_word_does_not_wait_for_what_it_does_not_need(tv, capsys):
    with Stalling(tv, "companion") as proxy:
        proxy.stall()
        wanted = stored(proxy.device)
        flags = ("-i", wanted, f"--timeout={LONG:g}")
        for word in ("title", "menu", "play", "output_devices", "features", "turn_on", "info"):
            assert in_time(lambda word=word: run(capsys, *flags, word))[0] == 0
        code, shown = run_json(capsys, *flags, "info")
        assert (code, shown[0]["connected"]) == (0, ["mrp"])
        code, _, err = run(capsys, "-i", wanted, "--timeout=0.5", f"launch={APP}")
        assert (code, "launch needs companion: no reply" in err) == (7, True)
    assert tv.log == ["menu", "play", "turn_on"]
    assert ours() == []


def test_a_word_waits_for_what_it_needs(tv, capsys):
    """Companion is slow, MRP is not: the word that needs the slow one gets it."""
    tv.fail("_systemInfo", delay=0.5)
    wanted = stored(tv.device)
    code, out, err = run(capsys, "-i", wanted, f"launch={APP}")
    assert (code, out, err) == (0, "", "")
    assert tv.log == [f"launch_app {APP}"]


@pytest.mark.parametrize("late", ["mrp", "companion"])
def test_the_best_protocol_has_some_time(tv, late):
    """Not more than that: what serves in its place does so then."""
    with Stalling(tv, late) as proxy:
        proxy.stall()
        atv = tinyatv.AppleTV(proxy.device, timeout=LONG)
        with atv.open(wait_for_all=False):
            (up,) = atv.protocols
            assert up != late
            assert in_time(atv.power_state) is PowerState.On
            in_time(atv.menu)
            assert tv.log == ["menu"]
            proxy.resume()
    assert ours() == []


def test_closing_ends_what_is_connecting_still(tv):
    ended = []

    def ask():
        try:
            atv.apps()
        except tinyatv.AppleTVError as exc:
            ended.append(exc)

    with Stalling(tv, "companion") as proxy:
        proxy.stall()
        atv = tinyatv.AppleTV(proxy.device, timeout=LONG).open(wait_for_all=False)
        waiting = threading.Thread(target=ask)
        waiting.start()
        atv.close()
        waiting.join(WAIT)
        assert isinstance(ended[0], tinyatv.ConnectionLost)
    assert ours() == []


def test_lost_alone(tv, device):
    """What it served says so; what others serve goes on."""
    with tinyatv.connect(device) as atv:
        heard = Heard(atv)
        tv.mrp.drop_peers()
        event = heard.next(tinyatv.Disconnected)
        assert event.protocol == "mrp"
        assert atv.protocols == ("companion",)
        with pytest.raises(tinyatv.ConnectionLost, match=r"playing needs mrp: .*lost"):
            atv.playing()
        assert atv.features()["playing"] is FeatureState.Unavailable
        atv.menu()
        assert atv.power_state() is PowerState.On
    assert tv.log == ["menu"]


def test_lost_alone_and_back(tv, quick):
    proxy = Stalling(tv, "mrp")
    with proxy, tinyatv.connect(proxy.device, timeout=0.5, reconnect=True) as atv:
        heard = Heard(atv)
        (companion,) = tv.companion.peers
        proxy.stall()
        proxy.resume()  # hangs up
        proxy.stall()
        heard.next(tinyatv.Disconnected)
        with pytest.raises(tinyatv.ConnectionLost, match="playing needs mrp"):
            atv.playing()
        atv.menu()
        proxy.resume()
        assert heard.next(tinyatv.Reconnected).protocols == ("mrp", "companion")
        assert atv.playing().title
        assert [*tv.companion.peers] == [companion]  # that one has not been lost
        tv.state.update(title="Another")
        heard.until(lambda event: event.playing.title == "Another")
    assert tv.log == ["menu"]
    assert ours() == []


def test_what_failed_at_first_comes_too(tv, quick):
    """With `reconnect` also what could not be opened when the rest was."""
    tv.fail("_systemInfo", drop=True, times=2)
    with tinyatv.connect(tv.device, reconnect=True, scan_timeout=0.1) as atv:
        assert "mrp" in atv.protocols
        assert tv.wait_for(lambda: atv.protocols == ("mrp", "companion"))
        atv.launch(APP)
    assert tv.log == [f"launch_app {APP}"]
    assert ours() == []


def test_refused_credentials_are_not_tried_again(tv, quick, device):
    service = device.service("companion")
    service.credentials = other_key(service.credentials)
    with tinyatv.connect(device, reconnect=True) as atv:
        assert not atv._session._reconnecting.is_set()  # its thread is there, and waits


@pytest.mark.parametrize("lines", ["--json", ""])
def test_watch_ends_with_what_it_watches(tv, lines):
    stored(tv.device)
    with Program("watch", *filter(None, [lines])) as process:
        while "Power" not in (line := process.stdout.readline()) and "power" not in line:
            pass
        tv.mrp.drop_peers()
        process.wait(timeout=2 * WAIT)  # its input stays open
        out, err = process.communicate()
    assert process.returncode == 4
    assert ("connection" in out) if lines else ("lost" in err)


def test_watch_goes_on_without_what_it_does_not_need(tv):
    stored(tv.device)
    with Program("push_updates", "--json") as process:
        while "power_state" not in process.stdout.readline():
            pass
        tv.companion.drop_peers()
        while "companion" not in process.stdout.readline():
            pass
        tv.state.update(title="Another")
        while "Another" not in process.stdout.readline():
            pass
        process.communicate("\n", timeout=2 * WAIT)
    assert process.returncode == 0


def test_watch_comes_back(tv):
    stored(tv.device)
    with Program("push_updates", "--json", "--reconnect") as process:
        while "power_state" not in process.stdout.readline():
            pass
        tv.mrp.drop_peers()
        while "reconnected" not in process.stdout.readline():
            pass
        tv.state.update(title="Another")
        while "Another" not in process.stdout.readline():
            pass
        process.communicate("\n", timeout=2 * WAIT)
    assert process.returncode == 0


# -- whoever can tell ----------------------------------------------------------------------------


class Tells:
    """Makes the device say something over one protocol that it does not say over the other."""

    def __init__(self, tv):
        self._tv = tv

    def __call__(self, protocol, what, value):
        getattr(self, f"_{protocol}_{what}")(value)

    def _mrp(self, kind, **fields):
        (peer,) = self._tv.mrp.peers
        peer.send(proto.build(kind, **fields))

    def _companion(self, name, content):
        (peer,) = self._tv.companion.peers
        peer.send_event(name, content)

    def _mrp_power(self, power):
        on = int(power is PowerState.On)
        self._mrp(proto.DEVICE_INFO_UPDATE, name=self._tv.name, logicalDeviceCount=on)

    def _companion_power(self, power):
        self._companion("TVSystemStatus", {"state": 3 if power is PowerState.On else 1})

    def _mrp_focus(self, focus):
        editing = focus is KeyboardFocus.Focused
        state = commands.EDITING if editing else commands.NOT_EDITING
        self._mrp(proto.KEYBOARD, state=state)

    def _companion_focus(self, focus):
        editing = focus is KeyboardFocus.Focused
        self._companion("_tiStarted" if editing else "_tiStopped", {"_tiD": b""} if editing else {})

    def _mrp_volume(self, level):
        self._mrp(proto.VOLUME_DID_CHANGE, volume=level / 100)


ON, OFF, UNKNOWN = PowerState.On, PowerState.Off, PowerState.Unknown
THERE, AWAY, NOBODY = KeyboardFocus.Focused, KeyboardFocus.Unfocused, KeyboardFocus.Unknown
M, C = "mrp", "companion"

# What is told, by which protocols, one after the other; what is returned then; what listeners hear.
# MRP has told that it is on, and that nothing is typed, while connecting; Companion nothing at all.
TOLD = [
    ("power", [M], [], ON, []),
    ("power", [M], [(M, OFF)], OFF, [OFF]),
    ("power", [C], [], UNKNOWN, []),
    ("power", [C], [(C, OFF)], OFF, [OFF]),
    ("power", [M, C], [], ON, []),
    ("power", [M, C], [(M, OFF)], OFF, [OFF]),
    ("power", [M, C], [(C, OFF)], OFF, [OFF]),
    ("power", [M, C], [(M, OFF), (C, OFF)], OFF, [OFF]),
    ("power", [M, C], [(C, OFF), (M, OFF)], OFF, [OFF]),
    ("power", [M, C], [(M, OFF), (C, ON)], ON, [OFF, ON]),
    ("power", [M, C], [(C, OFF), (M, OFF), (M, ON)], ON, [OFF, ON]),
    ("power", [M, C], [(M, OFF), (C, OFF), (C, ON)], ON, [OFF, ON]),
    ("focus", [M], [], AWAY, []),
    ("focus", [M], [(M, THERE)], THERE, [THERE]),
    ("focus", [C], [], NOBODY, []),
    ("focus", [C], [(C, THERE)], THERE, [THERE]),
    ("focus", [M, C], [], AWAY, []),
    ("focus", [M, C], [(M, THERE)], THERE, [THERE]),
    ("focus", [M, C], [(C, THERE)], THERE, [THERE]),
    ("focus", [M, C], [(M, THERE), (C, THERE)], THERE, [THERE]),
    ("focus", [M, C], [(C, THERE), (M, THERE)], THERE, [THERE]),
    ("focus", [M, C], [(M, THERE), (C, AWAY)], AWAY, [THERE, AWAY]),
    ("focus", [M, C], [(C, THERE), (M, THERE), (M, AWAY)], AWAY, [THERE, AWAY]),
]
QUESTION = {"power": "power_state", "focus": "text_focus"}
NEWS = {tinyatv.PowerChanged: "power", tinyatv.KeyboardChanged: "focus"}


@pytest.fixture
def silent(tv, monkeypatch):
    """Over Companion, it answers neither who is awake nor what is typed."""
    monkeypatch.setattr("tinyatv.backends.companion.OPTIONAL_TIMEOUT", 0.1)
    tv.companion.attention = "error"
    tv.fail("_tiStart", status=-1, times=None)
    return tv


def caught_up(atv, protocols):
    """What the device has said is known: answers come in order."""
    if M in protocols:
        atv.up()
    if C in protocols:
        atv.guide()


@pytest.mark.parametrize(("what", "protocols", "told", "returned", "heard"), TOLD)
def test_who_tells(silent, what, protocols, told, returned, heard):
    tells = Tells(silent)
    events = queue.SimpleQueue()
    with tinyatv.connect(silent.device, protocols=protocols) as atv:
        atv.add_listener(events.put)
        for protocol, value in told:
            tells(protocol, what, value)
            caught_up(atv, protocols)
        assert getattr(atv, QUESTION[what])() is returned
    kinds = [kind for kind, name in NEWS.items() if name == what]
    got = []
    while not isinstance(event := events.get(timeout=WAIT), tinyatv.Disconnected):
        if isinstance(event, *kinds):
            got.append(getattr(event, what))
    assert got == heard


def test_asked_beats_remembered(tv):
    """Companion can be asked, and says what is so now."""
    with tinyatv.connect(tv.device) as atv:
        Tells(tv)("mrp", "power", OFF)
        caught_up(atv, [M, C])
        assert atv.power_state() is PowerState.On


def test_an_answer_of_old_is_not_sold_as_new(tv, monkeypatch):
    """Companion answered once, and does not any more: what MRP has told since counts."""
    monkeypatch.setattr("tinyatv.backends.companion.OPTIONAL_TIMEOUT", 0.1)
    tv.companion.quirks.no_power_events = True
    with tinyatv.connect(tv.device) as atv:
        assert atv.power_state() is PowerState.On
        tv.companion.attention = "error"
        Tells(tv)("mrp", "power", OFF)
        caught_up(atv, [M, C])
        assert atv.power_state() is PowerState.Off


@pytest.mark.parametrize("asleep", [False, True])
def test_turn_on_and_off_where_companion_cannot_tell(silent, asleep):
    """MRP can: nobody waits for 25 s."""
    silent.companion.quirks.no_power_events = True
    if asleep:
        silent.state.sleep()
    with tinyatv.connect(silent.device) as atv:
        in_time(lambda: atv.turn_on(wait=True))
        assert atv.power_state() is PowerState.On
        in_time(lambda: atv.turn_off(wait=True))
        assert silent.state.power is PowerState.Off


def test_nobody_can_tell(silent):
    """Said after the time of a command, not after that of waking up."""
    atv = tinyatv.connect(silent.device, protocols=[C], timeout=0.5)
    with atv, pytest.raises(tinyatv.CommandTimeout, match="does not tell its power"):
        atv.turn_on(wait=True)
    assert silent.log == ["turn_on"]


def test_volume_that_only_companion_can_change(tv):
    """MRP says that it is fixed, and does nothing; so Companion does it."""
    tv.state.absolute_volume = True
    tv.state.set_volume(40)
    with tinyatv.connect(tv.device) as atv:
        (peer,) = tv.mrp.peers
        peer.send(proto.build(proto.VOLUME_CONTROL_AVAILABILITY, volumeControlAvailable=False))
        caught_up(atv, [M, C])
        assert atv.features()["set_volume"] is FeatureState.Available
        assert atv.volume() == 40
        atv.set_volume(30)
        assert (atv.volume(), tv.state.volume) == (30, 30)
        atv.volume_up()
        assert tv.wait_for(lambda: tv.state.volume > 30)
        atv.mute()
        assert tv.state.volume == 0


def test_volume_that_no_protocol_knows(tv):
    """The best one says why."""
    tv.state.volume_control = False
    atv = tinyatv.connect(tv.device)
    with atv, pytest.raises(tinyatv.NotSupported, match=r"\(mrp\)"):
        atv.volume()


def test_volume_is_what_was_told_last(tv):
    tv.state.absolute_volume = True
    tv.state.set_volume(40)
    for protocols, returned in (([M], 30), ([C], 40), ([M, C], 40)):
        with tinyatv.connect(tv.device, protocols=protocols) as atv:
            heard = Heard(atv)
            if M in protocols:
                Tells(tv)("mrp", "volume", 30)  # a lie: Companion, if asked, says 40
                assert heard.next(tinyatv.VolumeChanged).volume == 30
            assert atv.volume() == returned


def test_a_change_is_told_once(tv):
    """Both protocols report it."""
    tv.state.absolute_volume = True
    tv.state.set_volume(40)
    events = queue.SimpleQueue()
    with tinyatv.connect(tv.device) as atv:
        atv.add_listener(events.put)
        tv.state.sleep()
        caught_up(atv, [C])
        tv.state.set_volume(50)
        caught_up(atv, [M, C])
        assert atv.volume() == 50
    got = []
    while not isinstance(event := events.get(timeout=WAIT), tinyatv.Disconnected):
        if isinstance(event, tinyatv.PowerChanged):
            got.append(event.power)
        if isinstance(event, tinyatv.VolumeChanged):
            got.append(event.volume)
    assert got.count(50.0) == 1
    assert got.count(PowerState.Off) == 1
