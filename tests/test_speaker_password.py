"""Passwords of AirPlay speakers and HomePods, which take the place of the PIN."""

from __future__ import annotations

import pytest

import tinyatv
from tests.support.program import run, run_json
from tinyatv import CredentialsError, Device, PairingBackOff, Service, Store
from tinyatv.model import PairingRequirement
from tinyatv.pairing import hap
from tinyatv.virtual import VirtualAppleTV

PASSWORD = "s3cret"
FLAG = "--airplay-password"
WAIT = 20.0  # s; a deadline


@pytest.fixture
def profile():
    return "homepod"


@pytest.fixture
def pod(own_store, monkeypatch):
    """A HomePod with a password, which a scan finds, and which is stored without it."""
    made = VirtualAppleTV("Kitchen", profile="homepod", password=PASSWORD, mdns_port=0)
    with made as pod:
        Store().save(pod.device)
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{pod.ports['mdns']}")
        yield pod


def found(pod, password=None):
    """As a scan finds it, with its record."""
    (device,) = tinyatv.scan(WAIT)
    device.service("airplay").password = password
    return device


def remembered(pod, password=None):
    """As it is stored, without its record."""
    device = Store().find(pod.name)
    device.service("airplay").password = password
    return device


KNOWN = pytest.mark.parametrize("known", [found, remembered])


def untried(pod):
    """No wrong password was given, and nothing lengthens a pause."""
    accessory = pod.accessory
    return (accessory.wrong_passwords, accessory.failures, accessory.locked_until) == (0, 0, 0.0)


def test_it_says_that_it_has_one(pod):
    service = found(pod).service("airplay")
    assert service.requires_password
    assert service.pairing is PairingRequirement.NotNeeded
    assert service.properties["flags"] == "0x1b8c84"  # as a HomePod mini with one (18.1)
    with VirtualAppleTV("Bath", profile="homepod") as other:
        assert not other.device.service("airplay").requires_password


@KNOWN
def test_the_right_one(pod, known):
    with tinyatv.connect(known(pod, PASSWORD)) as atv:
        assert "mrp" in atv.protocols
        atv.pause()
        atv.set_volume(31)
    assert pod.log[0] == "pause"
    assert untried(pod)


@KNOWN
def test_none(pod, known):
    """Nothing is tried that cannot be right."""
    with pytest.raises(CredentialsError, match=rf"wants a password.*{FLAG}"):
        tinyatv.connect(known(pod))
    assert ("POST", "/pair-setup") not in pod.airplay.requests
    assert untried(pod)


@KNOWN
@pytest.mark.parametrize("wrong", ["3939", "1234", "s3cret ", "S3cret", "ß" * 300])
def test_a_wrong_one(pod, known, wrong):
    """It is tried once, and costs no pause: the right one is accepted at once."""
    with pytest.raises(CredentialsError, match=rf"does not accept the password.*{FLAG}"):
        tinyatv.connect(known(pod, wrong))
    accessory = pod.accessory
    assert (accessory.wrong_passwords, accessory.failures, accessory.locked_until) == (1, 0, 0.0)
    with tinyatv.connect(known(pod, PASSWORD)) as atv:
        atv.pause()
    assert pod.log == ["pause"]


@pytest.mark.parametrize("by_hand", [True, False])
def test_one_that_the_record_does_not_tell(pod, by_hand):
    """Set after the scan, or there was none: the usual PIN is refused, and the error knows why."""
    if by_hand:
        device = Device("Kitchen", "127.0.0.1", [Service("airplay", pod.ports["airplay"])])
        device.info.raw_model = "AudioAccessory5,1"
        device.info.model = "HomePodMini"
    else:
        pod.airplay.identity.flags &= ~0x80
        device = found(pod)
    assert not device.service("airplay").requires_password
    with pytest.raises(CredentialsError, match=rf"wants a password.*{FLAG}"):
        tinyatv.connect(device)
    assert pod.accessory.wrong_passwords == 1


@KNOWN
@pytest.mark.parametrize("status", [403, 470, 500, 501, 520])
def test_hidden_behind_another_refusal(pod, known, status):
    """HomePods answer pair-setup with 500 or 520."""
    pod.fail("/pair-setup", times=None, status=status)
    with pytest.raises(CredentialsError, match=rf"password \(.*{FLAG}"):
        tinyatv.connect(known(pod, PASSWORD))
    assert untried(pod)


@pytest.mark.parametrize("code", [hap.UNKNOWN, hap.UNAVAILABLE, hap.BUSY, hap.MAX_TRIES])
def test_hidden_behind_a_refusal_of_pairing(pod, code):
    pod.accessory.refuse = code
    with pytest.raises(CredentialsError, match=rf"password \(.*{FLAG}"):
        tinyatv.connect(found(pod, PASSWORD))
    assert untried(pod)


def test_a_pause(pod):
    pod.accessory.refuse = hap.BACK_OFF
    with pytest.raises(PairingBackOff, match=f"wants a pause.*{FLAG}"):
        tinyatv.connect(remembered(pod, PASSWORD))


def test_a_refusal_that_has_nothing_to_do_with_it():
    with VirtualAppleTV(profile="homepod") as pod:
        pod.fail("/pair-setup", times=None, status=500)
        with pytest.raises(tinyatv.CommandFailed) as caught:
            tinyatv.connect(pod.device)
        assert "password" not in str(caught.value)


def test_by_flags(pod, capsys):
    """Given once, it is stored; the errors name the flag."""
    code, _, err = run(capsys, "-n", "Kitchen", "pause")
    assert (code, FLAG in err, err.count("\n")) == (6, True, 1)
    code, _, err = run(capsys, "-n", "Kitchen", FLAG, "wrong", "pause")
    assert (code, FLAG in err, err.count("\n")) == (6, True, 1)
    assert run(capsys, "-n", "Kitchen", FLAG, PASSWORD, "pause")[0] == 0
    assert pod.log == ["pause"]
    assert run(capsys, "devices", "forget", "Kitchen")[0] == 0
    assert run(capsys, "-n", "Kitchen", "pair", FLAG, PASSWORD)[0] == 0
    assert run(capsys, "-n", "Kitchen", "play")[0] == 0
    assert pod.log == ["pause", "play"]
    assert pod.accessory.wrong_passwords == 1


def test_the_doctor_names_it(pod, capsys):
    _, lines = run_json(capsys, "doctor", "Kitchen")
    texts = [f"{one.get('message')} {one.get('advice')}" for one in lines]
    assert any("password" in text and FLAG in text for text in texts)
    assert untried(pod)


def test_the_password_of_an_apple_tv(own_store):
    """There it is asked for by the first request that is not about pairing."""
    with VirtualAppleTV("Den", profile="tvos18", password=PASSWORD) as tv:
        device = tv.device
        service = device.service("airplay")
        assert service.requires_password
        for password in (None, "wrong"):
            service.password = password
            with pytest.raises(CredentialsError, match=f"password.*{FLAG}"):
                tinyatv.connect(device, protocols=["mrp"])
        service.password = PASSWORD
        with tinyatv.connect(device, protocols=["mrp"]) as atv:
            atv.pause()
        assert tv.log == ["pause"]


def test_a_password_without_airplay():
    with pytest.raises(ValueError, match="takes no password"):
        VirtualAppleTV(password=PASSWORD)
