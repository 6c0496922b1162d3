"""Folds that share posts are refused, whichever part they share, copies under another name included."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from msa.pipeline.data.overlap import refuse_overlap
from msa.pipeline.data.split import Posts, load_or_make_folds

IDS = [f"p{n}" for n in range(12)]
CONTENTS = [*IDS[:11], "p0"]  # the last is a copy of the first


def folds(*parts: tuple[list[int], list[int], list[int]]) -> list[list[np.ndarray]]:
    return [[np.array(rows, np.int64) for rows in one] for one in parts]


def test_parts_without_common_posts_pass() -> None:
    refuse_overlap(folds(([0, 11], [1], [2]), ([2], [1], [0, 11])), [0, 0], CONTENTS, IDS)
    refuse_overlap(folds(([0], [1], [2]), ([0], [1], [2])), [0, 1], CONTENTS, IDS)  # another repeat tests them again


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([([0, 1], [2], [1])], r"post 'p1' \(1 in all\) is both a training and a test row of fold 0"),
        ([([0, 1], [1], [2])], "both a training and a validation row of fold 0"),
        ([([0], [1, 2], [1, 2])], r"post 'p1' \(2 in all\) is both a validation and a test row of fold 0"),
        ([([0, 1], [2], [11])], "post 'p11' .* both a training and a test row"),
        ([([0], [1], [2, 2])], "fold 0 has a test row twice"),
        ([([0], [1], [2]), ([0], [1], [3, 2])], "post 'p2' .* is a test row of both fold 0 and fold 1"),
    ],
)
def test_common_posts_are_named(parts: list[tuple[list[int], list[int], list[int]]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refuse_overlap(folds(*parts), [0] * len(parts), CONTENTS, IDS)


def test_an_edited_split_of_the_cache_is_refused(tmp_path: Path) -> None:
    posts = Posts([f"p{n}" for n in range(40)], list("ab" * 20), np.arange(40), [None] * 40)
    load_or_make_folds(posts, tmp_path, folds=2, seed=0)
    (file,) = tmp_path.glob("*.json")
    stored = json.loads(file.read_text())
    stored["folds"][0]["train"].append(stored["folds"][0]["test"][0])
    file.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=f"{file.name}: not a stored split .*both a training and a test row"):
        load_or_make_folds(posts, tmp_path, folds=2, seed=0)
