"""What devices announce: DNS-SD records in, services and devices out. No network here.

    kind      _airplay._tcp.local.      what it is; SERVICE_TYPES says for which protocol
    instance  Living Room               its name, unique within the kind
    port      7000                      from the SRV record
    address   192.0.2.7                 from the A record of the SRV record's host
    txt       {"model": "AppleTV6,2"}   from the TXT record

A device is everything that lives at one address. Nothing in a record is trusted: anybody on the
network may announce anything.
"""

from __future__ import annotations

import base64
import logging
import re
from typing import TYPE_CHECKING, NamedTuple

from ..model import Device, DeviceInfo, OperatingSystem, PairingRequirement, Service

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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

SERVICE_TYPES: dict[str, str | None] = {  # what devices announce: its protocol
    AIRPLAY: "airplay",
    COMPANION: "companion",
    TOUCH_ABLE: "dmap",
    MRP: "mrp",
    HOME_SHARING: "dmap",  # beside _touch-able, only while Home Sharing is on
    MUSIC: "dmap",  # Music or iTunes on a computer
    RAOP: "raop",
    AIRPORT: None,
    DEVICE_INFO: None,
    SLEEP_PROXY: None,
}

AIRPLAY_2_FEATURES = 1 << 38 | 1 << 48
"""Either bit of `features`: the device speaks AirPlay 2."""
PLAY_URL_FEATURES = 1 << 0 | 1 << 49
"""Either bit of `features`: the device plays video from an address."""
UNIFIED_ADVERTISER = 1 << 30
"""Bit of `features`: RAOP is spoken on the AirPlay port and need not be announced."""

_PIN_FLAGS = 0x008 | 0x200  # AirPlay status: PIN required, one-time pairing required
_PASSWORD_FLAG = 0x080
_HOME_ONLY = 0x0004  # Companion rpFl: only for people who share this home
_PIN_PAIRING = 0x4000
_TVOS_15 = 19  # first major build number whose MRP service is announced but dead


class Record(NamedTuple):
    """One service instance as announced.

    Attributes:
        kind: Service type with domain and final dot: ``_airplay._tcp.local.``.
        instance: Name of the instance, without the kind.
        port: Port; 0 where there is none (``_device-info``).
        address: IPv4 address.
        txt: Keys in lower case; None for a key without value.
    """

    kind: str
    instance: str
    port: int
    address: str
    txt: Mapping[str, str | None]


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


_LEGACY, _TVOS = OperatingSystem.Legacy, OperatingSystem.TvOS
_AIRPORT_OS, _MACOS = OperatingSystem.AirPortOS, OperatingSystem.MacOS

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

_FACTS = {  # kind: (TXT key, what it tells); the first that tells something wins
    AIRPLAY: (
        ("model", "model"),
        ("osvers", "version"),
        ("deviceid", "mac"),
        ("psi", "output_device_id"),
        ("pi", "output_device_id"),
    ),
    RAOP: (("am", "model"), ("ov", "version")),
    MRP: (("systembuildversion", "build"), ("macaddress", "mac")),
    COMPANION: (("rpmd", "model"),),
    DEVICE_INFO: (("model", "board"),),
}
_IDENTIFIERS = {
    MRP: "uniqueidentifier",
    AIRPLAY: "deviceid",
    COMPANION: "rpmrtid",
    MUSIC: "machine id",
}
_NAMES = {TOUCH_ABLE: "ctln", HOME_SHARING: "name", MUSIC: "machine name", MRP: "name"}
_SYSTEMS = {MRP: _TVOS, TOUCH_ABLE: _LEGACY, HOME_SHARING: _LEGACY, MUSIC: _LEGACY}

# fmt: off
_VERSIONS = {  # build: tvOS version
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


def parse_txt(data: bytes) -> dict[str, str | None]:
    """Decode the data of a TXT record.

    Bytes that are not UTF-8 become replacement characters: some devices announce raw addresses.

    Returns:
        Keys in lower case, since case does not count; None for a key without ``=``. The first of
        equal keys wins (RFC 6763, 6.4).

    Raises:
        ValueError: A string runs past the end.
    """
    pairs: dict[str, str | None] = {}
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data):
            raise ValueError(f"truncated TXT record: {end - len(data)} bytes missing")
        # Apple writes names with non-breaking spaces ("Apple TV"), in two spellings.
        text = data[at + 1 : end].replace(b"\xc2\xa0", b" ").replace(b"\x00\xa0", b" ")
        key, equals, value = text.partition(b"=")
        if key:
            found = value.decode("utf-8", "replace") if equals else None
            pairs.setdefault(key.decode("utf-8", "replace").lower(), found)
        at = end
    return pairs


def encode_txt(properties: Mapping[str, str | bytes | None]) -> bytes:
    """Encode the data of a TXT record.

    Raises:
        ValueError: A key with its value is longer than 255 bytes.
    """
    data = b""
    for key, value in properties.items():
        text = key.encode()
        if value is not None:
            text += b"=" + (value.encode() if isinstance(value, str) else value)
        if len(text) > 255:
            raise ValueError(f"{key!r} takes {len(text)} bytes in a TXT record, 255 are possible")
        data += bytes([len(text)]) + text
    return data or b"\0"  # there must be one string at least (RFC 6763, 6.1)


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


def parse_sleep_proxy(instance: str) -> tuple[tuple[int, ...], int, str]:
    """Split the instance name of a sleep proxy: ``70-35-60-63.1 Ohana``.

    Returns:
        The metrics (intent, portability, marginal and total power; lower is better), the feature
        bits, and the name of the device.

    Raises:
        ValueError: The name has another form.
    """
    match = re.fullmatch(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)\.(\d+) (.*)", instance)
    if match is None:
        raise ValueError(f"not the name of a sleep proxy: {instance!r}")
    *metrics, features, name = match.groups()
    return tuple(map(int, metrics)), int(features), name


def version_of_build(build: str) -> str | None:
    """Return the tvOS version of a build number.

    Returns:
        ``14.7`` for a known build, ``14.x`` for an unknown one, None for what is no build number.
    """
    number = _build_number(build)
    if build in _VERSIONS or number is None:
        return _VERSIONS.get(build)
    # Build 22 is tvOS 18, build 23 is tvOS 26: Apple went over to years.
    return f"{number - 4 if number <= 22 else number + 3}.x"


def model_of(text: str) -> Model | None:
    """Return the model of an identifier (``AppleTV6,2``) or board name (``J105aAP``), or None."""
    if _A_MAC.match(text):
        return Model("Unknown", text, _MACOS)
    return MODELS.get(INTERNAL_NAMES.get(text, text))


def device_name(record: Record) -> str | None:
    """Return the name of the device as this service gives it, or None."""
    if record.kind in _NAMES:
        return record.txt.get(_NAMES[record.kind])
    # "Apple TV" again, as Apple spells it; people type a plain space.
    name = record.instance.replace("\xa0", " ")
    return (name.partition("@")[2] or name) if record.kind == RAOP else name


def service_identifier(record: Record) -> str | None:
    """Return what identifies the device in this service, or None."""
    if record.kind == RAOP:
        owner, at, _ = record.instance.partition("@")
        return owner if at else record.txt.get("pk")
    if record.kind in (TOUCH_ABLE, HOME_SHARING):
        return record.instance.partition("_")[0]  # "_2" marks a collision of names
    return record.txt.get(_IDENTIFIERS.get(record.kind, ""))


def build_device(
    address: str,
    records: Iterable[Record],
    *,
    deep_sleep: bool = False,
    query: str | None = None,
) -> Device | None:
    """Make a device out of everything that is announced at one address.

    Args:
        address: IPv4 address.
        records: In order of discovery: the first to tell something is believed.
        deep_sleep: Whether a sleep proxy answered for it.
        query: The host that was asked; None for multicast.

    Returns:
        None if no service has an identifier: such a device could not be recognised again. A
        computer or telephone that announces nothing but Companion is one of them.
    """
    records = [_lowered(record) for record in records]
    services: dict[str, Service] = {}
    properties: dict[str, dict[str, str | None]] = {}
    for record in records:
        protocol = SERVICE_TYPES.get(record.kind)
        if protocol is not None:
            try:
                _add_service(services, protocol, record)
            except ValueError as exc:  # one odd service must not hide the device
                log.debug("%s at %s: %s", record.kind, address, exc)
                continue
        properties.setdefault(record.kind.rstrip("."), {}).update(record.txt)
    if not any(service.identifier for service in services.values()):
        return None
    for service in services.values():
        _judge(service, services)
    names = (device_name(r) for r in records if SERVICE_TYPES.get(r.kind))
    return Device(
        next(filter(None, names), "Unknown"),
        address,
        services.values(),
        info=_device_info(records),
        deep_sleep=deep_sleep,
        query=query,
        properties=properties,
    )


def merge_devices(devices: Iterable[Device]) -> list[Device]:
    """Join devices that share an identifier: one that is on Ethernet and on Wi-Fi.

    The first address is kept. The devices given may be changed.
    """
    merged: list[Device] = []
    for device in devices:
        known = set(device.identifiers)
        twin = next((one for one in merged if not known.isdisjoint(one.identifiers)), None)
        if twin is None:
            merged.append(device)
            continue
        twin.services += [s for s in device.services if twin.service(s.protocol) is None]
        twin.deep_sleep = twin.deep_sleep or device.deep_sleep
        for kind, txt in device.properties.items():
            twin.properties.setdefault(kind, txt)
    return merged


def _lowered(record: Record) -> Record:
    """Those who announce a record spell its keys as devices do: hG, rpMd."""
    return record._replace(txt={key.lower(): value for key, value in record.txt.items()})


def _add_service(services: dict[str, Service], protocol: str, record: Record) -> None:
    if not record.port:
        return
    service = services.get(protocol)
    if service is None:
        service = services[protocol] = Service(protocol, record.port)
    service.identifier = service.identifier or service_identifier(record) or None
    service.properties.update(record.txt)
    if protocol == "dmap" and record.txt.get("hg"):
        service.credentials = record.txt["hg"]  # the Home Sharing group is the login


def _judge(service: Service, services: Mapping[str, Service]) -> None:
    """Find out whether a service can be used, and what it takes; all services are known by now."""
    txt = service.properties
    if service.protocol in ("airplay", "raop"):
        flags = _hex(txt.get("sf") or txt.get("flags"))
        password = (txt.get("pw") or "").lower() == "true"
        service.requires_password = password or bool(flags & _PASSWORD_FLAG)
        service.pairing = _airplay_pairing(txt, flags)
        airplay = services.get("airplay")
        if service.protocol == "raop" and airplay is not None:  # it has no access rights of its own
            if airplay.properties.get("acl") == "1":
                service.pairing = PairingRequirement.Disabled
            elif airplay.properties.get("act") == "2":
                service.pairing = PairingRequirement.Unsupported
    elif service.protocol == "mrp":
        number = _build_number(txt.get("systembuildversion") or "")
        service.enabled = number is None or number < _TVOS_15
        if not service.enabled:
            service.pairing = PairingRequirement.NotNeeded
        elif (txt.get("allowpairing") or "").lower() == "yes":
            service.pairing = PairingRequirement.Optional
        else:
            service.pairing = PairingRequirement.Disabled
    elif service.protocol == "companion":
        flags = _hex(txt.get("rpfl"))
        if flags & _HOME_ONLY:
            service.pairing = PairingRequirement.Disabled
        elif flags & _PIN_PAIRING:
            service.pairing = PairingRequirement.Mandatory
        else:
            service.pairing = PairingRequirement.Unsupported
    elif txt.get("hg"):
        service.pairing = PairingRequirement.Optional
    else:
        service.pairing = PairingRequirement.Mandatory


def _airplay_pairing(txt: Mapping[str, str | None], flags: int) -> PairingRequirement:
    if txt.get("acl") == "1":  # only people who share the home
        return PairingRequirement.Disabled
    if re.fullmatch(r"Mac\d+,\d+", txt.get("model") or ""):
        return PairingRequirement.Unsupported
    if flags & _PIN_FLAGS:
        return PairingRequirement.Mandatory
    if txt.get("act") == "2":  # only the user who is logged in there
        return PairingRequirement.Unsupported
    return PairingRequirement.NotNeeded


def _device_info(records: Iterable[Record]) -> DeviceInfo:
    """Collect facts over all services; whoever tells something first is believed."""
    facts: dict[str, str] = {}
    systems = []
    for record in records:
        told = [(fact, record.txt.get(key)) for key, fact in _FACTS.get(record.kind, ())]
        if record.kind == MRP:
            told.append(("version", _VERSIONS.get(record.txt.get("systembuildversion") or "")))
        elif record.kind == AIRPORT:
            told += _airport_facts(record.txt.get("wama") or "")
        elif record.kind == MUSIC:
            told.append(("model", MUSIC))
        for fact, text in told:
            if fact == "mac":
                text = _mac(text)
            if text:
                facts.setdefault(fact, text)
        if record.kind in _SYSTEMS:
            systems.append(_SYSTEMS[record.kind])

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


def _airport_facts(wama: str) -> list[tuple[str, str | None]]:
    """Split the one value that holds them all: ``AA-AA-..,raMA=..,syVs=7.8.1``."""
    mac, *rest = wama.split(",")
    values = dict(pair.partition("=")[::2] for pair in rest)
    return [("mac", mac), ("version", values.get("syVs"))]


def _mac(text: str | None) -> str | None:
    text = (text or "").upper().replace("-", ":")
    return text if re.fullmatch(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}", text) else None


def _build_number(build: str) -> int | None:
    match = re.match(r"(\d+)[A-Z]", build)
    return int(match[1]) if match else None


def _hex(text: str | None) -> int:
    """Read flags; nonsense counts as none, since receivers of other makers announce a lot."""
    try:
        return int(text or "0", 16)
    except ValueError:
        log.debug("flags that are no hexadecimal number: %r", text)
        return 0
