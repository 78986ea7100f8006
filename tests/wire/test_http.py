"""HTTP and RTSP messages: golden bytes, limits, and what hostile peers send."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest

from tests.support.mutations import mutate
from tinyatv.wire.http import BODY_LIMIT, HEAD_LIMIT, HttpWire, Request, Response


def lines(*text, body=b""):
    return "\r\n".join([*text, "", ""]).encode() + body


# Name: (bytes, what they mean). Origin: RFC 9110 section 3.9 (hello), RFC 2326 sections 10.1 and
# 10.9 (RTSP); the others worked by hand from the grammar in RFC 9112.
GOLDEN = {
    "request": (
        lines(
            "GET /hello.txt HTTP/1.1",
            "User-Agent: curl/7.64.1",
            "Host: www.example.com",
            "Accept-Language: en, mi",
        ),
        Request(
            "GET",
            "/hello.txt",
            [
                ("User-Agent", "curl/7.64.1"),
                ("Host", "www.example.com"),
                ("Accept-Language", "en, mi"),
            ],
        ),
    ),
    "response": (
        lines(
            "HTTP/1.1 200 OK",
            "Date: Mon, 27 Jul 2009 12:28:53 GMT",
            "Server: Apache",
            "Last-Modified: Wed, 22 Jul 2009 19:15:56 GMT",
            'ETag: "34aa387-d-1568eb00"',
            "Accept-Ranges: bytes",
            "Content-Length: 51",
            "Vary: Accept-Encoding",
            "Content-Type: text/plain",
            body=b"Hello World! My content includes a trailing CRLF.\r\n",
        ),
        Response(
            200,
            "OK",
            [
                ("Date", "Mon, 27 Jul 2009 12:28:53 GMT"),
                ("Server", "Apache"),
                ("Last-Modified", "Wed, 22 Jul 2009 19:15:56 GMT"),
                ("ETag", '"34aa387-d-1568eb00"'),
                ("Accept-Ranges", "bytes"),
                ("Content-Length", "51"),
                ("Vary", "Accept-Encoding"),
                ("Content-Type", "text/plain"),
            ],
            b"Hello World! My content includes a trailing CRLF.\r\n",
        ),
    ),
    "rtsp request": (
        lines(
            "SET_PARAMETER rtsp://example.com/fizzle/foo RTSP/1.0",
            "CSeq: 421",
            "Content-length: 20",
            "Content-type: text/parameters",
            body=b"barparam: barstuff\r\n",
        ),
        Request(
            "SET_PARAMETER",
            "rtsp://example.com/fizzle/foo",
            [("CSeq", "421"), ("Content-length", "20"), ("Content-type", "text/parameters")],
            b"barparam: barstuff\r\n",
            "RTSP/1.0",
        ),
    ),
    "rtsp response": (
        lines(
            "RTSP/1.0 451 Invalid Parameter",
            "CSeq: 421",
            "Content-length: 10",
            "Content-type: text/parameters",
            body=b"barparam\r\n",
        ),
        Response(
            451,
            "Invalid Parameter",
            [("CSeq", "421"), ("Content-length", "10"), ("Content-type", "text/parameters")],
            b"barparam\r\n",
            "RTSP/1.0",
        ),
    ),
    "rtsp star": (
        lines("OPTIONS * RTSP/1.0", "CSeq: 1", "Require: implicit-play"),
        Request("OPTIONS", "*", [("CSeq", "1"), ("Require", "implicit-play")], b"", "RTSP/1.0"),
    ),
    "query and binary body": (
        lines(
            "POST /ctrl-int/1/play?session-id=1&prompt-id=0 HTTP/1.1",
            "Content-Length: 8",
            body=b"\r\n\r\n\0\xff\r\n",
        ),
        Request(
            "POST",
            "/ctrl-int/1/play?session-id=1&prompt-id=0",
            [("Content-Length", "8")],
            b"\r\n\r\n\0\xff\r\n",
        ),
    ),
    "no length, no body": (
        lines("HTTP/1.1 500 Internal Server Error"),
        Response(500, "Internal Server Error"),
    ),
    "no reason": (lines("HTTP/1.1 404 "), Response(404, "Not Found")),
    "no reason, nor its space": (lines("HTTP/1.1 404"), Response(404, "Not Found")),
    "unknown code": (lines("HTTP/1.1 299 Odd  one"), Response(299, "Odd  one")),
    "204 has no body": (
        lines("HTTP/1.1 204 No Content", "Content-Length: 51"),
        Response(204, "No Content", [("Content-Length", "51")]),
    ),
    "304 has no body": (
        lines("HTTP/1.1 304 Not Modified", "Content-Length: 51"),
        Response(304, "Not Modified", [("Content-Length", "51")]),
    ),
    "100 has no body": (
        lines("HTTP/1.1 100 Continue", "Transfer-Encoding: chunked"),
        Response(100, "Continue", [("Transfer-Encoding", "chunked")]),
    ),
    "values are trimmed, inside they are not": (
        lines("GET / HTTP/1.1", "A:b", "C: \t d: e  f \t", "G:", "H: Ünï", "A: again"),
        Request(
            "GET", "/", [("A", "b"), ("C", "d: e  f"), ("G", ""), ("H", "Ünï"), ("A", "again")]
        ),
    ),
    "chunks": (
        lines(
            "HTTP/1.1 200 OK",
            "Transfer-Encoding: chunked",
            body=b"4\r\nWiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n\r\n",
        ),
        Response(
            200, "OK", [("Transfer-Encoding", "chunked")], b"Wikipedia in \r\n\r\nchunks."
        ),
    ),
    "chunks with extensions and trailers": (
        lines(
            "POST /up HTTP/1.1",
            "transfer-encoding: Chunked",
            body=b'0a;name=value;quoted="a b"\r\n0123456789\r\n001 \r\n!\r\n'
            b"0;last\r\nDigest: 1\r\nExpires: never\r\n\r\n",
        ),
        Request("POST", "/up", [("transfer-encoding", "Chunked")], b"0123456789!"),
    ),
    "no chunks": (
        lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        Response(200, "OK", [("Transfer-Encoding", "chunked")]),
    ),
}  # fmt: skip

CANONICAL = ["request", "response", "rtsp request", "rtsp response", "query and binary body",
             "204 has no body"]  # fmt: skip


def parts(message):
    """Everything that a message is."""
    first = (
        (message.method, message.path)
        if isinstance(message, Request)
        else (message.code, message.reason)
    )
    return type(message), first, message.headers, message.body, message.protocol


def messages(wire):
    found = []
    while (message := wire.next_message()) is not None:
        found.append(message)
    return found


golden = pytest.mark.parametrize(("data", "expect"), GOLDEN.values(), ids=GOLDEN.keys())


@golden
def test_whole(data, expect):
    wire = HttpWire()
    wire.feed(data)
    assert [parts(m) for m in messages(wire)] == [parts(expect)]
    assert wire.pending_replies() == b""
    assert wire.key(expect) is None


@golden
def test_bytewise(data, expect):
    wire = HttpWire()
    for number in range(len(data)):
        assert wire.next_message() is None
        wire.feed(data[number : number + 1])
    assert parts(wire.next_message()) == parts(expect)
    assert wire.next_message() is None


@golden
def test_truncated_then_completed(data, expect):
    for cut in range(len(data)):
        wire = HttpWire()
        wire.feed(data[:cut])
        assert wire.next_message() is None
        wire.feed(data[cut:])
        assert parts(wire.next_message()) == parts(expect)


@golden
def test_trailing_bytes_belong_to_the_next(data, expect):
    wire = HttpWire()
    wire.feed(data + b"HTTP/1.1 20")
    assert parts(wire.next_message()) == parts(expect)
    assert wire.next_message() is None
    wire.feed(b"4\r\n\r\n")
    assert parts(wire.next_message()) == parts(Response(204))


def test_pipelined():
    """All of them in a row, in pieces that respect no boundary."""
    data = b"".join(data for data, _ in GOLDEN.values()) * 3
    expect = [parts(message) for _, message in GOLDEN.values()] * 3
    for seed in range(20):
        rng = random.Random(seed)
        wire, found, at = HttpWire(), [], 0
        while at < len(data):
            size = rng.randrange(1, 300)
            wire.feed(data[at : at + size])
            at += size
            found += messages(wire)
        assert [parts(message) for message in found] == expect


def test_one_message_at_a_time():
    wire = HttpWire()
    wire.feed(lines("HTTP/1.1 204 No Content") * 2)
    assert wire.next_message().code == 204
    assert wire.next_message().code == 204
    assert wire.next_message() is None


def test_header_names_have_no_case():
    message = Request("GET", "/", [("X-Some", "1"), ("x-sOME", "2")])
    assert message.header("X-SOME") == "1"
    assert message.header("X-Other") is None


def test_airplay():
    """Both protocols on one connection, answered in order; an error may come in the other one."""
    asked = [
        Request("GET", "/info", [("CSeq", "0")], protocol="RTSP/1.0"),
        Request("POST", "/pair-verify", [("X-Apple-HKP", "3")], b"\6\1\1"),
        Request("PUT", "/setProperty?forwardEndTime", body=b"bplist00"),
        Request("SETUP", "rtsp://fe80::1%25eth0/1", [("CSeq", "1")], b"x", "RTSP/1.0"),
        Request("RECORD", "rtsp://10.0.0.5/1", [("CSeq", "2")], protocol="RTSP/1.0"),
    ]
    device, client = HttpWire(), HttpWire()
    device.feed(b"".join(map(client.encode, asked)))
    heard = messages(device)
    assert [(m.method, m.path, m.body, m.protocol) for m in heard] == [
        (m.method, m.path, m.body, m.protocol) for m in asked
    ]
    for message in heard:
        cseq = [(name, value) for name, value in message.headers if name == "CSeq"]
        client.feed(device.encode(Response(200, "", cseq, protocol=message.protocol)))
    client.feed(lines("HTTP/1.1 470", "Server:AirTunes/550.10", "Content-Length:0"))
    client.feed(lines("RTSP/1.0 453 ", "CSeq:0"))
    answers = [(m.protocol, m.code, m.reason, m.header("cseq")) for m in messages(client)]
    assert answers == [
        ("RTSP/1.0", 200, "OK", "0"),
        ("HTTP/1.1", 200, "OK", None),
        ("HTTP/1.1", 200, "OK", None),
        ("RTSP/1.0", 200, "OK", "1"),
        ("RTSP/1.0", 200, "OK", "2"),
        ("HTTP/1.1", 470, "Connection Authorization Required", None),
        ("RTSP/1.0", 453, "Not Enough Bandwidth", "0"),
    ]


def test_reversed_connection():
    """After 101, the device asks and we answer, with the same wire."""
    client, device = HttpWire(), HttpWire()
    upgrade = [("Upgrade", "PTTH/1.0"), ("Connection", "Upgrade")]
    device.feed(client.encode(Request("POST", "/reverse", upgrade)))
    assert device.next_message().header("upgrade") == "PTTH/1.0"
    client.feed(
        device.encode(Response(101, headers=upgrade)) + device.encode(Request("POST", "/event"))
    )
    assert client.next_message().code == 101
    assert client.next_message().path == "/event"
    device.feed(client.encode(Response(200)))
    assert device.next_message().code == 200


def test_limit_may_change():
    """A device takes more from those that it knows."""
    wire = HttpWire(10)
    wire.feed(lines("POST / HTTP/1.1", "Content-Length: 10", body=b"0123456789"))
    assert wire.next_message().body == b"0123456789"
    wire.limit = 20
    wire.feed(lines("POST / HTTP/1.1", "Content-Length: 20", body=b"0123456789" * 2))
    assert wire.next_message().body == b"0123456789" * 2


@pytest.mark.parametrize("message", [Request("GET", "/a", body=b"abc"), Response(404, body=b"abc")])
def test_repr_is_short(message):
    assert repr(message) in ("Request(GET /a, 3 bytes)", "Response(404 Not Found, 3 bytes)")


# -- encode


@pytest.mark.parametrize("name", CANONICAL)
def test_encode_gives_the_golden_bytes(name):
    data, message = GOLDEN[name]
    assert HttpWire().encode(message) == data


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (Request("GET", "/"), b"GET / HTTP/1.1\r\n\r\n"),
        (Request("POST", "/"), b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
        (Request("GET", "/", body=b"x"), b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"),
        (
            Request("POST", "/a?b=c", [("Host", "h")], b"x\r\ny"),
            b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nx\r\ny",
        ),
        (
            Request("SETUP", "rtsp://h/1", [("CSeq", "0")], protocol="RTSP/1.0"),
            b"SETUP rtsp://h/1 RTSP/1.0\r\nCSeq: 0\r\nContent-Length: 0\r\n\r\n",
        ),
        (Response(200), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (Response(470, body=b"no"), b"HTTP/1.1 470 Connection Authorization Required\r\n"
                                    b"Content-Length: 2\r\n\r\nno"),
        (Response(299), b"HTTP/1.1 299 Unknown\r\nContent-Length: 0\r\n\r\n"),
        (Response(299, "Odd"), b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n"),
        (Response(204), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (Response(304, "Not Modified"), b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (Response(100, "Continue"), b"HTTP/1.1 100 Continue\r\n\r\n"),
        (
            Response(200, headers=[("content-length", "99")], body=b"x"),  # a fault on purpose
            b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx",
        ),
        (
            Response(200, headers=[("Transfer-Encoding", "chunked")], body=b"0123456789abcdef!"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"11\r\n0123456789abcdef!\r\n0\r\n\r\n",
        ),
        (
            Response(200, headers=[("Transfer-Encoding", "chunked")]),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            Request("GET", "/\u00e9", [("Name", "\u4e16")]),
            b"GET /\xc3\xa9 HTTP/1.1\r\nName: \xe4\xb8\x96\r\n\r\n",
        ),
    ],
)  # fmt: skip
def test_encode(message, data):
    assert HttpWire().encode(message) == data


INJECTED = ["a\r\nX: y", "a\nX: y", "a\rX: y", "\r\n", "\n", "a\r\n\r\nGET / HTTP/1.1", "a\r\n"]


@pytest.mark.parametrize("text", INJECTED)
@pytest.mark.parametrize(
    "build",
    [
        lambda text: Request(text, "/"),
        lambda text: Request("GET", text),
        lambda text: Request("GET", "/", protocol=text),
        lambda text: Request("GET", "/", [(text, "v")]),
        lambda text: Request("GET", "/", [("n", text)]),
        lambda text: Response(200, text),
        lambda text: Response(200, headers=[("n", text), ("m", "v")]),
        lambda text: Response(200, headers=[(text, "v")]),
    ],
    ids=["method", "path", "protocol", "name", "value", "reason", "value of 2", "name of 2"],
)
def test_encode_refuses_line_breaks(build, text):
    with pytest.raises(ValueError, match="line break"):
        HttpWire().encode(build(text))


def test_encode_refuses_surrogates():
    with pytest.raises(ValueError, match="surrogates"):
        HttpWire().encode(Request("GET", "/", [("Name", "\ud800")]))


# -- limits


def refused(data, limit=BODY_LIMIT):
    wire = HttpWire(limit)
    wire.feed(data)
    with pytest.raises(ValueError, match=r"^[^\r\n]{1,120}$") as caught:
        messages(wire)
    return str(caught.value)


def test_body_limit():
    wire = HttpWire(10)
    wire.feed(lines("POST / HTTP/1.1", "Content-Length: 10", body=b"0123456789"))
    assert wire.next_message().body == b"0123456789"
    assert "over 10" in refused(lines("POST / HTTP/1.1", "Content-Length: 11"), 10)


def test_body_limit_in_chunks():
    head = lines("POST / HTTP/1.1", "Transfer-Encoding: chunked")
    wire = HttpWire(10)
    wire.feed(head + b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")
    assert wire.next_message().body == b"0123456789"
    assert "over 10" in refused(head + b"5\r\n01234\r\n6\r\n", 10)
    assert "over 10" in refused(head + b"fffffffffffffff\r\n", 10)


def test_limits_hold_for_each_message():
    wire = HttpWire(10)
    wire.feed(lines("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"A\r\n0123456789\r\n"))
    wire.feed(b"0\r\n\r\n")
    wire.feed(lines("POST / HTTP/1.1", "Content-Length: 10", body=b"0123456789"))
    assert [m.body for m in messages(wire)] == [b"0123456789"] * 2


def test_head_limit():
    start = b"GET / HTTP/1.1\r\nX: "
    wire = HttpWire()
    wire.feed(start + b"a" * (HEAD_LIMIT - len(start)) + b"\r\n\r\n")
    assert len(wire.next_message().header("X")) == HEAD_LIMIT - len(start)
    assert "over 65536 bytes" in refused(start + b"a" * HEAD_LIMIT + b"\r\n\r\n")


@pytest.mark.parametrize("step", [1000, HEAD_LIMIT + 10])
def test_head_that_never_ends_is_not_kept_forever(step):
    data = b"GET /" + b"a" * (HEAD_LIMIT + 1000)
    assert outcome(data, step) == (0, True)
    assert "over 65536 bytes" in refused(data)


@pytest.mark.parametrize("body", [b"1" * 70_000, b"0\r\n" + b"a" * 70_000, b"1;" + b"a" * 70_000])
def test_chunk_lines_are_limited(body):
    refused(lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=body))


# -- hostile

CHUNKED = ("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")

MALFORMED = {
    "nothing": lines(""),
    "no words": lines("GET"),
    "no protocol": lines("GET /"),
    "other protocol": lines("GET / FTP/1.0"),
    "spaces in the path": lines("GET /a b HTTP/1.1"),
    "no method": lines(" / HTTP/1.1"),
    "method that begins with a digit": lines("1GET / HTTP/1.1"),
    "no path": lines("GET  HTTP/1.1"),
    "binary": b"\x00\xff\x16\x03\x01" * 50 + b"\r\n\r\n",
    "code is a word": lines("HTTP/1.1 OK 200"),
    "code is negative": lines("HTTP/1.1 -200 OK"),
    "code in other digits": lines("HTTP/1.1 ２００ OK"),
    "header without colon": lines("GET / HTTP/1.1", "Host"),
    "header without name": lines("GET / HTTP/1.1", ": value"),
    "space before the colon": lines("GET / HTTP/1.1", "Host : h"),
    "folded header": lines("GET / HTTP/1.1", "Host: h", " and more: x"),
    "not UTF-8": b"GET / HTTP/1.1\r\nX: \xff\xfe\r\n\r\n",
    "bare LF in the first line": b"GET / HTTP/1.1\nX: y\r\n\r\n",
    "bare LF in the reason": b"HTTP/1.1 200 OK\nX: y\r\n\r\n",
    "bare LF in a header": b"GET / HTTP/1.1\r\nX: y\nContent-Length: 3\r\n\r\n",
    "bare CR in the first line": b"GET /\rX HTTP/1.1\r\n\r\n",
    "bare CR in a header": b"GET / HTTP/1.1\r\nX: y\rContent-Length: 3\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nX: y\0z\r\n\r\n",
    **{
        f"length {text!r}": lines("POST / HTTP/1.1", f"Content-Length: {text}", body=b"12345")
        for text in (
            "", "-1", "+5", "5.0", "0x5", "5 5", "5,5", "1_0", "٣", "five", "9" * 30, "16777217",
        )
    },
    "two lengths": lines("POST / HTTP/1.1", "Content-Length: 3", "content-length: 5", body=b"123"),
    "two lengths, longer first": lines("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 0",
                                       body=b"1"),
    "one length twice": lines("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 1",
                              body=b"1"),
    **{
        f"chunk {line!r}": lines(*CHUNKED, body=line + b"\r\n")
        for line in (
            b"", b"g", b"-1", b"+1", b"0x1", b"1_0", b"1 1", b";x", b"\xff", b"1" * 17, b"1000001",
        )
    },
    "chunk too long": lines(*CHUNKED, body=b"2\r\nabc\r\n0\r\n\r\n"),
    "chunk too short": lines(*CHUNKED, body=b"4\r\nabc\r\n0\r\n\r\n"),
    "coding that only sounds like it": lines(
        "HTTP/1.1 200 OK", "Transfer-Encoding: xchunked", body=b"0\r\n\r\n"
    ),
    "coding that nobody knows": lines("POST / HTTP/1.1", "Transfer-Encoding: gzip"),
}  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(data):
    refused(data)


def test_announced_size_is_not_allocated():
    wire = HttpWire(1 << 40)
    tracemalloc.start()
    try:
        wire.feed(lines("POST / HTTP/1.1", f"Content-Length: {1 << 40}", body=b"x"))
        assert wire.next_message() is None
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


# -- fuzz

SECONDS = 0.5  # of processor time, for any input
MEMORY_FACTOR = 40  # bytes allocated at the peak, per byte of input
MEMORY_SMALL = 16384

PIECES = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b":", b" ", b"\0", b"\xff", b"0", b"-", b";", b"HTTP/1.1 ",
    b"GET / HTTP/1.1\r\n", b"Content-Length: ", b"Content-Length: 99999999999\r\n", b"ffffffff\r\n",
    b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1\r\na\r\n", "é".encode(),
]  # fmt: skip


def add_piece(rng, data, at):
    data[at:at] = rng.choice(PIECES)


def put_piece(rng, data, at):
    data[at : at + 4] = rng.choice(PIECES)


def inputs(count, seed):
    rng = random.Random(seed)
    seeds = [data for data, _ in GOLDEN.values()] * 5 + [*MALFORMED.values()]
    for _ in range(count):
        data = mutate(rng, rng.choice(seeds), rng.choice(seeds), (add_piece, put_piece), 0.3)
        yield data, rng.randrange(1, 200)


def outcome(data, step):
    """How many messages were in it, and whether it was refused then; fed in pieces."""
    wire, count = HttpWire(), 0
    try:
        for at in range(0, len(data), step):
            wire.feed(data[at : at + step])
            while wire.next_message() is not None:
                count += 1
    except ValueError:
        return count, True
    return count, False


def is_quick(data, step):
    """The best of three: a garbage collection of the whole test run may fall into any one."""
    best = SECONDS
    for _ in range(3):
        start = time.process_time()
        outcome(data, step)
        best = min(best, time.process_time() - start)
    return best < SECONDS


def peak(data, step):
    tracemalloc.start()
    try:
        outcome(data, step)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_only_value_errors_and_quick(share):
    count = share(200_000)
    complete = wrong = 0
    for data, step in inputs(count, seed=80):
        start = time.process_time()
        found, bad = outcome(data, step)
        if time.process_time() - start > SECONDS:
            assert is_quick(data, step), f"slow: {data!r}"
        complete += found > 0
        wrong += bad
    # Had all been refused, or none, this would have tried nothing.
    assert count // 20 < complete < count * 9 // 10
    assert count // 10 < wrong < count * 9 // 10


def test_pieces_make_no_difference(share):
    """However the bytes are cut, they mean the same."""
    for data, step in inputs(share(20_000), seed=443):
        assert outcome(data, step) == outcome(data, 1) == outcome(data, 1 << 20), repr(data)


def test_what_was_decoded_can_be_sent(share):
    """A decoded message is made of lines without breaks, so that it can be passed on."""
    for data, _ in inputs(share(20_000), seed=554):
        wire = HttpWire()
        wire.feed(data)
        try:
            found = messages(wire)
        except ValueError:
            continue
        for message in found:
            assert HttpWire().encode(message), repr(data)


def test_memory(share):
    for data, step in inputs(share(4_000), seed=20):
        assert peak(data, step) <= MEMORY_FACTOR * len(data) + MEMORY_SMALL, repr(data)


SIZE = 1 << 16
SEGMENT = 1460

WORST = {
    "bytes of a head": (b"GET /" + b"a" * SIZE, 1),
    "bytes of a body": (lines("POST / HTTP/1.1", f"Content-Length: {SIZE}", body=bytes(SIZE)), 1),
    "headers": (lines("GET / HTTP/1.1", *["a:"] * (SIZE // 4 - 10)), SIZE),
    "tiny requests": (lines("GET / HTTP/1.1") * (SIZE // 18), SIZE),
    "tiny requests in segments": (lines("GET / HTTP/1.1") * (SIZE // 18), SEGMENT),
    "tiny chunks": (lines(*CHUNKED, body=b"1\r\na\r\n" * (SIZE // 6)), SIZE),
    "tiny chunks in segments": (lines(*CHUNKED, body=b"1\r\na\r\n" * (SIZE // 6)), SEGMENT),
    "one large chunk": (lines(*CHUNKED, body=b"c00000\r\n" + bytes(12 << 20)), SEGMENT),
    "one large body": (
        lines("POST / HTTP/1.1", f"Content-Length: {12 << 20}", body=bytes(12 << 20)), SEGMENT,
    ),
    "bytes of a trailer": (lines(*CHUNKED, body=b"0\r\n" + b"a: b\r\n" * (SIZE // 6 - 9)), 1),
    "line breaks": (b"\r\n" * (SIZE // 2), 1),
    "almost the end of a head": (b"A" + b"\r\n\r" * (SIZE // 3), 1),
}  # fmt: skip


@pytest.mark.parametrize(("data", "step"), WORST.values(), ids=WORST.keys())
def test_worst_cases(data, step):
    assert is_quick(data, step), "slow"


@pytest.mark.parametrize("data", [data for data, _ in WORST.values()], ids=WORST.keys())
def test_memory_of_worst_cases(data):
    assert peak(data, SIZE) <= MEMORY_FACTOR * len(data) + MEMORY_SMALL
