"""Companion frames.

    +---------+----------------+---------------------------------+
    | kind: 1 | length: 3, big | OPACK, sealed once keys are set |
    +---------+----------------+---------------------------------+

The length counts what follows it: for a sealed payload, that includes the tag of 16 bytes. Kind and
length are authenticated together with the payload. The nonce is the number of the sealed frame in
its direction, 12 bytes, little-endian (MRP and AirPlay have 4 zero bytes before 8). Frames without
a payload mean nothing and do not count. Frames of pairing are never sealed.
"""

from . import opack

TYPE_CHECKING = False  # MicroPython has no typing
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Cipher(Protocol):
        """Both directions of a connection; see ``crypto/chacha20poly1305.py``."""

        def seal(self, data: bytes, aad: bytes) -> bytes: ...
        def open(self, data: bytes, aad: bytes) -> bytes: ...
        def prepare(self) -> "bool | None": ...

    Frame = tuple[int, "dict[Any, Any] | None"]


NO_OP = 0x01  # without payload; ignored, and never sent: an empty frame cannot be sealed
SETUP_START, SETUP_NEXT = 0x03, 0x04  # pair-setup: M1, all others in both directions
VERIFY_START, VERIFY_NEXT = 0x05, 0x06  # pair-verify, likewise
OPACK = 0x08  # everything else

AUTH = (SETUP_START, SETUP_NEXT, VERIFY_START, VERIFY_NEXT)

EVENT, REQUEST, REPLY = 1, 2, 3  # values of _t

HEADER = 4
TAG = 16
FIRST_LIMIT = 64 * 1024  # bytes; ours, for a peer that has not authenticated yet
FIRST_OBJECTS = 1000  # in its frames; those of pairing have five
LIMIT = 0xFFFFFF  # bytes; the largest length that fits


class CompanionWire:
    """One connection, either end. A message is a pair: the kind of its frame, and a dictionary.

    Attributes:
        limit: Largest payload that is accepted, in bytes.
    """

    has_replies = False  # see pending_replies()

    def __init__(self) -> None:
        self.limit = FIRST_LIMIT
        self._objects = FIRST_OBJECTS
        self._cipher: "Cipher | None" = None
        self._buffer = bytearray()
        self._start = 0

    def encode(self, message: "Frame") -> bytes:
        """Turn a message into a frame; None instead of the dictionary makes an empty one.

        Raises:
            ValueError: Something in it that OPACK does not have, or too large.
        """
        kind, content = message
        payload = b"" if content is None else opack.pack(content)
        sealed = self._cipher is not None and payload and kind not in AUTH
        length = len(payload) + (TAG if sealed else 0)
        if length > LIMIT:
            raise ValueError(f"a frame of {length} bytes, more than {LIMIT}")
        header = bytes([kind]) + length.to_bytes(3, "big")
        if sealed:
            payload = self._cipher.seal(payload, header)  # type: ignore[union-attr]
        return header + payload

    def feed(self, data: bytes) -> None:
        """Store received bytes."""
        if self._start:
            self._buffer = self._buffer[self._start :]
            self._start = 0
        self._buffer += data

    def next_message(self) -> "tuple[int, dict[Any, Any]] | None":
        """Return the next (kind, dictionary), or None until more bytes are fed.

        Empty frames and frames of unknown kinds are skipped.

        Raises:
            ValueError: Too large, not sealed with our keys and in order, or no dictionary.
        """
        while True:
            body = self._start + HEADER
            if len(self._buffer) < body:
                return None
            header = bytes(self._buffer[self._start : body])
            kind, length = header[0], int.from_bytes(header[1:], "big")
            if length > self.limit:
                raise ValueError(f"a frame of {length} bytes, more than {self.limit}")
            end = body + length
            if len(self._buffer) < end:
                return None
            payload = bytes(self._buffer[body:end])
            self._start = end
            if not payload:
                continue
            if kind not in AUTH:
                if self._cipher is not None:
                    payload = self._cipher.open(
                        payload, header
                    )  # unknown kinds advance the nonce, too
                elif kind == OPACK:
                    raise ValueError("a sealed frame, before there are keys")
                if kind != OPACK:
                    continue
            message, _ = opack.unpack(payload, self._objects)
            if not isinstance(message, dict):
                raise ValueError("a message that is no dictionary")
            return kind, message

    def pending_replies(self) -> bytes:
        """Nothing: only the owner of the connection replies to messages."""
        return b""

    def key(self, message: "Frame") -> "Any":
        """What matches a reply with its request: ``_x``, or one key for all of a handshake.

        None for events.
        """
        kind, content = message
        if kind in AUTH:
            return "auth"  # its messages take turns
        if content is None or content.get("_t") not in (REQUEST, REPLY):
            return None
        number = content.get("_x")
        return number if isinstance(number, int) else None

    def secure(self, cipher: "Cipher") -> None:
        """From here on, seal and open with `cipher`, which counts both directions itself."""
        self._cipher = cipher
        self.limit = LIMIT
        self._objects = opack.OBJECTS

    def prepare(self) -> "bool | None":
        """Let the cipher work ahead; False if there is nothing to do now, None if never."""
        return self._cipher is not None and self._cipher.prepare()
