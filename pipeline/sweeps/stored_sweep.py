"""A finished sweep as its folder stores it: the space, the trials of the outer fold that chose the winner, a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FixedTrial, create_trial

from ...features.store.json_files import malformed
from ..metrics.scores import Summary
from .replay import REMEDY, SWEEP, read_sweep
from .space import Point, Space, stored_space
from .study import suggest


@dataclass(frozen=True)
class StoredTrial:
    """A line of the leaderboard: `values` are the metric at each rung, by epochs; `losses` by rows and epoch."""

    index: int
    state: str
    point: Point
    values: dict[int, float]
    losses: dict[str, list[float]]
    head_seconds: float | None
    extract_seconds: float | None

    @property
    def epochs(self) -> int:
        """The epochs that it trained for; 0 for a trial that failed."""
        return max(self.values, default=0)

    @property
    def value(self) -> float:
        """The metric there."""
        return self.values[self.epochs]


@dataclass(frozen=True)
class StoredSweep:
    """A sweep: `trials` that did not fail, best first, and how many `failed`.

    `outer` and `baselines` are the metrics of the winner, and of the baselines, on rows that no choice has seen.
    `members` are the weights of a greedy ensemble by trial, `ensemble` its metrics on those rows; empty without one.
    """

    space: Space
    fusion: str
    metric: str
    folds: int
    outer_folds: int
    trials: list[StoredTrial]
    failed: int
    outer: Summary
    baselines: dict[str, Summary]
    seconds: float
    members: dict[int, float]
    ensemble: Summary

    @property
    def varied(self) -> list[str]:
        """The settings of which the trials have more than one value."""
        names = dict.fromkeys(name for trial in self.trials for name in trial.point)
        return [name for name in names if len({repr(one.point[name]) for one in self.trials if name in one.point}) > 1]

    @property
    def compared(self) -> int:
        """The most epochs that every trial trained for."""
        return max(set.intersection(*(set(trial.values) for trial in self.trials)))

    def study(self) -> optuna.Study:
        """The trials in Optuna's memory, with their values after as many epochs as every trial trained for."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize")
        for trial in sorted(self.trials, key=lambda one: one.index):
            params, distributions = suggest(FixedTrial(dict(trial.point)), self.space, self.fusion)
            study.add_trial(create_trial(params=params, distributions=distributions, value=trial.values[self.compared]))
        return study


def open_sweep(folder: Path) -> StoredSweep:
    """Read sweep.json. Raises ValueError for a damaged file, one of another format, or an unfinished sweep."""
    file = folder / "sweep.json"
    stored = read_sweep(file)
    if not stored.get("finished"):
        raise ValueError(f"{folder} is a sweep that is not finished; call msa sweep again to go on")
    with malformed(file, SWEEP, REMEDY):
        metric, lines = stored["search"]["metric"], stored["leaderboard"]
        winners = {one["outer_fold"]: one["metrics"][metric] for one in lines if one["rank"] == 1}
        chosen = max(winners, key=lambda fold: winners[fold])
        own = [line for line in lines if line["outer_fold"] == chosen]
        ensemble = stored.get("ensemble")
        members = ensemble["members"][chosen] if ensemble else []
        return StoredSweep(
            stored_space(stored["space"]),
            str(stored["head"]["fusion"]),
            metric,
            int(stored["search"]["inner"]),
            len(winners),
            [_trial(line) for line in own if line["state"] != "fail"],
            sum(line["state"] == "fail" for line in own),
            stored["outer"]["metrics"],
            stored["baselines"],
            float(stored["seconds"]),
            {int(one["trial"]): float(one["weight"]) for one in members},
            ensemble["metrics"] if ensemble else {},
        )


def _trial(line: Mapping[str, Any]) -> StoredTrial:
    values = {int(epochs): float(value) for epochs, value in line["rungs"].items()}
    costs = line["head_seconds"], line["extract_seconds"]
    return StoredTrial(line["trial"], line["state"], line["point"], values, line.get("losses") or {}, *costs)
