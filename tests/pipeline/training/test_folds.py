"""Many heads over many folds end as each would alone, in however many threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments import EXPERIMENTS, FOLDS, QUICK, SMALL, TABLE

from msa.pipeline.data.split import Fold
from msa.pipeline.metrics.probabilities import softmax
from msa.pipeline.training.checkpointing import CheckpointDir
from msa.pipeline.training.epochs import TrainedEpoch
from msa.pipeline.training.folds import FoldResult, train_experiments, train_folds
from msa.pipeline.training.jobs import Experiment


def check(found: list[FoldResult], expected: list[FoldResult]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert len(one.heads) == len(other.heads)
        assert one.best_epochs == other.best_epochs
        assert np.array_equal(one.fold.test, other.fold.test)
        assert np.array_equal(one.valid_rows, other.valid_rows)
        assert np.abs(softmax(one.logits) - softmax(other.logits)).max() < 1e-3
        assert np.abs(softmax(one.valid_logits) - softmax(other.valid_logits)).max() < 1e-3
        assert (one.logits.argmax(1) == other.logits.argmax(1)).mean() >= 0.999
        assert one.reductions.keys() == other.reductions.keys()


@pytest.fixture(scope="module")
def alone() -> list[list[FoldResult]]:
    return [train_experiments(TABLE, FOLDS, [task])[0] for task in EXPERIMENTS]


@pytest.mark.parametrize("threads", [1, 2, 3, None])
def test_the_threads_change_no_result(alone: list[list[FoldResult]], threads: int | None) -> None:
    many = train_experiments(TABLE, FOLDS, EXPERIMENTS, threads=threads)
    for found, expected in zip(many, alone, strict=True):
        check(found, expected)
        assert all(np.array_equal(one.logits, other.logits) for one, other in zip(found, expected, strict=True))


def test_each_epoch_of_each_head_is_reported_as_it_is_stored(alone: list[list[FoldResult]]) -> None:
    epochs: list[TrainedEpoch] = []
    train_experiments(TABLE, FOLDS, EXPERIMENTS, threads=2, epoch_done=epochs.append)
    for number, results in enumerate(alone):
        for fold, result in enumerate(results):
            for member, history in enumerate(result.histories):
                own = [one for one in epochs if (one.experiment, one.fold, one.member) == (number, fold, member)]
                assert [one.record.epoch for one in own] == [record.epoch for record in history]
                assert [one.record.valid for one in own] == [record.valid for record in history]
                config = EXPERIMENTS[number].training
                assert {(one.epochs, one.metric) for one in own} == {(config.epochs, config.metric)}


def test_heads_of_the_same_settings_repeat_themselves_bit_for_bit() -> None:
    one, two = (train_experiments(TABLE, FOLDS, EXPERIMENTS, threads=2) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert all(np.array_equal(a.logits, b.logits) for a, b in zip(first, second, strict=True))


def test_a_hidden_modality_changes_the_logits() -> None:
    full, hidden = train_experiments(TABLE, FOLDS, [EXPERIMENTS[0], EXPERIMENTS[3]])
    assert all(np.abs(a.logits - b.logits).max() > 1e-3 for a, b in zip(full, hidden, strict=True))


def test_a_checkpointed_training_goes_on(tmp_path: Path) -> None:
    place = CheckpointDir(tmp_path, 1, "x")
    kept = train_folds(TABLE, FOLDS, SMALL, QUICK, checkpointers=place.checkpointer)
    again = train_folds(TABLE, FOLDS, SMALL, QUICK, checkpointers=place.checkpointer)
    assert sorted(path.name for path in place.folder.iterdir()) == ["fold0-0.pt", "fold1-0.pt"]
    check(again, kept)
    check(train_folds(TABLE, FOLDS, SMALL, QUICK), kept)


def test_heads_that_want_other_tables_are_refused() -> None:
    other = Experiment(replace(SMALL, fusion="attention", patches=None), QUICK)
    with pytest.raises(ValueError, match="must share --patches and --views"):
        train_experiments(TABLE, FOLDS, [EXPERIMENTS[5], other])


def test_an_error_in_one_training_is_the_callers() -> None:
    with pytest.raises(ValueError, match="no validation rows"):
        train_experiments(TABLE, [Fold(np.arange(30), np.arange(0), np.arange(60, 90))], EXPERIMENTS[:3])
