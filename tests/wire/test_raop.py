"""Packets, frames and descriptions of RAOP: the vectors, and whatever else may arrive."""

from __future__ import annotations

import hashlib
import random

import pytest

from tests.support.mutations import mutate
from tests.support.vectors import cases
from tinyatv.wire import alac, dmap, raop_codes, rtp, sdp, volume


def named(group):
    return pytest.mark.parametrize("case", cases("raop", group), ids=lambda case: case["name"])


def pcm(case):
    if "pcm_hex" in case:
        return bytes.fromhex(case["pcm_hex"])
    pairs = [(0, 0) if case["generate"] == "zero" else (n, -n) for n in range(case["frames"])]
    return b"".join((n & 0xFFFF).to_bytes(2, "big") for pair in pairs for n in pair)


def check(data, expect):
    found = {
        "data_hex": data.hex(), "packet_hex": data.hex(), "header_hex": data[:12].hex(),
        "length": len(data), "sha256_hex": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    compared = {key: found[key] for key in expect if key in found}
    assert compared
    assert compared == {key: expect[key] for key in compared}
    assert data.hex().startswith(expect.get("starts_hex", ""))
    assert data.hex().endswith(expect.get("ends_hex", ""))


@named("alac")
def test_alac(case):
    samples = pcm(case)
    data = alac.pack(samples, case["partial"])
    check(data, case["expect"])
    assert alac.unpack(data, len(samples) // 4) == samples


def test_alac_without_its_end():
    """PulseAudio leaves one bit for the three of the end tag: 1415 bytes for 352 frames."""
    samples = bytes(range(256)) * 5 + bytes(128)
    data = alac.pack(samples, partial=True)
    assert len(samples) == 352 * 4
    assert alac.unpack(data[:1415], 352) == samples


def test_alac_mono():
    left = b"\x12\x34\xab\xcd"
    bits = (1 << 32 | int.from_bytes(left, "big")) << 9 | 7 << 6
    assert alac.unpack(bits.to_bytes(8, "big"), 2) == b"\x12\x34\x12\x34\xab\xcd\xab\xcd"


def test_compressed_alac_is_known_as_such():
    data = bytearray(alac.pack(bytes(1408)))
    data[2] &= ~2
    assert alac.unpack(bytes(data), 352) is None


@named("audio_packets")
def test_audio(case):
    payload = pcm(case) if "generate" in case else b""
    fields = case["sequence"], case["timestamp"], case["ssrc"], payload, case["marker"]
    data = rtp.Audio(*fields).encode()
    check(data, case["expect"])
    found = rtp.decode(data)
    assert (found.sequence, found.timestamp, found.source, found.payload, found.first) == fields


def test_numbers_wrap():
    packet = rtp.decode(rtp.Audio(65536 + 3, (1 << 32) + 5, 1, b"").encode())
    assert (packet.sequence, packet.timestamp) == (3, 5)
    assert rtp.ahead(2, 65534) == 4
    assert rtp.ahead(65534, 2) == -4
    assert rtp.ahead(5, (1 << 32) - 5, 32) == 10


@named("sync_packets")
def test_sync(case):
    if "error" in case["expect"]:
        with pytest.raises(ValueError, match="length"):
            rtp.decode(bytes.fromhex(case["packet_hex"]))
        return
    fields = case["now"] - case["latency"], int(case["ntp_hex"], 16), case["now"], case["first"]
    data = rtp.Sync(*fields).encode()
    check(data, case["expect"])
    found = rtp.decode(data)
    assert (found.heard, found.time, found.next, found.first) == fields


@pytest.mark.parametrize(
    "case", [c for c in cases("raop", "timing") if "unix" not in c], ids=lambda case: case["name"]
)
def test_timing(case):
    data = bytes.fromhex(case["request_hex"])
    if "error" in case["expect"]:
        with pytest.raises(ValueError, match="length"):
            rtp.decode(data)
        return
    request = rtp.decode(data)
    assert request.encode() == data
    assert not request.answer
    times = (int(case[key], 16) for key in ("receive_ntp_hex", "send_ntp_hex"))
    reply = rtp.Timing(request.sent, *times, answer=True).encode()
    assert reply.hex() == case["expect"]["reply_hex"]
    assert rtp.decode(reply).origin == request.sent


@named("retransmit")
def test_sending_again(case):
    expect = case["expect"]
    if "original_hex" in case:
        packet = bytes.fromhex(case["original_hex"])
        assert rtp.resent(packet).hex() == expect["packet_hex"]
        assert rtp.decode(rtp.resent(packet)).encode() == packet
    elif "error" in expect:
        with pytest.raises(ValueError, match="length"):
            rtp.decode(bytes.fromhex(case["packet_hex"]))
    else:
        data = bytes.fromhex(case.get("packet_hex") or expect["packet_hex"])
        assert list(rtp.decode(data).sequences()) == expect["sequences"]
        assert rtp.decode(data).encode() == data
        assert rtp.decode(data + bytes(8)).count == len(expect["sequences"])


@pytest.mark.parametrize(
    "case",
    [c for c in cases("raop", "volume") if "percent" in c and "db" in c["expect"]],
    ids=lambda case: case["name"],
)
def test_volume(case):
    expected = case["expect"]["db"]
    assert volume.decibels(case["percent"]) == pytest.approx(expected)
    assert volume.percent(expected) == pytest.approx(case["percent"])


@named("sdp")
def test_descriptions(case):
    codec = {"alac": raop_codes.ALAC, "l16": raop_codes.L16}[case["codec"]]
    parameters = case["codec"] == "alac"
    data = sdp.encode(case["session"], case["local"], case["remote"], codec, parameters)
    assert data.decode().split("\r\n") == [*case["expect"]["lines"], ""]
    found = sdp.decode(data)
    assert (found.codec, found.frames, found.encrypted) == (codec, 352, False)
    assert (found.parameters is not None) == parameters
    assert sdp.decode(data.replace(b"\r\n", b"\n")).codec == codec
    assert sdp.decode(data + b"a=rsaaeskey:AAAA\r\n").encrypted


@named("metadata")
def test_metadata(case):
    keys = (("minm", "title"), ("asal", "album"), ("asar", "artist"))
    items = [(code, case[key]) for code, key in keys if case[key] is not None]
    assert dmap.encode([("mlit", items)]).hex() == case["expect"]["data_hex"]


@pytest.mark.parametrize(
    "text", ["", "v=0\r\n", "a=rtpmap:96\r\n", "a=rtpmap:96 L16\r\na=fmtp:96 1\r\n",
             "a=rtpmap:96 X\r\na=fmtp:96 99999 0 16 40 10 14 2 255 0 0 44100\r\n",
             "a=rtpmap:96 X\r\na=fmtp:96 -1 0 16 40 10 14 2 255 0 0 44100\r\n", "\n" * 100],
)  # fmt: skip
def test_bad_descriptions(text):
    with pytest.raises(ValueError, match=r"descri|sound|parameters|frames|lines"):
        sdp.decode(text.encode())


PACKETS = [
    rtp.Audio(65535, 7, 8, bytes(range(64)), True).encode(),
    rtp.resent(rtp.Audio(1, 7, 8, bytes(range(64))).encode()),
    rtp.Sync(1, 2, 3).encode(),
    rtp.Timing(1, 2, 3).encode(),
    rtp.Resend(1, 65535, 2).encode(),
]
FRAMES = [alac.pack(bytes(range(256)), partial) for partial in (False, True)]
TEXTS = [
    sdp.encode(1, "10.0.0.1", "fd00::1", raop_codes.ALAC, True),
    sdp.encode(1, "10.0.0.1", "10.0.0.2", raop_codes.L16, False),
]


@pytest.mark.parametrize(
    ("decode", "seeds"),
    [(rtp.decode, PACKETS), (lambda data: alac.unpack(data, 352), FRAMES), (sdp.decode, TEXTS)],
    ids=["packets", "frames", "descriptions"],
)
def test_whatever_arrives(decode, seeds, share):
    rng = random.Random(19)
    refused = 0
    for _ in range(share(100_000)):
        data = mutate(rng, rng.choice(seeds), rng.choice(seeds))
        try:
            decode(data)
        except ValueError:
            refused += 1
    assert refused > 0
