"""Schedules, augmentation, averaged weights, thresholds, and trainings that go on where they were cut off."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from padded_inputs import ragged
from torch import Tensor

from msa.heads.base import Dims, Head, Inputs
from msa.heads.registry import build_head
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.metrics.scores import score
from msa.pipeline.metrics.thresholds import tune_offsets
from msa.pipeline.training.augment import augment, blend, hide_modality
from msa.pipeline.training.checkpointing import CheckpointDir, Checkpointer
from msa.pipeline.training.loop import FitResult, balanced, fit, predict_logits, training_threads

N = 90
TRAIN, VALID = range(60), range(60, 90)
CONFIG = TrainConfig(epochs=6, batch_size=16, lr=3e-3, patience=0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with training_threads(1):
        yield


def posts() -> tuple[Inputs, Tensor]:
    draw = torch.Generator().manual_seed(0)
    labels = (torch.arange(N) % 5).clamp(max=2)
    image, text = torch.randn(N, 1, 6, generator=draw), torch.randn(N, 1, 5, generator=draw)
    image[:, 0, 0] += 1.5 * (labels == 0)
    text[:, 0, 1] += 1.5 * (labels == 1)
    mask = torch.ones(N, 1, dtype=torch.bool)
    return Inputs(image, mask, text, mask), labels


def train(config: TrainConfig = CONFIG, checkpointer: Checkpointer | None = None) -> tuple[Head, FitResult]:
    inputs, labels = posts()
    head = build_head("gated", Dims(6, 5, 3), hidden=16)
    return head, fit(
        head, ragged(inputs), labels, train_rows=TRAIN, valid_rows=VALID, config=config, checkpointer=checkpointer
    )


def same(one: Head, two: Head) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def rates(**change: float | str) -> list[float]:
    config = dataclasses.replace(CONFIG, epochs=40, **change)  # type: ignore[arg-type]
    return [config.rate(step, 10) for step in range(400)]


def test_warm_restarts_start_anew_and_end_at_the_least_rate() -> None:
    found = rates(schedule="restarts", restart_every=10, warmup=0.0, min_lr=1e-6)
    assert found[0] == found[100] == found[300] == pytest.approx(CONFIG.lr)
    assert found[99] == pytest.approx(1e-6, rel=1.0)
    assert found[:100] == found[100:200] == sorted(found[:100], reverse=True)


def test_one_cycle_rises_for_three_tenths_and_falls_to_nothing() -> None:
    found = rates(schedule="onecycle")
    assert int(np.argmax(found)) == 120
    assert found[120] == pytest.approx(CONFIG.lr)
    assert found[0] == pytest.approx(CONFIG.lr / 25)
    assert found[-1] < CONFIG.lr / 1e3


@pytest.mark.parametrize("schedule", ["cosine", "constant", "restarts"])
def test_warm_up_rises_step_by_step_and_reaches_the_rate(schedule: str) -> None:
    found = rates(schedule=schedule, warmup=3.0)
    assert found[:30] == sorted(found[:30])
    assert found[0] == pytest.approx(CONFIG.lr / 30)
    assert max(found) == found[30] == pytest.approx(CONFIG.lr)


def test_a_hidden_modality_is_one_of_two_and_never_the_last() -> None:
    inputs, _ = posts()
    inputs = inputs._replace(text_mask=inputs.text_mask.clone())
    inputs.text_mask[:30] = False
    hidden = hide_modality(inputs, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(hidden.image_mask[:30], inputs.image_mask[:30])
    left = hidden.image_mask[30:, 0].long() + hidden.text_mask[30:, 0].long()
    assert left.min() == 1
    assert 0.3 < (left == 1).float().mean() < 0.7
    assert (~hidden.image_mask[30:]).any()
    assert (~hidden.text_mask[30:]).any()


def test_blended_rows_are_between_two_and_keep_what_only_one_has() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    image = torch.tensor([[[1.0], [5.0]], [[3.0], [torch.nan]]])
    inputs = Inputs(image, mask, image, mask)
    targets = torch.eye(2)
    mixed, shares = blend(inputs, targets, torch.tensor([1, 0]), 0.75)
    torch.testing.assert_close(mixed.image[..., 0], torch.tensor([[1.5, 5.0], [2.5, 5.0]]))
    assert mixed.image_mask.all()
    torch.testing.assert_close(shares, torch.tensor([[0.75, 0.25], [0.25, 0.75]]))


def test_augmentation_depends_on_seed_and_step_alone() -> None:
    inputs, labels = posts()
    config = dataclasses.replace(CONFIG, mixup=0.4, modality_dropout=0.3)
    targets = torch.nn.functional.one_hot(labels, 3).float()
    one, _ = augment(inputs, targets, config, 3)
    torch.rand(7)
    two, _ = augment(inputs, targets, config, 3)
    other, _ = augment(inputs, targets, config, 4)
    assert torch.equal(one.image, two.image)
    assert not torch.equal(one.image, other.image)


def test_the_sampler_draws_classes_alike() -> None:
    _, labels = posts()
    drawn = torch.cat([labels[balanced(torch.arange(N), labels, epoch, CONFIG)] for epoch in range(30)])
    shares = torch.bincount(drawn).float() / len(drawn)
    assert (shares - 1 / 3).abs().max() < 0.03


def test_averages_are_of_the_weights_that_training_went_through() -> None:
    last = dataclasses.replace(CONFIG, epochs=1)
    plain, averaged = train(last)[0], train(dataclasses.replace(last, average="ema", decay=0.9))[0]
    start = build_head("gated", Dims(6, 5, 3), hidden=16)
    moved = [(a - s).norm() for a, s in zip(averaged.parameters(), start.parameters(), strict=True)]
    further = [(p - s).norm() for p, s in zip(plain.parameters(), start.parameters(), strict=True)]
    assert 0 < sum(moved) < sum(further)


def test_thresholds_are_found_where_the_metric_is_best_and_stay_at_nothing_otherwise() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    logits = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    logits[np.arange(100), labels] += 1.0
    logits[:, 2] -= 1.0  # a small class that is hardly ever chosen
    offsets = tune_offsets(logits, labels, metric="macro_f1")
    before, after = (score(labels, (logits + o).argmax(1), range(3))["macro_f1"] for o in (0, offsets))
    assert after > before + 0.02
    assert offsets[2] == 0
    assert (tune_offsets(10 * np.eye(3, dtype=np.float32)[labels], labels, metric="accuracy") == 0).all()


def test_tuned_thresholds_move_predictions_and_travel_with_the_head() -> None:
    inputs, _ = posts()
    plain, tuned = train()[0], train(dataclasses.replace(CONFIG, tune_thresholds=True))[0]
    assert not plain.offsets.any()
    assert tuned.offsets.any()
    assert "offsets" in tuned.state_dict()
    moved = predict_logits(tuned, ragged(inputs), VALID) - predict_logits(plain, ragged(inputs), VALID)
    torch.testing.assert_close(moved, tuned.offsets.expand_as(moved))


@pytest.mark.parametrize("change", [{}, {"average": "ema"}, {"average": "swa"}, {"optimizer": "sgd", "mixup": 0.2}])
def test_an_interrupted_training_goes_on_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    config = dataclasses.replace(CONFIG, **change)  # type: ignore[arg-type]
    whole, expected = train(config)
    checkpointer = Checkpointer(tmp_path / "fold0.pt", 2)
    saved = Checkpointer.save

    def cut(self: Checkpointer, epoch: int, state: object, *, last: bool) -> None:
        saved(self, epoch, state, last=last)  # type: ignore[arg-type]
        if epoch == 5:  # one epoch after a checkpoint
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            train(config, checkpointer)
    resumed, result = train(config, checkpointer)
    assert same(resumed, whole)
    assert [r.valid for r in result.history] == [r.valid for r in expected.history]


def test_a_training_that_ended_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpointer = Checkpointer(tmp_path / "fold0.pt", 100)
    whole, expected = train(checkpointer=checkpointer)
    monkeypatch.setattr("msa.pipeline.training.loop.run_epoch", None)
    again, result = train(checkpointer=checkpointer)
    assert same(again, whole)
    assert result == expected


def test_checkpoints_are_found_by_all_that_decides_the_results(tmp_path: Path) -> None:
    one, same_one, other = (CheckpointDir(tmp_path, 2, {"lr": lr, "rows": [1, 2]}) for lr in (0.1, 0.1, 0.2))
    assert one.checkpointer(0, 1) == same_one.checkpointer(0, 1)
    assert len({place.checkpointer(*which).path for place in (one, other) for which in ((0, 1), (1, 0))}) == 4
    one.folder.mkdir(parents=True)
    same_one.clear()
    assert not one.folder.exists()


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 2}, tmp_path / "fold0.pt")
    with pytest.raises(ValueError, match=r"fold0\.pt: a checkpoint of format 2, wanted 1; delete it and train again"):
        train(checkpointer=Checkpointer(tmp_path / "fold0.pt", 2))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "fold0.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"fold0\.pt: a damaged checkpoint"):
        train(checkpointer=Checkpointer(tmp_path / "fold0.pt", 2))
