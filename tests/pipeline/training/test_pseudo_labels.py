"""Unlabelled rows help where two views agree on them, leak nothing, and get the same pseudo-labels every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from msa.features.spec import EncoderSpec, Modality
from msa.pipeline.config.head_config import HeadConfig
from msa.pipeline.config.train_config import TrainConfig
from msa.pipeline.data.cached_features import CachedFeatures, ModalityTable
from msa.pipeline.data.split import Fold, Posts
from msa.pipeline.training.folds import FoldResult, train_folds
from msa.pipeline.training.pseudo_labels import (
    Method,
    PseudoLabelConfig,
    PseudoLabels,
    merge,
    most_confident,
    train_with_pseudo_labels,
    unlabelled_rows,
)

WIDTH = 24
CONFIG = HeadConfig("gated", hidden=16, dropout=0.2)
TRAINING = TrainConfig(epochs=12, lr=5e-3, batch_size=32, patience=0)
FOLD = Fold(np.arange(8), np.arange(8, 20), np.arange(20, 220))
FREE = np.arange(220, 420)
METHODS: list[Method] = ["self", "cotrain"]


def side(modality: Modality, pooled: NDArray[np.float32], present: NDArray[np.bool_] | None = None) -> ModalityTable:
    spec = EncoderSpec(modality, modality, "import", "", "", "", "", "", pooled.shape[1], "float32")
    return ModalityTable((spec,), np.ones(len(pooled), bool) if present is None else present, pooled)


def blobs(seed: int = 0) -> CachedFeatures:
    """Two classes of which each view is a noisy sign of its own; 8 + 12 labelled rows, 200 to test, 200 unlabelled."""
    draw = np.random.default_rng(seed)
    truth = np.arange(420) % 2
    views = []
    for _ in range(2):
        towards = draw.normal(size=WIDTH)
        towards *= 1.8 / np.linalg.norm(towards)
        views.append((draw.normal(size=(420, WIDTH)) + np.outer(2 * truth - 1, towards)).astype(np.float32))
    labels = ["ab"[k] if row < 220 else None for row, k in enumerate(truth)]
    posts = Posts([f"p{row}" for row in range(420)], labels, np.arange(420), [None] * 420)
    return CachedFeatures(posts, ("a", "b"), side("image", views[0]), side("text", views[1]))


def run(table: CachedFeatures, method: Method, pseudo: PseudoLabelConfig = PseudoLabelConfig(rounds=2)) -> FoldResult:
    return train_with_pseudo_labels(table, [FOLD], CONFIG, TRAINING, method=method, pseudo=pseudo)[0]


def pseudo_labelled(result: FoldResult) -> NDArray[np.int64]:
    return result.fold.train[len(FOLD.train) :]


@pytest.fixture(scope="module")
def supervised() -> FoldResult:
    return train_folds(blobs(), [FOLD], CONFIG, TRAINING)[0]


@pytest.mark.parametrize("method", METHODS)
def test_unlabelled_rows_help_where_each_view_shows_the_class(method: Method, supervised: FoldResult) -> None:
    taught = run(blobs(), method)
    assert taught.metrics["accuracy"] > supervised.metrics["accuracy"] + 0.1
    assert taught.logits.shape == (200, 2)
    assert len(pseudo_labelled(taught)) > 150
    assert np.array_equal(taught.fold.valid, FOLD.valid)
    assert np.array_equal(taught.fold.test, FOLD.test)


@pytest.mark.parametrize("method", METHODS)
def test_copies_of_labelled_posts_are_never_labelled_nor_read(method: Method) -> None:
    clean = blobs()
    copies = {300: 0, 301: 10, 302: 20, 303: 219}  # of a training, a validation and two test rows
    groups = clean.posts.groups.copy()
    groups[list(copies)] = [groups[row] for row in copies.values()]
    table = replace(clean, posts=replace(clean.posts, groups=groups))
    assert np.array_equal(unlabelled_rows(table, both=True), np.setdiff1d(FREE, list(copies)))
    few = PseudoLabelConfig(rounds=1)
    result = run(table, method, few)
    assert len(pseudo_labelled(result))
    assert not np.isin(pseudo_labelled(result), list(copies)).any()
    assert np.isin(pseudo_labelled(result), FREE).all()
    assert table.image is not None
    table.image.pooled[list(copies)] = np.nan  # would be in every logit, had the rows been used
    assert np.array_equal(run(table, method, few).logits, result.logits)


def test_the_labels_of_test_rows_decide_nothing() -> None:
    table = blobs()
    labels = list(table.posts.labels)
    for row in FOLD.test:
        labels[row] = "a"
    blind = replace(table, posts=replace(table.posts, labels=labels))
    few = PseudoLabelConfig(rounds=1)
    assert np.array_equal(run(blind, "cotrain", few).logits, run(table, "cotrain", few).logits)


def test_same_seed_same_pseudo_labels_and_same_logits() -> None:
    one, two = (run(blobs(), "cotrain", PseudoLabelConfig(rounds=1)) for _ in range(2))
    assert np.array_equal(one.fold.train, two.fold.train)
    assert np.array_equal(one.logits, two.logits)


def test_no_confident_prediction_leaves_the_supervised_head(supervised: FoldResult) -> None:
    unconfident = run(blobs(), "self", PseudoLabelConfig(rounds=1, threshold=1.0))
    assert np.array_equal(unconfident.logits, supervised.logits)
    assert not len(pseudo_labelled(unconfident))


def test_the_most_confident_are_taken_in_the_shares_of_the_classes() -> None:
    first = np.array([0.9, 0.6, 0.8, 0.7, 0.2, 0.45, 0.1])
    probabilities = np.stack([first, 1 - first], 1)
    rows = np.arange(10, 17)

    def take(shares: list[float], threshold: float, most: float) -> list[int]:
        labels = most_confident(probabilities, rows, np.array(shares), threshold=threshold, most=most)
        assert np.array_equal(labels.probabilities, probabilities[labels.rows - 10, labels.targets])
        return labels.rows.tolist()

    assert take([0.5, 0.5], 0.5, 4) == [10, 12, 14, 16]
    assert take([0.5, 0.5], 0.5, 7) == [10, 12, 13, 14, 15, 16]
    assert take([0.75, 0.25], 0.5, 4) == [10, 12, 13, 16]
    assert take([0.5, 0.5], 0.85, 7) == [10, 16]  # one of the second class reaches it, so one of the first is taken
    assert take([0.5, 0.5], 0.95, 7) == []
    assert take([1.0, 0.0], 0.5, 7) == [10, 11, 12, 13]


def test_two_classifiers_join_their_labels_and_the_more_confident_one_wins() -> None:
    image = PseudoLabels(np.array([1, 2, 3]), np.array([0, 0, 0]), np.array([0.9, 0.6, 0.7]))
    text = PseudoLabels(np.array([2, 3, 4]), np.array([1, 1, 1]), np.array([0.8, 0.7, 0.5]))
    joined = merge(image, text)
    assert joined.rows.tolist() == [1, 2, 3, 4]
    assert joined.targets.tolist() == [0, 1, 0, 1]
    assert joined.probabilities.tolist() == [0.9, 0.8, 0.7, 0.5]


def test_posts_without_a_modality_are_free_for_self_training_alone() -> None:
    table = blobs()
    assert table.image is not None
    present = np.ones(420, bool)
    present[400] = False
    lacking = replace(table, image=side("image", table.image.pooled, present))
    assert np.array_equal(unlabelled_rows(lacking, both=True), FREE[FREE != 400])
    assert np.array_equal(unlabelled_rows(lacking, both=False), FREE)


def test_what_cannot_be_labelled_is_refused() -> None:
    table = blobs()
    with pytest.raises(ValueError, match="co-training needs image and text features"):
        run(replace(table, image=None), "cotrain")
    full = replace(table, posts=replace(table.posts, labels=["a", "b"] * 210))
    with pytest.raises(ValueError, match="no unlabelled post is free"):
        run(full, "self")
    with pytest.raises(ValueError, match="self or cotrain, got 'both'"):
        run(table, "both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rounds of pseudo-labels must be 1 or more, got 0"):
        PseudoLabelConfig(rounds=0)
    with pytest.raises(ValueError, match=r"threshold of pseudo-labels must be a probability, got 1\.5"):
        PseudoLabelConfig(threshold=1.5)
    with pytest.raises(ValueError, match="share of pseudo-labels must be above 0"):
        PseudoLabelConfig(share=0)
    with pytest.raises(ValueError, match="ensemble size of 1, got 2"):
        train_with_pseudo_labels(table, [FOLD], replace(CONFIG, ensemble_size=2), TRAINING, method="self")
