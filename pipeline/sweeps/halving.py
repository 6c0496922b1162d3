"""Successive halving: the heads of a batch of trials train from rung to rung, and only the best third goes on."""

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
from .chunk import Runner, Said
from .engine import Engine, Work
from .study import Row, Study

LEAST = 2  # epochs before a head is judged; one is mostly warm-up
FEWEST = 3  # trials that go on: which of them is the best, an early rung cannot tell


class Entry(NamedTuple):
    """A trial of a batch, and what it means: the table that it wants, and how it trains."""

    row: Row
    table: CachedFeatures
    task: Experiment


def rungs_of(epochs: int, halving: int) -> list[int]:
    """After how many epochs trials are judged: a tenth of all, then twice as many from rung to rung, and at last all.

    Heads go on training where they were judged, so that a rung costs little, and rungs may stand closer than the factor
    by which trials become fewer. Raises ValueError for a `halving` of 1 or below 0; 0 has one rung: all go on.
    """
    if halving < 0 or halving == 1:
        raise ValueError(f"--halving must be 2 or more, or 0 for none; got {halving}")
    rungs = []
    rung = max(LEAST, epochs // 10)
    while halving and 2 * rung <= epochs:
        rungs.append(rung)
        rung *= 2
    return [*rungs, epochs]


class Race:
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
        ended: Callable[[Row], None],
    ) -> None:
        self.study, self.entries, self.folds = study, {entry.row.index: entry for entry in entries}, folds
        self.rungs, self.halving, self.metric, self.engine, self.ended = rungs, halving, metric, engine, ended
        self.runners: dict[int, list[Runner]] = defaultdict(list)  # who trains the heads of a trial
        self.errors: dict[int, ValueError] = {}
        self.leaving: list[int] = []
        self.over = {entry.row.index for entry in entries if entry.row.state != "running"}
        self.plans: list[Plan] = []

    def run(self) -> None:
        """Train, judge and store, until every trial has ended."""
        runners = list(self.entries)
        for rung in self.rungs:
            self._reach(rung, [index for index in runners if rung not in self.entries[index].row.values])
            last = rung == self.rungs[-1]
            there = [index for index in runners if rung in self.entries[index].row.values]
            there.sort(key=lambda index: (-self.entries[index].row.values[rung], index))
            everyone = last or not self.halving
            kept = len(there) if everyone else max(FEWEST, -(-len(there) // self.halving))
            runners, self.leaving = there[:kept], there[kept:]
        self._prune()
        for index in runners:
            self._end(index, "complete")

    def _reach(self, rung: int, indices: Sequence[int]) -> None:
        """Train these trials to a rung and store their values there."""
        indices = [index for index in indices if index not in self.over]
        waiting: dict[tuple[int, int], dict[int, Said]] = defaultdict(dict)  # of a trial on a fold, by member
        metrics: dict[int, dict[int, dict[str, float]]] = defaultdict(dict)  # of a trial, by fold
        seconds: dict[int, float] = defaultdict(float)
        work = self._work(indices)
        threads = max((plan.threads for plan in self.plans), default=1)
        with closing(self.engine.reach(work, rung, threads=threads)) as chunks:
            for index, job, found in chain.from_iterable(chunks):
                self._prune()
                if isinstance(found, ValueError):
                    self.errors[index] = found
                    continue
                seconds[index] += found.seconds
                entry, mine = self.entries[index], waiting[index, job.fold]
                mine[job.member] = found
                if len(mine) < entry.task.config.ensemble_size:
                    continue
                logits = log_mean([said for member in sorted(mine) for said in mine[member].logits])
                truth = entry.table.targets()[self.folds[job.fold].test]
                metrics[index][job.fold] = score(truth, logits.argmax(1), entry.table.classes)
                if len(metrics[index]) == len(self.folds):
                    self._store(index, rung, [mean for _, mean in sorted(metrics[index].items())], seconds[index])
        self._prune()
        for index in indices:
            if index in self.errors:
                self._end(index, "fail", str(self.errors[index]))

    def _prune(self) -> None:
        """Store that the trials which fell behind at the last rung have ended; those that train do not wait for it."""
        for index in self.leaving:
            self._end(index, "pruned")
        self.leaving = []

    def _store(self, index: int, rung: int, metrics: Sequence[dict[str, float]], seconds: float) -> None:
        """Keep a trial's mean over the folds."""
        mean = {name: sum(one[name] for one in metrics) / len(metrics) for name in METRICS}
        entry = self.entries[index]
        heads = len(self.folds) * entry.task.config.ensemble_size
        costs = {"seconds": seconds / heads, "extract_seconds": entry.table.extract_seconds}
        self.study.report(entry.row, rung, mean[self.metric], {"metrics": mean} | costs)

    def _end(self, index: int, state: Literal["complete", "pruned", "fail"], error: str = "") -> None:
        if index in self.over:
            return
        self.over.add(index)
        for runner in self.runners.pop(index, []):
            runner.forget(index)
        row = self.entries[index].row
        self.study.end(row, state, error)
        self.ended(row)

    def _work(self, indices: Sequence[int]) -> list[Work]:
        """Who has to run for these trials: those that have run before, and new ones for what has not."""
        work = []
        tables = {id(self.entries[index].table): self.entries[index].table for index in indices}
        for name, table in tables.items():
            own = [index for index in indices if id(self.entries[index].table) == name]
            fresh = [index for index in own if index not in self.runners]
            tasks = [self.entries[index].task for index in fresh]
            plan = plan_chunks(table, self.folds, tasks, device=self.engine.device, threads=self.engine.threads)
            self.plans.append(plan)
            for chunk in plan.chunks:
                runner = Runner(self.folds, [(fresh[job.experiment], tasks[job.experiment], job) for job in chunk])
                for index in {fresh[job.experiment] for job in chunk}:
                    self.runners[index].append(runner)
            runners = self.engine.regroup(
                list(dict.fromkeys(runner for index in own for runner in self.runners[index])), set(own)
            )
            for index in own:
                self.runners[index] = [runner for runner in runners if index in runner.trials]
            work += [Work(runner, set(own), table) for runner in runners]
        return work
