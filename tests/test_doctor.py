"""The doctor, with devices that are well and devices that are not."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import pytest

import tinyatv
from tests.support.program import Program, free_port, run, run_json
from tinyatv import Device, Service
from tinyatv.diagnosis import computer, network
from tinyatv.diagnosis import store as diagnosis_store
from tinyatv.routes import BACKENDS
from tinyatv.virtual import PROFILES, VirtualAppleTV

ROOT = pathlib.Path(__file__).parent.parent
KEYS = ["result", "datetime", "check", "status", "message", "advice", "device", "protocol", "facts"]


def examine(capsys, *args: str) -> tuple[int, list[dict], dict]:
    """Run it; returns the exit code, the findings and the summary."""
    code, lines = run_json(capsys, "doctor", *args)
    *findings, summary = lines
    assert all(list(one) == KEYS for one in findings)
    assert list(summary) == [
        "result", "datetime", "check", "healthy", "ok", "note", "warning", "problem",
    ]  # fmt: skip
    for status in ("ok", "note", "warning", "problem"):
        assert summary[status] == sum(one["status"] == status for one in findings)
    assert summary["healthy"] == (not summary["problem"])
    assert code == (0 if summary["healthy"] else 1)
    for one in findings:
        assert one["advice"] or one["status"] not in ("warning", "problem"), "what to do"
    return code, findings, summary


def of(findings: list[dict], check: str, **wanted: str) -> dict:
    """The only finding of a check."""
    (one,) = [
        f for f in findings if f["check"] == check and wanted.items() <= {**f, **f["facts"]}.items()
    ]
    return one


def stored(profile, monkeypatch):
    """A device that is stored, and that a scan finds."""
    with VirtualAppleTV("Living Room", profile=profile, mdns_port=0) as tv:
        tinyatv.Store().save(tv.device)
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        yield tv


@pytest.fixture(params=PROFILES)
def every_tv(request, own_store, monkeypatch):
    yield from stored(request.param, monkeypatch)


@pytest.fixture(params=["atv3", "tvos14", "tvos18"])
def some_tv(request, own_store, monkeypatch):
    """One of each kind."""
    yield from stored(request.param, monkeypatch)


# -- all is well -----------------------------------------------------------------------------------


def test_healthy(every_tv, capsys, own_store):
    before = own_store.read_bytes(), contents(own_store)
    code, found, _ = examine(capsys)
    assert code == 0
    assert of(found, "device.mdns")["facts"]["answered"] == ["directed"]
    for protocol in every_tv.protocols:
        assert of(found, "device.port", protocol=protocol)["status"] == "ok"
    for protocol in every_tv.credentials:
        assert of(found, "device.credentials", protocol=protocol)["status"] == "ok"
    commands = of(found, "device.commands")["facts"]
    with tinyatv.connect("Living Room") as atv:
        assert set(commands["connected"]) == set(atv.protocols)
    told = [*commands["commands"].values(), *commands["missing"].values()]
    served = sorted(command for command, protocols in tinyatv.ROUTES.items() if protocols)
    assert sorted(one for some in told for one in some) == served
    assert not [one for one in secrets_of(every_tv) if one in json.dumps(found)]
    assert every_tv.log == []  # nothing was pressed, and
    assert (own_store.read_bytes(), contents(own_store)) == before


def contents(store) -> list[str]:
    """The files beside a store, without those that are only locked."""
    return sorted(n for n in os.listdir(store.parent) if not n.endswith((".lock", ".remotes")))


def secrets_of(tv) -> list[str]:
    """What must not be shown: credentials, and each long part of them."""
    texts = list(tv.credentials.values())
    return texts + [part for text in texts for part in text.split(":") if len(part) >= 16]


def test_no_secret_is_shown(tv, capsys, own_store):
    client = tinyatv.Store().client_id()
    told = "".join(run(capsys, "doctor", "--debug", *more)[1] for more in ([], ["--json"]))
    tv.dmap.accepted.clear()
    told += "".join("".join(run(capsys, "doctor", "--debug")[1:]))
    assert "credentials do not work" in told
    assert not [one for one in [*secrets_of(tv), client] if one in told]


def test_text(tv, capsys):
    code, out, err = run(capsys, "doctor")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for title in ("This computer", "Store", "Network", "Devices", "Living Room (127.0.0.1)"):
        assert title in lines
    assert "  ✓  dmap: the stored credentials are accepted" in lines
    assert lines[-1].startswith("No problems found.")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_terminal_that_is_not_utf_8(own_store, encoding):
    with VirtualAppleTV("Küche ☕", mdns_port=0) as tv:
        tinyatv.Store().save(tv.device)
        done = subprocess.run(
            [sys.executable, "-m", "tinyatv", "doctor"], capture_output=True, timeout=60,
            env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0",
                 "TINYATV_SCAN_HOSTS": f"127.0.0.1:{tv.ports['mdns']}"},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode(encoding)
    assert "  ok dmap: the stored credentials are accepted\n" in out
    assert "\\u2615 (127.0.0.1)\n" in out


def test_device_that_moved(tv, capsys):
    tv.move()
    code, found, _ = examine(capsys)
    assert code == 0
    assert of(found, "device.port")["facts"]["port"] == tv.ports["dmap"]


def test_device_with_another_address(tv, capsys):
    device = tv.device
    device.address = "127.0.0.9"
    tinyatv.Store().save(device)
    code, found, _ = examine(capsys)
    assert (code, of(found, "device.address")["facts"]["was"]) == (0, "127.0.0.9")


def test_two_devices_at_once(tv, capsys, monkeypatch):
    with VirtualAppleTV("Bedroom", profile="tvos14", mdns_port=0) as other:
        tinyatv.Store().save(other.device)
        monkeypatch.setenv(
            "TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']},localhost:{other.ports['mdns']}"
        )
        other.forget_clients()
        code, found, _ = examine(capsys)
        assert code == 1
        states = {
            one["device"]: one["status"] for one in found if one["check"] == "device.commands"
        }
        assert states == {"Living Room": "ok", "Bedroom": "problem"}
        tinyatv.Store().set_alias("Living Room", "tv")
        for which in (["Living Room"], ["tv"], ["-n", "tv"], ["-i", tv.identifier]):
            code, found, _ = examine(capsys, *which)
            assert code == 0
            assert {one["device"] for one in found} == {None, "Living Room"}
        assert "also found: Bedroom" in of(found, "devices")["message"]
        assert examine(capsys, "-s", f"127.0.0.1:{other.ports['mdns']}")[0] == 1


def test_by_hand(tv, capsys, own_store):
    own_store.unlink()
    args = ["-m", "--address", "127.0.0.1", "--port", str(tv.ports["dmap"]), "--protocol", "dmap"]
    code, found, _ = examine(capsys, *args)
    assert code == 1
    assert of(found, "device.port")["status"] == "ok"
    assert "pair" in of(found, "device.commands")["advice"]


# -- devices that are not well ---------------------------------------------------------------------


def test_device_that_is_gone(some_tv, capsys):
    some_tv.stop()
    code, found, _ = examine(capsys, "-t", "0.3")
    assert code == 1
    assert of(found, "device.mdns")["status"] == "problem"
    assert "same network" in of(found, "device.mdns")["advice"]
    ports = [one for one in found if one["check"] == "device.port"]
    assert {one["status"] for one in ports} == {"problem"}
    assert all("refused" in one["message"] and "restart" in one["advice"] for one in ports)
    assert of(found, "device.commands")["facts"]["connected"] == []


def test_credentials_that_are_refused(every_tv, capsys):
    if not every_tv.credentials:
        pytest.skip("it needs none")
    every_tv.forget_clients()
    code, found, _ = examine(capsys)
    assert code == 1
    for protocol in every_tv.credentials:
        one = of(found, "device.credentials", protocol=protocol)
        assert (one["status"], one["facts"]["error"]) == ("problem", "CredentialsError")
        assert one["advice"] == f"tinyatv pair -n 'Living Room' --protocol {protocol}"
    assert not [one for one in secrets_of(every_tv) if one in json.dumps(found)]


@pytest.mark.parametrize("credentials", ["nonsense", "0x12", "aa:bb:cc", ":::", "aa:bb:cc:dd"])
def test_credentials_that_are_malformed(some_tv, capsys, credentials):
    device = some_tv.device
    for service in device.services:
        service.credentials = credentials
    tinyatv.Store().save(device)
    code, out, _ = run(capsys, "doctor")
    if credentials != ":::":  # which means that there are none
        assert code == 1
        assert "malformed" in out
    assert credentials == ":::" or credentials not in out


@contextlib.contextmanager
def listener(answer: bytes | None):
    """Something that takes connections, and says nothing, or something else."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            taken = []
            while not done.is_set():
                peer, _ = server.accept()
                taken.append(peer)
                with contextlib.suppress(OSError):
                    if answer is not None:
                        peer.sendall(answer)
            for peer in taken:
                peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            socket.create_connection(server.getsockname()).close()
            thread.join()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("tinyatv.backends.dmap.LOGIN_TIMEOUT", 0.3)
    monkeypatch.setattr("tinyatv.backends.airplay_session.ANSWER_TIMEOUT", 0.3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(None, "does not answer"), (b"\xff" * 200, "makes no sense"), (b"HTTP/1.1 2", "")],
)
@pytest.mark.parametrize("protocol", BACKENDS)
def test_something_else_listens(own_store, capsys, quick, monkeypatch, protocol, answer, words):
    with VirtualAppleTV(profile="tvos14") as other, listener(answer) as port:
        credentials = {"dmap": "0x0123456789ABCDEF"}.get(protocol, other.credentials["mrp"])
        service = Service(protocol, port, identifier="AB:CD", credentials=credentials)
        tinyatv.Store().save(
            Device("Den", "127.0.0.1", [service], query=f"127.0.0.1:{free_port()}")
        )
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
        code, found, _ = examine(capsys, "-t", "0.2", "--timeout", "0.3")
    assert code == 1
    assert of(found, "device.port")["status"] == "ok"
    one = of(found, "device.credentials")
    assert one["status"] == "problem"
    assert words in one["message"]


def test_device_that_answers_no_mdns(tv, capsys, monkeypatch):
    """It works as long as it stays where it is."""
    device = tv.device
    device.query = f"127.0.0.1:{free_port()}"
    tinyatv.Store().save(device)
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", device.query)
    code, found, _ = examine(capsys, "-t", "0.3")
    assert code == 0
    one = of(found, "device.mdns")
    assert (one["status"], one["facts"]["answered"]) == ("warning", [])
    assert of(found, "device.commands")["status"] == "ok"


def test_device_that_is_not_paired(own_store, capsys, monkeypatch):
    with VirtualAppleTV("Attic", profile="tvos18", mdns_port=0, credentials=()) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        code, found, _ = examine(capsys)
    assert code == 1
    assert of(found, "device.commands")["advice"] == "tinyatv pair -n Attic"


@pytest.mark.parametrize("profile", ["tvos18"])
@pytest.mark.parametrize("without", ["companion", "airplay"])
def test_credentials_of_another_protocol(tv, capsys, without):
    """A connection would try them: so does the doctor, before it says that something is missing."""
    device = tv.device
    for known in device.services:
        known.credentials = None if known.protocol == without else known.credentials
    store = tinyatv.Store()
    store.forget(device.identifier)
    store.save(device)
    code, found, _ = examine(capsys)
    assert (code, of(found, "device.credentials", protocol=without)["status"]) == (0, "ok")
    tv.fail("verify", status=2, times=None)
    _, found, _ = examine(capsys)
    one = of(found, "device.credentials", protocol=without)
    assert (one["status"], one["advice"]) == (
        "note", f"tinyatv pair -n 'Living Room' --protocol {without}",
    )  # fmt: skip


def test_service_that_was_withdrawn(tv, capsys):
    device = tv.device
    device.services.append(Service("companion", 1, identifier="AB", credentials="aa:bb:cc:dd"))
    tinyatv.Store().save(device)
    _, found, _ = examine(capsys)
    assert of(found, "device.offer", protocol="companion")["status"] == "note"


@pytest.mark.parametrize("name", ["Nowhere", "127.0.0.1:{port}", "nobody.invalid", "-n Nowhere"])
def test_unknown_device(tv, capsys, name):
    code, found, _ = examine(capsys, "-t", "0.3", *name.format(port=free_port()).split())
    assert code == 1
    assert of(found, "devices")["status"] == "problem"


def test_no_device_at_all(own_store, capsys, monkeypatch):
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    code, found, _ = examine(capsys, "-t", "0.2")
    assert code == 1
    assert "tinyatv virtual" in of(found, "devices")["advice"]
    assert of(found, "store.file")["status"] == "note"


def test_name_that_a_stranger_chose(own_store, capsys, monkeypatch):
    """Advice is there to be pasted into a shell; and a terminal obeys what is printed on it."""
    name = "x\x1b[2J'; touch pwned; '$(touch pwned)"
    with VirtualAppleTV(name, profile="tvos18", mdns_port=0, credentials=()) as tv:
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{tv.ports['mdns']}")
        _, found, _ = examine(capsys)
        words = shlex.split(of(found, "device.commands")["advice"])
        assert words == ["tinyatv", "pair", "-n", name]
        assert "\x1b" not in run(capsys, "doctor")[1]


def test_imported_device_without_address(own_store, capsys, monkeypatch):
    service = Service("dmap", 0, identifier="AB", credentials="0x0123456789ABCDEF")
    tinyatv.Store().save(Device("AB", "", [service]))
    monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
    code, found, _ = examine(capsys, "-t", "0.2")
    assert code == 1
    assert of(found, "device.port")["advice"] == "tinyatv scan"


def test_interrupted(own_store, monkeypatch):
    """Ctrl-C while a device is silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        service = Service(
            "dmap", server.getsockname()[1], identifier="AB", credentials="0x0123456789ABCDEF"
        )
        tinyatv.Store().save(Device("Den", "127.0.0.1", [service]))
        monkeypatch.setenv("TINYATV_SCAN_HOSTS", f"127.0.0.1:{free_port()}")
        with Program("doctor", "-t", "0.2") as process:
            server.accept()[0].close()  # the port is tried, and then
            peer, _ = server.accept()  # the credentials
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)  # a login may take 25 s
            peer.close()
    assert (process.returncode, err) == (130, "")
    assert "checking Den" in out


# -- the store -------------------------------------------------------------------------------------


def test_store_that_others_can_read(tv, capsys, own_store):
    own_store.chmod(0o644)
    code, found, _ = examine(capsys)
    assert code == 0  # it works; but
    one = of(found, "store.mode")
    assert (one["status"], one["facts"]["mode"]) == ("warning", "0644")
    assert one["advice"] == f"chmod 600 {own_store}"


@pytest.mark.parametrize("content", ["{", "[]", '{"devices": [1]}', "\x00\xff", ""])
def test_store_that_is_damaged(tv, capsys, own_store, content):
    own_store.write_text(content)
    code, found, _ = examine(capsys)
    assert code == 1
    assert of(found, "store.file")["status"] == "problem"
    assert "damaged" in of(found, "store.file")["message"]
    assert own_store.read_text() == content
    assert of(found, "device.port")["status"] == "ok"  # the rest is checked all the same


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_store_that_is_no_file(tv, capsys, own_store, make):
    own_store.unlink()
    make(own_store)
    code, found, _ = examine(capsys)
    assert code == 1
    assert "is not a file" in of(found, "store.file")["message"]


def test_store_that_is_locked(tv, capsys, own_store, monkeypatch):
    monkeypatch.setattr(diagnosis_store, "PATIENCE", 0.1)
    with open(f"{own_store}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, found, _ = examine(capsys)
    assert code == 1
    assert of(found, "store.lock")["status"] == "problem"
    assert examine(capsys)[0] == 0


def test_store_of_the_other_library(tv, capsys):
    foreign = pathlib.Path(os.environ["HOME"], ".pyatv.conf")
    foreign.write_text('{"version": 1, "devices": []}')
    code, found, _ = examine(capsys)
    assert (code, of(found, "store.foreign")["status"]) == (0, "ok")
    foreign.write_text("{")
    code, found, _ = examine(capsys)
    assert (code, of(found, "store.foreign")["status"]) == (1, "problem")
    assert of(found, "device.commands")["status"] == "ok"


def test_no_store(tv, capsys):
    code, found, _ = examine(capsys, "--storage", "none")
    assert code == 1  # it has no credentials
    assert of(found, "store.file")["status"] == "note"


# -- this computer and its network -----------------------------------------------------------------


def test_engines(tv, capsys, monkeypatch):
    from tinyatv import crypto

    before = crypto.engine()
    try:
        crypto.use("python")
        one = of(examine(capsys)[1], "crypto")
        assert (one["status"], one["facts"]["engine"]) == ("note", "python")
        crypto.use(None)
        monkeypatch.setenv("TINYATV_CRYPTO", "rot13")
        code, found, _ = examine(capsys)
        assert (code, of(found, "crypto")["status"]) == (1, "problem")
    finally:
        crypto.use(before)


@pytest.mark.parametrize("name", computer.PACKAGES)
def test_missing_package(tv, name):
    """Whatever lacks, the doctor still says what."""
    module = {"protobuf": "google.protobuf"}.get(name, name)
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from tinyatv.cli.program import main; sys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (1, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    one = of(found[:-1], f"package.{name}")
    assert (one["status"], one["advice"]) == ("problem", f"pip install --upgrade {name}")


def test_package_that_is_too_old(tv, tmp_path):
    about = tmp_path / "tinyatv-9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tinyatv\nVersion: 9\nRequires-Dist: requests>=999.1\n"
        "Requires-Dist: zeroconf>=0.38\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "tinyatv", "doctor", "--json"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,  # a build leaves what it knows of the package in the checkout
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    found = [json.loads(line) for line in done.stdout.splitlines()][:-1]
    assert "too old, 999.1 is needed" in of(found, "package.requests")["message"]
    assert of(found, "package.zeroconf")["status"] == "ok"


def test_clock_that_was_never_set(tv, capsys, monkeypatch):
    monkeypatch.setattr(computer, "YEARS", (3000, 3001))
    code, found, _ = examine(capsys)
    assert (code, of(found, "clock")["status"]) == (0, "warning")


def test_near():
    known = network.interfaces()
    assert network.is_near("127.0.0.1", known) is True
    assert network.is_near("203.0.113.9", known) is False
    assert network.is_near("appletv.local", known) is None


ISOLATED = """
import fcntl, json, os, socket, struct, sys
from tinyatv.cli.program import main

def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS

"""


@pytest.fixture
def isolated(own_store):
    """Run a program in a network of its own, in which there is nothing, not even loopback."""
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, ISOLATED + "loopback_up()"], capture_output=True).returncode
    ):
        pytest.skip("this machine gives nobody a network of their own")

    def start(code: str) -> tuple[int, list[dict]]:
        done = subprocess.run(
            [*command, ISOLATED + code], capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode, [one for one in lines if one["check"] != "summary"]

    return start


def test_no_network_at_all(isolated):
    code, found = isolated("sys.exit(main(['doctor', '--json', '-t', '0.3']))")
    assert code == 1
    assert of(found, "network.interface")["status"] == "problem"
    assert of(found, "devices")["status"] == "problem"


def test_loopback_alone(isolated):
    """Whoever is named needs no network around."""
    code, found = isolated("""
loopback_up()
import tinyatv
with tinyatv.VirtualAppleTV(mdns_port=0) as tv:
    tinyatv.Store().save(tv.device)
    os.environ["TINYATV_SCAN_HOSTS"] = f"127.0.0.1:{tv.ports['mdns']}"
    code = main(["doctor", "--json"])
sys.exit(code)
""")
    assert code == 0
    assert of(found, "network.interface")["status"] == "warning"
    assert of(found, "device.commands")["status"] == "ok"


@pytest.mark.parametrize(
    ("how", "answered", "status"),
    [
        ("announce=True", ["multicast", "directed"], "ok"),
        ("mdns_port=5353", ["directed"], "warning"),
    ],
)
def test_ways_to_be_found(isolated, how, answered, status):
    """By multicast; or by a question to it alone, which says that multicast is lost on the way."""
    _, found = isolated(f"""
loopback_up()
import tinyatv
with tinyatv.VirtualAppleTV({how}) as tv:
    device = tv.device
    device.query = None
    tinyatv.Store().save(device)
    main(["doctor", "--json", "-t", "3", "-i", tv.identifier])
""")
    one = of(found, "device.mdns")
    assert (one["facts"]["answered"], one["status"]) == (answered, status)
    assert of(found, "device.commands")["status"] == "ok"


def test_device_elsewhere(isolated):
    service = Service("dmap", 1, identifier="AB", credentials="0x0123456789ABCDEF")
    tinyatv.Store().save(Device("Far", "203.0.113.9", [service]))  # RFC 5737: nobody
    code, found = isolated("""
loopback_up()
sys.exit(main(["doctor", "--json", "-t", "0.3", "--timeout", "0.3"]))
""")
    assert code == 1
    one = of(found, "device.address")
    assert one["status"] == "problem"
    assert "none of the networks" in one["message"]
    assert of(found, "device.port")["status"] == "problem"


@pytest.mark.parametrize("directed", [True, False])
def test_port_5353_taken(isolated, directed):
    _, found = isolated(f"""
loopback_up()
if {directed}:
    os.environ["TINYATV_SCAN_HOSTS"] = "127.0.0.1:9"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("", 5353))
    main(["doctor", "--json", "-t", "0.3"])
""")
    one = of(found, "network.port")
    assert one["status"] == ("warning" if directed else "problem")
    assert one["facts"]["owners"] == [pathlib.Path(sys.executable).name[:15]]


def test_who_answers_multicast(isolated):
    isolated("""
loopback_up()
from tinyatv.diagnosis import network
from tinyatv.discovery import publish
assert network.echo("127.0.0.1") is None
with publish("_airplay._tcp.local.", "Den", 7000, "127.0.0.1", {}, quick=True):
    assert network.ask(["127.0.0.2"]) == {"127.0.0.1"}
    assert network.ask(["127.0.0.1"]) == set()  # ourselves
""")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="is nobody already")
def test_as_nobody(tv):
    """Without any rights, and with somebody else's store."""
    folder = tempfile.mkdtemp()
    try:
        os.chmod(folder, 0o755)
        store = pathlib.Path(folder, "devices.json")
        store.write_text("{}")
        store.chmod(0o600)
        nobody = {
            "user": 65534, "capture_output": True, "text": True, "timeout": 60, "cwd": folder,
            "env": {**os.environ, "TINYATV_STORE": str(store), "HOME": "/nonexistent",
                    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        }  # fmt: skip
        try:
            if subprocess.run([sys.executable, "-c", "import tinyatv"], **nobody).returncode:
                pytest.skip("nobody cannot read this checkout")
        except PermissionError:
            pytest.skip("nobody cannot run this Python")
        done = subprocess.run([sys.executable, "-m", "tinyatv", "doctor", "--json"], **nobody)
    finally:
        shutil.rmtree(folder)
    assert (done.returncode, done.stderr) == (1, "")
    found = [json.loads(line) for line in done.stdout.splitlines()][:-1]
    assert "Permission denied" in of(found, "store.file")["message"]
    assert of(found, "store.folder")["status"] == "warning"
    assert of(found, "device.port")["status"] == "ok"
