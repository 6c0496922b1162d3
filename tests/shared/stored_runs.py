"""Run folders with results alone, as `msa table` reads them: metrics, split, predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from msa.features.csv_text import to_csv
from msa.pipeline.metrics.scores import confusion, per_class, score, summarise
from msa.pipeline.metrics.statistics import bootstrap
from msa.pipeline.runs.results import Calibration, Evaluation

CLASSES = ("neg", "pos")


def store_run(
    path: Path,
    folds: Sequence[Mapping[str, tuple[str, str]]],
    *,
    repeats: Sequence[int] = (),
    contents: Mapping[str, str] = {},
    baselines: Mapping[str, Any] = {},
    predicted: Mapping[str, Sequence[int]] = {},
    groups: Mapping[str, int] = {},
) -> Path:
    """Write a run; each fold has the true and the predicted label of its test rows by id.

    The other posts of a fold's repeat are its training rows. `contents` are the texts' content keys that differ from
    the id. `baselines` are metrics of baselines, `predicted` the numbers of the posts that each of them gets wrong.
    """
    repeats = repeats or [0] * len(folds)
    pairs = [np.array([[CLASSES.index(one) for one in pair] for pair in fold.values()]) for fold in folds]
    whole = np.concatenate([one for one, repeat in zip(pairs, repeats, strict=True) if repeat == 0])
    per_fold = [score(one[:, 0], one[:, 1], CLASSES) for one in pairs]
    rows = np.arange(len(whole))
    intervals = bootstrap(rows, whole[:, 0], whole[None, :, 1], classes=len(CLASSES), draws=50)
    evaluation = Evaluation(
        fusion="gated",
        metrics=summarise(per_fold),
        baselines=dict(baselines),
        per_fold=per_fold,
        intervals=intervals,
        calibration=Calibration(0.1, 0.1, 1.0, 1.0, [1.0] * len(folds), [], []),
        tests={},
        best_single=None,
        per_class=per_class(whole[:, 0], whole[:, 1], CLASSES),
        confusion=confusion(whole[:, 0], whole[:, 1], CLASSES).tolist(),
        one_class=[],
        rows=len(whole),
        folds=len(folds),
        repeats=max(repeats) + 1,
        baseline_intervals=dict.fromkeys(predicted, intervals),
    )
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
        "groups": {name: number for number, name in enumerate(sorted(ids))} | dict(groups),
    }
    lines = [
        [name, repeat, number, *labels, *(float(one == labels[1]) for one in CLASSES)]
        for number, (fold, repeat) in enumerate(zip(folds, repeats, strict=True))
        for name, labels in fold.items()
    ]
    path.mkdir(parents=True)
    config = {"head": {}, "training": {}, "encoders": {}, "classes": CLASSES}
    (path / "config.json").write_text(json.dumps(config))
    (path / "metrics.json").write_text(json.dumps(asdict(evaluation)))
    (path / "history.csv").write_text("epoch,train_loss,valid_loss\n1,1.0,1.0\n")
    (path / "split.json").write_text(json.dumps(split))
    own = ["id", "repeat", "fold", "label"]
    (path / "predictions.csv").write_text(to_csv([*own, "predicted", *CLASSES], lines), encoding="utf-8")
    if predicted:
        other = dict(zip(CLASSES, CLASSES[::-1], strict=True))
        right = [line[:4] for line in lines]
        wrong = {name: {f"p{number}" for number in numbers} for name, numbers in predicted.items()}
        lines = [[*one, *(other[one[3]] if one[0] in wrong[name] else one[3] for name in wrong)] for one in right]
        (path / "baselines.csv").write_text(to_csv([*own, *wrong], lines), encoding="utf-8")
    return path


def answers(first: int, last: int, *, wrong: Sequence[int] = (), every: int = 2) -> dict[str, tuple[str, str]]:
    """Labels of the posts `first` to `last`, every so many of them `pos`; all are predicted rightly but for `wrong`."""
    truth = {number: CLASSES[number % every == 0] for number in range(first, last)}
    other = dict(zip(CLASSES, CLASSES[::-1], strict=True))
    return {f"p{number}": (label, other[label] if number in wrong else label) for number, label in truth.items()}
