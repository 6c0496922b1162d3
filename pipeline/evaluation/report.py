"""A run as one self-contained HTML page: metrics, confusion matrix, training curves, settings."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics.tables import class_cells, metric_cells, metric_title
from ..training.folds import FoldResult
from .charts import line_chart
from .comparison import Evaluation

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .75rem;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "pre{background:#f6f6f6;padding:1rem;overflow:auto}svg{background:#fafafa;margin-right:1rem}"
)


def render_report(
    title: str,
    *,
    evaluation: Evaluation,
    results: Sequence[FoldResult],
    settings: Mapping[str, Any],
) -> str:
    """Render the page."""
    systems = {evaluation.fusion: evaluation.metrics} | evaluation.baselines
    names = [c["label"] for c in evaluation.per_class]
    counts = [[name, *map(str, row)] for name, row in zip(names, evaluation.confusion, strict=True)]
    curves = "".join(
        _curves(f"{metric_title(metric)}, fold {number}", result, metric)
        for metric in ("loss", "macro_f1")
        for number, result in enumerate(results)
    )
    rates = [(record.epoch, record.lr) for record in max((r.histories[0] for r in results), key=len)]
    curves += line_chart("learning rate", {"": rates})
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1>"
        f"<h2>Test rows</h2>{_table(*metric_cells(systems))}{_statistics(evaluation)}"
        f"<h2>By class</h2>{_table(*class_cells(evaluation.per_class))}"
        f"<h2>Confusion matrix</h2><p>True class by row, predicted class by column; summed over repeats.</p>"
        f"{_table(['', *names], counts)}"
        f"<h2>Training</h2><p>Blue: training rows; red: validation rows, which decide when training stops. The dotted "
        f"line marks the epoch whose weights are kept. Of an ensemble, the first head is shown.</p>{curves}"
        f"<h2>Settings</h2><pre>{html.escape(json.dumps(settings, indent=2, ensure_ascii=False))}</pre></html>\n"
    )


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><tr>{top}</tr>{rows}</table>"


def _statistics(evaluation: Evaluation) -> str:
    """Intervals, tests and the reliability diagram."""
    measured = evaluation.calibration
    lines = [
        [metric_title(name), *(f"{value:.3f}" for value in (one.estimate, *[one.low, one.high] * one.reliable))]
        for name, one in evaluation.intervals.items()
    ]
    tests = f"<h2>Paired tests</h2>{_table(*evaluation.test_cells())}" if evaluation.tests else ""
    series = {
        f"{name}: error {error:.3f}": [(one.confidence, one.accuracy) for one in bins]
        for name, error, bins in (
            ("uncalibrated", measured.before, measured.bins_before),
            ("temperature-scaled", measured.after, measured.bins_after),
        )
    }
    chart = line_chart("accuracy by confidence", series, x_range=(0, 1), y_range=(0, 1), diagonal=True, scale=1.4)
    return (
        f"<h2>95 % intervals</h2><p>Bootstrap over duplicate groups, test rows of all folds together.</p>"
        f"{_table(['', 'estimate', 'from', 'to'], lines)}{tests}"
        f"<h2>Calibration</h2><p>The temperature of each fold is fitted on its validation rows.</p>{chart}"
    )


def _curves(title: str, result: FoldResult, metric: str) -> str:
    """One small chart: a metric over epochs on training and validation rows."""
    history = result.histories[0]
    series = {
        "train": [(record.epoch, record.train[metric]) for record in history],
        "validation": [(record.epoch, record.valid[metric]) for record in history],
    }
    return line_chart(title, series, mark=result.best_epochs[0])
