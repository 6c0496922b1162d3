"""The test set: posts set aside once, identified by their content, which no fold ever holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...features.messages import notify
from ...features.posts.content import split_keys
from ...features.spec import MODALITIES, Modality
from ...features.store.json_files import read_json, write_json
from .split import Posts, take_share

MOST = 0.5  # set aside more, and there is less to learn from than to be tested on
SEED = 0  # not the user's: another seed must not show other rows
REMEDY = "restore it from a copy"


@dataclass(frozen=True)
class TestSet:
    """What was set aside: the share, the number of posts, and their images and texts by content key."""

    __test__ = False  # not a test class for pytest

    path: Path
    share: float
    posts: int
    keys: dict[Modality, frozenset[str]]

    def rows(self, posts: Posts) -> NDArray[np.bool_]:
        """Mask (N,) of the posts that have an image or a text of the test set: an edited text leaves the image."""
        sides = [
            [not self.keys[modality].isdisjoint(split_keys(joined)) for joined in posts.content(modality)]
            for modality in MODALITIES
        ]
        return np.asarray(np.array(sides, bool).any(0))

    def write(self) -> None:
        write_json(self.path, {"share": self.share, "posts": self.posts} | _sorted(self.keys))


def mark_test_posts(
    posts: Posts, folder: Path, *, share: float = 0.0, check: Callable[[Posts], object] = lambda posts: None
) -> Posts:
    """The posts, with those of the test sets in this folder marked `test`, so that no fold holds them.

    `share` sets that part of the labelled posts aside, in whole duplicate groups; from then on they are test posts for
    every command that reads the folder, asked or not, whatever their id or file. A test set whose posts are not all
    here is pointed out. A new one is stored once `check` has taken the marked posts: it stays for good, and must leave
    enough to train on. Raises ValueError where the data name test posts of their own, or where another share was set
    aside before.
    """
    found = [(one, one.rows(posts)) for one in read_test_sets(folder)]
    before = [one for one, rows in found if rows.any()]
    if share and not before:
        made = _set_aside(posts, folder, share)
        found.append((made, made.rows(posts)))
        check(mark_rows(posts, found))
        made.write()
    for one in before:
        if share and share != one.share:
            raise ValueError(
                f"a share of {one.share} of these posts is set aside already ({one.path}), wanted {share}; use that"
            )
    for one, rows in found:
        if rows.sum() < one.posts:
            notify(f"{one.path}: of the {one.posts} posts that were set aside, {rows.sum()} are in these data")
    return mark_rows(posts, found)


def mark_rows(posts: Posts, found: Sequence[tuple[TestSet, NDArray[np.bool_]]]) -> Posts:
    """The posts, those in any of these test sets marked `test`; a test set comes with the mask (N,) of its posts."""
    test = np.any([rows for _, rows in found], axis=0) if found else np.zeros(len(posts.ids), bool)
    return replace(
        posts, splits=["test" if set_aside else split for set_aside, split in zip(test, posts.splits, strict=True)]
    )


def _set_aside(posts: Posts, folder: Path, share: float) -> TestSet:
    if not 0 < share <= MOST:
        raise ValueError(f"a share to hold out must be above 0 and at most {MOST}; got {share}")
    named = [label for label, split in zip(posts.labels, posts.splits, strict=True) if label and split == "test"]
    if named:
        raise ValueError(f"the data name {len(named)} test posts of their own; leave --hold-out away")
    pairs = zip(posts.labels, posts.contents, strict=True)
    known = np.array([label is not None and content != (None, None) for label, content in pairs])
    rows = take_share(posts, np.flatnonzero(known), share, seed=SEED)
    inside = np.isin(posts.groups, posts.groups[rows])
    keys: dict[Modality, frozenset[str]] = {}
    for modality in MODALITIES:
        found = [
            (key, here)
            for joined, here in zip(posts.content(modality), inside, strict=True)
            for key in split_keys(joined)
        ]
        # Content that an open post has, too, identifies no test post: a picture that stands for a missing one.
        mine, others = ({key for key, here in found if here == wanted} for wanted in (True, False))
        keys[modality] = frozenset(mine - others)
    name = hashlib.blake2b(json.dumps(_sorted(keys)).encode(), digest_size=8).hexdigest()
    made = TestSet(folder / f"test-set-{name}.json", share, 0, keys)
    if not any(keys.values()):
        raise ValueError(
            f"no labelled post of {len(posts.ids)} has content that can be set aside; give more posts, or leave "
            "--hold-out away"
        )
    return replace(made, posts=int(made.rows(posts).sum()))


def _sorted(keys: Mapping[Modality, Collection[str]]) -> dict[str, list[str]]:
    return {modality: sorted(one) for modality, one in keys.items()}


def read_test_sets(folder: Path) -> list[TestSet]:
    """The test sets in a folder. Raises ValueError for one that is damaged or emptied."""
    found = []
    for path in sorted(folder.glob("test-set-*.json")):
        stored = read_json(path, "a stored test set", REMEDY, share=float, posts=int, image=list, text=list)
        keys = {modality: frozenset(map(str, stored[modality])) for modality in MODALITIES}
        if not any(keys.values()):
            raise ValueError(f"{path}: a stored test set without posts; {REMEDY}")
        found.append(TestSet(path, stored["share"], stored["posts"], keys))
    return found
