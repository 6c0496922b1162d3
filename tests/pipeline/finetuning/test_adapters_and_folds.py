"""Adapters, the last blocks, one encoder per fold, and what it will all take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tunable_posts import posts, small_bert

from msa.features.encoders.encoder import EncoderOptions
from msa.features.encoders.sources import EncoderRequest
from msa.features.messages import Notice
from msa.features.posts.samples import Corpus
from msa.pipeline.config.tune_config import LORA_LR, WHOLE_LR, TuneConfig
from msa.pipeline.finetuning import cost
from msa.pipeline.finetuning.finetune import FoldTunings, estimate, finetune
from msa.pipeline.finetuning.request import TuneRequest
from msa.pipeline.finetuning.tune import Tuning

LOCAL = EncoderOptions(local_files_only=True)
QUICK = TuneConfig(epochs=1, batch_size=16, lr=1e-3)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bert(tmp_path_factory.mktemp("models") / "small-bert")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "posts").mkdir()
    return posts(tmp_path / "posts", 40)


def ask(bert: Path, cache: Path, config: TuneConfig = QUICK, **options: Any) -> TuneRequest:
    return TuneRequest(EncoderRequest((), (str(bert),), LOCAL), config, cache=cache, device="cpu", **options)


def changed(bert: Path, tuned: Path) -> set[str]:
    """The names of the tuned weights that differ from the encoder's own."""
    old, new = load_file(bert / "model.safetensors"), load_file(tuned / "weights.safetensors")
    assert new.keys() == old.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


def test_only_the_last_blocks_are_trained(bert: Path, tmp_path: Path, corpus: Corpus) -> None:
    config = replace(QUICK, layers="last:2")
    finetune(corpus, ask(bert, tmp_path / "cache", config), tmp_path / "tuned")
    found = changed(bert, tmp_path / "tuned")
    assert {name.split(".")[2] for name in found} == {"1", "2"}
    assert len(found) == 2 * 16


@pytest.mark.parametrize(("layers", "blocks"), [("all", "012"), ("last:1", "2")])
def test_adapters_are_merged_into_the_weights(
    bert: Path, tmp_path: Path, corpus: Corpus, layers: str, blocks: str
) -> None:
    config = replace(QUICK, epochs=2, lora=True, lora_rank=2, layers=layers)
    finetune(corpus, ask(bert, tmp_path / "cache", config), tmp_path / "tuned")
    found = changed(bert, tmp_path / "tuned")
    assert {name.split(".")[2] for name in found} == set(blocks)
    assert all(name.endswith("weight") and "LayerNorm" not in name for name in found)
    old, new = load_file(bert / "model.safetensors"), load_file(tmp_path / "tuned" / "weights.safetensors")
    for name in found:
        assert torch.linalg.matrix_rank(new[name] - old[name], rtol=1e-3) <= 2


def test_every_fold_is_tuned_and_an_interruption_goes_on(
    bert: Path, tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, out, fits = ask(bert, tmp_path / "cache", folds=3), tmp_path / "tuned", []
    real = Tuning.fit

    def fit(tuning: Tuning) -> Any:
        fits.append(tuning)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return real(tuning)

    monkeypatch.setattr(Tuning, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        finetune(corpus, request, out)
    assert sorted(folder.name for folder in out.iterdir()) == ["tuned-fold0", "tuned-fold1"]
    with pytest.warns(Notice, match="has fold [01] already"):
        result = finetune(corpus, request, out)
    assert [fold.record.fold for fold in result.folds] == [0, 1, 2]
    assert len(fits) == 4
    assert result.cost is not None
    assert result.cost.folds == 1
    monkeypatch.setattr(Tuning, "fit", real)
    alone = finetune(corpus, replace(request, fold=1), tmp_path / "alone")
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (out / "tuned-fold1", alone.out)]
    assert weights[0] == weights[1]
    assert result.folds[1].training["history"] == alone.folds[0].training["history"]
    text = result.to_text()
    assert f"next: msa extract --text {out}" in text
    assert json.dumps(result.to_dict())
    with pytest.raises(ValueError, match="was tuned on other rows or in another way; give another folder to --out"):
        finetune(corpus, replace(request, config=replace(QUICK, lr=2e-3)), out)


def test_time_and_memory_are_measured_before_and_change_nothing(
    bert: Path, tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(bert, tmp_path / "cache", replace(QUICK, epochs=3), folds=3)
    found = estimate(corpus, request)
    assert (found.folds, found.epochs, found.batches, found.valid_batches) == (3, 3, 2, 1)
    assert found.seconds == pytest.approx(9 * (2 * found.batch_seconds + found.valid_seconds))
    assert found.trained == found.parameters <= found.weight_bytes / 4
    assert found.state_bytes == 3 * 4 * found.trained
    assert "run it without --dry-run" in found.to_text()
    assert not (tmp_path / "tuned").exists()
    lora = estimate(corpus, replace(request, config=replace(QUICK, lora=True, lora_rank=1)))
    last = estimate(corpus, replace(request, config=replace(QUICK, layers="last:1")))
    assert lora.state_bytes < found.state_bytes / 5
    assert last.activation_bytes < found.activation_bytes
    smaller = estimate(corpus, replace(request, config=replace(QUICK, batch_size=4)))
    assert smaller.activation_bytes < found.activation_bytes / 2
    tunings = FoldTunings.prepare(corpus, request)
    with tunings.open(0) as tuning:
        before = {name: weight.clone() for name, weight in tuning.model.state_dict().items()}
        state = torch.get_rng_state()
        cost.measure_cost(tuning, folds=1)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(weight, before[name]) for name, weight in tuning.model.state_dict().items())
    monkeypatch.setattr(cost, "free_memory", lambda device: 1000)
    with pytest.warns(Notice, match="lower --batch-size or --max-length, or add --lora or --layers last:2"):
        finetune(corpus, ask(bert, tmp_path / "cache"), tmp_path / "tuned")


def test_learning_rates_suit_what_is_trained() -> None:
    assert TuneConfig().encoder_lr == WHOLE_LR
    assert TuneConfig(lora=True).encoder_lr == LORA_LR
    assert TuneConfig(lora=True, lr=1e-4).encoder_lr == 1e-4
    with pytest.raises(ValueError, match="add --lora, or leave --lora-rank out"):
        TuneConfig(lora_rank=4)
    for layers in ("last", "last:0", "-1", "first:2"):
        with pytest.raises(ValueError, match="wants all, or last:N as last:2; got"):
            TuneConfig(layers=layers)
