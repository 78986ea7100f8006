"""What is shown of a text that a terminal would obey."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from tinyatv.text import printable

OBEYED = {
    "escape": ("\x1b[2J", r"\x1b[2J"),
    "title": ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
    "nul": ("a\0b", r"a\x00b"),
    "delete": ("a\x7f", r"a\x7f"),
    "CSI in one": ("\x9b2J", r"\x9b2J"),
    "OSC in one": ("\x9d0;x\x9c", r"\x9d0;x\x9c"),
    "next line": ("a\x85b", r"a\x85b"),
    "lines": ("a\r\nb\tc\vd\fe", r"a\r\nb\tc\x0bd\x0ce"),
    "separators": ("a\u2028b\u2029c\x1cd", r"a\u2028b\u2029c\x1cd"),
    "embedding": ("\u202aa\u202bb\u202c", r"\u202aa\u202bb\u202c"),
    "override": ("\u202dgnp\u202e.exe", r"\u202dgnp\u202e.exe"),
    "isolates": ("\u2066a\u2067b\u2068c\u2069", r"\u2066a\u2067b\u2068c\u2069"),
    "halves": ("\ud83d \udfff", r"\ud83d \udfff"),
}

SHOWN = {
    "empty": "",
    "plain": "Living Room",
    "accents": "Dén – Küche",
    "no-break space": "Apple\xa0TV",  # as Apple writes it
    "other spaces": "a\u2009b\u202fc\u3000d",
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "heart": "\u2764\ufe0f\u200d\U0001f525",
    "skin": "\U0001f44d\U0001f3fd",
    "flag of England": "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "Hebrew with RLM": "\u05e9\u05dc\u05d5\u05dd!\u200f",
    "LRM": "a\u200eb",
    "Persian with ZWNJ": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "Apple's logo": "\uf8ff TV",
    "soft hyphen": "a\xadb",
    "backslash": r"C:\x1b",
}


@pytest.mark.parametrize(("text", "expect"), OBEYED.values(), ids=OBEYED)
def test_what_a_terminal_obeys(text, expect):
    assert printable(text) == expect
    assert printable(expect) == expect
    expect.encode()


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_what_stays(text):
    assert printable(text) == text


def test_lines_of_our_own():
    assert printable("a\r\nb\tc\n", keep="\n") == "a\\r\nb\\tc\n"


def test_every_character():
    """By its category, as Unicode has them: controls, separators, halves, and the bidi controls."""
    bidi = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        obeyed = unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") or code in bidi
        shown = printable(char)
        assert (shown != char) is obeyed, hex(code)
        assert shown.isascii() or not obeyed
