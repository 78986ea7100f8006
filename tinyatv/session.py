"""The connected backends of one device: opened together, watched for losses, brought back."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Callable

from .backends import load
from .deadline import Deadline
from .errors import (
    AppleTVError,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    WrongDevice,
    is_elsewhere,
)
from .events import (
    Disconnected,
    Events,
    KeyboardChanged,
    PlayingChanged,
    PowerChanged,
    Reconnected,
    VolumeChanged,
)
from .link import reason
from .model import Device, PairingRequirement, Service
from .pairing.credentials import with_shared_credentials
from .routes import BACKENDS, ROUTES, ProtocolRow
from .threads import FORKED, join, start

if TYPE_CHECKING:
    from .backends import Backend
    from .backends.airplay_tunnel import Tunnel
    from .events import Event, Listener
    from .identity import Introduction
    from .queued import PressQueue

log = logging.getLogger(__name__)

EVENT_SOURCE: dict[type[Event], str] = {
    # event: the command that asks for the same. Where several protocols report it, only the one
    # that serves the command is believed, so that each change is posted once
    PlayingChanged: "playing",
    PowerChanged: "power_state",
    VolumeChanged: "volume",
    KeyboardChanged: "text_focus",
}

PAUSES = (1.0, 60.0)  # s; first and longest pause between two tries to reconnect
FULL_RETRIES = 3  # tries that want all protocols back; a booting device opens its ports one by one

_sessions: weakref.WeakSet[Session] = weakref.WeakSet()  # a child of a fork begins anew with them
_dropped: list[Session] = []  # to be closed, once a thread can be started for that


class Session:
    """The set of connected backends of one device.

    Args:
        device: What to connect to.
        protocols: Names of the protocols to use; None uses all that can be.
        timeout: Seconds that a command may take.
        reconnect: True brings a lost connection back.
        rediscover: Finds a device again that is not where it was.

    Attributes:
        answered: How those introduced themselves who answered the last time.
        timeout: As given; it counts from the next connection on.
        backends: Those that are connected, by protocol. Replaced as a whole, never changed.
        unclosed: Backends that were made and are not closed yet, whether they are connected or not.
        events: What hands events to listeners.
        closed: True after :meth:`close`.
    """

    def __init__(
        self,
        device: Device,
        *,
        protocols: Iterable[str] | None,
        timeout: float,
        reconnect: bool,
        rediscover: Callable[[Device], Device] | None,
    ) -> None:
        self._device = device
        self._introductions: list[Introduction] = []  # that are not in its info yet
        self.answered: list[Introduction] = []
        self.timeout = timeout
        self.reconnect = reconnect
        self._wanted = None if protocols is None else tuple(protocols)
        self._rediscover = rediscover
        self._begin()
        _sessions.add(self)

    def _begin(self) -> None:
        """Nothing is connected, and no thread runs."""
        self.backends: dict[str, Backend] = {}
        self.unclosed: list[Backend] = []
        self.events = Events(f"tinyatv-events-{self._device.address}")
        self._last_protocols: tuple[str, ...] = ()  # that were connected
        self._early: dict[Backend, AppleTVError] = {}  # lost while others were still opening
        self._error: AppleTVError | None = None
        self._subscribed = False
        self._lock = threading.RLock()  # a signal handler may close it, too
        self._switching = threading.RLock()  # held by the thread that subscribes or unsubscribes
        self._closing = threading.Event()
        self._farewell: Event | None = None  # the last event, to be posted by close()
        self._keeper: threading.Thread | None = None  # reconnects; there from the beginning
        self._loss = threading.Event()  # it has to reconnect
        self._retry_now = threading.Event()  # a caller waits for the connection
        self._reconnected = threading.Event()
        self._presses: PressQueue | None = None  # made by the first queued()

    @property
    def device(self) -> Device:
        """As given, or where it was found again; with what it said of itself while connecting."""
        with self._lock:
            told, self._introductions = self._introductions, []
            if told:
                from .services import with_introductions  # at first use: it takes its time

                self._device = copy(self._device)  # the one that was given stays as it is
                self._device.info = with_introductions(self._device.info, told)
            return self._device

    @device.setter
    def device(self, device: Device) -> None:
        with self._lock:
            self._device, self._introductions = device, []

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    # -- opening ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Open all protocols that have credentials, unless that is done.

        Raises:
            ConnectionFailed: None of them could be reached.
            CredentialsError: No credentials, or they are not accepted any more.
            AppleTVError: The system has no room for the threads.
        """
        _close_dropped()
        if self.reconnect and self._keeper is None and not self.closed:
            self._keeper = start(self._keep, f"tinyatv-reconnect-{self._device.address}")
        if not self.backends:
            self._open()

    def _open(self, again: bool = False, wanted: Iterable[str] = ()) -> None:
        """Open all protocols, `wanted` at least; after a loss (`again`), post that first."""
        made = self._new_backends()
        with self._lock:
            self._early = {}
            self.unclosed += made
        given_up = threading.Event()
        try:
            self._settle(made, self._connect(made, given_up), again, wanted)
        except BaseException:  # Ctrl-C, too
            given_up.set()
            for backend in made:
                if backend not in self.backends.values():
                    self._shut(backend)
            raise

    def _connect(self, made: list[Backend], given_up: threading.Event) -> dict[str, AppleTVError]:
        """Connect all backends at once; returns why some of them are not."""
        errors: dict[str, AppleTVError] = {}

        def connect(backend: Backend) -> None:
            try:
                backend.connect()
            except AppleTVError as exc:
                log.info("%s: %s", backend.protocol, exc)
                errors[backend.protocol] = exc
            except Exception as exc:
                log.warning("%s: cannot connect", backend.protocol, exc_info=True)
                errors[backend.protocol] = ConnectionFailed(f"{backend.protocol}: {reason(exc)}")
            if given_up.is_set() or self.closed:
                backend.close()  # what was opened since it was closed

        ours, threads = made[:1], []
        for backend in made[1:]:
            try:
                name = f"tinyatv-open-{self._device.address}"
                threads.append(start(connect, name, backend))
            except AppleTVError as exc:  # one after the other, then
                log.info("%s", exc)
                ours.append(backend)
        for backend in ours:
            connect(backend)
        for thread in threads:
            thread.join()
        told = [backend.introduction for backend in made]
        self.answered = [one for one in told if one is not None]
        return errors

    def _settle(
        self,
        made: list[Backend],
        errors: dict[str, AppleTVError],
        again: bool,
        wanted: Iterable[str],
    ) -> None:
        """Use what could be connected, if that is enough, or raise why it is not."""
        with self._lock:
            for backend in made:
                if backend in self._early:  # it was up, but not for long
                    lost = ConnectionFailed(str(self._early[backend]))
                    errors.setdefault(backend.protocol, lost)
            backends = {b.protocol: b for b in made if b.protocol not in errors}
            # Who answers for one protocol answers for the address: another device is left alone.
            wrong = [one for one in errors.values() if isinstance(one, WrongDevice)]
            enough = (_notices_losses(backends) or not errors) and {*wanted} <= {*backends}
            usable = bool(backends) and enough and not wrong and not self.closed
            if usable:
                self.backends, self._error = backends, None
                self._last_protocols = tuple(backends)
                self._introductions = self.answered
                self._reconnected.set()
                self._loss.clear()  # from here on, a loss is a new one
                if again:
                    self.events.post(Reconnected(self._last_protocols))  # before another loss
            subscribed = usable and self._subscribed
        for backend in made:
            if not usable or backend.protocol in errors:
                self._shut(backend)
        if not usable:
            failed = wrong + [errors[b.protocol] for b in made if b.protocol in errors]
            raise failed[0] if failed else ConnectionLost("closed while connecting")
        for backend in backends.values() if subscribed else ():
            try:
                backend.subscribe()
            except AppleTVError as exc:  # no room for its thread
                self._lost(backend, exc)

    def _shut(self, backend: Backend, error: AppleTVError | None = None) -> None:
        """Close a backend; only one that is closed to the end is forgotten."""
        backend.close(error)
        with self._lock:
            if backend in self.unclosed:
                self.unclosed.remove(backend)

    def _new_backends(self) -> list[Backend]:
        """A backend for each protocol that can be used, in the order of the table."""
        device = self._device
        offered = {one.protocol: one for one in device.services if one.enabled and one.port}
        rows = [BACKENDS[one] for one in BACKENDS if self._wanted is None or one in self._wanted]
        carried = {row.name: found for row in rows if (found := self._tunnel(row, offered))}
        tunnels = {service.protocol: tunnel for service, tunnel in carried.values()}
        made: list[Backend] = []
        missing: list[str] = []
        for row in rows:
            tunnel = tunnels.get(row.name)
            if row.name in carried:
                service, tunnel = carried[row.name]
            elif row.name in offered:
                service = offered[row.name]
                if not service.credentials and _needs_credentials(row, service):
                    service = with_shared_credentials(device, service)
                    if not service.credentials:
                        missing.append(row.name)
                        continue
            else:
                continue
            made.append(self._new_backend(row.name, service, tunnel))
        if missing and not made:
            unpaired = ", ".join(missing)
            raise CredentialsError(f"{device.name} is not paired ({unpaired}): pair first")
        if not made:
            there = ", ".join(one.protocol for one in device.services) or "nothing"
            asked = f", asked for {', '.join(self._wanted)}" if self._wanted is not None else ""
            raise NotSupported(f"{device.name} offers nothing to connect to: {there}{asked}")
        return made

    def _tunnel(
        self, row: ProtocolRow, offered: dict[str, Service]
    ) -> tuple[Service, Tunnel] | None:
        """The service that carries a protocol, and the tunnel; None if it connects directly."""
        carrier, direct = offered.get(row.carrier), offered.get(row.name)
        if carrier is None or (direct is not None and direct.credentials):
            return None
        carrier = with_shared_credentials(self._device, carrier)
        tunnel = load(row.carrier).tunnel(self._device, carrier, timeout=self.timeout)
        return None if tunnel is None else (carrier, tunnel)

    def _new_backend(self, protocol: str, service: Service, tunnel: Tunnel | None) -> Backend:
        backend = load(protocol)(
            self._device, service, timeout=self.timeout, tunnel=tunnel,
            post=lambda event: self._post(protocol, event),
            lost=lambda error: self._lost(backend, error),
        )  # fmt: skip
        return backend

    # -- closing, losses, and coming back --------------------------------------------------------

    def close(self) -> None:
        """Close all connections and end all threads. Safe to call more than once, from anywhere.

        Listeners get a last :class:`~tinyatv.events.Disconnected`. Blocks up to 5 s.
        """
        with self._lock:
            first = not self.closed
            self._closing.set()
            self._retry_now.set()
            self._reconnected.set()
            if first and (self.backends or self._loss.is_set()):
                self._farewell = Disconnected(None)
            self._loss.set()
            self.backends = {}
        for backend in self.unclosed.copy():
            self._shut(backend)
        join(self._keeper, 5)
        farewell, self._farewell = self._farewell, None
        if farewell is not None:
            self.events.post(farewell)
        self.events.close()
        if self._presses is not None:
            self._presses.close()

    def close_later(self) -> None:
        """Close it on another thread. Takes no lock, since the garbage collector may hold any."""
        begun = self.unclosed or self._keeper or self._presses or self.events.running
        if begun and not self.closed:
            _dropped.append(self)
            with contextlib.suppress(RuntimeError):  # no room: whoever comes next tries again
                _thread.start_new_thread(_close_dropped, ())

    def leave_to_parent(self) -> None:
        """In the child of a fork: nothing is connected, and no lock is held."""
        closed = self.closed
        self.events.leave_to_parent()
        presses = self._presses
        self._begin()
        if presses is not None:
            self._presses = presses
            presses.leave_to_parent()
        self._error = ConnectionLost(FORKED)
        if closed:
            self._closing.set()

    def _lost(self, backend: Backend, error: AppleTVError) -> None:
        """A backend lost its device; called on any thread, once for each backend."""
        protocol = backend.protocol
        with self._lock:
            if self.closed:
                return
            if self.backends.get(protocol) is not backend:
                self._early[backend] = error
                return
            backends = self.backends.copy()
            gone = [backends.pop(protocol)]
            if not _notices_losses(backends):
                gone += backends.values()
                backends = {}
            self.backends = backends
            self._error = self._error or error
            if not self._loss.is_set():  # it comes back as a whole, and went as one
                self.events.post(Disconnected(error, protocol))
            if self.reconnect:
                self._loss.set()
        log.info("%s: %s", protocol, error)
        self._shut(gone[0])
        for extra in gone[1:]:
            self._shut(extra, error)  # for callers that wait for the end of what it plays

    def _keep(self) -> None:
        """Bring the connection back, as often as it is lost."""
        while not self.closed:
            self._loss.wait()
            self._come_back()

    def _come_back(self) -> None:
        pause, tries = PAUSES[0], 0
        while True:
            self._retry_now.wait(pause)
            self._retry_now.clear()
            if self.closed:
                return
            tries += 1
            wanted = self._last_protocols if tries <= FULL_RETRIES else ()
            try:
                left, self.backends = self.backends, {}
                for backend in left.values():
                    self._shut(backend)
                try:
                    self._open(again=True, wanted=wanted)
                except AppleTVError as exc:
                    if self._rediscover is None or self.closed or not is_elsewhere(exc):
                        raise
                    self.device = self._rediscover(self._device)  # the port may have moved
                    self._open(again=True, wanted=wanted)
                return
            except Exception as exc:
                expected = isinstance(exc, (AppleTVError, OSError, MemoryError))
                level = logging.DEBUG if expected else logging.ERROR
                log.log(level, "cannot reconnect to %s: %s", self._device.name, exc)
                pause = min(pause * 2, PAUSES[1])

    def wake(self) -> None:
        """If the device is lost, and about to come back, wake it up; blocks for at most 15 s."""
        if not self._loss.is_set() or self.backends:
            return
        from .discovery.wake import WAKE_TIMEOUT, WakeOnLan

        deadline = Deadline(WAKE_TIMEOUT)
        self._reconnected.clear()
        with WakeOnLan(self._device, at_once=True):
            while not (self.backends or self.closed or deadline.over):
                self._retry_now.set()
                self._reconnected.wait(1.0)

    def await_connection(self, deadline: Deadline) -> None:
        """If the device is lost, try now to get it back, and wait until then."""
        while self._loss.is_set() and not (self.backends or self.closed):
            self._reconnected.clear()
            self._retry_now.set()
            if self.backends or deadline.over:
                return
            self._reconnected.wait(min(1.0, deadline.left() or 0.0))

    def is_end(self, event: Event) -> bool:
        """True if no event will follow this one."""
        if not isinstance(event, Disconnected) or self.backends:
            return False
        return event.error is None or not self.reconnect

    # -- who serves a command --------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise ``ConnectionLost``, unless something is connected."""
        if self.backends:
            return
        if self.closed:
            raise ConnectionLost(f"{self._device.name}: closed")
        why = self._error or "not connected"
        raise ConnectionLost(f"{self._device.name}: {why}") from self._error

    def unserved(self, command: str) -> NotSupported:
        """Why no connected protocol serves a command.

        Raises:
            ConnectionLost: None is connected.
        """
        self.check_open()
        serving, up = ", ".join(ROUTES[command]) or "no protocol yet", ", ".join(self.backends)
        return NotSupported(f"{command} needs {serving}; connected: {up}")

    def presses(self) -> PressQueue:
        """What carries out queued presses; made at first use."""
        from .queued import PressQueue

        with self._lock:
            self._presses = self._presses or PressQueue(self)
            return self._presses

    # -- events ----------------------------------------------------------------------------------

    def add_listener(self, listener: Listener, owner: object = None) -> None:
        """Call `listener` with every event; the first one subscribes to the device.

        Args:
            owner: Stays alive as long as there are listeners.
        """
        if self.closed:
            raise ConnectionLost(f"{self._device.name}: closed")
        try:
            if self.events.add(listener, owner) == 1:
                self._follow_listeners()
        except BaseException:
            with contextlib.suppress(ValueError):
                self.remove_listener(listener)
            raise

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling `listener`; the last one unsubscribes from the device."""
        if self.events.remove(listener) == 0:
            self._follow_listeners()

    def _follow_listeners(self) -> None:
        """Subscribe if there are listeners now, whichever came and went meanwhile; else do not."""
        with self._switching:
            with self._lock:
                on = self.events.heard
                changed, self._subscribed = self._subscribed is not on, on
                backends = self.backends.copy()
            for backend in backends.values() if changed else ():
                if on:
                    backend.subscribe()
                else:
                    backend.unsubscribe()

    def _post(self, protocol: str, event: Event) -> None:
        """A backend has news; called on any thread."""
        command = EVENT_SOURCE.get(type(event))
        if command is not None:
            serving = next((one for one in ROUTES[command] if one in self.backends), protocol)
            if serving != protocol:
                return
        self.events.post(event)


def _close_dropped() -> None:
    """Close, each on a thread of its own, what nobody refers to any more."""
    while _dropped:
        try:
            session = _dropped.pop()
        except IndexError:
            return  # another thread was quicker
        try:
            start(session.close, f"tinyatv-close-{session._device.address}")
        except AppleTVError:
            _dropped.append(session)
            return


def _leave_to_parent() -> None:
    for session in list(_sessions):
        session.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_leave_to_parent)


def _notices_losses(protocols: Iterable[str]) -> bool:
    """False if all that is left keeps no connection open."""
    left = [BACKENDS[one] for one in protocols]
    return not left or any(row.connected for row in left)


def _needs_credentials(row: ProtocolRow, service: Service) -> bool:
    return not row.unpaired or service.pairing is PairingRequirement.Mandatory
