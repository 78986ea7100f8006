"""A virtual Apple TV: the device side of every protocol, for trying things out and for tests."""

from .appletv import PROFILES, VirtualAppleTV
from .server import Fault
from .state import Item, Output, Player, State

__all__ = ["PROFILES", "Fault", "Item", "Output", "Player", "State", "VirtualAppleTV"]
