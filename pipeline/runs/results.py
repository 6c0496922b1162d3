"""What run folders hold of results: evaluations, paired comparisons, rows of ablations, points of curves."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...features.text_table import Part, Report, Table
from ..metrics.scores import ClassScore, Summary
from ..metrics.statistics import INTERVAL_METRICS, Bin, Interval
from ..metrics.tables import Cells, class_cells, interval_text, metric_title, system_table

SINGLES = ("linear_image", "linear_text")  # linear probes of one modality
WINNER = "winner"  # the single best trial of a sweep
SUPERVISED = "supervised"  # the same head without unlabelled posts


@dataclass(frozen=True)
class Comparison:
    """A head minus another system on the same folds, with the two-sided p of both tests.

    `mcnemar` is the mid-p; of several repeats, twice the median p. `corrected_t` is None for a single fold.
    `intervals` are those of the difference, where groups of duplicates are known.
    """

    difference: dict[str, float]
    corrected_t: dict[str, float | None]
    mcnemar: float
    mcnemar_exact: float
    only_head: float  # rows that only the head predicts correctly, per repeat
    only_other: float
    intervals: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error and mean negative log-likelihood, before and after dividing logits by a temperature.

    Each fold has its own, fitted on its validation rows.
    """

    before: float
    after: float
    nll_before: float
    nll_after: float
    temperatures: list[float]
    bins_before: list[Bin]
    bins_after: list[Bin]


@dataclass(frozen=True)
class Evaluation(Report):
    """The test predictions of a system over all folds of all repeats; without baselines there are no `tests`.

    `metrics` and those of the `baselines` are means and deviations over the folds, `per_fold` those of each fold.
    `baseline_intervals` are absent in runs of earlier versions.
    `one_class` has the class of each fold whose head predicts that class for every test row.
    """

    fusion: str
    metrics: Summary
    baselines: dict[str, Summary]
    per_fold: list[dict[str, float]]
    intervals: dict[str, Interval]
    calibration: Calibration
    tests: dict[str, Comparison]  # by baseline
    best_single: str | None
    per_class: list[ClassScore]
    confusion: list[list[int]]
    one_class: list[str]
    rows: int
    folds: int
    repeats: int
    baseline_intervals: dict[str, dict[str, Interval]] = field(default_factory=dict)

    def parts(self) -> list[Part]:
        """Scores by class and by system, the intervals, the calibration error, then the table of tests."""
        measured, systems = self.calibration, {self.fusion: self.metrics} | self.baselines
        title = "Head and baselines" + f", mean ± deviation over {self.folds} folds" * (self.folds > 1)
        pieces: list[Part] = [
            Table(*class_cells(self.per_class), "Scores by class"),
            system_table(systems, title),
            f"{interval_text(self.intervals)}\ncalibration error {measured.before:.3f}; {measured.after:.3f} "
            f"at temperature {np.mean(measured.temperatures):.2f}",
        ]
        if self.tests:
            pieces.append(Table(*self.test_cells(), f"{self.fusion} minus baselines, paired tests ({STARS})"))
        return [*pieces, *[self.one_class_text] * bool(self.one_class)]

    @property
    def one_class_text(self) -> str:
        """Which class heads predict for every post, in how many of the folds, and the share of posts that have it."""
        support = {entry["label"]: entry["support"] / self.rows for entry in self.per_class}
        names = " or ".join(f"{name!r} ({support[name]:.0%} of the posts)" for name in dict.fromkeys(self.one_class))
        where = f" in {len(self.one_class)} of {self.folds} folds" if self.folds > 1 else ""
        remedy = "train longer (--epochs, --lr), or weight rare classes (--balance weights)"
        return f"{self.fusion} predicts one class for every post{where}: {names}; {remedy}"

    def test_cells(self) -> Cells:
        """The tests against the winner, the supervised head, the linear probe and the best single modality, if any."""
        names = [name for name in (WINNER, SUPERVISED, "linear", self.best_single) if name and name in self.tests]
        return ["minus", *map(metric_title, INTERVAL_METRICS), "McNemar p", "corrected t p"], [
            [
                name,
                *(f"{one.difference[metric]:+.3f}" for metric in INTERVAL_METRICS),
                starred(one.mcnemar),
                starred(one.corrected_t["accuracy"]),
            ]
            for name, one in ((name, self.tests[name]) for name in names)
        ]


def p_text(value: float | None) -> str:
    """A p value for a table; a dash where there is none."""
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


LEVELS = ((0.01, "**"), (0.05, "*"))
STARS = "* p < 0.05, ** p < 0.01"


def stars(p: float | None) -> str:
    """The mark of a p value's significance."""
    return next((mark for level, mark in LEVELS if p is not None and p < level), "")


def starred(p: float | None) -> str:
    """A p value with its mark, in a width that keeps columns aligned."""
    return f"{p_text(p)} {stars(p):<2}"


@dataclass(frozen=True)
class AblationRow:
    """Metrics of a head on some inputs, or of a variant of it, and their difference from the full head's.

    `inputs` is both, image or text; `variant` names a variant of a part, or is empty. `f1_change` is by class;
    `change` measures how far logits and predictions moved. The full head's own row has no `tests` and no `change`.
    """

    fusion: str
    inputs: str
    variant: str
    metrics: Summary
    difference: dict[str, float]
    intervals: dict[str, Interval]
    difference_intervals: dict[str, Interval]
    tests: Comparison | None
    f1_change: dict[str, float]
    change: dict[str, float]

    @property
    def name(self) -> str:
        """The name of the row in tables."""
        return self.variant or self.inputs


@dataclass(frozen=True)
class CurvePoint:
    """A point of a curve: its line, the share, the number of posts that is per fold, and the metrics over folds."""

    line: str
    share: float
    posts: float
    metrics: Summary
