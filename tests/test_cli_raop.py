"""stream_file on the command line, and the virtual speaker that records."""

from __future__ import annotations

import json
import signal
import wave

import pytest

from tests.support.program import WAIT, Program, run, run_json
from tests.support.sound import matching, samples, wav
from tinyatv.virtual import VirtualAppleTV


@pytest.fixture
def speaker(own_store):
    with VirtualAppleTV(profile="speaker") as tv:
        yield tv


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "a song, #1.wav"
    path.write_bytes(wav(samples(8000)))
    return path


def at(tv, *more):
    return [
        "--manual", "--address", "127.0.0.1", "--port", str(tv.ports["raop"]), "--protocol", "raop",
        "--storage", "none", "--service-properties", ":md=0,1,2:et=0,1", *more,
    ]  # fmt: skip


def test_a_file(speaker, song, capsys):
    assert run(capsys, *at(speaker), f"stream_file={song}") == (0, "", "")
    (heard,) = speaker.raop.streams
    assert heard.title == "a song, #1"
    assert matching(heard.samples(), samples(8000)) == (0, 8000)
    assert speaker.raop.requests[-1][0] == "TEARDOWN"


def test_in_json(speaker, song, capsys):
    code, (line,) = run_json(capsys, *at(speaker), f"stream_file={song}")
    assert (code, line["result"], line["command"]) == (0, "success", "stream_file")


def test_a_speaker_that_does_not_synchronise(speaker, song, capsys):
    speaker.raop.quirks.no_timing = True
    code, out, err = run(capsys, *at(speaker), f"stream_file={song}")
    assert (code, out, err.count("\n")) == (0, "", 1)
    assert "UDP ports" in err


def test_a_password(speaker, song, capsys):
    speaker.raop.password = "s3cret"
    code, _, err = run(capsys, *at(speaker), f"stream_file={song}")
    assert (code, err.count("\n")) == (6, 1)
    assert run(capsys, *at(speaker, "--raop-password", "s3cret"), f"stream_file={song}")[0] == 0


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 2), (b"ID3", 2), (wav(bytes(400), rate=22050), 2), (None, 1)]
)
def test_what_is_no_sound(speaker, tmp_path, capsys, content, code):
    path = tmp_path / "song.wav"
    if content is not None:
        path.write_bytes(content)
    found, _, err = run(capsys, *at(speaker), f"stream_file={path}")
    assert (found, err.count("\n")) == (code, 1)
    assert speaker.raop.streams == []


def test_standard_input(speaker):
    with Program(*at(speaker), "stream_file=-") as program:
        program.stdin.buffer.write(wav(samples(8000)))
        program.stdin.close()
        assert program.wait(60) == 0
        assert program.stderr.read() == ""
    assert matching(speaker.raop.streams[-1].samples(), samples(8000))[1] == 8000


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(speaker, tmp_path, number, code):
    """The speaker is told, or else it would stay busy."""
    path = tmp_path / "long.wav"
    path.write_bytes(wav(bytes(4 * 44100 * 60)))
    with Program(*at(speaker), f"stream_file={path}") as program:
        streams = speaker.raop.streams
        assert speaker.wait_for(lambda: streams and streams[-1].packets > 20, WAIT)
        program.send_signal(number)
        assert program.wait(30) == code
        assert "Traceback" not in program.stderr.read()
    assert speaker.raop.requests[-1][0] == "TEARDOWN"


def test_a_speaker_that_records(own_store, song, tmp_path, capsys):
    record = tmp_path / "out.wav"
    with Program(
        "virtual", "--profile", "speaker", "--no-announce", "--json", "--record", str(record)
    ) as program:
        port = json.loads(program.stdout.readline())["ports"]["raop"]
        code, _, err = run(
            capsys, "--manual", "--address", "127.0.0.1", "--port", str(port), "--protocol", "raop",
            "--storage", "none", f"stream_file={song}",
        )  # fmt: skip
        assert (code, err) == (0, "")
        assert any("lost" in json.loads(line) for line in iter(program.stdout.readline, ""))
        program.send_signal(signal.SIGTERM)
        assert program.wait(30) == 0
    with wave.open(str(record)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (44100, 2, 2)
        found = file.readframes(file.getnframes())
    assert matching(found, samples(8000)) == (0, 8000)


def test_nothing_to_record(capsys, tmp_path):
    code, _, err = run(capsys, "virtual", "--profile", "atv3", "--record", str(tmp_path / "x.wav"))
    assert (code, err.count("\n")) == (2, 1)
    assert "--profile speaker" in err
