"""Bytes to messages and back: no sockets, threads, clocks or roles. Runs on MicroPython."""
