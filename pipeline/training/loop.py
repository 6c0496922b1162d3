"""Training of one head: step, epoch, fit; with early stopping and the best epoch's weights restored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ...heads.base import Head
from ...heads.dropout import set_dropout
from ..config.train_config import TrainConfig
from ..config.tune_config import TuneConfig
from ..data.inputs import draw_views
from ..data.ragged_inputs import RaggedInputs
from ..metrics.scores import score
from ..metrics.thresholds import tune_offsets
from .augment import augment
from .batches import Rows, as_rows, by_length, check_split, eval_batches, read_batches, shuffled_batches
from .checkpointing import Checkpointer
from .losses import Loss, as_targets, class_weights, log_frequencies
from .optimizer import Step, decay_groups
from .precision import run_head
from .seeds import drawing


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, counted from 1: the loss and every metric on the training and on the validation rows.

    The training figures are those of the steps themselves, dropout included. `lr` is the last step's. `batch_losses`
    are the losses of the batches in the order of the steps; none where heads train side by side.
    """

    epoch: int
    train: dict[str, float]
    valid: dict[str, float]
    lr: float
    seconds: float
    batch_losses: Sequence[float] = ()


EpochDone = Callable[[EpochRecord], None]


@dataclass(frozen=True)
class FitResult:
    """What `fit` did; the head itself holds the weights of `best_epoch` (counted from 1)."""

    history: list[EpochRecord]
    best_epoch: int


def fit(
    head: Head,
    inputs: RaggedInputs,
    labels: Tensor,
    *,
    train_rows: Rows,
    valid_rows: Rows,
    config: TrainConfig,
    views: Sequence[RaggedInputs] = (),
    checkpointer: Checkpointer | None = None,
    until: int | None = None,
    epoch_done: EpochDone = lambda record: None,
) -> FitResult:
    """Train the head in place and leave it in eval mode with the weights of its best epoch, calibrated.

    `inputs` hold N rows on the head's device, `labels` (N,) class indices (of rows in neither split, anything).
    Each epoch reads a training row from `inputs` or from one of `views`, drawn at random; validation rows are read
    from `inputs` alone. With `checkpointer`, the state is saved every few epochs, and an interrupted training goes on
    there, with the same result; `until` pauses it after that epoch. `epoch_done` gets the record of each epoch. Same
    seed and, on a CPU, same thread count: same result, bit for bit. The global random state is not touched.

    Raises ValueError when a split is empty, the two overlap, a label is no class, or the loss is not finite.
    """
    labels = labels.to(inputs.device)
    train, valid = check_split(train_rows, valid_rows, inputs, labels, head.dims.classes)
    loss = make_loss(config, labels[train], head.dims.classes)
    if not trainable(head):
        return _fit_at_once(head, inputs, labels, train, valid, loss, config, checkpointer, epoch_done)
    head.prepare(inputs.pooled(), labels, train)
    step = Step(*decay_groups(head), config, steps_per_epoch=math.ceil(len(train) / config.batch_size))
    state = TrainingState(config)
    best_weights: dict[str, Tensor] = {}
    if checkpointer is not None and (saved := checkpointer.load(labels.device)):
        state.restore(saved["training"])
        best_weights = saved["best_weights"]
        step.restore(saved["optimizer"])
        head.load_state_dict(saved["head"])
    until = min(until or config.epochs, config.epochs)
    while not state.over and len(state.history) < until:
        started, epoch = time.perf_counter(), len(state.history) + 1
        head.train()
        shown, batches = epoch_batches(inputs, views, labels, train, epoch, config)
        trained, batch_losses = run_epoch(head, shown, labels, batches, loss, step)
        head.eval()
        with step.showing_average():
            validated, _ = run_epoch(head, inputs, labels, eval_batches(valid, inputs), loss)
            check_finite(epoch, trained["loss"], validated["loss"], config)
            seconds = time.perf_counter() - started
            if state.add(EpochRecord(epoch, trained, validated, step.lr, seconds, batch_losses)):
                best_weights = {name: tensor.clone() for name, tensor in head.state_dict().items()}
        epoch_done(state.history[-1])
        if checkpointer is not None:
            kept = {"training": state.state(), "optimizer": step.state()}
            kept |= {"head": head.state_dict(), "best_weights": best_weights}
            checkpointer.save(epoch, kept, last=state.over or epoch == until)
    head.load_state_dict(best_weights)
    calibrate_head(head.eval(), inputs, labels, valid, config)
    return FitResult(state.history, state.best_epoch)


def trainable(head: Head) -> bool:
    """Whether gradients train the head; otherwise `prepare` fits all of it."""
    return next(head.parameters(), None) is not None


def _fit_at_once(
    head: Head,
    inputs: RaggedInputs,
    labels: Tensor,
    train: Tensor,
    valid: Tensor,
    loss: Loss,
    config: TrainConfig,
    checkpointer: Checkpointer | None,
    epoch_done: EpochDone,
) -> FitResult:
    """Fit a head without parameters by its `prepare`, and measure it once: its only epoch."""
    state = TrainingState(config)
    if checkpointer is not None and (saved := checkpointer.load(labels.device)):
        state.restore(saved["training"])
        head.load_state_dict(saved["head"])
    else:
        started = time.perf_counter()
        head.prepare(inputs.pooled(), labels, train)
        trained, validated = (
            run_epoch(head.eval(), inputs, labels, eval_batches(rows, inputs), loss)[0] for rows in (train, valid)
        )
        check_finite(1, trained["loss"], validated["loss"], config)
        state.add(EpochRecord(1, trained, validated, 0.0, time.perf_counter() - started))
        epoch_done(state.history[-1])
        if checkpointer is not None:
            checkpointer.save(1, {"training": state.state(), "head": head.state_dict()}, last=True)
    calibrate_head(head.eval(), inputs, labels, valid, config)
    return FitResult(state.history, state.best_epoch)


class TrainingState:
    """The epochs so far: their records, which one is the best, and whether the training is over."""

    def __init__(self, config: TrainConfig | TuneConfig) -> None:
        self.config = config
        self.history: list[EpochRecord] = []
        self.best, self.best_epoch = -math.inf, 0
        self.dropped = False

    @property
    def over(self) -> bool:
        """Whether all epochs are trained, the last `patience` of them were no better, or the training was dropped."""
        done, patience = len(self.history), self.config.patience
        return (
            self.dropped
            or done >= self.config.epochs
            or bool(patience and self.best_epoch and done - self.best_epoch >= patience)
        )

    def add(self, record: EpochRecord) -> bool:
        """Add one epoch; return whether it is the best so far, so that its weights must be kept."""
        self.history.append(record)
        value = -record.valid["loss"] if self.config.metric == "loss" else record.valid[self.config.metric]
        if value <= self.best:
            return False
        self.best, self.best_epoch = value, record.epoch
        return True

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
        records = [asdict(record) for record in self.history]
        return {"history": records, "best": self.best, "epoch": self.best_epoch}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.best, self.best_epoch = state["best"], state["epoch"]


def make_loss(config: TrainConfig, labels: Tensor, classes: int) -> Loss:
    """The loss of a config, with class weights and priors from these training labels."""
    return Loss(
        kind=config.loss,
        gamma=config.gamma,
        smoothing=config.label_smoothing,
        weight=class_weights(labels, classes) if config.balance == "weights" else None,
        shift=config.logit_adjustment * log_frequencies(labels, classes) if config.logit_adjustment else None,
    )


def epoch_batches(
    inputs: RaggedInputs, views: Sequence[RaggedInputs], labels: Tensor, train: Tensor, epoch: int, config: TrainConfig
) -> tuple[RaggedInputs, list[Tensor]]:
    """The inputs of one epoch, views included, and its batches of row numbers."""
    rows = balanced(train, labels, epoch, config) if config.balance == "sampler" else train
    batches = shuffled_batches(rows, inputs, config.batch_size, drawing(config.seed, "order", epoch))
    shown = draw_views(inputs, views, train, drawing(config.seed, "views", epoch)) if views else inputs
    return shown, batches


def balanced(rows: Tensor, labels: Tensor, epoch: int, config: TrainConfig) -> Tensor:
    """As many rows drawn from `rows` (n,) with replacement, all classes equally likely."""
    of_class = labels[rows].cpu()
    weights = (1 / torch.bincount(of_class).double())[of_class]
    draw = drawing(config.seed, "balance", epoch)
    return rows[torch.multinomial(weights, len(rows), replacement=True, generator=draw).to(rows.device)]


def run_epoch(
    head: Head, inputs: RaggedInputs, labels: Tensor, batches: Iterable[Tensor], loss: Loss, step: Step | None = None
) -> tuple[dict[str, float], list[float]]:
    """Run the head over batches of row numbers; return the mean loss and every metric, and the loss of each batch.

    With `step`, batches are augmented and each one's loss is minimised; without, no gradient is computed.
    """
    losses, sizes, targets_seen, predictions = [], [], [], []
    with torch.set_grad_enabled(step is not None):
        for rows, batch in read_batches(inputs, batches):
            truth = labels[rows]
            targets = as_targets(truth, head.dims.classes)  # (B, K)
            if step is not None:
                set_dropout(head, seed=step.config.seed, step=step.count)
                batch, targets = augment(batch, targets, step.config, step.count, inputs.joint)
            parts, logits = run_head(head, batch)  # (M, B, K) and (B, K)
            value = loss(parts.flatten(0, 1), targets.repeat(len(parts), 1))
            if step is not None:
                step(value)
            losses.append(value.detach())
            sizes.append(len(rows))
            targets_seen.append(truth)
            predictions.append(logits.detach().argmax(-1))
    true, predicted = torch.cat(targets_seen).cpu().numpy(), torch.cat(predictions).cpu().numpy()
    of_batches = torch.stack(losses)
    mean = float((of_batches * of_batches.new_tensor(sizes)).sum()) / len(true)
    return {"loss": mean, **score(true, predicted, range(head.dims.classes))}, of_batches.tolist()


def check_finite(epoch: int, trained: float, validated: float, config: TrainConfig) -> None:
    """Raise ValueError where a loss is not a number any more."""
    if not math.isfinite(trained + validated):
        raise ValueError(
            f"the loss is no longer finite in epoch {epoch} (training {trained!r}, validation rows {validated!r}); "
            f"lower lr ({config.lr!r}) or look for NaN in the features"
        )


def calibrate_head(head: Head, inputs: RaggedInputs, labels: Tensor, valid: Tensor, config: TrainConfig) -> None:
    """Fit on the validation rows what no gradient fits: the head's calibration, and thresholds if asked for."""
    if type(head).calibrate is not Head.calibrate:  # all of these rows at once take memory
        some = valid[:: -(-len(valid) // inputs.buffer)] if inputs.buffer else valid
        with torch.no_grad():
            head.calibrate(inputs.take(some), labels[some])
    if config.tune_thresholds:
        metric = "macro_f1" if config.metric == "loss" else config.metric
        logits = predict_logits(head, inputs, valid).cpu().numpy()
        offsets = tune_offsets(logits, labels[valid].cpu().numpy(), metric=metric)
        head.offsets.copy_(torch.from_numpy(offsets))


def predict_logits(head: Head, inputs: RaggedInputs, rows: Rows) -> Tensor:
    """Return logits (n, K) of the given rows, thresholds included, in their order, in eval mode, without gradient."""
    device = inputs.device
    chosen = as_rows(rows, device)
    logits = torch.empty(len(chosen), head.dims.classes, device=device)
    training = head.training
    head.eval()
    with torch.no_grad():
        batches = eval_batches(by_length(chosen, inputs), inputs)
        for places, (_, batch) in zip(batches, read_batches(inputs, (chosen[one] for one in batches)), strict=True):
            logits[places] = (head(batch) + head.offsets).float()
    head.train(training)
    return logits


@contextmanager
def training_threads(count: int = 1) -> Iterator[None]:
    """Let torch use `count` CPU threads: 1 is fastest for heads and fixes how sums round. Raises ValueError below 1."""
    if count < 1:
        raise ValueError(f"wanted 1 thread or more, got {count!r}")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
