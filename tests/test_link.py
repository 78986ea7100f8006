"""Link and Listener over real sockets: who gets which message, and how everything ends."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import gc
import logging
import os
import queue
import random
import select
import signal
import socket
import sys
import threading
import time

import pytest

from tinyatv.errors import CommandTimeout, ConnectionFailed, ConnectionLost, ProtocolError
from tinyatv.link import Link, Listener, open_socket
from tinyatv.readiness import ExclusivePoller
from tinyatv.wire.http import HttpWire, Request, Response

WAIT = 20.0  # s; a deadline for things that take milliseconds
LONG = 60.0  # s; a time limit that is never reached: longer than WAIT

EVENT, PONG, PING = 0, 0xFE, 0xFF


class KeyedWire:
    """The smallest wire with everything that a link cares for.

        +--------+----------------+--------------------------------+
        | key: 1 | length: 2, big | payload, masked once secured   |
        +--------+----------------+--------------------------------+

    A message is (key, payload); key 0 is an event. A ping is no message; a pong answers it.
    """

    def __init__(self):
        self._buffer = b""
        self._replies = b""
        self._mask = 0
        self.pongs = 0

    def encode(self, message):
        key, payload = message
        if not 0 <= key <= 0xFF:
            raise ValueError(f"a key is a byte, not {key}")
        masked = bytes(byte ^ self._mask for byte in payload) if self._mask else payload
        return bytes([key]) + len(payload).to_bytes(2, "big") + masked

    def feed(self, data):
        self._buffer += data

    def next_message(self):
        while len(self._buffer) >= 3:
            key, end = self._buffer[0], 3 + int.from_bytes(self._buffer[1:3], "big")
            if end == 3 + 0xFFFF:
                raise ValueError("a length of 65535 is nonsense")
            if len(self._buffer) < end:
                break
            payload = self._buffer[3:end]
            self._buffer = self._buffer[end:]
            if key == PING:
                self._replies += self.encode((PONG, payload))
            elif key == PONG:
                self.pongs += 1
            else:
                return key, bytes(byte ^ self._mask for byte in payload)
        return None

    def pending_replies(self):
        replies, self._replies = self._replies, b""
        return replies

    def key(self, message):
        return message[0] or None

    def secure(self, mask):
        self._mask = mask


def frame(key, payload=b""):
    return KeyedWire().encode((key, payload))


class Ends:
    """A link, and the bare socket at the other end."""

    def __init__(self, wire=None, **options):
        ours, self.peer = socket.socketpair()
        self.peer.settimeout(WAIT)
        self.wire = wire or KeyedWire()
        self.messages = queue.SimpleQueue()
        self.losses = queue.SimpleQueue()
        options = {"received": self.messages.put, "lost": self.losses.put, **options}
        received = options.pop("received")
        self.link = Link(ours, self.wire, received, name="tinyatv-link-test", **options)

    def started(self):
        self.link.start()
        return self

    def message(self):
        return self.messages.get(timeout=WAIT)

    def read(self, size):
        data = b""
        while len(data) < size:
            piece = self.peer.recv(size - len(data))
            assert piece, "the link closed the connection"
            data += piece
        return data

    def is_closed(self):
        """The other end sees the end of the stream, whatever it was sent before."""
        try:
            while self.peer.recv(65536):
                pass
        except ConnectionError:
            pass
        return True


@pytest.fixture
def ends():
    """A function that makes a link with its other end."""
    made = []

    def make(*args, **options):
        made.append(Ends(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.link.close()
        one.peer.close()


@pytest.fixture
def pool():
    """Threads to call from."""
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        yield pool


def readers():
    return [t for t in threading.enumerate() if t.name == "tinyatv-link-test"]


def chain(error):
    """An error and everything that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"

# -- who gets what ---------------------------------------------------------------------------------


def test_replies_find_their_requests_by_key(ends, pool):
    e = ends().started()
    first = pool.submit(e.link.request, (1, b"one"), LONG)
    second = pool.submit(e.link.request, (2, b"two"), LONG)
    assert sorted([e.read(6), e.read(6)]) == [frame(1, b"one"), frame(2, b"two")]
    e.peer.sendall(frame(2, b"B") + frame(EVENT, b"!") + frame(1, b"A"))
    assert first.result(WAIT) == (1, b"A")
    assert second.result(WAIT) == (2, b"B")
    assert e.message() == (EVENT, b"!")
    assert e.messages.empty()


def test_replies_find_their_requests_in_order(ends, pool):
    e = ends(HttpWire()).started()
    answers = []
    for number in range(3):
        request = Request("GET", f"/{number}")
        answers.append(pool.submit(e.link.request, request, LONG))
        e.read(len(HttpWire().encode(request)))  # so this one is on its way before the next
    e.peer.sendall(OK + b"0" + OK + b"1" + OK + b"2")
    assert [answer.result(WAIT).body for answer in answers] == [b"0", b"1", b"2"]
    e.peer.sendall(OK + b"3")  # nobody asked
    assert e.message().body == b"3"


@pytest.mark.parametrize("keyed", [True, False])
def test_answer_that_is_faster_than_the_request(ends, keyed):
    """The reply is there, and was handled, before the first byte of the request is sent."""

    class Hasty(KeyedWire):
        has_replies = False  # a wire with replies has to wait until the request has left
        handled = threading.Event()

        def encode(self, message):
            e.peer.sendall(frame(7, b"early"))
            assert self.handled.wait(WAIT)
            return super().encode(message)

        def next_message(self):
            message = super().next_message()
            if message is None and started.is_set():
                self.handled.set()
            elif message is not None:
                started.set()
            return message

        def key(self, message):
            return super().key(message) if keyed else None

    started = threading.Event()
    e = ends(Hasty()).started()
    assert e.link.request((7, b""), WAIT) == (7, b"early")


def test_handshake_runs_on_the_calling_thread(ends, pool):
    threads = []
    e = ends(received=lambda message: threads.append((message, threading.current_thread().name)))
    assert readers() == []
    e.peer.sendall(frame(EVENT, b"0") + frame(1, b"M2") + frame(EVENT, b"1"))
    assert e.link.request((1, b"M1")) == (1, b"M2")
    e.peer.sendall(frame(EVENT, b"2") + frame(3, b"M4"))
    assert e.link.request((3, b"M3")) == (3, b"M4")
    assert threads == []
    e.peer.sendall(frame(EVENT, b"3"))
    e.link.start()
    e.peer.sendall(frame(EVENT, b"4") + frame(9, b"end"))
    assert e.read(10) == frame(1, b"M1") + frame(3, b"M3")
    e.peer.close()
    assert isinstance(e.losses.get(timeout=WAIT), ConnectionLost)
    assert [message for message, _ in threads] == [
        *[(EVENT, digit) for digit in (b"0", b"1", b"2", b"3", b"4")],
        (9, b"end"),
    ]
    assert {name for _, name in threads} == {"tinyatv-link-test"}


def test_keys_change_between_two_messages_of_one_segment(ends):
    """The client's handshake: what follows the last reply is sealed already."""
    e = ends()
    sealed = KeyedWire()
    sealed.secure(0x55)
    e.peer.sendall(frame(1, b"M4") + sealed.encode((EVENT, b"secret")))
    assert e.link.request((1, b"M3")) == (1, b"M4")
    e.wire.secure(0x55)
    e.link.start()
    assert e.message() == (EVENT, b"secret")


def test_keys_change_in_the_callback(ends):
    """The device's handshake: handling a message switches encryption on for the next one."""
    e = ends(received=lambda message: (e.wire.secure(0x55), e.messages.put(message)))
    sealed = KeyedWire()
    sealed.secure(0x55)
    e.started().peer.sendall(frame(1, b"M3") + sealed.encode((EVENT, b"secret")))
    assert [e.message(), e.message()] == [(1, b"M3"), (EVENT, b"secret")]


@pytest.mark.parametrize("wire", [KeyedWire, HttpWire])
def test_peer_that_sends_single_bytes(ends, wire):
    e = ends(wire()).started()
    one, data = ((9, b"abc"), frame(9, b"abc")) if wire is KeyedWire else (b"x", OK + b"x")
    for byte in data + data:
        e.peer.send(bytes([byte]))
    for _ in range(2):
        message = e.message()
        assert (message if wire is KeyedWire else message.body) == one


@pytest.mark.parametrize("early", [True, False])
def test_three_messages_in_one_segment(ends, early):
    e = ends()
    data = b"".join(frame(EVENT, bytes([n])) for n in range(3))
    if early:
        e.peer.sendall(data)
        e.link.start()
    else:
        e.started().peer.sendall(data)
    assert [e.message()[1] for _ in range(3)] == [b"\0", b"\1", b"\2"]


@pytest.mark.parametrize("started", [True, False])
def test_replies_of_the_wire_are_sent(ends, pool, started):
    """Also when a frame held no message, and before the reader runs."""
    e = ends()
    if started:
        e.link.start()
        e.peer.sendall(frame(PING, b"a"))
    else:
        e.peer.sendall(frame(PING, b"a"))
        waiting = pool.submit(e.link.request, (1, b""), LONG)
        assert e.read(3) == frame(1)
    assert e.read(4) == frame(PONG, b"a")
    e.peer.sendall(frame(PING, b"b") + frame(1, b"x") + frame(PING, b"c"))
    if not started:
        assert waiting.result(WAIT) == (1, b"x")
        e.link.start()
    else:
        assert e.message() == (1, b"x")
    assert e.read(8) == frame(PONG, b"b") + frame(PONG, b"c")


def test_message_that_cannot_be_encoded_leaves_no_trace(ends, pool):
    """Whoever comes next gets the next reply."""
    e = ends(HttpWire()).started()
    with pytest.raises(ValueError, match="line break"):
        e.link.request(Request("GET", "/\r\nX: y"))
    with pytest.raises(ValueError, match="line break"):
        e.link.send(Request("GET", "/\r\nX: y"))
    answer = pool.submit(e.link.request, Request("GET", "/"), 5)
    e.read(len(HttpWire().encode(Request("GET", "/"))))
    e.peer.sendall(OK + b"x")
    assert answer.result(WAIT).body == b"x"


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("wire", [KeyedWire, HttpWire])
def test_late_reply_does_not_confuse_the_next_request(ends, pool, wire, started):
    e = ends(wire())
    if started:
        e.link.start()
    if wire is KeyedWire:
        requests, replies = [(1, b"a"), (2, b"b")], [frame(1, b"A"), frame(2, b"B")]
        expect = (2, b"B")
    else:
        requests, replies = [Request("GET", "/a"), Request("GET", "/b")], [OK + b"A", OK + b"B"]
    with pytest.raises(CommandTimeout, match=r"within 0\.05 s \(tinyatv-link-test\)"):
        e.link.request(requests[0], 0.05)
    e.read(len(wire().encode(requests[0])))
    waiting = pool.submit(e.link.request, requests[1], LONG)
    e.read(len(wire().encode(requests[1])))
    e.peer.sendall(b"".join(replies))
    answer = waiting.result(WAIT)
    assert answer == expect if wire is KeyedWire else answer.body == b"B"
    assert not e.link.ended


def test_many_threads_keep_their_frames_whole(ends):
    """Fifty senders, frames larger than the socket's buffer, and another link that reads them."""
    threads, each = 50, 20
    arrived = queue.SimpleQueue()
    e = ends(HttpWire(), timeout=LONG).started()
    e.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    other = Link(e.peer, HttpWire(), arrived.put, name="tinyatv-link-other")
    together = threading.Barrier(threads)
    failed = []

    def send(number):
        rng = random.Random(number)
        together.wait(WAIT)
        try:
            for count in range(each):
                size = 200_000 if count == 10 and number % 10 == 0 else rng.randrange(3000)
                e.link.send(Request("POST", f"/{number}/{count}", body=bytes([number]) * size))
        except Exception as exc:
            failed.append(exc)

    senders = [threading.Thread(target=send, args=(n,)) for n in range(threads)]
    for sender in senders:
        sender.start()
    other.start()
    seen = {number: [] for number in range(threads)}
    for _ in range(threads * each):
        message = arrived.get(timeout=WAIT)
        number, count = map(int, message.path[1:].split("/"))
        seen[number].append(count)
        assert message.body == bytes([number]) * len(message.body)
    for sender in senders:
        sender.join(WAIT)
    other.close()
    assert failed == []
    assert all(counts == list(range(each)) for counts in seen.values())


# -- whose turn it is to read ----------------------------------------------------------------------

TURNS = pytest.mark.skipif(
    not hasattr(select, "EPOLLEXCLUSIVE"), reason="only the reader thread reads here"
)
READER = "tinyatv-link-test"


@pytest.fixture(params=[pytest.param(True, marks=TURNS), False], ids=["turns", "no turns"])
def turns(request, monkeypatch):
    """Both kinds of system: where callers can take the turn, and where they cannot."""
    if not request.param:
        monkeypatch.delattr(select, "EPOLLEXCLUSIVE", raising=False)
    return request.param


class Heard:
    """What `received` was called with, and on which threads."""

    def __init__(self):
        self.messages = queue.SimpleQueue()
        self.threads = queue.SimpleQueue()

    def __call__(self, message):
        self.threads.put(threading.current_thread().name)
        self.messages.put(message)

    def next(self):
        return self.messages.get(timeout=WAIT), self.threads.get(timeout=WAIT)


def asking(name, call, *args):
    """Call on a thread of that name; returns the future."""
    future = concurrent.futures.Future()

    def work():
        try:
            future.set_result(call(*args))
        except BaseException as exc:
            future.set_exception(exc)

    threading.Thread(target=work, name=name).start()
    return future


def waits(thread, *functions):
    """Return once that thread is in one of these functions."""
    pace = threading.Event()
    (ident,) = [one.ident for one in threading.enumerate() if one.name == thread]
    until = time.monotonic() + WAIT
    while sys._current_frames()[ident].f_code.co_name not in functions:
        assert time.monotonic() < until
        pace.wait(0.001)


def sent(e, size, thread="asking"):
    """Read what a thread has sent; returns once it waits for the reply."""
    e.read(size)
    waits(thread, "ready", "wait_as_requester", "request")


def answering(e, asked, data):
    """Answer a request that is about to come."""
    return asking("answering", lambda: e.read(len(asked)) and e.peer.sendall(data))


def test_requester_reads_while_it_waits(ends, turns):
    """All that comes, in order, up to what came together with the reply; then the reader does."""
    heard = Heard()
    e = ends(received=heard).started()
    e.peer.sendall(frame(EVENT, b"before"))
    assert heard.next() == ((EVENT, b"before"), READER)
    reply = asking("asking", e.link.request, (1, b""), LONG)
    sent(e, 3)
    e.peer.sendall(frame(EVENT, b"1") + HALF)
    who = "asking" if turns else READER
    assert heard.next() == ((EVENT, b"1"), who)
    assert not reply.done()
    e.peer.sendall(frame(1, b"abcdef")[len(HALF) :] + frame(EVENT, b"2"))
    assert reply.result(WAIT) == (1, b"abcdef")
    assert heard.next() == ((EVENT, b"2"), who)
    e.peer.sendall(frame(EVENT, b"after"))
    assert heard.next() == ((EVENT, b"after"), READER)


def test_requester_reads_for_others_and_the_reader_afterwards(ends, turns):
    heard = Heard()
    e = ends(received=heard).started()
    first = asking("first", e.link.request, (1, b""), LONG)
    sent(e, 3, "first")
    e.peer.sendall(frame(EVENT, b"0"))
    who = "first" if turns else READER
    assert heard.next() == ((EVENT, b"0"), who)  # it reads
    others = [asking(f"other {n}", e.link.request, (n, b""), LONG) for n in (2, 3)]
    e.read(6)
    e.peer.sendall(frame(3, b"C") + frame(EVENT, b"1"))
    assert others[1].result(WAIT) == (3, b"C")
    assert heard.next() == ((EVENT, b"1"), who)
    e.peer.sendall(frame(1, b"A"))
    assert first.result(WAIT) == (1, b"A")
    e.peer.sendall(frame(EVENT, b"2") + frame(2, b"B"))
    assert others[0].result(WAIT) == (2, b"B")
    assert heard.next() == ((EVENT, b"2"), READER)


def test_requester_that_times_out_releases_reading(ends, turns):
    heard = Heard()
    e = ends(received=heard).started()
    with pytest.raises(CommandTimeout):
        e.link.request((1, b""), 0.05)
    e.peer.sendall(frame(1, b"late") + frame(EVENT, b"!"))
    assert heard.next() == ((1, b"late"), READER)
    assert heard.next() == ((EVENT, b"!"), READER)


def test_what_the_handshake_left_comes_first(ends, turns):
    """Even if a caller reads before the reader thread has begun."""
    for _ in range(50):
        e = ends()
        e.peer.sendall(frame(EVENT, b"0") + frame(EVENT, b"1") + frame(1))
        e.link.request((1, b""))
        e.read(3)
        answering(e, frame(2), frame(EVENT, b"2") + frame(2) + frame(EVENT, b"3"))
        e.link.start()
        assert e.link.request((2, b""), WAIT) == (2, b"")
        assert [e.message()[1] for _ in range(4)] == [b"0", b"1", b"2", b"3"]
        e.link.close()


def test_idle_is_called_while_a_caller_waits(ends, turns):
    """To keep a connection alive stays the reader thread's duty; bytes that others read count."""
    counts = queue.SimpleQueue()

    def idle(times):
        counts.put((times, threading.current_thread().name))

    e = ends(idle=idle, idle_after=0.02, timeout=0.02).started()
    reply = asking("asking", e.link.request, (1, b""), LONG)
    sent(e, 3)
    while counts.get(timeout=WAIT) != (3, READER):
        pass
    e.peer.sendall(frame(EVENT, b"here I am"))
    e.message()
    while counts.get(timeout=WAIT) != (1, READER):
        pass
    e.peer.sendall(frame(1, b"x"))
    assert reply.result(WAIT) == (1, b"x")


@pytest.mark.parametrize("how", ["received", "lost"])
def test_close_from_a_callback_while_a_caller_waits(ends, turns, how):
    """Who reads cannot wait for the reader thread, which may wait for its turn."""
    calls = []

    def close(*args):
        calls.append(args)
        e.link.close()

    e = ends(**{how: close}).started()
    reply = asking("asking", e.link.request, (1, b""), LONG)
    sent(e, 3)
    if how == "received":
        e.peer.sendall(frame(EVENT, b"a") + frame(EVENT, b"b"))
    else:
        e.peer.close()
    assert isinstance(reply.exception(WAIT), ConnectionLost)
    e.link.close()  # joins
    assert readers() == []
    assert len(calls) == 1


@pytest.mark.parametrize("trouble", ["close", "nonsense", "bug", "reset"])
def test_all_who_wait_hear_of_the_end(ends, turns, trouble, caplog):
    def received(message):
        raise RuntimeError("on purpose")

    e = ends(received=received).started()
    waiting = []
    for key in range(1, 6):
        waiting.append(asking("asking", e.link.request, (key, b""), LONG))
        e.read(3)
    if trouble == "close":
        e.link.close()
    elif trouble == "nonsense":
        e.peer.sendall(b"\x01\xff\xff")
    elif trouble == "bug":
        e.peer.sendall(frame(EVENT))
    else:
        e.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        e.peer.close()
    expect = ProtocolError if trouble in ("nonsense", "bug") else ConnectionLost
    assert all(isinstance(one.exception(WAIT), expect) for one in waiting)
    assert ("on purpose" in caplog.text) is (trouble == "bug")
    e.link.close()
    assert readers() == []
    assert e.losses.qsize() == 1


def test_requester_releases_what_one_read_does_not_take(ends, turns):
    """Bytes behind its reply, beyond what it has read, wake the reader thread."""
    heard, go = Heard(), threading.Event()
    e = ends(received=lambda message: (heard(message), go.wait(WAIT))).started()
    reply = asking("asking", e.link.request, (1, b""), LONG)
    sent(e, 3)
    e.peer.sendall(frame(EVENT, b"wait"))
    assert heard.next() == ((EVENT, b"wait"), "asking" if turns else READER)
    long = frame(EVENT, bytes(250))
    e.peer.sendall(frame(1, b"x") + long * 300)
    go.set()
    assert reply.result(WAIT) == (1, b"x")
    who = {heard.next()[1] for _ in range(300)}
    assert who == ({"asking", READER} if turns else {READER})


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no way to interrupt a thread")
@pytest.mark.parametrize("started", [True, False])
def test_interrupted_caller_leaves_a_link_that_works(ends, turns, started):
    """Ctrl-C, in a notebook for example, while a reply is waited for."""
    heard = Heard()
    e = ends(received=heard)
    if started:
        e.link.start()
    main = threading.current_thread()

    def interrupt():
        sent(e, 3, main.name)
        signal.pthread_kill(main.ident, signal.SIGINT)

    other = asking("interrupting", interrupt)
    with pytest.raises(KeyboardInterrupt):
        e.link.request((1, b""), WAIT)
    other.result(WAIT)
    answering(e, frame(2), frame(2, b"x") + frame(EVENT, b"y"))
    assert e.link.request((2, b""), WAIT) == (2, b"x")
    if not started:
        e.link.start()
    assert heard.next()[0] == (EVENT, b"y")


@TURNS
def test_interrupted_just_when_something_came(ends, monkeypatch):
    """It woke no other thread, so it must not stay unread until more comes."""
    wait = ExclusivePoller.wait_as_requester

    def woken(self, timeout):
        wait(self, timeout)
        raise KeyboardInterrupt

    monkeypatch.setattr(ExclusivePoller, "wait_as_requester", woken)
    heard = Heard()
    e = ends(received=heard).started()
    reply = asking("asking", e.link.request, (1, b""), LONG)
    sent(e, 3)
    e.peer.sendall(frame(EVENT, b"!"))
    assert isinstance(reply.exception(WAIT), KeyboardInterrupt)
    assert heard.next() == ((EVENT, b"!"), READER)


@TURNS
def test_interrupted_in_the_middle_of_a_message(ends):
    """It is lost, so the stream cannot go on."""

    def received(message):
        raise KeyboardInterrupt

    e = ends(received=received).started()
    reply = asking("asking", e.link.request, (1, b""), LONG)
    sent(e, 3)
    e.peer.sendall(frame(EVENT, b"!"))
    assert isinstance(reply.exception(WAIT), KeyboardInterrupt)
    assert "interrupted" in str(e.losses.get(timeout=WAIT))
    assert e.is_closed()


def test_pending_replies_leave_with_the_next_message(ends):
    """Replies of the wire leave with the message that is sent next, or else right behind it."""
    e = ends(received=lambda message: e.link.send((9, message[1]))).started()
    e.peer.sendall(frame(PING, b"p") + frame(EVENT, b"q") + frame(PING, b"r"))
    assert e.read(8) == frame(9, b"q") + frame(PONG, b"p")
    assert e.read(4) == frame(PONG, b"r")


@TURNS
def test_end_when_the_reader_cannot_be_woken_any_more(ends, monkeypatch):
    """The kernel may have no room to register it again: no silent link stays."""
    heard, wait = Heard(), ExclusivePoller.wait_as_requester
    e = ends(received=heard).started()

    def no_room(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def interrupted(self, timeout):
        wait(self, timeout)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ExclusivePoller, "wait_as_requester", interrupted)
        reply = asking("asking", e.link.request, (1, b""), LONG)
        sent(e, 3)
        patched.setattr(ExclusivePoller, "_register", no_room)
        e.peer.sendall(frame(EVENT))
        assert "cannot watch it: No space left" in str(e.losses.get(timeout=WAIT))
        assert isinstance(reply.exception(WAIT), KeyboardInterrupt)
    with pytest.raises(ConnectionLost, match="cannot watch it: No space left"):
        e.link.request((2, b""), WAIT)
    e.link._poller._register(e.link._poller._reader)  # there is room: the reader thread sees it


class SilentWire(KeyedWire):
    """A wire that never replies by itself."""

    has_replies = False


@pytest.mark.parametrize("wire", [KeyedWire, SilentWire])
@pytest.mark.parametrize("ending", ["close", "peer"])
def test_race_of_requests_news_and_the_end(turns, share, wire, ending):
    """Thousands of requests from four threads among events, then the end."""
    for number in range(share(60)):
        ours, peer = socket.socketpair()
        news, lost = [], []
        link = Link(ours, wire(), news.append, lost=lost.append, name=READER, timeout=WAIT)
        answered = threading.Semaphore(0)
        wrong = []

        def answer(peer=peer, answered=answered):
            wire, count = KeyedWire(), 0
            try:
                while data := peer.recv(65536):
                    wire.feed(data)
                    while (message := wire.next_message()) is not None:
                        count += 1
                        if count % 3 == 0:
                            peer.sendall(frame(EVENT, count.to_bytes(4, "big")))
                        peer.sendall(frame(*message))
                        answered.release()
            except OSError:
                pass

        def ask(key, link=link, wrong=wrong):
            count = 0
            while not link.ended:
                count += 1
                try:
                    if link.request((key, b"%d" % count), WAIT) != (key, b"%d" % count):
                        wrong.append(key)
                except (ConnectionLost, ProtocolError):
                    return
                except Exception as exc:
                    wrong.append(exc)

        threads = [threading.Thread(target=answer)]
        threads += [threading.Thread(target=ask, args=(key,)) for key in range(1, 5)]
        link.start()
        for thread in threads:
            thread.start()
        for _ in range(random.Random(number).randrange(300)):
            assert answered.acquire(timeout=WAIT), "a thread sleeps though bytes are there"
        if ending == "close":
            link.close()
        else:
            peer.shutdown(socket.SHUT_RDWR)
        for thread in threads[1:]:
            thread.join(WAIT)
            assert not thread.is_alive()
        link.close()
        peer.close()
        threads[0].join(WAIT)
        assert wrong == []
        assert len(lost) == 1
        assert news == sorted(news)
        assert readers() == []


# -- how it ends -----------------------------------------------------------------------------------

HALF = frame(1, b"abcdef")[:5]


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("sent", [b"", HALF])
def test_peer_that_closes(ends, pool, started, sent):
    e = ends()
    if started:
        e.link.start()
    waiting = pool.submit(e.link.request, (1, b""), LONG)
    e.read(3)
    e.peer.sendall(sent)
    e.peer.close()
    error = waiting.exception(WAIT)
    assert isinstance(error, ConnectionLost)
    assert "tinyatv-link-test: closed by the peer" in str(error)
    loss = e.losses.get(timeout=WAIT)
    assert loss is e.link.error
    assert loss in chain(error)
    with pytest.raises(ConnectionLost) as caught:
        e.link.send((1, b""))
    assert loss in chain(caught.value)
    e.link.close()
    assert e.losses.empty()
    assert e.messages.empty()
    assert readers() == []


def test_messages_before_the_end_are_delivered(ends):
    e = ends()
    e.peer.sendall(frame(EVENT, b"a") + frame(EVENT, b"b") + HALF)
    e.peer.close()
    e.link.start()
    assert [e.message(), e.message()] == [(EVENT, b"a"), (EVENT, b"b")]
    assert isinstance(e.losses.get(timeout=WAIT), ConnectionLost)


@pytest.mark.parametrize("started", [True, False])
def test_malformed_bytes_end_it_once(ends, pool, started):
    e = ends()
    if started:
        e.link.start()
    waiting = [
        pool.submit(e.link.request, (key, b""), LONG) for key in range(1, 4 if started else 2)
    ]
    e.read(3 * len(waiting))
    e.peer.sendall(frame(EVENT, b"good") + b"\x01\xff\xff" + frame(EVENT, b"too late"))
    loss = e.losses.get(timeout=WAIT)
    assert isinstance(loss, ProtocolError)
    assert str(loss) == "tinyatv-link-test: a length of 65535 is nonsense"
    assert isinstance(loss.__cause__, ValueError)
    errors = [call.exception(WAIT) for call in waiting]
    for call in (e.link.send, e.link.request):
        with pytest.raises((ProtocolError, ConnectionLost)) as caught:
            call((5, b""))
        errors.append(caught.value)
    assert all(isinstance(error, ProtocolError) for error in errors[: len(waiting)])
    assert all(loss in chain(error) for error in errors), "not chained to the first error"
    assert e.is_closed()
    e.link.close()
    assert e.link.error is loss
    assert e.losses.empty()
    if started:
        assert e.message() == (EVENT, b"good")
    assert e.messages.empty()


def close_twice(e):
    e.link.close()
    e.link.close()


def close_elsewhere(e):
    thread = threading.Thread(target=e.link.close)
    thread.start()
    thread.join(WAIT)
    assert not thread.is_alive()


def close_everywhere(e):
    together = threading.Barrier(8)
    threads = [
        threading.Thread(target=lambda: (together.wait(WAIT), e.link.close())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("how", [close_twice, close_elsewhere, close_everywhere])
def test_close(ends, how, started):
    e = ends()
    if started:
        e.link.start()
    how(e)
    assert e.is_closed()
    assert e.link.ended
    assert e.link.error is None
    assert e.losses.get(timeout=WAIT) is None
    assert e.losses.empty()
    assert readers() == []
    for call in (e.link.send, e.link.request):
        with pytest.raises(ConnectionLost, match="tinyatv-link-test: closed"):
            call((1, b""))


@pytest.mark.parametrize("callback", ["received", "idle"])
def test_close_from_a_callback(ends, callback):
    """And nothing is handed on after it, though more is there."""
    calls = []

    def close(*args):
        calls.append(args)
        e.link.close()

    options = {"idle": close, "idle_after": 0.01} if callback == "idle" else {"received": close}
    e = ends(**options)
    if callback == "received":
        e.started().peer.sendall(frame(EVENT, b"a") + frame(EVENT, b"b"))
    else:
        e.link.start()
    assert e.losses.get(timeout=WAIT) is None
    assert e.is_closed()
    e.link.close()  # joins
    assert readers() == []
    assert len(calls) == 1


def test_close_from_the_callback_with_a_message_kept_from_the_handshake(ends):
    calls = []
    e = ends(received=lambda message: (calls.append(message), e.link.close()))
    e.peer.sendall(frame(EVENT, b"a") + frame(EVENT, b"b") + frame(1))
    e.link.request((1, b""))
    e.link.start()
    assert e.losses.get(timeout=WAIT) is None
    e.link.close()
    assert calls == [(EVENT, b"a")]


def test_close_from_lost(ends):
    e = ends(lost=lambda error: (e.link.close(), e.losses.put(error))).started()
    e.peer.close()
    assert isinstance(e.losses.get(timeout=WAIT), ConnectionLost)
    e.link.close()
    assert readers() == []


def test_start_after_close_ends_at_once(ends):
    e = ends()
    e.link.close()
    e.link.start()
    e.link.close()
    assert readers() == []
    assert e.losses.get(timeout=WAIT) is None
    assert e.losses.empty()


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("wire", [KeyedWire, HttpWire])
def test_close_wakes_everybody_who_waits(ends, pool, wire, started):
    e = ends(wire())
    if started:
        e.link.start()
    requests = [(n, b"") if wire is KeyedWire else Request("GET", "/") for n in range(1, 6)]
    if not started:
        del requests[1:]  # a handshake is one thread's
    waiting = [pool.submit(e.link.request, request, LONG) for request in requests]
    e.read(sum(len(wire().encode(request)) for request in requests))
    e.link.close()
    for call in waiting:
        error = call.exception(WAIT)
        assert isinstance(error, ConnectionLost)
        assert str(error) == "tinyatv-link-test: closed"


def test_close_wakes_a_blocked_send(ends, pool):
    e = ends(HttpWire(), timeout=LONG).started()
    sending = pool.submit(e.link.send, Request("POST", "/", body=bytes(8 << 20)))
    e.read(1)  # it is on its way, and the rest does not fit
    e.link.close()
    assert isinstance(sending.exception(WAIT), ConnectionLost)


@pytest.mark.parametrize("started", [True, False])
def test_peer_that_does_not_read(ends, pool, started):
    e = ends(HttpWire(), timeout=0.2)
    if started:
        e.link.start()
    message = Request("POST", "/", body=bytes(8 << 20))
    calls = [pool.submit(e.link.send, message), pool.submit(e.link.request, message, LONG)]
    for call in calls:
        error = call.exception(WAIT)
        assert isinstance(error, ConnectionLost)
        assert "does not read" in str(error)
    assert "does not read" in str(e.losses.get(timeout=WAIT))
    assert e.losses.empty()
    assert e.is_closed()


def test_peer_that_reads_slowly_but_reads(ends, pool):
    """The limit is for a stall; a long message over a slow network is none."""
    e = ends(HttpWire(), timeout=1.5).started()
    message = Request("POST", "/", body=bytes(6 << 20))
    left = len(HttpWire().encode(message))
    sending = pool.submit(e.link.send, message)
    pace = threading.Event()
    while left > 0:
        part = min(left, 1 << 19)
        e.read(part)
        left -= part
        pace.wait(0.2)
    assert sending.exception(WAIT) is None


@pytest.mark.parametrize("trouble", [HALF, b"\x01\xff\xff", frame(EVENT)])
def test_lost_is_called_once_whoever_notices_first(ends, pool, trouble):
    """The peer goes, nonsense comes, two threads send and four close, all at once."""
    for _ in range(10):
        e = ends().started()
        together = threading.Barrier(7)

        def at_once(call, *args, together=together):
            together.wait(WAIT)
            try:
                call(*args)
            except (ConnectionLost, ProtocolError):
                pass

        calls = [(e.link.close,)] * 4 + [(e.link.send, (1, b"x"))] * 2
        done = [pool.submit(at_once, *call) for call in calls]
        e.peer.sendall(trouble)
        together.wait(WAIT)
        e.peer.close()
        for one in done:
            one.result(WAIT)
        assert e.link.ended
        assert e.losses.qsize() == 1
        assert e.losses.get() is e.link.error


def test_callback_that_fails_ends_the_link_and_says_so(ends, caplog):
    def received(message):
        raise RuntimeError("on purpose")

    e = ends(received=received).started()
    e.peer.sendall(frame(EVENT))
    loss = e.losses.get(timeout=WAIT)
    assert isinstance(loss, ProtocolError)
    assert isinstance(loss.__cause__, RuntimeError)
    e.link.close()
    assert "on purpose" in caplog.text
    assert e.is_closed()


@pytest.mark.parametrize(
    ("trouble", "stale"),
    [
        (lambda e: None, False),
        (lambda e: e.peer.sendall(HALF), True),
        (lambda e: e.peer.close(), True),
        (lambda e: e.link.close(), True),
    ],
    ids=["quiet", "unasked bytes", "peer closed", "closed"],
)
def test_stale(ends, trouble, stale):
    """A link without a reader looks before it is used again, and takes nothing away."""
    e = ends()
    assert not e.link.stale()
    trouble(e)
    assert e.link.stale() is stale
    assert e.link.stale() is stale


# -- idle ------------------------------------------------------------------------------------------


def test_idle_is_called_again_and_again_on_the_reader(ends):
    names, counts = set(), queue.SimpleQueue()

    def idle(times):
        names.add(threading.current_thread().name)
        counts.put(times)
        e.link.send((PING, b"?"))

    e = ends(idle=idle, idle_after=0.01, timeout=0.02)
    e.started()  # it may be idle before that returns
    assert e.read(8) == frame(PING, b"?") * 2
    assert [counts.get(timeout=WAIT) for _ in range(2)] == [1, 2]
    assert names == {"tinyatv-link-test"}
    e.peer.sendall(frame(EVENT, b"still here"))
    assert e.message() == (EVENT, b"still here")


def test_idle_counts_anew_once_something_came(ends):
    counts = queue.SimpleQueue()
    e = ends(idle=counts.put, idle_after=0.01, timeout=0.01).started()
    while counts.get(timeout=WAIT) < 3:
        pass
    e.peer.sendall(frame(EVENT, b"here I am"))
    e.message()
    while counts.get(timeout=WAIT) != 1:
        pass


def test_an_error_of_idle_ends_the_link(ends):
    def idle(times):
        if times > 2:
            raise ConnectionLost("nobody there")

    e = ends(idle=idle, idle_after=0.01, timeout=0.01).started()
    assert str(e.losses.get(timeout=WAIT)) == "nobody there"
    assert e.link.ended


def test_prepare_is_called_when_it_is_quiet_until_nothing_is_left(ends):
    prepared = queue.SimpleQueue()
    work = [True, True, False] + [True, False]

    def prepare():
        prepared.put(threading.current_thread().name)
        return work.pop(0)

    e = ends(prepare=prepare).started()
    # After the handshake, there is work for two pieces.
    assert [prepared.get(timeout=WAIT) for _ in range(3)] == ["tinyatv-link-test"] * 3
    e.peer.sendall(frame(EVENT, b"one"))
    assert e.message() == (EVENT, b"one")
    assert [prepared.get(timeout=WAIT) for _ in range(2)] == ["tinyatv-link-test"] * 2
    assert prepared.empty()  # and not again until something comes


@pytest.mark.parametrize("never", [False, None])
def test_prepare_is_called_while_a_caller_waits(ends, never):
    """As long as there is work and no reply; None says that there never will be any again."""
    work, calls = [True, True], queue.SimpleQueue()

    def prepare():
        calls.put(threading.current_thread().name)
        return work.pop() if work else never

    e = ends(prepare=prepare)
    reply = asking("asking", e.link.request, (1, b""), LONG)
    assert [calls.get(timeout=WAIT) for _ in range(3)] == ["asking"] * 3
    sent(e, 3)
    e.peer.sendall(frame(1))
    assert reply.result(WAIT) == (1, b"")
    assert calls.empty()
    e.link.send((2, b""))
    assert calls.empty() is (never is None)


def test_idle_is_not_called_during_the_handshake(ends):
    calls = []
    e = ends(idle=calls.append, idle_after=0.01)
    with pytest.raises(CommandTimeout):
        e.link.request((1, b""), 0.1)
    assert calls == []


# -- open_socket -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["host.invalid", "", "two..dots", "x" * 64, "nul\0byte"])
def test_unknown_host(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=f"port {port} \\(mrp\\): ") as caught:
        open_socket(host, port, 5.0, "mrp")
    assert "\n" not in str(caught.value)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionFailed) as caught:
        open_socket("127.0.0.1", port, 5.0, "dmap")
    expect = f"cannot connect to 127.0.0.1 port {port} (dmap): Connection refused"
    assert str(caught.value) == expect
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.skipif(sys.platform != "linux", reason="others refuse when the queue is full")
def test_nobody_accepts():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        fits = socket.create_connection(("127.0.0.1", port))  # and fills the queue
        with fits, pytest.raises(ConnectionFailed, match="no answer in time"):
            open_socket("127.0.0.1", port, 0.2, "dmap")


# -- Listener --------------------------------------------------------------------------------------


def accepting():
    return [t for t in threading.enumerate() if t.name == "tinyatv-listener"]


def test_client_and_device_share_the_link():
    """Both ends over loopback: requests from many threads, answered by the other end."""
    devices = []

    def accepted(sock, address):
        link = Link(sock, HttpWire(), lambda m: link.send(Response(200, body=m.path.encode())))
        devices.append(link)
        link.start()

    listener = Listener(accepted)
    listener.start()
    assert listener.port > 0
    assert listener.host == "127.0.0.1"
    sock = open_socket("127.0.0.1", listener.port, WAIT, "dmap")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    client = Link(sock, HttpWire(), print)
    assert client.request(Request("GET", "/first"), WAIT).body == b"/first"
    client.start()
    wrong = []

    def ask(number):
        for count in range(20):
            path = f"/{number}/{count}"
            if client.request(Request("GET", path), WAIT).body.decode() != path:
                wrong.append(path)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert wrong == []
    client.close()
    listener.close()
    for device in devices:
        device.close()


def test_close_wakes_accept():
    accepted = threading.Event()
    listener = Listener(lambda sock, address: (sock.close(), accepted.set()))
    listener.start()
    socket.create_connection(("127.0.0.1", listener.port)).close()
    assert accepted.wait(WAIT)
    listener.close()
    assert accepting() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port))


def test_close_without_start():
    listener = Listener(print)
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port))


def test_close_from_accepted():
    done = threading.Event()

    def accepted(sock, address):
        sock.close()
        listener.close()
        done.set()

    listener = Listener(accepted)
    listener.start()
    thread = accepting()[0]
    with socket.create_connection(("127.0.0.1", listener.port)):
        assert done.wait(WAIT)
    thread.join(WAIT)
    assert accepting() == []


def test_second_close_disturbs_nobody():
    """The port may be somebody else's by now."""
    listener = Listener(print)
    listener.start()
    listener.close()
    with socket.create_server(("127.0.0.1", listener.port)) as other:
        listener.close()
        assert not select.select([other], [], [], 0)[0], "it knocked at somebody else's door"


def test_taken_port():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            Listener(print, port=port)


def test_out_of_descriptors_is_not_the_end():
    """Peers that find no descriptor wait in the queue, and are taken when there is one."""
    accepted = queue.SimpleQueue()
    warned, flooded = threading.Event(), threading.Event()
    warnings = []

    class Seen(logging.Filter):
        def filter(self, record):
            warnings.append(record.getMessage())
            warned.set()
            if len(warnings) > 100:
                flooded.set()
            return False

    resource = pytest.importorskip("resource")
    logger, seen = logging.getLogger("tinyatv.link"), Seen()
    listener = Listener(lambda sock, address: accepted.put(sock))
    listener.start()
    logger.addFilter(seen)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.closing(listener), socket.socket() as one, socket.socket() as two:
        try:
            # The lowest free number is the next to be given out; accept() may have one in reserve.
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            one.connect(("127.0.0.1", listener.port))
            two.connect(("127.0.0.1", listener.port))
            assert warned.wait(WAIT)
            assert not flooded.wait(0.5), "it tries as fast as it can, and logs each try"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            logger.removeFilter(seen)
        for _ in range(2):
            accepted.get(timeout=WAIT).close()
    assert warnings[0] == "tinyatv-listener: cannot accept: Too many open files"


# -- nothing left behind ---------------------------------------------------------------------------


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0


def test_many_cycles_leave_nothing():
    """Opened and closed in every way: by us, by the peer, by nonsense, before and after start."""
    peers = queue.SimpleQueue()
    listener = Listener(lambda sock, address: peers.put(sock))
    listener.start()
    before = descriptors(), threading.active_count()
    for number in range(200):
        ended = queue.SimpleQueue()
        sock = open_socket("127.0.0.1", listener.port, WAIT, "mrp")
        link = Link(sock, KeyedWire(), print, lost=ended.put, name="tinyatv-link-test")
        with peers.get(timeout=WAIT) as peer:
            if number % 4:
                link.start()
            if number % 4 == 1:
                link.send((1, b"x"))
            elif number % 4 == 2:
                peer.close()
                assert isinstance(ended.get(timeout=WAIT), ConnectionLost)
            elif number % 4 == 3:
                peer.sendall(b"\x01\xff\xff")
                assert isinstance(ended.get(timeout=WAIT), ProtocolError)
            link.close()
    assert (descriptors(), threading.active_count()) == before
    listener.close()
