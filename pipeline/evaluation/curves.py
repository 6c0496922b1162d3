"""Curves: accuracy as a modality goes missing, and as training rows are added."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...features.posts.samples import Corpus
from ...features.spec import Modality
from ...features.store.durable import write_atomic
from ...features.text_table import table
from ..config.data_config import DataConfig
from ..data.prepare import prepare
from ..data.split import Fold, take_share
from ..metrics.scores import score, summarise
from ..metrics.tables import mean_sd, scored_text
from ..runs.runs import free_name, to_csv
from ..training.experiment import FoldDone, HeadConfig, train_folds
from ..training.loop import TrainConfig
from .baselines import baseline_guesses
from .charts import line_chart

Labels = NDArray[np.int64]
Logits = NDArray[np.float32]
SHOWN = ("accuracy", "macro_f1")
SHARES = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class Point:
    """One place on a curve: its line, the share, how many posts that is per fold, the metrics over folds."""

    line: str
    share: float
    posts: float
    metrics: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Curve:
    """Points of one or more lines; `line_name` says what tells the lines apart, `share_name` of what the shares are."""

    line_name: str
    share_name: str
    points: list[Point]

    def to_dict(self) -> list[dict[str, Any]]:
        """The points, for JSON."""
        return [
            {self.line_name: one.line} | {k: v for k, v in asdict(one).items() if k != "line"} for one in self.points
        ]

    def to_text(self) -> str:
        """One line per point."""
        header = [self.line_name, self.share_name, "posts", *(name.replace("_", " ") for name in SHOWN)]
        cells = (
            [f"{one.share:.0%}", f"{one.posts:.0f}", *(mean_sd(one.metrics[m]) for m in SHOWN)] for one in self.points
        )
        return table(header, [[one.line, *line] for one, line in zip(self.points, cells, strict=True)])

    def to_csv(self) -> str:
        """One line per point, every metric with its deviation."""
        names = list(self.points[0].metrics)
        header = [self.line_name, "share", "posts", *(f"{n}_{part}" for n in names for part in ("mean", "std"))]
        return to_csv(
            header,
            (
                [
                    one.line,
                    one.share,
                    one.posts,
                    *(v for n in names for v in (one.metrics[n]["mean"], one.metrics[n]["std"])),
                ]
                for one in self.points
            ),
        )

    def to_svg(self) -> str:
        """Accuracy and macro-F1 of each line over the share."""
        series = {
            f"{line}: {metric.replace('_', ' ')}": [
                (one.share, one.metrics[metric]["mean"]) for one in self.points if one.line == line
            ]
            for line in dict.fromkeys(one.line for one in self.points)
            for metric in SHOWN
        }
        return line_chart(self.share_name, series, x_range=(0, 1), scale=2.0) + "\n"


@dataclass(frozen=True)
class Said:
    """Logits of one fold's heads: (n, K) of its test rows, whole and without a modality, and of the validation rows."""

    whole: Logits
    without: Mapping[Modality, Logits]
    valid: tuple[Labels, Logits]


def missing_curve(
    labels: Labels, classes: Sequence[str], folds: Sequence[Fold], said: Sequence[Said], *, seed: int
) -> Curve:
    """Metrics over folds when 0, 10, … 100 % of the scored posts lack a modality.

    Which posts lose it is drawn once: who lacks it at one share lacks it at every larger one.
    """
    rows = np.unique(np.concatenate([fold.test for fold in folds]))
    turn = np.empty(int(rows.max()) + 1)
    turn[rows] = np.random.default_rng(seed).permutation(len(rows)) / len(rows)  # hidden from shares above this
    points = []
    for modality in said[0].without:
        for share in SHARES:
            metrics, count = [], 0
            for fold, one in zip(folds, said, strict=True):
                lost = turn[fold.test] < share
                logits = np.where(lost[:, None], one.without[modality], one.whole)
                metrics.append(score(labels[fold.test], logits.argmax(1), classes))
                count += int(lost.sum())
            points.append(Point(modality, share, count / len(folds), summarise(metrics)))
    return Curve("missing", "posts without it", points)


@dataclass(frozen=True)
class LearningCurve:
    """The curve of a head and of the linear probe, where it lies, seconds."""

    fusion: str
    curve: Curve
    rows: int
    folds: int
    repeats: int
    path: Path
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "fusion": self.fusion,
            "curve": self.curve.to_dict(),
            "rows": self.rows,
            "folds": self.folds,
            "repeats": self.repeats,
            "path": str(self.path),
            "seconds": self.seconds,
        }

    def to_text(self) -> str:
        """The table that the command prints."""
        scored = scored_text(self.rows, self.folds, self.repeats)
        return f"{self.curve.to_text()}\n\n{scored}, {self.seconds:.1f} s; written to {self.path}"


def learning_curve(
    corpus: Corpus,
    data_config: DataConfig,
    config: HeadConfig,
    training: TrainConfig,
    *,
    shares: Sequence[float],
    runs: Path = Path("runs"),
    name: str | None = None,
    done: FoldDone = lambda number, total: None,
) -> LearningCurve:
    """Train the head and the linear probe on a share of each fold's training rows, and score the same rows.

    Shares are of whole duplicate groups, each class in proportion, and each is part of the larger ones. The rows that
    stop training stay whole.
    """
    started = time.perf_counter()
    shares = sorted(set(shares))
    features, folds, device = prepare(corpus, data_config, config, seed=training.seed)
    labels = features.targets()
    points: dict[str, list[Point]] = {config.fusion: [], "linear": []}
    for number, share in enumerate(shares):
        cut = [replace(fold, train=take_share(features.posts, fold.train, share, seed=training.seed)) for fold in folds]

        def step(fold: int, total: int, before: int = number * len(folds)) -> None:
            done(before + fold, total * len(shares))

        results = train_folds(features, cut, config, training, device=device, done=step)
        probes = baseline_guesses(features, cut, seed=training.seed, systems=("linear",))["linear"]
        metrics = {
            config.fusion: [result.metrics for result in results],
            "linear": [score(labels[f.test], said, features.classes) for f, said in zip(cut, probes, strict=True)],
        }
        rows = float(np.mean([len(fold.train) for fold in cut]))
        for system, found in metrics.items():
            points[system].append(Point(system, share, rows, summarise(found)))
    curve = Curve("system", "training rows", [one for line in points.values() for one in line])
    path = free_name(runs, name or f"learning-{config.fusion}")
    scored = len(np.unique(np.concatenate([fold.test for fold in folds])))
    seconds = round(time.perf_counter() - started, 2)
    result = LearningCurve(config.fusion, curve, scored, len(folds), data_config.repeats, path, seconds)
    write_atomic(path / "curve.csv", curve.to_csv().encode())
    write_atomic(path / "curve.svg", curve.to_svg().encode())
    return result


def read_shares(text: str) -> list[float]:
    """`0.1,0.5,1` as numbers; ValueError unless each is above 0 and at most 1."""
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"--shares wants numbers above 0 and at most 1, as 0.1,0.5,1; got {text!r}")
    return shares
