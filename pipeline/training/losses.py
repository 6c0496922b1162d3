"""Losses on logits: cross-entropy, focal, ordinal; label smoothing, logit adjustment; all accept soft targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, one_hot


@dataclass(frozen=True)
class Loss:
    """A loss over K classes.

    `kind` is "cross-entropy" or "focal": the sigmoid focal loss of each class against the rest, summed; easy rows are
    down-weighted by (1 - p) ** `gamma`, positives weighted by `alpha` and negatives by 1 - alpha (Lin et al., 2017);
    or "emd": the squared earth mover's distance to the target over classes that are levels (Hou et al., 2016).
    `smoothing` is the label smoothing (Szegedy et al., 2016). `weight` (K,) weights rows by their class. `shift` (K,)
    is added to the logits in training only: τ log π of class frequencies π is logit adjustment (Menon et al., 2021).
    """

    kind: Literal["cross-entropy", "focal", "emd"] = "cross-entropy"
    gamma: float = 2.0
    alpha: float = 0.25
    smoothing: float | Tensor = 0.0
    weight: Tensor | None = None
    shift: Tensor | None = None

    def rows(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each row (B,) and the weight of each row (B,): logits (B, K), targets (B, K) summing to 1."""
        weights = targets.sum(-1) if self.weight is None else targets @ self.weight
        if self.shift is not None:
            logits = logits + self.shift
        if isinstance(self.smoothing, Tensor) or self.smoothing:
            targets = targets * (1 - self.smoothing) + self.smoothing / targets.shape[-1]
        if self.kind == "focal":
            return focal(logits, targets, gamma=self.gamma, alpha=self.alpha), weights
        if self.kind == "emd":
            return (logits.softmax(-1) - targets).cumsum(-1).square().sum(-1), weights
        return -(targets * log_softmax(logits, -1)).sum(-1), weights

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The weighted mean over rows: a scalar. `targets` are class indices (B,) or probabilities (B, K)."""
        losses, weights = self.rows(logits, as_targets(targets, logits.shape[-1]))
        return (losses * weights).sum() / weights.sum()


def focal(logits: Tensor, targets: Tensor, *, gamma: float, alpha: float) -> Tensor:
    """Sigmoid focal loss, summed over the classes: logits (B, K), targets (B, K) in 0..1, result (B,)."""
    positive, negative = logsigmoid(logits), logsigmoid(-logits)  # log p, log (1 - p)
    of_positives = alpha * targets * negative.exp() ** gamma * positive
    of_negatives = (1 - alpha) * (1 - targets) * positive.exp() ** gamma * negative
    return -(of_positives + of_negatives).sum(-1)


def as_targets(labels: Tensor, classes: int) -> Tensor:
    """One-hot encode class indices (B,) to (B, K); probabilities (B, K) are returned unchanged."""
    return labels if labels.is_floating_point() else one_hot(labels, classes).to(torch.get_default_dtype())


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return rows / (classes · count) for each class (K,), from training labels; 1 for a class without a row."""
    counts = torch.bincount(labels, minlength=classes).float()
    return torch.where(counts > 0, counts.sum() / (classes * counts.clamp(min=1.0)), 1.0)


def log_frequencies(labels: Tensor, classes: int) -> Tensor:
    """The logarithm of each class's share of the training labels (K,); a class without a row counts as half a row."""
    counts = torch.bincount(labels, minlength=classes).float().clamp(min=0.5)
    return (counts / counts.sum()).log()
