"""Stands between a client and a server, and does to requests what networks and overloaded servers do."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"

FAULTS = ("reset", "lost", "cut", "late", "hanging", "500", "503", "500 after", "503 after")
"""What becomes of a request:

reset: the connection breaks before the server sees it. lost: it is carried out, and the connection breaks before the
answer. cut: likewise, in the middle of the answer. late: the server sees it when its client has given up. hanging: it
is carried out, and its client gives up waiting. 500, 503: refused with that status. 500 after, 503 after: carried out,
and answered so.
"""


class FaultyProxy:
    """Listens on a port of its own.

    Args:
        port: of the server, on this host.
        patience: seconds after which the client gives up.
        slowness: seconds by which a request may be late beyond that.
    """

    def __init__(self, port: int, patience: float, slowness: float = 0.5) -> None:
        self.felt: Counter[str] = Counter()
        """How many requests met each fault."""
        self.forward_to = port
        self.patience = patience
        self.slowness = slowness
        self._left = 0
        self._chance = 0.0
        self._random = random.Random(0)
        self._lock = threading.Lock()
        self._server = self._listen(0)
        self.uri = f"http://{HOST}:{self._server.server_port}"

    def storm(self, seed: int, faults: int, chance: float) -> None:
        """From now on each request meets a fault with that chance, until there were so many."""
        with self._lock:
            self._random = random.Random(seed)
            self._left = faults
            self._chance = chance

    @property
    def over(self) -> bool:
        """Whether the storm has had all its faults."""
        return self._left == 0

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens: connections are refused."""
        port = self._server.server_port
        self.close()
        try:
            yield
        finally:
            self._server = self._listen(port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next_fault(self) -> str | None:
        with self._lock:
            if self._left == 0 or self._random.random() >= self._chance:
                return None
            self._left -= 1
            fault = self._random.choice(FAULTS)
            self.felt[fault] += 1
            return fault

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = _Listener((HOST, port), _Handler)
        server.proxy = self
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    proxy: FaultyProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has given up is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def _pass_on(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.next_fault()
        if fault == "reset":
            self._break()
        elif fault in ("500", "503"):
            self._answer(int(fault), b"no")
        else:
            if fault == "late":
                time.sleep(proxy.patience + proxy.slowness)
            status, content, kind = self._ask(body)
            if fault == "hanging":
                time.sleep(proxy.patience + proxy.slowness)
            if fault in ("late", "hanging", "lost"):
                self._break()
            elif fault == "cut":
                self._answer(status, content, kind, sent=len(content) // 2)
                self._break()
            elif fault is not None:
                self._answer(int(fault.split()[0]), b"no")
            else:
                self._answer(status, content, kind)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _pass_on  # noqa: N815  the names are http.server's

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""

    def _ask(self, body: bytes) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection(HOST, self.server.proxy.forward_to, timeout=60)
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in ("connection", "accept-encoding")
        }
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("Content-Type", "application/json")
        except OSError:  # the server itself is away
            return 502, b"no", "text/plain"
        finally:
            connection.close()

    def _answer(self, status: int, content: bytes, kind: str = "text/plain", sent: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:sent])

    def _break(self) -> None:
        """As a machine does that is switched off: by a reset, not by a goodbye."""
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
