"""Session descriptions (RFC 4566), as RAOP's ANNOUNCE has them: lines of ``key=value``.

v=0
o=iTunes 1990446742 0 IN IP4 10.0.0.2           the session, the sender
s=iTunes
c=IN IP4 10.0.0.5                               the receiver
t=0 0
m=audio 0 RTP/AVP 96
a=rtpmap:96 AppleLossless                       or L16/44100/2
a=fmtp:96 352 0 16 40 10 14 2 255 0 0 44100     352 frames, 16 bits, 2 channels, 44100 Hz
"""

from .raop_codes import CHANNELS, FRAMES, PAYLOAD, RATE

LIMIT = 64  # lines


class Description:
    """What is to be sent.

    Attributes:
        codec: ``AppleLossless``, ``L16/44100/2`` ...
        parameters: The numbers behind ``fmtp``; None without one.
        encrypted: True if there is a key.
    """

    def __init__(self, codec: str, parameters: "list[int] | None", encrypted: bool = False) -> None:
        self.codec = codec
        self.parameters = parameters
        self.encrypted = encrypted

    @property
    def frames(self) -> int:
        """Frames in a packet."""
        return self.parameters[0] if self.parameters else FRAMES


def encode(session: int, sender: str, receiver: str, codec: str, parameters: bool) -> bytes:
    """Return the description of stereo sound with 16 bits.

    Args:
        session: Its number.
        sender: Address.
        receiver: Address.
        codec: ``AppleLossless`` or ``L16/44100/2``.
        parameters: True for a line of ``fmtp``.
    """
    lines = [
        "v=0",
        f"o=iTunes {session} 0 IN {_kind(sender)} {sender}",
        "s=iTunes",
        f"c=IN {_kind(receiver)} {receiver}",
        "t=0 0",
        f"m=audio 0 RTP/AVP {PAYLOAD}",
        f"a=rtpmap:{PAYLOAD} {codec}",
    ]
    if parameters:
        # frames, version, bits, history mult, initial history, rice limit, channels, longest run,
        # largest frame (0: not known), bit rate (likewise), sample rate
        form = "a=fmtp:{} {} 0 16 40 10 14 {} 255 0 0 {}"
        lines.append(form.format(PAYLOAD, FRAMES, CHANNELS, RATE))
    return ("\r\n".join(lines) + "\r\n").encode()


def _kind(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def decode(data: bytes) -> Description:
    """Return what a description says.

    Raises:
        ValueError: It describes no sound, or not as it should.
    """
    try:
        lines = data.decode().replace("\r\n", "\n").split("\n")
    except ValueError:
        raise ValueError("a session description that is no text") from None
    if len(lines) > LIMIT:
        raise ValueError(f"a session description of {len(lines)} lines")
    codec = ""
    parameters = None  # type: list[int] | None
    encrypted = False
    for line in lines:
        name, _, value = line.partition(":")
        if name == "a=rtpmap":
            codec = value.strip().partition(" ")[2].strip()
        elif name == "a=fmtp":
            words = value.split()
            if len(words) < 12 or [one for one in words if not one.isdigit() or len(one) > 10]:
                raise ValueError(f"malformed parameters: {value[:60]}")
            parameters = [int(one) for one in words[1:]]
        elif name in ("a=rsaaeskey", "a=fpaeskey"):
            encrypted = True
    if not codec:
        raise ValueError("no sound is described")
    if parameters is not None and not 1 <= parameters[0] <= 4096:
        raise ValueError(f"{parameters[0]} frames in a packet")
    return Description(codec, parameters, encrypted)
