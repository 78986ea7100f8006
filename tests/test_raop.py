"""Sound for the virtual speaker: what is heard there, and what happens if it misbehaves."""

from __future__ import annotations

import io
import os
import socket
import struct
import threading

import pytest

import tinyatv
from tests.support.sound import matching, samples, wav
from tinyatv.virtual import VirtualAppleTV

SECOND = 44100
WAIT = 20.0  # s; a deadline for things that take milliseconds
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 2, 3) + bytes(5)


@pytest.fixture(params=["airport", "speaker"])
def tv(request):
    with VirtualAppleTV(profile=request.param) as tv:
        yield tv


@pytest.fixture
def speaker():
    with VirtualAppleTV(profile="speaker") as tv:
        yield tv


def connect(tv, **changes):
    device = tv.device
    service = device.service("raop")
    for name, value in changes.items():
        setattr(service, name, value)
    return tinyatv.connect(device)


def heard(tv):
    return tv.raop.streams[-1]


def play(tv, source, **how):
    """Stream something to its end; returns what was heard."""
    with connect(tv) as atv:
        stream = atv.stream(source, **how)
        assert stream.wait(WAIT)
        assert stream.state == "ended"
        assert tv.wait_for(lambda: heard(tv).over)
    return heard(tv).samples()


def same(found, sent):
    """Everything arrived, in its place, behind some silence."""
    first, equal = matching(found, sent)
    return (first, equal) == (0, len(sent) // 4)


@pytest.mark.parametrize("form", ["alac", "l16", "l16-fmtp"])
def test_every_frame_arrives(tv, form):
    sent = samples(SECOND)
    assert same(play(tv, wav(sent), form=form), sent)
    assert heard(tv).lost == heard(tv).strange == 0
    assert heard(tv).description.codec == ("AppleLossless" if form == "alac" else "L16/44100/2")
    assert (heard(tv).description.parameters is None) == (form == "l16")


class Drip(io.RawIOBase):
    """Gives a few bytes at a time, at any place, as a pipe may."""

    def __init__(self, data):
        super().__init__()
        self._data = io.BytesIO(data)

    def read(self, size=-1):
        return self._data.read(min(size, 1001))


def test_sources(speaker, tmp_path, monkeypatch):
    sent = samples(SECOND // 5)
    path = tmp_path / "Söng.wav"
    path.write_bytes(wav(sent))
    assert same(play(speaker, path), sent)
    assert heard(speaker).title == "Söng"
    with path.open("rb") as file:
        assert same(play(speaker, file), sent)
        assert not file.closed
    assert same(play(speaker, Drip(wav(sent))), sent)
    assert same(play(speaker, sent, raw=True), sent)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(wav(sent))))
    assert same(play(speaker, "-"), sent)


def widths():
    """Name, WAV file, what is heard of it."""
    sent = samples(4000)
    values = struct.unpack("<8000h", sent)
    yield "24", wav(b"".join(b"\x55" + struct.pack("<h", v) for v in values), width=3), sent
    yield "32", wav(b"".join(b"\x55\x66" + struct.pack("<h", v) for v in values), width=4), sent
    high = bytes(((v >> 8) + 128) for v in values)
    yield "8", wav(high, width=1), struct.pack("<8000h", *(v >> 8 << 8 for v in values))
    yield "mono", wav(sent, channels=1), b"".join(struct.pack("<hh", v, v) for v in values)
    for name, code, size in (("float", "f", 4), ("double", "d", 8)):
        data = struct.pack(f"<8000{code}", *(v / 32768 for v in values))
        form = struct.pack("<HHIIHH", 3, 2, 44100, 44100 * 2 * size, 2 * size, 8 * size)
        yield name, riff((b"fmt ", form), (b"fact", bytes(4)), (b"data", data)), sent
    subformat = struct.pack("<HHI", 22, 16, 3) + struct.pack("<H", 1) + bytes(14)
    form = struct.pack("<HHIIHH", 0xFFFE, 2, 44100, 44100 * 4, 4, 16) + subformat
    yield "extensible", riff((b"fmt ", form), (b"LIST", b"odd"), (b"data", sent)), sent
    piped = riff((b"fmt ", struct.pack("<HHIIHH", 1, 2, 44100, 176400, 4, 16)), (b"data", b""))
    yield "unknown length", piped[:-4] + b"\xff" * 4 + sent, sent


def riff(*chunks):
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


WIDTHS = {name: more for name, *more in widths()}


@pytest.mark.parametrize("name", WIDTHS)
def test_widths(speaker, name):
    file, expected = WIDTHS[name]
    assert same(play(speaker, file), expected)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (b"", "empty"),
        (b"ID3 is no WAV file", "raw=True"),
        (wav(bytes(4000), rate=48000), "48000"),
        (wav(bytes(4002), channels=3), "3 channels"),
        (wav(b"")[:30], "WAV"),
        (wav(b"")[:12], "without samples"),
        (io.StringIO("text"), "text"),
        (5, "int"),
    ],
)
def test_what_cannot_be_streamed(speaker, source, problem):
    with connect(speaker) as atv:
        with pytest.raises(ValueError, match=problem):
            atv.stream(source)
        assert ("ANNOUNCE", "*") not in speaker.raop.requests


def test_wrong_arguments(speaker, tmp_path):
    source = wav(bytes(400))
    with connect(speaker) as atv:
        for wrong in (
            {"form": "mp3"},
            {"volume": 101},
            {"control_port": 70000},
            {"artwork": b"<html>"},
        ):
            with pytest.raises(
                ValueError, match=str(next(iter(wrong))).partition("_")[2] or next(iter(wrong))
            ):
                atv.stream(source, **wrong)
        with pytest.raises(OSError, match=r"no\.wav"):
            atv.stream(tmp_path / "no.wav")


def test_what_the_speaker_shows(speaker, tmp_path):
    art = tmp_path / "cover.png"
    art.write_bytes(PNG)
    sent = samples(SECOND // 2)
    about = {"title": "Straße", "artist": "Jürgen", "album": "日本"}
    play(speaker, wav(sent), **about, artwork=str(art), volume=75)
    found = heard(speaker)
    assert {name: getattr(found, name) for name in about} == about
    assert found.artwork == ("image/png", PNG)
    assert found.volume == pytest.approx(-7.5)
    start, now, end = found.progress
    assert start == now
    assert (end - start) % (1 << 32) == len(sent) // 4


def test_a_speaker_that_wants_nothing_shown(speaker):
    speaker.raop.extra["md"] = None
    play(speaker, wav(samples(1000)), title="A", artwork=PNG)
    assert (heard(speaker).title, heard(speaker).artwork, heard(speaker).progress) == (None,) * 3


def test_the_volume_of_the_speaker_stays(speaker):
    speaker.state.set_volume(70)
    with connect(speaker) as atv, atv.stream(wav(samples(SECOND))):
        assert atv.volume() == pytest.approx(70)
        assert heard(speaker).volume is None


@pytest.mark.parametrize("quirk", ["late_volume", "empty_info"])
def test_odd_speakers(speaker, quirk):
    setattr(speaker.raop.quirks, quirk, True)
    sent = samples(4000)
    assert same(play(speaker, wav(sent), volume=50), sent)
    assert heard(speaker).volume == pytest.approx(-15)


def test_commands_are_about_the_stream(speaker):
    with connect(speaker) as atv:
        with pytest.raises(tinyatv.CommandFailed, match="nothing is streamed"):
            atv.volume()
        assert atv.features()["stop"] is tinyatv.FeatureState.Unavailable
        stream = atv.stream(wav(samples(20 * SECOND)), title="T", artist="A", volume=50)
        assert atv.features()["stop"] is tinyatv.FeatureState.Available
        playing = atv.playing()
        assert (playing.title, playing.artist, playing.total_time) == ("T", "A", 20)
        assert playing.device_state is tinyatv.DeviceState.Playing
        atv.set_volume(20)
        atv.volume_up()
        atv.volume_down()
        atv.volume_up()
        assert atv.volume() == 25
        assert speaker.wait_for(lambda: heard(speaker).volume == pytest.approx(-22.5))
        assert not stream.wait(0)
        assert stream.duration == 20
        atv.stop()
        assert stream.wait(WAIT)
        assert stream.state == "stopped"
        assert atv.playing().device_state is tinyatv.DeviceState.Idle
        assert speaker.raop.requests[-1][0] == "TEARDOWN"


def test_a_stream_takes_commands_over_and_gives_them_back():
    """What another protocol serves is about the stream for as long as that plays."""
    with VirtualAppleTV(profile="tvos14", protocols=["mrp", "raop"]) as tv, connect(tv) as atv:
        assert set(atv.protocols) == {"mrp", "raop"}
        before = atv.playing()
        with atv.stream(wav(samples(5 * SECOND)), title="Ours"):
            assert atv.playing().title == "Ours"
            atv.pause()
        assert tv.log[-1] == "pause"
        assert atv.playing().title == before.title != "Ours"


def test_events(speaker):
    with connect(speaker) as atv:
        events = atv.events(WAIT)
        with atv.stream(wav(samples(5 * SECOND)), title="T", volume=10):
            assert next(events).playing.title == "T"
            atv.set_volume(30)
            event = next(events)
            assert (event.volume, event.before) == (30, 10)
        assert next(events).playing.device_state is tinyatv.DeviceState.Idle


def test_closing_ends_it(speaker):
    with connect(speaker) as atv:
        stream = atv.stream(wav(samples(20 * SECOND)))
        atv.close()
        with pytest.raises(tinyatv.ConnectionLost, match="closed"):
            stream.wait(WAIT)
        assert stream.state == "failed"
    assert speaker.wait_for(lambda: heard(speaker).over)


def test_the_next_stream_ends_the_one_before(speaker):
    sent = samples(4000)
    with connect(speaker) as atv:
        first = atv.stream(wav(samples(20 * SECOND)))
        second = atv.stream(wav(sent))
        assert first.state == "stopped"
        assert second.wait(WAIT)
    assert same(heard(speaker).samples(), sent)


def test_one_sender_at_a_time(speaker):
    with connect(speaker) as one, connect(speaker) as other:
        stream = one.stream(wav(samples(20 * SECOND)))
        with pytest.raises(tinyatv.CommandFailed, match="busy"):
            other.stream(wav(samples(4000)))
        stream.stop()
        with other.stream(wav(samples(4000))) as stream:
            assert stream.wait(WAIT)


def test_passwords(speaker):
    speaker.raop.password = "s3crét"
    sent = samples(4000)
    for given, problem in ((None, "wants a password"), ("wrong", "does not accept the password")):
        wrong = pytest.raises(tinyatv.CredentialsError, match=problem)
        with connect(speaker, password=given) as atv, wrong:
            atv.stream(wav(sent))
    with connect(speaker, password="s3crét") as atv, atv.stream(wav(sent)) as stream:
        assert stream.wait(WAIT)
    assert same(heard(speaker).samples(), sent)


def test_lost_packets_are_sent_again(speaker):
    speaker.raop.quirks.drop = 0.05
    sent = samples(3 * SECOND)
    with connect(speaker) as atv, atv.stream(wav(sent)) as stream:
        assert stream.wait(WAIT)
        assert stream.report.resent > 0
        assert stream.report.expired == 0
        assert stream.report.timing > 0
        assert stream.warnings == []
    assert heard(speaker).resent > 0
    assert same(heard(speaker).samples(), sent)


def test_packets_in_disorder(speaker):
    speaker.raop.quirks.reorder = 5
    sent = samples(SECOND)
    assert same(play(speaker, wav(sent)), sent)


def test_packets_that_come_too_late(speaker):
    speaker.raop.quirks.delay = 5.0
    with connect(speaker) as atv, atv.stream(wav(samples(20 * SECOND))):
        assert speaker.wait_for(lambda: heard(speaker).late > 5, WAIT)
        assert heard(speaker).samples() == b""


def test_a_speaker_that_does_not_synchronise(speaker):
    """A 200 is not sound: the stream says so."""
    speaker.raop.quirks.no_timing = True
    with connect(speaker) as atv, atv.stream(wav(samples(SECOND))) as stream:
        assert stream.wait(WAIT)
        assert stream.report.timing == 0
        (warning,) = stream.warnings
        assert "UDP ports" in warning
    assert heard(speaker).samples() == b""


def test_fixed_ports(speaker):
    ports = []
    for _ in range(2):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            ports.append(sock.getsockname()[1])
    speaker.raop.quirks.no_timing = True
    with connect(speaker) as atv:
        source = wav(samples(SECOND))
        with atv.stream(source, control_port=ports[0], timing_port=ports[1]) as stream:
            assert stream.wait(WAIT)
            assert f"UDP ports {ports[0]} and {ports[1]}" in stream.warnings[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", ports[0]))
            with pytest.raises(OSError):  # noqa: PT011  # its text is the system's
                atv.stream(source, control_port=ports[0])
    assert not speaker.raop.peers or speaker.wait_for(lambda: not speaker.raop.peers)


def test_strangers_get_no_answer(speaker):
    with connect(speaker) as atv:
        stream = atv.stream(wav(samples(20 * SECOND)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.3", 0))
            sock.settimeout(0.01)
            question = bytes.fromhex("80d20007" + "00" * 28)
            while not stream.report.strangers:
                sock.sendto(question, ("127.0.0.1", stream._ports.timing))
                with pytest.raises(OSError, match="time"):
                    sock.recv(100)


STEPS = ["ANNOUNCE", "SETUP", "RECORD", "FLUSH"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"status": 453}, tinyatv.CommandFailed),
        ({"status": 501}, tinyatv.NotSupported),
        ({"drop": True}, tinyatv.ConnectionLost),
        ({"garbage": b"\0\1\2\3" * 10}, tinyatv.AppleTVError),
    ],
    ids=["busy", "unknown", "hangs up", "garbage"],
)
def test_a_speaker_that_fails(speaker, step, how, error):
    with connect(speaker) as atv:
        speaker.fail(step, **how)
        with pytest.raises(error):
            atv.stream(wav(samples(SECOND)))
        assert speaker.wait_for(lambda: all(one.over for one in speaker.raop.streams))
        sent = samples(2000)
        with atv.stream(wav(sent)) as stream:
            assert stream.wait(WAIT)
        assert same(heard(speaker).samples(), sent)


@pytest.mark.parametrize("step", ["/info", "/feedback", "SET_PARAMETER", "TEARDOWN"])
@pytest.mark.parametrize("how", [{"status": 500}, {"status": 404}])
def test_what_a_speaker_need_not_know(speaker, step, how):
    speaker.fail(step, times=None, **how)
    sent = samples(2000)
    assert same(play(speaker, wav(sent), volume=50), sent)


def test_a_speaker_that_hangs_up_in_the_middle(speaker):
    speaker.raop.quirks.hang_up_after = 30
    with connect(speaker) as atv:
        stream = atv.stream(wav(samples(20 * SECOND)))
        with pytest.raises(tinyatv.ConnectionLost, match="raop"):
            stream.wait(WAIT)
        assert stream.state == "failed"


def test_no_port_for_sound(speaker):
    speaker.fail("SETUP", status=200)
    with connect(speaker) as atv, pytest.raises(tinyatv.ProtocolError, match="no port"):
        atv.stream(wav(samples(SECOND)))


class Broken(io.RawIOBase):
    """Fails in the middle."""

    def __init__(self, data):
        super().__init__()
        self._data = io.BytesIO(data)

    def read(self, size=-1):
        data = self._data.read(size)
        if not data:
            raise OSError("the disk is gone")
        return data


def test_a_source_that_fails(speaker):
    problem = pytest.raises(tinyatv.CommandFailed, match="the disk is gone")
    with connect(speaker) as atv, problem:
        atv.stream(Broken(wav(samples(SECOND))[:5000])).wait(WAIT)


def test_a_live_source_that_is_slow(speaker):
    """Silence is sent while it has nothing, and nothing of it is lost."""
    sent = samples(4000)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as source, connect(speaker) as atv:
        head = wav(b"")[:-4] + b"\xff" * 4
        os.write(writing, head)
        stream = atv.stream(source)
        assert speaker.wait_for(lambda: heard(speaker).packets > 30)
        writer = threading.Thread(target=lambda: (os.write(writing, sent), os.close(writing)))
        writer.start()
        assert stream.wait(WAIT)
        writer.join()
        assert stream.report.silent > 0
        assert stream.duration == 0
    found = heard(speaker).samples().replace(bytes(352 * 4), b"")
    assert sent[: 4 * 3500] in found


def test_warnings(speaker):
    speaker.raop.extra.update(am="AudioAccessory5,1", ov="27.0", et="1")
    with connect(speaker) as atv, atv.stream(wav(samples(2000))) as stream:
        assert len(stream.warnings) == 2
        assert "stay silent" in stream.warnings[0]
    speaker.raop.extra.update(am="ShairportSync")
    with connect(speaker) as atv, pytest.raises(tinyatv.NotSupported, match="crashes"):
        atv.stream(wav(samples(2000)), form="l16-fmtp")


def test_a_speaker_that_is_not_there(speaker):
    device = speaker.device
    speaker.stop()
    with pytest.raises(tinyatv.ConnectionFailed):
        tinyatv.connect(device)
