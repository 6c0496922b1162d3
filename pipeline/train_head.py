"""`msa train-head`: train one head over the folds, compare it with its baselines, write the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..features.posts.samples import Corpus
from ..features.progress import keeping, stage
from ..features.store.stored_paths import stored_path
from ..features.text_table import Part, Report
from .config.data_config import DataConfig
from .config.head_config import HeadConfig
from .config.train_config import TrainConfig
from .config.used_settings import point_out_unused
from .data.cached_features import CachedFeatures
from .data.fold_encoders import has_fold_encoders, prepare_by_fold, select_encoders
from .data.prepare import prepare
from .data.split import Fold
from .evaluation.baselines import baseline_predictions
from .evaluation.comparison import evaluate_folds
from .figures.report import FILE as REPORT
from .figures.report import write_report
from .figures.section import Shown
from .inspection.opinions import write_opinions
from .metrics.tables import scored_text
from .runs.destination import check_destination, free_after_error, free_name
from .runs.made import describe_made
from .runs.results import SUPERVISED, Evaluation
from .runs.runs import save_run
from .tracking.events import Folder, Result, flat, log, log_epoch
from .training.checkpointing import CheckpointDir
from .training.epochs import EpochDone, TrainedEpoch
from .training.fold_heads import join_folds
from .training.folds import FoldResult, train_folds
from .training.pseudo_labels import train_with_pseudo_labels


@dataclass(frozen=True)
class TrainedHead(Report):
    """A finished run: its folder, and the evaluation of its heads on the test rows of their folds."""

    run: Path
    evaluation: Evaluation
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {"run": str(self.run), "seconds": self.seconds} | asdict(self.evaluation)

    def parts(self) -> list[Part]:
        """The tables that the command prints, and where the run and its report are."""
        found = self.evaluation
        scored = scored_text(found.rows, found.folds, found.repeats)
        where = f"run folder: {self.run}\nreport: {self.run / REPORT}"
        return [*found.parts(), f"{scored}, {self.seconds:.1f} s\n{where}"]


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
    reading: Mapping[str, Any] = {},
    epoch_done: EpochDone = lambda epoch: None,
) -> TrainedHead:
    """Train `config.fusion` on a cached corpus and write its run folder. Raises ValueError with a remedy.

    With `checkpoint_every`, the state of trainings is saved every so many epochs; the same call goes on there after an
    interruption. With `unlabelled`, the head also trains on posts without a label, and is compared with one that does
    not. `reading` are the options that the corpus was read with, which `--from` gives again.
    """
    started = time.perf_counter()

    def report_epoch(epoch: TrainedEpoch, training: str = "") -> None:
        log_epoch(epoch, training)
        epoch_done(epoch)

    check_destination(runs, name or config.label)
    point_out_unused(config, training)
    seed, places = training.seed, None
    if has_fold_encoders(data_config):
        table, folds, places, device = prepare_by_fold(corpus, data_config, config, seed=seed)
    else:
        table, folds, device = prepare(corpus, data_config, config, seed=seed)
    checkpoints = checkpoint_dir(runs, checkpoint_every, table, folds, config, training) if checkpoint_every else None
    if checkpoints:
        place = checkpoints.folder
        keeping(lambda: f"the heads so far are kept in {place}, and the same command continues there")
    stage(f"training {config.label}")
    train = partial(
        _train, config=config, training=training, device=device, unlabelled=unlabelled, checkpoints=checkpoints
    )
    if places is None:
        results, predictions = train(table, folds, epoch_done=report_epoch)
    else:
        trained = [
            train(select_encoders(table, own), [fold], first=number, epoch_done=report_epoch)
            for number, (own, fold) in enumerate(zip(places, folds, strict=True))
        ]
        predictions = {name: [found[name][0] for _, found in trained] for name in trained[0][1]}
        results, config = join_folds(table, [result for (result,), _ in trained], places, config, training)
    valid = [(result.valid_rows, result.valid_logits) for result in results]
    logits = [result.logits for result in results]
    evaluation = evaluate_folds(table, folds, logits, valid, fusion=config.label, baselines=predictions)
    stage("writing the run")
    path = free_name(runs, name or config.label)
    made = describe_made(corpus, table.posts) | {"posts": stored_path(corpus.root / corpus.table, path)}
    finished = TrainedHead(path, evaluation, round(time.perf_counter() - started, 2))
    with free_after_error(path):
        save_run(
            path,
            table=table,
            results=results,
            config=config,
            training=training,
            data_config=data_config,
            temperatures=evaluation.calibration.temperatures,
            others={"unlabelled": unlabelled, **reading},
            baselines=predictions,
            made=made,
            metrics={name: value for name, value in finished.to_dict().items() if name != "run"},
        )
    keeping(lambda: f"the run is written to {path}, its report is not")
    write_opinions(path, table, config, results, evaluation.calibration.temperatures, device)
    if checkpoints:
        checkpoints.clear()
    write_report([path], shown=Shown(corpus=corpus))
    means = {f"test_{name}": value["mean"] for name, value in evaluation.metrics.items()}
    log(Result("", flat(head=config, training=training, data=data_config), means))
    log(Folder(path))
    return finished


def _train(
    table: CachedFeatures,
    folds: Sequence[Fold],
    *,
    config: HeadConfig,
    training: TrainConfig,
    device: str,
    unlabelled: Literal["none", "self", "cotrain"],
    checkpoints: CheckpointDir | None,
    epoch_done: Callable[[TrainedEpoch, str], None],
    first: int = 0,
) -> tuple[list[FoldResult], dict[str, list[NDArray[np.int64]]]]:
    """Train on some folds of the run, from number `first` on: their results, and the predictions of baselines."""

    def report(epoch: TrainedEpoch, training: str = "") -> None:
        epoch_done(epoch._replace(fold=first + epoch.fold), training)

    results = train_folds(
        table,
        folds,
        config,
        training,
        device=device,
        epoch_done=partial(report, training=SUPERVISED if unlabelled != "none" else ""),
        checkpointers=(lambda fold, member: checkpoints.checkpointer(first + fold, member)) if checkpoints else None,
    )
    predictions = baseline_predictions(table, folds, seed=training.seed)
    if unlabelled != "none":
        predictions[SUPERVISED] = [result.logits.argmax(1) for result in results]
        results = train_with_pseudo_labels(
            table, folds, config, training, method=unlabelled, device=device, epoch_done=report
        )
    return results, predictions


def checkpoint_dir(
    runs: Path, every: int, table: CachedFeatures, folds: Sequence[Fold], config: HeadConfig, training: TrainConfig
) -> CheckpointDir:
    """The checkpoints of this run, identified by its posts, features, folds and settings."""
    specs = [spec.fingerprint for side in table.specs.values() for spec in side]
    rows = [[part.tolist() for part in (fold.train, fold.valid, fold.test)] for fold in folds]
    identity = [asdict(config), asdict(training), specs, list(table.posts.ids), table.targets().tolist(), rows]
    return CheckpointDir(runs, every, identity)
