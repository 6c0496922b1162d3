"""The test posts of a run, one by one: loss, what each modality predicts and adds, and doubtful labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..metrics.shapley import shapley_pair
from .label_errors import label_errors

SMALLEST = 1e-6  # probability that the files of a run tell from 0
Rows = NDArray[np.int64]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class TestPosts:
    """n posts, each predicted by heads that never saw it; of several repeats, the mean probability.

    `truth` (n,) are class numbers, `probabilities` (n, K), and `alone` (n, 3, K) those from the image, the text and
    neither: NaN where the post lacks the modality, None where the run does not store them.
    """

    __test__ = False  # not a test class for pytest

    ids: Sequence[str]
    classes: Sequence[str]
    truth: Rows
    probabilities: Probabilities
    alone: Probabilities | None = None

    @cached_property
    def predicted(self) -> Rows:
        """The most probable class of each post (n,)."""
        return np.asarray(self.probabilities.argmax(1))

    @cached_property
    def loss(self) -> NDArray[np.float64]:
        """The cross-entropy of each post (n,): -log of the probability of its label."""
        return -np.log(np.maximum(self._of(self.probabilities, self.truth), SMALLEST))

    @cached_property
    def worst(self) -> Rows:
        """Rows by falling loss."""
        return np.argsort(-self.loss, kind="stable")

    @cached_property
    def doubted(self) -> dict[int, int]:
        """Row -> the class that its label should likely be, the likeliest errors first (see `label_errors`)."""
        rows, others = label_errors(self.truth, self.probabilities)
        return dict(zip(rows.tolist(), others.tolist(), strict=True))

    @cached_property
    def divergence(self) -> NDArray[np.float64]:
        """Jensen-Shannon divergence (n,) of what image and text alone predict, 0 to 1 bit; NaN where one is missing."""
        assert self.alone is not None
        pair = np.maximum(self.alone[:, :2], SMALLEST)
        mean = pair.mean(1, keepdims=True)
        return np.asarray((pair * np.log2(pair / mean)).sum(2).mean(1))

    @cached_property
    def disagreeing(self) -> Rows:
        """Rows whose image and text alone predict different classes, by falling divergence; none without `alone`."""
        if self.alone is None:
            return np.zeros(0, np.int64)
        both = np.isfinite(self.divergence)
        image, text = np.nan_to_num(self.alone[:, :2]).argmax(2).T
        rows = np.flatnonzero(both & (image != text))
        return rows[np.argsort(-self.divergence[rows], kind="stable")]

    def shapley(self, classes: Rows, *, log: bool = False) -> NDArray[np.float64]:
        """Shapley values (n, 2) of image and text for the probability of a class (n,) of each post, or for its log.

        With two modalities exact: the gain of adding one, averaged over adding it first and second. Their sum is the
        probability from both minus that from neither. A modality that the post lacks has 0.
        """
        assert self.alone is not None
        image, text, neither = (self._of(self.alone[:, number], classes) for number in range(3))
        image, text = (np.where(np.isnan(one), neither, one) for one in (image, text))
        both = self._of(self.probabilities, classes)
        if log:
            neither, image, text, both = (np.log(np.maximum(one, SMALLEST)) for one in (neither, image, text, both))
        return np.stack(shapley_pair(neither, image, text, both), 1)

    def _of(self, probabilities: Probabilities, classes: Rows) -> NDArray[np.float64]:
        return np.asarray(probabilities[np.arange(len(self.ids)), classes])


def join_repeats(
    classes: Sequence[str],
    posts: Sequence[tuple[str, str]],
    truth: Rows,
    probabilities: Probabilities,
    opinions: Mapping[tuple[str, str], Probabilities],
) -> TestPosts:
    """The test posts from test rows of all repeats: `posts` are id and repeat of each row, `opinions` (3, K) by both.

    Opinions that do not cover all rows are left out.
    """
    ids = list(dict.fromkeys(name for name, _ in posts))
    place = {name: number for number, name in enumerate(ids)}
    rows = np.array([place[name] for name, _ in posts], np.int64)
    labels = np.empty(len(ids), np.int64)
    labels[rows] = truth
    alone = np.array([opinions[one] for one in posts]) if opinions and all(one in opinions for one in posts) else None
    return TestPosts(ids, classes, labels, _means(rows, probabilities), None if alone is None else _means(rows, alone))


def _means(rows: Rows, values: Probabilities) -> Probabilities:
    sums = np.zeros((int(rows.max(initial=-1)) + 1, *values.shape[1:]))
    np.add.at(sums, rows, values)
    return np.asarray(sums / np.bincount(rows).reshape(-1, *[1] * (values.ndim - 1)))
