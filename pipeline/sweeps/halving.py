"""Successive halving: the heads of a batch of trials train from rung to rung, and only the best trials go on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import chain
from typing import Literal, NamedTuple

from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..fused.chunks import Plan, plan_chunks
from ..metrics.probabilities import log_mean
from ..metrics.scores import METRICS, score
from ..training.jobs import Experiment
from .chunk import Chunk, HeadResult, TrialHead
from .engine import Engine, Work
from .study import Row, Study

LEAST = 2  # epochs before the first rung; one is mostly warm-up
FEWEST = 3  # trials that go on: which of them is the best, an early rung cannot tell


class Entry(NamedTuple):
    """A trial of a batch, the table that it reads, and what it trains."""

    row: Row
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


class Halving:
    """One batch of trials of a study, on the inner folds."""

    def __init__(
        self,
        study: Study,
        entries: Sequence[Entry],
        folds: Sequence[Fold],
        *,
        rungs: Sequence[int],
        halving: int,
        metric: str,
        engine: Engine,
        fused: bool = True,
        ended: Callable[[Row], None],
    ) -> None:
        self.study, self.entries, self.folds = study, {entry.row.index: entry for entry in entries}, folds
        self.rungs, self.halving, self.metric, self.engine, self.ended = rungs, halving, metric, engine, ended
        self.largest = None if fused else 1  # heads of a chunk
        self.chunks: dict[int, list[Chunk]] = defaultdict(list)  # of each trial
        self.errors: dict[int, ValueError] = {}
        self.pruned: list[int] = []  # still to be stored
        self.over = {entry.row.index for entry in entries if entry.row.state != "running"}
        self.plans: list[Plan] = []

    def run(self) -> None:
        """Train, compare and store, until every trial has ended."""
        active = list(self.entries)
        for rung in self.rungs:
            self._train_to(rung, [index for index in active if rung not in self.entries[index].row.values])
            reached = [index for index in active if rung in self.entries[index].row.values]
            reached.sort(key=lambda index: (-self.entries[index].row.values[rung], index))
            everyone = rung == self.rungs[-1] or not self.halving
            kept = len(reached) if everyone else max(FEWEST, -(-len(reached) // self.halving))
            active, self.pruned = reached[:kept], reached[kept:]
        self._prune()
        for index in active:
            self._end(index, "complete")

    def _train_to(self, rung: int, indices: Sequence[int]) -> None:
        """Train these trials to a rung and store their values there."""
        indices = [index for index in indices if index not in self.over]
        waiting: dict[tuple[int, int], dict[int, HeadResult]] = defaultdict(dict)  # of a trial on a fold, by member
        metrics: dict[int, dict[int, dict[str, float]]] = defaultdict(dict)  # of a trial, by fold
        seconds: dict[int, float] = defaultdict(float)
        with closing(self.engine.train_to(rung, self._work(indices))) as chunks:
            for (index, experiment, job), result in chain.from_iterable(chunks):
                self._prune()
                if isinstance(result, ValueError):
                    self.errors[index] = result
                    continue
                seconds[index] += result.seconds
                table, members = self.entries[index].table, waiting[index, job.fold]
                members[job.member] = result
                if len(members) < experiment.config.ensemble_size:
                    continue
                logits = log_mean([one for member in sorted(members) for one in members[member].logits])
                truth = table.targets()[self.folds[job.fold].test]
                metrics[index][job.fold] = score(truth, logits.argmax(1), table.classes)
                if len(metrics[index]) == len(self.folds):
                    self._store(index, rung, [one for _, one in sorted(metrics[index].items())], seconds[index])
        self._prune()
        for index in indices:
            if index in self.errors:
                self._end(index, "fail", str(self.errors[index]))

    def _prune(self) -> None:
        """Store that the worst trials of the last rung have ended, while the others already train."""
        for index in self.pruned:
            self._end(index, "pruned")
        self.pruned = []

    def _store(self, index: int, rung: int, metrics: Sequence[dict[str, float]], seconds: float) -> None:
        """Store a trial's mean over the folds."""
        mean = {name: sum(one[name] for one in metrics) / len(metrics) for name in METRICS}
        row, table, experiment = self.entries[index]
        heads = len(self.folds) * experiment.config.ensemble_size
        costs = {"seconds": seconds / heads, "extract_seconds": table.extract_seconds}
        self.study.report(row, rung, mean[self.metric], {"metrics": mean} | costs)

    def _end(self, index: int, state: Literal["complete", "pruned", "fail"], error: str = "") -> None:
        if index in self.over:
            return
        self.over.add(index)
        self.chunks.pop(index, None)
        row = self.entries[index].row
        self.study.end(row, state, error)
        self.ended(row)

    def _work(self, indices: Sequence[int]) -> list[Work]:
        """The chunks that hold these trials' heads, new ones where there are none."""
        work = []
        tables = {id(self.entries[index].table): self.entries[index].table for index in indices}
        for name, table in tables.items():
            own = [index for index in indices if id(self.entries[index].table) == name]
            new = [index for index in own if index not in self.chunks]
            experiments = [self.entries[index].experiment for index in new]
            plan = plan_chunks(
                table,
                self.folds,
                experiments,
                device=self.engine.device,
                threads=self.engine.threads,
                largest=self.largest,
            )
            self.plans.append(plan)
            for jobs in plan.chunks:
                heads = [TrialHead(new[job.experiment], experiments[job.experiment], job) for job in jobs]
                chunk = Chunk(self.folds, heads)
                for index in chunk.trials:
                    self.chunks[index].append(chunk)
            chunks = dict.fromkeys(chunk for index in own for chunk in self.chunks[index])
            work += [Work(chunk, frozenset(own), table) for chunk in chunks]
        return work
