"""The model that is tuned: one tower and a linear classifier, or both towers and a fusion head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...features.spec import Modality
from ...heads.base import Dims, Head, Inputs
from ...heads.dropout import set_dropout
from ...heads.registry import build_head
from ..config.head_config import HeadConfig
from .inputs import Batch, Tunable


class TunedModel(nn.Module):
    """Towers and what classifies their vectors: without a head's config, one tower and a linear map.

    Raises ValueError for a head that cannot be trained together with encoders.
    """

    def __init__(
        self, encoders: Mapping[Modality, Tunable], classes: int, config: HeadConfig | None, *, seed: int
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({modality: encoder.tower for modality, encoder in encoders.items()})
        self.widths: dict[Modality, int] = {modality: one.specs[0].width for modality, one in encoders.items()}
        self.tokens, self.seed = config is not None and config.tokens, seed
        self.head: nn.Module
        if config is None:
            (width,) = self.widths.values()
            self.head = nn.Linear(width, classes)
        else:
            self.head = fusion_head(config, Dims(self.widths["image"], self.widths["text"], classes), seed)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The logits of the parts (M, B, K), and those of the prediction (B, K)."""
        if isinstance(self.head, Head):
            inputs = self.encode(batch)
            parts = self.head.parts(inputs)
            return parts, parts[0] if len(parts) == 1 else self.head(inputs)
        ((_, own),), (tower,) = batch.inputs.values(), self.towers.values()
        logits: Tensor = self.head(tower(*own)[-1])  # (B, K)
        return logits[None], logits

    def encode(self, batch: Batch) -> Inputs:
        """The head's inputs: the pooled vectors and, if it reads them, the tokens; masked where a post has neither."""
        return Inputs(*self._side(batch, "image"), *self._side(batch, "text"))

    def set_dropout(self, number: int) -> None:
        """Set the dropout masks of a head to those of a training step; encoders draw theirs."""
        set_dropout(self.head, seed=self.seed, step=number)

    def _side(self, batch: Batch, modality: Modality) -> tuple[Tensor, Tensor]:
        """Vectors (B, L, D) and mask (B, L) of one modality."""
        size, device = len(batch.rows), next(self.head.parameters()).device
        if modality not in batch.inputs:
            vectors = torch.zeros(size, 1, self.widths[modality], device=device)
            return vectors, torch.zeros(size, 1, dtype=torch.bool, device=device)
        places, inputs = batch.inputs[modality]
        outputs = self.towers[modality](*inputs)
        vectors = outputs[-1][:, None]  # (n, 1, D)
        if self.tokens:
            vectors = torch.cat([vectors, outputs[0]], 1)
        present = torch.ones(vectors.shape[:2], dtype=torch.bool, device=device)
        if self.tokens and modality == "text" and inputs[-1] is not None:
            present[:, 1:] = inputs[-1]
        shape = (size, *vectors.shape[1:])
        mask = torch.zeros(shape[:2], dtype=torch.bool, device=device).index_copy(0, places, present)
        return torch.zeros(shape, device=device).index_copy(0, places, vectors), mask


def fusion_head(config: HeadConfig, dims: Dims, seed: int) -> Head:
    """The head of a config for both towers. Raises ValueError for one that reads one of them, or has no gradients."""
    if len(config.fusions) > 1:
        raise ValueError(f"one head is trained with the encoders; got {config.fusion!r}, give one of them")
    options: dict[str, Any] = {**config.options, "hidden": config.hidden, "dropout": config.dropout}
    head = build_head(config.fusion, dims, seed=seed, **options)
    if len(head.reads) < 2:
        raise ValueError(f"fusion {config.fusion!r} reads one modality; tune that encoder alone, without --fusion")
    if next(head.parameters(), None) is None or type(head).prepare is not Head.prepare:
        raise ValueError(
            f"fusion {config.fusion!r} is fitted to fixed features, and tuning changes them; give another, as concat"
        )
    return head
