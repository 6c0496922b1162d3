"""Predictions of trained heads: the inputs that they are tested on, and their logits for some rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...heads.base import Head
from ..config.head_config import HeadConfig
from ..data.cached_features import CachedFeatures
from ..data.inputs import Reductions, build_inputs, build_views
from ..data.ragged_inputs import RaggedInputs
from .batches import Rows
from .loop import predict_logits


def prediction_views(
    table: CachedFeatures, config: HeadConfig, reductions: Reductions, device: str
) -> list[RaggedInputs]:
    """The inputs of all N posts that heads of this config are tested on, on the device.

    They are the plain inputs, followed by every augmented view where the config averages views.
    """
    inputs = build_inputs(table, tokens=config.tokens, reductions=reductions).to(device)
    if not config.average_views:
        return [inputs]
    return [inputs, *build_views(table, inputs, tokens=config.tokens, reductions=reductions)]


def view_logits(heads: Iterable[Head], views: Sequence[RaggedInputs], rows: Rows) -> list[NDArray[np.float32]]:
    """Logits (n, K) of the given rows (n,) by each head on each of the views, head after head: heads x views arrays.

    `log_mean` averages them. Heads are put into eval mode, and left in the mode that they had.
    """
    return [predict_logits(head, inputs, rows).cpu().numpy() for head in heads for inputs in views]
