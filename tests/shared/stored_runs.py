"""Run folders with results alone, as `msa table` reads them: metrics, split, predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from msa.features.csv_text import to_csv
from msa.pipeline.metrics.scores import per_class, score, summarise
from msa.pipeline.metrics.statistics import bootstrap

CLASSES = ("neg", "pos")


def store_run(
    path: Path,
    folds: Sequence[Mapping[str, tuple[str, str]]],
    *,
    repeats: Sequence[int] = (),
    contents: Mapping[str, str] = {},
    baselines: Mapping[str, Any] = {},
    tests: Mapping[str, Any] = {},
) -> Path:
    """Write a run; each fold has the true and the predicted label of its test rows by id.

    The other posts of a fold's repeat are its training rows. `contents` are the texts' content keys that differ from
    the id.
    """
    repeats = repeats or [0] * len(folds)
    pairs = [np.array([[CLASSES.index(one) for one in pair] for pair in fold.values()]) for fold in folds]
    whole = np.concatenate([one for one, repeat in zip(pairs, repeats, strict=True) if repeat == 0])
    per_fold = [score(one[:, 0], one[:, 1], CLASSES) for one in pairs]
    groups = np.arange(len(whole))
    intervals = bootstrap(groups, whole[:, 0], whole[None, :, 1], classes=len(CLASSES), draws=50)
    metrics = {
        "metrics": summarise(per_fold),
        "baselines": dict(baselines),
        "intervals": {name: asdict(one) for name, one in intervals.items()},
        "tests": dict(tests),
        "per_class": per_class(whole[:, 0], whole[:, 1], CLASSES),
        **{"rows": len(whole), "folds": len(folds), "repeats": max(repeats) + 1},
    }
    ids = {name for fold in folds for name in fold}
    split = {
        "folds": [
            {
                "train": sorted({n for f, r in zip(folds, repeats, strict=True) if r == repeat for n in f} - {*fold}),
                **{"valid": [], "test": list(fold), "repeat": repeat},
            }
            for fold, repeat in zip(folds, repeats, strict=True)
        ],
        "contents": {name: [None, contents.get(name, name)] for name in ids},
    }
    lines = [
        [name, repeat, number, *labels]
        for number, (fold, repeat) in enumerate(zip(folds, repeats, strict=True))
        for name, labels in fold.items()
    ]
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "metrics.json").write_text(json.dumps(metrics))
    (path / "split.json").write_text(json.dumps(split))
    (path / "predictions.csv").write_text(to_csv(["id", "repeat", "fold", "label", "predicted"], lines))
    return path


def answers(first: int, last: int, *, wrong: Sequence[int] = (), every: int = 2) -> dict[str, tuple[str, str]]:
    """Labels of the posts `first` to `last`, every so many of them `pos`; all are predicted rightly but for `wrong`."""
    truth = {number: CLASSES[number % every == 0] for number in range(first, last)}
    other = dict(zip(CLASSES, CLASSES[::-1], strict=True))
    return {f"p{number}": (label, other[label] if number in wrong else label) for number, label in truth.items()}
