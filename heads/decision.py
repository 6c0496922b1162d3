"""Decision-level fusion: classifiers that are calibrated separately and combined where their modality is present."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .base import Dims, Head, Inputs
from .recording import Side, note_shares

Combination = Literal["mean", "max", "vote", "linear"]
LOWEST, HIGHEST = 0.1, 10.0  # bounds of the temperature
PRIOR_ROWS = 10.0  # pseudo-rows of each part, which keep the weights stable when there are few rows
WEIGHT_STEPS = 200
SIDES: tuple[Side, ...] = ("image", "text", "both")  # what the parts read, in their order


class DecisionHead(Head):
    """A head whose logits are the log of the combined probabilities of M classifiers.

    `combine` "mean" averages their probabilities, "max" takes the largest of each class, "vote" counts their predicted
    classes and breaks ties by the mean, "linear" averages with weights. Temperatures (M,) and weights (M,) are buffers,
    fitted by `calibrate` and uniform until then. Subclasses implement `parts` and `present`.

    Kittler et al., 1998; Guo et al., 2017. Raises ValueError on another `combine`.
    """

    temperature: Tensor
    weights: Tensor

    def __init__(self, dims: Dims, *, hidden: int, dropout: float, combine: Combination, parts: int) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        if combine not in get_args(Combination):
            raise ValueError(f"combine must be one of {', '.join(get_args(Combination))}; got {combine!r}")
        self.combine = combine
        self.register_buffer("temperature", torch.ones(parts))
        self.register_buffer("weights", torch.full((parts,), 1 / parts))

    def present(self, inputs: Inputs) -> Tensor:
        """Whether each part has the modality that it reads: (M, B)."""
        raise NotImplementedError

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        calibrated, present = self.parts(inputs) / self.temperature[:, None, None], self.present(inputs)
        if self.combine != "max":  # each class takes another part
            note_shares(lambda: dict(zip(SIDES, part_shares(present, self.weights), strict=False)))
        return combine_decisions(calibrated.log_softmax(-1), present, self.weights, self.combine)

    @torch.no_grad()
    def calibrate(self, inputs: Inputs, labels: Tensor) -> None:
        """Fit a temperature per part, on the rows where it is present; for "linear" also weights, where all are."""
        logits, present = self.parts(inputs).double(), self.present(inputs)
        for number, (part, rows) in enumerate(zip(logits, present, strict=True)):
            self.temperature[number] = best_temperature(part[rows], labels[rows])
        if self.combine == "linear":
            complete = present.all(0)  # (B,)
            log_p = (logits / self.temperature[:, None, None]).log_softmax(-1)[:, complete]  # (M, n, K)
            log_true = log_p.gather(-1, labels[complete].expand(len(log_p), -1)[..., None])[..., 0]
            self.weights.copy_(fit_weights(log_true))


def combine_decisions(log_p: Tensor, present: Tensor, weights: Tensor, how: Combination) -> Tensor:
    """Combine log-probabilities (M, B, K) of the parts that are present (M, B), with weights (M,): logits (B, K).

    If no part is present, all are combined.
    """
    present = present | ~present.any(0, keepdim=True)
    lowest = torch.finfo(log_p.dtype).min
    if how == "max":
        return log_p.masked_fill(~present[..., None], lowest).amax(0)
    shares = part_shares(present, weights).clamp(min=torch.finfo(weights.dtype).tiny).log()
    mean = (log_p + shares[..., None]).masked_fill(~present[..., None], lowest).logsumexp(0)  # (B, K)
    if how != "vote":
        return mean
    choice = log_p.argmax(-1, keepdim=True) == torch.arange(log_p.shape[-1], device=log_p.device)  # (M, B, K)
    votes = (choice & present[..., None]).sum(0).to(log_p.dtype)
    # The mean adds one vote, split among the classes: it breaks ties and cannot overturn a majority.
    return torch.logaddexp(votes.log(), mean)


def part_shares(present: Tensor, weights: Tensor) -> Tensor:
    """The weight (M, B) of each part in the decision: `weights` (M,) of those present, which add up to 1 for a post."""
    share = weights[:, None] * (present | ~present.any(0, keepdim=True))
    return share / share.sum(0)


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T in LOWEST..HIGHEST that minimises the cross-entropy of logits (n, K) / T; 1 when n is 0."""
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0
    logits = logits.detach()

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(logits / math.exp(log_temperature), labels))

    bounds = math.log(LOWEST), math.log(HIGHEST)
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8}).x)


def fit_weights(log_true: Tensor) -> Tensor:
    """Maximum-likelihood mixture weights (M,) given the parts' log-probabilities of the true class (M, n).

    By expectation maximisation with PRIOR_ROWS pseudo-rows per part, so no weight becomes 0, and n = 0 gives 1 / M.
    """
    parts = len(log_true)
    weights = log_true.new_full((parts,), 1 / parts)
    for _ in range(WEIGHT_STEPS):
        rows = (weights.log()[:, None] + log_true).softmax(0).sum(1) + PRIOR_ROWS
        weights = rows / rows.sum()
    return weights
