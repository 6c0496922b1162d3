"""What a run stores of its test posts, and the posts themselves where they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...features.messages import notify
from ...features.posts.samples import Corpus
from ..runs.stored_run import StoredRun
from .duplicates import Conflict, conflicting_duplicates
from .posts import TestPosts, join_repeats
from .sources import PostSource
from .stored_opinions import read_opinions


@dataclass(frozen=True)
class InspectedRun:
    """The test posts of a run, the conflicts among its duplicates, and texts and images; None without the data."""

    path: Path
    posts: TestPosts
    conflicts: Sequence[Conflict]
    source: PostSource | None


def inspect_run(run: StoredRun, corpus: Corpus | None = None) -> InspectedRun:
    """Inspect the test posts of a trained head.

    Labels of posts that are never tested are known where `corpus` is given. Raises ValueError for damaged files, and
    where `corpus` holds none of the posts; a notice counts those that it lacks.
    """
    assert run.predictions, "only trained heads are tested"
    assert run.split, "only trained heads are tested"
    classes, posts, truth, _, probabilities = run.predictions
    tested = join_repeats(classes, posts, truth, probabilities, read_opinions(run.path, len(classes)))
    labels = {name: classes[number] for name, number in zip(tested.ids, tested.truth, strict=True)}
    if corpus is None:
        return InspectedRun(run.path, tested, conflicting_duplicates(run.split, labels), None)
    ids = {one.id for one in corpus.samples}
    if not labels.keys() & ids:
        raise ValueError(f"{corpus.root} has none of the posts of {run.path}; give those that it was trained on")
    if lost := len(labels.keys() - ids):
        notify(f"{lost} of the {len(labels)} test posts of {run.path} are not in {corpus.root}: no text is shown")
    given = {one.id: one.label for one in corpus.samples if one.label in classes and one.label is not None}
    source = PostSource(corpus, run.split.contents)
    return InspectedRun(run.path, tested, conflicting_duplicates(run.split, given | labels), source)


def inspect_single(runs: Sequence[StoredRun], corpus: Corpus | None = None) -> InspectedRun | None:
    """The test posts of the one trained head among these; None where there is none, or several."""
    found = [run for run in runs if run.predictions]
    return inspect_run(found[0], corpus) if len(found) == 1 else None
