"""Which posts a run was trained on, or tested on, and which are set aside for `msa test`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...features.messages import notify
from ...features.posts.content import split_keys
from ...features.spec import MODALITIES
from ...features.store.json_files import malformed, read_json
from ..data.split import Content, Posts
from ..data.test_posts import TestSet, mark_rows, read_test_sets
from .run_config import REMEDY
from .runs import SHARED_WEIGHTS


@dataclass(frozen=True)
class SeenPosts:
    """The images and texts that a run was trained on and tested on, in any fold, and the test sets of a cache.

    Images and texts are pairs with None for the other modality.
    """

    trained: set[Content]
    tested: set[Content]
    test_sets: Sequence[TestSet]

    def count(self, posts: Posts) -> dict[str, int]:
        """How many labelled posts the run was trained on, or tested on alone, and how many are locked."""
        labelled = np.array([label is not None for label in posts.labels], bool)
        fitted, scored = (rows_with(posts, contents) & labelled for contents in (self.trained, self.tested))
        locked = mark_rows(posts, [(one, one.rows(posts)) for one in self.test_sets]).in_test_set
        return {
            "trained": int(fitted.sum()),
            "tested": int((scored & ~fitted).sum()),
            "locked": int((locked & labelled).sum()),
        }


def read_seen_posts(run_folder: Path, splits: Path) -> SeenPosts | None:
    """What a run has seen, by its stored split; None, and a notice, where it came without one.

    `splits` is the folder of the test sets. Raises ValueError where one of the files is damaged.
    """
    if (run_folder / SHARED_WEIGHTS).is_file():
        notify(f"{run_folder} came without its split: which of these posts it was trained on is unknown")
        return None
    return SeenPosts(*seen_contents(run_folder), read_test_sets(splits))


def seen_contents(path: Path) -> tuple[set[Content], set[Content]]:
    """The images and texts that a run (a folder) was trained on, validation rows included, and those it was tested on.

    Each is a pair with None for the other modality; only modalities that tie posts in the run's split are in it.
    """
    file, what = path / "split.json", "a run's split"
    stored = read_json(file, what, REMEDY, folds=list, contents=dict, tied=list)
    with malformed(file, what, REMEDY):
        image, text = (modality in stored["tied"] for modality in MODALITIES)
        parts: dict[str, list[Content]] = {
            name: [*((key, None) for key in split_keys(joined) if image), (None, other if text else None)]
            for name, (joined, other) in stored["contents"].items()
        }
        trained, tested = (  # pairs of one modality each
            {pair for fold in stored["folds"] for part in names for name in fold[part] for pair in parts[name]}
            for names in (("train", "valid"), ("test",))
        )
    return trained - {(None, None)}, tested - {(None, None)}


def rows_with(posts: Posts, contents: set[Content]) -> NDArray[np.bool_]:
    """Mask (N,) of the posts that have one of these images or texts."""
    return np.array(
        [
            (None, text) in contents or any((key, None) in contents for key in split_keys(image))
            for image, text in posts.contents
        ],
        bool,
    )
