"""Control every Apple TV from plain, blocking Python.

::

    import tinyatv

    with tinyatv.connect("Living Room") as atv:
        atv.play()
        print(atv.playing())

Importing this package loads nothing but this file; each name loads its module at first use.
"""

TYPE_CHECKING = False  # checkers take it for typing's, whose import takes longer than ours
if TYPE_CHECKING:
    from . import errors as errors
    from . import events as events
    from .connecting import connect as connect
    from .connecting import pair as pair
    from .device import AppleTV as AppleTV
    from .discovery import scan as scan
    from .errors import AppleTVError as AppleTVError
    from .errors import CommandFailed as CommandFailed
    from .errors import CommandTimeout as CommandTimeout
    from .errors import ConnectionFailed as ConnectionFailed
    from .errors import ConnectionLost as ConnectionLost
    from .errors import CredentialsError as CredentialsError
    from .errors import DeviceNotFound as DeviceNotFound
    from .errors import NotSupported as NotSupported
    from .errors import PairingBackOff as PairingBackOff
    from .errors import PairingError as PairingError
    from .errors import ProtocolError as ProtocolError
    from .errors import WrongDevice as WrongDevice
    from .events import Disconnected as Disconnected
    from .events import KeyboardChanged as KeyboardChanged
    from .events import OutputDevicesChanged as OutputDevicesChanged
    from .events import PlayingChanged as PlayingChanged
    from .events import PowerChanged as PowerChanged
    from .events import Reconnected as Reconnected
    from .events import UpdateFailed as UpdateFailed
    from .events import VolumeChanged as VolumeChanged
    from .model import Account as Account
    from .model import App as App
    from .model import Artwork as Artwork
    from .model import Device as Device
    from .model import DeviceInfo as DeviceInfo
    from .model import DeviceState as DeviceState
    from .model import FeatureState as FeatureState
    from .model import KeyboardFocus as KeyboardFocus
    from .model import MediaType as MediaType
    from .model import OperatingSystem as OperatingSystem
    from .model import OutputDevice as OutputDevice
    from .model import PairingRequirement as PairingRequirement
    from .model import Playing as Playing
    from .model import PowerState as PowerState
    from .model import RepeatState as RepeatState
    from .model import Service as Service
    from .model import ShuffleState as ShuffleState
    from .model import TouchAction as TouchAction
    from .routes import ROUTES as ROUTES
    from .store import Store as Store
    from .trace import Trace as Trace
    from .virtual import VirtualAppleTV as VirtualAppleTV

__version__ = "0.1.0"

_HOME = {
    "errors": "", "events": "",
    "connect": "connecting", "pair": "connecting",
    "AppleTV": "device",
    "scan": "discovery",
    "AppleTVError": "errors", "CommandFailed": "errors", "CommandTimeout": "errors",
    "ConnectionFailed": "errors", "ConnectionLost": "errors", "CredentialsError": "errors",
    "DeviceNotFound": "errors", "NotSupported": "errors", "PairingBackOff": "errors",
    "PairingError": "errors", "ProtocolError": "errors", "WrongDevice": "errors",
    "Disconnected": "events", "KeyboardChanged": "events", "OutputDevicesChanged": "events",
    "PlayingChanged": "events", "PowerChanged": "events", "Reconnected": "events",
    "UpdateFailed": "events", "VolumeChanged": "events",
    "Account": "model", "App": "model", "Artwork": "model", "Device": "model",
    "DeviceInfo": "model", "DeviceState": "model", "FeatureState": "model",
    "KeyboardFocus": "model", "MediaType": "model", "OperatingSystem": "model",
    "OutputDevice": "model", "PairingRequirement": "model", "Playing": "model",
    "PowerState": "model", "RepeatState": "model", "Service": "model", "ShuffleState": "model",
    "TouchAction": "model",
    "ROUTES": "routes",
    "Store": "store",
    "Trace": "trace",
    "VirtualAppleTV": "virtual",
}  # fmt: skip

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if not home:
        return import_module(f"{__name__}.{name}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value  # next time without this function
    return value


def __dir__() -> "list[str]":
    return sorted([*globals(), *_HOME])
