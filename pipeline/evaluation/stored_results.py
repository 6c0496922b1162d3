"""The results of a stored run, read without its heads and features: metrics, folds, predictions of the test rows."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...features.csv_text import read_cell
from ...features.store.json_files import malformed, read_json
from ..data.split import Content
from ..metrics.scores import METRICS, Summary
from ..metrics.statistics import Interval
from ..metrics.tables import scored_text
from .comparison import Comparison

REMEDY = "train again"
KNOWN = {
    **{"metrics": dict, "baselines": dict, "intervals": dict, "tests": dict, "per_class": list},
    **{"rows": int, "folds": int, "repeats": int},
}


@dataclass(frozen=True)
class StoredFold:
    """The ids of one fold: those of its training and validation rows, and those of its test rows."""

    repeat: int
    rest: frozenset[str]
    test: frozenset[str]


@dataclass(frozen=True)
class StoredResults:
    """What a run measured; `support` counts its test rows by true class, `contents` has the content keys by id."""

    path: Path
    metrics: Summary
    baselines: dict[str, Summary]
    intervals: dict[str, Interval]
    tests: dict[str, Comparison]  # by baseline
    support: dict[str, int]
    rows: int
    scored: str
    folds: list[StoredFold]
    contents: dict[str, Content]

    @property
    def single_split(self) -> bool:
        return len(self.folds) == 1

    @cached_property
    def tested(self) -> tuple[frozenset[object], frozenset[object]]:
        """What was tested, equal for runs whose metrics may be compared: posts with their content, support by class."""
        names = frozenset().union(*(fold.test for fold in self.folds))
        return frozenset((name, self.contents.get(name)) for name in names), frozenset(self.support.items())

    @cached_property
    def predictions(self) -> list[dict[str, tuple[str, str]]]:
        """The true and the predicted label of each test row by its id, repeat after repeat.

        Raises ValueError where the rows are not those of the run's split, or a label is none of its classes.
        """
        file = self.path / "predictions.csv"
        stored = read_predictions(file)
        found: list[dict[str, tuple[str, str]]] = [{} for _ in range(max(fold.repeat for fold in self.folds) + 1)]
        for (number, name), labels in stored.items():
            if number < len(self.folds) and name in self.folds[number].test and self.support.keys() >= {*labels}:
                found[self.folds[number].repeat][name] = labels
        wanted = sum(len(fold.test) for fold in self.folds)
        if not wanted == len(stored) == sum(map(len, found)):
            raise ValueError(f"{file}: its {len(stored)} rows are not the {wanted} test rows of the run; {REMEDY}")
        return found


def read_results(path: Path) -> StoredResults:
    """Read the results of a run folder. Raises ValueError where a file is absent or damaged."""
    file, what = path / "metrics.json", "a run's metrics"
    stored = read_json(file, what, REMEDY, **KNOWN)
    with malformed(file, what, REMEDY):
        metrics = _summary(stored["metrics"])
        baselines = {name: _summary(one) for name, one in stored["baselines"].items()}
        intervals = {name: Interval(**one) for name, one in stored["intervals"].items()}
        tests = {name: Comparison(**one) for name, one in stored["tests"].items()}
        support = {str(one["label"]): int(one["support"]) for one in stored["per_class"]}
        scored = scored_text(stored["rows"], stored["folds"], stored["repeats"])
    file, what = path / "split.json", "a run's split"
    split = read_json(file, what, REMEDY, folds=list, contents=dict)
    with malformed(file, what, REMEDY):
        folds = [
            StoredFold(int(fold["repeat"]), frozenset([*fold["train"], *fold["valid"]]), frozenset(fold["test"]))
            for fold in split["folds"]
        ]
        contents: dict[str, Content] = {name: (image, text) for name, (image, text) in split["contents"].items()}
        if len(folds) != stored["folds"]:
            raise ValueError(f"it has {len(folds)} folds, the metrics have {stored['folds']}")
    return StoredResults(path, metrics, baselines, intervals, tests, support, stored["rows"], scored, folds, contents)


def read_predictions(file: Path) -> dict[tuple[int, str], tuple[str, str]]:
    """The true and the predicted label of each row of a run's predictions.csv, by fold and id."""
    with malformed(file, "a run's predictions", REMEDY), file.open(encoding="utf-8", newline="") as opened:
        header, *lines = csv.reader(opened)
        fold, name, label, predicted = map(header.index, ("fold", "id", "label", "predicted"))
        return {
            (int(line[fold]), read_cell(line[name])): (read_cell(line[label]), read_cell(line[predicted]))
            for line in lines
        }


def _summary(stored: Summary) -> Summary:
    return {name: {part: float(stored[name][part]) for part in ("mean", "std")} for name in METRICS}
