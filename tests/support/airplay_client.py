"""A small AirPlay client of the tests' own: bare sockets, the wires, and nothing that helps."""

from __future__ import annotations

import plistlib
import socket
import struct
import threading
import time

from tests.support.mrp_client import WAIT, Remote
from tinyatv import proto
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.pairing import hap
from tinyatv.pairing.credentials import parse
from tinyatv.pairing.hap_setup import hap_setup, hap_transient
from tinyatv.pairing.hap_verify import hap_verify
from tinyatv.pairing.legacy import legacy_setup, legacy_verify
from tinyatv.wire.datastream import DataStreamWire
from tinyatv.wire.hap import HapWire
from tinyatv.wire.http import HttpWire, Request, Response

MEDIA_REMOTE = "1910A70F-DBC0-4242-AF95-115DB30604E1"
PLAY_QUEUE = "A6B27562-B43A-4F2D-B75F-82391E250194"
SESSION = "C9646F97-7B3D-46DA-9F92-332ED10EC258"
REMOTE = {
    "isRemoteControlOnly": True, "timingProtocol": "None", "sessionUUID": SESSION,
    "deviceID": "FF:70:79:61:74:76", "macAddress": "02:70:79:61:74:76", "name": "test",
}  # fmt: skip
PTP = {
    "sessionUUID": SESSION, "deviceID": "02:00:00:00:00:01", "name": "test",
    "timingProtocol": "PTP", "timingPeerInfo": {"ID": SESSION, "Addresses": ["127.0.0.1"]},
}  # fmt: skip
URI = "rtsp://127.0.0.1/308968656"


def bplist(content):
    return plistlib.dumps(content, fmt=plistlib.FMT_BINARY)


class Channel:
    """A socket with a wire."""

    def __init__(self, port, wire):
        self.sock = socket.create_connection(("127.0.0.1", port), WAIT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = wire

    def send(self, message):
        self.sock.sendall(self.wire.encode(message))

    def read(self):
        while True:
            message = self.wire.next_message()
            replies = self.wire.pending_replies()
            if replies:
                self.sock.sendall(replies)
            if message is not None:
                return message
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("the device closed the connection")
            self.wire.feed(data)

    def is_closed(self):
        """The device ends the connection."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            pass
        return True


class Events(Channel):
    """The event channel, the client's end."""

    def command(self):
        """The next thing that is pushed, its CSeq; not answered."""
        request = self.read()
        assert (request.method, request.path, request.protocol) == (
            "POST", "/command", "RTSP/1.0",
        )  # fmt: skip
        return plistlib.loads(request.body), request.header("CSeq")

    def answer(self, cseq, code=200):
        headers = [("Audio-Latency", "0"), ("CSeq", cseq)]
        self.send(Response(code, headers=headers, protocol="RTSP/1.0"))

    def next(self):
        """The next thing that is pushed, answered, and unpacked if it is twice a list."""
        content, cseq = self.command()
        self.answer(cseq)
        return plistlib.loads(content["params"]["data"]) if "params" in content else content


class Tunnel(Remote):
    """MRP on a data stream."""

    def __init__(self, port, wire, bytewise=False):
        self.sock = socket.create_connection(("127.0.0.1", port), WAIT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = wire
        self.events = []
        self.replies = True
        self._bytewise = bytewise

    def read(self):
        while True:
            message = self.wire.next_message()
            replies = self.wire.pending_replies()
            if replies and self.replies:
                self.write(replies)
            if message is not None:
                return message
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("the device closed the connection")
            self.wire.feed(data)


class Clock:
    """A timing server."""

    def __init__(self, offset=0.0):
        self.asked = []
        self._offset = offset
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.port = self._sock.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="tinyatv-test-clock", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._sock.close()

    def _run(self):
        while True:
            data, peer = self._sock.recvfrom(100)
            if not data:
                return
            self.asked.append(data)
            now = int((time.time() + self._offset + 2208988800) * (1 << 32))
            head = struct.pack(">BBHI", data[0], 0xD3, 7, 0)
            self._sock.sendto(head + data[24:32] + 2 * struct.pack(">Q", now), peer)


class Controller(Channel):
    """A control connection."""

    def __init__(self, airplay):
        super().__init__(airplay.port, HapWire(HttpWire()))
        self.airplay = airplay
        self.secret = None
        self.cseq = 0
        self.channels = [self]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for channel in self.channels:
            channel.sock.close()

    # -- one request ---------------------------------------------------------------------------

    def post(self, method, path, body=b"", headers=(), protocol="HTTP/1.1"):
        """Send a request."""
        body = bplist(body) if isinstance(body, dict) else body
        headers = list(headers)
        if protocol == "RTSP/1.0":
            headers.append(("CSeq", str(self.cseq)))
            self.cseq += 1
        self.send(Request(method, path, headers, body, protocol))

    def ask(self, method, path, body=b"", headers=(), protocol="HTTP/1.1"):
        """Send a request; its answer."""
        self.post(method, path, body, headers, protocol)
        response = self.read()
        assert response.header("Server").startswith("AirTunes/")
        if protocol == "RTSP/1.0":
            assert response.header("CSeq") == str(self.cseq - 1)
        return response

    def rtsp(self, method, body=b"", path=URI):
        return self.ask(method, path, body, protocol="RTSP/1.0")

    def code(self, *arguments, **more):
        return self.ask(*arguments, **more).code

    def content(self, *arguments, **more):
        """The property list of an answer."""
        response = self.ask(*arguments, **more)
        assert response.code == 200
        return plistlib.loads(response.body)

    # -- pairing -------------------------------------------------------------------------------

    def exchange(self, path, kind, headers=()):
        """A function for one step of a pairing."""

        def step(data):
            response = self.ask(
                "POST", path, data, [*([("X-Apple-HKP", kind)] if kind else []), *headers]
            )
            if response.code != 200:
                raise Refused(response.code)
            return response.body

        return step

    def _secure(self, secret):
        self.secret = secret
        ours, theirs = hap.channel_keys(secret, "control")
        self.wire.secure(Session(ours, theirs))
        return self

    def verify(self, credentials):
        credentials = parse(credentials) if isinstance(credentials, str) else credentials
        return self._secure(hap.drive(hap_verify(credentials), self.exchange("/pair-verify", "3")))

    def transient(self):
        return self._secure(hap.drive(hap_transient(), self.exchange("/pair-setup", "4")))

    def pair(self, pin, client=b"4D797FD3-3538-427E-A47B-A32FC6CF3A6A", headers=()):
        assert self.code("POST", "/pair-pin-start", headers=headers) == 200
        return hap.drive(
            hap_setup(hap.Identity(client), pin), self.exchange("/pair-setup", "3", headers)
        )

    def pair_legacy(self, pin, client=b"\x01\x23\x45\x67\x89\xab\xcd\xef"):
        assert self.code("POST", "/pair-pin-start") == 200
        return hap.drive(legacy_setup(client, pin), self.exchange("/pair-setup-pin", None))

    def verify_legacy(self, credentials):
        key = self.airplay.accessory.identity.public
        hap.drive(legacy_verify(credentials, device_key=key), self.exchange("/pair-verify", None))
        return self

    # -- sessions ------------------------------------------------------------------------------

    def channel(self, kind, seed=None):
        ours, theirs = hap.channel_keys(self.secret, kind, seed)
        return Session(ours, theirs)

    def connect_events(self, port):
        wire = HapWire(HttpWire())
        wire.secure(self.channel("events"))
        events = Events(port, wire)
        self.channels.append(events)
        return events

    def begin(self, session=REMOTE):
        """SETUP, the event channel, RECORD, and updateInfo."""
        response = self.rtsp("SETUP", session)
        assert response.code == 200
        self.events = self.connect_events(plistlib.loads(response.body)["eventPort"])
        response = self.rtsp("RECORD")
        assert (response.code, response.header("Audio-Latency")) == (200, "0")
        if not self.airplay.quirks.no_events:
            self.info = self.events.next()
            assert self.info["type"] == "updateInfo"
        return self

    def stream(self, **changes):
        fields = {
            "type": 130, "controlType": 2, "channelID": SESSION, "clientUUID": SESSION,
            "clientTypeUUID": MEDIA_REMOTE, "seed": 15014746994705656022,
            "wantsDedicatedSocket": True, **changes,
        }  # fmt: skip
        fields = {name: value for name, value in fields.items() if value is not None}
        return self.rtsp("SETUP", {"streams": [fields]})

    def tunnel(self, seed=15014746994705656022, bytewise=False):
        """The data stream."""
        response = self.stream(seed=seed)
        assert response.code == 200
        stream = plistlib.loads(response.body)["streams"][0]
        assert stream["type"] == 130
        wire = HapWire(DataStreamWire(proto.dumps, proto.parse, proto.key))
        wire.secure(self.channel("datastream", seed))
        tunnel = Tunnel(stream["dataPort"], wire, bytewise)
        self.channels.append(tunnel)
        return tunnel

    def queue(self):
        """Unlock /command; its stream."""
        response = self.stream(
            controlType=1, clientTypeUUID=PLAY_QUEUE, seed=None, wantsDedicatedSocket=None
        )
        assert response.code == 200
        stream = plistlib.loads(response.body)["streams"][0]
        assert "dataPort" not in stream
        self.stream_id = stream["streamID"]
        return self

    def command(self, _type, **fields):
        """Send a command to play; its status."""
        headers = [
            ("X-Apple-ProtocolVersion", "1"), ("X-Apple-Session-ID", SESSION),
            ("X-Apple-StreamID", str(self.stream_id)),
        ]  # fmt: skip
        body = {"params": {"data": bplist({"type": _type, **fields})}}
        return self.code("POST", "/command", body, headers)


class Refused(Exception):
    """The device answered with a status."""

    @property
    def code(self):
        return self.args[0]
