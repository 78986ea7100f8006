"""Numbers and names of RAOP, for both ends.

Source: what Apple's senders and receivers say, as recorded by openairplay and shairport-sync.
"""

RATE, CHANNELS, FRAMES = 44100, 2, 352  # Hz; in a frame; frames in a packet
PAYLOAD = 96  # what SDP calls the sound
ALAC, L16 = "AppleLossless", "L16/44100/2"
SDP = "application/sdp"
EXTRA_LATENCY = 11025  # frames that receivers add to the latency of the sender
BACKLOG = 1024  # packets that a sender keeps, to send them again: 8 s


def decibels(percent: float) -> float:
    """A volume as AirPlay has it: -30 to 0, and -144 for nothing."""
    return -144.0 if percent <= 0 else -30.0 + 0.3 * percent


def percent(db: float) -> float:
    """A volume that AirPlay has, in percent."""
    return 0.0 if db < -30.0 else min(100.0, (db + 30.0) / 0.3)
