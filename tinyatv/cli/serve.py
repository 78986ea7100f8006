"""Keep connections open, so that a press from the shell takes milliseconds. Ctrl-C ends it.

While it runs, `tinyatv WORD ...` uses it by itself if the device is stored, no flags but -i, -n,
--protocol, --timeout and --json are given, and no word is about a file. All else works as before.
TINYATV_SERVE=off does without. Nobody but the same user can use it.
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

from .. import __version__, resident
from ..connecting import connect_to
from ..deadline import Deadline
from ..device import AppleTV
from ..errors import AppleTVError, CommandFailed, ConnectionFailed, ConnectionLost, ProtocolError
from ..files import socket_path, store_path
from ..link import reason
from ..store import Store
from .output import Output
from .target import stored
from .words import HERE, SAME, Run, parse_all

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..model import Device
    from . import Arguments, Parser

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # bytes of a request
MOST = 16  # idle connections; the one that was not used for the longest time goes first
SERVED = ("id", "name", "protocol", "timeout", "json", "words")  # flags that may differ


def add_flags(parser: Parser, word: str) -> None:
    """What to do with the one that runs."""
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--stop", action="store_true", help="end the one that runs")
    one.add_argument("--status", action="store_true", help="show what the one that runs does")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Serve until somebody has enough; or ask the one that runs."""
    if not hasattr(socket, "AF_UNIX") or os.name != "posix":
        from ..errors import NotSupported

        raise NotSupported("serve needs Unix sockets, which this system does not have")
    if flags.storage != "file" or flags.storage_filename:
        raise ValueError("serve takes the store from TINYATV_STORE, as those who use it do")
    store = os.path.abspath(store_path())
    path = socket_path(store)
    if flags.stop or flags.status:
        return _ask(path, store, "stop" if flags.stop else "status", out)
    server = Server(path, store)
    server.open()
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        # One that comes just before the server begins to wait would wake nobody otherwise.
        signal.set_wakeup_fd(server.waker, warn_on_full_buffer=False)
        out.result(
            f"Serving presses at {path}. Ctrl-C ends it.",
            serving=path,
            pid=os.getpid(),
            store=store,
        )
        server.run()
    finally:
        signal.set_wakeup_fd(-1)
        server.close()
    return 0


def _ask(path: str, store: str, what: str, out: Output) -> int:
    """Let the server that runs say how it is, or end."""
    try:
        sock = resident.connect(path)
    except BlockingIOError as exc:
        raise ConnectionFailed("serve: one is running, but lets nobody in: too many wait") from exc
    if sock is None:
        raise ConnectionFailed("serve: none is running")
    try:
        sock.settimeout(10)
        sock.sendall(resident.request(what, store))
        kind, data = resident.receive_answer(sock)
        if kind != resident.OUT:
            raise ConnectionFailed("serve: one of another version is running; end it by a signal")
        about = json.loads(data)
        if what == "stop":
            try:
                resident.receive(sock, 1)  # it hangs up when it has ended
            except ConnectionResetError:
                pass
    except OSError as exc:
        raise ConnectionLost(f"serve: {reason(exc)}") from exc
    finally:
        sock.close()
    lines = [f"pid {about['pid']}, {about['presses']} command lines served"]
    lines += [f"{one['name']}: {', '.join(one['connected'])}" for one in about["devices"]]
    out.result("ended" if what == "stop" else "\n".join(lines), **about)
    return 0


class Server:
    """Takes command lines on a Unix socket, each in a thread of its own.

    Args:
        path: Where it listens.
        store: Path of the store that its users must have, too.
    """

    def __init__(self, path: str, store: str) -> None:
        from . import Arguments, common_flags

        self._path = path
        self._store = store
        self._connections = Connections(store)
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
        if not resident.is_ours(os.lstat(folder)):
            raise CommandFailed(
                f"{folder} must be a folder that is yours alone (mode 700)", "serve"
            )
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
        """Take connections until :meth:`stop`, or :meth:`close` on another thread."""
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
        with self._taking:  # nobody comes from here on
            self._listener, listener = None, self._listener
        if listener is not None:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass  # the folder goes when its user logs out
            listener.close()
        self._end(socket.SHUT_RD)  # no more words, but what comes of those that were said
        self._connections.close()  # ends what waits for a device
        self._join(2.0)
        self._end(socket.SHUT_RDWR)  # what waits for somebody who does not read
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
            if not resident.same_user(sock):
                return
            version, what, store, *args = _fields(sock)
            if version != __version__ or store != self._store:
                answer.send(resident.NOT_MINE)
            elif what == "words":
                self._carry_out(args, answer)
                self._connections.forget()
            else:
                answer.send(resident.OUT, json.dumps(self._status()).encode())
                stops = what == "stop"
        except (OSError, ValueError, AppleTVError) as exc:
            log.debug("serve: %s", exc)
        except Exception:
            log.exception("serve: failed")
        finally:
            if stops and self._stopper is None:
                self._stopper = sock  # closed last of all, which tells that we have ended
                self.stop()
            else:
                sock.close()

    def _carry_out(self, args: list[str], answer: Answer) -> None:
        understood = self._understand(args)
        if understood is None:
            answer.send(resident.NOT_MINE)
            return
        device, flags, steps = understood
        answer.json = flags.json
        answer.send(resident.WAIT)
        code = 0
        try:
            held = self._connections.get(device, flags)
        except AppleTVError as exc:
            if self._listener is None:
                answer.send(resident.NOT_MINE)  # we are ending
                return
            code = answer.failure(exc)
        else:
            try:
                if not answer.ready():
                    answer.send(resident.NOT_MINE)
                    return
                self._presses += 1
                code = self._take_steps(steps, held, answer)
            finally:
                self._connections.release(held)
        answer.send(resident.EXIT, bytes([code]))

    def _take_steps(self, steps: list[Run], held: _Held, answer: Answer) -> int:
        """Do one thing after the other; returns the exit code."""
        atv = held.atv.result()
        try:
            for step in steps:
                answer.wait(0)
                step(atv, answer)
        except Exception as exc:
            log.debug("serve: %r", exc)
            if self._listener is None and not isinstance(exc, HungUp):
                exc = ConnectionLost(resident.UNKNOWN)  # it is us who have closed it
            self._connections.check(held, exc)
            return answer.failure(exc)
        return 0

    def _understand(self, args: list[str]) -> tuple[Device, Arguments, list[Run]] | None:
        """What a command line wants, or None: that is for the program to do, or to complain of."""
        from . import Arguments
        from .words import SUBCOMMANDS

        try:
            with self._parsing:
                flags = self._parser.parse_intermixed_args(args, namespace=Arguments())
            given = [flag for flag, value in vars(flags).items() if value != self._ours[flag]]
            words = {word.partition("=")[0] for word in flags.words}
            words = {SAME.get(word, word) for word in words}
            if not words or words & {*HERE, *SUBCOMMANDS} or not {*given} <= {*SERVED}:
                return None
            steps = parse_all(flags.words)
            device = stored(flags, Store(self._store))
        except (AppleTVError, ValueError, OSError, SystemExit, argparse.ArgumentError):
            return None
        return None if device is None else (device, flags, steps)

    def _status(self) -> dict[str, Any]:
        devices = [
            {"name": atv.name, "identifier": atv.device.identifier, "connected": atv.protocols}
            for atv in self._connections.all()
        ]
        return {"pid": os.getpid(), "presses": self._presses, "devices": devices}


class HungUp(ConnectionLost):
    """The program that wanted the command has gone, as by Ctrl-C; or the server is ending."""


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
            HungUp: Nobody is there any more.
        """
        try:
            self._sock.sendall(kind + len(data).to_bytes(4, "big") + data)
        except OSError as exc:
            raise HungUp(reason(exc)) from exc

    def ready(self) -> bool:
        """Say that all is prepared; True once the program says "go"."""
        self.send(resident.READY)
        try:
            return resident.receive(self._sock, 1) == resident.GO
        except OSError:
            return False

    def wait(self, seconds: float) -> None:
        """Wait, unless nobody wants the rest of the line any more.

        Raises:
            HungUp: Nobody does.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)  # the program says nothing more: it has gone
        if poll.poll(seconds * 1000):
            raise HungUp("tinyatv serve was stopped; the rest of the line was not done")

    def write(self, line: str) -> None:
        self.send(resident.OUT, f"{line}\n".encode("utf-8", "replace"))

    def warn(self, line: str) -> None:
        self.send(resident.ERR, f"{line}\n".encode("utf-8", "replace"))


class Connections:
    """Connections that stay open, by the device and by how it is to be used.

    None is closed while somebody uses it, but by :meth:`close`.

    Args:
        store: Path of the store that the devices are in.
    """

    def __init__(self, store: str) -> None:
        self._store = Store(store)
        self._lock = threading.Lock()
        self._held: dict[tuple[Any, ...], _Held] = {}  # the last one used at the end
        self._outdated: list[_Held] = []  # for nobody else; who uses one last closes it
        self._closed = False

    def get(self, device: Device, flags: Arguments) -> _Held:
        """The open connection to a device, for use until :meth:`release`.

        It is opened if there is none, or if the store has changed.

        Raises:
            AppleTVError: As for :func:`tinyatv.connect`.
        """
        key = (device.identifier or device.address, flags.protocol, flags.timeout)
        with self._lock:
            if self._closed:
                raise ConnectionLost("serve is ending")
            before = self._held.pop(key, None)
            opens = before is None or not before.is_good(device)
            held = _Held(device, self._store) if before is None or opens else before
            held.users += 1
            self._held[key] = held
            closing = self._superfluous()
            if before is not None and opens:
                closing += self._retire(before)
        for one in closing:
            one.close()
        if opens:
            held.open(flags)
        try:
            held.atv.result()
        except BaseException:
            self._drop(held)
            self.release(held)
            raise
        return held

    def release(self, held: _Held) -> None:
        """It is not used any more by one of those who got it."""
        with self._lock:
            held.users -= 1
            closing = self._superfluous()
            if held in self._outdated and not held.users:
                self._outdated.remove(held)
                closing.append(held)
        for one in closing:
            one.close()

    def check(self, held: _Held, error: Exception) -> None:
        """Use a connection no more that has failed in a way that a new one might not."""
        if isinstance(error, AppleTVError) and not isinstance(error, (CommandFailed, HungUp)):
            self._drop(held)

    def forget(self) -> None:
        """Close connections to devices that are not in the store any more."""
        try:
            known = {one for each in self._store.devices() for one in each.device.identifiers}
        except AppleTVError:
            return  # damaged: nobody said that they should go
        with self._lock:
            gone = [held for held in self._held.values() if held.device.identifier not in known]
        for held in gone:
            self._drop(held)

    def all(self) -> list[AppleTV]:
        """Those that are open now."""
        with self._lock:
            held = [*self._held.values(), *self._outdated]
        return [one.atv.result() for one in held if one.is_open]

    def close(self) -> None:
        """Close all; there will be no more."""
        with self._lock:
            self._closed = True
            held, self._held = [*self._held.values(), *self._outdated], {}
        for one in held:
            one.close()

    def _superfluous(self) -> list[_Held]:
        """Take out those that are too many, if nobody uses them; the caller has the lock."""
        idle = [key for key, one in self._held.items() if not one.users]
        return [self._held.pop(key) for key in idle[: max(0, len(self._held) - MOST)]]

    def _drop(self, held: _Held) -> None:
        """Nobody else gets it, and it is closed as soon as nobody uses it."""
        with self._lock:
            closing = self._retire(held)
        for one in closing:
            one.close()

    def _retire(self, held: _Held) -> list[_Held]:
        """The same, but returns what is to be closed now; the caller has the lock."""
        self._held = {key: one for key, one in self._held.items() if one is not held}
        if not held.users or self._closed:
            return [held]
        if held not in self._outdated:
            self._outdated.append(held)
        return []


class _Held:
    """One connection, maybe not open yet.

    Args:
        device: As the store knows it.
        store: The store.

    Attributes:
        device: As the store knew it.
        atv: What it will be, or the error.
        users: How many use it, or wait for it.
    """

    def __init__(self, device: Device, store: Store) -> None:
        from concurrent.futures import Future

        self.device = device
        self.atv: Future[AppleTV] = Future()
        self.users = 0
        self._told = _told(device)
        self._store = store
        self._protocols: tuple[str, ...] = ()

    def open(self, flags: Arguments) -> None:
        """Connect, on this thread; others wait for it."""
        try:
            atv = connect_to(
                self.device, self._store, remembered=True, timeout=flags.timeout,
                protocols=None if flags.protocol is None else [flags.protocol],
                scan_timeout=flags.scan_timeout,
            )  # fmt: skip
            self._protocols = atv.protocols
            # Who listens, hears of a loss before the next command does.
            atv.add_listener(lambda event: log.debug("%s: %r", atv.name, event))
        except BaseException as exc:
            self.atv.set_exception(exc)
        else:
            self.atv.set_result(atv)

    def is_good(self, device: Device) -> bool:
        """True if it is to the device as the store knows it now, and nothing of it is lost."""
        same = self._told == _told(device)
        return same and (not self.atv.done() or self.is_open)

    @property
    def is_open(self) -> bool:
        """True if all that had been connected still is."""
        if not self.atv.done() or self.atv.exception() is not None:
            return False
        return self.atv.result().protocols == self._protocols != ()

    def close(self) -> None:
        """Close it, or as soon as it is open."""
        self.atv.add_done_callback(_close)


def _close(atv: Future[AppleTV]) -> None:
    if atv.exception() is None:
        atv.result().close()


def _told(device: Device) -> tuple[Any, ...]:
    """What a connection depends on."""
    services = [(s.protocol, s.port, s.credentials, s.password) for s in device.services]
    return (device.address, services)


def _fields(sock: socket.socket) -> list[str]:
    """The fields of a request.

    Raises:
        ProtocolError: It is none.
    """
    sock.settimeout(resident.ANSWERS)
    size = int.from_bytes(resident.receive(sock, 4), "big")
    if size > LARGEST:
        raise ValueError(f"a request of {size} bytes")
    data = resident.receive(sock, size)
    fields = [field.decode("utf-8", "surrogateescape") for field in data.split(b"\0")[:-1]]
    sock.settimeout(None)
    if len(fields) < 3:
        raise ProtocolError("a request without a command")
    return fields


def _lock(path: str) -> int | None:
    """Hold a lock that ends with the process, whatever ends it; None if somebody else has it."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
