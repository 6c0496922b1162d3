"""Groups of horizontal bars, with the intervals of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .chart import TEXT, colours, drawing, legend, short

MANY = 20  # labels; the groups of more are thinner
Errors = Mapping[str, Sequence[tuple[float, float]]]


def bar_chart(
    labels: Sequence[str],
    bars: Mapping[str, Sequence[float]],
    *,
    axis: str,
    limits: tuple[float, float] | None = None,
    bounds: Errors | None = None,
) -> Figure:
    """One group per label, one bar in it per entry of `bars`; `bounds` are the ends of the interval of each."""
    thickness = 0.8 / len(bars)
    places = np.arange(len(labels))
    each = max(0.42, 0.2 * len(bars)) if len(labels) <= MANY else 0.3  # inches
    with drawing(height=1.1 + len(labels) * each) as (figure, axes):
        handles = []
        for number, ((name, values), colour) in enumerate(zip(bars.items(), colours(len(bars)), strict=True)):
            at = places + (number - (len(bars) - 1) / 2) * thickness
            handles.append(axes.barh(at, values, thickness * 0.88, color=colour))
            if bounds:
                low, high = np.array(bounds[name], float).reshape(-1, 2).T
                known = np.isfinite(low) & np.isfinite(high)
                axes.hlines(at[known], low[known], high[known], color=TEXT, linewidth=1.1)
        axes.set_yticks(places, [short(label, 28) for label in labels])
        axes.invert_yaxis()
        axes.set_xlabel(axis)
        axes.grid(False, axis="y")
        axes.axvline(0, color=TEXT, linewidth=0.8)
        if limits:
            axes.set_xlim(*limits)
        if len(bars) > 1:
            legend(axes, handles, list(bars), columns=3)
    return figure
