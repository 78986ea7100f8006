"""HTTP and RTSP messages, both directions.

    request                                   response
    +--------------------------------+        +--------------------------------+
    | method SP path SP protocol CRLF|        | protocol SP code SP reason CRLF|
    | name: value CRLF  ...          |        | name: value CRLF  ...          |
    | CRLF                           |        | CRLF                           |
    | body: Content-Length bytes, or |        | body: likewise; none after     |
    | chunks                         |        | 1xx, 204 and 304               |
    +--------------------------------+        +--------------------------------+

A message without length or chunks has no body, although RFC 9112 section 6.3 lets the body of a
response last until the connection closes: Apple TVs always send a length, and keep connections
open. HTTP/1.1 and RTSP/1.0 requests are mixed on one AirPlay connection; an error response may
begin with HTTP/1.1 even when the request was RTSP (airplay receivers of Apple, all systems).
"""

import io

HEAD_LIMIT = 65536  # bytes; ours
BODY_LIMIT = 16 * 1024 * 1024  # bytes; ours
FIRST_LIMIT = 1024 * 1024  # bytes of a body; ours, for a peer that has not proved who it is
HEADERS = 256  # of a message
CHUNKS = 65536  # of a body
PIECE = 4096  # bytes; what arrives in smaller pieces is joined at once
GZIP = 16 + 15  # wbits of zlib: gzip, with the largest window


class _Message:
    headers = []  # type: list[tuple[str, str]]
    body = b""
    interim = False  # True for a response that only announces another one: 100 Continue

    def header(self, name: str) -> "str | None":
        """Return the first header of that name, whatever its case, or None."""
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None

    def plain(self, limit: int = BODY_LIMIT) -> bytes:
        """The body, decompressed; not on MicroPython.

        Args:
            limit: Bytes that it may have.

        Raises:
            ValueError: Damaged, cut short, or larger than that.
        """
        if self.header("Content-Encoding") != "gzip" or not self.body:
            return self.body
        import zlib

        unpack = zlib.decompressobj(GZIP)
        try:
            body = unpack.decompress(self.body, limit)
        except zlib.error as exc:
            raise ValueError(f"damaged compression: {exc}") from exc
        if not unpack.eof:
            problem = "too large" if unpack.unconsumed_tail else "cut short"
            raise ValueError(f"compressed answer is {problem}")
        return body


class Request(_Message):
    """A request.

    Args:
        method: ``GET``, ``POST``, ``SETUP`` ...
        path: As it stands on the wire, query included.
        headers: Pairs; order is kept.
        body: Payload.
        protocol: ``HTTP/1.1`` or ``RTSP/1.0``.
    """

    def __init__(
        self,
        method: str,
        path: str,
        headers: "list[tuple[str, str]] | None" = None,
        body: bytes = b"",
        protocol: str = "HTTP/1.1",
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers or []
        self.body = body
        self.protocol = protocol

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path.split('?')[0]}, {len(self.body)} bytes)"


class Response(_Message):
    """A response.

    Args:
        code: Status.
        reason: Text behind it; empty takes the usual one.
        headers: Pairs; order is kept.
        body: Payload.
        protocol: ``HTTP/1.1`` or ``RTSP/1.0``.
    """

    def __init__(
        self,
        code: int,
        reason: str = "",
        headers: "list[tuple[str, str]] | None" = None,
        body: bytes = b"",
        protocol: str = "HTTP/1.1",
    ) -> None:
        self.code = code
        self.interim = 100 <= code < 200 and code != 101  # 101 is the last one of its kind
        self.reason = reason or REASONS.get(code, "Unknown")
        self.headers = headers or []
        self.body = body
        self.protocol = protocol

    def __repr__(self) -> str:
        return f"Response({self.code} {self.reason}, {len(self.body)} bytes)"


REASONS = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Range Not Satisfiable",
    453: "Not Enough Bandwidth",
    455: "Method Not Valid In This State",
    470: "Connection Authorization Required",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class HttpWire:
    """Turns a byte stream into requests and responses, and back.

    Attributes:
        limit: Largest body that is accepted, in bytes.
    """

    has_replies = False  # see pending_replies()

    def __init__(self, limit: int = BODY_LIMIT) -> None:
        self.limit = limit
        self._buffer = b""
        self._at = 0  # index in the buffer of the next item
        self._parts = []  # type: list[bytes]  # fed, but not joined to the buffer yet
        self._size = 0  # bytes in them
        self._broken = False  # there is a line break in them
        self._need = 1  # bytes to wait for; 0 waits for a line break
        self._seen = 0  # bytes of the item that were searched for its end
        self._head = None  # type: Request | Response | None
        self._length = 0  # of the body; -1 for chunks
        self._body = io.BytesIO()  # what has come of the body
        self._missing = 0  # bytes of it, or of the chunk, that have not
        self._chunks = 0  # how many there were
        self._chunked = 0  # bytes in them
        self._chunk = -1  # size of the one that comes; -1 before its line
        self._last = False  # the last chunk is here, its trailer is not
        self._trailer = 0  # bytes in it

    def feed(self, data: bytes) -> None:
        """Store received bytes."""
        if self._parts and len(self._parts[-1]) < PIECE:
            self._parts[-1] += data  # a piece of one byte would take forty
        else:
            self._parts.append(data)
        self._size += len(data)
        if b"\n" in data:
            self._broken = True

    def pending_replies(self) -> bytes:
        """Nothing: in HTTP, only the owner of the connection replies."""
        return b""

    def key(self, message: "Request | Response") -> None:
        """None: replies come in order."""
        return None

    def unused(self) -> bytes:
        """Take back what was fed behind the last message: encryption begins there.

        Raises:
            ValueError: A part of it is used already.
        """
        if self._head is not None:
            raise ValueError("encryption begins inside a message")
        data = b"".join([self._buffer[self._at :]] + self._parts)
        self._buffer = b""
        self._at = 0
        self._parts = []
        self._size = 0
        self._broken = False
        self._need = 1
        self._seen = 0
        return data

    def next_message(self) -> "Request | Response | None":
        """Return the next message, or None until more is fed.

        Raises:
            ValueError: Malformed or too large.
        """
        if self._head is None:
            if not self._join():
                return None
            # Detected at the first byte: garbage may never contain the end of a head.
            if self._at < len(self._buffer) and not 65 <= self._buffer[self._at] <= 90:  # A to Z
                raise ValueError("not a message: it does not begin with a method or protocol")
            text = self._until(b"\r\n\r\n", "head of the message")
            if text is None:
                return None
            self._head = _head(_text(text))
            self._length = self._missing = _body_length(self._head, self.limit)
        if self._length < 0:
            whole = self._next_chunks()
        else:
            self._pour()
            whole = not self._missing
        if not whole:
            return None
        head = self._head
        if self._length:
            head.body = self._body.getvalue()
            self._body = io.BytesIO()
        self._head = None
        return head

    def _join(self) -> bool:
        """Join what was fed to the buffer; False if that cannot complete anything yet.

        Joining each part on arrival would take quadratic time.
        """
        if self._parts:
            waiting = len(self._buffer) - self._at + self._size
            if self._need:
                if waiting < self._need:
                    return False
            elif not self._broken and waiting <= HEAD_LIMIT:
                return False
            self._buffer = b"".join([self._buffer[self._at :]] + self._parts)
            self._at = 0
            self._parts = []
            self._size = 0
            self._broken = False
        return True

    def _until(self, mark: bytes, what: str) -> "bytes | None":
        """Take the bytes up to a mark, and the mark; None until it is there."""
        end = self._buffer.find(mark, self._at + self._seen)
        found = end if end >= 0 else len(self._buffer) + self._size
        if found - self._at > HEAD_LIMIT:
            raise ValueError(f"{what} is over {HEAD_LIMIT} bytes")
        if end < 0:
            self._seen = max(0, len(self._buffer) - self._at - len(mark) + 1)
            self._need = 0 if self._at < len(self._buffer) else 1  # the first byte is looked at
            return None
        data = self._buffer[self._at : end]
        self._at = end + len(mark)
        self._seen = 0
        self._need = 1
        return data

    def _pour(self) -> None:
        """Move what has come of the missing bytes to the body, so that they are kept once."""
        end = self._at + self._missing
        if end <= len(self._buffer):
            self._body.write(self._buffer[self._at : end])
            self._at = end
            self._missing = 0
            return
        parts = [self._buffer[self._at :]] + self._parts
        self._buffer = b""
        self._at = 0
        self._parts = []
        self._size = 0
        self._broken = False
        for part in parts:
            taken = min(len(part), self._missing)
            self._body.write(part[:taken])
            self._missing -= taken
            if taken < len(part):
                self.feed(part[taken:])

    def _next_chunks(self) -> bool:
        """Collect chunks; True once the last one and its trailer have arrived."""
        while not self._last:
            if self._chunk < 0:
                line = self._line("line before a chunk")
                if line is None:
                    return False
                self._chunk = self._missing = _number(_text(line.split(b";")[0]).strip(), 16)
                self._chunks += 1
                self._chunked += self._chunk
                if self._chunked > self.limit:
                    raise ValueError(f"body is over {self.limit} bytes")
                if self._chunks > CHUNKS:
                    raise ValueError(f"body is in over {CHUNKS} chunks")
            if self._chunk == 0:
                self._last = True
            else:
                self._pour()
                if self._missing:
                    return False
                self._need = 2
                if not self._join():
                    return False
                if len(self._buffer) < self._at + 2:
                    return False
                if self._buffer[self._at : self._at + 2] != b"\r\n":
                    raise ValueError(f"chunk is not {self._chunk} bytes long")
                self._at += 2
                self._need = 1
            self._chunk = -1
        while self._last:  # the trailer: lines, the last of them empty
            line = self._line("trailer")
            if line is None:
                return False
            self._trailer += len(line)
            if self._trailer > HEAD_LIMIT:
                raise ValueError(f"trailer is over {HEAD_LIMIT} bytes")
            self._last = line != b""
        self._chunks = self._chunked = self._trailer = 0
        return True

    def _line(self, what: str) -> "bytes | None":
        return self._until(b"\r\n", what) if self._join() else None

    def encode(self, message: "Request | Response") -> bytes:
        """Return the bytes of a message; Content-Length is added where one is expected.

        Raises:
            ValueError: A line break inside a header.
        """
        if isinstance(message, Request):
            lines = [f"{message.method} {message.path} {message.protocol}"]
            barred = message.method in ("GET", "HEAD") and not message.body
        else:
            lines = [f"{message.protocol} {message.code} {message.reason}"]
            barred = message.code < 200 or message.code in (204, 304)
        chunked = False
        for name, value in message.headers:
            lines.append(f"{name}: {value}")
            lowered = name.lower()
            if lowered == "content-length":
                barred = True
            elif lowered == "transfer-encoding":
                barred = chunked = True
        body = message.body
        if chunked:
            if body:
                body = b"%x\r\n" % len(body) + body + b"\r\n"
            body = body + b"0\r\n\r\n"
        elif not barred:
            lines.append(f"Content-Length: {len(body)}")
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ValueError("line break inside a header")
        return text.encode() + b"\r\n\r\n" + body


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except ValueError:
        raise ValueError("a line of the message is not text") from None


def _head(text: str) -> "Request | Response":
    lines = text.split("\r\n")
    if len(lines) > HEADERS:
        raise ValueError(f"more than {HEADERS} headers")
    for line in lines:
        if [char for char in line if char < " " and char != "\t"]:
            raise ValueError(f"control character in a line: {line[:60]!r}")
    words = lines[0].split(" ", 2)
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError(f"not a header: {line[:60]!r}")
        headers.append((name, value.strip()))
    if words[0].startswith(("HTTP/", "RTSP/")) and len(words) > 1:
        reason = words[2] if len(words) == 3 else ""
        return Response(_number(words[1], 10), reason, headers, protocol=words[0])
    if len(words) != 3 or not words[1] or not words[2].startswith(("HTTP/", "RTSP/")):
        raise ValueError(f"not a request or a status line: {lines[0][:60]!r}")
    if " " in words[2]:
        raise ValueError(f"space in the path: {lines[0][:60]!r}")
    return Request(words[0], words[1], headers, protocol=words[2])


def _body_length(head: "Request | Response", limit: int) -> int:
    """Return how long the body is, or -1 for chunks."""
    lengths, chunked = [], False
    for name, value in head.headers:
        name = name.lower()
        if name == "content-length":
            lengths.append(_number(value, 10))
        elif name == "transfer-encoding":
            if chunked or value.lower() != "chunked":
                raise ValueError(f"unknown transfer coding {value[:60]!r}")
            chunked = True
    if len(lengths) > 1:  # request smuggling, RFC 9112 section 11.2
        raise ValueError("more than one Content-Length")
    if isinstance(head, Response) and (head.code < 200 or head.code in (204, 304)):
        return 0
    if chunked:
        return -1
    length = lengths[0] if lengths else 0
    if length > limit:
        raise ValueError(f"body of {length} bytes is over {limit}")
    return length


def _number(text: str, base: int) -> int:
    """Digits alone: int() would also take signs, spaces and underscores."""
    digits = "0123456789abcdef"[:base]
    if not text or len(text) > 16 or [c for c in text.lower() if c not in digits]:
        raise ValueError(f"not a number: {text[:20]!r}")
    return int(text, base)
