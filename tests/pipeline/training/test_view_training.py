"""Heads may train on augmented views; validation and test rows never show one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from msa.features.encoders.views import view_spec
from msa.features.spec import EncoderSpec
from msa.heads.base import Head, Inputs
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable
from msa.pipeline.data.inputs import build_inputs, build_views
from msa.pipeline.data.ragged import Ragged
from msa.pipeline.data.split import Fold, Posts
from msa.pipeline.metrics.probabilities import softmax
from msa.pipeline.training import fold_inputs
from msa.pipeline.training.folds import train_folds
from msa.pipeline.training.loop import predict_logits

IMAGE = EncoderSpec(
    "eye", "image", "timm", "fake", "sha256:0", "last", "mean", '{"interpolation":"bilinear"}', 6, "float16"
)
WORDS = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 5, "float16")
QUICK = TrainConfig(epochs=5, batch_size=16, lr=3e-3)
N = 60


FOLD = Fold(np.arange(40), np.arange(40, 50), np.arange(50, N))


def side(spec: EncoderSpec, view: int, *, tokens: bool) -> ModalityTable:
    """Vectors that name themselves: column 0 is the view, column 1 the row, the rest noise; the last row is missing."""
    rng = np.random.default_rng(view)
    vectors = rng.normal(size=(N, 5, spec.width)).astype(np.float32)
    vectors[..., 0], vectors[..., 1] = view, np.arange(N)[:, None]
    present = np.arange(N) < N - 1
    if not tokens:
        return ModalityTable((spec,), present, vectors[:, 0])
    return ModalityTable(
        (spec,), present, vectors[:, 0], Ragged.of_padded(vectors[:, 1:], np.repeat(present[:, None], 4, 1))
    )


def table(*, tokens: bool, views: int = 2) -> CachedFeatures:
    """N posts of three classes, with features and views that mean nothing."""
    posts = Posts([f"p{n}" for n in range(N)], ["abc"[n % 3] for n in range(N)], np.arange(N), [None] * N)
    shown = tuple(side(view_spec(IMAGE, index), index, tokens=tokens) for index in range(1, views + 1))
    image = replace(side(IMAGE, 0, tokens=tokens), views=shown)
    return CachedFeatures(posts, ("a", "b", "c"), image, side(WORDS, 9, tokens=tokens))


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("fusion", ["gated", "attention"])
def test_augmentation_reaches_training_rows_alone(monkeypatch: pytest.MonkeyPatch, fusion: str, average: bool) -> None:
    seen: dict[bool, set[tuple[int, int]]] = {True: set(), False: set()}  # training? -> {(row, view)}

    def spy(head: Head, args: tuple[Inputs]) -> None:
        vectors, mask = args[0].image, args[0].image_mask
        vectors_of_posts = vectors[:, 0][mask[:, 0]].round().int()
        seen[head.training] |= {(int(vector[1]), int(vector[0])) for vector in vectors_of_posts}
        assert (vectors[..., 0] == vectors[:, :1, 0])[mask].all()

    def build(*args: Any, **options: Any) -> Head:
        head = original(*args, **options)
        head.register_forward_pre_hook(spy)
        return head

    original = fold_inputs.build_head
    monkeypatch.setattr(fold_inputs, "build_head", build)
    config = HeadConfig(fusion, views=2, average_views=average, token_width=None, hidden=16)
    train_folds(table(tokens=config.tokens), [FOLD], config, QUICK)
    assert {row for row, _ in seen[True]} == set(range(40))
    assert {view for _, view in seen[True]} == {0, 1, 2}
    assert {(row, view) for row, view in seen[False]} == {
        (row, view) for row in range(40, N - 1) for view in ((0, 1, 2) if average else (0,))
    }


def same(one: list[Head], two: list[Head]) -> bool:
    pairs = zip(one, two, strict=True)
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(x.parameters(), y.parameters(), strict=True))


@pytest.mark.parametrize("fusion", ["gated", "attention"])
def test_views_change_nothing_but_what_is_shown(fusion: str) -> None:
    """Views equal to the plain image give the head of a run without views, bit for bit; real views another."""
    config = HeadConfig(fusion, views=2, hidden=16, token_width=4)
    plain, viewed = table(tokens=config.tokens, views=0), table(tokens=config.tokens)
    assert plain.image is not None
    idle = replace(plain, image=replace(plain.image, views=(plain.image, plain.image)))
    without, pretended, real, again = (
        train_folds(features, [FOLD], config, QUICK)[0] for features in (plain, idle, viewed, viewed)
    )
    assert same(without.heads, pretended.heads)
    np.testing.assert_array_equal(without.logits, pretended.logits)
    assert not same(without.heads, real.heads)
    assert same(real.heads, again.heads)
    other = train_folds(viewed, [FOLD], config, replace(QUICK, seed=1))[0]
    assert not same(real.heads, other.heads)


@pytest.mark.parametrize("size", [1, 2])
def test_averaged_probabilities_are_the_mean_over_the_image_and_its_views(size: int) -> None:
    config = HeadConfig("attention", hidden=16, token_width=4, views=2, average_views=True, ensemble_size=size)
    viewed = table(tokens=True)
    (result,) = train_folds(viewed, [FOLD], config, QUICK)
    inputs = build_inputs(viewed, tokens=True, reductions=result.reductions)
    shown = [inputs, *build_views(viewed, inputs, tokens=True, reductions=result.reductions)]
    each = [softmax(predict_logits(head, x, FOLD.test).numpy()) for head in result.heads for x in shown]
    assert len(each) == 3 * size
    np.testing.assert_allclose(softmax(result.logits), np.mean(each, 0), atol=1e-6, rtol=0)
    assert np.abs(np.array(each) - each[0]).max() > 1e-3
    plain = train_folds(viewed, [FOLD], replace(config, average_views=False), QUICK)[0]
    assert same(plain.heads, result.heads)
    np.testing.assert_allclose(
        softmax(plain.logits), np.mean(each[::3], 0), atol=1e-6, rtol=0, err_msg="the plain image alone is tested"
    )


@pytest.mark.parametrize(("views", "average", "message"), [(-1, False, "from 0 .*, got -1"), (0, True, "--views N")])
def test_settings_out_of_range_are_refused(views: int, average: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadConfig("gated", views=views, average_views=average)
