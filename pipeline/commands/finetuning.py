"""The command `msa finetune`: it parses its options, makes one call, prints what came back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Option

from .options import Cache, Device, Json, Offline, Posts, grouped

app = typer.Typer(rich_markup_mode=None)


@app.command()
@grouped
def finetune(
    posts: Posts,
    out: Annotated[Path, Option(help="Folder for the tuned encoder, which `msa extract` then takes as a name.")],
    image: Annotated[str, Option(help="Image encoder to tune.")] = "",
    text: Annotated[str, Option(help="Text encoder to tune; this or --image.")] = "",
    cache: Cache = Path("cache"),
    folds: Annotated[int, Option(min=0, help="The split: cross-validation folds; 0: one stored 80/20 split.")] = 0,
    fold: Annotated[int, Option(min=0, help="Fold whose training rows are learned from.")] = 0,
    epochs: Annotated[int, Option(min=1, help="Most epochs.")] = 5,
    batch_size: Annotated[int, Option(min=1, help="Posts per training step.")] = 32,
    lr: Annotated[float, Option(help="Learning rate of the encoder (AdamW).")] = 2e-5,
    head_lr: Annotated[float, Option(help="Learning rate of the linear classifier on it.")] = 1e-3,
    weight_decay: Annotated[float, Option(help="Weight decay.")] = 1e-2,
    warmup: Annotated[float, Option(help="Share of the steps in which the learning rates rise.")] = 0.1,
    clip: Annotated[float, Option(help="Largest norm of the gradient.")] = 1.0,
    patience: Annotated[int, Option(min=0, help="Epochs without a better one that end training; 0: never.")] = 2,
    metric: Annotated[str, Option(help="Metric on the validation rows that picks the epoch.")] = "loss",
    balance: Annotated[Literal["none", "weights"], Option(help="Class weights by inverse frequency.")] = "none",
    seed: Annotated[int, Option(min=0, help="Seed of the split, the weights and the order.")] = 0,
    clean: Annotated[Literal["none", "social", "strict"], Option(help="Cleaning of the texts.")] = "none",
    max_length: Annotated[int, Option(min=0, help="Word pieces kept; 0: the encoder's own limit.")] = 0,
    weights: Annotated[Path | None, Option(help="Local weights to begin from.")] = None,
    device: Device = "auto",
    local_files_only: Offline = False,
    as_json: Json = False,
) -> None:
    """Fine-tune one encoder on the training rows of a stored split; rows that it has seen are then never scored."""
    from ...features.encoders.encoder import EncoderOptions
    from ..finetuning.finetune import finetune as run
    from ..finetuning.tune import TuneConfig
    from .console import progress

    if bool(image) == bool(text):
        raise ValueError("one encoder is tuned at a time; give either --image NAME or --text NAME")
    with progress("epochs") as tick:
        tuned = run(
            posts.read(),
            image or text,
            "image" if image else "text",
            out,
            options=EncoderOptions(
                weights=weights, local_files_only=local_files_only, clean=clean, max_length=max_length or None
            ),
            cache=cache,
            folds=folds or None,
            fold=fold,
            config=TuneConfig(
                epochs=epochs,
                batch_size=batch_size,
                lr=lr,
                head_lr=head_lr,
                weight_decay=weight_decay,
                warmup=warmup,
                clip=clip,
                patience=patience,
                metric=metric,
                balance=balance,
                seed=seed,
            ),
            device=device,
            done=lambda number, total: tick(image or text, number, total),
        )
    print(json.dumps(tuned.to_dict(), ensure_ascii=False) if as_json else tuned.to_text())
