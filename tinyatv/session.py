"""The connected backends of one device: opened together, watched for losses, brought back."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Collection, Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, Callable

from .backends import load
from .deadline import Deadline
from .errors import (
    PAIR_FIRST,
    AppleTVError,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    WrongDevice,
    is_elsewhere,
    is_silence,
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

SAME_VOLUME = 0.5  # percent; what two protocols make of one level differs by rounding

JOIN = 0.2  # s; one that waits for a device that sleeps takes up to the time of a command
GRACE = 1.5  # s to connect by the best protocol, while another one that can do the same is up
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
        wake: False never sends it a magic packet.

    Attributes:
        address: The one of the device's addresses that answered last.
        answered: How those introduced themselves who answered the last time.
        timeout: As given; it counts from the next connection on.
        backends: Those that are connected, by protocol. Replaced as a whole, never changed.
        unclosed: Backends that were made and are not closed yet, whether they are connected or not.
        events: What hands events to listeners.
        closed: True after :meth:`close`.
        connecting: True while protocols are being opened.
        has_answered: True if anything of the device has answered since it was tried to open it.
        may_wake: As given.
    """

    def __init__(
        self,
        device: Device,
        *,
        protocols: Iterable[str] | None,
        timeout: float,
        reconnect: bool,
        rediscover: Callable[[Device], Device] | None,
        wake: bool | None,
    ) -> None:
        self._device = device
        self.address = device.address
        self._introductions: list[Introduction] = []  # that are not in its info yet
        self.answered: list[Introduction] = []
        self.may_wake = wake
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
        self.has_answered = False
        self._last_protocols: set[str] = set()  # that were connected
        self._missing: dict[str, AppleTVError] = {}  # wanted, but they failed or were lost: why
        self._early: dict[Backend, AppleTVError] = {}  # lost while others were still opening
        self._opening: Opening | None = None  # the latest
        self.connecting = False
        self._error: AppleTVError | None = None
        self._told = False  # that it is lost, and not yet that it is back
        self._subscribed = False
        self._posted: dict[Any, Any] = {}  # what listeners know, of what several protocols tell
        # All of them may be taken twice: by a thread, and by a signal handler that interrupts it.
        self._posting = threading.RLock()  # over that
        self._lock = threading.RLock()
        self._progress = threading.Condition(self._lock)  # something was opened, or lost
        self._switching = threading.RLock()  # held by the thread that subscribes or unsubscribes
        self._closing = threading.Event()
        self._farewell: Event | None = None  # the last event, to be posted by close()
        self._keeper: threading.Thread | None = None  # reconnects; there from the beginning
        self._reconnecting = threading.Event()  # it has to
        self._presses: PressQueue | None = None  # made by the first queued()
        self._pause, self._tries = PAUSES[0], 0
        self._retry_now = threading.Event()  # a caller waits for the connection

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

    @property
    def is_whole(self) -> bool:
        """True if every protocol that was ever connected still is."""
        backends = self.backends
        return bool(backends) and self._last_protocols <= backends.keys()

    # -- opening ---------------------------------------------------------------------------------

    def open(self, *, wait_for_all: bool = True) -> None:
        """Open all protocols that have credentials, unless that is done.

        Args:
            wait_for_all: False returns once one is up. The others go on in the background, and
                commands wait for those that they need.

        Raises:
            ConnectionFailed: None of them could be reached.
            CredentialsError: No credentials, or they are not accepted any more.
            AppleTVError: The system has no room for the threads.
        """
        _close_dropped()
        if self.reconnect and self._keeper is None and not self.closed:
            self._keeper = start(self._keep, f"tinyatv-reconnect-{self._device.address}")
        if self.backends:
            return
        self.has_answered = False
        opening = Opening(self._new_backends(), self._shut)
        first, *rest = opening.made
        here = wait_for_all or not rest  # one thread less
        try:
            self._start(opening, rest if here else opening.made, at_once=True)
            if here:
                self._connect(opening, first, at_once=True)
            with self._progress:
                self._progress.wait_for(
                    lambda: self.closed or opening.over or (opening.shown and not wait_for_all)
                )
                opening.in_use = opening.shown
                if opening.in_use and opening.over:
                    self._come_back()
        except BaseException:  # Ctrl-C
            opening.close()
            raise
        if not opening.in_use:
            opening.close()
            raise opening.error()

    def _start(self, opening: Opening, apart: list[Backend], *, at_once: bool) -> None:
        """Open backends.

        Args:
            opening: They, not connected yet.
            apart: Those of them that get a thread of their own; the others are up to the caller.
            at_once: True shows each one as soon as it is up.
        """
        name = f"tinyatv-open-{self._device.address}"
        refused: list[Backend] = []
        with self._lock:
            if self.closed:
                raise opening.error()
            self._early, self.answered = {}, []
            self._opening, self.connecting = opening, True
            self.unclosed += opening.made
            for backend in apart:
                try:
                    thread = start(self._connect, name, opening, backend, at_once)
                    opening.threads.append(thread)
                except AppleTVError as exc:
                    log.info("%s", exc)
                    refused.append(backend)
        for backend in refused:  # no room: one after the other, here
            self._connect(opening, backend, at_once)

    def _connect(self, opening: Opening, backend: Backend, at_once: bool) -> None:
        """Open one backend."""
        error: AppleTVError | None = None
        try:
            backend.connect()
        except AppleTVError as exc:
            log.info("%s: %s", backend.protocol, exc)
            error = exc
        except Exception as exc:
            log.exception("%s: cannot connect", backend.protocol)
            error = ConnectionFailed(f"{backend.protocol}: {reason(exc)}")
            error.__cause__ = exc
        with self._progress:
            if error is None or not is_silence(error):
                self.has_answered = True
            if backend.introduction is not None:
                self.answered = [*self.answered, backend.introduction]
            opening.finish(backend, error)
            self.connecting = not opening.over
            new = self._show(opening) if at_once else []
            useless = [backend] if error is not None or opening.closed else []
            if at_once and isinstance(error, WrongDevice):
                useless += self._leave_alone(opening, error)
            if opening.in_use and opening.over:
                self._come_back()
            subscribed = self._subscribed
            self._progress.notify_all()
        for one in useless:
            self._shut(one)
        if subscribed:
            self._subscribe(new)

    def _leave_alone(self, opening: Opening, error: WrongDevice) -> list[Backend]:
        """Who answers for one protocol answers for the address: it is another device.

        The lock is held. Returns what is to be closed.
        """
        gone, self.backends = [*self.backends.values()], {}
        if opening.in_use and gone:
            self._missing.update((one.protocol, error) for one in gone)
            self._error = error
            self.events.post(Disconnected(error, gone[0].protocol))
            self._told = self.reconnect
        opening.shown = False
        return gone

    def _show(self, opening: Opening) -> list[Backend]:
        """Let commands use what has been opened, as far as a loss of it would be noticed.

        The lock is held. Returns what is new.
        """
        for backend in [*opening.up.values()]:
            if backend in self._early:  # it was up, but not for long
                opening.finish(backend, ConnectionFailed(str(self._early[backend])))
        every = {**self.backends, **opening.up}
        # AirPlay answers each request on a connection of its own: alone it is not up.
        lacking = opening.left or opening.errors or self._last_protocols - every.keys()
        alone = lacking and not _notices_losses(every)
        if opening.closed or opening.is_wrong or alone or not every:
            return []
        new, opening.up = [*opening.up.values()], {}
        if new:
            self.address = new[0].address
        if self.address != self._device.address:
            self._device = self._device.preferring(self.address)
        self.backends = {protocol: every[protocol] for protocol in BACKENDS if protocol in every}
        self._missing.update(opening.errors)
        for protocol in every:
            self._missing.pop(protocol, None)
        self._last_protocols |= every.keys()
        told = [one.introduction for one in new]
        self._introductions += [one for one in told if one is not None]
        self._error = None
        opening.shown = opening.shown or bool(new)
        return new

    def _subscribe(self, backends: Iterable[Backend]) -> None:
        """Subscribe to what has come while there were listeners, unless they have gone."""
        with self._switching:
            if self._subscribed and not self.closed:
                for backend in backends:
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

    def _new_backends(self, only: Collection[str] | None = None) -> list[Backend]:
        """A backend for each protocol that can be used, in the order of the table.

        Args:
            only: Names of those that are of interest; None for all.
        """
        device = self._device
        offered = {one.protocol: one for one in device.services if one.enabled and one.port}
        rows = [BACKENDS[one] for one in BACKENDS if self._wanted is None or one in self._wanted]
        rows = [row for row in rows if only is None or row.name in only]
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
            raise CredentialsError(f"{device.name} is not paired ({unpaired}): {PAIR_FIRST}")
        for protocol in missing if self._wanted is not None else ():  # it was asked for by name
            error = CredentialsError(f"{device.name} is not paired ({protocol}): {PAIR_FIRST}")
            self._missing[protocol] = error
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

        Listeners get a last :class:`~tinyatv.events.Disconnected`. Blocks up to 5 s. What was
        interrupted in it, a second call finishes.
        """
        with self._progress:
            if not self.closed and (self.backends or self._reconnecting.is_set()):
                self._farewell = Disconnected(None)
            self._closing.set()
            self._retry_now.set()
            self._reconnecting.set()
            self._progress.notify_all()
            self.backends = {}
            opening = self._opening
        for backend in self.unclosed.copy():
            self._shut(backend)
        if opening is not None:
            opening.close()
        join(self._keeper, 5)
        farewell, self._farewell = self._farewell, None
        if farewell is not None:
            self.events.post(farewell)
        self.events.close()
        if self._presses is not None:
            self._presses.close()

    def close_later(self) -> None:
        """Close it on another thread. Takes no lock, since the garbage collector may hold any."""
        # Also one whose close() was interrupted.
        if self.unclosed or self._keeper or self._presses or self.events.running:
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
        self._error = ConnectionLost(f"{self._device.name}: {FORKED}")
        if closed:
            self._closing.set()

    def _lost(self, backend: Backend, error: AppleTVError) -> None:
        """A backend lost its device; called on any thread, once for each backend."""
        protocol = backend.protocol
        with self._progress:
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
            self._last_protocols |= {one.protocol for one in gone}
            self._missing.update((one.protocol, error) for one in gone)
            self._error = self._error or error
            self._come_back(again=True)
            if not self._told:  # it comes back as a whole, and went as one
                self._told = self.reconnect
                self.events.post(Disconnected(error, protocol))
            self._progress.notify_all()
        log.info("%s: %s", protocol, error)
        self._shut(gone[0])
        for extra in gone[1:]:
            self._shut(extra, error)  # for callers that wait for the end of what it plays

    # -- coming back -----------------------------------------------------------------------------

    def _come_back(self, again: bool = False) -> None:
        """See to it that what is missing is tried again; the lock is held.

        Args:
            again: True if it has been lost just now: no long pause before the next try.
        """
        if not self.reconnect or self.closed or not self._to_bring_back():
            return
        if not self._reconnecting.is_set():
            self._pause, self._tries = PAUSES[0], 0
            self._reconnecting.set()
        elif again and self._pause > PAUSES[0] and self._tries > FULL_RETRIES:
            self._pause, self._tries = PAUSES[0], 0
            self._retry_now.set()

    def _to_bring_back(self) -> set[str]:
        """What is missing and may come back, of itself; the lock is held.

        While anything is connected, no news from the device can change that it refuses us.
        """
        final = (CredentialsError, NotSupported) if self.backends else ()
        return {p for p, error in self._missing.items() if not isinstance(error, final)}

    def _keep(self) -> None:
        """Bring back what is lost, as often as it is."""
        while not self.closed:
            self._reconnecting.wait()
            self._reconnect_loop()

    def _reconnect_loop(self) -> None:
        while not self.closed:
            self._retry_now.wait(self._pause)
            self._retry_now.clear()
            with self._progress:  # what was begun when the connection was opened
                self._progress.wait_for(
                    lambda: self.closed or self._opening is None or self._opening.over
                )
                if self.closed:
                    return
                self._tries += 1
                wanted = self._to_bring_back()
                needed = wanted & self._last_protocols if self._tries <= FULL_RETRIES else set()
            try:
                if wanted:
                    self._try_again(wanted, needed)
            except Exception as exc:
                expected = isinstance(exc, (AppleTVError, OSError, MemoryError))
                level = logging.DEBUG if expected else logging.ERROR
                log.log(level, "cannot reconnect to %s: %s", self._device.name, exc)
            with self._lock:
                self._pause = min(self._pause * 2, PAUSES[1])
                if self.closed:
                    return
                if not self._to_bring_back():
                    self._reconnecting.clear()  # from here on, a loss is a new one
                    return

    def _try_again(self, wanted: set[str], needed: set[str]) -> None:
        # What carried a lost one went with it.
        wanted = wanted | {BACKENDS[one].carrier for one in wanted} - {""}
        try:
            self._reopen(wanted, needed)
        except AppleTVError as exc:
            if self._rediscover is None or self.closed or not is_elsewhere(exc):
                raise
            if self.backends and not wanted & self._last_protocols:
                raise  # it has never been there: no scan will find it every minute
            self.device = self._rediscover(self._device)  # the port may have moved
            self._reopen(wanted, needed)

    def _reopen(self, wanted: set[str], needed: set[str]) -> None:
        """Open protocols again, `needed` at least, and tell listeners."""
        opening = Opening(self._new_backends(wanted), self._shut)
        self._start(opening, opening.made, at_once=False)
        with self._progress:
            self._progress.wait_for(lambda: self.closed or opening.over)
            early = {one.protocol for one in self._early}
            before, known = self.backends, self._told or {*opening.up} & self._last_protocols
            new = self._show(opening) if needed <= {*opening.up} - early else []
            if new:
                self._told, self._posted = False, {}
                if known:
                    self.events.post(Reconnected(tuple(self.backends)))  # before another loss
            subscribed = self._subscribed
            self._progress.notify_all()
        for backend in new:
            if backend.protocol in before:
                self._shut(before[backend.protocol])
        opening.close(but=new)
        if not new:
            raise opening.error()
        if subscribed:
            self._subscribe(new)

    def wake(self) -> None:
        """If the device is lost, and about to come back, wake it up; blocks for at most 15 s."""
        if not self._reconnecting.is_set() or self.backends or self.may_wake is False:
            return
        from .discovery.wake import WAKE_TIMEOUT, WakeOnLan

        deadline = Deadline(WAKE_TIMEOUT)
        with WakeOnLan(self._device, at_once=True), self._progress:
            while not (self.backends or self.closed or deadline.over):
                self._retry_now.set()
                self._progress.wait(1.0)

    def await_connection(self, deadline: Deadline) -> None:
        """If the device is lost, try now to get it back, and wait until then."""
        with self._progress:
            while self._reconnecting.is_set() and not (self.backends or self.closed):
                self._retry_now.set()
                if deadline.over:
                    return
                self._progress.wait(min(1.0, deadline.left() or 0.0))

    def await_change(self, deadline: Deadline) -> None:
        """Try now to get back what is missing; wait until something is there, at most 1 s."""
        with self._progress:
            self._retry_now.set()
            if not self.closed:
                self._progress.wait(min(1.0, deadline.left() or 0.0))

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
        if self._error is None:
            raise ConnectionLost(f"{self._device.name}: not connected")
        closed = getattr(self._error, "closed", False)
        raise ConnectionLost(str(self._error), closed=closed) from self._error

    def serving(self, command: str) -> list[Backend]:
        """The backends that serve a command, best first; at least one.

        Waits for protocols that are connecting still: for the best one, or for a while if another
        one is up.

        Raises:
            AppleTVError: No connected protocol serves it: what became of the one that would.
        """
        route = ROUTES[command]
        self._wait_for(route)
        backends = self.backends
        taken = [backend for backend in backends.values() if command in backend.taken]
        found = taken or [backends[protocol] for protocol in route if protocol in backends]
        if not found:
            raise self.unserved(command)
        return found

    def wait_for_rest(self) -> None:
        """Wait for protocols that are connecting still, but not for long if one of them hangs."""
        with self._progress:
            opening = self._opening
            if opening is not None:
                self._progress.wait_for(lambda: self.closed or opening.over, opening.grace.left())

    def _wait_for(self, route: Iterable[str]) -> None:
        opening = self._opening
        if opening is None or opening.over:
            return
        grace = opening.grace

        def is_clear() -> bool:
            left = opening.left
            up = [protocol for protocol in route if protocol in self.backends]
            better = [one for one in route if one in left or one in up][:1]
            return self.closed or better == up[:1] or (bool(up) and grace.over)

        with self._progress:
            while not is_clear():
                self._progress.wait(None if grace.over else grace.left())

    def is_missing(self, route: Iterable[str]) -> bool:
        """True if one of these protocols is not there that should be."""
        left = self._opening.left if self._opening is not None else ()
        return any(protocol in self._missing or protocol in left for protocol in route)

    def unserved(self, command: str) -> AppleTVError:
        """Why no connected protocol serves a command.

        Raises:
            ConnectionLost: None is connected.
        """
        self.check_open()
        for protocol in ROUTES[command]:
            error = self._missing.get(protocol)
            if error is not None:  # it was wanted, but failed or was lost
                fresh = copy(error)
                fresh.args = (f"{command} needs {protocol}: {error}",)
                fresh.__cause__ = error
                fresh.unsent = True
                return fresh
        self.wait_for_rest()  # the answer does not depend on which was faster
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
                if changed:
                    self._posted = {}
            for backend in backends.values() if changed else ():
                if on:
                    backend.subscribe()
                else:
                    backend.unsubscribe()

    def _post(self, protocol: str, event: Event) -> None:
        """A backend has news; called on any thread.

        Several protocols may tell the same: each change is posted once, and the last word counts.
        What is playing they tell in ways of their own, so one of them is listened to.
        """
        if isinstance(event, PlayingChanged):
            backends = self.backends
            taken = (name for name, one in backends.items() if "playing" in one.taken)
            routed = (name for name in ROUTES["playing"] if name in backends)
            if next(iter((*taken, *routed)), protocol) == protocol:
                self.events.post(event)
            return
        with self._posting:
            what, value = _news(event)
            if what is not None:
                if _same(self._posted.get(what), value):
                    return
                self._posted[what] = value
            self.events.post(event)


class Opening:
    """Backends that are being opened at the same time.

    Args:
        made: They.
        shut: Closes one of them.

    Attributes:
        made: As given.
        left: Protocols that have neither succeeded nor failed yet.
        up: Those that are connected, and not used by commands yet.
        errors: Why others are not.
        shown: True once commands may use any.
        in_use: True once the caller of :meth:`Session.open` has it.
        closed: True after :meth:`close`.
        grace: Until when commands wait for the best of several protocols.
    """

    def __init__(self, made: list[Backend], shut: Callable[[Backend], object]) -> None:
        self.made = made
        self._shut = shut
        self.left = {backend.protocol for backend in made}
        self.up: dict[str, Backend] = {}
        self.errors: dict[str, AppleTVError] = {}
        self.shown = False
        self.in_use = False
        self.closed = False
        self.grace = Deadline(GRACE)
        self.threads: list[threading.Thread] = []

    @property
    def over(self) -> bool:
        """True once all have succeeded or failed."""
        return not self.left

    def finish(self, backend: Backend, error: AppleTVError | None) -> None:
        """One of them is connected, or failed."""
        self.left.discard(backend.protocol)
        if error is None:
            self.up[backend.protocol] = backend
        else:
            self.up.pop(backend.protocol, None)
            self.errors[backend.protocol] = error

    def error(self) -> AppleTVError:
        """What to tell the caller: the error of the best protocol."""
        made = [backend.protocol for backend in self.made]
        errors = [self.errors[protocol] for protocol in made if protocol in self.errors]
        errors.sort(key=lambda error: not isinstance(error, WrongDevice))
        return errors[0] if errors else ConnectionLost("closed while connecting")

    @property
    def is_wrong(self) -> bool:
        """True if it is another device that has answered."""
        return any(isinstance(error, WrongDevice) for error in self.errors.values())

    def close(self, but: Collection[Backend] = ()) -> None:
        """Close all but some. Their threads end by themselves: at once, if the device answers."""
        self.closed = True
        for backend in self.made:
            if backend not in but:
                self._shut(backend)
        soon = Deadline(JOIN)
        for thread in self.threads:
            join(thread, soon.left())


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


def _news(event: Event) -> tuple[Any, Any]:
    """What an event is about, if several protocols tell it, and what it says of that."""
    if isinstance(event, PowerChanged):
        return PowerChanged, event.power
    if isinstance(event, KeyboardChanged):
        return KeyboardChanged, event.focus
    if isinstance(event, VolumeChanged):
        return (VolumeChanged, event.output_device), event.volume
    return None, None


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return abs(old - new) < SAME_VOLUME
    return bool(old == new)


def _notices_losses(protocols: Iterable[str]) -> bool:
    """False if all that is left keeps no connection open."""
    left = [BACKENDS[one] for one in protocols]
    return not left or any(row.connected for row in left)


def _needs_credentials(row: ProtocolRow, service: Service) -> bool:
    return not row.unpaired or service.pairing is PairingRequirement.Mandatory
