"""`msa train-head`: train one head over the folds, stand it beside its baselines, write the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..features.posts.samples import Corpus
from .config.data_config import DataConfig
from .data.cached_features import CachedFeatures
from .data.prepare import prepare
from .data.split import Fold
from .evaluation.baselines import baseline_predictions
from .evaluation.comparison import SUPERVISED, Evaluation, evaluate_folds
from .evaluation.report import render_report
from .metrics.scores import score, summarise
from .metrics.tables import class_table, metric_table, scored_text
from .runs.runs import free_name, save_run
from .training.checkpointing import CheckpointDir
from .training.experiment import FoldDone, HeadConfig, train_folds
from .training.loop import TrainConfig
from .training.pseudo_labels import train_unlabelled


@dataclass(frozen=True)
class TrainedHead:
    """A finished run: where it lies, its metrics over folds, its baselines', what they are worth, seconds."""

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

    With `checkpoint_every`, trainings are kept every so many epochs; the same call, once cut off, goes on there.
    With `unlabelled`, the head also learns from posts without a label, and stands beside the one that does not.
    """
    started = time.perf_counter()
    table, folds, device = prepare(corpus, data_config, config, seed=training.seed)
    place = checkpoint_dir(runs, checkpoint_every, table, folds, config, training) if checkpoint_every else None
    checkpointers = place.checkpointer if place else None
    results = train_folds(table, folds, config, training, device=device, done=done, checkpointers=checkpointers)
    guesses = baseline_predictions(table, folds, seed=training.seed)
    if unlabelled != "none":
        guesses[SUPERVISED] = [result.logits.argmax(1) for result in results]
        results = train_unlabelled(table, folds, config, training, method=unlabelled, device=device, done=done)
    metrics = summarise([result.metrics for result in results])
    labels = table.targets()
    baselines = {
        system: summarise([score(labels[f.test], said, table.classes) for f, said in zip(folds, guess, strict=True)])
        for system, guess in guesses.items()
    }
    stops = [(result.valid_rows, result.valid_logits) for result in results]
    evaluation = evaluate_folds(table, folds, [result.logits for result in results], stops, baselines=guesses)
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
    if place:
        place.clear()
    return trained


def checkpoint_dir(
    runs: Path, every: int, table: CachedFeatures, folds: Sequence[Fold], config: HeadConfig, training: TrainConfig
) -> CheckpointDir:
    """Where the unfinished trainings of this very run are kept: same posts, features, folds and settings."""
    specs = [spec.fingerprint for side in (table.image, table.text) if side for spec in side.specs]
    rows = [[part.tolist() for part in (fold.train, fold.valid, fold.test)] for fold in folds]
    identity = [asdict(config), asdict(training), specs, list(table.posts.ids), table.targets().tolist(), rows]
    return CheckpointDir(runs, every, identity)
