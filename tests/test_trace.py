"""Traces: what is in them, what is not, and that they never break anything."""

from __future__ import annotations

import json
import os
import pathlib
import queue
import socket
import stat
import subprocess
import sys
import threading

import pytest

import tinyatv
from tinyatv import link, proto, redact, trace
from tinyatv.cli.program import main
from tinyatv.virtual import VirtualAppleTV
from tinyatv.wire.http import Request, Response

ROOT = pathlib.Path(tinyatv.__file__).parents[1]


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def names(path, end="client") -> list[str]:
    """Names of the messages that one end wrote down, each with its direction."""
    return [
        f"{'>' if line['direction'] == 'to_device' else '<'} {line['name']}"
        for line in lines(path)
        if line.get("end") == end and "direction" in line
    ]


def in_order(wanted: list[str], seen: list[str]) -> bool:
    rest = iter(seen)
    return all(any(one.startswith(name) for one in rest) for name in wanted)


SESSIONS = {
    # profile and protocols: what passes, in this order
    ("atv3", None): [
        "> GET /login", "< 200 OK", "> POST /ctrl-int/1/pause", "< 200 OK",
        "> GET /ctrl-int/1/playstatusupdate", "< 200 OK",
    ],
    ("tvos14", ("mrp",)): [
        "> DEVICE_INFO", "< DEVICE_INFO", "> CRYPTO_PAIRING", "< CRYPTO_PAIRING",
        "> SET_CONNECTION_STATE", "> CLIENT_UPDATES_CONFIG", "< SET_STATE", "< DONE",
        "> SEND_COMMAND", "< SEND_COMMAND_RESULT",
    ],
    ("tvos18", ("companion",)): [
        "> PairVerifyStart", "< PairVerifyNext", "> PairVerifyNext", "< PairVerifyNext",
        "> _systemInfo request", "< reply", "> _mcc request", "< reply",
    ],
    ("tvos18", ("airplay",)): [
        "> POST /pair-verify", "< 200 OK", "> SETUP rtsp://", "> RECORD rtsp://",
        "> DEVICE_INFO", "< DEVICE_INFO", "> SEND_COMMAND", "< SEND_COMMAND_RESULT",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("profile", "protocols"), SESSIONS, ids=lambda value: str(value))
def test_both_ends_write_down_the_same(tmp_path, profile, protocols):
    path = tmp_path / "session.jsonl"
    with VirtualAppleTV(profile=profile, protocols=protocols) as tv:
        with tinyatv.Trace(path), tinyatv.connect(tv.device) as atv:
            atv.pause()
            if "companion" not in tv.protocols:
                atv.playing()
        assert link.observer is None
    head = lines(path)[0]
    assert (head["trace"], head["tinyatv"], head["secrets"]) == (1, tinyatv.__version__, False)
    assert in_order(SESSIONS[profile, protocols], names(path))
    assert in_order(SESSIONS[profile, protocols], names(path, "device"))
    with path.open("rb") as file:
        records = list(trace.read(file))
    assert len(records) == len(lines(path)) - 1
    assert all(record.raw is not None for record in records if record.ended is None)
    assert {record.protocol for record in records} <= {*tinyatv.model.PROTOCOLS}
    assert any(record.ended is not None for record in records)


def test_messages_of_threads_do_not_get_mixed_up(tmp_path):
    """Connections have numbers: each one's requests and answers alternate."""
    path = tmp_path / "session.jsonl"
    with VirtualAppleTV() as tv, tinyatv.Trace(path), tinyatv.connect(tv.device) as atv:
        heard = queue.SimpleQueue()
        atv.add_listener(heard.put)
        for _ in range(5):
            heard.get(timeout=10)  # so the poll has been answered, too
            atv.play_pause()
    by_connection: dict[int, list[str]] = {}
    for line in lines(path)[1:]:
        if "direction" in line and line["end"] == "client":
            by_connection.setdefault(line["connection"], []).append(line["direction"])
    assert len(by_connection) == 2  # commands, and the poll
    for directions in by_connection.values():
        assert directions[::2] == ["to_device"] * len(directions[::2])
        assert directions[1::2] == ["to_client"] * len(directions[1::2])


# -- secrets ---------------------------------------------------------------------------------------


def pair_and_type(tv, path, secrets):
    """Everything that is secret, in one trace: pairing, verification, a password, typed text."""
    store = tinyatv.Store(memory=True)
    device = tv.device
    for service in device.services:
        service.credentials = None
        if service.protocol == "airplay":
            service.password = tv.airplay.password
    with tinyatv.Trace(path, secrets=secrets):
        paired = tinyatv.pair(device, pin=lambda: tv.pin, store=store)
        with tinyatv.connect(paired) as atv:
            if tv.profile != "tvos18":
                tv.state.open_field("")
                atv.text_set("correct horse")
            atv.pause()
    return [service.credentials for service in paired.services if service.credentials]


@pytest.mark.parametrize("secrets", [False, True])
@pytest.mark.parametrize("profile", ["tvos14", "tvos18"])
def test_secrets(tmp_path, profile, secrets):
    path = tmp_path / "session.jsonl"
    with VirtualAppleTV(profile=profile, credentials=()) as tv:
        if profile == "tvos18":
            tv.airplay.password = "battery staple"
        found = pair_and_type(tv, path, secrets)
        assert found
    text = path.read_text("utf-8")
    messages = lines(path)[1:]
    raw = [bytes.fromhex(line["raw"]) for line in messages if "raw" in line]
    pairings = [
        line for line in messages
        if line.get("name") in ("CRYPTO_PAIRING", "PairSetupStart", "PairSetupNext")
        or "/pair-setup" in line.get("name", "")
    ]  # fmt: skip
    assert len(pairings) >= 6
    if secrets:
        assert "PublicKey" in text
        assert any(len(bytes.fromhex(line["raw"])) > 400 for line in pairings)
        if profile == "tvos14":
            assert b"correct horse".hex() in text
    else:
        assert not any(word in text for word in ("correct horse", "battery staple", "PublicKey"))
        assert not any(b"correct horse" in data for data in raw)
        assert not any(b"Digest username" in data for data in raw)
        assert not any("Digest username" in str(line) for line in messages)
        assert all(line["hidden"] for line in pairings)
        for one in found:
            assert one.split(":")[1] not in text  # our private key
        # Proofs, salts and keys of 16 bytes and more: nothing of that length is left.
        assert all(len(line["raw"]) < 2 * 400 for line in pairings)


def test_secrets_of_dmap(tmp_path):
    path = tmp_path / "session.jsonl"
    guid = "0123456789ABCDEF"
    with VirtualAppleTV(credentials=()) as tv, tinyatv.Trace(path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        person = []

        def enter(pin):
            where = "127.0.0.1", port, guid, pin
            person.append(threading.Thread(target=tv.dmap.pair, args=where))
            person[0].start()

        paired = tinyatv.pair(
            tv.device, pin="1234", show_pin=enter, guid=guid, port=port, announce=False,
            store=tinyatv.Store(memory=True),
        )  # fmt: skip
        person[0].join()
        with tinyatv.connect(paired) as atv:
            atv.pause()
    text = path.read_text("utf-8")
    assert "/pair?pairingcode=(hidden)" in text
    assert "pairing-guid=(hidden)" in text
    assert guid.lower() not in text.lower()
    assert guid.encode().hex() not in text.lower()


def test_keys_of_a_stream_are_hidden():
    """What AirPlay sends that encrypts audio, and what a property list may be made of."""
    from tinyatv.wire import plist

    body = plist.dumps({"streams": [{"type": 96, "shk": bytes(range(32)), "ct": 2}]})
    request = Request("SETUP", "rtsp://192.0.2.1/1", [("CSeq", "1")], body, "RTSP/1.0")
    shown, hidden = redact.redacted(request, request.path)
    assert hidden
    assert plist.loads(shown.body) == {"streams": [{"type": 96, "shk": "(hidden)", "ct": 2}]}
    assert request.body == body  # what is sent is not touched
    bomb = b"bplist00shk" + bytes(40)
    shown, hidden = redact.redacted(Response(200, body=bomb), "/info")
    assert (shown.body, hidden) == (b"", True)


def test_text_of_a_message_nobody_knows_is_hidden():
    data = proto.dumps(proto.build(111, "A")) + b"\xfa\x07\x06secret"  # field 127
    message = proto.parse(data)
    assert b"secret" in proto.dumps(message)
    shown, hidden = redact.redacted(message)
    assert hidden
    assert b"secret" not in proto.dumps(shown)


# -- the file --------------------------------------------------------------------------------------


def test_nobody_else_may_read_it(tmp_path):
    path = tmp_path / "session.jsonl"
    path.write_text("old, and long\n" * 1000)
    path.chmod(0o644)
    before = os.umask(0)
    try:
        for target in (path, tmp_path / "new.jsonl"):
            with tinyatv.Trace(target):
                assert stat.S_IMODE(target.stat().st_mode) == 0o600
            assert len(lines(target)) == 1
    finally:
        os.umask(before)


@pytest.mark.parametrize("where", ["missing/session.jsonl", ".", "/dev/full", "pipe"])
def test_cannot_be_written(tv, tmp_path, capsys, where):
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / where
    assert main(["--trace", str(path), "-n", "Living Room", "play"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tinyatv: {path}: ")
    assert err.count("\n") == 1
    assert tv.log == []  # noticed before anything was done
    assert link.observer is None


def test_secrets_of_nothing(tv, capsys):
    assert main(["--trace-secrets", "-n", "Living Room", "play"]) == 2
    assert capsys.readouterr().err == "tinyatv: --trace-secrets needs --trace FILE\n"
    assert tv.log == []


@pytest.mark.parametrize("way", ["same", "symbolic link", "hard link", "other path"])
@pytest.mark.parametrize(
    "words",
    [["decode", "FILE"], ["decode", "-"], ["virtual", "--no-announce", "--replay", "FILE"],
     ["-n", "Living Room", "play_url=FILE"], ["devices", "--storage-filename", "FILE"],
     ["-n", "Living Room", "--dmap-credentials", "@FILE", "play"],
     ["proxy", "mrp", "-n", "Living Room", "--storage-filename", "FILE"]],
)  # fmt: skip
def test_file_that_is_read(tv, tmp_path, monkeypatch, capsys, words, way):
    """It would be emptied before it is read, by whatever name it goes."""
    path, other = tmp_path / "session.jsonl", tmp_path / "other"
    path.write_bytes(HEAD)
    if way == "symbolic link":
        other.symlink_to(path)
    elif way == "hard link":
        os.link(path, other)
    else:
        other = path if way == "same" else tmp_path / "." / ".." / tmp_path.name / path.name
    words = [word.replace("FILE", str(path)) for word in words]
    with path.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main(["--trace", str(other), *words]) == 2
    out, err = capsys.readouterr()
    what = "standard input" if words[-1] == "-" else path
    assert err == f"tinyatv: --trace {other}: that is {what}, which is read: name another file\n"
    assert out == ""
    assert path.read_bytes() == HEAD
    assert tv.log == []


def test_disk_gets_full(tv, tmp_path):
    """The command is done, the file ends with a whole line, and somebody is told, once."""
    path = tmp_path / "session.jsonl"
    code = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, -1))
from tinyatv.cli.program import main
sys.exit(main(["--trace", sys.argv[1], "-n", "Living Room", "--storage", "none", *sys.argv[2:]]))
"""
    flags = ["--manual", "--address", "127.0.0.1", "--protocol", "dmap", "--port"]
    flags += [str(tv.ports["dmap"]), "--dmap-credentials", tv.credentials["dmap"]]
    run = subprocess.run(
        [sys.executable, "-c", code, path, *flags, "play", "pause", "up", "title"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (0, "Harbour Lights\n")
    assert run.stderr == f"the trace ends here, {path}: File too large\n"
    assert tv.log == ["play", "pause", "up"]
    assert 1 < len(lines(path)) < 20


def test_pipe_whose_reader_goes_away(device, tmp_path, caplog):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with tinyatv.Trace(path), tinyatv.connect(device.device) as atv:
        atv.pause()
        os.close(reader)
        atv.play()
        atv.play()
    assert device.log == ["pause", "play", "play"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"the trace ends here, {path}: Broken pipe"
    ]


def test_one_at_a_time(tmp_path):
    with tinyatv.Trace(tmp_path / "a") as first:
        with pytest.raises(ValueError, match="another trace"):
            tinyatv.Trace(tmp_path / "b").start()
        assert not (tmp_path / "b").exists()
        first.close()
        first.close()
    with tinyatv.Trace(tmp_path / "b"):
        pass


def test_every_command_can_be_traced(tv, tmp_path, capsys):
    path = tmp_path / "session.jsonl"
    assert main(["-n", "Living Room", "--trace", str(path), "pause", "title"]) == 0
    assert "> POST /ctrl-int/1/pause" in "\n".join(names(path))
    for words in (["devices"], ["scan"]):
        assert main(["--trace", str(path), *words]) == 0
    capsys.readouterr()


# -- reading ---------------------------------------------------------------------------------------

HEAD = b'{"trace": 1, "tinyatv": "0.1.0", "time": 0, "secrets": false}\n'
LINE = (
    b'{"time": 1.5, "protocol": "mrp", "connection": 1, "end": "client",'
    b' "direction": "to_device", "name": "PLAY", "message": {}, "raw": "0801"}\n'
)


def read(tmp_path, data: bytes) -> list[trace.Record]:
    (tmp_path / "trace").write_bytes(data)
    with (tmp_path / "trace").open("rb") as file:
        return list(trace.read(file))


def test_read(tmp_path):
    (record,) = read(tmp_path, HEAD + LINE)
    assert (record.time, record.protocol, record.connection) == (1.5, "mrp", 1)
    assert (record.to_device, record.at_device, record.raw) == (True, False, b"\x08\x01")
    assert len(read(tmp_path, HEAD + LINE + LINE[:50])) == 1  # it was being written


@pytest.mark.parametrize(("begin", "end"), [(b'{"a": ', b"}"), (b"[", b"]"), (b'[{"a": ', b"}]")])
def test_values_deep_inside_each_other(tmp_path, begin, end):
    """Deeper than this program writes them, and not so deep that JSON cannot be read."""
    value = begin * 300 + b"1" + end * 300
    (record,) = read(tmp_path, HEAD + LINE.replace(b'"raw"', b'"message": ' + value + b', "raw"'))
    shown = list(record.lines())
    assert shown[-1].strip() == "..."
    assert 20 < len(shown) < 400


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a trace"),
        (b"\x00\x01", "not a trace"),
        (LINE, "not a trace"),
        (HEAD.replace(b"1", b"2", 1), "version 2"),
        (HEAD.replace(b": 1", b': "x\\u001b"', 1), "version x"),
        (HEAD + b"\xff\n", "line 2 of the trace is damaged"),
        (HEAD + LINE + b"[1]\n", "line 3 of the trace is damaged: no object"),
        (HEAD + b"[" * 100000 + b"\n", "line 2 of the trace is damaged"),
        (HEAD + LINE.replace(b"1.5", b'"x"'), "time is missing, or wrong"),
        (HEAD + LINE.replace(b"1.5", b"1e999"), "time is missing, or wrong"),
        (HEAD + LINE.replace(b"to_device", b"up"), "unknown direction 'up'"),
        (HEAD + LINE.replace(b"0801", b"080"), "line 2 of the trace is damaged"),
        (HEAD + LINE.replace(b': 1, "end"', b': true, "end"'), "connection is missing"),
    ],
)
def test_read_nonsense(tmp_path, data, words):
    with pytest.raises(ValueError, match=words):
        read(tmp_path, data)
