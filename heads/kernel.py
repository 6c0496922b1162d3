"""Kernel machine: the similarity of a post to landmark training posts, in image and text together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from .base import MODALITIES, Dims, Head, Inputs, Modality
from .dropout import Dropout

CLIP = 6.0  # standard deviations at which standardised features are clipped
EPSILON = 1e-6  # share of the largest eigenvalue below which a component is rounding noise
FEATURE_STD = 10.0  # of a feature, with which one linear map learns as fast as the two of other heads
ROWS_PER_BLOCK = 1024  # rows whose kernel is computed at once
ROWS_PER_PIECE = 1 << 15  # rows whose features are in memory at once
SHARPNESS = 6.0  # logits per unit of the ridge targets, so that their softmax is about calibrated


class KernelHead(Head):
    """A Nyström kernel machine: logits = W φ(x) + b, φ(x) = (k(x, z₁) … k(x, z_L)) E Λ^(-1/2) R.

    k is the product of the kernels of both modalities; the kernel of one modality is the mean, over its encoders, of
    exp(-gamma · mean squared difference) of vectors standardised on the training rows. The z are `landmarks` of these
    rows, E and Λ the `hidden` largest eigenvectors and eigenvalues of the kernel among them, R a random rotation, so
    that all coordinates have a similar scale. Where `hidden` is no less than the number of landmarks, the inverse of
    the Cholesky factor of their kernel serves instead of E Λ^(-1/2) R.

    `prepare` computes these and initialises W and b by ridge regression of the training labels, with the penalty
    `ridge` and rows weighted by the frequency of their class to the power of -`balance`; training continues from there.
    Without it, landmarks, components and W are random. The head reads position 0 only, the pooled vector.

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
            {name: ModalityKernel(dims.parts(name), landmarks=landmarks, gamma=gamma) for name in self.reads}
        )
        self.register_buffer("basis", torch.randn(landmarks, hidden) * FEATURE_STD / landmarks**0.5)
        self.register_buffer("centre", torch.zeros(hidden))
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(hidden, dims.classes)
        with torch.no_grad():
            self.linear.weight.div_(FEATURE_STD)

    @torch.no_grad()
    def prepare(self, inputs: Inputs, labels: Tensor, rows: Tensor) -> None:
        """Draw the landmarks from these rows, compute their components, and fit the labels (N,) of the rows.

        Standardisation is by at most ROWS_PER_PIECE rows, evenly spaced; the regression adds up pieces of rows.
        """
        order = rows[torch.randperm(len(rows), generator=self._generator()).to(rows.device)]
        chosen = order[torch.arange(len(self.basis), device=order.device) % len(order)]
        some = rows[:: -(-len(rows) // ROWS_PER_PIECE)]
        for name in MODALITIES:
            self._kernel(name).prepare(*_pooled(inputs, name, some), *_pooled(inputs, name, chosen))
        distinct = min(len(self.basis), len(rows))
        factor = self._fit_components(distinct)
        pieces = torch.split(torch.arange(len(rows)), ROWS_PER_PIECE)

        @lru_cache(maxsize=1)  # so that those of a single piece are computed once
        def features(number: int) -> Tensor:
            blocks: tuple[Tensor, ...] = torch.split(rows[pieces[number]], ROWS_PER_BLOCK)
            parts = [self._features(*(_pooled(inputs, name, block) for name in MODALITIES)) for block in blocks]
            return torch.cat(parts)[:, :distinct].double()  # (n, at most H); further ones are 0

        def total(of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            return torch.as_tensor(sum(of(features(number), own) for number, own in enumerate(pieces)))

        targets = one_hot(labels[rows], self.dims.classes).double()  # (n, K)
        weights = (targets.mean(0) ** -self.balance)[labels[rows]]
        weights = (weights / weights.mean())[:, None]
        x_mean, y_mean = total(lambda x, own: (weights[own] * x).sum(0)) / len(rows), (weights * targets).mean(0)
        moments = total(lambda x, own: (x - x_mean).T @ (weights[own] * (x - x_mean)))  # (H, H)
        products = total(lambda x, own: (x - x_mean).T @ (weights[own] * (targets[own] - y_mean)))  # (H, K)
        jitter = EPSILON * moments.diagonal().mean().clamp(min=EPSILON)  # keeps a penalty of 0 solvable
        penalty = (self.ridge * factor**2 + jitter) * torch.eye(len(x_mean), dtype=torch.float64, device=x_mean.device)
        slopes = torch.linalg.solve(moments + penalty, products)  # (H, K)
        self.linear.weight.zero_()[:, : len(slopes)] = SHARPNESS * slopes.T
        self.linear.bias.copy_(SHARPNESS * (y_mean - x_mean @ slopes))

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        image = inputs.image[..., 0, :], inputs.image_mask[..., 0]
        features = self._features(image, (inputs.text[..., 0, :], inputs.text_mask[..., 0]))
        logits: Tensor = self.linear(self.dropout(features))
        return logits

    def _features(self, image: tuple[Tensor, Tensor], text: tuple[Tensor, Tensor]) -> Tensor:
        """Features (B, H) of the pooled vector (B, D) and mask (B,) of each modality."""
        kernel = self._kernel("image")(*image) * self._kernel("text")(*text)  # (B, L)
        features: Tensor = kernel @ self.basis - self.centre
        return features

    def _kernel(self, name: Modality) -> ModalityKernel:
        kernel = self.projections[name]
        assert isinstance(kernel, ModalityKernel)
        return kernel

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _fit_components(self, distinct: int) -> float:
        """Compute the components of the landmarks, scaled to the standard deviation FEATURE_STD; return the factor.

        Landmarks after the first `distinct` repeat these.
        """
        kernel = self._kernel("image").among_landmarks() * self._kernel("text").among_landmarks()  # (L, L)
        kernel = kernel[:distinct, :distinct].double()
        hidden = self.basis.shape[1]
        root, features = self._inverse_root(kernel, hidden)  # each (distinct, at most H)
        basis = pad(root, (0, hidden - root.shape[1], 0, len(self.basis) - distinct))  # (L, H)
        variance = features.var(0, correction=0).sum() / hidden
        factor = FEATURE_STD / variance.sqrt().clamp(min=EPSILON)  # the variance is 0 for a single landmark
        self.basis.copy_(basis * factor)
        self.centre.copy_(pad(features.mean(0), (0, hidden - root.shape[1])) * factor)
        return float(factor)

    def _inverse_root(self, kernel: Tensor, hidden: int) -> tuple[Tensor, Tensor]:
        """A root (L, at most H) of the inverse of a kernel (L, L), or of its largest H components, and kernel @ root.

        The inverse of the Cholesky factor is one of all components, and takes a tenth of the time.
        """
        count = len(kernel)
        if hidden >= count:
            identity = torch.eye(count, dtype=kernel.dtype, device=kernel.device)
            lower = torch.linalg.cholesky(kernel + EPSILON * kernel.trace() * identity)  # copies of posts are singular
            inverse: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
            return inverse.T, lower
        values, vectors = torch.linalg.eigh(kernel)
        values, vectors = values[-hidden:], vectors[:, -hidden:]
        root = torch.where(values > EPSILON * values[-1], values.clamp(min=EPSILON).rsqrt(), 0.0)
        normal = torch.randn(hidden, hidden, generator=self._generator(), dtype=torch.float64)
        rotation: Tensor = torch.linalg.qr(normal).Q.to(kernel.device)
        transform: Tensor = (vectors * root) @ rotation
        return transform, kernel @ transform


class ModalityKernel(nn.Module):
    """The kernel of one modality; a learned null vector replaces the vector of a post that lacks it."""

    mean: Tensor
    deviation: Tensor
    landmarks: Tensor

    def __init__(self, parts: Sequence[int], *, landmarks: int, gamma: float) -> None:
        super().__init__()
        self.parts, self.gamma = list(parts), gamma
        width = sum(parts)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("landmarks", torch.randn(landmarks, width).half())  # most of the size of a stored head
        self.null = nn.Parameter(torch.randn(width) / FEATURE_STD)

    def prepare(self, vectors: Tensor, mask: Tensor, landmarks: Tensor, landmark_mask: Tensor) -> None:
        """Fit the standardisation to training vectors (n, D) where the mask (n,) is True, and set landmarks (L, D)."""
        if mask.any():
            self.mean.copy_(vectors[mask].mean(0))
            self.deviation.copy_(vectors[mask].std(0, correction=0).clamp(min=1e-6))
        self.landmarks.copy_(self._standardised(landmarks, landmark_mask))

    def among_landmarks(self) -> Tensor:
        """The kernel (L, L) among the landmarks."""
        return self._kernel(self.landmarks.float())

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """The kernel (B, L) of vectors (B, D) and landmarks; the mask (B,) is False where a post lacks the modality."""
        return self._kernel(self._standardised(vectors, mask))

    def _standardised(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Standardised vectors, and the null vector where the mask is False."""
        clean = torch.where(mask[..., None], vectors, 0.0)
        standardised = ((clean - self.mean) / self.deviation).clamp(-CLIP, CLIP)
        return torch.where(mask[..., None], standardised, self.null)

    def _kernel(self, x: Tensor) -> Tensor:
        landmarks = self.landmarks.float()
        pairs = zip(torch.split(x, self.parts, -1), torch.split(landmarks, self.parts, -1), strict=True)
        return torch.stack([torch.exp(-self.gamma * _mean_square(*pair)) for pair in pairs]).mean(0)


def _pooled(inputs: Inputs, name: Modality, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The pooled vectors (n, D) of some rows and their mask (n,)."""
    vectors, mask = inputs.side(name)
    return vectors[rows, 0].float(), mask[rows, 0]


def _mean_square(x: Tensor, z: Tensor) -> Tensor:
    """Mean squared difference (B, L) of vectors x (B, D) and z (L, D)."""
    squares = x.square().mean(-1)[..., None] + z.square().mean(-1)
    return (squares - 2 / x.shape[-1] * (x @ z.transpose(-2, -1))).clamp(min=0.0)
