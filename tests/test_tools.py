"""Everything that users of other tools type is here, or there is a reason: `tinyatv migrating`.

Each row of that table is tried on the real parser: what it says is accepted. ``pytest -s`` prints
the table as it is now.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

import tinyatv
from tests.support.program import free_port, run, run_json
from tinyatv.cli.migrating import SURPRISES, Row, rows, state
from tinyatv.cli.output import Output
from tinyatv.cli.program import main
from tinyatv.cli.words import parse
from tinyatv.model import Device, Service
from tinyatv.store import Store
from tinyatv.virtual import VirtualAppleTV

# Origin: the project's sheet on the field's tools, whose sections are named; a plain list of the
# names in it. pyatv 0.18.0 for the first five.
NAMES = {
    "atvremote": """
        -h --help --version -i --id -n --name --address --protocol --port -t --scan-timeout
        -s --scan-hosts --scan-protocols -m --manual --service-properties --remote-name -p --pin
        --pairing-guid --dmap-credentials --mrp-credentials --airplay-credentials
        --companion-credentials --raop-credentials --airplay-password --raop-password
        --storage --storage-filename -v --verbose --debug --mdns-debug
        commands help scan pair wizard
        up down left right select menu home top_menu home_hold
        play pause play_pause stop next previous skip_forward skip_backward set_position
        set_shuffle set_repeat channel_up channel_down screensaver guide control_center
        suspend wakeup power_state turn_on turn_off volume set_volume volume_up volume_down
        output_devices add_output_devices remove_output_devices set_output_devices
        playing media_type device_state title artist album genre total_time position shuffle
        repeat hash series_name season_number episode_number content_identifier
        itunes_store_identifier app artwork artwork_id artwork_save device_id push_updates
        play_url stream_file close app_list launch_app account_list switch_account
        text_focus_state text_get text_clear text_append text_set swipe action click
        device_info operating_system version build_number model model_str raw_model mac
        output_device_id features features_all print_settings change_setting unset_setting
        remove_settings delay cli exit
        """,  # 2.1, 2.3
    "atvscript": """
        -h --help -i --id --protocol -s --scan-hosts --output --debug --storage --storage-filename
        --dmap-credentials --mrp-credentials --airplay-credentials --companion-credentials
        --raop-credentials scan playing push_updates
        """,  # 4.1, 4.2; its other words are those of atvremote
    "atvproxy": """
        -h --help mrp companion airplay relay --name --local-ip --local_ip --remote_port
        --credentials -p --properties
        credentials remote_ip local_ip remote_port name service_type
        """,  # 5; what follows the flags has its names from `atvproxy relay --help`
    "atvlog": """
        -h --help FILE - -o --output -f --format -e --env -w --web-server -p --port
        """,  # 6, `atvlog --help`
    "its settings": """
        info.name info.mac info.model info.device_id info.rp_id info.os_name info.os_build
        info.os_version protocols.airplay.identifier protocols.airplay.credentials
        protocols.airplay.password protocols.airplay.mrp_tunnel protocols.companion.identifier
        protocols.companion.credentials protocols.dmap.identifier protocols.dmap.credentials
        protocols.mrp.identifier protocols.mrp.credentials protocols.raop.identifier
        protocols.raop.credentials protocols.raop.password protocols.raop.protocol_version
        protocols.raop.timing_port protocols.raop.control_port ~/.pyatv.conf
        """,  # 7
    "another atv (Python)": """
        scan pair unpair devices default power_status power_on power_off power_toggle remote_...
        media_... info_... apps_... audio_... keyboard_... touch_... stream_... system_...
        accounts_... settings_... monitor shell tui --json
        """,  # 10, and so are those below
    "another atv (macOS)": """
        list status pair select_NAME u_d_l_r click menu home pp su_sd_sl_sr vol+_vol- power apps
        launch_NAME 3_r --standalone
        """,
    "atv (Node)": "scan pair command_NAME remote",
    "appletv (Node)": "pair command state queue artwork messages",
    "atvremote (Rust)": "--json",
    "a JSON-first tool": "doctor confirmed_sent_unknown",
}

# Origin: the same sheet; what it marks as odd, by section. The numbers are lines of SURPRISES.
ODD = {
    "1: atvscript takes the first of several devices": 1,
    "2.1: a traceback for host names": 2,
    "2.1: the log on standard output": 3,
    "2.2: NOTE on standard output": 4,
    "2.2: words are checked after connecting": 5,
    "2.2: a traceback for what the device cannot do": 7,
    "2.3: help of an unknown word prints nothing and exits 0": 8,
    "2.3: artwork prints the record": 10,
    "2.3: the ending is always .png": 11,
    "2.3: features all": 12,
    "2.3: cli at the end of its input": 13,
    "2.4: push_updates without a reader": 14,
    "3.1: pair exits with 0 when refused": 15,
    "4.3: an exception that says nothing": 16,
    "4.3: atvscript checks its word after connecting": 6,
    "4.3: a traceback for a bad flag": 17,
    "4.5: position 0 is null": 18,
    "4.7: push_updates on Apple TV 1 to 3": 19,
    "8: --help exits with 1": 20,
    "8: --version exits with 1": 21,
    "8: wrong usage exits with 1": 22,
    "8: no device exits with 0": 23,
    "8: an unknown command exits with 0": 24,
    "8: an unknown help topic exits with 0": 9,
    "8: a failed command exits with 0": 25,
    "9.3: tvOS 26 is 19": 26,
}

SAMPLES = {  # what needs an argument: one
    "set_position": "=90", "set_shuffle": "=1", "set_repeat": "=2", "set_volume": "=30",
    "add_output_devices": "=A,B", "remove_output_devices": "=A", "set_output_devices": "=A",
    "artwork_save": "=100,-1,cover.png", "play_url": "=http://192.0.2.1/a.mp4",
    "stream_file": "=song.wav", "launch_app": "=com.example.app", "switch_account": "=ID",
    "text_append": "=a", "text_set": '="123"', "swipe": "=500,900,500,100,300",
    "action": "=500,500,1", "click": "=0", "up": "=2", "skip_forward": "=30", "delay": "=0",
    "change_setting": "=protocols.mrp.credentials,:::", "help": " up",
    "unset_setting": "=protocols.mrp.credentials",
    "-m": " --address 127.0.0.1 --port 1 --protocol dmap",
    "--manual": " --address 127.0.0.1 --port 1 --protocol dmap",
    "--id": " ID,ID", "-i": " ID", "--name": " Den", "-n": " Den", "--address": " 192.0.2.1",
    "--protocol": " mrp", "--port": " 7000", "-t": " 1", "--scan-timeout": " 1",
    "-s": " 127.0.0.1:1,127.0.0.1:2", "--scan-hosts": " localhost:1",
    "--scan-protocols": " mrp,dmap", "--service-properties": " _a=b_c=d",
    "--remote-name": " peer", "-p": " none", "--pin": " 1234",
    "--pairing-guid": " 0x0123456789ABCDEF", "--storage": " none", "--storage-filename": " here",
    "--output": " json",
    **{f"--{p}-credentials": " 1:2:3:4" for p in ("dmap", "mrp", "airplay", "companion", "raop")},
    **{f"--{p}-password": ' ""' for p in ("airplay", "raop")},
}  # fmt: skip
ON_THEIR_OWN = {"virtual", "demo", "proxy", "remote", "prompt", "cli", "serve", "doctor", "decode"}
ROWS = list(rows())


def named(row: Row) -> str:
    return f"{row.tool}: {row.theirs}"


def test_every_name_has_its_row():
    names = [f"{tool}: {name}" for tool, text in NAMES.items() for name in text.split()]
    assert sorted(named(row).replace(" ", "_") for row in ROWS) == sorted(
        name.replace(" ", "_") for name in names
    )


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_what_the_table_says_is_accepted(row, own_store, capsys, monkeypatch):
    """Nobody is at home, so all that can be wrong is what was typed."""
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    if state(row) == "not here":
        assert row.remark  # the reason
        return
    words = row.here.split()
    if words[0] in ON_THEIR_OWN:
        code, text, _ = run(capsys, words[0], "--help")
        assert code == 0
        assert {word for word in words if word.startswith("--")} <= {*re.split(r"[\s,]", text)}
        return
    if "." in words[0]:
        args = [f"change_setting={words[0]},:::"]
    else:
        args = shlex.split(row.here + (SAMPLES.get(row.here, "")))
        args = [*args, "pause"] if args[0].startswith("-") else args
    args += ["-t", "0.05", *(["--json"] if "--debug" in args else [])]  # else debug raises
    assert main(args) != 2, capsys.readouterr()


def test_a_wrong_row_would_be_found(own_store, monkeypatch):
    """The test above can fail."""
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    for wrong in (["plya"], ["--pim", "1", "pause"], ["scan", "pause"], ["pair", "up"]):
        assert main(["-t", "0.05", *wrong]) == 2


def test_every_surprise_has_its_line():
    assert sorted(ODD.values()) == list(range(1, len(SURPRISES) + 1))


def test_the_table_as_it_is_printed(capsys):
    code, text, _ = run(capsys, "migrating")
    assert code == 0
    for row in ROWS:
        assert re.search(rf"(^|\s){re.escape(row.theirs)}(\s|$)", text), row
        assert row.remark in text
    code, (line,) = run_json(capsys, "migrating")
    assert code == 0
    assert len(line["rows"]) == len(ROWS)
    assert {one["state"] for one in line["rows"]} <= {"here", "not here", "not yet"}
    code, part, _ = run(capsys, "migrating", "features", "all")
    assert "features all  features=all" in part
    assert "volume" not in part
    print(text)  # for those who want to see it


# -- flags of others -------------------------------------------------------------------------------


def test_flags_before_the_word(tv, capsys):
    """As atvremote wants them; those of pairing do no harm elsewhere."""
    flags = ["-p", "1234", "--remote-name", "peer", "--pairing-guid", "0x0123456789ABCDEF"]
    assert run(capsys, *flags, "-n", "Living Room", "pause")[0] == 0
    assert run(capsys, *flags, "scan")[0] == 0
    assert run(capsys, *flags, "devices")[0] == 0
    assert tv.log == ["pause"]


@pytest.mark.parametrize("flags", [["--output", "json"], ["--output=json"]])
def test_output_json(tv, capsys, flags):
    code, out, _ = run(capsys, *flags, "pause")
    assert code == 0
    assert list(json.loads(out)) == ["result", "datetime", "command"]
    code, out, _ = run(capsys, "plya", *flags)
    assert (code, json.loads(out)["error"]) == (2, "unsupported_command")
    assert run(capsys, "--output", "xml", "pause")[0] == 2


@pytest.mark.parametrize(
    "flags",
    [["-s", "a b"], ["-s", "x:99999"], ["--protocol", "x"], ["--scan-protocols", "x"],
     ["--port", "x"], ["-t", "0"], ["-i"], ["--storage", "x"], ["--nonsense"]],
    ids=" ".join,
)  # fmt: skip
def test_bad_flags_in_json(own_store, capsys, flags):
    code, (line,) = run_json(capsys, "scan", *flags)
    assert (code, line["result"], line["error"]) == (2, "failure", "usage")
    assert list(line) == ["result", "datetime", "error", "exception", "stacktrace"]


def test_a_log_of_multicast_dns_only_if_wanted(own_store):
    """On standard error, and without the Home Sharing id, which is a login."""
    with VirtualAppleTV("Shared", mdns_port=0, home_sharing=True, credentials=()) as tv:

        def logged(*flags):
            host = f"127.0.0.1:{tv.ports['mdns']}"
            done = subprocess.run(
                [sys.executable, "-m", "tinyatv", "scan", "-s", host, *flags],
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0
            assert "Shared" in done.stdout
            assert "DEBUG" not in done.stdout
            assert tv.home_sharing not in done.stdout + done.stderr
            return "[tinyatv.discovery.mdns]" in done.stderr

        assert logged("--mdns-debug")
        assert logged("--mdns-debug", "--debug")
        assert not logged("--debug")
        assert not logged()


def test_features_all(tv, capsys):
    both = run(capsys, "features=all")[1]
    assert run(capsys, "features", "all") == (0, both, "")
    assert "TurnOn: Unsupported" in both
    assert run(capsys, "play", "all")[0] == 2
    assert tv.log == []


def test_an_empty_flag_takes_credentials_away(tv, capsys, own_store):
    given = tv.credentials["dmap"]
    assert given in own_store.read_text()
    code, _, err = run(capsys, "--dmap-credentials", "", "pause")
    assert code == 6
    assert "not paired" in err
    assert given not in own_store.read_text()
    assert run(capsys, "pause")[0] == 6
    assert run(capsys, "--dmap-credentials", given, "pause")[0] == 0  # stored again
    assert run(capsys, "pause")[0] == 0
    assert tv.log == ["pause", "pause"]


# -- settings --------------------------------------------------------------------------------------


def test_settings(tv, capsys, own_store, tmp_path):
    given = tv.credentials["dmap"]
    tv.stop()  # nobody is asked
    code, out, _ = run(capsys, "print_settings")
    assert code == 0
    assert out.splitlines() == [
        f"protocols.dmap.identifier = {tv.identifier} (from the device)",
        "protocols.dmap.credentials = stored (text)",
    ]
    assert run(capsys, "print_settings=all")[1].splitlines()[1] == (
        f"protocols.dmap.credentials = {given} (text)"
    )
    _, (line,) = run_json(capsys, "print_settings")
    assert line["settings"]["protocols.dmap.credentials"] is True
    assert run(capsys, "unset_setting=protocols.dmap.credentials") == (0, "", "")
    assert "credentials = None" in run(capsys, "print_settings")[1]
    secret = tmp_path / "secret"
    secret.write_text(f"{given}\n")
    change = f"change_setting=protocols.dmap.credentials,@{secret}"
    assert run(capsys, "-n", "living room", change, "print_settings")[0] == 0
    assert Store().find("Living Room").service("dmap").credentials == given
    assert run(capsys, "change_setting=protocols.airplay.password,1234")[0] == 0
    assert Store().find("Living Room").service("airplay").password == "1234"
    assert run(capsys, "unset_setting=protocols.airplay.password")[0] == 0
    assert Store().find("Living Room").service("airplay").password is None
    assert run(capsys, "remove_settings")[0] == 0
    assert Store().devices() == []


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("change_setting=info.name,peer", 2, "--remote-name"),
        ("change_setting=info.mac,02:00:00:00:00:00", 2, "same remote"),
        ("change_setting=protocols.airplay.mrp_tunnel,force", 2, "by itself"),
        ("change_setting=protocols.raop.timing_port,1", 2, "by itself"),
        ("change_setting=protocols.dmap.identifier,X", 2, "the device itself"),
        ("change_setting=protocols.mrp.password,x", 2, "not a setting"),
        ("change_setting=protocols.nonsense.credentials,x", 2, "not a setting"),
        ("change_setting=nonsense,x", 2, "not a setting"),
        ("change_setting=protocols.dmap.credentials,x", 6, "malformed"),
        ("change_setting=protocols.mrp.credentials,zz:zz:zz:zz", 6, "malformed"),
        ("change_setting=protocols.dmap.credentials,", 2, "unset_setting"),
        ("change_setting=protocols.dmap.credentials,@/nowhere/at/all", 1, "/nowhere/at/all"),
        ("change_setting=protocols.dmap.credentials", 2, "change_setting takes"),
        ("print_settings=some", 2, "=all"),
        ("unset_setting", 2, "takes =PATH"),
        ("remove_settings=x", 2, "takes no argument"),
    ],
)
def test_wrong_settings(tv, capsys, own_store, word, code, said):
    before = own_store.read_text()
    got, out, err = run(capsys, word)
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert said in err
    assert own_store.read_text() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of a process")
@pytest.mark.parametrize(
    "words",
    [["change_setting=protocols.dmap.credentials,0x0123456789ABCDEF"],
     ["unset_setting=protocols.dmap.credentials"], ["remove_settings"],
     ["--dmap-credentials", "", "pause"]],
    ids=" ".join,
)  # fmt: skip
def test_full_disk(tv, own_store, words):
    before = own_store.read_text()
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from tinyatv.cli.program import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert own_store.read_text() == before
    assert tv.log == []


def test_settings_of_nobody(own_store, capsys, monkeypatch):
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    for word in ("print_settings", "remove_settings", "unset_setting=protocols.mrp.credentials"):
        assert run(capsys, "-t", "0.05", "-n", "Attic", word)[0] == 3


def test_settings_do_not_mix_with_keys(tv, capsys):
    code, _, err = run(capsys, "pause", "print_settings")
    assert code == 2
    assert "do not go together" in err
    assert tv.requests == []


def test_settings_where_a_connection_is_open(tv):
    """What keeps one open cannot do them, and says so."""
    for word in ("print_settings", "unset_setting=protocols.dmap.credentials"):
        step = parse(word)
        with (
            tinyatv.connect("Living Room") as atv,
            pytest.raises(ValueError, match=f"tinyatv {step.command.name}"),
        ):
            step(atv, Output(False))


def test_settings_of_a_device_that_only_a_scan_finds(tv, capsys, own_store):
    own_store.unlink()
    change = "change_setting=protocols.dmap.credentials,0x0123456789ABCDEF"
    assert run(capsys, "-n", "Living Room", change)[0] == 0
    assert Store().find("Living Room").service("dmap").credentials == "0x0123456789ABCDEF"


def test_credentials_that_only_the_other_store_has(tv, capsys, own_store, tmp_path):
    foreign = tmp_path / "home" / ".pyatv.conf"
    fields = {"identifier": tv.identifier, "credentials": "0x0123456789ABCDEF"}
    foreign.write_text(json.dumps({"version": 1, "devices": [{"protocols": {"dmap": fields}}]}))
    before = foreign.read_bytes()
    assert run(capsys, "unset_setting=protocols.dmap.credentials")[0] == 0  # ours
    code, _, err = run(capsys, "unset_setting=protocols.dmap.credentials")
    assert code == 1
    assert "never written" in err
    assert foreign.read_bytes() == before


def test_take_away_from_the_store(own_store):
    store = Store()
    den = Device("Den", "192.0.2.1", [Service("dmap", 1, identifier="A", credentials="x")])
    store.save(den)
    with pytest.raises(ValueError, match="port"):
        store.take_away(den, "dmap", "port")
    assert not store.take_away(den, "mrp", "credentials")
    assert not store.take_away(Device("Other", ""), "dmap", "credentials")
    before = own_store.stat().st_mtime_ns
    assert not store.take_away(den, "dmap", "password")
    assert own_store.stat().st_mtime_ns == before  # nothing to do, nothing written
    assert store.take_away(den, "dmap", "credentials")
    assert store.find("Den").service("dmap").credentials is None
    memory = Store(memory=True)
    assert not memory.take_away(den, "dmap", "credentials")
    memory.save(den)
    assert memory.take_away(den, "dmap", "credentials")
