"""The options of stage two: which head, trained how, on which folds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Option

from .options import Device, Encoders, pairs

if TYPE_CHECKING:  # torch takes seconds to import, and `--help` must not wait for it
    from ..config.data_config import DataConfig
    from ..config.head_config import HeadConfig
    from ..config.train_config import TrainConfig


def apply_replay(ctx: typer.Context, text: str) -> str:
    """Make the settings of a sweep's trial, `FOLDER#best` or `FOLDER#NUMBER`, the defaults of the command; flags win.

    Raises ValueError where there is no finished sweep, or no such trial.
    """
    if text and not ctx.resilient_parsing:
        from ..sweeps.replay import read_replay

        found = read_replay(text)
        head, data_config = found.head, found.data_config
        own = {
            "fusion": head.fusion,
            "inputs": head.inputs,
            "patches": "x".join(map(str, head.patches)) if head.patches else "none",
            "token_width": head.token_width or 0,
            "option": [f"{name}={value}" for name, value in head.options.items()],
            "image": list(data_config.image),
            "text": list(data_config.text),
            "cache": str(data_config.cache),
            "folds": data_config.folds or 0,
            "hold_out": data_config.hold_out,
        }
        own |= {name: getattr(head, name) for name in ("hidden", "dropout", "ensemble_size", "views", "average_views")}
        ctx.default_map = dict(ctx.default_map or {}) | own | asdict(found.training)
    return text


ReplayOf = Annotated[
    str,
    Option("--from", is_eager=True, callback=apply_replay, help="Settings of a sweep's trial: runs/sweep#best."),
]


@dataclass(frozen=True)
class Fusion:
    """Which head, on which inputs."""

    fusion: Annotated[str, Option(help="Fusion head; `msa heads` lists them.")] = "attention"
    inputs: Annotated[Literal["auto", "pooled", "tokens"], Option(help="What the head sees; auto: what suits it.")] = (
        "auto"
    )
    patches: Annotated[str, Option(help="Grid that image tokens are pooled to, as 4x4; none: as they are.")] = "4x4"
    token_width: Annotated[int, Option(min=0, help="Width that tokens are projected to; 0: their own.")] = 256
    hidden: Annotated[int, Option(min=1, help="Width of the head.")] = 128
    dropout: Annotated[float, Option(help="Dropout in the head.")] = 0.5
    ensemble_size: Annotated[
        int,
        Option("--ensemble", min=1, help="Heads per fold, of other seeds and validation rows, averaged as one model."),
    ] = 1
    views: Annotated[int, Option(min=0, help="Augmented views of each image beside the plain one; 0: none.")] = 0
    average_views: Annotated[bool, Option("--average-views", help="Score with the mean over the image and views.")] = (
        False
    )
    option: Annotated[list[str], Option(help="An option of the head: NAME=VALUE; repeatable.")] = field(
        default_factory=list
    )

    def config(self) -> HeadConfig:
        """The same as a validated config. Raises ValueError."""
        from ..config.head_config import HeadConfig

        return HeadConfig(
            fusion=self.fusion,
            inputs=self.inputs,
            hidden=self.hidden,
            dropout=self.dropout,
            patches=read_grid(self.patches),
            token_width=self.token_width or None,
            ensemble_size=self.ensemble_size,
            views=self.views,
            average_views=self.average_views,
            options={name: read_number(value) for name, value in pairs("--option", self.option).items()},
        )


@dataclass(frozen=True)
class Training:
    """How the head is trained, on which folds."""

    folds: Annotated[int, Option(min=0, help="Cross-validation folds; 0: one stored 80/20 split.")] = 0
    repeats: Annotated[int, Option(min=1, help="Times that the folds are dealt anew.")] = 1
    hold_out: Annotated[float, Option(min=0, max=0.5, help="Share of posts set aside, once, for `msa test`.")] = 0.0
    epochs: Annotated[int, Option(min=1, help="Most epochs.")] = 40
    batch_size: Annotated[int, Option(min=1, help="Posts per training step.")] = 64
    optimizer: Annotated[Literal["adamw", "adam", "sgd"], Option(help="Optimizer; SGD with Nesterov's .9.")] = "adamw"
    lr: Annotated[float, Option(help="Learning rate.")] = 3e-4
    weight_decay: Annotated[float, Option(help="Weight decay.")] = 1e-2
    schedule: Annotated[
        Literal["cosine", "constant", "restarts", "onecycle"], Option(help="Learning rate over the epochs.")
    ] = "cosine"
    warmup: Annotated[float, Option(help="Epochs in which the learning rate rises; not with onecycle.")] = 1.0
    restart_every: Annotated[int, Option(min=1, help="Epochs between warm restarts.")] = 10
    min_lr: Annotated[float, Option(help="Least learning rate of cosine and restarts.")] = 0.0
    clip: Annotated[float, Option(help="Largest norm of the gradient; 0: any.")] = 1.0
    loss: Annotated[Literal["cross-entropy", "focal"], Option(help="Loss; focal is the sigmoid one.")] = "cross-entropy"
    gamma: Annotated[float, Option(help="Focal loss: how far easy posts are weighed down.")] = 2.0
    label_smoothing: Annotated[float, Option(help="Share of a label spread over all classes.")] = 0.0
    logit_adjustment: Annotated[float, Option(help="Ask more of rare classes, 1 in full; 0: off.")] = 0.0
    balance: Annotated[
        Literal["none", "weights", "sampler"], Option(help="Rare classes: weigh them, or draw them as often.")
    ] = "none"
    modality_dropout: Annotated[float, Option(help="Chance that training hides one modality of a post.")] = 0.0
    mixup: Annotated[float, Option(help="Blend posts by a share from Beta(x, x); 0: off.")] = 0.0
    average: Annotated[Literal["none", "ema", "swa"], Option(help="Average the weights over steps or epochs.")] = "none"
    decay: Annotated[float, Option(help="How slowly the ema forgets.")] = 0.99
    patience: Annotated[int, Option(min=0, help="Epochs without a better one that end training; 0: never.")] = 6
    metric: Annotated[str, Option(help="Metric on the validation rows that picks the epoch.")] = "loss"
    tune_thresholds: Annotated[
        bool, Option("--tune-thresholds", help="Decide between classes where the validation rows' metric is best.")
    ] = False
    seed: Annotated[int, Option(min=0, help="Seed of the split, the weights and the order.")] = 0
    device: Device = "auto"

    def config(self) -> TrainConfig:
        """The same as a validated config. Raises ValueError."""
        from ..config.train_config import TrainConfig

        return TrainConfig(**{f.name: getattr(self, f.name) for f in fields(TrainConfig)})

    def stage(self, encoders: Encoders) -> DataConfig:
        """The cache, encoders, folds and device of stage two."""
        from ..config.data_config import DataConfig

        return DataConfig(
            encoders.cache,
            tuple(encoders.image),
            tuple(encoders.text),
            self.folds or None,
            self.device,
            self.repeats,
            self.hold_out,
        )


def read_number(text: str) -> int | float | str:
    """A whole number, a number, or the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_grid(text: str) -> tuple[int, int] | None:
    """`4x4` as (4, 4); None for `none`."""
    if text == "none":
        return None
    rows, by, columns = text.partition("x")
    if not (by and rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
        raise ValueError(f"--patches wants ROWSxCOLUMNS, as 4x4, or none; got {text!r}")
    return int(rows), int(columns)
