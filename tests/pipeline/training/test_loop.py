"""Training: the same number every time, the best epoch restored, and nothing learned from the validation rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from padded_inputs import ragged
from torch import Tensor

from msa.heads.base import Dims, Head, Inputs
from msa.heads.registry import build_head
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.metrics.scores import score
from msa.pipeline.training.batches import shuffled_batches
from msa.pipeline.training.loop import FitResult, fit, predict_logits, run_epoch, training_threads
from msa.pipeline.training.losses import Loss

N, TRAIN, VALID = 90, list(range(60)), list(range(60, 90))
CONFIG = TrainConfig(epochs=4, batch_size=16, lr=3e-3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with training_threads(1):
        yield


def posts(tokens: int = 1) -> tuple[Inputs, Tensor]:
    """N posts of three classes; both modalities carry a part of the label, texts differ in length."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % 3
    image, text = torch.randn(N, tokens, 6, generator=draw), torch.randn(N, tokens, 5, generator=draw)
    image[:, 0, 0] += 2.0 * (labels == 0)
    text[:, 0, 1] += 2.0 * (labels == 1)
    lengths = torch.randint(1, tokens + 1, (N, 1), generator=draw)
    mask = torch.arange(tokens) < lengths
    return Inputs(image, torch.ones(N, tokens, dtype=torch.bool), text, mask), labels


def train(
    config: TrainConfig = CONFIG, name: str = "gated", tokens: int = 1, labels: Tensor | None = None
) -> tuple[Head, FitResult]:
    inputs, truth = posts(tokens)
    head = build_head(name, Dims(6, 5, 3), hidden=16)
    truth = truth if labels is None else labels
    return head, fit(head, ragged(inputs), truth, train_rows=TRAIN, valid_rows=VALID, config=config)


def same(one: Head, two: Head) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("tokens", [1, 4])
def test_same_seed_same_result_and_the_global_state_stays(tokens: int) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, first = train(tokens=tokens, name="attention")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    two, second = train(tokens=tokens, name="attention")
    assert same(one, two)
    assert [r.valid for r in first.history] == [r.valid for r in second.history]
    other, _ = train(dataclasses.replace(CONFIG, seed=1), tokens=tokens, name="attention")
    assert not same(one, other)


def test_the_loss_falls_and_the_head_learns() -> None:
    head, result = train(dataclasses.replace(CONFIG, epochs=30, patience=0))
    assert result.history[-1].train["loss"] < 0.8 * result.history[0].train["loss"]
    inputs, labels = posts()
    predictions = predict_logits(head, ragged(inputs), VALID).argmax(1)
    assert score(labels[VALID], predictions, range(3))["accuracy"] > 0.55


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "loss"])
def test_the_best_epoch_is_the_one_that_the_head_keeps(metric: str) -> None:
    head, result = train(dataclasses.replace(CONFIG, epochs=25, lr=2e-2, metric=metric))
    values = [-r.valid["loss"] if metric == "loss" else r.valid[metric] for r in result.history]
    assert result.best_epoch == 1 + int(np.argmax(values))
    assert result.best_epoch < len(result.history)
    assert not head.training
    inputs, labels = posts()
    again, of_batches = run_epoch(head, ragged(inputs), labels, [torch.tensor(VALID)], Loss())
    assert again == pytest.approx(result.history[result.best_epoch - 1].valid, abs=1e-6)
    assert of_batches == pytest.approx([again["loss"]])
    for record in result.history:
        assert np.dot(record.batch_losses, [16, 16, 16, 12]) / 60 == pytest.approx(record.train["loss"])


def test_patience_ends_the_training_and_zero_does_not() -> None:
    worsening = dataclasses.replace(CONFIG, epochs=25, lr=2e-2, metric="loss", patience=2, schedule="constant")
    _, result = train(worsening)
    assert len(result.history) == result.best_epoch + 2 < 25
    _, whole = train(dataclasses.replace(worsening, patience=0))
    assert len(whole.history) == 25
    assert whole.history[: len(result.history)] == [
        dataclasses.replace(record, seconds=whole.history[k].seconds) for k, record in enumerate(result.history)
    ]


def test_rows_of_neither_split_are_never_used() -> None:
    inputs, labels = posts()
    poisoned = Inputs(*(x.clone() for x in inputs))
    poisoned.image[80:], poisoned.text[80:] = torch.nan, torch.nan
    unlabelled = torch.where(torch.arange(N) < 80, labels, -1)
    heads = []
    for x, y in ((inputs, labels), (poisoned, unlabelled)):
        heads.append(build_head("concat", Dims(6, 5, 3), hidden=16))
        fit(heads[-1], ragged(x), y, train_rows=range(60), valid_rows=torch.arange(60, 80), config=CONFIG)
    assert same(*heads)


def test_validation_rows_choose_the_epoch_but_never_move_a_weight() -> None:
    _, labels = posts()
    wrong = torch.where(torch.arange(N) < 60, labels, (labels + 1) % 3)
    last = dataclasses.replace(CONFIG, epochs=1)
    assert same(train(last)[0], train(last, labels=wrong)[0])


@pytest.mark.parametrize("size", [59, 64])
def test_a_last_batch_of_one_row_and_a_batch_larger_than_the_data_work(size: int) -> None:
    _, result = train(dataclasses.replace(CONFIG, batch_size=size))
    assert all(math.isfinite(record.train["loss"]) for record in result.history)


def test_the_schedules_move_the_learning_rate_as_they_say() -> None:
    rates = [record.lr for record in train(dataclasses.replace(CONFIG, patience=0))[1].history]
    assert rates[0] == pytest.approx(CONFIG.lr)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.1 * CONFIG.lr
    constant = train(dataclasses.replace(CONFIG, schedule="constant"))[1].history
    assert {record.lr for record in constant} == {CONFIG.lr}


@pytest.mark.parametrize(
    "change",
    [
        {"balance": "weights"},
        {"label_smoothing": 0.2},
        {"clip": 1e-3},
        {"weight_decay": 10.0},
        {"balance": "sampler"},
        {"schedule": "constant"},
        {"schedule": "restarts", "restart_every": 1},
        {"schedule": "onecycle"},
        {"warmup": 2.0},
        {"min_lr": 1e-3},
        {"optimizer": "adam"},
        {"optimizer": "sgd"},
        {"loss": "focal"},
        {"loss": "emd"},
        {"loss": "focal", "gamma": 1.0},
        {"logit_adjustment": 1.0},
        {"modality_dropout": 0.5},
        {"mixup": 0.4},
        {"average": "ema"},
        {"average": "ema", "decay": 0.5},
        {"average": "swa"},
        {"batch_size": 8},
        {"lr": 1e-3},
    ],
)
def test_each_setting_changes_the_training(change: dict[str, float]) -> None:
    _, labels = posts()
    uneven = torch.where((labels == 2) & (torch.arange(N) % 2 == 0), 0, labels)
    one, _ = train(labels=uneven)
    two, _ = train(dataclasses.replace(CONFIG, **change), labels=uneven)  # type: ignore[arg-type]
    assert not same(one, two)


def test_predictions_keep_the_order_of_rows_and_the_mode_of_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msa.pipeline.training.batches.EVAL_BATCH_TOKENS", 3)
    inputs, _ = posts(tokens=4)
    head = build_head("attention", Dims(6, 5, 3), hidden=16).train()
    rows = [40, 3, 77, 3]
    logits = predict_logits(head, ragged(inputs), rows)
    assert head.training
    assert not logits.requires_grad
    head.eval()
    torch.testing.assert_close(logits, head(Inputs(*(x[rows] for x in inputs))).detach(), atol=1e-5, rtol=0)
    assert predict_logits(head, ragged(inputs), []).shape == (0, 3)


def test_taken_rows_are_trimmed_and_in_full_precision() -> None:
    inputs, _ = posts(tokens=4)
    short = torch.nonzero(inputs.text_mask.sum(1) <= 2).flatten()[:5]
    taken = ragged(inputs._replace(text=inputs.text.half())).take(short)
    longest = int(inputs.text_mask[short].sum(1).max())
    assert taken.text.shape == (5, longest, 5)
    assert taken.text.dtype == torch.float32
    assert taken.image.shape == (5, 4, 6)
    nobody = ragged(inputs._replace(text_mask=inputs.text_mask & False)).take(short)
    assert nobody.text.shape == (5, 1, 5)


def test_batches_hold_every_row_once_and_gather_texts_of_similar_length() -> None:
    inputs, _ = posts(tokens=12)
    rows = torch.arange(5, N)
    batches = shuffled_batches(rows, ragged(inputs), 16, torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat(batches).sort().values, rows)
    assert [len(batch) for batch in sorted(batches, key=len)] == [5, 16, 16, 16, 16, 16]
    lengths = inputs.text_mask.sum(1)
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    assert padded < 1.3 * int(lengths[rows].sum())
    again = shuffled_batches(rows, ragged(inputs), 16, torch.Generator().manual_seed(1))
    assert not torch.equal(torch.cat(batches), torch.cat(again))


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with training_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), training_threads(2):
        _ = 1 / 0
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="wanted 1 thread or more, got 0"), training_threads(0):
        pass


def test_a_loss_that_is_not_finite_names_the_epoch() -> None:
    inputs, labels = posts()
    inputs.image[7] = torch.nan
    head = build_head("concat", Dims(6, 5, 3), hidden=16)
    with pytest.raises(ValueError, match=r"no longer finite in epoch 1 .*look for NaN"):
        fit(head, ragged(inputs), labels, train_rows=TRAIN, valid_rows=VALID, config=CONFIG)


@pytest.mark.parametrize(
    ("train_rows", "valid_rows", "message"),
    [
        ([], VALID, "no training rows"),
        (TRAIN, [], "no validation rows"),
        (TRAIN, [*VALID[:-1], 3], "1 validation rows are also training rows"),
        ([*TRAIN, 89], VALID[:-1], "labels of training rows must lie in 0..2, got -1..2"),
        (TRAIN, VALID, "labels of validation rows must lie in 0..2, got -1..2"),
    ],
)
def test_splits_that_cannot_be_trained_on_are_refused(
    train_rows: list[int], valid_rows: list[int], message: str
) -> None:
    inputs, labels = posts()
    labels[89] = -1
    head = build_head("concat", Dims(6, 5, 3), hidden=16)
    with pytest.raises(ValueError, match=message):
        fit(head, ragged(inputs), labels, train_rows=train_rows, valid_rows=valid_rows, config=CONFIG)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", math.nan),
        ("weight_decay", -1.0),
        ("patience", -1),
        ("metric", "f1"),
        ("balance", "oversample"),
        ("schedule", "linear"),
        ("optimizer", "lion"),
        ("loss", "hinge"),
        ("gamma", -1.0),
        ("logit_adjustment", -1.0),
        ("modality_dropout", 1.0),
        ("mixup", -0.1),
        ("average", "mean"),
        ("decay", 1.0),
        ("warmup", -1.0),
        ("restart_every", 0),
        ("min_lr", 1.0),
        ("label_smoothing", 1.0),
        ("clip", -1.0),
        ("seed", -1),
    ],
)
def test_a_config_out_of_range_names_its_field(field: str, value: float | str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be .*, got "):
        TrainConfig(**{field: value})  # type: ignore[arg-type]
