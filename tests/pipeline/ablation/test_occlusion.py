"""Taking a modality away from a trained head: what stands in its place, and that nothing else is touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from padded_inputs import padded, ragged
from torch import Tensor

from msa.features.encoders.views import view_spec
from msa.features.spec import EncoderSpec
from msa.heads.base import Inputs
from msa.pipeline.ablation.occlusion import REMOVED, Replacement, others, position_means, predict_without, remove
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable
from msa.pipeline.data.inputs import build_inputs
from msa.pipeline.data.ragged import Ragged
from msa.pipeline.data.split import Fold, Posts
from msa.pipeline.training.folds import train_folds
from msa.pipeline.training.loop import predict_logits

EYE = EncoderSpec(
    "eye", "image", "timm", "fake", "sha256:0", "last", "mean", '{"interpolation":"bilinear"}', 6, "float16"
)
WORDS = EncoderSpec("words", "text", "gensim", "fake", "sha256:0", "last", "mean", "{}", 5, "float16")
N = 60
FOLDS = [
    Fold(np.arange(20, 60), np.arange(10, 20), np.arange(10)),
    Fold(np.arange(40), np.arange(40, 50), np.arange(50, 60)),
]
QUICK = TrainConfig(epochs=3, batch_size=16, lr=3e-3)


def table(*, tokens: bool = False, views: int = 0) -> CachedFeatures:
    """N posts of three classes; both sides carry a part of the label, texts differ in length, one has no image."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3

    def side(spec: EncoderSpec, label: int, present: np.ndarray) -> ModalityTable:
        vectors = rng.normal(size=(N, 5, spec.width)).astype(np.float32)
        vectors[:, :, 0] += 3 * (labels == label)[:, None]
        lengths = rng.integers(1, 5, N)[:, None] if spec is WORDS else np.full((N, 1), 4)
        mask = present[:, None] & (np.arange(4) < lengths)
        ragged = Ragged.of_padded(vectors[:, 1:], mask) if tokens else None
        return ModalityTable((spec,), present, vectors[:, 0], ragged)

    present = np.arange(N) != 3
    image = side(EYE, 0, present)
    shown = tuple(side(view_spec(EYE, number), 0, present) for number in range(1, views + 1))
    posts = Posts([f"p{n}" for n in range(N)], ["abc"[n] for n in labels], np.arange(N), [None] * N)
    return CachedFeatures(posts, ("a", "b", "c"), replace(image, views=shown), side(WORDS, 1, np.ones(N, bool)))


def same(one: Inputs, two: Inputs, modality: str) -> bool:
    names = (modality, f"{modality}_mask")
    return all(torch.equal(getattr(one, name), getattr(two, name)) for name in names)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("how", ["zero", "mean", "shuffle", "null"])
def test_only_the_modality_is_replaced(how: Replacement, modality: str, tokens: bool) -> None:
    inputs = build_inputs(table(tokens=tokens), tokens=tokens)
    some = inputs.select(torch.arange(10))
    shown = padded(some)
    kept = "text" if modality == "image" else "image"
    less = padded(remove(how, some, modality, posts=inputs, train=torch.arange(20, 60), seed=(0, 0)))  # type: ignore[arg-type]
    assert same(less, shown, kept)
    assert not same(less, shown, modality)
    vectors, mask = getattr(less, modality), getattr(less, f"{modality}_mask")
    before, masked = getattr(shown, modality), getattr(shown, f"{modality}_mask")
    if how == "null":
        assert not mask.any()
        return
    if how == "zero":
        assert not vectors[mask].any()
    if how == "mean":
        wanted = position_means(inputs.side(modality), torch.arange(20, 60))  # type: ignore[arg-type]
        assert all(torch.equal(row[held], wanted[held]) for row, held in zip(vectors, mask, strict=True))
    if how != "shuffle":
        assert torch.equal(mask, masked)
        return
    first, found = (torch.where(m[:, :1], v[:, 0], -1.0) for v, m in ((before, masked), (vectors, mask)))
    places = [next(row for row in range(10) if torch.equal(first[row], vector)) for vector in found]
    assert sorted(places) == list(range(10))
    assert all(place != row for row, place in enumerate(places))
    assert torch.equal(mask, masked[places])


def test_means_are_of_the_training_rows_that_have_something_there() -> None:
    vectors = torch.tensor([[[2.0], [4.0], [9.0]], [[6.0], [8.0], [9.0]], [[100.0], [100.0], [100.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    found = position_means(ragged(Inputs(vectors, mask, vectors, mask)).image, torch.tensor([0, 1]))
    assert found.tolist() == [[4.0], [4.0], [4.0]]  # the third place, of no training row, has the mean of all


def test_a_shuffle_is_one_cycle_drawn_by_its_seed() -> None:
    one = others(50, np.random.default_rng(1))
    place, seen = 0, set()
    while place not in seen:
        seen.add(place)
        place = int(one[place])
    assert len(seen) == 50
    assert np.array_equal(one, others(50, np.random.default_rng(1)))
    assert not np.array_equal(one, others(50, np.random.default_rng(2)))
    with pytest.raises(ValueError, match="1 test row cannot"):
        others(1, np.random.default_rng(0))


@pytest.mark.parametrize("fusion", ["gated", "attention"])
def test_a_trained_head_repeats_its_logits_and_changes_them_without_a_modality(fusion: str) -> None:
    """Ensembles, views and reduced tokens alike: whole rows give the fold's own logits again."""
    config = HeadConfig(fusion, hidden=16, token_width=4, ensemble_size=2, views=1, average_views=True)
    posts = table(tokens=config.tokens, views=1)
    results = train_folds(posts, FOLDS, config, QUICK)
    hows: tuple[Replacement, ...] = ("zero", "mean", "shuffle", "null")
    for how in hows:
        logits_of = predict_without(posts, config, results, how, seeds=[0], device="cpu")
        assert list(logits_of) == list(REMOVED)
        for result, whole in zip(results, logits_of["both"], strict=True):
            np.testing.assert_allclose(whole, result.logits, atol=1e-5)
        for key in ("text", "image", "neither"):
            assert max(np.abs(a - b).max() for a, b in zip(logits_of[key], logits_of["both"], strict=True)) > 1e-3


def test_hiding_is_what_a_post_without_the_modality_gets() -> None:
    config = HeadConfig("gated", hidden=16)
    posts = table()
    results = train_folds(posts, FOLDS, config, QUICK)
    logits_of = predict_without(posts, config, results, "null", seeds=[0], device="cpu")
    for key, hidden in (("text", "image"), ("image", "text")):
        inputs = build_inputs(posts, tokens=False, without=hidden)  # type: ignore[arg-type]
        for result, logits in zip(results, logits_of[key], strict=True):
            wanted: Tensor = predict_logits(result.heads[0], inputs, result.fold.test)
            np.testing.assert_allclose(logits, wanted.numpy(), atol=1e-5)


def test_folds_and_seeds_shuffle_differently() -> None:
    config = HeadConfig("gated", hidden=16)
    posts = table()
    first, second = train_folds(posts, [FOLDS[0], FOLDS[0]], config, QUICK)
    logits_of = predict_without(posts, config, [first, second] * 2, "shuffle", seeds=[0, 1], device="cpu")
    again = predict_without(posts, config, [first], "shuffle", seeds=[0], device="cpu")
    assert np.array_equal(logits_of["text"][0], again["text"][0])
    different = [tuple(np.round(logits, 4).ravel()) for logits in logits_of["text"]]
    assert len(set(different)) == 4
