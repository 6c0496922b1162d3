"""Reliability diagram: accuracy by confidence."""

from __future__ import annotations

from collections.abc import Sequence

from ..metrics.statistics import Bin
from ..runs.stored_run import StoredRun
from .chart import GRID, Chart, colours, drawing, legend
from .words import Words


def calibration_charts(runs: Sequence[StoredRun], words: Words) -> list[Chart]:
    """One chart: of one run before and after temperature scaling, of several after it."""
    lines: list[tuple[str, str, float, list[Bin]]] = []
    measured = [(run.name, run.evaluation.calibration) for run in runs if run.evaluation]
    for name, one in measured:
        before = (name, words("uncalibrated"), one.before, one.bins_before)
        after = (name, words("temperature-scaled"), one.after, one.bins_after)
        lines += [before, after] if len(measured) == 1 else [after]
    if not lines:
        return []
    with drawing() as (figure, axes):
        axes.plot([0, 1], [0, 1], color=GRID, linestyle="--", linewidth=1)
        handles = [
            axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o-", markersize=3.5, color=colour)[0]
            for (*_, bins), colour in zip(lines, colours(len(lines)), strict=True)
        ]
        labels = [
            f"{kind if len(measured) == 1 else name}: {words('error')} {error:.3f}" for name, kind, error, _ in lines
        ]
        legend(axes, handles, labels)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=words("confidence"), ylabel=words("accuracy"))
    rows = [[name, kind, b.rows, b.confidence, b.accuracy] for name, kind, _, bins in lines for b in bins]
    return [
        Chart(
            "calibration",
            words("Calibration"),
            words(
                "On the dashed line a prediction is right as often as its probability says. The temperature of each "
                "fold is fitted on its validation rows."
            ),
            figure,
            ["run", "probabilities", "rows", "confidence", "accuracy"],
            rows,
        )
    ]
