"""A loaded text encoder: splits text into word pieces on the CPU; the tower does the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..spec import EncoderSpec
from ..words.word_pieces import before_text, is_cut, run_tokenizer
from .encoder import Encoded, Encoder
from .engine import open_tower_engine
from .runtime import Runtime
from .tower import TextTower, ragged

Pieces = Mapping[str, list[int]]
cached_before = cache(before_text)


class TextEncoder(Encoder):
    """A loaded text model: cleaned text -> word pieces -> token vectors and pooled vectors."""

    def __init__(
        self, specs: Sequence[EncoderSpec], tokenizer: Any, tower: TextTower, runtime: Runtime, *, pad_to: int | None
    ) -> None:
        self.specs = tuple(specs)
        self.tokenizer = tokenizer
        self.tower = tower
        self.engine = open_tower_engine(tower, runtime, half=self.specs[0].dtype == "float16")
        self.pad_to = pad_to  # fixed length; None pads a batch to its longest
        self.pad_id = tokenizer.pad_token_id or 0
        self.by_length = runtime.device == "cpu"
        self.lock = Lock()  # a fast tokenizer is not thread-safe

    def preprocess(self, item: str, key: str = "") -> dict[str, list[int]]:
        """Ids of the text's word pieces, special ones included, cut to the max length."""
        with self.lock:
            pieces = run_tokenizer(self.tokenizer, self._whole(item), self.specs[0].max_length)
        return {name: pieces[name] for name in ("input_ids", "token_type_ids") if name in pieces}

    def length(self, prepared: Pieces) -> int:
        """Number of word pieces."""
        return len(prepared["input_ids"])

    def is_cut(self, item: str, prepared: Pieces) -> bool:
        length = self.specs[0].max_length
        if length is None or self.length(prepared) < length:
            return False
        with self.lock:
            return is_cut(self.tokenizer, self._whole(item), length)

    def encode(self, batch: Sequence[Pieces]) -> tuple[Encoded, ...]:
        if not self.by_length or self.pad_to is not None:
            return self._encode(batch)
        # On a CPU padding costs as much as words, and so does a mask: encode texts of one length at a time.
        runs = [self._encode(list(run)) for _, run in groupby(batch, self.length)]
        return tuple(
            Encoded(np.concatenate([part.pooled for part in parts]), [item for part in parts for item in part.tokens])
            for parts in zip(*runs, strict=True)
        )

    def collate(self, batch: Sequence[Pieces]) -> tuple[Tensor | None, ...]:
        """Input of the tower: ids (B, T), token types (B, T) or None, mask (B, T) or None."""
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

    def _whole(self, item: str) -> str:
        prompt, lower = cached_before(self.specs[0].preprocess)
        return (prompt + item).lower() if lower else prompt + item

    def _encode(self, batch: Sequence[Pieces]) -> tuple[Encoded, ...]:
        return self.tower.encoded(self.engine(*self.collate(batch)), [self.length(item) for item in batch])
