"""A device profile is one row, and so is a protocol; the virtual device knows neither by name."""

import ast
import http.client
import pathlib
import socket

import pytest

import tinyatv.virtual
from tinyatv.discovery.records import Record
from tinyatv.virtual import PROFILES, VirtualAppleTV
from tinyatv.virtual.profiles import SIDES, SideClass
from tinyatv.virtual.server import HttpServer
from tinyatv.wire.http import Response

FOLDER = pathlib.Path(tinyatv.virtual.__file__).parent
OWNERS = ("profiles.py", *(f"{name}.py" for name in SIDES))  # may write a protocol's name


class Toy:
    """Serves a protocol that no Apple TV speaks: a GET plays or pauses."""

    accepted = None

    def __init__(self, setup):
        self.setup = setup
        self.server = HttpServer(
            self.answer, lambda query: query.path[1:], setup.faults, setup.state.notify,
            setup.host, setup.port, setup.thread,
        )  # fmt: skip
        self.port = self.server.port
        self.requests = self.server.requests
        self.start, self.stop = self.server.start, self.server.stop
        self.drop_peers = self.server.drop_peers

    def answer(self, peer, query):
        getattr(self.setup.state, query.path[1:])()
        return Response(200, body=str(self.setup.profile.last_message).encode())

    def restore_from(self, before):
        self.requests[:] = before.requests

    def records(self):
        return [Record("_toy._tcp.local.", self.setup.name, self.port, self.setup.host, {})]


@pytest.fixture
def toy(monkeypatch):
    """A row for a protocol, and one for a device that speaks it."""
    monkeypatch.setitem(SIDES, "toy", SideClass(__name__, "Toy", "Toy"))
    row = PROFILES["tvos18"]._replace(protocols=("toy", "companion"), last_message=7)
    monkeypatch.setitem(PROFILES, "toybox", row)
    with VirtualAppleTV(profile="toybox") as tv:
        yield tv


def get(tv, path):
    connection = http.client.HTTPConnection("127.0.0.1", tv.ports["toy"], timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_toy_protocol_and_toy_device(toy):
    assert set(toy.ports) == {"toy", "companion"}
    assert [record.kind for record in toy.records()] == [
        "_toy._tcp.local.", "_companion-link._tcp.local.", "_device-info._tcp.local.",
    ]  # fmt: skip
    assert get(toy, "/pause") == b"7"
    assert toy.log == ["pause"]
    assert toy.requests == [("GET", "/pause")]


def test_faults_and_reboots_reach_a_toy(toy):
    toy.fail("play", status=503)
    assert get(toy, "/play") == b""
    assert toy.log == []
    toy.move()
    assert get(toy, "/play") == b"7"
    assert toy.requests == [("GET", "/play"), ("GET", "/play")]


def test_a_side_that_is_not_spoken_is_said_to_be_missing(toy):
    with pytest.raises(AttributeError, match="toybox does not speak DMAP"):
        toy.dmap  # noqa: B018


def test_ports_are_free_again_when_another_one_is_taken():
    """What was opened before is closed: nothing would do it later."""
    with VirtualAppleTV(profile="tvos14", protocols=["mrp"]) as tv:
        port = tv.ports["mrp"]
    with VirtualAppleTV(profile="tvos14", protocols=["companion"]) as tv:
        ports = {"mrp": port, "companion": tv.ports["companion"]}
        with pytest.raises(OSError, match="in use"):
            VirtualAppleTV(profile="tvos14", ports=ports)
        socket.create_server(("127.0.0.1", port)).close()


def protocol_names(source):
    """Text in a module that is the name of a protocol."""
    return [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and node.value in SIDES
    ]


@pytest.mark.parametrize(
    "path", [one for one in FOLDER.glob("*.py") if one.name not in OWNERS], ids=lambda p: p.stem
)
def test_protocols_are_named_in_their_own_modules_alone(path):
    assert protocol_names(path.read_text("utf-8")) == []


def test_names_of_protocols_are_seen():
    assert protocol_names("if name == 'mrp':\n    f({'dmap': 1})\n") == ["mrp", "dmap"]
