"""Numbers in groups of seven bits, least significant first; all but the last have bit 7 set.

This is the base 128 varint of Protocol Buffers, where 10 bytes hold 64 bits.
"""


def encode(value: int) -> bytes:
    """Turn a number of 0 or more into bytes."""
    if value < 0:
        raise ValueError(f"a varint is 0 or more, not {value}")
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    data.append(value)
    return bytes(data)


def decode(
    data: "bytes | bytearray | memoryview", start: int = 0, longest: int = 10
) -> "tuple[int, int] | None":
    """Read a number.

    Args:
        data: Bytes.
        start: Where it begins.
        longest: Bytes that it may take.

    Returns:
        (value, index behind it), or None if the data ends inside it.

    Raises:
        ValueError: It is longer than allowed.
    """
    value = shift = 0
    try:
        while shift < 7 * longest:
            byte = data[start]
            start += 1
            if byte < 128:
                return value | byte << shift, start
            value |= (byte & 127) << shift
            shift += 7
    except IndexError:
        return None
    raise ValueError(f"a varint is longer than {longest} bytes")
