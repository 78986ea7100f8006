"""Text that comes from the network, or from files of others, and is not for a terminal to obey."""


def printable(text: str, keep: str = "") -> str:
    r"""`text` with what a terminal would obey as escapes: ``\x1b``, ``\u202e``.

    That is control characters (C0, DEL, C1), line and paragraph separators, embeddings, overrides
    and isolates of bidirectional text, which may show a name as another one, and halves of
    characters, which cannot be encoded. All else stays: spaces of every width, joiners in emoji,
    the marks of Hebrew and Arabic (LRM, RLM), and what this Python does not know yet.

    Args:
        text: Any text.
        keep: Those that are the program's own; a line break, where a text has lines.
    """
    if text.isprintable():
        return text
    return "".join(repr(one)[1:-1] if _is_obeyed(one) and one not in keep else one for one in text)


def on_one_line(text: str) -> str:
    """`text` without line breaks, and with one space where several were.

    Not by ``split()``, which takes a no-break space in a name for one of ours.
    """
    import re

    return re.sub("[ \t\r\n]+", " ", text).strip(" ")


def _is_obeyed(char: str) -> bool:
    return (
        char < " "
        or "\x7f" <= char <= "\x9f"
        or "\u2028" <= char <= "\u202e"  # two separators, embeddings, overrides
        or "\u2066" <= char <= "\u2069"  # isolates
        or "\ud800" <= char <= "\udfff"
    )
