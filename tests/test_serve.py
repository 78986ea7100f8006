"""`tinyatv serve`: a press goes through it, as the same press without it; and nothing twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

import pytest

import tinyatv
from tests.support.mutations import mutate
from tests.support.program import Program
from tinyatv.cli import press
from tinyatv.cli.program import main
from tinyatv.cli.serve import Server
from tinyatv.files import socket_path, store_path
from tinyatv.pool import MAX_IDLE
from tinyatv.virtual import VirtualAppleTV

WAIT = 20.0
SERVED = {"binascii", "_socket"} | {f"tinyatv{name}" for name in (
    "", ".__main__", ".cli", ".cli.press", ".files",
)}  # fmt: skip


@pytest.fixture(autouse=True)
def runtime(own_store, monkeypatch):
    """A place for the socket; that of pytest would be too deep for one."""
    folder = tempfile.mkdtemp(prefix="tinyatv-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["atv3", "tvos14", "tvos18"])
def profile(request):
    return request.param


class Serving(Program):
    """The server as a process of its own."""

    def __init__(self) -> None:
        super().__init__("serve", "--json")
        line = self.stdout.readline()
        assert line, self.stderr.read()
        self.about = json.loads(line)

    def status(self) -> dict:
        return status(self.about["serving"])

    def until(self, condition) -> None:
        """Wait for something that its status shows."""
        end = time.monotonic() + WAIT
        while not condition(self.status()):
            assert time.monotonic() < end, self.status()

    def __exit__(self, kind, error, trace):
        if self.poll() is None:
            self.terminate()
            out, err = self.communicate(timeout=30)
            if kind is None:
                assert (self.returncode, out, err) == (0, "", "")
                assert not os.path.exists(self.about["serving"])
        super().__exit__(kind, error, trace)


def status(path: str) -> dict:
    sock = press.connect(path)
    assert sock is not None
    sock.sendall(press.request("status", os.path.abspath(store_path())))
    kind, data = press.receive_answer(sock)
    sock.close()
    assert kind == press.OUT
    return json.loads(data)


@pytest.fixture
def serving(tv):
    with Serving() as process:
        yield process


def run(*args: str, **more) -> tuple[int, str, str]:
    """The whole program."""
    done = subprocess.run(
        [sys.executable, "-m", "tinyatv", *args], capture_output=True, text=True, timeout=60, **more
    )
    return done.returncode, done.stdout, done.stderr


def run_off(*args: str) -> tuple[int, str, str]:
    return run(*args, env={**os.environ, "TINYATV_SERVE": "off"})


# -- the same as without it ------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
@pytest.mark.parametrize(
    "words",
    [
        ["menu", "down=3", "select", "pause"],
        ["title", "artist", "volume"],
        ["playing"],
        ["features"],
        ["info", "device_id", "power_state"],
        ["pause", "delay=1", "title"],
        ["pause", "next"],
        ["server_info"],
        ["guide"],
        ["text_set=x", "up"],
        ["pause", "plya"],
        ["help", "select"],
        ["--nonsense"],
        ["-n", "living room", "title"],
        ["-i", "nobody,living room", "title"],
        ["--protocol", "mrp", "--timeout", "4", "title"],
        ["--protocol", "dmap", "title"],
        ["-t", "1.5", "-n", "nobody", "title"],
    ],
    ids=" ".join,
)
def test_same_as_without(tv, serving, words):
    """Text, JSON and exit code."""
    tv.state.pause()
    tv.state.disable("next")
    assert run(*words) == run_off(*words)

    def lines(out):
        keys = ("datetime", "stacktrace")
        objects = [json.loads(line) for line in out.splitlines()]
        return [{key: value for key, value in one.items() if key not in keys} for one in objects]

    with_it, without = run("--json", *words), run_off("--json", *words)
    assert (with_it[0], with_it[2]) == (without[0], without[2])
    assert lines(with_it[1]) == lines(without[1])


def test_press(tv, serving):
    assert run("play_pause") == (0, "", "")
    assert run("pause", "up=2") == (0, "", "")
    assert tv.log == ["play_pause", "pause", "up hold"]
    told = serving.status()
    assert (told["presses"], told["pid"]) == (2, serving.pid)
    (one,) = told["devices"]
    assert one["name"] == "Living Room"
    assert one["connected"]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_press_imports_next_to_nothing(tv, serving):
    script = (
        "import os, sys; before = set(sys.modules); sys.argv = ['tinyatv', 'play_pause'];"
        "os._exit = lambda code: print(code, *sorted(set(sys.modules) - before));"
        "from tinyatv.__main__ import console; console()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    code, *modules = done.stdout.split()
    assert code == "0"
    assert {*modules} <= SERVED
    assert tv.log == ["play_pause"]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_many_at_once(tv, serving):
    codes = []
    threads = [
        threading.Thread(target=lambda: codes.append(press.press(["up"]))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert codes == [0] * 12
    assert tv.log == ["up"] * 12
    assert len(serving.status()["devices"]) == 1


@pytest.mark.parametrize("profile", ["atv3"], indirect=True)
def test_files_are_those_of_the_program(tv, serving, tmp_path):
    """Its folder, its umask; and a file to be played as well."""
    there = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": os.getcwd()}}
    mask = os.umask(0o077)
    try:
        done = run("artwork=cover.png", **there)
        assert done == (0, "cover.png (image/png, 512x512)\n", "")
    finally:
        os.umask(mask)
    assert (tmp_path / "cover.png").read_bytes() == tv.state.artwork(512)
    assert stat.S_IMODE((tmp_path / "cover.png").stat().st_mode) == 0o600
    (tmp_path / "secret").write_text(tv.credentials["dmap"])
    by_hand = ["-m", "--address", "127.0.0.1", "--port", str(tv.ports["dmap"]), "--protocol"]
    by_hand += ["dmap", "--storage", "none", "--dmap-credentials", "@secret"]
    assert run(*by_hand, "up", **there) == (0, "", "")
    assert serving.status()["presses"] == 0


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_off(tv, serving, monkeypatch):
    assert run_off("up") == (0, "", "")
    monkeypatch.setenv("TINYATV_SERVE", "off")
    assert press.press(["up"]) is None
    assert serving.status()["presses"] == 0
    assert tv.log == ["up"]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_output_that_nobody_reads(tv, serving):
    line = f"{sys.executable} -m tinyatv features features features | head -n 1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("Feature list:\n", "")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tinyatv", "title"], stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "tinyatv: No space left on device\n")


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_terminal_that_has_not_the_letters(tv, serving):
    tv.state.update(title="Umlaut Café 茶")
    done = run("title", env={**os.environ, "PYTHONIOENCODING": "latin-1"}, encoding="latin-1")
    assert done == (0, "Umlaut Café \\u8336\n", "")


# -- which device ----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_changes_of_the_store_are_noticed(tv, serving):
    """Another default, an alias, one more device, other credentials."""
    store = tinyatv.Store()
    with VirtualAppleTV("Den", profile="tvos14") as den:
        assert run("up") == (0, "", "")
        store.save(den.device)
        store.set_default("Den")
        assert run("down") == (0, "", "")
        store.set_alias("Living Room", "tv")
        assert run("-n", "tv", "left") == (0, "", "")
        assert (tv.log, den.log) == (["up", "left"], ["down"])
        assert len(serving.status()["devices"]) == 2
        broken = den.device
        other = tv.credentials["mrp"]
        for service in broken.services:
            service.credentials = other
        store.save(broken)
        code, _, err = run("up")
        assert (code, err.count("\n")) == (6, 1)
        store.save(den.device)
        assert run("up") == (0, "", "")
        assert den.log == ["down", "up"]
        store.forget("Den")
        assert run("right") == (0, "", "")
        assert tv.log == ["up", "left", "right"]
        serving.until(lambda told: [one["name"] for one in told["devices"]] == ["Living Room"])
        assert den.wait_for(lambda: not den.mrp.peers, WAIT)


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_another_store(tv, serving, monkeypatch, tmp_path):
    monkeypatch.setenv("TINYATV_STORE", str(tmp_path / "other.json"))
    assert run("-t", "20", "-n", "Living Room", "info")[0] == 0  # a scan finds it
    assert press.press(["-n", "Living Room", "up"]) is None
    monkeypatch.undo()


def test_lost_connection(tv, serving):
    """The device comes back, on another port; the next press connects anew."""
    assert run("up") == (0, "", "")
    tv.move()
    serving.until(lambda told: not told["devices"])
    assert run("down") == (0, "", "")
    assert tv.log == ["up", "down"]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_device_that_is_off(tv, serving):
    assert run("up")[0] == 0
    tv.stop()
    serving.until(lambda told: not told["devices"])
    code, out, err = run("-t", "0.2", "down")
    assert (code, out, err.count("\n")) == (4, "", 1)


# -- its end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_killed(tv, serving):
    """The next program does it itself; the next server takes the place over."""
    assert run("up") == (0, "", "")
    serving.kill()
    serving.communicate(timeout=30)
    assert os.path.exists(serving.about["serving"])
    assert run("down") == (0, "", "")
    with Serving() as again:
        assert run("left") == (0, "", "")
        assert again.status()["presses"] == 1
    assert tv.log == ["up", "down", "left"]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
@pytest.mark.parametrize("how", [[], ["--json"]])
def test_killed_in_the_middle(tv, serving, how):
    """What may have been done is not done again."""
    with Program("up", "delay=60000", "down", *how) as process:
        assert tv.wait_for(lambda: tv.log == ["up"], WAIT)
        serving.kill()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 4
    if how:
        assert [json.loads(line).get("error") for line in out.splitlines()][-1] == "connection_lost"
    else:
        assert "whether the device acted is unknown" in err
        assert err.count("\n") == 1
    assert tv.log == ["up"]
    serving.communicate(timeout=30)


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
@pytest.mark.parametrize("by", ["signal", "--stop"])
def test_stopped_in_the_middle(tv, serving, by):
    with Program("up", "title", "delay=60000", "down") as process:
        assert process.stdout.readline() == "Harbour Lights\n"
        if by == "signal":
            serving.send_signal(signal.SIGINT)
        else:
            assert run("serve", by) == (0, "ended\n", "")
        out, err = process.communicate(timeout=30)
        assert serving.wait(30) == 0
    assert (process.returncode, out) == (4, "")
    assert err == "tinyatv: tinyatv serve was stopped; the rest of the line was not run\n"
    assert tv.log == ["up"]
    serving.communicate(timeout=30)
    assert run("serve", "--status") == (4, "", "tinyatv: serve: none is running\n")


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_program_interrupted(tv, serving):
    """Ctrl-C: what was not begun is not done."""
    with Program("up", "delay=60000", "down") as process:
        assert tv.wait_for(lambda: tv.log == ["up"], WAIT)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130
    assert run("left") == (0, "", "")
    assert tv.log == ["up", "left"]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_status_and_second_server(tv, serving):
    assert run("up")[0] == 0
    code, out, _ = run("serve", "--status")
    assert (code, out.splitlines()[1]) == (0, "Living Room: mrp, companion")
    assert out.startswith(f"pid {serving.pid}, 1 ")
    assert run("serve") == (
        1, "", "tinyatv: another one is running; tinyatv serve --status shows it\n",
    )  # fmt: skip
    assert run("serve", "--storage", "none")[0] == 2
    assert run("down") == (0, "", "")


# -- who may --------------------------------------------------------------------------------------


def mode(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_nobody_else_may(tv, runtime):
    mask = os.umask(0)
    try:
        with Serving() as serving:
            path = serving.about["serving"]
            assert path.startswith(f"{runtime}/tinyatv/")
            assert (mode(path), mode(os.path.dirname(path))) == (0o600, 0o700)
            assert mode(f"{path}.lock") == 0o600
    finally:
        os.umask(mask)
    os.chmod(f"{runtime}/tinyatv", 0o755)
    code, _, err = run("serve")
    assert (code, err.count("\n")) == (1, 1)
    assert "yours alone" in err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody else")
@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_another_user(tv, serving, runtime):
    """Even one who gets at the socket is not served; nor does a program trust another user's."""
    path = serving.about["serving"]
    for place in (runtime, os.path.dirname(path)):
        os.chmod(place, 0o777)
    os.chmod(path, 0o777)
    script = (
        "import os, sys; import _socket; from tinyatv.cli import press; os.setuid(65534);"
        "print(press.connect(sys.argv[1]));"
        "sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM); sock.connect(sys.argv[1]);"
        "print(press.same_user(sock));"
        "sock.sendall(press.request('status', sys.argv[2]));"
        "print(sock.recv(1) or 'nothing')"
    )
    store = os.path.abspath(store_path())
    done = subprocess.run(
        [sys.executable, "-c", script, path, store], capture_output=True, text=True, timeout=60
    )
    assert done.stdout in ("None\nFalse\n", "None\nFalse\nnothing\n")
    hung_up = ("ConnectionResetError", "BrokenPipeError")  # it does so at once
    assert done.stderr == "" or any(error in done.stderr for error in hung_up)


@pytest.mark.parametrize("how", ["open", "link"])
def test_place_that_is_not_ours_alone(runtime, how):
    """It may be in /tmp, where anybody can make it: words do not go to whoever listens there."""
    path = socket_path(os.path.abspath(store_path()))
    folder = os.path.dirname(path)
    theirs = f"{runtime}/theirs" if how == "link" else folder
    os.mkdir(theirs)
    os.chmod(theirs, 0o700 if how == "link" else 0o777)
    if how == "link":
        os.symlink(theirs, folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        assert press.press(["up"]) is None
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert run("serve")[0] == 1


def test_place_that_is_too_deep(monkeypatch, runtime):
    deep = os.path.join(runtime, "d" * 100)
    os.mkdir(deep)
    monkeypatch.setenv("XDG_RUNTIME_DIR", deep)
    code, _, err = run("serve")
    assert (code, err.count("\n")) == (1, 1)
    assert "XDG_RUNTIME_DIR" in err
    assert press.press(["up"]) is None


def test_place_beside_the_store(monkeypatch, runtime):
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.path.join(runtime, "none"))
    assert socket_path("/a/b/devices.json").startswith("/a/b/serve/")
    assert socket_path("/a/b/devices.json") != socket_path("/a/b/others.json")


# -- a server that misbehaves, and programs that do ------------------------------------------------


class Mute:
    """Something that listens where the server would, and says what it is told to say."""

    def __init__(self, *says: bytes) -> None:
        path = socket_path(store_path())
        os.makedirs(os.path.dirname(path), 0o700)
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(path)
        self._sock.listen()
        self._says = says
        self._thread = threading.Thread(target=self._run, name="tinyatv-mute")

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._thread.join(WAIT)
        self._sock.close()

    def _run(self) -> None:
        peer, _ = self._sock.accept()
        with peer:
            size = int.from_bytes(press.receive(peer, 4), "big")
            press.receive(peer, size)
            for one in self._says:
                peer.sendall(one)
                if one.startswith(press.READY):
                    assert peer.recv(1) == press.GO
            if not self._says:
                peer.recv(1)  # until the program has lost its patience


def frame(kind: bytes, data: bytes = b"") -> bytes:
    return kind + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ([frame(press.NOT_MINE)], None),
        ([frame(press.WAIT)], None),
        ([frame(press.WAIT)[:3]], None),
        ([b""], None),
        ([frame(press.WAIT), frame(press.READY), frame(press.NOT_MINE)], None),
        ([frame(press.READY)], 4),
        ([frame(press.READY), frame(press.OUT, b"half")[:7]], 4),
        ([frame(press.READY), frame(press.EXIT, b"\5")], 5),
        ([frame(press.EXIT, b"\3")], 3),
        ([], None),  # silence
    ],
)
def test_server_that_goes_away(monkeypatch, capsys, says, code):
    """None: nothing was done for certain, so the program does it itself."""
    monkeypatch.setattr(press, "ANSWERS", 0.2 if not says else WAIT)
    with Mute(*says):
        assert press.press(["up"]) == code
    _, err = capsys.readouterr()
    assert ("unknown" in err) == (code == 4)


class Full:
    """Something that listens where the server would, and has no room for anybody else."""

    def __enter__(self):
        path = socket_path(store_path())
        os.makedirs(os.path.dirname(path), 0o700)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        self.sock.listen(0)
        self.waiting = []
        try:
            while len(self.waiting) < 10:
                one = socket.socket(socket.AF_UNIX)
                self.waiting.append(one)
                one.settimeout(WAIT)
                one.connect(path)
            pytest.fail("there is room for everybody")
        except BlockingIOError:
            self.waiting.pop().close()
        return self

    def __exit__(self, *_):
        for one in (*self.waiting, self.sock):
            one.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it looks as if nobody listened")
def test_no_room_for_a_moment(monkeypatch):
    """It is waited for: the server is busy, not gone."""
    monkeypatch.setattr(press, "ANSWERS", WAIT)
    codes = []
    with Full() as full:
        pressing = threading.Thread(target=lambda: codes.append(press.press(["up"])))
        pressing.start()
        pressing.join(0.2)
        assert codes == []
        full.sock.settimeout(WAIT)
        for _ in full.waiting:
            full.sock.accept()[0].close()
        peer, _ = full.sock.accept()
        with peer:
            press.receive(peer, int.from_bytes(press.receive(peer, 4), "big"))
            peer.sendall(frame(press.EXIT, b"\5"))
        pressing.join(WAIT)
    assert codes == [5]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it looks as if nobody listened")
def test_no_room(monkeypatch, caplog, capsys):
    """The program does it itself; and nobody says that there is no server."""
    monkeypatch.setattr(press, "ANSWERS", 0.2)
    caplog.set_level("DEBUG", "tinyatv.cli.press")
    with Full():
        assert press.press(["up"]) is None
        assert caplog.messages == ["without tinyatv serve: it does not let us in"]
        assert main(["serve", "--status"]) == 4
    assert capsys.readouterr() == (
        "", "tinyatv: serve: one is running, but too many callers wait\n",
    )  # fmt: skip


def enter(path: str) -> socket.socket | None:
    """A connection to the server, or None: it has no room just now."""
    try:
        return press.connect(path)
    except BlockingIOError:
        return None


@pytest.fixture
def server(tv, request):
    """The server in this process, where its threads are counted."""
    store = os.path.abspath(store_path())
    server = Server(socket_path(store), store, max_idle=getattr(request, "param", MAX_IDLE))
    server.open()
    thread = threading.Thread(target=server.run, name="tinyatv-serve-main")
    thread.start()
    yield server
    server.stop()
    thread.join(WAIT)
    server.close()
    server.close()
    assert not os.path.exists(socket_path(store))


def test_closed_while_it_takes_connections(runtime, share):
    """Neither the thread that does that fails, nor does it go on."""
    store = os.path.abspath(store_path())
    path = socket_path(store)

    def come():
        while (sock := enter(path)) is not None:  # until nobody is there any more
            sock.close()

    for _ in range(share(600)):
        server = Server(path, store)
        server.open()
        taking = threading.Thread(target=server.run, name="tinyatv-serve-main")
        coming = threading.Thread(target=come)
        for thread in (taking, coming):
            thread.start()
        press.connect(path).close()
        server.close()
        for thread in (taking, coming):
            thread.join(WAIT)
            assert not thread.is_alive()
    assert [one.name for one in threading.enumerate() if "tinyatv-serve" in one.name] == []


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_damaged_requests(tv, server, share, monkeypatch):
    """None of them ends it, or leaves a thread."""
    monkeypatch.setattr(press, "ANSWERS", 0.2)
    store = os.path.abspath(store_path())
    rng = random.Random(7)
    seed, other = press.request("words", store, "title"), press.request("status", store)
    path = socket_path(store)
    for _ in range(share(2000)):
        end = time.monotonic() + WAIT
        while (sock := enter(path)) is None:  # as many as it has room for wait already
            assert time.monotonic() < end
        sock.sendall(mutate(rng, seed, other))
        sock.close()
    for data in (b"\xff\xff\xff\xff", b"\0\0\0\1\0", press.request("words", "elsewhere", "up")):
        sock = press.connect(path)
        sock.settimeout(WAIT)  # all the others come first
        sock.sendall(data)
        assert sock.recv(1) in (b"", press.NOT_MINE)
        sock.close()
    monkeypatch.setattr(press, "ANSWERS", WAIT)
    assert press.press(["up"]) == 0
    assert tv.log[-1:] == ["up"]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_other_version(tv, server, monkeypatch):
    monkeypatch.setattr(press, "__version__", "0.0.0")
    assert press.press(["up"]) is None
    assert tv.log == []


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_program_that_does_not_say_go(tv, server):
    store = os.path.abspath(store_path())
    sock = press.connect(socket_path(store))
    sock.sendall(press.request("words", store, "up"))
    kinds = [press.receive_answer(sock)[0] for _ in range(2)]
    sock.close()
    assert kinds == [press.WAIT, press.READY]
    assert press.press(["down"]) == 0
    assert tv.log == ["down"]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_program_that_does_not_read(tv, server):
    """It is stopped, and the server ends all the same."""
    store = os.path.abspath(store_path())
    sock = press.connect(socket_path(store))
    sock.sendall(press.request("words", store, *["features"] * 2000) + press.GO)
    assert press.receive_answer(sock)[0] == press.WAIT
    assert press.receive_answer(sock)[0] == press.READY
    assert press.receive_answer(sock)[0] == press.OUT
    server.stop()
    server.close()
    sock.close()


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_letters_of_any_kind(tv, server):
    tv.state.open_field()
    assert press.press(["text_set=Ünï 茶 🎧", "text_append=\udcff"]) == 2
    assert tv.state.text == "Ünï 茶 🎧"


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_connections_are_few(tv, server):
    """Each way to use a device has its own; the oldest ones are closed."""
    for number in range(20):
        assert press.press(["--timeout", str(3 + number), "up"]) == 0
    assert len(status(socket_path(store_path()))["devices"]) == 16
    assert tv.wait_for(lambda: len(tv.mrp.peers) == 16, WAIT)


class Slow:
    """What changes the state of the device takes until :meth:`go`, for who changes it alone."""

    def __init__(self, tv) -> None:
        self.codes = []
        self._came, self._go = threading.Semaphore(0), threading.Event()
        self._threads = []
        tv.state.watch(self._hold)

    def _hold(self) -> None:
        self._came.release()
        self._go.wait(WAIT)

    def press(self, *args: str) -> None:
        """Begin it, and wait until the device is at it."""
        thread = threading.Thread(
            target=lambda: self.codes.append(press.press(["--protocol", "mrp", *args]))
        )
        self._threads.append(thread)
        thread.start()
        assert self._came.acquire(timeout=WAIT)

    def go(self) -> list:
        """Let all of them end; returns their exit codes."""
        self._go.set()
        for thread in self._threads:
            thread.join(WAIT)
        return self.codes


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_connections_in_use_are_kept(tv, server):
    """However long ago their commands began."""
    slow = Slow(tv)
    slow.press("--timeout", "60", "pause", "title")
    for number in range(20):
        assert press.press(["--protocol", "mrp", "--timeout", str(3 + number), "up"]) == 0
    assert len(status(socket_path(store_path()))["devices"]) == 16
    assert slow.go() == [0]


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
@pytest.mark.parametrize("server", [2], indirect=True)
def test_more_in_use_than_are_kept(tv, server):
    """Then there are more, until one of them is idle."""
    slow = Slow(tv)
    for number, word in enumerate(["pause", "play", "pause", "play"]):
        slow.press("--timeout", str(60 + number), word, "title")
    assert len(status(socket_path(store_path()))["devices"]) == 4
    assert slow.go() == [0] * 4
    assert len(status(socket_path(store_path()))["devices"]) == 2
    assert tv.wait_for(lambda: len(tv.mrp.peers) == 2, WAIT)


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_store_changes_while_a_connection_is_used(tv, server, how):
    """The next command does without it; the one that is under way does not."""
    slow = Slow(tv)
    slow.press("--timeout", "60", "pause", "title")
    store = tinyatv.Store()
    if how == "removed":
        store.forget("Living Room")
        assert press.press(["--protocol", "mrp", "--timeout", "60", "up"]) is None
    else:
        device = tv.device
        device.services[0].password = "new"
        store.save(device)
        assert press.press(["--protocol", "mrp", "--timeout", "60", "up"]) == 0
        assert len(tv.mrp.peers) == 2
    assert slow.go() == [0]
    left = 1 if how == "changed" else 0
    assert tv.wait_for(lambda: len(tv.mrp.peers) == left, WAIT)


@pytest.mark.parametrize("profile", ["tvos14"], indirect=True)
def test_closed_while_a_device_is_slow(tv, server, capsys):
    """What waits for a device ends at once."""
    codes = []
    slow = threading.Thread(target=lambda: codes.append(press.press(["select=hold:60"])))
    slow.start()
    assert tv.wait_for(lambda: "select" in tv.state.held, WAIT)
    server.stop()
    server.close()
    slow.join(WAIT)
    assert codes == [4]
    assert capsys.readouterr().err == f"tinyatv: {press.UNKNOWN}\n"
