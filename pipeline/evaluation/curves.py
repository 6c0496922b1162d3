"""Curves of accuracy over the share of posts that lack a modality, and over the share of training rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...features.csv_text import to_csv
from ...features.posts.samples import Corpus
from ...features.progress import stage
from ...features.spec import Modality
from ...features.store.durable import write_atomic
from ...features.store.json_files import write_json
from ...features.text_table import Part, Report, Table
from ..config.data_config import DataConfig
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..config.used_settings import point_out_unused
from ..data.classes import need_two_classes
from ..data.prepare import prepare
from ..data.split import Fold, take_share
from ..metrics.scores import summarise
from ..metrics.tables import mean_sd, metric_title, scored_text
from ..runs.destination import check_destination, new_run
from ..runs.made import describe_made
from ..runs.results import CurvePoint
from ..training.folds import train_folds
from .baselines import Labels, Logits, baseline_predictions
from .comparison import score_folds

CURVE_METRICS = ("accuracy", "macro_f1")
SHARES = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class Curve:
    """Points of one or more lines; `line_name` and `share_name` are the headings of their lines and shares."""

    line_name: str
    share_name: str
    points: list[CurvePoint]

    def to_dict(self) -> list[dict[str, Any]]:
        """The points, for JSON."""
        points = [asdict(one) for one in self.points]
        return [{self.line_name: point.pop("line")} | point for point in points]

    def table(self) -> Table:
        """One line per point."""
        header = [self.line_name, self.share_name, "posts", *map(metric_title, CURVE_METRICS)]
        lines = [
            [one.line, f"{one.share:.0%}", f"{one.posts:.0f}", *(mean_sd(one.metrics[name]) for name in CURVE_METRICS)]
            for one in self.points
        ]
        return Table(header, lines, "Mean ± deviation over folds, by share")

    def to_csv(self) -> str:
        """One line per point, every metric with its deviation."""
        columns = [(name, part) for name in self.points[0].metrics for part in ("mean", "std")]
        header = [self.line_name, "share", "posts", *(f"{name}_{part}" for name, part in columns)]
        lines = (
            [one.line, one.share, one.posts, *(one.metrics[name][part] for name, part in columns)]
            for one in self.points
        )
        return to_csv(header, lines)

    def write(self, folder: Path, made: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Path]:
        """Write curve.csv to the folder, and curve.json: how it was made (see `describe_made`), with these settings."""
        table, notes = folder / "curve.csv", folder / "curve.json"
        write_atomic(table, self.to_csv().encode())
        write_json(notes, {"made": dict(made), **settings})
        return [table, notes]


@dataclass(frozen=True)
class FoldLogits:
    """Logits (n, K) of one fold: of its test rows, whole and without a modality, and of its validation rows."""

    whole: Logits
    without: Mapping[Modality, Logits]
    valid: tuple[Labels, Logits]


def missing_curve(
    labels: Labels, classes: Sequence[str], folds: Sequence[Fold], logits: Sequence[FoldLogits], *, seed: int
) -> Curve:
    """Metrics over folds when 0, 10, … 100 % of the test posts lack a modality.

    One random order decides which posts lose it: a post without it at one share also lacks it at every larger one.
    """
    rows = np.unique(np.concatenate([fold.test for fold in folds]))
    rank = np.empty(int(rows.max()) + 1)
    rank[rows] = np.random.default_rng(seed).permutation(len(rows)) / len(rows)  # hidden at shares above this
    points = []
    for modality in logits[0].without:
        for share in SHARES:
            hidden = [rank[fold.test] < share for fold in folds]
            predictions = [
                np.where(mask[:, None], one.without[modality], one.whole).argmax(1)
                for mask, one in zip(hidden, logits, strict=True)
            ]
            metrics = summarise(score_folds(labels, folds, predictions, classes))
            points.append(CurvePoint(modality, share, sum(int(mask.sum()) for mask in hidden) / len(folds), metrics))
    return Curve("missing", "posts without it", points)


@dataclass(frozen=True)
class LearningCurve(Report):
    """The curve of a head and of the linear probe, the folder it is written to, and seconds."""

    fusion: str
    curve: Curve
    rows: int
    folds: int
    repeats: int
    path: Path
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return vars(self) | {"curve": self.curve.to_dict(), "path": str(self.path)}

    def parts(self) -> list[Part]:
        """The table that the command prints, and where the curve is."""
        scored = scored_text(self.rows, self.folds, self.repeats)
        return [self.curve.table(), f"{scored}, {self.seconds:.1f} s\nwritten to {self.path}"]


def learning_curve(
    corpus: Corpus,
    data_config: DataConfig,
    config: HeadConfig,
    training: TrainConfig,
    *,
    shares: Sequence[float],
    runs: Path = Path("runs"),
    name: str | None = None,
) -> LearningCurve:
    """Train the head and the linear probe on shares of each fold's training rows, and score them on its test rows.

    A share consists of whole duplicate groups, keeps the class proportions, and is part of every larger share. The
    validation rows stay the same.
    """
    started = time.perf_counter()
    shares, name = sorted(set(shares)), name or f"learning-{config.label}"
    check_destination(runs, name)
    point_out_unused(config, training)
    features, folds, device = prepare(corpus, data_config, config, seed=training.seed)
    points: dict[str, list[CurvePoint]] = {config.label: [], "linear": []}
    for fold in folds:
        least = take_share(features.posts, fold.train, shares[0], seed=training.seed)
        need_two_classes([features.posts.labels[row] for row in least], f"give larger --shares than {shares[0]:g}")
    for number, share in enumerate(shares, 1):
        cut = [replace(fold, train=take_share(features.posts, fold.train, share, seed=training.seed)) for fold in folds]
        stage(f"training {config.label} on {share:.0%} of the rows ({number} of {len(shares)})")
        results = train_folds(features, cut, config, training, device=device)
        probes = baseline_predictions(features, cut, seed=training.seed, systems=("linear",))["linear"]
        metrics = {
            config.label: [result.metrics for result in results],
            "linear": score_folds(features.targets(), cut, probes, features.classes),
        }
        rows = float(np.mean([len(fold.train) for fold in cut]))
        for system, found in metrics.items():
            points[system].append(CurvePoint(system, share, rows, summarise(found)))
    curve = Curve("system", "training rows", [one for line in points.values() for one in line])
    scored = len(np.unique(np.concatenate([fold.test for fold in folds])))
    seconds = round(time.perf_counter() - started, 2)
    with new_run(runs, name) as (path, temp):
        head = asdict(config) | {"options": dict(config.options)}
        settings = {"head": head, "training": asdict(training), "shares": shares}
        encoders = {"encoders": {"image": data_config.image, "text": data_config.text}}
        curve.write(temp, describe_made(corpus, features.posts), settings | encoders)
    return LearningCurve(config.label, curve, scored, len(folds), data_config.repeats, path, seconds)


def read_shares(text: str) -> list[float]:
    """Parse `0.1,0.5,1`; raise ValueError unless each number is above 0 and at most 1."""
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"--shares wants numbers above 0 and at most 1, as 0.1,0.5,1; got {text!r}")
    return shares
