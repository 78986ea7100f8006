"""Sound between tinyatv and others: to shairport-sync, and from pyatv to the virtual speaker.

shairport-sync (3.3.8, as Debian 12 has it) runs in a network of its own: that takes root, or
namespaces for users.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.support.sound import matching, samples, wav
from tinyatv.virtual import VirtualAppleTV

FOLDER = pathlib.Path(__file__).parent
LOSS = "diagnostics = { drop_this_fraction_of_audio_packets = 0.02; };\n"
PASSWORD = 'general = { password = "s3cret"; };\n'
PACKET = 352  # frames
WAIT = 20.0  # s


def unshare():
    """How to start something in namespaces of its own, or None."""
    for flags in (["-n", "-m"], ["-Urnm"]):
        command = ["unshare", *flags]
        try:
            if subprocess.run([*command, "true"], capture_output=True, timeout=20).returncode == 0:
                return command
        except OSError:
            return None
    return None


@pytest.fixture(scope="module")
def namespace():
    """A command that runs another one beside a shairport-sync."""
    needed = ("shairport-sync", "avahi-daemon", "dbus-daemon", "ip", "ss", "unshare")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in needed if shutil.which(name, path=path) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed, and CI must not go without: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    command = unshare()
    if command is None:
        pytest.skip("this machine makes no namespaces for us")
    return command


def send(namespace, folder, file, *, config="", form="alac", password=None):
    """Send a file to shairport-sync; returns what the sender says, and what was heard."""
    settings = folder / "shairport.conf"
    settings.write_text(config)
    arguments = [str(file), form, *([password] if password else [])]
    done = subprocess.run(
        [*namespace, "bash", FOLDER / "shairport.sh", folder, settings, sys.executable,
         FOLDER / "sound_sender.py", *arguments],
        capture_output=True, text=True, timeout=120, cwd=FOLDER.parents[1],
    )  # fmt: skip
    log = (folder / "shairport.log").read_text(errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr + log
    return json.loads(done.stdout), (folder / "out.pcm").read_bytes()


@pytest.mark.parametrize("form", ["alac", "l16"])
def test_every_frame_reaches_shairport_sync(namespace, tmp_path, form):
    sent = samples(8 * 44100)
    file = tmp_path / "sound.wav"
    file.write_bytes(wav(sent))
    said, heard = send(namespace, tmp_path, file, form=form)
    assert matching(heard, sent) == (0, len(sent) // 4)
    assert said["timing"] > 0
    assert said["warnings"] == []


def test_shairport_sync_with_a_password_and_losses(namespace, tmp_path):
    """Each gap that is left is a packet that could not be brought back, and at most 3 are."""
    sent = samples(8 * 44100)
    file = tmp_path / "sound.wav"
    file.write_bytes(wav(sent))
    said, heard = send(namespace, tmp_path, file, config=PASSWORD + LOSS, password="s3cret")
    assert said["requested"] >= said["resent"] > 0
    packet = PACKET * 4
    pieces = [sent[at : at + packet] for at in range(0, len(sent) - packet, packet)]
    assert sum(piece not in heard for piece in pieces) <= 3


def test_the_peer_sends_to_our_speaker(peer_bin, tmp_path):
    """pyatv as a sender: all that it sends is heard. It begins without silence."""
    sent = samples(3 * 44100)
    file = tmp_path / "sound.wav"
    file.write_bytes(wav(sent))
    with VirtualAppleTV(profile="speaker") as tv:
        done = subprocess.run(
            [peer_bin / "atvremote", "--storage", "none", "--manual", "--protocol", "raop",
             "--address", "127.0.0.1", "--port", str(tv.ports["raop"]), "--id", "x",
             "--service-properties", ":et=0,1:md=0,1,2", f"stream_file={file}"],
            capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert tv.wait_for(lambda: tv.raop.streams and tv.raop.streams[-1].over, WAIT)
        stream = tv.raop.streams[-1]
    assert stream.lost == stream.strange == 0
    assert stream.synchronized
    assert matching(stream.samples(), sent) == (0, len(sent) // 4)
    assert stream.progress is not None
