"""MRP frames.

    +---------------------------------+------------------------------------------+
    | length: varint, never encrypted | message, sealed once there is a cipher   |
    +---------------------------------+------------------------------------------+

The length counts what follows it: for a sealed message, that includes the tag of 16 bytes. One
frame is one message. Nothing separates frames, and a TCP segment may end anywhere, even inside the
length. A frame of length 0 is an empty message and harmless. The nonce is the number of the message
in its direction, from 0 (direct connections, tvOS 9 to 14; later systems use the tunnel, see
``datastream.py``).
"""

from . import varint

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol

    class Cipher(Protocol):
        """Both directions of a connection; see ``crypto/chacha20poly1305.py``."""

        def seal(self, data: bytes) -> bytes: ...
        def open(self, data: bytes) -> bytes: ...
        def prepare(self) -> "bool | None": ...


FIRST_LIMIT = 64 * 1024  # bytes; ours, for a peer that has not authenticated yet
OPEN_LIMIT = (
    1024 * 1024
)  # bytes; where neither end can prove anything; larger images come in pieces
LIMIT = 16 * 1024 * 1024  # bytes; ours: artwork comes in one piece


class MrpWire:
    """One connection, either end.

    Args:
        dumps: Turns a message into bytes.
        loads: Turns bytes into a message; ValueError if they make no sense.
        key: What matches a message with its reply, or None.

    Attributes:
        limit: Largest frame that is accepted, in bytes.
    """

    has_replies = False  # see pending_replies()

    def __init__(
        self,
        dumps: "Callable[[Any], bytes]",
        loads: "Callable[[bytes], Any]",
        key: "Callable[[Any], Any]",
    ) -> None:
        self._dumps = dumps
        self._loads = loads
        self.key = key
        self.limit = FIRST_LIMIT
        self._cipher: "Cipher | None" = None
        self._buffer = bytearray()
        self._start = 0

    def encode(self, message: "Any") -> bytes:
        """Turn a message into a frame."""
        body = self._dumps(message)
        if self._cipher is not None:
            body = self._cipher.seal(body)
        length = len(body)
        return (bytes((length,)) if length < 128 else varint.encode(length)) + body

    def feed(self, data: bytes) -> None:
        """Store received bytes."""
        if self._start:
            self._buffer = self._buffer[self._start :]
            self._start = 0
        self._buffer += data

    def next_message(self) -> "Any":
        """Return the next message, or None until more bytes are fed.

        Raises:
            ValueError: Too large, not sealed with our keys and in order, or not a message.
        """
        if self._start == len(self._buffer):
            return None  # as after nearly every message
        prefix = varint.decode(self._buffer, self._start)
        if prefix is None:
            return None
        length, start = prefix
        if length > self.limit:
            raise ValueError(f"a frame of {length} bytes, more than {self.limit}")
        end = start + length
        if len(self._buffer) < end:
            return None
        body = bytes(memoryview(self._buffer)[start:end])
        self._start = end
        if self._cipher is not None:
            body = self._cipher.open(body)
        return self._loads(body)

    def pending_replies(self) -> bytes:
        """Nothing: only the owner of the connection replies to messages."""
        return b""

    def secure(self, cipher: "Cipher") -> None:
        """From here on, seal and open with `cipher`, which counts both directions itself."""
        self._cipher = cipher
        self.limit = LIMIT

    def prepare(self) -> "bool | None":
        """Let the cipher work ahead; False if there is nothing to do now, None if never."""
        return self._cipher is not None and self._cipher.prepare()
