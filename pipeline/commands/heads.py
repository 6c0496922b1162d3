"""The commands that train heads: train-head, ablate, heads, recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Option

from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.presets import check_fusion
from ..config.train_config import TrainConfig
from ..tracking.events import Folder, log
from .console import say, show
from .declare import HEADS, command
from .options import InputPosts, Json, PresetName, RecipeName, Replay, Runs, Tracking

app = typer.Typer()


@command(app, "train-head", panel=HEADS, example="msa train-head posts --fusion gated --folds 5")
def train_head(
    posts: InputPosts,
    data_config: DataConfig,
    head: HeadConfig,
    training: TrainConfig,
    tracking: Tracking,
    runs: Runs = Path("runs"),
    name: Annotated[str, Option(help="Name of the run folder; the recipe's or the fusion's if empty.")] = "",
    checkpoint_every: Annotated[
        int, Option(min=0, help="Save unfinished training every N epochs, to resume after a kill; 0: never.")
    ] = 0,
    unlabelled: Annotated[
        Literal["none", "self", "cotrain"], Option(help="Train on posts without a label, too, by pseudo-labels.")
    ] = "none",
    preset: PresetName = None,
    recipe: RecipeName = "",
    replay: Replay = "",
    as_json: Json = False,
) -> None:
    """Train one fusion head and compare it with baselines."""
    from .. import train_head

    check_fusion(preset, head.fusion)
    name = name or Path(recipe).stem or head.label
    with tracking.start(runs, name):
        trained = train_head.train_head(
            posts.read(),
            data_config,
            head,
            training,
            runs=runs,
            name=name,
            checkpoint_every=checkpoint_every,
            unlabelled=unlabelled,
            reading=posts.reading,
        )
    show(trained, as_json)


@command(app, panel=HEADS, example="msa ablate posts --fusion gated,concat --seeds 3")
def ablate(
    posts: InputPosts,
    data_config: DataConfig,
    head: HeadConfig,
    training: TrainConfig,
    tracking: Tracking,
    fusion: Annotated[
        str, Option(help="Fusion heads, as gated,concat; or all, all-pooled, all-tokens.")
    ] = HeadConfig.fusion,
    modality: Annotated[
        Literal["image", "text", "all"], Option(help="Modality whose removal comes first in the table.")
    ] = "all",
    how: Annotated[
        Literal["retrain", "zero", "mean", "shuffle", "null"],
        Option(help="Train without it, or replace it with zeros, the mean, another post's, or the null vector."),
    ] = "retrain",
    part: Annotated[
        Literal["tokens", "position", "balance", "views"] | None,
        Option(help="Compare variants of this part of the head instead."),
    ] = None,
    seeds: Annotated[int, Option(min=1, max=1000, help="Number of seeds, from --seed on.")] = 1,
    runs: Runs = Path("runs"),
    name: Annotated[str, Option(help="Name of the run folder; ablate-FUSION if empty.")] = "",
    preset: PresetName = None,
    recipe: RecipeName = "",
    as_json: Json = False,
) -> None:
    """Measure what each modality or part of a head contributes."""
    from ...heads.registry import fusion_names
    from ..ablation import ablate
    from ..figures.report import write_report

    heads = [replace(head, fusion=one) for one in fusion_names(fusion)]
    for one in heads:
        check_fusion(preset, one.fusion)
    name = name or ablate.run_name(heads)
    with tracking.start(runs, name):
        ablation = ablate.ablate(
            posts.read(),
            data_config,
            heads,
            training,
            modality=modality,
            how=how,
            part=part,
            seeds=seeds,
            runs=runs,
            name=name,
        )
        page = write_report([ablation.path])
        log(Folder(ablation.path))
    show(ablation, as_json, page.to_text())
    if ablation.refused:
        raise typer.Exit(1)


@command(app, panel=HEADS, example="msa heads")
def heads(as_json: Json = False) -> None:
    """List the fusion heads, their options and papers."""
    from . import listing

    show(listing.list_heads(), as_json)


@command(app, panel=HEADS, example="msa recipes")
def recipes(
    bibtex: Annotated[bool, Option("--bibtex", help="Print BibTeX of the publications that they rebuild.")] = False,
    as_json: Json = False,
) -> None:
    """List the published systems that come as recipes."""
    from . import listing
    from .recipes import bibliography

    if bibtex and as_json:
        raise ValueError("--json and --bibtex are two formats; leave out one of them")
    if bibtex:
        say(bibliography())
    else:
        show(listing.list_recipes(), as_json)
