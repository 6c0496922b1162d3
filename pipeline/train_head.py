"""`msa train-head`: train one head over the folds, compare it with its baselines, write the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..features.posts.samples import Corpus
from .config.data_config import DataConfig
from .config.head_config import HeadConfig
from .config.train_config import TrainConfig
from .data.cached_features import CachedFeatures
from .data.prepare import prepare
from .data.split import Fold
from .evaluation.baselines import baseline_guesses
from .evaluation.comparison import SUPERVISED, Evaluation, judge
from .evaluation.report import render_report
from .metrics.scores import score, summarise
from .metrics.tables import class_table, metric_table, scored_text
from .runs.runs import free_name, save_run
from .training.checkpointing import CheckpointDir
from .training.folds import FoldDone, train_folds
from .training.pseudo_labels import train_with_pseudo_labels


@dataclass(frozen=True)
class TrainedHead:
    """A finished run: its folder, its metrics over folds, those of the baselines, and their evaluation."""

    run: Path
    fusion: str
    metrics: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, dict[str, float]]]
    evaluation: Evaluation
    folds: int
    repeats: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "run": str(self.run),
            "fusion": self.fusion,
            "metrics": self.metrics,
            "baselines": self.baselines,
            "folds": self.folds,
            "repeats": self.repeats,
            "seconds": self.seconds,
        } | self.evaluation.to_dict()

    def to_text(self) -> str:
        """The tables that the command prints."""
        systems = {self.fusion: self.metrics} | self.baselines
        scored = scored_text(self.evaluation.rows, self.folds, self.repeats)
        return (
            f"{class_table(self.evaluation.classes)}\n\n{metric_table(systems)}\n\n{self.evaluation.to_text()}\n\n"
            f"{scored}, {self.seconds:.1f} s; run folder: {self.run}"
        )


def train_head(
    corpus: Corpus,
    data_config: DataConfig,
    config: HeadConfig,
    training: TrainConfig,
    *,
    runs: Path = Path("runs"),
    name: str | None = None,
    checkpoint_every: int = 0,
    unlabelled: Literal["none", "self", "cotrain"] = "none",
    done: FoldDone = lambda number, total: None,
) -> TrainedHead:
    """Train `config.fusion` on a cached corpus and write its run folder. Raises ValueError with a remedy.

    With `checkpoint_every`, the state of trainings is saved every so many epochs; the same call goes on there after an
    interruption. With `unlabelled`, the head also trains on posts without a label, and is compared with one that does
    not.
    """
    started = time.perf_counter()
    table, folds, device = prepare(corpus, data_config, config, seed=training.seed)
    checkpoints = checkpoint_dir(runs, checkpoint_every, table, folds, config, training) if checkpoint_every else None
    checkpointers = checkpoints.checkpointer if checkpoints else None
    results = train_folds(table, folds, config, training, device=device, done=done, checkpointers=checkpointers)
    predictions = baseline_guesses(table, folds, seed=training.seed)
    if unlabelled != "none":
        predictions[SUPERVISED] = [result.logits.argmax(1) for result in results]
        results = train_with_pseudo_labels(table, folds, config, training, method=unlabelled, device=device, done=done)
    metrics = summarise([result.metrics for result in results])
    labels = table.targets()
    baselines = {
        system: summarise([score(labels[f.test], one, table.classes) for f, one in zip(folds, predicted, strict=True)])
        for system, predicted in predictions.items()
    }
    valid = [(result.valid_rows, result.valid_logits) for result in results]
    evaluation = judge(table, folds, [result.logits for result in results], valid, others=predictions)
    path = free_name(runs, name or config.fusion)
    seconds = round(time.perf_counter() - started, 2)
    trained = TrainedHead(path, config.fusion, metrics, baselines, evaluation, len(folds), data_config.repeats, seconds)
    report = render_report(
        f"{config.fusion}: {' + '.join([*data_config.image, *data_config.text])}",
        systems={config.fusion: metrics} | baselines,
        evaluation=evaluation,
        results=results,
        settings={
            "head": asdict(config),
            "training": asdict(training),
            "unlabelled": unlabelled,
            "device": device,
            "posts": corpus.layout,
        },
    )
    save_run(
        path,
        table=table,
        results=results,
        config=config,
        training=training,
        folds=data_config.folds,
        cache=data_config.cache,
        metrics=trained.to_dict()
        | {"confusion": evaluation.confusion, "per_fold": [result.metrics for result in results]},
        report=report,
    )
    if checkpoints:
        checkpoints.clear()
    return trained


def checkpoint_dir(
    runs: Path, every: int, table: CachedFeatures, folds: Sequence[Fold], config: HeadConfig, training: TrainConfig
) -> CheckpointDir:
    """The checkpoints of this run, identified by its posts, features, folds and settings."""
    specs = [spec.fingerprint for side in (table.image, table.text) if side for spec in side.specs]
    rows = [[part.tolist() for part in (fold.train, fold.valid, fold.test)] for fold in folds]
    identity = [asdict(config), asdict(training), specs, list(table.posts.ids), table.targets().tolist(), rows]
    return CheckpointDir(runs, every, identity)
