"""The client side of every protocol, one module each, and the contract that all of them keep.

A backend serves the commands that name its protocol in :data:`tinyatv.routes.ROUTES`; the signature
of each is written down here, its meaning on :class:`tinyatv.device.AppleTV`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Protocol

from ..routes import BACKENDS

if TYPE_CHECKING:
    import threading

    from ..errors import AppleTVError, PairingError
    from ..events import Event
    from ..identity import Introduction
    from ..model import (
        Account,
        App,
        Artwork,
        Device,
        FeatureState,
        KeyboardFocus,
        OutputDevice,
        Playing,
        PowerState,
        RepeatState,
        Service,
        ShuffleState,
        TouchAction,
    )
    from .airplay_stream import Stream
    from .airplay_tunnel import Tunnel
    from .raop_source import Source
    from .raop_stream import AudioStream

Point = tuple[float, float]


class Backend(Protocol):
    """One device over one protocol.

    Args:
        device: Where it is, and what is known of it.
        service: Port, credentials and TXT record.
        timeout: Seconds that a command may take.
        post: Takes events; called on any thread, never blocks.
        lost: Called once, on any thread, with the error when the device is gone.
        tunnel: What carries this protocol, or is carried by it; None for neither.

    Attributes:
        protocol: Name of its row in :data:`tinyatv.routes.PROTOCOLS`.
        address: Address that it is connected to; before that, the one to try first.
        introduction: What the device said of itself while connecting; None if it said nothing.
        taken: Commands that are its own for now, whatever ROUTES says: they are about what it
            streams.
    """

    protocol: str
    address: str
    introduction: Introduction | None = None
    taken: tuple[str, ...] = ()

    def __init__(
        self,
        device: Device,
        service: Service,
        *,
        timeout: float,
        post: Callable[[Event], None],
        lost: Callable[[AppleTVError], None],
        tunnel: Tunnel | None = None,
    ) -> None: ...

    def connect(self) -> None:
        """Open the connection, as far as commands can be sent.

        Raises:
            ConnectionFailed: The device cannot be reached, or hangs up.
            WrongDevice: Another device answers than the one that is meant.
            CommandTimeout: It takes the connection and does not answer.
            CredentialsError: It does not accept the credentials.
            ProtocolError: It answers with nonsense.
        """

    def close(self, error: AppleTVError | None = None) -> None:
        """Close everything and join its threads. Safe to call twice, and from any thread.

        Args:
            error: Why, for callers that still wait for something; None says that it was closed.
        """

    def subscribe(self) -> None:
        """Post events from now on; what is playing comes first, where the protocol reports that."""

    def unsubscribe(self) -> None:
        """Stop posting events."""

    def features(self) -> dict[str, FeatureState]:
        """What the device can do now, of the commands and fields that this protocol serves."""

    def told_at(self, command: str) -> float:
        """When the device told what a question returns: ``time.monotonic()``, 0.0 for never.

        Infinity, unless the answer may be one that was remembered.
        """
        return float("inf")

    @staticmethod
    def tunnel(device: Device, service: Service, *, timeout: float) -> Tunnel | None:
        """What carries another protocol through this one; None if the device offers no such thing.

        Args:
            device: Where it is.
            service: Of this protocol, with credentials.
            timeout: Seconds that an answer may take.
        """
        return None

    # -- commands, as ROUTES names them ----------------------------------------------------------

    def up(self, hold: float, presses: int) -> None: ...
    def down(self, hold: float, presses: int) -> None: ...
    def left(self, hold: float, presses: int) -> None: ...
    def right(self, hold: float, presses: int) -> None: ...
    def select(self, hold: float, presses: int) -> None: ...
    def menu(self, hold: float, presses: int) -> None: ...
    def top_menu(self) -> None: ...
    def home(self, hold: float, presses: int) -> None: ...
    def channel_up(self) -> None: ...
    def channel_down(self) -> None: ...
    def guide(self) -> None: ...
    def screensaver(self) -> None: ...
    def control_center(self) -> None: ...
    def siri_start(self) -> None: ...
    def siri_stop(self) -> None: ...
    def suspend(self) -> None: ...
    def wakeup(self) -> None: ...
    def swipe(self, start: Point, end: Point, seconds: float) -> None: ...
    def touch(self, x: float, y: float, action: TouchAction) -> None: ...
    def click(self, hold: float, presses: int) -> None: ...
    def play(self) -> None: ...
    def pause(self) -> None: ...
    def play_pause(self) -> None: ...
    def stop(self) -> None: ...
    def next(self) -> None: ...
    def previous(self) -> None: ...
    def skip_forward(self, seconds: float) -> None: ...
    def skip_backward(self, seconds: float) -> None: ...
    def begin_fast_forward(self) -> None: ...
    def end_fast_forward(self) -> None: ...
    def begin_rewind(self) -> None: ...
    def end_rewind(self) -> None: ...
    def set_position(self, seconds: float) -> None: ...
    def set_shuffle(self, shuffle: ShuffleState) -> None: ...
    def set_repeat(self, repeat: RepeatState) -> None: ...
    def captions(self, mode: str) -> None: ...
    def volume_up(self) -> None: ...
    def volume_down(self) -> None: ...
    def volume(self, output_device: str | None = None) -> float: ...
    def set_volume(self, level: float, output_device: str | None = None) -> None: ...
    def mute(self) -> None: ...
    def output_devices(self) -> list[OutputDevice]: ...
    def add_output_devices(self, *identifiers: str) -> None: ...
    def remove_output_devices(self, *identifiers: str) -> None: ...
    def set_output_devices(self, *identifiers: str) -> None: ...
    def power_state(self) -> PowerState: ...
    def turn_on(self) -> None: ...
    def turn_off(self) -> None: ...
    def apps(self) -> list[App]: ...
    def launch(self, target: str) -> None: ...
    def accounts(self) -> list[Account]: ...
    def switch_account(self, identifier: str) -> None: ...
    def text_focus(self) -> KeyboardFocus: ...
    def text_get(self) -> str | None: ...
    def text_set(self, text: str) -> None: ...
    def text_append(self, text: str) -> None: ...
    def text_clear(self) -> None: ...
    def play_url(
        self, url: str, position: float, timeout: float, version: str, about: dict[str, str]
    ) -> Stream: ...
    def stream(
        self, source: Source, raw: bool, about: dict[str, str], artwork: bytes | None,
        volume: float | None, form: str, ports: tuple[int, int],
    ) -> AudioStream: ...  # fmt: skip
    def playing(self) -> Playing: ...
    def artwork(self, width: int | None, height: int | None) -> Artwork | None: ...
    def server_info(self) -> dict[str, Any]: ...


class PairingRequest:
    """What the caller of :func:`tinyatv.pair` asks for.

    Attributes:
        pin: The PIN, if it is known beforehand: the one on the TV, or the one to type there. None
            if it is not.
        ask_pin: Returns the PIN that the TV shows; called once it is there.
        choose_pin: Returns the PIN to type on the TV, or None, which makes one up.
        show_pin: Called with the PIN that has to be typed on the TV, once that is possible; None
            prints it.
        client_id: Returns our identifier, a UUID: pairing again with the same one replaces the old
            pairing.
        name: Shown on the TV.
        timeout: Seconds that a user may take to type the PIN on the TV.
        options: For odd networks; see :func:`tinyatv.backends.dmap_pairing.publish_remote`.
        again: Called with the error after a wrong PIN; True if it shall be asked for once more.
        cancellation: What another thread may end the pairing by.
    """

    def __init__(
        self,
        *,
        pin: str | None = None,
        ask_pin: Callable[[], str],
        choose_pin: Callable[[], str | int | None] = lambda: None,
        show_pin: Callable[[str], object] | None,
        client_id: Callable[[], str],
        name: str,
        timeout: float,
        options: dict[str, Any],
        again: Callable[[PairingError], bool] = lambda error: False,
        cancel: threading.Event | None = None,
    ) -> None:
        from .cancellation import Cancellation  # at first use: a press needs none

        self.pin = pin
        self.ask_pin = ask_pin
        self.choose_pin = choose_pin
        self.show_pin = show_pin
        self.client_id = client_id
        self.name = name
        self.timeout = timeout
        self.options = options
        self.again = again
        self.cancellation = Cancellation(cancel)

    def shown_pin(self) -> str:
        """The PIN that the TV shows, to be called once it is there; asks, unless it is known.

        Raises:
            PairingError: It was cancelled meanwhile.
        """
        pin = self.ask_pin() if self.pin is None else self.pin
        self.cancellation.check()
        return pin

    def typed_pin(self) -> str | int | None:
        """The PIN to type on the TV; None if one is to be made up."""
        return self.choose_pin() if self.pin is None else self.pin


class Pairing(Protocol):
    """The pairing module of a protocol: ``backends/<protocol>_pairing.py``."""

    def pair(self, device: Device, service: Service, request: PairingRequest) -> str:
        """Pair with a device; returns the credentials.

        Raises:
            PairingError: Wrong PIN, or the device refuses.
            PairingBackOff: The device wants a pause.
            ConnectionFailed: It cannot be reached, or hung up.
            CommandTimeout: It does not answer.
            ProtocolError: It answers with nonsense.
            ValueError: Not a PIN.

        What it waits for ends once ``request.cancellation`` says so.
        """

    def check(self, device: Device, service: Service, *, timeout: float) -> None:
        """Find out whether a device accepts the credentials of a service, on a new connection.

        Args:
            device: Where it is.
            service: With credentials.
            timeout: Seconds that the connection, and each answer, may take.

        Raises:
            AppleTVError: It does not; ``CredentialsError`` if it says so.
        """


def load(protocol: str) -> type[Backend]:
    """The client side of a protocol.

    Raises:
        ImportError: A package that it needs is not installed.
    """
    module, _, name = BACKENDS[protocol].backend.partition(":")
    found: type[Backend] = getattr(import_module(module), name)
    return found


def try_connect(device: Device, service: Service, timeout: float) -> None:
    """Connect, and close: the check of all protocols that use their credentials to connect."""

    def ignore(news: Event | AppleTVError) -> None:
        """Nothing that happens meanwhile is of interest."""

    backend = load(service.protocol)(device, service, timeout=timeout, post=ignore, lost=ignore)
    try:
        backend.connect()
    finally:
        backend.close()


def load_pairing(protocol: str) -> Pairing:
    """How a protocol is paired.

    Raises:
        ImportError: A package that it needs is not installed.
    """
    found: Pairing = import_module(BACKENDS[protocol].pairing)
    return found
