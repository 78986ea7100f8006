"""AppleTV against the virtual one: every command, every loss, nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest
import requests

import tinyatv
from tests.support.commands import (
    AIRPLAY_ASKED,
    COMPANION_ASKED,
    COMPANION_PRESSED,
    DMAP_ASKED,
    DMAP_PRESSED,
    MRP_ASKED,
    MRP_PRESSED,
    RAOP_ASKED,
)
from tinyatv import DeviceState, FeatureState, RepeatState, ShuffleState, backends, crypto
from tinyatv.routes import BACKENDS, FIELDS, ROUTES
from tinyatv.virtual import Item, VirtualAppleTV

WAIT = 5.0  # s; a deadline for things that take milliseconds


def dmap_device(
    port: int, credentials: str | None, host: str = "127.0.0.1", **more
) -> tinyatv.Device:
    service = tinyatv.Service("dmap", port, credentials=credentials, **more)
    return tinyatv.Device("By hand", host, [service])


def listen(atv: tinyatv.AppleTV) -> queue.SimpleQueue:
    """Events from now on; the first, what plays at the start, is taken off."""
    received: queue.SimpleQueue = queue.SimpleQueue()
    atv.add_listener(received.put)
    assert isinstance(received.get(timeout=WAIT), tinyatv.PlayingChanged)
    return received


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "args", "seen"), DMAP_PRESSED)
def test_command(atv, device, command, args, seen):
    device.state.pause()
    device.state.set_position(100)
    del device.log[:]
    getattr(atv, command)(**args)
    assert device.log == seen


def test_every_route_has_a_test_and_a_method():
    """Each command over each protocol that serves it."""
    tested = {
        "dmap": {command for command, _, _ in DMAP_PRESSED} | DMAP_ASKED,
        "mrp": {command for command, _, _ in MRP_PRESSED} | MRP_ASKED,
        "airplay": AIRPLAY_ASKED,
        "raop": RAOP_ASKED,
        "companion": {command for command, _, _ in COMPANION_PRESSED} | COMPANION_ASKED,
    }
    for protocol in BACKENDS:
        assert {c for c, served in ROUTES.items() if protocol in served} == tested[protocol]
    for command in ROUTES:
        assert getattr(tinyatv.AppleTV, command).__doc__


def test_routes_and_backends_agree():
    """Whoever is in the table has the method, and whoever has the method is in the table."""
    own = {"connect", "close", "subscribe", "unsubscribe", "tunnel", "features", "protocol"}
    own.add("told_at")
    for protocol in BACKENDS:
        backend = backends.load(protocol)
        public = {attribute for attribute in vars(backend) if not attribute.startswith("_")}
        assert public - own == {c for c, protocols in ROUTES.items() if protocol in protocols}


def test_effects_show_in_playing(atv, device):
    atv.set_shuffle(ShuffleState.Albums)  # DMAP only knows songs
    atv.set_repeat(RepeatState.All)
    atv.pause()
    atv.set_position(30)
    playing = atv.playing()
    assert playing.device_state is DeviceState.Paused
    assert (playing.shuffle, playing.repeat) == (ShuffleState.Songs, RepeatState.All)
    assert (playing.position, playing.total_time) == (30, 222)
    atv.next()
    assert atv.playing().title == device.state.item.title != "Harbour Lights"


def test_order_of_play(atv, device):
    """The device does what shuffle and repeat say."""
    titles = [item.title for item in device.state.items]

    def following(count):
        for _ in range(count):
            atv.next()
            yield atv.playing().title

    assert list(following(4)) == titles[1:]
    assert list(following(1)) == titles[-1:]  # the end
    assert atv.playing().device_state is DeviceState.Stopped
    atv.set_repeat(RepeatState.All)
    assert list(following(1)) == titles[:1]
    atv.set_shuffle(ShuffleState.Songs)
    assert sorted(following(4)) == sorted(titles[1:])  # each of the others once
    atv.set_shuffle(ShuffleState.Off)
    here = titles.index(device.state.item.title)
    assert list(following(1)) == [titles[(here + 1) % 5]]
    atv.previous()
    assert atv.playing().title == titles[here]


def test_item_that_ends_is_followed_by_the_next(atv, device):
    received = listen(atv)
    device.state.update(duration=0.05)
    while received.get(timeout=WAIT).playing.title != "Three Hops":
        pass


def test_nothing_playing(atv, device):
    with device.state.change():
        device.state.device_state = DeviceState.Idle
    playing = atv.playing()
    assert playing.device_state is DeviceState.Idle
    assert playing.title is None
    assert playing.position is None
    assert atv.artwork() is None
    with pytest.raises(tinyatv.CommandFailed) as caught:
        atv.next()
    assert (caught.value.command, caught.value.code) == ("next", 500)
    with pytest.raises(tinyatv.CommandFailed, match="position"):
        atv.skip_forward()


def test_volume_level(atv, device):
    with pytest.raises(tinyatv.NotSupported):
        atv.set_volume(30)
    with pytest.raises(tinyatv.NotSupported):
        atv.volume()
    device.state.absolute_volume = True  # as iTunes
    atv.set_volume(30)
    assert device.state.volume == 30
    assert atv.volume() == 30.0


def test_artwork_is_scaled_down_only(atv, device):
    art = atv.artwork(width=100)
    assert (art.mimetype, art.width, art.height) == ("image/png", 100, 100)
    assert art.data == device.state.artwork(100)
    assert atv.artwork(width=None).width == 512
    assert atv.artwork(width=5000).width == 512
    with device.state.change():
        device.state.items.insert(0, Item("Wide", media_type=tinyatv.MediaType.Video))
    art = atv.artwork(width=320, height=500)
    assert (art.width, art.height) == (320, 180)


@pytest.mark.parametrize("answer", [{"status": 404}, {"status": 500}, {"status": 204}])
def test_no_artwork(atv, device, answer):
    device.fail("artwork", times=None, **answer)
    assert atv.artwork() is None


def test_empty_artwork(atv, device):
    device.state.update(artwork=b"")
    assert atv.artwork() is None


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("set_volume", (101,)),
        ("set_volume", (-1,)),
        ("set_position", (-1,)),
        ("set_position", (float("nan"),)),
        ("set_position", (float("inf"),)),
        ("skip_forward", (-5,)),
        ("set_shuffle", (7,)),
        ("set_repeat", ("all",)),
        ("artwork", (0,)),
        ("artwork", (-3,)),
    ],
)
def test_wrong_argument(atv, device, command, args):
    before = len(device.requests)
    with pytest.raises(ValueError, match=r"must be|not a valid|is 0 to|pixels"):
        getattr(atv, command)(*args)
    assert len(device.requests) == before


@pytest.mark.parametrize("args", [{"hold": -1}, {"presses": 0}])
def test_wrong_press(atv, args):
    with pytest.raises(ValueError, match="must be"):
        atv.up(**args)


def test_server_info(atv, device):
    info = atv.server_info()
    assert info["dmap.itemname"] == device.name
    assert info["dmap.timeoutinterval"] == 1800


def test_headers_and_their_order():
    """Origin: section 3 of the project's DMAP sheet, seen on the wire with the reference."""
    headers = (
        "Accept: */*\r\nAccept-Encoding: gzip\r\nClient-DAAP-Version: 3.13\r\n"
        "Client-ATV-Sharing-Version: 1.2\r\nClient-iTunes-Sharing-Version: 3.15\r\n"
        "User-Agent: Remote/1021\r\nViewer-Only-Client: 1\r\n"
    )
    login = bytes.fromhex("6d6c6f67000000186d73747400000004000000c86d6c69640000000456002515")
    heard = []

    def serve():
        peer, _ = server.accept()
        with peer:
            for body in (login, b""):
                heard.append(peer.recv(65536).decode())
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        with tinyatv.connect(dmap_device(port, "0x0000000000000001")) as atv:
            atv.play()
        thread.join(WAIT)
    host = f"Host: 127.0.0.1:{port}\r\n"
    assert heard[0] == (
        f"GET /login?pairing-guid=0x0000000000000001&hasFP=1 HTTP/1.1\r\n{host}{headers}\r\n"
    )
    assert heard[1] == (
        f"POST /ctrl-int/1/play?session-id=1442850069&prompt-id=0 HTTP/1.1\r\n{host}{headers}"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n\r\n"
    )


def test_device_that_does_not_take_connections(monkeypatch):
    """Nobody answers at all: its queue is full, so the kernel drops what comes."""
    monkeypatch.setattr("tinyatv.backends.http.CONNECT_TIMEOUT", 0.3)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):  # a queue of none holds one or two all the same
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        with pytest.raises(tinyatv.ConnectionFailed, match="no answer in time"):
            tinyatv.connect(dmap_device(server.getsockname()[1], "0x0123456789ABCDEF"))


def test_features(atv, device):
    features = atv.features()
    assert features["up"] is FeatureState.Available
    assert features["play"] is FeatureState.Unknown
    assert features["volume_up"] is FeatureState.Available
    assert features["title"] is FeatureState.Available
    assert set(features) == set(ROUTES) | set(FIELDS)
    with device.state.change():
        device.state.volume_control = False
        device.state.device_state = DeviceState.Idle
    atv.playing()
    features = atv.features()
    assert features["volume_up"] is FeatureState.Unavailable
    assert features["title"] is FeatureState.Unavailable


def test_unknown_tags_and_compression_do_not_matter(atv, device):
    device.dmap.extra = [("zzzz", b"abc"), ("aels", 1)]
    device.dmap.gzip = False
    assert atv.playing().title == "Harbour Lights"


def test_chunked_answer(atv, device):
    device.fail("playing", chunked=True)
    assert atv.playing().title == "Harbour Lights"


def test_announced_device_is_found_with_its_model():
    name = f"Announced {os.urandom(4).hex()}"
    host = "127.{}.{}.{}".format(*os.urandom(3))  # what shares an address is one device
    with VirtualAppleTV(name, host=host, announce=True, home_sharing=True) as tv:
        found = tinyatv.scan(5, wanted=name, interfaces=["127.0.0.1"])
        (device,) = [one for one in found if one.name == name]
        assert str(device.info) == "Apple TV 3, ATV SW"
        assert device.identifier == tv.identifier
        with tinyatv.connect(device) as atv:  # Home Sharing needs no pairing
            atv.pause()
        assert tv.log == ["pause"]


# -- sessions and refusals -------------------------------------------------------------------------


def logins(device) -> int:
    return sum(path.startswith("/login") for _, path in device.requests)


def test_forgotten_session_logs_in_again_once(atv, device):
    device.dmap.expire_sessions()
    atv.pause()
    assert device.log == ["pause"]
    assert logins(device) == 2


def test_refused_twice_is_refused(atv, device):
    device.fail("play", status=403, times=None)
    with pytest.raises(tinyatv.CommandFailed) as caught:
        atv.play()
    assert caught.value.code == 403
    assert logins(device) == 2
    assert sum("/play?" in path for _, path in device.requests) == 2


def test_status_500_is_not_repeated(atv, device):
    device.fail("play", status=500)
    with pytest.raises(tinyatv.CommandFailed) as caught:
        atv.play()
    assert caught.value.code == 500
    assert logins(device) == 1


def test_waking_device_refuses_the_first_login(device):
    device.fail("login", status=503, body=b"103")
    with tinyatv.connect(device.device) as atv:
        atv.pause()
    assert device.log == ["pause"]


def test_credentials_not_accepted(device):
    known = dmap_device(device.ports["dmap"], "0x0123456789ABCDEF")
    with pytest.raises(tinyatv.CredentialsError, match="pair again"):
        tinyatv.connect(known)


@pytest.mark.parametrize("text", ["0xBEF14E8E636294B", "12345678901234567890", "nonsense"])
def test_malformed_credentials(device, text):
    with pytest.raises(tinyatv.CredentialsError):
        tinyatv.connect(dmap_device(device.ports["dmap"], text))
    assert device.requests == []


def test_not_paired(device):
    with pytest.raises(tinyatv.CredentialsError, match="pair first"):
        tinyatv.connect(dmap_device(device.ports["dmap"], None))


def test_nothing_to_connect_to():
    """A service that is switched off is named, and not connected to."""
    lone = tinyatv.Device("Speaker", "127.0.0.1", [tinyatv.Service("raop", 7000, enabled=False)])
    with pytest.raises(tinyatv.NotSupported, match="raop"):
        tinyatv.connect(lone)


def test_login_without_session(device):
    device.fail("login", status=200, body=b"")
    with pytest.raises(tinyatv.ProtocolError):
        tinyatv.connect(device.device)


OK = b"HTTP/1.1 200 OK\r\n"

# -- a device that misbehaves ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"drop": True}, tinyatv.ConnectionLost),
        ({"garbage": b"\x00\xff" * 50}, tinyatv.ProtocolError),
        ({"garbage": OK + b"Content-Length: 9\r\n\r\ncmst\0\0"}, tinyatv.ConnectionLost),
        ({"garbage": OK + b"Content-Length: 6\r\n\r\ncmst\0\0"}, tinyatv.ProtocolError),
        (
            {"garbage": OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"},
            tinyatv.ProtocolError,
        ),
        (
            {"garbage": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"},
            (tinyatv.ProtocolError, tinyatv.ConnectionLost),
        ),
        ({"truncate": True}, tinyatv.ConnectionLost),
        ({"status": 200, "body": bytes.fromhex("636d737400000000")}, tinyatv.ProtocolError),
        ({"status": 200, "body": b""}, tinyatv.ProtocolError),
    ],
)  # fmt: skip
def test_bad_answer_is_one_error_and_then_all_is_well(atv, device, fault, error):
    device.fail("playing", **fault)
    with pytest.raises(error) as caught:
        atv.playing()
    assert "\n" not in str(caught.value)
    if "status" not in fault:  # the device hung up, too
        assert device.wait_for(lambda: not device.dmap.server.peers)
    assert atv.playing().title == "Harbour Lights"


def test_error_inside_a_good_answer(atv, device):
    # Origin: an iTunes-like server's cmst{ mstt: 500, msts: "Invalid request" }.
    body = bytes.fromhex(
        "636d737400000023 6d73747400000004000001f4 6d7374730000000f496e76616c69642072657175657374"
    )
    device.fail("play", status=200, body=body)
    with pytest.raises(tinyatv.CommandFailed, match="Invalid request"):
        atv.play()


def test_no_answer_in_time(device):
    with tinyatv.connect(device.device, timeout=0.3) as atv:
        device.fail("play", silent=True)
        with pytest.raises(tinyatv.CommandTimeout, match=r"play within 0\.3 s"):
            atv.play()
        atv.pause()
    assert device.log == ["pause"]


def request_to(transport):
    request = requests.PreparedRequest()
    request.method, request.url = "GET", f"{transport.base}/"
    return request


def test_answer_that_dribbles_ends_in_time():
    """The limit holds for the whole answer, not for each byte of it."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        peer.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        from tinyatv.backends.http import Transport

        transport = Transport("127.0.0.1", server.getsockname()[1], {}, "x/y", "dmap")
        with pytest.raises(tinyatv.CommandTimeout):
            transport.send(request_to(transport), timeout=0.4)
        transport.close()
        stop.set()
        thread.join()


def test_half_open_connection():
    """Somebody accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        from tinyatv.backends.http import Transport

        transport = Transport("127.0.0.1", server.getsockname()[1], {}, "x/y", "dmap")
        with pytest.raises(tinyatv.CommandTimeout):
            transport.send(request_to(transport), timeout=0.2)
        transport.close()


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(tinyatv.ConnectionFailed, match="refused") as caught:
        tinyatv.connect(dmap_device(port, "0x0123456789ABCDEF"))
    assert str(port) in str(caught.value)


def test_unknown_host():
    nowhere = dmap_device(3689, "0x0123456789ABCDEF", host="host.invalid")
    with pytest.raises(tinyatv.ConnectionFailed):
        tinyatv.connect(nowhere)


# -- events ----------------------------------------------------------------------------------------


def test_changes_come_as_events(atv, device):
    received = listen(atv)
    device.state.update(title="Other")
    assert received.get(timeout=WAIT).playing.title == "Other"
    atv.pause()
    assert received.get(timeout=WAIT).playing.device_state is DeviceState.Paused


def test_no_event_when_nothing_changed(atv, device):
    received = listen(atv)
    with device.state.change():
        pass  # the revision moves, nothing else does
    device.state.update(title="Other")
    assert received.get(timeout=WAIT).playing.title == "Other"
    assert received.empty()


def test_a_seek_is_an_event(atv, device):
    received = listen(atv)
    atv.set_position(100)
    assert received.get(timeout=WAIT).playing.position in (100, 101)


def test_asking_does_not_disturb_the_poll(atv, device):
    received = listen(atv)
    for _ in range(5):
        atv.playing()
    device.state.update(title="Other")
    assert received.get(timeout=WAIT).playing.title == "Other"
    assert received.empty()


def polls(device) -> int:
    return sum(peer.waiting for peer in device.dmap.server.peers)


def test_polls_only_while_somebody_listens(atv, device):
    assert not [t for t in threading.enumerate() if "poll" in t.name]
    received = listen(atv)
    assert [t for t in threading.enumerate() if t.name == "tinyatv-dmap-poll-127.0.0.1"]
    atv.remove_listener(received.put)
    assert not [t for t in threading.enumerate() if "poll" in t.name]
    with pytest.raises(ValueError, match="not in list"):
        atv.remove_listener(received.put)
    listen(atv)  # and again


def test_listener_may_call_anything(atv, device):
    done = threading.Event()

    def close(event):
        atv.pause()
        atv.close()
        done.set()

    atv.add_listener(close)
    assert done.wait(WAIT)
    assert device.log == ["pause"]


def test_failing_listener_does_not_stop_the_others(atv, device, caplog):
    def fail(event):
        raise RuntimeError("on purpose")

    atv.add_listener(fail)
    received = listen(atv)
    device.state.update(title="Other")
    assert received.get(timeout=WAIT).playing.title == "Other"
    assert "on purpose" in caplog.text


def test_what_plays_comes_first_for_each_listener(atv, device):
    """However late it comes; for those who have heard of it already, that is no news."""
    first = listen(atv)
    second = listen(atv)
    third = listen(atv)
    device.state.update(title="Other")
    for received in (first, second, third):
        assert received.get(timeout=WAIT).playing.title == "Other"
        assert received.empty()


def test_failing_updates_are_told_and_tried_again(atv, device, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.dmap.PAUSES", (0.01, 0.05))
    device.fail("playing", status=500, times=3)
    received: queue.SimpleQueue = queue.SimpleQueue()
    atv.add_listener(received.put)
    for _ in range(3):
        assert isinstance(received.get(timeout=WAIT), tinyatv.UpdateFailed)
    assert received.get(timeout=WAIT).playing.title == "Harbour Lights"
    device.state.update(title="Third")
    assert received.get(timeout=WAIT).playing.title == "Third"


def test_dropped_poll_is_taken_up_again(atv, device):
    received = listen(atv)
    assert device.wait_for(lambda: polls(device))
    device.dmap.server.drop_peers()
    device.state.update(title="Other")
    assert received.get(timeout=WAIT).playing.title == "Other"


def test_events_end_with_close(atv, device):
    events = atv.events()
    assert isinstance(next(events), tinyatv.PlayingChanged)
    atv.close()
    last = list(events)
    assert [type(event) for event in last] == [tinyatv.Disconnected]
    assert last[0].error is None


def test_events_end_after_silence(atv):
    assert [type(event) for event in atv.events(timeout=0.3)] == [tinyatv.PlayingChanged]


# -- the end of it ---------------------------------------------------------------------------------


def test_closed_is_closed(atv):
    atv.close()
    atv.close()
    for call in (atv.play, atv.playing, atv.features, lambda: atv.add_listener(print)):
        with pytest.raises(tinyatv.ConnectionLost, match="closed"):
            call()
    assert atv.protocols == ()


def test_close_wakes_a_blocked_command(atv, device):
    device.fail("play", silent=True)
    errors: queue.SimpleQueue = queue.SimpleQueue()

    def press():
        try:
            atv.play()
        except tinyatv.AppleTVError as exc:
            errors.put(exc)

    thread = threading.Thread(target=press)
    thread.start()
    assert (
        device.state.wait_for(lambda state: any("/play?" in p for _, p in device.requests), 0.5)
        or True
    )
    while not any("/play?" in path for _, path in device.requests):
        pass
    atv.close()
    assert isinstance(errors.get(timeout=WAIT), tinyatv.ConnectionLost)
    thread.join(WAIT)


@pytest.fixture
def process():
    """A virtual Apple TV in a process of its own, to be killed."""
    run = subprocess.Popen(
        [sys.executable, "-m", "tinyatv", "virtual", "--no-announce", "--json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    import json

    about = json.loads(run.stdout.readline())
    yield run, dmap_device(about["ports"]["dmap"], about["credentials"]["dmap"])
    run.kill()
    run.wait()
    run.stdout.close()


def test_device_killed_during_the_poll(process):
    run, device = process
    with tinyatv.connect(device) as atv:
        received = listen(atv)
        os.kill(run.pid, signal.SIGKILL)
        lost = received.get(timeout=5)
        assert isinstance(lost, tinyatv.Disconnected)
        assert isinstance(lost.error, tinyatv.ConnectionLost)
        with pytest.raises(tinyatv.ConnectionLost):
            atv.play()
        assert atv.protocols == ()


def test_device_killed_between_commands(process):
    run, device = process
    with tinyatv.connect(device) as atv:
        atv.play()
        run.kill()
        run.wait()
        with pytest.raises(tinyatv.ConnectionLost) as first:
            atv.play()
        with pytest.raises(tinyatv.ConnectionLost):
            atv.play()
        assert "\n" not in str(first.value)


def test_reconnect_to_another_port(own_store, monkeypatch):
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.05, 0.2))
    with VirtualAppleTV("Mover", mdns_port=0) as tv:
        store = tinyatv.Store()
        store.save(tv.device)
        with tinyatv.connect("Mover", reconnect=True) as atv:
            received = listen(atv)
            tv.move()
            assert isinstance(received.get(timeout=WAIT), tinyatv.Disconnected)
            event = received.get(timeout=20)
            assert isinstance(event, tinyatv.Reconnected)
            assert event.protocols == ("dmap",)
            assert isinstance(received.get(timeout=WAIT), tinyatv.PlayingChanged)
            tv.state.update(title="After")
            assert received.get(timeout=WAIT).playing.title == "After"
            atv.pause()
            assert tv.log == ["pause"]
        assert store.find("Mover").service("dmap").port == tv.ports["dmap"]


def test_commands_fail_at_once_while_reconnecting(process, monkeypatch):
    monkeypatch.setattr("tinyatv.session.PAUSES", (30.0, 30.0))
    run, device = process
    with tinyatv.connect(device, reconnect=True) as atv:
        received = listen(atv)
        run.kill()
        assert isinstance(received.get(timeout=WAIT), tinyatv.Disconnected)
        with pytest.raises(tinyatv.ConnectionLost):
            atv.play()


def test_stored_device_that_moved_is_found_again(own_store):
    with VirtualAppleTV("Mover", mdns_port=0) as tv:
        store = tinyatv.Store()
        store.save(tv.device)
        tv.move()
        with tinyatv.connect("Mover") as atv:
            atv.pause()
        assert tv.log == ["pause"]
        assert store.find("Mover").service("dmap").port == tv.ports["dmap"]


def test_many_cycles_leave_nothing(device, share):
    """Connect, listen, close: no thread, no socket, no growing memory."""

    def cycle(count):
        for _ in range(count):
            with tinyatv.connect(known, store=store) as atv:
                atv.add_listener(ignore)
                atv.pause()

    def ignore(event):
        pass

    known, store = device.device, tinyatv.Store(memory=True)
    cycle(10)  # caches are full now
    device.requests.clear()
    device.log.clear()
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    count = share(1000)
    cycle(count)
    device.requests.clear()
    device.log.clear()
    device.dmap.expire_sessions()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - start
    tracemalloc.stop()
    assert grown < 200_000
    assert not [t for t in threading.enumerate() if t.name.startswith("tinyatv")]
    device.dmap.server.drop_peers()
    pace, until = threading.Event(), time.monotonic() + WAIT
    while descriptors and len(os.listdir("/proc/self/fd")) > descriptors:
        assert time.monotonic() < until  # whoever has just left is closing his own
        pace.wait(0.01)


def test_connect_that_fails_leaves_nothing(device):
    device.fail("login", status=503, body=b"103", times=None)
    for _ in range(20):
        with pytest.raises(tinyatv.CredentialsError):
            tinyatv.connect(device.device)
    assert not [t for t in threading.enumerate() if t.name.startswith("tinyatv")]


def test_several_threads_press_at_once(atv, device):
    threads = [
        threading.Thread(target=lambda name=name: [getattr(atv, name)() for _ in range(5)])
        for name in ("up", "down", "left", "right", "select")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(device.log) == sorted(["up", "down", "left", "right", "select"] * 5)


@pytest.mark.parametrize(
    ("profile", "paired", "files"),
    [("atv3", True, 5), ("tvos14", False, 5), ("tvos14", True, 6)],
    ids=["DMAP", "MRP", "MRP, encrypted: cryptography is one more"],
)
def test_path_of_a_command(capsys, profile, paired, files):
    """From `atv.play()` to the first byte on the socket: at most 12 calls of ours in 5 files.

    In them sealing is one call, as it is with the package cryptography. In pure Python it makes 6
    more, which is all that is left where key stream was prepared.
    """
    path = Path(("crypto",))
    with VirtualAppleTV(profile=profile) as tv:
        target = tv.device
        if not paired:
            for service in target.services:
                service.credentials = None
        with tinyatv.connect(target) as atv:
            atv.play()  # connections are open now, and key stream is made when it has gone out
            path.follow(atv.play)
    path.show(capsys)
    assert path.reached
    assert len(path.calls) <= 12
    assert len(path.files) <= files
    sealed = any(file.startswith("crypto") for file in path.files)
    assert sealed == (files == 6)
    assert len(path.inside) == (6 if sealed and crypto.engine() == "python" else 0)


@pytest.mark.parametrize("protocol", ["mrp", "companion"])
def test_path_of_a_command_through_more_layers(capsys, protocol):
    """Through the tunnel, and over Companion: at most 20 calls, without those inside the codecs."""
    path = Path(("crypto", "wire", "proto"))
    with VirtualAppleTV(profile="tvos18") as tv, tinyatv.connect(
        tv.device, protocols=[protocol]
    ) as atv:  # fmt: skip
        atv.play()
        path.follow(atv.play)
    path.show(capsys)
    assert path.reached
    assert len(path.calls) <= 20


class Path:
    """The calls of ours from a command to the first byte on the socket.

    Args:
        codecs: Folders that are counted as one call, however many they make of their own.
    """

    def __init__(self, codecs):
        self._package = os.path.dirname(tinyatv.__file__)
        self._codecs = tuple(os.path.join(self._package, name, "") for name in codecs)
        self.calls: list[tuple[str, str]] = []
        self.inside: list[str] = []  # what codecs call of their own
        self.reached = False

    @property
    def files(self):
        return {file for file, _ in self.calls}

    def follow(self, command):
        sys.setprofile(self._trace)
        try:
            command()
        finally:
            sys.setprofile(None)

    def show(self, capsys):
        with capsys.disabled():
            print("\natv.play() to the socket: " + " > ".join(f"{f}:{n}" for f, n in self.calls))
            if self.inside:
                print("inside codecs: " + " > ".join(self.inside))

    def _trace(self, frame, kind, arg):
        if self.reached:
            return
        if kind == "call" and frame.f_code.co_filename.startswith(self._package):
            if frame.f_back.f_code.co_filename.startswith(self._codecs):
                self.inside.append(frame.f_code.co_name)
            else:
                file = os.path.relpath(frame.f_code.co_filename, self._package)
                self.calls.append((file, frame.f_code.co_name))
        elif kind == "c_call" and getattr(arg, "__name__", "") in ("sendall", "send"):
            self.reached = True
