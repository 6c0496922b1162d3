"""Towers: small encoders of pixels and word pieces that are trained from scratch, together with any head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from .base import Dims, Head, Inputs, masked_mean
from .block import blocks
from .dropout import Dropout
from .positions import sinusoids

WIDTHS = (32, 64, 128, 256)  # channels of the stem and of the three stages behind it
CHUNK = 64  # images in one pass through a tower: more leave a processor's cache
CHANNELS_PER_GROUP = 16
HEADS = 4  # of the attention in a tower


@dataclass(frozen=True)
class Towers:
    """Which modalities are raw, and the towers that they pass through on their way to the head.

    `image`: rows of pixels, in a small ResNet. `vocabulary`: word pieces, this many kinds of them, in a Transformer
    encoder of `layers` layers (0: there are none). `tokens`: the head sees every position, not the summary alone. The
    head sees vectors of `width`.

    Raises ValueError when the width is no multiple of 4, the heads of the attention, or a number is out of range.
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
        """Whether there is any tower at all."""
        return self.image or self.vocabulary > 0

    def dims(self, dims: Dims) -> Dims:
        """The widths that the head is built with, given those of the inputs."""
        dims = replace(dims, image=self.width, image_parts=()) if self.image else dims
        return replace(dims, text=self.width, text_parts=()) if self.vocabulary else dims

    def put_under(self, build: Callable[[Dims], Head], dims: Dims, *, dropout: float) -> Head:
        """Build the head; where there are towers, on top of them. `dims` are the widths of the inputs."""
        return TowerHead(build(self.dims(dims)), dims, self, dropout=dropout) if self else build(dims)


class TowerHead(Head):
    """Any head on learned features: logits = head(towers(inputs)).

    Raw inputs keep position 0 for a pooled vector, which the towers do not look at.
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
        logits: Tensor = self.head(self.lift(inputs))
        return logits

    def parts(self, inputs: Inputs) -> Tensor:
        """The parts (M, B, K) of the head."""
        return self.head.parts(self.lift(inputs))

    def prepare(self, inputs: Inputs, labels: Tensor, rows: Tensor) -> None:
        """Raise ValueError for a head that is fitted on features before training: these change with it."""
        if type(self.head).prepare is not Head.prepare:
            raise ValueError(
                f"{type(self.head).__name__} compares a post with features of others, which must not change as towers "
                "do; choose another fusion for pixels and tokens, or other encoders"
            )

    def calibrate(self, inputs: Inputs, labels: Tensor) -> None:
        """Let the head calibrate itself on learned features."""
        self.head.calibrate(self.lift(inputs), labels)

    def lift(self, inputs: Inputs) -> Inputs:
        """Raw inputs as the head sees them: summary first, then tokens where it wants them."""
        if self.image is not None:
            inputs = inputs._replace(**self._lifted("image", self.image(inputs.image, inputs.image_mask)))
        if self.text is not None:
            inputs = inputs._replace(**self._lifted("text", self.text(inputs.text, inputs.text_mask)))
        return inputs

    def _lifted(self, name: str, sequence: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        vectors, mask = sequence if self.tokens else (part[:, :1] for part in sequence)
        return {name: vectors, f"{name}_mask": mask}


class PixelTower(nn.Module):
    """A small ResNet: rows of pixels (B, 1 + S, 3·S) of 0..255 to (B, 1 + P, H) and its mask, the mean first.

    He et al., 2016, with GroupNorm (Wu & He, 2018) and a stem that makes the map eight times smaller; three stages
    of one block each.
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
        """Map rows of pixels, as numbers of any format, and their mask (B, 1 + S)."""
        present = mask.any(-1, keepdim=True)  # (B, 1)
        if rows.shape[-2] == 1:  # a batch without images is cut to its first position
            return self.out.bias.expand(len(rows), 1, -1), present
        chunks = zip(torch.split(rows[:, 1:], CHUNK), torch.split(present, CHUNK), strict=True)
        map_ = torch.cat([self._map(*chunk) for chunk in chunks])
        vectors = torch.cat([map_.mean(1, keepdim=True), map_], 1)  # (B, 1 + P, H)
        return vectors, present.expand(vectors.shape[:2])

    def _map(self, rows: Tensor, present: Tensor) -> Tensor:
        pixels = torch.where(present[..., None], rows, 127.5) / 127.5 - 1
        image = pixels.reshape(*pixels.shape[:-1], -1, 3).movedim(-1, -3)  # (B, 3, S, S), in memory as it came
        map_: Tensor = self.out(self.stages(self.stem(image)).flatten(-2).transpose(-2, -1))
        return map_  # (B, P, H)


class Residual(nn.Module):
    """Two convolutions and a way around them, (B, C, h, w) to (B, D, h / stride, w / stride)."""

    def __init__(self, low: int, high: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(low, high, 3, stride=stride, padding=1, bias=False)
        self.first_norm = _norm(high)
        self.second = nn.Conv2d(high, high, 3, padding=1, bias=False)
        self.second_norm = _norm(high)
        self.around = nn.Sequential(nn.Conv2d(low, high, 1, stride=stride, bias=False), _norm(high))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second_norm(self.second(torch.relu(self.first_norm(self.first(x)))))
        return torch.relu(inner + self.around(x))


class WordTower(nn.Module):
    """A Transformer encoder: ids of word pieces (B, 1 + T, 1) to (B, 1 + T, H) and its mask, the mean first.

    Vaswani et al., 2017, with sinusoidal positions.
    """

    def __init__(self, vocabulary: int, width: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.dropout = Dropout(dropout)
        self.layers = blocks(layers, width, heads=HEADS, ffn=2 * width, dropout=dropout)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map ids, as numbers of any format, and their mask (B, 1 + T)."""
        words = mask[:, 1:]
        x = self.embed(torch.where(words, ids[:, 1:, 0], 0).long())  # (B, T, H)
        x = self.dropout(x + sinusoids(x.shape[-2], x.shape[-1], device=x.device))
        for layer in self.layers:
            x = layer(x, x, words)
        return torch.cat([masked_mean(x, words)[:, None], x], 1), mask


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)
