"""Heads train on mapped features as on those in memory: every head, to equal numbers where the batches are equal."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from cached_posts import HEAD, QUICK, cached_posts, stage

from msa.features.encoders.runtime import available_cores
from msa.features.messages import Notice
from msa.features.posts.samples import Corpus
from msa.heads.registry import HEADS
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.data.cached_features import CachedFeatures
from msa.pipeline.data.inputs import build_inputs
from msa.pipeline.data.prepare import prepare
from msa.pipeline.data.ragged_inputs import RaggedInputs
from msa.pipeline.data.split import Fold
from msa.pipeline.evaluation.baselines import baseline_predictions
from msa.pipeline.evaluation.pooled_rows import COPIES
from msa.pipeline.evaluation.ridge_baselines import baseline_metrics
from msa.pipeline.training.batches import by_length, eval_batches, read_batches, shuffled_batches
from msa.pipeline.training.folds import FoldResult, train_folds

ROOMY = 10**9  # so that one buffer holds all posts, and batches are those of memory


class Prepared(NamedTuple):
    """The same posts in memory and mapped, and one fold of them."""

    inside: CachedFeatures
    mapped: CachedFeatures
    fold: Fold


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return cached_posts(tmp_path_factory.mktemp("posts"))


@pytest.fixture(scope="module", params=["pooled", "tokens"])
def prepared(posts: Corpus, request: pytest.FixtureRequest) -> Prepared:
    head = replace(HEAD, inputs=request.param)
    inside, folds, _ = prepare(posts, stage(posts, memory="1GB"), head, seed=0)
    with pytest.warns(Notice, match="read in blocks"):
        mapped, again, _ = prepare(posts, stage(posts, memory="4kB"), head, seed=0)
    assert mapped.storage.mapped
    assert not inside.storage.mapped
    np.testing.assert_array_equal(folds[0].train, again[0].train)
    return Prepared(inside, mapped, folds[0])


def train(table: CachedFeatures, fold: Fold, config: HeadConfig) -> FoldResult:
    return train_folds(table, [fold], config, replace(QUICK, epochs=3))[0]


def of_kind(prepared: Prepared, name: str) -> HeadConfig:
    tokens = prepared.inside.text is not None and prepared.inside.text.tokens is not None
    return replace(HEAD, fusion=name, hidden=16, inputs="tokens" if tokens else "pooled")


@pytest.mark.parametrize("name", HEADS)
def test_every_head_trains_on_mapped_features_as_in_memory(prepared: Prepared, name: str) -> None:
    config = of_kind(prepared, name)
    inside = train(prepared.inside, prepared.fold, config)
    storage = replace(prepared.mapped.storage, memory=ROOMY)
    same = train(replace(prepared.mapped, storage=storage), prepared.fold, config)
    np.testing.assert_array_equal(inside.logits, same.logits)
    assert [one.train for one in inside.histories[0]] == [one.train for one in same.histories[0]]
    small = train(prepared.mapped, prepared.fold, config)
    assert small.logits.shape == inside.logits.shape
    assert np.isfinite(small.logits).all()
    assert abs(small.metrics["accuracy"] - inside.metrics["accuracy"]) <= 0.3  # 40 rows, other batches


def test_baselines_on_mapped_features_are_those_in_memory_where_a_block_holds_all(prepared: Prepared) -> None:
    folds = [prepared.fold]
    inside, metrics = (
        baseline_predictions(prepared.inside, folds, seed=0),
        baseline_metrics(prepared.inside, folds, seed=0),
    )
    roomy = replace(prepared.mapped, storage=replace(prepared.mapped.storage, memory=ROOMY))
    for name, found in baseline_predictions(roomy, folds, seed=0).items():
        np.testing.assert_array_equal(found[0], inside[name][0])
    assert baseline_metrics(roomy, folds, seed=0) == metrics


def test_baselines_on_few_of_the_rows_say_so(prepared: Prepared) -> None:
    rows = len(prepared.fold.train)
    memory = 4 * COPIES * available_cores() * 14 * rows // 2
    table = replace(prepared.mapped, storage=replace(prepared.mapped.storage, memory=memory))
    with pytest.warns(Notice, match=f"of {rows} training posts, evenly spaced"):
        found = baseline_predictions(table, [prepared.fold], seed=0)
    assert {len(one[0]) for one in found.values()} == {len(prepared.fold.test)}
    with pytest.warns(Notice, match="evenly spaced"):
        metrics = baseline_metrics(table, [prepared.fold], seed=0)
    assert all(0 <= one["accuracy"]["mean"] <= 1 for one in metrics.values())


def mapped_inputs(table: CachedFeatures, buffer: int) -> RaggedInputs:
    tokens = table.text is not None and table.text.tokens is not None
    return replace(build_inputs(table, tokens=tokens), buffer=buffer)


def test_an_epoch_takes_each_row_once_and_reads_few_blocks_at_a_time(prepared: Prepared) -> None:
    inputs, rows = mapped_inputs(prepared.mapped, 32), torch.arange(0, 120, 2)
    batches = shuffled_batches(rows, inputs, 8, torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat(batches).sort().values, rows)
    assert sorted(map(len, batches)) == [4, *[8] * 7]
    again = shuffled_batches(rows, inputs, 8, torch.Generator().manual_seed(0))
    other = shuffled_batches(rows, inputs, 8, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))
    assert not torch.equal(torch.cat(batches), torch.cat(other))
    blocks = torch.cat(batches)[:32].sort().values.view(16, 2)  # of two neighbours each
    assert (blocks[:, 1] - blocks[:, 0] == 2).all()


def test_batches_that_are_read_ahead_are_those_taken_one_by_one(prepared: Prepared) -> None:
    for buffer in (1, 7, 50, 1000):
        inputs = mapped_inputs(prepared.mapped, buffer)
        rows = torch.tensor([5, 3, 3, 118, 40, 41, 0, 7, 99])
        batches = [rows, rows.flip(0), torch.tensor([1])]
        for (read, held), batch in zip(read_batches(inputs, batches), batches, strict=True):
            assert torch.equal(read, batch)
            assert all(torch.equal(a, b) for a, b in zip(held, inputs.take(batch), strict=True))


def test_rows_are_evaluated_in_the_order_of_the_file(prepared: Prepared) -> None:
    inputs, rows = mapped_inputs(prepared.mapped, 20), torch.arange(119, -1, -1)
    order = rows[by_length(rows, inputs)]
    assert torch.equal(order.sort().values, rows.flip(0))
    assert (torch.stack([part.sort().values for part in order.split(20)]) == torch.arange(120).view(6, 20)).all()
    assert torch.equal(torch.cat(list(eval_batches(rows, inputs))), rows)
