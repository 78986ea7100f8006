"""A device that is up in TCP and silent: every protocol notices, idle and in use."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

import tinyatv
from tests.support.stalling import Stalling
from tests.support.watching import Heard, ours
from tinyatv.backends import airplay_session, companion, dmap, mrp
from tinyatv.virtual import VirtualAppleTV
from tinyatv.virtual.airplay_session import AirPlaySession

PROFILES = {"dmap": "atv3", "mrp": "tvos14", "airplay": "tvos15", "companion": "tvos18"}
QUIET, NEVER = 0.2, 1000.0  # s
MOST = 40.0  # s until a loss is noticed while idle


@pytest.fixture
def idle(request, monkeypatch):
    """Sets after how many seconds of silence a device is asked whether it is there."""

    def set_to(seconds):
        for name in ("mrp.HEARTBEAT", "companion.HEARTBEAT", "dmap.POLL_TIMEOUT"):
            monkeypatch.setattr(f"tinyatv.backends.{name}", seconds)
        for name in ("mrp.HEARTBEAT_EVERY", "companion.HEARTBEAT_EVERY", "dmap.ALIVE_TIMEOUT",
                     "airplay_session.FEEDBACK_EVERY"):  # fmt: skip
            monkeypatch.setattr(f"tinyatv.backends.{name}", 0.3)
        monkeypatch.setattr("tinyatv.backends.airplay_session.FEEDBACK", min(2.0, seconds))
        monkeypatch.setattr("tinyatv.session.PAUSES", (0.01, 0.05))

    return set_to


@pytest.fixture(params=PROFILES)
def proxy(request):
    protocol = request.param
    tv = VirtualAppleTV(profile=PROFILES[protocol], protocols=[protocol])
    with tv, Stalling(tv, protocol) as proxy:
        yield proxy
    assert ours() == []


def test_the_times_that_are_used():
    """The other tests shorten them; these are what users get, with any time limit of theirs."""
    for backend in (mrp, companion):
        assert backend.HEARTBEAT + backend.MAX_MISSED * backend.HEARTBEAT_EVERY < MOST
    assert dmap.POLL_TIMEOUT + dmap.SILENT * dmap.ALIVE_TIMEOUT + dmap.PAUSES[0] < MOST
    airplay = airplay_session
    assert airplay.FEEDBACK + airplay.MAX_MISSED * airplay.FEEDBACK_EVERY < MOST


def press_until_lost(atv):
    """Press; returns how many presses timed out before the connection was found to be lost."""
    timed_out = 0
    while True:
        try:
            atv.pause()
        except tinyatv.CommandTimeout:
            timed_out += 1
        except tinyatv.ConnectionLost:
            return timed_out


CASES = [(protocol, used) for protocol in PROFILES for used in (False, True)]
# Presses over AirPlay go through the data channel, which has a port of its own: see below.
CASES.remove(("airplay", True))


@pytest.mark.parametrize("reconnect", [False, True])
@pytest.mark.parametrize(("proxy", "used"), CASES, indirect=["proxy"])
def test_silence_is_a_loss(proxy, idle, used, reconnect):
    idle(NEVER if used else QUIET)
    with tinyatv.connect(proxy.device, timeout=0.5, reconnect=reconnect) as atv:
        heard = Heard(atv)
        atv.pause()
        proxy.stall()
        if used:
            assert press_until_lost(atv) <= 2
        event = heard.next(tinyatv.Disconnected)
        assert isinstance(event.error, tinyatv.ConnectionLost)
        assert event.protocol in atv_protocols(proxy)
        if not reconnect:
            with pytest.raises(tinyatv.ConnectionLost):
                atv.pause()
            return
        proxy.resume()
        heard.next(tinyatv.Reconnected)
        pressed = proxy.tv.log.count("pause")
        atv.pause()
        assert proxy.tv.wait_for(lambda: proxy.tv.log.count("pause") == pressed + 1)


@pytest.fixture
def channels(monkeypatch):
    """The data channels of a device that speaks AirPlay alone, each through a proxy of its own."""
    made = []
    tv = VirtualAppleTV(profile=PROFILES["airplay"], protocols=["airplay"])
    add = AirPlaySession.add_data_stream

    def through_a_proxy(session, seed):
        stream, port = add(session, seed)
        made.append(stack.enter_context(Stalling(tv, "airplay", port)))
        return stream, made[-1].port

    monkeypatch.setattr(AirPlaySession, "add_data_stream", through_a_proxy)
    with ExitStack() as stack:
        stack.enter_context(tv)
        yield tv, made
    assert ours() == []


@pytest.mark.parametrize("reconnect", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_the_data_channel_alone(channels, idle, used, reconnect):
    """The control connection goes on answering /feedback; only presses come to nothing."""
    tv, proxies = channels
    idle(NEVER if used else QUIET)
    with tinyatv.connect(tv.device, timeout=0.5, reconnect=reconnect) as atv:
        heard = Heard(atv)
        atv.pause()
        proxies[0].stall()
        if used:
            assert press_until_lost(atv) <= 2
        event = heard.next(tinyatv.Disconnected)
        assert isinstance(event.error, tinyatv.ConnectionLost)
        assert event.protocol == "mrp"
        if not reconnect:
            with pytest.raises(tinyatv.ConnectionLost):
                atv.pause()
            return
        heard.next(tinyatv.Reconnected)
        assert len(proxies) == 2
        pressed = tv.log.count("pause")
        atv.pause()
        assert tv.log.count("pause") == pressed + 1


def test_a_quiet_data_channel_that_answers(channels, idle):
    """Asked again and again, it stays."""
    tv, proxies = channels
    idle(0.05)
    with tinyatv.connect(tv.device) as atv:
        asked = tv.mrp.requests.count("GENERIC")
        assert tv.wait_for(lambda: tv.mrp.requests.count("GENERIC") >= asked + 6)
        atv.pause()
    assert len(proxies) == 1


def atv_protocols(proxy):
    """Whom the loss may be blamed on: with AirPlay, also what runs in its tunnel."""
    (protocol,) = proxy.tv.protocols
    return (protocol, "mrp") if protocol == "airplay" else (protocol,)


@pytest.mark.parametrize("proxy", ["dmap", "mrp", "companion"], indirect=True)
def test_in_use_without_a_listener(proxy, idle):
    idle(NEVER)
    with tinyatv.connect(proxy.device, timeout=0.3) as atv:
        atv.pause()
        proxy.stall()
        assert press_until_lost(atv) == 2


@pytest.mark.parametrize("proxy", PROFILES, indirect=True)
def test_a_quiet_device_that_answers_stays_connected(proxy, idle):
    """Being asked again and again, it is never lost, and what changes is still told."""
    idle(0.05)
    with tinyatv.connect(proxy.device) as atv:
        heard = Heard(atv)
        tv = proxy.tv
        asked = {
            "dmap": lambda: sum("playstatusupdate" in path for _, path in tv.requests),
            "mrp": lambda: tv.requests.count("GENERIC"),
            "airplay": lambda: tv.airplay.requests.count(("POST", "/feedback")),
            "companion": lambda: sum("_ping" in str(one) for one in tv.companion.requests),
        }[next(iter(tv.protocols))]
        before = asked()
        assert tv.wait_for(lambda: asked() >= before + 6)
        if "companion" in tv.protocols:
            tv.state.set_volume(42.0)
            assert heard.next(tinyatv.VolumeChanged).volume == 42.0
        else:
            tv.state.update(title="Still there")
            heard.until(lambda event: event.playing.title == "Still there")
        atv.pause()


@pytest.mark.parametrize("proxy", ["companion"], indirect=True)
def test_a_system_that_does_not_know_ping_is_there(proxy, idle):
    """Error 58822, "no request handler", proves life as well as an answer."""
    idle(0.05)
    proxy.tv.fail("_ping", times=None, status=58822)
    with tinyatv.connect(proxy.device) as atv:
        Heard(atv)
        tv = proxy.tv
        assert tv.wait_for(lambda: sum("_ping" in str(one) for one in tv.companion.requests) >= 6)
        atv.pause()


@pytest.mark.parametrize("proxy", ["mrp", "companion"], indirect=True)
def test_one_request_that_is_never_answered_is_no_loss(proxy, idle):
    """The device is asked whether it is there, and says so."""
    idle(NEVER)
    with tinyatv.connect(proxy.device, timeout=0.3) as atv:
        proxy.tv.fail("pause", times=None, silent=True)
        for _ in range(4):
            with pytest.raises(tinyatv.CommandTimeout):
                atv.pause()
        atv.play()
