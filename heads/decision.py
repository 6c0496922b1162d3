"""Decision-level fusion: classifiers trained apart, calibrated one by one, combined where they have a say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .base import Dims, Head, Inputs

Combination = Literal["mean", "max", "vote", "linear"]
COLDEST, HOTTEST = 0.1, 10.0  # the temperatures that calibration may choose
SEARCH_STEPS = 40
PRIOR_ROWS = 10.0  # credit that each part has before any row is seen, against chance in few rows
WEIGHT_STEPS = 200


class DecisionHead(Head):
    """A head whose logits are the logarithm of what M classifiers say together.

    `combine` "mean" averages their probabilities, "max" takes the largest of each class, "vote" counts their
    likeliest classes and breaks ties by the mean, "linear" averages with weights. Temperatures (M,) and weights
    (M,) are buffers, fitted by `calibrate`; until then all are alike. Subclasses give `parts` and `speaking`.

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

    def speaking(self, inputs: Inputs) -> Tensor:
        """Which parts have something to go by: (M, B)."""
        raise NotImplementedError

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        calibrated = self.parts(inputs) / self.temperature[:, None, None]
        return combined(calibrated.log_softmax(-1), self.speaking(inputs), self.weights, self.combine)

    @torch.no_grad()
    def calibrate(self, inputs: Inputs, labels: Tensor) -> None:
        """Fit a temperature per part, on the rows in which it speaks; for "linear" then weights, where all speak."""
        logits, speaking = self.parts(inputs).double(), self.speaking(inputs)
        for number, (part, rows) in enumerate(zip(logits, speaking, strict=True)):
            self.temperature[number] = fit_temperature(part[rows], labels[rows])
        if self.combine == "linear":
            all_speak = speaking.all(0)  # (B,)
            log_p = (logits / self.temperature[:, None, None]).log_softmax(-1)[:, all_speak]  # (M, n, K)
            right = log_p.gather(-1, labels[all_speak].expand(len(log_p), -1)[..., None])[..., 0]
            self.weights.copy_(fit_weights(right))


def combined(log_p: Tensor, speaking: Tensor, weights: Tensor, how: Combination) -> Tensor:
    """Combine log-probabilities (M, B, K) of the parts that speak (M, B), with weights (M,): logits (B, K).

    A part that does not speak has no say; where none does, all have.
    """
    speaking = speaking | ~speaking.any(0, keepdim=True)
    silent = torch.finfo(log_p.dtype).min
    if how == "max":
        return log_p.masked_fill(~speaking[..., None], silent).amax(0)
    share = weights[:, None] * speaking  # (M, B)
    share = (share / share.sum(0)).clamp(min=torch.finfo(share.dtype).tiny).log()
    mean = (log_p + share[..., None]).masked_fill(~speaking[..., None], silent).logsumexp(0)  # (B, K)
    if how != "vote":
        return mean
    choice = log_p.argmax(-1, keepdim=True) == torch.arange(log_p.shape[-1], device=log_p.device)  # (M, B, K)
    votes = (choice & speaking[..., None]).sum(0).to(log_p.dtype)
    # The mean is one vote more, split among the classes: it decides ties and cannot overturn a majority.
    return torch.logaddexp(votes.log(), mean)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature in COLDEST..HOTTEST by which to divide logits (n, K) for the least loss; 1 when n is 0."""
    if not len(labels):
        return 1.0
    logits = logits.detach()

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(logits / math.exp(log_temperature), labels))

    return math.exp(golden_section(loss, math.log(COLDEST), math.log(HOTTEST)))


def golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley between `low` and `high` is least."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(SEARCH_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return (low + high) / 2


def fit_weights(log_right: Tensor) -> Tensor:
    """Weights (M,), sum 1, of the likeliest mixture: log_right (M, n) are the parts' log-probabilities of the truth.

    By expectation maximisation, with PRIOR_ROWS rows for each part; so no part is silenced, and n = 0 gives 1 / M.
    """
    parts = len(log_right)
    weights = log_right.new_full((parts,), 1 / parts)
    for _ in range(WEIGHT_STEPS):
        credit = (weights.log()[:, None] + log_right).softmax(0).sum(1) + PRIOR_ROWS
        weights = credit / credit.sum()
    return weights
