"""What can go wrong.

    AppleTVError
     +- DeviceNotFound     (LookupError)          no such device; says what was found
     +- ConnectionFailed   (ConnectionError)      could not open
     |   +- WrongDevice                           another device answers there; .answered
     +- ConnectionLost     (ConnectionError)      was open; also after close()
     +- CommandTimeout     (TimeoutError)         no reply in time
     +- CommandFailed                             the device said no; .command .code
     +- NotSupported       (NotImplementedError)  no connected protocol serves it
     +- ProtocolError                             the peer sent invalid data; .data
     +- CredentialsError   (ValueError)           missing, malformed, not accepted any more
     +- PairingError                              wrong PIN, refused; .wrong_pin
         +- PairingBackOff                        too many tries; .seconds

Each one also is the builtin exception that a beginner would catch. Wrong arguments are plain
``ValueError``; "nothing is playing" is a value, not an error.
"""

from __future__ import annotations

import errno

_NOBODY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT)
PAIR_FIRST = "pair first, with `tinyatv wizard` or tinyatv.pair(...)"


class AppleTVError(Exception):
    """Base of all errors that this package raises on purpose.

    Attributes:
        unsent: True if it is certain that nothing was sent: trying again does nothing twice.
    """

    unsent = False


class DeviceNotFound(AppleTVError, LookupError):
    """No device answers to that name, alias, identifier or address."""


class SeveralFound(DeviceNotFound):
    """Several devices fit: waiting for another would not help."""


class ConnectionFailed(AppleTVError, ConnectionError):
    """The device could not be reached. Nothing was sent that it could have acted upon."""

    unsent = True


class WrongDevice(ConnectionFailed):
    """Another device answers at the address: addresses change hands. It was told to do nothing.

    Attributes:
        answered: Identifiers of the one that answers, as far as it tells them.
    """

    def __init__(self, message: str = "", answered: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.answered = answered


class ConnectionLost(AppleTVError, ConnectionError):
    """The connection was open and is gone, or ``close()`` was called.

    Attributes:
        closed: True if the device closed it; False if it broke, or if that is not known.
    """

    def __init__(self, message: str = "", *, closed: bool = False) -> None:
        super().__init__(message)
        self.closed = closed


class CommandTimeout(AppleTVError, TimeoutError):
    """The device did not answer in time. Whether it acted is unknown.

    Attributes:
        seconds: How long it had, if that is known.
    """

    seconds: float | None = None


class CommandFailed(AppleTVError):
    """The device refused.

    Attributes:
        command: The name of the method, for example ``"play"``.
        code: The device's own number, or None.
    """

    def __init__(self, message: str, command: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.command = command
        self.code = code


class NotSupported(AppleTVError, NotImplementedError):
    """No connected protocol can do this."""


class ProtocolError(AppleTVError):
    """The peer sent invalid data.

    Attributes:
        data: The offending bytes, or ``b""`` if they are not available.
    """

    def __init__(self, message: str, data: bytes = b"") -> None:
        super().__init__(message)
        self.data = data


class CredentialsError(AppleTVError, ValueError):
    """Credentials are missing, malformed, or not accepted any more.

    Attributes:
        refused: True if it is the device that does not accept them.
    """

    def __init__(self, message: str = "", *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


def is_elsewhere(error: AppleTVError) -> bool:
    """True if the device that was meant may have another address by now.

    That is so unless nothing was tried: whatever answers in an unexpected way may be another one.
    """
    if isinstance(error, CredentialsError):
        return error.refused
    kinds = (ConnectionFailed, CommandTimeout, CommandFailed, ProtocolError)
    return isinstance(error, kinds)


class PairingError(AppleTVError):
    """Pairing did not succeed: wrong PIN, refused, cancelled, or the PIN was not typed in time.

    Attributes:
        wrong_pin: True if the PIN that was given here is not the one that the TV shows.
        seconds: How long the device wants to be left alone, or None if it does not say.
    """

    def __init__(
        self, message: str = "", seconds: float | None = None, *, wrong_pin: bool = False
    ) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.wrong_pin = wrong_pin


class PairingBackOff(PairingError):
    """The device demands a pause after too many tries; see ``seconds``."""


def is_silence(error: AppleTVError) -> bool:
    """True for an error that says that there was no answer at all: a refusal is one."""
    import socket  # not before anything failed: the words of the program load quickly

    cause = error.__cause__
    return isinstance(cause, (TimeoutError, socket.timeout)) or (
        isinstance(cause, OSError) and cause.errno in _NOBODY
    )
