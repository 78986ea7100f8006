"""One TCP connection with one reader thread, and the door that such connections come in by.

A :class:`Link` moves messages between a socket and a wire object (``wire/``). It pairs replies with
requests and knows nothing about what they mean, so both ends of every protocol use it.

One thread at a time reads. That is the reader thread, unless somebody waits for what will come: a
reply, or news. He takes the turn, reads until he has it, and gives the turn back. So it need not be
handed from one thread to another, which would take longer than all the rest that is done with it.

    reader thread   waits .................. (woken by nothing) ............ waits, reads, handles
    request()              sends, takes the turn, reads, handles, gives it back
    read_for()             waits in its place, reads, handles, goes away with what he wanted

Bytes wake only one of them, without a system call that would say which: see ``readiness.py``.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Callable

from .deadline import Deadline
from .errors import AppleTVError, CommandTimeout, ConnectionFailed, ConnectionLost, ProtocolError
from .readiness import Watch, ready

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Observer(Protocol):
        """Who hears of everything that links do; see ``trace.py``. It must not raise."""

        def sent(self, link: Link, message: Any) -> None: ...
        def received(self, link: Link, message: Any) -> None: ...
        def ended(self, link: Link, error: AppleTVError | None) -> None: ...

    class Wire(Protocol):
        """What a link needs of a wire object; see ``wire/``.

        One thread at a time feeds it and takes messages, one at a time encodes and asks what is
        owed; those may be two. Where it has ``encode_all(messages)``, that is used for several, and
        where its ``owes`` is False, it is not asked for debts.
        """

        def encode(self, message: Any) -> bytes: ...
        def feed(self, data: bytes) -> None: ...
        def next_message(self) -> Any: ...
        def owed(self) -> bytes: ...
        def key(self, message: Any) -> Any: ...


log = logging.getLogger(__name__)

CHUNK = 65536
QUIET = 0.002  # s; after that nobody seems to wait

observer: Observer | None = None  # one for all links, while a trace is written


def open_socket(host: str, port: int, timeout: float, protocol: str) -> socket.socket:
    """Connect to a device.

    Args:
        host: Address or name.
        port: TCP port.
        timeout: Seconds.
        protocol: For the message of an error.

    Raises:
        ConnectionFailed: Refused, unreachable, unknown name, or no answer in time.
    """
    try:
        sock = socket.create_connection((host, port), timeout)
    except (OSError, ValueError) as exc:  # ValueError: a name that cannot be one
        raise ConnectionFailed(
            f"cannot connect to {host} port {port} ({protocol}): {reason(exc)}"
        ) from exc
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def keep_alive(sock: socket.socket) -> None:
    """Let TCP notice within 21 s that the device is gone; not every system can be told when."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 1), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def reason(exc: BaseException) -> str:
    """The words of an error without its number: ``Connection refused``."""
    if isinstance(exc, (TimeoutError, socket.timeout)):  # one since Python 3.10
        return "no answer in time"
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


class Link:
    """A connection that carries messages.

    Before :meth:`start`, :meth:`request` reads and keeps what is no reply: that is where handshakes
    run. Afterwards the reader thread reads, or whoever waits in :meth:`request` or
    :meth:`read_for`.

    Args:
        sock: Connected socket; the link owns it from now on.
        wire: Turns messages into bytes and back.
        received: Called with each message that nobody asked for, in order, on the thread that
            reads: the reader thread, or one in :meth:`request` or :meth:`read_for`. It must not
            block, must not make requests, and must not need a lock that somebody holds while making
            one.
        lost: Called once, on the thread that notices, with the error that ended the link; with
            None after :meth:`close`.
        name: Of the reader thread.
        timeout: Seconds that sending may stall before the link is given up.
        idle: Called on the reader thread when nothing arrived for `idle_after` seconds, with 1;
            then with 2, 3 ... every `timeout` seconds until something arrives; False counts anew.
            An error that it raises ends the link.
        idle_after: Seconds; None never calls `idle`.
        prepare: Does a piece of work ahead; False if there is none to do, None if there never will
            be. Called after a message has gone out, while a reply is waited for, and on the reader
            thread when it has been quiet for a moment.
        shown: What the log shows of a message; it may hold what is nobody's business.
    """

    def __init__(
        self,
        sock: socket.socket,
        wire: Wire,
        received: Callable[[Any], object],
        *,
        lost: Callable[[AppleTVError | None], object] | None = None,
        name: str = "tinyatv-link",
        timeout: float = 5.0,
        idle: Callable[[int], object] | None = None,
        idle_after: float | None = None,
        prepare: Callable[[], bool | None] | None = None,
        shown: Callable[[Any], str] = repr,
    ) -> None:
        sock.setblocking(False)  # settimeout() would also cut sendall() short and ruin the nonces
        self.name = name
        self.error: AppleTVError | None = None
        self._sock = sock
        self._wire = wire
        self._owes = getattr(wire, "owes", True)
        self._encode_all = getattr(wire, "encode_all", self._encode_each)
        self._received = received
        self._lost = lost
        self._timeout = timeout
        self._idle = idle
        self._idle_after = idle_after
        self._idled = 0
        self._quiet_since = time.monotonic()
        self._prepare = prepare
        self._shown = shown
        self._sending = threading.Lock()
        self._reading = threading.Lock()  # whose turn it is; taken before `_sending`
        self._reads = 0  # the thread that has the turn, if it is not the reader thread
        self._unread = False  # somebody was woken for bytes and may not have read them all
        self._lent = threading.Lock()  # held in read_for(); taken before `_reading`
        self._watch: Watch | None = None  # without one, only the reader thread reads
        self._ending = threading.Lock()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._early: list[Any] = []  # what arrived during the handshake and was no reply
        self._keyed: dict[Any, queue.SimpleQueue[Any]] = {}
        self._in_order: list[queue.SimpleQueue[Any]] = []

    @property
    def ended(self) -> bool:
        """True once the link is closed or lost."""
        return self._ended

    def stale(self) -> bool:
        """True if the link has ended, or the peer has said something unasked, such as goodbye.

        For a link without a reader thread, before it is used again.
        """
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self._ended
        except OSError:
            pass  # it broke
        return True

    def start(self) -> None:
        """Start the reader thread; what arrived before and was no reply is handed on first."""
        with self._ending:  # close() on another thread joins it only once it runs
            if not self._ended:
                with contextlib.suppress(OSError):
                    self._watch = Watch(self._sock)
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # there are too many already
                self._thread = None
                raise

    def send(self, message: Any, *, answered: bool = False) -> None:
        """Send a message without waiting for a reply.

        Args:
            answered: True if there will be one, on a wire whose replies come in order; it is
                dropped.

        Raises:
            ConnectionLost: The link has ended.
            ValueError: The wire cannot encode it.
        """
        with self._sending:
            data = self._wire.encode(message)
            if answered:
                self._in_order.append(queue.SimpleQueue())
            if (watching := observer) is not None:
                watching.sent(self, message)
            broken = self._write(data + self._wire.owed() if self._owes else data)
        if broken is not None:
            raise self._broken(broken)
        self._work_ahead()

    def request(
        self, message: Any, timeout: float | None = None, *, after: Sequence[Any] = ()
    ) -> Any:
        """Send a message and wait for its reply.

        Args:
            timeout: Seconds; None takes that of the link.
            after: Messages without a reply that leave before it, all at once.

        Raises:
            CommandTimeout: No reply in time.
            ConnectionLost: The link has ended.
            ProtocolError: The peer sent nonsense.
        """
        reply: queue.SimpleQueue[Any] = queue.SimpleQueue()
        key = self._wire.key(message)
        with self._sending:
            # Registered before it is sent: the answer may be faster than we are.
            if key is None:
                self._in_order.append(reply)
            else:
                self._keyed[key] = reply
            try:
                data = self._encode_all((*after, message)) if after else self._wire.encode(message)
            except BaseException:
                self._keyed.pop(key, None)
                if reply in self._in_order:
                    self._in_order.remove(reply)
                raise
            if (watching := observer) is not None:
                for one in (*after, message):
                    watching.sent(self, one)
            broken = self._write(data + self._wire.owed() if self._owes else data)
        if broken is not None:
            raise self._broken(broken)
        deadline = Deadline(self._timeout if timeout is None else timeout)
        try:
            if self._thread is None:
                self._read_until(reply, deadline)
            elif reply.empty() and self._watch is not None:
                self._take_turn(reply, deadline)
            answer = reply.get(timeout=deadline.wait())
        except queue.Empty:
            raise CommandTimeout(
                f"no reply to {self._shown(message)} within {deadline.seconds} s ({self.name})"
            ) from None
        finally:
            # A reply in order that comes too late must still find its place in the queue.
            self._keyed.pop(key, None)
        if answer is None:
            raise self._ended_error()
        return answer

    def read_for(self, wanted: Callable[[], bool]) -> None:
        """Read on the caller's thread until `wanted()`, so that what comes is there at once.

        The reader thread only keeps the time meanwhile. Returns early when somebody else reads, at
        the end of the link, and where this cannot be done: then the reader thread reads.

        Args:
            wanted: Asked after each message, and after each :meth:`ring`.
        """
        with self._lent:
            if self._watch is None or self._ended:
                return  # the watch may be closed
            try:
                self._watch.lend()
            except OSError:
                return  # out of descriptors
            try:
                while not (self._ended or wanted()):
                    work = self._work_ahead()  # it is quiet, or we would have something to do
                    if self._watch.wait_as_guest(0 if work else None) and not self._read_once():
                        return
            finally:
                self._look(self._watch.take_back)

    def ring(self) -> None:
        """Let the thread in :meth:`read_for` ask again whether there is what it wants."""
        if self._watch is not None:
            self._watch.ring()

    def fail(self, error: AppleTVError) -> None:
        """End the link because of something that it cannot see itself."""
        self._end(error)

    def close(self) -> None:
        """End the link. Safe to call more than once and from any thread; blocks up to 5 s."""
        self._end(None)
        with self._ending:
            thread = self._thread
        # A thread that reads cannot wait for the reader thread, which waits for its turn.
        if thread is not None and threading.get_ident() not in (thread.ident, self._reads):
            thread.join(5)

    def _encode_each(self, messages: tuple[Any, ...]) -> bytes:
        return b"".join(map(self._wire.encode, messages))

    def _write(self, data: bytes) -> AppleTVError | None:
        """Send all bytes, or return why not; the caller holds the lock, so nobody is told here."""
        view = memoryview(data)
        while view:
            if self._ended:
                return self._ended_error()
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                if not ready(self._sock, True, self._timeout):
                    return ConnectionLost(f"{self.name}: peer does not read any more")
            except OSError as exc:
                error = ConnectionLost(f"{self.name}: {reason(exc)}")
                error.__cause__ = exc
                return error
        return None

    def _broken(self, error: AppleTVError) -> AppleTVError:
        self._end(error)
        return self._ended_error()

    def _run(self) -> None:
        """What the reader thread does: read when it is its turn, and notice when it is quiet."""
        try:
            with self._reading:
                self._deliver()
            while not self._ended:
                left = self._left()
                if self._wait(left) and self._reading.acquire(timeout=-1 if left is None else left):
                    try:
                        self._read()
                    finally:
                        self._reading.release()
                elif self._left() == 0:  # else a caller has read meanwhile, or reads now
                    self._be_idle()
        except Exception as exc:
            self._failed(exc)
        finally:
            self._end(None)
            with self._lent, self._reading, self._sending:  # nobody may be using it
                self._sock.close()
                if self._watch is not None:
                    self._watch.close()

    def _left(self) -> float | None:
        """Seconds until it has been quiet for too long; None for ever."""
        timeout = self._timeout if self._idled else self._idle_after
        if timeout is None:
            return None
        return max(0.0, self._quiet_since + timeout - time.monotonic())

    def _wait(self, timeout: float | None) -> bool:
        """Wait for bytes, and use a quiet moment; False if the time ran out."""
        while self._prepare is not None:
            if self._arrived(QUIET):
                return True
            if not self._work_ahead():
                break
        return self._arrived(timeout)

    def _work_ahead(self) -> bool:
        """Do a piece of work that will be needed; False if there is none."""
        done = self._prepare() if self._prepare is not None else None
        if done is None:
            self._prepare = None
        return bool(done)

    def _arrived(self, timeout: float | None) -> bool:
        if self._watch is None:
            return ready(self._sock, False, timeout)
        return self._watch.wait(timeout)

    def _be_idle(self) -> None:
        self._quiet_since = time.monotonic()
        if self._idle is None:
            return
        self._idled += 1
        try:
            if self._idle(self._idled) is False:
                self._idled = 0
        except AppleTVError as exc:
            self._end(exc)

    def _take_turn(self, reply: queue.SimpleQueue[Any], deadline: Deadline) -> None:
        """Read in place of the reader thread until the reply is there, if nobody else reads."""
        if self._watch is None or not self._reading.acquire(blocking=False):
            return
        try:
            self._reads = threading.get_ident()
            if not self._ended:  # then the watch may be closed
                self._read_until(reply, deadline)
        finally:
            self._leave_rest()
            self._reads = 0
            self._reading.release()

    def _read_once(self) -> bool:
        """Read in place of the reader thread what is there; False if somebody else reads."""
        if not self._reading.acquire(blocking=False):
            return False
        try:
            self._reads = threading.get_ident()
            self._read()
        except Exception as exc:
            self._failed(exc)
        finally:
            self._reads = 0
            self._reading.release()
        return True

    def _leave_rest(self) -> None:
        """Before the turn is given back: what is still unread woke nobody else."""
        if self._unread and self._watch is not None and not self._ended:
            self._look(self._watch.look_again)

    def _look(self, call: Callable[[], object]) -> None:
        """Let the watch look at the socket again; a link that nobody looks at must end."""
        try:
            call()
        except OSError as exc:  # no memory for that, or too many are watched by now
            self._end(ConnectionLost(f"{self.name}: cannot watch it: {reason(exc)}"), exc)

    def _read_until(self, reply: queue.SimpleQueue[Any], deadline: Deadline) -> None:
        """Read on the caller's thread until the reply is there.

        During the handshake, and no message further: what comes behind it may be sealed with keys
        that only the reply brings.
        """
        last = reply if self._thread is None else None
        waiting, work = False, self._prepare is not None
        arrived = self._arrived if self._watch is None else self._watch.wait_as_asker
        try:
            self._deliver(last)
            while reply.empty() and not self._ended and not deadline.over:
                waiting = self._unread = True
                work = work and self._work_ahead()  # the peer is busy with the request
                try:
                    self._unread = arrived(0 if work else deadline.left())
                except ValueError:
                    return  # closed, during the handshake: later, that takes a turn
                waiting = False
                if self._unread:
                    self._read(last)
        except Exception as exc:
            self._failed(exc)
        except BaseException:
            if not waiting:  # Ctrl-C in the middle of a message, which is lost
                self._end(ConnectionLost(f"{self.name}: interrupted"))
            raise

    def _read(self, last: queue.SimpleQueue[Any] | None = None) -> None:
        """Take what has arrived, and handle the messages in it."""
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            self._unread = False
            return  # somebody else was faster
        except OSError as exc:
            self._end(ConnectionLost(f"{self.name}: {reason(exc)}"), exc)
            return
        if not data:
            self._end(ConnectionLost(f"{self.name}: closed by the peer", closed=True))
            return
        self._unread = len(data) == CHUNK
        self._idled = 0
        self._quiet_since = time.monotonic()
        self._wire.feed(data)
        self._deliver(last)

    def _deliver(self, last: queue.SimpleQueue[Any] | None = None) -> None:
        """Handle the messages that are there, up to the reply that goes into `last`."""
        while self._early and self._thread is not None and not self._ended:
            self._received(self._early.pop(0))
        while not self._ended and (last is None or last.empty()):
            try:
                message = self._wire.next_message()
            except ValueError as exc:
                self._end(ProtocolError(f"{self.name}: {exc}"), exc)
                return
            if message is None:
                break
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s < %s", self.name, self._shown(message))
            if (watching := observer) is not None:
                watching.received(self, message)
            waiter = self._waiter(message)
            if waiter is not None:
                waiter.put(message)
            elif self._thread is None:
                self._early.append(message)
            else:
                self._received(message)
        if self._owes and not self._ended:
            with self._sending:  # sealed in the order in which it leaves, like all else
                broken = self._write(self._wire.owed())
            if broken is not None:
                self._end(broken)

    def _waiter(self, message: Any) -> queue.SimpleQueue[Any] | None:
        if getattr(message, "interim", False):  # the reply is still to come
            return None
        key = self._wire.key(message)
        if key is not None:
            return self._keyed.get(key)
        return self._in_order.pop(0) if self._in_order else None

    def _end(self, error: AppleTVError | None, cause: BaseException | None = None) -> None:
        """End once: keep the first error, wake everybody who waits."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
            self.error = error
        if error is not None and cause is not None:
            error.__cause__ = cause
        if (watching := observer) is not None:
            watching.ended(self, error)
        try:
            # close() alone would not wake a thread that is blocked on the socket.
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more, which is what we want
        for waiter in [*self._keyed.values(), *self._in_order]:
            waiter.put(None)
        if self._thread is None:
            self._sock.close()
        if self._lost is not None:
            self._lost(error)

    def _failed(self, exc: Exception) -> None:
        """A bug of ours must not leave a link that looks alive."""
        log.exception("%s: failed", self.name)
        self._end(ProtocolError(f"{self.name}: {exc}"), exc)

    def _ended_error(self) -> AppleTVError:
        error: AppleTVError
        if isinstance(self.error, ProtocolError):
            error = ProtocolError(str(self.error), self.error.data)
        else:
            error = ConnectionLost(str(self.error) if self.error else f"{self.name}: closed")
        error.__cause__ = self.error
        return error


class Listener:
    """A listening TCP socket with one accepting thread.

    Args:
        accepted: Called on the accepting thread with (socket, address) of each peer.
        host: Address to listen on.
        port: TCP port; 0 picks a free one.
        name: Of the thread.

    Raises:
        OSError: The port is taken, or the address is not ours.
    """

    def __init__(
        self,
        accepted: Callable[[socket.socket, tuple[str, int]], object],
        host: str = "127.0.0.1",
        port: int = 0,
        name: str = "tinyatv-listener",
    ) -> None:
        self._accepted = accepted
        self._name = name
        self._closing = threading.Event()
        self._lock = threading.Lock()  # over starting and closing
        self._thread: threading.Thread | None = None
        self._sock = socket.create_server((host, port), backlog=64)
        self.host, self.port = self._sock.getsockname()[:2]

    def start(self) -> None:
        """Start to accept; does nothing once it is closed."""
        with self._lock:
            if self._closing.is_set():
                return
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()
            self._thread = thread

    def close(self) -> None:
        """Stop to listen and join the thread. Safe to call twice and from any thread."""
        with self._lock:
            closed, thread = self._closing.is_set(), self._thread
            self._closing.set()
        if not closed:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._knock()  # only Linux wakes accept() by a shutdown
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)
        self._sock.close()

    def _knock(self) -> None:
        try:
            socket.create_connection((self.host, self.port), 1).close()
        except OSError:
            pass  # nobody accepts any more

    def _run(self) -> None:
        refused = False
        while not self._closing.is_set():
            try:
                sock, address = self._sock.accept()
            except OSError as exc:
                if not self._closing.is_set() and not refused:
                    log.warning("%s: cannot accept: %s", self._name, reason(exc))
                refused = True
                self._closing.wait(0.1)  # out of descriptors: let some go first
                continue
            refused = False
            if self._closing.is_set():
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted(sock, address)
