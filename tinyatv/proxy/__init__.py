"""Between a controller and a device: everything passes, decrypted and seen.

It pairs with the controller as a device of its own, and uses stored credentials for the real one:

    controller  ->  virtual/'s device side  ->  bridge  ->  backends/' client side  ->  device
"""

from .bridge import Tap
from .device import ProxyAppleTV
from .relay import Relay

__all__ = ["ProxyAppleTV", "Relay", "Tap"]
