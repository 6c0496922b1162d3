"""Training, validation and test rows: folds stratified by label that never part duplicates, stored and reused."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ...features.spec import MODALITIES, Modality
from ...features.store.json_files import malformed, read_json, write_json
from .classes import need_two_classes
from .group_folds import split_groups, too_few
from .overlap import refuse_overlap

TEST_PARTS = 5  # one fifth are test rows where no folds are asked for
PARTS = ("train", "valid", "test")
VALID_PARTS = 10  # one tenth of the rows that are not tested are validation rows
DRAW = 2  # the way in which folds are drawn: another number where the same rows and seed get other folds
DIGESTED = 10_000  # values that are written out at once: there may be millions
Content = tuple[str | None, str | None]  # the content keys of an image (of several, with + between) and a text


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

    `contents` are the content keys of each post's images and text; without them the id identifies the post. `tied` are
    the modalities whose equal content ties posts into one group, as an image that two posts have.
    """

    ids: Sequence[str]
    labels: Sequence[str | None]
    groups: NDArray[np.int64]
    splits: Sequence[str | None]
    contents: Sequence[Content] = ()
    tied: tuple[Modality, ...] = ("image", "text")

    @property
    def keys(self) -> list[str]:
        """What identifies a row from one command to the next, whatever its id where its content is known."""
        return list(self._keys())

    def _keys(self) -> Iterable[str]:
        return (f"{image or ''}:{text or ''}" for image, text in self.contents) if self.contents else self.ids

    def content(self, modality: Modality) -> list[str | None]:
        """The content keys of one modality, None where a post has none; all None where no content is known."""
        place = MODALITIES.index(modality)
        return [pair[place] for pair in self.contents] or [None] * len(self.ids)

    @property
    def in_test_set(self) -> NDArray[np.bool_]:
        """Mask (N,) of the rows that only `msa test` may read: labelled test posts, and every copy of one."""
        pairs = zip(self.labels, self.splits, strict=True)
        test = np.array([label is not None and split == "test" for label, split in pairs], bool)
        return np.isin(self.groups, self.groups[test])

    def digest(self, folds: int | None, seed: int) -> str:
        """The name of the stored split: the same rows, labels and groups always get the same folds."""
        found = hashlib.blake2b(f"[{DRAW}, [".encode(), digest_size=8)
        for number, column in enumerate((self.ids, self._keys(), self.labels, map(int, self.groups), self.splits)):
            found.update(b", [" if number else b"[")
            values, before = iter(column), ""
            while some := list(islice(values, DIGESTED)):
                found.update(f"{before}{json.dumps(some)[1:-1]}".encode())
                before = ", "
            found.update(b"]")
        found.update(f"], {json.dumps(folds)}, {seed}]".encode())
        return found.hexdigest()


def load_or_make_folds(posts: Posts, folder: Path, *, folds: int | None, seed: int, repeats: int = 1) -> list[Fold]:
    """The stored folds of these rows, repeat after repeat; they are made and stored at first use.

    `folds=None` gives one fold: the user's `val` rows where the data names a split, else a fifth. Posts whose split
    is `test` are in no fold. Raises ValueError where the posts cannot be split.
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
        return [replace(fold, repeat=repeat) for fold in read_folds(path, posts)[0]]
    made = [replace(fold, repeat=repeat) for fold in make_folds(posts, folds=folds, seed=seed)]
    write_json(path, describe_folds(posts, made, folds=folds, seed=seed))
    return made


def repeat_seed(seed: int, repeat: int) -> int:
    """The seed of one repeat of the folds: that of the first is `seed` itself."""
    digest = hashlib.blake2b(f"{seed},{repeat}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) if repeat else seed


def describe_folds(posts: Posts, made: Sequence[Fold], *, folds: int | None, seed: int) -> dict[str, object]:
    """The folds as ids, for JSON, with the content and the duplicate group of each of these posts."""
    named = [
        {part: [posts.ids[i] for i in getattr(fold, part)] for part in PARTS} | {"repeat": fold.repeat} for fold in made
    ]
    rows = np.unique(np.concatenate([getattr(fold, part) for fold in made for part in PARTS]))
    known = {posts.ids[row]: list(posts.contents[row]) if posts.contents else [None, None] for row in rows}
    groups = {posts.ids[row]: int(posts.groups[row]) for row in rows}
    asked: dict[str, object] = {"folds_asked": folds, "seed": seed, "tied": list(posts.tied)}
    return asked | {"folds": named, "contents": known, "groups": groups}


def read_folds(path: Path, posts: Posts) -> tuple[list[Fold], Posts]:
    """The folds that `describe_folds` wrote, as rows of these posts; the posts with the groups that were stored.

    Raises ValueError for a damaged file, for folds whose parts share a post or a group, and where a post of the folds
    is gone or has changed.
    """
    number = {name: index for index, name in enumerate(posts.ids)}
    contents = posts.contents or [(None, None)] * len(posts.ids)
    what, remedy = "a stored split", "delete it or train again"
    stored = read_json(path, what, remedy, folds=list, contents=dict, groups=dict, tied=list)
    with malformed(path, what, remedy):
        named = [[list(fold[part]) for part in PARTS] for fold in stored["folds"]]
        repeats = [int(fold["repeat"]) for fold in stored["folds"]]
        known, groups = stored["contents"], {name: int(group) for name, group in stored["groups"].items()}
        gone = [name for fold in named for part in fold for name in part if name not in number]
        gone = gone or [name for name, pair in known.items() if contents[number[name]] != tuple(pair)]
        tied = tuple(modality for modality in MODALITIES if modality in stored["tied"])
    if gone:
        raise ValueError(
            f"{path}: not {what} of these posts: {gone[0]!r} is gone or has changed "
            f"({len(set(gone))} in all); give the data as they were, or {remedy}"
        )
    rows = [[np.array([number[name] for name in part], np.int64) for part in fold] for fold in named]
    folds = [Fold(train, valid, test, repeat) for (train, valid, test), repeat in zip(rows, repeats, strict=True)]
    places = np.array([number[name] for name in groups], np.int64)
    grouped = np.arange(len(posts.ids)) + 1 + max(groups.values(), default=0)
    grouped[places] = list(groups.values())
    with malformed(path, what, remedy):
        refuse_overlap(rows, repeats, grouped.tolist(), posts.ids)
    return folds, replace(posts, groups=grouped, tied=tied)


def make_folds(posts: Posts, *, folds: int | None, seed: int) -> list[Fold]:
    """Split labelled rows into folds; those that share content or group stay together. ValueError if it cannot be."""
    if folds is not None and folds < 2:
        raise ValueError(f"folds must be 2 or more; got {folds}")
    labelled = np.array([label is not None for label in posts.labels])
    named = np.array([split or "" for split in posts.splits])
    unknown = sorted(set(named.tolist()) - {"", "train", "val", "test"})
    if unknown:
        raise ValueError(
            f"a post's split is train, val, test or empty; got {', '.join(map(repr, unknown[:5]))}; rename them in the "
            "file, or rename its column, and a split is drawn"
        )
    if not labelled.any():
        raise ValueError("no labelled posts to train on; `msa check` shows what was read")
    tests = labelled & posts.in_test_set  # a copy of a test post would leak it
    open_rows = np.flatnonzero(labelled & ~tests)
    if not len(open_rows):
        raise ValueError(f"all {labelled.sum()} labelled posts are test posts or copies of one; mark some as 'train'")
    counts = Counter(posts.labels[int(row)] for row in open_rows)
    if sum(count > 1 for count in counts.values()) < 2:
        found = ", ".join(f"{label!r} ({count})" for label, count in list(counts.items())[:5])
        beside = f" beside {tests.sum()} test posts and their copies" if tests.any() else ""
        raise ValueError(
            f"at least two classes of two posts are needed to train; got {len(counts)} in {len(open_rows)} posts"
            f"{beside}: {found}; give another column by --column label=NAME (`msa check` shows what was read)"
        )
    if folds is None and (named[open_rows] == "val").any():
        test = open_rows[named[open_rows] == "val"]
        rest = open_rows[named[open_rows] != "val"]
        pairs = [(rest[~np.isin(posts.groups[rest], posts.groups[test])], test)]
        if not len(pairs[0][0]):
            raise ValueError(
                f"no training post is left beside {len(test)} of split 'val' ({len(rest)} share content with these); "
                "mark some as 'train', or use --folds 5, which ignores 'val'"
            )
    else:
        parts = folds or min(TEST_PARTS, max(2, len(np.unique(posts.groups[open_rows]))))
        pairs = _split_rows(posts, open_rows, parts, seed)[: folds or 1]
    made = [Fold(*split_validation(posts, rest, seed=seed), test) for rest, test in pairs]
    for fold in made:
        need_two_classes([posts.labels[row] for row in fold.train], "label more posts, or mark more as 'train'")
    return made


def split_validation(
    posts: Posts, rows: NDArray[np.int64], *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split labelled rows into training rows and a tenth of validation rows; ValueError where a class is too small."""
    return _split_rows(posts, rows, _valid_parts(posts, rows), seed)[0]


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
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(sizes))
    taken = np.zeros(len(sizes), bool)
    for label in np.unique(labels[first]):  # a group counts to the class of its first row
        mine = order[labels[first[order]] == label]
        # On a circle that is turned at random, the middle of a group is in an arc as often as the arc's share.
        total = sizes[mine].sum()
        middle = (np.cumsum(sizes[mine]) - sizes[mine] / 2 + draw.integers(total)) % total
        taken[mine] = middle < max(share * total - 1e-9, middle.min() + 1e-9)
    return np.asarray(np.sort(rows[taken[group]]))


def _valid_parts(posts: Posts, rows: NDArray[np.int64]) -> int:
    """Number of parts of which one is for validation: ten, fewer where classes or groups are few."""
    most = max(Counter(posts.labels[row] for row in rows).values())
    return min(VALID_PARTS, max(2, min(most, len(np.unique(posts.groups[rows])))))


def _split_rows(
    posts: Posts, rows: NDArray[np.int64], parts: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split labelled rows into `parts`; return (the others, the part) for each, in an order that is drawn.

    The largest groups are placed first, always in the same parts. Which part comes first is therefore drawn, so that
    each group is in it with probability 1/parts. The draw depends on the rows, too: else a split inside another would
    repeat the draws of the outer one.
    """
    labels, groups = [posts.labels[row] or "" for row in rows], posts.groups[rows]
    if parts > len(rows):  # before anything is laid out for each part
        raise ValueError(too_few(groups, parts))
    draw = np.random.default_rng([seed, parts, crc32(rows.astype("<i8").tobytes())])
    places = split_groups(np.array(labels), groups, parts, seed=int(draw.integers(2**32)))
    if not all(map(len, places)):
        raise ValueError(too_few(groups, parts))
    return [(np.delete(rows, places[part]), rows[places[part]]) for part in draw.permutation(parts)]
