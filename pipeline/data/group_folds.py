"""Stratified folds of whole groups, as scikit-learn's StratifiedGroupKFold, with parts of more equal size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def split_groups(
    labels: NDArray[np.str_], groups: NDArray[np.int64], parts: int, *, seed: int
) -> list[NDArray[np.int64]]:
    """Split n rows into `parts`, each the sorted places of its rows; rows of one group stay together.

    Large groups come first, of one size those of unequal class counts, of equal ones in shuffled order. Each goes where
    the classes are then spread most evenly over the parts; of several such, to the one with the fewest rows.
    scikit-learn goes by unequal class counts alone, and so places a large balanced group last, in a part that is full.
    It weighs the parts one by one in Python, which takes seconds on some thousand groups; here all are weighed at once.
    """
    _, class_of, class_counts = np.unique(labels, return_inverse=True, return_counts=True)
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    counts = np.zeros((len(sizes), len(class_counts)))  # rows per group and class
    np.add.at(counts, (group_of, class_of), 1)
    shuffled = np.arange(len(sizes))
    np.random.RandomState(seed).shuffle(shuffled)
    order = shuffled[np.lexsort((-np.std(counts[shuffled], axis=1), -sizes[shuffled]))]

    part_of = np.empty(len(sizes), np.int64)
    filled = np.zeros((parts, len(class_counts)))  # rows per part and class
    here = np.eye(parts)[:, :, None]
    for group in order:
        tried = (filled + here * counts[group]) / class_counts  # (try, part, class): shares of each class
        apart = tried - np.add.reduce(tried, 1, keepdims=True) / parts
        spread = np.sqrt(np.add.reduce(apart * apart, 1) / parts)
        part = _best(np.add.reduce(spread, 1) / len(class_counts), filled.sum(1))
        filled[part] += counts[group]
        part_of[group] = part
    return [np.flatnonzero(part_of[group_of] == part) for part in range(parts)]


def too_few(groups: NDArray[np.int64], parts: int) -> str:
    """Why rows of these groups (n,) cannot be split into so many parts, and what to do."""
    sizes = np.unique(groups, return_counts=True)[1]
    fewer = f"use --folds {len(sizes)} (outer folds of a sweep: --outer)"
    remedy = fewer if 2 < len(sizes) < parts else "give more posts"
    found = f"{len(groups)} posts form {len(sizes)} groups that share content, the largest of {sizes.max()}"
    return (
        f"{found}; too few for {parts} parts; {remedy}, or let fewer posts be tied by --group-by image, text or none "
        "(`msa check` shows what ties them)"
    )


def _best(uneven: NDArray[np.float64], rows: NDArray[np.float64]) -> int:
    """The part with the least unevenness; where that is equal within rounding, the one with fewer rows."""
    best, least, fewest = 0, np.inf, np.inf
    for part, (value, size) in enumerate(zip(uneven.tolist(), rows.tolist(), strict=True)):
        equal = abs(value - least) <= 1e-8 + 1e-5 * abs(least) if part else False
        if value < least or (equal and size < fewest):
            best, least, fewest = part, value, size
    return best
