"""A small MRP client of the tests' own: a bare socket, the wire, and nothing that helps."""

from __future__ import annotations

import select
import socket

from tinyatv import proto
from tinyatv.pairing import hap
from tinyatv.pairing.credentials import parse
from tinyatv.pairing.hap_verify import hap_verify
from tinyatv.proto import build
from tinyatv.wire import hid
from tinyatv.wire.mrp import MrpWire

WAIT = 20.0  # s; a deadline for things that take milliseconds
FLAGS = ("artworkUpdates", "volumeUpdates", "keyboardUpdates", "outputDeviceUpdates")


class Remote:
    """Connects to a device; `events` is what came unasked."""

    def __init__(self, tv, bytewise=False):
        self.tv = tv
        self.sock = socket.create_connection(("127.0.0.1", tv.ports["mrp"]), WAIT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = MrpWire(proto.dumps, proto.parse, proto.key)
        self.events = []
        self._bytewise = bytewise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    # -- one message ---------------------------------------------------------------------------

    def write(self, data):
        for piece in [bytes([b]) for b in data] if self._bytewise else [data]:
            self.sock.sendall(piece)

    def send(self, kind, identifier="", **fields):
        self.write(self.wire.encode(build(kind, identifier, **fields)))

    def read(self):
        """The next message, whatever it is."""
        while True:
            message = self.wire.next_message()
            if message is not None:
                return message
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("the device closed the connection")
            self.wire.feed(data)

    def ask(self, kind, **fields):
        """Send a request; its answer. What came before goes to the events."""
        identifier = proto.new_id()
        self.send(kind, identifier, **fields)
        while True:
            message = self.read()
            if message.identifier == identifier:
                return message
            self.events.append(message)

    def news(self):
        """What came unasked until now."""
        self.ask(proto.GENERIC)
        events, self.events = self.events, []
        return events

    def is_silent(self):
        """Nothing comes for a moment."""
        return self.wire.next_message() is None and not select.select([self.sock], [], [], 0.1)[0]

    def is_closed(self):
        """The device ends the connection."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    # -- more than one -------------------------------------------------------------------------

    def hello(self):
        info = self.ask(proto.DEVICE_INFO, uniqueIdentifier=proto.new_id(), name="test")
        assert info.kind == proto.DEVICE_INFO
        return info.body

    def listen(self, *flags):
        """Ask to be told; returns what is told at once. Without flags, ask for everything."""
        config = dict.fromkeys(flags or FLAGS, True)
        done = self.ask(proto.CLIENT_UPDATES_CONFIG, nowPlayingUpdates=False, **config)
        assert (done.kind, done.body) == (proto.UNKNOWN, None)
        events, self.events = self.events, []
        return events

    def ready(self):
        self.hello()
        self.listen()
        return self

    def exchange(self, data):
        """One step of a pairing."""
        self.send(proto.CRYPTO_PAIRING, pairingData=data, status=0, state=0)
        while True:
            message = self.read()
            if message.kind == proto.CRYPTO_PAIRING:
                assert message.identifier == ""
                return message.body.pairingData
            self.events.append(message)

    def verify(self, credentials=None):
        """Prove who we are and encrypt from here on."""
        from tinyatv.crypto.chacha20poly1305 import Session

        text = credentials or self.tv.credentials["mrp"]
        secret = hap.drive(hap_verify(parse(text)), self.exchange)
        ours, theirs = hap.channel_keys(secret, "mrp")
        self.wire.secure(Session(ours, theirs))
        return self

    def command(self, number, **options):
        """Send a command; (error, what its handler says)."""
        fields = {"options": options} if options else {}
        result = self.ask(proto.SEND_COMMAND, command=number, **fields)
        assert result.kind == proto.SEND_COMMAND_RESULT
        return result.body.sendError, result.body.handlerReturnStatus

    def edge(self, button, down):
        data = hid.event(*hid.USAGE[button], down)
        self.send(proto.SEND_HID_EVENT, hidEventData=data)

    def tap(self, button):
        self.edge(button, True)
        self.edge(button, False)
