"""Who serves what: one row for each protocol, one for each command. Nothing but data.

A new protocol is a row of `PROTOCOLS`, a new command a row of `ROUTES`; whatever depends on either
reads these tables.
"""

from __future__ import annotations


class ProtocolRow:
    """What the rest of the library has to know about a protocol.

    Attributes:
        name: What it is called everywhere: in `ROUTES`, errors, loggers, threads and the store.
        service_types: What its devices advertise over mDNS, full names.
        backend: ``module:class`` of the client side; "" if it is only discovered. See
            :class:`tinyatv.backends.Backend`.
        credentials: What its credentials may be: ``"hap"``, ``"legacy"`` or ``"guid"``; empty does
            not check them.
        pairing: Module that pairs; see :class:`tinyatv.backends.Pairing`.
        unpaired: True if it may work without credentials, where the device allows that.
        hap: True if it is paired by HAP. A device keeps one list of HAP controllers: what one of
            these protocols has agreed on, the others accept as well, as a rule.
        carrier: The protocol that can carry it, where it has no credentials of its own; or "".
        connected: False if it keeps no connection open, and so never notices a loss.
        pairing_key: Key of the TXT record that tells for certain whether it can be paired, or "".
        named_by: The protocol whose identifier of the device it announces; itself by default.
        password: True if a device may ask for its password.
        number: What Home Assistant calls it in its files, or 0.
        proxy: ``module:class`` that passes it on to a real device, or "".
        serves: Commands and fields that it serves after all others, beside the rows that name it.
    """

    __slots__ = (
        "name", "service_types", "backend", "pairing", "unpaired", "hap", "carrier", "connected",
        "pairing_key", "named_by", "credentials", "password", "number", "proxy", "serves",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        service_types: tuple[str, ...],
        backend: str = "",
        pairing: str = "",
        *,
        unpaired: bool = False,
        hap: bool = False,
        carrier: str = "",
        connected: bool = True,
        pairing_key: str = "",
        named_by: str = "",
        credentials: tuple[str, ...] = (),
        password: bool = False,
        number: int = 0,
        proxy: str = "",
        serves: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.service_types = service_types
        self.backend = backend
        self.pairing = pairing
        self.unpaired = unpaired
        self.hap = hap
        self.carrier = carrier
        self.connected = connected
        self.pairing_key = pairing_key
        self.named_by = named_by or name
        self.credentials = credentials
        self.password = password
        self.number = number
        self.proxy = proxy
        self.serves = serves


# The order in which they name a device (its main identifier), connect, and pair. Companion pairs
# last: it does not always show its PIN, and often accepts what the others have agreed on.
_ROWS = (
    ProtocolRow(
        "mrp", ("_mediaremotetv._tcp.local.",),
        "tinyatv.backends.mrp:MrpBackend", "tinyatv.backends.mrp_pairing",
        credentials=("hap",), number=2, unpaired=True, hap=True, carrier="airplay",
        proxy="tinyatv.proxy.mrp:ProxyMrp",
    ),
    ProtocolRow(
        # the second beside the first while Home Sharing is on; the third is Music on a computer
        "dmap", ("_touch-able._tcp.local.", "_appletv-v2._tcp.local.", "_hscp._tcp.local."),
        "tinyatv.backends.dmap:DmapBackend", "tinyatv.backends.dmap_pairing",
        credentials=("guid",), number=1,
    ),
    ProtocolRow(
        "airplay", ("_airplay._tcp.local.",),
        "tinyatv.backends.airplay:AirPlayBackend", "tinyatv.backends.airplay_pairing",
        credentials=("hap", "legacy"), password=True, number=3, unpaired=True, hap=True,
        connected=False, proxy="tinyatv.proxy.airplay:ProxyAirPlay",
    ),
    ProtocolRow(
        "raop", ("_raop._tcp.local.",),
        "tinyatv.backends.raop:RaopBackend", "tinyatv.backends.raop_pairing",
        credentials=("hap", "legacy"), password=True, number=5, unpaired=True, hap=True,
        connected=False,
        named_by="airplay",  # the name of its service begins with it
        serves=(
            "stop", "volume", "set_volume", "volume_up", "volume_down", "playing", "title",
            "artist", "album", "total_time", "position", "push_updates",
        ),
    ),
    ProtocolRow(
        "companion", ("_companion-link._tcp.local.",),
        "tinyatv.backends.companion:CompanionBackend", "tinyatv.backends.companion_pairing",
        credentials=("hap",), number=4, hap=True, pairing_key="rpfl",
        named_by="mrp",  # rpMRtID (seen on tvOS 14 to 16)
        proxy="tinyatv.proxy.companion:ProxyCompanion",
    ),
)  # fmt: skip

PROTOCOLS = {row.name: row for row in _ROWS}
BACKENDS = {name: row for name, row in PROTOCOLS.items() if row.backend}
"""Those that can be connected to."""

ROUTES: dict[str, tuple[str, ...]] = {
    # command: protocols that serve it, best first. MRP before the others: it knows what is playing,
    # and says why it refuses. Companion before DMAP for buttons: it knows how long they are held.
    "up": ("mrp", "companion", "dmap"),
    "down": ("mrp", "companion", "dmap"),
    "left": ("mrp", "companion", "dmap"),
    "right": ("mrp", "companion", "dmap"),
    "select": ("mrp", "companion", "dmap"),
    "menu": ("mrp", "companion", "dmap"),
    "top_menu": ("mrp", "dmap"),
    "home": ("mrp", "companion"),
    "channel_up": ("companion",),
    "channel_down": ("companion",),
    "page_up": (),  # no button of any protocol is known to do it
    "page_down": (),
    "guide": ("companion",),
    "screensaver": ("companion",),
    "control_center": ("companion",),
    "siri_start": ("companion",),
    "siri_stop": ("companion",),
    "suspend": ("mrp",),
    "wakeup": ("mrp",),
    "swipe": ("companion",),
    "touch": ("companion",),
    "click": ("companion",),
    "play": ("mrp", "dmap", "companion"),  # Companion may leave it unanswered; DMAP never does
    "pause": ("mrp", "dmap", "companion"),
    "play_pause": ("mrp", "dmap", "companion"),
    "stop": ("mrp", "dmap"),
    "next": ("mrp", "dmap", "companion"),
    "previous": ("mrp", "dmap", "companion"),
    "skip_forward": ("mrp", "dmap", "companion"),
    "skip_backward": ("mrp", "dmap", "companion"),
    "begin_fast_forward": ("mrp", "companion"),
    "end_fast_forward": ("mrp", "companion"),
    "begin_rewind": ("mrp", "companion"),
    "end_rewind": ("mrp", "companion"),
    "set_position": ("mrp", "dmap"),
    "set_shuffle": ("mrp", "dmap"),
    "set_repeat": ("mrp", "dmap"),
    "captions": ("companion",),
    "volume_up": ("mrp", "companion", "dmap"),
    "volume_down": ("mrp", "companion", "dmap"),
    # over DMAP only iTunes and its like know the level; an Apple TV only knows steps
    "volume": ("mrp", "companion", "dmap"),
    "set_volume": ("mrp", "companion", "dmap"),
    "mute": ("mrp", "companion"),
    "output_devices": ("mrp",),
    "add_output_devices": ("mrp",),
    "remove_output_devices": ("mrp",),
    "set_output_devices": ("mrp",),
    "power_state": ("companion", "mrp"),  # MRP: "on" as long as a HomePod plays its sound
    "turn_on": ("companion", "mrp"),
    # over MRP it takes button presses, which do nothing from tvOS 18 on
    "turn_off": ("companion", "mrp"),
    "apps": ("companion",),
    "launch": ("companion",),
    "accounts": ("companion",),
    "switch_account": ("companion",),
    "text_focus": (
        "companion",
        "mrp",
    ),  # the same first choice for all of these: it reads what it writes
    "text_get": ("companion",),
    "text_set": ("companion", "mrp"),
    "text_append": ("companion", "mrp"),
    "text_clear": ("companion", "mrp"),
    "play_url": ("airplay",),
    "stream": ("raop",),
    "playing": ("mrp", "dmap"),
    "artwork": ("mrp", "dmap"),
    "server_info": ("dmap",),
}

FIELDS: dict[str, tuple[str, ...]] = {
    # field of `Playing`, or another thing to know about what is playing: protocols that report it
    "title": ("mrp", "dmap"),
    "artist": ("mrp", "dmap"),
    "album": ("mrp", "dmap"),
    "genre": ("mrp", "dmap"),
    "total_time": ("mrp", "dmap"),
    "position": ("mrp", "dmap"),
    "shuffle": ("mrp", "dmap"),
    "repeat": ("mrp", "dmap"),
    "series_name": ("mrp",),
    "season_number": ("mrp",),
    "episode_number": ("mrp",),
    "content_identifier": ("mrp",),
    "itunes_store_identifier": ("mrp",),
    "app": ("mrp",),
    "push_updates": ("mrp", "dmap"),
}

QUESTIONS = frozenset((
    "volume", "output_devices", "power_state", "apps", "accounts", "text_focus", "text_get",
    "playing", "artwork", "server_info",
))  # fmt: skip
"""Commands of `ROUTES` that only ask: they change nothing, and may be repeated."""

GO_TO_SLEEP = frozenset(("turn_off", "suspend"))
"""Those for which no sleeping device is woken."""

TOLD_BY_ANY = frozenset((
    "power_state", "text_focus", "volume", "set_volume", "volume_up", "volume_down", "mute",
))  # fmt: skip
"""Those for which the next protocol is asked where the best one cannot tell, or cannot do it."""

for _row in _ROWS:
    for _name in _row.serves:
        _table = FIELDS if _name in FIELDS else ROUTES
        _table[_name] = (*_table[_name], _row.name)
