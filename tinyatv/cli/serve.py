"""Keep connections open, so that a press from the shell takes milliseconds. Ctrl-C ends it.

While it runs, `tinyatv WORD ...` uses it automatically if the device is stored, the only flags are
-i, -n, --protocol, --timeout or --json, and no word names a file. Everything else works as before.
TINYATV_SERVE=off ignores it. Only the same user can use it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..deadline import Deadline
from ..errors import AppleTVError, CommandFailed, ConnectionFailed, ConnectionLost, ProtocolError
from ..files import socket_path, store_path
from ..link import reason
from ..pool import MAX_IDLE, Pool, PooledConnection
from ..store import Store
from . import press
from .flags import Arguments, common_flags
from .notify import running
from .output import Output
from .target import stored
from .words import parse_all

if TYPE_CHECKING:
    from ..model import Device
    from .command import Step
    from .flags import Parser

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # bytes of a request
SERVED = ("id", "name", "protocol", "timeout", "json", "words")  # flags that may differ


def add_flags(parser: Parser, word: str) -> None:
    """What to do with the one that runs."""
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--stop", action="store_true", help="stop the one that is running")
    one.add_argument("--status", action="store_true", help="show what the one that is running does")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Serve until a signal; or ask the one that is running."""
    if not hasattr(socket, "AF_UNIX") or os.name != "posix":
        from ..errors import NotSupported

        raise NotSupported("serve needs Unix sockets, which this system does not have")
    if flags.storage != "file" or flags.storage_filename:
        raise ValueError("serve takes its store from TINYATV_STORE, as the programs that use it do")
    store = os.path.abspath(store_path())
    path = socket_path(store)
    if flags.stop or flags.status:
        return _ask(path, store, "stop" if flags.stop else "status", out)
    server = Server(path, store)
    server.open()
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        # A signal just before the server begins to wait would otherwise be missed.
        signal.set_wakeup_fd(server.waker, warn_on_full_buffer=False)
        out.result(
            f"Serving presses at {path}. Ctrl-C ends it.",
            serving=path,
            pid=os.getpid(),
            store=store,
        )
        with running(f"serving presses at {path}"):
            server.run()
    finally:
        signal.set_wakeup_fd(-1)
        server.close()
    return 0


def _ask(path: str, store: str, what: str, out: Output) -> int:
    """Ask the running server for its status, or to stop."""
    try:
        sock = press.connect(path)
    except BlockingIOError as exc:
        raise ConnectionFailed("serve: one is running, but too many callers wait") from exc
    if sock is None:
        raise ConnectionFailed("serve: none is running")
    try:
        sock.settimeout(10)
        sock.sendall(press.request(what, store))
        kind, data = press.receive_answer(sock)
        if kind != press.OUT:
            raise ConnectionFailed("serve: another version is running; stop it with a signal")
        about = json.loads(data)
        if what == "stop":
            try:
                press.receive(sock, 1)  # it hangs up when it has ended
            except ConnectionResetError:
                pass
    except OSError as exc:
        raise ConnectionLost(f"serve: {reason(exc)}") from exc
    finally:
        sock.close()
    lines = [f"pid {about['pid']}, {about['presses']} command lines served"]
    lines += [f"{one['name']}: {', '.join(one['connected'])}" for one in about["devices"]]
    out.result("ended" if what == "stop" else lines, **about)
    return 0


class Server:
    """Takes command lines on a Unix socket, each in a thread of its own.

    Args:
        path: Where it listens.
        store: Path of the store that its users must have, too.
        max_idle: How many connections stay open.
    """

    def __init__(self, path: str, store: str, *, max_idle: int = MAX_IDLE) -> None:
        self._path = path
        self._store = store
        self._pool = Pool(Store(store), max_idle=max_idle)
        self._parser = common_flags()
        self._parser.add_argument("words", nargs="*")
        self._parsing = threading.Lock()  # argparse changes itself while it parses
        self._ours = vars(self._parser.parse_args([], namespace=Arguments()))
        self._lock: int | None = None
        self._listener: socket.socket | None = None
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._taking = threading.Lock()  # over the listener, and who came by it
        self._clients: list[tuple[socket.socket, threading.Thread]] = []
        self._stopper: socket.socket | None = None
        self._presses = 0

    # -- life ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Listen.

        Raises:
            CommandFailed: Another one does; or the place is open to others, or its name too long.
            OSError: The place cannot be made.
        """
        folder = os.path.dirname(self._path)
        os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        if not press.is_ours(os.lstat(folder)):
            raise CommandFailed(f"{folder} must be a folder of yours alone (mode 700)", "serve")
        self._lock = _lock(self._path + ".lock")
        if self._lock is None:
            raise CommandFailed("another one is running; tinyatv serve --status shows it", "serve")
        try:
            os.unlink(self._path)  # of one that was killed: we have the lock
        except FileNotFoundError:
            pass
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(self._path)
        except OSError as exc:
            if exc.errno is None:
                raise CommandFailed(f"{self._path}: {exc}; set XDG_RUNTIME_DIR", "serve") from exc
            raise
        os.chmod(self._path, 0o600)
        self._listener.listen(1024)  # a connect() that has a time limit does not wait for room
        self._listener.setblocking(False)

    def run(self) -> None:
        """Accept connections until :meth:`stop`, or :meth:`close` on another thread."""
        listener = self._listener
        assert listener is not None, "open() comes first"
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(listener, select.POLLIN)
        while True:
            ready = [number for number, _ in poll.poll()]
            if self._woken.fileno() in ready:
                return
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                continue  # it has gone again
            except OSError as exc:
                if self._listener is None:
                    return  # closed
                log.warning("serve: cannot accept: %s", reason(exc))
                time.sleep(0.1)  # out of descriptors: let some go first
                continue
            sock.setblocking(True)
            name = f"tinyatv-serve-{sock.fileno()}"
            thread = threading.Thread(target=self._serve, args=(sock,), name=name, daemon=True)
            with self._taking:
                if self._listener is None:  # closed
                    sock.close()
                    return
                self._clients = [one for one in self._clients if one[1].is_alive()]
                try:
                    thread.start()
                except RuntimeError as exc:  # no more threads
                    log.warning("serve: cannot serve: %s", exc)
                    sock.close()
                else:
                    self._clients.append((sock, thread))

    @property
    def waker(self) -> int:
        """Descriptor for ``signal.set_wakeup_fd``: any byte lets :meth:`run` return."""
        return self._wake.fileno()

    def stop(self) -> None:
        """Let :meth:`run` return. From any thread, and from a signal handler."""
        try:
            self._wake.send(b"\0")
        except OSError:
            pass  # it has ended already

    def close(self) -> None:
        """Close all connections and join all threads; blocks up to 5 s. Safe to call twice."""
        with self._taking:  # no more clients from here on
            self._listener, listener = None, self._listener
        if listener is not None:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass  # the folder goes when its user logs out
            listener.close()
        self._end(socket.SHUT_RD)  # no more words, but what comes of those that were said
        self._pool.close()  # ends what waits for a device
        self._join(2.0)
        self._end(socket.SHUT_RDWR)  # what waits for a client that does not read
        self._join(3.0)
        self._wake.close()
        self._woken.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._stopper is not None:
            self._stopper.close()

    def _end(self, how: int) -> None:
        for sock, _ in self._clients:
            if sock is self._stopper:
                continue
            try:
                sock.shutdown(how)
            except OSError:
                pass  # it has gone already

    def _join(self, seconds: float) -> None:
        deadline = Deadline(seconds)
        for _, thread in self._clients:
            thread.join(deadline.left())

    # -- one connection --------------------------------------------------------------------------

    def _serve(self, sock: socket.socket) -> None:
        answer = Answer(sock)
        stops = False
        try:
            if not press.same_user(sock):
                return
            version, what, store, *args = _fields(sock)
            if version != __version__ or store != self._store:
                answer.send(press.NOT_MINE)
            elif what == "words":
                self._carry_out(args, answer)
                self._pool.forget()
            else:
                answer.send(press.OUT, json.dumps(self._status()).encode())
                stops = what == "stop"
        except (OSError, ValueError, AppleTVError) as exc:
            log.debug("serve: %s", exc)
        except Exception:
            log.exception("serve: failed")
        finally:
            if stops and self._stopper is None:
                self._stopper = sock  # closed last of all, which shows that we have ended
                self.stop()
            else:
                sock.close()

    def _carry_out(self, args: list[str], answer: Answer) -> None:
        understood = self._understand(args)
        if understood is None:
            answer.send(press.NOT_MINE)
            return
        device, flags, steps = understood
        answer.json = flags.json
        answer.send(press.WAIT)
        code = 0
        try:
            connection = self._pool.get(
                device, protocols=None if flags.protocol is None else [flags.protocol],
                timeout=flags.timeout, scan_timeout=flags.scan_timeout,
                acts=any(step.command.acts for step in steps),
            )  # fmt: skip
        except AppleTVError as exc:
            if self._listener is None:
                answer.send(press.NOT_MINE)  # we are ending
                return
            code = answer.failure(exc)
        else:
            try:
                if not answer.ready():
                    answer.send(press.NOT_MINE)
                    return
                self._presses += 1
                code = self._take_steps(steps, connection, answer)
            finally:
                self._pool.release(connection)
        answer.send(press.EXIT, bytes([code]))

    def _take_steps(self, steps: list[Step], connection: PooledConnection, answer: Answer) -> int:
        """Do one thing after the other; returns the exit code."""
        atv = connection.atv
        try:
            for step in steps:
                answer.wait(0)
                step(atv, answer)
        except Exception as exc:
            log.debug("serve: %r", exc)
            if not isinstance(exc, ClientGone):
                if self._listener is None:
                    exc = ConnectionLost(press.UNKNOWN)  # it is us who have closed it
                self._pool.check(connection, exc)
            return answer.failure(exc)
        return 0

    def _understand(self, args: list[str]) -> tuple[Device, Arguments, list[Step]] | None:
        """What a command line wants; None leaves it to the program, errors included."""

        try:
            with self._parsing:
                flags = self._parser.parse_intermixed_args(args, namespace=Arguments())
            given = [flag for flag, value in vars(flags).items() if value != self._ours[flag]]
            if not {*given} <= {*SERVED}:
                return None
            steps = parse_all(flags.words)
            if not steps or not all(step.command.served for step in steps):
                return None
            device = stored(flags, Store(self._store))
        except (AppleTVError, ValueError, OSError, SystemExit, argparse.ArgumentError):
            return None
        return None if device is None else (device, flags, steps)

    def _status(self) -> dict[str, Any]:
        devices = [
            {"name": atv.name, "identifier": atv.device.identifier, "connected": atv.protocols}
            for atv in self._pool.all()
        ]
        return {"pid": os.getpid(), "presses": self._presses, "devices": devices}


class ClientGone(ConnectionLost):
    """The program that sent the command has gone, as by Ctrl-C; or the server is stopping."""


class Answer(Output):
    """What a command prints, on its way to the program that prints it.

    Args:
        sock: Connection to the program.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(False)
        self._sock = sock

    def send(self, kind: bytes, data: bytes = b"") -> None:
        """Send one part of the answer.

        Raises:
            ClientGone: It has gone.
        """
        try:
            self._sock.sendall(kind + len(data).to_bytes(4, "big") + data)
        except OSError as exc:
            raise ClientGone(reason(exc)) from exc

    def ready(self) -> bool:
        """Say that all is prepared; True once the program says "go"."""
        self.send(press.READY)
        try:
            return press.receive(self._sock, 1) == press.GO
        except OSError:
            return False

    def wait(self, seconds: float) -> None:
        """Wait, unless the program has gone.

        Raises:
            ClientGone: It has.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)  # the program says nothing more: it has gone
        if poll.poll(seconds * 1000):
            raise ClientGone("tinyatv serve was stopped; the rest of the line was not run")

    def write(self, line: str) -> None:
        self.send(press.OUT, f"{line}\n".encode("utf-8", "replace"))

    def warn(self, line: str) -> None:
        self.send(press.ERR, f"{line}\n".encode("utf-8", "replace"))


def _fields(sock: socket.socket) -> list[str]:
    """The fields of a request.

    Raises:
        ProtocolError: It is none.
    """
    sock.settimeout(press.ANSWERS)
    size = int.from_bytes(press.receive(sock, 4), "big")
    if size > LARGEST:
        raise ValueError(f"a request of {size} bytes")
    data = press.receive(sock, size)
    fields = [field.decode("utf-8", "surrogateescape") for field in data.split(b"\0")[:-1]]
    sock.settimeout(None)
    if len(fields) < 3:
        raise ProtocolError("a request without a command")
    return fields


def _lock(path: str) -> int | None:
    """Hold a lock that ends with the process, whatever ends it; None if another process has it."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
