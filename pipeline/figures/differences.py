"""Paired differences of stored runs on the test rows that they share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..metrics.scores import score
from ..metrics.statistics import INTERVAL_METRICS, mcnemar, over_repeats
from .stored import Predictions


class Difference(NamedTuple):
    """Metrics of one run minus those of another on `rows` common test rows, and the p of McNemar's test (mid-p).

    Of several repeats, metrics are averaged, and p is twice the median p.
    """

    rows: int
    metrics: dict[str, float]
    mcnemar: float


def compare_predictions(one: Predictions, other: Predictions) -> Difference | None:
    """Compare both on the posts, by id and repeat, that both tested with the same label; None where there is none."""
    place = {post: row for row, post in enumerate(other.posts)}
    classes = tuple(dict.fromkeys((*one.classes, *other.classes)))
    codes = [np.array([classes.index(name) for name in found.classes], np.int64) for found in (one, other)]
    pairs = [
        (row, place[post])
        for row, post in enumerate(one.posts)
        if post in place and one.classes[one.truth[row]] == other.classes[other.truth[place[post]]]
    ]
    if not pairs:
        return None
    ours, theirs = np.array(pairs).T
    truth = codes[0][one.truth[ours]]
    predicted = codes[0][one.predicted[ours]], codes[1][other.predicted[theirs]]
    repeats = np.array([one.posts[row][1] for row in ours])
    masks: list[NDArray[np.bool_]] = [repeats == repeat for repeat in np.unique(repeats)]
    scores = [[score(truth[rows], found[rows], classes) for found in predicted] for rows in masks]
    return Difference(
        len(pairs),
        {name: float(np.mean([first[name] - second[name] for first, second in scores])) for name in INTERVAL_METRICS},
        over_repeats([mcnemar(truth[rows], *(found[rows] for found in predicted)).mid for rows in masks]),
    )
