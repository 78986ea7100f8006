"""Finding devices, announcing them, waking them up.

scanner.py    scan(): devices on the network        announce.py   the other way round
   mdns.py       questions and answers              wake.py       Wake-on-LAN
      records.py    what the answers mean
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .announce import Announcement as Announcement
    from .announce import publish as publish
    from .scanner import browse as browse
    from .scanner import scan as scan

# At first use, since backends need records.py alone.
_HOME = {"Announcement": "announce", "publish": "announce", "browse": "scanner", "scan": "scanner"}
_HOME["Publication"] = "announce"  # what Announcement was called up to version 0.1

__all__ = ["Announcement", "browse", "publish", "scan"]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value  # next time without this function
    return value
