"""Answers that are not what the books say, over each protocol: understood, or one clear error."""

from __future__ import annotations

import json
import logging
import os
import plistlib
import threading
import time

import pytest

import tinyatv
from tests.support.watching import Heard
from tinyatv import DeviceState, FeatureState, decode, proto
from tinyatv.backends.airplay import local_path
from tinyatv.backends.companion import error_code, refusal, refused
from tinyatv.backends.mrp_state import CLIENTS, KEPT, PLAYERS, Players
from tinyatv.model import Artwork, is_image
from tinyatv.proto.commands import EPOCH
from tinyatv.virtual import VirtualAppleTV
from tinyatv.wire import dmap, opack

WAIT = 5.0  # s; a deadline for things that take milliseconds


def virtual(profile, protocol):
    return VirtualAppleTV("Living Room", profile=profile, protocols=[protocol])


# -- DMAP ------------------------------------------------------------------------------------------


def test_text_with_a_nul(atv, device):
    device.dmap.extra = [("cang", b"Jazz\0")]
    device.state.update(genre=None)
    assert atv.playing().genre == "Jazz"


def test_server_info_loses_nothing(atv, device):
    fields = [
        ("mstt", 200), ("minm", b"Den\0"), ("ated", b"\0\7"), ("zzzz", b"\1\xff"),
        ("ceGS", b"\2"),
        ("aeSE", b"\2"), ("aeSP", b"\1"), ("aeXX", b"one"), ("aeXX", b"two"),
        ("mlcl", [("mlit", [("miid", 1)]), ("mlit", [("miid", 2), ("asdk", b"\3")])]),
    ]  # fmt: skip
    device.fail("server_info", status=200, body=dmap.encode([("msrv", fields)]))
    found = atv.server_info()
    assert json.loads(json.dumps(found)) == found
    assert found["dmap.itemname"] == "Den"
    assert found["daap.supportsextradata"] is True
    assert found["com.apple.itunes.genius-selectable"] == 2
    assert found["zzzz"] == "01ff"
    assert found["aeXX"] == [b"one".hex(), b"two".hex()]
    listed = found["dmap.listing"]["dmap.listingitem"]
    assert [one["dmap.itemid"] for one in listed] == [1, 2]
    assert len(listed[1]) == 2


def test_tags_without_a_name_keep_their_code(atv, device):
    nameless = [code for code, tag in dmap.TAGS.items() if tag[1] == "unknown"][:5]
    fields = [(code, b"\1") for code in nameless]
    device.fail("server_info", status=200, body=dmap.encode([("msrv", fields)]))
    assert sorted(atv.server_info()) == sorted(nameless)


LONG = b"\xff" * 500  # 1205 digits


@pytest.mark.parametrize("code", ["cast", "cmsr", "caps", "carp", "cavc", "mstt"])
def test_a_number_of_hundreds_of_digits(atv, device, code):
    body = dmap.encode([("cmst", [("cmsr", 5), (code, LONG)])])
    device.fail("playing", status=200, body=body)
    with pytest.raises(tinyatv.ProtocolError, match="a number of 500 bytes"):
        atv.playing()
    assert atv.playing().title


def test_no_number_ends_the_poll(atv, device, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.dmap.PAUSES", (0.05, 0.05))
    device.fail("playing", times=3, status=200, body=dmap.encode([("cmst", [("cmsr", LONG)])]))
    heard = Heard(atv)
    for _ in range(3):
        assert isinstance(heard.next(tinyatv.UpdateFailed).error, tinyatv.ProtocolError)
    assert heard.next(tinyatv.PlayingChanged).playing.title


def test_no_mistake_of_ours_ends_the_poll(atv, device, monkeypatch):
    """Whatever we stumble over."""
    monkeypatch.setattr("tinyatv.backends.dmap.PAUSES", (0.05, 0.05))
    times = iter(range(2))

    class Odd(dict):
        def get(self, key, default=None):
            if next(times, None) is not None:
                raise ZeroDivisionError("odd")
            return super().get(key, default)

    monkeypatch.setattr("tinyatv.backends.dmap.STATES", Odd({4: DeviceState.Playing}))
    heard = Heard(atv)
    for _ in range(2):
        assert "ZeroDivisionError" in str(heard.next(tinyatv.UpdateFailed).error)
    assert heard.next(tinyatv.PlayingChanged).playing.device_state is DeviceState.Playing


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("before", [CONTINUE, CONTINUE * 3, b"HTTP/1.1 102 Processing\r\n\r\n"])
def test_100_is_no_answer(atv, device, before):
    body = dmap.encode([("cmst", [("cmsr", 5), ("caps", 3), ("cann", "Late")])])
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    device.fail("playing", garbage=before + head + body)
    playing = atv.playing()
    assert (playing.title, playing.device_state) == ("Late", DeviceState.Paused)


def test_100_is_no_answer_over_airplay():
    with virtual("tvos15", "airplay") as tv:
        body = plistlib.dumps({}, fmt=plistlib.FMT_BINARY)
        head = b"RTSP/1.0 200 OK\r\nCSeq: 0\r\nContent-Length: %d\r\n\r\n" % len(body)
        tv.fail("/info", garbage=CONTINUE + head + body)
        with tinyatv.connect(tv.device, protocols=["airplay"]) as atv:
            assert atv.protocols == ("airplay",)


PAGES = [b"<html>no</html>", b"\xef\xbb\xbf <!DOCTYPE html>", b'{"error": 1}', b""]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_no_artwork(atv, device, page):
    device.fail("artwork", status=200, body=page)
    assert atv.artwork() is None


# -- images ----------------------------------------------------------------------------------------

# Origin: worked by hand from the formats' definitions: RFC 9649 (WebP), ISO 23008-12, GIF89a, PNG.
WEBP = b"RIFF\x24\0\0\0WEBP"
IMAGES = [
    (WEBP + b"VP8X\x0a\0\0\0" + bytes(4) + b"\x8f\x01\0\x2b\x01\0", "webp", 400, 300),
    (WEBP + b"VP8L\x0a\0\0\0\x2f\x8f\xc1\x4a\0" + bytes(5), "webp", 400, 300),
    (WEBP + b"VP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\x90\x01\x2c\x01", "webp", 400, 300),
    (WEBP, "webp", None, None),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(20), "heic", None, None),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic", None, None),
    (b"GIF89a\x90\x01\x2c\x01" + bytes(9), "gif", 400, 300),
    (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\1\x90\0\0\1\x2c", "png", 400, 300),
    (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT\0\0\1\x90\0\0\1\x2c", "png", None, None),
    (b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI\x50\0\x20\2" + bytes(30), "png", None, None),
]


@pytest.mark.parametrize(("data", "kind", "width", "height"), IMAGES)
def test_images(data, kind, width, height):
    art = Artwork(data)
    assert (art.mimetype, art.width, art.height) == (f"image/{kind}", width, height)
    assert art.extension == f".{kind}"
    assert is_image(data, "text/html")  # what it is counts, not what it is called
    told = Artwork(data, 20, 10)
    assert (told.width, told.height) == ((width, height) if width else (20, 10))


def test_what_is_no_image():
    assert not any(map(is_image, PAGES))
    assert not is_image(b"\x01\x02\x03", "text/plain; charset=utf-8")
    assert is_image(b"\x01\x02\x03")
    assert is_image(b"\x01\x02\x03", "image/future")


# -- Companion -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("32 96e5ffff", -6762),  # four bytes
        ("33 96e5ffffffffffff", -6762),
        ("31 96e5", -6762),
        ("33 96e5ffff00000000", -6762),
        ("30 ff", -1),
        ("07", -1),
        ("32 c6e50000", 58822),
        ("31 c6e5", 58822),  # by this name, the request without a handler is known
        ("2f", 39),
        ("42 3132", None),
        ("01", None),
        ("d0", None),
    ],
)
def test_error_codes_are_signed(data, code):
    reply = {"_ec": opack.unpack(bytes.fromhex(data))[0]}
    assert error_code(reply) == code


def test_what_is_an_error():
    assert refused({"_eu": {"NSLocalizedDescription": "not  now"}})
    assert refused({"_eu": "no"})
    assert refused({"_em": "no"})
    assert refused({"_ec": opack.sized((1 << 32) - 5, 4)})
    assert not refused({"_c": {}})
    assert not refused({"_ec": 0, "_em": "", "_eu": {}})
    assert "not now" in refusal({"_eu": {"NSLocalizedDescription": "not  now"}})
    assert "error -5" in refusal({"_ec": opack.sized((1 << 32) - 5, 4)})
    for odd in ([], {}, 5, None, {"NSLocalizedDescription": []}, b"x"):
        assert refusal({"_eu": odd, "_em": odd, "_ec": odd})


def test_refused_with_a_negative_code():
    with virtual("tvos18", "companion") as tv, tinyatv.connect(tv.device) as atv:
        tv.fail("launch_app", status=-6762)
        with pytest.raises(tinyatv.CommandFailed, match="error -6762") as caught:
            atv.launch("com.netflix.Netflix")
        assert caught.value.code == -6762


@pytest.mark.parametrize("info", [{"NSLocalizedDescription": "not  now"}, "not now"])
def test_refused_with_a_user_info_alone(info, monkeypatch):
    """Neither code nor text, and content besides: it is a refusal all the same."""
    refusing = {"_eu": info, "_c": {"com.example": "App"}}
    monkeypatch.setattr("tinyatv.virtual.companion._error", lambda code, text: refusing)
    with virtual("tvos18", "companion") as tv, tinyatv.connect(tv.device) as atv:
        tv.fail("app_list", status=1)
        with pytest.raises(tinyatv.CommandFailed, match=r"^apps: not now \(companion\)") as caught:
            atv.apps()
        assert caught.value.code is None


@pytest.mark.parametrize("number", [[], {}, "2", None, 2.0, b"", 1 << 70])
def test_decode_takes_any_type(number):
    """Not all that is there can be looked up."""
    for content in ({"_t": number, "_i": number, "_c": number, "_x": number}, {"_pd": number}):
        decode.describe((8, content))
        decode.describe((number if isinstance(number, int) else 8, {1: number}))
    data = opack.pack({"_i": "x", "_t": number if number != 1 << 70 else 2})
    frame = b"\x08" + len(data).to_bytes(3, "big") + data
    assert decode.decode(frame, "companion")[0] == "companion"


# -- AirPlay ---------------------------------------------------------------------------------------


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(100_000))
    return path


@pytest.fixture
def old():
    with virtual("airplay1", "airplay") as tv:
        yield tv


@pytest.mark.parametrize("profile", ["airplay1", "tvos15", "tvos18"])
@pytest.mark.parametrize("name", [b"\xff\xfe film.mp4", "Füße ☃.mp4".encode(), b"100%25 #1?.mp4"])
def test_file_names_need_not_be_text(tmp_path, name, film, profile):
    path = os.path.join(os.fsencode(tmp_path), name)
    os.rename(film, path)
    with virtual(profile, "airplay") as tv, tinyatv.connect(tv.device) as atv:
        stream = atv.play_url(os.fsdecode(path))
        with stream:
            assert stream.playing
            assert stream.url.isascii()


def test_file_urls(old, film):
    with tinyatv.connect(old.device) as atv:
        for url in (f"file://{film}", f"file://localhost{film}", f"FILE://{film}"):
            with atv.play_url(url) as stream:
                assert stream.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h/a", None), ("https://h/a", None), ("HTTP://h/", None),
        ("/a/b.mp4", "/a/b.mp4"), ("b.mp4", "b.mp4"), ("a:b.mp4", "a:b.mp4"),
        ("file:///a%20b.mp4", "/a b.mp4"), ("file://localhost/a.mp4", "/a.mp4"),
    ],
)  # fmt: skip
def test_what_is_meant(url, path):
    assert local_path(url) == path


@pytest.mark.parametrize("url", ["", "file://", "file:///", "file://nas/a.mp4", "a\0b"])
def test_nothing_that_can_be_played(old, url):
    with tinyatv.connect(old.device) as atv, pytest.raises(ValueError, match=r"file|empty"):
        atv.play_url(url)


@pytest.mark.parametrize("profile", ["tvos15", "tvos18"])
def test_either_record_may_allow_it(profile, film):
    """One says that it plays no URLs, and the other that it does."""
    import plistlib

    with virtual(profile, "airplay") as tv:
        bits = (1 << 38) | (1 << 48)
        tv.fail("/info", times=None, status=200, body=plistlib.dumps({"features": bits}))
        with tinyatv.connect(tv.device, protocols=["airplay"]) as atv:
            assert atv.features()["play_url"] is FeatureState.Available
            with atv.play_url(str(film)) as stream:
                assert stream.playing


def test_a_passing_500_while_it_plays(old, film, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.airplay_stream.POLL", 0.02)
    with tinyatv.connect(old.device) as atv, atv.play_url(str(film)) as stream:
        count = len(old.airplay.requests)
        old.fail("/playback-info", times=3, status=500)
        assert old.wait_for(lambda: len(old.airplay.requests) > count + 6)
        assert stream.playing
        old.fail("/playback-info", times=None, status=500)
        with pytest.raises(tinyatv.CommandFailed, match="500"):
            stream.wait(WAIT)


def test_who_is_turned_away_is_named(old, film, caplog):
    """By another address the device is somebody else, unless that is known to be one of its own."""
    import http.client

    from tinyatv.backends.fileserver import FileServer

    def ask(server, source):
        port = int(server.url.split(":")[2].split("/")[0])
        asking = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=WAIT, source_address=(source, 0)
        )
        try:
            asking.request("HEAD", server.url.split(str(port), 1)[1])
            return asking.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            asking.close()

    with FileServer(film, "127.0.0.1", "127.0.0.1", ["127.0.0.2", "127.0.0.3"]).start() as server:
        with caplog.at_level(logging.WARNING):
            for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
                assert ask(server, source) == 200
            assert (server.refused, caplog.text) == ("", "")
            for _ in range(2):
                assert ask(server, "127.0.0.4") is None
        assert server.refused == "127.0.0.4"
    assert caplog.text.count("turned away 127.0.0.4") == 1


# -- MRP -------------------------------------------------------------------------------------------


@pytest.fixture
def tv():
    with virtual("tvos14", "mrp") as made:
        yield made


def tell(tv, atv, *messages):
    """Let the device say something more; it is known when this returns."""
    for peer in tv.mrp.peers:
        for message in messages:
            peer.send(message)
    atv.wakeup()


def path(client="org.example", player="MediaRemote-DefaultPlayer"):
    return {"client": {"bundleIdentifier": client}, "player": {"identifier": player}}


def state(**fields):
    return proto.build(proto.SET_STATE, playerPath=path(), **fields)


def item(elapsed, stamp=None, identifier="1", rate=1.0, **more):
    metadata = {"title": "Film", "elapsedTime": elapsed, "playbackRate": rate, **more}
    if stamp is not None:
        metadata["elapsedTimeTimestamp"] = stamp
    return {"identifier": identifier, "metadata": metadata}


def items(*found):
    return {"location": 0, "contentItems": list(found)}


def update(**metadata):
    found = [{"identifier": "1", "metadata": metadata}]
    return proto.build(proto.UPDATE_CONTENT_ITEM, playerPath=path(), contentItems=found)


ACTIVE = proto.build(proto.SET_NOW_PLAYING_CLIENT, client={"bundleIdentifier": "org.example"})


def now():
    return time.time() - EPOCH


@pytest.fixture
def odd(tv):
    """A client that hears what the tests say."""
    with tinyatv.connect(tv.device) as atv:
        yield lambda *messages: (tell(tv, atv, *messages), atv.playing())[1]


@pytest.mark.parametrize(
    ("commands", "playing", "sent"),
    [
        ([1, 2], 1, ["pause"]), ([1, 2], 2, ["play"]),
        ([1], 1, ["pause"]), ([2], 2, ["play"]),  # not what is listed counts, but what it does
        ([1, 2, 3], 1, ["play_pause"]), ([], 1, ["play_pause"]),
    ],
)  # fmt: skip
def test_play_pause_without_a_toggle(tv, commands, playing, sent):
    listed = {"supportedCommands": [{"command": n, "enabled": True} for n in commands]}
    where = {"client": {"bundleIdentifier": "org.example"}}
    with tinyatv.connect(tv.device) as atv:
        tell(
            tv, atv, ACTIVE,
            proto.build(
                proto.SET_STATE, playerPath={**where, **path()}, supportedCommands=listed,
                playbackState=playing, playbackQueue=items(item(1.0, now())),
            ),
        )  # fmt: skip
        before = len(tv.mrp.requests)
        try:
            atv.play_pause()
        except tinyatv.CommandFailed:
            pass  # nothing that plays there offers it
        assert tv.log[-1:] == sent or before < len(tv.mrp.requests)
        assert [word for word in tv.log if word in ("play", "pause", "play_pause")] == sent


def test_the_state_of_old_devices_plays(tv):
    """Without a player path, and with the metadata in one of its own."""
    with tinyatv.connect(tv.device) as atv:
        old = proto.build(
            proto.SET_STATE, displayID="com.apple.TVMovies", displayName="Movies", playbackState=1,
            nowPlayingInfo={
                "title": "Old", "artist": "Someone", "album": "Some", "duration": 200.0,
                "elapsedTime": 40.0, "timestamp": now() - 10, "playbackRate": 1.0,
                "uniqueIdentifier": 77,
            },
        )  # fmt: skip
        tell(tv, atv, old)
        playing = atv.playing()
        assert (playing.title, playing.artist, playing.album) == ("Old", "Someone", "Some")
        assert (playing.app.identifier, playing.app.name) == ("com.apple.TVMovies", "Movies")
        assert playing.device_state is DeviceState.Playing
        assert (playing.total_time, playing.hash) == (200, "77")
        assert 49 <= playing.position <= 51
        tell(tv, atv, proto.build(proto.SET_STATE, displayID="com.apple.TVMovies", playbackState=2))
        playing = atv.playing()
        assert (playing.title, playing.device_state) == ("Old", DeviceState.Paused)
        assert 49 <= playing.position <= 51


def test_pause_without_an_item(odd):
    """100 s ten seconds ago, and paused now: that is 110 s."""
    at = now()
    playing = state(playbackState=1, playbackQueue=items(item(100.0, at - 10)))
    assert 110 <= odd(ACTIVE, playing).position <= 111
    assert odd(state(playbackState=2, playbackStateTimestamp=at - 2)).position == 108
    assert odd(state(playbackState=2)).position == 108
    # Resumed 60 s later, which is told 3 s late.
    assert 109 <= odd(state(playbackState=1, playbackStateTimestamp=at - 1.5)).position <= 111


def test_pause_without_an_item_and_without_a_stamp(odd):
    playing = state(playbackState=1, playbackQueue=items(item(100.0, now() - 10)))
    assert 110 <= odd(ACTIVE, playing).position <= 111
    assert 110 <= odd(state(playbackState=2)).position <= 111


def test_pause_by_the_rate_alone(odd):
    playing = state(playbackState=1, playbackQueue=items(item(100.0, now() - 10)))
    assert 110 <= odd(ACTIVE, playing).position <= 111
    assert 110 <= odd(update(playbackRate=0.0)).position <= 111


def test_a_seek_without_a_stamp(odd):
    playing = state(playbackState=1, playbackQueue=items(item(100.0, now() - 50)))
    assert 150 <= odd(ACTIVE, playing).position <= 151
    assert 30 <= odd(update(elapsedTime=30.0)).position <= 31


def test_without_any_stamp_there_is_no_position(odd):
    assert odd(ACTIVE, state(playbackState=1, playbackQueue=items(item(100.0)))).position is None
    assert odd(update(elapsedTime=120.0)).position is None


@pytest.mark.parametrize("apart", [-3e8, -5000.0, 5000.0, 3e8])
def test_a_clock_that_is_wrong(odd, apart, caplog):
    """The device's stamps are by its own clock, and a change says what that shows."""
    at = now() + apart
    started = state(playbackState=2, playbackQueue=items(item(100.0, at - 700, duration=5000.0)))
    assert odd(ACTIVE, started).position == 100
    playing = state(
        playbackState=1, playbackStateTimestamp=at - 0.5,
        playbackQueue=items(item(100.0, at - 0.5, duration=5000.0)),
    )  # fmt: skip
    assert 99 <= odd(playing).position <= 102
    sought = odd(update(elapsedTime=2000.0, elapsedTimeTimestamp=at - 20))
    assert 2019 <= sought.position <= 2022
    assert "clock" not in "".join(r.message for r in caplog.records if r.levelname == "WARNING")


def test_a_clock_that_cannot_be_right(odd, caplog):
    """Nothing tells what the device's clock shows: better the time that it told than the end."""
    at = now() - 1e7
    playing = state(playbackState=1, playbackQueue=items(item(100.0, at, duration=5000.0)))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert 100 <= odd(ACTIVE, playing).position <= 101
    assert caplog.text.count("clock here or that of the device is wrong") == 1


def test_what_a_device_may_make_us_keep():
    players = Players()
    for number in range(500):
        where = path(f"org.example.{number}" + "x" * 5000, "p" * 5000)
        players.handle(
            proto.build(
                proto.SET_STATE, playerPath=where, playbackState=1,
                playbackQueue=items(item(1.0, 1.0, title="t" * 50_000)),
            )
        )  # fmt: skip
    players.handle(ACTIVE)
    for number in range(100):
        players.handle(
            proto.build(
                proto.SET_STATE, playerPath=path(player=f"p{number}"), playbackState=1,
                playbackQueue=items(item(1.0, 1.0, title="t" * 100_000)),
            )
        )  # fmt: skip
    clients = players._clients
    assert len(clients) <= CLIENTS
    assert players.client is clients["org.example"]
    assert max(len(client.players) for client in clients.values()) <= PLAYERS
    kept = [player for client in clients.values() for player in client.players.values()]
    assert sum(player.size for player in kept) <= KEPT + 200_000
    assert max(map(len, clients)) <= 1000


def test_no_thread_is_left():
    assert [t.name for t in threading.enumerate() if t.name.startswith("tinyatv")] == []
