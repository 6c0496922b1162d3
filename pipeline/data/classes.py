"""The classes that are trained on: small or named ones may be left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from ...features.messages import near_or_all, notify
from ...features.posts.samples import Corpus


def select_classes(corpus: Corpus, *, min_per_class: int = 0, drop: Sequence[str] = ()) -> Corpus:
    """The corpus without the posts of the labels in `drop`, and of labels with fewer than `min_per_class` posts.

    A notice says how many are left out. Raises ValueError for a label that no post has.
    """
    counts = Counter(sample.label for sample in corpus.samples if sample.label is not None)
    for label in drop:
        if label not in counts:
            raise ValueError(f"no post has the label {label!r} that --drop-label names{near_or_all(label, counts)}")
    left_out = {label: n for label, n in counts.items() if label in drop or n < min_per_class}
    if not left_out:
        return corpus
    if len(left_out) == len(counts):
        raise ValueError(
            f"all {sum(counts.values())} labelled posts are of classes that --min-per-class {min_per_class} or "
            f"--drop-label leaves out (the largest has {max(counts.values())}); lower the one, or name fewer"
        )
    shown = ", ".join(f"{label!r}" for label in sorted(left_out)[:3]) + ", …" * (len(left_out) > 3)
    notify(f"{sum(left_out.values())} posts of {len(left_out)} classes are left out ({shown})")
    return replace(corpus, samples=[sample for sample in corpus.samples if sample.label not in left_out])


def order_classes(labels: Sequence[str], order: Sequence[str]) -> tuple[str, ...]:
    """These labels in the order that the user gave, from the lowest to the highest. Raises ValueError if others."""
    if repeated := [label for label, count in Counter(order).items() if count > 1]:
        raise ValueError(f"--class-order names {repeated[0]!r} twice; name each class once")
    if set(order) == set(labels):
        return tuple(order)
    lacking, unknown = sorted(set(labels) - set(order)), sorted(set(order) - set(labels))
    wrong = f"no post has the label {unknown[0]!r}" if unknown else f"it lacks the label {lacking[0]!r}"
    raise ValueError(
        f"--class-order must name all classes once, lowest first, with commas between; {wrong}; the labels are "
        f"{','.join(labels)} (--drop-label leaves the posts of one out)"
    )


def need_two_classes(labels: Collection[str | None], remedy: str) -> None:
    """Raise ValueError, with the remedy, where training rows with these labels are all of one class."""
    if len(set(labels)) < 2:
        found = ", ".join(map(repr, set(labels))) or "none"
        raise ValueError(f"two classes are needed to train; the {len(labels)} training rows have {found}; {remedy}")
