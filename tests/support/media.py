"""A web server of the tests' own, with something to play."""

from __future__ import annotations

import http.server
import threading


class Server(http.server.ThreadingHTTPServer):
    """Serves things as bytes or parts of them.

    Attributes:
        files: What there is, by path.
        ranges: False knows no parts.
        moved: Where else something is, by path.
        kinds: Content-Type, by path.
        asked: (path, headers) of all requests, in order.
        url: Its address.
    """

    daemon_threads = True

    def __init__(self, files, ranges=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.ranges = ranges
        self.moved = {}
        self.kinds = {}
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
        self._thread.join(5)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers))
        data = server.files.get(self.path)
        if self.path in server.moved:
            self.send_response(302)
            self.send_header("Location", server.moved[self.path])
            data = b""
        elif data is None:
            self.send_error(404)
            return
        elif (wanted := self.headers.get("Range")) and server.ranges:
            first, last = map(int, wanted[6:].split("-"))
            self.send_response(206)
            last = min(last, len(data) - 1)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        else:
            self.send_response(200)
        if self.path in server.kinds:
            self.send_header("Content-Type", server.kinds[self.path])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass
