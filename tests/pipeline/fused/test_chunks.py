"""Which heads are planned to train side by side, and how jobs are cut into chunks."""

from __future__ import annotations

import pytest
import torch
from experiments import EXPERIMENTS, FOLDS, TABLE

from msa.heads.base import Dims, Inputs
from msa.heads.registry import HEADS, build_head
from msa.pipeline.fused import chunks as chunks_module
from msa.pipeline.fused.chunks import heads_that_fit, make_chunks, plan_chunks


def test_the_plan_fuses_what_it_can_and_says_so() -> None:
    assert str(plan_chunks(TABLE, FOLDS, EXPERIMENTS, threads=2, largest=1)) == "alone: 18 heads; 2 at a time"
    fused = plan_chunks(TABLE, FOLDS, EXPERIMENTS, threads=1)
    # per fold: two heads of 8 with the ensemble's first, and three groups of one; its other members; two on tokens
    assert str(fused) == "fused: 2 chunks of up to 3 heads; alone: 12 heads; 1 at a time"
    on_gpu = plan_chunks(TABLE, FOLDS, EXPERIMENTS, device="cuda", threads=1)
    assert str(on_gpu) == "fused: 4 chunks of up to 3 heads; alone: 8 heads; 1 at a time"
    assert sorted(len(chunk) for chunk in fused.chunks) == [1] * 12 + [3, 3]
    for chunk in on_gpu.chunks:
        assert len({(job.fold, job.inputs_key) for job in chunk}) == 1


def test_on_a_gpu_no_more_heads_are_fused_than_its_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = 16 * 2 * 5  # a batch of posts with a pooled vector and four tokens in each modality
    room = 2 * 2 * 4 * chunks_module.KEPT * positions * 8  # twice that of two heads of width 8
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (room, 80 << 30))
    tight = plan_chunks(TABLE, FOLDS, EXPERIMENTS, device="cuda", threads=1)
    tokens = [len(chunk) for chunk in tight.chunks if EXPERIMENTS[chunk[0].experiment].config.tokens]
    assert max(tokens) == 2
    assert max(map(len, tight.chunks)) == 3  # heads on pooled vectors keep a fifth of that
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (1 << 10, 80 << 30))
    assert {len(chunk) for chunk in plan_chunks(TABLE, FOLDS, EXPERIMENTS, device="cuda", threads=1).chunks} == {1}


@pytest.mark.parametrize("name", HEADS)
def test_no_head_keeps_more_for_its_gradient_than_is_reckoned_with(name: str) -> None:
    head, hidden = build_head(name, Dims(96, 48, 3), hidden=64, dropout=0.3, seed=0).train(), 64
    image, text = torch.randn(4, 40, 96), torch.randn(4, 20, 48)
    inputs = Inputs(image, torch.ones(4, 40, dtype=torch.bool), text, torch.ones(4, 20, dtype=torch.bool))
    own = {tensor.untyped_storage().data_ptr() for tensor in (*inputs, *head.parameters(), *head.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        parts = head.parts(inputs)
    assert parts.shape[1:] == (4, 3)
    assert heads_that_fit(2 * sum(kept.values()), 4 * 60, hidden) == 1


def test_of_workers_that_come_and_go_nothing_depends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_chunks([(list(range(256)), 16)] * 5, None) == make_chunks([(list(range(256)), 16)] * 5, 1)
    monkeypatch.setattr(chunks_module, "BOUNDED", 2)
    on_cluster = plan_chunks(TABLE, FOLDS, EXPERIMENTS, threads=None)
    assert str(on_cluster) == "fused: 2 chunks of up to 2 heads; alone: 14 heads"
    on_gpus = plan_chunks(TABLE, FOLDS, EXPERIMENTS, device="cuda", threads=None)
    assert str(on_gpus) == "fused: 4 chunks of up to 3 heads; alone: 8 heads"


def test_every_thread_gets_as_many() -> None:
    groups = [(list(range(29)), 32)] * 5
    chunks = make_chunks(groups, 2)
    assert list(map(len, chunks)) == [29] * 4 + [15, 14]
    assert [len(chunk) for chunk in make_chunks([(list(range(256)), 256)] * 5, 4)] == [256] * 4 + [64] * 4
    assert [len(chunk) for chunk in make_chunks([(list(range(256)), 32)] * 5, 2)] == [32] * 40
    assert [len(chunk) for chunk in make_chunks([(list(range(4)), 32)], 2)] == [2, 2]
    assert [len(chunk) for chunk in make_chunks([([1, 2, 3], 1)], 2)] == [1, 1, 1]
    assert sorted(item for chunk in make_chunks([(list(range(7)), 3)], 2) for item in chunk) == list(range(7))


def test_neighbours_go_to_different_chunks() -> None:
    """In a grid they do alike: of chunks that get one of each few neighbours, halving leaves about as many."""
    chunks = make_chunks([(list(range(24)), 6)], 4)
    assert [len(chunk) for chunk in chunks] == [6] * 4
    for chunk in chunks:
        assert [item // 4 for item in chunk] == list(range(6))
    assert {tuple(item % 4 for item in chunk) for chunk in chunks}.isdisjoint({(k,) * 6 for k in range(4)})
