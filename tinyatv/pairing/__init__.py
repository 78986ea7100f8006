"""Handshakes, both roles in one file each, without input or output of their own."""
