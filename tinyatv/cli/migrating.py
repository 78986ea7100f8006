"""What the words and flags of other tools are called here, and what is missing, and why.

tinyatv migrating                everything
tinyatv migrating artwork        only rows that contain this
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from ..model import PROTOCOLS
from ..proxy.device import PROTOCOLS as PROXIED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .flags import Arguments, Parser
    from .output import Output

UNCHANGED = {  # tool: words and flags that are the same here
    "atvremote": """
        -h --help --version -i --id -n --name --address --protocol --port -t --scan-timeout
        -s --scan-hosts --scan-protocols -m --manual --service-properties --remote-name -p --pin
        --pairing-guid --dmap-credentials --mrp-credentials --airplay-credentials
        --companion-credentials --raop-credentials --airplay-password --raop-password --storage
        --storage-filename -v --verbose --debug --mdns-debug

        commands help scan pair wizard
        up down left right select menu home top_menu home_hold
        play pause play_pause stop next previous skip_forward skip_backward set_position
        set_shuffle set_repeat
        channel_up channel_down screensaver guide control_center suspend wakeup
        power_state turn_on turn_off
        volume set_volume volume_up volume_down
        output_devices add_output_devices remove_output_devices set_output_devices
        playing media_type device_state title artist album genre total_time position shuffle repeat
        hash series_name season_number episode_number content_identifier itunes_store_identifier
        app artwork_id artwork_save device_id push_updates
        play_url stream_file close
        app_list launch_app account_list switch_account
        text_focus_state text_get text_clear text_append text_set
        swipe action click
        device_info operating_system version build_number model model_str raw_model mac
        output_device_id features
        print_settings change_setting unset_setting remove_settings
        delay cli
        """,
    "atvscript": """
        -h --help -i --id --protocol -s --scan-hosts --output --debug --storage --storage-filename
        --dmap-credentials --mrp-credentials --airplay-credentials --companion-credentials
        --raop-credentials

        scan playing push_updates
        """,
    "atvproxy": "-h --help",
    "atvlog": "-h --help",
    "its settings": """
        protocols.airplay.credentials protocols.airplay.password protocols.companion.credentials
        protocols.dmap.credentials protocols.mrp.credentials protocols.raop.credentials
        protocols.raop.password
        """,
    "another atv (Python)": "scan pair devices",
    "another atv (macOS)": "pair menu home",
    "atv (Node)": "scan pair",
    "appletv (Node)": "pair artwork",
}


class Row(NamedTuple):
    """How one thing is called.

    Attributes:
        tool: Whose.
        theirs: What is typed there.
        here: What follows ``tinyatv`` here; empty if there is no such thing.
        remark: What differs, or why it is not here.
    """

    tool: str
    theirs: str
    here: str
    remark: str = ""


_ITSELF = "tinyatv detects by itself what the device needs"
_IDENTITY = "tinyatv presents the same remote to all devices"
_PAGE = "no pages: --debug goes to standard error"

DIFFERENT = (
    Row("atvremote", "artwork", "artwork_save", "artwork saves it as well, and prints no bytes"),
    Row("atvremote", "features all", "features=all", "the two words work as well"),
    Row("atvremote", "exit", "prompt", "exit ends it, as there"),
    Row("its settings", "info.name", "pair --remote-name NAME"),
    Row("its settings", "info.mac", "", _IDENTITY),
    Row("its settings", "info.model", "", _IDENTITY),
    Row("its settings", "info.device_id", "", _IDENTITY),
    Row("its settings", "info.rp_id", "", _IDENTITY),
    Row("its settings", "info.os_name", "", _IDENTITY),
    Row("its settings", "info.os_build", "", _IDENTITY),
    Row("its settings", "info.os_version", "", _IDENTITY),
    *(
        Row(
            "its settings",
            f"protocols.{protocol}.identifier",
            "print_settings",
            "cannot be changed",
        )
        for protocol in PROTOCOLS
    ),
    Row("its settings", "protocols.airplay.mrp_tunnel", "", _ITSELF),
    Row("its settings", "protocols.raop.protocol_version", "", _ITSELF),
    Row("its settings", "protocols.raop.timing_port", "", "any free port, as the device learns"),
    Row("its settings", "protocols.raop.control_port", "", "any free port, as the device learns"),
    Row("its settings", "~/.pyatv.conf", "devices import", "also read in place, never written"),
    *(
        Row("atvproxy", protocol, f"proxy {protocol}", "-n and so on choose the device")
        for protocol in PROXIED
    ),
    Row("atvproxy", "relay", "proxy relay HOST:PORT"),
    Row(
        "atvproxy", "credentials", "", "they come from the store, or as --mrp-credentials and so on"
    ),
    Row("atvproxy", "remote_ip", "", "-n, -i or -s choose the device; for relay it is HOST:PORT"),
    Row("atvproxy", "local_ip", "proxy relay HOST:PORT --host IP"),
    Row("atvproxy", "remote_port", "proxy relay HOST:PORT"),
    Row("atvproxy", "name", "proxy relay HOST:PORT --proxy-name NAME"),
    Row("atvproxy", "service_type", "proxy relay HOST:PORT --type TYPE"),
    Row("atvproxy", "--name", "proxy mrp --proxy-name NAME"),
    Row("atvproxy", "--local-ip", "proxy mrp --host IP"),
    Row("atvproxy", "--local_ip", "proxy airplay --host IP"),
    Row("atvproxy", "--remote_port", "", "the device advertises it; for relay it is HOST:PORT"),
    Row("atvproxy", "--credentials", "", "they come from the store, or as --airplay-credentials"),
    Row("atvproxy", "-p", "proxy relay HOST:PORT --property K=V"),
    Row("atvproxy", "--properties", "proxy relay HOST:PORT --property K=V", "one for each"),
    Row("atvlog", "FILE", "decode FILE", "shows traces, on the terminal"),
    Row("atvlog", "-", "decode -", "shows traces, on the terminal"),
    *(
        Row("atvlog", flag, "", _PAGE)
        for flag in "-o --output -f --format -e --env -w --web-server -p --port".split()
    ),
    Row("another atv (Python)", "unpair", "devices forget NAME"),
    Row("another atv (Python)", "default", "devices default NAME"),
    Row("another atv (Python)", "power status", "power_state"),
    Row("another atv (Python)", "power on", "turn_on", "=wait returns when it is on"),
    Row("another atv (Python)", "power off", "turn_off", "=wait returns when it sleeps"),
    Row("another atv (Python)", "power toggle", "", "use turn_on or turn_off"),
    Row("another atv (Python)", "remote ...", "up down=2 select", "no groups"),
    Row("another atv (Python)", "media ...", "play_pause", "no groups"),
    Row("another atv (Python)", "info ...", "info playing", "no groups"),
    Row("another atv (Python)", "apps ...", "app_list", "no groups"),
    Row("another atv (Python)", "audio ...", "volume set_volume=30 mute", "no groups"),
    Row("another atv (Python)", "keyboard ...", "text_set=TEXT", "no groups"),
    Row("another atv (Python)", "touch ...", "swipe=500,900,500,100,300", "no groups"),
    Row("another atv (Python)", "stream ...", "play_url=FILE", "no groups"),
    Row("another atv (Python)", "system ...", "control_center", "no groups"),
    Row("another atv (Python)", "accounts ...", "account_list", "no groups"),
    Row("another atv (Python)", "settings ...", "print_settings", "no groups"),
    Row("another atv (Python)", "monitor", "watch"),
    Row("another atv (Python)", "shell", "prompt"),
    Row("another atv (Python)", "tui", "remote", "or no word at all, on a terminal"),
    Row("another atv (Python)", "--json", "--json"),
    Row("another atv (macOS)", "list", "scan"),
    Row("another atv (macOS)", "status", "playing"),
    Row("another atv (macOS)", "select NAME", "devices default NAME"),
    Row("another atv (macOS)", "u d l r", "up down left right"),
    Row("another atv (macOS)", "click", "select", "click is a touch here"),
    Row("another atv (macOS)", "pp", "play_pause"),
    Row("another atv (macOS)", "su sd sl sr", "swipe=500,900,500,100,300"),
    Row("another atv (macOS)", "vol+ vol-", "volume_up volume_down"),
    Row("another atv (macOS)", "power", "turn_off"),
    Row("another atv (macOS)", "apps", "app_list"),
    Row("another atv (macOS)", "launch NAME", "launch_app=ID"),
    Row("another atv (macOS)", "3 r", "right=3"),
    Row("another atv (macOS)", "--standalone", "", "the default without `tinyatv serve`"),
    Row("atv (Node)", "command NAME", "play_pause", "the word alone"),
    Row("atv (Node)", "remote", "remote", "or no word at all, on a terminal"),
    Row("appletv (Node)", "command", "play_pause", "the word alone"),
    Row("appletv (Node)", "state", "playing"),
    Row("appletv (Node)", "queue", "", "the device only reports what is playing"),
    Row("appletv (Node)", "messages", "watch --debug", "every message of the protocol"),
    Row("atvremote (Rust)", "--json", "--json"),
    Row("a JSON-first tool", "doctor", "doctor"),
    Row(
        "a JSON-first tool",
        "confirmed sent unknown",
        "",
        "`success` is confirmed where the device confirms, else sent; `timeout` is unknown",
    ),
)

SURPRISES = (  # what others do, what tinyatv does
    ("atvscript takes the first of several devices", "lists them; exit code 3"),
    ("host names after -s give a traceback", "they work"),
    ("log lines on standard output", "on standard error"),
    ("a NOTE line where nothing pushes updates", "none; push_updates ends, exit code 5"),
    ("words are checked after connecting", "before anything touches the network"),
    ("atvscript checks its word after connecting", "before; `error` is unsupported_command, too"),
    ("a traceback when the device cannot do it", "one line; exit code 5"),
    ("help of an unknown word prints nothing, exit code 0", "it says so; exit code 2"),
    ("exit code 0 after help of an unknown word", "2"),
    ("artwork prints bytes on the terminal", "it saves them"),
    ("artwork_save adds .png to any data", "a fitting ending, and only if there is none"),
    ("features all complains", "it works"),
    ("cli repeats an error when its input ends", "it ends"),
    ("push_updates goes on when its reader has gone", "it ends"),
    ("pair exits with 0 when the device refused", "6"),
    ("`exception` may say nothing", "it says what happened, and `error` classifies it"),
    ("a bad flag of atvscript prints a traceback", "JSON with --json; exit code 2"),
    ("position 0 is null", "0; null is `not known`"),
    ("push_updates fails on Apple TV 1 to 3", "it works, without power and speakers"),
    ("exit code 1 after --help", "0"),
    ("exit code 1 after --version", "0"),
    ("exit code 1 after wrong usage", "2"),
    ("atvscript exits with 0 when no device was found", "3"),
    ("atvscript exits with 0 after an unknown command", "2"),
    ("atvscript exits with 0 when a command failed", "1, 4, 5, 6 or 7"),
    ("tvOS 26 is shown as 19", "26"),
)


def add_flags(parser: Parser, word: str) -> None:
    """What to look for."""
    parser.add_argument("words", nargs="*", metavar="TEXT", help="only rows that contain this")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Print the table, or the part of it that is wanted."""
    wanted = " ".join(flags.words)
    chosen = [row for row in rows() if wanted in f"{row.tool} {row.theirs} {row.here}"]
    odd = [pair for pair in SURPRISES if wanted in pair[0] or wanted in pair[1]]
    keys = [{**row._asdict(), "state": state(row)} for row in chosen]
    surprises = [{"theirs": theirs, "here": here} for theirs, here in odd]
    out.result("\n".join(_text(chosen, odd)), rows=keys, surprises=surprises)
    return 0


def rows() -> Iterator[Row]:
    """All rows, tool by tool."""
    for tool in dict.fromkeys([*UNCHANGED, *(row.tool for row in DIFFERENT)]):
        for name in UNCHANGED.get(tool, "").split():
            yield Row(tool, name, name)
        yield from (row for row in DIFFERENT if row.tool == tool)


def state(row: Row) -> str:
    """``"here"`` or ``"not here"``."""
    return "here" if row.here else "not here"


def _here(row: Row) -> str:
    here = row.here if row.here != row.theirs else ""
    return ": ".join(filter(None, (here or state(row), row.remark)))


def _text(chosen: list[Row], odd: list[tuple[str, str]]) -> Iterator[str]:
    for tool in dict.fromkeys(row.tool for row in chosen):
        mine = [row for row in chosen if row.tool == tool]
        same = [row.theirs for row in mine if row.theirs == row.here]
        yield f"{tool}:"
        if same:
            yield textwrap.fill(
                f"the same: {' '.join(same)}", 98, initial_indent="  ", subsequent_indent="    ",
                break_on_hyphens=False,
            )  # fmt: skip
        others = [row for row in mine if row.theirs not in same]
        width = max((len(row.theirs) for row in others), default=0)
        for row in others:
            yield f"  {row.theirs:<{width}}  {_here(row)}"
        yield ""
    if odd:
        yield "Surprises of other tools, and what happens here:"
    for theirs, here in odd:
        yield f"  {theirs}: {here}"
