"""`tinyatv virtual`: what it prints and takes, and who it is when it is started again."""

from __future__ import annotations

import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import types

import pytest

import tinyatv
from tests.support.mrp_client import Remote
from tests.support.program import ROOT, Program
from tinyatv import Store, proto
from tinyatv.cli.virtual import NAME
from tinyatv.pairing import hap
from tinyatv.pairing.hap_setup import hap_setup


@pytest.fixture
def program(own_store):
    """A function that starts it; returns the process and the first line that it printed."""
    started = []

    def start(*flags):
        process = subprocess.Popen(
            [sys.executable, "-m", "tinyatv", "virtual", "--profile", "tvos14", "--no-announce",
             "--json", "--mdns-port", "0", *flags],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        started.append(process)
        return process, json.loads(process.stdout.readline())

    yield start
    for process in started:
        end(process)


def end(process):
    with process:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def remote_of(about):
    credentials = about["credentials"]
    return Remote(types.SimpleNamespace(ports=about["ports"], credentials=credentials))


def test_credentials(program):
    process, about = program("-n", "Attic")
    assert (about["name"], about["profile"], set(about["ports"])) == (
        "Attic", "tvos14", {"mrp", "companion", "mdns"},
    )  # fmt: skip
    with remote_of(about) as remote:
        remote.hello()
        remote.verify()
        remote.tap("up")
        assert json.loads(process.stdout.readline())["command"] == "up"


def test_pin(program):
    process, about = program("--pin", "0042")
    assert about["credentials"] == {}
    with remote_of(about) as remote:
        remote.hello()
        identity = hap.Identity(proto.new_id().encode())
        pin = lambda: json.loads(process.stdout.readline())["pin"]  # noqa: E731
        credentials = hap.drive(hap_setup(identity, pin), remote.exchange)
        remote.verify(str(credentials))


def test_same_identity_after_a_restart(program):
    identifier = "5D797FD3-3538-427E-A47B-A32FC6CF3A6A"
    _, about = program("--identifier", identifier)
    _, again = program("--identifier", identifier, "--accept", about["credentials"]["mrp"])
    with remote_of(again) as remote:
        assert remote.hello().uniqueIdentifier == identifier
        remote.verify(about["credentials"]["mrp"])
        remote.listen()


# -- who it is ------------------------------------------------------------------------------------


def query(about):
    return f"127.0.0.1:{about['ports']['mdns']}"


def says(process, key):
    """What it prints next under this key."""
    while key not in (line := json.loads(process.stdout.readline())):
        pass
    return line[key]


def pair_with(process, about, **options):
    return tinyatv.pair(query(about), pin=lambda: says(process, "pin"), **options)


@pytest.mark.parametrize("flags", [(), ("-n", "Attic"), ("-n", "Küche / 1")])
@pytest.mark.parametrize("profile", ["tvos14", "tvos18"])
def test_paired_before_the_restart(program, flags, profile):
    flags = (*flags, "--profile", profile)
    process, about = program(*flags)
    pair_with(process, about)
    end(process)
    process, again = program(*flags)
    same = ("name", "identifier", "credentials")
    assert {key: again[key] for key in same} == {key: about[key] for key in same}
    store = Store()
    (found,) = tinyatv.scan(20, hosts=query(again))
    assert store.find(found.identifier).name == about["name"]
    store.save(found)
    with tinyatv.connect(about["name"]) as atv:
        atv.pause()
    assert says(process, "command") == "pause"


def test_paired_before_the_restart_over_dmap(program):
    """The identity of each profile is its own, and so are its pairings."""
    flags = ("-n", "Attic", "--profile", "atv3")
    process, about = program(*flags)
    _, other = program("-n", "Attic", "--profile", "tvos14")
    assert other["name"] == "Attic 2"
    guid = about["credentials"]["dmap"]
    end(process)
    process, again = program(*flags)
    assert (again["identifier"], again["credentials"]) == (about["identifier"], {"dmap": guid})


def test_credentials_that_it_printed_are_accepted_after_a_restart(program):
    process, about = program()
    end(process)
    _, again = program("--pin", "1234")
    with remote_of({**again, "credentials": about["credentials"]}) as remote:
        remote.hello()
        remote.verify()


def test_what_it_remembers_is_for_its_owner_alone(program, own_store):
    process, about = program("-n", "Attic")
    says_so = [path for path in own_store.parent.iterdir() if path.name.startswith("virtual-attic")]
    assert says_so
    end(process)
    for path in own_store.parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    (path,) = own_store.parent.glob("virtual-attic-*.json")
    assert about["identifier"] in path.read_text()
    path.write_text("{")
    done = subprocess.run(
        [sys.executable, "-m", "tinyatv", "virtual", "-n", "Attic", "--no-announce"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert "damaged" in done.stderr
    assert path.read_text() == "{"


def test_nothing_is_remembered_without_a_store(program, own_store):
    _, about = program("--storage", "none")
    _, other = program("--storage", "none")
    assert (about["name"], other["name"]) == (NAME, NAME)
    assert about["identifier"] != other["identifier"]
    assert not own_store.parent.exists()


def test_a_store_that_cannot_be_written(program, own_store):
    own_store.parent.write_text("a file")
    process, about = program()
    assert about["name"] == NAME
    assert "nothing is remembered" in process.stderr.readline()


# -- two side by side ------------------------------------------------------------------------------


def test_a_second_one_beside_it(program):
    """It has a name and an identity of its own, kept as well: each is found and controlled."""
    first, one = program()
    second, other = program()
    assert (one["name"], other["name"]) == (NAME, f"{NAME} 2")
    assert one["identifier"] != other["identifier"]
    for process, about in ((first, one), (second, other)):
        pair_with(process, about)
        with tinyatv.connect(about["name"]) as atv:
            atv.pause()
        assert says(process, "command") == "pause"
    end(first)
    end(second)
    first, again = program()
    assert (again["name"], again["identifier"]) == (one["name"], one["identifier"])
    second, again = program()
    assert (again["name"], again["identifier"]) == (other["name"], other["identifier"])


@pytest.mark.parametrize("profile", ["atv3", "tvos18"])
def test_two_that_are_announced(own_store, profile):
    """By multicast, at one address: found by name, connected, controlled."""
    name = f"Attic {secrets.token_hex(4)}"
    flags = ("virtual", "--json", "--profile", profile, "-n", name)
    store = Store()
    with Program(*flags) as first, Program(*flags) as second:
        started = [(one, json.loads(one.stdout.readline())) for one in (first, second)]
        assert sorted(about["name"] for _, about in started) == [name, f"{name} 2"]
        for process, about in started:
            (found, *_) = tinyatv.scan(30, wanted=about["name"], interfaces=["127.0.0.1"])
            assert found.name == about["name"]
            for service in found.services:
                service.credentials = about["credentials"].get(service.protocol)
            store.save(found)
            with tinyatv.connect(about["name"]) as atv:
                atv.pause()
            assert says(process, "command") == "pause"
        for process, _ in started:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


# -- its terminal ----------------------------------------------------------------------------------


def test_who_wants_to_pair_and_how_that_ended(program):
    process, about = program()
    pair_with(process, about)
    assert says(process, "pairing") == "paired"
    with pytest.raises(tinyatv.PairingError):
        tinyatv.pair(query(about), pin="0000", protocols=["mrp"], store=Store(memory=True))
    assert says(process, "pin")
    assert says(process, "pairing") == "wrong PIN"


def test_a_pairing_that_is_given_up(program):
    process, about = program()

    def leaves():
        assert says(process, "pin")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tinyatv.pair(query(about), pin=leaves, protocols=["mrp"], store=Store(memory=True))
    assert says(process, "pairing") == "given up"


def enters(process, line):
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def test_commands(program):
    process, about = program()
    store = Store(memory=True)
    (found,) = tinyatv.scan(20, hosts=query(about))
    for service in found.services:
        service.credentials = about["credentials"].get(service.protocol)
    news = queue.SimpleQueue()
    with tinyatv.connect(found, store=store) as atv:
        atv.add_listener(news.put)
        enters(process, "title  A film  ")
        assert says(process, "title") == "A film"
        while getattr(getattr(news.get(timeout=20), "playing", None), "title", "") != "A film":
            pass
        enters(process, "text who is it")
        assert says(process, "field") == "who is it"
        assert atv.text_get() == "who is it"
        enters(process, "close")
        assert says(process, "field") is None
        assert atv.text_get() is None
    enters(process, "pin 0815")
    assert says(process, "next_pin") == "0815"
    tinyatv.pair(query(about), pin="0815", store=store)
    assert says(process, "pin") == "0815"
    for wrong in ("dance", "title", "pin", "pin 12", "123456", "close it"):
        enters(process, wrong)
        line = process.stderr.readline()
        assert line.startswith("tinyatv: ")


def test_in_words(own_store):
    """For people, without --json."""
    with Program("virtual", "--no-announce", "--profile", "tvos14", "--mdns-port", "0") as process:
        line = process.stdout.readline()
        assert line.startswith(f"{NAME} (tvos14) at 127.0.0.1: ")
        port = int(line.split("mdns ")[1].split(".")[0])

        def pin():
            return process.stdout.readline().split()[1].rstrip(":")

        tinyatv.pair(f"127.0.0.1:{port}", pin=pin)
        assert process.stdout.readline() == "pairing: paired\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
