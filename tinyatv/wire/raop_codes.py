"""Numbers and names of RAOP, for both ends.

Source: what Apple's senders and receivers say, as recorded by openairplay and shairport-sync.
"""

RATE, CHANNELS, FRAMES = 44100, 2, 352  # Hz; in a frame; frames in a packet
PAYLOAD = 96  # what SDP calls the sound
ALAC, L16 = "AppleLossless", "L16/44100/2"
SDP = "application/sdp"
EXTRA_LATENCY = 11025  # frames that receivers add to the latency of the sender
BACKLOG = 1024  # packets that a sender keeps, to send them again: 8 s
