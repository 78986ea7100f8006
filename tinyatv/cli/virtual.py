"""Run a virtual Apple TV until Ctrl-C or SIGTERM.

It prints the commands that it receives. To pair with it, run `tinyatv pair` in another terminal. A
newer Apple TV shows a PIN: it is printed here, to be typed there. With one of the third generation,
type the PIN that is shown there here.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from .. import routes
from ..errors import AppleTVError
from ..virtual import PROFILES, VirtualAppleTV
from ..virtual.raop import VirtualRaop
from ..virtual.raop_receiver import save_wav
from .flags import port
from .output import one_line, show
from .signals import stop_on_signals

if TYPE_CHECKING:
    from .flags import Arguments, Parser
    from .output import Output


def add_flags(parser: Parser, word: str) -> None:
    """What it is and where it listens; -n and --port are the common ones."""
    add = parser.add_argument
    add(
        "--profile", choices=tuple(PROFILES), metavar="NAME",
        help="atv3 (the usual one) to tvos27, homepod, airplay1, airport, speaker",
    )  # fmt: skip
    add("--protocols", metavar="LIST", help="what it speaks, separated by commas: mrp,airplay")
    add("--host", default="127.0.0.1", help="own address to listen on (127.0.0.1: this machine)")
    add("--no-announce", action="store_true", help="do not announce it by multicast DNS")
    add("--mdns-port", type=port, metavar="N", help="UDP port for directed queries; 0 is any")
    add("--identifier", metavar="HEX", help="fixed identifier: 16 hex digits, or a UUID")
    add(
        "--home-sharing",
        nargs="?",
        const=True,
        metavar="ID",
        help="Home Sharing: needs no pairing",
    )
    add("--accept", action="append", metavar="CRED", help="credentials to accept")
    add("--replay", metavar="FILE", help="give the answers of this trace")
    add("--record", metavar="FILE", help="write what is heard to a WAV file (airport, speaker)")
    add("--pin", help="PIN to show, or (atv3) to type for every remote that pairs")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Run it."""
    spoken = tuple(flags.protocols.split(",")) if flags.protocols else None
    if flags.replay and flags.port and not flags.profile and not spoken:
        raise ValueError("--replay with --port needs --profile")
    profile = flags.profile or (None if flags.replay else "atv3")
    first = (spoken or (PROFILES[profile][0] if profile else ()))[:1]
    tv = VirtualAppleTV(
        flags.name,
        profile=profile,
        host=flags.host,
        ports=dict.fromkeys(first, flags.port),
        announce=not flags.no_announce,
        mdns_port=flags.mdns_port,
        identifier=flags.identifier,
        home_sharing=flags.home_sharing or False,
        credentials=tuple(flags.accept or ()) or (() if flags.pin else None),
        pin=flags.pin,
        protocols=spoken,
        replay=flags.replay,
    )
    speaker = next((side for side in tv.sides.values() if isinstance(side, VirtualRaop)), None)
    if flags.record and speaker is None:
        tv.stop()
        raise ValueError(f"{tv.profile} plays no sound: --record needs --profile speaker")
    # Over HAP the device shows the PIN; otherwise the remote does, and it is typed on the device.
    types_pin = not any(routes.PROTOCOLS[protocol].hap for protocol in tv.protocols)
    stop = stop_on_signals()
    with tv:
        where = ", ".join(f"{name} {port}" for name, port in tv.ports.items())
        text = f"{tv.name} ({tv.profile}) at {tv.host}: {where}. Ctrl-C ends it."
        out.result(
            [text], name=tv.name, profile=tv.profile, address=tv.host, ports=tv.ports,
            identifier=tv.identifier, credentials=tv.credentials,
            **({"replay": flags.replay} if flags.replay else {}),
        )  # fmt: skip
        if flags.pin and types_pin:
            thread = threading.Thread(
                target=tv.accept_pin, args=(flags.pin, stop), name="tinyatv-pin", daemon=True
            )
            thread.start()
        if sys.stdin is not None and types_pin:
            typing = threading.Thread(
                target=_read_pins, args=(tv, out), name="tinyatv-stdin", daemon=True
            )
            typing.start()
        logged = shown = missed = recorded = 0
        while not stop.wait(0.1):
            for entry in tv.log[logged:]:
                logged += 1
                out.result([entry], command=entry)
            for entry in tv.recording.missing[missed:] if tv.recording is not None else ():
                missed += 1
                out.result([f"not in the trace: {entry}"], missing=entry)
            for stream in speaker.streams[recorded:] if speaker is not None else ():
                if stream.over:
                    recorded += 1
                    out.result([str(stream)], stream=stream.title, lost=stream.lost)
                    if flags.record:
                        save_wav(flags.record, stream.samples())
            for pin in tv.pins[shown:]:
                shown += 1
                out.result([f"PIN {pin}"], pin=pin)
    return 0


def _read_pins(tv: VirtualAppleTV, out: Output) -> None:
    """What a person would do on the TV: pick the remote, type its PIN."""
    try:
        for line in sys.stdin:
            if not line.strip():
                continue
            try:
                tv.enter_pin(line.strip())
            except (AppleTVError, ValueError) as exc:
                show(f"tinyatv: {one_line(exc)}", error=True)
            else:
                out.result("paired", paired=True)
    except (OSError, ValueError):
        pass  # no standard input
