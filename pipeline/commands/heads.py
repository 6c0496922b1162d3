"""The commands of stage two that train: each parses its options, makes one call, prints what came back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Option

from .console import progress, show
from .head_options import Fusion, ReplayOf, Training
from .options import Encoders, Json, Posts, RecipeName, Runs, grouped

app = typer.Typer()


@app.command("train-head")
@grouped
def train_head(
    posts: Posts,
    encoders: Encoders,
    fusion: Fusion,
    training: Training,
    runs: Runs = Path("runs"),
    name: Annotated[str, Option(help="Name of the run; the recipe's or the fusion's if empty.")] = "",
    checkpoint_every: Annotated[
        int, Option(min=0, help="Keep unfinished trainings every N epochs, to go on after a kill; 0: never.")
    ] = 0,
    unlabelled: Annotated[
        Literal["none", "self", "cotrain"], Option(help="Learn from posts without a label, too.")
    ] = "none",
    recipe: RecipeName = "",
    replay: ReplayOf = "",  # a trial's settings have become the defaults
    as_json: Json = False,
) -> None:
    """Train one fusion head on the cached features and score it beside a linear probe and the majority class."""
    from ..train_head import train_head as run

    head = fusion.config()
    with progress("folds") as tick:
        trained = run(
            posts.read(),
            training.stage(encoders),
            head,
            training.config(),
            runs=runs,
            name=name or Path(recipe).stem or None,
            checkpoint_every=checkpoint_every,
            unlabelled=unlabelled,
            done=lambda done, total: tick(head.fusion, done, total),
        )
    show(trained, as_json)


@app.command()
@grouped
def ablate(
    posts: Posts,
    encoders: Encoders,
    fusion: Fusion,
    training: Training,
    modality: Annotated[Literal["image", "text", "all"], Option(help="Which modality to take away.")] = "all",
    how: Annotated[
        Literal["retrain", "zero", "mean", "shuffle", "null"],
        Option(help="Train without it, or put zeros, the mean, another post's or the null vector in its place."),
    ] = "retrain",
    part: Annotated[
        Literal["tokens", "position", "balance", "views"] | None,
        Option(help="Compare variants of this part of the head instead."),
    ] = None,
    seeds: Annotated[int, Option(min=1, help="Seeds to train with, from --seed on.")] = 1,
    runs: Runs = Path("runs"),
    recipe: RecipeName = "",  # its options have become the defaults
    as_json: Json = False,
) -> None:
    """Show what each modality, or a part of the head, is worth, with intervals and tests.

    --fusion takes several heads, as gated,concat, or all, all-pooled, all-tokens.
    """
    from ...heads.registry import fusion_names
    from ..ablation.ablate import ablate as run

    heads = [replace(fusion, fusion=name).config() for name in fusion_names(fusion.fusion)]
    with progress("folds") as tick:
        ablation = run(
            posts.read(),
            training.stage(encoders),
            heads,
            training.config(),
            modality=modality,
            how=how,
            part=part,
            seeds=seeds,
            runs=runs,
            done=lambda done, total: tick("ablate", done, total),
        )
    show(ablation, as_json)
    if ablation.refused:
        raise typer.Exit(1)


@app.command()
def heads(as_json: Json = False) -> None:
    """List the fusion heads: what each does, the inputs that suit it, its own options, the paper."""
    from .listing import HeadList

    show(HeadList.all(), as_json)


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the published systems that come as recipes, with what was reported of each."""
    from .recipes import RecipeList

    show(RecipeList.all(), as_json)
