"""Kernel machine: how like a post is to some of the training posts, in image and text at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from .base import MODALITIES, Dims, Head, Inputs, Modality
from .dropout import Dropout

FURTHEST = 6.0  # standard deviations: what lies further out counts as this far
LEAST = 1e-6  # of the largest eigenvalue: components below are rounding
SPREAD = 10.0  # deviation of a feature: a single map then learns as fast as the two of other heads
BLOCK = 1024  # rows whose kernel is computed at once
SHARP = 6.0  # logits for each unit of the ridge's targets, so that their softmax is about as sure as it is right


class KernelHead(Head):
    """A Nyström kernel machine: logits = W φ(x) + b, φ(x) = (k(x, z₁) … k(x, z_L)) E Λ^(-1/2) R.

    k is the product of the kernels of both modalities, high only where posts are alike in both; the kernel of one is
    the mean, over its encoders, of exp(-gamma · mean squared difference) of vectors standardised on the training rows.
    The z are `landmarks` of these rows, E and Λ the `hidden` largest components of the kernel among them, R a rotation,
    so that no coordinate is finer than another.

    `prepare` fills all that and starts W and b at the ridge regression of the training labels, with the penalty `ridge`
    and rows weighted by the frequency of their class to the power of -`balance`; training goes on from there. Before,
    landmarks and W are random. Of tokens, it reads position 0 alone, the pooled vector.

    Williams & Seeger, 2001; Saunders et al., 1998. Raises ValueError where `landmarks` is below 1, `gamma` not above 0,
    or `ridge` or `balance` below 0.
    """

    basis: Tensor
    centre: Tensor

    def __init__(
        self,
        dims: Dims,
        *,
        hidden: int = 128,
        dropout: float = 0.5,
        landmarks: int = 1024,
        gamma: float = 0.3,
        ridge: float = 0.3,
        balance: float = 0.5,
    ) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        for name, value, usual in (("landmarks", landmarks, 1024), ("gamma", gamma, 0.3)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value!r}; {usual} is usual")
        for name, value, usual in (("ridge", ridge, 0.3), ("balance", balance, 0.5)):
            if not value >= 0:
                raise ValueError(f"{name} must be 0 or more, got {value!r}; {usual} is usual")
        self.ridge, self.balance = ridge, balance
        self.seed = int(torch.randint(2**31, ()))  # of the landmarks and the rotation
        self.projections = nn.ModuleDict(
            {name: Side(dims.parts(name), landmarks=landmarks, gamma=gamma) for name in self.reads}
        )
        self.register_buffer("basis", torch.empty(landmarks, hidden))
        self.register_buffer("centre", torch.empty(hidden))
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(hidden, dims.classes)
        with torch.no_grad():
            self.linear.weight.div_(SPREAD)
            self._settle()

    @torch.no_grad()
    def prepare(self, inputs: Inputs, labels: Tensor, rows: Tensor) -> None:
        """Draw the landmarks from these rows, find their components, and fit the labels (N,) of the rows."""
        order = rows[torch.randperm(len(rows), generator=self._draw()).to(rows.device)]
        chosen = order[torch.arange(len(self.basis), device=order.device) % len(order)]
        for name in MODALITIES:
            self._side(name).prepare(*_pooled(inputs, name, rows), *_pooled(inputs, name, chosen))
        unit = self._settle()
        blocks: tuple[Tensor, ...] = torch.split(rows, BLOCK)
        shown = [self._features(*(_pooled(inputs, name, block) for name in MODALITIES)) for block in blocks]
        features = torch.cat(shown).double()  # (n, H)
        targets = one_hot(labels[rows], self.dims.classes).double()  # (n, K)
        weights = (targets.mean(0) ** -self.balance)[labels[rows]]
        weights = (weights / weights.mean())[:, None]
        means, heights = (weights * features).mean(0), (weights * targets).mean(0)
        centred = features - means
        moments = centred.T @ (weights * centred)  # (H, H)
        rounding = LEAST * moments.diagonal().mean().clamp(min=LEAST)  # what a penalty of 0 leaves to solve with
        penalty = (self.ridge * unit**2 + rounding) * torch.eye(len(means), dtype=torch.float64, device=means.device)
        slopes = torch.linalg.solve(moments + penalty, centred.T @ (weights * (targets - heights)))  # (H, K)
        self.linear.weight.copy_(SHARP * slopes.T)
        self.linear.bias.copy_(SHARP * (heights - means @ slopes))

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image = inputs.image[..., 0, :], inputs.image_mask[..., 0]
        features = self._features(image, (inputs.text[..., 0, :], inputs.text_mask[..., 0]))
        logits: Tensor = self.linear(self.dropout(features))
        return logits

    def _features(self, image: tuple[Tensor, Tensor], text: tuple[Tensor, Tensor]) -> Tensor:
        """Features (B, H) of pooled vectors (B, D) and masks (B,) of either modality."""
        alike = self._side("image")(*image) * self._side("text")(*text)  # (B, L)
        features: Tensor = alike @ self.basis - self.centre
        return features

    def _side(self, name: Modality) -> Side:
        side = self.projections[name]
        assert isinstance(side, Side)
        return side

    def _draw(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _settle(self) -> float:
        """Keep the components among the landmarks, times a factor, so that features deviate by SPREAD; return it."""
        kernel = (self._side("image").among() * self._side("text").among()).double()  # (L, L)
        count, hidden = self.basis.shape
        values, axes = torch.linalg.eigh(kernel)
        values, axes = values[-min(count, hidden) :], axes[:, -min(count, hidden) :]
        root = torch.where(values > LEAST * values[-1], values.clamp(min=LEAST).rsqrt(), 0.0)
        chance = torch.randn(hidden, hidden, generator=self._draw(), dtype=torch.float64)
        rotation = torch.linalg.qr(chance).Q.to(kernel.device)
        basis = pad(axes * root, (0, hidden - len(values))) @ rotation  # (L, H)
        features = kernel @ basis
        unit = SPREAD / features.var(0, correction=0).mean().sqrt().clamp(min=LEAST)  # one landmark alone has none
        self.basis.copy_(basis * unit)
        self.centre.copy_(features.mean(0) * unit)
        return float(unit)


class Side(nn.Module):
    """The kernel of one modality; a learned vector stands in where a post lacks it."""

    mean: Tensor
    deviation: Tensor
    landmarks: Tensor

    def __init__(self, parts: Sequence[int], *, landmarks: int, gamma: float) -> None:
        super().__init__()
        self.parts, self.gamma = list(parts), gamma
        width = sum(parts)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("landmarks", torch.randn(landmarks, width).half())  # most of what a stored head takes
        self.null = nn.Parameter(torch.randn(width) / SPREAD)

    def prepare(self, vectors: Tensor, there: Tensor, landmarks: Tensor, marked: Tensor) -> None:
        """Standardise by vectors (n, D) of the training rows that have one, and keep landmarks (L, D)."""
        if there.any():
            self.mean.copy_(vectors[there].mean(0))
            self.deviation.copy_(vectors[there].std(0, correction=0).clamp(min=1e-6))
        self.landmarks.copy_(self._standardised(landmarks, marked))

    def among(self) -> Tensor:
        """The kernel (L, L) among the landmarks."""
        return self._kernel(self.landmarks.float())

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Likeness (B, L) of vectors (B, D) to the landmarks; `there` (B,) is False where a post lacks the modality."""
        return self._kernel(self._standardised(vectors, there))

    def _standardised(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Vectors in deviations from the mean, and the stand-in where there is none."""
        clean = torch.where(there[..., None], vectors, 0.0)
        known = ((clean - self.mean) / self.deviation).clamp(-FURTHEST, FURTHEST)
        return torch.where(there[..., None], known, self.null)

    def _kernel(self, x: Tensor) -> Tensor:
        landmarks = self.landmarks.float()
        pairs = zip(torch.split(x, self.parts, -1), torch.split(landmarks, self.parts, -1), strict=True)
        return torch.stack([torch.exp(-self.gamma * _mean_square(*pair)) for pair in pairs]).mean(0)


def _pooled(inputs: Inputs, name: Modality, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The pooled vectors (n, D) of some rows and where they are there (n,)."""
    vectors, mask = (inputs.image, inputs.image_mask) if name == "image" else (inputs.text, inputs.text_mask)
    return vectors[rows, 0].float(), mask[rows, 0]


def _mean_square(x: Tensor, z: Tensor) -> Tensor:
    """Mean squared difference (B, L) of vectors x (B, D) and z (L, D)."""
    squares = x.square().mean(-1)[..., None] + z.square().mean(-1)
    return (squares - 2 / x.shape[-1] * (x @ z.transpose(-2, -1))).clamp(min=0.0)
