"""Towers: small encoders of pixels and word pieces, trained from scratch together with any head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from .base import MODALITIES, Dims, Head, Inputs, masked_mean
from .block import blocks
from .dropout import Dropout
from .positions import sinusoids

WIDTHS = (32, 64, 128, 256)  # channels of the stem and of the three stages after it
IMAGES_PER_PASS = 64  # images per pass through a tower: more do not fit into a processor's cache
CHANNELS_PER_GROUP = 16
ATTENTION_HEADS = 4  # of the attention in a tower
WORD_SCALE = 0.02  # of new embeddings and of positions: larger ones are noise that a few thousand posts do not unlearn


@dataclass(frozen=True)
class Towers:
    """Which modalities are raw, and the towers that encode them for the head.

    `image`: rows of pixels are encoded by a small ResNet. `vocabulary`: the number of different word pieces, which are
    encoded by a Transformer of `layers` layers (0: no text tower). `tokens`: the head reads every position, not only
    the pooled one. `width`: the width of the encoded vectors.

    Raises ValueError when `width` is not a multiple of the 4 attention heads, or a number is out of range.
    """

    image: bool = False
    vocabulary: int = 0
    tokens: bool = True
    width: int = 128
    layers: int = 2

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 4:
            raise ValueError(f"the width of a tower must be a multiple of 4, got {self.width!r}; 128 is usual")
        if self.layers < 1:
            raise ValueError(f"a tower has 1 layer or more, got {self.layers!r}; 2 are usual")

    def __bool__(self) -> bool:
        """Whether there is any tower."""
        return self.image or self.vocabulary > 0

    def dims(self, dims: Dims) -> Dims:
        """The widths that the head is built with, given those of the inputs."""
        dims = replace(dims, image=self.width, image_parts=()) if self.image else dims
        return replace(dims, text=self.width, text_parts=()) if self.vocabulary else dims

    def wrap(self, build: Callable[[Dims], Head], dims: Dims, *, dropout: float) -> Head:
        """Build the head, on top of the towers if there are any. `dims` are the widths of the inputs."""
        return TowerHead(build(self.dims(dims)), dims, self, dropout=dropout) if self else build(dims)


class TowerHead(Head):
    """Any head on learned features: logits = head(towers(inputs)).

    Position 0 of raw inputs is reserved for a pooled vector, which the towers ignore.
    """

    def __init__(self, head: Head, dims: Dims, towers: Towers, *, dropout: float) -> None:
        nn.Module.__init__(self)
        self.dims = dims
        self.register_buffer("offsets", torch.zeros(dims.classes))
        self.head = head
        self.tokens = towers.tokens
        reads_image, reads_text = ("image" in head.reads, "text" in head.reads)
        self.image = PixelTower(dims.image, towers.width) if towers.image and reads_image else None
        self.text = (
            WordTower(towers.vocabulary, towers.width, layers=towers.layers, dropout=dropout)
            if towers.vocabulary and reads_text
            else None
        )

    def forward(self, inputs: Inputs) -> Tensor:
        """Map raw inputs to logits (B, K)."""
        logits: Tensor = self.head(self.encode(inputs))
        return logits

    def parts(self, inputs: Inputs) -> Tensor:
        """The parts (M, B, K) of the head."""
        return self.head.parts(self.encode(inputs))

    def prepare(self, inputs: Inputs, labels: Tensor, rows: Tensor) -> None:
        """Raise ValueError for a head that is fitted on features before training, since the towers change them."""
        if type(self.head).prepare is not Head.prepare:
            raise ValueError(
                f"{type(self.head).__name__} compares posts by fixed features, and towers change theirs in training; "
                "choose another fusion for pixels and tokens, or other encoders"
            )

    def calibrate(self, inputs: Inputs, labels: Tensor) -> None:
        """Calibrate the head on learned features."""
        self.head.calibrate(self.encode(inputs), labels)

    def fusion(self, inputs: Inputs) -> tuple[Head, Inputs]:
        """The inner head, and the encoded inputs."""
        return self.head, self.encode(inputs)

    def encode(self, inputs: Inputs) -> Inputs:
        """Encode raw inputs for the head: the pooled vector first, then the tokens if it reads them."""
        for modality, tower in zip(MODALITIES, (self.image, self.text), strict=True):
            if tower is not None:
                vectors, mask = tower(*inputs.side(modality))
                length = None if self.tokens else 1
                inputs = inputs.with_side(modality, vectors[:, :length], mask[:, :length])
        return inputs


class PixelTower(nn.Module):
    """A small ResNet: rows of pixels (B, 1 + S, 3·S) in 0..255 to (B, 1 + P, H) and its mask, the mean first.

    He et al., 2016, with GroupNorm (Wu & He, 2018), a stem that downsamples by eight, and three stages of one block.
    """

    def __init__(self, row: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 7, stride=4, padding=3, bias=False),
            _norm(WIDTHS[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(
            *(Residual(low, high, stride=1 if low == WIDTHS[0] else 2) for low, high in pairwise(WIDTHS))
        )
        self.out = nn.Linear(WIDTHS[-1], width)

    def forward(self, rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode rows of pixels, of any numeric dtype, and their mask (B, 1 + S)."""
        present = mask.any(-1, keepdim=True)  # (B, 1)
        if rows.shape[-2] == 1:  # a batch without images has its first position only
            return self.out.bias.expand(len(rows), 1, -1), present
        if torch.compiler.is_exporting():  # an exported graph has no loop over a batch of any size
            features = self._features(rows[:, 1:], present)
        else:
            chunks = zip(torch.split(rows[:, 1:], IMAGES_PER_PASS), torch.split(present, IMAGES_PER_PASS), strict=True)
            features = torch.cat([self._features(*chunk) for chunk in chunks])
        vectors = torch.cat([features.mean(1, keepdim=True), features], 1)  # (B, 1 + P, H)
        return vectors, present.expand(vectors.shape[:2])

    def _features(self, rows: Tensor, present: Tensor) -> Tensor:
        pixels = torch.where(present[..., None], rows, 127.5) / 127.5 - 1
        image = pixels.reshape(*pixels.shape[:-1], -1, 3).movedim(-1, -3)  # (B, 3, S, S), channels last in memory
        features: Tensor = self.out(self.stages(self.stem(image)).flatten(-2).transpose(-2, -1))
        return features  # (B, P, H)


class Residual(nn.Module):
    """Two convolutions with a residual connection: (B, C, h, w) to (B, D, h / stride, w / stride)."""

    def __init__(self, low: int, high: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(low, high, 3, stride=stride, padding=1, bias=False)
        self.first_norm = _norm(high)
        self.second = nn.Conv2d(high, high, 3, padding=1, bias=False)
        self.second_norm = _norm(high)
        self.shortcut = nn.Sequential(nn.Conv2d(low, high, 1, stride=stride, bias=False), _norm(high))

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (B, C, h, w) to (B, D, h / stride, w / stride)."""
        residual = self.second_norm(self.second(torch.relu(self.first_norm(self.first(x)))))
        return torch.relu(residual + self.shortcut(x))


class WordTower(nn.Module):
    """A Transformer encoder: ids of word pieces (B, 1 + T, 1) to (B, 1 + T, H) and its mask, the mean first.

    Vaswani et al., 2017, with sinusoidal positions, and dropout of whole words as well (Iyyer et al., 2015).
    """

    def __init__(self, vocabulary: int, width: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embed.weight, std=WORD_SCALE)
        self.word_dropout, self.dropout = Dropout(dropout), Dropout(dropout)
        self.layers = blocks(layers, width, heads=ATTENTION_HEADS, ffn=2 * width, dropout=dropout)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode ids, of any numeric dtype, and their mask (B, 1 + T)."""
        if mask.shape[-1] == 1:  # a batch without texts has its first position only
            return self.embed.weight.new_zeros(len(ids), 1, self.embed.embedding_dim), mask
        words = mask[:, 1:]
        x = self.embed(torch.where(words, ids[:, 1:, 0], 0).long())  # (B, T, H)
        x = x * self.word_dropout(torch.ones_like(x[..., :1]))
        x = self.dropout(x + WORD_SCALE * sinusoids(x.shape[-2], x.shape[-1], device=x.device))
        for layer in self.layers:
            x = layer(x, x, words)
        return torch.cat([masked_mean(x, words)[:, None], x], 1), mask


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)
