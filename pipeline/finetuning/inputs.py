"""Posts as inputs of the encoders that are tuned, decoded batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...features.extraction.embed import decode
from ...features.posts.content import Contents
from ...features.posts.samples import Corpus
from ...features.posts.text import clean_text
from ...features.spec import BadItem, Clean, EncoderSpec, Modality

Rows = NDArray[np.int64]


class Tunable(Protocol):
    """An encoder whose model may be trained: the tower gives tokens of each layer, then the pooled vectors (B, D)."""

    specs: tuple[EncoderSpec, ...]
    tower: Any

    def preprocess(self, item: Any, key: str = "") -> Any: ...

    def collate(self, batch: Sequence[Any]) -> tuple[Tensor | None, ...]:
        """Prepared items as the padded inputs of the tower, (B, …) each."""
        ...


@dataclass(frozen=True)
class Batch:
    """B posts: their rows, and for each modality the places (n,) of those that have it, and the tower's inputs."""

    rows: list[int]
    inputs: Mapping[Modality, tuple[Tensor, tuple[Tensor | None, ...]]]

    def to(self, device: str) -> Batch:
        """The same on a device."""
        return Batch(
            self.rows,
            {
                modality: (places.to(device), tuple(None if one is None else one.to(device) for one in inputs))
                for modality, (places, inputs) in self.inputs.items()
            },
        )


class PostInputs:
    """Posts as the inputs of one encoder or two, decoded on demand. `unreadable` collects what cannot be embedded.

    Of a post with several images the first readable one is used.
    """

    def __init__(
        self, corpus: Corpus, contents: Contents, encoders: Mapping[Modality, Tunable], clean: Clean = "none"
    ) -> None:
        self.corpus, self.encoders, self.clean = corpus, encoders, clean
        self.keys = {modality: contents.keys(modality) for modality in encoders}
        self.numbers = {modality: contents.readable(modality) for modality in encoders}  # of items
        self.unreadable: set[tuple[int, Modality]] = set()

    def present(self, rows: Rows) -> Rows:
        """The rows that have what one of the encoders reads."""
        return rows[[any(numbers[row] is not None for numbers in self.numbers.values()) for row in rows]]

    def prepare(self, row: int) -> dict[Modality, Any]:
        """What each encoder reads of one post, prepared; without what is missing or cannot be embedded."""
        found: dict[Modality, Any] = {}
        for modality, encoder in self.encoders.items():
            number = self.numbers[modality][row]
            if number is None:
                continue
            key = self.keys[modality][number]
            assert key is not None
            try:
                with ExitStack() as using:
                    item = decode(self.corpus.items(modality)[number], modality, key=key, using=using)
                    item = clean_text(item, self.clean) if modality == "text" else item
                    found[modality] = encoder.preprocess(item, key)
            except BadItem:
                self.unreadable.add((row, modality))
        return found

    def sample(self, modality: Modality, rows: Rows, device: str) -> tuple[Tensor | None, ...]:
        """What a tower reads of the first of these rows that it can read. Raises ValueError where there is none."""
        encoder = self.encoders[modality]
        items = (self.prepare(int(row)).get(modality) for row in rows if self.numbers[modality][row] is not None)
        item = next((item for item in items if item is not None), None)
        if item is None:
            raise ValueError(f"no {modality} of {len(rows)} training rows can be read; `msa check` shows why")
        return tuple(None if one is None else one.to(device) for one in encoder.collate([item]))

    def batches(self, pool: ThreadPoolExecutor, rows: Sequence[Rows]) -> Iterator[Batch]:
        """A batch for each of `rows`, while the next one is decoded; posts that cannot be read at all are left out."""
        ahead = [pool.submit(self.prepare, int(row)) for row in rows[0]] if len(rows) else []
        for number, some in enumerate(rows):
            ready = ahead
            following = rows[number + 1] if number + 1 < len(rows) else rows[0][:0]
            ahead = [pool.submit(self.prepare, int(row)) for row in following]
            items = [(int(row), item.result()) for row, item in zip(some, ready, strict=True)]
            good = [(row, item) for row, item in items if item]
            if good:
                yield self._collate(good)

    def _collate(self, posts: Sequence[tuple[int, Mapping[Modality, Any]]]) -> Batch:
        inputs: dict[Modality, tuple[Tensor, tuple[Tensor | None, ...]]] = {}
        for modality, encoder in self.encoders.items():
            places = [place for place, (_, item) in enumerate(posts) if modality in item]
            if places:
                collated = encoder.collate([posts[place][1][modality] for place in places])
                inputs[modality] = torch.tensor(places), collated
        return Batch([row for row, _ in posts], inputs)
