"""Fused training ends where training alone ends, for every head, whatever trains beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from padded_inputs import padded, ragged
from torch import Tensor

from msa.heads.base import Dims, Head, Inputs
from msa.heads.registry import HEADS, build_head
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.ragged_inputs import RaggedInputs
from msa.pipeline.data.split import Fold
from msa.pipeline.fused import step_replay
from msa.pipeline.fused.fused_training import SHARED, batch_key
from msa.pipeline.fused.training import begin_training
from msa.pipeline.training.loop import EpochRecord, FitResult, fit, predict_logits, training_threads

N = 120
TRAIN, VALID = range(90), range(90, 120)
FOLD = Fold(np.array(TRAIN), np.array(VALID), np.array([], np.int64))
CONFIG = TrainConfig(epochs=3, batch_size=16, lr=3e-3, patience=0)
OTHERS = [
    replace(CONFIG, lr=1e-2, weight_decay=0.1, label_smoothing=0.1, clip=0.5),
    replace(CONFIG, schedule="onecycle", balance="weights", logit_adjustment=0.5),
]
Job = tuple[TrainConfig, float, int]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(
        step_replay, "AFTER", 10**6
    )  # recording takes a second or two; what is replayed has its own test
    with training_threads(1):
        yield


def posts(tokens: int) -> tuple[RaggedInputs, Tensor]:
    draw = torch.Generator().manual_seed(0)
    labels = (torch.arange(N) % 5).clamp(max=2)
    image, text = torch.randn(N, tokens, 6, generator=draw), torch.randn(N, tokens, 5, generator=draw)
    image[:, 0, 0] += 1.5 * (labels == 0)
    text[:, 0, 1] += 1.5 * (labels == 1)
    lengths = torch.randint(1, tokens + 1, (N, 1), generator=draw)
    mask = torch.arange(tokens) < lengths
    missing = torch.rand(N, 1, generator=draw) < 0.1
    return ragged(Inputs(image, torch.ones(N, tokens, dtype=torch.bool) & ~missing, text, mask)), labels


def build(name: str, dropout: float, seed: int) -> Head:
    return build_head(name, Dims(6, 5, 3), hidden=16, dropout=dropout, seed=seed)


def alone(name: str, tokens: int, job: Job) -> tuple[Head, FitResult]:
    config, dropout, seed = job
    inputs, labels = posts(tokens)
    head = build(name, dropout, seed)
    return head, fit(head, inputs, labels, train_rows=TRAIN, valid_rows=VALID, config=config)


def together(
    name: str, tokens: int, jobs: Sequence[Job], until: Sequence[int] = (100,)
) -> list[tuple[Head, FitResult]]:
    inputs, labels = posts(tokens)
    heads = [build(name, dropout, seed) for _, dropout, seed in jobs]
    fused = begin_training(heads, [job[0] for job in jobs], inputs, labels, FOLD)
    for epoch in until:
        fused.train_to(epoch, inputs)
    return [fused.finish(number, inputs) for number in range(len(jobs))]


def check(name: str, tokens: int, found: tuple[Head, FitResult], expected: tuple[Head, FitResult]) -> None:
    (head, result), (solo, wanted) = found, expected
    assert [r.valid["loss"] for r in result.history] == pytest.approx(
        [r.valid["loss"] for r in wanted.history], abs=1e-4
    )
    assert [r.train["loss"] for r in result.history] == pytest.approx(
        [r.train["loss"] for r in wanted.history], abs=1e-4
    )
    assert [r.lr for r in result.history] == [r.lr for r in wanted.history]
    assert (result.best_epoch, len(result.history)) == (wanted.best_epoch, len(wanted.history))
    inputs, _ = posts(tokens)
    one, two = predict_logits(head, inputs, range(N)), predict_logits(solo, inputs, range(N))
    torch.testing.assert_close(one, two, atol=2e-3, rtol=0)
    assert (one.argmax(1) == two.argmax(1)).float().mean() >= 0.99  # 120 rows: at most one near-tie may fall otherwise


@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("name", list(HEADS))
def test_every_head_ends_where_it_ends_alone(name: str, tokens: int) -> None:
    jobs = [(config, dropout, seed) for config, dropout, seed in zip([CONFIG, *OTHERS], (0.3, 0.0, 0.5), (0, 1, 2))]  # noqa: B905
    for job, found in zip(jobs, together(name, tokens, jobs), strict=True):
        check(name, tokens, found, alone(name, tokens, job))


@pytest.mark.parametrize(
    "name", [name if name in ("concat", "late") else pytest.param(name, marks=pytest.mark.slow) for name in HEADS]
)
def test_every_head_ends_there_when_its_steps_are_replayed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_replay, "AFTER", 3)
    step_replay.forget()
    test_every_head_ends_where_it_ends_alone(name, 1)


SETTINGS: list[dict[str, object]] = [
    {"optimizer": "sgd", "warmup": 0.5, "min_lr": 1e-3},
    {"optimizer": "adam", "average": "ema", "decay": 0.9},
    {"average": "swa", "schedule": "restarts", "restart_every": 1},
    {"mixup": 0.4, "modality_dropout": 0.3},
    {"balance": "sampler", "loss": "focal", "gamma": 1.0},
    {"loss": "emd"},
    {"tune_thresholds": True, "metric": "macro_f1"},
    {"patience": 1, "epochs": 8, "lr": 3e-2},
]
OF_EACH_HEAD = {
    "lr",
    "weight_decay",
    "label_smoothing",
    "clip",
    "logit_adjustment",
}  # in OTHERS
OF_THE_BATCHES = {"batch_size", "seed"}  # what fused heads share, and every test has


def test_every_setting_of_training_is_among_these() -> None:
    names = {field.name for field in fields(TrainConfig)}
    assert names == {name for change in SETTINGS for name in change} | OF_EACH_HEAD | OF_THE_BATCHES
    assert set(SHARED) > OF_THE_BATCHES
    changed = {name for other in OTHERS for name in OF_EACH_HEAD if getattr(other, name) != getattr(CONFIG, name)}
    assert changed == OF_EACH_HEAD


@pytest.mark.parametrize("change", SETTINGS)
def test_every_setting_of_training_is_the_same_fused(change: dict[str, object]) -> None:
    config = replace(CONFIG, **change)  # type: ignore[arg-type]
    jobs = [(config, 0.3, 0), (replace(config, lr=config.lr / 3), 0.1, 1)]
    for job, found in zip(jobs, together("gated", 1, jobs), strict=True):
        check("gated", 1, found, alone("gated", 1, job))


def test_results_depend_neither_on_the_other_heads_nor_on_the_rungs() -> None:
    jobs: list[Job] = [(replace(CONFIG, lr=lr), 0.3, seed) for seed, lr in enumerate((1e-3, 3e-3, 1e-2, 3e-2, 1e-4))]
    whole = together("concat", 1, jobs)
    parts = [*together("concat", 1, jobs[:2], until=(1, 2, 3)), *together("concat", 1, jobs[2:], until=(2, 9))]
    for found, expected in zip(parts, whole, strict=True):
        check("concat", 1, found, expected)


def test_a_dropped_head_leaves_the_memory_and_the_others_go_on() -> None:
    inputs, labels = posts(1)
    jobs = [(CONFIG, 0.3, 0), (replace(CONFIG, lr=1e-2), 0.3, 1)]
    heads = [build("gated", dropout, seed) for _, dropout, seed in jobs]
    fused = begin_training(heads, [job[0] for job in jobs], inputs, labels, FOLD)
    fused.train_to(1, inputs)
    fused.drop(0)
    fused.train_to(3, inputs)
    assert sum(parameter.numel() for parameter in heads[0].parameters()) == 0
    check("gated", 1, fused.finish(1, inputs), alone("gated", 1, jobs[1]))


@pytest.mark.parametrize("name", ["late", "kernel"])
def test_finishing_a_head_does_not_change_its_training(name: str) -> None:
    inputs, labels = posts(1)
    jobs: list[Job] = [(replace(CONFIG, tune_thresholds=True), 0.3, 0), (replace(CONFIG, lr=1e-2), 0.3, 1)]
    heads = [build(name, dropout, seed) for _, dropout, seed in jobs]
    fused = begin_training(heads, [job[0] for job in jobs], inputs, labels, FOLD)
    for epoch in (1, 2, 3):
        fused.train_to(epoch, inputs)
        for number in range(len(jobs)):
            fused.finish(number, inputs)
    for number, job in enumerate(jobs):
        check(name, 1, fused.finish(number, inputs), alone(name, 1, job))


@pytest.mark.parametrize("change", [{}, {"patience": 1, "epochs": 8, "lr": 3e-2}, {"average": "ema"}])
def test_without_fusion_heads_end_exactly_where_they_end_alone(change: dict[str, object]) -> None:
    inputs, labels = posts(1)
    config = replace(CONFIG, **change)  # type: ignore[arg-type]
    jobs: list[Job] = [(config, 0.3, 0), (replace(config, batch_size=8), 0.1, 1), (config, 0.2, 2)]
    heads = [build("gated", dropout, seed) for _, dropout, seed in jobs]
    training = begin_training(heads, [job[0] for job in jobs], inputs, labels, FOLD, fused=False)
    for epoch in (1, 2, 8):
        training.train_to(epoch, inputs)
        if epoch == 1:
            training.drop(2)
    for number, job in enumerate(jobs[:2]):
        (head, result), (solo, wanted) = training.finish(number, inputs), alone("gated", 1, job)
        assert [record.valid for record in result.history] == [record.valid for record in wanted.history]
        assert result.best_epoch == wanted.best_epoch
        assert torch.equal(predict_logits(head, inputs, range(N)), predict_logits(solo, inputs, range(N)))
        assert sum(record.seconds for record in training.history(number)) > 0


def test_without_fusion_an_error_is_that_heads_alone() -> None:
    inputs, labels = posts(1)
    configs = [replace(CONFIG, lr=1e30), CONFIG]
    heads = [build("gated", 0.3, 0), build("gated", 0.3, 1)]
    training = begin_training(heads, configs, inputs, labels, FOLD, fused=False)
    training.train_to(3, inputs)
    assert "no longer finite" in str(training.errors[0])
    assert training.errors[1] is None
    with pytest.raises(ValueError, match="no longer finite"):
        training.logits([0], inputs, [inputs], [0])


@pytest.mark.parametrize("name", ["concat", "late", "kernel"])
@pytest.mark.parametrize("change", [{}, {"tune_thresholds": True}])
def test_heads_predict_together_what_each_predicts_when_it_is_finished(name: str, change: dict[str, bool]) -> None:
    inputs, labels = posts(1)
    jobs = [(replace(CONFIG, lr=lr, **change), 0.3, seed) for seed, lr in enumerate((1e-3, 3e-2, 1e-2))]  # type: ignore[arg-type]
    heads = [build(name, dropout, seed) for _, dropout, seed in jobs]
    fused = begin_training(heads, [job[0] for job in jobs], inputs, labels, FOLD)
    fused.train_to(3, inputs)
    rows = [119, 3, 50, 7]
    shown = padded(inputs)
    other = ragged(shown._replace(image=shown.image + 1))
    of_heads = fused.logits([2, 0], inputs, [inputs, other], rows)
    for number, (plain, moved) in zip([2, 0], of_heads, strict=True):
        head, _ = fused.finish(number, inputs)
        for logits, seen in ((plain, inputs), (moved, other)):
            torch.testing.assert_close(torch.from_numpy(logits), predict_logits(head, seen, rows), atol=1e-5, rtol=0)
    assert not torch.equal(torch.from_numpy(of_heads[0][0]), torch.from_numpy(of_heads[1][0]))


def test_heads_that_cannot_share_batches_are_refused() -> None:
    inputs, labels = posts(1)
    configs = [CONFIG, replace(CONFIG, batch_size=8)]
    assert batch_key(configs[0]) != batch_key(configs[1])
    with pytest.raises(ValueError, match="must share their batches"):
        begin_training([build("gated", 0.3, 0)] * 2, configs, inputs, labels, FOLD)


@pytest.mark.parametrize("fused", [True, False])
def test_each_epoch_of_each_head_is_reported(fused: bool) -> None:
    inputs, labels = posts(1)
    heads, epochs = [build("concat", 0.0, seed) for seed in (0, 1)], list[EpochRecord]()
    training = begin_training(heads, [CONFIG, OTHERS[0]], inputs, labels, FOLD, fused=fused)
    training.train_to(1, inputs, epoch_done=epochs.append)
    training.drop(1)
    training.train_to(3, inputs, epoch_done=epochs.append)
    assert [record.epoch for record in epochs] == [1, 1, 2, 3]
    assert epochs[0].valid == training.finish(0, inputs)[1].history[0].valid
