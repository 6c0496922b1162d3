"""What run folders hold for figures: evaluation, history, test predictions, ablation, curve."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...features.csv_text import read_cell
from ...features.store.json_files import malformed, read_json
from ..ablation.results import AblationRow
from ..evaluation.comparison import Calibration, Comparison, Evaluation
from ..metrics.scores import Summary
from ..metrics.statistics import Bin, Interval
from ..runs.run_config import read_classes
from ..runs.runs import find_run

REMEDY = "write it again with the command that made the folder"
COLUMNS = 5  # of predictions.csv before those of the classes: id, repeat, fold, label, predicted
FILES = ("config.json", "ablation.json", "curve.csv")  # a folder with one of them can be reported


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


class CurvePoint(NamedTuple):
    """A point of a curve: its line, the share of posts and their number, and the metrics over folds."""

    line: str
    share: float
    posts: float
    metrics: Summary


@dataclass(frozen=True)
class StoredRun:
    """What of these a run folder holds. `history` has one entry per fold, head and epoch: a number by column.

    `curve_of` is the first heading of curve.csv: `missing`, or `system` for a learning curve.
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


def read_runs(paths: Sequence[Path]) -> list[StoredRun]:
    """Read run folders, each once; of a folder of runs, the newest run. ValueError where one is missing or damaged."""
    folders = [path if any((path / file).is_file() for file in FILES) else find_run(path) for path in paths]
    folders = list({path.resolve(): path for path in folders}.values())
    short = [path.resolve().name for path in folders]
    return [
        _read_run(path, name if short.count(name) == 1 else str(path))
        for path, name in zip(folders, short, strict=True)
    ]


def _read_run(path: Path, name: str) -> StoredRun:
    newest = max((path / file).stat().st_mtime for file in FILES if (path / file).is_file())
    found: dict[str, Any] = {"path": path, "name": name, "written": datetime.fromtimestamp(newest)}
    if (path / "config.json").is_file():
        kinds = {"head": dict, "training": dict, "encoders": dict, "classes": list}
        found["config"] = config = read_json(path / "config.json", "a run's configuration", REMEDY, **kinds)
        with malformed(path / "config.json", "a run's configuration", REMEDY):
            classes = read_classes(config["classes"])
        found["evaluation"] = _read_evaluation(path / "metrics.json")
        found["history"] = _read_history(path / "history.csv")
        found["predictions"] = _read_predictions(path / "predictions.csv", classes)
    if (path / "ablation.json").is_file():
        found["ablation"] = _read_ablation(path / "ablation.json")
    if (path / "curve.csv").is_file():
        found["curve_of"], found["curve"] = _read_curve(path / "curve.csv")
    return StoredRun(**found)


def _read_evaluation(file: Path) -> Evaluation:
    what = "the metrics of a run"
    stored = read_json(file, what, REMEDY)
    with malformed(file, what, REMEDY):
        own = {one.name: stored[one.name] for one in fields(Evaluation)}
        bins = {name: [Bin(**one) for one in own["calibration"][name]] for name in ("bins_before", "bins_after")}
        own["calibration"] = Calibration(**own["calibration"] | bins)
        own["intervals"] = _intervals(own["intervals"])
        own["tests"] = {name: Comparison(**one) for name, one in own["tests"].items()}
        return Evaluation(**own)


def _read_history(file: Path) -> list[dict[str, float]]:
    with malformed(file, "the history of a run", REMEDY):
        history = [{name: float(value) for name, value in line.items()} for line in _read_csv(file)]
        for line in history:
            line["epoch"], line["train_loss"], line["valid_loss"]  # KeyError where it has none
        return history


def _read_predictions(file: Path, classes: tuple[str, ...]) -> Predictions:
    with malformed(file, "a run's predictions", REMEDY), file.open(encoding="utf-8", newline="") as opened:
        _, *lines = csv.reader(opened)
        place = {name: number for number, name in enumerate(classes)}
        truth, predicted = (np.array([place[read_cell(line[n])] for line in lines], np.int64) for n in (3, 4))
        probabilities = np.array([line[COLUMNS:] for line in lines], np.float64).reshape(len(lines), len(classes))
        return Predictions(classes, [(read_cell(line[0]), line[1]) for line in lines], truth, predicted, probabilities)


def _read_ablation(file: Path) -> Ablation:
    what = "an ablation"
    stored = read_json(file, what, REMEDY, rows=list, shapley=dict)
    with malformed(file, what, REMEDY):
        rows = []
        for row in stored["rows"]:
            tests = Comparison(**row["tests"]) if row["tests"] else None
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


def _intervals(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Interval]:
    return {name: Interval(**one) for name, one in stored.items()}


def _read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))
