"""Many heads over the folds of one table: what can be fused is, the rest trains alone, in threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import cycle, islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ...features.encoders.runtime import available_cores
from ...features.spec import Modality
from ...heads.base import Head
from ..config.head_config import HeadConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import Reduction
from ..data.split import VALID_PARTS, Fold, ensemble_folds
from ..fused.training import batch_key, begin
from ..metrics.scores import score
from .checkpointing import Checkpointer
from .fold_inputs import FoldInputs, InputsCache, Place
from .fold_result import FoldResult, log_mean
from .loop import FitResult, TrainConfig, fit, predict_logits, training_threads

ENSEMBLE_SEEDS = 1000  # distance between the seeds of a fold's heads
LARGEST = 64  # heads side by side on a CPU: more gain nothing
LARGEST_GPU = 256
SMALLEST = 8  # of fewer the work between the products is more than half
ROUNDS = 4  # chunks for each thread that are many enough to even out
Checkpointers = Callable[[int, int], Checkpointer]  # fold and member number to what keeps that training
Done = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """One configuration, to be trained on every fold; `without` hides one modality from training and scoring alike.

    With `checkpointers`, trainings that were cut off go on; they train alone.
    """

    config: HeadConfig
    training: TrainConfig
    without: Modality | None = None
    checkpointers: Checkpointers | None = field(default=None, compare=False)


class Job(NamedTuple):
    """One head of one fold of one task: the rows that train and stop it, and where."""

    task: int
    fold: int
    member: int
    rows: Fold
    place: Place


@dataclass(frozen=True)
class Plan:
    """Which heads train side by side, in how many threads. No result depends on it beyond the rounding of sums."""

    chunks: list[list[Job]]
    threads: int

    def __str__(self) -> str:
        fused = [len(chunk) for chunk in self.chunks if len(chunk) > 1]
        alone = len(self.chunks) - len(fused)
        parts = [f"fused: {len(fused)} chunks of up to {max(fused)} heads"] if fused else []
        parts += [f"alone: {alone} heads"] if alone else []
        return f"{'; '.join(parts)}; {self.threads} at a time"


class Trained(NamedTuple):
    """One trained head, what it says of the test rows in each scored view, and of its validation rows."""

    head: Head
    fitted: FitResult
    logits: list[NDArray[np.float32]]
    valid_logits: NDArray[np.float32]
    reductions: dict[str, Reduction]


def plan_training(
    table: CachedFeatures,
    folds: Sequence[Fold],
    tasks: Sequence[Task],
    *,
    device: str = "cpu",
    threads: int | None = None,
    largest: int | None = None,
) -> Plan:
    """Decide what is fused: at most `largest` heads side by side (1: none), in `threads` threads.

    Left out, both are what was fastest in measurements. On a CPU heads on tokens gain nothing by company, since their
    products are large enough alone; on a GPU everything does, and one thread keeps it busy.
    """
    threads = threads or (available_cores() if device == "cpu" else 1)
    raw = any(spec.raw for side in table.specs.values() for spec in side)
    groups: dict[Hashable, list[Job]] = defaultdict(list)

    @cache
    def rows_of(fold_number: int, count: int, seed: int) -> tuple[list[Fold], NDArray[np.int64]]:
        members = ensemble_folds(table.posts, folds[fold_number], count=count, seed=seed)
        return members, np.unique(np.concatenate([member.train for member in members]))

    for number, task in enumerate(tasks):
        for fold_number in range(len(folds)):
            members, trained = rows_of(fold_number, min(task.config.ensemble_size, VALID_PARTS), task.training.seed)
            place = Place.of(task.config, trained, task.without)
            for member, rows in enumerate(islice(cycle(members), task.config.ensemble_size)):
                job = Job(number, fold_number, member, rows, place)
                groups[company(task, job)].append(job)

    def most(jobs: Sequence[Job]) -> int:
        task = tasks[jobs[0].task]
        if raw or task.checkpointers or (device == "cpu" and task.config.tokens and largest is None):
            return 1
        return largest or (LARGEST if device == "cpu" else LARGEST_GPU)

    chunks = share_out([(jobs, most(jobs)) for jobs in groups.values()], threads)
    return Plan(chunks, max(1, min(threads, len(chunks))))


def train_many(
    table: CachedFeatures,
    folds: Sequence[Fold],
    tasks: Sequence[Task],
    *,
    device: str = "cpu",
    done: Done = lambda number, total: None,
    plan: Plan | None = None,
) -> list[list[FoldResult]]:
    """Train and score every task on every fold: the results per task and fold.

    The tasks must want the same table: one grid of patches and as many views. `done` is told how many folds of how
    many are ready, over all tasks.
    """
    grids = {task.config.patches for task in tasks if task.config.tokens}
    if len(grids) > 1 or len({task.config.views for task in tasks}) > 1:
        raise ValueError("heads that train together must share --patches and --views; train them one after another")
    plan = plan or plan_training(table, folds, tasks, device=device)
    scenes = InputsCache(table, [chunk[0].place for chunk in plan.chunks], device)
    waiting: dict[tuple[int, int], dict[int, tuple[Job, Trained]]] = defaultdict(dict)
    results: dict[tuple[int, int], FoldResult] = {}

    def train(chunk: list[Job]) -> list[Trained]:
        with scenes.use(chunk[0].place) as scene:
            return train_chunk(scene, folds, tasks, chunk)

    with training_threads(1 if device == "cpu" else torch.get_num_threads()):
        pool = ThreadPoolExecutor(plan.threads)
        try:
            running = {pool.submit(train, chunk): chunk for chunk in plan.chunks}
            for future in as_completed(running):
                for job, trained in zip(running[future], future.result(), strict=True):
                    name = job.task, job.fold
                    waiting[name][job.member] = job, trained
                    if len(waiting[name]) == tasks[job.task].config.ensemble_size:
                        ready = waiting.pop(name)
                        results[name] = assemble(table, folds[job.fold], [ready[member] for member in sorted(ready)])
                        done(len(results), len(tasks) * len(folds))
        finally:
            pool.shutdown(cancel_futures=True)
    return [[results[task, fold] for fold in range(len(folds))] for task in range(len(tasks))]


def train_chunk(scene: FoldInputs, folds: Sequence[Fold], tasks: Sequence[Task], chunk: Sequence[Job]) -> list[Trained]:
    """Train the heads of one chunk, side by side where there are several, and let them speak."""
    started = [start(scene, tasks[job.task], job) for job in chunk]
    heads, settings = [head for head, _ in started], [training for _, training in started]
    rows, where = chunk[0].rows, (scene.inputs, scene.labels)
    if len(chunk) > 1:
        fused = begin(heads, settings, *where, train_rows=rows.train, valid_rows=rows.valid, views=scene.views)
        fused.train(max(one.epochs for one in settings))
        ended = [fused.finish(number) for number in range(len(chunk))]
    else:
        checkpointers = tasks[chunk[0].task].checkpointers
        checkpointer = checkpointers(chunk[0].fold, chunk[0].member) if checkpointers else None
        fitted = fit(
            heads[0],
            *where,
            train_rows=rows.train,
            valid_rows=rows.valid,
            config=settings[0],
            views=scene.views,
            checkpointer=checkpointer,
        )
        ended = [(heads[0], fitted)]
    return [
        speak(scene, folds[job.fold], tasks[job.task].config, job, head, result)
        for job, (head, result) in zip(chunk, ended, strict=True)
    ]


def start(scene: FoldInputs, task: Task, job: Job) -> tuple[Head, TrainConfig]:
    """A job's untrained head, and how it is to be trained. Raises ValueError where the two cannot be."""
    training = member_training(task.training, job.member)
    if scene.towers.vocabulary and training.mixup:
        raise ValueError("mixup blends vectors, and word pieces are numbers; leave --mixup out, or use a text encoder")
    return scene.head(task.config.of_member(job.member), training.seed), training


def speak(scene: FoldInputs, fold: Fold, config: HeadConfig, job: Job, head: Head, fitted: FitResult) -> Trained:
    """Let a trained head say what it thinks of the fold's test rows, and of those that it was stopped on."""
    scored = [scene.inputs, *scene.views] if config.average_views else [scene.inputs]
    said = [predict_logits(head, seen, fold.test).cpu().numpy() for seen in scored]
    stopped = log_mean([predict_logits(head, seen, job.rows.valid).cpu().numpy() for seen in scored])
    return Trained(head, fitted, said, stopped, scene.reductions)


def assemble(table: CachedFeatures, fold: Fold, members: Sequence[tuple[Job, Trained]]) -> FoldResult:
    """One fold's result from the heads that were trained for it."""
    trained = [one for _, one in members]
    logits = log_mean([said for one in trained for said in one.logits])
    return FoldResult(
        fold,
        [one.head for one in trained],
        trained[0].reductions,
        [one.fitted.history for one in trained],
        [one.fitted.best_epoch for one in trained],
        logits,
        score(table.targets()[fold.test], logits.argmax(1), table.classes),
        np.concatenate([job.rows.valid for job, _ in members]),
        np.concatenate([one.valid_logits for one in trained]),
    )


def member_training(training: TrainConfig, member: int) -> TrainConfig:
    """How one of a fold's heads is trained: from a seed of its own."""
    return replace(training, seed=training.seed + member * ENSEMBLE_SEEDS)


def company(task: Task, job: Job) -> Hashable:
    """Equal for jobs that can train side by side: one architecture, the same inputs, rows and batches."""
    config = task.config.of_member(job.member)
    training = member_training(task.training, job.member)
    shape = config.fusion, config.hidden, tuple(sorted(config.options.items()))
    return (*shape, job.place, job.rows.train.tobytes(), job.rows.valid.tobytes(), batch_key(training))


def share_out(groups: Sequence[tuple[Sequence[T], int]], threads: int) -> list[list[T]]:
    """Cut each group into chunks of at most so many, and no larger than one thread's share of all.

    Few chunks that do not go round evenly are halved, so that no thread waits long for the last one. A group is dealt
    as it is drawn once and for all, one of every few neighbours to each chunk: they do alike in a race, and so about
    as many are left of each chunk.
    """
    share = -(-sum(len(group) for group, _ in groups) // threads)
    numbers = [-(-len(group) // min(most, share)) for group, most in groups]
    if sum(numbers) % threads and sum(numbers) < ROUNDS * threads:
        numbers = [
            2 * n if len(group) >= 2 * n * SMALLEST else n for (group, _), n in zip(groups, numbers, strict=True)
        ]
    dealt = [_deal(group, n) for (group, _), n in zip(groups, numbers, strict=True)]
    return [chunk for chunks in dealt for chunk in chunks]


def _deal(group: Sequence[T], chunks: int) -> list[list[T]]:
    """Deal a group out, in every round of neighbours in an order drawn anew."""
    draw = np.random.default_rng(0)
    dealt: list[list[T]] = [[] for _ in range(chunks)]
    for start in range(0, len(group), chunks):
        for to, one in zip(draw.permutation(chunks), group[start : start + chunks], strict=False):
            dealt[to].append(one)
    return dealt
