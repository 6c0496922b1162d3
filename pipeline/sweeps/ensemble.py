"""The greedy ensemble of a sweep: which trials can be joined, which are picked on inner folds, how they score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...features.progress import stage
from ...features.text_table import Part, Table
from ..config.data_config import DataConfig
from ..config.ensemble_config import EnsembleConfig, Member
from ..config.head_config import HeadConfig
from ..data.cached_features import CachedFeatures
from ..data.split import Fold
from ..metrics.statistics import INTERVAL_METRICS
from ..metrics.tables import metric_title
from ..runs.results import WINNER, Comparison, Evaluation, p_text
from ..training.folds import FoldResult
from .greedy import greedy_selection, mean_over_folds
from .space import Point, Range, Space
from .study import Study


@dataclass(frozen=True)
class Pick:
    """A trial, its point of the space, and how often it was picked."""

    trial: int
    count: int
    point: Point


@dataclass(frozen=True)
class TrainedEnsemble:
    """The ensemble of each outer fold, the features of the encoders of all members, and the settings that name them."""

    table: CachedFeatures
    data_config: DataConfig
    config: EnsembleConfig
    results: list[FoldResult]


@dataclass(frozen=True)
class Ensemble:
    """The ensembles of the outer folds as one run: their members, and their scores on rows that no choice has seen."""

    path: Path
    trained: TrainedEnsemble
    evaluation: Evaluation

    @property
    def members(self) -> tuple[tuple[Member, ...], ...]:
        """The members of each outer fold."""
        return self.trained.config.members

    @property
    def minus_winner(self) -> Comparison:
        """The ensemble minus the single winner, on the same outer rows."""
        return self.evaluation.tests[WINNER]

    def weights(self, fold: int) -> dict[int, float]:
        """The weight of each member of an outer fold by the number of its trial, largest first; they add up to 1."""
        members = sorted(self.members[fold], key=lambda one: (-one.count, one.trial))
        total = sum(one.count for one in members)
        return {one.trial: one.count / total for one in members}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": str(self.path),
            "metrics": self.evaluation.metrics,
            "minus_winner": asdict(self.minus_winner),
            "members": [
                [{"trial": trial, "weight": weight} for trial, weight in self.weights(fold).items()]
                for fold in range(len(self.members))
            ],
        }

    def parts(self, fold: int) -> list[Part]:
        """The members of an outer fold, the test against the winner, and where the run is."""
        kinds = {one.trial: one.head.fusion for one in self.members[fold]}
        lines = [[trial, f"{weight:.3f}", kinds[trial]] for trial, weight in self.weights(fold).items()]
        minus = self.minus_winner
        differences = ", ".join(f"{metric_title(name)} {minus.difference[name]:+.3f}" for name in INTERVAL_METRICS)
        return [
            Table(["trial", "weight", "fusion"], lines, f"Greedy ensemble of {len(lines)} trials"),
            f"ensemble minus winner, on outer rows: {differences}, McNemar p {p_text(minus.mcnemar)}\n"
            f"ensemble: {self.path}",
        ]


def check_joinable(space: Space, head: HeadConfig) -> None:
    """Raise ValueError where trials of a space could not be joined into one model."""
    fusions = space.fusions(head.fusion)
    if any("+" in fusion for fusion in fusions) or head.ensemble_size > 1 or "ensemble_size" in space.names:
        raise ValueError(
            "--ensemble greedy joins trials of one head each; give fusions as gated,kernel and leave ensemble_size out"
        )
    kinds = space.names.get("inputs", (head.inputs,))
    assert isinstance(kinds, tuple)
    reads = {replace(head, fusion=fusion, inputs=kind, options={}).tokens for fusion in fusions for kind in kinds}  # type: ignore[arg-type]
    if len(reads) > 1:
        raise ValueError("--ensemble greedy joins heads of one kind of inputs; add --inputs pooled, or --inputs tokens")
    fixed = {"views", "average_views"} | ({"image", "text", "patches", "token_width"} if True in reads else set())
    for name in fixed & space.names.keys():
        values = space.names[name]
        if not isinstance(values, tuple) or len(values) > 1:
            raise ValueError(
                f"--ensemble greedy joins heads that read the same {'tokens' if True in reads else 'views'}; give one "
                f"value of {name}, got {values if isinstance(values, Range) else ', '.join(map(str, values))}"
            )


def pick_members(study: Study, inner: Sequence[Fold], table: CachedFeatures) -> list[Pick]:
    """Pick among the complete trials of a study, by what they predict for the test rows of the inner folds alone."""
    assert study.predictions is not None, "a study for an ensemble keeps predictions"
    rows = sorted((row for row in study.rows() if row.state == "complete"), key=lambda row: row.order)
    if not rows:
        return []
    stage("picking the members of the ensemble")
    value = mean_over_folds(table.targets(), inner, study.search.metric, table.classes)
    counts = greedy_selection(study.predictions.load([row.index for row in rows]), value)
    return [Pick(row.index, int(count), row.point) for row, count in zip(rows, counts, strict=True) if count]
