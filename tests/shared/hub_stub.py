"""A model hub on this machine: serves the files of a folder by the routes of huggingface_hub and of modelscope."""

from __future__ import annotations

import hashlib
import importlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

REVISION = "0123456789abcdef" * 2 + "01234567"
LARGE = (".safetensors", ".bin")  # kept by LFS, whose tag is a SHA-256


class HubStub(ThreadingHTTPServer):
    """Serves one repository at one revision, and records what is asked, with the headers.

    `breaks` holds how often the connection of a file ends after half of what was asked; `refusal` is a status and the
    error code with which everything is answered.
    """

    daemon_threads = True

    def __init__(self, repo: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repo, self.folder = repo, folder
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers in lower case
        self.breaks: dict[str, int] = {}
        self.refusal: tuple[int, str] | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error."""

    def fetched(self) -> list[str]:
        """The files of which content was asked."""
        return [path.rpartition("/")[2] for method, path, _ in self.asked if method == "GET" and "/resolve/" in path]

    def secrets(self) -> list[str]:
        """The paths that were asked with a secret in a header."""
        return [path for _, path, headers in self.asked if "secret" in str(headers)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubStub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        asked = parse_qs(urlsplit(self.path).query).get("FilePath", [""])[0]  # by modelscope
        hub.asked.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
        head, _, file = path.replace("/resolve/main/", f"/resolve/{REVISION}/").partition(f"/resolve/{REVISION}/")
        if hub.refusal:
            self.answer(hub.refusal[0], b"{}", {"X-Error-Code": hub.refusal[1]})
        elif path == f"/api/models/{hub.repo}/revision/main":
            self.answer(200, json.dumps({"id": hub.repo, "sha": REVISION, "siblings": []}).encode())
        elif path == f"/api/models/{hub.repo}/tree/{REVISION}":
            self.answer(200, json.dumps(list(map(self.entry, self.files()))).encode())
        elif path == f"/api/v1/models/{hub.repo}/repo/files":
            self.answer(200, json.dumps({"Code": 200, "Data": {"Files": self.listing()}}).encode())
        elif path == f"/api/v1/models/{hub.repo}/repo" and hub.folder / asked in self.files():
            self.give(asked)
        elif head == f"/{hub.repo}" and hub.folder / file in self.files():
            self.give(file)
        else:
            found = path.startswith(f"/{hub.repo}/")
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound" if found else "RepoNotFound"})

    def files(self) -> list[Path]:
        return sorted(path for path in self.server.folder.rglob("*") if path.is_file())

    def entry(self, file: Path) -> dict[str, Any]:
        raw = file.read_bytes()
        oid = hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()
        entry = {"type": "file", "path": file.relative_to(self.server.folder).as_posix(), "size": len(raw), "oid": oid}
        large = {"oid": hashlib.sha256(raw).hexdigest(), "size": len(raw), "pointerSize": 130}
        return entry | ({"lfs": large} if file.suffix in LARGE else {})

    def listing(self) -> list[dict[str, Any]]:
        return [
            {"Type": "blob", "Path": one["path"], "Size": one["size"]}
            | {"Sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
            for file, one in ((file, self.entry(file)) for file in self.files())
        ]

    def give(self, name: str) -> None:
        """A file, or the rest of it from the start of a Range."""
        file = self.server.folder / name
        raw, entry = file.read_bytes(), self.entry(file)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        tag = entry.get("lfs", entry)["oid"]
        facts = {"ETag": f'"{tag}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        if start:
            facts["Content-Range"] = f"bytes {start}-{len(raw) - 1}/{len(raw)}"
        broken = self.command == "GET" and self.server.breaks.get(name, 0) > 0
        if broken:
            self.server.breaks[name] -= 1
        self.answer(206 if start else 200, raw[start:], facts, broken=broken)

    def answer(self, status: int, raw: bytes, facts: dict[str, str] | None = None, *, broken: bool = False) -> None:
        self.send_response(status)
        for name, value in ((facts or {}) | {"Content-Length": str(len(raw))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(raw[: len(raw) // 2] if broken else raw)
        if broken:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def served(repo: str, folder: Path) -> Iterator[HubStub]:
    """A hub that serves this folder as a repository, while the context lasts."""
    hub = HubStub(repo, folder)
    thread = Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, address: str, home: Path) -> None:
    """Point the hub's client, which reads its variables on import, to an address and an empty cache."""
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    values = {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_DISABLE_XET": True,
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
    }
    for name, value in values.items():
        monkeypatch.setattr(constants, name, value, raising=False)
