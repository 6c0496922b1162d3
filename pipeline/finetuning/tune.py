"""Training of an encoder: its tower and a linear classifier, on posts that are decoded batch by batch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...features.encoders.runtime import available_cores
from ...features.extraction.embed import decode
from ...features.posts.content import Contents
from ...features.posts.samples import Corpus
from ...features.posts.text import clean_text
from ...features.spec import BadItem, Clean, EncoderSpec, Modality
from ...heads.losses import Loss, class_weights
from ..data.split import Fold
from ..metrics.scores import METRICS, score

EpochDone = Callable[[int, int], None]


@dataclass(frozen=True)
class TuneConfig:
    """How an encoder is tuned. `warmup` is the share of steps in which the learning rates rise; then they fall to 0.

    `lr` is the encoder's, `head_lr` that of the linear classifier, which has random weights. `metric` on the validation
    rows (one of METRICS, or "loss") picks the epoch; `patience` epochs without a better one end the training, 0: never.

    Raises ValueError naming the first field that is out of range.
    """

    epochs: int = 5
    batch_size: int = 32
    lr: float = 2e-5
    head_lr: float = 1e-3
    weight_decay: float = 1e-2
    warmup: float = 0.1
    clip: float = 1.0
    patience: int = 2
    metric: str = "loss"
    balance: Literal["none", "weights"] = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "head_lr": (0 < self.head_lr < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "warmup": (0 <= self.warmup <= 1, "a share from 0 to 1"),
            "clip": (0 < self.clip < math.inf, "above 0"),
            "patience": (self.patience >= 0, "0 (never stop early) or more"),
            "metric": (self.metric in (*METRICS, "loss"), f"one of {', '.join((*METRICS, 'loss'))}"),
            "balance": (self.balance in ("none", "weights"), "none or weights"),
        }
        for field, (holds, wanted) in checks.items():
            if not holds:
                raise ValueError(f"{field} must be {wanted}, got {getattr(self, field)!r}")


class Tunable(Protocol):
    """An encoder whose model may be trained: the tower gives tokens of each layer, then the pooled vectors (B, D)."""

    specs: tuple[EncoderSpec, ...]
    tower: Any

    def preprocess(self, item: Any, key: str = "") -> Any: ...

    def collate(self, batch: Sequence[Any]) -> tuple[Tensor | None, ...]: ...


class EncoderInputs:
    """Posts as a model's inputs, decoded on demand."""

    def __init__(self, corpus: Corpus, contents: Contents, encoder: Tunable, modality: Modality, clean: Clean) -> None:
        self.corpus, self.encoder, self.modality, self.clean = corpus, encoder, modality, clean
        self.keys = contents.keys(modality)

    def prepare(self, row: int) -> Any:
        """One post prepared; None where it cannot be embedded."""
        try:
            item = decode(self.corpus.samples[row], self.modality)
            item = clean_text(item, self.clean) if self.modality == "text" else item
            return self.encoder.preprocess(item, self.keys[row] or "")
        except BadItem:
            return None

    def batches(
        self, pool: ThreadPoolExecutor, rows: Sequence[NDArray[np.int64]]
    ) -> Iterator[tuple[list[int], tuple[Tensor | None, ...]]]:
        """Row numbers and inputs of each batch, while the next one is decoded; batches of bad rows are left out."""
        ahead = [pool.submit(self.prepare, int(row)) for row in rows[0]] if len(rows) else []
        for number, some in enumerate(rows):
            ready = ahead
            following = rows[number + 1] if number + 1 < len(rows) else rows[0][:0]
            ahead = [pool.submit(self.prepare, int(row)) for row in following]
            items = [(int(row), item.result()) for row, item in zip(some, ready, strict=True)]
            good = [(row, item) for row, item in items if item is not None]
            if good:
                yield [row for row, _ in good], self.encoder.collate([item for _, item in good])


@dataclass(frozen=True)
class TunedWeights:
    """The weights of the best epoch (counted from 1), the history, and the training rows per second (`speed`)."""

    weights: dict[str, Tensor]
    history: list[dict[str, float]]
    best_epoch: int
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    speed: float


def fit_encoder(
    encoder: Tunable,
    rows: EncoderInputs,
    classes: Sequence[str],
    fold: Fold,
    config: TuneConfig,
    device: str,
    done: EpochDone,
) -> TunedWeights:
    """Train tower and classifier on `fold.train`, choose the epoch on `fold.valid`. The global random state stays."""
    train, valid = (part[[rows.keys[row] is not None for row in part]] for part in (fold.train, fold.valid))
    if not len(train) or not len(valid):
        raise ValueError(f"no training or validation row has a {rows.modality}; tune the other modality")
    labels = torch.tensor([-1 if s.label is None else classes.index(s.label) for s in rows.corpus.samples])
    weight = class_weights(labels[train], len(classes)).to(device) if config.balance == "weights" else None
    tower, loss = encoder.tower.requires_grad_(True), Loss(weight=weight)
    gpus = [device] if device.startswith("cuda") else []
    with torch.random.fork_rng(gpus), ThreadPoolExecutor(available_cores()) as pool:
        torch.manual_seed(config.seed)
        model = nn.ModuleList([tower, nn.Linear(encoder.specs[0].width, len(classes))]).to(device)
        optimizer = _optimizer(model, config)
        steps = math.ceil(len(train) / config.batch_size) * config.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, config.warmup))

        def epoch(order: NDArray[np.int64], *, learn: bool) -> dict[str, float]:
            _mode(model, learn)
            total, truths, predictions = 0.0, [], []
            with torch.set_grad_enabled(learn):
                cut = [order[at : at + config.batch_size] for at in range(0, len(order), config.batch_size)]
                for some, inputs in rows.batches(pool, cut):
                    truth = labels[some].to(device)
                    moved = [None if given is None else given.to(device) for given in inputs]
                    logits = model[1](tower(*moved)[-1])  # (B, K)
                    value = loss(logits, truth)
                    if learn:
                        optimizer.zero_grad(set_to_none=True)
                        value.backward()  # type: ignore[no-untyped-call]
                        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], config.clip)
                        optimizer.step()
                        schedule.step()
                    total += float(value.detach()) * len(some)
                    truths.append(truth.cpu())
                    predictions.append(logits.detach().argmax(1).cpu())
            if not truths or not math.isfinite(total):
                raise ValueError(
                    f"the loss is {total!r} over {sum(map(len, truths))} readable rows; lower --lr ({config.lr!r}), or "
                    "look at the posts with `msa check`"
                )
            true, predicted = torch.cat(truths).numpy(), torch.cat(predictions).numpy()
            return {"loss": total / len(true), **score(true, predicted, range(len(classes)))}

        history: list[dict[str, float]] = []
        best, best_epoch, weights, learning = -math.inf, 0, {}, 0.0
        for number in range(1, config.epochs + 1):
            order = np.random.default_rng([config.seed, number]).permutation(train)
            started = time.perf_counter()
            epoch(order, learn=True)
            learning += time.perf_counter() - started
            history.append(epoch(valid, learn=False))
            value = -history[-1]["loss"] if config.metric == "loss" else history[-1][config.metric]
            if value > best:
                best, best_epoch = value, number
                weights = copy.deepcopy(tower.backbone.model.state_dict())
            done(number, config.epochs)
            if config.patience and number - best_epoch >= config.patience:
                break
    return TunedWeights(weights, history, best_epoch, train, valid, round(len(train) * len(history) / learning, 2))


def _mode(model: nn.Module, learn: bool) -> None:
    """Training or eval mode; batch norms always use their stored statistics, as batches are small."""
    model.train(learn)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


def _optimizer(model: nn.ModuleList, config: TuneConfig) -> torch.optim.Optimizer:
    """AdamW without weight decay on biases and norms, and with a separate learning rate for the classifier."""
    groups = [
        {"params": [p for p in part.parameters() if (p.ndim > 1) == decayed], "lr": lr}
        | ({} if decayed else {"weight_decay": 0.0})
        for part, lr in zip(model, (config.lr, config.head_lr), strict=True)
        for decayed in (True, False)
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=config.weight_decay)


def _rate(step: int, steps: int, warmup: float) -> float:
    """Share of the full learning rate at a step: linear warm-up, then linear decay to 0."""
    warm = warmup * steps
    return (step + 1) / warm if step < warm - 1 else max(0.0, (steps - step) / max(1.0, steps - warm + 1))
