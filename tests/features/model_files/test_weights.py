from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from msa.features.model_files.weights import (
    fetch_url,
    load_into,
    load_state,
    sha256_file,
    shards,
    verify_sha256,
    weights_id,
)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_state_is_unwrapped_and_stripped(tmp_path: Path, model: nn.Module, wrapper: str | None, prefix: str) -> None:
    state = {prefix + key: value for key, value in model.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    loaded = load_state(tmp_path / "w.pth")
    assert loaded.keys() == model.state_dict().keys()
    assert torch.equal(loaded["0.weight"], model.state_dict()["0.weight"])


def test_safetensors_equal_pth(tmp_path: Path, model: nn.Module) -> None:
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    loaded = load_state(tmp_path / "w.safetensors")
    assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())


def test_pickle_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.zeros(1), "config": Evil()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="is refused") as caught:
        load_state(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    (tmp_path / "w.bin").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(ValueError, match=r"is refused|is not a whole"):
        load_state(tmp_path / "w.bin")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_file_is_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"w.{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=file.name) as caught:
        load_state(file)
    assert "\n" not in str(caught.value)


def test_missing_file_and_foreign_content(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_state(tmp_path / "absent.pth")
    torch.save({"weight": torch.zeros(1), "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="'epoch': int"):
        load_state(tmp_path / "w.pth")
    torch.save([torch.zeros(1)], tmp_path / "w.pth")
    with pytest.raises(ValueError, match="got list"):
        load_state(tmp_path / "w.pth")
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="no entry"):
        load_state(tmp_path / "w.pth")


def test_load_into_copies_and_tolerates_counters(model: nn.Module) -> None:
    state = {key: torch.full_like(value, 7) for key, value in model.state_dict().items()}
    del state["1.num_batches_tracked"]
    load_into(model, state | {"embeddings.position_ids": torch.arange(3)})
    assert torch.equal(model.state_dict()["0.weight"], torch.full((2, 3), 7.0))


def test_load_into_names_what_is_wrong(model: nn.Module) -> None:
    state = dict(model.state_dict())
    extra = {f"stem.{i}": torch.zeros(1) for i in range(7)}
    with pytest.raises(ValueError, match=r"7 left over \(stem.0, stem.1, stem.2, stem.3, stem.4, …\)"):
        load_into(model, state | extra)
    del state["0.bias"]
    with pytest.raises(ValueError, match=r"1 missing \(0.bias\)"):
        load_into(model, state)
    state["0.bias"] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"1 of another shape \(0.bias \(5,\) for \(2,\)\)"):
        load_into(model, state)


def test_load_into_ignores_a_foreign_head_only(model: nn.Module) -> None:
    head = {"fc.weight": torch.zeros(3, 2)}
    load_into(model, model.state_dict() | head, ignore_head=("fc.",))
    with pytest.raises(ValueError, match="left over"):
        load_into(model, model.state_dict() | head, ignore_head=("head.",))


def test_weights_id_depends_on_content_not_on_the_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "w.bin", tmp_path / "b" / "w.bin"
    for file in (first, second):
        file.parent.mkdir()
        file.write_bytes(b"same")
    assert weights_id([first]) == weights_id([second]) == f"sha256:{sha256_file(first)}"
    two = [first, first.with_name("v.bin")]
    two[1].write_bytes(b"more")
    assert weights_id(two) == weights_id(two[::-1]) != weights_id([first])


def test_verify_and_fetch_check_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w.bin"
    file.write_bytes(b"x")
    verify_sha256(file, sha256_file(file))
    with pytest.raises(ValueError, match="should have sha256 00"):
        verify_sha256(file, "00")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    named = tmp_path / "hub" / "checkpoints" / f"w-{sha256_file(file)[:8]}.pth"
    named.parent.mkdir(parents=True)
    named.write_bytes(b"x")
    assert fetch_url(f"http://unused.invalid/{named.name}", local_files_only=False) == named
    named.write_bytes(b"y")
    with pytest.raises(ValueError, match="download it again"):
        fetch_url(f"http://unused.invalid/{named.name}", local_files_only=True)
    with pytest.raises(ValueError, match="cannot be read"):
        sha256_file(tmp_path / "absent")


@pytest.mark.parametrize("local_files_only", [False, True])
def test_download_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_files_only: bool
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="pass --weights FILE"):
        fetch_url((tmp_path / "absent.pth").as_uri(), local_files_only=local_files_only)


def test_shards_stay_in_their_folder(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "1.safetensors"}}))
    assert shards(index) == [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    index.write_text(json.dumps({"weight_map": {"a": "../1.safetensors"}}))
    with pytest.raises(ValueError, match="outside its folder"):
        shards(index)
