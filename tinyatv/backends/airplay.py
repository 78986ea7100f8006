"""The client side of AirPlay: playing a URL or a file. What plays otherwise is known by MRP."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Callable

from ..discovery.records import (
    AIRPLAY_2_FEATURES,
    PLAY_URL_FEATURES,
    airplay_features,
    parse_extended_features,
)
from ..errors import (
    AppleTVError,
    CommandFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    ProtocolError,
)
from ..model import FeatureState
from ..pairing.credentials import LEGACY, TRANSIENT, Credentials, parse
from . import Backend
from .airplay_session import ControlConnection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..events import Event
    from ..model import Device, DeviceInfo, Service
    from .airplay_stream import PlayMethod, Stream
    from .airplay_tunnel import Tunnel

log = logging.getLogger(__name__)

TRANSIENT_FEATURES = 1 << 43 | 1 << 48  # either bit: nobody needs to be paired to try
TUNNEL_SINCE = 13  # tvOS that carries MRP
QUEUE_SINCE = 18  # tvOS that wants the play queue
HAP_SINCE = 15  # tvOS that does nothing for somebody who is paired the old way alone
PTP_SINCE = [26, 5]  # tvOS that refuses our clock


def tunnel_credentials(service: Service, info: DeviceInfo) -> Credentials | None:
    """What to open a tunnel for MRP with; None if the device has none for us."""
    model = service.properties.get("model") or info.raw_model or ""
    given = parse(service.credentials or None).checked()
    if model.startswith("AudioAccessory") or info.model.startswith("HomePod"):
        return given if given.kind == "hap" else Credentials(TRANSIENT)
    if given.kind != "hap":
        return None
    version = _major(service.properties.get("osvers") or info.version or "")
    # Of a device that was stored without a version, be sure rather than sorry: it has HAP keys.
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
        self._host = device.address
        self._port = service.port
        self._password = service.password
        self._timeout = timeout
        self._given = parse(service.credentials or None).checked()
        self._tunnel = tunnel
        self._bits = airplay_features(service.properties)
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
        """Ask the device who it is, which everybody may; not if a tunnel to it can be opened.

        Raises:
            ConnectionFailed: It cannot be reached, or hangs up.
            CommandTimeout: It takes the connection and does not answer.
            CredentialsError: They are AirPlay 1 credentials, and this is not AirPlay 1.
        """
        if self._given.kind == "legacy" and (self._version or 0) >= HAP_SINCE:
            raise CredentialsError(f"{self._host} port {self._port} (airplay): {LEGACY}")
        if self._tunnel is not None:
            try:
                self._tunnel.wait()
                return
            except (CommandFailed, CredentialsError, ProtocolError) as exc:
                log.debug("no tunnel: %s", exc)  # it is there, and may play all the same
        control = self._control(Credentials())
        control.open()
        try:
            self._learn(control)
        except (CommandFailed, CredentialsError, NotSupported) as exc:
            log.info("no information: %s", exc)
        finally:
            control.close()

    def _learn(self, source: ControlConnection | Tunnel) -> None:
        """What the device says of itself is newer than its record."""
        self._asked = True
        self._bits = told_features(source.info(self._timeout)) or self._bits

    def close(self, error: AppleTVError | None = None) -> None:
        """Stop what plays because of us.

        Args:
            error: Why, for those who wait for it; None says that it was closed.
        """
        error = error or ConnectionLost(f"{self._host} port {self._port} (airplay): closed")
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
            device.address, service.port, credentials, timeout=timeout, password=service.password
        )

    def subscribe(self) -> None:
        """There are no events."""

    def unsubscribe(self) -> None:
        """There are no events."""

    def _control(self, credentials: Credentials) -> ControlConnection:
        return ControlConnection(
            self._host, self._port, credentials, timeout=self._timeout, password=self._password,
            device_key=self._device_key,
        )  # fmt: skip

    def features(self) -> dict[str, FeatureState]:
        """Whether it plays URLs; asks over the tunnel if its record does not say."""
        if not self._bits and not self._asked and self._tunnel is not None:
            try:
                self._learn(self._tunnel)
            except AppleTVError as exc:
                log.info("no information: %s", exc)
        can = self._bits & PLAY_URL_FEATURES or not self._bits
        return {"play_url": FeatureState.Available if can else FeatureState.Unsupported}

    # -- playing ---------------------------------------------------------------------------------

    def play_url(
        self, url: str, position: float, timeout: float, version: str, about: dict[str, str]
    ) -> Stream:
        """Try the ways to play it, one after the other, each on a connection of its own.

        Args:
            about: What the TV may show: ``"Title"``, ``"Artist"``, ``"Album"``.
        """
        from .airplay_stream import PLAY_METHODS, TRIES, is_elsewhere, is_transient

        path = None if _is_url(url) else url
        if path is not None:
            from .fileserver import check_file

            check_file(path)
            about = {"Title": os.path.splitext(os.path.basename(path))[0], **about}

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
        assert error is not None, "there is at least one method"
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
                from .fileserver import FileServer

                server = FileServer(path, control.local, control.remote)
                url = server.start().url
            playing.play(url, position)
            stream = Stream(url, f"tinyatv-stream-{self._host}", playing, server, timeout)
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
            raise ConnectionLost(f"{self._host} port {self._port} (airplay): closed")


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


def _is_url(text: str) -> bool:
    return "://" in text and not os.path.exists(text)
