"""A web server on this machine that answers well, slowly, wrongly or not at all; and who else is connected to."""

from __future__ import annotations

import gzip
import io
import ipaddress
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image


def picture(number: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (number % 256, 99, 7)).save(file, "PNG")
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    """What it does is the first part of the path."""

    protocol_version = "HTTP/1.1"
    server: OddServer

    def do_GET(self) -> None:
        kind, _, rest = self.path.lstrip("/").partition("/")
        with self.server.lock:
            self.server.asked[self.path] += 1
        with suppress(ConnectionError):
            getattr(self, f"send_{kind}")(rest)

    def send_ok(self, rest: str) -> None:
        self._send(200, picture(int(rest.partition(".")[0] or 0)), ETag='"one"')

    def send_etag(self, rest: str) -> None:
        if self.headers.get("If-None-Match") == self.server.etag:
            self._send(304, b"")
        else:
            self._send(200, picture(len(self.server.etag)), ETag=self.server.etag)

    def send_lie(self, rest: str) -> None:
        self._send(200, b"<!DOCTYPE html><p>Not found", **{"Content-Type": "image/png"})

    def send_gone(self, rest: str) -> None:
        self._send(404, b"no such image")

    def send_busy(self, rest: str) -> None:
        """Twice busy, then well."""
        times = self.server.asked[self.path]
        self._send(200 if times > 2 else 503, picture(50) if times > 2 else b"busy")

    def send_drop(self, rest: str) -> None:
        """Half of what was promised."""
        self._send(200, picture()[:40], **{"Content-Length": "5000"})
        self.close_connection = True

    def send_loop(self, rest: str) -> None:
        self._send(302, b"", Location=self.path)

    def send_to(self, rest: str) -> None:
        self._send(302, b"", Location=unquote(rest).replace("_", "/"))

    def send_bomb(self, rest: str) -> None:
        """No end."""
        self._send(200, b"\x89PNG\r\n\x1a\n", **{"Content-Length": "", "Connection": "close"})
        while not self.server.ended.is_set():
            self.wfile.write(bytes(1 << 16))

    def send_large(self, rest: str) -> None:
        self._send(200, b"", **{"Content-Length": str(10**12)})
        self.close_connection = True

    def send_zip(self, rest: str) -> None:
        """Compressed as a whole: a thousand times smaller than what it becomes."""
        self._send(200, gzip.compress(bytes(10**7)), **{"Content-Encoding": "gzip"})

    def send_hang(self, rest: str) -> None:
        self.server.ended.wait()

    def send_drip(self, rest: str) -> None:
        self._send(200, b"\x89PNG", **{"Content-Length": "100000"})
        while not self.server.ended.wait(0.05):
            self.wfile.write(b"x")

    def send_heads(self, rest: str) -> None:
        """One byte of a header after the other."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not self.server.ended.wait(0.05):
            self.wfile.write(b"x")

    def send_rubbish(self, rest: str) -> None:
        self.wfile.write(b"\0\1\2 not HTTP at all\r\n\r\n")
        self.close_connection = True

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nothing is printed."""


class OddServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()  # path -> times
        self.etag = '"a"'
        self.ended = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *arguments: Any) -> None:
        """A client that leaves is no error."""


@contextmanager
def odd_server() -> Iterator[OddServer]:
    with OddServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()


def watch_connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses beyond this machine that are connected to, or asked for; none of those connections is made."""
    outside: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def is_own(host: Any) -> bool:
        with suppress(ValueError):
            return ipaddress.ip_address(host).is_loopback
        return False

    def connected(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not is_own(address[0]):
            outside.append(address)
            raise OSError("no network in this test")
        connect(self, address)

    def looked_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "inside.example":  # a public name that leads to a private address
            return look_up("127.0.0.1", *arguments, **options)
        if host is not None and not is_own(host):
            outside.append(host)
            raise socket.gaierror(socket.EAI_NONAME, "no network in this test")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", connected)
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    return outside
