"""What passes between two connections, and who looks on."""

from __future__ import annotations

import itertools
import logging
import threading
from typing import TYPE_CHECKING, Any, Callable, Protocol

from ..errors import AppleTVError, ConnectionLost
from ..link import cause_of
from ..trace import Connection, ending, entry
from ..virtual.side import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..link import Link
    from ..model import Device, Service
    from ..pairing.credentials import Credentials
    from ..virtual.side import Setup

log = logging.getLogger(__name__)


TIMEOUT = 10.0  # s that an answer may take, and that a peer may refuse to read
GENERATIONS = (27, 26, 18, 15)  # systems that differ from the one before


class Target:
    """The real device.

    Attributes:
        device: What is known of it.
        service: The one that is passed on.
        credentials: For that.
        profile: The profile of the virtual device that is like it.
        hosts: Its addresses, best first.
        port: Its port.
        timeout: Seconds that an answer may take.
    """

    def __init__(
        self, device: Device, service: Service, credentials: Credentials, profile: str
    ) -> None:
        self.device = device
        self.service = service
        self.credentials = credentials
        self.profile = profile
        self.hosts = device.addresses
        self.port = service.port
        self.timeout = TIMEOUT


class ProxySide(Side, Protocol):
    """What passes a protocol on: a side of the virtual device that is made with two more things.

    Args:
        target: The real device.
        tap: Shows what passes.
        setup: As for all sides of the virtual device.
    """

    def __init__(self, target: Target, tap: Tap, setup: Setup) -> None: ...

    @staticmethod
    def target(device: Device, service: Service) -> Target:
        """How to reach the real device.

        Raises:
            CredentialsError: It is not paired.
        """


def profile_of(device: Device) -> str:
    """The profile of the generation that a device belongs to."""
    version = (device.info.version or "").partition(".")[0]
    major = int(version) if version.isdecimal() else GENERATIONS[-2]
    return next((f"tvos{one}" for one in GENERATIONS if major >= one), "tvos14")


def txt_of_target(
    target: Target, own: Iterable[str], identity: Iterable[str]
) -> dict[str, str | None]:
    """The TXT record of the real device, without what two devices must not have in common.

    Args:
        target: The real device.
        own: The keys of ours, spelled as devices spell them.
        identity: The keys to be left out, in lower case.
    """
    spelled = {key.lower(): key for key in own}
    return {
        spelled.get(key, key): value
        for key, value in target.service.properties.items()
        if key not in identity
    }


class Tap:
    """Tells somebody of every message that passes.

    Args:
        watch: Called with the line of a trace for each message and each end, see
            :mod:`tinyatv.trace`; one at a time, on the threads that read.
        secrets: True to leave passwords and typed text in.
    """

    def __init__(self, watch: Callable[[dict[str, Any]], object], *, secrets: bool = False) -> None:
        self._watch = watch
        self._secrets = secrets
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def connection(self, protocol: str) -> Connection:
        """A new pair of connections."""
        return Connection(next(self._numbers), protocol)

    def message(self, connection: Connection, message: Any, to_device: bool) -> None:
        """A message passes."""
        with self._lock:  # so that they are seen in the order in which they came
            self._see(lambda: entry(connection, message, to_device, self._secrets))

    def ended(self, connection: Connection, why: str | None) -> None:
        """A pair of connections is over."""
        with self._lock:
            self._see(lambda: ending(connection, why))

    def _see(self, line: Callable[[], dict[str, Any]]) -> None:
        try:
            self._watch(line())
        except Exception:  # a message is to pass, whoever looks on
            log.exception("cannot show a message")


class Bridge:
    """Lets everything pass between a controller's connection and one to the device.

    Args:
        tap: Who looks on.
        protocol: What both speak.

    Attributes:
        near: The controller's connection; to be set before anything passes.
        far: The one to the device, likewise.
        own: Called with what the device says; returns what the controller is told instead.
    """

    def __init__(self, tap: Tap, protocol: str) -> None:
        self.near: Link | None = None
        self.far: Link | None = None
        self.own: Callable[[Any], Any] = lambda message: message
        self._tap = tap
        self._connection = tap.connection(protocol)
        self._lock = threading.Lock()
        self._over = False

    def to_device(self, message: Any) -> None:
        """The controller says something."""
        self._pass(message, True, self.far)

    def to_client(self, message: Any) -> None:
        """The device says something."""
        self._pass(message, False, self.near)

    def _pass(self, message: Any, to_device: bool, link: Link | None) -> None:
        self.show(message, to_device)
        try:
            if link is not None:
                link.send(message if to_device else self.own(message))
        except ConnectionLost as exc:
            log.debug("%s", exc)  # who notices it ends the other one as well
        except ValueError as exc:
            self.over(f"a message that cannot be passed on: {exc}")

    def show(self, message: Any, to_device: bool) -> None:
        """Tell who looks on of a message that passes by other ways."""
        self._tap.message(self._connection, message, to_device)

    @property
    def is_over(self) -> bool:
        """True once both have ended."""
        return self._over

    def near_lost(self, error: AppleTVError | None) -> None:
        """The controller's connection has ended."""
        self.over(_reason("the controller has left", self.near, error))

    def far_lost(self, error: AppleTVError | None) -> None:
        """The connection to the device has ended."""
        self.over(_reason("the device has left", self.far, error))

    def over(self, why: str | None) -> None:
        """End both; only the first reason counts. Does not wait for their threads."""
        with self._lock:
            if self._over:
                return
            self._over = True
        self._tap.ended(self._connection, why)
        for link in (self.near, self.far):
            if link is not None:
                link.fail(ConnectionLost(why or "closed"))

    def close(self) -> None:
        """End both, and join their threads."""
        self.over(None)
        for link in (self.near, self.far):
            if link is not None:
                link.close()


def _reason(what: str, link: Link | None, error: AppleTVError | None) -> str:
    """What has happened, and how, if there is more to it than somebody who hung up."""
    text = "" if error is None else str(error) if link is None else cause_of(error, link.label)
    return what if text in ("", "closed by the peer") else f"{what}: {text}"


class Bridges:
    """The bridges of one protocol, by the controller that each is for.

    Args:
        tap: Who looks on.
        protocol: What they speak.
    """

    def __init__(self, tap: Tap, protocol: str) -> None:
        self._tap = tap
        self._protocol = protocol
        self._lock = threading.Lock()
        self._closed = False
        self._open: dict[Any, Bridge] = {}
        self._all: list[Bridge] = []  # threads of those that are over may still run

    def new(self, controller: Any, near: Link) -> Bridge:
        """A bridge for a controller."""
        bridge = Bridge(self._tap, self._protocol)
        bridge.near = near
        with self._lock:
            self._open[controller] = bridge
            self._all = [one for one in self._all if not one.is_over] + [bridge]
        return bridge

    def get(self, controller: Any) -> Bridge | None:
        """The bridge of a controller, or None."""
        return self._open.get(controller)

    def connected(self, bridge: Bridge, far: Link) -> None:
        """There is a connection to the device.

        Raises:
            ConnectionLost: Everything is being closed.
        """
        bridge.far = far
        if self._closed or bridge.is_over:
            far.close()
            raise ConnectionLost("closed")

    def left(self, controller: Any, error: AppleTVError | None) -> None:
        """A controller has left."""
        with self._lock:
            bridge = self._open.pop(controller, None)
        if bridge is not None:
            bridge.near_lost(error)

    def close(self) -> None:
        """End them all, and join their threads."""
        with self._lock:
            self._closed = True
            bridges = self._all
        for bridge in bridges:
            bridge.close()
