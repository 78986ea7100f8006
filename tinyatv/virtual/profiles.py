"""The device generations that can be simulated, and what serves each protocol: one row each.

A new generation is one row of ``PROFILES``; a protocol is one row of ``SIDES``, and a class that
fulfils the contract in ``side.py``.
"""

from __future__ import annotations

from typing import NamedTuple

DMAP, MRP, AIRPLAY, COMPANION, RAOP = "dmap", "mrp", "airplay", "companion", "raop"


class SideClass(NamedTuple):
    """What serves a protocol.

    Attributes:
        module: Where the class is, relative to this package; imported when it is needed.
        name: The class; see :class:`tinyatv.virtual.side.Side`.
        title: What the protocol is called in words for people.
        replay: The class that serves it out of a trace, in the module with ``_replay`` behind its
            name; or None.
        own_pairing: True if clients are known by GUIDs, and the device by 16 hex digits, instead
            of by HomeKit pairing and a UUID.
    """

    module: str
    name: str
    title: str
    replay: str | None = None
    own_pairing: bool = False


SIDES = {
    DMAP: SideClass(".dmap", "VirtualDmap", "DMAP", "ReplayDmap", own_pairing=True),
    MRP: SideClass(".mrp", "VirtualMrp", "MRP", "ReplayMrp"),
    AIRPLAY: SideClass(".airplay", "VirtualAirPlay", "AirPlay"),
    COMPANION: SideClass(".companion", "VirtualCompanion", "Companion", "ReplayCompanion"),
    RAOP: SideClass(".raop", "VirtualRaop", "RAOP"),
}


class AirPlayProfile(NamedTuple):
    """What a generation does over AirPlay.

    Attributes:
        airplay: 1 or 2.
        features: Feature bits.
        flags: Status flags.
        source_version: Of the AirPlay software.
        timing: Timing protocols that it takes, besides none at all.
        play: How URLs are played: ``"play"`` by a request of that name; ``"queue"`` by commands,
            while ``/play`` is answered and does nothing; ``""`` not at all.
        transient: True if pairing without a PIN is allowed, and nothing else.
        verified: True if nothing is allowed before pair-verify.
        client_name: True if no PIN is shown to a client that does not give its name.
    """

    airplay: int
    features: int
    flags: int
    source_version: str
    timing: tuple[str, ...] = ()
    play: str = "play"
    transient: bool = False
    verified: bool = True
    client_name: bool = False


class RaopProfile(NamedTuple):
    """What a generation does over RAOP.

    Attributes:
        encryption: ``et`` of the service record: 0 is none, 4 wants ``/auth-setup`` first.
        source_version: Of the software.
        info: True if it knows ``/info``, where it tells its volume.
    """

    encryption: str = "0,1"
    source_version: str = "220.68"
    info: bool = True


class CompanionProfile(NamedTuple):
    """What a generation does over Companion.

    Attributes:
        flags: ``rpFl`` of the service record.
        source_version: Of the software.
        remote_sessions: True if it knows ``TVRCSessionStart``.
        attention: How ``FetchAttentionState`` is answered: ``"always"``, ``"error"``, ``"never"``,
            or ``"session"`` for silence until there is such a session.
        refused: Identifiers of clients that are disconnected, since too many use them.
    """

    flags: int
    source_version: str
    remote_sessions: bool = True
    attention: str = "always"
    refused: tuple[str, ...] = ()


class Profile(NamedTuple):
    """One device generation.

    Attributes:
        protocols: What it speaks, the main one first.
        model: ``AppleTV6,2``.
        internal_model: ``J105aAP``.
        version: Version of its system.
        build: Build of its system.
        beside: What it can speak, too, if it is told to.
        carrier: The protocol that carries others through its tunnels, or None.
        carried: Those.
        pairs: True if clients need a pairing with a PIN.
        absolute_volume: True if the volume can be asked for and set.
        relative_volume: True if there are keys for it.
        several_apps: True if clients hear of other apps than the one that plays.
        last_message: ``lastSupportedMessageType`` of MRP: 111 on tvOS 15.0, 121 on 15.1, 137 on
            18.4 (captured). It answers no type above it.
        airplay: What it does over AirPlay, or None.
        companion: What it does over Companion, or None.
        raop: What it does over RAOP, or None.
    """

    protocols: tuple[str, ...]
    model: str
    internal_model: str
    version: str
    build: str
    beside: tuple[str, ...] = ()
    carrier: str | None = AIRPLAY
    carried: tuple[str, ...] = (MRP,)
    pairs: bool = True
    absolute_volume: bool = True
    relative_volume: bool = True
    several_apps: bool = True
    last_message: int = 137
    airplay: AirPlayProfile | None = None
    companion: CompanionProfile | None = None
    raop: RaopProfile | None = RaopProfile()


# Feature bits and flags as real devices announce them; versions of AirPlay and Companion from
# tvOS 18 on are made up, and so is which of the older ones knows what. Nothing depends on them.
_AIRPLAY_1 = AirPlayProfile(1, 0xE5A7FFFF7, 0x44, "220.68", verified=False)
_AIRPLAY_2 = AirPlayProfile(2, 0x3C155FDE4A7FDFD5, 0x244, "550.10", ("NTP",))
_AIRPLAY_QUEUE = _AIRPLAY_2._replace(
    features=0xBC157FDE4A7FDFD5, flags=0x18644, source_version="820.10.1", play="queue"
)
# tvOS 26.5 refuses NTP. "cafecafecafe", which many clients call themselves, is refused since 18.4.
_AIRPLAY_PTP = _AIRPLAY_QUEUE._replace(source_version="900.20.1", timing=("PTP",))
_COMPANION_26 = CompanionProfile(
    0xB6782, "700.44", attention="session", refused=("cafecafecafe",)
)  # fmt: skip

PROFILES = {
    "atv3": Profile(
        (DMAP,), "AppleTV3,2", "J33IAP", "8.4.4", "12H1006", beside=(AIRPLAY, RAOP), carried=(),
        pairs=False, absolute_volume=False, several_apps=False, airplay=_AIRPLAY_1,
    ),
    "airplay1": Profile(
        (AIRPLAY,), "AppleTV3,2", "J33IAP", "8.4.4", "12H1006", beside=(RAOP,), carried=(),
        pairs=False,
        absolute_volume=False, several_apps=False, airplay=_AIRPLAY_1,
    ),
    "tvos14": Profile(
        (MRP, COMPANION), "AppleTV6,2", "J105aAP", "14.7", "18M60", beside=(AIRPLAY, RAOP),
        last_message=108, airplay=_AIRPLAY_2,
        companion=CompanionProfile(0x36782, "230.1", remote_sessions=False),
    ),
    "tvos15": Profile(
        (AIRPLAY, COMPANION), "AppleTV6,2", "J105aAP", "15.0", "19J346", beside=(RAOP,),
        last_message=111, airplay=_AIRPLAY_2,
        companion=CompanionProfile(0x36782, "300.56"),
    ),
    "tvos18": Profile(
        (AIRPLAY, COMPANION), "AppleTV14,1", "J255AP", "18.1", "22J580", beside=(RAOP,),
        airplay=_AIRPLAY_QUEUE, companion=CompanionProfile(0xB6782, "600.35"),
    ),
    "tvos26": Profile(
        (AIRPLAY, COMPANION), "AppleTV14,1", "J255AP", "26.5", "23L501", beside=(RAOP,),
        airplay=_AIRPLAY_PTP, companion=_COMPANION_26,
    ),
    "tvos27": Profile(
        (AIRPLAY, COMPANION), "AppleTV14,1", "J255AP", "27.0", "24J301", beside=(RAOP,),
        airplay=_AIRPLAY_PTP._replace(source_version="950.10.1", client_name=True),
        companion=_COMPANION_26._replace(source_version="715.2"),
    ),
    "homepod": Profile(
        (AIRPLAY,), "AudioAccessory5,1", "B520AP", "18.1", "22J580", beside=(RAOP,), pairs=False,
        relative_volume=False, last_message=121,
        airplay=AirPlayProfile(
            2, 0xBC356BD04A7FCA00, 0x1B8C04, "820.10.1", ("PTP",), play="", transient=True
        ),
    ),
    "airport": Profile(
        (RAOP,), "AirPort10,115", "K31AP", "7.8.1", "78100.3", carrier=None, carried=(),
        pairs=False, several_apps=False, raop=RaopProfile("0,4", "105.1", info=False),
    ),
    "speaker": Profile(
        (RAOP,), "Speaker1,1", "S1", "1.0", "1", carrier=None, carried=(), pairs=False,
        several_apps=False,
    ),
}  # fmt: skip

REPLAYING = ("atv3", "tvos14", "tvos18")
"""Profiles that answer out of a trace, tried in this order by their main protocol."""
