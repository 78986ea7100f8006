"""One TCP connection with one reader thread, and the listening socket that accepts connections.

A :class:`Link` moves messages between a socket and a wire object (``wire/``). It matches replies
with requests and does not know what messages mean, so both ends of every protocol use it.

Only one thread reads at a time. Normally that is the reader thread. While a thread waits in
:meth:`Link.request`, that thread reads: it gets its reply without being woken by another thread,
which makes a key press 15 % faster. Time runs from left to right::

                           the request leaves     its reply arrives       an event arrives
                                  |                      |                       |
    reader thread   wait..........|......................|.......................recv, handle, wait
    requester       encode, send, claim, wait............recv, handle, release, return

``claim`` takes the read lock. If another requester holds it already, this one waits in a queue, and
the holder delivers the reply. ``release`` wakes the reader thread if bytes are left over. How bytes
wake only one of the two threads, without a system call to choose it: see ``readiness.py``.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import socket
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable

from .addresses import as_list, connect_first, host_of, own_end, sockaddr
from .deadline import Deadline, Patience
from .errors import AppleTVError, CommandTimeout, ConnectionFailed, ConnectionLost, ProtocolError
from .readiness import ExclusivePoller, ready
from .threads import FORKED, NESTED, join, start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from .redact import Redactor

    class Observer(Protocol):
        """Is notified of everything that links do; see ``trace.py``. It must not raise."""

        def sent(self, link: Link, message: Any) -> None: ...
        def received(self, link: Link, message: Any) -> None: ...
        def ended(self, link: Link, error: AppleTVError | None) -> None: ...

    class Wire(Protocol):
        """What a link needs from a wire object; see ``wire/``.

        One thread at a time calls ``feed`` and ``next_message``; one at a time calls ``encode`` and
        ``pending_replies``; those may be two different threads. Two attributes are optional:
        ``encode_all(messages)`` encodes several messages at once, and ``has_replies`` is False if
        the wire itself never has to reply, so that ``pending_replies`` need not be called.
        """

        def encode(self, message: Any) -> bytes: ...
        def feed(self, data: bytes) -> None: ...
        def next_message(self) -> Any: ...
        def pending_replies(self) -> bytes: ...
        def key(self, message: Any) -> Any: ...


log = logging.getLogger(__name__)

EARLY = 32  # messages during a handshake that are no replies; ours: devices send none
EARLY_BYTES = 128 * 1024  # of them, as far as they are not replies
CHUNK = 65536  # bytes; the most that one recv() takes
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
QUIET = 0.002  # s without traffic before `prepare` may use the reader thread

observer: Observer | None = None  # one for all links, while a trace is written

_links: weakref.WeakSet[Link] = weakref.WeakSet()  # a child of a fork must not use any of them


def open_socket(
    hosts: str | Sequence[str],
    port: int,
    timeout: float,
    protocol: str,
    *,
    check: Callable[[], object] | None = None,
) -> socket.socket:
    """Connect to a device.

    Args:
        hosts: Its address or name; of several, best first, the next is tried when one fails or is
            slow.
        port: TCP port.
        timeout: Seconds, for all of them.
        protocol: For the error message.
        check: Called every 0.1 s while that takes; what it raises ends it.

    Raises:
        ConnectionFailed: Refused, unreachable, unknown name, or no answer in time.
    """
    hosts = as_list(hosts)
    try:
        sock = connect_first(hosts, port, timeout, check=check)
    except (OSError, ValueError) as exc:  # ValueError: not a valid host name
        where = f"{' or '.join(hosts) or 'no address'} port {port} ({protocol})"
        raise ConnectionFailed(f"cannot connect to {where}: {reason(exc)}") from exc
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def keep_alive(sock: socket.socket) -> None:
    """Make TCP detect within 21 s that the device is gone, where the system has these options."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 1), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def reason(exc: BaseException) -> str:
    """The text of an error without its number: ``Connection refused``."""
    if isinstance(exc, (TimeoutError, socket.timeout)):  # the same class since Python 3.10
        return "no answer in time"
    if isinstance(exc, MemoryError):
        return "out of memory"
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


def is_full(error: BaseException | None) -> bool:
    """True if it is this computer that has no room for another socket: the peer may be there."""
    return getattr(error, "errno", None) in FULL


def cause_of(error: BaseException, label: str) -> str:
    """The text of an error without what it is about: the label of a link."""
    text = str(error)
    return text[len(label) + 2 :] if text.startswith(f"{label}: ") else text


def lost(label: str, error: AppleTVError | None) -> ConnectionLost:
    """The error of a command whose link has ended: what was lost, and why, once.

    Args:
        label: Of the link.
        error: Of the link; None if it was closed here.
    """
    if error is None:
        return ConnectionLost(f"connection to {label} closed")
    refused = isinstance(error, ConnectionFailed) and error.__cause__  # it was to be opened again
    text = f"connection to {label} lost: {reason(refused) if refused else cause_of(error, label)}"
    found = ConnectionLost(text, closed=getattr(error, "closed", False))
    found.__cause__ = error
    return found


class Link:
    """A connection that carries messages.

    Before :meth:`start`, only :meth:`request` reads; it keeps whatever is not its reply. That is
    how handshakes run. After :meth:`start`, the reader thread reads, or a thread in
    :meth:`request`.

    Args:
        sock: Connected socket; the link owns it from now on.
        wire: Turns messages into bytes and back.
        received: Called with each message that is not a reply to a request, in order, on the
            reading thread: the reader thread, or one in :meth:`request`. It must not block, must
            not make requests, and must not need a lock that another thread holds during a request.
        lost: Called once, on the thread that detects the end, with the error that ended the link;
            with None after :meth:`close`.
        name: Of the reader thread, and of the link in logs.
        label: What errors call it; None takes `name`.
        timeout: Seconds; default for replies, and how long sending may stall before the link ends.
        idle: Called on the reader thread when nothing arrived for `idle_after` seconds, with 1;
            then with 2, 3 ... every `idle_every` seconds until something arrives. If it returns
            False, the count starts again. An error that it raises ends the link. It is also called
            on the thread of a request that timed out although nothing else arrived; if the next
            request times out in the same way, that ends the link.
        idle_after: Seconds; None never calls `idle`.
        idle_every: Seconds; None takes `timeout`.
        prepare: Does a piece of work ahead of time. Returns False if there is none now, None if
            there will never be any. Called after a message was sent, while a reply is awaited, and
            on the reader thread after a moment without traffic.
        message_timeout: Seconds from the first byte of a message to its last, for peers that
            no caller waits for; None forever.
    """

    def __init__(
        self,
        sock: socket.socket,
        wire: Wire,
        received: Callable[[Any], object],
        *,
        lost: Callable[[AppleTVError | None], object] | None = None,
        name: str = "tinyatv-link",
        label: str | None = None,
        timeout: float = 5.0,
        idle: Callable[[int], object] | None = None,
        idle_after: float | None = None,
        idle_every: float | None = None,
        prepare: Callable[[], bool | None] | None = None,
        message_timeout: float | None = None,
    ) -> None:
        sock.setblocking(
            False
        )  # with settimeout(), sendall() could stop half-way: nonces would skip
        self.name = name
        self.label = label or name
        self.error: AppleTVError | None = None
        self._sock = sock
        self._wire = wire
        self._has_replies = getattr(wire, "has_replies", True)
        self._encode_all = getattr(wire, "encode_all", self._encode_each)
        self._received = received
        self._lost = lost
        self._timeout = timeout
        self._idle = idle
        self._idle_after = idle_after
        self._idle_every = timeout if idle_every is None else idle_every
        self._idle_count = 0  # calls of `idle` since something arrived
        self._arrivals = 0  # how often something arrived
        self._last_received = time.monotonic()
        self._prepare = prepare
        self._redactor: Redactor | None = None  # made when the first message is logged
        # All of them may be taken twice: by a thread, and by a signal handler that interrupts it.
        self._send_lock = threading.RLock()  # messages leave in the order in which they are sealed
        self._sending = False  # the send lock is held, and a message may be half sealed
        self._read_lock = threading.RLock()  # held by the thread that reads; before `_send_lock`
        self._reading_requester = 0  # identifier of the requester that holds it, or 0
        self._unread = False  # that requester was woken and may have left bytes in the socket
        self._poller: ExclusivePoller | None = None  # None: only the reader thread reads
        self._state_lock = threading.RLock()  # over starting and ending
        self._ended = False
        self._reader: threading.Thread | None = None
        self._unanswered = 0  # bytes received since the last reply
        self._replied = 0  # how many replies there were
        self._partial_since: float | None = None  # when the first bytes of a message arrived
        self._message_timeout = message_timeout
        self._early: list[Any] = []  # messages during the handshake that were not replies
        self._keyed: dict[Any, queue.SimpleQueue[Any]] = {}  # who waits for which reply
        self._in_order: list[queue.SimpleQueue[Any]] = []  # on wires whose replies have no key
        _links.add(self)

    @property
    def ended(self) -> bool:
        """True once the link is closed or lost."""
        return self._ended

    def stale(self) -> bool:
        """True if the link has ended, or unrequested bytes arrived, such as a FIN.

        To be called before a link without a reader thread is used again.
        """
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self._ended
        except OSError:
            pass  # reset
        return True

    def start(self) -> None:
        """Start the reader thread; messages kept from the handshake are delivered first.

        Raises:
            AppleTVError: The system has no room for another thread.
        """
        with self._state_lock:  # close() must not join a thread that does not run yet
            if not self._ended:
                with contextlib.suppress(OSError):
                    self._poller = ExclusivePoller(self._sock)
            try:
                self._reader = start(self._run, self.name)
            except BaseException:
                self._end(ConnectionLost(f"{self.label}: not started"))
                raise

    def send(self, message: Any, *, answered: bool = False) -> None:
        """Send a message without waiting for a reply.

        Args:
            answered: True if a reply will come, on a wire whose replies come in order; it is
                dropped.

        Raises:
            ConnectionLost: The link has ended.
            ValueError: The wire cannot encode it.
        """
        try:
            with self._send_lock:
                if self._sending:
                    raise AppleTVError(f"{self.label}: {NESTED}")
                try:
                    self._sending = True
                    data = self._wire.encode(message)
                    if answered:
                        self._in_order.append(queue.SimpleQueue())
                    error = self._write(data, message)
                finally:
                    self._sending = False
        except BaseException as exc:
            self._not_sent(exc)
            raise
        if error is not None:
            raise self._broken(error)
        self._work_ahead()

    def request(
        self, message: Any, timeout: float | None = None, *, after: Sequence[Any] = (),
        silent: float | None = None,
    ) -> Any:  # fmt: skip
        """Send a message and wait for its reply.

        Args:
            timeout: Seconds; None takes that of the link.
            silent: Seconds to wait instead while the peer says nothing: it may be waking up. Once
                the reply has begun, `timeout` counts.
            after: Messages without a reply that are sent before it, in the same write.

        Raises:
            CommandTimeout: No reply in time.
            ConnectionLost: The link has ended.
            ProtocolError: The peer sent invalid data.
            AppleTVError: The caller is a signal handler that has interrupted a request.
        """
        reply: queue.SimpleQueue[Any] = queue.SimpleQueue()
        key = self._wire.key(message)
        try:
            with self._send_lock:
                reader = self._reading_requester
                if self._sending or (reader and reader == threading.get_ident()):
                    raise AppleTVError(f"{self.label}: {NESTED}")
                try:
                    self._sending = True
                    # Registered before it is sent: the reply may arrive before send() returns.
                    if key is None:
                        self._in_order.append(reply)
                    else:
                        self._keyed[key] = reply
                    messages = (*after, message)
                    data = self._encode_all(messages) if after else self._wire.encode(message)
                    broken = self._write(data, *messages)
                finally:
                    self._sending = False
        except BaseException as exc:
            if self._keyed.get(key) is reply:
                del self._keyed[key]
            if reply in self._in_order:
                self._in_order.remove(reply)
            self._not_sent(exc)
            raise
        if broken is not None:
            raise self._broken(broken)
        before = self._arrivals, self._idle_count
        seconds = self._timeout if timeout is None else timeout
        deadline = Deadline(seconds) if silent is None else Patience(seconds, silent)
        try:
            if self._reader is None:
                self._read_until(reply, deadline)
            elif reply.empty() and self._poller is not None:
                self._read_as_requester(reply, deadline)
            answer = reply.get(timeout=deadline.wait())
        except queue.Empty:
            self._timed_out(*before)
            error = CommandTimeout(
                f"no reply to {_title(message)} within {deadline.seconds} s ({self.label})"
            )
            error.seconds = deadline.seconds
            raise error from None
        finally:
            # Only keyed ones: a late reply on a wire in order must still find its place.
            self._keyed.pop(key, None)
        if answer is None:
            raise self._ended_error()
        return answer

    def fail(self, error: AppleTVError) -> None:
        """End the link because of an error that only its owner can detect."""
        self._end(error)

    def close(self) -> None:
        """End the link. Safe to call more than once and from any thread; blocks up to 5 s."""
        self._end(None)
        with self._state_lock:
            reader = self._reader
        # Whoever holds the read lock cannot join the reader thread, which needs that lock to end.
        if self._reading_requester != threading.get_ident():
            join(reader, 5)

    # -- sending ---------------------------------------------------------------------------------

    def _not_sent(self, exc: BaseException) -> None:
        """Sending was interrupted: what is sealed and not sent cannot be made up for."""
        if isinstance(exc, MemoryError):
            raise self._broken(ConnectionLost(f"{self.label}: out of memory")) from exc
        if not isinstance(exc, Exception):
            self._end(ConnectionLost(f"{self.label}: interrupted"))

    def _encode_each(self, messages: tuple[Any, ...]) -> bytes:
        return b"".join(map(self._wire.encode, messages))

    def _write(self, data: bytes, *messages: Any) -> AppleTVError | None:
        """Send messages that are encoded as `data`, and pending replies behind them.

        The caller holds the send lock, so an error is returned: raising it would first call `lost`.
        """
        if observer is not None or log.isEnabledFor(logging.DEBUG):
            for message in messages:
                self._report(message, sent=True)
        if self._has_replies:
            data += self._wire.pending_replies()
        view = memoryview(data)
        while view:
            if self._ended:
                return self._ended_error()
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                if not ready(self._sock, True, self._timeout):
                    return ConnectionLost(f"{self.label}: peer does not read any more")
            except OSError as exc:
                error = ConnectionLost(f"{self.label}: {reason(exc)}")
                error.__cause__ = exc
                return error
        return None

    def _broken(self, error: AppleTVError) -> AppleTVError:
        self._end(error)
        return self._ended_error()

    def _work_ahead(self) -> bool:
        """Do a piece of work that will be needed later; False if there is none."""
        done = self._prepare() if self._prepare is not None else None
        if done is None:
            self._prepare = None
        return bool(done)

    def _report(self, message: Any, sent: bool) -> None:
        """Show a message to the observer and to the debug log, there without secrets."""
        if (watching := observer) is not None:
            (watching.sent if sent else watching.received)(self, message)
        if log.isEnabledFor(logging.DEBUG):
            from .redact import Redactor

            if self._redactor is None:
                self._redactor = Redactor()
            for line in self._redactor.lines(message, sent):
                log.debug("%s %s %s", self.name, ">" if sent else "<", line)

    # -- the reader thread -----------------------------------------------------------------------

    def _run(self) -> None:
        """Read unless a requester reads, and call `idle` when nothing has arrived."""
        self._reader = threading.current_thread()
        try:
            with self._read_lock:
                self._deliver()
            while not self._ended:
                left = self._until_idle()
                if self._wait(left) and self._read_lock.acquire(
                    timeout=-1 if left is None else left
                ):
                    try:
                        self._read()
                    finally:
                        self._read_lock.release()
                elif self._until_idle() == 0:  # otherwise a requester has read meanwhile
                    self._call_idle()
        except Exception as exc:
            self._failed(exc)
        finally:
            self._end(None)
            with self._read_lock, self._send_lock:  # no other thread may be using the socket
                self._release_socket()

    def _until_idle(self) -> float | None:
        """Seconds until `idle` is due; None if it never is."""
        timeout = self._idle_every if self._idle_count else self._idle_after
        if timeout is None:
            return None
        return max(0.0, self._last_received + timeout - time.monotonic())

    def _wait(self, timeout: float | None) -> bool:
        """Wait for bytes, working ahead meanwhile; False on time-out."""
        while self._prepare is not None:
            if self._wait_readable(QUIET):
                return True
            if not self._work_ahead():
                break
        return self._wait_readable(timeout)

    def _wait_readable(self, timeout: float | None) -> bool:
        if self._poller is None:
            return ready(self._sock, False, timeout)
        return self._poller.wait_as_reader(timeout)

    def _call_idle(self) -> None:
        self._last_received = time.monotonic()
        if self._idle is None:
            return
        self._idle_count += 1
        try:
            if self._idle(self._idle_count) is False:
                self._idle_count = 0
        except AppleTVError as exc:
            self._end(exc)

    def _timed_out(self, arrivals: int, idle_count: int) -> None:
        """A request got no reply: find out whether the peer is still there.

        Args:
            arrivals: How often something had arrived when the request was sent.
            idle_count: How often `idle` had been called since then.
        """
        if self._idle_after is None or self._reader is None or self._arrivals != arrivals:
            return
        if idle_count:  # a probe was sent before the request, and neither was answered
            self._end(ConnectionLost(f"{self.label}: the peer does not answer any more"))
        elif not self._idle_count:
            self._call_idle()

    # -- the requester ---------------------------------------------------------------------------

    def _read_as_requester(self, reply: queue.SimpleQueue[Any], deadline: Deadline) -> None:
        """Claim reading, read until the reply is there, release; does nothing if another reads."""
        lock = self._read_lock  # in the child of a fork, it is another one at the end
        if not lock.acquire(blocking=False):
            return
        try:
            self._reading_requester = threading.get_ident()
            if not self._ended:  # otherwise the poller may be closed
                self._read_until(reply, deadline)
        finally:
            try:
                self._release()
            finally:
                self._reading_requester = 0
                lock.release()

    def _release(self) -> None:
        """Wake the reader thread if bytes are left over: they woke only this thread."""
        if self._unread and self._poller is not None and not self._ended:
            try:
                self._poller.release()
            except OSError as exc:  # out of memory, or of epoll watches
                self._end(ConnectionLost(f"{self.label}: cannot watch it: {reason(exc)}"), exc)

    def _read_until(self, reply: queue.SimpleQueue[Any], deadline: Deadline) -> None:
        """Read on the caller's thread until the reply is there.

        During the handshake, no message beyond it is taken: what follows may be sealed with keys
        that only the reply brings.
        """
        last = reply if self._reader is None else None
        waiting, work = False, self._prepare is not None
        wait = self._wait_readable if self._poller is None else self._poller.wait_as_requester
        try:
            self._deliver(last)
            while reply.empty() and not self._ended and not deadline.over:
                waiting = self._unread = True
                work = work and self._work_ahead()  # the peer is busy with the request
                try:
                    self._unread = wait(0 if work else deadline.left())
                except (ValueError, OSError):
                    if not self._ended:
                        raise
                    return  # closed during the handshake, or in the child of a fork
                waiting = False
                if self._unread:
                    replied = self._replied
                    self._read(last)
                    if replied == self._replied:
                        deadline.heard()
        except Exception as exc:
            self._failed(exc)
        except BaseException:
            if not waiting:  # Ctrl-C while a message was handled: it is lost
                self._end(ConnectionLost(f"{self.label}: interrupted"))
            raise

    # -- reading, on either thread ---------------------------------------------------------------

    def _read(self, last: queue.SimpleQueue[Any] | None = None) -> None:
        """Take the bytes that have arrived, and deliver the messages in them."""
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            self._unread = False
            return  # another thread has read them
        except OSError as exc:
            self._end(ConnectionLost(f"{self.label}: {reason(exc)}"), exc)
            return
        if not data:
            self._end(ConnectionLost(f"{self.label}: closed by the peer", closed=True))
            return
        self._unread = len(data) == CHUNK
        self._arrivals += 1
        self._idle_count = 0
        self._last_received = time.monotonic()
        self._unanswered += len(data)
        self._wire.feed(data)
        if not self._deliver(last):
            self._wait_for_rest()

    def _wait_for_rest(self) -> None:
        """Bytes came that complete nothing: a peer that sends one now and then has an end."""
        if self._partial_since is None:
            self._partial_since = self._last_received
        elif (
            self._message_timeout is not None
            and self._last_received - self._partial_since > self._message_timeout
        ):
            limit = f"{self._message_timeout:g} s"
            self._end(ConnectionLost(f"{self.label}: a message took more than {limit}"))

    def _keep(self, message: Any) -> None:
        """Keep a message until the handshake is over, of a peer that has proved nothing yet."""
        self._early.append(message)
        if len(self._early) > EARLY or self._unanswered > EARLY_BYTES:
            self._end(ProtocolError(f"{self.label}: too many messages that nobody asked for"))

    def _deliver(self, last: queue.SimpleQueue[Any] | None = None) -> bool:
        """Deliver the messages that are complete, up to the reply that `last` waits for.

        Returns:
            True if there were any.
        """
        delivered = False
        while self._early and self._reader is not None and not self._ended:
            self._received(self._early.pop(0))
        while not self._ended and (last is None or last.empty()):
            try:
                message = self._wire.next_message()
            except ValueError as exc:
                self._end(ProtocolError(f"{self.label}: {exc}"), exc)
                return delivered
            if message is None:
                break
            delivered, self._partial_since = True, None
            if observer is not None or log.isEnabledFor(logging.DEBUG):
                self._report(message, sent=False)
            waiter = self._waiter(message)
            if waiter is not None:
                self._replied += 1
                self._unanswered = 0
                waiter.put(message)
            elif getattr(message, "interim", False):
                pass
            elif self._reader is None:
                self._keep(message)
            else:
                self._received(message)
        if self._has_replies and not self._ended:
            with self._send_lock:
                try:
                    self._sending = True
                    error = self._write(b"")
                finally:
                    self._sending = False
            if error is not None:
                self._end(error)
        return delivered

    def _waiter(self, message: Any) -> queue.SimpleQueue[Any] | None:
        """The queue in which a requester waits for this message; None if it is not a reply."""
        if getattr(message, "interim", False):  # the reply is still to come
            return None
        key = self._wire.key(message)
        if key is not None:
            return self._keyed.get(key)
        return self._in_order.pop(0) if self._in_order else None

    # -- the end ---------------------------------------------------------------------------------

    def _end(self, error: AppleTVError | None, cause: BaseException | None = None) -> None:
        """End it: keep the first error and wake every thread that waits.

        All but that is done each time, so that a second call finishes what Ctrl-C interrupted.
        """
        with self._state_lock:
            first, self._ended = not self._ended, True
            if first:
                self.error = error
                if error is not None and cause is not None:
                    error.__cause__ = cause
        if first and (watching := observer) is not None:
            watching.ended(self, error)
        try:
            # close() alone would not wake a thread that is blocked on the socket.
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more, which is the goal
        for waiter in [*self._keyed.values(), *self._in_order]:
            waiter.put(None)
        if self._reader is None:
            self._release_socket()
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(self.error)

    def _release_socket(self) -> None:
        self._sock.close()
        if self._poller is not None:
            self._poller.close()

    def leave_to_parent(self) -> None:
        """In the child of a fork: end it without a byte on the wire, which is the parent's.

        No lock is taken: a thread that did not come along may hold it.
        """
        if not self._ended:
            self._ended, self.error = True, ConnectionLost(f"{self.label}: {FORKED}")
        self._reader = self._lost = None
        self._send_lock, self._read_lock = threading.RLock(), threading.RLock()
        self._state_lock = threading.RLock()
        self._sending, self._reading_requester = False, 0
        for waiter in [*self._keyed.values(), *self._in_order]:
            waiter.put(None)
        self._release_socket()

    def _failed(self, exc: Exception) -> None:
        """A bug in this package must not leave a link that looks alive."""
        log.exception("%s: failed", self.name)
        self._end(ProtocolError(f"{self.label}: {exc}"), exc)

    def _ended_error(self) -> AppleTVError:
        error: AppleTVError
        if isinstance(self.error, ProtocolError):
            error = ProtocolError(str(self.error), self.error.data)
        else:
            error = ConnectionLost(str(self.error) if self.error else f"{self.label}: closed")
            error.closed = getattr(self.error, "closed", False)
        error.__cause__ = self.error
        return error


def _title(message: Any) -> str:
    """What a message is called in an error, without its content, which may be secret."""
    from .redact import title

    return title(message)


def _leave_to_parent() -> None:
    for link in list(_links):
        link.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave_to_parent)


class Listener:
    """A listening TCP socket with one accepting thread.

    Args:
        accepted: Called on the accepting thread with (socket, address) of each peer.
        host: Address to listen on.
        port: TCP port; 0 picks a free one.
        name: Of the thread.

    Raises:
        OSError: The port is taken, or the address is not one of this machine.
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
        family, place = sockaddr(host, port)
        self._sock = socket.create_server(place, family=family, backlog=64)
        self.host, self.port = own_end(self._sock), self._sock.getsockname()[1]

    def start(self) -> None:
        """Start accepting; does nothing once it is closed."""
        with self._lock:
            if not self._closing.is_set():
                self._thread = start(self._run, self._name)

    def close(self) -> None:
        """Stop listening and join the thread. Safe to call twice and from any thread."""
        with self._lock:
            closed, thread = self._closing.is_set(), self._thread
            self._closing.set()
        if not closed:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._wake_accept()  # only on Linux does a shutdown wake accept()
        join(thread, 5)
        self._sock.close()

    def _wake_accept(self) -> None:
        try:
            socket.create_connection((self.host, self.port), 1).close()
        except OSError:
            pass  # it does not accept any more

    def _run(self) -> None:
        refused = False
        while not self._closing.is_set():
            try:
                sock, address = self._sock.accept()
            except OSError as exc:
                if not self._closing.is_set() and not refused:
                    log.warning("%s: cannot accept: %s", self._name, reason(exc))
                refused = True
                self._closing.wait(0.1)  # out of descriptors: wait until some are closed
                continue
            refused = False
            if self._closing.is_set():
                sock.close()
                return
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._accepted(sock, (host_of(address), address[1]))
            except (AppleTVError, OSError) as exc:  # gone, or no room: the next may do
                log.warning("%s: cannot serve %s: %s", self._name, address[0], reason(exc))
                sock.close()
            except Exception:
                log.exception("%s: cannot serve %s", self._name, address[0])
                sock.close()
