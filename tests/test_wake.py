"""Waking up a device that does not answer, by a packet to its hardware address."""

from __future__ import annotations

import socket
import threading

import pytest

import tinyatv
from tinyatv.discovery import wake
from tinyatv.virtual import VirtualAppleTV

WAIT = 20.0  # s; a deadline: the kernel knocks again after 1, 3, 7 s
MAC = "02:00:5E:10:20:30"


class Sleeper:
    """A port that takes no connections and sends no refusal, as a machine that sleeps.

    Its queue is full, and nobody takes anybody out of it: the system drops what else comes.
    """

    def __init__(self) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen(0)
        self.port = self._sock.getsockname()[1]
        self._queue = []
        for _ in range(8):
            caller = socket.socket()
            self._queue.append(caller)
            caller.settimeout(0.1)
            try:
                caller.connect(("127.0.0.1", self.port))
            except OSError:
                break
        else:
            self.close()
            pytest.skip("this system does not let a queue run full")

    def close(self) -> None:
        for sock in (*self._queue, self._sock):
            sock.close()


@pytest.fixture
def packets(monkeypatch):
    """What arrives at the port of magic packets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(WAIT)
        monkeypatch.setattr(wake, "PORT", sock.getsockname()[1])
        monkeypatch.setattr(wake, "PATIENCE", 0.1)
        yield sock


def none(sock):
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(2048)
    return True


def test_magic_packet():
    """Origin: AMD, Magic Packet Technology, publication 20213, 1995."""
    packet = wake.magic_packet(MAC)
    assert packet == b"\xff" * 6 + bytes.fromhex("02005e102030") * 16
    assert wake.magic_packet(MAC.lower().replace(":", "-")) == packet
    assert wake.magic_packet(MAC.replace(":", "")) == packet
    for wrong in ("", "02:00", "02:00:5E:10:20:3G", f"{MAC}:00", "00:00:00:00:00:00"):
        with pytest.raises(ValueError, match="not a hardware address"):
            wake.magic_packet(wrong)


def test_to_whom(packets):
    wake.send(MAC, "127.0.0.1")
    data, (address, _) = packets.recvfrom(2048)
    assert (data, address) == (wake.magic_packet(MAC), "127.0.0.1")
    assert none(packets)
    assert wake._targets("192.0.2.10") == ["255.255.255.255", "192.0.2.255", "192.0.2.10"]
    assert wake._targets("tv.local") == ["255.255.255.255"]


def test_a_sleeping_device_is_woken(packets, monkeypatch):
    """It comes up once it has heard the packet, and is on when turn_on() returns."""
    sleeper = Sleeper()
    tv = VirtualAppleTV(profile="tvos18", protocols=["companion"])
    tv.state.sleep()
    device = tv.device
    device.services[0].port = sleeper.port
    device.info.mac = tv.mac
    heard = []

    def wake_up():
        heard.append(packets.recv(2048))
        sleeper.close()
        tv.move(sleeper.port)

    with tv:
        waiting = threading.Thread(target=wake_up)
        waiting.start()
        with tinyatv.connect(device, timeout=WAIT) as atv:
            atv.turn_on(wait=True)
            assert atv.power_state() is tinyatv.PowerState.On
        waiting.join(WAIT)
    assert heard == [wake.magic_packet(tv.mac)]
    assert tv.log == ["turn_off", "turn_on"]


def test_turning_on_a_device_that_is_lost(packets, monkeypatch):
    """What a button box does that was left alone overnight."""
    monkeypatch.setattr("tinyatv.session.PAUSES", (600.0, 600.0))
    tv = VirtualAppleTV(profile="tvos18", protocols=["companion"])
    device = tv.device
    device.info.mac = tv.mac
    device.services[0].identifier = None  # nobody looks for it
    sleeper = Sleeper()

    def wake_up():
        packets.recv(2048)
        sleeper.close()
        tv.move(sleeper.port)

    with tv, tinyatv.connect(device, timeout=WAIT, reconnect=True) as atv:
        tv.state.sleep()
        atv.device.services[0].port = sleeper.port
        tv.companion.drop_peers()
        assert tv.wait_for(lambda: not atv.protocols)
        with pytest.raises(tinyatv.ConnectionLost):
            atv.menu()
        waiting = threading.Thread(target=wake_up)
        waiting.start()
        atv.turn_on(wait=True)
        waiting.join(WAIT)
        assert tv.state.power is tinyatv.PowerState.On
    assert tv.log == ["turn_off", "turn_on"]


def test_turning_on_what_stays_away(packets, monkeypatch):
    monkeypatch.setattr("tinyatv.session.PAUSES", (600.0, 600.0))
    monkeypatch.setattr(wake, "WAKE_TIMEOUT", 0.5)
    with VirtualAppleTV(profile="tvos18", protocols=["companion"], mdns_port=0) as tv:
        device = tv.device
        device.info.mac = tv.mac
        atv = tinyatv.connect(device, reconnect=True, scan_timeout=0.3)
        events = atv.events(timeout=WAIT)
    with atv:
        assert isinstance(next(events), tinyatv.Disconnected)
        with pytest.raises(tinyatv.ConnectionLost):
            atv.turn_on()
        assert packets.recv(2048) == wake.magic_packet(tv.mac)
    with pytest.raises(tinyatv.ConnectionLost, match="closed"):
        atv.turn_on()


def by_hand(port, mac=None, **more):
    service = tinyatv.Service("mrp", port)
    info = tinyatv.DeviceInfo(mac=mac)
    return tinyatv.Device("By hand", "127.0.0.1", [service], info=info, **more)


def test_one_that_stays_asleep(packets, monkeypatch):
    """It is tried again for a while, and then that is all."""
    monkeypatch.setattr(wake, "WAKE_TIMEOUT", 1.0)
    monkeypatch.setattr(wake, "AGAIN", 0.1)
    sleeper = Sleeper()
    try:
        with pytest.raises(tinyatv.ConnectionFailed, match="no answer in time"):
            tinyatv.connect(by_hand(sleeper.port, MAC), timeout=0.3)
    finally:
        sleeper.close()
    for _ in range(3):
        assert packets.recv(2048) == wake.magic_packet(MAC)


def test_without_a_hardware_address(packets):
    sleeper = Sleeper()
    try:
        for mac in (None, "nonsense"):
            with pytest.raises(tinyatv.ConnectionFailed, match="no answer in time"):
                tinyatv.connect(by_hand(sleeper.port, mac), timeout=0.3)
    finally:
        sleeper.close()
    assert none(packets)


def test_whoever_says_no_is_awake(packets):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(tinyatv.ConnectionFailed, match="refused"):
        tinyatv.connect(by_hand(port, MAC))
    assert none(packets)


def test_a_device_that_answers_is_left_alone(packets, monkeypatch):
    monkeypatch.setattr(wake, "PATIENCE", WAIT)
    with VirtualAppleTV(profile="tvos18") as tv, tinyatv.connect(tv.device) as atv:
        assert atv.device.info.mac == tv.mac
        atv.menu()
    assert none(packets)


def test_a_sleep_proxy_answers_for_it(packets, monkeypatch):
    """Then it is known to sleep, and the packet goes out at once."""
    monkeypatch.setattr(wake, "PATIENCE", WAIT)
    with wake.WakeOnLan(by_hand(1, MAC, deep_sleep=True)):
        assert packets.recv(2048) == wake.magic_packet(MAC)
