"""The command that fine-tunes an encoder: finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ...features.spec import Clean
from ..config.tune_config import TuneConfig
from ..config.values import GroupBy
from .console import show
from .declare import EMBEDDINGS, command
from .options import Cache, Device, InputPosts, Json, Offline

app = typer.Typer()


@command(app, panel=EMBEDDINGS, example="msa finetune posts --text minilm --out tuned --folds 5 --fold 0")
def finetune(
    posts: InputPosts,
    config: TuneConfig,
    out: Annotated[Path, Option(help="Folder for the tuned encoder, which `msa extract` then takes as a name.")],
    image: Annotated[str, Option(help="Image encoder to tune.")] = "",
    text: Annotated[str, Option(help="Text encoder to tune; this or --image.")] = "",
    cache: Cache = Path("cache"),
    folds: Annotated[int, Option(min=0, help="Cross-validation folds; 0: one stored 80/20 split.")] = 0,
    fold: Annotated[int, Option(min=0, help="Fold whose training rows are used.")] = 0,
    group_by: Annotated[
        GroupBy, Option(help="Equal content that keeps posts in one part of the split, as for msa train-head.")
    ] = "both",
    near_duplicates: Annotated[
        bool, Option("--near-duplicates", help="Keep near copies of images and of texts on one side of each split.")
    ] = False,
    clean: Annotated[Clean, Option(help="Cleaning of the texts.")] = "none",
    max_length: Annotated[int, Option(min=0, help="Word pieces kept; 0: the encoder's own limit.")] = 0,
    weights: Annotated[Path | None, Option(help="Local weights to start from.")] = None,
    device: Device = "auto",
    local_files_only: Offline = False,
    as_json: Json = False,
) -> None:
    """Fine-tune one encoder on the training rows of a split.

    The split is that of `msa train-head` with the same folds and seed. Posts that the encoder has seen are not scored.
    """
    from ...features.encoders.encoder import EncoderOptions
    from ..finetuning import finetune

    if bool(image) == bool(text):
        raise ValueError("one encoder is tuned at a time; give either --image NAME or --text NAME")
    options = EncoderOptions(
        weights=weights, local_files_only=local_files_only, clean=clean, max_length=max_length or None
    )
    tuned = finetune.finetune(
        posts.read(),
        image or text,
        "image" if image else "text",
        out,
        options=options,
        cache=cache,
        folds=folds or None,
        fold=fold,
        group_by=group_by,
        near_duplicates=near_duplicates,
        config=config,
        device=device,
    )
    show(tuned, as_json)
