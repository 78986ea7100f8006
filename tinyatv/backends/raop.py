"""The client side of RAOP: sound of our own on a speaker, as AirPlay 1 has it."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Callable

from ..errors import AppleTVError, CommandFailed, ConnectionLost, CredentialsError, NotSupported
from ..events import PlayingChanged, VolumeChanged
from ..model import Artwork, DeviceState, FeatureState, MediaType, Playing
from ..pairing.credentials import Credentials, parse
from . import Backend
from .airplay import device_key
from .airplay_session import ControlConnection

if TYPE_CHECKING:
    from ..events import Event
    from ..model import Device, Service
    from .airplay_tunnel import Tunnel
    from .raop_source import Source
    from .raop_stream import AudioStream

log = logging.getLogger(__name__)

STEP = 5.0  # percent of a step of the volume
SILENT_SINCE = 27  # first HomePodOS on which AirPlay 1 is answered, and not heard
STREAMED = ("playing", "stop", "volume", "set_volume", "volume_up", "volume_down")
"""Commands that are about the stream for as long as it plays."""
REPORTED = ("title", "artist", "album", "total_time", "position", "push_updates")


class RaopBackend(Backend):
    """One device over RAOP; arguments as in :class:`~tinyatv.backends.Backend`.

    Each stream has a connection of its own, so it never notices a loss while nothing plays.
    """

    protocol = "raop"

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
        self.address = device.address
        self._addresses = device.addresses
        self._port = service.port
        self._password = service.password
        self._timeout = timeout
        self._credentials = parse(service.credentials or None).checked()
        self._properties = service.properties
        self._version = device.info.version or ""
        self._post = post
        self._subscribed = False
        self._lock = threading.Lock()  # over the next two
        self._closed = False
        self._stream: AudioStream | None = None

    # -- life ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """See whether it is there; the connection is closed again.

        Raises:
            ConnectionFailed: It cannot be reached, or hangs up.
            CommandTimeout: It takes the connection and does not answer.
        """
        control = self._control(Credentials())
        control.open()
        self.address = control.address
        try:
            control.about_session("OPTIONS", path="*")
        except (CommandFailed, CredentialsError, NotSupported) as exc:
            log.debug("OPTIONS: %s", exc)  # it is there
        finally:
            control.close()

    def close(self, error: AppleTVError | None = None) -> None:
        """Stop what is streamed; see :class:`~tinyatv.backends.Backend`."""
        with self._lock:
            self._closed = True
            stream = self._stream
        if stream is not None:
            stream.abort(
                error or ConnectionLost(f"{self.address} port {self._port} (raop): closed")
            )

    def subscribe(self) -> None:
        """Post events of what is streamed."""
        self._subscribed = True

    def unsubscribe(self) -> None:
        """Stop posting events."""
        self._subscribed = False

    def features(self) -> dict[str, FeatureState]:
        """Sound can always be streamed; the rest is about that."""
        playing = self._playing_stream() is not None
        state = FeatureState.Available if playing else FeatureState.Unavailable
        return {"stream": FeatureState.Available, **dict.fromkeys((*STREAMED, *REPORTED), state)}

    def _control(self, credentials: Credentials) -> ControlConnection:
        return ControlConnection(
            self._addresses, self._port, credentials, timeout=self._timeout,
            password=self._password, device_key=device_key(self._properties),
            protocol=self.protocol, sealed=False,
        )  # fmt: skip

    # -- streaming -------------------------------------------------------------------------------

    def stream(
        self, source: Source, raw: bool, about: dict[str, str], artwork: bytes | None,
        volume: float | None, form: str, ports: tuple[int, int],
    ) -> AudioStream:  # fmt: skip
        """Send sound; what was sent before is stopped.

        Args:
            about: What the speaker may show: ``"title"``, ``"artist"``, ``"album"``.
            artwork: Content of the picture's file.
            ports: Own UDP ports for control and timing; 0 picks free ones.
        """
        from .raop_source import open_sound
        from .raop_stream import Asked, AudioStream

        self._check_form(form)
        if "title" not in about:
            about = {"title": _name_of(source), **about}
        model = self._properties.get("am") or ""
        encryption = _list(self._properties.get("et"))
        asked = Asked(
            **about,
            artwork=_picture(artwork),
            volume=volume,
            form=form,
            control_port=ports[0],
            timing_port=ports[1],
            metadata=_list(self._properties.get("md")),
            authorize="4" in encryption and model.startswith("AirPort"),
        )
        sound = open_sound(source, raw)
        try:
            before = self._playing_stream()
            if before is not None:
                before.stop()
            control = self._control(self._credentials)
            control.open()
            self.address = control.address
            stream = AudioStream(
                control, sound, asked, name=f"tinyatv-stream-{self.address}",
                warnings=self._warnings(model, encryption), changed=self._changed,
            )  # fmt: skip
        except BaseException:
            sound.close()
            raise
        with self._lock:
            closed = self._closed
            if not closed:
                self._stream = stream
        if closed:
            stream.stop()
            raise ConnectionLost(f"{self.address} port {self._port} (raop): closed")
        stream.start()
        return stream

    def _check_form(self, form: str) -> None:
        names = (self._properties.get(key) or "" for key in ("am", "fv"))
        if form == "l16-fmtp" and any("shairport" in name.lower() for name in names):
            raise NotSupported("stream: shairport-sync crashes on l16-fmtp; use alac or l16 (raop)")

    def _warnings(self, model: str, encryption: tuple[str, ...]) -> list[str]:
        found = []
        major = self._version.partition(".")[0]
        homepod = model.startswith("AudioAccessory") and major.isdecimal()
        if homepod and int(major) >= SILENT_SINCE:
            found.append(f"HomePods with {self._version} answer AirPlay 1, and stay silent")
        if encryption == ("1",):
            found.append("the speaker asks for sound that is encrypted by RSA, which is not sent")
        for text in found:
            log.warning("%s: %s", self.address, text)
        return found

    def _playing_stream(self) -> AudioStream | None:
        stream = self._stream
        return stream if stream is not None and stream.playing else None

    def _changed(self, stream: AudioStream) -> None:
        """A stream has begun, or is over."""
        with self._lock:
            if stream is not self._stream:
                return
        if stream.playing:
            self.taken = STREAMED
        if self._subscribed and self.taken:
            self._post(PlayingChanged(self.playing()))
        if not stream.playing:
            self.taken = ()

    # -- commands about the stream ---------------------------------------------------------------

    def _streaming(self, command: str) -> AudioStream:
        stream = self._playing_stream()
        if stream is None:
            raise CommandFailed(f"{command}: nothing is streamed now (raop)", command)
        return stream

    def playing(self) -> Playing:
        """What is streamed; nothing else is known."""
        stream = self._playing_stream()
        if stream is None:
            return Playing()
        return Playing(
            media_type=MediaType.Music, device_state=DeviceState.Playing, title=stream.title,
            artist=stream.artist, album=stream.album, total_time=int(stream.duration),
            position=stream.position,
        )  # fmt: skip

    def stop(self) -> None:
        """Stop the stream."""
        self._streaming("stop").stop()

    def volume(self, output_device: str | None = None) -> float:
        """Of the stream, as it was set last."""
        _itself(output_device)
        return self._streaming("volume").volume

    def set_volume(self, level: float, output_device: str | None = None) -> None:
        """For the stream."""
        _itself(output_device)
        stream = self._streaming("set_volume")
        before = stream.volume
        stream.set_volume(level)
        if self._subscribed:
            self._post(VolumeChanged(level, before=before))

    def volume_up(self) -> None:
        """By 5 %."""
        self.set_volume(min(100.0, self.volume() + STEP))

    def volume_down(self) -> None:
        """By 5 %."""
        self.set_volume(max(0.0, self.volume() - STEP))


def _itself(output_device: str | None) -> None:
    if output_device is not None:
        raise NotSupported("volume of an output device: a speaker has none (raop)")


def _list(text: str | None) -> tuple[str, ...]:
    """``0,1,2`` of a TXT record."""
    return tuple(one.strip() for one in (text or "").split(",") if one.strip())


def _name_of(source: object) -> str:
    """What to call a source that nobody has named."""
    path = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", None)
    if not isinstance(path, (str, os.PathLike)) or path == "-":
        return "tinyatv"
    name = os.path.splitext(os.path.basename(os.fsdecode(path)))[0]
    return os.fsencode(name).decode("utf-8", "replace") or "tinyatv"


def _picture(data: bytes | None) -> Artwork | None:
    if data is None:
        return None
    art = Artwork(data)
    if art.mimetype not in ("image/jpeg", "image/png"):
        raise ValueError("artwork is neither JPEG nor PNG")
    return art
