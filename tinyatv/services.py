"""What devices announce: one row for each service type, and what its TXT record says.

`routes.py` says which protocol a service type is for; a row in SERVICE_TYPES says how its devices
are named, identified and judged, if that is not as usual. Facts are of the DNS-SD records of real
devices; keys are compared in lower case.
"""

from __future__ import annotations

import base64
import logging
import re
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional

from .info import DeviceInfo, OperatingSystem, PairingRequirement, mac_of
from .routes import PROTOCOLS
from .wire.airplay_codes import HAS_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .identity import Introduction

    Txt = Mapping[str, Optional[str]]

log = logging.getLogger(__name__)

AIRPLAY = "_airplay._tcp.local."
RAOP = "_raop._tcp.local."
MRP = "_mediaremotetv._tcp.local."
COMPANION = "_companion-link._tcp.local."
TOUCH_ABLE = "_touch-able._tcp.local."
HOME_SHARING = "_appletv-v2._tcp.local."
MUSIC = "_hscp._tcp.local."
AIRPORT = "_airport._tcp.local."
DEVICE_INFO = "_device-info._tcp.local."
SLEEP_PROXY = "_sleep-proxy._udp.local."
TOUCH_REMOTE = "_touch-remote._tcp.local."  # announced by a remote that wants to pair, not a device

AIRPLAY_2_FEATURES = 1 << 38 | 1 << 48
"""Either bit of `features`: the device speaks AirPlay 2."""
PLAY_URL_FEATURES = 1 << 0 | 1 << 49
"""Either bit of `features`: the device plays video from an address."""
UNIFIED_ADVERTISER = 1 << 30
"""Bit of `features`: RAOP is spoken on the AirPlay port and need not be announced."""

_PIN_FLAGS = 0x008 | 0x200  # AirPlay status: PIN required, one-time pairing required
_HOME_ONLY = 0x0004  # Companion rpFl: only for people who share this home
_PIN_PAIRING = 0x4000
_TVOS_15 = 19  # first major build number whose MRP service is announced but dead

_LEGACY, _TVOS = OperatingSystem.Legacy, OperatingSystem.TvOS
_AIRPORT_OS, _MACOS = OperatingSystem.AirPortOS, OperatingSystem.MacOS

_Fact = tuple[str, Optional[str]]  # name of the fact, what was said about it


class Access(NamedTuple):
    """Whether a service can be used, and what that takes.

    Attributes:
        pairing: Whether it must be paired.
        password: True if it asks for the password of the device.
        enabled: False for a service that only names the device.
    """

    pairing: PairingRequirement
    password: bool = False
    enabled: bool = True


# -- what identifies a device ----------------------------------------------------------------------


def _key(name: str) -> Callable[[str, Txt], str | None]:
    return lambda instance, txt: txt.get(name)


def _nothing(instance: str, txt: Txt) -> str | None:
    return None


def _instance(instance: str, txt: Txt) -> str | None:
    # "Apple TV" with a non-breaking space, as Apple spells it; people type a plain one.
    return instance.replace("\xa0", " ")


def _before_at(instance: str, txt: Txt) -> str | None:
    owner, at, _ = instance.partition("@")
    return owner if at else txt.get("pk")


def _behind_at(instance: str, txt: Txt) -> str | None:
    name = instance.replace("\xa0", " ")
    return name.partition("@")[2] or name


def _before_underscore(instance: str, txt: Txt) -> str | None:
    return instance.partition("_")[0]  # "_2" marks a collision of names


# -- what can be used ------------------------------------------------------------------------------


def _usual_access(txt: Txt, airplay: Txt) -> Access:
    return Access(PairingRequirement.Optional)


def _airplay_access(txt: Txt, airplay: Txt) -> Access:
    flags = _hex(txt.get("sf") or txt.get("flags"))
    password = (txt.get("pw") or "").lower() == "true" or bool(flags & HAS_PASSWORD)
    return Access(_airplay_pairing(txt, flags), password)


def _airplay_pairing(txt: Txt, flags: int) -> PairingRequirement:
    if txt.get("acl") == "1":  # only people who share the home
        return PairingRequirement.Disabled
    if re.fullmatch(r"Mac\d+,\d+", txt.get("model") or ""):
        return PairingRequirement.Unsupported
    if flags & _PIN_FLAGS:
        return PairingRequirement.Mandatory
    if txt.get("act") == "2":  # only the user who is logged in there
        return PairingRequirement.Unsupported
    return PairingRequirement.NotNeeded


def _raop_access(txt: Txt, airplay: Txt) -> Access:
    access = _airplay_access(txt, airplay)
    if airplay.get("acl") == "1":  # it has no access rights of its own
        return access._replace(pairing=PairingRequirement.Disabled)
    if airplay.get("act") == "2":
        return access._replace(pairing=PairingRequirement.Unsupported)
    return access


def _mrp_access(txt: Txt, airplay: Txt) -> Access:
    number = _build_number(txt.get("systembuildversion") or "")
    if number is not None and number >= _TVOS_15:
        return Access(PairingRequirement.NotNeeded, enabled=False)
    allowed = (txt.get("allowpairing") or "").lower() == "yes"
    return Access(PairingRequirement.Optional if allowed else PairingRequirement.Disabled)


def _companion_access(txt: Txt, airplay: Txt) -> Access:
    flags = _hex(txt.get("rpfl"))
    if flags & _HOME_ONLY:
        return Access(PairingRequirement.Disabled)
    pin = flags & _PIN_PAIRING
    return Access(PairingRequirement.Mandatory if pin else PairingRequirement.Unsupported)


def _dmap_access(txt: Txt, airplay: Txt) -> Access:
    known = txt.get("hg")
    return Access(PairingRequirement.Optional if known else PairingRequirement.Mandatory)


def _hex(text: str | None) -> int:
    """Read flags; nonsense counts as none, since receivers of other makers announce a lot."""
    try:
        return int(text or "0", 16)
    except ValueError:
        log.debug("flags that are no hexadecimal number: %r", text)
        return 0


# -- the table -------------------------------------------------------------------------------------


def _airport_facts(txt: Txt) -> list[_Fact]:
    """Split the one value that holds them all: ``AA-AA-..,raMA=..,syVs=7.8.1``."""
    mac, *rest = (txt.get("wama") or "").split(",")
    values = dict(pair.partition("=")[::2] for pair in rest)
    return [("mac", mac), ("version", values.get("syVs"))]


def _mrp_facts(txt: Txt) -> list[_Fact]:
    return [("version", VERSIONS.get(txt.get("systembuildversion") or ""))]


def _music_facts(txt: Txt) -> list[_Fact]:
    return [("model", MUSIC)]  # a program: its kind is all that is known


class ServiceType(NamedTuple):
    """A service type that devices announce.

    Attributes:
        protocol: The protocol that it is for, as `routes.py` says; None if it only tells about the
            device.
        identifier: What identifies the device, out of instance name and TXT record.
        name: What its owner calls the device, likewise.
        access: Whether it can be used: from the TXT records of the protocol and of AirPlay.
        facts: TXT keys with what each tells; of those for one fact the first wins.
        more: Facts that are not a value of their own.
        system: What a device that announces it runs, unless its model says otherwise.
        credentials: TXT key whose value are credentials, ready to use.
        about: Service type of the devices that it tells about; for one that is for no protocol.
    """

    protocol: str | None = None
    identifier: Callable[[str, Txt], str | None] = _nothing
    name: Callable[[str, Txt], str | None] = _instance
    access: Callable[[Txt, Txt], Access] = _usual_access
    facts: tuple[tuple[str, str], ...] = ()
    more: Callable[[Txt], list[_Fact]] | None = None
    system: OperatingSystem | None = None
    credentials: str | None = None
    about: str | None = None

    @property
    def scanned(self) -> bool:
        """True if a scan asks for it; others come along with the answers."""
        return bool(self.protocol or self.about)


# Sources: what Apple TVs 2 to 4K, HomePods, AirPort Expresses and iTunes announce; see the names
# of the TXT keys in openairplay.github.io/airplay-spec for AirPlay and RAOP. The order is that in
# which they are asked for, three in a packet.
SERVICE_TYPES: dict[str, ServiceType] = {
    AIRPLAY: ServiceType(
        identifier=_key("deviceid"),
        access=_airplay_access,
        facts=(
            ("model", "model"),
            ("osvers", "version"),
            ("deviceid", "mac"),
            ("psi", "output_device_id"),
            ("pi", "output_device_id"),
        ),
    ),
    COMPANION: ServiceType(
        identifier=_key("rpmrtid"),  # of Apple TVs alone; everything else in there changes
        access=_companion_access,
        facts=(("rpmd", "model"),),
    ),
    TOUCH_ABLE: ServiceType(
        identifier=_before_underscore,
        name=_key("ctln"),
        access=_dmap_access,
        system=_LEGACY,
        credentials="hg",
    ),
    MRP: ServiceType(
        identifier=_key("uniqueidentifier"),
        name=_key("name"),
        access=_mrp_access,
        facts=(("systembuildversion", "build"), ("macaddress", "mac")),
        more=_mrp_facts,
        system=_TVOS,
    ),
    HOME_SHARING: ServiceType(  # beside _touch-able, only while Home Sharing is on
        identifier=_before_underscore,
        name=_key("name"),
        access=_dmap_access,
        system=_LEGACY,
        credentials="hg",  # the Home Sharing group is the login
    ),
    MUSIC: ServiceType(  # Music or iTunes on a computer
        identifier=_key("machine id"),
        name=_key("machine name"),
        access=_dmap_access,
        more=_music_facts,
        system=_LEGACY,
        credentials="hg",
    ),
    RAOP: ServiceType(
        identifier=_before_at,
        name=_behind_at,
        access=_raop_access,
        facts=(("am", "model"), ("ov", "version")),
    ),
    AIRPORT: ServiceType(more=_airport_facts, about=RAOP),  # beside RAOP on an AirPort Express
    DEVICE_INFO: ServiceType(facts=(("model", "board"),)),
    SLEEP_PROXY: ServiceType(),
}
for _row in PROTOCOLS.values():
    for _kind in _row.service_types:
        # One without a row here is identified by `id`, as HomeKit accessories are.
        _known = SERVICE_TYPES.get(_kind, ServiceType(identifier=_key("id")))
        SERVICE_TYPES[_kind] = _known._replace(protocol=_row.name)


# -- models ----------------------------------------------------------------------------------------


class Model(NamedTuple):
    """A make of device.

    Attributes:
        constant: Value of ``DeviceInfo.model``.
        text: For people.
        system: What it runs.
    """

    constant: str
    text: str
    system: OperatingSystem


MODELS = {
    "AppleTV1,1": Model("AppleTVGen1", "Apple TV 1", _LEGACY),
    "AppleTV2,1": Model("Gen2", "Apple TV 2", _LEGACY),
    "AppleTV3,1": Model("Gen3", "Apple TV 3", _LEGACY),
    "AppleTV3,2": Model("Gen3", "Apple TV 3", _LEGACY),
    "AppleTV5,3": Model("Gen4", "Apple TV 4", _TVOS),
    "AppleTV6,2": Model("Gen4K", "Apple TV 4K", _TVOS),
    "AppleTV11,1": Model("AppleTV4KGen2", "Apple TV 4K (gen 2)", _TVOS),
    "AppleTV14,1": Model("AppleTV4KGen3", "Apple TV 4K (gen 3)", _TVOS),
    "AudioAccessory1,1": Model("HomePod", "HomePod", _TVOS),
    "AudioAccessory1,2": Model("HomePod", "HomePod", _TVOS),
    "AudioAccessory5,1": Model("HomePodMini", "HomePod Mini", _TVOS),
    "AudioAccessorySingle5,1": Model("HomePodMini", "HomePod Mini", _TVOS),
    "AudioAccessory6,1": Model("HomePodGen2", "HomePod (gen 2)", _TVOS),
    "AirPort4,107": Model("AirPortExpress", "AirPort Express (gen 1)", _AIRPORT_OS),
    "AirPort10,115": Model("AirPortExpressGen2", "AirPort Express (gen 2)", _AIRPORT_OS),
    MUSIC: Model("Music", "Music/iTunes", _LEGACY),  # a program: its kind is all that is known
}
INTERNAL_NAMES = {  # board names, as _device-info has them
    "K66AP": "AppleTV2,1",
    "J33AP": "AppleTV3,1",
    "J33IAP": "AppleTV3,2",
    "J42dAP": "AppleTV5,3",
    "J105aAP": "AppleTV6,2",
    "J305AP": "AppleTV11,1",
    "J255AP": "AppleTV14,1",
}
_A_MAC = re.compile(r"(?:MacBookAir|iMac|Macmini|MacBookPro|Mac|MacPro)\d+,\d+")
_NEWER = re.compile(r"(AppleTV|AudioAccessory)[A-Za-z]*(\d+),\d+")
_FIRST_TVOS = {"AppleTV": 5, "AudioAccessory": 1}  # number of the first model that runs it

# fmt: off
VERSIONS = {  # build: tvOS version
    "17J586": "13.0", "17K82": "13.2", "17K449": "13.3", "17K795": "13.3.1", "17L256": "13.4",
    "17L562": "13.4.5", "17L570": "13.4.6", "17M61": "13.4.8", "18J386": "14.0", "18J400": "14.0.1",
    "18J411": "14.0.2", "18K57": "14.2", "18K561": "14.3", "18K802": "14.4", "18L204": "14.5",
    "18L569": "14.6", "18M60": "14.7", "19J346": "15.0", "19J572": "15.1", "19J581": "15.1.1",
    "19K53": "15.2", "19K547": "15.3", "19L440": "15.4", "19L452": "15.4.1", "19L570": "15.5",
    "19L580": "15.5.1", "19M65": "15.6", "20J373": "16.0", "20K71": "16.1", "20K80": "16.1.1",
    "20K362": "16.2", "20K650": "16.3", "20K661": "16.3.1", "20K672": "16.3.2", "20K680": "16.3.3",
    "20L497": "16.4", "20L498": "16.4.1", "20L563": "16.5", "20M73": "16.6", "21J354": "17.0",
    "21K69": "17.1", "21K365": "17.2", "21K646": "17.3", "21L227": "17.4", "21L569": "17.5",
    "21L580": "17.5.1", "21M71": "17.6", "21M80": "17.6.1", "22J357": "18.0", "22J580": "18.1",
}
# fmt: on


def version_of_build(build: str) -> str | None:
    """Return the tvOS version of a build number.

    Returns:
        ``14.7`` for a known build, ``14.x`` for an unknown one, None for what is no build number.
    """
    number = _build_number(build)
    if build in VERSIONS or number is None:
        return VERSIONS.get(build)
    # Build 22 is tvOS 18, build 23 is tvOS 26: Apple went over to years.
    return f"{number - 4 if number <= 22 else number + 3}.x"


def _build_number(build: str) -> int | None:
    match = re.match(r"(\d+)[A-Z]", build)
    return int(match[1]) if match else None


def model_of(text: str) -> Model | None:
    """Return the model of an identifier (``AppleTV6,2``) or board name (``J105aAP``), or None.

    One that is newer than this table is an Apple TV or a HomePod all the same.
    """
    if _A_MAC.match(text):
        return Model("Unknown", text, _MACOS)
    known = MODELS.get(INTERNAL_NAMES.get(text, text))
    newer = None if known else _NEWER.fullmatch(text)
    if newer is None:
        return known
    family, number = newer.groups()
    name = {"AppleTV": "Apple TV", "AudioAccessory": "HomePod"}[family]
    return Model("Unknown", name, _TVOS if int(number) >= _FIRST_TVOS[family] else _LEGACY)


def device_info(announced: Iterable[tuple[str, Txt]]) -> DeviceInfo:
    """Collect the facts about a device over what it announces.

    Args:
        announced: Service types, each with its TXT record, keys in lower case. Of two that tell
            the same fact the first is believed.
    """
    facts: dict[str, str] = {}
    systems = []
    for kind, txt in announced:
        row = SERVICE_TYPES.get(kind)
        if row is None:
            continue
        told: list[_Fact] = [(fact, txt.get(key)) for key, fact in row.facts]
        told += row.more(txt) if row.more else []
        for fact, text in told:
            if fact == "mac":
                text = mac_of(text)
            if text:
                facts.setdefault(fact, text)
        if row.system is not None:
            systems.append(row.system)
    raw = facts.get("model") or facts.get("board")
    model = model_of(raw) if raw else None
    if raw == MUSIC:
        raw = None
    if model is not None:
        # Before what services say: DMAP is spoken by old firmware as well as by tvOS up to 12.
        systems.insert(0, model.system)
    build = facts.get("build")
    return DeviceInfo(
        model=model.constant if model else "Unknown",
        model_name=model.text if model else raw or "Unknown",
        raw_model=raw,
        operating_system=systems[0] if systems else OperatingSystem.Unknown,
        # A version that was told beats one that was guessed from the build.
        version=facts.get("version") or (version_of_build(build) if build else None),
        build=build,
        mac=facts.get("mac"),
        output_device_id=facts.get("output_device_id"),
    )


def with_introductions(info: DeviceInfo, told: Iterable[Introduction]) -> DeviceInfo:
    """What is known of a device, brought up to date by what it says of itself.

    Args:
        info: Known so far.
        told: What it says; of those that tell the same, the first is believed.
    """
    told = list(told)

    def first(fact: str) -> str | None:
        return next((text for one in told if (text := getattr(one, fact))), None)

    raw = first("model") or info.raw_model
    model = model_of(raw) if raw else None
    build = first("build") or info.build
    version = first("version")
    if version is None:
        guess = version_of_build(build) if build else None
        # One that was announced is more exact, unless the system has been updated since.
        version = info.version if _major(info.version) == _major(guess) else guess
        version = version or info.version
    return DeviceInfo(
        model=model.constant if model else info.model,
        model_name=model.text if model else info.model_name,
        raw_model=raw,
        operating_system=model.system if model else info.operating_system,
        version=version,
        build=build,
        mac=info.mac,
        output_device_id=info.output_device_id,
    )


def _major(version: str | None) -> str:
    return (version or "").partition(".")[0]


def info_of_services(services: Iterable[tuple[str, Txt]]) -> DeviceInfo:
    """Like :func:`device_info`, for services of which the protocol alone is known."""
    first: dict[str, str] = {}
    for kind, row in SERVICE_TYPES.items():
        if row.protocol:
            first.setdefault(row.protocol, kind)
    return device_info((first[protocol], txt) for protocol, txt in services if txt)


# -- AirPlay features ------------------------------------------------------------------------------


def parse_features(text: str) -> int:
    """Decode AirPlay feature bits: ``0x4A7FDFD5,0x3C155FDE``, low word first.

    Raises:
        ValueError: The text is neither one nor two words.
    """
    match = re.fullmatch(r"0x([0-9a-fA-F]{1,8})(?:,0x([0-9a-fA-F]{1,8}))?", text)
    if match is None:
        raise ValueError(f"not AirPlay features: {text!r}")
    low, high = match.groups("0")
    return int(high, 16) << 32 | int(low, 16)


def parse_extended_features(text: str) -> int:
    """Decode AirPlay feature bits as newer devices also write them (``fex``): ``1d9/St5fFTw``.

    Base64 of a little-endian number, which may have more than 64 bits, without padding.

    Raises:
        ValueError: The text is not base64, or empty.
    """
    data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if not data:
        raise ValueError("not AirPlay features: no bytes")
    return int.from_bytes(data, "little")


def airplay_features(txt: Mapping[str, str | None]) -> int:
    """The AirPlay feature bits in a TXT record; 0 if there are none, or what is there is malformed.

    RAOP's record calls them ``ft``; ``fex`` says the same as ``features`` and is asked last.
    """
    for key, parse in (
        ("ft", parse_features),
        ("features", parse_features),
        ("fex", parse_extended_features),
    ):
        text = txt.get(key)
        if text:
            try:
                return parse(text)
            except ValueError as exc:
                log.debug("%s: %s", key, exc)
    return 0
