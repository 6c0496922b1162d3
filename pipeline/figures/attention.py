"""Attention of one prediction as charts: over the picture, over the words, by layer and attention head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from ..explanation.explanation import TARGETS, Array, Explanation, ImageAttention, LayerAttention, TextAttention
from ..explanation.geometry import Box
from .chart import COLOURS, WIDTH, Chart, drawing, legend, short
from .confusion_matrix import SHADES
from .words import Words

Pixels = NDArray[np.uint8]
HEAT = np.array([0xD5, 0x66, 0x2A])  # of the palette's second colour
STRONGEST = 0.85  # opacity of the heat where the weight is highest
UNSEEN = 0.65  # how far the part of a picture that the encoder does not see is faded to white
LONGEST_SIDE = 480  # pixels of a picture in a chart
MOST_WORDS, MOST_HEADS = 30, 8  # in one chart


def post_charts(found: Explanation, pixels: Pixels | None, words: Words) -> list[Chart]:
    """All charts of one explanation; `pixels` (H, W, 3) is its upright picture, None where it cannot be shown."""
    charts = [_opinion_chart(found, words)]
    for number, image in enumerate(found.images):
        suffix = f"-{number + 1}" * (len(found.images) > 1)
        charts.append(patch_chart(image, pixels, words, f"patches{suffix}"))
        charts += _head_charts(image, words, f"patches-heads{suffix}")
    for number, text in enumerate(found.texts):
        suffix = f"-{number + 1}" * (len(found.texts) > 1)
        charts += [_word_chart(text, words, f"words{suffix}"), _word_heads(text, words, f"words-heads{suffix}")]
    return [*charts, *([layer_chart(found.layers, words)] if found.layers else [])]


def heat(one: ImageAttention, height: int, width: int) -> Array:
    """The weight (H, W) of the patch that each pixel of the upright picture lies in, 0 where the encoder sees none."""
    rows, columns = one.weights.shape
    top, left, bottom, right = one.box or Box(0, 0, height, width)
    row = np.floor((np.arange(height) + 0.5 - top) / (bottom - top) * rows).astype(int)
    column = np.floor((np.arange(width) + 0.5 - left) / (right - left) * columns).astype(int)
    inside = ((row >= 0) & (row < rows))[:, None] & ((column >= 0) & (column < columns))
    found: Array = one.weights[row.clip(0, rows - 1)[:, None], column.clip(0, columns - 1)] * inside
    return found


def overlay(one: ImageAttention, pixels: Pixels) -> Pixels:
    """The picture (H, W, 3) in grey with its attention in colour; faded where the encoder does not see it."""
    weights = heat(one, *pixels.shape[:2])[..., None]
    grey = np.repeat(pixels.mean(2, keepdims=True), 3, 2)
    top, left, bottom, right = one.box or Box(0, 0, *pixels.shape[:2])
    y, x = np.arange(len(pixels))[:, None] + 0.5, np.arange(pixels.shape[1]) + 0.5
    seen = ((y > top) & (y < bottom) & (x > left) & (x < right))[..., None]
    base = np.where(seen, grey, grey + (255 - grey) * UNSEEN)
    opacity = STRONGEST * weights / max(weights.max(), np.finfo(np.float64).tiny)
    shown: Pixels = (base + (HEAT - base) * opacity).round().astype(np.uint8)
    return shown


def patch_chart(one: ImageAttention, pixels: Pixels | None, words: Words, name: str) -> Chart:
    """The picture with its attention, or the grid alone where there is no picture or its place is not known."""
    rows = [
        [row, column, *(_corners(one, row, column)), weight] for (row, column), weight in np.ndenumerate(one.weights)
    ]
    shown = pixels is not None and one.box is not None
    high, wide = pixels.shape[:2] if pixels is not None and shown else one.weights.shape
    with drawing(WIDTH, max(1.2, min(WIDTH * high / wide, 1.6 * WIDTH))) as (figure, axes):
        draw_patches(axes, one, pixels, LONGEST_SIDE)
    caption = words("Attention on {rows} × {columns} patches.")
    if shown:
        caption = words("Attention on {rows} × {columns} patches; the frame is what the encoder sees of the picture.")
    grid = {"rows": one.weights.shape[0], "columns": one.weights.shape[1]}
    title = words("Picture: {encoder}").format(encoder=short(one.encoder))
    return Chart(name, title, caption.format(**grid), figure, [*PATCH, "weight"], rows)


def draw_patches(axes: Axes, one: ImageAttention, pixels: Pixels | None, longest: int) -> None:
    """The picture, of at most `longest` pixels a side, with its attention, and a frame around what the encoder sees."""
    axes.axis("off")
    if pixels is None or one.box is None:
        axes.imshow(one.weights, cmap=SHADES, vmin=0)
        return
    scale = min(1.0, longest / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    box = Box(*(edge * scale for edge in one.box))
    axes.imshow(overlay(ImageAttention(one.encoder, one.weights, {}, None, box), small), interpolation="none")
    axes.add_patch(Rectangle((box.left, box.top), box.right - box.left, box.bottom - box.top, fill=False, lw=0.8))
    axes.set_xlim(0, size[0])
    axes.set_ylim(size[1], 0)


PATCH = ("row", "column", "top", "left", "bottom", "right")


def _corners(one: ImageAttention, row: int, column: int) -> list[float | str]:
    """The edges of a patch in pixels of the picture; empty where they are not known."""
    if one.box is None:
        return [""] * 4
    high, wide = (one.box.bottom - one.box.top), (one.box.right - one.box.left)
    rows, columns = one.weights.shape
    return [
        *(one.box.top + high * row / rows, one.box.left + wide * column / columns),
        *(one.box.top + high * (row + 1) / rows, one.box.left + wide * (column + 1) / columns),
    ]


def _head_charts(one: ImageAttention, words: Words, name: str) -> list[Chart]:
    """The grid of each layer, one row, and attention head, one column."""
    shown = {layer: weights[:MOST_HEADS] for layer, weights in one.layers.items()}
    columns = max(len(weights) for weights in shown.values())
    if len(shown) * columns == 1:  # the chart before shows it
        return []
    with drawing(WIDTH, 0.5 + len(shown) * min(1.1, WIDTH / columns)) as (figure, axes):
        axes.remove()
        panels = figure.subplots(len(shown), columns, squeeze=False)
        for (layer, weights), line in zip(shown.items(), panels, strict=True):
            for number, panel in enumerate(line):
                panel.axis("off")
                if number < len(weights):
                    panel.imshow(weights[number], cmap=SHADES, vmin=0)
            line[0].set_title(short(layer), fontsize=7, loc="left")
    rows = [
        [layer, head, *place, weight]
        for layer, weights in one.layers.items()
        for (head, *place), weight in np.ndenumerate(weights)
    ]
    title = words("Patches by layer and attention head: {encoder}").format(encoder=short(one.encoder))
    caption = words("One row per layer, one column per attention head; each panel has its own scale.")
    return [Chart(name, title, caption, figure, ["layer", "head", "row", "column", "weight"], rows)]


def strongest(one: TextAttention, most: int) -> NDArray[np.int64]:
    """The words with the most attention, in the order of the text."""
    return np.sort(np.argsort(-one.weights, kind="stable")[:most])


def _word_chart(one: TextAttention, words: Words, name: str) -> Chart:
    """A bar per word, in the order of the text."""
    with drawing(WIDTH, max(1.4, 0.6 + 0.18 * min(len(one.words), MOST_WORDS))) as (figure, axes):
        draw_words(axes, one, MOST_WORDS)
        axes.set_xlabel(words("share of the attention among words"))
    title = words("Words: {encoder}").format(encoder=short(one.encoder))
    caption = words("Mean over layers and attention heads; of a long text, the {count} words with the most.")
    rows = [[word, weight] for word, weight in zip(one.words, one.weights, strict=True)]
    return Chart(name, title, caption.format(count=MOST_WORDS), figure, ["word", "weight"], rows)


def draw_words(axes: Axes, one: TextAttention, most: int) -> None:
    """A bar for each of the words with the most attention."""
    order = strongest(one, most)
    places = np.arange(len(order))
    axes.barh(places, one.weights[order], color=COLOURS[1], height=0.7)
    axes.set_yticks(places, [short(one.words[place]) for place in order])
    axes.invert_yaxis()
    axes.grid(False, axis="y")


def _word_heads(one: TextAttention, words: Words, name: str) -> Chart:
    """A heat map of words by layer and attention head."""
    order = strongest(one, MOST_WORDS)
    labels = [(layer, head) for layer, weights in one.layers.items() for head in range(len(weights[:MOST_HEADS]))]
    cells = np.stack([one.layers[layer][head][order] for layer, head in labels], 1)  # (words, heads)
    with drawing(WIDTH, max(1.8, 1.2 + 0.18 * len(order))) as (figure, axes):
        axes.pcolormesh(cells / np.maximum(cells.max(0), 1e-12), cmap=SHADES, vmin=0, vmax=1)
        axes.invert_yaxis()
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_yticks(np.arange(len(order)) + 0.5, [short(one.words[place]) for place in order])
        names = [f"{short(layer, 16)} {head + 1}" for layer, head in labels]
        axes.set_xticks(np.arange(len(labels)) + 0.5, names, rotation=90, fontsize=7)
    rows = [
        [layer, head, word, weight]
        for layer, weights in one.layers.items()
        for head, line in enumerate(weights)
        for word, weight in zip(one.words, line, strict=True)
    ]
    title = words("Words by layer and attention head: {encoder}").format(encoder=short(one.encoder))
    caption = words("Each column is scaled to its highest weight.")
    return Chart(name, title, caption, figure, ["layer", "head", "word", "weight"], rows)


def layer_chart(layers: Sequence[LayerAttention], words: Words, name: str = "layers") -> Chart:
    """A stacked bar per layer: the parts of the post that it attended to."""
    lines = {f"{one.layer}: {words(one.queries)} → {words(one.keys)}": one.shares for one in layers}
    title = words("Attention by layer")
    caption = words("Mean over queries and attention heads; a learned sink takes what is given to nothing.")
    return Chart(name, title, caption, *stacked(lines, TARGETS, "layer", words))


def stacked(
    lines: Mapping[str, Mapping[str, float]], parts: Sequence[str], first: str, words: Words
) -> tuple[Figure, list[str], list[list[object]]]:
    """A bar per line, of its parts that add up to 1: the figure, and the header and rows of its table."""
    known = [part for part in parts if any(part in shares for shares in lines.values())]
    with drawing(WIDTH, 1.2 + 0.34 * len(lines)) as (figure, axes):
        start, handles = np.zeros(len(lines)), []
        for part in known:
            values = np.array([shares.get(part, 0.0) for shares in lines.values()])
            colour = COLOURS[parts.index(part)] if part != "nothing" else COLOURS[-1]
            handles.append(axes.barh(np.arange(len(lines)), values, left=start, color=colour, height=0.65))
            start = start + values
        axes.set_yticks(np.arange(len(lines)), [short(label, 40) for label in lines])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.grid(False, axis="y")
        legend(axes, handles, [words(part) for part in known], columns=3)
    rows: list[list[object]] = [[name, *(shares.get(part, "") for part in known)] for name, shares in lines.items()]
    return figure, [first, *known], rows


def _opinion_chart(found: Explanation, words: Words) -> Chart:
    """Probabilities of the classes by what the heads are shown."""
    shown = (
        {words("image and text"): found.probabilities} if len(found.alone) > 1 else {words("post"): found.probabilities}
    )
    if len(found.alone) > 1:
        shown |= {words("{modality} alone").format(modality=words(side)): p for side, p in found.alone.items()}
    height = 0.8 / len(shown)
    with drawing(WIDTH, max(1.9, 1.0 + 0.22 * len(found.classes) * len(shown))) as (figure, axes):
        places = np.arange(len(found.classes))
        handles = [
            axes.barh(places + (number - (len(shown) - 1) / 2) * height, p, height=height * 0.9, color=COLOURS[number])
            for number, p in enumerate(shown.values())
        ]
        axes.set_yticks(places, [short(name) for name in found.classes])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.grid(False, axis="y")
        axes.set_xlabel(words("probability"))
        if len(shown) > 1:
            legend(axes, handles, list(shown), columns=3)
    rows = [[name, *map(float, p)] for name, p in shown.items()]
    caption = words("What the same heads predict with one modality absent.") if len(shown) > 1 else ""
    return Chart("opinions", words("Probabilities"), caption, figure, ["input", *found.classes], rows)
