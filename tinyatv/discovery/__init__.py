"""Finding devices, announcing them, waking them up.

scanner.py      scan(): devices on the network        announce.py   the other way round
  mdns.py       questions and answers                 wake.py       Wake-on-LAN
    dns.py      packets
  records.py    what the answers mean
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .announce import Announcement as Announcement
    from .announce import publish as publish
    from .records import Record as Record
    from .records import Unusable as Unusable
    from .records import build_device as build_device
    from .scanner import browse as browse
    from .scanner import scan as scan

# At first use: who connects to a device that is known needs wake.py alone.
_HOME = {
    "Announcement": "announce", "publish": "announce",
    "Publication": "announce",  # what Announcement was called before
    "Record": "records", "Unusable": "records", "build_device": "records",
    "browse": "scanner", "scan": "scanner",
}  # fmt: skip

__all__ = ["Announcement", "Record", "Unusable", "browse", "build_device", "publish", "scan"]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value  # next time without this function
    return value
