"""The contract of every registered head, on pooled vectors and on tokens."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from head_inputs import SHAPES, build, make_inputs, pad, without
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from msa.heads.base import Head, Inputs
from msa.heads.dropout import set_dropout
from msa.heads.registry import HEADS, head_info
from msa.pipeline.runs.checkpoint import load_heads, save_heads

POOLED_ALONE = {"kernel"}  # heads that read position 0 only


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=list(HEADS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(SHAPES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def loss(head: Head, inputs: Inputs, labels: Tensor) -> Tensor:
    """The training loss: the mean over the head's parts."""
    parts = head.parts(inputs)  # (M, B, K)
    return torch.nn.functional.cross_entropy(parts.flatten(0, 1), labels.repeat(len(parts)))


def test_logits_have_one_column_per_class(name: str, kind: str) -> None:
    head = build(name).eval()
    assert head(make_inputs(kind)).shape == (6, 3)
    assert head.parts(make_inputs(kind)).shape[1:] == (6, 3)


def test_a_batch_of_one_works_in_training(name: str, kind: str) -> None:
    logits = build(name).train()(make_inputs(kind, rows=1))
    assert logits.shape == (1, 3)
    assert logits.isfinite().all()


def test_gradient_reaches_every_parameter(name: str, kind: str) -> None:
    head = build(name, dropout=0.0)
    inputs = without(make_inputs(kind), image=[0, 1], text=[1, 2])
    loss(head, inputs, torch.tensor([0, 1, 2, 0, 1, 2])).backward()
    still = [key for key, p in head.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-8]
    assert still == []


def test_a_missing_modality_is_represented_by_its_null_vector_only(name: str, kind: str) -> None:
    head = build(name, dropout=0.0)
    head(without(make_inputs(kind), image=list(range(6)), text=list(range(6)))).sum().backward()
    for modality in head.reads:
        projection = head.projections[modality]
        assert projection.null.grad.abs().sum() > 0
        if hasattr(projection, "linear"):  # a kernel machine compares the null vector with its landmarks
            assert projection.linear.weight.grad.abs().sum() == 0


@pytest.mark.parametrize("training", [False, True])
def test_the_values_of_padding_change_nothing(name: str, kind: str, training: bool) -> None:
    head = build(name).train(training)
    set_dropout(head, seed=1, step=2)
    inputs = make_inputs(kind)
    logits = head(pad(inputs))
    torch.testing.assert_close(logits, head(inputs), atol=1e-5, rtol=0)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize(("image", "text"), [([0], []), ([], [0]), ([0], [1]), ([1], [0]), ([0, 1], [0, 1])])
def test_missing_rows_are_finite_and_do_not_change_the_others(
    name: str, kind: str, image: list[int], text: list[int]
) -> None:
    head = build(name).eval()
    whole = make_inputs(kind)
    gaps = without(whole, image=image, text=text)
    logits = head(gaps)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[2:], head(whole)[2:], atol=1e-6, rtol=0)
    # The features of a missing modality are never read.
    filled = gaps._replace(
        image=torch.where(gaps.image_mask[..., None], gaps.image, torch.nan),
        text=torch.where(gaps.text_mask[..., None], gaps.text, torch.nan),
    )
    torch.testing.assert_close(head(filled), logits, atol=0, rtol=0)


def test_missing_is_not_the_same_as_zeros(name: str, kind: str) -> None:
    head = build(name).eval()
    inputs = make_inputs(kind)
    zeros = inputs._replace(image=torch.zeros_like(inputs.image), text=torch.zeros_like(inputs.text))
    gone = without(inputs, image=list(range(6)), text=list(range(6)))
    assert (head(zeros) - head(gone)).abs().max() > 1e-4


def test_logits_depend_only_on_the_modalities_that_the_head_reads(name: str, kind: str) -> None:
    head = build(name).eval()
    inputs = make_inputs(kind)
    changed = {"image": inputs._replace(image=-inputs.image), "text": inputs._replace(text=-inputs.text)}
    for modality, other in changed.items():
        difference = (head(other) - head(inputs)).abs().amax(1)
        assert (difference > 1e-5).all() if modality in head.reads else (difference == 0).all()


def test_tokens_change_the_logits(name: str) -> None:
    head = build(name).eval()
    inputs = make_inputs("tokens")
    full = inputs._replace(image_mask=inputs.image_mask | True, text_mask=inputs.text_mask | True)
    pooled = Inputs(full.image[:, :1], full.image_mask[:, :1], full.text[:, :1], full.text_mask[:, :1])
    difference = (head(full) - head(pooled)).abs().amax(1)
    assert (difference == 0).all() if name in POOLED_ALONE else (difference > 1e-5).all()


def test_dropout_depends_on_the_step_only(name: str, kind: str) -> None:
    head, inputs = build(name).eval(), make_inputs(kind)
    still = head(inputs)
    head.train()
    set_dropout(head, seed=0, step=1)
    moved = head(inputs)
    assert torch.equal(head(inputs), moved)
    set_dropout(head, seed=0, step=2)
    assert not torch.equal(head(inputs), moved)
    assert not torch.equal(moved, still)
    assert torch.equal(head.eval()(inputs), still)


def test_same_seed_same_weights_and_the_global_state_stays(name: str) -> None:
    state = torch.get_rng_state()
    one, two, other = build(name, seed=3), build(name, seed=3), build(name, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_sixteen_rows_can_be_memorised(name: str, kind: str) -> None:
    head, inputs = build(name, dropout=0.0), make_inputs(kind, rows=16)
    labels = torch.arange(16) % 3
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for step in range(200):
        optimizer.zero_grad()
        loss(head, inputs, labels).backward()
        optimizer.step()
        if step % 10 == 9 and (head(inputs).argmax(1) == labels).all():
            return
    pytest.fail(f"after {step + 1} steps the head still predicts {head(inputs).argmax(1).tolist()}")


def test_saved_and_loaded_heads_give_the_same_logits(name: str, kind: str, tmp_path: Path) -> None:
    head, inputs = build(name, seed=5).eval(), make_inputs(kind)
    head.calibrate(inputs, torch.tensor([0, 1, 2, 0, 1, 2]))
    save_heads(tmp_path / "head.safetensors", [head])
    (loaded,), _ = load_heads(tmp_path / "head.safetensors", lambda _: build(name, seed=6))
    assert torch.equal(loaded(inputs), head(inputs))


@pytest.mark.parametrize("training", [False, True])
def test_stacked_heads_under_vmap_equal_each_alone(name: str, kind: str, training: bool) -> None:
    heads = [build(name, seed=seed).train(training) for seed in range(3)]
    for seed, head in enumerate(heads):
        set_dropout(head, seed=seed, step=4)
    inputs = without(make_inputs(kind), image=[0], text=[1])
    parameters, buffers = stack_module_state(heads)  # type: ignore[arg-type]
    skeleton = copy.deepcopy(heads[0]).to("meta")

    def run(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(skeleton, (parameters, buffers), (inputs,))
        return logits

    together = vmap(run)(parameters, buffers)  # (3, B, K)
    alone = torch.stack([head(inputs) for head in heads])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_every_registry_entry_has_inputs_and_a_summary(name: str) -> None:
    info = head_info(name)
    assert info.inputs in SHAPES
    assert 0 < len(info.summary) < 60
    assert all(default is not None for default in info.options.values())
