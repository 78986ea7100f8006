"""A home in which addresses change hands: the right device acts, and no other hears of it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

import tinyatv
from tests.support.home import PIN, Home, keys
from tests.support.program import Person, Program, run, run_json
from tests.support.watching import Heard
from tinyatv.pool import Pool

TVS = ["pairing", "sharing", "mrp", "unpaired mrp", "tunnel", "companion"]
KINDS = [*TVS, "homepod"]
PAIRED_BY_PIN = ["mrp", "tunnel", "companion"]
PRESS = {"companion": "menu"}  # it does not know `pause` of a device that plays nothing
QUICK = ("--scan-timeout", "0.5")  # where nobody is to be found
WAIT = 30.0  # s; a deadline for things that take milliseconds


@pytest.fixture(autouse=True)
def runtime(monkeypatch):
    """No server of another test answers; and that of this one has a place for its socket."""
    folder = tempfile.mkdtemp(prefix="tinyatv-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    yield
    shutil.rmtree(folder)


@pytest.fixture
def home(monkeypatch):
    """Three places that a scan asks."""
    home = Home()
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", home.hosts)
    yield home
    home.close()


@pytest.fixture
def store(own_store):
    return tinyatv.Store()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def pair_of(home, store, kind):
    """Den and Fen, stored at their old addresses, each of which is that of the other now."""
    den, fen = home.add(kind, "Den", 0), home.add(kind, "Fen", 1)
    for one in (den, fen):
        store.save(one.tv.device)
    home.swap(den, fen)
    return den, fen


def word(kind):
    return PRESS.get(kind, "pause")


# -- two that swap their addresses -----------------------------------------------------------------


def test_swapped_library(pair_of, store, kind):
    den, fen = pair_of
    before = keys(store, den), keys(store, fen)
    for one, other in ((den, fen), (fen, den)):
        with tinyatv.connect(one.name, store=store) as atv:
            getattr(atv, word(kind))()
            assert atv.address == one.tv.host
        assert (one.log, other.log) == ([word(kind)], [])
        assert store.find(one.name).address == one.tv.host
        one.log.clear()
    assert (keys(store, den), keys(store, fen)) == before


@pytest.mark.parametrize("kind", ["airplay 1"], indirect=True)
def test_swapped_without_a_connection_that_stays(home, pair_of, store, kind):
    den, fen = pair_of
    with tinyatv.connect("Den", store=store) as atv:
        assert atv.address == den.tv.host
        place = atv.device
    # And while nothing is connected: what is to be played is not played elsewhere.
    with tinyatv.connect(place, store=store) as atv:
        den.leave()
        fen.leave()
        fen.at(next(one for one in home.places if one.host == place.address))
        with pytest.raises(tinyatv.WrongDevice, match=r"another device .* answers at"):
            atv.play_url("http://127.0.0.1:9/a.mp4")
    assert not [request for request in fen.tv.airplay.requests if "/play" in request]


def test_swapped_command_line(pair_of, kind, capsys):
    den, fen = pair_of
    assert run(capsys, "-n", "Den", word(kind)) == (0, "", "")
    assert (den.log, fen.log) == ([word(kind)], [])
    assert run(capsys, "-n", "Fen", word(kind)) == (0, "", "")
    assert (den.log, fen.log) == ([word(kind)], [word(kind)])


def test_swapped_volume(home, store, capsys):
    """What was seen: one HomePod was told what was meant for another."""
    kitchen, bedroom = home.add("homepod", "Kitchen", 0), home.add("homepod", "Bedroom", 1)
    store.save(kitchen.tv.device)
    store.save(bedroom.tv.device)
    home.swap(kitchen, bedroom)
    quiet = bedroom.tv.state.volume
    assert run(capsys, "-n", "Kitchen", "set_volume=90")[0] == 0
    assert (kitchen.tv.state.volume, bedroom.tv.state.volume) == (90, quiet)
    assert bedroom.log == []


def test_swapped_pool(home, store, kind):
    """Connections that stay open: what was connected before the swap, and what was not."""
    den, fen = home.add(kind, "Den", 0), home.add(kind, "Fen", 1)
    for one in (den, fen):
        store.save(one.tv.device)
    with Pool(store) as pool:
        with pool.connection(store.find("Den")) as atv:
            getattr(atv, word(kind))()
        home.swap(den, fen)
        for one, other in ((den, fen), (fen, den)):
            done = 0
            while not done:
                try:
                    with pool.connection(store.find(one.name)) as atv:
                        getattr(atv, word(kind))()
                    done = 1
                except tinyatv.ConnectionLost:
                    pass  # the loss was not noticed yet
            assert (one.log, other.log) == ([word(kind)], [])
            one.log.clear()


@pytest.mark.parametrize("kind", ["sharing", "tunnel"], indirect=True)
def test_swapped_serve(pair_of, kind):
    den, fen = pair_of
    with Program("serve", "--json") as process:
        process.stdout.readline()
        for one, other in ((den, fen), (fen, den)):
            command = [sys.executable, "-m", "tinyatv", "-n", one.name, word(kind)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            assert (one.log, other.log) == ([word(kind)], [])
            one.log.clear()
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.parametrize("kind", ["pairing", "sharing", "mrp", "tunnel", "homepod"], indirect=True)
def test_swapped_watch_all(home, store, kind):
    den, fen = home.add(kind, "Den", 0), home.add(kind, "Fen", 1)
    for one in (den, fen):
        store.save(one.tv.device)
    with Program("watch", "--all", "--reconnect", "--json", "-t", "2") as process:
        for one in (den, fen):
            one.tv.state.update(title=f"{one.name} before")
        seen = set()
        while len(seen) < 2:
            line = json.loads(process.stdout.readline())
            seen |= {line["name"]} if str(line.get("title")).endswith("before") else set()
        home.swap(den, fen)
        for one in (den, fen):
            one.tv.state.update(title=f"{one.name} after")
        while seen:
            line = json.loads(process.stdout.readline())
            if str(line.get("title")).endswith("after"):
                assert line["title"] == f"{line['name']} after"
                seen.discard(line["name"])
        process.terminate()
        process.communicate(timeout=30)
    assert (den.log, fen.log) == ([], [])


def test_swapped_reconnect(home, store, kind, monkeypatch):
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.01, 0.05))
    monkeypatch.setattr("tinyatv.backends.dmap.PAUSES", (0.01, 0.05))
    den, fen = home.add(kind, "Den", 0), home.add(kind, "Fen", 1)
    with tinyatv.connect(den.tv.device, store=store, reconnect=True) as atv:
        heard = Heard(atv)
        home.swap(den, fen)
        heard.events.get(timeout=WAIT)
        while True:
            if isinstance(heard.events.get(timeout=WAIT), tinyatv.Reconnected):
                break
        assert atv.address == den.tv.host
        getattr(atv, word(kind))()
    assert (den.log, fen.log) == ([word(kind)], [])


@pytest.mark.parametrize("kind", PAIRED_BY_PIN, indirect=True)
@pytest.mark.parametrize("by", ["library", "program"])
def test_swapped_pair(pair_of, store, kind, by, capsys):
    """The PIN is on the right screen, and the keys of the other one stay."""
    den, fen = pair_of
    theirs = keys(store, fen)
    for protocol in keys(store, den):
        store.take_away(store.find("Den"), protocol, "credentials")
    if by == "library":
        tinyatv.pair("Den", pin=PIN, store=store)
    else:
        assert run(capsys, "-n", "Den", "pair", "--pin", PIN)[0] == 0
    assert den.tv.pins
    assert fen.tv.pins == []
    assert keys(store, fen) == theirs
    assert any(keys(store, den).values())
    with tinyatv.connect("Den", store=store) as atv:
        getattr(atv, word(kind))()
    assert (den.log, fen.log) == ([word(kind)], [])


@pytest.mark.parametrize("kind", ["pairing"], indirect=True)
def test_pin_typed_on_another_tv(pair_of, store, kind):
    """Any TV may pick the remote: what it agreed on is not stored for the one that was meant."""
    den, fen = pair_of
    before = keys(store, den), keys(store, fen)

    def show(pin):
        fen.tv.enter_pin(pin, ("127.0.0.1", port, guid))

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    guid = "0123456789ABCDEF"
    options = {"port": port, "guid": guid, "announce": False, "address": "127.0.0.1"}
    with pytest.raises(tinyatv.PairingError, match="typed on another TV"):
        tinyatv.pair("Den", show_pin=show, store=store, **options)
    assert (keys(store, den), keys(store, fen)) == before


def test_swapped_doctor(pair_of, capsys):
    """It says where they are now, connects to both, and does nothing to either."""
    den, fen = pair_of
    _, lines = run_json(capsys, "doctor")
    moved = {one["device"] for one in lines if one["check"] == "device.address"}
    assert moved == {"Den", "Fen"}
    assert [one for one in lines if one.get("status") == "problem" and one["device"]] == []
    assert (den.log, fen.log) == ([], [])


# -- one that moves away ---------------------------------------------------------------------------


def test_moved_to_another_listed_host(home, store, kind, capsys, monkeypatch):
    """Found once through -s; later looked for wherever a scan would look."""
    den = home.add(kind, "Den", 0)
    store.save(den.tv.device)
    other = home.add(kind, "Fen", 1)
    den.at(home.places[2])
    other.at(home.places[0])
    assert run(capsys, "-n", "Den", word(kind)) == (0, "", "")
    assert (den.log, other.log) == ([word(kind)], [])
    assert store.find("Den").address == den.tv.host


@pytest.mark.parametrize("kind", ["pairing", "tunnel"], indirect=True)
def test_moved_to_where_multicast_alone_finds_it(home, store, kind, capsys, monkeypatch):
    den = home.add(kind, "Den", 0)
    store.save(den.tv.device)
    other = home.add(kind, "Fen", 1)
    den.at(home.places[2], announce=True)
    other.at(home.places[0])
    monkeypatch.delenv("TINYATV_SCAN_HOSTS")
    assert run(capsys, "-n", "Den", "--scan-timeout", "10", word(kind)) == (0, "", "")
    assert (den.log, other.log) == ([word(kind)], [])


# -- one that is not itself any more ---------------------------------------------------------------


@pytest.fixture
def replaced(home, store, kind):
    """Den is stored with an alias and as the default; another Den is there now."""
    old = home.add(kind, "Den", 0)
    store.save(old.tv.device)
    store.set_alias("Den", "tv")
    store.set_default("tv")
    old.leave()
    return old, home.add(kind, "Den", 0)


def test_replaced(replaced, store, kind, capsys):
    """It says who answers and what to do, and does nothing to the new one."""
    old, new = replaced
    before = keys(store, old)
    with pytest.raises(tinyatv.WrongDevice, match="devices adopt Den") as caught:
        tinyatv.connect("tv", store=store, scan_timeout=0.5)
    assert new.tv.device.identifier in caught.value.answered
    for words in ([word(kind)], ["pair", "--pin", PIN]):
        code, out, err = run(capsys, "-n", "tv", *QUICK, *words)
        assert (code, out) == (4, "")
        assert "tinyatv devices adopt Den" in err
        assert new.tv.device.identifier in err
        assert err.count("\n") == 1
    code, lines = run_json(capsys, "doctor", "tv", *QUICK)
    assert code == 1
    assert any("devices adopt Den" in str(one.get("advice")) for one in lines)
    assert new.log == []
    assert new.tv.pins == []
    assert keys(store, old) == before


@pytest.mark.parametrize("kind", ["pairing", "tunnel"], indirect=True)
def test_adopted(replaced, store, kind, capsys):
    old, new = replaced
    code, out, err = run(capsys, "devices", "adopt", "tv", *QUICK)  # nobody is there to ask
    assert (code, out) == (2, "")
    assert "--yes" in err
    code, (line,) = run_json(capsys, "devices", "adopt", "tv", "--yes", *QUICK)
    assert (code, line["replaced"]) == (0, old.tv.device.identifier)
    assert line["adopted"] == new.tv.device.identifier
    (known,) = store.devices()
    assert (known.alias, known.default) == ("tv", True)
    assert known.device.identifier == new.tv.device.identifier
    assert not any(service.credentials for service in known.device.services)
    assert run(capsys, "devices", "adopt", "tv", "--yes", *QUICK)[0] == 3


@pytest.mark.parametrize("kind", ["tunnel"], indirect=True)
@pytest.mark.parametrize("answer", ["y", "n"])
def test_wizard_asks_whether_it_is_a_replacement(replaced, store, kind, answer, monkeypatch):
    old, new = replaced
    ours, theirs = pty.openpty()
    with Program("wizard", *QUICK, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        person = Person(ours)
        person.reads("Which one")
        person.types("1")
        assert old.tv.device.identifier in person.reads("replaced it?")
        person.types(answer)
        person.reads("there is none): ")
        person.types(PIN)
        person.reads("All set.")
        assert process.wait(WAIT) == 0
    os.close(ours)
    known = {one.device.identifier: one for one in store.devices()}
    assert (old.tv.device.identifier in known) == (answer == "n")
    assert known[new.tv.device.identifier].default == (answer == "y")
    assert any(keys(store, new).values())


@pytest.mark.parametrize("kind", PAIRED_BY_PIN, indirect=True)
def test_two_homes_with_equal_names(home, store, kind, capsys):
    """Pairing in one leaves the keys of the other alone; both can be named."""
    here = home.add(kind, "Living Room", 0)
    store.save(here.tv.device)
    before = keys(store, here)
    here.leave()
    there = home.add(kind, "Living Room", 0)
    first, second = here.tv.device.identifier, there.tv.device.identifier

    assert run(capsys, "-n", "Living Room", *QUICK, "pair", "--pin", PIN)[0] == 4
    assert there.tv.pins == []
    assert run(capsys, "-i", second, "pair", "--pin", PIN)[0] == 0
    assert keys(store, here) == before
    assert any(keys(store, there).values())

    code, _, err = run(capsys, "-n", "Living Room", word(kind))
    assert code == 3
    assert first in err
    assert second in err
    assert "-i" in err
    assert run(capsys, "-i", second, word(kind)) == (0, "", "")
    assert there.log == [word(kind)]
    there.leave()
    here.at(home.places[0])
    assert run(capsys, "-i", first, word(kind)) == (0, "", "")
    assert here.log == [word(kind)]


# -- which device ----------------------------------------------------------------------------------


def test_sharing_with_one_that_does_not_say_who_it_is(home, store, monkeypatch, caplog):
    """Neither mDNS nor AirPlay answers: that is logged once, and it goes on."""
    monkeypatch.setattr("tinyatv.backends.dmap.ASK_TIMEOUT", 0.1)
    den = home.add("sharing", "Den", 0)
    device = den.tv.device
    den.tv._responder.silent = True
    for _ in range(2):
        with tinyatv.connect(device, store=store) as atv:
            atv.pause()
    assert den.log == ["pause", "pause"]
    assert caplog.text.count("it cannot be found out whether it is still Den") == 1


def test_nothing_is_guessed(home, store, capsys):
    """Two are stored and one of them is off: it may be the one that is meant."""
    den, fen = home.add("pairing", "Den", 0), home.add("pairing", "Fen", 1)
    for one in (den, fen):
        store.save(one.tv.device)
    den.leave()
    with pytest.raises(tinyatv.DeviceNotFound, match=r"devices default.*Den .*Fen "):
        tinyatv.connect(store=store)
    for flags in ([], ["-s", home.hosts], ["--scan-protocols", "dmap"]):
        code, _, err = run(capsys, *flags, *QUICK, "turn_off")
        assert code == 3
        assert "tinyatv devices default NAME" in err
    assert fen.log == []
    store.set_default("Den")
    assert run(capsys, "-s", home.hosts, *QUICK, "turn_off")[0] == 3
    assert fen.log == []


def test_given_credentials_win(home, store):
    den = home.add("pairing", "Den", 0)
    device = den.tv.device
    stored = den.tv.device
    stored.service("dmap").credentials = "0x0123456789ABCDEF"  # not accepted
    store.save(stored)
    with tinyatv.connect(device, store=store) as atv:
        atv.pause()
    assert den.log == ["pause"]

    device.service("dmap").credentials = None
    with pytest.raises(tinyatv.CredentialsError):
        tinyatv.connect(device, store=store)
    assert device.service("dmap").credentials is None  # the caller's own


# -- what it says of itself ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mrp", "unpaired mrp", "tunnel", "companion", "homepod"])
def test_info_after_connecting(home, store, kind):
    """What was stored is old: the device knows better."""
    den = home.add(kind, "Den", 0)
    device = den.tv.device
    info = device.info
    info.model, info.model_name, info.raw_model = "Gen4", "Apple TV 4", "AppleTV5,3"
    if kind not in ("companion", "homepod"):
        info.build, info.version = "17K82", "13.2"
    with tinyatv.connect(device, store=store) as atv:
        told = atv.device.info
        assert told.raw_model == den.tv.model
        assert told.model != "Gen4"
        assert told.operating_system is tinyatv.OperatingSystem.TvOS
        if kind not in ("companion", "homepod"):
            assert told.build == den.tv.build
            assert told.version.partition(".")[0] == den.tv.version.partition(".")[0]
    assert info.raw_model == "AppleTV5,3"  # the caller's own
