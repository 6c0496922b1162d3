"""`msa train-head`: train one head over the folds, stand it beside its baselines, write the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..features.runtime import pick_device
from ..features.samples import Corpus
from ..features.views import view_spec
from .data import FeatureTable, find_spec, load_features
from .evaluate import confusion, per_class, summarise
from .experiment import FoldDone, HeadConfig, baseline_metrics, train_folds
from .report import render_report
from .runs import free_name, save_run
from .split import Fold, load_or_make_folds
from .tables import class_table, metric_table
from .train import TrainConfig

REPORTED = ("accuracy", "macro_f1", "weighted_f1")


@dataclass(frozen=True)
class StageTwo:
    """What every command of stage two is given: the cache, the encoders by name, the folds, the device."""

    cache: Path
    image: tuple[str, ...]
    text: tuple[str, ...]
    folds: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class TrainedHead:
    """A finished run: where it lies, its metrics over folds, its baselines', its classes, seconds."""

    run: Path
    fusion: str
    metrics: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, dict[str, float]]]
    classes: list[Any]
    folds: int
    rows: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "run": str(self.run),
            "fusion": self.fusion,
            "metrics": self.metrics,
            "baselines": self.baselines,
            "per_class": self.classes,
            "folds": self.folds,
            "rows": self.rows,
            "seconds": self.seconds,
        }

    def to_text(self) -> str:
        """The tables that the command prints."""
        scored = f"{self.rows} posts scored, " + (f"{self.folds} folds" if self.folds > 1 else "one split")
        systems = {self.fusion: self.metrics} | self.baselines
        return (
            f"{class_table(self.classes)}\n\n{metric_table(systems)}\n\n"
            f"{scored}, {self.seconds:.1f} s; run folder: {self.run}"
        )


def prepare(corpus: Corpus, stage: StageTwo, config: HeadConfig, *, seed: int) -> tuple[FeatureTable, list[Fold], str]:
    """Load the features that the head needs and the folds they are judged on; also the device to train on."""
    image = [find_spec(stage.cache, name, "image") for name in stage.image if name != "none"]
    table = load_features(
        corpus,
        stage.cache,
        image=image,
        text=[find_spec(stage.cache, name, "text") for name in stage.text if name != "none"],
        tokens=config.tokens,
        patches=config.patches,
        views=[[view_spec(spec, index) for spec in image] for index in range(1, config.views + 1)],
    )
    folds = load_or_make_folds(table.posts, stage.cache / "splits", folds=stage.folds, seed=seed)
    return table, folds, pick_device(stage.device)


def train_head(
    corpus: Corpus,
    stage: StageTwo,
    config: HeadConfig,
    training: TrainConfig,
    *,
    runs: Path = Path("runs"),
    name: str | None = None,
    done: FoldDone = lambda number, total: None,
) -> TrainedHead:
    """Train `config.fusion` on a cached corpus and write its run folder. Raises ValueError with a remedy."""
    started = time.perf_counter()
    table, folds, device = prepare(corpus, stage, config, seed=training.seed)
    results = train_folds(table, folds, config, training, device=device, done=done)
    metrics = summarise([result.metrics for result in results])
    baselines = {
        system: summarise(scores) for system, scores in baseline_metrics(table, folds, seed=training.seed).items()
    }
    truth, guesses = _scored(table, folds, [result.logits.argmax(1) for result in results])
    classes = [dict(entry) for entry in per_class(truth, guesses, table.classes)]
    counts = confusion(truth, guesses, table.classes).tolist()
    path = free_name(runs, name or config.fusion)
    seconds = round(time.perf_counter() - started, 2)
    trained = TrainedHead(path, config.fusion, metrics, baselines, classes, len(folds), len(truth), seconds)
    title = f"{config.fusion}: {' + '.join([*stage.image, *stage.text])}"
    settings = {"head": asdict(config), "training": asdict(training), "device": device, "posts": corpus.layout}
    report = render_report(
        title,
        systems={config.fusion: metrics} | baselines,
        classes=classes,
        confusion=counts,
        results=results,
        settings=settings,
    )
    stored = trained.to_dict() | {"confusion": counts, "per_fold": [result.metrics for result in results]}
    save_run(
        path,
        table=table,
        results=results,
        config=config,
        training=training,
        folds=stage.folds,
        cache=stage.cache,
        metrics=stored,
        report=report,
    )
    return trained


def _scored(table: FeatureTable, folds: Sequence[Fold], guesses: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted classes of all scored rows, fold after fold."""
    truth = table.targets()
    return np.concatenate([truth[fold.score] for fold in folds]), np.concatenate(list(guesses))
