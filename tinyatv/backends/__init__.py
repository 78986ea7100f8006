"""The client side of every protocol, one module each."""
