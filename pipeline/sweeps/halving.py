"""Successive halving: the heads of a batch of trials train from rung to rung, and only the best trials go on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..fused.chunks import plan_chunks
from ..metrics.probabilities import log_mean, softmax
from ..metrics.scores import METRICS, score
from ..training.jobs import Experiment
from .chunk import Chunk, HeadResult, Result, Trained, TrialHead, Work
from .engine import Engine
from .study import Study, TrialRow
from .sweep_progress import SweepProgress, survivors

LEAST = 2  # epochs before the first rung; one is mostly warm-up


class Entry(NamedTuple):
    """A trial of a batch, the table that it reads, and what it trains."""

    row: TrialRow
    table: CachedFeatures
    experiment: Experiment


def rungs_of(epochs: int, halving: int) -> list[int]:
    """The epochs after which trials are compared: a tenth of all, then doubled from rung to rung, and all in the end.

    Heads go on training where they stopped, so a rung costs little, and rungs may be closer than the factor by which
    trials become fewer. Raises ValueError for a `halving` of 1 or below 0; 0 has one rung, so all trials go on.
    """
    if halving < 0 or halving == 1:
        raise ValueError(f"--halving must be 2 or more, or 0 for none; got {halving}")
    rungs = []
    rung = max(LEAST, epochs // 10)
    while halving and 2 * rung <= epochs:
        rungs.append(rung)
        rung *= 2
    return [*rungs, epochs]


def mean_losses(losses: Sequence[Sequence[tuple[float, float]]]) -> dict[str, list[float]]:
    """The losses on training and on validation rows, by epoch: means over the heads that trained so long."""
    epochs = range(max(map(len, losses)))
    heads = [[one[epoch] for one in losses if epoch < len(one)] for epoch in epochs]
    return {
        part: [round(math.fsum(pair[place] for pair in found) / len(found), 5) for found in heads]
        for place, part in enumerate(("train", "valid"))
    }


@dataclass
class Halving:
    """One batch of trials of a study, by their indices, on the inner folds.

    `largest` limits the heads of a chunk (1: nothing is fused). `progress` is told what happens.
    """

    study: Study
    entries: Mapping[int, Entry]
    folds: Sequence[Fold]
    rungs: Sequence[int]
    engine: Engine
    largest: int | None
    progress: SweepProgress
    chunks: dict[int, list[Chunk]] = field(default_factory=lambda: defaultdict(list))  # of each trial
    pruned: list[TrialRow] = field(default_factory=list)  # still to be stored
    plan: str = ""  # of the first rung

    def run(self) -> None:
        """Train, compare and store, until every trial has ended."""
        active = [entry.row for entry in self.entries.values()]
        for rung in self.rungs:
            self.progress.begin_rung(rung)
            self._train_to(rung, [row for row in active if rung not in row.values and row.state == "running"])
            reached = sorted(
                (row for row in active if rung in row.values), key=lambda row: (-row.values[rung], row.index)
            )
            kept = len(reached) if rung == self.rungs[-1] else survivors(len(reached), self.study.search.halving)
            active, self.pruned = reached[:kept], reached[kept:]
        self._prune()
        for row in active:
            self._end(row, "complete")

    def _train_to(self, rung: int, rows: Sequence[TrialRow]) -> None:
        """Train these trials to a rung and store their values there."""
        errors: dict[int, ValueError] = {}
        heads: dict[tuple[int, int], dict[int, HeadResult]] = defaultdict(dict)  # of a trial on a fold, by member
        metrics: dict[int, dict[int, dict[str, float]]] = defaultdict(dict)  # of a trial, by fold
        seconds: dict[int, float] = defaultdict(float)
        losses: dict[int, list[list[tuple[float, float]]]] = defaultdict(list)
        predicted: dict[int, dict[int, NDArray[np.float64]]] = defaultdict(dict)  # of a trial, by fold
        with closing(self.engine.train_to(rung, self._work(rows))) as chunks:
            for (index, experiment, job), result in self._counted(chunks):
                self._prune()
                if isinstance(result, ValueError):
                    errors[index] = result
                    continue
                seconds[index] += result.seconds
                losses[index].append(result.losses)
                table, members = self.entries[index].table, heads[index, job.fold]
                members[job.member] = result
                if len(members) < experiment.config.ensemble_size:
                    continue
                logits = log_mean([one for member in sorted(members) for one in members[member].logits])
                truth = table.targets()[self.folds[job.fold].test]
                metrics[index][job.fold] = score(truth, logits.argmax(1), table.classes)
                predicted[index][job.fold] = softmax(logits)
                if len(metrics[index]) == len(self.folds):
                    self._keep(index, rung, predicted.pop(index))
                    scores = [one for _, one in sorted(metrics[index].items())]
                    self._store(index, rung, scores, seconds[index], losses[index])
        self._prune()
        for index, error in sorted(errors.items()):
            self._end(self.entries[index].row, "fail", str(error))

    def _counted(self, chunks: Trained) -> Iterator[tuple[TrialHead, Result]]:
        for results in chunks:
            self.progress.trained(len(results))
            yield from results

    def _prune(self) -> None:
        """Store that the worst trials of the last rung have ended, while the others already train."""
        while self.pruned:
            self._end(self.pruned.pop(0), "pruned")

    def _keep(self, index: int, rung: int, predicted: Mapping[int, NDArray[np.float64]]) -> None:
        """Keep a complete trial's probabilities for a greedy ensemble, before its value: what has one is complete."""
        if self.study.predictions is not None and rung == self.rungs[-1]:
            self.study.predictions.keep(index, np.concatenate([one for _, one in sorted(predicted.items())]))

    def _store(
        self,
        index: int,
        rung: int,
        metrics: Sequence[dict[str, float]],
        seconds: float,
        losses: Sequence[Sequence[tuple[float, float]]],
    ) -> None:
        """Store a trial's mean over the folds."""
        mean = {name: sum(one[name] for one in metrics) / len(metrics) for name in METRICS}
        row, table, experiment = self.entries[index]
        heads = len(self.folds) * experiment.config.ensemble_size
        costs = {"seconds": seconds / heads, "extract_seconds": table.extract_seconds}
        notes = {"metrics": mean, "losses": mean_losses(losses)} | costs
        self.study.report(row, rung, mean[self.study.search.metric], notes)
        self.progress.scored(row)

    def _end(self, row: TrialRow, state: Literal["complete", "pruned", "fail"], error: str = "") -> None:
        if row.state == "running":
            self.chunks.pop(row.index, None)
            self.study.end(row, state, error)
            self.progress.end()

    def _work(self, rows: Sequence[TrialRow]) -> list[Work]:
        """The chunks that hold these trials' heads, new ones where there are none."""
        work = []
        tables = {id(self.entries[row.index].table): self.entries[row.index].table for row in rows}
        for name, table in tables.items():
            own = [row.index for row in rows if id(self.entries[row.index].table) == name]
            new = [index for index in own if index not in self.chunks]
            experiments = [self.entries[index].experiment for index in new]
            device, threads = self.engine.device, self.engine.threads
            plan = plan_chunks(table, self.folds, experiments, device=device, threads=threads, largest=self.largest)
            self.plan = self.plan or str(plan)
            for jobs in plan.chunks:
                chunk = Chunk(
                    self.folds, [TrialHead(new[job.experiment], experiments[job.experiment], job) for job in jobs]
                )
                for index in chunk.trials:
                    self.chunks[index].append(chunk)
            chunks = dict.fromkeys(chunk for index in own for chunk in self.chunks[index])
            work += [Work(chunk, frozenset(own), table) for chunk in chunks]
        return work
