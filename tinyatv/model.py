"""Plain data: what is playing, what a device is, and their enumerations.

Hand-written classes instead of ``dataclasses``: that module alone would cost a third of the time
that one key press from the shell may take.
"""

from __future__ import annotations

import enum
import time
from copy import copy
from typing import TYPE_CHECKING, Callable

from . import routes
from .errors import AppleTVError
from .info import Data as _Data
from .info import DeviceInfo as DeviceInfo
from .info import OperatingSystem as OperatingSystem
from .info import PairingRequirement as PairingRequirement
from .info import identifier_key as identifier_key
from .info import is_placeholder
from .text import printable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

PROTOCOLS = tuple(routes.PROTOCOLS)
"""Names of the protocols, in the order in which they name a device (its main identifier)."""
PASSWORDS = tuple(name for name, row in routes.PROTOCOLS.items() if row.password)
"""Protocols in which a device may want a password."""


class MediaType(enum.Enum):
    """What kind of thing is playing."""

    Unknown = 0
    Video = 1
    Music = 2
    TV = 3


class DeviceState(enum.Enum):
    """What the player is doing."""

    Idle = 0
    Loading = 1
    Paused = 2
    Playing = 3
    Stopped = 4
    Seeking = 5


class RepeatState(enum.Enum):
    """What repeats at its end."""

    Off = 0
    Track = 1
    All = 2


class ShuffleState(enum.Enum):
    """What is shuffled."""

    Off = 0
    Albums = 1
    Songs = 2


class PowerState(enum.Enum):
    """Whether the device is awake."""

    Unknown = 0
    Off = 1
    On = 2


class KeyboardFocus(enum.Enum):
    """Whether a text field has focus."""

    Unknown = 0
    Unfocused = 1
    Focused = 2


class TouchAction(enum.Enum):
    """What a finger does on the touchpad."""

    Press = 1
    Hold = 3
    Release = 4
    Click = 5


class FeatureState(enum.Enum):
    """Whether a command or a field can be used now.

    ``Unknown`` means that the device does not say: try it.
    """

    Unknown = 0
    Unsupported = 1
    Unavailable = 2
    Available = 3


class App(_Data):
    """An app on the device.

    Attributes:
        name: What the device calls it, or None.
        identifier: Bundle identifier, for example ``com.apple.TVMusic``.
    """

    __slots__ = ("name", "identifier")

    def __init__(self, name: str | None, identifier: str) -> None:
        self.name = name
        self.identifier = identifier


class Account(_Data):
    """Somebody who uses the device.

    Attributes:
        name: What the device calls them, or None.
        identifier: What :meth:`tinyatv.AppleTV.switch_account` takes.
    """

    __slots__ = ("name", "identifier")

    def __init__(self, name: str | None, identifier: str) -> None:
        self.name = name
        self.identifier = identifier


class OutputDevice(_Data):
    """Something that plays the sound of a device: itself, or a speaker that it has joined.

    Attributes:
        name: What its owner calls it.
        identifier: What :meth:`tinyatv.AppleTV.add_output_devices` and its like take.
    """

    __slots__ = ("name", "identifier")

    def __init__(self, name: str, identifier: str) -> None:
        self.name = name
        self.identifier = identifier


class Service(_Data):
    """One protocol that a device offers.

    Attributes:
        protocol: ``"dmap"``, ``"mrp"``, ``"airplay"``, ``"companion"`` or ``"raop"``.
        port: TCP port; 0 if it is not known.
        identifier: The device's identifier in this protocol, or None.
        credentials: Result of pairing, or None. Never shown by ``repr``.
        password: Device password, or None. Never shown by ``repr``.
        pairing: Whether pairing is needed.
        requires_password: True if the device asks for its password.
        enabled: False for a service that only names the device (MRP from tvOS 15 on).
        properties: TXT record, keys in lower case; a key without a value has None. Never shown by
            ``repr``: Home Sharing puts credentials there.
    """

    __slots__ = (
        "protocol", "port", "identifier", "pairing", "requires_password", "enabled",
        "_credentials", "_password", "_properties",
    )  # fmt: skip

    def __init__(
        self,
        protocol: str,
        port: int = 0,
        *,
        identifier: str | None = None,
        credentials: str | None = None,
        password: str | None = None,
        pairing: PairingRequirement = PairingRequirement.Unsupported,
        requires_password: bool = False,
        enabled: bool = True,
        properties: Mapping[str, str | None] | None = None,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be 0 to 65535, not {port}")
        self.protocol = protocol
        self.port = port
        self.identifier = identifier
        self._credentials = credentials
        self._password = password
        self.pairing = pairing
        self.requires_password = requires_password
        self.enabled = enabled
        self._properties = dict(properties or {})

    @property
    def properties(self) -> dict[str, str | None]:
        return self._properties

    @property
    def credentials(self) -> str | None:
        return self._credentials

    @credentials.setter
    def credentials(self, text: str | None) -> None:
        self._credentials = text

    @property
    def password(self) -> str | None:
        return self._password

    @password.setter
    def password(self, text: str | None) -> None:
        self._password = text


class Device(_Data):
    """A device on the network: found by :func:`tinyatv.scan`, or described by hand.

    ::

        Device("Den", "192.0.2.10", [Service("dmap", 3689, credentials="0x0123456789ABCDEF")])

    Attributes:
        name: What its owner calls it.
        names: All names that it announces, `name` first; services may differ in it.
        address: Address or host name; of an IPv6 address of one link, with its scope
            (``fe80::1%eth0``).
        addresses: All its addresses, `address` first: behind it those of our own networks, then the
            rest.
        services: What it offers, in order of discovery.
        info: Make and software. Of a device that is described by hand, what the properties of its
            services tell.
        deep_sleep: True if a sleep proxy answered for it.
        query: ``host`` or ``host:port`` that answered a directed query; None for multicast.
        properties: Raw TXT records by service type. Never shown by ``repr``.
    """

    __slots__ = (
        "name", "address", "services", "info", "deep_sleep", "query",
        "_names", "_addresses", "_properties",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        address: str,
        services: Iterable[Service] = (),
        *,
        info: DeviceInfo | None = None,
        deep_sleep: bool = False,
        query: str | None = None,
        properties: Mapping[str, Mapping[str, str | None]] | None = None,
        names: Iterable[str] = (),
        addresses: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.address = address
        self.services = list(services)
        self.info = info if info is not None else _info(self.services)
        self.deep_sleep = deep_sleep
        self.query = query
        self._names = list(names)
        self._addresses = list(addresses)
        self._properties = {kind: dict(txt) for kind, txt in (properties or {}).items()}

    @property
    def properties(self) -> dict[str, dict[str, str | None]]:
        return self._properties

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(filter(None, [self.name, *self._names])))

    @property
    def addresses(self) -> list[str]:
        return list(dict.fromkeys(filter(None, [self.address, *self._addresses])))

    def add_names(self, names: Iterable[str]) -> None:
        """Know it by these names, too."""
        self._names = [*self._names, *names]

    def add_addresses(self, addresses: Iterable[str]) -> None:
        """Know these addresses, too; those known before stay in front."""
        self._addresses = [*self._addresses, *addresses]

    def copy(self) -> Device:
        """A copy whose services can be changed."""
        copied = copy(self)
        copied.services = [copy(service) for service in self.services]
        return copied

    def use_only(self, address: str) -> None:
        """Forget its addresses for this one."""
        self.address, self._addresses = address, []

    def preferring(self, address: str) -> Device:
        """A copy that is tried at this one of its addresses first."""
        other = copy(self)
        other.address, other._addresses = address, self.addresses
        return other

    @property
    def identifiers(self) -> list[str]:
        """Identifiers of all services, without repetition, in order of discovery."""
        return list(dict.fromkeys(s.identifier for s in self.services if s.identifier))

    @property
    def identifier(self) -> str | None:
        """The main identifier: of the first of MRP, DMAP, AirPlay, RAOP, Companion that has one."""
        for protocol in PROTOCOLS:
            service = self.service(protocol)
            if service is not None and service.identifier:
                return service.identifier
        return None

    def service(self, protocol: str) -> Service | None:
        """The service of a protocol, or None if the device does not offer it."""
        return next((s for s in self.services if s.protocol == protocol), None)

    def is_called(self, text: str) -> bool:
        """True if `text` is one of its names, addresses or identifiers.

        Case is ignored, and so is the kind of a space: Apple's own names have a no-break one, which
        people type as a plain one. Of identifiers, colons and dashes are ignored as well.
        """
        wanted = text.casefold().split()
        if any(wanted == one.casefold().split() for one in (*self.names, *self.addresses)):
            return True
        return bool(identifier_keys([text]) & identifier_keys(self.identifiers))


def identifier_keys(identifiers: Iterable[str]) -> set[str]:
    """The keys of several identifiers, to find out whether two devices have one in common.

    What stands in for an identifier, such as zeros, is left out.
    """
    return {identifier_key(one) for one in identifiers if not is_placeholder(one)}


def _info(services: Iterable[Service]) -> DeviceInfo:
    if not any(service.properties for service in services):
        return DeviceInfo()
    from .services import info_of_services

    return info_of_services((service.protocol, service.properties) for service in services)


class Artwork(_Data):
    """An image. Shows itself when it is the last value of a notebook cell.

    Attributes:
        data: The bytes as the device sent them.
        mimetype: ``"image/png"``, ``"image/jpeg"``, ``"image/heic"``, ``"image/webp"``,
            ``"image/gif"``, or ``"application/octet-stream"``.
        width: Pixels, or None if neither the data nor the device tells.
        height: Pixels, or None.
    """

    __slots__ = ("data", "mimetype", "width", "height")

    def __init__(
        self, data: bytes, width: int | None = None, height: int | None = None
    ) -> None:  # fmt: skip
        """Describe an image.

        Args:
            data: The bytes as the device sent them.
            width: Pixels, as the device tells; what the data says comes first.
            height: The same.
        """
        self.data = data
        self.mimetype, self.width, self.height = _sniff(data)
        if self.width is None or self.height is None:
            self.width, self.height = width or None, height or None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the image to a file.

        Raises:
            OSError: The file cannot be written; what was there before is kept.
        """
        from .files import replace_file

        replace_file(path, self.data)

    @property
    def extension(self) -> str:
        """File name ending that fits the data: ``".png"``, ``".jpg"`` ...; else ``".bin"``."""
        return _EXTENSIONS.get(self.mimetype, ".bin")

    def __repr__(self) -> str:
        return f"Artwork({self.mimetype}, {self.width}x{self.height}, {len(self.data)} bytes)"

    def _repr_png_(self) -> bytes | None:
        return self.data if self.mimetype == "image/png" else None

    def _repr_jpeg_(self) -> bytes | None:
        return self.data if self.mimetype == "image/jpeg" else None


_EXTENSIONS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/heic": ".heic",
    "image/webp": ".webp",
    "image/gif": ".gif",
}
_TEXTS = ("text/", "application/json", "application/xhtml", "application/xml")
# Brands of ISO base media files (ISO/IEC 23008-12, annex B) that hold one image.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def _sniff(data: bytes) -> tuple[str, int | None, int | None]:
    """Return (MIME type, width, height) from the first bytes of an image."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        if len(data) < 24 or data[12:16] != b"IHDR":  # what else comes first has no size
            return "image/png", None, None
        return "image/png", int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:3] == b"\xff\xd8\xff":
        return "image/jpeg", *_jpeg_size(data)
    if data[:6] in (b"GIF87a", b"GIF89a") and any(data[6:8]) and any(data[8:10]):
        width, height = data[6:8], data[8:10]
        return "image/gif", int.from_bytes(width, "little"), int.from_bytes(height, "little")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp", *_webp_size(data)
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return "image/heic", None, None
    return "application/octet-stream", None, None


def is_image(data: bytes, kind: str = "") -> bool:
    """True for what is one; a page that says "not found" is none.

    Data of no known kind may be an image of tomorrow, unless it begins like a page.

    Args:
        data: All of it, or its beginning.
        kind: Content-Type, if it came with one.
    """
    if _sniff(data)[0] != "application/octet-stream":
        return True
    start = data[:64].lstrip(b"\xef\xbb\xbf\t\r\n ")
    return bool(data) and start[:1] not in (b"<", b"{") and not kind.lower().startswith(_TEXTS)


def _webp_size(data: bytes) -> tuple[int | None, int | None]:
    """From the first chunk: lossy (RFC 6386, 9.1), lossless, or extended."""
    kind, first = data[12:16], data[20:30]
    if len(first) < 10:
        return None, None
    if kind == b"VP8X":
        return int.from_bytes(first[4:7], "little") + 1, int.from_bytes(first[7:10], "little") + 1
    if kind == b"VP8 " and first[3:6] == b"\x9d\x01\x2a":
        width, height = first[6:8], first[8:10]
        return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
    if kind == b"VP8L" and first[:1] == b"\x2f":
        bits = int.from_bytes(first[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None, None


def _jpeg_size(data: bytes) -> tuple[int | None, int | None]:
    """Walk the segments to the start-of-frame marker (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            return int.from_bytes(data[at + 7 : at + 9], "big"), height
        if marker == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None, None


class Playing(_Data):
    """What is playing.

    Two of these are equal if they describe the same thing; a position that only moves with the
    clock makes no difference.

    Attributes:
        media_type: Kind of media.
        device_state: What the player is doing.
        title: Title; this and all texts are None if the device does not tell.
        artist: Artist.
        album: Album.
        genre: Genre.
        total_time: Length in seconds; 0 if it is not known.
        shuffle: Shuffle state. Off if the app cannot shuffle, None if it does not tell.
        repeat: Repeat state, None if it is not known.
        series_name: Series of a TV episode.
        season_number: Season.
        episode_number: Episode.
        content_identifier: The app's own name for the content.
        itunes_store_identifier: Number in the iTunes Store.
        app: The app that plays.
        hash: Stable for the same title, artist, album and length.
        artwork_id: Stable for the same image; None if there is no image, or the device does not
            tell (DMAP).
    """

    __slots__ = (
        "media_type", "device_state", "title", "artist", "album", "genre", "total_time", "shuffle",
        "repeat", "series_name", "season_number", "episode_number", "content_identifier",
        "itunes_store_identifier", "app", "hash", "artwork_id", "_position", "_rate", "_at",
        "_remaining", "_artwork",
    )  # fmt: skip

    def __init__(
        self,
        *,
        media_type: MediaType = MediaType.Unknown,
        device_state: DeviceState = DeviceState.Idle,
        title: str | None = None,
        artist: str | None = None,
        album: str | None = None,
        genre: str | None = None,
        total_time: int = 0,
        position: float | None = None,
        rate: float | None = None,
        shuffle: ShuffleState | None = None,
        repeat: RepeatState | None = None,
        series_name: str | None = None,
        season_number: int | None = None,
        episode_number: int | None = None,
        content_identifier: str | None = None,
        itunes_store_identifier: int | None = None,
        app: App | None = None,
        hash: str | None = None,
        artwork_id: str | None = None,
        remaining: bool = False,
        artwork: Callable[[], Artwork | None] | None = None,
    ) -> None:
        """Describe what plays now.

        Args:
            position: Seconds from the start at this moment; None if it is not known.
            rate: Speed of the position, 1.0 for normal; None takes it from `device_state`.
            remaining: True if the device tells the remaining time: then that is rounded, as
                remotes do, and the position follows from it.
            artwork: Called by the notebook card to get the image.
        """
        self.media_type = media_type
        self.device_state = device_state
        self.title = title
        self.artist = artist
        self.album = album
        self.genre = genre
        self.total_time = total_time
        self.shuffle = shuffle
        self.repeat = repeat
        self.series_name = series_name
        self.season_number = season_number
        self.episode_number = episode_number
        self.content_identifier = content_identifier
        self.itunes_store_identifier = itunes_store_identifier
        self.app = app
        self.hash = hash if hash is not None else content_hash(title, artist, album, total_time)
        self.artwork_id = artwork_id
        self._position = position
        self._rate = float(device_state is DeviceState.Playing) if rate is None else rate
        self._at = time.monotonic()
        self._remaining = remaining
        self._artwork = artwork

    @property
    def position(self) -> int | None:
        """Seconds from the start, at this moment; None if it is not known."""
        exact = self._exact()
        if exact is None:
            return None
        if self._remaining and self.total_time:
            return self.total_time - round(self.total_time - exact)
        return int(exact)

    def _exact(self) -> float | None:
        if self._position is None:
            return None
        now = self._position + self._rate * (time.monotonic() - self._at)
        return max(0.0, min(now, float(self.total_time)) if self.total_time else now)

    def jumped(self, earlier: Playing) -> bool:
        """True if the position is not where `earlier` would be by now: somebody seeked."""
        here, there = self._exact(), earlier._exact()
        if here is None or there is None:
            return here is not there
        return abs(here - there) > _JUMP

    def __repr__(self) -> str:
        text = super().__repr__()
        if self.position is None:
            return text
        return f"{text[:-1]}, position={self.position})"

    def __str__(self) -> str:
        """Several lines with aligned labels; fields without a value are left out."""
        rows = [
            ("Media type", self.media_type.name),
            ("Device state", self.device_state.name),
            ("Title", self.title),
            ("Artist", self.artist),
            ("Album", self.album),
            ("Genre", self.genre),
            ("Series Name", self.series_name),
            ("Season", self.season_number),
            ("Episode", self.episode_number),
            ("Identifier", self.content_identifier),
            ("Position", self._progress()),
            ("Total time", f"{self.total_time}s" if self._only_total() else None),
            ("iTunes Store Identifier", self.itunes_store_identifier),
            ("App", None if self.app is None else self.app.name or self.app.identifier),
            ("Repeat", None if self.repeat is None else self.repeat.name),
            ("Shuffle", None if self.shuffle is None else self.shuffle.name),
        ]
        rows = [(label, value) for label, value in rows if value is not None]
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:>{width}}: {printable(str(value))}" for label, value in rows)

    def _only_total(self) -> bool:
        return self.position is None and self.total_time > 0

    def _progress(self) -> str | None:
        if self.position is None:
            return None
        if not self.total_time:
            return f"{self.position}s"
        return f"{self.position}/{self.total_time}s ({self.position / self.total_time:.1%})"

    def _repr_html_(self) -> str:
        """Card for notebooks: artwork, title, artist, album, position bar."""
        import base64
        from html import escape

        art = None
        if self._artwork is not None:
            try:
                art = self._artwork()
            except AppleTVError:
                pass  # a card without its picture is still a card
        image = ""
        if art is not None and art.data:
            source = f"data:{art.mimetype};base64,{base64.b64encode(art.data).decode()}"
            image = f'<img src="{source}" alt="" style="height:96px;border-radius:6px">'
        lines = [f"<b>{escape(self.title or self.device_state.name)}</b>"]
        lines += [escape(text) for text in (self.artist, self.album) if text]
        state = self.device_state.name
        if self.position is not None and self.total_time:
            done = min(100, 100 * self.position // self.total_time)
            lines.append(
                '<div style="background:#8884;border-radius:2px;width:240px">'
                f'<div style="background:#36c;height:4px;border-radius:2px;width:{done}%"></div>'
                "</div>"
            )
            state += f" {clock(self.position)} / {clock(self.total_time)}"
        lines.append(f"<small>{escape(state)}</small>")
        return (
            '<div style="display:flex;gap:12px;align-items:center">'
            f"{image}<div>{'<br>'.join(lines)}</div></div>"
        )


_JUMP = 0.9
"""Seconds that a position may be off before it counts as a seek: less than the smallest seek that
a remote can ask for (1 s), more than a slow network adds."""


def clock(seconds: int) -> str:
    """``3:07``, or ``1:02:03`` from an hour on."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def content_hash(
    title: str | None, artist: str | None, album: str | None, total_time: int | None
) -> str:
    """64 hex digits that stay the same for the same content.

    The text that goes in is the one that other libraries use, a missing value being the word
    ``None``, so that stored hashes stay valid.
    """
    import hashlib

    return hashlib.sha256(f"{title}{artist}{album}{total_time}".encode()).hexdigest()
