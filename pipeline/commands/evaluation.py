"""The commands that judge: evaluate, learning-curve, test. Each parses its options, makes one call, prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from .console import progress, show
from .head_options import Fusion, Training
from .options import Device, Encoders, Json, Posts, Runs, grouped

app = typer.Typer(help="Judge trained heads.", no_args_is_help=True, rich_markup_mode=None)
Run = Annotated[Path, Argument(help="A run folder; of a folder of runs, the newest.")]
OwnCache = Annotated[Path | None, Option(help="Cache folder; the run's own if left out.")]


@app.command()
@grouped
def evaluate(
    run: Run,
    posts: Posts,
    missing: Annotated[
        Literal["none", "image", "text", "both"], Option(help="Hide it from 0 to 100 % of the scored posts.")
    ] = "none",
    seed: Annotated[int, Option(min=0, help="Seed of the order in which posts lose it.")] = 0,
    cache: OwnCache = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score a stored run again on its own scored posts: intervals, classes, calibration, missing modalities."""
    from ..evaluation.reevaluate import evaluate_run

    show(evaluate_run(run, posts.read(), missing=missing, seed=seed, cache=cache, device=device), as_json)


@app.command("learning-curve")
@grouped
def learning_curve(
    posts: Posts,
    encoders: Encoders,
    fusion: Fusion,
    training: Training,
    shares: Annotated[str, Option(help="Shares of the training rows.")] = "0.1,0.2,0.5,1",
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Train a head and the linear probe on growing shares of the training rows, and score the same posts."""
    from ..evaluation.curves import learning_curve as run
    from ..evaluation.curves import read_shares

    head = fusion.config()
    wanted = read_shares(shares)
    with progress("folds") as tick:
        found = run(
            posts.read(),
            training.stage(encoders),
            head,
            training.config(),
            shares=wanted,
            runs=runs,
            done=lambda done, total: tick(head.fusion, done, total),
        )
    show(found, as_json)


@app.command("test")
@grouped
def look(run: Run, posts: Posts, cache: OwnCache = None, device: Device = "auto", as_json: Json = False) -> None:
    """Evaluate a finished run on the held-out test posts; every evaluation is counted."""
    from ..evaluation.test_set import evaluate_test_set

    show(evaluate_test_set(run, posts.read(), cache=cache, device=device), as_json)
