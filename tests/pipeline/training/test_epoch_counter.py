"""Epochs of all heads are counted as one step, and a cancelled training ends soon."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import replace

import pytest
from experiments import FOLDS, QUICK, SMALL, TABLE
from progress_records import Records

from msa.features.progress import watched
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.training.epochs import TrainedEpoch
from msa.pipeline.training.folds import train_experiments
from msa.pipeline.training.jobs import Experiment

BAYES = "estimator:sklearn.naive_bayes.GaussianNB"


def test_epochs_are_one_step_in_which_heads_that_stop_early_count_in_full() -> None:
    early = replace(QUICK, epochs=30, patience=1, lr=1e-1)
    records = Records()
    with watched(records):
        found = train_experiments(TABLE, FOLDS, [Experiment(SMALL, QUICK), Experiment(SMALL, early)])
    trained = [len(history) for results in found for one in results for history in one.histories]
    assert max(trained[len(FOLDS) :]) < 30
    steps = records.of("step")
    total = len(FOLDS) * (QUICK.epochs + 30)
    assert steps[0] == ("epochs", 0, total, "epochs")
    assert steps[-1] == ("epochs", total, total, "epochs")
    counts = [done for _, done, _, _ in steps]
    assert counts == sorted(counts)
    assert len(records.of("detail")) == sum(trained)
    last = found[0][0].histories[0][-1]
    shown = f"loss {last.train['loss']:.3f} · validation loss {last.valid['loss']:.3f}"
    accuracy = f"accuracy {last.valid['accuracy']:.3f}"
    assert f"fold 1/{len(FOLDS)} · epoch {QUICK.epochs}/{QUICK.epochs} · {shown} · {accuracy}" in records.of("detail")


def test_a_classifier_that_is_fitted_at_once_has_one_epoch() -> None:
    records = Records()
    both = [HeadConfig(BAYES), HeadConfig(f"{BAYES}+gated", hidden=4, inputs="pooled", ensemble_size=2)]
    with watched(records):
        train_experiments(TABLE, FOLDS, [Experiment(config, QUICK) for config in both])
    assert records.of("step")[0] == ("epochs", 0, len(FOLDS) * (1 + 1 + QUICK.epochs), "epochs")
    assert any(" · epoch 1/1 · " in detail for detail in records.of("detail"))


def test_an_error_in_one_head_ends_the_others_after_their_epoch() -> None:
    epochs: list[TrainedEpoch] = []

    def interrupt(epoch: TrainedEpoch) -> None:
        epochs.append(epoch)
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, CancelledError)):
        train_experiments(TABLE, FOLDS, [Experiment(SMALL, replace(QUICK, epochs=5000))], epoch_done=interrupt)
    assert len(epochs) <= len(FOLDS)
