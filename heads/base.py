"""The base class of all heads: inputs, projections, the null vector of a missing modality, and attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from .dropout import Dropout
from .recording import note_pooling

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, ...] = ("image", "text")


class Inputs(NamedTuple):
    """The features of B posts, padded.

    Shapes: B batch, P and T positions, I and E widths. Position 0 of each modality is the pooled vector, the rest are
    tokens, so P = T = 1 means pooled vectors only. A mask is True at valid positions; a mask row that is all False is a
    missing modality. Values at masked positions are never read.
    """

    image: Tensor  # (B, P, I) float
    image_mask: Tensor  # (B, P) bool
    text: Tensor  # (B, T, E) float
    text_mask: Tensor  # (B, T) bool

    def side(self, modality: Modality) -> tuple[Tensor, Tensor]:
        """One modality's vectors (B, L, D) and mask (B, L)."""
        return self[:2] if modality == "image" else self[2:]

    def with_side(self, modality: Modality, vectors: Tensor, mask: Tensor) -> Inputs:
        """The same inputs with other vectors (B, L, D) and mask (B, L) of one modality."""
        return Inputs(vectors, mask, *self[2:]) if modality == "image" else Inputs(*self[:2], vectors, mask)


@dataclass(frozen=True)
class Dims:
    """Widths that a head is built for: image I and text E (1 for a modality without an encoder), classes K.

    If the vectors of several encoders are concatenated, `image_parts` and `text_parts` are the width of each.

    Raises ValueError on a width below 1, parts that do not add up to their width, or fewer than two classes.
    """

    image: int
    text: int
    classes: int
    image_parts: tuple[int, ...] = ()
    text_parts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.image < 1 or self.text < 1:
            raise ValueError(
                f"feature widths must be 1 or more, got image {self.image!r} and text {self.text!r}; "
                "give a modality that has no encoder one masked column"
            )
        for modality in MODALITIES:
            width, parts = self.width(modality), self.parts(modality)
            if min(parts) < 1 or sum(parts) != width:
                raise ValueError(
                    f"widths of the {modality} parts must be 1 or more and add up to {width}, got {parts!r}; "
                    "give the width of each encoder"
                )
        if self.classes < 2:
            raise ValueError(f"a head needs two classes or more, got {self.classes!r}; label more posts")

    def width(self, modality: Modality) -> int:
        """The width of one modality."""
        return self.image if modality == "image" else self.text

    def parts(self, modality: Modality) -> tuple[int, ...]:
        """The width of each encoder of a modality, in the order of concatenation."""
        return (self.image_parts if modality == "image" else self.text_parts) or (self.width(modality),)


class PartNorm(nn.Module):
    """LayerNorm of each part of a vector separately, so that encoders of different scale have equal influence."""

    def __init__(self, parts: Sequence[int]) -> None:
        super().__init__()
        self.parts = list(parts)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (…, D), D the sum of the parts, to the same shape."""
        # Without scale and shift, since the linear map that follows has both.
        return torch.cat([layer_norm(part, part.shape[-1:]) for part in torch.split(vectors, self.parts, -1)], -1)


class Projection(nn.Module):
    """LayerNorm and a linear map of one modality to the hidden width; a learned null vector if a post lacks it.

    `parts` are the widths of the concatenated encoders, which are normalised separately.
    """

    def __init__(self, parts: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.norm = PartNorm(parts)
        self.linear = nn.Linear(sum(parts), hidden)
        self.null = nn.Parameter(torch.randn(hidden) * hidden**-0.5)

    def forward(self, vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map vectors (B, L, D) and mask (B, L) to (B, L, H) and (B, L); each row of the mask has a True."""
        # Masked before the arithmetic, since NaN at masked positions would pass through `where` into the gradient.
        clean = torch.where(mask[..., None], vectors, 0.0)
        projected = self.linear(self.norm(clean))  # (B, L, H)
        first = torch.arange(mask.shape[-1], device=mask.device) == 0  # (L,)
        missing = ~mask.any(-1, keepdim=True) & first  # (B, L)
        # Masked positions hold the bias. A product, since `where` and its gradient take several times as long.
        null = missing[..., None].to(projected.dtype) @ (self.null - self.linear.bias)[None]  # (B, L, H)
        return projected + null, mask | missing


class Head(nn.Module):
    """A fusion head: Inputs to logits (B, K).

    Subclasses list the modalities that they read, and have parameters for those only. No Python branch depends on a
    value, so that `torch.func.vmap` can run a head over stacked parameters.

    Raises ValueError when `hidden` is below 1 or `dropout` is outside [0, 1).
    """

    reads: ClassVar[tuple[Modality, ...]] = ("image", "text")
    offsets: Tensor
    classify: Callable[[Tensor], Tensor]  # the last layer of most heads

    def __init__(self, dims: Dims, *, hidden: int, dropout: float) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden must be 1 or more, got {hidden!r}; 128 is the usual width")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout!r}; 0.5 is usual")
        self.dims = dims
        # Tuned decision thresholds, which prediction adds to the logits.
        self.register_buffer("offsets", torch.zeros(dims.classes))
        self.projections = nn.ModuleDict({name: Projection(dims.parts(name), hidden) for name in self.reads})

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs to logits (B, K)."""
        raise NotImplementedError

    def parts(self, inputs: Inputs) -> Tensor:
        """The logits (M, B, K) of the training loss, which is the mean over the M parts.

        One part, the head's own logits, unless the head fuses the decisions of several classifiers.
        """
        logits: Tensor = self(inputs)
        return logits[None]

    def prepare(self, inputs: Inputs, labels: Tensor, rows: Tensor) -> None:
        """Fit buffers before training on the pooled vectors of rows (n,) and their `labels` (N,); most heads have none.

        The inputs of all N posts have position 0 alone.
        """

    def calibrate(self, inputs: Inputs, labels: Tensor) -> None:
        """Fit buffers after training, on rows that no gradient has seen; most heads have none."""

    def fusion(self, inputs: Inputs) -> tuple[Head, Inputs]:
        """The head that fuses, and what it reads: of a head on towers, the inner one and the encoded inputs."""
        return self, inputs

    def tokens_of(self, modality: Modality, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Project every position of one modality: (B, L, H) and its mask (B, L)."""
        projected: tuple[Tensor, Tensor] = self.projections[modality](*inputs.side(modality))
        return projected

    def pooled_of(self, modality: Modality, inputs: Inputs) -> Tensor:
        """Project one modality and pool its positions: (B, H)."""
        return attention_pool(*self.tokens_of(modality, inputs), modality)

    def project_pooled(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return one vector per post and modality: image (B, H) and text (B, H)."""
        return self.pooled_of("image", inputs), self.pooled_of("text", inputs)

    def project_tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return image (B, P, H), its mask (B, P), text (B, T, H), its mask (B, T); no mask row is all False."""
        return *self.tokens_of("image", inputs), *self.tokens_of("text", inputs)


def classifier(width: int, *, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    """A perceptron of one hidden layer from a fused vector (B, width) to logits (B, classes)."""
    return nn.Sequential(
        Dropout(dropout),
        nn.Linear(width, hidden),
        nn.GELU(),
        Dropout(dropout),
        nn.Linear(hidden, classes),
    )


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    heads: int,
    note: Callable[[Tensor], None] = lambda weights: None,
) -> Tensor:
    """Multi-head attention: softmax(Q Kᵀ / √d) V, over the positions of key and value that the mask (B, S) allows.

    Shapes: query (B, Q, H), key and value (B, S, H), result (B, Q, H); `heads` divides H. A mask row that is all False
    gives zeros. `note` is given the weights (B, heads, Q, S). Plain products and softmax, since the fused kernels
    have no batching rule in vmap.
    """

    def split(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(-3, -2)  # (B, heads, ·, d)

    q, k, v = split(query), split(key), split(value)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, heads, Q, S)
    visible = mask[..., None, None, :]
    weights = scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1) * visible
    note(weights)
    return torch.flatten((weights @ v).transpose(-3, -2), -2)  # (B, Q, H)


def attention_pool(tokens: Tensor, mask: Tensor, modality: Modality) -> Tensor:
    """Attention pooling of tokens (B, L, H) to (B, H): position 0 attends to all; without tokens, it is returned."""
    if tokens.shape[-2] == 1:
        return tokens.squeeze(-2)
    return attend(tokens[..., :1, :], tokens, tokens, mask, 1, partial(note_pooling, modality))[..., 0, :]


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Average tokens (B, L, H) over the positions that the mask (B, L) allows: (B, H)."""
    weights = mask.to(tokens.dtype)[..., None]  # (B, L, 1)
    return (tokens * weights).sum(-2) / weights.sum(-2).clamp(min=1.0)
