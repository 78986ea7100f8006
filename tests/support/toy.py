"""A protocol that no device speaks: both ends of it, for :mod:`tests.test_sixth_protocol`.

client -> device   pair PIN      device -> client   key KEY, or no
                   KEY command                      ok, or no
"""

from __future__ import annotations

import secrets
import socket
import threading

from tinyatv import errors
from tinyatv.backends import Backend, try_connect
from tinyatv.discovery.records import Record
from tinyatv.model import FeatureState

KIND = "_toy._tcp.local."
PIN = "1234"


def ask(device, service, line):
    """One request on a connection of its own."""
    try:
        with socket.create_connection((device.address, service.port), 5) as sock:
            sock.sendall(f"{line}\n".encode())
            return sock.makefile().readline().strip()
    except OSError as exc:
        raise errors.ConnectionFailed(f"{exc} (toy)") from exc


class ToyBackend(Backend):
    protocol = "toy"

    def __init__(self, device, service, *, timeout, post, lost, tunnel=None):
        self._device, self._service = device, service
        self.address = device.address

    def connect(self):
        self._ask("hello")

    def close(self, error=None):
        pass

    def subscribe(self):
        pass

    def unsubscribe(self):
        pass

    def features(self):
        return {"play": FeatureState.Available}

    def play(self):
        self._ask("play")

    def _ask(self, command):
        if ask(self._device, self._service, f"{self._service.credentials} {command}") != "ok":
            raise errors.CredentialsError("refused (toy)")


def pair(device, service, request):
    word, _, key = ask(device, service, f"pair {request.pin or request.ask_pin()}").partition(" ")
    if word != "key":
        raise errors.PairingError("wrong PIN (toy)")
    return key


def check(device, service, *, timeout):
    try_connect(device, service, timeout)


class VirtualToy:
    def __init__(self, setup):
        self._setup = setup
        self._listener = socket.create_server((setup.host, setup.port))
        self._thread = threading.Thread(target=self._run, name=setup.thread, daemon=True)
        self.port = self._listener.getsockname()[1]
        self.requests = []
        self.accepted = set()

    def start(self):
        self._thread.start()

    def stop(self):
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join(5)
        self._listener.close()

    def drop_peers(self):
        pass

    def restore_from(self, before):
        self.accepted = before.accepted

    def records(self):
        setup = self._setup
        return [Record(KIND, setup.name, self.port, setup.host, {"id": setup.identifier})]

    def _run(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                line = peer.makefile().readline().strip()
                self.requests.append(line)
                peer.sendall(f"{self._answer(*line.split())}\n".encode())

    def _answer(self, first, second):
        if first == "pair" and second == PIN:
            self.accepted.add(key := secrets.token_hex(8))
            return f"key {key}"
        if first not in self.accepted:
            return "no"
        if second == "play":
            self._setup.state.play()
        return "ok"
