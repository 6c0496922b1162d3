"""What a split leaves out, and what it cannot give: counted, so that nothing is dropped without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set

import numpy as np

from ...features.posts.content import split_keys
from ...features.spec import Modality
from .split import TEST_PARTS, Fold, Posts

MOST_NAMED = 3  # classes in one line
MOST_CLASSES = 0.2  # of the posts; with fewer than five posts a class, no fifth can hold one of each


def describe_split(posts: Posts, folds: Sequence[Fold], used: Set[Modality]) -> Iterator[str]:
    """One line for each fact of these folds that their user would not expect; `used` modalities have encoders."""
    labelled = np.array([label is not None for label in posts.labels])
    marked = np.array([split == "test" for split in posts.splits])
    placed = np.zeros(len(labelled), bool)
    for fold in folds:
        placed[fold.rest] = placed[fold.test] = True
    copies = labelled & ~marked & posts.in_test_set
    if copies.any():
        yield f"{copies.sum()} posts share content with a test post and are in no fold"
    left_out = labelled & ~marked & ~copies & ~placed
    if left_out.any():
        yield f"{left_out.sum()} training posts share content with a post of split 'val' and are left out"
    for modality in sorted(used - set(posts.tied)):
        keys = [{*split_keys(joined)} for joined in posts.content(modality)]
        known = [set().union(*(keys[row] for row in fold.rest)) for fold in folds]
        leaked = sum(bool(keys[row] & here) for fold, here in zip(folds, known, strict=True) for row in fold.test)
        if leaked:
            yield f"{leaked} of the scored posts share their {modality} with a training post, as --group-by allows"
    yield from _test_classes(posts, folds)
    yield from _large_group(posts, folds)
    yield from _small_classes(posts, folds)


def _test_classes(posts: Posts, folds: Sequence[Fold]) -> Iterator[str]:
    """The classes that only locked test posts have."""
    trained = {posts.labels[row] for fold in folds for row in [*fold.rest, *fold.test]}
    tested = Counter(label for label, split in zip(posts.labels, posts.splits, strict=True) if split == "test")
    if foreign := [(name, count) for name, count in tested.items() if name not in trained | {None}]:
        named = ", ".join(f"{name!r} ({count} posts)" for name, count in foreign[:MOST_NAMED])
        more = f" and {len(foreign) - MOST_NAMED} more classes" if len(foreign) > MOST_NAMED else ""
        yield (
            f"only posts of split 'test' are of class {named}{more}, which no head can learn; spell labels as in the "
            "training posts, or leave such out with --drop-label"
        )


def _large_group(posts: Posts, folds: Sequence[Fold]) -> Iterator[str]:
    rows = np.concatenate([folds[0].rest, folds[0].test])
    largest = int(np.unique(posts.groups[rows], return_counts=True)[1].max())
    parts = sum(fold.repeat == folds[0].repeat for fold in folds)
    if largest > len(rows) / (parts if parts > 1 else TEST_PARTS):
        sizes = sorted(len(fold.test) for fold in folds)
        tested = f"{sizes[0]} to {sizes[-1]}" if sizes[0] < sizes[-1] else f"{sizes[0]}"
        yield f"{largest} of {len(rows)} posts share content, more than one part should hold; test rows: {tested}"


def _small_classes(posts: Posts, folds: Sequence[Fold]) -> Iterator[str]:
    """The classes that some folds lack among their training or their test rows."""
    counts = Counter(posts.labels[row] for row in np.concatenate([folds[0].rest, folds[0].test]))
    if len(counts) > MOST_CLASSES * counts.total():
        yield (
            f"{len(counts)} classes in {counts.total()} posts; are the labels in another column? "
            "--column label=NAME reads it"
        )
    for part, lack in (("train", "to train on"), ("test", "to score")):
        held = [{posts.labels[row] for row in getattr(fold, part)} for fold in folds]
        lacking = {name: sum(name not in here for here in held) for name in counts}
        small = sorted((name or "", n) for name, n in lacking.items() if n)
        if small:
            shown = ", ".join(
                f"{name!r} ({counts[name]} posts, {n} of {len(folds)} folds)" for name, n in small[:MOST_NAMED]
            )
            more = f" and {len(small) - MOST_NAMED} more classes" if len(small) > MOST_NAMED else ""
            yield (
                f"some folds have no posts {lack} of class {shown}{more} (train, val or test rows); "
                f"--min-per-class {max(counts[name] for name, _ in small) + 1} or --drop-label leaves such out"
            )
