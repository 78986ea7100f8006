"""The worked examples of the project's DMAP sheet, through the client."""

from __future__ import annotations

import http.server
import threading

import pytest

import tinyatv
from tests.support.vectors import cases
from tinyatv.backends.dmap import login_query, to_playing
from tinyatv.wire import dmap

SESSION = 1442850069
LOGIN = bytes.fromhex("6d6c6f67000000186d73747400000004000000c86d6c69640000000456002515")


def named(sheet: str, group: str):
    return pytest.mark.parametrize("case", cases(sheet, group), ids=lambda case: case["name"])


def fields(case: dict, *names: str) -> dict:
    return {name: case[name] for name in names if case.get(name) is not None}


@named("dmap", "credentials")
def test_credentials(case):
    if "error" in case["expect"]:
        with pytest.raises(tinyatv.CredentialsError):
            login_query(case["text"])
    else:
        assert login_query(case["text"]) == f"{case['expect']['kind']}={case['text']}&hasFP=1"


@named("dmap", "device_state")
def test_device_state(case):
    if case["expect"].get("error"):
        assert to_playing(fields(case, "caps")).device_state is tinyatv.DeviceState.Idle
    else:
        assert to_playing(fields(case, "caps")).device_state.name == case["expect"]["state"]


@named("dmap", "media_type")
def test_media_type(case):
    status = fields(case, "cmmk", "caps", "cana", "canl")
    assert to_playing(status).media_type.name == case["expect"]["media_type"]


@named("dmap", "position")
def test_position(case):
    playing = to_playing({"caps": 3, **fields(case, "cast", "cant")})
    assert playing.total_time == case["expect"]["total_time"]
    assert playing.position == case["expect"]["position"]


@named("dmap", "shuffle_repeat")
def test_shuffle_repeat(case):
    playing = to_playing(fields(case, "cash", "carp"))
    assert (playing.shuffle.name, playing.repeat.name) == (
        case["expect"]["shuffle"], case["expect"]["repeat"],
    )  # fmt: skip


@named("dmap", "content_hash")
def test_content_hash(case):
    playing = tinyatv.Playing(
        title=case["title"], artist=case["artist"], album=case["album"],
        total_time=case["total_time"],
    )  # fmt: skip
    assert playing.hash == case["expect"]["hash"]


@named("dmap", "play_status")
def test_play_status(case):
    status = dict(dmap.first(dmap.decode(bytes.fromhex(case["data_hex"])), "cmst"))
    playing, expected = to_playing(status), case["expect"]
    assert status["cmsr"] == expected["revision"]
    assert playing.media_type.name == expected["media_type"]
    assert playing.device_state.name == expected["state"]
    for name in ("title", "artist", "album", "total_time", "position", "hash"):
        assert getattr(playing, name) == expected[name]
    assert playing.shuffle.name == expected["shuffle"]
    assert playing.repeat.name == expected["repeat"]


@pytest.fixture
def recorder():
    """A device that writes down (method, path, body) of every request, and says yes."""
    requests: list[tuple[str, str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append((self.command, self.path, body.hex()))
            answer = LOGIN
            if "playstatusupdate" in self.path:
                answer = bytes.fromhex(cases("dmap", "play_status")[1]["data_hex"])
            elif "server-info" in self.path:
                answer = bytes.fromhex("6d73727600000000")
            elif not self.path.startswith("/login"):
                answer = b""
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1], requests
    server.shutdown()
    thread.join()
    server.server_close()


def connect(port: int, credentials: str) -> tinyatv.AppleTV:
    service = tinyatv.Service("dmap", port, credentials=credentials)
    return tinyatv.connect(tinyatv.Device("Recorder", "127.0.0.1", [service]))


def ask(atv: tinyatv.AppleTV, case: dict) -> None:
    """Do what the case is named after."""
    name = case["name"]
    if name == "play_status":
        atv.playing()
    elif name == "artwork_default":
        atv.artwork()
    elif name == "topmenu":
        atv.top_menu()
    elif name == "set_position":
        atv.set_position(case["position"])
    elif "shuffle" in case:
        atv.set_shuffle(tinyatv.ShuffleState[case["shuffle"]])
    elif "repeat" in case:
        atv.set_repeat(tinyatv.RepeatState[case["repeat"]])
    elif not name.startswith("login"):
        getattr(atv, name)()


@named("dmap", "requests")
def test_request(case, recorder):
    port, requests = recorder
    with connect(port, case.get("credentials", "0x0000000000000001")) as atv:
        ask(atv, case)
    expected = case["expect"]
    assert requests[-1] == (expected["method"], expected["path"], expected.get("body_hex", ""))


@named("dmap", "arrow_keys")
def test_arrow_key(case, recorder, device):
    port, requests = recorder
    with connect(port, "0x0000000000000001") as atv:
        getattr(atv, case["key"])()
    bodies = [dmap.decode(bytes.fromhex(body)) for _, _, body in requests[1:]]
    assert [dmap.first(body, "cmbe") for body in bodies] == case["expect"]["cmbe"]
    assert all(body[0] == ("cmcc", "0") for body in bodies)
    with tinyatv.connect(device.device) as atv:
        getattr(atv, case["key"])()
    assert device.log == [case["expect"]["derived_key"]]
