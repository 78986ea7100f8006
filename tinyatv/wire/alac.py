"""Frames of Apple Lossless that are not compressed: a string of bits, the highest first.

    001 | 0000 | 12 x 0 | p | 00 | 1 | [count: 32] | left: 16 | right: 16 | ... | 111 | 0 ...
     |                    |        |    if p is 1                                 |     to a byte
     stereo (000: mono)   |        not compressed                                end
                          the count of frames stands here; else it is that of the SDP

The samples begin in the last bit of a byte, so the whole is shifted: one big number does that at
once. Source: the reference decoder (github.com/macosforge/alac), as far as this needs it.
"""

_HEAD = 0x100001  # the first 23 bits of a stereo frame
_PARTIAL = 1 << 3
_HEAD_BITS, _COUNT_BITS, _END_BITS = 23, 32, 3
_END = 7
SAMPLE_BITS = 16


def pack(samples: bytes, partial: bool = False) -> bytes:
    """Return a stereo frame.

    Args:
        samples: 16 bits each, big endian, left and right in turn.
        partial: True to write down how many there are.
    """
    bits = 8 * len(samples)
    number = int.from_bytes(samples, "big")
    if partial:
        count = len(samples) // 4
        head = ((_HEAD | _PARTIAL) << _COUNT_BITS | count) << bits
        return ((head | number) << _END_BITS + 6 | _END << 6).to_bytes(len(samples) + 8, "big")
    return ((_HEAD << bits | number) << _END_BITS + 6 | _END << 6).to_bytes(len(samples) + 4, "big")


def unpack(data: bytes, frames: int) -> "bytes | None":
    """Return the samples of a frame as :func:`pack` takes them; None if it is compressed.

    The end need not be there: some senders cut it.

    Args:
        data: The frame.
        frames: How many it has at most, and if it does not say so itself.

    Raises:
        ValueError: Cut short, or neither stereo nor mono.
    """
    size = 8 * len(data)
    if size < _HEAD_BITS:
        raise ValueError(f"a frame of {len(data)} bytes")
    start = int.from_bytes(data[:3], "big") >> 1
    element = start >> 20
    if element > 1:
        raise ValueError(f"element {element} is no sound")
    if not start & 1:
        return None
    if start >> 1 & 3:
        raise ValueError("samples are shifted")
    used = _HEAD_BITS
    if start & _PARTIAL:
        used += _COUNT_BITS
        if size < used:
            raise ValueError(f"a frame of {len(data)} bytes")
        count = int.from_bytes(data[:7], "big") >> 1 & 0xFFFFFFFF
        if count > frames:
            raise ValueError(f"{count} frames where {frames} are the most")
        frames = count
    channels = element + 1
    bits = frames * channels * SAMPLE_BITS
    if size < used + bits:
        raise ValueError(f"a frame of {len(data)} bytes is cut short")
    number = int.from_bytes(data, "big") >> size - used - bits & (1 << bits) - 1
    samples = number.to_bytes(bits // 8, "big")
    if channels == 1:
        samples = b"".join([samples[at : at + 2] * 2 for at in range(0, len(samples), 2)])
    return samples
