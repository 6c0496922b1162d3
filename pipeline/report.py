"""A run as one HTML page without outside parts: metrics, confusion, learning curves, settings."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .experiment import FoldResult
from .tables import SHOWN, mean_sd

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .75rem;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "pre{background:#f6f6f6;padding:1rem;overflow:auto}svg{background:#fafafa;margin-right:1rem}"
)
COLOURS = {"train": "#4878a8", "stop": "#c85a3c"}


def render_report(
    title: str,
    *,
    systems: Mapping[str, Mapping[str, Mapping[str, float]]],
    classes: Sequence[Mapping[str, Any]],
    confusion: Sequence[Sequence[int]],
    results: Sequence[FoldResult],
    settings: Mapping[str, Any],
) -> str:
    """Render the page. `systems` maps the head and its baselines to metrics, `confusion` is (K, K), true by row."""
    names = [str(c["label"]) for c in classes]
    head = ["", *(metric.replace("_", " ") for metric in SHOWN)]
    scores = [[name, *(mean_sd(metrics[m]) for m in SHOWN)] for name, metrics in systems.items()]
    parts = [
        f"{c['label']},{c['precision']:.3f},{c['recall']:.3f},{c['f1']:.3f},{c['support']}".split(",") for c in classes
    ]
    counts = [[name, *map(str, row)] for name, row in zip(names, confusion, strict=True)]
    curves = "".join(
        _curves(f"{metric.replace('_', ' ')}, fold {number}", result, metric)
        for metric in ("loss", "macro_f1")
        for number, result in enumerate(results)
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1>"
        f"<h2>Scored rows</h2>{_table(head, scores)}"
        f"<h2>By class</h2>{_table(['class', 'precision', 'recall', 'f1', 'support'], parts)}"
        f"<h2>Confusion</h2><p>True class by row, predicted class by column.</p>{_table(['', *names], counts)}"
        f"<h2>Training</h2><p>Blue: training rows; red: the rows that stop training, which are never scored. "
        f"The dotted line marks the epoch that was kept. Of several heads a fold, the first is shown.</p>{curves}"
        f"<h2>Settings</h2><pre>{html.escape(json.dumps(settings, indent=2, ensure_ascii=False))}</pre></html>\n"
    )


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><tr>{top}</tr>{rows}</table>"


def _curves(title: str, result: FoldResult, metric: str) -> str:
    """One small chart: a metric over epochs on training and stop rows."""
    width, height, edge = 260, 150, 24
    series = {
        "train": [record.train[metric] for record in result.histories[0]],
        "stop": [record.stop[metric] for record in result.histories[0]],
    }
    low, high = min(map(min, series.values())), max(map(max, series.values()))
    span, last = (high - low) or 1.0, max(1, len(result.histories[0]) - 1)

    def point(epoch: int, value: float) -> str:
        x = edge + epoch / last * (width - 2 * edge)
        return f"{x:.1f},{height - edge - (value - low) / span * (height - 2 * edge):.1f}"

    lines = "".join(
        f'<polyline fill="none" stroke="{COLOURS[name]}" points="{" ".join(point(*p) for p in enumerate(values))}"/>'
        for name, values in series.items()
    )
    x = point(result.best_epochs[0] - 1, low).split(",")[0]
    mark = f'<line x1="{x}" x2="{x}" y1="{edge}" y2="{height - edge}" stroke="#999" stroke-dasharray="2 3"/>'
    text = (
        f'<text x="{edge}" y="15" font-size="11">{html.escape(title)}</text>'
        f'<text x="2" y="{height - edge + 14}" font-size="9">{low:.2f}</text>'
        f'<text x="2" y="{edge}" font-size="9">{high:.2f}</text>'
    )
    return f'<svg width="{width}" height="{height}" role="img">{text}{lines}{mark}</svg>'
