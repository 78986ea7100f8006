"""A virtual Apple TV: the device side of every protocol, for trying things out and for tests."""

from .appletv import PROFILES, VirtualAppleTV
from .contents import Item, Output, Player
from .server import Fault
from .state import State

__all__ = ["PROFILES", "Fault", "Item", "Output", "Player", "State", "VirtualAppleTV"]
