"""Heads to a file and back, and the files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from msa.heads.base import Dims, Head
from msa.heads.registry import build_head
from msa.pipeline.runs.checkpoint import load_heads, save_heads

DIMS = Dims(6, 4, 3)


def build(seed: int = 9, hidden: int = 8) -> Head:
    return build_head("gated", DIMS, hidden=hidden, seed=seed)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "head.safetensors"
    basis = torch.arange(12.0).reshape(3, 4)
    save_heads(path, [build(seed) for seed in range(12)], {"image.basis": basis.T, "image.half": basis[:1]})
    return path


def test_every_fold_comes_back_in_order_with_the_extras(saved: Path) -> None:
    heads, extras = load_heads(saved, build)
    assert len(heads) == 12
    for seed, head in enumerate(heads):
        assert not head.training
        for got, wanted in zip(head.parameters(), build(seed).parameters(), strict=True):
            assert torch.equal(got, wanted)
    assert extras.keys() == {"image.basis", "image.half"}
    assert torch.equal(extras["image.basis"], torch.arange(12.0).reshape(3, 4).T)


def test_saving_again_replaces_the_file_and_leaves_nothing_else(saved: Path) -> None:
    save_heads(saved, [build()])
    heads, extras = load_heads(saved, build)
    assert (len(heads), extras) == (1, {})
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_failed_write_keeps_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(self: Path, target: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        save_heads(saved, [build()])
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_another_shape_is_refused_by_the_name_of_its_tensor(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"does not fit this head: .* 'classify.1.bias' \(wanted \(16,\), got \(8,\)"):
        load_heads(saved, lambda _: build(hidden=16))


def test_another_head_is_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"'gate.bias' \(wanted None, got \(8,\)\)"):
        load_heads(saved, lambda _: build_head("weighted", DIMS, hidden=8, weights="fixed"))


def test_broken_and_absent_files_are_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"cannot read the trained heads .* train again"):
        load_heads(saved, build)
    with pytest.raises(ValueError, match="cannot read the trained heads"):
        load_heads(saved.with_name("absent.safetensors"), build)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("fold1.gate.bias", r"holds folds \[1\]"),
        ("gate.bias", "'gate.bias', which no fold owns"),
        ("extra.x", "folds"),
    ],
)
def test_files_without_our_folds_are_refused(tmp_path: Path, key: str, message: str) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({key: torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=message):
        load_heads(path, build)
