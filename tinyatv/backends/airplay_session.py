"""A control connection of AirPlay: HTTP and RTSP mixed, sealed once both ends are verified.

connect, verify                    everything after it is sealed
SETUP                              -> port of the event channel, on which the device asks us
RECORD
then whatever the session is for: the tunnel of MRP, or playing a URL
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from ..addresses import as_list, far_end, own_end, reached, url_host
from ..crypto.chacha20poly1305 import Session as Ciphers
from ..errors import (
    AppleTVError,
    CommandFailed,
    CommandTimeout,
    ConnectionFailed,
    ConnectionLost,
    CredentialsError,
    NotSupported,
    PairingBackOff,
    PairingError,
    ProtocolError,
)
from ..identity import Introduction
from ..link import Link, cause_of, lost, open_socket, reason
from ..pairing.credentials import Credentials
from ..pairing.hap import channel_keys, drive
from ..wire import plist
from ..wire.airplay_codes import AUTHORIZE, BUSY, HAS_PASSWORD, OCTETS, PLIST, WRONG_STATE
from ..wire.hap import HapWire
from ..wire.http import BODY_LIMIT, FIRST_LIMIT, HttpWire, Request, Response

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

WAKE_TIMEOUT = 25.0  # s; a sleeping device accepts its first connection after up to 20 s
AWAKE = 1.0  # s that a device has at least for an answer that has begun
ANSWER_TIMEOUT = 10.0  # s; of an answer, unless the user waits longer
FEEDBACK = 2.0  # s without a message until /feedback is sent: the interval that senders keep
FEEDBACK_EVERY = 15.0  # s, at most, until the next one if one is not answered
MAX_MISSED = 2  # unanswered /feedback requests until the device is given up
EVENT_TRIES = 5  # 1 s apart: slow third-party receivers open the event port late

USER_AGENT = "AirPlay/550.10"  # an iPhone with iOS 14.7
PAIRING_AGENT = "AirPlay/320.20"  # captured: what senders say while they pair and verify

USERS = {"raop": "iTunes"}  # realm: what its senders call themselves; all else is free
REFUSALS = {  # status: what it means
    400: "the device does not accept the request in this form",
    403: "the device does not accept this client",
    404: "the device does not know how",
    BUSY: "busy: another sender is playing there",
    WRONG_STATE: "not possible in this state",
    501: "the device does not know how",
    503: "the device is not ready",
    520: "the device refuses; restart it, or take it out of its group",  # HomePods in groups
}


class ControlConnection:
    """One control connection.

    Args:
        hosts: Its address, or all of them, best first.
        port: AirPlay port.
        credentials: How to verify each other; of kind null, nothing is verified or sealed.
        timeout: Seconds that an answer may take, at least.
        password: Of the device, or None.
        requires_password: True if the device announces that it has one.
        device_key: The device's public key, which it announces; legacy pairing has no other way to
            know it.
        lost: Called once, on any thread, when the connection is gone by itself.
        prepare: Work to be done ahead, as a link does it; None prepares what is sealed.
        protocol: What it is used for, in errors and names of threads.
        check: Called every 0.1 s while the connection is made; what it raises ends it.
        sealed: False if everything stays in clear even once it is verified.

    Attributes:
        lost: As given; it may come later.
        number: Of the session.
        secret: Where the keys of the channels come from, once verified; None in clear.
        address: The one of `hosts` that it is connected to; before that, the first.
        local: Our address, as the device sees it.
        remote: Its address; it differs from `address` if that is a host name.
    """

    def __init__(
        self,
        hosts: str | Sequence[str],
        port: int,
        credentials: Credentials,
        *,
        timeout: float = ANSWER_TIMEOUT,
        password: str | None = None,
        requires_password: bool = False,
        device_key: bytes | None = None,
        lost: Callable[[AppleTVError], object] | None = None,
        prepare: Callable[[], bool | None] | None = None,
        check: Callable[[], object] | None = None,
        protocol: str = "airplay",
        sealed: bool = True,
    ) -> None:
        self._hosts = as_list(hosts)
        self.address = next(iter(self._hosts), "")
        self._port = port
        self._protocol = protocol
        self._sealed = sealed
        self._credentials = credentials
        self._timeout = max(timeout, ANSWER_TIMEOUT)
        self._awake = max(timeout, AWAKE)
        self._password = password
        self._requires_password = requires_password
        self._device_key = device_key
        self.lost = lost
        self._prepare = prepare
        self._check = check
        self._link: Link | None = None
        self._events: Link | None = None
        self._event: Callable[[Request], object] | None = None
        self._asking = threading.RLock()
        self._challenge: tuple[str, str] | None = None  # realm and nonce
        self._cseq = 0
        self._feeding = False
        self._ended = False
        self._over = threading.Event()
        self._dacp_id = secrets.token_hex(8).upper()
        self._active_remote = str(secrets.randbits(32))
        self.number = secrets.randbits(32)
        self.secret: bytes | None = None
        self.local = self.remote = ""

    @property
    def _where(self) -> str:
        return f"{self.address} port {self._port} ({self._protocol})"

    @property
    def label(self) -> str:
        return f"{self.address} ({self._protocol})"

    # -- life ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and verify each other. Blocks up to 25 s while a device wakes up.

        Raises:
            ConnectionFailed: It cannot be reached, or hangs up.
            CredentialsError: It does not accept the credentials, or wants some.
            ProtocolError: It answers with nonsense.
        """
        timeout = max(self._timeout, WAKE_TIMEOUT)
        sock = open_socket(self._hosts, self._port, timeout, self._protocol, check=self._check)
        try:
            self.local, self.remote = own_end(sock), far_end(sock)
        except OSError as exc:
            sock.close()
            raise ConnectionFailed(f"{self._where} hung up at once: {reason(exc)}") from exc
        self.address = reached(sock, self._hosts)
        http = HttpWire(FIRST_LIMIT)
        wire = HapWire(http)
        self._link = Link(
            sock, wire, lambda message: None, lost=self._ended_by, timeout=self._timeout,
            name=f"tinyatv-{self._protocol}-{self.address}", label=self.label,
            prepare=self._prepare or wire.prepare,
            idle=self._idle, idle_after=FEEDBACK, idle_every=min(FEEDBACK_EVERY, self._timeout),
        )  # fmt: skip
        try:
            self._verify()
            if self.secret is not None and self._sealed:
                wire.secure(Ciphers(*channel_keys(self.secret, "control")))
                http.limit = BODY_LIMIT
            self._link.start()
        except ConnectionLost as exc:
            self.close()
            cause = cause_of(exc, self.label)
            raise ConnectionFailed(f"{self._where} hung up: {cause}") from exc
        except BaseException:
            self.close()
            raise

    def _verify(self) -> None:
        kind = self._credentials.kind
        if kind == "hap":
            from ..pairing.hap_verify import hap_verify

            steps = hap_verify(self._credentials)
            self.secret = drive(steps, lambda data: self._pairing("/pair-verify", data, "3"))
        elif kind == "transient":
            self.secret = self._pair_transiently()
        elif kind == "legacy":
            from ..pairing.legacy import legacy_verify

            verify = legacy_verify(self._credentials, device_key=self._device_key)
            drive(verify, lambda data: self._pairing("/pair-verify", data, None))

    def _pair_transiently(self) -> bytes:
        """Pair without a PIN; the password takes its place, if the device has one.

        What is certain to be wrong is not tried: devices may want a pause after it.
        """
        from ..pairing.hap_setup import hap_transient

        if self._password is None and self._requires_password:
            raise self._password_error()
        steps = hap_transient(self._password)
        try:
            return drive(steps, lambda data: self._pairing("/pair-setup", data, "4"))
        except PairingBackOff as exc:
            if self._has_password():
                text = f"{exc}; then with the right password: {self._password_flag}"
                raise PairingBackOff(text, exc.seconds) from exc
            raise
        except (PairingError, CommandFailed, CredentialsError, NotSupported) as exc:
            # Seen: status 500 or 520, of HomePods with a password.
            if getattr(exc, "wrong_pin", False):
                raise self._password_error() from exc
            if self._has_password():
                raise self._password_error(f" ({exc})") from exc
            raise

    def _has_password(self) -> bool:
        """Whether the device says that it has one; its record may not be known, or an old one."""
        if not self._requires_password:
            try:
                flags = self.info().get("statusFlags")
            except (AppleTVError, ValueError) as exc:
                log.debug("no /info: %s", exc)
                return False
            self._requires_password = isinstance(flags, int) and bool(flags & HAS_PASSWORD)
        return self._requires_password

    @property
    def _password_flag(self) -> str:
        return f"give it with --{self._protocol}-password, or as Service.password"

    def _password_error(self, why: str = "") -> CredentialsError:
        does = "does not accept the password" if self._password else "wants a password"
        return CredentialsError(f"{self._where}: the device {does}{why}: {self._password_flag}")

    def _pairing(self, path: str, data: bytes, kind: str | None) -> bytes:
        headers = [("User-Agent", PAIRING_AGENT), ("Connection", "keep-alive")]
        if kind is not None:
            headers.append(("X-Apple-HKP", kind))
        return self.http("POST", path, data, headers, content_type=OCTETS).body

    def close(self) -> None:
        """Close it and the event channel, and join their readers."""
        self._ended = True
        self._over.set()
        for link in (self._events, self._link):
            if link is not None:
                link.close()

    def _ended_by(self, error: AppleTVError | None) -> None:
        self._over.set()
        if error is None or self._ended:
            return
        self._ended = True
        if self.lost is not None:
            self.lost(self.loss(error))

    def loss(self, error: AppleTVError) -> ConnectionLost:
        """What ended the link, as an error that names the device."""
        return lost(self.label, error)

    def start_feedback(self) -> None:
        """Send ``/feedback`` from here on: the keep-alive of a session."""
        self._feeding = True

    def _idle(self, times: int) -> bool:
        if not self._feeding:
            return False
        if times > MAX_MISSED:
            error = ConnectionLost(f"{self.label}: it does not answer any more")
            self._ended_by(error)  # first: it closes the other channels when this one closes
            raise error
        assert self._link is not None, "there is a link, for it calls us"
        self._link.send(self._rtsp_request("POST", "/feedback", b"", None), answered=True)
        return True

    # -- requests --------------------------------------------------------------------------------

    def http(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: list[tuple[str, str]] | None = None,
        *,
        content_type: str | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send an HTTP request; the answer has a status below 400.

        Raises:
            CredentialsError: The device wants credentials, or does not accept ours.
            CommandFailed: It refuses; ``code`` is the status.
            NotSupported: It does not know how.
            CommandTimeout: No answer in time.
        """
        sent = list(headers or [])
        if content_type is not None:
            sent.append(("Content-Type", content_type))
        return self._ask(Request(method, path, sent, body), path, timeout)

    def rtsp(
        self,
        method: str,
        path: str | None = None,
        content: Any = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Send an RTSP request; returns the property list of the answer, {} if it has none.

        Args:
            path: None is the session itself.
            content: For a property list as the body.

        Raises:
            As :meth:`http`.
        """
        body = b"" if content is None else plist.dumps(content)
        uri = f"rtsp://{url_host(self.local)}/{self.number}" if path is None else path
        request = self._rtsp_request(method, uri, body, PLIST if body else None)
        return read_plist(self._ask(request, path or method, timeout).body)

    def about_session(
        self, method: str, body: bytes = b"", content_type: str | None = None,
        headers: Sequence[tuple[str, str]] = (), *, path: str | None = None,
        timeout: float | None = None,
    ) -> Response:  # fmt: skip
        """Send an RTSP request whose body is no property list.

        Args:
            path: None is the session itself.

        Raises:
            As :meth:`http`.
        """
        uri = f"rtsp://{self.local}/{self.number}" if path is None else path
        request = self._rtsp_request(method, uri, body, content_type)
        request.headers += headers
        return self._ask(request, path if path and path != "*" else method, timeout)

    def info(self, timeout: float | None = None) -> dict[str, Any]:
        """What the device says of itself, which needs no credentials; {} if that is nothing.

        Raises:
            As :meth:`http`.
        """
        try:
            answer = self.rtsp("GET", "/info", timeout=timeout)
        except (CommandFailed, NotSupported):
            if self._credentials.kind in ("hap", "transient"):
                raise
            # What AirPlay 1 has instead; its keys differ.
            answer = read_plist(self.http("GET", "/server-info", timeout=timeout).body)
            if isinstance(answer, dict):
                answer.setdefault("deviceID", answer.get("deviceid"))
        return answer if isinstance(answer, dict) else {}

    def forward(self, request: Request, timeout: float | None = None) -> Response:
        """Send a request as it is, and return the answer as it is, be it a refusal.

        Raises:
            CommandTimeout: No answer in time.
            ConnectionLost: The connection is gone.
            ProtocolError: The device answers with nonsense.
        """
        return self._exchange(request, request.path, timeout)

    def _rtsp_request(
        self, method: str, uri: str, body: bytes, content_type: str | None
    ) -> Request:
        headers = [("User-Agent", USER_AGENT)]
        if content_type is not None:
            headers.append(("Content-Type", content_type))
        headers += [
            ("CSeq", str(self._cseq)),
            ("DACP-ID", self._dacp_id),
            ("Active-Remote", self._active_remote),
            ("Client-Instance", self._dacp_id),
        ]
        self._cseq += 1
        return Request(method, uri, headers, body, "RTSP/1.0")

    def _ask(self, request: Request, what: str, timeout: float | None) -> Response:
        return self._checked(self._exchange(request, what, timeout), what)

    def _exchange(self, request: Request, what: str, timeout: float | None) -> Response:
        """One at a time: devices answer in order, whatever CSeq says."""
        if self._link is None:
            raise ConnectionLost(f"{self._where}: not connected")
        seconds = self._timeout if timeout is None else timeout
        with self._asking:
            for again in (False, True):
                self._authorize(request)
                try:
                    # Some answers take long to begin; once they have, they are as quick as all.
                    usual = min(seconds, self._awake)
                    response: Response = self._link.request(request, usual, silent=seconds)
                except CommandTimeout as exc:
                    raise CommandTimeout(
                        f"no reply to {what} within {exc.seconds or seconds:g} s ({self._protocol})"
                    ) from exc
                if response.code != 401 or again or not self._challenged(response):
                    break
        return response

    def _authorize(self, request: Request) -> None:
        if self._challenge is None or self._password is None:
            return
        from ..pairing.digest import authorization

        realm, nonce = self._challenge
        user = USERS.get(realm, "tinyatv")
        proof = authorization(user, self._password, realm, nonce, request.method, request.path)
        request.headers = [h for h in request.headers if h[0] != "Authorization"]
        request.headers.append(("Authorization", proof))

    def _challenged(self, response: Response) -> bool:
        from ..pairing.digest import parse_challenge

        self._challenge = parse_challenge(response.header("WWW-Authenticate") or "")
        return self._challenge is not None and self._password is not None

    def _checked(self, response: Response, what: str) -> Response:
        code = response.code
        if code < 400:
            return response
        if code == 401:
            does = "does not accept the password" if self._password else "wants a password"
            text = f"{what}: the device {does}: {self._password_flag}"
            raise CredentialsError(text, refused=True)
        if code in (403, AUTHORIZE):
            if self._credentials.kind in ("hap", "legacy"):
                raise CredentialsError(
                    f"{what}: the device does not accept the credentials any more: pair again",
                    refused=True,
                )
            raise CredentialsError(
                f"{what}: the device wants to be paired, or only lets people of its home in"
                " (Settings > AirPlay and HomeKit)",
                refused=True,
            )
        text = REFUSALS.get(code, "the device refuses")
        if code == 501:
            raise NotSupported(f"{what}: {text} (status {code}, {self._protocol})")
        raise CommandFailed(f"{what}: {text} (status {code}, {self._protocol})", what, code)

    # -- the session -----------------------------------------------------------------------------

    def set_up(
        self,
        session: dict[str, Any],
        event: Callable[[Request], object] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Begin a session, open its event channel, and start it.

        Args:
            session: What it is for.
            event: Called with each request of the device, on a reader thread; it is answered
                already.

        Returns:
            What the device says of it.
        """
        self._event = event
        answer: dict[str, Any] = self.rtsp("SETUP", None, session, timeout=timeout)
        port = answer.get("eventPort") if isinstance(answer, dict) else None
        if not isinstance(port, int) or not 0 < port < 65536:
            raise ProtocolError("SETUP: the device names no event port (airplay)")
        # The event channel comes before RECORD: from there on the device uses it.
        self._events = self._channel(port, "events", HapWire(HttpWire()), self._answer)
        self._events.start()
        self.rtsp("RECORD")
        return answer

    def channel_socket(self, port: int) -> socket.socket:
        """Connect to another port of the device, which may open a little late.

        Raises:
            ConnectionFailed: It does not open.
            ConnectionLost: The control connection has ended meanwhile.
        """
        for left in reversed(range(EVENT_TRIES)):
            try:
                return open_socket(self.remote, port, 5.0, "airplay")
            except ConnectionFailed as exc:
                if not left or not isinstance(exc.__cause__, ConnectionRefusedError):
                    raise
                if self._over.wait(1.0):
                    raise ConnectionLost(f"{self._where} hung up") from exc
        raise AssertionError("the last try raises")

    def _channel(
        self, port: int, kind: str, wire: HapWire, received: Callable[[Any], object]
    ) -> Link:
        assert self.secret is not None, "a session needs keys"
        wire.secure(Ciphers(*channel_keys(self.secret, kind)))
        return Link(
            self.channel_socket(port), wire, received, lost=self._ended_by, timeout=self._timeout,
            name=f"tinyatv-airplay-{kind}-{self.address}", label=self.label, prepare=wire.prepare,
        )  # fmt: skip

    def _answer(self, request: Request) -> None:
        """The device asks. It closes a session whose requests stay unanswered for 30 s."""
        headers = [("Audio-Latency", "0")]
        headers += [(k, v) for k, v in request.headers if k.lower() in ("cseq", "server")]
        assert self._events is not None, "there is a link, for it calls us"
        try:
            self._events.send(Response(200, headers=headers, protocol=request.protocol))
        except ConnectionLost:
            return  # closed meanwhile
        if self._event is not None:
            self._event(request)


def introduction(info: dict[str, Any]) -> Introduction:
    """What ``/info`` says of a device."""
    return Introduction(
        {"airplay": info.get("deviceID")}, more=[info.get("macAddress")],
        name=info.get("name"), model=info.get("model"), version=info.get("osVersion"),
        build=info.get("osBuildVersion"),
    )  # fmt: skip


def introduction_at(hosts: str | Sequence[str], port: int, timeout: float) -> Introduction | None:
    """What the device at an address says of itself; None if it does not answer, or tells nothing.

    Args:
        hosts: Its address, or all that it may have.
        port: AirPlay port.
        timeout: Seconds that the answer may take.
    """
    control = ControlConnection(hosts, port, Credentials())
    try:
        control.open()
        told = introduction(control.info(timeout))
    except AppleTVError as exc:
        log.debug("%s port %d: no /info: %s", control.address, port, exc)
        return None
    finally:
        control.close()
    return told if told.identifiers else None


def read_plist(data: bytes) -> Any:
    """A property list in whatever form; {} if there is none.

    Raises:
        ProtocolError: Malformed.
    """
    if not data.strip():
        return {}
    try:
        return plist.loads(data)
    except ValueError as exc:
        raise ProtocolError(str(exc), data[:256]) from exc


def new_uuid() -> str:
    """A random UUID in upper case."""
    import uuid

    return str(uuid.uuid4()).upper()
