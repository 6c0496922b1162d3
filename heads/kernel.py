"""Kernel machine: how like a post is to some of the training posts, and a linear classifier of that."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .base import Dims, Head, Inputs
from .dropout import Dropout

FURTHEST = 6.0  # standard deviations: what lies further out counts as this far
LEAST = 1e-6  # of the largest eigenvalue: components below are rounding
SPREAD = 10.0  # deviation of a feature, and factor of a bias: a single map then learns as fast as the other heads' two
START = 0.01  # of the usual spread of a linear map's first weights


class KernelHead(Head):
    """A Nyström kernel machine: logits = V φ(i) + W φ(t) + b, φ(x) = (k(x, z₁) … k(x, z_L)) E Λ^(-1/2) R.

    The kernel of one modality is the mean, over its encoders, of exp(-gamma · mean squared difference) of vectors
    standardised on the training rows. The z are `landmarks` of these rows, E and Λ the `hidden` largest components of
    the kernel among them, R a rotation, so that no coordinate is finer than another; V and W weigh the modalities.
    Landmarks and components are buffers that `prepare` fills; before, the landmarks are random. Of tokens, it reads
    position 0 alone, the pooled vector.

    Williams & Seeger, 2001. Raises ValueError where `landmarks` is below 1 or `gamma` is not above 0.
    """

    def __init__(
        self, dims: Dims, *, hidden: int = 128, dropout: float = 0.3, landmarks: int = 512, gamma: float = 1.0
    ) -> None:
        super().__init__(dims, hidden=hidden, dropout=dropout)
        if landmarks < 1:
            raise ValueError(f"landmarks must be 1 or more, got {landmarks!r}; 512 is usual")
        if not gamma > 0:
            raise ValueError(f"gamma must be above 0, got {gamma!r}; 1 is usual")
        self.projections = nn.ModuleDict(
            {
                name: KernelProjection(dims.parts(name), dims.classes, hidden, landmarks=landmarks, gamma=gamma)
                for name in self.reads
            }
        )
        self.dropouts = nn.ModuleDict({name: Dropout(dropout) for name in self.reads})

    def prepare(self, inputs: Inputs, rows: Tensor) -> None:
        """Draw the landmarks from these rows, and find their components."""
        for name, vectors, mask in (
            ("image", inputs.image, inputs.image_mask),
            ("text", inputs.text, inputs.text_mask),
        ):
            held = rows[mask[rows, 0]]
            if len(held):
                projection = self.projections[name]
                assert isinstance(projection, KernelProjection)
                projection.prepare(vectors[held, 0].float())

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image = self.projections["image"](inputs.image, inputs.image_mask, self.dropouts["image"])
        text = self.projections["text"](inputs.text, inputs.text_mask, self.dropouts["text"])
        logits: Tensor = image + text
        return logits


class KernelProjection(nn.Module):
    """Kernel features of one modality and what they say of the classes; a learned vector where a post lacks it."""

    mean: Tensor
    deviation: Tensor
    landmarks: Tensor
    basis: Tensor
    centre: Tensor

    def __init__(self, parts: Sequence[int], classes: int, hidden: int, *, landmarks: int, gamma: float) -> None:
        super().__init__()
        self.parts, self.gamma = list(parts), gamma
        width = sum(parts)
        self.seed = int(torch.randint(2**31, ()))  # of the landmarks and the rotation
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("landmarks", torch.empty(landmarks, width))
        self.register_buffer("basis", torch.empty(landmarks, hidden))
        self.register_buffer("centre", torch.empty(hidden))
        self.linear = nn.Linear(hidden, classes, bias=False)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.null = nn.Parameter(torch.randn(classes) / SPREAD)
        with torch.no_grad():
            self.linear.weight.mul_(START)
            self._settle(torch.randn(landmarks, width))

    @torch.no_grad()
    def prepare(self, vectors: Tensor) -> None:
        """Standardise by vectors (n, D) of training rows, and draw the landmarks from them."""
        self.mean.copy_(vectors.mean(0))
        self.deviation.copy_(vectors.std(0, correction=0).clamp(min=1e-6))
        order = torch.randperm(len(vectors), generator=self._draw()).to(vectors.device)
        self._settle(vectors[order[torch.arange(len(self.landmarks), device=order.device) % len(order)]])

    def _draw(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _settle(self, landmarks: Tensor) -> None:
        """Keep landmarks (L, D), and the components of the kernel among them, such that features deviate by SPREAD."""
        self.landmarks.copy_(self._standardised(landmarks))
        kernel = self._kernel(self.landmarks).double()  # (L, L)
        count, hidden = self.basis.shape
        values, axes = torch.linalg.eigh(kernel)
        values, axes = values[-min(count, hidden) :], axes[:, -min(count, hidden) :]
        root = torch.where(values > LEAST * values[-1], values.clamp(min=LEAST).rsqrt(), 0.0)
        chance = torch.randn(hidden, hidden, generator=self._draw(), dtype=torch.float64)
        rotation = torch.linalg.qr(chance).Q.to(kernel.device)
        basis = pad(axes * root, (0, hidden - len(values))) @ rotation  # (L, H)
        features = kernel @ basis
        spread = features.var(0, correction=0).mean().sqrt().clamp(min=LEAST) / SPREAD  # one landmark alone has none
        self.basis.copy_(basis / spread)
        self.centre.copy_(features.mean(0) / spread)

    def _standardised(self, vectors: Tensor) -> Tensor:
        return ((vectors - self.mean) / self.deviation).clamp(-FURTHEST, FURTHEST)

    def _kernel(self, x: Tensor) -> Tensor:
        """Likeness (B, L) of standardised vectors (B, D) to the landmarks."""
        pairs = zip(torch.split(x, self.parts, -1), torch.split(self.landmarks, self.parts, -1), strict=True)
        return torch.stack([torch.exp(-self.gamma * _mean_square(*pair)) for pair in pairs]).mean(0)

    def forward(self, vectors: Tensor, mask: Tensor, dropout: nn.Module) -> Tensor:
        """Map vectors (B, P, D) and mask (B, P) to a share in the logits (B, K)."""
        held = mask[..., :1]
        x = self._standardised(torch.where(held, vectors[..., 0, :], 0.0))
        features = self._kernel(x) @ self.basis - self.centre  # (B, H)
        return torch.where(held, self.linear(dropout(features)) + SPREAD * self.bias, SPREAD * self.null)


def _mean_square(x: Tensor, z: Tensor) -> Tensor:
    """Mean squared difference (B, L) of vectors x (B, D) and z (L, D)."""
    squares = x.square().mean(-1)[..., None] + z.square().mean(-1)
    return (squares - 2 / x.shape[-1] * (x @ z.transpose(-2, -1))).clamp(min=0.0)
