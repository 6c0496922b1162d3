"""What a run's heads record on some posts: attention by layer and position, weights of the modalities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...features.encoders.runtime import pick_device
from ...features.spec import MODALITIES, Modality
from ...heads.base import Head, Inputs
from ...heads.recording import AttentionMap, Recording, Side, record
from ..data.cached_features import CachedFeatures
from ..data.ragged_inputs import RaggedInputs
from ..runs.runs import Run
from ..training.loop import training_threads
from ..training.predictions import prediction_views

BATCH = 128  # posts in one pass, whose maps are held at once
Array = NDArray[np.float64]


class LayerWeights(NamedTuple):
    """Attention (N, h, S) of N posts on the positions of each side that is attended to, the mean over the queries.

    Position 0 is the pooled vector. The weights on all positions and on the attention sink (N, h) add up to 1.
    """

    layer: str
    queries: Side
    keys: Side
    image: Array | None
    text: Array | None
    sink: Array

    def side(self, modality: Modality) -> Array | None:
        """The weights of one modality; None where the layer does not attend to it."""
        return self.image if modality == "image" else self.text

    def of_row(self, row: int) -> LayerWeights:
        """Those of one post: (h, S), and (h,) on the sink."""
        return LayerWeights(*self[:3], *(None if part is None else part[row] for part in self[3:]))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Recorded:
    """The mean over the heads of all folds of a run: layers in the order of computation, and weights (N,) by side."""

    layers: list[LayerWeights]
    shares: dict[Side, Array]


def record_run(run: Run, table: CachedFeatures, device: str = "cpu") -> Recorded:
    """Record the heads of a run on the plain images and texts of all N posts; views are left out.

    Layers of an ensemble of several fusions are named with theirs, and each mean is over the heads that have it.
    """
    layers: list[list[LayerWeights]] = []
    shares: dict[Side, list[Array]] = {}
    place = pick_device(device)
    with training_threads(1):
        for heads, reductions in run.folds:
            inputs = prediction_views(table, run.config, reductions, place)[0]
            for number, head in enumerate(heads):
                kind = run.config.fusions[number % len(run.config.fusions)]
                prefix = f"{kind}: " if len(run.config.fusions) > 1 else ""
                found = _record_head(head.to(place), inputs)
                layers.append([one._replace(layer=prefix + one.layer) for one in found.layers])
                for side, share in found.shares.items():
                    shares.setdefault(side, []).append(share)
    return Recorded(mean_layers(layers), {side: np.mean(same, axis=0) for side, same in shares.items()})


def mean_layers(heads: Sequence[Sequence[LayerWeights]]) -> list[LayerWeights]:
    """The mean of each layer over the heads that have it."""
    same: dict[tuple[str, Side, Side], list[LayerWeights]] = {}
    for layers in heads:
        for one in layers:
            same.setdefault(one[:3], []).append(one)
    return [
        LayerWeights(*key, _mean([one.image for one in found]), _mean([one.text for one in found]), _sinks(found))
        for key, found in same.items()
    ]


def _sinks(found: Sequence[LayerWeights]) -> Array:
    sinks: Array = np.mean([one.sink for one in found], axis=0)
    return sinks


def _mean(same: Sequence[Array | None]) -> Array | None:
    known = [one for one in same if one is not None]
    return np.mean(known, axis=0) if known else None


def _record_head(head: Head, inputs: RaggedInputs) -> Recorded:
    """Record one head, batch after batch."""
    batches: list[Recorded] = []
    training = head.training
    head.eval()
    with torch.no_grad():
        for rows in torch.split(torch.arange(len(inputs), device=inputs.device), BATCH):
            fusion, seen = head.fusion(inputs.take(rows, cut=False))
            with record(fusion) as recording:
                fusion(seen)
            batches.append(Recorded(list(_reduced(recording, seen)), _numpy(recording)))
    head.train(training)
    joined = zip(*(one.layers for one in batches), strict=True)
    return Recorded(
        [LayerWeights(*same[0][:3], *map(_joined, zip(*(one[3:] for one in same), strict=True))) for same in joined],
        {side: np.concatenate([one.shares[side] for one in batches]) for side in batches[0].shares},
    )


def _joined(parts: tuple[Array | None, ...]) -> Array | None:
    known = [one for one in parts if one is not None]
    return np.concatenate(known) if known else None


def _numpy(recording: Recording) -> dict[Side, Array]:
    return {side: share.double().cpu().numpy() for side, share in recording.shares.items()}


def _reduced(recording: Recording, seen: Inputs) -> Iterator[LayerWeights]:
    """The mean of each map over its queries, its keys split by modality."""
    for one in recording.maps:
        mask = _queries(one, seen)[:, None, :, None]  # (B, 1, Q, 1)
        count = mask.sum(2)  # (B, 1, 1)
        weights = ((one.weights * mask).sum(2) / count).double().cpu().numpy()  # (B, h, S)
        sink = ((one.sink * mask[..., 0]).sum(2) / count[..., 0]).double().cpu().numpy()  # (B, h)
        images = seen.image.shape[1] if weights.shape[-1] > len(MODALITIES) else 1  # else one vector of each
        cut = {"image": weights.shape[-1], "text": 0, "both": images}[one.keys]
        parts = (weights[..., :cut] if cut else None, weights[..., cut:] if cut < weights.shape[-1] else None)
        yield LayerWeights(one.layer, one.queries, one.keys, *parts, sink)


def _queries(one: AttentionMap, seen: Inputs) -> Tensor:
    """Which queries (B, Q) of a map are no padding; pooled vectors never are."""
    masks = []
    for modality in MODALITIES if one.queries == "both" else (one.queries,):
        mask = seen.side(modality)[1]
        first = torch.arange(mask.shape[-1], device=mask.device) == 0
        masks.append(mask | (~mask.any(-1, keepdim=True) & first))  # a missing modality has a null vector
    whole = torch.cat(masks, -1)
    return whole if whole.shape[-1] == one.sink.shape[-1] else whole.new_ones(one.sink.shape[0], one.sink.shape[-1])
