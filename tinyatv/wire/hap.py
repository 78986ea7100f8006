"""Blocks of an encrypted AirPlay connection, with another wire inside them.

    +---------------------------+------------------------+---------+
    | length: 2, little, clear  | sealed: length bytes   | tag: 16 |  ...
    +---------------------------+------------------------+---------+

What is sealed is a stream: a message may take many blocks, and a block may hold the end of one
message and the beginning of the next. The length is authenticated together with the block. The
nonce is the number of the block in its direction: 4 zero bytes, then 8 bytes, little-endian. Before
there is a cipher, bytes pass through unchanged. AirPlay 2 has this from Apple's HomeKit Accessory
Protocol over IP.
"""

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Cipher(Protocol):
        """Both directions of a connection; see ``crypto/chacha20poly1305.py``."""

        def seal(self, data: bytes, aad: bytes) -> bytes: ...
        def open(self, data: bytes, aad: bytes) -> bytes: ...
        def prepare(self) -> "bool | None": ...

    class Inner(Protocol):
        """A wire that can give back what it has not used."""

        def encode(self, message: Any) -> bytes: ...
        def feed(self, data: bytes) -> None: ...
        def next_message(self) -> Any: ...
        def pending_replies(self) -> bytes: ...
        def key(self, message: Any) -> Any: ...
        def unused(self) -> bytes: ...


BLOCK = 1024  # bytes sealed at once, the limit of HAP; up to 65535 are accepted
LENGTH = 2
TAG = 16


class HapWire:
    """One connection, either end.

    Args:
        inner: Turns messages into bytes and back.

    Attributes:
        has_replies: False if the inner wire never has to reply by itself.
    """

    def __init__(self, inner: "Inner") -> None:
        self.has_replies = getattr(inner, "has_replies", True)
        self._inner = inner
        self._cipher: "Cipher | None" = None
        self._buffer = bytearray()
        self._start = 0

    def encode(self, message: "Any") -> bytes:
        """Turn a message and pending replies into bytes, sealed once there is a cipher."""
        data = self._inner.encode(message)
        return self._seal(data + self._inner.pending_replies() if self.has_replies else data)

    def encode_all(self, messages: "Any") -> bytes:
        """The same for several at once: they take fewer blocks than one after the other."""
        data = b"".join([self._inner.encode(message) for message in messages])
        return self._seal(data + self._inner.pending_replies() if self.has_replies else data)

    def feed(self, data: bytes) -> None:
        """Store received bytes."""
        if self._cipher is None:
            self._inner.feed(data)
            return
        if self._start:
            self._buffer = self._buffer[self._start :]
            self._start = 0
        self._buffer += data

    def next_message(self) -> "Any":
        """Return the next message, or None until more bytes are fed.

        Raises:
            ValueError: A block that was not sealed with our keys and in order, after which none
                opens any more; or what the inner wire refuses.
        """
        message = self._inner.next_message()
        while message is None and self._cipher is not None:
            # One block at a time: a message in it may bring the keys for the next one.
            block = self._next_block(self._cipher)
            if block is None:
                return None
            self._inner.feed(block)
            message = self._inner.next_message()
        return message

    def key(self, message: "Any") -> "Any":
        """What matches a message with its reply, or None."""
        return self._inner.key(message)

    def pending_replies(self) -> bytes:
        """Replies of the inner wire, sealed: they must leave before whatever is sealed later."""
        return self._seal(self._inner.pending_replies())

    def secure(self, cipher: "Cipher") -> None:
        """From here on, seal and open with `cipher`, which counts both directions itself.

        Bytes that arrived behind the last message and are still unused are treated as sealed.
        """
        if self._cipher is None:
            self._buffer += self._inner.unused()
        self._cipher = cipher

    def prepare(self) -> "bool | None":
        """Let the cipher work ahead; False if there is nothing to do now, None if never."""
        return self._cipher is not None and self._cipher.prepare()

    def _seal(self, data: bytes) -> bytes:
        if self._cipher is None or not data:
            return data
        if len(data) <= BLOCK:
            length = len(data).to_bytes(LENGTH, "little")
            return length + self._cipher.seal(data, length)
        blocks = []
        for at in range(0, len(data), BLOCK):
            piece = data[at : at + BLOCK]
            length = len(piece).to_bytes(LENGTH, "little")
            blocks.append(length)
            blocks.append(self._cipher.seal(piece, length))
        return b"".join(blocks)

    def _next_block(self, cipher: "Cipher") -> "bytes | None":
        start = self._start + LENGTH
        if len(self._buffer) < start:
            return None
        length = bytes(self._buffer[self._start : start])
        end = start + int.from_bytes(length, "little") + TAG
        if len(self._buffer) < end:
            return None
        block = cipher.open(bytes(self._buffer[start:end]), length)
        # Only once it was opened: the stream must not continue behind a gap.
        self._start = end
        return block
