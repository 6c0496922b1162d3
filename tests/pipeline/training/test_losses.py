"""Losses equal those of torch and torchvision where these exist, and their formulas where they do not."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from msa.pipeline.training.losses import Loss, as_targets, class_weights, log_frequencies

DRAW = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(40, 3, generator=DRAW)
LABELS = torch.randint(3, (40,), generator=DRAW)
WEIGHT = torch.tensor([0.5, 1.0, 3.0])


def test_cross_entropy_is_torchs_with_weights_and_with_smoothing() -> None:
    torch.testing.assert_close(Loss()(LOGITS, LABELS), functional.cross_entropy(LOGITS, LABELS))
    weighted = functional.cross_entropy(LOGITS, LABELS, weight=WEIGHT)
    torch.testing.assert_close(Loss(weight=WEIGHT)(LOGITS, LABELS), weighted)
    smooth = functional.cross_entropy(LOGITS, LABELS, label_smoothing=0.2)
    torch.testing.assert_close(Loss(smoothing=0.2)(LOGITS, LABELS), smooth)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_loss_is_torchvisions_summed_over_classes(gamma: float) -> None:
    targets = as_targets(LABELS, 3)
    expected = sigmoid_focal_loss(LOGITS, targets, alpha=0.25, gamma=gamma).sum(1).mean()
    torch.testing.assert_close(Loss("focal", gamma=gamma)(LOGITS, LABELS), expected)


def test_the_earth_movers_distance_grows_with_the_steps_between_levels() -> None:
    probabilities = LOGITS.softmax(1)
    reached = (torch.arange(probabilities.shape[1]) >= LABELS[:, None]).float()
    by_hand = ((probabilities.cumsum(1) - reached) ** 2).sum(1).mean()
    torch.testing.assert_close(Loss("emd")(LOGITS, LABELS), by_hand)
    certain = torch.eye(4)[:1] * 100  # the lowest of four levels
    assert [round(float(Loss("emd")(certain, torch.tensor([level])))) for level in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["cross-entropy", "focal", "emd"])
def test_one_hot_targets_equal_class_indices(kind: str) -> None:
    loss = Loss(kind, weight=WEIGHT, smoothing=0.1)  # type: ignore[arg-type]
    torch.testing.assert_close(loss(LOGITS, LABELS), loss(LOGITS, as_targets(LABELS, 3)))


def test_soft_targets_interpolate() -> None:
    one, two = as_targets(LABELS, 3), as_targets((LABELS + 1) % 3, 3)
    half = Loss()(LOGITS, (one + two) / 2)
    torch.testing.assert_close(half, (Loss()(LOGITS, one) + Loss()(LOGITS, two)) / 2)


def test_logit_adjustment_raises_the_loss_of_rare_classes() -> None:
    prior = log_frequencies(torch.tensor([0, 0, 0, 1]), 3)
    torch.testing.assert_close(prior.exp(), torch.tensor([3.0, 1.0, 0.5]) / 4.5)
    rows, _ = Loss(shift=prior).rows(torch.zeros(3, 3), as_targets(torch.arange(3), 3))
    torch.testing.assert_close(rows, -prior)


def test_class_weights_are_inverse_frequencies_of_the_training_rows() -> None:
    weights = class_weights(torch.tensor([0, 0, 0, 1]), 3)
    torch.testing.assert_close(weights, torch.tensor([4 / 9, 4 / 3, 1.0]))
