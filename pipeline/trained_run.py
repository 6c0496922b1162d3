"""A stored run in Python: its results as data frames, and predictions for posts. Heads are read when they predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..features.csv_text import class_columns
from ..features.messages import printable
from .metrics.scores import METRICS, Summary
from .metrics.statistics import INTERVAL_METRICS, Interval
from .metrics.tables import mean_sd, metric_title, scored_text
from .runs.folders import find_run, locate_run
from .runs.results import Evaluation
from .runs.stored_run import Predictions, StoredRun, StoredSplit, read_run

if TYPE_CHECKING:
    from .predict import Predictions as NewPredictions

Frame = Any  # pandas.DataFrame; without pandas a dict of columns
OWN = ("id", "repeat", "fold", "label", "predicted")


def load_run(path: str | Path) -> TrainedRun:
    """Read a run folder, given by its path or by its name in `runs/`; of a folder of runs, the newest.

    Raises ValueError where there is none, or it is damaged.

    >>> run = msa.load_run("runs/gated")
    >>> run.predict_proba("posts")
    """
    return TrainedRun(read_run(find_run(locate_run(Path(path), Path("runs")))))


class TrainedRun:
    """A stored run. Where pandas is installed, tables are data frames, otherwise dicts of columns.

    >>> run = msa.load_run("runs/gated")
    >>> run.metrics, run.history, run.predictions
    >>> run.predict(image=None, text="so happy")
    """

    def __init__(self, stored: StoredRun) -> None:
        self.stored = stored
        self.path = stored.path
        self.classes: tuple[str, ...] = self._predictions.classes

    @cached_property
    def metrics(self) -> Frame:
        """A row for the head and for each baseline: mean and standard deviation over folds, and 95 % intervals."""
        found = self._evaluation
        systems = {found.fusion: (found.metrics, found.intervals)}
        systems |= {name: (one, found.baseline_intervals.get(name, {})) for name, one in found.baselines.items()}
        return frame([{"system": name, **_scores(*both)} for name, both in systems.items()])

    @cached_property
    def history(self) -> Frame:
        """A row for each epoch of each head: loss and metrics on training and validation rows."""
        return frame(self.stored.history)

    @cached_property
    def predictions(self) -> Frame:
        """A row for each test post of each fold: label, predicted label, a calibrated probability per class."""
        found, split = self._predictions, self.stored.split
        assert split, "a run folder has a split"
        names = class_columns(OWN, found.classes)
        return frame(
            [
                {
                    **{"id": name, "repeat": int(repeat), "fold": fold},
                    **{"label": found.classes[true], "predicted": found.classes[best]},
                    **dict(zip(names, map(float, probabilities), strict=True)),
                }
                for (name, repeat), fold, true, best, probabilities in zip(
                    found.posts,
                    _folds(found, split),
                    found.truth,
                    found.predicted,
                    found.probabilities,
                    strict=True,
                )
            ]
        )

    def predict(self, posts: str | Path | None = None, **how: Any) -> NDArray[np.str_]:
        """The predicted labels (N,) of all posts of a folder or table, in their order; see `predict_proba`."""
        return np.array(self._predict(posts, **how).labels)

    def predict_proba(self, posts: str | Path | None = None, **how: Any) -> NDArray[np.float64]:
        """Calibrated probabilities (N, K) of all posts, in their order; columns are `classes`.

        Instead of `posts`, `image=FILE` and `text="…"` give one post, each of which may be None. Features that the
        cache lacks are extracted. `cache=FOLDER` is another cache, `raw=True` leaves calibration out; `layout`,
        `label_rule`, `columns` and `images` are as for `load_features`. Raises ValueError for posts that are not there.
        """
        return self._predict(posts, **how).probabilities

    def _predict(
        self,
        posts: str | Path | None,
        *,
        cache: str | Path | None = None,
        raw: bool = False,
        device: str = "auto",
        **how: Any,
    ) -> NewPredictions:
        from ..features.extraction.settings import ExtractSettings
        from .api import read_posts
        from .predict import predict_corpus, predict_post

        settings, place = ExtractSettings(device=device), None if cache is None else Path(cache)
        if posts is not None:
            corpus = read_posts(posts, **how)
            return predict_corpus(self.path, corpus, rows="all", cache=place, settings=settings, raw=raw)
        image, text = how.pop("image", None), how.pop("text", None)
        if how:
            raise ValueError(f"{', '.join(how)} is for posts; one post is given by image=FILE and text='…' alone")
        file = None if image is None else Path(image)
        return predict_post(self.path, image=file, text=text, cache=place, settings=settings, raw=raw)

    def export(
        self, *, onnx: str | Path | None = None, torch: str | Path | None = None, hub: str | Path | None = None
    ) -> None:
        """Write the heads for other programs, each kind to a folder of its own, as `msa export` does.

        Raises ValueError where no folder is given or one is taken, or where the heads cannot be exported.
        """
        from .exporting.export import export_run

        onnx, torch, hub = (None if folder is None else Path(folder) for folder in (onnx, torch, hub))
        export_run(self.path, onnx=onnx, torch=torch, hub=hub)

    @property
    def _evaluation(self) -> Evaluation:
        assert self.stored.evaluation, "a run folder has an evaluation"
        return self.stored.evaluation

    @property
    def _predictions(self) -> Predictions:
        assert self.stored.predictions, "a run folder has predictions"
        return self.stored.predictions

    def __repr__(self) -> str:
        accuracy = mean_sd(self._evaluation.metrics["accuracy"])
        return printable(f"TrainedRun({str(self.path)!r}: {self._evaluation.fusion}, accuracy {accuracy})")

    def _repr_html_(self) -> str:
        """A table of the head and its baselines, as notebooks show it."""
        found = self._evaluation
        rows = {found.fusion: found.metrics, **found.baselines}
        lines = [[name, *(mean_sd(one[metric]) for metric in METRICS)] for name, one in rows.items()]
        data = self.stored.made.get("data", {}).get("name", "")
        caption = f"{self.path}: {scored_text(found.rows, found.folds, found.repeats)}{f' of {data}' if data else ''}"
        cells = ["".join(f"<td>{escape(printable(cell))}</td>" for cell in line) for line in lines]
        head = "".join(f"<th>{escape(metric_title(name))}</th>" for name in ("", *METRICS))
        body = "".join(f"<tr>{line}</tr>" for line in cells)
        title = f"<caption>{escape(printable(caption))}</caption>"
        return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def frame(rows: Sequence[Mapping[str, Any]]) -> Frame:
    """Rows of one kind as a data frame; without pandas as a dict of columns."""
    columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
    if find_spec("pandas") is None:
        return columns
    import pandas as pd

    return pd.DataFrame(columns)


def _scores(metrics: Summary, intervals: Mapping[str, Interval]) -> dict[str, float]:
    found = {f"{name}_{part}": metrics[name][part] for name in METRICS for part in ("mean", "std")}
    for name in INTERVAL_METRICS:
        bounds = intervals.get(name)
        shown = bounds if bounds and bounds.reliable else None
        found |= {f"{name}_low": shown.low if shown else np.nan, f"{name}_high": shown.high if shown else np.nan}
    return found


def _folds(found: Predictions, split: StoredSplit) -> list[int]:
    """The number of the fold of each test row."""
    place = {(name, str(fold.repeat)): number for number, fold in enumerate(split.folds) for name in fold.test}
    return [place[post] for post in found.posts]
