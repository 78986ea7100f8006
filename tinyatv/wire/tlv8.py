"""TLV8: what pairing messages are made of.

    +--------+-----------+-------+
    | tag: 1 | length: 1 | value |  ...
    +--------+-----------+-------+

A value of more than 255 bytes is split: pieces of 255 bytes and a last one of 1 to 255, all with
the same tag, one after the other. Tag 255, length 0, separates records, and items of the same tag.
The format is from Apple's HomeKit Accessory Protocol.
"""

SEPARATOR = 255
ITEMS = 1000  # in one list; ours: pairing messages have ten, and an empty item takes 150 bytes here


def encode(items: "list[tuple[int, bytes]]") -> bytes:
    """Turn (tag, value) pairs into bytes, in their order."""
    data = bytearray()
    for tag, value in items:
        start = 0
        while True:
            piece = value[start : start + 255]
            data.append(tag)
            data.append(len(piece))
            data += piece
            start += 255
            if start >= len(value):
                break
    return bytes(data)


def decode(data: bytes) -> "list[tuple[int, bytes]]":
    """Turn bytes into (tag, value) pairs; separators are pairs, too.

    Raises:
        ValueError: The data ends inside an item, or there are more than ``ITEMS``.
    """
    items = []  # type: list[tuple[int, bytearray]]
    at = 0
    whole = False  # the piece before had 255 bytes: one of the same tag goes on with it
    while at < len(data):
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            raise ValueError("TLV8 ends inside an item")
        tag, length = data[at], data[at + 1]
        if not whole or items[-1][0] != tag:
            if len(items) == ITEMS:
                raise ValueError(f"more than {ITEMS} items of TLV8")
            items.append((tag, bytearray()))
        items[-1][1].extend(data[at + 2 : at + 2 + length])
        at += 2 + length
        whole = length == 255
    return [(tag, bytes(value)) for tag, value in items]


def records(items: "list[tuple[int, bytes]]") -> "list[list[tuple[int, bytes]]]":
    """Split items at their separators."""
    found = [[]]  # type: list[list[tuple[int, bytes]]]
    for tag, value in items:
        if tag == SEPARATOR:
            found.append([])
        else:
            found[-1].append((tag, value))
    return found
