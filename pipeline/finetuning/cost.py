"""What fine-tuning will take: time and memory, measured on the first batches."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from ...features.messages import notify
from ...features.progress import stage
from ...features.text_table import Part, Report, Table
from .tune import Tuning, make_optimizer, set_mode, trained_weights

TIMED = 3  # training steps; the first only warms up
STATES = 3  # of each trained weight: its gradient, and AdamW's two moments


@dataclass(frozen=True)
class TuningCost(Report):
    """The cost of tuning `folds` folds, one after another, for all epochs.

    `batch_seconds` is a training step, decoding included, `valid_seconds` a batch of validation rows; `batches` and
    `valid_batches` are those of an epoch. The bytes are of the weights, of the gradients and moments of those that are
    trained, and of what a step keeps of its forward pass; `free_bytes` is the memory that was free before.
    """

    folds: int
    epochs: int
    batch_size: int
    batches: int
    valid_batches: int
    batch_seconds: float
    valid_seconds: float
    parameters: int
    trained: int
    weight_bytes: int
    state_bytes: int
    activation_bytes: int
    free_bytes: int

    @property
    def seconds(self) -> float:
        """All folds and epochs; early stopping may need less."""
        epoch = self.batches * self.batch_seconds + self.valid_batches * self.valid_seconds
        return self.folds * self.epochs * epoch

    @property
    def bytes(self) -> int:
        """Memory of weights, optimizer and activations together."""
        return self.weight_bytes + self.state_bytes + self.activation_bytes

    @property
    def summary(self) -> str:
        """`about 12 min, 1.3 GB of memory`."""
        time = f"{self.seconds / 60:.0f} min" if self.seconds >= 60 else f"{self.seconds:.0f} s"
        return f"about {time}, {self.bytes / 1e9:.1f} GB of memory"

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return asdict(self) | {"seconds": self.seconds, "bytes": self.bytes}

    def parts(self) -> list[Part]:
        """The table that `--dry-run` prints."""
        gigabytes = [f"{size / 1e9:.2f}" for size in (self.weight_bytes, self.state_bytes, self.activation_bytes)]
        header = ["trained", "of", "s/step", "steps", "minutes", "GB weights", "GB optimizer", "GB activations"]
        steps, shape = self.folds * self.epochs * self.batches, f"{self.folds} × {self.epochs} × {self.batches}"
        line = [
            self.trained,
            self.parameters,
            f"{self.batch_seconds:.2f}",
            steps,
            f"{self.seconds / 60:.1f}",
            *gigabytes,
        ]
        title = f"{steps} steps of {self.batch_size} posts (folds × epochs × steps: {shape})"
        return [Table(header, [line], title), "nothing was written; run it without --dry-run to tune"]

    def point_out_shortage(self) -> None:
        """Warn where the memory that was free is less than what this takes beside the weights, which are there."""
        needed = self.state_bytes + self.activation_bytes
        if needed > self.free_bytes:
            notify(
                f"tuning takes {needed / 1e9:.1f} GB more memory, and {self.free_bytes / 1e9:.1f} GB are free; lower "
                "--batch-size or --max-length, or add --lora or --layers last:2"
            )


def free_memory(device: str) -> int:
    """Bytes that are free on a device."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def model_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


@contextmanager
def counting_saved(model: nn.Module) -> Iterator[Collection[int]]:
    """Collects, by storage, the bytes of all tensors but the weights that are kept for the backward pass."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved.values()


def measure_cost(tuning: Tuning, *, folds: int) -> TuningCost:
    """What tuning on so many folds takes, by the first batches of this one; its weights stay as they are.

    Raises ValueError where none of its posts can be read.
    """
    model, config, free = tuning.model, tuning.config, free_memory(tuning.device)
    optimizer = make_optimizer(model, config)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    seconds, saved_bytes = list[float](), 0
    stage("timing the first batches")
    with torch.random.fork_rng([tuning.device] if tuning.device.startswith("cuda") else []):
        set_mode(model, True)
        started = time.perf_counter()
        for batch in tuning.batches(tuning.order(1)[: TIMED * config.batch_size]):
            with counting_saved(model) as saved:
                loss, _ = tuning.forward(batch)
            tuning.step(loss, optimizer)
            saved_bytes = max(saved_bytes, sum(saved))
            float(loss.detach())  # waits for a GPU
            seconds.append(time.perf_counter() - started)
            started = time.perf_counter()
        if not seconds:
            raise ValueError("none of the first training posts can be read; `msa check` shows why")
        set_mode(model, False)
        with torch.no_grad():
            float(tuning.forward(batch)[0])
        valid_seconds = time.perf_counter() - started
    optimizer.zero_grad(set_to_none=True)
    trained = [weight for _, weight in trained_weights(model)]
    return TuningCost(
        folds=folds,
        epochs=config.epochs,
        batch_size=config.batch_size,
        batches=tuning.count_batches(tuning.train),
        valid_batches=tuning.count_batches(tuning.valid),
        batch_seconds=min(seconds[1:] or seconds),
        valid_seconds=valid_seconds,
        parameters=sum(weight.numel() for weight in model.parameters()),
        trained=sum(weight.numel() for weight in trained),
        weight_bytes=model_bytes(model),
        state_bytes=STATES * sum(weight.nbytes for weight in trained),
        activation_bytes=saved_bytes,
        free_bytes=free,
    )
