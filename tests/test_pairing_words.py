"""Pairing as people meet it: wrong PINs, second thoughts, and what is said about them."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import socket
import threading

import pytest

import tinyatv
from tests.support.program import Person, Program, free_port, run, run_json
from tinyatv.virtual import VirtualAppleTV

HAP = [("tvos14", "mrp"), ("tvos18", "companion"), ("tvos18", "airplay"), ("airplay1", "airplay")]
GUID = "0123456789ABCDEF"


@pytest.fixture(params=HAP, ids="-".join)
def kind(request):
    return request.param


@pytest.fixture
def tv(kind, own_store, monkeypatch):
    """One that shows the same PIN each time, and can be paired by one protocol."""
    profile, protocol = kind
    with VirtualAppleTV(
        "Bedroom", profile=profile, protocols=[protocol], mdns_port=0, credentials=(), pin="1111"
    ) as made:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{made.ports['mdns']}")
        yield made


@pytest.fixture
def old(own_store, monkeypatch):
    """One of the first three generations, without a pairing."""
    with VirtualAppleTV("Bedroom", mdns_port=0, credentials=()) as made:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{made.ports['mdns']}")
        yield made


def at_terminal(*words):
    screen, terminal = pty.openpty()
    process = Program(*words, **dict.fromkeys(("stdin", "stdout", "stderr"), terminal))
    os.close(terminal)
    return process, Person(screen), screen


# -- a wrong PIN -----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["pair", "wizard"])
def test_a_wrong_pin_is_asked_for_again(tv, kind, word):
    if (kind[0], word) == ("airplay1", "wizard"):
        pytest.skip("the wizard leaves it as it is: it needs no pairing")
    words = ["--protocol", kind[1]] if word == "pair" else []
    tv.accessory.back_off = kind[0] != "airplay1"  # it does not say how long a pause it wants
    process, person, screen = at_terminal(word, *words)
    with process:
        if word == "wizard":
            person.reads("Which one (ENTER or 1, q to leave)? ")
            person.types("")
        person.reads("PIN that Bedroom shows (ENTER if there is none): ")
        person.types("2222")
        person.reads("That PIN is wrong.\r\n")
        if tv.accessory.back_off:
            person.reads("The TV wants a pause of 1 s, and shows a new one then.\r\n")
        person.reads("PIN that Bedroom shows (ENTER if there is none): ")
        person.types("1111")
        person.reads(f"Paired with Bedroom ({kind[1]}), and connected with each")
        process.wait(timeout=30)
    os.close(screen)
    assert len(tv.pins) == 2
    assert len(tv.accessory.clients) == 1


def test_a_wrong_pin_from_a_pipe_or_a_flag_is_not(tv, kind, capsys, monkeypatch):
    tv.accessory.back_off = False
    said = "tinyatv: wrong PIN: start again, a new one will be shown\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("2222\n1111\n"))
    code, _, err = run(capsys, "pair", "--protocol", kind[1])
    assert (code, err) == (6, said)
    assert run(capsys, "pair", "--protocol", kind[1], "--pin=2222") == (6, "", said)
    assert len(tv.pins) == 2
    assert tv.accessory.clients == {}


def test_a_wrong_pin_in_python(tv, kind):
    tv.accessory.back_off = False
    for pin in ("2222", lambda: "2222"):
        with pytest.raises(tinyatv.PairingError, match=r"^wrong PIN: start again") as wrong:
            tinyatv.pair(tv.device, protocols=[kind[1]], pin=pin)
        assert wrong.value.wrong_pin
        assert wrong.value.seconds is None
    assert len(tv.pins) == 2


# -- DMAP ------------------------------------------------------------------------------------------


def typed(tv, port):
    """What types the PIN on the TV as soon as it is told, and remembers it."""
    pins = []

    def show(pin):
        pins.append(pin)
        tv.enter_pin(pin, ("127.0.0.1", port, GUID))

    return pins, show


@pytest.mark.parametrize(("pin", "typed_pin"), [(lambda: "0042", "0042"), (lambda: 7, "0007")])
def test_dmap_calls_a_function_for_the_pin(old, pin, typed_pin):
    port = free_port()
    pins, show = typed(old, port)
    device = tinyatv.pair(old.device, pin=pin, show_pin=show, port=port, guid=GUID, announce=False)
    assert pins == [typed_pin]
    assert device.service("dmap").credentials == f"0x{GUID}"


def test_dmap_makes_one_up_if_the_function_has_none(old):
    port = free_port()
    pins, show = typed(old, port)
    tinyatv.pair(
        old.device, pin=lambda: None, show_pin=show, port=port, guid=GUID, announce=False
    )  # fmt: skip
    assert len(pins[0]) == 4


# -- second thoughts -------------------------------------------------------------------------------


def cancelled(target, **options):
    with pytest.raises(tinyatv.PairingError, match=r"^cancelled$"):
        tinyatv.pair(target, **options)


def later(asked, *events):
    """Another thread, which sets events once it is asked to."""

    def run():
        assert asked.wait(30)
        for event in events:
            event.set()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_cancelled_while_the_pin_is_asked_for(tv, kind):
    cancel, asked, answered = (threading.Event() for _ in range(3))

    def pin():
        asked.set()
        assert tv.state.wait_for(lambda state: tv.pin is None)  # it is off the screen at once
        answered.set()
        return ""

    person = later(asked, cancel)
    cancelled(tv.device, protocols=[kind[1]], pin=pin, cancel=cancel)
    person.join()
    assert answered.is_set()
    assert tv.accessory.clients == {}


def test_cancelled_while_the_device_is_silent(tv, kind):
    cancel, asked = threading.Event(), threading.Event()

    def pin():
        asked.set()
        return "1111"

    if kind[0] == "airplay1":
        tv.fail("/pair-setup-pin", after=1, silent=True)
    else:
        tv.fail("pair M3", silent=True)
    person = later(asked, cancel)
    cancelled(tv.device, protocols=[kind[1]], pin=pin, cancel=cancel)
    person.join()
    assert tv.accessory.clients == {}


def test_cancelled_while_nobody_types_the_pin(old):
    cancel, shown = threading.Event(), threading.Event()
    port = free_port()
    person = later(shown, cancel)
    cancelled(
        old.device, show_pin=lambda pin: shown.set(), cancel=cancel, timeout=600, port=port,
        guid=GUID, announce=False,
    )  # fmt: skip
    person.join()
    with pytest.raises(tinyatv.ConnectionFailed):  # it does not listen any more
        old.enter_pin("1234", ("127.0.0.1", port, GUID))


def test_cancelled_while_nobody_takes_the_connection(kind, own_store):
    """As with a device that sleeps: its address is there, and nothing comes back."""
    protocol = kind[1]
    with socket.socket() as deaf, contextlib.ExitStack() as queue:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # it has no room for more
            sock = queue.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        service = tinyatv.Service(protocol, deaf.getsockname()[1], identifier="AA:BB:CC:00:00:01")
        cancel = threading.Event()
        timer = threading.Timer(0.2, cancel.set)
        timer.start()
        cancelled(
            tinyatv.Device("Den", "127.0.0.1", [service]), protocols=[protocol], pin="1111",
            cancel=cancel,
        )  # fmt: skip
        timer.join()


def test_cancelled_before_it_begins(tv, kind):
    cancel = threading.Event()
    cancel.set()
    cancelled(tv.device, protocols=[kind[1]], pin="1111", cancel=cancel)
    assert tv.pins == []


def test_cancelled_on_the_terminal(tv, kind, monkeypatch, capsys):
    """Nobody types anything, and `pair` asks by itself."""
    reader, writer = os.pipe()
    cancel, waited_for = threading.Event(), threading.Event()

    class Keyboard(io.FileIO):
        def fileno(self):
            waited_for.set()
            return super().fileno()

    with Keyboard(reader) as stdin, open(writer, "w"):
        monkeypatch.setattr("sys.stdin", stdin)
        person = later(waited_for, cancel)
        cancelled(tv.device, protocols=[kind[1]], cancel=cancel)
        person.join()
    assert capsys.readouterr().out == "PIN on the TV: \n"


def test_an_event_that_is_never_set_changes_nothing(tv, kind):
    tinyatv.pair(tv.device, protocols=[kind[1]], pin=lambda: tv.pin, cancel=threading.Event())
    assert len(tv.accessory.clients) == 1


# -- what cannot be paired -------------------------------------------------------------------------


def test_unknown_options_are_refused(tv):
    with pytest.raises(TypeError, match="'annouce'"):
        tinyatv.pair(tv.device, pin="1111", annouce=False)
    assert tv.pins == []


def test_without_an_identifier_no_pin_is_spent(tv, kind, capsys):
    service = tinyatv.Service(kind[1], tv.ports[kind[1]])
    said = "has no identifier, so a pairing could not be stored: give it one (--id), or let a scan"
    with pytest.raises(ValueError, match="has no identifier"):
        tinyatv.pair(tinyatv.Device("Bedroom", "127.0.0.1", [service]), pin="1111")
    args = ["--manual", "--address", "127.0.0.1", "--port", str(service.port)]
    code, out, err = run(capsys, *args, "--protocol", kind[1], "pair", "--pin", "1111")
    assert (code, out, err) == (2, "", f"tinyatv: 127.0.0.1 {said} find it\n")
    assert tv.pins == []


def test_paired_with_nothing_is_not_said(own_store, monkeypatch, capsys):
    with VirtualAppleTV("Kitchen", profile="homepod", mdns_port=0) as speaker:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{speaker.ports['mdns']}")
        assert run(capsys, "pair") == (0, "Kitchen needs no pairing\n", "")
        code, (line,) = run_json(capsys, "pair")
        assert (code, line["paired"], line["name"]) == (0, [], "Kitchen")
