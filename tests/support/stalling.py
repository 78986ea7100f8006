"""A TCP proxy that stalls: connections stay up, and nothing passes any more."""

from __future__ import annotations

import copy
import socket
import threading

from tinyatv.link import Listener


class Stalling:
    """Passes bytes between clients and a virtual device, until :meth:`stall`.

    Then it accepts connections and takes bytes, as before, but passes nothing on: TCP keeps
    acknowledging, so no socket notices anything. :meth:`resume` hangs up those that were stalled,
    and serves new ones.

    Args:
        tv: The virtual device.
        protocol: Whose port is passed on.
        port: Another port that is passed on instead, such as that of a data channel.

    Attributes:
        tv: The virtual device.
        device: The device as a client should see it.
    """

    def __init__(self, tv, protocol, port=None):
        self.tv = tv
        self._target = port or tv.ports[protocol]
        self._lock = threading.Lock()
        self._stalled = False
        self._sockets = []
        self._threads = []
        self._listener = Listener(self._accepted, name="stalling-proxy")
        self.device = copy.deepcopy(tv.device)
        self.device.service(protocol).port = self.port

    @property
    def port(self):
        """Where clients should connect to."""
        return self._listener.port

    def __enter__(self):
        self._listener.start()
        return self

    def __exit__(self, *_):
        self._listener.close()
        self.resume()
        for thread in self._threads:
            thread.join(10)

    def stall(self):
        """From here on, nothing passes."""
        with self._lock:
            self._stalled = True

    def resume(self):
        """Hang up, and serve whoever comes from here on."""
        with self._lock:
            self._stalled = False
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already

    def _accepted(self, near, _):
        far = socket.create_connection(("127.0.0.1", self._target))
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets += [near, far]
        pumps = [
            threading.Thread(target=self._pump, args=pair) for pair in ((near, far), (far, near))
        ]
        self._threads += [*pumps, threading.Thread(target=self._close, args=(pumps, near, far))]
        for thread in self._threads[-3:]:
            thread.start()

    def _pump(self, source, target):
        try:
            while data := source.recv(65536):
                with self._lock:
                    passes = not self._stalled
                if passes:
                    target.sendall(data)
            with self._lock:
                if not self._stalled:
                    target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other pump has hung up

    @staticmethod
    def _close(pumps, *sockets):
        for pump in pumps:
            pump.join()
        for sock in sockets:
            sock.close()
