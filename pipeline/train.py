"""Training of one head: step, epoch, fit, with early stop and the best epoch's weights restored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..heads.base import Head, Inputs
from .batches import by_length, shuffled_batches, take
from .evaluate import METRICS, score
from .inputs import draw_views

Rows = Tensor | NDArray[np.integer] | Sequence[int]
WARMUP_EPOCHS = 1
EVAL_BATCH = 512
VIEW_SEED = 1_986_618_743  # apart from the seed of the order, which would tie a row's view to its place in it


@dataclass(frozen=True)
class TrainConfig:
    """How a head is trained.

    `metric` picks the best epoch on the stop rows: one of METRICS, or "loss". `patience` epochs without a better
    one end the training; 0 trains all epochs. `clip` bounds the gradient's norm; 0 leaves it as it is. "cosine"
    warms up over the first epoch, then lets the learning rate fall to 0. `balance` "weights" weighs each class by
    its inverse frequency among the training rows.

    Raises ValueError naming the first field that is out of range.
    """

    epochs: int = 40
    batch_size: int = 64
    lr: float = 3e-4
    weight_decay: float = 1e-2
    patience: int = 6
    metric: str = "loss"
    balance: Literal["none", "weights"] = "none"
    schedule: Literal["constant", "cosine"] = "cosine"
    label_smoothing: float = 0.0
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        metrics = (*METRICS, "loss")
        checks = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "patience": (self.patience >= 0, "0 (never stop early) or more"),
            "metric": (self.metric in metrics, f"one of {', '.join(metrics)}"),
            "balance": (self.balance in ("none", "weights"), "none or weights"),
            "schedule": (self.schedule in ("constant", "cosine"), "constant or cosine"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            "clip": (0 <= self.clip < math.inf, "0 (off) or more"),
            "seed": (0 <= self.seed < 2**63, "0 or more"),
        }
        for field, (holds, wanted) in checks.items():
            if not holds:
                raise ValueError(f"{field} must be {wanted}, got {getattr(self, field)!r}")


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, counted from 1: the loss and every metric on the training and on the stop rows.

    The training figures are those of the steps themselves, dropout included. `lr` is the last step's.
    """

    epoch: int
    train: dict[str, float]
    stop: dict[str, float]
    lr: float
    seconds: float


@dataclass(frozen=True)
class FitResult:
    """What `fit` did; the head itself holds the weights of `best_epoch` (counted from 1)."""

    history: list[EpochRecord]
    best_epoch: int
    stopped_early: bool


def fit(
    head: Head,
    inputs: Inputs,
    labels: Tensor,
    *,
    train_rows: Rows,
    stop_rows: Rows,
    config: TrainConfig,
    views: Sequence[Inputs] = (),
) -> FitResult:
    """Train the head in place and leave it in eval mode with the weights of its best epoch.

    `inputs` hold N rows on the head's device, `labels` (N,) class indices (anything where a row is in neither
    split). Each epoch shows a training row as `inputs` have it or as one of `views` has it, drawn anew; stop rows are
    seen in `inputs` alone. Same seed and, on a CPU, same thread count: same result, bit for bit. The global random
    state is left as it was.

    Raises ValueError when a split is empty, the two overlap, a label is no class, or the loss is not finite.
    """
    device = inputs.text.device
    train, stop = _as_rows(train_rows, device), _as_rows(stop_rows, device)
    labels = labels.to(device)
    _check_split(train, stop, labels, head.dims.classes)
    stop = stop[by_length(stop, inputs)]
    weight = class_weights(labels[train], head.dims.classes) if config.balance == "weights" else None
    criterion = nn.CrossEntropyLoss(weight=weight, label_smoothing=config.label_smoothing)
    step = Step(head, config, steps_per_epoch=math.ceil(len(train) / config.batch_size))

    history: list[EpochRecord] = []
    best, best_epoch, best_weights = -math.inf, 0, {}
    with _seeded(config.seed, device):
        shuffle = torch.Generator().manual_seed(config.seed)
        draw = torch.Generator().manual_seed(config.seed + VIEW_SEED)
        for epoch in range(1, config.epochs + 1):
            started = time.perf_counter()
            head.train()
            batches = shuffled_batches(train, inputs, config.batch_size, shuffle)
            shown = draw_views(inputs, views, train, draw) if views else inputs
            trained = run_epoch(head, shown, labels, batches, criterion, step)
            head.eval()
            stopped = run_epoch(head, inputs, labels, torch.split(stop, EVAL_BATCH), criterion)
            if not math.isfinite(trained["loss"] + stopped["loss"]):
                raise ValueError(
                    f"the loss is no longer finite in epoch {epoch} (training {trained['loss']!r}, "
                    f"stop rows {stopped['loss']!r}); lower lr ({config.lr!r}) or look for NaN in the features"
                )
            seconds = time.perf_counter() - started
            history.append(EpochRecord(epoch, trained, stopped, step.lr, seconds))
            value = -stopped["loss"] if config.metric == "loss" else stopped[config.metric]
            if value > best:
                best, best_epoch = value, epoch
                best_weights = {name: tensor.clone() for name, tensor in head.state_dict().items()}
            elif config.patience and epoch - best_epoch >= config.patience:
                break
    head.load_state_dict(best_weights)
    return FitResult(history, best_epoch, stopped_early=len(history) < config.epochs)


def run_epoch(
    head: Head,
    inputs: Inputs,
    labels: Tensor,
    batches: Iterable[Tensor],
    criterion: Callable[[Tensor, Tensor], Tensor],
    update: Callable[[Tensor], None] | None = None,
) -> dict[str, float]:
    """Run the head over batches of row numbers; return the mean loss and every metric.

    With `update`, each batch's loss is handed to it (backward and step); without, no gradient is kept.
    """
    losses, truths, guesses = [], [], []
    with torch.set_grad_enabled(update is not None):
        for rows in batches:
            truth = labels[rows]
            logits = head(take(inputs, rows))  # (B, K)
            loss = criterion(logits, truth)
            if update is not None:
                update(loss)
            losses.append(loss.detach() * len(rows))
            truths.append(truth)
            guesses.append(logits.detach().argmax(-1))
    true, predicted = torch.cat(truths).cpu().numpy(), torch.cat(guesses).cpu().numpy()
    mean = float(torch.stack(losses).sum()) / len(true)
    return {"loss": mean, **score(true, predicted, range(head.dims.classes))}


def predict_logits(head: Head, inputs: Inputs, rows: Rows, *, batch_size: int = EVAL_BATCH) -> Tensor:
    """Return logits (n, K) of the given rows, in their order, in eval mode and without gradient."""
    device = inputs.text.device
    chosen = _as_rows(rows, device)
    logits = torch.empty(len(chosen), head.dims.classes, device=device)
    training = head.training
    head.eval()
    with torch.no_grad():
        for places in torch.split(by_length(chosen, inputs), batch_size):
            logits[places] = head(take(inputs, chosen[places])).float()
    head.train(training)
    return logits


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return rows / (classes · count) for each class (K,), from training labels; 1 for a class without a row."""
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.where(counts > 0, counts.sum() / (classes * counts.clamp(min=1.0)), 1.0)


@contextmanager
def training_threads(count: int = 1) -> Iterator[None]:
    """Let torch use `count` CPU threads inside. One is fastest for heads, and fixes the order of sums."""
    if count < 1:
        raise ValueError(f"wanted 1 thread or more, got {count!r}")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Step:
    """What follows a batch's loss: backward, clip, AdamW, schedule. `lr` is the rate that the last one used."""

    def __init__(self, head: Head, config: TrainConfig, *, steps_per_epoch: int) -> None:
        self.parameters = list(head.parameters())
        self.clip = config.clip
        self.lr = config.lr
        matrices = [p for p in self.parameters if p.ndim > 1]
        vectors = [p for p in self.parameters if p.ndim <= 1]  # biases, norms, null vectors: no decay
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        warm, total = WARMUP_EPOCHS * steps_per_epoch, config.epochs * steps_per_epoch

        def factor(step: int) -> float:
            if config.schedule == "constant":
                return 1.0
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, factor)

    def __call__(self, loss: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.lr = float(self.schedule.get_last_lr()[0])
        self.optimiser.step()
        self.schedule.step()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generator that dropout draws from, and put its state back."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda, device_type="cuda"):
        if device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        yield


def _as_rows(rows: Rows, device: torch.device) -> Tensor:
    return torch.as_tensor(rows, dtype=torch.long, device=device)


def _check_split(train: Tensor, stop: Tensor, labels: Tensor, classes: int) -> None:
    for name, rows in (("training", train), ("stop", stop)):
        if not len(rows):
            raise ValueError(f"there are no {name} rows; label more posts or make that split larger")
        low, high = int(labels[rows].min()), int(labels[rows].max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"labels of {name} rows must lie in 0..{classes - 1}, got {low}..{high}; leave unlabelled rows out"
            )
    shared = int(torch.isin(train, stop).sum())
    if shared:
        raise ValueError(f"{shared} stop rows are also training rows; early stopping needs rows of its own")
