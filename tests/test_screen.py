"""What the full-screen remote draws: every size, every letter, and what goes when room is short."""

from __future__ import annotations

import random
import time

import pytest

from tests.support.screen import SCREEN
from tinyatv import (
    App,
    CommandFailed,
    ConnectionLost,
    DeviceState,
    Disconnected,
    FeatureState,
    KeyboardChanged,
    KeyboardFocus,
    Playing,
    PlayingChanged,
    PowerChanged,
    PowerState,
    Reconnected,
    RepeatState,
    ShuffleState,
    VolumeChanged,
)
from tinyatv.cli.remote import CODES, KEYS, SHOWN, keys_of
from tinyatv.cli.screen import (
    Answered,
    Failed,
    FeaturesKnown,
    TextKnown,
    View,
    cells,
    clean,
    draw,
    fit,
)

SIZES = [(80, 24), (20, 5), (40, 10), (132, 50), (10, 3), (3, 2), (1, 1), (200, 1), (1, 60)]


def song(**more) -> Playing:
    about = {
        "device_state": DeviceState.Paused, "title": "Harbour Lights", "artist": "The Loopbacks",
        "album": "Local Hosts", "total_time": 222, "position": 62, "repeat": RepeatState.Off,
        "shuffle": ShuffleState.Off, "app": App("Music", "com.apple.TVMusic"),
    }  # fmt: skip
    return Playing(**{**about, **more})


@pytest.fixture
def view():
    view = View("Living Room", "Apple TV 4K")
    for event in (PlayingChanged(song()), PowerChanged(PowerState.On), VolumeChanged(50.0)):
        view.apply(event)
    return view


def texts(view: View, width: int = 80, height: int = 24) -> list[str]:
    return [text.rstrip() for text, _ in draw(view, width, height, SHOWN)]


# -- what is drawn ---------------------------------------------------------------------------------


def test_80x24(view):
    lines = texts(view)
    assert lines[:8] == SCREEN
    assert len(lines) == 24
    assert lines[-1].endswith("q quit")
    assert any("arrows move  enter select" in line for line in lines)
    assert draw(view, 80, 24)[0] == (lines[0], "reverse")


def test_20x5(view):
    """The most important lines."""
    assert texts(view, 20, 5) == [
        "Living Room", "Harbour Lights", "1:02 [==>     ] 3:42", "Volume [===   ] 50%",
        "? keys  q quit",
    ]  # fmt: skip
    view.apply(Failed(CommandFailed("no such thing")))
    assert "no such thing" in texts(view, 20, 5)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_sizes(view, width, height):
    view.message = "something went wrong, and it takes many words to say so" * 3
    for help_, typed in ((False, None), (True, None), (False, "a long text in it" * 9)):
        view.help, view.typed = help_, typed
        lines = draw(view, width, height, SHOWN)
        assert len(lines) == height
        assert all(cells(text) <= width for text, _ in lines)
    assert draw(view, 0, 0, SHOWN) == draw(view, 0, 5) == draw(view, 5, 0) == []


def test_every_size_with_odd_letters(share):
    rng = random.Random(3)
    pool = "a界🎧\u0301\u200d\ufe0f\u1100\u1161\ud800\x1b[\n\u202eé👨👩\U0001f3fd\u3000\uff21\x9b"
    for _ in range(share(4000)):
        title, artist, name = ("".join(rng.choices(pool, k=rng.randrange(60))) for _ in range(3))
        view = View(name)
        playing = song(title=title, artist=artist, position=rng.randrange(300), hash="")
        view.apply(PlayingChanged(playing))
        view.typed = rng.choice((None, title))
        width, height = rng.randrange(90), rng.randrange(30)
        lines = draw(view, width, height, SHOWN)
        assert len(lines) == (height if width else 0)
        for text, _ in lines:
            assert cells(text) <= width
            assert not set(text) & set("\x1b\n\u202e\x9b\ud800")


def test_position_moves_by_the_clock(view):
    view.apply(PlayingChanged(song(device_state=DeviceState.Playing, position=61.95)))
    assert texts(view)[5].startswith("1:01 [")
    until = time.monotonic() + 5
    while not texts(view)[5].startswith("1:02 ["):
        assert time.monotonic() < until


@pytest.mark.parametrize(
    ("about", "line"),
    [
        ({"position": 0}, "0:00 [>" + " " * 67 + "] 3:42"),
        ({"position": 222}, "3:42 [" + "=" * 67 + ">] 3:42"),
        ({"position": None}, "3:42"),
        ({"total_time": 0}, "1:02"),
        ({"total_time": 7300}, "1:02 [>" + " " * 64 + "] 2:01:40"),
    ],
)
def test_progress(view, about, line):
    view.apply(PlayingChanged(song(**about)))
    assert texts(view)[5] == line


def test_nothing_plays_and_what_is_not_known():
    view = View("Den")
    assert texts(view)[:4] == ["Den", "", "Nothing is playing", ""]
    view.apply(PlayingChanged(Playing()))
    assert "Nothing is playing" in texts(view)
    view.apply(PlayingChanged(Playing(device_state=DeviceState.Loading)))
    assert texts(view)[2:5] == ["Loading", "Loading", ""]


def test_episode(view):
    view.apply(PlayingChanged(song(series_name="Keep Alive", season_number=1, episode_number=0)))
    assert "Keep Alive, season 1, episode 0" in texts(view)


# -- what happens ----------------------------------------------------------------------------------


def test_lost_and_back(view):
    view.apply(Disconnected(ConnectionLost("gone\nfor good")))
    assert texts(view)[0].endswith("Apple TV 4K, not connected")
    assert texts(view)[2] == "Connection lost, trying again: gone for good"
    view.apply(Reconnected(("mrp",)))
    assert texts(view)[2] == "Harbour Lights"


def test_events(view):
    view.apply(VolumeChanged(20.0))
    view.apply(VolumeChanged(90.0, "kitchen"))
    view.apply(PowerChanged(PowerState.Off))
    assert texts(view)[7].endswith("] 20%")
    assert texts(view)[0].endswith("Apple TV 4K, asleep")


def test_text_field(view):
    view.apply(KeyboardChanged(KeyboardFocus.Focused))
    view.apply(TextKnown("dune"))
    assert texts(view)[8] == "Text: dune_"
    assert texts(view)[-1].startswith("what you type goes to the TV")
    asked = view.edits
    view.edit("dunes")
    view.apply(TextKnown("too late", asked))
    assert view.typed == "dunes"
    view.typed = None  # somebody has pressed enter
    view.apply(KeyboardChanged(KeyboardFocus.Focused))  # told again, after a reconnection
    assert view.typed is None
    view.apply(KeyboardChanged(KeyboardFocus.Unfocused))
    view.apply(KeyboardChanged(KeyboardFocus.Focused))
    assert view.typed == ""


def test_answer_that_was_overtaken(view):
    """It was asked for before the event came, and arrives behind it."""
    view.apply(KeyboardChanged(KeyboardFocus.Focused))
    view.apply(Answered(KeyboardChanged(KeyboardFocus.Unfocused)))
    view.apply(Answered(VolumeChanged(10.0)))
    assert (view.typed, view.volume) == ("", 50.0)
    view.apply(Reconnected(("mrp",)))
    view.apply(Answered(KeyboardChanged(KeyboardFocus.Unfocused)))
    view.apply(Answered(VolumeChanged(10.0)))
    assert (view.typed, view.volume) == (None, 10.0)


def test_keys_that_the_device_has(view):
    assert "pgup channel up" in " ".join(texts(view))  # as long as nobody knows better
    view.apply(FeaturesKnown({"up": FeatureState.Available, "home": FeatureState.Unsupported,
                     "right": FeatureState.Unknown}))  # fmt: skip
    shown = " ".join(texts(view))
    assert "arrows move" in shown
    assert "? keys  q quit" in shown
    assert "home" not in shown
    view.help = True
    assert texts(view)[1].split() == ["arrows", "move", "?", "keys", "q", "quit"]


# -- letters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "width"),
    [
        ("Harbour", "Harbour", 7),
        ("茶の湯", "茶の湯", 6),
        ("ｆｕｌｌ", "ｆｕｌｌ", 8),
        ("🎧", "🎧", 2),
        ("Cafe\u0301", "Cafe\u0301", 4),
        ("\u1112\u1161\u11ab", "\u1112\u1161\u11ab", 2),  # one syllable in three letters
        ("a\u0301\u0301\u0301\u0301\u0301", "a\u0301\u0301\u0301", 1),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧", 6),  # joined or not, terminals disagree
        ("👍\U0001f3fd", "👍\U0001f3fd", 4),
        ("❤\ufe0f", "❤\ufe0f", 2),
        ("\u202eevil", "\\u202eevil", 10),
        ("\x1b[2J\x07x\x9b", "\\x1b[2J\\x07x\\x9b", 16),
        ("a\nb\u2028c", "a\\nb\\u2028c", 11),
        ("\ud83d", "\\ud83d", 6),
        ("שלום!\u200f", "שלום!\u200f", 5),
        ("Apple\xa0TV \uf8ff", "Apple\xa0TV \uf8ff", 10),
        ("\U0003fffe", "?", 1),
        ("\u0301x", "x", 1),
        ("", "", 0),
    ],
)
def test_letters(text, shown, width):
    assert clean(text) == shown
    assert cells(shown) == width


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("Harbour Lights", 14, "Harbour Lights"),
        ("Harbour Lights", 13, "Harbour Li..."),
        ("茶の湯茶の湯", 12, "茶の湯茶の湯"),
        ("茶の湯茶の湯", 11, "茶の湯茶..."),
        ("茶の湯茶の湯", 10, "茶の湯..."),
        ("茶の湯", 5, "茶の"),
        ("茶の湯", 1, ""),
        ("Cafe\u0301 Cafe\u0301", 7, "Cafe\u0301..."),
        ("abc", 0, ""),
    ],
)
def test_fit(text, width, shown):
    assert fit(text, width) == shown
    assert cells(shown) <= width


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (["a", "ü", "茶"], ["a", "ü", "茶"]),
        (["\x1b"], ["escape"]),
        (["\x1b", "\x1b"], ["escape", "escape"]),
        (["\n", "\r", "\x7f", "\b", " ", "\x04"],
         ["enter", "enter", "backspace", "backspace", "space", "end"]),
        (["\x1b", "[", "1", ";", "5", "A", "x"], ["x"]),  # ctrl and an arrow
        (["\x1b", "O", "P"], []),
        ([*"\x1b[A\x1bOB\x1b[C\x1bOD"], ["up", "down", "right", "left"]),
        (["\x1b", "x"], []),  # alt
        (["\x1b", "[", "1"], []),
        ([999999], []),
        ([], []),
    ],
)  # fmt: skip
def test_keys(typed, keys):
    pytest.importorskip("curses")
    assert keys_of(typed) == keys


def test_keys_of_curses():
    curses = pytest.importorskip("curses")
    assert keys_of([getattr(curses, name) for name in CODES]) == list(CODES.values())


def test_no_key_means_two_things():
    names = [key for keys, *_ in KEYS for key in keys.split()]
    assert len(names) == len(set(names))
    assert not {*names} & {"q", "t", "?"}
