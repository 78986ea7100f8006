"""Proxies: what they let through, whom they let in, and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading

import pytest

import tinyatv
from tests.support.mrp_client import Remote
from tinyatv import Device, Service
from tinyatv.cli.program import main
from tinyatv.discovery import browse
from tinyatv.proxy import ProxyAppleTV, Relay, Tap
from tinyatv.trace import Record, is_trace, read
from tinyatv.virtual import VirtualAppleTV

WAIT = 10.0

KINDS = {
    # protocol: profiles of devices
    "mrp": ("tvos14",),
    "companion": ("tvos14", "tvos18", "tvos26"),
    "airplay": ("tvos15", "tvos18", "tvos26", "homepod"),
}
BOTH = [(protocol, profile) for protocol, profiles in KINDS.items() for profile in profiles]


class Watcher:
    """Keeps what a proxy shows."""

    def __init__(self):
        self.seen = []
        self.tap = Tap(self._see)
        self._came = threading.Condition()

    def _see(self, line):
        with self._came:
            self.seen.append(Record(line))
            self._came.notify_all()

    def names(self):
        with self._came:
            return [f"{'>' if r.to_device else '<'} {r.name}" for r in self.seen if not r.ended]

    def ends(self):
        with self._came:
            return [record.ended for record in self.seen if record.ended is not None]

    def wait(self, condition):
        with self._came:
            assert self._came.wait_for(condition, WAIT), [*map(str, self.names()), self.ends()]


@pytest.fixture
def watcher():
    return Watcher()


@contextlib.contextmanager
def between(protocol, profile, tap, **options):
    """A device, and a proxy to it."""
    speaks = None if profile == "homepod" else [protocol]
    with contextlib.ExitStack() as stack:
        tv = stack.enter_context(VirtualAppleTV("Den", profile=profile, protocols=speaks))
        yield tv, stack.enter_context(ProxyAppleTV(tv.device, protocol, tap, **options))


@pytest.fixture
def pair(request, watcher):
    """A device, and a proxy to it that accepts a client."""
    with between(*request.param, watcher.tap, credentials=None) as made:
        yield made


def only(protocol, profile):
    return pytest.mark.parametrize("pair", [(protocol, profile)], indirect=True)


# -- everything passes -----------------------------------------------------------------------------


@pytest.mark.parametrize("pair", BOTH, indirect=True)
def test_everything_passes(pair, watcher):
    tv, proxy = pair
    heard = queue.SimpleQueue()
    with tinyatv.connect(proxy.device) as atv:
        atv.add_listener(heard.put)
        atv.up()
        atv.pause()
        atv.set_volume(35)
        assert atv.volume() == 35
        if "mrp" in atv.protocols:
            assert atv.playing().title == "Harbour Lights"
            assert atv.artwork().data == tv.state.artwork(0, 0)
        else:
            assert next(iter(atv.apps())).name == "Music"
        tv.state.set_volume(60)  # and what the device says by itself
        while not isinstance(event := heard.get(timeout=WAIT), tinyatv.VolumeChanged) or (
            event.volume != 60
        ):
            pass
    assert tv.log[:3] == ["up", "pause", "set_volume 35"]
    watcher.wait(watcher.ends)
    names = " ".join(watcher.names())
    for word in {
        "mrp": ["SEND_HID_EVENT", "SEND_COMMAND_RESULT", "VOLUME_DID_CHANGE"],
        "companion": ["_hidC request", "_mcc request", "_iMC event"],
        "airplay": ["SETUP", "RECORD", "SEND_HID_EVENT", "SEND_COMMAND_RESULT", "/command"],
    }[proxy.protocols[0]]:
        assert word in names


@pytest.mark.parametrize(
    "pair", [("airplay", name) for name in ("airplay1", "tvos15", "tvos18", "tvos26")],
    indirect=True,
)  # fmt: skip
def test_a_film_is_played(pair, watcher, tmp_path):
    """AirPlay is more than the tunnel: all of its ways to play pass as well."""
    tv, proxy = pair
    tv.airplay.player.duration = 0.5
    film = tmp_path / "film.mp4"
    film.write_bytes(os.urandom(5000))
    with tinyatv.connect(proxy.device) as atv:
        atv.play_url(str(film)).wait(20)
    assert tv.airplay.player.body == film.read_bytes()
    assert tv.airplay.complaints == []
    names = " ".join(watcher.names())
    assert "> POST /play" in names or "> POST /command" in names


@pytest.mark.parametrize("pair", BOTH[:-1], indirect=True)
def test_pair_with_the_proxy(pair, watcher):
    tv, proxy = pair
    proxy.forget_clients()
    device = proxy.device
    for service in device.services:
        service.credentials = None
    store = tinyatv.Store(memory=True)
    with pytest.raises((tinyatv.CredentialsError, tinyatv.CommandFailed)):
        tinyatv.connect(device, store=store).close()
    paired = tinyatv.pair(device, pin=lambda: proxy.pin, store=store)
    with tinyatv.connect(paired, store=store) as atv:
        atv.up()
    assert tv.log == ["up"]
    assert len(proxy.accessory.clients) == 1
    assert tv.accessory.clients.keys().isdisjoint(proxy.accessory.clients)


@pytest.mark.parametrize("pair", BOTH, indirect=True)
def test_several_controllers(pair):
    tv, proxy = pair
    with tinyatv.connect(proxy.device) as one, tinyatv.connect(proxy.device) as other:
        one.up()
        other.menu()
        one.select()
    assert tv.log == ["up", "menu", "select"]


def test_looks_like_the_device(watcher):
    with between("airplay", "tvos18", watcher.tap) as (tv, proxy):
        theirs, ours = ({s.protocol: s for s in one.device.services}["airplay"]
                        for one in (tv, proxy))  # fmt: skip
        same = {"features", "flags", "model", "osvers", "srcvers"}
        assert {k: theirs.properties[k] for k in same} == {k: ours.properties[k] for k in same}
        for key in ("deviceid", "pi", "pk", "psi"):
            assert theirs.properties[key] != ours.properties[key]
        assert (proxy.name, proxy.device.info.model) == ("Den Proxy", tv.device.info.model)


# -- who is not let in -----------------------------------------------------------------------------


@only("mrp", "tvos14")
def test_mrp_is_not_for_strangers(pair):
    tv, proxy = pair
    before = len(tv.requests)
    with Remote(proxy) as remote:
        remote.hello()
        assert remote.ask(1, command=2).envelope.errorCode == 110
        assert remote.ask(42).envelope.errorCode == 110
    assert tv.log == []
    assert "SEND_COMMAND" not in tv.requests[before:]


@only("airplay", "tvos18")
def test_airplay_is_not_for_strangers(pair, watcher):
    tv, proxy = pair
    before = len(tv.airplay.requests)
    with socket.create_connection(("127.0.0.1", proxy.ports["airplay"]), 5) as sock:
        sock.sendall(b"SETUP rtsp://127.0.0.1/1 RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 0\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += sock.recv(1)
        assert answer.startswith(b"RTSP/1.0 470 ")
        sock.sendall(b"POST /play HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 470 ")
    assert tv.airplay.requests[before:] == []


@only("companion", "tvos18")
def test_companion_is_not_for_strangers(pair):
    tv, proxy = pair
    before = len(tv.requests)
    with socket.create_connection(("127.0.0.1", proxy.ports["companion"]), 5) as sock:
        sock.sendall(bytes.fromhex("0800001c") + bytes(28))
        assert sock.recv(100) == b""  # it hangs up
    assert tv.requests[before:] == []


# -- ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", BOTH, indirect=True)
def test_device_goes_away(pair, watcher):
    tv, proxy = pair
    heard = queue.SimpleQueue()
    with tinyatv.connect(proxy.device) as atv:
        atv.add_listener(heard.put)
        tv.stop()
        while not isinstance(heard.get(timeout=WAIT), tinyatv.Disconnected):
            pass
    watcher.wait(lambda: watcher.ends())
    assert any(one.startswith("the device has left") for one in watcher.ends())


@pytest.mark.parametrize("pair", BOTH, indirect=True)
def test_controller_goes_away(pair, watcher):
    tv, proxy = pair
    with tinyatv.connect(proxy.device) as atv:
        atv.up()
    watcher.wait(lambda: "the controller has left" in watcher.ends())
    side = {"mrp": "mrp", "companion": "companion", "airplay": "airplay"}[proxy.protocols[0]]
    assert tv.wait_for(lambda: getattr(tv, side).peers == [])


@pytest.mark.parametrize("pair", BOTH, indirect=True)
def test_proxy_stops(pair):
    _, proxy = pair
    heard = queue.SimpleQueue()
    with tinyatv.connect(proxy.device) as atv:
        atv.add_listener(heard.put)
        proxy.stop()
        proxy.stop()
        while not isinstance(heard.get(timeout=WAIT), tinyatv.Disconnected):
            pass


@pytest.mark.parametrize("pair", BOTH, indirect=True)
def test_device_is_not_there(pair, watcher):
    tv, proxy = pair
    tv.stop()
    with pytest.raises((tinyatv.ConnectionFailed, tinyatv.ConnectionLost)):
        tinyatv.AppleTV(proxy.device, timeout=3).open()  # which tries once
    watcher.wait(watcher.ends)
    assert any("cannot connect to 127.0.0.1" in one for one in watcher.ends())


@pytest.mark.parametrize("pair", BOTH[:-1], indirect=True)
def test_device_has_forgotten_us(pair, watcher):
    tv, proxy = pair
    tv.forget_clients()
    with pytest.raises(tinyatv.AppleTVError):
        tinyatv.AppleTV(proxy.device, timeout=3).open()  # which tries once
    watcher.wait(watcher.ends)
    assert any("pair again" in one for one in watcher.ends())


NONSENSE = {"mrp": b"\xff" * 40, "companion": bytes.fromhex("08000010") + bytes(16)}


@pytest.mark.parametrize("pair", [("mrp", "tvos14"), ("companion", "tvos18")], indirect=True)
def test_device_sends_nonsense(pair, watcher):
    tv, proxy = pair
    with tinyatv.connect(proxy.device, timeout=3) as atv:
        tv.fail("pause", garbage=NONSENSE[proxy.protocols[0]])
        with pytest.raises(tinyatv.AppleTVError):
            atv.pause()
    watcher.wait(watcher.ends)
    assert any(one.startswith("the device has left: ") for one in watcher.ends()), watcher.ends()


def test_who_looks_on_may_fail(caplog):
    def watch(line):
        raise RuntimeError("no")

    with between("mrp", "tvos14", Tap(watch), credentials=None) as (tv, proxy):
        atv = tinyatv.connect(proxy.device)
        atv.up()
        atv.close()
    assert tv.log == ["up"]
    assert "cannot show a message" in caplog.text


# -- what cannot be passed on ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("services", "protocol", "error", "words"),
    [
        (["airplay"], "mrp", tinyatv.NotSupported, "use airplay"),
        (["dmap"], "companion", tinyatv.NotSupported, "does not speak companion, but dmap"),
        (["companion"], "companion", tinyatv.CredentialsError, "pair first"),
        (["airplay"], "airplay", tinyatv.CredentialsError, "pair first"),
        (["mrp:00"], "mrp", tinyatv.CredentialsError, "malformed credentials"),
    ],
)
def test_not_possible(watcher, services, protocol, error, words):
    made = []
    for text in services:
        name, _, credentials = text.partition(":")
        made.append(Service(name, 7000, credentials=credentials or None))
    with pytest.raises(error, match=words):
        ProxyAppleTV(Device("Den", "127.0.0.1", made), protocol, watcher.tap)


# -- relay -----------------------------------------------------------------------------------------


def test_relay(watcher):
    with VirtualAppleTV() as tv, Relay("127.0.0.1", tv.ports["dmap"], watcher.tap) as relay:
        device = tv.device
        for service in device.services:
            service.port = relay.port
        with tinyatv.connect(device) as atv:
            atv.pause()
            assert atv.playing().title == "Harbour Lights"
        assert tv.log == ["pause"]
        watcher.wait(lambda: "the controller has left" in watcher.ends())
        first = watcher.seen[0]
        assert first.raw.startswith(b"GET /login?")
        assert first.name == f"{len(first.raw)} bytes"
        with tinyatv.connect(device) as atv:
            tv.stop()
            with pytest.raises(tinyatv.ConnectionLost):
                atv.play()
        with pytest.raises(tinyatv.ConnectionFailed):
            tinyatv.connect(device).close()
        watcher.wait(lambda: any("cannot connect" in one for one in watcher.ends()))


def test_relay_of_much(watcher):
    """Megabytes, both ways at once, and whoever reads slowly gets all of it."""
    size = 3_000_000
    data = os.urandom(size)

    def echo():
        sock, _ = door.accept()
        with sock:
            while piece := sock.recv(65536):
                sock.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=echo)
        thread.start()
        relay = Relay("127.0.0.1", door.getsockname()[1], watcher.tap)
        with relay, socket.create_connection((relay.host, relay.port), 5) as sock:
            sender = threading.Thread(target=sock.sendall, args=(data,))
            sender.start()
            got = bytearray()
            while len(got) < size:
                piece = sock.recv(3000)
                assert piece
                got += piece
            sender.join()
            assert got == data
        thread.join(WAIT)
    assert sum(len(record.raw) for record in watcher.seen if record.raw) == 2 * size


def test_relay_is_announced(watcher):
    name = secrets.token_hex(4)
    kind = f"_t{name}._tcp.local."
    with Relay("127.0.0.1", 9, watcher.tap) as relay:
        relay.announce(kind, f"Relay {name}", {"model": "AppleTV6,2"})
        (record,) = browse(kind, WAIT, interfaces=["127.0.0.1"], found=lambda record: True)
        assert (record.instance, record.port) == (f"Relay {name}", relay.port)
        assert record.txt == {"model": "AppleTV6,2"}


# -- the program -----------------------------------------------------------------------------------


@pytest.fixture
def program(own_store):
    """A function that starts a proxy; returns the process and the first line that it printed."""
    started = []

    def start(*args):
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tinyatv", *map(str, args)],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process, process.stdout.readline()

    yield start
    for process in started:
        with process:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert process.stderr.read() == ""


def test_program(program, tmp_path):
    """A person's view: what it says, what it shows, what it saves."""
    path = tmp_path / "proxy.jsonl"
    with VirtualAppleTV("Den", profile="tvos14", mdns_port=0, protocols=["mrp"]) as tv:
        tinyatv.Store().save(tv.device)
        process, line = program(
            "-n", "Den", "proxy", "mrp", "--no-announce", "--pin", "0042", "--trace", path
        )
        assert line.startswith("Den Proxy (mrp) at 127.0.0.1 port ")
        port = int(line.split(" port ")[1].split(".")[0])
        device = Device("Proxy", "127.0.0.1", [Service("mrp", port, identifier="X")])
        store = tinyatv.Store(memory=True)
        shown = []

        def pin():
            while not (line := process.stdout.readline()).startswith("PIN "):
                shown.append(line)
            return line[4:].strip()

        paired = tinyatv.pair(device, pin=pin, store=store)
        with tinyatv.connect(paired, store=store) as atv:
            atv.pause()
        while "mrp 2 ended" not in (line := process.stdout.readline()):
            shown.append(line)
    assert any(line.endswith(" mrp 2 > SEND_COMMAND\n") for line in shown)
    assert "    command: 2 (pause)\n" in shown
    with path.open("rb") as file:
        saved = [record.name for record in read(file)]
    assert saved.count("SEND_COMMAND") == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_program_remembers(program, own_store, tmp_path):
    """A controller pairs once, whatever becomes of the proxy."""
    store = tinyatv.Store(memory=True)
    with VirtualAppleTV("Den", profile="tvos18", protocols=["companion"]) as tv:
        tinyatv.Store().save(tv.device)
        command = ["-n", "Den", "proxy", "companion", "--no-announce", "--json", "--mdns-port", "0"]
        process, line = program(*command)
        first = json.loads(line)
        device = found(first)

        def pin():
            while "pin" not in (line := json.loads(process.stdout.readline())):
                pass
            return line["pin"]

        paired = tinyatv.pair(device, pin=pin, store=store)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

        _, line = program(*command)
        again = json.loads(line)
        assert again["identifier"] == first["identifier"]
        device = found(again)
        device.services[0].credentials = paired.services[0].credentials
        with tinyatv.connect(device, store=store) as atv:
            atv.up()
        assert tv.log == ["up"]
    (kept,) = own_store.parent.glob("proxy-companion-*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_text('{"identifier": 1}')
    with pytest.raises(tinyatv.errors.CredentialsError, match="is damaged"):
        ProxyAppleTV(tv.device, "companion", Tap(print), memory=kept)


def found(about) -> Device:
    """The proxy, as a scan finds it."""
    (device,) = tinyatv.scan(5, hosts=[f"127.0.0.1:{about['ports']['mdns']}"])
    assert device.name == "Den Proxy"
    return device


def test_what_cannot_be_remembered(watcher, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    memory = blocked / "proxy.json"
    with VirtualAppleTV("Den", profile="tvos18", protocols=["companion"]) as tv:
        with pytest.raises(OSError, match="Not a directory"):
            ProxyAppleTV(tv.device, "companion", watcher.tap, memory=memory)
        memory = tmp_path / "new" / "proxy.json"
        proxy = ProxyAppleTV(tv.device, "companion", watcher.tap, memory=memory)
        (tmp_path / "new").write_text("")  # in the way of the folder
        store = tinyatv.Store(memory=True)
        with proxy:
            paired = tinyatv.pair(proxy.device, pin=lambda: proxy.pin, store=store)
            with tinyatv.connect(paired, store=store) as atv:
                atv.up()
        assert tv.log == ["up"]
    assert "who has paired is forgotten when this ends" in caplog.text


def test_program_relays(program):
    with VirtualAppleTV("Den") as tv:
        _, line = program("proxy", "relay", f"127.0.0.1:{tv.ports['dmap']}", "--json")
        about = json.loads(line)
        device = tv.device
        device.services[0].port = about["ports"]["relay"]
        with tinyatv.connect(device) as atv:
            atv.pause()
        assert tv.log == ["pause"]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["relay"], 2, "HOST:PORT"),
        (["relay", "127.0.0.1"], 2, "HOST:PORT"),
        (["relay", "127.0.0.1:0"], 2, "HOST:PORT"),
        (["mrp", "127.0.0.1:1"], 2, "takes no address"),
        (["raop"], 2, "invalid choice"),
        (["companion"], 5, "does not speak companion, but dmap"),
        (["mrp", "--host", "192.0.2.1"], 5, "does not speak mrp"),
    ],
)
def test_program_with_wrong_arguments(tv, capsys, monkeypatch, args, code, words):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(["-n", "Living Room", "proxy", *args]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_program_cannot_save(tv, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(["proxy", "relay", "127.0.0.1:1", "--trace", str(tmp_path)]) == 1
    assert "Is a directory" in capsys.readouterr().err
    assert not is_trace(b"")
