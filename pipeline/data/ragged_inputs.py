"""Inputs of all posts without padding: `take` pads those of a batch, as heads read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ...heads.base import Inputs, Modality


class Section(NamedTuple):
    """Positions of N posts: those of post n are `values[starts[n] : starts[n] + lengths[n]]`, padded to `longest`.

    Shapes: values (S, D) in any number format, starts and lengths (N,). Without `starts` post n has `values[n]` alone,
    and `longest` is 1. Columns that `zeroed` (D,) marks are read as zeros.
    """

    values: Tensor
    starts: Tensor | None
    lengths: Tensor
    longest: int
    zeroed: Tensor | None = None

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """The first `count` positions of some posts in the stored format: (B, count, D). Any vector fills padding."""
        if self.starts is None:
            return self.read(self.values.index_select(0, rows))[:, None]
        positions = torch.arange(count, device=rows.device)
        inside = positions < self.lengths[rows][:, None]
        places = torch.where(inside, self.starts[rows][:, None] + positions, 0)
        return self.read(self.values.index_select(0, places.flatten())).view(*places.shape, self.values.shape[1])

    def read(self, values: Tensor) -> Tensor:
        """Some of the values (n, D) as they are read."""
        return values if self.zeroed is None else torch.where(self.zeroed, 0.0, values)

    def select(self, rows: Tensor) -> Section:
        """Those of some posts, which share the values."""
        return self._replace(starts=rows if self.starts is None else self.starts[rows], lengths=self.lengths[rows])

    def copied(self, rows: Tensor) -> Section:
        """Those of some posts, with a copy of their values and no others, read in the order of `rows`."""
        if self.starts is None:
            return self._replace(values=self.values.index_select(0, rows), lengths=self.lengths[rows])
        lengths = self.lengths[rows]
        starts = lengths.cumsum(0) - lengths
        shift = (self.starts[rows] - starts).repeat_interleave(lengths)
        places = torch.arange(len(shift), device=rows.device) + shift
        values = self.values.index_select(0, places) if len(places) else self.values[:1]  # one to fill padding
        return self._replace(values=values, starts=starts, lengths=lengths)

    def to(self, device: str) -> Section:
        """The same on a device."""
        starts, zeroed = (None if one is None else one.to(device) for one in (self.starts, self.zeroed))
        return Section(self.values.to(device), starts, self.lengths.to(device), self.longest, zeroed)


@dataclass(frozen=True)
class RaggedSide:
    """One modality of N posts, as sections that follow one another; the first is the pooled vector of position 0.

    Each section has room for the longest post, so that a position means the same in every batch.
    """

    sections: tuple[Section, ...]

    @property
    def width(self) -> int:
        """Columns of the widest section."""
        return max(section.values.shape[1] for section in self.sections)

    @property
    def longest(self) -> int:
        """The positions that all sections have room for."""
        return sum(section.longest for section in self.sections)

    @property
    def lengths(self) -> Tensor:
        """How many positions each post has (N,)."""
        return torch.stack([section.lengths for section in self.sections]).sum(0)

    def take(self, rows: Tensor, *, cut: bool = True) -> tuple[Tensor, Tensor]:
        """Some posts as float32 (B, L, D) and mask (B, L), with `cut` padded to the longest among them only."""
        lengths = [section.lengths[rows] for section in self.sections]
        counts = self._counts(lengths) if cut else [section.longest for section in self.sections]
        parts = list(zip(self.sections, lengths, counts, strict=False))
        masks = [torch.arange(count, device=rows.device) < own[:, None] for _, own, count in parts]
        if len(parts) == 1:
            return self.sections[0].gather(rows, 1).float(), masks[0]
        vectors = torch.zeros(len(rows), sum(counts), self.width, device=rows.device)
        start = 0
        for section, _, count in parts:
            if count and len(section.values):
                vectors[:, start : start + count, : section.values.shape[1]] = section.gather(rows, count)
            start += count
        return vectors, torch.cat(masks, 1)

    def _counts(self, lengths: Sequence[Tensor]) -> list[int]:
        """The positions of each section in a batch whose posts have these lengths (B,) there, up to the last one."""
        if self.longest == 1 or not len(lengths[0]):
            return [1]
        most: list[int] = torch.stack(list(lengths)).amax(1).tolist()
        last = max((number for number, count in enumerate(most) if count), default=0)
        return [*(section.longest for section in self.sections[:last]), max(1, most[last])]

    def pooled(self) -> tuple[Tensor, Tensor]:
        """Position 0 of all posts: (N, 1, D) and mask (N, 1)."""
        first = self.sections[0]
        vectors = first.values if first.starts is None else first.values[first.starts]
        return first.read(vectors)[:, None].float(), first.lengths[:, None] > 0

    def hidden(self) -> RaggedSide:
        """The same as if every post lacked the modality."""
        return RaggedSide(tuple(one._replace(lengths=torch.zeros_like(one.lengths)) for one in self.sections))

    def without(self, columns: Tensor) -> RaggedSide:
        """The same with zeros in these columns (D,) of every position."""
        return RaggedSide(tuple(one._replace(zeroed=columns) for one in self.sections))

    def filled(self, vectors: Tensor) -> RaggedSide:
        """The same positions with these vectors (L, D) in every post."""
        parts = zip(self.sections, torch.split(vectors, [section.longest for section in self.sections]), strict=True)
        return RaggedSide(tuple(one._replace(values=own, starts=torch.zeros_like(one.lengths)) for one, own in parts))

    def select(self, rows: Tensor) -> RaggedSide:
        """Those of some posts, which share the values."""
        return RaggedSide(tuple(section.select(rows) for section in self.sections))

    def copied(self, rows: Tensor) -> RaggedSide:
        """Those of some posts, with a copy of their values."""
        return RaggedSide(tuple(section.copied(rows) for section in self.sections))

    def to(self, device: str) -> RaggedSide:
        """The same on a device."""
        return RaggedSide(tuple(section.to(device) for section in self.sections))


@dataclass(frozen=True)
class DrawnSide(RaggedSide):
    """Posts of which each is shown plain or in one of its `views`, by its number in `which` (N,), 0 for plain.

    Views have as many positions as the plain posts.
    """

    views: tuple[RaggedSide, ...]
    which: Tensor

    def take(self, rows: Tensor, *, cut: bool = True) -> tuple[Tensor, Tensor]:
        """As that of the plain posts."""
        vectors, mask = super().take(rows, cut=cut)
        drawn = self.which[rows]
        for number, view in enumerate(self.views, 1):
            places = torch.nonzero(drawn == number)[:, 0]
            vectors[places] = view.take(rows[places], cut=False)[0][:, : vectors.shape[1]]
        return vectors, mask

    def copied(self, rows: Tensor) -> RaggedSide:
        """Those of some posts, with a copy of the values of each view."""
        views = tuple(view.copied(rows) for view in self.views)
        return DrawnSide(super().copied(rows).sections, views, self.which[rows])


@dataclass(frozen=True)
class RaggedInputs:
    """The inputs of N posts. Both modalities are on one device.

    Where the values are mapped from files, `buffer` is how many posts are to be read at once; 0: they are in memory.
    `joint` (E,) marks the columns of the text's pooled vector that embed the image as well; None where none do.
    """

    image: RaggedSide
    text: RaggedSide
    buffer: int = 0
    joint: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self.text.sections[0].values.device

    def __len__(self) -> int:
        return len(self.text.sections[0].lengths)

    def side(self, modality: Modality) -> RaggedSide:
        """The vectors of one modality."""
        return self.image if modality == "image" else self.text

    def with_side(self, modality: Modality, side: RaggedSide) -> RaggedInputs:
        """The same inputs with another side of one modality."""
        return replace(self, image=side) if modality == "image" else replace(self, text=side)

    def take(self, rows: Tensor, *, cut: bool = True) -> Inputs:
        """Some posts in float32, with `cut` padded to the longest among them only."""
        return Inputs(*self.image.take(rows, cut=cut), *self.text.take(rows, cut=cut))

    def pooled(self) -> Inputs:
        """Position 0 of all posts."""
        return Inputs(*self.image.pooled(), *self.text.pooled())

    def select(self, rows: Tensor) -> RaggedInputs:
        """The inputs of some posts, which share the values."""
        return replace(self, image=self.image.select(rows), text=self.text.select(rows))

    def copied(self, rows: Tensor) -> RaggedInputs:
        """The inputs of some posts in memory, with a copy of their values."""
        return RaggedInputs(self.image.copied(rows), self.text.copied(rows), joint=self.joint)

    def to(self, device: str) -> RaggedInputs:
        """The same on a device; another one than the CPU holds a copy of all values."""
        buffer = self.buffer if device == "cpu" else 0
        joint = None if self.joint is None else self.joint.to(device)
        return RaggedInputs(self.image.to(device), self.text.to(device), buffer, joint)

    def without_joint(self) -> RaggedInputs:
        """The same as if no post had its image and its text together: zeros, or no text where that was all of it."""
        if self.joint is None:
            return self
        text = self.text.hidden() if self.joint.all() else self.text.without(self.joint)
        return replace(self, text=text)
