"""Starts the server: refuses what is not safe, loads the model, listens until it is interrupted."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import uvicorn

from ...features.extraction.settings import ExtractSettings
from ...features.installation import DISTRIBUTION
from ...features.posts.samples import Corpus
from ...features.progress import finish, stage
from ..runs.folders import find_run
from ..runs.stored_run import read_run
from .app import create_app
from .guard import is_loopback
from .known_posts import KnownPosts
from .service import Service
from .warm_model import WarmModel

SHORTEST_TOKEN = 12  # characters
TOKEN = re.compile(r"[!-~]+")  # what every client can put into a header
KEEP_ALIVE = 20  # seconds that an idle connection stays open
CONNECTIONS = 512  # at once; more are answered with 503
CLOSING = 5  # seconds that requests in work may take once the server is interrupted


def check_access(host: str, token: str) -> None:
    """Raise ValueError for a host that others can reach without a token, and for a token that is easily found."""
    if not token and not is_loopback(host):
        raise ValueError(
            f"--host {host} can be reached from other machines; add --token with {SHORTEST_TOKEN} characters or more, "
            "or leave --host out"
        )
    if token and (len(token) < SHORTEST_TOKEN or not TOKEN.fullmatch(token)):
        raise ValueError(
            f"--token must have {SHORTEST_TOKEN} characters or more, of ASCII without spaces; "
            "python -c 'import secrets; print(secrets.token_hex(16))' prints one"
        )


def open_socket(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 takes a free one. Raises ValueError where that cannot be."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=CONNECTIONS)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"cannot listen at {host}, port {port} ({reason}); give others as --host and --port"
        ) from error


def serve(
    run_folder: Path,
    corpus: Corpus | None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str = "",
    cache: Path | None = None,
    settings: ExtractSettings = ExtractSettings(),
    local_files_only: bool = False,
    ready: Callable[[str], object] = lambda url: None,
) -> None:
    """Serve a run until interrupted; `ready` is told the address once it answers. Raises ValueError as `WarmModel`."""
    check_access(host, token)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of bytes in forms, which are answered
    listening = open_socket(host, port)  # before the model is loaded, which takes seconds
    try:
        service = make_service(run_folder, corpus, cache=cache, settings=settings, local_files_only=local_files_only)
        app = create_app(service, version=metadata.version(DISTRIBUTION), token=token, accuracy=accuracy_of(run_folder))
        server = _Server(
            uvicorn.Config(
                app,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=CLOSING,
                limit_concurrency=CONNECTIONS,
            )
        )
        name = f"[{host}]" if ":" in host else host
        server.ready = lambda: ready(f"http://{name}:{listening.getsockname()[1]}/")
        finish()
        with suppress(KeyboardInterrupt):  # which the server raises again once it has ended
            server.run(sockets=[listening])
    finally:
        listening.close()


def make_service(
    run_folder: Path,
    corpus: Corpus | None,
    *,
    cache: Path | None = None,
    settings: ExtractSettings = ExtractSettings(),
    local_files_only: bool = False,
) -> Service:
    """The model of a run, warm, with the posts of a corpus."""
    folder = find_run(run_folder)
    stage("loading the encoders")
    model = WarmModel.load(folder, cache=cache, settings=settings, local_files_only=local_files_only)
    stage("reading features")
    known = None if corpus is None else KnownPosts(corpus, folder, model.run, cache)
    stage("warming the encoders")
    model.warm()
    return Service(folder.resolve().name, model, known)


def accuracy_of(run_folder: Path) -> float | None:
    """The accuracy of a run on its test rows; None where it stores none."""
    evaluation = read_run(find_run(run_folder)).evaluation
    return None if evaluation is None else evaluation.metrics["accuracy"]["mean"]


class _Server(uvicorn.Server):
    """Tells when it answers."""

    ready: Callable[[], object]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()
