"""HTTP and RTSP messages, both directions.

    request                                   response
    +--------------------------------+        +--------------------------------+
    | method SP path SP protocol CRLF|        | protocol SP code SP reason CRLF|
    | name: value CRLF  ...          |        | name: value CRLF  ...          |
    | CRLF                           |        | CRLF                           |
    | body: Content-Length bytes, or |        | body: likewise; none after     |
    | chunks                         |        | 1xx, 204 and 304               |
    +--------------------------------+        +--------------------------------+

A message without length or chunks has no body: everybody here keeps connections open.
"""

HEAD_LIMIT = 65536
BODY_LIMIT = 16 * 1024 * 1024


class _Message:
    headers = []  # type: list[tuple[str, str]]

    def header(self, name: str) -> "str | None":
        """Return the first header of that name, whatever its case, or None."""
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None


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
    """Cuts a byte stream into requests and responses, and makes bytes of them.

    Args:
        limit: Largest body that is accepted, in bytes.
    """

    def __init__(self, limit: int = BODY_LIMIT) -> None:
        self._buffer = b""
        self._parts = []  # type: list[bytes]
        self._waiting = 0  # bytes in them
        self._limit = limit
        self._seen = 0  # how far the end of the head has been looked for
        self._head = None  # type: Request | Response | None
        self._length = 0  # of the body; -1 for chunks
        self._chunks = []  # type: list[bytes]

    def feed(self, data: bytes) -> None:
        """Store received bytes."""
        self._parts.append(data)
        self._waiting += len(data)

    def owed(self) -> bytes:
        """Nothing: HTTP owes no bytes by itself."""
        return b""

    def key(self, message: "Request | Response") -> None:
        """None: replies come in order."""
        return None

    def next_message(self) -> "Request | Response | None":
        """Return the next message, or None until more is fed.

        Raises:
            ValueError: Malformed or too large.
        """
        if self._head is not None and len(self._buffer) + self._waiting < self._length:
            return None  # joining the parts of a long body once keeps the work linear
        if self._parts:
            self._buffer = b"".join([self._buffer] + self._parts)
            self._parts = []
            self._waiting = 0
        if self._head is None and not self._next_head():
            return None
        head = self._head
        if head is None:
            return None
        if self._length < 0:
            if not self._next_chunks():
                return None
            head.body = b"".join(self._chunks)
            self._chunks = []
        else:
            if len(self._buffer) < self._length:
                return None
            head.body = self._buffer[: self._length]
            self._buffer = self._buffer[self._length :]
        self._head = None
        return head

    def _next_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", self._seen)
        if end < 0:
            if not b"A" <= self._buffer[:1] <= b"Z" and self._buffer:
                raise ValueError("not a message: it begins with no method or protocol")
            self._seen = max(0, len(self._buffer) - 3)
            if self._seen > HEAD_LIMIT:
                raise ValueError(f"head of the message is over {HEAD_LIMIT} bytes")
            return False
        if end > HEAD_LIMIT:
            raise ValueError(f"head of the message is over {HEAD_LIMIT} bytes")
        try:
            text = self._buffer[:end].decode()
        except ValueError:
            raise ValueError("head of the message is not text") from None
        self._head = _head(text)
        self._length = _body_length(self._head, self._limit)
        self._buffer = self._buffer[end + 4 :]
        self._seen = 0
        return True

    def _next_chunks(self) -> bool:
        """Collect chunks; True once the last one and its trailer have arrived."""
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_LIMIT:
                    raise ValueError("chunk without a length")
                return False
            size = _number(self._buffer[:end].split(b";")[0].strip().decode(), 16)
            if sum([len(c) for c in self._chunks]) + size > self._limit:
                raise ValueError(f"body is over {self._limit} bytes")
            after = end + 2 + size + 2
            if size == 0:
                trailer = self._buffer[end:].find(b"\r\n\r\n")
                if trailer < 0:
                    if len(self._buffer) > HEAD_LIMIT:
                        raise ValueError(f"trailer is over {HEAD_LIMIT} bytes")
                    return False
                self._buffer = self._buffer[end + trailer + 4 :]
                return True
            if len(self._buffer) < after:
                return False
            if self._buffer[after - 2 : after] != b"\r\n":
                raise ValueError(f"chunk is not {size} bytes long")
            self._chunks.append(self._buffer[end + 2 : after - 2])
            self._buffer = self._buffer[after:]

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


def _head(text: str) -> "Request | Response":
    lines = text.split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2:
        raise ValueError(f"not a request or a status line: {lines[0][:60]!r}")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError(f"not a header: {line[:60]!r}")
        headers.append((name, value.strip()))
    if words[0].startswith(("HTTP/", "RTSP/")):
        reason = words[2] if len(words) == 3 else ""
        return Response(_number(words[1], 10), reason, headers, protocol=words[0])
    if len(words) != 3 or not words[2].startswith(("HTTP/", "RTSP/")):
        raise ValueError(f"not a request line: {lines[0][:60]!r}")
    return Request(words[0], words[1], headers, protocol=words[2])


def _bodiless(message: "Request | Response") -> bool:
    return isinstance(message, Response) and (message.code < 200 or message.code in (204, 304))


def _body_length(head: "Request | Response", limit: int) -> int:
    """Return how long the body is, or -1 for chunks."""
    if _bodiless(head):
        return 0
    if "chunked" in (head.header("Transfer-Encoding") or "").lower():
        return -1
    text = head.header("Content-Length")
    length = 0 if text is None else _number(text, 10)
    if length > limit:
        raise ValueError(f"body of {length} bytes is over {limit}")
    return length


def _number(text: str, base: int) -> int:
    """Digits alone: int() would also take signs, spaces and underscores."""
    digits = "0123456789abcdef"[:base]
    if not text or len(text) > 16 or [c for c in text.lower() if c not in digits]:
        raise ValueError(f"not a number: {text[:20]!r}")
    return int(text, base)
