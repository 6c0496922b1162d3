"""`msa train-head`: train one head over the folds, stand it beside its baselines, write the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..features.encoders.runtime import pick_device
from ..features.encoders.views import view_spec
from ..features.posts.samples import Corpus
from .data.cached_features import FeatureTable, find_spec, load_features
from .data.leaks import refuse_leaks
from .data.split import STOP_PARTS, Fold, load_or_make_folds, members_of
from .data.test_lock import lock
from .evaluation.baselines import baseline_guesses
from .evaluation.comparison import SUPERVISED, Judgement, judge
from .evaluation.report import render_report
from .metrics.scores import score, summarise
from .metrics.tables import class_table, metric_table
from .runs.runs import free_name, save_run
from .training.checkpointing import Workplace
from .training.experiment import FoldDone, HeadConfig, train_folds
from .training.loop import TrainConfig
from .training.pseudo_labels import train_unlabelled

REPORTED = ("accuracy", "macro_f1", "weighted_f1")


@dataclass(frozen=True)
class StageTwo:
    """What every command of stage two is given: the cache, the encoders by name, the folds, the device.

    `repeats` deals the folds that many times. `hold_out` sets that share of the posts aside for `msa test`, once.
    """

    cache: Path
    image: tuple[str, ...]
    text: tuple[str, ...]
    folds: int | None = None
    device: str = "auto"
    repeats: int = 1
    hold_out: float = 0.0


@dataclass(frozen=True)
class TrainedHead:
    """A finished run: where it lies, its metrics over folds, its baselines', what they are worth, seconds."""

    run: Path
    fusion: str
    metrics: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, dict[str, float]]]
    judgement: Judgement
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
        } | self.judgement.to_dict()

    def to_text(self) -> str:
        """The tables that the command prints."""
        systems = {self.fusion: self.metrics} | self.baselines
        scored = scored_text(self.judgement.rows, self.folds, self.repeats)
        return (
            f"{class_table(self.judgement.classes)}\n\n{metric_table(systems)}\n\n{self.judgement.to_text()}\n\n"
            f"{scored}, {self.seconds:.1f} s; run folder: {self.run}"
        )


def prepare(corpus: Corpus, stage: StageTwo, config: HeadConfig, *, seed: int) -> tuple[FeatureTable, list[Fold], str]:
    """Load the features that the head needs and the folds they are judged on; also the device to train on.

    No fold holds a locked test post.
    """
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
    splits = stage.cache / "splits"
    posts = lock(table.posts, splits, share=stage.hold_out)
    folds = load_or_make_folds(posts, splits, folds=stage.folds, seed=seed, repeats=stage.repeats)
    members = partial(members_of, posts, count=min(config.members, STOP_PARTS), seed=seed)
    refuse_leaks(table, [member for fold in folds for member in members(fold)])
    return replace(table, posts=posts), folds, pick_device(stage.device)


def train_head(
    corpus: Corpus,
    stage: StageTwo,
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
    table, folds, device = prepare(corpus, stage, config, seed=training.seed)
    place = workplace(runs, checkpoint_every, table, folds, config, training) if checkpoint_every else None
    keepers = place.keeper if place else None
    results = train_folds(table, folds, config, training, device=device, done=done, keepers=keepers)
    guesses = baseline_guesses(table, folds, seed=training.seed)
    if unlabelled != "none":
        guesses[SUPERVISED] = [result.logits.argmax(1) for result in results]
        results = train_unlabelled(table, folds, config, training, method=unlabelled, device=device, done=done)
    metrics = summarise([result.metrics for result in results])
    labels = table.targets()
    baselines = {
        system: summarise([score(labels[f.score], said, table.classes) for f, said in zip(folds, guess, strict=True)])
        for system, guess in guesses.items()
    }
    stops = [(result.stop_rows, result.stop_logits) for result in results]
    judgement = judge(table, folds, [result.logits for result in results], stops, others=guesses)
    path = free_name(runs, name or config.fusion)
    seconds = round(time.perf_counter() - started, 2)
    trained = TrainedHead(path, config.fusion, metrics, baselines, judgement, len(folds), stage.repeats, seconds)
    report = render_report(
        f"{config.fusion}: {' + '.join([*stage.image, *stage.text])}",
        systems={config.fusion: metrics} | baselines,
        judgement=judgement,
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
        folds=stage.folds,
        cache=stage.cache,
        metrics=trained.to_dict()
        | {"confusion": judgement.confusion, "per_fold": [result.metrics for result in results]},
        report=report,
    )
    if place:
        place.clear()
    return trained


def workplace(
    runs: Path, every: int, table: FeatureTable, folds: Sequence[Fold], config: HeadConfig, training: TrainConfig
) -> Workplace:
    """Where the unfinished trainings of this very run are kept: same posts, features, folds and settings."""
    specs = [spec.fingerprint for side in (table.image, table.text) if side for spec in side.specs]
    rows = [[part.tolist() for part in (fold.train, fold.stop, fold.score)] for fold in folds]
    identity = [asdict(config), asdict(training), specs, list(table.posts.ids), table.targets().tolist(), rows]
    return Workplace(runs, every, identity)


def scored_text(rows: int, folds: int, repeats: int) -> str:
    """`4000 posts scored, 5 folds, 3 repeats`; `folds` are those of all repeats together."""
    dealt = f"{folds // repeats} folds" if folds > 1 else "one split"
    return f"{rows} posts scored, {dealt}" + (f", {repeats} repeats" if repeats > 1 else "")
