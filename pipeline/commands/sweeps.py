"""The command that searches: it parses its options, makes one call, prints what came back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Option

from .console import progress, show
from .head_options import Fusion, Training
from .options import Cluster, Encoders, Json, Posts, Runs, grouped

app = typer.Typer()


@app.command()
@grouped
def sweep(
    posts: Posts,
    encoders: Encoders,
    fusion: Fusion,
    training: Training,
    computing: Cluster,
    setting: Annotated[
        list[str], Option("--set", help="Vary a setting: NAME=LOW..HIGH or NAME=A,B,…; repeatable.")
    ] = [],  # noqa: B006 (typer copies it)
    space: Annotated[Path | None, Option(help='TOML file of the same: NAME = "LOW..HIGH" or [A, B].')] = None,
    trials: Annotated[int, Option(min=0, help="Points that are tried; 0: the whole grid, or 64.")] = 0,
    sampler: Annotated[Literal["grid", "random", "tpe"], Option(help="Who draws the points.")] = "random",
    halving: Annotated[int, Option(min=0, help="One in N goes on from rung to rung; 0: all train to the end.")] = 3,
    by: Annotated[str, Option(help="Metric on the inner folds that ranks the trials.")] = "accuracy",
    outer: Annotated[int, Option(min=1, help="Outer folds that score the winner; 1: the stored split.")] = 1,
    batch: Annotated[int, Option(min=0, help="Trials that race each other; 0: what suits the sampler.")] = 0,
    study: Annotated[str, Option(help="Database URL or SQLite file; in the run folder if empty.")] = "",
    runs: Runs = Path("runs"),
    name: Annotated[str, Option(help="Name of the run folder.")] = "sweep",
    as_json: Json = False,
) -> None:
    """Search settings of heads on inner folds, and score the winner on posts that took no part in the choice."""
    from ..sweeps.search import Search
    from ..sweeps.space import read_space
    from ..sweeps.sweep import sweep as run

    kinds = fusion.fusion.split(",")
    head = replace(fusion, fusion=kinds[0] if kinds != ["all"] else "concat").config()
    varied = read_space(
        setting,
        fusion=fusion.fusion if len(kinds) > 1 or kinds == ["all"] else "",
        image=encoders.image if _lists(encoders.image) else (),
        text=encoders.text if _lists(encoders.text) else (),
        file=space,
    )
    search = Search(trials, training.folds or 5, outer, sampler, halving, by, batch, study)
    with progress("trials") as tick:
        found = run(
            posts.read(),
            training.stage(encoders),
            varied,
            head,
            training.config(),
            search,
            runs=runs,
            name=name,
            ray=computing.cluster,
            done=tick,
        )
    show(found, as_json)


def _lists(names: list[str]) -> bool:
    """Whether encoders are given to choose from, `a,b`, not to be joined."""
    return any("," in name for name in names)
