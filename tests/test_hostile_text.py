"""Text of a device that a terminal would obey: in no output of the program, and readable in all."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest

import tinyatv
from tests.support.program import Person, Program, run
from tinyatv import App, Store
from tinyatv.cli.output import Output, confirms
from tinyatv.virtual import Item, VirtualAppleTV
from tinyatv.virtual import Output as Speaker
from tinyatv.virtual.contents import TextField

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
HEBREW = "\u05e9\u05dc\u05d5\u05dd!\u200f"
NO_BREAK = "Apple\xa0TV"
GOOD = f"{FAMILY} {HEBREW} {NO_BREAK}"
EVIL = "\x1b[2J\x1b]0;x\x07\x9b1m\x9d\0\r\n\x85\u202e\u2066\u2028"
OBEYED = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def hostile(word):
    return f"{word}{EVIL}{GOOD}"


@pytest.fixture(params=["atv3", "tvos18"])
def tv(request, own_store, monkeypatch):
    """All that a person can name on it, or that an app tells, is hostile; of DNS, 63 bytes are."""
    with VirtualAppleTV(f"Den{EVIL}", profile=request.param, mdns_port=0) as made:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{made.ports['mdns']}")
        state = made.state
        with state.lock:
            state.player.items[:] = [
                Item(
                    hostile("title"), hostile("artist"), hostile("album"), hostile("genre"),
                    series_name=hostile("series"),
                )
            ]  # fmt: skip
            state.apps[:] = [App(hostile("app"), f"com.example{EVIL}")]
            state.accounts.clear()
            state.accounts[f"id{EVIL}"] = hostile("account")
            state.account = f"id{EVIL}"
            state.known_outputs[1:] = [Speaker(hostile("speaker"), f"AA{EVIL}")]
            state.field = TextField(hostile("typed"))
        Store().save(made.device)
        Store().set_alias(made.identifier, "tv")
        yield made


def check(out, err=""):
    """Nothing that a terminal obeys; no line of its own for a line break of the device."""
    for text in (out, err):
        found = OBEYED.search(text)
        assert found is None, (found, text)
        assert not re.search(r"^\\x85", text, re.M), text


WORDS = """
    playing media_type device_state title artist album genre total_time position shuffle repeat
    hash series_name season_number episode_number content_identifier itunes_store_identifier app
    artwork_id device_id device_info operating_system version build_number model model_str raw_model
    mac output_device_id features features=all info server_info power_state volume output_devices
    app_list account_list text_focus_state text_get pause play select up
    launch=nothing switch_account=nothing set_output_devices=nothing delay=1
    print_settings print_settings=all
    """.split()


def test_every_word(tv, capsys):
    shown = ""
    for word in WORDS:
        code, out, err = run(capsys, "-n", "tv", word)
        assert code in (0, 1, 5), (word, err)
        assert "bug" not in err
        check(out, err)
        shown += out
    assert GOOD in shown
    assert r"title\x1b[2J\x1b]0;x\x07\x9b1m\x9d\x00\r\n\x85\u202e\u2066\u2028" in shown


@pytest.mark.parametrize("words", [
    ["scan"], ["devices"], ["devices", "default", "tv"], ["devices", "alias", "tv", f"x{EVIL}"],
    ["-n", "nobody", "up"], ["doctor"], ["pair", "--pin", "1", "--pairing-timeout", "1"],
    ["devices", "forget", "tv"],
    ["devices", "forget", "nobody"], [f"pla{EVIL}"], ["-n", f"no{EVIL}", "up"],
    ["--debug", "-n", "tv", "title"], ["--debug", "-n", "nobody", "up"],
    ["-v", "-n", "tv", "pause"],
    ["play_url=/nothing" + EVIL.replace("\0", "")],
])  # fmt: skip
def test_every_program(tv, words, tmp_path):
    """Byte by byte, from processes of their own."""
    words = [word.replace("\0", "") for word in words]
    with Program(*words) as process:
        out, err = process.communicate(timeout=90)
    check(out, err)
    assert "bug" not in err


def test_json_is_as_it_is(tv, capsys):
    code, out, _ = run(capsys, "-n", "tv", "playing", "--json")
    assert code == 0
    assert json.loads(out)["title"] == hostile("title")
    check(out)


def test_watch(tv):
    with Program("-n", "tv", "push_updates") as process:
        seen = process.stdout.readline()
        while "title\\x1b" not in seen:  # power and speakers may come before it
            line = process.stdout.readline()
            assert line, seen
            seen += line
        tv.state.pause()
        out, err = process.communicate("\n", timeout=30)
    check(seen + out, err)


def test_prompt_and_wizard(tv, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("title\napp\nlaunch=nothing\nbogus\nexit\n"))
    run_program = run(capsys, "-n", "tv", "prompt")
    check(*run_program[1:])
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n1\n"))
    code, out, err = run(capsys, "wizard")
    check(out, err)
    assert code == 0
    assert r"Den\x1b" in out


def test_the_remote_at_a_terminal(tv):
    """What curses itself writes are sequences; none is of the device."""
    with tv.state.lock:
        tv.state.field = None  # it would take our q
    screen, terminal = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    with Program("-n", "tv", "remote", **streams) as process:
        os.close(terminal)
        person = Person(screen)
        text = person.reads(r"title\x1b[2J")
        os.write(screen, b"q")
        process.wait(timeout=30)
    os.close(screen)
    assert "\x1b]0;" not in text
    assert "\u202e" not in text
    assert "\x9b" not in text


def test_lines_about_one_of_several(tv, capsys):
    done = Output(False, about=tv.device)
    done.result([hostile("line")])
    done.failure(tinyatv.CommandFailed(hostile("error")))
    out, err = capsys.readouterr()
    check(out, err)
    assert GOOD in out
    assert GOOD in err
    assert out.count("\n") == err.count("\n") == 1


def test_virtual(capsys):
    with Program("virtual", "--no-announce", "--name", f"Den{EVIL}".replace("\0", "")) as process:
        line = process.stdout.readline()
        process.terminate()
        out, err = process.communicate(timeout=30)
    check(line + out, err)
    assert line.startswith(r"Den\x1b")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_encodings_that_have_less(encoding):
    """A letter that the terminal cannot show is no error."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    code = (
        "from tinyatv.cli.output import Output\n"
        "import sys; text = sys.argv[1].encode('ascii').decode('unicode_escape')\n"
        "Output(False).result([text]); Output(False).warn(text)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, GOOD.encode("unicode_escape").decode()],
        env=environment, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    shown = GOOD.encode(encoding, "backslashreplace") + b"\n"
    assert (done.stdout, done.stderr) == (shown, shown)


@pytest.mark.parametrize("level", ["-v", "--debug", "--mdns-debug"])
@pytest.mark.parametrize("profile", ["atv3", "tvos14", "tvos18"])
def test_logs_at_every_level(own_store, monkeypatch, profile, level):
    """While it is found, connected to, asked, told to do what it cannot, and watched."""
    with VirtualAppleTV(f"Den{EVIL}", profile=profile, mdns_port=0) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        with tv.state.lock:
            tv.state.player.items[:] = [Item(hostile("title"), hostile("artist"))]
            tv.state.apps[:] = [App(hostile("app"), f"com.example{EVIL}")]
        Store().save(tv.device)
        for words in (["scan"], ["playing", "pause", f"launch=x{EVIL}".replace("\0", "")]):
            with Program(level, *words) as process:
                out, err = process.communicate(timeout=90)
            check(out, err)
            assert "bug" not in err
        assert err


@pytest.mark.parametrize("profile", ["tvos14", "tvos18"])
def test_error_texts_of_a_device(own_store, monkeypatch, capsys, profile):
    from tinyatv.virtual import companion

    monkeypatch.setattr(companion, "_error", lambda code, text: {"_ec": code, "_em": hostile("no")})
    with VirtualAppleTV("Den", profile=profile) as tv:
        Store().save(tv.device)
        code, out, err = run(capsys, "launch=com.example.nothing")
    check(out, err)
    assert code in (1, 5)
    if profile == "tvos18":
        assert GOOD in err


def test_watch_all(tv):
    Store().set_alias("tv", None)
    with Program("watch", "--all") as process:
        seen = ""
        while "title\\x1b" not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        process.terminate()
        out, err = process.communicate(timeout=30)
    check(seen + out, err)
    assert r"Den\x1b" in seen


def test_proxy_and_decode(own_store, tmp_path):
    """What stands between a remote and a device shows what passes, and so does its trace."""
    with VirtualAppleTV(f"Den{EVIL}", profile="tvos14") as tv:
        with tv.state.lock:
            tv.state.player.items[:] = [Item(hostile("title"), hostile("artist"))]
        Store().save(tv.device)
        trace = str(tmp_path / "trace")
        with Program("proxy", "mrp", "--no-announce", "--pin", "0042", "--trace", trace) as process:
            first = process.stdout.readline()
            port = int(first.rpartition(" port ")[2].partition(".")[0])
            service = tinyatv.Service("mrp", port, identifier="X")
            device = tinyatv.Device("Proxy", "127.0.0.1", [service])
            store = Store(memory=True)
            tinyatv.pair(device, pin="0042", store=store)
            with tinyatv.connect(device, store=store) as atv:
                assert atv.playing().title == hostile("title")
            process.terminate()
            out, err = process.communicate(timeout=30)
    check(first + out, err)
    assert first.startswith(r"Den\x1b")
    assert GOOD in out
    with Program("decode", trace) as process:
        out, err = process.communicate(timeout=60)
    check(out, err)
    assert GOOD in out


def test_names_that_a_shell_completes(own_store, capsys):
    """One that a terminal would obey is left out; others are as they are."""
    for name in (f"Den{EVIL}", GOOD):
        with VirtualAppleTV(name) as made:
            Store().save(made.device)
    assert run(capsys, "complete-names", "names") == (0, f"{GOOD}\n", "")


def test_questions(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert confirms(hostile("Really"))
    out, err = capsys.readouterr()
    check(out, err)
    assert GOOD in out


def test_near_names(tv, capsys):
    code, out, err = run(capsys, "-n", "tvv", "up")
    check(out, err)
    assert code == 3
    assert err.endswith("; did you mean 'tv'?\n")


def test_in_python():
    """What a script prints of what plays has the lines that we made."""
    playing = tinyatv.Playing(title=hostile("a"), app=App(hostile("b"), "c"))
    check(str(playing))
    assert len(str(playing).splitlines()) == 4
    assert GOOD in str(playing)
    assert playing.title == hostile("a")
