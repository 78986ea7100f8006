"""Show what is playing, and whatever else changes, until Ctrl-C.

It ends with exit code 4 when the connection that tells what is playing is lost. --reconnect goes on
instead, --wait begins with a device that is not there yet. No device is woken.

At a terminal, --json also ends with ENTER; push_updates ends with ENTER or the end of standard
input, wherever that comes from. SIGTERM ends it with exit code 0. The last line of JSON has
"push_updates": "finished".

--all watches all devices that are stored, or all that -i, -n and -s name. Each line says which
device it is about. One that cannot be reached, or is lost, does not stop the others; with
--reconnect it is tried again, first after 1 s, in the end every 60 s.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import socket
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ..connecting import AWAY
from ..deadline import Deadline
from ..errors import (
    AppleTVError,
    ConnectionLost,
    NotSupported,
    SeveralFound,
)
from ..events import (
    Disconnected,
    KeyboardChanged,
    OutputDevicesChanged,
    PlayingChanged,
    PowerChanged,
    Reconnected,
    UpdateFailed,
    VolumeChanged,
)
from ..routes import FIELDS, ROUTES
from ..session import PAUSES
from .output import Output, exit_code, named_keys, playing_keys
from .target import choose_all, has_credentials, open_device, open_target, the_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..device import AppleTV
    from ..model import Device
    from .flags import Arguments, Parser

CAN_POLL = hasattr(select, "poll")  # else select() is for sockets alone
AT_ONCE = object()  # stands for an event: end, whatever is still on its way
LOOK = 1.0  # s; how often to check whether the output still has a reader
SETTLE = 1.0  # s; within which several protocols of a device go, if the device itself went
REPORTING = {*FIELDS["push_updates"], *ROUTES["power_state"]}  # protocols that report changes


def add_flags(parser: Parser, word: str) -> None:
    """How many devices."""
    parser.add_argument("--all", action="store_true", help="watch several devices at once")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Print events until Ctrl-C, ENTER or a loss."""
    if not flags.all:
        with open_target(flags, out, acts=False) as atv:
            return watch(atv, out, word)
    if has_credentials(flags):
        raise ValueError("--all takes credentials from the store, not from flags")
    store = the_store(flags)
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def connect(about: Output, find: Callable[[], tuple[Device, bool]]) -> AppleTV:
        device, remembered = find()
        about.about = device  # until now, what it was looked for by
        return open_device(flags, store, device, remembered, acts=False)

    watches = []
    for device, find in choose_all(flags, store, out):
        about = Output(out.json, device)
        opened = partial(connect, about, find)
        watches.append(Watch(about, received, opened, flags.reconnect, flags.wait))
    return _follow(watches, received, out, word, flags.timeout)


def watch(atv: AppleTV, out: Output, word: str) -> int:
    """Print the events of a connection until Ctrl-C or ENTER, or until it is lost for good.

    Args:
        word: ``push_updates`` ends with a line on standard input; ``watch`` in JSON alone.

    Returns:
        The exit code.
    """
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    one = Watch(out, received, lambda: atv, atv.reconnects)
    return _follow([one], received, out, word, atv.timeout)


class Failed:
    """A device could not be connected to.

    Attributes:
        error: Why.
        final: False if there will be another try.
    """

    def __init__(self, error: Exception, final: bool) -> None:
        self.error = error
        self.final = final


class Watch:
    """One device that is watched, on a thread of its own until it is connected.

    Args:
        out: Where its lines go.
        received: Takes (self, event) and (self, Failed).
        connect: Opens the connection; called again after a failure, if `reconnect`.
        reconnect: Whether to try again for as long as it takes.
        wait: Whether, or for how many seconds, to do so until it is there for the first time.
    """

    def __init__(
        self,
        out: Output,
        received: queue.SimpleQueue[Any],
        connect: Callable[[], AppleTV],
        reconnect: bool,
        wait: bool | float = False,
    ) -> None:
        self.out = out
        self.reconnect = reconnect
        self._loss: tuple[AppleTVError, Deadline] | None = None  # not shown yet
        self._lost = False  # and that has been shown
        self._received = received
        self._connect = connect
        self._wait = Deadline(None if wait is True else wait)
        self._atv: AppleTV | None = None
        self._playing: set[str] = set()  # connected protocols that tell what plays
        self._begun = threading.Event()  # the state has been reported: now its changes
        self._reported: dict[type, Any] = {}
        self._closing = threading.Event()
        self._lock = threading.Lock()
        name = f"tinyatv-watch-{out.about.name if out.about is not None else 'one'}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Connect, then listen."""
        self._thread.start()

    @property
    def goes_on(self) -> bool:
        """True if what is watched is connected still: what plays, where that is known at all."""
        atv = self._atv
        up = {*atv.protocols} if atv is not None else set()
        return bool(up) and (not self._playing or not self._playing.isdisjoint(up))

    def show(self, event: Any) -> int:
        """Print an event; returns an exit code if that was the end of this device."""
        if isinstance(event, Disconnected):
            if event.error is not None and self._loss is None and not self._lost:
                self._loss = event.error, Deadline(SETTLE)
            return self.settle()
        if isinstance(event, Reconnected):
            self._lost = False
        return _show(event, self.out)

    def settle(self) -> int:
        """Print that protocols were lost, once it is clear whether what is watched is left.

        If it is not, that is one line, "connection", however many protocols were lost.
        """
        if self._loss is None:
            return 0
        error, soon = self._loss
        others = self.goes_on and not self.reconnect
        if others and not soon.over:
            return 0
        self._loss = None
        if others:
            self.out.failure(error)
            return 0
        self._lost = True
        if self.out.json and getattr(error, "closed", False):
            self.out.result(connection="closed")
        else:
            self.out.failure(error, connection="lost")
        return 0 if self.reconnect else exit_code(error)[0]

    def close(self) -> None:
        """Stop listening, and close the connection."""
        self._closing.set()
        self._hang_up()

    def _hang_up(self) -> None:
        with self._lock:
            atv, self._atv = self._atv, None
        if atv is not None:
            atv.close()

    def join(self, seconds: float) -> None:
        """Wait for the thread, which may be in the middle of connecting."""
        if self._thread.is_alive():  # not before it was started
            self._thread.join(seconds)

    def _run(self) -> None:
        pause, reported = PAUSES[0], False
        while not self._closing.is_set():
            try:
                self._open()
                return
            except Exception as exc:  # whatever it is, the other devices go on
                self._hang_up()
                again = isinstance(exc, AWAY) and not isinstance(exc, SeveralFound)
                final = not (again and (self.reconnect or not self._wait.over))
                if final or not reported:
                    self._report(Failed(exc, final))
                if final:
                    return
            reported = True
            self._closing.wait(pause)
            pause = min(pause * 2, PAUSES[1])

    def _open(self) -> None:
        atv = self._connect()
        with self._lock:
            closing = self._closing.is_set()
            self._atv = None if closing else atv
        if closing:
            atv.close()
            return
        if atv.protocols and REPORTING.isdisjoint(atv.protocols):
            connected = ", ".join(atv.protocols)
            raise NotSupported(f"nothing reports changes; connected by {connected}")
        self._playing = {*FIELDS["push_updates"]}.intersection(atv.protocols)
        if not self._playing:
            self._say_why(atv)
        atv.add_listener(self._listen)
        try:
            self._look(atv)
        finally:
            self._begun.set()

    def _say_why(self, atv: AppleTV) -> None:
        """What plays is not known. That is how it is, or else something is wrong."""
        try:
            atv.playing()
        except NotSupported:
            pass  # there may be other things to see
        except AppleTVError as exc:
            if isinstance(exc, AWAY) and not self.reconnect:
                raise
            self._report(UpdateFailed(exc, ROUTES["playing"][0]))

    def _listen(self, event: Any) -> None:
        """Pass an event on; on the events thread."""
        self._begun.wait()
        if isinstance(event, (PowerChanged, OutputDevicesChanged)):
            self._pass(event)
            return
        self._report(event)
        if isinstance(event, Reconnected) and self._atv is not None:
            self._playing |= {*FIELDS["push_updates"]}.intersection(event.protocols)
            self._look(self._atv)

    def _look(self, atv: AppleTV) -> None:
        """Report the state of what is otherwise reported only when it changes."""
        for ask in (
            lambda: PowerChanged(atv.power_state()),
            lambda: OutputDevicesChanged(atv.output_devices()),
        ):
            try:
                self._pass(ask())
            except ConnectionLost as exc:  # before we listened; afterwards it would come twice
                if not self.reconnect and not self.goes_on:
                    self._report(Disconnected(exc))
            except AppleTVError:
                pass  # it has no such thing

    def _report(self, event: Any) -> None:
        self._received.put((self, event))

    def _pass(self, event: Any) -> None:
        """Report it, unless that was reported last."""
        state = event.power if isinstance(event, PowerChanged) else event.output_devices
        if self._reported.get(type(event)) != state:
            self._reported[type(event)] = state
            self._report(event)


def _follow(
    watches: list[Watch], received: queue.SimpleQueue[Any], out: Output, word: str, timeout: float
) -> int:
    """Print events until Ctrl-C or ENTER, or until no device is left; then close everything."""
    stop, stopped = socket.socketpair()
    pushes = word == "push_updates"
    typing = threading.Thread(
        target=_wait_for_enter, args=(received, stopped, pushes), name="tinyatv-stdin", daemon=True
    )
    with stop, stopped, _ended_by_sigterm(received):
        try:
            if pushes or (out.json and _at_terminal()):
                typing.start()
            for one in watches:
                one.start()
            return _print(watches, received, out, timeout)
        finally:
            stop.close()
            for one in watches:
                one.close()
            soon = Deadline(2.0)  # those that are connecting just now would need longer
            for one in watches:
                one.join(soon.left() or 0.0)
            if typing.is_alive() and CAN_POLL:
                typing.join(2.0)


def _print(
    watches: list[Watch], received: queue.SimpleQueue[Any], out: Output, timeout: float
) -> int:
    left, silent = list(watches), list(watches)
    first = Deadline(timeout)  # until then, input that has ended already may be overtaken
    enough, code = False, 0
    while left and not (enough and (first.over or not silent)):
        try:
            one, event = received.get(timeout=min(LOOK, first.wait() or LOOK) if enough else LOOK)
        except queue.Empty:
            if _has_no_reader():
                return 0
            ended = {}
        else:
            if event is AT_ONCE:
                break
            enough = enough or one is None
            ended = {one: one.show(event)} if one in left else {}
            if one in silent and not isinstance(event, (PowerChanged, OutputDevicesChanged)):
                silent.remove(one)
        for one in list(left):
            gone = ended.get(one) or one.settle()
            if gone:
                left.remove(one)
                code = code or gone
    if out.json:
        out.result(push_updates="finished")
    return code if not left else 0


def _show(event: Any, out: Output) -> int:
    """Print an event; returns an exit code if it was the last one of its device."""
    if isinstance(event, PlayingChanged):
        out.result(f"{event.playing}\n{'-' * 20}", **playing_keys(event.playing))
    elif isinstance(event, PowerChanged):
        out.result(f"Power: {event.power.name}", power_state=event.power.name.lower())
    elif isinstance(event, OutputDevicesChanged):
        names = ", ".join(one.name for one in event.output_devices) or "none"
        out.result([f"Output: {names}"], output_devices=named_keys(event.output_devices))
    elif isinstance(event, VolumeChanged) and event.output_device is None:
        out.result(f"Volume: {event.volume:g}", volume=event.volume)
    elif isinstance(event, VolumeChanged):
        out.result(
            [f"Volume of {event.output_device}: {event.volume:g}"],
            output_device_id=event.output_device,
            old_level=event.before or 0.0,  # an unknown one is printed as other programs do
            new_level=event.volume,
        )  # fmt: skip
    elif isinstance(event, KeyboardChanged):
        focus = event.focus.name
        out.result(f"Keyboard: {focus}", focus_state=focus.lower())
    elif isinstance(event, Reconnected):
        out.result("reconnected", connection="reconnected")
    elif isinstance(event, UpdateFailed):
        out.failure(event.error)
    elif isinstance(event, Failed):
        code = out.failure(event.error)
        return code if event.final else 0
    return 0


@contextlib.contextmanager
def _ended_by_sigterm(received: queue.SimpleQueue[Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers belong to whoever has the main thread
        return
    before = signal.signal(signal.SIGTERM, lambda *_: received.put((None, AT_ONCE)))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _at_terminal() -> bool:
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


def _wait_for_enter(received: queue.SimpleQueue[Any], stopped: socket.socket, at_end: bool) -> None:
    """Report a line on standard input, and its end if `at_end`; until `stopped` is closed."""
    if hasattr(signal, "pthread_sigmask") and hasattr(signal, "SIGTTIN"):
        # In the background of a shell, reading then is an error, and not the end of all threads.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
    byte = b""
    try:
        typed = sys.stdin.fileno()
        while byte != b"\n":
            if CAN_POLL:
                ready, _, _ = select.select([typed, stopped], [], [])
                if stopped in ready:
                    return
            try:
                byte = os.read(typed, 1)
            except OSError:
                if not _in_background(typed):
                    raise
                ready, _, _ = select.select([stopped], [], [], LOOK)  # what was typed is not ours
                continue
            if not byte:
                break
    except (AttributeError, OSError, ValueError):
        pass  # closed from the start
    if byte or at_end:
        received.put((None, None))


def _in_background(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except (AttributeError, OSError):
        return False


def _has_no_reader() -> bool:
    """True if standard output is a pipe whose reader has gone."""
    if not CAN_POLL:
        return False
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False  # no file behind it
    return any(bits & select.POLLERR for _, bits in poll.poll(0))
