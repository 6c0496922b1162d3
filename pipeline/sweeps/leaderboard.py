"""The result of a sweep: the winner, its metrics on rows that no choice has seen, the leaderboard, the baselines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from ...features.csv_text import to_csv
from ...features.text_table import table
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..metrics.tables import SWEEP_METRICS, mean_sd
from .study import TrialRow

FORMAT = 1  # of sweep.json
SHOWN = 10  # trials in the printed leaderboard
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
class SweepResult:
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
        }

    def to_text(self) -> str:
        """The tables that the command prints."""
        lines = leaderboard([self.rows[self.choices.index(self.best)]])[:SHOWN]
        names = _varied(lines)
        header = ["trial", self.metric.replace("_", " "), "extract s", "head s", *names]
        cells = [
            [
                str(line["trial"]),
                _rounded(line["value"], 3) if line["value"] is not None else line["state"],
                _rounded(line["extract_seconds"], 1),
                _rounded(line["head_seconds"], 2),
                *(_short(line["point"].get(name, "")) for name in names),
            ]
            for line in lines
        ]
        systems = {"winner, outer": self.outer} | self.baselines
        scores = [[name, *(mean_sd(metrics[one]) for one in SWEEP_METRICS)] for name, metrics in systems.items()]
        inner = ", ".join(f"{name.replace('_', ' ')} {self.best.inner[name]:.3f}" for name in SWEEP_METRICS)
        chosen = "" if len(self.choices) == 1 else f", by {len(self.choices)} outer folds"
        return (
            f"{table(header, cells)}\n\n{table(['', *(name.replace('_', ' ') for name in SWEEP_METRICS)], scores)}\n\n"
            f"trial {self.best.index} was chosen{chosen} (inner folds: {inner})\n"
            f"{self.trials} trials, {self.seconds:.1f} s; {self.plan}\n"
            f"again: {shlex.join(['msa', 'train-head', *self.posts, '--from', f'{self.path}#best'])}"
        )


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


def _rounded(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
