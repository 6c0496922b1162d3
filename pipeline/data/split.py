"""Training, validation and test rows: folds stratified by label that never part duplicates, stored and reused."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...features.store.json_files import read_json, write_json
from .group_folds import split_groups
from .overlap import refuse_overlap

TEST_PARTS = 5  # one fifth are test rows where no folds are asked for
PARTS = ("train", "valid", "test")
VALID_PARTS = 10  # one tenth of the rows that are not tested are validation rows


@dataclass(frozen=True)
class Fold:
    """Row numbers of one fold: `train`, `valid` to choose the best epoch, and `test`, which no training sees.

    Folds of one `repeat` test each row once; every repeat splits the same rows with another seed.
    """

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]
    repeat: int = 0

    @property
    def rest(self) -> NDArray[np.int64]:
        """The training and validation rows, sorted."""
        return np.sort(np.concatenate([self.train, self.valid]))


@dataclass(frozen=True)
class Posts:
    """What a split depends on, per row: id, label (None: unlabelled), duplicate group, and the user's own split.

    `contents` identifies what each post holds, whatever its id; without it the id identifies the post.
    """

    ids: Sequence[str]
    labels: Sequence[str | None]
    groups: NDArray[np.int64]
    splits: Sequence[str | None]
    contents: Sequence[str] = ()

    @property
    def keys(self) -> Sequence[str]:
        """What identifies a row from one command to the next."""
        return self.contents or self.ids

    @property
    def in_test_set(self) -> NDArray[np.bool_]:
        """Mask (N,) of the rows that only `msa test` may read: labelled test posts, and every copy of one."""
        pairs = zip(self.labels, self.splits, strict=True)
        test = np.array([label is not None and split == "test" for label, split in pairs], bool)
        return np.isin(self.groups, self.groups[test])

    def digest(self, folds: int | None, seed: int) -> str:
        """The name of the stored split: the same rows, labels and groups always get the same folds."""
        rows = [list(self.ids), list(self.keys), list(self.labels), self.groups.tolist(), list(self.splits)]
        return hashlib.blake2b(json.dumps([rows, folds, seed]).encode(), digest_size=8).hexdigest()


def load_or_make_folds(posts: Posts, folder: Path, *, folds: int | None, seed: int, repeats: int = 1) -> list[Fold]:
    """The stored folds of these rows, repeat after repeat; they are made and stored at first use.

    `folds=None` gives one fold: the user's `val` rows where the data names a split, else a fifth. Posts whose split
    is `test` are in no fold. Raises ValueError where a class is too small to be split.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be 1 or more; got {repeats}")
    if repeats > 1 and folds is None:
        raise ValueError(f"{repeats} repeats need folds to repeat; add --folds, as --folds 5")
    return [fold for number in range(repeats) for fold in _load_or_make(posts, folder, folds, seed, number)]


def _load_or_make(posts: Posts, folder: Path, folds: int | None, seed: int, repeat: int) -> list[Fold]:
    seed = repeat_seed(seed, repeat)
    path = folder / f"{posts.digest(folds, seed)}.json"
    if path.exists():
        return [replace(fold, repeat=repeat) for fold in read_folds(path, posts)]
    made = [replace(fold, repeat=repeat) for fold in make_folds(posts, folds=folds, seed=seed)]
    write_json(path, describe_folds(posts, made, folds=folds, seed=seed))
    return made


def repeat_seed(seed: int, repeat: int) -> int:
    """The seed of one repeat of the folds: that of the first is `seed` itself."""
    digest = hashlib.blake2b(f"{seed},{repeat}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) if repeat else seed


def describe_folds(posts: Posts, made: Sequence[Fold], *, folds: int | None, seed: int) -> dict[str, object]:
    """The folds as ids, for JSON, with what each of these posts holds."""
    named = [
        {part: [posts.ids[i] for i in getattr(fold, part)] for part in PARTS} | {"repeat": fold.repeat} for fold in made
    ]
    rows = np.unique(np.concatenate([getattr(fold, part) for fold in made for part in PARTS]))
    keys = {posts.ids[row]: posts.keys[row] for row in rows}
    return {"folds_asked": folds, "seed": seed, "folds": named, "keys": keys}


def read_folds(path: Path, posts: Posts) -> list[Fold]:
    """The folds that `describe_folds` wrote, as rows of these posts.

    Raises ValueError for a damaged file, and where a post of the folds is gone or has changed.
    """
    number = {name: index for index, name in enumerate(posts.ids)}
    stored = read_json(path, "a stored split", "delete it or train again")
    try:
        keys, named = dict(stored["keys"]), [[list(fold[part]) for part in PARTS] for fold in stored["folds"]]
        repeats = [int(fold["repeat"]) for fold in stored["folds"]]
        gone = [name for fold in named for part in fold for name in part if name not in number]
        gone = gone or [name for name, key in keys.items() if posts.keys[number[name]] != key]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a stored split ({error!r}); delete it or train again") from error
    if gone:
        raise ValueError(
            f"{path}: not a stored split of these posts: {gone[0]!r} is gone or has changed "
            f"({len(set(gone))} in all); give the data as they were, or delete it or train again"
        )
    rows = [[np.array([number[name] for name in part], np.int64) for part in fold] for fold in named]
    try:
        refuse_overlap(rows, repeats, list(zip(posts.groups.tolist(), posts.keys, strict=True)), posts.ids)
    except ValueError as error:
        raise ValueError(f"{path}: not a stored split: {error}; delete it or train again") from error
    return [Fold(train, valid, test, repeat) for (train, valid, test), repeat in zip(rows, repeats, strict=True)]


def make_folds(posts: Posts, *, folds: int | None, seed: int) -> list[Fold]:
    """Split labelled rows into folds; rows that share content or group are always in the same part."""
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
    open_rows = open_rows[~posts.in_test_set[open_rows]]  # a copy of a test post would leak it
    if folds is None and (named[open_rows] == "val").any():
        test = open_rows[named[open_rows] == "val"]
        rest = open_rows[named[open_rows] != "val"]
        pairs = [(rest[~np.isin(posts.groups[rest], posts.groups[test])], test)]
    else:
        pairs = _split_rows(posts, open_rows, folds or TEST_PARTS, seed)[: folds or 1]
    return [Fold(*split_validation(posts, rest, seed=seed), test) for rest, test in pairs]


def split_validation(
    posts: Posts, rows: NDArray[np.int64], *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split labelled rows into training rows and a tenth of validation rows; ValueError where a class is too small."""
    parts = min(_valid_parts(posts, rows), max(2, len(np.unique(posts.groups[rows]))))
    return _split_rows(posts, rows, parts, seed)[0]


def ensemble_folds(posts: Posts, fold: Fold, *, count: int, seed: int) -> list[Fold]:
    """The folds of `count` ensemble members: the same test rows, other validation rows; the first is `fold` itself.

    Together the members train on every row that is not tested. The eleventh has the rows of the first again. Raises
    ValueError where the posts are too few.
    """
    if count == 1:
        return [fold]
    split = _split_rows(posts, fold.rest, _valid_parts(posts, fold.rest), repeat_seed(seed, fold.repeat))
    others = [replace(fold, train=train, valid=part) for train, part in split if not np.array_equal(part, fold.valid)]
    distinct = [fold, *others][: min(count, VALID_PARTS)]
    if len(distinct) < min(count, VALID_PARTS):
        raise ValueError(f"these posts are too few for an ensemble of {count}; use at most {len(distinct)}")
    return list(islice(cycle(distinct), count))


def inner_folds(posts: Posts, fold: Fold, *, folds: int, seed: int) -> list[Fold]:
    """Split a fold's training and validation rows into `folds` inner folds, on which settings may be chosen.

    No test row of the outer fold, nor a copy of one, is in any of them. Raises ValueError as `make_folds`.
    """
    if folds < 2:
        raise ValueError(f"inner folds must be 2 or more; got {folds}")
    made = []
    for others, test in _split_rows(posts, fold.rest, folds, seed):
        train, valid = split_validation(posts, others, seed=seed)
        made.append(replace(fold, train=train, valid=valid, test=test))
    return made


def take_share(posts: Posts, rows: NDArray[np.int64], share: float, *, seed: int) -> NDArray[np.int64]:
    """About `share` of these labelled rows, sorted: whole duplicate groups, each class in proportion, one at least.

    Of two shares with one seed the smaller is part of the larger. Raises ValueError outside 0 < share <= 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share must be above 0 and at most 1; got {share}")
    labels = np.array([posts.labels[row] or "" for row in rows])
    _, first, group, sizes = np.unique(posts.groups[rows], return_index=True, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    taken = np.zeros(len(sizes), bool)
    for label in np.unique(labels):
        mine = order[labels[first[order]] == label]  # a group counts to the class of its first row
        before = np.cumsum(sizes[mine]) - sizes[mine]
        taken[mine] = before < share * sizes[mine].sum() - 1e-9
    return np.asarray(np.sort(rows[taken[group]]))


def _valid_parts(posts: Posts, rows: NDArray[np.int64]) -> int:
    """Number of parts of which one is for validation: ten, fewer where no class has ten posts."""
    return min(VALID_PARTS, max(2, *Counter(posts.labels[row] for row in rows).values()))


def _split_rows(
    posts: Posts, rows: NDArray[np.int64], parts: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split labelled rows into `parts`; return (the others, the part) for each."""
    labels, groups = [posts.labels[row] or "" for row in rows], posts.groups[rows]
    counts = Counter(labels)
    if len(counts) < 2:
        raise ValueError(f"at least two classes are needed to train; got {sorted(counts)}")
    label, fewest = min(counts.items(), key=lambda pair: pair[1])
    if fewest < 2:
        raise ValueError(f"class {label!r} has {fewest} post to split; give it more posts or drop it")
    if max(counts.values()) < parts:
        raise ValueError(f"no class has {parts} posts for {parts} parts; use fewer --folds or more posts")
    if (tied := len(np.unique(groups))) < parts:
        raise ValueError(f"duplicates tie the posts into {tied} groups, too few for {parts} parts; use fewer --folds")
    places = split_groups(np.array(labels), groups, parts, seed=seed)
    if not all(map(len, places)):
        raise ValueError(f"duplicates tie the posts into too few groups for {parts} parts; use fewer --folds")
    return [(np.delete(rows, part), rows[part]) for part in places]
