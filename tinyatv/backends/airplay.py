"""The client side of AirPlay: playing a URL or a file. What plays otherwise is known by MRP."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from ..errors import (
    AppleTVError,
    CommandFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
)
from ..model import FeatureState
from ..pairing.credentials import TRANSIENT, Credentials, parse
from ..records import parse_features
from .airplay_session import ControlConnection

if TYPE_CHECKING:
    from ..events import Event
    from ..model import DeviceInfo, Service
    from .airplay_stream import Stream, Way
    from .fileserver import FileServer

log = logging.getLogger(__name__)

VIDEO, VIDEO_2, UNIFIED, SYSTEM_PAIRING, CORE_UTILS = 0, 49, 38, 43, 48  # feature bits
TUNNEL_SINCE = 13  # tvOS that carries MRP
QUEUE_SINCE = 18  # tvOS that wants the play queue
PTP_SINCE = [26, 5]  # tvOS that refuses our clock


def features(properties: Mapping[str, str | None]) -> int:
    """The feature bits of a TXT record; 0 if there are none or they are malformed."""
    try:
        return parse_features(properties.get("ft") or properties.get("features") or "")
    except ValueError:
        return 0


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


class AirPlayBackend:
    """One device over AirPlay.

    Args:
        host: Address.
        service: Port, credentials and TXT record.
        info: What is known of the device.
        timeout: Seconds that a command may take.
        post: Takes events; there are none.
        lost: Called when the device is gone; never, since connections come and go.
    """

    protocol = "airplay"

    def __init__(
        self,
        host: str,
        service: Service,
        *,
        info: DeviceInfo,
        timeout: float,
        post: Callable[[Event], None],
        lost: Callable[[AppleTVError], None],
    ) -> None:
        self._host = host
        self._port = service.port
        self._password = service.password
        self._timeout = timeout
        self._given = parse(service.credentials or None).checked()
        self._bits = features(service.properties)
        version = service.properties.get("osvers") or info.version or ""
        self._version = _major(version)
        self._prefers_ptp = _numbers(version) >= PTP_SINCE
        self._device_key = device_key(service.properties)
        self._streams: list[Stream] = []
        self._closed = False

    # -- life ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Ask the device who it is, which everybody may.

        Raises:
            ConnectionFailed: It cannot be reached, or hangs up.
            CommandTimeout: It takes the connection and does not answer.
        """
        control = self._control(Credentials())
        control.open()
        try:
            told = control.rtsp("GET", "/info", timeout=self._timeout)
        except (CommandFailed, CredentialsError) as exc:
            log.info("no information: %s", exc)
            return
        finally:
            control.close()
        bits = told.get("features") if isinstance(told, dict) else None
        if isinstance(bits, int):
            self._bits = bits & (1 << 64) - 1

    def close(self) -> None:
        """Stop what plays because of us."""
        self._closed = True
        for stream in self._streams:
            stream.abort(ConnectionLost(f"{self._host} port {self._port} (airplay): closed"))

    def listen(self) -> None:
        """Nothing to listen to."""

    def unlisten(self) -> None:
        """Nothing to listen to."""

    def _control(self, credentials: Credentials) -> ControlConnection:
        return ControlConnection(
            self._host, self._port, credentials, timeout=self._timeout, password=self._password,
            device_key=self._device_key,
        )  # fmt: skip

    def features(self) -> dict[str, FeatureState]:
        """Whether it plays URLs."""
        can = self._bits >> VIDEO & 1 or self._bits >> VIDEO_2 & 1 or not self._bits
        return {"play_url": FeatureState.Available if can else FeatureState.Unsupported}

    # -- playing ---------------------------------------------------------------------------------

    def play_url(self, url: str, position: float, timeout: float, version: str) -> Stream:
        """Try the ways to play it, one after the other, each on a connection of its own."""
        from .airplay_stream import TRIES, WAYS, is_elsewhere, is_transient

        if self.features()["play_url"] is not FeatureState.Available:
            raise NotSupported("play_url: the device plays no URLs (airplay)")
        names = [version] if version != "auto" else self._ways()
        error: AppleTVError | None = None
        for name in names:
            for _ in range(TRIES):
                try:
                    return self._play(WAYS[name], url, position, timeout)
                except AppleTVError as exc:
                    log.info("play_url (%s): %s", name, exc)
                    error = error or exc
                    if is_transient(exc):
                        continue
                    if not is_elsewhere(exc):
                        raise
                    break
        assert error is not None, "there is at least one way"
        raise error

    def _ways(self) -> list[str]:
        if not (self._bits >> UNIFIED & 1 or self._bits >> CORE_UTILS & 1):
            return ["1"]
        newer = self._version is not None and self._version >= QUEUE_SINCE
        return ["queue", "2"] if newer else ["2", "queue"]

    def _credentials(self, way: type[Way]) -> Credentials:
        if self._given.kind != "null":
            return self._given
        transient = self._bits >> SYSTEM_PAIRING & 1 or self._bits >> CORE_UTILS & 1
        return Credentials(TRANSIENT) if transient and way.name != "1" else Credentials()

    def _play(self, way: type[Way], url: str, position: float, timeout: float) -> Stream:
        from .airplay_stream import Stream

        if self._closed:
            raise ConnectionLost(f"{self._host} port {self._port} (airplay): closed")
        control = self._control(self._credentials(way))
        control.open()
        server: FileServer | None = None
        playing = way(control, self._given.client_id, self._prefers_ptp)
        try:
            if not _is_url(url):
                from .fileserver import FileServer

                server = FileServer(url, control.local, control.remote).start()
            where = server.url if server is not None else url
            playing.play(where, position)
        except BaseException:
            playing.close()
            if server is not None:
                server.close()
            raise
        name = f"tinyatv-stream-{self._host}"
        stream = Stream(where, name, playing, server.close if server else _nothing, timeout)
        self._streams = [one for one in self._streams if one.playing] + [stream]
        stream.start()
        return stream


def _nothing() -> None:
    """For what is not there to be closed."""


def device_key(properties: Mapping[str, str | None]) -> bytes | None:
    """The public key in a TXT record; None if there is none."""
    try:
        key = bytes.fromhex(properties.get("pk") or "")
    except ValueError:
        return None
    return key if len(key) == 32 else None


def is_legacy(service: Service) -> bool:
    """True for AirPlay 1, which is paired in a way of its own."""
    bits = features(service.properties)
    return bool(bits) and not (bits >> UNIFIED & 1 or bits >> CORE_UTILS & 1)


def _is_url(text: str) -> bool:
    return "://" in text and not os.path.exists(text)


def pair(
    host: str,
    port: int,
    *,
    pin: str | Callable[[], str],
    client_id: str,
    legacy: bool = False,
    key: bytes | None = None,
    name: str = "tinyatv",
    timeout: float = 30.0,
) -> str:
    """Pair with a device; returns the credentials, which it has accepted on a new connection.

    Args:
        host: Its address.
        port: Its AirPlay port.
        pin: What the TV shows, or a function that asks for it once it is there.
        client_id: Our identifier.
        legacy: True for AirPlay 1.
        key: The device's public key, where it announces one; only AirPlay 1 needs it.
        name: Shown on the TV.
        timeout: Seconds that each answer may take.

    Raises:
        As :func:`tinyatv.backends.mrp_pairing.pair`.
    """
    from ..errors import ConnectionFailed, PairingError
    from ..pairing.hap import Identity, drive
    from .airplay_session import OCTETS, PAIRING_AGENT, PLIST

    control = ControlConnection(host, port, Credentials(), timeout=timeout)
    control.open()
    # Newer systems make a PIN and do not show it to somebody without a name.
    headers = [
        ("User-Agent", PAIRING_AGENT),
        ("Connection", "keep-alive"),
        ("X-Apple-Client-Name", name),
    ]

    def post(path: str, data: bytes, content_type: str, *more: tuple[str, str]) -> bytes:
        body = control.http("POST", path, data, [*headers, *more], content_type=content_type)
        return body.body

    try:
        control.http("POST", "/pair-pin-start", b"", headers)
        if legacy:
            from ..pairing.legacy import legacy_setup

            short = bytes.fromhex(client_id.replace("-", "")[:16])
            steps: Any = legacy_setup(short, pin, device_key=key)
            found: Credentials = drive(steps, lambda data: post("/pair-setup-pin", data, PLIST))
        else:
            from ..pairing.hap_setup import hap_setup, own_info

            found = drive(
                hap_setup(Identity(client_id.encode()), pin, info=own_info(name)),
                lambda data: post("/pair-setup", data, OCTETS, ("X-Apple-HKP", "3")),
            )
    except CredentialsError as exc:
        raise PairingError(f"the device refuses to be paired: {exc}") from exc
    except CommandFailed as exc:
        hint = ": allow it in Settings > AirPlay and HomeKit" if exc.code == 400 else ""
        raise PairingError(f"{exc}{hint}") from exc
    except ConnectionLost as exc:
        raise ConnectionFailed(f"{host} port {port} (airplay) hung up: {exc}") from exc
    finally:
        control.close()
    check(host, port, found, device_key=key)
    return str(found)


def check(
    host: str, port: int, credentials: Credentials, *, device_key: bytes | None = None
) -> None:
    """Find out whether a device accepts credentials; CredentialsError if it does not."""
    control = ControlConnection(host, port, credentials, device_key=device_key)
    control.open()
    control.close()
