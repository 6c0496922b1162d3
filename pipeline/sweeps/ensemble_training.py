"""Trains the picked trials of a sweep as one head per outer fold, tests it, and writes the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...features.posts.samples import Corpus
from ...features.progress import stage
from ...features.spec import MODALITIES, EncoderSpec, Modality
from ...features.store.stored_paths import stored_path
from ..config.data_config import DataConfig
from ..config.ensemble_config import GREEDY, EnsembleConfig, Member
from ..config.head_config import HeadConfig
from ..config.train_config import TrainConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import dims_of
from ..data.split import Fold
from ..evaluation.baselines import baseline_predictions
from ..evaluation.comparison import evaluate_folds
from ..metrics.probabilities import log_mean
from ..metrics.scores import score
from ..runs.destination import free_after_error
from ..runs.made import describe_made
from ..runs.results import WINNER
from ..runs.runs import save_run
from ..training.ensemble_head import EnsembleHead
from ..training.folds import FoldResult, train_experiments
from ..training.jobs import Experiment
from ..training.loop import training_threads
from ..training.predictions import prediction_views, view_logits
from .ensemble import Ensemble, Pick, TrainedEnsemble
from .space import apply_point, encoders_of
from .tables import TableLoader


def train_ensemble(
    picks: Sequence[Sequence[Pick]],
    loader: TableLoader,
    table: CachedFeatures,
    folds: Sequence[Fold],
    head: HeadConfig,
    training: TrainConfig,
) -> TrainedEnsemble:
    """Train the members of each outer fold on its rows, and join them. `table` has the posts that `folds` are of."""
    stage("training the ensemble")
    trials = [[_Trial(pick, *_load(pick, loader, head, training)) for pick in fold] for fold in picks]
    joint, data_config, device = _join_tables(trials, loader)
    joint = replace(joint, posts=table.posts)
    config = _describe(trials, joint)
    pairs = zip(trials, config.members, folds, strict=True)
    results = [_train_fold(own, members, fold, config, joint, device) for own, members, fold in pairs]
    return TrainedEnsemble(joint, data_config, config, results)


def save_ensemble(
    corpus: Corpus,
    trained: TrainedEnsemble,
    winner: Sequence[NDArray[np.int64]],
    training: TrainConfig,
    *,
    path: Path,
) -> Ensemble:
    """Compare an ensemble with the single winner and the baselines, and write its run to `path`, from `free_name`.

    `winner` are the classes (n,) that the winner predicts for each fold's test rows.
    """
    table, results = trained.table, trained.results
    folds = [result.fold for result in results]
    with free_after_error(path):
        predictions = {WINNER: list(winner)} | baseline_predictions(table, folds, seed=training.seed)
        evaluation = evaluate_folds(
            table,
            folds,
            [result.logits for result in results],
            [(result.valid_rows, result.valid_logits) for result in results],
            fusion=GREEDY,
            baselines=predictions,
        )
        stage("writing the run")
        save_run(
            path,
            table=table,
            results=results,
            config=trained.config,
            training=training,
            data_config=trained.data_config,
            temperatures=evaluation.calibration.temperatures,
            others={},
            baselines=predictions,
            made=describe_made(corpus, table.posts) | {"posts": stored_path(corpus.root / corpus.table, path)},
            metrics=asdict(evaluation),
        )
    return Ensemble(path, trained, evaluation)


class _Trial(NamedTuple):
    """A picked trial, what it trains, and the features that it reads."""

    pick: Pick
    experiment: Experiment
    table: CachedFeatures


def _load(
    pick: Pick, loader: TableLoader, head: HeadConfig, training: TrainConfig
) -> tuple[Experiment, CachedFeatures]:
    config, settings = apply_point(pick.point, head, training)
    return Experiment(config, settings), loader.load(pick.point, config)[0]


def _join_tables(trials: Sequence[Sequence[_Trial]], loader: TableLoader) -> tuple[CachedFeatures, DataConfig, str]:
    """The features of all encoders of the trials, the settings that name them, and the device."""
    names: dict[Modality, dict[EncoderSpec, str]] = {modality: {} for modality in MODALITIES}
    for trial in (one for fold in trials for one in fold):
        for modality, given in zip(MODALITIES, encoders_of(trial.pick.point, loader.data_config), strict=True):
            for spec, one in zip(trial.table.specs[modality], (n for n in given if n != "none"), strict=True):
                names[modality].setdefault(spec, one)
    image, text = (tuple(names[modality].values()) or ("none",) for modality in MODALITIES)
    point = {"image": "+".join(image), "text": "+".join(text)}
    table, _, device = loader.load(point, trials[0][0].experiment.config)
    return table, replace(loader.data_config, image=image, text=text), device


def _describe(trials: Sequence[Sequence[_Trial]], joint: CachedFeatures) -> EnsembleConfig:
    """The config of the ensemble, whose members are these trials; what all of them share is that of the first."""
    one = trials[0][0].experiment.config

    def places(trial: _Trial, modality: Modality) -> tuple[int, ...] | None:
        known = joint.specs[modality]
        found = tuple(known.index(spec) for spec in trial.table.specs[modality])
        return None if found == tuple(range(len(known))) else found

    return EnsembleConfig(
        GREEDY,
        inputs="tokens" if one.tokens else "pooled",
        patches=one.patches,
        token_width=one.token_width,
        views=one.views,
        average_views=one.average_views,
        members=tuple(
            tuple(
                Member(
                    trial.pick.trial,
                    trial.pick.count,
                    trial.experiment.config,
                    trial.experiment.training,
                    places(trial, "image"),
                    places(trial, "text"),
                )
                for trial in fold
            )
            for fold in trials
        ),
    )


def _train_fold(
    trials: Sequence[_Trial],
    members: Sequence[Member],
    fold: Fold,
    config: EnsembleConfig,
    joint: CachedFeatures,
    device: str,
) -> FoldResult:
    """The ensemble of one fold, and its logits of the test and of the validation rows, which all members share."""
    tables = {id(trial.table): trial.table for trial in trials}
    trained: dict[int, FoldResult] = {}
    for name, table in tables.items():
        places = [place for place, trial in enumerate(trials) if id(trial.table) == name]
        found = train_experiments(table, [fold], [trials[place].experiment for place in places], device=device)
        trained |= {place: result for place, (result,) in zip(places, found, strict=True)}
    results = [trained[place] for place in range(len(trials))]
    views = prediction_views(joint, config, results[0].reductions, device)
    head = EnsembleHead([result.heads[0] for result in results], members, dims_of(views[0], joint)).to(device)
    with training_threads(1):
        logits, valid_logits = (log_mean(view_logits([head], views, rows)) for rows in (fold.test, fold.valid))
    return FoldResult(
        fold=fold,
        heads=[head],
        reductions=results[0].reductions,
        histories=[history for result in results for history in result.histories],
        best_epochs=[epoch for result in results for epoch in result.best_epochs],
        logits=logits,
        metrics=score(joint.targets()[fold.test], logits.argmax(1), joint.classes),
        valid_rows=fold.valid,
        valid_logits=valid_logits,
    )
