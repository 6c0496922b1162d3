"""The command that searches settings: sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.search_config import Search
from ..config.train_config import TrainConfig
from ..tracking.events import Folder, log
from .console import show
from .declare import HEADS, command, command_line
from .options import Cluster, InputPosts, Json, Runs, Tracking

app = typer.Typer()
EXAMPLE = "msa sweep posts --fusion gated,concat --set lr=1e-4..3e-3 --set hidden=64,128 --trials 64"


@command(app, panel=HEADS, example=EXAMPLE, without=("folds", "repeats", "ensemble_size"))
def sweep(
    posts: InputPosts,
    data_config: DataConfig,
    head: HeadConfig,
    training: TrainConfig,
    search: Search,
    cluster: Cluster,
    tracking: Tracking,
    fusion: Annotated[
        str, Option(help="Fusion heads, as gated,concat; or all, all-pooled, all-tokens.")
    ] = HeadConfig.fusion,
    setting: Annotated[
        list[str], Option("--set", help="Vary a setting: NAME=LOW..HIGH or NAME=A,B,…; repeatable.")
    ] = [],  # noqa: B006 (typer copies it)
    ensemble: Annotated[
        str, Option(help="Heads per trial, averaged as one model; greedy: join complete trials into one model, too.")
    ] = "1",
    space: Annotated[Path | None, Option(help='TOML file of the same: NAME = "LOW..HIGH" or a list.')] = None,
    runs: Runs = Path("runs"),
    name: Annotated[str, Option(help="Name of the run folder.")] = "sweep",
    as_json: Json = False,
) -> None:
    """Search settings on inner folds; score the best on others.

    The best is scored on posts that took no part in the choice. Encoders to choose from are given as --image a,b.
    """
    from ..figures.report import write_report
    from ..figures.section import Shown
    from ..inspection.opinions import write_ensemble_opinions
    from ..sweeps import sweep
    from ..sweeps.space import read_fusions, read_space

    fusions = read_fusions(fusion)
    varied = read_space(
        setting,
        fusion=",".join(fusions),
        image=_choices(data_config.image),
        text=_choices(data_config.text),
        file=space,
    )
    head = replace(head, fusion=fusions[0], ensemble_size=_size(ensemble))
    with tracking.start(runs, name):
        found = sweep.sweep(
            corpus := posts.read(),
            data_config,
            varied,
            head,
            training,
            replace(search, ensemble="greedy" if ensemble == "greedy" else "none"),
            runs=runs,
            name=name,
            ray=cluster.address,
        )
        page = write_report([found.path])
        if found.ensemble:
            write_ensemble_opinions(found.ensemble)
            write_report([found.ensemble.path], shown=Shown(corpus=corpus))
            log(Folder(found.ensemble.path))
        log(Folder(found.path))
    show(replace(found, posts=command_line(posts)), as_json, page.to_text())


def _choices(names: Sequence[str]) -> Sequence[str]:
    """The encoders of one modality if they are given to choose from, `a,b`; none if they are joined."""
    return names if any("," in name for name in names) else ()


def _size(ensemble: str) -> int:
    """The heads per trial. Raises ValueError for what is neither their number nor `greedy`."""
    if ensemble == "greedy":
        return 1
    if not (ensemble.isascii() and ensemble.isdigit()):
        raise ValueError(f"--ensemble wants a number of heads, as 5, or greedy; got {ensemble!r}")
    return int(ensemble)
