"""The result of a sweep: the winner, its metrics on rows that no choice has seen, the leaderboard, the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...features.text_table import table
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..metrics.tables import SWEEP_METRICS, mean_sd
from ..runs.runs import to_csv
from .study import Row

FORMAT = 1  # of sweep.json
SHOWN = 10  # trials in the printed leaderboard


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


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep. `choices` and `rows` have one entry per outer fold; metrics in 0..1, seconds of wall time."""

    path: Path
    choices: list[Choice]
    outer: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, dict[str, float]]]
    rows: list[list[Row]]
    metric: str
    study: str
    plan: str
    seconds: float

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
        best = self.best
        return {
            "run": str(self.path),
            "best": {"trial": best.index, "config": best.config(), "metrics": best.inner},
            "outer": {
                "metrics": self.outer,
                "per_fold": [
                    {"trial": choice.index, "config": choice.config(), "metrics": choice.outer}
                    for choice in self.choices
                ],
            },
            "baselines": self.baselines,
            "trials": self.trials,
            "study": self.study,
            "plan": self.plan,
            "seconds": self.seconds,
            "leaderboard": self.leaderboard(),
        }

    def leaderboard(self) -> list[dict[str, Any]]:
        """Every trial, best first."""
        return [line for number, rows in enumerate(self.rows) for line in leaderboard(rows, number)]

    def to_text(self) -> str:
        """The tables that the command prints."""
        lines = leaderboard(self.rows[self.choices.index(self.best)], 0)[:SHOWN]
        names = list(dict.fromkeys(name for line in lines for name in line["point"]))
        header = ["trial", self.metric.replace("_", " "), "extract s", "head s", *names]
        cells = [
            [
                str(line["trial"]),
                f"{line['value']:.3f}" if line["value"] is not None else line["state"],
                _seconds(line["extract_seconds"], 1),
                _seconds(line["head_seconds"], 2),
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
            f"again: msa train-head --from {self.path}#best"
        )


def leaderboard(rows: Sequence[Row], fold: int) -> list[dict[str, Any]]:
    """The trials of one outer fold, best first: those that trained longest before those that were left behind.

    `extract_seconds` is what the features of all posts took one process, None where the cache does not know;
    `head_seconds` is what one head of one fold took to train.
    """

    def rank(row: Row) -> tuple[float, float, int]:
        return (-max(row.values, default=0), -row.values[max(row.values)] if row.values else 0.0, row.index)

    return [
        {
            "outer_fold": fold,
            "rank": number,
            "trial": row.index,
            "state": row.state,
            "epochs": max(row.values, default=None),
            "value": row.values[max(row.values)] if row.values else None,
            "rungs": row.values,
            "extract_seconds": row.notes.get("extract_seconds"),
            "head_seconds": row.notes.get("seconds"),
            "metrics": row.notes.get("metrics"),
            "error": row.notes.get("error"),
            "point": row.point,
        }
        for number, row in enumerate(sorted(rows, key=lambda row: (row.state == "fail", *rank(row))), 1)
    ]


def leaderboard_csv(rows: Sequence[Sequence[Row]]) -> str:
    """The leaderboard of every outer fold as CSV: a column per setting that was varied."""
    lines = [line for number, fold in enumerate(rows) for line in leaderboard(fold, number)]
    names = list(dict.fromkeys(name for line in lines for name in line["point"]))
    plain = ["outer_fold", "rank", "trial", "state", "epochs", "value", "extract_seconds", "head_seconds"]
    body = [[*(line[name] for name in plain), *(line["point"].get(name, "") for name in names)] for line in lines]
    return to_csv([*plain, *names], body)


def _seconds(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
