"""The tunnel that carries MRP through AirPlay 2, the only way from tvOS 15 on.

control connection   SETUP, RECORD, SETUP; then /feedback every 2 s
event channel        the device asks, we answer 200
data stream          MRP messages, both ways
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Sequence
from typing import Any, Callable

from .. import proto
from ..crypto.chacha20poly1305 import Session as Ciphers
from ..errors import (
    AppleTVError,
    CommandFailed,
    CommandTimeout,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    ProtocolError,
)
from ..identity import Introduction
from ..link import cause_of
from ..pairing.credentials import Credentials
from ..pairing.hap import channel_keys, own_mac
from ..wire.airplay_codes import DATA_CONTROL, MEDIA_REMOTE, STREAM
from ..wire.datastream import DataStreamWire
from ..wire.hap import HapWire
from .airplay_session import ControlConnection, introduction, new_uuid

OPENING = 180.0  # s; more than all steps may take together


class Tunnel:
    """Opens a data stream for MRP.

    Args:
        hosts: Its address, or all of them, best first.
        port: AirPlay port.
        credentials: HAP or transient.
        timeout: Seconds that an answer may take.
        password: Of the device, or None.
        requires_password: True if it announces that it has one.

    Attributes:
        proven: True if the device has to prove by its key that it is the one that was paired.
    """

    def __init__(
        self,
        hosts: str | Sequence[str],
        port: int,
        credentials: Credentials,
        *,
        timeout: float,
        password: str | None = None,
        requires_password: bool = False,
    ) -> None:
        self.client_id = credentials.client_id
        self.proven = credentials.kind == "hap"
        self._done = threading.Event()
        self._error: AppleTVError | None = None
        self._lost: Callable[[AppleTVError], object] = lambda error: None
        self._control = ControlConnection(
            hosts, port, credentials, timeout=timeout, password=password,
            requires_password=requires_password, lost=lambda error: self._lost(error),
        )  # fmt: skip

    def open(self, lost: Callable[[AppleTVError], object]) -> tuple[socket.socket, HapWire]:
        """Set everything up.

        Args:
            lost: Called once, on any thread, when the tunnel is gone by itself.

        Returns:
            The socket of the data stream, and the wire for it.

        Raises:
            ConnectionFailed: The device cannot be reached, or hangs up.
            CredentialsError: It does not accept the credentials.
            CommandFailed: It refuses.
            ProtocolError: It answers with nonsense.
        """
        self._lost = lost
        try:
            return self._open(self._control)
        except AppleTVError as exc:
            self._error = exc
            raise
        finally:
            self._done.set()

    def _open(self, control: ControlConnection) -> tuple[socket.socket, HapWire]:
        control.open()
        try:
            control.set_up(self._session())
            seed = secrets.randbits(63)  # below 2**63: the same whether it is read as signed or not
            stream = {
                "type": STREAM,
                "controlType": DATA_CONTROL,
                "channelID": new_uuid(),
                "clientUUID": new_uuid(),
                "clientTypeUUID": MEDIA_REMOTE,
                "seed": seed,
                "wantsDedicatedSocket": True,
            }
            port = _data_port(control.rtsp("SETUP", None, {"streams": [stream]}))
            wire = HapWire(DataStreamWire(proto.dumps, proto.parse, proto.key))
            assert control.secret is not None, "the credentials are HAP or transient"
            wire.secure(Ciphers(*channel_keys(control.secret, "datastream", seed)))
            sock = control.channel_socket(port)
            control.start_feedback()
        except ConnectionLost as exc:
            control.close()
            cause = cause_of(exc, control.label)
            raise ConnectionFailed(f"hung up while the tunnel was opened: {cause}") from exc
        except BaseException:
            control.close()
            raise
        return sock, wire

    @property
    def address(self) -> str:
        """The address that it is connected to; before that, the one to try first."""
        return self._control.address

    def wait(self) -> None:
        """Block until :meth:`open`, on another thread, is done.

        Raises:
            AppleTVError: What that raised.
            CommandTimeout: It never comes to an end.
        """
        if not self._done.wait(OPENING):
            raise CommandTimeout(f"no tunnel within {OPENING:g} s (airplay)")
        if self._error is not None:
            raise self._error

    def info(self, timeout: float | None = None) -> dict[str, Any]:
        """What the device says of itself.

        Raises:
            As :meth:`~tinyatv.backends.airplay_session.ControlConnection.http`.
        """
        return self._control.info(timeout)

    def introduction(self) -> Introduction:
        """What the device says of itself, if only that it says nothing.

        Raises:
            ConnectionLost: The connection is gone.
            CommandTimeout: It does not answer.
        """
        try:
            return introduction(self.info())
        except (CommandFailed, CredentialsError, NotSupported):
            return Introduction({})

    def close(self) -> None:
        """Close everything, and join all readers."""
        if not self._done.is_set():  # and will never be opened
            self._error = self._error or ConnectionLost("the tunnel was closed (airplay)")
            self._done.set()
        self._control.close()

    def _session(self) -> dict[str, Any]:
        mac = own_mac(self.client_id)
        return {
            "isRemoteControlOnly": True,  # does not interrupt what is playing
            "timingProtocol": "None",
            "osName": "iPhone OS",
            "osVersion": "14.7.1",
            "osBuildVersion": "18G82",
            "sourceVersion": "550.10",
            "model": "iPhone10,6",
            "deviceID": mac,
            "macAddress": mac,
            "sessionUUID": new_uuid(),
            "name": "tinyatv",
        }


def _data_port(answer: Any) -> int:
    try:
        port: int = answer["streams"][0]["dataPort"]
        if 0 < port < 65536:
            return port
    except (KeyError, IndexError, TypeError):
        pass
    raise ProtocolError("SETUP: the device names no data port (airplay)")
