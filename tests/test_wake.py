"""Waking up a device that does not answer, by a packet to its hardware address."""

from __future__ import annotations

import secrets
import socket
import threading

import pytest

import tinyatv
from tests.support.program import run
from tinyatv.cli.words import COMMANDS
from tinyatv.discovery import wake
from tinyatv.pool import Pool
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


# -- a question does not act ---------------------------------------------------------------------


@pytest.fixture
def sleeper():
    made = Sleeper()
    yield made
    made.close()


@pytest.fixture
def brief(packets, monkeypatch):
    """One packet for each device that is waited for, and not for long."""
    monkeypatch.setattr(wake, "PATIENCE", 0.05)
    monkeypatch.setattr(wake, "AGAIN", 600.0)
    monkeypatch.setattr(wake, "WAKE_TIMEOUT", 0.1)
    return packets


def burst(sock):
    """How many packets there are by now."""
    sock.setblocking(False)
    count = 0
    try:
        while True:
            assert sock.recv(2048) == wake.magic_packet(MAC)
            count += 1
    except BlockingIOError:
        return count


ASKING = {
    # what is playing
    "playing", "media_type", "device_state", "title", "artist", "album", "genre", "total_time",
    "position", "shuffle", "repeat", "hash", "series_name", "season_number", "episode_number",
    "content_identifier", "itunes_store_identifier", "app", "artwork", "artwork_id",
    # other states
    "volume", "output_devices", "power_state", "apps", "accounts", "text_focus_state", "text_get",
    # about the device
    "info", "operating_system", "version", "build_number", "model", "model_str", "raw_model",
    "mac", "output_device_id", "device_id", "features", "server_info",
    # those that send nothing at all
    "delay", "close", "page_up", "page_down",
    # nobody is woken to be sent to sleep
    "turn_off", "suspend",
    # programs
    "watch", "push_updates",
}  # fmt: skip
WITH = {
    "swipe": "1,2,3,4,5", "action": "1,2,press", "set_position": "1", "set_shuffle": "off",
    "set_repeat": "off", "play_url": "http://192.0.2.1/x.mp4", "set_volume": "5",
    "add_output_devices": "X", "remove_output_devices": "X", "set_output_devices": "X",
    "launch": "com.example.app", "switch_account": "X", "text_set": "x", "text_append": "x",
    "delay": "1", "stream_file": __file__,
}  # fmt: skip
# Those that run by themselves, with other ends in mind; `remote` and `prompt` are remotes.
PROGRAMS = {
    name
    for name, row in COMMANDS.items()
    if row.program is not None and name not in ("watch", "push_updates")
}
WORDS = [name for name, row in COMMANDS.items() if name not in PROGRAMS and not row.offline]


@pytest.fixture
def asleep(own_store, sleeper, monkeypatch):
    """A stored device of which nothing answers."""
    monkeypatch.setenv("TINYATV_SERVE", "off")
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", "127.0.0.1:9")  # where nobody answers
    device = by_hand(sleeper.port, MAC)
    device.services[0].identifier = secrets.token_hex(8)
    tinyatv.Store().save(device)
    return "-n", "By hand", "--timeout=0.15", "--scan-timeout=0.1"


@pytest.mark.parametrize("word", WORDS)
def test_who_wakes(brief, asleep, capsys, word):
    """Words that act send one burst, words that ask send none."""
    said = f"{word}={WITH[word]}" if word in WITH else word
    code, _, err = run(capsys, *asleep, said)
    assert (code, "no answer in time" in err) == (4, True)
    assert burst(brief) == (0 if word in ASKING else 1)


def test_the_table_is_about_all_words():
    assert {*WITH} <= {*WORDS}
    assert {*WORDS} >= ASKING
    assert {name for name in WORDS if COMMANDS[name].acts} == {*WORDS} - ASKING


@pytest.mark.parametrize(
    ("flags", "words", "packets_sent"),
    [
        (["--wake"], ["power_state"], 1),
        (["--no-wake"], ["power_state"], 0),
        (["--no-wake"], ["turn_on"], 0),
        (["--wake"], ["turn_on"], 1),
        ([], ["power_state", "playing"], 0),
        ([], ["power_state", "menu"], 1),
    ],
)
def test_wake_as_told(brief, asleep, capsys, flags, words, packets_sent):
    assert run(capsys, *asleep, *flags, *words)[0] == 4
    assert burst(brief) == packets_sent


@pytest.mark.parametrize(("wakes", "packets_sent"), [(None, 1), (True, 1), (False, 0)])
def test_connect_wakes_as_told(brief, sleeper, wakes, packets_sent):
    with pytest.raises(tinyatv.ConnectionFailed, match="no answer in time"):
        tinyatv.connect(by_hand(sleeper.port, MAC), timeout=0.15, wake=wakes)
    assert burst(brief) == packets_sent


def test_wake_at_once(packets, monkeypatch):
    """Even a device that answers."""
    monkeypatch.setattr(wake, "PATIENCE", 600.0)
    with VirtualAppleTV(profile="tvos18") as tv:
        device = tv.device
        assert device.info.mac
        tinyatv.connect(device, wake=True).close()
        assert packets.recv(2048) == wake.magic_packet(tv.mac)


def half_asleep(tv, sleeper):
    """One of its protocols answers."""
    device = tv.device
    device.info.mac = MAC
    device.service("companion").port = sleeper.port
    return device


@pytest.mark.parametrize("answers", [True, False])
def test_half_of_it_answers(brief, sleeper, answers):
    """It is awake, be it that it talks to us or that it refuses: no packet."""
    with VirtualAppleTV(profile="tvos14", protocols=["mrp", "companion"]) as tv:
        device = half_asleep(tv, sleeper)
        if answers:
            with tinyatv.connect(device, timeout=0.5) as atv:
                assert atv.protocols == ("mrp",)
        else:
            tv.fail("DEVICE_INFO", drop=True, times=None)
            with pytest.raises(tinyatv.ConnectionFailed):
                tinyatv.connect(device, timeout=0.5)
    assert burst(brief) == 0


def test_reconnecting_wakes_nobody(brief, monkeypatch):
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.01, 0.01))
    with VirtualAppleTV(profile="tvos18", protocols=["companion"]) as tv:
        device = tv.device
        device.info.mac = MAC
        device.services[0].identifier = None  # nobody looks for it
        sleeper = Sleeper()
        with tinyatv.connect(device, timeout=0.1, reconnect=True, wake=False) as atv:
            atv.device.services[0].port = sleeper.port
            tv.companion.drop_peers()
            assert tv.wait_for(lambda: atv._session._tries > 3)
            monkeypatch.setattr(wake, "WAKE_TIMEOUT", 0.1)
            with pytest.raises(tinyatv.ConnectionLost):
                atv.turn_on()  # never means never
        sleeper.close()
    assert burst(brief) == 0


@pytest.mark.parametrize("word", ["power_state", "menu"])
def test_serve_wakes_as_the_word_does(brief, asleep, own_store, sleeper, word):
    store = tinyatv.Store()
    acts = COMMANDS[word].acts
    with Pool(store) as pool, pytest.raises(tinyatv.ConnectionFailed):
        pool.get(store.find("By hand"), timeout=0.15, scan_timeout=0.1, acts=acts)
    assert burst(brief) == int(acts)
