"""The result of a sweep: the winner, its metrics on rows that no choice has seen, the leaderboard, the baselines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from ...features.csv_text import to_csv
from ...features.text_table import Part, Report, Table
from ..config.ensemble_config import GREEDY
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..metrics.tables import SWEEP_METRICS, mean_sd, metric_title
from ..runs.results import WINNER
from .ensemble import Ensemble
from .leaderboard_tables import best_trials, pivot
from .study import TrialRow

FORMAT = 1  # of sweep.json
COLUMNS = ("outer_fold", "rank", "trial", "state", "epochs", "value", "extract_seconds", "head_seconds")


@dataclass(frozen=True)
class Choice:
    """The winner of one outer fold: its settings, its mean metrics on the inner folds, and those on the outer rows."""

    index: int
    image: tuple[str, ...]
    text: tuple[str, ...]
    head: HeadConfig
    training: TrainConfig
    inner: dict[str, float]
    outer: dict[str, float]

    def config(self) -> dict[str, Any]:
        """Everything that trains it again, for JSON."""
        head = asdict(self.head) | {"options": dict(self.head.options)}
        return {"image": list(self.image), "text": list(self.text), "head": head, "training": asdict(self.training)}

    def to_dict(self, metrics: dict[str, float]) -> dict[str, Any]:
        """The winner with some of its metrics, for JSON."""
        return {"trial": self.index, "config": self.config(), "metrics": metrics}


@dataclass(frozen=True)
class SweepResult(Report):
    """A finished sweep. `choices` and `rows` have one entry per outer fold; metrics in 0..1, seconds of wall time."""

    path: Path
    choices: list[Choice]
    outer: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, dict[str, float]]]
    rows: list[list[TrialRow]]
    metric: str
    study: str
    plan: str
    seconds: float
    ensemble: Ensemble | None = None
    posts: Sequence[str] = ("POSTS",)  # as they are given on the command line, with how they are read

    @property
    def best(self) -> Choice:
        """The winner; of several outer folds, the one whose inner folds were scored best."""
        return max(self.choices, key=lambda choice: choice.inner[self.metric])

    @property
    def trials(self) -> int:
        """Trials in all, over all outer folds."""
        return sum(map(len, self.rows))

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        per_fold = [choice.to_dict(choice.outer) for choice in self.choices]
        return {
            "run": str(self.path),
            "best": self.best.to_dict(self.best.inner),
            "outer": {"metrics": self.outer, "per_fold": per_fold},
            "baselines": self.baselines,
            "trials": self.trials,
            "study": self.study,
            "plan": self.plan,
            "seconds": self.seconds,
            "leaderboard": leaderboard(self.rows),
        } | ({"ensemble": self.ensemble.to_dict()} if self.ensemble else {})

    def parts(self) -> list[Part]:
        """The tables that the command prints, and where to go on."""
        rows = self.rows[self.choices.index(self.best)]
        metric, chosen = (
            metric_title(self.metric),
            "" if len(self.choices) == 1 else f", by {len(self.choices)} outer folds",
        )
        grid = pivot(rows, f"{metric} on the inner folds")
        inner = ", ".join(f"{metric_title(name)} {self.best.inner[name]:.3f}" for name in SWEEP_METRICS)
        joined = self.ensemble
        outer = {WINNER: self.outer} | ({GREEDY: joined.evaluation.metrics} if joined else {}) | self.baselines
        lines = [[name, *(mean_sd(metrics[one]) for one in SWEEP_METRICS)] for name, metrics in outer.items()]
        header = ["", *map(metric_title, SWEEP_METRICS)]
        return [
            *([grid] if grid else []),
            best_trials(rows, metric),
            Table(header, lines, "Outer scores: of rows that took no part in the choice", [0]),
            f"trial {self.best.index} was chosen{chosen}, by its inner scores ({inner}), which are too high for having "
            "been chosen; its outer scores are not",
            *(joined.parts(self.choices.index(self.best)) if joined else []),
            f"{self.trials} trials, {self.seconds:.1f} s; {self.plan}\nrun folder: {self.path}\n"
            f"again: {shlex.join(['msa', 'train-head', *self.posts, '--from', f'{self.path}#best'])}",
        ]


def leaderboard(rows: Sequence[Sequence[TrialRow]]) -> list[dict[str, Any]]:
    """The trials of each outer fold, best first (`TrialRow.order`).

    `extract_seconds` is what the features of all posts took one process, None where the cache does not know;
    `head_seconds` is what one head of one fold took to train.
    """
    return [
        {
            "outer_fold": fold,
            "rank": rank,
            "trial": row.index,
            "state": row.state,
            "epochs": row.epochs or None,
            "value": row.value,
            "rungs": row.values,
            "extract_seconds": row.notes.get("extract_seconds"),
            "head_seconds": row.notes.get("seconds"),
            "metrics": row.notes.get("metrics"),
            "losses": row.notes.get("losses"),
            "error": row.notes.get("error"),
            "point": row.point,
        }
        for fold, trials in enumerate(rows)
        for rank, row in enumerate(sorted(trials, key=attrgetter("order")), 1)
    ]


def leaderboard_csv(rows: Sequence[Sequence[TrialRow]]) -> str:
    """The leaderboard as CSV: a column per setting that was varied."""
    lines = leaderboard(rows)
    names = _varied(lines)
    body = [[*(line[name] for name in COLUMNS), *(line["point"].get(name, "") for name in names)] for line in lines]
    return to_csv([*COLUMNS, *names], body)


def _varied(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The settings that were varied, in their order."""
    return list(dict.fromkeys(name for line in lines for name in line["point"]))
