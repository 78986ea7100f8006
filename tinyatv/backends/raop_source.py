"""What is streamed: WAV files and raw samples, from a path, bytes, or anything that can be read.

Whatever comes in, 16-bit big-endian stereo goes out, as it is sent.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any, Callable

from ..wire.raop_codes import FRAMES, RATE

if TYPE_CHECKING:
    from typing import BinaryIO, Union

    Source = Union[str, os.PathLike[str], bytes, bytearray, memoryview, BinaryIO]

FRAME = 4  # bytes of one that goes out
PACKET = FRAMES * FRAME
CHUNK_LIMIT = 1 << 20  # bytes of a chunk that we read; beside the samples, real ones have 40
SKIP = 1 << 16
UNKNOWN = (0, 0xFFFFFFFF, 0x7FFFFFFF)  # lengths that writers to a pipe give
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # formats of a WAV file (RFC 2361)
RAW_HINT = (
    "raw samples (16 bits, little endian, stereo, 44100 Hz) have to be announced as such: raw=True"
)

Converter = Callable[[bytes], bytes]


class Sound:
    """Samples to be read, one packet at a time.

    Args:
        file: Where they come from.
        closes: True to close it at the end.
        raw: True if there is no header: 16 bits, little endian, stereo, 44100 Hz.

    Attributes:
        frames: How many there are; None if that is not known.

    Raises:
        ValueError: It is something that cannot be streamed.
        OSError: It cannot be read.
    """

    def __init__(self, file: Any, closes: bool, raw: bool) -> None:
        self._file = file
        self._closes = closes
        self.frames: int | None = None
        self._left: int | None = None  # bytes of samples
        self._size, self._mono = FRAME, False
        self._convert: Converter = _from_16
        if not raw:
            self._read_head()

    @property
    def duration(self) -> float:
        """Seconds; 0 if that is not known."""
        return (self.frames or 0) / RATE

    def read(self) -> bytes:
        """The next packet of 352 frames, the last one filled up with silence; b"" at the end."""
        want = FRAMES * self._size
        if self._left is not None:
            want = min(want, self._left)
        data = self._exactly(want)
        if self._left is not None:
            self._left -= len(data)
        data = data[: len(data) // self._size * self._size]
        samples = self._convert(data)
        if self._mono:
            stereo = bytearray(2 * len(samples))
            for at in range(4):
                stereo[at::4] = samples[at % 2 :: 2]
            samples = bytes(stereo)
        return samples + bytes(PACKET - len(samples)) if samples else b""

    def close(self) -> None:
        """Close the file, if it is ours."""
        if self._closes:
            self._file.close()

    def _exactly(self, size: int) -> bytes:
        """That many bytes; fewer at the end only, whatever a pipe gives at once."""
        parts, missing = [], size
        while missing > 0:
            part = self._file.read(missing)
            if not part:
                break
            if not isinstance(part, (bytes, bytearray, memoryview)):
                raise ValueError("the source gives text, not bytes: open it with mode 'rb'")
            parts.append(bytes(part))
            missing -= len(part)
        return b"".join(parts)

    def _read_head(self) -> None:
        head = self._exactly(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            what = "empty" if not head else "not a WAV file"
            raise ValueError(f"the source is {what}; {RAW_HINT}")
        form: bytes | None = None
        while True:
            start = self._exactly(8)
            if len(start) < 8:
                raise ValueError("a WAV file without samples")
            kind, size = start[:4], int.from_bytes(start[4:], "little")
            if kind == b"data":
                break
            if kind == b"fmt ":
                if size > CHUNK_LIMIT:
                    raise ValueError("a WAV file with a damaged header")
                form = self._exactly(size + size % 2)
            else:
                self._skip(size + size % 2)
        if form is None or len(form) < 16:
            raise ValueError("a WAV file that does not say what is in it")
        self._apply(form)
        if head[:4] == b"RIFF" and size not in UNKNOWN:
            self._left = size
            self.frames = size // self._size

    def _skip(self, size: int) -> None:
        while size > 0:
            part = self._exactly(min(size, SKIP))
            if not part:
                raise ValueError("a WAV file without samples")
            size -= len(part)

    def _apply(self, form: bytes) -> None:
        kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", form[:16])
        if kind == EXTENSIBLE and len(form) >= 26:
            kind = int.from_bytes(form[24:26], "little")
        convert = CONVERTERS.get((kind, bits))
        if convert is None:
            coded = "" if kind in (PCM, FLOAT) else f", coding {kind:#x}"
            raise ValueError(f"samples of {bits} bits{coded}: convert them to 16 bits")
        if channels not in (1, 2):
            raise ValueError(f"{channels} channels: only mono and stereo can be streamed")
        if rate != RATE:
            raise ValueError(f"a sample rate of {rate} Hz: convert it to {RATE} Hz")
        self._convert, self._mono = convert, channels == 1
        self._size = channels * bits // 8


def open_sound(source: Source, raw: bool = False) -> Sound:
    """Open what is to be streamed.

    Args:
        source: Path of a file, the content of one, or something with ``read``; ``"-"`` is standard
            input.
        raw: True for samples without a header.

    Raises:
        ValueError: It is something that cannot be streamed.
        OSError: It cannot be read.
    """
    import io

    file: Any
    closes = True
    if isinstance(source, (bytes, bytearray, memoryview)):
        file = io.BytesIO(source)
    elif callable(getattr(source, "read", None)):
        file, closes = source, False
    elif source == "-":
        import sys

        if sys.stdin is None:
            raise ValueError("there is no standard input")
        file, closes = sys.stdin.buffer, False
    elif isinstance(source, (str, os.PathLike)):
        file = open(source, "rb")  # noqa: SIM115  # Sound closes it
    else:
        raise ValueError(f"not a file, its content, or something to read: {type(source).__name__}")
    try:
        return Sound(file, closes, raw)
    except BaseException:
        if closes:
            file.close()
        raise


# -- samples, from what a file has to big-endian 16 bits ------------------------------------------


def _from_8(data: bytes) -> bytes:
    samples = bytearray(2 * len(data))
    samples[0::2] = data.translate(_SIGNED)  # only these have no sign
    return bytes(samples)


def _from_16(data: bytes) -> bytes:
    return _top(data, 2)


def _from_24(data: bytes) -> bytes:
    return _top(data, 3)


def _from_32(data: bytes) -> bytes:
    return _top(data, 4)


def _top(data: bytes, size: int) -> bytes:
    """The two highest bytes of each sample, the highest first."""
    samples = bytearray(len(data) // size * 2)
    samples[0::2] = data[size - 1 :: size]
    samples[1::2] = data[size - 2 :: size]
    return bytes(samples)


def _from_float(data: bytes) -> bytes:
    return _floats(struct.unpack(f"<{len(data) // 4}f", data))


def _from_double(data: bytes) -> bytes:
    return _floats(struct.unpack(f"<{len(data) // 8}d", data))


def _floats(values: tuple[float, ...]) -> bytes:
    whole = (
        round(max(-32768.0, min(32767.0, value * 32768.0))) if value == value else 0
        for value in values
    )
    return struct.pack(f">{len(values)}h", *whole)


_SIGNED = bytes(value ^ 0x80 for value in range(256))
CONVERTERS: dict[tuple[int, int], Converter] = {  # format, bits: how
    (PCM, 8): _from_8,
    (PCM, 16): _from_16,
    (PCM, 24): _from_24,
    (PCM, 32): _from_32,
    (FLOAT, 32): _from_float,
    (FLOAT, 64): _from_double,
}
