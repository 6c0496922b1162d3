"""What a sweep reports while it runs: the epochs of all its heads, the trials, the rung, and the best value so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...features.progress import detail, stage, step
from ..metrics.tables import metric_title
from ..tracking.events import Point, log
from .study import Study, TrialRow

FEWEST = 3  # trials that go on: which of them is the best, an early rung cannot tell
Done = Callable[[str, int, int], None]


def survivors(trials: int, halving: int) -> int:
    """How many of these trials go on to the next rung."""
    return min(trials, max(FEWEST, -(-trials // halving))) if halving else trials


def head_epochs(trials: int, rungs: Sequence[int], halving: int) -> int:
    """The epochs that a batch of trials of one head each trains in all."""
    total = before = 0
    for rung in rungs:
        total += trials * (rung - before)
        trials, before = survivors(trials, halving), rung
    return total


class SweepProgress:
    """The progress of one outer fold's study, whose trials have so many `heads` each.

    The time left follows from the epochs that its heads have still to train, since trials end in bunches. `done` is
    called with a name, the number of trials that have ended, and that of all.
    """

    def __init__(self, study: Study, rungs: Sequence[int], heads: int, *, fold: tuple[int, int], done: Done) -> None:
        self.search, self.rungs, self.heads, self.tell = study.search, list(rungs), heads, done
        self.name = f"fold {fold[0] + 1}"
        rows = study.rows()
        self.ended = sum(row.state != "running" for row in rows)
        size, trials = study.search.batch, study.search.trials
        sizes = [min(size, trials - start) for start in range(0, trials, size)]
        self.total = heads * sum(head_epochs(one, rungs, study.search.halving) for one in sizes)
        self.epochs = self.total * self.ended // trials
        self.best: tuple[int, float, int] | None = None  # the rung, the value there, the trial
        self.rung = 0
        for row in rows:
            self._improve(row)
        stage("searching" if fold[1] == 1 else f"searching, outer fold {fold[0] + 1} of {fold[1]}")
        self._show()
        done(self.name, self.ended, trials)

    def begin_rung(self, rung: int) -> None:
        """Heads now train to this epoch."""
        self.rung = rung
        self._show()

    def trained(self, heads: int) -> None:
        """So many heads have reached the rung."""
        at = self.rungs.index(self.rung)
        before = self.rungs[at - 1] if at else 0
        self.epochs = min(self.total, self.epochs + heads * (self.rung - before))
        self._show()

    def scored(self, row: TrialRow) -> None:
        """A trial has a value at the rung."""
        if row.value is not None:
            log(Point(f"{self.name}/trial-{row.index}", row.epochs, {f"inner_{self.search.metric}": row.value}))
        self._improve(row)
        self._show()

    def end(self) -> None:
        """A trial has ended."""
        self.ended += 1
        self._show()
        self.tell(self.name, min(self.ended, self.search.trials), self.search.trials)

    def _improve(self, row: TrialRow) -> None:
        if row.value is not None:
            self.best = max(self.best or (0, 0.0, 0), (row.epochs, row.value, row.index))

    def _show(self) -> None:
        step("head-epochs", self.epochs, self.total, "epochs")
        parts = [f"{self.ended}/{self.search.trials} trials ended"]
        if self.rung:
            parts.append(f"rung {self.rungs.index(self.rung) + 1}/{len(self.rungs)} (epoch {self.rung})")
        if self.best:
            parts.append(f"best: trial {self.best[2]}, {metric_title(self.search.metric)} {self.best[1]:.3f}")
        detail(" · ".join(parts))
