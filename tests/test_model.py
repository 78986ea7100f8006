"""Plain data: positions that move with the clock, cards for notebooks, images, descriptions."""

from __future__ import annotations

import base64
import html.parser
import itertools
import os
import pathlib
import random
import stat
import zlib
from types import SimpleNamespace

import pytest

from tests.support.program import limited
from tests.support.vectors import cases
from tinyatv.errors import CommandFailed, CommandTimeout, ConnectionLost, NotSupported
from tinyatv.model import (
    PROTOCOLS,
    App,
    Artwork,
    Device,
    DeviceInfo,
    DeviceState,
    MediaType,
    OperatingSystem,
    Playing,
    RepeatState,
    Service,
    ShuffleState,
    content_hash,
)


@pytest.fixture
def clock(monkeypatch):
    """The clock that positions move with; it stands still until somebody moves it."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("tinyatv.model.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def playing(position=10.0, total_time=222, state=DeviceState.Playing, **more):
    return Playing(device_state=state, position=position, total_time=total_time, **more)


# -- position


@pytest.mark.parametrize(
    ("made", "after", "expect"),
    [
        ({}, 0, 10),
        ({}, 12, 22),
        ({}, 3600, 222),  # it does not run over the end
        ({"position": 300.0}, 0, 222),
        ({"position": -5.0}, 1, 0),
        ({"position": 0.0}, 0, 0),
        ({"position": None}, 5, None),
        ({"total_time": 0}, 3600.9, 3610),  # no end is known
        ({"total_time": 0, "position": 5.99}, 0, 5),
        *[
            ({"state": state}, 60, 10)
            for state in DeviceState
            if state is not DeviceState.Playing
        ],
        ({"state": DeviceState.Paused, "rate": 1.0}, 5, 15),  # the device knows better
        ({"rate": 0.0}, 5, 10),
        ({"rate": 2.0}, 5, 20),
        ({"rate": -1.0}, 4, 6),
        ({"rate": -4.0}, 60, 0),
        # 214.005 s are left, which remotes show as 214
        ({"position": 7.995, "remaining": True}, 0, 8),
        ({"position": 8.49, "remaining": True}, 0, 8),
        ({"position": 8.51, "remaining": True}, 0, 9),
        ({"position": 8.51}, 0, 8),  # the device tells the position itself
        ({"position": 8.99}, 0, 8),
    ],
)  # fmt: skip
def test_position(clock, made, after, expect):
    one = playing(**made)
    clock.now += after
    assert one.position == expect
    assert one.position is None or isinstance(one.position, int)


@pytest.mark.parametrize(
    ("made", "after", "jumped"),
    [
        ({"position": 15.0}, 5, False),
        ({"position": 15.8}, 5, False),
        ({"position": 14.2}, 5, False),
        ({"position": 16.0}, 5, True),
        ({"position": 14.0}, 5, True),
        ({"position": 10.0}, 0, False),
        ({"position": 10.0}, 5, True),
        ({"position": 15.0, "state": DeviceState.Paused}, 5, False),
        ({"position": None}, 5, True),
        ({"position": 222.0}, 900, False),  # at the end, where the earlier one waits
    ],
)
def test_jumped(clock, made, after, jumped):
    earlier = playing()
    clock.now += after
    later = playing(**made)
    assert later.jumped(earlier) is jumped
    assert earlier.jumped(later) is jumped


def test_jumped_is_about_known_positions(clock):
    assert not playing(None).jumped(playing(None))
    paused, clock.now = playing(state=DeviceState.Paused), clock.now + 60
    assert not playing().jumped(paused)


# -- equality


def test_equal_though_the_clock_moved(clock):
    one = playing(title="T", artwork=lambda: None)
    clock.now += 30
    other = playing(99.0, title="T")
    assert one == other


@pytest.mark.parametrize(
    "change",
    [
        {"title": "U"}, {"artist": "A"}, {"album": "A"}, {"genre": "G"}, {"total_time": 223},
        {"state": DeviceState.Paused}, {"media_type": MediaType.Music}, {"hash": "x"},
        {"shuffle": ShuffleState.Off}, {"repeat": RepeatState.Off}, {"series_name": "S"},
        {"season_number": 1}, {"episode_number": 0}, {"content_identifier": "C"},
        {"itunes_store_identifier": 1}, {"app": App("TV", "com.apple.TVWatchList")},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_not_equal(change):
    assert playing(title="T") != playing(**{"title": "T", **change})


def test_other_types_are_not_equal():
    assert App("A", "b") == App("A", "b")
    for other in (None, "App", ("A", "b"), DeviceInfo()):
        assert App("A", "b") != other
    with pytest.raises(TypeError):
        hash(App("A", "b"))


@pytest.mark.parametrize("case", cases("dmap", "content_hash"), ids=lambda case: case["name"])
def test_content_hash(case):
    fields = {key: case[key] for key in ("title", "artist", "album", "total_time")}
    assert content_hash(**fields) == case["expect"]["hash"]
    assert Playing(**fields).hash == case["expect"]["hash"]
    assert Playing(**fields, hash="given").hash == "given"


# -- text


def test_text_of_everything(clock):
    # Origin: worked by hand from the labels; 8 of 222 s are 3.6 %.
    everything = Playing(
        media_type=MediaType.TV,
        device_state=DeviceState.Playing,
        title="Pilot",
        artist="Artist",
        album="Album",
        genre="Drama",
        total_time=222,
        position=8.0,
        shuffle=ShuffleState.Songs,
        repeat=RepeatState.All,
        series_name="Series",
        season_number=2,
        episode_number=0,
        content_identifier="id-1",
        itunes_store_identifier=42,
        app=App("TV", "com.apple.TVWatchList"),
    )
    assert str(everything).splitlines() == [
        "             Media type: TV",
        "           Device state: Playing",
        "                  Title: Pilot",
        "                 Artist: Artist",
        "                  Album: Album",
        "                  Genre: Drama",
        "            Series Name: Series",
        "                 Season: 2",
        "                Episode: 0",
        "             Identifier: id-1",
        "               Position: 8/222s (3.6%)",
        "iTunes Store Identifier: 42",
        "                    App: TV",
        "                 Repeat: All",
        "                Shuffle: Songs",
    ]
    shown = repr(everything)
    assert shown.startswith("Playing(media_type=MediaType.TV, device_state=")
    assert shown.endswith(", position=8)")
    assert "device_state=DeviceState.Playing" in shown


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        ({}, []),
        ({"total_time": 222}, ["  Total time: 222s"]),
        ({"position": 8.0}, ["    Position: 8s"]),
        ({"position": 0.0, "total_time": 3}, ["    Position: 0/3s (0.0%)"]),
        ({"app": App(None, "com.example")}, ["         App: com.example"]),
        ({"repeat": RepeatState.Off}, ["      Repeat: Off"]),
    ],
)
def test_text_leaves_out_what_is_not_known(made, lines):
    assert str(Playing(**made)).splitlines() == [
        "  Media type: Unknown",
        "Device state: Idle",
        *lines,
    ]


# -- notebook card

EVIL = "<script>alert(1)</script> & \"q\" 'p'"


class Card(html.parser.HTMLParser):
    """What a browser makes of a card: tags, their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.widths, self.images = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        assert set(attrs) <= {"style", "src", "alt"}
        if tag == "img":
            self.images.append(attrs["src"])
        self.widths += [
            rule.split(":")[1]
            for rule in (attrs.get("style") or "").split(";")
            if rule.startswith("width:") and rule.endswith("%")
        ]

    def handle_data(self, data):
        self.text.append(data)


def card(made):
    return Card(made._repr_html_())


def test_card(clock):
    art = Artwork(PNG)
    shown = card(playing(65.0, title="Title", artist="Artist", album="Album", artwork=lambda: art))
    assert shown.text == ["Title", "Artist", "Album", "Playing 1:05 / 3:42"]
    assert shown.widths == ["29%"]
    [source] = shown.images
    kind, data = source.split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data, validate=True) == PNG


@pytest.mark.parametrize(
    ("made", "text", "widths"),
    [
        (lambda: Playing(), ["Idle", "Idle"], []),
        (lambda: playing(3700.0, 7384, title="T"), ["T", "Playing 1:01:40 / 2:03:04"], ["50%"]),
        (lambda: playing(500.0, 222, title="T"), ["T", "Playing 3:42 / 3:42"], ["100%"]),
        (lambda: playing(5.0, 0, title="T"), ["T", "Playing"], []),
        (lambda: playing(None, title="T"), ["T", "Playing"], []),
    ],
)
def test_card_of_less(clock, made, text, widths):
    shown = card(made())
    assert shown.text == text
    assert shown.widths == widths
    assert shown.images == []


def test_card_escapes_everything(clock):
    plain = card(playing(title="t", artist="a", album="b"))
    shown = card(playing(title=EVIL, artist=EVIL, album=EVIL))
    assert shown.tags == plain.tags
    assert "".join(shown.text).count(EVIL) == 3


def fails(error):
    def artwork():
        raise error

    return artwork


@pytest.mark.parametrize(
    "artwork",
    [
        None,
        lambda: None,
        lambda: Artwork(b""),
        fails(CommandTimeout("late")),
        fails(ConnectionLost("gone")),
        fails(CommandFailed("refused", "artwork", 500)),
        fails(NotSupported("no artwork")),
    ],
)
def test_card_without_artwork(clock, artwork):
    assert playing(artwork=artwork)._repr_html_() == playing()._repr_html_()


# -- images


def chunk(kind, data=b""):
    """A chunk (PNG specification, 5.3)."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


# 320 x 200 black pixels, 8 bit grey.
PNG = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", bytes.fromhex("00000140 000000c8 08 00 00 00 00"))
    + chunk(b"IDAT", zlib.compress(bytes(321 * 200)))
    + chunk(b"IEND")
)


def segment(marker, data=b""):
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data


APP0 = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
DQT = segment(0xDB, bytes(65))
DHT = segment(0xC4, bytes(19))


def frame(marker):
    """Start of frame (ITU T.81, B.2.2): 8 bit, 480 lines of 640 samples, one component."""
    return segment(marker, bytes.fromhex("08 01e0 0280 01 011100"))


def jpeg(*segments):
    return b"\xff\xd8" + b"".join(segments) + segment(0xDA, bytes(6)) + b"\x01\x02\xff\xd9"


JPEGS = {
    "baseline": jpeg(APP0, DQT, frame(0xC0), DHT),
    "progressive": jpeg(APP0, DQT, frame(0xC2), DHT),
    "tables first": jpeg(DHT, segment(0xCC, bytes(2)), DQT, frame(0xC1)),
    "Exif, with another image inside": jpeg(segment(0xE1, jpeg(frame(0xC0)) * 2), frame(0xCF)),
    "fill bytes": jpeg(APP0, b"\xff\xff\xff", frame(0xC0)),  # allowed before any marker: B.1.1.2
}


@pytest.mark.parametrize("data", JPEGS.values(), ids=JPEGS.keys())
def test_jpeg(data):
    art = Artwork(data)
    assert (art.mimetype, art.width, art.height) == ("image/jpeg", 640, 480)
    assert art.extension == ".jpg"
    assert art._repr_jpeg_() == data
    assert art._repr_png_() is None


def test_png():
    art = Artwork(PNG)
    assert (art.mimetype, art.width, art.height, art.extension) == ("image/png", 320, 200, ".png")
    assert art._repr_png_() == PNG
    assert art._repr_jpeg_() is None
    assert repr(art) == f"Artwork(image/png, 320x200, {len(PNG)} bytes)"
    assert art == Artwork(PNG) != Artwork(PNG + b"\0")


@pytest.mark.parametrize("data", [PNG, *JPEGS.values()], ids=["png", *JPEGS])
def test_truncated_image(data):
    """Size or no size, but never a wrong one, whatever is missing."""
    whole = Artwork(data)
    for size in range(len(data)):
        art = Artwork(data[:size])
        if art.mimetype == whole.mimetype:
            assert (art.width, art.height) in ((whole.width, whole.height), (None, None))
        else:
            assert size < 8
            assert art.mimetype == "application/octet-stream"


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(20), b"<html>", b"\xff\xd8", b"\x89PNG\n"])
def test_garbage_is_no_image(data):
    art = Artwork(data)
    assert (art.mimetype, art.width, art.height) == ("application/octet-stream", None, None)
    assert art.extension == ".bin"
    assert art._repr_png_() is art._repr_jpeg_() is None


def test_damaged_images(share):
    """No damage makes it fail, or run forever on segments without a length."""
    rng = random.Random(81)
    for _ in range(share(20_000)):
        data = bytearray(rng.choice([PNG, *JPEGS.values()]))
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(2, len(data))] = rng.choice((0, 0xFF, rng.randrange(256)))
        art = Artwork(bytes(data))
        assert (art.width is None) == (art.height is None)
    assert Artwork(b"\xff\xd8\xff\xe0\0\0" * 1000).width is None


# -- saving


def test_save(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    art = Artwork(PNG)
    for path in (tmp_path / "a.png", str(tmp_path / "b.png"), "c.png"):
        art.save(path)
    assert [p.read_bytes() for p in sorted(tmp_path.glob("*.png"))] == [PNG] * 3
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "b.png", "c.png", "home"}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_save_makes_a_file_like_any_other(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        Artwork(PNG).save(tmp_path / "a.png")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode


def test_save_replaces_the_file_and_not_its_content(tmp_path):
    """Whoever reads the old file goes on reading the old file; a link stays a link."""
    (tmp_path / "target.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("target.png")
    with open(tmp_path / "target.png", "rb") as reader:
        Artwork(PNG).save(tmp_path / "link.png")
        assert reader.read() == b"old"
    assert (tmp_path / "target.png").read_bytes() == PNG
    assert (tmp_path / "link.png").is_symlink()


def unwritable(path):
    path.mkdir()
    path.chmod(0o500)
    return path / "a.png"


@pytest.mark.parametrize(
    "where",
    [
        lambda path: path / "missing" / "a.png",
        lambda path: path / "old.png" / "a.png",
        lambda path: path / "home",
        pytest.param(
            lambda path: pathlib.Path("/proc/a.png"),
            marks=pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc"),
        ),
        pytest.param(
            lambda path: unwritable(path / "locked"),
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere"),
        ),
    ],
    ids=["missing", "file", "directory", "proc", "not allowed"],
)
def test_save_where_nothing_can_be_written(tmp_path, where):
    (tmp_path / "old.png").write_bytes(b"old")
    with pytest.raises(OSError, match=r"a\.png|home|tinyatv"):
        Artwork(PNG).save(where(tmp_path))
    assert (tmp_path / "old.png").read_bytes() == b"old"
    assert {p.name for p in tmp_path.iterdir()} <= {"home", "old.png", "locked"}
    assert list((tmp_path / "home").iterdir()) == []


def test_save_on_a_full_disk(tmp_path):
    pytest.importorskip("resource")
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    code = """
import sys
from tinyatv.model import Artwork
LIMIT
try:
    Artwork(b"x" * 5000).save(sys.argv[1])
except OSError as exc:
    print(exc.strerror)
"""
    assert limited(code, path) == "File too large"
    assert path.read_bytes() == b"old"
    assert {p.name for p in tmp_path.iterdir()} == {"a.png", "home"}


# -- devices and services


@pytest.mark.parametrize("protocol", ["", "DMAP", "dacp", None])
def test_unknown_protocol(protocol):
    with pytest.raises(ValueError, match=r"unknown protocol .* known: mrp, dmap, airplay"):
        Service(protocol, 3689)


@pytest.mark.parametrize(("port", "valid"), [(0, True), (65535, True), (-1, False), (65536, False)])
def test_port(port, valid):
    if valid:
        assert Service("dmap", port).port == port
    else:
        with pytest.raises(ValueError, match=f"0 to 65535, not {port}"):
            Service("dmap", port)


@pytest.mark.parametrize("present", [set(c) for c in itertools.combinations(PROTOCOLS, 3)])
def test_main_identifier(present):
    """Of the first protocol that has one, whatever was found first."""
    services = [Service(p, identifier=f"id-{p}") for p in reversed(PROTOCOLS) if p in present]
    first = next(p for p in PROTOCOLS if p in present)
    assert Device("D", "192.0.2.1", services).identifier == f"id-{first}"
    services.append(Service(next(p for p in PROTOCOLS if p not in present)))  # without one
    device = Device("D", "192.0.2.1", services)
    assert device.identifier == f"id-{first}"
    assert device.identifiers == [s.identifier for s in services[:-1]]


def test_device():
    dmap, raop = Service("dmap", 3689, identifier="A"), Service("raop", 7000, identifier="A")
    device = Device("Dén", "192.0.2.1", (dmap, raop))
    assert device.identifiers == ["A"]
    assert device.service("raop") is raop
    assert device.service("mrp") is None
    assert device.info == DeviceInfo()
    assert device == Device("Dén", "192.0.2.1", [dmap, raop]) != Device("Dén", "192.0.2.2")
    for text in ("Dén", "DÉN", "192.0.2.1", "a"):
        assert device.is_called(text)
    for text in ("Den", "192.0.2", ""):
        assert not device.is_called(text)
    assert Device("Nameless", "192.0.2.1").identifier is None


def test_properties_are_copied():
    txt = {"a": "1", "b": None}
    service, device = Service("raop", properties=txt), Device("D", "a", properties={"_x": txt})
    txt.clear()
    assert service.properties == device.properties["_x"] == {"a": "1", "b": None}


def test_credentials_are_never_shown():
    service = Service(
        "raop", 1, identifier="id", credentials="SECRET-1", password="SECRET-2",
        properties={"hg": "SECRET-3"},
    )  # fmt: skip
    service.credentials += "+"
    service.password += "+"
    assert (service.credentials, service.password) == ("SECRET-1+", "SECRET-2+")
    device = Device("Den", "192.0.2.1", [service], properties={"_x": {"hG": "SECRET-4"}})
    for text in (repr(service), str(service), repr(device), str(device), f"{[device]}"):
        assert "SECRET" not in text
        assert "'id'" in text
    assert service == Service("raop", 1, identifier="id")


def test_device_info():
    assert str(DeviceInfo()) == "Unknown, Unknown OS"
    info = DeviceInfo(
        model="Gen4K",
        model_name="Apple TV 4K",
        operating_system=OperatingSystem.TvOS,
        version="14.7",
        build="18M60",
    )
    assert str(info) == "Apple TV 4K, tvOS 14.7 build 18M60"
    assert "mac" not in repr(info)
    assert {str(DeviceInfo(operating_system=system)) for system in OperatingSystem} == {
        f"Unknown, {name}" for name in ("Unknown OS", "ATV SW", "tvOS", "AirPortOS", "macOS")
    }


def test_info_of_a_device_described_by_hand():
    txt = {"model": "AppleTV6,2", "osvers": "14.7", "deviceid": "02005e102030"}
    device = Device("Den", "192.0.2.1", [Service("airplay", 7000, properties=txt)])
    assert str(device.info) == "Apple TV 4K, tvOS 14.7"
    assert device.info.mac == "02:00:5E:10:20:30"
    assert Device("Den", "192.0.2.1", [Service("airplay", 7000)]).info == DeviceInfo()
    mrp = Service("mrp", 49152, properties={"systembuildversion": "18M60"})
    assert str(Device("Den", "192.0.2.1", [mrp]).info) == "Unknown, tvOS 14.7 build 18M60"
    given = DeviceInfo(version="1")
    assert Device("Den", "192.0.2.1", [mrp], info=given).info is given


def test_placeholders_are_nobodys_name():
    nobody = "00:00:00:00:00:00"
    device = Device("Den", "192.0.2.1", [Service("airplay", 7000, identifier=nobody)])
    assert not device.is_called(nobody)


def test_names_and_addresses():
    device = Device("Den", "fe80::1%eth0", names=["den tv", "Den"], addresses=["192.0.2.1"])
    assert device.names == ["Den", "den tv"]
    assert device.addresses == ["fe80::1%eth0", "192.0.2.1"]
    assert device.is_called("DEN TV")
    assert device.is_called("192.0.2.1")
    device.address = "192.0.2.1"
    assert device.addresses == ["192.0.2.1"]
    assert Device("Den", "").addresses == []
