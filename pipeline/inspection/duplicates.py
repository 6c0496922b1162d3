"""Posts of equal content whose labels differ: at most one of them can be learned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..runs.stored_run import StoredSplit


@dataclass(frozen=True)
class Conflict:
    """Posts of different labels, by id, and what they have in common: image and text, image, text, or their group."""

    shared: str
    labels: Mapping[str, str]


def conflicting_duplicates(split: StoredSplit, labels: Mapping[str, str]) -> list[Conflict]:
    """The conflicts among the posts of a run's split that have `labels`, by id: those that share most come first.

    Posts that share no content with one of another label, but are in one group, as near copies and posts with the
    group of the data's own column, come last. Posts with the same conflict are listed once.
    """
    contents = {name: pair for name, pair in split.contents.items() if name in labels}
    keys: dict[str, dict[str, object]] = {
        "image and text": {name: pair if all(pair) else None for name, pair in contents.items()},
        "image": {name: image for name, (image, _) in contents.items()},
        "text": {name: text for name, (_, text) in contents.items()},
    }
    found: list[Conflict] = []
    seen: set[frozenset[str]] = set()
    for shared, key in keys.items():
        for one in _conflicts(key, labels):
            if frozenset(one) not in seen:
                seen.add(frozenset(one))
                found.append(Conflict(shared, one))
    explained = {split.groups[name] for one in found for name in one.labels}
    rest = {name: None if split.groups[name] in explained else split.groups[name] for name in contents}
    return found + [Conflict("group", one) for one in _conflicts(rest, labels)]


def _conflicts(keys: Mapping[str, object], labels: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The labels of posts of one key, where they differ; None is no key."""
    buckets: dict[object, dict[str, str]] = defaultdict(dict)
    for name, key in keys.items():
        if key is not None:
            buckets[key][name] = labels[name]
    yield from (one for one in buckets.values() if len(set(one.values())) > 1)
