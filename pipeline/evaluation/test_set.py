"""`msa test`: a run scored on the locked test posts, and a record of every look at them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...features.posts.samples import Corpus
from ...features.store.durable import make_folder, naming
from ..data.leaks import refuse_leaks
from ..data.split import Fold, Posts
from ..data.test_posts import mark_test_posts
from ..metrics.scores import per_class, score
from ..metrics.statistics import Interval, bootstrap, calibration_error, reliability
from ..metrics.tables import class_table, metric_table
from ..runs.run_predictions import load_run_features, run_probabilities
from ..runs.runs import find_run, load_run

LOOKS = "looks.jsonl"


@dataclass(frozen=True)
class Look:
    """One look at the locked rows: the metrics of a run's averaged heads, and how many looks there have been."""

    run: Path
    fusion: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    calibration_error: float
    classes: list[dict[str, Any]]
    rows: int
    looks: int
    record: Path

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "run": str(self.run),
            "fusion": self.fusion,
            "metrics": self.metrics,
            "intervals": {name: one._asdict() for name, one in self.intervals.items()},
            "calibration_error": self.calibration_error,
            "per_class": self.classes,
            "rows": self.rows,
            "looks": self.looks,
            "record": str(self.record),
        }

    def to_text(self) -> str:
        """The tables that the command prints."""
        shown = {name: {"mean": value, "std": 0.0} for name, value in self.metrics.items()}
        ends = ", ".join(
            f"{name.replace('_', ' ')} {one.low:.3f} to {one.high:.3f}" for name, one in self.intervals.items()
        )
        times = "looked at for the first time" if self.looks == 1 else f"looked at {self.looks} times by now"
        return (
            f"{class_table(self.classes)}\n\n{metric_table({self.fusion: shown})}\n\n"
            f"95 % interval: {ends}\ncalibration error {self.calibration_error:.3f}\n\n"
            f"{self.rows} locked test posts, {times} ({self.record}); run folder: {self.run}"
        )


def score_locked(path: Path, corpus: Corpus, *, cache: Path | None = None, device: str = "auto") -> Look:
    """Score the mean of the run's heads on the test posts of this corpus, and add the look to the record.

    Test posts are those that the data name so, or that `--hold-out` set aside. Raises ValueError where there is none,
    or where the run has seen one or a copy of it.
    """
    path = find_run(path)
    run = load_run(path)
    place = cache or run.cache
    table = load_run_features(run, corpus, place)
    posts = mark_test_posts(table.posts, place / "splits")
    pairs = zip(posts.labels, posts.splits, strict=True)
    rows = np.flatnonzero([label is not None and split == "test" for label, split in pairs])
    if not len(rows):
        raise ValueError(
            "no labelled post is a test post; name some `test` in the data's split column, "
            "or train with --hold-out 0.1 to set a tenth aside before any head sees it"
        )
    seen = seen_rows(path, posts)
    if leaked := len(set(rows[np.isin(posts.groups[rows], posts.groups[seen])].tolist())):
        raise ValueError(f"{path} was trained or scored on {leaked} of the {len(rows)} test posts; train again")
    refuse_leaks(table, [Fold(rows[:0], rows[:0], rows)])
    truth = table.targets()[rows]
    if (truth < 0).any():
        strange = sorted({posts.labels[int(row)] or "" for row in rows[truth < 0]})
        raise ValueError(f"test posts have labels that the run does not know: {', '.join(map(repr, strange))}")
    chances = run_probabilities(run, table, device)[rows]
    guess = chances.argmax(1).astype(np.int64)
    metrics = score(truth, guess, table.classes)
    record = place / "splits" / LOOKS
    looks = add_look(record, path, [posts.keys[int(row)] for row in rows], metrics)
    return Look(
        path,
        run.config.fusion,
        metrics,
        bootstrap(posts.groups[rows], truth, guess[None], classes=len(table.classes)),
        calibration_error(reliability(chances, truth)),
        [dict(entry) for entry in per_class(truth, guess, table.classes)],
        len(rows),
        looks,
        record,
    )


def seen_rows(path: Path, posts: Posts) -> NDArray[np.int64]:
    """Rows of these posts that stand, by their content, in any fold of a run, for training, stopping or scoring."""
    try:
        keys = set(json.loads((path / "split.json").read_text("utf-8"))["keys"].values())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / 'split.json'}: not a run's split ({error!r}); train again") from error
    return np.flatnonzero([key in keys for key in posts.keys])


def add_look(record: Path, run: Path, keys: Sequence[str], metrics: dict[str, float]) -> int:
    """Append one look at these posts to the record, durably; return at how many looks any of them was seen by now."""
    make_folder(record.parent)
    names = {hashlib.blake2b(key.encode(), digest_size=6).hexdigest() for key in keys}
    before = record.read_text("utf-8").splitlines() if record.exists() else []
    count = 1 + sum(not names.isdisjoint(json.loads(line)["posts"]) for line in before)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    look = {"time": time, "run": str(run.resolve()), "look": count, "metrics": metrics, "posts": sorted(names)}
    with naming(record):
        handle = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, (json.dumps(look) + "\n").encode())  # one write, so that two looks never mix
            os.fsync(handle)
        finally:
            os.close(handle)
    return count
