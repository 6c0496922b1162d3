"""A kernel machine in closed form: predictions of every fold, and of every inner fold within it, from one inverse.

It is the head `kernel` with all training posts as landmarks. Leaving rows S out of kernel ridge regression changes the
predictions of these rows by a small system of equations, y_S - f_S = (A_SS)^-1 (A y)_S with A the inverse of the
regularised kernel, so that the inner folds of an outer fold k are the other folds: its choices never see rows of k.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve

CLIP = 6.0
CONSTANT = 1.0  # a constant kernel, whose weight is the intercept
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Machine:
    """Encoders of both modalities, each a vector per post, and the settings of the head."""

    image: tuple[str, ...]
    text: tuple[str, ...]
    gamma: float = 0.5
    ridge: float = 0.3
    balance: float = 0.5


class Posts:
    """Vectors by encoder (n, D), labels (n,) and the number of the test fold (n,) of labelled posts.

    Vectors are standardised over all of these posts, which reads no label.
    """

    def __init__(self, vectors: dict[str, Floats], labels: NDArray[np.int64], fold: NDArray[np.int64]) -> None:
        self.vectors, self.labels, self.fold = vectors, labels, fold
        self.parts = [np.flatnonzero(fold == number) for number in range(fold.max() + 1)]
        self.distances = cache(self._distances)

    def _distances(self, name: str) -> Floats:
        """Mean squared differences (n, n) of standardised vectors; a post without one has the mean."""
        raw = self.vectors[name]
        there = np.isfinite(raw).all(1)
        mean, deviation = raw[there].mean(0), np.maximum(raw[there].std(0), 1e-6)
        x = np.where(there[:, None], np.clip((raw - mean) / deviation, -CLIP, CLIP), 0).astype(np.float32)
        squares = (x**2).mean(1)
        return np.maximum(squares[:, None] + squares - 2 / x.shape[1] * (x @ x.T), 0)

    def kernel(self, machine: Machine) -> Floats:
        """The kernel (n, n) of a machine."""
        sides = [np.mean([np.exp(-machine.gamma * self.distances(one)) for one in side], axis=0)
                 for side in (machine.image, machine.text) if side]  # fmt: skip
        return np.prod(sides, axis=0, dtype=np.float32)

    def fit(self, machine: Machine) -> Floats:
        """Scores (F, n, K): [k] has those of fold k by a machine without it, of others by one without either."""
        classes = np.eye(self.labels.max() + 1, dtype=np.float32)[self.labels]
        weights = classes.mean(0)[self.labels] ** -machine.balance
        regularised = self.kernel(machine) + np.float32(CONSTANT)
        regularised[np.diag_indices(len(weights))] += (machine.ridge * weights.mean() / weights).astype(np.float32)
        factor = cho_factor(regularised, lower=True, overwrite_a=True, check_finite=False)
        inverse = cho_solve(factor, np.eye(len(weights), dtype=np.float32), overwrite_b=True, check_finite=False)
        dual = inverse @ classes

        def without(rows: NDArray[np.int64]) -> Floats:
            return classes[rows] - solve(inverse[np.ix_(rows, rows)], dual[rows], assume_a="pos", check_finite=False)

        found = np.empty((len(self.parts), *classes.shape), np.float32)
        for k, rows in enumerate(self.parts):
            found[k, rows] = without(rows)
            for j, others in enumerate(self.parts[:k]):
                both = without(np.concatenate([rows, others]))
                found[j, rows], found[k, others] = both[: len(rows)], both[len(rows) :]
        return found

    def outer(self, scores: Floats) -> Floats:
        """Scores (n, K) of each post by the machine that never saw its fold."""
        return np.ascontiguousarray(scores[self.fold, np.arange(len(self.fold))])


def inner_rows(posts: Posts, fold: int) -> NDArray[np.int64]:
    """The rows of all other folds."""
    return np.concatenate([rows for number, rows in enumerate(posts.parts) if number != fold])
