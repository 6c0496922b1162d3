"""A loaded text encoder: cleaned text to word pieces on the CPU, everything after that in one tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..spec import EncoderSpec
from .encoder import Encoded
from .engine import open_tower_engine
from .runtime import Runtime
from .tower import TextTower, ask_states, pick_states, ragged

Pieces = Mapping[str, list[int]]


class TextEncoder:
    """A loaded text model: cleaned text -> word pieces -> one token vector each, and pooled ones."""

    def __init__(
        self, specs: Sequence[EncoderSpec], tokenizer: Any, tower: TextTower, runtime: Runtime, *, pad_to: int | None
    ) -> None:
        self.specs = tuple(specs)
        self.tokenizer = tokenizer
        self.tower = tower
        self.engine = open_tower_engine(tower, runtime, half=self.specs[0].dtype == "float16")
        self.pad_to = pad_to  # fixed length; None pads a batch to its longest, where lengths differ at all
        self.pad_id = tokenizer.pad_token_id or 0
        self.by_length = runtime.device == "cpu"
        self.lock = Lock()  # a fast tokenizer may not be called by two threads at once

    def preprocess(self, item: str, key: str = "") -> dict[str, list[int]]:
        """Ids of the text's word pieces, special ones included, cut to the max length."""
        with self.lock:
            pieces = self.tokenizer(item, truncation=True, max_length=self.specs[0].max_length, padding=False)
        return {name: pieces[name] for name in ("input_ids", "token_type_ids") if name in pieces}

    def length(self, prepared: Pieces) -> int:
        """Number of word pieces."""
        return len(prepared["input_ids"])

    def encode(self, batch: Sequence[Pieces]) -> tuple[Encoded, ...]:
        if not self.by_length or self.pad_to is not None:
            return self._encode(batch)
        # On a CPU padding costs as much as words, and a mask costs besides: texts of one length at a time.
        runs = [self._encode(list(run)) for _, run in groupby(batch, self.length)]
        return tuple(
            Encoded(np.concatenate([part.pooled for part in parts]), [item for part in parts for item in part.tokens])
            for parts in zip(*runs, strict=True)
        )

    def collate(self, batch: Sequence[Pieces]) -> tuple[Tensor | None, ...]:
        """Prepared items as what the tower takes: ids (B, T), kinds (B, T) or None, mask (B, T) or None."""
        lengths = [self.length(item) for item in batch]
        width = self.pad_to or max(lengths)
        ids = ragged([item["input_ids"] for item in batch], width, self.pad_id)
        kinds = None
        if "token_type_ids" in batch[0]:
            kinds = ragged([item["token_type_ids"] for item in batch], width, 0)
        mask = None
        if self.pad_to is not None or min(lengths) < width:
            mask = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)  # (B, T)
        return ids, kinds, mask

    def _encode(self, batch: Sequence[Pieces]) -> tuple[Encoded, ...]:
        return self.tower.encoded(self.engine(*self.collate(batch)), [self.length(item) for item in batch])


class HiddenStates(nn.Module):
    """A transformers text model as a tower's backbone."""

    def __init__(self, model: nn.Module, layers: Sequence[str], *, masked: bool = False) -> None:
        super().__init__()
        self.model = model
        self.layers = list(layers)
        self.masked = masked

    def forward(self, ids: Tensor, kinds: Tensor | None, mask: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        if mask is None and self.masked:
            mask = torch.ones_like(ids)
        given: dict[str, Any] = {"token_type_ids": kinds, "attention_mask": None if mask is None else mask.long()}
        given |= ask_states(self.layers)
        output = self.model(input_ids=ids, **{name: value for name, value in given.items() if value is not None})
        return pick_states(output, self.layers), getattr(output, "pooler_output", None)
