"""An HTTP proxy on loopback, in front of a server, that breaks what passes through it.

    with FaultProxy(server_port) as proxy:
        proxy.faults.append(Fault("status", 503, times=2))

Each request goes to the server on a connection of its own, and its answer comes back, unless a
fault takes it. Requests and hits are counted, so that a test can show that its fault was hit.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Kind = Literal[
    "drop",  # the connection, after `value` bytes of the answer; the server has done its work
    "drop upload",  # both connections, after `value` bytes of a body (negative: so many are left)
    "status",  # answer `value` without asking the server
    "delay",  # pass the answer on `value` seconds late
    "truncate",  # cut `value` bytes off an object, and off its Content-Length
]

CODES = {  # of S3
    400: "AuthorizationHeaderMalformed",
    403: "AccessDenied",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}

_HOP = {"connection", "expect", "keep-alive", "transfer-encoding", "server", "date"}


@dataclass
class Fault:
    kind: Kind
    value: float = 0
    times: float = 1  # requests that it takes
    every: int = 1  # takes each n-th of those that it could
    wants: Callable[[str, str], bool] = lambda method, path: True
    seen: int = 0
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        could = {
            "truncate": method == "GET" and "?" not in path,  # an object, no listing
            "drop upload": method == "PUT",
        }
        if self.hits >= self.times or not could.get(self.kind, True):
            return False
        if not self.wants(method, path):
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        self.hits += 1
        return True


class FaultProxy:
    def __init__(self, server_port: int) -> None:
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []  # (method, path) of all that came
        self.dies_at: int | None = None  # number of the first request that finds no server ...
        self.torn = False  # ... after most of its body has gone through, if it has one
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self, "server_port": server_port})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def reset(self) -> None:
        """As it was at first."""
        self.faults, self.requests, self.dies_at, self.torn = [], [], None, False

    def meet(self, method: str, path: str) -> Fault | None:
        """What happens to this request, which is counted."""
        with self._lock:
            number = len(self.requests)
            self.requests.append((method, path))
            if self.dies_at is not None and number >= self.dies_at:
                torn = self.torn and number == self.dies_at
                return Fault("drop upload", -1 if torn else 0)
            return next((fault for fault in self.faults if fault.takes(method, path)), None)


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy
    server_port: int
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        fault = self.proxy.meet(self.command, self.path) or Fault("delay", 0)
        value = int(fault.value)
        size = int(self.headers.get("Content-Length", 0))
        if fault.kind == "drop upload":
            part = self.rfile.read(min(value, size) if value >= 0 else max(0, size + value))
            if part:
                self._send(part).close()
            self.close_connection = True
            return
        body = self.rfile.read(size)
        if fault.kind == "status":
            self._answer(value, *self._error(value))
            return
        upstream = self._send(body)
        response = upstream.getresponse()
        content = response.read()
        headers = [(k, v) for k, v in response.getheaders() if k.lower() not in _HOP]
        upstream.close()
        if fault.kind == "truncate":
            content = content[: max(0, len(content) - value)]
        if self.command != "HEAD":
            headers = [(k, v) for k, v in headers if k.lower() != "content-length"]
            headers.append(("Content-Length", str(len(content))))
        if fault.kind == "delay":
            time.sleep(fault.value)
        cut = value if fault.kind == "drop" else None
        self._answer(response.status, headers, content, cut)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

    def _send(self, body: bytes) -> HTTPConnection:
        """The request with (part of) its body, on its way to the server."""
        upstream = HTTPConnection("127.0.0.1", self.server_port, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                upstream.putheader(name, value)
        upstream.putheader("Connection", "close")
        upstream.endheaders(body)
        return upstream

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, cut: int | None = None
    ) -> None:
        lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers)]
        answer = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        try:
            self.wfile.write(answer[:cut])
        except OSError:
            self.close_connection = True  # the client has given up
        if cut is not None:
            self.close_connection = True

    def _error(self, status: int) -> tuple[list[tuple[str, str]], bytes]:
        """S3's answer: XML, but for HEAD."""
        text = f"<Error><Code>{CODES[status]}</Code><Message>on purpose</Message></Error>"
        body = b"" if self.command == "HEAD" else text.encode()
        return [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))], body

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client has

    def log_message(self, *_: object) -> None:
        """Silent."""
