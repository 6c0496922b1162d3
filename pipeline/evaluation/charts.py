"""Line charts as SVG, for the report and the curves."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

COLOURS = ("#4878a8", "#c85a3c", "#5a8f4e", "#8a6fae")
WIDTH, HEIGHT, EDGE = 260, 150, 24
Coordinates = tuple[float, float]


def line_chart(
    title: str,
    series: Mapping[str, Sequence[Coordinates]],
    *,
    x_range: Coordinates | None = None,
    y_range: Coordinates | None = None,
    mark: float | None = None,
    diagonal: bool = False,
    scale: float = 1.0,
) -> str:
    """One SVG element: a named line per series, and the limits of both axes; `mark` draws a dotted vertical line."""
    width, height = WIDTH * scale, HEIGHT * scale
    points = [point for line in series.values() for point in line]
    (left, right), (low, high) = (
        given or (min(values), max(values))
        for given, values in zip((x_range, y_range), zip(*points, strict=True), strict=True)
    )

    def pixels(point: Coordinates) -> str:
        x = EDGE + (point[0] - left) / ((right - left) or 1.0) * (width - 2 * EDGE)
        return f"{x:.1f},{height - EDGE - (point[1] - low) / ((high - low) or 1.0) * (height - 2 * EDGE):.1f}"

    def dashed(one: Coordinates, two: Coordinates) -> str:
        return f'<polyline fill="none" stroke="#999" stroke-dasharray="2 3" points="{pixels(one)} {pixels(two)}"/>'

    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" points="{" ".join(map(pixels, line))}"/>'
        + "".join('<circle cx="{}" cy="{}" r="1.6" fill="{}"/>'.format(*pixels(p).split(","), colour) for p in line)
        for line, colour in zip(series.values(), COLOURS, strict=False)
    )
    lines += dashed((left, low), (right, high)) if diagonal else ""
    lines += dashed((mark, low), (mark, high)) if mark is not None else ""
    names = "".join(
        f'<text x="{EDGE + 4}" y="{height - EDGE - 4 - 11 * number}" font-size="9" fill="{colour}">'
        f"{html.escape(name)}</text>"
        for number, (name, colour) in enumerate(zip(series, COLOURS, strict=False))
    )
    texts = (
        f'<text x="{EDGE}" y="15" font-size="11">{html.escape(title)}</text>'
        f'<text x="2" y="{height - EDGE}" font-size="9">{low:.3g}</text>'
        f'<text x="2" y="{EDGE + 8}" font-size="9">{high:.3g}</text>'
        f'<text x="{EDGE}" y="{height - 8}" font-size="9">{left:g}</text>'
        f'<text x="{width - EDGE}" y="{height - 8}" font-size="9" text-anchor="end">{right:g}</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" role="img" '
        f'font-family="system-ui,sans-serif">{texts}{names}{lines}</svg>'
    )
