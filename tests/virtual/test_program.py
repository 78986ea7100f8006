"""`tinyatv virtual` with a profile that shows a PIN."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types

import pytest

from tests.support.mrp_client import Remote
from tests.support.program import ROOT
from tinyatv import proto
from tinyatv.pairing import hap
from tinyatv.pairing.hap_setup import hap_setup


@pytest.fixture
def program(own_store):
    """A function that starts it; returns the process and the first line that it printed."""
    started = []

    def start(*flags):
        process = subprocess.Popen(
            [sys.executable, "-m", "tinyatv", "virtual", "--profile", "tvos14", "--no-announce",
             "--json", *flags],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        started.append(process)
        return process, json.loads(process.stdout.readline())

    yield start
    for process in started:
        with process:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def remote_of(about):
    credentials = about["credentials"]
    return Remote(types.SimpleNamespace(ports=about["ports"], credentials=credentials))


def test_credentials(program):
    process, about = program("-n", "Attic")
    assert (about["name"], about["profile"], set(about["ports"])) == (
        "Attic", "tvos14", {"mrp", "companion"},
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
