"""Mixed precision: bfloat16 products in training alone, float32 weights; a GPU's code, run here on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from head_inputs import build, make_inputs
from padded_inputs import ragged
from torch import Tensor, nn

from msa.heads.registry import HEADS
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.split import Fold
from msa.pipeline.fused.training import begin_training
from msa.pipeline.training import precision
from msa.pipeline.training.loop import training_threads
from msa.pipeline.training.precision import has_bfloat16, run_head

TRAINED = [name for name in HEADS if next(build(name).parameters(), None) is not None]


@pytest.fixture(autouse=True)
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    with training_threads(1):
        yield


@pytest.fixture
def dtypes(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Of the outputs of linear layers."""
    seen = []

    def linear(*given: Tensor, plain: object = nn.functional.linear) -> Tensor:
        assert callable(plain)
        found: Tensor = plain(*given)
        seen.append(found.dtype)
        return found

    monkeypatch.setattr(nn.functional, "linear", linear)
    return seen


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_in_bfloat16_is_near_that_in_float32_and_weights_stay_float32(name: str) -> None:
    head, inputs, labels = build(name).train(), make_inputs("tokens"), torch.tensor([0, 1, 2, 0, 1, 2])
    gradients, losses = [], []
    for mixed in (False, True):
        one = copy.deepcopy(head)
        parts, logits = run_head(one, inputs) if mixed else (one.parts(inputs), one(inputs))
        assert parts.dtype == logits.dtype == torch.float32
        loss = nn.functional.cross_entropy(parts.flatten(0, 1), labels.repeat(len(parts)))
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(p.dtype == torch.float32 and p.grad is not None for p in one.parameters())
        gradients.append(torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None]))
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


def test_only_training_on_tokens_is_in_bfloat16(dtypes: list[torch.dtype]) -> None:
    head = build("concat")
    for training, kind, expected in (
        (True, "tokens", torch.bfloat16),
        (False, "tokens", torch.float32),
        (True, "pooled", torch.float32),
    ):
        dtypes.clear()
        run_head(head.train(training), make_inputs(kind))
        assert set(dtypes) == {expected}


@pytest.mark.parametrize("name", ["gated", "attention"])
def test_fused_heads_train_in_bfloat16_as_they_do_alone(name: str) -> None:
    inputs, labels = ragged(make_inputs("tokens", rows=48)), torch.arange(48) % 3
    fold = Fold(np.arange(36), np.arange(36, 48), np.array([], np.int64))
    configs = [TrainConfig(epochs=4, batch_size=12, lr=lr) for lr in (1e-3, 3e-3)]
    recorded = []
    for fused in (True, False):
        heads = [build(name, seed=seed) for seed in (0, 1)]
        training = begin_training(heads, configs, inputs, labels, fold, fused=fused)
        training.train_to(4, inputs)
        finished = [training.finish(number, inputs)[0] for number in (0, 1)]
        assert {p.dtype for head in finished for p in head.parameters()} == {torch.float32}
        recorded.append([epoch.train["loss"] for number in (0, 1) for epoch in training.history(number)])
    assert recorded[0] == pytest.approx(recorded[1], rel=0.02)


def test_a_cpu_and_an_old_gpu_stay_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not has_bfloat16(torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert has_bfloat16(torch.device("cuda", 0))
    assert not has_bfloat16(torch.device("cpu"))
