"""Our JSON against that of the peer's atvscript, key by key, with the same virtual device.

Every value is equal but the time, and what is named here with its reason. Keys that only we have
come at the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime

import pytest

from tinyatv import MediaType, PowerState
from tinyatv.cli.program import main
from tinyatv.virtual import VirtualAppleTV

from .conftest import Peer

# Origin: `atvremote commands`, those that atvscript takes: of the remote control, no argument.
WORDS = """
    up down left right select menu home home_hold top_menu play pause play_pause stop next previous
    skip_forward skip_backward channel_up channel_down screensaver guide control_center
    suspend wakeup volume_up volume_down
    """.split()
MORE_THAN_A_WORD = ("set_position", "set_shuffle", "set_repeat")  # and no way to say more
ADDED = {  # where: keys that only we have
    "device": ["deep_sleep", "addresses"],
    "service": ["pairing", "paired", "enabled"],
}
TRACE = ("exception", "stacktrace")  # each tells of its own insides


@pytest.fixture(params=["atv3", "tvos14", "tvos18"])
def profile(request):
    return request.param


@pytest.fixture
def both(profile, peer_bin, tmp_path, capsys):
    """A device, and what both programs say about it."""
    with VirtualAppleTV("Den", profile=profile, mdns_port=0) as tv:
        tv.state.pause()
        tv.state.set_position(22)
        tv.log.clear()
        yield Both(tv, Peer(peer_bin, tv, tmp_path), capsys)


class Both:
    """The peer's program and ours."""

    def __init__(self, tv, peer, capsys):
        self.tv = tv
        self._peer = peer
        self._capsys = capsys
        self._given = [f"--{p}-credentials={c}" for p, c in tv.credentials.items()]

    def start(self, *words):
        """Start both; they stream."""
        host = f"127.0.0.1:{self.tv.ports['mdns']}"
        ours = subprocess.Popen(
            [sys.executable, "-m", "tinyatv", "--output", "json", "-s", host, *self._given, *words],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        return ours, self._peer.start("atvscript", *self._given, *words)

    def ask(self, *words):
        """What we say and what they say; one line each, and our exit code."""
        self._capsys.readouterr()
        host = f"127.0.0.1:{self.tv.ports['mdns']}"
        code = main(["--output", "json", "-s", host, *self._given, *words])
        out, err = self._capsys.readouterr()
        assert err == ""
        (mine,) = map(parsed, out.splitlines())
        (theirs,) = map(parsed, self._peer.run("atvscript", *self._given, *words).splitlines())
        return mine, theirs, code


def parsed(line):
    """A line, of which the way it is written and the envelope are checked."""
    found = json.loads(line)
    assert json.dumps(found) == line.rstrip("\n")
    assert list(found)[:2] == ["result", "datetime"]
    assert datetime.fromisoformat(found.pop("datetime")).utcoffset() is not None
    return found


def same(mine, theirs, added=()):
    """Keys, their order, values; `added` come behind."""
    assert list(mine) == [*theirs, *added]
    assert {key: mine[key] for key in theirs} == theirs


# -- scan ------------------------------------------------------------------------------------------


def test_scan(both, profile):
    mine, theirs, code = both.ask("scan")
    assert code == 0
    for ours, other in zip(mine["devices"], theirs["devices"]):
        for service, known in zip(ours["services"], other["services"]):
            same(service, known, ADDED["service"])
        assert len(ours["services"]) == len(other["services"])
        ours["services"] = other["services"]
        if profile == "tvos14":  # the peer shows it as the record has it, and AirPlay's in capitals
            assert other["device_info"]["mac"] == both.tv.mac.lower()
            other["device_info"]["mac"] = both.tv.mac
        assert list(ours["device_info"]) == list(other["device_info"])
        # The peer names an identifier as often as services have it.
        other["all_identifiers"] = list(dict.fromkeys(other["all_identifiers"]))
        same(ours, other, ADDED["device"])
    assert len(mine["devices"]) == len(theirs["devices"]) == 1
    mine["devices"] = theirs["devices"]
    same(mine, theirs)


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_scan_of_several_services(profile, peer_bin, tmp_path, capsys):
    with VirtualAppleTV("Dén", profile=profile, mdns_port=0, protocols=("mrp", "airplay")) as tv:
        mine, theirs, _ = Both(tv, Peer(peer_bin, tv, tmp_path), capsys).ask("scan")
    (ours,), (other,) = mine["devices"], theirs["devices"]
    assert [*ours][:6] == [*other]
    for key in ("name", "address", "identifier", "all_identifiers"):
        assert ours[key] == other[key]
    assert [(s["protocol"], s["port"]) for s in ours["services"]] == [
        (s["protocol"], s["port"]) for s in other["services"]
    ]


# -- playing ---------------------------------------------------------------------------------------


def test_playing(both):
    mine, theirs, code = both.ask("playing")
    assert (code, mine["title"], mine["position"]) == (0, "Harbour Lights", 22)
    same(mine, theirs)


def test_playing_with_letters_of_all_kinds(both):
    both.tv.state.update(title='Ünï "Cödes" \u266b \U0001f3b5', artist=None, genre="")
    mine, theirs, _ = both.ask("playing")
    same(mine, theirs)


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"], indirect=True)
@pytest.mark.parametrize("kind", [MediaType.TV, MediaType.Video, MediaType.Unknown])
def test_playing_an_episode(both, kind):
    both.tv.state.update(
        media_type=kind, title="Pilot", artist=None, album=None, series_name="Keep Alive",
        season_number=2, episode_number=3, content_identifier="s02e03",
        itunes_store_identifier=1402001,
    )  # fmt: skip
    mine, theirs, _ = both.ask("playing")
    assert mine["season_number"] == 2
    same(mine, theirs)


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"], indirect=True)
def test_playing_nothing(both):
    both.tv.state.activate(None)
    mine, theirs, _ = both.ask("playing")
    assert (mine["device_state"], mine["total_time"], mine["position"]) == ("idle", None, None)
    assert (mine["app_id"], theirs["app_id"]) == (None, "")  # no app is no app
    same({**mine, "app_id": ""}, theirs)


def test_playing_from_the_start(both):
    """0 is a position, a season and an episode like any other; the peer makes null of it."""
    both.tv.state.update(season_number=0, episode_number=0)
    both.tv.state.set_position(0)
    mine, theirs, _ = both.ask("playing")
    assert (mine["position"], theirs["position"]) == (0, None)
    odd = [key for key in theirs if mine[key] != theirs[key]]
    assert set(odd) <= {"position", "season_number", "episode_number"}
    assert all(mine[key] == 0 and theirs[key] is None for key in odd)
    assert list(mine) == list(theirs)


# -- the remote control ----------------------------------------------------------------------------


def test_every_word(both, profile):
    for word in WORDS:
        both.tv.log.clear()
        mine, theirs, code = both.ask(word)
        log = list(both.tv.log)
        if word.startswith("skip"):  # over DMAP, from where the other one has left it
            log = [entry.split()[0] for entry in log]
        assert mine["result"] == theirs["result"], word
        if mine["result"] == "success":
            assert code == 0
            same(mine, theirs)
            assert mine["command"] == word
            if word not in ("play", "pause", "play_pause"):  # these know what was before
                assert log[: len(log) // 2] == log[len(log) // 2 :], word
        else:
            assert (code, mine["error"]) == (5, "unsupported_command")
            assert "error" not in theirs  # has it for unknown words alone
            assert list(mine) == ["result", "error", *TRACE]
            assert list(theirs) == ["result", *TRACE]
            assert log == []


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["playing", "up", "push_updates"])
def test_device_not_found(both, word):
    mine, theirs, code = both.ask("--id", "nobody", word)
    assert code == 3
    assert theirs == {"result": "failure", "error": "device_not_found"}
    same(mine, theirs, TRACE)


@pytest.mark.parametrize("word", ["nonsense", "scan_"])
def test_unknown_command(both, word):
    mine, theirs, code = both.ask(word)
    assert code == 2
    assert theirs == {"result": "failure", "error": "unsupported_command"}
    same(mine, theirs, TRACE)


def test_a_protocol_that_the_device_has_not(both):
    """The peer looks for that protocol alone and finds no device; we say what is the matter."""
    mine, theirs, code = both.ask("--protocol", "raop", "playing")
    assert theirs == {"result": "failure", "error": "device_not_found"}
    assert (code, mine["result"], mine["error"]) == (5, "failure", "unsupported_command")


@pytest.mark.parametrize("word", MORE_THAN_A_WORD)
@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_missing_argument(both, word):
    """Takes no argument there, and fails without; here `=VALUE` works."""
    mine, theirs, code = both.ask(word)
    assert (code, mine["error"]) == (2, "usage")
    assert list(mine) == ["result", "error", *TRACE]
    assert list(theirs) == ["result", *TRACE]
    assert mine["result"] == theirs["result"] == "failure"


# -- push_updates ----------------------------------------------------------------------------------


def lines_until(process, *wanted):
    """Lines up to the one that has these keys and values."""
    lines = []
    for line in process.stdout:
        lines.append(parsed(line))
        if all(lines[-1].get(key) == value for key, value in wanted):
            return lines
    pytest.fail(f"{wanted} did not come, but {lines}: {process.stderr.read()}")


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"], indirect=True)
def test_push_updates(both):
    """Both at once; each step is seen by both before the next one."""
    tv = both.tv
    kitchen = tv.state.known_outputs[1].identifier

    def power(state):
        with tv.state.change():
            tv.state.power = state

    steps = [
        (lambda: None, ("title", "Harbour Lights")),
        (lambda: tv.state.set_volume(20), ("volume", 20.0)),
        (lambda: tv.state.update(title="Ünï"), ("title", "Ünï")),
        (lambda: tv.state.add_outputs(kitchen), ("output_device_id", kitchen)),
        (lambda: tv.state.set_volume(10, kitchen), ("new_level", 10.0)),
        (lambda: tv.state.open_field(), ("focus_state", "focused")),
        (lambda: tv.state.close_field(), ("focus_state", "unfocused")),
        (lambda: power(PowerState.Off), ("power_state", "off")),
        (lambda: power(PowerState.On), ("power_state", "on")),
        (lambda: tv.state.set_position(60), ("position", 60)),
        (lambda: tv.state.activate(None), ("device_state", "idle")),
    ]
    ours, theirs = both.start("push_updates")
    with ours, theirs:
        try:
            told = ([], [])
            for act, wanted in steps:
                act()
                for process, lines in zip((ours, theirs), told):
                    lines += lines_until(process, wanted)
            for process, lines in zip((ours, theirs), told):
                out, _ = process.communicate("\n", timeout=60)
                lines += map(parsed, out.splitlines())
        finally:
            ours.kill()
            theirs.kill()
    assert (ours.returncode, theirs.returncode) == (0, 0)
    mine, other = told
    assert mine[-1] == other[-1] == {"result": "success", "push_updates": "finished"}
    for line in mine:
        if line.get("device_state") == "idle":
            assert line["app_id"] is None
            line["app_id"] = ""  # see test_playing_nothing
    # The peer repeats the speakers whenever it hears of the device, changed or not.
    assert [[*line.items()] for line in mine if "output_devices" not in line] == [
        [*line.items()] for line in other if "output_devices" not in line
    ]
    assert without_repetition(mine) == without_repetition(other)
    assert mine[:3] == other[:3]


def without_repetition(lines):
    speakers = [line for line in lines if "output_devices" in line]
    return [one for at, one in enumerate(speakers) if at == 0 or one != speakers[at - 1]]


@pytest.mark.parametrize("profile", ["atv3"], indirect=True)
def test_push_updates_over_dmap(both):
    """The peer needs the power state and gives up; the rest is as it is on other devices."""
    ours, theirs = both.start("push_updates")
    with ours, theirs:
        try:
            out, _ = theirs.communicate("\n", timeout=60)
            first = lines_until(ours, ("title", "Harbour Lights"))
            both.tv.state.update(title="Other")
            first += lines_until(ours, ("title", "Other"))
            rest, err = ours.communicate("\n", timeout=60)
        finally:
            ours.kill()
            theirs.kill()
    assert parsed(out.splitlines()[-1])["exception"] == "power_state is not supported"
    assert (ours.returncode, err) == (0, "")
    both.tv.state.update(title="Harbour Lights")
    _, playing, _ = both.ask("playing")
    assert first[0] == playing
    assert first[1] == {**playing, "title": "Other", "hash": first[1]["hash"]}
    assert parsed(rest.strip()) == {"result": "success", "push_updates": "finished"}


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"], indirect=True)
def test_push_updates_until_the_device_goes(both):
    ours, theirs = both.start("push_updates")
    with ours, theirs:
        try:
            for process in (ours, theirs):
                lines_until(process, ("title", "Harbour Lights"))
            both.tv.stop()
            mine, other = (list(map(parsed, process.stdout)) for process in (ours, theirs))
        finally:
            ours.kill()
            theirs.kill()
    assert mine == [
        {"result": "success", "connection": "closed"},
        {"result": "success", "push_updates": "finished"},
    ]
    # Behind that, the peer may complain about its own event loop.
    assert other[:2] == mine
    assert all(line["error"].startswith("Task was destroyed") for line in other[2:])
