"""The command that fine-tunes encoders: finetune."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ...features.spec import Clean
from ..config.head_config import HeadConfig
from ..config.tune_config import TuneConfig
from ..config.values import GroupBy
from .console import show
from .declare import EMBEDDINGS, command
from .options import Cache, Device, InputPosts, Json, Offline

app = typer.Typer()


@command(
    app,
    panel=EMBEDDINGS,
    example="msa finetune posts --text minilm --out tuned --lora --folds 5",
    without=("patches", "token_width", "ensemble_size", "views", "average_views"),
)
def finetune(
    posts: InputPosts,
    config: TuneConfig,
    head: HeadConfig,
    image: Annotated[str, Option(help="Image encoder to tune.")] = "",
    text: Annotated[str, Option(help="Text encoder to tune; this, --image, or both with --fusion.")] = "",
    fusion: Annotated[str, Option(help="Fusion head that trains both encoders together, as concat.")] = "",
    out: Annotated[
        Path, Option(help="Folder for the tuned encoders, which `msa extract` then takes as a name.")
    ] = Path("tuned"),
    cache: Cache = Path("cache"),
    folds: Annotated[int, Option(min=0, help="Cross-validation folds; 0: one stored 80/20 split.")] = 0,
    fold: Annotated[
        int | None, Option(min=0, help="Tune on this fold alone; one encoder per fold if left out.")
    ] = None,
    group_by: Annotated[
        GroupBy, Option(help="Equal content that keeps posts in one part of the split, as for msa train-head.")
    ] = "both",
    near_duplicates: Annotated[
        bool, Option("--near-duplicates", help="Keep near copies of images and of texts on one side of each split.")
    ] = False,
    clean: Annotated[Clean, Option(help="Cleaning of the texts.")] = "none",
    max_length: Annotated[int, Option(min=0, help="Word pieces kept; 0: the encoder's own limit.")] = 0,
    weights: Annotated[list[str], Option(help="Local weights to start from: FILE, or ENCODER=FILE; repeatable.")] = [],  # noqa: B006 (typer copies it)
    device: Device = "auto",
    local_files_only: Offline = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Time a few batches, report time and memory, write no encoder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune encoders on the training rows of a split.

    The split is that of `msa train-head` with the same folds and seed. Posts that the encoder has seen are not scored.
    """
    from ...features.encoders.encoder import EncoderOptions
    from ...features.encoders.sources import EncoderRequest
    from ..finetuning import finetune
    from ..finetuning.request import TuneRequest

    if head != HeadConfig() and not fusion:
        raise ValueError("--hidden, --dropout, --inputs and --option are for a fusion head; add --fusion, as concat")
    options = EncoderOptions(local_files_only=local_files_only, clean=clean, max_length=max_length or None)
    request = TuneRequest(
        EncoderRequest((image,) if image else (), (text,) if text else (), options, tuple(weights)),
        config,
        replace(head, fusion=fusion) if fusion else None,
        cache=cache,
        folds=folds or None,
        fold=fold,
        group_by=group_by,
        near_duplicates=near_duplicates,
        device=device,
    )
    read = posts.read()
    show(finetune.estimate(read, request) if dry_run else finetune.finetune(read, request, out), as_json)
