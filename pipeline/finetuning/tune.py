"""Training of an encoder: its tower and a linear classifier, on posts that are decoded batch by batch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...features.encoders.runtime import available_cores
from ...features.extraction.embed import decode
from ...features.posts.content import Contents
from ...features.posts.samples import Corpus
from ...features.posts.text import clean_text
from ...features.progress import detail, stage, step
from ...features.spec import BadItem, Clean, EncoderSpec, Modality
from ..config.tune_config import TuneConfig
from ..data.split import Fold
from ..metrics.scores import score
from ..training.loop import EpochRecord, TrainingState
from ..training.losses import Loss, class_weights
from ..training.optimizer import decay_groups


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
            with ExitStack() as using:
                item = decode(self.corpus.samples[row], self.modality, key=self.keys[row], using=using)
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
    """The weights of the best epoch (counted from 1), metrics of every epoch on the validation rows, and the speed.

    `rows` and `valid_rows` count the training and validation rows, `rows_per_second` is the speed of training.
    """

    weights: dict[str, Tensor]
    history: list[dict[str, float]]
    best_epoch: int
    rows: int
    valid_rows: int
    rows_per_second: float


def fit_encoder(
    encoder: Tunable,
    rows: EncoderInputs,
    classes: Sequence[str],
    fold: Fold,
    config: TuneConfig,
    device: str,
) -> TunedWeights:
    """Train tower and classifier on `fold.train`, choose the epoch on `fold.valid`. The global random state stays."""
    train, valid = (part[[rows.keys[row] is not None for row in part]] for part in (fold.train, fold.valid))
    if not len(train) or not len(valid):
        raise ValueError(f"no training or validation row has a {rows.modality}; tune the other modality")
    labels = torch.tensor([-1 if s.label is None else classes.index(s.label) for s in rows.corpus.samples])
    weight = class_weights(labels[train], len(classes)).to(device) if config.balance == "weights" else None
    tower, loss = encoder.tower.requires_grad_(True), Loss(weight=weight)
    stage(f"fine-tuning {encoder.specs[0].name}")
    gpus = [device] if device.startswith("cuda") else []
    with torch.random.fork_rng(gpus), ThreadPoolExecutor(available_cores()) as pool:
        torch.manual_seed(config.seed)
        model = nn.ModuleList([tower, nn.Linear(encoder.specs[0].width, len(classes))]).to(device)
        optimizer = _optimizer(model, config)
        steps = math.ceil(len(train) / config.batch_size) * config.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, config.warmup))

        seen = 0

        def epoch(order: NDArray[np.int64], *, learn: bool) -> dict[str, float]:
            nonlocal seen
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
                    seen += len(some)
                    step("posts", seen, (len(train) + len(valid)) * config.epochs, "posts")
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

        state, weights = TrainingState(config), {}
        while not state.over:
            number, started = len(state.history) + 1, time.perf_counter()
            order = np.random.default_rng([config.seed, number]).permutation(train)
            trained, rate = epoch(order, learn=True), float(schedule.get_last_lr()[0])
            seconds = time.perf_counter() - started
            if state.add(EpochRecord(number, trained, epoch(valid, learn=False), rate, seconds)):
                weights = copy.deepcopy(tower.backbone.model.state_dict())
            figures = f"loss {trained['loss']:.3f} · validation loss {state.history[-1].valid['loss']:.3f}"
            detail(f"epoch {number}/{config.epochs} · {figures}")
    speed = len(train) * len(state.history) / sum(record.seconds for record in state.history)
    history = [record.valid for record in state.history]
    return TunedWeights(weights, history, state.best_epoch, len(train), len(valid), round(speed, 2))


def _mode(model: nn.Module, learn: bool) -> None:
    """Training or eval mode; batch norms always use their stored statistics, as batches are small."""
    model.train(learn)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


def _optimizer(model: nn.ModuleList, config: TuneConfig) -> torch.optim.Optimizer:
    """AdamW without weight decay on biases and norms, and with a separate learning rate for the classifier."""
    groups = [
        {"params": parameters, "lr": lr, "weight_decay": decay}
        for part, lr in zip(model, (config.lr, config.head_lr), strict=True)
        for parameters, decay in zip(decay_groups(part), (config.weight_decay, 0.0), strict=True)
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]])


def _rate(step: int, steps: int, warmup: float) -> float:
    """Share of the full learning rate at a step: linear warm-up, then linear decay to 0."""
    warm = warmup * steps
    return (step + 1) / warm if step < warm - 1 else max(0.0, (steps - step) / max(1.0, steps - warm + 1))
