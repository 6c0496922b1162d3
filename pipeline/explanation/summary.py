"""An explanation as text: the prediction, the opinions, the words and patches with the most attention, the layers."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill

import numpy as np

from ...features.text_table import table
from .explanation import Explanation, ImageAttention, TextAttention
from .remarks import ALL_FOLDS, HELD_OUT, LIMITS, TRAINED

MOST_WORDS, WIDEST = 12, 80


def summary(found: Explanation, *, trained: bool) -> str:
    """Several lines; `trained`: the run has learned from the post, and no fold was tested on it."""
    truth = "" if found.truth is None else f"; labelled {found.truth}"
    probabilities = ", ".join(f"{name} {p:.3f}" for name, p in zip(found.classes, found.probabilities, strict=True))
    parts = [
        f"{found.id}: {found.label} ({probabilities}){truth}\npredicted by {basis(found, trained=trained)}",
        _opinions(found),
    ]
    if found.modality_weights:
        weights = ", ".join(f"{side} {share:.3f}" for side, share in found.modality_weights.items())
        parts.append(f"weights of the modalities: {weights}")
    parts += [_words(one) for one in found.texts]
    parts += [_patches(one) for one in found.images]
    parts.append(_layers(found))
    if found.layers:
        parts.append(fill(LIMITS, WIDEST))
    return "\n\n".join(filter(None, [*parts, "\n".join(map(str, found.notes))]))


def basis(found: Explanation, *, trained: bool, words: Callable[[str], str] = str) -> str:
    """Whose prediction it is, translated by `words`."""
    if found.held_out:
        numbers = ", ".join(map(str, found.folds))
        return words(HELD_OUT).format(numbers=numbers)
    return words(TRAINED if trained else ALL_FOLDS).format(count=len(found.folds))


def _opinions(found: Explanation) -> str:
    """The prediction, and what each modality alone predicts."""
    if len(found.alone) < 2:
        return ""
    rows = {"image and text": found.probabilities} | {f"{side} alone": p for side, p in found.alone.items()}
    lines = [[name, found.classes[int(p.argmax())], *(f"{one:.3f}" for one in p)] for name, p in rows.items()]
    return table(["input", "predicted", *found.classes], lines)


def _words(one: TextAttention) -> str:
    """The words with the most attention, in the order of the text."""
    order = np.sort(np.argsort(-one.weights, kind="stable")[:MOST_WORDS])
    shown = fill(", ".join(f"{one.words[place]} {one.weights[place]:.2f}" for place in order), WIDEST)
    rest = f" (the {len(order)} of {len(one.words)} words with the most)" if len(one.words) > len(order) else ""
    return f"attention among the words of {one.encoder}{rest}:\n{shown}"


def _patches(one: ImageAttention) -> str:
    """The patch with the most attention, and where it lies."""
    rows, columns = one.weights.shape
    row, column = np.unravel_index(int(one.weights.argmax()), one.weights.shape)
    where = ""
    if one.size and one.box:
        top, left, bottom, right = one.box
        y, x = (_edges(top, bottom, int(row), rows), _edges(left, right, int(column), columns))
        where = f", pixels x {x[0]} to {x[1]}, y {y[0]} to {y[1]} of {one.size[1]}x{one.size[0]}"
    share = one.weights[row, column]
    return (
        f"attention among the {rows}x{columns} patches of {one.encoder}:\n"
        f"most, {share:.2f}, on row {row + 1}, column {column + 1}{where}"
    )


def _edges(low: float, high: float, number: int, parts: int) -> tuple[int, int]:
    step = (high - low) / parts
    return round(low + number * step), round(low + (number + 1) * step)


def _layers(found: Explanation) -> str:
    """What each layer attended to, the most first."""
    lines = []
    for one in found.layers:
        shares = sorted(one.shares.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{target} {share:.0%}" for target, share in shares)
        lines.append(fill(f"{one.layer}, {one.queries} to {one.keys}: {parts}", WIDEST, subsequent_indent="  "))
    return "\n".join(["attention of each layer:", *lines]) if lines else ""
