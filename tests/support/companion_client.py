"""A small Companion client of the tests' own: a bare socket, the wire, and nothing that helps."""

from __future__ import annotations

import plistlib
import select
import socket

from tests.support.mrp_client import WAIT
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.pairing import hap
from tinyatv.pairing.credentials import parse
from tinyatv.pairing.hap_setup import hap_setup
from tinyatv.pairing.hap_verify import hap_verify
from tinyatv.wire.companion import (
    EVENT,
    OPACK,
    REPLY,
    REQUEST,
    SETUP_NEXT,
    SETUP_START,
    VERIFY_NEXT,
    VERIFY_START,
    CompanionWire,
)

SERVICE = "com.apple.tvremoteservices"
NUMBER = 0x1E240  # of our sessions


class Remote:
    """Connects to a device; `events` is what came unasked."""

    def __init__(self, tv, bytewise=False):
        self.tv = tv
        self.sock = socket.create_connection(("127.0.0.1", tv.ports["companion"]), WAIT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = CompanionWire()
        self.events = []
        self.number = 1000
        self._bytewise = bytewise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    # -- one message ---------------------------------------------------------------------------

    def write(self, data):
        for piece in [bytes([b]) for b in data] if self._bytewise else [data]:
            self.sock.sendall(piece)

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

    def send(self, name, content=None, kind=REQUEST):
        """Send a request or an event; its number."""
        self.number += 1
        message = {"_i": name, "_t": kind, "_c": content or {}, "_x": self.number}
        self.write(self.wire.encode((OPACK, message)))
        return self.number

    def tell(self, name, content):
        self.send(name, content, EVENT)

    def reply(self, number):
        """The answer to a request. What came before goes to the events."""
        while True:
            kind, message = self.read()
            assert kind == OPACK
            if message.get("_t") == REPLY and message.get("_x") == number:
                return message
            self.events.append(message)

    def ask(self, name, content=None):
        """Send a request; the content of its answer."""
        message = self.reply(self.send(name, content))
        if "_em" in message:
            raise Refused(message["_ec"], message["_em"])
        assert set(message) == {"_c", "_t", "_x"}
        return message["_c"]

    def news(self):
        """(name, content) of what came unasked until now."""
        self.ask("_ping")
        events, self.events = self.events, []
        return [(event["_i"], event["_c"]) for event in events]

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

    def exchange(self, start, follows, mark):
        """A function for one step of a handshake."""
        kinds = [start]

        def step(data):
            kind = kinds.pop() if kinds else follows
            more = mark if kind == start or start == SETUP_START else {}
            self.write(self.wire.encode((kind, {"_pd": data, **more})))
            found, message = self.read()
            assert found == follows
            if "_pd" not in message:
                raise Refused(message.get("_ec"), message.get("_em"))
            return message["_pd"]

        return step

    def pair(self, pin, client=b"4D797FD3-3538-427E-A47B-A32FC6CF3A6A"):
        steps = hap_setup(hap.Identity(client), pin)
        return hap.drive(steps, self.exchange(SETUP_START, SETUP_NEXT, {"_pwTy": 1}))

    def verify(self, credentials=None):
        """Prove who we are and encrypt from here on."""
        credentials = credentials or self.tv.credentials["companion"]
        self.client = parse(str(credentials)).client_id
        secret = hap.drive(
            hap_verify(parse(str(credentials))),
            self.exchange(VERIFY_START, VERIFY_NEXT, {"_auTy": 4}),
        )
        return self.secure(secret)

    def secure(self, secret):
        ours, theirs = hap.channel_keys(secret, "companion")
        self.wire.secure(Session(ours, theirs, wide=True))
        return self

    def introduce(self, identity="0123456789ab", **more):
        about = {"_i": identity, "_idsID": self.client, "name": "test", "_sv": "170.18", **more}
        return self.ask("_systemInfo", about)

    def begin(self):
        """A session; both numbers of it as one."""
        theirs = self.ask("_sessionStart", {"_srvT": SERVICE, "_sid": NUMBER})["_sid"]
        return theirs << 32 | NUMBER

    def ready(self, credentials=None):
        """Everything that a remote does at first."""
        self.verify(credentials)
        self.introduce()
        self.ask("_touchStart", {"_height": 1000.0, "_tFl": 0, "_width": 1000.0})
        self.session = self.begin()
        return self

    def listen(self, *names):
        """Register for events, one by one; the device knows of it when this returns."""
        for name in names:
            self.tell("_interest", {"_regEvents": [name]})
        self.ask("_ping")
        return self

    def edge(self, code, edge):
        return self.ask("_hidC", {"_hBtS": edge, "_hidC": code})

    def tap(self, code):
        assert self.edge(code, 1) == self.edge(code, 2) == {}

    def media(self, number, **more):
        return self.ask("_mcc", {"_mcc": number, **more})

    def touch(self, phase, x, y):
        self.tell("_hidT", {"_ns": 1, "_tFg": 1, "_cx": x, "_tPh": phase, "_cy": y})

    def swipe(self, *points):
        """A finger that comes down at the first point and goes up at the last."""
        for number, point in enumerate(points):
            phase = 1 if number == 0 else 4 if point is points[-1] else 3
            self.touch(phase, *point)


class Refused(Exception):
    """The device answered with an error."""

    @property
    def code(self):
        return self.args[0]


def insertion(session, text, assert_text=None):
    """The archive of what is typed; `assert_text` replaces what is there. Origin: the sheet."""
    uid = plistlib.UID
    operations = {"keyboardOutput": uid(2), "$class": uid(6), "targetSessionUUID": uid(4)}
    output = {"$class": uid(6)}
    objects = ["$null", operations, output, "", {"NS.uuidbytes": session, "$class": uid(6)}, ""]
    if text is not None:
        output["insertionText"] = uid(3)
        objects[3] = text
    if assert_text is not None:
        operations["textToAssert"] = uid(5)
        objects[5] = assert_text
    objects.append({"$classname": "NSObject", "$classes": ["NSObject"]})
    content = {
        "$version": 100000, "$archiver": "RTIKeyedArchiver",
        "$top": {"textOperations": uid(1)}, "$objects": objects,
    }  # fmt: skip
    return plistlib.dumps(content, fmt=plistlib.FMT_BINARY, sort_keys=False)


def shown(archive):
    """(session, text, the other objects) of what the device says of its text field."""
    content = plistlib.loads(archive)
    assert (content["$version"], content["$archiver"]) == (100000, "RTIKeyedArchiver")
    objects = content["$objects"]

    def resolve(item):
        return objects[item.data] if isinstance(item, plistlib.UID) else item

    session = resolve(content["$top"]["sessionUUID"])
    document = resolve(content["$top"]["documentState"])
    state = resolve(document["docSt"])
    traits = resolve(document.get("documentTraits"))
    traits = traits and {key: resolve(item) for key, item in traits.items()}
    return session, resolve(state["contextBeforeInput"]), traits
