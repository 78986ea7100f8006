"""A connection of AirPlay, the device's end: HTTP in clear, sealed once it is verified."""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING

from ..crypto.chacha20poly1305 import Session as Ciphers
from ..pairing.accessory import Accessory
from ..pairing.hap import Reply, channel_keys
from ..pairing.hap_device import Handshakes
from ..pairing.legacy import LegacyHandshakes
from ..wire.hap import HapWire
from ..wire.http import Request, Response
from .server import HttpServer, Peer, ServerWire

if TYPE_CHECKING:
    from .airplay_identity import AirPlayIdentity, AirPlayQuirks
    from .airplay_player import UrlPlayer
    from .airplay_session import AirPlaySession

FIRST_LIMIT = 64 * 1024  # bytes; of a body from a client that is not verified
BODY_LIMIT = 16 * 1024 * 1024


class AirPlayPeer(Peer):
    """A client that is connected.

    Args:
        sock: The connection.
        address: Where from.
        server: Serves it.
        accessory: The device's memory of pairings.
        identity: What the device says of itself.
        quirks: How it behaves.
        player: Stops what the client plays once its session ends.

    Attributes:
        link: The connection.
        address: Where from.
        nonce: What it must use to prove that it knows the password.
        verified: ``"hap"``, ``"transient"`` or ``"legacy"`` once it is; None before.
        client: Its identifier, or public key (legacy).
        secret: Where the keys of its channels come from.
        session: What SETUP made, or None.
        hides_pin: True while no PIN may be shown to it.
        transient: True if it wants to pair without a PIN.
        playing_id: What it calls what it plays (AirPlay 1).
        reversed_for: If it takes events, those of what is called so (AirPlay 1); else None.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        server: HttpServer,
        accessory: Accessory,
        identity: AirPlayIdentity,
        quirks: AirPlayQuirks,
        player: UrlPlayer,
    ) -> None:
        self.nonce = secrets.token_hex(16)
        self.verified: str | None = None
        self.client: bytes | None = None
        self.secret: bytes | None = None
        self.session: AirPlaySession | None = None
        self.hides_pin = False
        self.transient = False
        self.playing_id: str | None = None
        self.reversed_for: str | None = None
        self.handshakes = Handshakes(accessory, self)
        self.legacy = LegacyHandshakes(accessory, self)
        self._identity = identity
        self._quirks = quirks
        self._player = player
        self._ciphers: Ciphers | None = None
        self._http = ServerWire(limit=FIRST_LIMIT)
        self._wire = HapWire(self._http)
        super().__init__(sock, address, server)

    @property
    def sender(self) -> str:
        """Its address and port as text."""
        return f"{self.address[0]}:{self.address[1]}"

    def new_wire(self) -> HapWire:
        """What it speaks: sealed once it is verified."""
        return self._wire

    def heard_name(self, request: Request) -> None:
        """Note whether it gives its name: tvOS 27 shows no PIN without (seen on a real one)."""
        named = bool(request.header("X-Apple-Client-Name"))
        self.hides_pin = self._identity.profile.client_name and not named

    def verify(self, kind: str, reply: Reply) -> None:
        """It is verified; behind this answer, everything is sealed. An old session is over."""
        self.end_session()
        self.verified, self.client, self.secret = kind, reply.client, reply.secret
        assert reply.secret is not None, "the caller looked"
        theirs, ours = channel_keys(reply.secret, "control")
        self._ciphers = Ciphers(ours, theirs)

    def finish(self, request: Request, response: Response) -> None:
        """Put in what all answers have."""
        quirks = self._quirks
        response.protocol = request.protocol
        if response.code >= 400 and quirks.http_errors:
            response.protocol = "HTTP/1.1"
        cseq = request.header("CSeq")
        if cseq is None and quirks.cseq_zero:
            cseq = "0"
        response.headers.append(("Server", f"AirTunes/{self._identity.profile.source_version}"))
        if cseq is not None:
            response.headers.append(("CSeq", cseq))

    def answered(self, response: Response) -> None:
        """The answer to the last step of a handshake was in clear; what follows is not."""
        if self._ciphers is not None:
            self._wire.secure(self._ciphers)
            self._http.limit = BODY_LIMIT
            self._ciphers = None

    def end_session(self) -> bool:
        """End the session, and what plays in it; False if there is none."""
        session, self.session = self.session, None
        self._player.stop(self)
        if session is not None:
            session.close()
        return session is not None

    def on_disconnect(self) -> None:
        """The connection ended."""
        self.end_session()
        self.handshakes.close()
