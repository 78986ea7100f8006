"""A virtual Apple TV: the device side of every protocol, for trying things out and for tests."""

from .appletv import VirtualAppleTV
from .contents import Item, Output, Player
from .faults import Fault
from .profiles import PROFILES
from .state import State

__all__ = ["PROFILES", "Fault", "Item", "Output", "Player", "State", "VirtualAppleTV"]
