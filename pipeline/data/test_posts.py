"""The test set: posts set aside once, identified by their content, which no fold ever holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...features.store.json_files import read_json, write_json
from .split import Posts, take_share

MOST = 0.5  # set aside more, and there is less to learn from than to be tested on
SEED = 0  # not the user's: another seed must not show other rows
REMEDY = "restore it from a copy"


def mark_test_posts(posts: Posts, folder: Path, *, share: float = 0.0) -> Posts:
    """The posts, with those of the test sets in this folder marked `test`, so that no fold holds them.

    `share` sets that part of the labelled posts aside, in whole duplicate groups; from then on they are test posts for
    every command that reads the folder, asked or not, whatever their id or file. Raises ValueError where the data name
    test posts of their own, or where another share was set aside before.
    """
    test_sets = _stored(folder)
    before = {path: share for path, (share, keys) in test_sets.items() if not keys.isdisjoint(posts.keys)}
    if share and not before:
        if not 0 < share <= MOST:
            raise ValueError(f"a share to hold out must be above 0 and at most {MOST}; got {share}")
        named = [label for label, split in zip(posts.labels, posts.splits, strict=True) if label and split == "test"]
        if named:
            raise ValueError(f"the data name {len(named)} test posts of their own; leave --hold-out away")
        labelled = np.flatnonzero([label is not None for label in posts.labels])
        rows = take_share(posts, labelled, share, seed=SEED)
        keys = sorted({posts.keys[row] for row in rows})
        name = hashlib.blake2b(json.dumps(keys).encode(), digest_size=8).hexdigest()
        write_json(folder / f"test-set-{name}.json", {"share": share, "keys": keys})
        test_sets = _stored(folder)
    for path, old in before.items():
        if share and share != old:
            raise ValueError(f"a share of {old} of these posts is set aside already ({path}), wanted {share}; use that")
    test_keys = {key for _, keys in test_sets.values() for key in keys}
    splits = ["test" if key in test_keys else split for key, split in zip(posts.keys, posts.splits, strict=True)]
    return replace(posts, splits=splits)


def _stored(folder: Path) -> dict[Path, tuple[float, set[str]]]:
    """Share and keys of each test set in the folder."""
    found = {}
    for path in sorted(folder.glob("test-set-*.json")):
        stored = read_json(path, "a stored test set", REMEDY, share=float, keys=list)
        found[path] = stored["share"], set(map(str, stored["keys"]))
    return found
