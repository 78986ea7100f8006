"""The client side of AirPlay: playing a URL or a file. For all else there is MRP."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Callable

from ..errors import (
    AppleTVError,
    CommandFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    ProtocolError,
)
from ..identity import check
from ..model import FeatureState
from ..pairing.credentials import LEGACY, TRANSIENT, Credentials, parse
from ..services import (
    AIRPLAY_2_FEATURES,
    PLAY_URL_FEATURES,
    airplay_features,
    parse_extended_features,
)
from . import Backend
from .airplay_session import ControlConnection, introduction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..events import Event
    from ..model import Device, DeviceInfo, Service
    from .airplay_stream import PlayMethod, Stream
    from .airplay_tunnel import Tunnel

log = logging.getLogger(__name__)

# Either bit: transient pairing may be tried. An Apple TV sets both, and still answers 470 to it;
# HomePods accept it (seen on a HomePod mini with 18.1).
TRANSIENT_FEATURES = 1 << 43 | 1 << 48
TUNNEL_SINCE = 13  # first tvOS that carries MRP; from 15 on there is no other way
HAP_SINCE = 15  # first tvOS that takes HAP credentials alone, and none of the legacy kind
QUEUE_SINCE = 18  # first tvOS that ignores /play and takes the play queue instead
PTP_SINCE = [26, 5]  # from here on NTP was seen refused; a HomePod with 26.6 answers 400


def tunnel_credentials(service: Service, info: DeviceInfo) -> Credentials | None:
    """Credentials for a tunnel of MRP; None if the device offers no tunnel to us.

    HomePods take transient pairing, Apple TVs do not.
    """
    model = service.properties.get("model") or info.raw_model or ""
    given = parse(service.credentials or None).checked()
    if model.startswith("AudioAccessory") or info.model.startswith("HomePod"):
        return given if given.kind == "hap" else Credentials(TRANSIENT)
    if given.kind != "hap":
        return None
    version = _major(service.properties.get("osvers") or info.version or "")
    # A device that was stored without its version may well have a tunnel: it has HAP credentials.
    return given if version is None or version >= TUNNEL_SINCE else None


def _major(version: str) -> int | None:
    digits = version.partition(".")[0]
    return int(digits) if digits.isdecimal() else None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


class AirPlayBackend(Backend):
    """One device over AirPlay; arguments as in :class:`~tinyatv.backends.Backend`.

    Connections come and go, so it has no events, and never notices a loss. A tunnel, where MRP goes
    through one, shows that the device is there, and carries questions about it.
    """

    protocol = "airplay"

    def __init__(
        self,
        device: Device,
        service: Service,
        *,
        timeout: float,
        post: Callable[[Event], None],
        lost: Callable[[AppleTVError], None],
        tunnel: Tunnel | None = None,
    ) -> None:
        self._device = device
        self.address = device.address
        self._addresses = device.addresses
        self._port = service.port
        self._password = service.password
        self._requires_password = service.requires_password
        self._timeout = timeout
        self._given = parse(service.credentials or None).checked()
        self._tunnel = tunnel
        self._bits = self._announced = airplay_features(service.properties)
        self._asked = False
        version = service.properties.get("osvers") or device.info.version or ""
        self._version = _major(version)
        self._prefers_ptp = _numbers(version) >= PTP_SINCE
        self._device_key = device_key(service.properties)
        self._lock = threading.Lock()
        self._beginning: list[PlayMethod] = []
        self._streams: list[Stream] = []
        self._closed = False

    # -- life ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Ask the device who it is, without credentials; not if a tunnel to it can be opened.

        Raises:
            ConnectionFailed: It cannot be reached, or hangs up.
            CommandTimeout: It takes the connection and does not answer.
            CredentialsError: They are AirPlay 1 credentials, and this is not AirPlay 1.
        """
        if self._given.kind == "legacy" and (self._version or 0) >= HAP_SINCE:
            raise CredentialsError(f"{self.address} port {self._port} (airplay): {LEGACY}")
        if self._tunnel is not None:
            try:
                self._tunnel.wait()
                self.address = self._tunnel.address
                return
            except (CommandFailed, CredentialsError, ProtocolError) as exc:
                log.debug("no tunnel: %s", exc)  # the device is there, and may play all the same
        control = self._control(Credentials())
        control.open()
        self.address = control.address
        try:
            self._recognize(control)
        except CredentialsError as exc:
            log.info("no /info: %s", exc)
        finally:
            control.close()

    def _learn(self, source: ControlConnection | Tunnel) -> None:
        """Take over what the device says of itself: it is newer than its TXT record.

        Raises:
            WrongDevice: It is another one.
        """
        self._asked = True
        info = source.info(self._timeout)
        self._bits = told_features(info) or self._bits
        self.introduction = introduction(info)
        check(self._device, self.introduction, f"{self.address} port {self._port} (airplay)")

    def _recognize(self, control: ControlConnection) -> None:
        """Make sure that a new connection leads to the same device as the first one did.

        Raises:
            WrongDevice: It does not.
        """
        try:
            self._learn(control)
        except (CommandFailed, NotSupported) as exc:
            log.info("no /info: %s", exc)

    def close(self, error: AppleTVError | None = None) -> None:
        """Stop what this backend plays.

        Args:
            error: Why, for callers that wait for its end; None says that it was closed.
        """
        error = error or ConnectionLost(f"{self.address} port {self._port} (airplay): closed")
        with self._lock:
            self._closed = True
            beginning, streams = self._beginning.copy(), self._streams
        for method in beginning:
            method.close()
        for stream in streams:
            stream.abort(error)

    @staticmethod
    def tunnel(device: Device, service: Service, *, timeout: float) -> Tunnel | None:
        """What carries MRP, where the device offers that to us."""
        credentials = tunnel_credentials(service, device.info)
        if credentials is None:
            return None
        from .airplay_tunnel import Tunnel

        return Tunnel(
            device.addresses,
            service.port,
            credentials,
            timeout=timeout,
            password=service.password,
            requires_password=service.requires_password,
        )

    def subscribe(self) -> None:
        """There are no events."""

    def unsubscribe(self) -> None:
        """There are no events."""

    def _control(self, credentials: Credentials) -> ControlConnection:
        return ControlConnection(
            self._preferred(), self._port, credentials, timeout=self._timeout,
            password=self._password, requires_password=self._requires_password,
            device_key=self._device_key,
        )  # fmt: skip

    def _preferred(self) -> list[str]:
        """Its addresses; first the one that answered last."""
        return [self.address, *(one for one in self._addresses if one != self.address)]

    def features(self) -> dict[str, FeatureState]:
        """Whether it plays URLs; asks over the tunnel if its record does not say."""
        if not self._bits and not self._asked and self._tunnel is not None:
            try:
                self._learn(self._tunnel)
            except AppleTVError as exc:
                log.info("no /info: %s", exc)
        # Either may be wrong: some devices deny in one what they say in the other, and can do it.
        can = (self._bits | self._announced) & PLAY_URL_FEATURES or not self._bits
        return {"play_url": FeatureState.Available if can else FeatureState.Unsupported}

    # -- playing ---------------------------------------------------------------------------------

    def play_url(
        self, url: str, position: float, timeout: float, version: str, about: dict[str, str]
    ) -> Stream:
        """Try the methods to play it, one after the other, each on a connection of its own.

        Args:
            about: What the TV may show: ``"Title"``, ``"Artist"``, ``"Album"``.
        """
        from .airplay_stream import PLAY_METHODS, TRIES, is_elsewhere, is_transient

        path = local_path(url)
        if path is not None:
            from .fileserver import check_file

            check_file(path)
            about = {"Title": os.path.splitext(os.path.basename(path))[0], **about}
        # File names need not be text that can be sent.
        about = {key: os.fsencode(text).decode("utf-8", "replace") for key, text in about.items()}

        if self.features()["play_url"] is not FeatureState.Available:
            raise NotSupported("play_url: the device plays no URLs (airplay)")
        names = [version] if version != "auto" else self._ways()
        error: AppleTVError | None = None
        for name in names:
            for _ in range(TRIES):
                try:
                    return self._play(PLAY_METHODS[name], url, path, position, timeout, about)
                except AppleTVError as exc:
                    log.info("play_url (%s): %s", name, exc)
                    error = error or exc
                    if is_transient(exc):
                        continue
                    if not is_elsewhere(exc, name):
                        raise
                    break
        assert error is not None, "there is at least one of them"
        raise error

    def _ways(self) -> list[str]:
        if self._tunnel is None and not self._bits & AIRPLAY_2_FEATURES:
            return ["1"]
        newer = self._version is not None and self._version >= QUEUE_SINCE
        return ["queue", "2"] if newer else ["2", "queue"]

    def _credentials(self, method: type[PlayMethod]) -> Credentials:
        if self._given.kind != "null":
            return self._given
        transient = self._bits & TRANSIENT_FEATURES
        return Credentials(TRANSIENT) if transient and method.name != "1" else Credentials()

    def _play(
        self, method: type[PlayMethod], url: str, path: str | None, position: float, timeout: float,
        about: dict[str, str],
    ) -> Stream:  # fmt: skip
        from .airplay_stream import Stream

        control = self._control(self._credentials(method))
        try:
            control.open()
            if control.secret is None:  # nothing has proven yet that it is still the same device
                self._recognize(control)
        except (CommandFailed, CredentialsError, ProtocolError) as exc:
            if self._given.kind == "legacy" and self._bits & AIRPLAY_2_FEATURES:
                raise CredentialsError(f"play_url: {LEGACY}") from exc
            raise
        playing = method(control, self._given.client_id, self._prefers_ptp, about, path)
        server = None
        try:
            with self._lock:
                self._check_open()
                self._beginning.append(playing)
            if path is not None:
                from .fetch import addresses_of
                from .fileserver import FileServer

                also = addresses_of(self._addresses)
                server = FileServer(path, control.local, control.remote, also)
                url = server.start().url
            playing.play(url, position)
            stream = Stream(url, f"tinyatv-stream-{self.address}", playing, server, timeout)
            with self._lock:
                self._check_open()
                self._streams = [one for one in self._streams if one.playing] + [stream]
        except BaseException:
            playing.close()
            if server is not None:
                server.close()
            raise
        finally:
            with self._lock:
                if playing in self._beginning:
                    self._beginning.remove(playing)
        stream.start()
        return stream

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLost(f"{self.address} port {self._port} (airplay): closed")


def told_features(info: Mapping[str, Any]) -> int:
    """The feature bits in what a device says of itself; 0 if they are not there."""
    bits, extended = info.get("features"), info.get("featuresEx")
    if isinstance(bits, int) and bits:
        return bits & (1 << 64) - 1  # property lists may have it as a signed number
    try:
        return parse_extended_features(extended) if isinstance(extended, str) else 0
    except ValueError:
        return 0


def device_key(properties: Mapping[str, str | None]) -> bytes | None:
    """The public key in a TXT record; None if there is none."""
    try:
        key = bytes.fromhex(properties.get("pk") or "")
    except ValueError:
        return None
    return key if len(key) == 32 else None


def is_legacy(service: Service) -> bool:
    """True for AirPlay 1, which is paired in a way of its own."""
    bits = airplay_features(service.properties)
    return bool(bits) and not bits & AIRPLAY_2_FEATURES


def local_path(url: str | os.PathLike[str] | bytes) -> str | None:
    """The file of this computer that is meant; None for something on the web.

    Raises:
        ValueError: Nothing is meant, or a file of another computer.
    """
    text = os.fsdecode(url)
    if not text:
        raise ValueError("what to play is empty: it takes a URL or the path of a file")
    if "\0" in text:
        raise ValueError("the path of a file holds no NUL")
    if os.path.exists(text) or "://" not in text:
        return text
    scheme, _, rest = text.partition("://")
    if scheme.lower() != "file":
        return None
    from urllib.request import url2pathname

    host, slash, path = rest.partition("/")
    if host.lower() not in ("", "localhost"):
        raise ValueError(f"a file of another computer: {text!r}")
    path = url2pathname(slash + path)
    if not path.strip("/"):
        raise ValueError(f"no file is named: {text!r}")
    return path
