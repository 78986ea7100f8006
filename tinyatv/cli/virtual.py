"""Run a virtual Apple TV until Ctrl-C or SIGTERM.

It prints the commands that it receives, who wants to pair, and how that ended. To pair with it, run
`tinyatv pair` in another terminal. A newer Apple TV shows a PIN: it is printed here, to be typed
there. With one of the third generation, type the PIN that is shown there here.

Started again, it is the same device, known by its name and profile: what has paired with it need
not pair again. A second one that runs beside it is another device, with a number in its name.

Lines to type here:

  title TEXT     play something of that title
  text [TEXT]    open a text field, with that in it
  close          close the text field
  pin DIGITS     the PIN that it shows from now on; or (atv3) that a remote shows
  DIGITS         the same
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable

from .. import routes
from ..errors import AppleTVError, CredentialsError
from ..link import reason
from ..virtual import PROFILES, VirtualAppleTV
from ..virtual.raop import VirtualRaop
from ..virtual.raop_receiver import save_wav
from .flags import port
from .output import one_line, show
from .signals import stop_on_signals
from .target import secret, the_store

if TYPE_CHECKING:
    from ..virtual.memory import Memory
    from .flags import Arguments, Parser
    from .output import Output

NAME = "Virtual Apple TV"
HINT = "type `title TEXT`, `text [TEXT]`, `close` or `pin DIGITS`"


def add_flags(parser: Parser, word: str) -> None:
    """What it is and where it listens; -n and --port are the common ones."""
    add = parser.add_argument
    add("--profile", choices=tuple(PROFILES), help="generation (atv3)")
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
    add("--password", metavar="TEXT", help="password that AirPlay asks for")
    add("--replay", metavar="FILE", help="give the answers of this trace")
    add("--record", metavar="FILE", help="write what is heard to a WAV file (airport, speaker)")
    add("--pin", help="PIN to show, or (atv3) to type for every remote that pairs")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Run it."""
    spoken = tuple(flags.protocols.split(",")) if flags.protocols else None
    if flags.replay and flags.port and not flags.profile and not spoken:
        raise ValueError("--replay with --port needs --profile")
    profile = flags.profile or (None if flags.replay else "atv3")
    memory = _memory(flags, profile)
    try:
        return _run(flags, out, spoken, profile, memory)
    finally:
        if memory is not None:
            memory.release()


def _memory(flags: Arguments, profile: str | None) -> Memory | None:
    """What it remembers; None for a device that is described by its flags, or not to be stored."""
    if profile is None or flags.identifier or flags.replay:
        return None
    from ..virtual.memory import Memory

    try:
        store = the_store(flags).path
    except CredentialsError as exc:  # there is no home folder
        show(f"tinyatv: nothing is remembered: {one_line(exc)}", error=True)
        return None
    if store is None:
        return None
    try:
        return Memory(os.path.dirname(os.path.abspath(store)), flags.name or NAME, profile)
    except OSError as exc:
        show(f"tinyatv: nothing is remembered: {reason(exc)}", error=True)
        return None


def _run(
    flags: Arguments,
    out: Output,
    spoken: tuple[str, ...] | None,
    profile: str | None,
    memory: Memory | None,
) -> int:
    first = (spoken or (PROFILES[profile][0] if profile else ()))[:1]
    identity: dict[str, Any] = {"identifier": flags.identifier}
    known: tuple[str, ...] | None = () if flags.pin else None
    home_sharing = flags.home_sharing or False
    seed = secrets.token_bytes(32)
    name = flags.name or (None if flags.replay else NAME)
    if memory is not None:
        seed, name = memory.seed or seed, memory.name
        identity = {"identifier": memory.identifier, "seed": seed}
        if memory.credentials and not flags.pin:
            known = tuple(memory.credentials)
        if home_sharing is True:
            home_sharing = memory.home_sharing or True
    tv = VirtualAppleTV(
        name,
        profile=profile,
        host=flags.host,
        ports=dict.fromkeys(first, flags.port),
        announce=not flags.no_announce,
        mdns_port=flags.mdns_port,
        home_sharing=home_sharing,
        credentials=tuple(flags.accept or ()) or known,
        pin=flags.pin,
        protocols=spoken,
        replay=flags.replay,
        password=None if flags.password is None else secret(flags.password),
        **identity,
    )
    if memory is not None:
        memory.restore(tv)
    speaker = next((side for side in tv.sides.values() if isinstance(side, VirtualRaop)), None)
    if flags.record and speaker is None:
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
            _thread("pin", tv.accept_pin, flags.pin, stop)
        elif types_pin and tv.takes_remotes and not flags.no_announce and not out.json:
            _thread("remotes", _report_remotes, tv, out, stop)
        if sys.stdin is not None:
            _thread("stdin", _read_lines, tv, out, types_pin)
        remembering = memory is not None
        logged = shown = ended = missed = recorded = 0
        while True:
            stopping = stop.wait(0.1)
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
            for outcome in tv.pairings[ended:]:
                if len(tv.pins) > shown:  # it was on screen before
                    shown = _show_pins(tv, out, shown, ended + 1)
                ended += 1
                out.result([f"pairing: {outcome}"], pairing=outcome)
            shown = _show_pins(tv, out, shown, len(tv.pins))
            if memory is not None and remembering:
                try:
                    memory.note(tv, seed)
                except OSError as exc:
                    remembering = False
                    show(f"tinyatv: nothing is remembered: {reason(exc)}", error=True)
            if stopping:
                return 0


def _show_pins(tv: VirtualAppleTV, out: Output, shown: int, until: int) -> int:
    for pin in tv.pins[shown:until]:
        out.result([f"PIN {pin}: a client wants to pair"], pin=pin)
    return max(shown, until)


def _thread(name: str, run: Callable[..., object], *args: object) -> None:
    threading.Thread(target=run, args=args, name=f"tinyatv-{name}", daemon=True).start()


def _report_remotes(tv: VirtualAppleTV, out: Output, stop: threading.Event) -> None:
    """Say which remotes want to be paired, as *Settings > Remotes* lists them."""
    seen: set[str] = set()
    while not stop.is_set():
        try:
            found = dict(tv.remotes(1.0))
        except AppleTVError as exc:
            show(f"tinyatv: remotes cannot be seen: {one_line(exc)}", error=True)
            return
        for guid in found.keys() - seen:
            text = f"{found[guid]} wants to pair: type the PIN that it shows"
            out.result([text], remote=found[guid])
        seen = {*found}


def _read_lines(tv: VirtualAppleTV, out: Output, types_pin: bool) -> None:
    """What a person would do on the TV."""
    try:
        for line in sys.stdin:
            if not line.strip():
                continue
            try:
                _obey(tv, out, types_pin, line.strip())
            except (AppleTVError, ValueError) as exc:
                show(f"tinyatv: {one_line(exc)}", error=True)
    except (OSError, ValueError):
        pass  # no standard input


def _obey(tv: VirtualAppleTV, out: Output, types_pin: bool, line: str) -> None:
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word.isdecimal() and not rest:
        word, rest = "pin", word
    if word == "pin" and rest:
        if types_pin and not tv.takes_remotes:
            raise ValueError("it shows no PIN, and takes none")
        if types_pin:
            tv.enter_pin(rest)
            out.result("paired", paired=True)
        else:
            tv.accessory.use_pin(rest)
            out.result([f"the PIN is {rest} from now on"], next_pin=rest)
    elif word == "title" and rest:
        tv.state.update(title=rest)
        out.result([f"title: {rest}"], title=rest)
    elif word == "text":
        tv.state.open_field(rest)
        out.result(["a text field is open"], field=rest)
    elif line == "close":
        tv.state.close_field()
        out.result(["the text field is closed"], field=None)
    else:
        raise ValueError(f"not known here: {word}; {HINT}")
