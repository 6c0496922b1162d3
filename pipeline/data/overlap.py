"""Refusal of stored folds whose parts share posts, as an edited file may have them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Any

from numpy.typing import NDArray

NAMES = ("training", "validation", "test")


def refuse_overlap(
    folds: Sequence[Sequence[NDArray[Any]]], repeats: Sequence[int], posts: Sequence[Hashable], ids: Sequence[str]
) -> None:
    """Raise ValueError where a post is twice in a fold, or is a test row of two folds of one repeat.

    `folds` are the training, validation and test rows of each, `posts` (N,) what is equal for copies of a post.
    """
    for number, parts in enumerate(folds):
        for name, rows in zip(NAMES, parts, strict=True):
            if len(set(rows.tolist())) < len(rows):
                raise ValueError(f"fold {number} has a {name} row twice")
        for (name, first), (other, second) in combinations(zip(NAMES, parts, strict=True), 2):
            _refuse(first, second, posts, ids, f"both a {name} and a {other} row of fold {number}")
    for one, two in combinations(range(len(folds)), 2):
        if repeats[one] == repeats[two]:
            _refuse(folds[one][2], folds[two][2], posts, ids, f"a test row of both fold {one} and fold {two}")


def _refuse(
    first: NDArray[Any], second: NDArray[Any], posts: Sequence[Hashable], ids: Sequence[str], what: str
) -> None:
    known = {posts[row] for row in first.tolist()}
    shared = [ids[row] for row in second.tolist() if posts[row] in known]
    if shared:
        raise ValueError(f"post {shared[0]!r} ({len(shared)} in all) is {what}, so its score would mean nothing")
