"""Run folders read without their heads: evaluation, folds, history, predictions of test rows, ablation, curve."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...features.csv_text import read_cell
from ...features.regular_files import regular
from ...features.store.json_files import malformed, read_json
from ..data.split import Content
from ..metrics.scores import METRICS, ORDINAL_METRICS, Summary
from ..metrics.statistics import Bin, Interval
from .folders import CONFIG, find_run
from .results import AblationRow, Calibration, Comparison, CurvePoint, Evaluation
from .run_config import read_classes

SWEEP = "sweep.json"
REMEDY = "write it again with the command that made the folder"
COLUMNS = 5  # of predictions.csv before those of the classes: id, repeat, fold, label, predicted
BATCH = 5  # columns of batches.csv: fold, member, epoch, batch, loss
OWN = 4  # of baselines.csv before those of the baselines: id, repeat, fold, label
FILES = (CONFIG, "ablation.json", "curve.csv", SWEEP)  # a folder with one of them can be reported
NOTES = (CONFIG, "ablation.json", "curve.json", SWEEP)  # tell how they were made


class Predictions(NamedTuple):
    """Test rows: `posts` are id and repeat, `truth` and `predicted` (n,) classes, `probabilities` (n, K)."""

    classes: tuple[str, ...]
    posts: list[tuple[str, str]]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64]


class Ablation(NamedTuple):
    """Rows of an ablation, and the Shapley values of its modalities by fusion."""

    rows: list[AblationRow]
    shapley: dict[str, dict[str, Summary]]


class StoredFold(NamedTuple):
    """The ids of one fold: those of its training and validation rows, and those of its test rows."""

    repeat: int
    rest: frozenset[str]
    test: frozenset[str]


class StoredSplit(NamedTuple):
    """The folds of a run; content keys and duplicate group of each of its posts, by id."""

    folds: list[StoredFold]
    contents: dict[str, Content]
    groups: dict[str, int]


@dataclass(frozen=True)
class StoredRun:
    """What of these a run folder holds. `history` has one entry per fold, head and epoch: a number by column.

    `curve_of` is the first heading of curve.csv: `missing`, or `system` for a learning curve. `made` is as from
    `describe_made`, `baselines` have the classes that each baseline predicts for the rows of `predictions`, `batches`
    the numbers of batches.csv (n, 5); these are empty in runs of earlier versions. `sweep` is sweep.json as it stands.
    """

    path: Path
    name: str
    written: datetime
    config: dict[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    predictions: Predictions | None = None
    ablation: Ablation | None = None
    curve: list[CurvePoint] = field(default_factory=list)
    curve_of: str = ""
    made: dict[str, Any] = field(default_factory=dict)
    baselines: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    split: StoredSplit | None = None
    batches: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, BATCH)))
    sweep: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def tested(self) -> tuple[frozenset[object], frozenset[object]]:
        """What was tested, equal for runs whose metrics may be compared: posts with their content, support by class."""
        assert self.split, "only trained heads are tested"
        assert self.evaluation, "only trained heads are tested"
        names = frozenset().union(*(fold.test for fold in self.split.folds))
        support = frozenset((one["label"], one["support"]) for one in self.evaluation.per_class)
        return frozenset((name, self.split.contents.get(name)) for name in names), support


def read_runs(paths: Sequence[Path]) -> list[StoredRun]:
    """Read run folders, each once; of a folder of runs, the newest run. ValueError where one is missing or damaged."""
    folders = [path if any((path / file).is_file() for file in FILES) else find_run(path) for path in paths]
    folders = list({path.resolve(): path for path in folders}.values())
    short = [path.resolve().name for path in folders]
    return [
        read_run(path, name if short.count(name) == 1 else str(path)) for path, name in zip(folders, short, strict=True)
    ]


def read_run(path: Path, name: str = "") -> StoredRun:
    """Read one run folder, called `name` or as the folder. Raises ValueError where a file is missing or damaged."""
    newest = max((path / file).stat().st_mtime for file in FILES if (path / file).is_file())
    found: dict[str, Any] = {"path": path, "name": name or path.resolve().name}
    found |= {"written": datetime.fromtimestamp(newest), "made": _read_made(path)}
    if (path / CONFIG).is_file():
        kinds = {"head": dict, "training": dict, "encoders": dict, "classes": list}
        found["config"] = config = read_json(path / CONFIG, "a run's configuration", REMEDY, **kinds)
        with malformed(path / CONFIG, "a run's configuration", REMEDY):
            classes = read_classes(config["classes"])
        found["evaluation"] = evaluation = _read_evaluation(path / "metrics.json")
        found["split"] = _read_split(path / "split.json", evaluation.folds)
        found["history"] = _read_history(path / "history.csv")
        found["predictions"], found["baselines"] = _read_predictions(path, classes)
        if (path / "batches.csv").is_file():
            with _lines(path / "batches.csv", "the batches of a run") as (_, lines):
                found["batches"] = np.array(lines, np.float64).reshape(len(lines), BATCH)
    if (path / "ablation.json").is_file():
        found["ablation"] = _read_ablation(path / "ablation.json")
    if (path / "curve.csv").is_file():
        found["curve_of"], found["curve"] = _read_curve(path / "curve.csv")
    if (path / SWEEP).is_file():
        found["sweep"] = read_json(path / SWEEP, "a sweep", REMEDY)
    return StoredRun(**found)


def read_comparison(stored: Mapping[str, Any]) -> Comparison:
    """A comparison from JSON; one of an earlier version has no intervals."""
    return Comparison(**{**stored, "intervals": _intervals(stored.get("intervals", {}))})


def _read_made(path: Path) -> dict[str, Any]:
    file = next((path / name for name in NOTES if (path / name).is_file()), None)
    return dict(read_json(file, "notes of a run", REMEDY).get("made", {})) if file else {}


def _read_evaluation(file: Path) -> Evaluation:
    what = "a run's metrics"
    stored = read_json(file, what, REMEDY, rows=int, folds=int, repeats=int)
    with malformed(file, what, REMEDY):
        needed = {one.name for one in fields(Evaluation) if one.default_factory is MISSING}
        own = {one.name: stored[one.name] for one in fields(Evaluation) if one.name in needed | stored.keys()}
        bins = {name: [Bin(**one) for one in own["calibration"][name]] for name in ("bins_before", "bins_after")}
        of_baselines = own.get("baseline_intervals", {})
        own |= {
            "metrics": _summary(own["metrics"]),
            "baselines": {name: _summary(one) for name, one in own["baselines"].items()},
            "calibration": Calibration(**own["calibration"] | bins),
            "intervals": _intervals(own["intervals"]),
            "baseline_intervals": {name: _intervals(one) for name, one in of_baselines.items()},
            "tests": {name: read_comparison(one) for name, one in own["tests"].items()},
        }
        return Evaluation(**own)


def _read_split(file: Path, count: int) -> StoredSplit:
    what = "a run's split"
    stored = read_json(file, what, REMEDY, folds=list, contents=dict, groups=dict)
    with malformed(file, what, REMEDY):
        folds = [
            StoredFold(int(fold["repeat"]), frozenset([*fold["train"], *fold["valid"]]), frozenset(fold["test"]))
            for fold in stored["folds"]
        ]
        if len(folds) != count:
            raise ValueError(f"it has {len(folds)} folds, the metrics have {count}")
        contents: dict[str, Content] = {name: (image, text) for name, (image, text) in stored["contents"].items()}
        return StoredSplit(folds, contents, {name: int(group) for name, group in stored["groups"].items()})


def _read_history(file: Path) -> list[dict[str, float]]:
    with malformed(file, "the history of a run", REMEDY):
        history = [{name: float(value) for name, value in line.items()} for line in _read_csv(file)]
        for line in history:
            line["epoch"], line["train_loss"], line["valid_loss"]  # KeyError where it has none
        return history


def _read_predictions(path: Path, classes: tuple[str, ...]) -> tuple[Predictions, dict[str, NDArray[np.int64]]]:
    """The test rows, and the classes (n,) that each baseline predicts for them."""
    place = {name: number for number, name in enumerate(classes)}

    def numbers(column: Sequence[str]) -> NDArray[np.int64]:
        return np.array([place[read_cell(cell)] for cell in column], np.int64)

    with _lines(path / "predictions.csv", "a run's predictions") as (_, lines):
        truth, predicted = (numbers([line[n] for line in lines]) for n in (3, 4))
        probabilities = np.array([line[COLUMNS:] for line in lines], np.float64).reshape(len(lines), len(classes))
        posts = [(read_cell(line[0]), line[1]) for line in lines]
    predictions = Predictions(classes, posts, truth, predicted, probabilities)
    if not (path / "baselines.csv").is_file():
        return predictions, {}
    with _lines(path / "baselines.csv", "the predictions of a run's baselines") as (header, lines):
        if [(read_cell(line[0]), line[1]) for line in lines] != posts:
            raise ValueError("its rows are not those of predictions.csv")
        names = header[OWN:]
        return predictions, {name: numbers([line[OWN + n] for line in lines]) for n, name in enumerate(names)}


def _read_ablation(file: Path) -> Ablation:
    what = "an ablation"
    stored = read_json(file, what, REMEDY, rows=list, shapley=dict)
    with malformed(file, what, REMEDY):
        rows = []
        for row in stored["rows"]:
            tests = read_comparison(row["tests"]) if row["tests"] else None
            intervals = {name: _intervals(row[name]) for name in ("intervals", "difference_intervals")}
            rows.append(AblationRow(**row | intervals | {"tests": tests}))
        return Ablation(rows, stored["shapley"])


def _read_curve(file: Path) -> tuple[str, list[CurvePoint]]:
    with malformed(file, "a curve", REMEDY):
        lines = _read_csv(file)
        first = next(iter(lines[0]))
        names = [column.removesuffix("_mean") for column in lines[0] if column.endswith("_mean")]
        points = []
        for line in lines:
            metrics = {name: {part: float(line[f"{name}_{part}"]) for part in ("mean", "std")} for name in names}
            points.append(CurvePoint(read_cell(line[first]), float(line["share"]), float(line["posts"]), metrics))
        return first, points


def _summary(stored: Summary) -> Summary:
    names = [*METRICS, *(name for name in ORDINAL_METRICS if name in stored)]
    return {name: {part: float(stored[name][part]) for part in ("mean", "std")} for name in names}


def _intervals(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Interval]:
    return {name: Interval(**one) for name, one in stored.items()}


@contextmanager
def _lines(file: Path, what: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The header and the lines of a CSV file; what goes wrong with them inside is a ValueError that names the file."""
    with malformed(file, what, REMEDY):
        with regular(file).open(encoding="utf-8-sig", newline="") as opened:
            header, *lines = csv.reader(opened)
        yield header, lines


def _read_csv(file: Path) -> list[dict[str, str]]:
    with regular(file).open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.DictReader(opened))
