"""The command that serves a run to programs and people: serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ...features.extraction.settings import ExtractSettings
from .console import note
from .declare import HEADS, command
from .options import Offline, ReadingOptions, Run, RunCache, RunPosts, Runs, named_run, read_posts_of

app = typer.Typer()


@command(app, panel=HEADS, example="msa serve runs/gated --posts posts", without=("tokens", "flush_seconds"))
def serve(
    run: Run,
    reading: ReadingOptions,
    compute: ExtractSettings,
    posts: RunPosts = None,
    host: Annotated[
        str, Option(help="Address to listen at; others than this machine's own need --token.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen at; 0: a free one.")] = 8000,
    token: Annotated[str, Option(envvar="MSA_TOKEN", help="Token that every request has to show.")] = "",
    runs: Runs = Path("runs"),
    cache: RunCache = None,
    local_files_only: Offline = False,
) -> None:
    """Serve a run by REST, with a page to try it.

    Encoders and heads are loaded once. The page has the posts to browse, and shows those nearest to a new one. Ctrl-C
    ends it.
    """
    from ..runs.folders import find_run
    from ..runs.stored_run import read_run
    from ..serving import server

    server.check_access(host, token)
    folder = find_run(named_run(run, runs))
    server.serve(
        folder,
        reading.read_from(posts) if posts else read_posts_of(read_run(folder), None),
        host=host,
        port=port,
        token=token,
        cache=cache,
        settings=compute,
        local_files_only=local_files_only,
        ready=lambda url: print(f"{url} (Ctrl-C ends it)", flush=True),
    )
    note("stopped")
