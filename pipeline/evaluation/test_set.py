"""`msa test`: evaluate a run on the held-out test posts, and record every such evaluation."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ...features.messages import notify
from ...features.posts.samples import Corpus
from ...features.progress import stage
from ...features.regular_files import regular
from ...features.store.durable import make_folder, naming
from ...features.store.json_files import malformed, parse_object, read_json
from ...features.store.locks import flush
from ...features.store.stored_paths import stored_path
from ...features.text_table import Part, Report, Table
from ..data.join import group_by_of
from ..data.leaks import refuse_leaks
from ..data.split import Fold
from ..data.test_posts import mark_test_posts
from ..metrics.probabilities import mean_probabilities
from ..metrics.scores import ClassScore, per_class, score
from ..metrics.statistics import Interval, bootstrap, calibration_error, reliability
from ..metrics.tables import class_cells, interval_text, system_table
from ..runs.folders import find_run
from ..runs.run_predictions import load_run_features, run_logits
from ..runs.runs import cache_of, load_run
from ..runs.seen_posts import rows_with, seen_contents

RECORD = "test_evaluations.jsonl"


@dataclass(frozen=True)
class TestResult(Report):
    """Metrics of a run's averaged heads on the test posts, and how often these have been evaluated on so far."""

    __test__ = False  # not a test class for pytest

    run: Path
    fusion: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    calibration_error: float
    per_class: list[ClassScore]
    rows: int
    evaluations: int
    record: Path

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return asdict(self) | {"run": str(self.run), "record": str(self.record)}

    def parts(self) -> list[Part]:
        """The tables that the command prints."""
        metrics = {name: {"mean": value, "std": 0.0} for name, value in self.metrics.items()}
        times = "for the first time" if self.evaluations == 1 else f"{self.evaluations} times so far"
        return [
            Table(*class_cells(self.per_class), "Scores by class"),
            system_table({self.fusion: metrics}, "Test posts"),
            f"{interval_text(self.intervals)}\ncalibration error {self.calibration_error:.3f}",
            f"{self.rows} test posts, evaluated on {times}\nrecord: {self.record}\nrun folder: {self.run}",
        ]


def evaluate_test_set(path: Path, corpus: Corpus, *, cache: Path | None = None, device: str = "auto") -> TestResult:
    """Evaluate the averaged heads of a run on the test posts of this corpus, and add a line to the record.

    Test posts are those marked `test` in the data, or set aside by `--hold-out`. Raises ValueError if there is none, or
    if the run has seen one of them or a duplicate of it.
    """
    path = find_run(path)
    run = load_run(path)
    place = cache_of(run, cache)
    stored = read_json(path / "split.json", "a run's split", "train again", contents=dict, tied=list)
    features = load_run_features(run, corpus, place, group_by=group_by_of(stored["tied"]))
    posts = mark_test_posts(features.posts, place / "splits")
    pairs = zip(posts.labels, posts.splits, strict=True)
    rows = np.flatnonzero([label is not None and split == "test" for label, split in pairs])
    if not len(rows):
        raise ValueError(
            "no labelled post is a test post; mark some as `test` in the data's split column, "
            "or train with --hold-out 0.1 to set a tenth aside before any head sees it"
        )
    trained, tested = seen_contents(path)
    seen = rows_with(posts, trained | tested)
    if leaked := int(np.isin(posts.groups[rows], posts.groups[seen]).sum()):
        raise ValueError(f"{path} was trained or scored on {leaked} of the {len(rows)} test posts; train again")
    refuse_leaks(features, [Fold(rows[:0], rows[:0], rows)])
    targets = features.targets()
    unknown = sorted({posts.labels[int(row)] or "" for row in rows[targets[rows] < 0]})
    if unknown:
        names = ", ".join(map(repr, unknown))
        notify(f"{(targets[rows] < 0).sum()} test posts are left out: the run does not know their labels {names}")
        rows = rows[targets[rows] >= 0]
    if not len(rows):
        raise ValueError("no test post has a label that the run knows")
    stage("predicting the test posts")
    truth = targets[rows]
    logits = [one[rows] for one in run_logits(run, features, device)]  # (n, K) each
    labels = mean_probabilities(logits).argmax(1)
    metrics = score(truth, labels, features.classes, ordered=features.ordered)
    record = place / "splits" / RECORD
    evaluations = record_evaluation(record, path, [posts.keys[int(row)] for row in rows], metrics)
    return TestResult(
        run=path,
        fusion=run.config.label,
        metrics=metrics,
        intervals=bootstrap(posts.groups[rows], truth, labels[None], classes=len(features.classes)),
        calibration_error=calibration_error(reliability(mean_probabilities(logits, run.temperatures), truth)),
        per_class=per_class(truth, labels, features.classes),
        rows=len(rows),
        evaluations=evaluations,
        record=record,
    )


def record_evaluation(record: Path, run: Path, keys: Sequence[str], metrics: dict[str, float]) -> int:
    """Append an evaluation on these posts to the record, durably; return how many so far included any of them."""
    make_folder(record.parent)
    names = {hashlib.blake2b(key.encode(), digest_size=6).hexdigest() for key in keys}
    with malformed(record, "a record of evaluations on test posts", "restore it from a copy"):
        before = regular(record).read_text("utf-8").splitlines() if record.exists() else []
        count = 1 + sum(not names.isdisjoint(parse_object(line)["posts"]) for line in before)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {
        "time": time,
        "run": stored_path(run, record.parent),
        "evaluation": count,
        "metrics": metrics,
        "posts": sorted(names),
    }
    with naming(record):
        handle = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, (json.dumps(entry) + "\n").encode())  # one write, so that parallel runs never interleave
            flush(handle, record.parent)
        finally:
            os.close(handle)
    return count
