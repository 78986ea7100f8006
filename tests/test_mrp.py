"""AppleTV over MRP against the virtual one: commands, events, artwork, quirks, losses."""

from __future__ import annotations

import http.server
import queue
import socket
import threading

import pytest

import tinyatv
from tests.support.commands import MRP_PRESSED
from tests.support.vectors import cases
from tests.support.watching import Heard
from tinyatv import (
    DeviceState,
    FeatureState,
    KeyboardFocus,
    PowerState,
    RepeatState,
    ShuffleState,
    proto,
)
from tinyatv.crypto.chacha20poly1305 import Session
from tinyatv.pairing.hap import channel_keys
from tinyatv.pairing.hap_device import Handshakes
from tinyatv.virtual import VirtualAppleTV
from tinyatv.wire.mrp import MrpWire

WAIT = 5.0  # s; a deadline for things that take milliseconds
MUSIC = "com.apple.TVMusic"


@pytest.fixture
def tv():
    with VirtualAppleTV("Living Room", profile="tvos14", protocols=["mrp"]) as made:
        yield made


@pytest.fixture
def atv(tv):
    with tinyatv.connect(tv.device) as made:
        yield made


def absolute(tv, absolute=True, relative=True):
    with tv.state.change():
        tv.state.absolute_volume = absolute
        tv.state.relative_volume = relative


def up_to_date(atv):
    """Whatever the device has said until now is known: it answers after it has told."""
    atv.wakeup()


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "args", "seen"), MRP_PRESSED)
def test_command(atv, tv, command, args, seen):
    tv.state.pause()
    tv.state.set_position(100)
    up_to_date(atv)
    del tv.log[:]
    getattr(atv, command)(**args)
    assert tv.wait_for(lambda: len(tv.log) >= len(seen))
    assert tv.log == seen


def test_double_press_is_one_for_the_device(atv, tv):
    atv.menu(presses=2)
    assert tv.state.gestures == ["menu", "menu double"]


def test_a_hold_is_as_long_as_it_was_asked_for(atv, tv):
    """Down for 1 s, 50 ms more or less, as the device sees it; not a test of speed."""
    atv.select(hold=1.0)
    assert tv.log == ["select hold"]
    [(button, seconds)] = tv.state.presses
    assert button == "select"
    assert seconds == pytest.approx(1.0, abs=0.05)


def test_effects_show_in_playing(atv, tv):
    atv.set_shuffle(ShuffleState.Albums)
    atv.set_repeat(RepeatState.All)
    atv.pause()
    atv.set_position(30)
    playing = atv.playing()
    assert playing.device_state is DeviceState.Paused
    assert (playing.shuffle, playing.repeat) == (ShuffleState.Albums, RepeatState.All)
    assert (playing.position, playing.total_time) == (30, 222)
    assert playing.app == tinyatv.App("Music", MUSIC)
    atv.next()
    assert atv.playing().title == tv.state.item.title != "Harbour Lights"
    atv.begin_fast_forward()
    assert atv.playing().device_state is DeviceState.Seeking
    atv.end_fast_forward()
    assert atv.playing().device_state is DeviceState.Playing


def test_everything_about_an_episode(atv, tv):
    for _ in range(4):
        atv.next()
    playing = atv.playing()
    assert playing.title == "Pilot"
    assert (playing.series_name, playing.season_number, playing.episode_number) == (
        "Keep Alive", 1, 1,
    )  # fmt: skip
    assert playing.content_identifier == "keep-alive-s01e01"
    assert playing.itunes_store_identifier == 1402001
    assert playing.hash == tv.state.item.identifier


def test_the_app_refuses(atv, tv):
    tv.state.disable("next")
    with pytest.raises(tinyatv.CommandFailed, match=r"^next: .* \(mrp\)$") as caught:
        atv.next()
    assert caught.value.command == "next"
    assert caught.value.code


RESULTS = [(8, "what is playing cannot"), (3, "ignored"), (99, "99")]


@pytest.mark.parametrize(("code", "text"), RESULTS)
def test_result_codes(atv, tv, code, text):
    tv.fail("play", status=code)
    with pytest.raises(tinyatv.CommandFailed, match=f"play: .*{text}") as caught:
        atv.play()
    assert caught.value.code == code
    atv.play()


def test_play_pause_where_only_the_other_one_is_offered(atv, tv):
    tv.state.player.one_sided = True
    with tv.state.change():
        tv.state.device_state = DeviceState.Playing
    up_to_date(atv)
    assert atv.features()["play"] is FeatureState.Unavailable
    assert atv.features()["play_pause"] is FeatureState.Available
    del tv.log[:]
    atv.play_pause()
    atv.play_pause()
    assert tv.log == ["pause", "play"]


def test_skip_by_the_step_of_the_app(atv, tv):
    tv.state.disable("skip_forward")
    up_to_date(atv)
    assert atv.features()["skip_forward"] is FeatureState.Unavailable
    tv.state.enable("skip_forward")
    up_to_date(atv)
    assert atv.features()["skip_forward"] is FeatureState.Available


def test_nothing_plays(atv, tv):
    tv.state.activate(None)
    up_to_date(atv)
    playing = atv.playing()
    assert (playing.device_state, playing.app, playing.title) == (DeviceState.Idle, None, None)
    assert atv.artwork() is None
    assert atv.features()["app"] is FeatureState.Unavailable
    with pytest.raises(tinyatv.CommandFailed):
        atv.play()


def test_two_players(atv, tv):
    """The one that is not active says nothing about what plays."""
    other = next(p for p in tv.state.players if p is not tv.state.player)
    tv.state.activate(other)
    up_to_date(atv)
    assert atv.playing().app == other.app
    assert atv.playing().title == other.item.title
    tv.state.remove_app(other.app.identifier)
    up_to_date(atv)
    assert atv.playing().app is None
    tv.state.activate(MUSIC)
    up_to_date(atv)
    assert atv.playing().title == "Harbour Lights"


# -- volume ----------------------------------------------------------------------------------------


def test_volume(atv, tv):
    assert atv.volume() == 50.0
    atv.set_volume(25)
    assert (atv.volume(), tv.state.volume) == (25.0, 25.0)
    atv.set_volume(25)  # the device has nothing to say to that
    atv.volume_up()
    assert atv.volume() == tv.state.volume == 30.0
    atv.volume_down()
    assert atv.volume() == 25.0
    for wrong in (-1, 100.5, float("nan")):
        with pytest.raises(ValueError, match="volume is 0 to 100"):
            atv.set_volume(wrong)


@pytest.mark.parametrize("case", cases("mrp", "volume"), ids=lambda c: c["name"])
def test_volume_in_percent(atv, tv, case):
    """One decimal, from a number of 32 bits between 0 and 1."""
    tv.state.set_volume(100 * case["value"])
    up_to_date(atv)
    assert atv.volume() == case["expect"]["percent"]


def test_mute_and_back(atv, tv):
    atv.mute()
    assert tv.state.volume == 0
    atv.mute()
    assert tv.state.volume == 50


def test_the_ends_of_the_scale(atv, tv):
    atv.set_volume(100)
    del tv.log[:]
    atv.volume_up()
    assert (tv.log, tv.state.volume) == (["volume_up"], 100)  # what that does is up to the output
    atv.set_volume(0)
    atv.volume_down()
    assert tv.state.volume == 0


def test_an_output_that_only_knows_steps(atv, tv):
    absolute(tv, absolute=False)
    up_to_date(atv)
    del tv.log[:]
    atv.volume_up()
    atv.volume_down()
    atv.mute()
    assert tv.log == ["volume_up", "volume_down", "mute"]
    for ask in (atv.volume, lambda: atv.set_volume(5)):
        with pytest.raises(tinyatv.NotSupported, match="only knows volume_up and volume_down"):
            ask()
    states = atv.features()
    assert states["volume_up"] is FeatureState.Available
    assert states["set_volume"] is FeatureState.Unavailable


def test_an_output_that_ignores_keys(atv, tv):
    absolute(tv, relative=False)
    up_to_date(atv)
    del tv.log[:]
    atv.volume_up()
    assert (tv.log, tv.state.volume) == (["set_volume 55"], 55)


def test_a_fixed_volume(atv, tv):
    with tv.state.change():
        tv.state.volume_control = False
    up_to_date(atv)
    for press in (atv.volume_up, atv.volume_down, atv.mute):
        with pytest.raises(tinyatv.NotSupported, match="fixed volume"):
            press()
    assert atv.features()["volume_up"] is FeatureState.Unavailable


# -- output devices --------------------------------------------------------------------------------


def test_output_devices(atv, tv):
    own, kitchen, bedroom = tv.state.known_outputs

    def outputs():
        return [one.identifier for one in atv.output_devices()]

    assert outputs() == [own.identifier]
    atv.add_output_devices(kitchen.identifier, bedroom.identifier)
    assert outputs() == [own.identifier, kitchen.identifier, bedroom.identifier]
    assert atv.output_devices()[1] == tinyatv.OutputDevice("Kitchen", kitchen.identifier)
    atv.add_output_devices(kitchen.identifier)  # it plays there already
    atv.set_volume(70, kitchen.identifier)
    assert (atv.volume(kitchen.identifier), kitchen.volume) == (70.0, 70.0)
    assert atv.volume() == 50.0
    atv.remove_output_devices(kitchen.identifier)
    assert tv.state.outputs == [own.identifier, bedroom.identifier]
    atv.set_output_devices(bedroom.identifier)
    assert tv.state.outputs == outputs() == [bedroom.identifier]
    atv.set_output_devices(own.identifier)
    assert outputs() == [own.identifier]


@pytest.mark.parametrize("wrong", [(), ("",), (5,), (None,)])
def test_no_output_devices(atv, wrong):
    for change in (atv.add_output_devices, atv.remove_output_devices, atv.set_output_devices):
        with pytest.raises(ValueError, match="name output devices by their identifiers"):
            change(*wrong)


# -- power and text --------------------------------------------------------------------------------


def test_power(atv, tv):
    heard = Heard(atv)
    assert atv.power_state() is PowerState.On
    atv.turn_on(wait=True)  # nothing to wait for
    atv.turn_off(wait=True)
    assert atv.power_state() is tv.state.power is PowerState.Off
    assert heard.next(tinyatv.PowerChanged).power is PowerState.Off
    before = list(tv.log)
    atv.turn_off(wait=True)  # its keys would wake it up
    assert tv.log == before
    atv.turn_on(wait=True)
    assert atv.power_state() is PowerState.On
    assert heard.next(tinyatv.PowerChanged).power is PowerState.On


def test_text(atv, tv):
    heard = Heard(atv)
    assert atv.text_focus() is KeyboardFocus.Unfocused
    for write in (lambda: atv.text_set("a"), lambda: atv.text_append("a"), atv.text_clear):
        with pytest.raises(tinyatv.CommandFailed, match="no text field is open"):
            write()
    tv.state.open_field("old")
    assert heard.next(tinyatv.KeyboardChanged).focus is KeyboardFocus.Focused
    assert atv.text_focus() is KeyboardFocus.Focused
    atv.text_set("stranger")
    atv.text_append(" thïngs")
    assert tv.state.text == "stranger thïngs"
    atv.text_clear()
    assert tv.state.text == ""
    tv.state.close_field()
    assert heard.next(tinyatv.KeyboardChanged).focus is KeyboardFocus.Unfocused


# -- events ----------------------------------------------------------------------------------------


def test_events(atv, tv):
    heard = Heard(atv)
    assert heard.next(tinyatv.PlayingChanged).playing.title == "Harbour Lights"  # at the start
    tv.state.update(title="Other")
    assert heard.next(tinyatv.PlayingChanged).playing.title == "Other"
    tv.state.pause()
    assert heard.next(tinyatv.PlayingChanged).playing.device_state is DeviceState.Paused
    tv.state.set_position(100)
    assert heard.next(tinyatv.PlayingChanged).playing.position == 100
    tv.state.set_volume(60)
    event = heard.next(tinyatv.VolumeChanged)
    assert (event.volume, event.before, event.output_device) == (60.0, 50.0, None)
    kitchen = tv.state.known_outputs[1]
    tv.state.add_outputs(kitchen.identifier)
    names = [one.name for one in heard.next(tinyatv.OutputDevicesChanged).output_devices]
    assert names == ["Living Room", "Kitchen"]
    tv.state.set_volume(10, kitchen.identifier)
    event = heard.until(lambda e: e.volume == 10, tinyatv.VolumeChanged)
    assert (event.output_device, event.before) == (kitchen.identifier, 40.0)


def test_what_changes_nothing_is_no_event(atv, tv):
    heard = Heard(atv)
    heard.next(tinyatv.PlayingChanged)
    tv.state.update(title="Harbour Lights")
    with tv.state.change():
        pass
    tv.state.update(title="Other")
    assert heard.next(tinyatv.PlayingChanged).playing.title == "Other"


def test_listening_again(atv, tv):
    first = Heard(atv)
    first.next(tinyatv.PlayingChanged)
    atv.remove_listener(first.events.put)
    tv.state.update(title="Missed")
    up_to_date(atv)
    second = Heard(atv)
    assert second.next(tinyatv.PlayingChanged).playing.title == "Missed"
    assert first.events.empty()


def test_nobody_listens_nobody_is_told(atv, tv):
    """One thread for each device, and none to tell events."""
    names = [t.name for t in threading.enumerate() if t.name.startswith("tinyatv")]
    assert names == [f"tinyatv-mrp-{tv.host}"]


# -- artwork ---------------------------------------------------------------------------------------


def test_artwork(atv, tv):
    assert atv.artwork().data == tv.state.artwork(512)
    small = atv.artwork(100)
    assert (small.mimetype, small.width, small.height) == ("image/png", 100, 100)
    assert atv.artwork(None, None).data == tv.state.artwork()
    assert atv.playing().artwork_id


def test_no_artwork(atv, tv):
    tv.state.update(artwork=b"")
    up_to_date(atv)
    assert atv.artwork() is None
    assert atv.playing().artwork_id is None
    assert atv.features()["artwork"] is FeatureState.Unavailable


def test_artwork_that_is_announced_and_not_delivered(atv, tv):
    tv.mrp.quirks.artwork_not_delivered = True
    assert atv.artwork() is None


def test_a_large_image_in_one_message(atv, tv):
    """As it comes: 300 kB in one frame."""
    image = b"\xff\xd8\xff" + bytes(range(256)) * 1200
    tv.state.update(artwork=image)
    up_to_date(atv)
    art = atv.artwork()
    assert (art.data, art.mimetype) == (image, "image/jpeg")


def test_a_larger_image_in_pieces(atv, tv):
    image = b"\xff\xd8\xff" + bytes(range(256)) * 4000
    tv.mrp.quirks.artwork_limit = 100_000
    tv.state.update(artwork=image)
    up_to_date(atv)
    assert atv.artwork().data == image


@pytest.fixture
def web():
    """A web server; it answers with what `web.images` has."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            data = server.images.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.images, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_artwork_by_template(atv, tv, web):
    web.images["/300x200bb.png"] = b"template"
    tv.state.update(artwork_identifier=web.url + "/{w}x{h}{c}.{f}", artwork_url=web.url + "/plain")
    up_to_date(atv)
    assert atv.artwork(300, 200).data == b"template"
    web.images["/999999x999999bb.png"] = b"any size"
    assert atv.artwork(None, None).data == b"any size"


def test_artwork_by_url_and_then_from_the_device(atv, tv, web):
    web.images["/plain"] = b"plain"
    tv.state.update(artwork_url=web.url + "/plain", artwork_identifier=web.url + "/{w}")
    up_to_date(atv)
    assert atv.artwork().data == b"plain"
    assert web.asked == ["/512", "/plain"]
    del web.images["/plain"]
    assert atv.artwork().data == tv.state.artwork(512)
    tv.state.update(artwork_url="http://127.0.0.1:1/nobody", artwork_identifier="http://[broken")
    up_to_date(atv)
    assert atv.artwork().data == tv.state.artwork(512)
    tv.state.update(artwork_url="file:///etc/passwd", artwork_identifier=None)
    up_to_date(atv)
    assert atv.artwork().data == tv.state.artwork(512)


# -- quirks of real devices ----------------------------------------------------------------------

ODD = [
    "hid_ack", "rate_zero", "update_client_first", "missing_type",
    "unknown_messages", "unknown_fields", "wrong_types", "one_byte_writes", "coalesce",
]  # fmt: skip


@pytest.mark.parametrize("oddity", ODD)
def test_odd_devices(tv, oddity):
    """Everything works with each of them."""
    setattr(tv.mrp.quirks, oddity, True)
    with tinyatv.connect(tv.device) as atv:
        heard = Heard(atv)
        atv.up()
        atv.pause()
        atv.set_volume(20)
        tv.state.update(title="Pushed")
        playing = heard.until(lambda e: e.playing.title == "Pushed").playing
        assert playing.device_state is DeviceState.Paused
        assert atv.volume() == 20
        assert atv.artwork().data == tv.state.artwork(512)
        assert tv.log == ["up", "pause", "set_volume 20"]


def test_a_player_without_a_name_is_not_the_default_one(tv):
    tv.mrp.quirks.client_without_player = True
    with tinyatv.connect(tv.device) as atv:
        playing = atv.playing()
        assert (playing.device_state, playing.title) == (DeviceState.Idle, None)
        assert playing.app.identifier == MUSIC
        atv.pause()
        assert tv.log == ["pause"]


def test_no_time_stamp(tv):
    tv.mrp.quirks.no_timestamp = True
    with tinyatv.connect(tv.device) as atv:
        assert atv.playing().position is None
        assert atv.features()["position"] is FeatureState.Unavailable


def test_paused_without_an_item(tv):
    tv.mrp.quirks.netflix = True
    with tinyatv.connect(tv.device) as atv:
        atv.pause()
        up_to_date(atv)
        assert atv.playing().device_state is DeviceState.Idle
        assert atv.playing().app is not None


def test_item_without_metadata(tv):
    tv.mrp.quirks.no_metadata = True
    with tinyatv.connect(tv.device) as atv:
        playing = atv.playing()
        assert (playing.device_state, playing.title) == (DeviceState.Playing, None)
        assert playing.hash == tv.state.item.identifier
        assert atv.artwork() is None


def test_buttons_that_are_not_acknowledged(tv):
    tv.mrp.quirks.no_generic_ack = True
    with tinyatv.connect(tv.device, timeout=0.2) as atv:
        with pytest.raises(tinyatv.CommandTimeout, match=r"no reply to up within 0.2 s \(mrp\)"):
            atv.up()
        assert tv.log == ["up"]
        atv.play()


# -- connecting ------------------------------------------------------------------------------------


def test_without_credentials(tv):
    """Where the device allows it, nothing is encrypted, and everything works."""
    device = tv.device
    device.services[0].credentials = None
    with tinyatv.connect(device) as atv:
        atv.pause()
        assert atv.playing().device_state is DeviceState.Paused
        assert atv.artwork() is not None


def test_a_device_that_forgot_us(tv):
    device = tv.device
    tv.forget_clients()
    with pytest.raises(tinyatv.CredentialsError, match="any more: pair again"):
        tinyatv.connect(device)


def test_a_device_that_does_not_know_us_at_all(tv):
    tv.mrp.quirks.refuse_verify = True
    with pytest.raises(tinyatv.CredentialsError, match=r"status -6727.*pair again"):
        tinyatv.connect(tv.device)


def test_another_device_at_this_address(tv):
    with VirtualAppleTV(profile="tvos14") as other:
        device = tv.device
        device.services[0].port = other.ports["mrp"]
        with pytest.raises(tinyatv.CredentialsError, match="not the device that was paired"):
            tinyatv.connect(device)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "aa:bb:cc:dd", "zz:bb:cc:dd", ":" * 9, "0x0123456789ABCDEF"]
)
def test_malformed_credentials(tv, text):
    device = tv.device
    device.services[0].credentials = text
    if not text:
        with tinyatv.connect(device):
            return
    with pytest.raises(tinyatv.CredentialsError, match="malformed credentials"):
        tinyatv.connect(device)


@pytest.mark.parametrize("word", ["DEVICE_INFO", "CLIENT_UPDATES_CONFIG", "GET_KEYBOARD_SESSION"])
def test_hangs_up_while_connecting(tv, word):
    tv.fail(word, drop=True)
    with pytest.raises(tinyatv.ConnectionFailed, match="hung up while connecting"):
        tinyatv.connect(tv.device)


@pytest.mark.parametrize("word", ["DEVICE_INFO", "CRYPTO_PAIRING", "CLIENT_UPDATES_CONFIG"])
def test_says_nothing_while_connecting(tv, word):
    tv.fail(word, silent=True)
    with pytest.raises(tinyatv.CommandTimeout, match=r"no reply to .* within"):
        tinyatv.connect(tv.device, timeout=0.2)


@pytest.mark.parametrize("word", ["DEVICE_INFO", "CRYPTO_PAIRING", "CLIENT_UPDATES_CONFIG"])
def test_garbage_while_connecting(tv, word):
    tv.fail(word, garbage=b"\x05\xff\xff\xff\xff\xff" + bytes(40))
    with pytest.raises(tinyatv.ProtocolError):
        tinyatv.connect(tv.device, timeout=0.5)


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    device = tinyatv.Device("x", "127.0.0.1", [tinyatv.Service("mrp", port)])
    with pytest.raises(tinyatv.ConnectionFailed, match=rf"port {port} \(mrp\): "):
        tinyatv.connect(device)


class RawDevice:
    """A device of this file's own: pairs of sockets, frames, and a script of what it sends."""

    def __init__(self, tv):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.wire = MrpWire(proto.dumps, proto.parse, proto.key)
        self.peer = Handshakes(tv.accessory)
        self.tv = tv
        self.device = tv.device
        self.device.services[0].port = self.server.getsockname()[1]
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.close()
        self.thread.join(WAIT)
        assert not self.thread.is_alive()

    def read(self):
        while (message := self.wire.next_message()) is None:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.wire.feed(data)
        return message

    def frame(self, kind, identifier="", **fields):
        return self.wire.encode(proto.build(kind, identifier, **fields))

    def run(self):
        self.sock, _ = self.server.accept()
        with self.sock:
            try:
                self.script()
            except (EOFError, ConnectionError):
                pass

    def until_m4(self):
        """Everything up to the last message of the verify, which is returned instead of sent."""
        hello = self.read()
        info = {"name": "Raw", "deviceUID": "U", "uniqueIdentifier": "U", "logicalDeviceCount": 1}
        self.sock.sendall(self.frame(proto.DEVICE_INFO, hello.identifier, **info))
        while True:
            reply = self.peer.answer(self.read().body.pairingData)
            frame = self.frame(proto.CRYPTO_PAIRING, pairingData=bytes(reply))
            if reply.secret is not None:
                ours, theirs = channel_keys(reply.secret, "mrp")
                self.wire.secure(Session(theirs, ours))
                return frame
            self.sock.sendall(frame)

    def serve(self):
        """Answer whatever asks, with nothing."""
        while True:
            message = self.read()
            if message.identifier:
                self.sock.sendall(self.frame(proto.UNKNOWN, message.identifier))


def test_encryption_is_switched_on_between_frames_of_one_segment(tv):
    """The end of the verify, in clear, and two sealed messages right behind it."""

    class Eager(RawDevice):
        def script(self):
            last = self.until_m4()
            client = {"bundleIdentifier": MUSIC, "displayName": "Early"}
            self.sock.sendall(
                last
                + self.frame(proto.SET_NOW_PLAYING_CLIENT, client=client)
                + self.frame(proto.VOLUME_CONTROL_AVAILABILITY, volumeControlAvailable=False)
            )
            self.serve()

    with Eager(tv) as raw, tinyatv.connect(raw.device) as atv:
        assert atv.playing().app == tinyatv.App("Early", MUSIC)
        with pytest.raises(tinyatv.NotSupported, match="fixed volume"):
            atv.volume_up()


@pytest.mark.parametrize("attack", ["replay", "out of order", "changed", "in clear"])
def test_frames_that_nobody_sealed_for_now(tv, attack):
    """The link ends with an error that says so; nothing of the frame is believed."""

    class Attacker(RawDevice):
        def script(self):
            self.sock.sendall(self.until_m4())
            for _ in range(3):
                message = self.read()
                if message.identifier:
                    self.sock.sendall(self.frame(proto.UNKNOWN, message.identifier))
            told = {"volumeControlAvailable": True, "volumeCapabilities": 1}
            good = self.frame(proto.VOLUME_CONTROL_AVAILABILITY, **told)
            later = self.frame(proto.VOLUME_CONTROL_AVAILABILITY, **told)
            self.sock.sendall({
                "replay": good + good,
                "out of order": later,
                "changed": good[:-1] + bytes([good[-1] ^ 1]),
                "in clear": b"\x04\x08\x2a\x20\x00",
            }[attack])  # fmt: skip
            self.serve()

    with Attacker(tv) as raw, tinyatv.connect(raw.device) as atv:
        heard = Heard(atv)
        error = heard.next(tinyatv.Disconnected).error
        assert isinstance(error, tinyatv.AppleTVError)
        assert "tag" in str(error)
        with pytest.raises(tinyatv.ConnectionLost):
            atv.play()


def test_the_device_is_asked_whether_it_is_there(tv, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.mrp.HEARTBEAT", 0.02)
    with tinyatv.connect(tv.device) as atv:
        assert tv.wait_for(lambda: tv.requests.count("GENERIC") >= 5)
        atv.play()


def test_a_device_that_does_not_answer_any_more(tv, monkeypatch):
    monkeypatch.setattr("tinyatv.backends.mrp.HEARTBEAT", 0.02)
    with tinyatv.connect(tv.device, timeout=0.1) as atv:
        heard = Heard(atv)
        tv.mrp.quirks.no_generic_ack = True
        error = heard.next(tinyatv.Disconnected).error
        assert "does not answer any more" in str(error)
        assert tv.requests[-2:] == ["GENERIC"] * 2


# -- losses ----------------------------------------------------------------------------------------


def test_device_gone(atv, tv):
    heard = Heard(atv)
    tv.stop()
    event = heard.next(tinyatv.Disconnected)
    assert isinstance(event.error, tinyatv.ConnectionLost)
    assert event.protocol == "mrp"
    for command in (atv.play, atv.playing, atv.artwork, atv.volume, atv.up):
        with pytest.raises(tinyatv.ConnectionLost):
            command()


def test_gone_while_a_button_is_down(atv, tv):
    errors = queue.SimpleQueue()

    def hold():
        try:
            atv.up(hold=60)
        except tinyatv.AppleTVError as exc:
            errors.put(exc)

    thread = threading.Thread(target=hold)
    thread.start()
    assert tv.wait_for(lambda: "up" in tv.state.held)
    tv.stop()
    assert isinstance(errors.get(timeout=WAIT), tinyatv.ConnectionLost)
    thread.join()


def test_closed_while_waiting(tv):
    atv = tinyatv.connect(tv.device)
    errors = queue.SimpleQueue()
    tv.fail("turn_on", silent=True)
    heard = Heard(atv)
    with tv.state.change():
        tv.state.power = PowerState.Off
    heard.next(tinyatv.PowerChanged)

    def wait():
        try:
            atv.turn_on(wait=True)
        except tinyatv.AppleTVError as exc:
            errors.put(exc)

    thread = threading.Thread(target=wait)
    thread.start()
    assert tv.wait_for(lambda: "WAKE_DEVICE" in tv.requests)
    atv.close()
    assert isinstance(errors.get(timeout=WAIT), tinyatv.ConnectionLost)
    thread.join()


def test_garbage_later(atv, tv):
    tv.fail("play", garbage=bytes(300))
    with pytest.raises((tinyatv.ProtocolError, tinyatv.ConnectionLost)):
        atv.play()


def test_reconnect_after_a_port_change(monkeypatch):
    monkeypatch.setattr("tinyatv.session.PAUSES", (0.01, 0.05))
    moving = VirtualAppleTV(profile="tvos14", mdns_port=0)
    with moving, tinyatv.connect(moving.device, reconnect=True) as atv:
        heard = Heard(atv)
        heard.next(tinyatv.PlayingChanged)
        moving.move()
        heard.next(tinyatv.Disconnected)
        heard.next(tinyatv.Reconnected)
        moving.state.update(title="After")
        heard.until(lambda e: e.playing.title == "After")
        atv.pause()
        assert moving.log[-1] == "pause"


def test_many_connections(tv, share):
    """Connect, press, close: nothing is left, and the device has not lost count."""
    for _ in range(share(400)):
        with tinyatv.connect(tv.device) as atv:
            atv.up()
    assert tv.wait_for(lambda: not tv.mrp.peers)
    assert tv.log == ["up"] * share(400)


def test_commands_from_many_threads(atv, tv):
    """Each press is whole, though ten threads press at once."""
    threads = [threading.Thread(target=lambda: [atv.up() for _ in range(20)]) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tv.log == ["up"] * 200
    assert [button for button, _ in tv.state.presses] == ["up"] * 200


# -- pairing ---------------------------------------------------------------------------------------


def test_pair(tmp_path):
    store = tinyatv.Store(tmp_path / "store.json")
    with VirtualAppleTV(profile="tvos14", credentials=()) as tv:
        device = tv.device
        assert tinyatv.pair(device, pin=lambda: tv.pin, store=store) is device
        assert tv.pin is None
        with tinyatv.connect(tv.identifier, store=store) as atv:
            atv.pause()
        assert tv.log == ["pause"]


def test_pair_again_replaces(tmp_path):
    store = tinyatv.Store(tmp_path / "store.json")
    with VirtualAppleTV(profile="tvos14", credentials=()) as tv:
        for _ in range(2):
            tinyatv.pair(tv.device, pin=lambda: tv.pin, store=store)
        assert len(tv.accessory.clients) == 1


def test_wrong_pin(tmp_path):
    store = tinyatv.Store(tmp_path / "store.json")
    with VirtualAppleTV(profile="tvos14", pin="1111", credentials=()) as tv:
        with pytest.raises(tinyatv.PairingError, match="wrong PIN"):
            tinyatv.pair(tv.device, pin="2222", store=store)
        with pytest.raises(tinyatv.PairingBackOff) as caught:
            tinyatv.pair(tv.device, pin="1111", store=store)
        assert caught.value.seconds
        assert store.devices() == []
        assert not tv.accessory.clients


def test_no_pin_at_all(monkeypatch, tv):
    monkeypatch.setattr("sys.stdin", None)

    def no_input(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", no_input)
    with pytest.raises(tinyatv.PairingError, match="no PIN was given"):
        tinyatv.pair(tv.device, store=tinyatv.Store(memory=True))


@pytest.mark.parametrize("step", range(1, 7))
def test_hangs_up_while_pairing(step):
    with VirtualAppleTV(profile="tvos14", pin="1111", credentials=()) as tv:
        tv.fail("DEVICE_INFO" if step == 1 else "CRYPTO_PAIRING", drop=True)
        with pytest.raises(tinyatv.ConnectionFailed, match="hung up while pairing"):
            tinyatv.pair(tv.device, pin="1111", store=tinyatv.Store(memory=True))
