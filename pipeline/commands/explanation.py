"""The command that explains a prediction: explain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ...features.extraction.settings import ExtractSettings
from .console import show
from .declare import HEADS, command
from .options import Json, Language, Offline, ReadingOptions, Run, RunCache, RunPosts, Runs, named_run, read_posts_of

app = typer.Typer()


@command(
    app,
    panel=HEADS,
    example="msa explain runs/attention --id 17 --out explained",
    without=("tokens", "limit", "flush_seconds"),
)
def explain(
    run: Run,
    reading: ReadingOptions,
    compute: ExtractSettings,
    id: Annotated[str, Option("--id", help="Id of a post.")] = "",
    posts: RunPosts = None,
    image: Annotated[Path | None, Option(help="A new post: its image file.")] = None,
    text: Annotated[str | None, Option(help="A new post: its text.")] = None,
    out: Annotated[
        Path | None, Option(help="Page to write, FILE.html; or folder, also for figures as PNG, SVG, PDF and CSV.")
    ] = None,
    language: Language = "auto",
    runs: Runs = Path("runs"),
    cache: RunCache = None,
    local_files_only: Offline = False,
    as_json: Json = False,
) -> None:
    """Explain a prediction by attention and by each modality.

    The post is one of a data set, by --id, or a new one. A test post of the run is explained by the heads that never
    saw it.
    """
    from .. import explain_posts
    from ..figures.explanation_page import check_out, write_explanation
    from ..runs.folders import find_run
    from ..runs.stored_run import read_runs

    folder = named_run(run, runs)
    if bool(id) == (image is not None or text is not None):
        raise ValueError("one post is explained; give --id ID, or a new one as --image and --text")
    if out:
        check_out(out)
    if id:
        corpus = reading.read_from(posts) if posts else read_posts_of(read_runs([folder])[0], None)
        if corpus is None:
            raise ValueError(f"the posts of {folder} are not where they were; add --posts POSTS")
        (found,) = explain_posts.explain_ids(
            folder,
            corpus,
            [id],
            cache=cache,
            settings=compute,
            local_files_only=local_files_only,
        )
    else:
        found = explain_posts.explain_new(
            folder, image=image, text=text, cache=cache, settings=compute, local_files_only=local_files_only
        )
    if out:
        name = find_run(folder).resolve().name
        written = write_explanation(
            found.explanation, found.sample, out, run=name, trained=found.trained, language=language
        )
        found = replace(found, files=tuple(written))
    show(found, as_json)
