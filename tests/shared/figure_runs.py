"""Stored runs made of given numbers, for tests of figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from msa.pipeline.metrics.scores import METRICS, Summary, confusion, per_class
from msa.pipeline.metrics.statistics import Bin, Interval
from msa.pipeline.runs.results import Calibration, Comparison, Evaluation
from msa.pipeline.runs.stored_run import Predictions, StoredFold, StoredRun, StoredSplit

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
PREDICTED = np.array([0, 0, 0, 1, 1, 1, 0, 2, 2, 1])
MADE: dict[str, Any] = {"command": "msa train-head posts", "version": "9.9", "date": "2030-01-02T03:04:05+00:00"}
MADE["data"] = {"name": "corpus", "digest": "0", "posts": 50}


def summary(value: float, std: float = 0.1) -> Summary:
    return {name: {"mean": value, "std": std} for name in METRICS}


def comparison(gap: float = 0.1) -> Comparison:
    both = {"accuracy": gap, "macro_f1": gap}
    return Comparison(both, {"accuracy": 0.04, "macro_f1": 0.5}, 0.03, 0.04, 5.0, 2.0)


def stored_run(name: str = "one", classes: Sequence[str] = ("a", "b", "c"), *, score: float = 0.7) -> StoredRun:
    """A run of two folds and ten test rows."""
    intervals = {one: Interval(score, score - 0.1, score + 0.1, 50) for one in ("accuracy", "macro_f1")}
    bins = [Bin(4, 0.5, 0.25), Bin(6, 0.9, 1.0)], [Bin(10, 0.7, 0.7)]
    evaluation = Evaluation(
        fusion="gated",
        metrics=summary(score),
        baselines={"majority": summary(0.4, 0.0), "linear": summary(0.6)},
        per_fold=[],
        intervals=intervals,
        calibration=Calibration(0.2, 0.1, 1.0, 0.9, [1.5, 1.5], *bins),
        tests={"linear": comparison()},
        best_single=None,
        per_class=per_class(TRUTH, PREDICTED, classes),
        confusion=confusion(TRUTH, PREDICTED, classes).tolist(),
        one_class=[],
        rows=10,
        folds=2,
        repeats=1,
    )
    probabilities = np.full((10, 3), 0.1) + 0.7 * np.eye(3)[PREDICTED]
    posts = [(f"p{number}", "0") for number in range(10)]
    ids = [name for name, _ in posts]
    halves = frozenset(ids[:5]), frozenset(ids[5:])
    folds = [StoredFold(0, rest, test) for rest, test in (halves, halves[::-1])]
    split = StoredSplit(folds, {name: (name, name) for name in ids}, {name: n for n, name in enumerate(ids)})
    config: dict[str, Any] = {
        "head": {"fusion": "gated", "hidden": 12},
        "training": {"epochs": 3},
        "encoders": {"image": [{"name": "images"}], "text": [{"name": "texts"}]},
    }
    return StoredRun(
        Path(name[:100]),
        name,
        datetime(2030, 1, 2),
        config=config,
        evaluation=evaluation,
        history=history([[1.0, 0.8, 0.6], [2.0, 1.0]]),
        split=split,
        batches=np.array([[0, 0, epoch, batch, 1 / (epoch + batch)] for epoch in (1, 2) for batch in (1, 2, 3)]),
        predictions=Predictions(tuple(classes), posts, TRUTH, PREDICTED, probabilities),
    )


def history(losses: Sequence[Sequence[float]]) -> list[dict[str, float]]:
    """Training losses of each fold's epochs; those of validation rows are one more."""
    return [
        {
            **{"fold": fold, "member": 0, "epoch": epoch, "train_loss": loss, "valid_loss": loss + 1},
            **{"train_macro_f1": 0.5, "valid_macro_f1": 0.4, "train_accuracy": 0.6, "valid_accuracy": 0.5},
        }
        for fold, line in enumerate(losses)
        for epoch, loss in enumerate(line, 1)
    ]
