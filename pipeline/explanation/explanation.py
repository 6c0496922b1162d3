"""The explanation of one prediction, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Box
from .remarks import Remark

if TYPE_CHECKING:  # both import torch, and a report of stored numbers needs none
    from ...heads.recording import Side
    from ..inspection.stored_opinions import Present

Array = NDArray[np.float64]
TARGETS = ("image vector", "patches", "text vector", "words", "special tokens", "nothing")


@dataclass(frozen=True)
class ImageAttention:
    """Attention on the patches of one image encoder.

    `weights` (rows, columns) is the mean over layers and attention heads, scaled to add up to 1; `layers` are the
    weights (h, rows, columns) of each layer by its name. The grid lies over the `box` of the upright picture of this
    `size` (height, width), in its pixels. Both are None where the picture cannot be read, the box also where the
    encoder's preprocessing is not known.
    """

    encoder: str
    weights: Array
    layers: dict[str, Array]
    size: tuple[int, int] | None = None
    box: Box | None = None


@dataclass(frozen=True)
class TextAttention:
    """Attention on the W words of one text encoder.

    `weights` (W,) is the mean over layers and attention heads, scaled to add up to 1; `layers` are the weights (h, W)
    of each layer by its name.
    """

    encoder: str
    words: tuple[str, ...]
    weights: Array
    layers: dict[str, Array]


@dataclass(frozen=True)
class LayerAttention:
    """Where the queries of one layer attended to, by TARGETS: the mean over attention heads, 1 in all.

    The vectors are the pooled ones, with class tokens of images; `nothing` is the attention sink.
    """

    layer: str
    queries: Side
    keys: Side
    shares: dict[str, float]


@dataclass(frozen=True)
class Explanation:
    """What the prediction of one post rested on.

    `probabilities` (K,) and `label` are those of the heads of `folds`: the folds whose test row the post was
    (`held_out`), or all of them. `opinions` are the probabilities (K,) from each set of modalities that the heads read;
    `modality_weights` add up to 1, and are empty for a head without any; `layers`, `images` and `texts` are empty for a
    head without attention on tokens. `notes` say what is left out and why.
    """

    id: str
    classes: tuple[str, ...]
    label: str
    truth: str | None
    probabilities: Array
    folds: tuple[int, ...]
    held_out: bool
    modality_weights: dict[Side, float]
    opinions: dict[Present, Array]
    layers: tuple[LayerAttention, ...] = ()
    images: tuple[ImageAttention, ...] = ()
    texts: tuple[TextAttention, ...] = ()
    notes: tuple[Remark, ...] = ()

    @property
    def alone(self) -> dict[str, Array]:
        """The opinions (K,) of single modalities, where the post has several."""
        return {shown[0]: p for shown, p in self.opinions.items() if len(shown) == 1}

    def to_dict(self) -> dict[str, Any]:
        """As JSON: arrays as lists, six decimals."""
        return {
            **{"id": self.id, "label": self.label, "truth": self.truth},
            "probabilities": self._by_class(self.probabilities),
            **{"folds": list(self.folds), "held_out": self.held_out},
            "modality_weights": {side: _plain(share) for side, share in self.modality_weights.items()},
            "opinions": [{"from": list(shown), **self._opinion(p)} for shown, p in self.opinions.items()],
            "layers": [{**vars(one), "shares": {k: _plain(v) for k, v in one.shares.items()}} for one in self.layers],
            "images": [
                {**_weights(one), "size": one.size, "box": one.box and [*map(_plain, one.box)]} for one in self.images
            ],
            "texts": [{**_weights(one), "words": list(one.words)} for one in self.texts],
            "notes": [str(note) for note in self.notes],
        }

    def _opinion(self, probabilities: Array) -> dict[str, Any]:
        label = self.classes[int(probabilities.argmax())]
        return {"label": label, "probabilities": self._by_class(probabilities)}

    def _by_class(self, probabilities: Array) -> dict[str, Any]:
        return dict(zip(self.classes, map(_plain, probabilities), strict=True))


def _weights(one: ImageAttention | TextAttention) -> dict[str, Any]:
    layers = {name: _plain(array) for name, array in one.layers.items()}
    return {"encoder": one.encoder, "weights": _plain(one.weights), "layers": layers}


def _plain(value: Any) -> Any:
    return np.round(value, 6).tolist()
