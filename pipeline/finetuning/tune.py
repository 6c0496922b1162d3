"""Training of encoders: their towers and a classifier, on posts that are decoded batch by batch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...features.encoders.runtime import available_cores
from ...features.progress import detail, step
from ...features.spec import Modality
from ..config.head_config import HeadConfig
from ..config.tune_config import TuneConfig
from ..data.split import Fold
from ..metrics.scores import score
from ..training.loop import EpochRecord, TrainingState
from ..training.losses import Loss, class_weights
from ..training.optimizer import decay_groups
from .inputs import Batch, PostInputs, Rows
from .layers import Merge, add_adapters, freeze_all_but
from .model import TunedModel


@dataclass(frozen=True)
class TunedWeights:
    """The weights of the best epoch (counted from 1), metrics of every epoch on the validation rows, and the speed.

    `weights` are those of each encoder. `rows` and `valid_rows` count the training and validation rows, `unreadable`
    the images and texts among them that could not be read; `rows_per_second` is the speed of training.
    """

    weights: Mapping[Modality, dict[str, Tensor]]
    history: list[dict[str, float]]
    best_epoch: int
    rows: int
    valid_rows: int
    unreadable: int
    rows_per_second: float


@contextmanager
def open_tuning(
    rows: PostInputs, classes: Sequence[str], fold: Fold, config: TuneConfig, head: HeadConfig | None, device: str
) -> Iterator[Tuning]:
    """A model and its training on one fold. The global random state is seeded inside, and restored afterwards.

    Raises ValueError where the fold has no rows for the encoders, and for layers or a head that cannot be trained.
    """
    with seeded(config.seed, device), ThreadPoolExecutor(available_cores()) as pool:
        yield Tuning(rows, classes, fold, config, head, device, pool)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed the global random state inside, and restore it afterwards."""
    with torch.random.fork_rng([device] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        yield


class Tuning:
    """Trains towers and a classifier on the training rows of a fold; its validation rows pick the epoch."""

    def __init__(
        self,
        rows: PostInputs,
        classes: Sequence[str],
        fold: Fold,
        config: TuneConfig,
        head: HeadConfig | None,
        device: str,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.rows, self.config, self.device, self.pool, self.classes = rows, config, device, pool, len(classes)
        self.train, self.valid = rows.present(fold.train), rows.present(fold.valid)
        if not len(self.train) or not len(self.valid):
            raise ValueError(f"no training or validation row has a {' or '.join(rows.keys)}; tune the other modality")
        self.labels = torch.tensor([-1 if s.label is None else classes.index(s.label) for s in rows.corpus.samples])
        balanced = config.balance == "weights"
        self.loss = Loss(weight=class_weights(self.labels[self.train], len(classes)).to(device) if balanced else None)
        self.merges = self._open_weights()
        self.model = TunedModel(rows.encoders, len(classes), head, seed=config.seed).to(device)
        self.optimizer = make_optimizer(self.model, config)
        steps = self.count_batches(self.train) * config.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda number: share_of_rate(number, steps, config.warmup)
        )
        self.seen = 0

    def fit(self) -> TunedWeights:
        """Train until no epoch is left, or the last ones were no better; return the weights of the best one."""
        state, best = TrainingState(self.config), dict[str, Tensor]()
        while not state.over:
            number, started = len(state.history) + 1, time.perf_counter()
            trained, rate = self.epoch(self.order(number), learn=True), float(self.schedule.get_last_lr()[0])
            seconds = time.perf_counter() - started
            if state.add(EpochRecord(number, trained, self.epoch(self.valid, learn=False), rate, seconds)):
                best = {name: weight.detach().clone() for name, weight in trained_weights(self.model)}
            losses = f"loss {trained['loss']:.3f} · validation loss {state.history[-1].valid['loss']:.3f}"
            detail(f"epoch {number}/{self.config.epochs} · {losses}")
        with torch.no_grad():
            for name, weight in trained_weights(self.model):
                weight.copy_(best[name])
        for merge in self.merges:
            merge()
        return TunedWeights(
            weights={modality: one.tower.backbone.model.state_dict() for modality, one in self.rows.encoders.items()},
            history=[record.valid for record in state.history],
            best_epoch=state.best_epoch,
            rows=len(self.train),
            valid_rows=len(self.valid),
            unreadable=len(self.rows.unreadable),
            rows_per_second=round(len(self.train) * len(state.history) / sum(one.seconds for one in state.history), 2),
        )

    def epoch(self, order: Rows, *, learn: bool) -> dict[str, float]:
        """The loss and every metric of one pass over these rows. Raises ValueError where the loss is not finite."""
        set_mode(self.model, learn)
        total, truths, predictions = 0.0, [], []
        for batch in self.batches(order):
            if learn:
                self.model.set_dropout(self.schedule.last_epoch)
            with torch.set_grad_enabled(learn):
                value, predicted = self.forward(batch)
            if learn:
                self.step(value, self.optimizer)
                self.schedule.step()
            self.seen += len(batch.rows)
            step("posts", self.seen, (len(self.train) + len(self.valid)) * self.config.epochs, "posts")
            total += float(value.detach()) * len(batch.rows)
            truths.append(self.labels[batch.rows])
            predictions.append(predicted.cpu())
        if not truths or not math.isfinite(total):
            raise ValueError(
                f"the loss is {total!r} over {sum(map(len, truths))} readable rows; lower --lr "
                f"({self.config.encoder_lr!r}), or look at the posts with `msa check`"
            )
        true, predicted = torch.cat(truths), torch.cat(predictions)
        return {"loss": total / len(true), **score(true.numpy(), predicted.numpy(), range(self.classes))}

    def order(self, number: int) -> Rows:
        """The training rows in the order of an epoch, counted from 1."""
        return np.random.default_rng([self.config.seed, number]).permutation(self.train)

    def batches(self, order: Rows) -> Iterator[Batch]:
        """These rows as batches on the device."""
        size = self.config.batch_size
        parts = [order[at : at + size] for at in range(0, len(order), size)]
        return (batch.to(self.device) for batch in self.rows.batches(self.pool, parts))

    def count_batches(self, rows: Rows) -> int:
        """Batches of an epoch on these rows."""
        return math.ceil(len(rows) / self.config.batch_size)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the predicted classes (B,)."""
        parts, logits = self.model(batch)  # (M, B, K), (B, K)
        truth = self.labels[batch.rows].to(self.device)
        return self.loss(parts.flatten(0, 1), truth.repeat(len(parts))), logits.detach().argmax(-1)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Move the trained weights by the gradients of a loss."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.grad is not None], self.config.clip)
        optimizer.step()

    def _open_weights(self) -> list[Merge]:
        """Open the weights that are trained; what merges adapters into theirs, where there are any."""
        for encoder in self.rows.encoders.values():
            freeze_all_but(encoder, self.config.last_blocks)
        if not self.config.lora:
            return []
        return [
            add_adapters(encoder, self.config.lora_rank, self.rows.sample(modality, self.train, self.device))
            for modality, encoder in self.rows.encoders.items()
        ]


def trained_weights(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that gradients reach, by name."""
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def set_mode(model: nn.Module, learn: bool) -> None:
    """Training or eval mode; batch norms always use their stored statistics, as batches are small."""
    model.train(learn)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


def make_optimizer(model: TunedModel, config: TuneConfig) -> torch.optim.Optimizer:
    """AdamW without weight decay on biases and norms, and with a separate learning rate for the classifier."""
    groups = [
        {"params": [weight for weight in weights if weight.requires_grad], "lr": lr, "weight_decay": decay}
        for part, lr in ((model.towers, config.encoder_lr), (model.head, config.head_lr))
        for weights, decay in zip(decay_groups(part), (config.weight_decay, 0.0), strict=True)
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]])


def share_of_rate(step: int, steps: int, warmup: float) -> float:
    """Share of the full learning rate at a step: linear warm-up, then linear decay to 0."""
    warm = warmup * steps
    return (step + 1) / warm if step < warm - 1 else max(0.0, (steps - step) / max(1.0, steps - warm + 1))
