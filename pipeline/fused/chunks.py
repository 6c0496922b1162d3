"""Which heads train side by side: jobs that can be fused, cut into chunks for the threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import TypeVar

import numpy as np
import torch

from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..training.jobs import Experiment, HeadJob, list_jobs, member_training
from .fused_training import batch_key

LARGEST = 256  # heads side by side: more gain nothing
BOUNDED = 16  # the same on the cores of a cluster: a seventh slower, lost at most where a node dies
SMALLEST = 8  # of fewer the work between the products is more than half
KEPT = 64  # numbers for each position and unit of the width that a head keeps for its gradient: the most are 62
ROUNDS = 4  # chunks for each thread that are many enough to even out
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """Which heads train side by side, in how many threads. No result depends on it beyond the rounding of sums.

    `threads` None means that workers come and go: then the chunks do not depend on how many there are.
    """

    chunks: list[list[HeadJob]]
    threads: int | None

    def __str__(self) -> str:
        fused = [len(chunk) for chunk in self.chunks if len(chunk) > 1]
        alone = len(self.chunks) - len(fused)
        parts = [f"fused: {len(fused)} chunks of up to {max(fused)} heads"] if fused else []
        parts += [f"alone: {alone} heads"] if alone else []
        parts += [f"{self.threads} at a time"] if self.threads else []
        return "; ".join(parts)


def plan_chunks(
    table: CachedFeatures,
    folds: Sequence[Fold],
    experiments: Sequence[Experiment],
    *,
    device: str = "cpu",
    threads: int | None,
    largest: int | None = None,
) -> Plan:
    """Decide what is fused: at most `largest` heads side by side (1: none), in `threads` threads (None: see `Plan`).

    Without `largest` it is what was fastest in measurements: on a CPU heads on tokens gain nothing by fusion, since
    their products are large enough alone; on a GPU everything does, as far as its memory goes.
    """
    free = free_bytes(device)
    raw = any(spec.raw for side in table.specs.values() for spec in side)
    groups: dict[Hashable, list[HeadJob]] = defaultdict(list)
    for job in list_jobs(table, folds, experiments):
        groups[fusion_key(experiments[job.experiment], job)].append(job)

    def most(jobs: Sequence[HeadJob]) -> int:
        config, training = experiments[jobs[0].experiment].config, experiments[jobs[0].experiment].training
        at_once = config.of_member(jobs[0].member).fitted_at_once
        if raw or at_once or (device == "cpu" and config.tokens and largest is None):
            return 1
        usual = largest or (BOUNDED if threads is None and device == "cpu" else LARGEST)
        if free is None:
            return usual
        return min(usual, heads_that_fit(free, batch_positions(table, config, training), config.hidden))

    chunks = make_chunks([(jobs, most(jobs)) for jobs in groups.values()], threads)
    return Plan(chunks, threads and max(1, min(threads, len(chunks))))


def free_bytes(device: str) -> int | None:
    """Bytes that are free on a GPU. None on a CPU, whose chunks are small, and where the GPU is another machine's."""
    return torch.cuda.mem_get_info(device)[0] if device != "cpu" and torch.cuda.is_available() else None


def batch_positions(table: CachedFeatures, config: HeadConfig, training: TrainConfig) -> int:
    """Positions of a batch of the longest posts, of both modalities."""
    lengths = [
        1 + part.tokens.longest if config.tokens and part.tokens else 1
        for side in table.sides.values()
        for part in side.parts or [side]
    ]
    return training.batch_size * sum(lengths)


def heads_that_fit(free: int, positions: int, hidden: int) -> int:
    """Heads whose forward passes on so many positions fit side by side into half of the free bytes; at least 1."""
    return max(1, free // (2 * 4 * KEPT * positions * hidden))


def fusion_key(experiment: Experiment, job: HeadJob) -> Hashable:
    """Equal for jobs that can train side by side: one architecture, the same inputs, rows and batches."""
    config = experiment.config.of_member(job.member)
    training = member_training(experiment.training, job.member)
    shape = config.fusion, config.hidden, tuple(sorted(config.options.items()))
    return (*shape, job.inputs_key, job.rows.train.tobytes(), job.rows.valid.tobytes(), batch_key(training))


def make_chunks(groups: Sequence[tuple[Sequence[T], int]], threads: int | None) -> list[list[T]]:
    """Cut each group into chunks of at most so many, and, of `threads`, no larger than one thread's share of all.

    Chunks that are left over when each thread has as many others are cut further, so that all threads end together.
    Each chunk gets one of every few neighbours, in an order that never changes: neighbours do alike in successive
    halving, so about as many are left of each chunk.
    """
    share = -(-sum(len(group) for group, _ in groups) // (threads or 1))
    chunks = [chunk for group, most in groups for chunk in _split(group, -(-len(group) // min(most, share)))]
    over = len(chunks) % threads if threads else 0
    if threads and over and len(chunks) < ROUNDS * threads:
        parts = threads // gcd(over, threads)
        cut = [_split(chunk, max(1, min(parts, len(chunk) // SMALLEST))) for chunk in chunks[-over:]]
        chunks[-over:] = [part for chunk in cut for part in chunk]
    return chunks


def _split(group: Sequence[T], count: int) -> list[list[T]]:
    """Split a group into `count` chunks: of each `count` neighbours every chunk gets one, in random order."""
    draw = np.random.default_rng(0)
    chunks: list[list[T]] = [[] for _ in range(count)]
    for start in range(0, len(group), count):
        for number, one in zip(draw.permutation(count), group[start : start + count], strict=False):
            chunks[number].append(one)
    return chunks
