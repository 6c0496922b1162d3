"""Mixed precision of training: on a GPU, products of heads on tokens are taken in bfloat16 (Micikevicius et al., 2018).

Parameters, moments and losses stay float32, and so does everything else: validation, tests, predictions, pooled heads,
whose products are too small to pay for the casts. bfloat16 has the range of float32, so that losses need no scaling.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ...heads.base import Head, Inputs

FIRST_CAPABILITY = (8, 0)  # of the GPUs that compute in bfloat16; older ones emulate it


def run_head(head: Head, batch: Inputs) -> tuple[Tensor, Tensor]:
    """What training looks at (M, B, K), and the logits (B, K), both float32."""
    with mixed_precision(batch) if head.training else nullcontext():
        parts = head.parts(batch)
        logits = parts[0] if parts.shape[0] == 1 else head(batch)
    return parts.float(), logits.float()


def mixed_precision(batch: Inputs) -> AbstractContextManager[object]:
    """Inside, matrix products of a batch are taken in bfloat16 where that is faster."""
    tokens = max(batch.image.shape[-2], batch.text.shape[-2]) > 1
    if tokens and has_bfloat16(batch.text.device):
        return torch.autocast(batch.text.device.type, torch.bfloat16)
    return nullcontext()


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device is a GPU that computes in bfloat16."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FIRST_CAPABILITY
