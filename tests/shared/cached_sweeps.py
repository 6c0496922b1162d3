"""Small sweeps over cached posts, for tests of engines."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import optuna
from cached_posts import stage

from msa.features.posts.samples import Corpus
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.search_config import Search
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.sweeps.leaderboard import SweepResult
from msa.pipeline.sweeps.space import read_space
from msa.pipeline.sweeps.sweep import sweep

TO_THE_END = TrainConfig(epochs=8, batch_size=16, lr=1e-2, patience=0)
CONCAT = HeadConfig("concat", hidden=8, dropout=0.1)


def search(corpus: Corpus, runs: Path, how: Search, **more: Any) -> SweepResult:
    """Sweep two heads and three of their settings over posts of `cached_posts`."""
    space = read_space(["lr=1e-4..1e-1", "hidden=4,8", "dropout=0.0..0.5"], fusion="concat,gated", file=None)
    return sweep(corpus, stage(corpus, folds=None), space, CONCAT, TO_THE_END, how, runs=runs, **more)


def outcome(found: SweepResult) -> Any:
    """A sweep without its costs: every trial, and the winner of each outer fold with its metrics."""
    trials = [(r.index, r.point, r.state, r.values, r.notes["metrics"]) for rows in found.rows for r in rows]
    return trials, [choice.config() for choice in found.choices], found.outer


def without_times(found: SweepResult) -> Any:
    """All that a sweep wrote, leaderboard, description and study, but for times and the place of the folder."""
    times = ("seconds", "head_seconds", "made", "cache")
    board = list(csv.DictReader((found.path / "leaderboard.csv").read_text().splitlines()))
    described = json.loads((found.path / "sweep.json").read_text())
    rows = [*board, *described["leaderboard"]]
    trials = [
        (trial.number, trial.params, trial.state, trial.values, trial.intermediate_values, trial.user_attrs)
        for study in optuna.get_all_study_names(found.study)
        for trial in optuna.load_study(study_name=study, storage=found.study).trials
    ]
    for one in [*rows, described, *(attributes.get("notes", {}) for *_, attributes in trials)]:
        for name in times:
            one.pop(name, None)
    return board, described, trials
