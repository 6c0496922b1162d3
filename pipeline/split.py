"""Who trains, who stops, who is scored: folds stratified by label, never parting duplicates, stored and reused."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from ..features.durable import write_atomic

HOLDOUT = 5  # one fifth is scored where no folds are asked for
PARTS = ("train", "stop", "score")
STOP_PARTS = 10  # one tenth of the training rows decides when to stop


@dataclass(frozen=True)
class Fold:
    """Row numbers of one fold. `stop` ends training early and is never scored; `score` is never trained on."""

    train: NDArray[np.int64]
    stop: NDArray[np.int64]
    score: NDArray[np.int64]


@dataclass(frozen=True)
class Posts:
    """What a split looks at, per row: id, label (None: unlabelled), duplicate group, and the user's own split."""

    ids: Sequence[str]
    labels: Sequence[str | None]
    groups: NDArray[np.int64]
    splits: Sequence[str | None]

    def digest(self, folds: int | None, seed: int) -> str:
        """Names the stored split: the same rows, labels and groups always meet the same folds."""
        everything = [list(self.ids), list(self.labels), self.groups.tolist(), list(self.splits), folds, seed]
        return hashlib.blake2b(json.dumps(everything).encode(), digest_size=8).hexdigest()


def load_or_make_folds(posts: Posts, folder: Path, *, folds: int | None, seed: int) -> list[Fold]:
    """The stored folds of these rows, made and stored at first use.

    `folds=None` gives one fold: the user's `val` rows where the data names a split, else a fifth. Posts whose split
    is `test` are in no fold. Raises ValueError where a class is too small to be split.
    """
    path = folder / f"{posts.digest(folds, seed)}.json"
    if path.exists():
        number = {name: index for index, name in enumerate(posts.ids)}
        try:
            stored = json.loads(path.read_text("utf-8"))["folds"]
            return [Fold(*(np.array([number[i] for i in fold[p]], np.int64) for p in PARTS)) for fold in stored]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a stored split of these posts ({error!r}); delete it") from error
    made = make_folds(posts, folds=folds, seed=seed)
    write_atomic(path, json.dumps(describe_folds(posts, made, folds=folds, seed=seed)).encode())
    return made


def describe_folds(posts: Posts, made: Sequence[Fold], *, folds: int | None, seed: int) -> dict[str, object]:
    """The folds as ids, for JSON."""
    named = [{part: [posts.ids[i] for i in getattr(fold, part)] for part in PARTS} for fold in made]
    return {"folds_asked": folds, "seed": seed, "folds": named}


def make_folds(posts: Posts, *, folds: int | None, seed: int) -> list[Fold]:
    """Deal labelled rows into folds; rows that share content or group stay on one side of every line."""
    if folds is not None and folds < 2:
        raise ValueError(f"folds must be 2 or more; got {folds}")
    labelled = np.array([label is not None for label in posts.labels])
    named = np.array([split or "" for split in posts.splits])
    unknown = sorted(set(named.tolist()) - {"", "train", "val", "test"})
    if unknown:
        raise ValueError(f"a post's split is train, val, test or empty; got {', '.join(map(repr, unknown))}")
    open_rows = np.flatnonzero(labelled & (named != "test"))
    if not len(open_rows):
        raise ValueError("no labelled posts to train on; `msa check` shows what was read")
    held = np.unique(posts.groups[labelled & (named == "test")])
    open_rows = open_rows[~np.isin(posts.groups[open_rows], held)]  # a copy of a test post would leak it
    labels = np.array([label or "" for label in posts.labels])
    if folds is None and (named[open_rows] == "val").any():
        score = open_rows[named[open_rows] == "val"]
        rest = open_rows[named[open_rows] != "val"]
        rest = rest[~np.isin(posts.groups[rest], np.unique(posts.groups[score]))]
        pairs = [(rest, score)]
    else:
        pairs = _deal(open_rows, labels, posts.groups, folds or HOLDOUT, seed)[: folds or 1]
    made = []
    for rest, score in pairs:
        train, stop = _deal(rest, labels, posts.groups, _stop_parts(labels[rest]), seed)[0]
        made.append(Fold(train, stop, score))
    return made


def members_of(posts: Posts, fold: Fold, *, count: int, seed: int) -> list[Fold]:
    """Give `count` folds that score the same rows and each stop on another tenth of the others; the first is `fold`.

    A head per member, averaged, learns from every row that is not scored.
    """
    if not 1 <= count <= STOP_PARTS:
        raise ValueError(f"members must be 1 to {STOP_PARTS}; got {count}")
    if count == 1:
        return [fold]
    rest = np.sort(np.concatenate([fold.train, fold.stop]))
    labels = np.array([label or "" for label in posts.labels])
    dealt = _deal(rest, labels, posts.groups, _stop_parts(labels[rest]), seed)
    others = [Fold(train, stop, fold.score) for train, stop in dealt if not np.array_equal(stop, fold.stop)]
    if len(others) < count - 1:
        raise ValueError(f"these posts are too few for {count} members; use at most {len(others) + 1}")
    return [fold, *others[: count - 1]]


def _stop_parts(labels: NDArray[np.str_]) -> int:
    """Parts of which one stops training: ten, fewer where no class has ten posts."""
    return min(STOP_PARTS, max(2, *Counter(labels.tolist()).values()))


def _deal(
    rows: NDArray[np.int64], labels: NDArray[np.str_], groups: NDArray[np.int64], parts: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split rows into `parts`; return (the others, the part) for each."""
    counts = Counter(labels[rows].tolist())
    if len(counts) < 2:
        raise ValueError(f"at least two classes are needed to train; got {sorted(counts)}")
    label, fewest = min(counts.items(), key=lambda pair: pair[1])
    if fewest < 2:
        raise ValueError(f"class {label!r} has {fewest} post to split; give it more posts or drop it")
    if max(counts.values()) < parts:
        raise ValueError(f"no class has {parts} posts for {parts} parts; use fewer --folds or more posts")
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a class smaller than the number of parts is in some parts only: that is fine
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        dealt = list(splitter.split(rows, labels[rows], groups[rows]))
    result = [(rows[others], rows[part]) for others, part in dealt]
    if any(not len(part) or not len(others) for others, part in result):
        raise ValueError(f"duplicates tie the posts into too few groups for {parts} parts; use fewer --folds")
    return result
